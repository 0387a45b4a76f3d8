//! Questions to a server that scrapes for us, and to our own store where only that knows.
//!
//! What rules here have recorded is in our store and nowhere else; everything else the server has. So a question is cut:
//! every largest part that asks for nothing of ours goes to the server as it stands, and is put together with the rest by
//! our own evaluator. A question without anything of ours goes as a whole.
//!
//! ```text
//! sum(rate(requests_total[5m])) > on() group_left() limit:requests      limit:requests is recorded here
//! └────────── far ───────────┘                      └─── own ────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mainstay_promql::ast::{Edges, Expr, Kind, Selector, Type, When};
use mainstay_promql::eval::{self, Item, Options, Output};
use mainstay_promql::functions::find;
use mainstay_promql::labels::{Labels, NAME};
use mainstay_promql::matcher::{Matcher, Operator};
use mainstay_promql::number::{parse as number, seconds};
use mainstay_promql::sample::{Sample, Series, Source, Value};
use mainstay_scraper::server::{NoReply, Reply, Server};
use serde::Deserialize;

/// The label by which our evaluator finds what the server said.
const FAR: &str = "__mainstay_far__";
/// Series of one answer.
const SERIES_MAX: usize = 200_000;
/// Remarks on the question itself begin so; other warnings mean that something is missing.
const REMARK: &str = "PromQL ";

/// Names of the metrics that are ours.
pub type Own = Arc<BTreeSet<String>>;

/// At one moment, or at steps.
#[derive(Clone, Copy, Debug)]
pub enum Moments {
    At(i64),
    Steps { start: i64, end: i64, step: i64 },
}

/// What a question gave.
#[derive(Debug)]
pub struct Found {
    pub output: Output,
    /// Why something may be missing.
    pub partial: Option<String>,
    /// What the server and our evaluator remark.
    pub remarks: Vec<String>,
}

/// Asks the server, and our own samples where it must.
///
/// # Errors
/// Where the question cannot be answered, or the server is not heard.
pub async fn ask(
    server: &Server,
    own: &BTreeSet<String>,
    local: &dyn Source,
    expr: &Expr,
    moments: Moments,
    options: &Options,
    limit: Duration,
) -> Result<Found, NoReply> {
    let mut cut = Cut {
        own,
        parts: Vec::new(),
        next_id: 0,
    };
    expr.walk(&mut |expr| {
        if let Kind::Selector(selector) = &expr.kind {
            cut.next_id = cut.next_id.max(selector.id + 1);
        }
    });
    if cut.side(expr) == Side::Far {
        return whole(server, expr, moments, options, limit).await;
    }
    let mut rest = expr.clone();
    cut.rewrite(&mut rest, false)?;
    let mut overlay = Overlay {
        parts: Vec::new(),
        local,
    };
    let (mut partial, mut remarks) = (None, Vec::new());
    for part in &cut.parts {
        let found = whole(server, part, moments, options, limit).await?;
        partial = partial.or(found.partial);
        remarks.extend(found.remarks);
        overlay.parts.push(series_of(found.output, moments));
    }
    let answer = match moments {
        Moments::At(at) => eval::instant(&rest, &overlay, at, options),
        Moments::Steps { start, end, step } => {
            eval::range(&rest, &overlay, (start, end, step), options)
        }
    };
    let answer = answer.map_err(|failure| NoReply::Refused(failure.to_string()))?;
    Ok(Found {
        output: answer.output,
        partial,
        remarks,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Asks for nothing.
    None,
    Own,
    Far,
    Both,
}

struct Cut<'o> {
    own: &'o BTreeSet<String>,
    parts: Vec<Expr>,
    next_id: usize,
}

impl Cut<'_> {
    fn side(&self, expr: &Expr) -> Side {
        let mut side = Side::None;
        expr.walk(&mut |expr| {
            if let Kind::Selector(selector) = &expr.kind {
                let found = match self.is_own(selector) {
                    true => Side::Own,
                    false => Side::Far,
                };
                side = match side {
                    Side::None => found,
                    side if side == found => side,
                    _ => Side::Both,
                };
            }
        });
        side
    }

    /// A selector that does not say which metric it means asks the server.
    fn is_own(&self, selector: &Selector) -> bool {
        let named = selector.matchers.iter();
        let mut named = named.filter(|m| m.label == NAME && m.operator == Operator::Equal);
        named.any(|matcher| self.own.contains(&matcher.value))
    }

    fn rewrite(&mut self, expr: &mut Expr, within: bool) -> Result<(), NoReply> {
        match (self.side(expr), expr.kind_of()) {
            (Side::Far, Type::Vector | Type::Scalar) if within => {
                return Err(NoReply::Refused(format!(
                    "a subquery joins {expr}, which the server has, with what is recorded here: record the inner expression by a rule of its own"
                )));
            }
            (Side::Far, kind @ (Type::Vector | Type::Scalar)) => {
                let stand_in = self.stand_in(expr, kind)?;
                self.parts.push(std::mem::replace(expr, stand_in));
                return Ok(());
            }
            (Side::None | Side::Own, _) => return Ok(()),
            (Side::Far | Side::Both, _) => {}
        }
        let within = within || matches!(expr.kind, Kind::Subquery(_));
        for child in expr.children_mut() {
            self.rewrite(child, within)?;
        }
        Ok(())
    }

    /// A selector of what the server will have said.
    fn stand_in(&mut self, expr: &Expr, kind: Type) -> Result<Expr, NoReply> {
        let place = self.parts.len().to_string();
        let matcher = Matcher::new(FAR, Operator::Equal, &place).map_err(NoReply::Refused)?;
        let selector = Expr {
            kind: Kind::Selector(Selector {
                id: self.next_id,
                name: None,
                matchers: vec![matcher],
                range: None,
                edges: Edges::Open,
                when: When::default(),
            }),
            span: expr.span,
        };
        self.next_id += 1;
        match (kind, find("scalar")) {
            (Type::Scalar, Some(function)) => Ok(Expr {
                kind: Kind::Call {
                    function,
                    arguments: vec![selector],
                },
                span: expr.span,
            }),
            _ => Ok(selector),
        }
    }
}

