//! What events and signals are made of: actors, outcomes, faults, reports, plans.

use mainstay_kernel::{
    Actor, ArchiveDeed, By, Change, ChangeKind, ClaimReason, EffectId, FaultDetail, FaultDoor,
    FaultKind, FaultSpec, FaultTarget, Outcome, Program, Reflex, Report, Step, Stood, Subject,
    Ways,
};
use mainstay_record::event::{
    ActorRecord, ArchiveDeedRecord, ChangeRecord, ChangeWord, EffectFinishedBody, FaultSpecRecord,
    FaultTargetRecord, OutcomeRecord, ProgramRecord, ReflexRecord, ReportRecord, StepRecord,
    StoodRecord, SubjectWord,
};
use mainstay_record::journal::ClaimReasonRecord;
use mainstay_record::process::{
    FaultDetail as FaultDetailRecord, FaultDoor as FaultDoorRecord, FaultKind as FaultKindRecord,
    FaultWays,
};
use mainstay_units::Term;

use super::ReadError;

pub(super) fn claim_reason_record(why: &ClaimReason) -> ClaimReasonRecord {
    match why {
        ClaimReason::First => ClaimReasonRecord::First,
        ClaimReason::Returned => ClaimReasonRecord::Returned,
        ClaimReason::LeaderSilent { leader, silent_ms } => ClaimReasonRecord::LeaderSilent {
            leader: leader.to_string(),
            silent_ms: *silent_ms,
        },
    }
}

pub(super) fn claim_reason(record: ClaimReasonRecord) -> Result<ClaimReason, ReadError> {
    Ok(match record {
        ClaimReasonRecord::First => ClaimReason::First,
        ClaimReasonRecord::Returned => ClaimReason::Returned,
        ClaimReasonRecord::LeaderSilent { leader, silent_ms } => ClaimReason::LeaderSilent {
            leader: leader.parse()?,
            silent_ms,
        },
    })
}

pub(super) fn actor_record(actor: &Actor) -> ActorRecord {
    ActorRecord {
        uid: actor.uid,
        user: actor.user.clone(),
        operator: None,
    }
}

pub(super) fn actor_of(record: ActorRecord) -> Actor {
    Actor {
        uid: record.uid,
        user: record.user,
    }
}

pub(super) fn by_record(by: &By) -> ActorRecord {
    ActorRecord {
        operator: by.operator.as_ref().map(ToString::to_string),
        ..actor_record(&by.actor)
    }
}

pub(super) fn by_of(record: ActorRecord) -> Result<By, ReadError> {
    let operator = record.operator.as_deref().map(str::parse).transpose()?;
    Ok(By {
        operator,
        actor: actor_of(record),
    })
}

pub(super) fn finished_body(effect: EffectId, outcome: &Outcome) -> EffectFinishedBody {
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

pub(super) fn outcome_of(record: OutcomeRecord) -> Outcome {
    match record {
        OutcomeRecord::Done { detail } => Outcome::Done { detail },
        OutcomeRecord::Failed { why } => Outcome::Failed { why },
        OutcomeRecord::Unknown { why } => Outcome::Unknown { why },
    }
}

/// The two lists of kinds are the same list in two rings.
pub(super) fn fault_kind_record(kind: FaultKind) -> FaultKindRecord {
    match kind {
        FaultKind::ProcessKill => FaultKindRecord::ProcessKill,
        FaultKind::ProcessFreeze => FaultKindRecord::ProcessFreeze,
        FaultKind::HostCrash => FaultKindRecord::HostCrash,
        FaultKind::HostFreeze => FaultKindRecord::HostFreeze,
        FaultKind::RegionCrash => FaultKindRecord::RegionCrash,
        FaultKind::RegionFreeze => FaultKindRecord::RegionFreeze,
        FaultKind::Cut => FaultKindRecord::Cut,
        FaultKind::Delay => FaultKindRecord::Delay,
        FaultKind::ProcessDown => FaultKindRecord::ProcessDown,
        FaultKind::Loss => FaultKindRecord::Loss,
        FaultKind::Throttle => FaultKindRecord::Throttle,
        FaultKind::Stress => FaultKindRecord::Stress,
    }
}

pub(super) fn spec_record(spec: &FaultSpec) -> FaultSpecRecord {
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
        detail: detail_record(&spec.detail),
    }
}

pub fn detail_record(detail: &FaultDetail) -> FaultDetailRecord {
    FaultDetailRecord {
        jitter_us: unless_zero(detail.jitter_us),
        correlation_percent: unless_zero(detail.correlation_percent),
        loss_ppm: unless_zero(detail.loss_ppm),
        bytes_per_second: unless_zero(detail.bytes_per_second),
        door: detail.door.as_ref().map(|door| FaultDoorRecord {
            host: door.host.to_string(),
            port: door.port,
            ways: match door.ways {
                Ways::Towards => FaultWays::Towards,
                Ways::Back => FaultWays::Back,
                Ways::Both => FaultWays::Both,
            },
        }),
        grace_ms: unless_zero(detail.grace_ms),
        cpu_workers: unless_zero(detail.cpu_workers),
        cpu_load_percent: unless_zero(detail.cpu_load_percent),
        memory_bytes: unless_zero(detail.memory_bytes),
    }
}

fn unless_zero<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

