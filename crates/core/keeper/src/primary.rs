//! What a primary owes: open only with its quorum, keep the cohort record where it must be, keep the
//! server's setting in step with it, admit learners.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use mainstay_units::{Incarnation, Instant, Lsn, Term};

use crate::cohort::majority;
use crate::config::ReplicaId;
use crate::durable::{Cohort, CohortVersion, Member, Solo};
use crate::keeper::Keeper;
use crate::machine::State;
use crate::message::Body;
use crate::planted::PlantedBug;
use crate::postgres::{
    Client, ClientState, Command, OperationId, Outcome, ProcessState, SynchronousStandbys,
    TimelineHistory,
};
use crate::renewal::Renewals;
use crate::status::HaltReason;

/// A primary's knowledge of its own term.
#[derive(Debug)]
pub(crate) struct Primary {
    pub term: Term,
    /// The quorum must have flushed this far before anybody is let in.
    pub first_record_end: Lsn,
    pub history: TimelineHistory,
    pub rewind_source: bool,
    /// What the server's setting follows, as far as it is known: nothing is, while a change is under way.
    pub setting: Option<Setting>,
    setting_asked: Option<(OperationId, Setting)>,
    /// How far the log is known to be on enough disks.
    pub protected: Lsn,
    /// Where the log ended when commits had begun to wait again.
    pub barrier: Barrier,
    /// That it serves alone, as its own record last said.
    pub solo: Option<Solo>,
    checkpoint: Option<OperationId>,
    /// Who keeps the present cohort record, in which incarnation.
    kept: BTreeMap<ReplicaId, Incarnation>,
    /// The cohort before a change that is not known to be durable.
    pub previous: Option<Cohort>,
    /// The record that was on enough disks; what was once, stays decided.
    pub settled: Option<CohortVersion>,
    admission: Option<Admission>,
    pub quorum_missing_since: Option<Instant>,
    /// Since when the quorum is missing, or the cohort record cannot be made durable.
    stalled_since: Option<Instant>,
    /// Since when a member is bound to a later term.
    bound_away_since: Option<Instant>,
    promoted_at: Option<Instant>,
    /// Since when there is no lease.
    pub isolated_since: Option<Instant>,
    pub lease_written: Option<Instant>,
    kept_asked: Option<Instant>,
    pub renewals: Renewals,
    /// When a replica came or went for the last time.
    pub members_changed: Option<Instant>,
}

/// What `synchronous_standby_names` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub cohort: CohortVersion,
    pub waits: Waits,
    pub stance: Stance,
}

/// How many copies a commit waits for, and of whom it waits for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stance {
    pub copies: u8,
    pub without: Option<ReplicaId>,
}

/// Whom a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    ForQuorum,
    ForNobody,
}

/// Everything that was answered while commits waited for nobody lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    Unknown,
    /// Commits wait again; the next look at the server shows it.
    Due,
    At(Lsn),
}

/// A learner on its way to count.
#[derive(Clone, Copy, Debug)]
struct Admission {
    replica: ReplicaId,
    incarnation: Incarnation,
    /// Where the primary's log ended when the learner was first seen to stream.
    noted: Lsn,
    /// When that was. What the replica was before was gone by then.
    since: Instant,
}

impl Primary {
    pub fn new(term: Term) -> Self {
        Self {
            term,
            first_record_end: Lsn::INVALID,
            history: TimelineHistory::default(),
            rewind_source: false,
            setting: None,
            setting_asked: None,
            protected: Lsn::INVALID,
            barrier: Barrier::Unknown,
            solo: None,
            checkpoint: None,
            kept: BTreeMap::new(),
            previous: None,
            settled: None,
            admission: None,
            quorum_missing_since: None,
            stalled_since: None,
            bound_away_since: None,
            promoted_at: None,
            isolated_since: None,
            lease_written: None,
            kept_asked: None,
            renewals: Renewals::default(),
            members_changed: None,
        }
    }
}

impl Keeper {
    /// The term that names speak of; constant where the planted bug forgets it.
    pub(crate) fn spoken_term(&self, term: Term) -> Term {
        if self.has(PlantedBug::OldTermReceiverCounted) {
            Term::ZERO
        } else {
            term
        }
    }

    pub(crate) fn standbys(
        &self,
        cohort: &Cohort,
        term: Term,
        stance: Stance,
    ) -> SynchronousStandbys {
        cohort.standbys(self.config.me, self.spoken_term(term), stance)
    }

    /// Members whose receivers stream under this term and have flushed `beyond`.
    pub(crate) fn acknowledging(&self, beyond: Lsn) -> usize {
        self.acknowledging_without(None, beyond)
    }

