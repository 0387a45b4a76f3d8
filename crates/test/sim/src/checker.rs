//! What must hold, checked on the servers, disks and messages themselves, by code that shares nothing with
//! the keeper core.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_keeper::{
    Body, Durable, Lineage, Message, Rank, Renewal, Report, Role, Status, SynchronousStandbys,
};

use crate::host::Host;
use crate::lineage::{Bases, Era};
use crate::postgres::log::{Log, Record, is_in_place};
use crate::postgres::{FIRST_RECORD, Waiter};
use crate::reshape::Shape;
use crate::shell::index;
use crate::solo::Windows;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub detail: String,
}

/// The invariants, by what breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// An acknowledged write is not in the log of a primary that came later.
    AcknowledgedLost,
    /// A read was answered that misses a write acknowledged before it was asked.
    StaleRead,
    /// Something appears that nobody wrote, or twice.
    Invented,
    /// Two promotions onto one timeline.
    TimelineTwice,
    /// A server left recovery without being promoted, or on another timeline than its term's.
    WritableWithoutPromotion,
    /// Applications were let in before a quorum had the timeline's first record on disk.
    OpenedEarly,
    /// The server's setting was emptied while applications could be connected.
    SettingWeakened,
    /// An acknowledgement rests on fewer copies than promised.
    TooFewCopies,
    /// A replica acknowledged for a primary after it had reported to a later term's coordinator.
    AcknowledgedAfterReport,
    /// A replica acknowledged for a term that its durable record does not know.
    AcknowledgedWithoutFloor,
    /// A report left before the promise was on disk.
    ReportBeforePromise,
    /// A report said something else than the disk.
    FalseReport,
    /// One replica promised one term to two.
    PromisedTwice,
    /// A term began without enough promises on disk.
    PromotedWithoutMajority,
    /// A promotion in a term that was given up, or the other way round.
    AbortedAndPromoted,
    /// A replica was made to count before it had every acknowledged write.
    AdmittedEarly,
    /// An acknowledgement rests on a replica whose membership no majority had recorded.
    CountedUnrecorded,
    /// An acknowledgement rests on a replica that forgot what it had and was not readmitted.
    CountedForgetful,
    /// A lease was granted by a replica that no cohort record names.
    GrantedByStranger,
    /// A primary opened while another could still answer readers.
    LeasesOverlap,
    /// A standby was stopped in order while another one that was had not come back.
    RenewedTogether,
    /// The record relies on what is not on enough of the disks that it names.
    ReshapedEarly,
    /// Healed, and who counts, or of how many copies, is not what the file says.
    ReshapeLeft,
    /// Healed, and a server still waits for its start.
    RenewalLeft,
    /// Healed, and not available.
    Unavailable,
    /// A commit was answered with fewer copies than promised, and no majority had been told before.
    AloneUndeclared,
    /// The full promise was claimed again, or something counted as protected, before enough disks had it.
    ClaimedTooMuch,
    /// A primary opened again with what not enough disks have.
    ReopenedEarly,
    /// A new primary lacks what was answered alone, and its record does not say so.
    LossUnknown,
    /// Another primary where nothing was lost.
    PromotedForNothing,
    /// A lineage was begun where nothing was lost.
    ForcedForNothing,
}

/// A write that is so many writes old at the end must be everywhere.
const SETTLED: usize = 15;

#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub write: u64,
    pub lineage: Lineage,
    pub term: u32,
    pub lsn: u64,
    /// Answered by a primary that served alone, and not claimed to be protected since.
    pub alone: bool,
}

/// A host, and which filling of its folder.
type Coordinator = (usize, u128);

fn coordinator_of(durable: &Durable) -> Option<Coordinator> {
    let promise = durable.promise;
    Some((index(promise.coordinator?), promise.incarnation.0))
}

