//! The timetable: what begins when, and lasts how long.
//!
//! Chaos counts its duration from its creation, Schedules fire by cron and, unless overlap is allowed, not while their
//! last run goes on; Workflows run their templates one after the other or beside each other, cut off by deadlines.

use std::time::Duration;

use mainstay_schedule::Cron;

use crate::document::{Body, Chaos, Document, Schedule, Workflow, is_one_shot};
use crate::go;
use crate::kinds::ELSEWHERE;

/// More than so many injections are several experiments.
const STEPS_MAX: usize = 500;
/// A fault that lasts longer is refused when it is due, and an experiment as it begins.
const LASTS_MAX: Duration = Duration::from_secs(3_600);
/// Templates within templates.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug)]
pub struct Step {
    /// From the beginning.
    pub at: Duration,
    /// Absent for what is over at once.
    pub lasts: Option<Duration>,
    pub chaos: Chaos,
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In order of time.
    pub steps: Vec<Step>,
    pub ends: Duration,
    /// Parts that cannot be run here, and why.
    pub refused: Vec<(String, String)>,
}

/// The timetable of documents that begin together at `now` (seconds since 1970, UTC).
pub fn plan(documents: &[&Document], window: Option<Duration>, now: u64) -> Result<Plan, String> {
    let mut planner = Planner {
        plan: Plan::default(),
        window,
        now,
    };
    for document in documents {
        let name = document.subject();
        let end = planner.body(&document.body, &name, Duration::ZERO, None)?;
        planner.plan.ends = planner.plan.ends.max(end);
    }
    planner.plan.steps.sort_by_key(|step| step.at);
    Ok(planner.plan)
}

struct Planner {
    plan: Plan,
    window: Option<Duration>,
    now: u64,
}

impl Planner {
    fn refuse(&mut self, name: &str, why: &str) {
        self.plan.refused.push((name.to_owned(), why.to_owned()));
    }

    fn step(&mut self, at: Duration, lasts: Option<Duration>, chaos: &Chaos) -> Result<(), String> {
        if self.plan.steps.len() >= STEPS_MAX {
            return Err(format!(
                "more than {STEPS_MAX} injections: make it several experiments"
            ));
        }
        if let Some(lasts) = lasts.filter(|lasts| *lasts > LASTS_MAX) {
            let written = chaos.spec.get("duration").unwrap_or(&chaos.spec);
            let why = format!(
                "line {}: it would last for {}, and a fault lasts at most an hour: give it a duration, or its template a deadline, of 1h at most",
                written.place.line,
                go::written(lasts)
            );
            self.refuse(&format!("{}/{}", chaos.kind, chaos.name), &why);
        }
        self.plan.steps.push(Step {
            at,
            lasts,
            chaos: chaos.clone(),
        });
        Ok(())
    }

    /// When it ends. `deadline`: when it is cut off, by whatever it is a part of.
    fn body(
        &mut self,
        body: &Body,
        name: &str,
        at: Duration,
        deadline: Option<Duration>,
    ) -> Result<Duration, String> {
        match body {
            Body::Chaos(chaos) => self.chaos(chaos, name, at, deadline),
            Body::Schedule(schedule) => self.schedule(schedule, name, at, deadline),
            Body::Workflow(workflow) => {
                self.template(workflow, &workflow.entry, name, at, deadline, 0)
            }
            Body::Experiment(_) => Err(format!("{name} is an experiment itself")),
            Body::Elsewhere => {
                self.refuse(name, "this kind needs a cluster");
                Ok(at)
            }
        }
    }

    fn chaos(
        &mut self,
        chaos: &Chaos,
        name: &str,
        at: Duration,
        deadline: Option<Duration>,
    ) -> Result<Duration, String> {
        if is_one_shot(chaos) {
            self.step(at, None, chaos)?;
            return Ok(deadline.unwrap_or(at));
        }
        let own = chaos.duration().map(|duration| at + duration);
        let end = [own, deadline].into_iter().flatten().min();
        let end = end.or_else(|| self.window.map(|window| at + window));
        let Some(end) = end else {
            return Err(format!("{name} never ends: give it a duration"));
        };
        self.step(at, Some(end.saturating_sub(at)), chaos)?;
        Ok(end)
    }

    fn schedule(
        &mut self,
        schedule: &Schedule,
        name: &str,
        at: Duration,
        deadline: Option<Duration>,
    ) -> Result<Duration, String> {
        let cron = Cron::parse(&schedule.schedule, go::duration)?;
        let end = deadline.or_else(|| self.window.map(|window| at + window));
        let Some(end) = end else {
            return Err(format!("{name} never ends: give the experiment a window"));
        };
        let Some(body) = &schedule.chaos else {
            self.refuse(name, "this kind needs a cluster");
            return Ok(end);
        };
        let (mut fires, mut busy_until) = (self.now + at.as_secs(), at);
        while let Some(next) = cron.next(fires) {
            fires = next;
            let begins = Duration::from_secs(fires.saturating_sub(self.now));
            if begins >= end {
                break;
            }
            // A run that is due while the last one goes on is left out.
            if !schedule.allows_overlap && begins < busy_until {
                continue;
            }
            let until = self.body(body, name, begins, Some(end).filter(|_| deadline.is_some()))?;
            busy_until = until;
            self.plan.ends = self.plan.ends.max(until);
        }
        Ok(end)
    }

    fn template(
        &mut self,
        workflow: &Workflow,
        template: &str,
        name: &str,
        at: Duration,
        deadline: Option<Duration>,
        depth: usize,
    ) -> Result<Duration, String> {
        let Some(known) = workflow.templates.get(template) else {
            return Err(format!("{name} has no template {template}"));
        };
        if depth > DEPTH_MAX {
            return Err(format!("{name}: {template} is a part of itself"));
        }
        let own = known.deadline.map(|deadline| at + deadline);
        let deadline = [own, deadline].into_iter().flatten().min();
        let inside = format!("{name} {template}");
        let is_late = |at: Duration| deadline.is_some_and(|deadline| at >= deadline);
        let end = match known.kind.as_str() {
            "Suspend" => deadline.unwrap_or(at),
            "Serial" => {
                let mut now = at;
                for child in &known.children {
                    if is_late(now) {
                        break;
                    }
                    now = self.template(workflow, child, name, now, deadline, depth + 1)?;
                }
                now
            }
            "Parallel" => {
                let mut end = at;
                for child in &known.children {
                    end = end.max(self.template(workflow, child, name, at, deadline, depth + 1)?);
                }
                end
            }
            "Task" => {
                self.refuse(&inside, "a Task is a container, and none can be run here; its branches are not followed");
                at
            }
            "StatusCheck" => {
                self.refuse(&inside, "a StatusCheck asks one status code; write what must hold as steadyState of an Experiment");
                at
            }
            kind if ELSEWHERE.contains(&kind) => {
                self.refuse(&inside, "this kind needs a cluster");
                deadline.unwrap_or(at)
            }
            _ => match &known.body {
                Some(body) => self.body(body, &inside, at, deadline)?,
                None => at,
            },
        };
        Ok(deadline.map_or(end, |deadline| end.min(deadline)))
    }
}
