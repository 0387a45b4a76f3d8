//! Who compares what clients were promised with what is there: an auditor that others wrote, or our own look at
//! numbered writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mainstay_drill::document::{Audit, Load, Source};
use mainstay_drill::notes::End;
use mainstay_probe::{Login, found};
use mainstay_record::drill::{MeasureRecord, MeasuredWord, MeasurementRecord, UnitWord};
use mainstay_recovery::numbered::{Classes, Number, Told, classes};
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::load::{Client, Field};
use super::measure::{missing, value};

const REPORT_BYTES_MAX: u64 = 64 << 20;
const AUDIT_ROUNDS: u32 = 5;
/// From one look at the auditor to the next.
const BEAT: Duration = Duration::from_millis(50);
/// The auditor's exit code when it could not read what it has to judge.
const CANNOT_JUDGE: i32 = 2;
/// So many are named; all are counted.
const LISTED_MAX: usize = 50;

/// What became of everything that a load sent.
pub fn ledger(
    field: &Field<'_>,
    load: &Load,
    clients: &[&Client],
    fault_us: Option<u64>,
) -> MeasurementRecord {
    let result = match (&load.source, &load.audit) {
        (Source::Probe { database, port, .. }, _) => {
            numbered(field, database, *port, clients, fault_us)
        }
        (Source::Program { .. }, Some(audit)) => audited(field, load, audit),
        (Source::Program { .. }, None) => Err(anyhow::anyhow!(
            "the document names no auditor for this load"
        )),
    };
    let (values, lists) = result.unwrap_or_else(|error| {
        let why = format!("{error:#}");
        let names = ["lost", "lost_time", "duplicated", "invented"];
        let values = names.map(|name| missing(name, UnitWord::Transactions, "auditor", &why));
        (values.into(), BTreeMap::new())
    });
    MeasurementRecord {
        measured: MeasuredWord::Ledger,
        services: load.services.clone(),
        subject: load.name.clone(),
        values,
        lists,
    }
}

/// Makes the place for the numbered writes of this run.
pub fn prepare(field: &Field<'_>) -> Result<()> {
    let databases: BTreeMap<&String, u16> = field
        .document
        .loads
        .iter()
        .filter_map(|load| match &load.source {
            Source::Probe { database, port, .. } => Some((database, *port)),
            Source::Program { .. } => None,
        })
        .collect();
    for (database, port) in databases {
        mainstay_probe::prepare(&login(field, database, port)?, &field.run)?;
    }
    Ok(())
}

type Figures = (Vec<MeasureRecord>, BTreeMap<String, Vec<String>>);

fn numbered(
    field: &Field<'_>,
    database: &str,
    port: u16,
    clients: &[&Client],
    fault_us: Option<u64>,
) -> Result<Figures> {
    let mut told: BTreeMap<Number, Told> = BTreeMap::new();
    for client in clients {
        for ((_, number), note) in client.notes()? {
            let said = match note.end {
                End::Acknowledged { at_us } => Told::Acknowledged { at_us },
                End::Failed { .. } => Told::Unacknowledged,
                End::Open => Told::Unknown,
            };
            told.insert((client.writer(), number), said);
        }
    }
    let found = found(&login(field, database, port)?, &field.run)?;
    let classes = classes(&told, &found);
    Ok((figures(&classes, fault_us), lists(&classes)))
}

fn login(field: &Field<'_>, database: &str, port: u16) -> Result<Login> {
    let entrances = field.doors.iter();
    let entrances = entrances.map(|door| SocketAddr::from((door.address, port)));
    Login::new(
        entrances.collect(),
        database,
        &field.layout.password_file(database),
        &field.layout.roots(),
    )
}

