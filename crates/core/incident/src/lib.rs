//! Incidents: what belongs together, how bad it is, who has it, and when it may rest.
//!
//! Think of the desk of a fire brigade. Calls come in from everywhere, many of them about the same fire. Somebody
//! sorts them by street and hour into one sheet for each fire, notes who drives out, and puts the sheet away when
//! whoever was there says that it is out, never because the telephone has fallen silent.
//!
//! - What is called about stands until it was measured that it ended: a [`Condition`]. Calls that only tell are kept
//!   for a while, so that the sheet begins with what came before the first alarm.
//! - What belongs together follows from a [`Topology`] and from time ([`Incidents::next`]).
//! - A sheet is a list of journal positions. Its story is told by the journal, not by this crate.
//! - An incident comes to rest by itself (*mitigated*) when nothing of it stands any more; people alone resolve it.
//!
//! [`Incidents::observe`] and [`Incidents::apply`] are the only ways in which anything changes; [`Incidents::next`] and
//! [`Incidents::answer`] decide and change nothing. Time is an argument.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )
)]

extern crate alloc;

mod ask;
mod became;
mod book;
mod event;
mod incident;
mod next;
mod page;
mod seen;
mod severity;
#[cfg(test)]
mod tests;
mod thing;
mod topology;

pub use ask::{Ask, Refusal, Review, TEXT_BYTES_MAX};
pub use became::{Became, ParseBecameError};
pub use book::{Incidents, KEPT_MAX, Standing};
pub use event::{By, Change, Event, Person};
pub use incident::{
    Action, Day, Incident, IncidentId, Lesson, Mitigated, ParseDayError, ParseIdError, Phase, Role,
    TIMELINE_MAX,
};
pub use next::{NEIGHBOURS_MS, SETTLE_MS, WINDOW_LONG_MS, WINDOW_MS};
pub use page::{PageDigest, ParseDigestError, Signature};
pub use seen::{Condition, Seen, Sign, Told};
pub use severity::Severity;
pub use thing::{ParseThingError, Thing, What};
pub use topology::{Objective, Route, Topology};
