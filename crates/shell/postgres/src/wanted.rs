//! What the platform file asks for while the keeper runs: who leaves, where the home is, how many copies a commit shall have.
//!
//! A replica that comes is no such thing: its host must be known to all parts of the body, so for that the node starts
//! the keeper anew.

use std::rc::Rc;
use std::time::Duration;

use mainstay_keeper::{Input, Wanted};
use mainstay_record::keeper::KeeperConfig;
use tokio::sync::mpsc::UnboundedSender;

use crate::setup::{self, Setup};

/// Between two looks at the file.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
const FILE_LIMIT: u64 = 1024 * 1024;

/// Reads the file again and again, and tells the mind what is new in it.
pub async fn watch(setup: Rc<Setup>, tell: UnboundedSender<Input>) {
    let mut known = setup.core.wanted();
    loop {
        tokio::time::sleep(LOOK_PERIOD).await;
        let path = setup.path.clone();
        // A disk that hangs holds up nobody.
        let read = move || mainstay_rt::files::read_limited(&path, FILE_LIMIT);
        let Ok(Ok(bytes)) = tokio::task::spawn_blocking(read).await else {
            continue;
        };
        let wanted = match serde_json::from_slice(&bytes) {
            Ok(config) => wanted(&config),
            Err(error) => {
                tracing::debug!(%error, "the configuration is not readable now");
                continue;
            }
        };
        let Some(wanted) = wanted.filter(|wanted| *wanted != known) else {
            continue;
        };
        tracing::info!(?wanted, "the platform file asks for something else");
        known = wanted.clone();
        if tell.send(Input::Wanted(wanted)).is_err() {
            return;
        }
    }
}

fn wanted(config: &KeeperConfig) -> Option<Wanted> {
    Some(setup::core_config(config).ok()?.wanted())
}
