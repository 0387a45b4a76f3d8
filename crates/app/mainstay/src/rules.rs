//! Rule files on the command line: checked, tested, criticised. Nothing is decided here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mainstay_promql::number::parse;
use mainstay_rt::files;
use mainstay_rules::file::{Group, read};
use mainstay_rules::lint::{Finding, Known, lint, render};
use mainstay_rules::unit::Suite;
use mainstay_yaml::FILE_BYTES_MAX;

use crate::arguments::{Rules, RulesLint};
use crate::exit::{Failure, Outcome};
use crate::glob;
use crate::print::{self, json, line, problem};

pub fn run(command: &Rules) -> Outcome {
    match command {
        Rules::Check(arguments) => check(&arguments.files),
        Rules::Test(arguments) => test(&arguments.files),
        Rules::Lint(arguments) => criticise(arguments),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| {
        let path = path.display();
        Failure::Usage(format!(
            "{path}: {why}\n  next: give the path of a file with rules"
        ))
    };
    let bytes =
        files::read_limited(path, FILE_BYTES_MAX as u64).map_err(|e| unreadable(e.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(format!("not UTF-8: {error}")))
}

/// Groups of all files; every problem of every file, if there is one.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Group>, Failure> {
    let mut groups = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match read(&path.display().to_string(), &text(path)?) {
            Ok(found) => groups.extend(found),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    if problems.is_empty() {
        Ok(groups)
    } else {
        Err(Failure::Finding(problems.join("\n")))
    }
}

fn check(paths: &[PathBuf]) -> Outcome {
    let groups = load(paths)?;
    let rules = groups.iter().flat_map(|group| &group.rules);
    let alerts = rules.clone().filter(|rule| rule.alert().is_some()).count();
    let all = rules.count();
    line(format_args!(
        "valid: {} groups, {alerts} alerting and {} recording rules",
        groups.len(),
        all - alerts
    ))
}

fn test(paths: &[PathBuf]) -> Outcome {
    let (mut failed, mut run) = (Vec::new(), 0);
    for path in paths {
        let suite = Suite::read(&path.display().to_string(), &text(path)?)
            .map_err(|failure| Failure::Finding(failure.to_string()))?;
        let groups = load(&rule_files(path, &suite.rule_files)?)?;
        run += suite.len();
        failed.extend(suite.run(&groups).iter().map(ToString::to_string));
    }
    if failed.is_empty() {
        return line(format_args!("passed: {run} tests"));
    }
    Err(Failure::Finding(failed.join("\n")))
}

/// Rule files are named from where the test stands, by themselves or by a pattern.
fn rule_files(suite: &Path, named: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let folder = suite.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for named in named {
        let unusable = |why: String| {
            let suite = suite.display();
            Failure::Usage(format!(
                "{suite}: rule_files: {named}: {why}\n  next: name rule files from where the tests stand"
            ))
        };
        let files = glob::expand(&folder.join(named));
        let files = files.map_err(|error| unusable(error.to_string()))?;
        if files.is_empty() {
            return Err(unusable("no file fits this pattern".to_owned()));
        }
        found.extend(files);
    }
    Ok(found)
}

fn criticise(arguments: &RulesLint) -> Outcome {
    let groups = load(&arguments.files.files)?;
    let mut known = Known {
        buckets: BTreeMap::new(),
    };
    for buckets in &arguments.buckets {
        let (name, bounds) = buckets.split_once('=').unwrap_or((buckets, ""));
        let bounds: Option<Vec<f64>> = bounds.split(',').map(|bound| parse(bound.trim())).collect();
        let Some(bounds) = bounds else {
            return Err(Failure::Usage(format!(
                "--buckets {buckets}: write HISTOGRAM=BOUND,BOUND, as in order_seconds=0.1,0.5,1"
            )));
        };
        known.buckets.insert(name.to_owned(), bounds);
    }
    let findings = lint(&groups, &known);
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

fn form(finding: &Finding) -> serde_json::Value {
    serde_json::json!({
        "file": finding.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "rule": finding.rule,
        "code": finding.code.name(),
        "reason": finding.reason,
        "repair": finding.repair,
    })
}
