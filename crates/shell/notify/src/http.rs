//! Ways over HTTP: one POST of JSON, knocked again while there is hope.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use mainstay_notify::{Kind, Notice};
use mainstay_rt::clock;
use mainstay_rt::error::chain;
use mainstay_rt::secret;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::Sent;
use crate::words::{cut, incident_key, key, line, lines};

/// Of one knock.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);
/// Between knocks; doubles.
const AGAIN: Duration = Duration::from_millis(500);
const KNOCKS: u32 = 3;
/// Whoever asks for more patience is asked again by a later attempt.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES: usize = 300;
/// Of an answer so much is read, so that a message in JSON is found.
const READ_BYTES: usize = 16 << 10;

pub async fn webhook(url: &str, secret_file: &str, platform: &str, notice: &Notice) -> Sent {
    let secret = match secret::read(secret_file) {
        Ok(secret) => secret,
        Err(error) => return unread(&error),
    };
    let body = json!({
        "version": 1,
        "notice": key(platform, notice),
        "platform": platform,
        "incident": notice.incident,
        "kind": notice.kind.as_str(),
        "severity": notice.severity.as_str(),
        "title": notice.title,
        "text": notice.text,
        "things": notice.things,
        "open_ms": notice.open_ms,
        "channel": notice.to.channel,
        "to": notice.to.who,
        "attempt": notice.attempt,
    });
    let body = body.to_string();
    let at = clock::wall_ms() / 1_000;
    let mut headers = HeaderMap::new();
    let signature = format!("t={at},v1={}", signed(&secret, at, &body));
    for (name, text) in [
        ("mainstay-notice", key(platform, notice)),
        ("mainstay-signature", signature),
    ] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    post(url, headers, body).await
}

/// A file that is not there, or that others can read, will not be better in a minute; a host that is out of descriptors, say,
/// may be.
fn unread(error: &secret::SecretError) -> Sent {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let why = chain(error);
    match error {
        secret::SecretError::Read(_, source)
            if !matches!(source.kind(), NotFound | PermissionDenied) =>
        {
            Sent::Later { why }
        }
        _ => Sent::Refused { why },
    }
}

/// HMAC-SHA256 over the moment, a dot and the body, hexadecimal: an old request cannot be given as a new one.
fn signed(secret: &str, at: u64, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        // Keys of any length are taken.
        return String::new();
    };
    mac.update(format!("{at}.{body}").as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub async fn slack(url_file: &str, platform: &str, notice: &Notice) -> Sent {
    let url = match secret::read(url_file) {
        Ok(url) => url,
        Err(error) => return unread(&error),
    };
    // Slack's three control characters.
    let text = lines(platform, notice)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let body = json!({ "text": cut(&text, 3_000) });
    post(&url, HeaderMap::new(), body.to_string()).await
}

pub async fn pagerduty(url: &str, key_file: &str, platform: &str, notice: &Notice) -> Sent {
    let routing_key = match secret::read(key_file) {
        Ok(key) => key,
        Err(error) => return unread(&error),
    };
    let action = match notice.kind {
        Kind::Trigger | Kind::Update | Kind::Remind | Kind::Say => "trigger",
        Kind::Acknowledge => "acknowledge",
        Kind::Resolve => "resolve",
    };
    let mut body = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": incident_key(platform, notice),
    });
    if action == "trigger" {
        body["payload"] = json!({
            "summary": cut(&line(platform, notice), 1_024),
            "source": platform,
            "severity": notice.severity.as_str(),
            "component": notice.things.first(),
            "custom_details": {
                "incident": notice.incident,
                "text": notice.text,
                "things": notice.things,
                "notice": key(platform, notice),
            },
        });
    }
    post(url, HeaderMap::new(), body.to_string()).await
}

/// What one knock came to.
enum Knock {
    Done(Sent),
    Again {
        why: String,
        after: Option<Duration>,
    },
}

async fn post(url: &str, headers: HeaderMap, body: String) -> Sent {
    let client = Client::builder()
        .timeout(ANSWER_LIMIT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent("mainstay")
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Sent::Later { why: told(error) },
    };
    let mut pause = AGAIN;
    let mut last = String::new();
    for knock in 1..=KNOCKS {
        match self::knock(&client, url, &headers, &body).await {
            Knock::Done(sent) => return sent,
            Knock::Again { why, after } => {
                if after.is_some_and(|after| after > PATIENCE) {
                    return Sent::Later { why };
                }
                pause = after.unwrap_or(pause);
                last = why;
            }
        }
        if knock < KNOCKS {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    Sent::Later { why: last }
}

async fn knock(client: &Client, url: &str, headers: &HeaderMap, body: &str) -> Knock {
    let request = client
        .post(url)
        .headers(headers.clone())
        .header("content-type", "application/json")
        .body(body.to_owned());
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_builder() => {
            return Knock::Done(Sent::Refused { why: told(error) });
        }
        Err(error) => {
            return Knock::Again {
                why: told(error),
                after: None,
            };
        }
    };
    let status = answer.status();
    let after = answer.headers().get(RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    let said = beginning(answer).await;
    let why = format!("{status}: {}", words(&said));
    match status {
        status if status.is_success() => Knock::Done(Sent::Said { detail: why }),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Knock::Again { why, after },
        status if status.is_server_error() => Knock::Again { why, after },
        _ => Knock::Done(Sent::Refused { why }),
    }
}

/// What an answer begins with. The rest, however long, is nobody's.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut said = Vec::new();
    while said.len() < READ_BYTES
        && let Ok(Some(more)) = answer.chunk().await
    {
        said.extend_from_slice(&more);
    }
    said.truncate(READ_BYTES);
    String::from_utf8_lossy(&said).into_owned()
}

/// The URL may be the secret.
fn told(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

/// An answer in a line.
fn words(text: &str) -> String {
    let message = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|value| value["message"].as_str().map(str::to_owned));
    let text = message.unwrap_or_else(|| text.to_owned());
    cut(&text.replace(['\r', '\n'], " "), ANSWER_BYTES)
}
