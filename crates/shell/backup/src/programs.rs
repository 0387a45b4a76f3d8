//! PostgreSQL's programs: where they are, as whom they run, and what they said when they failed.
//!
//! The newest that are installed speak with every server that runs. A copy is brought to life by those of its own major
//! version: no other starts on its files.
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
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// What a folder of programs must have.
const NEEDED: [&str; 3] = ["postgres", "pg_basebackup", "pg_verifybackup"];

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error(
        "find PostgreSQL's server programs below {ROOT}: none there; install them or set PG_BIN"
    )]
    Missing,
    #[error("find {program} in {}", folder.display())]
    NotThere { program: String, folder: PathBuf },
    #[error("read of which version of PostgreSQL the data in {} are", data.display())]
    Version {
        data: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "use data of PostgreSQL {major}: {} has no programs of that version, and no other starts on them; install \
         PostgreSQL {major}, or set PG_BIN to where it is",
        folder.display()
    )]
    NotInstalled { major: u32, folder: PathBuf },
    #[error(
        "use data of PostgreSQL {major}: the programs in {} are {said}, which do not start on them; set PG_BIN to those \
         of version {major}",
        folder.display()
    )]
    Unfit {
        major: u32,
        folder: PathBuf,
        said: String,
    },
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
    /// Where other versions are; `None` where this one was given.
    root: Option<PathBuf>,
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
        let given = configured.map(Path::to_owned);
        let given = given.or_else(|| std::env::var_os("PG_BIN").map(PathBuf::from));
        let root = given.is_none().then(|| PathBuf::from(ROOT));
        let newest = || newest(Path::new(ROOT)).ok_or(ProgramError::Missing);
        let folder = given.map_or_else(newest, Ok)?;
        all_there(&folder)?;
        let is_root = rustix::process::geteuid().is_root();
        let owner = match user {
            Some(name) if is_root => Some(look_up(name)?),
            None if is_root => return Err(ProgramError::Root),
            _ => None,
        };
        Ok(Self {
            folder,
            root,
            owner,
            password_file,
        })
    }

    /// Those of the version that a data folder is of.
    ///
    /// # Errors
    /// When the folder does not say its version, or that one is not installed.
    pub async fn fitting(&self, data: &Path) -> Result<Self, ProgramError> {
        let version = std::fs::read_to_string(data.join("PG_VERSION")).and_then(|text| {
            let nonsense = || std::io::Error::other(format!("{:?} is no version", text.trim()));
            major(text.trim()).ok_or_else(nonsense)
        });
        let major = version.map_err(|source| ProgramError::Version {
            data: data.to_owned(),
            source,
        })?;
        self.of(major).await
    }

    /// Those of a major version.
    ///
    /// # Errors
    /// When it is not installed, or others were given.
    pub async fn of(&self, major: u32) -> Result<Self, ProgramError> {
        let Some(root) = &self.root else {
            return self.given_for(major).await;
        };
        let folder = bin(root, major);
        if !folder.join("postgres").exists() {
            return Err(ProgramError::NotInstalled { major, folder });
        }
        all_there(&folder)?;
        Ok(Self {
            folder,
            ..self.clone()
        })
    }

    async fn given_for(&self, wanted: u32) -> Result<Self, ProgramError> {
        let said = self.run("postgres", &["--version"], VERSION_LIMIT).await?;
        let version = said.split_whitespace().find_map(major);
        if version == Some(wanted) {
            return Ok(self.clone());
        }
        Err(ProgramError::Unfit {
            major: wanted,
            folder: self.folder.clone(),
            said,
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
        .map(|version| bin(root, version))
}

fn bin(root: &Path, major: u32) -> PathBuf {
    root.join(format!("{major}/bin"))
}

fn all_there(folder: &Path) -> Result<(), ProgramError> {
    match NEEDED.iter().find(|name| !folder.join(name).exists()) {
        None => Ok(()),
        Some(name) => Err(ProgramError::NotThere {
            program: (*name).to_owned(),
            folder: folder.to_owned(),
        }),
    }
}

/// The major version that a version begins with: `15`, `15.14 (Debian ...)`, `18beta1`.
pub fn major(version: &str) -> Option<u32> {
    let end = version.find(|letter: char| !letter.is_ascii_digit());
    version.get(..end.unwrap_or(version.len()))?.parse().ok()
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
    /// Stands for an installed version: it says which it is, and does nothing else.
    fn install(folder: &Path, version: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(folder).unwrap();
        for name in NEEDED {
            let path = folder.join(name);
            let text = format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn data_of(folder: &Path, version: &str) -> PathBuf {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("PG_VERSION"), version).unwrap();
        data
    }

    #[tokio::test]
    async fn data_meet_programs_of_their_own_version_or_none() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("versions");
        for version in ["14", "17"] {
            install(&bin(&root, version.parse().unwrap()), version);
        }
        let installed = Programs {
            folder: newest(&root).unwrap(),
            root: Some(root.clone()),
            owner: None,
            password_file: place.path().join("passwords"),
        };
        assert_eq!(installed.folder, bin(&root, 17));
        let fitting = installed.fitting(&data_of(place.path(), "14\n")).await;
        assert_eq!(fitting.unwrap().folder, bin(&root, 14));
        for (version, reason) in [
            ("15\n", "install PostgreSQL 15, or set PG_BIN"),
            ("new\n", "\"new\" is no version"),
        ] {
            let refused = installed.fitting(&data_of(place.path(), version)).await;
            let said = crate::chain(&refused.unwrap_err());
            assert!(said.contains(reason), "{said}");
        }

        let given = Programs {
            root: None,
            ..installed
        };
        let fitting = given.fitting(&data_of(place.path(), "17\n")).await;
        assert_eq!(fitting.unwrap().folder, bin(&root, 17));
        let refused = given.fitting(&data_of(place.path(), "14\n")).await;
        let said = crate::chain(&refused.unwrap_err());
        let reason = "are postgres (PostgreSQL) 17, which do not start on them; set PG_BIN";
        assert!(said.contains(reason), "{said}");
    }

    #[test]
    fn a_major_version_is_what_a_version_begins_with() {
        for (text, version) in [
            ("15", Some(15)),
            ("15.14 (Debian 15.14-0+deb12u1)", Some(15)),
            ("18beta1", Some(18)),
            ("pg_basebackup (PostgreSQL) 15.14", None),
            ("", None),
        ] {
            assert_eq!(major(text), version, "{text}");
        }
    }
}
