//! An HTTP call of a step, made once.

use mainstay_caller::{Called, call as knock};
use mainstay_kernel::Outcome;
use mainstay_playbook::Call;

use super::{Begun, Deed, Known, begin, done, failed, unknown};
use crate::context::Context;

/// What was begun before may have been heard: it is looked for, or called again by the step's own rules, under its name.
pub(super) async fn call(context: &Context, deed: &Deed, call: &Call) -> Outcome {
    match begin(context, deed, &Begun::of(call.to_string())) {
        Ok(Known::New) => {}
        Ok(Known::Before(begun)) => {
            return unknown(format!("{}: its node ended while it called", begun.what));
        }
        Err(outcome) => return outcome,
    }
    match knock(call, &deed.stamp.key, deed.limit).await {
        Called::Done { detail } => done(detail),
        Called::Refused { why } => failed(why),
        Called::Unknown { why } => unknown(why),
    }
}
