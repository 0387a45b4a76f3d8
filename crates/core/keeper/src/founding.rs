//! Founding: creating a database where there is none.
//!
//! The home replica creates the cluster, once every keeper of the file has been heard and says that it
//! never had anything. The founding record, with the one system identifier and the home replica as only
//! member, is on a majority of the keepers before anything is promoted or copied, so that no other cluster
//! is ever created in its place. The cohort then grows one admission at a time, and nobody is let in
//! before it is full.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use mainstay_units::Instant;

use crate::cohort::majority;
use crate::config::ReplicaId;
use crate::durable::{Cohort, CohortVersion, Member};
use crate::keeper::Keeper;
use crate::machine::State;
use crate::members::Members;
use crate::message::Body;
use crate::postgres::DataState;

/// Who keeps the founding record, and when they were last asked to.
#[derive(Debug, Default)]
pub(crate) struct Founding {
    kept: BTreeSet<ReplicaId>,
    asked: Option<Instant>,
}

impl Keeper {
    /// Never had anything: no record and no data.
    pub(crate) fn is_blank(&self) -> bool {
        let no_data = self
            .server
            .observation
            .as_ref()
            .is_some_and(|seen| seen.data == DataState::Blank);
        no_data && self.durable.cohort.is_none() && self.durable.promise.highest.0 == 0
    }

    fn others_are_blank(&self) -> bool {
        self.config.peers().all(|peer| {
            self.peers
                .alive(self.now, &self.config.timings, peer)
                .is_some_and(|heartbeat| heartbeat.blank)
        })
    }

    pub(crate) fn may_found(&self) -> bool {
        let known = self.server.observation.as_ref().map(|seen| seen.data);
        // A folder that says whose it is was filled by somebody.
        let empty = matches!(known, Some(DataState::Blank | DataState::Broken));
        // In a lineage that was begun by order there was a database.
        !self.durable.lineage.is_forced()
            && self.config.me == self.config.home
            && empty
            && self.durable.cohort.is_none()
            && self.durable.promise.highest.0 == 0
            && self.others_are_blank()
    }

    /// Records what was created, and spreads the record until a majority keeps it.
    pub(crate) fn run_founding(&mut self) -> bool {
        if self.config.me != self.config.home || self.durable.paused {
            return false;
        }
        if self.durable.cohort.is_none() {
            return self.record_founding();
        }
        let founding = self
            .durable
            .cohort
            .as_ref()
            .filter(|cohort| cohort.version == CohortVersion::FOUNDING);
        let Some(cohort) = founding else {
            return false;
        };
        let due = self
            .founding
            .asked
            .is_none_or(|at| self.now.since(at) >= self.config.timings.heartbeat);
        if due && !self.founding_is_kept() {
            let body = Body::KeepCohort {
                cohort: Box::new(cohort.clone()),
            };
            self.founding.asked = Some(self.now);
            self.send_all(&body);
        }
        false
    }

    fn record_founding(&mut self) -> bool {
        let Some(DataState::Present {
            system_identifier, ..
        }) = self.server.fresh().map(|seen| seen.data)
        else {
            return false;
        };
        let created = self.server.state == State::Stopped && self.server.is_usable(&self.durable);
        if !created || !self.others_are_blank() {
            return false;
        }
        let member = Member {
            incarnation: self.durable.incarnation,
        };
        self.durable.cohort = Some(Cohort {
            version: CohortVersion::FOUNDING,
            system_identifier,
            members: Members::from([(self.config.me, member)]),
            copies: None,
            solo: None,
            losses: alloc::vec::Vec::new(),
            regained: alloc::vec::Vec::new(),
            beyond: BTreeMap::new(),
        });
        self.raise_floor(CohortVersion::FOUNDING.term);
        true
    }

    pub(crate) fn founding_kept(&mut self, by: ReplicaId) {
        self.founding.kept.insert(by);
    }

    /// Whether the founding record, if it is the present one, is on a majority of keepers.
    pub(crate) fn founding_is_kept(&self) -> bool {
        let founding = self
            .durable
            .cohort
            .as_ref()
            .is_some_and(|cohort| cohort.version == CohortVersion::FOUNDING);
        !founding || self.founding.kept.len() + 1 >= majority(self.config.replicas.len())
    }
}
