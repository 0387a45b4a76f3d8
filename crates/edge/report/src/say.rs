//! What an entry says, in a sentence. Whatever has no sentence of its own is told by its names and values.

use mainstay_record::drill::StepOutcomeWord;
use mainstay_record::event::{
    ActorRecord, ArchiveDeedRecord, EndRecord, EventBody, FaultSpecRecord, FaultTargetRecord,
    GateOverriddenBody, OutcomeRecord, ReflexRecord, WithdrawnRecord,
};
use mainstay_record::playbook::{
    ActRecord, ConditionRecord, OpeningRecord, OriginRecord, PlaybookBody, WhoRecord,
};
use serde_json::Value;

use crate::entry::Entry;
use crate::time::span;

/// A part of an entry that takes more than this is counted, not shown.
const LONG: usize = 160;

/// Names and values in a row, long parts counted.
pub fn words(body: &Value) -> String {
    match body {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let said: Vec<String> = fields
                .map(|(name, value)| match value {
                    Value::Object(inner) if value.to_string().len() > LONG => {
                        format!("{name} ({} fields)", inner.len())
                    }
                    Value::Object(_) => format!("{name} ({})", words(value)),
                    Value::Array(list) if value.to_string().len() > LONG => {
                        format!("{name} ({} of them)", list.len())
                    }
                    value => format!("{name} {}", words(value)),
                })
                .collect();
            said.join(", ")
        }
        Value::Array(list) => {
            let said: Vec<String> = list.iter().map(words).collect();
            format!("[{}]", said.join(", "))
        }
        Value::String(text) if text.contains([' ', ',']) || text.is_empty() => format!("{text:?}"),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => body.to_string(),
    }
}

pub(crate) fn actor(by: &ActorRecord) -> String {
    let name = by.operator.as_ref().or(by.user.as_ref());
    name.cloned().unwrap_or_else(|| format!("uid {}", by.uid))
}

pub(crate) fn by(by: Option<&ActorRecord>) -> String {
    by.map_or("Mainstay".to_owned(), actor)
}

fn who(by: &WhoRecord) -> String {
    let name = by.operator.clone();
    name.unwrap_or_else(|| format!("uid {}", by.uid))
}

pub(crate) fn say(entry: &Entry) -> String {
    let known = entry.event.as_ref().and_then(|event| {
        let told = platform(event)
            .or_else(|| fault(event))
            .or_else(|| incident(event))
            .or_else(|| review(event))
            .or_else(|| notice(event))
            .or_else(|| rules(event));
        told.or_else(|| experiment(event)).or_else(|| drill(event))
    });
    known.unwrap_or_else(|| format!("{}: {}", entry.kind, words(&entry.body)))
}

fn overridden(body: &GateOverriddenBody) -> String {
    format!(
        "{} passed the gate {} for {} although it was {} ({}): {}",
        actor(&body.by),
        body.gate,
        body.asked,
        body.found,
        body.why,
        body.reason
    )
}

fn platform(event: &EventBody) -> Option<String> {
    Some(match event {
        EventBody::Claimed(body) => {
            format!("node {} took the lead (epoch {})", body.node, body.epoch)
        }
        EventBody::HostLost(body) => format!(
            "host {} is lost: silent for {}",
            body.host,
            span(body.silent_ms)
        ),
        EventBody::HostReturned(body) => format!("host {} is heard again", body.host),
        EventBody::InstancePlaced(body) => {
            format!("{} is placed on {}", body.service, body.host)
        }
        EventBody::InstanceWithdrawn(body) => {
            let why = withdrawn(body.why);
            format!("{} is withdrawn from {}: {why}", body.service, body.host)
        }
        EventBody::SwitchoverOrdered(body) => format!(
            "{} ordered the primary of {} from {} to {}: {}",
            actor(&body.by),
            body.database,
            body.from,
            body.to,
            body.reason
        ),
        EventBody::SoloOrdered(body) => format!(
            "{} let {} serve alone on {}: {}",
            actor(&body.by),
            body.database,
            body.host,
            body.reason
        ),
        EventBody::CommandRefused(body) => format!(
            "refused to uid {}: {} ({}): {}",
            body.uid, body.asked, body.code, body.why
        ),
        EventBody::GateOverridden(body) => overridden(body),
        EventBody::Paused(body) => {
            format!("{} paused the automation: {}", actor(&body.by), body.reason)
        }
        EventBody::Resumed(body) => format!(
            "{} let the automation go on: {}",
            actor(&body.by),
            body.reason
        ),
        EventBody::AlertChanged(body) => format!(
            "alert {} is {} (watch on {}): {}",
            body.alert,
            body.state.as_str(),
            body.watch,
            if body.summary.is_empty() {
                &body.why
            } else {
                &body.summary
            }
        ),
        EventBody::ReflexRecorded(body) => format!("{}: {}", body.host, reflex(&body.reflex)),
        EventBody::Playbook(body) => playbook(body),
        EventBody::EffectFinished(body) => {
            let outcome = match &body.outcome {
                OutcomeRecord::Done { detail } => format!("is done: {detail}"),
                OutcomeRecord::Failed { why } => format!("failed: {why}"),
                OutcomeRecord::Unknown { why } => format!("has an unknown outcome: {why}"),
            };
            format!("what entry {} ordered {outcome}", body.effect)
        }
        _ => return None,
    })
}

