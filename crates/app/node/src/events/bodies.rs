//! Event by event: the body that stores it, and the event that a body tells.

use mainstay_kernel::{
    EffectId, EndReason, Event, PlacedBecause, Plan, Refusal, UpgradeEnd, WithdrawnBecause,
};
use mainstay_record::event::{
    ByBody, CommandRefusedBody, EndRecord, EventBody, FailoverForcedBody, FaultEndingBody,
    FaultInjectedBody, GateOverriddenBody, HostLostBody, HostReturnedBody, InstancePlacedBody,
    InstanceWithdrawnBody, PlacedRecord, PlatformAdoptedBody, SoloOrderedBody,
    SwitchoverOrderedBody, UpgradeBegunBody, UpgradeEndedBody, UpgradeOrderedBody, WithdrawnRecord,
};
use mainstay_record::journal::{ClaimedBody, KeyAdmittedBody, OpenedBody};
use mainstay_units::{Epoch, Generation, Position};

use super::alerts::{alert_of, alert_record};
use super::desired::{desired_of, desired_record};
use super::drills;
use super::experiments::{experiment_of, news_body};
use super::gates::overridden;
use super::incidents::{incident_body, incident_of};
use super::notices::notice_body;
use super::parts::{
    by_of, by_record, change_of, change_record, claim_reason, claim_reason_record, finished_body,
    outcome_of, program_of, program_record, report_of, report_record, spec_of, spec_record,
    step_of, step_record,
};
use super::playbooks::{playbook_body, playbook_event};
use super::rules::{self, rules_body};
use super::{EncodeError, ReadError};

pub(super) fn body_of(event: &Event) -> Result<EventBody, EncodeError> {
    log_body(event)
        .or_else(|| platform_body(event))
        .or_else(|| action_body(event))
        .or_else(|| order_body(event))
        .or_else(|| upgrade_body(event))
        .or_else(|| incident_body(event))
        .or_else(|| notice_body(event))
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
        Event::Stopping { by, reason } => EventBody::Stopping(ByBody {
            by: by_record(by),
            reason: reason.clone(),
        }),
        Event::GateOverridden {
            gate,
            asked,
            found,
            why,
            by,
            reason,
        } => EventBody::GateOverridden(GateOverriddenBody {
            gate: gate.clone(),
            asked: asked.clone(),
            found: found.as_str().to_owned(),
            why: why.clone(),
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
                    PlacedBecause::Replaces { host, run } => PlacedRecord::Replaces {
                        host: host.to_string(),
                        run: run.clone(),
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
                    WithdrawnBecause::Replaced => WithdrawnRecord::Replaced,
                    WithdrawnBecause::NotReady => WithdrawnRecord::NotReady,
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
                EndReason::Playbook { run } => EndRecord::Playbook { run: run.clone() },
                EndReason::Experiment { experiment } => EndRecord::Experiment {
                    experiment: experiment.to_string(),
                },
                EndReason::Drill { drill } => EndRecord::Drill {
                    drill: drill.to_string(),
                },
                EndReason::Again { failed } => EndRecord::Again {
                    failed: failed.clone(),
                },
            },
        }),
        Event::EffectFinished { effect, outcome } => {
            EventBody::EffectFinished(finished_body(*effect, outcome))
        }
        Event::ReflexRecorded(report) => EventBody::ReflexRecorded(report_record(report)),
        Event::AlertChanged(news) => EventBody::AlertChanged(alert_record(news)),
        Event::Experiment(news) => news_body(news),
        Event::Drill(news) => drills::news_body(news),
        Event::Playbook(event) => EventBody::Playbook(playbook_body(event)),
        Event::Rules(news) => rules_body(news),
        _ => return None,
    })
}

/// What keepers are ordered to.
fn order_body(event: &Event) -> Option<EventBody> {
    Some(match event {
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
        Event::SoloOrdered {
            database,
            host,
            by,
            reason,
        } => EventBody::SoloOrdered(SoloOrderedBody {
            database: database.to_string(),
            host: host.to_string(),
            by: by_record(by),
            reason: reason.clone(),
        }),
        Event::FailoverForced {
            database,
            to,
            by,
            reason,
        } => EventBody::FailoverForced(FailoverForcedBody {
            database: database.to_string(),
            to: to.to_string(),
            by: by_record(by),
            reason: reason.clone(),
        }),
        _ => return None,
    })
}

fn upgrade_body(event: &Event) -> Option<EventBody> {
    Some(match event {
        Event::UpgradeBegun {
            program,
            hosts,
            by,
            reason,
        } => EventBody::UpgradeBegun(UpgradeBegunBody {
            program: program_record(program),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            by: by_record(by),
            reason: reason.clone(),
        }),
        Event::UpgradeOrdered { host } => EventBody::UpgradeOrdered(UpgradeOrderedBody {
            host: host.to_string(),
        }),
        Event::UpgradeEnded(end) => EventBody::UpgradeEnded(match end {
            UpgradeEnd::Complete => UpgradeEndedBody::Complete {},
            UpgradeEnd::Stopped { host, why } => UpgradeEndedBody::Stopped {
                host: host.to_string(),
                why: why.clone(),
            },
        }),
        _ => return None,
    })
}

