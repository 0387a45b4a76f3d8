//! Gates, and what was measured at them, as stored and sent.

use mainstay_kernel::{Event, Found, GateReading};
use mainstay_model::gate::{Gate, Opens, Road, Share};
use mainstay_record::event::{
    DesiredGateRecord, GateBudgetRecord, GateOverriddenBody, GateReadingRecord,
};

use super::ReadError;
use super::parts::by_of;

pub(super) fn gate_record(gate: &Gate) -> DesiredGateRecord {
    let (query, budget) = match &gate.opens {
        Opens::Query(query) => (Some(query.clone()), None),
        Opens::Budget {
            objective,
            left_at_least,
        } => {
            let budget = GateBudgetRecord {
                objective: objective.to_string(),
                left_millionths: left_at_least.millionths(),
            };
            (None, Some(budget))
        }
    };
    let before = gate.before.iter().map(|road| road.as_str().to_owned());
    DesiredGateRecord {
        name: gate.name.to_string(),
        before: before.collect(),
        query,
        budget,
        reason: gate.reason.clone(),
        action: gate.action.clone(),
    }
}

pub(super) fn gate_of(record: DesiredGateRecord) -> Result<Gate, ReadError> {
    let road = |text: &String| Road::parse(text).ok_or(ReadError::Form("road"));
    Ok(Gate {
        name: record.name.parse()?,
        before: record.before.iter().map(road).collect::<Result<_, _>>()?,
        opens: match (record.query, record.budget) {
            (Some(query), None) => Opens::Query(query),
            (None, Some(budget)) => Opens::Budget {
                objective: budget.objective.parse()?,
                left_at_least: Share::of_millionths(budget.left_millionths)
                    .ok_or(ReadError::Form("share"))?,
            },
            (Some(_), Some(_)) | (None, None) => return Err(ReadError::Form("gate")),
        },
        reason: record.reason,
        action: record.action,
    })
}

pub(super) fn reading_record(reading: &GateReading) -> GateReadingRecord {
    GateReadingRecord {
        gate: reading.gate.clone(),
        found: reading.found.as_str().to_owned(),
        why: reading.why.clone(),
    }
}

pub(super) fn reading_of(record: GateReadingRecord) -> Result<GateReading, ReadError> {
    Ok(GateReading {
        gate: record.gate,
        found: found_of(&record.found)?,
        why: record.why,
    })
}

fn found_of(text: &str) -> Result<Found, ReadError> {
    let mut all = Found::ALL.into_iter();
    all.find(|found| found.as_str() == text)
        .ok_or(ReadError::Form("found"))
}

pub(super) fn overridden(body: GateOverriddenBody) -> Result<Event, ReadError> {
    Ok(Event::GateOverridden {
        gate: body.gate,
        asked: body.asked,
        found: found_of(&body.found)?,
        why: body.why,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

#[cfg(test)]
pub(super) fn samples() -> Vec<Gate> {
    let gate = |name: &str, opens, action| Gate {
        name: name.parse().expect("a name"),
        before: Road::ALL.into(),
        opens,
        reason: "it was slow".to_owned(),
        action,
    };
    let budget = Opens::Budget {
        objective: "all".parse().expect("a name"),
        left_at_least: Share::parse("0.25").expect("a share"),
    };
    vec![
        gate("close", Opens::Query("max(lag) < 5".to_owned()), None),
        gate("left", budget, Some("i3/a1".to_owned())),
    ]
}

#[cfg(test)]
pub(super) fn readings() -> Vec<GateReading> {
    let reading = |found: Found| GateReading {
        gate: "close".to_owned(),
        found,
        why: "lag is 7".to_owned(),
    };
    Found::ALL.map(reading).into()
}
