//! What an incident was, what it cost, and what follows from it.
//!
//! Think of an investigator who was not there. He has the ship's log, every line numbered and sealed, and the strips of
//! the recorders. He invents nothing: each sentence of his report names the line that it comes from, each figure the
//! strip, and what neither tells he calls unknown. Given the same log and strips, anybody gets the same report.
//!
//! - [`Entry`]: one line of the journal, with its position and hash.
//! - [`Story`]: what the journal tells of an incident: its moments, who did and refused what, what people learned.
//! - [`Recorded`] and [`Figures`]: what a watch measured meanwhile, and what follows for requests, budgets and money.
//! - [`Document`]: the report, written as Markdown or HTML with plots of our own.
//!
//! - [`rules_held`]: which rules its watches followed meanwhile, and who wanted them.
//! - [`evidence`]: what an auditor can check of a drill without asking anybody.
//!
//! Nothing here reads a clock or a file: entries and samples are arguments.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod document;
mod entry;
pub mod evidence;
mod figures;
mod html;
mod markdown;
mod plot;
mod recorded;
mod report;
mod rules;
mod say;
mod story;
mod time;

pub use document::{Block, Document, Span};
pub use entry::{Entry, EntryError};
pub use figures::{
    Cost, Counted, Counts, Expectations, Figures, Found, Judged, Lost, Promise, figures,
};
pub use html::html;
pub use markdown::markdown;
pub use plot::Plot;
pub use recorded::{Recorded, RecordedError, Series};
pub use report::report;
pub use rules::{RulesAdoption, RulesHeld, rules_held};
pub use say::words;
pub use story::{ActionTold, Class, LessonTold, Line, Moment, Moments, Story, StoryError, actions};
pub use time::{day_and_time, span, time_of_day};
