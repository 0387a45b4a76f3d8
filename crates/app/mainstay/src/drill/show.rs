//! Drills for people: what is in force, what ran, and a run from its plan to its verdict.

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_journal::Log;
use mainstay_record::drill::{
    DrillObjectiveRecord, JudgedWord, LossLimitRecord, MeasureRecord, MeasurementRecord,
    ServiceVerdictRecord, UnitWord,
};
use mainstay_record::event::EventBody;
use mainstay_record::journal::EntryRecord;
use mainstay_record::node::MachineRecord;
use mainstay_storage::{Coordination, meaning_of};

use super::tell;
use crate::arguments::Look;
use crate::arguments::drill::Show;
use crate::client::find;
use crate::exit::{Failure, Outcome};
use crate::journal::journal_of;
use crate::print::{json, line, time_of_day};

pub fn list(look: &Look) -> Outcome {
    let (_, layout) = find(&look.platform)?;
    let shown = tell::shown(&layout)?;
    if look.json {
        return json(&shown);
    }
    if shown.adopted.is_empty() {
        line("no drill is in force; `mainstay drill adopt FILE --reason …` puts one in force")?;
    }
    for adopted in &shown.adopted {
        let due = match (adopted.missed_ms, adopted.due_ms) {
            (Some(missed), _) => format!("was due {} and has not run", moment(missed)),
            (None, Some(due)) => format!("due {}", moment(due)),
            (None, None) => "no schedule".to_owned(),
        };
        let schedule = adopted.schedule.as_ref();
        let unattended = schedule.is_some_and(|schedule| schedule.starts_from.is_some());
        let starter = if unattended {
            ", started by whoever leads"
        } else {
            ""
        };
        line(format_args!(
            "{} in force (entry {}): {due}{starter}",
            adopted.name, adopted.position
        ))?;
    }
    if let Some(run) = &shown.running {
        let step = run.step.as_deref().unwrap_or("none");
        line(format_args!(
            "{} {} since {}, step {step}; ended by {} at the latest",
            run.drill,
            run.plan.name,
            time_of_day(run.since_ms),
            time_of_day(run.until_ms)
        ))?;
    }
    for ended in &shown.ended {
        line(format_args!(
            "{} {} {} {}: {}",
            ended.drill,
            ended.name,
            moment(ended.ended_ms),
            ended.end.verdict.as_str(),
            ended.end.why
        ))?;
    }
    Ok(())
}

fn moment(ms: u64) -> String {
    mainstay_backup::moment::show(ms)
}

/// Entries of one run, in order.
fn entries(
    machine: &MachineRecord,
    layout: &Layout,
    drill: &str,
) -> Result<Vec<(u64, EntryRecord, EventBody)>, Failure> {
    let place = journal_of(machine, layout)?;
    let mut port = place.open().context("open the journal")?;
    let mut log = Log::new(meaning_of);
    let mut found = Vec::new();
    loop {
        let position = log.end();
        let Some(part) = port.read_from(position).context("read the journal")? else {
            return Ok(found);
        };
        let followed = log.follow(position, &part).map_err(|damage| {
            Failure::Finding(format!(
                "the part at position {position} is damaged: {damage}\n  next: mainstay journal verify"
            ))
        })?;
        for (number, entry) in (followed.first.0..).zip(&followed.entries) {
            let entry: EntryRecord =
                serde_json::from_str(entry.as_str()).context("read an entry")?;
            let body = EventBody::decode(&entry.kind, entry.version, &entry.body);
            if let Some(body) = body.context("read an entry")?
                && drill_of(&body) == Some(drill)
            {
                found.push((number, entry, body));
            }
        }
    }
}

fn drill_of(body: &EventBody) -> Option<&str> {
    Some(match body {
        EventBody::DrillBegun(body) => &body.drill,
        EventBody::DrillStepBegun(body) => &body.drill,
        EventBody::DrillStepEnded(body) => &body.drill,
        EventBody::DrillConfirmed(body) => &body.drill,
        EventBody::DrillMeasured(body) => &body.drill,
        EventBody::DrillDeviated(body) => &body.drill,
        EventBody::DrillAbandoned(body) => &body.drill,
        EventBody::DrillEnded(body) => &body.drill,
        EventBody::DrillSigned(body) => &body.drill,
        _ => return None,
    })
}

pub fn show(arguments: &Show) -> Outcome {
    let (machine, layout) = find(&arguments.platform)?;
    let entries = entries(&machine, &layout, &arguments.drill)?;
    if entries.is_empty() {
        return Err(Failure::Usage(format!(
            "there is no drill {}\n  next: `mainstay drill list` shows those that ran",
            arguments.drill
        )));
    }
    for (position, entry, body) in &entries {
        if arguments.json {
            line(serde_json::to_string(entry).context("write JSON")?)?;
            continue;
        }
        let at = time_of_day(entry.at_ms);
        for (index, text) in told(body).into_iter().enumerate() {
            match index {
                0 => line(format_args!("{position:>6}  {at}  {text}"))?,
                _ => line(format_args!("                       {text}"))?,
            }
        }
    }
    Ok(())
}