const fn withdrawn(why: WithdrawnRecord) -> &'static str {
    match why {
        WithdrawnRecord::NotWanted => "it is not wanted there",
        WithdrawnRecord::HostLost => "the host is lost",
        WithdrawnRecord::Replaced => "the one that was started for it is ready",
        WithdrawnRecord::NotReady => "it did not get ready in time",
    }
}

fn reflex(reflex: &ReflexRecord) -> String {
    match reflex {
        ReflexRecord::BecamePrimary { database, term } => {
            format!("became primary of {database} in term {term}")
        }
        ReflexRecord::LeftPrimary {
            database,
            term,
            why,
        } => format!("is not primary of {database} any more (term {term}): {why}"),
        ReflexRecord::InstanceRestarted {
            instance,
            restarts,
            exit,
        } => format!("{instance} was started again after {exit} ({restarts} times so far)"),
        ReflexRecord::CrashLoop { instance, restarts } => {
            format!("{instance} fails again and again ({restarts} starts)")
        }
        ReflexRecord::LoopEnded { instance, why } => {
            format!("{instance} does not fail again and again any more: {why}")
        }
        ReflexRecord::HoldOpened { gateway, database } => {
            format!("gateway {gateway} holds requests for {database}")
        }
        ReflexRecord::HoldClosed {
            gateway,
            database,
            lasted_ms,
            released,
            failed,
        } => format!(
            "gateway {gateway} held requests for {database} for {}: {released} went on, {failed} failed",
            span(*lasted_ms)
        ),
        ReflexRecord::FaultUndone { fault, by } => format!("fault {fault} was undone by {by}"),
        ReflexRecord::PromiseChanged {
            database,
            term,
            what,
        } => {
            format!("the promise for {database} changed (term {term}): {what}")
        }
        ReflexRecord::ReplicaLetGo { database, from } => {
            format!("the replica of {database} on {from} was let go: nothing rests on it any more")
        }
        ReflexRecord::Archived { database, deed } => match deed {
            ArchiveDeedRecord::BackupMade { backup, bytes } => {
                format!("backup {backup} of {database} was made ({bytes} bytes)")
            }
            ArchiveDeedRecord::BackupProven { backup, rto_ms, .. } => {
                format!(
                    "backup {backup} of {database} was restored in {} and proven",
                    span(*rto_ms)
                )
            }
            ArchiveDeedRecord::Alarm { why } => {
                format!("the archive of {database} is not safe: {why}")
            }
        },
    }
}

fn target(target: &FaultTargetRecord) -> String {
    match target {
        FaultTargetRecord::Process { host, instance } => format!("{host}/{instance}"),
        FaultTargetRecord::Host(name) | FaultTargetRecord::Region(name) => name.clone(),
        FaultTargetRecord::Between { from, to } => match to {
            Some(to) => format!("the way from {from} to {to}"),
            None => format!("all ways of {from}"),
        },
    }
}

fn spec(spec: &FaultSpecRecord) -> String {
    let kind = serde_json::to_value(spec.kind).unwrap_or_default();
    format!(
        "{} at {} for {}",
        kind.as_str().unwrap_or("fault").replace('_', "-"),
        target(&spec.target),
        span(spec.lasts_ms)
    )
}

fn fault(event: &EventBody) -> Option<String> {
    Some(match event {
        EventBody::FaultInjected(body) => format!(
            "{} injected fault {}: {}: {}",
            actor(&body.by),
            body.fault,
            spec(&body.spec),
            body.reason
        ),
        EventBody::FaultEnding(body) => match &body.why {
            EndRecord::Expired => format!("fault {} ends: its time is over", body.fault),
            EndRecord::Cleared { by, reason } => {
                format!("{} clears fault {}: {reason}", actor(by), body.fault)
            }
            EndRecord::Playbook { run } => format!("run {run} clears fault {}", body.fault),
            EndRecord::Experiment { experiment } => {
                format!("experiment {experiment} is over: fault {} ends", body.fault)
            }
            EndRecord::Drill { drill } => format!(
                "the command of drill {drill} died: fault {} ends",
                body.fault
            ),
            EndRecord::Again { failed } => format!(
                "fault {} is ended once more, since that failed: {failed}",
                body.fault
            ),
        },
        _ => return None,
    })
}

