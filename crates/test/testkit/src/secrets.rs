//! Secrets of a platform, and whether any of them stands where it must not.
//!
//! A secret is known by the file that it lives in: everything in the folder of secrets, and every private key below the data
//! folder. It may stand in no other file (but for the few that hand a password to PostgreSQL's own programs), in no arguments,
//! in nobody's environment, and in nothing that is printed of the journal.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::platform::{Platform, said};

/// Shorter ones are words.
const SECRET_LEAST: usize = 16;
/// No log of a test is larger; what is, is data.
const FILE_LIMIT: u64 = 64 << 20;
/// As much of a private key as tells it from all others: a line of its text.
const PEM_LINE: usize = 64;

/// Who may have a secret in the environment, because the program takes it in no other way: etcd its relay's.
const IN_ENVIRONMENT: &str = "journal.relay-";
/// Written for PostgreSQL's programs, readable for their user alone.
const PASSWORD_FILE: &str = "passwords";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    /// The file that it lives in.
    pub home: PathBuf,
    bytes: Vec<u8>,
}

impl Secret {
    fn stands_in(&self, bytes: &[u8]) -> bool {
        memmem::find(bytes, &self.bytes).is_some()
    }

    fn name(&self) -> String {
        let name = self.home.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Where secrets of a platform stand and must not, one sentence for each.
#[must_use]
pub fn betrayed(platform: &Platform) -> Vec<String> {
    let data = platform.data();
    let secrets = secrets(&data);
    let mut found = in_files(&secrets, &data);
    if let Some(run) = platform.record("machine.json")
        && let Some(run) = run["run_folder"].as_str()
    {
        found.extend(in_files(&secrets, Path::new(run)));
    }
    found.extend(in_processes(&secrets, &data));
    for asked in [&["journal", "show", "--json"][..], &["status", "--json"]] {
        let told = said(&platform.mainstay(asked));
        let told = betraying(&secrets, told.as_bytes()).map(|secret| {
            let name = secret.name();
            format!(
                "the secret {name} is told by `mainstay {}`",
                asked.join(" ")
            )
        });
        found.extend(told);
    }
    found
}

/// All that a platform keeps in a data folder.
#[must_use]
pub fn secrets(data: &Path) -> Vec<Secret> {
    let own = data.join("secrets");
    let mut secrets = BTreeSet::new();
    for home in files_below(data) {
        let is_own = home.starts_with(&own);
        let is_pem = home.extension().is_some_and(|kind| kind == "pem");
        let Ok(bytes) = std::fs::read(&home) else {
            continue;
        };
        let parts = match bytes.starts_with(b"-----BEGIN") {
            true if is_own || is_pem => private_keys(&bytes),
            false if is_own => words(&bytes),
            _ => Vec::new(),
        };
        let long = parts.into_iter().filter(|part| part.len() >= SECRET_LEAST);
        secrets.extend(long.map(|bytes| Secret {
            home: home.clone(),
            bytes,
        }));
    }
    secrets.into_iter().collect()
}

/// A line from the middle of each private key: the first ones are alike in all of a kind.
fn private_keys(bytes: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let Some((kind, rest)) = block.split_once("-----") else {
            continue;
        };
        let body = rest.split("-----END").next().unwrap_or_default();
        let mut lines = body.lines().filter(|line| line.len() == PEM_LINE);
        if kind.contains("PRIVATE KEY") {
            keys.extend(lines.next_back().map(|line| line.as_bytes().to_vec()));
        }
    }
    keys
}

/// What a file of secrets says: one word, or names with values, or bytes that are no text.
fn words(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return vec![bytes.to_vec(), hexadecimal.into_bytes()];
    };
    let named: Vec<Vec<u8>> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| {
            ["SECRET", "_KEY", "TOKEN"]
                .iter()
                .any(|part| name.contains(part))
        })
        .filter(|(name, _)| !name.trim().ends_with("_ID"))
        .map(|(_, value)| value.trim().as_bytes().to_vec())
        .collect();
    let text = text.trim();
    match named.is_empty() && !text.contains(char::is_whitespace) {
        true => vec![text.as_bytes().to_vec()],
        false => named,
    }
}

