//! A page of figures, written: Prometheus's text format, version 0.0.4.
//!
//! The other side of `exposition`. A family is announced once, with its meaning, before its samples; whoever writes
//! a page names everything in base units (seconds, bytes), and counters end in `_total` unless they bear the name
//! that another exporter gave them.

use alloc::string::String;
use core::fmt::Write as _;

use crate::exposition::Type;

/// What the answer says of itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// Samples of one name.
#[derive(Debug)]
pub struct Family<'p> {
    text: &'p mut String,
    name: &'p str,
}

impl Page {
    /// Announces a family. Its samples follow, through what is returned.
    pub fn family<'p>(&'p mut self, name: &'p str, kind: Type, help: &str) -> Family<'p> {
        let word = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
            Type::Summary => "summary",
            Type::GaugeHistogram | Type::Info | Type::StateSet | Type::Unknown => "untyped",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        self.text.push_str("\n# TYPE ");
        self.text.push_str(name);
        self.text.push(' ');
        self.text.push_str(word);
        self.text.push('\n');
        Family {
            text: &mut self.text,
            name,
        }
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, Type::Gauge, help).put(&[], value);
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, Type::Counter, help).put(&[], value);
    }

    pub fn text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    pub fn put(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        let mut mark = '{';
        for (name, of_label) in labels {
            self.text.push(mark);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, of_label, true);
            self.text.push('"');
            mark = ',';
        }
        if mark == ',' {
            self.text.push('}');
        }
        self.text.push(' ');
        if value.is_nan() {
            self.text.push_str("NaN");
        } else if value.is_infinite() {
            let sign = if value > 0.0 { "+Inf" } else { "-Inf" };
            self.text.push_str(sign);
        } else {
            // Writing into a string does not fail.
            write!(self.text, "{value}").ok();
        }
        self.text.push('\n');
    }
}

fn escape(into: &mut String, text: &str, quotes: bool) {
    for letter in text.chars() {
        match letter {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '"' if quotes => into.push_str("\\\""),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Format, Limits, parse};
    use alloc::vec::Vec;

    #[test]
    fn what_is_written_reads_back() {
        let mut page = Page::default();
        let mut family = page.family("a_bytes", Type::Gauge, "Back\\slash and\nline.");
        let odd = "q\"u\\o\nte, }{ \u{e9}";
        family.put(&[("odd", odd), ("plain", "x")], 1.5);
        family.put(&[], f64::NEG_INFINITY);
        family.put(&[("n", "1")], f64::NAN);
        page.counter("b_total", "Counted.", 1e21);
        let text = page.text();
        let found = parse(Format::Text, &text, &Limits::default());
        let found = found.unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        let values: Vec<u64> = found.samples.iter().map(|s| s.value.to_bits()).collect();
        let wanted = [1.5, f64::NEG_INFINITY, f64::NAN, 1e21].map(f64::to_bits);
        assert_eq!(values, wanted);
        let first = &found.samples[0].labels;
        assert!(
            first
                .iter()
                .any(|(name, value)| name == "odd" && value == odd)
        );
    }
}
