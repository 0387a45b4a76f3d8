//! An experiment from its beginning to its verdict.
//!
//! Think of a surgeon's checklist read aloud. Before the first cut the patient must be well, and the journal must agree
//! that now is the time. During it one reads the instruments all the time, and stops when one of them says so, or when
//! one sees nothing any more. Afterwards one counts: is everything out again, is the patient well again; and only then
//! one says how it went. Whatever is seen is journalled when it changes; the verdict is the journal's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mainstay_chaos::experiment::{Condition, Judged, Moment};
use mainstay_chaos::inventory::Inventory;
use mainstay_chaos::judge::{Bench, Fidelity, Judgement, Order};
use mainstay_chaos::plan::Step;
use mainstay_derive::Layout;
use mainstay_host::faults;
use mainstay_model::Platform;
use mainstay_node::digest_of;
use mainstay_record::experiment::{
    ExperimentAskRecord, ExperimentPlanRecord, FindingWord, ObservationRecord, VerdictWord,
};
use mainstay_record::node::{Command, CommandOutcome, InjectFault};
use mainstay_rt::clock;
use mainstay_units::Instant;

use super::bench::{self, Trial};
use super::{ask, told};
use crate::arguments::ChaosRun;
use crate::client::{find, send};
use crate::exit::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::print::{json, line, progress};
use crate::validate::read_valid;

/// From one look at the instruments to the next.
const BEAT: Duration = Duration::from_millis(500);
/// An abort condition that was not measured for so long is a blind experimenter.
const BLIND: Duration = Duration::from_secs(10);
/// Faults whose time is over have so long to be undone by their guardians.
const MENDING: Duration = Duration::from_secs(60);
/// A fault of something that is over at once.
const MOMENT: Duration = Duration::from_secs(1);

pub fn all(arguments: &ChaosRun) -> Outcome {
    let (_, layout) = find(&arguments.act.platform)?;
    let platform = read_valid(&layout.platform_file())?.0;
    let (checked, text) = bench::read(&arguments.choice)?;
    let interrupt = Interrupt::catch()?;
    let mut verdicts = Vec::new();
    for trial in bench::trials(&arguments.choice, &checked)? {
        let table = Table {
            layout: &layout,
            platform: &platform,
            reason: &arguments.act.reason,
            interrupt: &interrupt,
            is_quiet: arguments.act.json,
        };
        let name = trial.name.clone();
        let verdict = table.perform(&trial, &digest_of(text.as_bytes()))?;
        verdicts.push((name, verdict));
        if interrupt.is_set() {
            break;
        }
    }
    if arguments.act.json {
        let told: Vec<serde_json::Value> = verdicts
            .iter()
            .map(|(name, verdict)| serde_json::json!({ "name": name, "verdict": verdict }))
            .collect();
        json(&told)?;
    }
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

/// What every experiment of a run shares.
struct Table<'a> {
    layout: &'a Layout,
    platform: &'a Platform,
    reason: &'a str,
    interrupt: &'a Interrupt,
    is_quiet: bool,
}

/// How it ended, as whoever ran it sees it.
struct End {
    verdict: VerdictWord,
    why: String,
}

impl End {
    fn of(verdict: VerdictWord, why: impl Into<String>) -> Self {
        Self {
            verdict,
            why: why.into(),
        }
    }
}

impl Table<'_> {
    fn say(&self, text: impl std::fmt::Display) {
        if !self.is_quiet {
            progress(text);
        }
    }

    /// The verdict, with its reason.
    fn perform(&self, trial: &Trial<'_>, digest: &str) -> Result<String, Failure> {
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
        let plan = plan_record(trial, digest, &judgements);
        for injection in &plan.injections {
            self.say(format_args!("{}: {injection}", trial.name));
        }
        let id = self.tell(ExperimentAskRecord::Begin(plan))?;
        self.say(format_args!(
            "{id} {} begun, seed {}",
            trial.name, trial.seed
        ));
        let mut witness = Witness {
            table: self,
            id: id.clone(),
            told: BTreeMap::new(),
            before: ask::alerts(self.layout).unwrap_or_default(),
            began: BTreeMap::new(),
            faults: BTreeSet::new(),
        };
        let end = witness.run(trial, &inventory);
        // Whatever happened, what was broken is mended and looked for before anything is said.
        let residue = witness.mend();
        let end = match end {
            Ok(None) => witness.conclude(trial),
            Ok(Some(end)) => end,
            Err(failure) => End::of(
                VerdictWord::Inconclusive,
                failure.to_string().replace('\n', ";"),
            ),
        };
        let said = self.tell(ExperimentAskRecord::End {
            experiment: id.clone(),
            verdict: end.verdict,
            why: end.why,
            residue,
        })?;
        if !self.is_quiet {
            line(format_args!("{id} {}: {said}", trial.name))?;
        }
        Ok(said)
    }

    /// Journals, and returns what the journal has to say.
    fn tell(&self, ask: ExperimentAskRecord) -> Result<String, Failure> {
        match send(self.layout, Command::Experiment(ask), self.reason)? {
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
            let query = format!("slo:budget:left{{slo=\"{objective}\"}}");
            match ask::values(self.layout, &query).as_deref() {
                Ok([left, ..]) if left.is_finite() && left >= least => None,
                Ok([left, ..]) => Some(format!(
                    "the budget of {objective} is short: {left} of it is left, and {least} is wanted"
                )),
                Ok([]) => Some(format!("the budget of {objective} is not measured")),
                Err(why) => Some(format!("the budget of {objective} is not known: {why}")),
            }
        })
    }
}

