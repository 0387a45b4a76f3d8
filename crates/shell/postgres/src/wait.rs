//! Waiting for a condition, with a limit: the only way this crate waits.

use std::time::Duration;

/// Looks every `pause` until `condition` holds; says whether it came true within `limit`.
pub async fn until(limit: Duration, pause: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = mainstay_rt::clock::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if mainstay_rt::clock::now() >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
    }
}
