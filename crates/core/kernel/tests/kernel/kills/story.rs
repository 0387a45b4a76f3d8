//! The whole loop, as those see it who are no part of Mainstay: a service slows, somebody approves what is suggested,
//! has the incident, resolves it; then somebody stands at the bench and has things broken on purpose: by an experiment
//! that goes its way, by one that is stopped in the middle, by a drill. They want something until they see it, and ask
//! again when nobody answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstay_incident::Phase as IncidentPhase;
use mainstay_kernel::{
    Answer, Ask, Cause, Desired, DrillAsk, DrillEnd, DrillId, DrillVerdict, ExperimentAsk,
    ExperimentPlan, FaultKind, Signal, State, StepEnd, StepOutcome,
};
use mainstay_model::name::HostName;
use mainstay_notify::{Level, Policy, Settings, Severity, Target};
use mainstay_playbook::{
    self as playbook, Action, Allowance, Approval, Book, Condition, Expiry, Guardrails, Mode,
    Parameter, ParameterKind, Phase, Place, Retry, Step, Trigger, Verify,
};

use super::checker::Told;
use super::fuse::{Away, Fuse};
use super::planted::Planted;
use super::world::{HOSTS, World};
use crate::stage::{desired as stage_desired, fault, name, owner};
use crate::{carried, drills};

/// Whoever got no answer for so long asks again.
const PATIENCE_MS: u64 = 25_000;
/// A story that takes longer never ends.
const STORY_MS_MAX: u64 = 1_500_000;
/// By hand, a playbook is run so often at most.
const BY_HAND_MAX: u32 = 5;

fn desired() -> Desired {
    let hosts: BTreeSet<HostName> = HOSTS.iter().map(|host| name(host)).collect();
    let mut desired = stage_desired();
    desired.hosts.retain(|host, _| hosts.contains(host));
    for service in desired.services.values_mut() {
        service.hosts.retain(|host| hosts.contains(host));
    }
    desired.watches = HOSTS.iter().map(|host| name(host)).collect();
    desired.oncall = Settings {
        contacts: [("ada".to_string(), vec!["pager".to_string()])].into(),
        policies: vec![Policy {
            name: "all".to_string(),
            severity: Severity::Error,
            about: BTreeSet::new(),
            levels: vec![Level {
                tell: vec![Target::Operator("ada".to_string())],
                within_ms: 600_000,
            }],
            rounds: 1,
        }],
        channels: ["pager".to_string()].into(),
        wait_ms: 1_000,
        ..Settings::default()
    };
    desired
}

pub fn file() -> Signal {
    Signal::FileRead {
        digest: "f00d".to_string(),
        desired: Box::new(desired()),
        actor: owner(),
    }
}

fn step(id: &str, action: Action, verify: Option<Condition>) -> Step {
    Step {
        id: id.to_string(),
        when: None,
        action,
        timeout_ms: 5_000,
        retry: Retry::default(),
        idempotent: false,
        verify: verify.map(|condition| Verify {
            condition,
            within_ms: 3_000,
            hold_ms: 0,
        }),
        compensate: None,
    }
}

/// Of every kind of step one: written, done by a host, a program, moved by a keeper.
fn book() -> Book {
    let host = || "${host}".to_string();
    let web = || "web".to_string();
    let mut drain = step("drain", Action::Drain(Place::Host(host())), None);
    drain.compensate = Some(Action::Return(Place::Host(host())));
    let restart = Action::Restart {
        host: host(),
        instance: web(),
    };
    let ready = Condition::Ready {
        host: host(),
        instance: web(),
    };
    let run = Action::Run {
        host: host(),
        program: "/bin/warm".to_string(),
        arguments: Vec::new(),
        allows: Allowance::default(),
    };
    let switchover = Action::Switchover {
        database: "ledger".to_string(),
        to: "r3".to_string(),
    };
    let primary = Condition::Primary {
        database: "ledger".to_string(),
        region: "r3".to_string(),
    };
    Book {
        name: "web-slow".to_string(),
        version: 1,
        summary: "out of routing, anew, back".to_string(),
        mode: Mode::Approve,
        promotion: None,
        triggers: vec![Trigger::Alert {
            labels: BTreeMap::from([("alertname".to_string(), "WebSlow".to_string())]),
        }],
        parameters: vec![Parameter {
            name: "host".to_string(),
            kind: ParameterKind::Host,
            label: Some("host".to_string()),
            default: None,
            one_of: Vec::new(),
            least: None,
            most: None,
        }],
        approval: Approval {
            is_written: false,
            by: Vec::new(),
            count: 1,
            expires_ms: 300_000,
            expiry: Expiry::Refuse,
        },
        guardrails: Guardrails::default(),
        steps: vec![
            drain,
            step("restart", restart, Some(ready)),
            step("warm", run, Some(Condition::Query("warm".to_string()))),
            step("move", switchover, Some(primary)),
            step("return", Action::Return(Place::Host(host())), None),
        ],
    }
}

