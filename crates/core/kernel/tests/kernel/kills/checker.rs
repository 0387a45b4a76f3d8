//! What must hold of every telling: read from the journal's entries and from the witness's facts alone. Nothing here
//! decides or folds as the kernel does.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_incident::Change;
use mainstay_kernel::{Cause, DrillNews, Event, ExperimentNews, Outcome, Record};
use mainstay_notify::Event as NoticeEvent;
use mainstay_playbook::{Act, Event as PlaybookEvent};
use mainstay_units::Epoch;

use super::experiments;
use super::reality::{Fact, FaultOnDisk};
use super::world::World;

/// From the time when a fault is to end until it is over at the latest.
const ENDS_WITHIN_MS: u64 = 3_000;

/// A story that was told.
pub struct Told {
    pub journal: Vec<Record>,
    authors: Vec<&'static str>,
    pub facts: Vec<Fact>,
    pub moments: Vec<&'static str>,
    ended: bool,
    faults_set: Vec<String>,
    slow: usize,
    drained: usize,
    /// Whether all nodes ended with one and the same state, and that of the journal read anew.
    agree: bool,
}

impl Told {
    pub fn of(world: World, ended: bool) -> Self {
        let set = world.reality.faults.iter();
        let set = set.filter(|(_, record)| record.on_disk == FaultOnDisk::Set);
        let mut anew = mainstay_kernel::State::default();
        for record in &world.journal {
            anew.apply(record);
        }
        let mut nodes = world.nodes.values();
        Self {
            faults_set: set.map(|(fault, _)| fault.to_string()).collect(),
            slow: world.reality.slow.len(),
            drained: anew.playbooks.drained.len(),
            agree: nodes.all(|node| *node.driver.state() == anew),
            journal: world.journal,
            authors: world.authors,
            facts: world.reality.facts,
            moments: world.fuse.moments,
            ended,
        }
    }
}

/// What is wrong with a story; nothing, if all is well.
pub fn findings(told: &Told) -> Vec<String> {
    let mut found = Vec::new();
    if !told.ended {
        found.push("it never ends".to_string());
    }
    if !told.agree {
        found.push("nodes and journal do not say the same".to_string());
    }
    log(told, &mut found);
    let orders = orders(&told.journal);
    written_before_done(told, &orders, &mut found);
    outcomes(told, &orders, &mut found);
    once(told, &orders, &mut found);
    notices(told, &orders, &mut found);
    faults(told, &mut found);
    experiments::check(told, &mut found);
    story(told, &mut found);
    found
}

/// One log: epochs in order, every entry by whoever led, no signal decided twice.
fn log(told: &Told, found: &mut Vec<String>) {
    let (mut epoch, mut leader) = (Epoch::ZERO, "");
    let mut causes: BTreeSet<&Cause> = BTreeSet::new();
    let mut last = None;
    for (index, (record, author)) in told.journal.iter().zip(&told.authors).enumerate() {
        if record.position.0 != index as u64 {
            found.push(format!("entry {index} stands at {}", record.position));
        }
        if let Event::Claimed { epoch: claimed, .. } = &record.event {
            if claimed.0 != epoch.0 + 1 {
                found.push(format!("epoch {claimed} follows {epoch}"));
            }
            (epoch, leader) = (*claimed, author);
        }
        if index > 0 && (record.epoch != epoch || leader != *author) {
            found.push(format!("entry {index} is not by who leads"));
        }
        if let Some(cause) = record.cause.as_ref().filter(|cause| last != Some(*cause))
            && !causes.insert(cause)
        {
            found.push(format!("{cause:?} was decided twice"));
        }
        last = record.cause.as_ref();
    }
}

/// What an entry orders, in a word, by its position.
fn orders(journal: &[Record]) -> BTreeMap<u64, &'static str> {
    let orders = journal.iter().filter_map(|record| {
        let what = match &record.event {
            Event::Playbook(PlaybookEvent::Looked { .. }) => "look",
            Event::Playbook(PlaybookEvent::Begun { act, .. }) => match act {
                Act::Restart { .. } => "restart",
                Act::Run { .. } => "run",
                Act::Switchover { .. } => "move",
                // Done by being written.
                _ => return None,
            },
            Event::FaultInjected { .. } => "set",
            Event::FaultEnding { .. } => "clear",
            Event::Notice(NoticeEvent::Ordered(_)) => "say",
            Event::Experiment(ExperimentNews::Looking { .. }) => "gaze",
            Event::Experiment(ExperimentNews::Choosing { .. }) => "choose",
            _ => return None,
        };
        Some((record.position.0, what))
    });
    orders.collect()
}

