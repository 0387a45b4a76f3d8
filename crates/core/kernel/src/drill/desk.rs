//! Who may run a drill, when, and what becomes of one that nobody ends or nobody runs.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use mainstay_model::EnvironmentKind;
use mainstay_model::people::Permission;

use super::judge::borne_out;
use super::plan::{
    Adoption, DrillAsk, DrillEnd, DrillId, DrillNews, DrillPlan, DrillVerdict, Measurement,
    Signature,
};
use super::state::{Adopted, Drill, cron};
use crate::authority::{Actor, By, authorize};
use crate::decide::Decision;
use crate::event::{EndReason, Event};
use crate::experiment::desk::hindrance;
use crate::fault::FaultId;
use crate::signal::Command;
use crate::state::{Fault, FaultPhase, State};
use crate::why::{Refusal, Why};

/// Whoever runs a drill has this long after its planned end to measure and to say what came of it.
const AFTERWARDS_MS: u64 = 120_000;
/// Faults of a drill whose command died have so long to be undone.
const MENDING_MS: u64 = 60_000;
/// Longer drills are several.
const LASTS_MS_MAX: u64 = 12 * 3_600_000;
/// Drills in force.
const ADOPTED_MAX: usize = 50;
const TEXT_BYTES_MAX: usize = 48 * 1_024;
const STEPS_MAX: usize = 64;
const DEVIATIONS_MAX: u32 = 200;
const MEASUREMENTS_MAX: usize = 64;
/// Of one measurement; what is longer belongs in a file beside the journal.
const VALUES_MAX: usize = 64;
const LISTED_MAX: usize = 1_000;

pub(crate) fn asked(
    state: &State,
    now_ms: u64,
    command: &Command,
    ask: &DrillAsk,
) -> Result<Vec<Event>, Refusal> {
    let needed = match ask {
        DrillAsk::Adopt(_) | DrillAsk::Withdraw { .. } => Permission::DrillAdopt,
        DrillAsk::Confirm { .. } => Permission::DrillConfirm,
        DrillAsk::Sign { .. } => Permission::DrillSign,
        DrillAsk::Begin(_)
        | DrillAsk::BeginStep { .. }
        | DrillAsk::EndStep { .. }
        | DrillAsk::Measure { .. }
        | DrillAsk::Deviate { .. }
        | DrillAsk::End { .. } => Permission::DrillRun,
    };
    let by = authorize(state, &command.actor, needed)?;
    if state.desired.is_none() {
        return Err(Refusal::NoPlatform);
    }
    let news = match ask {
        DrillAsk::Adopt(adoption) => adopt(state, command, adoption, by)?,
        DrillAsk::Withdraw { name } => withdraw(state, command, name, by)?,
        DrillAsk::Begin(plan) => begin(state, now_ms, command, plan, by)?,
        DrillAsk::Confirm { drill, step } => confirm(state, command, *drill, step, by)?,
        DrillAsk::End { drill, end } => ended(running(state, *drill)?, end),
        DrillAsk::Sign { drill, signature } => sign(state, command, *drill, *signature, by)?,
        DrillAsk::BeginStep { drill, step, what } => {
            begin_step(running(state, *drill)?, step, what)?
        }
        DrillAsk::EndStep { drill, end } => {
            let run = running(state, *drill)?;
            if run.ended.contains_key(&end.step) || run.plan_step(&end.step).is_none() {
                return Err(untimely(format!("step {} cannot end now", end.step)));
            }
            DrillNews::StepEnded {
                drill: *drill,
                end: end.clone(),
            }
        }
        DrillAsk::Measure { drill, measurement } => measure(running(state, *drill)?, measurement)?,
        DrillAsk::Deviate { drill, deviation } => {
            if running(state, *drill)?.deviations >= DEVIATIONS_MAX {
                return Err(untimely("it has as many deviations as one may have"));
            }
            DrillNews::Deviated {
                drill: *drill,
                deviation: deviation.clone(),
            }
        }
    };
    Ok(vec![Event::Drill(news)])
}

