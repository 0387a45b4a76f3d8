//! Who may begin an experiment, when, and how what comes next becomes entries of the journal.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use mainstay_incident::{Condition, Incident};
use mainstay_model::EnvironmentKind;
use mainstay_model::people::Permission;

use super::course::{self, Move};
use super::state::{Experiment, Phase};
use super::{
    ExperimentAsk, ExperimentId, ExperimentNews, ExperimentPlan, ExperimentTold, ExperimentWork,
    Finding, Observation, Told, Verdict,
};
use crate::alert::AlertState;
use crate::authority::{By, authorize};
use crate::decide::Decision;
use crate::effect::{Effect, EffectId, Outcome};
use crate::event::{EndReason, Event};
use crate::fault::{FaultId, FaultSpec};
use crate::signal::Command;
use crate::state::{FaultPhase, State};
use crate::why::{Refusal, Why};

/// After its planned end an experiment has this long until it is ended as it is.
const AFTERWARDS_MS: u64 = 120_000;
/// Longer experiments are several.
const LASTS_MS_MAX: u64 = 6 * 3_600_000;
/// So much is told of one experiment at most; more belongs in the store of samples.
const OBSERVATIONS_MAX: u32 = 1_000;
/// An entry of the journal holds the whole document.
const TEXT_BYTES_MAX: usize = 48 * 1_024;
const INJECTIONS_MAX: usize = 500;
/// Of one injection.
const FAULTS_MAX: usize = 100;

pub(crate) fn asked(
    state: &State,
    now_ms: u64,
    command: &Command,
    ask: &ExperimentAsk,
) -> Result<Vec<Event>, Refusal> {
    match ask {
        ExperimentAsk::Begin(plan) => {
            let by = authorize(state, &command.actor, Permission::FaultInject)?;
            let news = begin(state, now_ms, command, plan, by)?;
            Ok(vec![Event::Experiment(news)])
        }
        ExperimentAsk::Stop { experiment } => {
            authorize(state, &command.actor, Permission::FaultClear)?;
            stop(state, *experiment, &command.reason)
        }
    }
}

fn running(state: &State, id: ExperimentId) -> Result<&Experiment, Refusal> {
    let running = state.experiment.as_ref().filter(|known| known.id == id);
    running.ok_or_else(|| Refusal::NoSuchExperiment {
        experiment: id.to_string(),
    })
}

fn untimely(why: impl Into<String>) -> Refusal {
    Refusal::ExperimentUntimely { why: why.into() }
}

fn stop(state: &State, id: ExperimentId, reason: &str) -> Result<Vec<Event>, Refusal> {
    let running = running(state, id)?;
    let why = format!("somebody stopped it: {reason}");
    match running.course.as_ref().map(|course| course.phase) {
        Some(Phase::Before | Phase::Running { .. }) => {
            Ok(entries(state, Move::Mend(Some(Verdict::Aborted), why)))
        }
        Some(Phase::Mending { .. }) => Err(Refusal::ExperimentEndsAlready {
            experiment: id.to_string(),
        }),
        // Its command may be gone; its faults have their own ends.
        None => Ok(entries(
            state,
            Move::End {
                verdict: Verdict::Aborted,
                why,
                residue: Vec::new(),
            },
        )),
    }
}

fn begin(
    state: &State,
    now_ms: u64,
    command: &Command,
    plan: &ExperimentPlan,
    by: By,
) -> Result<ExperimentNews, Refusal> {
    let desired = state.desired.as_ref().ok_or(Refusal::NoPlatform)?;
    if desired.environment == EnvironmentKind::Production {
        authorize(state, &command.actor, Permission::FaultApprove)
            .map_err(|_| Refusal::ProductionUnapproved)?;
    }
    if let Some(why) = unsound(plan) {
        return Err(untimely(why));
    }
    if let Some(why) = hindrance(state) {
        return Err(untimely(why));
    }
    Ok(ExperimentNews::Begun {
        experiment: ExperimentId(state.experiments_ever + 1),
        plan: Arc::new(plan.clone()),
        until_ms: now_ms
            .saturating_add(plan.lasts_ms)
            .saturating_add(AFTERWARDS_MS),
        by,
        reason: command.reason.clone(),
    })
}