#[derive(Debug)]
pub struct Checker {
    pub violation: Option<Violation>,
    pub faults: u32,
    pub disk_losses: u32,
    pub failovers: u32,
    pub reads: u32,
    copies: usize,
    hosts: usize,
    acknowledged: Vec<Acknowledged>,
    attempted: BTreeSet<u64>,
    /// The first record of every timeline, and who wrote it.
    timelines: BTreeMap<Era, (usize, u64)>,
    /// Who coordinated the promotion to a timeline.
    coordinators: BTreeMap<Era, Coordinator>,
    opened: BTreeSet<Era>,
    /// Closed, and not opened again since.
    closed: BTreeSet<Era>,
    /// Who durably promised a term, with which of its disks, and to whom. A disk that is lost takes back nothing that it said.
    promised: BTreeMap<Era, BTreeMap<(usize, u32), Option<Coordinator>>>,
    /// How many disks each host has lost.
    lives: Vec<u32>,
    /// The highest term that a host reported for.
    reported: Vec<Era>,
    aborted: BTreeSet<(Era, Coordinator)>,
    /// What each lineage began with.
    pub bases: Bases,
    /// Fillings that were in a cohort record on a majority of disks.
    recorded_members: BTreeSet<(u8, u128)>,
    disks: Vec<Option<Durable>>,
    /// Logs that were on disks which were lost or filled anew.
    graves: Vec<(usize, Log)>,
    /// Fillings that were lost, and the first connection that can only be of what came after.
    forgotten: BTreeMap<(u8, u128), u64>,
    /// Where a primary's log ended when a filling first streamed from it: (timeline, filling).
    noted: BTreeMap<(u32, u8, u128), u64>,
    announced: BTreeSet<(u32, u8, u128)>,
    acknowledged_at_heal: Option<usize>,
    roles: Vec<Role>,
    /// How many were answered alone.
    pub alone: u32,
    pub windows: Windows,
    /// Who counts changes: the disks that decide are those that a record names.
    pub reshapes: bool,
    /// How often a primary let a replica go, or promised more copies.
    pub reshapings: u32,
}

impl Checker {
    pub fn new(hosts: usize, copies: u8) -> Self {
        Self {
            violation: None,
            faults: 0,
            disk_losses: 0,
            failovers: 0,
            reads: 0,
            copies: usize::from(copies),
            hosts,
            acknowledged: Vec::new(),
            attempted: BTreeSet::new(),
            timelines: BTreeMap::new(),
            coordinators: BTreeMap::new(),
            opened: BTreeSet::new(),
            closed: BTreeSet::new(),
            promised: BTreeMap::new(),
            lives: vec![0; hosts],
            reported: vec![(Lineage::ORIGIN, 0); hosts],
            bases: Bases::default(),
            aborted: BTreeSet::new(),
            recorded_members: BTreeSet::new(),
            disks: vec![None; hosts],
            graves: Vec::new(),
            forgotten: BTreeMap::new(),
            noted: BTreeMap::new(),
            announced: BTreeSet::new(),
            acknowledged_at_heal: None,
            roles: vec![Role::Starting; hosts],
            alone: 0,
            windows: Windows::default(),
            reshapes: false,
            reshapings: 0,
        }
    }

