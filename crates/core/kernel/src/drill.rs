//! Drills: rehearsals with objectives, as far as the journal is their witness.
//!
//! Think of the clerk of a fire drill. Somebody else carries it out; the clerk writes down what was planned, when each
//! step began and ended, who confirmed what, and what the instruments said. At the end the clerk alone compares the
//! figures with the objectives, so that nobody can claim what was not measured. He also keeps the calendar: a drill
//! that was due and did not run is an alarm.
//!
//! The faults do not depend on any of this: each has its own end and its own guardian.
//!
//! - [`plan`] is the form of what is journalled, [`judge`] the verdict, [`desk`] what is refused and what is due.

pub(crate) mod desk;
mod judge;
mod plan;
mod state;

pub use desk::unattended as unattended_drills;
pub use plan::{
    Adoption, Deficiency, Deviation, DrillAsk, DrillEnd, DrillId, DrillNews, DrillPlan, DrillStep,
    DrillVerdict, Judged, LossLimit, Measure, Measured, Measurement, Objective, Schedule,
    ServiceVerdict, Signature, StepEnd, StepOutcome, Unit,
};
pub use state::{Adopted, Drill, Drills, Ended as EndedDrill};
