//! Durations: literals, and arithmetic over them where a range, a step or an offset is asked for.

use alloc::boxed::Box;
use alloc::format;

use super::Parser;
use crate::ast::{Length, LengthOperator};
use crate::lex::{Fault, Word, fault};
use crate::number::seconds;

/// The precedence of `^`, above which there is none.
const POWER: u8 = 3;

impl Parser<'_> {
    /// A whole duration expression, as between brackets.
    pub(super) fn length(&mut self) -> Result<Length, Fault> {
        self.length_above(0)
    }

    fn length_above(&mut self, least: u8) -> Result<Length, Fault> {
        self.nested(|parser| {
            let mut left = parser.length_term()?;
            while let Some((operator, precedence)) = parser.length_operator() {
                if precedence < least {
                    break;
                }
                parser.at += 1;
                let above = precedence + u8::from(operator != LengthOperator::Power);
                let right = parser.length_above(above)?;
                left = Length::Binary(operator, Box::new(left), Box::new(right));
            }
            Ok(left)
        })
    }

    /// A sign before a power is the sign of the whole power.
    fn length_term(&mut self) -> Result<Length, Fault> {
        match self.peek() {
            Word::Sign("-") => {
                self.at += 1;
                Ok(Length::Negative(Box::new(self.length_above(POWER)?)))
            }
            Word::Sign("+") => {
                self.at += 1;
                self.length_above(POWER)
            }
            _ => self.length_operand(),
        }
    }

    fn length_operator(&self) -> Option<(LengthOperator, u8)> {
        let Word::Sign(sign) = self.peek() else {
            return None;
        };
        Some(match *sign {
            "+" => (LengthOperator::Add, 1),
            "-" => (LengthOperator::Subtract, 1),
            "*" => (LengthOperator::Multiply, 2),
            "/" => (LengthOperator::Divide, 2),
            "%" => (LengthOperator::Modulo, 2),
            "^" => (LengthOperator::Power, POWER),
            _ => return None,
        })
    }

    /// One operand: a literal, a sign before one, parentheses, `step()`, `range()`, `min` or `max` of two.
    pub(super) fn length_operand(&mut self) -> Result<Length, Fault> {
        self.nested(Self::length_part)
    }

    fn length_part(&mut self) -> Result<Length, Fault> {
        let place = self.span();
        match self.peek().clone() {
            Word::Number(value) => {
                self.at += 1;
                Ok(Length::Constant(value))
            }
            Word::Duration(length) => {
                self.at += 1;
                Ok(Length::Constant(seconds(length)))
            }
            Word::Sign("-") => {
                self.at += 1;
                Ok(Length::Negative(Box::new(self.length_operand()?)))
            }
            Word::Sign("+") => {
                self.at += 1;
                self.length_operand()
            }
            Word::Sign("(") => {
                self.at += 1;
                let inner = self.length()?;
                self.expect_sign(")", "duration expression")?;
                Ok(Length::Paren(Box::new(inner)))
            }
            Word::Name(name) => {
                self.at += 1;
                self.expect_sign("(", "duration expression")?;
                let length = match name.to_ascii_lowercase().as_str() {
                    "step" => Length::Step,
                    "range" => Length::Range,
                    "min" | "max" => {
                        let left = Box::new(self.length()?);
                        self.expect_sign(",", "duration expression")?;
                        let right = Box::new(self.length()?);
                        if name.eq_ignore_ascii_case("min") {
                            Length::Least(left, right)
                        } else {
                            Length::Greatest(left, right)
                        }
                    }
                    _ => return fault(place, format!("unknown function {name:?} in a duration")),
                };
                self.expect_sign(")", "duration expression")?;
                Ok(length)
            }
            Word::String(_) | Word::Sign(_) | Word::End => fault(
                place,
                format!("unexpected {}, expected a duration", self.shown()),
            ),
        }
    }
}
