//! Collects reasons, and tells the worst verdict of a part.

use mainstay_record::status::{Finding, Reason, Verdict};

use crate::reason::{Words, explain};

#[derive(Debug, Default)]
pub(crate) struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    /// Notes a reason and answers with its severity, for the verdict of the part it is about.
    pub(crate) fn note(
        &mut self,
        subject: &str,
        severity: Verdict,
        reason: impl Into<Reason>,
    ) -> Verdict {
        let reason = reason.into();
        let Words { text, next } = explain(&reason);
        self.all.push(Finding {
            subject: subject.to_owned(),
            severity,
            reason,
            text,
            next,
        });
        severity
    }

    /// Worst first, otherwise in the order in which they were found.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        self.all
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.all
    }
}

pub(crate) fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts.into_iter().max().unwrap_or_default()
}
