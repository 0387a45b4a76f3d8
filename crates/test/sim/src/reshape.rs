//! The platform file changes while the database serves: replicas come, go and are replaced, commits shall have more copies
//! or fewer, the home moves. Every keeper learns of it at another moment, by being started anew.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_keeper::{Cohort, Input, Lineage, PlantedBug, ReplicaId};

use crate::checker::{Checker, Invariant};
use crate::event::Event;
use crate::host::Host;
use crate::world::World;

/// When the file changes for the first time, how often, and how long before the world is healed for the last time.
const FROM_US: u64 = 10_000_000;
const EVERY_US: (u64, u64) = (2_500_000, 6_500_000);
const REST_US: u64 = 3_000_000;
/// No server shows the stream of a host that was left for so long.
const FORGOTTEN_AFTER_US: u64 = 12_000_000;
/// So late a keeper may learn of it.
const LATENESS_US: u64 = 2_500_000;

/// What the platform file says of the database. Hosts by their places.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Also those that leave.
    pub replicas: BTreeSet<usize>,
    pub leaving: BTreeSet<usize>,
    pub copies: u8,
    pub home: usize,
    /// When a host was left. A replica that comes there has another number, and what was left of the former one is not taken for it: here
    /// numbers are of hosts, so it comes only when nobody can.
    left: BTreeMap<usize, u64>,
}

impl Shape {
    pub fn of(hosts: usize, copies: u8) -> Self {
        Self {
            replicas: (0..hosts).collect(),
            leaving: BTreeSet::new(),
            copies,
            home: 0,
            left: BTreeMap::new(),
        }
    }

    pub fn staying(&self) -> impl Iterator<Item = usize> + '_ {
        self.replicas.difference(&self.leaving).copied()
    }
}

impl World {
    /// A schedule like any other, of five hosts, in which the file changes again and again. It begins with three replicas.
    pub fn reshaped(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut world = Self::unpopulated(seed, bug, 5, 2);
        world.shape = Shape::of(3, 2);
        world.checker.reshapes = true;
        world.populate();
        world.queue.push(FROM_US, Event::Reshape);
        world
    }

    /// The file changes, and some time later every keeper knows.
    pub fn reshape(&mut self) {
        let next = self.random.between(EVERY_US.0, EVERY_US.1);
        if self.now + next + REST_US < self.plan.heal_at_us {
            self.plan(next, Event::Reshape);
        }
        self.checker.faults += 1;
        self.let_go();
        self.change_file();
        self.say(|| format!("the file says {:?}", self.shape));
        for host in self.shape.replicas.clone() {
            let late = self.random.below(LATENESS_US);
            self.plan(late, Event::Told { host });
        }
        // Sometimes two hosts end in the middle of it.
        if self.random.per_mille(350) {
            let after = self.random.below(3_000_000);
            let primary = self.primary().unwrap_or(0);
            let other = (primary + 1 + self.random.below(4) as usize) % self.plan.hosts;
            self.plan(after, Event::Strike { host: primary });
            self.plan(after, Event::Strike { host: other });
        }
    }

    /// Who has left for good, as a primary says, is taken down, and its folders are put away.
    fn let_go(&mut self) {
        let Some(keeper) = self
            .primary()
            .and_then(|primary| self.hosts[primary].keeper.as_ref())
        else {
            return;
        };
        let gone: Vec<usize> = self
            .shape
            .leaving
            .iter()
            .copied()
            .filter(|host| keeper.has_let_go(ReplicaId(*host as u8 + 1)))
            .collect();
        for host in gone {
            self.say(|| format!("host {} has left", host + 1));
            self.shape.replicas.remove(&host);
            self.shape.leaving.remove(&host);
            self.shape.left.insert(host, self.now);
            self.stop_keeper(host);
            self.end_process(host);
            self.lose_disk(host);
        }
    }

    fn change_file(&mut self) {
        let staying: Vec<usize> = self.shape.staying().collect();
        let free = |host: &usize| {
            let left = self.shape.left.get(host);
            left.is_none_or(|at| self.now - at > FORGOTTEN_AFTER_US)
        };
        let spare = (0..self.plan.hosts).filter(|host| !self.shape.replicas.contains(host));
        let spare = spare.filter(free);
        let spare: Vec<usize> = spare.collect();
        let pick = |from: &[usize], draw: u64| from.get(draw as usize % from.len().max(1)).copied();
        let (a, b) = (self.random.draw(), self.random.draw());
        let kind = self.random.below(10);
        let comes = pick(&spare, a).filter(|_| matches!(kind, 0..=2 | 6..=7));
        let enough = staying.len() > usize::from(self.shape.copies) + 1 || comes.is_some();
        let goes = pick(&staying, b).filter(|_| matches!(kind, 3..=7) && enough);
        self.shape.replicas.extend(comes);
        self.shape.leaving.extend(goes);
        let left = self.shape.staying().count();
        if kind == 8 {
            let other = 5 - self.shape.copies;
            if usize::from(other) < left {
                self.shape.copies = other;
            }
        }
        let homes: Vec<usize> = self.shape.staying().collect();
        if kind == 9 || !homes.contains(&self.shape.home) {
            self.shape.home = pick(&homes, a).unwrap_or(self.shape.home);
        }
    }

    /// The node of a host has a new configuration for its keeper, which must be started anew where it knows a replica less.
    pub fn told(&mut self, host: usize) {
        let config = self.config(host);
        let knows_all = self.hosts[host]
            .keeper
            .as_ref()
            .is_some_and(|keeper| config.replicas.is_subset(&keeper.config().replicas));
        if knows_all {
            self.feed(host, Input::Wanted(config.wanted()));
            return;
        }
        self.stop_keeper(host);
        self.tell_of_end(host);
        let generation = self.hosts[host].generation;
        let after = self.random.between(20_000, 300_000);
        self.plan(after, Event::StartKeeper { host, generation });
    }
}

impl Checker {
    /// A primary's disk says for the first time that elections may do without a member, or rely on more copies: by then
    /// everything that was answered must be on as many of those that are left.
    pub fn reshaped(
        &mut self,
        era: (Lineage, u32),
        (before, after): (&Cohort, &Cohort),
        hosts: &[Host],
    ) {
        let Some(copies) = after.copies else {
            return;
        };
        let goes = before
            .members
            .keys()
            .any(|member| !after.members.contains_key(member));
        if !goes && before.copies.is_none_or(|before| before >= copies) {
            return;
        }
        self.reshapings += 1;
        let members: Vec<usize> = after
            .members
            .keys()
            .map(|id| usize::from(id.0) - 1)
            .collect();
        let missing = self.known().iter().find(|known| {
            let earlier = known.lineage == era.0 && known.term <= era.1 && !known.alone;
            earlier && self.holders(known.write, &members, hosts) < usize::from(copies)
        });
        if let Some(known) = missing {
            let detail = format!(
                "{after:?} although write {} has too few copies",
                known.write
            );
            self.broken(Invariant::ReshapedEarly, detail);
        }
    }
}
