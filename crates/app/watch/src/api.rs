//! Questions over HTTP, in the form of Prometheus's API: GET, or POST of a form.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use mainstay_promql::ast::{Expr, Kind};
use mainstay_promql::eval::{Limits, Options, Output, instant, range};
use mainstay_promql::labels::Labels;
use mainstay_promql::matcher::Matcher;
use mainstay_promql::number::parse_duration;
use mainstay_promql::parse::parse;
use mainstay_record::watch::WatchTarget;
use mainstay_rt::http::{Answer, Call, text};
use mainstay_rules::alert::{Active, State};
use mainstay_rules::file::{Kind as RuleKind, Rule};
use serde_json::{Map, Value as Json, json};

use crate::answer::{Found, Refusal, envelope, labels, output};
use crate::duty::Duty;
use crate::far::Moments;
use crate::form::{Form, unescape};
use crate::moment;
use crate::shown::board;
use crate::world::World;

/// Samples that one question may look at: nobody else is served meanwhile.
const SAMPLES_MAX: usize = 5_000_000;
/// Points of one series in an answer, as in Prometheus.
const POINTS_MAX: i64 = 11_000;
const TRUNCATED: &str = "results truncated due to limit";

pub fn answer(world: &World, call: &Call, now: i64) -> Answer {
    match call.path.as_str() {
        "/-/healthy" => return text(StatusCode::OK, "Mainstay's watch is healthy.\n"),
        "/metrics" => return figures(world),
        "/v1/board" => return mainstay_rt::http::json(StatusCode::OK, &board(world, now)),
        "/-/ready" if world.is_awake() => {
            return text(StatusCode::OK, "Mainstay's watch is ready.\n");
        }
        "/-/ready" => {
            let waits = "not every target was asked yet\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, waits);
        }
        _ => {}
    }
    envelope(question(world, call, now))
}

fn figures(world: &World) -> Answer {
    let mut answer = text(StatusCode::OK, crate::figures::page(world));
    let kind = http::HeaderValue::from_static(mainstay_scrape::page::CONTENT_TYPE);
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    answer
}

/// What a question carries.
pub fn form_of(call: &Call) -> Result<Form, Refusal> {
    let body = match call.method {
        Method::GET | Method::HEAD => &[][..],
        Method::POST => &call.body[..],
        _ => {
            return Err(Refusal::BadData(format!(
                "{} is not answered: use GET or POST",
                call.method
            )));
        }
    };
    Form::read(&call.query, body).map_err(Refusal::BadData)
}

fn question(world: &World, call: &Call, now: i64) -> Result<Found, Refusal> {
    let form = form_of(call)?;
    match call.path.strip_prefix("/api/v1/").unwrap_or("") {
        "query" => query(world, &Query::at_one_moment(&form, now)?),
        "query_range" => query(world, &Query::over_time(&form)?),
        "metadata" => metadata(world, &form),
        "rules" => Ok(rules(world, &form).into()),
        "alerts" => Ok(alerts(world).into()),
        "targets" => Ok(targets(world).into()),
        "format_query" => Ok(Json::from(expression(&form)?.to_string()).into()),
        // Samples carry no traces here.
        "query_exemplars" => expression(&form).map(|_| Json::from(Vec::<Json>::new()).into()),
        "status/buildinfo" => Ok(build().into()),
        "status/flags" => Ok(Json::Object(Map::new()).into()),
        "status/config" => Ok(json!({ "yaml": "" }).into()),
        "status/runtimeinfo" => Ok(runtime(world).into()),
        "status/tsdb" => Ok(store(world).into()),
        path => known(world, path, &form).unwrap_or_else(|| {
            let why = format!("{} is not answered here", call.path);
            Err(Refusal::NotFound(why))
        }),
    }
}

/// What there is: series, names and values of labels. Nothing where the path asks for something else.
pub fn known(world: &World, path: &str, form: &Form) -> Option<Result<Found, Refusal>> {
    match path {
        "series" => Some(series(world, form)),
        "labels" => Some(label_names(world, form)),
        _ => {
            let rest = path.strip_prefix("label/")?;
            Some(label_values(world, rest.strip_suffix("/values")?, form))
        }
    }
}

fn moment_of(form: &Form, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = form.one(name) else {
        return Ok(None);
    };
    let at = moment::parse(text).ok_or_else(|| {
        Refusal::parameter(name, format!("cannot parse {text:?} to a valid timestamp"))
    })?;
    Ok(Some(at))
}

