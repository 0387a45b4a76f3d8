//! What a restore may come to: exactly the writes that were acknowledged up to the target, or a refusal that says why.
//!
//! One writer numbers its rows 1, 2, 3, … and goes on only when the last one was acknowledged, so that every state of the
//! database that ever was is "the first k rows". Nothing here knows how an archive works.

use std::collections::BTreeSet;

/// What may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// So many rows at least; after a fault that can be told from an older archive by nobody, fewer than were written.
    pub least: u64,
    /// And at most.
    pub most: u64,
    /// Whether a refusal is an answer too: not where one of two stores is whole.
    pub may_refuse: bool,
}

/// What a restore came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Restored(BTreeSet<u64>),
    Refused {
        said: String,
        /// Whether something was left where it should have gone.
        left: bool,
    },
}

/// A right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Exact,
    Refused,
}

/// What damage is called by whoever met it. A refusal with other words has not found what is wrong.
const REASONS: &[&str] = &[
    "not authentic",
    "a byte of it was changed",
    "it ends before its last chunk",
    "no sealed object, or its beginning is damaged",
    "was sealed with key",
    "is missing, and later ones are there",
    "the log ends at",
    "not found",
    "not complete",
];

/// # Errors
/// What is wrong with the answer.
pub fn judge(expected: Expected, outcome: &Outcome) -> Result<Verdict, String> {
    match outcome {
        Outcome::Restored(rows) => restored(expected, rows).map(|()| Verdict::Exact),
        Outcome::Refused { said, .. } if !expected.may_refuse => {
            Err(format!("refused although all of it is there: {said}"))
        }
        Outcome::Refused { left: true, said } => Err(format!(
            "refused, and something is left in the folder: {said}"
        )),
        Outcome::Refused { said, left: false } => {
            match REASONS.iter().any(|reason| said.contains(reason)) {
                true => Ok(Verdict::Refused),
                false => Err(format!("refused without the reason: {said}")),
            }
        }
    }
}

fn restored(expected: Expected, rows: &BTreeSet<u64>) -> Result<(), String> {
    let count = rows.len() as u64;
    let first_missing = (1..=count).find(|row| !rows.contains(row));
    if let Some(row) = first_missing {
        return Err(format!("row {row} is missing, and later ones are there"));
    }
    if count < expected.least {
        let Expected { least, .. } = expected;
        return Err(format!(
            "only {count} rows came back, without a word, and {least} were acknowledged by then"
        ));
    }
    if count > expected.most {
        let Expected { most, .. } = expected;
        return Err(format!(
            "{count} rows came back, and the target lies after {most}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(numbers: impl IntoIterator<Item = u64>) -> Outcome {
        Outcome::Restored(numbers.into_iter().collect())
    }

    fn refused(said: &str) -> Outcome {
        let said = said.to_owned();
        Outcome::Refused { said, left: false }
    }

    const FIVE: Expected = Expected {
        least: 5,
        most: 5,
        may_refuse: true,
    };

    #[test]
    fn a_prefix_up_to_the_target_and_a_named_refusal_are_right() {
        assert_eq!(judge(FIVE, &rows(1..=5)), Ok(Verdict::Exact));
        assert_eq!(
            judge(FIVE, &refused("chunk 3 is not authentic")),
            Ok(Verdict::Refused)
        );
    }

    #[test]
    fn everything_else_is_wrong() {
        let whole = Expected {
            may_refuse: false,
            ..FIVE
        };
        let left = Outcome::Refused {
            said: "chunk 3 is not authentic".to_owned(),
            left: true,
        };
        for (expected, outcome, what) in [
            (FIVE, rows(1..=4), "only 4 rows"),
            (FIVE, rows(1..=6), "6 rows came back"),
            (FIVE, rows([1, 2, 4, 5, 6]), "row 3 is missing"),
            (FIVE, rows([]), "only 0 rows"),
            (FIVE, refused("something went wrong"), "without the reason"),
            (whole, refused("chunk 3 is not authentic"), "although all"),
            (FIVE, left, "something is left"),
        ] {
            let said = judge(expected, &outcome).unwrap_err();
            assert!(said.contains(what), "{outcome:?}: {said}");
        }
    }
}
