//! The text format of Prometheus (0.0.4) and OpenMetrics (1.0).
//!
//! Both are lines of samples, with comments that say what a metric is. The text format forgives blanks and
//! counts timestamps in milliseconds; OpenMetrics forgives nothing, counts in seconds, allows exemplars
//! and ends with `# EOF`, so that a body that was cut off is not taken for a whole one.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::reader::Reader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// By the answer's media type; what is unknown is read as text.
    pub fn of_content_type(content_type: &str) -> Self {
        let media = content_type.split(';').next().unwrap_or("").trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// What one answer may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: usize,
    pub samples: usize,
    pub labels: usize,
    pub label_name_bytes: usize,
    pub label_value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            samples: 500_000,
            labels: 64,
            label_name_bytes: 512,
            label_value_bytes: 4_096,
        }
    }
}

/// Name and labels, sorted by name, the metric's own under `__name__`; no value is empty.
pub type Labels = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub value: f64,
    /// Milliseconds since 1970, where the target says when.
    pub at: Option<i64>,
    pub exemplar: Option<Exemplar>,
}

/// One event that a sample stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    pub at: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

/// What is said of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Type(Type),
    Help(String),
    Unit(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    pub samples: Vec<Sample>,
    /// In the order of the text.
    pub meanings: Vec<(String, Meaning)>,
}

/// Why an answer is not read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Fault {
    pub line: usize,
    pub message: String,
}

/// A whole answer, with everything that its lines say.
pub fn parse(format: Format, body: &str, limits: &Limits) -> Result<Exposition, Fault> {
    let mut exposition = Exposition::default();
    let Exposition { samples, meanings } = &mut exposition;
    lines(format, body, limits, meanings, &mut |line| {
        let sample = Reader::new(format, line, limits).sample()?;
        samples.push(sample);
        Ok(())
    })?;
    Ok(exposition)
}

/// Goes through an answer line by line and hands on those that are samples.
pub(crate) fn lines(
    format: Format,
    body: &str,
    limits: &Limits,
    meanings: &mut Vec<(String, Meaning)>,
    sample: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), Fault> {
    let fault = |line, message: String| Err(Fault { line, message });
    if body.len() > limits.bytes {
        return fault(0, format!("more than {} bytes", limits.bytes));
    }
    let mut ended = false;
    let (mut number, mut samples) = (0, 0);
    let mut rest = body;
    while !rest.is_empty() {
        number += 1;
        let (line, after) = match rest.split_once('\n') {
            Some(parts) => parts,
            None if format == Format::OpenMetrics && rest != "# EOF" => {
                return fault(
                    number,
                    String::from("the line has no end: the body was cut off"),
                );
            }
            None => (rest, ""),
        };
        rest = after;
        if ended {
            return fault(number, String::from("something follows after # EOF"));
        }
        let outcome = match format {
            Format::OpenMetrics if line == "# EOF" => {
                ended = true;
                continue;
            }
            Format::OpenMetrics if line.is_empty() => Err(String::from("an empty line")),
            Format::Text if line.trim_matches([' ', '\t']).is_empty() => continue,
            _ if line.trim_start_matches([' ', '\t']).starts_with('#') => {
                comment(format, line, meanings)
            }
            _ => {
                samples += 1;
                sample(line)
            }
        };
        if let Err(message) = outcome {
            return fault(number, message);
        }
        if samples > limits.samples {
            return fault(number, format!("more than {} samples", limits.samples));
        }
    }
    if format == Format::OpenMetrics && !ended {
        return fault(number, String::from("no # EOF: the body was cut off"));
    }
    Ok(())
}

fn comment(
    format: Format,
    line: &str,
    meanings: &mut Vec<(String, Meaning)>,
) -> Result<(), String> {
    let blanks = [' ', '\t'];
    let strict = format == Format::OpenMetrics;
    let body = line
        .trim_start_matches(blanks)
        .strip_prefix('#')
        .unwrap_or("");
    let body = if strict {
        body.strip_prefix(' ')
            .ok_or("a comment begins with \"# \"")?
    } else {
        body.trim_start_matches(blanks)
    };
    let (keyword, rest) = body.split_once(blanks).unwrap_or((body, ""));
    if !matches!(keyword, "TYPE" | "HELP" | "UNIT") || (keyword == "UNIT" && !strict) {
        return if strict {
            Err(format!("unknown comment {keyword:?}"))
        } else {
            Ok(())
        };
    }
    let rest = if strict {
        rest
    } else {
        rest.trim_start_matches(blanks)
    };
    let (name, text) = name_and_text(rest)?;
    let meaning = match keyword {
        "TYPE" => Meaning::Type(kind(format, text.trim_matches(blanks))?),
        "HELP" => Meaning::Help(unescaped(text, strict)),
        _ => Meaning::Unit(String::from(text)),
    };
    meanings.push((name, meaning));
    Ok(())
}

/// A name, bare or in quotes, and what follows it after a blank.
fn name_and_text(rest: &str) -> Result<(String, &str), String> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut name = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    let after = quoted.get(at + 1..).unwrap_or("");
                    return Ok((name, after.trim_start_matches([' ', '\t'])));
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => name.push('\n'),
                    Some((_, c)) => name.push(c),
                    None => break,
                },
                c => name.push(c),
            }
        }
        return Err(String::from("a name without its closing quote"));
    }
    let (name, text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(String::from("a comment without the name of a metric"));
    }
    Ok((String::from(name), text))
}

