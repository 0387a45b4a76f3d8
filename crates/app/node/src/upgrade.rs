//! This host's turn to take a new program.
//!
//! The node writes down what it tries and leaves; the machine process starts the new one, which adopts what
//! runs, replaces the host's own processes and looks whether all of it stands. PostgreSQL and the services
//! stay as they are. A node that is killed in the middle finds in the record how far it came. If the new node does
//! not even start, the machine process goes back ([`crate::machine`]).

use std::time::Duration;

use mainstay_kernel::{Outcome, Program};
use mainstay_record::process::InstanceStatus;
use mainstay_record::status::{DatabaseReason, Reason, Status, Verdict, WatchReason};
use mainstay_rt::clock;
use mainstay_view::Gathered;
use tokio::process::Command;

use crate::context::Context;
use crate::control::Desk;
use crate::program;

/// A platform that has been whole for so long stands.
const STANDS_FOR: Duration = Duration::from_secs(5);
/// A platform that is not whole by then does not.
const STANDS_WITHIN: Duration = Duration::from_secs(90);
const LOOK_PERIOD: Duration = Duration::from_millis(250);
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// Those of Mainstay's own processes that a host's supervision keeps.
const OWN_KINDS: [&str; 5] = ["keeper", "gateway", "archiver", "watch", "relay"];

/// What a node does next.
pub enum Turn {
    Answer(Outcome),
    /// Leave, so that the program in the record is started.
    Leave,
}

/// Takes the program, or finds out how far that came.
pub async fn take(desk: &Desk, context: &Context, program: &Program, effect: u64) -> Turn {
    let (layout, host) = (&context.layout, context.name());
    let known = match program::read(layout, host) {
        Ok(known) => known,
        Err(error) => return failed(format!("its record of programs: {error}")),
    };
    if let Some(refused) = known.refused.as_ref().filter(|r| r.effect == effect) {
        return failed(refused.why.clone());
    }
    let runs_it = context.program_digest.as_deref() == Some(program.digest.as_str());
    let on_trial = known.trial.as_ref().map(|trial| trial.effect) == Some(effect);
    match (on_trial, runs_it) {
        // Written down, but this is still the node of before.
        (true, false) => Turn::Leave,
        (true, true) => match stands(desk, context).await {
            Ok(()) => match program::settle(layout, host, &known) {
                Ok(()) => Turn::Answer(done(context, program)),
                Err(error) => failed(format!("it stands, but that cannot be kept: {error}")),
            },
            Err(why) => match program::go_back(layout, host, &known, &why) {
                Ok(()) => Turn::Leave,
                Err(error) => failed(format!("{why}; and it cannot go back: {error}")),
            },
        },
        (false, true) => Turn::Answer(done(context, program)),
        (false, false) => {
            if let Err(why) = begin(desk, context, program).await {
                return failed(why);
            }
            match program::begin_trial(layout, host, &known, &program.digest, effect) {
                Ok(()) => Turn::Leave,
                Err(error) => failed(error.to_string()),
            }
        }
    }
}

fn done(context: &Context, program: &Program) -> Outcome {
    Outcome::Done {
        detail: format!("{} runs {}", context.name(), program.version),
    }
}

fn failed(why: String) -> Turn {
    Turn::Answer(Outcome::Failed { why })
}

/// Nothing is tried on a platform that does not stand already, nor with a program that does not start.
async fn begin(desk: &Desk, context: &Context, program: &Program) -> Result<(), String> {
    let deadline = clock::now() + STANDS_WITHIN;
    while let Some(why) = ails(desk, context) {
        if clock::now() >= deadline {
            return Err(format!("before anything was changed: {why}"));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    let path =
        program::check(&context.layout, &program.digest).map_err(|error| error.to_string())?;
    let asked = Command::new(&path)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let said = match tokio::time::timeout(VERSION_LIMIT, asked).await {
        Ok(Ok(output)) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(Ok(output)) => {
            return Err(format!(
                "`{} --version` ended with {}",
                path.display(),
                output.status
            ));
        }
        Ok(Err(error)) => return Err(format!("{} cannot be started: {error}", path.display())),
        Err(_) => return Err(format!("`{} --version` did not answer", path.display())),
    };
    if said == program.version {
        Ok(())
    } else {
        Err(format!(
            "it calls itself {said:?}, not {:?}",
            program.version
        ))
    }
}

/// Waits until all has stood for a while with the new program; why not, if that does not come.
async fn stands(desk: &Desk, context: &Context) -> Result<(), String> {
    let deadline = clock::now() + STANDS_WITHIN;
    let mut since = None;
    loop {
        if let Some(why) = crash_loop(desk) {
            return Err(why);
        }
        let ailing = old_process(desk, context).or_else(|| ails(desk, context));
        let now = clock::now();
        match ailing {
            None => {
                let since = *since.get_or_insert(now);
                if now.since(since) >= STANDS_FOR {
                    return Ok(());
                }
            }
            Some(why) if now >= deadline => return Err(why),
            Some(_) => since = None,
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

fn own(desk: &Desk) -> Vec<InstanceStatus> {
    let mut instances = desk.supervisor.status();
    instances.retain(|instance| {
        let kind = instance.labels.get("kind");
        kind.is_some_and(|kind| OWN_KINDS.contains(&kind.as_str()))
    });
    instances
}

/// What ends again and again is not waited for.
fn crash_loop(desk: &Desk) -> Option<String> {
    let mut own = own(desk).into_iter();
    let falls = own.find(|instance| instance.phase == "crash_loop")?;
    Some(format!(
        "{} ends again and again: {}",
        falls.instance, falls.why
    ))
}

/// One of this host's own processes that does not run the new program, or does not run.
fn old_process(desk: &Desk, context: &Context) -> Option<String> {
    let path = context.program.display().to_string();
    for instance in own(desk) {
        let Some(process) = instance.process else {
            return Some(format!(
                "{} is {}: {}",
                instance.instance, instance.phase, instance.why
            ));
        };
        let words = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        if !words
            .split(|byte| *byte == 0)
            .take(2)
            .any(|word| word == path.as_bytes())
        {
            return Some(format!(
                "{} still runs the program of before",
                instance.instance
            ));
        }
        if !instance.ready {
            return Some(format!(
                "{} is {}: {}",
                instance.instance, instance.phase, instance.why
            ));
        }
    }
    None
}

/// What is wrong with the platform as this node sees it.
fn ails(desk: &Desk, context: &Context) -> Option<String> {
    let gathered = desk.gathered();
    let seen = Gathered::of_node(
        &context.platform,
        context.slot(),
        clock::wall_ms(),
        gathered,
    );
    let status = mainstay_view::status(&seen);
    if is_up(&status) {
        return None;
    }
    Some(status.findings.first().map_or_else(
        || "the platform is not healthy".to_owned(),
        |found| format!("{}: {}", found.subject, found.text),
    ))
}

/// Healthy, or degraded by nothing but where the primary lives and how it is put away, which no waiting changes, and by
/// alerts, which tell what was the case before.
pub fn is_up(status: &Status) -> bool {
    let is_lasting = |reason: &Reason| {
        matches!(
            reason,
            Reason::Database(DatabaseReason::PrimaryAway { .. } | DatabaseReason::Archive(_))
                | Reason::Watch(WatchReason::Fires { .. } | WatchReason::Missing { .. })
        )
    };
    status.verdict == Verdict::Healthy
        || status
            .findings
            .iter()
            .all(|found| is_lasting(&found.reason))
}
