//! How far into the past each selector looks, known before the first step, so that series are fetched once.

use super::{Evaluator, Outcome};
use crate::ast::{At, Expr, Kind, When};

impl Evaluator<'_> {
    /// The moment that `when` means, seen from `at`.
    pub(super) fn moment(&self, when: &When, at: i64) -> Outcome<i64> {
        let moment = match when.at {
            Some(At::Time(time)) => time,
            Some(At::Start) => self.start,
            Some(At::End) => self.end,
            None => at,
        };
        let offset = when
            .offset
            .as_ref()
            .map_or(Ok(0), |offset| self.milliseconds(offset))?;
        Ok(moment.saturating_sub(offset))
    }

    pub(super) fn reach_of(&mut self, expr: &Expr, from: i64, to: i64) -> Outcome<()> {
        match &expr.kind {
            Kind::Selector(selector) => {
                let (from, to) = (
                    self.moment(&selector.when, from)?,
                    self.moment(&selector.when, to)?,
                );
                let back = match &selector.range {
                    Some(range) => self.milliseconds(range)?,
                    None => self.options.lookback,
                };
                self.reach
                    .insert(selector.id, (from.saturating_sub(back), to));
                Ok(())
            }
            Kind::Subquery(subquery) => {
                let (from, to) = (
                    self.moment(&subquery.when, from)?,
                    self.moment(&subquery.when, to)?,
                );
                let range = self.milliseconds(&subquery.range)?;
                self.reach_of(&subquery.inner, from.saturating_sub(range), to)
            }
            _ => expr
                .children()
                .into_iter()
                .try_for_each(|child| self.reach_of(child, from, to)),
        }
    }
}