/// Whoever runs a drill that is in force may break things while a step of his is under way, and mend them until its end:
/// what will be broken was read by whoever put the document in force.
pub(crate) fn may_break(state: &State, actor: &Actor) -> Result<By, Refusal> {
    let by = authorize(state, actor, Permission::DrillRun)?;
    let none = || Refusal::NoSuchDrill {
        drill: "that you run".to_string(),
    };
    let run = state.drills.running.as_ref().ok_or_else(none)?;
    let adopted = state.drills.adopted.get(&run.plan.name);
    let in_force = adopted.is_some_and(|adopted| adopted.digest == run.plan.digest);
    let goes_on = run.step.is_some() && run.abandoned_ms.is_none();
    match in_force && goes_on && run.by.actor.uid == actor.uid {
        true => Ok(by),
        false => Err(none()),
    }
}

fn untimely(why: impl Into<String>) -> Refusal {
    Refusal::DrillUntimely { why: why.into() }
}

fn no_such(drill: impl ToString) -> Refusal {
    Refusal::NoSuchDrill {
        drill: drill.to_string(),
    }
}

fn running(state: &State, id: DrillId) -> Result<&Drill, Refusal> {
    let running = state.drills.running.as_ref().filter(|run| run.id == id);
    let running = running.ok_or_else(|| no_such(id))?;
    match running.abandoned_ms {
        None => Ok(running),
        Some(_) => Err(untimely(format!("the command that carried {id} has died"))),
    }
}

/// The leader's node saw that nobody carries the run any more.
pub(crate) fn abandoned(state: &State, id: DrillId) -> Decision {
    match running(state, id) {
        Ok(_) => Decision::of(vec![Event::Drill(DrillNews::Abandoned { drill: id })]),
        Err(_) => Decision::nothing(Why::DrillNotCarried),
    }
}

fn adopt(
    state: &State,
    command: &Command,
    adoption: &Adoption,
    by: By,
) -> Result<DrillNews, Refusal> {
    let known = state.drills.adopted.get(&adoption.name);
    if known.is_some_and(|known| known.digest == adoption.digest) {
        return Err(untimely(format!(
            "this very text of {} is in force already",
            adoption.name
        )));
    }
    if known.is_none() && state.drills.adopted.len() >= ADOPTED_MAX {
        return Err(untimely(format!("{ADOPTED_MAX} drills are in force")));
    }
    if adoption.text.len() > TEXT_BYTES_MAX {
        return Err(untimely(format!(
            "a text has at most {TEXT_BYTES_MAX} bytes"
        )));
    }
    if let Some(schedule) = &adoption.schedule {
        cron(&schedule.cron).map_err(untimely)?;
        // It will be run by nobody else, as the user that runs the platform.
        if schedule.starts_from.is_some() {
            authorize(state, &command.actor, Permission::DrillRun)?;
            approved_in_production(state, command)?;
        }
    }
    Ok(DrillNews::Adopted {
        adoption: Box::new(adoption.clone()),
        by,
        reason: command.reason.clone(),
    })
}

fn withdraw(state: &State, command: &Command, name: &str, by: By) -> Result<DrillNews, Refusal> {
    if !state.drills.adopted.contains_key(name) {
        return Err(no_such(name));
    }
    Ok(DrillNews::Withdrawn {
        name: name.to_string(),
        by,
        reason: command.reason.clone(),
    })
}

fn begin(
    state: &State,
    now_ms: u64,
    command: &Command,
    plan: &DrillPlan,
    by: By,
) -> Result<DrillNews, Refusal> {
    approved_in_production(state, command)?;
    if plan.lasts_ms > LASTS_MS_MAX {
        return Err(untimely("it would last for more than twelve hours"));
    }
    if plan.steps.len() > STEPS_MAX || plan.text.len() > TEXT_BYTES_MAX {
        return Err(untimely(format!(
            "a drill has at most {STEPS_MAX} steps and {TEXT_BYTES_MAX} bytes of text"
        )));
    }
    if let Some(why) = hindrance(state) {
        return Err(untimely(why));
    }
    let adopted = state.drills.adopted.get(&plan.name);
    let approved = adopted.filter(|adopted| adopted.digest == plan.digest);
    Ok(DrillNews::Begun {
        drill: DrillId(state.drills.ever + 1),
        plan: Box::new(plan.clone()),
        approved: approved.map(|adopted: &Adopted| adopted.position),
        platform: state.digest.clone().unwrap_or_default(),
        until_ms: now_ms
            .saturating_add(plan.lasts_ms)
            .saturating_add(AFTERWARDS_MS),
        by,
        reason: command.reason.clone(),
    })
}

