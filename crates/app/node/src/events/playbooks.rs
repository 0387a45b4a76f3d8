//! Playbooks as stored and sent. A book travels as its text, and is read again from it.

use std::sync::Arc;

use mainstay_manifest::load_playbook;
use mainstay_playbook::guard::Target;
use mainstay_playbook::{
    Ask, Book, Condition, Ending, Event, Expiry, IncidentState, Look, Opening, Origin, Purpose,
    RunId, Source, Who,
};
use mainstay_record::playbook::{
    ConditionRecord, LookRecord, OpeningRecord, OriginRecord, PlaybookAsk, PlaybookBody,
    TargetRecord, WhoRecord,
};

use super::ReadError;
use crate::context::digest_of;

mod acts;

use acts::{act_of, act_record};

pub(super) fn playbook_body(event: &Event) -> PlaybookBody {
    match event {
        Event::Adopted {
            digest,
            text,
            source,
            by,
            reason,
            ..
        } => PlaybookBody::Adopted {
            digest: digest.clone(),
            text: text.clone(),
            named: *source == Source::File,
            by: who_record(by),
            reason: reason.clone(),
        },
        Event::Withdrawn { book, by, reason } => PlaybookBody::Withdrawn {
            playbook: book.clone(),
            by: who_record(by),
            reason: reason.clone(),
        },
        Event::Opened {
            run,
            book,
            values,
            origin,
            opening,
        } => PlaybookBody::Opened {
            run: run.to_string(),
            playbook: book.clone(),
            values: values.clone(),
            origin: origin_record(origin),
            opening: opening_record(opening),
        },
        Event::Declined { book, origin, why } => PlaybookBody::Declined {
            playbook: book.clone(),
            origin: origin_record(origin),
            why: why.clone(),
        },
        Event::Begun {
            run,
            step,
            attempt,
            undo,
            act,
        } => PlaybookBody::Begun {
            run: run.to_string(),
            step: *step,
            attempt: *attempt,
            undo: *undo,
            act: act_record(act),
        },
        Event::Looked {
            run,
            step,
            purpose,
            look,
        } => PlaybookBody::Looked {
            run: run.to_string(),
            step: *step,
            purpose: purpose.as_str().to_owned(),
            look: look_record(look),
        },
        Event::Approved { .. }
        | Event::Started { .. }
        | Event::Skipped { .. }
        | Event::Failed { .. }
        | Event::Asks { .. }
        | Event::Aborted { .. }
        | Event::Ended { .. } => course_body(event),
    }
}

/// What happens to a run between its steps.
fn course_body(event: &Event) -> PlaybookBody {
    let text = |run: &RunId| run.to_string();
    match event {
        Event::Approved { run, by, reason } => PlaybookBody::Approved {
            run: text(run),
            by: by.as_ref().map(who_record),
            reason: reason.clone(),
        },
        Event::Started { run, targets } => PlaybookBody::Started {
            run: text(run),
            targets: targets.iter().map(target_record).collect(),
        },
        Event::Skipped { run, step, why } => PlaybookBody::Skipped {
            run: text(run),
            step: *step,
            why: why.clone(),
        },
        Event::Failed { run, step, why } => PlaybookBody::Failed {
            run: text(run),
            step: *step,
            why: why.clone(),
        },
        Event::Asks { run, why } => PlaybookBody::Asks {
            run: text(run),
            why: why.clone(),
        },
        Event::Aborted {
            run,
            undo,
            by,
            reason,
        } => PlaybookBody::Aborted {
            run: text(run),
            undo: *undo,
            by: who_record(by),
            reason: reason.clone(),
        },
        Event::Ended { run, ending, why } => PlaybookBody::Ended {
            run: text(run),
            ending: ending.as_str().to_owned(),
            why: why.clone(),
        },
        Event::Adopted { .. }
        | Event::Withdrawn { .. }
        | Event::Opened { .. }
        | Event::Declined { .. }
        | Event::Begun { .. }
        | Event::Looked { .. } => playbook_body(event),
    }
}

