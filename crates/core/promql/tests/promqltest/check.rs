//! Carries out commands and compares answers with expectations.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_promql::annotation::{Annotations, Level};
use mainstay_promql::ast::{At, Expr, Kind};
use mainstay_promql::eval::{Answer, Options, Output, instant, range};
use mainstay_promql::histogram::{Bounds, CUSTOM, Hint, Histogram, same_bounds};
use mainstay_promql::labels::{BUCKET, Labels, NAME};
use mainstay_promql::number::{general, parse as number};
use mainstay_promql::parse::parse;
use mainstay_promql::sample::Value;
use mainstay_promql::store::Memory;

use crate::script::{Command, Eval, Row, Text};
use crate::starts::Offsets;

/// Relative difference that is still the same.
const EPSILON: f64 = 1e-6;
const MINUTE: i64 = 60_000;

#[derive(Clone, Copy)]
pub struct Style {
    /// A plain `eval` means that nothing is doubtful.
    pub strict: bool,
    pub bounds: Bounds,
}

pub struct Stage {
    store: Memory,
    style: Style,
    options: Options,
}

type Checked = Result<(), String>;

/// Which hints about resets an expected histogram speaks of.
#[derive(Clone, Copy)]
enum Hints {
    Gauge,
    Written,
    All,
}

impl Hints {
    fn fit(self, wanted: Hint, found: Hint) -> bool {
        let speaks = match self {
            Self::Gauge => wanted == Hint::Gauge,
            Self::Written => wanted != Hint::Unknown,
            Self::All => true,
        };
        !speaks || wanted == found
    }
}

impl Stage {
    pub fn new(style: Style) -> Self {
        let options = Options {
            delayed_names: true,
            start_times: true,
            bounds: style.bounds,
            ..Options::default()
        };
        Self {
            store: Memory::default(),
            style,
            options,
        }
    }

    /// The outcome of an evaluation; nothing for other commands.
    pub fn act(&mut self, command: &Command) -> Option<Checked> {
        match command {
            Command::Clear => self.store.clear(),
            Command::Load {
                step,
                rows,
                starts,
                custom_buckets,
            } => {
                // Of two rows with the same labels in one command, the later counts.
                let rows: BTreeMap<&Labels, (&Vec<_>, &Offsets)> = rows
                    .iter()
                    .zip(starts)
                    .map(|((labels, values), starts)| (labels, (values, starts)))
                    .collect();
                for (labels, (values, starts)) in &rows {
                    self.load(labels, values, starts, *step);
                }
                if *custom_buckets {
                    let rows = rows
                        .into_iter()
                        .map(|(labels, (values, _))| (labels, values));
                    for (labels, values) in with_custom_buckets(&rows.collect()) {
                        self.load(&labels, &values, &[], *step);
                    }
                }
            }
            Command::Eval(eval) => {
                return Some(
                    self.eval(eval)
                        .map_err(|problem| format!("{}: {problem}", eval.expression)),
                );
            }
        }
        None
    }

    /// As Prometheus keeps them: of histograms without the starts of their counters, but with a hint whether
    /// the counter was reset, as far as that is known of two samples that lie in one chunk.
    fn load(
        &mut self,
        labels: &Labels,
        values: &[Option<Value>],
        starts: &[Option<i64>],
        step: i64,
    ) {
        let mut before: Option<&Value> = None;
        for (place, value) in values.iter().enumerate() {
            let Some(value) = value else {
                continue;
            };
            let at = i64::try_from(place).expect("a place") * step;
            let start = starts.get(place).copied().flatten();
            match value {
                Value::Float(_) => {
                    let start = start.map_or(0, |start| at + start);
                    self.store.append_since(labels, at, value.clone(), start);
                }
                Value::Histogram(histogram) => {
                    let before = before.and_then(Value::histogram);
                    let mut kept = (**histogram).clone();
                    kept.hint = hint(before, histogram);
                    let kept = Value::Histogram(Arc::new(kept));
                    self.store.append(labels, at, kept);
                }
            }
            before = Some(value);
        }
    }

    fn hints(&self, eval: &Eval) -> Hints {
        match eval.unknown_hints {
            _ if self.style.strict => Hints::Gauge,
            false => Hints::Written,
            true => Hints::All,
        }
    }

