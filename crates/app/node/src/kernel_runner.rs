//! The loop around the kernel: journal in, heartbeats in and out, batches out.
//!
//! One turn follows the journal to its end and hears what the nodes say, if there may be news, lets the watch (the
//! kernel's [`Driver`]) claim or decide, appends what was decided, and says that this node lives. It decides nothing
//! itself, and it never fails: a problem is kept as a fact for the status, and the next turn tries again.
//! Everything blocks for milliseconds at most (fsync), so it stands on a thread of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_journal::Entry;
use mainstay_kernel::{
    Answer, Assigned, Batch, Beat, Cause, Driver, Opening, Passed, Role, Signal, State,
};
use mainstay_model::name::{HostName, PlatformName};
use mainstay_record::journal::{BeatRecord, PassedSignal, PendingSignal};
use mainstay_record::node::{BesideFacts, JournalFacts, ShiftFact, UpgradeFacts};
use mainstay_rt::error::chain;
use mainstay_rt::{clock, entropy};
use mainstay_storage::{
    AppendError, Coordination, FollowError, Journal, NodeFolder, Place, Port, PortError, Reach,
    cut_torn_end,
};
use mainstay_units::{Epoch, Instant, Position};
use serde_json::value::to_raw_value;

use crate::events;

/// Between two heartbeats of a node that has nothing new to say.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// Between two turns when nothing is new.
const TURN: Duration = Duration::from_millis(100);
/// Without news the journal and the heartbeats are looked at this often all the same: a watch may have missed some.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const TURN_OVER_NETWORK: Duration = Duration::from_millis(120);
/// What a heartbeat has beside its signals: names, keys, what was passed over.
const BEAT_HEAD_BYTES: usize = 256 << 10;
/// What a signal has around it there.
const PENDING_HEAD_BYTES: usize = 64;

/// What a node that leads says of itself.
pub const LEADING: &str = "leading";

/// Where a node's part of the platform stands.
#[derive(Clone, Debug)]
pub struct Places {
    pub data: PathBuf,
    pub host: HostName,
    pub platform: PlatformName,
    pub journal: Place,
}

impl Places {
    pub fn node_folder(&self, host: &str) -> PathBuf {
        self.data.join("hosts").join(host).join("node")
    }
}

pub struct KernelRunner {
    places: Places,
    journal: Journal<Port>,
    driver: Driver,
    key: String,
    beats: u64,
    beat_at: Option<Instant>,
    /// What the last beat said, without its number: news are said at once.
    said: String,
    /// There may be news since the last look, which was then.
    news: bool,
    looked: Option<Instant>,
    problem: Option<String>,
    out_of_reach: bool,
}

impl KernelRunner {
    /// # Errors
    /// When the journal's folder or the node's cannot be used. An etcd that is away is no error: the node is deaf
    /// until it is there.
    pub fn open(places: &Places) -> Result<Self, FollowError> {
        let port = places.journal.open()?;
        let node = NodeFolder::open(&places.node_folder(places.host.as_str()))?;
        let journal = Journal::open(port, node)?;
        let key = journal.public_key().to_string();
        let opening = Opening {
            origin: format!("mainstay/{}/{:016x}", places.platform, entropy::u64()),
            platform: places.platform.clone(),
        };
        Ok(Self {
            places: places.clone(),
            journal,
            driver: Driver::new(places.host.clone(), key.clone(), opening),
            key,
            beats: entropy::u64() >> 1,
            beat_at: None,
            said: String::new(),
            news: true,
            looked: None,
            problem: None,
            out_of_reach: false,
        })
    }

    /// Closes the port while this host reaches no majority of regions.
    pub fn set_reach(&mut self, reach: &Reach) {
        let why = match reach {
            Reach::Majority => None,
            Reach::Minority { heard, regions } => {
                Some(format!("{heard} of {regions} regions answer"))
            }
        };
        let port = self.journal.port();
        self.news |= port.refused() != why.as_deref();
        port.refuse(why);
    }

    /// One round. Call it at least several times a second.
    pub fn turn(&mut self) {
        let now = clock::now();
        let is_due = self.looked.is_none_or(|at| now.since(at) >= LOOK_EVERY);
        if self.news || is_due {
            (self.news, self.looked) = (false, Some(now));
            self.look();
        } else if self.problem.is_none() {
            self.lead();
        }
        self.beat();
    }

    fn look(&mut self) {
        self.problem = None;
        let followed = self.follow();
        self.out_of_reach = matches!(followed, Err(FollowError::Port(PortError::Refused(_))));
        if let Err(error) = followed {
            // Who cannot read must not go on beating as the leader: others wait for its silence.
            self.driver.handle_rejected();
            self.note(&error);
        } else {
            self.hear();
            self.lead();
        }
    }

    /// Waits for news from the journal or from other nodes, until the next turn is due in any case.
    pub fn wait_for_turn(&mut self) {
        let limit = match &self.places.journal {
            Place::Folder(_) => TURN,
            // Every look is a question over the network, and news wake.
            Place::Etcd(_) => TURN_OVER_NETWORK,
        };
        self.wait(limit);
    }

