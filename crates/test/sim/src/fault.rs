//! What goes wrong: drawn one after the other until the world is healed.

use mainstay_keeper::{Operator, Renewal, ReplicaId, Serviceability, SynchronousStandbys};

use crate::event::Event;
use crate::world::World;

/// A fault that lasts and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Crash { host: usize },
    Freeze { host: usize },
    Cut { from: usize, to: usize },
    Isolate { host: usize },
    Delay { from: usize, to: usize },
    Slow { host: usize },
    Unserviceable { host: usize },
    Pause { host: usize },
    Unstreamed { host: usize },
    Busy { host: usize },
    Loss,
}

impl World {
    pub fn nemesis(&mut self) {
        if self.healed {
            return;
        }
        let mean = self.plan.fault_interval_us;
        let next = self.random.between(mean / 4, mean * 7 / 4);
        self.plan(next, Event::Nemesis);
        let primary = self.primary();
        let host = match primary {
            Some(primary) if self.random.per_mille(550) => primary,
            _ => self.random.below(self.plan.hosts as u64) as usize,
        };
        self.checker.faults += 1;
        if self.plan.calm {
            self.bother(host, primary);
            return;
        }
        match self.random.below(100) {
            0..=13 => self.crash(host, false),
            14..=19 => self.crash(host, true),
            20..=33 => self.kill_server(host),
            34..=39 => self.kill_keeper(host),
            40..=41 => self.kill_both(host),
            42..=54 => self.last(Fault::Freeze { host }),
            55..=66 => self.last(Fault::Isolate { host }),
            67..=74 => {
                let to = self.other(host);
                let (from, to) = if self.random.per_mille(500) {
                    (host, to)
                } else {
                    (to, host)
                };
                self.last(Fault::Cut { from, to });
            }
            75..=79 => {
                let to = self.other(host);
                self.last(Fault::Delay { from: host, to });
            }
            80..=81 => self.last(Fault::Slow { host }),
            82 => self.last(Fault::Busy { host }),
            83..=84 => self.last(Fault::Unserviceable { host }),
            86..=87 => self.last(Fault::Pause { host }),
            88 => self.last(Fault::Loss),
            89 => self.damage(host),
            85 => self.stop_receiver(host),
            90..=91 => self.stray_reload(host),
            92..=93 => self.remove_log(),
            94..=95 => self.go_solo(),
            _ => self.switch_over(),
        }
    }

    /// What a database must bear without another primary.
    fn bother(&mut self, host: usize, primary: Option<usize>) {
        let others = (0..self.plan.hosts).filter(|other| Some(*other) != primary);
        let standby = others.max().unwrap_or(host);
        match self.random.below(6) {
            0 | 1 => self.last(Fault::Busy { host }),
            2 => self.last(Fault::Slow { host }),
            3 => self.kill_keeper(host),
            4 => self.kill_server(standby),
            _ => self.stray_reload(host),
        }
    }

    /// The host whose server lets applications in on the highest timeline.
    pub fn primary(&self) -> Option<usize> {
        (0..self.hosts.len())
            .filter(|host| !self.hosts[*host].down && self.hosts[*host].is_open())
            .max_by_key(|host| {
                self.hosts[*host]
                    .server
                    .process
                    .as_ref()
                    .map(|process| process.timeline)
            })
    }

    fn other(&mut self, host: usize) -> usize {
        let step = 1 + self.random.below(self.plan.hosts as u64 - 1) as usize;
        (host + step) % self.plan.hosts
    }

    fn last(&mut self, fault: Fault) {
        self.say(|| format!("fault {fault:?}"));
        match fault {
            Fault::Freeze { host } => {
                if self.hosts[host].down {
                    return;
                }
                self.hosts[host].frozen = true;
            }
            Fault::Cut { from, to } => self.network.cut(from, to, true),
            Fault::Isolate { host } => {
                for other in (0..self.plan.hosts).filter(|other| *other != host) {
                    self.network.cut(host, other, true);
                    self.network.cut(other, host, true);
                }
            }
            Fault::Delay { from, to } => {
                let added = self.random.between(20_000, 2_500_000);
                self.network.delay(from, to, added);
            }
            Fault::Slow { host } => self.hosts[host].slow_us = self.random.between(5_000, 800_000),
            Fault::Unserviceable { host } => {
                let kinds = [
                    Serviceability::Hung,
                    Serviceability::NoSlots,
                    Serviceability::DeadDisk,
                    Serviceability::ReadOnly,
                    Serviceability::DiskFull,
                ];
                self.hosts[host].serviceability = kinds[self.random.below(5) as usize];
            }
            Fault::Pause { host } => {
                self.operator(host, Operator::Pause);
                self.end_by_hand(host);
            }
            Fault::Busy { host } => self.hosts[host].busy = true,
            Fault::Loss => self.network.loss_per_mille = self.random.between(50, 500),
            Fault::Crash { .. } | Fault::Unstreamed { .. } => {}
        }
        let lasting = if self.random.per_mille(300) {
            self.random.between(200_000, 1_500_000)
        } else {
            self.random.between(1_500_000, 9_000_000)
        };
        self.plan(lasting, Event::End(fault));
    }

