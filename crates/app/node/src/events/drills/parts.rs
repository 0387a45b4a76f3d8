//! What the forms of drills are made of.

use mainstay_kernel::{
    Deficiency, DrillEnd, DrillVerdict, Judged, LossLimit, Measure, Measured, Measurement,
    Objective, Schedule, ServiceVerdict, StepEnd, StepOutcome, Unit,
};
use mainstay_record::drill::{
    DeficiencyRecord, DrillEndRecord, DrillObjectiveRecord, DrillScheduleRecord, DrillVerdictWord,
    JudgedWord, LossLimitRecord, MeasureRecord, MeasuredWord, MeasurementRecord,
    ServiceVerdictRecord, StepEndRecord, StepOutcomeWord, UnitWord,
};
use mainstay_units::Position;

pub fn schedule_record(schedule: &Schedule) -> DrillScheduleRecord {
    DrillScheduleRecord {
        cron: schedule.cron.clone(),
        within_ms: schedule.within_ms,
        starts_from: schedule.starts_from.clone(),
    }
}

pub fn schedule_of(record: DrillScheduleRecord) -> Schedule {
    Schedule {
        cron: record.cron,
        within_ms: record.within_ms,
        starts_from: record.starts_from,
    }
}

pub fn objective_record(objective: &Objective) -> DrillObjectiveRecord {
    DrillObjectiveRecord {
        service: objective.service.clone(),
        rto_below_ms: objective.rto_below_ms,
        rpo_below: objective.rpo_below.map(|limit| match limit {
            LossLimit::Transactions(count) => LossLimitRecord::Transactions(count),
            LossLimit::TimeMs(ms) => LossLimitRecord::TimeMs(ms),
        }),
        unmeasured: objective.unmeasured.clone(),
    }
}

pub fn objective_of(record: DrillObjectiveRecord) -> Objective {
    Objective {
        service: record.service,
        rto_below_ms: record.rto_below_ms,
        rpo_below: record.rpo_below.map(|limit| match limit {
            LossLimitRecord::Transactions(count) => LossLimit::Transactions(count),
            LossLimitRecord::TimeMs(ms) => LossLimit::TimeMs(ms),
        }),
        unmeasured: record.unmeasured,
    }
}

pub const fn outcome_word(outcome: StepOutcome) -> StepOutcomeWord {
    match outcome {
        StepOutcome::Done => StepOutcomeWord::Done,
        StepOutcome::Failed => StepOutcomeWord::Failed,
        StepOutcome::Unknown => StepOutcomeWord::Unknown,
        StepOutcome::Skipped => StepOutcomeWord::Skipped,
    }
}

pub fn step_end_record(end: &StepEnd) -> StepEndRecord {
    StepEndRecord {
        step: end.step.clone(),
        outcome: outcome_word(end.outcome),
        detail: end.detail.clone(),
        evidence: end.evidence.iter().map(|position| position.0).collect(),
    }
}

pub fn step_end_of(record: StepEndRecord) -> StepEnd {
    StepEnd {
        step: record.step,
        outcome: match record.outcome {
            StepOutcomeWord::Done => StepOutcome::Done,
            StepOutcomeWord::Failed => StepOutcome::Failed,
            StepOutcomeWord::Unknown => StepOutcome::Unknown,
            StepOutcomeWord::Skipped => StepOutcome::Skipped,
        },
        detail: record.detail,
        evidence: record.evidence.into_iter().map(Position).collect(),
    }
}

pub fn measurement_record(measurement: &Measurement) -> MeasurementRecord {
    MeasurementRecord {
        measured: match measurement.measured {
            Measured::Recovery => MeasuredWord::Recovery,
            Measured::Ledger => MeasuredWord::Ledger,
            Measured::Secondary => MeasuredWord::Secondary,
            Measured::Restore => MeasuredWord::Restore,
        },
        services: measurement.services.clone(),
        subject: measurement.subject.clone(),
        values: measurement.values.iter().map(measure_record).collect(),
        lists: measurement.lists.clone(),
    }
}