    /// As [`KernelRunner::wait_for_turn`], at most for `limit`.
    pub fn wait(&mut self, limit: Duration) {
        match self.journal.wait(limit) {
            Ok(news) => self.news |= news,
            Err(error) => self.note(&error),
        }
    }

    /// Hands a signal to whoever leads. `None`: too many wait already.
    pub fn submit(&mut self, signal: Signal) -> Option<Cause> {
        self.driver.submit(clock::wall_ms(), signal)
    }

    /// As [`KernelRunner::submit`], and [`KernelRunner::poll_answer`] will say what became of it.
    pub fn submit_and_watch(&mut self, signal: Signal) -> Option<Cause> {
        let cause = self.submit(signal)?;
        self.driver.waiting().watch(cause.clone());
        Some(cause)
    }

    pub fn poll_answer(&mut self) -> Option<(Cause, Answer)> {
        self.driver.waiting().poll_answer()
    }

    /// Nobody waits for the answer any longer. The signal itself stays on its way.
    pub fn forget(&mut self, cause: &Cause) {
        self.driver.waiting().forget(cause);
    }

    pub fn poll_effect(&mut self) -> Option<Assigned> {
        self.driver.poll_effect()
    }

    pub fn state(&self) -> &State {
        self.driver.state()
    }

    pub fn role(&self) -> Role {
        self.driver.role()
    }

    pub fn facts(&self) -> JournalFacts {
        let state = self.driver.state();
        let silent = self.driver.leader_silent(clock::now());
        let (role, problem) = match self.driver.role() {
            Role::CatchingUp => ("deaf", None),
            Role::Leading(_) => (LEADING, None),
            Role::Following if self.problem.is_some() => ("deaf", None),
            Role::Following => ("following", None),
            Role::CannotLead(why) => ("following", Some(why.to_string())),
        };
        JournalFacts {
            role: role.to_owned(),
            epoch: state.epoch.0,
            leader: state.leader.as_ref().map(ToString::to_string),
            entries: state.next.0,
            leader_heard_ms: silent.and_then(|s| u64::try_from(s.as_millis()).ok()),
            paused: state.paused.is_some(),
            generation: state.generation.0,
            problem: self.problem.clone().or(problem),
            out_of_reach: self.out_of_reach,
            upgrade: upgrade_facts(state),
            program: state
                .program
                .as_ref()
                .map(|program| program.version.clone()),
            beside: beside_facts(state),
        }
    }

    fn note(&mut self, error: &dyn std::error::Error) {
        let text = chain(error);
        if self.problem.as_ref() != Some(&text) {
            tracing::debug!(problem = text, "the journal is not to be had");
        }
        self.problem = Some(text);
    }

    fn follow(&mut self) -> Result<(), FollowError> {
        loop {
            let entries = match self.journal.catch_up() {
                Err(FollowError::Damaged { position, damage }) if self.cut(position) => {
                    tracing::warn!(%position, %damage, "a torn part beyond every checkpoint was moved aside");
                    continue;
                }
                other => other?,
            };
            if entries.is_empty() {
                self.driver.handle_caught_up(clock::now());
                return Ok(());
            }
            let now = clock::now();
            for (position, entry) in entries {
                let record = events::decode(position, &entry);
                self.driver.handle_record(now, &record);
            }
        }
    }

    /// Only what is torn, last, and remembered by no node is cut; anything else stays as it is.
    fn cut(&self, position: Position) -> bool {
        let Place::Folder(root) = &self.places.journal else {
            // Etcd has a value whole or not at all.
            return false;
        };
        let hosts = std::fs::read_dir(self.places.data.join("hosts"));
        let folders = hosts.into_iter().flatten().flatten();
        let mut remembered = Vec::new();
        for host in folders {
            match NodeFolder::at(&host.path().join("node")).checkpoint() {
                Ok(checkpoint) => remembered.extend(checkpoint),
                // A memory that cannot be read may cover the part.
                Err(_) => return false,
            }
        }
        cut_torn_end(root, position, &remembered).is_ok()
    }

    fn hear(&mut self) {
        let beats = match self.journal.port().heartbeats() {
            Ok(beats) => beats,
            Err(error) => return self.note(&error),
        };
        let now = clock::now();
        for (node, bytes) in beats {
            match read_beat(&bytes) {
                Some(beat) if beat.node == *node.as_str() => self.driver.handle_beat(now, beat),
                Some(_) | None => tracing::debug!(node, "heartbeat is not readable"),
            }
        }
    }

    fn lead(&mut self) {
        // A claim is followed by work in the same turn.
        for _ in 0..2 {
            let Some(batch) = self.driver.poll_batch(clock::now(), clock::wall_ms()) else {
                return;
            };
            if let Err(error) = self.append(batch) {
                return self.note(error.as_ref());
            }
        }
    }

