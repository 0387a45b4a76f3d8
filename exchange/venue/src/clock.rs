//! The two clocks of the venue: wall time, which is recorded, and boot time, which measures.
//!
//! Boot time counts suspension and is what leases are written in. Nothing else in this crate reads a clock
//! (timers of the runtime aside).

use rustix::time::{ClockId, clock_gettime};

/// Unix milliseconds.
pub fn wall_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Nanoseconds since boot, suspension included.
pub fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
