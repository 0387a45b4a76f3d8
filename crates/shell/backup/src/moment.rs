//! Moments as people write them: `2026-11-20T14:15:00Z`, UTC, down to milliseconds.
//!
//! The calendar is Howard Hinnant's `days_from_civil` and `civil_from_days`.

const DAY_MS: u64 = 86_400_000;

/// Year, month, day of a day since the Unix epoch.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_index = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// `2026-11-20`.
pub fn day(number: u64) -> String {
    let (year, month, day) = civil(number);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-20T14:15:00.250Z`.
pub fn show(wall_ms: u64) -> String {
    let (ms, seconds) = (wall_ms % 1_000, wall_ms / 1_000);
    format!(
        "{}T{:02}:{:02}:{:02}.{ms:03}Z",
        day(wall_ms / DAY_MS),
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `20261120T141500Z`: sorts as time does, and is a file's name.
pub fn compact(wall_ms: u64) -> String {
    let shown: String = show(wall_ms).replace(['-', ':'], "");
    let (whole, _) = shown.split_once('.').unwrap_or((&shown, ""));
    format!("{whole}Z")
}

/// Reads `2026-11-20T14:15:00Z`, also with a space instead of the `T`, with a fraction, or without the seconds. `None`
/// for anything else, in particular for a time without its zone: a restore to the wrong hour is worse than a question.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once(['T', ' '])?;
    let number = |digits: &str, most: u64| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let value: u64 = digits.parse().ok()?;
        (plain && value <= most).then_some(value)
    };
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?, 9_999)?;
    let (month, day) = (number(parts.next()?, 12)?, number(parts.next()?, 31)?);
    let days = days(year, month.max(1), day.max(1))?;
    if civil(days) != (year, month, day) {
        return None;
    }
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 23)?, number(parts.next()?, 59)?);
    let second = number(parts.next().unwrap_or("0"), 59)?;
    let ms = match fraction.len() {
        0 => 0,
        1..=3 => number(&format!("{fraction:0<3}"), 999)?,
        _ => return None,
    };
    Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_back() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-20T14:15:00.250Z", 1_795_184_100_250),
        ] {
            assert_eq!(show(ms), text);
            assert_eq!(parse(text), Some(ms), "{text}");
        }
        assert_eq!(parse("2026-11-20 14:15Z"), Some(1_795_184_100_000));
        assert_eq!(parse("2026-11-20T14:15:00.5Z"), Some(1_795_184_100_500));
        assert_eq!(compact(1_795_184_100_250), "20261120T141500Z");
        for day in 0..40_000 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), Some(day));
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for text in [
            "",
            "2026-11-20T14:15:00",
            "2026-11-20",
            "2026-11-31T00:00:00Z",
            "2026-13-01T00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T14:15:00.1234Z",
            "2026-11-20T+4:15:00Z",
            "2026-00-10T00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
