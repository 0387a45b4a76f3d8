//! PostgreSQL's programs: where they are, as whom they run, and how one of them is run to its end.
//!
//! A tool (initdb, pg_basebackup, pg_rewind) is a child of the keeper and is worth nothing without it. It
//! runs with the keeper's tool folder as its working folder, by which a restarted keeper recognises and
//! ends what its predecessor left running. Passwords reach tools through a password file only.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// Where distributions put the server's programs, one folder per major version.
const ROOT: &str = "/usr/lib/postgresql";
/// How much of a tool's output is kept to explain its failure.
const OUTPUT_LIMIT: usize = 4_096;
/// Between two looks at a tool that takes as long as it takes.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error(
        "find PostgreSQL's server programs below {ROOT}: none there; install them or set PG_BIN"
    )]
    Missing,
    #[error("find the programs in {}", folder.display())]
    NotThere {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("look up user {name} in /etc/passwd")]
    Passwd {
        name: String,
        source: std::io::Error,
    },
    #[error("look up user {name} in /etc/passwd: no such user")]
    NoUser { name: String },
    #[error("run PostgreSQL as root: it refuses; name a user in the configuration")]
    Root,
    #[error("start {tool}")]
    Start {
        tool: &'static str,
        source: std::io::Error,
    },
    #[error("wait for {tool}")]
    Wait {
        tool: &'static str,
        source: std::io::Error,
    },
    #[error("run {tool}: it ended with {status}: {output}")]
    Failed {
        tool: &'static str,
        status: std::process::ExitStatus,
        output: String,
    },
    #[error("run {tool}: not done after {limit:?}")]
    Late { tool: &'static str, limit: Duration },
    #[error("run {tool}: it came no further and was ended")]
    Stopped { tool: &'static str },
}

/// Whose files the data are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub name: String,
    pub user: u32,
    pub group: u32,
}

#[derive(Clone, Debug)]
pub struct Programs {
    choice: Choice,
    /// `None`: the keeper's own user.
    pub owner: Option<Owner>,
    /// Working folder of every tool.
    tool_folder: PathBuf,
    password_file: PathBuf,
}

/// Which of the installed versions is used.
#[derive(Clone, Debug)]
enum Choice {
    Given(PathBuf),
    /// The version that a data folder is of, and the newest one where it is blank: another major version installed
    /// beside it must not start on its files.
    Fitting {
        root: PathBuf,
        data: Option<PathBuf>,
    },
}

impl Choice {
    fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Given(folder) => Some(folder.clone()),
            Self::Fitting { root, data } => match data.as_deref().and_then(major) {
                Some(major) => Some(bin(root, major)),
                None => newest(root),
            },
        }
    }
}

impl Programs {
    /// Programs for what lies in `data`, if that is given and filled.
    ///
    /// # Errors
    /// When there are no programs, no such user, or PostgreSQL would have to run as root.
    pub fn find(
        configured: Option<&Path>,
        data: Option<&Path>,
        user: Option<&str>,
        tool_folder: PathBuf,
        password_file: PathBuf,
    ) -> Result<Self, ProgramError> {
        let given = configured.map(Path::to_owned);
        let choice = match given.or_else(|| std::env::var_os("PG_BIN").map(PathBuf::from)) {
            Some(folder) => Choice::Given(folder),
            None => Choice::Fitting {
                root: PathBuf::from(ROOT),
                data: data.map(Path::to_owned),
            },
        };
        let folder = choice.folder().ok_or(ProgramError::Missing)?;
        if let Err(source) = std::fs::metadata(folder.join("postgres")) {
            return Err(ProgramError::NotThere { folder, source });
        }
        let root = rustix::process::geteuid().is_root();
        let owner = match user {
            Some(name) if root => Some(look_up(name)?),
            None if root => return Err(ProgramError::Root),
            _ => None,
        };
        Ok(Self {
            choice,
            owner,
            tool_folder,
            password_file,
        })
    }

