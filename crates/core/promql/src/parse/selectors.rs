//! Selectors, and what may stand behind one: a range, an offset, a moment.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Parser, checks};
use crate::ast::{At, Edges, Expr, Kind, Length, Selector, Subquery, Type, When};
use crate::labels::{Labels, NAME};
use crate::lex::{Fault, Word, fault};
use crate::matcher::{Matcher, Operator};
use crate::number::milliseconds;

impl Parser<'_> {
    /// The name, if any, has been read.
    pub(super) fn selector(&mut self, name: Option<&str>) -> Result<Selector, Fault> {
        let place = self.span();
        let mut name = name.map(String::from);
        let mut matchers: Vec<Matcher> = name.iter().map(|name| Matcher::name(name)).collect();
        if self.take_sign("{") {
            while !self.take_sign("}") {
                self.matcher(&mut name, &mut matchers)?;
                if !self.take_sign(",") && !self.is_sign("}") {
                    let shown = self.shown();
                    let message =
                        format!("unexpected {shown} in label matching, expected \",\" or \"}}\"");
                    return fault(self.span(), message);
                }
            }
        }
        let names = matchers
            .iter()
            .filter(|m| m.label == NAME && m.operator == Operator::Equal);
        if name.is_some() && names.count() > 1 {
            return fault(place, "metric name must not be set twice");
        }
        if !self.may_be_empty {
            checks::selector(&matchers, place)?;
        }
        let id = self.selectors;
        self.selectors += 1;
        Ok(Selector {
            id,
            name,
            matchers,
            range: None,
            edges: Edges::default(),
            when: When::default(),
        })
    }

    fn matcher(
        &mut self,
        name: &mut Option<String>,
        matchers: &mut Vec<Matcher>,
    ) -> Result<(), Fault> {
        let place = self.span();
        let (label, quoted) = match self.peek() {
            Word::Name(label) => (label.clone(), false),
            Word::String(bytes) => (String::from_utf8_lossy(bytes).into_owned(), true),
            _ => {
                let shown = self.shown();
                let message =
                    format!("unexpected {shown} in label matching, expected identifier or \"}}\"");
                return fault(place, message);
            }
        };
        self.at += 1;
        let operator = match self.peek() {
            Word::Sign("=") => Operator::Equal,
            Word::Sign("!=") => Operator::NotEqual,
            Word::Sign("=~") => Operator::Matches,
            Word::Sign("!~") => Operator::MatchesNot,
            _ if quoted => {
                // A metric's name in quotes, within the braces.
                if name.is_some() {
                    return fault(place, "metric name must not be set twice");
                }
                matchers.push(Matcher::name(&label));
                *name = Some(label);
                return Ok(());
            }
            _ => {
                let shown = self.shown();
                let message = format!(
                    "unexpected {shown} in label matching, expected label matching operator"
                );
                return fault(self.span(), message);
            }
        };
        self.at += 1;
        let Word::String(bytes) = self.peek() else {
            let shown = self.shown();
            return fault(
                self.span(),
                format!("unexpected {shown} in label matching, expected string"),
            );
        };
        let value = String::from_utf8_lossy(bytes).into_owned();
        let matcher = Matcher::new(&label, operator, &value);
        matchers.push(matcher.or_else(|message| fault(self.span(), message))?);
        self.at += 1;
        Ok(())
    }

    pub(super) fn postfix(&mut self, mut expr: Expr) -> Result<Expr, Fault> {
        let start = expr.span.start;
        for _ in 0..super::DEPTH_MAX {
            if self.is_sign("[") {
                expr = self.brackets(expr)?;
            } else if self.is_keyword("offset") {
                self.at += 1;
                let offset = self.length_operand()?;
                let place = self.span();
                let Some(when) = when(&mut expr) else {
                    return fault(
                        place,
                        "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                    );
                };
                if when.offset.is_some() {
                    return fault(place, "offset may not be set multiple times");
                }
                when.offset = Some(offset);
            } else if self.take_sign("@") {
                let place = self.span();
                let at = self.moment()?;
                let Some(when) = when(&mut expr) else {
                    return fault(
                        place,
                        "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                    );
                };
                if when.at.is_some() {
                    return fault(place, "@ <timestamp> may not be set multiple times");
                }
                when.at = Some(at);
            } else if let Some(edges) = self.edges() {
                let place = self.span();
                self.at += 1;
                set_edges(&mut expr, edges, place)?;
            } else {
                return Ok(expr);
            }
            expr.span = self.since(start);
        }
        fault(self.span(), "too many modifiers")
    }

    fn edges(&self) -> Option<Edges> {
        [Edges::Anchored, Edges::Smoothed]
            .into_iter()
            .find(|edges| edges.word().is_some_and(|word| self.is_keyword(word)))
    }

    fn moment(&mut self) -> Result<At, Fault> {
        let place = self.span();
        for (name, at) in [("start", At::Start), ("end", At::End)] {
            if self.take_keyword(name) {
                self.expect_sign("(", "@ modifier")?;
                self.expect_sign(")", "@ modifier")?;
                return Ok(at);
            }
        }
        let negative = self.is_sign("-");
        if negative || self.is_sign("+") {
            self.at += 1;
        }
        let seconds = match self.peek() {
            Word::Number(value) => *value,
            Word::Duration(length) => crate::number::seconds(*length),
            _ => {
                return fault(
                    place,
                    format!("unexpected {} in @, expected timestamp", self.shown()),
                );
            }
        };
        self.at += 1;
        let seconds = if negative { -seconds } else { seconds };
        // Beyond this, milliseconds would not fit.
        match milliseconds(seconds).filter(|_| seconds.abs() < 9e15) {
            Some(at) => Ok(At::Time(at)),
            None => fault(place, "timestamp out of bounds for @ modifier"),
        }
    }

    fn brackets(&mut self, mut expr: Expr) -> Result<Expr, Fault> {
        let place = self.span();
        self.at += 1;
        let range = self.length()?;
        if self.take_sign(":") {
            let step = if self.is_sign("]") {
                None
            } else {
                Some(self.length()?)
            };
            self.expect_sign("]", "subquery selector")?;
            if expr.kind_of() != Type::Vector {
                let message = format!(
                    "subquery is only allowed on instant vector, got {}",
                    expr.kind_of().name()
                );
                return fault(place, message);
            }
            positive(&range, place)?;
            if let Some(step) = &step {
                positive(step, place)?;
            }
            let span = expr.span;
            let subquery = Subquery {
                inner: expr,
                range,
                step,
                when: When::default(),
            };
            return Ok(Expr {
                kind: Kind::Subquery(Box::new(subquery)),
                span,
            });
        }
        self.expect_sign("]", "subquery or range selector")?;
        positive(&range, place)?;
        match &mut expr.kind {
            Kind::Selector(selector) if selector.range.is_none() => {
                if selector.when.offset.is_some() || selector.when.at.is_some() {
                    return fault(
                        place,
                        "no offset modifiers or @ modifiers allowed before range",
                    );
                }
                if let Some(word) = selector.edges.word() {
                    return fault(place, format!("{word} must stand behind the range"));
                }
                selector.range = Some(range);
                Ok(expr)
            }
            _ => fault(place, "ranges only allowed for vector selectors"),
        }
    }

    /// A series' name tag, outside of any expression.
    pub(super) fn metric(&mut self) -> Result<Labels, Fault> {
        let place = self.span();
        let name = match self.peek().clone() {
            Word::Name(name) => {
                self.at += 1;
                Some(name)
            }
            _ => None,
        };
        let mut pairs: Vec<(String, String)> = name
            .into_iter()
            .map(|name| (String::from(NAME), name))
            .collect();
        if self.take_sign("{") {
            while !self.take_sign("}") {
                let label = match self.peek().clone() {
                    Word::Name(label) => label,
                    Word::String(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    _ => {
                        return fault(
                            self.span(),
                            format!("unexpected {}, expected label", self.shown()),
                        );
                    }
                };
                self.at += 1;
                if self.take_sign("=") {
                    let Word::String(bytes) = self.peek().clone() else {
                        return fault(
                            self.span(),
                            format!("unexpected {}, expected string", self.shown()),
                        );
                    };
                    self.at += 1;
                    pairs.push((label, String::from_utf8_lossy(&bytes).into_owned()));
                } else {
                    pairs.push((String::from(NAME), label));
                }
                if !self.take_sign(",") && !self.is_sign("}") {
                    return fault(
                        self.span(),
                        format!("unexpected {}, expected \",\"", self.shown()),
                    );
                }
            }
        } else if pairs.is_empty() {
            return fault(
                place,
                format!("unexpected {}, expected a metric", self.shown()),
            );
        }
        Ok(Labels::new(pairs))
    }
}

fn positive(length: &Length, place: crate::ast::Span) -> Result<(), Fault> {
    match length {
        Length::Constant(seconds) if *seconds <= 0.0 => {
            fault(place, "duration must be greater than 0")
        }
        _ => Ok(()),
    }
}

fn set_edges(expr: &mut Expr, edges: Edges, place: crate::ast::Span) -> Result<(), Fault> {
    let word = edges.word().unwrap_or_default();
    let Kind::Selector(selector) = &mut expr.kind else {
        return fault(
            place,
            format!(
                "{word} modifier must be preceded by an instant vector selector or range vector selector, not by a subquery or another expression"
            ),
        );
    };
    match selector.edges.word() {
        None => {
            selector.edges = edges;
            Ok(())
        }
        Some(other) if other == word => {
            fault(place, format!("{word} may not be set multiple times"))
        }
        Some(_) => fault(
            place,
            "anchored and smoothed modifiers cannot be used together",
        ),
    }
}

fn when(expr: &mut Expr) -> Option<&mut When> {
    match &mut expr.kind {
        Kind::Selector(selector) => Some(&mut selector.when),
        Kind::Subquery(subquery) => Some(&mut subquery.when),
        _ => None,
    }
}
