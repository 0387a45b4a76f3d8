//! Whether the types of a tree fit, and whether it is not too deep.

use alloc::format;

use super::DEPTH_MAX;
use crate::ast::{Aggregate, Binary, Cardinality, Expr, Fill, Kind, Span, Type};
use crate::functions::Function;
use crate::lex::{Fault, fault};
use crate::matcher::Matcher;

/// Level by level, so that the check itself does not recurse.
pub(super) fn depth(expr: &Expr) -> Result<(), Fault> {
    let mut level = alloc::vec![expr];
    for _ in 0..DEPTH_MAX {
        level = level.into_iter().flat_map(Expr::children).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    fault(expr.span, format!("expression is deeper than {DEPTH_MAX}"))
}

fn expect(expr: &Expr, wanted: Type, context: &str) -> Result<(), Fault> {
    let found = expr.kind_of();
    if found == wanted {
        return Ok(());
    }
    let (wanted, found) = (wanted.name(), found.name());
    fault(
        expr.span,
        format!("expected type {wanted} in {context}, got {found}"),
    )
}

pub(super) fn binary(binary: &Binary, matching: bool, place: Span) -> Result<(), Fault> {
    let operator = binary.operator;
    for side in [&binary.left, &binary.right] {
        if !matches!(side.kind_of(), Type::Scalar | Type::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return fault(side.span, message);
        }
    }
    let both = |wanted| binary.left.kind_of() == wanted && binary.right.kind_of() == wanted;
    if binary.returns_bool && !operator.is_comparison() {
        return fault(
            place,
            "bool modifier can only be used on comparison operators",
        );
    }
    if operator.is_comparison() && both(Type::Scalar) && !binary.returns_bool {
        return fault(place, "comparisons between scalars must use BOOL modifier");
    }
    if operator.is_set() && !both(Type::Vector) {
        let symbol = operator.symbol();
        return fault(
            place,
            format!("set operator {symbol:?} not allowed in binary scalar expression"),
        );
    }
    if operator.is_trim() && both(Type::Scalar) {
        let symbol = operator.symbol();
        return fault(
            place,
            format!(
                "operator {symbol:?} not allowed for Scalar operations, only for a histogram and a scalar"
            ),
        );
    }
    if binary.matching.fill != Fill::default() && !both(Type::Vector) {
        return fault(
            place,
            "filling in missing series only allowed between instant vectors",
        );
    }
    if matching && !both(Type::Vector) {
        return fault(
            place,
            "vector matching only allowed between instant vectors",
        );
    }
    let shared = |label| binary.matching.labels.contains(label);
    if binary.matching.on
        && binary.matching.cardinality != Cardinality::OneToOne
        && let Some(label) = binary.matching.include.iter().find(|label| shared(label))
    {
        return fault(
            place,
            format!("label {label:?} must not occur in ON and GROUP clause at once"),
        );
    }
    Ok(())
}

pub(super) fn aggregate(aggregate: &Aggregate) -> Result<(), Fault> {
    expect(&aggregate.inner, Type::Vector, "aggregation expression")?;
    match (&aggregate.parameter, aggregate.operator.parameter()) {
        (Some(parameter), Some(wanted)) => expect(parameter, wanted, "aggregation parameter"),
        _ => Ok(()),
    }
}

pub(super) fn call(function: &Function, arguments: &[Expr], place: Span) -> Result<(), Fault> {
    let (least, most) = function.arity();
    let (name, found) = (function.name, arguments.len());
    if found < least || most.is_some_and(|most| found > most) {
        let (word, wanted) = match most {
            Some(most) if most == least => ("", least),
            Some(most) if found > most => ("at most ", most),
            _ => ("at least ", least),
        };
        let message =
            format!("expected {word}{wanted} argument(s) in call to {name:?}, got {found}");
        return fault(place, message);
    }
    for (at, argument) in arguments.iter().enumerate() {
        if let Some(wanted) = function.argument(at) {
            expect(argument, wanted, &format!("call to function {name:?}"))?;
        }
    }
    if name == "info"
        && arguments
            .get(1)
            .is_some_and(|a| !matches!(a.kind, Kind::Selector(_)))
    {
        return fault(place, "expected label selectors only");
    }
    Ok(())
}

/// A selector of everything is refused.
pub(super) fn selector(matchers: &[Matcher], span: Span) -> Result<(), Fault> {
    if matchers.iter().all(|matcher| matcher.holds("")) {
        return fault(
            span,
            "vector selector must contain at least one non-empty matcher",
        );
    }
    Ok(())
}
