//! From words to a tree whose types fit: precedence climbing over Prometheus's grammar.
//!
//! Keywords are names with a meaning in one place: `sum` before a parenthesis aggregates, elsewhere it is a
//! metric like any other.

mod checks;
mod lengths;
mod matching;
mod selectors;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ast::{Aggregate, Aggregation, Binary, BinaryOperator, Expr, Kind, Span, Type};
use crate::functions;
use crate::lex::{Fault, Token, Word, fault, words};

/// How deep a tree may be: both the recursion of the parser and that of the evaluator end here.
pub const DEPTH_MAX: usize = 200;
/// How deep parentheses and calls may be nested in the text.
const NESTING_MAX: usize = 64;
/// Longest text of one question.
pub const BYTES_MAX: usize = 256 * 1024;

/// Parses and checks a whole question.
pub fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > BYTES_MAX {
        return fault(
            Span::default(),
            format!("expression is longer than {BYTES_MAX} bytes"),
        );
    }
    let tokens = words(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        selectors: 0,
        nesting: 0,
        may_be_empty: false,
    };
    if parser.peek() == &Word::End {
        return fault(parser.span(), "no expression found in input");
    }
    let expr = parser.expression(0)?;
    if parser.peek() != &Word::End {
        return fault(parser.span(), format!("unexpected {}", parser.shown()));
    }
    checks::depth(&expr)?;
    Ok(expr)
}

/// A series' name and labels, as in `metric{label="value"}`.
pub fn parse_metric(text: &str) -> Result<(crate::labels::Labels, usize), Fault> {
    let tokens = words(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        selectors: 0,
        nesting: 0,
        may_be_empty: false,
    };
    let labels = parser.metric()?;
    Ok((labels, parser.last_end()))
}

pub(crate) struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    selectors: usize,
    nesting: usize,
    /// Whether a selector may select everything, as on the data side of `info`.
    may_be_empty: bool,
}

static END: Word = Word::End;

