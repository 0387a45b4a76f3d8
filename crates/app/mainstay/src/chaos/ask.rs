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
