//! Azure's blobs: requests signed with the account's key, `409` for a name that is taken, removal by batches.

use std::io::BufReader;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::http::{Answer, Request, head};
use super::{MODIFIED, Shared};

/// What is signed of these, in this order, empty where they are not given.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

pub(super) fn key(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).context("a key in base64")
}

/// The signature is computed a second time.
pub(super) fn check(account: &str, key: &[u8], request: &Request) -> Result<()> {
    let form = format!("SharedKey {account}:");
    let shown = request.header("authorization")?.strip_prefix(&form);
    let shown = shown.context("another account, or another proof than its key")?;
    ensure!(
        request.headers.contains_key("date") || request.headers.contains_key("x-ms-date"),
        "no date"
    );
    request.header("x-ms-version")?;
    let mut signed = request.method.clone();
    for name in SIGNED {
        let value = request.headers.get(name).map_or("", String::as_str);
        // A length of nothing is not signed.
        let value = if (name, value) == ("content-length", "0") {
            ""
        } else {
            value
        };
        signed.push('\n');
        signed.push_str(value);
    }
    signed.push('\n');
    for (name, value) in &request.headers {
        if name.starts_with("x-ms-") {
            signed.push_str(&format!("{name}:{value}\n"));
        }
    }
    signed.push_str(&format!("/{account}{}", request.raw_path));
    for (name, value) in &request.query {
        signed.push_str(&format!("\n{}:{value}", name.to_lowercase()));
    }
    let mut computed = Hmac::<Sha256>::new_from_slice(key).context("a key")?;
    computed.update(signed.as_bytes());
    let shown = STANDARD.decode(shown).context("a signature in base64")?;
    let same = computed.verify_slice(&shown).ok();
    same.with_context(|| format!("another signature than that of {signed:?}"))
}

pub(super) fn answer(shared: &Shared, name: &str, request: &Request) -> Answer {
    match (request.method.as_str(), request.given("comp")) {
        ("GET", "list") if name.is_empty() => list(shared, request),
        ("POST", "batch") if name.is_empty() => {
            batch(shared, request).unwrap_or_else(|error| shared.error(400, &format!("{error:#}")))
        }
        ("GET" | "HEAD", "") => shared.get(name),
        ("PUT", "") => {
            let is_block = request.headers.get("x-ms-blob-type");
            if is_block.is_none_or(|kind| kind != "BlockBlob") {
                return shared.error(400, "InvalidHeaderValue");
            }
            let bound = request.headers.get("if-none-match");
            let bound = bound.is_some_and(|condition| condition == "*");
            shared.put(name, request, bound, shared.error(409, "BlobAlreadyExists"))
        }
        _ => shared.error(405, "UnsupportedHttpVerb"),
    }
}

fn list(shared: &Shared, request: &Request) -> Answer {
    if request.given("restype") != "container" {
        return shared.error(400, "InvalidQueryParameterValue");
    }
    let page = shared.page(
        request.given("prefix"),
        request.given("delimiter"),
        request.given("marker"),
    );
    let mut body = String::from("<?xml version=\"1.0\"?><EnumerationResults><Blobs>");
    for (name, bytes) in &page.names {
        body.push_str(&match bytes {
            Some(bytes) => format!(
                "<Blob><Name>{name}</Name><Properties><Last-Modified>{MODIFIED}</Last-Modified><Etag>0x1</Etag>\
                 <Content-Length>{bytes}</Content-Length><Content-Type>application/octet-stream</Content-Type>\
                 <BlobType>BlockBlob</BlobType></Properties></Blob>"
            ),
            None => format!("<BlobPrefix><Name>{name}</Name></BlobPrefix>"),
        });
    }
    let next = page.next.unwrap_or_default();
    body.push_str(&format!(
        "</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
    ));
    Answer::Say(200, Vec::new(), body.into_bytes())
}

/// Several requests in one body; each has its own signature and gets its own answer.
fn batch(shared: &Shared, request: &Request) -> Result<Answer> {
    let kind = request.header("content-type")?;
    let boundary = kind.strip_prefix("multipart/mixed; boundary=");
    let boundary = format!("--{}", boundary.context("no boundary")?);
    let body = std::str::from_utf8(&request.body).context("a batch in text")?;
    ensure!(body.trim_end().ends_with("--"), "a batch without an end");
    let mut answers = String::new();
    for part in body.split(&boundary).map(str::trim_start) {
        if part.is_empty() || part.starts_with("--") {
            continue;
        }
        let (about, one) = part.split_once("\r\n\r\n").context("a part")?;
        let id = about
            .lines()
            .find_map(|line| line.strip_prefix("Content-ID: "))
            .context("a part without a number")?;
        let one = head(&mut BufReader::new(one.as_bytes()))?.context("an empty part")?;
        shared.check(&one)?;
        let name = one.path.trim_start_matches('/').split_once('/');
        let status = match (one.method.as_str(), name) {
            ("DELETE", Some((container, name))) if container == shared.bucket => {
                match shared.remove(name) {
                    true => "202 Accepted",
                    false => "404 BlobNotFound",
                }
            }
            _ => "400 InvalidInput",
        };
        answers.push_str(&format!(
            "--answers\r\nContent-Type: application/http\r\nContent-ID: {id}\r\n\r\nHTTP/1.1 {status}\r\n\
             x-ms-request-id: {id}\r\n\r\n\r\n"
        ));
    }
    answers.push_str("--answers--");
    let kind = "multipart/mixed; boundary=answers".to_owned();
    Ok(Answer::Say(
        202,
        vec![("content-type", kind)],
        answers.into_bytes(),
    ))
}
