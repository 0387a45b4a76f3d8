//! The servers that an archive is of: which is the primary, and how it is asked.
//!
//! Keepers say who is primary; a server's own word is not taken, since a primary that was replaced still believes it is
//! one. SQL goes through PostgreSQL's own `psql`, which needs no second implementation of anything.
//!
//! A server that is reached over the network proves its name first, by a leaf of the platform's authority: what it
//! hands out becomes the archive, and what it is handed is the password of its superuser.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_identity::{Identity, web};
use mainstay_record::backup::{BackupConfig, BackupServer};
use mainstay_record::identity::{identity_name, keeper_role, server_role};
use mainstay_record::keeper::{KeeperStatus, SightRole};

use crate::archive::{Archive, SUPERUSER};
use crate::programs::{ProgramError, Programs};

/// For a keeper's answer; one that is slower does not count.
const SIGHT_LIMIT: Duration = Duration::from_secs(2);
/// For one statement of ours on a server that is alive; none of them is large.
const SQL_LIMIT: Duration = Duration::from_secs(120);
/// The database that holds marks and the archive's identity.
pub const OWN_DATABASE: &str = "postgres";
const SEPARATOR: char = '\u{1f}';
/// In an archiver's folder: the roots as the user that runs PostgreSQL's programs may read them.
const ROOTS: &str = "roots.pem";
const ROOTS_LIMIT: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(
        "find the primary of {database}: no keeper says that it has one that is open ({heard})"
    )]
    NoPrimary { database: String, heard: String },
    #[error("{action}")]
    Sql {
        action: &'static str,
        source: ProgramError,
    },
    #[error("{action}: the server answered {answer:?}")]
    Answer {
        action: &'static str,
        answer: String,
    },
}

#[derive(Clone, Debug)]
pub struct Found {
    pub server: BackupServer,
    pub status: KeeperStatus,
}

/// What the keepers say, at one moment.
#[derive(Clone, Debug)]
pub struct Sources {
    database: String,
    found: Vec<Found>,
    heard: String,
}

impl Sources {
    /// Asks every keeper.
    pub async fn look(config: &BackupConfig) -> Self {
        let (mut found, mut heard) = (Vec::new(), Vec::new());
        for server in &config.servers {
            match status_of(config, server).await {
                Ok(status) => {
                    let role = format!("{:?}", status.sight.role).to_lowercase();
                    heard.push(format!("{}: {role}", server.host));
                    let server = server.clone();
                    found.push(Found { server, status });
                }
                Err(why) => heard.push(format!("{}: {why}", server.host)),
            }
        }
        Self {
            database: config.database.clone(),
            found,
            heard: heard.join(", "),
        }
    }

    /// The open primary of the highest term.
    ///
    /// # Errors
    /// When no keeper says that it has one.
    pub fn primary(&self) -> Result<&Found, SourceError> {
        let primaries = self
            .found
            .iter()
            .filter(|found| is_open_primary(&found.status));
        let highest = primaries.max_by_key(|found| found.status.sight.term);
        highest.ok_or_else(|| SourceError::NoPrimary {
            database: self.database.clone(),
            heard: self.heard.clone(),
        })
    }

    /// A standby of the primary's timeline, to take work off the primary.
    pub fn standby(&self) -> Option<&Found> {
        let timeline = self.primary().ok()?.status.timeline;
        let standbys = self.found.iter().filter(|found| {
            found.status.sight.role == SightRole::Standby && found.status.timeline == timeline
        });
        standbys.max_by_key(|found| {
            let lsn: Option<mainstay_units::Lsn> = found.status.sight.lsn.parse().ok();
            lsn
        })
    }
}

pub fn is_open_primary(status: &KeeperStatus) -> bool {
    status.sight.role == SightRole::Primary && status.sight.open
}

/// What the keeper beside a server says.
pub async fn status_of(
    config: &BackupConfig,
    server: &BackupServer,
) -> Result<KeeperStatus, String> {
    let (get, target) = (http::Method::GET, "/v1/status");
    let answer = match &server.local {
        Some(local) => {
            let control = &local.control;
            mainstay_rt::http::request_unix(control, get, target, Vec::new(), SIGHT_LIMIT).await
        }
        None => match &config.identity {
            Some(files) => {
                let identity =
                    Identity::read(files.clone()).map_err(|error| crate::chain(&error))?;
                let role = keeper_role(&config.database);
                let name = identity_name(&role, &server.host, &config.platform);
                let keeper = (server.sight, name.as_str());
                web::request(&identity, keeper, get, target, Vec::new(), SIGHT_LIMIT).await
            }
            None => {
                let sight = server.sight;
                mainstay_rt::http::request_tcp(sight, get, target, Vec::new(), SIGHT_LIMIT).await
            }
        },
    };
    let (code, body) = answer.map_err(|error| crate::chain(&error))?;
    serde_json::from_slice(&body).map_err(|error| format!("{code}: {error}"))
}

