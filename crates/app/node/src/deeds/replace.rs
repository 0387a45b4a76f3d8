//! The middle of a move: the new instance is placed already, and is waited for.
//!
//! Nothing is done by this hand, so whoever takes over waits on; what the journal says of both instances is decided with
//! the outcome.

use mainstay_kernel::Outcome;
use mainstay_playbook::{Condition, Look};

use super::{Deed, failed};
use crate::context::Context;
use crate::control::Desk;
use crate::measure::look;

pub(super) async fn see(
    desk: &Desk,
    context: &Context,
    deed: &Deed,
    service: &str,
    to: &str,
) -> Outcome {
    let ready = Look {
        condition: Condition::Ready {
            host: to.to_owned(),
            instance: service.to_owned(),
        },
        within_ms: u64::try_from(deed.limit.as_millis()).unwrap_or(u64::MAX),
        hold_ms: 0,
        host: None,
    };
    match look(desk, context, &ready).await {
        Outcome::Failed { why } | Outcome::Unknown { why } => failed(format!(
            "the new instance did not get ready in time, and the old one stays: {why}"
        )),
        done @ Outcome::Done { .. } => done,
    }
}
