//! Scripts that a model and real servers can both play.
//!
//! One step a line: a verb, a server's name, arguments. A step that shows something answers with a word;
//! answers of the model and of real servers must be equal. Positions are not compared, since the model's
//! records have other sizes; what is compared is what the keeper's protocol rests on: which timeline a
//! promotion takes, which stream is accepted, which commit waits.

use std::collections::BTreeMap;

use mainstay_keeper::{Client, ClientState, ReceiverName, ReplicaId, SynchronousStandbys};
use mainstay_units::{Incarnation, Lsn, Term};

use super::{Server, Waiter, Walsender};

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new cluster, read-write on timeline 1, that waits for nobody.
    Create(String),
    /// `Copy(from, to)`: a base backup, started as a standby of nobody.
    Copy(String, String),
    /// Kill every process at once.
    Kill(String),
    /// Start as a standby of nobody.
    Standby(String),
    /// Start without `standby.signal`: crash recovery, then read-write.
    ReadWrite(String),
    /// Empty history files below a timeline.
    Placeholders(String, u32),
    /// Answers with the timeline.
    Promote(String),
    /// `Follow(standby, source)`: answers `streaming` or `refused`.
    Follow(String, String),
    /// Stop following.
    Detach(String),
    /// A write that nobody waits for.
    Write(String),
    /// `synchronous_standby_names`: `ANY count (names)`; no names empties it.
    Wait(String, Vec<String>),
    /// A commit: answers `done` or `waits`.
    Commit(String),
    /// Empties the setting while a commit waits: answers what the commit does.
    EmptyWhileWaiting(String),
}

/// A line that is no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a step: {0}")]
pub struct ParseStepError(String);

/// Reads a script; blank lines and lines that begin with `#` are skipped.
pub fn parse(text: &str) -> Result<Vec<Step>, ParseStepError> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(step)
        .collect()
}

fn step(line: &str) -> Result<Step, ParseStepError> {
    let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    let refused = || ParseStepError(line.to_string());
    let name = |at: usize| words.get(at).cloned().ok_or_else(refused);
    Ok(match words.first().map(String::as_str) {
        Some("create") => Step::Create(name(1)?),
        Some("copy") => Step::Copy(name(1)?, name(2)?),
        Some("kill") => Step::Kill(name(1)?),
        Some("standby") => Step::Standby(name(1)?),
        Some("read-write") => Step::ReadWrite(name(1)?),
        Some("placeholders") => {
            let below = name(2)?.parse().map_err(|_| refused())?;
            Step::Placeholders(name(1)?, below)
        }
        Some("promote") => Step::Promote(name(1)?),
        Some("follow") => Step::Follow(name(1)?, name(2)?),
        Some("detach") => Step::Detach(name(1)?),
        Some("write") => Step::Write(name(1)?),
        Some("wait") => Step::Wait(name(1)?, words.get(2..).unwrap_or_default().to_vec()),
        Some("commit") => Step::Commit(name(1)?),
        Some("empty-while-waiting") => Step::EmptyWhileWaiting(name(1)?),
        Some(_) | None => return Err(refused()),
    })
}

/// Plays scripts on the model: everything that needs no time takes none.
#[derive(Default)]
pub struct Model {
    servers: BTreeMap<String, Server>,
    writes: u64,
}

fn replica(name: &str) -> ReplicaId {
    ReplicaId(name.bytes().next().unwrap_or(b'?'))
}

fn receiver(name: &str) -> ReceiverName {
    ReceiverName {
        term: Term(1),
        replica: replica(name),
        incarnation: Incarnation(1),
    }
}

impl Model {
    /// Plays one step; the answer, if it has one.
    pub fn play(&mut self, step: &Step) -> Option<String> {
        match step {
            Step::Create(name) => self.create(name),
            Step::Copy(from, to) => self.copy(from, to),
            Step::Kill(name) => self.kill(name),
            Step::Standby(name) => self.start(name, true),
            Step::ReadWrite(name) => self.start(name, false),
            Step::Placeholders(name, below) => self.server(name).write_placeholders(*below),
            Step::Promote(name) => {
                self.writes += 1;
                let marker = self.writes;
                let chosen = self.server(name).promote(marker);
                return chosen.map(|timeline| timeline.to_string());
            }
            Step::Follow(name, source) => return Some(self.follow(name, source)),
            Step::Detach(name) => self.detach(name),
            Step::Write(name) => {
                self.write(name);
            }
            Step::Wait(name, names) => self.wait_for(name, names),
            Step::Commit(name) => return Some(self.commit(name)),
            Step::EmptyWhileWaiting(name) => {
                self.wait_for(name, &[]);
                let process = self.server(name).process.as_mut()?;
                let released = !process.release().is_empty();
                return Some(if released { "done" } else { "waits" }.to_string());
            }
        }
        None
    }

