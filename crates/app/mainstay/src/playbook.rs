//! `mainstay playbook …`: texts criticised, and commands and questions for the nodes. Nothing is decided here.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http::{Method, StatusCode};
use mainstay_derive::Layout;
use mainstay_manifest::{
    Diagnostic, FILE_BYTES_MAX, criticise_playbook, due_times, playbook_schema, render,
    render_criticism, render_json, unknown_alerts,
};
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_record::playbook::{
    DryRun, DryRunRequest, PlaybookAsk, PlaybookShown, PlaybooksShown, RunShown, ValuesRecord,
};
use mainstay_report::day_and_time;
use mainstay_rt::{clock, files};
use mainstay_view::beside_lines;
use serde::de::DeserializeOwned;

use crate::arguments::playbook as arguments;
use crate::client::{ask_best_with, command, find, send};
use crate::exit::{Failure, Outcome};
use crate::print::{self, json, line, problem, progress, time_of_day};
use crate::rule_files;
use crate::validate::read_valid;

const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at a run.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// So long nothing is seen of a run that is looked at: a leader is lost, or whoever answers has not read of it yet.
const UNSEEN_LIMIT: Duration = Duration::from_secs(60);
/// So many runs that ended are listed.
const ENDED_LISTED: usize = 10;
/// So many moments of a schedule are told.
const TIMES_SHOWN: usize = 3;

pub fn run(command: &arguments::Playbook) -> Outcome {
    use arguments::Playbook;
    match command {
        Playbook::Check(arguments) => check(arguments),
        Playbook::Schema => json(&playbook_schema()),
        Playbook::Adopt(arguments) => adopt(arguments),
        Playbook::Withdraw(one) => ask(
            &one.act,
            PlaybookAsk::Withdraw {
                playbook: one.id.clone(),
            },
        ),
        Playbook::DryRun(arguments) => dry_run(arguments),
        Playbook::Run(arguments) => follow(arguments),
        Playbook::Approve(one) => ask(
            &one.act,
            PlaybookAsk::Approve {
                run: one.id.clone(),
            },
        ),
        Playbook::Abort(arguments) => ask(
            &arguments.act,
            PlaybookAsk::Abort {
                run: arguments.run.clone(),
                undo: arguments.undo,
            },
        ),
        Playbook::List(look) => list(look),
        Playbook::Show(arguments) => show(arguments),
    }
}

fn ask(act: &crate::arguments::Act, ask: PlaybookAsk) -> Outcome {
    command(act, Command::Playbook(ask))
}