/// How libpq is told whom to connect to.
#[derive(Clone, Debug)]
pub enum Place {
    /// Over the network, where the server must prove its name; without a proof where the archiver has no identity either.
    Address(SocketAddr, Option<Proof>),
    /// A folder with a socket, and the port that the socket is named after.
    Socket(PathBuf, u16),
}

/// What a server must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The name in its leaf.
    pub name: String,
    /// Who is believed, readable for the user that runs PostgreSQL's programs.
    pub roots: PathBuf,
}

impl Place {
    /// By its socket where that is at hand.
    pub fn of(archive: &Archive, server: &BackupServer) -> Self {
        match &server.local {
            Some(local) => Self::Socket(local.sockets.clone(), server.postgres.port()),
            None => Self::Address(server.postgres, proof(archive, server)),
        }
    }

    pub fn conninfo(&self, database: &str, more: &str) -> String {
        let host = match self {
            Self::Address(address, None) => {
                format!("host={} port={}", address.ip(), address.port())
            }
            Self::Address(address, Some(Proof { name, roots })) => format!(
                "host={name} hostaddr={} port={} sslmode=verify-full sslrootcert={} \
                 ssl_min_protocol_version=TLSv1.3 channel_binding=require",
                address.ip(),
                address.port(),
                quote(roots),
            ),
            Self::Socket(folder, port) => {
                format!("host={} port={port}", quote(folder))
            }
        };
        format!("{host} user={SUPERUSER} dbname={database} {more}")
    }
}

/// The roots are looked at each time: the authority may have got another key since.
fn proof(archive: &Archive, server: &BackupServer) -> Option<Proof> {
    let config = &archive.config;
    let believed = &config.identity.as_ref()?.roots;
    let roots = config.folder.join(ROOTS);
    if let Err(error) = hand_on(&archive.programs, believed, &roots) {
        tracing::warn!(
            error = crate::chain(&error),
            from = %believed.display(),
            "servers of other hosts are proven by the roots that were known before"
        );
    }
    let role = server_role(&config.database);
    let name = identity_name(&role, &server.host, &config.platform);
    Some(Proof { name, roots })
}

fn hand_on(programs: &Programs, from: &Path, to: &Path) -> std::io::Result<()> {
    let roots = mainstay_rt::files::read_limited(from, ROOTS_LIMIT)?;
    if std::fs::read(to).is_ok_and(|known| known == roots) {
        return Ok(());
    }
    mainstay_rt::files::write_atomic_for(to, &roots, |path| programs.give(path))
}

fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Runs SQL in one transaction and returns the rows of all its statements.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn ask(
    programs: &Programs,
    place: &Place,
    database: &str,
    action: &'static str,
    sql: &str,
) -> Result<Vec<Vec<String>>, SourceError> {
    ask_for(SQL_LIMIT, programs, place, database, action, sql).await
}

/// As [`ask`], for a statement that may take long: it is given up after `limit`.
///
/// # Errors
/// When the server cannot be reached, refuses, or does not answer within the limit.
pub async fn ask_for(
    limit: Duration,
    programs: &Programs,
    place: &Place,
    database: &str,
    action: &'static str,
    sql: &str,
) -> Result<Vec<Vec<String>>, SourceError> {
    let separator = format!("--field-separator={SEPARATOR}");
    let conninfo = place.conninfo(database, "application_name=mainstay_archiver");
    let arguments = [
        "--no-psqlrc",
        "--no-password",
        "--quiet",
        "--tuples-only",
        "--no-align",
        &separator,
        "--set=ON_ERROR_STOP=1",
        "--dbname",
        &conninfo,
        "--command",
        sql,
    ];
    let said = programs
        .run("psql", &arguments, limit)
        .await
        .map_err(|source| SourceError::Sql { action, source })?;
    let rows = said.lines().filter(|line| !line.is_empty());
    Ok(rows
        .map(|line| line.split(SEPARATOR).map(str::to_owned).collect())
        .collect())
}

/// As [`ask`], for one value.
///
/// # Errors
/// When the server cannot be reached, refuses, or answers something else.
pub async fn value(
    programs: &Programs,
    place: &Place,
    database: &str,
    action: &'static str,
    sql: &str,
) -> Result<String, SourceError> {
    only(ask(programs, place, database, action, sql).await?, action)
}

/// The one value of an answer; nothing where there is no row.
///
/// # Errors
/// When there are others.
pub fn only(rows: Vec<Vec<String>>, action: &'static str) -> Result<String, SourceError> {
    match rows.as_slice() {
        [row] if row.len() == 1 => Ok(row.concat()),
        [] => Ok(String::new()),
        other => Err(SourceError::Answer {
            action,
            answer: format!("{other:?}"),
        }),
    }
}
