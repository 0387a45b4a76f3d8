//! Everything that the desk knows, folded from the journal.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_units::Position;

use crate::event::{Change, Event};
use crate::incident::{Incident, IncidentId};
use crate::seen::{Condition, Seen, Sign, Told};
use crate::severity::Severity;
use crate::thing::{Thing, What};

/// Incidents that are over and still shown; of older ones the journal tells.
pub const KEPT_MAX: usize = 100;
/// What belongs to no incident yet is remembered for so long, and so much of it.
pub(crate) const RECENT_MS: u64 = 120_000;
const RECENT_MAX: usize = 256;
/// After somebody stopped the platform nothing that stops calls for so long.
pub(crate) const STOPPING_MS: u64 = 60_000;
/// Stands for watches that are no more.
const NOBODY: &str = "";
/// A planned move has so long to be over.
const MOVE_MS: u64 = 30_000;

/// Of a condition that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The entry that told of it first.
    pub position: Position,
    pub since_ms: u64,
    /// From when on it calls: a planned move has some time.
    pub ripe_ms: u64,
    pub severity: Severity,
    pub title: String,
    /// Of an alert.
    pub labels: BTreeMap<String, String>,
    /// Who said what of it last; nothing for what one report tells.
    pub tellers: BTreeMap<String, Told>,
    pub incident: Option<IncidentId>,
}

impl Standing {
    /// Nobody measures any more whether it goes on.
    pub fn is_missing(&self) -> bool {
        !self.tellers.is_empty() && self.tellers.values().all(|told| *told == Told::Missing)
    }
}

/// Something that belongs to no incident yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recent {
    pub position: Position,
    pub at_ms: u64,
    pub about: About,
    /// It calls by itself, though nothing stands.
    pub calls: Option<(Severity, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Condition(Condition, BTreeMap<String, String>),
    Things(BTreeSet<Thing>),
}

/// Who was last said to be primary.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Primary {
    host: String,
    term: u64,
    /// Still, as far as is known.
    serves: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incidents {
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    pub(crate) ever: u64,
    pub(crate) standing: BTreeMap<Condition, Standing>,
    pub(crate) recent: VecDeque<Recent>,
    primaries: BTreeMap<String, Primary>,
    /// Databases whose primary is to move, and until when that explains that it leaves.
    moves: BTreeMap<String, u64>,
    pub(crate) stopping_ms: Option<u64>,
    /// When the platform as such was last seen to be unwell.
    pub(crate) unwell_ms: u64,
}

impl Incidents {
    pub fn get(&self, id: IncidentId) -> Option<&Incident> {
        self.incidents.get(&id)
    }

