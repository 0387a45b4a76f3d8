//! `mainstay slo`: what is left of each budget and how fast it burns; and the rules that tell so.

use mainstay_derive::objective_rules;
use mainstay_model::Platform;
use mainstay_model::watch::Objective;
use serde::Serialize;
use serde_json::Value;

use crate::arguments::Slo;
use crate::client::find;
use crate::exit::{Failure, Outcome};
use crate::print::{json, line};
use crate::query;
use crate::validate::read_valid;

/// What is known of an objective. What was never measured is absent, and not zero.
#[derive(Debug, Serialize)]
struct Budget {
    objective: String,
    target: String,
    allows: String,
    /// Shares: of the budget, 1 if none is spent, negative if more than all is.
    left: Option<f64>,
    /// How many times faster than the budget lasts, over the last hour and six.
    burn_1h: Option<f64>,
    burn_6h: Option<f64>,
    alerts: Vec<String>,
}

pub fn run(arguments: &Slo) -> Outcome {
    if arguments.rules {
        let platform = platform(arguments)?;
        let rules = platform.watch().and_then(objective_rules);
        return line(rules.ok_or_else(without)?.trim_end());
    }
    let platform = platform(arguments)?;
    let objectives = platform.watch().map_or(&[][..], |watch| &watch.objectives);
    if objectives.is_empty() {
        return Err(without());
    }
    let (_, layout) = find(&arguments.platform)?;
    let ask = |expression: &str| -> Result<Value, Failure> {
        let form = [("query", expression.to_owned())];
        let answer = query::ask(&layout, None, "/api/v1/query", &form)?;
        if answer["status"] != "success" {
            let why = answer["error"].as_str().unwrap_or("it does not say why");
            return Err(Failure::Unknown {
                why: format!("the watch does not answer {expression:?}: {why}"),
            });
        }
        Ok(answer["data"]["result"].clone())
    };
    let found = Found {
        left: ask("slo:budget:left")?,
        burn_1h: ask("slo:errors:ratio1h / on (slo) slo:budget")?,
        burn_6h: ask("slo:errors:ratio6h / on (slo) slo:budget")?,
        alerts: ask("ALERTS{slo!=\"\",alertstate=\"firing\"}")?,
    };
    let budgets: Vec<Budget> = objectives
        .iter()
        .map(|objective| found.of(objective))
        .collect();
    if arguments.json {
        return json(&budgets);
    }
    for budget in &budgets {
        print(budget)?;
    }
    Ok(())
}

fn without() -> Failure {
    Failure::Usage(
        "the platform has no objectives\n  next: `spec.watch.objectives` of the platform file declares them; see docs/slo.md"
            .to_owned(),
    )
}

fn platform(arguments: &Slo) -> Result<Platform, Failure> {
    let path = match &arguments.file {
        Some(file) => file.clone(),
        None => find(&arguments.platform)?.1.platform_file(),
    };
    Ok(read_valid(&path)?.0)
}

/// Answers by what was asked.
struct Found {
    left: Value,
    burn_1h: Value,
    burn_6h: Value,
    alerts: Value,
}

impl Found {
    fn of(&self, objective: &Objective) -> Budget {
        let name = objective.name.as_str();
        let of = |rows: &Value| {
            let rows = rows.as_array()?;
            let row = rows.iter().find(|row| row["metric"]["slo"] == name)?;
            let value: f64 = row["value"][1].as_str()?.parse().ok()?;
            value.is_finite().then_some(value)
        };
        let alerts = self.alerts.as_array().into_iter().flatten();
        let alerts = alerts.filter(|row| row["metric"]["slo"] == name);
        let words = alerts.map(|row| {
            let label = |name: &str| row["metric"][name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", label("alertname"), label("window"))
                .trim_end()
                .to_owned()
        });
        Budget {
            objective: name.to_owned(),
            target: objective.target.to_string(),
            allows: objective.allows(),
            left: of(&self.left),
            burn_1h: of(&self.burn_1h),
            burn_6h: of(&self.burn_6h),
            alerts: words.collect(),
        }
    }
}

fn print(budget: &Budget) -> Outcome {
    let share = |value: Option<f64>| {
        value.map_or("unknown".to_owned(), |value| {
            format!("{:.1} %", value * 100.0)
        })
    };
    let times =
        |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
    line(format_args!(
        "{}: {}\n    left of the budget {}; burns at {} of what it bears over 1h, {} over 6h",
        budget.objective,
        budget.allows,
        share(budget.left),
        times(budget.burn_1h),
        times(budget.burn_6h)
    ))?;
    for alert in &budget.alerts {
        line(format_args!("    fires: {alert}"))?;
    }
    Ok(())
}
