//! The only place that writes to standard output and standard error.
//!
//! What others wrote (reasons, labels of alerts, words of a pack that somebody sent) stands in lines for people: nothing in
//! it may move the cursor, or hide what stands beside it.
//!
//! Whoever reads may leave at any time (`mainstay status | head -3`). That is no failure of the command: it
//! stops writing and ends quietly with 0, as [`Failure::ReaderLeft`].

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use mainstay_view::harmless;
use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// A line on standard output, at once.
pub fn line(text: impl Display) -> Outcome {
    let text = harmless(&text.to_string());
    write_to(&mut std::io::stdout().lock(), format_args!("{text}\n"))
}

/// Text as it is, without an end of line: for pictures that are drawn over each other, and for programs.
pub fn picture(text: impl Display) -> Outcome {
    write_to(&mut std::io::stdout().lock(), text)
}

/// A line for people while something goes on that must not end because nobody reads.
pub fn progress(text: impl Display) {
    line(text).ok();
}

/// A line on standard error. If nobody reads that either, the exit code still tells.
pub fn problem(text: impl Display) {
    let text = harmless(&text.to_string());
    write_to(&mut std::io::stderr().lock(), format_args!("{text}\n")).ok();
}

/// One JSON document on standard output.
pub fn json<T: Serialize>(value: &T) -> Outcome {
    let text = serde_json::to_string_pretty(value).context("write JSON")?;
    picture(format_args!("{text}\n"))
}

fn write_to(out: &mut impl Write, text: impl Display) -> Outcome {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::ReaderLeft),
        Err(error) => Err(Failure::Fault(
            anyhow::Error::new(error).context("write to the terminal or pipe"),
        )),
    }
}

/// Hours, minutes, seconds and milliseconds of the day, UTC.
pub fn time_of_day(wall_ms: u64) -> String {
    let (ms, seconds) = (wall_ms % 1_000, wall_ms / 1_000);
    format!(
        "{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A count with its noun.
pub fn findings(count: usize) -> String {
    match count {
        1 => "1 finding".to_owned(),
        _ => format!("{count} findings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full(ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn nothing_in_a_line_steers_the_terminal() {
        let text = "missing\r\u{1b}[1Kshown\u{9b}2J \u{202e}nwohs\n\tnext";
        let shown = harmless(text);
        assert_eq!(
            shown,
            "missing\u{fffd}\u{fffd}[1Kshown\u{fffd}2J \u{fffd}nwohs\n\tnext"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure_and_a_full_disk_is_one() {
        let left = write_to(&mut Full(ErrorKind::BrokenPipe), "x");
        assert!(matches!(left, Err(Failure::ReaderLeft)), "{left:?}");
        let full = write_to(&mut Full(ErrorKind::StorageFull), "x");
        assert!(matches!(full, Err(Failure::Fault(_))), "{full:?}");
    }
}
