//! Drill documents: read, criticised, described by a schema.
//!
//! Think of the script of a fire drill. Before anybody is sent down the stairs somebody reads whether it is a script at
//! all ([`form`], one table for checking and for the schema), whether it makes sense ([`read`]): does every step say one
//! thing, does the load measure a service that has an objective, is nothing lost that nobody brings back; and what each
//! service must be able to do, from a table that others keep ([`table`]).
//!
//! Nothing here reads a clock, a file or a platform that runs: texts are arguments.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod document;
pub mod finding;
pub mod form;
pub mod notes;
mod read;
pub mod table;

use std::time::Duration;

pub use document::Document;
pub use finding::{Finding, render};
pub use form::schema;
pub use read::{load, table_of};

/// A time as documents write it: a whole number and `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// Why it is none.
pub fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!(
                "{text:?} is no time: write 500ms, 10s, 5m, 2h or 30d"
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no time: a whole number is wanted before {unit:?}"))?;
    let ms = number.checked_mul(scale_ms);
    ms.map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is too long"))
}
