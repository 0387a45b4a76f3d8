//! The simulated world: hosts, network, time, and the loop that moves them.

use std::collections::VecDeque;

use mainstay_keeper::{
    Body, Config, Effect, Input, Keeper, Message, Operator, PlantedBug, ReplicaId, RequestId,
    Timings,
};
use mainstay_units::Instant;

use crate::checker::Checker;
use crate::event::{Event, Order, Queue};
use crate::host::{Clock, Host};
use crate::lineage::LOST_EVERY;
use crate::network::Network;
use crate::random::Random;
use crate::recovery::{Class, Recovery};
use crate::reshape::Shape;
use crate::trace::Trace;

/// Clocks start this far from zero, so that subtracting from them is safe.
const CLOCK_ORIGIN_US: u64 = 1_000_000_000;

/// Added to the time after healing where replicas may have to be filled anew, one after the other.
const REFILL_US: u64 = 20_000_000;

/// When replicas are ordered to be filled anew, where they are, and how often.
const REFILLS_FROM_US: u64 = 10_000_000;
const REFILLS_EVERY_US: usize = 3_700_000;

/// In every so many schedules the servers are given what only a start takes; drawn by nothing else, so that all
/// other schedules stay what they are.
const RENEWED_EVERY: u64 = 8;
const RENEWED_AT_US: [u64; 2] = [14_000_000, 33_000_000];

/// A single fault comes when the database has been founded and runs.
const SINGLE_AT_US: u64 = 10_000_000;
const SINGLE_LASTS_US: u64 = 4_000_000;

/// Where no majority was lost the order is refused, or carried out as an election.
const FORCED_FOR_NOTHING_EVERY: u64 = 7;

/// What a schedule is made of; drawn from its seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub hosts: usize,
    pub copies: u8,
    /// Nothing is injected after this.
    pub heal_at_us: u64,
    /// When faults begin; the database is founded before.
    pub faults_at_us: u64,
    pub finish_at_us: u64,
    /// Mean time between faults.
    pub fault_interval_us: u64,
    /// Nothing happens that would justify another primary.
    pub calm: bool,
    /// As configured: with none, lineages use the same numbers for their terms.
    pub terms_skipped: u32,
    /// Clients pause at least and at most so long between two looks.
    pub client_pause_us: (u64, u64),
    /// One fault of a kind that is given, and nothing else.
    pub single: Option<Class>,
}

pub struct World {
    pub plan: Plan,
    pub shape: Shape,
    pub now: u64,
    pub queue: Queue,
    pub random: Random,
    pub network: Network,
    pub hosts: Vec<Host>,
    pub checker: Checker,
    pub trace: Trace,
    pub bug: Option<PlantedBug>,
    pub healed: bool,
    pub timings: Timings,
    pub next_token: u64,
    pub next_write: u64,
    pub next_request: u64,
    pub rows_used: u128,
    /// Some replica may have to be filled anew, which takes its time.
    pub log_removed: bool,
    /// It was given that time.
    prolonged: bool,
    /// Prints what happens, for a person.
    pub narrate: bool,
    /// When the single fault was set, and when writes were acknowledged.
    pub recovery: Recovery,
    /// Room for what a keeper answers, kept from one input to the next.
    effects: VecDeque<Effect>,
}

/// When an event that is due happens.
enum When {
    Now,
    Never,
    Thawed(usize),
    Later(u64),
}

impl World {
    pub fn new(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut world = Self::bare(seed, bug);
        world.populate();
        world.plan_orders(seed);
        world
    }

    /// Nothing is planned yet.
    fn bare(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut random = Random::new(seed);
        let hosts = if random.per_mille(30) { 5 } else { 3 };
        let copies = if hosts == 5 { 3 } else { 2 };
        Self::drawn(seed, bug, random, (hosts, copies))
    }

    /// The same, of so many hosts.
    pub fn unpopulated(seed: u64, bug: Option<PlantedBug>, hosts: usize, copies: u8) -> Self {
        Self::drawn(seed, bug, Random::new(seed), (hosts, copies))
    }