    /// Whoever pauses a keeper wants to do something to its server; drawn by nothing else, so that all other schedules stay what
    /// they were.
    fn end_by_hand(&mut self, host: usize) {
        if self.now.is_multiple_of(3) {
            self.say(|| format!("the server of host {} is ended by hand", host + 1));
            self.end_process(host);
        }
    }

    /// As `pg_ctl start` does: by what the folder says.
    fn start_by_hand(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        if own.down || own.current.is_some() || !own.server.start() {
            return;
        }
        own.process += 1;
        self.say(|| format!("the server of host {} is started by hand", host + 1));
        self.checker.started(host, &self.hosts);
        self.reload(host);
    }

    pub fn end_fault(&mut self, fault: Fault) {
        self.say(|| format!("end of {fault:?}"));
        match fault {
            Fault::Crash { host } => self.boot(host),
            Fault::Freeze { host } => self.thaw(host),
            Fault::Cut { from, to } => self.network.cut(from, to, false),
            Fault::Isolate { host } => {
                for other in 0..self.plan.hosts {
                    self.network.cut(host, other, false);
                    self.network.cut(other, host, false);
                }
            }
            Fault::Delay { from, to } => self.network.delay(from, to, 0),
            Fault::Slow { host } => self.hosts[host].slow_us = 0,
            Fault::Unserviceable { host } => {
                self.hosts[host].serviceability = Serviceability::Good;
            }
            Fault::Pause { host } => {
                self.start_by_hand(host);
                self.operator(host, Operator::Resume);
            }
            Fault::Busy { host } => self.hosts[host].busy = false,
            Fault::Unstreamed { host } => self.hosts[host].unstreamed = false,
            Fault::Loss => self.network.loss_per_mille = 0,
        }
    }

    fn crash(&mut self, host: usize, with_disk: bool) {
        let lost = with_disk && self.may_lose_disk(host);
        self.lose(host, lost, None);
    }

    /// Ends a host, for as long as is said or drawn.
    pub fn lose(&mut self, host: usize, lost: bool, lasting: Option<u64>) {
        self.say(|| format!("fault crash of host {} disk lost {lost}", host + 1));
        if self.hosts[host].down {
            return;
        }
        self.hosts[host].down = true;
        self.hosts[host].frozen = false;
        self.hosts[host].deferred.clear();
        self.stop_keeper(host);
        self.end_process(host);
        self.hosts[host].server.lose_power();
        self.hosts[host].lease = None;
        if lost {
            self.checker.disk_losses += 1;
            self.lose_disk(host);
        }
        let lasting = lasting.unwrap_or_else(|| self.random.between(300_000, 9_000_000));
        self.plan(lasting, Event::End(Fault::Crash { host }));
    }

    /// Its folder, and what its keeper wrote.
    pub fn lose_disk(&mut self, host: usize) {
        let token = self.next_token;
        if let Some(folder) = self.hosts[host].server.folder.take() {
            self.checker.forgotten(host, folder.incarnation, token);
            self.checker.buried(host, folder.log);
        }
        self.hosts[host].disk.record = None;
        self.hosts[host].promoted = 0;
        self.checker.disk_lost(host);
    }

    fn boot(&mut self, host: usize) {
        if !self.hosts[host].down {
            return;
        }
        self.hosts[host].down = false;
        let generation = self.hosts[host].generation;
        self.plan(1_000, Event::StartKeeper { host, generation });
    }

    /// One disk may be lost when everything that counts is on the others: more than that no cohort of
    /// three survives, and none claims to.
    fn may_lose_disk(&self, host: usize) -> bool {
        let Some(primary) = self.primary() else {
            return false;
        };
        let setting = self.hosts[primary]
            .server
            .process
            .as_ref()
            .map(|process| &process.standbys);
        let Some(SynchronousStandbys::Any { names, .. }) = setting else {
            return false;
        };
        // To a later lineage than the primary's it may be all there is, also where that was only decided.
        let known = self.hosts[host].latest_lineage();
        if known > self.hosts[primary].lineage() {
            return false;
        }
        self.shape
            .replicas
            .iter()
            .copied()
            .filter(|other| *other != host)
            .all(|other| {
                let own = &self.hosts[other];
                let Some(record) = own.disk.record.as_ref() else {
                    return false;
                };
                // Counts already, not only soon.
                let counts = other == primary
                    || names.iter().any(|name| {
                        name.replica == own.id && name.incarnation == record.incarnation
                    });
                let whole = own.server.folder.as_ref().is_some_and(|folder| {
                    // One that must be filled anew is lost already, as far as this goes.
                    !folder.broken
                        && !folder.damaged
                        && !own.starved
                        && folder.incarnation == Some(record.incarnation.0)
                });
                // One that was told to be filled anew may begin before anybody knows of the loss.
                let stays = !own.is_to_be_refilled();
                let attached = own.server.process.as_ref().is_some_and(|process| {
                    (process.primary && other == primary)
                        || process.receiver.is_some_and(|receiver| {
                            receiver.streaming && receiver.source == self.hosts[primary].id
                        })
                });
                counts && whole && stays && attached && own.disk.pending.is_empty()
            })
    }

