//! What may stand between a binary operator and its right side: which samples meet, and what stands for those
//! that find no partner.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Parser;
use crate::ast::{BinaryOperator, Cardinality, Fill, Matching};
use crate::lex::{Fault, Word, fault};

impl Parser<'_> {
    pub(super) fn matching(&mut self, operator: BinaryOperator) -> Result<(Matching, bool), Fault> {
        let mut matching = Matching::default();
        let on = self.is_keyword("on");
        let written = (on || self.is_keyword("ignoring")) && self.opens();
        if written {
            self.at += 1;
            matching.on = on;
            matching.labels = self.label_list()?;
            self.grouped_matching(operator, &mut matching)?;
        }
        self.fill(operator, &mut matching.fill)?;
        Ok((matching, written))
    }

    fn grouped_matching(
        &mut self,
        operator: BinaryOperator,
        matching: &mut Matching,
    ) -> Result<(), Fault> {
        let left = self.is_keyword("group_left");
        if left || self.is_keyword("group_right") {
            if operator.is_set() {
                let set = operator.symbol();
                return fault(
                    self.span(),
                    format!("no grouping allowed for {set:?} operation"),
                );
            }
            self.at += 1;
            matching.cardinality = if left {
                Cardinality::ManyToOne
            } else {
                Cardinality::OneToMany
            };
            if self.is_sign("(") && self.is_label_list() {
                matching.include = self.label_list()?;
            }
        }
        Ok(())
    }

    /// Whether a parenthesis follows the next word: without one, `fill` is a metric like any other.
    fn opens(&self) -> bool {
        matches!(self.ahead(1), Word::Sign("("))
    }

    /// `fill(0)`, or `fill_left(0)` and `fill_right(0)` in any order.
    fn fill(&mut self, operator: BinaryOperator, fill: &mut Fill) -> Result<(), Fault> {
        loop {
            let place = self.span();
            let word = ["fill", "fill_left", "fill_right"]
                .into_iter()
                .find(|word| self.is_keyword(word) && self.opens());
            let Some(word) = word else {
                return Ok(());
            };
            if operator.is_set() {
                let set = operator.symbol();
                return fault(
                    place,
                    format!("filling in missing series not allowed for {set:?} operation"),
                );
            }
            self.at += 1;
            let value = Some(self.fill_value(word)?);
            let (left, right) = (word != "fill_right", word != "fill_left");
            if (left && fill.left.is_some()) || (right && fill.right.is_some()) {
                return fault(
                    place,
                    format!("{word} may not be set where that side is filled in already"),
                );
            }
            if left {
                fill.left = value;
            }
            if right {
                fill.right = value;
            }
        }
    }

    /// A number in parentheses, perhaps with a sign.
    fn fill_value(&mut self, word: &str) -> Result<f64, Fault> {
        self.expect_sign("(", word)?;
        let negative = self.is_sign("-");
        if negative || self.is_sign("+") {
            self.at += 1;
        }
        let value = match self.peek() {
            Word::Number(value) => Some(*value),
            Word::Duration(length) => Some(crate::number::seconds(*length)),
            Word::Name(name) if name.eq_ignore_ascii_case("inf") => Some(f64::INFINITY),
            Word::Name(name) if name.eq_ignore_ascii_case("nan") => Some(f64::NAN),
            _ => None,
        };
        let Some(value) = value else {
            let shown = self.shown();
            return fault(
                self.span(),
                format!("unexpected {shown} in {word}, expected a number"),
            );
        };
        self.at += 1;
        self.expect_sign(")", word)?;
        Ok(if negative { -value } else { value })
    }

    /// Whether the parenthesis that follows holds labels: after `group_left` it may open an expression.
    fn is_label_list(&self) -> bool {
        let mut by = 1;
        loop {
            match self.ahead(by) {
                Word::Sign(")") => return true,
                Word::Name(_) | Word::String(_) => by += 1,
                _ => return false,
            }
            match self.ahead(by) {
                Word::Sign(",") => by += 1,
                Word::Sign(")") => return true,
                _ => return false,
            }
        }
    }

    pub(super) fn label_list(&mut self) -> Result<Vec<String>, Fault> {
        self.expect_sign("(", "grouping opts")?;
        let mut labels = Vec::new();
        while !self.take_sign(")") {
            match self.peek() {
                Word::Name(name) if crate::labels::is_plain(name) => labels.push(name.clone()),
                Word::String(bytes) => labels.push(String::from_utf8_lossy(bytes).into_owned()),
                _ => {
                    let shown = self.shown();
                    return fault(
                        self.span(),
                        format!("unexpected {shown} in grouping opts, expected label"),
                    );
                }
            }
            self.at += 1;
            if !self.take_sign(",") && !self.is_sign(")") {
                let shown = self.shown();
                return fault(
                    self.span(),
                    format!("unexpected {shown} in grouping opts, expected \",\" or \")\""),
                );
            }
        }
        Ok(labels)
    }
}
