//! `mainstay incident …`: what a node knows of incidents, and commands about them.

mod measured;
mod report;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use http::{Method, StatusCode};
use mainstay_derive::Layout;
use mainstay_incident::{Became, Day, IncidentId, Lesson, Role, Severity, Signature, Thing};
use mainstay_node::digest_of;
use mainstay_record::incident::{IncidentAnswer, IncidentAskRecord, IncidentView, IncidentsAnswer};
use mainstay_record::journal::EntryRecord;
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_rt::{clock, files};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::{Act, incident as arguments};
use crate::client::{ask_best, command, find};
use crate::exit::{Failure, Outcome};
use crate::journal::words;
use crate::print::{json, line, time_of_day};

const LIMIT: Duration = Duration::from_secs(10);
/// Of a report with its pictures.
const PAGE_BYTES_MAX: u64 = 64 << 20;

pub fn run(command: &arguments::Incident) -> Outcome {
    use arguments::Incident;
    match command {
        Incident::List(arguments) => list(arguments),
        Incident::Show(arguments) => show(arguments),
        Incident::Open(arguments) => open(arguments),
        Incident::Acknowledge(one) => {
            let incident = id(&one.id)?;
            send(&one.act, IncidentAskRecord::Acknowledge { incident })
        }
        Incident::Assign(arguments) => assign(arguments),
        Incident::Severity(arguments) => {
            let ask = IncidentAskRecord::Severity {
                incident: id(&arguments.id)?,
                severity: severity(&arguments.severity)?,
            };
            send(&arguments.act, ask)
        }
        Incident::Note(arguments) => note(arguments),
        Incident::Link(arguments) => {
            let ask = IncidentAskRecord::Link {
                incident: id(&arguments.id)?,
                link: arguments.link.clone(),
            };
            send(&arguments.act, ask)
        }
        Incident::Merge(arguments) => {
            let ask = IncidentAskRecord::Merge {
                incident: id(&arguments.id)?,
                into: id(&arguments.into)?,
            };
            send(&arguments.act, ask)
        }
        Incident::Mitigate(one) => {
            let incident = id(&one.id)?;
            send(&one.act, IncidentAskRecord::Mitigate { incident })
        }
        Incident::Resolve(arguments) => {
            let ask = IncidentAskRecord::Resolve {
                incident: id(&arguments.id)?,
                despite: arguments.despite,
            };
            send(&arguments.act, ask)
        }
        Incident::Sign(arguments) => sign(arguments),
        Incident::Action(action) => match action {
            arguments::Action::Add(arguments) => add(arguments),
            arguments::Action::Done(arguments) => done(arguments),
            arguments::Action::List(arguments) => report::list_actions(arguments),
        },
        Incident::Report(arguments) => report::write(arguments),
        Incident::Replay(arguments) => report::replay(arguments),
        Incident::Reopen(one) => {
            let incident = id(&one.id)?;
            send(&one.act, IncidentAskRecord::Reopen { incident })
        }
    }
}

fn send(act: &Act, ask: IncidentAskRecord) -> Outcome {
    command(act, Command::Incident(ask))
}

fn usage(what: impl std::fmt::Display) -> Failure {
    Failure::Usage(what.to_string())
}

fn id(text: &str) -> Result<String, Failure> {
    let id: IncidentId = text.parse().map_err(usage)?;
    Ok(id.to_string())
}

fn severity(text: &str) -> Result<String, Failure> {
    let known = || {
        let all = Severity::ALL.map(Severity::as_str).join(", ");
        usage(format!("{text:?} is no severity; there are {all}"))
    };
    let severity = Severity::parse(text).ok_or_else(known)?;
    Ok(severity.to_string())
}

fn open(arguments: &arguments::Open) -> Outcome {
    let about = arguments.about.iter().map(|text| {
        let thing: Thing = text.parse().map_err(usage)?;
        Ok(thing.to_string())
    });
    let ask = IncidentAskRecord::Open {
        title: arguments.title.clone(),
        severity: severity(&arguments.severity)?,
        about: about.collect::<Result<BTreeSet<_>, Failure>>()?,
    };
    send(&arguments.act, ask)
}

fn assign(arguments: &arguments::Assign) -> Outcome {
    let known = || {
        let all = Role::ALL.map(Role::as_str).join(", ");
        usage(format!("{:?} is no role; there are {all}", arguments.role))
    };
    let role = Role::parse(&arguments.role).ok_or_else(known)?;
    let ask = IncidentAskRecord::Assign {
        incident: id(&arguments.id)?,
        role: role.as_str().to_owned(),
        to: arguments.to.clone(),
    };
    send(&arguments.act, ask)
}

