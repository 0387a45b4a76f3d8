//! Many histograms as one: first all are brought to one layout, then each bucket is summed up by itself, so
//! that small counts are not lost beside great ones.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Bounds, Hint, Histogram, Incompatible, Joined, common_bounds, same_bounds};

/// `of` makes one number of as many as there are histograms. Nothing of none.
pub fn total(
    all: &[&Histogram],
    bounds: Bounds,
    of: impl Fn(&[f64]) -> f64,
) -> Result<Option<(Histogram, Joined)>, Incompatible> {
    let Some(first) = all.first() else {
        return Ok(None);
    };
    let mut hint = Histogram {
        hint: first.hint,
        ..Histogram::default()
    };
    for histogram in all {
        hint.join_hints(histogram.hint);
    }
    let seen = |hint| all.iter().any(|histogram| histogram.hint == hint);
    let mut joined = Joined {
        reset_collision: seen(Hint::Reset) && seen(Hint::NotReset),
        ..Joined::default()
    };
    let mut all: Vec<Histogram> = all.iter().map(|histogram| (*histogram).clone()).collect();
    joined.reconciled = unify(&mut all, bounds)?;
    let each = |value: fn(&Histogram) -> f64| of(&all.iter().map(value).collect::<Vec<f64>>());
    let mut result = Histogram {
        hint: hint.hint,
        count: each(|histogram| histogram.count),
        sum: each(|histogram| histogram.sum),
        zero_count: each(|histogram| histogram.zero_count),
        positive: buckets(&all, |histogram| &histogram.positive, &of),
        negative: buckets(&all, |histogram| &histogram.negative, &of),
        ..Histogram::default()
    };
    if let Some(first) = all.first_mut() {
        result.schema = first.schema;
        result.zero_threshold = first.zero_threshold;
        result.custom = core::mem::take(&mut first.custom);
    }
    result.compact();
    Ok(Some((result, joined)))
}

/// Brings all to one layout; true where bounds of their own had to be given up for that.
fn unify(all: &mut [Histogram], bounds: Bounds) -> Result<bool, Incompatible> {
    let Some((first, others)) = all.split_first() else {
        return Ok(false);
    };
    if others
        .iter()
        .any(|other| other.is_custom() != first.is_custom())
    {
        return Err(Incompatible::Schemas);
    }
    if first.is_custom() {
        if others
            .iter()
            .all(|other| same_bounds(&first.custom, &other.custom))
        {
            return Ok(false);
        }
        if bounds == Bounds::Refuse {
            return Err(Incompatible::Bounds);
        }
        let common = others.iter().fold(first.custom.clone(), |common, other| {
            common_bounds(&common, &other.custom)
        });
        for histogram in all {
            histogram.coarsen(&common);
        }
        return Ok(true);
    }
    let schema = all.iter().map(|histogram| histogram.schema).min();
    let mut widest = 0.0;
    loop {
        let before = widest;
        for histogram in all.iter_mut() {
            histogram.widen_zero(widest);
            widest = histogram.zero_threshold.max(widest);
        }
        if before == widest {
            break;
        }
    }
    for histogram in all {
        histogram.reduce(schema.unwrap_or_default());
    }
    Ok(false)
}

fn buckets<'h>(
    all: &'h [Histogram],
    side: impl Fn(&'h Histogram) -> &'h Vec<(i32, f64)>,
    of: impl Fn(&[f64]) -> f64,
) -> Vec<(i32, f64)> {
    let mut gathered: BTreeMap<i32, Vec<f64>> = BTreeMap::new();
    for histogram in all {
        for (index, count) in side(histogram) {
            gathered.entry(*index).or_default().push(*count);
        }
    }
    let one = |(index, mut counts): (i32, Vec<f64>)| {
        counts.resize(all.len(), 0.0);
        (index, of(&counts))
    };
    gathered.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn small_counts_are_not_lost() {
        let one = |count: f64| Histogram {
            count,
            positive: vec![(1, count)],
            ..Histogram::default()
        };
        let all = [one(1e100), one(3.0), one(-1e100)];
        let all: Vec<&Histogram> = all.iter().collect();
        let sum = |values: &[f64]| {
            let (sum, lost) = values.iter().fold((0.0, 0.0), |(sum, lost), value| {
                crate::number::kahan(*value, sum, lost)
            });
            sum + lost
        };
        let found = total(&all, Bounds::Reconcile, sum);
        let (found, _) = found.expect("one layout").expect("some");
        assert_eq!((found.count, found.positive), (3.0, vec![(1, 3.0)]));
    }
}
