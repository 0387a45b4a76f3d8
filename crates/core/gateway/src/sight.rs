//! What the gateway sees for itself, and what it makes of it.
//!
//! A fact is what one keeper or one instance said, with the moment it was heard. Facts age: a witness who
//! has been silent for `evidence_age` is no witness. From the facts that are left follows, for every
//! cell, one view: here is the active instance; or it is being moved on purpose; or nobody is active and
//! waiting makes sense; or *we* are the ones who are cut off and waiting makes no sense.
//!
//! A primary counts only with the highest term seen so far, whoever said so. The instance counts only if
//! it says of itself that it is active, its own host's keeper (when heard) does not deny it, and it has
//! not been suspected since it was last asked.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use mainstay_units::{Epoch, Instant, Term};

use crate::routing::{Cell, CellId, DatabaseId, Place, Routing, ServiceId};
use crate::share::{Candidate, Ready};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SightLimits {
    pub evidence_age: Duration,
    pub isolated_after: Duration,
    /// See [`CellView::Isolated`]. Longer than a failover lasts.
    pub stranded_after: Duration,
}

/// What a keeper last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeeperFact {
    pub heard: Instant,
    pub role: KeeperRole,
    pub term: Term,
    /// End of the lease that this primary serves under, on our own clock; the past for all others.
    pub lease_until: Instant,
    /// The replica that this keeper takes for the primary.
    pub follows: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperRole {
    /// Serves applications.
    OpenPrimary,
    /// Still serves, but has announced that it is about to hand over.
    LeavingPrimary,
    Standby,
    /// Is becoming something: a keeper that has just started, one that is being promoted, one that finds its server
    /// running and is about to adopt it. Of what its server does it says nothing.
    Becoming,
    /// Everything else: fenced, stopped, learner, or a primary that closes.
    Closed,
}

/// What an instance last answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceFact {
    /// When the question was sent: suspicion that is younger is not refuted by the answer.
    pub asked: Instant,
    pub heard: Instant,
    pub state: InstanceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    Ready {
        term: Term,
        epoch: Epoch,
    },
    /// Answered, but may not be given requests.
    NotReady,
    Unreachable,
}

/// The active instance of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    pub instance: u16,
    pub term: Term,
    pub epoch: Epoch,
    /// When the question was sent that it answered with "active".
    pub confirmed: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellView {
    Active(Active),
    /// A planned change of primary has been announced.
    Switching {
        term: Term,
    },
    /// Nobody is active; a failover is plausible or has begun.
    Absent(AbsentWhy),
    /// Waiting here makes no sense, it is we who are cut off. Either we have seen neither an active
    /// instance nor a majority of keepers for `isolated_after`; or those whom we hear have had one and
    /// the same primary for `stranded_after` and the instance beside it cannot be reached; or that primary
    /// itself is heard, and the instance beside it has been silent for `isolated_after`.
    Isolated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentWhy {
    /// Nothing has been heard yet.
    NotYetSeen,
    NoOpenPrimary,
    /// A primary is open, its instance has not yet committed its epoch.
    AwaitingActivation {
        term: Term,
    },
    /// The active instance failed a request and has not answered since.
    Suspected,
    /// Our own eyes have not been open lately: we were stopped, or are starved of processor time.
    OwnEyesClosed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrimaryView {
    pub replica: u16,
    pub term: Term,
    pub lease_until: Instant,
}

/// What is known of a replica from a keeper that is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaView {
    Unseen,
    Seen(KeeperRole),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseView {
    pub primary: Option<PrimaryView>,
    /// Highest term under which a primary has been seen open.
    pub term: Term,
    /// What each replica is, as far as its keeper is heard.
    pub replicas: Vec<ReplicaView>,
    pub keepers_seen: u16,
    pub keepers: u16,
}

/// Everything routing needs to know about the world, replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub cells: Vec<CellView>,
    pub databases: Vec<DatabaseView>,
    /// For each service the instances to choose among.
    pub ready: Vec<Ready>,
}

/// How sure it is that others have a primary and only we cannot reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// Its own keeper is heard saying that it is open, and the instance beside it is silent: what we send
    /// does not arrive, what they send does.
    Heard,
    /// Others name it. They may be about to learn that it is dead.
    Named,
}