    pub(crate) fn acknowledging_without(&self, without: Option<ReplicaId>, beyond: Lsn) -> usize {
        let (Some(seen), Some(primary), Some(cohort)) =
            (self.server.fresh(), &self.primary, &self.durable.cohort)
        else {
            return 0;
        };
        let term = self.spoken_term(primary.term);
        cohort
            .members
            .iter()
            .filter(|(replica, member)| {
                let counts = without != Some(**replica);
                counts
                    && seen.clients.iter().any(|client| {
                        client.name.replica == **replica
                            && client.name.term == term
                            && client.name.incarnation == member.incarnation
                            && client.state == ClientState::Streaming
                            && client.flushed >= beyond
                    })
            })
            .count()
    }

    /// How far enough members have the log on disk now.
    pub(crate) fn quorum_flushed(&self) -> Option<Lsn> {
        let (seen, primary, cohort) = (
            self.server.fresh()?,
            self.primary.as_ref()?,
            self.durable.cohort.as_ref()?,
        );
        let needed = usize::from(self.copies()).checked_sub(2)?;
        let term = self.spoken_term(primary.term);
        let flushed = seen
            .clients
            .iter()
            .filter(|client| {
                client.name.term == term
                    && client.state == ClientState::Streaming
                    && cohort.counts(client.name.replica, client.name.incarnation)
            })
            .map(|client| client.flushed);
        if needed == 0 {
            // Of three replicas: asked for with every input, and no list is needed.
            return flushed.max();
        }
        let mut flushed: alloc::vec::Vec<Lsn> = flushed.collect();
        flushed.sort_unstable_by(|a, b| b.cmp(a));
        flushed.get(needed).copied()
    }

    pub(crate) fn quorum_acknowledges(&self, beyond: Lsn) -> bool {
        self.acknowledging(beyond) + 1 >= usize::from(self.copies())
    }

    pub(crate) fn quorum_is_missing(&self) -> bool {
        self.primary
            .as_ref()
            .is_some_and(|primary| primary.quorum_missing_since.is_some())
    }

    /// A member that this primary hears is bound to a later term. It cannot come back by itself.
    pub(crate) fn is_anyone_bound_away(&self, term: Term) -> bool {
        let cohort = self.durable.cohort.as_ref();
        self.peers.said().any(|(peer, heartbeat)| {
            heartbeat.promise.floor > term
                && cohort.is_some_and(|cohort| cohort.counts(peer, heartbeat.incarnation))
                && self.peers.is_alive(self.now, &self.config.timings, peer)
        })
    }

    /// This term has not got what it needs for long, and a member that promised a later one away will
    /// not bring it.
    pub(crate) fn is_blocked(&self) -> bool {
        let Some(primary) = &self.primary else {
            return false;
        };
        let patience = self.config.timings.suspicion;
        let stalled = primary
            .stalled_since
            .is_some_and(|since| self.now.since(since) >= patience);
        stalled && self.is_anyone_bound_away(primary.term)
    }

    /// A member has been bound to a later term for so long that nobody will release it: its coordinator
    /// died. While this primary serves, nobody else can begin the later term that would take it back.
    pub(crate) fn must_renew_term(&self) -> bool {
        let patience = self.config.timings.recruitment + self.config.timings.promotion;
        let since = self
            .primary
            .as_ref()
            .and_then(|primary| primary.bound_away_since);
        since.is_some_and(|since| self.now.since(since) >= patience)
            && !self.has(PlantedBug::BoundMemberLeftOut)
    }

    /// Works, and should not be relied on: a standby that is well takes over by plan.
    pub(crate) fn must_hand_over(&self) -> bool {
        self.server.ailment().is_some() && !self.has(PlantedBug::AilingPrimaryKept)
    }

    /// The present record is on the disks of a majority of its members, and of the ones before it.
    pub(crate) fn cohort_is_durable(&self) -> bool {
        let (Some(primary), Some(cohort)) = (&self.primary, &self.durable.cohort) else {
            return false;
        };
        if primary.settled == Some(cohort.version) {
            return true;
        }
        let by_majority = |of: &Cohort| {
            let keeping = of
                .members
                .keys()
                .filter(|member| {
                    **member == self.config.me
                        || primary
                            .kept
                            .get(*member)
                            .is_some_and(|incarnation| of.counts(**member, *incarnation))
                })
                .count();
            keeping >= majority(of.members.len())
        };
        by_majority(cohort) && primary.previous.as_ref().is_none_or(by_majority)
    }

