//! Telling the journal, also while it changes its leader: what may have been taken is asked again until it is known.

use std::time::Duration;

use http::{Method, StatusCode};
use mainstay_derive::Layout;
use mainstay_record::drill::{DrillAskRecord, DrillPlanRecord, DrillsShown};
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_rt::clock;

use crate::arguments::Gates;
use crate::client::{ask_best, send_past, send_within};
use crate::exit::Failure;

/// For one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A lost leader is followed by another one long before this.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(300);
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// Begins a run, and says what it is called. Asked once: nobody may begin two drills because the first answer was lost.
pub fn begin(
    layout: &Layout,
    plan: DrillPlanRecord,
    reason: &str,
    gates: &Gates,
) -> Result<String, Failure> {
    let command = Command::Drill(DrillAskRecord::Begin(Box::new(plan)));
    match send_past(layout, command, reason, gates)? {
        CommandOutcome::Done { detail, .. } => Ok(detail),
        CommandOutcome::Refused { code, why, next } => Err(Failure::Refused { code, why, next }),
        CommandOutcome::Unknown { position, why } => Err(Failure::Unknown {
            why: format!("journal entry {position}: {why}"),
        }),
    }
}

/// Journals, and says what the journal answered. What is told here may be told twice without harm: the journal refuses
/// a step that has begun or ended already, and an end of what has ended.
pub fn tell(layout: &Layout, ask: &DrillAskRecord, reason: &str) -> Result<String, Failure> {
    let deadline = clock::now() + PATIENCE;
    let mut is_again = false;
    loop {
        let failure = match send_within(layout, Command::Drill(ask.clone()), reason, ATTEMPT) {
            Ok(CommandOutcome::Done { detail, .. }) => return Ok(detail),
            Ok(CommandOutcome::Refused { code, .. }) if is_again && is_known(ask, &code) => {
                return Ok(String::new());
            }
            Ok(CommandOutcome::Refused { code, why, next }) => {
                return Err(Failure::Refused { code, why, next });
            }
            Ok(CommandOutcome::Unknown { position, why }) => Failure::Unknown {
                why: format!("journal entry {position}: {why}"),
            },
            Err(failure @ (Failure::Unknown { .. } | Failure::NoAnswer { .. })) => failure,
            Err(other) => return Err(other),
        };
        if clock::now() >= deadline {
            return Err(failure);
        }
        is_again = true;
        crate::down::wait(PAUSE);
    }
}

/// What a second telling is refused with when the first was taken.
fn is_known(ask: &DrillAskRecord, code: &str) -> bool {
    match ask {
        DrillAskRecord::BeginStep { .. } | DrillAskRecord::EndStep { .. } => {
            code == "drill_untimely"
        }
        DrillAskRecord::End { .. } => code == "no_such_drill",
        _ => false,
    }
}

/// What is in force, under way and over.
pub fn shown(layout: &Layout) -> Result<DrillsShown, Failure> {
    let (status, body) = ask_best(layout, Method::GET, "/v1/drills", LOOK_LIMIT)?;
    if status == StatusCode::FORBIDDEN
        && let Ok(CommandOutcome::Refused { code, why, next }) = serde_json::from_slice(&body)
    {
        return Err(Failure::Refused { code, why, next });
    }
    serde_json::from_slice(&body).map_err(|error| Failure::NoAnswer {
        what: format!("{status}: {error}"),
        next: "`mainstay status` shows which nodes live".to_owned(),
    })
}
