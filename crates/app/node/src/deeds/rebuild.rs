//! Filling a replica anew: ordered of its keeper, and done when it counts again.
//!
//! A replica that forgets what it has takes a new name (its incarnation). The old one stands in the order's file, so that
//! after a crash it is seen whether the filling was begun; it is never ordered twice.

use std::time::Duration;

use http::Method;
use mainstay_kernel::Outcome;
use mainstay_playbook::Condition;
use mainstay_record::keeper::KeeperStatus;
use mainstay_rt::clock;
use mainstay_rt::http::request_unix;

use super::{Begun, Deed, Known, begin, done, failed, unknown};
use crate::context::Context;
use crate::control::Desk;
use crate::effects::order_refill;
use crate::measure::{Reading, read};

const LOOK_LIMIT: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(500);

pub(super) async fn fill(
    desk: &Desk,
    context: &Context,
    deed: &Deed,
    database: &str,
    host: &str,
) -> Outcome {
    let deadline = clock::now() + deed.limit;
    let Some(now) = status(context, database).await else {
        return failed(format!("the keeper of {database} here does not answer"));
    };
    let begun = Begun {
        incarnation: Some(now.incarnation.clone()),
        ..Begun::of(format!("fill the replica of {database} anew"))
    };
    let before = match begin(context, deed, &begun) {
        Ok(Known::New) => {
            match order_refill(context, database).await {
                // Whether it was heard shows below.
                Outcome::Done { .. } | Outcome::Unknown { .. } => {}
                refused @ Outcome::Failed { .. } => return refused,
            }
            now.incarnation
        }
        Ok(Known::Before(begun)) => match begun.incarnation {
            Some(incarnation) => incarnation,
            None => return unknown("what the replica was before is not written down"),
        },
        Err(outcome) => return outcome,
    };
    let counts = Condition::Replica {
        database: database.to_owned(),
        host: host.to_owned(),
    };
    loop {
        let known = status(context, database).await;
        let is_new = known
            .as_ref()
            .is_some_and(|known| known.incarnation != before);
        if is_new && let Reading::Holds(text) = read(desk, context, &counts).await {
            return done(text);
        }
        if clock::now() >= deadline {
            return late(known.as_ref(), is_new);
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// What is known when the time is over.
fn late(known: Option<&KeeperStatus>, is_new: bool) -> Outcome {
    match known {
        None => unknown("its keeper does not answer"),
        Some(known) if is_new => {
            let seeding = known.seeding.as_ref().map_or_else(String::new, |seeding| {
                format!(", {} bytes copied from {}", seeding.bytes, seeding.from)
            });
            unknown(format!(
                "it is being filled and does not count yet: {}{seeding}",
                known.sight.reason
            ))
        }
        Some(known) if known.refill_ordered => {
            unknown(format!("ordered, and not begun: {}", known.sight.reason))
        }
        Some(known) => failed(format!("it was not begun: {}", known.sight.reason)),
    }
}

async fn status(context: &Context, database: &str) -> Option<KeeperStatus> {
    let socket = context.layout.keeper_socket(context.name(), database);
    let asked = request_unix(&socket, Method::GET, "/v1/status", Vec::new(), LOOK_LIMIT);
    let (_, body) = asked.await.ok()?;
    serde_json::from_slice(&body).ok()
}
