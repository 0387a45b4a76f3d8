//! What the production shell does, on simulated disks and servers: records, commands, observations.

use std::time::Duration;

use mainstay_keeper::{
    Command, DataState, Durable, Failure, HistoryEntry, Input, Observation, OperationId, Outcome,
    PlantedBug, ProcessState, Rank, Receiver, Renewal, ReplicaId, Serviceability, Supply,
    SynchronousStandbys, TimelineHistory,
};
use mainstay_units::{Incarnation, Lsn, SystemIdentifier, Timeline};

use crate::event::Event;
use crate::host::Work;
use crate::postgres::History;
use crate::world::World;

/// How often a server is observed.
const OBSERVATION_INTERVAL: Duration = Duration::from_millis(200);

/// A walsender whose standby is missing on this many observations is given up.
const MISSING_LIMIT: u32 = 11;

pub fn history(model: &History) -> TimelineHistory {
    let entry = |(timeline, end): &(u32, u64)| HistoryEntry {
        timeline: Timeline(*timeline),
        end: Lsn(*end),
    };
    TimelineHistory(model.iter().map(entry).collect())
}

pub fn index(replica: ReplicaId) -> usize {
    usize::from(replica.0) - 1
}

impl World {
    pub fn persist(&mut self, host: usize, sequence: u64, durable: Durable) {
        let generation = self.hosts[host].generation;
        self.hosts[host].disk.pending.push_back((sequence, durable));
        let slow = self.hosts[host].slow_us;
        let delay = self.random.between(300, 4_000) + self.random.below(slow + 1);
        if self.bug == Some(PlantedBug::PromiseWithoutFsync) {
            // The file is written, not flushed: it lands some time later.
            let told = Event::Persisted {
                host,
                generation,
                sequence,
                silent: false,
            };
            self.plan(100, told);
            let landed = Event::Persisted {
                host,
                generation,
                sequence,
                silent: true,
            };
            self.plan(delay + 400_000, landed);
        } else {
            let done = Event::Persisted {
                host,
                generation,
                sequence,
                silent: false,
            };
            self.plan(delay, done);
        }
    }

    pub fn persisted(&mut self, host: usize, generation: u32, sequence: u64, silent: bool) {
        if self.hosts[host].generation != generation {
            return;
        }
        let fails = !self.healed && self.random.below(20_000) == 0;
        let flushed = silent || self.bug != Some(PlantedBug::PromiseWithoutFsync);
        if flushed {
            let own = &mut self.hosts[host];
            let known = own.disk.pending.front().map(|front| front.0);
            if known == Some(sequence)
                && let Some((_, durable)) = own.disk.pending.pop_front()
            {
                // A failed flush leaves the old record or the new one, and nobody knows which.
                if !fails || self.random.per_mille(500) {
                    self.checker.recorded(host, &durable, &self.hosts);
                    self.hosts[host].disk.record = Some(durable);
                }
            }
        }
        if !silent {
            self.feed(
                host,
                if fails {
                    Input::PersistFailed { sequence }
                } else {
                    Input::Persisted { sequence }
                },
            );
        }
    }

    /// What was being written as the process ended lands or not.
    pub fn settle_pending(&mut self, host: usize) {
        while let Some((_, durable)) = self.hosts[host].disk.pending.pop_front() {
            let lost = self.bug == Some(PlantedBug::PromiseWithoutFsync);
            if lost || self.random.per_mille(500) {
                self.hosts[host].disk.pending.clear();
                return;
            }
            self.checker.recorded(host, &durable, &self.hosts);
            self.hosts[host].disk.record = Some(durable);
        }
    }

    pub fn command(&mut self, host: usize, operation: OperationId, command: Command) {
        self.say(|| format!("host {} does {command:?}", host + 1));
        let token = self.token();
        let work = Work {
            operation,
            command,
            token,
        };
        match work.command {
            Command::StopImmediate => {
                self.cancel_work(host);
                // Sessions end as soon as the processes do, which is at once.
                self.end_process(host);
                self.begin(host, work);
            }
            Command::Checkpoint => {
                self.checkpoint(host, work.operation);
            }
            _ if self.hosts[host].current.is_none() => self.begin(host, work),
            _ => self.hosts[host].queue.push_back(work),
        }
    }

