//! The door at which others tell of alerts that they raise, in the form of Alertmanager's API, version 2.
//!
//! What is taken is kept before it is acknowledged, so that a sender that believes us may forget it. What it means is
//! decided by `mainstay_rules::received`.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use mainstay_record::watch::WatchAlerts;
use mainstay_rt::files;
use mainstay_rt::http::{Answer, Call, Peer, json, text};
use mainstay_rules::alert::{Active, State};
use mainstay_rules::received::{Full, Inbox, Received, Taken, Told};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json as form};

use crate::doors;
use crate::moment;
use crate::shown::{NAME_MAX, name};
use crate::silences::{self, Asked, Problem};

const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Alerts of one request.
const REQUEST_MAX: usize = 1_000;
/// Labels, or annotations, of one alert.
const LABELS_MAX: usize = 64;
/// Bytes of a label's value, or of an annotation.
const VALUE_MAX: usize = 4_096;
const ALERTNAME: &str = "alertname";

/// Alerts that were received, on disk and in memory.
#[derive(Debug)]
pub struct Post {
    config: WatchAlerts,
    path: PathBuf,
    pub inbox: Inbox,
    /// Words that were not kept because they tell the end of an alert that is not known.
    pub passed: u64,
    /// Since when what is told is remembered without a gap.
    pub begun_ms: u64,
    /// What is on disk, without what every repeat moves.
    kept: Vec<Essence>,
}

type Essence = (std::collections::BTreeMap<String, String>, State, i64);

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// Absent in a file of an earlier version.
    #[serde(default)]
    begun_ms: u64,
    alerts: Vec<Received>,
}

/// One alert of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", default)]
    generator_url: String,
}

impl Post {
    /// As it was left. What cannot be read is put aside, and a word said: senders repeat what still fires.
    pub fn open(config: &WatchAlerts, folder: &Path, now: i64) -> io::Result<Self> {
        let path = folder.join("received.json");
        let now_ms = u64::try_from(now).unwrap_or(0);
        let (begun_ms, saved) = match files::read_limited(&path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (now_ms, Vec::new()),
            Err(error) => return Err(error),
            Ok(bytes) => match serde_json::from_slice::<Kept>(&bytes) {
                Ok(kept) if kept.version == VERSION => (kept.begun_ms, kept.alerts),
                _ => {
                    let aside = folder.join("received.json.unreadable");
                    std::fs::rename(&path, &aside)?;
                    tracing::error!(path = %aside.display(), "alerts that others told of cannot be read and are put aside");
                    (now_ms, Vec::new())
                }
            },
        };
        let inbox = Inbox::restore(saved, now);
        let post = Self {
            config: config.clone(),
            path,
            kept: essence(&inbox),
            inbox,
            passed: 0,
            begun_ms,
        };
        if begun_ms == now_ms {
            // Or the next one would take itself for older than what is told until then.
            post.write()?;
        }
        Ok(post)
    }

    /// What follows from time alone, kept.
    pub fn step(&mut self, now: i64) -> io::Result<()> {
        self.inbox.step(now);
        self.keep()
    }

    fn keep(&mut self) -> io::Result<()> {
        let essence = essence(&self.inbox);
        if essence == self.kept {
            return Ok(());
        }
        self.write()?;
        self.kept = essence;
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let kept = Kept {
            version: VERSION,
            begun_ms: self.begun_ms,
            alerts: self.inbox.save(),
        };
        files::write_atomic(&self.path, &serde_json::to_vec(&kept)?)
    }

    pub fn answer(&mut self, call: &Call, now: i64) -> Answer {
        if let Err(why) = self.admit(call) {
            return json(StatusCode::UNAUTHORIZED, &why);
        }
        match (&call.method, call.path.as_str()) {
            (_, "/-/healthy" | "/-/ready") => text(StatusCode::OK, "OK"),
            (&Method::POST, "/api/v2/alerts") => self.take(call, now),
            (&Method::GET, "/api/v2/alerts") => {
                let standing = self.inbox.alerts();
                let standing = standing.filter(|alert| alert.state != State::Resolved);
                json(StatusCode::OK, &standing.map(shown).collect::<Vec<_>>())
            }
            (&Method::GET, "/api/v2/status") => json(StatusCode::OK, &status()),
            _ => {
                let why = format!("{} {} is not answered here", call.method, call.path);
                json(StatusCode::NOT_FOUND, &why)
            }
        }
    }

    /// What a request asks of silences, and the socket of the node that keeps them; nothing for what is about alerts.
    pub fn silences(&self, call: &Call, now: i64) -> Option<Result<(PathBuf, Asked), Problem>> {
        if !silences::is_about(&call.path) {
            return None;
        }
        if let Err(why) = self.admit(call) {
            return Some(Err(Problem::new(StatusCode::UNAUTHORIZED, why)));
        }
        let Some(node) = &self.config.node_socket else {
            let why = "silences are kept in the journal of a platform, and this watch has none";
            return Some(Err(Problem::new(StatusCode::FORBIDDEN, why)));
        };
        Some(silences::read(call, now).map(|asked| (node.clone(), asked)))
    }

    /// By a leaf of the platform, or by the token.
    fn admit(&self, call: &Call) -> Result<(), String> {
        doors::admit(call, &self.config.token_file)
    }

    fn take_one(&mut self, told: Told, patience: i64, now: i64) -> Result<(), Full> {
        let (sender, starts_at) = (told.sender.clone(), told.starts_at);
        let ends_at = told.ends_at;
        match self.inbox.take(told, patience, now)? {
            Taken::Kept => return Ok(()),
            Taken::Passed => {}
            Taken::Behind { by_ms } => tracing::warn!(
                sender,
                by_ms,
                "alerts are told whose ends pass before they are told, and are not taken: the sender's clock is behind"
            ),
        }
        // Of what never began nothing is lost.
        self.passed += u64::from(starts_at < ends_at);
        Ok(())
    }

