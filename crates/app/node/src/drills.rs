//! Drills that are due and that nobody need start.
//!
//! Whoever leads starts the command that a person would type, with the text that was approved and no other. Whether it may
//! begin is decided where it always is: while an incident is open or a budget is short it is refused, and tried again until
//! one has begun or it is an alarm. Two that lead one after the other may both start it; the journal lets one begin.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_host::{identity, launch};
use mainstay_kernel::State;
use mainstay_record::process::ProcessIdentity;
use mainstay_rt::clock;
use mainstay_units::Instant;

use crate::context::Context;
use crate::effects::chain;

/// From one attempt to the next.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that was started.
struct Attempt {
    at: Instant,
    process: Option<ProcessIdentity>,
}

#[derive(Default)]
pub struct Starter {
    attempts: BTreeMap<String, Attempt>,
}

impl Starter {
    /// Looks for what is due. Only who leads may ask for this.
    pub fn look(&mut self, context: &Context, state: &State) {
        let due: Vec<(String, String)> = state
            .drills
            .to_start(clock::wall_ms())
            .map(|(name, document)| (name.to_owned(), document.to_owned()))
            .collect();
        self.attempts
            .retain(|name, _| due.iter().any(|(due, _)| due == name));
        for (name, document) in due {
            let now = clock::now();
            let waits = self.attempts.get(&name).is_some_and(|attempt| {
                let runs = attempt.process.is_some_and(identity::is_alive);
                runs || now.since(attempt.at) < PATIENCE
            });
            if waits {
                continue;
            }
            let process = start(context, &name, document);
            self.attempts.insert(name, Attempt { at: now, process });
        }
    }
}

fn start(context: &Context, name: &str, document: String) -> Option<ProcessIdentity> {
    let layout = &context.layout;
    let words = ["drill", "run", "--adopted", "--reason", "it is due"];
    let mut command = vec![context.program.display().to_string()];
    command.extend(words.map(str::to_owned));
    command.extend(["--data".to_owned(), layout.data().display().to_string()]);
    command.push(document);
    let log = layout.node(context.name()).join("drills.log");
    match launch::spawn_detached(&command, Some(&log)) {
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
