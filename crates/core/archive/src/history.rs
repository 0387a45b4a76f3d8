//! Where timelines left each other: PostgreSQL's history files.
//!
//! A line says `parent<TAB>position<TAB>reason`: the log followed that timeline up to the position. Comments begin with
//! `#`. A keeper leaves empty files under numbers that were never used; those are no history of anything.

use alloc::vec::Vec;

use mainstay_units::{Lsn, Timeline};

use crate::segment::SegmentSize;

/// The way of one timeline from the first on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub timeline: Timeline,
    /// Ancestors, oldest first, each with the position at which the log left it.
    pub ancestors: Vec<(Timeline, Lsn)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("line {line} of the history of timeline {timeline} has no timeline and position")]
    Form { timeline: Timeline, line: usize },
    #[error("the history of timeline {timeline} does not ascend at line {line}")]
    Order { timeline: Timeline, line: usize },
}

impl History {
    /// The first timeline has none before it.
    pub const fn first(timeline: Timeline) -> Self {
        Self {
            timeline,
            ancestors: Vec::new(),
        }
    }

    /// # Errors
    /// When a line is malformed or the timelines or positions do not ascend.
    pub fn parse(timeline: Timeline, text: &str) -> Result<Self, HistoryError> {
        let mut ancestors: Vec<(Timeline, Lsn)> = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let mut fields = content.split_ascii_whitespace();
            let parent = fields.next().and_then(|field| field.parse().ok());
            let end = fields.next().and_then(|field| field.parse().ok());
            let (Some(parent), Some(end)) = (parent, end) else {
                return Err(HistoryError::Form { timeline, line });
            };
            let parent = Timeline(parent);
            let ascends = ancestors
                .last()
                .is_none_or(|(before, left)| *before < parent && *left <= end);
            if !ascends || parent >= timeline {
                return Err(HistoryError::Order { timeline, line });
            }
            ancestors.push((parent, end));
        }
        Ok(Self {
            timeline,
            ancestors,
        })
    }

    /// Where the log left `timeline`; `None` if it never was on it, `Some(None)` if it still is.
    pub fn left(&self, timeline: Timeline) -> Option<Option<Lsn>> {
        if timeline == self.timeline {
            return Some(None);
        }
        let ancestor = self.ancestors.iter().find(|(other, _)| *other == timeline);
        ancestor.map(|(_, end)| Some(*end))
    }

    /// Whether the log of this history passes through a position of a timeline.
    pub fn passes(&self, timeline: Timeline, lsn: Lsn) -> bool {
        match self.left(timeline) {
            Some(None) => true,
            Some(Some(end)) => lsn <= end,
            None => false,
        }
    }

    /// The timeline whose file holds segment `number`: the newest that had begun by then, since a new timeline's
    /// first segment repeats what its parent wrote in it before they parted.
    pub fn timeline_of(&self, number: u64, size: SegmentSize) -> Timeline {
        let mut current = self.timeline;
        for (ancestor, end) in self.ancestors.iter().rev() {
            if size.number_of(*end) <= number {
                break;
            }
            current = *ancestor;
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "1\t0/3000060\tno recovery target specified\n\n# comment\n4\t0/50000A0\tx\n";

    #[test]
    fn a_history_says_which_file_holds_a_segment() {
        let history = History::parse(Timeline(6), TEXT).unwrap();
        let size = SegmentSize::DEFAULT;
        let of = |number| history.timeline_of(number, size).0;
        // Left at 0/3…: segment 3 exists under the new number too, with what came before.
        assert_eq!((of(2), of(3), of(4), of(5), of(6)), (1, 4, 4, 6, 6));
        assert!(history.passes(Timeline(4), Lsn(0x500_00A0)));
        assert!(!history.passes(Timeline(4), Lsn(0x500_00A1)));
        assert!(!history.passes(Timeline(2), Lsn(1)));
        assert!(history.passes(Timeline(6), Lsn(u64::MAX)));
    }

    #[test]
    fn what_is_no_history_is_refused() {
        let parse = |text| History::parse(Timeline(6), text);
        assert_eq!(parse(""), Ok(History::first(Timeline(6))));
        assert!(matches!(
            parse("1\n"),
            Err(HistoryError::Form { line: 1, .. })
        ));
        assert!(matches!(
            parse("1\t0/5\n1\t0/6\n"),
            Err(HistoryError::Order { line: 2, .. })
        ));
        assert!(matches!(
            parse("1\t0/5\n2\t0/4\n"),
            Err(HistoryError::Order { line: 2, .. })
        ));
        assert!(matches!(
            parse("6\t0/5\n"),
            Err(HistoryError::Order { line: 1, .. })
        ));
    }
}
