//! Times, shares and sizes as Chaos Mesh reads them: in Go's forms.

use std::time::Duration;

/// A duration as Go's `time.ParseDuration` reads it, in nanoseconds: `300ms`, `-1.5h`, `2h45m`; `0` needs no unit.
pub fn nanoseconds(text: &str) -> Result<i128, String> {
    let refuse = |why: &str| Err(format!("{text:?} is no duration: {why}"));
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return refuse("it is empty");
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        if digits.is_empty() || digits == "." || digits.matches('.').count() > 1 {
            return refuse("a number and a unit are wanted, as in 1m30s");
        }
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return refuse("a unit is missing: ns, us, ms, s, m or h"),
            _ => return refuse("the units are ns, us, ms, s, m and h"),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let part = |digits: &str| match digits {
            "" => Some(0),
            _ => digits.parse::<i128>().ok(),
        };
        let (Some(whole), Some(part)) = (
            part(whole),
            part(&fraction.chars().take(18).collect::<String>()),
        ) else {
            return refuse("it is too long");
        };
        let places = u32::try_from(fraction.len().min(18)).unwrap_or(18);
        total += whole.saturating_mul(scale) + part * scale / 10_i128.pow(places);
        if total > i128::from(i64::MAX) {
            return refuse("it is longer than 292 years");
        }
        rest = tail;
    }
    Ok(sign * total)
}

/// One that is not negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = nanoseconds(text)?;
    u64::try_from(nanoseconds)
        .map(Duration::from_nanos)
        .map_err(|_| format!("{text:?} is negative"))
}

/// A duration as one writes it.
pub fn written(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => format!("{}us", time.as_micros()),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// A percentage in text.
pub fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim()
        .parse()
        .map_err(|_| format!("{text:?} is no number"))?;
    match number.is_finite() {
        true => Ok(number),
        false => Err(format!("{text:?} is no number")),
    }
}

/// Bytes in a second, from a whole number and `bps`, `kbps`, `mbps`, `gbps` or `tbps`: bytes, in steps of 1024.
pub fn rate(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let units = ["tbps", "gbps", "mbps", "kbps", "bps"];
    let found = units
        .iter()
        .zip([4, 3, 2, 1, 0])
        .find_map(|(unit, power)| Some((lower.strip_suffix(unit)?, power)));
    let Some((number, power)) = found else {
        return Err(format!(
            "{text:?} has no unit: bps, kbps, mbps, gbps or tbps"
        ));
    };
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| format!("{text:?} does not begin with a whole number"))?;
    number
        .checked_mul(1024_u64.pow(power))
        .ok_or_else(|| format!("{text:?} is too much"))
}

/// Bytes as `256MB`, `1GiB`, `512`: steps of 1000 without an `i`, of 1024 with one.
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let unit = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no size"))?;
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("{text:?} has no unit such as MB or MiB")),
    };
    Ok((number * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them() {
        for (text, expected) in [
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("0", 0),
            ("-30s", -30_000_000_000),
            ("+1us", 1_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
        ] {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "5",
            "1d",
            "s",
            "1 s",
            "1..5s",
            "ms5",
            "9999999999h",
            "-",
        ] {
            assert!(nanoseconds(text).is_err(), "{text}");
        }
        assert!(duration("-1s").is_err());
        for text in ["2m", "90s", "1h", "1500ms"] {
            assert_eq!(written(duration(text).unwrap_or_default()), text);
        }
    }

    #[test]
    fn rates_and_sizes() {
        assert_eq!(rate("1mbps"), Ok(1024 * 1024));
        assert_eq!(rate("8 KBPS"), Ok(8192));
        assert!(rate("1.5mbps").is_err() && rate("10").is_err());
        assert_eq!(bytes("256MB"), Ok(256_000_000));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert!(bytes("50%").is_err() && bytes("many").is_err());
        assert_eq!(percent("25"), Ok(25.0));
        assert!(percent("a half").is_err() && percent("NaN").is_err());
    }
}
