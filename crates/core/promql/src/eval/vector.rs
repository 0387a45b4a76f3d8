//! Functions that change each float of a vector by itself, and those that put a vector in order.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::calendar::Date;
use super::{Evaluator, Item, Outcome, refuse};
use crate::ast::Expr;
use crate::labels::Labels;
use crate::number::seconds;
use crate::sample::Value;

impl Evaluator<'_> {
    pub(super) fn simple_call(
        &mut self,
        name: &str,
        arguments: &[Expr],
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let Some((inner, rest)) = arguments.split_first() else {
            // Functions of time without an argument mean the moment of evaluation.
            let value = date_part(name, seconds(at));
            let Some(value) = value else {
                return refuse("function without its argument");
            };
            let value = Value::Float(value);
            return Ok(alloc::vec![Item {
                labels: Labels::default(),
                value,
                at,
                drop_name: false
            }]);
        };
        let mut items = self.vector(inner, at)?;
        let mut parameters = [f64::NAN; 2];
        for (place, argument) in parameters.iter_mut().zip(rest) {
            *place = self.scalar(argument, at)?;
        }
        if name == "round" && rest.is_empty() {
            parameters[0] = 1.0;
        }
        if name == "clamp" && parameters[1] < parameters[0] {
            return Ok(Vec::new());
        }
        items.retain(|item| item.value.float().is_some());
        for item in &mut items {
            let value = item.value.float().unwrap_or(f64::NAN);
            let Some(value) = changed(name, value, parameters).or_else(|| date_part(name, value))
            else {
                return refuse(alloc::format!("unknown function {name}"));
            };
            item.value = Value::Float(value);
        }
        self.rename(&mut items)?;
        Ok(items)
    }

    pub(super) fn sorted(&mut self, inner: &Expr, descending: bool, at: i64) -> Outcome<Vec<Item>> {
        let mut items = self.vector(inner, at)?;
        items.retain(|item| item.value.float().is_some());
        items.sort_by(|a, b| {
            let (a, b) = (
                a.value.float().unwrap_or(f64::NAN),
                b.value.float().unwrap_or(f64::NAN),
            );
            let order = a
                .partial_cmp(&b)
                .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
            if descending && !a.is_nan() && !b.is_nan() {
                order.reverse()
            } else {
                order
            }
        });
        Ok(items)
    }

    pub(super) fn sorted_by_label(
        &mut self,
        inner: &Expr,
        labels: &[Expr],
        descending: bool,
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let names: Vec<_> = labels
            .iter()
            .map(|l| alloc::string::String::from_utf8_lossy(self.text(l)))
            .collect();
        let mut items = self.vector(inner, at)?;
        items.sort_by(|a, b| {
            let by_name = names
                .iter()
                .map(|name| natural(a.labels.get(name), b.labels.get(name)));
            let order = by_name.into_iter().find(|order| order.is_ne());
            let order = order.unwrap_or_else(|| a.labels.cmp(&b.labels));
            if descending { order.reverse() } else { order }
        });
        Ok(items)
    }
}

/// As Go's `math.Max` and `math.Min`, where NaN wins.
fn clamped(value: f64, least: f64, most: f64) -> f64 {
    if value.is_nan() || least.is_nan() || most.is_nan() {
        f64::NAN
    } else {
        value.min(most).max(least)
    }
}

fn changed(name: &str, value: f64, [first, second]: [f64; 2]) -> Option<f64> {
    Some(match name {
        "abs" => value.abs(),
        "ceil" => libm::ceil(value),
        "floor" => libm::floor(value),
        "exp" => libm::exp(value),
        "sqrt" => libm::sqrt(value),
        "ln" => libm::log(value),
        "log2" => libm::log2(value),
        "log10" => libm::log10(value),
        "sin" => libm::sin(value),
        "cos" => libm::cos(value),
        "tan" => libm::tan(value),
        "asin" => libm::asin(value),
        "acos" => libm::acos(value),
        "atan" => libm::atan(value),
        "sinh" => libm::sinh(value),
        "cosh" => libm::cosh(value),
        "tanh" => libm::tanh(value),
        "asinh" => libm::asinh(value),
        "acosh" => libm::acosh(value),
        "atanh" => libm::atanh(value),
        "rad" => value * core::f64::consts::PI / 180.0,
        "deg" => value * 180.0 / core::f64::consts::PI,
        "sgn" if value < 0.0 => -1.0,
        "sgn" if value > 0.0 => 1.0,
        "sgn" => value,
        // Halves go up; the inverse keeps more digits than the divisor.
        "round" => libm::floor(value * (1.0 / first) + 0.5) / (1.0 / first),
        "clamp" => clamped(value, first, second),
        "clamp_min" => clamped(value, first, f64::INFINITY),
        "clamp_max" => clamped(value, f64::NEG_INFINITY, first),
        _ => return None,
    })
}

fn date_part(name: &str, value: f64) -> Option<f64> {
    let date = Date::of(value);
    Some(f64::from(match name {
        "year" => date.year,
        "month" => date.month,
        "day_of_month" => date.day,
        "day_of_year" => date.day_of_year,
        "day_of_week" => date.day_of_week,
        "days_in_month" => date.days_in_month,
        "hour" => date.hour,
        "minute" => date.minute,
        _ => return None,
    }))
}

/// Digits count as numbers: `a2` comes before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (chunks(a), chunks(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => {
                let order = match (left.parse::<u64>(), right.parse::<u64>()) {
                    (Ok(l), Ok(r)) => l.cmp(&r).then_with(|| left.cmp(right)),
                    _ => left.cmp(right),
                };
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let is_number = rest.chars().next()?.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != is_number)
            .unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end);
        rest = after;
        Some(chunk)
    })
}
