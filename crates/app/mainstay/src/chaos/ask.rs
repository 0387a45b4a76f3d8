//! Questions of an experiment: to a watch, and to the journal.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_chaos::experiment::{Condition, Judged, Question};
use mainstay_derive::Layout;

use crate::client::look;
use crate::query;

/// A watch that takes longer does not see for now.
const LIMIT: Duration = Duration::from_secs(3);

/// What a condition's question gives now; an answer that does not come is missing.
pub fn judge(layout: &Layout, condition: &Condition) -> Judged {
    match values(layout, &expression(&condition.question)) {
        Ok(values) => condition.judge(&values),
        Err(why) => Judged::Missing(why),
    }
}

fn expression(question: &Question) -> String {
    match question {
        Question::Query(query) => query.clone(),
        Question::Burn(objective) => format!(
            "slo:errors:ratio5m{{slo=\"{objective}\"}} / on (slo) slo:budget{{slo=\"{objective}\"}}"
        ),
    }
}

/// The values of an instant vector, or of a scalar.
pub fn values(layout: &Layout, expression: &str) -> Result<Vec<f64>, String> {
    let form = [("query", expression.to_owned())];
    let answer = query::ask_within(layout, None, "/api/v1/query", &form, LIMIT)
        .map_err(|failure| failure.to_string())?;
    if answer["status"] != "success" {
        let why = answer["error"].as_str().unwrap_or("it gives no reason");
        return Err(format!("{expression}: {why}"));
    }
    let result = &answer["data"]["result"];
    let number = |value: &serde_json::Value| value.as_str()?.parse::<f64>().ok();
    Ok(match answer["data"]["resultType"].as_str() {
        Some("vector") => {
            let rows = result.as_array().into_iter().flatten();
            rows.filter_map(|row| number(&row["value"][1])).collect()
        }
        _ => number(&result[1]).into_iter().collect(),
    })
}

/// Alerts that stand by the journal, with their severities; by name, whoever says so. `None`: nobody answers.
pub fn alerts(layout: &Layout) -> Option<BTreeMap<String, String>> {
    let gathered = look(layout).ok()?;
    let alerts = gathered.alerts.iter().map(|alert| {
        let label = |name: &str| alert.labels.get(name).cloned().unwrap_or_default();
        (label("alertname"), label("severity"))
    });
    Some(alerts.collect())
}
