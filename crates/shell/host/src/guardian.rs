//! The process that sets a fault and stays until it is mended.
//!
//! It belongs to no host: it leads a session of its own, and faults spare it. It says `guarding` when it
//! stands ready, and sets the fault only when told `go`; if whoever asked dies before that, nothing was
//! broken and it leaves. After that nobody is needed any more: at the deadline, or when the record says
//! that the fault is over, or at SIGTERM, it undoes what the record lists and tries again until it is done.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use mainstay_record::process::{FaultRecord, FaultState};
use mainstay_rt::clock;
use mainstay_units::Instant;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::faults::{self, FAILED, FaultError, GO, GUARDING, SET};
use crate::shim::EXIT_FAILED;

/// How often the record is read while the fault lasts.
const LOOK: Duration = Duration::from_millis(200);
/// Between two attempts to undo.
const RETRY: Duration = Duration::from_millis(500);
/// After so many attempts the sweeps of the nodes are left to it.
const ATTEMPTS: usize = 1_200;

/// `mainstay guardian RECORD.json`: sets the fault of the record and undoes it in time.
pub fn run(record_path: &Path) -> ExitCode {
    match guard(record_path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, record = %record_path.display(), "guardian failed");
            say(&format!("{FAILED}{error}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn guard(path: &Path) -> io::Result<()> {
    rustix::process::setsid().ok();
    let data = faults::data_of(path)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a record lies in DATA/faults"))?
        .to_owned();
    let record = faults::read(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let guarded = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let _interrupt = signal(SignalKind::interrupt())?;
        let _hangup = signal(SignalKind::hangup())?;
        say(GUARDING);
        watch(&data, path, record, &mut terminate).await
    });
    // The thread that reads standard input may still be waiting for it.
    runtime.shutdown_background();
    guarded
}

/// Nobody may be listening any more, which is no reason to stop.
fn say(line: &str) {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .ok();
}

async fn watch(
    data: &Path,
    path: &Path,
    record: FaultRecord,
    terminate: &mut Signal,
) -> io::Result<()> {
    let deadline = Instant::from_nanos(record.deadline_boottime_ns);
    let told = tokio::select! {
        told = go() => told,
        () = tokio::time::sleep(deadline - clock::now()) => false,
        _ = terminate.recv() => false,
    };
    // What was added since: this process itself.
    let mut record = faults::read(path)?;
    let is_over = record.state == FaultState::Undone
        || faults::is_to_end(data, &record.id)
        || clock::now() >= deadline;
    if told && is_over {
        let why = "its time was over, or somebody ended it, before it was set";
        record.problem = Some(why.to_owned());
        let closed = close(data, &mut record);
        say(&format!("{FAILED}{why}"));
        return closed;
    }
    if !told {
        return close(data, &mut record);
    }
    if let Err(error) = set(data, &mut record) {
        tracing::error!(%error, id = record.id, "could not set the fault");
        record.problem = Some(error.to_string());
        mend(data, &mut record).await?;
        say(&format!("{FAILED}{error}"));
        return Ok(());
    }
    if record.undo.is_empty() {
        // A killed process: over at once.
        let closed = close(data, &mut record);
        say(SET);
        return closed;
    }
    say(SET);
    stand(data, path, &record, terminate).await;
    // The list may have grown while the fault was being set, and a command may have ended it.
    let mut record = faults::read(path).unwrap_or(record);
    match record.state {
        FaultState::Undone => Ok(()),
        FaultState::Prepared | FaultState::Set => mend(data, &mut record).await,
    }
}

/// Whether the word came; the end of the pipe is a no.
async fn go() -> bool {
    let (sender, told) = oneshot::channel();
    let reader = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line);
            // Nobody waits when the deadline came first.
            sender.send(read.is_ok() && line.trim() == GO).ok();
        });
    reader.is_ok() && told.await.unwrap_or(false)
}

fn set(data: &Path, record: &mut FaultRecord) -> Result<(), FaultError> {
    faults::apply(data, record)?;
    // Whoever ended it meanwhile could undo only what had been done by then.
    if faults::is_to_end(data, &record.id) {
        let reason = "somebody ended it while it was being set".to_owned();
        return Err(FaultError::NotAvailable(reason));
    }
    record.state = FaultState::Set;
    record.set_wall_ms = Some(clock::wall_ms());
    faults::write(data, record).map_err(|source| FaultError::Record {
        id: record.id.clone(),
        source,
    })
}

/// Until the fault has to end.
async fn stand(data: &Path, path: &Path, record: &FaultRecord, terminate: &mut Signal) {
    let mut deadline = Instant::from_nanos(record.deadline_boottime_ns);
    loop {
        let left = deadline - clock::now();
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK)) => {}
            _ = terminate.recv() => return,
        }
        if faults::is_to_end(data, &record.id) {
            return;
        }
        if let Ok(current) = faults::read(path) {
            if current.state == FaultState::Undone {
                return;
            }
            deadline = Instant::from_nanos(current.deadline_boottime_ns);
        }
    }
}

async fn mend(data: &Path, record: &mut FaultRecord) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        // At least once, whatever the record says by now: what was just set, nobody else can have undone.
        match faults::undo(data, record) {
            Ok(()) => return close(data, record),
            Err(error) => {
                tracing::warn!(%error, id = record.id, "could not undo the fault yet");
                let problem = error.to_string();
                if record.problem.as_ref() != Some(&problem) {
                    record.problem = Some(problem);
                    faults::write(data, record).ok();
                }
            }
        }
        tokio::time::sleep(RETRY).await;
        if faults::find(data, &record.id).is_some_and(|current| current.state == FaultState::Undone)
        {
            return Ok(());
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "the fault could not be undone",
    ))
}

fn close(data: &Path, record: &mut FaultRecord) -> io::Result<()> {
    faults::close(data, record)
}
