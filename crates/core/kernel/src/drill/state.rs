//! What the journal says of drills, folded.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_schedule::Cron;
use mainstay_units::Position;

use super::plan::{
    DrillEnd, DrillId, DrillNews, DrillPlan, DrillVerdict, Measurement, Schedule, ServiceVerdict,
    StepOutcome,
};
use crate::authority::By;
use crate::event::Record;

/// Runs that are over and still told of; the journal has all.
const ENDED_MAX: usize = 50;

/// A document in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub digest: String,
    pub schedule: Option<Schedule>,
    pub position: Position,
    pub by: By,
    pub since_ms: u64,
    /// It counts as done until then: its adoption, or the beginning of the last run that came to a verdict.
    pub done_ms: u64,
    /// It was due then and has not run: the alarm that stands.
    pub missed_ms: Option<u64>,
    /// When a run of this very text began last, however it ended.
    pub tried_ms: Option<u64>,
    /// How many began since it was due.
    pub tries: u32,
    /// The command that carried the last of them died.
    pub is_abandoned: bool,
}

impl Adopted {
    /// When it is due next, or was due and has not run.
    pub fn due_ms(&self) -> Option<u64> {
        let cron = cron(&self.schedule.as_ref()?.cron).ok()?;
        Some(cron.next(self.done_ms / 1_000)?.saturating_mul(1_000))
    }

    /// When it is an alarm that it has not run.
    pub(crate) fn missed_at_ms(&self) -> Option<u64> {
        let late_ms = self.late_ms()?;
        self.missed_ms.is_none().then_some(late_ms)
    }

    /// It should have run by then.
    fn late_ms(&self) -> Option<u64> {
        let within_ms = self.schedule.as_ref()?.within_ms;
        Some(self.due_ms()?.saturating_add(within_ms))
    }

    fn try_again(&mut self, at_ms: u64) {
        let is_first = !self.was_tried();
        self.tries = if is_first {
            1
        } else {
            self.tries.saturating_add(1)
        };
        self.tried_ms = Some(at_ms);
        self.is_abandoned = false;
    }

    /// Whether a run of it has begun since it was due.
    fn was_tried(&self) -> bool {
        let tried = self.tried_ms.zip(self.due_ms());
        tried.is_some_and(|(tried_ms, due_ms)| tried_ms >= due_ms)
    }

    /// Whether it may be started by whoever leads: it is due and nobody has tried since. A run that was aborted, or was
    /// inconclusive, is for people to look at, not to be repeated; one whose command died says nothing of the platform,
    /// so it is begun once more, as long as it is in time.
    pub(super) fn may_start(&self, now_ms: u64) -> bool {
        let is_due = self.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
        let in_time = self.late_ms().is_some_and(|late_ms| now_ms < late_ms);
        let once_more = self.tries == 1 && self.is_abandoned && in_time;
        is_due && (!self.was_tried() || once_more)
    }
}

/// A drill is due at times of the calendar: `@every` would begin anew with each run.
pub(crate) fn cron(text: &str) -> Result<Cron, String> {
    Cron::parse(text, |_| {
        Err("a drill is due at times of the calendar, not every so often".to_string())
    })
}

/// The run that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    pub id: DrillId,
    pub plan: Box<DrillPlan>,
    pub by: By,
    pub since_ms: u64,
    pub until_ms: u64,
    /// The step that has begun and not ended.
    pub step: Option<String>,
    pub ended: BTreeMap<String, StepOutcome>,
    pub confirmed: BTreeSet<String>,
    pub measurements: Vec<Measurement>,
    pub deviations: u32,
    /// Since when the command that carried it is known to have died.
    pub abandoned_ms: Option<u64>,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub id: DrillId,
    pub name: String,
    pub since_ms: u64,
    pub ended_ms: u64,
    pub end: DrillEnd,
    pub services: Vec<ServiceVerdict>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drills {
    pub adopted: BTreeMap<String, Adopted>,
    pub running: Option<Drill>,
    /// Newest last.
    pub ended: Vec<Ended>,
    pub ever: u64,
}