impl Parser<'_> {
    fn peek(&self) -> &Word {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> &Word {
        self.tokens
            .get(self.at + by)
            .map_or(&END, |token| &token.word)
    }

    fn span(&self) -> Span {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        token.map_or(Span::default(), |token| token.span)
    }

    fn last_end(&self) -> usize {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        last.map_or(0, |token| token.span.end)
    }

    fn since(&self, start: usize) -> Span {
        Span {
            start,
            end: self.last_end(),
        }
    }

    fn shown(&self) -> String {
        match self.peek() {
            Word::Name(name) => format!("identifier {name:?}"),
            Word::Number(value) => format!("number {:?}", crate::number::general(*value)),
            Word::Duration(length) => format!("duration {:?}", crate::number::duration(*length)),
            Word::String(bytes) => format!("string {}", crate::number::quote(bytes)),
            Word::Sign(sign) => format!("{sign:?}"),
            Word::End => String::from("end of input"),
        }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Word::Sign(found) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str, context: &str) -> Result<(), Fault> {
        if self.take_sign(sign) {
            return Ok(());
        }
        fault(
            self.span(),
            format!(
                "unexpected {} in {context}, expected {sign:?}",
                self.shown()
            ),
        )
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Word::Name(name) if name.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        self.at += usize::from(found);
        found
    }

    fn nested<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.nesting >= NESTING_MAX {
            return fault(self.span(), format!("nested deeper than {NESTING_MAX}"));
        }
        self.nesting += 1;
        let result = part(self);
        self.nesting -= 1;
        result
    }

    fn expression(&mut self, least: u8) -> Result<Expr, Fault> {
        self.nested(|parser| {
            let mut left = parser.unary()?;
            while let Some(operator) = parser.operator().filter(|o| o.precedence() >= least) {
                parser.at += 1;
                left = parser.binary(left, operator)?;
            }
            Ok(left)
        })
    }

    fn operator(&self) -> Option<BinaryOperator> {
        use BinaryOperator as O;
        match self.peek() {
            Word::Sign(sign) => Some(match *sign {
                "==" => O::Equal,
                "!=" => O::NotEqual,
                "<=" => O::LessOrEqual,
                "<" => O::Less,
                ">=" => O::GreaterOrEqual,
                ">" => O::Greater,
                "</" => O::TrimUpper,
                ">/" => O::TrimLower,
                "+" => O::Add,
                "-" => O::Subtract,
                "*" => O::Multiply,
                "/" => O::Divide,
                "%" => O::Modulo,
                "^" => O::Power,
                _ => return None,
            }),
            Word::Name(name) => match name.to_ascii_lowercase().as_str() {
                "or" => Some(O::Or),
                "and" => Some(O::And),
                "unless" => Some(O::Unless),
                "atan2" => Some(O::Atan2),
                _ => None,
            },
            Word::Number(_) | Word::Duration(_) | Word::String(_) | Word::End => None,
        }
    }

    fn binary(&mut self, left: Expr, operator: BinaryOperator) -> Result<Expr, Fault> {
        let place = self.span();
        let returns_bool = self.take_keyword("bool");
        let (matching, written) = self.matching(operator)?;
        // Power binds to the right, all others to the left.
        let least = operator.precedence() + u8::from(operator != BinaryOperator::Power);
        let right = self.expression(least)?;
        let span = Span {
            start: left.span.start,
            end: right.span.end,
        };
        let binary = Binary {
            operator,
            left,
            right,
            returns_bool,
            matching,
        };
        checks::binary(&binary, written, place)?;
        Ok(Expr {
            kind: Kind::Binary(Box::new(binary)),
            span,
        })
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let start = self.span();
        if !(self.is_sign("-") || self.is_sign("+")) {
            let primary = self.primary()?;
            return self.postfix(primary);
        }
        let negative = self.is_sign("-");
        self.at += 1;
        let inner = self.expression(BinaryOperator::Power.precedence())?;
        match inner.kind_of() {
            Type::Scalar | Type::Vector => {}
            other => {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                    other.name()
                );
                return fault(start, message);
            }
        }
        let span = Span {
            start: start.start,
            end: inner.span.end,
        };
        if let Kind::Number(value) = &inner.kind {
            let value = if negative { -value } else { *value };
            return Ok(Expr {
                kind: Kind::Number(value),
                span,
            });
        }
        let inner = Box::new(inner);
        Ok(Expr {
            kind: Kind::Unary { negative, inner },
            span,
        })
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let start = self.span().start;
        let kind = match self.peek().clone() {
            Word::Number(value) => {
                self.at += 1;
                Kind::Number(value)
            }
            Word::Duration(length) => {
                self.at += 1;
                Kind::Number(crate::number::seconds(length))
            }
            Word::String(bytes) => {
                self.at += 1;
                Kind::String(bytes)
            }
            Word::Sign("(") => {
                self.at += 1;
                let inner = self.expression(0)?;
                self.expect_sign(")", "paren expression")?;
                Kind::Paren(Box::new(inner))
            }
            Word::Sign("{") => Kind::Selector(self.selector(None)?),
            Word::Name(name) => self.named(&name)?,
            Word::Sign(_) | Word::End => {
                return fault(self.span(), format!("unexpected {}", self.shown()));
            }
        };
        Ok(Expr {
            kind,
            span: self.since(start),
        })
    }

    fn named(&mut self, name: &str) -> Result<Kind, Fault> {
        let lower = name.to_ascii_lowercase();
        let opens = matches!(self.ahead(1), Word::Sign("("));
        let groups = matches!(self.ahead(1), Word::Name(next)
            if next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without"));
        let aggregation = Aggregation::ALL.into_iter().find(|a| a.name() == lower);
        if let Some(operator) = aggregation.filter(|_| opens || groups) {
            self.at += 1;
            return self.aggregate(operator);
        }
        if opens {
            return self.call(name);
        }
        if !matches!(self.ahead(1), Word::Sign("{"))
            && let Some(value) = match lower.as_str() {
                "inf" => Some(f64::INFINITY),
                "nan" => Some(f64::NAN),
                _ => None,
            }
        {
            self.at += 1;
            return Ok(Kind::Number(value));
        }
        self.at += 1;
        Ok(Kind::Selector(self.selector(Some(name))?))
    }

    fn aggregate(&mut self, operator: Aggregation) -> Result<Kind, Fault> {
        let place = self.span();
        let before = self.grouping()?;
        let mut arguments = self.arguments("")?;
        let after = if before.is_none() {
            self.grouping()?
        } else {
            None
        };
        let wanted = 1 + usize::from(operator.parameter().is_some());
        if arguments.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                arguments.len()
            );
            return fault(place, message);
        }
        let Some(inner) = arguments.pop() else {
            return fault(place, "no arguments for aggregate expression provided");
        };
        let grouping = before.or(after);
        let grouped = grouping.is_some();
        let (without, labels) = grouping.unwrap_or_default();
        let parameter = arguments.pop();
        let aggregate = Aggregate {
            operator,
            inner,
            parameter,
            without,
            labels,
            grouped,
        };
        checks::aggregate(&aggregate)?;
        Ok(Kind::Aggregate(Box::new(aggregate)))
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, Fault> {
        let without = self.is_keyword("without");
        if !(without || self.is_keyword("by")) {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some((without, self.label_list()?)))
    }

    fn arguments(&mut self, of: &str) -> Result<Vec<Expr>, Fault> {
        self.expect_sign("(", "function call")?;
        let mut arguments = Vec::new();
        if self.take_sign(")") {
            return Ok(arguments);
        }
        loop {
            self.may_be_empty = of == "info" && arguments.len() == 1;
            arguments.push(self.expression(0)?);
            self.may_be_empty = false;
            if self.take_sign(")") {
                return Ok(arguments);
            }
            self.expect_sign(",", "function call")?;
        }
    }

    fn call(&mut self, name: &str) -> Result<Kind, Fault> {
        let place = self.span();
        let Some(function) = functions::find(name) else {
            return fault(place, format!("unknown function with name {name:?}"));
        };
        self.at += 1;
        let arguments = self.arguments(function.name)?;
        checks::call(function, &arguments, place)?;
        Ok(Kind::Call {
            function,
            arguments,
        })
    }
}

#[cfg(test)]
mod tests;
