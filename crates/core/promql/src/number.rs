//! Numbers, durations and quoted text as Go writes and reads them, because PromQL's users see Go's forms.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

/// Milliseconds of each unit, longest first.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Go's `%v`, which is `%g` in its shortest form: `0.5`, `1e+06`, `+Inf`.
pub fn general(value: f64) -> String {
    if let Some(special) = special(value) {
        return special;
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

/// Go's `FormatFloat(value, 'f', -1, 64)`: never an exponent.
pub fn plain(value: f64) -> String {
    special(value).unwrap_or_else(|| format!("{value}"))
}

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        Some(String::from("NaN"))
    } else if value.is_infinite() {
        Some(String::from(if value > 0.0 { "+Inf" } else { "-Inf" }))
    } else {
        None
    }
}

/// `1h30m`, `5m`, `0s`: Prometheus's form, from milliseconds.
pub fn duration(milliseconds: i64) -> String {
    if milliseconds == 0 {
        return String::from("0s");
    }
    let mut text = String::from(if milliseconds < 0 { "-" } else { "" });
    let mut rest = milliseconds.unsigned_abs();
    for (unit, size) in UNITS {
        let size = size.unsigned_abs();
        // Years and weeks only where nothing is left over, as Prometheus prints them.
        let whole = matches!(unit, "y" | "w");
        if rest >= size && (!whole || rest.is_multiple_of(size)) {
            let _ = write!(text, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    text
}

/// `1h30m` and the like, in milliseconds: units from long to short, each at most once.
pub fn parse_duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    let mut from = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let length = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let word = rest.get(..length)?;
        let at = UNITS.iter().position(|(unit, _)| *unit == word)?;
        if at < from {
            return None;
        }
        from = at + 1;
        total = total.checked_add(count.checked_mul(UNITS.get(at)?.1)?)?;
        rest = rest.get(length..)?;
    }
    (from > 0).then_some(total)
}

/// Decimal, hexadecimal, `Inf`, `NaN`, in any case.
pub fn parse(text: &str) -> Option<f64> {
    let (sign, bare) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X"));
    if let Some(hex) = hex {
        #[expect(clippy::cast_precision_loss, reason = "PromQL numbers are floats")]
        return u64::from_str_radix(hex, 16).ok().map(|n| sign * n as f64);
    }
    let first = bare.chars().next()?;
    if !(first.is_ascii_digit() || matches!(first, '.' | 'i' | 'I' | 'n' | 'N')) {
        return None;
    }
    bare.parse::<f64>().ok().map(|n| sign * n)
}

/// Go's `%q`: bytes that are no UTF-8 are escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

/// Kahan's sum with Neumaier's improvement: the running sum and what it lost.
pub fn kahan(increment: f64, sum: f64, lost: f64) -> (f64, f64) {
    let total = sum + increment;
    let lost = if total.is_infinite() {
        0.0
    } else if sum.abs() >= increment.abs() {
        lost + ((sum - total) + increment)
    } else {
        lost + ((increment - total) + sum)
    };
    (total, lost)
}

/// Seconds of a timestamp or duration in milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of any real date fit"
)]
pub fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// A count as PromQL's only kind of number.
#[expect(clippy::cast_precision_loss, reason = "no count here passes 2^53")]
pub fn count(count: usize) -> f64 {
    count as f64
}

/// Milliseconds of so many seconds; beyond what fits, the nearest that does. NaN is nothing.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float is cut to the nearest integer"
)]
pub fn milliseconds(seconds: f64) -> Option<i64> {
    (!seconds.is_nan()).then(|| libm::round(seconds * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_go() {
        for (value, text) in [
            (0.5, "0.5"),
            (20.0, "20"),
            (1e-5, "1e-05"),
            (1_048_576.0, "1.048576e+06"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(general(value), text);
        }
        assert_eq!(plain(1e21), "1000000000000000000000");
    }

    #[test]
    fn durations_go_both_ways() {
        for text in ["5m", "1h30m", "1d", "1m40s", "500ms", "2w"] {
            assert_eq!(parse_duration(text).map(duration).as_deref(), Some(text));
        }
        for wrong in ["", "m", "5", "5m1h", "1x", "99999999999999999999y"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