struct Overlay<'l> {
    parts: Vec<Vec<Arc<Series>>>,
    local: &'l dyn Source,
}

impl Source for Overlay<'_> {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Arc<Series>> {
        match matchers {
            [matcher] if matcher.label == FAR => {
                let place = matcher.value.parse::<usize>().ok();
                let part = place.and_then(|place| self.parts.get(place));
                part.cloned().unwrap_or_default()
            }
            _ => self.local.select(matchers, from, to),
        }
    }
}

/// What the server said, as series that have a value at those moments and at no others.
fn series_of(output: Output, moments: Moments) -> Vec<Arc<Series>> {
    let series: Vec<Series> = match output {
        Output::Scalar(value) => vec![one(Labels::default(), Value::Float(value), moments)],
        Output::Vector(items) => items
            .into_iter()
            .map(|item| one(item.labels, item.value, moments))
            .collect(),
        Output::Matrix(series) => series.into_iter().map(|s| with_gaps(s, moments)).collect(),
        Output::String(_) => Vec::new(),
    };
    let mut series: Vec<Arc<Series>> = series.into_iter().map(Arc::new).collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

fn one(labels: Labels, value: Value, moments: Moments) -> Series {
    let at = match moments {
        Moments::At(at) => at,
        Moments::Steps { end, .. } => end,
    };
    let samples = vec![Sample { at, value }];
    Series {
        labels,
        samples,
        ..Series::default()
    }
}

/// Where there is no value at a step, the one before must not pass for it.
fn with_gaps(series: Series, moments: Moments) -> Series {
    let Moments::Steps { start, end, step } = moments else {
        return series;
    };
    let labels = series.labels;
    let mut given: BTreeMap<i64, Value> = series
        .samples
        .into_iter()
        .map(|sample| (sample.at, sample.value))
        .collect();
    let mut samples = Vec::new();
    let mut at = start;
    while at <= end {
        let value = given.remove(&at).unwrap_or(Value::stale());
        samples.push(Sample { at, value });
        at = at.saturating_add(step.max(1));
    }
    Series {
        labels,
        samples,
        ..Series::default()
    }
}

/// Asks the server alone.
async fn whole(
    server: &Server,
    expr: &Expr,
    moments: Moments,
    options: &Options,
    limit: Duration,
) -> Result<Found, NoReply> {
    let at = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let mut form = vec![pair("query", expr.to_string())];
    let what = match moments {
        Moments::At(moment) => {
            form.push(pair("time", at(moment)));
            "query"
        }
        Moments::Steps { start, end, step } => {
            form.push(pair("start", at(start)));
            form.push(pair("end", at(end)));
            form.push(pair("step", seconds(step).to_string()));
            "query_range"
        }
    };
    if options.lookback != Options::default().lookback {
        form.push(pair("lookback_delta", format!("{}ms", options.lookback)));
    }
    form.push(pair("timeout", format!("{}ms", limit.as_millis())));
    let Reply {
        data,
        warnings,
        infos,
    } = server.ask(what, Some(&form), limit).await?;
    let moment = match moments {
        Moments::At(at) => at,
        Moments::Steps { end, .. } => end,
    };
    let output = read(data.get(), moment).map_err(NoReply::Unheard)?;
    let (mut remarks, missing): (Vec<String>, Vec<String>) = warnings
        .into_iter()
        .partition(|warning| warning.starts_with(REMARK));
    remarks.extend(infos);
    let partial = (!missing.is_empty()).then(|| missing.join("; "));
    Ok(Found {
        output,
        partial,
        remarks,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'d> {
    result_type: String,
    #[serde(borrow)]
    result: &'d serde_json::value::RawValue,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    histogram: Option<serde::de::IgnoredAny>,
    histograms: Option<serde::de::IgnoredAny>,
}

fn read(text: &str, at: i64) -> Result<Output, String> {
    let failed = |error: serde_json::Error| format!("the answer cannot be read: {error}");
    let data: Data<'_> = serde_json::from_str(text).map_err(failed)?;
    let float = |text: &str| number(text).ok_or_else(|| format!("{text:?} is no number"));
    let point = |text: &str| serde_json::from_str::<(f64, String)>(text).map_err(failed);
    let rows = || -> Result<Vec<Row>, String> {
        let rows: Vec<Row> = serde_json::from_str(data.result.get()).map_err(failed)?;
        if rows.len() > SERIES_MAX {
            return Err(format!("the answer has more than {SERIES_MAX} series"));
        }
        let is_native = |row: &Row| row.histogram.is_some() || row.histograms.is_some();
        if rows.iter().any(is_native) {
            return Err("the answer has native histograms, which are not read".to_owned());
        }
        Ok(rows)
    };
    match data.result_type.as_str() {
        "scalar" => Ok(Output::Scalar(float(&point(data.result.get())?.1)?)),
        "string" => Ok(Output::String(point(data.result.get())?.1)),
        "vector" => {
            let items = rows()?.into_iter().map(|row| {
                let (_, text) = row.value.ok_or("a row has no value")?;
                let value = Value::Float(float(&text)?);
                Ok(Item::of(Labels::new(row.metric), value, at))
            });
            Ok(Output::Vector(items.collect::<Result<_, String>>()?))
        }
        "matrix" => {
            let series = rows()?.into_iter().map(|row| {
                let samples = row.values.iter().map(|(moment, text)| {
                    let at = mainstay_promql::number::milliseconds(*moment);
                    let at = at.ok_or("a moment is no number")?;
                    let value = Value::Float(float(text)?);
                    Ok(Sample { at, value })
                });
                Ok(Series {
                    samples: samples.collect::<Result<_, String>>()?,
                    labels: Labels::new(row.metric),
                    ..Series::default()
                })
            });
            Ok(Output::Matrix(series.collect::<Result<_, String>>()?))
        }
        other => Err(format!("the answer is a {other:?}, which is not known")),
    }
}
