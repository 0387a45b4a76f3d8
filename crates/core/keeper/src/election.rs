//! The coordinator: asks whether others lost the primary too, recruits, and promotes the best log.
//!
//! A coordinator keeps nothing but its promise and its aborts on disk. If it restarts, its term is burnt:
//! it can neither promote nor abort in it any more, and the next attempt takes a later one.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;
use core::time::Duration;

use mainstay_units::{Incarnation, Instant, Term};

use crate::cohort::majority;
use crate::config::ReplicaId;
use crate::durable::{Cohort, CohortVersion};
use crate::keeper::Keeper;
use crate::machine::State;
use crate::message::{Body, Heartbeat, PreVote, Refusal, Report};
use crate::peers::{Peer, leads};
use crate::planted::PlantedBug;
use crate::postgres::{Observation, ProcessState, Rank};
use crate::status::{HaltReason, Reason, Role, WakeReason};

/// How long a switchover's coordinator waits for the target's report when others suffice already.
const PREFERENCE_PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) enum Election {
    Idle {
        not_before: Instant,
    },
    Asking {
        round: u64,
        started: Instant,
        granted: BTreeSet<ReplicaId>,
        refused: BTreeSet<ReplicaId>,
    },
    Recruiting {
        term: Term,
        started: Instant,
        sent: Instant,
        reports: BTreeMap<ReplicaId, Recruit>,
        prefer: Option<ReplicaId>,
    },
    Elected {
        term: Term,
        winner: ReplicaId,
        cohort: Box<Cohort>,
        started: Instant,
        sent: Instant,
    },
}

/// What a recruited replica has.
#[derive(Clone, Debug)]
pub(crate) struct Recruit {
    pub incarnation: Incarnation,
    pub rank: Rank,
    pub cohort: Option<Box<Cohort>>,
    pub known: Option<Term>,
}

impl Default for Election {
    fn default() -> Self {
        Self::Idle {
            not_before: Instant::ZERO,
        }
    }
}

impl Keeper {
    /// Whether this keeper has no primary that it may follow, and none that may yet come.
    pub(crate) fn is_lost(&self) -> bool {
        if self.durable.paused || self.durable.cohort.is_none() {
            return false;
        }
        if self.primary.is_some() {
            return self.is_blocked();
        }
        if self.awaits_promised() {
            return false;
        }
        let floor = self.durable.promise.floor;
        let timings = &self.config.timings;
        !self.peers.iter().any(|(_, peer)| {
            let silent = self.peers.silence(self.now, peer);
            let suspicion = || self.peers.suspicion(self.now, timings, peer);
            match &peer.heartbeat {
                None => silent < suspicion(),
                Some(heartbeat) if leads(heartbeat) && heartbeat.term >= floor => {
                    if peer.closed && self.has_lost_stream(heartbeat.term) {
                        return false;
                    }
                    if silent < timings.suspicion {
                        return true;
                    }
                    // A keeper whose end was told, on a host that lives: its server may well be up.
                    let streaming = self.hears_stream(heartbeat.term)
                        || (peer.closed && self.still_streams(heartbeat.term));
                    let patience = if streaming {
                        suspicion().max(timings.suspicion_while_streaming)
                    } else {
                        suspicion()
                    };
                    silent < patience
                }
                Some(heartbeat) => self.is_coming_back(peer, heartbeat),
            }
        })
    }

    /// A primary's keeper that has just been started knows nothing yet, and says so. That is no word about its
    /// server, which still streams.
    fn is_coming_back(&self, peer: &Peer, heartbeat: &Heartbeat) -> bool {
        if heartbeat.reason != Reason::JustStarted {
            return false;
        }
        let patience = self.config.timings.suspicion_while_streaming;
        let led = peer.led.is_some_and(|at| self.now.since(at) < patience);
        let streaming = self
            .server
            .followed
            .is_some_and(|term| self.still_streams(term));
        led && streaming
    }

    /// Whether the server still receives from the primary of `term`, whatever that one's keeper does: so lately that a
    /// host which had fallen silent then would not be suspected yet. One look may fall between two messages.
    fn hears_stream(&self, term: Term) -> bool {
        let timings = &self.config.timings;
        let lately = timings.suspicion.saturating_sub(timings.heartbeat * 5);
        self.observation_age() < timings.observation_age && self.streamed_within(term, lately)
    }

