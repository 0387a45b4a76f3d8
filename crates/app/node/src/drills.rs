//! Drills that are due and that nobody need start.
//!
//! Whoever leads starts the command that a person would type, with the text that was approved and no other. Whether it may
//! begin is decided where it always is: what is refused (a budget is short) is tried again until one has begun. Two that
//! lead one after the other may both start it; the journal lets one begin. Each refusal by a gate is an entry of the journal,
//! so a gate that is shut is met once, and then only looked at until it is open.
//!
//! Whoever leads also looks whether the command that carries a drill still lives, whoever started it.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_host::{carrier, identity, launch};
use mainstay_kernel::{Found, Signal, State, gates_on, unattended_drills};
use mainstay_model::gate::{Gate, Road};
use mainstay_record::process::ProcessIdentity;
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::process;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::context::Context;
use crate::effects::chain;
use crate::gates;
use crate::machine::put_aside;

/// From one attempt to the next.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was seen of gates is true for so long.
const FRESH: Duration = Duration::from_secs(30);

/// A command that was started.
struct Attempt {
    at: Instant,
    process: Option<ProcessIdentity>,
}

impl Attempt {
    fn runs(&self) -> bool {
        self.process.is_some_and(identity::is_alive)
    }
}

#[derive(Default)]
pub struct Starter {
    attempts: BTreeMap<String, Attempt>,
    gates: Gatekeeper,
}

/// What is known of the gates before drills.
#[derive(Default)]
struct Gatekeeper {
    /// Whether one is shut, and when that was seen.
    looking: Option<oneshot::Receiver<(bool, Instant)>>,
    /// That one is shut was met by an attempt.
    is_met: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To be tried.
    Open,
    /// It was tried since it was shut, and would be refused again.
    Shut,
    /// Somebody looks.
    Unknown,
}

impl Gatekeeper {
    fn way(&mut self, context: &Context, state: &State) -> Way {
        let gates: Vec<Gate> = gates_on(state, Road::Drill).into_iter().cloned().collect();
        if gates.is_empty() {
            return self.judge(false);
        }
        let seen = self.looking.as_mut().map(oneshot::Receiver::try_recv);
        match seen {
            Some(Err(TryRecvError::Empty)) => Way::Unknown,
            Some(Ok((is_shut, at))) if clock::now().since(at) < FRESH => {
                self.looking = None;
                self.judge(is_shut)
            }
            // Nobody looked, or it was long ago, or whoever looked gave up.
            Some(Ok(_) | Err(TryRecvError::Closed)) | None => {
                let (sender, receiver) = oneshot::channel();
                self.looking = Some(receiver);
                let context = context.clone();
                tokio::task::spawn_local(async move {
                    let readings = gates::measured(&context, gates).await;
                    let is_shut = readings.iter().any(|reading| reading.found != Found::Open);
                    // The platform may have stopped.
                    sender.send((is_shut, clock::now())).ok();
                });
                Way::Unknown
            }
        }
    }

    fn judge(&mut self, is_shut: bool) -> Way {
        let was_met = std::mem::replace(&mut self.is_met, is_shut);
        match was_met && is_shut {
            true => Way::Shut,
            false => Way::Open,
        }
    }
}

impl Starter {
    /// Looks for what is due. Only who leads may ask for this.
    pub fn look(&mut self, context: &Context, state: &State) {
        let due = unattended_drills(state, clock::wall_ms());
        self.attempts.retain(|name, attempt| {
            attempt.runs() || due.iter().any(|(due, _)| *due == name.as_str())
        });
        let now = clock::now();
        let waits = |name: &str| {
            let attempt = self.attempts.get(name);
            attempt.is_some_and(|attempt| attempt.runs() || now.since(attempt.at) < PATIENCE)
        };
        let due: Vec<(&str, &str)> = due.into_iter().filter(|(name, _)| !waits(name)).collect();
        if due.is_empty() {
            return;
        }
        let way = self.gates.way(context, state);
        for (name, document) in due {
            let process = match way {
                Way::Unknown => continue,
                Way::Shut => None,
                Way::Open => start(context, name, document),
            };
            let attempt = Attempt { at: now, process };
            self.attempts.insert(name.to_owned(), attempt);
        }
    }

    /// The platform stops: what was started here ends in order, its load too.
    pub fn end(&self) {
        let running = self.attempts.values().filter(|attempt| attempt.runs());
        for started in running.filter_map(|attempt| attempt.process) {
            // One that is gone needs no signal.
            identity::signal(started, process::Signal::INT).ok();
        }
    }
}

/// What the journal is told of a run whose command has died.
pub fn abandoned(context: &Context, state: &State) -> Option<Signal> {
    let run = state.drills.running.as_ref()?;
    let known = run.abandoned_ms.is_some();
    let is_gone = carrier::is_gone(&context.layout.drill_carrier(), &run.id.to_string());
    (is_gone && !known).then_some(Signal::DrillAbandoned { drill: run.id })
}

fn start(context: &Context, name: &str, document: &str) -> Option<ProcessIdentity> {
    let layout = &context.layout;
    let data = layout.data().display().to_string();
    let program = context.program.display().to_string();
    let words = [
        program.as_str(),
        "drill",
        "run",
        "--adopted",
        "--reason",
        "it is due",
        "--data",
        data.as_str(),
        "--",
        document,
    ];
    let log = layout.node(context.name()).join("drills.log");
    put_aside(&log);
    match launch::spawn_detached(&words.map(str::to_owned), Some(&log)) {
        Ok(process) => {
            tracing::info!(drill = name, pid = process.pid, "it is due: started");
            Some(process)
        }
        Err(error) => {
            tracing::error!(
                drill = name,
                error = chain(&error),
                "it is due, and cannot be started"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gatekeeper, Way};

    #[test]
    fn a_gate_that_is_shut_is_met_once_for_each_closing() {
        let mut gates = Gatekeeper::default();
        let ways: Vec<Way> = [true, true, true, false, false, true, true, false]
            .map(|is_shut| gates.judge(is_shut))
            .to_vec();
        use Way::{Open, Shut};
        // The first of each closing is refused, and stands in the journal; so does the beginning once it is open.
        assert_eq!(ways, [Open, Shut, Shut, Open, Open, Open, Shut, Open]);
    }
}
