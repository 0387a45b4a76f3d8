//! Whether what an alert is about was measured at all when its condition was not found.
//!
//! An alert's labels came from series. If no series that its rule selects fits those labels any more, the
//! condition did not end: nobody knows. A series fits if it has no other value for any of the labels; a
//! label that it lacks was joined or written by the rule.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_promql::ast::{BinaryOperator, Cardinality, Edges, Expr, Kind, Matching, Selector};
use mainstay_promql::eval::{Options, Output};
use mainstay_promql::functions::find;
use mainstay_promql::labels::Labels;

use crate::group::Storage;

/// Whoever is asked: the labels that each target puts on its series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    targets: Vec<Labels>,
    names: BTreeSet<String>,
}

impl Asked {
    pub fn new(targets: Vec<Labels>) -> Self {
        let own = ["instance", "job"].map(str::to_owned);
        let given = targets.iter().flat_map(Labels::iter);
        let names = given.map(|(name, _)| name.to_owned()).chain(own).collect();
        Self { targets, names }
    }

    /// Whether a target may give series with these labels. What no target puts on its series may come from anywhere.
    pub fn may_give(&self, labels: &Labels) -> bool {
        let of_targets = labels.keep(|name| self.names.contains(name));
        let unknown = of_targets.iter().next().is_none();
        unknown || self.targets.iter().any(|target| fits(target, &of_targets))
    }
}

/// What each selector of a rule sees at one moment.
pub struct Scene<'a> {
    expr: &'a Expr,
    seen: BTreeMap<usize, Vec<Labels>>,
}

impl<'a> Scene<'a> {
    pub fn new(expr: &'a Expr, storage: &dyn Storage, at: i64, options: &Options) -> Self {
        let mut seen = BTreeMap::new();
        expr.walk(&mut |expr| {
            let Kind::Selector(selector) = &expr.kind else {
                return;
            };
            let given = storage.ask(&last_of(expr, selector), at, options);
            let labels = match given.map(|given| given.output) {
                Ok(Output::Vector(items)) => items.into_iter().map(|item| item.labels).collect(),
                Ok(Output::Matrix(_) | Output::Scalar(_) | Output::String(_)) | Err(_) => {
                    Vec::new()
                }
            };
            seen.insert(selector.id, labels);
        });
        Self { expr, seen }
    }

    /// Whether the series behind an alert with these labels are there.
    pub fn shows(&self, labels: &Labels) -> bool {
        self.visible(self.expr, labels)
    }

    fn visible(&self, expr: &Expr, labels: &Labels) -> bool {
        match &expr.kind {
            Kind::Selector(selector) => {
                let all = self.seen.get(&selector.id).map_or(&[][..], Vec::as_slice);
                all.iter().any(|series| fits(series, labels))
            }
            Kind::Binary(binary) => {
                let left = self.visible(&binary.left, labels);
                let right = || self.visible(&binary.right, labels);
                match (binary.operator, filled(&binary.matching)) {
                    (BinaryOperator::Or, _) | (_, (true, true)) => left || right(),
                    (BinaryOperator::Unless, _) | (_, (false, true)) => left,
                    (_, (true, false)) => right(),
                    (_, (false, false)) => left && right(),
                }
            }
            // About absence itself; a constant is always there.
            Kind::Call { function, .. }
                if matches!(function.name, "absent" | "absent_over_time" | "vector") =>
            {
                true
            }
            _ => expr
                .children()
                .into_iter()
                .all(|child| self.visible(child, labels)),
        }
    }
}

/// Whether a value stands in for a missing left and right side.
const fn filled(matching: &Matching) -> (bool, bool) {
    let fill = &matching.fill;
    match matching.cardinality {
        Cardinality::OneToMany => (fill.right.is_some(), fill.left.is_some()),
        Cardinality::OneToOne | Cardinality::ManyToOne => {
            (fill.left.is_some(), fill.right.is_some())
        }
    }
}

/// Of a window, its last sample is enough, and what lies beyond its edges was not measured in it.
fn last_of(expr: &Expr, selector: &Selector) -> Expr {
    let within = Expr {
        kind: Kind::Selector(Selector {
            edges: Edges::Open,
            ..selector.clone()
        }),
        span: expr.span,
    };
    match (&selector.range, find("last_over_time")) {
        (Some(_), Some(function)) => Expr {
            kind: Kind::Call {
                function,
                arguments: vec![within],
            },
            span: expr.span,
        },
        _ => within,
    }
}

fn fits(series: &Labels, labels: &Labels) -> bool {
    labels.iter().all(|(name, value)| {
        let own = series.get(name);
        own.is_empty() || own == value
    })
}
