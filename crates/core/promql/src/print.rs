//! A tree as text that parses to the same tree.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::ast::{
    Aggregate, At, Binary, Cardinality, Expr, Fill, Kind, Length, LengthOperator, Selector,
    Subquery, When,
};
use crate::labels::{NAME, is_plain, is_plain_metric};
use crate::matcher::Operator;
use crate::number::{duration, general, milliseconds, quote};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number(value) if *value == f64::INFINITY => f.write_str("Inf"),
            Kind::Number(value) => f.write_str(&general(*value)),
            Kind::String(bytes) => f.write_str(&quote(bytes)),
            Kind::Selector(selector) => selector.fmt(f),
            Kind::Subquery(subquery) => subquery.fmt(f),
            Kind::Paren(inner) => write!(f, "({inner})"),
            Kind::Unary { negative, inner } => {
                write!(f, "{}{inner}", if *negative { "-" } else { "+" })
            }
            Kind::Binary(binary) => binary.fmt(f),
            Kind::Aggregate(aggregate) => aggregate.fmt(f),
            Kind::Call {
                function,
                arguments,
            } => {
                write!(f, "{}({})", function.name, list(arguments))
            }
        }
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn labels(labels: &[String]) -> String {
    let quoted = |l: &String| {
        if is_plain(l) {
            l.clone()
        } else {
            quote(l.as_bytes())
        }
    };
    let labels: Vec<String> = labels.iter().map(quoted).collect();
    labels.join(", ")
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outside = self.name.as_deref().filter(|name| is_plain_metric(name));
        f.write_str(outside.unwrap_or(""))?;
        let is_name = |m: &&crate::matcher::Matcher| {
            m.label == NAME && m.operator == Operator::Equal && Some(&m.value) == self.name.as_ref()
        };
        let inside = self.name.iter().filter(|_| outside.is_none());
        let inside = inside.map(|name| quote(name.as_bytes()));
        let others = self
            .matchers
            .iter()
            .filter(|m| !is_name(m))
            .map(ToString::to_string);
        let parts: Vec<String> = inside.chain(others).collect();
        if !parts.is_empty() || outside.is_none() {
            write!(f, "{{{}}}", parts.join(", "))?;
        }
        if let Some(range) = &self.range {
            write!(f, "[{range}]")?;
        }
        if let Some(word) = self.edges.word() {
            write!(f, " {word}")?;
        }
        self.when.fmt(f)
    }
}

impl fmt::Display for Subquery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}:", self.inner, self.range)?;
        if let Some(step) = &self.step {
            step.fmt(f)?;
        }
        f.write_str("]")?;
        self.when.fmt(f)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Time(at)) => {
                let sign = if at < 0 { "-" } else { "" };
                let at = at.unsigned_abs();
                write!(f, " @ {sign}{}.{:03}", at / 1000, at % 1000)?;
            }
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match &self.offset {
            Some(offset @ Length::Binary(..)) => write!(f, " offset ({offset})"),
            Some(offset) => write!(f, " offset {offset}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(seconds) => match milliseconds(*seconds) {
                // What a duration cannot say exactly stays a number.
                Some(whole) if whole >= 0 && crate::number::seconds(whole) == *seconds => {
                    f.write_str(&duration(whole))
                }
                _ => f.write_str(&general(*seconds)),
            },
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negative(inner) => write!(f, "-{inner}"),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::Binary(operator, left, right) => {
                let symbol = match operator {
                    LengthOperator::Add => "+",
                    LengthOperator::Subtract => "-",
                    LengthOperator::Multiply => "*",
                    LengthOperator::Divide => "/",
                    LengthOperator::Modulo => "%",
                    LengthOperator::Power => "^",
                };
                write!(f, "{left} {symbol} {right}")
            }
            Self::Least(left, right) => write!(f, "min({left}, {right})"),
            Self::Greatest(left, right) => write!(f, "max({left}, {right})"),
        }
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.operator.symbol())?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        let matching = &self.matching;
        let grouped = matching.cardinality != Cardinality::OneToOne;
        if matching.on || grouped || !matching.labels.is_empty() {
            let word = if matching.on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", labels(&matching.labels))?;
        }
        if grouped {
            let many_to_one = matching.cardinality == Cardinality::ManyToOne;
            f.write_str(if many_to_one {
                " group_left"
            } else {
                " group_right"
            })?;
            write!(f, " ({})", labels(&matching.include))?;
        }
        let Fill { left, right } = matching.fill;
        let shown = |fill: Option<f64>| fill.map(general);
        let fills = match (shown(left), shown(right)) {
            (Some(left), Some(right)) if left == right => [Some(("fill", left)), None],
            (left, right) => [
                left.map(|value| ("fill_left", value)),
                right.map(|value| ("fill_right", value)),
            ],
        };
        for (word, value) in fills.into_iter().flatten() {
            write!(f, " {word} ({value})")?;
        }
        write!(f, " {}", self.right)
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operator.name())?;
        if self.without || !self.labels.is_empty() {
            let word = if self.without { "without" } else { "by" };
            write!(f, " {word} ({}) ", labels(&self.labels))?;
        }
        match &self.parameter {
            Some(parameter) => write!(f, "({parameter}, {})", self.inner),
            None => write!(f, "({})", self.inner),
        }
    }
}
