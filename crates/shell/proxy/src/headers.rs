//! Header fields that belong to one connection stay on it (RFC 9110, 7.6.1).

use http::header::{CONNECTION, HeaderMap, HeaderName};

const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    http::header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Fields that a `Connection` header may not take along: without them a request means something else.
const NEVER_NAMED: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// Removes what belongs to the connection the message came over, also what its `Connection` names.
pub fn strip(headers: &mut HeaderMap) {
    // One look at each name is cheaper than eight lookups, and most messages have none of them.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !NEVER_NAMED.contains(&name.as_str()))
        .filter_map(|name| HeaderName::try_from(name).ok())
        .collect();
    if headers.contains_key(http::header::TRANSFER_ENCODING) {
        // It was framed otherwise, so this is not its length (RFC 9112, 6.3).
        headers.remove(http::header::CONTENT_LENGTH);
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_goes_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Secret, content-length, host"),
            ("x-secret", "1"),
            ("content-length", "3"),
            ("host", "x"),
            ("keep-alive", "1"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().expect("value"));
        }
        strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    /// The library reads such an answer by its chunks and leaves the length where it was.
    #[test]
    fn a_length_beside_chunks_is_no_length() {
        let mut headers = HeaderMap::new();
        headers.insert("transfer-encoding", "chunked".parse().expect("value"));
        headers.insert("content-length", "3".parse().expect("value"));
        strip(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }
}
