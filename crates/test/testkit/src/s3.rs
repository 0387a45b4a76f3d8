//! A small, strict service that speaks S3 on a loopback address, and fails in the ways that such services fail.
//!
//! It insists on what a real one insists on: a signature by the known key over the headers that must be signed, the SHA-256
//! of the body, `Content-Length`; and it lists three names a page, so that whoever forgets the next page is found out. It
//! shares no code with the client.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

const PAGE: usize = 3;
const BODY_LIMIT: usize = 256 << 20;
const SILENCE: Duration = Duration::from_secs(30);
const MODIFIED: &str = "Sat, 28 Nov 2026 12:00:00 GMT";

/// What goes wrong; each with how often still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `503 Slow Down`.
    SlowDown,
    /// The connection is dropped in the middle of an upload, and nothing is kept.
    DropUpload,
    /// The upload is kept, and the connection dropped before the answer.
    DropAnswer,
    /// Half of the upload is kept, and the answer is that all is well.
    Truncate,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    faults: Vec<(Fault, u32)>,
    requests: u64,
    /// What a client did that no client may do.
    wrong: Vec<String>,
}

struct Shared {
    bucket: String,
    key: String,
    state: Mutex<State>,
    is_down: AtomicBool,
    overwrites: AtomicBool,
    ends: AtomicBool,
}

impl Shared {
    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.state(|state| {
            let due = state
                .faults
                .iter_mut()
                .find(|(kind, left)| *kind == fault && *left > 0);
            due.map(|(_, left)| *left -= 1).is_some()
        })
    }
}

