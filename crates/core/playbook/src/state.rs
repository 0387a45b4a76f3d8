//! Books in force, runs under way, runs that ended; and what events and outcomes make of them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::act::Act;
use crate::book::{Book, Mode};
use crate::event::{Ending, Event, Opening, Origin, Purpose, Source, Who};
use crate::guard::Target;
use crate::run::{Outcome, Phase, Run, RunId, Stopped};
use crate::shift;
use crate::value::Values;

pub const BOOKS_MAX: usize = 200;
pub const RUNS_MAX: usize = 100;
/// So many runs that ended are remembered, for people. What guardrails need of them stands apart.
pub const ENDED_MAX: usize = 200;
/// So many starts of each book are remembered: a rate of more never holds anything back.
pub const STARTS_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub books: BTreeMap<String, Known>,
    /// The newest version and digest that each name ever had.
    pub versions: BTreeMap<String, (u32, String)>,
    pub runs: BTreeMap<RunId, Run>,
    pub runs_ever: u64,
    /// Oldest first.
    pub ended: VecDeque<Ended>,
    /// When runs of each book started, the newest last: for rates. Of runs that never started there is nothing, so that
    /// however many were declined push none out.
    pub starts: BTreeMap<String, VecDeque<u64>>,
    /// Which run was at a thing last, and when that ended: for cool-downs.
    pub touched: BTreeMap<Target, (RunId, u64)>,
    pub tracks: BTreeMap<String, Track>,
    /// Hosts that gateways send nothing new to.
    pub drained: BTreeSet<String>,
    /// Where gateways send less than all that they would, in percent: by service and region.
    pub shifts: BTreeMap<(String, String), u8>,
    /// How many instances of a service run in place of what the platform file says.
    pub counts: BTreeMap<String, u16>,
    /// When a run of each book was opened last.
    pub opened: BTreeMap<String, u64>,
    /// When the schedule of each book opened a run last, or was declined one.
    pub kept: BTreeMap<String, u64>,
}

/// A book in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub book: Arc<Book>,
    pub digest: String,
    pub source: Source,
    pub by: Who,
    pub since_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub id: RunId,
    pub run: Run,
    pub ending: Ending,
    pub why: String,
    pub at_ms: u64,
}

/// How the present version of a book has fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    pub version: u32,
    /// In a row.
    pub successes: u32,
    pub runs: u32,
}

impl State {
    /// The mode that a trigger meets: the book's own, or the one it has earned.
    pub fn mode_of(&self, book: &Book) -> Mode {
        let track = self.tracks.get(&book.name);
        let earned = |after: u32| {
            track.is_some_and(|track| track.version == book.version && track.successes >= after)
        };
        match &book.promotion {
            Some(promotion) if earned(promotion.after) => promotion.to.max(book.mode),
            Some(_) | None => book.mode,
        }
    }

    /// The only way in which events change the state. `position` names the effect that an event orders.
    pub fn apply(&mut self, position: u64, at_ms: u64, event: &Event) {
        match event {
            Event::Adopted {
                digest,
                book,
                source,
                by,
                ..
            } => {
                self.versions
                    .insert(book.name.clone(), (book.version, digest.clone()));
                let known = Known {
                    book: Arc::clone(book),
                    digest: digest.clone(),
                    source: *source,
                    by: by.clone(),
                    since_ms: at_ms,
                };
                self.books.insert(book.name.clone(), known);
            }
            Event::Withdrawn { book, .. } => {
                self.books.remove(book);
            }
            Event::Opened {
                run,
                book,
                values,
                origin,
                opening,
            } => self.open(at_ms, *run, (book, values, origin), opening),
            Event::Declined { book, origin, .. } => self.begin(at_ms, book, origin),
            Event::Ended { run, ending, why } => self.end(at_ms, *run, *ending, why),
            Event::Begun { run, act, undo, .. } => {
                self.apply_act(act);
                if let Some(run) = self.runs.get_mut(run) {
                    begin(run, position, at_ms, act, *undo);
                }
            }
            Event::Started { run, targets } => self.start(at_ms, *run, targets),
            Event::Approved { run, .. }
            | Event::Looked { run, .. }
            | Event::Skipped { run, .. }
            | Event::Failed { run, .. }
            | Event::Asks { run, .. }
            | Event::Aborted { run, .. } => {
                if let Some(run) = self.runs.get_mut(run) {
                    apply_run(run, position, at_ms, event);
                }
            }
        }
    }

    fn begin(&mut self, at_ms: u64, book: &str, origin: &Origin) {
        self.opened.insert(book.to_string(), at_ms);
        if *origin == Origin::Schedule {
            self.kept.insert(book.to_string(), at_ms);
        }
    }

