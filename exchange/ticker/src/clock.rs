//! Wall time, for deadlines and for saying how old a price is.

use rustix::time::{ClockId, clock_gettime};

/// Unix milliseconds.
pub fn wall_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