impl Drills {
    pub(crate) fn apply(&mut self, record: &Record, news: &DrillNews) {
        let at_ms = record.at_ms;
        match news {
            DrillNews::Adopted { adoption, by, .. } => {
                // What is owed stays owed under another text.
                let known = self.adopted.get(&adoption.name);
                let known = known.filter(|_| adoption.schedule.is_some());
                let adopted = Adopted {
                    digest: adoption.digest.clone(),
                    schedule: adoption.schedule.clone(),
                    position: record.position,
                    by: by.clone(),
                    since_ms: at_ms,
                    done_ms: known.map_or(at_ms, |known| known.done_ms),
                    missed_ms: known.and_then(|known| known.missed_ms),
                    tried_ms: None,
                    tries: 0,
                    is_abandoned: false,
                };
                self.adopted.insert(adoption.name.clone(), adopted);
            }
            DrillNews::Withdrawn { name, .. } => {
                self.adopted.remove(name);
            }
            DrillNews::Missed { name, due_ms } => {
                if let Some(adopted) = self.adopted.get_mut(name) {
                    adopted.missed_ms = Some(*due_ms);
                }
            }
            DrillNews::Begun {
                drill,
                plan,
                until_ms,
                by,
                ..
            } => {
                self.ever = self.ever.max(drill.0);
                let adopted = self.adopted.get_mut(&plan.name);
                if let Some(adopted) = adopted.filter(|known| known.digest == plan.digest) {
                    adopted.try_again(at_ms);
                }
                self.running = Some(Drill {
                    id: *drill,
                    plan: plan.clone(),
                    by: by.clone(),
                    since_ms: at_ms,
                    until_ms: *until_ms,
                    step: None,
                    ended: BTreeMap::new(),
                    confirmed: BTreeSet::new(),
                    measurements: Vec::new(),
                    deviations: 0,
                    abandoned_ms: None,
                });
            }
            DrillNews::Ended {
                drill,
                end,
                services,
                ..
            } => self.end(at_ms, *drill, end, services),
            DrillNews::Abandoned { drill } => self.abandon(at_ms, *drill),
            // The journal alone has it: nothing is decided by it.
            DrillNews::Signed { .. } => {}
            DrillNews::StepBegun { .. }
            | DrillNews::StepEnded { .. }
            | DrillNews::Confirmed { .. }
            | DrillNews::Measured { .. }
            | DrillNews::Deviated { .. } => self.go_on(news),
        }
    }

    fn go_on(&mut self, news: &DrillNews) {
        let Some(running) = self.running.as_mut() else {
            return;
        };
        if let DrillNews::StepBegun { step, .. } = news {
            running.step = Some(step.clone());
        }
        if let DrillNews::StepEnded { end, .. } = news {
            running.step = None;
            running.ended.insert(end.step.clone(), end.outcome);
        }
        if let DrillNews::Confirmed { step, .. } = news {
            running.confirmed.insert(step.clone());
        }
        if let DrillNews::Measured { measurement, .. } = news {
            running.measurements.push((**measurement).clone());
        }
        if let DrillNews::Deviated { .. } = news {
            running.deviations = running.deviations.saturating_add(1);
        }
    }

    fn abandon(&mut self, at_ms: u64, id: DrillId) {
        let Some(run) = self.running.as_mut().filter(|run| run.id == id) else {
            return;
        };
        run.abandoned_ms = Some(at_ms);
        let adopted = self.adopted.get_mut(&run.plan.name);
        if let Some(adopted) = adopted.filter(|known| known.digest == run.plan.digest) {
            adopted.is_abandoned = true;
        }
    }

    fn end(&mut self, at_ms: u64, id: DrillId, end: &DrillEnd, services: &[ServiceVerdict]) {
        let Some(run) = self.running.take_if(|running| running.id == id) else {
            return;
        };
        if self.satisfies(&run, end.verdict)
            && let Some(adopted) = self.adopted.get_mut(&run.plan.name)
        {
            adopted.done_ms = adopted.done_ms.max(run.since_ms);
            adopted.missed_ms = adopted.missed_ms.filter(|due_ms| *due_ms > run.since_ms);
        }
        if self.ended.len() >= ENDED_MAX {
            self.ended.remove(0);
        }
        self.ended.push(Ended {
            id,
            name: run.plan.name.clone(),
            since_ms: run.since_ms,
            ended_ms: at_ms,
            end: end.clone(),
            services: services.to_vec(),
        });
    }

    /// Whether a run counts for the schedule: of the very document in force, and with a verdict of whoever carried it.
    fn satisfies(&self, run: &Drill, verdict: DrillVerdict) -> bool {
        let is_it = |adopted: &Adopted| adopted.digest == run.plan.digest;
        let is_judged = matches!(verdict, DrillVerdict::Passed | DrillVerdict::Failed);
        let is_whole = run.abandoned_ms.is_none();
        is_judged && is_whole && self.adopted.get(&run.plan.name).is_some_and(is_it)
    }

    /// The drill whose alarm ends with this, if one does.
    pub(crate) fn calms<'a>(&'a self, news: &'a DrillNews) -> Option<&'a str> {
        if let DrillNews::Withdrawn { name, .. } = news {
            return self.adopted.get(name)?.missed_ms.map(|_| name.as_str());
        }
        if let DrillNews::Adopted { adoption, .. } = news {
            let known = self.adopted.get(&adoption.name)?;
            let known = Some(known).filter(|_| adoption.schedule.is_none())?;
            return known.missed_ms.map(|_| adoption.name.as_str());
        }
        if let DrillNews::Ended { drill, end, .. } = news {
            let run = self.running.as_ref().filter(|run| run.id == *drill)?;
            let missed_ms = self.adopted.get(&run.plan.name)?.missed_ms?;
            let ends = self.satisfies(run, end.verdict) && missed_ms <= run.since_ms;
            return ends.then_some(run.plan.name.as_str());
        }
        None
    }
}