    fn checkpoint(&mut self, host: usize, operation: OperationId) {
        // Runs beside everything else; its length does not matter to the protocol.
        let own = &mut self.hosts[host];
        let done = match (&mut own.server.folder, &own.server.process) {
            (Some(folder), Some(process)) if process.primary => {
                folder.checkpoint_timeline = process.timeline;
                true
            }
            _ => false,
        };
        let outcome = if done {
            Outcome::Done
        } else {
            Outcome::Failed(Failure::Refused)
        };
        self.hosts[host].queue_outcome(operation, outcome);
        let generation = self.hosts[host].generation;
        self.plan(
            50_000,
            Event::Observe {
                host,
                generation,
                regular: false,
            },
        );
    }

    fn cancel_work(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        let cancelled: Vec<Work> = own
            .current
            .take()
            .into_iter()
            .chain(own.queue.drain(..))
            .collect();
        for work in cancelled {
            let outcome = Outcome::Failed(Failure::Cancelled);
            self.hosts[host].queue_outcome(work.operation, outcome);
        }
    }

    fn begin(&mut self, host: usize, work: Work) {
        let (low, high) = match &work.command {
            Command::Initialize { .. } => (200_000, 700_000),
            Command::StartStandby => (20_000, 250_000),
            Command::StopImmediate => (2_000, 40_000),
            Command::StopInOrder => (5_000, 300_000),
            Command::Detach => (3_000, 40_000),
            Command::Follow { .. } => (2_000, 15_000),
            Command::ReadRank => (2_000, 20_000),
            Command::SetSynchronousStandbys(_) => (2_000, 15_000),
            Command::Promote { .. } => (15_000, 120_000),
            Command::Checkpoint => (1, 2),
            Command::OpenApplications | Command::CloseApplications => (2_000, 12_000),
            Command::Rewind { .. } => (150_000, 1_200_000),
            Command::Rebuild { .. } => (300_000, 2_000_000),
        };
        // Whatever was started by hand in between.
        if let Command::Rewind { .. } | Command::Rebuild { .. } = work.command {
            self.end_process(host);
        }
        match work.command {
            // The folder is marked before pg_rewind touches it; what is left of it if that does not end is of no use. With
            // a spare one, it is what it was until the other takes its place.
            Command::Rewind { spare, .. } => {
                if let Some(folder) = &mut self.hosts[host].server.folder {
                    folder.broken = !spare;
                }
            }
            Command::Rebuild { .. } => {
                let token = self.next_token;
                if let Some(folder) = &mut self.hosts[host].server.folder {
                    folder.broken = true;
                    self.checker.forgotten(host, folder.incarnation, token);
                }
            }
            _ => {}
        }
        if let Command::SetSynchronousStandbys(SynchronousStandbys::Off) = work.command {
            self.set_standbys(host, SynchronousStandbys::Off);
        }
        let token = work.token;
        self.hosts[host].current = Some(work);
        let after = self.random.between(low, high);
        self.plan(after, Event::CommandEnd { host, token });
    }

    pub fn command_end(&mut self, host: usize, token: u64) {
        let current = self.hosts[host].current.as_ref().map(|work| work.token);
        if current != Some(token) {
            return;
        }
        let Some(work) = self.hosts[host].current.take() else {
            return;
        };
        let may_fail = self.plan.single.is_none() && !self.healed;
        let outcome = if may_fail && self.random.below(400) == 0 {
            Outcome::Failed(Failure::TimedOut)
        } else {
            self.execute(host, &work.command)
        };
        if let Some(next) = self.hosts[host].queue.pop_front() {
            self.begin(host, next);
        }
        self.hosts[host].queue_outcome(work.operation, outcome);
        let generation = self.hosts[host].generation;
        self.observe(host, generation, false);
    }

