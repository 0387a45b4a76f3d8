//! Expressions as they should have been written.

use mainstay_promql::ast::{
    Aggregate, Aggregation, Binary, BinaryOperator, Expr, Kind, Matching, Span,
};
use mainstay_promql::labels::BUCKET;
use mainstay_promql::parse::parse;

use super::expressions::{Compared, families, family, has_le, has_rate, metric};

fn made(kind: Kind) -> Expr {
    Expr {
        kind,
        span: Span::default(),
    }
}

/// Whether any quantile had to be given its buckets.
pub(super) fn sum_by_le(expr: &mut Expr) -> bool {
    let mut changed = false;
    if let Kind::Call {
        function,
        arguments,
    } = &mut expr.kind
        && function.name == "histogram_quantile"
        && let Some(inner) = arguments.get_mut(1)
        && families(inner).iter().any(|name| name.ends_with("_bucket"))
        && !has_le(inner)
    {
        changed = true;
        if let Kind::Aggregate(aggregate) = &mut inner.kind {
            if aggregate.without {
                aggregate.labels.retain(|label| label != BUCKET);
            } else {
                aggregate.labels.insert(0, BUCKET.to_owned());
                aggregate.grouped = true;
            }
        } else {
            *inner = sum(inner.clone(), vec![BUCKET.to_owned()]);
        }
    }
    for child in expr.children_mut() {
        changed |= sum_by_le(child);
    }
    changed
}

fn sum(inner: Expr, labels: Vec<String>) -> Expr {
    let grouped = !labels.is_empty();
    let operator = Aggregation::Sum;
    let aggregate = Aggregate {
        operator,
        inner,
        parameter: None,
        without: false,
        labels,
        grouped,
    };
    made(Kind::Aggregate(Box::new(aggregate)))
}

fn binary(operator: BinaryOperator, left: Expr, right: Expr, matching: Matching) -> Expr {
    let binary = Binary {
        operator,
        left,
        right,
        returns_bool: false,
        matching,
    };
    made(Kind::Binary(Box::new(binary)))
}

/// The name that a counter of all events likely has beside one of failures.
fn of_all(name: &str) -> Option<String> {
    let base = name.strip_suffix("_total")?;
    let words = [
        "_failures",
        "_failure",
        "_errors",
        "_error",
        "_failed",
        "_rejections",
        "_rejected",
        "_timeouts",
    ];
    let stem = words.iter().find_map(|word| base.strip_suffix(word))?;
    let plural = if stem.ends_with('s') {
        stem.to_owned()
    } else {
        format!("{stem}s")
    };
    Some(format!("{plural}_total"))
}

/// `rate(failures) > x` as `sum(rate(failures)) / sum(rate(all)) > x`.
pub(super) fn divide_by_all(expr: &Expr, compared: &Compared) -> Option<Expr> {
    let all = of_all(&compared.metric)?;
    let mut repaired = expr.bare().clone();
    let Kind::Binary(comparison) = &mut repaired.kind else {
        return None;
    };
    let side = if has_rate(&comparison.left) {
        &mut comparison.left
    } else {
        &mut comparison.right
    };
    let numerator = match &side.bare().kind {
        Kind::Aggregate(_) => side.bare().clone(),
        _ => sum(side.bare().clone(), Vec::new()),
    };
    let mut denominator = numerator.clone();
    rename(&mut denominator, &compared.metric, &all);
    *side = binary(
        BinaryOperator::Divide,
        numerator,
        denominator,
        Matching::default(),
    );
    // As text and back, so that what is shown is known to parse.
    parse(&repaired.to_string()).ok()
}

fn rename(expr: &mut Expr, from: &str, to: &str) {
    if metric(expr) == Some(from)
        && let Kind::Selector(selector) = &mut expr.kind
    {
        selector.name = Some(to.to_owned());
        for matcher in &mut selector.matchers {
            if matcher.value == from {
                matcher.value = to.to_owned();
            }
        }
    }
    for child in expr.children_mut() {
        rename(child, from, to);
    }
}

/// The same with a least rate of events, one per second.
pub(super) fn with_floor(expr: &Expr) -> Option<Expr> {
    let traffic = traffic(expr)?;
    let floor = binary(
        BinaryOperator::Greater,
        traffic,
        made(Kind::Number(1.0)),
        Matching::default(),
    );
    let repaired = binary(
        BinaryOperator::And,
        expr.clone(),
        floor,
        Matching::default(),
    );
    parse(&repaired.to_string()).ok()
}

/// The rate of all events that a quantile or share is of, by the same labels.
fn traffic(expr: &Expr) -> Option<Expr> {
    if let Kind::Binary(quotient) = &expr.kind
        && quotient.operator == BinaryOperator::Divide
        && has_rate(&quotient.right)
    {
        return Some(quotient.right.clone());
    }
    if let Kind::Call {
        function,
        arguments,
    } = &expr.kind
        && function.name == "histogram_quantile"
    {
        let mut inner = arguments.get(1)?.bare().clone();
        let name = families(&inner).into_iter().next()?;
        if name.ends_with("_bucket") {
            rename(&mut inner, &name, &format!("{}_count", family(&name)));
            if let Kind::Aggregate(aggregate) = &mut inner.kind {
                aggregate.labels.retain(|label| label != BUCKET);
            }
        } else {
            inner = parse(&format!("histogram_count({inner})")).ok()?;
        }
        return Some(inner);
    }
    expr.children().into_iter().find_map(traffic)
}

/// A raw counter as its growth over five minutes.
pub(super) fn with_increase(expr: &Expr, name: &str) -> String {
    fn wrap(expr: &mut Expr, name: &str) {
        if metric(expr) == Some(name)
            && matches!(&expr.kind, Kind::Selector(s) if s.range.is_none())
        {
            if let Ok(wrapped) = parse(&format!("increase({expr}[5m])")) {
                *expr = wrapped;
            }
            return;
        }
        for child in expr.children_mut() {
            wrap(child, name);
        }
    }
    let mut repaired = expr.clone();
    wrap(&mut repaired, name);
    repaired.to_string()
}
