//! Ladders, and whom a rung reaches.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::case::{Case, Severity};
use crate::notices::Addressee;
use crate::rotation::Rotation;

/// Everything that the platform file says of calling people; channels by name only.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    pub rotations: BTreeMap<String, Rotation>,
    /// By operator: the channels that reach them.
    pub contacts: BTreeMap<String, Vec<String>>,
    /// The first that fits an incident is its ladder.
    pub policies: Vec<Policy>,
    pub channels: BTreeSet<String>,
    /// From the opening of an incident to the first call: what belongs to it joins meanwhile.
    pub wait_ms: u64,
    /// Whoever has an incident that is not mitigated is reminded after this, and again.
    pub remind_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// For incidents at least so bad.
    pub severity: Severity,
    /// For incidents about one of these, `KIND/NAME`; about anything if empty.
    pub about: BTreeSet<String>,
    /// Not empty.
    pub levels: Vec<Level>,
    /// How often the ladder is climbed.
    pub rounds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub tell: Vec<Target>,
    /// How long it has to be acknowledged.
    pub within_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whoever is on call.
    Rotation(String),
    Operator(String),
    Channel(String),
}

impl Policy {
    fn fits(&self, case: &Case) -> bool {
        // `database/ledger` means its part on a host too.
        let whole = |thing: &String| {
            thing
                .split_once('@')
                .map_or(thing.clone(), |(w, _)| w.into())
        };
        let is_about =
            |thing: &String| self.about.contains(thing) || self.about.contains(&whole(thing));
        case.severity >= self.severity
            && (self.about.is_empty() || case.things.iter().any(is_about))
    }
}

impl Settings {
    pub fn policy(&self, case: &Case) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.fits(case))
    }

    /// Whom a rung reaches now: each channel once, with whoever is meant by it. Empty if nobody is on call, or nothing
    /// leads to whoever is.
    pub fn reached(&self, level: &Level, now_ms: u64) -> Vec<Addressee> {
        let mut found: Vec<Addressee> = Vec::new();
        let mut add = |channel: &String, who: Option<String>| {
            let is_known = self.channels.contains(channel);
            if is_known && !found.iter().any(|known| known.channel == *channel) {
                let channel = channel.clone();
                found.push(Addressee { channel, who });
            }
        };
        for target in &level.tell {
            let who = match target {
                Target::Channel(channel) => {
                    add(channel, None);
                    continue;
                }
                Target::Operator(operator) => Some(operator.to_string()),
                Target::Rotation(name) => {
                    let shift = self.rotations.get(name).and_then(|r| r.on_call(now_ms));
                    shift.map(|shift| shift.who)
                }
            };
            let Some(who) = who else { continue };
            for channel in self.contacts.get(&who).into_iter().flatten() {
                add(channel, Some(who.clone()));
            }
        }
        found
    }
}
