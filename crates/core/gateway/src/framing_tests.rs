//! A corpus of requests that servers are known to read in different ways, and that everything which is
//! said to be good passes however it is cut into pieces.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const LIMITS: FramingLimits = FramingLimits {
    head_bytes: 1024,
    headers: 16,
};

/// All at once.
fn read(bytes: &[u8]) -> Progress {
    Framing::new(LIMITS).feed(bytes)
}

/// One byte after the other, keeping what has not passed, as a connection does.
fn read_in_pieces(bytes: &[u8], sizes: &[usize]) -> Progress {
    let mut framing = Framing::new(LIMITS);
    let (mut kept, mut total, mut at, mut turn) = (
        Vec::new(),
        Progress {
            passed: 0,
            heads: 0,
            violation: None,
        },
        0,
        0,
    );
    while at < bytes.len() && total.violation.is_none() {
        let size = sizes[turn % sizes.len()].min(bytes.len() - at);
        kept.extend_from_slice(&bytes[at..at + size]);
        (at, turn) = (at + size, turn + 1);
        let progress = framing.feed(&kept);
        kept.drain(..progress.passed);
        total.passed += progress.passed;
        total.heads += progress.heads;
        total.violation = progress.violation;
    }
    total
}

use Violation as V;

/// `{h}` stands for a Host field.
const CORPUS: &[(&str, Violation)] = &[
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        V::LengthBesideTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        V::LengthBesideTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        V::DuplicateContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello",
        V::DuplicateContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: 5, 5\r\n\r\nhello",
        V::BadContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: +5\r\n\r\nhello",
        V::BadContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: 0x5\r\n\r\nhello",
        V::BadContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length:\r\n\r\nhello",
        V::BadContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: 99999999999999999999\r\n\r\n",
        V::BadContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length: 5 5\r\n\r\nhello",
        V::BadContentLength,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content-Length : 5\r\n\r\nhello",
        V::BadHeaderName,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Content_Length: 5\r\n\r\nhello",
        V::DisguisedFramingHeader,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
        V::DisguisedFramingHeader,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        V::UnknownTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: identity\r\n\r\n",
        V::UnknownTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        V::UnknownTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        V::UnknownTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        V::UnknownTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        V::DuplicateTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        V::DuplicateTransferEncoding,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        V::BadHeaderValue,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding\x20: chunked\r\n\r\n0\r\n\r\n",
        V::BadHeaderName,
    ),
    (
        "POST / HTTP/1.1\r\n{h} Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        V::FoldedHeader,
    ),
    ("POST / HTTP/1.1\r\n{h}X: y\r\n\tz\r\n\r\n", V::FoldedHeader),
    ("POST / HTTP/1.1\r\n Host: x\r\n\r\n", V::FoldedHeader),
    (
        "POST / HTTP/1.0\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        V::TransferEncodingInOldVersion,
    ),
    ("GET / HTTP/1.1\n{h}\r\n", V::BareLineFeed),
    ("GET / HTTP/1.1\r\nHost: x\n\r\n", V::BareLineFeed),
    ("GET / HTTP/1.1\r\nHost: x\r\n\n", V::BareLineFeed),
    (
        "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
        V::BareCarriageReturn,
    ),
    ("GET / HTTP/1.1\r\r\n{h}\r\n", V::BareCarriageReturn),
    ("GET / HTTP/1.1\r\nHost: x\0\r\n\r\n", V::BadHeaderValue),
    ("GET / HTTP/1.1\r\n{h}X\0: y\r\n\r\n", V::BadHeaderName),
    ("GET / HTTP/1.1\r\n{h}: y\r\n\r\n", V::BadHeaderName),
    ("GET / HTTP/1.1\r\n{h}nocolon\r\n\r\n", V::BadHeaderName),
    ("GET / HTTP/1.1\r\n{h}{h}\r\n", V::DuplicateHost),
    ("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", V::BadHeaderValue),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", V::BadHeaderValue),
    ("GET / HTTP/1.1\r\n\r\n", V::MissingHost),
    ("\r\nGET / HTTP/1.1\r\n{h}\r\n", V::EmptyRequestLine),
    ("GET  / HTTP/1.1\r\n{h}\r\n", V::BadRequestLine),
    ("GET / HTTP/1.1 \r\n{h}\r\n", V::BadRequestLine),
    ("GET /\r\n{h}\r\n", V::BadRequestLine),
    ("GET\t/\tHTTP/1.1\r\n{h}\r\n", V::BadRequestLine),
    ("G<T / HTTP/1.1\r\n{h}\r\n", V::BadMethod),
    ("GET http://x/ HTTP/1.1\r\n{h}\r\n", V::BadTarget),
    ("GET /a#b HTTP/1.1\r\n{h}\r\n", V::BadTarget),
    ("GET /\u{7f} HTTP/1.1\r\n{h}\r\n", V::BadTarget),
    ("GET * HTTP/1.1\r\n{h}\r\n", V::BadTarget),
    ("CONNECT x:1 HTTP/1.1\r\n{h}\r\n", V::ConnectMethod),
    ("GET / HTTP/1.2\r\n{h}\r\n", V::BadVersion),
    ("GET / HTTP/2.0\r\n{h}\r\n", V::BadVersion),
    ("GET / http/1.1\r\n{h}\r\n", V::BadVersion),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", V::BadTarget),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n",
        V::BadChunkSize,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        V::BadChunkSize,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        V::BadChunkSize,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        V::BadChunkSize,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
        V::BadChunkSize,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        V::BadChunkSize,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5\rXhello\r\n0\r\n\r\n",
        V::BadChunkSize,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        V::BadChunkEnd,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        V::BadChunkEnd,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        V::TrailersRefused,
    ),
    (
        "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        V::ChunkTooLarge,
    ),
];

