//! Notices, silences and ladders as stored, sent and shown.

use mainstay_kernel::{Event, NoticeAsk};
use mainstay_notify::{
    Addressee, Event as NoticeEvent, Kind, Level, Matcher, Notice, Override, Policy, Rotation,
    Settings, Severity, Silence, Target, Turn,
};
use mainstay_record::event::EventBody;
use mainstay_record::notice::{
    AddresseeRecord, LevelRecord, NoticeAskRecord, NoticeEscalatedBody, NoticeExhaustedBody,
    NoticeOrderedBody, OncallRecord, OverrideRecord, PolicyRecord, RotationRecord,
    SilenceEndedBody, SilenceSetBody,
};

use super::ReadError;

fn addressee_record(to: &Addressee) -> AddresseeRecord {
    AddresseeRecord {
        channel: to.channel.clone(),
        who: to.who.clone(),
    }
}

fn addressee_of(record: AddresseeRecord) -> Addressee {
    Addressee {
        channel: record.channel,
        who: record.who,
    }
}

fn severity_of(text: &str) -> Result<Severity, ReadError> {
    Severity::parse(text).ok_or(ReadError::Form("severity"))
}

fn matchers_of(texts: &[String]) -> Result<Vec<Matcher>, ReadError> {
    let matchers = texts.iter().map(|text| Matcher::parse(text));
    matchers
        .collect::<Option<_>>()
        .ok_or(ReadError::Form("matcher"))
}

pub(super) fn notice_body(event: &Event) -> Option<EventBody> {
    let Event::Notice(event) = event else {
        return None;
    };
    Some(match event {
        NoticeEvent::Escalated {
            incident,
            policy,
            level,
            round,
            tell,
            until_ms,
            why,
        } => EventBody::NoticeEscalated(NoticeEscalatedBody {
            incident: incident.clone(),
            policy: policy.clone(),
            level: *level,
            round: *round,
            tell: tell.iter().map(addressee_record).collect(),
            until_ms: *until_ms,
            why: why.clone(),
        }),
        NoticeEvent::Exhausted { incident, why } => {
            EventBody::NoticeExhausted(NoticeExhaustedBody {
                incident: incident.clone(),
                why: why.clone(),
            })
        }
        NoticeEvent::Ordered(notice) => EventBody::NoticeOrdered(NoticeOrderedBody {
            notice: notice.number,
            attempt: notice.attempt,
            incident: notice.incident.clone(),
            kind: notice.kind.as_str().to_owned(),
            to: addressee_record(&notice.to),
            severity: notice.severity.as_str().to_owned(),
            title: notice.title.clone(),
            text: notice.text.clone(),
            things: notice.things.clone(),
            open_ms: notice.open_ms,
        }),
        NoticeEvent::SilenceSet { silence, set } => EventBody::SilenceSet(SilenceSetBody {
            silence: *silence,
            matchers: set.matchers.iter().map(ToString::to_string).collect(),
            until_ms: set.until_ms,
            by: set.by.clone(),
            reason: set.reason.clone(),
        }),
        NoticeEvent::SilenceEnded { silence, why } => EventBody::SilenceEnded(SilenceEndedBody {
            silence: *silence,
            why: why.clone(),
        }),
    })
}

/// Nothing for a body of another subject.
pub(super) fn notice_of(body: EventBody) -> Result<Event, ReadError> {
    Ok(Event::Notice(match body {
        EventBody::NoticeEscalated(body) => NoticeEvent::Escalated {
            incident: body.incident,
            policy: body.policy,
            level: body.level,
            round: body.round,
            tell: body.tell.into_iter().map(addressee_of).collect(),
            until_ms: body.until_ms,
            why: body.why,
        },
        EventBody::NoticeExhausted(body) => NoticeEvent::Exhausted {
            incident: body.incident,
            why: body.why,
        },
        EventBody::NoticeOrdered(body) => NoticeEvent::Ordered(Notice {
            number: body.notice,
            attempt: body.attempt,
            incident: body.incident,
            kind: Kind::parse(&body.kind).ok_or(ReadError::Form("kind of notice"))?,
            to: addressee_of(body.to),
            severity: severity_of(&body.severity)?,
            title: body.title,
            text: body.text,
            things: body.things,
            open_ms: body.open_ms,
        }),
        EventBody::SilenceSet(body) => NoticeEvent::SilenceSet {
            silence: body.silence,
            set: Silence {
                matchers: matchers_of(&body.matchers)?,
                until_ms: body.until_ms,
                by: body.by,
                reason: body.reason,
            },
        },
        EventBody::SilenceEnded(body) => NoticeEvent::SilenceEnded {
            silence: body.silence,
            why: body.why,
        },
        _ => return Err(ReadError::Form("body of a notice")),
    }))
}

