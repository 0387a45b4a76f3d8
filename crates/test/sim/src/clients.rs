//! Clients and engines: they write, read, cancel, and believe what they are told.
//!
//! Clients try every host whose server lets applications in, stale ones too. A write counts as
//! acknowledged when the server answers without a warning. A read is answered by an engine that became
//! active by a committed write of its own and that checks the lease after reading the request.

use mainstay_keeper::PlantedBug;

use crate::event::Event;
use crate::host::Engine;
use crate::postgres::Waiter;
use crate::world::World;

impl World {
    pub fn clients(&mut self, host: usize) {
        let (least, most) = self.plan.client_pause_us;
        let pause = self.random.between(least, most);
        self.plan(pause, Event::Clients { host });
        if self.hosts[host].down || !self.hosts[host].is_open() {
            return;
        }
        let process = self.hosts[host].process;
        // Idle connections look at the lease now and then.
        let valid = self.hosts[host].holds_lease(self.now);
        let frozen = self.hosts[host].frozen;
        if let Some(engine) = self.hosts[host].engine.as_mut().filter(|_| !frozen) {
            engine.lease_seen = valid;
        }
        let engine = self.hosts[host]
            .engine
            .filter(|engine| engine.process == process);
        if self.random.per_mille(400) && engine.is_some_and(|engine| engine.active) {
            let required = self.checker.acknowledged_count();
            let travel = self.random.between(100, 5_000);
            self.plan(
                travel,
                Event::Read {
                    host,
                    required,
                    process,
                },
            );
            return;
        }
        if self.hosts[host].frozen {
            return;
        }
        if engine.is_some() {
            self.write(host);
        } else if let Some(epoch_write) = self.write(host) {
            self.hosts[host].engine = Some(Engine {
                process,
                epoch_write,
                active: false,
                lease_seen: false,
            });
            self.release(host);
        }
    }

    fn write(&mut self, host: usize) -> Option<u64> {
        let write = self.next_write;
        self.next_write += 1;
        let lsn = self.hosts[host].server.write(write)?;
        self.checker.attempted(write);
        let process = self.hosts[host].process;
        if let Some(running) = &mut self.hosts[host].server.process {
            running.waiters.push(Waiter { lsn, write });
        }
        if self.random.per_mille(30) {
            let after = self.random.between(100, 60_000);
            self.plan(
                after,
                Event::Cancel {
                    host,
                    process,
                    write,
                },
            );
        }
        self.release(host);
        self.pump(host);
        Some(write)
    }

    /// Answers the commits whose wait is over.
    pub fn release(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].server.process else {
            return;
        };
        if process.waiters.is_empty() {
            return;
        }
        for waiter in process.release() {
            self.acknowledge(host, waiter);
        }
    }

    fn acknowledge(&mut self, host: usize, waiter: Waiter) {
        self.checker.acknowledged(host, waiter, &self.hosts);
        self.recovery.handle_acknowledged(self.now);
        let valid = self.hosts[host].holds_lease(self.now);
        let process = self.hosts[host].process;
        if let Some(engine) = &mut self.hosts[host].engine
            && engine.process == process
        {
            engine.active |= engine.epoch_write == waiter.write;
            engine.lease_seen = valid;
        }
    }

    /// PostgreSQL answers a cancelled wait with a warning and then with success.
    pub fn cancel(&mut self, host: usize, process: u64, write: u64) {
        if !self.hosts[host].is_up() || self.hosts[host].process != process {
            return;
        }
        let Some(running) = &mut self.hosts[host].server.process else {
            return;
        };
        let before = running.waiters.len();
        let waiter = running
            .waiters
            .iter()
            .find(|waiter| waiter.write == write)
            .copied();
        running.waiters.retain(|waiter| waiter.write != write);
        if running.waiters.len() < before
            && self.bug == Some(PlantedBug::WarningTreatedAsSuccess)
            && let Some(waiter) = waiter
        {
            self.checker.acknowledged(host, waiter, &self.hosts);
        }
    }

    pub fn read(&mut self, host: usize, required: usize, process: u64) {
        let own = &self.hosts[host];
        let Some(engine) = own.engine else {
            return;
        };
        if own.process != process || engine.process != process || !engine.active {
            return;
        }
        let valid = own.holds_lease(self.now);
        let believed = if self.bug == Some(PlantedBug::LeaseCheckedBeforeReading) {
            engine.lease_seen
        } else {
            valid
        };
        if believed {
            self.checker.read(host, required, &self.hosts);
        }
    }
}
