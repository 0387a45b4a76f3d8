//! Wall time, for deadlines and for saying when a price was read; boot time, for saying how old it is: nobody sets that one.

use rustix::time::{ClockId, clock_gettime};

/// Unix milliseconds.
pub fn wall_ms() -> u64 {
    milliseconds(ClockId::Realtime)
}

/// Milliseconds since boot, suspension included.
pub fn boot_ms() -> u64 {
    milliseconds(ClockId::Boottime)
}

fn milliseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