/// Why it could not be carried.
fn unsound(plan: &ExperimentPlan) -> Option<&'static str> {
    let Some(table) = &plan.timetable else {
        return Some("it has no timetable, so nobody could carry it");
    };
    let slots = &table.injections;
    let ends_ms = table.ends_ms.saturating_add(table.settle_ms);
    if plan.lasts_ms > LASTS_MS_MAX || ends_ms > LASTS_MS_MAX {
        Some("it would last for more than six hours")
    } else if table.text.len() > TEXT_BYTES_MAX {
        Some("its document is longer than 48 KiB")
    } else if slots.is_empty() || slots.len() > INJECTIONS_MAX {
        Some("it has no injection, or more than 500")
    } else if !slots.is_sorted_by_key(|slot| slot.at_ms) {
        Some("its injections are not in order of time")
    } else if slots.iter().any(|slot| slot.at_ms > table.ends_ms) {
        Some("an injection would come after its end")
    } else {
        None
    }
}

/// What is broken on purpose, or is about to be.
pub(crate) fn on_purpose(state: &State) -> Option<String> {
    if let Some(running) = &state.drills.running {
        return Some(format!("drill {} ({}) runs", running.id, running.plan.name));
    }
    if let Some(running) = &state.experiment {
        return Some(format!(
            "experiment {} ({}) runs",
            running.id, running.plan.name
        ));
    }
    let fault = state.faults.keys().next()?;
    Some(format!("fault {fault} is in force"))
}

/// Why nothing more may be broken now: whoever has trouble gets none on top, and two causes have no clear effect.
pub(crate) fn hindrance(state: &State) -> Option<String> {
    if let Some(why) = on_purpose(state) {
        return Some(why);
    }
    let mut incidents = state.incidents.iter();
    let open =
        incidents.find(|(_, incident)| incident.phase.is_unmitigated() && is_trouble(incident));
    if let Some((id, incident)) = open {
        return Some(format!("incident {id} is open: {}", incident.title));
    }
    if state.upgrade.is_some() {
        return Some("an upgrade is under way".to_string());
    }
    if let Some(host) = state.lost.keys().next() {
        return Some(format!("host {host} is lost"));
    }
    if state.paused.is_some() {
        return Some("automation is paused".to_string());
    }
    let calls = |severity: Option<&String>| {
        severity.is_some_and(|word| matches!(word.as_str(), "page" | "critical"))
    };
    let alert = state
        .alerts
        .values()
        .find(|alert| alert.state != AlertState::Resolved && calls(alert.labels.get("severity")))?;
    Some(format!(
        "{} is {} (watch of {})",
        alert.alert,
        alert.state.as_str(),
        alert.watch
    ))
}

/// That a drill was missed is mended by running it.
fn is_trouble(incident: &Incident) -> bool {
    let mut conditions = incident.conditions.iter();
    let is_owed = |condition: &Condition| matches!(condition, Condition::DrillMissed(_));
    incident.conditions.is_empty() || !conditions.all(is_owed)
}

