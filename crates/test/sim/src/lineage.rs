//! Forced failovers, as the checker sees them, and the calamities that make them necessary.
//!
//! Which lineage a log belongs to is carried by the simulated folders themselves: it is what the keeper's record named
//! when the folder was promoted, and is copied with the folder. What is claimed of lineages is claimed by order only:
//! everything up to where a lineage began is in it; what an older one has beyond is lost, and its record says where.

use std::collections::BTreeMap;

use mainstay_keeper::{Lineage, Operator};

use crate::checker::{Acknowledged, Checker, Invariant};
use crate::event::{Event, Order};
use crate::fault::Fault;
use crate::host::Host;
use crate::world::World;

/// A term of one lineage; a later lineage outranks all terms of earlier ones.
pub type Era = (Lineage, u32);

/// In every so many schedules a majority is lost at once; drawn by nothing else, so that all other schedules stay
/// what they are.
pub const LOST_EVERY: u64 = 5;

/// Where each lineage that was begun by order began: the end of its first primary's log.
#[derive(Clone, Debug, Default)]
pub struct Bases {
    begun: BTreeMap<Lineage, (u32, u64)>,
    /// Of which lineage the log was that it began with.
    parents: BTreeMap<Lineage, Lineage>,
    /// What was acknowledged, and is not in the last primary's log because its lineage began without it.
    pub given_up: u32,
}

impl Bases {
    pub fn count(&self) -> usize {
        self.begun.len()
    }

    pub fn last(&self) -> Lineage {
        self.begun.keys().next_back().copied().unwrap_or_default()
    }

    pub fn branches(&mut self, lineage: Lineage, parent: Lineage) {
        if lineage != parent {
            self.parents.entry(lineage).or_insert(parent);
        }
    }

    /// Lineage `until`, or one that it comes from, began without what was at this position of an older one. Of a lineage that
    /// it does not come from it has only what was there before both.
    fn cut(&self, from: Lineage, until: Lineage, at: (u32, u64)) -> bool {
        let mut lineage = until;
        while lineage > from {
            if self.begun.get(&lineage).is_some_and(|base| at > *base) {
                return true;
            }
            match self.parents.get(&lineage) {
                Some(parent) => lineage = *parent,
                None => return false,
            }
        }
        lineage < from
    }
}

impl Acknowledged {
    pub fn era(&self) -> Era {
        (self.lineage, self.term)
    }
}

impl Checker {
    /// Whether this host may lack an acknowledged write: it was answered alone and is declared, or it lies beyond what
    /// the host's lineage, or one between, began with.
    pub fn is_given_up(&self, known: &Acknowledged, host: &Host) -> bool {
        let at = (known.term, known.lsn);
        self.bases.cut(known.lineage, host.lineage(), at) || known.is_declared_lost(host)
    }

    pub fn count_given_up(&mut self, host: usize, hosts: &[Host]) {
        let Some(folder) = hosts[host].server.folder.as_ref() else {
            return;
        };
        let lost = |known: &&Acknowledged| {
            let at = (known.term, known.lsn);
            let cut = self.bases.cut(known.lineage, folder.lineage, at);
            cut && !folder.log.contains(known.write)
        };
        self.bases.given_up = self.known().iter().filter(lost).count() as u32;
    }

    /// The first promotion of a lineage: what its record says that it begins without must be so.
    pub fn begun(&mut self, host: usize, hosts: &[Host]) {
        let lineage = hosts[host].lineage();
        if !lineage.is_forced() || self.bases.begun.contains_key(&lineage) {
            return;
        }
        let records = hosts[host]
            .server
            .folder
            .as_ref()
            .map(|folder| folder.log.records());
        // The last one is the first of the new timeline.
        let base = records
            .and_then(|records| records.iter().rev().nth(1))
            .map_or((0, 0), |record| (record.timeline, record.end));
        self.bases.begun.insert(lineage, base);
        let cohort = hosts[host]
            .disk
            .record
            .as_ref()
            .and_then(|disk| disk.cohort.as_ref());
        let said = cohort.is_some_and(|cohort| {
            cohort.losses.iter().any(|loss| {
                (loss.timeline.0, loss.after.0) == base && loss.term <= cohort.version.term
            })
        });
        if !said {
            let detail = format!("host {} begins {lineage:?} at {base:?}", host + 1);
            self.broken(Invariant::LossUnknown, detail);
        }
    }
}

