//! Chaos on the command line: documents checked, planned, run. What is decided stands elsewhere: the judgement in the
//! crate of documents, the verdict in the kernel.

pub mod ask;
mod bench;
mod follow;
mod run;

use std::path::Path;

use mainstay_chaos::document::Document;
use mainstay_chaos::finding::{Code, Finding, render, repaired};
use mainstay_chaos::inventory::Inventory;
use mainstay_chaos::judge::{Bench, Fidelity, Judgement};
use mainstay_chaos::{Checked, check};
use mainstay_model::Platform;
use mainstay_rt::files;
use mainstay_yaml::FILE_BYTES_MAX;

use crate::arguments::{Chaos, ChaosCheck, Look};
use crate::client::{find, look};
use crate::exit::{Failure, Outcome};
use crate::print::{self, json, line, picture, problem, time_of_day};
use crate::validate::read_valid;

pub fn run(command: &Chaos) -> Outcome {
    match command {
        Chaos::Check(arguments) => examine(arguments),
        Chaos::Plan(arguments) => bench::show(arguments),
        Chaos::Run(arguments) => run::all(arguments),
        Chaos::Stop(arguments) => run::stop(arguments),
        Chaos::List(arguments) => list(arguments),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| {
        let path = path.display();
        Failure::Usage(format!(
            "{path}: {why}\n  next: give the path of a file with chaos documents"
        ))
    };
    let bytes =
        files::read_limited(path, FILE_BYTES_MAX as u64).map_err(|e| unreadable(e.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(format!("not UTF-8: {error}")))
}

fn examine(arguments: &ChaosCheck) -> Outcome {
    let platform = match &arguments.platform_file {
        Some(file) => Some(read_valid(file)?.0),
        None => None,
    };
    let mut findings = Vec::new();
    for path in &arguments.files {
        let (name, text) = (path.display().to_string(), text(path)?);
        let mut checked = check(&name, &text);
        if arguments.repair {
            picture(repaired(&text, &checked.findings))?;
        }
        if let Some(platform) = &platform {
            let mut impossible = Vec::new();
            for (document, judgement) in judge_all(platform, &checked) {
                if !arguments.json && !arguments.repair {
                    line(judgement.told(&document.subject()))?;
                }
                impossible.extend(cannot(&name, document, &judgement));
            }
            checked.findings.extend(impossible);
        }
        findings.extend(checked.findings);
    }
    if arguments.repair {
        return Ok(());
    }
    if arguments.json {
        let findings: Vec<serde_json::Value> = findings.iter().map(form).collect();
        json(&serde_json::json!({ "version": 1, "findings": findings }))?;
    } else if findings.is_empty() {
        line("nothing to say")?;
    } else {
        problem(render(&findings).trim_end());
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Finding(print::findings(findings.len())))
    }
}

/// Every chaos of a file, judged as the platform would begin.
fn judge_all<'a>(platform: &Platform, checked: &'a Checked) -> Vec<(&'a Document, Judgement)> {
    let inventory = Inventory::of(platform, None);
    let bench = Bench {
        platform,
        inventory: &inventory,
        seed: 1,
    };
    let documents = checked.documents.iter();
    let chaos = documents.flat_map(|document| {
        let chaos = document.chaos().into_iter();
        chaos.map(move |chaos| (document, chaos))
    });
    chaos
        .map(|(document, chaos)| (document, bench.judge(chaos)))
        .collect()
}

fn cannot(file: &str, document: &Document, judgement: &Judgement) -> Option<Finding> {
    let Fidelity::Refused(why) = &judgement.fidelity else {
        return None;
    };
    let (code, repair) = match judgement.meant {
        0 => (
            Code::MeetsNothing,
            "select what there is, or give the platform's services these labels (`chaos:` of the platform file)",
        ),
        _ => (Code::NotPossible, "run it on a cluster, or leave it out"),
    };
    Some(Finding {
        file: file.to_owned(),
        place: document.place,
        subject: document.subject(),
        code,
        reason: why.clone(),
        repair: repair.to_owned(),
        edit: None,
    })
}

fn form(finding: &Finding) -> serde_json::Value {
    serde_json::json!({
        "file": finding.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "subject": finding.subject,
        "code": finding.code.name(),
        "error": finding.code.is_error(),
        "reason": finding.reason,
        "repair": finding.repair,
    })
}

fn list(arguments: &Look) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let gathered = look(&layout)?;
    if arguments.json {
        return json(&gathered.experiment);
    }
    let Some(running) = gathered.experiment else {
        return line(
            "no experiment runs; `mainstay journal show --kind experiment` has those that ran",
        );
    };
    line(format_args!(
        "{} {} ({}) since {}, seed {}: {}\n  observations: {} held, {} violated, {} missing; ended by {} at the latest",
        running.experiment,
        running.plan.name,
        running.phase,
        time_of_day(running.since_ms),
        running.plan.seed,
        running.plan.hypothesis,
        running.held,
        running.violated,
        running.missing,
        time_of_day(running.until_ms)
    ))
}
