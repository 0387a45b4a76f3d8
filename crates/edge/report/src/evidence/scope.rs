//! What a pack is about, and which entries of the log tell of it.

use std::collections::BTreeMap;

use mainstay_journal::Hash;
use mainstay_record::event::EventBody;
use serde_json::Value;

use super::stamps::Stamp;
use crate::entry::Entry;
use crate::story::Story;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `d1`
    Drill(String),
    /// `x1`
    Experiment(String),
    /// `i1`
    Incident(String),
}

impl Subject {
    pub(crate) fn of(kind: &str, id: &str) -> Option<Self> {
        let (make, letter): (fn(String) -> Self, _) = match kind {
            "drill" => (Self::Drill, 'd'),
            "experiment" => (Self::Experiment, 'x'),
            "incident" => (Self::Incident, 'i'),
            _ => return None,
        };
        let digits = id.strip_prefix(letter)?;
        let is_number = !digits.is_empty()
            && digits.len() < 12
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| make(id.to_owned()))
    }

    /// From what a person writes: the letter says the kind.
    pub fn parse(id: &str) -> Option<Self> {
        let kinds = ["drill", "experiment", "incident"];
        kinds.iter().find_map(|kind| Self::of(kind, id))
    }

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Drill(_) => "drill",
            Self::Experiment(_) => "experiment",
            Self::Incident(_) => "incident",
        }
    }

    pub fn id(&self) -> &str {
        match self {
            Self::Drill(id) | Self::Experiment(id) | Self::Incident(id) => id,
        }
    }
}

/// The stretch of the log in which it took place.
pub(crate) struct Scope<'e> {
    pub subject: &'e Subject,
    /// The whole log: what came before and after counts too.
    pub all: &'e [Entry],
    /// What witnesses saw of it, the earliest first.
    pub stamps: &'e [Stamp],
    /// What was attached, by name: SHA-256.
    pub attached: &'e BTreeMap<String, Hash>,
    /// Entries that name it themselves.
    pub own: Vec<&'e Entry>,
    pub begun: &'e Entry,
    pub ended: Option<&'e Entry>,
    /// Every entry from the first to the last of it, whatever it tells of.
    pub during: &'e [Entry],
    pub made_ms: u64,
}

impl<'e> Scope<'e> {
    /// Nothing if the log does not tell of it.
    pub fn of(
        all: &'e [Entry],
        (stamps, attached): (&'e [Stamp], &'e BTreeMap<String, Hash>),
        subject: &'e Subject,
        made_ms: u64,
    ) -> Option<Self> {
        let (own, begun, ended) = match subject {
            Subject::Drill(id) => run(all, "drill", id),
            Subject::Experiment(id) => run(all, "experiment", id),
            Subject::Incident(id) => incident(all, id),
        }?;
        let until = match ended {
            Some(ended) => place(all, ended) + 1,
            None => all.len(),
        };
        Some(Self {
            subject,
            all,
            stamps,
            attached,
            own,
            begun,
            ended,
            during: all.get(place(all, begun)..until)?,
            made_ms,
        })
    }

    /// Of its own entries, those of a kind.
    pub fn own_of<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'e Entry> + 's {
        self.own
            .iter()
            .copied()
            .filter(move |entry| entry.kind == kind)
    }

    /// Of all entries meanwhile, those of a kind or below it: `alert` means `alert.changed` too.
    pub fn during_of<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'e Entry> + 's {
        let is_of = move |entry: &&Entry| {
            let rest = entry.kind.strip_prefix(kind);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.during.iter().filter(is_of)
    }

    pub fn at(&self, position: u64) -> Option<&'e Entry> {
        let place = self.all.partition_point(|entry| entry.position < position);
        self.all
            .get(place)
            .filter(|entry| entry.position == position)
    }

    /// What was planned; `null` where there was no plan.
    pub fn plan(&self) -> &'e Value {
        match self.subject {
            Subject::Drill(_) | Subject::Experiment(_) => &self.begun.body["plan"],
            Subject::Incident(_) => &Value::Null,
        }
    }

    /// As people call it.
    pub fn title(&self) -> &'e str {
        let plan = self.plan();
        let planned = plan["title"].as_str().or_else(|| plan["name"].as_str());
        let opened = self
            .own_of("incident.opened")
            .find(|entry| entry.body["incident"] == *self.subject.id());
        let opened = opened.and_then(|entry| entry.body["title"].as_str());
        planned.or(opened).unwrap_or("without a name")
    }

    /// The platform file that was in force when it began.
    pub fn platform(&self) -> Option<&'e Entry> {
        let before = self
            .all
            .iter()
            .take_while(|entry| entry.position <= self.begun.position);
        before
            .filter(|entry| entry.kind == "platform.adopted")
            .last()
    }

    /// Entries after its end.
    pub fn after(&self) -> impl Iterator<Item = &'e Entry> {
        let end = self.ended.map_or(u64::MAX, |ended| ended.position);
        self.all.iter().filter(move |entry| entry.position > end)
    }
}

fn place(all: &[Entry], entry: &Entry) -> usize {
    all.partition_point(|other| other.position < entry.position)
}

type Found<'e> = (Vec<&'e Entry>, &'e Entry, Option<&'e Entry>);