    pub(crate) fn note_sign_of_life(&mut self, seen: &Observation) {
        let heard = seen
            .receiver
            .is_some_and(|receiver| receiver.streaming && receiver.heard);
        if heard || self.server.state != State::Following {
            self.stream_seen = self.now;
        }
    }

    /// Whether the stream is there and brought something within the time in which an idle server sends a sign of
    /// life (1.5 s, and until a look sees it), with room for a machine that is late. Where a host falls silent this is
    /// longer than its silence is borne, so it is asked only where the host is known to live.
    fn still_streams(&self, term: Term) -> bool {
        self.streamed_within(term, self.config.timings.suspicion * 2)
    }

    fn streamed_within(&self, term: Term, time: Duration) -> bool {
        !self.has(PlantedBug::LivingStreamIgnored)
            && self.server.followed == Some(term)
            && self.server.state == State::Following
            && self.now.since(self.stream_seen) < time
            && self
                .server
                .fresh()
                .and_then(|seen| seen.receiver)
                .is_some_and(|receiver| receiver.streaming)
    }

    /// Whether the primary's server ended the stream too: together with its keeper's connection that is a
    /// death seen, not a silence.
    fn has_lost_stream(&self, term: Term) -> bool {
        self.server.followed == Some(term)
            && self.server.state == State::Following
            && self
                .server
                .fresh()
                .is_some_and(|seen| !seen.receiver.is_some_and(|receiver| receiver.streaming))
    }

    /// Bound by a promise whose coordinator lives and may still bring a primary.
    pub(crate) fn awaits_promised(&self) -> bool {
        let promise = self.durable.promise;
        let Some(coordinator) = promise.coordinator.filter(|_| promise.binds()) else {
            return false;
        };
        let recent = self
            .promised_at
            .is_some_and(|at| self.now.since(at) < self.promise_patience());
        let alive = if coordinator == self.config.me {
            !matches!(self.election, Election::Idle { .. })
        } else {
            self.peers
                .alive(self.now, &self.config.timings, coordinator)
                .is_some()
        };
        recent && alive
    }

    /// Draws the coordinator's conclusions; whether there were any.
    pub(crate) fn run_election(&mut self) -> bool {
        if self.is_lost() {
            self.lost_since.get_or_insert(self.now);
        } else {
            self.lost_since = None;
        }
        match &self.election {
            Election::Idle { not_before } => {
                let due = self.candidacy().is_some_and(|at| self.now >= at);
                if self.now >= *not_before && due {
                    return self.begin_pre_vote();
                }
                false
            }
            Election::Asking {
                started,
                granted,
                refused,
                ..
            } => {
                let asked = self.pre_voters();
                let among = |said: &BTreeSet<ReplicaId>| said.intersection(&asked).count();
                let (needed, granted) = (majority(asked.len()), among(granted));
                let hopeless = asked.len() - among(refused) < needed;
                let over = self.now.since(*started) >= self.config.timings.pre_vote;
                if self.lost_since.is_none() || over || hopeless {
                    self.rest();
                    return true;
                }
                granted >= needed && self.begin_recruiting(None)
            }
            Election::Recruiting { .. } => self.run_recruiting(),
            Election::Elected { .. } => self.run_elected(),
        }
    }

    /// When this keeper, having lost its primary, should try. Whoever is on the later timeline goes first; who has more
    /// of its log is found out by the reports, and a peer's last heartbeat is always behind what one has oneself.
    #[inline]
    fn candidacy(&self) -> Option<Instant> {
        self.candidacy_since(self.lost_since?)
    }

    fn candidacy_since(&self, since: Instant) -> Option<Instant> {
        if self.primary.is_some() || self.durable.paused || !self.is_voter() {
            return None;
        }
        if !self.founding_is_kept() {
            return None;
        }
        let (timeline, _) = self.position();
        let own = (timeline, self.precedence(self.config.me));
        let ready = matches!(self.server.process(), ProcessState::Standby { .. });
        let cohort = self.durable.cohort.as_ref()?;
        if cohort.version == CohortVersion::FOUNDING && !ready {
            // What was founded has one member, whose log says which terms there were.
            return None;
        }
        let better = self
            .config
            .peers()
            .filter_map(|peer| {
                let heartbeat = self.peers.alive(self.now, &self.config.timings, peer)?;
                let counts = cohort.counts(peer, heartbeat.incarnation);
                let standby = counts && heartbeat.role == Role::Standby;
                let first = !ready || (heartbeat.timeline, self.precedence(peer)) > own;
                (standby && first).then_some(())
            })
            .count();
        let places = u32::try_from(better).unwrap_or(u32::MAX);
        Some(since + self.config.timings.stagger * places)
    }

