//! A new version of Mainstay's own program, taken host by host.
//!
//! One host takes it, shows that it stands, and only then the next is told: a version that does not work
//! meets the first host and no other. PostgreSQL is not touched. Hosts without a primary go first, since
//! least depends on them; whoever leads goes last, so that one leader sees most of it.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use mainstay_model::name::HostName;

use crate::effect::{Effect, EffectId, Outcome};
use crate::event::{Event, UpgradeEnd};
use crate::state::State;

/// A build of the `mainstay` program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// SHA-256 of the file, hexadecimal.
    pub digest: String,
    /// What it says of itself.
    pub version: String,
}

/// An upgrade under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub program: Program,
    /// Hosts that have it, in the order in which they took it.
    pub done: Vec<HostName>,
    /// Hosts still to come, the next one first.
    pub left: Vec<HostName>,
    pub under_way: Option<(HostName, EffectId)>,
    /// Where it was refused, and why: it goes no further.
    pub refused: Option<(HostName, String)>,
}

impl Upgrade {
    pub(crate) fn begin(program: &Program, hosts: &[HostName]) -> Self {
        Self {
            program: program.clone(),
            done: Vec::new(),
            left: hosts.to_vec(),
            under_way: None,
            refused: None,
        }
    }

    pub(crate) fn ordered(&mut self, host: &HostName, effect: EffectId) {
        self.left.retain(|other| other != host);
        self.under_way = Some((host.clone(), effect));
    }

    pub(crate) fn finished(&mut self, effect: EffectId, outcome: &Outcome) {
        let Some((host, _)) = self.under_way.take_if(|(_, known)| *known == effect) else {
            return;
        };
        match outcome {
            Outcome::Done { .. } => self.done.push(host),
            Outcome::Failed { why } | Outcome::Unknown { why } => {
                self.refused = Some((host, why.clone()));
            }
        }
    }
}

/// The order in which hosts take a new program.
pub(crate) fn order(state: &State) -> Vec<HostName> {
    let primaries: BTreeSet<&HostName> = state
        .databases
        .values()
        .filter_map(|view| view.primary.as_ref())
        .collect();
    let mut hosts: Vec<HostName> = state
        .desired
        .iter()
        .flat_map(|desired| desired.hosts.keys().cloned())
        .collect();
    hosts.sort_by_key(|host| {
        let leads = state.leader.as_ref() == Some(host);
        (leads, primaries.contains(host), host.clone())
    });
    hosts
}

/// What an upgrade needs next; nothing while a host is at it or somebody paused automation.
pub(crate) fn next(state: &State) -> Option<Event> {
    let upgrade = state.upgrade.as_ref()?;
    if upgrade.under_way.is_some() {
        return None;
    }
    if let Some((host, why)) = &upgrade.refused {
        let (host, why) = (host.clone(), why.clone());
        return Some(Event::UpgradeEnded(UpgradeEnd::Stopped { host, why }));
    }
    if state.paused.is_some() {
        return None;
    }
    Some(match upgrade.left.first() {
        None => Event::UpgradeEnded(UpgradeEnd::Complete),
        // Whoever is lost cannot show that it stands.
        Some(host) if state.lost.contains_key(host) => Event::UpgradeEnded(UpgradeEnd::Stopped {
            host: host.clone(),
            why: "the host is lost".into(),
        }),
        Some(host) => Event::UpgradeOrdered { host: host.clone() },
    })
}

/// The effect that an order stands for.
pub(crate) fn effect(state: &State) -> Option<Effect> {
    let upgrade = state.upgrade.as_ref()?;
    Some(Effect::TakeProgram {
        program: upgrade.program.clone(),
    })
}
