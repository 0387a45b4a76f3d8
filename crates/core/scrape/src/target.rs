//! The book of one target: what it gave last time, and what follows from what it gives now.
//!
//! After every attempt there is a full account: `up`, how long it took, how many samples; a series that was
//! there before and is not now is marked as ended at the same moment. An attempt that failed ends all of
//! them. Samples that bring a time of their own are not marked: only the target knows when they end. Where
//! attempts fail or have stopped altogether, [`Target::silence`] says so within two intervals.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::exposition::{Exposition, Labels};

/// The bits of the marker that a series has ended, as Prometheus stores it.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A sample to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub labels: Labels,
    pub at: i64,
    pub value: f64,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began, milliseconds since 1970: the time of its samples.
    pub at: i64,
    pub took_ms: i64,
    /// Nothing where the target did not answer, or not readably.
    pub found: Option<Exposition>,
}

/// Whether a target is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    Heard,
    /// Nothing readable came for longer than an interval and a half: the next beat after that is missing.
    SilentSince(i64),
}

#[derive(Clone, Debug)]
pub struct Target {
    /// `job`, `instance` and whatever else the target's series get.
    labels: Labels,
    honor_labels: bool,
    interval: i64,
    known: BTreeSet<Labels>,
    last_heard: i64,
}

impl Target {
    pub fn new(labels: Labels, honor_labels: bool, interval: i64, now: i64) -> Self {
        Self {
            labels,
            honor_labels,
            interval,
            known: BTreeSet::new(),
            last_heard: now,
        }
    }

    pub fn silence(&self, now: i64) -> Silence {
        if now.saturating_sub(self.last_heard) > self.interval.saturating_add(self.interval / 2) {
            Silence::SilentSince(self.last_heard)
        } else {
            Silence::Heard
        }
    }

    /// Everything that an attempt has to be stored as.
    pub fn settle(&mut self, attempt: Attempt) -> Vec<Write> {
        let Attempt { at, took_ms, found } = attempt;
        let up = found.is_some();
        let samples = found
            .map(|exposition| exposition.samples)
            .unwrap_or_default();
        let mut writes = Vec::with_capacity(samples.len() + 5);
        let mut present = BTreeSet::new();
        let mut given = BTreeSet::new();
        for sample in &samples {
            let labels = self.labelled(&sample.labels);
            // Of two samples of one series the first counts.
            if !given.insert((labels.clone(), sample.at)) {
                continue;
            }
            if sample.at.is_none() {
                present.insert(labels.clone());
            }
            writes.push(Write {
                labels,
                at: sample.at.unwrap_or(at),
                value: sample.value,
            });
        }
        let added = present.difference(&self.known).count();
        for labels in self.known.difference(&present) {
            writes.push(Write {
                labels: labels.clone(),
                at,
                value: f64::from_bits(STALE),
            });
        }
        self.known = present;
        if up {
            self.last_heard = at;
        }
        #[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds")]
        let seconds = took_ms as f64 / 1000.0;
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        for (name, value) in [
            ("up", f64::from(u8::from(up))),
            ("scrape_duration_seconds", seconds),
            ("scrape_samples_scraped", count(samples.len())),
            (
                "scrape_samples_post_metric_relabeling",
                count(samples.len()),
            ),
            ("scrape_series_added", count(added)),
        ] {
            let mut labels = self.labels.clone();
            labels.push((String::from("__name__"), String::from(name)));
            labels.sort();
            writes.push(Write { labels, at, value });
        }
        writes
    }

    /// Ends every series of a target that is not asked any more.
    pub fn vanish(self, at: i64) -> Vec<Write> {
        let own = [
            "up",
            "scrape_duration_seconds",
            "scrape_samples_scraped",
            "scrape_samples_post_metric_relabeling",
            "scrape_series_added",
        ];
        let named = own.map(|name| {
            let mut labels = self.labels.clone();
            labels.push((String::from("__name__"), String::from(name)));
            labels.sort();
            labels
        });
        let all = self.known.into_iter().chain(named);
        all.map(|labels| Write {
            labels,
            at,
            value: f64::from_bits(STALE),
        })
        .collect()
    }

