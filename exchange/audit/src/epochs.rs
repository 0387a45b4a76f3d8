//! Epochs: whose turn it was to write, and that no two turns overlap.
//!
//! An epoch owns the sequences from its first to the one before the next epoch's first. An epoch in which nothing was
//! written has the same first sequence as the one after it.

use crate::finding::{Class, Findings};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRow {
    pub epoch: i64,
    pub term: i64,
    pub first_sequence: i64,
}

#[derive(Debug)]
pub struct Epochs {
    /// In order of epoch.
    rows: Vec<EpochRow>,
}

impl Epochs {
    /// Takes the rows in order of epoch and checks them among themselves.
    pub fn new(rows: Vec<EpochRow>, findings: &mut Findings) -> Self {
        for pair in rows.windows(2) {
            let [before, after] = pair else { continue };
            if after.epoch <= before.epoch {
                findings.add(Class::Epoch, || {
                    format!(
                        "epoch {} is followed by epoch {}",
                        before.epoch, after.epoch
                    )
                });
            }
            if after.term < before.term {
                findings.add(Class::Epoch, || {
                    format!(
                        "epoch {} has term {}, epoch {} before it {}",
                        after.epoch, after.term, before.epoch, before.term
                    )
                });
            }
            if after.first_sequence < before.first_sequence {
                findings.add(Class::Epoch, || {
                    format!(
                        "epoch {} begins at sequence {}, epoch {} before it at {}",
                        after.epoch, after.first_sequence, before.epoch, before.first_sequence
                    )
                });
            }
        }
        Self { rows }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a command stands in the epoch that owns its sequence.
    pub fn check(&self, sequence: i64, epoch: i64, findings: &mut Findings) {
        let owner = self
            .rows
            .iter()
            .rev()
            .find(|row| row.first_sequence <= sequence)
            .map(|row| row.epoch);
        if owner != Some(epoch) {
            findings.add(Class::Epoch, || match owner {
                Some(owner) => {
                    format!("sequence {sequence} says epoch {epoch} and belongs to epoch {owner}")
                }
                None => format!("sequence {sequence} says epoch {epoch} and belongs to none"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EpochRow, Epochs};
    use crate::finding::{Class, Findings};

    fn check(epochs: &[(i64, i64, i64)], commands: &[(i64, i64)], expected: u64) {
        let mut findings = Findings::default();
        let row = |(epoch, term, first_sequence): &(i64, i64, i64)| EpochRow {
            epoch: *epoch,
            term: *term,
            first_sequence: *first_sequence,
        };
        let epochs = Epochs::new(epochs.iter().map(row).collect(), &mut findings);
        for (sequence, epoch) in commands {
            epochs.check(*sequence, *epoch, &mut findings);
        }
        assert_eq!(findings.count(Class::Epoch), expected, "{findings:?}");
    }

    #[test]
    fn epochs_own_disjoint_ranges() {
        check(
            &[(1, 1, 1), (2, 1, 4), (3, 5, 4)],
            &[(1, 1), (3, 1), (4, 3)],
            0,
        );
        check(&[(1, 1, 1), (2, 1, 4)], &[(4, 1), (3, 2)], 2);
        check(&[(1, 2, 1), (2, 1, 4)], &[], 1);
        check(&[(1, 1, 5), (2, 1, 4)], &[(3, 1)], 2);
    }
}
