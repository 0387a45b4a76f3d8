//! What an entry means to the log itself: the few kinds by which keys and leadership are known.

use mainstay_journal::{Entry, Meaning, PublicKey};
use mainstay_record::journal::{
    ClaimedBody, EntryRecord, KIND_CLAIMED, KIND_KEY_ADMITTED, KIND_OPENED, KeyAdmittedBody,
    LOG_KINDS_VERSION, OpenedBody,
};
use mainstay_units::Epoch;

/// For [`mainstay_journal::Log`]. An entry of any kind that is not the log's own is [`Meaning::Other`], known
/// to this version or not.
pub fn meaning_of(entry: &Entry) -> Meaning {
    let Ok(record) = serde_json::from_str::<EntryRecord>(entry.as_str()) else {
        return Meaning::Unreadable;
    };
    let known = matches!(
        record.kind.as_str(),
        KIND_OPENED | KIND_KEY_ADMITTED | KIND_CLAIMED
    );
    if !known {
        return Meaning::Other;
    }
    if record.version != LOG_KINDS_VERSION {
        return Meaning::Unreadable;
    }
    own_kind(&record).unwrap_or(Meaning::Unreadable)
}

fn own_kind(record: &EntryRecord) -> Option<Meaning> {
    let body = record.body.get();
    match record.kind.as_str() {
        KIND_OPENED => {
            let body: OpenedBody = serde_json::from_str(body).ok()?;
            Some(Meaning::Opened {
                origin: Some(body.origin).filter(|origin| is_origin(origin))?,
                key: PublicKey::parse(&body.key).ok()?,
                node: body.node,
            })
        }
        KIND_KEY_ADMITTED => {
            let body: KeyAdmittedBody = serde_json::from_str(body).ok()?;
            Some(Meaning::KeyAdmitted {
                key: PublicKey::parse(&body.key).ok()?,
                node: body.node,
            })
        }
        KIND_CLAIMED => {
            let body: ClaimedBody = serde_json::from_str(body).ok()?;
            (record.epoch == body.epoch).then_some(Meaning::Claimed {
                epoch: Epoch(body.epoch),
                node: body.node,
            })
        }
        _ => None,
    }
}

/// A key name of a signed note has neither spaces nor plus signs; ours is plain ASCII besides.
fn is_origin(origin: &str) -> bool {
    !origin.is_empty()
        && origin.len() <= 200
        && origin
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'+')
}
