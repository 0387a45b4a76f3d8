//! The part of the file about where the journal stands.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{list, tolerant};

/// Where the journal stands and leadership is decided. If absent, in a folder that the nodes of the machine share.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Coordination {
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) etcd: Option<Etcd>,
}

/// Either `endpoints` of an etcd that others run, or `members` that Mainstay runs (docs/coordination.md). It cannot be
/// changed while the platform has a journal.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Etcd {
    /// `https://HOST:PORT` or `http://HOST:PORT` of every member; the first is asked first.
    #[serde(default, deserialize_with = "list")]
    pub(crate) endpoints: Vec<String>,
    /// What the platform shows at `https` endpoints: key and certificate in one PEM file, an absolute path. By default
    /// the nodes' own certificates.
    #[serde(default)]
    pub(crate) certificate_file: Option<String>,
    /// Whom it believes there: roots in a PEM file, an absolute path. By default the platform's own authority.
    #[serde(default)]
    pub(crate) authority_file: Option<String>,
    /// Hosts that run a member each: 1, 3, 5 or 7, no majority of them in one region.
    #[serde(default, deserialize_with = "list")]
    pub(crate) members: Vec<EtcdMember>,
    /// Of the members that Mainstay runs.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) ports: EtcdPorts,
    /// Everything of the platform has a key below it (default `mainstay/NAME`).
    #[serde(default)]
    pub(crate) prefix: Option<String>,
    /// For parts of the journal that etcd has let go of: the absolute path of a folder that every host reaches, or
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` (default `journal` in the data folder). Keys of
    /// clouds stand in `DATA/secrets/journal.store-credentials`, never here.
    #[serde(default)]
    pub(crate) archive: Option<String>,
    /// How a bucket is reached.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) archive_options: Option<ArchiveOptions>,
    /// So many parts stay in etcd (default 512), 16 to 4096.
    #[serde(default)]
    pub(crate) keep_parts: Option<u32>,
}

/// How the bucket of the archive is reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ArchiveOptions {
    /// Of the bucket; S3 only.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Where the service answers, if that does not follow from the scheme, such as `https://minio.example.com`.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// Speak to an `http://` endpoint, in the clear.
    #[serde(default)]
    pub(crate) allow_http: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EtcdMember {
    /// At most one member stands on a host.
    pub(crate) host: String,
}

/// Ports are unique on the whole platform.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EtcdPorts {
    /// Where nodes ask, also for its health (default 2379).
    #[serde(default)]
    pub(crate) client: Option<u16>,
    /// Where members speak with each other (default ten above `client`).
    #[serde(default)]
    pub(crate) peer: Option<u16>,
    /// Where a member finds its way into other regions (default thirty above `client`).
    #[serde(default)]
    pub(crate) relay: Option<u16>,
}
