//! The form of a script: commands, each a line with indented lines below it up to an empty one.

use mainstay_promql::ast::Kind;
use mainstay_promql::labels::Labels;
use mainstay_promql::notation;
use mainstay_promql::number;
use mainstay_promql::parse::parse as expression;
use mainstay_promql::sample::Value;

use crate::starts::{self, Offsets};

pub type Row = (Labels, Vec<Option<Value>>);

#[derive(Debug)]
pub enum Command {
    Clear,
    Load {
        step: i64,
        rows: Vec<Row>,
        /// For each row, since when its counter has counted, seen from each sample, in milliseconds.
        starts: Vec<Offsets>,
        custom_buckets: bool,
    },
    Eval(Eval),
}

#[derive(Debug, Default)]
pub struct Eval {
    pub expression: String,
    pub start: i64,
    /// End and step, for a range.
    pub range: Option<(i64, i64)>,
    pub rows: Vec<Row>,
    pub scalar: Option<f64>,
    pub string: Option<String>,
    /// Start and step of the range vector that an instant query shall give.
    pub matrix: Option<(i64, i64)>,
    pub ordered: bool,
    pub fail: Option<Text>,
    pub warnings: Vec<Text>,
    pub infos: Vec<Text>,
    pub no_warning: bool,
    pub no_info: bool,
    /// Whether histograms without a hint about resets must have none.
    pub unknown_hints: bool,
}

#[derive(Debug)]
pub enum Text {
    Any,
    Exact(String),
    Pattern(String),
}

impl Text {
    pub fn fits(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == message,
            Self::Pattern(pattern) => {
                regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(message))
            }
        }
    }
}

/// Each command with its line; what cannot be read of one does not keep the others from being played.
pub fn parse(text: &str) -> Vec<(usize, Result<Command, String>)> {
    let trimmed = text.lines().map(|line| line.trim());
    let lines: Vec<&str> = trimmed
        .map(|line| if line.starts_with('#') { "" } else { line })
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let number = at + 1;
        let head = lines[at];
        at += 1;
        if head.is_empty() {
            continue;
        }
        let mut body = Vec::new();
        if head != "clear" {
            while at < lines.len() && !lines[at].is_empty() {
                body.push(lines[at]);
                at += 1;
            }
        }
        commands.push((number, command(head, &body)));
    }
    commands
}

fn command(head: &str, body: &[&str]) -> Result<Command, String> {
    let (word, rest) = head.split_once(char::is_whitespace).unwrap_or((head, ""));
    match word {
        "clear" => Ok(Command::Clear),
        "load" | "load_with_nhcb" => {
            let (rows, starts) = load(body)?;
            Ok(Command::Load {
                step: duration(rest)?,
                rows,
                starts,
                custom_buckets: word != "load",
            })
        }
        _ => match word.strip_prefix("eval") {
            Some(kind) => eval(kind, rest.trim(), body).map(Command::Eval),
            None => Err(format!("unknown command {word}")),
        },
    }
}

/// Rows, and the starts that stand in lines of their own before them.
fn load(body: &[&str]) -> Result<(Vec<Row>, Vec<Offsets>), String> {
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    let mut default = Vec::new();
    let mut pending: Option<(Labels, Offsets)> = None;
    for line in body {
        let wrong = |problem: String| format!("{line}: {problem}");
        if let Some((metric, offsets)) = starts::line(line).map_err(wrong)? {
            match metric {
                None => default = offsets,
                Some(metric) if pending.is_none() => pending = Some((metric, offsets)),
                Some(_) => return Err(wrong("two @st lines for one series".to_owned())),
            }
            continue;
        }
        let (labels, values) = notation::series(line).map_err(wrong)?;
        let offsets = match pending.take() {
            Some((metric, _)) if metric != labels => {
                return Err(wrong(format!("the @st line before is for {metric}")));
            }
            Some((_, offsets)) if offsets.len() != values.len() => {
                let (offsets, values) = (offsets.len(), values.len());
                return Err(wrong(format!("{offsets} starts for {values} samples")));
            }
            Some((_, offsets)) => offsets,
            None => default.iter().copied().cycle().take(values.len()).collect(),
        };
        rows.push((labels, values));
        all.push(offsets);
    }
    match pending {
        None => Ok((rows, all)),
        Some((metric, _)) => Err(format!("no series after the @st line of {metric}")),
    }
}

