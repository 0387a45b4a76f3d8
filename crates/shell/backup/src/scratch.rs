//! A server that nobody but we can reach, on a restored folder.
//!
//! It listens on a socket only, lets in only the system user that runs it, and takes nothing from the configuration
//! that came with the copy: that one names the original's addresses and waits for the original's standbys.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mainstay_units::{Instant, Lsn, Timeline};
use tokio::process::Child;

use crate::archive::{ArchiveError, SUPERUSER, make_folder};
use crate::programs::{ProgramError, Programs, tail};
use crate::source::{OWN_DATABASE, Place, SourceError, value};

/// Starting and playing the log; a large archive takes hours, a hung one for ever.
const RECOVERY_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
const STOP_LIMIT: Duration = Duration::from_secs(120);
const TOOL_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// PostgreSQL's sockets must fit into 107 bytes with their name.
const SOCKET_FOLDER_LIMIT: usize = 88;
/// Of a socket only.
const PORT: u16 = 5432;
const LOG_LIMIT: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("run a server on the restored data: it ended: {log}")]
    Ended { log: String },
    #[error("run a server on the restored data: not there after {limit:?}: {log}")]
    Late { limit: Duration, log: String },
    #[error("use {} for a socket: its path is too long; give a shorter run folder", folder.display())]
    SocketPath { folder: PathBuf },
}

/// How far the log is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    End,
    /// As soon as the copy is consistent.
    Consistent,
    Lsn(Lsn),
    /// Wall clock, milliseconds.
    Time(u64),
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The log can be played on later.
    Pause,
    /// A timeline of its own begins.
    Promote,
}

pub struct Scratch<'a> {
    programs: &'a Programs,
    data: &'a Path,
    sockets: PathBuf,
    child: Option<Child>,
}

impl<'a> Scratch<'a> {
    /// # Errors
    /// When the folder for sockets cannot be made.
    pub fn new(
        programs: &'a Programs,
        data: &'a Path,
        sockets: PathBuf,
    ) -> Result<Self, ScratchError> {
        if sockets.as_os_str().len() > SOCKET_FOLDER_LIMIT {
            return Err(ScratchError::SocketPath { folder: sockets });
        }
        make_folder(&sockets, 0o700)?;
        programs
            .give(&sockets)
            .map_err(ArchiveError::io("give away", &sockets))?;
        Ok(Self {
            programs,
            data,
            sockets,
            child: None,
        })
    }

    pub fn place(&self) -> Place {
        Place::Socket(self.sockets.clone(), PORT)
    }

    /// By which it runs.
    pub fn programs(&self) -> &Programs {
        self.programs
    }

    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    fn log_path(&self) -> PathBuf {
        self.sockets.join("log")
    }

    fn log(&self) -> String {
        let bytes = mainstay_rt::files::read_limited(&self.log_path(), LOG_LIMIT);
        tail(&String::from_utf8_lossy(&bytes.unwrap_or_default()))
    }

    /// Plays the log on `timeline` until the target, and returns when the server answers there: paused and readable, or
    /// promoted and writable.
    ///
    /// # Errors
    /// When the server gives up, with the end of what it logged.
    pub async fn recover(
        &mut self,
        timeline: Timeline,
        until: &Until,
        then: Then,
    ) -> Result<(), ScratchError> {
        self.stop().await?;
        let settings = settings(timeline, until, then, &self.limits().await?);
        self.start(&settings).await?;
        let arrived = match then {
            Then::Promote => "SELECT NOT pg_is_in_recovery()",
            Then::Pause => "SELECT pg_get_wal_replay_pause_state() = 'paused'",
        };
        self.wait_for(arrived).await
    }