    fn open(
        &mut self,
        at_ms: u64,
        id: RunId,
        (book, values, origin): (&str, &Values, &Origin),
        opening: &Opening,
    ) {
        self.runs_ever = self.runs_ever.max(id.0);
        self.begin(at_ms, book, origin);
        let Some(known) = self.books.get(book) else {
            return;
        };
        let phase = match opening {
            Opening::Observes | Opening::Goes => Phase::Approved,
            Opening::Waits {
                until_ms,
                needs,
                expiry,
            } => Phase::Waits {
                until_ms: *until_ms,
                needs: *needs,
                expiry: *expiry,
            },
        };
        let run = Run {
            book: Arc::clone(&known.book),
            digest: known.digest.clone(),
            values: values.clone(),
            origin: origin.clone(),
            opened_ms: at_ms,
            started_ms: None,
            phase,
            since_ms: at_ms,
            step: 0,
            attempts: 0,
            looks: 0,
            approvals: Vec::new(),
            overrulers: Vec::new(),
            overruled: false,
            condition_held: false,
            reserved: Vec::new(),
            undo: Vec::new(),
            undone: 0,
            stopped: None,
            seen: Vec::new(),
        };
        self.runs.insert(id, run);
        if *opening == Opening::Observes {
            self.end(at_ms, id, Ending::Observed, "the playbook only observes");
        }
    }

    fn start(&mut self, at_ms: u64, id: RunId, targets: &[Target]) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        run.reserved = targets.to_vec();
        run.started_ms = Some(at_ms);
        run.looks = 0;
        run.go(at_ms, Phase::Next);
        let starts = self.starts.entry(run.book.name.clone()).or_default();
        starts.push_back(at_ms);
        if starts.len() > STARTS_MAX {
            starts.pop_front();
        }
    }

    fn end(&mut self, at_ms: u64, id: RunId, ending: Ending, why: &str) {
        let Some(run) = self.runs.remove(&id) else {
            return;
        };
        if run.started_ms.is_some() {
            let track = self.tracks.entry(run.book.name.clone()).or_default();
            if track.version != run.book.version {
                *track = Track {
                    version: run.book.version,
                    ..Track::default()
                };
            }
            track.runs = track.runs.saturating_add(1);
            track.successes = match ending == Ending::Done {
                true => track.successes.saturating_add(1),
                false => 0,
            };
        }
        let left = run.reserved.iter().cloned();
        self.touched
            .extend(left.map(|target| (target, (id, at_ms))));
        self.ended.push_back(Ended {
            id,
            run,
            ending,
            why: why.to_string(),
            at_ms,
        });
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    fn apply_act(&mut self, act: &Act) {
        match act {
            Act::Drain { hosts } => self.drained.extend(hosts.iter().cloned()),
            Act::Return { hosts, shifts } => {
                self.drained.retain(|host| !hosts.contains(host));
                self.shifts.retain(|shifted, _| !shifts.contains(shifted));
            }
            Act::Shift {
                service,
                region,
                share,
            } => {
                let shifted = (service.clone(), region.clone());
                match *share < shift::WHOLE {
                    true => self.shifts.insert(shifted, *share),
                    false => self.shifts.remove(&shifted),
                };
            }
            Act::Replicas { service, count, .. } => {
                self.counts.insert(service.clone(), *count);
            }
            Act::Switchover { .. }
            | Act::Restart { .. }
            | Act::ClearFaults { .. }
            | Act::Run { .. }
            | Act::Replace { .. }
            | Act::Rebuild { .. }
            | Act::Http(_)
            | Act::Notify { .. }
            | Act::WorkItem(_)
            | Act::Mode { .. } => {}
        }
    }

    /// Another platform file is in force: its numbers of instances hold, and shifts of what it does not have are over.
    pub fn file_changed(&mut self, has: impl Fn(&str, &str) -> bool) {
        self.counts.clear();
        self.shifts
            .retain(|(service, region), _| has(service, region));
    }

    /// What became of what was ordered at `position`.
    pub fn finished(&mut self, position: u64, at_ms: u64, outcome: &Outcome) {
        for run in self.runs.values_mut() {
            if let Phase::Acting { effect, undo } = run.phase
                && effect == position
            {
                return acted(run, at_ms, undo, outcome);
            }
            if let Phase::Looking { purpose, effect } = run.phase
                && effect == position
            {
                return looked(run, at_ms, purpose, outcome);
            }
        }
    }
}

fn begin(run: &mut Run, position: u64, at_ms: u64, act: &Act, undo: bool) {
    if !undo {
        run.attempts = run.attempts.saturating_add(1);
        run.looks = 0;
    }
    run.note(at_ms, format!("begun: {act}"));
    let effect = position;
    run.go(at_ms, Phase::Acting { effect, undo });
    if act.is_done_by_writing() {
        acted(run, at_ms, undo, &Outcome::Done("it is journalled".into()));
    }
}

