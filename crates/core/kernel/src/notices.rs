//! Telling people of incidents, as the kernel carries it.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use mainstay_incident::{Condition, Incidents, Phase, Topology};
use mainstay_model::oncall::{Oncall, Told};
use mainstay_model::people::Permission;
use mainstay_notify::{
    Addressee, Case, Event as NoticeEvent, Level, Matcher, Notices, Outcome as NoticeOutcome,
    Override, Policy, Rotation, Settings, Severity, Silence, Stage, Target, Turn,
};

use crate::authority::{By, authorize};
use crate::effect::Outcome;
use crate::event::Event;
use crate::signal::Command;
use crate::state::State;
use crate::why::Refusal;

/// Longer silences are forgotten ones.
const SILENCE_MS_MAX: u64 = 30 * 86_400_000;
const MATCHERS_MAX: usize = 20;

/// What somebody asks of notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeAsk {
    Silence {
        matchers: Vec<Matcher>,
        lasts_ms: u64,
    },
    EndSilence {
        silence: u64,
    },
}

impl NoticeAsk {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Silence { .. } => "silence add",
            Self::EndSilence { .. } => "silence end",
        }
    }
}

/// Whose timeline tells of it.
pub(crate) fn incident_of(event: &NoticeEvent) -> Option<&str> {
    match event {
        NoticeEvent::Escalated { incident, .. } | NoticeEvent::Exhausted { incident, .. } => {
            Some(incident)
        }
        NoticeEvent::Ordered(notice) => Some(&notice.incident),
        NoticeEvent::SilenceSet { .. } | NoticeEvent::SilenceEnded { .. } => None,
    }
}

/// What the platform file says of calling people.
pub(crate) fn settings(oncall: &Oncall) -> Settings {
    let ms = |time: core::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let rotations = oncall.rotations.iter().map(|rotation| {
        let overrides = rotation.overrides.iter().map(|stand_in| Override {
            who: stand_in.operator.to_string(),
            from_ms: stand_in.from_ms,
            to_ms: stand_in.to_ms,
        });
        let turns = Rotation {
            members: rotation.operators.iter().map(ToString::to_string).collect(),
            turn: rotation.handover.weekday.map_or(Turn::Daily, Turn::Weekly),
            handover_minutes: rotation.handover.minutes,
            offset_minutes: rotation.handover.offset_minutes,
            starts_ms: rotation.starts_ms,
            overrides: overrides.collect(),
        };
        (rotation.name.clone(), turns)
    });
    let contacts = oncall.contacts.iter();
    let policies = oncall.policies.iter().map(|policy| Policy {
        name: policy.name.clone(),
        severity: Severity::parse(&policy.severity).unwrap_or(Severity::Error),
        about: policy.about.iter().cloned().collect(),
        levels: policy
            .levels
            .iter()
            .map(|level| Level {
                tell: level.tell.iter().map(target).collect(),
                within_ms: ms(level.within),
            })
            .collect(),
        rounds: policy.rounds,
    });
    Settings {
        rotations: rotations.collect(),
        contacts: contacts
            .map(|contact| (contact.operator.to_string(), contact.channels.clone()))
            .collect(),
        policies: policies.collect(),
        channels: oncall.channels.iter().map(|c| c.name.clone()).collect(),
        wait_ms: ms(oncall.wait),
        remind_ms: ms(oncall.remind),
    }
}

/// Whom a step of a playbook may tell: whoever the file can reach.
pub(crate) fn names(settings: &Settings) -> BTreeSet<String> {
    let rotations = settings.rotations.keys();
    let rotations = rotations.map(|name| alloc::format!("rotation/{name}"));
    let operators = settings.contacts.keys();
    let operators = operators.map(|name| alloc::format!("operator/{name}"));
    let channels = settings.channels.iter();
    let channels = channels.map(|name| alloc::format!("channel/{name}"));
    rotations.chain(operators).chain(channels).collect()
}

/// Whom a name of [`names`] reaches now.
pub fn reached(settings: &Settings, name: &str, now_ms: u64) -> Vec<Addressee> {
    let target = match name.split_once('/') {
        Some(("rotation", name)) => Target::Rotation(name.to_string()),
        Some(("operator", name)) => Target::Operator(name.to_string()),
        Some(("channel", name)) => Target::Channel(name.to_string()),
        Some(_) | None => return Vec::new(),
    };
    let rung = Level {
        tell: vec![target],
        within_ms: 0,
    };
    settings.reached(&rung, now_ms)
}

fn target(told: &Told) -> Target {
    match told {
        Told::Rotation(name) => Target::Rotation(name.clone()),
        Told::Operator(operator) => Target::Operator(operator.to_string()),
        Told::Channel(name) => Target::Channel(name.clone()),
    }
}

