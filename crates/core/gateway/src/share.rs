//! Which ready instances a request chooses among: those of the own region, unless a share says otherwise.
//!
//! Think of a drum with a hundred lots. Each request draws one; an instance with a share of 30 is there for the lots
//! 0 to 29. Lots with the same instances behind them form a band, so that a request costs one draw and one comparison
//! or two, and nothing at all while no share is set. Within a band instances of the own region go before all others;
//! an empty band falls back on everything that is ready, because an answer from the wrong place is better than none.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::routing::Place;

/// A share that is none: all requests.
pub const WHOLE: u8 = 100;

/// An instance that may be given requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub instance: u16,
    pub place: Place,
    /// Of a hundred requests so many may come here.
    pub share: u8,
}

/// The ready instances of a service, by what a request draws.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// In order of the lots; the last ends at [`WHOLE`]. None if nothing is ready.
    bands: Vec<Band>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Band {
    /// Lots below this one, and not in an earlier band.
    below: u8,
    instances: Vec<u16>,
}

impl Ready {
    pub fn of(candidates: &[Candidate]) -> Self {
        if candidates.is_empty() {
            return Self::default();
        }
        let shares = candidates.iter().map(|candidate| candidate.share);
        let mut ends: BTreeSet<u8> = shares.filter(|share| (1..WHOLE).contains(share)).collect();
        ends.insert(WHOLE);
        let band = |below: u8| {
            let here = preferred(candidates, |candidate| candidate.share >= below);
            let instances = match here.is_empty() {
                true => preferred(candidates, |_| true),
                false => here,
            };
            Band { below, instances }
        };
        Self {
            bands: ends.into_iter().map(band).collect(),
        }
    }

    /// Whether a request has to draw at all.
    pub fn is_divided(&self) -> bool {
        self.bands.len() > 1
    }

    /// The instances to choose among, for a lot below [`WHOLE`].
    pub fn drawn(&self, lot: u8) -> &[u16] {
        let mut bands = self.bands.iter();
        let band = bands.find(|band| lot < band.below);
        band.map_or(&[], |band| &band.instances)
    }
}

/// Those of the own region alone, if there are any.
fn preferred(candidates: &[Candidate], keep: impl Fn(&Candidate) -> bool) -> Vec<u16> {
    let of = |place: Place| -> Vec<u16> {
        let kept = candidates.iter().filter(|candidate| keep(candidate));
        let there = kept.filter(|candidate| candidate.place == place);
        there.map(|candidate| candidate.instance).collect()
    };
    let own = of(Place::OwnRegion);
    match own.is_empty() {
        true => of(Place::OtherRegion),
        false => own,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn candidate(instance: u16, place: Place, share: u8) -> Candidate {
        Candidate {
            instance,
            place,
            share,
        }
    }

    /// How many of the hundred lots lead to each set of instances, in order of the lots.
    fn drum(candidates: &[Candidate]) -> Vec<(usize, Vec<u16>)> {
        let ready = Ready::of(candidates);
        let mut drum: Vec<(usize, Vec<u16>)> = Vec::new();
        for lot in 0..WHOLE {
            let instances = ready.drawn(lot).to_vec();
            match drum.last_mut() {
                Some((count, same)) if *same == instances => *count += 1,
                _ => drum.push((1, instances)),
            }
        }
        drum
    }

    #[test]
    fn so_many_of_a_hundred_lots_lead_there() {
        use Place::{OtherRegion, OwnRegion};
        for (candidates, expected) in [
            (vec![], vec![(100, vec![])]),
            (
                vec![candidate(0, OwnRegion, 100), candidate(1, OtherRegion, 100)],
                vec![(100, vec![0])],
            ),
            // A gateway beside the shifted instance.
            (
                vec![candidate(0, OwnRegion, 30), candidate(1, OtherRegion, 100)],
                vec![(30, vec![0]), (70, vec![1])],
            ),
            (
                vec![candidate(0, OwnRegion, 0), candidate(1, OtherRegion, 100)],
                vec![(100, vec![1])],
            ),
            // A gateway elsewhere, with an instance of its own: nothing changes for it.
            (
                vec![candidate(0, OtherRegion, 30), candidate(1, OwnRegion, 100)],
                vec![(100, vec![1])],
            ),
            // A gateway that has none of its own.
            (
                vec![
                    candidate(0, OtherRegion, 30),
                    candidate(1, OtherRegion, 100),
                ],
                vec![(30, vec![0, 1]), (70, vec![1])],
            ),
            // Two shares, and what is left when only shifted ones are ready.
            (
                vec![candidate(0, OwnRegion, 20), candidate(1, OtherRegion, 60)],
                vec![(20, vec![0]), (40, vec![1]), (40, vec![0])],
            ),
            (vec![candidate(0, OtherRegion, 0)], vec![(100, vec![0])]),
        ] {
            assert_eq!(drum(&candidates), expected, "{candidates:?}");
        }
    }

    #[test]
    fn nothing_is_drawn_while_no_share_is_set() {
        let plain = [
            candidate(0, Place::OwnRegion, 100),
            candidate(1, Place::OtherRegion, 100),
        ];
        assert!(!Ready::of(&plain).is_divided());
        assert!(!Ready::of(&[]).is_divided());
        let shifted = [candidate(0, Place::OwnRegion, 1), plain[1]];
        assert!(Ready::of(&shifted).is_divided());
    }
}
