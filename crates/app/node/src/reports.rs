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
use mainstay_record::keeper::{self, KeeperStatus, LossStatus, SightRole};
use mainstay_record::process::ProcessExit;
use mainstay_rt::{clock, files};
use mainstay_supervision::{Phase, Why};
use mainstay_units::Term;

use crate::events::deed_of;
use crate::sight::Sight;

const TOLD_LIMIT: u64 = 1 << 20;
/// A keeper that is replaced under its running server soon says again that it has the primary.
const UNSURE_MS: u64 = 2_000;
/// A replica that was let go is told of again after this, where the journal did not take it in.
const LET_GO_AGAIN_MS: u64 = 10_000;

/// An open primary that was told of.
#[derive(Clone, Copy, Debug)]
struct Primary {
    term: u32,
    /// Since when its keeper says neither that it is one nor that it is none.
    unsure_since_ms: Option<u64>,
}

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
    /// Databases whose open primary is here.
    primaries: BTreeMap<String, Primary>,
    holds: BTreeMap<(String, String), Hold>,
    restarts: BTreeMap<String, u64>,
    /// Databases whose primary here serves alone, with what was last told; and what they are known to have lost.
    alone: BTreeMap<String, bool>,
    lost: BTreeMap<String, u32>,
    /// Told once, until the instance is ready again or the loop is over.
    crash_loops: BTreeSet<String>,
    /// When it was last told of whom the primary here let go.
    let_go: BTreeMap<(String, String), u64>,
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
            let_go: BTreeMap::new(),
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
    pub fn look(&mut self, sight: &Sight, leaving: &BTreeSet<(String, String)>) -> Vec<Signal> {
        let now_ms = clock::wall_ms();
        let mut signals = Vec::new();
        for (database, fact) in &*sight.keepers.borrow() {
            if let Some(status) = fact.latest() {
                signals.extend(self.keeper(database, &status.sight, now_ms));
                signals.extend(self.promise(database, status, now_ms));
            }
            if let Some(status) = fact.fresh(clock::now()) {
                signals.extend(self.let_go(database, status, leaving, now_ms));
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

    fn keeper(&mut self, name: &str, sight: &keeper::Sight, now_ms: u64) -> Option<Signal> {
        let database = DatabaseName::new(name).ok()?;
        if sight.role == SightRole::Primary && sight.open {
            let primary = Primary {
                term: sight.term,
                unsure_since_ms: None,
            };
            let before = self.primaries.insert(name.to_owned(), primary);
            if before.is_some_and(|before| before.term == sight.term) {
                return None;
            }
            let term = Term(sight.term);
            return Some(self.report(now_ms, Reflex::BecamePrimary { database, term }));
        }
        let primary = self.primaries.get_mut(name)?;
        let is_unsure = matches!(sight.role, SightRole::Starting | SightRole::Candidate);
        if is_unsure && sight.term == primary.term {
            let since_ms = *primary.unsure_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) < UNSURE_MS {
                return None;
            }
        }
        let left = Reflex::LeftPrimary {
            database,
            term: Term(primary.term),
            why: sight.reason.clone(),
        };
        self.primaries.remove(name);
        Some(self.report(now_ms, left))
    }

    /// Said again until the journal has it: then nobody leaves there any more.
    fn let_go(
        &mut self,
        name: &str,
        status: &KeeperStatus,
        leaving: &BTreeSet<(String, String)>,
        now_ms: u64,
    ) -> Vec<Signal> {
        let open = status.sight.role == SightRole::Primary && status.sight.open;
        let Some(database) = DatabaseName::new(name).ok().filter(|_| open) else {
            return Vec::new();
        };
        let told = |host: &String| {
            if !leaving.contains(&(name.to_owned(), host.clone())) {
                return None;
            }
            let from = HostName::new(host).ok()?;
            let at_ms = self.let_go.get(&(name.to_owned(), host.clone()));
            if at_ms.is_some_and(|at_ms| now_ms.saturating_sub(*at_ms) < LET_GO_AGAIN_MS) {
                return None;
            }
            let database = database.clone();
            Some((host.clone(), Reflex::ReplicaLetGo { database, from }))
        };
        let news: Vec<_> = status.cohort.let_go.iter().filter_map(told).collect();
        let said = news.into_iter().map(|(host, reflex)| {
            self.let_go.insert((name.to_owned(), host), now_ms);
            self.report(now_ms, reflex)
        });
        said.collect()
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
        let known = self.lost.get(name).copied().unwrap_or(0);
        let lost: Vec<String> = status.lost_by(term.0).map(what_was_lost).collect();
        if term.0 > known && !lost.is_empty() {
            self.lost.insert(name.to_owned(), term.0);
            let what = format!(
                "began without what {}; answered commits may be among it",
                lost.join(", and without what ")
            );
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

    /// From now on its ends are told one by one again.
    pub fn loop_ended(&mut self, instance: String, why: String) -> Signal {
        self.crash_loops.remove(&instance);
        self.report(clock::wall_ms(), Reflex::LoopEnded { instance, why })
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

fn what_was_lost(loss: &LossStatus) -> String {
    let (timeline, after) = (loss.timeline, &loss.after);
    match (&loss.until, loss.bytes) {
        (Some(until), Some(bytes)) => {
            format!("timeline {timeline} has after {after}, known to reach {until} ({bytes} bytes)")
        }
        _ => format!("timeline {timeline} may have after {after}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail at once")]

    use super::*;

    fn sight(role: SightRole, term: u32) -> keeper::Sight {
        keeper::Sight {
            version: 1,
            database: "orders".to_owned(),
            replica: 1,
            host: "a".to_owned(),
            region: "r".to_owned(),
            role,
            term,
            open: role == SightRole::Primary,
            switchover: false,
            lease_remaining_ms: 0,
            lsn: "0/0".to_owned(),
            primary: None,
            reason: "a test".to_owned(),
        }
    }

    fn told(looks: &[(u64, SightRole, u32)]) -> Vec<(u64, &'static str, u32)> {
        let mut reporter = Reporter::new(HostName::new("a").unwrap());
        let mut all = Vec::new();
        for (at_ms, role, term) in looks {
            match reporter.keeper("orders", &sight(*role, *term), *at_ms) {
                Some(Signal::Reported(report)) => all.push(match report.reflex {
                    Reflex::BecamePrimary { term, .. } => (*at_ms, "became", term.0),
                    Reflex::LeftPrimary { term, .. } => (*at_ms, "left", term.0),
                    other => panic!("{other:?}"),
                }),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
        all
    }

    #[test]
    fn a_keeper_that_is_replaced_under_its_server_leaves_nothing() {
        use SightRole::{Candidate, Fenced, Primary, Starting};
        let back = [
            (0, Primary, 2),
            (500, Starting, 2),
            (700, Candidate, 2),
            (900, Primary, 2),
        ];
        assert_eq!(told(&back), [(0, "became", 2)]);
        let ends = [(0, Primary, 2), (500, Candidate, 2), (600, Fenced, 2)];
        assert_eq!(told(&ends), [(0, "became", 2), (600, "left", 2)]);
        let stays = [(0, Primary, 2), (500, Candidate, 2), (2_500, Candidate, 2)];
        assert_eq!(told(&stays), [(0, "became", 2), (2_500, "left", 2)]);
        let later = [(0, Primary, 2), (500, Candidate, 3), (900, Primary, 3)];
        assert_eq!(
            told(&later),
            [(0, "became", 2), (500, "left", 2), (900, "became", 3)]
        );
    }
}
