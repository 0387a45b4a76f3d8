//! An experiment asked for, and looked on at until its verdict.
//!
//! Whoever leads carries it (the kernel's table; docs/chaos.md). This command judges beforehand what would be broken,
//! asks the kernel to begin, and then reads aloud from the journal. If it dies, the experiment goes on without it; a
//! person who interrupts it has it stopped, and still sees how it ends.

use std::path::Path;
use std::time::Duration;

use mainstay_chaos::experiment::Experiment;
use mainstay_chaos::judge::Judgement;
use mainstay_derive::Layout;
use mainstay_model::Platform;
use mainstay_node::digest_of;
use mainstay_record::experiment::{
    AlertRulesRecord, ExperimentAskRecord, ExperimentPlanRecord, SlotRecord, TimetableRecord,
};
use mainstay_record::node::{Command, CommandOutcome, MachineRecord};

use super::ask;
use super::bench::{self, Trial};
use super::follow::Follower;
use crate::arguments::{ChaosRun, ChaosStop, Gates};
use crate::client::{command, find, send_past};
use crate::exit::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::print::{json, line, progress};
use crate::validate::read_valid;

/// From one look at the journal to the next.
const BEAT: Duration = Duration::from_millis(300);

pub fn all(arguments: &ChaosRun) -> Outcome {
    let (machine, layout) = find(&arguments.act.platform)?;
    let platform = read_valid(&layout.platform_file())?.0;
    let (checked, text) = bench::read(&arguments.choice)?;
    let interrupt = Interrupt::catch()?;
    let mut verdicts = Vec::new();
    let mut failed = Ok(());
    for trial in bench::trials(&arguments.choice, &checked)? {
        let table = Table {
            machine: &machine,
            layout: &layout,
            platform: &platform,
            file: &arguments.choice.file,
            reason: &arguments.act.reason,
            gates: &arguments.gates,
            interrupt: &interrupt,
            is_quiet: arguments.act.json,
        };
        match table.perform(&trial, &text) {
            Ok(verdict) => verdicts.push((trial.name.clone(), verdict)),
            Err(failure) => {
                failed = Err(failure);
                break;
            }
        }
        if interrupt.is_set() {
            break;
        }
    }
    // Also where a later one was refused: what was found is found.
    if arguments.act.json {
        json(&told(&verdicts))?;
    }
    failed?;
    let bad = verdicts
        .iter()
        .filter(|(_, verdict)| !verdict.starts_with("passed"));
    match bad.count() {
        0 => Ok(()),
        1 => Err(Failure::Finding("1 experiment has not passed".to_owned())),
        many => Err(Failure::Finding(format!(
            "{many} experiments have not passed"
        ))),
    }
}

fn told(verdicts: &[(String, String)]) -> Vec<serde_json::Value> {
    let told = verdicts
        .iter()
        .map(|(name, verdict)| serde_json::json!({ "name": name, "verdict": verdict }));
    told.collect()
}

/// `mainstay chaos stop`.
pub fn stop(arguments: &ChaosStop) -> Outcome {
    let experiment = arguments.experiment.clone();
    let ask = ExperimentAskRecord::Stop { experiment };
    command(&arguments.act, Command::Experiment(ask))
}

/// What every experiment of a run shares.
struct Table<'a> {
    machine: &'a MachineRecord,
    layout: &'a Layout,
    platform: &'a Platform,
    file: &'a Path,
    reason: &'a str,
    gates: &'a Gates,
    interrupt: &'a Interrupt,
    is_quiet: bool,
}

