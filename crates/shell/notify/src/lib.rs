//! Says notices to people, over whatever way the platform file gives a channel.
//!
//! A messenger carries one note to one door. It knocks again for a few seconds, and says what became of it: said, refused
//! for good, or perhaps to be tried later. It remembers nothing; that nothing is said twice without need is decided where
//! notices are ordered. Each note bears a name of its own, so that whoever gets it twice can tell.
//!
//! Secrets are read from their files when they are needed, and appear in no error, no log and no outcome.

mod email;
mod http;
mod words;

use std::time::Duration;

use mainstay_model::oncall::Way;
use mainstay_notify::Notice;

pub use mainstay_rt::secret::SecretError;

/// For everything that one attempt takes, its own repetitions included.
pub const LIMIT: Duration = Duration::from_secs(25);

/// What became of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Said {
        detail: String,
    },
    /// It would be refused again.
    Refused {
        why: String,
    },
    /// It was not said, or nobody knows: later it may be.
    Later {
        why: String,
    },
}

/// Says a notice of a platform.
pub async fn send(way: &Way, platform: &str, notice: &Notice) -> Sent {
    let saying = async {
        match way {
            Way::Webhook { url, secret_file } => {
                http::webhook(url, secret_file, platform, notice).await
            }
            Way::Slack { url_file } => http::slack(url_file, platform, notice).await,
            Way::Pagerduty { key_file, url } => {
                http::pagerduty(url, key_file, platform, notice).await
            }
            Way::Email(email) => email::send(email, platform, notice).await,
        }
    };
    match tokio::time::timeout(LIMIT, saying).await {
        Ok(sent) => sent,
        Err(_) => Sent::Later {
            why: format!("no answer within {} s", LIMIT.as_secs()),
        },
    }
}
