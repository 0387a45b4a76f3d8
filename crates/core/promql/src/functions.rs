//! The table of functions: what they take and give. What they do is in `eval`.

use crate::ast::Type;

use Type::{Matrix, Scalar, String as Text, Vector};

/// How many arguments may follow the required ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    None,
    /// The last argument may be left out.
    Optional,
    /// The last argument may be left out or repeated.
    Any,
}

#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub arguments: &'static [Type],
    pub more: More,
    pub returns: Type,
}

const fn one(name: &'static str, arguments: &'static [Type]) -> Function {
    Function {
        name,
        arguments,
        more: More::None,
        returns: Vector,
    }
}

const fn more(name: &'static str, arguments: &'static [Type], more: More) -> Function {
    Function {
        name,
        arguments,
        more,
        returns: Vector,
    }
}

const fn scalar(name: &'static str, arguments: &'static [Type]) -> Function {
    Function {
        name,
        arguments,
        more: More::None,
        returns: Scalar,
    }
}

/// Sorted by name.
pub static FUNCTIONS: &[Function] = &[
    one("abs", &[Vector]),
    one("absent", &[Vector]),
    one("absent_over_time", &[Matrix]),
    one("acos", &[Vector]),
    one("acosh", &[Vector]),
    one("asin", &[Vector]),
    one("asinh", &[Vector]),
    one("atan", &[Vector]),
    one("atanh", &[Vector]),
    one("avg_over_time", &[Matrix]),
    one("ceil", &[Vector]),
    one("changes", &[Matrix]),
    one("clamp", &[Vector, Scalar, Scalar]),
    one("clamp_max", &[Vector, Scalar]),
    one("clamp_min", &[Vector, Scalar]),
    one("cos", &[Vector]),
    one("cosh", &[Vector]),
    one("count_over_time", &[Matrix]),
    more("day_of_month", &[Vector], More::Optional),
    more("day_of_week", &[Vector], More::Optional),
    more("day_of_year", &[Vector], More::Optional),
    more("days_in_month", &[Vector], More::Optional),
    one("deg", &[Vector]),
    one("delta", &[Matrix]),
    one("deriv", &[Matrix]),
    one("double_exponential_smoothing", &[Matrix, Scalar, Scalar]),
    scalar("end", &[]),
    one("exp", &[Vector]),
    one("first_over_time", &[Matrix]),
    one("floor", &[Vector]),
    one("histogram_avg", &[Vector]),
    one("histogram_count", &[Vector]),
    one("histogram_fraction", &[Scalar, Scalar, Vector]),
    one("histogram_quantile", &[Scalar, Vector]),
    more(
        "histogram_quantiles",
        &[Vector, Text, Scalar, Scalar],
        More::Any,
    ),
    one("histogram_stddev", &[Vector]),
    one("histogram_stdvar", &[Vector]),
    one("histogram_sum", &[Vector]),
    more("hour", &[Vector], More::Optional),
    one("idelta", &[Matrix]),
    one("increase", &[Matrix]),
    more("info", &[Vector, Vector], More::Optional),
    one("irate", &[Matrix]),
    more("label_join", &[Vector, Text, Text, Text], More::Any),
    one("label_replace", &[Vector, Text, Text, Text, Text]),
    one("last_over_time", &[Matrix]),
    one("ln", &[Vector]),
    one("log10", &[Vector]),
    one("log2", &[Vector]),
    one("mad_over_time", &[Matrix]),
    scalar("max_of", &[Scalar, Scalar]),
    one("max_over_time", &[Matrix]),
    scalar("min_of", &[Scalar, Scalar]),
    one("min_over_time", &[Matrix]),
    more("minute", &[Vector], More::Optional),
    more("month", &[Vector], More::Optional),
    scalar("pi", &[]),
    one("predict_linear", &[Matrix, Scalar]),
    one("present_over_time", &[Matrix]),
    one("quantile_over_time", &[Scalar, Matrix]),
    one("rad", &[Vector]),
    scalar("range", &[]),
    one("rate", &[Matrix]),
    one("resets", &[Matrix]),
    more("round", &[Vector, Scalar], More::Optional),
    scalar("scalar", &[Vector]),
    one("sgn", &[Vector]),
    one("sin", &[Vector]),
    one("sinh", &[Vector]),
    one("sort", &[Vector]),
    more("sort_by_label", &[Vector, Text, Text], More::Any),
    more("sort_by_label_desc", &[Vector, Text, Text], More::Any),
    one("sort_desc", &[Vector]),
    one("sqrt", &[Vector]),
    scalar("start", &[]),
    one("start_timestamp", &[Vector]),
    one("stddev_over_time", &[Matrix]),
    one("stdvar_over_time", &[Matrix]),
    scalar("step", &[]),
    one("sum_over_time", &[Matrix]),
    one("tan", &[Vector]),
    one("tanh", &[Vector]),
    scalar("time", &[]),
    one("timestamp", &[Vector]),
    one("ts_of_first_over_time", &[Matrix]),
    one("ts_of_last_over_time", &[Matrix]),
    one("ts_of_max_over_time", &[Matrix]),
    one("ts_of_min_over_time", &[Matrix]),
    one("vector", &[Scalar]),
    more("year", &[Vector], More::Optional),
];

pub fn find(name: &str) -> Option<&'static Function> {
    let at = FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()?;
    FUNCTIONS.get(at)
}

impl Function {
    /// Fewest and most arguments; the most is open for [`More::Any`].
    pub fn arity(&self) -> (usize, Option<usize>) {
        let all = self.arguments.len();
        match self.more {
            More::None => (all, Some(all)),
            More::Optional => (all.saturating_sub(1), Some(all)),
            More::Any => (all.saturating_sub(1), None),
        }
    }

    /// The type that the argument at this place must have.
    pub fn argument(&self, at: usize) -> Option<Type> {
        self.arguments.get(at).or(self.arguments.last()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(FUNCTIONS.is_sorted_by_key(|function| function.name));
        assert!(find("rate").is_some() && find("nothing").is_none());
    }
}