impl Table<'_> {
    fn say(&self, text: impl std::fmt::Display) {
        if !self.is_quiet {
            progress(text);
        }
    }

    /// The verdict, with its reason.
    fn perform(&self, trial: &Trial<'_>, text: &str) -> Result<String, Failure> {
        let inventory = bench::inventory(self.platform, self.layout)?;
        let (judgements, targets) = bench::judged(self.platform, &inventory, trial);
        let refuse = |why: String| Failure::Refused {
            code: "experiment".to_owned(),
            why,
            next: "`mainstay chaos plan` shows what would be done; nothing was broken".to_owned(),
        };
        if let Some(why) = bench::objection(trial, &inventory, &judgements, targets.len()) {
            return Err(refuse(why));
        }
        if let Some(why) = self.short_budget(trial) {
            return Err(refuse(why));
        }
        let plan = plan_record(trial, text, &judgements);
        for injection in &plan.injections {
            self.say(format_args!("{}: {injection}", trial.name));
        }
        let lasts = Duration::from_millis(plan.lasts_ms);
        // From before it begins, so that nothing is missed.
        let mut follower = Follower::open(self.machine, self.layout)?;
        let id = self.tell(ExperimentAskRecord::Begin(Box::new(plan)))?;
        self.say(format_args!(
            "{id} {} begun, seed {}",
            trial.name, trial.seed
        ));
        let said = self.look_on(&mut follower, &id, lasts)?;
        if !self.is_quiet {
            line(format_args!("{id} {}: {said}", trial.name))?;
        }
        Ok(said)
    }

    /// Reads aloud until it is over.
    fn look_on(
        &self,
        follower: &mut Follower,
        id: &str,
        lasts: Duration,
    ) -> Result<String, Failure> {
        let deadline = mainstay_rt::clock::now() + lasts + super::follow::PATIENCE;
        let mut is_stopped = false;
        loop {
            if self.interrupt.is_set() && !is_stopped {
                is_stopped = self.tell_to_stop(id);
            }
            let (told, end) = follower.more(id)?;
            for line in told {
                self.say(line);
            }
            if let Some(end) = end {
                return Ok(end);
            }
            if mainstay_rt::clock::now() >= deadline {
                return Err(Failure::Unknown {
                    why: format!(
                        "{id} has not ended; `mainstay chaos list` shows whether it still runs, and {} is read from the journal",
                        self.file.display()
                    ),
                });
            }
            self.interrupt_or_wait();
        }
    }

    /// Whether it is stopped; if nobody took the word, it is given again.
    fn tell_to_stop(&self, id: &str) -> bool {
        let experiment = id.to_owned();
        match self.tell(ExperimentAskRecord::Stop { experiment }) {
            Ok(_) => {
                self.say("interrupted: it is stopped, and mends");
                true
            }
            // It ends already, or may not be stopped by whoever asks.
            Err(refused @ Failure::Refused { .. }) => {
                progress(refused);
                true
            }
            Err(failure) => {
                progress(format_args!("{failure}; asked again"));
                false
            }
        }
    }

    /// Journals, and returns what the journal has to say.
    fn tell(&self, ask: ExperimentAskRecord) -> Result<String, Failure> {
        match send_past(
            self.layout,
            Command::Experiment(ask),
            self.reason,
            self.gates,
        )? {
            CommandOutcome::Done { detail, .. } => Ok(detail),
            CommandOutcome::Refused { code, why, next } => {
                Err(Failure::Refused { code, why, next })
            }
            CommandOutcome::Unknown { position, why } => Err(Failure::Unknown {
                why: format!("journal entry {position}: {why}"),
            }),
        }
    }

    /// Why the budget does not bear an experiment. What is not known is no budget.
    fn short_budget(&self, trial: &Trial<'_>) -> Option<String> {
        let experiment = trial.experiment?;
        experiment.budget.iter().find_map(|(objective, least)| {
            match ask::budget_left(self.layout, objective) {
                Ok(Some(left)) if left >= *least => None,
                Ok(Some(left)) => Some(format!(
                    "the budget of {objective} is short: {left} of it is left, and {least} is wanted"
                )),
                Ok(None) => Some(format!("the budget of {objective} is not measured")),
                Err(why) => Some(format!("the budget of {objective} is not known: {why}")),
            }
        })
    }

    /// Once interrupted, the bell rings no more.
    fn interrupt_or_wait(&self) {
        match self.interrupt.is_set() {
            true => pause(BEAT),
            false => self.interrupt.wait(BEAT),
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "between two looks at the journal, in a command that does nothing else"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What the journal is told at the beginning.
fn plan_record(trial: &Trial<'_>, text: &str, judgements: &[Judgement]) -> ExperimentPlanRecord {
    let injections = trial.plan.steps.iter().zip(judgements);
    let injections = injections.map(|(step, judgement)| {
        let lasts = step
            .lasts
            .map_or_else(String::new, |lasts| format!(" for {lasts:?}"));
        let told = judgement.told(&step.chaos.name);
        format!("at {:?}{lasts}: {told}", step.at)
    });
    let settle = trial
        .experiment
        .map_or(Duration::ZERO, |experiment| experiment.settle);
    ExperimentPlanRecord {
        name: trial.name.clone(),
        digest: digest_of(text.as_bytes()),
        seed: trial.seed.to_string(),
        hypothesis: trial
            .experiment
            .map_or_else(String::new, |experiment| experiment.hypothesis.clone()),
        injections: injections.collect(),
        lasts_ms: millis(trial.plan.ends + settle),
        timetable: Some(timetable(trial, text, settle)),
    }
}

fn timetable(trial: &Trial<'_>, text: &str, settle: Duration) -> TimetableRecord {
    let slots = trial.plan.steps.iter().map(|step| SlotRecord {
        at_ms: millis(step.at),
        lasts_ms: step.lasts.map(millis),
    });
    let rules = |experiment: &Experiment| {
        let rules = experiment.alerts.as_ref()?;
        Some(AlertRulesRecord {
            fire: rules.fire.clone(),
            may_fire: rules.may_fire.clone(),
            severities: rules.severities.clone(),
        })
    };
    TimetableRecord {
        text: text.to_owned(),
        planned_s: trial.planned_s,
        window_ms: trial.window.map(millis),
        injections: slots.collect(),
        ends_ms: millis(trial.plan.ends),
        settle_ms: millis(settle),
        is_guarded: trial
            .experiment
            .is_some_and(|experiment| !experiment.abort.is_empty()),
        alerts: trial.experiment.and_then(rules),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
