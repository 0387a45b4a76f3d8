//! Many samples to one, or to the few that matter, group by group.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::quantile::quantile;
use super::{Evaluator, Item, Outcome, refuse};
use crate::ast::{Aggregate, Aggregation};
use crate::histogram::total::total;
use crate::histogram::{Histogram, Incompatible};
use crate::labels::{Labels, NAME};
use crate::number::{count, general, kahan, plain, quote};
use crate::sample::Value;

struct Group {
    labels: Labels,
    drop_name: bool,
    items: Vec<Item>,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, at: i64) -> Outcome<Vec<Item>> {
        let operator = aggregate.operator;
        let mut parameter = 0.0;
        let mut items;
        if operator == Aggregation::CountValues {
            let label = aggregate
                .parameter
                .as_ref()
                .map_or(&[][..], |p| self.text(p));
            let name = core::str::from_utf8(label)
                .ok()
                .filter(|name| !name.is_empty());
            let Some(name) = name else {
                return refuse(format!("invalid label name {}", quote(label)));
            };
            items = self.vector(&aggregate.inner, at)?;
            for item in &mut items {
                item.labels = item.labels.with(name, &shown(&item.value));
            }
            return Ok(count_values(aggregate, items, name, at));
        }
        if let Some(expr) = &aggregate.parameter {
            parameter = self.scalar(expr, at)?;
        }
        items = self.vector(&aggregate.inner, at)?;
        let parameter = match operator {
            Aggregation::TopK | Aggregation::BottomK | Aggregation::LimitK => {
                match size(parameter, items.len())? {
                    0 => return Ok(Vec::new()),
                    size => count(size),
                }
            }
            Aggregation::LimitRatio => match self.ratio(parameter)? {
                None => return Ok(Vec::new()),
                Some(ratio) => ratio,
            },
            Aggregation::Quantile => {
                if !(0.0..=1.0).contains(&parameter) && !items.is_empty() {
                    self.annotations.invalid_quantile(parameter);
                }
                parameter
            }
            _ => parameter,
        };
        let mut result = Vec::new();
        for group in groups(aggregate, items) {
            match operator {
                Aggregation::TopK
                | Aggregation::BottomK
                | Aggregation::LimitK
                | Aggregation::LimitRatio => {
                    result.extend(self.chosen(operator, group.items, parameter))
                }
                _ => {
                    if let Some(value) = self.reduced(operator, &group.items, parameter) {
                        let Group {
                            labels, drop_name, ..
                        } = group;
                        result.push(Item {
                            labels,
                            value,
                            at,
                            drop_name,
                        });
                    }
                }
            }
        }
        Ok(result)
    }

    fn ratio(&mut self, ratio: f64) -> Outcome<Option<f64>> {
        if ratio.is_nan() {
            return refuse("Ratio value is NaN");
        }
        let used = ratio.clamp(-1.0, 1.0);
        if used != ratio {
            self.annotations.invalid_ratio(ratio, used);
        }
        Ok(Some(used).filter(|used| *used != 0.0))
    }

    /// Whole samples of a group, their labels kept.
    fn chosen(&mut self, operator: Aggregation, mut items: Vec<Item>, parameter: f64) -> Vec<Item> {
        match operator {
            Aggregation::LimitRatio => {
                items.retain(|item| is_in_ratio(&item.labels, parameter));
                return items;
            }
            Aggregation::LimitK => {}
            _ => {
                if items.iter().any(|item| item.value.float().is_none()) {
                    self.annotations.ignored_in_aggregation(operator.name());
                }
                items.retain(|item| item.value.float().is_some());
                let descending = operator == Aggregation::TopK;
                items.sort_by(|a, b| nan_last(a, b, descending));
            }
        }
        // The parameter is a whole number not greater than the count of samples.
        let fitting = items
            .iter()
            .zip(1..)
            .take_while(|(_, at)| f64::from(*at) <= parameter)
            .count();
        items.truncate(fitting);
        items
    }

    fn reduced(&mut self, operator: Aggregation, items: &[Item], parameter: f64) -> Option<Value> {
        let floats: Vec<f64> = items.iter().filter_map(|item| item.value.float()).collect();
        let mixed = floats.len() != items.len();
        match operator {
            Aggregation::Count => return Some(Value::Float(count(items.len()))),
            Aggregation::Group => return Some(Value::Float(1.0)),
            Aggregation::Sum | Aggregation::Avg if mixed => {
                if !floats.is_empty() {
                    self.annotations.mixed_in_aggregation();
                    return None;
                }
                let all = items.iter().filter_map(|item| item.value.histogram());
                return self.histograms(operator, all).map(Value::of);
            }
            _ => {}
        }
        if mixed {
            self.annotations.ignored_in_aggregation(operator.name());
        }
        if floats.is_empty() {
            return None;
        }
        Some(Value::Float(match operator {
            Aggregation::Sum => sum(floats.iter().copied()),
            Aggregation::Avg => average(&floats),
            Aggregation::Min => least(&floats),
            Aggregation::Max => greatest(&floats),
            Aggregation::Stddev => libm::sqrt(variance(&floats)),
            Aggregation::Stdvar => variance(&floats),
            Aggregation::Quantile => quantile(parameter, floats),
            _ => return None,
        }))
    }

    /// Sum or average; nothing, and a warning, where they do not fit together.
    pub(super) fn histograms<'h>(
        &mut self,
        operator: Aggregation,
        all: impl Iterator<Item = &'h Histogram>,
    ) -> Option<Histogram> {
        let all: Vec<&Histogram> = all.collect();
        let bounds = self.options.bounds;
        let found = if operator == Aggregation::Avg {
            total(&all, bounds, average)
        } else {
            total(&all, bounds, |values| sum(values.iter().copied()))
        };
        match found {
            Ok(found) => {
                let (total, joined) = found?;
                if joined.reconciled {
                    self.annotations.reconciled_bounds("aggregation");
                }
                if joined.reset_collision {
                    self.annotations.reset_collision("aggregation");
                }
                Some(total)
            }
            Err(Incompatible::Schemas) => {
                self.annotations.mixed_schemas("");
                None
            }
            Err(Incompatible::Bounds) => {
                self.annotations.incompatible_bounds("");
                None
            }
        }
    }
}

