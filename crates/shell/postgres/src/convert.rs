//! Between the core's types and their JSON forms.
//!
//! Going out never fails. Coming in can: a number that does not fit, an incarnation that is not
//! hexadecimal. What cannot be read is refused whole.

use std::time::Duration;

use mainstay_keeper as core;
use mainstay_record::keeper_message as form;
use mainstay_units::{Incarnation, Instant, Lsn, SystemIdentifier, Term, Timeline};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    #[error("read an incarnation: not 32 hexadecimal digits")]
    Incarnation,
    #[error("read a record: written in a version that this program does not know")]
    Version,
}

/// Two enums with the same names, both ways; coming in, a word of a later version is what stands last.
macro_rules! same {
    ($out:ident, $in:ident, $core:ty, $form:ty, $($name:ident)* $(; $word:pat => $other:expr)?) => {
        fn $out(value: $core) -> $form {
            match value { $(<$core>::$name => <$form>::$name,)* }
        }
        fn $in(value: &$form) -> $core {
            match value {
                $(<$form>::$name => <$core>::$name,)*
                $($word => $other,)?
            }
        }
    };
}

// Who is in a role that is not known is alive, and nothing more: it neither leads nor has it given up to lead.
same!(role_out, role_in, core::Role, form::Role,
    Starting Standby Learner Candidate Primary Fenced Stopped; form::Role::Other(_) => core::Role::Starting);
same!(serviceability_out, serviceability_in, core::Serviceability, form::Serviceability,
    Good Hung NoSlots DeadDisk ReadOnly DiskFull CorruptData);
same!(renewal_out, renewal_in, core::Renewal, form::Renewal,
    NotNeeded Needed Refused; form::Renewal::Other(_) => core::Renewal::NotNeeded);
same!(halt_out, halt_in, core::HaltReason, form::HaltReason,
    PersistFailed ForeignData ForeignCohort Exhausted);

macro_rules! refusals {
    ($($name:ident)*) => {
        fn refusal_out(value: core::Refusal) -> form::Refusal {
            match value {
                $(core::Refusal::$name => form::Refusal::$name,)*
                core::Refusal::Other => form::Refusal::Other("other".to_owned()),
            }
        }
        /// A refusal stays one, whatever its reason.
        fn refusal_in(value: &form::Refusal) -> core::Refusal {
            match value {
                $(form::Refusal::$name => core::Refusal::$name,)*
                form::Refusal::Other(_) => core::Refusal::Other,
            }
        }
    };
}

refusals!(PrimaryHeard PrimaryServing LeaseRunning Promised Paused Learner ServerUnready);

/// As [`same`], for the reasons, two of which carry a further enum.
macro_rules! reasons {
    ($($name:ident)*) => {
        fn reason_out(value: core::Reason) -> form::Reason {
            match value {
                $(core::Reason::$name => form::Reason::$name,)*
                core::Reason::Unserviceable(what) => {
                    form::Reason::Unserviceable(serviceability_out(what))
                }
                core::Reason::Halted(why) => form::Reason::Halted(halt_out(why)),
                // Only people beside the primary read these. To peers they are told by the nearest word that every
                // version knows: an early one that cannot read a heartbeat takes its sender for silent.
                core::Reason::Solo => form::Reason::QuorumMissing,
                core::Reason::SoloEnding => form::Reason::Serving,
                core::Reason::Other => form::Reason::Other("other".to_owned()),
            }
        }
        fn reason_in(value: &form::Reason) -> core::Reason {
            match value {
                $(form::Reason::$name => core::Reason::$name,)*
                form::Reason::Unserviceable(what) => {
                    core::Reason::Unserviceable(serviceability_in(what))
                }
                form::Reason::Halted(why) => core::Reason::Halted(halt_in(why)),
                form::Reason::Other(_) => core::Reason::Other,
            }
        }
    };
}

reasons!(JustStarted AwaitingFounding Founding AwaitingMembers Rebuilding Rewinding AwaitingSource
    StartingServer StoppingServer Following LogRemoved LogRemovedNeeded StreamStuck AwaitingPrimary AskingPreVotes Recruiting Recruited
    Promoting AwaitingQuorum Serving QuorumMissing SwitchingOver Isolated Superseded ServerDied
    TimelineMismatch Paused);

