//! Playbooks within the kernel: what they see of the platform, and what their events order.

pub(crate) mod replace;
mod work_item;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_incident::{Condition, Incident, IncidentId, Phase, Severity};
use mainstay_model::people::Permission;
use mainstay_playbook as playbook;
use mainstay_schedule::Cron;
use mainstay_units::Position;
use playbook::{Act, Ask, Asked, Look, RunId, View, ViewDatabase, ViewService, Who};

use crate::alert::{AlertNews, AlertState};
use crate::authority::authorize;
use crate::decide::Decision;
use crate::desired::Desired;
use crate::effect::{Effect, EffectId, Executor, Outcome};
use crate::event::{EndReason, Event};
use crate::fault::FaultId;
use crate::notices;
use crate::placement::{place, wanted};
use crate::signal::Command;
use crate::state::{FaultPhase, State};
use crate::why::Refusal;

/// What a playbook has done or measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Within `limit_ms`.
    Act {
        act: Act,
        limit_ms: u64,
        stamp: Stamp,
    },
    Look(Look),
}

/// Which step it is, the same in every attempt: whoever is called twice can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Among all journals: `JOURNAL/RUN/STEP`, with `/undo` where a step is undone.
    pub key: String,
    /// Among all steps of this journal.
    pub number: u64,
    pub run: RunId,
    pub book: String,
    pub step: String,
    /// When the run was opened.
    pub opened_ms: u64,
}

/// A book has fewer steps than this, twice.
const STEPS_MAX: u64 = 1_000;

impl Stamp {
    fn of(state: &State, id: RunId, index: u32, undo: bool) -> Option<Self> {
        let run = state.playbooks.runs.get(&id)?;
        let step = &run.book.steps.get(usize::try_from(index).ok()?)?.id;
        let origin = state.origin.as_deref().unwrap_or_default();
        let undoing = if undo { "/undo" } else { "" };
        let place = u64::from(index) * 2 + u64::from(undo);
        Some(Self {
            key: alloc::format!("{origin}/{id}/{step}{undoing}"),
            number: id.0.saturating_mul(STEPS_MAX).saturating_add(place),
            run: id,
            book: run.book.name.clone(),
            step: step.clone(),
            opened_ms: run.opened_ms,
        })
    }
}

impl Work {
    /// How long the work itself may take.
    pub fn limit_ms(&self) -> u64 {
        match self {
            Self::Act { limit_ms, .. } => *limit_ms,
            Self::Look(look) => look.within_ms.saturating_add(look.hold_ms),
        }
    }
}

/// The platform as playbooks see it, by the journal alone.
pub fn view(state: &State) -> View {
    let Some(desired) = &state.desired else {
        return View::default();
    };
    let names = |hosts: &BTreeSet<_>| hosts.iter().map(ToString::to_string).collect();
    let mut instances: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (service, hosts) in &state.placed {
        instances.insert(service.to_string(), names(hosts));
    }
    for (gateway, (hosts, _)) in &desired.gateways {
        let hosts = hosts.iter().map(ToString::to_string);
        instances.insert(alloc::format!("gateway-{gateway}"), hosts.collect());
    }
    let databases = desired.databases.iter().map(|(name, database)| {
        let primary = state.databases.get(name);
        let primary = primary.and_then(|view| view.primary.as_ref());
        let database = ViewDatabase {
            replicas: database.replicas.iter().map(ToString::to_string).collect(),
            primary: primary.map(ToString::to_string),
        };
        (name.to_string(), database)
    });
    let lost: BTreeSet<String> = state.lost.keys().map(ToString::to_string).collect();
    let paged = state.alerts.values().filter_map(paged);
    let known = |host: &String| desired.hosts.keys().any(|other| other.as_str() == host);
    let hosts = desired.hosts.iter();
    View {
        operators: desired.operators.keys().map(ToString::to_string).collect(),
        told: notices::names(&desired.oncall),
        incidents: incidents(state),
        alerts: alerts(state),
        hosts: hosts
            .map(|(host, region)| (host.to_string(), region.to_string()))
            .collect(),
        unhealthy: lost.iter().cloned().chain(paged).filter(known).collect(),
        lost,
        databases: databases.collect(),
        instances,
        services: services(desired, state),
        routes: routes(desired),
        shifts: state.playbooks.shifts.clone(),
        watches: desired.watches.iter().map(ToString::to_string).collect(),
        faults: state
            .faults
            .iter()
            .filter(|(_, fault)| fault.phase != FaultPhase::Ending)
            .map(|(fault, _)| fault.to_string())
            .collect(),
        paused: state.paused.is_some(),
    }
}

