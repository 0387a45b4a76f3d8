//! Gates within the kernel: whether a command may pass, by what was measured for it.
//!
//! The node that was asked measures, and sends along what it saw; here it is compared with the gates of the platform file in
//! force. A gate of which nothing was sent is shut: the node may be older than the gate, or heard of it too late.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_model::gate::{Gate, Road};
use mainstay_model::people::Permission;

use crate::authority::authorize;
use crate::drill::DrillAsk;
use crate::event::Event;
use crate::experiment::ExperimentAsk;
use crate::signal::{Ask, Command};
use crate::state::State;
use crate::why::Refusal;

/// What was measured at a gate for one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateReading {
    pub gate: String,
    pub found: Found,
    /// The measured value, or why there is none.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Open,
    Shut,
    NotMeasured,
}

impl Found {
    pub const ALL: [Self; 3] = [Self::Open, Self::Shut, Self::NotMeasured];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Shut => "shut",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Ask {
    /// The road that a command takes, if gates can stand before it.
    pub const fn road(&self) -> Option<Road> {
        match self {
            Self::Apply { .. } => Some(Road::Up),
            Self::Upgrade { .. } => Some(Road::Upgrade),
            Self::Switchover { .. } => Some(Road::Switchover),
            Self::Drill(DrillAsk::Begin(_)) => Some(Road::Drill),
            // A fault by hand is an experiment without a document: whoever may not break something by the one may not by the
            // other.
            Self::Experiment(ExperimentAsk::Begin(_)) | Self::InjectFault(_) => {
                Some(Road::Experiment)
            }
            Self::Pause
            | Self::Resume
            | Self::Stop
            | Self::ClearFault { .. }
            // Emergencies: a gate that is shut because the platform is not well would keep from mending it.
            | Self::Solo { .. }
            | Self::Failover { .. }
            | Self::Incident(_)
            | Self::Experiment(_)
            | Self::Drill(_)
            | Self::Playbook(_)
            | Self::Notice(_)
            // Part of what `up` does, before which the change itself was let through.
            | Self::AdoptRules(_) => None,
        }
    }
}

/// The gates that a command meets.
pub fn gates_before<'a>(state: &'a State, ask: &Ask) -> Vec<&'a Gate> {
    ask.road().map_or(Vec::new(), |road| gates_on(state, road))
}

/// The gates of a road.
pub fn gates_on(state: &State, road: Road) -> Vec<&Gate> {
    let gates = state.desired.iter().flat_map(|desired| &desired.gates);
    gates.filter(|gate| gate.before.contains(&road)).collect()
}

/// What a drill or an experiment that is under way does: its beginning was let through, or there was no gate before it.
fn is_part_of_another(state: &State, command: &Command) -> bool {
    let uid = command.actor.uid;
    let running = state.drills.running.as_ref();
    let is_drill = running.is_some_and(|drill| {
        drill.step.is_some() && drill.abandoned_ms.is_none() && drill.by.actor.uid == uid
    });
    // One that its own command carries; otherwise the leader sets its faults, and asks nobody.
    let running = state.experiment.as_ref();
    let is_experiment = running.is_some_and(|one| one.course.is_none() && one.by.actor.uid == uid);
    let is_move = matches!(command.ask, Ask::Switchover { .. });
    let is_fault = matches!(command.ask, Ask::InjectFault(_));
    (is_move && is_drill) || (is_fault && (is_drill || is_experiment))
}

/// What stands in the journal before what the command does: the gates that somebody passed although they were shut.
pub(crate) fn passed(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    if command.ask.road().is_none() {
        return Ok(Vec::new());
    }
    let gates = gates_before(state, &command.ask);
    for named in &command.overrides {
        if !gates.iter().any(|gate| gate.name.as_str() == named) {
            let gates = gates.iter().map(|gate| gate.name.to_string()).collect();
            let gate = named.clone();
            return Err(Refusal::NoSuchGate { gate, gates });
        }
    }
    let mut events = Vec::new();
    if is_part_of_another(state, command) {
        return Ok(events);
    }
    for gate in gates {
        let reading = command
            .readings
            .iter()
            .find(|reading| reading.gate == gate.name.as_str());
        let (found, why) = match reading {
            Some(reading) => (reading.found, reading.why.as_str()),
            None => (Found::NotMeasured, "the node that was asked did not look"),
        };
        if found == Found::Open {
            continue;
        }
        if !command.overrides.contains(gate.name.as_str()) {
            return Err(Refusal::GateShut {
                gate: gate.name.to_string(),
                found,
                why: why.to_string(),
                reason: gate.reason.clone(),
            });
        }
        events.push(Event::GateOverridden {
            gate: gate.name.to_string(),
            asked: command.ask.as_str().to_string(),
            found,
            why: why.to_string(),
            by: authorize(state, &command.actor, Permission::GateOverride)?,
            reason: command.reason.clone(),
        });
    }
    Ok(events)
}