fn approved_in_production(state: &State, command: &Command) -> Result<(), Refusal> {
    let is_production = state
        .desired
        .as_ref()
        .is_some_and(|desired| desired.environment == EnvironmentKind::Production);
    if is_production {
        authorize(state, &command.actor, Permission::FaultApprove)
            .map_err(|_| Refusal::ProductionUnapproved)?;
    }
    Ok(())
}

fn begin_step(run: &Drill, step: &str, what: &str) -> Result<DrillNews, Refusal> {
    if run.plan_step(step).is_none() || run.ended.contains_key(step) || run.step.is_some() {
        return Err(untimely(format!("step {step} cannot begin now")));
    }
    Ok(DrillNews::StepBegun {
        drill: run.id,
        step: step.to_string(),
        what: what.to_string(),
    })
}

fn confirm(
    state: &State,
    command: &Command,
    drill: DrillId,
    step: &str,
    by: By,
) -> Result<DrillNews, Refusal> {
    let run = running(state, drill)?;
    let is_due = run.step.as_deref() == Some(step) && !run.confirmed.contains(step);
    match run.plan_step(step) {
        None => Err(untimely(format!("{drill} has no step {step}"))),
        Some(false) => Err(untimely(format!("step {step} is no person's step"))),
        Some(true) if !is_due => Err(untimely(format!(
            "step {step} does not wait for anybody now"
        ))),
        Some(true) => Ok(DrillNews::Confirmed {
            drill,
            step: step.to_string(),
            by,
            note: command.reason.clone(),
        }),
    }
}

/// A run that is over may be signed by several people, and again: what somebody said once stays in the journal.
fn sign(
    state: &State,
    command: &Command,
    drill: DrillId,
    signature: Signature,
    by: By,
) -> Result<DrillNews, Refusal> {
    if state
        .drills
        .running
        .as_ref()
        .is_some_and(|run| run.id == drill)
    {
        return Err(untimely(format!(
            "{drill} is under way: it has no result yet"
        )));
    }
    let ended = state.drills.ended.iter().find(|ended| ended.id == drill);
    Ok(DrillNews::Signed {
        drill,
        name: ended.ok_or_else(|| no_such(drill))?.name.clone(),
        signature,
        by,
        statement: command.reason.clone(),
    })
}

fn measure(run: &Drill, measurement: &Measurement) -> Result<DrillNews, Refusal> {
    let listed: usize = measurement.lists.values().map(Vec::len).sum();
    if run.measurements.len() >= MEASUREMENTS_MAX
        || measurement.values.len() > VALUES_MAX
        || listed > LISTED_MAX
    {
        return Err(untimely("that is more than a drill may have measured"));
    }
    Ok(DrillNews::Measured {
        drill: run.id,
        measurement: Box::new(measurement.clone()),
    })
}

fn ended(run: &Drill, proposed: &DrillEnd) -> DrillNews {
    let (end, services) = borne_out(run, proposed);
    DrillNews::Ended {
        drill: run.id,
        name: run.plan.name.clone(),
        end,
        services,
    }
}

impl Drill {
    /// Whether a step of this name is a person's; `None`: there is no such step.
    fn plan_step(&self, id: &str) -> Option<bool> {
        let mut steps = self.plan.steps.iter();
        steps.find(|step| step.id == id).map(|step| step.by_person)
    }
}

