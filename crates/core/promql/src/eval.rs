//! Works a tree from the leaves up, for one moment at a time; a range is the same at every step.
//!
//! A value that changed its meaning loses its name. With [`Options::delayed_names`] (what Prometheus's own
//! evaluation cases run with) the name stays readable until the end, so that `label_replace` and
//! grouping may still use it; without (the default of its server), it goes at once.

mod aggregate;
mod binary;
mod calendar;
mod call;
mod classic;
mod edges;
mod info;
mod labelling;
mod native;
mod over_time;
mod quantile;
mod rate;
mod reach;
mod select;
mod vector;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::annotation::Annotations;
use crate::ast::{Expr, Kind, Length, LengthOperator, Type};
use crate::histogram::Bounds;
use crate::labels::Labels;
use crate::number::{milliseconds, seconds};
use crate::sample::{Sample, Series, Source, Value};

/// What one question may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples looked at, over all steps.
    pub samples: usize,
    /// Steps of a range, and of each subquery at each step.
    pub steps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            samples: 50_000_000,
            steps: 50_000,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a sample stays current, milliseconds.
    pub lookback: i64,
    /// Step of a subquery that names none, milliseconds.
    pub subquery_step: i64,
    pub delayed_names: bool,
    /// Whether `rate`, `increase`, `irate` and `resets` believe the moments since when counters count, where
    /// samples have them. Prometheus's server does so only if `use-start-timestamps` is switched on.
    pub start_times: bool,
    pub bounds: Bounds,
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback: 300_000,
            subquery_step: 60_000,
            delayed_names: false,
            start_times: false,
            bounds: Bounds::default(),
            limits: Limits::default(),
        }
    }
}

/// One sample of an instant vector.
#[derive(Clone, Debug)]
pub struct Item {
    pub labels: Labels,
    pub value: Value,
    /// When the sample was taken, where it is known; otherwise the moment of evaluation.
    pub at: i64,
    pub(crate) drop_name: bool,
}