fn length_of(form: &Form, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = form.one(name) else {
        return Ok(None);
    };
    let seconds = text
        .parse::<f64>()
        .ok()
        .and_then(mainstay_promql::number::milliseconds);
    let length = seconds.or_else(|| parse_duration(text)).ok_or_else(|| {
        Refusal::parameter(name, format!("cannot parse {text:?} to a valid duration"))
    })?;
    Ok(Some(length))
}

/// How many results are wanted; zero is all.
fn limit_of(form: &Form, name: &str) -> Result<usize, Refusal> {
    let Some(text) = form.one(name) else {
        return Ok(usize::MAX);
    };
    let limit: usize = text
        .parse()
        .map_err(|_| Refusal::parameter(name, format!("{text:?} is no number of results")))?;
    Ok(if limit == 0 { usize::MAX } else { limit })
}

fn expression(form: &Form) -> Result<Expr, Refusal> {
    parse(form.one("query").unwrap_or("")).map_err(|fault| Refusal::parameter("query", fault))
}

fn options(form: &Form) -> Result<Options, Refusal> {
    let mut options = Options {
        limits: Limits {
            samples: SAMPLES_MAX,
            ..Limits::default()
        },
        ..Options::default()
    };
    if let Some(lookback) = length_of(form, "lookback_delta")? {
        options.lookback = lookback.max(1);
    }
    Ok(options)
}

/// A question in PromQL.
pub struct Query {
    pub expr: Expr,
    pub moments: Moments,
    pub options: Options,
    limit: usize,
}

impl Query {
    pub fn at_one_moment(form: &Form, now: i64) -> Result<Self, Refusal> {
        Ok(Self {
            moments: Moments::At(moment_of(form, "time")?.unwrap_or(now)),
            limit: limit_of(form, "limit")?,
            expr: expression(form)?,
            options: options(form)?,
        })
    }

    pub fn over_time(form: &Form) -> Result<Self, Refusal> {
        Ok(Self {
            moments: steps(form)?,
            limit: limit_of(form, "limit")?,
            expr: expression(form)?,
            options: options(form)?,
        })
    }

    pub fn found(&self, found: &Output) -> Found {
        let at = match self.moments {
            Moments::At(at) => at,
            Moments::Steps { end, .. } => end,
        };
        let (data, cut) = output(found, at, self.limit);
        Found::from(data).warn_if(cut.then_some(TRUNCATED))
    }
}

fn query(world: &World, query: &Query) -> Result<Found, Refusal> {
    let found = match query.moments {
        Moments::At(at) => instant(&query.expr, &world.store, at, &query.options)?,
        Moments::Steps { start, end, step } => {
            let times = (start, end, step);
            range(&query.expr, &world.store, times, &query.options)?
        }
    };
    Ok(query.found(&found.output).with(&found.annotations))
}

