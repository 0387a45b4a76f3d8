//! A drill from its load to its verdict.
//!
//! Whatever happens on the way, what was broken is mended, what was measured is told, and the journal says how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_drill::document::{Document, Load, Loss, Source, Step};
use mainstay_host::carrier::Carrier;
use mainstay_host::faults;
use mainstay_model::Platform;
use mainstay_model::address::Slot;
use mainstay_node::digest_of;
use mainstay_record::drill::{
    AdoptedShown, DrillAskRecord, DrillEndRecord, DrillObjectiveRecord, DrillPlanRecord,
    DrillStepRecord, DrillVerdictWord, LossLimitRecord, MeasurementRecord, StepOutcomeWord,
};
use mainstay_record::node::MachineRecord;
use mainstay_rt::{clock, entropy};
use mainstay_units::Instant;

use super::archive::Archives;
use super::load::{Field, doors, found};
use super::results::{Results, deficiencies};
use super::step::{End, Stage, end_record};
use super::{read, tell};
use crate::arguments::Gates;
use crate::arguments::drill::Run;
use crate::chaos::ask;
use crate::client::find;
use crate::exit::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::print::{json, line, progress};
use crate::validate::read_valid;

/// Faults whose time is over have so long to be undone by their guardians.
const MENDING: Duration = Duration::from_secs(60);
/// How long measuring and mending may take beside the steps.
const MARGIN: Duration = Duration::from_secs(60);

pub fn run(arguments: &Run) -> Outcome {
    let (machine, layout) = find(&arguments.act.platform)?;
    let platform = read_valid(&layout.platform_file())?.0;
    let (document, text) = read(&arguments.file)?;
    if arguments.adopted {
        in_force(&layout, &document.name, &digest_of(text.as_bytes()))?;
    }
    let seed = arguments
        .seed
        .or(document.seed)
        .unwrap_or_else(entropy::u64);
    let slot = Slot::new(machine.slot).context("the platform's block of addresses")?;
    let play = Play {
        machine,
        layout: &layout,
        platform: &platform,
        slot,
        document: &document,
        text: &text,
        seed,
        reason: &arguments.act.reason,
        gates: &arguments.gates,
        is_quiet: arguments.act.json,
        interrupt: Interrupt::catch()?,
    };
    play.perform(arguments.act.json)
}

/// Whether this very text was approved: nobody who looks on would see that it is another.
fn in_force(layout: &Layout, name: &str, digest: &str) -> Outcome {
    let adopted = tell::shown(layout)?.adopted;
    let is_it = |known: &AdoptedShown| known.name == name && known.digest == digest;
    if adopted.iter().any(is_it) {
        return Ok(());
    }
    Err(Failure::Refused {
        code: "drill".to_owned(),
        why: format!("this text of {name} is not in force"),
        next: "`mainstay drill adopt` puts it in force; `mainstay drill list` shows what is; nothing was touched"
            .to_owned(),
    })
}

struct Play<'a> {
    machine: MachineRecord,
    layout: &'a Layout,
    platform: &'a Platform,
    slot: Slot,
    document: &'a Document,
    text: &'a str,
    seed: u64,
    reason: &'a str,
    gates: &'a Gates,
    is_quiet: bool,
    interrupt: Interrupt,
}

/// How the steps went.
enum Went {
    Through,
    Failed(String),
    Aborted(String),
}

