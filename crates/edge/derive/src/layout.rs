//! Where the files of a platform stand on a machine.
//!
//! Two folders: *data*, which must survive, and *run*, whose paths are short because the path of a Unix
//! socket may have 107 bytes. Every path that two processes must agree on is spelled here and nowhere else.

use std::path::{Path, PathBuf};

/// The folders of one platform on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    data: PathBuf,
    run: PathBuf,
}

/// Whose password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Of the role that only keepers use.
    Superuser,
    Replication,
    /// Of the role that the database's services use.
    Application,
}

impl Secret {
    pub const ALL: [Self; 3] = [Self::Superuser, Self::Replication, Self::Application];

    const fn name(self) -> &'static str {
        match self {
            Self::Superuser => "superuser",
            Self::Replication => "replication",
            Self::Application => "application",
        }
    }
}

impl Layout {
    pub fn new(data: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), run: run.into() }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn run(&self) -> &Path {
        &self.run
    }

    /// What this machine knows of the platform it runs.
    pub fn machine_record(&self) -> PathBuf {
        self.data.join("machine.json")
    }

    /// The platform file in force, as it was given.
    pub fn platform_file(&self) -> PathBuf {
        self.data.join("platform.yaml")
    }

    pub fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    pub fn faults(&self) -> PathBuf {
        self.data.join("faults")
    }

    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets")
    }

    /// A file of mode 0600 with one password of a database and nothing else.
    pub fn secret(&self, database: &str, secret: Secret) -> PathBuf {
        self.secrets().join(format!("{database}.{}", secret.name()))
    }

    /// The application's password in the form of libpq's password file.
    pub fn password_file(&self, database: &str) -> PathBuf {
        self.secrets().join(format!("{database}.pgpass"))
    }

    /// The folder of the wire from one region to another.
    pub fn wire(&self, from: &str, to: &str) -> PathBuf {
        self.data.join("wires").join(format!("{from}--{to}"))
    }

    pub fn wire_socket(&self, from: &str, to: &str) -> PathBuf {
        self.run.join(format!("wire-{from}--{to}.sock"))
    }

    pub fn host(&self, host: &str) -> PathBuf {
        self.data.join("hosts").join(host)
    }

    /// The node's own folder: key, last checkpoint, launch record, log.
    pub fn node(&self, host: &str) -> PathBuf {
        self.host(host).join("node")
    }

    pub fn instances(&self, host: &str) -> PathBuf {
        self.host(host).join("instances")
    }

    pub fn instance(&self, host: &str, name: &str) -> PathBuf {
        self.instances(host).join(name)
    }

    /// The keeper's folder; the data folder of PostgreSQL stands in it.
    pub fn database(&self, host: &str, database: &str) -> PathBuf {
        self.host(host).join("databases").join(database)
    }

    /// Sockets and leases of a host.
    pub fn host_run(&self, host: &str) -> PathBuf {
        self.run.join(host)
    }

    pub fn node_socket(&self, host: &str) -> PathBuf {
        self.host_run(host).join("node.sock")
    }

    pub fn keeper_socket(&self, host: &str, database: &str) -> PathBuf {
        self.host_run(host).join(format!("keeper-{database}.sock"))
    }

    pub fn gateway_socket(&self, host: &str, gateway: &str) -> PathBuf {
        self.host_run(host).join(format!("gateway-{gateway}.sock"))
    }

    pub fn lease(&self, host: &str, database: &str) -> PathBuf {
        self.host_run(host).join(format!("lease-{database}"))
    }
}
