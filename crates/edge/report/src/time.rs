//! Moments and lengths in words. All are UTC.

/// Year, month and day of a number of days since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn day(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// `12:05:24.031`
pub fn time_of_day(at_ms: u64) -> String {
    let (ms, seconds) = (at_ms % 1_000, at_ms / 1_000);
    format!(
        "{:02}:{:02}:{:02}.{ms:03}",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `2026-11-28 12:05:24.031 UTC`
pub fn day_and_time(at_ms: u64) -> String {
    let (year, month, day) = day(at_ms / 86_400_000);
    format!("{year:04}-{month:02}-{day:02} {} UTC", time_of_day(at_ms))
}

/// `812 ms`, `16.2 s`, `3 min 5 s`, `2 h 10 min`
pub fn span(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        120_000..=7_199_999 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_lengths() {
        assert_eq!(day_and_time(0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(day_and_time(951_782_400_000), "2000-02-29 00:00:00.000 UTC");
        assert_eq!(
            day_and_time(1_798_761_599_999),
            "2026-12-31 23:59:59.999 UTC"
        );
        for (ms, words) in [
            (812, "812 ms"),
            (16_249, "16.2 s"),
            (185_000, "3 min 5 s"),
            (7_800_000, "2 h 10 min"),
        ] {
            assert_eq!(span(ms), words);
        }
    }
}
