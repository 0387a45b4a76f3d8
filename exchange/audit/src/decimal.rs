//! Decimal text to scaled integers, without a float in between.

/// Reads "236.47" at scale 2 as 23,647. More digits than the scale holds are refused unless they are zeros.
#[must_use]
pub fn parse(text: &str, scale: usize) -> Option<i128> {
    let (negative, text) = text
        .strip_prefix('-')
        .map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !digits(whole)
        || !digits(fraction)
        || (text.contains('.') && fraction.is_empty())
    {
        return None;
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(scale));
    if rest.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let value: i128 = format!("{whole}{kept:0<scale$}").parse().ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn text_becomes_scaled_integers() {
        for (text, scale, expected) in [
            ("236.47", 2, Some(23_647)),
            ("236", 2, Some(23_600)),
            ("0.05", 2, Some(5)),
            ("1.500", 2, Some(150)),
            ("-1.5", 2, Some(-150)),
            ("1.505", 2, None),
            ("1.", 2, None),
            (".5", 2, None),
            ("", 2, None),
            ("1e3", 2, None),
            ("1 000", 2, None),
        ] {
            assert_eq!(parse(text, scale), expected, "{text}");
        }
    }
}
