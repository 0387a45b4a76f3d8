//! What the journal tells of an incident.
//!
//! An incident's own entries name the entries that are its evidence; from there the story follows what hangs on them:
//! incidents that went on in it, outcomes of what was ordered, runs of playbooks that its alerts opened, notices about it,
//! and what was refused or paused meanwhile. Faults that somebody had injected and that lasted when it was noticed, and
//! experiments that ran, are told too: it is their time alone that ties them to it, and the report says so.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_record::event::{AlertWord, ArchiveDeedRecord, EndRecord, EventBody, ReflexRecord};
use mainstay_record::playbook::{OpeningRecord, OriginRecord, PlaybookBody};
use thiserror::Error;

use crate::entry::Entry;
use crate::say::{by, say};

/// What kind of part an entry plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Something broke, or was broken.
    Trouble,
    /// Mainstay noticed.
    Alarm,
    /// Mainstay did something, or decided to.
    Decided,
    /// Mainstay did not do something that somebody or something asked for.
    Refused,
    /// People.
    Person,
    Other,
}

#[derive(Clone, Debug)]
pub struct Line {
    pub position: u64,
    pub hash: String,
    pub at_ms: u64,
    pub class: Class,
    pub kind: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at_ms: u64,
    pub position: u64,
    pub what: String,
}

/// What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    pub began: Option<Moment>,
    pub detected: Option<Moment>,
    pub acted: Option<Moment>,
    pub acknowledged: Option<Moment>,
    pub mitigated: Option<Moment>,
    pub resolved: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LessonTold {
    /// `factor`, `well`, `badly`, `luck`
    pub lesson: String,
    pub text: String,
    pub by: String,
    pub position: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionTold {
    /// `i3/a1`
    pub action: String,
    pub text: String,
    pub owner: String,
    pub due: String,
    pub position: u64,
    /// How it was done, and the entry that says so.
    pub done: Option<(String, u64)>,
    pub became: Option<String>,
}

/// Of notices about it: how many were ordered, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub ordered: u32,
    pub said: u32,
    pub failed: u32,
    pub unknown: u32,
}

#[derive(Clone, Debug)]
pub struct Story {
    pub incident: String,
    pub title: String,
    /// As it was opened, and the last.
    pub severity: (String, String),
    pub state: String,
    pub opened_ms: u64,
    pub reopened: u32,
    pub absorbed: Vec<String>,
    pub merged_into: Option<String>,
    pub follows: Option<String>,
    pub roles: BTreeMap<String, String>,
    pub things: BTreeSet<String>,
    pub conditions: BTreeSet<String>,
    pub links: Vec<(String, u64)>,
    pub moments: Moments,
    pub timeline: Vec<Line>,
    pub lessons: Vec<LessonTold>,
    pub actions: Vec<ActionTold>,
    pub told: Told,
    /// Of the last entry of the journal that was read.
    pub read_until_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the journal tells of no incident {0}")]
pub struct StoryError(pub String);

impl Story {
    /// From the entries of the whole journal, or of any part of it that has all of the incident.
    ///
    /// # Errors
    /// When no entry opens it.
    pub fn of(entries: &[Entry], incident: &str) -> Result<Self, StoryError> {
        let own = |entry: &&Entry| entry.incident() == Some(incident);
        let opened = entries.iter().filter(own).find_map(|entry| {
            let Some(EventBody::IncidentOpened(body)) = &entry.event else {
                return None;
            };
            Some((entry.at_ms, body))
        });
        let (opened_ms, opened) = opened.ok_or_else(|| StoryError(incident.to_owned()))?;
        let members = members(entries, incident);
        let mut story = Self {
            incident: incident.to_owned(),
            title: opened.title.clone(),
            severity: (opened.severity.clone(), opened.severity.clone()),
            state: "open".to_owned(),
            opened_ms,
            reopened: 0,
            absorbed: Vec::new(),
            merged_into: None,
            follows: opened.follows.clone(),
            roles: BTreeMap::new(),
            things: BTreeSet::new(),
            conditions: BTreeSet::new(),
            links: Vec::new(),
            moments: Moments::default(),
            timeline: Vec::new(),
            lessons: Vec::new(),
            actions: actions(entries, &members),
            told: Told::default(),
            read_until_ms: entries.last().map_or(opened_ms, |entry| entry.at_ms),
        };
        story.absorbed = members.into_iter().filter(|id| id != incident).collect();
        story.fold(entries);
        let chosen = story.choose(entries);
        let lines = entries
            .iter()
            .filter(|entry| chosen.contains(&entry.position));
        story.timeline = lines.map(line).collect();
        story.begin(entries, &chosen);
        Ok(story)
    }

