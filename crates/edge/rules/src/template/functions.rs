//! The functions that a template may call: Prometheus's, and Go's own.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use mainstay_promql::labels::Labels;
use mainstay_promql::matcher::free;
use mainstay_promql::number::{parse, parse_duration, seconds};

use super::format::{
    humanize, humanize_duration, humanize_percentage, humanize_timestamp, humanize1024, print,
    printf,
};
use super::{Context, Value, is_true};

const KNOWN: &[&str] = &[
    "and",
    "args",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toLower",
    "toUpper",
    "urlQueryEscape",
    "urlquery",
    "value",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

pub(super) fn call(
    name: &str,
    arguments: Vec<Value>,
    context: &Context<'_>,
) -> Result<Value, String> {
    let wrong = || {
        Err(format!(
            "error calling {name}: wrong number or type of arguments"
        ))
    };
    let text = |text: String| Ok(Value::Text(text));
    match (name, arguments.as_slice()) {
        ("externalURL", []) => text(context.external_url.to_owned()),
        ("pathPrefix", []) => {
            let after = context
                .external_url
                .split_once("://")
                .map_or(context.external_url, |(_, rest)| rest);
            text(
                after
                    .find('/')
                    .and_then(|at| after.get(at..))
                    .unwrap_or("")
                    .to_owned(),
            )
        }
        ("graphLink" | "tableLink", [query]) => {
            let tab = if name == "graphLink" { 0 } else { 1 };
            text(format!(
                "/graph?g0.expr={}&g0.tab={tab}",
                escape(&print(query))
            ))
        }
        ("args", all) => Ok(Value::Map(
            (0..)
                .zip(all)
                .map(|(n, v)| (format!("arg{n}"), v.clone()))
                .collect(),
        )),
        ("index", [container, keys @ ..]) => index(container, keys),
        ("len", [value]) => {
            let length = match value {
                Value::Text(text) => text.len(),
                Value::List(items) => items.len(),
                Value::Map(map) => map.len(),
                _ => return wrong(),
            };
            Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
        }
        ("and", all) => Ok(chosen(all, |value| !is_true(value))),
        ("or", all) => Ok(chosen(all, is_true)),
        ("not", [value]) => Ok(Value::Bool(!is_true(value))),
        ("eq" | "ne" | "lt" | "le" | "gt" | "ge", [first, rest @ ..]) if !rest.is_empty() => {
            compared(name, first, rest).map(Value::Bool)
        }
        ("query" | "first" | "label" | "value" | "strvalue" | "sortByLabel", all) => {
            samples(name, all, context)
        }
        _ if name.starts_with("humanize") || name == "parseDuration" => numbers(name, &arguments),
        _ => texts(name, &arguments),
    }
}

/// Functions of vectors and their samples.
fn samples(name: &str, arguments: &[Value], context: &Context<'_>) -> Result<Value, String> {
    match (name, arguments) {
        ("query", [query]) => {
            let found =
                (context.query)(&print(query)).map_err(|e| format!("error calling query: {e}"))?;
            Ok(Value::List(
                found
                    .iter()
                    .map(|(labels, value)| sample(labels, *value))
                    .collect(),
            ))
        }
        ("first", [Value::List(items)]) => match items.first() {
            Some(first) => Ok(first.clone()),
            None => {
                Err("error calling first: first() called on vector with no elements".to_owned())
            }
        },
        ("label", [label, Value::Map(sample)]) => Ok(of_labels(sample, &print(label))),
        ("value", [Value::Map(sample)]) => {
            Ok(sample.get("Value").cloned().unwrap_or(Value::Nothing))
        }
        ("strvalue", [Value::Map(sample)]) => Ok(of_labels(sample, "__value__")),
        ("sortByLabel", [label, Value::List(items)]) => {
            let label = print(label);
            let key = |item: &Value| match item {
                Value::Map(sample) => print(&of_labels(sample, &label)),
                _ => String::new(),
            };
            let mut items = items.clone();
            items.sort_by_key(key);
            Ok(Value::List(items))
        }
        _ => Err(format!(
            "error calling {name}: wrong number or type of arguments"
        )),
    }
}

fn numbers(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let [argument] = arguments else {
        return Err(format!("error calling {name}: wrong number of arguments"));
    };
    if name == "parseDuration" {
        let length = parse_duration(&print(argument))
            .ok_or("error calling parseDuration: not a duration")?;
        return Ok(Value::Float(seconds(length)));
    }
    let value = number(argument).ok_or_else(|| {
        format!(
            "error calling {name}: can't convert {} to float",
            print(argument)
        )
    })?;
    Ok(Value::Text(match name {
        "humanize" => humanize(value),
        "humanize1024" => humanize1024(value),
        "humanizeDuration" => humanize_duration(value),
        "humanizePercentage" => humanize_percentage(value),
        _ => humanize_timestamp(value),
    }))
}

fn texts(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let all = || arguments.iter().map(print);
    let text = match (name, arguments) {
        ("printf", [form, rest @ ..]) => printf(&print(form), rest),
        ("print", _) => all().collect(),
        ("println", _) => format!("{}\n", all().collect::<Vec<_>>().join(" ")),
        ("safeHtml", [text]) => print(text),
        ("title", [text]) => title(&print(text)),
        ("toUpper", [text]) => print(text).to_uppercase(),
        ("toLower", [text]) => print(text).to_lowercase(),
        ("stripPort", [text]) => strip_port(&print(text)),
        ("stripDomain", [text]) => strip_domain(&print(text)),
        ("urlquery" | "urlQueryEscape", [text]) => escape(&print(text)),
        ("match", [pattern, text]) => {
            let regex = free(&print(pattern)).map_err(|e| format!("error calling match: {e}"))?;
            return Ok(Value::Bool(regex.is_match(&print(text))));
        }
        ("reReplaceAll", [pattern, replacement, text]) => {
            let regex =
                free(&print(pattern)).map_err(|e| format!("error calling reReplaceAll: {e}"))?;
            regex
                .replace_all(&print(text), print(replacement).as_str())
                .into_owned()
        }
        _ => {
            return Err(format!(
                "error calling {name}: wrong number or type of arguments"
            ));
        }
    };
    Ok(Value::Text(text))
}

/// Every word with a capital.
fn title(text: &str) -> String {
    let mut start = true;
    let mut titled = String::new();
    for c in text.chars() {
        if start {
            titled.extend(c.to_uppercase());
        } else {
            titled.push(c);
        }
        start = c.is_whitespace();
    }
    titled
}

fn sample(labels: &Labels, value: f64) -> Value {
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.to_owned(), Value::Text(value.to_owned())));
    Value::Map(BTreeMap::from([
        ("Labels".to_owned(), Value::Map(pairs.collect())),
        ("Value".to_owned(), Value::Float(value)),
    ]))
}