fn steps(form: &Form) -> Result<Moments, Refusal> {
    let needed = |name: &str| {
        moment_of(form, name)?
            .ok_or_else(|| Refusal::parameter(name, "cannot parse \"\" to a valid timestamp"))
    };
    let (start, end) = (needed("start")?, needed("end")?);
    if end < start {
        return Err(Refusal::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step = length_of(form, "step")?
        .ok_or_else(|| Refusal::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step <= 0 {
        return Err(Refusal::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end.saturating_sub(start) / step > POINTS_MAX {
        return Err(Refusal::BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)".to_owned(),
        ));
    }
    Ok(Moments::Steps { start, end, step })
}

/// Selectors of the fields `match[]`.
fn selections(form: &Form) -> Result<Vec<Vec<Matcher>>, Refusal> {
    let read = |text: &str| {
        let expr = parse(text).map_err(|fault| Refusal::parameter("match[]", fault))?;
        match expr.kind {
            Kind::Selector(selector) if selector.range.is_none() => Ok(selector.matchers),
            _ => Err(Refusal::parameter(
                "match[]",
                format!("{text:?} is no selector of series, such as up{{job=\"edge\"}}"),
            )),
        }
    };
    form.all("match[]").map(read).collect()
}

/// Series that one of the selectors selects; all of them where there is none.
fn selected(world: &World, form: &Form) -> Result<BTreeSet<Labels>, Refusal> {
    let mut selections = selections(form)?;
    if selections.is_empty() {
        selections.push(Vec::new());
    }
    let from = moment_of(form, "start")?.unwrap_or(i64::MIN);
    let to = moment_of(form, "end")?.unwrap_or(i64::MAX);
    let head = world.store.read();
    let mut found = BTreeSet::new();
    for matchers in &selections {
        found.extend(head.series(matchers, from, to).cloned());
    }
    Ok(found)
}

fn limited(found: Vec<Json>, limit: usize) -> Found {
    let cut = found.len() > limit;
    let found: Vec<Json> = found.into_iter().take(limit).collect();
    Found::from(Json::from(found)).warn_if(cut.then_some(TRUNCATED))
}

fn series(world: &World, form: &Form) -> Result<Found, Refusal> {
    if form.all("match[]").next().is_none() {
        return Err(Refusal::BadData("no match[] parameter provided".to_owned()));
    }
    let found = selected(world, form)?.iter().map(labels).collect();
    Ok(limited(found, limit_of(form, "limit")?))
}

fn label_names(world: &World, form: &Form) -> Result<Found, Refusal> {
    let found = selected(world, form)?;
    let names: BTreeSet<&str> = found
        .iter()
        .flat_map(|labels| labels.iter().map(|(name, _)| name))
        .collect();
    let names = names.into_iter().map(Json::from).collect();
    Ok(limited(names, limit_of(form, "limit")?))
}

fn label_values(world: &World, name: &str, form: &Form) -> Result<Found, Refusal> {
    let name = unescape(name).map_err(Refusal::BadData)?;
    if name.is_empty() {
        return Err(Refusal::BadData("invalid label name: \"\"".to_owned()));
    }
    let found = selected(world, form)?;
    let values: BTreeSet<&str> = found
        .iter()
        .map(|labels| labels.get(&name))
        .filter(|value| !value.is_empty())
        .collect();
    let values = values.into_iter().map(Json::from).collect();
    Ok(limited(values, limit_of(form, "limit")?))
}

fn metadata(world: &World, form: &Form) -> Result<Found, Refusal> {
    let (limit, each) = (
        limit_of(form, "limit")?,
        limit_of(form, "limit_per_metric")?,
    );
    let wanted = form.one("metric");
    let metrics = world
        .meanings
        .iter()
        .filter(|(metric, _)| wanted.is_none_or(|wanted| wanted == *metric))
        .take(limit);
    let found = metrics.map(|(metric, told)| {
        let told = told.iter().take(each);
        let told: Vec<Json> = told
            .map(|told| json!({ "type": told.kind, "help": told.help, "unit": told.unit }))
            .collect();
        (metric.clone(), Json::from(told))
    });
    Ok(Json::Object(found.collect()).into())
}

/// In Prometheus's form. A missing alert is firing there, and says besides since when nothing is measured.
fn alert(alert: &Active) -> Json {
    let state = match alert.state {
        State::Pending => "pending",
        State::Firing | State::Missing => "firing",
        State::Resolved => "inactive",
    };
    let mut shown = json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": state,
        "activeAt": moment::show(alert.active_at),
        "value": mainstay_promql::number::general(alert.value),
    });
    let since = |at: Option<i64>| at.map(|at| Json::from(moment::show(at)));
    let extras = [
        ("keepFiringSince", since(alert.kept_since)),
        ("missingSince", since(alert.missing_since)),
    ];
    if let Some(shown) = shown.as_object_mut() {
        let present = extras
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), at?)));
        shown.extend(present);
    }
    shown
}

fn standing(alert: &Active) -> bool {
    alert.state != State::Resolved
}

fn alerts(world: &World) -> Json {
    let all = world
        .duties
        .iter()
        .flat_map(|duty| duty.memory.alerts(&duty.group))
        .map(|(_, active)| active);
    let received = world.post.iter().flat_map(|post| post.inbox.alerts());
    let all = all.chain(received).filter(|active| standing(active));
    let all: Vec<Json> = all.map(alert).collect();
    json!({ "alerts": all })
}

fn rules(world: &World, form: &Form) -> Json {
    let wanted = form.one("type");
    let groups = world.duties.iter().map(|duty| {
        let rules = duty.group.rules.iter().filter(|rule| match wanted {
            Some("alert") => rule.alert().is_some(),
            Some("record") => rule.alert().is_none(),
            _ => true,
        });
        let rules: Vec<Json> = rules.map(|shown| rule(duty, shown)).collect();
        json!({
            "name": duty.group.name,
            "file": duty.group.file,
            "interval": mainstay_promql::number::seconds(duty.interval),
            "limit": duty.group.limit,
            "rules": rules,
            "evaluationTime": seconds(duty),
            "lastEvaluation": evaluated(duty),
            "missedEvaluations": duty.missed,
        })
    });
    let groups: Vec<Json> = groups.collect();
    let refused = world
        .refused
        .iter()
        .map(|refused| json!({ "file": refused.file, "error": refused.why }));
    let refused: Vec<Json> = refused.collect();
    json!({ "groups": groups, "refused": refused })
}