fn incarnation_in(text: &str) -> Result<Incarnation, ConvertError> {
    text.parse().map_err(|_| ConvertError::Incarnation)
}

fn promise_out(promise: core::Promise) -> form::Promise {
    form::Promise {
        highest: promise.highest.0,
        coordinator: promise.coordinator.map(|replica| replica.0),
        incarnation: said(promise.incarnation),
        floor: promise.floor.0,
        previous_floor: promise.previous_floor.0,
    }
}

fn promise_in(promise: &form::Promise) -> Result<core::Promise, ConvertError> {
    Ok(core::Promise {
        highest: Term(promise.highest),
        coordinator: promise.coordinator.map(core::ReplicaId),
        incarnation: heard(promise.incarnation.as_deref())?,
        floor: Term(promise.floor),
        previous_floor: Term(promise.previous_floor),
    })
}

fn version_out(version: core::CohortVersion) -> form::CohortVersion {
    form::CohortVersion {
        term: version.term.0,
        epoch: version.epoch,
    }
}

fn version_in(version: form::CohortVersion) -> core::CohortVersion {
    core::CohortVersion {
        term: Term(version.term),
        epoch: version.epoch,
    }
}

fn cohort_out(cohort: &core::Cohort) -> form::Cohort {
    let members = cohort
        .members
        .iter()
        .map(|(replica, member)| (replica.0, member.incarnation.to_string()));
    form::Cohort {
        version: version_out(cohort.version),
        system_identifier: cohort.system_identifier.0,
        members: members.collect(),
        copies: cohort.copies,
        solo: cohort.solo.map(|solo| form::Solo {
            term: solo.term.0,
            primary: solo.primary.0,
            incarnation: solo.incarnation.to_string(),
            from: solo.from.0,
            since_ms: solo.since_ms,
        }),
        losses: cohort.losses.iter().map(loss_out).collect(),
        regained: cohort.regained.iter().map(loss_out).collect(),
        beyond: cohort.beyond.iter().filter_map(beyond_out).collect(),
    }
}

/// The core keeps it as text, which it got from [`cohort_in`].
fn beyond_out((name, text): (&String, &String)) -> Option<(String, serde_json::Value)> {
    Some((name.clone(), serde_json::from_str(text).ok()?))
}

fn solo_in(solo: &form::Solo) -> Result<core::Solo, ConvertError> {
    Ok(core::Solo {
        term: Term(solo.term),
        primary: core::ReplicaId(solo.primary),
        incarnation: incarnation_in(&solo.incarnation)?,
        from: Lsn(solo.from),
        since_ms: solo.since_ms,
    })
}

fn loss_out(loss: &core::Loss) -> form::Loss {
    form::Loss {
        term: loss.term.0,
        timeline: loss.timeline.0,
        after: loss.after.0,
        below: loss.below.0,
        until: loss.until.map(|lsn| lsn.0),
    }
}

fn loss_in(loss: &form::Loss) -> core::Loss {
    core::Loss {
        term: Term(loss.term),
        timeline: Timeline(loss.timeline),
        after: Lsn(loss.after),
        below: Term(loss.below),
        until: loss.until.map(Lsn),
    }
}

fn cohort_in(cohort: &form::Cohort) -> Result<core::Cohort, ConvertError> {
    let mut members = core::Members::default();
    for (replica, incarnation) in &cohort.members {
        let incarnation = incarnation_in(incarnation)?;
        members.insert(core::ReplicaId(*replica), core::Member { incarnation });
    }
    Ok(core::Cohort {
        version: version_in(cohort.version),
        system_identifier: SystemIdentifier(cohort.system_identifier),
        members,
        copies: cohort.copies,
        solo: cohort.solo.as_ref().map(solo_in).transpose()?,
        losses: cohort.losses.iter().map(loss_in).collect(),
        regained: cohort.regained.iter().map(loss_in).collect(),
        beyond: cohort
            .beyond
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
    })
}

fn history_out(history: &core::TimelineHistory) -> Vec<form::HistoryEntry> {
    let entries = history.0.iter().map(|entry| form::HistoryEntry {
        timeline: entry.timeline.0,
        end: entry.end.0,
    });
    entries.collect()
}

fn history_in(history: &[form::HistoryEntry]) -> core::TimelineHistory {
    let entries = history.iter().map(|entry| core::HistoryEntry {
        timeline: Timeline(entry.timeline),
        end: Lsn(entry.end),
    });
    core::TimelineHistory(entries.collect())
}

