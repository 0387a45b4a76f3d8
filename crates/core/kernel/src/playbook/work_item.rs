//! A work item becomes an action of its incident, in the same entry of the journal as the step that opens it.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};

use mainstay_incident::{Day, IncidentId, Incidents};
use mainstay_playbook as playbook;
use playbook::{Act, Due};

use crate::event::Event;
use crate::state::State;

/// The action that a step adds; `incidents` are as they will be when everything before it is journalled.
///
/// # Errors
/// Why there is none: the step has failed then.
pub(super) fn added(
    state: &State,
    now_ms: u64,
    incidents: &Incidents,
    event: &playbook::Event,
) -> Result<Option<Event>, String> {
    let playbook::Event::Begun {
        run,
        act: Act::WorkItem(item),
        ..
    } = event
    else {
        return Ok(None);
    };
    let named = item.incident.as_deref().unwrap_or_default();
    let incident: IncidentId = named
        .parse()
        .map_err(|_| format!("{named:?} is no incident"))?;
    let due: Day = match &item.due {
        Due::Days(days) => Day::after(now_ms, *days),
        Due::Day(day) => day.parse().map_err(|_| format!("{day:?} is no day"))?,
    };
    let operators: BTreeSet<String> = (state.desired.iter())
        .flat_map(|desired| desired.operators.keys())
        .map(ToString::to_string)
        .collect();
    let what = format!("{} (run {run})", item.title);
    incidents
        .add_action(incident, &item.owner, due, &what, &operators)
        .map(|event| Some(Event::Incident(event)))
        .map_err(|refusal| refusal.to_string())
}
