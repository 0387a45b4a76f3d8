//! A client of a platform's database, by the sockets of its servers: one program for each question.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot begin says at once why"
)]

use std::path::{Path, PathBuf};

use crate::platform::Platform;
use crate::postgres::program;

/// Asks as the application, which has the database's name for its own.
#[derive(Clone)]
pub struct Asker {
    database: String,
    password: String,
    folders: Vec<PathBuf>,
}

impl Asker {
    /// # Panics
    /// When the platform has no such database.
    #[must_use]
    pub fn of(platform: &Platform, database: &str, hosts: &[&str]) -> Self {
        let secret = platform
            .data()
            .join("secrets")
            .join(format!("{database}-application"));
        let password = std::fs::read_to_string(secret).expect("a password");
        let folder = |host: &&str| {
            platform
                .run_folder()
                .join(host)
                .join(format!("pg-{database}"))
        };
        Self {
            database: database.to_owned(),
            password: password.trim().to_owned(),
            folders: hosts.iter().map(folder).collect(),
        }
    }

    /// What the first server answers that takes this: of what writes, the primary.
    #[must_use]
    pub fn ask(&self, sql: &str) -> Option<String> {
        self.folders
            .iter()
            .find_map(|folder| self.ask_at(folder, sql))
    }

    /// What each server answers, in the order of the hosts.
    #[must_use]
    pub fn ask_each(&self, sql: &str) -> Vec<Option<String>> {
        let folders = self.folders.iter();
        folders.map(|folder| self.ask_at(folder, sql)).collect()
    }

    /// A warning is no answer: what was told with it may not have been done.
    fn ask_at(&self, folder: &Path, sql: &str) -> Option<String> {
        let sockets = std::fs::read_dir(folder).ok()?.flatten();
        let names = sockets.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let port = names
            .filter(|name| !name.ends_with(".lock"))
            .find_map(|name| name.strip_prefix(".s.PGSQL.").map(str::to_owned))?;
        let output = program("psql")
            .ok()?
            .args(["--no-psqlrc", "-qtA", "-U", "application", "-p", &port])
            .args(["-d", &self.database])
            .arg("-h")
            .arg(folder)
            .args(["-c", sql])
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let warned = String::from_utf8_lossy(&output.stderr).contains("WARNING");
        (output.status.success() && !warned).then_some(text)
    }
}
