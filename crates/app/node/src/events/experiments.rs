//! Experiments as they are stored and sent.

use std::sync::Arc;

use mainstay_kernel::{
    AlertRules, EffectId, Experiment, ExperimentAsk, ExperimentNews, ExperimentPlan,
    ExperimentTold, FaultId, Finding, Moment, Observation, Slot, Timetable, Told, Verdict,
};
use mainstay_record::event::EventBody;
use mainstay_record::experiment::{
    AlertRulesRecord, ExperimentAskRecord, ExperimentBegunBody, ExperimentChoosingBody,
    ExperimentChosenBody, ExperimentEndedBody, ExperimentFacts, ExperimentLookedBody,
    ExperimentLookingBody, ExperimentMendingBody, ExperimentObservedBody, ExperimentPlanRecord,
    ExperimentToldRecord, FindingWord, MomentWord, ObservationRecord, SlotRecord, TimetableRecord,
    ToldRecord, VerdictWord,
};
use mainstay_units::Position;

use super::ReadError;
use super::parts::{by_of, by_record, spec_of, spec_record};

pub(super) fn news_body(news: &ExperimentNews) -> EventBody {
    match news {
        ExperimentNews::Begun {
            experiment,
            plan,
            until_ms,
            by,
            reason,
        } => {
            let body = ExperimentBegunBody {
                experiment: experiment.to_string(),
                plan: plan_record(plan),
                until_ms: *until_ms,
                by: by_record(by),
                reason: reason.clone(),
            };
            // A version that cannot carry it does not lead a journal that has it.
            match plan.timetable {
                Some(_) => EventBody::ExperimentCarried(body),
                None => EventBody::ExperimentBegun(body),
            }
        }
        ExperimentNews::Observed {
            experiment,
            observation,
        } => EventBody::ExperimentObserved(ExperimentObservedBody {
            experiment: experiment.to_string(),
            observation: observation_record(observation),
        }),
        ExperimentNews::Ended {
            experiment,
            verdict,
            why,
            residue,
        } => EventBody::ExperimentEnded(ExperimentEndedBody {
            experiment: experiment.to_string(),
            verdict: verdict_word(*verdict),
            why: why.clone(),
            residue: residue.clone(),
        }),
        ExperimentNews::Looking { .. }
        | ExperimentNews::Looked { .. }
        | ExperimentNews::Choosing { .. }
        | ExperimentNews::Chosen { .. }
        | ExperimentNews::Mending { .. } => course_body(news),
    }
}

/// What comes between its beginning and its end.
fn course_body(news: &ExperimentNews) -> EventBody {
    match news {
        ExperimentNews::Looking {
            experiment,
            moment,
            host,
            within_ms,
            patience_ms,
        } => EventBody::ExperimentLooking(ExperimentLookingBody {
            experiment: experiment.to_string(),
            moment: moment_word(*moment),
            host: host.to_string(),
            within_ms: *within_ms,
            patience_ms: *patience_ms,
        }),
        ExperimentNews::Looked {
            experiment,
            moment,
            halt,
            residue,
        } => EventBody::ExperimentLooked(ExperimentLookedBody {
            experiment: experiment.to_string(),
            moment: moment_word(*moment),
            halt: halt.clone(),
            residue: residue.clone(),
        }),
        ExperimentNews::Choosing {
            experiment,
            injection,
        } => EventBody::ExperimentChoosing(ExperimentChoosingBody {
            experiment: experiment.to_string(),
            injection: *injection,
        }),
        ExperimentNews::Chosen {
            experiment,
            injection,
            what,
            faults,
        } => EventBody::ExperimentChosen(ExperimentChosenBody {
            experiment: experiment.to_string(),
            injection: *injection,
            what: what.clone(),
            faults: faults.iter().map(ToString::to_string).collect(),
        }),
        ExperimentNews::Mending {
            experiment,
            verdict,
            why,
        } => EventBody::ExperimentMending(ExperimentMendingBody {
            experiment: experiment.to_string(),
            verdict: verdict.map(verdict_word),
            why: why.clone(),
        }),
        ExperimentNews::Begun { .. }
        | ExperimentNews::Observed { .. }
        | ExperimentNews::Ended { .. } => news_body(news),
    }
}

