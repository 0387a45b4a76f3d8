//! What a keeper is told once, when it starts: who the replicas are, how many copies a commit needs,
//! and how patient to be.

use alloc::collections::BTreeSet;
use core::fmt;
use core::time::Duration;

/// Names a replica of one database; small, given by the platform file, equal in every keeper's
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u8);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Some of the replicas, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Roster([u64; 4]);

impl Roster {
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.0[usize::from(replica.0 / 64)] & (1 << (replica.0 % 64)) != 0
    }

    pub fn iter(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let all = (0..=u8::MAX).map(ReplicaId);
        all.filter(|replica| self.contains(*replica))
    }
}

impl FromIterator<ReplicaId> for Roster {
    fn from_iter<I: IntoIterator<Item = ReplicaId>>(replicas: I) -> Self {
        let mut roster = Self::default();
        for replica in replicas {
            roster.0[usize::from(replica.0 / 64)] |= 1 << (replica.0 % 64);
        }
        roster
    }
}

/// A keeper's configuration. Build it, then hand it to [`crate::Keeper::new`], which checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The replica beside which this keeper lives.
    pub me: ReplicaId,
    /// Every replica that the platform file gives the database, and those that it gave and that are leaving.
    pub replicas: BTreeSet<ReplicaId>,
    /// Of these, the ones that shall count no longer.
    pub leaving: BTreeSet<ReplicaId>,
    /// Where the database is created, and who is preferred when logs are equal.
    pub home: ReplicaId,
    /// How many replicas, the primary included, shall have a commit on disk before it is acknowledged;
    /// derived from `survive`. What is promised until then is in the record of the cohort.
    pub copies: u8,
    /// A digest of what all keepers of the database are told alike, whatever version of the platform file they know: which
    /// database this is. Who votes and who counts is said by the record of the cohort, not by a file.
    pub fingerprint: u64,
    /// How many terms a forced failover leaves out. Whoever compares terms and knows no lineages (routes, archives)
    /// then prefers it to what a majority that was only cut off has gone on with. Each costs an empty file.
    pub terms_skipped: u32,
    /// Fresh entropy, drawn by the shell at each start: incarnations and jitter come from it.
    pub seed: u128,
    pub timings: Timings,
}

/// What the platform file asks for, and may ask for anew while the keeper runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// None that the keeper does not know: for that it is started anew.
    pub replicas: BTreeSet<ReplicaId>,
    pub leaving: BTreeSet<ReplicaId>,
    pub home: ReplicaId,
    pub copies: u8,
}

/// How patient the keeper is. Safety rests on none of these except the lease, which bounds stale reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How often keepers tell each other what they see; where nothing changes, half as often
    /// ([`Timings::heartbeat_at_rest`]).
    pub heartbeat: Duration,
    /// Silence of a primary's keeper after which it is suspected. Longer than `lease`.
    pub suspicion: Duration,
    /// The most that an unsteady link or a busy machine may add to `suspicion`.
    pub suspicion_addition_limit: Duration,
    /// Suspicion while the peer's voice is heard: its keeper is late, and its host lives.
    pub suspicion_while_voiced: Duration,
    /// Suspicion while the server's own stream still brings messages: its keeper alone is gone and may
    /// be back soon.
    pub suspicion_while_streaming: Duration,
    /// How long the answers of a majority of keepers entitle a primary to answer readers, counted from
    /// the sending of what they answered.
    pub lease: Duration,
    /// A timer that fired later than this says that the observer was late: suspicion starts afresh.
    pub overrun: Duration,
    /// How long the second-best candidate lets the best one go first; the third waits twice as long.
    pub stagger: Duration,
    /// How long a pre-vote waits for answers.
    pub pre_vote: Duration,
    /// How long a recruitment waits for reports before it is aborted.
    pub recruitment: Duration,
    /// How long the winner of an election may take until it is heard as primary.
    pub promotion: Duration,
    /// How long a keeper waits after a failed attempt; jitter of the same size is added.
    pub retry: Duration,
    /// How long `switchover` is announced before the first session is ended, so that gateways hold.
    pub switchover_announcement: Duration,
    /// How long a switchover waits for its target to have the whole log before it is called off.
    pub switchover_catch_up: Duration,
    /// An observation older than this says nothing about the server.
    pub observation_age: Duration,
    /// How long a standby may hear nothing from a primary that lives before its stream is begun anew.
    pub stream: Duration,
    /// How long a server may be unserviceable (hung, no slots, dead disk) before its keeper gives it up.
    pub unserviceable: Duration,
}