fn run<'e>(all: &'e [Entry], kind: &str, id: &str) -> Option<Found<'e>> {
    let own: Vec<&Entry> = all
        .iter()
        .filter(|entry| {
            let rest = entry.kind.strip_prefix(kind);
            rest.is_some_and(|rest| rest.starts_with('.')) && entry.body[kind] == id
        })
        .collect();
    let of = |name: &str| {
        own.iter()
            .copied()
            .find(|entry| entry.kind == format!("{kind}.{name}"))
    };
    let (begun, ended) = (of("begun")?, of("ended"));
    Some((own, begun, ended))
}

fn incident<'e>(all: &'e [Entry], id: &str) -> Option<Found<'e>> {
    let story = Story::of(all, id).ok()?;
    let told: Vec<u64> = story.timeline.iter().map(|line| line.position).collect();
    let own: Vec<&Entry> = all
        .iter()
        .filter(|entry| told.binary_search(&entry.position).is_ok())
        .collect();
    let ended = story.moments.resolved.as_ref().and_then(|moment| {
        let mut own = own.iter().copied();
        own.find(|entry| entry.position == moment.position)
    });
    let begun = own.first().copied()?;
    Some((own, begun, ended))
}

/// Who is named in a field `by`, as in every entry.
pub(crate) fn who(by: &Value) -> Option<String> {
    let name = by["operator"].as_str().or_else(|| by["user"].as_str());
    match (name, by["uid"].as_u64()) {
        (Some(name), _) => Some(name.to_owned()),
        (None, Some(uid)) => Some(format!("uid {uid}")),
        (None, None) => None,
    }
}

/// Whether a person asked for it by command. A kind of entry that is new counts as that until it is put below.
pub(crate) fn is_manual(entry: &Entry) -> bool {
    let Some(event) = &entry.event else {
        return false;
    };
    match event {
        EventBody::SwitchoverOrdered(_)
        | EventBody::SoloOrdered(_)
        | EventBody::FailoverForced(_)
        | EventBody::GateOverridden(_)
        | EventBody::Paused(_)
        | EventBody::Resumed(_)
        | EventBody::Stopping(_)
        | EventBody::PlatformAdopted(_)
        | EventBody::RulesAdopted(_)
        | EventBody::UpgradeBegun(_)
        | EventBody::FaultInjected(_)
        | EventBody::SilenceSet(_)
        | EventBody::ExperimentBegun(_)
        | EventBody::ExperimentCarried(_)
        | EventBody::DrillAdopted(_)
        | EventBody::DrillWithdrawn(_)
        | EventBody::DrillConfirmed(_)
        | EventBody::DrillSigned(_) => true,
        EventBody::FaultEnding(_) => entry.body["why"]["cleared"].is_object(),
        // That its time is over is nobody's doing; a person is named, with the reason.
        EventBody::SilenceEnded(_) => {
            let why = entry.body["why"].as_str();
            why.is_some_and(|why| why.contains(" ended it: "))
        }
        EventBody::Playbook(_) => {
            let body = entry.body.as_object();
            let parts = body.into_iter().flat_map(serde_json::Map::values);
            parts.into_iter().any(|part| part["by"].is_object())
        }
        EventBody::IncidentOpened(_)
        | EventBody::IncidentJoined(_)
        | EventBody::IncidentSeverity(_)
        | EventBody::IncidentAcknowledged(_)
        | EventBody::IncidentAssigned(_)
        | EventBody::IncidentNoted(_)
        | EventBody::IncidentLearned(_)
        | EventBody::IncidentActionAdded(_)
        | EventBody::IncidentActionDone(_)
        | EventBody::IncidentSigned(_)
        | EventBody::IncidentLinked(_)
        | EventBody::IncidentMitigated(_)
        | EventBody::IncidentResolved(_)
        | EventBody::IncidentReopened(_)
        | EventBody::IncidentMerged(_) => entry.body["by"].is_object(),
        other => !is_decided(other),
    }
}

/// What was decided, told, or done by what was decided; the beginning of a drill is told elsewhere.
fn is_decided(event: &EventBody) -> bool {
    matches!(
        event,
        EventBody::Opened(_)
            | EventBody::KeyAdmitted(_)
            | EventBody::Claimed(_)
            | EventBody::CommandRefused(_)
            | EventBody::HostLost(_)
            | EventBody::HostReturned(_)
            | EventBody::InstancePlaced(_)
            | EventBody::InstanceWithdrawn(_)
            | EventBody::UpgradeOrdered(_)
            | EventBody::UpgradeEnded(_)
            | EventBody::EffectFinished(_)
            | EventBody::ReflexRecorded(_)
            | EventBody::AlertChanged(_)
            | EventBody::ExperimentLooking(_)
            | EventBody::ExperimentLooked(_)
            | EventBody::ExperimentChoosing(_)
            | EventBody::ExperimentChosen(_)
            | EventBody::ExperimentMending(_)
            | EventBody::ExperimentObserved(_)
            | EventBody::ExperimentEnded(_)
            | EventBody::DrillMissed(_)
            | EventBody::DrillBegun(_)
            | EventBody::DrillStepBegun(_)
            | EventBody::DrillStepEnded(_)
            | EventBody::DrillMeasured(_)
            | EventBody::DrillDeviated(_)
            | EventBody::DrillAbandoned(_)
            | EventBody::DrillEnded(_)
            | EventBody::NoticeEscalated(_)
            | EventBody::NoticeExhausted(_)
            | EventBody::NoticeOrdered(_)
            | EventBody::RulesFollowed(_)
    )
}
