//! Serving alone by order, as the checker sees it: windows that a majority of disks was told of, and what may
//! be lost of what was answered in them.

use std::collections::BTreeMap;

use mainstay_keeper::{Durable, Operator, Role, Status};

use crate::checker::{Acknowledged, Checker, Invariant};
use crate::event::{Event, Order};
use crate::fault::Fault;
use crate::host::Host;
use crate::lineage::Era;
use crate::world::World;

/// The terms whose primary serves alone, by what is on disks and by what it says.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Term to the epoch of the record that a majority of disks had.
    declared: BTreeMap<Era, u64>,
    /// Term to the epoch at which its end was claimed.
    ended: BTreeMap<Era, u64>,
    /// Terms whose primary says that it serves alone.
    said: BTreeMap<Era, bool>,
    /// Answered alone, and not in the last primary's log.
    pub lost: u32,
}

impl Windows {
    pub fn is_open(&self, era: Era) -> bool {
        let ended = self.ended.get(&era).copied().unwrap_or(0);
        self.declared.get(&era).is_some_and(|epoch| *epoch > ended)
    }

    /// A record reached a disk.
    pub fn recorded(&mut self, durable: &Durable, disks: &[Option<Durable>], voices: &[usize]) {
        let solo = |disk: &Durable| {
            let cohort = disk.cohort.as_ref()?;
            let term = cohort.solo?.term.0;
            let own = cohort.version.term.0 == term;
            own.then_some(((disk.lineage, term), cohort.version.epoch))
        };
        let Some((era, epoch)) = solo(durable) else {
            return;
        };
        let told = voices
            .iter()
            .filter_map(|host| disks[*host].as_ref())
            .filter(|disk| solo(disk).is_some_and(|known| known.0 == era && known.1 >= epoch));
        if told.count() > voices.len() / 2 {
            let known = self.declared.entry(era).or_default();
            *known = (*known).max(epoch);
        }
    }
}

impl Acknowledged {
    /// Answered alone, and the record of this host says that it may be lost.
    pub fn is_declared_lost(&self, host: &Host) -> bool {
        let cohort = host
            .disk
            .record
            .as_ref()
            .and_then(|disk| disk.cohort.as_ref());
        let at = (self.term, self.lsn);
        self.alone
            && cohort.is_some_and(|cohort| {
                cohort
                    .losses
                    .iter()
                    .any(|loss| at > (loss.timeline.0, loss.after.0) && self.term < loss.below.0)
            })
    }

    /// What it means that it is missing.
    pub fn loss(&self) -> Invariant {
        if self.alone {
            Invariant::LossUnknown
        } else {
            Invariant::AcknowledgedLost
        }
    }
}

impl Checker {
    /// What a primary says of itself: how far its log is protected, and whether it serves alone. When it says no
    /// more that it does, whatever it answered must be as safe as if it never had.
    pub fn claims(&mut self, host: usize, status: &Status, hosts: &[Host]) {
        if status.role != Role::Primary {
            return;
        }
        let term = status.term.0;
        let era = (status.lineage, term);
        let folder = hosts[host].server.folder.as_ref();
        let last = folder.and_then(|folder| {
            let records = folder.log.records();
            let until = records.partition_point(|record| record.end <= status.protected.0);
            let last = records.get(until.checked_sub(1)?)?;
            let own = folder.lineage == status.lineage && last.timeline == term;
            own.then_some(*last)
        });
        if let Some(last) = last
            && self.copies(&last, hosts) < self.copies_needed()
        {
            let detail = format!("host {} says {} is protected", host + 1, status.protected);
            self.broken(Invariant::ClaimedTooMuch, detail);
        }
        let was = self.windows.said.insert(era, status.solo.is_some());
        if status.solo.is_none() && was == Some(true) {
            let epoch = status.cohort.map_or(0, |version| version.epoch);
            self.windows.ended.insert(era, epoch);
            self.protect(host, era, hosts);
        }
    }

    fn protect(&mut self, host: usize, era: Era, hosts: &[Host]) {
        let Some(folder) = hosts[host].server.folder.as_ref() else {
            return;
        };
        let mut known = std::mem::take(self.known_mut());
        for one in known.iter_mut().filter(|one| one.alone && one.era() == era) {
            one.alone = false;
            let record = folder.log.find(one.write);
            let copies = record.map_or(0, |record| self.copies(&record, hosts));
            if copies < self.copies_needed() {
                let detail = format!("write {} has {copies} copies", one.write);
                self.broken(Invariant::ClaimedTooMuch, detail);
            }
        }
        *self.known_mut() = known;
    }

    pub fn lost_alone(&self, host: usize, hosts: &[Host]) -> u32 {
        let Some(folder) = hosts[host].server.folder.as_ref() else {
            return 0;
        };
        let lost = |known: &&Acknowledged| {
            known.alone && !folder.log.contains(known.write) && known.lineage == folder.lineage
        };
        self.known().iter().filter(lost).count() as u32
    }
}

impl World {
    /// The streams of most standbys break while the keepers hear each other, and somebody orders the primary to
    /// go on. Whatever else goes wrong meanwhile does.
    pub fn go_solo(&mut self) {
        let Some(primary) = self.primary() else {
            return;
        };
        for host in (0..self.plan.hosts).filter(|host| *host != primary) {
            if self.random.per_mille(900) {
                self.say(|| format!("fault no stream to {}", host + 1));
                self.hosts[host].unstreamed = true;
                self.drop_receiver(host);
                let lasting = self.random.between(2_500_000, 12_000_000);
                self.plan(lasting, Event::End(Fault::Unstreamed { host }));
            }
        }
        let after = self.random.between(600_000, 2_500_000);
        self.plan(
            after,
            Event::Order {
                host: primary,
                order: Order::Solo,
            },
        );
    }

    pub fn order_solo(&mut self, host: usize) {
        let since_ms = self.now / 1_000;
        self.say(|| format!("host {} is told to serve alone", host + 1));
        self.operator(host, Operator::Solo { since_ms });
    }
}
