//! Three nodes over one journal, which die at moments that a fuse counts. Each node is a [`Driver`], as in production,
//! with hands (`hands.rs`); what it knows is gone with it, what is on disk and what it said in a heartbeat stays.

use std::collections::BTreeMap;

use mainstay_kernel::{
    AlertNews, AlertState, Answer, Ask, Assigned, Batch, Beat, Cause, Driver, Opening, Record,
    Reflex, Role, Signal, State,
};
use mainstay_units::{Instant, Term};

use super::fuse::{Away, Fuse};
use super::planted::Planted;
use super::reality::{Fact, Reality};
use super::story;
use crate::stage::{command, name, owner, report};

pub const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// While something is under way, and while nothing is.
const STEP_MS: u64 = 250;
const IDLE_STEP_MS: u64 = 900;
/// What was told is told again after this, unless the journal says it.
const TOLD_AGAIN_MS: u64 = 3_000;

/// Something that a node has begun and waits for.
#[derive(Clone, Debug)]
pub struct Waits {
    pub assigned: Assigned,
    pub deadline_ms: u64,
}

pub struct Node {
    pub driver: Driver,
    read: usize,
    pub waits: Vec<Waits>,
    /// What this node told of late, and when.
    told: BTreeMap<String, u64>,
}

pub struct World {
    pub now_ms: u64,
    pub journal: Vec<Record>,
    pub authors: Vec<&'static str>,
    pub nodes: BTreeMap<&'static str, Node>,
    /// When a node that died is started again.
    back_ms: BTreeMap<&'static str, u64>,
    beats: BTreeMap<&'static str, Beat>,
    beat_number: u64,
    pub reality: Reality,
    pub fuse: Fuse,
    away: Away,
    pub planted: Planted,
}

impl World {
    pub fn new(fuse: Fuse, away: Away, planted: Planted) -> Self {
        let mut world = Self {
            now_ms: 1_000_000,
            journal: Vec::new(),
            authors: Vec::new(),
            nodes: BTreeMap::new(),
            back_ms: BTreeMap::new(),
            beats: BTreeMap::new(),
            beat_number: 0,
            reality: Reality::new(),
            fuse,
            away,
            planted,
        };
        for host in HOSTS {
            world.boot(host);
        }
        world
    }

