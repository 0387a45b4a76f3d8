//! What a run needs next: a table from its phase.
//!
//! | phase              | what is known                  | what follows                                        |
//! |--------------------|--------------------------------|-----------------------------------------------------|
//! | waits              | the time for approvals is over | refused or approved, as the book says               |
//! | approved           | a guardrail refuses            | ended                                               |
//! | approved           | too much is in trouble         | it asks                                             |
//! | approved           | there is a condition           | it is measured                                      |
//! | approved           | everything holds               | started, with what it touches reserved              |
//! | next               | no step is left                | ended well                                          |
//! | next               | `when`                         | it is measured                                      |
//! | next, ready        | it is so already               | the step is passed over                             |
//! | next, ready        | it cannot be done              | failed                                              |
//! | next, ready        | it cannot be done yet          | it waits, for as long as the step may take; then failed |
//! | next, ready        | it is not reserved             | failed                                              |
//! | next, ready        | too much is in trouble         | before the first attempt it asks                    |
//! | next, ready        | it can                         | begun                                               |
//! | acted: failed      | an attempt is left             | after a pause, begun again                          |
//! | acted: failed      | none is left                   | failed                                              |
//! | acted: unknown     | it can be seen                 | it is looked for                                    |
//! | acted: unknown     | it cannot, and may be repeated | begun again                                         |
//! | acted: unknown     | it cannot                      | it asks                                             |
//! | verify             |                                | it is measured                                      |
//! | seen: no answer    | so far few times               | it is measured again, by another watch if possible  |
//! | seen: no           | `when`                         | the step is passed over                             |
//! | seen: no           | verify or proof, may be repeated and an attempt is left | begun again                |
//! | seen: no           | verify                         | failed                                              |
//! | seen: no           | proof                          | it asks: it may have been done                      |
//! | undoing            | a step is left that can be     | its undoing is begun, as soon as it can be          |
//! | undoing            | none is left                   | ended                                               |
//!
//! What *is seen to hold* needs no decision: [`State::finished`](crate::State::finished) moves on.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::act::{Act, Look, Resolved, resolve};
use crate::book::{Action, Condition, Expiry, Step};
use crate::event::{Ending, Event, Purpose};
use crate::guard::{self, Target, Verdict};
use crate::run::{Outcome, Phase, Run, RunId, Stopped};
use crate::state::State;
use crate::view::View;
use crate::work_item::placed;

/// A measurement without an answer is made again so many times.
const LOOKS_MAX: u32 = 3;
/// How long the outcome of an action that nobody knows is looked for where nothing else is said.
const PROOF_MS: u64 = 10_000;

/// What a run needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Now(Event),
    /// Nothing before this moment, unless what it waits for comes sooner.
    At {
        at_ms: u64,
        why: String,
    },
    /// Somebody, or something that was ordered.
    Nothing,
}

impl From<Event> for Need {
    fn from(event: Event) -> Self {
        Self::Now(event)
    }
}

/// What every run needs next, in the order of their numbers: at most one thing each.
pub fn due(state: &State, now_ms: u64, view: &View) -> Vec<Event> {
    let mut events = Vec::new();
    // Each is decided with what those before it reserve.
    let mut seen = state.clone();
    for id in state.runs.keys() {
        let Need::Now(event) = next(&seen, now_ms, view, *id) else {
            continue;
        };
        if let Event::Started { .. } = &event {
            // No effect of it has an entry yet; what it reserves and how often it is done counts at once.
            seen.apply(0, now_ms, &event);
        }
        events.push(event);
    }
    events
}

/// When [`due`] will have something to say. The view is needed for some runs only.
pub fn next_due_ms(state: &State, paused: bool, view: impl FnOnce() -> View) -> Option<u64> {
    let mut look = Some(view);
    let mut seen: Option<View> = None;
    let due = state.runs.iter().filter_map(|(id, run)| match &run.phase {
        Phase::Waits { until_ms, .. } => Some(*until_ms),
        Phase::Acting { .. } | Phase::Looking { .. } | Phase::Asking { .. } => None,
        _ if paused => None,
        Phase::Approved | Phase::Verify => Some(0),
        Phase::Next | Phase::Ready | Phase::Acted(_) | Phase::Seen { .. } | Phase::Undoing => {
            let view =
                seen.get_or_insert_with(|| look.take().map(|look| look()).unwrap_or_default());
            // At no time at all, only what waits for a moment is not due.
            match next(state, 0, view, *id) {
                Need::Now(_) => Some(0),
                Need::At { at_ms, .. } => Some(at_ms),
                Need::Nothing => None,
            }
        }
    });
    due.min()
}

