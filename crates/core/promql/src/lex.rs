//! Words of a question: names, numbers, durations, strings and signs, each with its place.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ast::Span;
use crate::number;

#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// A name or keyword, as written; may contain colons.
    Name(String),
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    String(Vec<u8>),
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub word: Word,
    pub span: Span,
}

/// Longer signs first.
const SIGNS: [&str; 24] = [
    "=~", "!~", "!=", "==", "<=", ">=", "</", ">/", "=", "<", ">", "+", "-", "*", "/", "%", "^",
    "(", ")", "{", "}", "[", "]", ",",
];

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub message: String,
    pub span: Span,
}

pub(crate) fn fault<T>(span: Span, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        message: message.into(),
        span,
    })
}

/// The words of a text, the last of which is [`Word::End`].
pub fn words(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    // Inside brackets a colon parts range and step; elsewhere it belongs to names.
    let mut brackets = 0_usize;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (word, length) = next(rest, first, brackets > 0).map_err(|message| Fault {
            message,
            span: Span {
                start: at,
                end: at + first.len_utf8(),
            },
        })?;
        match word {
            Word::Sign("[") => brackets += 1,
            Word::Sign("]") => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token {
            word,
            span: Span {
                start: at,
                end: at + length,
            },
        });
        at += length;
    }
    tokens.push(Token {
        word: Word::End,
        span: Span {
            start: text.len(),
            end: text.len(),
        },
    });
    Ok(tokens)
}

fn next(rest: &str, first: char, in_brackets: bool) -> Result<(Word, usize), String> {
    if matches!(first, '"' | '\'' | '`') {
        let (bytes, length) = string(rest, first)?;
        return Ok((Word::String(bytes), length));
    }
    let second_digit = || rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
    if first.is_ascii_digit() || (first == '.' && second_digit()) {
        return numeral(rest);
    }
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    if begins(first) || (first == ':' && !in_brackets) {
        let within = |c: char| begins(c) || c.is_ascii_digit() || (c == ':' && !in_brackets);
        let length = rest.find(|c| !within(c)).unwrap_or(rest.len());
        return Ok((Word::Name(rest.chars().take(length).collect()), length));
    }
    if first == ':' {
        return Ok((Word::Sign(":"), 1));
    }
    if first == '@' {
        return Ok((Word::Sign("@"), 1));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Word::Sign(sign), sign.len())),
        None => Err(format!("unexpected character: {first:?}")),
    }
}

/// A number or a duration: `12`, `.5`, `0x1f`, `1e-3`, `1h30m`.
fn numeral(rest: &str) -> Result<(Word, usize), String> {
    let length = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .unwrap_or(rest.len());
    let mut text = rest.get(..length).unwrap_or(rest);
    let lower = text.to_ascii_lowercase();
    if lower.ends_with('e') && !lower.starts_with("0x") {
        // The sign of an exponent.
        let tail = rest.get(length..).unwrap_or("");
        if tail.starts_with(['+', '-']) {
            let digits = tail.get(1..).unwrap_or("");
            let end = digits
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(digits.len());
            text = rest.get(..length + 1 + end).unwrap_or(rest);
        }
    }
    if let Some(value) = number::parse(text) {
        return Ok((Word::Number(value), text.len()));
    }
    match number::parse_duration(text) {
        Some(milliseconds) => Ok((Word::Duration(milliseconds), text.len())),
        None => Err(format!("bad number or duration syntax: {text:?}")),
    }
}

/// The content of a quoted string, and how long it is with its quotes.
pub(crate) fn string(rest: &str, quote: char) -> Result<(Vec<u8>, usize), String> {
    let mut bytes = Vec::new();
    let mut characters = rest.char_indices().skip(1);
    let mut buffer = [0; 4];
    while let Some((at, c)) = characters.next() {
        if c == quote {
            return Ok((bytes, at + 1));
        }
        if c == '\\' && quote != '`' {
            let Some((_, escape)) = characters.next() else {
                break;
            };
            unescape(escape, quote, &mut characters, &mut bytes)?;
            continue;
        }
        if c == '\n' && quote != '`' {
            break;
        }
        bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    }
    Err(String::from("unterminated quoted string"))
}

fn unescape(
    escape: char,
    quote: char,
    rest: &mut impl Iterator<Item = (usize, char)>,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    let mut digits = |first: Option<char>, count: usize, radix: u32| -> Result<u32, String> {
        let following = (0..count).map(|_| rest.next().map(|(_, c)| c));
        let mut value: u32 = 0;
        for digit in first.map(Some).into_iter().chain(following) {
            let digit = digit.and_then(|c| c.to_digit(radix));
            let digit = digit.ok_or("unknown escape sequence")?;
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(value)
    };
    let byte = match escape {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == quote => u8::try_from(c).unwrap_or(b'"'),
        'x' => u8::try_from(digits(None, 2, 16)?).unwrap_or(0),
        '0'..='7' => u8::try_from(digits(Some(escape), 2, 8)?).map_err(|_| "bad octal escape")?,
        'u' | 'U' => {
            let code = digits(None, if escape == 'u' { 4 } else { 8 }, 16)?;
            let c = char::from_u32(code).ok_or("escape is no Unicode character")?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        other => {
            return Err(format!(
                "unknown escape sequence U+{:04X} {other:?}",
                u32::from(other)
            ));
        }
    };
    bytes.push(byte);
    Ok(())
}
