//! Lineages: how a database goes on when a majority of what counted is gone for good.
//!
//! A forced failover begins a *lineage*: the same protocol, from the start, with one member, whose log is what there
//! is. Keepers hear only those of their own lineage; who hears a later one leaves its own with everything it knew (its
//! promises, its cohort, its folder) and comes back as a learner that must be filled anew. So nothing of what is argued
//! within a lineage needs to know of another one: to the lineage that was left, whoever left it is dead.
//!
//! What it costs is said before and after. The order is first tried as an election like any other, which loses nothing;
//! only when too few report in time does the lineage begin. What it begins without, everything that an older lineage
//! has beyond the position in the record's [`Loss`], is lost, also where it is written later by a majority that was only
//! cut off. Such folders are moved aside, not emptied.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mainstay_units::{Incarnation, Instant, Lsn, Term};

use crate::config::ReplicaId;
use crate::durable::{Cohort, CohortVersion, Durable, Loss, Member, Promise, Solo};
use crate::election::{Election, Recruit};
use crate::founding::Founding;
use crate::input::RequestId;
use crate::keeper::Keeper;
use crate::lease::Granted;
use crate::machine::{Event, State};
use crate::members::Members;
use crate::message::Refusal;
use crate::peers::Peers;
use crate::planted::PlantedBug;
use crate::postgres::{ProcessState, Rank, Serviceability};
use crate::status::{Answer, ForceRefusal, HaltReason};

/// Orders the histories of a database that no quorum connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lineage {
    /// How many forced failovers lie before it.
    pub number: u32,
    /// Drawn by the keeper that began it: two that were begun beside each other are two.
    pub seed: Incarnation,
}

impl Lineage {
    /// What a database is founded with.
    pub const ORIGIN: Self = Self {
        number: 0,
        seed: Incarnation(0),
    };

    pub fn is_forced(self) -> bool {
        self != Self::ORIGIN
    }

    /// What stands for the configuration in messages of this lineage: a keeper of a version that knows no lineages
    /// takes the sender for a stranger.
    pub fn fingerprint(self, configured: u64) -> u64 {
        if !self.is_forced() {
            return configured;
        }
        let seed = self.seed.0.to_le_bytes();
        let number = u64::from(self.number).to_le_bytes();
        // FNV-1a, 64 bits.
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let start = configured ^ 0xcbf2_9ce4_8422_2325;
        number.iter().chain(seed.iter()).fold(start, mix)
    }
}

/// An order to go on without a majority that is not answered yet.
#[derive(Debug)]
pub(crate) struct ForceAsk {
    request: RequestId,
    asked: Instant,
    since_ms: u64,
    /// The term that is tried the ordinary way; zero while another keeper's try is waited for.
    term: Term,
    /// What others last said to that.
    refusals: BTreeMap<ReplicaId, Refusal>,
    /// The lineage was begun.
    begun: bool,
}

impl Keeper {
    pub(crate) fn ask_force(&mut self, request: RequestId, since_ms: u64) {
        let busy = self.force_ask.is_some().then_some(ForceRefusal::Busy);
        let kept = busy.or_else(|| self.is_kept_from_forcing());
        // Another keeper tries the ordinary way, and has this one's word until it gives up.
        let bound = kept == Some(ForceRefusal::PrimaryHeard { primary: None });
        let waits = bound && self.awaits_promised();
        if let Some(refusal) = kept.filter(|_| !waits) {
            self.answer(request, Answer::ForceRefused(refusal));
            return;
        }
        let term = if waits {
            Some(Term::default())
        } else {
            self.try_ordinarily()
        };
        self.force_ask = term.map(|term| ForceAsk {
            request,
            asked: self.now,
            since_ms,
            term,
            refusals: BTreeMap::new(),
            begun: false,
        });
    }

    /// The term of an election like any other.
    fn try_ordinarily(&mut self) -> Option<Term> {
        if let Election::Recruiting { term, started, .. } = &mut self.election {
            // Everybody is asked once more, and has the whole time to answer.
            *started = self.now;
            return Some(*term);
        }
        self.begin_recruiting(Some(self.config.me))
            .then_some(self.durable.promise.highest)
    }

