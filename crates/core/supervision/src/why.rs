//! Why an instance is where it is, or why nothing was done.

use core::fmt;

/// One reason per row of the table, and one per thing that is deliberately not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    NotWanted,
    Wanted,
    StartFailed,
    Started,
    Adopted,
    NothingToProve,
    StartupProven,
    StartupProbeFailed,
    ReadinessProven,
    ReadinessProbeFailed,
    LivenessProbeFailed,
    Replaced,
    Drained,
    Exited,
    ExitedTooOften,
    BackoffOver,
    StopIsOverdue,
    StoppedAsWished,
    StoppedToStartAnew,
    HostIsDown,
    HostIsBack,
    HandsOff,
    HandsOn,
    /// The input says nothing new in this phase.
    AlreadySo,
    /// An answer to a question that is no longer asked.
    Stale,
    /// A probe has not yet said the same thing often enough.
    BelowThreshold,
    /// Its time has not come.
    TooEarly,
}

impl Why {
    /// Words for a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotWanted => "it is not wanted here",
            Self::Wanted => "it is wanted and about to be started",
            Self::StartFailed => "it could not be started",
            Self::Started => "it has started and has yet to prove itself",
            Self::Adopted => "it was found running and has yet to prove itself",
            Self::NothingToProve => "it runs and no probe is declared",
            Self::StartupProven => "it has started up; readiness is not proven yet",
            Self::StartupProbeFailed => "its startup probe failed too often",
            Self::ReadinessProven => "its readiness probe passes",
            Self::ReadinessProbeFailed => "its readiness probe fails",
            Self::LivenessProbeFailed => "its liveness probe failed too often",
            Self::Replaced => "a new version of it is wanted",
            Self::Drained => "it has left routing and is being stopped",
            Self::Exited => "it exited and waits for its next start",
            Self::ExitedTooOften => "it exits again and again (crash loop)",
            Self::BackoffOver => "its back-off is over",
            Self::StopIsOverdue => "it did not stop in time and is being killed",
            Self::StoppedAsWished => "it was stopped as wished",
            Self::StoppedToStartAnew => "it was stopped and will be started anew",
            Self::HostIsDown => "a fault says that its host is down",
            Self::HostIsBack => "its host is back",
            Self::HandsOff => "the platform is paused: hands off",
            Self::HandsOn => "the platform was resumed",
            Self::AlreadySo => "nothing changes",
            Self::Stale => "the answer came too late to count",
            Self::BelowThreshold => "not often enough yet to count",
            Self::TooEarly => "it is not time yet",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
