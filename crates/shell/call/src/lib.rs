//! Calls something over HTTP, once, and says what became of it.
//!
//! Like a messenger who goes to one door, knocks once, and comes back with what was said there: no redirects, no proxy, no
//! second knock. The call bears a name that is the same in every attempt of its step, so that whoever is called can tell a
//! repetition. Three things may be known afterwards: it was done; it was certainly not done; nobody knows. The last is
//! told as such and never as one of the others.
//!
//! Secrets are headers from a file of mode 0600; they appear in no outcome and no log. Over TLS whoever opens the door must
//! prove to be the one whose name is on it, before anything is said.

use std::io;
use std::path::Path;
use std::time::Duration;

use mainstay_playbook::{Call, Method};
use mainstay_rt::error::chain;
use mainstay_rt::{files, secret};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Request, Url, redirect, retry};

/// Bears the name of the call.
const NAME: &str = "idempotency-key";
/// Of an answer, so much is kept.
const ANSWER_BYTES_MAX: usize = 2 << 10;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 20;
const AUTHORITY_BYTES_MAX: u64 = 1 << 20;
/// What the call itself says.
const OWN: [&str; 6] = [
    NAME,
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
];

/// What is known of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    Done {
        detail: String,
    },
    /// Certainly not done: nobody was reached, or it was refused.
    Refused {
        why: String,
    },
    Unknown {
        why: String,
    },
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    #[error("{0} line {1} is no header: write NAME: VALUE")]
    Header(String, usize),
    #[error("{0} sets the header {1}, which the call sets itself")]
    OwnHeader(String, String),
    #[error("{0} has more than {HEADERS_MAX} headers")]
    ManyHeaders(String),
    #[error("{0} does not say whom to call")]
    Url(String),
    #[error("read the authority {0}")]
    Authority(String, #[source] io::Error),
    #[error("{0} holds no certificate that can be believed")]
    NoAuthority(String),
    #[error("the name of the call is no header")]
    Name,
    #[error("set the client up")]
    Client(#[source] reqwest::Error),
}

/// Calls within `limit`. `name` is the same in every attempt.
pub async fn call(call: &Call, name: &str, limit: Duration) -> Called {
    let (client, request) = match prepared(call, name, limit) {
        Ok(prepared) => prepared,
        Err(error) => return Called::Refused { why: chain(&error) },
    };
    match tokio::time::timeout(limit, knock(&client, request, call.expect)).await {
        Ok(called) => called,
        Err(_) => Called::Unknown {
            why: format!("no answer within {} ms", limit.as_millis()),
        },
    }
}

fn prepared(call: &Call, name: &str, limit: Duration) -> Result<(Client, Request), CallError> {
    let bad = || CallError::Url(call.url.clone());
    let url: Url = call.url.parse().map_err(|_| bad())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !fits || !url.username().is_empty() || url.password().is_some() {
        return Err(bad());
    }
    let method = match call.method {
        Method::Get => reqwest::Method::GET,
        Method::Head => reqwest::Method::HEAD,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    };
    let mut headers = match &call.headers_file {
        Some(file) => headers(file)?,
        None => HeaderMap::new(),
    };
    let name = HeaderValue::from_str(name).map_err(|_| CallError::Name)?;
    headers.insert(HeaderName::from_static(NAME), name);
    let mut builder = Client::builder();
    if let Some(file) = &call.authority_file {
        builder = builder.tls_certs_only(authorities(file)?);
    }
    let client = builder
        .connect_timeout(CONNECT_LIMIT.min(limit / 2))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .user_agent("mainstay")
        .build()
        .map_err(CallError::Client)?;
    let mut request = client.request(method, url).headers(headers);
    if let Some(body) = &call.body {
        request = request
            .header("content-type", "application/json")
            .body(body.clone());
    }
    let request = request.build().map_err(CallError::Client)?;
    Ok((client, request))
}

/// Whom the called must be certified by.
fn authorities(file: &str) -> Result<Vec<Certificate>, CallError> {
    let pem = files::read_limited(Path::new(file), AUTHORITY_BYTES_MAX)
        .map_err(|error| CallError::Authority(file.to_owned(), error))?;
    let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    match found.is_empty() {
        true => Err(CallError::NoAuthority(file.to_owned())),
        false => Ok(found),
    }
}

/// Each line is a header; empty ones, and those that begin with `#`, are none.
fn headers(file: &str) -> Result<HeaderMap, CallError> {
    let mut headers = HeaderMap::new();
    for (index, line) in secret::lines(file)?.iter().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || CallError::Header(file.to_owned(), index + 1);
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        if OWN.contains(&name.as_str()) {
            return Err(CallError::OwnHeader(file.to_owned(), name.to_string()));
        }
        headers.append(name, value);
        if headers.len() > HEADERS_MAX {
            return Err(CallError::ManyHeaders(file.to_owned()));
        }
    }
    Ok(headers)
}

async fn knock(client: &Client, request: Request, (first, last): (u16, u16)) -> Called {
    let mut answer = match client.execute(request).await {
        Ok(answer) => answer,
        // Nobody was reached, so nothing was said to anybody.
        Err(error) if error.is_connect() || error.is_builder() => {
            let why = chain(&error.without_url());
            return Called::Refused { why };
        }
        Err(error) => {
            let why = chain(&error.without_url());
            return Called::Unknown { why };
        }
    };
    let status = answer.status();
    let mut body = Vec::new();
    // What is said beyond that, or breaks off, changes nothing of what the status says.
    while body.len() < ANSWER_BYTES_MAX
        && let Ok(Some(part)) = answer.chunk().await
    {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(part.get(..room).unwrap_or(&part));
    }
    let said = format!("{status}{}", words(&body));
    match status.as_u16() {
        code if (first..=last).contains(&code) => Called::Done { detail: said },
        // Whoever fails in the middle may have done it.
        code if code >= 500 => Called::Unknown { why: said },
        _ => Called::Refused { why: said },
    }
}

/// An answer in a line.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.replace(char::is_control, " ");
    match text.trim() {
        "" => String::new(),
        text => format!("; it said: {text}"),
    }
}
