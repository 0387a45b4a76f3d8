//! The kernel's events and signals as JSON, and back.
//!
//! What cannot be read back (another version's kind, a name that is none) becomes [`Event::Unknown`]: the node
//! follows on and serves, but does not lead. Refusals come back as code and text: nothing is decided from them.

use mainstay_journal::{Entry, EntryError};
use mainstay_kernel::{
    Actor, Ask, By, Cause, Change, ChangeKind, ClaimReason, Command, EffectId, EndReason, Event,
    FaultKind, FaultSpec, FaultTarget, Outcome, PlacedBecause, Plan, Record, Reflex, Refusal,
    Report, Signal, Step, Subject, WithdrawnBecause,
};
use mainstay_model::name::NameError;
use mainstay_record::event::{
    ActorRecord, AskRecord, ByBody, ChangeRecord, ChangeWord, CommandRefusedBody,
    EffectFinishedBody, EndRecord, EventBody, FaultEndingBody, FaultInjectedBody, FaultSpecRecord,
    FaultTargetRecord, HostLostBody, HostReturnedBody, InstancePlacedBody, InstanceWithdrawnBody,
    OutcomeRecord, PlacedRecord, PlatformAdoptedBody, ReflexRecord, ReportRecord, SignalRecord,
    StepRecord, SubjectWord, SwitchoverOrderedBody, WithdrawnRecord,
};
use mainstay_record::journal::{
    CauseRecord, ClaimReasonRecord, ClaimedBody, EntryRecord, KeyAdmittedBody, OpenedBody,
};
use mainstay_record::process::FaultKind as FaultKindRecord;
use mainstay_units::{Epoch, Generation, Position, Term};

use crate::desired_form::{desired_of, desired_record};

