//! This host's turn to take a new program.
//!
//! The node writes down what it tries and leaves; the machine process starts the new one, which adopts what
//! runs, replaces the host's own processes and looks whether all of it stands. PostgreSQL and the services
//! stay as they are. A node that is killed in the middle finds in the record how far it came. If the new node does
//! not even start, the machine process goes back ([`crate::machine`]).

use std::time::Duration;

use mainstay_kernel::{Outcome, Program};
use mainstay_record::node::Trial;
use mainstay_record::process::InstanceStatus;
use mainstay_record::status::{
    DatabaseReason, DatabaseStatus, Reason, Status, Verdict, WatchReason,
};
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
/// An archiver writes down how it is every two seconds.
const ARCHIVER_SAYS_WITHIN_MS: u64 = 10_000;
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
    let on_trial = known.trial.as_ref().filter(|trial| trial.effect == effect);
    match (on_trial, runs_it) {
        // Written down, but this is still the node of before.
        (Some(_), false) => Turn::Leave,
        (Some(trial), true) => match stands(desk, context, trial).await {
            Ok(()) => match program::settle(layout, host, &known) {
                Ok(()) => Turn::Answer(done(context, program)),
                Err(error) => failed(format!("it stands, but that cannot be kept: {error}")),
            },
            Err(why) => match program::go_back(layout, host, &known, &why) {
                Ok(()) => Turn::Leave,
                Err(error) => failed(format!("{why}; and it cannot go back: {error}")),
            },
        },
        (None, true) => Turn::Answer(done(context, program)),
        (None, false) => {
            if let Err(why) = begin(desk, context, program).await {
                return failed(why);
            }
            let archives =
                ailing_archives(&status(desk, context).databases, host, clock::wall_ms());
            let trial = Trial {
                effect,
                ailing_archives: Some(archives.into_iter().map(|(name, _)| name).collect()),
            };
            match program::begin_trial(layout, host, &known, &program.digest, trial) {
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
async fn stands(desk: &Desk, context: &Context, trial: &Trial) -> Result<(), String> {
    let deadline = clock::now() + STANDS_WITHIN;
    let mut since = None;
    loop {
        if let Some(why) = crash_loop(desk) {
            return Err(why);
        }
        let ailing = old_process(desk, context)
            .or_else(|| ails(desk, context))
            .or_else(|| new_ailing_archive(desk, context, trial));
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
    let status = status(desk, context);
    if is_up(&status) {
        return None;
    }
    Some(status.findings.first().map_or_else(
        || "the platform is not healthy".to_owned(),
        |found| format!("{}: {}", found.subject, found.text),
    ))
}

fn status(desk: &Desk, context: &Context) -> Status {
    let gathered = desk.gathered();
    let seen = Gathered::of_node(
        &context.platform,
        context.slot(),
        clock::wall_ms(),
        gathered,
    );
    mainstay_view::status(&seen)
}

/// An archive of this host that was well before the new program came.
fn new_ailing_archive(desk: &Desk, context: &Context, trial: &Trial) -> Option<String> {
    let ailing = ailing_archives(
        &status(desk, context).databases,
        context.name(),
        clock::wall_ms(),
    );
    let mut new = ailing
        .into_iter()
        // A program of before wrote down nothing, so nobody can tell what is new.
        .filter(|(name, _)| match &trial.ailing_archives {
            Some(known) => !known.contains(name),
            None => false,
        });
    new.next()
        .map(|(name, why)| format!("database {name}: {why}"))
}

/// Databases that this host's archivers should put away and do not just now, each with the reason.
fn ailing_archives(databases: &[DatabaseStatus], host: &str, now_ms: u64) -> Vec<(String, String)> {
    let mut ailing = Vec::new();
    for database in databases {
        let Some(archive) = database.archive.as_ref().filter(|a| a.host == host) else {
            continue;
        };
        let state = &archive.state;
        let why = match &state.log_stands_still {
            Some(why) => why.clone(),
            None if now_ms > state.at_ms.saturating_add(ARCHIVER_SAYS_WITHIN_MS) => {
                "its archiver does not say how it is".to_owned()
            }
            None if !state.receiving => "its archiver receives no log".to_owned(),
            None => continue,
        };
        ailing.push((database.name.clone(), why));
    }
    ailing
}

/// Healthy, or degraded by nothing but where the primary lives, how it is put away and what applications set for themselves,
/// which no waiting changes, and by alerts, which tell what was the case before.
pub fn is_up(status: &Status) -> bool {
    let is_lasting = |reason: &Reason| {
        matches!(
            reason,
            Reason::Database(
                DatabaseReason::PrimaryAway { .. }
                    | DatabaseReason::Archive(_)
                    | DatabaseReason::CommitsWeakened { .. }
            ) | Reason::Watch(WatchReason::Fires { .. } | WatchReason::Missing { .. })
        )
    };
    status.verdict == Verdict::Healthy
        || status
            .findings
            .iter()
            .all(|found| is_lasting(&found.reason))
}

#[cfg(test)]
mod tests {
    use mainstay_record::backup::ArchiverState;
    use mainstay_record::status::ArchiveStatus;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn archived(name: &str, host: &str, state: ArchiverState) -> DatabaseStatus {
        DatabaseStatus {
            name: name.to_owned(),
            verdict: Verdict::Healthy,
            home: "r".to_owned(),
            survive: "none".to_owned(),
            primary: Some(host.to_owned()),
            term: 1,
            open: true,
            copies: 1,
            copies_needed: 1,
            replicas: Vec::new(),
            archive: Some(ArchiveStatus {
                host: host.to_owned(),
                waiting_ms: 0,
                state,
            }),
        }
    }

    #[test]
    fn an_archiver_that_does_not_archive_is_seen_on_its_own_host() {
        let well = ArchiverState {
            at_ms: NOW - 2_000,
            receiving: true,
            ..ArchiverState::default()
        };
        let alarmed = ArchiverState {
            log_stands_still: Some("receive the log: refused".to_owned()),
            ..well.clone()
        };
        let silent = ArchiverState {
            at_ms: NOW - 20_000,
            ..well.clone()
        };
        let idle = ArchiverState {
            receiving: false,
            ..well.clone()
        };
        // A backup or a proof that fails, or what was found in the store, is not that.
        let proof = ArchiverState {
            alarm: Some("Proof: broken".to_owned()),
            ..well.clone()
        };
        for (state, host, ails) in [
            (well, "a", None),
            (proof, "a", None),
            (alarmed.clone(), "a", Some("receive the log: refused")),
            (silent, "a", Some("its archiver does not say how it is")),
            (idle, "a", Some("its archiver receives no log")),
            (alarmed, "b", None),
        ] {
            let databases = [archived("ledger", host, state.clone())];
            let found = ailing_archives(&databases, "a", NOW);
            let found = found.first().map(|(_, why)| why.as_str());
            assert_eq!(found, ails, "{host} {state:?}");
        }
    }
}