fn figures(classes: &Classes, fault_us: Option<u64>) -> Vec<MeasureRecord> {
    let source = "numbered writes, read back from the primary";
    let count = |name: &str, count: u64| value(name, count, UnitWord::Transactions, source);
    let lost_time = match fault_us {
        Some(fault_us) => value(
            "lost_time",
            classes.lost_time_us(fault_us),
            UnitWord::Us,
            source,
        ),
        None if classes.lost.is_empty() => value("lost_time", 0, UnitWord::Us, source),
        None => missing(
            "lost_time",
            UnitWord::Us,
            source,
            "there was no fault to count from",
        ),
    };
    vec![
        count("sent", classes.sent),
        count("acknowledged", classes.acknowledged),
        count("acknowledged_present", classes.acknowledged_present),
        count("lost", classes.lost.len() as u64),
        lost_time,
        count("unacknowledged_present", classes.unacknowledged_present),
        count("unacknowledged_absent", classes.unacknowledged_absent),
        count("unknown_present", classes.unknown_present),
        count("unknown_absent", classes.unknown_absent),
        count("unknown", classes.unknown_present + classes.unknown_absent),
        count("duplicated", classes.duplicated.len() as u64),
        count("invented", classes.invented.len() as u64),
    ]
}

fn lists(classes: &Classes) -> BTreeMap<String, Vec<String>> {
    let named = |numbers: &[Number]| -> Vec<String> {
        let numbers = numbers.iter().take(LISTED_MAX);
        numbers
            .map(|(writer, number)| format!("writer {writer} number {number}"))
            .collect()
    };
    [
        ("lost", &classes.lost),
        ("duplicated", &classes.duplicated),
        ("invented", &classes.invented),
    ]
    .into_iter()
    .filter(|(_, numbers)| !numbers.is_empty())
    .map(|(name, numbers)| (name.to_owned(), named(numbers)))
    .collect()
}

/// Asks the document's auditor, through one gateway after the other: a door may be shut for a moment.
fn audited(field: &Field<'_>, load: &Load, audit: &Audit) -> Result<Figures> {
    // Whoever interrupted a step wants to know all the same what was lost; whoever interrupts now does not.
    let heard = field.interrupt.times();
    let is_stopped = || field.interrupt.times() > heard;
    let mut last = String::new();
    for _ in 0..AUDIT_ROUNDS {
        for door in &field.doors {
            let address = SocketAddr::from((door.address, audit.port));
            let ask = |witnesses: &[PathBuf]| {
                let (report, mut command) = auditor(field, load, audit, (address, witnesses))?;
                let said = field.folder.join(format!("{}-audit.txt", load.name));
                let complained = field.folder.join(format!("{}-audit-errors.txt", load.name));
                let keep =
                    |path: &PathBuf| File::create(path).context("keep what the auditor says");
                command.stdout(keep(&said)?).stderr(keep(&complained)?);
                let status = end_of(&mut command, field.measured_by(), is_stopped)?;
                if status.code() == Some(CANNOT_JUDGE) {
                    let words = mainstay_rt::files::read_limited(&complained, REPORT_BYTES_MAX);
                    let words = words.context("read what the auditor says")?;
                    return Ok(Err(String::from_utf8_lossy(&words).trim().to_owned()));
                }
                let bytes = mainstay_rt::files::read_limited(&report, REPORT_BYTES_MAX)
                    .with_context(|| format!("read the auditor's report ({status})"))?;
                let report: Value =
                    serde_json::from_slice(&bytes).context("understand the auditor's report")?;
                Ok(Ok(of_report(&report, status.success())))
            };
            match unchanged(|| witnesses(field), ask)? {
                Ok(figures) => return Ok(figures),
                Err(why) => last = why,
            }
        }
        crate::down::wait(Duration::from_secs(1));
    }
    bail!("the auditor could not judge through any gateway: {last}")
}

/// Of what was asked about what is listed; or why not. What came to it meanwhile was not looked at, and what it did would be
/// taken for invented.
fn unchanged<T>(
    list: impl Fn() -> Result<Vec<PathBuf>>,
    ask: impl FnOnce(&[PathBuf]) -> Result<Result<T, String>>,
) -> Result<Result<T, String>> {
    let listed = list()?;
    let answer = ask(&listed)?;
    Ok(match list()? == listed {
        true => answer,
        false => Err("a flow began or went while the auditor looked".to_owned()),
    })
}

/// The witness logs of all flows of the platform.
fn witnesses(field: &Field<'_>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(field.flows()).context("list the flows that were sent")? {
        let flow = entry.context("list the flows that were sent")?;
        let witness = flow.path().join("witness");
        if witness.is_dir() {
            found.push(witness);
        }
    }
    found.sort();
    Ok(found)
}

