//! Experiments: faults with a hypothesis, as far as the journal is their witness.
//!
//! Somebody stands at the bench, breaks things by fault commands and measures. What he is about to do, what he saw
//! and what he made of it is journalled here, and the kernel does not take his word for more than that: it refuses
//! the beginning when the time is bad, it lowers the verdict to what the observations bear out, and it ends an
//! experiment that nobody ends. The faults do not depend on any of this: each has its own end and its own guardian.
//!
//! | proposed     | a violation seen | something not measured | nothing measured | left behind |
//! |--------------|------------------|------------------------|------------------|-------------|
//! | passed       | failed           | inconclusive           | inconclusive     | failed      |
//! | failed       | failed           | failed                 | failed           | failed      |
//! | aborted      | aborted          | aborted                | aborted          | failed      |
//! | inconclusive | failed           | inconclusive           | inconclusive     | failed      |

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use mainstay_incident::{Condition, Incident};
use mainstay_model::EnvironmentKind;
use mainstay_model::people::Permission;

use crate::alert::AlertState;
use crate::authority::{By, authorize};
use crate::event::Event;
use crate::signal::Command;
use crate::state::State;
use crate::why::Refusal;

/// Whoever runs an experiment has this long after its planned end to measure and to say what came of it.
const AFTERWARDS_MS: u64 = 120_000;
/// Longer experiments are several.
const LASTS_MS_MAX: u64 = 6 * 3_600_000;
/// So much is told of one experiment at most; more belongs in the store of samples.
const OBSERVATIONS_MAX: u32 = 1_000;

/// Numbers experiments of one platform, from 1. Written `x1`, `x2`, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExperimentId(pub u64);

impl fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{}", self.0)
    }
}

impl core::str::FromStr for ExperimentId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix('x').ok_or(())?;
        digits.parse().map(Self).map_err(|_| ())
    }
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentPlan {
    pub name: String,
    /// SHA-256 of the document, hexadecimal.
    pub digest: String,
    /// Of every random choice.
    pub seed: u64,
    pub hypothesis: String,
    /// What will be broken, in words, each with its fidelity.
    pub injections: Vec<String>,
    pub lasts_ms: u64,
}

/// What a measurement says of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Holds,
    Violated,
    /// It could not be measured, which is never a pass.
    Missing,
}

impl Finding {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Missing => "missing",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Before, during or after what is broken, and which condition.
    pub subject: String,
    pub value: String,
    pub finding: Finding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// An abort condition, or a person, ended it.
    Aborted,
    Inconclusive,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What is asked of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExperimentAsk {
    Begin(ExperimentPlan),
    Observe {
        experiment: ExperimentId,
        observation: Observation,
    },
    End {
        experiment: ExperimentId,
        verdict: Verdict,
        why: String,
        /// What was found of its faults after their end.
        residue: Vec<String>,
    },
}

impl ExperimentAsk {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Begin(_) => "chaos run",
            Self::Observe { .. } => "chaos observe",
            Self::End { .. } => "chaos end",
        }
    }
}

/// What is journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExperimentNews {
    Begun {
        experiment: ExperimentId,
        plan: ExperimentPlan,
        /// Ended by the kernel then, if nobody else does.
        until_ms: u64,
        by: By,
        reason: String,
    },
    Observed {
        experiment: ExperimentId,
        observation: Observation,
    },
    Ended {
        experiment: ExperimentId,
        verdict: Verdict,
        why: String,
        residue: Vec<String>,
    },
}

impl ExperimentNews {
    /// For whoever gave the command.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Begun { experiment, .. } => experiment.to_string(),
            Self::Observed { observation, .. } => observation.finding.as_str().to_string(),
            Self::Ended { verdict, why, .. } => format!("{}: {why}", verdict.as_str()),
        }
    }
}

/// The experiment that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    pub id: ExperimentId,
    pub plan: ExperimentPlan,
    pub until_ms: u64,
    pub by: By,
    pub since_ms: u64,
    pub held: u32,
    pub violated: u32,
    pub missing: u32,
    /// The first that spoke against it.
    pub against: Option<Observation>,
}

impl Experiment {
    const fn observations(&self) -> u32 {
        self.held
            .saturating_add(self.violated)
            .saturating_add(self.missing)
    }
}