    fn is_kept_from_forcing(&self) -> Option<ForceRefusal> {
        if self.durable.paused {
            return Some(ForceRefusal::Paused);
        }
        if !self.is_voter() || !self.server.is_usable(&self.durable) {
            return Some(ForceRefusal::NotCounted);
        }
        if self.is_damaged() {
            return Some(ForceRefusal::Damaged);
        }
        let elected = matches!(self.election, Election::Elected { .. });
        if elected {
            return Some(ForceRefusal::Busy);
        }
        if self.has(PlantedBug::ForcedBesidePrimary) {
            return None;
        }
        let recruits = matches!(self.election, Election::Recruiting { .. });
        if self.primary.is_some() || !(recruits || self.is_lost()) {
            let primary = self.known_primary();
            return Some(ForceRefusal::PrimaryHeard { primary });
        }
        self.lease_is_running()
            .then_some(ForceRefusal::LeaseRunning)
    }

    /// Nobody could be filled from it.
    fn is_damaged(&self) -> bool {
        self.server.ailment() == Some(Serviceability::CorruptData)
    }

    /// What a peer said to the ordinary try.
    pub(crate) fn note_force_refusal(
        &mut self,
        from: ReplicaId,
        term: Term,
        refusal: Option<Refusal>,
    ) {
        let Some(ask) = self.force_ask.as_mut().filter(|ask| ask.term == term) else {
            return;
        };
        match refusal {
            Some(refusal) => ask.refusals.insert(from, refusal),
            None => ask.refusals.remove(&from),
        };
    }

    /// Too few reported in time. Whether that ended the ordinary try with a lineage of its own.
    pub(crate) fn begin_lineage(
        &mut self,
        term: Term,
        reports: &BTreeMap<ReplicaId, Recruit>,
    ) -> bool {
        let Some(ask) = self.force_ask.as_ref().filter(|ask| ask.term == term) else {
            return false;
        };
        let (request, since_ms) = (ask.request, ask.since_ms);
        match self.best_to_begin_with(reports, &ask.refusals) {
            Err(refusal) => {
                self.force_ask = None;
                self.answer(request, Answer::ForceRefused(refusal));
                false
            }
            Ok((rank, newest)) => {
                let logs = reports.values().map(|recruit| recruit.rank.timeline);
                let highest = logs.max().unwrap_or(rank.timeline).into();
                self.found_lineage(rank, newest, highest, since_ms)
            }
        }
    }

    /// This replica's end of log and the record to go on from; not where another that reported has more, nor where
    /// somebody hears a primary.
    fn best_to_begin_with(
        &self,
        reports: &BTreeMap<ReplicaId, Recruit>,
        refusals: &BTreeMap<ReplicaId, Refusal>,
    ) -> Result<(Rank, Cohort), ForceRefusal> {
        let hearing = refusals.iter().find(|(_, refusal)| {
            matches!(
                refusal,
                Refusal::PrimaryHeard | Refusal::PrimaryServing | Refusal::LeaseRunning
            )
        });
        if let Some((replica, _)) = hearing.filter(|_| !self.has(PlantedBug::ForcedBesidePrimary)) {
            let heard_by = *replica;
            return Err(ForceRefusal::PrimaryElsewhere { heard_by });
        }
        if self.durable.paused {
            return Err(ForceRefusal::Paused);
        }
        if self.is_damaged() {
            return Err(ForceRefusal::Damaged);
        }
        let newest = reports
            .values()
            .filter_map(|recruit| recruit.cohort.as_deref())
            .chain(self.durable.cohort.as_ref())
            .max_by_key(|cohort| cohort.version)
            .ok_or(ForceRefusal::NotCounted)?;
        let worth = |replica: ReplicaId, recruit: &Recruit| {
            (
                newest.counts(replica, recruit.incarnation),
                recruit.rank.key(),
            )
        };
        let me = self.config.me;
        let own = reports.get(&me).ok_or(ForceRefusal::Unready)?;
        let better = reports
            .iter()
            .filter(|(replica, recruit)| worth(**replica, recruit) > worth(me, own))
            .max_by_key(|(replica, recruit)| worth(**replica, recruit));
        if let Some((replica, _)) = better {
            return Err(ForceRefusal::Behind { replica: *replica });
        }
        Ok((own.rank.clone(), newest.clone()))
    }

