//! Streaming between simulated servers, over the simulated network.

use std::time::Duration;

use mainstay_keeper::{Client, ClientState, ReceiverName, ReplicaId};
use mainstay_units::Lsn;

use crate::event::Event;
use crate::postgres::log::Record;
use crate::postgres::{History, StreamRefusal, Walreceiver, Walsender};
use crate::shell::index;
use crate::world::World;

/// `wal_retrieve_retry_interval`.
const RETRY: Duration = Duration::from_millis(100);
/// How often both ends of a stream look after each other.
const KEEP_ALIVE: Duration = Duration::from_millis(400);
/// A stream that was not heard for so many of these is given up.
const MISSED_LIMIT: u32 = 4;
/// Records in one message.
const BATCH_LIMIT: usize = 64;

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

impl World {
    /// Applies the files' settings; a standby with an upstream begins to connect.
    pub fn reload(&mut self, host: usize) {
        self.hosts[host].server.reload();
        self.connect_later(host, 500);
    }

    pub fn connect_later(&mut self, host: usize, after_us: u64) {
        let own = &self.hosts[host];
        let wants = own
            .server
            .process
            .as_ref()
            .is_some_and(|process| process.upstream.is_some() && process.receiver.is_none());
        if wants {
            let process = own.process;
            self.plan(after_us, Event::Connect { host, process });
        }
    }

    pub fn connect(&mut self, host: usize, token: u64) {
        let own = &self.hosts[host];
        let (Some(folder), Some(process)) = (&own.server.folder, &own.server.process) else {
            return;
        };
        if own.process != token || process.primary || process.receiver.is_some() {
            return;
        }
        let Some((source, name)) = process.upstream else {
            return;
        };
        let from = index(source);
        let (timeline, end) = (folder.log.timeline(), folder.log.end());
        let system = folder.system_identifier;
        let reachable =
            self.network.is_open_both(host, from) && self.hosts[from].is_up() && !own.unstreamed;
        let answer = if reachable && from != host {
            self.hosts[from]
                .server
                .accepts_stream(system, timeline, end)
        } else {
            Err(StreamRefusal::NotRunning)
        };
        self.hosts[host].starved = answer == Err(StreamRefusal::Removed);
        if answer.is_err() {
            self.connect_later(host, micros(RETRY));
            return;
        }
        self.establish(host, from, source, name);
    }

    fn establish(&mut self, host: usize, from: usize, source: ReplicaId, name: ReceiverName) {
        self.hosts[host].renewing = false;
        let connection = self.token();
        let client = Client {
            name,
            state: ClientState::CatchUp,
            flushed: Lsn(0),
        };
        if let Some(process) = &mut self.hosts[host].server.process {
            process.receiver = Some(Walreceiver {
                source,
                name,
                connection,
                streaming: true,
            });
        }
        if let Some(process) = &mut self.hosts[from].server.process {
            process.senders.retain(|sender| sender.host != host);
            process.senders.push(Walsender {
                host,
                connection,
                client,
            });
        }
        let incarnation = self.hosts[host]
            .server
            .folder
            .as_ref()
            .and_then(|folder| folder.incarnation);
        let source = &self.hosts[from].server;
        if let (Some(folder), Some(process)) = (&source.folder, &source.process) {
            let end = folder.log.flushed_end();
            self.checker
                .connected(host, incarnation, process.timeline, end);
        }
        let flushed = self.hosts[host]
            .server
            .folder
            .as_ref()
            .map_or(0, |folder| folder.log.flushed_end());
        self.reply(host, connection, flushed);
        self.pump(from);
        self.plan(
            micros(KEEP_ALIVE),
            Event::KeepAlive {
                host,
                connection,
                missed: 0,
            },
        );
    }

    /// Sends every standby of a primary what it has not got.
    pub fn pump(&mut self, primary: usize) {
        let senders = self.hosts[primary]
            .server
            .process
            .as_ref()
            .map(|process| process.senders.clone())
            .unwrap_or_default();
        for sender in senders {
            self.pump_to(primary, &sender);
        }
    }

    fn pump_to(&mut self, primary: usize, sender: &Walsender) {
        let to = sender.host;
        if !self.network.is_open(primary, to) || !self.hosts[primary].is_up() {
            return;
        }
        // What is on its way already is sent again if it got lost; the receiver skips what it has.
        let after = self.hosts[to]
            .server
            .folder
            .as_ref()
            .map_or(0, |folder| folder.log.end());
        let kept_from = self.hosts[primary]
            .server
            .folder
            .as_ref()
            .map_or(0, |folder| folder.kept_from);
        if after < kept_from {
            self.cut_stream(primary, sender);
            return;
        }
        let records: Vec<Record> = self.hosts[primary].server.stream_after(after, BATCH_LIMIT);
        if records.is_empty() {
            return;
        }
        let histories = self.histories_lacking(primary, to);
        let latency = self.network.latency(primary, to, &mut self.random);
        self.plan(
            latency,
            Event::WalArrive {
                to,
                connection: sender.connection,
                records,
                histories,
            },
        );
    }

    /// Of the history files of a primary's timelines those that a standby has not got. As long as its connection lasts it
    /// loses none.
    fn histories_lacking(&self, primary: usize, standby: usize) -> Vec<(u32, History)> {
        let folder = |host: usize| self.hosts[host].server.folder.as_ref();
        let (Some(source), Some(known)) = (folder(primary), folder(standby)) else {
            return Vec::new();
        };
        let line = source.log.timeline();
        let named = source.histories.range(..=line);
        named
            .filter(|(timeline, _)| !known.histories.contains_key(timeline))
            .map(|(timeline, history)| (*timeline, history.clone()))
            .collect()
    }

