//! Gates: each stands before something, has one condition that can be asked, and says why.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::LIST_MAX;
use super::inspector::Inspector;
use crate::draft::{GateDraft, PlatformDraft};
use crate::gate::{Gate, Opens, Road, Share};
use crate::name::{GateName, ObjectiveName};
use crate::violation::Code;
use crate::watch::Watch;

const LIST: &str = "/spec/gates";
const QUERY_BYTES_MAX: usize = 4_096;
const REASON_BYTES_MAX: usize = 1_000;

pub(super) fn gates(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    watch: Option<&Watch>,
) -> Vec<Gate> {
    if !inspector.list_length(LIST, draft.gates.len(), LIST_MAX) {
        return Vec::new();
    }
    if draft.watch.is_none() && !draft.gates.is_empty() {
        let message = "nobody could measure a gate: the platform has no watch";
        inspector
            .report(LIST, Code::Missing, message)
            .help("declare `watch:`, or leave the gates out; what is not measured opens none");
    }
    let texts = draft.gates.iter().map(|gate| &gate.name);
    let names = inspector.names(LIST, "gate", texts, GateName::new);
    let mut found = Vec::new();
    for (place, (declared, name)) in draft.gates.iter().zip(names).enumerate() {
        let path = format!("{LIST}/{place}");
        let before = before(inspector, declared, &path);
        let opens = opens(inspector, declared, watch, &path);
        said(inspector, declared, &path);
        if let (Some(name), Some(opens)) = (name, opens) {
            found.push(Gate {
                name,
                before,
                opens,
                reason: declared.reason.trim().to_string(),
                action: declared.action.clone(),
            });
        }
    }
    found
}

fn before(inspector: &mut Inspector, declared: &GateDraft, path: &str) -> BTreeSet<Road> {
    let mut roads = BTreeSet::new();
    for (place, word) in declared.before.iter().enumerate() {
        match Road::parse(word) {
            Some(road) => {
                roads.insert(road);
            }
            None => {
                let known = Road::ALL.map(Road::as_str).join(", ");
                let message = format!("a gate cannot stand before {word:?}");
                inspector
                    .report(
                        format!("{path}/before/{place}"),
                        Code::InvalidValue,
                        message,
                    )
                    .help(format!("known: {known}"));
            }
        }
    }
    if declared.before.is_empty() {
        let message = "a gate that stands before nothing stops nobody";
        inspector
            .report(format!("{path}/before"), Code::Missing, message)
            .help("`before: [up]`, say");
    }
    roads
}

fn opens(
    inspector: &mut Inspector,
    declared: &GateDraft,
    watch: Option<&Watch>,
    path: &str,
) -> Option<Opens> {
    match (&declared.query, &declared.budget) {
        (Some(query), None) => {
            if query.trim().is_empty() || query.len() > QUERY_BYTES_MAX {
                let message = format!("a query has 1 to {QUERY_BYTES_MAX} bytes");
                inspector.report(format!("{path}/query"), Code::InvalidValue, message);
                return None;
            }
            Some(Opens::Query(query.clone()))
        }
        (None, Some(budget)) => {
            let known = watch.map(|watch| watch.objectives.as_slice());
            let known = known.unwrap_or_default().iter();
            let known = known.map(|objective| objective.name.as_str());
            let at = format!("{path}/budget/objective");
            let is_there = inspector.reference(&at, "objective", &budget.objective, known);
            let left = Share::parse(&budget.left_at_least);
            if left.is_none() {
                let message = format!("{:?} is no share of a budget", budget.left_at_least);
                inspector
                    .report(
                        format!("{path}/budget/leftAtLeast"),
                        Code::InvalidValue,
                        message,
                    )
                    .help("write a number from 0 to 1 with six decimals at most, such as 0.25");
            }
            Some(Opens::Budget {
                objective: ObjectiveName::new(&budget.objective)
                    .ok()
                    .filter(|_| is_there)?,
                left_at_least: left?,
            })
        }
        (Some(_), Some(_)) | (None, None) => {
            let message = "a gate opens by one condition";
            inspector
                .report(path, Code::InvalidValue, message)
                .help("give one of query, budget");
            None
        }
    }
}

fn said(inspector: &mut Inspector, declared: &GateDraft, path: &str) {
    let length = declared.reason.trim().len();
    if length == 0 || length > REASON_BYTES_MAX {
        let message = format!("a gate says in 1 to {REASON_BYTES_MAX} bytes why it stands there");
        inspector
            .report(format!("{path}/reason"), Code::InvalidValue, message)
            .help("whoever is stopped by it reads this");
    }
    if let Some(action) = &declared.action
        && !is_action(action)
    {
        let message = format!("{action:?} is no action of an incident");
        inspector
            .report(format!("{path}/action"), Code::InvalidValue, message)
            .help("`mainstay incident action list` shows them: i3/a1, say");
    }
}

fn is_action(text: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().is_ok_and(|number| number > 0);
    let parts = text
        .strip_prefix('i')
        .and_then(|rest| rest.split_once("/a"));
    parts.is_some_and(|(incident, action)| number(incident) && number(action))
}
