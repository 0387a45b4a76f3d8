//! Moments as people and programs write them: seconds since 1970, or RFC 3339.

/// Milliseconds since 1970.
pub fn parse(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return mainstay_promql::number::milliseconds(seconds);
    }
    rfc3339(text)
}

/// `2026-11-20T14:15:00.5Z` or with an offset, as in `+01:00`.
fn rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    for (at, mark) in [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")] {
        if bytes.get(at..at + 1)? != mark {
            return None;
        }
    }
    if !matches!(bytes.get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !in_range {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.len()
            - fraction
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let (digits, after) = fraction.split_at(digits);
        if digits.is_empty() {
            return None;
        }
        let three: String = digits.chars().chain("00".chars()).take(3).collect();
        ms = three.parse().ok()?;
        rest = after;
    }
    let offset = offset_minutes(rest)?;
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset;
    Some((minutes * 60 + second) * 1_000 + ms)
}

fn offset_minutes(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let two = |part: &str| -> Option<i64> {
        let plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_of(year: i64, month: i64) -> i64 {
    let (year_after, month_after) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    days_since_1970(year_after, month_after, 1) - days_since_1970(year, month, 1)
}

/// Of the Gregorian calendar. Years begin in March, so that the leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// In UTC, with milliseconds.
pub fn show(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // From a guess that is not too late, some steps.
    let mut year = 1970 + days.div_euclid(366).min(days.div_euclid(365));
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_since_1970(year, month + 1, 1) <= days {
        month += 1;
    }
    let day = days - days_since_1970(year, month, 1) + 1;
    let (seconds, ms) = (of_day / 1_000, of_day % 1_000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, ms) in [
            ("0", Some(0)),
            ("1435781430.781", Some(1_435_781_430_781)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2015-07-01T20:10:30.781Z", Some(1_435_781_430_781)),
            ("2015-07-01T22:10:30.7819+02:00", Some(1_435_781_430_781)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2015-07-01T20:10:30", None),
            ("2015-07-01T20:10:30.Z", None),
            ("2015-07-01T20:10:30+2:00", None),
            ("2015-13-01T20:10:30Z", None),
            ("2015-07-01T20:10:3\u{e9}Z", None),
            ("tomorrow", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(parse(text), ms, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        let mut ms = -62_000_000_000_000_i64;
        while ms < 200_000_000_000_000 {
            assert_eq!(parse(&show(ms)), Some(ms), "{}", show(ms));
            ms += 777_777_777_777;
        }
        assert_eq!(show(1_435_781_430_781), "2015-07-01T20:10:30.781Z");
        assert_eq!(show(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(show(-1), "1969-12-31T23:59:59.999Z");
    }
}