pub(super) fn event_of(body: EventBody) -> Result<Event, ReadError> {
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
        EventBody::GateOverridden(body) => overridden(body)?,
        EventBody::Paused(ByBody { by, reason }) => Event::Paused {
            by: by_of(by)?,
            reason,
        },
        EventBody::Resumed(ByBody { by, reason }) => Event::Resumed {
            by: by_of(by)?,
            reason,
        },
        EventBody::Stopping(ByBody { by, reason }) => Event::Stopping {
            by: by_of(by)?,
            reason,
        },
        EventBody::HostLost(body) => Event::HostLost {
            host: body.host.parse()?,
            silent_ms: body.silent_ms,
        },
        EventBody::HostReturned(body) => returned(&body)?,
        EventBody::InstancePlaced(body) => placed(body)?,
        EventBody::InstanceWithdrawn(body) => withdrawn(body)?,
        EventBody::FaultInjected(body) => injected(body)?,
        EventBody::FaultEnding(body) => ending(body)?,
        EventBody::SwitchoverOrdered(body) => switchover(body)?,
        EventBody::SoloOrdered(body) => solo(body)?,
        EventBody::FailoverForced(body) => forced(body)?,
        EventBody::UpgradeBegun(body) => upgrade_begun(body)?,
        EventBody::UpgradeOrdered(body) => Event::UpgradeOrdered {
            host: body.host.parse()?,
        },
        EventBody::UpgradeEnded(body) => upgrade_ended(body)?,
        EventBody::EffectFinished(body) => Event::EffectFinished {
            effect: EffectId(Position(body.effect)),
            outcome: outcome_of(body.outcome),
        },
        EventBody::ReflexRecorded(body) => Event::ReflexRecorded(report_of(body)?),
        EventBody::AlertChanged(body) => Event::AlertChanged(alert_of(body)?),
        EventBody::Playbook(body) => Event::Playbook(playbook_event(body)?),
        other => match experiment_of(other)? {
            Ok(news) => Event::Experiment(news),
            Err(other) => drill_of(other)?,
        },
    })
}

fn drill_of(body: EventBody) -> Result<Event, ReadError> {
    Ok(match body {
        EventBody::DrillAdopted(_)
        | EventBody::DrillWithdrawn(_)
        | EventBody::DrillMissed(_)
        | EventBody::DrillBegun(_)
        | EventBody::DrillStepBegun(_)
        | EventBody::DrillStepEnded(_)
        | EventBody::DrillConfirmed(_)
        | EventBody::DrillMeasured(_)
        | EventBody::DrillDeviated(_)
        | EventBody::DrillAbandoned(_)
        | EventBody::DrillEnded(_)
        | EventBody::DrillSigned(_) => Event::Drill(drills::news_of(body)?),
        EventBody::RulesAdopted(body) => rules::adopted(body)?,
        EventBody::RulesFollowed(body) => rules::followed(body)?,
        other => incident_of(other)?,
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
            PlacedRecord::Replaces { host, run } => PlacedBecause::Replaces {
                host: host.parse()?,
                run,
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
            WithdrawnRecord::Replaced => WithdrawnBecause::Replaced,
            WithdrawnRecord::NotReady => WithdrawnBecause::NotReady,
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
            EndRecord::Playbook { run } => EndReason::Playbook { run },
            EndRecord::Experiment { experiment } => EndReason::Experiment {
                experiment: (experiment.parse()).map_err(|()| ReadError::Form("experiment"))?,
            },
            EndRecord::Drill { drill } => EndReason::Drill {
                drill: drill.parse().map_err(|()| ReadError::Form("drill"))?,
            },
            EndRecord::Again { failed } => EndReason::Again { failed },
        },
    })
}

fn upgrade_begun(body: UpgradeBegunBody) -> Result<Event, ReadError> {
    let hosts = body.hosts.iter().map(|host| host.parse());
    Ok(Event::UpgradeBegun {
        program: program_of(body.program),
        hosts: hosts.collect::<Result<_, _>>()?,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

fn upgrade_ended(body: UpgradeEndedBody) -> Result<Event, ReadError> {
    Ok(Event::UpgradeEnded(match body {
        UpgradeEndedBody::Complete {} => UpgradeEnd::Complete,
        UpgradeEndedBody::Stopped { host, why } => UpgradeEnd::Stopped {
            host: host.parse()?,
            why,
        },
    }))
}

fn returned(body: &HostReturnedBody) -> Result<Event, ReadError> {
    let host = body.host.parse()?;
    Ok(Event::HostReturned { host })
}

fn switchover(body: SwitchoverOrderedBody) -> Result<Event, ReadError> {
    Ok(Event::SwitchoverOrdered {
        database: body.database.parse()?,
        from: body.from.parse()?,
        to: body.to.parse()?,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

fn forced(body: FailoverForcedBody) -> Result<Event, ReadError> {
    Ok(Event::FailoverForced {
        database: body.database.parse()?,
        to: body.to.parse()?,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}

fn solo(body: SoloOrderedBody) -> Result<Event, ReadError> {
    Ok(Event::SoloOrdered {
        database: body.database.parse()?,
        host: body.host.parse()?,
        by: by_of(body.by)?,
        reason: body.reason,
    })
}
