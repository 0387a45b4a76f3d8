//! Rule files as stored, sent and shown.

use mainstay_kernel::{Event, RulesNews, RulesText, State};
use mainstay_record::event::EventBody;
use mainstay_record::rules::{
    AdoptedRulesShown, RulesAdoptedBody, RulesFollowedBody, RulesShown, RulesTextRecord,
};

use super::ReadError;
use super::parts::{by_of, by_record};

pub(super) fn rules_body(news: &RulesNews) -> EventBody {
    match news {
        RulesNews::Adopted { text, by, reason } => EventBody::RulesAdopted(RulesAdoptedBody {
            file: text.file.clone(),
            digest: text.digest.clone(),
            part: text.part,
            parts: text.parts,
            text: text.text.clone(),
            by: by_record(by),
            reason: reason.clone(),
        }),
        RulesNews::Followed {
            watch,
            at_ms,
            files,
        } => EventBody::RulesFollowed(RulesFollowedBody {
            watch: watch.to_string(),
            at_ms: *at_ms,
            files: files.clone(),
        }),
    }
}

pub(super) fn adopted(body: RulesAdoptedBody) -> Result<Event, ReadError> {
    Ok(Event::Rules(RulesNews::Adopted {
        text: RulesText {
            file: body.file,
            digest: body.digest,
            part: body.part,
            parts: body.parts,
            text: body.text,
        },
        by: by_of(body.by)?,
        reason: body.reason,
    }))
}

pub(super) fn followed(body: RulesFollowedBody) -> Result<Event, ReadError> {
    Ok(Event::Rules(RulesNews::Followed {
        watch: body.watch.parse()?,
        at_ms: body.at_ms,
        files: body.files,
    }))
}

pub(super) fn text_record(text: &RulesText) -> RulesTextRecord {
    RulesTextRecord {
        file: text.file.clone(),
        digest: text.digest.clone(),
        part: text.part,
        parts: text.parts,
        text: text.text.clone(),
    }
}

pub fn rules_text_of(record: RulesTextRecord) -> RulesText {
    RulesText {
        file: record.file,
        digest: record.digest,
        part: record.part,
        parts: record.parts,
        text: record.text,
    }
}

/// What the journal says of rule files.
pub fn rules_shown(state: &State) -> RulesShown {
    let adopted = state.rules.adopted.iter().map(|(file, known)| {
        let shown = AdoptedRulesShown {
            digest: known.digest.clone(),
            position: known.position.0,
            at_ms: known.at_ms,
        };
        (file.clone(), shown)
    });
    let followed = state.rules.followed.iter();
    RulesShown {
        version: 1,
        adopted: adopted.collect(),
        followed: followed
            .map(|(watch, files)| (watch.to_string(), files.clone()))
            .collect(),
    }
}

/// One of each kind, for whoever tries them all.
#[cfg(test)]
pub(super) fn samples() -> Vec<RulesNews> {
    let digest = "0f".repeat(32);
    let by = mainstay_kernel::By {
        actor: mainstay_kernel::Actor {
            uid: 7,
            user: Some("grace".to_owned()),
        },
        operator: "grace".parse().ok(),
    };
    let adopted = RulesNews::Adopted {
        text: RulesText {
            file: "a.yaml".to_owned(),
            digest: digest.clone(),
            part: 1,
            parts: 2,
            text: "groups: []\n# \"\u{e9}\"\n".to_owned(),
        },
        by,
        reason: "why not".to_owned(),
    };
    let followed = "h1".parse().ok().map(|watch| RulesNews::Followed {
        watch,
        at_ms: 5,
        files: [("a.yaml".to_owned(), digest)].into(),
    });
    std::iter::once(adopted).chain(followed).collect()
}

#[cfg(test)]
pub(super) fn asked(news: RulesNews) -> Option<mainstay_kernel::Ask> {
    match news {
        RulesNews::Adopted { text, .. } => Some(mainstay_kernel::Ask::AdoptRules(text)),
        RulesNews::Followed { .. } => None,
    }
}

#[cfg(test)]
pub(super) fn told(news: RulesNews) -> Option<mainstay_kernel::Signal> {
    match news {
        RulesNews::Adopted { .. } => None,
        RulesNews::Followed {
            watch,
            at_ms,
            files,
        } => Some(mainstay_kernel::Signal::RulesTold {
            watch,
            at_ms,
            files,
        }),
    }
}