    /// Whose word decides whether the primary is lost: those that count, and before all do those of the file.
    fn pre_voters(&self) -> BTreeSet<ReplicaId> {
        let cohort = self.durable.cohort.as_ref();
        let decided =
            self.durable.lineage.is_forced() || cohort.is_some_and(|c| c.copies.is_some());
        match cohort.filter(|_| decided) {
            Some(cohort) => cohort.members.keys().copied().collect(),
            None => self.config.replicas.clone(),
        }
    }

    /// Who goes first of those that could. Keepers that know different files say different things, so between two that ask for the
    /// same term the number alone decides.
    fn precedence(&self, replica: ReplicaId) -> (bool, bool, Reverse<ReplicaId>) {
        let stays = !self.config.leaving.contains(&replica);
        (stays, replica == self.config.home, Reverse(replica))
    }

    /// Two recruit for the same term, each bound to itself, and neither may get enough. Who goes first gives the term
    /// up and asks for the next one at once; the other one will follow. Whether this was so.
    pub(crate) fn outbid(&mut self, other: ReplicaId, asked: Term) -> bool {
        let Election::Recruiting { term, prefer, .. } = &self.election else {
            return false;
        };
        let prefer = *prefer;
        let split = *term == asked && self.durable.promise.highest == asked;
        if !split || Reverse(other) > Reverse(self.config.me) {
            return false;
        }
        self.abort_election();
        self.begin_recruiting(prefer)
    }

    /// Above every term that is known of. A database that was founded from a backup brings timelines with it of which no
    /// promise tells.
    fn next_term(&mut self) -> Option<Term> {
        let (timeline, _) = self.position();
        let cohort = self.durable.cohort.as_ref();
        let founded = cohort.is_none_or(|cohort| cohort.version == CohortVersion::FOUNDING);
        let written = Term::from(timeline);
        let written = if founded { written } else { Term::default() };
        let known = self.peers.highest_term().max(written);
        let highest = self.durable.promise.highest.max(known);
        let next = highest.next();
        if next.is_none() {
            self.halt(HaltReason::Exhausted);
        }
        next
    }

    fn begin_pre_vote(&mut self) -> bool {
        if self.lease_is_running() {
            return false;
        }
        let Some(term) = self.next_term() else {
            return false;
        };
        let round = self.now.as_nanos();
        self.election = Election::Asking {
            round,
            started: self.now,
            granted: BTreeSet::from([self.config.me]),
            refused: BTreeSet::new(),
        };
        self.send_all(&Body::AskPreVote { round, term });
        true
    }

    pub(crate) fn handle_pre_vote(&mut self, from: ReplicaId, answered: u64, verdict: PreVote) {
        if let Election::Asking {
            round,
            granted,
            refused,
            ..
        } = &mut self.election
            && *round == answered
        {
            match verdict {
                PreVote::Granted => granted.insert(from),
                PreVote::Refused(_) => refused.insert(from),
            };
        }
    }

    /// Promises a new term to itself and asks everybody else to.
    pub(crate) fn begin_recruiting(&mut self, prefer: Option<ReplicaId>) -> bool {
        let Some(term) = self.next_term() else {
            return false;
        };
        self.promise(term, self.own_name());
        self.election = Election::Recruiting {
            term,
            started: self.now,
            sent: self.now,
            reports: BTreeMap::new(),
            prefer,
        };
        self.send_all(&Body::Recruit { term });
        true
    }

    pub(crate) fn handle_report(
        &mut self,
        from: ReplicaId,
        reported: Term,
        to: Incarnation,
        verdict: Report,
    ) {
        // Given to one that had this name before, and may have been taken back since.
        if to.0 != 0 && to != self.durable.incarnation {
            return;
        }
        let refused = match &verdict {
            Report::Recruited { .. } => None,
            Report::Refused { refusal, .. } => Some(*refusal),
        };
        self.note_force_refusal(from, reported, refused);
        match (&mut self.election, verdict) {
            (
                Election::Recruiting { term, reports, .. },
                Report::Recruited {
                    incarnation,
                    rank,
                    cohort,
                    known,
                },
            ) if *term == reported => {
                let recruit = Recruit {
                    incarnation,
                    rank,
                    cohort,
                    known,
                };
                reports.insert(from, recruit);
            }
            (Election::Recruiting { term, .. }, Report::Refused { refusal, highest })
                if *term == reported && refusal == Refusal::Promised && highest > reported =>
            {
                self.abort_election();
            }
            (Election::Elected { term, winner, .. }, Report::Refused { .. })
                if *term == reported && *winner == from =>
            {
                // It will not be promoted, but that is not known to be so of every message sent to it:
                // the term stays burnt.
                if self.has(PlantedBug::AbortAfterPromotion) {
                    self.abort_election();
                } else {
                    self.rest();
                }
            }
            _ => {}
        }
    }