fn run_of(text: &str) -> Result<RunId, ReadError> {
    text.parse().map_err(|()| ReadError::Form("run"))
}

fn book_of(text: &str) -> Result<Arc<Book>, ReadError> {
    let book = load_playbook("playbook", text).map_err(|_| ReadError::Form("playbook"))?;
    Ok(Arc::new(book))
}

pub(super) fn playbook_event(body: PlaybookBody) -> Result<Event, ReadError> {
    Ok(match body {
        PlaybookBody::Adopted {
            digest,
            text,
            named,
            by,
            reason,
        } => Event::Adopted {
            book: book_of(&text)?,
            digest,
            text,
            source: source_of(named),
            by: who_of(by),
            reason,
        },
        PlaybookBody::Withdrawn {
            playbook,
            by,
            reason,
        } => Event::Withdrawn {
            book: playbook,
            by: who_of(by),
            reason,
        },
        PlaybookBody::Opened {
            run,
            playbook,
            values,
            origin,
            opening,
        } => Event::Opened {
            run: run_of(&run)?,
            book: playbook,
            values,
            origin: origin_of(origin)?,
            opening: opening_of(&opening),
        },
        PlaybookBody::Declined {
            playbook,
            origin,
            why,
        } => Event::Declined {
            book: playbook,
            origin: origin_of(origin)?,
            why,
        },
        PlaybookBody::Begun {
            run,
            step,
            attempt,
            undo,
            act,
        } => Event::Begun {
            run: run_of(&run)?,
            step,
            attempt,
            undo,
            act: act_of(act)?,
        },
        body => course_event(body)?,
    })
}

fn source_of(named: bool) -> Source {
    match named {
        true => Source::File,
        false => Source::Person,
    }
}

fn course_event(body: PlaybookBody) -> Result<Event, ReadError> {
    Ok(match body {
        PlaybookBody::Looked {
            run,
            step,
            purpose,
            look,
        } => Event::Looked {
            run: run_of(&run)?,
            step,
            purpose: Purpose::ALL
                .into_iter()
                .find(|known| known.as_str() == purpose)
                .ok_or(ReadError::Form("purpose"))?,
            look: look_of(look),
        },
        PlaybookBody::Approved { run, by, reason } => Event::Approved {
            run: run_of(&run)?,
            by: by.map(who_of),
            reason,
        },
        PlaybookBody::Started { run, targets } => Event::Started {
            run: run_of(&run)?,
            targets: targets.into_iter().map(target_of).collect(),
        },
        PlaybookBody::Skipped { run, step, why } => Event::Skipped {
            run: run_of(&run)?,
            step,
            why,
        },
        PlaybookBody::Failed { run, step, why } => Event::Failed {
            run: run_of(&run)?,
            step,
            why,
        },
        PlaybookBody::Asks { run, why } => Event::Asks {
            run: run_of(&run)?,
            why,
        },
        PlaybookBody::Aborted {
            run,
            undo,
            by,
            reason,
        } => Event::Aborted {
            run: run_of(&run)?,
            undo,
            by: who_of(by),
            reason,
        },
        PlaybookBody::Ended { run, ending, why } => Event::Ended {
            run: run_of(&run)?,
            ending: Ending::ALL
                .into_iter()
                .find(|known| known.as_str() == ending)
                .ok_or(ReadError::Form("ending"))?,
            why,
        },
        PlaybookBody::Adopted { .. }
        | PlaybookBody::Withdrawn { .. }
        | PlaybookBody::Opened { .. }
        | PlaybookBody::Declined { .. }
        | PlaybookBody::Begun { .. } => return Err(ReadError::Form("playbook event")),
    })
}

fn who_record(who: &Who) -> WhoRecord {
    WhoRecord {
        uid: who.uid,
        operator: who.operator.clone(),
    }
}

fn who_of(record: WhoRecord) -> Who {
    Who {
        uid: record.uid,
        operator: record.operator,
    }
}