    async fn start(&mut self, settings: &str) -> Result<(), ScratchError> {
        let write = |name: &str, text: &str| {
            let path = self.sockets.join(name);
            std::fs::write(&path, text)
                .and_then(|()| self.programs.give(&path))
                .map_err(ArchiveError::io("write", &path))?;
            Ok::<PathBuf, ArchiveError>(path)
        };
        let hba = write("hba", "local all all peer map=scratch\n")?;
        let ident = write("ident", &format!("scratch /^.*$ {SUPERUSER}\n"))?;
        let mut text = settings.to_owned();
        let quoted = |path: &Path| path.display().to_string().replace('\'', "''");
        for (name, path) in [
            ("data_directory", self.data),
            ("hba_file", &hba),
            ("ident_file", &ident),
            ("unix_socket_directories", &self.sockets),
        ] {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} = '{}'", quoted(path));
        }
        let config = write("postgresql.conf", &text)?;
        let log_path = self.log_path();
        let log = std::fs::File::create(&log_path).map_err(ArchiveError::io("write", &log_path))?;
        let again = log
            .try_clone()
            .map_err(ArchiveError::io("write", &log_path))?;
        let mut command = self.programs.command("postgres");
        command
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(again));
        let tool = "postgres".to_owned();
        let child = command
            .spawn()
            .map_err(|source| ProgramError::Start { tool, source })?;
        self.child = Some(child);
        Ok(())
    }

    async fn wait_for(&mut self, arrived: &str) -> Result<(), ScratchError> {
        let started: Instant = mainstay_rt::clock::now();
        let place = self.place();
        loop {
            let answer = value(self.programs, &place, OWN_DATABASE, "look", arrived);
            if answer.await.is_ok_and(|answer| answer == "t") {
                return Ok(());
            }
            let child = self.child.as_mut();
            let ended = child.is_none_or(|child| child.try_wait().is_ok_and(|s| s.is_some()));
            if ended {
                self.child = None;
                return Err(ScratchError::Ended { log: self.log() });
            }
            if mainstay_rt::clock::now().since(started) > RECOVERY_LIMIT {
                let (limit, log) = (RECOVERY_LIMIT, self.log());
                return Err(ScratchError::Late { limit, log });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Limits that recovery refuses to run below, as the copy itself says.
    async fn limits(&self) -> Result<String, ScratchError> {
        let data = self.data.display().to_string();
        let said = self
            .programs
            .run("pg_controldata", &[&data], TOOL_LIMIT)
            .await?;
        let mut limits = String::new();
        for line in said.lines() {
            if let Some((name, number)) = line.split_once(" setting:")
                && name.starts_with("max_")
                && let Ok(number) = number.trim().parse::<u32>()
            {
                let name = match name {
                    "max_prepared_xacts" => "max_prepared_transactions",
                    "max_locks_per_xact" => "max_locks_per_transaction",
                    other => other,
                };
                let _ = writeln!(limits, "{name} = {number}");
            }
        }
        Ok(limits)
    }

    /// A clean end: everything is in the folder.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<(), ScratchError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if let Some(pid) = child.id().and_then(pid_of) {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).ok();
        }
        match tokio::time::timeout(STOP_LIMIT, child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ScratchError::Late {
                limit: STOP_LIMIT,
                log: self.log(),
            }),
        }
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // At once, with all its sessions; killing it would leave them for a moment.
            if let Some(pid) = child.id().and_then(pid_of) {
                rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
            }
            child.try_wait().ok();
        }
        std::fs::remove_dir_all(&self.sockets).ok();
    }
}

fn pid_of(id: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(id).ok()?)
}

fn settings(timeline: Timeline, until: &Until, then: Then, limits: &str) -> String {
    let mut text = String::from(
        "# Written by Mainstay for a scratch server.\n\
         listen_addresses = ''\nport = 5432\nunix_socket_permissions = 0700\n\
         hot_standby = on\nwal_level = replica\narchive_mode = off\nprimary_conninfo = ''\n\
         synchronous_standby_names = ''\nrestart_after_crash = off\nlogging_collector = off\n\
         log_destination = stderr\nshared_buffers = 64MB\nmax_wal_size = 1GB\ncheckpoint_timeout = 30min\n\
         timezone = UTC\n\
         # All there is has been laid into pg_wal; nothing is fetched.\n\
         restore_command = '/bin/false'\nrecovery_target_inclusive = on\n",
    );
    text.push_str(limits);
    let target = match until {
        Until::End => String::new(),
        Until::Consistent => "recovery_target = 'immediate'\n".to_owned(),
        Until::Lsn(lsn) => format!("recovery_target_lsn = '{lsn}'\n"),
        Until::Time(ms) => {
            let moment = crate::moment::show(*ms)
                .replace('T', " ")
                .replace('Z', "+00");
            format!("recovery_target_time = '{moment}'\n")
        }
    };
    let action = match then {
        Then::Pause => "pause",
        Then::Promote => "promote",
    };
    let _ = write!(
        text,
        "{target}recovery_target_action = '{action}'\nrecovery_target_timeline = '{}'\n",
        timeline.0
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_written_as_postgresql_reads_it() {
        let until = Until::Time(1_795_184_100_250);
        let text = settings(Timeline(3), &until, Then::Pause, "max_connections = 100\n");
        for line in [
            "recovery_target_time = '2026-11-20 14:15:00.250+00'",
            "recovery_target_timeline = '3'",
            "recovery_target_action = 'pause'",
            "listen_addresses = ''",
            "max_connections = 100",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
