//! Drills as they are stored, sent and shown.

mod parts;
#[cfg(test)]
pub(super) mod tests;

use mainstay_kernel::{
    Adoption, Deviation, DrillAsk, DrillId, DrillNews, DrillPlan, DrillStep, Drills, Signature,
};
use mainstay_record::drill::{
    AdoptedShown, DeviationRecord, DrillAbandonedBody, DrillAdoptedBody, DrillAdoptionRecord,
    DrillAskRecord, DrillBegunBody, DrillConfirmedBody, DrillDeviatedBody, DrillEndedBody,
    DrillMeasuredBody, DrillMissedBody, DrillPlanRecord, DrillShown, DrillSignedBody,
    DrillStepBegunBody, DrillStepEndedBody, DrillStepRecord, DrillWithdrawnBody, DrillsShown,
    EndedShown, SignatureWord,
};
use mainstay_record::event::EventBody;
use mainstay_units::Position;

use super::ReadError;
use super::parts::{by_of, by_record};
use parts::{
    end_of, end_record, measurement_of, measurement_record, objective_of, objective_record,
    outcome_word, schedule_of, schedule_record, service_of, service_record, step_end_of,
    step_end_record,
};

pub(super) fn news_body(news: &DrillNews) -> EventBody {
    match news {
        DrillNews::Adopted {
            adoption,
            by,
            reason,
        } => EventBody::DrillAdopted(DrillAdoptedBody {
            adoption: Box::new(adoption_record(adoption)),
            by: by_record(by),
            reason: reason.clone(),
        }),
        DrillNews::Withdrawn { name, by, reason } => {
            EventBody::DrillWithdrawn(DrillWithdrawnBody {
                name: name.clone(),
                by: by_record(by),
                reason: reason.clone(),
            })
        }
        DrillNews::Missed { name, due_ms } => EventBody::DrillMissed(DrillMissedBody {
            name: name.clone(),
            due_ms: *due_ms,
        }),
        DrillNews::Begun {
            drill,
            plan,
            approved,
            platform,
            until_ms,
            by,
            reason,
        } => EventBody::DrillBegun(DrillBegunBody {
            drill: drill.to_string(),
            plan: Box::new(plan_record(plan)),
            approved: approved.map(|position| position.0),
            platform: platform.clone(),
            until_ms: *until_ms,
            by: by_record(by),
            reason: reason.clone(),
        }),
        other => going_body(other),
    }
}

/// What is told of a run that is under way.
fn going_body(news: &DrillNews) -> EventBody {
    match news {
        DrillNews::StepBegun { drill, step, what } => {
            EventBody::DrillStepBegun(DrillStepBegunBody {
                drill: drill.to_string(),
                step: step.clone(),
                what: what.clone(),
            })
        }
        DrillNews::StepEnded { drill, end } => EventBody::DrillStepEnded(DrillStepEndedBody {
            drill: drill.to_string(),
            end: step_end_record(end),
        }),
        DrillNews::Confirmed {
            drill,
            step,
            by,
            note,
        } => EventBody::DrillConfirmed(DrillConfirmedBody {
            drill: drill.to_string(),
            step: step.clone(),
            by: by_record(by),
            note: note.clone(),
        }),
        DrillNews::Measured { drill, measurement } => EventBody::DrillMeasured(DrillMeasuredBody {
            drill: drill.to_string(),
            measurement: Box::new(measurement_record(measurement)),
        }),
        DrillNews::Deviated { drill, deviation } => EventBody::DrillDeviated(DrillDeviatedBody {
            drill: drill.to_string(),
            deviation: deviation_record(deviation),
        }),
        DrillNews::Abandoned { drill } => EventBody::DrillAbandoned(abandoned_body(*drill)),
        DrillNews::Ended {
            drill,
            name,
            end,
            services,
        } => EventBody::DrillEnded(DrillEndedBody {
            drill: drill.to_string(),
            name: name.clone(),
            end: end_record(end),
            services: services.iter().map(service_record).collect(),
        }),
        DrillNews::Signed {
            drill,
            name,
            signature,
            by,
            statement,
        } => EventBody::DrillSigned(DrillSignedBody {
            drill: drill.to_string(),
            name: name.clone(),
            signature: signature_word(*signature),
            by: by_record(by),
            statement: statement.clone(),
        }),
        DrillNews::Adopted { .. }
        | DrillNews::Withdrawn { .. }
        | DrillNews::Missed { .. }
        | DrillNews::Begun { .. } => news_body(news),
    }
}