/// The service; it ends when this is dropped.
pub struct S3 {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl S3 {
    /// # Errors
    /// When there is no address.
    pub fn start(bucket: &str, key: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("an address for a store")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            state: Mutex::new(State::default()),
            is_down: AtomicBool::new(false),
            overwrites: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.ends.load(Ordering::Acquire) {
                    return;
                }
                if serving.is_down.load(Ordering::Acquire) {
                    continue;
                }
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || {
                    // A client that leaves is no matter of ours.
                    while serve(&shared, &stream).is_ok_and(|goes_on| goes_on) {}
                });
            }
        });
        Ok(Self {
            shared,
            address,
            thread: Some(thread),
        })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every connection is closed at once, or none.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Release);
    }

    /// `If-None-Match` is not looked at.
    pub fn set_overwriting(&self, overwrites: bool) {
        self.shared.overwrites.store(overwrites, Ordering::Release);
    }

    pub fn plan(&self, fault: Fault, times: u32) {
        self.shared.state(|state| state.faults.push((fault, times)));
    }

    /// How often a planned fault has not struck yet.
    pub fn left(&self, fault: Fault) -> u32 {
        self.shared.state(|state| {
            let planned = state.faults.iter().filter(|(kind, _)| *kind == fault);
            planned.map(|(_, left)| left).sum()
        })
    }

    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.shared.state(|state| state.objects.clone())
    }

    /// Behind the service's back.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.shared
            .state(|state| state.objects.get_mut(name).map(change).is_some())
    }

    pub fn requests(&self) -> u64 {
        self.shared.state(|state| state.requests)
    }

    pub fn wrong(&self) -> Vec<String> {
        self.shared.state(|state| state.wrong.clone())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        // So that the listener looks.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

enum Answer {
    Close,
    Say(u16, Vec<(&'static str, String)>, Vec<u8>),
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    Answer::Say(status, Vec::new(), body.into_bytes())
}

/// One request; whether another may follow.
fn serve(shared: &Shared, stream: &TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream);
    let Some(mut request) = head(&mut reader)? else {
        return Ok(false);
    };
    if shared.is_down.load(Ordering::Acquire) {
        return Ok(false);
    }
    shared.state(|state| state.requests += 1);
    let length = request.headers.get("content-length");
    let length: usize = length.map_or(Ok(0), |text| text.parse())?;
    ensure!(length <= BODY_LIMIT, "a body of {length} bytes");
    let is_put = request.method == "PUT";
    if is_put && shared.strikes(Fault::DropUpload) {
        reader
            .take(length as u64 / 2)
            .read_to_end(&mut request.body)?;
        stream.shutdown(std::net::Shutdown::Both)?;
        return Ok(false);
    }
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body)?;
    let answer = match check(shared, &request) {
        Err(why) => {
            shared.state(|state| state.wrong.push(format!("{why:#}")));
            error(403, "SignatureDoesNotMatch")
        }
        Ok(()) if shared.strikes(Fault::SlowDown) => error(503, "SlowDown"),
        Ok(()) => answer(shared, &request),
    };
    let Answer::Say(status, headers, body) = answer else {
        stream.shutdown(std::net::Shutdown::Both)?;
        return Ok(false);
    };
    let mut head = format!("HTTP/1.1 {status} .\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !head.contains("content-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut writer = stream;
    writer.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        writer.write_all(&body)?;
    }
    writer.flush()?;
    Ok(true)
}

fn head(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        bail!("no request: {line:?}");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
    let mut request = Request {
        method: method.to_owned(),
        path: decode(path),
        query: query.collect(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(request));
        }
        let (name, value) = line.split_once(':').context("a header")?;
        let value = value.trim().to_owned();
        request.headers.insert(name.to_ascii_lowercase(), value);
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut place) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(place) {
        let digits = text.get(place + 1..place + 3);
        let coded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, coded) {
            (b'%', Some(coded)) => {
                decoded.push(coded);
                place += 3;
            }
            _ => {
                decoded.push(*byte);
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// As strict as a real one, short of computing the signature.
fn check(shared: &Shared, request: &Request) -> Result<()> {
    let header = |name: &str| {
        let value = request.headers.get(name);
        value.with_context(|| format!("{} {}: no {name}", request.method, request.path))
    };
    let authorization = header("authorization")?;
    let form = authorization.strip_prefix("AWS4-HMAC-SHA256 ");
    let form = form.context("another signature than version 4")?;
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
        credential.starts_with(&format!("{}/", shared.key))
            && credential.ends_with("/s3/aws4_request"),
        "credential {credential}"
    );
    let signed: BTreeSet<&str> = part("SignedHeaders")?.split(';').collect();
    for name in ["host", "x-amz-content-sha256", "x-amz-date"] {
        ensure!(signed.contains(name), "{name} is not signed");
        header(name)?;
    }
    if request.headers.contains_key("if-none-match") {
        ensure!(request.headers["if-none-match"] == "*", "another condition");
    }
    let signature = part("Signature")?;
    let is_hex = signature.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(signature.len() == 64 && is_hex, "signature {signature}");
    let digest: String = Sha256::digest(&request.body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(header("x-amz-content-sha256")? == &digest, "another body");
    Ok(())
}

fn answer(shared: &Shared, request: &Request) -> Answer {
    let path = request.path.trim_start_matches('/');
    let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
    if bucket != shared.bucket {
        return error(404, "NoSuchBucket");
    }
    match request.method.as_str() {
        "GET" if name.is_empty() => list(shared, request),
        "GET" | "HEAD" => match shared.state(|state| state.objects.get(name).cloned()) {
            Some(bytes) => Answer::Say(200, labels(&bytes), bytes),
            None => error(404, "NoSuchKey"),
        },
        "PUT" => put(shared, name, request),
        "DELETE" => {
            shared.state(|state| state.objects.remove(name));
            Answer::Say(204, Vec::new(), Vec::new())
        }
        _ => error(405, "MethodNotAllowed"),
    }
}

fn labels(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let etag = Sha256::digest(bytes);
    let etag: String = etag
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    vec![
        ("etag", format!("\"{etag}\"")),
        ("last-modified", MODIFIED.to_owned()),
        ("content-length", bytes.len().to_string()),
    ]
}

fn put(shared: &Shared, name: &str, request: &Request) -> Answer {
    let is_taken = shared.state(|state| state.objects.contains_key(name));
    let is_bound = request.headers.contains_key("if-none-match");
    if is_bound && is_taken && !shared.overwrites.load(Ordering::Acquire) {
        return error(412, "PreconditionFailed");
    }
    if !is_bound {
        shared.state(|state| state.wrong.push(format!("PUT {name} without a condition")));
    }
    let mut bytes = request.body.clone();
    if shared.strikes(Fault::Truncate) {
        bytes.truncate(bytes.len() / 2);
    }
    let mut labels = labels(&bytes);
    labels.retain(|(name, _)| *name == "etag");
    shared.state(|state| state.objects.insert(name.to_owned(), bytes));
    match shared.strikes(Fault::DropAnswer) {
        true => Answer::Close,
        false => Answer::Say(200, labels, Vec::new()),
    }
}

fn list(shared: &Shared, request: &Request) -> Answer {
    let given = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    if given("list-type") != "2" {
        return error(400, "InvalidArgument");
    }
    let (prefix, delimiter) = (given("prefix"), given("delimiter"));
    let after = given("continuation-token");
    let mut found: BTreeMap<String, Option<usize>> = BTreeMap::new();
    shared.state(|state| {
        for (name, bytes) in &state.objects {
            let Some(rest) = name.strip_prefix(&prefix) else {
                continue;
            };
            match rest.split_once('/') {
                Some((folder, _)) if !delimiter.is_empty() => {
                    found.insert(format!("{prefix}{folder}/"), None);
                }
                _ => {
                    found.insert(name.clone(), Some(bytes.len()));
                }
            }
        }
    });
    let mut rest = found.into_iter().filter(|(name, _)| *name > after);
    let page: Vec<(String, Option<usize>)> = rest.by_ref().take(PAGE).collect();
    let mut body = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    for (name, bytes) in &page {
        body.push_str(&match bytes {
            Some(bytes) => format!(
                "<Contents><Key>{name}</Key><Size>{bytes}</Size><LastModified>2026-11-28T12:00:00.000Z</LastModified>\
                 <ETag>\"x\"</ETag></Contents>"
            ),
            None => format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
        });
    }
    let is_cut = rest.next().is_some();
    body.push_str(&format!("<IsTruncated>{is_cut}</IsTruncated>"));
    if let (true, Some((last, _))) = (is_cut, page.last()) {
        body.push_str(&format!(
            "<NextContinuationToken>{last}</NextContinuationToken>"
        ));
    }
    body.push_str("</ListBucketResult>");
    Answer::Say(200, Vec::new(), body.into_bytes())
}
