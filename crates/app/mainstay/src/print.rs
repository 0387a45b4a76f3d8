//! The only place that writes to standard output and standard error.
//!
//! Whoever reads may leave at any time (`mainstay status | head -3`). That is no failure of the command: it
//! stops writing and ends quietly with 0, as [`Failure::ReaderLeft`].

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// A line on standard output, at once.
pub fn line(text: impl Display) -> Outcome {
    write_to(&mut std::io::stdout().lock(), format_args!("{text}\n"))
}

/// Text without an end of line, for pictures that are drawn over each other.
pub fn picture(text: impl Display) -> Outcome {
    write_to(&mut std::io::stdout().lock(), text)
}

/// A line for people while something goes on that must not end because nobody reads.
pub fn progress(text: impl Display) {
    line(text).ok();
}

/// A line on standard error. If nobody reads that either, the exit code still tells.
pub fn problem(text: impl Display) {
    write_to(&mut std::io::stderr().lock(), format_args!("{text}\n")).ok();
}

/// One JSON document on standard output.
pub fn json<T: Serialize>(value: &T) -> Outcome {
    line(serde_json::to_string_pretty(value).context("write JSON")?)
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
    fn a_reader_that_left_is_no_failure_and_a_full_disk_is_one() {
        let left = write_to(&mut Full(ErrorKind::BrokenPipe), "x");
        assert!(matches!(left, Err(Failure::ReaderLeft)), "{left:?}");
        let full = write_to(&mut Full(ErrorKind::StorageFull), "x");
        assert!(matches!(full, Err(Failure::Fault(_))), "{full:?}");
    }
}