    fn is_own(&self, entry: &Entry) -> bool {
        let named = entry.incident();
        named.is_some_and(|id| id == self.incident || self.absorbed.iter().any(|other| other == id))
    }

    /// What its own entries say.
    fn fold(&mut self, entries: &[Entry]) {
        for entry in entries {
            let Some(event) = entry.event.as_ref().filter(|_| self.is_own(entry)) else {
                continue;
            };
            self.fold_growth(entry, event);
            // What absorbed ones went through is theirs.
            if entry.incident() == Some(&self.incident) {
                self.fold_state(entry, event);
            }
        }
        let notices = entries.iter().filter(|entry| self.is_own(entry));
        let orders: BTreeSet<u64> = notices
            .filter(|entry| matches!(entry.event, Some(EventBody::NoticeOrdered(_))))
            .map(|entry| entry.position)
            .collect();
        self.told.ordered = u32::try_from(orders.len()).unwrap_or(u32::MAX);
        for entry in entries {
            let Some(EventBody::EffectFinished(body)) = &entry.event else {
                continue;
            };
            if orders.contains(&body.effect) {
                use mainstay_record::event::OutcomeRecord;
                match body.outcome {
                    OutcomeRecord::Done { .. } => self.told.said += 1,
                    OutcomeRecord::Failed { .. } => self.told.failed += 1,
                    OutcomeRecord::Unknown { .. } => self.told.unknown += 1,
                }
            }
        }
    }

    fn fold_growth(&mut self, entry: &Entry, event: &EventBody) {
        let (conditions, things) = match event {
            EventBody::IncidentOpened(body) => (&body.conditions, &body.things),
            EventBody::IncidentJoined(body) => (&body.conditions, &body.things),
            EventBody::IncidentLinked(body) => {
                self.links.push((body.link.clone(), entry.position));
                return;
            }
            EventBody::IncidentLearned(body) => {
                self.lessons.push(LessonTold {
                    lesson: body.lesson.clone(),
                    text: body.reason.clone(),
                    by: by(body.by.as_ref()),
                    position: entry.position,
                });
                return;
            }
            _ => return,
        };
        self.conditions.extend(conditions.iter().cloned());
        self.things.extend(things.iter().cloned());
    }

    fn fold_state(&mut self, entry: &Entry, event: &EventBody) {
        let moment = |what: &str| {
            Some(Moment {
                at_ms: entry.at_ms,
                position: entry.position,
                what: what.to_owned(),
            })
        };
        match event {
            EventBody::IncidentSeverity(body) => self.severity.1.clone_from(&body.severity),
            EventBody::IncidentAssigned(body) => {
                self.roles.insert(body.role.clone(), body.to.clone());
            }
            EventBody::IncidentAcknowledged(body) => {
                let who = by(body.by.as_ref());
                self.roles
                    .entry("owner".to_owned())
                    .or_insert_with(|| who.clone());
                if self.state == "open" {
                    self.state = "acknowledged".to_owned();
                }
                if self.moments.acknowledged.is_none() {
                    self.moments.acknowledged = moment(&format!("by {who}"));
                }
            }
            EventBody::IncidentMitigated(body) => {
                self.state = "mitigated".to_owned();
                self.moments.mitigated =
                    moment(&format!("by {}: {}", by(body.by.as_ref()), body.reason));
            }
            EventBody::IncidentResolved(body) => {
                self.state = "resolved".to_owned();
                self.moments.resolved =
                    moment(&format!("by {}: {}", by(body.by.as_ref()), body.reason));
            }
            EventBody::IncidentReopened(_) => {
                self.reopened += 1;
                self.state = "open".to_owned();
                self.moments.mitigated = None;
                self.moments.resolved = None;
            }
            EventBody::IncidentMerged(body) => {
                self.state = "merged".to_owned();
                self.merged_into = Some(body.into.clone());
            }
            _ => {}
        }
    }