    /// Sometimes a host ends in the middle of what matters: as it recruits, as it was just promoted.
    pub fn strike_later(&mut self, host: usize, per_mille: u64) {
        if self.plan.single.is_none() && !self.healed && self.random.per_mille(per_mille) {
            let after = self.random.below(60_000);
            self.plan(after, Event::Strike { host });
        }
    }

    pub fn strike(&mut self, host: usize) {
        if self.healed || self.now < self.plan.faults_at_us {
            return;
        }
        self.checker.faults += 1;
        if self.random.per_mille(500) {
            self.crash(host, false);
        } else {
            self.kill_keeper(host);
        }
    }

    pub fn kill_server(&mut self, host: usize) {
        self.say(|| format!("fault kill of server {}", host + 1));
        if self.hosts[host].is_up() {
            self.end_process(host);
            self.observe_soon(host);
        }
    }

    fn kill_keeper(&mut self, host: usize) {
        self.say(|| format!("fault kill of keeper {}", host + 1));
        if self.hosts[host].is_up() && self.hosts[host].keeper.is_some() {
            self.stop_keeper(host);
            self.tell_of_end(host);
            self.restart_keeper_later(host);
        }
    }

    /// The kernel of a host that lives closes what a process had open.
    pub fn tell_of_end(&mut self, host: usize) {
        let ended = self.hosts[host].id;
        for other in (0..self.plan.hosts).filter(|other| *other != host) {
            if self.network.is_open(host, other) {
                let after = self.network.latency(host, other, &mut self.random);
                self.plan(after, Event::PeerClosed { host: other, ended });
            }
        }
    }

    /// Keeper and server end together, on a host that lives.
    fn kill_both(&mut self, host: usize) {
        if self.hosts[host].is_up() {
            self.kill_keeper(host);
            self.end_process(host);
        }
    }

    /// The primary recycles log that a standby which is away will ask for.
    fn remove_log(&mut self) {
        let Some(primary) = self.primary() else {
            return;
        };
        self.say(|| format!("fault log removed on {}", primary + 1));
        self.log_removed = true;
        if let Some(folder) = &mut self.hosts[primary].server.folder {
            folder.kept_from = folder.log.flushed_end();
        }
    }

    /// A page of one folder is damaged, and read. One folder at a time: what is damaged everywhere is lost.
    fn damage(&mut self, host: usize) {
        let damaged = |host: &crate::host::Host| {
            host.server
                .folder
                .as_ref()
                .is_none_or(|folder| folder.damaged || folder.broken)
        };
        if self.hosts.iter().any(damaged) || !self.may_lose_disk(host) {
            return;
        }
        self.say(|| format!("fault page damaged on {}", host + 1));
        self.log_removed = true;
        if let Some(folder) = &mut self.hosts[host].server.folder {
            folder.damaged = true;
        }
    }

    /// Every server is given what only a start takes.
    pub fn renew(&mut self) {
        if self.plan.calm {
            return;
        }
        self.say(|| "every server needs a start".to_string());
        self.log_removed = true;
        for host in &mut self.hosts {
            host.renewal = Renewal::Needed;
        }
    }

    /// The walreceiver stands still, its connection too.
    fn stop_receiver(&mut self, host: usize) {
        self.say(|| format!("fault walreceiver of {} stands still", host + 1));
        let own = &mut self.hosts[host];
        own.stuck = own
            .server
            .process
            .as_ref()
            .and_then(|process| process.receiver)
            .map(|receiver| receiver.connection);
    }

    /// Somebody reloads the configuration for reasons of his own.
    fn stray_reload(&mut self, host: usize) {
        self.say(|| format!("fault stray reload {}", host + 1));
        if self.hosts[host].is_up() {
            self.reload(host);
        }
    }

    fn switch_over(&mut self) {
        let Some(primary) = self.primary() else {
            return;
        };
        let to = self.other(primary);
        self.say(|| format!("switchover from {} to {}", primary + 1, to + 1));
        self.operator(
            primary,
            Operator::Switchover {
                to: ReplicaId(to as u8 + 1),
            },
        );
    }

    fn thaw(&mut self, host: usize) {
        if !self.hosts[host].frozen {
            return;
        }
        self.hosts[host].frozen = false;
        for event in std::mem::take(&mut self.hosts[host].deferred) {
            self.plan(0, event);
        }
    }

    /// The end of all faults: from here on the database must become available.
    pub fn heal(&mut self) {
        self.say(|| "healed".to_string());
        self.healed = true;
        self.network.heal();
        for host in 0..self.plan.hosts {
            self.thaw(host);
            self.boot(host);
            self.hosts[host].serviceability = Serviceability::Good;
            self.hosts[host].slow_us = 0;
            self.hosts[host].busy = false;
            self.hosts[host].unstreamed = false;
            self.operator(host, Operator::Resume);
        }
        self.checker.healed();
    }
}
