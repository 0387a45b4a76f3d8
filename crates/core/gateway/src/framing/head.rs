//! One complete head, from the request line to the empty line, read strictly.

use super::{Body, START, State, Violation};

/// What framing needs to know of the header fields of one head.
#[derive(Default)]
struct Fields {
    content_length: Option<u64>,
    is_chunked: bool,
    has_host: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// `head` ends with the empty line, and each of its line feeds follows a carriage return.
pub(super) fn check(head: &[u8], headers_limit: usize) -> Result<State, Violation> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| {
        // The reader has seen a carriage return before each line feed.
        line.split_last().map_or(line, |(_, line)| line)
    });
    let request_line = lines.next().unwrap_or_default();
    if request_line.is_empty() {
        return Err(Violation::EmptyRequestLine);
    }
    let version = check_request_line(request_line)?;
    let mut fields = Fields::default();
    let mut count = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        count += 1;
        if count > headers_limit {
            return Err(Violation::TooManyHeaders);
        }
        check_field(line, &mut fields)?;
    }
    if version == Version::Http11 && !fields.has_host {
        return Err(Violation::MissingHost);
    }
    match (fields.is_chunked, fields.content_length) {
        (true, Some(_)) => Err(Violation::LengthBesideTransferEncoding),
        (true, None) if version == Version::Http10 => Err(Violation::TransferEncodingInOldVersion),
        (true, None) => Ok(State::Body(Body::ChunkSize {
            value: 0,
            digits: 0,
        })),
        (false, Some(0) | None) => Ok(START),
        (false, Some(left)) => Ok(State::Body(Body::Counted { left })),
    }
}

fn check_request_line(line: &[u8]) -> Result<Version, Violation> {
    if line.contains(&b'\r') {
        return Err(Violation::BareCarriageReturn);
    }
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Violation::BadRequestLine);
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Violation::BadMethod);
    }
    if method == b"CONNECT" {
        return Err(Violation::ConnectMethod);
    }
    let is_path = target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS");
    if !is_path
        || !target
            .iter()
            .all(|byte| matches!(byte, 0x21..=0x7E) && *byte != b'#')
    {
        return Err(Violation::BadTarget);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Violation::BadVersion),
    }
}

fn check_field(line: &[u8], fields: &mut Fields) -> Result<(), Violation> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Violation::FoldedHeader);
    }
    let colon = line
        .iter()
        .position(|byte| !is_token(*byte))
        .ok_or(Violation::BadHeaderName)?;
    let (name, rest) = line.split_at(colon);
    let value = match rest.split_first() {
        Some((b':', value)) if !name.is_empty() => value,
        Some(_) | None => return Err(Violation::BadHeaderName),
    };
    if !value.iter().all(|byte| is_value(*byte)) {
        return Err(match value.contains(&b'\r') {
            true => Violation::BareCarriageReturn,
            false => Violation::BadHeaderValue,
        });
    }
    note_framing(name, trim(value), fields)
}

/// Looks only at names whose length and first letter can matter, so that other fields cost nothing.
fn note_framing(name: &[u8], value: &[u8], fields: &mut Fields) -> Result<(), Violation> {
    let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
    match name.len() {
        4 if is(b"host") => {
            if core::mem::replace(&mut fields.has_host, true) {
                return Err(Violation::DuplicateHost);
            }
            let plain = |byte: &u8| {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'%' | b'~')
            };
            if !value.iter().all(plain) {
                return Err(Violation::BadHeaderValue);
            }
        }
        14 if is(b"content-length") => {
            let length = decimal(value).ok_or(Violation::BadContentLength)?;
            if fields.content_length.replace(length).is_some() {
                return Err(Violation::DuplicateContentLength);
            }
        }
        17 if is(b"transfer-encoding") => {
            if core::mem::replace(&mut fields.is_chunked, true) {
                return Err(Violation::DuplicateTransferEncoding);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Violation::UnknownTransferEncoding);
            }
        }
        14 | 17 if is_disguised(name) => return Err(Violation::DisguisedFramingHeader),
        _ => {}
    }
    Ok(())
}

/// CGI and its children write a dash as an underscore; some read any odd character as a dash.
fn is_disguised(name: &[u8]) -> bool {
    let like = |wanted: &[u8]| {
        name.len() == wanted.len()
            && name.iter().zip(wanted).all(|(byte, wanted)| {
                byte.eq_ignore_ascii_case(wanted)
                    || (*wanted == b'-' && !byte.is_ascii_alphanumeric())
            })
    };
    like(b"content-length") || like(b"transfer-encoding")
}

/// 1*DIGIT and nothing else; no sign, no list, no overflow.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value
        .iter()
        .position(|byte| !is_space(byte))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// RFC 9110, 5.6.2.
const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(
                byte as u8,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// Visible characters, space, tab, and bytes above ASCII (which are passed on as they are).
const fn is_value(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7F || byte == b'\t'
}