impl World {
    /// All hosts but a few are lost at once: crashed, with or without their disks, or cut off and well. Who is left
    /// cannot elect anybody.
    pub fn lose_majority(&mut self) {
        if self.plan.calm {
            return;
        }
        let Some(left) = self.whole_standby() else {
            if !self.healed {
                self.plan(500_000, Event::LoseMajority);
            }
            return;
        };
        self.say(|| format!("fault majority lost, host {} is left", left + 1));
        self.log_removed = true;
        self.checker.faults += 1;
        let cut_off = self.random.per_mille(400);
        let two_left = self.plan.hosts == 5 && self.random.per_mille(500);
        let second = two_left.then(|| (left + 1) % self.plan.hosts);
        let gone: Vec<usize> = (0..self.plan.hosts)
            .filter(|host| *host != left && Some(*host) != second)
            .collect();
        let lasting = self.random.between(6_000_000, 16_000_000);
        for host in gone {
            if cut_off {
                for other in std::iter::once(left).chain(second) {
                    self.network.cut(host, other, true);
                    self.network.cut(other, host, true);
                    self.plan(
                        lasting,
                        Event::End(Fault::Cut {
                            from: host,
                            to: other,
                        }),
                    );
                    self.plan(
                        lasting,
                        Event::End(Fault::Cut {
                            from: other,
                            to: host,
                        }),
                    );
                }
            } else {
                let with_disk = self.random.per_mille(600);
                self.lose(host, with_disk, Some(lasting));
            }
        }
        let after = self.random.between(500_000, 4_000_000);
        let lineages = self.checker.bases.count();
        self.plan(
            after,
            Event::Order {
                host: left,
                order: Order::ForceUntil { lineages },
            },
        );
    }

    /// A host besides the primary whose folder is whole and counts.
    fn whole_standby(&mut self) -> Option<usize> {
        let from = self.random.below(self.plan.hosts as u64) as usize;
        let primary = self.primary()?;
        let lineage = self.hosts[primary].lineage();
        (0..self.plan.hosts)
            .map(|step| (from + step) % self.plan.hosts)
            .find(|host| {
                let own = &self.hosts[*host];
                let record = own.disk.record.as_ref();
                let counts = record.is_some_and(|record| {
                    record.lineage == lineage
                        && record
                            .cohort
                            .as_ref()
                            .is_some_and(|cohort| cohort.counts(own.id, record.incarnation))
                });
                let whole = own.server.folder.as_ref().is_some_and(|folder| {
                    let mine = record.map(|record| record.incarnation.0);
                    !folder.broken && !folder.damaged && folder.incarnation == mine
                });
                // Otherwise it may be about to be filled anew, which takes what it has.
                let streams = own.server.process.as_ref().is_some_and(|process| {
                    let receiver = process.receiver;
                    receiver.is_some_and(|receiver| receiver.streaming)
                });
                let idle = own.disk.pending.is_empty() && own.current.is_none();
                *host != primary
                    && own.is_up()
                    && counts
                    && whole
                    && streams
                    && idle
                    && !own.starved
                    && !own.is_to_be_refilled()
            })
    }

    pub fn carry_out(&mut self, host: usize, order: Order) {
        match order {
            Order::Solo => self.order_solo(host),
            Order::Force => self.force(host),
            Order::ForceUntil { lineages } => self.force_until(host, lineages),
            Order::Refill => {
                self.say(|| format!("host {} is told to be filled anew", host + 1));
                self.log_removed = true;
                self.operator(host, Operator::Refill);
            }
        }
    }

    /// Whoever is up is told, one after the other: the answer may be that another has more.
    pub fn force_until(&mut self, host: usize, lineages: usize) {
        if self.checker.bases.count() > lineages {
            return;
        }
        self.force(host);
        let mut next = (1..=self.plan.hosts).map(|step| (host + step) % self.plan.hosts);
        let next = next.find(|host| self.hosts[*host].is_up());
        let next = next.unwrap_or(host);
        // When all is well again a person waits for the answer, which takes as long as an election that fails.
        let (least, most) = if self.healed {
            (2_500_000, 4_500_000)
        } else {
            (1_000_000, 3_000_000)
        };
        let after = self.random.between(least, most);
        self.plan(
            after,
            Event::Order {
                host: next,
                order: Order::ForceUntil { lineages },
            },
        );
    }

    /// An operator orders a host to go on without a majority; not one whose status tells of a damaged page, from which
    /// nobody else could be filled.
    pub fn force(&mut self, host: usize) {
        let folder = self.hosts[host].server.folder.as_ref();
        if folder.is_some_and(|folder| folder.damaged) {
            return;
        }
        let since_ms = self.now / 1_000;
        self.say(|| format!("host {} is told to go on without a majority", host + 1));
        self.operator(host, Operator::Force { since_ms });
    }
}