/// What the journal is told at the beginning.
fn plan_record(trial: &Trial<'_>, digest: &str, judgements: &[Judgement]) -> ExperimentPlanRecord {
    let injections = trial.plan.steps.iter().zip(judgements);
    let injections = injections.map(|(step, judgement)| {
        let lasts = step
            .lasts
            .map_or_else(String::new, |lasts| format!(" for {lasts:?}"));
        format!(
            "at {:?}{lasts}: {}",
            step.at,
            told(&step.chaos.name, judgement)
        )
    });
    ExperimentPlanRecord {
        name: trial.name.clone(),
        digest: digest.to_owned(),
        seed: trial.seed.to_string(),
        hypothesis: trial
            .experiment
            .map_or_else(String::new, |experiment| experiment.hypothesis.clone()),
        injections: injections.collect(),
        lasts_ms: millis(trial.plan.ends + trial.experiment.map_or(Duration::ZERO, |e| e.settle)),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whoever looks, and remembers what was seen and set.
struct Witness<'a> {
    table: &'a Table<'a>,
    id: String,
    /// What was journalled last of each condition.
    told: BTreeMap<String, FindingWord>,
    /// Alerts that stood before, and those that began meanwhile, with their severities.
    before: BTreeMap<String, String>,
    began: BTreeMap<String, String>,
    faults: BTreeSet<String>,
}

impl Witness<'_> {
    /// `None`: it went as planned, and what was seen decides.
    fn run(&mut self, trial: &Trial<'_>, inventory: &Inventory) -> Result<Option<End>, Failure> {
        if !self.all_hold(trial, Moment::Before)? {
            let why = "the steady state did not hold before anything was broken";
            return Ok(Some(End::of(VerdictWord::Inconclusive, why)));
        }
        let begun = clock::now();
        let mut steps = trial.plan.steps.iter().peekable();
        let mut seen_at: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let now = clock::now();
            if self.table.interrupt.is_set() {
                return Ok(Some(End::of(
                    VerdictWord::Aborted,
                    "somebody interrupted it",
                )));
            }
            while let Some(step) = steps.next_if(|step| now - begun >= step.at) {
                if let Some(end) = self.inject(trial, step, inventory)? {
                    return Ok(Some(end));
                }
            }
            if let Some(end) = self.abort(trial, now, &mut seen_at)? {
                return Ok(Some(end));
            }
            for condition in conditions(trial, Moment::During) {
                self.look(condition, Moment::During)?;
            }
            self.look_at_alerts(trial)?;
            if steps.peek().is_none() && now - begun >= trial.plan.ends && !self.is_any_in_force() {
                return Ok(None);
            }
            self.table.interrupt.wait(BEAT);
        }
    }

    /// Targets are chosen now, among those who are there now, and once.
    fn inject(
        &mut self,
        trial: &Trial<'_>,
        step: &Step,
        first: &Inventory,
    ) -> Result<Option<End>, Failure> {
        let fresh = match step.at.is_zero() {
            true => None,
            false => Some(bench::inventory(self.table.platform, self.table.layout)?),
        };
        let bench = Bench {
            platform: self.table.platform,
            inventory: fresh.as_ref().unwrap_or(first),
            seed: trial.seed,
        };
        let judgement = bench.judge(&step.chaos);
        self.table.say(told(&step.chaos.name, &judgement));
        if let Fidelity::Refused(why) = &judgement.fidelity {
            // What could be done when it began cannot be done any more.
            let why = format!("{}: {why}", step.chaos.name);
            return Ok(Some(End::of(VerdictWord::Inconclusive, why)));
        }
        for order in judgement.orders {
            if let Some(why) = self.set(step, order)? {
                return Ok(Some(End::of(VerdictWord::Inconclusive, why)));
            }
        }
        Ok(None)
    }

    /// Why a fault could not be set, if so.
    fn set(&mut self, step: &Step, order: Order) -> Result<Option<String>, Failure> {
        let grace = order.detail.grace_ms.map(Duration::from_millis);
        let lasts = step.lasts.or(grace).unwrap_or(MOMENT);
        let what = format!("{} {}", order.kind.name(), order.target);
        let fault = InjectFault {
            kind: order.kind.name().to_owned(),
            target: order.target,
            lasts_ms: millis(lasts).max(1),
            one_way: order.one_way,
            delay_us: order.delay_us,
            detail: order.detail,
        };
        let reason = format!("experiment {}: {}", self.id, self.table.reason);
        match send(self.table.layout, Command::InjectFault(fault), &reason)? {
            CommandOutcome::Done { detail, .. } => {
                self.table.say(format_args!("  {detail}"));
                // `KIND TARGET is set as ID`
                let id = detail.rsplit(' ').next().unwrap_or_default();
                self.faults.insert(id.to_owned());
                Ok(None)
            }
            CommandOutcome::Refused { why, .. } => Ok(Some(format!("{what}: {why}"))),
            CommandOutcome::Unknown { why, .. } => {
                Ok(Some(format!("{what}: not known to be set: {why}")))
            }
        }
    }

    /// An abort condition that is violated ends it; so does one that nobody has measured for a while.
    fn abort(
        &mut self,
        trial: &Trial<'_>,
        now: Instant,
        seen_at: &mut BTreeMap<String, Instant>,
    ) -> Result<Option<End>, Failure> {
        let experiment = trial.experiment;
        for condition in experiment
            .into_iter()
            .flat_map(|experiment| &experiment.abort)
        {
            let last = seen_at.entry(condition.name.clone()).or_insert(now);
            match ask::judge(self.table.layout, condition) {
                Judged::Holds(_) => *last = now,
                Judged::Violated(value) => {
                    let why = format!("{} is {value}", condition.name);
                    self.observe(
                        &format!("abort {}", condition.name),
                        &value,
                        FindingWord::Violated,
                    )?;
                    return Ok(Some(End::of(VerdictWord::Aborted, why)));
                }
                Judged::Missing(why) if now - *last >= BLIND => {
                    self.observe(
                        &format!("abort {}", condition.name),
                        &why,
                        FindingWord::Missing,
                    )?;
                    let why = format!("{} was not measured for {BLIND:?}: {why}", condition.name);
                    return Ok(Some(End::of(VerdictWord::Aborted, why)));
                }
                Judged::Missing(_) => {}
            }
        }
        Ok(None)
    }

    fn all_hold(&mut self, trial: &Trial<'_>, moment: Moment) -> Result<bool, Failure> {
        let mut all = true;
        for condition in conditions(trial, moment) {
            all &= self.look(condition, moment)? == FindingWord::Holds;
        }
        Ok(all)
    }

    /// Measures, and journals what changed.
    fn look(&mut self, condition: &Condition, moment: Moment) -> Result<FindingWord, Failure> {
        let (finding, value) = match ask::judge(self.table.layout, condition) {
            Judged::Holds(value) => (FindingWord::Holds, value),
            Judged::Violated(value) => (FindingWord::Violated, value),
            Judged::Missing(why) => (FindingWord::Missing, why),
        };
        let subject = format!("{} {}", moment.name(), condition.name);
        if self.told.get(&subject) != Some(&finding) {
            self.told.insert(subject.clone(), finding);
            self.observe(&subject, &value, finding)?;
        }
        Ok(finding)
    }

    fn observe(&self, subject: &str, value: &str, finding: FindingWord) -> Result<(), Failure> {
        self.table
            .say(format_args!("  {subject}: {finding:?}: {value}"));
        let observation = ObservationRecord {
            subject: subject.to_owned(),
            value: value.to_owned(),
            finding,
        };
        let experiment = self.id.clone();
        self.table
            .tell(ExperimentAskRecord::Observe {
                experiment,
                observation,
            })
            .map(|_| ())
    }

    /// Alerts that begin are remembered; one that must not is seen at once.
    fn look_at_alerts(&mut self, trial: &Trial<'_>) -> Result<(), Failure> {
        let Some(standing) = ask::alerts(self.table.layout) else {
            return Ok(());
        };
        for (name, severity) in standing {
            if self.before.contains_key(&name) || self.began.contains_key(&name) {
                continue;
            }
            self.table
                .say(format_args!("  alert {name} ({severity}) fires"));
            let news = [(name.clone(), severity.clone())];
            let rules = trial
                .experiment
                .and_then(|experiment| experiment.alerts.as_ref());
            if rules.is_some_and(|rules| !rules.unexpected(&news).is_empty()) {
                let value = format!("{name} ({severity})");
                self.observe("an alert that must not fire", &value, FindingWord::Violated)?;
            } else if rules.is_some_and(|rules| rules.fire.contains(&name)) {
                self.observe(
                    &format!("alert {name} fires"),
                    &severity,
                    FindingWord::Holds,
                )?;
            }
            self.began.insert(name, severity);
        }
        Ok(())
    }

    fn is_any_in_force(&self) -> bool {
        let force = faults::in_force(self.table.layout.data());
        force.iter().any(|fault| self.faults.contains(&fault.id))
    }

    /// Ends what is still in force, and says what is left of it.
    fn mend(&self) -> Vec<String> {
        let data: &Path = self.table.layout.data();
        let deadline = clock::now() + MENDING;
        let reason = format!("experiment {} is over", self.id);
        let mut asked: BTreeSet<String> = BTreeSet::new();
        loop {
            let left: Vec<String> = faults::in_force(data)
                .into_iter()
                .map(|fault| fault.id)
                .filter(|id| self.faults.contains(id))
                .collect();
            if left.is_empty() || clock::now() >= deadline {
                let left = left
                    .into_iter()
                    .map(|id| format!("fault {id}, still in force"));
                let residue = faults::residue(data);
                return left
                    .chain(residue.iter().map(ToString::to_string))
                    .collect();
            }
            for id in left {
                // Its guardian ends it as well; a refusal says that it is being ended.
                if asked.insert(id.clone())
                    && let Err(failure) =
                        send(self.table.layout, Command::ClearFault { id }, &reason)
                {
                    progress(failure);
                }
            }
            self.table.interrupt.wait(BEAT);
        }
    }

    /// Waits for the steady state to come back, and looks at everything once more.
    fn conclude(&mut self, trial: &Trial<'_>) -> End {
        match self.settle(trial) {
            Ok(true) => End::of(
                VerdictWord::Passed,
                "all that was expected was seen, and nothing else",
            ),
            Ok(false) => End::of(
                VerdictWord::Failed,
                "the steady state did not come back, or an alert is missing",
            ),
            Err(failure) => End::of(
                VerdictWord::Inconclusive,
                failure.to_string().replace('\n', ";"),
            ),
        }
    }

    fn settle(&mut self, trial: &Trial<'_>) -> Result<bool, Failure> {
        let Some(experiment) = trial.experiment else {
            return Ok(true);
        };
        let deadline = clock::now() + experiment.settle;
        loop {
            self.look_at_alerts(trial)?;
            let began: Vec<(String, String)> = self.began.clone().into_iter().collect();
            let rules = experiment.alerts.as_ref();
            let absent: Vec<String> = rules
                .map(|rules| {
                    rules
                        .absent(&began)
                        .into_iter()
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default();
            let is_late = clock::now() >= deadline;
            let held = conditions(trial, Moment::After).all(|condition| {
                matches!(ask::judge(self.table.layout, condition), Judged::Holds(_))
            });
            if (held && absent.is_empty()) || is_late {
                for name in &absent {
                    self.observe(
                        &format!("alert {name} fires"),
                        "it did not",
                        FindingWord::Violated,
                    )?;
                }
                if rules.is_some() && absent.is_empty() {
                    let names: Vec<&str> = self.began.keys().map(String::as_str).collect();
                    let value = match names.is_empty() {
                        true => "none".to_owned(),
                        false => names.join(", "),
                    };
                    self.observe("alerts that began", &value, FindingWord::Holds)?;
                }
                let held = self.all_hold(trial, Moment::After)?;
                return Ok(held && absent.is_empty());
            }
            self.table.interrupt.wait(BEAT);
        }
    }
}

fn conditions<'a>(
    trial: &Trial<'a>,
    moment: Moment,
) -> impl Iterator<Item = &'a Condition> + use<'a> {
    let experiment = trial.experiment.into_iter();
    experiment
        .flat_map(|experiment| &experiment.steady_state)
        .filter(move |condition| condition.when.contains(&moment))
}
