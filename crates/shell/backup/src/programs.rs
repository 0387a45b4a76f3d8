//! PostgreSQL's programs: where they are, as whom they run, and what they said when they failed.
//!
//! Passwords reach them through a password file only. Nothing of the caller's environment does.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Where distributions put the server's programs, one folder per major version.
const ROOT: &str = "/usr/lib/postgresql";
/// How much of a tool's complaint is kept.
const OUTPUT_LIMIT: usize = 4_096;

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error(
        "find PostgreSQL's server programs below {ROOT}: none there; install them or set PG_BIN"
    )]
    Missing,
    #[error("find {program} in {}", folder.display())]
    NotThere { program: String, folder: PathBuf },
    #[error("look up user {name} in /etc/passwd")]
    NoUser { name: String },
    #[error("run PostgreSQL as root: it refuses; name the user that runs it")]
    Root,
    #[error("start {tool}")]
    Start {
        tool: String,
        source: std::io::Error,
    },
    #[error("run {tool}: it ended with {status}: {output}")]
    Failed {
        tool: String,
        status: ExitStatus,
        output: String,
    },
    #[error("run {tool}: not done after {limit:?}")]
    Late { tool: String, limit: Duration },
}

/// Whose files the data are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    /// `None`: this process's own user.
    pub owner: Option<Owner>,
    password_file: PathBuf,
}

impl Programs {
    /// # Errors
    /// When there are no programs, no such user, or PostgreSQL would have to run as root.
    pub fn find(
        configured: Option<&Path>,
        user: Option<&str>,
        password_file: PathBuf,
    ) -> Result<Self, ProgramError> {
        let folder = match (configured, std::env::var_os("PG_BIN")) {
            (Some(folder), _) => folder.to_owned(),
            (None, Some(folder)) => PathBuf::from(folder),
            (None, None) => newest(Path::new(ROOT)).ok_or(ProgramError::Missing)?,
        };
        for program in ["postgres", "pg_basebackup", "pg_verifybackup"] {
            if !folder.join(program).exists() {
                let program = program.to_owned();
                return Err(ProgramError::NotThere { program, folder });
            }
        }
        let root = rustix::process::geteuid().is_root();
        let owner = match user {
            Some(name) if root => Some(look_up(name)?),
            None if root => return Err(ProgramError::Root),
            _ => None,
        };
        Ok(Self {
            folder,
            owner,
            password_file,
        })
    }

    /// A program, to be run by the right user; killed when dropped.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("PGCONNECT_TIMEOUT", "3")
            .env("PGPASSFILE", &self.password_file)
            .env("PGTZ", "UTC")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(owner) = &self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    /// Runs a program to its end and returns what it wrote.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes longer than `limit`.
    pub async fn run(
        &self,
        tool: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<String, ProgramError> {
        let mut command = self.command(tool);
        command.args(arguments);
        let output = tokio::time::timeout(limit, command.output()).await;
        let tool = tool.to_owned();
        let output = match output {
            Ok(output) => output.map_err(|source| ProgramError::Start {
                tool: tool.clone(),
                source,
            })?,
            Err(_) => return Err(ProgramError::Late { tool, limit }),
        };
        if !output.status.success() {
            let status = output.status;
            let mut said = output.stderr;
            said.extend_from_slice(&output.stdout);
            let output = tail(&String::from_utf8_lossy(&said));
            return Err(ProgramError::Failed {
                tool,
                status,
                output,
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// Gives a file or folder to the server's user.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn give(&self, path: &Path) -> std::io::Result<()> {
        match &self.owner {
            Some(owner) => std::os::unix::fs::lchown(path, Some(owner.user), Some(owner.group)),
            None => Ok(()),
        }
    }

    /// As [`Programs::give`], with everything below.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn give_all(&self, folder: &Path) -> std::io::Result<()> {
        self.give(folder)?;
        if self.owner.is_none() {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.give_all(&entry.path())?;
            } else {
                self.give(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// The end of a complaint, which is where the reason stands.
pub fn tail(text: &str) -> String {
    let text = text.trim();
    let mut from = text.len().saturating_sub(OUTPUT_LIMIT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default().to_owned()
}

fn newest(root: &Path) -> Option<PathBuf> {
    std::fs::read_dir(root)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| root.join(format!("{version}/bin/postgres")).exists())
        .max()
        .map(|version| root.join(format!("{version}/bin")))
}

fn look_up(name: &str) -> Result<Owner, ProgramError> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    parse_passwd(&passwd, name).ok_or_else(|| ProgramError::NoUser {
        name: name.to_owned(),
    })
}

fn parse_passwd(passwd: &str, name: &str) -> Option<Owner> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some(Owner {
            user: fields.nth(1)?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_passwd_and_complaints_from_their_end() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:PG:/var/lib/postgresql:/bin/bash\n";
        let (user, group) = (101, 104);
        assert_eq!(
            parse_passwd(passwd, "postgres"),
            Some(Owner { user, group })
        );
        assert_eq!(parse_passwd(passwd, "post"), None);
        let long = format!("{}é: the reason", "x".repeat(OUTPUT_LIMIT * 2));
        assert!(tail(&long).ends_with("the reason") && tail(&long).len() <= OUTPUT_LIMIT);
    }
}
