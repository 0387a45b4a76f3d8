//! What the reflexes of this host did, told to the kernel for the record.
//!
//! Keepers and gateways are watched for changes of what they say; supervision tells its moves itself. A
//! report may be told twice, after a restart, say: the kernel drops repetitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mainstay_host::supervisor::Moved;
use mainstay_kernel::{Reflex, Report, Signal};
use mainstay_model::name::{DatabaseName, GatewayName, HostName};
use mainstay_record::backup::{TOLD, ToldRecord};
use mainstay_record::gateway::GatewayStatus;
use mainstay_record::keeper::{KeeperStatus, SightRole};
use mainstay_record::process::ProcessExit;
use mainstay_rt::{clock, files};
use mainstay_supervision::{Phase, Why};
use mainstay_units::Term;

use crate::events::deed_of;
use crate::sight::Sight;

const TOLD_LIMIT: u64 = 1 << 20;

/// A hold that is open, and since when.
#[derive(Clone, Copy, Debug)]
struct Hold {
    since_ms: u64,
    most_held: u64,
}

/// What was told last.
#[derive(Debug)]
pub struct Reporter {
    host: HostName,
    /// Databases whose open primary is here, with its term.
    primaries: BTreeMap<String, u32>,
    holds: BTreeMap<(String, String), Hold>,
    restarts: BTreeMap<String, u64>,
    /// Databases whose primary here serves alone, with what was last told; and what they are known to have lost.
    alone: BTreeMap<String, bool>,
    lost: BTreeMap<String, u32>,
    /// Told once, until the instance is ready again.
    crash_loops: BTreeSet<String>,
    /// When what was last told of each archive was done, by the file that says it.
    archived: BTreeMap<PathBuf, u64>,
}

