//! Doing what a step of a playbook says, once.
//!
//! Before anything is done, a file with the number of the journal's order says what is about to be. An order that
//! may have been begun before is compared with it: without a file it was never begun; with one, what is seen decides
//! whether it was done, and what cannot be seen is unknown.

mod http;
pub(crate) mod modes;
mod notify;
mod program;
mod rebuild;
mod replace;

use std::path::PathBuf;
use std::time::Duration;

use mainstay_host::supervisor::Supervisor;
use mainstay_kernel::{Manner, Outcome, Stamp};
use mainstay_model::name::{DatabaseName, HostName};
use mainstay_playbook::Act;
use mainstay_record::process::ProcessIdentity;
use mainstay_rt::{clock, files};
use serde::{Deserialize, Serialize};

pub(crate) use program::tell_confinement;

use crate::context::Context;
use crate::control::Desk;
use crate::effects::switch_over;

/// So many files of deeds are kept.
const DEEDS_KEPT: usize = 200;
const DEED_BYTES_MAX: u64 = 64 << 10;
/// Between two looks at an instance that is being restarted.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// An order.
#[derive(Debug)]
pub struct Deed {
    /// Of the journal entry that ordered it.
    pub number: u64,
    pub limit: Duration,
    /// Which step it is.
    pub stamp: Stamp,
}

/// What was about to be done.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    version: u32,
    what: String,
    /// The process that is to be replaced, or the program that was started.
    process: Option<ProcessIdentity>,
    /// What the replica called itself that is to be filled anew.
    #[serde(default)]
    incarnation: Option<String>,
}

impl Begun {
    fn of(what: String) -> Self {
        Self {
            version: 1,
            what,
            process: None,
            incarnation: None,
        }
    }
}

/// What is known of an order.
enum Known {
    /// It is begun now, by this call.
    New,
    Before(Begun),
}

fn folder(context: &Context) -> PathBuf {
    context.layout.node(context.name()).join("deeds")
}

fn path(context: &Context, number: u64) -> PathBuf {
    folder(context).join(format!("{number:020}.json"))
}

fn failed(why: impl Into<String>) -> Outcome {
    Outcome::Failed { why: why.into() }
}

fn unknown(why: impl Into<String>) -> Outcome {
    Outcome::Unknown { why: why.into() }
}

fn done(detail: impl Into<String>) -> Outcome {
    Outcome::Done {
        detail: detail.into(),
    }
}

/// Does it, unless it was begun before.
pub async fn carry_out(desk: &Desk, context: &Context, deed: &Deed, act: Act) -> Outcome {
    match act {
        Act::Switchover { database, to, .. } => move_primary(context, deed, &database, &to).await,
        Act::Restart { instance, .. } => restart(&desk.supervisor, context, deed, &instance).await,
        Act::Replace { service, to, .. } => replace::see(desk, context, deed, &service, &to).await,
        Act::Rebuild { database, host } => {
            rebuild::fill(desk, context, deed, &database, &host).await
        }
        Act::Http(call) => http::call(context, deed, &call).await,
        Act::Notify { to, text } => notify::say(desk, context, deed, &to, &text).await,
        Act::Run {
            program,
            arguments,
            allows,
            ..
        } => program::run(context, deed, (&program, &arguments), &allows).await,
        Act::Mode { service, mode, .. } => modes::tell(context, deed, &service, &mode).await,
        Act::ClearFaults { .. }
        | Act::Drain { .. }
        | Act::Return { .. }
        | Act::Shift { .. }
        | Act::Replicas { .. }
        | Act::WorkItem(_) => failed("the journal itself does this"),
    }
}

/// Writes down what is about to be done; or finds what was.
fn begin(context: &Context, deed: &Deed, begun: &Begun) -> Result<Known, Outcome> {
    let path = path(context, deed.number);
    match files::read_limited(&path, DEED_BYTES_MAX) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(before) => return Ok(Known::Before(before)),
            Err(error) => return Err(unknown(format!("{} is damaged: {error}", path.display()))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unknown(format!("{}: {error}", path.display()))),
    }
    let written = std::fs::create_dir_all(folder(context))
        .and_then(|()| Ok(serde_json::to_vec(begun)?))
        .and_then(|bytes| files::write_atomic(&path, &bytes));
    forget_old(context);
    match written {
        Ok(()) => Ok(Known::New),
        Err(error) => Err(failed(format!(
            "what is about to be done cannot be written down: {error}"
        ))),
    }
}

fn note(context: &Context, deed: &Deed, begun: &Begun) -> std::io::Result<()> {
    files::write_atomic(&path(context, deed.number), &serde_json::to_vec(begun)?)
}

fn forget_old(context: &Context) {
    let entries = std::fs::read_dir(folder(context)).into_iter().flatten();
    let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    names.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    names.sort();
    let many = names.len().saturating_sub(DEEDS_KEPT);
    for path in names.iter().take(many) {
        // Litter at worst.
        std::fs::remove_file(path).ok();
    }
}

async fn move_primary(context: &Context, deed: &Deed, database: &str, to: &str) -> Outcome {
    let (Ok(database), Ok(to)) = (DatabaseName::new(database), HostName::new(to)) else {
        return failed(format!("{database} or {to} is no name"));
    };
    let begun = Begun::of(format!("switchover of {database} to {to}"));
    let known = match begin(context, deed, &begun) {
        Ok(known) => known,
        Err(outcome) => return outcome,
    };
    match known {
        Known::New => switch_over(context, &database, &to, Manner::Start).await,
        // The keeper may still be at it: where the primary is now says that it was done, not that it will not be.
        Known::Before(_) => match switch_over(context, &database, &to, Manner::Query).await {
            Outcome::Failed { why } => unknown(format!("it was begun before; {why}")),
            outcome => outcome,
        },
    }
}

async fn restart(
    supervisor: &Supervisor,
    context: &Context,
    deed: &Deed,
    instance: &str,
) -> Outcome {
    let name = format!("{}/{instance}", context.name());
    let process = || {
        let all = supervisor.status();
        all.into_iter().find(|status| status.instance == name)
    };
    let Some(now) = process() else {
        return failed(format!("{name} is not wanted here"));
    };
    let begun = Begun {
        process: now.process,
        ..Begun::of(format!("restart of {name}"))
    };
    let before = match begin(context, deed, &begun) {
        Ok(Known::New) => now.process,
        Ok(Known::Before(begun)) => {
            return match (begun.process, now.process) {
                (Some(before), Some(now)) if before == now => failed(format!(
                    "{name} is still the process from before (pid {})",
                    now.pid
                )),
                (_, Some(now)) => done(format!("{name} is a new process (pid {})", now.pid)),
                (_, None) => unknown(format!("{name} has no process at this moment")),
            };
        }
        Err(outcome) => return outcome,
    };
    match supervisor.restart(&name).await {
        Ok(true) => {}
        Ok(false) => return failed(format!("{name} is not wanted here")),
        Err(error) => return failed(error.to_string()),
    }
    let deadline = clock::now() + deed.limit;
    loop {
        if let Some(status) = process()
            && let Some(new) = status.process
            && Some(new) != before
        {
            let old = before.map_or_else(|| "none".to_owned(), |old| old.pid.to_string());
            return done(format!("{name}: pid {old} became {}", new.pid));
        }
        if clock::now() >= deadline {
            let phase = process().map_or_else(String::new, |status| status.phase);
            return unknown(format!("{name} has no new process in time: {phase}"));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}
