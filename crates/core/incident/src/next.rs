//! What is to be decided of incidents now: one thing at a time, until there is nothing left.
//!
//! Two things belong together if trouble with one can be felt in the other, or if they stand on one host and were told
//! of at the same time; and if the incident is still warm.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_units::Position;

use crate::book::{About, Incidents, Recent, STOPPING_MS, Standing};
use crate::event::{By, Change, Event};
use crate::incident::{Incident, IncidentId, Phase};
use crate::seen::Condition;
use crate::severity::Severity;
use crate::thing::{Thing, What};
use crate::topology::Topology;

/// An incident takes up what it reaches, or what reaches it, for so long after it was last told of.
pub const WINDOW_MS: u64 = 300_000;
/// The same while something of it stands that calls for somebody: slow alerts speak of old trouble.
pub const WINDOW_LONG_MS: u64 = 1_800_000;
/// What stands on one host belongs together if it was told of within this time.
pub const NEIGHBOURS_MS: u64 = 60_000;
/// When nothing of an incident has stood for so long, and the platform is well, it is mitigated.
pub const SETTLE_MS: u64 = 60_000;
/// An incident follows one about the same that was resolved within this time. One that rests takes back what stood before
/// for as long; after that it is another one.
const FOLLOWS_MS: u64 = 3_600_000;
/// Incidents that somebody has work with. With more, what else stands waits for one of them to come to rest. Those that rest
/// count for nothing here: they are resolved by people alone, and where nobody does so, people are called all the same.
const UNMITIGATED_MAX: usize = 200;
/// Entries that one decision adds to a timeline.
const EVIDENCE_MAX: usize = 64;

/// An active incident and how far its trouble reaches.
struct Open<'a> {
    id: IncidentId,
    incident: &'a Incident,
    reach: BTreeSet<What>,
    is_warm: bool,
}

/// What looks for an incident to belong to.
struct Found<'a> {
    at_ms: u64,
    condition: Option<&'a Condition>,
    things: &'a BTreeSet<Thing>,
}

/// Why two things belong together. The first is the strongest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Same,
    /// The incident's trouble can be felt in it.
    Felt(Thing),
    /// Its trouble can be felt in the incident's.
    Cause(Thing),
    Neighbour(String),
}

impl Tie {
    fn why(&self) -> String {
        match self {
            Self::Same => "it is part of this incident already".to_string(),
            Self::Felt(thing) => alloc::format!("{thing} depends on what is in trouble here"),
            Self::Cause(thing) => alloc::format!("{thing} depends on what it is about"),
            Self::Neighbour(host) => {
                alloc::format!("it happened on host {host} at the same time")
            }
        }
    }
}

impl Incidents {
    /// What is to be decided next, by nobody's wish. Call it again when that is applied.
    pub fn next(&self, now_ms: u64, topology: &Topology) -> Option<Event> {
        let is_idle = self.recent.is_empty()
            && self.orphans().next().is_none()
            && !self.incidents.values().any(|i| i.phase.is_active());
        if is_idle {
            return None;
        }
        let open = self.open(now_ms, topology);
        self.place_condition(now_ms, topology, &open)
            .or_else(|| self.place_recent(now_ms, topology, &open))
            .or_else(|| merge(now_ms, &open))
            .or_else(|| self.weigh())
            .or_else(|| self.rest(now_ms))
    }

    /// When [`Incidents::next`] will have something to say that time alone brings about.
    pub fn next_due_ms(&self) -> Option<u64> {
        let orphans = self.orphans().map(|(_, standing)| self.calls_ms(standing));
        let resting = self.incidents.iter();
        let resting = resting.filter_map(|(id, incident)| self.rests_ms(*id, incident));
        let orphans = orphans.filter(|_| self.has_room());
        orphans.chain(resting).min()
    }

    /// A worse incident, not mitigated either, that everything of this one depends on.
    pub fn inside(&self, id: IncidentId, topology: &Topology) -> Option<IncidentId> {
        let inner = self.get(id)?;
        let outer = self.incidents.iter().filter(|(other, outer)| {
            let is_worse = outer.severity > inner.severity;
            **other != id && outer.phase.is_unmitigated() && is_worse
        });
        let mut outer = outer.filter(|(_, outer)| {
            let mut reach = BTreeSet::new();
            for thing in outer.things.keys() {
                reach.extend(topology.reach(thing));
            }
            let mut things = inner.things.keys();
            !inner.things.is_empty() && things.all(|thing| Topology::is_within(&reach, thing))
        });
        outer.next().map(|(other, _)| *other)
    }