impl Item {
    pub fn of(labels: Labels, value: Value, at: i64) -> Self {
        Self {
            labels,
            value,
            at,
            drop_name: false,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Output {
    Scalar(f64),
    String(String),
    Vector(Vec<Item>),
    Matrix(Vec<Series>),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub output: Output,
    pub annotations: Annotations,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Meaning(String),
    #[error("query looks at more than {0} samples")]
    Samples(usize),
    #[error("query has more than {0} steps")]
    Steps(usize),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

pub(crate) fn refuse<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Failure::Meaning(message.into()))
}

/// Asks at one moment.
pub fn instant(
    expr: &Expr,
    source: &dyn Source,
    at: i64,
    options: &Options,
) -> Result<Answer, Failure> {
    let mut evaluator = Evaluator::new(expr, source, (at, at, 0), options)?;
    let output = match expr.kind_of() {
        Type::Scalar => Output::Scalar(evaluator.scalar(expr, at)?),
        Type::String => Output::String(String::from_utf8_lossy(evaluator.text(expr)).into_owned()),
        Type::Vector => Output::Vector(evaluator.named(expr, at)?),
        Type::Matrix => {
            let mut windows = evaluator.matrix(expr, at)?;
            evaluator.close(&mut windows);
            let series = windows.series.into_iter().map(|window| Series {
                labels: if window.drop_name {
                    window.labels.without_metadata()
                } else {
                    window.labels
                },
                samples: window.samples.into_vec(),
                ..Series::default()
            });
            Output::Matrix(series.collect())
        }
    };
    Ok(Answer {
        output,
        annotations: evaluator.annotations,
    })
}

/// A scalar as the vector that rules take it for.
pub fn scalar_item(value: f64, at: i64) -> Vec<Item> {
    alloc::vec![Item::of(Labels::default(), Value::Float(value), at)]
}

/// Asks at `start`, and every `step` milliseconds until `end`.
pub fn range(
    expr: &Expr,
    source: &dyn Source,
    (start, end, step): (i64, i64, i64),
    options: &Options,
) -> Result<Answer, Failure> {
    if step <= 0 {
        return refuse("zero or negative query resolution step widths are not accepted");
    }
    if !matches!(expr.kind_of(), Type::Scalar | Type::Vector) {
        let found = expr.kind_of().name();
        return refuse(format!(
            "invalid expression type {found:?} for range query, must be Scalar or instant Vector"
        ));
    }
    let mut evaluator = Evaluator::new(expr, source, (start, end, step), options)?;
    let mut found: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    let mut at = start;
    for count in 0.. {
        if at > end {
            break;
        }
        if count >= options.limits.steps {
            return Err(Failure::Steps(options.limits.steps));
        }
        if expr.kind_of() == Type::Scalar {
            let value = Value::Float(evaluator.scalar(expr, at)?);
            found
                .entry(Labels::default())
                .or_default()
                .push(Sample { at, value });
        } else {
            for item in evaluator.named(expr, at)? {
                let sample = Sample {
                    at,
                    value: item.value,
                };
                found.entry(item.labels).or_default().push(sample);
            }
        }
        let Some(next) = at.checked_add(step) else {
            break;
        };
        at = next;
    }
    let series = found.into_iter().map(|(labels, samples)| Series {
        labels,
        samples,
        ..Series::default()
    });
    Ok(Answer {
        output: Output::Matrix(series.collect()),
        annotations: evaluator.annotations,
    })
}

pub(crate) struct Evaluator<'a> {
    source: &'a dyn Source,
    options: &'a Options,
    start: i64,
    end: i64,
    step: i64,
    /// First and last moment that each selector may look at.
    reach: BTreeMap<usize, (i64, i64)>,
    found: BTreeMap<usize, Arc<Vec<Arc<Series>>>>,
    /// Selectors of whose histograms only counts and sums are asked.
    counted: BTreeSet<usize>,
    annotations: Annotations,
    samples: usize,
}

impl<'a> Evaluator<'a> {
    fn new(
        expr: &Expr,
        source: &'a dyn Source,
        (start, end, step): (i64, i64, i64),
        options: &'a Options,
    ) -> Outcome<Self> {
        let mut evaluator = Self {
            source,
            options,
            start,
            end,
            step,
            reach: BTreeMap::new(),
            found: BTreeMap::new(),
            counted: BTreeSet::new(),
            annotations: Annotations::default(),
            samples: 0,
        };
        evaluator.reach_of(expr, start, end)?;
        evaluator.count_only(expr, false);
        Ok(evaluator)
    }

    /// Counts samples against the limit.
    fn charge(&mut self, samples: usize) -> Outcome<()> {
        self.samples = self.samples.saturating_add(samples);
        if self.samples > self.options.limits.samples {
            return Err(Failure::Samples(self.options.limits.samples));
        }
        Ok(())
    }

    /// A vector as it leaves the query: names dropped, no labels twice.
    fn named(&mut self, expr: &Expr, at: i64) -> Outcome<Vec<Item>> {
        let mut items = self.vector(expr, at)?;
        if items.iter().any(|item| item.drop_name) {
            for item in items.iter_mut().filter(|item| item.drop_name) {
                item.labels = item.labels.without_metadata();
                item.drop_name = false;
            }
            distinct(&items)?;
        }
        Ok(items)
    }

    /// Marks samples whose meaning changed; without delay their name goes at once.
    pub(crate) fn rename(&self, items: &mut [Item]) -> Outcome<()> {
        if self.options.delayed_names {
            items.iter_mut().for_each(|item| item.drop_name = true);
            return Ok(());
        }
        // Series that are told apart by other labels still are without the name.
        let of_one_name = items
            .windows(2)
            .all(|two| two[0].labels.has_metadata_of(&two[1].labels));
        for item in items.iter_mut() {
            item.labels = item.labels.without_metadata();
        }
        if of_one_name {
            return Ok(());
        }
        distinct(items)
    }

