//! Values as text, as Go and Prometheus print them.

use mainstay_promql::number::general;

use super::Value;

/// Go's `%v`.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Nothing => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => general(*value),
        Value::Text(text) => text.clone(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(print).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", print(v)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Go's `%.4g`.
fn four_digits(value: f64) -> String {
    significant(value, 4)
}

/// Go's `%.Ng`: that many significant digits, without zeros at the end.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() || value == 0.0 {
        return general(value);
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let limit = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// With SI prefixes: `1.235k`.
pub fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let mut value = value;
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if value.abs() < 1000.0 {
                break;
            }
            prefix = next;
            value /= 1000.0;
        }
    } else {
        for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if value.abs() >= 1.0 {
                break;
            }
            prefix = next;
            value *= 1000.0;
        }
    }
    format!("{}{prefix}", four_digits(value))
}

pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let mut value = value;
    let mut prefix = "";
    for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if value.abs() < 1024.0 {
            break;
        }
        prefix = next;
        value /= 1024.0;
    }
    format!("{}{prefix}", four_digits(value))
}

/// Of seconds: `1d 2h 3m 4s`, `12.34s`, `5ms`.
pub fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return four_digits(value);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() >= 1.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        let value = value.abs();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "more seconds than fit are as good as the most"
        )]
        let whole = value as i64;
        let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
        let seconds = whole % 60;
        return if days != 0 {
            format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
        } else if hours != 0 {
            format!("{sign}{hours}h {minutes}m {seconds}s")
        } else if minutes != 0 {
            format!("{sign}{minutes}m {seconds}s")
        } else {
            format!("{sign}{}s", four_digits(value))
        };
    }
    let mut value = value;
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}s", four_digits(value))
}

/// Of a share: `12.34%`.
pub fn humanize_percentage(value: f64) -> String {
    format!("{}%", four_digits(value * 100.0))
}

/// UTC, as Go prints a time.
pub(super) fn humanize_timestamp(value: f64) -> String {
    if !value.is_finite() || value.abs() > 250_000_000_000.0 {
        return four_digits(value);
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let milliseconds = (value * 1000.0) as i64;
    let (days, of_day) = (
        milliseconds.div_euclid(86_400_000),
        milliseconds.rem_euclid(86_400_000),
    );
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    let fraction = match of_day % 1000 {
        0 => String::new(),
        rest => format!(".{rest:03}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction} +0000 UTC")
}

/// Go's `printf` with the verbs that rules use.
pub(super) fn printf(form: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut characters = form.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = characters.next_if(|c| "+-# 0".contains(*c)) {
            flags.push(flag);
        }
        let digits = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number = String::new();
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                number.push(digit);
            }
            // More than a few hundred columns are a mistake.
            number.parse::<usize>().ok().map(|n| n.min(500))
        };
        let width = digits(&mut characters).unwrap_or(0);
        let precision = if characters.next_if_eq(&'.').is_some() {
            Some(digits(&mut characters).unwrap_or(0))
        } else {
            None
        };
        let Some(verb) = characters.next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(argument) = arguments.next() else {
            text.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let mut shown = verbed(verb, argument, precision);
        if flags.contains('+') && !shown.starts_with('-') {
            shown.insert(0, '+');
        }
        let missing = width.saturating_sub(shown.chars().count());
        if flags.contains('-') {
            shown.push_str(&" ".repeat(missing));
        } else if flags.contains('0') {
            let at = usize::from(shown.starts_with(['-', '+']));
            shown.insert_str(at, &"0".repeat(missing));
        } else {
            shown.insert_str(0, &" ".repeat(missing));
        }
        text.push_str(&shown);
    }
    text
}

fn verbed(verb: char, value: &Value, precision: Option<usize>) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a template prints it")]
    let float = match value {
        Value::Float(value) => Some(*value),
        Value::Int(value) if matches!(verb, 'f' | 'g' | 'e') => Some(*value as f64),
        _ => None,
    };
    match (verb, value, float) {
        ('f' | 'F', _, Some(value)) if value.is_finite() => {
            format!("{value:.*}", precision.unwrap_or(6))
        }
        ('e', _, Some(value)) if value.is_finite() => {
            let text = format!("{value:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        ('g' | 'v', _, Some(value)) => {
            precision.map_or_else(|| general(value), |digits| significant(value, digits))
        }
        ('f' | 'F' | 'e', _, Some(value)) => general(value),
        ('d', Value::Int(value), _) => value.to_string(),
        ('x', Value::Int(value), _) => format!("{value:x}"),
        ('q', Value::Text(text), _) => mainstay_promql::number::quote(text.as_bytes()),
        ('s' | 'v', Value::Text(text), _) => match precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.clone(),
        },
        ('t', Value::Bool(value), _) => value.to_string(),
        ('v' | 's', value, None) if !matches!(value, Value::Int(_)) || verb == 'v' => print(value),
        (verb, value, _) => {
            let kind = match value {
                Value::Nothing => "<nil>",
                Value::Bool(_) => "bool",
                Value::Int(_) => "int",
                Value::Float(_) => "float64",
                Value::Text(_) => "string",
                Value::List(_) => "[]interface {}",
                Value::Map(_) => "map[string]string",
            };
            format!("%!{verb}({kind}={})", print(value))
        }
    }
}
