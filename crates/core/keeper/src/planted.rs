//! Bugs that are put in on purpose, so that the simulator can show that it finds them.
//!
//! Production builds cannot reach them: without the feature `planted-bugs`, [`Planted::has`] is
//! `false` at compile time and there is no way to set one.

/// The mistakes that a keeper, or what stands around it, could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(dead_code, reason = "named, and never constructed in a product")
)]
pub enum PlantedBug {
    PromiseWithoutFsync,
    PromiseCountedAsRank,
    TimelineClashUnnoticed,
    RebuiltReplicaCounted,
    OldTermReceiverCounted,
    PromotionWithoutMajority,
    OpeningBeforeQuorum,
    SameNodeWithoutNewTimeline,
    SettingEmptiedBeforeSessionsEnd,
    RestartReadWrite,
    StandbyReattachedByReload,
    TwoCoordinatorsInOneTerm,
    AbortAfterPromotion,
    CohortChangeInOneStep,
    LearnerAdmittedEarly,
    LeaseCheckedBeforeReading,
    WarningTreatedAsSuccess,
    // Mistakes of this keeper's own first version, which the simulator found.
    /// A replica that forgot its promises grants leases.
    ForgetfulGrantsLease,
    /// A promise is released although a primary of its term is known.
    KeptPromiseReleased,
    /// A cohort record that was durable stops being decided when a disk that kept it is lost.
    DecidedCohortUndecided,
    /// A replica that nobody could take back rewinds without a copy to go back to.
    RewoundWithoutSpare,
    /// A member that is bound to a dead coordinator's term stays out for ever.
    BoundMemberLeftOut,
    /// A replica whose missing log the primary has removed waits for it for ever.
    StarvedReplicaLeft,
    /// Replicas whose missing log is gone forget all at once what they had.
    RebuiltTogether,
    /// A walreceiver that stands still is waited for.
    StuckStreamLeft,
    /// A primary that reads damaged pages, or whose disk is full, goes on beside a standby that is well.
    AilingPrimaryKept,
    /// A standby with damaged pages goes on.
    DamagedReplicaLeft,
    // Serving alone by order.
    /// The server waits for nobody before a majority knows of it.
    SoloWithoutRecord,
    /// It goes on when the quorum is back.
    SoloNeverEnded,
    /// What nobody else has counts as being on enough disks.
    SoloCommitCountedAsProtected,
    /// The full promise is claimed again before the quorum has the log.
    SoloEndedBeforeLog,
    /// A new primary does not say what it began without.
    SoloLossUnrecorded,
    /// A primary that closed opens again although its quorum lacks what is visible there.
    ReopenedWithoutLog,
    /// A primary's keeper that is gone for a moment counts as a lost primary, although its server streams.
    LivingStreamIgnored,
    /// A standby is started anew without having been named.
    RenewedUnasked,
    // Forced failovers.
    /// What keepers of another lineage say is heard.
    LineageIgnored,
    /// Who joins a later lineage counts with what it had.
    FolderKeptAcrossLineages,
    /// The record does not say what the lineage begins without.
    ForcedLossUnrecorded,
    /// A lineage is begun although a primary is heard.
    ForcedBesidePrimary,
    // Other replicas, and other numbers of copies.
    /// A replica that leaves is taken out of the record before the others have what it has.
    LeaverForgottenEarly,
    /// Elections rely on more copies before what was written earlier has as many.
    MoreCopiesClaimedEarly,
    /// Commits wait for fewer copies before elections know of it.
    FewerCopiesInOneStep,
}

#[cfg(feature = "planted-bugs")]
impl PlantedBug {
    /// It promotes where nothing was lost: looked for in schedules in which nothing is.
    pub fn is_haste(self) -> bool {
        matches!(self, Self::LivingStreamIgnored | Self::ForcedBesidePrimary)
    }

    /// It is about other replicas or numbers of copies: looked for in schedules that ask for them.
    pub fn is_of_reshaping(self) -> bool {
        matches!(
            self,
            Self::LeaverForgottenEarly | Self::MoreCopiesClaimedEarly | Self::FewerCopiesInOneStep
        )
    }

    pub const ALL: [Self; 42] = [
        Self::PromiseWithoutFsync,
        Self::PromiseCountedAsRank,
        Self::TimelineClashUnnoticed,
        Self::RebuiltReplicaCounted,
        Self::OldTermReceiverCounted,
        Self::PromotionWithoutMajority,
        Self::OpeningBeforeQuorum,
        Self::SameNodeWithoutNewTimeline,
        Self::SettingEmptiedBeforeSessionsEnd,
        Self::RestartReadWrite,
        Self::StandbyReattachedByReload,
        Self::TwoCoordinatorsInOneTerm,
        Self::AbortAfterPromotion,
        Self::CohortChangeInOneStep,
        Self::LearnerAdmittedEarly,
        Self::LeaseCheckedBeforeReading,
        Self::WarningTreatedAsSuccess,
        Self::ForgetfulGrantsLease,
        Self::KeptPromiseReleased,
        Self::DecidedCohortUndecided,
        Self::RewoundWithoutSpare,
        Self::BoundMemberLeftOut,
        Self::StarvedReplicaLeft,
        Self::RebuiltTogether,
        Self::StuckStreamLeft,
        Self::AilingPrimaryKept,
        Self::DamagedReplicaLeft,
        Self::SoloWithoutRecord,
        Self::SoloNeverEnded,
        Self::SoloCommitCountedAsProtected,
        Self::SoloEndedBeforeLog,
        Self::SoloLossUnrecorded,
        Self::ReopenedWithoutLog,
        Self::LivingStreamIgnored,
        Self::RenewedUnasked,
        Self::LineageIgnored,
        Self::FolderKeptAcrossLineages,
        Self::ForcedLossUnrecorded,
        Self::ForcedBesidePrimary,
        Self::LeaverForgottenEarly,
        Self::MoreCopiesClaimedEarly,
        Self::FewerCopiesInOneStep,
    ];
}

/// Which bug this keeper was given; none, in production.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<PlantedBug>,
}

impl Planted {
    #[cfg(feature = "planted-bugs")]
    pub fn has(self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "planted-bugs"))]
    pub const fn has(self, _: PlantedBug) -> bool {
        false
    }
}