    fn eval(&self, eval: &Eval) -> Checked {
        let answer = parse(&eval.expression)
            .map_err(|fault| fault.to_string())
            .and_then(|expr| {
                let answer = match eval.range {
                    None => instant(&expr, &self.store, eval.start, &self.options),
                    Some((end, step)) => {
                        range(&expr, &self.store, (eval.start, end, step), &self.options)
                    }
                };
                answer
                    .map(|answer| (expr, answer))
                    .map_err(|failure| failure.to_string())
            });
        let (expr, answer) = match (&eval.fail, answer) {
            (None, Ok(both)) => both,
            (None, Err(problem)) => return Err(format!("failed: {problem}")),
            (Some(_), Ok(_)) => return Err("should have failed".to_owned()),
            (Some(text), Err(problem)) if text.fits(&problem) => return Ok(()),
            (Some(_), Err(problem)) => return Err(format!("failed otherwise: {problem}")),
        };
        self.annotations(eval, &answer.annotations)?;
        compare(eval, &answer, self.hints(eval))?;
        if eval.range.is_none() && matches!(answer.output, Output::Vector(_) | Output::Scalar(_)) {
            self.as_range(eval, &expr)?;
            self.pinned(eval, &expr)?;
        }
        Ok(())
    }

    fn annotations(&self, eval: &Eval, annotations: &Annotations) -> Checked {
        let old = self.style.strict && !eval.ordered;
        for (level, wanted, none) in [
            (Level::Warning, &eval.warnings, eval.no_warning),
            (Level::Info, &eval.infos, eval.no_info),
        ] {
            let found: Vec<&str> = annotations.of(level).collect();
            let missing = wanted
                .iter()
                .any(|text| !found.iter().any(|message| text.fits(message)));
            let unnamed = |message: &&&str| !wanted.iter().any(|text| text.fits(message));
            let surplus = (none || old || !wanted.is_empty()) && found.iter().any(|m| unnamed(&m));
            if missing || surplus {
                return Err(format!("{level:?}: expected {wanted:?}, found {found:?}"));
            }
        }
        Ok(())
    }

    /// The same question as the middle of three steps.
    fn as_range(&self, eval: &Eval, expr: &Expr) -> Checked {
        if eval.ordered || depends_on_query(expr) {
            return Ok(());
        }
        let span = (eval.start - MINUTE, eval.start + MINUTE, MINUTE);
        let answer =
            range(expr, &self.store, span, &self.options).map_err(|f| format!("as range: {f}"))?;
        let Output::Matrix(series) = answer.output else {
            return Err("as range: no matrix".to_owned());
        };
        let middle = series.into_iter().filter_map(|series| {
            let sample = series
                .samples
                .into_iter()
                .find(|sample| sample.at == eval.start)?;
            Some((series.labels, sample.value))
        });
        let middle: Vec<(Labels, Value)> = middle.collect();
        let wanted: Vec<Row> = match eval.scalar {
            Some(value) => vec![(Labels::default(), vec![Some(Value::Float(value))])],
            None => eval
                .rows
                .iter()
                .map(|(l, v)| (l.clone(), v.clone()))
                .collect(),
        };
        instant_rows(&wanted, &middle, false, self.hints(eval))
            .map_err(|problem| format!("as range: {problem}"))
    }

    /// The same question from other moments, with every selector pinned to the first.
    fn pinned(&self, eval: &Eval, expr: &Expr) -> Checked {
        if eval.ordered || depends_on_query(expr) || depends_on_moment(expr) {
            return Ok(());
        }
        let mut expr = expr.clone();
        pin(&mut expr, eval.start);
        for at in [-1_000_000_000, 0, 123_456, eval.start + 1, 10_000_000_000] {
            let answer = instant(&expr, &self.store, at, &self.options);
            let answer = answer.map_err(|failure| format!("pinned: {failure}"))?;
            compare(eval, &answer, self.hints(eval))
                .map_err(|problem| format!("pinned: {problem}"))?;
        }
        Ok(())
    }
}

