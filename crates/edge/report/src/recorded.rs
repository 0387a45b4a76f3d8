//! What a watch measured, as it is kept beside a report: one line about all of it, and one for each series.
//!
//! Marks that a series has ended do not survive a question to a watch. They follow from what is there: a target gives
//! all of its samples with one timestamp, that of its `up`; a series that was there at one and is not at the next has
//! ended at the next.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_promql::labels::{Labels, NAME};
use mainstay_promql::sample::Value;
use mainstay_promql::store::Memory;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Samples of one folder; more do not fit into memory comfortably.
pub const SAMPLES_MAX: usize = 20_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    platform: String,
    incident: String,
    watch: String,
    from_ms: u64,
    to_ms: u64,
    interval_ms: u64,
}

/// One series: `at` begins with a moment in milliseconds since 1970 and goes on with distances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    labels: BTreeMap<String, String>,
    at: Vec<u64>,
    /// As text, since JSON has no infinity.
    values: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    /// In the order of time.
    pub samples: Vec<(u64, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub platform: String,
    pub incident: String,
    /// The host of the watch that was asked.
    pub watch: String,
    pub from_ms: u64,
    pub to_ms: u64,
    /// How often it asks its targets.
    pub interval_ms: u64,
    pub series: Vec<Series>,
}

#[derive(Debug, Error)]
pub enum RecordedError {
    #[error("there is no line about what was measured")]
    Empty,
    #[error("line {line} is not in the form of what was measured")]
    Form {
        line: usize,
        source: serde_json::Error,
    },
    #[error("line {line}: {what}")]
    Meaning { line: usize, what: &'static str },
}

impl Recorded {
    pub fn sample_count(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }

    /// # Errors
    /// Only if it cannot be written as JSON at all, which nothing here can cause.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        let head = Head {
            version: 1,
            platform: self.platform.clone(),
            incident: self.incident.clone(),
            watch: self.watch.clone(),
            from_ms: self.from_ms,
            to_ms: self.to_ms,
            interval_ms: self.interval_ms,
        };
        let mut text = serde_json::to_string(&head)?;
        text.push('\n');
        for series in &self.series {
            let mut last = 0;
            let at = series.samples.iter().map(|(at, _)| {
                let distance = at.saturating_sub(last);
                last = *at;
                distance
            });
            let row = Row {
                labels: series.labels.clone(),
                at: at.collect(),
                values: (series.samples.iter())
                    .map(|(_, value)| mainstay_promql::number::plain(*value))
                    .collect(),
            };
            text.push_str(&serde_json::to_string(&row)?);
            text.push('\n');
        }
        Ok(text)
    }

    /// # Errors
    /// When a line has another form or tells of what cannot be.
    pub fn read(text: &str) -> Result<Self, RecordedError> {
        let mut lines = (1..).zip(text.lines());
        let (_, first) = lines.next().ok_or(RecordedError::Empty)?;
        let form = |line| move |source| RecordedError::Form { line, source };
        let head: Head = serde_json::from_str(first).map_err(form(1))?;
        if head.version != 1 {
            return Err(RecordedError::Meaning {
                line: 1,
                what: "another version of Mainstay wrote it",
            });
        }
        let mut count = 0_usize;
        let mut series = Vec::new();
        for (line, text) in lines {
            let row: Row = serde_json::from_str(text).map_err(form(line))?;
            let fault = |what| RecordedError::Meaning { line, what };
            if row.at.len() != row.values.len() {
                return Err(fault("it has not as many moments as values"));
            }
            count += row.at.len();
            if count > SAMPLES_MAX {
                return Err(fault("there are more than 20 million samples"));
            }
            let mut last = 0_u64;
            let mut samples = Vec::with_capacity(row.at.len());
            for (distance, value) in row.at.iter().zip(&row.values) {
                last = last.saturating_add(*distance);
                let value = mainstay_promql::number::parse(value);
                samples.push((last, value.ok_or_else(|| fault("a value is no number"))?));
            }
            series.push(Series {
                labels: row.labels,
                samples,
            });
        }
        Ok(Self {
            platform: head.platform,
            incident: head.incident,
            watch: head.watch,
            from_ms: head.from_ms,
            to_ms: head.to_ms,
            interval_ms: head.interval_ms,
            series,
        })
    }

    /// As questions are asked of it, with the ends of series put back, and without the series called so.
    pub fn store(&self, without: &BTreeSet<String>) -> Memory {
        let mut store = Memory::default();
        let asked = self.asked();
        for series in &self.series {
            if (series.labels.get(NAME)).is_some_and(|name| without.contains(name)) {
                continue;
            }
            let labels = Labels::new(series.labels.clone());
            for (at, value) in &series.samples {
                store.append(&labels, moment(*at), Value::Float(*value));
            }
            for at in ends(series, &asked) {
                store.append(&labels, moment(at), Value::stale());
            }
        }
        store
    }

    /// Whether the target of a series answered before a moment, and did not give the series.
    pub(crate) fn was_heard_before(&self, series: &Series, at_ms: u64) -> bool {
        let of = target(series);
        let mut ups = self.series.iter().filter(|other| {
            other.labels.get(NAME).is_some_and(|name| name == "up") && target(other) == of
        });
        ups.any(|up| {
            let mut samples = up.samples.iter();
            samples.any(|(up_ms, value)| *up_ms < at_ms && *value > 0.0)
        })
    }

    /// When each target was asked.
    fn asked(&self) -> BTreeMap<(String, String), Vec<u64>> {
        let ups = self
            .series
            .iter()
            .filter(|series| series.labels.get(NAME).is_some_and(|name| name == "up"));
        let asked = ups.map(|series| {
            let at = series.samples.iter().map(|(at, _)| *at);
            (target(series), at.collect())
        });
        asked.collect()
    }
}