    pub fn broken(&mut self, invariant: Invariant, detail: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, detail });
        }
    }

    pub fn known(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    pub fn known_mut(&mut self) -> &mut Vec<Acknowledged> {
        &mut self.acknowledged
    }

    pub fn copies_needed(&self) -> usize {
        self.copies
    }

    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    pub fn attempted(&mut self, write: u64) {
        self.attempted.insert(write);
    }

    pub fn published(&mut self, host: usize, status: &Status, hosts: &[Host]) {
        self.roles[host] = status.role;
        self.claims(host, status, hosts);
    }

    /// A record reached a disk.
    pub fn recorded(&mut self, host: usize, durable: &Durable, hosts: &[Host]) {
        let term = durable.promise.highest.0;
        let coordinator = coordinator_of(durable);
        if coordinator.is_some() {
            let known = self
                .promised
                .entry((durable.lineage, term))
                .or_default()
                .entry((host, self.lives[host]))
                .or_insert(coordinator);
            if *known != coordinator {
                let detail = format!(
                    "host {} promised {term} to {known:?} and {coordinator:?}",
                    host + 1
                );
                self.broken(Invariant::PromisedTwice, detail);
            }
        }
        self.note_reshaping(host, durable, hosts);
        self.disks[host] = Some(durable.clone());
        let voices = self.voices(durable);
        self.windows.recorded(durable, &self.disks, &voices);
        let members: Vec<(u8, u128)> = durable
            .cohort
            .iter()
            .flat_map(|cohort| cohort.members.iter())
            .map(|(replica, member)| (replica.0, member.incarnation.0))
            .collect();
        for member in members {
            if self.recorded_members.contains(&member) {
                continue;
            }
            // The founder's own record makes it a member; it is alone.
            if self.is_known_to_majority(durable, member) {
                self.recorded_members.insert(member);
                let era = (durable.lineage, term_of(durable));
                self.admitted(usize::from(member.0) - 1, member, era, hosts);
            }
        }
    }

    fn note_reshaping(&mut self, host: usize, durable: &Durable, hosts: &[Host]) {
        let own = durable.promise.coordinator.is_some() || hosts[host].is_open();
        let known = self.disks[host]
            .as_ref()
            .and_then(|disk| disk.cohort.clone());
        if let (true, Some(before), Some(after)) = (own, known, &durable.cohort)
            && before.version.term == after.version.term
        {
            let era = (durable.lineage, after.version.term.0);
            self.reshaped(era, (&before, after), hosts);
        }
    }

    /// How many of these hosts have a write on disk, or had it until the disk was lost.
    pub fn holders(&self, write: u64, among: &[usize], hosts: &[Host]) -> usize {
        let had = |host: &&usize| {
            let folder = hosts[**host].server.folder.as_ref();
            folder.is_some_and(|folder| contains(folder.log.flushed_records(), write))
                || self
                    .graves
                    .iter()
                    .any(|(other, log)| other == *host && contains(log.flushed_records(), write))
        };
        among.iter().filter(had).count()
    }

    /// Of the hosts, or in a lineage that was begun by order of whom its record names.
    fn is_known_to_majority(&self, durable: &Durable, member: (u8, u128)) -> bool {
        let names = |disk: &Durable| {
            disk.lineage == durable.lineage
                && disk.cohort.as_ref().is_some_and(|cohort| {
                    cohort
                        .members
                        .iter()
                        .any(|(replica, other)| (replica.0, other.incarnation.0) == member)
                })
        };
        let knows = |host: &usize| self.disks[*host].as_ref().is_some_and(names);
        let voices = self.voices(durable);
        voices.iter().filter(|host| knows(host)).count() > voices.len() / 2
    }

    /// Whose disks decide: in a lineage that was begun by order, and where nobody was let in yet, those that are named.
    pub fn voices(&self, durable: &Durable) -> Vec<usize> {
        let grows = durable.lineage.is_forced() || self.opened.is_empty() || self.reshapes;
        match &durable.cohort {
            Some(cohort) if grows => {
                let named = cohort.members.keys().copied();
                named.map(index).collect()
            }
            Some(_) | None => (0..self.hosts).collect(),
        }
    }

    /// What a folder was filled with is forgotten from here on.
    pub fn forgotten(&mut self, host: usize, incarnation: Option<u128>, connection: u64) {
        if let Some(incarnation) = incarnation {
            let filling = (host as u8 + 1, incarnation);
            self.forgotten.insert(filling, connection);
        }
    }

    /// A standby begins to stream.
    pub fn connected(&mut self, host: usize, incarnation: Option<u128>, timeline: u32, end: u64) {
        if let Some(incarnation) = incarnation {
            let key = (timeline, host as u8 + 1, incarnation);
            self.noted.entry(key).or_insert(end);
        }
    }

    /// A primary announces a cohort: whoever is new in it must have what there was when it came.
    fn announces(&mut self, from: usize, filling: (u8, u128), hosts: &[Host]) {
        let timeline = hosts[from]
            .server
            .process
            .as_ref()
            .filter(|process| process.primary)
            .map_or(0, |process| process.timeline);
        let key = (timeline, filling.0, filling.1);
        if !self.announced.insert(key) {
            return;
        }
        let host = usize::from(filling.0) - 1;
        let known = self.recorded_members.contains(&filling);
        let folder = hosts[host].server.folder.as_ref();
        let (Some(noted), Some(folder)) = (self.noted.get(&key), folder) else {
            return;
        };
        let flushed = folder.log.flushed_end();
        if !known && folder.incarnation == Some(filling.1) && flushed < *noted {
            let detail = format!("host {} counts at {flushed}, noted {noted}", host + 1);
            self.broken(Invariant::AdmittedEarly, detail);
        }
    }

    /// A log is about to be thrown away. What rested on it rested on it rightly.
    pub fn buried(&mut self, host: usize, log: Log) {
        self.graves.push((host, log));
    }

    pub fn disk_lost(&mut self, host: usize) {
        self.disks[host] = None;
        self.reported[host] = (Lineage::ORIGIN, 0);
        self.lives[host] += 1;
    }

    /// A standby was stopped in order. Of three, two are needed.
    pub fn renewed(&mut self, host: usize, hosts: &[Host]) {
        let away = |other: &usize| *other != host && hosts[*other].renewing;
        if let Some(other) = (0..hosts.len()).find(away)
            && hosts.len() == 3
        {
            let detail = format!("host {} while host {} is away", host + 1, other + 1);
            self.broken(Invariant::RenewedTogether, detail);
        }
    }

    pub fn sent(&mut self, host: usize, message: &Message, hosts: &[Host]) {
        match &message.body {
            Body::Report { term, verdict, .. } => {
                if let Report::Recruited { rank, .. } = verdict.as_ref() {
                    self.reports(host, (message.lineage, term.0), rank, hosts);
                }
            }
            Body::Abort { term } => {
                let era = (message.lineage, term.0);
                let coordinator = (host, message.incarnation.0);
                self.aborted.insert((era, coordinator));
                if self.coordinators.get(&era) == Some(&coordinator) {
                    self.broken(
                        Invariant::AbortedAndPromoted,
                        format!("term {term} aborted"),
                    );
                }
            }
            Body::KeepCohort { cohort } => {
                for (replica, member) in cohort.members.iter() {
                    self.announces(host, (replica.0, member.incarnation.0), hosts);
                }
            }
            Body::Grant { term, .. } => {
                let own = hosts[host]
                    .disk
                    .record
                    .as_ref()
                    .map(|disk| disk.incarnation);
                let named = self.disks.iter().flatten().any(|disk| {
                    disk.cohort.as_ref().is_some_and(|cohort| {
                        let member = cohort.members.get(&hosts[host].id);
                        member.map(|member| member.incarnation) == own
                    })
                });
                if !named {
                    let detail = format!("host {} granted a lease of {term}", host + 1);
                    self.broken(Invariant::GrantedByStranger, detail);
                }
            }
            Body::Heartbeat(_)
            | Body::AskPreVote { .. }
            | Body::PreVote { .. }
            | Body::Recruit { .. }
            | Body::Promote { .. }
            | Body::CohortKept { .. } => {}
        }
    }

    /// A replica tells a coordinator what it has.
    fn reports(&mut self, host: usize, era: Era, rank: &Rank, hosts: &[Host]) {
        let disk = hosts[host].disk.record.as_ref();
        if disk.is_none_or(|disk| disk.promise.highest.0 < era.1) {
            let detail = format!("host {} reported for {}", host + 1, era.1);
            self.broken(Invariant::ReportBeforePromise, detail);
        }
        let truth = hosts[host]
            .server
            .folder
            .as_ref()
            .map(|folder| (folder.log.timeline(), folder.log.flushed_end()));
        if truth != Some((rank.timeline.0, rank.lsn.0)) {
            let detail = format!("host {} reported {rank:?}, has {truth:?}", host + 1);
            self.broken(Invariant::FalseReport, detail);
        }
        self.reported[host] = self.reported[host].max(era);
    }

    /// A majority of disks says that this filling counts.
    fn admitted(&mut self, host: usize, filling: (u8, u128), era: Era, hosts: &[Host]) {
        let Some(folder) = hosts[host].server.folder.as_ref() else {
            return;
        };
        if folder.incarnation != Some(filling.1) {
            return;
        }
        // With it in the place of its former filling, every acknowledged write is still on enough.
        let missing =
            self.acknowledged
                .iter()
                .filter(|known| known.lineage == era.0 && known.term <= era.1 && !known.alone)
                .find(|known| {
                    let holders = hosts.iter().filter(|other| {
                        other.server.folder.as_ref().is_some_and(|folder| {
                            contains(folder.log.flushed_records(), known.write)
                        })
                    });
                    holders.count() < self.copies
                });
        if let Some(known) = missing {
            let detail = format!("host {} counts without write {}", host + 1, known.write);
            self.broken(Invariant::AdmittedEarly, detail);
        }
    }

    pub fn started(&mut self, host: usize, hosts: &[Host]) {
        let process = hosts[host].server.process.as_ref();
        if process.is_some_and(|process| process.primary) {
            let detail = format!("host {} started read-write", host + 1);
            self.broken(Invariant::WritableWithoutPromotion, detail);
        }
    }

    pub fn promoted(&mut self, host: usize, term: u32, hosts: &[Host]) {
        let Some(folder) = &hosts[host].server.folder else {
            return;
        };
        let timeline = folder.log.timeline();
        let marker = folder
            .log
            .records()
            .last()
            .map_or(0, |record| record.payload);
        if marker & FIRST_RECORD == 0 || timeline != term {
            let detail = format!(
                "host {} is primary of {term} on timeline {timeline}",
                host + 1
            );
            self.broken(Invariant::WritableWithoutPromotion, detail);
        }
        let era = (hosts[host].lineage(), term);
        self.begun(host, hosts);
        let first = self.timelines.is_empty();
        let timed = (hosts[host].lineage(), timeline);
        let known = *self.timelines.entry(timed).or_insert((host, marker));
        if known != (host, marker) {
            let detail = format!(
                "timeline {timeline} began on hosts {} and {}",
                known.0 + 1,
                host + 1
            );
            self.broken(Invariant::TimelineTwice, detail);
        }
        let record = hosts[host].disk.record.as_ref();
        let incarnation = record.map_or(0, |disk| disk.incarnation.0);
        let coordinator = record
            .and_then(coordinator_of)
            .unwrap_or((host, incarnation));
        self.coordinators.insert(era, coordinator);
        if self.aborted.contains(&(era, coordinator)) {
            self.broken(
                Invariant::AbortedAndPromoted,
                format!("term {term} promoted"),
            );
        }
        let voices = hosts[host]
            .disk
            .record
            .as_ref()
            .map_or(Vec::new(), |disk| self.voices(disk));
        let has_promised = |voice: &&usize| {
            let promises = self.promised.get(&era);
            promises.is_some_and(|promises| promises.keys().any(|(host, _)| host == *voice))
        };
        let promises = voices.iter().filter(has_promised).count();
        // The first term of all is the founder's alone.
        if promises <= voices.len() / 2 && !first {
            let detail = format!("term {term} began with {promises} promises");
            self.broken(Invariant::PromotedWithoutMajority, detail);
        }
        self.contains_all(host, hosts, era, "was promoted");
    }

    /// What was acknowledged under earlier terms is in this host's log.
    fn contains_all(&mut self, host: usize, hosts: &[Host], before: Era, how: &str) {
        let Some(folder) = &hosts[host].server.folder else {
            return;
        };
        let missing = self.acknowledged.iter().find(|known| {
            known.era() < before
                && !contains(folder.log.records(), known.write)
                && !self.is_given_up(known, &hosts[host])
        });
        if let Some(known) = missing {
            let detail = format!("host {} {how} without write {}", host + 1, known.write);
            self.broken(known.loss(), detail);
        }
    }

    /// On how many disks a record is, or was until they were lost.
    pub fn copies(&self, record: &Record, hosts: &[Host]) -> usize {
        let had = |host: usize| {
            hosts[host]
                .server
                .folder
                .as_ref()
                .is_some_and(|folder| folder.log.has_flushed(record))
                || self
                    .graves
                    .iter()
                    .any(|(other, log)| *other == host && log.has_flushed(record))
        };
        (0..hosts.len()).filter(|host| had(*host)).count()
    }

    /// Applications were sent away.
    pub fn closed(&mut self, host: usize, hosts: &[Host]) {
        if let Some(process) = hosts[host].server.process.as_ref() {
            self.closed
                .insert((hosts[host].lineage(), process.timeline));
        }
    }

    /// Applications are let in.
    pub fn opened(&mut self, host: usize, now: u64, hosts: &[Host]) {
        let Some(process) = hosts[host].server.process.as_ref() else {
            return;
        };
        let timeline = process.timeline;
        let era = (hosts[host].lineage(), timeline);
        if self.opened.insert(era) && self.opened.len() > 1 {
            self.failovers += 1;
        }
        let again = self.closed.remove(&era);
        // Whoever waited was sent away when it closed, and what he wrote is seen by whoever comes now.
        let last = hosts[host].server.folder.as_ref().and_then(|folder| {
            let records = folder.log.flushed_records();
            records.last().copied()
        });
        let seen = last.map_or(0, |record| self.copies(&record, hosts));
        if again && seen < self.copies && !self.windows.is_open(era) {
            let detail = format!(
                "host {} opened {timeline} again with {seen} copies",
                host + 1
            );
            self.broken(Invariant::ReopenedEarly, detail);
        }
        let first = hosts[host].server.folder.as_ref().and_then(|folder| {
            let marker = self.timelines.get(&era)?.1;
            folder.log.find(marker)
        });
        let copies = first.map_or(0, |record| self.copies(&record, hosts));
        // By order, and as long as a majority of disks says so.
        let alone = era.0.is_forced() && self.windows.is_open(era);
        if copies < self.copies && !alone {
            let detail = format!("host {} opened {timeline} with {copies} copies", host + 1);
            self.broken(Invariant::OpenedEarly, detail);
        }
        self.contains_all(host, hosts, era, "opened");
        for (other, candidate) in hosts.iter().enumerate() {
            let answers = candidate.lease.is_some_and(|(term, _)| term < timeline)
                && candidate.holds_lease(now)
                && candidate.engine.is_some();
            // Between lineages nothing is promised: whoever orders one answers for the other.
            if other != host && answers && !candidate.down && candidate.lineage() == era.0 {
                let detail = format!(
                    "host {} opened {timeline}, host {} holds a lease",
                    host + 1,
                    other + 1
                );
                self.broken(Invariant::LeasesOverlap, detail);
            }
        }
    }

    pub fn setting_changed(&mut self, host: usize, hosts: &[Host]) {
        let Some(process) = hosts[host].server.process.as_ref() else {
            return;
        };
        let alone = process.standbys == SynchronousStandbys::Off;
        let declared = self
            .windows
            .is_open((hosts[host].lineage(), process.timeline));
        if process.primary && process.applications && alone && !declared {
            let detail = format!("host {} waits for nobody", host + 1);
            self.broken(Invariant::SettingWeakened, detail);
        }
    }

    /// A standby flushed what a primary sent, and will say so.
    pub fn standby_flushed(&mut self, host: usize, source: usize, hosts: &[Host]) {
        let Some(process) = hosts[source].server.process.as_ref() else {
            return;
        };
        let term = process.timeline;
        let era = (hosts[source].lineage(), term);
        let reported = self.reported[host];
        let given_up = self.aborted.iter().any(|(aborted, _)| *aborted == reported);
        if process.primary && reported.0 == era.0 && reported > era && !given_up {
            let detail = format!(
                "host {} reported for {reported:?} and flushed for {term}",
                host + 1
            );
            self.broken(Invariant::AcknowledgedAfterReport, detail);
        }
        // To the lineage that it left a keeper is dead; its server may outlive it for a moment.
        let record = hosts[host].disk.record.as_ref();
        if record.is_some_and(|record| record.lineage > era.0) {
            return;
        }
        let floor = record.map_or(0, |record| record.promise.floor.0);
        let receiver = hosts[host]
            .server
            .process
            .as_ref()
            .and_then(|process| process.receiver);
        let counts = match (&process.standbys, receiver) {
            (SynchronousStandbys::Any { names, .. }, Some(receiver)) => {
                names.contains(&receiver.name)
            }
            _ => false,
        };
        if process.primary && counts && floor < term {
            let detail = format!("host {} flushed for {term} with floor {floor}", host + 1);
            self.broken(Invariant::AcknowledgedWithoutFloor, detail);
        }
    }

    /// A client was told that its write is done.
    pub fn acknowledged(&mut self, host: usize, waiter: Waiter, hosts: &[Host]) {
        let (Some(folder), Some(process)) =
            (&hosts[host].server.folder, &hosts[host].server.process)
        else {
            return;
        };
        let write = waiter.write;
        let record = folder.log.find(write);
        let copies = record.map_or(0, |record| self.copies(&record, hosts));
        let alone = process.standbys == SynchronousStandbys::Off;
        let lineage = hosts[host].lineage();
        if alone && !self.windows.is_open((lineage, process.timeline)) {
            let detail = format!("write {write} by host {}", host + 1);
            self.broken(Invariant::AloneUndeclared, detail);
        }
        if copies < promised(&hosts[host]).max(self.copies) && !alone {
            let detail = format!(
                "write {write} acknowledged by host {} with {copies} copies",
                host + 1
            );
            self.broken(Invariant::TooFewCopies, detail);
        }
        for sender in process.counted(waiter.lsn) {
            let name = sender.client.name;
            let filling = (name.replica.0, name.incarnation.0);
            if !self.recorded_members.contains(&filling) {
                let detail = format!("write {write} rests on host {}", name.replica);
                self.broken(Invariant::CountedUnrecorded, detail);
            }
        }
        for sender in process.counted(waiter.lsn) {
            let name = sender.client.name;
            let filling = (name.replica.0, name.incarnation.0);
            if self
                .forgotten
                .get(&filling)
                .is_some_and(|since| sender.connection > *since)
            {
                let detail = format!("write {write} rests on host {}", name.replica);
                self.broken(Invariant::CountedForgetful, detail);
            }
        }
        let term = process.timeline;
        let known = Acknowledged {
            write,
            lineage,
            term,
            lsn: waiter.lsn,
            alone,
        };
        let later = hosts.iter().find(|other| {
            let process = other.server.process.as_ref();
            let later = |timeline| (other.lineage(), timeline) > (lineage, term);
            other.is_open() && process.is_some_and(|process| later(process.timeline))
        });
        if let Some(later) = later {
            let has = later
                .server
                .folder
                .as_ref()
                .is_some_and(|folder| folder.log.contains(write));
            if !has && !self.is_given_up(&known, later) {
                let detail =
                    format!("write {write} acknowledged under {term}, unknown to a later primary");
                self.broken(known.loss(), detail);
            }
        }
        self.alone += u32::from(alone);
        self.acknowledged.push(known);
    }

    pub fn read(&mut self, host: usize, required: usize, hosts: &[Host]) {
        self.reads += 1;
        let Some(folder) = &hosts[host].server.folder else {
            return;
        };
        // Acknowledgements come nearly in the order of writing, so the last few are those at risk.
        let from = required.saturating_sub(40);
        let lineage = hosts[host].lineage();
        let missing = self
            .acknowledged
            .get(from..required)
            .unwrap_or_default()
            .iter()
            .filter(|known| known.lineage <= lineage)
            .find(|known| {
                !folder.log.contains(known.write) && !self.is_given_up(known, &hosts[host])
            });
        if let Some(known) = missing {
            let detail = format!(
                "host {} answered a reader without write {}",
                host + 1,
                known.write
            );
            self.broken(Invariant::StaleRead, detail);
        }
    }

    /// Nothing was lost, so nobody had to be promoted.
    pub fn stayed(&mut self) {
        if self.failovers > 0 {
            let detail = format!("{} failovers", self.failovers);
            self.broken(Invariant::PromotedForNothing, detail);
        }
        if self.bases.count() > 0 {
            let detail = format!("{:?}", self.bases);
            self.broken(Invariant::ForcedForNothing, detail);
        }
    }

    pub fn healed(&mut self) {
        self.acknowledged_at_heal = Some(self.acknowledged.len());
    }

    /// Whoever follows has what was acknowledged some seconds ago, and counts again.
    fn lack(&self, primary: usize, shape: &Shape, hosts: &[Host]) -> Option<String> {
        let kept = |known: &&Acknowledged| !self.is_given_up(known, &hosts[primary]);
        let settled = self.acknowledged.iter().rev().filter(kept).nth(SETTLED - 1);
        let behind = shape.staying().find(|other| {
            let folder = hosts[*other].server.folder.as_ref();
            !folder.is_some_and(|folder| {
                settled.is_none_or(|known| contains(folder.log.records(), known.write))
            })
        });
        let standbys = hosts[primary].server.process.as_ref();
        let counted = standbys.map_or(0, |process| match &process.standbys {
            SynchronousStandbys::Any { names, .. } => names.len(),
            SynchronousStandbys::Nobody | SynchronousStandbys::Off => 0,
        });
        let damaged = hosts
            .iter()
            .any(|host| host.server.folder.as_ref().is_some_and(|f| f.damaged));
        let whole = behind.is_none() && counted + 1 >= shape.staying().count() && !damaged;
        (!whole).then(|| format!("{counted} count, {behind:?} is behind, damaged: {damaged}"))
    }

    /// Everything is over: the database must serve, hold all that was acknowledged and nothing else.
    pub fn finish(&mut self, shape: &Shape, hosts: &[Host]) {
        if self.violation.is_some() {
            return;
        }
        let open: Vec<usize> = (0..hosts.len())
            .filter(|host| hosts[*host].is_open())
            .collect();
        let since_heal = self.acknowledged.len() - self.acknowledged_at_heal.unwrap_or(0);
        let states: Vec<String> = hosts.iter().map(told).collect();
        let followers = hosts
            .iter()
            .filter(|host| {
                host.server
                    .process
                    .as_ref()
                    .is_some_and(|process| process.receiver.is_some())
            })
            .count();
        if open.len() != 1 || since_heal < 5 || followers + 1 < shape.staying().count() {
            let detail = format!(
                "{} open, {since_heal} writes since healing, {followers} follow; {states:?}",
                open.len()
            );
            self.broken(Invariant::Unavailable, detail);
            return;
        }
        let waiting = shape
            .staying()
            .find(|host| hosts[*host].renewal != Renewal::NotNeeded);
        if let Some(host) = waiting {
            let detail = format!("host {} still waits for its start; {states:?}", host + 1);
            self.broken(Invariant::RenewalLeft, detail);
            return;
        }
        let host = open[0];
        if let Some(left) = left_to_do(&hosts[host], shape) {
            self.broken(Invariant::ReshapeLeft, left);
            return;
        }
        if let Some(lack) = self.lack(host, shape, hosts) {
            self.broken(Invariant::Unavailable, format!("{lack}; {states:?}"));
            return;
        }
        let last = self.bases.last();
        if shape.staying().any(|host| hosts[host].lineage() != last) {
            self.broken(
                Invariant::Unavailable,
                format!("not all are of {last:?}; {states:?}"),
            );
            return;
        }
        self.contains_all(host, hosts, (last, u32::MAX), "ended");
        self.windows.lost = self.lost_alone(host, hosts);
        self.count_given_up(host, hosts);
        let records = hosts[host]
            .server
            .folder
            .as_ref()
            .map(|folder| folder.log.records().to_vec())
            .unwrap_or_default();
        let mut seen = BTreeSet::new();
        for record in records
            .iter()
            .filter(|record| record.payload < FIRST_RECORD)
        {
            if !self.attempted.contains(&record.payload) || !seen.insert(record.payload) {
                self.broken(Invariant::Invented, format!("write {}", record.payload));
            }
        }
    }
}

