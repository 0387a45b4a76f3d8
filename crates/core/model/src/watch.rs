//! The watch: who asks everybody for their figures, follows rules over them, and remembers.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::name::HostName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Each runs a watch of its own, which asks everybody and shares nothing with the others. Not empty.
    pub hosts: Vec<HostName>,
    /// Where it answers questions to whoever proves to be of the platform, and where watches ask each other. Without
    /// one, questions come over the socket of its host alone.
    pub port: Option<u16>,
    /// From one question to the next, and from one evaluation to the next where a group of rules says nothing else.
    pub interval: Duration,
    pub retention: Duration,
    /// As the file names them; no two have the same last part.
    pub rules: Vec<String>,
    pub targets: Vec<WatchTarget>,
}

impl Watch {
    /// Jobs that the platform's own targets have.
    pub const OWN_JOBS: [&str; 4] = ["gateway", "keeper", "node", "watch"];

    /// The last part of a rule file's path: what it is called where it is followed.
    pub fn rule_name(path: &str) -> &str {
        path.rsplit('/').next().unwrap_or(path)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchTarget {
    pub job: String,
    pub instance: String,
    pub address: TargetAddress,
    pub path: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAddress {
    /// `HOST:PORT`, in the clear.
    Tcp(String),
    /// The absolute path of a socket.
    Unix(String),
}
