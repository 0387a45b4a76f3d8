//! Speaking to a wire, and for it when it is dead.
//!
//! The wire answers one line of JSON with one line of JSON on its Unix socket. A condition can also be
//! set while no wire runs: whoever then gets the wire's lock writes its state file in its place, and the
//! wire finds the condition when it starts.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_record::process::{
    VERSION, WireAnswer, WireCondition, WireRequest, WireSpec, WireState, WireStatus,
};
use mainstay_rt::files;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::shim::{lock_path, try_lock};

const LINE_LIMIT: u64 = 64 << 10;
const ANSWER_LIMIT: u64 = 4 << 20;
/// A wire that does not answer in this time is stuck; its conditions are then unknown. It answers when its state is on the disk.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("no wire runs behind {}", control.display())]
    Absent { control: PathBuf },
    #[error("speak to the wire behind {}", control.display())]
    Silent { control: PathBuf, source: io::Error },
    #[error("the wire refused: {0}")]
    Refused(String),
    #[error("write the state of a wire that is not running, {}", state.display())]
    State { state: PathBuf, source: io::Error },
}

pub(crate) type Request = (WireRequest, oneshot::Sender<WireAnswer>);

/// Answers connections one after the other: there is little to say.
pub(crate) async fn serve(listener: UnixListener, requests: mpsc::Sender<Request>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = tokio::time::timeout(PATIENCE, converse(stream, &requests)).await;
                if let Ok(Err(error)) = served {
                    tracing::debug!(%error, "a control connection broke");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a control connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, requests: &mpsc::Sender<Request>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(LINE_LIMIT))
        .read_line(&mut line)
        .await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the wire is leaving");
            requests
                .send((request, reply))
                .await
                .map_err(|_| gone(()))?;
            answer.await.map_err(|_| gone(()))?
        }
        Err(error) => WireAnswer::Refused {
            reason: format!("not a request: {error}"),
        },
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await
}

/// Blocking, ten seconds at most.
fn ask(control: &Path, request: &WireRequest) -> Result<WireStatus, WireError> {
    let silent = |source| WireError::Silent {
        control: control.into(),
        source,
    };
    let mut stream = match BlockingStream::connect(control) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(WireError::Absent {
                control: control.into(),
            });
        }
        Err(error) => return Err(silent(error)),
    };
    let exchange = |stream: &mut BlockingStream| -> io::Result<WireAnswer> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bytes = serde_json::to_vec(request)?;
        bytes.push(b'\n');
        stream.write_all(&bytes)?;
        let mut line = String::new();
        BufReader::new(stream.take(ANSWER_LIMIT)).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match exchange(&mut stream).map_err(silent)? {
        WireAnswer::Status(status) => Ok(status),
        WireAnswer::Refused { reason } => Err(WireError::Refused(reason)),
    }
}

/// What a wire says of itself. Blocks for ten seconds at most: not for an event loop.
///
/// # Errors
/// When no wire runs or it does not answer.
pub fn status(control: &Path) -> Result<WireStatus, WireError> {
    ask(control, &WireRequest::Status)
}

/// The last state on disk; `None` if there is none or it cannot be understood.
pub fn read_state(path: &Path) -> Option<WireState> {
    serde_json::from_slice(&files::read_limited(path, super::FILE_LIMIT).ok()?).ok()
}

/// Sets a condition, or replaces the one with the same id. Blocks for ten seconds at most.
///
/// # Errors
/// When a living wire does not answer or refuses, or when a dead one's state cannot be written.
pub fn set_condition(spec: &WireSpec, condition: &WireCondition) -> Result<(), WireError> {
    match ask(&spec.control, &WireRequest::Set(condition.clone())) {
        Ok(_) => Ok(()),
        Err(WireError::Absent { .. }) => in_its_place(&spec.state, &spec.control, |state| {
            state.from.clone_from(&spec.from);
            state.to.clone_from(&spec.to);
            super::condition::insert(
                &mut state.conditions,
                condition.clone(),
                super::CONDITION_LIMIT,
            )
        }),
        Err(error) => Err(error),
    }
}

/// Takes a condition away; it is no error if it was not there.
///
/// # Errors
/// When a living wire does not answer, or when a dead one's state cannot be written.
pub fn clear_condition(state: &Path, control: &Path, id: &str) -> Result<(), WireError> {
    match ask(control, &WireRequest::Clear { id: id.to_owned() }) {
        Ok(_) => Ok(()),
        Err(WireError::Absent { .. }) if !state.exists() => Ok(()),
        Err(WireError::Absent { .. }) => in_its_place(state, control, |state| {
            state.conditions.retain(|condition| condition.id != id);
            Ok(())
        }),
        Err(error) => Err(error),
    }
}

/// Edits the state of a wire that does not run, holding its lock so that it does not start meanwhile.
fn in_its_place(
    path: &Path,
    control: &Path,
    edit: impl FnOnce(&mut WireState) -> Result<(), String>,
) -> Result<(), WireError> {
    let failed = |source| WireError::State {
        state: path.into(),
        source,
    };
    let Some(_lock) = try_lock(&lock_path(path)).map_err(failed)? else {
        return Err(WireError::Absent {
            control: control.into(),
        });
    };
    let mut state = read_state(path).unwrap_or_else(|| WireState {
        version: VERSION,
        from: String::new(),
        to: String::new(),
        wire: None,
        conditions: Vec::new(),
    });
    state.wire = None;
    edit(&mut state).map_err(WireError::Refused)?;
    let bytes = serde_json::to_vec(&state).map_err(|error| failed(error.into()))?;
    files::write_atomic_mode(path, &bytes, 0o644).map_err(failed)
}
