//! Lines that say since when counters have counted: `metric{label="x"}@st -1m-1mx3 _ 0`, seen from the time of
//! each sample. `_` leaves one out, `*` repeats the one before, `axn` and `a+bxn` are as in series.

use mainstay_promql::labels::Labels;
use mainstay_promql::notation;
use mainstay_promql::number;

pub type Offsets = Vec<Option<i64>>;

/// The metric, or none where the line is for all that follow; nothing if it is no such line.
pub fn line(line: &str) -> Result<Option<(Option<Labels>, Offsets)>, String> {
    let Some((metric, rest)) = line.split_once("@st") else {
        return Ok(None);
    };
    if !rest.starts_with(char::is_whitespace) {
        return Ok(None);
    }
    let mut offsets = Vec::new();
    for item in rest.split_whitespace() {
        let before = offsets.iter().rev().find_map(|offset| *offset);
        let found = item_of(item, before.unwrap_or(0)).map_err(|e| format!("{item:?}: {e}"))?;
        offsets.extend(found);
    }
    let metric = match metric.trim() {
        "" => None,
        metric => Some(notation::series(&format!("{metric} _"))?.0),
    };
    Ok(Some((metric, offsets)))
}

fn item_of(item: &str, before: i64) -> Result<Offsets, String> {
    let (head, times) = match item.split_once('x') {
        None => (item, 0),
        Some((head, times)) => {
            let times: usize = times.parse().map_err(|_| "no number of times")?;
            (head, times)
        }
    };
    if head == "_" {
        return Ok(vec![None; times.max(1)]);
    }
    if head == "*" {
        return Ok(vec![Some(before); times + 1]);
    }
    let sign = head.rfind(['+', '-']).filter(|at| *at > 0);
    let (first, step) = sign.map_or((head, "0"), |at| head.split_at(at));
    let (first, step) = (signed(first)?, signed(step)?);
    let mut offset = first;
    let mut offsets = Vec::new();
    for _ in 0..=times {
        offsets.push(Some(offset));
        offset += step;
    }
    Ok(offsets)
}

fn signed(text: &str) -> Result<i64, String> {
    let (sign, bare) = match text.strip_prefix('-') {
        Some(bare) => (-1, bare),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    match bare {
        "0" => Ok(0),
        _ => number::parse_duration(bare)
            .map(|length| sign * length)
            .ok_or_else(|| format!("no duration: {text}")),
    }
}

#[test]
fn offsets_are_spelled_out() {
    let (metric, offsets) = line("a@st _ -30s-1mx2 *x1 _x2 0")
        .expect("a line")
        .expect("one");
    assert_eq!(metric, Some(Labels::of(&[("__name__", "a")])));
    let wanted = [
        None,
        Some(-30_000),
        Some(-90_000),
        Some(-150_000),
        Some(-150_000),
    ];
    assert_eq!(offsets[..5], wanted);
    assert_eq!(offsets[5..], [Some(-150_000), None, None, Some(0)]);
    assert!(line("a 1 2").is_ok_and(|found| found.is_none()));
    assert!(line("@st 5q").is_err());
}