/// Those that can take another action.
fn incidents(state: &State) -> BTreeSet<String> {
    let all = state.incidents.iter().map(|(id, _)| id);
    all.filter(|id| state.incidents.takes_action(*id))
        .map(|id| id.to_string())
        .collect()
}

/// The newest incident in which each alert stands or stood, of those that can take another action.
fn alerts(state: &State) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (id, incident) in state.incidents.iter() {
        let alerts = incident.conditions.iter().filter_map(|condition| {
            if let Condition::Alert(alert) = condition {
                return Some(alert.clone());
            }
            None
        });
        if state.incidents.takes_action(id) {
            found.extend(alerts.map(|alert| (alert, id.to_string())));
        }
    }
    found
}

fn services(desired: &Desired, state: &State) -> BTreeMap<String, ViewService> {
    let services = desired.services.iter().map(|(name, service)| {
        let view = ViewService {
            follows: service.follows.as_ref().map(ToString::to_string),
            hosts: service.hosts.iter().map(ToString::to_string).collect(),
            declared: service.replicas,
            wanted: wanted(name, service, &state.playbooks.counts),
        };
        (name.to_string(), view)
    });
    services.collect()
}

fn routes(desired: &Desired) -> BTreeMap<String, BTreeSet<String>> {
    let mut routes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for route in &desired.routes {
        let services = route.services.iter().map(ToString::to_string);
        routes
            .entry(route.path.clone())
            .or_default()
            .extend(services);
    }
    routes
}

/// The host that an alert which calls somebody is about, if it names one.
fn paged(news: &AlertNews) -> Option<String> {
    let calls = news
        .labels
        .get("severity")
        .is_some_and(|word| matches!(word.as_str(), "page" | "critical"));
    let host = news.labels.get("host")?;
    calls.then(|| host.clone())
}

/// Carries out an operator's wish, or says why not.
pub(crate) fn asked(
    state: &State,
    now_ms: u64,
    command: &Command,
    ask: &Ask,
) -> Result<Vec<Event>, Refusal> {
    let needed = match ask {
        Ask::Adopt { .. } | Ask::Withdraw { .. } => Permission::PlatformApply,
        Ask::Run { .. } | Ask::Abort { .. } => Permission::PlaybookRun,
        Ask::Approve { .. } => Permission::PlaybookApprove,
    };
    let by = authorize(state, &command.actor, needed)?;
    if state.desired.is_none() {
        return Err(Refusal::NoPlatform);
    }
    let who = Asked {
        by: Who {
            uid: by.actor.uid,
            operator: by.operator.as_ref().map(ToString::to_string),
        },
        reason: command.reason.clone(),
        approves: authorize(state, &command.actor, Permission::PlaybookApprove).is_ok(),
    };
    let events = playbook::asked(&state.playbooks, now_ms, &view(state), &who, ask);
    Ok(events
        .map_err(Refusal::Playbook)?
        .into_iter()
        .map(Event::Playbook)
        .collect())
}

/// An alert that begins to fire may open runs; they stand in the journal right after it.
pub(crate) fn after_alert(
    state: &State,
    now_ms: u64,
    news: &AlertNews,
    mut decision: Decision,
) -> Decision {
    let key = (news.watch.clone(), news.alert.clone());
    let begins = news.state == AlertState::Firing && !state.alerts.contains_key(&key);
    if !begins || decision.events.is_empty() {
        return decision;
    }
    let from = (news.watch.as_str(), news.alert.as_str());
    let opened = playbook::triggered(&state.playbooks, now_ms, &view(state), from, &news.labels);
    decision
        .events
        .extend(opened.into_iter().map(Event::Playbook));
    decision
}

