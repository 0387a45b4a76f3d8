//! Who a process of the platform is: names in certificates, the files that prove them, the authority's record.
//!
//! A name is `ROLE.HOST.PLATFORM.mainstay`. Whoever is reached shows the one that the caller expects; whoever
//! calls shows one that the called one knows. The servers of a database have a name in common besides, for clients
//! that do not care which of them answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version that this code writes, and the only one it reads.
pub const AUTHORITY_VERSION: u32 = 1;

/// The role of a host's node.
pub const NODE_ROLE: &str = "node";

/// The role of a host's watch.
pub const WATCH_ROLE: &str = "watch";

/// The role of a host's member of etcd.
pub const ETCD_ROLE: &str = "etcd";

/// What a process of ours proves itself with, and whom it believes. Both files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityFiles {
    /// A private key and its certificate, PEM, mode 0600.
    pub own: PathBuf,
    /// The roots of the platform's authority, PEM.
    pub roots: PathBuf,
}

/// The name that a role of a host has in its certificate.
pub fn identity_name(role: &str, host: &str, platform: &str) -> String {
    format!("{role}.{host}.{platform}.mainstay")
}

/// The role of whoever keeps a replica of the database.
pub fn keeper_role(database: &str) -> String {
    format!("keeper-{database}")
}

/// The role of a replica's server.
pub fn server_role(database: &str) -> String {
    format!("postgres-{database}")
}

/// The role of whoever archives the database.
pub fn archiver_role(database: &str) -> String {
    format!("archiver-{database}")
}

/// The role of a gateway's process.
pub fn gateway_role(gateway: &str) -> String {
    format!("gateway-{gateway}")
}

/// The role of an instance of a service.
pub fn service_role(service: &str) -> String {
    format!("service-{service}")
}

/// The name that every server of the database has.
pub fn database_name(database: &str, platform: &str) -> String {
    format!("{database}.{platform}.mainstay")
}

/// The name that a gateway has on every host where its listeners show a leaf.
pub fn gateway_name(gateway: &str, platform: &str) -> String {
    format!("{gateway}.gateway.{platform}.mainstay")
}

/// A certificate that a host should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedLeaf {
    pub name: String,
    /// Further names and addresses that it proves.
    pub also: Vec<String>,
    /// Where it is laid down, with its key.
    pub path: PathBuf,
}

/// What the authority remembers beside its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityRecord {
    pub version: u32,
    pub platform: String,
    /// Every root that is believed.
    pub roots: Vec<RootRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootRecord {
    /// SHA-256 of the public key, hexadecimal.
    pub key: String,
    /// PEM.
    pub certificate: String,
    /// Since when its key issues nothing any more; believed until its last leaf has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_wall_ms: Option<u64>,
}
