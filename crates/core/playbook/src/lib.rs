//! Playbooks: what to do when something is wrong, within which limits, and how far it has come.
//!
//! Think of a surgeon's checklist. The [`Book`] is the printed list. A [`Run`] is one operation by it: who asked
//! for it and why, which step it is at, and what is known of each step. Before a hand moves, the chart says what it
//! is about to do ([`Event::Begun`]); afterwards the chart says what came of it. Whoever takes over in the middle reads
//! the chart: what was begun and has no outcome is *looked at*, never done again on a guess.
//!
//! - [`Book`]: triggers, parameters, steps, approval, guardrails.
//! - [`State`]: the books in force, the runs under way and the last ones that ended. Only [`State::apply`],
//!   [`State::finished`] and [`State::file_changed`] change it.
//! - [`step::next`]: what a run needs next, as a table from its phase. Effects and measurements are orders whose
//!   outcomes come back through [`State::finished`].
//! - [`guard`]: what a run is about to touch, and whether all runs together may. It is asked and answered within one
//!   entry of the journal, so two playbooks cannot exceed a limit together.
//!
//! Nothing here knows a clock, a process or a file. Names are texts: whoever composes this crate compares them with
//! the platform, which arrives as a [`View`].

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

mod act;
mod ask;
mod book;
mod call;
mod event;
pub mod guard;
mod rebuild;
mod replace;
mod run;
mod scale;
mod shift;
mod state;
pub mod step;
mod trigger;
mod value;
mod view;
mod why;
mod work_item;

pub use act::{Act, Look, Resolved, resolve};
pub use ask::{Ask, Asked, asked};
pub use book::{
    AS_FILE, Action, Allowance, Approval, Book, Condition, Expiry, Gravity, Guardrails,
    IncidentState, Mode, Parameter, ParameterKind, Place, Promotion, Rate, Retry, Routed, Step,
    Trigger, Verify, Window,
};
pub use call::{Call, Method};
pub use event::{Ending, Event, Opening, Origin, Purpose, Source, Who};
pub use run::{Outcome, Phase, Run, RunId, Seen, Stopped};
pub use scale::count_of;
pub use shift::{WHOLE, share_of};
pub use state::{BOOKS_MAX, ENDED_MAX, Ended, Known, RUNS_MAX, STARTS_MAX, State, Track};
pub use trigger::{
    Calendar, Case, due_ms, next_scheduled_ms, scheduled, triggered, triggered_by_incident,
};
pub use value::{FillError, Values, fill, names_in, values_of};
pub use view::{View, ViewDatabase, ViewService};
pub use why::Refusal;
pub use work_item::{Due, WorkItem, placed};
