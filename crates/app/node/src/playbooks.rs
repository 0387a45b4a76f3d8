//! Playbooks as people see them: what is in force, what runs, and what one would do now.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use mainstay_kernel::{Ask, State, calendar, view};
use mainstay_manifest::{load_playbook, render};
use mainstay_playbook::guard::{self, Verdict};
use mainstay_playbook::step::{Need, next};
use mainstay_playbook::{
    self as playbook, AS_FILE, Action, Book, Condition, Known, Mode, Origin, Phase, Resolved,
    Routed, Run, RunId, Source, Trigger,
};
use mainstay_record::node::CommandOutcome;
use mainstay_record::playbook::{
    DryRun, DryRunRequest, GuardrailShown, NewestShown, PlaybookAsk, PlaybookShown, PlaybooksShown,
    RunShown, SeenShown, StepShown,
};
use mainstay_rt::clock;
use mainstay_rt::http as api;

use crate::context::Context;
use crate::control::{Desk, refused};
use crate::events::playbook_ask;
use crate::kernel_runner::beside_facts;
use crate::measure::{Reading, read};

pub const PATH: &str = "/v1/playbooks";
pub const DRY_RUN: &str = "/v1/playbooks/dry-run";

/// The kernel's words for what was typed. A text that is no playbook is told so here, with its places.
pub fn ask(ask: PlaybookAsk) -> Result<Ask, CommandOutcome> {
    if let PlaybookAsk::Adopt { text, .. } = &ask {
        load_playbook("playbook", text)
            .map_err(|diagnostics| refused("playbook", render(&diagnostics)))?;
    }
    let ask = playbook_ask(ask).map_err(|error| refused("playbook", error.to_string()))?;
    Ok(Ask::Playbook(ask))
}

/// Everything in force and under way.
pub fn shown(state: &State) -> PlaybooksShown {
    let books = &state.playbooks;
    let platform = view(state);
    let under_way = |(id, run): (&RunId, &Run)| {
        let mut shown = run_shown(&id.to_string(), run);
        // At no time at all nothing is over yet, so it says what it waits for.
        if let Need::At { why, .. } = next(books, 0, &platform, *id)
            && shown.why.is_empty()
        {
            shown.why = format!("it waits: {why}");
        }
        shown
    };
    PlaybooksShown {
        version: 1,
        playbooks: books
            .books
            .values()
            .map(|known| book_shown(state, known))
            .collect(),
        runs: books.runs.iter().map(under_way).collect(),
        ended: books
            .ended
            .iter()
            .rev()
            .map(|ended| RunShown {
                phase: ended.ending.as_str().to_owned(),
                since_ms: ended.at_ms,
                why: ended.why.clone(),
                step: None,
                ..run_shown(&ended.id.to_string(), &ended.run)
            })
            .collect(),
        drained: books.drained.iter().cloned().collect(),
        newest: books
            .versions
            .iter()
            .map(|(name, (version, digest))| {
                let newest = NewestShown {
                    version: *version,
                    digest: digest.clone(),
                };
                (name.clone(), newest)
            })
            .collect(),
        beside: beside_facts(state),
    }
}

fn book_shown(state: &State, known: &Known) -> PlaybookShown {
    let book = &known.book;
    let track = state.playbooks.tracks.get(&book.name);
    let track = track.filter(|track| track.version == book.version);
    PlaybookShown {
        name: book.name.clone(),
        version: book.version,
        summary: book.summary.clone(),
        mode: book.mode.as_str().to_owned(),
        mode_now: state.playbooks.mode_of(book).as_str().to_owned(),
        digest: known.digest.clone(),
        named: known.source == Source::File,
        by: known.by.to_string(),
        since_ms: known.since_ms,
        triggers: book.triggers.iter().map(trigger).collect(),
        parameters: book.parameters.iter().map(parameter).collect(),
        steps: book.steps.iter().map(step).collect(),
        runs: track.map_or(0, |track| track.runs),
        successes: track.map_or(0, |track| track.successes),
        due_ms: playbook::due_ms(&state.playbooks, known, &calendar),
    }
}

fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Alert { labels } => {
            let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
            format!("alert {}", labels.collect::<Vec<_>>().join(", "))
        }
        Trigger::Incident {
            state,
            severity,
            things,
        } => {
            let things: Vec<&str> = things.iter().map(String::as_str).collect();
            let about = match things.as_slice() {
                [] => String::new(),
                things => format!(" about {}", things.join(", ")),
            };
            format!(
                "incident {}, at least {}{about}",
                state.as_str(),
                severity.as_str()
            )
        }
        Trigger::Every { every_ms } => format!("every {} s", every_ms / 1_000),
        Trigger::Schedule { cron } => format!("schedule {cron} (UTC)"),
    }
}

fn parameter(parameter: &playbook::Parameter) -> String {
    let mut text = format!("{} ({})", parameter.name, parameter.kind.as_str());
    if let Some(label) = &parameter.label {
        text.push_str(&format!(", from the alert's {label}"));
    }
    if let Some(default) = &parameter.default {
        text.push_str(&format!(", else {default}"));
    }
    if !parameter.one_of.is_empty() {
        text.push_str(&format!(", one of {}", parameter.one_of.join(", ")));
    }
    if let Some(least) = parameter.least {
        text.push_str(&format!(", at least {least}"));
    }
    if let Some(most) = parameter.most {
        text.push_str(&format!(", at most {most}"));
    }
    text
}

fn step(step: &playbook::Step) -> String {
    let mut text = format!("{}: {}", step.id, action(&step.action));
    if let Some(verify) = &step.verify {
        text.push_str(&format!(
            "; seen within {} s: {}",
            verify.within_ms / 1_000,
            condition(&verify.condition)
        ));
    }
    if let Some(undo) = &step.compensate {
        text.push_str(&format!("; undone by: {}", action(undo)));
    }
    text
}

fn place(place: &playbook::Place) -> String {
    match place {
        playbook::Place::Host(host) => format!("host {host}"),
        playbook::Place::Region(region) => format!("region {region}"),
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::Switchover { database, to } => format!("switch {database} over to {to}"),
        Action::Restart { host, instance } => format!("restart {host}/{instance}"),
        Action::ClearFaults => "end all faults".to_owned(),
        Action::Drain(from) => format!("drain {}", place(from)),
        Action::Return(to) => format!("return {}", place(to)),
        Action::Run {
            host,
            program,
            arguments,
            allows,
        } => format!("on {host}: {program} {}{allows}", arguments.join(" ")),
        Action::Replace { host, instance } => {
            format!("move the instance of {instance} on {host} to another host")
        }
        Action::Rebuild { database, host } => {
            format!("fill the replica of {database} on {host} anew")
        }
        Action::Http(call) => call.to_string(),
        Action::Notify { to, text } => format!("tell {to}: {text}"),
        Action::WorkItem(item) => format!("open a work item {item}"),
        Action::Shift { what, from, share } => {
            let what = match what {
                Routed::Service(service) => service.clone(),
                Routed::Route(path) => format!("route {path}"),
            };
            format!("let {share} % of new requests of {what} go to {from} as always")
        }
        Action::Replicas { service, count } if count == AS_FILE => {
            format!("run as many instances of {service} as the file says")
        }
        Action::Replicas { service, count } => format!("run {count} instances of {service}"),
        Action::Mode { service, mode } => format!("put {service} into the mode {mode}"),
        Action::Wait(until) => format!("wait until {}", condition(until)),
    }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Query(query) => query.clone(),
        Condition::Ready { host, instance } => format!("{host}/{instance} is ready"),
        Condition::Alive { host, instance } => format!("{host}/{instance} is alive"),
        Condition::Primary { database, region } => {
            format!("the primary of {database} is open in {region}")
        }
        Condition::Replica { database, host } => {
            format!("the replica of {database} on {host} streams and counts")
        }
        Condition::NoFaults => "no fault is in force".to_owned(),
        Condition::Quiet { alert } => format!("no alert {alert} stands"),
        Condition::Instances { service, ready } => {
            format!("at least {ready} instances of {service} are ready")
        }
        Condition::Shifted {
            service,
            from,
            share,
        } => format!("gateways send {share} % of new requests of {service} to {from} as always"),
        Condition::Mode { service, mode } => format!("{service} is in the mode {mode}"),
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Alert { watch, alert } => format!("alert {alert} of the watch on {watch}"),
        Origin::Incident { incident, state } => {
            format!("incident {incident} is {}", state.as_str())
        }
        Origin::Schedule => "schedule".to_owned(),
        Origin::Person { by, reason } => format!("{by}: {reason}"),
    }
}

