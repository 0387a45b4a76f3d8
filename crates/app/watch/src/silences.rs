//! Silences in the form of Alertmanager's API, version 2. They are kept in the platform's journal, so everything is asked of
//! the node of this host, over its socket.
//!
//! | request                        | becomes                                        |
//! |--------------------------------|------------------------------------------------|
//! | `GET /api/v2/silences`         | what `mainstay silence list` shows             |
//! | `POST /api/v2/silences`        | `mainstay silence add`; with an `id`, in place of that one |
//! | `GET /api/v2/silence/ID`       | one of them                                    |
//! | `DELETE /api/v2/silence/ID`    | `mainstay silence end`                         |
//!
//! A silence here begins at once and compares by equality: what cannot be kept so is refused, never kept otherwise. Who asks
//! is the user that the watch runs as; whom the request names stands in the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use mainstay_notify::Matcher;
use mainstay_record::node::{Command, CommandOutcome, CommandRequest};
use mainstay_record::notice::{NoticeAskRecord, OncallAnswer, SilenceView};
use mainstay_rt::http::{Answer, Call, json, request_unix};
use serde::Deserialize;
use serde_json::{Value as Json, json as form};

use crate::form::Form;
use crate::moment;
use crate::world::chain;

const MANY: &str = "/api/v2/silences";
const ONE: &str = "/api/v2/silence/";
/// The node itself waits for the journal for less.
const LIMIT: Duration = Duration::from_secs(25);
/// Clocks of those who ask may be ahead by so much.
const AHEAD_MS: i64 = 60_000;
const TEXT_MAX: usize = 4_096;
const MATCHERS_MAX: usize = 20;
/// Clients take a silence's name for an UUID; the number stands at its end.
const NAMED: &str = "6d61696e-7374-8179-8000-";

/// What a request asks.
#[derive(Debug)]
pub enum Asked {
    List(Vec<Matcher>),
    One(u64),
    Set(Box<Wanted>),
    End(u64),
}

#[derive(Debug)]
pub struct Wanted {
    matchers: Vec<Matcher>,
    lasts_ms: u64,
    reason: String,
    instead_of: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<PostedMatcher>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "equal")]
    is_equal: bool,
}

const fn equal() -> bool {
    true
}

/// Why a request came to nothing.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    why: String,
}

impl Problem {
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { status, why }
    }

    pub fn answer(&self) -> Answer {
        json(self.status, &self.why)
    }
}

/// Whether a request is about silences.
pub fn is_about(path: &str) -> bool {
    path == MANY || path.starts_with(ONE)
}

/// # Errors
/// What means nothing here.
pub fn read(call: &Call, now: i64) -> Result<Asked, Problem> {
    let wrong = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    if let Some(name) = call.path.strip_prefix(ONE) {
        let silence = number_of(name).ok_or_else(|| gone(name))?;
        return match call.method {
            Method::GET => Ok(Asked::One(silence)),
            Method::DELETE => Ok(Asked::End(silence)),
            _ => Err(unanswered(call)),
        };
    }
    match call.method {
        Method::GET => filters(call).map(Asked::List).map_err(wrong),
        Method::POST => {
            let posted: Posted = serde_json::from_slice(&call.body)
                .map_err(|error| wrong(format!("the body is no silence: {error}")))?;
            wanted(posted, now).map_err(wrong).map(Asked::Set)
        }
        _ => Err(unanswered(call)),
    }
}

fn unanswered(call: &Call) -> Problem {
    let why = format!("{} {} is not answered here", call.method, call.path);
    Problem::new(StatusCode::NOT_FOUND, why)
}

fn gone(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no silence {name}"))
}

fn name_of(silence: u64) -> String {
    format!("{NAMED}{silence:012x}")
}

/// By its UUID, or as people call it: `s3`.
fn number_of(name: &str) -> Option<u64> {
    if let Some(number) = name.strip_prefix('s') {
        return number.parse().ok();
    }
    let number = name.to_ascii_lowercase();
    let number = number.strip_prefix(NAMED)?;
    u64::from_str_radix(number, 16).ok()
}

