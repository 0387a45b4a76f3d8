//! What may follow what: one row a line.
//!
//! A pair that is not in the table changes nothing. `Held` is where an instance rests that would be
//! started but must not be: a fault says that its host is down, or an operator said hands off.

use crate::why::Why;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not there, and not wanted.
    Stopped,
    /// Wanted, not there, and its back-off runs.
    Waiting,
    /// Wanted and not there; it must not be started now.
    Held,
    /// It left so often that it waits as long as it may.
    CrashLoop,
    /// A start was asked for.
    Launching,
    /// There; its startup probe has not passed.
    Starting,
    /// There and started up; not to be routed to.
    Unready,
    /// There, and to be routed to.
    Ready,
    /// There and out of routing; what it has begun may end.
    Draining,
    /// The stop signal was sent.
    Stopping,
}

impl Phase {
    pub const ALL: [Self; 10] = [
        Self::Stopped,
        Self::Waiting,
        Self::Held,
        Self::CrashLoop,
        Self::Launching,
        Self::Starting,
        Self::Unready,
        Self::Ready,
        Self::Draining,
        Self::Stopping,
    ];

    /// Whether a process may exist in this phase.
    pub const fn has_process(self) -> bool {
        match self {
            Self::Launching
            | Self::Starting
            | Self::Unready
            | Self::Ready
            | Self::Draining
            | Self::Stopping => true,
            Self::Stopped | Self::Waiting | Self::Held | Self::CrashLoop => false,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::CrashLoop => "crash_loop",
            Self::Launching => "launching",
            Self::Starting => "starting",
            Self::Unready => "unready",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// What moves an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It is wanted, and a start is allowed.
    Start,
    /// It is wanted, but its host is down.
    HostDown,
    /// It is wanted, but the platform is paused.
    Paused,
    Unwanted,
    Replaced,
    /// It was found running.
    Found,
    Launched,
    LaunchFailed,
    /// Its startup probe passed, or it has none.
    StartupProven,
    StartupFailed,
    ReadinessProven,
    /// It has no readiness probe.
    NothingToProve,
    ReadinessFailed,
    LivenessFailed,
    DrainOver,
    StopOverdue,
    /// It left by itself, or with nobody knowing why.
    Exited,
    ExitedTooOften,
    /// It left after a stop, and is not wanted.
    StoppedForGood,
    /// It left after a stop, and is wanted again.
    StoppedToStart,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub from: Phase,
    pub cause: Cause,
    pub to: Phase,
    pub why: Why,
}

const fn row(from: Phase, cause: Cause, to: Phase, why: Why) -> Row {
    Row {
        from,
        cause,
        to,
        why,
    }
}

use Cause as C;
use Phase as P;

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row(P::Stopped,   C::Start,           P::Launching, Why::Wanted),
    row(P::Stopped,   C::HostDown,        P::Held,      Why::HostIsDown),
    row(P::Stopped,   C::Paused,          P::Held,      Why::HandsOff),
    row(P::Stopped,   C::Found,           P::Starting,  Why::Adopted),

    row(P::Waiting,   C::Start,           P::Launching, Why::BackoffOver),
    row(P::Waiting,   C::HostDown,        P::Held,      Why::HostIsDown),
    row(P::Waiting,   C::Paused,          P::Held,      Why::HandsOff),
    row(P::Waiting,   C::Unwanted,        P::Stopped,   Why::NotWanted),
    row(P::Waiting,   C::Replaced,        P::Waiting,   Why::Replaced),
    row(P::Waiting,   C::Found,           P::Starting,  Why::Adopted),

    row(P::Held,      C::Start,           P::Launching, Why::Wanted),
    row(P::Held,      C::HostDown,        P::Held,      Why::HostIsDown),
    row(P::Held,      C::Paused,          P::Held,      Why::HandsOff),
    row(P::Held,      C::Unwanted,        P::Stopped,   Why::NotWanted),
    row(P::Held,      C::Found,           P::Starting,  Why::Adopted),

    row(P::CrashLoop, C::Start,           P::Launching, Why::BackoffOver),
    row(P::CrashLoop, C::HostDown,        P::Held,      Why::HostIsDown),
    row(P::CrashLoop, C::Paused,          P::Held,      Why::HandsOff),
    row(P::CrashLoop, C::Unwanted,        P::Stopped,   Why::NotWanted),
    row(P::CrashLoop, C::Replaced,        P::Waiting,   Why::Replaced),
    row(P::CrashLoop, C::Found,           P::Starting,  Why::Adopted),

    row(P::Launching, C::Launched,        P::Starting,  Why::Started),
    row(P::Launching, C::Found,           P::Starting,  Why::Adopted),
    row(P::Launching, C::LaunchFailed,    P::Waiting,   Why::StartFailed),
    row(P::Launching, C::Exited,          P::Waiting,   Why::Exited),
    row(P::Launching, C::ExitedTooOften,  P::CrashLoop, Why::ExitedTooOften),

    row(P::Starting,  C::StartupProven,   P::Unready,   Why::StartupProven),
    row(P::Starting,  C::StartupFailed,   P::Stopping,  Why::StartupProbeFailed),
    row(P::Starting,  C::LivenessFailed,  P::Stopping,  Why::LivenessProbeFailed),
    row(P::Starting,  C::Exited,          P::Waiting,   Why::Exited),
    row(P::Starting,  C::ExitedTooOften,  P::CrashLoop, Why::ExitedTooOften),
    row(P::Starting,  C::Unwanted,        P::Stopping,  Why::NotWanted),
    row(P::Starting,  C::Replaced,        P::Stopping,  Why::Replaced),

    row(P::Unready,   C::ReadinessProven, P::Ready,     Why::ReadinessProven),
    row(P::Unready,   C::NothingToProve,  P::Ready,     Why::NothingToProve),
    row(P::Unready,   C::LivenessFailed,  P::Stopping,  Why::LivenessProbeFailed),
    row(P::Unready,   C::Exited,          P::Waiting,   Why::Exited),
    row(P::Unready,   C::ExitedTooOften,  P::CrashLoop, Why::ExitedTooOften),
    row(P::Unready,   C::Unwanted,        P::Draining,  Why::NotWanted),
    row(P::Unready,   C::Replaced,        P::Draining,  Why::Replaced),

    row(P::Ready,     C::ReadinessFailed, P::Unready,   Why::ReadinessProbeFailed),
    row(P::Ready,     C::LivenessFailed,  P::Stopping,  Why::LivenessProbeFailed),
    row(P::Ready,     C::Exited,          P::Waiting,   Why::Exited),
    row(P::Ready,     C::ExitedTooOften,  P::CrashLoop, Why::ExitedTooOften),
    row(P::Ready,     C::Unwanted,        P::Draining,  Why::NotWanted),
    row(P::Ready,     C::Replaced,        P::Draining,  Why::Replaced),

    row(P::Draining,  C::DrainOver,       P::Stopping,  Why::Drained),
    row(P::Draining,  C::StoppedForGood,  P::Stopped,   Why::StoppedAsWished),
    row(P::Draining,  C::StoppedToStart,  P::Waiting,   Why::StoppedToStartAnew),

    row(P::Stopping,  C::StopOverdue,     P::Stopping,  Why::StopIsOverdue),
    row(P::Stopping,  C::Exited,          P::Waiting,   Why::Exited),
    row(P::Stopping,  C::ExitedTooOften,  P::CrashLoop, Why::ExitedTooOften),
    row(P::Stopping,  C::StoppedForGood,  P::Stopped,   Why::StoppedAsWished),
    row(P::Stopping,  C::StoppedToStart,  P::Waiting,   Why::StoppedToStartAnew),
];

/// The row for a pair, if the pair means anything.
pub fn find(from: Phase, cause: Cause) -> Option<&'static Row> {
    TABLE
        .iter()
        .find(|row| row.from == from && row.cause == cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn every_pair_has_one_row_and_every_phase_a_way_out() {
        let pairs: BTreeSet<_> = TABLE.iter().map(|row| (row.from, row.cause)).collect();
        assert_eq!(pairs.len(), TABLE.len());
        for phase in Phase::ALL {
            assert!(
                TABLE.iter().any(|row| row.from == phase && row.to != phase),
                "{phase:?}"
            );
            assert!(
                TABLE.iter().any(|row| row.to == phase && row.from != phase),
                "{phase:?}"
            );
        }
    }

    #[test]
    fn a_process_begins_only_by_launching_or_being_found() {
        for row in TABLE {
            if row.to.has_process() && !row.from.has_process() {
                assert!(matches!(row.cause, Cause::Start | Cause::Found), "{row:?}");
            }
        }
    }

    #[test]
    fn routing_is_left_before_the_stop_signal_when_the_stop_is_ours_to_time() {
        for row in TABLE {
            if matches!(row.cause, Cause::Unwanted | Cause::Replaced) && row.from == Phase::Ready {
                assert_eq!(row.to, Phase::Draining);
            }
        }
    }
}
