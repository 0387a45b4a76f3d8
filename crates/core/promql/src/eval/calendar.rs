//! The parts of a moment in UTC, by the arithmetic of the proleptic Gregorian calendar.

/// Seconds that are further away than this from 1970 have no date here.
const SECONDS_MAX: f64 = 60_000_000_000.0;

pub(super) struct Date {
    pub(super) year: i32,
    pub(super) month: i32,
    pub(super) day: i32,
    pub(super) day_of_year: i32,
    /// Sunday is 0.
    pub(super) day_of_week: i32,
    pub(super) days_in_month: i32,
    pub(super) hour: i32,
    pub(super) minute: i32,
}

const DAYS: [i32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Date {
    /// From seconds since 1970; what is no such number counts as 0.
    #[expect(clippy::cast_possible_truncation, reason = "bounded by SECONDS_MAX")]
    pub(super) fn of(seconds: f64) -> Self {
        let seconds = if seconds.abs() <= SECONDS_MAX {
            libm::trunc(seconds) as i64
        } else {
            0
        };
        let days = seconds.div_euclid(86_400);
        let second_of_day = seconds.rem_euclid(86_400) as i32;
        // Years that begin in March put the leap day last.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let march_day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * march_day + 2) / 153;
        let day = (march_day - (153 * march_month + 2) / 5 + 1) as i32;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        } as i32;
        let year = (year_of_era + era * 400) as i32 + i32::from(month <= 2);
        let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let length = |month: i32| {
            let index = usize::try_from(month - 1).unwrap_or(0);
            DAYS.get(index).copied().unwrap_or(31) + i32::from(is_leap && month == 2)
        };
        Self {
            year,
            month,
            day,
            day_of_year: (1..month).map(length).sum::<i32>() + day,
            day_of_week: (days + 4).rem_euclid(7) as i32,
            days_in_month: length(month),
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
        }
    }
}