/// Every incident that somebody may have to be told of.
pub(crate) fn cases(incidents: &Incidents, notices: &Notices, topology: &Topology) -> Vec<Case> {
    let told_of = notices.told_of();
    let mut cases = Vec::new();
    for (id, incident) in incidents.iter() {
        let name = id.to_string();
        if !incident.phase.is_unmitigated() && !told_of.contains(&name) {
            continue;
        }
        let standing = incidents.standing_of(id);
        let alerts = standing.filter(|(condition, _)| matches!(condition, Condition::Alert(_)));
        cases.push(Case {
            incident: name,
            title: incident.title.clone(),
            severity: Severity::parse(incident.severity.as_str()).unwrap_or(Severity::Error),
            stage: match incident.phase {
                Phase::Open => Stage::Open,
                Phase::Acknowledged => Stage::Acknowledged,
                Phase::Mitigated => Stage::Mitigated,
                Phase::Resolved | Phase::Merged(_) => Stage::Over,
            },
            open_ms: incident.open_ms,
            by: incident.acknowledged.as_ref().map(|(_, by)| by.clone()),
            acknowledged_ms: incident.acknowledged.as_ref().map(|(at_ms, _)| *at_ms),
            things: incident.things.keys().map(ToString::to_string).collect(),
            alerts: alerts
                .map(|(_, standing)| standing.labels.clone())
                .collect(),
            inside: incidents.inside(id, topology).map(|id| id.to_string()),
        });
    }
    cases
}

/// When time alone brings something about; nothing where nobody is to be told.
pub(crate) fn next_due_ms(state: &State) -> Option<u64> {
    let desired = state.desired.as_ref()?;
    let is_idle = state
        .incidents
        .iter()
        .all(|(_, i)| !i.phase.is_unmitigated())
        && state.notices.is_idle();
    if is_idle || desired.oncall.channels.is_empty() {
        return state.notices.silences().map(|(_, s)| s.until_ms).min();
    }
    let topology = crate::incidents::topology(desired);
    let cases = cases(&state.incidents, &state.notices, &topology);
    state.notices.next_due_ms(&desired.oncall, &cases)
}

pub(crate) fn outcome(outcome: &Outcome) -> NoticeOutcome {
    match outcome {
        Outcome::Done { .. } => NoticeOutcome::Said,
        Outcome::Failed { .. } => NoticeOutcome::Refused,
        Outcome::Unknown { .. } => NoticeOutcome::Unknown,
    }
}

/// What somebody asked.
pub(crate) fn asked(
    state: &State,
    now_ms: u64,
    command: &Command,
    ask: &NoticeAsk,
) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::IncidentManage)?;
    let event = match ask {
        NoticeAsk::Silence { matchers, lasts_ms } => {
            if matchers.is_empty() || matchers.len() > MATCHERS_MAX {
                return Err(Refusal::Silence("it has from 1 to 20 matchers"));
            }
            if matchers.iter().any(|m| m.value.is_empty() && !m.differs) {
                let why =
                    "a matcher without a value fits whatever has no such label; give the value";
                return Err(Refusal::Silence(why));
            }
            if matchers.iter().any(|m| m.value.starts_with('~')) {
                let why =
                    "values are compared whole, not by patterns; write NAME=VALUE or NAME!=VALUE";
                return Err(Refusal::Silence(why));
            }
            if *lasts_ms == 0 || *lasts_ms > SILENCE_MS_MAX {
                return Err(Refusal::Silence("it lasts for some time, 30 days at most"));
            }
            NoticeEvent::SilenceSet {
                silence: state.notices.next_silence(),
                set: Silence {
                    matchers: matchers.clone(),
                    until_ms: now_ms.saturating_add(*lasts_ms),
                    by: name_of(&by),
                    reason: command.reason.clone(),
                },
            }
        }
        NoticeAsk::EndSilence { silence } => {
            if state.notices.silence(*silence).is_none() {
                return Err(Refusal::NoSuchSilence(*silence));
            }
            NoticeEvent::SilenceEnded {
                silence: *silence,
                why: alloc::format!("{} ended it: {}", name_of(&by), command.reason),
            }
        }
    };
    Ok(vec![Event::Notice(event)])
}

fn name_of(by: &By) -> String {
    match (&by.operator, &by.actor.user) {
        (Some(operator), _) => operator.to_string(),
        (None, Some(user)) => user.clone(),
        (None, None) => alloc::format!("uid {}", by.actor.uid),
    }
}

/// What became of a command, in words.
pub(crate) fn told(event: &NoticeEvent) -> String {
    match event {
        NoticeEvent::SilenceSet { silence, .. } => alloc::format!("silence s{silence} is set"),
        NoticeEvent::SilenceEnded { silence, .. } => alloc::format!("silence s{silence} is ended"),
        NoticeEvent::Escalated { .. } | NoticeEvent::Exhausted { .. } | NoticeEvent::Ordered(_) => {
            String::new()
        }
    }
}
