//! Functions that write labels from other labels.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Evaluator, Item, Outcome, distinct, refuse};
use crate::ast::Expr;
use crate::labels::NAME;
use crate::matcher::anchored;
use crate::number::quote;

impl Evaluator<'_> {
    /// A label name: any text that is UTF-8 and not empty.
    fn label<'e>(&self, expr: &'e Expr, function: &str, which: &str) -> Outcome<&'e str> {
        let bytes = self.text(expr);
        match core::str::from_utf8(bytes) {
            Ok(name) if !name.is_empty() => Ok(name),
            _ => refuse(format!(
                "invalid {which} label name in {function}(): {}",
                shown(bytes)
            )),
        }
    }

    pub(super) fn label_replace(
        &mut self,
        inner: &Expr,
        rest: &[Expr],
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let [target, replacement, source, expression] = rest else {
            return refuse("label_replace takes five arguments");
        };
        let expression = String::from_utf8_lossy(self.text(expression));
        let regex = match anchored(&expression) {
            Ok(regex) => regex,
            Err(_) => {
                return refuse(format!(
                    "invalid regular expression in label_replace(): {expression}"
                ));
            }
        };
        let target = self.label(target, "label_replace", "destination")?;
        let replacement = String::from_utf8_lossy(self.text(replacement));
        let source = String::from_utf8_lossy(self.text(source));
        let mut items = self.vector(inner, at)?;
        for item in &mut items {
            let value = String::from(item.labels.get(&source));
            let Some(captures) = regex.captures(&value) else {
                continue;
            };
            let mut text = String::new();
            captures.expand(&replacement, &mut text);
            item.labels = item.labels.with(target, &text);
            if target == NAME {
                item.drop_name = false;
            }
        }
        distinct(&items)?;
        Ok(items)
    }

    pub(super) fn label_join(
        &mut self,
        inner: &Expr,
        rest: &[Expr],
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let [target, separator, sources @ ..] = rest else {
            return refuse("label_join takes at least three arguments");
        };
        let target = self.label(target, "label_join", "destination")?;
        let separator = String::from_utf8_lossy(self.text(separator));
        let mut names = Vec::new();
        for source in sources {
            names.push(self.label(source, "label_join", "source")?);
        }
        let mut items = self.vector(inner, at)?;
        for item in &mut items {
            let values: Vec<&str> = names.iter().map(|name| item.labels.get(name)).collect();
            let joined = values.join(&separator);
            item.labels = item.labels.with(target, &joined);
            if target == NAME {
                item.drop_name = false;
            }
        }
        distinct(&items)?;
        Ok(items)
    }
}

fn shown(bytes: &[u8]) -> String {
    let quoted = quote(bytes);
    String::from(quoted.trim_matches('"'))
}