/// # Errors
/// When the host of a door is none.
pub fn detail_of(record: FaultDetailRecord) -> Result<FaultDetail, ReadError> {
    let door = record.door.map(|door| {
        Ok::<_, ReadError>(FaultDoor {
            host: door.host.parse()?,
            port: door.port,
            ways: match door.ways {
                FaultWays::Towards => Ways::Towards,
                FaultWays::Back => Ways::Back,
                FaultWays::Both => Ways::Both,
            },
        })
    });
    Ok(FaultDetail {
        jitter_us: record.jitter_us.unwrap_or_default(),
        correlation_percent: record.correlation_percent.unwrap_or_default(),
        loss_ppm: record.loss_ppm.unwrap_or_default(),
        bytes_per_second: record.bytes_per_second.unwrap_or_default(),
        door: door.transpose()?,
        grace_ms: record.grace_ms.unwrap_or_default(),
        cpu_workers: record.cpu_workers.unwrap_or_default(),
        cpu_load_percent: record.cpu_load_percent.unwrap_or_default(),
        memory_bytes: record.memory_bytes.unwrap_or_default(),
    })
}

pub(super) fn spec_of(record: FaultSpecRecord) -> Result<FaultSpec, ReadError> {
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
        detail: detail_of(record.detail)?,
    })
}

pub(super) fn report_record(report: &Report) -> ReportRecord {
    ReportRecord {
        host: report.host.to_string(),
        at_ms: report.at_ms,
        reflex: reflex_record(&report.reflex),
    }
}

fn reflex_record(reflex: &Reflex) -> ReflexRecord {
    match reflex {
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
        Reflex::LoopEnded { instance, why } => ReflexRecord::LoopEnded {
            instance: instance.clone(),
            why: why.clone(),
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
        Reflex::PromiseChanged {
            database,
            term,
            what,
        } => ReflexRecord::PromiseChanged {
            database: database.to_string(),
            term: term.0,
            what: what.clone(),
        },
        Reflex::ReplicaLetGo { database, from } => ReflexRecord::ReplicaLetGo {
            database: database.to_string(),
            from: from.to_string(),
        },
        Reflex::Archived { database, deed } => ReflexRecord::Archived {
            database: database.to_string(),
            deed: deed_record(deed),
        },
    }
}

fn deed_record(deed: &ArchiveDeed) -> ArchiveDeedRecord {
    match deed {
        ArchiveDeed::BackupMade { backup, bytes } => ArchiveDeedRecord::BackupMade {
            backup: backup.clone(),
            bytes: *bytes,
        },
        ArchiveDeed::BackupProven {
            backup,
            rto_ms,
            rpo_ms,
            stood,
        } => ArchiveDeedRecord::BackupProven {
            backup: backup.clone(),
            rto_ms: *rto_ms,
            rpo_ms: *rpo_ms,
            stood: stood.as_ref().map(|stood| StoodRecord {
                host: stood.host.clone(),
                beside_replica: stood.beside_replica,
            }),
        },
        ArchiveDeed::Alarm { why } => ArchiveDeedRecord::Alarm { why: why.clone() },
    }
}

pub fn deed_of(record: ArchiveDeedRecord) -> ArchiveDeed {
    match record {
        ArchiveDeedRecord::BackupMade { backup, bytes } => {
            ArchiveDeed::BackupMade { backup, bytes }
        }
        ArchiveDeedRecord::BackupProven {
            backup,
            rto_ms,
            rpo_ms,
            stood,
        } => ArchiveDeed::BackupProven {
            backup,
            rto_ms,
            rpo_ms,
            stood: stood.map(|stood| Stood {
                host: stood.host,
                beside_replica: stood.beside_replica,
            }),
        },
        ArchiveDeedRecord::Alarm { why } => ArchiveDeed::Alarm { why },
    }
}

pub(super) fn report_of(record: ReportRecord) -> Result<Report, ReadError> {
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
        ReflexRecord::LoopEnded { instance, why } => Reflex::LoopEnded { instance, why },
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
        ReflexRecord::PromiseChanged {
            database,
            term,
            what,
        } => Reflex::PromiseChanged {
            database: database.parse()?,
            term: Term(term),
            what,
        },
        ReflexRecord::ReplicaLetGo { database, from } => Reflex::ReplicaLetGo {
            database: database.parse()?,
            from: from.parse()?,
        },
        ReflexRecord::Archived { database, deed } => Reflex::Archived {
            database: database.parse()?,
            deed: deed_of(deed),
        },
    };
    Ok(Report {
        host: record.host.parse()?,
        at_ms: record.at_ms,
        reflex,
    })
}

pub(super) fn change_record(change: &Change) -> ChangeRecord {
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
            Subject::Watch => SubjectWord::Watch,
            Subject::Gate => SubjectWord::Gate,
        },
        name: change.name.clone(),
    }
}

pub(super) fn change_of(record: ChangeRecord) -> Change {
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
            SubjectWord::Watch => Subject::Watch,
            SubjectWord::Gate => Subject::Gate,
        },
        name: record.name,
    }
}

pub(super) fn step_record(step: &Step) -> StepRecord {
    match step {
        Step::CreateReplica { database, host } => StepRecord::CreateReplica {
            database: database.to_string(),
            host: host.to_string(),
        },
        Step::RemoveReplica { database, host } => StepRecord::RemoveReplica {
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

pub(super) fn step_of(record: StepRecord) -> Result<Step, ReadError> {
    Ok(match record {
        StepRecord::CreateReplica { database, host } => Step::CreateReplica {
            database: database.parse()?,
            host: host.parse()?,
        },
        StepRecord::RemoveReplica { database, host } => Step::RemoveReplica {
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

pub(super) fn program_record(program: &Program) -> ProgramRecord {
    ProgramRecord {
        digest: program.digest.clone(),
        version: program.version.clone(),
    }
}

pub(super) fn program_of(record: ProgramRecord) -> Program {
    Program {
        digest: record.digest,
        version: record.version,
    }
}
