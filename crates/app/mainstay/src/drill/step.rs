//! What a step does, and how it is seen that it is done.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_drill::document::{Act, Document, Step, Wait};
use mainstay_host::faults;
use mainstay_record::drill::{DrillAskRecord, StepOutcomeWord};
use mainstay_record::keeper::{KeeperStatus, SightRole};
use mainstay_record::node::{Command, CommandOutcome, Gathered, InjectFault, Seen};
use mainstay_record::process::FaultStatus;
use mainstay_rt::clock;
use mainstay_units::Instant;

use super::archive::Archives;
use super::load::{Client, Field, last_in_a_row, requests};
use super::measure::{Hurt, Stay, nodes};
use super::tell;
use crate::chaos::ask;
use crate::client::{look, send};
use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// From one look to the next.
const BEAT: Duration = Duration::from_millis(250);
/// A host that was not heard for longer does not answer.
const HEARD_MS: u64 = 3_000;

/// Before an order that could not be carried out is given again.
const ORDER_AGAIN: Duration = Duration::from_secs(1);

/// How a step ended.
pub struct End {
    pub outcome: StepOutcomeWord,
    pub detail: String,
    pub evidence: Vec<u64>,
}

impl End {
    fn done(detail: impl Into<String>) -> Self {
        Self {
            outcome: StepOutcomeWord::Done,
            detail: detail.into(),
            evidence: Vec::new(),
        }
    }

    pub fn failed(why: impl Into<String>) -> Self {
        Self {
            outcome: StepOutcomeWord::Failed,
            detail: why.into(),
            evidence: Vec::new(),
        }
    }

    fn with(mut self, position: u64) -> Self {
        self.evidence.push(position);
        self
    }
}

/// What the steps of a run share, and leave behind.
pub struct Stage<'a> {
    pub field: &'a Field<'a>,
    pub document: &'a Document,
    pub interrupt: &'a Interrupt,
    pub reason: &'a str,
    /// The run.
    pub id: String,
    /// Of all databases that the platform file names.
    pub replicas: usize,
    pub clients: Vec<Client>,
    pub faults: BTreeSet<String>,
    pub hurts: Vec<Hurt>,
    pub stays: Vec<Stay>,
    pub archives: Archives,
}

