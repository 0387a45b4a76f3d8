//! `mainstay drill …`: documents read, runs carried out, told and shown. What is decided stands elsewhere: the figures in
//! the crate of recovery, the verdict in the kernel.

mod archive;
mod audit;
mod load;
mod measure;
mod results;
mod run;
mod show;
mod step;
mod tell;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use mainstay_drill::document::{Act, Document, Source, Wait, written};
use mainstay_drill::{Finding, render, schema, table_of};
use mainstay_node::digest_of;
use mainstay_record::drill::{
    DrillAdoptionRecord, DrillAskRecord, DrillScheduleRecord, SignatureWord,
};
use mainstay_record::node::Command;
use mainstay_rt::files;
use mainstay_yaml::FILE_BYTES_MAX;

use crate::arguments::ProbeProcess;
use crate::arguments::drill::{Adopt, Check, Confirm, Drill, Plan, Sign, Withdraw};
use crate::client::{command, find};
use crate::exit::{Failure, Outcome};
use crate::print::{self, json, line, problem};
use crate::validate::read_valid;

pub fn run(command: &Drill) -> Outcome {
    match command {
        Drill::Check(arguments) => check(arguments),
        Drill::Schema => json(&schema()),
        Drill::Plan(arguments) => plan(arguments),
        Drill::Adopt(arguments) => adopt(arguments),
        Drill::Withdraw(arguments) => withdraw(arguments),
        Drill::Run(arguments) => run::run(arguments),
        Drill::Confirm(arguments) => confirm(arguments),
        Drill::Sign(arguments) => sign(arguments),
        Drill::List(arguments) => show::list(arguments),
        Drill::Show(arguments) => show::show(arguments),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| {
        let path = path.display();
        Failure::Usage(format!(
            "{path}: {why}\n  next: give the path of a drill document"
        ))
    };
    let bytes =
        files::read_limited(path, FILE_BYTES_MAX as u64).map_err(|e| unreadable(e.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(format!("not UTF-8: {error}")))
}

/// A document with everything that is wrong with it.
fn read_all(path: &Path) -> Result<(Result<Document, Vec<Finding>>, String), Failure> {
    let text = text(path)?;
    let table = table_of(&text).and_then(|table| {
        let beside = path.parent().unwrap_or(Path::new(".")).join(table);
        let bytes = files::read_limited(&beside, FILE_BYTES_MAX as u64).ok()?;
        String::from_utf8(bytes).ok()
    });
    let read = mainstay_drill::load(&path.display().to_string(), &text, table.as_deref());
    Ok((read, text))
}

fn read(path: &Path) -> Result<(Document, String), Failure> {
    let (read, text) = read_all(path)?;
    match read {
        Ok(document) => Ok((document, text)),
        Err(findings) => Err(Failure::Usage(render(&findings).trim_end().to_owned())),
    }
}

fn check(arguments: &Check) -> Outcome {
    let platform = match &arguments.platform_file {
        Some(file) => Some(read_valid(file)?.0),
        None => None,
    };
    let mut findings = Vec::new();
    for path in &arguments.files {
        match read_all(path)?.0 {
            Err(found) => findings.extend(found),
            Ok(document) => {
                let found = platform
                    .as_ref()
                    .map_or_else(Vec::new, |platform| run::objections(&document, platform));
                findings.extend(found.into_iter().map(|problem| Finding {
                    file: path.display().to_string(),
                    place: mainstay_yaml::Place { line: 1, column: 1 },
                    path: String::new(),
                    code: "platform",
                    problem,
                    help: String::new(),
                }));
            }
        }
    }
    if arguments.json {
        let form = |finding: &Finding| {
            serde_json::json!({
                "file": finding.file, "line": finding.place.line, "column": finding.place.column,
                "path": finding.path, "code": finding.code, "problem": finding.problem, "help": finding.help,
            })
        };
        let findings: Vec<serde_json::Value> = findings.iter().map(form).collect();
        json(&serde_json::json!({ "version": 1, "findings": findings }))?;
    } else if findings.is_empty() {
        line("nothing to say")?;
    } else {
        problem(render(&findings).trim_end());
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Failure::Finding(print::findings(count))),
    }
}

/// What of the platform file a document names: regions, databases, objectives.
fn names(document: &Document) -> Vec<(&'static str, &str)> {
    let mut names: Vec<(&'static str, &str)> = Vec::new();
    for load in &document.loads {
        if let Source::Probe { database, .. } = &load.source {
            names.push(("database", database));
        }
        names.extend(
            load.audit
                .iter()
                .map(|audit| ("database", audit.database.as_str())),
        );
    }
    for budget in &document.budgets {
        names.push(("objective", &budget.objective));
    }
    for step in &document.steps {
        match &step.act {
            Act::Wait(Wait::Primary { database, region } | Wait::Away { database, region }) => {
                names.extend([("database", database.as_str()), ("region", region)]);
            }
            Act::Switchover { database, to } | Act::FailBack { database, to } => {
                names.extend([("database", database.as_str()), ("region", to)]);
            }
            Act::Lose { region, .. } => names.push(("region", region)),
            Act::Wait(Wait::Backup { database, .. })
            | Act::BackUp { database, .. }
            | Act::CorruptBackup { database }
            | Act::Restore { database, .. } => names.push(("database", database)),
            Act::Wait(Wait::Time(_) | Wait::Whole | Wait::Served(_) | Wait::Query(_))
            | Act::Inject { .. }
            | Act::Heal
            | Act::Person { .. } => {}
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn plan(arguments: &Plan) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let platform = read_valid(&layout.platform_file())?.0;
    let (document, text) = read(&arguments.file)?;
    let objections = run::objections(&document, &platform);
    let shown = tell::shown(&layout)?;
    let digest = digest_of(text.as_bytes());
    let is_adopted = |adopted: &&mainstay_record::drill::AdoptedShown| adopted.digest == digest;
    let approved = shown.adopted.iter().find(is_adopted);
    if arguments.json {
        let steps: Vec<serde_json::Value> = document
            .steps
            .iter()
            .map(|step| serde_json::json!({ "id": step.id, "what": step.what(), "limit_ms": step.limit.as_millis() }))
            .collect();
        return json(&serde_json::json!({
            "version": 1, "drill": document.name, "digest": digest, "steps": steps, "objections": objections,
            "approved": approved.map(|adopted| adopted.position),
        }));
    }
    line(format_args!("{}: {}", document.name, document.title))?;
    line(format_args!("  {}", document.severe))?;
    for assumption in &document.assumptions {
        line(format_args!("  assumed: {assumption}"))?;
    }
    match approved {
        Some(adopted) => line(format_args!(
            "  approved: entry {} put this text in force",
            adopted.position
        ))?,
        None => line("  not approved: this text is not in force (`mainstay drill adopt`)")?,
    }
    let regions = platform.regions().len();
    let clients = run::clients_of(&document, regions);
    line(format_args!(
        "  load: {} loads in {clients} processes",
        document.loads.len()
    ))?;
    for step in &document.steps {
        let hurts = if step.hurts() {
            "  (clients notice)"
        } else {
            ""
        };
        line(format_args!(
            "  {}: {}, within {}{hurts}",
            step.id,
            step.what(),
            written(step.limit)
        ))?;
    }
    for objection in &objections {
        line(format_args!("  cannot be run here: {objection}"))?;
    }
    match objections.len() {
        0 => Ok(()),
        count => Err(Failure::Finding(print::findings(count))),
    }
}

fn adopt(arguments: &Adopt) -> Outcome {
    let (document, text) = read(&arguments.file)?;
    let path = std::path::absolute(&arguments.file).context("where the document stands")?;
    let path = path.display().to_string();
    let adoption = DrillAdoptionRecord {
        name: document.name,
        digest: digest_of(text.as_bytes()),
        text,
        schedule: document.schedule.map(|schedule| DrillScheduleRecord {
            cron: schedule.cron,
            within_ms: u64::try_from(schedule.within.as_millis()).unwrap_or(u64::MAX),
            starts_from: schedule.unattended.then_some(path),
        }),
    };
    let ask = DrillAskRecord::Adopt(Box::new(adoption));
    command(&arguments.act, Command::Drill(ask))
}

fn withdraw(arguments: &Withdraw) -> Outcome {
    let name = arguments.drill.clone();
    command(
        &arguments.act,
        Command::Drill(DrillAskRecord::Withdraw { name }),
    )
}

fn confirm(arguments: &Confirm) -> Outcome {
    let ask = DrillAskRecord::Confirm {
        drill: arguments.drill.clone(),
        step: arguments.step.clone(),
    };
    command(&arguments.act, Command::Drill(ask))
}

fn sign(arguments: &Sign) -> Outcome {
    let ask = DrillAskRecord::Sign {
        drill: arguments.drill.clone(),
        signature: match arguments.refuse {
            true => SignatureWord::Refused,
            false => SignatureWord::Accepted,
        },
    };
    command(&arguments.act, Command::Drill(ask))
}

pub use load::tether;

/// One writer of a drill, as a process of its own.
pub fn probe(arguments: &ProbeProcess) -> ExitCode {
    let login = mainstay_probe::Login::new(
        arguments.to.clone(),
        &arguments.database,
        &arguments.password_file,
        &arguments.roots,
    );
    let written = login.and_then(|login| {
        mainstay_probe::write(mainstay_probe::Probe {
            login,
            run: arguments.run.clone(),
            writer: arguments.writer,
            rate: arguments.rate,
            lasts: Duration::from_secs(arguments.seconds),
            witness: arguments.witness.clone(),
        })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            problem(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
