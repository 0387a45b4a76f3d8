//! Alerts that a playbook names, and that no rule raises: a trigger that never comes, a condition that always holds.

use std::collections::BTreeSet;

use mainstay_model::nearest::nearest;
use mainstay_playbook::names_in;

use crate::diagnostic::{Diagnostic, Fault};
use crate::playbook::read;
use crate::playbook_file::{ConditionForm, PlaybookFile};

/// A name that no rule raises.
const UNKNOWN_ALERT: &str = "unknown-alert";

/// Names of alerts in a playbook that are none of `known`: all that the platform's rules can raise.
///
/// # Errors
/// What makes the playbook unreadable.
pub fn unknown_alerts(
    path: &str,
    text: &str,
    known: &BTreeSet<String>,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let (source, form, tree) = read(path, text)?;
    let named = named(&form).into_iter();
    let unknown =
        named.filter(|named| names_in(named.alert).is_empty() && !known.contains(named.alert));
    let faults = unknown.map(|named| {
        let help = match nearest(named.alert, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "no rule of the platform raises an alert at all".to_owned(),
            None => "name an alert of spec.watch.rules, or add its rule there".to_owned(),
        };
        let message = format!("no rule raises {}: {}", named.alert, named.so);
        Fault::new(tree.locate(&named.path), UNKNOWN_ALERT, message).help(&help)
    });
    Ok(source.all(faults.collect()))
}

struct Named<'f> {
    path: String,
    alert: &'f str,
    /// What comes of it.
    so: &'static str,
}

fn quiet(path: String, condition: Option<&ConditionForm>) -> Option<(String, &str)> {
    let alert = condition?.quiet.as_deref()?;
    Some((format!("{path}/quiet"), alert))
}

fn named(form: &PlaybookFile) -> Vec<Named<'_>> {
    let mut named = Vec::new();
    for (index, trigger) in form.spec.triggers.iter().enumerate() {
        let labels = trigger.alert.iter().flat_map(|alert| &alert.labels);
        named.extend(
            labels
                .filter(|(name, _)| *name == "alertname")
                .map(|(_, alert)| Named {
                    path: format!("/spec/triggers/{index}/alert/labels/alertname"),
                    alert,
                    so: "the trigger never comes",
                }),
        );
    }
    let mut conditions = Vec::new();
    let guard = form.spec.guardrails.condition.as_ref();
    conditions.extend(quiet("/spec/guardrails/condition".to_owned(), guard));
    for (index, step) in form.spec.steps.iter().enumerate() {
        let path = format!("/spec/steps/{index}");
        let verify = step.verify.as_ref().map(|verify| &verify.condition);
        let undone = step.compensate.as_ref();
        for (place, condition) in [
            ("when", step.when.as_ref()),
            ("action/wait", step.action.wait.as_ref()),
            ("verify/condition", verify),
            (
                "compensate/wait",
                undone.and_then(|undo| undo.wait.as_ref()),
            ),
        ] {
            conditions.extend(quiet(format!("{path}/{place}"), condition));
        }
    }
    named.extend(conditions.into_iter().map(|(path, alert)| Named {
        path,
        alert,
        so: "the condition holds, whatever happens",
    }));
    named
}