    fn append(&mut self, batch: Batch) -> Result<(), Box<dyn std::error::Error>> {
        let entries: Result<Vec<Entry>, _> = batch.records.iter().map(events::encode).collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.driver.handle_unwritable(batch, &chain(&error));
                return Err(error.into());
            }
        };
        match self.journal.append(entries) {
            Ok(_) => {
                self.driver.handle_appended(clock::now(), batch);
                Ok(())
            }
            Err(AppendError::Node(error)) => {
                // Published, but this node could not remember it: what it remembers is only older.
                self.driver.handle_appended(clock::now(), batch);
                Err(error.into())
            }
            Err(error) => {
                self.driver.handle_rejected();
                Err(error.into())
            }
        }
    }

    /// As many signals as have room, the oldest first: the others wait for the next beats. One that has no room by
    /// itself could not be journalled either.
    fn pending_within(&self, mut room: usize) -> Vec<PendingSignal> {
        let mut pending = Vec::new();
        for (number, signal) in self.driver.pending() {
            let record = events::signal_record(signal);
            let Some(signal) = record.and_then(|record| to_raw_value(&record).ok()) else {
                continue;
            };
            let bytes = signal.get().len() + PENDING_HEAD_BYTES;
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None if pending.is_empty() => continue,
                None => break,
            }
            pending.push(PendingSignal {
                number: *number,
                signal,
            });
        }
        pending
    }

    fn beat(&mut self) {
        let leads = self.driver.leads().map(|epoch| epoch.0);
        let room = self.journal.port().beat_bytes_max() - BEAT_HEAD_BYTES;
        let pending = self.pending_within(room);
        let passed = self.driver.passed().map(|passed| PassedSignal {
            node: passed.cause.node.to_string(),
            number: passed.cause.number,
            why: passed.why.clone(),
        });
        let mut record = BeatRecord {
            version: 1,
            node: self.places.host.to_string(),
            number: 0,
            key: self.key.clone(),
            leads,
            pending,
            passed: passed.collect(),
        };
        let said = serde_json::to_string(&record).unwrap_or_default();
        let now = clock::now();
        let due = self.beat_at.is_none_or(|at| now.since(at) >= BEAT_EVERY);
        if !due && said == self.said {
            return;
        }
        self.beats = self.beats.wrapping_add(1);
        record.number = self.beats;
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        match self
            .journal
            .port()
            .heartbeat(self.places.host.as_str(), &bytes)
        {
            Ok(()) => {
                self.beat_at = Some(now);
                self.said = said;
            }
            Err(error) => self.note(&error),
        }
    }
}

/// The upgrade under way; else the newest one, if it was stopped.
/// What playbooks have set beside the platform file.
pub fn beside_facts(state: &State) -> BesideFacts {
    let books = &state.playbooks;
    let services = state.desired.iter().flat_map(|desired| &desired.services);
    let counts = services.filter_map(|(name, service)| {
        let count = *books.counts.get(name.as_str())?;
        (count != service.replicas).then(|| (name.to_string(), count))
    });
    let shifts = books
        .shifts
        .iter()
        .map(|((service, from), share)| ShiftFact {
            service: service.clone(),
            from: from.clone(),
            share: *share,
        });
    BesideFacts {
        drained: books.drained.iter().cloned().collect(),
        shifts: shifts.collect(),
        counts: counts.collect(),
    }
}

fn upgrade_facts(state: &State) -> Option<UpgradeFacts> {
    let names = |hosts: &[HostName]| hosts.iter().map(ToString::to_string).collect();
    if let Some(upgrade) = &state.upgrade {
        return Some(UpgradeFacts {
            program: upgrade.program.version.clone(),
            digest: upgrade.program.digest.clone(),
            done: names(&upgrade.done),
            under_way: upgrade.under_way.as_ref().map(|(host, _)| host.to_string()),
            left: names(&upgrade.left),
            stopped: None,
        });
    }
    let (program, host, why) = state.upgrade_stopped.as_ref()?;
    Some(UpgradeFacts {
        program: program.version.clone(),
        digest: program.digest.clone(),
        stopped: Some((host.to_string(), why.clone())),
        ..UpgradeFacts::default()
    })
}

/// `None` for what another version or another program wrote; signals that are not understood are left out.
fn read_beat(bytes: &[u8]) -> Option<Beat> {
    let record: BeatRecord = serde_json::from_slice(bytes).ok()?;
    let pending = record.pending.into_iter().filter_map(|pending| {
        let signal = serde_json::from_str(pending.signal.get()).ok()?;
        Some((pending.number, events::signal_of(signal).ok()?))
    });
    let passed = record.passed.into_iter().filter_map(|passed| {
        Some(Passed {
            cause: Cause {
                node: passed.node.parse().ok()?,
                number: passed.number,
            },
            why: passed.why,
        })
    });
    Some(Beat {
        node: record.node.parse().ok()?,
        number: record.number,
        key: record.key,
        leads: record.leads.map(Epoch),
        pending: pending.collect(),
        passed: passed.collect(),
    })
}

/// Every node folder below `data`, by host: whose memories `journal verify` compares.
///
/// # Errors
/// When the folder of hosts cannot be listed.
pub fn node_folders(data: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for host in std::fs::read_dir(data.join("hosts"))? {
        let host = host?;
        let folder = host.path().join("node");
        if folder.is_dir() {
            folders.push((host.file_name().to_string_lossy().into_owned(), folder));
        }
    }
    folders.sort();
    Ok(folders)
}
