//! What an expression is about, as far as the linter asks.

use std::collections::BTreeSet;

use mainstay_promql::ast::{Aggregation, Binary, BinaryOperator, Expr, Kind};
use mainstay_promql::labels::{BUCKET, NAME};
use mainstay_promql::matcher::Operator;

const RATES: [&str; 4] = ["rate", "increase", "irate", "delta"];

/// The metric that a selector names.
pub(super) fn metric(expr: &Expr) -> Option<&str> {
    let Kind::Selector(selector) = &expr.kind else {
        return None;
    };
    let named =
        |m: &&mainstay_promql::matcher::Matcher| m.label == NAME && m.operator == Operator::Equal;
    selector
        .matchers
        .iter()
        .find(named)
        .map(|matcher| matcher.value.as_str())
}

/// The histogram or summary that a metric belongs to, else the metric.
pub(super) fn family(name: &str) -> String {
    let ends = ["_bucket", "_count", "_sum"];
    let base = ends.iter().find_map(|end| name.strip_suffix(end));
    base.unwrap_or(name).to_owned()
}

fn is_call(expr: &Expr, names: &[&str]) -> bool {
    matches!(&expr.kind, Kind::Call { function, .. } if names.contains(&function.name))
}

fn any(expr: &Expr, wanted: impl Fn(&Expr) -> bool) -> bool {
    let mut found = false;
    expr.walk(&mut |expr| found |= wanted(expr));
    found
}

pub(super) fn has_rate(expr: &Expr) -> bool {
    any(expr, |expr| is_call(expr, &RATES))
}

/// Metrics that are asked for, each once, in the order of the text.
pub(super) fn families(expr: &Expr) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    expr.walk(&mut |expr| {
        if let Some(name) = metric(expr)
            && !names.iter().any(|other| family(other) == family(name))
        {
            names.push(name.to_owned());
        }
    });
    names
}

/// Families whose absence is alerted on.
pub(super) fn watched(expr: &Expr, names: &mut BTreeSet<String>) {
    expr.walk(&mut |expr| {
        if is_call(expr, &["absent", "absent_over_time"]) {
            names.extend(families(expr).iter().map(|name| family(name)));
        }
    });
}

/// Whether somebody notices when the samples are gone. Of a quotient it is enough that the whole is watched,
/// since failures may truly never have happened.
pub(super) fn guarded(expr: &Expr, absent: &BTreeSet<String>) -> bool {
    match &expr.kind {
        Kind::Selector(_) => metric(expr).is_none_or(|name| absent.contains(&family(name))),
        Kind::Call { .. } if is_call(expr, &["absent", "absent_over_time"]) => true,
        Kind::Binary(binary) => {
            let (left, right) = (
                guarded(&binary.left, absent),
                guarded(&binary.right, absent),
            );
            match binary.operator {
                BinaryOperator::Divide if families(&binary.right).is_empty() => left,
                BinaryOperator::Divide => right,
                BinaryOperator::Unless => left,
                _ => left && right,
            }
        }
        _ => expr
            .children()
            .into_iter()
            .all(|child| guarded(child, absent)),
    }
}

/// A comparison of an expression with a number that is greater when it is worse.
fn threshold(binary: &Binary) -> Option<(&Expr, f64)> {
    use BinaryOperator as Op;
    match (
        &binary.left.bare().kind,
        &binary.right.bare().kind,
        binary.operator,
    ) {
        (_, Kind::Number(value), Op::Greater | Op::GreaterOrEqual) => Some((&binary.left, *value)),
        (Kind::Number(value), _, Op::Less | Op::LessOrEqual) => Some((&binary.right, *value)),
        _ => None,
    }
}

/// Parts that are joined by `and`.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match &expr.bare().kind {
        Kind::Binary(binary) if binary.operator == BinaryOperator::And => {
            let mut parts = conjuncts(&binary.left);
            parts.extend(conjuncts(&binary.right));
            parts
        }
        _ => vec![expr.bare()],
    }
}

fn is_quotient_of_rates(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Binary(binary)
        if binary.operator == BinaryOperator::Divide && has_rate(&binary.left) && has_rate(&binary.right))
}

pub(super) fn needs_floor(expr: &Expr) -> bool {
    any(expr, |expr| {
        is_call(expr, &["histogram_quantile"]) || is_quotient_of_rates(expr)
    }) && any(
        expr,
        |expr| matches!(&expr.kind, Kind::Binary(binary) if binary.operator.is_comparison()),
    )
}

/// A part of its own that asks for a least number or rate of events.
pub(super) fn has_floor(expr: &Expr) -> bool {
    let parts = conjuncts(expr);
    parts.len() > 1
        && parts.iter().any(|part| match &part.kind {
            Kind::Binary(binary) => threshold(binary).is_some_and(|(side, _)| {
                let counts = has_rate(side) || any(side, |e| is_call(e, &["count_over_time"]));
                counts && !needs_floor(part)
            }),
            _ => false,
        })
}

/// Families whose quantile is compared, and with what.
pub(super) fn quantile_thresholds(expr: &Expr) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    expr.walk(&mut |expr| {
        let Kind::Binary(binary) = &expr.kind else {
            return;
        };
        let Some((side, value)) = threshold(binary) else {
            return;
        };
        if let Kind::Call {
            function,
            arguments,
        } = &side.bare().kind
            && function.name == "histogram_quantile"
            && let Some(name) = arguments
                .get(1)
                .and_then(|inner| families(inner).into_iter().next())
            && name.ends_with("_bucket")
        {
            found.push((family(&name), value));
        }
    });
    found
}

/// A rate that is compared with a number below 1, not divided by anything.
pub(super) struct Compared {
    pub(super) what: String,
    pub(super) metric: String,
    pub(super) threshold: f64,
}

pub(super) fn compared_rate(expr: &Expr) -> Option<Compared> {
    let Kind::Binary(binary) = &expr.bare().kind else {
        return None;
    };
    let (side, threshold) = threshold(binary)?;
    let divides = any(
        side,
        |expr| matches!(&expr.kind, Kind::Binary(inner) if inner.operator == BinaryOperator::Divide),
    );
    let is_quantile = any(side, |expr| {
        is_call(expr, &["histogram_quantile", "histogram_fraction"])
    });
    if !has_rate(side) || divides || is_quantile || threshold >= 1.0 {
        return None;
    }
    let metric = families(side).into_iter().next()?;
    Some(Compared {
        what: side.to_string(),
        metric,
        threshold,
    })
}

/// A counter that is compared as it stands.
pub(super) fn raw_counter(expr: &Expr) -> Option<String> {
    let mut found = None;
    expr.walk(&mut |expr| {
        let Kind::Binary(binary) = &expr.kind else {
            return;
        };
        let Some((side, _)) = threshold(binary) else {
            return;
        };
        let inner = match &side.bare().kind {
            Kind::Aggregate(aggregate) => aggregate.inner.bare(),
            _ => side.bare(),
        };
        if let Some(name) = metric(inner).filter(|name| name.ends_with("_total")) {
            found = Some(name.to_owned());
        }
    });
    found
}

/// Whether the buckets that a quantile is asked of are still apart and belong together.
pub(super) fn has_le(inner: &Expr) -> bool {
    match &inner.bare().kind {
        Kind::Aggregate(aggregate) => {
            let named = aggregate.labels.iter().any(|label| label == BUCKET);
            named != aggregate.without
                && matches!(aggregate.operator, Aggregation::Sum | Aggregation::Avg)
        }
        _ => false,
    }
}