    pub(crate) fn milliseconds(&self, length: &Length) -> Outcome<i64> {
        let found = self.seconds(length).and_then(milliseconds);
        // A thousand years are enough, and sums of a few of them do not overflow.
        match found.filter(|length| length.abs() <= 31_536_000_000_000) {
            Some(length) => Ok(length),
            None => refuse("duration out of range"),
        }
    }

    fn seconds(&self, length: &Length) -> Option<f64> {
        Some(match length {
            Length::Constant(seconds) => *seconds,
            Length::Step => seconds(self.step),
            Length::Range => seconds(self.end - self.start),
            Length::Negative(inner) => -self.seconds(inner)?,
            Length::Paren(inner) => self.seconds(inner)?,
            Length::Least(left, right) => self.seconds(left)?.min(self.seconds(right)?),
            Length::Greatest(left, right) => self.seconds(left)?.max(self.seconds(right)?),
            Length::Binary(operator, left, right) => {
                let (left, right) = (self.seconds(left)?, self.seconds(right)?);
                match operator {
                    LengthOperator::Add => left + right,
                    LengthOperator::Subtract => left - right,
                    LengthOperator::Multiply => left * right,
                    LengthOperator::Divide | LengthOperator::Modulo if right == 0.0 => return None,
                    LengthOperator::Divide => left / right,
                    LengthOperator::Modulo => left % right,
                    LengthOperator::Power => libm::pow(left, right),
                }
            }
        })
    }

    pub(crate) fn text<'e>(&self, expr: &'e Expr) -> &'e [u8] {
        match &expr.bare().kind {
            Kind::String(bytes) => bytes,
            _ => &[],
        }
    }

    pub(crate) fn scalar(&mut self, expr: &Expr, at: i64) -> Outcome<f64> {
        match &expr.kind {
            Kind::Number(value) => Ok(*value),
            Kind::Paren(inner) => self.scalar(inner, at),
            Kind::Unary { negative, inner } => {
                let value = self.scalar(inner, at)?;
                Ok(if *negative { -value } else { value })
            }
            Kind::Binary(binary) => {
                let left = self.scalar(&binary.left, at)?;
                let right = self.scalar(&binary.right, at)?;
                Ok(binary::of_scalars(binary.operator, left, right))
            }
            Kind::Call {
                function,
                arguments,
            } => self.scalar_call(function.name, arguments, at),
            Kind::String(_) | Kind::Selector(_) | Kind::Subquery(_) | Kind::Aggregate(_) => {
                refuse("expected a scalar")
            }
        }
    }

    pub(crate) fn vector(&mut self, expr: &Expr, at: i64) -> Outcome<Vec<Item>> {
        match &expr.kind {
            Kind::Selector(selector) => self.current(selector, at),
            Kind::Paren(inner) => self.vector(inner, at),
            Kind::Unary { negative, inner } => {
                let mut items = self.vector(inner, at)?;
                if *negative {
                    for item in &mut items {
                        item.value = binary::negated(&item.value);
                    }
                    self.rename(&mut items)?;
                }
                Ok(items)
            }
            Kind::Binary(binary) => self.binary(binary, at),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, at),
            Kind::Call {
                function,
                arguments,
            } => {
                let mut items = self.call(function.name, arguments, at)?;
                for item in &mut items {
                    item.at = at;
                }
                Ok(items)
            }
            Kind::Number(_) | Kind::String(_) | Kind::Subquery(_) => {
                refuse("expected an instant vector")
            }
        }
    }
}

fn distinct(items: &[Item]) -> Outcome<()> {
    let mut seen = BTreeSet::new();
    if items.iter().all(|item| seen.insert(&item.labels)) {
        return Ok(());
    }
    refuse("vector cannot contain metrics with the same labelset")
}
