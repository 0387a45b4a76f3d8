//! Measuring the gates before a command, and looking for the rule that an action became.
//!
//! The node that is asked measures; the leader decides by what was measured. What nobody could measure is said to be so, and
//! opens nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_derive::objective_rules;
use mainstay_kernel::{Ask, Found, GateReading, gates_before};
use mainstay_model::gate::{Gate, Opens, Share};
use mainstay_model::watch::Watch;
use mainstay_rt::files;
use mainstay_rules::file::read;

use crate::context::Context;
use crate::control::Desk;
use crate::measure::{Reading, judged, numbers};

/// For all gates before one command.
const LIMIT: Duration = Duration::from_secs(5);
const RULES_BYTES_MAX: u64 = 16 << 20;

/// What is measured now at every gate before a command. Nothing, where none stands before it.
pub async fn readings(desk: &Desk, context: &Context, ask: &Ask) -> Vec<GateReading> {
    let gates: Vec<Gate> = {
        let view = desk.deputy.view.borrow();
        let state = view.state.as_ref();
        let gates = state.map(|state| gates_before(state, ask));
        gates.into_iter().flatten().cloned().collect()
    };
    measured(context, gates).await
}

/// What is measured now at each of these.
pub async fn measured(context: &Context, gates: Vec<Gate>) -> Vec<GateReading> {
    let deadline = tokio::time::Instant::now() + LIMIT;
    let mut readings = Vec::new();
    for gate in gates {
        let measured = tokio::time::timeout_at(deadline, measure(context, &gate.opens)).await;
        let (found, why) = measured.unwrap_or_else(|_| {
            let why = format!("no watch answered within {} s", LIMIT.as_secs());
            (Found::NotMeasured, why)
        });
        readings.push(GateReading {
            gate: gate.name.to_string(),
            found,
            why,
        });
    }
    readings
}

/// Asks the watch of this host, and those of others that can be reached from here if it does not answer.
async fn measure(context: &Context, opens: &Opens) -> (Found, String) {
    let own = context.name();
    let watch = context.platform.watch();
    let hosts = watch.map_or(&[][..], |watch| &watch.hosts);
    let others = hosts.iter().map(|host| host.as_str());
    let mut problems = Vec::new();
    for host in std::iter::once(own).chain(others.filter(|host| *host != own)) {
        if !hosts.iter().any(|known| known.as_str() == host) {
            continue;
        }
        match asked(context, host, opens).await {
            (Found::NotMeasured, why) => problems.push(format!("{host}: {why}")),
            measured => return measured,
        }
    }
    (Found::NotMeasured, problems.join("; "))
}

async fn asked(context: &Context, host: &str, opens: &Opens) -> (Found, String) {
    match opens {
        Opens::Query(query) => match judged(context, host, query).await {
            Reading::Holds(why) => (Found::Open, why),
            Reading::Not(why) => (Found::Shut, why),
            Reading::Missing(why) => (Found::NotMeasured, why),
        },
        Opens::Budget {
            objective,
            left_at_least,
        } => {
            let query = format!("slo:budget:left{{slo=\"{objective}\"}}");
            match numbers(context, host, &query).await {
                Ok(left) => budget(objective.as_str(), &left, *left_at_least),
                Err(why) => (Found::NotMeasured, why),
            }
        }
    }
}

/// The least that any series tells. A number that is none is not measured.
fn budget(objective: &str, left: &[f64], least: Share) -> (Found, String) {
    let least = f64::from(least.millionths()) / f64::from(Share::WHOLE);
    let left = left.iter().copied().filter(|left| !left.is_nan());
    let Some(left) = left.reduce(f64::min) else {
        let why = format!("no budget of {objective} is measured");
        return (Found::NotMeasured, why);
    };
    let why = format!("{left:.4} of the budget of {objective} is left, at least {least} opens it");
    match left >= least {
        true => (Found::Open, why),
        false => (Found::Shut, why),
    }
}

/// Whether the platform's watches follow a rule of that name.
///
/// # Errors
/// Why it cannot be said, or what there is instead.
pub fn follows_rule(context: &Context, name: &str) -> Result<(), String> {
    let Some(watch) = context.platform.watch() else {
        return Err("the platform has no watch, so it follows no rules".to_owned());
    };
    let mut texts = Vec::new();
    for declared in &watch.rules {
        let path = context.layout.rules().join(Watch::rule_name(declared));
        let bytes = files::read_limited(&path, RULES_BYTES_MAX)
            .map_err(|error| format!("read {}: {error}", path.display()))?;
        texts.push((
            declared.clone(),
            String::from_utf8_lossy(&bytes).into_owned(),
        ));
    }
    texts.extend(objective_rules(watch).map(|text| ("objectives".to_owned(), text)));
    let mut names = BTreeSet::new();
    for (file, text) in &texts {
        // What cannot be read is followed by nobody.
        let groups = read(file, text).unwrap_or_default();
        let rules = groups.iter().flat_map(|group| &group.rules);
        names.extend(rules.map(|rule| rule.name().to_owned()));
    }
    match names.contains(name) {
        true => Ok(()),
        false => Err(format!(
            "no rule {name} is followed by this platform's watches, of {} that are",
            names.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_measured_is_no_budget() {
        let least = Share::parse("0.25").expect("a share");
        for (left, found) in [
            (&[0.25][..], Found::Open),
            (&[0.9, 0.3], Found::Open),
            (&[0.9, 0.2], Found::Shut),
            (&[-3.0], Found::Shut),
            (&[], Found::NotMeasured),
            (&[f64::NAN], Found::NotMeasured),
        ] {
            assert_eq!(budget("orders", left, least).0, found, "{left:?}");
        }
    }
}