    /// Whether one more may be opened by itself.
    fn has_room(&self) -> bool {
        let incidents = self.incidents.values();
        incidents.filter(|i| i.phase.is_unmitigated()).count() < UNMITIGATED_MAX
    }

    /// What stands, would call, and belongs to no incident.
    fn orphans(&self) -> impl Iterator<Item = (&Condition, &Standing)> {
        let calls = |(_, standing): &(&Condition, &Standing)| {
            standing.incident.is_none() && standing.severity > Severity::Info
        };
        self.standing.iter().filter(calls)
    }

    /// While the platform is being stopped, nothing calls.
    fn quiet_until_ms(&self) -> u64 {
        let stopping = self.stopping_ms.map(|at| at.saturating_add(STOPPING_MS));
        stopping.unwrap_or(0)
    }

    fn calls_ms(&self, standing: &Standing) -> u64 {
        standing.ripe_ms.max(self.quiet_until_ms())
    }

    fn open<'a>(&'a self, now_ms: u64, topology: &Topology) -> Vec<Open<'a>> {
        let active = self.incidents.iter();
        let active = active.filter(|(_, incident)| match &incident.mitigated {
            // What has rested for long takes nothing up any more.
            Some(rests) if incident.phase == Phase::Mitigated => {
                let last_ms = rests.at_ms.max(incident.last_ms);
                now_ms.saturating_sub(last_ms) <= FOLLOWS_MS
            }
            _ => incident.phase.is_active(),
        });
        active
            .map(|(id, incident)| {
                let calls = |(_, s): (&Condition, &Standing)| s.severity >= Severity::Error;
                let window_ms = match self.standing_of(*id).any(calls) {
                    true => WINDOW_LONG_MS,
                    false => WINDOW_MS,
                };
                let mut reach = BTreeSet::new();
                for thing in incident.things.keys() {
                    reach.extend(topology.reach(thing));
                }
                Open {
                    id: *id,
                    incident,
                    reach,
                    is_warm: now_ms.saturating_sub(incident.last_ms) <= window_ms,
                }
            })
            .collect()
    }

    fn things_of(
        &self,
        condition: &Condition,
        labels: &BTreeMap<String, String>,
        topology: &Topology,
    ) -> BTreeSet<Thing> {
        let mut things = match condition.thing() {
            Some(thing) => BTreeSet::from([thing]),
            None => topology.things_of(labels),
        };
        if let Condition::NoPrimary(database) = condition {
            things.extend(self.primary_of(database));
        }
        if let Condition::HostLost(host) = condition
            && let Some(region) = topology.hosts.get(host)
            && self.is_region_lost(region, topology)
        {
            things.insert(Thing::region(region));
        }
        things
    }

    /// All of several hosts, or the only one.
    fn is_region_lost(&self, region: &str, topology: &Topology) -> bool {
        let mut hosts = topology.hosts.iter().filter(|(_, of)| *of == region);
        let is_lost = |host: &String| {
            let lost = Condition::HostLost(host.clone());
            self.standing.contains_key(&lost)
        };
        hosts.all(|(host, _)| is_lost(host))
    }

    /// Something stands that belongs to no incident.
    fn place_condition(
        &self,
        now_ms: u64,
        topology: &Topology,
        open: &[Open<'_>],
    ) -> Option<Event> {
        let unplaced = self.standing.iter();
        let mut unplaced: Vec<_> = unplaced.filter(|(_, s)| s.incident.is_none()).collect();
        unplaced.sort_by_key(|(_, standing)| standing.position);
        for (condition, standing) in unplaced {
            let things = self.things_of(condition, &standing.labels, topology);
            let found = Found {
                at_ms: standing.since_ms,
                condition: Some(condition),
                things: &things,
            };
            if let Some((id, tie)) = best(&found, open, topology) {
                let evidence = self.evidence_of(condition);
                let joined = Change::Joined {
                    conditions: [condition.clone()].into(),
                    things,
                    evidence,
                };
                return Some(decided(id, tie.why(), joined));
            }
            let calls = standing.severity > Severity::Info && now_ms >= self.calls_ms(standing);
            if calls && self.has_room() {
                return Some(self.opening(
                    now_ms,
                    (standing.severity, &standing.title),
                    &found,
                    standing.position,
                    topology,
                ));
            }
        }
        None
    }

    /// Entries that tell of a condition and belong to no incident yet; the first one is never forgotten.
    fn evidence_of(&self, condition: &Condition) -> Vec<Position> {
        let first = self
            .standing
            .get(condition)
            .map(|standing| standing.position);
        let is_it = |recent: &&Recent| match &recent.about {
            About::Condition(about, _) => about == condition,
            About::Things(_) => false,
        };
        let told = self
            .recent
            .iter()
            .filter(is_it)
            .map(|recent| recent.position);
        let all: BTreeSet<Position> = first.into_iter().chain(told).collect();
        all.into_iter().take(EVIDENCE_MAX).collect()
    }

    /// A new incident, with what came shortly before and belongs to it.
    fn opening(
        &self,
        now_ms: u64,
        (severity, title): (Severity, &str),
        found: &Found<'_>,
        position: Position,
        topology: &Topology,
    ) -> Event {
        let mut title = title.to_string();
        let mut severity = severity;
        let region = found
            .things
            .iter()
            .find(|thing| matches!(thing.what, What::Region(_)));
        if let (Some(region), Some(Condition::HostLost(_))) = (region, found.condition) {
            title = alloc::format!("region {} is lost", region.what.name());
            severity = Severity::Critical;
        }
        let mut reach = BTreeSet::new();
        for thing in found.things {
            reach.extend(topology.reach(thing));
        }
        let belongs = |recent: &&Recent| match &recent.about {
            About::Condition(condition, _) => Some(condition) == found.condition,
            About::Things(things) => {
                let back = |thing: &Thing| {
                    let reached = topology.reach(thing);
                    found
                        .things
                        .iter()
                        .any(|of| Topology::is_within(&reached, of))
                };
                things
                    .iter()
                    .any(|t| Topology::is_within(&reach, t) || back(t))
            }
        };
        let before = self.recent.iter().filter(belongs).map(|r| r.position);
        let evidence: BTreeSet<Position> = before.chain([position]).collect();
        let skipped = evidence.len().saturating_sub(EVIDENCE_MAX);
        let follows = self.incidents.iter().rev().find(|(_, incident)| {
            let over = matches!(incident.phase, Phase::Resolved | Phase::Mitigated);
            let is_fresh = incident
                .resolved_ms
                .is_none_or(|at_ms| at_ms + FOLLOWS_MS >= now_ms);
            let shares = incident
                .things
                .keys()
                .any(|thing| found.things.contains(thing));
            over && is_fresh && shares
        });
        let change = Change::Opened {
            title,
            severity,
            conditions: found.condition.cloned().into_iter().collect(),
            things: found.things.clone(),
            evidence: evidence.into_iter().skip(skipped).collect(),
            follows: follows.map(|(id, _)| *id),
        };
        let why = "nothing that is open reaches it or is reached by it".to_string();
        decided(IncidentId(self.ever + 1), why, change)
    }

    /// Something that only tells, or that calls by itself. What goes into one incident goes in one event.
    fn place_recent(&self, now_ms: u64, topology: &Topology, open: &[Open<'_>]) -> Option<Event> {
        let mut joining: Option<(IncidentId, Tie)> = None;
        let (mut all, mut evidence) = (BTreeSet::new(), Vec::new());
        let may_open = now_ms >= self.quiet_until_ms() && self.has_room();
        for recent in &self.recent {
            let (condition, things) = match &recent.about {
                About::Condition(condition, labels) => {
                    let things = self.things_of(condition, labels, topology);
                    (Some(condition), things)
                }
                About::Things(things) => (None, things.clone()),
            };
            let found = Found {
                at_ms: recent.at_ms,
                condition,
                things: &things,
            };
            let Some((id, tie)) = best(&found, open, topology) else {
                let calls = recent
                    .calls
                    .as_ref()
                    .filter(|_| may_open && joining.is_none());
                if let Some((severity, title)) = calls {
                    let call = (*severity, title.as_str());
                    return Some(self.opening(now_ms, call, &found, recent.position, topology));
                }
                continue;
            };
            if joining.as_ref().is_some_and(|(to, _)| *to != id) || evidence.len() >= EVIDENCE_MAX {
                continue;
            }
            if let Some(first) = self.called(id, recent) {
                match joining {
                    None => return Some(first),
                    Some(_) => break,
                }
            }
            joining.get_or_insert((id, tie));
            all.extend(things);
            evidence.push(recent.position);
        }
        let (id, tie) = joining?;
        let change = Change::Joined {
            conditions: BTreeSet::new(),
            things: all,
            evidence,
        };
        Some(decided(id, tie.why(), change))
    }

    /// What calls is no mere part of an incident that rests, or that is thought to be less than it is.
    fn called(&self, id: IncidentId, recent: &Recent) -> Option<Event> {
        let (severity, title) = recent.calls.as_ref()?;
        let incident = self.get(id)?;
        if incident.phase == Phase::Mitigated {
            let why = alloc::format!("it is back: {title}");
            return Some(decided(id, why, Change::Reopened));
        }
        let is_thought_of = incident.rated.is_some_and(|rated| rated > recent.position);
        let severity = *severity;
        let is_worse = severity > incident.severity && !is_thought_of;
        is_worse.then(|| decided(id, title.clone(), Change::SeverityChanged { severity }))
    }

    /// Whether one came back, or is worse than it was thought to be.
    fn weigh(&self) -> Option<Event> {
        for (id, incident) in self.incidents.iter().filter(|(_, i)| i.phase.is_active()) {
            let newest = |since: Position| {
                let standing = self.standing_of(*id);
                let newer = standing.filter(move |(_, standing)| standing.position > since);
                newer.max_by_key(|(_, standing)| standing.severity)
            };
            // Nothing stood when it came to rest by itself; people know what stood when they said so.
            let known = incident.mitigated.as_ref().map(|m| match m.by {
                By::Mainstay => Position::ZERO,
                By::Person(_) => m.position,
            });
            let back = known
                .filter(|_| incident.phase == Phase::Mitigated)
                .and_then(newest);
            if let Some((condition, standing)) = back
                && standing.severity > Severity::Info
            {
                let why = alloc::format!("it is back: {condition}");
                return Some(decided(*id, why, Change::Reopened));
            }
            if let Some((condition, standing)) = newest(incident.rated.unwrap_or(Position::ZERO))
                && standing.severity > incident.severity
            {
                let severity = standing.severity;
                let why = alloc::format!("{condition} is {severity}");
                return Some(decided(*id, why, Change::SeverityChanged { severity }));
            }
            if let Some(severity) = self.region_severity(*id, incident) {
                let why = "a whole region is lost".to_string();
                return Some(decided(*id, why, Change::SeverityChanged { severity }));
            }
        }
        None
    }

    /// A region is lost that was not known to be when the severity was last thought of.
    fn region_severity(&self, id: IncidentId, incident: &Incident) -> Option<Severity> {
        let has_region = incident
            .things
            .keys()
            .any(|t| matches!(t.what, What::Region(_)));
        let newest = self
            .standing_of(id)
            .filter_map(|(condition, standing)| match condition {
                Condition::HostLost(_) => Some(standing.position),
                Condition::Alert(_)
                | Condition::NoPrimary(_)
                | Condition::ArchiveUnsafe(_)
                | Condition::DrillMissed(_)
                | Condition::CrashLoop(..) => None,
            });
        let is_news = newest
            .max()
            .is_some_and(|at| incident.rated.is_none_or(|rated| at > rated));
        let is_worse = incident.severity < Severity::Critical;
        (has_region && is_news && is_worse).then_some(Severity::Critical)
    }

    /// When an incident comes to rest, if nothing happens until then.
    fn rests_ms(&self, id: IncidentId, incident: &Incident) -> Option<u64> {
        // What people opened was not measured to begin, and is not measured to end.
        let is_measured = !incident.conditions.is_empty() || incident.opened_by == By::Mainstay;
        let has_ended = self.standing_of(id).next().is_none() && !self.is_unwell();
        let is_due = incident.phase.is_unmitigated() && is_measured && has_ended;
        let last_ms = incident.last_ms.max(self.unwell_ms);
        is_due.then(|| last_ms.saturating_add(SETTLE_MS))
    }

    fn rest(&self, now_ms: u64) -> Option<Event> {
        let mut incidents = self.incidents.iter();
        let (id, incident) = incidents.find(|(id, incident)| {
            let rests_ms = self.rests_ms(**id, incident);
            rests_ms.is_some_and(|at_ms| now_ms >= at_ms)
        })?;
        let alerts = incident.conditions.iter();
        let alerts = alerts.filter(|c| matches!(c, Condition::Alert(_))).count();
        let ended = match alerts {
            0 => "nothing of it stands any more".to_string(),
            1 => "its alert was measured to have ended".to_string(),
            many => alloc::format!("its {many} alerts were measured to have ended"),
        };
        let why = alloc::format!(
            "{ended}, every host is heard, every database has its primary, and nothing of it was told of for {} s",
            SETTLE_MS / 1_000
        );
        Some(decided(*id, why, Change::Mitigated))
    }
}

fn decided(incident: IncidentId, reason: String, change: Change) -> Event {
    Event {
        incident,
        by: By::Mainstay,
        reason,
        change,
    }
}

/// The incident that something belongs to: by the strongest tie, and of several the oldest.
fn best(found: &Found<'_>, open: &[Open<'_>], topology: &Topology) -> Option<(IncidentId, Tie)> {
    let mut reach = BTreeSet::new();
    for thing in found.things {
        reach.extend(topology.reach(thing));
    }
    let ties = open.iter().filter_map(|open| {
        let tie = tie(found, &reach, open)?;
        Some((tie, open.id))
    });
    let rank = |tie: &Tie| match tie {
        Tie::Same => 0,
        Tie::Felt(_) => 1,
        Tie::Cause(_) => 2,
        Tie::Neighbour(_) => 3,
    };
    ties.min_by_key(|(tie, id)| (rank(tie), *id))
        .map(|(tie, id)| (id, tie))
}

