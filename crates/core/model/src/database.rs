//! A database: replicas of one PostgreSQL cluster, and the arithmetic of what it survives.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::name::{DatabaseName, HostName, RegionName};

/// What may be lost at once without losing an acknowledged transaction or the ability to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Survive {
    /// Nothing: the primary acknowledges alone.
    Nothing,
    /// Any one host.
    Host,
    /// Any one region with all its hosts.
    #[default]
    Region,
}

impl Survive {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Host => "host",
            Self::Region => "region",
        }
    }
}

impl fmt::Display for Survive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many replicas must have a commit on disk before it is acknowledged (the primary included), and how
/// many must promise to leave the old term before another replica may be promoted.
///
/// Any set of `promise` replicas meets any set of `commit` replicas: `commit + promise > replicas`. That is
/// why the recruited replica with the most advanced log has everything that was ever acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    pub commit: u8,
    pub promise: u8,
}

impl Quorum {
    /// For `replicas` (at least 1) that must survive what `survive` says.
    pub const fn of(survive: Survive, replicas: u8) -> Self {
        let majority = replicas / 2 + 1;
        match survive {
            Survive::Nothing => Self {
                commit: 1,
                promise: replicas,
            },
            Survive::Host | Survive::Region => Self {
                commit: majority,
                promise: majority,
            },
        }
    }

    /// How many replicas may vanish while the rest can still commit and elect.
    pub const fn spare(self, replicas: u8) -> u8 {
        let needed = if self.commit > self.promise {
            self.commit
        } else {
            self.promise
        };
        replicas.saturating_sub(needed)
    }
}

/// Ports of a database as declared; see [`crate::address::HostIndex::port`] for the port on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabasePorts {
    /// PostgreSQL itself.
    pub postgres: u16,
    /// Keeper to keeper.
    pub peer: u16,
    /// The keeper's HTTP: status and the stream of sights.
    pub sight: u16,
}

/// Which replica, by its place in the file, from 1. Small, because it travels in every keeper message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u8);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub id: ReplicaId,
    pub host: HostName,
    pub region: RegionName,
}

/// A replica by the number that its keepers know it by, and whether it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaFate {
    pub replica: Replica,
    pub leaves: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub name: DatabaseName,
    /// Where its primary belongs when all is well.
    pub home: RegionName,
    pub survive: Survive,
    pub quorum: Quorum,
    pub ports: DatabasePorts,
    /// The most that a replica which is filled anew takes from its source, in KiB a second.
    pub filling_rate_kib: Option<u32>,
    /// In the order of the file, at least one; one of them is in the home region.
    pub replicas: Vec<Replica>,
    /// Those that the file names no more and that something may still rest on; no file says so, the journal does.
    pub leaving: Vec<Replica>,
    /// How many replicas came after the database was created.
    pub additions: u32,
    pub backup: Option<Backup>,
    /// What PostgreSQL is told besides what the keeper tells it; none of them is the keeper's.
    pub parameters: BTreeMap<String, String>,
}

/// How a database is put away, and how often that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Absolute folders or URLs of buckets, at most two; none for the default.
    pub stores: Vec<String>,
    /// Of those that are URLs.
    pub store_options: Vec<StoreOptions>,
    /// From one base backup to the next.
    pub every: Duration,
    /// From one proof to the next; zero for none.
    pub prove_every: Duration,
    /// The most that is lost together with all hosts.
    pub log_every: Duration,
    /// Every moment this far back stays within reach.
    pub keep_for: Duration,
    /// So many base backups stay, however old.
    pub keep_count: u32,
    /// Log that waits longer than this to be put away is an alarm.
    pub alarm_after: Duration,
    /// Bytes of log that may wait on the primary's host while no store takes it.
    pub backlog_limit: u64,
    /// Where archivers tell their figures to watches.
    pub metrics_port: Option<u16>,
}

/// How a store in a cloud is reached; what proves who we are to it stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    pub store: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub allow_http: bool,
}

impl Backup {
    pub const STORES_MAX: usize = 2;
}

impl Database {
    /// At most this many replicas: beyond it, a majority costs more than it protects.
    pub const REPLICAS_MAX: usize = 9;
    pub const PARAMETERS_MAX: usize = 200;

    /// Also one that leaves.
    pub fn replica_on(&self, host: &HostName) -> Option<&Replica> {
        let mut all = self.replicas.iter().chain(&self.leaving);
        all.find(|replica| replica.host == *host)
    }

    /// What became of its replicas since it was created: the number of each, and which ones leave.
    pub fn follow(&mut self, fates: &[ReplicaFate], additions: u32) {
        self.additions = additions;
        for fate in fates {
            let known = self
                .replicas
                .iter_mut()
                .find(|replica| replica.host == fate.replica.host);
            match known {
                Some(replica) => replica.id = fate.replica.id,
                None if fate.leaves => self.leaving.push(fate.replica.clone()),
                None => {}
            }
        }
    }

    /// The replica that is primary when the database is created: the first of the file in the home region.
    pub fn home_replica(&self) -> Option<&Replica> {
        self.replicas
            .iter()
            .find(|replica| replica.region == self.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promise_meets_every_commit() {
        for survive in [Survive::Nothing, Survive::Host, Survive::Region] {
            for replicas in 1..=9 {
                let quorum = Quorum::of(survive, replicas);
                assert!(
                    quorum.commit + quorum.promise > replicas,
                    "{survive} {replicas}"
                );
                assert!(quorum.commit <= replicas && quorum.promise <= replicas);
            }
        }
        assert_eq!(Quorum::of(Survive::Region, 3).spare(3), 1);
        assert_eq!(Quorum::of(Survive::Region, 4).spare(4), 1);
        assert_eq!(Quorum::of(Survive::Nothing, 3).spare(3), 0);
    }
}