fn incident(event: &EventBody) -> Option<String> {
    Some(match event {
        EventBody::IncidentOpened(body) => format!(
            "{} opened {} ({}): {}",
            by(body.by.as_ref()),
            body.incident,
            body.severity,
            body.title
        ),
        EventBody::IncidentJoined(body) => {
            format!("more belongs to {}: {}", body.incident, body.reason)
        }
        EventBody::IncidentSeverity(body) => format!(
            "{} made {} {}: {}",
            by(body.by.as_ref()),
            body.incident,
            body.severity,
            body.reason
        ),
        EventBody::IncidentAcknowledged(body) => format!(
            "{} acknowledged {}: {}",
            by(body.by.as_ref()),
            body.incident,
            body.reason
        ),
        EventBody::IncidentAssigned(body) => {
            format!(
                "{} is {} of {}: {}",
                body.to, body.role, body.incident, body.reason
            )
        }
        EventBody::IncidentNoted(body) => {
            format!("{} noted: {}", by(body.by.as_ref()), body.reason)
        }
        EventBody::IncidentLinked(body) => {
            format!("{} linked {}", by(body.by.as_ref()), body.link)
        }
        EventBody::IncidentMitigated(body) => format!(
            "{} said that {} is mitigated: {}",
            by(body.by.as_ref()),
            body.incident,
            body.reason
        ),
        EventBody::IncidentResolved(body) => format!(
            "{} resolved {}: {}",
            by(body.by.as_ref()),
            body.incident,
            body.reason
        ),
        EventBody::IncidentReopened(body) => format!(
            "{} opened {} again: {}",
            by(body.by.as_ref()),
            body.incident,
            body.reason
        ),
        EventBody::IncidentMerged(body) => format!(
            "{} goes on in {}: {}",
            body.incident, body.into, body.reason
        ),
        _ => return None,
    })
}

/// What is said when one looks back.
fn review(event: &EventBody) -> Option<String> {
    Some(match event {
        EventBody::IncidentLearned(body) => format!(
            "{} noted ({}): {}",
            by(body.by.as_ref()),
            body.lesson,
            body.reason
        ),
        EventBody::IncidentSigned(body) => format!(
            "{} signs: {} the page {}…: {}",
            by(body.by.as_ref()),
            body.signature,
            body.page.get(..8).unwrap_or(&body.page),
            body.reason
        ),
        EventBody::IncidentActionAdded(body) => format!(
            "action {}/a{} for {} until {}: {}",
            body.incident, body.action, body.owner, body.due, body.reason
        ),
        EventBody::IncidentActionDone(body) => format!(
            "action {}/a{} is done{}: {}",
            body.incident,
            body.action,
            match &body.became {
                Some(became) => format!(", it became {became}"),
                None => String::new(),
            },
            body.reason
        ),
        _ => return None,
    })
}

fn notice(event: &EventBody) -> Option<String> {
    Some(match event {
        EventBody::NoticeOrdered(body) => format!(
            "notice {} ({}) to {} over {}",
            body.notice,
            body.kind,
            body.to.who.as_deref().unwrap_or("whoever reads it"),
            body.to.channel
        ),
        EventBody::NoticeEscalated(body) => format!(
            "policy {} calls level {} (round {}): {}",
            body.policy,
            body.level + 1,
            body.round + 1,
            body.why
        ),
        EventBody::NoticeExhausted(body) => format!("nobody came: {}", body.why),
        _ => return None,
    })
}

fn rules(event: &EventBody) -> Option<String> {
    let short = |digest: &String| digest.chars().take(12).collect::<String>();
    Some(match event {
        EventBody::RulesAdopted(body) => format!(
            "{} adopted rules {} {} (part {} of {}): {}",
            actor(&body.by),
            body.file,
            short(&body.digest),
            body.part,
            body.parts,
            body.reason
        ),
        EventBody::RulesFollowed(body) => {
            let files = body.files.iter();
            let files = files.map(|(file, digest)| format!("{file} {}", short(digest)));
            let files: Vec<String> = files.collect();
            format!("the watch on {} follows {}", body.watch, files.join(", "))
        }
        _ => return None,
    })
}