fn hint(before: Option<&Histogram>, histogram: &Histogram) -> Hint {
    match (histogram.hint, before) {
        (Hint::Gauge, _) => Hint::Gauge,
        (Hint::Reset, _) | (_, None) => Hint::Unknown,
        (_, Some(before)) if before.hint == Hint::Gauge => Hint::Unknown,
        (_, Some(before)) => {
            let mut plain = histogram.clone();
            plain.hint = Hint::Unknown;
            if plain.is_reset_after(before, Bounds::Refuse) {
                Hint::Unknown
            } else {
                Hint::NotReset
            }
        }
    }
}

fn depends_on_query(expr: &Expr) -> bool {
    let text = expr.to_string();
    ["start()", "end()", "step()", "range()"]
        .iter()
        .any(|word| text.contains(word))
}

fn depends_on_moment(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |expr| {
        if let Kind::Call {
            function,
            arguments,
        } = &expr.kind
        {
            found |= matches!(
                function.name,
                "time" | "timestamp" | "predict_linear" | "info"
            );
            found |= arguments.is_empty() && function.name != "pi";
        }
    });
    found
}

fn pin(expr: &mut Expr, at: i64) {
    match &mut expr.kind {
        Kind::Selector(selector) => {
            selector.when.at.get_or_insert(At::Time(at));
        }
        Kind::Subquery(subquery) => {
            subquery.when.at.get_or_insert(At::Time(at));
        }
        _ => {
            for child in expr.children_mut() {
                pin(child, at);
            }
        }
    }
}

fn compare(eval: &Eval, answer: &Answer, hints: Hints) -> Checked {
    match &answer.output {
        Output::Scalar(value) => match eval.scalar {
            Some(wanted) if close(wanted, *value) => Ok(()),
            wanted => Err(format!("expected {wanted:?}, found {}", general(*value))),
        },
        Output::String(text) if eval.string.as_ref() == Some(text) => Ok(()),
        Output::String(text) => Err(format!("expected {:?}, found {text:?}", eval.string)),
        Output::Vector(items) => {
            let found: Vec<(Labels, Value)> = items
                .iter()
                .map(|item| (item.labels.clone(), item.value.clone()))
                .collect();
            instant_rows(&eval.rows, &found, eval.ordered, hints)
        }
        Output::Matrix(series) => {
            let (start, step) = match (eval.range, eval.matrix) {
                (Some((_, step)), _) => (eval.start, step),
                (None, Some(both)) => both,
                (None, None) => return Err("an unexpected range vector".to_owned()),
            };
            let mut wanted: Vec<Row> = eval.rows.clone();
            if let Some(value) = eval.scalar {
                wanted.push((Labels::default(), vec![Some(Value::Float(value))]));
            }
            wanted.retain(|(_, values)| values.iter().any(Option::is_some));
            for found in series {
                let Some(at) = wanted
                    .iter()
                    .position(|(labels, _)| *labels == found.labels)
                else {
                    return Err(format!("unexpected {}", found.labels));
                };
                let (labels, values) = wanted.remove(at);
                let points = (0..)
                    .zip(&values)
                    .filter_map(|(n, v)| v.as_ref().map(|v| (start + n * step, v)));
                let points: Vec<(i64, &Value)> = points.collect();
                let times: Vec<i64> = found.samples.iter().map(|sample| sample.at).collect();
                if times != points.iter().map(|point| point.0).collect::<Vec<_>>() {
                    return Err(format!(
                        "{labels}: samples at {times:?}, expected {points:?}"
                    ));
                }
                for (sample, (at, wanted)) in found.samples.iter().zip(points) {
                    same(wanted, &sample.value, hints)
                        .map_err(|e| format!("{labels} at {at}: {e}"))?;
                }
            }
            match wanted.first() {
                None => Ok(()),
                Some((labels, _)) => Err(format!("missing {labels}")),
            }
        }
    }
}

fn instant_rows(wanted: &[Row], found: &[(Labels, Value)], ordered: bool, hints: Hints) -> Checked {
    for (at, (labels, value)) in found.iter().enumerate() {
        let Some(place) = wanted.iter().position(|(wanted, _)| wanted == labels) else {
            return Err(format!("unexpected {labels} {}", shown(value)));
        };
        if ordered && place != at {
            return Err(format!("{labels} at place {at}, expected at {place}"));
        }
        let Some(Some(value_wanted)) = wanted[place].1.first() else {
            return Err(format!("{labels}: nothing expected"));
        };
        same(value_wanted, value, hints).map_err(|problem| format!("{labels}: {problem}"))?;
    }
    let missing = wanted
        .iter()
        .find(|(labels, _)| !found.iter().any(|(found, _)| found == labels));
    missing.map_or(Ok(()), |(labels, _)| Err(format!("missing {labels}")))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Float(value) => general(*value),
        Value::Histogram(histogram) => format!("{histogram:?}"),
    }
}