    fn execute(&mut self, host: usize, command: &Command) -> Outcome {
        let done = match command {
            Command::Initialize { incarnation } => {
                let identifier = self.random.draw();
                self.hosts[host]
                    .server
                    .initialize(identifier, incarnation.0);
                return Outcome::Initialized {
                    system_identifier: SystemIdentifier(identifier),
                };
            }
            Command::StartStandby => self.start_standby(host),
            Command::StopImmediate => {
                self.end_process(host);
                true
            }
            Command::StopInOrder => {
                self.end_process(host);
                self.hosts[host].renewing = true;
                self.checker.renewed(host, &self.hosts);
                true
            }
            Command::Detach => self.detach(host),
            Command::Follow { source, name } => {
                let own = &mut self.hosts[host];
                if let Some(folder) = &mut own.server.folder {
                    folder.upstream = Some((*source, *name));
                }
                self.reload(host);
                self.hosts[host].server.process.is_some()
            }
            Command::ReadRank => return self.read_rank(host),
            Command::SetSynchronousStandbys(standbys) => self.set_standbys(host, standbys.clone()),
            Command::Promote { timeline } => return self.promote(host, timeline.0),
            Command::Checkpoint => true,
            Command::OpenApplications => self.let_in(host, true),
            Command::CloseApplications => self.let_in(host, false),
            Command::Rewind {
                source,
                incarnation,
                ..
            } => return self.refill(host, *source, *incarnation, true),
            Command::Rebuild {
                source,
                incarnation,
            } => return self.refill(host, *source, *incarnation, false),
        };
        if done {
            Outcome::Done
        } else {
            Outcome::Failed(Failure::Refused)
        }
    }

    /// What somebody else started in the folder is ended first.
    fn start_standby(&mut self, host: usize) -> bool {
        self.end_process(host);
        let stray = self.bug == Some(PlantedBug::RestartReadWrite);
        if let Some(folder) = &mut self.hosts[host].server.folder {
            folder.standby_signal |= !stray;
            folder.upstream = None;
            folder.applications = false;
        }
        self.hosts[host].process += 1;
        self.hosts[host].renewal = Renewal::NotNeeded;
        let started = self.hosts[host].server.start();
        self.checker.started(host, &self.hosts);
        started
    }

    fn detach(&mut self, host: usize) -> bool {
        let keeps = self.bug == Some(PlantedBug::StandbyReattachedByReload);
        let own = &mut self.hosts[host].server;
        if let Some(folder) = own.folder.as_mut().filter(|_| !keeps) {
            folder.upstream = None;
        }
        let Some(process) = &mut own.process else {
            return false;
        };
        process.upstream = None;
        process.receiver = None;
        // Reloads come at any time: a log rotation, an operator, a package's script.
        if self.random.per_mille(300) {
            let after = self.random.below(800_000);
            self.plan(after, Event::Reload { host });
        }
        true
    }

    fn read_rank(&mut self, host: usize) -> Outcome {
        let server = &mut self.hosts[host].server;
        if server.process.is_none() {
            return Outcome::Failed(Failure::Refused);
        }
        if let Some(folder) = &mut server.folder {
            folder.log.flush();
        }
        let Some((timeline, end, ancestors)) = server.rank() else {
            return Outcome::Failed(Failure::Refused);
        };
        Outcome::Ranked(Rank {
            timeline: Timeline(timeline),
            lsn: Lsn(end),
            history: history(&ancestors),
        })
    }

    pub fn set_standbys(&mut self, host: usize, standbys: SynchronousStandbys) -> bool {
        if let Some(folder) = &mut self.hosts[host].server.folder {
            folder.standbys = standbys;
        }
        self.reload(host);
        self.checker.setting_changed(host, &self.hosts);
        self.release(host);
        self.hosts[host].server.process.is_some()
    }

