//! Log that was received and perhaps not put away: what of it a receiver may go on from.
//!
//! Whoever carried it may have been killed at any moment. What lies there is good as far as it lies on the server's own way and
//! follows, without a gap, what the archive has; everything else is asked of the server again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use mainstay_units::Lsn;

use crate::history::History;
use crate::route::Shelf;
use crate::segment::Segment;

/// What a receiver begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footing {
    /// The newest full segment of this way in the archive.
    pub archived: Option<Segment>,
    /// Full segments of the spool that stay. The archive may lack all but the first.
    pub keep: BTreeSet<Segment>,
}

impl Footing {
    /// The last segment that need not be asked of the server.
    pub fn last(&self) -> Option<Segment> {
        let kept = self.keep.iter().copied();
        kept.chain(self.archived)
            .max_by_key(|segment| segment.number)
    }
}

/// `flushed`: how far the server is; what lies behind that is not its own.
pub fn footing(
    shelf: &Shelf,
    spooled: &BTreeSet<Segment>,
    history: &History,
    flushed: Lsn,
) -> Footing {
    let size = shelf.size;
    let on_the_way = |segment: &&Segment| {
        history.timeline_of(segment.number, size) == segment.timeline
            && segment.end(size) <= flushed
    };
    let archived = shelf.segments.iter().filter(on_the_way).copied();
    let archived = archived.max_by_key(|segment| segment.number);
    let spooled: BTreeMap<u64, Segment> = spooled
        .iter()
        .filter(on_the_way)
        .map(|segment| (segment.number, *segment))
        .collect();
    let first = match archived {
        Some(archived) if spooled.contains_key(&archived.number) => Some(archived.number),
        Some(archived) => Some(archived.number + 1),
        None => spooled.keys().next().copied(),
    };
    let from_first = first
        .into_iter()
        .flat_map(|first| first..)
        .map_while(|number| spooled.get(&number).copied());
    Footing {
        archived,
        keep: from_first.collect(),
    }
}

/// Full segments that may be put away now, in order: each follows what was put away before it. A folder that is listed while
/// segments get their names may show a later one and not the one before; whoever put that one away would leave a hole.
pub fn in_turn(shipped: Option<Segment>, spooled: &BTreeSet<Segment>) -> Vec<Segment> {
    let mut waiting: Vec<Segment> = spooled.iter().copied().collect();
    waiting.sort_by_key(|segment| (segment.number, segment.timeline));
    let (mut last, mut turn) = (shipped, Vec::new());
    for segment in waiting {
        match last {
            Some(last) if (segment.number, segment.timeline) <= (last.number, last.timeline) => {
                continue;
            }
            Some(last) if segment.number > last.number + 1 => break,
            Some(_) | None => turn.push(segment),
        }
        last = Some(segment);
    }
    turn
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use mainstay_units::Timeline;

    use super::*;
    use crate::segment::SegmentSize;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn segment(timeline: u32, number: u64) -> Segment {
        Segment {
            timeline: Timeline(timeline),
            number,
        }
    }

    /// Timeline 1 was left in segment 5 for timeline 2; the server is at the beginning of segment 9.
    fn check(archived: &[(u32, u64)], spooled: &[(u32, u64)], keep: &[(u32, u64)]) {
        let text = format!("1\t{}\tx\n", Lsn(5 * SIZE.bytes() + 10));
        let history = History::parse(Timeline(2), &text).unwrap();
        let of = |pairs: &[(u32, u64)]| pairs.iter().map(|(t, n)| segment(*t, *n)).collect();
        let mut shelf = Shelf::new(SIZE);
        shelf.segments = of(archived);
        let flushed = Lsn(9 * SIZE.bytes() + 100);
        let found = footing(&shelf, &of(spooled), &history, flushed);
        let wanted: BTreeSet<Segment> = of(keep);
        assert_eq!(found.keep, wanted, "{archived:?} and {spooled:?}");
    }

    #[test]
    fn what_follows_the_archive_stays() {
        // Killed with two segments in hand; and with the newest, which the archive has.
        check(&[(1, 3), (1, 4)], &[(2, 5), (2, 6)], &[(2, 5), (2, 6)]);
        check(&[(1, 4), (2, 5)], &[(2, 5), (2, 6)], &[(2, 5), (2, 6)]);
        check(&[(1, 4), (2, 5)], &[(2, 5)], &[(2, 5)]);
        // Nothing was put away yet.
        check(&[], &[(1, 4), (2, 5)], &[(1, 4), (2, 5)]);
        check(&[], &[], &[]);
    }

    #[test]
    fn what_the_archive_passed_or_does_not_lead_to_goes() {
        check(&[(2, 6)], &[(1, 4), (2, 5)], &[]);
        check(&[(1, 4)], &[(2, 6), (2, 7)], &[]);
        check(&[(1, 4)], &[(2, 5), (2, 7)], &[(2, 5)]);
    }

    #[test]
    fn what_another_lineage_wrote_goes() {
        // The old primary had gone on; and what this server has not flushed is not its own.
        check(&[(1, 4)], &[(1, 5), (1, 6)], &[]);
        check(&[(2, 8)], &[(2, 9)], &[]);
        check(&[(1, 6)], &[(1, 4), (2, 5)], &[(1, 4), (2, 5)]);
    }

    #[test]
    fn what_was_received_is_put_away_without_a_gap() {
        let check = |shipped: Option<(u32, u64)>, spooled: &[(u32, u64)], wanted: &[(u32, u64)]| {
            let of = |pairs: &[(u32, u64)]| pairs.iter().map(|(t, n)| segment(*t, *n)).collect();
            let (spooled, wanted): (Vec<Segment>, Vec<Segment>) = (of(spooled), of(wanted));
            let shipped = shipped.map(|(timeline, number)| segment(timeline, number));
            let turn = in_turn(shipped, &spooled.iter().copied().collect());
            assert_eq!(turn, wanted, "{shipped:?}, {spooled:?}");
        };
        check(None, &[(1, 4), (1, 5)], &[(1, 4), (1, 5)]);
        check(Some((1, 4)), &[(1, 4), (1, 5), (1, 6)], &[(1, 5), (1, 6)]);
        // Segment 5 got its name while the folder was listed.
        check(Some((1, 4)), &[(1, 4), (1, 6), (1, 7)], &[]);
        check(Some((1, 4)), &[(1, 5), (1, 7)], &[(1, 5)]);
        // Into a history that begins in the middle of segment 5.
        check(Some((1, 4)), &[(1, 4), (2, 5), (2, 6)], &[(2, 5), (2, 6)]);
        check(Some((1, 5)), &[(1, 4), (2, 5)], &[(2, 5)]);
        check(Some((2, 6)), &[(1, 4), (2, 5), (2, 6)], &[]);
    }

    #[test]
    fn the_last_is_where_one_goes_on() {
        let last = |archived: Option<Segment>, keep: &[Segment]| {
            let keep = keep.iter().copied().collect();
            Footing { archived, keep }.last()
        };
        let segments: Vec<Segment> = (4..7).map(|number| segment(1, number)).collect();
        assert_eq!(last(None, &[]), None);
        assert_eq!(last(Some(segments[0]), &[]), Some(segments[0]));
        assert_eq!(last(Some(segments[0]), &segments), Some(segments[2]));
    }
}
