//! The short form in which tests write series: `metric{label="x"} 1 2+3x4 _ stale {{sum:3 count:2}}`.
//!
//! `a+bxn` is a value and `n` more, each greater by `b`; `axn` repeats; `_` leaves a sample out, `_xn`
//! several; `stale` ends the series. Native histograms stand in double braces.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::histogram::{Bounds, CUSTOM, Hint, Histogram};
use crate::labels::Labels;
use crate::number;
use crate::parse::parse_metric;
use crate::sample::Value;

/// At most so many samples come of one line.
const SAMPLES_MAX: usize = 1_000_000;

/// Labels, and a value or a gap for each step.
pub fn series(line: &str) -> Result<(Labels, Vec<Option<Value>>), String> {
    let (labels, end) = parse_metric(first_word(line)).map_err(|fault| fault.message)?;
    let values = values(line.get(end..).unwrap_or(""))?;
    Ok((labels, values))
}

/// The part of a line that can be the name tag: up to the closing brace, or to the first blank.
fn first_word(line: &str) -> &str {
    let mut quoted: Option<char> = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if let Some(quote) = quoted {
            if !escaped && c == quote {
                quoted = None;
            }
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' | '\'' | '`' => quoted = Some(c),
            '}' => return line.get(..=at).unwrap_or(line),
            c if c.is_whitespace() && !line.get(..at).is_some_and(|head| head.contains('{')) => {
                // A brace may follow after blanks.
                let rest = line.get(at..).unwrap_or("").trim_start();
                if !rest.starts_with('{') || rest.starts_with("{{") {
                    return line.get(..at).unwrap_or(line);
                }
            }
            _ => {}
        }
    }
    line
}

pub fn values(text: &str) -> Result<Vec<Option<Value>>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let after = if rest.starts_with("{{") {
            histograms(rest, &mut values)?
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            floats(word, &mut values)?;
            after
        };
        if values.len() > SAMPLES_MAX {
            return Err(format!("more than {SAMPLES_MAX} samples"));
        }
        rest = after.trim_start();
    }
    Ok(values)
}

fn times(text: &str) -> Result<usize, String> {
    let times = text
        .parse::<usize>()
        .ok()
        .filter(|times| *times <= SAMPLES_MAX);
    times.ok_or_else(|| format!("invalid repetition {text:?}"))
}

fn floats(word: &str, values: &mut Vec<Option<Value>>) -> Result<(), String> {
    if let Some(rest) = word.strip_prefix('_') {
        let count = if rest.is_empty() {
            1
        } else {
            times(rest.strip_prefix('x').unwrap_or(rest))?
        };
        values.extend(core::iter::repeat_n(None, count));
        return Ok(());
    }
    if word == "stale" {
        values.push(Some(Value::stale()));
        return Ok(());
    }
    let Some((head, repeat)) = word.rsplit_once('x') else {
        values.push(Some(Value::Float(float(word)?)));
        return Ok(());
    };
    let repeat = times(repeat)?;
    let (first, step) = match sign_of_step(head) {
        Some(at) => {
            let (first, step) = head.split_at(at);
            (float(first)?, float(step)?)
        }
        None => (float(head)?, 0.0),
    };
    let mut value = first;
    for _ in 0..=repeat {
        values.push(Some(Value::Float(value)));
        value += step;
    }
    Ok(())
}

/// The sign that begins the step: not the first character, and not that of an exponent.
fn sign_of_step(head: &str) -> Option<usize> {
    let bytes = head.as_bytes();
    (1..bytes.len()).find(|at| {
        matches!(bytes.get(*at), Some(b'+' | b'-'))
            && !matches!(bytes.get(at - 1), Some(b'e' | b'E'))
    })
}

fn float(text: &str) -> Result<f64, String> {
    number::parse(text).ok_or_else(|| format!("invalid number {text:?}"))
}

