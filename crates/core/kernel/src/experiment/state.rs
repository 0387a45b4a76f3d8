//! Where an experiment stands, as the journal tells it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use mainstay_model::name::HostName;
use mainstay_units::Epoch;

use super::course::UNSEEN;
use super::{
    ExperimentId, ExperimentNews, ExperimentPlan, ExperimentWork, Finding, Moment, Observation,
    Verdict,
};
use crate::alert::{AlertNews, AlertState};
use crate::authority::By;
use crate::effect::{Effect, EffectId, Executor, Outcome};
use crate::event::Record;
use crate::fault::{FaultId, FaultSpec};
use crate::state::State;

/// The experiment that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    pub id: ExperimentId,
    pub plan: Arc<ExperimentPlan>,
    pub until_ms: u64,
    pub by: By,
    pub reason: String,
    pub since_ms: u64,
    pub held: u32,
    pub violated: u32,
    pub missing: u32,
    /// The first that spoke against it.
    pub against: Option<Observation>,
    /// Where it is on its way. Absent for one that a command of an earlier version carries.
    pub(crate) course: Option<Course>,
}

impl Experiment {
    pub(crate) const fn observations(&self) -> u32 {
        self.held
            .saturating_add(self.violated)
            .saturating_add(self.missing)
    }

    /// Faults that were set for it, those that are over included.
    pub fn faults(&self) -> impl Iterator<Item = FaultId> {
        let course = self.course.iter();
        course.flat_map(|course| course.faults.iter().copied())
    }