fn groups(aggregate: &Aggregate, items: Vec<Item>) -> Vec<Group> {
    let kept = |name: &str| {
        let listed = aggregate.labels.iter().any(|label| label == name);
        if aggregate.without {
            name != NAME && !listed
        } else {
            listed
        }
    };
    // By a hash, so that labels are written out once for each group and not for each item.
    let mut places: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let own = || item.labels.iter().filter(|(name, _)| kept(name));
        let places = places.entry(hash(own())).or_default();
        let known = places.iter().copied().find(|place| {
            let group: Option<&Group> = groups.get(*place);
            group.is_some_and(|group| group.labels.iter().eq(own()))
        });
        let place = known.unwrap_or(groups.len());
        if known.is_none() {
            places.push(place);
            groups.push(Group {
                labels: item.labels.keep(kept),
                drop_name: false,
                items: Vec::new(),
            });
        }
        if let Some(group) = groups.get_mut(place) {
            group.drop_name |= item.drop_name;
            group.items.push(item);
        }
    }
    groups
}

/// FNV-1a, with the ends of names and values in it.
fn hash<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in labels {
        let (name, value) = (name.bytes(), value.bytes());
        for byte in name.chain([0xff]).chain(value).chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

fn count_values(aggregate: &Aggregate, items: Vec<Item>, label: &str, at: i64) -> Vec<Item> {
    let listed = |name: &str| aggregate.labels.iter().any(|other| other == name);
    let mut counts: BTreeMap<Labels, (usize, bool)> = BTreeMap::new();
    for item in items {
        let labels = item.labels.keep(|name| {
            name == label
                || if aggregate.without {
                    name != NAME && !listed(name)
                } else {
                    listed(name)
                }
        });
        let entry = counts.entry(labels).or_default();
        entry.0 += 1;
        entry.1 |= item.drop_name;
    }
    let counted = counts
        .into_iter()
        .map(|(labels, (number, drop_name))| Item {
            labels,
            value: Value::Float(count(number)),
            at,
            drop_name,
        });
    counted.collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Float(value) => plain(*value),
        Value::Histogram(histogram) => histogram.print(),
    }
}

