//! Operators between scalars and vectors, and which samples of two vectors meet.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::{Evaluator, Item, Outcome, refuse};
use crate::annotation::Annotations;
use crate::ast::{Binary, BinaryOperator as Op, Cardinality, Fill, Matching, Type};
use crate::histogram::trim::Side;
use crate::histogram::{Bounds, Hint, Histogram, Incompatible, Joined};
use crate::labels::{Labels, METADATA, NAME};
use crate::sample::Value;

pub(super) fn of_scalars(operator: Op, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match operator {
        Op::Equal => truth(left == right),
        Op::NotEqual => truth(left != right),
        Op::LessOrEqual => truth(left <= right),
        Op::Less => truth(left < right),
        Op::GreaterOrEqual => truth(left >= right),
        Op::Greater => truth(left > right),
        Op::Add => left + right,
        Op::Subtract => left - right,
        Op::Multiply => left * right,
        Op::Divide => left / right,
        Op::Modulo => left % right,
        Op::Atan2 => libm::atan2(left, right),
        Op::Power => libm::pow(left, right),
        Op::Or | Op::And | Op::Unless | Op::TrimUpper | Op::TrimLower => f64::NAN,
    }
}

pub(super) fn negated(value: &Value) -> Value {
    match value {
        Value::Float(value) => Value::Float(-value),
        Value::Histogram(histogram) => {
            let mut histogram = (**histogram).clone();
            histogram.scale(-1.0);
            Value::of(histogram)
        }
    }
}

