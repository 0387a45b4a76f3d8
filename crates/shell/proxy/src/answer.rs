//! What a client reads: the service's answer, or one of the gateway's own.
//!
//! The gateway's own answers are JSON with a code for programs, a message for people, and the next step.
//! The codes tell two things apart that look alike from outside: *nothing was done* (try again, anywhere)
//! and *nobody knows whether it was done* (`outcome_unknown`: send the same request with the same key).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use mainstay_gateway::framing::Violation;
use mainstay_gateway::method::MethodSet;
use mainstay_gateway::retry::EndWhy;
use mainstay_gateway::routing::RouteMiss;

use crate::stats::CODES;
use crate::streaming::Streaming;

/// Why the gateway answered itself. The order is that of [`CODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    BadFraming,
    AmbiguousPath,
    HeaderTooLarge,
    BodyTooLarge,
    BodyUnread,
    NoRoute,
    UnknownCell,
    MethodNotAllowed,
    Unavailable,
    HeldTooLong,
    PushedOut,
    Isolated,
    OutcomeUnknown,
    Stopping,
    Overloaded,
    DeadlinePassed,
    KeyMissing,
}

impl Code {
    pub fn text(self) -> &'static str {
        CODES[self as usize]
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadFraming | Self::AmbiguousPath | Self::BodyUnread | Self::KeyMissing => {
                StatusCode::BAD_REQUEST
            }
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoute | Self::UnknownCell => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::DeadlinePassed => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable
            | Self::HeldTooLong
            | Self::PushedOut
            | Self::Isolated
            | Self::OutcomeUnknown
            | Self::Stopping
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn next(self) -> &'static str {
        match self {
            Self::BadFraming => "send a request that follows RFC 9112 strictly",
            Self::AmbiguousPath => "send the path without dot segments and encoded separators",
            Self::HeaderTooLarge => "send fewer or shorter header fields",
            Self::BodyTooLarge => "send a smaller body",
            Self::BodyUnread => "send the whole body that the head announces",
            Self::NoRoute => "compare host and path with the routes of the platform file",
            Self::UnknownCell => "compare the key with the cells of the platform file",
            Self::KeyMissing => "name the cell in the path part or header that the route declares",
            Self::MethodNotAllowed => "use a method that the route declares",
            Self::Unavailable | Self::HeldTooLong | Self::PushedOut | Self::Overloaded => {
                "nothing was done: send it again after Retry-After"
            }
            Self::Isolated | Self::Stopping => {
                "nothing was done: send it again through a gateway of another region"
            }
            Self::OutcomeUnknown => {
                "it may have been done: send the same request with the same key again, or ask for its state"
            }
            Self::DeadlinePassed => {
                "nothing was done: send it again with a later deadline if it is still wanted"
            }
        }
    }

    /// When the same request may help again, here; elsewhere it may at once. Zero if it never will.
    fn retry_after_ms(self) -> u64 {
        match self {
            Self::OutcomeUnknown => 50,
            Self::Unavailable | Self::HeldTooLong | Self::PushedOut | Self::Overloaded => 250,
            Self::Isolated => 1_000,
            Self::Stopping => 5_000,
            Self::BadFraming
            | Self::AmbiguousPath
            | Self::HeaderTooLarge
            | Self::BodyTooLarge
            | Self::BodyUnread
            | Self::NoRoute
            | Self::UnknownCell
            | Self::MethodNotAllowed
            | Self::DeadlinePassed
            | Self::KeyMissing => 0,
        }
    }

    fn closes(self) -> bool {
        matches!(
            self,
            Self::BadFraming
                | Self::HeaderTooLarge
                | Self::BodyTooLarge
                | Self::BodyUnread
                | Self::Stopping
        )
    }
}

impl From<EndWhy> for Code {
    fn from(why: EndWhy) -> Self {
        match why {
            EndWhy::OutcomeUnknown(_) => Self::OutcomeUnknown,
            EndWhy::TooManyAttempts | EndWhy::NoHealthyInstance => Self::Unavailable,
            EndWhy::DeadlinePassed => Self::DeadlinePassed,
            EndWhy::HeldTooLong => Self::HeldTooLong,
            EndWhy::PushedOut => Self::PushedOut,
            EndWhy::Isolated => Self::Isolated,
            EndWhy::TooLarge => Self::BodyTooLarge,
            EndWhy::Stopping => Self::Stopping,
        }
    }
}

impl From<RouteMiss> for Code {
    fn from(miss: RouteMiss) -> Self {
        match miss {
            RouteMiss::AmbiguousPath => Self::AmbiguousPath,
            RouteMiss::NoRoute => Self::NoRoute,
            RouteMiss::MethodNotAllowed(_) => Self::MethodNotAllowed,
            RouteMiss::KeyMissing => Self::KeyMissing,
            RouteMiss::UnknownCell => Self::UnknownCell,
        }
    }
}

impl From<Violation> for Code {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::HeadTooLarge | Violation::TooManyHeaders => Self::HeaderTooLarge,
            _ => Self::BadFraming,
        }
    }
}

/// Methods as a header lists them.
pub fn names(methods: MethodSet) -> String {
    methods.names().collect::<Vec<_>>().join(", ")
}

/// An answer of the gateway's own. What is allowed belongs to a method that is not.
pub fn own(code: Code, message: &str, allowed: Option<MethodSet>) -> Response<OutBody> {
    let pause_ms = code.retry_after_ms();
    let mut value = serde_json::json!({
        "error": { "code": code.text(), "message": message, "next": code.next() }
    });
    if pause_ms > 0 {
        value["error"]["retry_after_ms"] = pause_ms.into();
    }
    let mut response = Response::new(OutBody::whole(Bytes::from(value.to_string())));
    *response.status_mut() = code.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if pause_ms > 0 {
        // The header knows whole seconds only.
        headers.insert(RETRY_AFTER, HeaderValue::from(pause_ms.div_ceil(1_000)));
    }
    let allowed = allowed.and_then(|methods| HeaderValue::try_from(names(methods)).ok());
    if let Some(allowed) = allowed {
        headers.insert(ALLOW, allowed);
    }
    if code.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Body of an answer.
#[derive(Debug)]
pub enum OutBody {
    Whole(Option<Bytes>),
    Streaming {
        first: Option<Bytes>,
        rest: Streaming,
    },
}

impl OutBody {
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for OutBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streaming { first, rest } => match first.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => rest.poll_frame(context),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streaming { first, rest } => first.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streaming { first: None, rest } => rest.size_hint(),
            Self::Streaming { first: Some(_), .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_their_texts_stand_in_the_same_order() {
        for (code, text) in [
            (Code::BadFraming, "bad_framing"),
            (Code::UnknownCell, "unknown_cell"),
            (Code::OutcomeUnknown, "outcome_unknown"),
            (Code::DeadlinePassed, "deadline_passed"),
            (Code::KeyMissing, "key_missing"),
        ] {
            assert_eq!(code.text(), text);
        }
        assert_eq!(Code::KeyMissing as usize + 1, CODES.len());
    }
}