/// What is news of an experiment; anything else comes back.
pub(super) fn experiment_of(
    body: EventBody,
) -> Result<Result<ExperimentNews, EventBody>, ReadError> {
    Ok(Ok(match body {
        EventBody::ExperimentBegun(body) if body.plan.timetable.is_none() => begun_of(body)?,
        EventBody::ExperimentCarried(body) if body.plan.timetable.is_some() => begun_of(body)?,
        EventBody::ExperimentBegun(_) | EventBody::ExperimentCarried(_) => {
            return Err(ReadError::Form("timetable"));
        }
        EventBody::ExperimentObserved(body) => ExperimentNews::Observed {
            experiment: id(&body.experiment)?,
            observation: observation_of(body.observation),
        },
        EventBody::ExperimentEnded(body) => ExperimentNews::Ended {
            experiment: id(&body.experiment)?,
            verdict: verdict_of(body.verdict),
            why: body.why,
            residue: body.residue,
        },
        EventBody::ExperimentLooking(body) => ExperimentNews::Looking {
            experiment: id(&body.experiment)?,
            moment: moment_of(body.moment),
            host: body.host.parse()?,
            within_ms: body.within_ms,
            patience_ms: body.patience_ms,
        },
        EventBody::ExperimentLooked(body) => ExperimentNews::Looked {
            experiment: id(&body.experiment)?,
            moment: moment_of(body.moment),
            halt: body.halt,
            residue: body.residue,
        },
        EventBody::ExperimentChoosing(body) => ExperimentNews::Choosing {
            experiment: id(&body.experiment)?,
            injection: body.injection,
        },
        EventBody::ExperimentChosen(body) => ExperimentNews::Chosen {
            experiment: id(&body.experiment)?,
            injection: body.injection,
            what: body.what,
            faults: faults_of(&body.faults)?,
        },
        EventBody::ExperimentMending(body) => ExperimentNews::Mending {
            experiment: id(&body.experiment)?,
            verdict: body.verdict.map(verdict_of),
            why: body.why,
        },
        other => return Ok(Err(other)),
    }))
}

