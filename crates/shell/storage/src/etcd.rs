//! Coordination by etcd: the same parts, as values.
//!
//! A part is published by one transaction that expects the *head*, the position behind the last part, and moves it. So
//! of two writers one finds the head elsewhere, also where the parts in question were archived long ago. Its answer may be
//! lost: the same transaction is then sent to the next member, and whoever finds the position taken compares what stands
//! there with what it wrote, byte for byte. Parts are signed, so equal bytes are one's own.
//!
//! Reads are linearizable: a member that is cut off from the others has no answer, and a node that hears none is deaf.
//! The watch only wakes; nothing is believed because of it, so it may begin anew at any time, whatever was compacted.
//! What a node says stands under a lease and goes with it.
//!
//! etcd is made for two gigabytes. Parts that have others behind them are copied to an [`Archive`], looked at there,
//! and then deleted; a reader asks etcd first and the archive second, so it finds a part that moves meanwhile.

mod client;
mod keys;
mod wire;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use mainstay_identity::Identity;
use mainstay_journal::{PART_BYTES_MAX, Part};
use mainstay_rt::{clock, entropy};
use mainstay_units::{Instant, Position};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::client::{CallError, Client};
use self::keys::{Keys, behind};
use self::wire::{
    Bytes, Compare, Delete, LeaseAnswer, LeaseGrant, LeaseId, Nothing, Put, Range, RangeAnswer,
    Request, Streamed, Txn, TxnAnswer, Watch,
};
use crate::archive::Archive;
use crate::folder::Listing;
use crate::port::{Coordination, PortError, PublishError};

pub use self::client::Endpoint;

/// etcd takes requests of 1.5 MiB unless it is told otherwise.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// What a node said is forgotten after this, unless it says more. Longer than any command in it is carried out.
const LEASE: Duration = Duration::from_secs(120);
/// Keys that are listed in one go.
const LISTED_MAX: usize = 1_000;
/// Parts that one call of [`Etcd::archive_sealed`] moves.
const ARCHIVED_MAX: usize = 128;
/// A watch that hears nothing for so long is opened at another member: nodes speak several times a second.
const WATCH_SILENT: Duration = Duration::from_secs(5);
/// What was read with the end of the journal is good for the question after it, and for no later one.
const HEARD_FOR: Duration = Duration::from_millis(20);
const WATCH_PAUSE: Duration = Duration::from_millis(200);
/// gRPC's code for something that is not there.
const CODE_NOT_FOUND: i64 = 5;
/// gRPC's code for an answer that is too large.
const CODE_EXHAUSTED: i64 = 8;

/// Where a platform's journal stands in etcd.
#[derive(Clone)]
pub struct EtcdPlace {
    /// The one asked first comes first.
    pub endpoints: Vec<Endpoint>,
    pub identity: Option<Arc<Identity>>,
    /// Everything of the platform has a key below it.
    pub prefix: String,
    pub archive: Option<Arc<dyn Archive>>,
}

impl std::fmt::Debug for EtcdPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdPlace")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for EtcdPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoints: Vec<String> = self.endpoints.iter().map(Endpoint::to_string).collect();
        let prefix = self.prefix.trim_matches('/');
        write!(f, "etcd at {} below /{prefix}", endpoints.join(", "))
    }
}

/// Instead of a part's bytes, where they are in pieces.
#[derive(Debug, Deserialize, Serialize)]
struct Pieces {
    pieces: usize,
    nonce: String,
    bytes: usize,
}

#[derive(Debug)]
struct Lease {
    id: String,
    renewed: Instant,
}