/// Somebody waits for what becomes of this.
#[derive(Clone, Debug)]
struct Asked {
    host: &'static str,
    cause: Cause,
    since_ms: u64,
}

/// The bench: a command that asks for experiments and looks on, and carries a drill from its beginning to its end. If it
/// dies, or is left without an answer, nobody goes on with the drill; the experiments go on by themselves.
#[derive(Debug)]
struct Bench {
    script: usize,
    line: usize,
    asked: Option<Asked>,
    not_before_ms: u64,
}

const SCRIPTS: usize = 3;

/// A line of the bench's script.
enum Line {
    Ask(Ask),
    UntilNoFault,
    UntilAFault,
    Stop,
    UntilNoExperiment,
}

fn line(script: usize, line: usize) -> Option<Line> {
    match script {
        0 => experiment(line),
        1 => stopped(line),
        _ => drill(line),
    }
}

fn begins(name: &str) -> Line {
    let timetable = carried::timetable();
    let plan = ExperimentPlan {
        name: name.to_string(),
        digest: "beef".to_string(),
        seed: 1,
        hypothesis: "nobody notices".to_string(),
        injections: vec!["web is frozen".to_string(); timetable.injections.len()],
        lasts_ms: timetable.ends_ms + timetable.settle_ms,
        timetable: Some(timetable),
    };
    Line::Ask(Ask::Experiment(ExperimentAsk::Begin(Box::new(plan))))
}

fn experiment(line: usize) -> Option<Line> {
    Some(match line {
        0 => begins("frozen web"),
        1 => Line::UntilNoExperiment,
        _ => return None,
    })
}

fn stopped(line: usize) -> Option<Line> {
    Some(match line {
        0 => begins("stopped web"),
        1 => Line::UntilAFault,
        2 => Line::Stop,
        3 => Line::UntilNoExperiment,
        _ => return None,
    })
}

fn breaks(kind: FaultKind, target: &str) -> Line {
    Line::Ask(Ask::InjectFault(fault(kind, target, 4_000)))
}

fn drill(line: usize) -> Option<Line> {
    let drill = DrillId(1);
    let asks = |ask| Line::Ask(Ask::Drill(ask));
    let begins = |step: &str| {
        asks(DrillAsk::BeginStep {
            drill,
            step: step.to_string(),
            what: "so".to_string(),
        })
    };
    let ends = |step: &str| {
        asks(DrillAsk::EndStep {
            drill,
            end: StepEnd {
                step: step.to_string(),
                outcome: StepOutcome::Done,
                detail: String::new(),
                evidence: Vec::new(),
            },
        })
    };
    Some(match line {
        0 => asks(DrillAsk::Begin(Box::new(drills::plan()))),
        1 => begins("lose"),
        2 => breaks(FaultKind::HostFreeze, "h3"),
        3 => ends("lose"),
        4 => begins("look"),
        5 => asks(DrillAsk::Confirm {
            drill,
            step: "look".to_string(),
        }),
        6 => ends("look"),
        7 => Line::UntilNoFault,
        8 => asks(DrillAsk::End {
            drill,
            end: DrillEnd {
                verdict: DrillVerdict::Passed,
                why: "all went well".to_string(),
                deficiencies: Vec::new(),
                residue: Vec::new(),
            },
        }),
        _ => return None,
    })
}

