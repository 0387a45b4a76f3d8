//! One line of samples, from left to right.

use alloc::format;
use alloc::string::String;

use crate::exposition::{Exemplar, Format, Labels, Limits, Sample};

const NAME: &str = "__name__";
const BLANKS: [char; 2] = [' ', '\t'];

pub(crate) struct Reader<'a> {
    format: Format,
    rest: &'a str,
    limits: &'a Limits,
}

type Read<T> = Result<T, String>;

impl<'a> Reader<'a> {
    pub(crate) fn new(format: Format, line: &'a str, limits: &'a Limits) -> Self {
        let rest = if format == Format::Text {
            line.trim_matches([' ', '\t'])
        } else {
            line
        };
        Self {
            format,
            rest,
            limits,
        }
    }

    fn skip_blanks(&mut self) {
        if self.format == Format::Text {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
        }
    }

    fn take(&mut self, sign: char) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Up to a blank; in OpenMetrics exactly one blank ends it.
    fn word(&mut self) -> &'a str {
        self.skip_blanks();
        let end = self.rest.find([' ', '\t']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or("");
        word
    }

    /// Behind a series that is known by its text; nothing if the line does not begin with just this series.
    pub(crate) fn behind(
        format: Format,
        line: &'a str,
        series: &str,
        limits: &'a Limits,
    ) -> Option<Self> {
        let whole = Self::new(format, line, limits);
        let rest = whole.rest.strip_prefix(series)?;
        // A name alone may go on, or have labels behind blanks.
        let labelled = series.ends_with('}');
        let parted = series.ends_with(BLANKS) || rest.starts_with(BLANKS);
        let bare = parted && !rest.trim_start_matches(BLANKS).starts_with('{');
        (labelled || bare).then_some(Self { rest, ..whole })
    }