    /// Positions of everything that belongs to it.
    fn choose(&self, entries: &[Entry]) -> BTreeSet<u64> {
        let mut chosen = BTreeSet::new();
        for entry in entries.iter().filter(|entry| self.is_own(entry)) {
            chosen.insert(entry.position);
            match &entry.event {
                Some(EventBody::IncidentOpened(body)) => chosen.extend(&body.evidence),
                Some(EventBody::IncidentJoined(body)) => chosen.extend(&body.evidence),
                _ => {}
            }
        }
        let runs = self.runs(entries, &chosen);
        let (from_ms, to_ms) = self.window(entries, &chosen);
        chosen.extend(self.lasting(entries, to_ms));
        for entry in entries {
            let meanwhile = (from_ms..=to_ms).contains(&entry.at_ms);
            let belongs = match &entry.event {
                Some(EventBody::EffectFinished(body)) => chosen.contains(&body.effect),
                Some(EventBody::Playbook(PlaybookBody::Declined { origin, .. })) => {
                    self.is_origin(origin)
                }
                Some(EventBody::Playbook(_)) => entry.run().is_some_and(|run| runs.contains(run)),
                // Alerts of the incident are told of again when they end, which joins nothing.
                Some(EventBody::AlertChanged(body)) => {
                    meanwhile && self.conditions.contains(&format!("alert {}", body.alert))
                }
                // What people mistyped about an incident says nothing of it.
                Some(EventBody::CommandRefused(body)) => {
                    meanwhile && !body.asked.starts_with("incident ")
                }
                Some(
                    EventBody::Paused(_) | EventBody::Resumed(_) | EventBody::GateOverridden(_),
                ) => meanwhile,
                _ => false,
            };
            if belongs {
                chosen.insert(entry.position);
            }
        }
        chosen
    }

    /// Faults and experiments that had begun and not ended when it was opened, with their ends up to its own.
    fn lasting(&self, entries: &[Entry], to_ms: u64) -> BTreeSet<u64> {
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut lasting = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.at_ms <= to_ms) {
            let (name, is_end) = match &entry.event {
                Some(EventBody::FaultInjected(body)) => (&body.fault, false),
                Some(EventBody::FaultEnding(body)) => (&body.fault, true),
                Some(EventBody::ExperimentBegun(body) | EventBody::ExperimentCarried(body)) => {
                    (&body.experiment, false)
                }
                Some(EventBody::ExperimentEnded(body)) => (&body.experiment, true),
                _ => continue,
            };
            match (is_end, entry.at_ms <= self.opened_ms) {
                (false, true) => {
                    last.insert(name.clone(), entry.position);
                }
                (true, true) => {
                    last.remove(name);
                }
                (true, false) if last.contains_key(name) => {
                    lasting.insert(entry.position);
                }
                (_, false) => {}
            }
        }
        lasting.extend(last.into_values());
        lasting
    }

    /// Whether it, or an alert of it, set something off.
    fn is_origin(&self, origin: &OriginRecord) -> bool {
        match origin {
            OriginRecord::Alert { alert, .. } => {
                self.conditions.contains(&format!("alert {alert}"))
            }
            OriginRecord::Incident { incident, .. } => {
                self.incident == *incident || self.absorbed.contains(incident)
            }
            OriginRecord::Schedule {} | OriginRecord::Person { .. } => false,
        }
    }

    /// Runs that it or its alerts opened, or that did what is evidence of it.
    fn runs(&self, entries: &[Entry], chosen: &BTreeSet<u64>) -> BTreeSet<String> {
        let of = |entry: &&Entry| match &entry.event {
            Some(EventBody::Playbook(PlaybookBody::Opened { origin, .. })) => {
                self.is_origin(origin)
            }
            _ => chosen.contains(&entry.position),
        };
        let found = entries.iter().filter(of).filter_map(Entry::run);
        found.map(ToOwned::to_owned).collect()
    }

    /// From its first evidence to its end.
    fn window(&self, entries: &[Entry], chosen: &BTreeSet<u64>) -> (u64, u64) {
        let first = entries
            .iter()
            .find(|entry| chosen.contains(&entry.position));
        let from_ms = first.map_or(self.opened_ms, |entry| entry.at_ms);
        let end = self
            .moments
            .resolved
            .as_ref()
            .or(self.moments.mitigated.as_ref());
        let to_ms = end.map_or(self.read_until_ms, |end| end.at_ms);
        (from_ms.min(self.opened_ms), to_ms.max(self.opened_ms))
    }

