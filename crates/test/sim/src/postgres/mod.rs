//! A model of PostgreSQL: as much of it as the keeper's protocol can be hurt by.
//!
//! One [`Server`] is a data folder with, at times, a process on it. It allocates timelines, keeps history
//! files, accepts or refuses a standby's start of streaming, counts the quorum and releases waiting
//! commits as PostgreSQL 15 does; a differential test runs the same scripts against real servers. It does
//! *not* check that two logs that agree in numbers agree in content, because PostgreSQL does not either.

pub mod log;
pub mod script;

use std::collections::BTreeMap;

use log::{Log, Record};
use mainstay_keeper::{Client, ClientState, Lineage, ReceiverName, ReplicaId, SynchronousStandbys};

/// The payload of a timeline's first record; higher than every write's.
pub const FIRST_RECORD: u64 = 1 << 60;

/// Ancestors of a timeline: (timeline, where it was left). Empty for a placeholder.
pub type History = Vec<(u32, u64)>;

/// What lies on disk.
#[derive(Clone, Debug)]
pub struct Folder {
    pub system_identifier: u64,
    pub incarnation: Option<u128>,
    /// An interrupted filling.
    pub broken: bool,
    pub log: Log,
    pub histories: BTreeMap<u32, History>,
    pub standby_signal: bool,
    /// `primary_conninfo`.
    pub upstream: Option<(ReplicaId, ReceiverName)>,
    pub standbys: SynchronousStandbys,
    pub applications: bool,
    /// The timeline in the control file.
    pub checkpoint_timeline: u32,
    /// Log before this was removed.
    pub kept_from: u64,
    /// A page of it is damaged.
    pub damaged: bool,
    /// In which lineage it was last promoted, or was what it was filled from. No server knows; the checker asks.
    pub lineage: Lineage,
}

/// The walreceiver of a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walreceiver {
    pub source: ReplicaId,
    pub name: ReceiverName,
    /// Tells this connection from earlier ones.
    pub connection: u64,
    pub streaming: bool,
}

/// A walsender of a primary.
#[derive(Clone, Copy, Debug)]
pub struct Walsender {
    pub host: usize,
    pub connection: u64,
    pub client: Client,
}

/// A commit that waits for its quorum.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    pub lsn: u64,
    pub write: u64,
}

/// A running process.
#[derive(Clone, Debug)]
pub struct Process {
    pub primary: bool,
    /// The timeline that it writes or replays.
    pub timeline: u32,
    pub upstream: Option<(ReplicaId, ReceiverName)>,
    pub receiver: Option<Walreceiver>,
    pub standbys: SynchronousStandbys,
    pub applications: bool,
    pub senders: Vec<Walsender>,
    pub waiters: Vec<Waiter>,
}

/// A server: its folder, and its process if it runs.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub folder: Option<Folder>,
    pub process: Option<Process>,
}

/// Why a primary refuses to stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRefusal {
    NotRunning,
    OtherSystem,
    /// "requested starting point … is not in this server's history" or "ahead of the WAL flush position".
    NotInHistory,
    /// "requested WAL segment … has already been removed"
    Removed,
}

impl Server {
    pub fn initialize(&mut self, system_identifier: u64, incarnation: u128) {
        self.folder = Some(Folder {
            system_identifier,
            incarnation: Some(incarnation),
            broken: false,
            log: Log::starting(1),
            histories: BTreeMap::new(),
            standby_signal: true,
            upstream: None,
            standbys: SynchronousStandbys::Nobody,
            applications: false,
            checkpoint_timeline: 1,
            kept_from: 0,
            damaged: false,
            lineage: Lineage::ORIGIN,
        });
    }

    /// Starts a process on the folder: a standby if `standby.signal` is there, read-write on the old
    /// timeline if not.
    pub fn start(&mut self) -> bool {
        let Some(folder) = &self.folder else {
            return false;
        };
        if folder.broken || self.process.is_some() {
            return false;
        }
        self.process = Some(Process {
            primary: !folder.standby_signal,
            timeline: folder.log.timeline(),
            upstream: folder.upstream,
            receiver: None,
            standbys: folder.standbys.clone(),
            applications: folder.applications,
            senders: Vec::new(),
            waiters: Vec::new(),
        });
        true
    }

    /// The process ends; the folder keeps what was written, flushed or not.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The whole host ends: what was not flushed is gone.
    pub fn lose_power(&mut self) {
        self.process = None;
        if let Some(folder) = &mut self.folder {
            folder.log.lose_unflushed();
        }
    }

    /// Applies the files' settings to the process.
    pub fn reload(&mut self) {
        let (Some(folder), Some(process)) = (&self.folder, &mut self.process) else {
            return;
        };
        if process.upstream != folder.upstream {
            process.upstream = folder.upstream;
            process.receiver = None;
        }
        process.standbys = folder.standbys.clone();
        process.applications = folder.applications;
    }