fn written_before_done(told: &Told, orders: &BTreeMap<u64, &'static str>, found: &mut Vec<String>) {
    for fact in &told.facts {
        let (order, wanted, length) = match fact {
            Fact::Did {
                order,
                what,
                length,
            } => (*order, what.split(' ').next().unwrap_or_default(), *length),
            Fact::Said { order, length, .. } => (*order, "say", *length),
            Fact::FaultSet { order, length, .. } => (*order, "set", *length),
            Fact::Measured { order, length, .. } => (*order, "gaze", *length),
            Fact::Died { .. } | Fact::FaultOver { .. } => continue,
        };
        if orders.get(&order) != Some(&wanted) {
            found.push(format!("{fact:?} was never ordered"));
        }
        if length <= order {
            found.push(format!("{fact:?} came before its entry"));
        }
    }
}

/// Whether a fact is what an order was for.
fn fulfils(fact: &Fact, wanted: u64) -> bool {
    match fact {
        Fact::Did { order, .. }
        | Fact::Said { order, .. }
        | Fact::FaultSet { order, .. }
        | Fact::Measured { order, .. } => *order == wanted,
        Fact::Died { .. } | Fact::FaultOver { .. } => false,
    }
}

/// Every order has one outcome, and the outcome is true.
fn outcomes(told: &Told, orders: &BTreeMap<u64, &'static str>, found: &mut Vec<String>) {
    let mut outcomes: BTreeMap<u64, Vec<&Outcome>> = BTreeMap::new();
    for record in &told.journal {
        if let Event::EffectFinished { effect, outcome } = &record.event {
            outcomes.entry(effect.0.0).or_default().push(outcome);
        }
    }
    for (order, what) in orders {
        let outcome = match outcomes.get(order).map(Vec::as_slice) {
            Some([one]) => one,
            Some(several) => {
                found.push(format!("{what} #{order} has {} outcomes", several.len()));
                continue;
            }
            None => {
                found.push(format!("{what} #{order} has no outcome"));
                continue;
            }
        };
        // Whether something shows, whether nothing is in force, and whom one would take, is no deed.
        if matches!(*what, "look" | "clear" | "choose") {
            continue;
        }
        let is_done = told.facts.iter().any(|fact| fulfils(fact, *order));
        match outcome {
            Outcome::Done { detail } if !is_done => {
                found.push(format!(
                    "{what} #{order} is told as done ({detail}) and was not"
                ));
            }
            Outcome::Failed { why } if is_done => {
                found.push(format!(
                    "{what} #{order} is told as not done ({why}) and was"
                ));
            }
            Outcome::Done { .. } | Outcome::Failed { .. } | Outcome::Unknown { .. } => {}
        }
    }
}

/// No order is carried out twice, and no step of a run either, whatever the number of its attempts.
fn once(told: &Told, orders: &BTreeMap<u64, &'static str>, found: &mut Vec<String>) {
    let did = |wanted: u64| {
        let facts = told.facts.iter();
        facts
            // Saying is looked at below; looking changes nothing.
            .filter(|fact| !matches!(fact, Fact::Said { .. } | Fact::Measured { .. }))
            .filter(|fact| fulfils(fact, wanted))
            .count()
    };
    for (order, what) in orders {
        if did(*order) > 1 {
            found.push(format!("{what} #{order} was done {} times", did(*order)));
        }
    }
    let mut steps: BTreeMap<(u64, u32, bool), usize> = BTreeMap::new();
    for record in &told.journal {
        if let Event::Playbook(PlaybookEvent::Begun {
            run, step, undo, ..
        }) = &record.event
        {
            *steps.entry((run.0, *step, *undo)).or_default() += did(record.position.0);
        }
    }
    for ((run, step, _), times) in steps.iter().filter(|(_, times)| **times > 1) {
        found.push(format!("step {step} of run r{run} was done {times} times"));
    }
}

