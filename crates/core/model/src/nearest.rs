//! "Did you mean …": the known word that a mistyped one most resembles.

use alloc::vec::Vec;

/// The candidate within a third of the word's length in edits (at least one) and less than half of its own,
/// nearest first, ties to the earlier one. Longer words tolerate more slips; `west` never suggests `east`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= limit && edits * 2 < candidate.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours,
/// ignoring case. Words beyond 64 characters count as far from everything.
fn distance(left: &str, right: &str) -> usize {
    const LENGTH_MAX: usize = 64;
    let left: Vec<char> = left.chars().map(|c| c.to_ascii_lowercase()).collect();
    let right: Vec<char> = right.chars().map(|c| c.to_ascii_lowercase()).collect();
    if left.len() > LENGTH_MAX || right.len() > LENGTH_MAX {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(row + 1);
        for (column, &b) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && a == right[column - 1] && left[row - 1] == b && a != b;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = core::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (left, right, edits) in [
            ("", "", 0),
            ("a", "", 1),
            ("region", "regoin", 1),
            ("ledger", "leger", 1),
            ("Home", "home", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["us-east-1", "us-west-2", "eu-west-1"];
        assert_eq!(nearest("us-esat-1", known), Some("us-east-1"));
        assert_eq!(nearest("us-west-22", known), Some("us-west-2"));
        assert_eq!(nearest("eu", known), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
