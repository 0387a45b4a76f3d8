//! The shapes of answers: Prometheus's envelope, errors, values and samples.

use http::StatusCode;
use mainstay_promql::annotation::{Annotations, Level};
use mainstay_promql::eval::{Failure, Output};
use mainstay_promql::labels::Labels;
use mainstay_promql::number::plain;
use mainstay_promql::sample::{Sample, Series, Value};
use mainstay_rt::http::{Answer, json};
use mainstay_scraper::server::NoReply;
use serde_json::{Map, Value as Json, json as form};

/// Why a question has no answer, in Prometheus's classes.
#[derive(Debug)]
pub enum Refusal {
    BadData(String),
    Execution(String),
    NotFound(String),
    /// Whoever knows was not heard.
    Unavailable(String),
}

impl Refusal {
    pub fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::BadData(format!("invalid parameter {name:?}: {why}"))
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Meaning(_) | Failure::Samples(_) | Failure::Steps(_) => {
                Self::Execution(failure.to_string())
            }
        }
    }
}

impl From<NoReply> for Refusal {
    fn from(no: NoReply) -> Self {
        match no {
            NoReply::Refused(why) => Self::Execution(why),
            NoReply::Unheard(why) => Self::Unavailable(why),
        }
    }
}

/// Data, and what was doubtful about it.
#[derive(Clone, Debug)]
pub struct Found {
    pub data: Json,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
}

impl From<Json> for Found {
    fn from(data: Json) -> Self {
        Self {
            data,
            warnings: Vec::new(),
            infos: Vec::new(),
        }
    }
}

impl Found {
    pub fn with(mut self, annotations: &Annotations) -> Self {
        let words = |level| annotations.of(level).map(ToOwned::to_owned);
        self.warnings.extend(words(Level::Warning));
        self.infos.extend(words(Level::Info));
        self
    }

    pub fn warn_if(mut self, doubtful: Option<&str>) -> Self {
        self.warnings.extend(doubtful.map(ToOwned::to_owned));
        self
    }
}

pub fn envelope(outcome: Result<Found, Refusal>) -> Answer {
    match outcome {
        Ok(found) => {
            let mut envelope = Map::new();
            envelope.insert("status".to_owned(), "success".into());
            envelope.insert("data".to_owned(), found.data);
            for (name, words) in [("warnings", found.warnings), ("infos", found.infos)] {
                if !words.is_empty() {
                    envelope.insert(name.to_owned(), words.into());
                }
            }
            json(StatusCode::OK, &envelope)
        }
        Err(refusal) => {
            let (status, kind, message) = match refusal {
                Refusal::BadData(why) => (StatusCode::BAD_REQUEST, "bad_data", why),
                Refusal::Execution(why) => (StatusCode::UNPROCESSABLE_ENTITY, "execution", why),
                Refusal::Unavailable(why) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", why),
                Refusal::NotFound(why) => (StatusCode::NOT_FOUND, "not_found", why),
            };
            let body = form!({ "status": "error", "errorType": kind, "error": message });
            json(status, &body)
        }
    }
}

pub fn labels(labels: &Labels) -> Json {
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.to_owned(), Json::from(value)));
    Json::Object(pairs.collect())
}

/// Seconds, without a fraction where there is none.
fn at(ms: i64) -> Json {
    if ms % 1_000 == 0 {
        return (ms / 1_000).into();
    }
    mainstay_promql::number::seconds(ms).into()
}

fn point(moment: i64, value: f64) -> Json {
    form!([at(moment), plain(value)])
}

fn float(sample: &Sample) -> Option<Json> {
    match &sample.value {
        Value::Float(value) => Some(point(sample.at, *value)),
        // The store keeps floats only, and no function makes a histogram of floats.
        Value::Histogram(_) => None,
    }
}

fn matrix(series: &[Series]) -> Json {
    let rows = series.iter().map(|series| {
        let values: Vec<Json> = series.samples.iter().filter_map(float).collect();
        form!({ "metric": labels(&series.labels), "values": values })
    });
    rows.collect::<Vec<Json>>().into()
}

/// Of a query at `moment`: a vector's values are of that moment, whenever they were measured.
pub fn output(output: &Output, moment: i64, limit: usize) -> (Json, bool) {
    let (kind, result, cut) = match output {
        Output::Scalar(value) => ("scalar", point(moment, *value), false),
        Output::String(text) => ("string", form!([at(moment), text]), false),
        Output::Vector(items) => {
            let rows = items.iter().take(limit).filter_map(|item| {
                let value = item.value.float()?;
                Some(form!({ "metric": labels(&item.labels), "value": point(moment, value) }))
            });
            let rows: Vec<Json> = rows.collect();
            ("vector", rows.into(), items.len() > limit)
        }
        Output::Matrix(series) => {
            let shown = series.get(..limit).unwrap_or(series);
            ("matrix", matrix(shown), series.len() > limit)
        }
    };
    (form!({ "resultType": kind, "result": result }), cut)
}