fn origin_record(origin: &Origin) -> OriginRecord {
    match origin {
        Origin::Alert { watch, alert } => OriginRecord::Alert {
            watch: watch.clone(),
            alert: alert.clone(),
        },
        Origin::Incident { incident, state } => OriginRecord::Incident {
            incident: incident.clone(),
            state: state.as_str().to_owned(),
        },
        Origin::Schedule => OriginRecord::Schedule {},
        Origin::Person { by, reason } => OriginRecord::Person {
            by: who_record(by),
            reason: reason.clone(),
        },
    }
}

fn origin_of(record: OriginRecord) -> Result<Origin, ReadError> {
    Ok(match record {
        OriginRecord::Alert { watch, alert } => Origin::Alert { watch, alert },
        OriginRecord::Incident { incident, state } => Origin::Incident {
            incident,
            state: IncidentState::parse(&state).ok_or(ReadError::Form("state of an incident"))?,
        },
        OriginRecord::Schedule {} => Origin::Schedule,
        OriginRecord::Person { by, reason } => Origin::Person {
            by: who_of(by),
            reason,
        },
    })
}

fn opening_record(opening: &Opening) -> OpeningRecord {
    match opening {
        Opening::Observes => OpeningRecord::Observes {},
        Opening::Goes => OpeningRecord::Goes {},
        Opening::Waits {
            until_ms,
            needs,
            expiry,
        } => OpeningRecord::Waits {
            until_ms: *until_ms,
            needs: *needs,
            proceeds: *expiry == Expiry::Proceed,
        },
    }
}

fn opening_of(record: &OpeningRecord) -> Opening {
    match record {
        OpeningRecord::Observes {} => Opening::Observes,
        OpeningRecord::Goes {} => Opening::Goes,
        OpeningRecord::Waits {
            until_ms,
            needs,
            proceeds,
        } => Opening::Waits {
            until_ms: *until_ms,
            needs: *needs,
            expiry: match proceeds {
                true => Expiry::Proceed,
                false => Expiry::Refuse,
            },
        },
    }
}

fn target_record(target: &Target) -> TargetRecord {
    match target.clone() {
        Target::Database(database) => TargetRecord::Database { database },
        Target::Host(host) => TargetRecord::Host { host },
        Target::Instance { host, instance } => TargetRecord::Instance { host, instance },
        Target::Service(service) => TargetRecord::Service { service },
        Target::Faults => TargetRecord::Faults {},
    }
}

fn target_of(record: TargetRecord) -> Target {
    match record {
        TargetRecord::Database { database } => Target::Database(database),
        TargetRecord::Host { host } => Target::Host(host),
        TargetRecord::Instance { host, instance } => Target::Instance { host, instance },
        TargetRecord::Service { service } => Target::Service(service),
        TargetRecord::Faults {} => Target::Faults,
    }
}

fn look_record(look: &Look) -> LookRecord {
    LookRecord {
        condition: match look.condition.clone() {
            Condition::Query(promql) => ConditionRecord::Query { promql },
            Condition::Ready { host, instance } => ConditionRecord::Ready { host, instance },
            Condition::Alive { host, instance } => ConditionRecord::Alive { host, instance },
            Condition::Primary { database, region } => {
                ConditionRecord::Primary { database, region }
            }
            Condition::Replica { database, host } => ConditionRecord::Replica { database, host },
            Condition::NoFaults => ConditionRecord::NoFaults {},
            Condition::Quiet { alert } => ConditionRecord::Quiet { alert },
            Condition::Instances { service, ready } => {
                ConditionRecord::Instances { service, ready }
            }
            Condition::Shifted {
                service,
                from,
                share,
            } => ConditionRecord::Shifted {
                service,
                from,
                share,
            },
            Condition::Mode { service, mode } => ConditionRecord::Mode { service, mode },
        },
        within_ms: look.within_ms,
        hold_ms: look.hold_ms,
        host: look.host.clone(),
    }
}