/// The verdict that the journal bears out.
fn borne_out(
    running: &Experiment,
    proposed: Verdict,
    why: &str,
    residue: &[String],
) -> (Verdict, String) {
    if let Some(first) = residue.first() {
        let why = format!("{first} was left behind; {why}");
        return (Verdict::Failed, why);
    }
    let against = |finding: Finding| {
        let first = running.against.as_ref();
        first
            .filter(|seen| seen.finding == finding)
            .map_or_else(String::new, |seen| {
                format!(" ({}: {})", seen.subject, seen.value)
            })
    };
    match proposed {
        Verdict::Failed | Verdict::Aborted => (proposed, why.to_string()),
        Verdict::Passed | Verdict::Inconclusive if running.violated > 0 => (
            Verdict::Failed,
            format!(
                "{} observations are violations{}; {why}",
                running.violated,
                against(Finding::Violated)
            ),
        ),
        Verdict::Passed if running.missing > 0 => (
            Verdict::Inconclusive,
            format!(
                "{} observations could not be made{}; {why}",
                running.missing,
                against(Finding::Missing)
            ),
        ),
        Verdict::Passed if running.held == 0 => (
            Verdict::Inconclusive,
            format!("nothing was observed; {why}"),
        ),
        Verdict::Passed | Verdict::Inconclusive => (proposed, why.to_string()),
    }
}

/// What time and the journal bring about for the experiment that runs.
pub(crate) fn due(state: &State, now_ms: u64) -> Vec<Event> {
    if let Some(next) = course::next(state, now_ms) {
        return entries(state, next);
    }
    match &state.experiment {
        Some(running) if running.course.is_none() && now_ms >= running.until_ms => {
            let end = Move::End {
                verdict: Verdict::Inconclusive,
                why: "whoever ran it did not say how it ended".to_string(),
                residue: Vec::new(),
            };
            entries(state, end)
        }
        Some(_) | None => Vec::new(),
    }
}

pub(crate) fn next_due_ms(state: &State) -> Option<u64> {
    let running = state.experiment.as_ref()?;
    match running.course {
        Some(_) => course::next_due_ms(state),
        None => Some(running.until_ms),
    }
}

/// A move as entries: with each, everything that it makes superfluous is given up.
fn entries(state: &State, next: Move) -> Vec<Event> {
    let Some(running) = &state.experiment else {
        return Vec::new();
    };
    let course = running.course.as_ref();
    let look = course.and_then(|course| course.look.as_ref());
    let look = look.map(|look| look.effect);
    let choice = course.and_then(|course| course.choice);
    let (given_up, mended) = match &next {
        Move::Observe(_) | Move::Choose(_) => ([None, None], Vec::new()),
        Move::Look { .. } => ([look, None], Vec::new()),
        Move::Mend(..) => ([look, choice], mended(state, running)),
        Move::End { .. } => ([look, choice], Vec::new()),
    };
    let given_up = given_up.into_iter().flatten().map(|effect| {
        let why = "it is not needed any more".to_string();
        Event::EffectFinished {
            effect,
            outcome: Outcome::Unknown { why },
        }
    });
    let mut events = vec![Event::Experiment(news(running, next))];
    events.extend(mended);
    events.extend(given_up);
    events
}

fn news(running: &Experiment, next: Move) -> ExperimentNews {
    let experiment = running.id;
    match next {
        Move::Observe(observation) => ExperimentNews::Observed {
            experiment,
            observation,
        },
        Move::Look {
            moment,
            host,
            within_ms,
            patience_ms,
        } => ExperimentNews::Looking {
            experiment,
            moment,
            host,
            within_ms,
            patience_ms,
        },
        Move::Choose(injection) => ExperimentNews::Choosing {
            experiment,
            injection,
        },
        Move::Mend(verdict, why) => ExperimentNews::Mending {
            experiment,
            verdict,
            why,
        },
        Move::End {
            verdict,
            why,
            residue,
        } => {
            let (verdict, why) = borne_out(running, verdict, &why, &residue);
            ExperimentNews::Ended {
                experiment,
                verdict,
                why,
                residue,
            }
        }
    }
}

/// Faults of it that nobody ends yet.
fn mended(state: &State, running: &Experiment) -> Vec<Event> {
    let faults = running.faults().filter(|fault| {
        let known = state.faults.get(fault);
        known.is_some_and(|known| matches!(known.phase, FaultPhase::Setting | FaultPhase::Set))
    });
    let ending = faults.map(|fault| Event::FaultEnding {
        fault,
        why: EndReason::Experiment {
            experiment: running.id,
        },
    });
    ending.collect()
}

