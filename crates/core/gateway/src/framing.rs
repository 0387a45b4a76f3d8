//! Where one request ends and the next begins, read in exactly one way.
//!
//! A request that two servers cut into different pieces is the door of request smuggling. This reader
//! stands before the HTTP library, watches the raw bytes of a connection, and lets pass only what has
//! one reading (RFC 9112 with every leniency refused): lines end in CR LF and nothing else does, a body
//! is framed by one Content-Length or by exactly `Transfer-Encoding: chunked`, never by both, chunks
//! carry no extensions and no trailers, and names that some servers fold into framing headers
//! (`Content_Length`) are refused as well.
//!
//! It keeps no copy of the bytes. `feed` is given what has not passed yet, says how many bytes may pass,
//! and is given the rest again with more. A head passes whole or not at all, so a bad request can be
//! replaced before anybody has seen a byte of it.

use core::fmt;

mod head;

/// Bounds of a head, from the request line to the empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramingLimits {
    pub head_bytes: usize,
    pub headers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    BareLineFeed,
    BareCarriageReturn,
    EmptyRequestLine,
    HeadTooLarge,
    TooManyHeaders,
    BadRequestLine,
    BadMethod,
    BadTarget,
    BadVersion,
    FoldedHeader,
    BadHeaderName,
    BadHeaderValue,
    DuplicateContentLength,
    BadContentLength,
    DuplicateTransferEncoding,
    UnknownTransferEncoding,
    LengthBesideTransferEncoding,
    TransferEncodingInOldVersion,
    MissingHost,
    DuplicateHost,
    DisguisedFramingHeader,
    ConnectMethod,
    BadChunkSize,
    ChunkTooLarge,
    BadChunkEnd,
    TrailersRefused,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLineFeed => "a line feed without a carriage return",
            Self::BareCarriageReturn => "a carriage return without a line feed",
            Self::EmptyRequestLine => "an empty line before the request line",
            Self::HeadTooLarge => "the head is larger than this gateway accepts",
            Self::TooManyHeaders => "more header fields than this gateway accepts",
            Self::BadRequestLine => "the request line is not three words with one space between",
            Self::BadMethod => "the method is not a token",
            Self::BadTarget => "the target is not an absolute path without fragment",
            Self::BadVersion => "the version is neither HTTP/1.1 nor HTTP/1.0",
            Self::FoldedHeader => "a header field continued on the next line",
            Self::BadHeaderName => "a header name that is not a token followed by a colon",
            Self::BadHeaderValue => "a control character in a header value",
            Self::DuplicateContentLength => "more than one Content-Length",
            Self::BadContentLength => "a Content-Length that is not a plain decimal number",
            Self::DuplicateTransferEncoding => "more than one Transfer-Encoding",
            Self::UnknownTransferEncoding => "a Transfer-Encoding other than chunked",
            Self::LengthBesideTransferEncoding => "Content-Length beside Transfer-Encoding",
            Self::TransferEncodingInOldVersion => "Transfer-Encoding in an HTTP/1.0 request",
            Self::MissingHost => "no Host in an HTTP/1.1 request",
            Self::DuplicateHost => "more than one Host",
            Self::DisguisedFramingHeader => {
                "a header name that some servers take for a framing header"
            }
            Self::ConnectMethod => "CONNECT is not served here",
            Self::BadChunkSize => "a chunk size that is not plain hexadecimal, or has an extension",
            Self::ChunkTooLarge => "a chunk size beyond all bounds",
            Self::BadChunkEnd => "a chunk that does not end where its size says",
            Self::TrailersRefused => "trailers after the last chunk are not accepted",
        })
    }
}

/// How far a connection's bytes may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes from the beginning of what was fed that may pass. The rest is fed again with more.
    pub passed: usize,
    /// Heads that became complete and passed.
    pub heads: usize,
    /// What stands right after the passed bytes and must never pass.
    pub violation: Option<(Violation, Where)>,
}

/// Decides how a violation can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// No byte of the offending request has passed.
    Head,
    /// Its head has passed; somebody is reading its body.
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Looking for the end of a head: `scanned` bytes of it have been looked at, the current line
    /// begins at `line`.
    Head {
        scanned: usize,
        line: usize,
    },
    Body(Body),
    /// After a violation nothing passes any more.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Counted { left: u64 },
    ChunkSize { value: u64, digits: u8 },
    ChunkSizeFeed { value: u64 },
    ChunkData { left: u64 },
    ChunkDataReturn,
    ChunkDataFeed,
    LastReturn,
    LastFeed,
}

const START: State = State::Head {
    scanned: 0,
    line: 0,
};

/// Hexadecimal digits of a chunk size. Eight bytes' worth minus one digit: no overflow, no sane chunk.
const CHUNK_DIGITS_LIMIT: u8 = 15;

