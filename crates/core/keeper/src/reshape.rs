//! Who counts, and of how many copies, while the database serves: what the platform file says now, and the record of the
//! cohort does not say yet.
//!
//! A commit and an election must share a replica at every instant, whatever the file asks for. So the server's setting
//! and the record change one after the other, never both at once, and one thing at a time:
//!
//! - *A replica that leaves* is taken out of the setting first. When the others have everything that was written until
//!   then on enough disks, it is taken out of the record. Until then elections count with it, which only asks for more.
//! - *More copies*: the setting asks for them first; when everything that was written before is on as many disks, the
//!   record says so, and elections may rely on it.
//! - *Fewer copies*: the record says so first, and elections no longer rely on the many; then the setting follows.
//!
//! The majorities of two records that differ by one member meet, so whoever recruits hears of the later one. A primary
//! that leaves hands over first; a replica that comes is admitted like one that was filled anew.

use mainstay_units::Lsn;

use crate::config::ReplicaId;
use crate::durable::Cohort;
use crate::keeper::Keeper;
use crate::machine::State;
use crate::planted::PlantedBug;
use crate::primary::{Barrier, Stance, Waits};

/// Who leaves, and was silent for so many times the suspicion (a minute), is not waited for until it is replaced.
const GONE_AFTER: u32 = 50;

/// What the record is to say next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Copies(u8),
    Without(ReplicaId),
}

impl Keeper {
    /// The file names this primary no more, and enough others are there to elect one.
    pub(crate) fn must_withdraw(&self) -> bool {
        let (Some(primary), Some(cohort)) = (&self.primary, &self.durable.cohort) else {
            return false;
        };
        let others = cohort.members.iter().filter(|(replica, member)| {
            let said = self.peers.alive(self.now, &self.config.timings, **replica);
            said.is_some_and(|heartbeat| heartbeat.incarnation == member.incarnation)
        });
        let enough = others.count() + 1 >= cohort.recruits_needed(self.copies());
        let due = primary.renewals.may_hand_over(self.now);
        self.config.leaving.contains(&self.config.me) && enough && due
    }

    /// An open primary whose decided record does not name this replica any more: it may be taken down.
    pub fn has_let_go(&self, replica: ReplicaId) -> bool {
        let cohort = self.durable.cohort.as_ref();
        let named = cohort.is_none_or(|cohort| cohort.members.contains_key(&replica));
        self.server.state == State::Open && self.cohort_is_durable() && !named
    }

    /// How many copies of a commit elections rely on.
    pub(crate) fn copies(&self) -> u8 {
        self.copies_by(self.durable.cohort.as_ref())
    }

    /// Records from before every replica was admitted for the first time leave it to the configuration.
    pub(crate) fn copies_by(&self, cohort: Option<&Cohort>) -> u8 {
        cohort
            .and_then(|cohort| cohort.copies)
            .unwrap_or(self.config.copies)
    }

    /// Every replica of the file was admitted once, and the record says so: needed before the first opening. A lineage
    /// opens with whom it has.
    pub(crate) fn cohort_is_complete(&self) -> bool {
        let cohort = self.durable.cohort.as_ref();
        self.durable.lineage.is_forced() || cohort.is_some_and(|cohort| cohort.copies.is_some())
    }

    fn holds_all(&self, cohort: &Cohort) -> bool {
        let mut staying = self.config.staying();
        staying.all(|replica| cohort.members.contains_key(&replica))
    }

    /// A member that the file does not name (any more, or yet: a primary that was told late may take back in whom another one
    /// has let go) and that the others can do without now. Who comes in its place is
    /// waited for, unless the one that leaves is of no use meanwhile.
    fn leaver(&self, cohort: &Cohort) -> Option<ReplicaId> {
        let copies = usize::from(self.copies_by(Some(cohort)));
        let replaced = self.holds_all(cohort);
        let members = cohort.members.keys().copied();
        members
            .filter(|member| !self.config.stays(*member) && *member != self.config.me)
            .find(|member| {
                let useless = self.is_gone_for_long(*member);
                cohort.members.len() > copies
                    && (replaced || useless)
                    && self.acknowledging_without(Some(*member), Lsn::INVALID) + 1 >= copies
            })
    }

    /// Neither its keeper nor its server was heard: not one that was started anew, or attaches later than others.
    fn is_gone_for_long(&self, member: ReplicaId) -> bool {
        let limit = self.config.timings.suspicion * GONE_AFTER;
        let silent = self
            .peers
            .get(member)
            .is_none_or(|peer| self.peers.silence(self.now, peer) >= limit);
        silent && self.target_stream(member).is_none()
    }

