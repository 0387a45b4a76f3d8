//! Carrying out what the kernel ordered, and saying what became of it.
//!
//! An effect that may have been begun before is looked for first. What cannot be found out is told as
//! unknown; nothing is repeated on a guess.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use mainstay_host::faults::{self, FaultRequest, Place};
use mainstay_kernel::{Assigned, Effect, FaultId, FaultSpec, FaultTarget, Manner, Outcome};
use mainstay_messenger::{Sent, send};
use mainstay_model::name::{DatabaseName, HostName};
use mainstay_notify::Notice;
use mainstay_record::keeper::{ControlAnswer, KeeperStatus, SwitchoverRequest};
use mainstay_record::process::{FaultKind, FaultParameters, FaultRecord, FaultState};
use mainstay_rt::clock;
pub use mainstay_rt::error::chain;
use mainstay_rt::http::request_unix;
use mainstay_storage::EpochFence;

use crate::context::Context;
use crate::events::detail_record;

/// An order to a keeper that takes longer has failed or its outcome is unknown.
const ORDER_LIMIT: Duration = Duration::from_secs(15);
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// How long a fault that another leader had begun may take to be set.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
const SETTLE_PERIOD: Duration = Duration::from_millis(50);

/// Whether an order still stands; not if it is of a leadership that has been overtaken.
pub fn stands(context: &Context, assigned: &Assigned) -> bool {
    let path = context.layout.node(context.name()).join("epoch");
    let admitted = EpochFence::open(&path).and_then(|mut fence| fence.admit(assigned.epoch));
    if let Err(error) = &admitted {
        tracing::warn!(%error, effect = %assigned.id, "an order is not carried out");
    }
    admitted.is_ok()
}

/// Carries out one effect.
pub async fn carry_out(context: Context, assigned: Assigned) -> Option<Outcome> {
    let Assigned { effect, manner, .. } = assigned;
    Some(match effect {
        Effect::SetFault {
            fault,
            spec,
            until_ms,
        } => blocking(move || set_fault(&context, fault, &spec, until_ms)).await,
        Effect::ClearFault { fault } => blocking(move || clear_fault(&context, fault)).await,
        Effect::Switchover { database, to } => switch_over(&context, &database, &to, manner).await,
        Effect::Solo { database } => serve_alone(&context, &database, manner).await,
        Effect::Failover { database } => go_on(&context, &database, manner).await,
        Effect::Notify { notice } => notify(&context, &notice).await,
        // The node itself sees to these: to the first because it outlives the node that begins it, to the others
        // because they need what the node sees.
        Effect::TakeProgram { .. } | Effect::Playbook(_) | Effect::Experiment(_) => return None,
    })
}

/// Whoever led before may have said it: it is said again, under the same name.
async fn notify(context: &Context, notice: &Notice) -> Outcome {
    let oncall = context.platform.oncall();
    let channels = oncall.map_or(&[][..], |oncall| &oncall.channels);
    let Some(channel) = channels
        .iter()
        .find(|channel| channel.name == notice.to.channel)
    else {
        return Outcome::Failed {
            why: "the platform file has no such channel any more".to_owned(),
        };
    };
    match send(&channel.way, context.platform.name().as_str(), notice).await {
        Sent::Said { detail } => Outcome::Done { detail },
        Sent::Refused { why } => Outcome::Failed { why },
        Sent::Later { why } => Outcome::Unknown { why },
    }
}

async fn blocking(work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Unknown {
            why: error.to_string(),
        },
    }
}

/// The record of a fault has the fault's own name, so setting it twice is not possible.
fn set_fault(context: &Context, fault: FaultId, spec: &FaultSpec, until_ms: u64) -> Outcome {
    let data = context.layout.data();
    let id = fault.to_string();
    if let Some(record) = settled(data, &id) {
        return found(&record);
    }
    let left_ms = until_ms.saturating_sub(clock::wall_ms()).min(spec.lasts_ms);
    if left_ms == 0 {
        return Outcome::Failed {
            why: "its time was over before it could be set".to_owned(),
        };
    }
    let request = match request(id, spec, Duration::from_millis(left_ms)) {
        Ok(request) => request,
        Err(why) => return Outcome::Failed { why },
    };
    let program = context.program.display().to_string();
    let place = Place {
        data: data.to_path_buf(),
        guardian: vec![program, "guardian".to_owned()],
    };
    match faults::inject(&place, &request) {
        Ok(record) => found(&record),
        Err(error) => {
            let why = chain(&error);
            match faults::find(data, &request.id) {
                // Its guardian may still set it, and will end it.
                Some(record) if record.state != FaultState::Undone => Outcome::Unknown { why },
                Some(_) | None => Outcome::Failed { why },
            }
        }
    }
}

