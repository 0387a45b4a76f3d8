//! Incidents for programs, over the node's socket.
//!
//! | request                         | body                                | answer |
//! |---------------------------------|-------------------------------------|--------|
//! | `GET /v1/incidents`             |                                     | every one that is kept, the oldest first |
//! | `GET /v1/incidents/ID`          |                                     | one, with the journal entries of its timeline |
//! | `POST /v1/incidents`            | `title`, `severity`, `about`, `reason` | what became of it, as of any command |
//! | `POST /v1/incidents/ID/VERB`    | what the verb needs, and `reason`   | the same |
//!
//! Verbs: `acknowledge`, `assign` (`role`, `to`), `severity` (`severity`), `note` (the reason is the note), `link`
//! (`link`), `merge` (`into`), `mitigate`, `resolve` (`despite`), `reopen`; and of looking back `learn` (`lesson`),
//! `add_action` (`owner`, `due`), `finish_action` (`action`, `became`), whose reason is what is said.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use mainstay_incident::IncidentId;
use mainstay_record::incident::{
    IncidentAnswer, IncidentAskRecord, IncidentEntry, IncidentSummary, IncidentsAnswer,
};
use mainstay_record::node::{Command, CommandRequest, VERSION};
use mainstay_rt::error::chain;
use mainstay_rt::http::{self as api};
use mainstay_storage::{Place, read_entries};
use mainstay_units::Position;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::deputy::Deputy;
use crate::events::{incident_summaries, incident_view};

pub const PATH: &str = "/v1/incidents";
pub const BELOW: &str = "/v1/incidents/";

/// Those that are not over; nothing while the journal is not read.
pub fn summaries(deputy: &Deputy) -> Vec<IncidentSummary> {
    let view = deputy.view.borrow();
    let state = view.state.as_ref();
    state.map_or_else(Vec::new, |state| {
        incident_summaries(&state.incidents, &state.notices)
    })
}

/// Answers a GET.
pub async fn read(deputy: &Deputy, path: &str) -> api::Answer {
    let Some(state) = deputy.view.borrow().state.clone() else {
        return deaf();
    };
    let incidents = &state.incidents;
    let Some(name) = path.strip_prefix(BELOW) else {
        let all = incidents.iter();
        let answer = IncidentsAnswer {
            version: VERSION,
            ever: incidents.ever(),
            incidents: all
                .map(|(id, incident)| incident_view(incidents, id, incident))
                .collect(),
        };
        return api::json(StatusCode::OK, &answer);
    };
    let id: IncidentId = match name.parse() {
        Ok(id) => id,
        Err(error) => return wrong(&chain(&error)),
    };
    let Some(incident) = incidents.get(id) else {
        return api::error(
            StatusCode::NOT_FOUND,
            "no_such_incident",
            &format!("there is no incident {id}, or it has been over for long"),
            "GET /v1/incidents lists those that are kept; the journal tells of all",
        );
    };
    let timeline = incident.timeline.clone();
    let journal = deputy.journal.clone();
    // Reading may take a moment, and everybody else waits on this thread.
    let read = tokio::task::spawn_blocking(move || entries(&journal, &timeline)).await;
    match read {
        Ok(Ok(entries)) => {
            let answer = IncidentAnswer {
                version: VERSION,
                incident: incident_view(incidents, id, incident),
                entries,
            };
            api::json(StatusCode::OK, &answer)
        }
        Ok(Err(why)) => unreadable(&why),
        Err(error) => unreadable(&chain(&error)),
    }
}

/// What the journal says at these positions, which are in order.
fn entries(journal: &Place, timeline: &[Position]) -> Result<Vec<IncidentEntry>, String> {
    let (Some(first), Some(last)) = (timeline.first(), timeline.last()) else {
        return Ok(Vec::new());
    };
    let wanted: BTreeSet<Position> = timeline.iter().copied().collect();
    let mut found = Vec::with_capacity(timeline.len());
    for entry in read_entries(journal, *first).map_err(|error| chain(&error))? {
        let (position, entry) = entry.map_err(|error| chain(&error))?;
        if position > *last {
            break;
        }
        if wanted.contains(&position) {
            found.push(IncidentEntry {
                position: position.0,
                entry: RawValue::from_string(entry.as_str().to_owned())
                    .map_err(|error| chain(&error))?,
            });
        }
    }
    Ok(found)
}