/// The measured figures and the verdict on each service.
pub fn verdict(machine: &MachineRecord, layout: &Layout, drill: &str) -> Outcome {
    for (_, _, body) in entries(machine, layout, drill)? {
        if matches!(body, EventBody::DrillMeasured(_) | EventBody::DrillEnded(_)) {
            for text in told(&body) {
                line(text)?;
            }
        }
    }
    Ok(())
}

fn told(body: &EventBody) -> Vec<String> {
    match body {
        EventBody::DrillBegun(body) => {
            let plan = &body.plan;
            let approved = match body.approved {
                Some(position) => format!("approved by entry {position}"),
                None => "not approved: its text was not adopted".to_owned(),
            };
            vec![
                format!("{} {}: {}", body.drill, plan.name, plan.title),
                format!("seed {}, {approved}; {}", plan.seed, body.reason),
            ]
        }
        EventBody::DrillStepBegun(body) => vec![format!("{}: {}", body.step, body.what)],
        EventBody::DrillStepEnded(body) => {
            let outcome = format!("{:?}", body.end.outcome).to_lowercase();
            vec![format!("{} {outcome}: {}", body.end.step, body.end.detail)]
        }
        EventBody::DrillConfirmed(body) => vec![format!("{} confirmed: {}", body.step, body.note)],
        EventBody::DrillDeviated(body) => vec![format!("deviation: {}", body.deviation.what)],
        EventBody::DrillAbandoned(_) => vec!["the command that carried it has died".to_owned()],
        EventBody::DrillSigned(body) => {
            let operator = body.by.operator.as_deref().unwrap_or("somebody");
            let signature = body.signature.as_str();
            vec![format!("{signature} by {operator}: {}", body.statement)]
        }
        EventBody::DrillMeasured(body) => measured(&body.measurement),
        EventBody::DrillEnded(body) => {
            let mut lines = vec![format!("{}: {}", body.end.verdict.as_str(), body.end.why)];
            lines.extend(body.services.iter().map(service));
            let found = body.end.deficiencies.iter();
            lines.extend(found.map(|found| {
                let by = moment(found.retest_by_ms);
                format!(
                    "  deficiency for {}, tested again by {by}: {}",
                    found.owner, found.what
                )
            }));
            lines.extend(
                body.end
                    .residue
                    .iter()
                    .map(|left| format!("  LEFT BEHIND: {left}")),
            );
            lines
        }
        _ => Vec::new(),
    }
}

fn measured(measurement: &MeasurementRecord) -> Vec<String> {
    let kind = format!("{:?}", measurement.measured).to_lowercase();
    let mut lines = vec![format!("{kind} of {}", measurement.subject)];
    lines.extend(measurement.values.iter().map(figure));
    for (name, list) in &measurement.lists {
        lines.extend(list.iter().map(|item| format!("    {name}: {item}")));
    }
    lines
}

fn figure(measure: &MeasureRecord) -> String {
    let name = &measure.name;
    let shown = match (measure.value, measure.unit) {
        (None, _) => format!("not measured: {}", measure.why),
        (Some(value), UnitWord::Us) => milliseconds(value),
        (Some(value), UnitWord::WallUs) => time_of_day(value / 1_000),
        (Some(value), UnitWord::Bytes) => format!("{value} bytes"),
        (Some(value), _) => value.to_string(),
    };
    format!("  {name:<24} {shown:>14}  by {}", measure.source)
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us / 100 % 10)
}

fn service(found: &ServiceVerdictRecord) -> String {
    let objective = &found.objective;
    let rto = match (objective.rto_below_ms, found.rto_us) {
        (None, _) => String::new(),
        (Some(limit), Some(us)) => format!(", {} of {limit} ms", milliseconds(us)),
        (Some(limit), None) => format!(", of {limit} ms"),
    };
    let (rto_word, rpo_word) = (found.rto.as_str(), found.rpo.as_str());
    let why = match &objective.unmeasured {
        Some(why) => format!(" ({why})"),
        None => String::new(),
    };
    format!(
        "  {:<24} RTO {rto_word}{rto}; RPO {rpo_word}{}{why}",
        objective.service,
        loss(objective, found)
    )
}

fn loss(objective: &DrillObjectiveRecord, found: &ServiceVerdictRecord) -> String {
    let is_told = !matches!(found.rpo, JudgedWord::NotMeasured | JudgedWord::NoObjective);
    match (objective.rpo_below, found.lost_transactions, found.lost_us) {
        (Some(LossLimitRecord::Transactions(limit)), Some(lost), _) if is_told => {
            format!(", {lost} lost, less than {limit} wanted")
        }
        (Some(LossLimitRecord::TimeMs(limit)), _, Some(us)) if is_told => {
            format!(", {} of {limit} ms", milliseconds(us))
        }
        _ => String::new(),
    }
}