/// The facts. One per gateway process.
#[derive(Debug)]
pub struct Sight {
    limits: SightLimits,
    cells: Vec<Cell>,
    places: Vec<Vec<(Place, u8)>>,
    keepers: Vec<Vec<Option<KeeperFact>>>,
    instances: Vec<Vec<Option<InstanceFact>>>,
    suspected: Vec<Vec<Instant>>,
    /// Highest term with an open primary, per database; never goes back.
    terms: Vec<Term>,
    /// Per cell, when waiting last made sense.
    hope: Vec<Instant>,
    /// Per cell without an active instance, the primary that others have, and since when.
    stranded: Vec<Option<(u16, Instant)>>,
}

impl Sight {
    pub fn new(now: Instant, routing: &Routing, limits: SightLimits) -> Self {
        let places: Vec<Vec<(Place, u8)>> = routing
            .services
            .iter()
            .map(|s| s.instances.iter().map(|i| (i.place, i.share)).collect())
            .collect();
        Self {
            limits,
            cells: routing.cells.clone(),
            keepers: routing
                .databases
                .iter()
                .map(|d| vec![None; d.replicas.len()])
                .collect(),
            instances: places.iter().map(|p| vec![None; p.len()]).collect(),
            suspected: places
                .iter()
                .map(|p| vec![Instant::ZERO; p.len()])
                .collect(),
            terms: vec![Term::ZERO; routing.databases.len()],
            hope: vec![now; routing.cells.len()],
            stranded: vec![None; routing.cells.len()],
            places,
        }
    }

    /// A keeper said something. A role at a lower term than a known primary's is kept, and loses later.
    pub fn handle_keeper(&mut self, database: DatabaseId, replica: u16, fact: KeeperFact) {
        let slot = self
            .keepers
            .get_mut(usize::from(database.0))
            .and_then(|replicas| replicas.get_mut(usize::from(replica)));
        if let Some(slot) = slot {
            let role = match (slot.map(|before| before.role), fact.role) {
                // In one breath from open to not open is closing. A keeper that starts anew is lost first.
                (
                    Some(KeeperRole::OpenPrimary | KeeperRole::LeavingPrimary | KeeperRole::Closed),
                    KeeperRole::Becoming,
                ) => KeeperRole::Closed,
                (_, role) => role,
            };
            *slot = Some(KeeperFact { role, ..fact });
        }
        if matches!(
            fact.role,
            KeeperRole::OpenPrimary | KeeperRole::LeavingPrimary
        ) && let Some(term) = self.terms.get_mut(usize::from(database.0))
        {
            *term = fact.term.max(*term);
        }
    }

    /// The stream of a keeper broke: what it said last is no evidence any more.
    pub fn handle_keeper_lost(&mut self, database: DatabaseId, replica: u16) {
        if let Some(slot) = self
            .keepers
            .get_mut(usize::from(database.0))
            .and_then(|replicas| replicas.get_mut(usize::from(replica)))
        {
            *slot = None;
        }
    }

    pub fn handle_probe(&mut self, service: ServiceId, instance: u16, fact: InstanceFact) {
        assert!(fact.asked <= fact.heard, "answered before it was asked");
        if let Some(slot) = self
            .instances
            .get_mut(usize::from(service.0))
            .and_then(|instances| instances.get_mut(usize::from(instance)))
        {
            *slot = Some(fact);
        }
    }

    /// A request to this instance failed at `at`: it must answer a younger question first.
    pub fn handle_suspicion(&mut self, service: ServiceId, instance: u16, at: Instant) {
        if let Some(slot) = self
            .suspected
            .get_mut(usize::from(service.0))
            .and_then(|instances| instances.get_mut(usize::from(instance)))
        {
            *slot = at.max(*slot);
        }
    }

    /// What a keeper last said, however old it is.
    pub fn keeper_fact(&self, database: DatabaseId, replica: u16) -> Option<KeeperFact> {
        let replicas = self.keepers.get(usize::from(database.0))?;
        *replicas.get(usize::from(replica))?
    }

    /// What an instance last answered, and when it was last suspected.
    pub fn instance_fact(
        &self,
        service: ServiceId,
        instance: u16,
    ) -> Option<(InstanceFact, Instant)> {
        let facts = self.instances.get(usize::from(service.0))?;
        let fact = (*facts.get(usize::from(instance))?)?;
        Some((fact, self.suspected_at(service, usize::from(instance))))
    }

    /// A term learnt by an earlier pair of eyes, before the routing changed.
    pub fn raise_term(&mut self, database: DatabaseId, term: Term) {
        if let Some(known) = self.terms.get_mut(usize::from(database.0)) {
            *known = term.max(*known);
        }
    }

