//! From the configuration file to everything a keeper is built from.
//!
//! What can be wrong with a configuration is found here, before anything is touched; no later module
//! checks it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::{Identity, IdentityError};
use mainstay_keeper::{Config, ReplicaId, Timings};
use mainstay_record::identity::{IdentityFiles, identity_name, keeper_role, server_role};
use mainstay_record::keeper::{KeeperConfig, KeeperReplica, KeeperTimings, VERSION};
use sha2::{Digest, Sha256};

use crate::certificate::{Certificate, CertificateError};
use crate::parameters::Parameters;
use crate::programs::{ProgramError, Programs};
use crate::replication::{Connection, ReplicationError, Server};
use crate::settings::{Fixed, Proof, SUPERUSER};

const CONFIG_LIMIT: u64 = 1024 * 1024;
const SECRET_LIMIT: u64 = 4_096;
/// PostgreSQL's sockets must fit into 107 bytes with their name.
const SOCKET_FOLDER_LIMIT: usize = 80;

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("read the configuration {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("understand the configuration {}", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("use the configuration: it has version {found}, this program knows {VERSION}")]
    Version { found: u32 },
    #[error("use the configuration: {what}")]
    Invalid { what: String },
    #[error("read the password in {}", path.display())]
    Secret {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("use the password in {}: it must be one line of 1 to 200 letters and digits", path.display())]
    SecretForm { path: PathBuf },
    #[error("make the folder {}", path.display())]
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "use the configuration: it names no identity; the node of this host writes one that does"
    )]
    NoIdentity,
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Passwords; they have no `Debug`, so that no log can hold them.
#[derive(Clone)]
pub struct Secrets {
    pub superuser: String,
    pub replication: String,
    pub application: String,
}

/// Where everything of one keeper lies.
#[derive(Clone, Debug)]
pub struct Layout {
    pub pgdata: PathBuf,
    pub folder: PathBuf,
    pub promise: PathBuf,
    /// Exists while the data folder is being filled; what it was then is worth nothing.
    pub filling: PathBuf,
    /// A copy of the data folder, while it is rewound and may have to be what it was again.
    pub spare: PathBuf,
    pub spare_part: PathBuf,
    pub left_over: PathBuf,
    pub quarantine: PathBuf,
    pub tools: PathBuf,
    pub password_file: PathBuf,
    /// What the server shows and whom it believes, readable by its user.
    pub certificate: IdentityFiles,
    pub shim_spec: PathBuf,
    pub shim_state: PathBuf,
    pub server_log: PathBuf,
    pub sockets: PathBuf,
}

impl Layout {
    fn of(config: &KeeperConfig) -> Self {
        Self::at(
            resolved(&config.folder),
            resolved(&config.pgdata),
            config.run_folder.join(format!("pg-{}", config.database)),
        )
    }

    pub(crate) fn at(folder: PathBuf, pgdata: PathBuf, sockets: PathBuf) -> Self {
        Self {
            pgdata,
            promise: folder.join("promise"),
            filling: folder.join("filling"),
            spare: folder.join("spare"),
            spare_part: folder.join("spare.part"),
            left_over: folder.join("left-over"),
            quarantine: folder.join("quarantine"),
            tools: folder.join("tools"),
            password_file: folder.join("passwords"),
            certificate: IdentityFiles {
                own: folder.join("server.pem"),
                roots: folder.join("roots.pem"),
            },
            shim_spec: folder.join("postgres-spec.json"),
            shim_state: folder.join("postgres-state.json"),
            server_log: folder.join("postgres.log"),
            sockets,
            folder,
        }
    }

    /// A place for what is moved aside now: the time, which is for people, and always after what came before, also where a
    /// clock was set back.
    pub(crate) fn aside(&self, kind: &str) -> std::io::Result<PathBuf> {
        let mut place = mainstay_rt::clock::wall_ms();
        for entry in std::fs::read_dir(&self.quarantine)? {
            let name = entry?.file_name();
            let before = name.to_str().and_then(|name| name.split_once('-'));
            let before = before.and_then(|(place, _)| place.parse::<u64>().ok());
            place = place.max(before.map_or(0, |before| before.saturating_add(1)));
        }
        Ok(self.quarantine.join(format!("{place:015}-{kind}")))
    }
}

/// The path without symbolic links, which is how the kernel names a process's working folder: by that a server
/// is known. What does not exist yet is no link.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return real.components().chain(rest.components()).collect();
        }
    }
    path.to_owned()
}

/// All that the threads of a keeper share.
#[derive(Clone)]
pub struct Setup {
    pub config: KeeperConfig,
    pub core: Config,
    pub layout: Layout,
    pub secrets: Secrets,
    pub identity: Arc<Identity>,
    /// What the node lays down for the server.
    pub server_identity: IdentityFiles,
    pub programs: Programs,
    /// The one thing in here that changes: it is read again from the same file.
    pub parameters: Arc<Parameters>,
    pub path: PathBuf,
}

