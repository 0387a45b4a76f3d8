//! Incidents as stored, sent and shown.

use mainstay_incident::{
    Action, Ask, Became, By, Change, Event as IncidentEvent, Incident, IncidentId, Incidents,
    Lesson, PageDigest, Person, Phase, Review, Role, Severity, Signature,
};
use mainstay_kernel::Event;
use mainstay_notify::Notices;
use mainstay_record::event::{ActorRecord, EventBody};
use mainstay_record::incident::{
    IncidentActionAddedBody, IncidentActionDoneBody, IncidentAskRecord, IncidentAssignedBody,
    IncidentBody, IncidentJoinedBody, IncidentLearnedBody, IncidentLinkedBody, IncidentMergedBody,
    IncidentOpenedBody, IncidentResolvedBody, IncidentSeverityBody, IncidentSignedBody,
    IncidentSummary, IncidentView, StandingView,
};
use mainstay_units::Position;

use super::ReadError;
use super::notices::notice_of;

fn by_record(by: &By) -> Option<ActorRecord> {
    match by {
        By::Mainstay => None,
        By::Person(person) => Some(ActorRecord {
            uid: person.uid,
            user: person.user.clone(),
            operator: person.operator.clone(),
        }),
    }
}

fn by_of(record: Option<ActorRecord>) -> By {
    record.map_or(By::Mainstay, |actor| {
        By::Person(Person {
            uid: actor.uid,
            user: actor.user,
            operator: actor.operator,
        })
    })
}

fn texts<'a, T: ToString + 'a, C: FromIterator<String>>(
    parts: impl IntoIterator<Item = &'a T>,
) -> C {
    parts.into_iter().map(ToString::to_string).collect()
}

fn positions(evidence: &[Position]) -> Vec<u64> {
    evidence.iter().map(|position| position.0).collect()
}

pub(super) fn incident_body(event: &Event) -> Option<EventBody> {
    let Event::Incident(event) = event else {
        return None;
    };
    let (incident, by) = (event.incident.to_string(), by_record(&event.by));
    let reason = event.reason.clone();
    let plain = || IncidentBody {
        incident: incident.clone(),
        by: by.clone(),
        reason: reason.clone(),
    };
    Some(match &event.change {
        Change::Acknowledged => EventBody::IncidentAcknowledged(plain()),
        Change::Noted => EventBody::IncidentNoted(plain()),
        Change::Mitigated => EventBody::IncidentMitigated(plain()),
        Change::Reopened => EventBody::IncidentReopened(plain()),
        Change::Opened { .. } | Change::Joined { .. } => grown_body(event)?,
        Change::Learned(_)
        | Change::ActionAdded(_)
        | Change::ActionDone { .. }
        | Change::Signed { .. } => review_body(event)?,
        Change::SeverityChanged { severity } => EventBody::IncidentSeverity(IncidentSeverityBody {
            incident,
            severity: severity.to_string(),
            by,
            reason,
        }),
        Change::Assigned { role, to, from } => EventBody::IncidentAssigned(IncidentAssignedBody {
            incident,
            role: role.as_str().to_owned(),
            to: to.clone(),
            from: from.clone(),
            by,
            reason,
        }),
        Change::Linked { link } => EventBody::IncidentLinked(IncidentLinkedBody {
            incident,
            link: link.clone(),
            by,
            reason,
        }),
        Change::Resolved { standing } => EventBody::IncidentResolved(IncidentResolvedBody {
            incident,
            standing: texts(standing),
            by,
            reason,
        }),
        Change::Merged { into } => EventBody::IncidentMerged(IncidentMergedBody {
            incident,
            into: into.to_string(),
            by,
            reason,
        }),
    })
}

/// What is said and decided when one looks back.
fn review_body(event: &IncidentEvent) -> Option<EventBody> {
    let (incident, by) = (event.incident.to_string(), by_record(&event.by));
    let reason = event.reason.clone();
    Some(match &event.change {
        Change::Learned(lesson) => EventBody::IncidentLearned(IncidentLearnedBody {
            incident,
            lesson: lesson.as_str().to_owned(),
            by,
            reason,
        }),
        Change::ActionAdded(action) => EventBody::IncidentActionAdded(IncidentActionAddedBody {
            incident,
            action: action.number,
            owner: action.owner.clone(),
            due: action.due.to_string(),
            by,
            reason,
        }),
        Change::Signed { signature, page } => EventBody::IncidentSigned(IncidentSignedBody {
            incident,
            signature: signature.as_str().to_owned(),
            page: page.to_string(),
            by,
            reason,
        }),
        Change::ActionDone { number, became } => {
            EventBody::IncidentActionDone(IncidentActionDoneBody {
                incident,
                action: *number,
                became: became.clone(),
                by,
                reason,
            })
        }
        _ => return None,
    })
}