    /// The part of the line that was read.
    pub(crate) fn read_so_far(&self, line: &'a str) -> &'a str {
        let whole = Self::new(self.format, line, self.limits).rest;
        let length = whole.len().saturating_sub(self.rest.len());
        whole.get(..length).unwrap_or("")
    }

    pub(crate) fn sample(mut self) -> Read<Sample> {
        let labels = self.series()?;
        let (value, at, exemplar) = self.reading()?;
        Ok(Sample {
            labels,
            value,
            at,
            exemplar,
        })
    }

    /// Name and labels, in order.
    pub(crate) fn series(&mut self) -> Read<Labels> {
        let end = self.rest.find(['{', ' ', '\t']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let mut labels = Labels::new();
        if !name.is_empty() {
            if !is_metric_name(name) {
                return Err(format!("invalid metric name {name:?}"));
            }
            labels.push((String::from(NAME), String::from(name)));
        }
        self.skip_blanks();
        if self.take('{') {
            self.labels(&mut labels)?;
        }
        if !labels
            .iter()
            .any(|(name, value)| name == NAME && !value.is_empty())
        {
            return Err(String::from("a sample without a name"));
        }
        labels.sort();
        labels.retain(|(_, value)| !value.is_empty());
        Ok(labels)
    }

    /// What stands behind the series, up to the end of the line.
    pub(crate) fn reading(mut self) -> Read<(f64, Option<i64>, Option<Exemplar>)> {
        if self.format == Format::OpenMetrics && !self.take(' ') && !self.rest.is_empty() {
            return Err(String::from("expected a blank before the value"));
        }
        self.skip_blanks();
        if self.rest.is_empty() {
            return Err(String::from("a sample without a value"));
        }
        let value = value(self.word())?;
        let at = self.timestamp()?;
        let exemplar = self.exemplar()?;
        self.skip_blanks();
        if !self.rest.is_empty() {
            return Err(format!("unexpected {:?} after the sample", self.rest));
        }
        Ok((value, at, exemplar))
    }

    fn timestamp(&mut self) -> Read<Option<i64>> {
        self.skip_blanks();
        if self.rest.is_empty() || self.rest.starts_with('#') {
            return Ok(None);
        }
        let word = self.word();
        let invalid = || format!("invalid timestamp {word:?}");
        match self.format {
            Format::Text => word.parse().map(Some).map_err(|_| invalid()),
            Format::OpenMetrics => {
                let seconds = value(word).map_err(|_| invalid())?;
                if !seconds.is_finite() || seconds.abs() > 9e15 {
                    return Err(invalid());
                }
                let (sign, milliseconds) = (seconds.signum(), seconds.abs() * 1000.0 + 0.5);
                #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
                Ok(Some((sign as i64).saturating_mul(milliseconds as i64)))
            }
        }
    }

    fn exemplar(&mut self) -> Read<Option<Exemplar>> {
        if self.format == Format::Text || self.rest.is_empty() {
            return Ok(None);
        }
        self.rest = self
            .rest
            .strip_prefix("# {")
            .ok_or("expected an exemplar")?;
        let mut labels = Labels::new();
        self.labels(&mut labels)?;
        labels.sort();
        if !self.take(' ') {
            return Err(String::from("expected the value of an exemplar"));
        }
        let value = value(self.word())?;
        let at = self.timestamp()?;
        Ok(Some(Exemplar { labels, value, at }))
    }

    /// Behind the opening brace, up to and with the closing one.
    fn labels(&mut self, labels: &mut Labels) -> Read<()> {
        loop {
            self.skip_blanks();
            if self.take('}') {
                return Ok(());
            }
            let (name, quoted) = if self.rest.starts_with('"') {
                (self.quoted()?, true)
            } else {
                let end = self
                    .rest
                    .find(['=', ' ', '\t', ',', '}'])
                    .unwrap_or(self.rest.len());
                let (name, rest) = self.rest.split_at(end);
                self.rest = rest;
                if !is_label_name(name) {
                    return Err(format!("invalid label name {name:?}"));
                }
                (String::from(name), false)
            };
            self.skip_blanks();
            if self.take('=') {
                self.skip_blanks();
                let value = self.quoted()?;
                self.add(labels, name, value)?;
            } else if quoted {
                self.add(labels, String::from(NAME), name)?;
            } else {
                return Err(format!("label {name:?} without a value"));
            }
            self.skip_blanks();
            if !self.take(',') && !self.rest.starts_with('}') {
                return Err(String::from("expected \",\" or \"}\" after a label"));
            }
        }
    }

    fn add(&self, labels: &mut Labels, name: String, value: String) -> Read<()> {
        if labels.iter().any(|(other, _)| *other == name) {
            return Err(format!("label {name:?} is given twice"));
        }
        if name.is_empty() || name.len() > self.limits.label_name_bytes {
            return Err(format!("a label name of {} bytes", name.len()));
        }
        if value.len() > self.limits.label_value_bytes {
            return Err(format!(
                "the value of label {name:?} has {} bytes",
                value.len()
            ));
        }
        labels.push((name, value));
        // The name is not counted.
        if labels.len() > self.limits.labels + 1 {
            return Err(format!("more than {} labels", self.limits.labels));
        }
        Ok(())
    }

    fn quoted(&mut self) -> Read<String> {
        let inside = self
            .rest
            .strip_prefix('"')
            .ok_or("expected a value in quotes")?;
        let mut text = String::new();
        let mut characters = inside.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.rest = inside.get(at + 1..).unwrap_or("");
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => text.push(c),
                    Some((_, other)) => {
                        text.push('\\');
                        text.push(other);
                    }
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(String::from("a value without its closing quote"))
    }
}

fn is_metric_name(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit())
}

fn is_label_name(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit())
}

fn value(word: &str) -> Read<f64> {
    let invalid = || format!("invalid value {word:?}");
    let bare = word.trim_start_matches(['+', '-']);
    if let Some(hex) = bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X")) {
        let number = u32::from_str_radix(hex, 16)
            .map(f64::from)
            .map_err(|_| invalid())?;
        return Ok(if word.starts_with('-') {
            -number
        } else {
            number
        });
    }
    word.parse().map_err(|_| invalid())
}