impl Stage<'_> {
    pub fn act(&mut self, step: &Step) -> Result<End, Failure> {
        let deadline = clock::now() + step.limit;
        match &step.act {
            Act::Wait(Wait::Time(time)) => {
                let until = clock::now() + *time;
                self.wait(until.max(deadline), "", |_| Ok(clock::now() >= until))
            }
            Act::Wait(wait) => {
                let what = step.what();
                let since_us = clock::wall_us();
                self.wait(deadline, &what, |stage| stage.holds(wait, since_us))
            }
            Act::Lose {
                region,
                lasts,
                clients,
            } => {
                if *clients {
                    self.lose_clients(region);
                }
                self.inject(step, "region-crash", region, *lasts)
            }
            Act::Inject {
                kind,
                target,
                lasts,
            } => self.inject(step, kind, target, *lasts),
            Act::Heal => self.heal(deadline),
            Act::Switchover { database, to } => self.switchover(step, database, to, deadline),
            Act::FailBack { database, to } => {
                let began = clock::now();
                let end = self.switchover(step, database, to, deadline)?;
                if matches!(end.outcome, StepOutcomeWord::Done) {
                    self.stays.push(Stay {
                        database: database.clone(),
                        from_us: None,
                        until_us: None,
                        failed_back: Some(clock::now() - began),
                    });
                }
                Ok(end)
            }
            Act::Person { .. } => {
                let id = step.id.clone();
                self.wait(deadline, "nobody has confirmed it", |stage| {
                    let shown = tell::shown(stage.field.layout)?;
                    Ok(shown.running.is_some_and(|run| run.confirmed.contains(&id)))
                })
            }
            Act::BackUp { database, prove } => Ok(finding(super::archive::back_up(
                self.field, database, *prove,
            ))),
            Act::CorruptBackup { database } => {
                Ok(finding(self.archives.corrupt(self.field, database)))
            }
            Act::Restore {
                database,
                expect,
                services,
            } => Ok(finding(
                self.archives
                    .restore(self.field, database, *expect, services),
            )),
        }
    }

    /// Looks again and again. What cannot be looked at now may be in a moment: a leader is lost, a node restarts.
    fn wait(
        &self,
        deadline: Instant,
        what: &str,
        holds: impl Fn(&Self) -> Result<bool, Failure>,
    ) -> Result<End, Failure> {
        let began = clock::now();
        let mut problem = String::new();
        loop {
            match holds(self) {
                Ok(true) => {
                    let after = (clock::now() - began).as_millis();
                    return Ok(End::done(format!("after {after} ms")));
                }
                Ok(false) => {}
                Err(failure) => problem = failure.to_string(),
            }
            if self.interrupt.is_set() {
                return Err(Failure::Interrupted);
            }
            if clock::now() >= deadline {
                let limit = clock::now() - began;
                return Ok(End::failed(format!(
                    "not within {limit:.1?}: {what} {problem}"
                )));
            }
            self.interrupt.wait(BEAT);
        }
    }

    /// `since_us`: when it began to be waited for.
    fn holds(&self, wait: &Wait, since_us: u64) -> Result<bool, Failure> {
        let layout = self.field.layout;
        Ok(match wait {
            Wait::Time(_) => true,
            Wait::Primary { database, region } => {
                primary_regions(&look(layout)?, database).contains(region)
            }
            Wait::Away { database, region } => {
                let regions = primary_regions(&look(layout)?, database);
                regions.iter().any(|found| found != region)
            }
            Wait::Whole => {
                let ours = faults::in_force(layout.data());
                ours.is_empty() && is_whole(&look(layout)?, self.replicas)
            }
            Wait::Served(wanted) => {
                for client in self.clients.iter().filter(|client| !client.is_lost) {
                    let load = self.document.loads.get(client.load);
                    let within = load.map_or(Duration::ZERO, |load| load.within);
                    let notes = client.notes().map_err(Failure::Fault)?;
                    if last_in_a_row(&requests(&notes), within, since_us) < *wanted {
                        return Ok(false);
                    }
                }
                true
            }
            Wait::Query(query) => {
                let values = ask::values(layout, query).map_err(|why| Failure::Unknown { why })?;
                values.iter().any(|value| *value != 0.0)
            }
            Wait::Backup {
                database,
                count,
                proven,
            } => super::archive::backups(self.field, database, *proven)? >= *count,
        })
    }

    fn lose_clients(&mut self, region: &str) {
        let here = |client: &&mut Client| client.region.as_deref() == Some(region);
        for client in self.clients.iter_mut().filter(here) {
            client.lose();
        }
    }

    fn inject(
        &mut self,
        step: &Step,
        kind: &str,
        target: &str,
        lasts: Duration,
    ) -> Result<End, Failure> {
        let ordered_ms = clock::wall_ms();
        let fault = InjectFault {
            kind: kind.to_owned(),
            target: target.to_owned(),
            lasts_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
            one_way: false,
            delay_us: 0,
            detail: Default::default(),
        };
        let reason = format!("drill {}, step {}: {}", self.id, step.id, self.reason);
        let outcome = send(self.field.layout, Command::InjectFault(fault), &reason);
        // Whoever leads may be lost with what it breaks: then the guardian's record says that it was set.
        let set = faults::in_force(self.field.layout.data());
        let set = set.into_iter().find(|fault| {
            fault.kind.name() == kind
                && is_meant(fault, target)
                && fault.injected_wall_ms + 1_000 >= ordered_ms
        });
        if let Some(set) = &set {
            self.faults.insert(set.id.clone());
        }
        let at_ms = set
            .as_ref()
            .map_or(ordered_ms, |set| set.injected_wall_ms.max(ordered_ms));
        self.hurts.push(Hurt {
            step: step.id.clone(),
            at_us: at_ms.saturating_mul(1_000),
            until_us: u64::MAX,
            is_planned: false,
        });
        match (outcome, set) {
            (Ok(CommandOutcome::Done { position, detail }), _) => {
                Ok(End::done(detail).with(position))
            }
            (Ok(CommandOutcome::Refused { why, .. }), _) => Ok(End::failed(why)),
            (Ok(CommandOutcome::Unknown { .. }) | Err(_), Some(set)) => {
                let id = set.id;
                Ok(End::done(format!(
                    "{kind} {target} is set as {id}, by its guardian's record"
                )))
            }
            (Ok(CommandOutcome::Unknown { why, .. }), None) => Ok(End::failed(why)),
            (Err(failure), None) => Ok(End::failed(failure.to_string())),
        }
    }

    /// Ends what is still in force of this drill, and waits until each is undone.
    pub fn heal(&mut self, deadline: Instant) -> Result<End, Failure> {
        let mut asked = BTreeSet::new();
        let reason = format!("drill {}: {}", self.id, self.reason);
        loop {
            let left: BTreeSet<String> = faults::in_force(self.field.layout.data())
                .into_iter()
                .map(|fault| fault.id)
                .filter(|id| self.faults.contains(id))
                .collect();
            if left.is_empty() {
                let count = self.faults.len();
                return Ok(End::done(format!("{count} faults are undone")));
            }
            if clock::now() >= deadline {
                let left: Vec<String> = left.into_iter().collect();
                return Ok(End::failed(format!("still in force: {}", left.join(", "))));
            }
            for id in left {
                // Its guardian ends it besides; a refusal says that it is being ended.
                if asked.insert(id.clone()) {
                    send(self.field.layout, Command::ClearFault { id }, &reason).ok();
                }
            }
            crate::down::wait(BEAT);
        }
    }

    fn switchover(
        &mut self,
        step: &Step,
        database: &str,
        to: &str,
        deadline: Instant,
    ) -> Result<End, Failure> {
        let at_us = clock::wall_us();
        let order = Command::Switchover {
            database: database.to_owned(),
            region: to.to_owned(),
        };
        let reason = format!("drill {}, step {}: {}", self.id, step.id, self.reason);
        self.hurts.push(Hurt {
            step: step.id.clone(),
            at_us,
            until_us: u64::MAX,
            is_planned: true,
        });
        // A keeper does not hand over to a standby whose stream is just broken: whoever gives the order gives it again.
        let mut refused = String::new();
        let position = loop {
            match send(self.field.layout, order.clone(), &reason)? {
                CommandOutcome::Done { position, .. }
                | CommandOutcome::Unknown { position, .. } => break position,
                CommandOutcome::Refused { code, why, .. } if code == CommandOutcome::FAILED => {
                    if clock::now() >= deadline {
                        return Ok(End::failed(why));
                    }
                    refused = format!("; given again, because at first: {why}");
                }
                CommandOutcome::Refused { why, .. } => return Ok(End::failed(why)),
            }
            if self.interrupt.is_set() {
                return Err(Failure::Interrupted);
            }
            self.interrupt.wait(ORDER_AGAIN);
        };
        let there = Wait::Primary {
            database: database.to_owned(),
            region: to.to_owned(),
        };
        let mut end = self.wait(deadline, "the primary is not open there", |stage| {
            stage.holds(&there, at_us)
        })?;
        end.detail.push_str(&refused);
        Ok(end.with(position))
    }
}