    fn promote(&mut self, host: usize, timeline: u32) -> Outcome {
        let own = &mut self.hosts[host];
        let same = self.bug == Some(PlantedBug::SameNodeWithoutNewTimeline)
            && own
                .server
                .folder
                .as_ref()
                .is_some_and(|folder| folder.log.timeline() == own.promoted);
        if same {
            if let Some(process) = &mut own.server.process {
                process.primary = true;
                process.receiver = None;
            }
        } else {
            if self.bug != Some(PlantedBug::TimelineClashUnnoticed) {
                own.server.write_placeholders(timeline);
            }
            let marker = self.next_write;
            self.next_write += 1;
            if self.hosts[host].server.promote(marker).is_none() {
                return Outcome::Failed(Failure::Refused);
            }
            let own = &mut self.hosts[host];
            if let (Some(folder), Some(record)) = (&mut own.server.folder, &own.disk.record) {
                self.checker.bases.branches(record.lineage, folder.lineage);
                folder.lineage = record.lineage;
            }
        }
        let stray = self.bug == Some(PlantedBug::RestartReadWrite);
        if let Some(folder) = &mut self.hosts[host].server.folder {
            folder.standby_signal = !stray;
        }
        let Some((chosen, end, ancestors)) = self.hosts[host].server.rank() else {
            return Outcome::Failed(Failure::Refused);
        };
        self.hosts[host].promoted = chosen;
        self.hosts[host].renewing = false;
        self.checker.promoted(host, timeline, &self.hosts);
        self.strike_later(host, 50);
        Outcome::Promoted {
            timeline: Timeline(chosen),
            first_record_end: Lsn(end),
            history: history(&ancestors),
        }
    }

    fn let_in(&mut self, host: usize, open: bool) -> bool {
        if let Some(folder) = &mut self.hosts[host].server.folder {
            folder.applications = open;
        }
        self.reload(host);
        if open {
            self.checker.opened(host, self.now, &self.hosts);
        } else {
            self.checker.closed(host, &self.hosts);
            self.hosts[host].engine = None;
            if let Some(process) = &mut self.hosts[host].server.process {
                process.waiters.clear();
            }
        }
        self.hosts[host].server.process.is_some()
    }

    fn refill(
        &mut self,
        host: usize,
        source: ReplicaId,
        incarnation: Incarnation,
        rewind: bool,
    ) -> Outcome {
        let from = index(source);
        let reachable = self.network.is_open_both(host, from) && self.hosts[from].is_up();
        let primary = self.hosts[from]
            .server
            .process
            .as_ref()
            .is_some_and(|process| process.primary);
        if !reachable || !primary {
            return Outcome::Failed(Failure::SourceUnreachable);
        }
        let Some(mut copy) = self.hosts[from].server.folder.clone() else {
            return Outcome::Failed(Failure::SourceUnreachable);
        };
        // pg_basebackup reads every page; pg_rewind those that differ, and keeps its own damage.
        if copy.damaged && !rewind {
            return Outcome::Failed(Failure::Refused);
        }
        let own = self.hosts[host].server.folder.as_ref();
        copy.damaged = rewind && own.is_some_and(|folder| folder.damaged);
        if rewind && copy.checkpoint_timeline != copy.log.timeline() {
            return Outcome::Failed(Failure::Refused);
        }
        copy.incarnation = Some(incarnation.0);
        copy.standby_signal = true;
        copy.upstream = None;
        copy.applications = false;
        copy.standbys = SynchronousStandbys::Nobody;
        // A copy begins with what was written since it was begun.
        copy.kept_from = copy.kept_from.max(copy.log.flushed_end());
        if let Some(old) = self.hosts[host].server.folder.replace(copy) {
            self.checker.buried(host, old.log);
        }
        Outcome::Done
    }