    /// The walsender ends: what its standby lacks is gone.
    fn cut_stream(&mut self, primary: usize, sender: &Walsender) {
        if let Some(process) = &mut self.hosts[primary].server.process {
            process
                .senders
                .retain(|other| other.connection != sender.connection);
        }
        let attached = self.hosts[sender.host]
            .server
            .process
            .as_ref()
            .and_then(|process| process.receiver)
            .is_some_and(|receiver| receiver.connection == sender.connection);
        if attached && self.network.is_open(primary, sender.host) {
            self.drop_receiver(sender.host);
        }
    }

    pub fn wal_arrive(
        &mut self,
        to: usize,
        connection: u64,
        records: &[Record],
        histories: Vec<(u32, History)>,
    ) {
        let own = &mut self.hosts[to];
        let receiver = own
            .server
            .process
            .as_ref()
            .and_then(|process| process.receiver);
        if own.stuck == Some(connection)
            || receiver.is_none_or(|receiver| receiver.connection != connection)
        {
            return;
        }
        own.heard = true;
        let Some(folder) = &mut own.server.folder else {
            return;
        };
        folder.log.receive(records);
        for (timeline, history) in histories {
            folder.histories.entry(timeline).or_insert(history);
        }
        let timeline = folder.log.timeline();
        if let Some(process) = &mut own.server.process {
            process.timeline = timeline;
        }
        let slow = own.slow_us;
        let after = self.random.between(200, 2_000) + self.random.below(slow + 1);
        self.plan(
            after,
            Event::WalFlush {
                host: to,
                connection,
            },
        );
    }

    pub fn wal_flush(&mut self, host: usize, connection: u64) {
        let receiver = self.hosts[host]
            .server
            .process
            .as_ref()
            .and_then(|process| process.receiver);
        let Some(receiver) = receiver.filter(|receiver| receiver.connection == connection) else {
            return;
        };
        let Some(folder) = &mut self.hosts[host].server.folder else {
            return;
        };
        let before = folder.log.flushed_end();
        folder.log.flush();
        let flushed = folder.log.flushed_end();
        if flushed > before {
            self.checker
                .standby_flushed(host, index(receiver.source), &self.hosts);
        }
        self.reply(host, connection, flushed);
    }

    fn reply(&mut self, host: usize, connection: u64, lsn: u64) {
        let receiver = self.hosts[host]
            .server
            .process
            .as_ref()
            .and_then(|process| process.receiver);
        let Some(receiver) = receiver.filter(|receiver| receiver.connection == connection) else {
            return;
        };
        let to = index(receiver.source);
        if !self.network.is_open(host, to) {
            return;
        }
        let latency = self.network.latency(host, to, &mut self.random);
        self.plan(
            latency,
            Event::FlushReply {
                to,
                from: host,
                connection,
                lsn,
            },
        );
    }

    pub fn flush_reply(&mut self, to: usize, from: usize, connection: u64, lsn: u64) {
        let own = &mut self.hosts[to];
        let (Some(folder), Some(process)) = (&own.server.folder, &mut own.server.process) else {
            return;
        };
        let end = folder.log.flushed_end();
        let Some(sender) = process
            .senders
            .iter_mut()
            .find(|sender| sender.connection == connection && sender.host == from)
        else {
            return;
        };
        sender.client.flushed = sender.client.flushed.max(Lsn(lsn));
        if lsn >= end {
            sender.client.state = ClientState::Streaming;
        }
        let sender = *sender;
        self.release(to);
        if lsn < end {
            self.pump_to(to, &sender);
        }
        if !self.hosts[to].is_open() {
            self.observe_soon(to);
        }
    }

    /// Both ends of a stream look after each other; lost messages are sent again.
    pub fn keep_alive(&mut self, host: usize, connection: u64, missed: u32) {
        let receiver = self.hosts[host]
            .server
            .process
            .as_ref()
            .and_then(|process| process.receiver);
        let Some(receiver) = receiver.filter(|receiver| receiver.connection == connection) else {
            return;
        };
        let from = index(receiver.source);
        let linked = self.network.is_open_both(host, from) && self.hosts[from].is_up();
        let known = self.hosts[from]
            .server
            .process
            .as_ref()
            .is_some_and(|process| {
                process
                    .senders
                    .iter()
                    .any(|sender| sender.connection == connection)
            });
        let missed = if linked { 0 } else { missed + 1 };
        if (linked && !known) || missed >= MISSED_LIMIT {
            self.drop_receiver(host);
            return;
        }
        if linked && self.hosts[host].stuck != Some(connection) {
            self.hosts[host].heard = true;
            let flushed = self.hosts[host]
                .server
                .folder
                .as_ref()
                .map_or(0, |folder| folder.log.flushed_end());
            self.reply(host, connection, flushed);
            self.pump(from);
        }
        self.plan(
            micros(KEEP_ALIVE),
            Event::KeepAlive {
                host,
                connection,
                missed,
            },
        );
    }

    pub fn drop_receiver(&mut self, host: usize) {
        if let Some(process) = &mut self.hosts[host].server.process {
            process.receiver = None;
        }
        self.connect_later(host, micros(RETRY));
    }

    /// The server's process ends, from inside or outside: sessions and streams end with it.
    pub fn end_process(&mut self, host: usize) {
        if self.hosts[host].server.process.is_none() {
            return;
        }
        let own = &mut self.hosts[host];
        own.process += 1;
        own.engine = None;
        own.server.kill();
        let silent = own.down;
        for other in 0..self.hosts.len() {
            let attached = self.hosts[other]
                .server
                .process
                .as_ref()
                .and_then(|process| process.receiver)
                .is_some_and(|receiver| index(receiver.source) == host);
            if attached && !silent && self.network.is_open(host, other) {
                self.drop_receiver(other);
            }
        }
    }
}