/// Why a record cannot be written as an entry.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("write the event as JSON")]
    Json(#[from] serde_json::Error),
    #[error("write the event as an entry")]
    Entry(#[from] EntryError),
    #[error("an event of unknown kind {0} cannot be written again")]
    Unknown(String),
}

/// Why a form could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("name in a stored form")]
    Name(#[from] NameError),
    #[error("{0} in a stored form")]
    Form(&'static str),
}

/// The entry that stores a record.
///
/// # Errors
/// When it is larger than an entry may be, or of a kind that is not known here.
pub fn encode(record: &Record) -> Result<Entry, EncodeError> {
    let body = body_of(&record.event)?;
    let (kind, version) = body.kind();
    let entry = EntryRecord {
        kind: kind.to_owned(),
        version,
        at_ms: record.at_ms,
        epoch: record.epoch.0,
        cause: record.cause.as_ref().map(|cause| CauseRecord {
            node: cause.node.to_string(),
            number: cause.number,
        }),
        body: body.encode()?,
    };
    Ok(Entry::new(serde_json::to_string(&entry)?)?)
}

/// The record that an entry stores. Never fails: what is not understood is [`Event::Unknown`].
pub fn decode(position: Position, entry: &Entry) -> Record {
    let Ok(stored) = serde_json::from_str::<EntryRecord>(entry.as_str()) else {
        return unknown(position, "unreadable", 0);
    };
    let event = EventBody::decode(&stored.kind, stored.version, &stored.body)
        .ok()
        .flatten()
        .and_then(|body| event_of(body).ok());
    let cause = match stored.cause.map(|cause| (cause.node.parse(), cause.number)) {
        None => Ok(None),
        Some((Ok(node), number)) => Ok(Some(Cause { node, number })),
        Some((Err(_), _)) => Err(()),
    };
    let (Some(event), Ok(cause)) = (event, cause) else {
        let mut record = unknown(position, &stored.kind, stored.version);
        record.at_ms = stored.at_ms;
        record.epoch = Epoch(stored.epoch);
        return record;
    };
    Record {
        position,
        at_ms: stored.at_ms,
        epoch: Epoch(stored.epoch),
        cause,
        event,
    }
}

fn unknown(position: Position, kind: &str, version: u32) -> Record {
    Record {
        position,
        at_ms: 0,
        epoch: Epoch::ZERO,
        cause: None,
        event: Event::Unknown {
            kind: kind.to_owned(),
            version,
        },
    }
}

fn body_of(event: &Event) -> Result<EventBody, EncodeError> {
    log_body(event)
        .or_else(|| platform_body(event))
        .or_else(|| action_body(event))
        .ok_or_else(|| EncodeError::Unknown(format!("{event:?}")))
}

/// Kinds that the log itself lives by, and what operators said.
fn log_body(event: &Event) -> Option<EventBody> {
    Some(match event {
        Event::Opened {
            origin,
            platform,
            node,
            key,
        } => EventBody::Opened(OpenedBody {
            origin: origin.clone(),
            platform: platform.to_string(),
            node: node.to_string(),
            key: key.clone(),
        }),
        Event::KeyAdmitted {
            node,
            key,
            replaces,
        } => EventBody::KeyAdmitted(KeyAdmittedBody {
            node: node.to_string(),
            key: key.clone(),
            replaces: replaces.clone(),
        }),
        Event::Claimed { epoch, node, why } => EventBody::Claimed(ClaimedBody {
            epoch: epoch.0,
            node: node.to_string(),
            why: claim_reason_record(why),
        }),
        Event::Paused { by, reason } => EventBody::Paused(ByBody {
            by: by_record(by),
            reason: reason.clone(),
        }),
        Event::Resumed { by, reason } => EventBody::Resumed(ByBody {
            by: by_record(by),
            reason: reason.clone(),
        }),
        Event::CommandRefused {
            asked,
            uid,
            reason,
            why,
        } => EventBody::CommandRefused(CommandRefusedBody {
            asked: asked.clone(),
            uid: *uid,
            reason: reason.clone(),
            code: why.code(),
            why: why.to_string(),
        }),
        _ => return None,
    })
}

fn platform_body(event: &Event) -> Option<EventBody> {
    Some(match event {
        Event::PlatformAdopted {
            generation,
            digest,
            desired,
            plan,
            by,
            reason,
        } => EventBody::PlatformAdopted(Box::new(PlatformAdoptedBody {
            generation: generation.0,
            digest: digest.clone(),
            by: by_record(by),
            reason: reason.clone(),
            changes: plan.changes.iter().map(change_record).collect(),
            steps: plan.steps.iter().map(step_record).collect(),
            desired: desired_record(desired),
        })),
        Event::HostLost { host, silent_ms } => EventBody::HostLost(HostLostBody {
            host: host.to_string(),
            silent_ms: *silent_ms,
        }),
        Event::HostReturned { host } => EventBody::HostReturned(HostReturnedBody {
            host: host.to_string(),
        }),
        Event::InstancePlaced { service, host, why } => {
            EventBody::InstancePlaced(InstancePlacedBody {
                service: service.to_string(),
                host: host.to_string(),
                why: match why {
                    PlacedBecause::Wanted => PlacedRecord::Wanted,
                    PlacedBecause::BesideReplica { database } => PlacedRecord::BesideReplica {
                        database: database.to_string(),
                    },
                    PlacedBecause::InsteadOf { lost } => PlacedRecord::InsteadOf {
                        lost: lost.to_string(),
                    },
                },
            })
        }
        Event::InstanceWithdrawn { service, host, why } => {
            EventBody::InstanceWithdrawn(InstanceWithdrawnBody {
                service: service.to_string(),
                host: host.to_string(),
                why: match why {
                    WithdrawnBecause::NotWanted => WithdrawnRecord::NotWanted,
                    WithdrawnBecause::HostLost => WithdrawnRecord::HostLost,
                },
            })
        }
        _ => return None,
    })
}

fn action_body(event: &Event) -> Option<EventBody> {
    Some(match event {
        Event::FaultInjected {
            fault,
            spec,
            until_ms,
            by,
            reason,
        } => EventBody::FaultInjected(FaultInjectedBody {
            fault: fault.to_string(),
            spec: spec_record(spec),
            until_ms: *until_ms,
            by: by_record(by),
            reason: reason.clone(),
        }),
        Event::FaultEnding { fault, why } => EventBody::FaultEnding(FaultEndingBody {
            fault: fault.to_string(),
            why: match why {
                EndReason::Expired => EndRecord::Expired,
                EndReason::Cleared { by, reason } => EndRecord::Cleared {
                    by: by_record(by),
                    reason: reason.clone(),
                },
                EndReason::Again { failed } => EndRecord::Again {
                    failed: failed.clone(),
                },
            },
        }),
        Event::SwitchoverOrdered {
            database,
            from,
            to,
            by,
            reason,
        } => EventBody::SwitchoverOrdered(SwitchoverOrderedBody {
            database: database.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            by: by_record(by),
            reason: reason.clone(),
        }),
        Event::EffectFinished { effect, outcome } => {
            EventBody::EffectFinished(finished_body(*effect, outcome))
        }
        Event::ReflexRecorded(report) => EventBody::ReflexRecorded(report_record(report)),
        _ => return None,
    })
}

fn event_of(body: EventBody) -> Result<Event, ReadError> {
    Ok(match body {
        EventBody::Opened(body) => Event::Opened {
            origin: body.origin,
            platform: body.platform.parse()?,
            node: body.node.parse()?,
            key: body.key,
        },
        EventBody::KeyAdmitted(body) => Event::KeyAdmitted {
            node: body.node.parse()?,
            key: body.key,
            replaces: body.replaces,
        },
        EventBody::Claimed(body) => Event::Claimed {
            epoch: Epoch(body.epoch),
            node: body.node.parse()?,
            why: claim_reason(body.why)?,
        },
        EventBody::PlatformAdopted(body) => adopted(*body)?,
        EventBody::CommandRefused(body) => Event::CommandRefused {
            asked: body.asked,
            uid: body.uid,
            reason: body.reason,
            why: Refusal::Other {
                code: body.code,
                text: body.why,
            },
        },
        EventBody::Paused(ByBody { by, reason }) => Event::Paused {
            by: by_of(by)?,
            reason,
        },
        EventBody::Resumed(ByBody { by, reason }) => Event::Resumed {
            by: by_of(by)?,
            reason,
        },
        EventBody::HostLost(body) => Event::HostLost {
            host: body.host.parse()?,
            silent_ms: body.silent_ms,
        },
        EventBody::HostReturned(body) => Event::HostReturned {
            host: body.host.parse()?,
        },
        EventBody::InstancePlaced(body) => placed(body)?,
        EventBody::InstanceWithdrawn(body) => withdrawn(body)?,
        EventBody::FaultInjected(body) => injected(body)?,
        EventBody::FaultEnding(body) => ending(body)?,
        EventBody::SwitchoverOrdered(body) => Event::SwitchoverOrdered {
            database: body.database.parse()?,
            from: body.from.parse()?,
            to: body.to.parse()?,
            by: by_of(body.by)?,
            reason: body.reason,
        },
        EventBody::EffectFinished(body) => Event::EffectFinished {
            effect: EffectId(Position(body.effect)),
            outcome: outcome_of(body.outcome),
        },
        EventBody::ReflexRecorded(body) => Event::ReflexRecorded(report_of(body)?),
    })
}

fn adopted(body: PlatformAdoptedBody) -> Result<Event, ReadError> {
    Ok(Event::PlatformAdopted {
        generation: Generation(body.generation),
        digest: body.digest,
        desired: Box::new(desired_of(body.desired)?),
        plan: Plan {
            changes: body.changes.into_iter().map(change_of).collect(),
            steps: body
                .steps
                .into_iter()
                .map(step_of)
                .collect::<Result<_, _>>()?,
        },
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

fn placed(body: InstancePlacedBody) -> Result<Event, ReadError> {
    Ok(Event::InstancePlaced {
        service: body.service.parse()?,
        host: body.host.parse()?,
        why: match body.why {
            PlacedRecord::Wanted => PlacedBecause::Wanted,
            PlacedRecord::BesideReplica { database } => PlacedBecause::BesideReplica {
                database: database.parse()?,
            },
            PlacedRecord::InsteadOf { lost } => PlacedBecause::InsteadOf {
                lost: lost.parse()?,
            },
        },
    })
}

fn withdrawn(body: InstanceWithdrawnBody) -> Result<Event, ReadError> {
    Ok(Event::InstanceWithdrawn {
        service: body.service.parse()?,
        host: body.host.parse()?,
        why: match body.why {
            WithdrawnRecord::NotWanted => WithdrawnBecause::NotWanted,
            WithdrawnRecord::HostLost => WithdrawnBecause::HostLost,
        },
    })
}

fn injected(body: FaultInjectedBody) -> Result<Event, ReadError> {
    Ok(Event::FaultInjected {
        fault: body.fault.parse().map_err(|()| ReadError::Form("fault"))?,
        spec: spec_of(body.spec)?,
        until_ms: body.until_ms,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

fn ending(body: FaultEndingBody) -> Result<Event, ReadError> {
    Ok(Event::FaultEnding {
        fault: body.fault.parse().map_err(|()| ReadError::Form("fault"))?,
        why: match body.why {
            EndRecord::Expired => EndReason::Expired,
            EndRecord::Cleared { by, reason } => EndReason::Cleared {
                by: by_of(by)?,
                reason,
            },
            EndRecord::Again { failed } => EndReason::Again { failed },
        },
    })
}

// ---- signals ---------------------------------------------------------------------------------------

/// What a heartbeat carries of a signal; `None` for those that only the leader itself makes.
pub fn signal_record(signal: &Signal) -> Option<SignalRecord> {
    Some(match signal {
        Signal::FileRead {
            digest,
            desired,
            actor,
        } => SignalRecord::FileRead {
            digest: digest.clone(),
            desired: Box::new(desired_record(desired)),
            actor: actor_record(actor),
        },
        Signal::Commanded(command) => SignalRecord::Commanded {
            actor: actor_record(&command.actor),
            reason: command.reason.clone(),
            ask: ask_record(&command.ask),
        },
        Signal::Reported(report) => SignalRecord::Reported(report_record(report)),
        Signal::Answered { effect, outcome } => {
            SignalRecord::Answered(finished_body(*effect, outcome))
        }
        Signal::Tick
        | Signal::KeyOffered { .. }
        | Signal::HostHeard { .. }
        | Signal::HostSilent { .. } => return None,
    })
}

/// # Errors
/// When a name in it is none.
pub fn signal_of(record: SignalRecord) -> Result<Signal, ReadError> {
    Ok(match record {
        SignalRecord::FileRead {
            digest,
            desired,
            actor,
        } => Signal::FileRead {
            digest,
            desired: Box::new(desired_of(*desired)?),
            actor: actor_of(actor),
        },
        SignalRecord::Commanded { actor, reason, ask } => Signal::Commanded(Command {
            actor: actor_of(actor),
            reason,
            ask: ask_of(ask)?,
        }),
        SignalRecord::Reported(report) => Signal::Reported(report_of(report)?),
        SignalRecord::Answered(body) => Signal::Answered {
            effect: EffectId(Position(body.effect)),
            outcome: outcome_of(body.outcome),
        },
    })
}

fn ask_record(ask: &Ask) -> AskRecord {
    match ask {
        Ask::Apply { digest, desired } => AskRecord::Apply {
            digest: digest.clone(),
            desired: Box::new(desired_record(desired)),
        },
        Ask::Pause => AskRecord::Pause,
        Ask::Resume => AskRecord::Resume,
        Ask::InjectFault(spec) => AskRecord::InjectFault(spec_record(spec)),
        Ask::ClearFault { fault } => AskRecord::ClearFault {
            fault: fault.clone(),
        },
        Ask::Switchover { database, to } => AskRecord::Switchover {
            database: database.to_string(),
            region: to.to_string(),
        },
    }
}

fn ask_of(record: AskRecord) -> Result<Ask, ReadError> {
    Ok(match record {
        AskRecord::Apply { digest, desired } => Ask::Apply {
            digest,
            desired: Box::new(desired_of(*desired)?),
        },
        AskRecord::Pause => Ask::Pause,
        AskRecord::Resume => Ask::Resume,
        AskRecord::InjectFault(spec) => Ask::InjectFault(spec_of(spec)?),
        AskRecord::ClearFault { fault } => Ask::ClearFault { fault },
        AskRecord::Switchover { database, region } => Ask::Switchover {
            database: database.parse()?,
            to: region.parse()?,
        },
    })
}

// ---- parts of both ---------------------------------------------------------------------------------

fn claim_reason_record(why: &ClaimReason) -> ClaimReasonRecord {
    match why {
        ClaimReason::First => ClaimReasonRecord::First,
        ClaimReason::Returned => ClaimReasonRecord::Returned,
        ClaimReason::LeaderSilent { leader, silent_ms } => ClaimReasonRecord::LeaderSilent {
            leader: leader.to_string(),
            silent_ms: *silent_ms,
        },
    }
}

fn claim_reason(record: ClaimReasonRecord) -> Result<ClaimReason, ReadError> {
    Ok(match record {
        ClaimReasonRecord::First => ClaimReason::First,
        ClaimReasonRecord::Returned => ClaimReason::Returned,
        ClaimReasonRecord::LeaderSilent { leader, silent_ms } => ClaimReason::LeaderSilent {
            leader: leader.parse()?,
            silent_ms,
        },
    })
}

fn actor_record(actor: &Actor) -> ActorRecord {
    ActorRecord {
        uid: actor.uid,
        user: actor.user.clone(),
        operator: None,
    }
}

fn actor_of(record: ActorRecord) -> Actor {
    Actor {
        uid: record.uid,
        user: record.user,
    }
}

fn by_record(by: &By) -> ActorRecord {
    ActorRecord {
        operator: by.operator.as_ref().map(ToString::to_string),
        ..actor_record(&by.actor)
    }
}

fn by_of(record: ActorRecord) -> Result<By, ReadError> {
    let operator = record.operator.as_deref().map(str::parse).transpose()?;
    Ok(By {
        operator,
        actor: actor_of(record),
    })
}

fn finished_body(effect: EffectId, outcome: &Outcome) -> EffectFinishedBody {
    EffectFinishedBody {
        effect: effect.0.0,
        outcome: match outcome {
            Outcome::Done { detail } => OutcomeRecord::Done {
                detail: detail.clone(),
            },
            Outcome::Failed { why } => OutcomeRecord::Failed { why: why.clone() },
            Outcome::Unknown { why } => OutcomeRecord::Unknown { why: why.clone() },
        },
    }
}

fn outcome_of(record: OutcomeRecord) -> Outcome {
    match record {
        OutcomeRecord::Done { detail } => Outcome::Done { detail },
        OutcomeRecord::Failed { why } => Outcome::Failed { why },
        OutcomeRecord::Unknown { why } => Outcome::Unknown { why },
    }
}

/// The two lists of kinds are the same list in two rings.
fn fault_kind_record(kind: FaultKind) -> FaultKindRecord {
    match kind {
        FaultKind::ProcessKill => FaultKindRecord::ProcessKill,
        FaultKind::ProcessFreeze => FaultKindRecord::ProcessFreeze,
        FaultKind::HostCrash => FaultKindRecord::HostCrash,
        FaultKind::HostFreeze => FaultKindRecord::HostFreeze,
        FaultKind::RegionCrash => FaultKindRecord::RegionCrash,
        FaultKind::RegionFreeze => FaultKindRecord::RegionFreeze,
        FaultKind::Cut => FaultKindRecord::Cut,
        FaultKind::Delay => FaultKindRecord::Delay,
    }
}

fn spec_record(spec: &FaultSpec) -> FaultSpecRecord {
    FaultSpecRecord {
        kind: fault_kind_record(spec.kind),
        target: match &spec.target {
            FaultTarget::Process { host, instance } => FaultTargetRecord::Process {
                host: host.to_string(),
                instance: instance.clone(),
            },
            FaultTarget::Host(host) => FaultTargetRecord::Host(host.to_string()),
            FaultTarget::Region(region) => FaultTargetRecord::Region(region.to_string()),
            FaultTarget::Between { from, to } => FaultTargetRecord::Between {
                from: from.to_string(),
                to: to.as_ref().map(ToString::to_string),
            },
        },
        lasts_ms: spec.lasts_ms,
        one_way: spec.one_way,
        delay_us: spec.delay_us,
    }
}

fn spec_of(record: FaultSpecRecord) -> Result<FaultSpec, ReadError> {
    Ok(FaultSpec {
        kind: FaultKind::parse(record.kind.name()).ok_or(ReadError::Form("fault kind"))?,
        target: match record.target {
            FaultTargetRecord::Process { host, instance } => FaultTarget::Process {
                host: host.parse()?,
                instance,
            },
            FaultTargetRecord::Host(host) => FaultTarget::Host(host.parse()?),
            FaultTargetRecord::Region(region) => FaultTarget::Region(region.parse()?),
            FaultTargetRecord::Between { from, to } => FaultTarget::Between {
                from: from.parse()?,
                to: to.as_deref().map(str::parse).transpose()?,
            },
        },
        lasts_ms: record.lasts_ms,
        one_way: record.one_way,
        delay_us: record.delay_us,
    })
}

fn report_record(report: &Report) -> ReportRecord {
    let reflex = match &report.reflex {
        Reflex::BecamePrimary { database, term } => ReflexRecord::BecamePrimary {
            database: database.to_string(),
            term: term.0,
        },
        Reflex::LeftPrimary {
            database,
            term,
            why,
        } => ReflexRecord::LeftPrimary {
            database: database.to_string(),
            term: term.0,
            why: why.clone(),
        },
        Reflex::InstanceRestarted {
            instance,
            restarts,
            exit,
        } => ReflexRecord::InstanceRestarted {
            instance: instance.clone(),
            restarts: *restarts,
            exit: exit.clone(),
        },
        Reflex::CrashLoop { instance, restarts } => ReflexRecord::CrashLoop {
            instance: instance.clone(),
            restarts: *restarts,
        },
        Reflex::HoldOpened { gateway, database } => ReflexRecord::HoldOpened {
            gateway: gateway.to_string(),
            database: database.to_string(),
        },
        Reflex::HoldClosed {
            gateway,
            database,
            lasted_ms,
            released,
            failed,
        } => ReflexRecord::HoldClosed {
            gateway: gateway.to_string(),
            database: database.to_string(),
            lasted_ms: *lasted_ms,
            released: *released,
            failed: *failed,
        },
        Reflex::FaultUndone { fault, by } => ReflexRecord::FaultUndone {
            fault: fault.clone(),
            by: by.clone(),
        },
    };
    ReportRecord {
        host: report.host.to_string(),
        at_ms: report.at_ms,
        reflex,
    }
}

fn report_of(record: ReportRecord) -> Result<Report, ReadError> {
    let reflex = match record.reflex {
        ReflexRecord::BecamePrimary { database, term } => Reflex::BecamePrimary {
            database: database.parse()?,
            term: Term(term),
        },
        ReflexRecord::LeftPrimary {
            database,
            term,
            why,
        } => Reflex::LeftPrimary {
            database: database.parse()?,
            term: Term(term),
            why,
        },
        ReflexRecord::InstanceRestarted {
            instance,
            restarts,
            exit,
        } => Reflex::InstanceRestarted {
            instance,
            restarts,
            exit,
        },
        ReflexRecord::CrashLoop { instance, restarts } => Reflex::CrashLoop { instance, restarts },
        ReflexRecord::HoldOpened { gateway, database } => Reflex::HoldOpened {
            gateway: gateway.parse()?,
            database: database.parse()?,
        },
        ReflexRecord::HoldClosed {
            gateway,
            database,
            lasted_ms,
            released,
            failed,
        } => Reflex::HoldClosed {
            gateway: gateway.parse()?,
            database: database.parse()?,
            lasted_ms,
            released,
            failed,
        },
        ReflexRecord::FaultUndone { fault, by } => Reflex::FaultUndone { fault, by },
    };
    Ok(Report {
        host: record.host.parse()?,
        at_ms: record.at_ms,
        reflex,
    })
}

// ---- plans -----------------------------------------------------------------------------------------

fn change_record(change: &Change) -> ChangeRecord {
    ChangeRecord {
        change: match change.kind {
            ChangeKind::Removed => ChangeWord::Removed,
            ChangeKind::Added => ChangeWord::Added,
            ChangeKind::Changed => ChangeWord::Changed,
        },
        subject: match change.subject {
            Subject::Environment => SubjectWord::Environment,
            Subject::Host => SubjectWord::Host,
            Subject::Database => SubjectWord::Database,
            Subject::Service => SubjectWord::Service,
            Subject::Gateway => SubjectWord::Gateway,
            Subject::Operator => SubjectWord::Operator,
        },
        name: change.name.clone(),
    }
}

fn change_of(record: ChangeRecord) -> Change {
    Change {
        kind: match record.change {
            ChangeWord::Removed => ChangeKind::Removed,
            ChangeWord::Added => ChangeKind::Added,
            ChangeWord::Changed => ChangeKind::Changed,
        },
        subject: match record.subject {
            SubjectWord::Environment => Subject::Environment,
            SubjectWord::Host => Subject::Host,
            SubjectWord::Database => Subject::Database,
            SubjectWord::Service => Subject::Service,
            SubjectWord::Gateway => Subject::Gateway,
            SubjectWord::Operator => Subject::Operator,
        },
        name: record.name,
    }
}

fn step_record(step: &Step) -> StepRecord {
    match step {
        Step::CreateReplica { database, host } => StepRecord::CreateReplica {
            database: database.to_string(),
            host: host.to_string(),
        },
        Step::StartGateway { gateway, host } => StepRecord::StartGateway {
            gateway: gateway.to_string(),
            host: host.to_string(),
        },
        Step::ReloadGateway { gateway, host } => StepRecord::ReloadGateway {
            gateway: gateway.to_string(),
            host: host.to_string(),
        },
        Step::StopGateway { gateway, host } => StepRecord::StopGateway {
            gateway: gateway.to_string(),
            host: host.to_string(),
        },
        Step::PlaceService { service, instances } => StepRecord::PlaceService {
            service: service.to_string(),
            instances: *instances,
        },
        Step::ReplaceInstances { service } => StepRecord::ReplaceInstances {
            service: service.to_string(),
        },
        Step::WithdrawService { service } => StepRecord::WithdrawService {
            service: service.to_string(),
        },
    }
}

fn step_of(record: StepRecord) -> Result<Step, ReadError> {
    Ok(match record {
        StepRecord::CreateReplica { database, host } => Step::CreateReplica {
            database: database.parse()?,
            host: host.parse()?,
        },
        StepRecord::StartGateway { gateway, host } => Step::StartGateway {
            gateway: gateway.parse()?,
            host: host.parse()?,
        },
        StepRecord::ReloadGateway { gateway, host } => Step::ReloadGateway {
            gateway: gateway.parse()?,
            host: host.parse()?,
        },
        StepRecord::StopGateway { gateway, host } => Step::StopGateway {
            gateway: gateway.parse()?,
            host: host.parse()?,
        },
        StepRecord::PlaceService { service, instances } => Step::PlaceService {
            service: service.parse()?,
            instances,
        },
        StepRecord::ReplaceInstances { service } => Step::ReplaceInstances {
            service: service.parse()?,
        },
        StepRecord::WithdrawService { service } => Step::WithdrawService {
            service: service.parse()?,
        },
    })
}
