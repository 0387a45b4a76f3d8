//! From a backup to a target: the segments that lie between, or the one that is missing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use mainstay_units::{Lsn, Timeline};

use crate::history::History;
use crate::segment::{Segment, SegmentSize};

/// A base backup, by its label. It brings the log from `start` to `stop` with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub id: String,
    pub timeline: Timeline,
    pub start: Lsn,
    /// Before this the copy is not consistent.
    pub stop: Lsn,
    /// When it was complete; wall clock, milliseconds.
    pub stopped_ms: u64,
    /// When it was last restored with success.
    pub proven_ms: Option<u64>,
}

/// The log that is there.
#[derive(Clone, Debug)]
pub struct Shelf {
    pub size: SegmentSize,
    pub segments: BTreeSet<Segment>,
    /// Beginnings of segments that were not full yet, with how many bytes.
    pub partials: BTreeMap<Segment, u64>,
    pub histories: BTreeMap<Timeline, History>,
}

impl Shelf {
    pub const fn new(size: SegmentSize) -> Self {
        Self {
            size,
            segments: BTreeSet::new(),
            partials: BTreeMap::new(),
            histories: BTreeMap::new(),
        }
    }

    /// The newest timeline that has any log.
    fn newest(&self) -> Option<Timeline> {
        let full = self.segments.last().map(|segment| segment.timeline);
        let begun = self.partials.keys().last().map(|segment| segment.timeline);
        full.max(begun)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// As far as the log goes.
    Latest,
    Lsn(Lsn),
    /// Wall clock, milliseconds. Which position that is, only the log itself says.
    Time(u64),
    /// The backup alone, as soon as it is consistent.
    Immediate,
}

/// What to fetch, in order, and what to tell the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub timeline: Timeline,
    pub segments: Vec<Segment>,
    /// After the segments; only where the log ends.
    pub partial: Option<Segment>,
    /// Histories that the server needs to find its way.
    pub histories: Vec<Timeline>,
    /// The log goes at least this far without a hole.
    pub reaches: Lsn,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it was complete only after the target: the target lies before {0}")]
    EndsAfterTarget(Lsn),
    #[error("it was complete only after the target")]
    TooLate,
    #[error(
        "the log went on without it: timeline {newest} does not pass {stop} on timeline {timeline}"
    )]
    Abandoned {
        timeline: Timeline,
        stop: Lsn,
        newest: Timeline,
    },
    #[error("the history of timeline {0} is missing")]
    NoHistory(Timeline),
    #[error("segment {0} is missing, and later ones are there: the log has a hole")]
    Hole(String),
    #[error("the log ends at {0}, before the target")]
    Short(Lsn),
}

/// # Errors
/// When this backup with this log does not reach the target.
pub fn route(shelf: &Shelf, base: &Base, target: Target) -> Result<Route, Refusal> {
    match target {
        Target::Lsn(lsn) if lsn < base.stop => return Err(Refusal::EndsAfterTarget(base.stop)),
        Target::Time(ms) if ms < base.stopped_ms => return Err(Refusal::TooLate),
        Target::Latest | Target::Immediate | Target::Lsn(_) | Target::Time(_) => {}
    }
    let newest = match target {
        Target::Immediate => base.timeline,
        Target::Latest | Target::Lsn(_) | Target::Time(_) => shelf
            .newest()
            .map_or(base.timeline, |newest| newest.max(base.timeline)),
    };
    let history = history(shelf, newest, base.timeline)?;
    if !history.passes(base.timeline, base.stop) {
        return Err(Refusal::Abandoned {
            timeline: base.timeline,
            stop: base.stop,
            newest,
        });
    }
    let mut route = Route {
        timeline: newest,
        segments: Vec::new(),
        partial: None,
        histories: needed_histories(shelf, &history),
        reaches: base.stop,
    };
    if target == Target::Immediate {
        return Ok(route);
    }
    walk(shelf, &history, base, target, &mut route)?;
    match target {
        Target::Lsn(lsn) if lsn > route.reaches => Err(Refusal::Short(route.reaches)),
        Target::Latest | Target::Immediate | Target::Lsn(_) | Target::Time(_) => Ok(route),
    }
}

