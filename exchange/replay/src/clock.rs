//! The driver's clocks, in one place.
//!
//! Durations come from the monotonic clock; the wall clock is read once, when a run starts, and carried forward by the
//! monotonic one, so a step of the wall clock during a run moves no planned time.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The start of a run on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    monotonic: Duration,
    wall: Duration,
}

impl Origin {
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic: read(ClockId::Monotonic),
            wall: read(ClockId::Realtime),
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        read(ClockId::Monotonic).saturating_sub(self.monotonic)
    }

    /// Unix milliseconds of a moment of the run.
    #[must_use]
    pub fn wall_ms(&self, offset: Duration) -> u64 {
        u64::try_from((self.wall + offset).as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment of the run that a wall-clock time was; times before the start are the start.
    #[must_use]
    pub fn offset_of_wall_ms(&self, wall_ms: u64) -> Duration {
        Duration::from_millis(wall_ms).saturating_sub(self.wall)
    }

    /// Blocks this thread until `offset` has passed, at once if it has already.
    pub fn sleep_until(&self, offset: Duration) {
        let target = self.monotonic + offset;
        let request = Timespec {
            tv_sec: i64::try_from(target.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(target.subsec_nanos()),
        };
        // An interrupted sleep is taken up again: the target is absolute.
        while rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &request).is_err() {}
    }
}

/// Processor time that this process has used so far.
#[must_use]
pub fn processor_time() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