fn run_shown(id: &str, run: &Run) -> RunShown {
    let why = match &run.phase {
        Phase::Waits { needs, .. } => format!(
            "{} of {needs} approvals; `mainstay playbook approve {id}`",
            run.approvals.len()
        ),
        Phase::Asking { why } => {
            format!("{why}; `mainstay playbook approve {id}` goes on, `… abort {id}` ends it")
        }
        _ => String::new(),
    };
    RunShown {
        run: id.to_owned(),
        playbook: run.book.name.clone(),
        playbook_version: run.book.version,
        digest: run.digest.clone(),
        values: run.values.clone(),
        origin: origin(&run.origin),
        opened_ms: run.opened_ms,
        started_ms: run.started_ms,
        phase: run.phase.as_str().to_owned(),
        since_ms: run.since_ms,
        why,
        step: run.present().map(|step| step.id.clone()),
        targets: run.reserved.iter().map(ToString::to_string).collect(),
        seen: run
            .seen
            .iter()
            .map(|seen| SeenShown {
                at_ms: seen.at_ms,
                step: seen.step.clone(),
                text: seen.text.clone(),
            })
            .collect(),
    }
}

/// What a run would do now. Conditions are measured and guardrails looked at; nothing is journalled or done.
pub async fn dry_run(desk: &Desk, context: &Context, body: &[u8]) -> api::Answer {
    match rehearse(desk, context, body).await {
        Ok(shown) => api::json(StatusCode::OK, &shown),
        Err(refusal) => api::json(StatusCode::CONFLICT, &refusal),
    }
}

async fn rehearse(desk: &Desk, context: &Context, body: &[u8]) -> Result<DryRun, CommandOutcome> {
    let request: DryRunRequest =
        serde_json::from_slice(body).map_err(|error| refused("request", error.to_string()))?;
    let state = desk.deputy.view.borrow().state.clone();
    let state = state.ok_or_else(|| {
        refused(
            "deaf",
            "this node has not read the journal to its end".to_owned(),
        )
    })?;
    let book = book_of(&state, &request)?;
    let platform = view(&state);
    let values = playbook::values_of(&book, &request.values, &BTreeMap::new(), &platform).map_err(
        |refusal| CommandOutcome::Refused {
            code: refusal.code().to_owned(),
            why: refusal.to_string(),
            next: refusal.next_step().to_owned(),
        },
    )?;
    let books = &state.playbooks;
    let targets = guard::targets(&book, &values, &platform);
    let found = guard::findings(books, clock::wall_ms(), &platform, None, &book, &targets);
    let mut guardrails: Vec<GuardrailShown> = found
        .into_iter()
        .map(|found| GuardrailShown {
            guardrail: found.guardrail.to_owned(),
            verdict: match found.verdict {
                Verdict::Holds => "holds",
                Verdict::Asks => "asks",
                Verdict::Refuses => "refuses",
            }
            .to_owned(),
            why: found.why,
        })
        .collect();
    if let Some(wanted) = &book.guardrails.condition {
        let (verdict, why) = measured(desk, context, wanted, &values).await;
        guardrails.push(GuardrailShown {
            guardrail: "condition".to_owned(),
            verdict: verdict.to_owned(),
            why,
        });
    }
    let mut steps = Vec::new();
    for step in &book.steps {
        steps.push(rehearse_step(desk, context, (&platform, &books.drained), step, &values).await);
    }
    let mode = books.mode_of(&book);
    Ok(DryRun {
        version: 1,
        playbook: book.name.clone(),
        playbook_version: book.version,
        approvals: match book.mode {
            Mode::Approve => book.approval.count,
            Mode::Suggest => 1,
            Mode::Observe | Mode::Auto => 0,
        },
        mode_now: mode.as_str().to_owned(),
        values,
        targets: targets.iter().map(ToString::to_string).collect(),
        guardrails,
        steps,
    })
}