fn moment(at_ms: u64) -> i64 {
    i64::try_from(at_ms).unwrap_or(i64::MAX)
}

fn target(series: &Series) -> (String, String) {
    let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
    (label("job"), label("instance"))
}

/// Moments at which a series was not given any more though its target was asked.
fn ends(series: &Series, asked: &BTreeMap<(String, String), Vec<u64>>) -> Vec<u64> {
    let Some(asked) = asked.get(&target(series)) else {
        return Vec::new();
    };
    let next_asked = |after: u64| {
        let place = asked.partition_point(|at| *at <= after);
        asked.get(place).copied()
    };
    // Samples that a target stamps itself, and those of rules, do not follow its questions.
    let follows = |at: u64| asked.binary_search(&at).is_ok();
    let mut ends = Vec::new();
    for (place, (at, _)) in series.samples.iter().enumerate() {
        let next = series.samples.get(place + 1).map(|(next, _)| *next);
        if let Some(due) = next_asked(*at)
            && follows(*at)
            && next.is_none_or(|next| next > due)
        {
            ends.push(due);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, samples: &[(u64, f64)]) -> Series {
        let labels = [(NAME, name), ("job", "node"), ("instance", "h1")];
        Series {
            labels: labels
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .into_iter()
                .collect(),
            samples: samples.to_vec(),
        }
    }

    fn recorded(series: Vec<Series>) -> Recorded {
        Recorded {
            platform: "p".to_owned(),
            incident: "i1".to_owned(),
            watch: "h1".to_owned(),
            from_ms: 0,
            to_ms: 9_000,
            interval_ms: 1_000,
            series,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let kept = recorded(vec![
            series("up", &[(1_000, 1.0), (2_000, 0.0)]),
            series("x", &[(1_000, f64::INFINITY), (2_000, 0.1 + 0.2)]),
        ]);
        assert_eq!(Recorded::read(&kept.write().unwrap()).unwrap(), kept);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line() {
        let text = recorded(vec![series("up", &[(1, 1.0)])]).write().unwrap();
        for (from, to, line) in [
            ("\"version\":1", "\"version\":2", 1),
            ("\"at\":[1]", "\"at\":[1,2]", 2),
            ("\"values\":[\"1\"]", "\"values\":[\"one\"]", 2),
            ("\"values\"", "\"valves\"", 2),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let error = Recorded::read(&changed).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("line {line}")),
                "{error}"
            );
        }
        assert!(matches!(Recorded::read(""), Err(RecordedError::Empty)));
    }

    #[test]
    fn a_series_ends_where_its_target_was_asked_and_did_not_give_it() {
        let up = series("up", &[(1_000, 1.0), (2_000, 0.0), (3_000, 1.0)]);
        let gone = series("x", &[(1_000, 5.0)]);
        let back = series("y", &[(1_000, 5.0), (3_000, 6.0)]);
        let asked = recorded(vec![up.clone()]).asked();
        assert_eq!(ends(&gone, &asked), [2_000]);
        assert_eq!(ends(&back, &asked), [2_000]);
        assert_eq!(ends(&up, &asked), [0; 0]);
        let own_time = series("z", &[(1_500, 5.0)]);
        assert_eq!(ends(&own_time, &asked), [0; 0]);
    }
}
