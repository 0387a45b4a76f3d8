//! Questions of an experiment or a drill to a watch.

use std::time::Duration;

use mainstay_derive::Layout;

use crate::query;

/// A watch that takes longer does not see for now.
const LIMIT: Duration = Duration::from_secs(3);

/// The values of an instant vector, or of a scalar.
pub fn values(layout: &Layout, expression: &str) -> Result<Vec<f64>, String> {
    let form = [("query", expression.to_owned())];
    let answer = query::ask_within(layout, None, "/api/v1/query", &form, LIMIT)
        .map_err(|failure| failure.to_string())?;
    mainstay_node::values(expression, &answer)
}

/// What is left of an objective's budget: the least that any series tells. A number that is none is not measured.
pub fn budget_left(layout: &Layout, objective: &str) -> Result<Option<f64>, String> {
    let left = values(layout, &format!("slo:budget:left{{slo=\"{objective}\"}}"))?;
    Ok(least(&left))
}

fn least(left: &[f64]) -> Option<f64> {
    let known = left.iter().copied().filter(|left| left.is_finite());
    let all_known = left.iter().all(|left| left.is_finite());
    known.reduce(f64::min).filter(|_| all_known)
}

#[cfg(test)]
mod tests {
    use super::least;

    #[test]
    fn the_least_of_all_series_counts() {
        for (left, found) in [
            (&[0.9, 0.1, 0.5][..], Some(0.1)),
            (&[0.9, -2.0], Some(-2.0)),
            (&[0.9, f64::NAN], None),
            (&[], None),
        ] {
            assert_eq!(least(left), found, "{left:?}");
        }
    }
}
