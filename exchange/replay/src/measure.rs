//! What is counted, and what the counts mean.
//!
//! Counting is per intent, not per HTTP attempt. Latency runs from the planned time. An intent that was given up counts
//! with the time until it was given up, so failures cannot make a distribution look better.
//!
//! Two lengths of silence are kept apart. The *acknowledgement gap* is the time between one acknowledgement and the next,
//! whatever was due. A *stall* leaves out what the flow itself did not ask for: it begins at the later of the last
//! acknowledgement and the planned time of the oldest intent still open. A recorded flow has pauses, and a pause of the
//! customers is no stall of the platform.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Three digits keep 0.1 % of a value.
const HISTOGRAM_DIGITS: u8 = 3;

/// Beyond these the driver's figures describe the driver, and it refuses a verdict.
#[derive(Debug, Clone, Copy)]
pub struct LagLimits {
    /// The 99th percentile of how late intents were taken up.
    pub p99: Duration,
    /// The latest.
    pub max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Answered by the venue, with whatever outcome.
    Answered,
    /// Refused as malformed or contradictory: this driver sends nothing such on purpose, so it counts as failed.
    Refused,
    /// Not answered within its deadline.
    Unanswered,
}

/// One intent's life in microseconds of the run.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub planned_us: u64,
    pub ended_us: u64,
    pub ended: Ended,
}

impl Life {
    #[must_use]
    pub fn latency_us(&self) -> u64 {
        self.ended_us.saturating_sub(self.planned_us)
    }

    fn acknowledged(&self) -> bool {
        self.ended == Ended::Answered
    }
}