fn kind(format: Format, word: &str) -> Result<Type, String> {
    Ok(match (word, format) {
        ("counter", _) => Type::Counter,
        ("gauge", _) => Type::Gauge,
        ("histogram", _) => Type::Histogram,
        ("summary", _) => Type::Summary,
        ("untyped", Format::Text) | ("unknown", _) => Type::Unknown,
        ("gaugehistogram", _) => Type::GaugeHistogram,
        ("info", _) => Type::Info,
        ("stateset", _) => Type::StateSet,
        _ => return Err(format!("invalid metric type {word:?}")),
    })
}

fn unescaped(text: &str, quotes: bool) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('\\') => plain.push('\\'),
            Some('"') if quotes => plain.push('"'),
            Some(other) => {
                plain.push('\\');
                plain.push(other);
            }
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn shown(labels: &Labels) -> String {
        let parts: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        parts.join(" ")
    }

    fn check(format: Format, body: &str, wanted: &[&str]) {
        let found: Vec<String> = match parse(format, body, &Limits::default()) {
            Ok(exposition) => {
                let samples = exposition.samples.iter().map(|sample| {
                    let at = sample.at.map_or(String::new(), |at| format!(" @{at}"));
                    let exemplar = sample.exemplar.as_ref();
                    let exemplar = exemplar.map_or(String::new(), |e| {
                        format!(" # {} {} {:?}", shown(&e.labels), e.value, e.at)
                    });
                    format!("{} {}{at}{exemplar}", shown(&sample.labels), sample.value)
                });
                samples.collect()
            }
            Err(fault) => alloc::vec![fault.to_string()],
        };
        assert_eq!(found, wanted, "{body}");
    }

    #[test]
    fn the_text_format_is_read() {
        let body = "# HELP a What\\nit is\n# TYPE a counter\n# a remark\n\n  a{x=\"1\", y = \"q\\\"\\\\\\n\",} 3.5 1234\na 1e3\nb\t+Inf\nc{} NaN\n{\"d.e\", \"f g\"=\"h\"} 0x1F";
        check(
            Format::Text,
            body,
            &[
                "__name__=\"a\" x=\"1\" y=\"q\\\"\\\\\\n\" 3.5 @1234",
                "__name__=\"a\" 1000",
                "__name__=\"b\" inf",
                "__name__=\"c\" NaN",
                "__name__=\"d.e\" f g=\"h\" 31",
            ],
        );
        let meanings = parse(Format::Text, body, &Limits::default()).map(|e| e.meanings);
        let wanted = [
            (
                String::from("a"),
                Meaning::Help(String::from("What\nit is")),
            ),
            (String::from("a"), Meaning::Type(Type::Counter)),
        ];
        assert_eq!(meanings.as_deref(), Ok(&wanted[..]));
    }

    #[test]
    fn openmetrics_is_read() {
        let body = "# TYPE a counter\n# UNIT a seconds\n# HELP a \\\"x\\\"\na_total{x=\"1\"} 3.5 12.345 # {trace=\"t\"} 0.5 12\nb_bucket{le=\"+Inf\"} 4 # {} 2\n# EOF\n";
        check(
            Format::OpenMetrics,
            body,
            &[
                "__name__=\"a_total\" x=\"1\" 3.5 @12345 # trace=\"t\" 0.5 Some(12000)",
                "__name__=\"b_bucket\" le=\"+Inf\" 4 #  2 None",
            ],
        );
    }

    #[test]
    fn what_is_unclear_is_not_read_at_all() {
        for (format, body, wanted) in [
            (Format::Text, "a\n", "line 1: a sample without a value"),
            (
                Format::Text,
                "ok 1\na{x=\"1\" 2\n",
                "line 2: expected \",\" or \"}\" after a label",
            ),
            (
                Format::Text,
                "a{x=\"1\",x=\"2\"} 1\n",
                "line 1: label \"x\" is given twice",
            ),
            (
                Format::Text,
                "a 1 2 3\n",
                "line 1: unexpected \"3\" after the sample",
            ),
            (
                Format::Text,
                "a 1 2.5\n",
                "line 1: invalid timestamp \"2.5\"",
            ),
            (Format::Text, "1a 1\n", "line 1: invalid metric name \"1a\""),
            (
                Format::Text,
                "a{1=\"x\"} 1\n",
                "line 1: invalid label name \"1\"",
            ),
            (
                Format::Text,
                "a{x=\"1} 1\n",
                "line 1: a value without its closing quote",
            ),
            (
                Format::Text,
                "# TYPE a nothing\n",
                "line 1: invalid metric type \"nothing\"",
            ),
            (
                Format::OpenMetrics,
                "a 1\n",
                "line 1: no # EOF: the body was cut off",
            ),
            (
                Format::OpenMetrics,
                "a 1\n# EO",
                "line 2: the line has no end: the body was cut off",
            ),
            (
                Format::OpenMetrics,
                "# EOF\na 1\n",
                "line 2: something follows after # EOF",
            ),
            (
                Format::OpenMetrics,
                "a  1\n# EOF\n",
                "line 1: invalid value \"\"",
            ),
            (Format::OpenMetrics, "\n# EOF\n", "line 1: an empty line"),
        ] {
            check(format, body, &[wanted]);
        }
    }

    #[test]
    fn limits_hold() {
        let limits = Limits {
            samples: 1,
            labels: 1,
            label_value_bytes: 2,
            ..Limits::default()
        };
        for body in ["a 1\nb 1\n", "a{x=\"1\",y=\"2\"} 1\n", "a{x=\"123\"} 1\n"] {
            assert!(parse(Format::Text, body, &limits).is_err(), "{body}");
        }
    }

    #[test]
    fn the_media_type_decides() {
        let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(Format::of_content_type(open), Format::OpenMetrics);
        assert_eq!(
            Format::of_content_type("text/plain; version=0.0.4"),
            Format::Text
        );
    }
}