    fn drawn(
        seed: u64,
        bug: Option<PlantedBug>,
        mut random: Random,
        (hosts, copies): (usize, u8),
    ) -> Self {
        let network = Network::new(hosts, &mut random);
        let plan = Plan {
            hosts,
            copies,
            faults_at_us: 8_000_000,
            heal_at_us: random.between(42_500_000, 46_000_000),
            finish_at_us: 0,
            fault_interval_us: random.between(1_500_000, 6_000_000),
            calm: false,
            terms_skipped: if seed.is_multiple_of(3) { 4 } else { 0 },
            client_pause_us: (150_000, 700_000),
            single: None,
        };
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            network,
            hosts: Vec::new(),
            checker: Checker::new(hosts, copies),
            trace: Trace::default(),
            bug,
            healed: false,
            timings: timings(&mut random),
            next_token: 0,
            next_write: 1,
            next_request: 0,
            rows_used: 0,
            log_removed: false,
            prolonged: false,
            narrate: false,
            recovery: Recovery::default(),
            effects: VecDeque::new(),
            shape: Shape::of(hosts, copies),
            plan,
            random,
        };
        world.plan.finish_at_us = world.plan.heal_at_us + 18_000_000;
        world
    }

    fn plan_orders(&mut self, seed: u64) {
        if seed.is_multiple_of(RENEWED_EVERY) {
            for at in RENEWED_AT_US {
                self.queue.push(at, Event::Renew);
            }
        }
        if seed % LOST_EVERY == LOST_EVERY - 1 {
            let at = 12_000_000 + seed.wrapping_mul(7_919_113) % 14_000_000;
            self.queue.push(at, Event::LoseMajority);
        }
        // Now and then somebody gives the order where nothing warrants it.
        if seed.is_multiple_of(FORCED_FOR_NOTHING_EVERY) {
            let host = (seed / FORCED_FOR_NOTHING_EVERY) as usize % self.plan.hosts;
            for at in (20_000_000..38_000_000).step_by(6_000_000) {
                let order = Order::Force;
                self.queue.push(at, Event::Order { host, order });
            }
        }
    }

    /// A schedule of busy processors, slow disks, keepers and standbys that restart: none of it is a reason to
    /// promote anybody.
    pub fn calm(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut world = Self::new(seed, bug);
        world.plan.calm = true;
        world.timings = Timings::default();
        world.network.loss_per_mille = 0;
        world
    }

    /// Three hosts of one machine with production's timings, in which one fault of this kind happens and nothing else.
    pub fn single(seed: u64, class: Class) -> Self {
        let mut world = Self::bare(seed, None);
        world.timings = Timings::default();
        world.plan.hosts = 3;
        world.plan.copies = 2;
        world.plan.client_pause_us = (1_000, 3_000);
        world.plan.single = Some(class);
        world.plan.faults_at_us = SINGLE_AT_US + world.random.below(1_000_000);
        world.plan.heal_at_us = world.plan.faults_at_us + SINGLE_LASTS_US;
        world.plan.finish_at_us = world.plan.heal_at_us + 18_000_000;
        world.network = Network::local(3);
        world.checker = Checker::new(3, 2);
        world.shape = Shape::of(3, 2);
        world.populate();
        world
    }

    /// A schedule like any other in which somebody also orders one replica after the other to be filled anew, now and then
    /// two at once, whatever else goes wrong meanwhile.
    pub fn refilled(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut world = Self::new(seed, bug);
        let hosts = world.plan.hosts as u64;
        let order = Order::Refill;
        for (round, at) in (REFILLS_FROM_US..world.plan.heal_at_us)
            .step_by(REFILLS_EVERY_US)
            .enumerate()
        {
            let first = (seed + round as u64) % hosts;
            let second = (first + seed % 2) % hosts;
            for host in [first, second] {
                let host = host as usize;
                world.queue.push(at, Event::Order { host, order });
            }
        }
        world
    }

    pub fn populate(&mut self) {
        for id in 0..self.plan.hosts {
            let clock = Clock {
                offset_us: CLOCK_ORIGIN_US + self.random.below(CLOCK_ORIGIN_US),
                drift_ppm: self.random.between(0, 40_000) as i64 - 20_000,
            };
            self.hosts.push(Host::new(id as u8 + 1, clock));
            let start = self.random.below(300_000);
            self.queue.push(
                start,
                Event::StartKeeper {
                    host: id,
                    generation: 0,
                },
            );
            self.queue
                .push(2_000_000 + start, Event::Clients { host: id });
        }
        self.queue.push(self.plan.faults_at_us, Event::Nemesis);
        self.queue.push(self.plan.heal_at_us, Event::Heal);
        self.queue.push(self.plan.finish_at_us, Event::Finish);
    }

    /// Also where no fault removed log: who was filled has none from before that.
    fn may_be_filled(&self) -> bool {
        self.log_removed || self.hosts.iter().any(|host| host.starved)
    }

    /// Runs until the end, or until an invariant is broken.
    pub fn run(&mut self) {
        while let Some((at, event)) = self.queue.pop() {
            self.now = at.max(self.now);
            if matches!(event, Event::Finish) && self.may_be_filled() && !self.prolonged {
                self.prolonged = true;
                self.queue.push(self.now + REFILL_US, Event::Finish);
                continue;
            }
            if matches!(event, Event::Finish) || self.checker.violation.is_some() {
                break;
            }
            self.happen(event);
        }
        for host in &self.hosts {
            if let Some(keeper) = &host.keeper {
                self.rows_used |= keeper.rows_used();
            }
        }
        self.checker.finish(&self.shape, &self.hosts);
        if self.plan.calm {
            self.checker.stayed();
        }
        for host in &self.hosts {
            self.say(|| format!("{:?}", host.keeper));
            self.say(|| format!("{:?}", host.server.process));
        }
    }

    pub fn plan(&mut self, after_us: u64, event: Event) {
        self.queue.push(self.now + after_us, event);
    }

    pub fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.narrate {
            println!("{:>10.3} {}", self.now as f64 / 1e6, what());
        }
    }

    fn happen(&mut self, event: Event) {
        match self.when(&event) {
            When::Now => self.take_place(event),
            When::Never => {}
            When::Thawed(host) => self.hosts[host].deferred.push(event),
            When::Later(until) => self.queue.push(until, event),
        }
    }

    /// What happens to a host that is down does not; to one that is frozen it happens when it thaws.
    fn when(&mut self, event: &Event) -> When {
        let Some(host) = event.needs() else {
            return When::Now;
        };
        let own = &self.hosts[host];
        if own.down {
            When::Never
        } else if own.frozen {
            When::Thawed(host)
        } else if own.busy || self.now < own.asleep_until {
            self.postponed(host, event).map_or(When::Now, When::Later)
        } else {
            When::Now
        }
    }

    fn take_place(&mut self, event: Event) {
        match event {
            Event::Deliver { to, message } => self.feed(to, Input::Message(message)),
            Event::Tick { host, generation } => self.tick(host, generation),
            Event::Observe {
                host,
                generation,
                regular,
            } => self.observe(host, generation, regular),
            Event::Persisted {
                host,
                generation,
                sequence,
                silent,
            } => self.persisted(host, generation, sequence, silent),
            Event::CommandEnd { host, token } => self.command_end(host, token),
            Event::Connect { host, process } => self.connect(host, process),
            Event::WalArrive {
                to,
                connection,
                records,
                histories,
            } => self.wal_arrive(to, connection, &records, histories),
            Event::WalFlush { host, connection } => self.wal_flush(host, connection),
            Event::FlushReply {
                to,
                from,
                connection,
                lsn,
            } => self.flush_reply(to, from, connection, lsn),
            Event::KeepAlive {
                host,
                connection,
                missed,
            } => self.keep_alive(host, connection, missed),
            Event::Clients { host } => self.clients(host),
            Event::Read {
                host,
                required,
                process,
            } => self.read(host, required, process),
            Event::Cancel {
                host,
                process,
                write,
            } => self.cancel(host, process, write),
            Event::Reload { host } => self.reload(host),
            Event::PeerClosed { host, ended } => self.feed(host, Input::PeerClosed(ended)),
            Event::StartKeeper { host, generation } => self.start_keeper(host, generation),
            Event::Strike { host } => self.strike(host),
            Event::Order { host, order } => self.carry_out(host, order),
            Event::LoseMajority => self.lose_majority(),
            Event::Voice { host, generation } => self.voice(host, generation),
            Event::Nemesis => match self.plan.single {
                Some(class) => self.strike_once(class),
                None => self.nemesis(),
            },
            Event::Reshape => self.reshape(),
            Event::Told { host } => self.told(host),
            Event::Renew => self.renew(),
            Event::End(fault) => self.end_fault(fault),
            Event::Heal => self.heal(),
            Event::Finish => {}
        }
    }

    /// A keeper that is not scheduled does what it has to do later, in order: until when this waits.
    fn postponed(&mut self, host: usize, event: &Event) -> Option<u64> {
        let is_of_keeper = matches!(
            event,
            Event::Deliver { .. } | Event::Tick { .. } | Event::Observe { .. }
        );
        if !is_of_keeper {
            return None;
        }
        let own = &mut self.hosts[host];
        if self.now < own.asleep_until {
            return Some(own.asleep_until);
        }
        if own.busy && self.random.per_mille(30) {
            // A lease bears a keeper that is late; not one that stands still for longer than that.
            let longest = if self.plan.calm { 300_000 } else { 1_500_000 };
            own.asleep_until = self.now + self.random.between(20_000, longest);
            self.raise_voice(host);
        }
        None
    }

    /// While a keeper is late its voice, a thread of its own, repeats its last words.
    fn raise_voice(&mut self, host: usize) {
        let own = &self.hosts[host];
        let (until, generation) = (own.asleep_until, own.generation);
        let beat = self.timings.heartbeat_at_rest().as_micros() as u64 * 3 / 2;
        let mut at = self.now + beat;
        while at < until {
            self.queue.push(at, Event::Voice { host, generation });
            at += beat;
        }
    }

    fn voice(&mut self, host: usize, generation: u32) {
        let now = self.local(host);
        let own = &self.hosts[host];
        if own.generation != generation || own.keeper.is_none() || self.now >= own.asleep_until {
            return;
        }
        let Some(mut message) = own.last_words.clone() else {
            return;
        };
        if let Body::Heartbeat(heartbeat) = &mut message.body {
            heartbeat.age = now.since(heartbeat.sent);
        }
        for to in (0..self.plan.hosts).filter(|to| *to != host) {
            self.transmit(host, to, message.clone());
        }
    }

    pub fn config(&mut self, host: usize) -> Config {
        let seed = (u128::from(self.random.draw()) << 64) | u128::from(self.random.draw());
        let id = |host: usize| ReplicaId(host as u8 + 1);
        Config {
            me: self.hosts[host].id,
            replicas: self.shape.replicas.iter().copied().map(id).collect(),
            leaving: self.shape.leaving.iter().copied().map(id).collect(),
            home: id(self.shape.home),
            copies: self.shape.copies,
            fingerprint: 7,
            terms_skipped: self.plan.terms_skipped,
            seed,
            timings: self.timings,
        }
    }

    pub fn start_keeper(&mut self, host: usize, generation: u32) {
        let known = self.shape.replicas.contains(&host);
        if !known || self.hosts[host].generation != generation || self.hosts[host].keeper.is_some()
        {
            return;
        }
        let config = self.config(host);
        let now = self.local(host);
        let loaded = self.hosts[host].disk.record.clone();
        let Ok(mut keeper) = Keeper::new(config, loaded, now) else {
            return;
        };
        if let Some(bug) = self.bug {
            keeper.plant(bug);
        }
        self.hosts[host].keeper = Some(keeper);
        self.hosts[host].tick_at = u64::MAX;
        self.observe(host, generation, true);
        if self.healed {
            self.operator(host, Operator::Resume);
        }
    }

    pub fn local(&self, host: usize) -> Instant {
        self.hosts[host].clock.local(self.now)
    }

    fn tick(&mut self, host: usize, generation: u32) {
        let own = &mut self.hosts[host];
        if own.generation != generation || own.keeper.is_none() {
            return;
        }
        if own.tick_at <= self.now {
            own.tick_at = u64::MAX;
        }
        let deadline = own.keeper.as_ref().and_then(Keeper::next_deadline);
        if deadline.is_some_and(|(at, _)| at <= own.clock.local(self.now)) {
            self.feed(host, Input::Tick);
        } else {
            self.plan_tick(host);
        }
    }

    fn plan_tick(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        let Some((deadline, _)) = own.keeper.as_ref().and_then(Keeper::next_deadline) else {
            return;
        };
        if own.tick_at != u64::MAX && deadline >= own.tick_for {
            // What is planned already is no later, and to find out when that is takes divisions.
            return;
        }
        let at = own.clock.global_us(deadline).max(self.now + 1);
        if at < own.tick_at {
            own.tick_at = at;
            own.tick_for = deadline;
            let generation = own.generation;
            // Timers are a little late, as everywhere.
            let late = self.random.below(300);
            self.queue.push(at + late, Event::Tick { host, generation });
        }
    }

    /// Hands a keeper an input and performs what it answers.
    pub fn feed(&mut self, host: usize, input: Input) {
        let local = self.local(host);
        let Some(keeper) = self.hosts[host].keeper.as_mut() else {
            return;
        };
        self.trace.record(self.now, host as u8, 0, &input);
        let before = keeper.state();
        keeper.handle(local, input);
        let after = keeper.state();
        if self.narrate && before != after {
            let reason = self.hosts[host]
                .keeper
                .as_ref()
                .map(|keeper| keeper.status().reason);
            self.say(|| format!("host {} {before:?} -> {after:?} {reason:?}", host + 1));
        }
        self.perform_all(host);
        self.plan_tick(host);
    }

    fn perform_all(&mut self, host: usize) {
        let keeper = self.hosts[host].keeper.as_mut();
        let Some(keeper) = keeper.filter(|keeper| keeper.has_effects()) else {
            return;
        };
        // One that feeds another keeper meanwhile takes an empty list of its own.
        let mut effects = std::mem::take(&mut self.effects);
        keeper.swap_effects(&mut effects);
        while let Some(effect) = effects.pop_front() {
            self.trace.record(self.now, host as u8, 1, &effect);
            self.perform(host, effect);
        }
        self.effects = effects;
    }

    fn perform(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Persist { sequence, durable } => {
                self.say(|| format!("host {} persists {durable:?}", host + 1));
                self.persist(host, sequence, *durable);
            }
            Effect::Send { to, message } => self.send(host, to, message),
            Effect::Postgres { operation, command } => self.command(host, operation, command),
            Effect::WriteLease { term, expires } => {
                self.hosts[host].lease = Some((term.0, expires));
            }
            Effect::ClearLease => self.hosts[host].lease = None,
            Effect::Publish(status) => self.checker.published(host, &status, &self.hosts),
            Effect::Answer { answer, .. } => self.say(|| format!("host {} {answer:?}", host + 1)),
            Effect::Halt(reason) => {
                self.say(|| format!("host {} halts: {reason:?}", host + 1));
                self.stop_keeper(host);
                self.restart_keeper_later(host);
            }
        }
    }

    fn send(&mut self, from: usize, to: ReplicaId, message: Message) {
        self.checker.sent(from, &message, &self.hosts);
        let to = usize::from(to.0) - 1;
        if !matches!(message.body, Body::Heartbeat(_) | Body::Grant { .. }) {
            self.say(|| format!("host {} tells {}: {:?}", from + 1, to + 1, message.body));
        }
        if matches!(message.body, Body::Recruit { .. }) {
            self.strike_later(from, 10);
        }
        if self.hosts[from].busy && matches!(message.body, Body::Heartbeat(_)) {
            self.hosts[from].last_words = Some(message.clone());
        }
        self.transmit(from, to, message);
    }

    fn transmit(&mut self, from: usize, to: usize, message: Message) {
        if !self.network.is_open(from, to) || self.random.per_mille(self.network.loss_per_mille) {
            return;
        }
        if self.random.per_mille(self.network.double_per_mille) {
            let late = self.network.latency(from, to, &mut self.random) * 3;
            let message = message.clone();
            self.plan(late, Event::Deliver { to, message });
        }
        let latency = self.network.latency(from, to, &mut self.random);
        self.plan(latency, Event::Deliver { to, message });
    }

    pub fn operator(&mut self, host: usize, command: Operator) {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        if self.hosts[host].is_up() {
            self.feed(host, Input::Operator { request, command });
        }
    }

    /// The keeper's process ends. What it had started of helpers ends with it.
    pub fn stop_keeper(&mut self, host: usize) {
        let own = &mut self.hosts[host];
        if let Some(keeper) = own.keeper.take() {
            self.rows_used |= keeper.rows_used();
        }
        own.generation += 1;
        own.last_words = None;
        own.queue.clear();
        own.current = None;
        own.outcomes.clear();
        own.tick_at = u64::MAX;
        self.settle_pending(host);
    }

    pub fn restart_keeper_later(&mut self, host: usize) {
        let after = self.random.between(100_000, 1_500_000);
        let generation = self.hosts[host].generation;
        self.plan(after, Event::StartKeeper { host, generation });
    }
}

/// Mostly what production uses; sometimes quicker or slower hands.
fn timings(random: &mut Random) -> Timings {
    let mut timings = Timings::default();
    let scale = [10, 10, 15, 20][random.below(4) as usize];
    timings.heartbeat = timings.heartbeat * scale / 10;
    timings.suspicion = timings.suspicion * scale / 10;
    timings.lease = timings.lease * scale / 10;
    timings
}