fn same(wanted: &Value, found: &Value, hints: Hints) -> Checked {
    let holds = match (wanted, found) {
        (Value::Float(wanted), Value::Float(found)) => close(*wanted, *found),
        (Value::Histogram(wanted), Value::Histogram(found)) => {
            hints.fit(wanted.hint, found.hint) && alike(wanted, found)
        }
        _ => false,
    };
    if holds {
        Ok(())
    } else {
        Err(format!(
            "expected {}, found {}",
            shown(wanted),
            shown(found)
        ))
    }
}

fn close(wanted: f64, found: f64) -> bool {
    if wanted == found || (wanted.is_nan() && found.is_nan()) {
        return true;
    }
    let (sum, difference) = (wanted.abs() + found.abs(), (wanted - found).abs());
    if wanted == 0.0 || found == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

fn alike(wanted: &Histogram, found: &Histogram) -> bool {
    let buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
    };
    wanted.schema == found.schema
        && close(wanted.count, found.count)
        && close(wanted.sum, found.sum)
        && close(wanted.zero_threshold, found.zero_threshold)
        && close(wanted.zero_count, found.zero_count)
        && same_bounds(&wanted.custom, &found.custom)
        && buckets(&wanted.positive, &found.positive)
        && buckets(&wanted.negative, &found.negative)
}

/// Classic histograms again, as native ones with custom buckets.
fn with_custom_buckets(rows: &BTreeMap<&Labels, &Vec<Option<Value>>>) -> Vec<Row> {
    #[derive(Default)]
    struct Classic {
        buckets: Vec<(f64, f64)>,
        sum: f64,
        count: Option<f64>,
    }
    let mut all: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for (labels, values) in rows {
        let parts = ["_bucket", "_sum", "_count"];
        let Some(part) = parts.iter().find(|part| labels.name().ends_with(**part)) else {
            continue;
        };
        let base = labels.name().trim_end_matches(part).to_owned();
        let steps = all
            .entry(labels.with(NAME, &base).with(BUCKET, ""))
            .or_default();
        for (at, value) in values.iter().enumerate() {
            let Some(value) = value.as_ref().and_then(Value::float) else {
                continue;
            };
            let classic = steps.entry(at).or_default();
            match *part {
                "_bucket" => {
                    let bound = number(labels.get(BUCKET)).expect("a bound");
                    classic.buckets.push((bound, value));
                }
                "_sum" => classic.sum = value,
                _ => classic.count = Some(value),
            }
        }
    }
    let histogram = |mut classic: Classic| {
        classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        classic.buckets.dedup_by_key(|bucket| bucket.0);
        let last = classic.buckets.last()?.1;
        let count = classic.count.unwrap_or(last);
        let mut histogram = Histogram {
            schema: CUSTOM,
            sum: classic.sum,
            count,
            ..Histogram::default()
        };
        let mut below = 0.0;
        for (at, (bound, cumulative)) in (0..).zip(classic.buckets) {
            if bound.is_finite() {
                histogram.custom.push(bound);
                histogram.positive.push((at, cumulative - below));
                below = cumulative;
            }
        }
        histogram
            .positive
            .push((i32::try_from(histogram.custom.len()).ok()?, count - below));
        histogram.compact();
        Some(Value::Histogram(std::sync::Arc::new(histogram)))
    };
    let rows = all.into_iter().filter_map(|(labels, steps)| {
        let mut values = Vec::new();
        for (at, classic) in steps {
            values.resize(at, None);
            values.push(histogram(classic));
        }
        values
            .iter()
            .any(Option::is_some)
            .then_some((labels, values))
    });
    rows.collect()
}

#[test]
fn texts_fit_as_they_say() {
    assert!(Text::Exact("a".to_owned()).fits("a") && !Text::Exact("a".to_owned()).fits("ab"));
    assert!(Text::Pattern("^a+$".to_owned()).fits("aa") && Text::Any.fits("x"));
}