    /// Sessions that waited for the quorum were ended, and so everybody who comes sees what they wrote: where the log
    /// ends now must be looked up.
    pub(crate) fn forget_end_of_log(&mut self) {
        if self.has(PlantedBug::ReopenedWithoutLog) {
            return;
        }
        if let Some(primary) = self.primary.as_mut() {
            primary.first_record_end = Lsn::INVALID;
        }
    }

    /// Of a server that nobody can write to: nobody is let in again before the quorum has all that is visible there.
    pub(crate) fn note_end_of_log(&mut self) {
        // A look that got no answer repeats the last position.
        let seen = self.server.fresh();
        let seen = seen.filter(|seen| seen.serviceability.is_answering());
        let seen = seen.map(|seen| seen.process);
        if let (State::Unopened, Some(ProcessState::Primary { flushed, .. }), Some(primary)) =
            (self.server.state, seen, self.primary.as_mut())
            && !primary.first_record_end.is_valid()
        {
            primary.first_record_end = flushed;
        }
    }

    pub(crate) fn may_open(&self) -> bool {
        let (Some(primary), Some(cohort)) = (&self.primary, &self.durable.cohort) else {
            return false;
        };
        let quorum = self.quorum_acknowledges(primary.first_record_end)
            || self.solo_is_recorded()
            || self.has(PlantedBug::OpeningBeforeQuorum);
        self.server.fresh().is_some()
            && primary.first_record_end.is_valid()
            && quorum
            && self.cohort_is_complete()
            && self.cohort_is_durable()
            && self.setting_follows(cohort.version)
            && self.has_lease()
            && !self.switchover_keeps_closed()
    }

    /// Draws a primary's conclusions; whether there were any.
    pub(crate) fn run_primary(&mut self) -> bool {
        if !self.server.state.is_promoted() || self.primary.is_none() {
            return false;
        }
        self.note_quorum();
        self.note_settled();
        self.note_solo();
        let expires = self.lease_expires();
        self.note_isolation(expires);
        self.run_lease(expires);
        if self.durable.paused {
            return false;
        }
        self.keep_rewindable();
        self.spread_cohort();
        self.keep_setting();
        self.run_renewals();
        self.admit() | self.end_solo() || self.reshape()
    }

    fn note_settled(&mut self) {
        let version = self.durable.cohort.as_ref().map(|cohort| cohort.version);
        if !self.cohort_is_durable() || self.has(PlantedBug::DecidedCohortUndecided) {
            return;
        }
        if let Some(primary) = self.primary.as_mut() {
            primary.settled = version;
            primary.previous = None;
        }
    }

    fn note_quorum(&mut self) {
        let now = self.now;
        let Some(term) = self.primary.as_ref().map(|primary| primary.term) else {
            return;
        };
        let bound_away = self.is_anyone_bound_away(term);
        let durable = self.cohort_is_durable();
        let acknowledges = self.quorum_acknowledges(Lsn::INVALID);
        let fresh = self.server.fresh().is_some();
        let protected = self.protected_now();
        let Some(primary) = self.primary.as_mut() else {
            return;
        };
        let since = |before: Option<Instant>, holds: bool| holds.then(|| before.unwrap_or(now));
        primary.promoted_at.get_or_insert(now);
        primary.bound_away_since = since(primary.bound_away_since, bound_away);
        if fresh {
            primary.protected = primary.protected.max(protected);
            primary.quorum_missing_since = since(primary.quorum_missing_since, !acknowledges);
            primary.stalled_since = since(primary.stalled_since, !acknowledges || !durable);
        }
    }

    /// The checkpoint that makes this server a source for pg_rewind waits until it is open, or until it
    /// seems to stay closed.
    fn keep_rewindable(&mut self) {
        let patience = self.config.timings.suspicion;
        let Some(primary) = &self.primary else {
            return;
        };
        let due = self.server.state == State::Open
            || primary
                .promoted_at
                .is_some_and(|at| self.now.since(at) >= patience);
        if due && !primary.rewind_source && primary.checkpoint.is_none() {
            let operation = self.duty(Command::Checkpoint);
            if let Some(primary) = self.primary.as_mut() {
                primary.checkpoint = Some(operation);
            }
        }
    }