    pub fn path(&self, program: &str) -> PathBuf {
        // Once found they may be removed; then whoever starts them says so.
        self.choice.folder().unwrap_or_default().join(program)
    }

    /// The environment of everything of PostgreSQL's: nothing inherited.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("PGCONNECT_TIMEOUT", "2".to_owned()),
            ("PGPASSFILE", self.password_file.display().to_string()),
        ]
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.path(tool));
        command
            .env_clear()
            .envs(self.environment())
            .current_dir(&self.tool_folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(owner) = &self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    /// Runs a tool to its end. `input` is written to it; `each_line` sees what it writes to standard error,
    /// where a carriage return ends a line too (progress).
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes longer than `limit` (it is then killed).
    pub async fn run(
        &self,
        tool: &'static str,
        arguments: &[String],
        input: Option<&str>,
        limit: Duration,
        mut each_line: impl FnMut(&str),
    ) -> Result<(), ProgramError> {
        let mut command = self.command(tool);
        command.args(arguments);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let child = command
            .spawn()
            .map_err(|source| ProgramError::Start { tool, source })?;
        match tokio::time::timeout(limit, attend(tool, child, input, &mut each_line)).await {
            Ok(result) => result,
            Err(_) => Err(ProgramError::Late { tool, limit }),
        }
    }

    /// Runs a tool to its end, however long that takes, unless `is_over` says so: asked once a second.
    ///
    /// # Errors
    /// When it cannot be started, fails, or was ended.
    pub async fn run_watched(
        &self,
        tool: &'static str,
        arguments: &[String],
        mut each_line: impl FnMut(&str),
        mut is_over: impl FnMut() -> bool,
    ) -> Result<(), ProgramError> {
        let child = self
            .command(tool)
            .args(arguments)
            .spawn()
            .map_err(|source| ProgramError::Start { tool, source })?;
        let attending = attend(tool, child, None, &mut each_line);
        let mut attending = std::pin::pin!(attending);
        loop {
            match tokio::time::timeout(LOOK_PERIOD, &mut attending).await {
                Ok(result) => return result,
                Err(_) if is_over() => return Err(ProgramError::Stopped { tool }),
                Err(_) => {}
            }
        }
    }

    /// Runs a tool to its end and returns what it prints.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes longer than `limit` (it is then killed).
    pub async fn output(
        &self,
        tool: &'static str,
        arguments: &[String],
        limit: Duration,
    ) -> Result<String, ProgramError> {
        let mut command = self.command(tool);
        let ended = tokio::time::timeout(limit, command.args(arguments).output())
            .await
            .map_err(|_| ProgramError::Late { tool, limit })?
            .map_err(|source| ProgramError::Start { tool, source })?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        Err(ProgramError::Failed {
            tool,
            status: ended.status,
            output: said.trim().chars().take(OUTPUT_LIMIT).collect(),
        })
    }

    /// Gives a file or folder to the server's user.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn give(&self, path: &Path) -> std::io::Result<()> {
        match &self.owner {
            Some(owner) => std::os::unix::fs::chown(path, Some(owner.user), Some(owner.group)),
            None => Ok(()),
        }
    }
}

async fn attend(
    tool: &'static str,
    mut child: Child,
    input: Option<&str>,
    each_line: &mut impl FnMut(&str),
) -> Result<(), ProgramError> {
    let mut said = String::new();
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A tool that closes its input early says why on its own.
            stdin.write_all(input.as_bytes()).await.ok();
        }
    };
    let listen = async {
        if let Some(stderr) = stderr {
            listen(stderr, |line| {
                each_line(line);
                if said.len() < OUTPUT_LIMIT {
                    said.push_str(line);
                    said.push(' ');
                }
            })
            .await;
        }
    };
    let discard = async {
        if let Some(mut stdout) = stdout {
            tokio::io::copy(&mut stdout, &mut tokio::io::sink())
                .await
                .ok();
        }
    };
    tokio::join!(feed, listen, discard);
    let status = child
        .wait()
        .await
        .map_err(|source| ProgramError::Wait { tool, source })?;
    if status.success() {
        return Ok(());
    }
    Err(ProgramError::Failed {
        tool,
        status,
        output: said.trim().to_owned(),
    })
}

