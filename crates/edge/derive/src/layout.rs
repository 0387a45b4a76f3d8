//! Where everything is kept: the one place that knows.
//!
//! ```text
//! DATA/machine.json                    what the machine knows of the platform
//! DATA/platform.yaml                   the file that is in force
//! DATA/journal/                        the embedded journal, shared by the nodes of the machine; or what etcd has let go of
//! DATA/faults/ID.json                  what was broken on purpose
//! DATA/wires/A--B/{spec,state}.json    how region A reaches region B
//! DATA/secrets/                        passwords, 0700
//! DATA/secrets/authority/              the key of the platform's authority, and the roots that are believed
//! DATA/hosts/HOST/node/                the node's own
//! DATA/hosts/HOST/identities/ROLE.pem  what a process of the host proves itself with
//! DATA/hosts/HOST/instances/NAME/      one supervised process: spec.json, state.json, log, config.json
//! DATA/hosts/HOST/archives/DB/         an archiver's own: config.json, spool, state
//! DATA/hosts/HOST/watch/               a watch's own: samples, alerts
//! DATA/hosts/HOST/etcd/                what a member of etcd keeps
//! DATA/rules/                          rule files, as they were when the platform was last told of them
//! DATA/backups/                        sealed objects, unless the file names other stores
//! DATA/hosts/HOST/databases/DB/        a keeper's own: config.json, promise; pgdata/ is PostgreSQL's
//! RUN/HOST/                            sockets and leases of a host; gone with the boot
//! RUN/wire-A--B.sock                   control of a wire
//! ```

use std::path::{Path, PathBuf};

/// What the rules that are made from objectives are called, where they are followed and in the journal.
pub const OBJECTIVES_FILE: &str = "objectives.yaml";

/// Name of the instance that keeps a replica of the database.
pub fn keeper_instance_name(database: &str) -> String {
    format!("keeper-{database}")
}

/// Name of the instance that archives a database where its primary is.
pub fn archiver_instance_name(database: &str) -> String {
    format!("archiver-{database}")
}

/// Name of the instance that is a gateway's process.
pub fn gateway_instance_name(gateway: &str) -> String {
    format!("gateway-{gateway}")
}

/// Name of the instance that is a host's watch.
pub const WATCH_INSTANCE: &str = "watch";

/// What stands in [`Layout::password_file`].
pub fn password_file_text(role: &str, password: &str) -> String {
    format!("*:*:*:{role}:{password}\n")
}

/// The folders of one platform on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    data: PathBuf,
    run: PathBuf,
}

impl Layout {
    /// Both absolute; `run` short, as socket paths have 107 bytes at most.
    pub fn new(data: &Path, run: &Path) -> Self {
        Self {
            data: data.to_path_buf(),
            run: run.to_path_buf(),
        }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn run(&self) -> &Path {
        &self.run
    }

    pub fn machine_record(&self) -> PathBuf {
        self.data.join("machine.json")
    }

    pub fn platform_file(&self) -> PathBuf {
        self.data.join("platform.yaml")
    }

    pub fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    /// While a rebuild is not over; see `mainstay_record::backup::RebuildRecord`.
    pub fn rebuild(&self) -> PathBuf {
        self.data.join("rebuild.json")
    }

    pub fn faults(&self) -> PathBuf {
        self.data.join("faults")
    }

    /// What drills leave: a folder for each run.
    pub fn drills(&self) -> PathBuf {
        self.data.join("drills")
    }

    /// Locked by the command that carries a drill.
    pub fn drill_carrier(&self) -> PathBuf {
        self.drills().join("carrier")
    }

    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets")
    }

    /// A file with the one password of a role of a database.
    pub fn password(&self, database: &str, role: &str) -> PathBuf {
        self.secrets().join(format!("{database}-{role}"))
    }

    /// PostgreSQL's own form of the application's password: what `PGPASSFILE` names.
    pub fn password_file(&self, database: &str) -> PathBuf {
        self.secrets().join(format!("{database}.pgpass"))
    }

    /// Of the platform's certificate authority.
    pub fn authority(&self) -> PathBuf {
        self.secrets().join("authority")
    }

    /// The roots that are believed.
    pub fn roots(&self) -> PathBuf {
        self.authority().join("roots.pem")
    }

    pub fn identities(&self, host: &str) -> PathBuf {
        self.host(host).join("identities")
    }

    /// The key and the certificate of a role of a host.
    pub fn identity(&self, host: &str, role: &str) -> PathBuf {
        self.identities(host).join(format!("{role}.pem"))
    }

    pub fn wires(&self) -> PathBuf {
        self.data.join("wires")
    }

    pub fn wire(&self, from: &str, to: &str) -> PathBuf {
        self.wires().join(format!("{from}--{to}"))
    }

    pub fn wire_spec(&self, from: &str, to: &str) -> PathBuf {
        self.wire(from, to).join("spec.json")
    }

    pub fn wire_state(&self, from: &str, to: &str) -> PathBuf {
        self.wire(from, to).join("state.json")
    }

    pub fn wire_control(&self, from: &str, to: &str) -> PathBuf {
        self.run.join(format!("wire-{from}--{to}.sock"))
    }