/// What a silence's own matchers are looked through for.
fn filters(call: &Call) -> Result<Vec<Matcher>, String> {
    let form = Form::read(&call.query, &[])?;
    let filters = form.all("filter").map(|text| {
        let is_pattern = text.contains("=~") || text.contains("!~");
        match Matcher::parse(text).filter(|_| !is_pattern) {
            Some(filter) => Ok(filter),
            None => Err(format!(
                "the filter {text:?} does not compare by equality: NAME=\"VALUE\" or NAME!=\"VALUE\""
            )),
        }
    });
    filters.collect()
}

fn wanted(posted: Posted, now: i64) -> Result<Box<Wanted>, String> {
    if posted.matchers.len() > MATCHERS_MAX {
        return Err(format!("it has more than {MATCHERS_MAX} matchers"));
    }
    let matchers = posted.matchers.iter().map(matcher);
    let matchers = matchers.collect::<Result<Vec<Matcher>, String>>()?;
    if matchers.iter().all(|m| m.value.is_empty() != m.differs) {
        return Err("at least one matcher must not match what is not there".to_owned());
    }
    let moment = |name: &str, text: &str| {
        moment::parse(text).ok_or_else(|| format!("{name} {text:?} is no moment"))
    };
    let starts = moment("startsAt", &posted.starts_at)?;
    if starts > now.saturating_add(AHEAD_MS) {
        return Err("a silence begins at once here, and startsAt lies ahead".to_owned());
    }
    let lasts = moment("endsAt", &posted.ends_at)?.saturating_sub(now);
    if lasts <= 0 {
        return Err("endsAt has passed".to_owned());
    }
    let said = [posted.created_by.trim(), posted.comment.trim()];
    if said.iter().any(|text| text.is_empty()) {
        return Err("createdBy and comment say who silences, and why".to_owned());
    }
    if said.iter().any(|text| text.len() > TEXT_MAX) {
        return Err(format!(
            "createdBy or comment has more than {TEXT_MAX} bytes"
        ));
    }
    let instead_of = match posted.id.filter(|id| !id.is_empty()) {
        Some(id) => Some(number_of(&id).ok_or_else(|| format!("there is no silence {id}"))?),
        None => None,
    };
    let [by, comment] = said;
    Ok(Box::new(Wanted {
        matchers,
        lasts_ms: u64::try_from(lasts).unwrap_or(0),
        reason: format!("{by}, over the door for alerts: {comment}"),
        instead_of,
    }))
}

/// What is kept must be what was meant, to the letter.
fn matcher(posted: &PostedMatcher) -> Result<Matcher, String> {
    let PostedMatcher { name, value, .. } = posted;
    if posted.is_regex {
        return Err(format!(
            "the matcher of {name} is a pattern, and silences compare by equality here"
        ));
    }
    let meant = Matcher {
        name: name.clone(),
        value: value.clone(),
        differs: !posted.is_equal,
    };
    let fits = value.len() <= TEXT_MAX && !value.contains(char::is_control);
    let kept = Matcher::parse(&meant.to_string()).filter(|kept| fits && *kept == meant);
    kept.ok_or_else(|| format!("a silence cannot compare {name:?} with {value:?}"))
}

/// Asks the node.
pub async fn answer(node: &Path, asked: Asked) -> Answer {
    let answered = match asked {
        Asked::List(filters) => list(node, &filters).await,
        Asked::One(silence) => one(node, silence).await,
        Asked::Set(wanted) => set(node, *wanted).await,
        Asked::End(silence) => end(node, silence, "it was ended over the door for alerts").await,
    };
    answered.unwrap_or_else(|problem| problem.answer())
}

async fn ask(node: &Path, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let asked = request_unix(node, method, path, body, LIMIT).await;
    let why = match asked {
        Ok((StatusCode::OK, body)) => return Ok(body.to_vec()),
        Ok((StatusCode::FORBIDDEN, body)) => {
            return Err(refused(serde_json::from_slice(&body).ok()));
        }
        Ok((status, _)) => format!("the node of this host answers {status}"),
        Err(error) => chain(&error),
    };
    tracing::warn!(why, "silences are not to be had");
    let why = format!("silences are kept in the journal, which is not to be had: {why}");
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))
}