fn text(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| {
        Failure::Usage(format!(
            "{}: {why}\n  next: give the path of a playbook",
            path.display()
        ))
    };
    let bytes =
        files::read_limited(path, FILE_BYTES_MAX as u64).map_err(|e| unreadable(e.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(format!("not UTF-8: {error}")))
}

fn check(arguments: &arguments::Check) -> Outcome {
    let platform = match &arguments.platform {
        Some(file) => Some(read_valid(file)?.0),
        None => None,
    };
    let alerts = match (&platform, &arguments.platform) {
        (Some(platform), Some(file)) => rule_files::alerts(platform, file)?,
        _ => None,
    };
    let (mut errors, mut findings) = (Vec::new(), Vec::new());
    for path in &arguments.files {
        let shown = path.display().to_string();
        let text = text(path)?;
        match criticise_playbook(&shown, &text, platform.as_ref()) {
            Ok(found) => findings.extend(found),
            Err(found) => {
                errors.extend(found);
                continue;
            }
        }
        if let Some(alerts) = &alerts {
            findings.extend(unknown_alerts(&shown, &text, alerts).unwrap_or_default());
        }
    }
    let all: Vec<Diagnostic> = errors.iter().chain(&findings).cloned().collect();
    if arguments.json {
        json(&render_json(&all))?;
    } else if all.is_empty() {
        line("nothing to say")?;
    } else {
        let text = render(&errors) + &render_criticism(&findings);
        problem(text.trim_end());
    }
    if !arguments.json {
        arguments.files.iter().try_for_each(|path| times(path))?;
    }
    match all.len() {
        0 => Ok(()),
        count => Err(Failure::Finding(print::findings(count))),
    }
}

/// When a playbook's schedules are due next; of one that cannot be read, its errors tell enough.
fn times(path: &Path) -> Outcome {
    let Ok(book) = mainstay_manifest::load_playbook(&path.display().to_string(), &text(path)?)
    else {
        return Ok(());
    };
    for (cron, moments) in due_times(&book, clock::wall_ms(), TIMES_SHOWN) {
        let moments: Vec<String> = moments.into_iter().map(day_and_time).collect();
        let moments = moments.join(", ");
        line(format_args!("{}: `{cron}` is due {moments}", book.name))?;
    }
    Ok(())
}

/// Every file is read before the first is put in force.
fn adopt(arguments: &arguments::Adopt) -> Outcome {
    let mut texts = Vec::new();
    for path in &arguments.files {
        let text = text(path)?;
        mainstay_manifest::load_playbook(&path.display().to_string(), &text)
            .map_err(|diagnostics| Failure::Finding(render(&diagnostics)))?;
        texts.push(text);
    }
    for text in texts {
        let ask_adopt = PlaybookAsk::Adopt { text, named: false };
        ask(&arguments.act, ask_adopt)?;
    }
    Ok(())
}

fn values(arguments: &arguments::Values) -> Result<ValuesRecord, Failure> {
    let pairs = arguments.set.iter().map(|text| {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Failure::Usage(format!(
                "--set {text}: write NAME=VALUE, as in region=eu-west-1"
            ))
        })?;
        Ok((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn fetch<T: DeserializeOwned>(
    layout: &Layout,
    method: Method,
    target: &str,
    body: Vec<u8>,
) -> Result<T, Failure> {
    let (status, body) = ask_best_with(layout, method, target, body, LIMIT)?;
    if status != StatusCode::OK
        && let Ok(CommandOutcome::Refused { code, why, next }) = serde_json::from_slice(&body)
    {
        return Err(Failure::Refused { code, why, next });
    }
    serde_json::from_slice(&body)
        .with_context(|| format!("read the answer: {}", String::from_utf8_lossy(&body)))
        .map_err(Failure::from)
}

/// Playbooks in force, and runs.
pub fn all(layout: &Layout) -> Result<PlaybooksShown, Failure> {
    fetch(layout, Method::GET, "/v1/playbooks", Vec::new())
}

fn dry_run(arguments: &arguments::DryRun) -> Outcome {
    let (_, layout) = find(&arguments.look.platform)?;
    let path = Path::new(&arguments.playbook);
    let is_file = path.is_file();
    let request = DryRunRequest {
        playbook: (!is_file).then(|| arguments.playbook.clone()),
        text: is_file.then(|| text(path)).transpose()?,
        values: values(&arguments.values)?,
    };
    let body = serde_json::to_vec(&request).context("write the question")?;
    let shown: DryRun = fetch(&layout, Method::POST, "/v1/playbooks/dry-run", body)?;
    match arguments.look.json {
        true => json(&shown),
        false => print_dry_run(&shown),
    }
}

fn print_dry_run(shown: &DryRun) -> Outcome {
    line(format_args!(
        "{} version {}: a trigger would meet the mode {}; {} approvals by hand",
        shown.playbook, shown.playbook_version, shown.mode_now, shown.approvals
    ))?;
    for (name, value) in &shown.values {
        line(format_args!("  {name} = {value}"))?;
    }
    let targets = match shown.targets.is_empty() {
        true => "nothing".to_owned(),
        false => shown.targets.join(", "),
    };
    line(format_args!("would touch: {targets}"))?;
    for found in &shown.guardrails {
        let (verdict, guardrail, why) = (&found.verdict, &found.guardrail, &found.why);
        line(format_args!("  {verdict:<8} {guardrail}: {why}"))?;
    }
    for step in &shown.steps {
        let (verdict, id, effect) = (&step.verdict, &step.id, &step.effect);
        line(format_args!("  {verdict:<8} {id}: {effect}"))?;
        for condition in &step.conditions {
            line(format_args!("             {condition}"))?;
        }
        if let Some(compensation) = &step.compensation {
            line(format_args!("             undone by: {compensation}"))?;
        }
    }
    Ok(())
}

fn follow(arguments: &arguments::Run) -> Outcome {
    let ask_run = PlaybookAsk::Run {
        playbook: arguments.playbook.clone(),
        values: values(&arguments.values)?,
    };
    if !arguments.wait {
        return ask(&arguments.act, ask_run);
    }
    let (_, layout) = find(&arguments.act.platform)?;
    let outcome = send(&layout, Command::Playbook(ask_run), &arguments.act.reason)?;
    let id = match outcome {
        // `run r1 …`
        CommandOutcome::Done { detail, .. } => detail.split(' ').nth(1).unwrap_or("").to_owned(),
        CommandOutcome::Refused { code, why, next } => {
            return Err(Failure::Refused { code, why, next });
        }
        CommandOutcome::Unknown { why, .. } => return Err(Failure::Unknown { why }),
    };
    let run = watch(&layout, &id, arguments.act.json)?;
    if arguments.act.json {
        json(&run)?;
    } else {
        line(format_args!("run {id} {}: {}", run.phase, run.why))?;
    }
    match run.phase.as_str() {
        "done" | "observed" => Ok(()),
        phase => Err(Failure::Finding(format!("run {id} is {phase}"))),
    }
}

/// Shows what happens to a run until it has ended or waits for a person.
fn watch(layout: &Layout, id: &str, quiet: bool) -> Result<RunShown, Failure> {
    let (mut shown, mut seen) = (0, clock::now());
    loop {
        let run = match all(layout).and_then(|state| found_run(state, id)) {
            Ok(run) => run,
            Err(Failure::NoAnswer { .. } | Failure::Usage(_))
                if clock::now().since(seen) < UNSEEN_LIMIT =>
            {
                crate::down::wait(LOOK_PERIOD);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        seen = clock::now();
        for told in run.seen.iter().skip(shown).filter(|_| !quiet) {
            let step = told.step.as_deref().unwrap_or("-");
            progress(format_args!(
                "{} {step}: {}",
                time_of_day(told.at_ms),
                told.text
            ));
        }
        // Whoever answered now may know less than who did before.
        shown = shown.max(run.seen.len());
        let is_over = !matches!(
            run.phase.as_str(),
            "approved" | "next" | "acting" | "looking" | "undoing"
        );
        if is_over {
            return Ok(run);
        }
        crate::down::wait(LOOK_PERIOD);
    }
}

fn found_run(state: PlaybooksShown, id: &str) -> Result<RunShown, Failure> {
    let mut runs = state.runs.into_iter().chain(state.ended);
    runs.find(|run| run.run == id).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no playbook and no run {id}\n  next: `mainstay playbook list` shows them"
        ))
    })
}

fn list(look: &crate::arguments::Look) -> Outcome {
    let (_, layout) = find(&look.platform)?;
    let shown = all(&layout)?;
    if look.json {
        return json(&shown);
    }
    if shown.playbooks.is_empty() {
        line(
            "no playbook is in force; `mainstay playbook adopt FILE --reason …` puts one in force",
        )?;
    }
    for book in &shown.playbooks {
        let (name, version, mode) = (&book.name, book.version, &book.mode_now);
        let named = if book.named {
            ", of the platform file"
        } else {
            ""
        };
        line(format_args!(
            "{name} version {version} ({mode}{named}): {}",
            book.summary
        ))?;
    }
    let ended = shown.ended.iter().take(ENDED_LISTED);
    for run in shown.runs.iter().chain(ended) {
        print_run_line(run)?;
    }
    for set in beside_lines(&shown.beside) {
        line(format_args!("{set}"))?;
    }
    Ok(())
}

fn print_run_line(run: &RunShown) -> Outcome {
    let (id, playbook, phase) = (&run.run, &run.playbook, &run.phase);
    let values = run
        .values
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let values = values.collect::<Vec<_>>().join(" ");
    let at = time_of_day(run.since_ms);
    line(format_args!(
        "  {id} {phase:<8} {at} {playbook} {values}: {}",
        run.why
    ))
}

fn show(arguments: &arguments::Show) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let shown = all(&layout)?;
    let book = shown
        .playbooks
        .iter()
        .find(|book| book.name == arguments.id);
    if let Some(book) = book {
        return match arguments.json {
            true => json(book),
            false => print_book(book),
        };
    }
    let run = found_run(shown, &arguments.id)?;
    match arguments.json {
        true => json(&run),
        false => print_run(&run),
    }
}

fn print_book(book: &PlaybookShown) -> Outcome {
    line(format_args!(
        "{} version {}: {}",
        book.name, book.version, book.summary
    ))?;
    line(format_args!(
        "  mode {} (now {}); {} runs, the last {} in a row went well",
        book.mode, book.mode_now, book.runs, book.successes
    ))?;
    let named = match book.named {
        true => ", as the platform file names it",
        false => "",
    };
    line(format_args!(
        "  text {} put in force by {}{named}",
        book.digest, book.by
    ))?;
    let parts = [
        ("trigger", &book.triggers),
        ("parameter", &book.parameters),
        ("step", &book.steps),
    ];
    for (word, texts) in parts {
        for text in texts {
            line(format_args!("  {word} {text}"))?;
        }
    }
    if let Some(due_ms) = book.due_ms {
        line(format_args!("  due {}", day_and_time(due_ms)))?;
    }
    Ok(())
}

fn print_run(run: &RunShown) -> Outcome {
    print_run_line(run)?;
    line(format_args!(
        "  follows {} version {} ({}); because of {}",
        run.playbook, run.playbook_version, run.digest, run.origin
    ))?;
    if !run.targets.is_empty() {
        line(format_args!("  reserved: {}", run.targets.join(", ")))?;
    }
    for seen in &run.seen {
        let step = seen.step.as_deref().unwrap_or("-");
        line(format_args!(
            "  {} {step}: {}",
            time_of_day(seen.at_ms),
            seen.text
        ))?;
    }
    Ok(())
}