/// The command that a POST means; or why it means none.
pub fn request(method: &Method, path: &str, body: &[u8]) -> Result<CommandRequest, String> {
    if *method != Method::POST {
        return Err("incidents are read by GET and changed by POST".to_owned());
    }
    let body: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let Value::Object(mut fields) = body else {
        return Err("the body is one JSON object".to_owned());
    };
    let Some(Value::String(reason)) = fields.remove("reason") else {
        return Err("\"reason\" is missing: it is journalled with the change".to_owned());
    };
    let verb = match path.strip_prefix(BELOW).map(|rest| rest.split_once('/')) {
        None => "open",
        Some(Some((id, verb))) if !verb.contains('/') && verb != "open" => {
            let id: IncidentId = id
                .parse()
                .map_err(|error: mainstay_incident::ParseIdError| chain(&error))?;
            fields.insert("incident".to_owned(), json!(id.to_string()));
            verb
        }
        Some(_) => return Err("expected /v1/incidents/ID/VERB".to_owned()),
    };
    let ask: IncidentAskRecord =
        serde_json::from_value(json!({ verb: fields })).map_err(|error| error.to_string())?;
    if let Some(why) = fault(&ask) {
        return Err(why);
    }
    Ok(CommandRequest {
        command: Command::Incident(ask),
        reason,
        overrides: BTreeSet::new(),
    })
}

/// What cannot be meant, in words.
fn fault(ask: &IncidentAskRecord) -> Option<String> {
    use mainstay_incident::{Day, Lesson, PageDigest, Role, Severity, Signature, Thing};
    let severity_fault = |text: &String| {
        let known = Severity::ALL.map(Severity::as_str).join(", ");
        let is_none = Severity::parse(text).is_none();
        is_none.then(|| format!("{text:?} is no severity: there are {known}"))
    };
    match ask {
        IncidentAskRecord::Open {
            severity, about, ..
        } => severity_fault(severity).or_else(|| {
            let mut things = about.iter().map(|text| text.parse::<Thing>());
            things.find_map(Result::err).map(|error| chain(&error))
        }),
        IncidentAskRecord::Severity { severity, .. } => severity_fault(severity),
        IncidentAskRecord::Assign { role, .. } => {
            let known = Role::ALL.map(Role::as_str).join(", ");
            let is_none = Role::parse(role).is_none();
            is_none.then(|| format!("{role:?} is no role: there are {known}"))
        }
        IncidentAskRecord::Merge { into, .. } => {
            let id: Result<IncidentId, _> = into.parse();
            id.err().map(|error| chain(&error))
        }
        IncidentAskRecord::Learn { lesson, .. } => {
            let known = Lesson::ALL.map(Lesson::as_str).join(", ");
            let is_none = Lesson::parse(lesson).is_none();
            is_none.then(|| format!("{lesson:?} is no lesson: there are {known}"))
        }
        IncidentAskRecord::Sign {
            signature, page, ..
        } => {
            let known = Signature::ALL.map(Signature::as_str).join(", ");
            let is_none = Signature::parse(signature).is_none();
            let fault =
                is_none.then(|| format!("{signature:?} is no signature: there are {known}"));
            let digest: Result<PageDigest, _> = page.parse();
            fault.or_else(|| digest.err().map(|error| chain(&error)))
        }
        IncidentAskRecord::AddAction { due, .. } => {
            let day: Result<Day, _> = due.parse();
            day.err().map(|error| chain(&error))
        }
        IncidentAskRecord::FinishAction { became, .. } => {
            let became = became.as_deref()?.parse::<mainstay_incident::Became>();
            became.err().map(|error| chain(&error))
        }
        IncidentAskRecord::Acknowledge { .. }
        | IncidentAskRecord::Note { .. }
        | IncidentAskRecord::Link { .. }
        | IncidentAskRecord::Mitigate { .. }
        | IncidentAskRecord::Resolve { .. }
        | IncidentAskRecord::Reopen { .. } => None,
    }
}

/// The answer of a node that does not know.
pub fn deaf() -> api::Answer {
    api::error(
        StatusCode::SERVICE_UNAVAILABLE,
        "deaf",
        "this node has not read the journal to its end yet",
        "ask again, or another node",
    )
}

/// The answer to what means nothing.
pub fn wrong(why: &str) -> api::Answer {
    api::error(
        StatusCode::BAD_REQUEST,
        "incident",
        why,
        "docs/incidents.md lists requests; nothing was changed",
    )
}

fn unreadable(why: &str) -> api::Answer {
    api::error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "journal",
        why,
        "`mainstay journal verify` says more",
    )
}