    /// In the order in which they were opened.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (IncidentId, &Incident)> {
        self.incidents.iter().map(|(id, incident)| (*id, incident))
    }

    /// Everything that stands of an incident.
    pub fn standing_of(&self, id: IncidentId) -> impl Iterator<Item = (&Condition, &Standing)> {
        let of = move |(_, standing): &(&Condition, &Standing)| standing.incident == Some(id);
        self.standing.iter().filter(of)
    }

    /// Instances on a host whose crash loop is not over.
    pub fn loops_on(&self, host: &str) -> impl Iterator<Item = &str> {
        self.standing.keys().filter_map(move |condition| {
            if let Condition::CrashLoop(of, instance) = condition
                && of == host
            {
                return Some(instance.as_str());
            }
            None
        })
    }

    /// How many there were.
    pub fn ever(&self) -> u64 {
        self.ever
    }

    /// An entry that tells of an incident and changes nothing of it: who was called, say.
    pub fn attach(&mut self, incident: &str, position: Position) {
        let known = incident.parse().ok();
        if let Some(found) = known.and_then(|id| self.incidents.get_mut(&id)) {
            found.note_all([&position].into_iter());
        }
    }

    /// An event of another kind.
    pub fn observe(&mut self, seen: &Seen) {
        let at_ms = seen.at_ms;
        match &seen.sign {
            Sign::Alert {
                alert,
                watch,
                told,
                labels,
                summary,
            } => {
                let condition = Condition::Alert(alert.clone());
                self.told(seen, &condition, (watch, *told), (labels, summary));
                self.remember(seen, About::Condition(condition, labels.clone()), None);
            }
            Sign::HostLost { host } => {
                let condition = Condition::HostLost(host.clone());
                let title = alloc::format!("host {host} is lost");
                self.stand(seen, condition, Severity::Error, title, at_ms);
            }
            Sign::HostReturned { host } => {
                self.end(seen, Condition::HostLost(host.clone()));
            }
            Sign::BecamePrimary {
                database,
                host,
                term,
            } => self.became_primary(seen, database, host, *term),
            Sign::LeftPrimary {
                database,
                host,
                term,
            } => self.left_primary(seen, database, host, *term),
            Sign::ArchiveUnsafe { database, why, .. } => {
                let condition = Condition::ArchiveUnsafe(database.clone());
                let title = alloc::format!("the archive of database {database} is not safe: {why}");
                self.stand(seen, condition, Severity::Error, title, at_ms);
            }
            Sign::ArchiveSafe { database } => {
                self.end(seen, Condition::ArchiveUnsafe(database.clone()));
            }
            Sign::DrillMissed { drill } => {
                let condition = Condition::DrillMissed(drill.clone());
                let title = alloc::format!("the drill {drill} was due and did not run");
                self.stand(seen, condition, Severity::Warning, title, at_ms);
            }
            Sign::DrillRan { drill } => {
                self.end(seen, Condition::DrillMissed(drill.clone()));
            }
            Sign::MoveOrdered { database } => {
                let until_ms = at_ms.saturating_add(MOVE_MS);
                self.moves.insert(database.clone(), until_ms);
                self.happened(seen, [Thing::database(database)].into());
            }
            Sign::MoveFailed { database } => {
                self.moves.remove(database);
                self.happened(seen, [Thing::database(database)].into());
            }
            Sign::Stopping => self.stopping_ms = Some(at_ms),
            Sign::CrashLoop { host, instance } => self.looping(seen, host, instance),
            Sign::LoopEnded { host, instance } => {
                self.end(seen, Condition::CrashLoop(host.clone(), instance.clone()));
            }
            Sign::Wanted { hosts, watches } => {
                self.watches(watches);
                self.hosts(seen, hosts);
            }
            Sign::Happened { things } => self.happened(seen, things.clone()),
        }
        self.forget(at_ms);
    }

    fn happened(&mut self, seen: &Seen, things: BTreeSet<Thing>) {
        self.remember(seen, About::Things(things), None);
    }

    fn remember(&mut self, seen: &Seen, about: About, calls: Option<(Severity, String)>) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            position: seen.position,
            at_ms: seen.at_ms,
            about,
            calls,
        });
    }

    fn forget(&mut self, now_ms: u64) {
        let is_old = |recent: &Recent| recent.at_ms.saturating_add(RECENT_MS) < now_ms;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        self.moves.retain(|_, until_ms| *until_ms >= now_ms);
        if self.is_unwell() {
            self.unwell_ms = now_ms;
        }
    }

    pub(crate) fn is_unwell(&self) -> bool {
        self.standing.keys().any(Condition::is_of_platform)
    }

    /// Where a database had its primary, as far as is known.
    pub(crate) fn primary_of(&self, database: &str) -> Option<Thing> {
        let primary = self.primaries.get(database)?;
        let what = What::Database(database.to_string());
        Some(Thing::on(what, &primary.host))
    }

    fn looping(&mut self, seen: &Seen, host: &str, instance: &str) {
        let condition = Condition::CrashLoop(host.to_string(), instance.to_string());
        let title = alloc::format!("{instance} on {host} ends again and again");
        self.stand(seen, condition, Severity::Error, title, seen.at_ms);
    }

    /// Something that one report tells and another one ends.
    fn stand(
        &mut self,
        seen: &Seen,
        condition: Condition,
        severity: Severity,
        title: String,
        ripe_ms: u64,
    ) {
        let standing = Standing {
            position: seen.position,
            since_ms: seen.at_ms,
            ripe_ms,
            severity,
            title,
            labels: BTreeMap::new(),
            tellers: BTreeMap::new(),
            incident: None,
        };
        self.standing.entry(condition.clone()).or_insert(standing);
        self.remember(seen, About::Condition(condition, BTreeMap::new()), None);
    }

    fn end(&mut self, seen: &Seen, condition: Condition) {
        if self.standing.remove(&condition).is_some() && condition.is_of_platform() {
            self.unwell_ms = seen.at_ms;
        }
        self.remember(seen, About::Condition(condition, BTreeMap::new()), None);
    }

    /// One alert that several watches tell of is one; it is over when nobody says otherwise who still could, and
    /// somebody has measured it.
    fn told(
        &mut self,
        seen: &Seen,
        condition: &Condition,
        (watch, told): (&str, Told),
        (labels, summary): (&BTreeMap<String, String>, &str),
    ) {
        if told == Told::Ended {
            let Some(standing) = self.standing.get_mut(condition) else {
                return;
            };
            standing.tellers.remove(watch);
            standing.tellers.remove(NOBODY);
            if standing.tellers.is_empty() {
                self.standing.remove(condition);
            }
            return;
        }
        let name = labels.get("alertname").map_or("alert", String::as_str);
        let title = match summary {
            "" => name.to_string(),
            summary => alloc::format!("{name}: {summary}"),
        };
        let standing = self.standing.entry(condition.clone());
        let standing = standing.or_insert_with(|| Standing {
            position: seen.position,
            since_ms: seen.at_ms,
            ripe_ms: seen.at_ms,
            severity: Severity::of_labels(labels),
            title,
            labels: labels.clone(),
            tellers: BTreeMap::new(),
            incident: None,
        });
        standing.tellers.insert(watch.to_string(), told);
    }

    /// A watch that is no more has measured no end. What it alone told of stands until people say otherwise.
    fn watches(&mut self, watches: &BTreeSet<String>) {
        for standing in self.standing.values_mut() {
            let is_left = |watch: &String| watches.contains(watch);
            let others = standing.tellers.keys().any(is_left);
            let is_alert = !standing.tellers.is_empty();
            standing.tellers.retain(|watch, _| is_left(watch));
            if is_alert && !others {
                standing.tellers.insert(NOBODY.to_string(), Told::Missing);
            }
        }
    }

    /// What only a host that the platform has no more could end is over with it.
    fn hosts(&mut self, seen: &Seen, hosts: &BTreeSet<String>) {
        let is_gone = |condition: &&Condition| {
            let host = condition.host();
            host.is_some_and(|host| !hosts.contains(host))
        };
        let over: Vec<Condition> = self.standing.keys().filter(is_gone).cloned().collect();
        for condition in over {
            self.end(seen, condition);
        }
    }

    fn became_primary(&mut self, seen: &Seen, database: &str, host: &str, term: u64) {
        let before = self.primaries.get(database).cloned();
        if before.as_ref().is_some_and(|before| before.term > term) {
            return;
        }
        let primary = Primary {
            host: host.to_string(),
            term,
            serves: true,
        };
        self.primaries.insert(database.to_string(), primary);
        let is_planned = self.moves.remove(database).is_some();
        // Whoever was primary a moment ago did not say that it left.
        let lost = before.filter(|before| before.serves && before.host != host && !is_planned);
        let condition = Condition::NoPrimary(database.to_string());
        if self.standing.contains_key(&condition) {
            return self.end(seen, condition);
        }
        let mut things = BTreeSet::from([Thing::database(database)]);
        let calls = lost.map(|before| {
            let title = alloc::format!(
                "database {database} lost its primary on {}; {host} took over",
                before.host
            );
            // What else fails on that host belongs to it.
            things.insert(Thing::on(
                What::Database(database.to_string()),
                &before.host,
            ));
            (Severity::Error, title)
        });
        self.remember(seen, About::Things(things), calls);
    }

    fn left_primary(&mut self, seen: &Seen, database: &str, host: &str, term: u64) {
        let part = Thing::on(What::Database(database.to_string()), host);
        let known = self.primaries.get_mut(database);
        let is_news = known.is_none_or(|known| {
            let is_it = known.host == host && known.term <= term;
            known.serves &= !is_it;
            is_it
        });
        // The one before the present one noticed late that it is not needed.
        if !is_news {
            return self.happened(seen, [part].into());
        }
        let ripe_ms = self
            .moves
            .get(database)
            .map_or(seen.at_ms, |until_ms| *until_ms);
        let condition = Condition::NoPrimary(database.to_string());
        let title = alloc::format!("database {database} lost its primary on {host}");
        self.stand(seen, condition, Severity::Error, title, ripe_ms);
    }

    /// An event of this crate's own.
    pub fn apply(&mut self, position: Position, at_ms: u64, event: &Event) {
        let id = event.incident;
        self.ever = self.ever.max(id.0);
        if let Some(incident) = Incident::opened(at_ms, position, event) {
            self.incidents.insert(id, incident);
        }
        let (conditions, evidence) = match &event.change {
            Change::Opened {
                conditions,
                evidence,
                ..
            }
            | Change::Joined {
                conditions,
                evidence,
                ..
            } => (Some(conditions), evidence.as_slice()),
            Change::Merged { into } => {
                self.merge(position, id, *into);
                (None, [].as_slice())
            }
            Change::SeverityChanged { .. }
            | Change::Acknowledged
            | Change::Assigned { .. }
            | Change::Noted
            | Change::Learned(_)
            | Change::ActionAdded(_)
            | Change::ActionDone { .. }
            | Change::Signed { .. }
            | Change::Linked { .. }
            | Change::Mitigated
            | Change::Resolved { .. }
            | Change::Reopened => (None, [].as_slice()),
        };
        for condition in conditions.into_iter().flatten() {
            if let Some(standing) = self.standing.get_mut(condition) {
                standing.incident = Some(id);
            }
        }
        self.recent
            .retain(|recent| !evidence.contains(&recent.position));
        if let Some(incident) = self.incidents.get_mut(&id)
            && !matches!(event.change, Change::Opened { .. })
        {
            incident.apply(at_ms, position, event);
        }
        self.keep_few();
    }

    fn merge(&mut self, position: Position, from: IncidentId, into: IncidentId) {
        let Some(source) = self.incidents.get(&from).cloned() else {
            return;
        };
        if let Some(target) = self.incidents.get_mut(&into) {
            target.absorb(from, position, &source);
        }
        for standing in self.standing.values_mut() {
            if standing.incident == Some(from) {
                standing.incident = Some(into);
            }
        }
    }

    fn keep_few(&mut self) {
        let over: Vec<IncidentId> = self
            .incidents
            .iter()
            .filter(|(_, incident)| !incident.phase.is_active())
            .map(|(id, _)| *id)
            .collect();
        for id in over.iter().take(over.len().saturating_sub(KEPT_MAX)) {
            self.incidents.remove(id);
        }
    }
}