/// One histogram, a row of `n` more, or one that grows.
fn histograms<'t>(text: &'t str, values: &mut Vec<Option<Value>>) -> Result<&'t str, String> {
    let (first, mut rest) = one_histogram(text)?;
    let sign = rest.chars().next().filter(|c| matches!(c, '+' | '-'));
    let mut step = None;
    if let Some(sign) = sign.filter(|_| rest.get(1..).is_some_and(|rest| rest.starts_with("{{"))) {
        let (histogram, after) = one_histogram(rest.get(1..).unwrap_or(""))?;
        step = Some((sign, histogram));
        rest = after;
    }
    let mut repeat = 0;
    if let Some(tail) = rest.strip_prefix('x') {
        let end = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (digits, after) = tail.split_at(end);
        repeat = times(digits)?;
        rest = after;
    } else if step.is_some() {
        return Err(String::from(
            "expected a repetition after a growing histogram",
        ));
    }
    let mut current = first;
    for count in 0..=repeat {
        if count > 0
            && let Some((sign, step)) = &step
        {
            let hint = current.hint;
            let outcome = match sign {
                '+' => current.add(step, Bounds::Refuse),
                _ => current.subtract(step, Bounds::Refuse),
            };
            outcome.map_err(|_| String::from("histograms of a row do not fit together"))?;
            current.hint = hint;
        }
        values.push(Some(Value::of(current.clone())));
    }
    Ok(rest)
}

fn one_histogram(text: &str) -> Result<(Histogram, &str), String> {
    let body = text.strip_prefix("{{").ok_or("expected a histogram")?;
    let end = body.find("}}").ok_or("histogram without its end")?;
    let (body, rest) = body.split_at(end);
    let mut histogram = Histogram::default();
    let (mut offset, mut negative_offset) = (0, 0);
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let mut fields = body.trim();
    while !fields.is_empty() {
        let (key, after) = fields
            .split_once(':')
            .ok_or("expected key:value in histogram")?;
        let (value, after) = if let Some(list) = after.strip_prefix('[') {
            list.split_once(']').ok_or("list without its end")?
        } else {
            after.split_once(char::is_whitespace).unwrap_or((after, ""))
        };
        let list = || {
            value
                .split_whitespace()
                .map(float)
                .collect::<Result<Vec<f64>, String>>()
        };
        let index = || {
            value
                .parse::<i32>()
                .map_err(|_| format!("invalid number {value:?}"))
        };
        match key.trim() {
            "schema" => histogram.schema = index()?,
            "sum" => histogram.sum = float(value)?,
            "count" => histogram.count = float(value)?,
            "z_bucket" => histogram.zero_count = float(value)?,
            "z_bucket_w" => histogram.zero_threshold = float(value)?,
            "custom_values" => histogram.custom = list()?,
            "buckets" => positive = list()?,
            "n_buckets" => negative = list()?,
            "offset" => offset = index()?,
            "n_offset" => negative_offset = index()?,
            "counter_reset_hint" => {
                histogram.hint = match value {
                    "gauge" => Hint::Gauge,
                    "reset" => Hint::Reset,
                    "not_reset" => Hint::NotReset,
                    _ => Hint::Unknown,
                }
            }
            other => return Err(format!("unknown field {other:?} in histogram")),
        }
        fields = after.trim_start();
    }
    if histogram.schema != CUSTOM && !(-4..=8).contains(&histogram.schema) {
        return Err(format!("unknown schema {}", histogram.schema));
    }
    // Index 0 of a span is the bucket that ends at 1; custom buckets count from their first bound.
    let place = |counts: Vec<f64>, offset: i32| {
        let indexes = (0..).map(|at: i32| at.saturating_add(offset));
        indexes
            .zip(counts)
            .filter(|(_, count)| *count != 0.0)
            .collect()
    };
    histogram.positive = place(positive, offset);
    histogram.negative = place(negative, negative_offset);
    Ok((histogram, rest.get(2..).unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &str) {
        let shown = values(text).map(|values| {
            let shown = values.iter().map(|value| match value {
                None => String::from("_"),
                Some(value) if value.is_stale() => String::from("stale"),
                Some(Value::Float(value)) => number::general(*value),
                Some(Value::Histogram(histogram)) => histogram.print(),
            });
            shown.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(shown.as_deref(), Ok(wanted), "{text}");
    }

    #[test]
    fn rows_are_spelled_out() {
        check(
            "1 2+3x2 -1-1x1 _ _x2 stale NaN",
            "1 2 5 8 -1 -2 _ _ _ stale NaN",
        );
        check("0x3 1e-1x1 -Inf", "0 0 0 0 0.1 0.1 -Inf");
        check(
            "{{count:1 sum:2 buckets:[1]}}+{{count:1 sum:1}}x1",
            "{count:1, sum:2, (0.5,1]:1} {count:2, sum:3, (0.5,1]:1}",
        );
    }
}