fn begun_of(body: ExperimentBegunBody) -> Result<ExperimentNews, ReadError> {
    Ok(ExperimentNews::Begun {
        experiment: id(&body.experiment)?,
        plan: Arc::new(plan_of(body.plan)?),
        until_ms: body.until_ms,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

fn faults_of(faults: &[String]) -> Result<Vec<FaultId>, ReadError> {
    let parsed = faults
        .iter()
        .map(|fault| fault.parse().map_err(|()| ReadError::Form("fault")));
    parsed.collect()
}

pub(super) fn experiment_ask_record(ask: &ExperimentAsk) -> ExperimentAskRecord {
    match ask {
        ExperimentAsk::Begin(plan) => ExperimentAskRecord::Begin(Box::new(plan_record(plan))),
        ExperimentAsk::Stop { experiment } => ExperimentAskRecord::Stop {
            experiment: experiment.to_string(),
        },
    }
}

/// # Errors
/// When an experiment or a seed in it is none.
pub fn experiment_ask_of(record: ExperimentAskRecord) -> Result<ExperimentAsk, ReadError> {
    Ok(match record {
        ExperimentAskRecord::Begin(plan) => ExperimentAsk::Begin(Box::new(plan_of(*plan)?)),
        ExperimentAskRecord::Stop { experiment } => ExperimentAsk::Stop {
            experiment: id(&experiment)?,
        },
    })
}

pub(super) fn told_record(told: &ExperimentTold) -> ExperimentToldRecord {
    ExperimentToldRecord {
        effect: told.effect.0.0,
        told: match &told.told {
            Told::Looked {
                seen,
                halt,
                residue,
            } => ToldRecord::Looked {
                seen: seen.iter().map(observation_record).collect(),
                halt: halt.clone(),
                residue: residue.clone(),
            },
            Told::Chosen { what, faults } => ToldRecord::Chosen {
                what: what.clone(),
                faults: faults.iter().map(spec_record).collect(),
            },
        },
    }
}

pub(super) fn told_of(record: ExperimentToldRecord) -> Result<ExperimentTold, ReadError> {
    Ok(ExperimentTold {
        effect: EffectId(Position(record.effect)),
        told: match record.told {
            ToldRecord::Looked {
                seen,
                halt,
                residue,
            } => Told::Looked {
                seen: seen.into_iter().map(observation_of).collect(),
                halt,
                residue,
            },
            ToldRecord::Chosen { what, faults } => Told::Chosen {
                what,
                faults: faults.into_iter().map(spec_of).collect::<Result<_, _>>()?,
            },
        },
    })
}

pub fn experiment_facts(experiment: &Experiment) -> ExperimentFacts {
    ExperimentFacts {
        experiment: experiment.id.to_string(),
        plan: plan_record(&experiment.plan),
        since_ms: experiment.since_ms,
        until_ms: experiment.until_ms,
        held: experiment.held,
        violated: experiment.violated,
        missing: experiment.missing,
        phase: experiment.phase().to_owned(),
    }
}

fn id(text: &str) -> Result<mainstay_kernel::ExperimentId, ReadError> {
    text.parse().map_err(|()| ReadError::Form("experiment"))
}

fn plan_record(plan: &ExperimentPlan) -> ExperimentPlanRecord {
    ExperimentPlanRecord {
        name: plan.name.clone(),
        digest: plan.digest.clone(),
        seed: plan.seed.to_string(),
        hypothesis: plan.hypothesis.clone(),
        injections: plan.injections.clone(),
        lasts_ms: plan.lasts_ms,
        timetable: plan.timetable.as_ref().map(timetable_record),
    }
}

fn timetable_record(table: &Timetable) -> TimetableRecord {
    let slots = table.injections.iter().map(|slot| SlotRecord {
        at_ms: slot.at_ms,
        lasts_ms: slot.lasts_ms,
    });
    TimetableRecord {
        text: table.text.clone(),
        planned_s: table.planned_s,
        window_ms: table.window_ms,
        injections: slots.collect(),
        ends_ms: table.ends_ms,
        settle_ms: table.settle_ms,
        is_guarded: table.is_guarded,
        alerts: table.alerts.as_ref().map(|rules| AlertRulesRecord {
            fire: rules.fire.clone(),
            may_fire: rules.may_fire.clone(),
            severities: rules.severities.clone(),
        }),
    }
}

fn timetable_of(record: TimetableRecord) -> Timetable {
    let slots = record.injections.iter().map(|slot| Slot {
        at_ms: slot.at_ms,
        lasts_ms: slot.lasts_ms,
    });
    Timetable {
        injections: slots.collect(),
        text: record.text,
        planned_s: record.planned_s,
        window_ms: record.window_ms,
        ends_ms: record.ends_ms,
        settle_ms: record.settle_ms,
        is_guarded: record.is_guarded,
        alerts: record.alerts.map(|rules| AlertRules {
            fire: rules.fire,
            may_fire: rules.may_fire,
            severities: rules.severities,
        }),
    }
}

fn plan_of(record: ExperimentPlanRecord) -> Result<ExperimentPlan, ReadError> {
    Ok(ExperimentPlan {
        name: record.name,
        digest: record.digest,
        seed: record.seed.parse().map_err(|_| ReadError::Form("seed"))?,
        hypothesis: record.hypothesis,
        injections: record.injections,
        lasts_ms: record.lasts_ms,
        timetable: record.timetable.map(timetable_of),
    })
}

fn observation_record(observation: &Observation) -> ObservationRecord {
    ObservationRecord {
        subject: observation.subject.clone(),
        value: observation.value.clone(),
        finding: match observation.finding {
            Finding::Holds => FindingWord::Holds,
            Finding::Violated => FindingWord::Violated,
            Finding::Missing => FindingWord::Missing,
        },
    }
}

fn observation_of(record: ObservationRecord) -> Observation {
    Observation {
        subject: record.subject,
        value: record.value,
        finding: match record.finding {
            FindingWord::Holds => Finding::Holds,
            FindingWord::Violated => Finding::Violated,
            FindingWord::Missing => Finding::Missing,
        },
    }
}

const fn verdict_word(verdict: Verdict) -> VerdictWord {
    match verdict {
        Verdict::Passed => VerdictWord::Passed,
        Verdict::Failed => VerdictWord::Failed,
        Verdict::Aborted => VerdictWord::Aborted,
        Verdict::Inconclusive => VerdictWord::Inconclusive,
    }
}

const fn verdict_of(word: VerdictWord) -> Verdict {
    match word {
        VerdictWord::Passed => Verdict::Passed,
        VerdictWord::Failed => Verdict::Failed,
        VerdictWord::Aborted => Verdict::Aborted,
        VerdictWord::Inconclusive => Verdict::Inconclusive,
    }
}

const fn moment_word(moment: Moment) -> MomentWord {
    match moment {
        Moment::Before => MomentWord::Before,
        Moment::During => MomentWord::During,
        Moment::After => MomentWord::After,
        Moment::Over => MomentWord::Over,
    }
}

const fn moment_of(word: MomentWord) -> Moment {
    match word {
        MomentWord::Before => Moment::Before,
        MomentWord::During => Moment::During,
        MomentWord::After => Moment::After,
        MomentWord::Over => Moment::Over,
    }
}