    /// Writes empty history files below `timeline`, as a keeper does before it promotes.
    pub fn write_placeholders(&mut self, below: u32) {
        if let Some(folder) = &mut self.folder {
            for timeline in folder.log.timeline() + 1..below {
                folder.histories.entry(timeline).or_default();
            }
        }
    }

    /// Ends recovery on the timeline after the newest that is known, and writes its first record.
    pub fn promote(&mut self, marker: u64) -> Option<u32> {
        let (folder, process) = (self.folder.as_mut()?, self.process.as_mut()?);
        if process.primary {
            return None;
        }
        let old = folder.log.timeline();
        let mut timeline = old + 1;
        while folder.histories.contains_key(&timeline) {
            timeline += 1;
        }
        let mut history = folder.histories.get(&old).cloned().unwrap_or_default();
        history.push((old, folder.log.end()));
        folder.histories.insert(timeline, history);
        process.primary = true;
        process.timeline = timeline;
        process.receiver = None;
        folder.log.append(timeline, FIRST_RECORD | marker);
        folder.log.flush();
        Some(timeline)
    }

    /// The end of the log on disk: timeline, position, ancestors.
    pub fn rank(&self) -> Option<(u32, u64, History)> {
        let folder = self.folder.as_ref()?;
        let timeline = folder.log.timeline();
        let history = folder.histories.get(&timeline).cloned();
        Some((timeline, folder.log.end(), history.unwrap_or_default()))
    }

    /// Whether a standby that asks to stream from (`timeline`, `start`) is let.
    pub fn accepts_stream(
        &self,
        system_identifier: u64,
        timeline: u32,
        start: u64,
    ) -> Result<(), StreamRefusal> {
        let (Some(folder), Some(process)) = (&self.folder, &self.process) else {
            return Err(StreamRefusal::NotRunning);
        };
        if !process.primary {
            return Err(StreamRefusal::NotRunning);
        }
        if folder.system_identifier != system_identifier {
            return Err(StreamRefusal::OtherSystem);
        }
        if start < folder.kept_from {
            return Err(StreamRefusal::Removed);
        }
        if timeline == process.timeline {
            return (start <= folder.log.flushed_end())
                .then_some(())
                .ok_or(StreamRefusal::NotInHistory);
        }
        folder
            .histories
            .get(&process.timeline)
            .and_then(|history| history.iter().find(|entry| entry.0 == timeline))
            .filter(|entry| start <= entry.1)
            .map(|_| ())
            .ok_or(StreamRefusal::NotInHistory)
    }

    /// What a walsender sends to a standby that has everything up to `after`: whole records, as many as
    /// fit one message, with the history of the primary's timeline.
    pub fn stream_after(&self, after: u64, limit: usize) -> Vec<Record> {
        self.folder
            .as_ref()
            .map(|folder| folder.log.flushed_after(after, limit))
            .unwrap_or_default()
    }

    /// Writes a transaction's commit; where it ends.
    pub fn write(&mut self, write: u64) -> Option<u64> {
        let process = self.process.as_ref().filter(|process| process.primary)?;
        let timeline = process.timeline;
        let folder = self.folder.as_mut()?;
        folder.log.append(timeline, write);
        folder.log.flush();
        Some(folder.log.end())
    }
}

impl Process {
    /// The senders that the setting counts for a commit that ends at `lsn`.
    pub fn counted(&self, lsn: u64) -> impl Iterator<Item = &Walsender> {
        let names = match &self.standbys {
            SynchronousStandbys::Any { names, .. } => names.as_slice(),
            SynchronousStandbys::Nobody | SynchronousStandbys::Off => &[],
        };
        self.senders.iter().filter(move |sender| {
            sender.client.state == ClientState::Streaming
                && sender.client.flushed.0 >= lsn
                && names.contains(&sender.client.name)
        })
    }

    /// Whether a commit that ends at `lsn` need not wait (any more).
    pub fn is_released(&self, lsn: u64) -> bool {
        match &self.standbys {
            SynchronousStandbys::Off => true,
            SynchronousStandbys::Nobody => false,
            SynchronousStandbys::Any { count, .. } => {
                self.counted(lsn).count() >= usize::from(*count)
            }
        }
    }

    /// Takes out the waiters whose wait is over.
    pub fn release(&mut self) -> Vec<Waiter> {
        let mut waiters = std::mem::take(&mut self.waiters);
        let released = waiters
            .extract_if(.., |waiter| self.is_released(waiter.lsn))
            .collect();
        self.waiters = waiters;
        released
    }
}
