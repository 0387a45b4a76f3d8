//! One of each form that drills have.

use mainstay_kernel::{
    Adoption, Deficiency, Deviation, DrillAsk, DrillEnd, DrillId, DrillNews, DrillPlan, DrillStep,
    DrillVerdict, Judged, LossLimit, Measure, Measured, Measurement, Objective, Schedule,
    ServiceVerdict, Signature, StepEnd, StepOutcome, Unit,
};
use mainstay_units::Position;

use crate::events::tests::{by, text};

const DRILL: DrillId = DrillId(4);

fn adoption(schedule: Option<Schedule>) -> Box<Adoption> {
    Box::new(Adoption {
        name: "region-lost".to_string(),
        digest: "f00d".to_string(),
        text: text(),
        schedule,
    })
}

fn adoptions() -> [Box<Adoption>; 3] {
    let monthly = Schedule {
        cron: "0 6 1 * *".to_string(),
        within_ms: 7,
        starts_from: None,
    };
    let unattended = Schedule {
        starts_from: Some(text()),
        ..monthly.clone()
    };
    [None, Some(monthly), Some(unattended)].map(adoption)
}

fn objectives() -> Vec<Objective> {
    let limits = [
        None,
        Some(LossLimit::Transactions(1)),
        Some(LossLimit::TimeMs(9)),
    ];
    let objective = |rpo_below| Objective {
        service: text(),
        rto_below_ms: Some(u64::MAX),
        rpo_below,
        unmeasured: Some(text()),
    };
    limits.map(objective).into()
}

fn plan() -> Box<DrillPlan> {
    Box::new(DrillPlan {
        name: "region-lost".to_string(),
        title: text(),
        digest: "f00d".to_string(),
        text: text(),
        seed: u64::MAX,
        versions: [("mainstay".to_string(), "0.1.0".to_string())].into(),
        environment: text(),
        approver: text(),
        tester: text(),
        owner: text(),
        objectives: objectives(),
        steps: vec![DrillStep {
            id: "lose".to_string(),
            what: text(),
            by_person: true,
        }],
        retention_days: 1_826,
        lasts_ms: 5,
    })
}

fn step_ends() -> Vec<StepEnd> {
    let outcomes = [
        StepOutcome::Done,
        StepOutcome::Failed,
        StepOutcome::Unknown,
        StepOutcome::Skipped,
    ];
    let end = |outcome| StepEnd {
        step: "lose".to_string(),
        outcome,
        detail: text(),
        evidence: vec![Position(7), Position(9)],
    };
    outcomes.map(end).into()
}

fn measurements() -> Vec<Measurement> {
    let kinds = [
        Measured::Recovery,
        Measured::Ledger,
        Measured::Secondary,
        Measured::Restore,
    ];
    let units = [
        Unit::Micros,
        Unit::WallMicros,
        Unit::Transactions,
        Unit::Requests,
        Unit::Bytes,
        Unit::Count,
    ];
    let measurement = |measured| Measurement {
        measured,
        services: vec![text()],
        subject: text(),
        values: units
            .map(|unit| Measure {
                name: "rto".to_string(),
                value: (unit != Unit::Bytes).then_some(3),
                unit,
                source: text(),
                why: text(),
            })
            .into(),
        lists: [("lost".to_string(), vec![text()])].into(),
    };
    kinds.map(measurement).into()
}

fn deviations() -> [Deviation; 2] {
    [None, Some("lose".to_string())].map(|step| Deviation { step, what: text() })
}

fn ends() -> Vec<DrillEnd> {
    let verdicts = [
        DrillVerdict::Passed,
        DrillVerdict::Failed,
        DrillVerdict::Aborted,
        DrillVerdict::Inconclusive,
    ];
    let end = |verdict| DrillEnd {
        verdict,
        why: text(),
        deficiencies: vec![Deficiency {
            what: text(),
            owner: text(),
            retest_by_ms: 8,
        }],
        residue: vec![text()],
    };
    verdicts.map(end).into()
}

fn services() -> Vec<ServiceVerdict> {
    let judged = [
        Judged::Met,
        Judged::Missed,
        Judged::NotMeasured,
        Judged::NoObjective,
    ];
    let service = |objective| {
        judged.map(|judged| ServiceVerdict {
            objective: Objective::clone(&objective),
            rto: judged,
            rto_us: Some(4),
            rpo: judged,
            lost_transactions: None,
            lost_us: Some(0),
        })
    };
    objectives().into_iter().flat_map(service).collect()
}

pub fn news() -> Vec<DrillNews> {
    let reason = text;
    let mut news: Vec<DrillNews> = adoptions()
        .map(|adoption| DrillNews::Adopted {
            adoption,
            by: by(),
            reason: reason(),
        })
        .into();
    news.push(DrillNews::Withdrawn {
        name: text(),
        by: by(),
        reason: reason(),
    });
    news.push(DrillNews::Missed {
        name: text(),
        due_ms: 6,
    });
    news.extend([None, Some(Position(3))].map(|approved| DrillNews::Begun {
        drill: DRILL,
        plan: plan(),
        approved,
        platform: "f00d".to_string(),
        until_ms: 9,
        by: by(),
        reason: reason(),
    }));
    news.push(DrillNews::StepBegun {
        drill: DRILL,
        step: text(),
        what: text(),
    });
    news.push(DrillNews::Confirmed {
        drill: DRILL,
        step: text(),
        by: by(),
        note: text(),
    });
    news.extend(SIGNATURES.map(|signature| DrillNews::Signed {
        drill: DRILL,
        name: text(),
        signature,
        by: by(),
        statement: text(),
    }));
    let drill = DRILL;
    news.extend(
        step_ends()
            .into_iter()
            .map(|end| DrillNews::StepEnded { drill, end }),
    );
    let measured = measurements().into_iter();
    news.extend(measured.map(|measurement| DrillNews::Measured {
        drill,
        measurement: Box::new(measurement),
    }));
    news.extend(deviations().map(|deviation| DrillNews::Deviated { drill, deviation }));
    news.push(DrillNews::Abandoned { drill });
    news.extend(ends().into_iter().map(|end| DrillNews::Ended {
        drill,
        name: text(),
        end,
        services: services(),
    }));
    news
}

const SIGNATURES: [Signature; 2] = [Signature::Accepted, Signature::Refused];

pub fn asks() -> Vec<DrillAsk> {
    let drill = DRILL;
    let mut asks: Vec<DrillAsk> = adoptions().map(DrillAsk::Adopt).into();
    asks.extend([
        DrillAsk::Withdraw { name: text() },
        DrillAsk::Begin(plan()),
        DrillAsk::BeginStep {
            drill,
            step: text(),
            what: text(),
        },
        DrillAsk::Confirm {
            drill,
            step: text(),
        },
    ]);
    asks.extend(SIGNATURES.map(|signature| DrillAsk::Sign { drill, signature }));
    let ends_of_steps = step_ends().into_iter();
    asks.extend(ends_of_steps.map(|end| DrillAsk::EndStep { drill, end }));
    let measured = measurements().into_iter();
    asks.extend(measured.map(|measurement| DrillAsk::Measure {
        drill,
        measurement: Box::new(measurement),
    }));
    asks.extend(deviations().map(|deviation| DrillAsk::Deviate { drill, deviation }));
    asks.extend(ends().into_iter().map(|end| DrillAsk::End { drill, end }));
    asks
}