pub(super) fn news_of(body: EventBody) -> Result<DrillNews, ReadError> {
    Ok(match body {
        EventBody::DrillAdopted(body) => DrillNews::Adopted {
            adoption: Box::new(adoption_of(*body.adoption)),
            by: by_of(body.by)?,
            reason: body.reason,
        },
        EventBody::DrillWithdrawn(body) => DrillNews::Withdrawn {
            name: body.name,
            by: by_of(body.by)?,
            reason: body.reason,
        },
        EventBody::DrillMissed(body) => DrillNews::Missed {
            name: body.name,
            due_ms: body.due_ms,
        },
        EventBody::DrillBegun(body) => DrillNews::Begun {
            drill: id(&body.drill)?,
            plan: Box::new(plan_of(*body.plan)?),
            approved: body.approved.map(Position),
            platform: body.platform,
            until_ms: body.until_ms,
            by: by_of(body.by)?,
            reason: body.reason,
        },
        EventBody::DrillStepBegun(body) => DrillNews::StepBegun {
            drill: id(&body.drill)?,
            step: body.step,
            what: body.what,
        },
        EventBody::DrillStepEnded(body) => DrillNews::StepEnded {
            drill: id(&body.drill)?,
            end: step_end_of(body.end),
        },
        EventBody::DrillConfirmed(body) => DrillNews::Confirmed {
            drill: id(&body.drill)?,
            step: body.step,
            by: by_of(body.by)?,
            note: body.note,
        },
        EventBody::DrillMeasured(body) => DrillNews::Measured {
            drill: id(&body.drill)?,
            measurement: Box::new(measurement_of(*body.measurement)),
        },
        EventBody::DrillDeviated(body) => DrillNews::Deviated {
            drill: id(&body.drill)?,
            deviation: deviation_of(body.deviation),
        },
        EventBody::DrillAbandoned(body) => DrillNews::Abandoned {
            drill: abandoned_of(&body)?,
        },
        EventBody::DrillEnded(body) => DrillNews::Ended {
            drill: id(&body.drill)?,
            name: body.name,
            end: end_of(body.end),
            services: body.services.into_iter().map(service_of).collect(),
        },
        EventBody::DrillSigned(body) => DrillNews::Signed {
            drill: id(&body.drill)?,
            name: body.name,
            signature: signature_of(body.signature),
            by: by_of(body.by)?,
            statement: body.statement,
        },
        _ => return Err(ReadError::Form("drill")),
    })
}

pub(super) fn abandoned_body(drill: DrillId) -> DrillAbandonedBody {
    DrillAbandonedBody {
        drill: drill.to_string(),
    }
}

pub(super) fn abandoned_of(body: &DrillAbandonedBody) -> Result<DrillId, ReadError> {
    id(&body.drill)
}

pub(super) fn drill_ask_record(ask: &DrillAsk) -> DrillAskRecord {
    match ask {
        DrillAsk::Adopt(adoption) => DrillAskRecord::Adopt(Box::new(adoption_record(adoption))),
        DrillAsk::Withdraw { name } => DrillAskRecord::Withdraw { name: name.clone() },
        DrillAsk::Begin(plan) => DrillAskRecord::Begin(Box::new(plan_record(plan))),
        DrillAsk::BeginStep { drill, step, what } => DrillAskRecord::BeginStep {
            drill: drill.to_string(),
            step: step.clone(),
            what: what.clone(),
        },
        DrillAsk::EndStep { drill, end } => DrillAskRecord::EndStep {
            drill: drill.to_string(),
            end: step_end_record(end),
        },
        DrillAsk::Confirm { drill, step } => DrillAskRecord::Confirm {
            drill: drill.to_string(),
            step: step.clone(),
        },
        DrillAsk::Measure { drill, measurement } => DrillAskRecord::Measure {
            drill: drill.to_string(),
            measurement: Box::new(measurement_record(measurement)),
        },
        DrillAsk::Deviate { drill, deviation } => DrillAskRecord::Deviate {
            drill: drill.to_string(),
            deviation: deviation_record(deviation),
        },
        DrillAsk::End { drill, end } => DrillAskRecord::End {
            drill: drill.to_string(),
            end: end_record(end),
        },
        DrillAsk::Sign { drill, signature } => DrillAskRecord::Sign {
            drill: drill.to_string(),
            signature: signature_word(*signature),
        },
    }
}

/// # Errors
/// When a drill or a seed in it is none.
pub fn drill_ask_of(record: DrillAskRecord) -> Result<DrillAsk, ReadError> {
    Ok(match record {
        DrillAskRecord::Adopt(adoption) => DrillAsk::Adopt(Box::new(adoption_of(*adoption))),
        DrillAskRecord::Withdraw { name } => DrillAsk::Withdraw { name },
        DrillAskRecord::Begin(plan) => DrillAsk::Begin(Box::new(plan_of(*plan)?)),
        DrillAskRecord::BeginStep { drill, step, what } => DrillAsk::BeginStep {
            drill: id(&drill)?,
            step,
            what,
        },
        DrillAskRecord::EndStep { drill, end } => DrillAsk::EndStep {
            drill: id(&drill)?,
            end: step_end_of(end),
        },
        DrillAskRecord::Confirm { drill, step } => DrillAsk::Confirm {
            drill: id(&drill)?,
            step,
        },
        DrillAskRecord::Measure { drill, measurement } => DrillAsk::Measure {
            drill: id(&drill)?,
            measurement: Box::new(measurement_of(*measurement)),
        },
        DrillAskRecord::Deviate { drill, deviation } => DrillAsk::Deviate {
            drill: id(&drill)?,
            deviation: deviation_of(deviation),
        },
        DrillAskRecord::End { drill, end } => DrillAsk::End {
            drill: id(&drill)?,
            end: end_of(end),
        },
        DrillAskRecord::Sign { drill, signature } => DrillAsk::Sign {
            drill: id(&drill)?,
            signature: signature_of(signature),
        },
    })
}

