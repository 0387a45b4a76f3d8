//! S3: signatures of version 4, `If-None-Match`, lists of version 2.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::Shared;
use super::http::{Answer, Request};

/// As strict as a real one, short of computing the signature.
pub(super) fn check(key: &str, request: &Request) -> Result<()> {
    let form = request
        .header("authorization")?
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .context("another signature than version 4")?;
    let parts: BTreeMap<&str, &str> = form
        .split(',')
        .filter_map(|part| part.trim().split_once('='))
        .collect();
    let part = |name: &str| {
        parts
            .get(name)
            .copied()
            .with_context(|| format!("no {name}"))
    };
    let credential = part("Credential")?;
    ensure!(
        credential.starts_with(&format!("{key}/")) && credential.ends_with("/s3/aws4_request"),
        "credential {credential}"
    );
    let signed: BTreeSet<&str> = part("SignedHeaders")?.split(';').collect();
    for name in ["host", "x-amz-content-sha256", "x-amz-date"] {
        ensure!(signed.contains(name), "{name} is not signed");
        request.header(name)?;
    }
    if let Some(condition) = request.headers.get("if-none-match") {
        ensure!(condition == "*", "another condition");
    }
    let signature = part("Signature")?;
    let is_hex = signature.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(signature.len() == 64 && is_hex, "signature {signature}");
    let digest: String = Sha256::digest(&request.body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        request.header("x-amz-content-sha256")? == digest,
        "another body"
    );
    Ok(())
}

pub(super) fn answer(shared: &Shared, name: &str, request: &Request) -> Answer {
    match request.method.as_str() {
        "GET" if name.is_empty() => list(shared, request),
        "GET" | "HEAD" => shared.get(name),
        "PUT" => {
            let bound = request.headers.contains_key("if-none-match");
            let taken = shared.error(412, "PreconditionFailed");
            match shared.put(name, request, bound, taken) {
                Answer::Say(201, headers, body) => Answer::Say(200, headers, body),
                other => other,
            }
        }
        "DELETE" => {
            shared.remove(name);
            Answer::Say(204, Vec::new(), Vec::new())
        }
        _ => shared.error(405, "MethodNotAllowed"),
    }
}

/// Google's is the same.
pub(super) fn list(shared: &Shared, request: &Request) -> Answer {
    if request.given("list-type") != "2" {
        return shared.error(400, "InvalidArgument");
    }
    let page = shared.page(
        request.given("prefix"),
        request.given("delimiter"),
        request.given("continuation-token"),
    );
    let mut body = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    for (name, bytes) in &page.names {
        body.push_str(&match bytes {
            Some(bytes) => format!(
                "<Contents><Key>{name}</Key><Size>{bytes}</Size><LastModified>2026-11-28T12:00:00.000Z</LastModified>\
                 <ETag>\"x\"</ETag></Contents>"
            ),
            None => format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
        });
    }
    let is_cut = page.next.is_some();
    body.push_str(&format!("<IsTruncated>{is_cut}</IsTruncated>"));
    if let Some(next) = page.next {
        body.push_str(&format!(
            "<NextContinuationToken>{next}</NextContinuationToken>"
        ));
    }
    body.push_str("</ListBucketResult>");
    Answer::Say(200, Vec::new(), body.into_bytes())
}
