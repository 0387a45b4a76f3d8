//! Two clocks: one that never steps back, for everything that is decided; one that people read.

use mainstay_units::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The boot-time clock: monotonic, and it goes on while the machine sleeps, so that a lease does not
/// outlive a suspension.
pub fn now() -> Instant {
    Instant::from_nanos(nanos(clock_gettime(ClockId::Boottime)))
}

/// Milliseconds since the Unix epoch, UTC. For people and for other programs; never for a decision about
/// who may write.
pub fn wall_ms() -> u64 {
    nanos(clock_gettime(ClockId::Realtime)) / 1_000_000
}

/// As [`wall_ms`], in microseconds: for comparing what several processes of one machine wrote down.
pub fn wall_us() -> u64 {
    nanos(clock_gettime(ClockId::Realtime)) / 1_000
}

/// A clock before its epoch reads as the epoch.
fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The kernel's identity of this boot: instants of another boot mean nothing.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forward() {
        let first = now();
        assert!(now() >= first);
        assert!(wall_ms() > 1_700_000_000_000);
    }
}