    /// Sends the record to whoever is not known to keep it, at heartbeat intervals.
    fn spread_cohort(&mut self) {
        let beat = self.config.timings.heartbeat;
        let (Some(primary), Some(cohort)) = (self.primary.as_mut(), &self.durable.cohort) else {
            return;
        };
        if primary
            .kept_asked
            .is_some_and(|at| self.now.since(at) < beat)
        {
            return;
        }
        primary.kept_asked = Some(self.now);
        let missing: alloc::vec::Vec<ReplicaId> = self
            .config
            .peers()
            .filter(|peer| {
                let heartbeat = self
                    .peers
                    .get(*peer)
                    .and_then(|peer| peer.heartbeat.as_ref());
                let known = heartbeat.is_some_and(|heartbeat| {
                    heartbeat.cohort == Some(cohort.version)
                        && primary.kept.get(peer) == Some(&heartbeat.incarnation)
                });
                !known
            })
            .collect();
        if missing.is_empty() {
            return;
        }
        let cohort = Box::new(cohort.clone());
        for peer in missing {
            let cohort = cohort.clone();
            self.send(peer, Body::KeepCohort { cohort });
        }
    }

    pub(crate) fn handle_keep_cohort(&mut self, from: ReplicaId, cohort: Cohort) {
        let version = cohort.version;
        let known = self.durable.cohort.as_ref();
        if known.is_some_and(|own| own.system_identifier != cohort.system_identifier) {
            self.halt(HaltReason::ForeignCohort);
            return;
        }
        let current = known.map(|own| own.version);
        if version.term < self.durable.promise.floor || current > Some(version) {
            return;
        }
        if current < Some(version) {
            self.durable.cohort = Some(cohort);
            self.persist();
            self.raise_floor(version.term);
        }
        let incarnation = self.durable.incarnation;
        self.send(
            from,
            Body::CohortKept {
                version,
                incarnation,
            },
        );
    }

    pub(crate) fn handle_cohort_kept(
        &mut self,
        from: ReplicaId,
        version: CohortVersion,
        incarnation: Incarnation,
    ) {
        let own = self.durable.cohort.as_ref().map(|cohort| cohort.version);
        if own != Some(version) {
            return;
        }
        if version == CohortVersion::FOUNDING {
            self.founding_kept(from);
        }
        if let Some(primary) = self.primary.as_mut() {
            primary.kept.insert(from, incarnation);
        }
    }

    /// The setting follows the record, and only a durable one.
    fn keep_setting(&mut self) {
        let (Some(primary), Some(cohort)) = (&self.primary, &self.durable.cohort) else {
            return;
        };
        let wanted = Setting {
            cohort: cohort.version,
            waits: self.waits_wanted(),
            stance: self.stance_wanted(cohort),
        };
        let heedless = self.has(PlantedBug::SoloWithoutRecord) && wanted.waits == Waits::ForNobody;
        let durable =
            self.cohort_is_durable() || self.has(PlantedBug::CohortChangeInOneStep) || heedless;
        if primary.setting == Some(wanted) || primary.setting_asked.is_some() || !durable {
            return;
        }
        let standbys = match wanted.waits {
            Waits::ForQuorum => self.standbys(cohort, primary.term, wanted.stance),
            Waits::ForNobody => SynchronousStandbys::Off,
        };
        let operation = self.duty(Command::SetSynchronousStandbys(standbys));
        if let Some(primary) = self.primary.as_mut() {
            primary.setting_asked = Some((operation, wanted));
            // Whatever becomes of it: until it is known, nothing may rest on it.
            primary.setting = None;
            primary.barrier = Barrier::Unknown;
        }
    }

    pub(crate) fn setting_follows(&self, version: CohortVersion) -> bool {
        self.primary
            .as_ref()
            .and_then(|primary| primary.setting)
            .is_some_and(|setting| setting.cohort == version)
    }

    pub(crate) fn setting_is_settled(&self) -> bool {
        let version = self.durable.cohort.as_ref().map(|cohort| cohort.version);
        let asked = self
            .primary
            .as_ref()
            .is_none_or(|primary| primary.setting_asked.is_some());
        !asked && version.is_some_and(|version| self.setting_follows(version))
    }

    pub(crate) fn handle_duty_outcome(&mut self, operation: OperationId, outcome: &Outcome) {
        let Some(primary) = self.primary.as_mut() else {
            return;
        };
        let done = *outcome == Outcome::Done;
        primary.renewals.note_outcome(operation);
        if primary.checkpoint == Some(operation) {
            primary.checkpoint = None;
            primary.rewind_source |= done;
        }
        if let Some((pending, wanted)) = primary.setting_asked
            && pending == operation
        {
            primary.setting_asked = None;
            if done {
                primary.setting = Some(wanted);
                primary.barrier = match wanted.waits {
                    Waits::ForQuorum => Barrier::Due,
                    Waits::ForNobody => Barrier::Unknown,
                };
            }
        }
    }