/// What becomes of a run whose command died: its faults are ended, then it is.
pub(crate) fn mending(state: &State, now_ms: u64) -> Vec<Event> {
    let Some((run, since_ms)) = left(state) else {
        return Vec::new();
    };
    let broken = broken_by(state, run);
    let ending: Vec<Event> = broken
        .clone()
        .filter(|(_, fault)| matches!(fault.phase, FaultPhase::Setting | FaultPhase::Set))
        .map(|(id, _)| Event::FaultEnding {
            fault: *id,
            why: EndReason::Drill { drill: run.id },
        })
        .collect();
    let is_over = now_ms >= since_ms.saturating_add(MENDING_MS);
    if !ending.is_empty() || (broken.clone().next().is_some() && !is_over) {
        return ending;
    }
    let step = run.step.as_ref();
    let nobody = DrillEnd {
        verdict: DrillVerdict::Inconclusive,
        why: match step {
            Some(step) => format!("the command that carried it died in step {step}"),
            None => "the command that carried it died".to_string(),
        },
        deficiencies: Vec::new(),
        residue: named(broken),
    };
    vec![Event::Drill(ended(run, &nobody))]
}

/// The run that nobody carries any more, and since when that is known.
fn left(state: &State) -> Option<(&Drill, u64)> {
    let run = state.drills.running.as_ref()?;
    Some((run, run.abandoned_ms?))
}

/// Nothing was broken when it began, so whatever its tester has broken since belongs to it.
fn broken_by<'a>(
    state: &'a State,
    run: &'a Drill,
) -> impl Iterator<Item = (&'a FaultId, &'a Fault)> + Clone {
    let faults = state.faults.iter();
    faults.filter(|(_, fault)| fault.by.actor.uid == run.by.actor.uid)
}

fn named<'a>(broken: impl Iterator<Item = (&'a FaultId, &'a Fault)>) -> Vec<String> {
    let named = broken.map(|(id, fault)| {
        let (kind, target) = (fault.spec.kind.as_str(), &fault.spec.target);
        format!("fault {id} ({kind} {target})")
    });
    named.collect()
}

/// What time alone brings about: a drill that nobody ends, and drills that nobody runs.
pub(crate) fn due(state: &State, now_ms: u64) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(run) = &state.drills.running
        && run.abandoned_ms.is_none()
        && now_ms >= run.until_ms
    {
        let nobody = DrillEnd {
            verdict: DrillVerdict::Inconclusive,
            why: "whoever ran it did not say how it ended".to_string(),
            deficiencies: Vec::new(),
            residue: named(broken_by(state, run)),
        };
        events.push(Event::Drill(ended(run, &nobody)));
    }
    if state.desired.is_none() {
        return events;
    }
    for (name, adopted) in missable(state) {
        let is_missed = adopted.missed_at_ms().is_some_and(|at_ms| now_ms >= at_ms);
        if let (true, Some(due_ms)) = (is_missed, adopted.due_ms()) {
            events.push(Event::Drill(DrillNews::Missed {
                name: name.clone(),
                due_ms,
            }));
        }
    }
    events
}

/// What whoever leads starts by itself now, and the document of each: it is due, nothing stands in its way, and nobody has
/// tried since, but for one whose command died.
pub fn unattended(state: &State, now_ms: u64) -> Vec<(&str, &str)> {
    if state.desired.is_none() || hindrance(state).is_some() {
        return Vec::new();
    }
    let adopted = state.drills.adopted.iter();
    let due = adopted.filter_map(|(name, adopted)| {
        let document = adopted.schedule.as_ref()?.starts_from.as_deref()?;
        let may_start = adopted.may_start(now_ms);
        may_start.then_some((name.as_str(), document))
    });
    due.collect()
}

/// When [`due`] or [`mending`] will have something to say.
pub(crate) fn next_due_ms(state: &State) -> Option<u64> {
    let running = state.drills.running.iter().map(|run| run.until_ms);
    let running = running.filter(|_| left(state).is_none());
    let mends = left(state).map(
        |(_, since_ms)| match mending(state, state.now_ms).is_empty() {
            true => since_ms.saturating_add(MENDING_MS),
            false => 0,
        },
    );
    let missed = missable(state).filter_map(|(_, adopted)| adopted.missed_at_ms());
    running.chain(mends).chain(missed).min()
}

/// One that runs is waited for.
fn missable(state: &State) -> impl Iterator<Item = (&alloc::string::String, &Adopted)> {
    let running = state.drills.running.as_ref().map(|run| &run.plan.name);
    let adopted = state.drills.adopted.iter();
    adopted.filter(move |(name, _)| Some(*name) != running)
}
