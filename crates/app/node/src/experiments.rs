//! What a node does for an experiment: choosing targets among those who run, and looking at the instruments.
//!
//! Neither breaks anything, and both are made of the text that the journal holds: a node that takes over from another
//! comes to the same timetable, and so knows what is meant by "the third injection".

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use mainstay_chaos::check;
use mainstay_chaos::experiment::{Condition, Judged, Moment as Looked};
use mainstay_chaos::inventory::{Inventory, Sight};
use mainstay_chaos::judge::{Bench, Fidelity, Order as FaultOrder};
use mainstay_chaos::look::{Looker, Order, Seen};
use mainstay_chaos::plan::Step;
use mainstay_chaos::trial::{Trial, trials};
use mainstay_host::faults;
use mainstay_kernel::{
    EffectId, ExperimentPlan, ExperimentTold, ExperimentWork, FaultSpec, Finding, Moment,
    Observation, Outcome, Signal, Timetable, Told,
};
use mainstay_record::node::{CommandOutcome, InjectFault};
use mainstay_rt::clock;
use mainstay_rt::http::request_unix;
use serde_json::Value;

use crate::context::Context;
use crate::control::{Desk, fault_spec};
use crate::effects::chain;
use crate::measure::escaped;

/// From one look at the instruments to the next.
const BEAT: Duration = Duration::from_millis(500);
/// A watch that takes longer does not see for now.
const QUERY_LIMIT: Duration = Duration::from_secs(3);
/// A fault of something that is over at once.
const MOMENT: Duration = Duration::from_secs(1);

/// Does it, and says what became of it; nothing if nobody wants to know any more.
pub async fn carry_out(
    desk: &Desk,
    context: &Context,
    effect: EffectId,
    work: ExperimentWork,
) -> Option<Signal> {
    let told = match work {
        ExperimentWork::Choose {
            plan, injection, ..
        } => match choose(desk, context, &plan, injection) {
            Ok(told) => told,
            Err(why) => {
                let outcome = Outcome::Failed { why };
                return Some(Signal::Answered { effect, outcome });
            }
        },
        ExperimentWork::Look {
            plan,
            moment,
            within_ms,
            patience_ms,
            told,
            ..
        } => {
            let order = (moment, within_ms, patience_ms);
            look(desk, context, effect, &plan, order, told).await?
        }
    };
    Some(Signal::Experiment(ExperimentTold { effect, told }))
}

