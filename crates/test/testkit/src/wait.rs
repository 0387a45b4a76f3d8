//! Patience with a limit: a test waits for a condition, never for luck.
//!
//! Every wait says what it waits for, so that a failure reads "waited 5 s for the gateway to answer" instead of showing
//! an assertion that came too early.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// How long to leave between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Time since boot; only differences mean anything.
#[must_use]
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Calls `condition` until it returns a value, at most for `limit`; `what` completes the sentence "waited for …".
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let started = now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        let waited = now().saturating_sub(started);
        if waited >= limit {
            bail!("waited {:.1} s for {what}, in vain", waited.as_secs_f64());
        }
        pause(LOOK_EVERY);
    }
}

/// As [`wait_for`], for a condition that is a future.
pub async fn wait_for_async<T, F>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let started = now();
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        let waited = now().saturating_sub(started);
        if waited >= limit {
            bail!("waited {:.1} s for {what}, in vain", waited.as_secs_f64());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the loop with a limit that everything else is told to use"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::wait_for;

    #[test]
    fn returns_the_value_as_soon_as_there_is_one() {
        let mut looks = 0;
        let value = wait_for("three looks", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn says_what_it_waited_for() {
        let error = wait_for::<()>("the moon", Duration::from_millis(20), || None).unwrap_err();
        assert!(error.to_string().contains("for the moon"), "{error}");
    }
}