#[test]
fn smuggling_corpus() {
    for (text, violation) in CORPUS {
        let text = text.replace("{h}", "Host: x\r\n");
        for progress in [read(text.as_bytes()), read_in_pieces(text.as_bytes(), &[1])] {
            assert_eq!(
                progress.violation.map(|v| v.0),
                Some(*violation),
                "{text:?}"
            );
            let place = progress.violation.map(|v| v.1);
            assert_eq!(place == Some(Where::Head), progress.passed == 0, "{text:?}");
        }
    }
}

#[test]
fn bounds_hold() {
    let long = alloc::format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(1024)
    );
    assert_eq!(
        read(long.as_bytes()).violation,
        Some((Violation::HeadTooLarge, Where::Head))
    );
    let endless = "G".repeat(1025);
    assert_eq!(
        read(endless.as_bytes()).violation,
        Some((Violation::HeadTooLarge, Where::Head))
    );
    let many = alloc::format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(16));
    assert_eq!(
        read(many.as_bytes()).violation,
        Some((Violation::TooManyHeaders, Where::Head))
    );
}

#[test]
fn a_bad_request_does_not_take_the_good_one_before_it_along() {
    let good = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let bad = "GET / HTTP/1.1\r\n\r\n";
    let progress = read(alloc::format!("{good}{bad}{good}").as_bytes());
    assert_eq!((progress.passed, progress.heads), (good.len(), 1));
    assert_eq!(
        progress.violation,
        Some((Violation::MissingHost, Where::Head))
    );
}

/// Requests that have one reading.
fn good_request() -> impl Strategy<Value = Vec<u8>> {
    let plain = "[a-z]{1,20}".prop_map(|path| {
        alloc::format!("GET /{path}?q HTTP/1.1\r\nHost: x:1\r\nA: b\tc\r\n\r\n").into_bytes()
    });
    let old = Just(b"GET / HTTP/1.0\r\n\r\n".to_vec());
    let counted = proptest::collection::vec(any::<u8>(), 0..50).prop_map(|body| {
        let mut bytes = alloc::format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:  {} \r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend(body);
        bytes
    });
    let chunked = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..4)
        .prop_map(|chunks| {
            let mut bytes =
                b"PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n".to_vec();
            for chunk in chunks {
                bytes.extend(alloc::format!("{:X}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            bytes
        });
    prop_oneof![plain, old, counted, chunked]
}

proptest! {
    #[test]
    fn good_requests_pass_whole_in_any_pieces(
        requests in proptest::collection::vec(good_request(), 1..6),
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let bytes = requests.concat();
        let all = Progress { passed: bytes.len(), heads: requests.len(), violation: None };
        prop_assert_eq!(read(&bytes), all);
        prop_assert_eq!(read_in_pieces(&bytes, &sizes), all);
    }

    #[test]
    fn any_bytes_are_judged_alike_in_any_pieces(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(b'0'), any::<u8>()], 0..200),
        sizes in proptest::collection::vec(1usize..20, 1..8),
    ) {
        let (whole, pieces) = (read(&bytes), read_in_pieces(&bytes, &sizes));
        prop_assert_eq!(whole, pieces);
    }
}
