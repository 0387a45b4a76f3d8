//! Asks a server that speaks Prometheus's API, where somebody else scrapes.
//!
//! Two kinds of no are told apart. *Refused* is the server's word about the question: it cannot be answered, now or later.
//! *Unheard* is everything else (no connection, no answer in time, a proof that is not accepted, an answer that cannot be
//! read): then nothing is known. Secrets are read for each question, so that changed ones need no restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_rt::error::chain;
use mainstay_rt::{files, secret};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, redirect};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Largest answer that is read.
const ANSWER_BYTES: usize = 64 << 20;
const AUTHORITY_BYTES: u64 = 1 << 20;
/// An idle connection is closed before most servers would close it.
const IDLE: Duration = Duration::from_secs(45);
const WORDS_MAX: usize = 300;

/// How we prove who we are. Secrets stand in files of mode 0600.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    None,
    Bearer {
        token_file: PathBuf,
    },
    Basic {
        user: String,
        password_file: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Below which `/api/v1` is.
    pub url: String,
    pub proof: Proof,
    /// PEM: whom the server must be certified by, instead of whom the system trusts.
    pub authority_file: Option<PathBuf>,
    /// Said with every question, such as the name of a tenant.
    pub headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unheard(String),
}

/// What the server said, its data not read yet.
#[derive(Debug)]
pub struct Reply {
    pub data: Box<RawValue>,
    /// With these, data may be missing.
    pub warnings: Vec<String>,
    /// Remarks about the question alone.
    pub infos: Vec<String>,
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Box<RawValue>>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Server {
    place: Place,
    client: Client,
}

impl Server {
    /// # Errors
    /// Where the authority's file or a header cannot be used.
    pub fn new(place: Place) -> Result<Self, String> {
        let mut builder = Client::builder()
            .default_headers(said(&place.headers)?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .user_agent("mainstay");
        if let Some(path) = &place.authority_file {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { place, client })
    }

    pub fn url(&self) -> &str {
        &self.place.url
    }

    /// Posts a form to `/api/v1/WHAT`, or gets it where `form` is nothing.
    ///
    /// # Errors
    /// See [`NoReply`].
    pub async fn ask(
        &self,
        what: &str,
        form: Option<&[(String, String)]>,
        limit: Duration,
    ) -> Result<Reply, NoReply> {
        let asked = tokio::time::timeout(limit, self.asked(what, form)).await;
        asked.unwrap_or_else(|_| {
            let why = format!("{} gave no answer within {limit:?}", self.place.url);
            Err(NoReply::Unheard(why))
        })
    }

    async fn asked(&self, what: &str, form: Option<&[(String, String)]>) -> Result<Reply, NoReply> {
        let unheard = |why: String| NoReply::Unheard(format!("{}: {why}", self.place.url));
        let told = |error: reqwest::Error| unheard(chain(&error.without_url()));
        let url = format!("{}/api/v1/{what}", self.place.url.trim_end_matches('/'));
        let request = || -> Result<RequestBuilder, NoReply> {
            let request = match form {
                Some(form) => self.client.post(&url).body(encoded(form)).header(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                ),
                None => self.client.get(&url),
            };
            self.proven(request).map_err(|error| unheard(chain(&error)))
        };
        let sent = match request()?.send().await {
            // Asking twice does no harm, and a connection that was kept may have ended without our knowing.
            Err(error) if !error.is_connect() && !error.is_timeout() => request()?.send().await,
            sent => sent,
        };
        let mut answer = sent.map_err(told)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(told)? {
            body.extend_from_slice(&part);
            if body.len() > ANSWER_BYTES {
                let why = format!("the answer has more than {ANSWER_BYTES} bytes");
                return Err(NoReply::Refused(why));
            }
        }
        read(status, &body).map_err(|no| match no {
            NoReply::Unheard(why) => unheard(why),
            refused @ NoReply::Refused(_) => refused,
        })
    }

    fn proven(&self, request: RequestBuilder) -> Result<RequestBuilder, secret::SecretError> {
        let read = |path: &Path| secret::read(&path.to_string_lossy());
        Ok(match &self.place.proof {
            Proof::None => request,
            Proof::Bearer { token_file } => request.bearer_auth(read(token_file)?),
            Proof::Basic {
                user,
                password_file,
            } => request.basic_auth(user, Some(read(password_file)?)),
        })
    }
}

pub(crate) fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let failed = |why: String| format!("use the authority in {}: {why}", path.display());
    let pem = files::read_limited(path, AUTHORITY_BYTES).map_err(|error| failed(chain(&error)))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| failed(chain(&error)))?;
    if found.is_empty() {
        return Err(failed("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

fn said(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut said = HeaderMap::new();
    for (name, value) in headers {
        let failed = |why: String| format!("say {name}: {why}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| failed(chain(&e)))?;
        let value = HeaderValue::from_str(value).map_err(|e| failed(chain(&e)))?;
        said.insert(name, value);
    }
    Ok(said)
}

fn read(status: StatusCode, body: &[u8]) -> Result<Reply, NoReply> {
    let read = serde_json::from_slice::<Envelope>(body);
    match (status, read) {
        (StatusCode::OK, Ok(envelope)) if envelope.status == "success" => {
            let data = envelope
                .data
                .ok_or_else(|| NoReply::Unheard("the answer has no data".to_owned()))?;
            Ok(Reply {
                data,
                warnings: envelope.warnings,
                infos: envelope.infos,
            })
        }
        // The two with which Prometheus speaks of the question itself.
        (StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, Ok(envelope))
            if envelope.error.is_some() =>
        {
            Err(NoReply::Refused(envelope.error.unwrap_or_default()))
        }
        (status, Ok(envelope)) => {
            let why = envelope.error.unwrap_or_default();
            Err(NoReply::Unheard(format!("it answered {status} {why}")))
        }
        (status, Err(_)) => {
            let text: String = String::from_utf8_lossy(body)
                .chars()
                .take(WORDS_MAX)
                .collect();
            let why = format!("it answered {status}, and not in Prometheus's form: {text:?}");
            Err(NoReply::Unheard(why))
        }
    }
}

/// As a form, or as the part of an address after the question mark.
pub fn encoded(form: &[(String, String)]) -> String {
    let escaped = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        text.bytes()
            .map(|byte| match plain(byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect()
    };
    let fields = form
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    fields.collect::<Vec<_>>().join("&")
}