fn experiment(event: &EventBody) -> Option<String> {
    Some(match event {
        EventBody::ExperimentBegun(body) | EventBody::ExperimentCarried(body) => format!(
            "{} began experiment {} ({}): {}",
            actor(&body.by),
            body.experiment,
            body.plan.name,
            body.plan.hypothesis
        ),
        EventBody::ExperimentChosen(body) => format!(
            "experiment {} chose its injection {}: {}",
            body.experiment,
            body.injection + 1,
            body.what
        ),
        EventBody::ExperimentMending(body) => {
            format!(
                "experiment {} breaks nothing more: {}",
                body.experiment, body.why
            )
        }
        EventBody::ExperimentEnded(body) => format!(
            "experiment {} {}: {}",
            body.experiment,
            body.verdict.as_str(),
            body.why
        ),
        _ => return None,
    })
}

const fn outcome(outcome: StepOutcomeWord) -> &'static str {
    match outcome {
        StepOutcomeWord::Done => "done",
        StepOutcomeWord::Failed => "failed",
        StepOutcomeWord::Unknown => "unknown",
        StepOutcomeWord::Skipped => "left out",
    }
}

fn drill(event: &EventBody) -> Option<String> {
    Some(match event {
        EventBody::DrillAdopted(body) => format!(
            "{} put drill {} in force: {}",
            actor(&body.by),
            body.adoption.name,
            body.reason
        ),
        EventBody::DrillMissed(body) => format!("drill {} was due and did not run", body.name),
        EventBody::DrillBegun(body) => format!(
            "{} began drill {} ({}): {}",
            actor(&body.by),
            body.drill,
            body.plan.title,
            body.reason
        ),
        EventBody::DrillStepBegun(body) => {
            format!("drill {}, step {}: {}", body.drill, body.step, body.what)
        }
        EventBody::DrillStepEnded(body) => format!(
            "drill {}, step {}: {}: {}",
            body.drill,
            body.end.step,
            outcome(body.end.outcome),
            body.end.detail
        ),
        EventBody::DrillConfirmed(body) => format!(
            "{} confirmed step {} of drill {}: {}",
            actor(&body.by),
            body.step,
            body.drill,
            body.note
        ),
        EventBody::DrillSigned(body) => format!(
            "{} signed the result of drill {} ({}), {}: {}",
            actor(&body.by),
            body.drill,
            body.name,
            body.signature.as_str(),
            body.statement
        ),
        EventBody::DrillAbandoned(body) => {
            format!("drill {}: the command that carried it has died", body.drill)
        }
        EventBody::DrillDeviated(body) => {
            format!("drill {} deviated: {}", body.drill, body.deviation.what)
        }
        EventBody::DrillEnded(body) => format!(
            "drill {} ({}) {}: {}",
            body.drill,
            body.name,
            body.end.verdict.as_str(),
            body.end.why
        ),
        _ => return None,
    })
}

fn act(act: &ActRecord) -> String {
    match act {
        ActRecord::Switchover { database, from, to } => {
            format!("moves the primary of {database} from {from} to {to}")
        }
        ActRecord::Restart { host, instance } => format!("restarts {instance} on {host}"),
        ActRecord::ClearFaults { faults } => format!("clears {}", faults.join(", ")),
        ActRecord::Drain { hosts } => format!("drains {}", hosts.join(", ")),
        ActRecord::Return { hosts, shifts } => {
            let shifts = shifts
                .iter()
                .map(|(service, region)| format!("{service} in {region}"));
            let all: Vec<String> = hosts.iter().cloned().chain(shifts).collect();
            format!("returns {}", all.join(", "))
        }
        ActRecord::Shift {
            service,
            region,
            share,
        } => format!("lets {share} % of the new requests of {service} go to {region}"),
        ActRecord::Replicas {
            service,
            count,
            before,
        } => format!("runs {count} instances of {service} instead of {before}"),
        ActRecord::Mode {
            host,
            service,
            mode,
        } => format!("puts {service} on {host} into the mode {mode}"),
        ActRecord::Run { host, program, .. } => format!("runs {program} on {host}"),
        ActRecord::Replace { host, service, to } => {
            format!("moves the instance of {service} on {host} to {to}")
        }
        ActRecord::Rebuild { database, host } => {
            format!("fills the replica of {database} on {host} anew")
        }
        ActRecord::Http(call) => format!("calls {} {} from {}", call.method, call.url, call.host),
        ActRecord::Notify { to, .. } => format!("tells {to}"),
        ActRecord::WorkItem {
            owner, incident, ..
        } => format!("opens a work item for {owner} in incident {incident}"),
    }
}

