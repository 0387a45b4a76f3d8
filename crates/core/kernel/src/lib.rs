//! Deliberation: signals in, decisions with reasons, journalled events, effects out.
//!
//! Think of a ship's log and the officer of the watch. Whatever happens is reported to the officer (a
//! [`Signal`]). The officer decides ([`decide()`]), and the decision is written into the log ([`Event`]) with
//! its reason before anybody acts on it. Hands carry out what the log says (an [`Effect`]) and report back.
//! The officer keeps nothing in his head that the log does not say: another one takes the watch, reads the
//! log ([`State::apply`]) and goes on.
//!
//! - [`decide()`] looks at a [`State`] and cannot change it; [`State::apply`] is the only thing that does, so
//!   that replaying the journal rebuilds the state.
//! - Nothing is decided silently: a [`Decision`] without events says [`Why`].
//! - Effects that are not finished are part of the state, so a new leader resumes them; what had been begun
//!   is *queried*, never blindly repeated.
//! - [`Driver`] is the watch itself: it follows, leads, claims, and turns signals into batches. It knows no
//!   files and no clocks; the node feeds it.
//!
//! Reflexes (gateway, keeper, supervision) never wait for any of this; what they did arrives as a
//! [`Report`] and is recorded.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )
)]

extern crate alloc;

mod alert;
mod authority;
mod decide;
mod desired;
mod difference;
mod drill;
mod effect;
mod event;
mod experiment;
mod fault;
mod gate;
mod incidents;
mod lead;
mod notices;
mod placement;
mod playbook;
mod replicas;
mod rules;
mod signal;
mod state;
mod upgrade;
mod waiting;
mod why;

pub use alert::{ALERTS_MAX, AlertKey, AlertNews, AlertState};
pub use authority::{Actor, By, authorize};
pub use decide::{Decision, HOST_LOST_AFTER_MS, decide};
pub use desired::{Desired, DesiredDatabase, DesiredOperator, DesiredRoute, DesiredService};
pub use difference::{Change, ChangeKind, Plan, Step, Subject, plan};
pub use drill::{
    Adopted, Adoption, Deficiency, Deviation, Drill, DrillAsk, DrillEnd, DrillId, DrillNews,
    DrillPlan, DrillStep, DrillVerdict, Drills, EndedDrill, Judged, LossLimit, Measure, Measured,
    Measurement, Objective, Schedule, ServiceVerdict, Signature, StepEnd, StepOutcome, Unit,
    unattended_drills,
};
pub use effect::{Assigned, Effect, EffectId, Executor, Manner, Outcome};
pub use event::{
    Cause, ClaimReason, EndReason, Event, PlacedBecause, Record, UpgradeEnd, WithdrawnBecause,
};
pub use experiment::{
    AlertRules, Experiment, ExperimentAsk, ExperimentId, ExperimentNews, ExperimentPlan,
    ExperimentTold, ExperimentWork, Finding, Moment, Observation, Slot, Timetable, Told, Verdict,
};
pub use fault::{
    FaultDetail, FaultDoor, FaultId, FaultKind, FaultSpec, FaultTarget, FaultTargetError, Ways,
};
pub use gate::{Found, GateReading, gates_before, gates_on};
pub use lead::{Batch, Beat, Driver, LEADER_SILENT_AFTER, Opening, Passed, Role};
pub use notices::{NoticeAsk, reached};
pub use playbook::{Stamp, Work, calendar, view};
pub use rules::{
    AdoptedRules, FollowedRules, RULES_PART_BYTES_MAX, RULES_PARTS_MAX, Rules, RulesNews,
    RulesText, written_bytes,
};
pub use signal::{ArchiveDeed, Ask, Command, Reflex, Report, Signal, Stood};
pub use state::{CannotLead, DatabaseView, Fault, FaultPhase, Outstanding, State};
pub use upgrade::{Program, Upgrade};
pub use waiting::{Answer, Waiting};
pub use why::{FailoverRefusal, Refusal, Why};