/// What a node tells of its work.
pub(crate) fn told(state: &State, now_ms: u64, told: &ExperimentTold) -> Decision {
    let effect = told.effect;
    let nothing = || Decision::nothing(Why::NotOutstanding { effect });
    let Some(running) = &state.experiment else {
        return nothing();
    };
    let outstanding = state.outstanding.get(&effect).map(|known| &known.effect);
    match (outstanding, &told.told) {
        (
            Some(Effect::Experiment(ExperimentWork::Look { moment, .. })),
            Told::Looked {
                seen,
                halt,
                residue,
            },
        ) => {
            let room = OBSERVATIONS_MAX.saturating_sub(running.observations()) as usize;
            let overflow = (seen.len() > room).then(|| "more is seen than can be told".to_string());
            let known = running.course.as_ref().map(|course| &course.told);
            let is_news = |seen: &&Observation| {
                known.is_none_or(|known| known.get(&seen.subject) != Some(&seen.finding))
            };
            let mut events: Vec<Event> = (seen.iter())
                .filter(is_news)
                .take(room)
                .map(|observation| {
                    Event::Experiment(ExperimentNews::Observed {
                        experiment: running.id,
                        observation: observation.clone(),
                    })
                })
                .collect();
            events.push(Event::Experiment(ExperimentNews::Looked {
                experiment: running.id,
                moment: *moment,
                halt: halt.clone().or(overflow),
                residue: residue.clone(),
            }));
            events.push(finished(effect, Ok("looked")));
            Decision::of(events)
        }
        (
            Some(Effect::Experiment(ExperimentWork::Choose { injection, .. })),
            Told::Chosen { what, faults },
        ) => Decision::of(chosen(state, now_ms, effect, *injection, (what, faults))),
        (Some(_) | None, _) => nothing(),
    }
}

fn finished(effect: EffectId, outcome: Result<&str, String>) -> Event {
    let outcome = match outcome {
        Ok(detail) => Outcome::Done {
            detail: detail.to_string(),
        },
        Err(why) => Outcome::Failed { why },
    };
    Event::EffectFinished { effect, outcome }
}

/// What was chosen is set in the same breath: there is no moment in which it could be chosen anew.
fn chosen(
    state: &State,
    now_ms: u64,
    effect: EffectId,
    injection: u32,
    (what, faults): (&str, &[FaultSpec]),
) -> Vec<Event> {
    let (Some(running), Some(desired)) = (&state.experiment, &state.desired) else {
        return Vec::new();
    };
    let mut faulty = faults.iter().filter_map(|spec| spec.check(desired).err());
    if let Some(why) = faulty.next() {
        return vec![finished(effect, Err(format!("{what}: {why}")))];
    }
    if faults.len() > FAULTS_MAX {
        let why = format!("{what}: more than {FAULTS_MAX} faults at once");
        return vec![finished(effect, Err(why))];
    }
    let ids = (1..).map(|more| FaultId(state.faults_ever + more));
    let set: Vec<(FaultId, &FaultSpec)> = ids.zip(faults).collect();
    let mut events = vec![Event::Experiment(ExperimentNews::Chosen {
        experiment: running.id,
        injection,
        what: what.to_string(),
        faults: set.iter().map(|(fault, _)| *fault).collect(),
    })];
    events.extend(set.into_iter().map(|(fault, spec)| Event::FaultInjected {
        fault,
        spec: spec.clone(),
        until_ms: now_ms.saturating_add(spec.lasts_ms),
        by: running.by.clone(),
        reason: format!("experiment {}: {}", running.id, running.reason),
    }));
    events.push(finished(effect, Ok("chosen")));
    events
}