    /// We were stopped ourselves, so all that we know may be old. Terms stay: they never go back.
    pub fn forget(&mut self, now: Instant) {
        self.keepers
            .iter_mut()
            .flatten()
            .for_each(|fact| *fact = None);
        self.instances
            .iter_mut()
            .flatten()
            .for_each(|fact| *fact = None);
        self.hope.iter_mut().for_each(|hope| *hope = now);
        self.stranded.iter_mut().for_each(|since| *since = None);
    }

    /// What follows from the facts at this moment. Ageing alone changes it, so it is asked regularly.
    pub fn evaluate(&mut self, now: Instant) -> View {
        let databases: Vec<DatabaseView> = (0..self.keepers.len())
            .map(|index| self.database(now, index))
            .collect();
        let mut cells = Vec::with_capacity(self.cells.len());
        for index in 0..self.cells.len() {
            cells.push(self.cell(now, index, &databases));
        }
        let ready = (0..self.instances.len())
            .map(|index| self.ready(now, index))
            .collect();
        View {
            cells,
            databases,
            ready,
        }
    }

    fn is_fresh(&self, now: Instant, heard: Instant) -> bool {
        now.since(heard) <= self.limits.evidence_age
    }

    fn keeper(&self, now: Instant, database: usize, replica: usize) -> Option<KeeperFact> {
        let fact = (*self.keepers.get(database)?.get(replica)?)?;
        self.is_fresh(now, fact.heard).then_some(fact)
    }

    fn database(&self, now: Instant, index: usize) -> DatabaseView {
        let count = self.keepers.get(index).map_or(0, Vec::len);
        let mut view = DatabaseView {
            term: self.terms.get(index).copied().unwrap_or_default(),
            keepers: count as u16,
            ..DatabaseView::default()
        };
        for replica in 0..count {
            let Some(fact) = self.keeper(now, index, replica) else {
                view.replicas.push(ReplicaView::Unseen);
                continue;
            };
            view.keepers_seen += 1;
            view.replicas.push(ReplicaView::Seen(fact.role));
            let serves = matches!(
                fact.role,
                KeeperRole::OpenPrimary | KeeperRole::LeavingPrimary
            );
            if serves && fact.term >= view.term {
                view.primary = Some(PrimaryView {
                    replica: replica as u16,
                    term: fact.term,
                    lease_until: fact.lease_until,
                });
            }
        }
        view
    }

    fn cell(&mut self, now: Instant, index: usize, databases: &[DatabaseView]) -> CellView {
        let (view, majority) = self.cell_now(now, index, databases);
        let served = matches!(view, CellView::Active(_) | CellView::Switching { .. });
        let elsewhere = if served {
            None
        } else {
            self.out_of_reach(now, index)
        };
        let patience = match elsewhere {
            Some((_, Certainty::Heard)) => self.limits.isolated_after,
            Some((_, Certainty::Named)) | None => self.limits.stranded_after,
        };
        let (Some(hope), Some(stranded)) = (self.hope.get_mut(index), self.stranded.get_mut(index))
        else {
            return view;
        };
        *stranded = elsewhere.map(|(primary, _)| match *stranded {
            Some((same, since)) if same == primary => (primary, since),
            Some(_) | None => (primary, now),
        });
        if served || majority {
            *hope = now;
        }
        let cut_off = now.since(*hope) > self.limits.isolated_after;
        let left_behind = stranded.is_some_and(|(_, since)| now.since(since) > patience);
        match served || !(cut_off || left_behind) {
            true => view,
            false => CellView::Isolated,
        }
    }

    /// The primary that the others have, if the instance beside it does not answer *us*. One that answers
    /// that it is not active yet is worth waiting for.
    fn out_of_reach(&self, now: Instant, index: usize) -> Option<(u16, Certainty)> {
        let cell = self.cells.get(index)?;
        let database = usize::from(cell.database.0);
        let count = self.keepers.get(database)?.len();
        let heard = (0..count).filter_map(|replica| self.keeper(now, database, replica));
        let primary = heard
            .max_by_key(|fact| (fact.term, fact.follows.is_some()))?
            .follows?;
        let facts = self.instances.get(usize::from(cell.service.0))?;
        let answers = facts.iter().zip(&cell.replica_of).any(|(fact, replica)| {
            *replica == Some(primary)
                && fact.is_some_and(|fact| {
                    self.is_fresh(now, fact.heard) && fact.state != InstanceState::Unreachable
                })
        });
        let silent = facts.iter().zip(&cell.replica_of).all(|(fact, replica)| {
            *replica != Some(primary) || fact.is_none_or(|fact| !self.is_fresh(now, fact.heard))
        });
        let own = self.keeper(now, database, usize::from(primary));
        let is_open = own.is_some_and(|own| own.role == KeeperRole::OpenPrimary);
        let certainty = if is_open && silent {
            Certainty::Heard
        } else {
            Certainty::Named
        };
        (!answers).then_some((primary, certainty))
    }

