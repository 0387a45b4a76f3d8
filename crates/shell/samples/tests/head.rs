//! Samples through kills, tears and damage.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use mainstay_promql::eval::{Options, Output, instant};
use mainstay_promql::labels::Labels;
use mainstay_promql::matcher::Matcher;
use mainstay_promql::parse::parse;
use mainstay_promql::sample::{Source, Value};
use mainstay_samples::{Head, Limits, Longer};

fn labels(job: usize) -> Labels {
    Labels::of(&[("__name__", "m_total"), ("job", &job.to_string())])
}

fn open(folder: &Path, limits: Limits) -> (Head, mainstay_samples::Opened) {
    Head::open(folder, limits).expect("open")
}

/// Samples of every job, as they are selected.
fn values(head: &Head) -> Vec<Vec<(i64, u64)>> {
    let matcher = Matcher::name("m_total");
    let series = head.select(&[matcher], i64::MIN, i64::MAX);
    let bits = |value: &Value| value.float().expect("a float").to_bits();
    series
        .iter()
        .map(|s| {
            s.samples
                .iter()
                .map(|sample| (sample.at, bits(&sample.value)))
                .collect()
        })
        .collect()
}

fn fill(head: &mut Head, moments: std::ops::Range<i64>) {
    let jobs: Vec<Labels> = (0..3).map(labels).collect();
    for moment in moments {
        let samples = jobs
            .iter()
            .enumerate()
            .map(|(n, job)| (job, moment * 1_000, moment as f64 * n as f64));
        let appended = head.append(samples).expect("append");
        assert_eq!(appended.stored, 3);
    }
}

#[test]
fn what_was_stored_is_there_after_any_number_of_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    // So short a log that most of it goes into blocks.
    let limits = Limits {
        log_bytes: 4_000,
        ..Limits::default()
    };
    let (mut head, _) = open(folder.path(), limits.clone());
    for round in 0..10 {
        fill(&mut head, round * 100..(round + 1) * 100);
        head.maintain(round * 100_000).expect("maintain");
        let before = values(&head);
        assert_eq!(
            before.iter().map(Vec::len).sum::<usize>(),
            300 * (round as usize + 1)
        );
        drop(head);
        let opened;
        (head, opened) = open(folder.path(), limits.clone());
        assert_eq!(
            (opened.series, opened.torn_bytes, opened.damaged.len()),
            (3, 0, 0)
        );
        assert_eq!(values(&head), before);
    }
    assert!(
        std::fs::read_dir(folder.path().join("blocks"))
            .expect("blocks")
            .count()
            > 3
    );
    assert_eq!(
        std::fs::read_dir(folder.path().join("log"))
            .expect("logs")
            .count(),
        1
    );
    let (_, samples, bytes) = head.size();
    println!("{:.2} bytes a sample", bytes as f64 / samples as f64);
}

#[test]
fn queries_see_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut head, _) = open(folder.path(), Limits::default());
    fill(&mut head, 0..300);
    let expr = parse("sum(rate(m_total[1m]))").expect("parses");
    let answer = instant(&expr, &head, 299_000, &Options::default()).expect("answers");
    let Output::Vector(items) = answer.output else {
        panic!("no vector")
    };
    assert_eq!(
        items[0]
            .value
            .float()
            .map(|value| (value * 1e6).round() / 1e6),
        Some(3.0)
    );
}

#[test]
fn old_samples_and_too_many_series_are_refused_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut head, _) = open(
        folder.path(),
        Limits {
            series: 2,
            ..Limits::default()
        },
    );
    let all: Vec<Labels> = (0..3).map(labels).collect();
    let appended = head
        .append(all.iter().map(|labels| (labels, 5, 1.0)))
        .expect("append");
    assert_eq!((appended.stored, appended.beyond_limit), (2, 1));
    let appended = head
        .append([(&all[0], 5, 2.0), (&all[0], 6, 2.0)])
        .expect("append");
    assert_eq!((appended.stored, appended.old), (1, 1));
}

#[test]
fn what_is_older_than_the_retention_is_forgotten_also_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits {
        log_bytes: 1_000,
        retention: 60_000,
        ..Limits::default()
    };
    let (mut head, _) = open(folder.path(), limits.clone());
    fill(&mut head, 0..1_000);
    head.maintain(1_000_000).expect("maintain");
    head.maintain(10_000_000).expect("maintain");
    assert_eq!(head.size().0, 0);
    assert_eq!(
        std::fs::read_dir(folder.path().join("blocks"))
            .expect("blocks")
            .count(),
        0
    );
    drop(head);
    // What the log still says of old samples goes with the first look at the time.
    let (mut head, opened) = open(folder.path(), limits.clone());
    assert!(opened.samples < 3 * 120);
    head.maintain(10_000_000).expect("maintain");
    assert_eq!(head.size(), (0, 0, 0));
}

#[test]
fn a_torn_record_counts_as_never_written_and_a_damaged_block_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits {
        log_bytes: 4_000,
        ..Limits::default()
    };
    let (mut head, _) = open(folder.path(), limits.clone());
    fill(&mut head, 0..200);
    head.maintain(0).expect("maintain");
    fill(&mut head, 200..203);
    drop(head);
    let only = |name: &str| {
        let mut paths = std::fs::read_dir(folder.path().join(name))
            .expect("a folder")
            .map(|e| e.expect("one").path());
        paths.next().expect("a file")
    };
    let log = only("log");
    let bytes = std::fs::read(&log).expect("read");
    std::fs::write(&log, &bytes[..bytes.len() - 3]).expect("cut");
    let (head, opened) = open(folder.path(), limits.clone());
    assert!(opened.torn_bytes > 0);
    assert_eq!(
        values(&head).iter().map(Vec::len).collect::<Vec<_>>(),
        [202, 202, 202]
    );
    drop(head);
    let block = only("blocks");
    let mut bytes = std::fs::read(&block).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&block, bytes).expect("damage");
    let (_, opened) = open(folder.path(), limits.clone());
    assert_eq!(opened.damaged, [block]);
}