/// Waits for a program that others wrote, and ends it with all that it started when its time is over or somebody stops it.
fn end_of(
    command: &mut Command,
    until: Instant,
    is_stopped: impl Fn() -> bool,
) -> Result<ExitStatus> {
    let mut child = command
        .process_group(0)
        .spawn()
        .context("start the auditor")?;
    loop {
        if let Some(status) = child.try_wait().context("wait for the auditor")? {
            return Ok(status);
        }
        let why = match (is_stopped(), clock::now() >= until) {
            (true, _) => "somebody interrupted the auditor",
            (false, true) => "the auditor did not end in the time that the drill has",
            (false, false) => {
                crate::down::wait(BEAT);
                continue;
            }
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Not waited for yet, so the number is still its own.
            kill_process_group(pid, Signal::KILL).ok();
        }
        child.wait().context("wait for the auditor")?;
        bail!(why);
    }
}

fn auditor(
    field: &Field<'_>,
    load: &Load,
    audit: &Audit,
    (address, witnesses): (SocketAddr, &[PathBuf]),
) -> Result<(PathBuf, Command)> {
    let own = field.folder.join(format!("{}-audit", load.name));
    std::fs::create_dir_all(&own).context("make the auditor's folder")?;
    let fill = |text: &str| text.replace("${folder}", &own.display().to_string());
    let Some((program, arguments)) = audit.command.split_first() else {
        bail!("there is no auditor");
    };
    let mut command = super::load::tethered(&super::load::found(program)?)?;
    command.args(arguments.iter().map(|word| fill(word)));
    for witness in witnesses {
        command.arg(&audit.each_witness).arg(witness);
    }
    let database = &audit.database;
    command
        .env("PGHOST", address.ip().to_string())
        .env("PGPORT", address.port().to_string())
        .env("PGUSER", mainstay_probe::ROLE)
        .env("PGDATABASE", database)
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", field.layout.roots())
        .env("PGPASSFILE", field.layout.password_file(database))
        .stdin(Stdio::null());
    Ok((PathBuf::from(fill(&audit.report)), command))
}

/// Classes of findings that have figures of their own, or that are no matter of the books.
const APART: [&str; 5] = ["lost", "duplicated", "altered", "invented", "unanswered"];