fn apply_run(run: &mut Run, position: u64, at_ms: u64, event: &Event) {
    match event {
        Event::Approved { by, .. } => approved(run, at_ms, by.as_ref()),
        Event::Looked { purpose, .. } => {
            run.looks = run.looks.saturating_add(1);
            let purpose = *purpose;
            let effect = position;
            run.go(at_ms, Phase::Looking { purpose, effect });
        }
        Event::Skipped { why, .. } => {
            run.note(at_ms, format!("passed over: {why}"));
            match run.is_undoing() {
                true => undone(run, at_ms),
                false => advance(run, at_ms),
            }
        }
        Event::Failed { why, .. } => {
            run.note(at_ms, format!("failed: {why}"));
            run.stopped = Some(Stopped::Failed(why.clone()));
            run.go(at_ms, Phase::Undoing);
        }
        Event::Asks { why, .. } => {
            run.note(at_ms, format!("asks: {why}"));
            run.overrulers.clear();
            run.go(at_ms, Phase::Asking { why: why.clone() });
        }
        Event::Aborted {
            undo, by, reason, ..
        } => {
            run.note(at_ms, format!("aborted by {by}: {reason}"));
            let why = format!("aborted by {by}: {reason}");
            run.stopped = Some(Stopped::Aborted { why, undo: *undo });
            if !undo {
                run.undo.clear();
            }
            // What a hand is doing is waited for; what an eye is looking at is not.
            if !matches!(run.phase, Phase::Acting { .. }) {
                run.go(at_ms, Phase::Undoing);
            }
        }
        Event::Adopted { .. }
        | Event::Withdrawn { .. }
        | Event::Opened { .. }
        | Event::Declined { .. }
        | Event::Started { .. }
        | Event::Begun { .. }
        | Event::Ended { .. } => {}
    }
}

fn approved(run: &mut Run, at_ms: u64, by: Option<&Who>) {
    let name = by.map_or_else(|| "nobody".into(), ToString::to_string);
    run.note(at_ms, format!("approved by {name}"));
    if let Phase::Waits { needs, .. } = &run.phase {
        let needs = usize::from(*needs);
        run.approvals.push(name);
        if needs <= run.approvals.len() || by.is_none() {
            run.go(at_ms, Phase::Approved);
        }
    } else if let Phase::Asking { .. } = &run.phase {
        if !run.is_held_back() {
            // Somebody has looked, and takes the step for done.
            return advance(run, at_ms);
        }
        run.overrulers.push(name);
        if run.overrulers.len() >= usize::from(run.book.approval.count) {
            run.overruled = true;
            let phase = match run.started_ms {
                None => Phase::Approved,
                Some(_) => Phase::Next,
            };
            run.go(at_ms, phase);
        }
    }
}

fn advance(run: &mut Run, at_ms: u64) {
    run.step = run.step.saturating_add(1);
    run.attempts = 0;
    run.looks = 0;
    run.go(at_ms, Phase::Next);
}

fn undone(run: &mut Run, at_ms: u64) {
    run.undo.pop();
    run.go(at_ms, Phase::Undoing);
}

fn acted(run: &mut Run, at_ms: u64, undo: bool, outcome: &Outcome) {
    let (word, text) = match outcome {
        Outcome::Done(text) => ("done", text),
        Outcome::Failed(text) => ("not done", text),
        Outcome::Unknown(text) => ("nobody knows", text),
    };
    run.note(at_ms, format!("{word}: {text}"));
    if undo {
        if let Outcome::Done(_) = outcome {
            run.undone = run.undone.saturating_add(1);
            return undone(run, at_ms);
        }
        return run.go(at_ms, Phase::Acted(outcome.clone()));
    }
    let keeps = !matches!(run.stopped, Some(Stopped::Aborted { undo: false, .. }));
    let can_undo = run.present().is_some_and(|step| step.compensate.is_some());
    // What may have been done may have to be undone.
    let may_be_done = !matches!(outcome, Outcome::Failed(_));
    if keeps && can_undo && may_be_done && run.undo.last() != Some(&run.step) {
        run.undo.push(run.step);
    }
    if run.is_undoing() {
        return run.go(at_ms, Phase::Undoing);
    }
    match outcome {
        Outcome::Done(_) if run.present().is_some_and(|step| step.verify.is_some()) => {
            run.looks = 0;
            run.go(at_ms, Phase::Verify);
        }
        Outcome::Done(_) => advance(run, at_ms),
        Outcome::Failed(_) | Outcome::Unknown(_) => {
            run.looks = 0;
            run.go(at_ms, Phase::Acted(outcome.clone()));
        }
    }
}

fn looked(run: &mut Run, at_ms: u64, purpose: Purpose, outcome: &Outcome) {
    let (Outcome::Done(text) | Outcome::Failed(text) | Outcome::Unknown(text)) = outcome;
    run.note(at_ms, format!("{}: {text}", purpose.as_str()));
    match (outcome, purpose) {
        (Outcome::Done(_), Purpose::Guard) => {
            run.condition_held = true;
            run.go(at_ms, Phase::Approved);
        }
        (Outcome::Done(_), Purpose::When) => {
            run.looks = 0;
            run.go(at_ms, Phase::Ready);
        }
        (Outcome::Done(_), Purpose::Verify | Purpose::Proof) => advance(run, at_ms),
        (Outcome::Failed(_) | Outcome::Unknown(_), _) => {
            let outcome = outcome.clone();
            run.go(at_ms, Phase::Seen { purpose, outcome });
        }
    }
}