fn nanos_out(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn heartbeat_out(heartbeat: &core::Heartbeat) -> form::Heartbeat {
    form::Heartbeat {
        sent_ns: heartbeat.sent.as_nanos(),
        role: role_out(heartbeat.role),
        reason: reason_out(heartbeat.reason),
        term: heartbeat.term.0,
        primary: heartbeat.primary.map(|replica| replica.0),
        open: heartbeat.open,
        history: heartbeat.history.as_ref().map(history_out),
        rewind_source: heartbeat.rewind_source,
        promise: promise_out(heartbeat.promise),
        incarnation: heartbeat.incarnation.to_string(),
        cohort: heartbeat.cohort.map(version_out),
        timeline: heartbeat.timeline.0,
        flushed: heartbeat.flushed.0,
        system_identifier: heartbeat.system_identifier.map(|system| system.0),
        blank: heartbeat.blank,
        lost: heartbeat.lost,
        streams: heartbeat.streams,
        renewal: renewal_out(heartbeat.renewal),
        renews: heartbeat.renews.map(|renews| form::Renews {
            replica: renews.replica.0,
            echo_ns: renews.echo.as_nanos(),
        }),
        age_ns: nanos_out(heartbeat.age),
        echo: heartbeat.echo.map(|echo| form::Echo {
            sent_ns: echo.sent.as_nanos(),
            held_ns: nanos_out(echo.held),
        }),
        staying: heartbeat
            .staying
            .map(|staying| staying.iter().map(|replica| replica.0).collect()),
    }
}

fn heartbeat_in(heartbeat: &form::Heartbeat) -> Result<core::Heartbeat, ConvertError> {
    Ok(core::Heartbeat {
        sent: Instant::from_nanos(heartbeat.sent_ns),
        age: Duration::from_nanos(heartbeat.age_ns),
        echo: heartbeat.echo.map(|echo| core::Echo {
            sent: Instant::from_nanos(echo.sent_ns),
            held: Duration::from_nanos(echo.held_ns),
        }),
        role: role_in(&heartbeat.role),
        reason: reason_in(&heartbeat.reason),
        term: Term(heartbeat.term),
        primary: heartbeat.primary.map(core::ReplicaId),
        open: heartbeat.open,
        history: heartbeat.history.as_deref().map(history_in),
        rewind_source: heartbeat.rewind_source,
        promise: promise_in(&heartbeat.promise)?,
        incarnation: incarnation_in(&heartbeat.incarnation)?,
        cohort: heartbeat.cohort.map(version_in),
        timeline: Timeline(heartbeat.timeline),
        flushed: Lsn(heartbeat.flushed),
        system_identifier: heartbeat.system_identifier.map(SystemIdentifier),
        blank: heartbeat.blank,
        lost: heartbeat.lost,
        streams: heartbeat.streams,
        renewal: renewal_in(&heartbeat.renewal),
        renews: heartbeat.renews.map(|renews| core::Renews {
            replica: core::ReplicaId(renews.replica),
            echo: Instant::from_nanos(renews.echo_ns),
        }),
        staying: heartbeat
            .staying
            .as_ref()
            .map(|staying| staying.iter().copied().map(core::ReplicaId).collect()),
    })
}

fn pre_vote_out(verdict: core::PreVote) -> form::PreVote {
    match verdict {
        core::PreVote::Granted => form::PreVote::Granted,
        core::PreVote::Refused(refusal) => form::PreVote::Refused(refusal_out(refusal)),
    }
}

fn pre_vote_in(verdict: &form::PreVote) -> core::PreVote {
    match verdict {
        form::PreVote::Granted => core::PreVote::Granted,
        form::PreVote::Refused(refusal) => core::PreVote::Refused(refusal_in(refusal)),
    }
}

fn report_out(verdict: &core::Report) -> form::Report {
    match verdict {
        core::Report::Recruited {
            incarnation,
            rank,
            cohort,
            known,
        } => form::Report::Recruited {
            incarnation: incarnation.to_string(),
            rank: form::Rank {
                timeline: rank.timeline.0,
                lsn: rank.lsn.0,
                history: history_out(&rank.history),
            },
            cohort: cohort.as_deref().map(cohort_out).map(Box::new),
            known: known.map(|known| known.0),
        },
        core::Report::Refused { refusal, highest } => form::Report::Refused {
            refusal: refusal_out(*refusal),
            highest: highest.0,
        },
    }
}

fn report_in(verdict: &form::Report) -> Result<core::Report, ConvertError> {
    Ok(match verdict {
        form::Report::Recruited {
            incarnation,
            rank,
            cohort,
            known,
        } => core::Report::Recruited {
            incarnation: incarnation_in(incarnation)?,
            rank: core::Rank {
                timeline: Timeline(rank.timeline),
                lsn: Lsn(rank.lsn),
                history: history_in(&rank.history),
            },
            cohort: cohort.as_deref().map(cohort_in).transpose()?.map(Box::new),
            known: known.map(Term),
        },
        form::Report::Refused { refusal, highest } => core::Report::Refused {
            refusal: refusal_in(refusal),
            highest: Term(*highest),
        },
    })
}

pub fn message_out(message: &core::Message) -> form::Message {
    let body = match &message.body {
        core::Body::Heartbeat(heartbeat) => {
            form::Body::Heartbeat(Box::new(heartbeat_out(heartbeat)))
        }
        core::Body::Grant { term, echo } => form::Body::Grant {
            term: term.0,
            echo_ns: echo.as_nanos(),
        },
        core::Body::AskPreVote { round, term } => form::Body::AskPreVote {
            round: *round,
            term: term.0,
        },
        core::Body::PreVote { round, verdict } => form::Body::PreVote {
            round: *round,
            verdict: pre_vote_out(*verdict),
        },
        core::Body::Recruit { term } => form::Body::Recruit { term: term.0 },
        core::Body::Report { term, to, verdict } => form::Body::Report {
            term: term.0,
            to: said(*to),
            verdict: report_out(verdict),
        },
        core::Body::Promote { term, cohort } => form::Body::Promote {
            term: term.0,
            cohort: Box::new(cohort_out(cohort)),
        },
        core::Body::Abort { term } => form::Body::Abort { term: term.0 },
        core::Body::KeepCohort { cohort } => form::Body::KeepCohort {
            cohort: Box::new(cohort_out(cohort)),
        },
        core::Body::CohortKept {
            version,
            incarnation,
        } => form::Body::CohortKept {
            version: version_out(*version),
            incarnation: incarnation.to_string(),
        },
    };
    form::Message {
        from: message.from.0,
        fingerprint: message.fingerprint,
        lineage: lineage_out(message.lineage),
        incarnation: said(message.incarnation),
        body,
    }
}

/// # Errors
/// When something in it cannot be read.
pub fn message_in(message: &form::Message) -> Result<core::Message, ConvertError> {
    let body = match &message.body {
        form::Body::Heartbeat(heartbeat) => {
            core::Body::Heartbeat(Box::new(heartbeat_in(heartbeat)?))
        }
        form::Body::Grant { term, echo_ns } => core::Body::Grant {
            term: Term(*term),
            echo: Instant::from_nanos(*echo_ns),
        },
        form::Body::AskPreVote { round, term } => core::Body::AskPreVote {
            round: *round,
            term: Term(*term),
        },
        form::Body::PreVote { round, verdict } => core::Body::PreVote {
            round: *round,
            verdict: pre_vote_in(verdict),
        },
        form::Body::Recruit { term } => core::Body::Recruit { term: Term(*term) },
        form::Body::Report { term, to, verdict } => core::Body::Report {
            term: Term(*term),
            to: heard(to.as_deref())?,
            verdict: Box::new(report_in(verdict)?),
        },
        form::Body::Promote { term, cohort } => core::Body::Promote {
            term: Term(*term),
            cohort: Box::new(cohort_in(cohort)?),
        },
        form::Body::Abort { term } => core::Body::Abort { term: Term(*term) },
        form::Body::KeepCohort { cohort } => core::Body::KeepCohort {
            cohort: Box::new(cohort_in(cohort)?),
        },
        form::Body::CohortKept {
            version,
            incarnation,
        } => core::Body::CohortKept {
            version: version_in(*version),
            incarnation: incarnation_in(incarnation)?,
        },
    };
    Ok(core::Message {
        from: core::ReplicaId(message.from),
        fingerprint: message.fingerprint,
        lineage: lineage_in(message.lineage.as_ref())?,
        incarnation: heard(message.incarnation.as_deref())?,
        body,
    })
}

/// Nothing is said of a filling that there was not.
fn said(incarnation: Incarnation) -> Option<String> {
    (incarnation.0 != 0).then(|| incarnation.to_string())
}

fn heard(incarnation: Option<&str>) -> Result<Incarnation, ConvertError> {
    incarnation.map_or(Ok(Incarnation(0)), incarnation_in)
}

fn lineage_out(lineage: core::Lineage) -> Option<form::Lineage> {
    lineage.is_forced().then(|| form::Lineage {
        number: lineage.number,
        seed: lineage.seed.to_string(),
    })
}

fn lineage_in(lineage: Option<&form::Lineage>) -> Result<core::Lineage, ConvertError> {
    let Some(lineage) = lineage else {
        return Ok(core::Lineage::ORIGIN);
    };
    Ok(core::Lineage {
        number: lineage.number,
        seed: incarnation_in(&lineage.seed)?,
    })
}

pub fn durable_out(durable: &core::Durable) -> form::Durable {
    form::Durable {
        version: form::VERSION,
        lineage: lineage_out(durable.lineage),
        promise: promise_out(durable.promise),
        aborted: durable.aborted.map(|term| term.0),
        cohort: durable.cohort.as_ref().map(cohort_out),
        incarnation: durable.incarnation.to_string(),
        paused: durable.paused,
    }
}

/// # Errors
/// When something in it cannot be read.
pub fn durable_in(durable: &form::Durable) -> Result<core::Durable, ConvertError> {
    if durable.version != form::VERSION {
        return Err(ConvertError::Version);
    }
    Ok(core::Durable {
        lineage: lineage_in(durable.lineage.as_ref())?,
        promise: promise_in(&durable.promise)?,
        aborted: durable.aborted.map(Term),
        cohort: durable.cohort.as_ref().map(cohort_in).transpose()?,
        incarnation: incarnation_in(&durable.incarnation)?,
        paused: durable.paused,
    })
}

#[cfg(test)]
mod tests {
    use mainstay_record::keeper_message::{Frame, Said, read};
    use proptest::prelude::*;
    use serde_json::Value;

    use std::collections::BTreeMap;

    use super::*;

    fn cohort() -> core::Cohort {
        let incarnation = Incarnation(u128::MAX);
        core::Cohort {
            copies: Some(3),
            solo: Some(core::Solo {
                term: Term(3),
                primary: core::ReplicaId(2),
                incarnation,
                from: Lsn(70),
                since_ms: 5,
            }),
            losses: vec![core::Loss {
                term: Term(2),
                timeline: Timeline(1),
                after: Lsn(60),
                below: Term(2),
                until: Some(Lsn(65)),
            }],
            regained: vec![core::Loss {
                term: Term(3),
                timeline: Timeline(2),
                after: Lsn(66),
                below: Term(3),
                until: None,
            }],
            beyond: BTreeMap::from([("tide".to_owned(), r#"{"high":[1,2]}"#.to_owned())]),
            version: core::CohortVersion {
                term: Term(4),
                epoch: 9,
            },
            system_identifier: SystemIdentifier(u64::MAX),
            members: [(core::ReplicaId(3), core::Member { incarnation })].into(),
        }
    }

    fn recruited(history: core::TimelineHistory) -> core::Report {
        core::Report::Recruited {
            incarnation: Incarnation(5),
            rank: core::Rank {
                timeline: Timeline(2),
                lsn: Lsn(9),
                history,
            },
            cohort: Some(Box::new(cohort())),
            known: Some(Term(4)),
        }
    }

    fn bodies() -> Vec<core::Body> {
        let history = core::TimelineHistory(vec![core::HistoryEntry {
            timeline: Timeline(1),
            end: Lsn(77),
        }]);
        vec![
            core::Body::Heartbeat(Box::new(core::Heartbeat {
                sent: Instant::from_nanos(u64::MAX),
                age: Duration::from_nanos(12),
                echo: Some(core::Echo {
                    sent: Instant::from_nanos(7),
                    held: Duration::from_nanos(3),
                }),
                role: core::Role::Learner,
                reason: core::Reason::Unserviceable(core::Serviceability::NoSlots),
                term: Term(3),
                primary: Some(core::ReplicaId(2)),
                open: true,
                history: Some(history.clone()),
                rewind_source: true,
                promise: core::Promise {
                    highest: Term(5),
                    coordinator: Some(core::ReplicaId(1)),
                    incarnation: Incarnation(3),
                    floor: Term(4),
                    previous_floor: Term(2),
                },
                incarnation: Incarnation(1),
                cohort: Some(cohort().version),
                timeline: Timeline(3),
                flushed: Lsn(u64::MAX),
                system_identifier: Some(SystemIdentifier(8)),
                blank: true,
                lost: true,
                streams: true,
                renewal: core::Renewal::Needed,
                renews: Some(core::Renews {
                    replica: core::ReplicaId(3),
                    echo: Instant::from_millis(4),
                }),
                staying: Some([1, 2, 200].map(core::ReplicaId).into_iter().collect()),
            })),
            core::Body::Grant {
                term: Term(1),
                echo: Instant::from_millis(5),
            },
            core::Body::PreVote {
                round: 7,
                verdict: core::PreVote::Refused(core::Refusal::LeaseRunning),
            },
            core::Body::Report {
                term: Term(6),
                to: Incarnation(8),
                verdict: Box::new(recruited(history)),
            },
            core::Body::Promote {
                term: Term(6),
                cohort: Box::new(cohort()),
            },
            core::Body::CohortKept {
                version: cohort().version,
                incarnation: Incarnation(6),
            },
        ]
    }

    #[test]
    fn messages_survive_the_way_through_json() {
        for body in bodies() {
            let message = core::Message {
                from: core::ReplicaId(2),
                fingerprint: u64::MAX,
                lineage: core::Lineage {
                    number: 2,
                    seed: Incarnation(u128::MAX - 1),
                },
                incarnation: Incarnation(7),
                body,
            };
            let text = serde_json::to_string(&message_out(&message)).unwrap();
            let back = message_in(&serde_json::from_str(&text).unwrap());
            assert_eq!(back, Ok(message), "{text}");
        }
    }

    /// Calls `change` with every object and every word in it, and where it stands.
    fn walk(value: &mut Value, path: &str, change: &mut impl FnMut(&str, &mut Value)) {
        change(path, value);
        let children: Vec<(String, &mut Value)> = match value {
            Value::Object(fields) => fields.iter_mut().map(|(k, v)| (k.clone(), v)).collect(),
            Value::Array(items) => items
                .iter_mut()
                .map(|item| ("*".to_owned(), item))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        for (name, child) in children {
            walk(child, &format!("{path}/{name}"), change);
        }
    }

    fn cohort_of(body: &mut core::Body) -> Option<&mut core::Cohort> {
        match body {
            core::Body::Promote { cohort, .. } | core::Body::KeepCohort { cohort } => Some(cohort),
            core::Body::Report { verdict, .. } => match verdict.as_mut() {
                core::Report::Recruited { cohort, .. } => cohort.as_deref_mut(),
                core::Report::Refused { .. } => None,
            },
            _ => None,
        }
    }

    fn framed(body: core::Body) -> Value {
        let message = core::Message {
            from: core::ReplicaId(2),
            fingerprint: 1,
            lineage: core::Lineage::ORIGIN,
            incarnation: Incarnation(0),
            body,
        };
        serde_json::to_value(Frame::Message(message_out(&message))).unwrap()
    }

    fn heard(frame: &Value) -> Option<core::Body> {
        match read(frame.to_string().as_bytes()).unwrap() {
            Said::Message(message) => Some(message_in(&message).ok()?.body),
            Said::Hello(_) | Said::Beyond { .. } => None,
        }
    }

    proptest! {
        /// A field more, anywhere, changes nothing; in a record it is kept.
        #[test]
        fn fields_of_a_later_version_are_passed_over(
            which in 0..6_usize, place in any::<prop::sample::Index>(), name in "x[a-z]{0,8}",
        ) {
            let body = bodies().swap_remove(which);
            let mut frame = framed(body.clone());
            let mut places = Vec::new();
            walk(&mut frame, "", &mut |path, value| {
                // What has but one key names a variant, and members are replicas, not fields.
                let fields = value.as_object().is_some_and(|object| object.len() > 1);
                if fields && !path.ends_with("/members") && !path.ends_with("/tide") {
                    places.push(path.to_owned());
                }
            });
            let chosen = place.get(&places).clone();
            walk(&mut frame, "", &mut |path, value| {
                if path == chosen {
                    value[&name] = serde_json::json!({"term": 99, "granted": true});
                }
            });
            let mut expected = body;
            if chosen.ends_with("/cohort")
                && let Some(cohort) = cohort_of(&mut expected)
            {
                let text = r#"{"granted":true,"term":99}"#.to_owned();
                cohort.beyond.insert(name, text);
            }
            prop_assert_eq!(heard(&frame), Some(expected.clone()));
            prop_assert_eq!(heard(&framed(expected.clone())), Some(expected));
        }

        /// A word that is not known, in the place of any other, never turns a message into another one, nor a
        /// refusal into consent.
        #[test]
        fn unknown_words_are_no_consent(
            which in 0..6_usize, place in any::<prop::sample::Index>(), word in "[a-z_]{0,12}",
        ) {
            let body = bodies().swap_remove(which);
            let mut frame = framed(body.clone());
            let mut places = Vec::new();
            walk(&mut frame, "", &mut |path, value| {
                if value.is_string() || value.as_object().is_some_and(|object| object.len() == 1) {
                    places.push(path.to_owned());
                }
            });
            let chosen = place.get(&places).clone();
            walk(&mut frame, "", &mut |path, value| {
                if path != chosen {
                } else if let Some(content) = value.as_object().and_then(|o| o.values().next()) {
                    *value = serde_json::json!({format!("x{word}"): content});
                } else {
                    *value = format!("x{word}").into();
                }
            });
            if let Some(heard) = heard(&frame) {
                use std::mem::discriminant;
                prop_assert_eq!(discriminant(&heard), discriminant(&body));
                match (heard, body) {
                    (core::Body::PreVote { verdict, .. }, _) => {
                        prop_assert_eq!(verdict, core::PreVote::Refused(core::Refusal::Other));
                    }
                    (core::Body::Heartbeat(heard), core::Body::Heartbeat(said)) => {
                        prop_assert!(heard.role == said.role || heard.role == core::Role::Starting);
                        prop_assert!(
                            heard.reason == said.reason || heard.reason == core::Reason::Other
                        );
                    }
                    // A field of a record that this version does not know may say what it likes.
                    (mut heard, mut said) => {
                        for body in [&mut heard, &mut said] {
                            if let Some(cohort) = cohort_of(body) {
                                cohort.beyond.clear();
                            }
                        }
                        prop_assert_eq!(heard, said);
                    }
                }
            }
        }
    }

    /// The next version says more than this one knows, and the last one said less.
    #[test]
    fn another_version_is_understood() {
        let body = bodies().swap_remove(0);
        let message = core::Message {
            from: core::ReplicaId(2),
            fingerprint: 1,
            lineage: core::Lineage::ORIGIN,
            incarnation: Incarnation(0),
            body,
        };
        let mut value = serde_json::to_value(message_out(&message)).unwrap();
        value["weather"] = "fair".into();
        let heartbeat = value["body"]["heartbeat"].as_object_mut().unwrap();
        heartbeat.insert("tide".to_owned(), 3.into());
        let form = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(message_in(&form), Ok(message));
        let heartbeat = value["body"]["heartbeat"].as_object_mut().unwrap();
        heartbeat.remove("renewal");
        heartbeat.remove("renews");
        let form = serde_json::from_value(value).unwrap();
        let Ok(core::Message {
            body: core::Body::Heartbeat(heard),
            ..
        }) = message_in(&form)
        else {
            panic!("a heartbeat");
        };
        assert_eq!(
            (heard.renewal, heard.renews),
            (core::Renewal::NotNeeded, None)
        );
    }

    #[test]
    fn the_record_survives_and_another_version_is_refused() {
        let durable = core::Durable {
            lineage: core::Lineage {
                number: 1,
                seed: Incarnation(9),
            },
            promise: core::Promise::default(),
            aborted: Some(Term(3)),
            cohort: Some(cohort()),
            incarnation: Incarnation(4),
            paused: true,
        };
        let mut form = durable_out(&durable);
        assert_eq!(durable_in(&form), Ok(durable));
        form.incarnation.push('0');
        assert_eq!(durable_in(&form), Err(ConvertError::Incarnation));
        form.version += 1;
        assert_eq!(durable_in(&form), Err(ConvertError::Version));
    }
}