pub(crate) fn asked(
    state: &State,
    now_ms: u64,
    command: &Command,
    ask: &ExperimentAsk,
) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::FaultInject)?;
    let news = match ask {
        ExperimentAsk::Begin(plan) => begin(state, now_ms, command, plan, by)?,
        ExperimentAsk::Observe {
            experiment,
            observation,
        } => {
            let running = running(state, *experiment)?;
            if running.observations() >= OBSERVATIONS_MAX {
                return Err(untimely("it has as many observations as one may have"));
            }
            ExperimentNews::Observed {
                experiment: *experiment,
                observation: observation.clone(),
            }
        }
        ExperimentAsk::End {
            experiment,
            verdict,
            why,
            residue,
        } => {
            let (verdict, why) = borne_out(running(state, *experiment)?, *verdict, why, residue);
            ExperimentNews::Ended {
                experiment: *experiment,
                verdict,
                why,
                residue: residue.clone(),
            }
        }
    };
    Ok(vec![Event::Experiment(news)])
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
    if plan.lasts_ms > LASTS_MS_MAX {
        return Err(untimely("it would last for more than six hours"));
    }
    if let Some(why) = hindrance(state) {
        return Err(untimely(why));
    }
    Ok(ExperimentNews::Begun {
        experiment: ExperimentId(state.experiments_ever + 1),
        plan: plan.clone(),
        until_ms: now_ms
            .saturating_add(plan.lasts_ms)
            .saturating_add(AFTERWARDS_MS),
        by,
        reason: command.reason.clone(),
    })
}

/// Why nothing more may be broken now: whoever has trouble gets none on top, and two causes have no clear effect.
pub(crate) fn hindrance(state: &State) -> Option<String> {
    if let Some(running) = &state.drills.running {
        return Some(format!("drill {} ({}) runs", running.id, running.plan.name));
    }
    if let Some(running) = &state.experiment {
        return Some(format!(
            "experiment {} ({}) runs",
            running.id, running.plan.name
        ));
    }
    if let Some(fault) = state.faults.keys().next() {
        return Some(format!("fault {fault} is in force"));
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

/// The end of an experiment that nobody ends.
pub(crate) fn overdue(state: &State, now_ms: u64) -> Option<Event> {
    let running = state.experiment.as_ref()?;
    if now_ms < running.until_ms {
        return None;
    }
    let why = "whoever ran it did not say how it ended";
    let (verdict, why) = borne_out(running, Verdict::Inconclusive, why, &[]);
    Some(Event::Experiment(ExperimentNews::Ended {
        experiment: running.id,
        verdict,
        why,
        residue: Vec::new(),
    }))
}

pub(crate) fn apply(state: &mut State, at_ms: u64, news: &ExperimentNews) {
    match news {
        ExperimentNews::Begun {
            experiment,
            plan,
            until_ms,
            by,
            ..
        } => {
            state.experiments_ever = state.experiments_ever.max(experiment.0);
            state.experiment = Some(Experiment {
                id: *experiment,
                plan: plan.clone(),
                until_ms: *until_ms,
                by: by.clone(),
                since_ms: at_ms,
                held: 0,
                violated: 0,
                missing: 0,
                against: None,
            });
        }
        ExperimentNews::Observed {
            experiment,
            observation,
        } => {
            let Some(running) = state.experiment.as_mut().filter(|x| x.id == *experiment) else {
                return;
            };
            let count = match observation.finding {
                Finding::Holds => &mut running.held,
                Finding::Violated => &mut running.violated,
                Finding::Missing => &mut running.missing,
            };
            *count = count.saturating_add(1);
            let worse = match (observation.finding, &running.against) {
                (Finding::Holds, _) => false,
                (Finding::Missing, known) => known.is_none(),
                (Finding::Violated, known) => known
                    .as_ref()
                    .is_none_or(|known| known.finding == Finding::Missing),
            };
            if worse {
                running.against = Some(observation.clone());
            }
        }
        ExperimentNews::Ended { experiment, .. } => {
            if state.experiment.as_ref().map(|x| x.id) == Some(*experiment) {
                state.experiment = None;
            }
        }
    }
}