fn look_of(record: LookRecord) -> Look {
    Look {
        condition: match record.condition {
            ConditionRecord::Query { promql } => Condition::Query(promql),
            ConditionRecord::Ready { host, instance } => Condition::Ready { host, instance },
            ConditionRecord::Alive { host, instance } => Condition::Alive { host, instance },
            ConditionRecord::Primary { database, region } => {
                Condition::Primary { database, region }
            }
            ConditionRecord::Replica { database, host } => Condition::Replica { database, host },
            ConditionRecord::NoFaults {} => Condition::NoFaults,
            ConditionRecord::Quiet { alert } => Condition::Quiet { alert },
            ConditionRecord::Instances { service, ready } => {
                Condition::Instances { service, ready }
            }
            ConditionRecord::Shifted {
                service,
                from,
                share,
            } => Condition::Shifted {
                service,
                from,
                share,
            },
            ConditionRecord::Mode { service, mode } => Condition::Mode { service, mode },
        },
        within_ms: record.within_ms,
        hold_ms: record.hold_ms,
        host: record.host,
    }
}

pub(super) fn playbook_ask_record(ask: &Ask) -> PlaybookAsk {
    match ask.clone() {
        Ask::Adopt { text, source, .. } => PlaybookAsk::Adopt {
            text,
            named: source == Source::File,
        },
        Ask::Withdraw { book } => PlaybookAsk::Withdraw { playbook: book },
        Ask::Run { book, values } => PlaybookAsk::Run {
            playbook: book,
            values,
        },
        Ask::Approve { run } => PlaybookAsk::Approve { run },
        Ask::Abort { run, undo } => PlaybookAsk::Abort { run, undo },
    }
}

