//! Drills that are due and that nobody need start.
//!
//! Whoever leads starts the command that a person would type, with the text that was approved and no other. Whether it may
//! begin is decided where it always is: what is refused (a budget is short) is tried again until one has begun. Two that
//! lead one after the other may both start it; the journal lets one begin.
//!
//! Whoever leads also looks whether the command that carries a drill still lives, whoever started it.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_host::{carrier, identity, launch};
use mainstay_kernel::{Signal, State, unattended_drills};
use mainstay_record::process::ProcessIdentity;
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::process;

use crate::context::Context;
use crate::effects::chain;
use crate::machine::put_aside;

/// From one attempt to the next.
const PATIENCE: Duration = Duration::from_secs(60);

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
}

impl Starter {
    /// Looks for what is due. Only who leads may ask for this.
    pub fn look(&mut self, context: &Context, state: &State) {
        let due = unattended_drills(state, clock::wall_ms());
        self.attempts.retain(|name, attempt| {
            attempt.runs() || due.iter().any(|(due, _)| *due == name.as_str())
        });
        for (name, document) in due {
            let now = clock::now();
            let waits = self
                .attempts
                .get(name)
                .is_some_and(|attempt| attempt.runs() || now.since(attempt.at) < PATIENCE);
            if !waits {
                let process = start(context, name, document);
                let attempt = Attempt { at: now, process };
                self.attempts.insert(name.to_owned(), attempt);
            }
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