    /// When it began, was noticed, and was first acted upon.
    fn begin(&mut self, entries: &[Entry], chosen: &BTreeSet<u64>) {
        let part: Vec<&Entry> = entries
            .iter()
            .filter(|entry| chosen.contains(&entry.position))
            .collect();
        let evidence: BTreeSet<u64> = part
            .iter()
            .flat_map(|entry| match &entry.event {
                Some(EventBody::IncidentOpened(body)) => body.evidence.clone(),
                Some(EventBody::IncidentJoined(body)) => body.evidence.clone(),
                _ => Vec::new(),
            })
            .collect();
        let moment = |entry: &Entry, at_ms: u64| Moment {
            at_ms,
            position: entry.position,
            what: match evidence.contains(&entry.position) || class(entry) != Class::Trouble {
                true => say(entry),
                false => format!("{} [only its time ties it to the incident]", say(entry)),
            },
        };
        let opens = |entry: &&&Entry| {
            class(entry) == Class::Alarm
                || matches!(entry.event, Some(EventBody::IncidentOpened(_)))
        };
        let detected = part.iter().find(opens);
        self.moments.detected = detected.map(|entry| moment(entry, entry.at_ms));
        let detected_ms = detected.map_or(self.opened_ms, |entry| entry.at_ms);
        let begins = part
            .iter()
            .filter_map(|entry| Some(moment(entry, cause_ms(entry)?)));
        self.moments.began = begins
            .filter(|moment| moment.at_ms <= detected_ms)
            .min_by_key(|moment| moment.at_ms);
        let acts = part
            .iter()
            .find(|entry| entry.at_ms >= detected_ms && is_deed(entry));
        self.moments.acted = acts.map(|entry| moment(entry, entry.at_ms));
    }

    /// What customers felt lies between these two, as far as is known; `now_ms` if it goes on.
    pub fn felt(&self, now_ms: u64) -> (u64, u64) {
        let moments = &self.moments;
        let first = moments.began.as_ref().or(moments.detected.as_ref());
        let last = moments.mitigated.as_ref().or(moments.resolved.as_ref());
        let from_ms = first.map_or(self.opened_ms, |moment| moment.at_ms);
        (
            from_ms,
            last.map_or(now_ms, |moment| moment.at_ms).max(from_ms),
        )
    }

    pub fn of_class(&self, class: Class) -> impl Iterator<Item = &Line> {
        self.timeline.iter().filter(move |line| line.class == class)
    }
}

fn line(entry: &Entry) -> Line {
    Line {
        position: entry.position,
        hash: entry.hash.to_string(),
        at_ms: entry.at_ms,
        class: class(entry),
        kind: entry.kind.clone(),
        text: say(entry),
    }
}

/// The incident, and all that went on in it.
fn members(entries: &[Entry], incident: &str) -> BTreeSet<String> {
    let mut members = BTreeSet::from([incident.to_owned()]);
    // Merges are in the order of time: the last one first, what was merged into a merged one is found too.
    for entry in entries.iter().rev() {
        if let Some(EventBody::IncidentMerged(body)) = &entry.event
            && members.contains(&body.into)
        {
            members.insert(body.incident.clone());
        }
    }
    members
}

/// When what the entry tells of began to hurt, if it is something that does.
fn cause_ms(entry: &Entry) -> Option<u64> {
    match entry.event.as_ref()? {
        EventBody::FaultInjected(_) => Some(entry.at_ms),
        EventBody::HostLost(body) => Some(entry.at_ms.saturating_sub(body.silent_ms)),
        EventBody::ReflexRecorded(body) => match body.reflex {
            ReflexRecord::LeftPrimary { .. } => Some(body.at_ms.min(entry.at_ms)),
            _ => None,
        },
        _ => None,
    }
}

fn is_deed(entry: &Entry) -> bool {
    match entry.event.as_ref() {
        Some(EventBody::Playbook(PlaybookBody::Begun { .. }))
        | Some(
            EventBody::SwitchoverOrdered(_)
            | EventBody::SoloOrdered(_)
            | EventBody::FailoverForced(_),
        ) => true,
        Some(EventBody::FaultEnding(body)) => !matches!(body.why, EndRecord::Expired),
        Some(EventBody::ReflexRecorded(body)) => matches!(
            body.reflex,
            ReflexRecord::BecamePrimary { .. } | ReflexRecord::InstanceRestarted { .. }
        ),
        _ => false,
    }
}