fn tie(found: &Found<'_>, reach: &BTreeSet<What>, open: &Open<'_>) -> Option<Tie> {
    let incident = open.incident;
    let rested_ms = incident.mitigated.as_ref().map(|mitigated| mitigated.at_ms);
    let takes_back = incident.phase != Phase::Mitigated
        || rested_ms.is_none_or(|rested_ms| rested_ms + FOLLOWS_MS >= found.at_ms);
    let has_stood = |condition| incident.conditions.contains(condition);
    if takes_back && found.condition.is_some_and(has_stood) {
        return Some(Tie::Same);
    }
    if !open.is_warm {
        return None;
    }
    if let Some(thing) = found.things.iter().find(|thing| {
        incident.things.contains_key(thing) || Topology::is_within(&open.reach, thing)
    }) {
        return Some(Tie::Felt(thing.clone()));
    }
    let caused = incident.things.keys();
    if let Some(thing) = { caused }.find(|thing| Topology::is_within(reach, thing)) {
        return Some(Tie::Cause(thing.clone()));
    }
    let place = |thing: &Thing| {
        let place = thing.place()?;
        let mut near = incident.things.iter();
        let is_near = near.any(|(other, at_ms)| {
            other.place() == Some(place) && at_ms.abs_diff(found.at_ms) <= NEIGHBOURS_MS
        });
        is_near.then(|| place.to_string())
    };
    found.things.iter().find_map(place).map(Tie::Neighbour)
}

/// Two that were opened apart and turn out to be one: the younger goes on in the older.
fn merge(now_ms: u64, open: &[Open<'_>]) -> Option<Event> {
    let own = |open: &&Open<'_>| {
        let is_recent = now_ms.saturating_sub(open.incident.last_ms) <= NEIGHBOURS_MS;
        open.incident.opened_by == By::Mainstay && is_recent
    };
    let own: Vec<&Open<'_>> = open.iter().filter(own).collect();
    for (place, older) in own.iter().enumerate() {
        for younger in own.iter().skip(place + 1) {
            let reaches = |from: &Open<'_>, to: &Open<'_>| {
                let mut things = to.incident.things.keys();
                things
                    .find(|thing| Topology::is_within(&from.reach, thing))
                    .cloned()
            };
            let shared = reaches(older, younger).or_else(|| reaches(younger, older));
            if let Some(thing) = shared {
                let why = alloc::format!("{thing} is part of both");
                let into = older.id;
                return Some(decided(younger.id, why, Change::Merged { into }));
            }
        }
    }
    None
}