    fn cell_now(&self, now: Instant, index: usize, databases: &[DatabaseView]) -> (CellView, bool) {
        let none = (CellView::Absent(AbsentWhy::NotYetSeen), false);
        let Some(cell) = self.cells.get(index) else {
            return none;
        };
        let Some(database) = databases.get(usize::from(cell.database.0)) else {
            return none;
        };
        let majority = database.keepers_seen * 2 > database.keepers;
        let mut suspected = false;
        let mut best: Option<Active> = None;
        for instance in 0..cell.replica_of.len() {
            let Some(active) = self.candidate(now, cell, instance, database.term) else {
                continue;
            };
            if active.confirmed <= self.suspected_at(cell.service, instance) {
                suspected = true;
                continue;
            }
            if best.is_none_or(|b| (b.term, b.epoch) < (active.term, active.epoch)) {
                best = Some(active);
            }
        }
        let view = match best {
            Some(active) if self.is_leaving(now, cell, active) => {
                CellView::Switching { term: active.term }
            }
            Some(active) => CellView::Active(active),
            None if suspected => CellView::Absent(AbsentWhy::Suspected),
            None => CellView::Absent(match database.primary {
                Some(primary) => AbsentWhy::AwaitingActivation { term: primary.term },
                None if database.keepers_seen == 0 => AbsentWhy::NotYetSeen,
                None => AbsentWhy::NoOpenPrimary,
            }),
        };
        (view, majority)
    }

    /// The instance, if it says that it is active, nobody is known to have a higher term, and the keeper
    /// of its own host does not deny it.
    fn candidate(&self, now: Instant, cell: &Cell, instance: usize, floor: Term) -> Option<Active> {
        let fact = (*self
            .instances
            .get(usize::from(cell.service.0))?
            .get(instance)?)?;
        let InstanceState::Ready { term, epoch } = fact.state else {
            return None;
        };
        if !self.is_fresh(now, fact.heard) || term < floor {
            return None;
        }
        let keeper = self.own_keeper(now, cell, instance);
        let denied = keeper.is_some_and(|keeper| match keeper.role {
            KeeperRole::OpenPrimary | KeeperRole::LeavingPrimary => keeper.term > term,
            KeeperRole::Standby | KeeperRole::Becoming | KeeperRole::Closed => keeper.term >= term,
        });
        (!denied).then_some(Active {
            instance: instance as u16,
            term,
            epoch,
            confirmed: fact.asked,
        })
    }

    fn own_keeper(&self, now: Instant, cell: &Cell, instance: usize) -> Option<KeeperFact> {
        let replica = (*cell.replica_of.get(instance)?)?;
        self.keeper(now, usize::from(cell.database.0), usize::from(replica))
    }

    fn is_leaving(&self, now: Instant, cell: &Cell, active: Active) -> bool {
        self.own_keeper(now, cell, usize::from(active.instance))
            .is_some_and(|k| k.role == KeeperRole::LeavingPrimary && k.term >= active.term)
    }

    fn suspected_at(&self, service: ServiceId, instance: usize) -> Instant {
        self.suspected
            .get(usize::from(service.0))
            .and_then(|instances| instances.get(instance))
            .copied()
            .unwrap_or_default()
    }

    fn ready(&self, now: Instant, service: usize) -> Ready {
        let mut candidates = Vec::new();
        let (Some(facts), Some(places)) = (self.instances.get(service), self.places.get(service))
        else {
            return Ready::default();
        };
        for (instance, (fact, (place, share))) in facts.iter().zip(places).enumerate() {
            let Some(fact) = fact else { continue };
            let suspected = self.suspected_at(ServiceId(service as u16), instance);
            let ready = matches!(fact.state, InstanceState::Ready { .. });
            if ready && self.is_fresh(now, fact.heard) && fact.asked > suspected {
                candidates.push(Candidate {
                    instance: instance as u16,
                    place: *place,
                    share: *share,
                });
            }
        }
        Ready::of(&candidates)
    }

    /// True while a cell has no active instance: its instances are asked more often.
    pub fn is_urgent(view: &View, cell: CellId) -> bool {
        !matches!(
            view.cells.get(usize::from(cell.0)),
            Some(CellView::Active(_))
        )
    }
}

#[cfg(test)]
#[path = "sight_tests.rs"]
mod tests;