/// An incident that comes into a state may open runs; they stand in the journal behind it.
pub(crate) fn after_incidents(state: &State, now_ms: u64, events: &[Event]) -> Vec<Event> {
    let of_incident = |event: &Event| {
        if let Event::Incident(change) = event {
            return Some(change.incident);
        }
        None
    };
    let touched: BTreeSet<IncidentId> = events.iter().filter_map(of_incident).collect();
    let waits = |trigger: &playbook::Trigger| matches!(trigger, playbook::Trigger::Incident { .. });
    let mut books = state.playbooks.books.values();
    if touched.is_empty() || !books.any(|known| known.book.triggers.iter().any(waits)) {
        return Vec::new();
    }
    // As it will be when all of this is journalled, runs that an alert has just opened included.
    let mut incidents = state.incidents.clone();
    let mut books = state.playbooks.clone();
    let mut position = state.next;
    for event in events {
        if let Event::Incident(change) = event {
            incidents.apply(position, now_ms, change);
        }
        if let Event::Playbook(event) = event {
            books.apply(position.0, now_ms, event);
        }
        position = Position(position.0 + 1);
    }
    let view = view(state);
    let mut opened = Vec::new();
    for id in touched {
        let Some(after) = incidents.get(id).and_then(|incident| case(id, incident)) else {
            continue;
        };
        let before = state.incidents.get(id);
        let before = before.and_then(|incident| case(id, incident));
        let before = before.as_ref();
        for event in playbook::triggered_by_incident(&books, now_ms, &view, before, &after) {
            books.apply(position.0, now_ms, &event);
            position = Position(position.0 + 1);
            opened.push(Event::Playbook(event));
        }
    }
    opened
}

/// What triggers look at; one that goes on in another is nobody's case.
fn case(id: IncidentId, incident: &Incident) -> Option<playbook::Case> {
    let state = match incident.phase {
        Phase::Open => playbook::IncidentState::Open,
        Phase::Acknowledged => playbook::IncidentState::Acknowledged,
        Phase::Mitigated => playbook::IncidentState::Mitigated,
        Phase::Resolved => playbook::IncidentState::Resolved,
        Phase::Merged(_) => return None,
    };
    Some(playbook::Case {
        incident: id.to_string(),
        state,
        gravity: match incident.severity {
            Severity::Info => playbook::Gravity::Info,
            Severity::Warning => playbook::Gravity::Warning,
            Severity::Error => playbook::Gravity::Error,
            Severity::Critical => playbook::Gravity::Critical,
        },
        things: incident.things.keys().map(ToString::to_string).collect(),
    })
}

/// What runs and schedules need now.
pub(crate) fn due(state: &State, now_ms: u64) -> Vec<Event> {
    if next_due_ms(state).is_none_or(|due_ms| now_ms < due_ms) {
        return Vec::new();
    }
    let view = view(state);
    let mut events = Vec::new();
    let mut incidents = state.incidents.clone();
    let mut counts = state.playbooks.counts.clone();
    for event in playbook::step::due(&state.playbooks, now_ms, &view) {
        if replace::must_wait(state, &events, &event) {
            continue;
        }
        match work_item::added(state, now_ms, &incidents, &event) {
            Err(why) => events.push(Event::Playbook(not_begun(event, why))),
            Ok(added) => {
                if let Some(Event::Incident(change)) = &added {
                    incidents.apply(state.next, now_ms, change);
                }
                if let playbook::Event::Begun {
                    act: Act::Replicas { service, count, .. },
                    ..
                } = &event
                {
                    counts.insert(service.clone(), *count);
                }
                let follows = faults_ending(&event).into_iter();
                let follows = follows.chain(replace::begun(&event)).chain(added);
                let follows: Vec<Event> = follows.collect();
                events.push(Event::Playbook(event));
                events.extend(follows);
            }
        }
    }
    // Placing is the kernel's own, too; once for all runs, so that none is placed twice.
    if let Some(desired) = &state.desired
        && counts != state.playbooks.counts
    {
        events.extend(place(desired, &state.lost, &state.placed, &counts));
    }
    if state.paused.is_none() {
        let scheduled = playbook::scheduled(&state.playbooks, now_ms, &view, &calendar);
        events.extend(scheduled.into_iter().map(Event::Playbook));
    }
    events
}