/// The experiment that a plan means, found again in its text.
fn with_trial<T>(
    plan: &ExperimentPlan,
    then: impl FnOnce(&Timetable, &Trial<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let table = plan.timetable.as_ref();
    let table = table.ok_or_else(|| "it has no timetable".to_owned())?;
    let checked = check("the journalled document", &table.text);
    if checked.has_errors() {
        return Err("this version of Mainstay does not read its document".to_owned());
    }
    let all = trials(&checked);
    let trial = all.iter().find(|trial| trial.name == plan.name);
    let trial = trial.ok_or_else(|| format!("its document has no experiment {}", plan.name))?;
    then(table, trial)
}

fn choose(
    desk: &Desk,
    context: &Context,
    plan: &ExperimentPlan,
    injection: u32,
) -> Result<Told, String> {
    with_trial(plan, |table, trial| {
        let step = step(table, trial, injection)?;
        let inventory = Inventory::of(&context.platform, Some(&Sight::of(&desk.gathered())));
        let bench = Bench {
            platform: &context.platform,
            inventory: &inventory,
            seed: plan.seed,
        };
        let judgement = bench.judge(&step.chaos);
        if let Fidelity::Refused(why) = &judgement.fidelity {
            // What could be done when it began cannot be done any more.
            return Err(format!("{}: {why}", step.chaos.name));
        }
        let what = judgement.told(&step.chaos.name);
        let faults = judgement.orders.into_iter().map(|order| spec(&step, order));
        Ok(Told::Chosen {
            what,
            faults: faults.collect::<Result<_, _>>()?,
        })
    })
}

/// The timetable made again, and compared with what the journal says of it.
fn step(table: &Timetable, trial: &Trial<'_>, injection: u32) -> Result<Step, String> {
    let window = table.window_ms.map(Duration::from_millis);
    let plan = trial.plan(window, table.planned_s)?;
    let index = injection as usize;
    let same = |step: &&Step| {
        table.injections.get(index).is_some_and(|slot| {
            slot.at_ms == millis(step.at) && slot.lasts_ms == step.lasts.map(millis)
        })
    };
    let step = plan.steps.get(index).filter(same);
    step.cloned()
        .ok_or_else(|| format!("this version of Mainstay plans injection {index} of it otherwise"))
}

fn spec(step: &Step, order: FaultOrder) -> Result<FaultSpec, String> {
    let grace = order.detail.grace_ms.map(Duration::from_millis);
    let lasts = step.lasts.or(grace).unwrap_or(MOMENT);
    let fault = InjectFault {
        kind: order.kind.name().to_owned(),
        target: order.target,
        lasts_ms: millis(lasts).max(1),
        one_way: order.one_way,
        delay_us: order.delay_us,
        detail: order.detail,
    };
    fault_spec(&fault).map_err(|outcome| match outcome {
        CommandOutcome::Refused { why, .. } | CommandOutcome::Unknown { why, .. } => why,
        CommandOutcome::Done { detail, .. } => detail,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn look(
    desk: &Desk,
    context: &Context,
    effect: EffectId,
    plan: &ExperimentPlan,
    (moment, within_ms, patience_ms): (Moment, u64, u64),
    told: BTreeSet<String>,
) -> Option<Told> {
    let watched = match moment {
        Moment::Before => Looked::Before,
        Moment::During => Looked::During,
        Moment::After => Looked::After,
        Moment::Over => return Some(with_residue(context, Seen::default()).await),
    };
    let text = plan.timetable.as_ref().map(|table| table.text.as_str());
    let checked = check("the journalled document", text.unwrap_or_default());
    let all = trials(&checked);
    let Some(trial) = all.iter().find(|trial| trial.name == plan.name) else {
        // Whatever cannot be read cannot be watched either.
        let halt = format!(
            "this version of Mainstay finds no experiment {} in it",
            plan.name
        );
        return Some(Told::Looked {
            seen: Vec::new(),
            halt: Some(halt),
            residue: Vec::new(),
        });
    };
    let begun = clock::now();
    let order = Order {
        moment: watched,
        now_ms: 0,
        within_ms,
        patience_ms,
    };
    let mut looker = Looker::new(trial.experiment, order, told);
    loop {
        let mut answers = Vec::new();
        for condition in looker.questions() {
            answers.push(judged(context, condition).await);
        }
        let now_ms = millis(clock::now().since(begun));
        if let Some(seen) = looker.handle_answers(now_ms, answers) {
            return Some(match moment {
                Moment::After => with_residue(context, seen).await,
                Moment::Before | Moment::During | Moment::Over => said(seen, Vec::new()),
            });
        }
        if is_given_up(desk, effect) {
            return None;
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Whether the journal, read beyond the order, does not wait for it.
fn is_given_up(desk: &Desk, effect: EffectId) -> bool {
    let view = desk.deputy.view.borrow();
    let state = view.state.as_ref();
    state.is_some_and(|state| state.next > effect.0 && !state.outstanding.contains_key(&effect))
}

async fn with_residue(context: &Context, seen: Seen) -> Told {
    let data = context.layout.data().to_path_buf();
    let found = tokio::task::spawn_blocking(move || faults::residue(&data)).await;
    // What was not looked for is not known to be gone.
    let perhaps = |why: &dyn std::error::Error| vec![format!("something, perhaps ({why}),")];
    let residue = match found {
        Ok(Ok(residue)) => residue.iter().map(ToString::to_string).collect(),
        Ok(Err(error)) => perhaps(&error),
        Err(error) => perhaps(&error),
    };
    said(seen, residue)
}

fn said(seen: Seen, residue: Vec<String>) -> Told {
    let observed = seen.seen.into_iter().map(|(subject, judged)| {
        let (finding, value) = match judged {
            Judged::Holds(value) => (Finding::Holds, value),
            Judged::Violated(value) => (Finding::Violated, value),
            Judged::Missing(why) => (Finding::Missing, why),
        };
        Observation {
            subject,
            value,
            finding,
        }
    });
    Told::Looked {
        seen: observed.collect(),
        halt: seen.halt,
        residue,
    }
}

/// What the watch of this host says of a condition now; an answer that does not come is missing.
async fn judged(context: &Context, condition: &Condition) -> Judged {
    let expression = condition.question.expression();
    let socket = context.layout.watch_socket(context.name());
    let body = format!("query={}", escaped(&expression)).into_bytes();
    let asked = request_unix(&socket, Method::POST, "/api/v1/query", body, QUERY_LIMIT);
    let answer: Value = match asked.await {
        Ok((_, body)) => match serde_json::from_slice(&body) {
            Ok(answer) => answer,
            Err(error) => return Judged::Missing(format!("the watch: {error}")),
        },
        Err(error) => return Judged::Missing(format!("the watch: {}", chain(&error))),
    };
    match values(&expression, &answer) {
        Ok(values) => condition.judge(&values),
        Err(why) => Judged::Missing(why),
    }
}

/// The values of an instant vector, or of a scalar, as a watch answers.
///
/// # Errors
/// Why it refuses.
pub fn values(expression: &str, answer: &Value) -> Result<Vec<f64>, String> {
    if answer["status"] != "success" {
        let why = answer["error"].as_str().unwrap_or("it gives no reason");
        return Err(format!("{expression}: {why}"));
    }
    let result = &answer["data"]["result"];
    let number = |value: &Value| value.as_str()?.parse::<f64>().ok();
    Ok(match answer["data"]["resultType"].as_str() {
        Some("vector") => {
            let rows = result.as_array().into_iter().flatten();
            rows.filter_map(|row| number(&row["value"][1])).collect()
        }
        _ => number(&result[1]).into_iter().collect(),
    })
}
