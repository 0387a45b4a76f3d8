//! Small, strict services that keep objects on a loopback address as clouds do, and fail in the ways that clouds fail.
//!
//! Three protocols are spoken: S3, Google Cloud Storage's XML and Azure's blobs. Each insists on what the real one insists on: a
//! proof of who asks (computed here a second time where the protocol lets one), the headers that must be there,
//! `Content-Length`; and each lists three names a page, so that whoever forgets the next page is found out. They share no
//! code with the client.

mod azure;
mod google;
mod http;
mod s3;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

pub use self::google::ServiceAccount;
use self::http::{Answer, Request, head};

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

/// What is spoken, and who may.
enum Protocol {
    /// The id of the key.
    S3 {
        key: String,
    },
    Google(google::Verifier),
    /// The account, and its key as bytes.
    Azure {
        account: String,
        key: Vec<u8>,
    },
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
    protocol: Protocol,
    /// Or the container.
    bucket: String,
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

    fn check(&self, request: &Request) -> Result<()> {
        match &self.protocol {
            Protocol::S3 { key } => s3::check(key, request),
            Protocol::Google(verifier) => verifier.check(request),
            Protocol::Azure { account, key } => azure::check(account, key, request),
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = request.path.trim_start_matches('/');
        let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
        if bucket != self.bucket {
            return self.error(404, "NoSuchBucket");
        }
        match self.protocol {
            Protocol::S3 { .. } => s3::answer(self, name, request),
            Protocol::Google(_) => google::answer(self, name, request),
            Protocol::Azure { .. } => azure::answer(self, name, request),
        }
    }

    fn error(&self, status: u16, code: &str) -> Answer {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        Answer::Say(status, Vec::new(), body.into_bytes())
    }

    /// Reads an object, or what is said of it.
    fn get(&self, name: &str) -> Answer {
        match self.state(|state| state.objects.get(name).cloned()) {
            Some(bytes) => Answer::Say(200, labels(&bytes), bytes),
            None => self.error(404, "NoSuchKey"),
        }
    }

    /// Keeps an object. `bound` is whether only a free name was asked for; `taken` is what is said when it is not.
    fn put(&self, name: &str, request: &Request, bound: bool, taken: Answer) -> Answer {
        let is_taken = self.state(|state| state.objects.contains_key(name));
        if bound && is_taken && !self.overwrites.load(Ordering::Acquire) {
            return taken;
        }
        if !bound {
            self.state(|state| state.wrong.push(format!("PUT {name} without a condition")));
        }
        let mut bytes = request.body.clone();
        if self.strikes(Fault::Truncate) {
            bytes.truncate(bytes.len() / 2);
        }
        let mut labels = labels(&bytes);
        labels.retain(|(name, _)| *name != "content-length");
        self.state(|state| state.objects.insert(name.to_owned(), bytes));
        match self.strikes(Fault::DropAnswer) {
            true => Answer::Close,
            false => Answer::Say(201, labels, Vec::new()),
        }
    }

    /// Whether there was one.
    fn remove(&self, name: &str) -> bool {
        self.state(|state| state.objects.remove(name).is_some())
    }

    /// A page of names below a prefix: objects with their sizes, and folders where a delimiter asks for them.
    fn page(&self, prefix: &str, delimiter: &str, after: &str) -> Page {
        let mut found: BTreeMap<String, Option<usize>> = BTreeMap::new();
        self.state(|state| {
            for (name, bytes) in &state.objects {
                let Some(rest) = name.strip_prefix(prefix) else {
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
        let mut rest = found.into_iter().filter(|(name, _)| name.as_str() > after);
        let names: Vec<(String, Option<usize>)> = rest.by_ref().take(PAGE).collect();
        let last = names.last().map(|(name, _)| name.clone());
        let next = rest.next().and(last);
        Page { names, next }
    }
}

struct Page {
    /// A folder has no size.
    names: Vec<(String, Option<usize>)>,
    /// What the next page begins after, if there is one.
    next: Option<String>,
}

/// The service; it ends when this is dropped.
pub struct ObjectService {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl ObjectService {
    /// Speaks S3 with whoever has a key of this id.
    ///
    /// # Errors
    /// When there is no address.
    pub fn s3(bucket: &str, key: &str) -> Result<Self> {
        let key = key.to_owned();
        Self::start(bucket, Protocol::S3 { key })
    }

    /// Speaks Google's protocol with whoever has the key of this account.
    ///
    /// # Errors
    /// When there is no address.
    pub fn google(bucket: &str, account: &ServiceAccount) -> Result<Self> {
        Self::start(bucket, Protocol::Google(account.verifier()))
    }

    /// Speaks Azure's protocol with whoever has this account's key.
    ///
    /// # Errors
    /// When there is no address, or the key is not base64.
    pub fn azure(container: &str, account: &str, key: &str) -> Result<Self> {
        let (account, key) = (account.to_owned(), azure::key(key)?);
        Self::start(container, Protocol::Azure { account, key })
    }

    fn start(bucket: &str, protocol: Protocol) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("an address for a store")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            protocol,
            bucket: bucket.to_owned(),
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

    /// The condition of a put is not looked at.
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

impl Drop for ObjectService {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        // So that the listener looks.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
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
    let answer = match shared.check(&request) {
        Err(why) => {
            shared.state(|state| state.wrong.push(format!("{why:#}")));
            shared.error(403, "SignatureDoesNotMatch")
        }
        Ok(()) if shared.strikes(Fault::SlowDown) => shared.error(503, "SlowDown"),
        Ok(()) => shared.answer(&request),
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