const CHILD: &str = "MAINSTAY_SAMPLES_CHILD";

/// Runs only as the child of the test below: stores and says what it stored, until it is killed.
#[test]
fn a_child_that_stores_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let limits = Limits {
        log_bytes: 20_000,
        ..Limits::default()
    };
    let (mut head, opened) = open(Path::new(&folder), limits.clone());
    let from = i64::try_from(opened.samples / 3).expect("a count");
    let mut out = std::io::stdout();
    for moment in from.. {
        fill(&mut head, moment..moment + 1);
        head.maintain(0).expect("maintain");
        writeln!(out, "\nstored {moment}").expect("said");
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = -1;
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "a_child_that_stores_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut seen = 0;
        for line in lines {
            let Ok(line) = line else { break };
            let Some(moment) = line.strip_prefix("stored ") else {
                continue;
            };
            acknowledged = moment.parse().expect("a moment");
            seen += 1;
            if seen == 150 + round * 37 {
                // SIGKILL, in the middle of whatever it does.
                child.kill().expect("kill");
            }
        }
        child.wait().expect("reaped");
        assert!(seen > 0, "the child stored nothing");
        let (head, opened) = open(folder.path(), Limits::default());
        assert!(opened.damaged.is_empty());
        for series in values(&head) {
            let moments: Vec<i64> = series.iter().map(|(at, _)| at / 1_000).collect();
            let through = i64::try_from(moments.len()).expect("a count");
            assert!(
                through > acknowledged,
                "{through} of more than {acknowledged}"
            );
            assert_eq!(
                moments,
                (0..through).collect::<Vec<_>>(),
                "a gap or a double"
            );
        }
    }
}

#[test]
fn few_series_are_kept_longer_and_the_files_of_the_many_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits {
        retention: 1_000_000,
        longer: Some(Longer {
            prefix: "slo:".to_owned(),
            retention: 10_000_000,
        }),
        log_bytes: 1,
        ..Limits::default()
    };
    let (long, short) = (
        Labels::of(&[("__name__", "slo:bad:rate")]),
        Labels::of(&[("__name__", "up")]),
    );
    let files = || {
        std::fs::read_dir(folder.path().join("blocks"))
            .expect("a folder")
            .count()
    };
    let count = |head: &Head, labels: &Labels| {
        let named = [mainstay_promql::matcher::Matcher::name(
            labels.get("__name__"),
        )];
        head.series(&named, i64::MIN, i64::MAX).count()
    };
    {
        let (mut head, _) = open(folder.path(), limits.clone());
        for at in 0..300 {
            head.append([(&long, at * 1_000, 1.0), (&short, at * 1_000, 2.0)])
                .expect("stored");
        }
        head.maintain(300_000).expect("maintained");
        assert_eq!(files(), 2, "one for each kind");
        head.maintain(2_000_000).expect("maintained");
        assert_eq!((count(&head, &long), count(&head, &short)), (1, 0));
        assert_eq!(files(), 1, "the file of the many is gone");
    }
    // The log may still have what was forgotten; it is forgotten again.
    let (mut head, _) = open(folder.path(), limits);
    head.maintain(2_000_000).expect("maintained");
    assert_eq!((head.size().0, head.size().1), (1, 300));
    head.maintain(20_000_000).expect("maintained");
    assert_eq!((count(&head, &long), files()), (0, 0));
}

#[test]
fn a_view_is_of_one_moment_and_sees_what_is_written_through_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut head, _) = open(folder.path(), Limits::default());
    // Over the end of a chunk, so that the fence is within one and between two.
    for filled in [100, 120, 130] {
        let begun = head.size().1 as i64 / 3;
        fill(&mut head, begun..filled);
        head.open_view();
        let before = all(&head.view());
        assert_eq!(before, all(&head));
        fill(&mut head, filled..filled + 5);
        let new = Labels::of(&[("__name__", "m_total"), ("job", "new")]);
        head.append([(&new, filled * 1_000, 1.0)]).expect("append");
        assert_eq!(all(&head.view()), before, "at {filled}");
        assert!(all(&head).len() > before.len());
        let own = Labels::of(&[("__name__", "m:own")]);
        head.append_in_view([(&own, filled * 1_000, 2.0)])
            .expect("append");
        let seen = head.view().select(&[Matcher::name("m:own")], 0, i64::MAX);
        assert_eq!(seen.len(), 1, "at {filled}");
        head.close_view();
        head.open_view();
        assert_eq!(all(&head.view()), all(&head));
        head.close_view();
        // The same ones that a scraper hands in again and again, and equal ones that stand elsewhere, are one series.
        let again = head.append([(&new.clone(), filled * 1_000 + 1, 1.0)]);
        assert_eq!(again.expect("append").stored, 1);
    }
    assert_eq!(all(&head).iter().filter(|(job, _)| job == "new").count(), 6);
}

/// Every sample of `m_total`: job and moment.
fn all(source: &dyn Source) -> Vec<(String, i64)> {
    let found = source.select(&[Matcher::name("m_total")], i64::MIN, i64::MAX);
    let samples = found.iter().flat_map(|series| {
        let job = series.labels.get("job").to_owned();
        series
            .samples
            .iter()
            .map(move |sample| (job.clone(), sample.at))
    });
    samples.collect()
}
