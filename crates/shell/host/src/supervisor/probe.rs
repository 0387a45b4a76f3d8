//! Asking a process how it is, within a deadline.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mainstay_identity::Identity;
use mainstay_record::process::{ProbeCheck, ShimSpec};
use mainstay_supervision::Outcome;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use crate::user;

/// Enough of an answer to see its status.
const STATUS_LINE_BYTES: usize = 512;

/// What an exec probe needs of the process it asks about.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    environment: BTreeMap<String, String>,
    directory: std::path::PathBuf,
    user: Option<String>,
}

impl Surroundings {
    pub(crate) fn of(spec: &ShimSpec) -> Self {
        Self {
            environment: spec.environment.clone(),
            directory: spec.directory.clone(),
            user: spec.user.clone(),
        }
    }
}

/// Whatever is not a pass within the timeout is a failure.
pub(crate) async fn ask(
    check: ProbeCheck,
    surroundings: Surroundings,
    asker: Option<&Identity>,
    timeout: Duration,
) -> Outcome {
    let asked = async {
        match check {
            ProbeCheck::Http {
                address,
                path,
                name,
            } => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let host = address.to_string();
                match name {
                    None => http(stream, &host, &path).await,
                    Some(name) => {
                        let asker = asker.ok_or(io::ErrorKind::PermissionDenied)?;
                        http(asker.reconnect(stream, &name).await?, &host, &path).await
                    }
                }
            }
            ProbeCheck::Socket { socket, path } => {
                http(UnixStream::connect(socket).await?, "localhost", &path).await
            }
            ProbeCheck::Tcp { address } => TcpStream::connect(address).await.map(|_| true),
            ProbeCheck::Exec { command } => exec(&command, &surroundings).await,
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(true)) => Outcome::Passed,
        Ok(Ok(false) | Err(_)) | Err(_) => Outcome::Failed,
    }
}

async fn http<S>(mut stream: S, host: &str, path: &str) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mainstay-probe\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(status(&answer).is_some_and(|status| (200..400).contains(&status)))
}

/// The code of a status line.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words
        .next()
        .filter(|protocol| protocol.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

async fn exec(command: &[String], surroundings: &Surroundings) -> io::Result<bool> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&surroundings.environment)
        .current_dir(Path::new(&surroundings.directory))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(name) = &surroundings.user {
        let user = user::find(name)?;
        if user.user != rustix::process::geteuid().as_raw() {
            command.uid(user.user).gid(user.group);
        }
    }
    Ok(command.status().await?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_line_has_a_status() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503\r\n", Some(503)),
            ("HTTP/2 200 OK\r\n", None),
            ("200 OK\r\n", None),
            ("HTTP/1.1", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