/// Everything in force, under way and over, for people.
pub fn drills_shown(drills: &Drills) -> DrillsShown {
    let adopted = drills.adopted.iter().map(|(name, adopted)| AdoptedShown {
        name: name.clone(),
        digest: adopted.digest.clone(),
        schedule: adopted.schedule.as_ref().map(schedule_record),
        position: adopted.position.0,
        by: by_record(&adopted.by),
        since_ms: adopted.since_ms,
        due_ms: adopted.due_ms(),
        missed_ms: adopted.missed_ms,
    });
    let running = drills.running.as_ref().map(|run| DrillShown {
        drill: run.id.to_string(),
        plan: plan_record(&run.plan),
        by: by_record(&run.by),
        since_ms: run.since_ms,
        until_ms: run.until_ms,
        step: run.step.clone(),
        ended: run
            .ended
            .iter()
            .map(|(step, outcome)| (step.clone(), outcome_word(*outcome)))
            .collect(),
        confirmed: run.confirmed.iter().cloned().collect(),
        measurements: run.measurements.iter().map(measurement_record).collect(),
    });
    let ended = drills.ended.iter().rev().map(|ended| EndedShown {
        drill: ended.id.to_string(),
        name: ended.name.clone(),
        since_ms: ended.since_ms,
        ended_ms: ended.ended_ms,
        end: end_record(&ended.end),
        services: ended.services.iter().map(service_record).collect(),
    });
    DrillsShown {
        version: 1,
        adopted: adopted.collect(),
        running,
        ended: ended.collect(),
    }
}

const fn signature_word(signature: Signature) -> SignatureWord {
    match signature {
        Signature::Accepted => SignatureWord::Accepted,
        Signature::Refused => SignatureWord::Refused,
    }
}

const fn signature_of(word: SignatureWord) -> Signature {
    match word {
        SignatureWord::Accepted => Signature::Accepted,
        SignatureWord::Refused => Signature::Refused,
    }
}

fn id(text: &str) -> Result<DrillId, ReadError> {
    text.parse().map_err(|()| ReadError::Form("drill"))
}

fn adoption_record(adoption: &Adoption) -> DrillAdoptionRecord {
    DrillAdoptionRecord {
        name: adoption.name.clone(),
        digest: adoption.digest.clone(),
        text: adoption.text.clone(),
        schedule: adoption.schedule.as_ref().map(schedule_record),
    }
}

fn adoption_of(record: DrillAdoptionRecord) -> Adoption {
    Adoption {
        name: record.name,
        digest: record.digest,
        text: record.text,
        schedule: record.schedule.map(schedule_of),
    }
}

fn plan_record(plan: &DrillPlan) -> DrillPlanRecord {
    DrillPlanRecord {
        name: plan.name.clone(),
        title: plan.title.clone(),
        digest: plan.digest.clone(),
        text: plan.text.clone(),
        seed: plan.seed.to_string(),
        versions: plan.versions.clone(),
        environment: plan.environment.clone(),
        approver: plan.approver.clone(),
        tester: plan.tester.clone(),
        owner: plan.owner.clone(),
        objectives: plan.objectives.iter().map(objective_record).collect(),
        steps: plan
            .steps
            .iter()
            .map(|step| DrillStepRecord {
                id: step.id.clone(),
                what: step.what.clone(),
                by_person: step.by_person,
            })
            .collect(),
        retention_days: plan.retention_days,
        lasts_ms: plan.lasts_ms,
    }
}

fn plan_of(record: DrillPlanRecord) -> Result<DrillPlan, ReadError> {
    let steps = record.steps.into_iter().map(|step| DrillStep {
        id: step.id,
        what: step.what,
        by_person: step.by_person,
    });
    Ok(DrillPlan {
        name: record.name,
        title: record.title,
        digest: record.digest,
        text: record.text,
        seed: record.seed.parse().map_err(|_| ReadError::Form("seed"))?,
        versions: record.versions,
        environment: record.environment,
        approver: record.approver,
        tester: record.tester,
        owner: record.owner,
        objectives: record.objectives.into_iter().map(objective_of).collect(),
        steps: steps.collect(),
        retention_days: record.retention_days,
        lasts_ms: record.lasts_ms,
    })
}

fn deviation_record(deviation: &Deviation) -> DeviationRecord {
    DeviationRecord {
        step: deviation.step.clone(),
        what: deviation.what.clone(),
    }
}

fn deviation_of(record: DeviationRecord) -> Deviation {
    Deviation {
        step: record.step,
        what: record.what,
    }
}