/// What one run needs next.
pub fn next(state: &State, now_ms: u64, view: &View, id: RunId) -> Need {
    let Some(run) = state.runs.get(&id) else {
        return Need::Nothing;
    };
    let turn = Turn {
        state,
        now_ms,
        view,
        id,
        run,
    };
    match &run.phase {
        Phase::Waits {
            until_ms, expiry, ..
        } => match now_ms >= *until_ms {
            true => turn.expired(*expiry).into(),
            false => Need::At {
                at_ms: *until_ms,
                why: "somebody has to say go".to_string(),
            },
        },
        Phase::Acting { .. } | Phase::Looking { .. } | Phase::Asking { .. } => Need::Nothing,
        // Hands off: what runs ends, nothing is begun.
        _ if view.paused => Need::Nothing,
        Phase::Approved => turn.start().into(),
        Phase::Next => turn.step(),
        Phase::Ready => turn.act(),
        Phase::Acted(outcome) => turn.acted(outcome),
        Phase::Verify => turn.verify(Purpose::Verify).into(),
        Phase::Seen { purpose, outcome } => turn.seen(*purpose, outcome),
        Phase::Undoing => turn.undo(),
    }
}

fn not_reserved(act: &Act, target: &Target) -> String {
    format!("to {act} would be at {target}, which this run has not reserved: start it anew")
}

fn may_repeat(run: &Run) -> bool {
    let times = run.present().map_or(0, |step| step.retry.times);
    !run.is_undoing() && run.attempts <= times
}

fn pause_ms(run: &Run) -> u64 {
    run.present().map_or(0, |step| step.retry.pause_ms)
}

/// Everything that one decision looks at.
struct Turn<'a> {
    state: &'a State,
    now_ms: u64,
    view: &'a View,
    id: RunId,
    run: &'a Run,
}