/// What two samples give: a value, and for a comparison whether it holds.
struct Met {
    value: Value,
    holds: bool,
}

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, at: i64) -> Outcome<Vec<Item>> {
        match (binary.left.kind_of(), binary.right.kind_of()) {
            (Type::Scalar, _) => {
                let left = self.scalar(&binary.left, at)?;
                let items = self.vector(&binary.right, at)?;
                self.with_scalar(binary, items, left, true)
            }
            (_, Type::Scalar) => {
                let items = self.vector(&binary.left, at)?;
                let right = self.scalar(&binary.right, at)?;
                self.with_scalar(binary, items, right, false)
            }
            _ => {
                let left = self.vector(&binary.left, at)?;
                let right = self.vector(&binary.right, at)?;
                match binary.operator {
                    Op::And => Ok(among(left, &right, &binary.matching, true)),
                    Op::Unless => Ok(among(left, &right, &binary.matching, false)),
                    Op::Or => Ok(either(left, right, &binary.matching)),
                    _ => self.vectors(binary, left, right),
                }
            }
        }
    }

    fn with_scalar(
        &mut self,
        binary: &Binary,
        items: Vec<Item>,
        scalar: f64,
        scalar_left: bool,
    ) -> Outcome<Vec<Item>> {
        let operator = binary.operator;
        let mut kept = Vec::with_capacity(items.len());
        for mut item in items {
            let scalar = Value::Float(scalar);
            let (left, right) = if scalar_left {
                (&scalar, &item.value)
            } else {
                (&item.value, &scalar)
            };
            let Some(met) = self.meet(operator, left, right) else {
                continue;
            };
            if operator.is_comparison() {
                if binary.returns_bool {
                    item.value = Value::Float(f64::from(u8::from(met.holds)));
                } else if !met.holds {
                    continue;
                }
            } else {
                item.value = met.value;
            }
            kept.push(item);
        }
        // What is trimmed is still of the same kind.
        let keeps_meaning = operator.is_comparison() || operator.is_trim();
        if !keeps_meaning || binary.returns_bool {
            self.rename(&mut kept)?;
        }
        Ok(kept)
    }

    fn meet(&mut self, operator: Op, left: &Value, right: &Value) -> Option<Met> {
        let met = match (left, right) {
            (Value::Float(left), Value::Float(right)) if !operator.is_trim() => {
                let result = of_scalars(operator, *left, *right);
                let value = if operator.is_comparison() {
                    *left
                } else {
                    result
                };
                return Some(Met {
                    value: Value::Float(value),
                    holds: result == 1.0,
                });
            }
            (Value::Float(factor), Value::Histogram(h)) if operator == Op::Multiply => {
                Some(scaled(h, |h| h.scale(*factor)))
            }
            (Value::Histogram(h), Value::Float(factor)) if operator == Op::Multiply => {
                Some(scaled(h, |h| h.scale(*factor)))
            }
            (Value::Histogram(h), Value::Float(divisor)) if operator == Op::Divide => {
                Some(scaled(h, |h| h.divide(*divisor)))
            }
            (Value::Histogram(h), Value::Float(limit)) if operator == Op::TrimUpper => {
                Some(scaled(h, |h| h.trim(*limit, Side::Below)))
            }
            (Value::Histogram(h), Value::Float(limit)) if operator == Op::TrimLower => {
                Some(scaled(h, |h| h.trim(*limit, Side::Above)))
            }
            (Value::Histogram(left), Value::Histogram(right)) => match operator {
                Op::Add | Op::Subtract => {
                    let annotations = &mut self.annotations;
                    return joined(operator, left, right, self.options.bounds, annotations);
                }
                Op::Equal | Op::NotEqual => Some(Met {
                    value: Value::Histogram(left.clone()),
                    holds: (left == right) == (operator == Op::Equal),
                }),
                _ => None,
            },
            _ => None,
        };
        if met.is_none() {
            let name = |value: &Value| {
                if value.float().is_some() {
                    "float"
                } else {
                    "histogram"
                }
            };
            self.annotations
                .incompatible_types(name(left), operator.symbol(), name(right));
        }
        met
    }

    fn vectors(
        &mut self,
        binary: &Binary,
        left: Vec<Item>,
        right: Vec<Item>,
    ) -> Outcome<Vec<Item>> {
        let matching = &binary.matching;
        let fill = matching.fill;
        let lacks_partners = left.is_empty() || right.is_empty();
        if lacks_partners && fill == Fill::default() {
            return Ok(Vec::new());
        }
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let mut ones: BTreeMap<Labels, Item> = BTreeMap::new();
        for item in one {
            let key = signature(&item.labels, matching);
            if let Some(other) = ones.get(&key) {
                let side = if swapped { "left" } else { "right" };
                return refuse(format!(
                    "found duplicate series for the match group {key} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                    item.labels, other.labels
                ));
            }
            ones.insert(key, item);
        }
        let mut meeting = Meeting::default();
        for item in many {
            let key = signature(&item.labels, matching);
            if let Some(other) = ones.get(&key) {
                self.pair(binary, &item, other, key, &mut meeting)?;
            } else if let Some(value) = fill.right {
                let other = Item::of(key.clone(), Value::Float(value), item.at);
                self.pair(binary, &item, &other, key, &mut meeting)?;
            }
        }
        if let Some(value) = fill.left {
            for (key, other) in ones {
                if !meeting.taken.contains_key(&key) {
                    let item = Item::of(key.clone(), Value::Float(value), other.at);
                    self.pair(binary, &item, &other, key, &mut meeting)?;
                }
            }
        }
        Ok(meeting.result)
    }

    /// What a sample of the many and one of the one give, if anything.
    fn pair(
        &mut self,
        binary: &Binary,
        item: &Item,
        other: &Item,
        key: Labels,
        meeting: &mut Meeting,
    ) -> Outcome<()> {
        let (operator, matching) = (binary.operator, &binary.matching);
        let (left, right) = match matching.cardinality {
            Cardinality::OneToMany => (&other.value, &item.value),
            Cardinality::OneToOne | Cardinality::ManyToOne => (&item.value, &other.value),
        };
        let Some(met) = self.meet(operator, left, right) else {
            return Ok(());
        };
        let returns_bool = binary.returns_bool;
        let mut labels = result_labels(&item.labels, &other.labels, operator, matching);
        if returns_bool && !self.options.delayed_names {
            labels = labels.without_metadata();
        }
        let seen = meeting.taken.entry(key).or_default();
        if !seen.is_empty() && matching.cardinality == Cardinality::OneToOne {
            return refuse(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            );
        }
        if !seen.insert(labels.clone()) {
            return refuse(
                "multiple matches for labels: grouping labels must ensure unique matches",
            );
        }
        let value = if returns_bool {
            Value::Float(f64::from(u8::from(met.holds)))
        } else if met.holds || !operator.is_comparison() {
            met.value
        } else {
            return Ok(());
        };
        meeting.result.push(Item {
            labels,
            value,
            at: item.at,
            drop_name: returns_bool || item.drop_name,
        });
        Ok(())
    }
}

