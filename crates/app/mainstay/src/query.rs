//! `mainstay query`: a question to a watch of this machine, over its socket.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use http::Method;
use mainstay_derive::Layout;
use mainstay_rt::http::request_unix;
use serde_json::Value;

use crate::arguments::Query;
use crate::client::{find, sockets};
use crate::exit::{Failure, Outcome};
use crate::print::{json, line};

/// Longer than the watch takes for the largest question that it answers.
const LIMIT: Duration = Duration::from_secs(60);

pub fn run(arguments: &Query) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let (path, form) = question(arguments)?;
    let answer = ask(&layout, arguments.watch.as_deref(), path, &form)?;
    if arguments.json {
        return json(&answer);
    }
    if answer["status"] != "success" {
        let why = answer["error"].as_str().unwrap_or("it gives no reason");
        return Err(Failure::Usage(format!(
            "{why}\n  next: mend the expression; `mainstay query --help` has examples"
        )));
    }
    for kind in ["warnings", "infos"] {
        for said in answer[kind].as_array().into_iter().flatten() {
            crate::print::progress(said.as_str().unwrap_or_default());
        }
    }
    print(&answer["data"])
}

/// Where it is asked, and the fields of the form.
type Question = (&'static str, Vec<(&'static str, String)>);

fn question(arguments: &Query) -> Result<Question, Failure> {
    let mut form = vec![("query", arguments.expression.clone())];
    let Some(range) = &arguments.range else {
        form.extend(arguments.at.clone().map(|at| ("time", at)));
        return Ok(("/api/v1/query", form));
    };
    let seconds = |text: &str| {
        let length = mainstay_promql::number::parse_duration(text);
        length.map(|ms| ms as f64 / 1_000.0).ok_or_else(|| {
            Failure::Usage(format!("{text:?} is no length of time; write 5m or 1h30m"))
        })
    };
    let end = match &arguments.at {
        None => mainstay_rt::clock::wall_ms() as f64 / 1_000.0,
        Some(at) => at.parse::<f64>().map_err(|_| {
            Failure::Usage("with --range, --at is in seconds since 1970".to_owned())
        })?,
    };
    let range = seconds(range)?;
    // Sixty points fit on a page.
    let step = match &arguments.step {
        Some(step) => seconds(step)?,
        None => (range / 60.0).max(1.0),
    };
    form.push(("start", (end - range).to_string()));
    form.push(("end", end.to_string()));
    form.push(("step", step.to_string()));
    Ok(("/api/v1/query_range", form))
}

/// Every byte that is not plain, escaped.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// The answer of the first watch that gives one.
pub fn ask(
    layout: &Layout,
    wanted: Option<&str>,
    path: &str,
    form: &[(&str, String)],
) -> Result<Value, Failure> {
    ask_within(layout, wanted, path, form, LIMIT)
}

/// As [`ask`], for a caller that does not wait for long.
pub fn ask_within(
    layout: &Layout,
    wanted: Option<&str>,
    path: &str,
    form: &[(&str, String)],
    limit: Duration,
) -> Result<Value, Failure> {
    let pairs: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    let body = pairs.join("&").into_bytes();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start an event loop")?;
    let mut problems = Vec::new();
    for (host, socket) in watches(layout, wanted) {
        let asked = request_unix(&socket, Method::POST, path, body.clone(), limit);
        match runtime.block_on(asked) {
            Ok((_, answer)) => match serde_json::from_slice(&answer) {
                Ok(answer) => return Ok(answer),
                Err(error) => problems.push(format!("the watch on {host}: {error}")),
            },
            Err(error) => problems.push(format!(
                "the watch on {host}: {}",
                crate::client::chain(&error)
            )),
        }
    }
    if problems.is_empty() {
        return Err(Failure::Usage(
            "no watch runs on this machine\n  next: the section `watch` of the platform file switches it on; see docs/watch.md"
                .to_owned(),
        ));
    }
    Err(Failure::NoAnswer {
        what: problems.join("\n  "),
        next: "`mainstay status` says what is the matter with the watches".to_owned(),
    })
}

/// Hosts that have, or had, a watch.
fn watches(layout: &Layout, wanted: Option<&str>) -> Vec<(String, PathBuf)> {
    let hosts = sockets(layout).into_iter().map(|(host, _)| host);
    let hosts = hosts.filter(|host| wanted.is_none_or(|wanted| wanted == host));
    hosts
        .map(|host| (layout.watch_socket(&host), host))
        .filter(|(socket, _)| socket.exists())
        .map(|(socket, host)| (host, socket))
        .collect()
}

fn print(data: &Value) -> Outcome {
    let rows = data["result"].as_array();
    match data["resultType"].as_str() {
        Some("vector") => {
            for row in rows.into_iter().flatten() {
                line(format_args!(
                    "{}  {}",
                    name(&row["metric"]),
                    text(&row["value"][1])
                ))?;
            }
        }
        Some("matrix") => {
            for row in rows.into_iter().flatten() {
                line(name(&row["metric"]))?;
                for point in row["values"].as_array().into_iter().flatten() {
                    line(format_args!("  {}  {}", point[0], text(&point[1])))?;
                }
            }
        }
        _ => line(text(&data["result"][1]))?,
    }
    if rows.is_some_and(Vec::is_empty) {
        crate::print::progress("nothing is measured that the expression selects, at that time");
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `name{label="value"}`
fn name(metric: &Value) -> String {
    let labels = metric.as_object();
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    format!("{}{{{}}}", text(&metric["__name__"]), pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_travels_whole() {
        assert_eq!(
            escaped("up{a=\"b\"} + 1 & x"),
            "up%7Ba%3D%22b%22%7D%20%2B%201%20%26%20x"
        );
        let metric = serde_json::json!({ "__name__": "up", "job": "a\"b" });
        assert_eq!(name(&metric), "up{job=\"a\\\"b\"}");
        assert_eq!(name(&serde_json::json!({})), "{}");
    }
}