pub(super) fn notice_ask_record(ask: &NoticeAsk) -> NoticeAskRecord {
    match ask {
        NoticeAsk::Silence { matchers, lasts_ms } => NoticeAskRecord::Silence {
            matchers: matchers.iter().map(ToString::to_string).collect(),
            lasts_ms: *lasts_ms,
        },
        NoticeAsk::EndSilence { silence } => NoticeAskRecord::EndSilence { silence: *silence },
    }
}

/// # Errors
/// When a matcher in it is none.
pub fn notice_ask_of(record: NoticeAskRecord) -> Result<NoticeAsk, ReadError> {
    Ok(match record {
        NoticeAskRecord::Silence { matchers, lasts_ms } => NoticeAsk::Silence {
            matchers: matchers_of(&matchers)?,
            lasts_ms,
        },
        NoticeAskRecord::EndSilence { silence } => NoticeAsk::EndSilence { silence },
    })
}

pub(super) fn oncall_record(settings: &Settings) -> OncallRecord {
    let rotations = settings.rotations.iter().map(|(name, rotation)| {
        let overrides = rotation.overrides.iter().map(|stand_in| OverrideRecord {
            who: stand_in.who.clone(),
            from_ms: stand_in.from_ms,
            to_ms: stand_in.to_ms,
        });
        let record = RotationRecord {
            members: rotation.members.clone(),
            weekday: match rotation.turn {
                Turn::Daily => None,
                Turn::Weekly(day) => Some(day),
            },
            handover_minutes: rotation.handover_minutes,
            offset_minutes: rotation.offset_minutes,
            starts_ms: rotation.starts_ms,
            overrides: overrides.collect(),
        };
        (name.clone(), record)
    });
    let policies = settings.policies.iter().map(|policy| PolicyRecord {
        name: policy.name.clone(),
        severity: policy.severity.as_str().to_owned(),
        about: policy.about.clone(),
        levels: policy
            .levels
            .iter()
            .map(|level| LevelRecord {
                tell: level.tell.iter().map(target_text).collect(),
                within_ms: level.within_ms,
            })
            .collect(),
        rounds: policy.rounds,
    });
    OncallRecord {
        rotations: rotations.collect(),
        contacts: settings.contacts.clone(),
        policies: policies.collect(),
        channels: settings.channels.clone(),
        wait_ms: settings.wait_ms,
        remind_ms: settings.remind_ms,
    }
}

fn target_text(target: &Target) -> String {
    match target {
        Target::Rotation(name) => format!("rotation/{name}"),
        Target::Operator(name) => format!("operator/{name}"),
        Target::Channel(name) => format!("channel/{name}"),
    }
}

fn target_of(text: &str) -> Result<Target, ReadError> {
    match text.split_once('/') {
        Some(("rotation", name)) => Ok(Target::Rotation(name.to_owned())),
        Some(("operator", name)) => Ok(Target::Operator(name.to_owned())),
        Some(("channel", name)) => Ok(Target::Channel(name.to_owned())),
        _ => Err(ReadError::Form("somebody to tell")),
    }
}

pub(super) fn oncall_of(record: OncallRecord) -> Result<Settings, ReadError> {
    let rotations = record.rotations.into_iter().map(|(name, rotation)| {
        let overrides = rotation.overrides.into_iter().map(|stand_in| Override {
            who: stand_in.who,
            from_ms: stand_in.from_ms,
            to_ms: stand_in.to_ms,
        });
        let turns = Rotation {
            members: rotation.members,
            turn: rotation.weekday.map_or(Turn::Daily, Turn::Weekly),
            handover_minutes: rotation.handover_minutes,
            offset_minutes: rotation.offset_minutes,
            starts_ms: rotation.starts_ms,
            overrides: overrides.collect(),
        };
        (name, turns)
    });
    let level = |level: LevelRecord| {
        Ok(Level {
            tell: level
                .tell
                .iter()
                .map(|text| target_of(text))
                .collect::<Result<_, ReadError>>()?,
            within_ms: level.within_ms,
        })
    };
    let policies = record.policies.into_iter().map(|policy| {
        Ok(Policy {
            severity: severity_of(&policy.severity)?,
            name: policy.name,
            about: policy.about,
            levels: policy
                .levels
                .into_iter()
                .map(level)
                .collect::<Result<_, ReadError>>()?,
            rounds: policy.rounds,
        })
    });
    Ok(Settings {
        rotations: rotations.collect(),
        contacts: record.contacts,
        policies: policies.collect::<Result<_, ReadError>>()?,
        channels: record.channels,
        wait_ms: record.wait_ms,
        remind_ms: record.remind_ms,
    })
}