impl Setup {
    /// # Errors
    /// When the configuration is missing, malformed or contradicts itself or the machine.
    pub fn load(path: &Path) -> Result<Self, SetupError> {
        let bytes = mainstay_rt::files::read_limited(path, CONFIG_LIMIT).map_err(|source| {
            SetupError::Read {
                path: path.to_owned(),
                source,
            }
        })?;
        let config: KeeperConfig =
            serde_json::from_slice(&bytes).map_err(|source| SetupError::Parse {
                path: path.to_owned(),
                source,
            })?;
        check(&config)?;
        let core = core_config(&config)?;
        let layout = Layout::of(&config);
        let secrets = Secrets {
            superuser: secret(&config.secrets.superuser)?,
            replication: secret(&config.secrets.replication)?,
            application: secret(&config.secrets.application)?,
        };
        let identity = config.identity.clone().ok_or(SetupError::NoIdentity)?;
        let identity = Identity::open(identity)?;
        let server_identity = config.server_identity.clone();
        let server_identity = server_identity.ok_or(SetupError::NoIdentity)?;
        let programs = Programs::find(
            config.programs.as_deref(),
            Some(&layout.pgdata),
            config.user.as_deref(),
            layout.tools.clone(),
            layout.password_file.clone(),
        )?;
        let kept = layout.folder.join("parameters.json");
        let parameters = Arc::new(Parameters::recall(kept, config.settings.clone()));
        Ok(Self {
            parameters,
            path: path.to_owned(),
            config,
            core,
            layout,
            secrets,
            identity,
            server_identity,
            programs,
        })
    }

    pub fn replica(&self, id: ReplicaId) -> Option<&KeeperReplica> {
        self.config
            .replicas
            .iter()
            .find(|replica| replica.id == u32::from(id.0))
    }

    /// The name that the keeper of a replica proves.
    pub fn keeper_name(&self, replica: &KeeperReplica) -> String {
        let role = keeper_role(&self.config.database);
        identity_name(&role, &replica.host, &self.config.platform)
    }

    /// Where a replica's server is reached, and the name that it proves.
    pub fn server_of(&self, replica: &KeeperReplica) -> Server {
        let role = server_role(&self.config.database);
        Server::Remote {
            at: replica.postgres_address,
            name: identity_name(&role, &replica.host, &self.config.platform),
        }
    }

    /// The local server's Unix socket.
    pub fn socket(&self) -> PathBuf {
        let port = self.config.listen.postgres.port();
        self.layout.sockets.join(format!(".s.PGSQL.{port}"))
    }

    /// The local server.
    pub fn local(&self) -> Server {
        Server::Socket(self.socket())
    }

    /// A replication connection of the keepers' own role.
    ///
    /// # Errors
    /// When the server cannot be reached, does not prove its name, or refuses.
    pub async fn replication(&self, server: &Server) -> Result<Connection, ReplicationError> {
        Connection::open(server, &self.identity, SUPERUSER, &self.secrets.superuser).await
    }

    /// What a server is told to prove, and with what this one proves itself to it.
    pub fn proof_of(&self, name: &str) -> Proof {
        Proof {
            name: name.to_owned(),
            own: self.layout.certificate.clone(),
        }
    }

    /// The same, of the replica whose server is reached there.
    pub fn proof_at(&self, at: std::net::SocketAddr) -> Option<Proof> {
        match self.server_at(at)? {
            Server::Remote { name, .. } => Some(self.proof_of(&name)),
            Server::Socket(_) => None,
        }
    }

    /// The replica's server that is reached there.
    pub fn server_at(&self, at: std::net::SocketAddr) -> Option<Server> {
        let mut replicas = self.config.replicas.iter();
        let found = replicas.find(|replica| replica.postgres_address == at)?;
        Some(self.server_of(found))
    }

    pub fn fixed_settings(&self) -> Fixed {
        Fixed {
            listen: self.config.listen.postgres,
            socket_folder: self.layout.sockets.clone(),
            certificate: self.layout.certificate.clone(),
            extra: self.parameters.lines(),
        }
    }

    /// Makes the folders, the password file and the certificate that tools and the server need.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn prepare(&self) -> Result<(), SetupError> {
        let layout = &self.layout;
        let parent = layout.pgdata.parent().unwrap_or(Path::new("/"));
        // The server's user must be able to pass through, not to look around.
        folder(parent, 0o711)?;
        folder(&layout.folder, 0o711)?;
        folder(&self.config.run_folder, 0o711)?;
        folder(&layout.quarantine, 0o700)?;
        for path in [&layout.tools, &layout.sockets] {
            folder(path, 0o711)?;
            self.give(path)?;
        }
        Certificate::of(self).take()?;
        let line = |role: &str, password: &str| format!("*:*:*:{role}:{password}\n");
        let passwords = line(SUPERUSER, &self.secrets.superuser)
            + &line(crate::settings::REPLICATION_ROLE, &self.secrets.replication);
        let path = &layout.password_file;
        mainstay_rt::files::write_atomic(path, passwords.as_bytes()).map_err(|source| {
            SetupError::Folder {
                path: path.clone(),
                source,
            }
        })?;
        self.give(path)
    }

    fn give(&self, path: &Path) -> Result<(), SetupError> {
        self.programs
            .give(path)
            .map_err(|source| SetupError::Folder {
                path: path.to_owned(),
                source,
            })
    }
}