pub struct Etcd {
    client: Client,
    keys: Keys,
    archive: Option<Arc<dyn Archive>>,
    lease: Option<Lease>,
    refused: Option<String>,
    news: Arc<Notify>,
    /// What the nodes said, read in the same moment as the end of the journal, for the question that comes next.
    heard: Option<(Instant, Vec<(Bytes, Bytes)>)>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd")
            .field("client", &self.client)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Etcd {
    /// Nothing is asked yet: etcd may be away for now.
    pub fn open(place: &EtcdPlace) -> Result<Self, PortError> {
        let client = Client::new(&place.endpoints, place.identity.clone())
            .map_err(PortError::io("prepare calls to etcd"))?;
        Ok(Self {
            client,
            keys: Keys::new(&place.prefix),
            archive: place.archive.clone(),
            lease: None,
            refused: None,
            news: Arc::new(Notify::new()),
            heard: None,
        })
    }

    /// As [`Etcd::open`], and [`Coordination::wait`] is woken by news.
    pub fn open_watching(place: &EtcdPlace) -> Result<Self, PortError> {
        let etcd = Self::open(place)?;
        let range = Range {
            key: Bytes::of(etcd.keys.prefix()),
            range_end: Some(behind(etcd.keys.prefix())),
            ..Range::default()
        };
        let watch = watch(
            etcd.client.endpoints().to_vec(),
            place.identity.clone(),
            range,
            Arc::clone(&etcd.news),
        );
        etcd.client.runtime().spawn(watch);
        Ok(etcd)
    }

    /// Closes the port with a reason, or opens it again.
    pub fn refuse(&mut self, why: Option<String>) {
        self.refused = why;
    }

    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    fn open_or<E>(&self, error: impl FnOnce(String) -> E) -> Result<(), E> {
        match &self.refused {
            Some(why) => Err(error(why.clone())),
            None => Ok(()),
        }
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        what: &str,
        target: &str,
        request: &impl Serialize,
    ) -> Result<T, PortError> {
        self.client
            .call(target, request)
            .map_err(|error| unanswered(what, error))
    }

    /// The head and what stands at a position, in one moment.
    fn look(&mut self, position: Position) -> Result<(Option<Position>, Option<Bytes>), PortError> {
        let txn = Txn {
            success: vec![range(self.keys.head()), range(self.keys.part(position))],
            ..Txn::default()
        };
        let answer: TxnAnswer = self.ask("read the journal", "/v3/kv/txn", &txn)?;
        seen(&answer)
    }

    /// As [`Etcd::look`], and what the nodes say in the same moment: a node asks for both, all the time.
    fn look_and_hear(
        &mut self,
        position: Position,
    ) -> Result<(Option<Position>, Option<Bytes>), PortError> {
        self.heard = None;
        let beats = self.keys.beats();
        let txn = Txn {
            success: vec![
                range(self.keys.head()),
                range(self.keys.part(position)),
                Request::Range(Range {
                    key: Bytes::of(&beats),
                    range_end: Some(behind(&beats)),
                    ..Range::default()
                }),
            ],
            ..Txn::default()
        };
        let answer: TxnAnswer = match self.client.call("/v3/kv/txn", &txn) {
            Ok(answer) => answer,
            // Too much for one answer.
            Err(CallError::Refused { code, .. }) if code == CODE_EXHAUSTED => {
                return self.look(position);
            }
            Err(error) => return Err(unanswered("read the journal", error)),
        };
        let found = seen(&answer)?;
        let beats = answer.responses.into_iter().nth(2);
        let beats = beats.and_then(|beats| beats.response_range);
        let beats = beats.map(|beats| beats.kvs).unwrap_or_default();
        let beats = beats.into_iter().map(|beat| (beat.key, beat.value));
        self.heard = Some((clock::now(), beats.collect()));
        Ok(found)
    }

    /// The bytes of a part whose value is this.
    fn whole(&mut self, position: Position, value: Bytes) -> Result<Vec<u8>, PortError> {
        let Some(pieces) = pieces_of(&value.0) else {
            return Ok(value.0);
        };
        let mut bytes = Vec::new();
        for number in 0..pieces.pieces {
            let key = self.keys.piece(position, &pieces.nonce, number);
            let request = Range {
                key,
                ..Range::default()
            };
            let found: RangeAnswer = self.ask("read a piece", "/v3/kv/range", &request)?;
            let Some(piece) = found.kvs.into_iter().next() else {
                let why = format!("piece {number} of the part at {position} is not there");
                return Err(wrong("read a part", why));
            };
            bytes.extend(piece.value.0);
        }
        if bytes.len() != pieces.bytes {
            let why = format!("the pieces of the part at {position} have another length");
            return Err(wrong("read a part", why));
        }
        Ok(bytes)
    }

    fn archived(&self, position: Position) -> Result<Option<Vec<u8>>, PortError> {
        let Some(archive) = &self.archive else {
            return Ok(None);
        };
        archive
            .get(position)
            .map_err(PortError::io("read the archived journal"))
    }

    /// What the transaction puts for a part: itself, or where its pieces were put.
    fn value_of(&mut self, position: Position, part: &[u8]) -> Result<Bytes, CallError> {
        if part.len() <= VALUE_BYTES_MAX {
            return Ok(Bytes(part.to_vec()));
        }
        let nonce = format!("{:016x}", entropy::u64());
        let mut count = 0;
        for piece in part.chunks(VALUE_BYTES_MAX) {
            let put = Put {
                key: self.keys.piece(position, &nonce, count),
                value: Bytes(piece.to_vec()),
                lease: None,
            };
            let _: Nothing = self.client.call("/v3/kv/put", &put)?;
            count += 1;
        }
        let pieces = Pieces {
            pieces: count,
            nonce,
            bytes: part.len(),
        };
        let value = serde_json::to_vec(&pieces);
        value
            .map(Bytes)
            .map_err(|error| CallError::Lost(error.to_string()))
    }

    /// The transaction did not find what it expected. What stands there may be what it was to write.
    fn judge_taken(
        &mut self,
        position: Position,
        part: &[u8],
        seen: Result<(Option<Position>, Option<Bytes>), PortError>,
    ) -> Result<(), PublishError> {
        let unknown = |error| PublishError::Unknown {
            position,
            source: io::Error::other(error),
        };
        let (head, found) = seen.map_err(unknown)?;
        if let Some(found) = found {
            let there = self.whole(position, found).map_err(unknown)?;
            return match there == part {
                true => Ok(()),
                false => Err(PublishError::Taken(position)),
            };
        }
        match head {
            Some(head) if head > position => Err(PublishError::Taken(position)),
            Some(head) => Err(PublishError::Refused(format!(
                "the journal in etcd ends at position {head}, not at {position}: it was rolled back"
            ))),
            None => Err(PublishError::Refused(
                "etcd holds no journal any more".to_owned(),
            )),
        }
    }

    /// Etcd says no, which is not always so: one that becomes full refuses for want of space what it has just done.
    fn judge_refused(
        &mut self,
        position: Position,
        part: &[u8],
        refused: CallError,
    ) -> Result<(), PublishError> {
        match self.look(position) {
            Ok((head, None)) if head.unwrap_or(Position::ZERO) == position => {
                Err(PublishError::Refused(refused.to_string()))
            }
            seen => self.judge_taken(position, part, seen),
        }
    }

    /// The lease under which this node speaks.
    fn lease(&mut self) -> Result<String, PortError> {
        let now = clock::now();
        if let Some(lease) = &self.lease {
            if now.since(lease.renewed) < LEASE / 3 {
                return Ok(lease.id.clone());
            }
            let request = LeaseId {
                id: lease.id.clone(),
            };
            let renewed: Result<Streamed<LeaseAnswer>, CallError> =
                self.client.call("/v3/lease/keepalive", &request);
            match renewed {
                Ok(Streamed { result: Some(kept) }) if kept.ttl.is_some() => {
                    self.lease = Some(Lease {
                        id: kept.id.clone(),
                        renewed: now,
                    });
                    return Ok(kept.id);
                }
                Ok(_) | Err(CallError::Refused { .. }) => {}
                Err(error) => return Err(unanswered("keep a lease", error)),
            }
        }
        let request = LeaseGrant {
            ttl: LEASE.as_secs().to_string(),
        };
        let granted: LeaseAnswer = self.ask("take a lease", "/v3/lease/grant", &request)?;
        self.lease = Some(Lease {
            id: granted.id.clone(),
            renewed: now,
        });
        Ok(granted.id)
    }

    /// Every key below, in order.
    fn keys_below(&mut self, prefix: &str) -> Result<Vec<Bytes>, PortError> {
        let mut keys: Vec<Bytes> = Vec::new();
        let mut from = Bytes::of(prefix);
        loop {
            let request = Range {
                key: from,
                range_end: Some(behind(prefix)),
                limit: Some(LISTED_MAX.to_string()),
                keys_only: Some(true),
            };
            let answer: RangeAnswer = self.ask("list keys", "/v3/kv/range", &request)?;
            keys.extend(answer.kvs.into_iter().map(|found| found.key));
            let Some(last) = keys.last().filter(|_| answer.more) else {
                return Ok(keys);
            };
            from = last.clone();
            from.0.push(0);
        }
    }

    /// Everything below that was read at once where its values are small, else one by one.
    fn values_below(&mut self, prefix: &str) -> Result<Vec<(Bytes, Bytes)>, PortError> {
        let request = Range {
            key: Bytes::of(prefix),
            range_end: Some(behind(prefix)),
            ..Range::default()
        };
        let all: Result<RangeAnswer, CallError> = self.client.call("/v3/kv/range", &request);
        match all {
            Ok(all) => {
                return Ok(all
                    .kvs
                    .into_iter()
                    .map(|found| (found.key, found.value))
                    .collect());
            }
            Err(CallError::Refused { code, .. }) if code == CODE_EXHAUSTED => {}
            Err(error) => return Err(unanswered("read the heartbeats", error)),
        }
        let mut values = Vec::new();
        for key in self.keys_below(prefix)? {
            let request = Range {
                key: key.clone(),
                ..Range::default()
            };
            let found: RangeAnswer = self.ask("read a heartbeat", "/v3/kv/range", &request)?;
            values.extend(
                found
                    .kvs
                    .into_iter()
                    .map(|found| (key.clone(), found.value)),
            );
        }
        Ok(values)
    }

    /// Copies the oldest parts to the archive and deletes them from etcd, as long as more than `keep` stand there. Says
    /// how many went; some at a time.
    pub fn archive_sealed(&mut self, keep: usize) -> Result<usize, PortError> {
        self.open_or(PortError::Refused)?;
        let Some(archive) = self.archive.clone() else {
            return Ok(0);
        };
        let listed = self.keys_below(&self.keys.parts())?;
        // The last part is what the next one stands on, and stays.
        let surplus = listed.len().saturating_sub(keep.max(1)).min(ARCHIVED_MAX);
        let mut parts = Vec::new();
        for key in listed.iter().take(surplus + 1) {
            let position = self.keys.position(key);
            parts.push(
                position.map_err(|key| wrong("list the parts", format!("foreign key {key}")))?,
            );
        }
        let Some((boundary, sealed)) = parts.split_last().filter(|(_, sealed)| !sealed.is_empty())
        else {
            return Ok(0);
        };
        for position in sealed {
            let Some(part) = self.look(*position)?.1 else {
                // Another node archives as well.
                continue;
            };
            let part = self.whole(*position, part)?;
            let put = archive.put(*position, &part);
            put.map_err(PortError::io("archive a part of the journal"))?;
            let there = self.archived(*position)?;
            if there.as_deref() != Some(part.as_slice()) {
                let why = format!("the archive has other bytes for the part at {position}");
                return Err(wrong("archive the journal", why));
            }
        }
        let delete = |key: String, end| {
            Request::Delete(Delete {
                key: Bytes::of(key),
                range_end: Some(end),
            })
        };
        let txn = Txn {
            success: vec![
                delete(self.keys.parts(), self.keys.part(*boundary)),
                delete(self.keys.pieces(), self.keys.pieces_from(*boundary)),
            ],
            ..Txn::default()
        };
        let _: TxnAnswer = self.ask("delete archived parts", "/v3/kv/txn", &txn)?;
        Ok(sealed.len())
    }

    /// Parts in etcd and in the archive, and names below that no part has.
    pub(crate) fn list(&mut self) -> Result<Listing, PortError> {
        let mut parts = BTreeSet::new();
        let mut foreign = Vec::new();
        for key in self.keys_below(&self.keys.parts())? {
            match self.keys.position(&key) {
                Ok(position) => {
                    parts.insert(position);
                }
                Err(key) => foreign.push(key),
            }
        }
        if let Some(archive) = &self.archive {
            let archived = archive
                .list()
                .map_err(PortError::io("list the archived journal"))?;
            parts.extend(archived.parts);
            foreign.extend(archived.foreign);
        }
        Ok(Listing {
            parts: parts.into_iter().collect(),
            foreign,
            temporary: Vec::new(),
        })
    }

    /// A part from wherever it is; where it is in both places, both must be the same.
    pub(crate) fn read(&mut self, position: Position) -> Result<Vec<u8>, PortError> {
        let here = match self.look(position)?.1 {
            Some(value) => Some(self.whole(position, value)?),
            None => None,
        };
        match (here, self.archived(position)?) {
            (Some(here), Some(archived)) if here != archived => Err(wrong(
                "read a part",
                format!("etcd and the archive have different bytes for the part at {position}"),
            )),
            (Some(part), _) | (None, Some(part)) => Ok(part),
            (None, None) => Err(PortError::io("read a part")(io::ErrorKind::NotFound.into())),
        }
    }

    /// The end of the journal, as etcd has it.
    pub(crate) fn head(&mut self) -> Result<Option<Position>, PortError> {
        Ok(self.look(Position::ZERO)?.0)
    }
}

impl Coordination for Etcd {
    fn append_at(&mut self, position: Position, part: &[u8]) -> Result<(), PublishError> {
        self.open_or(PublishError::Refused)?;
        let parsed = Part::parse(part)
            .map_err(|error| PublishError::Refused(format!("this is no part: {error}")))?;
        let next = position.0 + parsed.entries.len() as u64;
        let failed = |error| match error {
            CallError::Refused { .. } => PublishError::Refused(error.to_string()),
            CallError::Lost(why) => PublishError::Unknown {
                position,
                source: io::Error::new(io::ErrorKind::TimedOut, why),
            },
        };
        let value = self.value_of(position, part).map_err(failed)?;
        let expected = match position {
            Position::ZERO => Compare::is_absent(self.keys.head()),
            position => Compare::value_is(self.keys.head(), position.0.to_string()),
        };
        let put = |key, value| {
            Request::Put(Put {
                key,
                value,
                lease: None,
            })
        };
        let txn = Txn {
            compare: vec![expected, Compare::is_absent(self.keys.part(position))],
            success: vec![
                put(self.keys.part(position), value),
                put(self.keys.head(), Bytes::of(next.to_string())),
            ],
            failure: vec![range(self.keys.head()), range(self.keys.part(position))],
        };
        match self.client.call::<TxnAnswer>("/v3/kv/txn", &txn) {
            Ok(answer) if answer.succeeded => Ok(()),
            Ok(answer) => self.judge_taken(position, part, seen(&answer)),
            Err(error @ CallError::Refused { .. }) => self.judge_refused(position, part, error),
            Err(error) => Err(failed(error)),
        }
    }