/// The classes of the auditor, in the words of the journal. It judges all flows that the books have seen.
fn of_report(report: &Value, is_content: bool) -> Figures {
    let source = "the auditor, over all flows of this platform";
    let classes = &report["classes"];
    let count = |name: &str, from: &[&str]| {
        let counts: Option<Vec<u64>> = from.iter().map(|name| classes[*name].as_u64()).collect();
        match counts {
            Some(counts) => value(name, counts.iter().sum(), UnitWord::Transactions, source),
            None => missing(name, UnitWord::Transactions, source, "it does not say"),
        }
    };
    let findings = report["findings"]["counts"].as_object();
    let found =
        |name: &str| findings.map(|counts| counts.get(name).and_then(Value::as_u64).unwrap_or(0));
    let others = findings.map(|counts| {
        let others = counts
            .iter()
            .filter(|(name, _)| !APART.contains(&name.as_str()));
        others.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
    });
    // It may be discontent with something that it counts nowhere.
    let is_told = findings.is_some_and(|counts| !counts.is_empty());
    let unsound = others.map(|others| others.max(u64::from(!is_content && !is_told)));
    let of_findings = |name: &str, count: Option<u64>, unit: UnitWord| match count {
        Some(count) => value(name, count, unit, source),
        None => missing(name, unit, source, "its report has no `findings.counts`"),
    };
    let lost = classes["lost"].as_u64();
    let lost_time = match lost {
        Some(0) => value("lost_time", 0, UnitWord::Us, source),
        _ => missing(
            "lost_time",
            UnitWord::Us,
            source,
            "it names what is lost, and not since when",
        ),
    };
    let values = vec![
        count("sent", &["intents"]),
        count(
            "acknowledged",
            &["acknowledged_present", "refused_present", "lost"],
        ),
        count(
            "acknowledged_present",
            &["acknowledged_present", "refused_present"],
        ),
        count("lost", &["lost"]),
        lost_time,
        count("unknown_present", &["unknown_present"]),
        count("unknown_absent", &["unknown_absent"]),
        count("unknown", &["unknown_present", "unknown_absent"]),
        count("unacknowledged_absent", &["refused_absent"]),
        count("duplicated", &["duplicated"]),
        count("altered", &["altered"]),
        of_findings("invented", found("invented"), UnitWord::Transactions),
        of_findings("unsound", unsound, UnitWord::Count),
    ];
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let examples = report["findings"]["examples"].as_array();
    for example in examples.into_iter().flatten().take(LISTED_MAX) {
        let class = example["class"].as_str().unwrap_or("finding");
        let text = example["text"].as_str().unwrap_or_default();
        lists
            .entry(class.to_owned())
            .or_default()
            .push(text.to_owned());
    }
    (values, lists)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figure(report: &Value, is_content: bool, name: &str) -> Option<u64> {
        let (values, _) = of_report(report, is_content);
        let found = values.iter().find(|measure| measure.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).value
    }

    /// One that hangs, and what it started, is ended when its time is over and when somebody interrupts.
    #[test]
    fn an_auditor_that_hangs_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let hang = |name: &str| {
            let mut command = Command::new("sh");
            // The inner one holds the file open for as long as it lives.
            command.args(["-c", "sleep 300 & echo $! > \"$0\"; wait"]);
            command.arg(folder.path().join(name));
            command
        };
        let begun = |name: &str| {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
            text.trim().parse::<i32>().ok().and_then(Pid::from_raw)
        };
        let is_gone = |name: &str| {
            let inner = begun(name).expect("it was begun");
            for _ in 0..600 {
                let stat =
                    std::fs::read_to_string(format!("/proc/{}/stat", inner.as_raw_nonzero()));
                if stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ")) {
                    return true;
                }
                crate::down::wait(BEAT);
            }
            false
        };
        let never = clock::now() + Duration::from_secs(300);
        let stopped = end_of(&mut hang("stopped"), never, || begun("stopped").is_some());
        let said = stopped.expect_err("it hangs").to_string();
        assert_eq!(said, "somebody interrupted the auditor");
        assert!(is_gone("stopped"));
        let until = clock::now() + Duration::from_secs(2);
        let late = end_of(&mut hang("late"), until, || false);
        let said = late.expect_err("it hangs").to_string();
        assert!(said.contains("in the time that the drill has"), "{said}");
        assert!(begun("late").is_none() || is_gone("late"));
        let ended = end_of(&mut Command::new("true"), never, || false);
        assert!(ended.expect("it ends").success());
    }

    /// A flow that begins in between was not looked at: its rows would count as invented.
    #[test]
    fn what_was_audited_while_a_flow_began_counts_for_nothing() {
        let flows = std::cell::RefCell::new(vec![PathBuf::from("one")]);
        let list = || Ok(flows.borrow().clone());
        let ask = |begins: Option<&'static str>| {
            let answer = unchanged(list, |listed| {
                flows.borrow_mut().extend(begins.map(PathBuf::from));
                Ok(Ok(listed.len()))
            });
            answer.expect("listed").ok()
        };
        assert_eq!(ask(None), Some(1));
        assert_eq!(ask(Some("two")), None);
        assert_eq!(ask(None), Some(2));
    }

    #[test]
    fn whatever_an_auditor_finds_has_a_figure() {
        let classes = json!({
            "intents": 9, "acknowledged_present": 8, "refused_present": 0, "lost": 0, "unknown_present": 1,
            "unknown_absent": 0, "refused_absent": 0, "duplicated": 2, "altered": 1,
        });
        let with = |findings: Value| json!({"classes": classes, "findings": findings});
        let clean = with(json!({"counts": {}, "examples": []}));
        let found = with(json!({
            "counts": {"duplicated": 2, "altered": 1, "invented": 3, "unbalanced": 4, "chain": 1, "unanswered": 7},
        }));
        for (report, is_content, name, expected) in [
            (&clean, true, "duplicated", Some(2)),
            (&clean, true, "altered", Some(1)),
            (&clean, true, "invented", Some(0)),
            (&clean, true, "unsound", Some(0)),
            // Discontent, and nobody knows with what.
            (&clean, false, "unsound", Some(1)),
            (&found, false, "invented", Some(3)),
            (&found, false, "unsound", Some(5)),
            // It does not say, so nobody knows.
            (&with(json!({})), true, "invented", None),
            (&with(json!({})), false, "unsound", None),
        ] {
            assert_eq!(
                figure(report, is_content, name),
                expected,
                "{name} of {report}"
            );
        }
    }
}