    pub fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms)
    }

    pub fn length(&self) -> u64 {
        self.journal.len() as u64
    }

    fn boot(&mut self, host: &'static str) {
        let opening = Opening {
            origin: format!("mainstay/exchange/{host}"),
            platform: name("exchange"),
        };
        let mut driver = Driver::new(name(host), format!("key-{host}"), opening);
        driver.submit(self.now_ms, story::file());
        let node = Node {
            driver,
            read: 0,
            waits: Vec::new(),
            told: BTreeMap::new(),
        };
        self.nodes.insert(host, node);
    }

    /// Whether the node is still there after this moment.
    pub fn lives(&mut self, host: &'static str, moment: &'static str) -> bool {
        if !self.fuse.strikes(moment) {
            return true;
        }
        self.nodes.remove(host);
        self.back_ms.insert(host, self.now_ms + self.away.as_ms());
        let length = self.length();
        self.reality.facts.push(Fact::Died {
            node: host.to_string(),
            moment,
            length,
        });
        false
    }

    /// A round of everybody.
    pub fn step(&mut self) {
        self.now_ms += match self.is_busy() {
            true => STEP_MS,
            false => IDLE_STEP_MS,
        };
        let back = self.back_ms.iter().filter(|(_, at)| **at <= self.now_ms);
        for host in back.map(|(host, _)| *host).collect::<Vec<_>>() {
            self.back_ms.remove(host);
            self.boot(host);
        }
        let length = self.length();
        self.reality.pass(self.now_ms, length);
        if self.planted != Planted::FaultWithoutGuardian && !self.nodes.is_empty() {
            self.reality.sweep(self.now_ms);
        }
        for host in HOSTS {
            if self.nodes.contains_key(host) {
                // One that dies in the middle goes no further.
                let _ = self.turn(host);
            }
        }
    }

    fn is_busy(&self) -> bool {
        let busy = |node: &Node| {
            let idle = node.waits.is_empty() && node.driver.pending().next().is_none();
            !idle || matches!(node.driver.role(), Role::CatchingUp)
        };
        !self.back_ms.is_empty()
            || self.reality.moving.is_some()
            || self.nodes.values().any(busy)
            || self
                .sight()
                .is_none_or(|state| !state.outstanding.is_empty())
    }

    pub fn node(&mut self, host: &'static str) -> &mut Node {
        self.nodes.get_mut(host).unwrap()
    }

    /// The state as whoever has read furthest sees it.
    pub fn sight(&self) -> Option<&State> {
        let states = self.nodes.values().map(|node| node.driver.state());
        states.max_by_key(|state| state.next)
    }

    /// One turn of a node; nothing if it dies in it.
    fn turn(&mut self, host: &'static str) -> Option<()> {
        self.finish_waits(host)?;
        self.follow(host);
        for beat in self.beats.values().cloned().collect::<Vec<_>>() {
            let now = self.now();
            self.node(host).driver.handle_beat(now, beat);
        }
        for _ in 0..2 {
            self.append(host)?;
        }
        while let Some(assigned) = self.node(host).driver.poll_effect() {
            self.begin(host, assigned)?;
        }
        self.tell(host);
        self.beat(host)
    }

    fn follow(&mut self, host: &'static str) {
        let now = self.now();
        let node = self.nodes.get_mut(host).unwrap();
        for record in &self.journal[node.read..] {
            node.driver.handle_record(now, record);
        }
        node.read = self.journal.len();
        node.driver.handle_caught_up(now);
    }

    fn append(&mut self, host: &'static str) -> Option<()> {
        let (now, now_ms) = (self.now(), self.now_ms);
        let Some(batch) = self.node(host).driver.poll_batch(now, now_ms) else {
            return Some(());
        };
        if self.planted == Planted::ActsBeforeItIsWritten {
            self.act_early(host, &batch)?;
        }
        self.lives(host, "decided, not published").then_some(())?;
        let free = batch.records[0].position.0 == self.length();
        if !free {
            self.node(host).driver.handle_rejected();
            return Some(());
        }
        self.authors.extend(batch.records.iter().map(|_| host));
        self.journal.extend(batch.records.iter().cloned());
        self.lives(host, "published, not known to be")
            .then_some(())?;
        let length = self.journal.len();
        let node = self.node(host);
        node.read = length;
        node.driver.handle_appended(now, batch);
        self.lives(host, "known to be published").then_some(())
    }

    /// The planted bug: what a batch orders is done while it is on its way to the journal.
    fn act_early(&mut self, host: &'static str, batch: &Batch) -> Option<()> {
        let mut ahead = self.node(host).driver.state().clone();
        for record in &batch.records {
            ahead.apply(record);
        }
        let known = &self.nodes[host].driver.state().outstanding;
        let new: Vec<Assigned> = ahead
            .outstanding
            .iter()
            .filter(|(id, _)| !known.contains_key(id))
            .map(|(id, outstanding)| Assigned {
                id: *id,
                epoch: ahead.epoch,
                effect: outstanding.effect.clone(),
                manner: mainstay_kernel::Manner::Start,
            })
            .collect();
        for assigned in new {
            self.begin(host, assigned)?;
        }
        Some(())
    }

    /// What keepers, watches and supervision of this host have to say until the journal says the same.
    fn tell(&mut self, host: &'static str) {
        let state = self.nodes[host].driver.state();
        let Some(desired) = &state.desired else {
            return;
        };
        let mut news: Vec<(String, Signal)> = Vec::new();
        let (primary, term) = self.reality.primary;
        let known = state.databases.get("ledger");
        if primary == host && known.is_none_or(|view| view.term < Term(term)) {
            let reflex = Reflex::BecamePrimary {
                database: name("ledger"),
                term: Term(term),
            };
            news.push((format!("term {term}"), report(host, self.now_ms, reflex)));
        }
        if desired.watches.contains(host) {
            news.extend(self.alert(host, state));
        }
        let placed = state.placed.get("web");
        let wanted = placed.is_some_and(|hosts| hosts.contains(host));
        match wanted {
            true => {
                self.reality.web.entry(host).or_insert(1);
            }
            false if placed.is_some() => {
                // Its instance is withdrawn, and whatever ailed it is gone with it.
                self.reality.web.remove(host);
                self.reality.slow.remove(host);
            }
            false => {}
        }
        let now_ms = self.now_ms;
        let node = self.nodes.get_mut(host).unwrap();
        node.told.retain(|_, at_ms| now_ms < *at_ms + TOLD_AGAIN_MS);
        for (what, signal) in news {
            if node.told.insert(what, now_ms).is_none() {
                node.driver.submit(now_ms, signal);
            }
        }
    }

    fn alert(&self, host: &'static str, state: &State) -> Option<(String, Signal)> {
        let alert = "WebSlow{host=\"h2\"}";
        let known = state.alerts.get(&(name(host), alert.to_string()));
        let state = match (self.reality.slow.contains("h2"), known) {
            (true, None) => AlertState::Firing,
            (false, Some(_)) => AlertState::Resolved,
            (true, Some(_)) | (false, None) => return None,
        };
        let labels = [
            ("alertname", "WebSlow"),
            ("host", "h2"),
            ("service", "web"),
            ("severity", "page"),
        ];
        let news = AlertNews {
            watch: name(host),
            alert: alert.to_string(),
            state,
            since_ms: self.now_ms,
            at_ms: self.now_ms,
            labels: labels
                .into_iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            summary: "web is slow".to_string(),
            value: "1".to_string(),
            why: "a watch says so".to_string(),
        };
        Some((format!("alert {}", state.as_str()), Signal::AlertTold(news)))
    }

    fn beat(&mut self, host: &'static str) -> Option<()> {
        self.beat_number += 1;
        let number = self.beat_number;
        let driver = &self.node(host).driver;
        let beat = Beat {
            node: name(host),
            number,
            key: format!("key-{host}"),
            leads: driver.leads(),
            pending: driver.pending().cloned().collect(),
            passed: driver.passed().cloned().collect(),
        };
        let says = !beat.pending.is_empty();
        if says {
            self.lives(host, "has something to tell").then_some(())?;
        }
        self.beats.insert(host, beat);
        if says {
            self.lives(host, "told it").then_some(())?;
        }
        Some(())
    }

    /// Somebody asks a node that is there.
    pub fn ask(&mut self, ask: Ask) -> Option<(&'static str, Cause)> {
        let host = HOSTS.into_iter().rev().find(|host| {
            let node = self.nodes.get(host);
            node.is_some_and(|node| !matches!(node.driver.role(), Role::CatchingUp))
        })?;
        let now_ms = self.now_ms;
        let driver = &mut self.node(host).driver;
        let cause = driver.submit(now_ms, command(owner(), ask))?;
        driver.waiting().watch(cause.clone());
        Some((host, cause))
    }

    /// What became of it; an error if the node that was asked is there no more.
    pub fn answer(&mut self, host: &'static str, cause: &Cause) -> Result<Option<Answer>, ()> {
        let node = self.nodes.get_mut(host).ok_or(())?;
        let answers: Vec<_> = core::iter::from_fn(|| node.driver.waiting().poll_answer()).collect();
        let found = answers.into_iter().find(|(answered, _)| answered == cause);
        Ok(found.map(|(_, answer)| answer))
    }

    /// Everything that was begun is over, everybody is there and has read to the end.
    pub fn is_calm(&self) -> bool {
        let Some(state) = self.sight() else {
            return false;
        };
        let all = self.nodes.len() == HOSTS.len();
        let read = self.nodes.values().all(|node| {
            node.driver.state().next == state.next && node.driver.pending().count() == 0
        });
        let incidents = state.incidents.iter().all(|(_, i)| !i.phase.is_active());
        all && read
            && incidents
            && state.outstanding.is_empty()
            && state.playbooks.runs.is_empty()
            && state.faults.is_empty()
            && state.experiment.is_none()
            && state.drills.running.is_none()
            && state.notices.is_idle()
            && state.alerts.is_empty()
            && state.lost.is_empty()
    }
}