/// What is the home of one secret may hold others: a password file has a password in another form.
fn in_files(secrets: &[Secret], folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in files_below(folder) {
        if secrets.iter().any(|secret| secret.home == path) || is_password_file(&path) {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        found
            .extend(betraying(secrets, &bytes).map(|secret| {
                format!("the secret {} stands in {}", secret.name(), path.display())
            }));
    }
    found
}

/// What a server's own programs read, and nobody else may.
fn is_password_file(path: &Path) -> bool {
    let is_named = path.file_name().is_some_and(|name| name == PASSWORD_FILE);
    let is_own = std::fs::metadata(path).is_ok_and(|known| known.permissions().mode() & 0o077 == 0);
    is_named && is_own
}

/// Of every process its arguments; and the environment of those that know the data folder.
fn in_processes(secrets: &[Secret], data: &Path) -> Vec<String> {
    let data = data.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let read = |what: &str| std::fs::read(entry.path().join(what)).unwrap_or_default();
        let (arguments, environment) = (read("cmdline"), read("environ"));
        let shown = String::from_utf8_lossy(&arguments).replace('\0', " ");
        for secret in betraying(secrets, &arguments) {
            let name = secret.name();
            found.push(format!(
                "the secret {name} is in the arguments of {pid}: {shown}"
            ));
        }
        let is_own = [&arguments, &environment]
            .iter()
            .any(|bytes| memmem::find(bytes, data.as_bytes()).is_some());
        let known = betraying(secrets, &environment)
            .filter(|secret| is_own && !secret.name().starts_with(IN_ENVIRONMENT));
        for secret in known {
            let name = secret.name();
            found.push(format!(
                "the secret {name} is in the environment of {pid}: {shown}"
            ));
        }
    }
    found
}

fn betraying<'a>(secrets: &'a [Secret], bytes: &'a [u8]) -> impl Iterator<Item = &'a Secret> {
    secrets.iter().filter(|secret| secret.stands_in(bytes))
}

/// Every file but what the servers keep, which has passwords as verifiers only and is large.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let each = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() && entry.path().join("PG_VERSION").exists() => Vec::new(),
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        Ok(kind) if kind.is_file() => {
            let is_small = entry
                .metadata()
                .is_ok_and(|known| known.len() <= FILE_LIMIT);
            is_small.then(|| entry.path()).into_iter().collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::child::GuardedChild;

    const PASSWORD: &str = "7d1f0c5ad2b94e6e8f3a";
    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0123456789abcdef\n\
                       c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0\n";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("secrets");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("orders-application"), format!("{PASSWORD}\n")).unwrap();
        std::fs::write(
            own.join("store-credentials"),
            "AWS_ACCESS_KEY_ID=AKIDEXAMPLE-AKIDEXAMPLE\n\
            AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIKEXAMPLEKEY\n",
        )
        .unwrap();
        let leaf = format!("-----BEGIN PRIVATE KEY-----\n{KEY}-----END PRIVATE KEY-----\n");
        std::fs::write(folder.path().join("leaf.pem"), leaf).unwrap();
        folder
    }

    /// Both look at all processes: what one plants is not for the other to find.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn what_lives_in_its_own_file_is_no_finding() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder();
        let secrets = secrets(folder.path());
        assert_eq!(secrets.len(), 3, "{secrets:?}");
        assert_eq!(in_files(&secrets, folder.path()), Vec::<String>::new());
        assert_eq!(in_processes(&secrets, folder.path()), Vec::<String>::new());
        // Who has a key is no secret, and neither is a password in the one file that is made for it.
        std::fs::write(folder.path().join("log"), "AKIDEXAMPLE-AKIDEXAMPLE").unwrap();
        let passwords = folder.path().join("passwords");
        std::fs::write(&passwords, PASSWORD).unwrap();
        std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(in_files(&secrets, folder.path()), Vec::<String>::new());
        std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(in_files(&secrets, folder.path()).len(), 1);
    }

    #[test]
    fn planted_secrets_are_found_in_logs_arguments_and_the_environment() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder();
        let secrets = secrets(folder.path());
        let logs = folder.path().join("hosts/a");
        std::fs::create_dir_all(&logs).unwrap();
        let line = format!("{{\"error\":\"no such role: {PASSWORD}\"}}\n{KEY}");
        std::fs::write(logs.join("node.log"), line).unwrap();
        let told = in_files(&secrets, folder.path()).join("\n");
        assert!(
            told.contains("orders-application stands in") && told.contains("node.log"),
            "{told}"
        );
        assert!(told.contains("leaf.pem stands in"), "{told}");
        let waits = |argument: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", "read line", "sh", argument]);
            command.stdin(Stdio::piped());
            command
        };
        let told = GuardedChild::spawn(&mut waits("wJalrXUtnFEMIKEXAMPLEKEY")).unwrap();
        let mut given = waits(&folder.path().display().to_string());
        let given = GuardedChild::spawn(given.env("PGPASSWORD", PASSWORD)).unwrap();
        let found = crate::wait::wait_for("both", std::time::Duration::from_secs(10), || {
            let found = in_processes(&secrets, folder.path());
            (found.len() >= 2).then(|| found.join("\n"))
        });
        let found = found.unwrap();
        let arguments = format!("store-credentials is in the arguments of {}", told.id());
        let environment = format!("orders-application is in the environment of {}", given.id());
        assert!(
            found.contains(&arguments) && found.contains(&environment),
            "{found}"
        );
    }
}