impl Bench {
    fn new() -> Self {
        Self {
            script: 0,
            line: 0,
            asked: None,
            not_before_ms: 0,
        }
    }

    fn is_stopping(&self) -> bool {
        matches!(line(self.script, self.line), Some(Line::Stop))
    }

    fn is_over(&self) -> bool {
        self.script >= SCRIPTS
    }

    fn gives_up(&mut self) {
        self.script += 1;
        self.line = 0;
        self.asked = None;
    }

    fn work(&mut self, world: &mut World) {
        if let Some(asked) = self.asked.take() {
            return self.hear(world, asked);
        }
        let rests = world
            .sight()
            .is_some_and(|state| state.incidents.ever() > 0);
        let quiet = world.sight().is_some_and(|state| {
            state.incidents.iter().all(|(_, i)| !i.phase.is_active()) && state.alerts.is_empty()
        });
        if self.is_over() || world.now_ms < self.not_before_ms || !rests {
            return;
        }
        if self.line == 0 && !quiet {
            return;
        }
        match line(self.script, self.line) {
            None => self.gives_up(),
            Some(Line::UntilNoFault) => {
                if world.sight().is_some_and(|state| state.faults.is_empty()) {
                    self.line += 1;
                }
            }
            Some(Line::UntilNoExperiment) => {
                if world
                    .sight()
                    .is_some_and(|state| state.experiment.is_none())
                {
                    self.line += 1;
                }
            }
            Some(Line::UntilAFault) => {
                // It may have ended without one.
                let goes_on =
                    |state: &State| !state.faults.is_empty() || state.experiment.is_none();
                if world.sight().is_some_and(goes_on) {
                    self.line += 1;
                }
            }
            Some(Line::Stop) => {
                let running = world.sight().and_then(|state| state.experiment.as_ref());
                match running.map(|running| running.id) {
                    Some(experiment) => {
                        self.ask(world, Ask::Experiment(ExperimentAsk::Stop { experiment }));
                    }
                    None => self.line += 1,
                }
            }
            Some(Line::Ask(ask)) => self.ask(world, ask),
        }
    }

    fn ask(&mut self, world: &mut World, ask: Ask) {
        if world.fuse.strikes("the bench is about to ask") {
            return self.gives_up();
        }
        let since_ms = world.now_ms;
        let asked = world.ask(ask);
        self.asked = asked.map(|(host, cause)| Asked {
            host,
            cause,
            since_ms,
        });
        if world.fuse.strikes("the bench has asked") {
            self.gives_up();
        }
    }

    fn hear(&mut self, world: &mut World, asked: Asked) {
        match world.answer(asked.host, &asked.cause) {
            Ok(Some(Answer::Done { .. })) => self.line += 1,
            // It ends already: whoever is to stop it looks on.
            Ok(Some(Answer::Refused { .. })) if self.is_stopping() => self.line += 1,
            // The time is bad: somebody tries again later.
            Ok(Some(Answer::Refused { .. })) if self.line == 0 => {
                self.not_before_ms = world.now_ms + 5_000;
            }
            Ok(None) if world.now_ms < asked.since_ms + PATIENCE_MS => self.asked = Some(asked),
            Ok(_) | Err(()) => self.gives_up(),
        }
    }
}

#[derive(Debug)]
struct People {
    asked: BTreeMap<String, Asked>,
    by_hand: u32,
}

impl People {
    fn work(&mut self, world: &mut World) {
        for (what, asked) in core::mem::take(&mut self.asked) {
            let waits = matches!(world.answer(asked.host, &asked.cause), Ok(None));
            if waits && world.now_ms < asked.since_ms + PATIENCE_MS {
                self.asked.insert(what, asked);
            }
        }
        let Some(state) = world.sight() else {
            return;
        };
        let mut wishes = wishes(world, state);
        if self.by_hand < BY_HAND_MAX && is_left_alone(world, state) {
            wishes.push((
                "by hand".to_string(),
                Ask::Playbook(playbook::Ask::Run {
                    book: "web-slow".to_string(),
                    values: BTreeMap::from([("host".to_string(), "h2".to_string())]),
                }),
            ));
        }
        for (what, ask) in wishes {
            if self.asked.contains_key(&what) {
                continue;
            }
            self.by_hand += u32::from(what == "by hand");
            let since_ms = world.now_ms;
            if let Some((host, cause)) = world.ask(ask) {
                let asked = Asked {
                    host,
                    cause,
                    since_ms,
                };
                self.asked.insert(what, asked);
            }
        }
    }
}

