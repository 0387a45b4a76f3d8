//! How far into the past each selector looks, known before the first step, so that series are fetched once.

use super::{Evaluator, Outcome, info};
use crate::ast::{At, Edges, Expr, Kind, When};

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
                let lookback = self.options.lookback;
                let range = match &selector.range {
                    Some(range) => Some(self.milliseconds(range)?),
                    None => None,
                };
                let (back, ahead) = match selector.edges {
                    Edges::Open => (range.unwrap_or(lookback), 0),
                    Edges::Anchored => (range.unwrap_or(0).saturating_add(lookback), 0),
                    Edges::Smoothed => (range.unwrap_or(0).saturating_add(lookback), lookback),
                };
                let reach = (from.saturating_sub(back), to.saturating_add(ahead));
                self.reach.insert(selector.id, reach);
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
            _ => {
                if let Kind::Call {
                    function,
                    arguments,
                } = &expr.kind
                    && function.name == "info"
                {
                    let reach = (from.saturating_sub(self.options.lookback), to);
                    let number = info::number(arguments.get(1));
                    let known = self.reach.entry(number).or_insert(reach);
                    *known = (known.0.min(reach.0), known.1.max(reach.1));
                    return arguments
                        .iter()
                        .take(1)
                        .try_for_each(|inner| self.reach_of(inner, from, to));
                }
                expr.children()
                    .into_iter()
                    .try_for_each(|child| self.reach_of(child, from, to))
            }
        }
    }

    /// Finds the selectors of which only counts and sums of histograms are asked. Of those, Prometheus learns
    /// while it reads whether a counter was reset, and warns where a sum mixes both.
    pub(super) fn count_only(&mut self, expr: &Expr, counts: bool) {
        let counts = match &expr.kind {
            Kind::Selector(selector) => {
                if counts {
                    self.counted.insert(selector.id);
                }
                return;
            }
            // Whatever looks at buckets, above or below.
            Kind::Subquery(_) => return,
            Kind::Binary(binary) if binary.operator.is_trim() => return,
            Kind::Call { function, .. } => match function.name {
                "histogram_count" | "histogram_sum" | "histogram_avg" => true,
                "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => return,
                _ => counts,
            },
            _ => counts,
        };
        for child in expr.children() {
            self.count_only(child, counts);
        }
    }
}