    /// One record replaces everything: what was promised and recorded before was of the lineage that is left.
    fn found_lineage(&mut self, rank: Rank, newest: Cohort, reported: Term, since_ms: u64) -> bool {
        let skipped = self.config.terms_skipped;
        let known = self.durable.promise.highest.max(self.peers.highest_term());
        // Also above what others' servers have of another lineage.
        let written = self.peers.highest_timeline().into();
        let before = known.max(reported).max(written);
        let before = before.0.checked_add(skipped).map(Term);
        let number = self.durable.lineage.number.checked_add(1);
        let epoch = newest.version.epoch.checked_add(1);
        let first = before.and_then(Term::next);
        let (Some(before), Some(first), Some(number), Some(epoch)) = (before, first, number, epoch)
        else {
            self.halt(HaltReason::Exhausted);
            return false;
        };
        let incarnation = self.durable.incarnation;
        let mut cohort = Cohort {
            version: CohortVersion {
                term: before,
                epoch,
            },
            members: Members::from([(self.config.me, Member { incarnation })]),
            solo: Some(Solo {
                term: first,
                primary: self.config.me,
                incarnation,
                // Nothing is known to be on enough disks.
                from: Lsn::INVALID,
                since_ms,
            }),
            ..newest
        };
        let regained = core::mem::take(&mut cohort.regained);
        if !self.has(PlantedBug::ForcedLossUnrecorded) {
            for lost in lost_again(regained, &rank) {
                cohort.note(Loss {
                    term: first,
                    ..lost
                });
            }
            cohort.note(self.forced_loss(first, &rank));
        }
        self.durable = Durable {
            lineage: Lineage {
                number,
                seed: self.random.incarnation(),
            },
            promise: Promise {
                highest: before,
                coordinator: None,
                incarnation: Incarnation(0),
                floor: before,
                previous_floor: before,
            },
            aborted: None,
            cohort: Some(cohort),
            incarnation,
            paused: false,
        };
        self.persist();
        self.forget_others();
        if let Some(ask) = self.force_ask.as_mut() {
            ask.begun = true;
        }
        self.begin_recruiting(Some(self.config.me))
    }

    /// What is known of it: others may have more that they never told of.
    fn forced_loss(&self, first: Term, rank: &Rank) -> Loss {
        let heard = self
            .peers
            .iter()
            .filter_map(|(_, peer)| peer.heartbeat.as_deref())
            .filter(|heartbeat| heartbeat.timeline == rank.timeline)
            .map(|heartbeat| heartbeat.flushed)
            .max();
        Loss {
            term: first,
            timeline: rank.timeline,
            after: rank.lsn,
            below: first,
            until: heard.filter(|until| *until > rank.lsn),
        }
    }

    fn forget_others(&mut self) {
        self.peers = Peers::new(self.config.peers(), self.now);
        self.election = Election::default();
        self.founding = Founding::default();
        self.promised_at = None;
    }

    /// Answers the order when it is in force, or will not be.
    pub(crate) fn run_force_ask(&mut self) -> bool {
        let Some(ask) = &self.force_ask else {
            return false;
        };
        let (request, asked, begun) = (ask.request, ask.asked, ask.begun);
        let term = self.term();
        let limit = (self.config.timings.recruitment + self.config.timings.promotion) * 2;
        let elsewhere = self.leader().filter(|(_, leader)| leader.open && !begun);
        let answer = if let Some((_, leader)) = elsewhere {
            Answer::Done { term: leader.term }
        } else if self.server.state == State::Open && self.answers_commits() {
            match self.newest_loss().filter(|_| begun) {
                Some(loss) => Answer::Forced { term, loss },
                None => Answer::Done { term },
            }
        } else if self.now.since(asked) >= limit {
            Answer::Unfinished { term }
        } else {
            return !begun && self.try_once_more();
        };
        self.force_ask = None;
        self.answer(request, answer);
        true
    }