fn book_of(state: &State, request: &DryRunRequest) -> Result<Arc<Book>, CommandOutcome> {
    match (&request.text, &request.playbook) {
        (Some(text), _) => load_playbook("playbook", text)
            .map(Arc::new)
            .map_err(|diagnostics| refused("playbook", render(&diagnostics))),
        (None, Some(name)) => {
            let known = state.playbooks.books.get(name);
            known.map(|known| Arc::clone(&known.book)).ok_or_else(|| {
                let refusal = playbook::Refusal::NoSuchBook(name.clone());
                CommandOutcome::Refused {
                    code: refusal.code().to_owned(),
                    why: refusal.to_string(),
                    next: refusal.next_step().to_owned(),
                }
            })
        }
        (None, None) => Err(refused("request", "no playbook is named".to_owned())),
    }
}

async fn measured(
    desk: &Desk,
    context: &Context,
    wanted: &Condition,
    values: &playbook::Values,
) -> (&'static str, String) {
    let Ok(wanted) = wanted.filled(values) else {
        return ("unknown", "a parameter has no value".to_owned());
    };
    match read(desk, context, &wanted).await {
        Reading::Holds(why) => ("holds", why),
        Reading::Not(why) => ("refuses", why),
        Reading::Missing(why) => ("unknown", why),
    }
}

async fn rehearse_step(
    desk: &Desk,
    context: &Context,
    (platform, drained): (&playbook::View, &std::collections::BTreeSet<String>),
    step: &playbook::Step,
    values: &playbook::Values,
) -> StepShown {
    let resolved = |action: &Action| {
        let resolved = playbook::resolve(action, values, platform, drained);
        // Nothing has opened this run.
        playbook::placed(resolved, None, platform)
    };
    let (verdict, effect) = match (&step.action, resolved(&step.action)) {
        (Action::Wait(until), _) => {
            let until = until.filled(values).unwrap_or_else(|_| (**until).clone());
            ("looks", format!("wait until {}", condition(&until)))
        }
        (_, Resolved::Act(act)) => ("acts", act.to_string()),
        (_, Resolved::Already(why)) => ("already", why),
        (_, Resolved::NotYet(why)) => ("waits", why),
        (_, Resolved::Cannot(why)) => ("cannot", why),
    };
    let waits = match &step.action {
        Action::Wait(condition) => Some(&**condition),
        _ => None,
    };
    let verify = step.verify.as_ref().map(|verify| &verify.condition);
    let mut conditions = Vec::new();
    for (word, wanted) in [
        ("when", step.when.as_ref()),
        ("now", waits),
        ("verify", verify),
    ] {
        if let Some(wanted) = wanted {
            let (verdict, why) = measured(desk, context, wanted, values).await;
            let word_now = match verdict {
                "refuses" => "does not hold now",
                "holds" => "holds now",
                _ => "cannot be measured now",
            };
            conditions.push(format!("{word}: {word_now}: {why}"));
        }
    }
    let compensation = step
        .compensate
        .as_ref()
        .map(|action| match resolved(action) {
            Resolved::Act(act) => act.to_string(),
            Resolved::NotYet(why) => why,
            Resolved::Already(why) | Resolved::Cannot(why) => why,
        });
    StepShown {
        id: step.id.clone(),
        verdict: verdict.to_owned(),
        effect,
        conditions,
        timeout_ms: step.timeout_ms,
        compensation,
    }
}