/// A backup of that very timeline needs none: it brings its own with it, and the way from it crosses no other.
fn history(shelf: &Shelf, timeline: Timeline, of_base: Timeline) -> Result<History, Refusal> {
    match shelf.histories.get(&timeline) {
        Some(history) => Ok(history.clone()),
        None if timeline <= Timeline(1) || timeline == of_base => Ok(History::first(timeline)),
        None => Err(Refusal::NoHistory(timeline)),
    }
}

fn needed_histories(shelf: &Shelf, history: &History) -> Vec<Timeline> {
    let ancestors = history.ancestors.iter().map(|(timeline, _)| *timeline);
    ancestors
        .chain([history.timeline])
        .filter(|timeline| shelf.histories.contains_key(timeline))
        .collect()
}

/// Segment by segment from where the backup stops. A hole is a segment that is missing while a later one of the
/// same way is there; what is missing at the end is only not archived yet.
fn walk(
    shelf: &Shelf,
    history: &History,
    base: &Base,
    target: Target,
    route: &mut Route,
) -> Result<(), Refusal> {
    let size = shelf.size;
    let Some(last) = last_on_the_way(shelf, history) else {
        return Ok(());
    };
    let wanted = match target {
        Target::Lsn(lsn) => size.number_of(lsn).min(last),
        Target::Latest | Target::Time(_) | Target::Immediate => last,
    };
    for number in size.number_of(base.stop)..=wanted {
        let timeline = history.timeline_of(number, size);
        let segment = Segment { timeline, number };
        if shelf.segments.contains(&segment) {
            route.segments.push(segment);
            route.reaches = route.reaches.max(segment.end(size));
            continue;
        }
        if number < last {
            // What lies before the hole may hold a moment; a position beyond it is out of reach.
            return match target {
                Target::Time(_) => Ok(()),
                Target::Latest | Target::Lsn(_) | Target::Immediate => {
                    Err(Refusal::Hole(segment.name(size)))
                }
            };
        }
        if let Some(bytes) = shelf.partials.get(&segment) {
            route.partial = Some(segment);
            let end = Lsn(segment.start(size).0.saturating_add(*bytes));
            route.reaches = route.reaches.max(end);
        }
    }
    Ok(())
}