#[derive(Debug)]
pub struct Measure {
    lives: Vec<Life>,
    latency: BTreeMap<&'static str, Histogram<u64>>,
    lag: Histogram<u64>,
    pub taken_up: u64,
    pub attempts: u64,
    pub moves: u64,
    pub homecomings: u64,
    pub outcomes: BTreeMap<String, u64>,
    pub refusals: BTreeMap<u16, u64>,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Percentiles {
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// A stretch of the run: how long nothing was acknowledged, and what became of the intents open in it.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq, Eq)]
pub struct Stretch {
    pub acknowledged: u64,
    pub failed: u64,
    pub longest_stall_us: u64,
    pub longest_acknowledgement_gap_us: u64,
    pub worst_latency_us: u64,
}

impl Measure {
    #[must_use]
    pub fn new() -> Self {
        Self {
            lives: Vec::new(),
            latency: BTreeMap::new(),
            lag: histogram(),
            taken_up: 0,
            attempts: 0,
            moves: 0,
            homecomings: 0,
            outcomes: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// An intent was taken up this late.
    pub fn take_up(&mut self, lag: Duration) {
        self.taken_up += 1;
        record(&mut self.lag, microseconds(lag));
    }

    pub fn end(&mut self, kind: &'static str, life: Life) {
        assert!(
            life.ended_us >= life.planned_us,
            "an intent ends after it was planned"
        );
        self.lives.push(life);
        record(
            self.latency.entry(kind).or_insert_with(histogram),
            life.latency_us(),
        );
    }

    #[must_use]
    pub fn count(&self, ended: Ended) -> u64 {
        self.lives.iter().filter(|life| life.ended == ended).count() as u64
    }

    /// By kind of intent, and all together under "all".
    #[must_use]
    pub fn percentiles(&self) -> BTreeMap<&'static str, Percentiles> {
        let mut all = histogram();
        let mut table = BTreeMap::new();
        for (kind, latency) in &self.latency {
            all.add(latency)
                .expect("histograms of the same form can be added");
            table.insert(*kind, percentiles(latency));
        }
        table.insert("all", percentiles(&all));
        table
    }

    #[must_use]
    pub fn lag(&self) -> Percentiles {
        percentiles(&self.lag)
    }

    #[must_use]
    pub fn lagged(&self, limits: LagLimits) -> bool {
        let lag = self.lag();
        lag.p99_us > microseconds(limits.p99) || lag.max_us > microseconds(limits.max)
    }

    /// Judges each stretch `[from, to)` in microseconds of the run.
    ///
    /// A silence counts in every stretch that it overlaps, from the later of its own beginning and the stretch's, to its
    /// own end: one that begins a moment before a fault and is ended by the recovery belongs to that fault. An intent
    /// counts in every stretch in which it was open, with its whole latency.
    #[must_use]
    pub fn stretches(&self, borders: &[(u64, u64)]) -> Vec<Stretch> {
        let mut lives = self.lives.clone();
        lives.sort_by_key(|life| life.ended_us);
        let silences = silences(&lives);
        borders
            .iter()
            .map(|border| stretch(*border, &lives, &silences))
            .collect()
    }

    /// When the last intent ended.
    #[must_use]
    pub fn ended_us(&self) -> u64 {
        self.lives
            .iter()
            .map(|life| life.ended_us)
            .max()
            .unwrap_or(0)
    }
}

impl Default for Measure {
    fn default() -> Self {
        Self::new()
    }
}

/// From one acknowledgement to the next; `due` is when something was first due in between.
#[derive(Debug, Clone, Copy)]
struct Silence {
    from: u64,
    due: u64,
    to: u64,
}

fn silences(lives: &[Life]) -> Vec<Silence> {
    // The oldest planned time among the intents that end at or after each one.
    let mut oldest_open = vec![u64::MAX; lives.len()];
    let mut oldest = u64::MAX;
    for (index, life) in lives.iter().enumerate().rev() {
        oldest = oldest.min(life.planned_us);
        oldest_open[index] = oldest;
    }
    let mut silences = Vec::new();
    // Before the first acknowledgement the silence begins with the run; `after` is the first life ended after the last.
    let (mut from, mut after) = (0, 0);
    for (index, life) in lives.iter().enumerate() {
        if life.acknowledged() {
            let due = oldest_open[after].max(from);
            silences.push(Silence {
                from,
                due,
                to: life.ended_us,
            });
            (from, after) = (life.ended_us, index + 1);
        }
    }
    if let (Some(last), Some(oldest)) = (lives.last(), oldest_open.get(after)) {
        // What ended without an acknowledgement after the last one is silence too.
        silences.push(Silence {
            from,
            due: (*oldest).max(from),
            to: last.ended_us,
        });
    }
    silences
}

fn stretch((from, to): (u64, u64), lives: &[Life], silences: &[Silence]) -> Stretch {
    let mut stretch = Stretch::default();
    for silence in silences
        .iter()
        .filter(|silence| silence.from < to && silence.to > from)
    {
        let gap = silence.to - silence.from.max(from);
        stretch.longest_acknowledgement_gap_us = stretch.longest_acknowledgement_gap_us.max(gap);
        if silence.due < to {
            let stall = silence.to.saturating_sub(silence.due.max(from));
            stretch.longest_stall_us = stretch.longest_stall_us.max(stall);
        }
    }
    for life in lives
        .iter()
        .filter(|life| life.planned_us < to && life.ended_us >= from)
    {
        stretch.worst_latency_us = stretch.worst_latency_us.max(life.latency_us());
        if (from..to).contains(&life.ended_us) {
            stretch.acknowledged += u64::from(life.acknowledged());
            stretch.failed += u64::from(!life.acknowledged());
        }
    }
    stretch
}

#[must_use]
pub fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn histogram() -> Histogram<u64> {
    Histogram::new(HISTOGRAM_DIGITS).expect("three digits are within what a histogram can do")
}

/// Grows the histogram if it must; `saturating_record` would cut the value instead.
fn record(histogram: &mut Histogram<u64>, value: u64) {
    histogram
        .record(value)
        .expect("microseconds of a run are within what a histogram can hold");
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    Percentiles {
        count: histogram.len(),
        p50_us: histogram.value_at_quantile(0.5),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ended, LagLimits, Life, Measure};

    const MS: u64 = 1_000;

    fn measure(lives: &[(u64, u64, Ended)]) -> Measure {
        let mut measure = Measure::new();
        for (planned_ms, ended_ms, ended) in lives {
            let life = Life {
                planned_us: planned_ms * MS,
                ended_us: ended_ms * MS,
                ended: *ended,
            };
            measure.end("order", life);
        }
        measure
    }

    #[test]
    fn a_pause_of_the_flow_is_a_gap_but_no_stall() {
        let measure = measure(&[(0, 2, Ended::Answered), (1_000, 1_003, Ended::Answered)]);
        let [stretch] = measure.stretches(&[(0, u64::MAX)])[..] else {
            panic!("one stretch")
        };
        assert_eq!(stretch.longest_acknowledgement_gap_us, 1_001 * MS);
        assert_eq!(stretch.longest_stall_us, 3 * MS);
    }

    #[test]
    fn a_stall_is_found_with_the_fault_that_it_belongs_to() {
        let mut lives: Vec<_> = (0..100)
            .map(|n| (n * 10, n * 10 + 2, Ended::Answered))
            .collect();
        // The fault at 1,000: what was sent just before is answered only at 1,800.
        lives.extend((0..80).map(|n| (995 + n * 10, 1_800 + n, Ended::Answered)));
        lives.extend((0..50).map(|n| (2_000 + n * 10, 2_002 + n * 10, Ended::Answered)));
        let measure = measure(&lives);
        let stretches = measure.stretches(&[
            (0, 1_000 * MS),
            (1_000 * MS, 1_900 * MS),
            (1_900 * MS, u64::MAX),
        ]);
        assert_eq!(stretches[1].longest_stall_us, 800 * MS);
        assert_eq!(stretches[1].worst_latency_us, 805 * MS);
        assert_eq!(stretches[2].longest_stall_us, 2 * MS);
        assert_eq!(
            stretches
                .iter()
                .map(|stretch| stretch.acknowledged)
                .sum::<u64>(),
            230
        );
    }

    #[test]
    fn what_is_never_answered_is_a_stall_to_its_end() {
        let measure = measure(&[(0, 2, Ended::Answered), (10, 15_010, Ended::Unanswered)]);
        let [stretch] = measure.stretches(&[(0, u64::MAX)])[..] else {
            panic!("one stretch")
        };
        assert_eq!((stretch.longest_stall_us, stretch.failed), (15_000 * MS, 1));
        assert_eq!(measure.percentiles()["all"].max_us / MS / 10, 1_500);
    }

    #[test]
    fn lag_beyond_a_limit_is_noticed() {
        let limits = LagLimits {
            p99: Duration::from_millis(50),
            max: Duration::from_millis(500),
        };
        let mut measure = Measure::new();
        for _ in 0..1_000 {
            measure.take_up(Duration::from_millis(1));
        }
        assert!(!measure.lagged(limits));
        measure.take_up(Duration::from_millis(600));
        assert!(measure.lagged(limits));
    }
}