/// It is slow, and no run is at it although there was one.
fn is_left_alone(world: &World, state: &State) -> bool {
    let books = &state.playbooks;
    world.reality.slow.contains("h2")
        && !books.ended.is_empty()
        && books.runs.is_empty()
        && state.lost.is_empty()
}

fn wishes(world: &World, state: &State) -> Vec<(String, Ask)> {
    let mut wishes = Vec::new();
    for (id, run) in &state.playbooks.runs {
        let ask = match &run.phase {
            Phase::Waits { .. } => playbook::Ask::Approve {
                run: id.to_string(),
            },
            Phase::Asking { .. } if is_done(world, run.present()) => playbook::Ask::Approve {
                run: id.to_string(),
            },
            Phase::Asking { .. } => playbook::Ask::Abort {
                run: id.to_string(),
                undo: true,
            },
            _ => continue,
        };
        wishes.push((format!("{id} {}", run.phase.as_str()), Ask::Playbook(ask)));
    }
    for (id, incident) in state.incidents.iter() {
        let ask = match incident.phase {
            // Whoever is called has it.
            IncidentPhase::Open if was_called(world) => mainstay_incident::Ask::Acknowledge(id),
            IncidentPhase::Mitigated => mainstay_incident::Ask::Resolve {
                incident: id,
                despite: false,
            },
            _ => continue,
        };
        wishes.push((
            format!("{id} {}", incident.phase.as_str()),
            Ask::Incident(ask),
        ));
    }
    wishes
}

fn was_called(world: &World) -> bool {
    use super::reality::Fact;
    let mut facts = world.reality.facts.iter();
    facts.any(|fact| {
        matches!(
            fact,
            Fact::Said {
                kind: "trigger",
                ..
            }
        )
    })
}

/// A person who is asked goes and looks.
fn is_done(world: &World, step: Option<&Step>) -> bool {
    match step.map(|step| step.id.as_str()) {
        Some("restart") => !world.reality.slow.contains("h2"),
        Some("warm") => world.reality.warmed > 0,
        Some("move") => world.reality.primary.0 == "h3",
        _ => true,
    }
}

fn is_set_up(state: &State) -> bool {
    state.keys.len() == HOSTS.len()
        && state.databases.len() == 1
        && state.playbooks.books.len() == 1
        && state.placed.len() == 2
}

/// Tells the story once, with whoever the fuse strikes dying in it.
pub fn tell(strikes: &[u32], away: Away, planted: Planted) -> Told {
    let mut world = World::new(Fuse::at(strikes), away, planted);
    let mut adopted = false;
    loop {
        world.step();
        let state = world.sight();
        if state.is_some_and(is_set_up) && world.is_calm() {
            break;
        }
        if !adopted && state.is_some_and(|state| state.desired.is_some()) {
            let ask = Ask::Playbook(playbook::Ask::Adopt {
                digest: "web-slow-1".to_string(),
                text: "the text".to_string(),
                book: Arc::new(book()),
                source: playbook::Source::Person,
            });
            adopted = world.ask(ask).is_some();
        }
        assert!(world.now_ms < 1_100_000, "the stage is never set");
    }
    world.fuse.light();
    world.reality.slow.insert("h2");
    let (mut people, mut bench) = (
        People {
            asked: BTreeMap::new(),
            by_hand: 0,
        },
        Bench::new(),
    );
    let give_up_ms = world.now_ms + STORY_MS_MAX;
    let mut ended = false;
    while world.now_ms < give_up_ms && !ended {
        world.step();
        people.work(&mut world);
        bench.work(&mut world);
        ended = bench.is_over() && world.is_calm() && people.asked.is_empty();
    }
    Told::of(world, ended)
}