    pub fn hosts(&self) -> PathBuf {
        self.data.join("hosts")
    }

    pub fn host(&self, host: &str) -> PathBuf {
        self.hosts().join(host)
    }

    pub fn node(&self, host: &str) -> PathBuf {
        self.host(host).join("node")
    }

    /// How the node was started, for guardians.
    pub fn launch(&self, host: &str) -> PathBuf {
        self.node(host).join("launch.json")
    }

    pub fn instances(&self, host: &str) -> PathBuf {
        self.host(host).join("instances")
    }

    pub fn instance(&self, host: &str, name: &str) -> PathBuf {
        self.instances(host).join(name)
    }

    pub fn instance_spec(&self, host: &str, name: &str) -> PathBuf {
        self.instance(host, name).join("spec.json")
    }

    pub fn instance_state(&self, host: &str, name: &str) -> PathBuf {
        self.instance(host, name).join("state.json")
    }

    pub fn instance_log(&self, host: &str, name: &str) -> PathBuf {
        self.instance(host, name).join("log")
    }

    /// The snapshot that a gateway's process starts from.
    pub fn gateway_config(&self, host: &str, gateway: &str) -> PathBuf {
        self.instance(host, &gateway_instance_name(gateway))
            .join("config.json")
    }

    pub fn database(&self, host: &str, database: &str) -> PathBuf {
        self.host(host).join("databases").join(database)
    }

    pub fn keeper_config(&self, host: &str, database: &str) -> PathBuf {
        self.database(host, database).join("config.json")
    }

    pub fn pgdata(&self, host: &str, database: &str) -> PathBuf {
        self.database(host, database).join("pgdata")
    }

    /// A restored folder that the database shall begin with, and the record of it; see `mainstay_record::backup::SeedRecord`.
    pub fn seed(&self, host: &str, database: &str) -> [PathBuf; 2] {
        mainstay_record::backup::SEED.map(|name| self.database(host, database).join(name))
    }

    pub fn archives(&self, host: &str) -> PathBuf {
        self.host(host).join("archives")
    }

    pub fn archive(&self, host: &str, database: &str) -> PathBuf {
        self.archives(host).join(database)
    }

    pub fn archive_config(&self, host: &str, database: &str) -> PathBuf {
        self.archive(host, database).join("config.json")
    }

    /// What the host's member of etcd keeps.
    pub fn etcd(&self, host: &str) -> PathBuf {
        self.host(host).join("etcd")
    }

    /// Where the relay of the host's member finds the others.
    pub fn relay_config(&self, host: &str) -> PathBuf {
        self.instance(host, crate::coordination::RELAY_INSTANCE)
            .join("config.json")
    }

    /// What the host's member shows to its relay; no database can be called so.
    pub fn relay_secret(&self, host: &str) -> PathBuf {
        self.secrets().join(format!("journal.relay-{host}"))
    }

    /// What proves nodes to the cloud that keeps sealed parts of the journal; no database can be called so.
    pub fn journal_credentials(&self) -> PathBuf {
        self.secrets().join("journal.store-credentials")
    }

    /// Samples, and the state of alerts.
    pub fn watch(&self, host: &str) -> PathBuf {
        self.host(host).join("watch")
    }

    pub fn watch_config(&self, host: &str) -> PathBuf {
        self.instance(host, WATCH_INSTANCE).join("config.json")
    }

    /// Rules that are made from the objectives of the platform file.
    pub fn watch_objectives(&self, host: &str) -> PathBuf {
        self.instance(host, WATCH_INSTANCE).join(OBJECTIVES_FILE)
    }

    pub fn watch_socket(&self, host: &str) -> PathBuf {
        self.run_host(host).join("watch.sock")
    }

    /// Copies of the rule files that the platform file names.
    pub fn rules(&self) -> PathBuf {
        self.data.join("rules")
    }

    /// The default store.
    pub fn backups(&self) -> PathBuf {
        self.data.join("backups")
    }

    /// Opens the backups of a database, and must be kept apart from them.
    pub fn backup_key(&self, database: &str) -> PathBuf {
        self.secrets().join(format!("{database}-backup-key"))
    }

    /// What proves the archivers of a database to stores in clouds; written by whoever runs the platform.
    pub fn store_credentials(&self, database: &str) -> PathBuf {
        self.secrets().join(format!("{database}-store-credentials"))
    }

    pub fn run_host(&self, host: &str) -> PathBuf {
        self.run.join(host)
    }

    pub fn node_socket(&self, host: &str) -> PathBuf {
        self.run_host(host).join("node.sock")
    }

    pub fn keeper_socket(&self, host: &str, database: &str) -> PathBuf {
        self.run_host(host).join(format!("keeper-{database}.sock"))
    }

    pub fn gateway_socket(&self, host: &str, gateway: &str) -> PathBuf {
        self.run_host(host).join(format!("gateway-{gateway}.sock"))
    }

    pub fn lease(&self, host: &str, database: &str) -> PathBuf {
        self.run_host(host).join(format!("lease-{database}"))
    }
}