fn finding(result: anyhow::Result<String>) -> End {
    match result {
        Ok(detail) => End::done(detail),
        Err(error) => End::failed(format!("{error:#}")),
    }
}

/// Regions in which an open primary of the database says so of itself, now.
pub fn primary_regions(gathered: &Gathered, database: &str) -> Vec<String> {
    nodes(gathered)
        .filter_map(|node| {
            let seen = node.keepers.get(database)?;
            let sight = &seen.value.as_ref()?.sight;
            let is_fresh = seen.problem.is_none() && seen.age_ms < HEARD_MS;
            let is_open = sight.role == SightRole::Primary && sight.open;
            (is_fresh && is_open && is_heard(gathered, &node.host)).then(|| node.region.clone())
        })
        .collect()
}

fn is_heard(gathered: &Gathered, host: &str) -> bool {
    let seen = gathered.others.get(host);
    host == gathered.own.host
        || seen.is_some_and(|seen| seen.problem.is_none() && seen.age_ms < HEARD_MS)
}

/// Every host answers, and every replica counts: those that the platform file names, not those that happen to be told
/// of by a node which has just come back.
fn is_whole(gathered: &Gathered, replicas: usize) -> bool {
    let all_answer = gathered.others.keys().all(|host| is_heard(gathered, host));
    let counts = |seen: &&Seen<KeeperStatus>| {
        seen.problem.is_none()
            && seen.value.as_ref().is_some_and(|status| {
                let role = status.sight.role;
                let follows =
                    role == SightRole::Standby || (role == SightRole::Primary && status.sight.open);
                follows && status.cohort.members.contains(&status.sight.host)
            })
    };
    let keepers = nodes(gathered).flat_map(|node| node.keepers.values());
    all_answer && keepers.filter(counts).count() == replicas
}

/// For the journal.
pub fn end_record(drill: &str, step: &str, end: End) -> DrillAskRecord {
    DrillAskRecord::EndStep {
        drill: drill.to_owned(),
        end: mainstay_record::drill::StepEndRecord {
            step: step.to_owned(),
            outcome: end.outcome,
            detail: end.detail,
            evidence: end.evidence,
        },
    }
}

/// Whether a fault has the target that a document names. Of two regions, which may be parted in several ways, a guardian's record
/// has one as the target and the other beside it.
fn is_meant(fault: &FaultStatus, target: &str) -> bool {
    let mut parts = target
        .split([',', ':', ' '])
        .flat_map(|part| part.split("--"));
    let mut next = || parts.find(|part| !part.is_empty());
    match &fault.parameters.to {
        Some(to) => next() == Some(fault.target.as_str()) && next() == Some(to.as_str()),
        None => fault.target == target,
    }
}