fn of_labels(sample: &BTreeMap<String, Value>, label: &str) -> Value {
    match sample.get("Labels") {
        Some(Value::Map(labels)) => labels
            .get(label)
            .cloned()
            .unwrap_or(Value::Text(String::new())),
        _ => Value::Text(String::new()),
    }
}

fn index(container: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = container.clone();
    for key in keys {
        let inner = match (&value, key) {
            (Value::Map(map), key) => Some(
                map.get(&print(key))
                    .cloned()
                    .unwrap_or(Value::Text(String::new())),
            ),
            (Value::List(items), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| items.get(at))
                .cloned(),
            _ => None,
        };
        value = inner.ok_or("error calling index: index out of range")?;
    }
    Ok(value)
}

fn chosen(all: &[Value], wanted: impl Fn(&Value) -> bool) -> Value {
    let found = all.iter().find(|value| wanted(value)).or(all.last());
    found.cloned().unwrap_or(Value::Nothing)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a template compares or prints it"
        )]
        Value::Int(value) => Some(*value as f64),
        Value::Text(text) => parse(text),
        Value::Nothing | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    }
}

fn compared(name: &str, first: &Value, rest: &[Value]) -> Result<bool, String> {
    let order = |other: &Value| -> Result<Option<Ordering>, String> {
        match (first, other) {
            (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
            (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
            (Value::Float(_), Value::Float(_)) | (Value::Int(_), Value::Int(_)) => {
                Ok(number(first).partial_cmp(&number(other)))
            }
            _ => Err(format!(
                "error calling {name}: incompatible types for comparison"
            )),
        }
    };
    if name == "eq" {
        for other in rest {
            if order(other)? == Some(Ordering::Equal) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let [other] = rest else {
        return Err(format!("error calling {name}: wrong number of arguments"));
    };
    let order = order(other)?;
    Ok(match name {
        "ne" => order != Some(Ordering::Equal),
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn strip_port(address: &str) -> String {
    let Some((host, port)) = address.rsplit_once(':') else {
        return address.to_owned();
    };
    if port.is_empty()
        || !port.bytes().all(|b| b.is_ascii_digit())
        || host.contains(':') && !host.starts_with('[')
    {
        return address.to_owned();
    }
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

fn strip_domain(address: &str) -> String {
    let host = strip_port(address);
    let port = address
        .strip_prefix(&host)
        .filter(|port| port.starts_with(':'))
        .unwrap_or("");
    let is_address = host.contains(':') || host.split('.').all(|part| part.parse::<u8>().is_ok());
    let short = if is_address {
        host.as_str()
    } else {
        host.split('.').next().unwrap_or(&host)
    };
    format!("{short}{port}")
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
