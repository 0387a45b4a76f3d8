//! What it costs while requests fail.

use alloc::string::String;
use alloc::vec::Vec;

use crate::name::ServiceName;

/// For each minute in which every request fails; a minute in which half of them do costs half of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostPerMinute {
    pub currency: Currency,
    /// Of the platform as a whole.
    pub platform: Option<Amount>,
    pub services: Vec<(ServiceName, Amount)>,
}

/// Three capital letters, as ISO 4217 has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency(String);

impl Currency {
    pub fn parse(text: &str) -> Option<Self> {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        is_code.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// In hundredths of the currency's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u64);

impl Amount {
    /// A thousand million units a minute; more is a slip of the pen.
    const MAX: u64 = 100_000_000_000;

    /// As in `1200` or `1200.50`: more than nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 2 {
            return None;
        }
        let units: u64 = whole.parse().ok()?;
        let tenths = u64::from(decimals.as_bytes()[0] - b'0');
        let hundredths = decimals
            .as_bytes()
            .get(1)
            .map_or(0, |digit| u64::from(digit - b'0'));
        let amount = units
            .checked_mul(100)?
            .checked_add(tenths * 10 + hundredths)?;
        (1..=Self::MAX).contains(&amount).then_some(Self(amount))
    }

    pub const fn hundredths(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, hundredths) in [
            ("1200", 120_000),
            ("0.05", 5),
            ("0.5", 50),
            ("12.34", 1_234),
        ] {
            assert_eq!(
                Amount::parse(text).map(Amount::hundredths),
                Some(hundredths),
                "{text}"
            );
        }
        for text in [
            "",
            "0",
            "0.00",
            "-1",
            "1.234",
            "1.",
            ".5",
            "1e3",
            "1000000000.01",
            "99999999999999999999",
        ] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
    }
}
