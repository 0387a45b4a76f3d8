//! One target: what it gave last time, and what follows from what it gives now.
//!
//! After every attempt there is a full account: `up`, how long it took, how many samples; a series that was
//! there before and is not now is marked as ended at the same moment. An attempt that failed ends all of
//! them. Samples that bring a time of their own are not marked: only the target knows when they end. Where
//! attempts fail or have stopped altogether, [`Target::silence`] says so within two intervals.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::book::Book;
pub use crate::book::Found;
use crate::exposition::{Fault, Format, Labels, Limits};

/// The bits of the marker that a series has ended, as Prometheus stores it.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// The series that tell of the attempts themselves.
const OWN: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// A sample to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The same ones each time, so that a store need not look at them to know them again.
    pub labels: Arc<Labels>,
    pub at: i64,
    pub value: f64,
}

/// By two clocks, in milliseconds: one that people read and that may be set back, since 1970; and one that never steps
/// back, from wherever it counts.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub wall: i64,
    pub steady: i64,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began: the time of its samples.
    pub at: Moment,
    pub took_ms: i64,
    /// Nothing where the target did not answer, or not readably.
    pub found: Option<Found>,
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
    own: [Arc<Labels>; 5],
    book: Book,
    last_heard: Moment,
}

impl Target {
    pub fn new(labels: Labels, honor_labels: bool, interval: i64, now: Moment) -> Self {
        let own = OWN.map(|name| {
            let mut own = labels.clone();
            own.push((String::from("__name__"), String::from(name)));
            own.sort();
            Arc::new(own)
        });
        Self {
            labels,
            honor_labels,
            interval,
            own,
            book: Book::default(),
            last_heard: now,
        }
    }

    /// By the steady clock: how long nothing came does not depend on what the other one was set to.
    pub fn silence(&self, steady: i64) -> Silence {
        let silent_for = steady.saturating_sub(self.last_heard.steady);
        if silent_for > self.interval.saturating_add(self.interval / 2) {
            Silence::SilentSince(self.last_heard.wall)
        } else {
            Silence::Heard
        }
    }

    /// Reads an answer, to be settled next.
    ///
    /// # Errors
    /// Where a line is unclear: then nothing of the answer counts.
    pub fn read(&mut self, format: Format, body: &str, limits: &Limits) -> Result<Found, Fault> {
        let (labels, honor) = (&self.labels, self.honor_labels);
        let labelled = |own: &Labels| labelled(labels, honor, own);
        self.book.read(format, body, limits, &labelled)
    }

    /// Everything that an attempt has to be stored as.
    pub fn settle(&mut self, attempt: Attempt) -> Vec<Write> {
        let Attempt { at, took_ms, found } = attempt;
        let up = found.is_some();
        let given = found.map(|found| found.given).unwrap_or_default();
        let entry = self.book.enter(&given);
        if up {
            self.last_heard = at;
        }
        let at = at.wall;
        #[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds")]
        let seconds = took_ms as f64 / 1000.0;
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let own = [
            f64::from(u8::from(up)),
            seconds,
            count(given.len()),
            count(given.len()),
            count(entry.added),
        ];
        let stored = entry
            .stored
            .into_iter()
            .map(|(labels, own_at, value)| Write {
                labels,
                at: own_at.unwrap_or(at),
                value,
            });
        let own = self.own.iter().zip(own).map(|(labels, value)| Write {
            labels: Arc::clone(labels),
            at,
            value,
        });
        stored.chain(ended(entry.ended, at)).chain(own).collect()
    }
}

fn ended(series: impl IntoIterator<Item = Arc<Labels>>, at: i64) -> impl Iterator<Item = Write> {
    series.into_iter().map(move |labels| Write {
        labels,
        at,
        value: f64::from_bits(STALE),
    })
}