/// The copies of each commit that a primary's record promises.
fn promised(primary: &Host) -> usize {
    let record = primary.disk.record.as_ref();
    let copies = record.and_then(|disk| disk.cohort.as_ref()?.copies);
    copies.map_or(0, usize::from)
}

/// Where a primary's record is not what the file says.
fn left_to_do(primary: &Host, shape: &Shape) -> Option<String> {
    let cohort = primary.disk.record.as_ref()?.cohort.as_ref()?;
    let members: Vec<usize> = cohort
        .members
        .keys()
        .map(|id| usize::from(id.0) - 1)
        .collect();
    let wanted: Vec<usize> = shape.staying().collect();
    let copies = cohort.copies.is_none_or(|copies| copies == shape.copies);
    (members != wanted || !copies).then(|| format!("{cohort:?}, and the file says {shape:?}"))
}

/// What a host's keeper is at.
fn told(host: &Host) -> String {
    let keeper = host.keeper.as_ref();
    let told = keeper.map(|keeper| (keeper.state(), keeper.status().reason));
    format!("{told:?}")
}

/// Whether a write is among records: at its place, or anywhere, because a log that is not in order is one of the things
/// that may have gone wrong.
fn contains(records: &[Record], write: u64) -> bool {
    is_in_place(records, write) || records.iter().any(|record| record.payload == write)
}

fn term_of(durable: &Durable) -> u32 {
    durable
        .cohort
        .as_ref()
        .map_or(0, |cohort| cohort.version.term.0)
}