/// What playbooks know of the calendar: when cron is due first after a moment.
pub fn calendar(cron: &str, after_ms: u64) -> Option<u64> {
    let cron = Cron::parse(cron, |_| Err("`every` is a trigger of its own".to_string()));
    cron.ok()?.next(after_ms / 1_000)?.checked_mul(1_000)
}

pub(crate) fn next_due_ms(state: &State) -> Option<u64> {
    let paused = state.paused.is_some();
    let runs = playbook::step::next_due_ms(&state.playbooks, paused, || view(state));
    let scheduled = match paused {
        true => None,
        false => playbook::next_scheduled_ms(&state.playbooks, &calendar),
    };
    runs.into_iter().chain(scheduled).min()
}

/// A step that cannot be done after all.
fn not_begun(event: playbook::Event, why: String) -> playbook::Event {
    let playbook::Event::Begun {
        run, step, undo, ..
    } = event
    else {
        return event;
    };
    let ending = playbook::Ending::UndoFailed;
    match undo {
        true => playbook::Event::Ended { run, ending, why },
        false => playbook::Event::Failed { run, step, why },
    }
}

/// Ending faults is the kernel's own: a run only says which.
fn faults_ending(event: &playbook::Event) -> Vec<Event> {
    let playbook::Event::Begun {
        run,
        act: Act::ClearFaults { faults },
        ..
    } = event
    else {
        return Vec::new();
    };
    let known = faults.iter().filter_map(|fault| fault.parse().ok());
    let ending = known.map(|fault: FaultId| Event::FaultEnding {
        fault,
        why: EndReason::Playbook {
            run: run.to_string(),
        },
    });
    ending.collect()
}

/// The effect that an event orders, and who carries it out.
pub(crate) fn ordered(state: &State, event: &playbook::Event) -> Option<(Effect, Executor)> {
    let (work, host) = if let playbook::Event::Looked { look, .. } = event {
        (Work::Look(look.clone()), look.host.as_deref())
    } else if let playbook::Event::Begun {
        run,
        act,
        step,
        undo,
        ..
    } = event
        && !act.is_done_by_writing()
    {
        let stamp = Stamp::of(state, *run, *step, *undo)?;
        let run = state.playbooks.runs.get(run)?;
        let step = run.book.steps.get(usize::try_from(*step).ok()?)?;
        let work = Work::Act {
            act: act.clone(),
            limit_ms: step.timeout_ms,
            stamp,
        };
        (work, act.host())
    } else {
        return None;
    };
    let executor = match host {
        // A name that is none belongs to no host, and nobody does it.
        Some(host) => Executor::Host(host.parse().ok()?),
        None => Executor::Leader,
    };
    Some((Effect::Playbook(work), executor))
}

pub(crate) fn finished(state: &mut State, at_ms: u64, effect: EffectId, outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Done { detail } => playbook::Outcome::Done(detail.clone()),
        Outcome::Failed { why } => playbook::Outcome::Failed(why.clone()),
        Outcome::Unknown { why } => playbook::Outcome::Unknown(why.clone()),
    };
    state.playbooks.finished(effect.0.0, at_ms, &outcome);
}

/// For whoever gave the command.
pub(crate) fn told(event: &playbook::Event) -> String {
    use playbook::Event as E;
    match event {
        E::Adopted { book, source, .. } => {
            let from = match source {
                playbook::Source::Person => "",
                playbook::Source::File => ", as the platform file says",
            };
            alloc::format!(
                "playbook {} version {} is in force{from}",
                book.name,
                book.version
            )
        }
        E::Withdrawn { book, .. } => alloc::format!("playbook {book} is out of force"),
        E::Opened {
            run,
            book,
            opening: playbook::Opening::Waits { needs, .. },
            ..
        } => alloc::format!("run {run} of {book} waits for approvals ({needs} in all)"),
        E::Opened { run, book, .. } => alloc::format!("run {run} of {book} begins"),
        E::Approved { run, .. } => alloc::format!("run {run} is approved"),
        E::Aborted { run, .. } => alloc::format!("run {run} ends"),
        E::Declined { .. }
        | E::Started { .. }
        | E::Begun { .. }
        | E::Looked { .. }
        | E::Skipped { .. }
        | E::Failed { .. }
        | E::Asks { .. }
        | E::Ended { .. } => String::new(),
    }
}