    /// The target's labels win, and what they replace is kept under `exported_`; unless the target is
    /// trusted with them.
    fn labelled(&self, own: &Labels) -> Labels {
        let mut labels: Labels = Vec::with_capacity(own.len() + self.labels.len());
        let ours = |name: &str| self.labels.iter().any(|(other, _)| other == name);
        for (name, value) in own {
            if !ours(name) || self.honor_labels {
                labels.push((name.clone(), value.clone()));
                continue;
            }
            let mut renamed = alloc::format!("exported_{name}");
            while ours(&renamed) || own.iter().any(|(other, _)| *other == renamed) {
                renamed.insert_str(0, "exported_");
            }
            labels.push((renamed, value.clone()));
        }
        for (name, value) in &self.labels {
            if !labels.iter().any(|(other, _)| other == name) {
                labels.push((name.clone(), value.clone()));
            }
        }
        labels.sort();
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Format, Limits, parse};
    use alloc::format;
    use alloc::string::ToString;

    fn target() -> Target {
        let labels = [("instance", "h:1"), ("job", "j")];
        let labels = labels.map(|(n, v)| (n.to_string(), v.to_string()));
        Target::new(labels.to_vec(), false, 1_000, 0)
    }

    fn shown(writes: &[Write]) -> Vec<String> {
        let own = |w: &&Write| !w.labels.iter().any(|(_, v)| v.starts_with("scrape_"));
        let shown = writes.iter().filter(own).map(|write| {
            let labels: Vec<String> = write
                .labels
                .iter()
                .map(|(n, v)| format!("{n}={v}"))
                .collect();
            let value = if write.value.to_bits() == STALE {
                "stale".to_string()
            } else {
                write.value.to_string()
            };
            format!("{} {value} @{}", labels.join(","), write.at)
        });
        shown.collect()
    }

    fn attempt(at: i64, body: Option<&str>) -> Attempt {
        let found = body.and_then(|body| parse(Format::Text, body, &Limits::default()).ok());
        Attempt {
            at,
            took_ms: 5,
            found,
        }
    }

    #[test]
    fn what_is_gone_ends_and_a_failure_ends_all() {
        let mut target = target();
        let first = target.settle(attempt(1_000, Some("a 1\nb{job=\"own\"} 2\nc 3 500\n")));
        assert_eq!(
            shown(&first),
            [
                "__name__=a,instance=h:1,job=j 1 @1000",
                "__name__=b,exported_job=own,instance=h:1,job=j 2 @1000",
                "__name__=c,instance=h:1,job=j 3 @500",
                "__name__=up,instance=h:1,job=j 1 @1000",
            ]
        );
        let second = target.settle(attempt(2_000, Some("a 4\n")));
        assert_eq!(
            shown(&second),
            [
                "__name__=a,instance=h:1,job=j 4 @2000",
                "__name__=b,exported_job=own,instance=h:1,job=j stale @2000",
                "__name__=up,instance=h:1,job=j 1 @2000",
            ]
        );
        let failed = target.settle(attempt(3_000, None));
        assert_eq!(
            shown(&failed),
            [
                "__name__=a,instance=h:1,job=j stale @3000",
                "__name__=up,instance=h:1,job=j 0 @3000",
            ]
        );
        // Ended once is ended.
        assert_eq!(
            shown(&target.settle(attempt(4_000, None))),
            ["__name__=up,instance=h:1,job=j 0 @4000"]
        );
    }

    #[test]
    fn silence_is_noticed_within_two_intervals() {
        let mut target = target();
        target.settle(attempt(1_000, Some("a 1\n")));
        target.settle(attempt(2_000, None));
        assert_eq!(target.silence(2_500), Silence::Heard);
        assert_eq!(target.silence(2_501), Silence::SilentSince(1_000));
    }

    #[test]
    fn an_unreadable_answer_is_no_answer() {
        let mut target = target();
        target.settle(attempt(1_000, Some("a 1\n")));
        let writes = shown(&target.settle(attempt(2_000, Some("a 1\nb{ 2\n"))));
        assert!(
            writes.contains(&"__name__=a,instance=h:1,job=j stale @2000".to_string()),
            "{writes:?}"
        );
        assert!(
            writes.contains(&"__name__=up,instance=h:1,job=j 0 @2000".to_string()),
            "{writes:?}"
        );
        assert_eq!(target.vanish(5_000).len(), 5);
    }
}