/// What is written down is its own reason.
fn note(arguments: &arguments::Note) -> Outcome {
    let act = Act {
        platform: arguments.platform.clone(),
        reason: arguments.text.clone(),
        json: arguments.json,
    };
    let incident = id(&arguments.id)?;
    let Some(kind) = &arguments.lesson else {
        return send(&act, IncidentAskRecord::Note { incident });
    };
    let known = || {
        let all = Lesson::ALL.map(Lesson::as_str).join(", ");
        usage(format!("--as {kind:?} is no kind of note; there are {all}"))
    };
    let lesson = Lesson::parse(kind).ok_or_else(known)?.as_str().to_owned();
    send(&act, IncidentAskRecord::Learn { incident, lesson })
}

/// What is to be done is its own reason.
fn add(arguments: &arguments::ActionAdd) -> Outcome {
    let due: Day = arguments.due.parse().map_err(usage)?;
    let act = Act {
        platform: arguments.platform.clone(),
        reason: arguments.text.clone(),
        json: arguments.json,
    };
    let ask = IncidentAskRecord::AddAction {
        incident: id(&arguments.id)?,
        owner: arguments.owner.clone(),
        due: due.to_string(),
    };
    send(&act, ask)
}

/// What is signed is the page, byte for byte.
fn sign(arguments: &arguments::Sign) -> Outcome {
    let page = files::read_limited(&arguments.page, PAGE_BYTES_MAX)
        .map_err(|error| usage(format!("{}: {error}", arguments.page.display())))?;
    let signature = match arguments.refuse {
        true => Signature::Refused,
        false => Signature::Accepted,
    };
    let ask = IncidentAskRecord::Sign {
        incident: id(&arguments.id)?,
        signature: signature.as_str().to_owned(),
        page: digest_of(&page),
    };
    send(&arguments.act, ask)
}

fn done(arguments: &arguments::ActionDone) -> Outcome {
    let named = arguments.action.split_once("/a");
    let number = named.and_then(|(_, number)| number.parse().ok());
    let (Some((incident, _)), Some(action)) = (named, number) else {
        return Err(usage(format!(
            "{:?} is no action: they are called i3/a1, i3/a2, and so on",
            arguments.action
        )));
    };
    let incident = id(incident)?;
    let ask = IncidentAskRecord::FinishAction {
        incident: incident.clone(),
        action,
        became: arguments.became.as_ref().map(ToString::to_string),
    };
    send(&arguments.act, ask)?;
    match &arguments.became {
        Some(Became::Rule(rule)) if !arguments.act.json => line(report::said_of_rule(
            &arguments.act.platform,
            &incident,
            rule,
        )),
        Some(_) | None => Ok(()),
    }
}

/// What the node that knows best answers to a GET.
pub fn get<T: serde::de::DeserializeOwned>(layout: &Layout, path: &str) -> Result<T, Failure> {
    let (status, body) = ask_best(layout, Method::GET, path, LIMIT)?;
    let text = || String::from_utf8_lossy(&body).into_owned();
    if status == StatusCode::OK {
        return serde_json::from_slice(&body)
            .with_context(|| format!("read the node's answer: {}", text()))
            .map_err(Failure::from);
    }
    if let Ok(CommandOutcome::Refused { code, why, next }) = serde_json::from_slice(&body) {
        return Err(Failure::Refused { code, why, next });
    }
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let word = |name: &str| said["error"][name].as_str().map(str::to_owned);
    match (status, word("message"), word("next")) {
        (StatusCode::NOT_FOUND, Some(message), Some(next))
            if word("code").as_deref() == Some("no_such_incident") =>
        {
            Err(Failure::Usage(format!("{message}\n  next: {next}")))
        }
        (_, Some(message), Some(next)) => Err(Failure::NoAnswer {
            what: message,
            next,
        }),
        _ => Err(Failure::NoAnswer {
            what: format!("{status}: {}", text()),
            next: "upgrade the older of the two programs".to_owned(),
        }),
    }
}

