//! How one instance is to be looked after.

use core::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub startup: Option<ProbePolicy>,
    /// Absent: ready as soon as it has started up.
    pub readiness: Option<ProbePolicy>,
    pub liveness: Option<ProbePolicy>,
    pub restart: RestartPolicy,
    /// Between leaving routing and the stop signal.
    pub drain: Duration,
    /// After the stop signal; what is then still there is killed.
    pub stop: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePolicy {
    pub period: Duration,
    pub timeout: Duration,
    /// So many passes in a row count as a pass.
    pub success_threshold: u32,
    /// So many failures in a row count as a failure.
    pub failure_threshold: u32,
}

impl ProbePolicy {
    /// The least a probe may be: never without pause, never without a limit, and one answer counts.
    pub(crate) fn bounded(self) -> Self {
        const LEAST: Duration = Duration::from_millis(1);
        Self {
            period: self.period.max(LEAST),
            timeout: self.timeout.max(LEAST),
            success_threshold: self.success_threshold.max(1),
            failure_threshold: self.failure_threshold.max(1),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Before the first restart; doubled with every further one.
    pub initial: Duration,
    pub maximum: Duration,
    /// Having run this long, it starts again with `initial`.
    pub reset_after: Duration,
    /// So many exits within the window are a crash loop: from then on it waits `maximum`.
    pub crash_loop_exits: u32,
    pub crash_loop_window: Duration,
}