/// Each is said, once; and again only when whoever said it died before the journal knew.
fn notices(told: &Told, orders: &BTreeMap<u64, &'static str>, found: &mut Vec<String>) {
    let mut said: BTreeMap<(u64, &str), Vec<usize>> = BTreeMap::new();
    for (index, fact) in told.facts.iter().enumerate() {
        if let Fact::Said {
            number, channel, ..
        } = fact
        {
            said.entry((*number, channel)).or_default().push(index);
        }
    }
    let died_after = |index: usize, node: &str| {
        let later = told.facts.iter().skip(index + 1);
        later
            .take_while(|fact| !matches!(fact, Fact::Said { .. }))
            .any(|fact| matches!(fact, Fact::Died { node: who, .. } if who == node))
    };
    for ((number, channel), times) in &said {
        for first in times.iter().take(times.len() - 1) {
            let Fact::Said { node, .. } = &told.facts[*first] else {
                continue;
            };
            if !died_after(*first, node) {
                found.push(format!(
                    "notice {number} was said again over {channel} though nobody died over it"
                ));
            }
        }
        if times.len() > 2 {
            found.push(format!("notice {number} was said {} times", times.len()));
        }
    }
    for record in &told.journal {
        if let Event::Notice(NoticeEvent::Ordered(notice)) = &record.event
            && orders.contains_key(&record.position.0)
            && !said.contains_key(&(notice.number, notice.to.channel.as_str()))
        {
            found.push(format!("notice {} was never said", notice.number));
        }
    }
}

/// Every fault ends in its time, whoever dies; none is left.
fn faults(told: &Told, found: &mut Vec<String>) {
    for fault in &told.faults_set {
        found.push(format!("fault {fault} is left behind"));
    }
    for fact in &told.facts {
        let Fact::FaultSet {
            fault, until_ms, ..
        } = fact
        else {
            continue;
        };
        let over = told.facts.iter().find_map(|fact| match fact {
            Fact::FaultOver { fault: of, at_ms } if of == fault => Some(*at_ms),
            _ => None,
        });
        if over.is_none_or(|at_ms| at_ms > until_ms + ENDS_WITHIN_MS) {
            found.push(format!("fault {fault} was to end at {until_ms}: {over:?}"));
        }
    }
}

/// What was to come about did: nothing that was told is lost on the way.
fn story(told: &Told, found: &mut Vec<String>) {
    let count = |is: &dyn Fn(&Event) -> bool| {
        let events = told.journal.iter().map(|record| &record.event);
        events.filter(|event| is(event)).count()
    };
    let changed = |is: fn(&Change) -> bool| {
        count(&|event| matches!(event, Event::Incident(of) if is(&of.change)))
    };
    let opened = changed(|change| matches!(change, Change::Opened { .. }));
    let over = changed(|change| matches!(change, Change::Resolved { .. }));
    let runs = count(&|event| matches!(event, Event::Playbook(PlaybookEvent::Opened { .. })));
    let ends = count(&|event| matches!(event, Event::Playbook(PlaybookEvent::Ended { .. })));
    let begun = count(&|event| {
        matches!(event, Event::Experiment(ExperimentNews::Begun { .. }))
            || matches!(event, Event::Drill(DrillNews::Begun { .. }))
    });
    let judged = count(&|event| {
        matches!(event, Event::Experiment(ExperimentNews::Ended { .. }))
            || matches!(event, Event::Drill(DrillNews::Ended { .. }))
    });
    let said = |wanted: &str| {
        let mut facts = told.facts.iter();
        facts.any(|fact| matches!(fact, Fact::Said { kind, .. } if *kind == wanted))
    };
    let alerts = count(&|event| matches!(event, Event::AlertChanged(_)));
    for (holds, what) in [
        (
            opened >= 1 && over == opened,
            "an incident was not opened or not resolved",
        ),
        (alerts >= 2, "an alert, or its end, was not recorded"),
        (
            runs >= 1 && runs == ends,
            "a run was not opened or did not end",
        ),
        (begun == judged, "an experiment or a drill has no verdict"),
        (
            said("trigger") && said("resolve"),
            "nobody was called, or nobody was told the end",
        ),
        (told.slow == 0, "it is still slow"),
        (told.drained == 0, "a host is left out of routing"),
    ] {
        if !holds {
            found.push(what.to_string());
        }
    }
}
