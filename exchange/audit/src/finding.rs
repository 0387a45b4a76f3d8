//! Findings: what is wrong, in which class, with enough to look it up.

use std::collections::BTreeMap;

use serde::Serialize;

/// Examples kept per class; all are counted.
const EXAMPLES_LIMIT: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Acknowledged to a customer and absent from the books.
    Lost,
    /// One intent stands in the books more than once.
    Duplicated,
    /// In the books without an intent: a command, or a posting or trade of no command, or a trade of no order.
    Invented,
    /// The books say something else than the customer intended or was told.
    Altered,
    /// An intent was not answered within its deadline (a finding only when answers are required).
    Unanswered,
    /// A row's hash does not cover the row and the one before it.
    Chain,
    /// The sequence has a gap or a repetition.
    Sequence,
    /// Epochs or terms run backwards, or a command stands in an epoch that its sequence does not belong to.
    Epoch,
    /// Postings of a command do not sum to zero, per asset.
    Unbalanced,
    /// A command's postings are not those that its outcome asks for.
    Posting,
    /// An account had less than nothing after a command.
    Overdrawn,
    /// A balance is not the sum of its postings.
    Balance,
    /// A trade outside its orders' limits, quantities or sides, or not at the resting order's price.
    Trade,
    /// A trade that passed over a better or earlier order, or one that should have happened and did not.
    Matching,
    /// The orders table is not what the commands lead to.
    Order,
    /// A stored outcome does not agree with its own row, trades or state.
    Outcome,
    /// Executed after its deadline, or expired before it.
    Deadline,
    /// A row's request or outcome cannot be read.
    Unreadable,
}

impl Class {
    /// The class as it stands in the table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Lost => "acknowledged, absent: lost",
            Self::Duplicated => "duplicated",
            Self::Invented => "invented",
            Self::Altered => "altered",
            Self::Unanswered => "not answered in time",
            Self::Chain => "hash chain broken",
            Self::Sequence => "sequence not gapless",
            Self::Epoch => "epochs out of order",
            Self::Unbalanced => "postings do not sum to zero",
            Self::Posting => "postings not those of the outcome",
            Self::Overdrawn => "overdrawn",
            Self::Balance => "balance is not its postings",
            Self::Trade => "trade outside its orders",
            Self::Matching => "price-time priority broken",
            Self::Order => "order state wrong",
            Self::Outcome => "outcome contradicts the rows",
            Self::Deadline => "deadline not kept",
            Self::Unreadable => "unreadable row",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub class: Class,
    pub text: String,
}

#[derive(Debug, Default, Serialize)]
pub struct Findings {
    pub counts: BTreeMap<Class, u64>,
    pub examples: Vec<Finding>,
}

impl Findings {
    pub fn add(&mut self, class: Class, text: impl FnOnce() -> String) {
        let count = self.counts.entry(class).or_default();
        *count += 1;
        if usize::try_from(*count).is_ok_and(|count| count <= EXAMPLES_LIMIT) {
            self.examples.push(Finding {
                class,
                text: text(),
            });
        }
    }

    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.counts.get(&class).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }
}