/// The record of a fault that was begun before. One that is only prepared may be set at this moment by its
/// guardian: it gets a little time.
fn settled(data: &Path, id: &str) -> Option<FaultRecord> {
    let deadline = clock::now() + SETTLE_LIMIT;
    loop {
        let record = faults::find(data, id)?;
        if record.state != FaultState::Prepared || clock::now() >= deadline {
            return Some(record);
        }
        wait(SETTLE_PERIOD);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "on a thread that may block, between two looks, within a limit"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn found(record: &FaultRecord) -> Outcome {
    match record.state {
        FaultState::Prepared => Outcome::Unknown {
            why: "prepared, and not known to be set".to_owned(),
        },
        // Whoever was to set it died over it, and its time is over.
        FaultState::Undone if record.set_wall_ms.is_none() => Outcome::Failed {
            why: record.problem.clone().unwrap_or_else(|| {
                "it was prepared, and undone before it was known to be set".to_owned()
            }),
        },
        FaultState::Set | FaultState::Undone => Outcome::Done {
            detail: format!(
                "{} {} is set as {}",
                record.kind.name(),
                record.target,
                record.id
            ),
        },
    }
}

fn request(id: String, spec: &FaultSpec, lasting: Duration) -> Result<FaultRequest, String> {
    let name = spec.kind.as_str();
    let kind = FaultKind::parse(name)
        .ok_or_else(|| format!("this node does not know the fault {name}"))?;
    let (target, to) = match &spec.target {
        FaultTarget::Process { .. } | FaultTarget::Host(_) | FaultTarget::Region(_) => {
            (spec.target.to_string(), None)
        }
        FaultTarget::Between { from, to } => {
            (from.to_string(), to.as_ref().map(ToString::to_string))
        }
    };
    let parameters = FaultParameters {
        to,
        one_way: spec.one_way,
        delay_us: spec.delay_us,
        jitter_us: spec.detail.jitter_us,
        detail: detail_record(&spec.detail),
    };
    Ok(FaultRequest {
        id,
        kind,
        target,
        parameters,
        lasting,
    })
}

fn clear_fault(context: &Context, fault: FaultId) -> Outcome {
    let data = context.layout.data();
    match faults::clear(data, &fault.to_string()) {
        Ok(record) => Outcome::Done {
            detail: format!("{} {} is over", record.kind.name(), record.target),
        },
        Err(faults::FaultError::UnknownFault(_)) => Outcome::Done {
            detail: "it had never been set".to_owned(),
        },
        Err(error) => Outcome::Failed { why: chain(&error) },
    }
}

/// Asks the keeper beside the primary, which answers when the target is open or the attempt is over.
pub async fn switch_over(
    context: &Context,
    database: &DatabaseName,
    to: &HostName,
    manner: Manner,
) -> Outcome {
    let socket = context
        .layout
        .keeper_socket(context.name(), database.as_str());
    if manner == Manner::Query {
        let status = request_unix(&socket, Method::GET, "/v1/status", Vec::new(), LOOK_LIMIT).await;
        let primary = status
            .ok()
            .and_then(|(_, body)| serde_json::from_slice::<KeeperStatus>(&body).ok())
            .and_then(|status| status.sight.primary);
        return match primary {
            Some(primary) if primary == to.as_str() => Outcome::Done {
                detail: format!("{database} is on {to}"),
            },
            // Its keeper may still be at it.
            Some(primary) => Outcome::Unknown {
                why: format!("the primary is on {primary}"),
            },
            None => Outcome::Unknown {
                why: "the keeper names no primary".to_owned(),
            },
        };
    }
    let request = SwitchoverRequest { to: to.to_string() };
    let Ok(body) = serde_json::to_vec(&request) else {
        return Outcome::Failed {
            why: "the request cannot be written".to_owned(),
        };
    };
    let done = format!("the primary of {database} is on {to}");
    ask_keeper(&socket, "/v1/switchover", body, done).await
}

/// Asks the keeper beside the primary, which answers when commits are answered without the quorum.
async fn serve_alone(context: &Context, database: &DatabaseName, manner: Manner) -> Outcome {
    let socket = context
        .layout
        .keeper_socket(context.name(), database.as_str());
    let done = format!(
        "{database} answers commits with fewer copies than promised, until its quorum is back"
    );
    if manner == Manner::Query {
        let status = request_unix(&socket, Method::GET, "/v1/status", Vec::new(), LOOK_LIMIT).await;
        let status = status
            .ok()
            .and_then(|(_, body)| serde_json::from_slice::<KeeperStatus>(&body).ok());
        return match status {
            Some(status) if status.solo.is_some() => Outcome::Done { detail: done },
            Some(status) => Outcome::Unknown {
                why: format!("it does not now: {}", status.sight.reason),
            },
            None => Outcome::Unknown {
                why: "the keeper does not answer".to_owned(),
            },
        };
    }
    ask_keeper(&socket, "/v1/solo", Vec::new(), done).await
}

/// Asks the keeper beside this host's replica, which answers when it serves, or why it does not. After a restart the
/// order is not repeated: a keeper that took it carries it out by itself.
async fn go_on(context: &Context, database: &DatabaseName, manner: Manner) -> Outcome {
    let host = context.name();
    let socket = context.layout.keeper_socket(host, database.as_str());
    let done = format!("{database} goes on from {host}");
    if manner == Manner::Query {
        let status = request_unix(&socket, Method::GET, "/v1/status", Vec::new(), LOOK_LIMIT).await;
        let status = status
            .ok()
            .and_then(|(_, body)| serde_json::from_slice::<KeeperStatus>(&body).ok());
        let here = |status: &KeeperStatus| {
            status.lineage > 0 && status.sight.primary.as_deref() == Some(host)
        };
        return match status {
            Some(status) if here(&status) => Outcome::Done { detail: done },
            Some(status) => Outcome::Unknown {
                why: format!("it does not serve now: {}", status.sight.reason),
            },
            None => Outcome::Unknown {
                why: "the keeper does not answer".to_owned(),
            },
        };
    }
    match ask_keeper(&socket, "/v1/force", Vec::new(), done).await {
        // What is given up is the keeper's to say.
        Outcome::Done { detail } => Outcome::Done {
            detail: lost(&socket)
                .await
                .map_or(detail.clone(), |lost| format!("{detail}; {lost}")),
        },
        other => other,
    }
}

/// What the newest term of a database began without, in words.
async fn lost(socket: &Path) -> Option<String> {
    let status = request_unix(socket, Method::GET, "/v1/status", Vec::new(), LOOK_LIMIT).await;
    let (_, body) = status.ok()?;
    let status: KeeperStatus = serde_json::from_slice(&body).ok()?;
    let term = status.losses.last()?.term;
    let begins = status.lost_by(term).map(|loss| {
        let known = loss.until.as_ref().map_or_else(
            || "nothing is known of what others had beyond".to_owned(),
            |until| format!("others are known to have had it until {until}"),
        );
        let (after, timeline) = (&loss.after, loss.timeline);
        format!("term {term} begins after {after} of timeline {timeline}; {known}")
    });
    Some(begins.collect::<Vec<_>>().join("; "))
}

/// Asks the keeper of this host's replica to fill it anew; it answers when that is begun.
pub async fn order_refill(context: &Context, database: &str) -> Outcome {
    let socket = context.layout.keeper_socket(context.name(), database);
    let done = format!("the replica of {database} is being filled anew");
    ask_keeper(&socket, "/v1/refill", Vec::new(), done).await
}

/// What a keeper's answer says of what it was asked for. One that is begun and not seen to end, or that came too late, may be
/// done: whoever takes it for a failure does it twice.
fn answered(status: StatusCode, body: &[u8], done: String) -> Outcome {
    if status == StatusCode::OK {
        return Outcome::Done { detail: done };
    }
    let why = match serde_json::from_slice::<ControlAnswer>(body) {
        Ok(answer) => answer.reason,
        Err(_) => format!(
            "the keeper answered {status}: {}",
            String::from_utf8_lossy(body)
        ),
    };
    if status.is_success() || status == StatusCode::GATEWAY_TIMEOUT {
        Outcome::Unknown { why }
    } else {
        Outcome::Failed { why }
    }
}

async fn ask_keeper(socket: &Path, path: &str, body: Vec<u8>, done: String) -> Outcome {
    match request_unix(socket, Method::POST, path, body, ORDER_LIMIT).await {
        Ok((status, body)) => answered(status, &body, done),
        Err(error @ mainstay_rt::http::RequestError::Connect(..)) => {
            Outcome::Failed { why: chain(&error) }
        }
        Err(error) => Outcome::Unknown { why: chain(&error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the keeper began and did not see the end of may be done.
    #[test]
    fn what_is_begun_is_not_failed() {
        let of = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            match answered(status, body.as_bytes(), "moved".to_owned()) {
                Outcome::Done { detail } => format!("done: {detail}"),
                Outcome::Failed { why } => format!("failed: {why}"),
                Outcome::Unknown { why } => format!("unknown: {why}"),
            }
        };
        let said = |accepted: bool, reason: &str| {
            serde_json::json!({"accepted": accepted, "reason": reason}).to_string()
        };
        assert_eq!(of(200, &said(true, "ok")), "done: moved");
        let begun = said(true, "begun, and not seen to end");
        assert_eq!(of(202, &begun), "unknown: begun, and not seen to end");
        assert_eq!(of(504, &said(false, "late")), "unknown: late");
        assert_eq!(of(409, &said(false, "no standby")), "failed: no standby");
        assert_eq!(
            of(500, "oh"),
            "failed: the keeper answered 500 Internal Server Error: oh"
        );
    }
}
