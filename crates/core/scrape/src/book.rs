//! The series of one target, remembered from page to page.
//!
//! A target writes the same series in the same order each time, and only their numbers change. So a line is first
//! compared with the one that stood there on the last page: where the series' text is the same, it is known without
//! reading it, and its labels are the very ones of last time, shared and not copied. Whatever does not fit is read.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::exposition::{Fault, Format, Labels, Limits, Meaning, lines};
use crate::reader::Reader;

/// So many lines of the last page are looked at for one of this page: a few series may have gone.
const AHEAD: usize = 8;
/// Beyond twice the series that a page gives, and so many, those that are not given any more are forgotten.
const FORGOTTEN_MIN: usize = 1_000;

/// One sample of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Given {
    /// The series' place in the book.
    pub(crate) series: usize,
    pub(crate) value: f64,
    pub(crate) at: Option<i64>,
}

/// What a readable page gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub(crate) given: Vec<Given>,
    /// In the order of the text.
    pub meanings: Vec<(String, Meaning)>,
}

#[derive(Clone, Debug)]
struct Known {
    /// With the target's own.
    labels: Arc<Labels>,
    /// The page that gave it last, and the moment that stood with it there first.
    page: Option<u64>,
    first: Option<i64>,
    /// The page that gave it last without a moment of its own.
    current: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    series: Vec<Known>,
    places: BTreeMap<Arc<Labels>, usize>,
    /// The series' texts of the last page, in its order.
    lines: Vec<(String, usize)>,
    page: u64,
}

/// Which series a page gave, ended and began.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub stored: Vec<(Arc<Labels>, Option<i64>, f64)>,
    pub ended: Vec<Arc<Labels>>,
    pub added: usize,
}

impl Book {
    /// Reads a page. `labelled` makes whole labels of those on the page.
    pub fn read(
        &mut self,
        format: Format,
        body: &str,
        limits: &Limits,
        labelled: &dyn Fn(&Labels) -> Labels,
    ) -> Result<Found, Fault> {
        let mut before = core::mem::take(&mut self.lines);
        let mut now = Vec::with_capacity(before.len());
        let mut place = 0;
        let mut found = Found::default();
        let Found { given, meanings } = &mut found;
        let outcome = lines(format, body, limits, meanings, &mut |line| {
            let (series, reader) = match recall(format, line, &mut before, &mut place, limits) {
                Some((text, series, reader)) => {
                    now.push((text, series));
                    (series, reader)
                }
                None => {
                    let mut reader = Reader::new(format, line, limits);
                    let labels = labelled(&reader.series()?);
                    let series = self.place_of(labels);
                    now.push((String::from(reader.read_so_far(line)), series));
                    (series, reader)
                }
            };
            let (value, at, _) = reader.reading()?;
            given.push(Given { series, value, at });
            Ok(())
        });
        self.lines = now;
        outcome.map(|()| found)
    }

    fn place_of(&mut self, labels: Labels) -> usize {
        if let Some(place) = self.places.get(&labels) {
            return *place;
        }
        let labels = Arc::new(labels);
        let place = self.series.len();
        self.series.push(Known {
            labels: Arc::clone(&labels),
            page: None,
            first: None,
            current: None,
        });
        self.places.insert(labels, place);
        place
    }

    /// Enters what a page gave; nothing of what was current before stays so unless it is given again.
    pub fn enter(&mut self, given: &[Given]) -> Entry {
        let (before, page) = (self.page, self.page + 1);
        self.page = page;
        let mut entry = Entry::default();
        entry.stored.reserve(given.len());
        let mut more = BTreeSet::new();
        for Given { series, value, at } in given.iter().copied() {
            let Some(known) = self.series.get_mut(series) else {
                continue;
            };
            // Of two samples of one series at one moment the first counts.
            let again = known.page == Some(page);
            if again && (known.first == at || !more.insert((series, at))) {
                continue;
            }
            if !again {
                known.page = Some(page);
                known.first = at;
            }
            if at.is_none() {
                entry.added += usize::from(known.current != Some(before));
                known.current = Some(page);
            }
            entry.stored.push((Arc::clone(&known.labels), at, value));
        }
        let ended = self
            .series
            .iter()
            .filter(|known| known.current == Some(before));
        entry.ended = ended.map(|known| Arc::clone(&known.labels)).collect();
        self.forget(given.len());
        entry
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Drops series that the last page did not give, where there are many of them.
    fn forget(&mut self, given: usize) {
        if self.series.len() <= given * 2 + FORGOTTEN_MIN {
            return;
        }
        let page = self.page;
        self.series.retain(|known| known.page == Some(page));
        let places = self.series.iter().enumerate();
        self.places = places
            .map(|(place, known)| (Arc::clone(&known.labels), place))
            .collect();
        // Their places have changed.
        self.lines.clear();
    }
}

/// The series of a line, if one of the next lines of the last page had the same; with the rest of the line to read.
fn recall<'l>(
    format: Format,
    line: &'l str,
    before: &mut [(String, usize)],
    place: &mut usize,
    limits: &'l Limits,
) -> Option<(String, usize, Reader<'l>)> {
    let ahead = before.iter_mut().enumerate().skip(*place).take(AHEAD);
    for (number, (text, series)) in ahead {
        if let Some(reader) = Reader::behind(format, line, text, limits) {
            *place = number + 1;
            return Some((core::mem::take(text), *series, reader));
        }
    }
    None
}