    pub(crate) fn stance_kept(&self, cohort: &Cohort) -> Stance {
        Stance {
            copies: self.copies_by(Some(cohort)),
            without: None,
        }
    }

    /// What commits wait for: what the record promises, or more where it is about to promise more.
    pub(crate) fn stance_wanted(&self, cohort: &Cohort) -> Stance {
        let kept = self.stance_kept(cohort);
        let recorded = kept.copies;
        if self.server.state != State::Open || self.solo_is_recorded() || cohort.copies.is_none() {
            return kept;
        }
        if let Some(leaver) = self.leaver(cohort) {
            return Stance {
                copies: recorded,
                without: Some(leaver),
            };
        }
        let configured = self.config.copies;
        let enough = self.acknowledging(Lsn::INVALID) + 1 >= usize::from(configured);
        if configured > recorded && enough {
            return Stance {
                copies: configured,
                without: None,
            };
        }
        if configured < recorded && self.has(PlantedBug::FewerCopiesInOneStep) {
            return Stance {
                copies: configured,
                without: None,
            };
        }
        kept
    }

    /// Brings the record one step nearer to the file. Whether there was one.
    pub(crate) fn reshape(&mut self) -> bool {
        let complete = self.cohort_is_complete();
        let ready =
            self.server.state == State::Open || (self.server.state == State::Unopened && !complete);
        let settled = self.setting_is_settled() && self.cohort_is_durable();
        if !ready || self.switchover.is_some() || !settled {
            return false;
        }
        let Some(change) = self.next_change() else {
            return false;
        };
        match change {
            Change::Copies(copies) => self.change_cohort(|cohort| cohort.copies = Some(copies)),
            Change::Without(_) if !self.grants_are_of_these_members() => return false,
            Change::Without(member) => {
                self.change_cohort(|cohort| cohort.members.remove(&member));
                self.note_other_members();
            }
        }
        true
    }

    /// Of two majorities whose members differ by more than one, none need be in both. So a lease that members granted must
    /// have run out before another one comes or goes.
    pub(crate) fn grants_are_of_these_members(&self) -> bool {
        let lease = self.config.timings.lease;
        let changed = self
            .primary
            .as_ref()
            .and_then(|primary| primary.members_changed);
        let closed = self.server.state == State::Unopened;
        closed || changed.is_none_or(|at| self.now.since(at) > lease + lease / 10)
    }

    /// Every member that is heard was told of `replica`. Its votes are worth something only to a keeper that knows where
    /// to ask for them; and where others were told that it leaves, it is this keeper that was told late.
    pub(crate) fn others_know_of(&self, replica: ReplicaId) -> bool {
        let Some(cohort) = &self.durable.cohort else {
            return false;
        };
        let members = cohort.members.keys();
        let mut heard =
            members.filter_map(|member| self.peers.alive(self.now, &self.config.timings, *member));
        heard.all(|heartbeat| {
            let told = heartbeat.staying;
            told.is_none_or(|staying| staying.contains(replica))
        })
    }

    pub(crate) fn note_other_members(&mut self) {
        let now = self.now;
        if let Some(primary) = self.primary.as_mut() {
            primary.members_changed = Some(now);
        }
    }

    fn next_change(&self) -> Option<Change> {
        let cohort = self.durable.cohort.as_ref()?;
        let configured = self.config.copies;
        let Some(recorded) = cohort.copies else {
            return self.holds_all(cohort).then_some(Change::Copies(configured));
        };
        // Elections then only ask for more, also while commits are answered alone, which may end by it.
        if configured < recorded {
            return Some(Change::Copies(configured));
        }
        if self.solo_is_recorded() || cohort.solo.is_some() {
            return None;
        }
        let primary = self.primary.as_ref()?;
        let setting = primary
            .setting
            .filter(|setting| setting.waits == Waits::ForQuorum)?;
        let stance = setting.stance;
        let has = |without: Option<ReplicaId>, copies: u8| match primary.barrier {
            Barrier::At(end) => self.acknowledging_without(without, end) + 1 >= usize::from(copies),
            Barrier::Unknown | Barrier::Due => false,
        };
        if let Some(leaver) = stance.without {
            if self.leaver(cohort) != Some(leaver) {
                return None;
            }
            let safe = has(Some(leaver), recorded) || self.has(PlantedBug::LeaverForgottenEarly);
            return safe.then_some(Change::Without(leaver));
        }
        if stance.copies > recorded {
            let safe = has(None, stance.copies) || self.has(PlantedBug::MoreCopiesClaimedEarly);
            return safe.then_some(Change::Copies(stance.copies));
        }
        None
    }
}