    /// Takes every alert that has a form, and says what is wrong with the others.
    fn take(&mut self, call: &Call, now: i64) -> Answer {
        let posted = match serde_json::from_slice::<Vec<Json>>(&call.body) {
            Ok(posted) if posted.len() <= REQUEST_MAX => posted,
            Ok(_) => {
                let why = format!("more than {REQUEST_MAX} alerts in one request");
                return json(StatusCode::BAD_REQUEST, &why);
            }
            Err(error) => {
                let why = format!("the body is no list of alerts: {error}");
                return json(StatusCode::BAD_REQUEST, &why);
            }
        };
        let patience = i64::try_from(self.config.patience_ms).unwrap_or(i64::MAX);
        let (mut wrong, mut full) = (Vec::new(), None);
        for (place, posted) in posted.into_iter().enumerate() {
            match told(posted, &self.config.ignore_labels, call.peer) {
                Ok(told) => full = self.take_one(told, patience, now).err().or(full),
                Err(why) => wrong.push(format!("alert {place}: {why}")),
            }
        }
        if let Err(error) = self.keep() {
            tracing::error!(%error, "alerts that were told of cannot be kept");
            let why = "what was told cannot be kept: tell it again";
            return json(StatusCode::INTERNAL_SERVER_ERROR, &why);
        }
        match (full, wrong.is_empty()) {
            (Some(full), _) => json(StatusCode::TOO_MANY_REQUESTS, &full.to_string()),
            (None, false) => json(StatusCode::BAD_REQUEST, &wrong.join("; ")),
            (None, true) => json(StatusCode::OK, &form!({})),
        }
    }
}

fn essence(inbox: &Inbox) -> Vec<Essence> {
    let each = inbox.alerts();
    each.map(|alert| (alert.labels.clone(), alert.state, alert.active_at))
        .collect()
}

fn told(posted: Json, ignored: &[String], peer: Peer) -> Result<Told, String> {
    let mut posted: Posted = serde_json::from_value(posted).map_err(|error| error.to_string())?;
    posted
        .labels
        .retain(|name, value| !value.is_empty() && !ignored.contains(name));
    if !posted.labels.contains_key(ALERTNAME) {
        return Err("it has no label `alertname`".to_owned());
    }
    for pairs in [&posted.labels, &posted.annotations] {
        if pairs.len() > LABELS_MAX {
            return Err(format!(
                "it has more than {LABELS_MAX} labels or annotations"
            ));
        }
        let long = |(name, value): &(&String, &String)| {
            name.is_empty() || name.len() > VALUE_MAX || value.len() > VALUE_MAX
        };
        if pairs.iter().any(|pair| long(&pair)) {
            return Err(format!(
                "a label or annotation has no name, or more than {VALUE_MAX} bytes"
            ));
        }
    }
    if name(&posted.labels).len() > NAME_MAX {
        return Err(format!(
            "its labels have more than {NAME_MAX} bytes together: it could not be told from others"
        ));
    }
    let moment = |name: &str, text: Option<String>| {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let at = moment::parse(&text).ok_or_else(|| format!("{name} {text:?} is no moment"))?;
        // The zero time of Go means that nothing is said.
        Ok::<_, String>((at > 0).then_some(at))
    };
    Ok(Told {
        starts_at: moment("startsAt", posted.starts_at)?,
        ends_at: moment("endsAt", posted.ends_at)?,
        sender: sender(&posted.generator_url, peer),
        labels: posted.labels,
        annotations: posted.annotations,
    })
}

/// Replicas differ by the place that they say the alert can be looked at; others by where they call from.
fn sender(generator: &str, peer: Peer) -> String {
    let place = generator.split_once("://").and_then(|(_, rest)| {
        let place = rest.split(['/', '?', '#']).next()?;
        (!place.is_empty() && place.len() <= VALUE_MAX).then(|| place.to_owned())
    });
    place.unwrap_or_else(|| match peer {
        Peer::Remote(address) => IpAddr::to_string(&address.ip()),
        Peer::Local { uid, .. } => format!("uid {uid}"),
    })
}

fn shown(alert: &Active) -> Json {
    let updated = alert
        .missing_since
        .or(alert.fired_at)
        .unwrap_or(alert.active_at);
    form!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": moment::show(alert.active_at),
        "endsAt": "0001-01-01T00:00:00.000Z",
        "updatedAt": moment::show(updated),
        "missingSince": alert.missing_since.map(moment::show),
        "fingerprint": fingerprint(alert),
        "generatorURL": "",
        "receivers": [{ "name": "mainstay" }],
        "status": { "state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": [] },
    })
}

/// Sixteen hexadecimal digits, the same for the same labels.
fn fingerprint(alert: &Active) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in &alert.labels {
        for byte in name
            .bytes()
            .chain([0xff])
            .chain(value.bytes())
            .chain([0xff])
        {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// Clients choose by the version what they may ask: of Alertmanager, whose API this follows.
fn status() -> Json {
    form!({
        "cluster": { "status": "disabled", "peers": [] },
        "config": { "original": "" },
        "uptime": "0001-01-01T00:00:00.000Z",
        "versionInfo": {
            "branch": "", "buildDate": "", "buildUser": "", "goVersion": "", "revision": "",
            "version": "0.27.0",
        },
    })
}