async fn silences(node: &Path) -> Result<Vec<SilenceView>, Problem> {
    let body = ask(node, Method::GET, "/v1/oncall", Vec::new()).await?;
    let answer = serde_json::from_slice::<OncallAnswer>(&body);
    let answer = answer.map_err(|error| unreadable(&chain(&error)))?;
    Ok(answer.silences)
}

fn unreadable(why: &str) -> Problem {
    let why = format!("the node of this host says nothing that can be read: {why}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
}

async fn list(node: &Path, filters: &[Matcher]) -> Result<Answer, Problem> {
    let all = silences(node).await?;
    let shown = all.iter().filter(|view| fits(view, filters));
    let shown: Vec<Json> = shown.filter_map(shown_of).collect();
    Ok(json(StatusCode::OK, &shown))
}

async fn one(node: &Path, silence: u64) -> Result<Answer, Problem> {
    let all = silences(node).await?;
    let name = format!("s{silence}");
    let known = all.iter().find(|view| view.silence == name);
    known
        .and_then(shown_of)
        .map(|shown| json(StatusCode::OK, &shown))
        .ok_or_else(|| gone(&name_of(silence)))
}

/// As Alertmanager looks through silences: their matchers are taken for labels.
fn fits(view: &SilenceView, filters: &[Matcher]) -> bool {
    let own = view.matchers.iter().filter_map(|text| Matcher::parse(text));
    let own: BTreeMap<String, String> = own.map(|m| (m.name, m.value)).collect();
    filters.iter().all(|filter| {
        let value = own.get(&filter.name);
        match (filter.value.is_empty(), value.is_some()) {
            // Whether it is named at all.
            (true, named) => named == filter.differs,
            (false, _) => (value == Some(&filter.value)) != filter.differs,
        }
    })
}

fn shown_of(view: &SilenceView) -> Option<Json> {
    let number = number_of(&view.silence)?;
    let moment = |ms: u64| moment::show(i64::try_from(ms).unwrap_or(i64::MAX));
    let matchers = view.matchers.iter().filter_map(|text| {
        let matcher = Matcher::parse(text)?;
        Some(form!({
            "name": matcher.name,
            "value": matcher.value,
            "isRegex": false,
            "isEqual": !matcher.differs,
        }))
    });
    Some(form!({
        "id": name_of(number),
        "status": { "state": "active" },
        "matchers": matchers.collect::<Vec<_>>(),
        "startsAt": moment(view.since_ms),
        "updatedAt": moment(view.since_ms),
        "endsAt": moment(view.until_ms),
        "createdBy": view.by,
        "comment": view.reason,
    }))
}

async fn command(node: &Path, ask_for: NoticeAskRecord, reason: &str) -> Result<String, Problem> {
    let request = CommandRequest {
        command: Command::Notice(ask_for),
        reason: reason.to_owned(),
        overrides: BTreeSet::new(),
    };
    let body = serde_json::to_vec(&request).map_err(|error| unreadable(&chain(&error)))?;
    let body = ask(node, Method::POST, "/v1/command", body).await?;
    match serde_json::from_slice(&body) {
        Ok(CommandOutcome::Done { detail, .. }) => Ok(detail),
        Ok(outcome) => Err(refused(Some(outcome))),
        Err(error) => Err(unreadable(&chain(&error))),
    }
}

fn refused(outcome: Option<CommandOutcome>) -> Problem {
    let (status, why) = match outcome {
        Some(CommandOutcome::Refused { code, why, next }) => {
            let status = match code.as_str() {
                "no_such_silence" => StatusCode::NOT_FOUND,
                "silence" => StatusCode::BAD_REQUEST,
                _ => StatusCode::FORBIDDEN,
            };
            (status, format!("{why} ({code}): {next}"))
        }
        Some(CommandOutcome::Unknown { why, .. }) => {
            let why = format!("whether it is in force is not known: {why}");
            (StatusCode::SERVICE_UNAVAILABLE, why)
        }
        Some(CommandOutcome::Done { .. }) | None => {
            let why = "the node of this host does not let the watch ask".to_owned();
            (StatusCode::FORBIDDEN, why)
        }
    };
    Problem::new(status, why)
}

async fn set(node: &Path, wanted: Wanted) -> Result<Answer, Problem> {
    if let Some(before) = wanted.instead_of {
        one(node, before).await?;
    }
    let ask_for = NoticeAskRecord::Silence {
        matchers: wanted.matchers.iter().map(ToString::to_string).collect(),
        lasts_ms: wanted.lasts_ms,
    };
    let detail = command(node, ask_for, &wanted.reason).await?;
    // The node says which one it is: `silence s3 is set`.
    let number = detail.split_whitespace().find_map(|word| {
        word.strip_prefix('s')
            .and_then(|digits| digits.parse().ok())
    });
    let number: u64 = number.ok_or_else(|| unreadable(&detail))?;
    // First the new one, so that nobody is called in between.
    if let Some(before) = wanted.instead_of {
        end(node, before, &format!("s{number} is in its place")).await?;
    }
    Ok(json(
        StatusCode::OK,
        &form!({ "silenceID": name_of(number) }),
    ))
}

async fn end(node: &Path, silence: u64, why: &str) -> Result<Answer, Problem> {
    command(node, NoticeAskRecord::EndSilence { silence }, why).await?;
    Ok(json(StatusCode::OK, &form!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(text: &str) -> Result<Box<Wanted>, String> {
        wanted(serde_json::from_str(text).expect("a form"), 1_000_000)
    }

    const GOOD: &str = r#"{"matchers": [{"name": "alertname", "value": "Slow", "isRegex": false}],
        "startsAt": "1970-01-01T00:16:40Z", "endsAt": "1970-01-01T01:00:00Z", "createdBy": "ada", "comment": "known"}"#;

    #[test]
    fn what_cannot_be_kept_as_it_is_meant_is_refused() {
        let good = posted(GOOD).expect("taken");
        assert_eq!(good.lasts_ms, 2_600_000);
        assert_eq!(good.reason, "ada, over the door for alerts: known");
        for (from, to, why) in [
            ("\"isRegex\": false", "\"isRegex\": true", "is a pattern"),
            ("Slow", "", "must not match what is not there"),
            ("Slow", " Slow", "cannot compare"),
            ("Slow", "a\\nb", "cannot compare"),
            ("alertname", "alert-name", "cannot compare"),
            ("00:16:40", "00:18:00", "begins at once"),
            ("01:00:00", "00:10:00", "endsAt has passed"),
            ("01:00:00", "soon", "is no moment"),
            ("\"known\"", "\" \"", "say who silences"),
            ("\"ada\"", "\"\"", "say who silences"),
        ] {
            let told = posted(&GOOD.replacen(from, to, 1)).expect_err(to);
            assert!(told.contains(why), "{to}: {told}");
        }
        let differs = GOOD.replace("false", "false, \"isEqual\": false");
        let kept = posted(&differs).expect_err("it fits what is not there");
        assert!(kept.contains("must not match"), "{kept}");
    }

    #[test]
    fn a_silence_has_one_name_in_both_forms() {
        for number in [1, 17, 0xffff_ffff] {
            let name = name_of(number);
            assert_eq!(name.len(), 36, "{name}");
            assert_eq!(number_of(&name), Some(number));
            assert_eq!(number_of(&name.to_uppercase()), Some(number));
            assert_eq!(number_of(&format!("s{number}")), Some(number));
        }
        for none in ["", "s", "17", "6d61696e-7374-8179-8000-", "other"] {
            assert_eq!(number_of(none), None, "{none}");
        }
    }

    #[test]
    fn filters_look_through_matchers_as_if_they_were_labels() {
        let view = SilenceView {
            silence: "s1".to_owned(),
            matchers: vec!["alertname=Slow".to_owned(), "host!=h1".to_owned()],
            since_ms: 1,
            until_ms: 2,
            by: "ada".to_owned(),
            reason: "known".to_owned(),
        };
        for (filter, expected) in [
            ("alertname=\"Slow\"", true),
            ("alertname=Slow", true),
            ("alertname=\"Fast\"", false),
            ("alertname!=\"Fast\"", true),
            ("team=\"a\"", false),
            ("team!=\"a\"", true),
            ("team=\"\"", true),
            ("alertname=\"\"", false),
            ("alertname!=\"\"", true),
            ("team!=\"\"", false),
        ] {
            let parsed = Matcher::parse(filter).expect("a filter");
            assert_eq!(fits(&view, &[parsed]), expected, "{filter}");
        }
    }
}