    fn read_from(&mut self, position: Position) -> Result<Option<Vec<u8>>, PortError> {
        self.open_or(PortError::Refused)?;
        let (head, part) = self.look_and_hear(position)?;
        if let Some(part) = part {
            return self.whole(position, part).map(Some);
        }
        if head == Some(position) {
            return Ok(None);
        }
        if let Some(part) = self.archived(position)? {
            return Ok(Some(part));
        }
        match head {
            None if position == Position::ZERO => Ok(None),
            None => Err(wrong(
                "follow the journal",
                "etcd holds no journal any more".to_owned(),
            )),
            Some(head) if head < position => Err(wrong(
                "follow the journal",
                format!(
                    "it ends at position {head} and was followed to {position}: it was rolled back"
                ),
            )),
            Some(head) => Err(wrong(
                "follow the journal",
                format!(
                    "the part at position {position} is neither in etcd nor in the archive, and it ends at {head}"
                ),
            )),
        }
    }

    fn heartbeat(&mut self, node: &str, beat: &[u8]) -> Result<(), PortError> {
        self.open_or(PortError::Refused)?;
        // A lease that ended meanwhile is replaced, once.
        for last in [false, true] {
            let lease = self.lease()?;
            let put = Put {
                key: self.keys.beat(node),
                value: Bytes(beat.to_vec()),
                lease: Some(lease),
            };
            match self.client.call::<Nothing>("/v3/kv/put", &put) {
                Ok(_) => return Ok(()),
                Err(CallError::Refused { code, .. }) if code == CODE_NOT_FOUND && !last => {
                    self.lease = None;
                }
                Err(error) => return Err(unanswered("say that this node lives", error)),
            }
        }
        Ok(())
    }

