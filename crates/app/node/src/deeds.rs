//! Doing what a step of a playbook says, once.
//!
//! Before anything is done, a file with the number of the journal's order says what is about to be. An order that
//! may have been begun before is compared with it: without a file it was never begun; with one, what is seen decides
//! whether it was done, and what cannot be seen is unknown.

mod http;
pub(crate) mod modes;
mod notify;
mod rebuild;
mod replace;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mainstay_host::identity;
use mainstay_host::supervisor::Supervisor;
use mainstay_kernel::{Manner, Outcome, Stamp};
use mainstay_model::name::{DatabaseName, HostName};
use mainstay_playbook::Act;
use mainstay_record::process::ProcessIdentity;
use mainstay_rt::{clock, files};
use rustix::process::{Pid, Signal, getuid, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::context::Context;
use crate::control::Desk;
use crate::effects::switch_over;

/// So many files of deeds are kept.
const DEEDS_KEPT: usize = 200;
const DEED_BYTES_MAX: u64 = 64 << 10;
/// Between two looks at an instance that is being restarted.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// Of a program's output, so much is kept and journalled.
const OUTPUT_BYTES_MAX: usize = 4 << 10;
/// Whom a program runs as where Mainstay runs as root: nobody.
const NOBODY: u32 = 65_534;
/// All that a program is told of its surroundings.
const SEARCHED: &str = "/usr/local/bin:/usr/bin:/bin";

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
            program, arguments, ..
        } => run(context, deed, &program, &arguments).await,
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

/// A process group of its own, nothing inherited but a path to search, a folder of its own, limits of time and
/// output; and nobody's rights where Mainstay has root's.
async fn run(context: &Context, deed: &Deed, program: &str, arguments: &[String]) -> Outcome {
    let what = format!("{program} {}", arguments.join(" "));
    let mut begun = Begun::of(what);
    match begin(context, deed, &begun) {
        Ok(Known::New) => {}
        Ok(Known::Before(begun)) => return abandoned(&begun),
        Err(outcome) => return outcome,
    }
    let place = match make_place(context, deed.number) {
        Ok(place) => place,
        Err(error) => return failed(format!("make a folder for it: {error}")),
    };
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCHED)
        .current_dir(&place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = match tokio::process::Command::from(command).spawn() {
        Ok(child) => child,
        Err(error) => return failed(format!("start {program}: {error}")),
    };
    let group = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    begun.process = child.id().and_then(identity::row).map(|row| row.identity);
    if let Err(error) = note(context, deed, &begun) {
        tracing::warn!(%error, program, "the process of a step is not written down");
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::join!(read(stdout), read(stderr)) };
    let all = async { tokio::join!(child.wait(), reading) };
    let ended = tokio::time::timeout(deed.limit, all).await;
    // Also what it left behind.
    let killed = group.map(|group| kill_process_group(group, Signal::KILL));
    tracing::debug!(?killed, program, "the process group of a step is over");
    std::fs::remove_dir_all(&place).ok();
    match ended {
        Ok((Ok(status), (out, err))) => {
            let text = format!("{}{}", said("", &out), said("errors: ", &err));
            match (status.success(), status.code(), status.signal()) {
                (true, ..) => done(format!("it left with code 0{text}")),
                (false, Some(code), _) => failed(format!("it left with code {code}{text}")),
                (false, None, signal) => unknown(format!("signal {signal:?} ended it{text}")),
            }
        }
        Ok((Err(error), _)) => unknown(format!("wait for {program}: {error}")),
        Err(_) => unknown(format!(
            "{program} was not done after {} ms and was killed",
            deed.limit.as_millis()
        )),
    }
}

/// Its node ended while it ran: nobody knows what it has done by now, and it shall do no more.
fn abandoned(begun: &Begun) -> Outcome {
    if let Some(process) = begun.process.filter(|process| identity::is_alive(*process))
        && let Some(group) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
    {
        let killed = kill_process_group(group, Signal::KILL);
        tracing::info!(
            ?killed,
            what = begun.what,
            "stopped what an earlier node began"
        );
    }
    unknown(format!("{}: its node ended while it ran", begun.what))
}

fn make_place(context: &Context, number: u64) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, chown};
    let place = context
        .layout
        .run_host(context.name())
        .join(format!("deed-{number}"));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&place)?;
    if getuid().is_root() {
        chown(&place, Some(NOBODY), Some(NOBODY))?;
        passable(&place)?;
    }
    Ok(place)
}

/// The folders above must let it through.
fn passable(place: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    for folder in place.ancestors().skip(1) {
        if folder.metadata()?.mode() & 0o001 == 0 {
            return Err(std::io::Error::other(format!(
                "{} lets nobody through",
                folder.display()
            )));
        }
    }
    Ok(())
}

/// The beginning of a stream; the rest is read and thrown away, so that the writer is never held up.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut stream) = stream else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    let mut buffer = [0; 4 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

fn said(lead: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.trim() {
        "" => String::new(),
        text => format!("; {lead}{text}"),
    }
}