fn folder(path: &Path, mode: u32) -> Result<(), SetupError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path)
        .and_then(|()| {
            let metadata = std::fs::metadata(path)?;
            let wanted = metadata.permissions().mode() | mode;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(wanted))
        })
        .map_err(|source| SetupError::Folder {
            path: path.to_owned(),
            source,
        })
}

fn check(config: &KeeperConfig) -> Result<(), SetupError> {
    if config.version != VERSION {
        let found = config.version;
        return Err(SetupError::Version { found });
    }
    let invalid = |what: String| Err(SetupError::Invalid { what });
    if config.shim.is_empty() {
        return invalid("shim is empty: it names the command that runs a shim".to_owned());
    }
    for name in [
        &config.database,
        &config.application.role,
        &config.application.database,
    ] {
        if !is_name(name) {
            return invalid(format!(
                "{name:?} is not a name: lower-case letters, digits, '-' and '_', at most 40"
            ));
        }
    }
    let sockets = config.run_folder.join(format!("pg-{}", config.database));
    if sockets.as_os_str().len() > SOCKET_FOLDER_LIMIT {
        return invalid(format!(
            "run_folder is too long for sockets: {}",
            sockets.display()
        ));
    }
    for path in [
        &config.pgdata,
        &config.folder,
        &config.run_folder,
        &config.lease_file,
        &config.control_socket,
    ] {
        if !path.is_absolute() {
            return invalid(format!("{} is not an absolute path", path.display()));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

pub(crate) fn core_config(config: &KeeperConfig) -> Result<Config, SetupError> {
    let small = |number: u32, what: &str| {
        u8::try_from(number).map_err(|_| SetupError::Invalid {
            what: format!("{what} {number} exceeds 255"),
        })
    };
    let mut replicas = std::collections::BTreeSet::new();
    for replica in &config.replicas {
        if !replicas.insert(ReplicaId(small(replica.id, "replica")?)) {
            let what = format!("replica {} occurs twice", replica.id);
            return Err(SetupError::Invalid { what });
        }
    }
    let mut leaving = std::collections::BTreeSet::new();
    for id in &config.leaving {
        leaving.insert(ReplicaId(small(*id, "replica")?));
    }
    let core = Config {
        me: ReplicaId(small(config.replica, "replica")?),
        replicas,
        leaving,
        home: ReplicaId(small(config.home, "home")?),
        copies: small(config.copies, "copies")?,
        fingerprint: fingerprint(config),
        terms_skipped: TERMS_SKIPPED,
        seed: mainstay_rt::entropy::u128(),
        timings: timings(&config.timings),
    };
    core.validate().map_err(|error| SetupError::Invalid {
        what: error.to_string(),
    })?;
    Ok(core)
}

/// A majority that was only cut off would have to elect as often before routes and archives could prefer it.
const TERMS_SKIPPED: u32 = 16;

/// Of which database this is: what its keepers are told alike, whichever version of the platform file they know.
fn fingerprint(config: &KeeperConfig) -> u64 {
    let told = format!("{:?} {:?}", config.platform, config.database);
    let digest: [u8; 32] = Sha256::digest(told.as_bytes()).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

fn timings(given: &KeeperTimings) -> Timings {
    let mut timings = Timings::default();
    let set = |target: &mut Duration, value: Option<u64>| {
        if let Some(value) = value {
            *target = Duration::from_millis(value);
        }
    };
    set(&mut timings.heartbeat, given.heartbeat_ms);
    set(&mut timings.suspicion, given.suspicion_ms);
    set(&mut timings.lease, given.lease_ms);
    set(&mut timings.recruitment, given.recruitment_ms);
    timings
}

fn secret(path: &Path) -> Result<String, SetupError> {
    let bytes = mainstay_rt::files::read_limited(path, SECRET_LIMIT).map_err(|source| {
        SetupError::Secret {
            path: path.to_owned(),
            source,
        }
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\n');
    // Nothing that a password file, a connection string or SQL would read as syntax.
    let valid = (1..=200).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if valid {
        Ok(text.to_owned())
    } else {
        let path = path.to_owned();
        Err(SetupError::SecretForm { path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_as_the_kernel_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(resolved(&link.join("not/yet")), real.join("not/yet"));
        assert_eq!(resolved(&link), real);
    }
}
