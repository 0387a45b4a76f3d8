//! Experiments as they are stored and sent.

use mainstay_kernel::{
    Experiment, ExperimentAsk, ExperimentNews, ExperimentPlan, Finding, Observation, Verdict,
};
use mainstay_record::event::EventBody;
use mainstay_record::experiment::{
    ExperimentAskRecord, ExperimentBegunBody, ExperimentEndedBody, ExperimentFacts,
    ExperimentObservedBody, ExperimentPlanRecord, FindingWord, ObservationRecord, VerdictWord,
};

use super::ReadError;
use super::parts::{by_of, by_record};

pub(super) fn news_body(news: &ExperimentNews) -> EventBody {
    match news {
        ExperimentNews::Begun {
            experiment,
            plan,
            until_ms,
            by,
            reason,
        } => EventBody::ExperimentBegun(ExperimentBegunBody {
            experiment: experiment.to_string(),
            plan: plan_record(plan),
            until_ms: *until_ms,
            by: by_record(by),
            reason: reason.clone(),
        }),
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
    }
}

pub(super) fn begun_of(body: ExperimentBegunBody) -> Result<ExperimentNews, ReadError> {
    Ok(ExperimentNews::Begun {
        experiment: id(&body.experiment)?,
        plan: plan_of(body.plan)?,
        until_ms: body.until_ms,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

pub(super) fn observed_of(body: ExperimentObservedBody) -> Result<ExperimentNews, ReadError> {
    Ok(ExperimentNews::Observed {
        experiment: id(&body.experiment)?,
        observation: observation_of(body.observation),
    })
}

pub(super) fn ended_of(body: ExperimentEndedBody) -> Result<ExperimentNews, ReadError> {
    Ok(ExperimentNews::Ended {
        experiment: id(&body.experiment)?,
        verdict: verdict_of(body.verdict),
        why: body.why,
        residue: body.residue,
    })
}

pub(super) fn experiment_ask_record(ask: &ExperimentAsk) -> ExperimentAskRecord {
    match ask {
        ExperimentAsk::Begin(plan) => ExperimentAskRecord::Begin(plan_record(plan)),
        ExperimentAsk::Observe {
            experiment,
            observation,
        } => ExperimentAskRecord::Observe {
            experiment: experiment.to_string(),
            observation: observation_record(observation),
        },
        ExperimentAsk::End {
            experiment,
            verdict,
            why,
            residue,
        } => ExperimentAskRecord::End {
            experiment: experiment.to_string(),
            verdict: verdict_word(*verdict),
            why: why.clone(),
            residue: residue.clone(),
        },
    }
}

/// # Errors
/// When an experiment or a seed in it is none.
pub fn experiment_ask_of(record: ExperimentAskRecord) -> Result<ExperimentAsk, ReadError> {
    Ok(match record {
        ExperimentAskRecord::Begin(plan) => ExperimentAsk::Begin(plan_of(plan)?),
        ExperimentAskRecord::Observe {
            experiment,
            observation,
        } => ExperimentAsk::Observe {
            experiment: id(&experiment)?,
            observation: observation_of(observation),
        },
        ExperimentAskRecord::End {
            experiment,
            verdict,
            why,
            residue,
        } => ExperimentAsk::End {
            experiment: id(&experiment)?,
            verdict: verdict_of(verdict),
            why,
            residue,
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