    fn run_recruiting(&mut self) -> bool {
        if self.server.state == State::Ranked
            && self.durable.promise.coordinator == Some(self.config.me)
        {
            self.report_to_self();
        }
        let Election::Recruiting {
            term,
            started,
            sent,
            reports,
            prefer,
        } = &self.election
        else {
            return false;
        };
        let (term, started, sent, prefer) = (*term, *started, *sent, *prefer);
        let promise = &self.durable.promise;
        // Another coordinator's term came to be, or another one's primary of this very term is followed.
        if promise.highest != term || promise.coordinator != Some(self.config.me) {
            self.election = Election::default();
            return true;
        }
        if let Some((winner, cohort)) = self.choose(term, started, reports, prefer) {
            self.elect(term, winner, cohort);
            return true;
        }
        if self.now.since(started) >= self.config.timings.recruitment {
            let reports = reports.clone();
            if !self.begin_lineage(term, &reports) {
                self.abort_election();
            }
            return true;
        }
        if self.now.since(sent) >= self.config.timings.heartbeat {
            let unreported: alloc::vec::Vec<ReplicaId> = self
                .config
                .peers()
                .filter(|peer| !reports.contains_key(peer))
                .collect();
            if let Election::Recruiting { sent, .. } = &mut self.election {
                *sent = self.now;
            }
            for peer in unreported {
                self.send(peer, Body::Recruit { term });
            }
        }
        false
    }

    fn report_to_self(&mut self) {
        let me = self.config.me;
        let own = matches!(&self.election, Election::Recruiting { reports, .. } if reports.contains_key(&me));
        if !own {
            self.report();
        }
    }

    /// The winner, if enough of the newest known cohort reported: the highest (timeline, position) among
    /// those that count, whatever they promised.
    fn choose(
        &self,
        term: Term,
        started: Instant,
        reports: &BTreeMap<ReplicaId, Recruit>,
        prefer: Option<ReplicaId>,
    ) -> Option<(ReplicaId, Cohort)> {
        let newest = reports
            .values()
            .filter_map(|recruit| recruit.cohort.as_deref())
            .chain(self.durable.cohort.as_ref())
            .max_by_key(|cohort| cohort.version)?;
        let written = last_term_written(term, newest, reports);
        let counted = || {
            reports.iter().filter(|(replica, recruit)| {
                newest.counts(**replica, recruit.incarnation)
                    && Term::from(recruit.rank.timeline) <= written
            })
        };
        let needed = if self.has(PlantedBug::PromotionWithoutMajority) {
            1
        } else {
            newest.recruits_needed(self.copies_by(Some(newest)))
        };
        if counted().count() < needed {
            return None;
        }
        let best = counted().map(|(_, recruit)| recruit.rank.key()).max()?;
        let full = |replica: ReplicaId| {
            reports
                .get(&replica)
                .is_some_and(|recruit| recruit.rank.key() == best)
        };
        if let Some(prefer) = prefer
            && !reports.contains_key(&prefer)
            && self.now.since(started) < PREFERENCE_PATIENCE
        {
            return None;
        }
        let winner = counted()
            .map(|(replica, _)| *replica)
            .filter(|replica| full(*replica))
            .max_by_key(|replica| (prefer == Some(*replica), self.precedence(*replica)))?;
        let mut cohort = newest.clone();
        cohort.version = CohortVersion {
            term,
            epoch: cohort.version.epoch.checked_add(1)?,
        };
        let reported = |replica: ReplicaId, incarnation: Incarnation| {
            let recruit = reports.get(&replica)?;
            (recruit.incarnation == incarnation).then_some(&recruit.rank)
        };
        self.note_loss(&mut cohort, &reports.get(&winner)?.rank, reported);
        self.carry_order_on(&mut cohort, winner);
        Some((winner, cohort))
    }