fn condition(condition: &ConditionRecord) -> String {
    match condition {
        ConditionRecord::Query { promql } => promql.clone(),
        ConditionRecord::Ready { host, instance } => format!("{instance} on {host} is ready"),
        ConditionRecord::Alive { host, instance } => format!("{instance} on {host} lives"),
        ConditionRecord::Primary { database, region } => {
            format!("the primary of {database} is in {region}")
        }
        ConditionRecord::Replica { database, host } => {
            format!("the replica of {database} on {host} streams and counts")
        }
        ConditionRecord::NoFaults {} => "no fault is left".to_owned(),
        ConditionRecord::Quiet { alert } => format!("{alert} is quiet"),
        ConditionRecord::Instances { service, ready } => {
            format!("{ready} instances of {service} are ready")
        }
        ConditionRecord::Shifted {
            service,
            from,
            share,
        } => format!("gateways send {share} % of the new requests of {service} to {from}"),
        ConditionRecord::Mode { service, mode } => format!("{service} is in the mode {mode}"),
    }
}

fn origin(origin: &OriginRecord) -> String {
    match origin {
        OriginRecord::Alert { watch, alert } => format!("alert {alert} (watch on {watch})"),
        OriginRecord::Incident { incident, state } => format!("incident {incident} is {state}"),
        OriginRecord::Schedule {} => "its schedule".to_owned(),
        OriginRecord::Person { by, reason } => format!("{}: {reason}", who(by)),
    }
}

fn playbook(body: &PlaybookBody) -> String {
    match body {
        PlaybookBody::Adopted {
            named, by, reason, ..
        } => {
            let named = if *named {
                " that the platform file names"
            } else {
                ""
            };
            format!("{} put a playbook{named} in force: {reason}", who(by))
        }
        PlaybookBody::Withdrawn {
            playbook,
            by,
            reason,
        } => format!("{} withdrew playbook {playbook}: {reason}", who(by)),
        PlaybookBody::Opened {
            run,
            playbook,
            origin: why,
            opening,
            ..
        } => {
            let mode = match opening {
                OpeningRecord::Observes {} => "it only observes".to_owned(),
                OpeningRecord::Waits { needs, .. } => format!("it waits for {needs} approvals"),
                OpeningRecord::Goes {} => "it goes on by itself".to_owned(),
            };
            format!(
                "run {run} of playbook {playbook} was opened by {}; {mode}",
                origin(why)
            )
        }
        PlaybookBody::Declined {
            playbook,
            origin: asked,
            why,
        } => {
            format!(
                "playbook {playbook} was not run for {}: {why}",
                origin(asked)
            )
        }
        going => run(going),
    }
}

/// What becomes of a run once it is open.
fn run(body: &PlaybookBody) -> String {
    match body {
        PlaybookBody::Approved { run, by, reason } => format!(
            "{} approved run {run}: {reason}",
            by.as_ref().map_or("the expiry".to_owned(), who)
        ),
        PlaybookBody::Started { run, targets } => {
            format!("run {run} reserved {} targets", targets.len())
        }
        PlaybookBody::Begun {
            run,
            step,
            attempt,
            undo,
            act: what,
        } => {
            let again = if *attempt > 1 {
                format!(", attempt {attempt}")
            } else {
                String::new()
            };
            let undo = if *undo { ", undoing" } else { "" };
            format!("run {run}, step {}{undo}{again}: {}", step + 1, act(what))
        }
        PlaybookBody::Looked {
            run,
            step,
            purpose,
            look,
        } => format!(
            "run {run}, step {}: {purpose}: measures whether {}",
            step + 1,
            condition(&look.condition)
        ),
        PlaybookBody::Skipped { run, step, why } => {
            format!("run {run}, step {} is left out: {why}", step + 1)
        }
        PlaybookBody::Failed { run, step, why } => {
            format!("run {run}, step {} failed: {why}", step + 1)
        }
        PlaybookBody::Asks { run, why } => format!("run {run} stops and asks: {why}"),
        PlaybookBody::Aborted {
            run, by, reason, ..
        } => {
            format!("{} aborted run {run}: {reason}", who(by))
        }
        PlaybookBody::Ended { run, ending, why } => format!("run {run} ended ({ending}): {why}"),
        PlaybookBody::Adopted { .. }
        | PlaybookBody::Withdrawn { .. }
        | PlaybookBody::Opened { .. }
        | PlaybookBody::Declined { .. } => String::new(),
    }
}