/// What an incident begins with, and what comes to it.
fn grown_body(event: &IncidentEvent) -> Option<EventBody> {
    let (incident, by) = (event.incident.to_string(), by_record(&event.by));
    let reason = event.reason.clone();
    Some(match &event.change {
        Change::Opened {
            title,
            severity,
            conditions,
            things,
            evidence,
            follows,
        } => EventBody::IncidentOpened(IncidentOpenedBody {
            incident,
            title: title.clone(),
            severity: severity.to_string(),
            conditions: texts(conditions),
            things: texts(things),
            evidence: positions(evidence),
            follows: follows.map(|id| id.to_string()),
            by,
            reason,
        }),
        Change::Joined {
            conditions,
            things,
            evidence,
        } => EventBody::IncidentJoined(IncidentJoinedBody {
            incident,
            conditions: texts(conditions),
            things: texts(things),
            evidence: positions(evidence),
            by,
            reason,
        }),
        _ => return None,
    })
}

fn id_of(text: &str) -> Result<IncidentId, ReadError> {
    text.parse().map_err(|_| ReadError::Form("incident"))
}

fn severity_of(text: &str) -> Result<Severity, ReadError> {
    Severity::parse(text).ok_or(ReadError::Form("severity"))
}

fn role_of(text: &str) -> Result<Role, ReadError> {
    Role::parse(text).ok_or(ReadError::Form("role"))
}

fn lesson_of(text: &str) -> Result<Lesson, ReadError> {
    Lesson::parse(text).ok_or(ReadError::Form("lesson"))
}

fn day_of(text: &str) -> Result<mainstay_incident::Day, ReadError> {
    text.parse().map_err(|_| ReadError::Form("day"))
}

fn parts_of<T: std::str::FromStr, C: FromIterator<T>>(
    texts: impl IntoIterator<Item = String>,
    what: &'static str,
) -> Result<C, ReadError> {
    let parts = texts.into_iter();
    parts
        .map(|text| text.parse().map_err(|_| ReadError::Form(what)))
        .collect()
}

fn evidence_of(positions: Vec<u64>) -> Vec<Position> {
    positions.into_iter().map(Position).collect()
}