    fn heartbeats(&mut self) -> Result<Vec<(String, Vec<u8>)>, PortError> {
        self.open_or(PortError::Refused)?;
        let prefix = self.keys.beats();
        let just_heard = self
            .heard
            .take()
            .filter(|(at, _)| clock::now().since(*at) < HEARD_FOR);
        let values = match just_heard {
            Some((_, values)) => values,
            None => self.values_below(&prefix)?,
        };
        let mut beats = Vec::new();
        for (key, value) in values {
            let node = key.text().and_then(|key| key.strip_prefix(&prefix));
            beats.extend(node.map(|node| (node.to_owned(), value.0)));
        }
        Ok(beats)
    }

    fn beat_bytes_max(&self) -> usize {
        VALUE_BYTES_MAX
    }

    fn wait(&mut self, limit: Duration) -> Result<bool, PortError> {
        let news = Arc::clone(&self.news);
        self.client.runtime().block_on(async {
            // Too late is as good as news: the caller looks.
            tokio::time::timeout(limit, news.notified()).await.ok();
        });
        Ok(true)
    }
}

/// Wakes whoever waits, at whatever is heard.
async fn watch(
    endpoints: Vec<Endpoint>,
    identity: Option<Arc<Identity>>,
    range: Range,
    news: Arc<Notify>,
) {
    let request = Watch {
        create_request: range,
    };
    let body = serde_json::to_vec(&request).unwrap_or_default();
    for endpoint in endpoints.iter().cycle() {
        let opened = client::stream(endpoint, identity.as_deref(), "/v3/watch", body.clone()).await;
        if let Ok((_sender, mut heard)) = opened {
            while let Ok(Some(Ok(_))) = tokio::time::timeout(WATCH_SILENT, heard.frame()).await {
                news.notify_one();
            }
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// Head and part, as the first two ranges of a transaction found them.
fn seen(answer: &TxnAnswer) -> Result<(Option<Position>, Option<Bytes>), PortError> {
    let head = answer.found(0).map(|found| head_of(&found.value));
    let head = head
        .transpose()
        .map_err(PortError::io("understand the journal's head"))?;
    Ok((head, answer.found(1).map(|found| found.value.clone())))
}

fn range(key: Bytes) -> Request {
    Request::Range(Range {
        key,
        ..Range::default()
    })
}

fn head_of(value: &Bytes) -> io::Result<Position> {
    let head = value.text().and_then(|text| text.parse().ok());
    let why = || format!("{:?} is no position", String::from_utf8_lossy(&value.0));
    head.map(Position)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, why()))
}

/// A part begins with the name of its form, never with a brace.
fn pieces_of(value: &[u8]) -> Option<Pieces> {
    let pieces: Pieces = serde_json::from_slice(value).ok()?;
    (pieces.bytes <= PART_BYTES_MAX && pieces.pieces <= PART_BYTES_MAX / VALUE_BYTES_MAX + 1)
        .then_some(pieces)
}

fn unanswered(what: &str, error: CallError) -> PortError {
    match error {
        CallError::Lost(why) => PortError::Refused(why),
        CallError::Refused { .. } => PortError::io(what)(io::Error::other(error)),
    }
}

fn wrong(what: &str, why: String) -> PortError {
    PortError::io(what)(io::Error::new(io::ErrorKind::InvalidData, why))
}