    fn server(&mut self, name: &str) -> &mut Server {
        self.servers.entry(name.to_string()).or_default()
    }

    fn create(&mut self, name: &str) {
        let server = self.server(name);
        server.initialize(1, 1);
        if let Some(folder) = &mut server.folder {
            folder.standby_signal = false;
            folder.standbys = SynchronousStandbys::Off;
        }
        server.start();
        self.write(name);
    }

    fn copy(&mut self, from: &str, to: &str) {
        let folder = self.server(from).folder.clone();
        let server = self.server(to);
        server.folder = folder;
        self.start(to, true);
    }

    fn kill(&mut self, name: &str) {
        self.detach(name);
        self.server(name).kill();
    }

    fn start(&mut self, name: &str, standby: bool) {
        let server = self.server(name);
        if let Some(folder) = &mut server.folder {
            folder.standby_signal = standby;
            folder.upstream = None;
        }
        server.start();
    }

    fn detach(&mut self, name: &str) {
        for server in self.servers.values_mut() {
            if let Some(process) = &mut server.process {
                process
                    .senders
                    .retain(|sender| sender.client.name.replica != replica(name));
            }
        }
    }

    fn follow(&mut self, name: &str, source: &str) -> String {
        self.detach(name);
        let Some((timeline, end, _)) = self.server(name).rank() else {
            return "refused".to_string();
        };
        if self
            .server(source)
            .accepts_stream(1, timeline, end)
            .is_err()
        {
            return "refused".to_string();
        }
        let client = Client {
            name: receiver(name),
            state: ClientState::Streaming,
            flushed: Lsn(0),
        };
        if let Some(process) = &mut self.server(source).process {
            process.senders.push(Walsender {
                host: usize::from(replica(name).0),
                connection: 0,
                client,
            });
        }
        self.stream(source);
        "streaming".to_string()
    }

    /// Everything reaches every standby, is flushed and said so.
    fn stream(&mut self, source: &str) {
        let server = self.server(source);
        let histories = server
            .folder
            .as_ref()
            .map(|folder| folder.histories.clone())
            .unwrap_or_default();
        let records = server.stream_after(0, usize::MAX);
        let standbys: Vec<ReplicaId> = server
            .process
            .iter()
            .flat_map(|process| &process.senders)
            .map(|sender| sender.client.name.replica)
            .collect();
        let mut ends = Vec::new();
        for (name, server) in &mut self.servers {
            if !standbys.contains(&replica(name)) || server.process.is_none() {
                continue;
            }
            if let Some(folder) = &mut server.folder {
                folder.log.receive(&records);
                folder.log.flush();
                for (timeline, history) in &histories {
                    folder
                        .histories
                        .entry(*timeline)
                        .or_insert_with(|| history.clone());
                }
                ends.push((replica(name), folder.log.flushed_end()));
            }
        }
        if let Some(process) = &mut self.server(source).process {
            for sender in &mut process.senders {
                let end = ends.iter().find(|end| end.0 == sender.client.name.replica);
                sender.client.flushed = Lsn(end.map_or(sender.client.flushed.0, |end| end.1));
            }
        }
    }

    fn write(&mut self, name: &str) -> Option<u64> {
        self.writes += 1;
        let write = self.writes;
        let lsn = self.server(name).write(write);
        self.stream(name);
        lsn
    }

    fn wait_for(&mut self, name: &str, names: &[String]) {
        let standbys = match names.split_first() {
            None => SynchronousStandbys::Off,
            Some((count, names)) => SynchronousStandbys::Any {
                count: count.parse().unwrap_or(1),
                names: names.iter().map(|name| receiver(name)).collect(),
            },
        };
        let server = self.server(name);
        if let Some(folder) = &mut server.folder {
            folder.standbys = standbys;
        }
        server.reload();
    }

    fn commit(&mut self, name: &str) -> String {
        let Some(lsn) = self.write(name) else {
            return "refused".to_string();
        };
        let Some(process) = &mut self.server(name).process else {
            return "refused".to_string();
        };
        process.waiters.push(Waiter { lsn, write: lsn });
        let released = process.release().iter().any(|waiter| waiter.lsn == lsn);
        if released { "done" } else { "waits" }.to_string()
    }
}