impl Reporter {
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            primaries: BTreeMap::new(),
            holds: BTreeMap::new(),
            restarts: BTreeMap::new(),
            alone: BTreeMap::new(),
            lost: BTreeMap::new(),
            crash_loops: BTreeSet::new(),
            archived: BTreeMap::new(),
        }
    }

    fn report(&self, at_ms: u64, reflex: Reflex) -> Signal {
        Signal::Reported(Report {
            host: self.host.clone(),
            at_ms,
            reflex,
        })
    }

    /// What changed since it was last looked.
    pub fn look(&mut self, sight: &Sight) -> Vec<Signal> {
        let now_ms = clock::wall_ms();
        let mut signals = Vec::new();
        for (database, fact) in &*sight.keepers.borrow() {
            if let Some(status) = fact.latest() {
                signals.extend(self.keeper(database, status, now_ms));
                signals.extend(self.promise(database, status, now_ms));
            }
        }
        for (gateway, fact) in &*sight.gateways.borrow() {
            if let Some(status) = fact.latest() {
                signals.extend(self.gateway(gateway, status, now_ms));
            }
        }
        signals
    }

    /// What was done with the archives of this host since it was last looked.
    pub fn look_into(&mut self, archives: &Path) -> Vec<Signal> {
        let mut signals = Vec::new();
        for entry in std::fs::read_dir(archives).into_iter().flatten().flatten() {
            for name in TOLD {
                let path = entry.path().join(name);
                let Ok(bytes) = files::read_limited(&path, TOLD_LIMIT) else {
                    continue;
                };
                let Ok(told) = serde_json::from_slice::<ToldRecord>(&bytes) else {
                    continue;
                };
                let Ok(database) = DatabaseName::new(&told.database) else {
                    continue;
                };
                let at_ms = told.at_ms;
                if self.archived.insert(path, at_ms) != Some(at_ms) {
                    let deed = deed_of(told.deed);
                    signals.push(self.report(at_ms, Reflex::Archived { database, deed }));
                }
            }
        }
        signals
    }

    fn keeper(&mut self, name: &str, status: &KeeperStatus, now_ms: u64) -> Option<Signal> {
        let database = DatabaseName::new(name).ok()?;
        let sight = &status.sight;
        let is_primary = sight.role == SightRole::Primary && sight.open;
        match (self.primaries.get(name).copied(), is_primary) {
            (Some(term), true) if term == sight.term => None,
            (_, true) => {
                self.primaries.insert(name.to_owned(), sight.term);
                Some(self.report(
                    now_ms,
                    Reflex::BecamePrimary {
                        database,
                        term: Term(sight.term),
                    },
                ))
            }
            (Some(term), false) => {
                self.primaries.remove(name);
                let why = sight.reason.clone();
                Some(self.report(
                    now_ms,
                    Reflex::LeftPrimary {
                        database,
                        term: Term(term),
                        why,
                    },
                ))
            }
            (None, false) => None,
        }
    }

    /// An open primary that serves alone, no longer does, or says what its term began without.
    fn promise(&mut self, name: &str, status: &KeeperStatus, now_ms: u64) -> Option<Signal> {
        let database = DatabaseName::new(name).ok()?;
        if status.sight.role != SightRole::Primary || !status.sight.open {
            return None;
        }
        let term = Term(status.sight.term);
        let told = |what: String| Reflex::PromiseChanged {
            database: database.clone(),
            term,
            what,
        };
        let newest = status.losses.last().filter(|loss| {
            let known = self.lost.get(name).copied().unwrap_or(0);
            loss.term > known && loss.term == term.0
        });
        if let Some(loss) = newest {
            self.lost.insert(name.to_owned(), loss.term);
            let what = match (&loss.until, loss.bytes) {
                (Some(until), Some(bytes)) => format!(
                    "began without what timeline {} has after {}, known to reach {until} ({bytes} bytes); answered \
                     commits may be among it",
                    loss.timeline, loss.after
                ),
                _ => format!(
                    "began without what timeline {} may have after {}; answered commits may be among it",
                    loss.timeline, loss.after
                ),
            };
            return Some(self.report(now_ms, told(what)));
        }
        let is_alone = status.solo.is_some();
        let was_alone = self
            .alone
            .insert(name.to_owned(), is_alone)
            .unwrap_or(false);
        let what = match (&status.solo, was_alone) {
            (Some(solo), false) => format!(
                "answers commits with fewer copies than promised; everything before {} is on enough disks, {} bytes \
                 are not",
                solo.protected, solo.unprotected_bytes
            ),
            (None, true) => format!(
                "promises {} copies of each commit again, also of those that were answered with fewer",
                status.cohort.copies
            ),
            (Some(_), true) | (None, false) => return None,
        };
        Some(self.report(now_ms, told(what)))
    }

    fn gateway(&mut self, name: &str, status: &GatewayStatus, now_ms: u64) -> Vec<Signal> {
        let Ok(gateway) = GatewayName::new(name) else {
            return Vec::new();
        };
        let mut signals = Vec::new();
        for cell in &status.cells {
            let Ok(database) = DatabaseName::new(&cell.database) else {
                continue;
            };
            let key = (name.to_owned(), cell.database.clone());
            let is_open = cell.view != "active";
            match (self.holds.get(&key).copied(), is_open) {
                (None, true) => {
                    self.holds.insert(
                        key,
                        Hold {
                            since_ms: now_ms,
                            most_held: cell.held,
                        },
                    );
                    let (gateway, database) = (gateway.clone(), database);
                    signals.push(self.report(now_ms, Reflex::HoldOpened { gateway, database }));
                }
                (Some(hold), true) => {
                    let most_held = hold.most_held.max(cell.held);
                    self.holds.insert(key, Hold { most_held, ..hold });
                }
                (Some(hold), false) => {
                    self.holds.remove(&key);
                    signals.push(self.report(
                        now_ms,
                        Reflex::HoldClosed {
                            gateway: gateway.clone(),
                            database,
                            lasted_ms: now_ms.saturating_sub(hold.since_ms),
                            released: hold.most_held,
                            failed: 0,
                        },
                    ));
                }
                (None, false) => {}
            }
        }
        signals
    }

    /// A move of an instance, if it is worth an entry.
    pub fn moved(&mut self, moved: &Moved) -> Option<Signal> {
        let exit = match &moved.exit {
            Some(ProcessExit::Code(code)) => format!("code {code}"),
            Some(ProcessExit::Signal(signal)) => format!("signal {signal}"),
            Some(ProcessExit::Failed(why)) => why.clone(),
            None => "unknown".to_owned(),
        };
        let instance = moved.instance.clone();
        let has_exited = matches!(
            moved.why,
            Why::Exited | Why::ExitedTooOften | Why::StartFailed
        );
        let restarts = self.restarts.entry(instance.clone()).or_default();
        if has_exited {
            *restarts += 1;
        }
        let restarts = *restarts;
        if moved.to == Phase::Ready {
            self.crash_loops.remove(&instance);
        }
        if moved.to == Phase::CrashLoop && self.crash_loops.insert(instance.clone()) {
            return Some(self.report(moved.wall_ms, Reflex::CrashLoop { instance, restarts }));
        }
        if self.crash_loops.contains(&instance) {
            return None;
        }
        has_exited.then(|| {
            self.report(
                moved.wall_ms,
                Reflex::InstanceRestarted {
                    instance,
                    restarts,
                    exit,
                },
            )
        })
    }
}