fn seconds(duty: &Duty) -> f64 {
    mainstay_promql::number::seconds(i64::try_from(duty.took_ms).unwrap_or(i64::MAX))
}

/// Prometheus's word for "never" is the zero time of Go.
fn evaluated(duty: &Duty) -> String {
    duty.last
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), moment::show)
}

fn rule(duty: &Duty, shown: &Rule) -> Json {
    let problem = duty
        .memory
        .problems(&duty.group)
        .find(|(rule, _)| std::ptr::eq(*rule, shown));
    let health = match (problem, duty.last) {
        (Some(_), _) => "err",
        (None, Some(_)) => "ok",
        (None, None) => "unknown",
    };
    let templates = |pairs: &[(String, mainstay_rules::template::Template)]| {
        let pairs = pairs
            .iter()
            .map(|(name, template)| (name.clone(), Json::from(template.text())));
        Json::Object(pairs.collect())
    };
    let mut form = Map::new();
    let mut put = |name: &str, value: Json| form.insert(name.to_owned(), value);
    put("name", shown.name().into());
    put("query", shown.text.clone().into());
    put("labels", templates(&shown.labels));
    put("health", health.into());
    put("evaluationTime", seconds(duty).into());
    put("lastEvaluation", evaluated(duty).into());
    if let Some((_, why)) = problem {
        put("lastError", why.into());
    }
    match &shown.kind {
        RuleKind::Record(_) => {
            put("type", "recording".into());
        }
        RuleKind::Alert(of) => {
            let active = duty.memory.alerts(&duty.group);
            let active: Vec<&Active> = active
                .filter(|(rule, active)| std::ptr::eq(*rule, shown) && standing(active))
                .map(|(_, active)| active)
                .collect();
            let is = |states: &[State]| active.iter().any(|active| states.contains(&active.state));
            let state = match (is(&[State::Firing, State::Missing]), is(&[State::Pending])) {
                (true, _) => "firing",
                (false, true) => "pending",
                (false, false) => "inactive",
            };
            put("type", "alerting".into());
            put("state", state.into());
            put("duration", mainstay_promql::number::seconds(of.hold).into());
            put(
                "keepFiringFor",
                mainstay_promql::number::seconds(of.keep_firing).into(),
            );
            put("annotations", templates(&of.annotations));
            put(
                "alerts",
                active.into_iter().map(alert).collect::<Vec<_>>().into(),
            );
        }
    }
    Json::Object(form)
}

fn targets(world: &World) -> Json {
    let active = world.seen.iter().map(|seen| {
        let target = &seen.target;
        let health = match (seen.last, &seen.problem) {
            (None, _) => "unknown",
            (Some(_), None) => "up",
            (Some(_), Some(_)) => "down",
        };
        let mut labels = target.labels.clone();
        labels.insert("job".to_owned(), target.job.clone());
        labels.insert("instance".to_owned(), target.instance.clone());
        json!({
            "labels": labels,
            "scrapePool": target.job,
            "scrapeUrl": url(target),
            "health": health,
            "lastError": seen.problem.as_deref().unwrap_or(""),
            "lastScrape": seen.last.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), moment::show),
            "silentSince": seen.silent_since.map(moment::show),
        })
    });
    let active: Vec<Json> = active.collect();
    json!({ "activeTargets": active, "droppedTargets": [] })
}

fn url(target: &WatchTarget) -> String {
    let (address, path) = (&target.address, &target.path);
    match (&target.name, address.starts_with("unix:")) {
        (Some(_), _) => format!("https://{address}{path}"),
        (None, true) => format!("{address}{path}"),
        (None, false) => format!("http://{address}{path}"),
    }
}

/// What is known of it: clients show it, and none decides by it.
fn runtime(world: &World) -> Json {
    let (series, _, _) = world.store.read().size();
    let begun = i64::try_from(world.begun_ms()).unwrap_or(i64::MAX);
    json!({
        "startTime": moment::show(begun),
        "timeSeriesCount": series,
        "reloadConfigSuccess": world.refused.is_empty(),
    })
}

/// How much is at hand; what has most series is not counted here.
fn store(world: &World) -> Json {
    let (series, samples, bytes) = world.store.read().size();
    json!({
        "headStats": { "numSeries": series, "numSamples": samples, "packedBytes": bytes },
        "seriesCountByMetricName": [],
        "labelValueCountByLabelName": [],
        "memoryInBytesByLabelName": [],
        "seriesCountByLabelValuePair": [],
    })
}

/// Clients choose by the version what they may ask: of Prometheus, which this API follows.
fn build() -> Json {
    json!({
        "version": "3.5.0",
        "application": "mainstay",
        "mainstayVersion": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}