fn class(entry: &Entry) -> Class {
    let Some(event) = &entry.event else {
        return Class::Other;
    };
    match event {
        EventBody::FaultInjected(_) => Class::Trouble,
        EventBody::HostLost(_) => Class::Alarm,
        EventBody::AlertChanged(body) => match body.state {
            AlertWord::Firing => Class::Alarm,
            AlertWord::Missing | AlertWord::Resolved => Class::Other,
        },
        EventBody::ReflexRecorded(body) => match &body.reflex {
            ReflexRecord::LeftPrimary { .. } | ReflexRecord::CrashLoop { .. } => Class::Alarm,
            ReflexRecord::Archived {
                deed: ArchiveDeedRecord::Alarm { .. },
                ..
            } => Class::Alarm,
            _ => Class::Decided,
        },
        EventBody::CommandRefused(_) | EventBody::NoticeExhausted(_) => Class::Refused,
        EventBody::RulesAdopted(_) => Class::Person,
        EventBody::Playbook(body) => playbook_class(body),
        EventBody::FaultEnding(body) => match body.why {
            EndRecord::Cleared { .. } => Class::Person,
            EndRecord::Expired | EndRecord::Again { .. } => Class::Other,
            EndRecord::Playbook { .. } | EndRecord::Experiment { .. } | EndRecord::Drill { .. } => {
                Class::Decided
            }
        },
        EventBody::InstancePlaced(_)
        | EventBody::InstanceWithdrawn(_)
        | EventBody::Claimed(_)
        | EventBody::NoticeEscalated(_) => Class::Decided,
        _ => person_class(event),
    }
}

fn playbook_class(body: &PlaybookBody) -> Class {
    match body {
        PlaybookBody::Opened {
            opening: OpeningRecord::Observes {},
            ..
        }
        | PlaybookBody::Declined { .. }
        | PlaybookBody::Asks { .. } => Class::Refused,
        PlaybookBody::Approved { by: Some(_), .. } | PlaybookBody::Aborted { .. } => Class::Person,
        PlaybookBody::Adopted { .. } | PlaybookBody::Withdrawn { .. } => Class::Person,
        PlaybookBody::Opened { .. }
        | PlaybookBody::Approved { .. }
        | PlaybookBody::Started { .. }
        | PlaybookBody::Begun { .. }
        | PlaybookBody::Looked { .. }
        | PlaybookBody::Skipped { .. }
        | PlaybookBody::Failed { .. }
        | PlaybookBody::Ended { .. } => Class::Decided,
    }
}

/// Of what people as well as rules can say.
fn person_class(event: &EventBody) -> Class {
    let by = match event {
        EventBody::IncidentOpened(body) => &body.by,
        EventBody::IncidentSeverity(body) => &body.by,
        EventBody::IncidentMerged(body) => &body.by,
        EventBody::IncidentMitigated(body) => &body.by,
        EventBody::IncidentReopened(body) => &body.by,
        EventBody::IncidentAcknowledged(_)
        | EventBody::IncidentAssigned(_)
        | EventBody::IncidentNoted(_)
        | EventBody::IncidentLinked(_)
        | EventBody::IncidentResolved(_)
        | EventBody::IncidentLearned(_)
        | EventBody::IncidentActionAdded(_)
        | EventBody::IncidentActionDone(_)
        | EventBody::IncidentSigned(_)
        | EventBody::SwitchoverOrdered(_)
        | EventBody::SoloOrdered(_)
        | EventBody::FailoverForced(_)
        | EventBody::GateOverridden(_)
        | EventBody::Paused(_)
        | EventBody::Resumed(_)
        | EventBody::Stopping(_)
        | EventBody::SilenceSet(_)
        | EventBody::ExperimentBegun(_)
        | EventBody::ExperimentCarried(_) => return Class::Person,
        _ => return Class::Other,
    };
    match by {
        Some(_) => Class::Person,
        None => Class::Decided,
    }
}

/// What is to be done after the incidents named, in the order in which it was said.
pub fn actions(entries: &[Entry], incidents: &BTreeSet<String>) -> Vec<ActionTold> {
    let mut actions: Vec<ActionTold> = Vec::new();
    for entry in entries {
        match &entry.event {
            Some(EventBody::IncidentActionAdded(body)) if incidents.contains(&body.incident) => {
                actions.push(ActionTold {
                    action: format!("{}/a{}", body.incident, body.action),
                    text: body.reason.clone(),
                    owner: body.owner.clone(),
                    due: body.due.clone(),
                    position: entry.position,
                    done: None,
                    became: None,
                });
            }
            Some(EventBody::IncidentActionDone(body)) => {
                let name = format!("{}/a{}", body.incident, body.action);
                for action in actions.iter_mut().filter(|action| action.action == name) {
                    action.done = Some((body.reason.clone(), entry.position));
                    action.became.clone_from(&body.became);
                }
            }
            _ => {}
        }
    }
    actions
}
