//! Would a distributed store answer this region now?
//!
//! The folder itself is reachable from everywhere on the machine. A store with one member in each region
//! answers whoever reaches a majority of the members, both ways; this says the same from the cuts in force.

use std::collections::BTreeSet;

/// Traffic from one region to another, by their names.
pub type Direction = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    Majority,
    /// How many regions answer, the own one included, and of how many.
    Minority {
        heard: usize,
        regions: usize,
    },
}

/// `cut` holds every direction in which nothing passes.
pub fn reaches_majority(regions: &[String], own: &str, cut: &BTreeSet<Direction>) -> Reach {
    let passes = |from: &str, to: &str| !cut.contains(&(from.to_string(), to.to_string()));
    let heard = regions
        .iter()
        .filter(|other| other.as_str() == own || (passes(own, other) && passes(other, own)))
        .count();
    if heard * 2 > regions.len() {
        Reach::Majority
    } else {
        Reach::Minority {
            heard,
            regions: regions.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_region_is_a_minority_and_a_one_way_cut_counts() {
        let regions: Vec<String> = ["a", "b", "c"].map(String::from).into();
        let cut = |pairs: &[(&str, &str)]| -> BTreeSet<Direction> {
            pairs
                .iter()
                .map(|(from, to)| (from.to_string(), to.to_string()))
                .collect()
        };
        assert_eq!(reaches_majority(&regions, "a", &cut(&[])), Reach::Majority);
        assert_eq!(
            reaches_majority(&regions, "a", &cut(&[("a", "b")])),
            Reach::Majority
        );
        assert_eq!(
            reaches_majority(&regions, "a", &cut(&[("a", "b"), ("c", "a")])),
            Reach::Minority {
                heard: 1,
                regions: 3
            }
        );
    }
}