/// What came of the samples so far, and which labels each group of partners has given.
#[derive(Default)]
struct Meeting {
    taken: BTreeMap<Labels, BTreeSet<Labels>>,
    result: Vec<Item>,
}

fn scaled(histogram: &Histogram, change: impl Fn(&mut Histogram)) -> Met {
    let mut histogram = histogram.clone();
    change(&mut histogram);
    Met {
        value: Value::of(histogram),
        holds: true,
    }
}

fn joined(
    operator: Op,
    left: &Histogram,
    right: &Histogram,
    bounds: Bounds,
    annotations: &mut Annotations,
) -> Option<Met> {
    let mut result = left.clone();
    let adding = operator == Op::Add;
    let outcome = if adding {
        result.add(right, bounds)
    } else {
        result.subtract(right, bounds)
    };
    let word = if adding { "addition" } else { "subtraction" };
    match outcome {
        Ok(Joined {
            reconciled,
            reset_collision,
        }) => {
            if reconciled {
                annotations.reconciled_bounds(word);
            }
            if reset_collision {
                annotations.reset_collision(word);
            }
        }
        Err(Incompatible::Schemas) => {
            annotations.mixed_schemas("");
            return None;
        }
        Err(Incompatible::Bounds) => {
            annotations.incompatible_bounds("");
            return None;
        }
    }
    if !adding {
        result.hint = Hint::Gauge;
    }
    result.compact();
    Some(Met {
        value: Value::of(result),
        holds: true,
    })
}

fn signature(labels: &Labels, matching: &Matching) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    if matching.on {
        labels.keep(listed)
    } else {
        labels.keep(|name| name != NAME && !listed(name))
    }
}

fn result_labels(many: &Labels, one: &Labels, operator: Op, matching: &Matching) -> Labels {
    let mut labels = many.clone();
    if !operator.is_comparison() && !operator.is_trim() {
        labels = labels.keep(|name| !METADATA.contains(&name));
    }
    if matching.cardinality == Cardinality::OneToOne {
        let listed = |name: &str| matching.labels.iter().any(|label| label == name);
        labels = labels.keep(|name| listed(name) == matching.on);
    }
    for label in &matching.include {
        labels = labels.with(label, one.get(label));
    }
    labels
}

/// `and` (kept if the other side has a match) and `unless` (kept if not).
fn among(left: Vec<Item>, right: &[Item], matching: &Matching, wanted: bool) -> Vec<Item> {
    let keys: BTreeSet<Labels> = right
        .iter()
        .map(|item| signature(&item.labels, matching))
        .collect();
    let kept = left.into_iter();
    kept.filter(|item| keys.contains(&signature(&item.labels, matching)) == wanted)
        .collect()
}

fn either(mut left: Vec<Item>, right: Vec<Item>, matching: &Matching) -> Vec<Item> {
    let keys: BTreeSet<Labels> = left
        .iter()
        .map(|item| signature(&item.labels, matching))
        .collect();
    let others = right.into_iter();
    left.extend(others.filter(|item| !keys.contains(&signature(&item.labels, matching))));
    left
}
