//! Telling people what a step says, over the channels that on-call has.
//!
//! Whoever leads says it. What was begun before is said again: better twice than not at all, and under the same name, so
//! that whoever gets it twice can tell.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_kernel::{Outcome, reached};
use mainstay_messenger::{Sent, send};
use mainstay_notify::{Addressee, Kind, Notice, Severity};
use mainstay_rt::clock;

use super::{Begun, Deed, begin, done, failed, unknown};
use crate::context::Context;
use crate::control::Desk;

pub(super) async fn say(
    desk: &Desk,
    context: &Context,
    deed: &Deed,
    to: &str,
    text: &str,
) -> Outcome {
    let tell = {
        let view = desk.deputy.view.borrow();
        let desired = view.state.as_ref().and_then(|state| state.desired.as_ref());
        let Some(desired) = desired else {
            return failed("no platform file is in force here");
        };
        reached(&desired.oncall, to, clock::wall_ms())
    };
    if tell.is_empty() {
        return failed(format!(
            "{to}: nobody is on call, or nothing leads to whoever is"
        ));
    }
    if let Err(outcome) = begin(context, deed, &Begun::of(format!("tell {to}"))) {
        return outcome;
    }
    let deadline = clock::now() + deed.limit;
    let (mut said, mut refused, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for addressee in tell {
        let channel = addressee.channel.clone();
        let left = deadline.since(clock::now());
        match one(context, deed, addressee, text, left).await {
            Sent::Said { .. } => said.push(channel),
            Sent::Refused { why } => refused.push(format!("{channel}: {why}")),
            Sent::Later { why } => open.push(format!("{channel}: {why}")),
        }
    }
    judge(&said, &refused, &open)
}

/// One who was told is enough; whom nothing reached is named.
fn judge(said: &[String], refused: &[String], open: &[String]) -> Outcome {
    let not = [refused, open].concat();
    match (said, open) {
        ([], []) => failed(not.join("; ")),
        ([], _) => unknown(not.join("; ")),
        (said, _) if not.is_empty() => done(format!("said over {}", said.join(", "))),
        (said, _) => done(format!(
            "said over {}; not over {}",
            said.join(", "),
            not.join("; ")
        )),
    }
}

async fn one(context: &Context, deed: &Deed, to: Addressee, text: &str, limit: Duration) -> Sent {
    let oncall = context.platform.oncall();
    let channels = oncall.map_or(&[][..], |oncall| &oncall.channels);
    let Some(channel) = channels.iter().find(|known| known.name == to.channel) else {
        return Sent::Refused {
            why: "the platform file has no such channel any more".to_owned(),
        };
    };
    let stamp = &deed.stamp;
    let notice = Notice {
        number: stamp.number,
        attempt: 1,
        incident: stamp.run.to_string(),
        kind: Kind::Say,
        to,
        severity: Severity::Info,
        title: text.to_owned(),
        text: format!("step {} of playbook {}", stamp.step, stamp.book),
        things: BTreeSet::new(),
        open_ms: stamp.opened_ms,
    };
    let saying = send(&channel.way, context.platform.name().as_str(), &notice);
    match tokio::time::timeout(limit, saying).await {
        Ok(sent) => sent,
        Err(_) => Sent::Later {
            why: "the step's time was over".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_was_told_is_enough_and_doubt_is_told_as_doubt() {
        let (some, none) = (["desk".to_owned()], []);
        for (said, refused, open, wanted) in [
            (&some[..], &none[..], &none[..], "done"),
            (&some, &some, &some, "done"),
            (&none, &some, &none, "failed"),
            (&none, &none, &some, "unknown"),
            (&none, &some, &some, "unknown"),
        ] {
            let is = match judge(said, refused, open) {
                Outcome::Done { .. } => "done",
                Outcome::Failed { .. } => "failed",
                Outcome::Unknown { .. } => "unknown",
            };
            assert_eq!(is, wanted, "{said:?} {refused:?} {open:?}");
        }
    }
}