impl Play<'_> {
    fn say(&self, text: impl std::fmt::Display) {
        if !self.is_quiet {
            progress(text);
        }
    }

    fn tell(&self, ask: &DrillAskRecord) -> Result<String, Failure> {
        tell::tell(self.layout, ask, self.reason)
    }

    fn perform(&self, as_json: bool) -> Outcome {
        if let Some(why) = objections(self.document, self.platform).into_iter().next() {
            return Err(self.refused(why));
        }
        if let Some(why) = self.short_budget() {
            return Err(self.refused(why));
        }
        let mut carrier = self.carrier()?;
        let id = tell::begin(self.layout, self.plan(), self.reason, self.gates)?;
        if let Err(error) = carrier.name(&id) {
            // It is carried all the same; only if this process died, nobody would know before its time is over.
            self.say(format_args!(
                "its carrier's file cannot be written: {error}"
            ));
        }
        self.say(format_args!(
            "{id} {} begun, seed {}",
            self.document.title, self.seed
        ));
        let mut residue = Vec::new();
        let (verdict, said) = match self.play(&id, &mut residue) {
            Ok(ended) => ended,
            Err(failure) => {
                let end = DrillEndRecord {
                    verdict: DrillVerdictWord::Inconclusive,
                    why: failure.to_string().replace('\n', ";"),
                    deficiencies: Vec::new(),
                    residue,
                };
                self.end_with(&id, end)?
            }
        };
        if as_json {
            let shown = tell::shown(self.layout)?;
            let ended = shown.ended.into_iter().find(|ended| ended.drill == id);
            json(&ended)?;
        } else {
            super::show::verdict(&self.machine, self.layout, &id)?;
            line(format_args!("{id} {said}"))?;
        }
        match verdict {
            DrillVerdictWord::Passed => Ok(()),
            other => Err(Failure::Finding(format!("{id} has {}", other.as_str()))),
        }
    }

    /// Held until this process ends, however it does: whoever leads sees by it that a drill is carried.
    fn carrier(&self) -> Result<Carrier, Failure> {
        let path = self.layout.drill_carrier();
        let taken = Carrier::take(&path).with_context(|| format!("lock {}", path.display()))?;
        taken.ok_or_else(|| self.refused("another command carries a drill".to_owned()))
    }

    fn refused(&self, why: String) -> Failure {
        Failure::Refused {
            code: "drill".to_owned(),
            why,
            next: "`mainstay drill plan` shows what would be done; nothing was touched".to_owned(),
        }
    }

    /// Why the budget does not bear a drill. What is not known is no budget.
    fn short_budget(&self) -> Option<String> {
        self.document.budgets.iter().find_map(|budget| {
            let objective = &budget.objective;
            match ask::budget_left(self.layout, objective) {
                Ok(Some(left)) if left >= budget.left_at_least => None,
                Ok(Some(left)) => Some(format!(
                    "the budget of {objective} is short: {left} of it is left, and {} is wanted",
                    budget.left_at_least
                )),
                Ok(None) => Some(format!("the budget of {objective} is not measured")),
                Err(why) => Some(format!("the budget of {objective} is not known: {why}")),
            }
        })
    }

    fn plan(&self) -> DrillPlanRecord {
        let document = self.document;
        DrillPlanRecord {
            name: document.name.clone(),
            title: document.title.clone(),
            digest: digest_of(self.text.as_bytes()),
            text: self.text.to_owned(),
            seed: self.seed.to_string(),
            versions: versions(document),
            environment: document.environment.clone(),
            approver: document.approver.clone(),
            tester: document.tester.clone(),
            owner: document.owner.clone(),
            objectives: objectives(document),
            steps: document.steps.iter().map(step_record).collect(),
            retention_days: u32::try_from(document.retention.as_secs() / 86_400)
                .unwrap_or(u32::MAX),
            lasts_ms: millis(document.limit + MARGIN),
        }
    }

    /// Says what was left behind, also where it fails.
    fn play(
        &self,
        id: &str,
        residue: &mut Vec<String>,
    ) -> Result<(DrillVerdictWord, String), Failure> {
        let doors = doors(self.platform, self.slot);
        let field = Field::new(
            self.layout,
            doors,
            self.document,
            self.seed,
            (id, &self.interrupt),
        )?;
        super::audit::prepare(&field)?;
        let clients = field.start()?;
        let databases = self.platform.databases();
        let mut stage = Stage {
            field: &field,
            document: self.document,
            interrupt: &self.interrupt,
            reason: self.reason,
            id: id.to_owned(),
            replicas: databases.iter().map(|known| known.replicas.len()).sum(),
            clients,
            faults: BTreeSet::new(),
            hurts: Vec::new(),
            stays: Vec::new(),
            archives: Archives::default(),
        };
        let went = self.steps(&mut stage);
        *residue = self.mend(&mut stage);
        let went = went?;
        let results = self.measure(&mut stage)?;
        let (proposed, why) = match went {
            Went::Through => (DrillVerdictWord::Passed, "all steps were done".to_owned()),
            Went::Failed(why) => (DrillVerdictWord::Failed, why),
            Went::Aborted(why) => (DrillVerdictWord::Aborted, why),
        };
        let failed: Vec<String> = match proposed {
            DrillVerdictWord::Failed => vec![why.clone()],
            _ => Vec::new(),
        };
        let found = deficiencies(
            self.document,
            &results.measurements,
            &failed,
            clock::wall_ms(),
        );
        let end = DrillEndRecord {
            verdict: proposed,
            why,
            deficiencies: found,
            residue: residue.clone(),
        };
        self.end_with(id, end)
    }

    fn steps(&self, stage: &mut Stage<'_>) -> Result<Went, Failure> {
        let deadline = clock::now() + self.document.limit;
        let mut went = Went::Through;
        for step in &self.document.steps {
            if let Went::Failed(why) | Went::Aborted(why) = &went {
                let skipped = End {
                    outcome: StepOutcomeWord::Skipped,
                    detail: why.clone(),
                    evidence: Vec::new(),
                };
                self.tell(&end_record(&stage.id, &step.id, skipped))?;
                continue;
            }
            went = self.one(stage, step, deadline)?;
        }
        Ok(went)
    }

    fn one(&self, stage: &mut Stage<'_>, step: &Step, deadline: Instant) -> Result<Went, Failure> {
        self.tell(&DrillAskRecord::BeginStep {
            drill: stage.id.clone(),
            step: step.id.clone(),
            what: step.what(),
        })?;
        self.say(format_args!("  {}: {}", step.id, step.what()));
        if step.is_by_person() {
            let id = &stage.id;
            self.say(format_args!(
                "    confirm it: mainstay drill confirm {id} {} --reason 'what was seen'",
                step.id
            ));
        }
        let end = match stage.act(step) {
            Ok(end) => end,
            Err(Failure::Interrupted) => {
                let why = "somebody interrupted it".to_owned();
                self.tell(&end_record(&stage.id, &step.id, End::failed(why.clone())))?;
                return Ok(Went::Aborted(why));
            }
            Err(failure) => End::failed(failure.to_string().replace('\n', ";")),
        };
        self.say(format_args!("    {}", end.detail));
        let is_done = matches!(end.outcome, StepOutcomeWord::Done);
        let why = format!("step {}: {}", step.id, end.detail);
        self.tell(&end_record(&stage.id, &step.id, end))?;
        self.early_ends(stage, &step.id)?;
        Ok(match is_done {
            false => Went::Failed(why),
            true if clock::now() > deadline => Went::Aborted(format!(
                "its limit of {:?} was over after step {}",
                self.document.limit, step.id
            )),
            true => Went::Through,
        })
    }

    /// A load that ends before the drill does was not foreseen.
    fn early_ends(&self, stage: &mut Stage<'_>, step: &str) -> Outcome {
        let mut found = Vec::new();
        for client in stage.clients.iter_mut().filter(|client| !client.is_lost) {
            if let Some(status) = client.ended()
                && !client.is_told
            {
                client.is_told = true;
                let shown = client.folder.display();
                found.push(format!(
                    "a client ended early with {status}; its words are in {shown}"
                ));
            }
        }
        for what in found {
            self.say(format_args!("    {what}"));
            self.deviate(&stage.id, Some(step), what)?;
        }
        Ok(())
    }

    fn deviate(&self, id: &str, step: Option<&str>, what: String) -> Outcome {
        let deviation = mainstay_record::drill::DeviationRecord {
            step: step.map(str::to_owned),
            what,
        };
        let drill = id.to_owned();
        self.tell(&DrillAskRecord::Deviate { drill, deviation })
            .map(drop)
    }

    /// Ends what is left of the faults; says what could not be ended, and stops the load.
    fn mend(&self, stage: &mut Stage<'_>) -> Vec<String> {
        if !stage.faults.is_empty() {
            stage.heal(clock::now() + MENDING).ok();
        }
        for client in &mut stage.clients {
            if !client.stop() {
                let shown = client.folder.display();
                let what = format!("a client did not end when it was asked to: {shown}");
                self.deviate(&stage.id, None, what).ok();
            }
        }
        let left = faults::in_force(self.layout.data()).into_iter();
        left.filter(|fault| stage.faults.contains(&fault.id))
            .map(|fault| {
                format!(
                    "fault {} ({} {})",
                    fault.id,
                    fault.kind.name(),
                    fault.target
                )
            })
            .collect()
    }

    fn measure(&self, stage: &mut Stage<'_>) -> Result<Results, Failure> {
        let results = Results::of(stage)?;
        for measurement in &results.measurements {
            self.tell(&DrillAskRecord::Measure {
                drill: stage.id.clone(),
                measurement: Box::new(MeasurementRecord::clone(measurement)),
            })?;
        }
        Ok(results)
    }

    /// The verdict is the journal's.
    fn end_with(
        &self,
        id: &str,
        end: DrillEndRecord,
    ) -> Result<(DrillVerdictWord, String), Failure> {
        let drill = id.to_owned();
        self.tell(&DrillAskRecord::End { drill, end })?;
        let shown = tell::shown(self.layout)?;
        let ended = shown.ended.into_iter().find(|ended| ended.drill == id);
        let ended = ended.with_context(|| format!("the journal does not say how {id} ended"))?;
        let (verdict, why) = (ended.end.verdict, ended.end.why);
        Ok((verdict, format!("{}: {why}", verdict.as_str())))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What of a document does not fit the platform, in words.
pub fn objections(document: &Document, platform: &Platform) -> Vec<String> {
    let mut found = Vec::new();
    let environment = platform.environment().name.as_str();
    if document.environment != environment {
        found.push(format!(
            "the drill is for the environment {}, and this is {environment}",
            document.environment
        ));
    }
    for role in [&document.approver, &document.tester, &document.owner] {
        if platform.role(role).is_none() {
            let roles: Vec<&str> = platform
                .roles()
                .iter()
                .map(|role| role.name.as_str())
                .collect();
            found.push(format!(
                "the platform file has no role {role}; there is {}",
                roles.join(", ")
            ));
        }
    }
    let names = super::names(document);
    for (what, name) in names {
        let is_known = match what {
            "region" => platform.region(name).is_some(),
            "database" => platform.database(name).is_some(),
            _ => platform.watch().is_some_and(|watch| {
                watch
                    .objectives
                    .iter()
                    .any(|known| known.name.as_str() == name)
            }),
        };
        if !is_known {
            found.push(format!("the platform file has no {what} {name}"));
        }
    }
    found
}

fn step_record(step: &Step) -> DrillStepRecord {
    DrillStepRecord {
        id: step.id.clone(),
        what: step.what(),
        by_person: step.is_by_person(),
    }
}

fn objectives(document: &Document) -> Vec<DrillObjectiveRecord> {
    let record = |objective: &mainstay_drill::document::Objective| DrillObjectiveRecord {
        service: objective.service.clone(),
        rto_below_ms: objective.rto.map(millis),
        rpo_below: objective.rpo.map(|limit| match limit {
            Loss::Transactions(count) => LossLimitRecord::Transactions(count),
            Loss::Time(time) => LossLimitRecord::TimeMs(millis(time)),
        }),
        unmeasured: objective.unmeasured.clone(),
    };
    document.objectives.iter().map(record).collect()
}

/// What runs, as far as it can be told from the files: programs by the digest of what is started.
fn versions(document: &Document) -> BTreeMap<String, String> {
    let mut versions =
        BTreeMap::from([("mainstay".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    if let Ok(own) = std::env::current_exe() {
        versions.extend(digest(&own).map(|digest| ("mainstay sha256".to_owned(), digest)));
    }
    let programs = document.loads.iter().flat_map(|load: &Load| {
        let program = match &load.source {
            Source::Program { command, .. } => command.first(),
            Source::Probe { .. } => None,
        };
        let auditor = load.audit.as_ref().and_then(|audit| audit.command.first());
        program.into_iter().chain(auditor)
    });
    for program in programs {
        if let Some(digest) = found(program).ok().and_then(|path| digest(&path)) {
            versions.insert(format!("{program} sha256"), digest);
        }
    }
    versions
}

fn digest(program: &Path) -> Option<String> {
    Some(digest_of(&std::fs::read(program).ok()?))
}

/// So many clients are there of each load, for whoever shows a plan.
pub fn clients_of(document: &Document, regions: usize) -> usize {
    let loads = document.loads.iter();
    loads
        .map(|load| if load.per_region { regions } else { 1 })
        .sum()
}
