//! Decimal text ↔ scaled integers. The only place where a number meets its written form.
//!
//! Accepted: digits, optionally a point followed by at least one digit. Refused: signs, exponents, blanks,
//! separators, more digits behind the point than the scale has. Nothing is ever rounded.

use alloc::string::String;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("empty")]
    Empty,
    #[error("not a plain decimal number such as 12.50")]
    Malformed,
    #[error("more than {0} digits behind the point")]
    TooPrecise(u32),
    #[error("too large")]
    TooLarge,
}

/// Digits in front of the point that are read at all; more is too large whatever the scale.
const WHOLE_DIGITS_MAX: usize = 38;

pub fn parse(text: &str, scale: u32) -> Result<i128, DecimalError> {
    if text.is_empty() {
        return Err(DecimalError::Empty);
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(DecimalError::Malformed),
        Some(parts) => parts,
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(DecimalError::Malformed);
    }
    if fraction.len() > scale as usize {
        return Err(DecimalError::TooPrecise(scale));
    }
    if whole.len() > WHOLE_DIGITS_MAX {
        return Err(DecimalError::TooLarge);
    }
    let padding = core::iter::repeat_n(b'0', scale as usize - fraction.len());
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit - b'0')))
            .ok_or(DecimalError::TooLarge)?;
    }
    Ok(value)
}

/// Writes `value` with at least `digits_min` digits behind the point and no further trailing zeros.
pub fn write(out: &mut String, value: i128, scale: u32, digits_min: u32) {
    assert!(
        digits_min <= scale,
        "more digits asked for than the scale has"
    );
    if value < 0 {
        out.push('-');
    }
    let magnitude = value.unsigned_abs();
    let unit = 10u128.pow(scale);
    push_number(out, magnitude / unit, 1);
    let (mut fraction, mut digits) = (magnitude % unit, scale);
    while digits > digits_min && fraction.is_multiple_of(10) {
        fraction /= 10;
        digits -= 1;
    }
    if digits > 0 {
        out.push('.');
        push_number(out, fraction, digits);
    }
}

/// Decimal digits of `number`, left-padded with zeros to `width`.
fn push_number(out: &mut String, number: u128, width: u32) {
    let mut buffer = [b'0'; 40];
    let mut at = buffer.len();
    let mut rest = number;
    while rest > 0 {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let start = at.min(buffer.len() - width as usize);
    for byte in &buffer[start..] {
        out.push(char::from(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: i128, scale: u32, digits_min: u32) -> String {
        let mut out = String::new();
        write(&mut out, value, scale, digits_min);
        out
    }

    #[test]
    fn reads_what_people_write_and_nothing_else() {
        for (text, scale, expected) in [
            ("236.47", 2, Ok(23_647)),
            ("236", 2, Ok(23_600)),
            ("0.5", 8, Ok(50_000_000)),
            ("0", 2, Ok(0)),
            ("", 2, Err(DecimalError::Empty)),
            (".5", 2, Err(DecimalError::Malformed)),
            ("5.", 2, Err(DecimalError::Malformed)),
            ("+5", 2, Err(DecimalError::Malformed)),
            ("-5", 2, Err(DecimalError::Malformed)),
            ("1e3", 2, Err(DecimalError::Malformed)),
            (" 1", 2, Err(DecimalError::Malformed)),
            ("1.2.3", 2, Err(DecimalError::Malformed)),
            ("1.005", 2, Err(DecimalError::TooPrecise(2))),
            (
                "1000000000000000000000000000000000000000",
                2,
                Err(DecimalError::TooLarge),
            ),
        ] {
            assert_eq!(parse(text, scale), expected, "{text:?} at scale {scale}");
        }
    }

    #[test]
    fn writes_canonically() {
        assert_eq!(written(23_647, 2, 2), "236.47");
        assert_eq!(written(5, 8, 8), "0.00000005");
        assert_eq!(written(10_000_000_000_000, 10, 2), "1000.00");
        assert_eq!(written(1, 10, 2), "0.0000000001");
        assert_eq!(written(-150, 2, 2), "-1.50");
        assert_eq!(written(0, 2, 2), "0.00");
        assert_eq!(written(7, 0, 0), "7");
    }
}
