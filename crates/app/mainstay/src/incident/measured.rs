//! What a watch measured over some time, fetched in slices, or read from the folder in which it was kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_report::{Recorded, Series};
use mainstay_rt::files;
use serde_json::Value;

use crate::client::sockets;
use crate::exit::{Failure, Outcome};
use crate::query;

const FILE: &str = "figures.jsonl";
/// Larger than any that is written: its samples are limited, and each takes less than thirty bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// The first slice that is asked for; too much for one answer is asked for in halves.
const SLICE_MS: u64 = 60_000;
const SLICE_MS_MIN: u64 = 250;
pub const SAMPLES_MAX: usize = 20_000_000;
/// What the figures of a report are made of.
pub const OF_REPORTS: &str = "{__name__=~\"up|slo:budget:left|mainstay_gateway_(requests_total|held_total|request_duration_seconds_bucket)\"}";
pub const EVERYTHING: &str = "{__name__!=\"\"}";

pub struct Wanted<'a> {
    pub platform: &'a str,
    pub incident: &'a str,
    pub selector: &'a str,
    pub from_ms: u64,
    pub to_ms: u64,
    pub interval_ms: u64,
}

/// From the watch that has most of it.
pub fn fetch(layout: &Layout, wanted: &Wanted) -> Result<Recorded, Failure> {
    let mut best: Option<(f64, String)> = None;
    let mut last = None;
    for (host, _) in sockets(layout) {
        if !layout.watch_socket(&host).exists() {
            continue;
        }
        match weight(layout, &host, wanted) {
            Ok(weight) if best.as_ref().is_none_or(|(most, _)| weight > *most) => {
                best = Some((weight, host));
            }
            Ok(_) => {}
            Err(failure) => last = Some(failure),
        }
    }
    let Some((_, watch)) = best else {
        return Err(last.unwrap_or_else(|| {
            Failure::Usage(
                "no watch runs on this machine\n  next: the section `watch` of the platform file switches it on; see docs/watch.md"
                    .to_owned(),
            )
        }));
    };
    let mut rows: BTreeMap<BTreeMap<String, String>, Vec<(u64, f64)>> = BTreeMap::new();
    let (mut from_ms, mut slice_ms, mut count) = (wanted.from_ms, SLICE_MS, 0_usize);
    while from_ms < wanted.to_ms {
        let to_ms = (from_ms + slice_ms).min(wanted.to_ms);
        match slice(layout, &watch, wanted.selector, from_ms, to_ms) {
            Ok(answer) => {
                count += take(&answer, &mut rows)?;
                from_ms = to_ms;
            }
            Err(_) if slice_ms / 2 >= SLICE_MS_MIN => slice_ms /= 2,
            Err(failure) => return Err(failure),
        }
        if count > SAMPLES_MAX {
            return Err(Failure::Usage(format!(
                "more than {SAMPLES_MAX} samples were measured from {} on\n  next: take less of what was before, with --before",
                mainstay_report::day_and_time(wanted.from_ms)
            )));
        }
    }
    let series = rows.into_iter();
    Ok(Recorded {
        platform: wanted.platform.to_owned(),
        incident: wanted.incident.to_owned(),
        watch,
        from_ms: wanted.from_ms,
        to_ms: wanted.to_ms,
        interval_ms: wanted.interval_ms,
        series: series
            .map(|(labels, samples)| Series { labels, samples })
            .collect(),
    })
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// How many answers of targets a watch has of the time.
fn weight(layout: &Layout, host: &str, wanted: &Wanted) -> Result<f64, Failure> {
    let length_ms = wanted.to_ms.saturating_sub(wanted.from_ms).max(1);
    let form = [
        ("query", format!("sum(count_over_time(up[{length_ms}ms]))")),
        ("time", seconds(wanted.to_ms)),
    ];
    let answer = query::ask(layout, Some(host), "/api/v1/query", &form)?;
    let count = answer["data"]["result"][0]["value"][1].as_str();
    Ok(count.and_then(|text| text.parse().ok()).unwrap_or(0.0))
}

/// Samples behind `from_ms`, up to `to_ms`.
fn slice(
    layout: &Layout,
    watch: &str,
    selector: &str,
    from_ms: u64,
    to_ms: u64,
) -> Result<Value, Failure> {
    let form = [
        ("query", format!("{selector}[{}ms]", to_ms - from_ms)),
        ("time", seconds(to_ms)),
    ];
    let answer = query::ask(layout, Some(watch), "/api/v1/query", &form)?;
    if answer["status"] == "success" {
        return Ok(answer);
    }
    let why = answer["error"].as_str().unwrap_or("it gives no reason");
    Err(Failure::NoAnswer {
        what: format!("the watch on {watch}: {why}"),
        next: "`mainstay status` says what is the matter with the watches".to_owned(),
    })
}

fn take(
    answer: &Value,
    rows: &mut BTreeMap<BTreeMap<String, String>, Vec<(u64, f64)>>,
) -> Result<usize, Failure> {
    let mut count = 0;
    for row in answer["data"]["result"].as_array().into_iter().flatten() {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(row["metric"].clone()).context("read the labels of a series")?;
        let samples = rows.entry(labels).or_default();
        for sample in row["values"].as_array().into_iter().flatten() {
            let at_ms = sample[0].as_f64().map(|at| (at * 1_000.0).round() as u64);
            let value = sample[1].as_str();
            let value = value.and_then(mainstay_promql::number::parse);
            let (Some(at_ms), Some(value)) = (at_ms, value) else {
                return Err(Failure::NoAnswer {
                    what: format!("the watch gave a sample of another form: {sample}"),
                    next: "upgrade the older of the two programs".to_owned(),
                });
            };
            if samples.last().is_none_or(|(last, _)| *last < at_ms) {
                samples.push((at_ms, value));
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Into a folder, so that a report can be made, or rules can be tried, when the watch has forgotten.
/// What was kept before is never replaced by less: a watch forgets, and the folder is to outlast that.
pub fn keep(folder: &Path, recorded: &Recorded) -> Outcome {
    let count = |recorded: &Recorded| -> usize {
        recorded
            .series
            .iter()
            .map(|series| series.samples.len())
            .sum()
    };
    let path = folder.join(FILE);
    let found = count(recorded);
    let refused = |why: String| {
        Err(Failure::Usage(format!(
            "{}: {why}\n  next: keep it in another folder; `--figures FOLDER` makes the report from what was kept",
            path.display()
        )))
    };
    if found == 0 {
        return refused("no watch remembers any figures of that time".to_owned());
    }
    if path.exists() {
        let known = files::read_limited(&path, FILE_BYTES_MAX).ok();
        let known = known.and_then(|bytes| String::from_utf8(bytes).ok());
        match known.and_then(|text| Recorded::read(&text).ok()) {
            Some(known) if count(&known) <= found => {}
            Some(known) => {
                let known = count(&known);
                return refused(format!(
                    "it holds {known} samples, and the watch remembers {found} of that time"
                ));
            }
            None => return refused("something else is there".to_owned()),
        }
    }
    let text = recorded.write().context("write what was measured")?;
    fs::create_dir_all(folder)
        .and_then(|()| files::write_atomic(&folder.join(FILE), text.as_bytes()))
        .with_context(|| format!("write {}", folder.join(FILE).display()))?;
    Ok(())
}

/// # Errors
/// When the folder has none, or those of something else.
pub fn read(folder: &Path, platform: &str, incident: &str) -> Result<Recorded, Failure> {
    let path = folder.join(FILE);
    let shown = path.display();
    let unusable = |why: String| {
        Failure::Usage(format!(
            "{shown}: {why}\n  next: name the folder that `mainstay incident report {incident} --keep FOLDER` wrote"
        ))
    };
    let bytes =
        files::read_limited(&path, FILE_BYTES_MAX).map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unusable(error.to_string()))?;
    let recorded = Recorded::read(&text).map_err(|error| unusable(crate::client::chain(&error)))?;
    if recorded.platform != platform || recorded.incident != incident {
        return Err(unusable(format!(
            "it has what was measured of incident {} of platform {}",
            recorded.incident, recorded.platform
        )));
    }
    Ok(recorded)
}