/// The target's labels win, and what they replace is kept under `exported_`; unless the target is
/// trusted with them.
fn labelled(target: &Labels, honor_labels: bool, own: &Labels) -> Labels {
    let mut labels: Labels = Vec::with_capacity(own.len() + target.len());
    let ours = |name: &str| target.iter().any(|(other, _)| other == name);
    for (name, value) in own {
        if !ours(name) || honor_labels {
            labels.push((name.clone(), value.clone()));
            continue;
        }
        let mut renamed = alloc::format!("exported_{name}");
        while ours(&renamed) || own.iter().any(|(other, _)| *other == renamed) {
            renamed.insert_str(0, "exported_");
        }
        labels.push((renamed, value.clone()));
    }
    for (name, value) in target {
        if !labels.iter().any(|(other, _)| other == name) {
            labels.push((name.clone(), value.clone()));
        }
    }
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn target() -> Target {
        let labels = [("instance", "h:1"), ("job", "j")];
        let labels = labels.map(|(n, v)| (n.to_string(), v.to_string()));
        Target::new(labels.to_vec(), false, 1_000, moment(0))
    }

    fn moment(wall: i64) -> Moment {
        let steady = wall + 77;
        Moment { wall, steady }
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

    fn attempt(target: &mut Target, at: i64, body: Option<&str>) -> Vec<Write> {
        let limits = Limits::default();
        let found = body.and_then(|body| target.read(Format::Text, body, &limits).ok());
        target.settle(Attempt {
            at: moment(at),
            took_ms: 5,
            found,
        })
    }

    #[test]
    fn what_is_gone_ends_and_a_failure_ends_all() {
        let mut target = target();
        let first = attempt(&mut target, 1_000, Some("a 1\nb{job=\"own\"} 2\nc 3 500\n"));
        assert_eq!(
            shown(&first),
            [
                "__name__=a,instance=h:1,job=j 1 @1000",
                "__name__=b,exported_job=own,instance=h:1,job=j 2 @1000",
                "__name__=c,instance=h:1,job=j 3 @500",
                "__name__=up,instance=h:1,job=j 1 @1000",
            ]
        );
        let second = attempt(&mut target, 2_000, Some("a 4\n"));
        assert_eq!(
            shown(&second),
            [
                "__name__=a,instance=h:1,job=j 4 @2000",
                "__name__=b,exported_job=own,instance=h:1,job=j stale @2000",
                "__name__=up,instance=h:1,job=j 1 @2000",
            ]
        );
        let failed = attempt(&mut target, 3_000, None);
        assert_eq!(
            shown(&failed),
            [
                "__name__=a,instance=h:1,job=j stale @3000",
                "__name__=up,instance=h:1,job=j 0 @3000",
            ]
        );
        // Ended once is ended.
        assert_eq!(
            shown(&attempt(&mut target, 4_000, None)),
            ["__name__=up,instance=h:1,job=j 0 @4000"]
        );
    }

    #[test]
    fn silence_is_noticed_within_two_intervals() {
        let mut target = target();
        attempt(&mut target, 1_000, Some("a 1\n"));
        attempt(&mut target, 2_000, None);
        assert_eq!(target.silence(moment(2_500).steady), Silence::Heard);
        let silent = target.silence(moment(2_501).steady);
        assert_eq!(silent, Silence::SilentSince(1_000));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_heard() {
        let mut target = target();
        attempt(&mut target, 10_000, Some("a 1\n"));
        let at = Moment {
            wall: 4_000,
            steady: moment(12_000).steady,
        };
        target.settle(Attempt {
            at,
            took_ms: 5,
            found: None,
        });
        assert_eq!(target.silence(at.steady), Silence::SilentSince(10_000));
    }

    #[test]
    fn an_unreadable_answer_is_no_answer() {
        let mut target = target();
        attempt(&mut target, 1_000, Some("a 1\n"));
        let writes = shown(&attempt(&mut target, 2_000, Some("a 1\nb{ 2\n")));
        assert!(
            writes.contains(&"__name__=a,instance=h:1,job=j stale @2000".to_string()),
            "{writes:?}"
        );
        assert!(
            writes.contains(&"__name__=up,instance=h:1,job=j 0 @2000".to_string()),
            "{writes:?}"
        );
    }

    /// What is known from the page before changes nothing of what is read.
    #[test]
    fn a_page_is_read_alike_whatever_came_before() {
        let pages = [
            "a 1\nb 2\n",
            "ab 1\na 2\n",
            "a{x=\"1\"} 1\na 2\n",
            "a {x=\"1\"} 1\na  {x=\"2\"} 3 77\n",
            "a\t4\na{} 5\n",
            "a{x=\"1\"}6\na{x=\"1\",} 7\na{x=\"1\"} 8 9\n",
            "a{x=\"}\"} 1\na{x=\"} 2\"} 3\n",
            "  a 1\n\n# remark\nc 2 5\nc 3 5\nc 4 6\nc 5 6\n",
            "b 1\na 2\nc{y=\"2\",x=\"1\"} 3\nc{x=\"1\",y=\"2\"} 4\n",
            "a{job=\"own\"} 1\na{exported_job=\"own\"} 2\n",
            "",
            "a\n",
        ];
        let current = |target: &mut Target, at, page| {
            let writes = attempt(target, at, Some(page));
            let all = shown(&writes).into_iter();
            all.filter(|line| !line.contains(" stale "))
                .collect::<Vec<_>>()
        };
        for first in pages {
            for second in pages {
                let (mut used, mut new) = (target(), target());
                current(&mut used, 1_000, first);
                // Twice, since the second time is the one that is known line by line.
                for at in [2_000, 3_000] {
                    let wanted = current(&mut new, at, second);
                    assert_eq!(
                        current(&mut used, at, second),
                        wanted,
                        "{first:?} {second:?}"
                    );
                    new = target();
                }
            }
        }
    }

    #[test]
    fn series_that_are_given_no_more_are_forgotten() {
        let mut target = target();
        for page in 0..40 {
            let body: String = (0..100)
                .map(|number| format!("a{{page=\"{page}\",number=\"{number}\"}} 1\n"))
                .collect();
            let at = 1_000 * (page + 1);
            let writes = attempt(&mut target, at, Some(&body));
            let stale = writes.iter().filter(|write| write.value.to_bits() == STALE);
            assert_eq!(stale.count(), if page == 0 { 0 } else { 100 });
            assert!(target.book.len() <= 1_300);
        }
    }
}