/// The highest segment, full or begun, that lies on the way of this history.
fn last_on_the_way(shelf: &Shelf, history: &History) -> Option<u64> {
    let all = shelf.segments.iter().chain(shelf.partials.keys());
    all.filter(|segment| history.timeline_of(segment.number, shelf.size) == segment.timeline)
        .map(|segment| segment.number)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn at(number: u64, offset: u64) -> Lsn {
        Lsn(number * SIZE.bytes() + offset)
    }

    fn segment(timeline: u32, number: u64) -> Segment {
        Segment {
            timeline: Timeline(timeline),
            number,
        }
    }

    fn base(timeline: u32, stop: Lsn) -> Base {
        Base {
            id: "b".to_string(),
            timeline: Timeline(timeline),
            start: Lsn(stop.0 - 100),
            stop,
            stopped_ms: 1_000,
            proven_ms: None,
        }
    }

    /// Timeline 1 up to the middle of 5, then timeline 4.
    fn shelf() -> Shelf {
        let mut shelf = Shelf::new(SIZE);
        shelf.segments.extend((2..=4).map(|n| segment(1, n)));
        shelf.segments.extend((5..=7).map(|n| segment(4, n)));
        shelf.partials.insert(segment(1, 5), 900);
        shelf.partials.insert(segment(4, 8), 777);
        let text = format!("1\t{}\tx\n", at(5, 500));
        let history = History::parse(Timeline(4), &text).unwrap();
        shelf.histories.insert(Timeline(4), history);
        shelf
    }

    #[test]
    fn the_way_crosses_timelines_and_ends_in_a_partial_segment() {
        let route = route(&shelf(), &base(1, at(3, 50)), Target::Latest).unwrap();
        let numbers: Vec<_> = route
            .segments
            .iter()
            .map(|s| (s.timeline.0, s.number))
            .collect();
        assert_eq!(numbers, [(1, 3), (1, 4), (4, 5), (4, 6), (4, 7)]);
        assert_eq!(route.partial, Some(segment(4, 8)));
        assert_eq!((route.timeline, route.reaches), (Timeline(4), at(8, 777)));
        assert_eq!(route.histories, vec![Timeline(4)]);
    }

    #[test]
    fn a_position_needs_no_more_than_leads_to_it() {
        let shelf = shelf();
        let base = base(1, at(3, 50));
        let near = route(&shelf, &base, Target::Lsn(at(4, 9))).unwrap();
        assert_eq!(near.segments.len(), 2);
        assert_eq!(
            route(&shelf, &base, Target::Lsn(at(8, 778))),
            Err(Refusal::Short(at(8, 777)))
        );
        assert_eq!(
            route(&shelf, &base, Target::Lsn(at(3, 49))),
            Err(Refusal::EndsAfterTarget(at(3, 50)))
        );
        assert_eq!(
            route(&shelf, &base, Target::Time(999)),
            Err(Refusal::TooLate)
        );
        let alone = route(&shelf, &base, Target::Immediate).unwrap();
        assert!(alone.segments.is_empty() && alone.reaches == base.stop);
    }

    #[test]
    fn a_hole_is_named() {
        let mut shelf = shelf();
        shelf.segments.remove(&segment(4, 6));
        let hole = Refusal::Hole(segment(4, 6).name(SIZE));
        let base = base(1, at(3, 50));
        assert_eq!(route(&shelf, &base, Target::Latest), Err(hole.clone()));
        assert_eq!(route(&shelf, &base, Target::Lsn(at(7, 0))), Err(hole));
        assert!(route(&shelf, &base, Target::Lsn(at(5, 600))).is_ok());
        let by_time = route(&shelf, &base, Target::Time(2_000)).unwrap();
        assert_eq!(by_time.reaches, at(6, 0), "up to the hole");
    }

    #[test]
    fn a_copy_of_what_was_given_up_leads_nowhere() {
        let shelf = shelf();
        assert!(matches!(
            route(&shelf, &base(1, at(5, 501)), Target::Latest),
            Err(Refusal::Abandoned { .. })
        ));
        assert!(route(&shelf, &base(1, at(5, 500)), Target::Latest).is_ok());
        let mut blind = shelf;
        blind.histories.clear();
        assert_eq!(
            route(&blind, &base(1, at(3, 50)), Target::Latest),
            Err(Refusal::NoHistory(Timeline(4)))
        );
        let own = route(&blind, &base(4, at(6, 50)), Target::Latest).unwrap();
        assert_eq!((own.reaches, own.histories), (at(8, 777), vec![]));
    }

    proptest! {
        /// Whatever is on the shelf: a route is gapless, begins where the backup stops and lies on one history.
        #[test]
        fn a_route_has_no_hole(
            numbers in proptest::collection::btree_set(0u64..30, 0..30),
            fork in 1u64..30, stop in 1u64..29, wanted in 0u64..31,
        ) {
            let mut shelf = Shelf::new(SIZE);
            for number in numbers {
                shelf.segments.insert(segment(if number < fork { 1 } else { 2 }, number));
            }
            let text = format!("1\t{}\tx\n", at(fork, 10));
            shelf.histories.insert(Timeline(2), History::parse(Timeline(2), &text).unwrap());
            let base = base(1, at(stop, 5));
            let target = if wanted == 30 { Target::Latest } else { Target::Lsn(at(wanted, 7)) };
            if let Ok(found) = route(&shelf, &base, target) {
                for (step, piece) in (stop..).zip(&found.segments) {
                    prop_assert_eq!(piece.number, step);
                    prop_assert!(shelf.segments.contains(piece));
                }
                if let Target::Lsn(lsn) = target {
                    prop_assert!(found.reaches >= lsn);
                }
            }
        }
    }
}