async fn listen(stream: impl AsyncRead + Unpin, mut each_line: impl FnMut(&str)) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(OUTPUT_LIMIT as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => String::from_utf8_lossy(&line)
                .split(['\r', '\n'])
                .filter(|part| !part.trim().is_empty())
                .for_each(&mut each_line),
        }
    }
}

fn newest(root: &Path) -> Option<PathBuf> {
    std::fs::read_dir(root)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| root.join(format!("{version}/bin/postgres")).exists())
        .max()
        .map(|version| bin(root, version))
}

fn bin(root: &Path, major: u32) -> PathBuf {
    root.join(format!("{major}/bin"))
}

/// The major version whose files a folder holds.
fn major(data: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(data.join("PG_VERSION")).ok()?;
    text.trim().parse().ok()
}

fn look_up(name: &str) -> Result<Owner, ProgramError> {
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(|source| ProgramError::Passwd {
        name: name.to_owned(),
        source,
    })?;
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
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Owner {
            name: name.to_owned(),
            user,
            group,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:PG:/var/lib/postgresql:/bin/bash\n";
        let owner = parse_passwd(passwd, "postgres").unwrap();
        assert_eq!((owner.user, owner.group), (101, 104));
        assert_eq!(parse_passwd(passwd, "post"), None);
    }

    #[test]
    fn a_folder_keeps_its_major_version() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("versions");
        for version in ["15", "17", "old"] {
            let bin = root.join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("postgres"), "").unwrap();
        }
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let choice = Choice::Fitting {
            root: root.clone(),
            data: Some(data.clone()),
        };
        assert_eq!(choice.folder(), Some(bin(&root, 17)));
        std::fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(choice.folder(), Some(bin(&root, 15)));
        // Not started with another one, whatever is there: that its own is missing is what must be said.
        std::fs::write(data.join("PG_VERSION"), "16\n").unwrap();
        assert_eq!(choice.folder(), Some(bin(&root, 16)));
    }

    #[tokio::test]
    async fn a_tool_that_is_watched_is_ended_when_it_is_over_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let rights: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        for name in ["postgres", "pg_basebackup"] {
            let path = folder.path().join(name);
            std::fs::write(&path, "#!/bin/sh\necho 1/2 kB >&2\nexec sleep 1000\n").unwrap();
            std::fs::set_permissions(&path, rights.clone()).unwrap();
        }
        let programs = Programs {
            choice: Choice::Given(folder.path().to_owned()),
            owner: None,
            tool_folder: folder.path().to_owned(),
            password_file: folder.path().join("passwords"),
        };
        let lines = std::cell::Cell::new(0);
        let mut looks = 0;
        let hear = |_: &str| lines.set(lines.get() + 1);
        let is_over = || {
            looks += 1;
            lines.get() > 0 && looks > 1
        };
        let ended = programs
            .run_watched("pg_basebackup", &[], hear, is_over)
            .await;
        assert!(matches!(ended, Err(ProgramError::Stopped { .. })));
        assert_eq!(lines.get(), 1);
        // Reaped by the runtime after it was killed.
        let gone = || crate::process::is_deserted(folder.path());
        assert!(crate::wait::until(Duration::from_secs(20), LOOK_PERIOD / 100, gone).await);
    }

    #[tokio::test]
    async fn a_carriage_return_ends_a_line_of_progress() {
        let mut lines = Vec::new();
        listen(&b"1/2 kB\r2/2 kB\n\nfailed\n"[..], |line| {
            lines.push(line.to_owned())
        })
        .await;
        assert_eq!(lines, ["1/2 kB", "2/2 kB", "failed"]);
    }
}