    /// Everything that the server tells its keeper when asked.
    pub fn observe(&mut self, host: usize, generation: u32, regular: bool) {
        if self.hosts[host].generation != generation || self.hosts[host].keeper.is_none() {
            return;
        }
        if !regular {
            self.hosts[host].observe_soon = false;
        }
        self.drop_missing_senders(host);
        let outcomes = std::mem::take(&mut self.hosts[host].outcomes);
        for (operation, outcome) in outcomes {
            self.feed(host, Input::CommandDone { operation, outcome });
        }
        let own = &mut self.hosts[host];
        if own.generation != generation {
            return;
        }
        let observation =
            Observation {
                data: data_state(own.server.folder.as_ref()),
                process: process_state(&own.server),
                serviceability: match own.serviceability {
                    Serviceability::Good
                        if own.server.process.is_some()
                            && own.server.folder.as_ref().is_some_and(|f| f.damaged) =>
                    {
                        Serviceability::CorruptData
                    }
                    other => other,
                },
                receiver: own
                    .server
                    .process
                    .as_ref()
                    .and_then(|process| process.receiver)
                    .map(|receiver| Receiver {
                        name: Some(receiver.name),
                        streaming: receiver.streaming,
                        heard: own.heard,
                    }),
                supply: if own.starved
                    && own.server.process.as_ref().is_some_and(|process| {
                        process.upstream.is_some() && process.receiver.is_none()
                    }) {
                    Supply::Removed
                } else {
                    Supply::Unbroken
                },
                renewal: own.renewal,
                clients: own
                    .server
                    .process
                    .as_ref()
                    .map(|process| process.senders.iter().map(|sender| sender.client).collect())
                    .unwrap_or_default(),
            };
        own.heard = false;
        self.feed(host, Input::Observed(observation));
        if regular {
            let interval = OBSERVATION_INTERVAL.as_micros() as u64;
            self.plan(
                interval,
                Event::Observe {
                    host,
                    generation,
                    regular: true,
                },
            );
        }
    }

    /// Soon, and once.
    pub fn observe_soon(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        if own.observe_soon {
            return;
        }
        own.observe_soon = true;
        let generation = own.generation;
        let after = self.random.between(1_000, 15_000);
        self.plan(
            after,
            Event::Observe {
                host,
                generation,
                regular: false,
            },
        );
    }

    fn drop_missing_senders(&mut self, host: usize) {
        let Some(process) = &self.hosts[host].server.process else {
            return;
        };
        if process.senders.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        let mut missing = Vec::new();
        for sender in &process.senders {
            let other = &self.hosts[sender.host];
            let linked = self.network.is_open_both(host, sender.host) && other.is_up();
            let attached = other
                .server
                .process
                .as_ref()
                .and_then(|process| process.receiver)
                .is_some_and(|receiver| receiver.connection == sender.connection);
            let before = self.hosts[host]
                .missing
                .iter()
                .find(|entry| entry.0 == sender.connection)
                .map_or(0, |entry| entry.1);
            if linked && attached {
                continue;
            }
            if linked || before >= MISSING_LIMIT {
                gone.push(sender.connection);
            } else {
                missing.push((sender.connection, before + 1));
            }
        }
        self.hosts[host].missing = missing;
        if let Some(process) = &mut self.hosts[host].server.process {
            process
                .senders
                .retain(|sender| !gone.contains(&sender.connection));
        }
    }
}

fn data_state(folder: Option<&crate::postgres::Folder>) -> DataState {
    match folder {
        None => DataState::Blank,
        Some(folder) if folder.broken => DataState::Broken,
        Some(folder) => DataState::Present {
            system_identifier: SystemIdentifier(folder.system_identifier),
            incarnation: folder.incarnation.map(Incarnation),
        },
    }
}

fn process_state(server: &crate::postgres::Server) -> ProcessState {
    let (Some(folder), Some(process)) = (&server.folder, &server.process) else {
        return ProcessState::Stopped;
    };
    let timeline = Timeline(folder.log.timeline());
    if process.primary {
        ProcessState::Primary {
            timeline,
            flushed: Lsn(folder.log.flushed_end()),
        }
    } else {
        ProcessState::Standby {
            timeline,
            flushed: Lsn(folder.log.flushed_end()),
        }
    }
}
