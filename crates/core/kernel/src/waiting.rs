//! Whoever gave a command waits for what the journal says about it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use mainstay_units::Position;

use crate::effect::{EffectId, Outcome};
use crate::event::{Cause, Event, Record};
use crate::incidents;
use crate::notices;
use crate::playbook;
use crate::why::Refusal;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Journalled; if there was an effect, it is done.
    Done {
        position: Position,
        detail: String,
    },
    Refused {
        position: Position,
        why: Refusal,
    },
    /// Journalled, but it could not be carried out.
    Failed {
        position: Position,
        why: String,
    },
    /// Journalled, but whether it was carried out is not known.
    Unknown {
        position: Position,
        why: String,
    },
    /// Looked at, and there was nothing to do.
    Passed {
        why: String,
    },
}

/// Commands of this node that have no answer yet.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    unanswered: BTreeMap<Cause, Option<EffectId>>,
    answers: Vec<(Cause, Answer)>,
}

impl Waiting {
    pub fn watch(&mut self, cause: Cause) {
        self.unanswered.insert(cause, None);
    }

    /// Nobody waits any longer.
    pub fn forget(&mut self, cause: &Cause) {
        self.unanswered.remove(cause);
    }

    pub fn poll_answer(&mut self) -> Option<(Cause, Answer)> {
        self.answers.pop()
    }

    pub(crate) fn handle_passed(&mut self, cause: &Cause, why: &str) {
        if self.unanswered.remove(cause).is_some() {
            let why = why.into();
            self.answers.push((cause.clone(), Answer::Passed { why }));
        }
    }

    pub(crate) fn handle_record(&mut self, record: &Record) {
        if let Event::EffectFinished { effect, outcome } = &record.event {
            self.handle_outcome(*effect, outcome);
        }
        let Some(cause) = &record.cause else { return };
        // The first event that a command led to says what became of it.
        let Some(waits) = self.unanswered.get_mut(cause) else {
            return;
        };
        if waits.is_some() {
            return;
        }
        let position = record.position;
        let done = |detail| Answer::Done { position, detail };
        let answer = match &record.event {
            Event::FaultInjected { .. }
            | Event::FaultEnding { .. }
            | Event::SwitchoverOrdered { .. }
            | Event::SoloOrdered { .. }
            | Event::FailoverForced { .. } => {
                *waits = Some(EffectId(position));
                return;
            }
            // What the command did follows.
            Event::GateOverridden { .. } => return,
            Event::CommandRefused { why, .. } => Answer::Refused {
                position,
                why: why.clone(),
            },
            Event::Playbook(event) => done(playbook::told(event)),
            Event::Incident(event) => done(incidents::told(event)),
            Event::Notice(event) => done(notices::told(event)),
            Event::Opened { .. }
            | Event::KeyAdmitted { .. }
            | Event::Claimed { .. }
            | Event::PlatformAdopted { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Stopping { .. }
            | Event::HostLost { .. }
            | Event::HostReturned { .. }
            | Event::InstancePlaced { .. }
            | Event::InstanceWithdrawn { .. }
            | Event::EffectFinished { .. }
            | Event::UpgradeBegun { .. }
            | Event::UpgradeOrdered { .. }
            | Event::UpgradeEnded(_)
            | Event::ReflexRecorded(_)
            | Event::AlertChanged(_)
            | Event::Unknown { .. } => done(String::new()),
            Event::Experiment(news) => done(news.detail()),
            Event::Drill(news) => done(news.detail()),
            Event::Rules(news) => done(news.detail()),
        };
        self.unanswered.remove(cause);
        self.answers.push((cause.clone(), answer));
    }

    fn handle_outcome(&mut self, effect: EffectId, outcome: &Outcome) {
        let waits = self.unanswered.iter();
        let Some(cause) = waits
            .filter(|(_, waits)| **waits == Some(effect))
            .map(|(cause, _)| cause.clone())
            .next()
        else {
            return;
        };
        let position = effect.0;
        let answer = match outcome {
            Outcome::Done { detail } => Answer::Done {
                position,
                detail: detail.clone(),
            },
            Outcome::Failed { why } => Answer::Failed {
                position,
                why: why.clone(),
            },
            Outcome::Unknown { why } => Answer::Unknown {
                position,
                why: why.clone(),
            },
        };
        self.unanswered.remove(&cause);
        self.answers.push((cause, answer));
    }
}