    /// One learner at a time: noted when first seen to stream, admitted when it has flushed what the
    /// primary had then, and only after the previous change is durable and set.
    fn admit(&mut self) -> bool {
        let Some((candidate, own_flushed)) = self.admission_candidate() else {
            return false;
        };
        let Some(primary) = self.primary.as_mut() else {
            return false;
        };
        let (replica, incarnation) = (candidate.name.replica, candidate.name.incarnation);
        let admission = match primary.admission {
            Some(known) if (known.replica, known.incarnation) == (replica, incarnation) => known,
            Some(_) | None => Admission {
                replica,
                incarnation,
                noted: own_flushed,
                since: self.now,
            },
        };
        primary.admission = Some(admission);
        if candidate.flushed < admission.noted && !self.has(PlantedBug::LearnerAdmittedEarly) {
            return false;
        }
        if !self.nobody_was_elected_with(admission) {
            return false;
        }
        let cohort = self.durable.cohort.as_ref();
        let comes = cohort.is_some_and(|cohort| !cohort.members.contains_key(&replica));
        if comes && !(self.others_know_of(replica) && self.grants_are_of_these_members()) {
            return false;
        }
        self.change_cohort(|cohort| {
            cohort.members.insert(replica, Member { incarnation });
        });
        if comes {
            self.note_other_members();
        }
        true
    }

    /// The learner's former self may have promised a later term and forgotten it. To replace it in the record
    /// is to remove one member and to add another at once, and a majority of the old cohort with it need not
    /// meet a majority of the new one. So enough of the others must have answered something that was said
    /// after it was gone: who grants has promised nothing later, and the rest, it included, elects nobody.
    fn nobody_was_elected_with(&self, admission: Admission) -> bool {
        let Some(cohort) = &self.durable.cohort else {
            return false;
        };
        let answered = |replica: ReplicaId| {
            replica != admission.replica
                && self
                    .peers
                    .get(replica)
                    .is_some_and(|peer| peer.granted >= Some(admission.since))
        };
        let silent = cohort
            .members
            .keys()
            .filter(|replica| **replica != self.config.me && !answered(**replica))
            .count();
        silent < cohort.recruits_needed(self.copies_by(Some(cohort)))
    }

    fn admission_candidate(&self) -> Option<(Client, Lsn)> {
        let seen = self.server.fresh()?;
        let primary = self.primary.as_ref()?;
        let cohort = self.durable.cohort.as_ref()?;
        let ProcessState::Primary { flushed, .. } = seen.process else {
            return None;
        };
        let settled = self.setting_is_settled() && self.cohort_is_durable();
        if !settled || !primary.first_record_end.is_valid() {
            return None;
        }
        let streams = |client: &&Client| {
            client.state == ClientState::Streaming || self.has(PlantedBug::LearnerAdmittedEarly)
        };
        seen.clients
            .iter()
            .filter(streams)
            .find(|client| {
                !cohort.counts(client.name.replica, client.name.incarnation)
                    && client.name.term == self.spoken_term(primary.term)
                    && client.name.replica != self.config.me
                    && self.may_count(cohort, client.name.replica)
                    && self.incarnation_is_current(client)
            })
            .map(|client| (*client, flushed))
    }

    /// Also one that leaves, where it was filled anew before it was let go: until then the others may need it.
    fn may_count(&self, cohort: &Cohort, replica: ReplicaId) -> bool {
        let leaves = self.config.leaving.contains(&replica);
        self.config.stays(replica) || (leaves && cohort.members.contains_key(&replica))
    }

    /// The keeper of that replica says the same: not a receiver that a folder's former filling left.
    fn incarnation_is_current(&self, client: &Client) -> bool {
        self.peers
            .alive(self.now, &self.config.timings, client.name.replica)
            .is_some_and(|heartbeat| heartbeat.incarnation == client.name.incarnation)
    }

    /// The next record of this term; it counts for nothing before it is decided.
    pub(crate) fn change_cohort(&mut self, change: impl FnOnce(&mut Cohort)) {
        let (Some(primary), Some(cohort)) = (self.primary.as_mut(), self.durable.cohort.as_mut())
        else {
            return;
        };
        let Some(epoch) = cohort.version.epoch.checked_add(1) else {
            self.halt(HaltReason::Exhausted);
            return;
        };
        primary.previous = Some(cohort.clone());
        primary.kept.clear();
        primary.kept_asked = None;
        primary.admission = None;
        cohort.version = CohortVersion {
            term: primary.term,
            epoch,
        };
        change(cohort);
        self.persist();
    }
}
