//! Where the journal stands, and who leads by it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::database::StoreOptions;
use crate::name::HostName;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Coordination {
    /// A folder that all nodes of the machine share.
    #[default]
    Folder,
    Etcd(Box<Etcd>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    pub members: EtcdMembers,
    /// Everything of the platform has a key below it.
    pub prefix: String,
    /// Absolute path of the folder, or the URL of the bucket, for parts that etcd has let go of; in the data folder if
    /// absent.
    pub archive: Option<String>,
    /// How the bucket is reached.
    pub archive_options: Option<StoreOptions>,
    /// So many parts stay in etcd.
    pub keep_parts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtcdMembers {
    /// Somebody else runs them.
    External {
        endpoints: Vec<EtcdEndpoint>,
        /// What the platform shows and believes there instead of its own certificates.
        identity: Option<EtcdIdentity>,
    },
    /// Mainstay runs one on each of these hosts.
    Own {
        hosts: Vec<HostName>,
        ports: EtcdPorts,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdEndpoint {
    pub host: String,
    pub port: u16,
    pub security: Security,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Tls,
    Clear,
}

/// Absolute paths of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdIdentity {
    /// Key and certificate.
    pub own: String,
    pub roots: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdPorts {
    pub client: u16,
    pub peer: u16,
    /// Where a member finds the way to the others.
    pub relay: u16,
}

impl Etcd {
    pub const KEEP_PARTS: u32 = 512;

    pub fn own_hosts(&self) -> &[HostName] {
        match &self.members {
            EtcdMembers::Own { hosts, .. } => hosts,
            EtcdMembers::External { .. } => &[],
        }
    }
}

impl Coordination {
    pub fn etcd(&self) -> Option<&Etcd> {
        match self {
            Self::Etcd(etcd) => Some(etcd),
            Self::Folder => None,
        }
    }

    /// Whether a journal of one can be gone on with under the other: it must stand where it stood.
    pub fn keeps_the_journal_of(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::Folder, Self::Folder) => true,
            (Self::Etcd(before), Self::Etcd(now)) => {
                let same_members = match (&before.members, &now.members) {
                    // An address may change; what is there is the operator's word.
                    (EtcdMembers::External { .. }, EtcdMembers::External { .. }) => true,
                    (one, other) => one == other,
                };
                same_members && before.prefix == now.prefix && before.archive == now.archive
            }
            (Self::Folder, Self::Etcd(_)) | (Self::Etcd(_), Self::Folder) => false,
        }
    }
}