    /// In a word, for people.
    pub fn phase(&self) -> &'static str {
        match self.course.as_ref().map(|course| course.phase) {
            None => "carried by its command",
            Some(Phase::Before) => "before",
            Some(Phase::Running { .. }) => "running",
            Some(Phase::Mending { .. }) => "mending",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Whether the steady state holds is not known yet.
    Before,
    Running {
        since_ms: u64,
    },
    /// Nothing more is broken; what is broken is mended, and then everything is looked at.
    Mending {
        since_ms: u64,
    },
}

/// An order to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub effect: EffectId,
    pub moment: Moment,
    pub host: HostName,
    /// Of the leadership that ordered it.
    pub epoch: Epoch,
    pub until_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Course {
    pub phase: Phase,
    /// So many injections of the timetable were chosen.
    pub injected: u32,
    pub faults: BTreeSet<FaultId>,
    pub look: Option<Look>,
    pub choice: Option<EffectId>,
    /// How often it was looked in this phase.
    pub looks: u32,
    /// Until when it was looked, and until when something was broken.
    pub seen_to_ms: u64,
    pub broken_to_ms: u64,
    /// Why nobody has seen anything for as long as that may be.
    pub unseen: Option<String>,
    /// Whether everything held at the last look.
    pub held: bool,
    /// What is known of subjects that do not hold.
    pub told: BTreeMap<String, Finding>,
    /// Alerts that stood before; those that began meanwhile, with their severities; and what was told of them.
    pub stood: BTreeSet<String>,
    pub began: BTreeMap<String, String>,
    pub heard: BTreeSet<(String, String)>,
    /// It ends early, and so.
    pub end: Option<(Verdict, String)>,
    pub residue: Option<Vec<String>>,
}

impl Course {
    fn new(state: &State) -> Self {
        let names = state.alerts.values().filter_map(named);
        Self {
            phase: Phase::Before,
            injected: 0,
            faults: BTreeSet::new(),
            look: None,
            choice: None,
            looks: 0,
            seen_to_ms: 0,
            broken_to_ms: 0,
            unseen: None,
            held: true,
            told: BTreeMap::new(),
            stood: names.map(|(name, _)| name).collect(),
            began: BTreeMap::new(),
            heard: BTreeSet::new(),
            end: None,
            residue: None,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.looks = 0;
        self.unseen = None;
    }

    /// The first reason to end early is the one that counts.
    fn ends(&mut self, verdict: Verdict, why: String) {
        self.end.get_or_insert((verdict, why));
    }

    fn looked(&mut self, at_ms: u64, moment: Moment, halt: Option<&String>, residue: &[String]) {
        if let Some(look) = self.look.take() {
            self.seen_to_ms = self.seen_to_ms.max(look.until_ms.min(at_ms));
        }
        self.looks = self.looks.saturating_add(1);
        if let Some(why) = halt {
            self.ends(Verdict::Aborted, why.clone());
        }
        match (moment, self.phase) {
            (Moment::Before, Phase::Before) if self.held && self.end.is_none() => {
                self.enter(Phase::Running { since_ms: at_ms });
            }
            (Moment::Before, _) => self.ends(
                Verdict::Inconclusive,
                "the steady state did not hold before anything was broken".to_string(),
            ),
            (Moment::During, _) => {}
            (Moment::After | Moment::Over, _) => self.residue = Some(residue.to_vec()),
        }
    }

    /// Subjects that are known to be violated.
    fn violated(&self) -> BTreeSet<String> {
        let told = self.told.iter();
        let violated = told.filter(|(_, finding)| **finding == Finding::Violated);
        violated.map(|(subject, _)| subject.clone()).collect()
    }

    fn observed(&mut self, observation: &Observation) {
        let subject = &observation.subject;
        if subject == UNSEEN {
            self.unseen = None;
        }
        self.heard
            .insert((subject.clone(), observation.value.clone()));
        if observation.finding != Finding::Holds {
            self.held = false;
            self.told.insert(subject.clone(), observation.finding);
        }
    }
}

fn named(news: &AlertNews) -> Option<(String, String)> {
    let name = news.labels.get("alertname")?.clone();
    let severity = news.labels.get("severity").cloned();
    Some((name, severity.unwrap_or_default()))
}

/// An alert that begins while an experiment runs belongs to what is seen.
pub(crate) fn alert_changed(state: &mut State, news: &AlertNews) {
    let running = state.experiment.as_mut();
    let Some(course) = running.and_then(|running| running.course.as_mut()) else {
        return;
    };
    if let Some((name, severity)) = named(news)
        && news.state != AlertState::Resolved
        && !course.stood.contains(&name)
    {
        course.began.entry(name).or_insert(severity);
    }
}

/// What an entry orders, and who does it.
pub(crate) fn ordered(state: &State, news: &ExperimentNews) -> Option<(Effect, Executor)> {
    let running = state.experiment.as_ref()?;
    let course = running.course.as_ref()?;
    let (experiment, plan) = (running.id, Arc::clone(&running.plan));
    if let ExperimentNews::Looking {
        moment,
        host,
        within_ms,
        patience_ms,
        ..
    } = news
    {
        let work = ExperimentWork::Look {
            experiment,
            plan,
            moment: *moment,
            within_ms: *within_ms,
            patience_ms: *patience_ms,
            told: course.violated(),
        };
        return Some((Effect::Experiment(work), Executor::Host(host.clone())));
    }
    if let ExperimentNews::Choosing { injection, .. } = news {
        let work = ExperimentWork::Choose {
            experiment,
            plan,
            injection: *injection,
        };
        return Some((Effect::Experiment(work), Executor::Leader));
    }
    None
}

pub(crate) fn apply(state: &mut State, record: &Record, news: &ExperimentNews) {
    match news {
        ExperimentNews::Begun {
            experiment,
            plan,
            until_ms,
            by,
            reason,
        } => {
            state.experiments_ever = state.experiments_ever.max(experiment.0);
            let course = plan.timetable.is_some().then(|| Course::new(state));
            state.experiment = Some(Experiment {
                id: *experiment,
                plan: Arc::clone(plan),
                until_ms: *until_ms,
                by: by.clone(),
                reason: reason.clone(),
                since_ms: record.at_ms,
                held: 0,
                violated: 0,
                missing: 0,
                against: None,
                course,
            });
        }
        ExperimentNews::Ended { experiment, .. } => {
            if state.experiment.as_ref().map(|x| x.id) == Some(*experiment) {
                state.experiment = None;
            }
        }
        ExperimentNews::Observed {
            experiment,
            observation,
        } => {
            if let Some(running) = state.experiment.as_mut().filter(|x| x.id == *experiment) {
                observed(running, observation);
            }
        }
        ExperimentNews::Looking { experiment, .. }
        | ExperimentNews::Looked { experiment, .. }
        | ExperimentNews::Choosing { experiment, .. }
        | ExperimentNews::Chosen { experiment, .. }
        | ExperimentNews::Mending { experiment, .. } => {
            let running = state.experiment.as_mut().filter(|x| x.id == *experiment);
            if let Some(course) = running.and_then(|running| running.course.as_mut()) {
                goes_on(course, record, news);
            }
        }
    }
}

fn goes_on(course: &mut Course, record: &Record, news: &ExperimentNews) {
    match news {
        ExperimentNews::Looking {
            moment,
            host,
            within_ms,
            ..
        } => {
            course.look = Some(Look {
                effect: EffectId(record.position),
                moment: *moment,
                host: host.clone(),
                epoch: record.epoch,
                until_ms: record.at_ms.saturating_add(*within_ms),
            });
            course.held = true;
        }
        ExperimentNews::Looked {
            moment,
            halt,
            residue,
            ..
        } => course.looked(record.at_ms, *moment, halt.as_ref(), residue),
        ExperimentNews::Choosing { .. } => course.choice = Some(EffectId(record.position)),
        ExperimentNews::Chosen {
            injection, faults, ..
        } => {
            course.choice = None;
            course.injected = course.injected.max(injection.saturating_add(1));
            course.faults.extend(faults.iter().copied());
        }
        ExperimentNews::Mending { verdict, why, .. } => {
            course.enter(Phase::Mending {
                since_ms: record.at_ms,
            });
            course.look = None;
            course.choice = None;
            course.end = verdict.map(|verdict| (verdict, why.clone()));
        }
        ExperimentNews::Begun { .. }
        | ExperimentNews::Observed { .. }
        | ExperimentNews::Ended { .. } => {}
    }
}

fn observed(running: &mut Experiment, observation: &Observation) {
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
    if let Some(course) = running.course.as_mut() {
        course.observed(observation);
    }
}

/// A fault of it is set until then at the latest.
pub(crate) fn injected(state: &mut State, fault: FaultId, until_ms: u64) {
    let running = state.experiment.as_mut();
    if let Some(course) = running.and_then(|running| running.course.as_mut())
        && course.faults.contains(&fault)
    {
        course.broken_to_ms = course.broken_to_ms.max(until_ms);
    }
}

/// What became of an order that an experiment waits for, or of a fault of it.
pub(crate) fn finished(state: &mut State, id: EffectId, effect: &Effect, outcome: &Outcome) {
    let running = state.experiment.as_mut();
    let Some(course) = running.and_then(|running| running.course.as_mut()) else {
        return;
    };
    let why = match outcome {
        Outcome::Done { .. } => return,
        Outcome::Failed { why } | Outcome::Unknown { why } => why,
    };
    if let Some(look) = course.look.take_if(|look| look.effect == id)
        && look.moment == Moment::During
    {
        course.unseen = Some(format!("nobody has looked: {why}"));
    }
    if course.choice.take_if(|choice| *choice == id).is_some()
        && let Outcome::Failed { why } = outcome
    {
        course.ends(Verdict::Inconclusive, why.clone());
    }
    if let Effect::SetFault { fault, spec, .. } = effect
        && course.faults.contains(fault)
    {
        course.ends(Verdict::Inconclusive, not_set(spec, outcome));
    }
}

fn not_set(spec: &FaultSpec, outcome: &Outcome) -> String {
    let what = format!("{} {}", spec.kind.as_str(), spec.target);
    match outcome {
        Outcome::Done { detail } => detail.clone(),
        Outcome::Failed { why } => format!("{what}: {why}"),
        Outcome::Unknown { why } => format!("{what}: not known to be set: {why}"),
    }
}
