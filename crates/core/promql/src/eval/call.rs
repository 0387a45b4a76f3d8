//! Which function does what: the place where names meet code.

use alloc::vec::Vec;

use super::{Evaluator, Item, Outcome, refuse};
use crate::ast::{Expr, Kind, Type};
use crate::labels::Labels;
use crate::number::seconds;
use crate::sample::Value;

impl Evaluator<'_> {
    pub(super) fn scalar_call(&mut self, name: &str, arguments: &[Expr], at: i64) -> Outcome<f64> {
        match (name, arguments) {
            ("time", _) => Ok(seconds(at)),
            ("pi", _) => Ok(core::f64::consts::PI),
            ("start", _) => Ok(seconds(self.start)),
            ("end", _) => Ok(seconds(self.end)),
            ("step", _) => Ok(seconds(self.step)),
            ("range", _) => Ok(seconds(self.end.saturating_sub(self.start))),
            ("min_of" | "max_of", [left, right]) => {
                let (left, right) = (self.scalar(left, at)?, self.scalar(right, at)?);
                Ok(match name {
                    _ if left.is_nan() || right.is_nan() => f64::NAN,
                    "min_of" => left.min(right),
                    _ => left.max(right),
                })
            }
            ("scalar", [inner]) => {
                let items = self.vector(inner, at)?;
                let mut floats = items.iter().filter_map(|item| item.value.float());
                Ok(match (floats.next(), floats.next()) {
                    (Some(only), None) => only,
                    _ => f64::NAN,
                })
            }
            _ => refuse(alloc::format!("{name} gives no scalar")),
        }
    }

    pub(super) fn call(&mut self, name: &str, arguments: &[Expr], at: i64) -> Outcome<Vec<Item>> {
        if let Some(place) = arguments.iter().position(|a| a.kind_of() == Type::Matrix) {
            return self.range_call(name, arguments, place, at);
        }
        match (name, arguments) {
            ("vector", [inner]) => {
                let value = Value::Float(self.scalar(inner, at)?);
                Ok(alloc::vec![Item {
                    labels: Labels::default(),
                    value,
                    at,
                    drop_name: false
                }])
            }
            ("absent", [inner]) => {
                let found = !self.vector(inner, at)?.is_empty();
                Ok(absent(inner, found, at))
            }
            ("timestamp", [inner]) => {
                let mut items = self.vector(inner, at)?;
                let taken = matches!(inner.bare().kind, Kind::Selector(_));
                for item in &mut items {
                    item.value = Value::Float(seconds(if taken { item.at } else { at }));
                }
                self.rename(&mut items)?;
                Ok(items)
            }
            ("start_timestamp", [inner]) => {
                let mut items = match &inner.bare().kind {
                    Kind::Selector(selector) if self.options.start_times => {
                        self.started(selector, at)?
                    }
                    // Only what was collected has a start, and only where starts are asked for.
                    _ => Vec::new(),
                };
                self.rename(&mut items)?;
                Ok(items)
            }
            ("label_replace", [inner, rest @ ..]) => self.label_replace(inner, rest, at),
            ("label_join", [inner, rest @ ..]) => self.label_join(inner, rest, at),
            ("sort" | "sort_desc", [inner]) => self.sorted(inner, name == "sort_desc", at),
            ("sort_by_label" | "sort_by_label_desc", [inner, labels @ ..]) => {
                self.sorted_by_label(inner, labels, name == "sort_by_label_desc", at)
            }
            ("info", [inner, rest @ ..]) => self.info(inner, rest.first(), at),
            ("histogram_quantile" | "histogram_quantiles" | "histogram_fraction", _) => {
                self.bucket_call(name, arguments, at)
            }
            (
                "histogram_count" | "histogram_sum" | "histogram_avg" | "histogram_stddev"
                | "histogram_stdvar",
                [inner],
            ) => self.native_call(name, inner, at),
            _ => self.simple_call(name, arguments, at),
        }
    }

    fn range_call(
        &mut self,
        name: &str,
        arguments: &[Expr],
        place: usize,
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let Some(inner) = arguments.get(place) else {
            return refuse("expected a range vector");
        };
        if let Kind::Selector(selector) = &inner.bare().kind {
            super::edges::check(selector.edges, name)?;
        }
        let mut parameters = Vec::new();
        for (other, argument) in arguments.iter().enumerate() {
            if other != place {
                parameters.push(self.scalar(argument, at)?);
            }
        }
        let windows = self.matrix(inner, at)?;
        if name == "absent_over_time" {
            return Ok(absent(inner, !windows.series.is_empty(), at));
        }
        self.over_windows(name, windows, &parameters, at)
    }
}

fn absent(inner: &Expr, found: bool, at: i64) -> Vec<Item> {
    if found {
        return Vec::new();
    }
    let labels = match &inner.bare().kind {
        Kind::Selector(selector) => selector.certain_labels(),
        _ => Labels::default(),
    };
    alloc::vec![Item {
        labels,
        value: Value::Float(1.0),
        at,
        drop_name: false
    }]
}