/// Every body that is one of an incident, or of a notice about one.
pub(super) fn incident_of(body: EventBody) -> Result<Event, ReadError> {
    let plain = |body: IncidentBody, change| (body.incident, body.by, body.reason, change);
    let (incident, by, reason, change) = match body {
        EventBody::IncidentOpened(body) => {
            let change = Change::Opened {
                title: body.title,
                severity: severity_of(&body.severity)?,
                conditions: parts_of(body.conditions, "condition")?,
                things: parts_of(body.things, "thing")?,
                evidence: evidence_of(body.evidence),
                follows: body.follows.as_deref().map(id_of).transpose()?,
            };
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentJoined(body) => {
            let change = Change::Joined {
                conditions: parts_of(body.conditions, "condition")?,
                things: parts_of(body.things, "thing")?,
                evidence: evidence_of(body.evidence),
            };
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentSeverity(body) => {
            let severity = severity_of(&body.severity)?;
            let change = Change::SeverityChanged { severity };
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentAssigned(body) => {
            let change = Change::Assigned {
                role: role_of(&body.role)?,
                to: body.to,
                from: body.from,
            };
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentLinked(body) => {
            let change = Change::Linked { link: body.link };
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentResolved(body) => {
            let standing = parts_of(body.standing, "condition")?;
            (
                body.incident,
                body.by,
                body.reason,
                Change::Resolved { standing },
            )
        }
        EventBody::IncidentMerged(body) => {
            let into = id_of(&body.into)?;
            (body.incident, body.by, body.reason, Change::Merged { into })
        }
        EventBody::IncidentAcknowledged(body) => plain(body, Change::Acknowledged),
        EventBody::IncidentNoted(body) => plain(body, Change::Noted),
        body @ (EventBody::IncidentLearned(_)
        | EventBody::IncidentActionAdded(_)
        | EventBody::IncidentActionDone(_)
        | EventBody::IncidentSigned(_)) => review_of(body)?,
        EventBody::IncidentMitigated(body) => plain(body, Change::Mitigated),
        EventBody::IncidentReopened(body) => plain(body, Change::Reopened),
        other => return notice_of(other),
    };
    Ok(Event::Incident(IncidentEvent {
        incident: id_of(&incident)?,
        by: by_of(by),
        reason,
        change,
    }))
}

/// Incident, by whom, the reason, and what changed.
type Reviewed = (String, Option<ActorRecord>, String, Change);

fn review_of(body: EventBody) -> Result<Reviewed, ReadError> {
    Ok(match body {
        EventBody::IncidentLearned(body) => {
            let change = Change::Learned(lesson_of(&body.lesson)?);
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentActionAdded(body) => {
            let change = Change::ActionAdded(Action {
                number: body.action,
                owner: body.owner,
                due: day_of(&body.due)?,
            });
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentActionDone(body) => {
            let change = Change::ActionDone {
                number: body.action,
                became: body.became,
            };
            (body.incident, body.by, body.reason, change)
        }
        EventBody::IncidentSigned(body) => {
            let change = Change::Signed {
                signature: signature_of(&body.signature)?,
                page: page_of(&body.page)?,
            };
            (body.incident, body.by, body.reason, change)
        }
        _ => return Err(ReadError::Form("review")),
    })
}

fn review_record(incident: String, review: &Review) -> IncidentAskRecord {
    match review {
        Review::Learn(lesson) => IncidentAskRecord::Learn {
            incident,
            lesson: lesson.as_str().to_owned(),
        },
        Review::AddAction { owner, due } => IncidentAskRecord::AddAction {
            incident,
            owner: owner.clone(),
            due: due.to_string(),
        },
        Review::FinishAction { number, became } => IncidentAskRecord::FinishAction {
            incident,
            action: *number,
            became: became.as_ref().map(ToString::to_string),
        },
        Review::Sign { signature, page } => IncidentAskRecord::Sign {
            incident,
            signature: signature.as_str().to_owned(),
            page: page.to_string(),
        },
    }
}

fn became_of(text: &str) -> Result<Became, ReadError> {
    text.parse()
        .map_err(|_| ReadError::Form("what an action became"))
}

fn signature_of(text: &str) -> Result<Signature, ReadError> {
    Signature::parse(text).ok_or(ReadError::Form("signature"))
}

fn page_of(text: &str) -> Result<PageDigest, ReadError> {
    text.parse().map_err(|_| ReadError::Form("page"))
}

pub(super) fn incident_ask_record(ask: &Ask) -> IncidentAskRecord {
    let text = |id: &IncidentId| id.to_string();
    match ask {
        Ask::Open {
            title,
            severity,
            about,
        } => IncidentAskRecord::Open {
            title: title.clone(),
            severity: severity.to_string(),
            about: texts(about),
        },
        Ask::Acknowledge(id) => IncidentAskRecord::Acknowledge { incident: text(id) },
        Ask::Assign { incident, role, to } => IncidentAskRecord::Assign {
            incident: text(incident),
            role: role.as_str().to_owned(),
            to: to.clone(),
        },
        Ask::Rate { incident, severity } => IncidentAskRecord::Severity {
            incident: text(incident),
            severity: severity.to_string(),
        },
        Ask::Note(id) => IncidentAskRecord::Note { incident: text(id) },
        Ask::Review { incident, review } => review_record(text(incident), review),
        Ask::Link { incident, link } => IncidentAskRecord::Link {
            incident: text(incident),
            link: link.clone(),
        },
        Ask::Merge { incident, into } => IncidentAskRecord::Merge {
            incident: text(incident),
            into: text(into),
        },
        Ask::Mitigate(id) => IncidentAskRecord::Mitigate { incident: text(id) },
        Ask::Resolve { incident, despite } => IncidentAskRecord::Resolve {
            incident: text(incident),
            despite: *despite,
        },
        Ask::Reopen(id) => IncidentAskRecord::Reopen { incident: text(id) },
    }
}

/// # Errors
/// When a number, a severity, a role or a part of a platform in it is none.
pub fn incident_ask_of(record: IncidentAskRecord) -> Result<Ask, ReadError> {
    Ok(match record {
        IncidentAskRecord::Open {
            title,
            severity,
            about,
        } => Ask::Open {
            title,
            severity: severity_of(&severity)?,
            about: parts_of(about, "thing")?,
        },
        IncidentAskRecord::Acknowledge { incident } => Ask::Acknowledge(id_of(&incident)?),
        IncidentAskRecord::Assign { incident, role, to } => Ask::Assign {
            incident: id_of(&incident)?,
            role: role_of(&role)?,
            to,
        },
        IncidentAskRecord::Severity { incident, severity } => Ask::Rate {
            incident: id_of(&incident)?,
            severity: severity_of(&severity)?,
        },
        IncidentAskRecord::Note { incident } => Ask::Note(id_of(&incident)?),
        IncidentAskRecord::Learn { incident, lesson } => Ask::Review {
            incident: id_of(&incident)?,
            review: Review::Learn(lesson_of(&lesson)?),
        },
        IncidentAskRecord::Sign {
            incident,
            signature,
            page,
        } => signing(&incident, &signature, &page)?,
        IncidentAskRecord::AddAction {
            incident,
            owner,
            due,
        } => Ask::Review {
            incident: id_of(&incident)?,
            review: Review::AddAction {
                owner,
                due: day_of(&due)?,
            },
        },
        IncidentAskRecord::FinishAction {
            incident,
            action,
            became,
        } => Ask::Review {
            incident: id_of(&incident)?,
            review: Review::FinishAction {
                number: action,
                became: became.as_deref().map(became_of).transpose()?,
            },
        },
        IncidentAskRecord::Link { incident, link } => Ask::Link {
            incident: id_of(&incident)?,
            link,
        },
        IncidentAskRecord::Merge { incident, into } => Ask::Merge {
            incident: id_of(&incident)?,
            into: id_of(&into)?,
        },
        IncidentAskRecord::Mitigate { incident } => Ask::Mitigate(id_of(&incident)?),
        IncidentAskRecord::Resolve { incident, despite } => Ask::Resolve {
            incident: id_of(&incident)?,
            despite,
        },
        IncidentAskRecord::Reopen { incident } => Ask::Reopen(id_of(&incident)?),
    })
}

fn signing(incident: &str, signature: &str, page: &str) -> Result<Ask, ReadError> {
    Ok(Ask::Review {
        incident: id_of(incident)?,
        review: Review::Sign {
            signature: signature_of(signature)?,
            page: page_of(page)?,
        },
    })
}

/// In short, those that are not over.
pub fn incident_summaries(incidents: &Incidents, notices: &Notices) -> Vec<IncidentSummary> {
    let active = incidents
        .iter()
        .filter(|(_, incident)| incident.phase.is_active());
    active
        .map(|(id, incident)| IncidentSummary {
            incident: id.to_string(),
            title: incident.title.clone(),
            severity: incident.severity.to_string(),
            state: incident.phase.as_str().to_owned(),
            opened_ms: incident.opened_ms,
            owner: incident.roles.get(&Role::Owner).cloned(),
            standing: u32::try_from(incidents.standing_of(id).count()).unwrap_or(u32::MAX),
            unreached: incident.phase == Phase::Open
                && notices.unreached(&id.to_string()).is_some(),
        })
        .collect()
}

/// For people and programs.
pub fn incident_view(incidents: &Incidents, id: IncidentId, incident: &Incident) -> IncidentView {
    let standing = incidents
        .standing_of(id)
        .map(|(condition, standing)| StandingView {
            condition: condition.to_string(),
            title: standing.title.clone(),
            severity: standing.severity.to_string(),
            since_ms: standing.since_ms,
            missing: standing.is_missing(),
        });
    let roles = incident.roles.iter();
    let acknowledged = incident.acknowledged.as_ref();
    let mitigated = incident.mitigated.as_ref();
    IncidentView {
        incident: id.to_string(),
        title: incident.title.clone(),
        severity: incident.severity.to_string(),
        state: incident.phase.as_str().to_owned(),
        opened_ms: incident.opened_ms,
        opened_by: incident.opened_by.to_string(),
        acknowledged_ms: acknowledged.map(|(at_ms, _)| *at_ms),
        acknowledged_by: acknowledged.map(|(_, by)| by.clone()),
        mitigated_ms: mitigated.map(|mitigated| mitigated.at_ms),
        mitigated_because: mitigated.map(|mitigated| mitigated.why.clone()),
        resolved_ms: incident.resolved_ms,
        merged_into: match incident.phase {
            Phase::Merged(into) => Some(into.to_string()),
            Phase::Open | Phase::Acknowledged | Phase::Mitigated | Phase::Resolved => None,
        },
        follows: incident.follows.map(|id| id.to_string()),
        roles: roles
            .map(|(role, who)| (role.as_str().to_owned(), who.clone()))
            .collect(),
        things: texts(incident.things.keys()),
        standing: standing.collect(),
        links: incident.links.clone(),
        absorbed: texts(&incident.absorbed),
        last_ms: incident.last_ms,
        timeline: positions(&incident.timeline),
        untold: incident.untold,
    }
}