/// Watches one connection.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    limits: FramingLimits,
    state: State,
}

impl Framing {
    pub fn new(limits: FramingLimits) -> Self {
        Self {
            limits,
            state: START,
        }
    }

    /// True between requests, with nothing of the next one seen.
    pub fn is_between_requests(&self) -> bool {
        self.state == START
    }

    /// True while the body of a request has not come whole.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        let mut progress = Progress {
            passed: 0,
            heads: 0,
            violation: None,
        };
        while let Some(rest) = bytes.get(progress.passed..).filter(|rest| !rest.is_empty()) {
            let (step, place) = match self.state {
                State::Head { scanned, line } => {
                    let step = self.head(rest, scanned, line);
                    progress.heads += usize::from(matches!(step, Ok(passed) if passed > 0));
                    (step, Where::Head)
                }
                State::Body(body) => (self.body(body, rest), Where::Body),
                State::Broken => break,
            };
            match step {
                Ok(0) => break,
                Ok(passed) => progress.passed += passed,
                Err(violation) => {
                    self.state = State::Broken;
                    progress.violation = Some((violation, place));
                    break;
                }
            }
        }
        assert!(progress.passed <= bytes.len(), "more passed than came");
        progress
    }

    /// Looks for the end of a head. `Ok(0)` = not there yet.
    fn head(&mut self, rest: &[u8], scanned: usize, mut line: usize) -> Result<usize, Violation> {
        let tail = rest.get(scanned..).unwrap_or_default();
        for (offset, _) in tail.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let feed = scanned + offset;
            if feed == 0 || rest.get(feed - 1) != Some(&b'\r') {
                return Err(Violation::BareLineFeed);
            }
            if feed - 1 == line {
                let head = rest.get(..=feed).unwrap_or_default();
                if head.len() > self.limits.head_bytes {
                    return Err(Violation::HeadTooLarge);
                }
                self.state = head::check(head, self.limits.headers)?;
                return Ok(head.len());
            }
            line = feed + 1;
        }
        if rest.len() > self.limits.head_bytes {
            return Err(Violation::HeadTooLarge);
        }
        self.state = State::Head {
            scanned: rest.len(),
            line,
        };
        Ok(0)
    }

    fn body(&mut self, body: Body, rest: &[u8]) -> Result<usize, Violation> {
        let first = *rest.first().ok_or(Violation::BadChunkEnd)?;
        let (next, passed) = match body {
            Body::Counted { left } => {
                let taken = left.min(rest.len() as u64);
                let next = match left - taken {
                    0 => START,
                    left => State::Body(Body::Counted { left }),
                };
                return self.advance(next, taken as usize);
            }
            Body::ChunkData { left } => {
                let taken = left.min(rest.len() as u64);
                let next = match left - taken {
                    0 => Body::ChunkDataReturn,
                    left => Body::ChunkData { left },
                };
                return self.advance(State::Body(next), taken as usize);
            }
            Body::ChunkSize { value, digits } => match (hex(first), first) {
                (Some(_), _) if digits >= CHUNK_DIGITS_LIMIT => {
                    return Err(Violation::ChunkTooLarge);
                }
                (Some(digit), _) => (
                    Body::ChunkSize {
                        value: value << 4 | digit,
                        digits: digits + 1,
                    },
                    1,
                ),
                (None, b'\r') if digits > 0 => (Body::ChunkSizeFeed { value }, 1),
                (None, _) => return Err(Violation::BadChunkSize),
            },
            Body::ChunkSizeFeed { value } => {
                expect(first, b'\n', Violation::BadChunkSize)?;
                match value {
                    0 => (Body::LastReturn, 1),
                    left => (Body::ChunkData { left }, 1),
                }
            }
            Body::ChunkDataReturn => {
                expect(first, b'\r', Violation::BadChunkEnd)?;
                (Body::ChunkDataFeed, 1)
            }
            Body::ChunkDataFeed => {
                expect(first, b'\n', Violation::BadChunkEnd)?;
                (
                    Body::ChunkSize {
                        value: 0,
                        digits: 0,
                    },
                    1,
                )
            }
            Body::LastReturn => {
                expect(first, b'\r', Violation::TrailersRefused)?;
                (Body::LastFeed, 1)
            }
            Body::LastFeed => {
                expect(first, b'\n', Violation::BadChunkEnd)?;
                return self.advance(START, 1);
            }
        };
        self.advance(State::Body(next), passed)
    }

    fn advance(&mut self, next: State, passed: usize) -> Result<usize, Violation> {
        assert!(passed > 0, "a step that does not move");
        self.state = next;
        Ok(passed)
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

fn expect(byte: u8, wanted: u8, otherwise: Violation) -> Result<(), Violation> {
    if byte == wanted {
        Ok(())
    } else {
        Err(otherwise)
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