/// # Errors
/// When the text of a playbook is none.
pub fn playbook_ask(record: PlaybookAsk) -> Result<Ask, ReadError> {
    Ok(match record {
        PlaybookAsk::Adopt { text, named } => Ask::Adopt {
            digest: digest_of(text.as_bytes()),
            book: book_of(&text)?,
            source: source_of(named),
            text,
        },
        PlaybookAsk::Withdraw { playbook } => Ask::Withdraw { book: playbook },
        PlaybookAsk::Run { playbook, values } => Ask::Run {
            book: playbook,
            values,
        },
        PlaybookAsk::Approve { run } => Ask::Approve { run },
        PlaybookAsk::Abort { run, undo } => Ask::Abort { run, undo },
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::acts::acts;
    use super::*;

    fn text() -> String {
        "what \"stands\" here".to_owned()
    }

    fn who() -> Who {
        Who {
            uid: 7,
            operator: Some("ada".to_owned()),
        }
    }

    fn adopted() -> (String, String, Arc<Book>) {
        let text = include_str!("../../../../../examples/exchange/playbooks/move-ledger.yaml");
        let book = load_playbook("move-ledger.yaml", text).expect("it is read");
        (digest_of(text.as_bytes()), text.to_owned(), Arc::new(book))
    }

    fn conditions() -> Vec<Condition> {
        let (host, instance) = ("h1".to_owned(), "venue".to_owned());
        vec![
            Condition::Query("up == 1".to_owned()),
            Condition::Ready {
                host: host.clone(),
                instance: instance.clone(),
            },
            Condition::Alive { host, instance },
            Condition::Primary {
                database: "ledger".to_owned(),
                region: "r1".to_owned(),
            },
            Condition::Replica {
                database: "ledger".to_owned(),
                host: "h1".to_owned(),
            },
            Condition::NoFaults,
            Condition::Quiet { alert: text() },
            Condition::Instances {
                service: "web".to_owned(),
                ready: "2".to_owned(),
            },
            Condition::Shifted {
                service: "web".to_owned(),
                from: "r1".to_owned(),
                share: "30".to_owned(),
            },
            Condition::Mode {
                service: "venue".to_owned(),
                mode: "open".to_owned(),
            },
        ]
    }

    fn openings() -> Vec<(Origin, Opening)> {
        let waits = |expiry| Opening::Waits {
            until_ms: 9,
            needs: 2,
            expiry,
        };
        vec![
            (
                Origin::Alert {
                    watch: "h1".to_owned(),
                    alert: "Slow{a=\"b\"}".to_owned(),
                },
                Opening::Observes,
            ),
            (Origin::Schedule, Opening::Goes),
            (
                Origin::Incident {
                    incident: "i1".to_owned(),
                    state: IncidentState::Mitigated,
                },
                Opening::Goes,
            ),
            (
                Origin::Person {
                    by: who(),
                    reason: text(),
                },
                waits(Expiry::Refuse),
            ),
            (Origin::Schedule, waits(Expiry::Proceed)),
        ]
    }

    fn steps() -> Vec<Event> {
        let (run, step) = (RunId(3), 1);
        let mut events = Vec::new();
        events.extend(
            openings()
                .into_iter()
                .map(|(origin, opening)| Event::Opened {
                    run,
                    book: "b".to_owned(),
                    values: [("host".to_owned(), "h1".to_owned())].into(),
                    origin,
                    opening,
                }),
        );
        events.extend(acts(&text()).into_iter().map(|act| Event::Begun {
            run,
            step,
            attempt: 2,
            undo: act.host().is_none(),
            act,
        }));
        let purposes = Purpose::ALL.into_iter().cycle();
        events.extend(
            conditions()
                .into_iter()
                .zip(purposes)
                .map(|(condition, purpose)| Event::Looked {
                    run,
                    step,
                    purpose,
                    look: Look {
                        host: matches!(condition, Condition::Query(_)).then(|| "h1".to_owned()),
                        condition,
                        within_ms: 5,
                        hold_ms: 6,
                    },
                }),
        );
        events
    }

    fn ends() -> Vec<Event> {
        let run = RunId(3);
        let (by, reason, why, step) = (who(), text(), text(), 1);
        let mut events = vec![
            Event::Skipped {
                run,
                step,
                why: why.clone(),
            },
            Event::Failed {
                run,
                step,
                why: why.clone(),
            },
            Event::Asks {
                run,
                why: why.clone(),
            },
            Event::Aborted {
                run,
                undo: true,
                by,
                reason,
            },
        ];
        events.extend(Ending::ALL.map(|ending| Event::Ended {
            run,
            ending,
            why: why.clone(),
        }));
        events
    }

    pub fn events() -> Vec<Event> {
        let (digest, words, book) = adopted();
        let run = RunId(3);
        let (by, reason, why) = (who(), text(), text());
        let targets = vec![
            Target::Database("ledger".to_owned()),
            Target::Host("h1".to_owned()),
            Target::Instance {
                host: "h1".to_owned(),
                instance: "venue".to_owned(),
            },
            Target::Service("web".to_owned()),
            Target::Faults,
        ];
        let mut events = vec![
            Event::Adopted {
                digest: digest.clone(),
                text: words.clone(),
                book: Arc::clone(&book),
                source: Source::Person,
                by: by.clone(),
                reason: reason.clone(),
            },
            Event::Adopted {
                digest,
                text: words,
                book,
                source: Source::File,
                by: by.clone(),
                reason: reason.clone(),
            },
            Event::Withdrawn {
                book: "b".to_owned(),
                by: by.clone(),
                reason: reason.clone(),
            },
            Event::Declined {
                book: "b".to_owned(),
                origin: Origin::Schedule,
                why: why.clone(),
            },
            Event::Approved {
                run,
                by: None,
                reason: reason.clone(),
            },
            Event::Started { run, targets },
        ];
        events.extend(steps());
        events.extend(ends());
        events
    }

    pub fn asks() -> Vec<Ask> {
        let (digest, text, book) = adopted();
        vec![
            Ask::Adopt {
                digest: digest.clone(),
                text: text.clone(),
                book: Arc::clone(&book),
                source: Source::Person,
            },
            Ask::Adopt {
                digest,
                text,
                book,
                source: Source::File,
            },
            Ask::Withdraw {
                book: "b".to_owned(),
            },
            Ask::Run {
                book: "b".to_owned(),
                values: [("host".to_owned(), "h1".to_owned())].into(),
            },
            Ask::Approve {
                run: "r1".to_owned(),
            },
            Ask::Abort {
                run: "r1".to_owned(),
                undo: true,
            },
        ]
    }
}