impl Turn<'_> {
    fn ended(&self, ending: Ending, why: String) -> Event {
        Event::Ended {
            run: self.id,
            ending,
            why,
        }
    }

    fn failed(&self, why: String) -> Event {
        Event::Failed {
            run: self.id,
            step: self.run.step,
            why,
        }
    }

    fn asks(&self, why: String) -> Event {
        Event::Asks { run: self.id, why }
    }

    /// It may go on if as many people as the book wants say so.
    fn asks_whether(&self, why: &str) -> Event {
        let count = self.run.book.approval.count;
        self.asks(match count {
            0 | 1 => why.to_string(),
            _ => format!("{why}; {count} people must say go"),
        })
    }

    fn expired(&self, expiry: Expiry) -> Event {
        match expiry {
            Expiry::Refuse => self.ended(Ending::Expired, "nobody approved it in time".to_string()),
            Expiry::Proceed => Event::Approved {
                run: self.id,
                by: None,
                reason: "nobody objected in time, and the playbook says to go on then".to_string(),
            },
        }
    }

    fn start(&self) -> Event {
        let run = self.run;
        let targets = guard::targets(&run.book, &run.values, self.view);
        let mut findings = guard::findings(
            self.state,
            self.now_ms,
            self.view,
            Some(self.id),
            &run.book,
            &targets,
        );
        findings.retain(|finding| match finding.verdict {
            Verdict::Holds => false,
            Verdict::Asks => !run.overruled,
            Verdict::Refuses => true,
        });
        let worst = findings.iter().max_by_key(|finding| finding.verdict);
        if let Some(found) = worst {
            let why = format!("{}: {}", found.guardrail, found.why);
            return match found.verdict {
                Verdict::Refuses => self.ended(Ending::Declined, why),
                Verdict::Asks | Verdict::Holds => self.asks_whether(&why),
            };
        }
        match &run.book.guardrails.condition {
            Some(condition) if !run.condition_held => self.look(Purpose::Guard, condition, 0, 0),
            Some(_) | None => Event::Started {
                run: self.id,
                targets,
            },
        }
    }

    fn look(&self, purpose: Purpose, condition: &Condition, within_ms: u64, hold_ms: u64) -> Event {
        match condition.filled(&self.run.values) {
            Ok(condition) => Event::Looked {
                run: self.id,
                step: self.run.step,
                purpose,
                look: Look::at(condition, within_ms, hold_ms, self.view, self.run.looks),
            },
            Err(error) => self.failed(format!("${{{}}} has no value", error.name)),
        }
    }

    fn step(&self) -> Need {
        match self.run.present().and_then(|step| step.when.as_ref()) {
            Some(when) => self.look(Purpose::When, when, 0, 0).into(),
            None => self.act(),
        }
    }

    fn act(&self) -> Need {
        let Some(step) = self.run.present() else {
            let why = "every step is done".to_string();
            return self.ended(Ending::Done, why).into();
        };
        if let Action::Wait(condition) = &step.action {
            return self
                .look(Purpose::Verify, condition, step.timeout_ms, 0)
                .into();
        }
        let event = match self.resolved(&step.action) {
            Resolved::Act(act) => self.begin(act),
            Resolved::Already(why) => Event::Skipped {
                run: self.id,
                step: self.run.step,
                why,
            },
            Resolved::NotYet(why) => {
                return self.awaits(step, why, |why| self.failed(why));
            }
            Resolved::Cannot(why) => self.failed(why),
        };
        event.into()
    }

    /// Only what is reserved is touched; and before a step is begun, too much may have come to be in trouble.
    fn begin(&self, act: Act) -> Event {
        let run = self.run;
        if let Some(target) = guard::unreserved(&act, &run.reserved, self.view) {
            return self.failed(not_reserved(&act, &target));
        }
        if run.attempts == 0
            && !run.overruled
            && let Some(why) = guard::held_back(&run.book, &act, self.view)
        {
            return self.asks_whether(&why);
        }
        Event::Begun {
            run: self.id,
            step: run.step,
            attempt: run.attempts.saturating_add(1),
            undo: false,
            act,
        }
    }

    /// What a step needs comes by itself, or is given up when the step's time is over.
    fn awaits(&self, step: &Step, why: String, given_up: impl FnOnce(String) -> Event) -> Need {
        let mut since_ms = self.run.since_ms;
        if let Phase::Acted(Outcome::Failed(_)) = &self.run.phase {
            since_ms = since_ms.saturating_add(pause_ms(self.run));
        }
        let at_ms = since_ms.saturating_add(step.timeout_ms);
        match self.now_ms >= at_ms {
            true => given_up(format!("{why}, for {} ms", step.timeout_ms)).into(),
            false => Need::At { at_ms, why },
        }
    }

    fn resolved(&self, action: &Action) -> Resolved {
        let (run, view) = (self.run, self.view);
        let resolved = resolve(action, &run.values, view, &self.state.drained);
        placed(resolved, Some(&run.origin), view)
    }

    fn acted(&self, outcome: &Outcome) -> Need {
        let undoing = self.run.is_undoing();
        let step = self.run.present();
        let event = match outcome {
            Outcome::Done(_) => self.verify(Purpose::Verify),
            Outcome::Failed(why) | Outcome::Unknown(why) if undoing => {
                self.ended(Ending::UndoFailed, why.clone())
            }
            Outcome::Failed(why) if may_repeat(self.run) => {
                return self.again(why);
            }
            Outcome::Failed(why) => self.failed(why.clone()),
            Outcome::Unknown(_) if step.is_some_and(|step| step.verify.is_some()) => {
                self.verify(Purpose::Proof)
            }
            Outcome::Unknown(_) if self.may_do_again() => return self.act(),
            Outcome::Unknown(why) => self.asks(format!(
                "whether it was done is not known, and nothing shows it: {why}"
            )),
        };
        event.into()
    }

    /// Another attempt, after a pause.
    fn again(&self, why: &str) -> Need {
        let at_ms = self.run.since_ms.saturating_add(pause_ms(self.run));
        let attempt = self.act();
        // What cannot be done yet is not due when the pause is over, either.
        if self.now_ms >= at_ms || matches!(attempt, Need::At { .. }) {
            return attempt;
        }
        let why = format!("a pause before the next attempt: {why}");
        Need::At { at_ms, why }
    }

    fn may_do_again(&self) -> bool {
        may_repeat(self.run) && self.run.present().is_some_and(|step| step.idempotent)
    }

    fn verify(&self, purpose: Purpose) -> Event {
        match self.run.present() {
            Some(Step {
                verify: Some(verify),
                ..
            }) => {
                let within_ms = match purpose {
                    Purpose::Proof => verify.within_ms.max(PROOF_MS),
                    Purpose::Guard | Purpose::When | Purpose::Verify => verify.within_ms,
                };
                self.look(purpose, &verify.condition, within_ms, verify.hold_ms)
            }
            // Nothing to be seen: whoever did it said so.
            Some(_) | None => self.failed("there is nothing to be seen".to_string()),
        }
    }

    fn seen(&self, purpose: Purpose, outcome: &Outcome) -> Need {
        let (why, answered) = match outcome {
            Outcome::Done(why) | Outcome::Failed(why) => (why, true),
            Outcome::Unknown(why) => (why, false),
        };
        if !answered && self.run.looks < LOOKS_MAX {
            return self.look_again(purpose);
        }
        let event = match purpose {
            Purpose::Guard => self.ended(Ending::Declined, format!("condition: {why}")),
            Purpose::When if answered => Event::Skipped {
                run: self.id,
                step: self.run.step,
                why: format!("its condition does not hold: {why}"),
            },
            Purpose::When => self.failed(format!("its condition could not be measured: {why}")),
            Purpose::Verify | Purpose::Proof if self.may_do_again() => return self.act(),
            Purpose::Verify => self.failed(format!("it is not to be seen: {why}")),
            Purpose::Proof => self.asks(format!(
                "it may have been done, and is not to be seen: {why}"
            )),
        };
        event.into()
    }

    fn look_again(&self, purpose: Purpose) -> Need {
        match purpose {
            Purpose::Guard => self.start().into(),
            Purpose::When => self.step(),
            Purpose::Verify | Purpose::Proof => match self.run.present() {
                Some(step) if !step.action.acts() => self.act(),
                Some(_) | None => self.verify(purpose).into(),
            },
        }
    }

    fn undo(&self) -> Need {
        let why = match &self.run.stopped {
            Some(Stopped::Failed(why) | Stopped::Aborted { why, .. }) => why.clone(),
            None => String::new(),
        };
        let left = self.run.undo.last().copied();
        let step = left.and_then(|index| {
            let step = self.run.book.steps.get(usize::try_from(index).ok()?)?;
            Some((index, step, step.compensate.as_ref()?))
        });
        let Some((index, step, action)) = step else {
            let ending = match &self.run.stopped {
                Some(Stopped::Aborted { .. }) => Ending::Aborted,
                Some(Stopped::Failed(_)) | None if self.run.undone > 0 => Ending::Undone,
                Some(Stopped::Failed(_)) | None => Ending::Failed,
            };
            return self.ended(ending, why).into();
        };
        let given_up = |cannot: String| {
            let why = format!("{cannot}; it was to be undone because: {why}");
            self.ended(Ending::UndoFailed, why)
        };
        let event = match self.resolved(action) {
            Resolved::Act(act)
                if let Some(target) = guard::unreserved(&act, &self.run.reserved, self.view) =>
            {
                given_up(not_reserved(&act, &target))
            }
            Resolved::Act(act) => Event::Begun {
                run: self.id,
                step: index,
                attempt: 1,
                undo: true,
                act,
            },
            Resolved::Already(why) => Event::Skipped {
                run: self.id,
                step: index,
                why,
            },
            Resolved::NotYet(why) => return self.awaits(step, why, given_up),
            Resolved::Cannot(cannot) => given_up(cannot),
        };
        event.into()
    }
}
