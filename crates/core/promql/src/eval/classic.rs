//! `histogram_quantile` and `histogram_fraction`: classic buckets are gathered by their other labels, native
//! histograms are asked directly, and a mixture of both under one name is refused with a warning.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::quantile::{
    Classic, Doubt, fraction_of_buckets, fraction_of_native, of_buckets, of_native,
};
use super::{Evaluator, Item, Outcome, refuse};
use crate::ast::Expr;
use crate::labels::{BUCKET, Labels};
use crate::number::{general, parse};
use crate::sample::Value;

#[derive(Clone, Copy)]
enum Question {
    Quantile(f64),
    Fraction(f64, f64),
}

#[derive(Default)]
struct Gathered {
    classic: Vec<Classic>,
    native: Vec<Item>,
    drop_name: bool,
}

impl Evaluator<'_> {
    pub(super) fn bucket_call(
        &mut self,
        name: &str,
        arguments: &[Expr],
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let mut items = match (name, arguments) {
            ("histogram_quantile", [quantile, inner]) => {
                let quantile = self.scalar(quantile, at)?;
                let items = self.vector(inner, at)?;
                self.ask(&items, Question::Quantile(quantile), at)
            }
            ("histogram_fraction", [lower, upper, inner]) => {
                let (lower, upper) = (self.scalar(lower, at)?, self.scalar(upper, at)?);
                let items = self.vector(inner, at)?;
                self.ask(&items, Question::Fraction(lower, upper), at)
            }
            ("histogram_quantiles", [inner, label, quantiles @ ..]) => {
                let label = String::from_utf8_lossy(self.text(label)).into_owned();
                if label.is_empty() {
                    return refuse("invalid label name in histogram_quantiles()");
                }
                let items = self.vector(inner, at)?;
                let mut result = Vec::new();
                for quantile in quantiles {
                    let quantile = self.scalar(quantile, at)?;
                    let found = self.ask(&items, Question::Quantile(quantile), at);
                    let value = general(quantile);
                    result.extend(found.into_iter().map(|item| Item {
                        labels: item.labels.with(&label, &value),
                        ..item
                    }));
                }
                result
            }
            _ => return refuse("wrong arguments"),
        };
        self.rename(&mut items)?;
        Ok(items)
    }

    fn ask(&mut self, items: &[Item], question: Question, at: i64) -> Vec<Item> {
        if let Question::Quantile(quantile) = question
            && !(0.0..=1.0).contains(&quantile)
            && !items.is_empty()
        {
            self.annotations.invalid_quantile(quantile);
        }
        let mut result = Vec::new();
        for (labels, gathered) in self.gather(items) {
            if !gathered.classic.is_empty() && !gathered.native.is_empty() {
                self.annotations.mixed_classic_native(labels.name());
                continue;
            }
            if !gathered.classic.is_empty() {
                let value = match question {
                    Question::Quantile(quantile) => {
                        let (value, forced) = of_buckets(quantile, gathered.classic);
                        if forced {
                            self.annotations.forced_monotonic(labels.name());
                        }
                        value
                    }
                    Question::Fraction(lower, upper) => {
                        fraction_of_buckets(lower, upper, gathered.classic)
                    }
                };
                let drop_name = gathered.drop_name;
                result.push(Item {
                    labels,
                    value: Value::Float(value),
                    at,
                    drop_name,
                });
                continue;
            }
            for item in gathered.native {
                if let Some(value) = self.ask_native(&item, question) {
                    result.push(Item {
                        value: Value::Float(value),
                        ..item
                    });
                }
            }
        }
        result
    }

    fn ask_native(&mut self, item: &Item, question: Question) -> Option<f64> {
        let histogram = item.value.histogram()?;
        let name = item.labels.name();
        Some(match question {
            Question::Quantile(quantile) => {
                let (value, doubt) = of_native(quantile, histogram);
                match doubt {
                    Doubt::None => {}
                    Doubt::NaN => self.annotations.nan_quantile(name),
                    Doubt::Skewed => self.annotations.nan_skew(name),
                }
                value
            }
            Question::Fraction(lower, upper) => {
                if histogram.sum.is_nan() {
                    self.annotations.nan_fraction(name);
                }
                fraction_of_native(lower, upper, histogram)
            }
        })
    }

    fn gather(&mut self, items: &[Item]) -> BTreeMap<Labels, Gathered> {
        let mut all: BTreeMap<Labels, Gathered> = BTreeMap::new();
        for item in items {
            let Some(count) = item.value.float() else {
                all.entry(item.labels.clone())
                    .or_default()
                    .native
                    .push(item.clone());
                continue;
            };
            let bound = item.labels.get(BUCKET);
            let Some(upper) = parse(bound) else {
                self.annotations.bad_bucket(item.labels.name(), bound);
                continue;
            };
            let gathered = all.entry(item.labels.with(BUCKET, "")).or_default();
            gathered.classic.push(Classic { upper, count });
            gathered.drop_name |= item.drop_name;
        }
        all
    }
}