    /// Another coordinator was in the way of the ordinary try.
    fn try_once_more(&mut self) -> bool {
        let asked = self.force_ask.as_ref().map(|ask| ask.term);
        let under_way =
            matches!(&self.election, Election::Recruiting { term, .. } if Some(*term) == asked);
        if under_way || self.is_kept_from_forcing().is_some() {
            return false;
        }
        let Some(term) = self.try_ordinarily() else {
            return false;
        };
        if let Some(ask) = self.force_ask.as_mut() {
            ask.term = term;
            ask.refusals.clear();
        }
        true
    }

    fn answers_commits(&self) -> bool {
        self.is_solo() || self.quorum_acknowledges(Lsn::INVALID)
    }

    /// No quorum can come from them, so none is waited for.
    pub(crate) fn members_are_too_few(&self) -> bool {
        let cohort = self.durable.cohort.as_ref();
        let few = cohort.is_some_and(|cohort| cohort.members.len() < usize::from(self.copies()));
        few && self.durable.lineage.is_forced()
    }

    fn newest_loss(&self) -> Option<Loss> {
        self.durable.cohort.as_ref()?.losses.last().copied()
    }

    /// Leaves its own lineage for one that was begun later: as one that has lost its disk, whatever the folder holds.
    /// One that was told to keep its hands off leaves its server alone, which may stream from a primary of the later lineage
    /// meanwhile; what it then has must not count where it came from. A primary's lease ends with the pause, not before.
    pub(crate) fn join(&mut self, lineage: Lineage) {
        let paused = self.durable.paused;
        if paused && self.may_serve() {
            return;
        }
        self.answer_before_leaving();
        let kept = self.durable.clone();
        self.durable = Durable {
            lineage,
            paused,
            ..Durable::default()
        };
        if self.has(PlantedBug::FolderKeptAcrossLineages) {
            self.durable.incarnation = kept.incarnation;
            self.durable.cohort = kept.cohort;
        }
        self.persist();
        self.forget_others();
        self.clear_lease();
        self.granted = Granted::on_start(&self.durable, self.now);
        self.lost_since = None;
        self.primary = None;
        self.server.begin_anew(self.now);
        if !paused {
            self.apply(Event::MustStop);
        }
    }

    /// Its server is a primary, or may be one that was not looked at yet.
    fn may_serve(&self) -> bool {
        let seen = self.server.observation.as_ref();
        self.primary.is_some()
            || seen.is_none_or(|seen| matches!(seen.process, ProcessState::Primary { .. }))
    }

    fn answer_before_leaving(&mut self) {
        let term = self.term();
        let asks: Vec<RequestId> = [
            self.force_ask.take().map(|ask| ask.request),
            self.switchover.take().and_then(|one| one.request()),
            self.solo_ask.take().map(|ask| ask.request()),
            self.refill_ask.take().map(|ask| ask.request()),
        ]
        .into_iter()
        .flatten()
        .collect();
        for request in asks {
            self.answer(request, Answer::Unfinished { term });
        }
    }

    /// A lineage begins, and begins again after a crash, with fewer members than a commit needs: then its primary
    /// serves alone, as it was ordered to.
    pub(crate) fn carry_order_on(&self, cohort: &mut Cohort, winner: ReplicaId) {
        let few = cohort.members.len() < usize::from(self.copies_by(Some(cohort)));
        let member = cohort.members.get(&winner).copied();
        if let (Some(solo), Some(member), true) = (
            cohort.solo.as_mut(),
            member,
            few && self.durable.lineage.is_forced(),
        ) {
            *solo = Solo {
                term: cohort.version.term,
                primary: winner,
                incarnation: member.incarnation,
                from: Lsn::INVALID,
                since_ms: solo.since_ms,
            };
        }
    }
}

/// What a later term had found, where this log is of a term that had begun without it.
fn lost_again(regained: Vec<Loss>, rank: &Rank) -> impl Iterator<Item = Loss> {
    regained
        .into_iter()
        .filter(|loss| rank.passed(loss.term.into()))
}