/// How many of `available` a parameter asks for.
fn size(parameter: f64, available: usize) -> Outcome<usize> {
    if parameter.is_nan() {
        return refuse("Parameter value is NaN");
    }
    if parameter.abs() >= 9_223_372_036_854_775_808.0 {
        return refuse(format!(
            "Scalar value {} overflows int64",
            general(parameter)
        ));
    }
    let wanted = libm::floor(parameter).max(0.0).min(count(available));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies within 0..=available"
    )]
    Ok(wanted as usize)
}

fn nan_last(a: &Item, b: &Item, descending: bool) -> Ordering {
    let (a, b) = (
        a.value.float().unwrap_or(f64::NAN),
        b.value.float().unwrap_or(f64::NAN),
    );
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// The same series is always in or out; those of `limit_ratio(r)` and `limit_ratio(r - 1)` are all.
fn is_in_ratio(labels: &Labels, ratio: f64) -> bool {
    let mut hash = hash(labels.iter());
    // Spreads the last bytes over the high bits.
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction needs no more than 53 bits"
    )]
    let place = (hash >> 11) as f64 / 9_007_199_254_740_992.0;
    if ratio >= 0.0 {
        place < ratio
    } else {
        place >= 1.0 + ratio
    }
}

pub(super) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (total, lost) = values.fold((0.0, 0.0), |(sum, lost), value| kahan(value, sum, lost));
    if total.is_infinite() {
        total
    } else {
        total + lost
    }
}

/// By the sum, as long as that does not overflow; from there on by a running mean.
pub(super) fn average(values: &[f64]) -> f64 {
    let Some((first, rest)) = values.split_first() else {
        return f64::NAN;
    };
    let (mut total, mut lost) = (*first, 0.0);
    let mut running: Option<f64> = None;
    for (before, value) in (1_usize..).zip(rest) {
        let (before, number) = (count(before), count(before + 1));
        let mean = match running {
            Some(mean) => mean,
            None => {
                let (next, next_lost) = kahan(*value, total, lost);
                if !next.is_infinite() {
                    (total, lost) = (next, next_lost);
                    continue;
                }
                lost /= before;
                total / before
            }
        };
        running = Some(mean);
        if mean.is_infinite()
            && (value.is_finite() || (value.is_infinite() && (*value > 0.0) == (mean > 0.0)))
        {
            continue;
        }
        let kept = before / number;
        let (next, next_lost) = kahan(value / number, kept * mean, kept * lost);
        running = Some(next);
        lost = next_lost;
    }
    match running {
        Some(mean) => mean + lost,
        None => {
            let number = count(values.len());
            total / number + lost / number
        }
    }
}

pub(super) fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, |least, value| {
        if value < least || least.is_nan() {
            value
        } else {
            least
        }
    })
}

pub(super) fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, |greatest, value| {
        if value > greatest || greatest.is_nan() {
            value
        } else {
            greatest
        }
    })
}

/// Of the whole population, by Welford's method with Kahan's sums.
pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut number, mut mean, mut lost_mean, mut aux, mut lost_aux) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for value in values {
        number += 1.0;
        let delta = value - (mean + lost_mean);
        (mean, lost_mean) = kahan(delta / number, mean, lost_mean);
        let after = value - (mean + lost_mean);
        (aux, lost_aux) = kahan(delta * after, aux, lost_aux);
    }
    (aux + lost_aux) / number
}