    /// From here on the term is this winner's or nobody's: it is never aborted.
    fn elect(&mut self, term: Term, winner: ReplicaId, cohort: Cohort) {
        self.election = Election::Elected {
            term,
            winner,
            cohort: Box::new(cohort),
            started: self.now,
            sent: self.now,
        };
        self.send_promotion();
    }

    fn send_promotion(&mut self) {
        let Election::Elected {
            term,
            winner,
            cohort,
            sent,
            ..
        } = &mut self.election
        else {
            return;
        };
        *sent = self.now;
        let (term, winner, cohort) = (*term, *winner, cohort.clone());
        if winner == self.config.me {
            self.handle_promote(self.own_name(), term, *cohort);
        } else {
            self.send(winner, Body::Promote { term, cohort });
        }
    }

    fn run_elected(&mut self) -> bool {
        let Election::Elected {
            term,
            winner,
            started,
            sent,
            ..
        } = &self.election
        else {
            return false;
        };
        let (term, winner, started, sent) = (*term, *winner, *started, *sent);
        let heard = self
            .leader()
            .is_some_and(|(leader, heartbeat)| leader == winner && heartbeat.term == term);
        let own = self.primary.as_ref().is_some_and(|own| own.term == term);
        if heard || own || self.durable.promise.highest > term {
            self.election = Election::default();
            return true;
        }
        let lapsed = winner == self.config.me;
        let patience = if self.has(PlantedBug::AbortAfterPromotion) {
            self.config.timings.heartbeat * 2
        } else {
            self.config.timings.promotion
        };
        if lapsed || self.now.since(started) >= patience {
            if self.has(PlantedBug::AbortAfterPromotion) {
                self.abort_election();
            } else {
                self.rest();
            }
            return true;
        }
        if self.now.since(sent) >= self.config.timings.heartbeat {
            self.send_promotion();
        }
        false
    }

    /// Gives the term up, on disk before anybody hears of it. Only while nothing was promoted in it.
    fn abort_election(&mut self) {
        let term = match &self.election {
            Election::Recruiting { term, .. } => *term,
            Election::Elected { term, .. } if self.has(PlantedBug::AbortAfterPromotion) => *term,
            Election::Elected { .. } | Election::Idle { .. } | Election::Asking { .. } => {
                self.rest();
                return;
            }
        };
        self.durable.aborted = Some(term);
        self.persist();
        self.handle_abort(self.own_name(), term);
        self.send_all(&Body::Abort { term });
        self.rest();
    }

    /// Another coordinator was promised a later term.
    pub(crate) fn abandon_election(&mut self) {
        match self.election {
            Election::Recruiting { .. } => self.abort_election(),
            Election::Asking { .. } | Election::Elected { .. } => self.rest(),
            Election::Idle { .. } => {}
        }
    }

    fn rest(&mut self) {
        let pause = self.config.timings.retry;
        let jitter = self.random.up_to(pause);
        self.election = Election::Idle {
            not_before: self.now + pause + jitter,
        };
    }

    pub(crate) fn election_deadline(&self) -> Option<(Instant, WakeReason)> {
        let timings = &self.config.timings;
        let at = match &self.election {
            Election::Idle { not_before } => {
                let at = self.candidacy()?.max(*not_before);
                at.max(self.lease_granted_ends().unwrap_or(at))
            }
            Election::Asking { started, .. } => *started + timings.pre_vote,
            Election::Recruiting { started, .. } => *started + timings.recruitment,
            Election::Elected { started, .. } => *started + timings.promotion,
        };
        Some((at, WakeReason::Election))
    }
}

/// Above this timeline a log is not of this lineage. A majority promised each term that was written on, for good, and of any two majorities
/// one member is in both: of those that report, at least one knows of the term. A server whose keeper was dead may have followed a
/// primary of a later lineage meanwhile; what it has then outranks nothing here, and does not count either.
fn last_term_written(term: Term, newest: &Cohort, reports: &BTreeMap<ReplicaId, Recruit>) -> Term {
    let below = Term(term.0.saturating_sub(1));
    if newest.version == CohortVersion::FOUNDING {
        return below;
    }
    let known = reports
        .values()
        .map(|recruit| recruit.known.unwrap_or(below).min(below));
    known.max().unwrap_or(below).max(newest.version.term)
}