fn list(arguments: &arguments::List) -> Outcome {
    let (_, layout) = find(&arguments.look.platform)?;
    let mut answer: IncidentsAnswer = get(&layout, "/v1/incidents")?;
    let is_over =
        |incident: &IncidentView| matches!(incident.state.as_str(), "resolved" | "merged");
    if !arguments.all {
        answer.incidents.retain(|incident| !is_over(incident));
    }
    if arguments.look.json {
        json(&answer.incidents)?;
    } else {
        if answer.incidents.is_empty() {
            line("no incident")?;
        }
        let now_ms = clock::wall_ms();
        for incident in &answer.incidents {
            row(incident, now_ms)?;
        }
    }
    let waits =
        |incident: &&IncidentView| matches!(incident.state.as_str(), "open" | "acknowledged");
    match answer.incidents.iter().filter(waits).count() {
        0 => Ok(()),
        1 => Err(Failure::Finding("1 incident is not mitigated".to_owned())),
        many => Err(Failure::Finding(format!(
            "{many} incidents are not mitigated"
        ))),
    }
}

fn row(incident: &IncidentView, now_ms: u64) -> Outcome {
    let owner = incident.roles.get("owner").map_or("nobody", String::as_str);
    line(format_args!(
        "{:<5} {:<8} {:<12} {}\n      since {}, {} ago; owner {owner}; {} of it stand",
        incident.incident,
        incident.severity,
        incident.state,
        incident.title,
        time_of_day(incident.opened_ms),
        span(now_ms.saturating_sub(incident.opened_ms)),
        incident.standing.len(),
    ))
}

pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// As `--json` prints it.
#[derive(Serialize)]
struct Shown<'a> {
    incident: &'a IncidentView,
    entries: &'a [mainstay_record::incident::IncidentEntry],
}

fn show(arguments: &arguments::Show) -> Outcome {
    let (_, layout) = find(&arguments.look.platform)?;
    let path = format!("/v1/incidents/{}", id(&arguments.id)?);
    let answer: IncidentAnswer = get(&layout, &path)?;
    if arguments.look.json {
        return json(&Shown {
            incident: &answer.incident,
            entries: &answer.entries,
        });
    }
    head(&answer.incident)?;
    line("TIMELINE (UTC)")?;
    for told in &answer.entries {
        let entry: EntryRecord = serde_json::from_str(told.entry.get())
            .with_context(|| format!("entry {} is not in the form of an entry", told.position))?;
        let body: Value = serde_json::from_str(entry.body.get()).context("read an entry's body")?;
        line(format_args!(
            "{:>7}  {}  {:<21} {}",
            told.position,
            time_of_day(entry.at_ms),
            entry.kind,
            words(&body)
        ))?;
    }
    match answer.incident.untold {
        0 => Ok(()),
        more => line(format_args!(
            "         and {more} more that only the journal tells"
        )),
    }
}

fn head(incident: &IncidentView) -> Outcome {
    let now_ms = clock::wall_ms();
    line(format_args!(
        "{} {} ({}): {}",
        incident.incident, incident.state, incident.severity, incident.title
    ))?;
    line(format_args!(
        "  opened {} ago by {}",
        span(now_ms.saturating_sub(incident.opened_ms)),
        incident.opened_by
    ))?;
    if let (Some(at_ms), Some(by)) = (incident.acknowledged_ms, &incident.acknowledged_by) {
        let took = span(at_ms.saturating_sub(incident.opened_ms));
        line(format_args!(
            "  acknowledged by {by}, {took} after it was opened"
        ))?;
    }
    if let (Some(at_ms), Some(why)) = (incident.mitigated_ms, &incident.mitigated_because) {
        let took = span(at_ms.saturating_sub(incident.opened_ms));
        line(format_args!(
            "  mitigated {took} after it was opened: {why}"
        ))?;
    }
    if let Some(at_ms) = incident.resolved_ms {
        let took = span(at_ms.saturating_sub(incident.opened_ms));
        line(format_args!("  resolved {took} after it was opened"))?;
    }
    for (role, who) in &incident.roles {
        line(format_args!("  {role}: {who}"))?;
    }
    let parts = [
        ("about", incident.things.join(", ")),
        ("links", incident.links.join(", ")),
        ("took up", incident.absorbed.join(", ")),
        (
            "goes on in",
            incident.merged_into.clone().unwrap_or_default(),
        ),
        ("follows", incident.follows.clone().unwrap_or_default()),
    ];
    for (name, text) in parts.iter().filter(|(_, text)| !text.is_empty()) {
        line(format_args!("  {name}: {text}"))?;
    }
    for standing in &incident.standing {
        let missing = match standing.missing {
            true => ", not measured any more",
            false => "",
        };
        line(format_args!(
            "  stands: {} ({}, for {}{missing})",
            standing.condition,
            standing.severity,
            span(now_ms.saturating_sub(standing.since_ms))
        ))?;
    }
    Ok(())
}