fn duration(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let (sign, bare) = text.strip_prefix('-').map_or((1, text), |bare| (-1, bare));
    let parsed =
        number::parse_duration(bare).or_else(|| number::parse(bare).and_then(number::milliseconds));
    parsed
        .map(|length| sign * length)
        .ok_or_else(|| format!("no duration: {text}"))
}

fn eval(kind: &str, rest: &str, body: &[&str]) -> Result<Eval, String> {
    let mut eval = Eval::default();
    match kind {
        "" => {}
        "_fail" => eval.fail = Some(Text::Any),
        "_warn" => eval.warnings.push(Text::Any),
        "_info" => eval.infos.push(Text::Any),
        "_ordered" => eval.ordered = true,
        other => return Err(format!("unknown command eval{other}")),
    }
    let mut words = rest.splitn(2, char::is_whitespace);
    let (form, mut rest) = (
        words.next().unwrap_or(""),
        words.next().unwrap_or("").trim(),
    );
    let mut take = |keyword: &str| -> Result<i64, String> {
        let after = rest
            .strip_prefix(keyword)
            .ok_or_else(|| format!("expected {keyword}"))?
            .trim_start();
        let (word, after) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        rest = after.trim_start();
        duration(word)
    };
    if form == "instant" {
        eval.start = take("at ")?;
    } else {
        eval.start = take("from ")?;
        eval.range = Some((take("to ")?, take("step ")?));
    }
    eval.expression = rest.to_owned();
    for line in body {
        expectation(&mut eval, line).map_err(|problem| format!("{line}: {problem}"))?;
    }
    let many = |(_, values): &Row| values.len() > 1;
    if eval.range.is_none() && eval.matrix.is_none() && eval.rows.iter().any(many) {
        return Err("several values of an instant query need `expect range vector`".to_owned());
    }
    if (eval.no_warning && !eval.warnings.is_empty()) || (eval.no_info && !eval.infos.is_empty()) {
        return Err("something doubtful and nothing doubtful are both expected".to_owned());
    }
    Ok(eval)
}

fn expectation(eval: &mut Eval, line: &str) -> Result<(), String> {
    if let Some(message) = line.strip_prefix("expected_fail_message") {
        eval.fail = Some(Text::Exact(message.trim().to_owned()));
        return Ok(());
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
        eval.fail = Some(Text::Pattern(pattern.trim().to_owned()));
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("expect ") {
        return expect(eval, rest.trim());
    }
    if let Some(value) = number::parse(line) {
        eval.scalar = Some(value);
        return Ok(());
    }
    eval.unknown_hints |= line.contains("counter_reset_hint:unknown");
    eval.rows.push(notation::series(line)?);
    Ok(())
}

fn expect(eval: &mut Eval, rest: &str) -> Result<(), String> {
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let text = || {
        let (how, text) = rest.split_once(':').unwrap_or((rest, ""));
        let text = text.trim();
        let inner = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let text = inner.unwrap_or(text).to_owned();
        match how {
            "msg" => Ok(Text::Exact(text)),
            "regex" => match regex::Regex::new(&text) {
                Ok(_) => Ok(Text::Pattern(text)),
                Err(problem) => Err(format!("no pattern: {problem}")),
            },
            "" => Ok(Text::Any),
            other => Err(format!("unknown match {other}")),
        }
    };
    match kind {
        "fail" if eval.fail.is_some() => return Err("a second `expect fail`".to_owned()),
        "fail" => eval.fail = Some(text()?),
        "warn" => eval.warnings.push(text()?),
        "info" => eval.infos.push(text()?),
        "no_warn" => eval.no_warning = true,
        "no_info" => eval.no_info = true,
        "ordered" => eval.ordered = true,
        "string" => match expression(rest).map(|expr| expr.kind) {
            Ok(Kind::String(bytes)) => {
                eval.string = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            _ => return Err("expected: string, and a string in quotes".to_owned()),
        },
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["vector", "from", start, "to", _, "step", step] = words[..] else {
                return Err("expected: range vector from … to … step …".to_owned());
            };
            eval.matrix = Some((duration(start)?, duration(step)?));
        }
        other => return Err(format!("unknown expectation {other}")),
    }
    Ok(())
}
