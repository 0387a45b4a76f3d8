//! A program that a step runs, in a cell of its own.
//!
//! What binds it is [`mainstay_host::confine`]; here it is started, watched until it ends or its time is over, and whatever
//! it left behind is ended.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use mainstay_host::confine::{self, Offered};
use mainstay_host::identity;
use mainstay_kernel::Outcome;
use mainstay_playbook::Allowance;
use mainstay_record::process::{ConfineSpec, ProcessIdentity, VERSION};
use mainstay_rt::error::chain;
use rustix::process::{Pid, Signal, getuid, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use super::{Begun, Deed, Known, begin, done, failed, note, unknown};
use crate::context::Context;

/// Of a program's output, so much is kept and journalled.
const OUTPUT_BYTES_MAX: usize = 4 << 10;
/// Whom a program runs as where Mainstay runs as root: nobody.
const NOBODY: u32 = 65_534;
/// All that a program is told of its surroundings, beside its own folder.
const SEARCHED: &str = "/usr/local/bin:/usr/bin:/bin";
/// Between two looks at what it has written.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// What became of a program that was started.
enum End {
    Left(std::io::Result<ExitStatus>, Vec<u8>, Vec<u8>),
    Late,
    Filled,
}

/// Says once what of a program's confinement this host's kernel does not offer.
pub(crate) fn tell_confinement() {
    match confine::offered() {
        Offered::All => {}
        Offered::Part(version) => tracing::info!(
            version,
            "the kernel's Landlock is older than what programs of playbooks are confined by; the rest of it holds"
        ),
        Offered::Nothing => tracing::warn!(
            "the kernel offers no Landlock: programs of playbooks can read and write whatever their user can"
        ),
    }
}

/// A process group of its own, nothing inherited but a path to search, a folder of its own and all that is written in
/// docs/security.md about what it may reach; and nobody's rights where Mainstay has root's.
pub(super) async fn run(
    context: &Context,
    deed: &Deed,
    (program, arguments): (&str, &[String]),
    allows: &Allowance,
) -> Outcome {
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
    let spec = ConfineSpec {
        version: VERSION,
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        place: place.clone(),
        reads: allows.reads.iter().map(PathBuf::from).collect(),
        connects: allows.connects.clone(),
        // Those that have begun count whole.
        processor_seconds: deed.limit.as_secs().saturating_add(1),
        user: getuid().is_root().then_some(NOBODY),
    };
    let end = match start(context, &spec) {
        Ok(child) => {
            let row = child.id().and_then(|pid| identity::row(pid).ok().flatten());
            begun.process = row.map(|row| row.identity);
            if let Err(error) = note(context, deed, &begun) {
                tracing::warn!(%error, program, "the process of a step is not written down");
            }
            Ok(watch(child, &place, deed.limit).await)
        }
        Err(why) => Err(why),
    };
    std::fs::remove_dir_all(&place).ok();
    match end {
        Ok(end) => told(program, end, deed.limit),
        Err(why) => failed(format!("start {program}: {why}")),
    }
}

fn start(context: &Context, spec: &ConfineSpec) -> Result<Child, String> {
    confine::check(spec, &[context.layout.data(), context.layout.run()])
        .map_err(|error| chain(&error))?;
    let text = serde_json::to_string(spec).map_err(|error| error.to_string())?;
    let mut command = Command::new(&context.program);
    command
        .arg("confine")
        .arg(text)
        .env_clear()
        .env("PATH", SEARCHED)
        .env("HOME", &spec.place)
        .env("TMPDIR", &spec.place)
        // By it and by the folder above, whoever stops the platform knows it.
        .env("MAINSTAY_LAUNCH", "step")
        .current_dir(&spec.place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = tokio::process::Command::from(command).spawn();
    child.map_err(|error| error.to_string())
}

/// Until it has left, its time is over, or its folder is full. Whatever of it is still there then is ended.
async fn watch(mut child: Child, place: &Path, limit: Duration) -> End {
    let group = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let end = {
        let reading = async { tokio::join!(read(stdout), read(stderr)) };
        let all = async { tokio::join!(child.wait(), reading) };
        let full = async {
            while !confine::fills(place) {
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        };
        tokio::select! {
            (status, (out, err)) = all => End::Left(status, out, err),
            () = full => End::Filled,
            () = tokio::time::sleep(limit) => End::Late,
        }
    };
    let killed = group.map(|group| kill_process_group(group, Signal::KILL));
    tracing::debug!(?killed, "the process group of a step is over");
    if !matches!(end, End::Left(..)) {
        // It is dead; its status is taken so that nothing of it stays in the process table.
        child.wait().await.ok();
    }
    end
}

fn told(program: &str, end: End, limit: Duration) -> Outcome {
    match end {
        End::Left(Ok(status), out, err) => {
            let text = format!("{}{}", said("", &out), said("errors: ", &err));
            match (status.success(), status.code(), status.signal()) {
                (true, ..) => done(format!("it left with code 0{text}")),
                (false, Some(code), _) => failed(format!("it left with code {code}{text}")),
                (false, None, signal) => unknown(format!("signal {signal:?} ended it{text}")),
            }
        }
        End::Left(Err(error), ..) => unknown(format!("wait for {program}: {error}")),
        End::Late => unknown(format!(
            "{program} was not done after {} ms and was killed",
            limit.as_millis()
        )),
        End::Filled => unknown(format!(
            "{program} wrote more than {} MiB or {} files in its folder and was killed",
            confine::PLACE_BYTES_MAX >> 20,
            confine::PLACE_ENTRIES_MAX
        )),
    }
}

/// Its node ended while it ran: nobody knows what it has done by now, and it shall do no more.
fn abandoned(begun: &Begun) -> Outcome {
    // Seen, not supposed: a group of another process by then must not be hit.
    let is_seen = |process: &ProcessIdentity| identity::is_seen(*process).unwrap_or(false);
    if let Some(process) = begun.process.filter(is_seen)
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