pub fn measurement_of(record: MeasurementRecord) -> Measurement {
    Measurement {
        measured: match record.measured {
            MeasuredWord::Recovery => Measured::Recovery,
            MeasuredWord::Ledger => Measured::Ledger,
            MeasuredWord::Secondary => Measured::Secondary,
            MeasuredWord::Restore => Measured::Restore,
        },
        services: record.services,
        subject: record.subject,
        values: record.values.into_iter().map(measure_of).collect(),
        lists: record.lists,
    }
}

fn measure_record(measure: &Measure) -> MeasureRecord {
    MeasureRecord {
        name: measure.name.clone(),
        value: measure.value,
        unit: match measure.unit {
            Unit::Micros => UnitWord::Us,
            Unit::WallMicros => UnitWord::WallUs,
            Unit::Transactions => UnitWord::Transactions,
            Unit::Requests => UnitWord::Requests,
            Unit::Bytes => UnitWord::Bytes,
            Unit::Count => UnitWord::Count,
        },
        source: measure.source.clone(),
        why: measure.why.clone(),
    }
}

fn measure_of(record: MeasureRecord) -> Measure {
    Measure {
        name: record.name,
        value: record.value,
        unit: match record.unit {
            UnitWord::Us => Unit::Micros,
            UnitWord::WallUs => Unit::WallMicros,
            UnitWord::Transactions => Unit::Transactions,
            UnitWord::Requests => Unit::Requests,
            UnitWord::Bytes => Unit::Bytes,
            UnitWord::Count => Unit::Count,
        },
        source: record.source,
        why: record.why,
    }
}

pub fn end_record(end: &DrillEnd) -> DrillEndRecord {
    DrillEndRecord {
        verdict: match end.verdict {
            DrillVerdict::Passed => DrillVerdictWord::Passed,
            DrillVerdict::Failed => DrillVerdictWord::Failed,
            DrillVerdict::Aborted => DrillVerdictWord::Aborted,
            DrillVerdict::Inconclusive => DrillVerdictWord::Inconclusive,
        },
        why: end.why.clone(),
        deficiencies: end
            .deficiencies
            .iter()
            .map(|found| DeficiencyRecord {
                what: found.what.clone(),
                owner: found.owner.clone(),
                retest_by_ms: found.retest_by_ms,
            })
            .collect(),
        residue: end.residue.clone(),
    }
}

pub fn end_of(record: DrillEndRecord) -> DrillEnd {
    let found = record.deficiencies.into_iter().map(|found| Deficiency {
        what: found.what,
        owner: found.owner,
        retest_by_ms: found.retest_by_ms,
    });
    DrillEnd {
        verdict: match record.verdict {
            DrillVerdictWord::Passed => DrillVerdict::Passed,
            DrillVerdictWord::Failed => DrillVerdict::Failed,
            DrillVerdictWord::Aborted => DrillVerdict::Aborted,
            DrillVerdictWord::Inconclusive => DrillVerdict::Inconclusive,
        },
        why: record.why,
        deficiencies: found.collect(),
        residue: record.residue,
    }
}

const fn judged_word(judged: Judged) -> JudgedWord {
    match judged {
        Judged::Met => JudgedWord::Met,
        Judged::Missed => JudgedWord::Missed,
        Judged::NotMeasured => JudgedWord::NotMeasured,
        Judged::NoObjective => JudgedWord::NoObjective,
    }
}

const fn judged_of(word: JudgedWord) -> Judged {
    match word {
        JudgedWord::Met => Judged::Met,
        JudgedWord::Missed => Judged::Missed,
        JudgedWord::NotMeasured => Judged::NotMeasured,
        JudgedWord::NoObjective => Judged::NoObjective,
    }
}

pub fn service_record(service: &ServiceVerdict) -> ServiceVerdictRecord {
    ServiceVerdictRecord {
        objective: objective_record(&service.objective),
        rto: judged_word(service.rto),
        rto_us: service.rto_us,
        rpo: judged_word(service.rpo),
        lost_transactions: service.lost_transactions,
        lost_us: service.lost_us,
    }
}

pub fn service_of(record: ServiceVerdictRecord) -> ServiceVerdict {
    ServiceVerdict {
        objective: objective_of(record.objective),
        rto: judged_of(record.rto),
        rto_us: record.rto_us,
        rpo: judged_of(record.rpo),
        lost_transactions: record.lost_transactions,
        lost_us: record.lost_us,
    }
}