impl Timings {
    /// The longest that a keeper keeps silent. A change of role, term or readiness is said at once, and who leaves its
    /// rest is back at the usual pace; a lost host is found as soon, since its silence counts from what it said last.
    pub fn heartbeat_at_rest(&self) -> Duration {
        self.heartbeat * 2
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            suspicion: Duration::from_millis(1_200),
            suspicion_addition_limit: Duration::from_millis(1_000),
            suspicion_while_voiced: Duration::from_millis(3_000),
            suspicion_while_streaming: Duration::from_millis(5_000),
            lease: Duration::from_millis(1_000),
            overrun: Duration::from_millis(150),
            stagger: Duration::from_millis(100),
            pre_vote: Duration::from_millis(400),
            recruitment: Duration::from_millis(2_000),
            promotion: Duration::from_millis(3_000),
            retry: Duration::from_millis(300),
            switchover_announcement: Duration::from_millis(20),
            switchover_catch_up: Duration::from_millis(1_000),
            observation_age: Duration::from_millis(2_000),
            stream: Duration::from_millis(8_000),
            unserviceable: Duration::from_millis(3_000),
        }
    }
}

/// Why a configuration cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("own replica {0} is not among the replicas")]
    StrangerMe(ReplicaId),
    #[error("home replica {0} is not among the replicas")]
    StrangerHome(ReplicaId),
    #[error("home replica {0} is among those that leave")]
    LeavingHome(ReplicaId),
    #[error("replica {0} is not known since the start")]
    Stranger(ReplicaId),
    #[error("replica {0} leaves and is not among the replicas")]
    StrangerLeaves(ReplicaId),
    #[error("{copies} copies cannot be kept by {replicas} replicas")]
    Copies { copies: u8, replicas: usize },
    #[error("suspicion must exceed the lease by at least a tenth of it")]
    SuspicionWithinLease,
    #[error(
        "the lease must last for four heartbeats at least: of a primary at rest every second is missing"
    )]
    LeaseWithinHeartbeats,
}

impl Config {
    /// Checks what no later code checks again.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.replicas.contains(&self.me) {
            return Err(ConfigError::StrangerMe(self.me));
        }
        if !self.replicas.contains(&self.home) {
            return Err(ConfigError::StrangerHome(self.home));
        }
        if self.leaving.contains(&self.home) {
            return Err(ConfigError::LeavingHome(self.home));
        }
        if let Some(stranger) = self.leaving.difference(&self.replicas).next() {
            return Err(ConfigError::StrangerLeaves(*stranger));
        }
        let replicas = self.staying().count();
        if self.copies == 0 || usize::from(self.copies) > replicas {
            let copies = self.copies;
            return Err(ConfigError::Copies { copies, replicas });
        }
        if self.timings.suspicion < self.timings.lease + self.timings.lease / 10 {
            return Err(ConfigError::SuspicionWithinLease);
        }
        if self.timings.lease < self.timings.heartbeat_at_rest() * 2 {
            return Err(ConfigError::LeaseWithinHeartbeats);
        }
        Ok(())
    }

    /// The replicas that the platform file gives the database now.
    pub fn staying(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.replicas.difference(&self.leaving).copied()
    }

    /// The same with what the file asks for now. Who was let go meanwhile, and is not named at all, goes on leaving.
    pub(crate) fn with(&self, wanted: Wanted) -> Result<Self, ConfigError> {
        if let Some(stranger) = wanted.replicas.difference(&self.replicas).next() {
            return Err(ConfigError::Stranger(*stranger));
        }
        let gone = self.replicas.difference(&wanted.replicas).copied();
        let config = Self {
            leaving: wanted.leaving.iter().copied().chain(gone).collect(),
            home: wanted.home,
            copies: wanted.copies,
            ..self.clone()
        };
        config.validate()?;
        Ok(config)
    }

    pub fn wanted(&self) -> Wanted {
        Wanted {
            replicas: self.replicas.clone(),
            leaving: self.leaving.clone(),
            home: self.home,
            copies: self.copies,
        }
    }

    pub fn stays(&self, replica: ReplicaId) -> bool {
        self.replicas.contains(&replica) && !self.leaving.contains(&replica)
    }

    /// The other replicas, in order.
    pub fn peers(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.replicas
            .iter()
            .copied()
            .filter(move |replica| *replica != self.me)
    }
}
