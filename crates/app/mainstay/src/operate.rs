//! Commands that change something: each is journalled with actor and reason before anything happens.

use std::time::Duration;

use http::{Method, StatusCode};
use mainstay_record::keeper::ControlAnswer;
use mainstay_record::node::{Command, InjectFault};

use crate::arguments::{Act, Clear, Failover, Inject, Solo, Switchover};
use crate::client::{ask, chain, command, command_past, command_saying, find, look};
use crate::exit::{Failure, Outcome};
use crate::print::{line, progress};

/// A node that was heard within this time may still lead.
const LEADER_HEARD_MS: u64 = 3_000;
/// An election is tried first.
const FORCE_LIMIT: Duration = Duration::from_secs(40);
/// Clears every fault in force.
const ALL: &str = "all";

pub fn pause(act: &Act) -> Outcome {
    command_saying(
        act,
        Command::Pause,
        "paused: Mainstay decides nothing until `mainstay resume`; what runs goes on",
    )
}

pub fn resume(act: &Act) -> Outcome {
    command_saying(act, Command::Resume, "resumed: Mainstay decides again")
}

pub fn inject(arguments: &Inject) -> Outcome {
    let millis = |time: std::time::Duration| {
        u64::try_from(time.as_millis()).map_err(|_| Failure::Usage("--for is too long".to_owned()))
    };
    let delay_us = arguments
        .by
        .map_or(0, |by| u64::try_from(by.as_micros()).unwrap_or(u64::MAX));
    let fault = InjectFault {
        kind: arguments.kind.name().to_owned(),
        target: arguments.target.clone(),
        lasts_ms: millis(arguments.lasts)?,
        one_way: arguments.one_way,
        delay_us,
        detail: arguments.detail.record(),
    };
    command_past(
        &arguments.act,
        Command::InjectFault(fault),
        &arguments.gates,
    )
}

pub fn clear(arguments: &Clear) -> Outcome {
    if arguments.id == ALL {
        return clear_all(&arguments.act);
    }
    command(
        &arguments.act,
        Command::ClearFault {
            id: arguments.id.clone(),
        },
    )
}

/// Each fault in force is a command, and an entry, of its own.
fn clear_all(act: &Act) -> Outcome {
    let (_, layout) = find(&act.platform)?;
    let faults = mainstay_host::faults::in_force(layout.data());
    if faults.is_empty() && !act.json {
        line("nothing is broken on purpose")?;
    }
    let mut first = Ok(());
    for fault in faults {
        match command(
            act,
            Command::ClearFault {
                id: fault.id.clone(),
            },
        ) {
            // Its time was over in between.
            Err(Failure::Refused { code, .. })
                if code == "no_such_fault" || code == "fault_ends_already" => {}
            // The others are ended all the same.
            cleared @ Err(_) if first.is_ok() => first = cleared,
            Err(another) => progress(format_args!("fault {}: {another}", fault.id)),
            Ok(()) => {}
        }
    }
    first
}

pub fn switchover(arguments: &Switchover) -> Outcome {
    let command_ = Command::Switchover {
        database: arguments.database.clone(),
        region: arguments.to.clone(),
    };
    command_past(&arguments.act, command_, &arguments.gates)
}

pub fn failover(arguments: &Failover) -> Outcome {
    if arguments.without_leader {
        return failover_by_keeper(arguments);
    }
    let command_ = Command::Failover {
        database: arguments.database.clone(),
        host: arguments.to.clone(),
        accept_data_loss: arguments.accept_data_loss,
    };
    command(&arguments.act, command_)
}

/// Nobody is left to journal it first. Whoever may use the keeper's socket is the user who runs the platform.
fn failover_by_keeper(arguments: &Failover) -> Outcome {
    let (_, layout) = find(&arguments.act.platform)?;
    let gathered = look(&layout)?;
    let others = gathered.others.values();
    let fresh = others.filter(|seen| seen.age_ms < LEADER_HEARD_MS);
    let mut facts = fresh.filter_map(|seen| seen.value.as_ref());
    let own = std::iter::once(&gathered.own);
    if let Some(leader) = own
        .chain(&mut facts)
        .find(|node| node.journal.role == "leading")
    {
        return Err(Failure::Refused {
            code: "leader_there".to_owned(),
            why: format!("{} leads, and can journal it first", leader.host),
            next: "leave --without-leader out".to_owned(),
        });
    }
    let socket = layout.keeper_socket(&arguments.to, &arguments.database);
    let (code, body) = ask(&socket, Method::POST, "/v1/force", Vec::new(), FORCE_LIMIT)
        .map_err(|error| Failure::Unknown { why: chain(&error) })?;
    let answer: ControlAnswer = serde_json::from_slice(&body).map_err(|_| Failure::Unknown {
        why: format!("the keeper answered {code}"),
    })?;
    if code == StatusCode::ACCEPTED || code == StatusCode::GATEWAY_TIMEOUT {
        return Err(Failure::Unknown { why: answer.reason });
    }
    if !code.is_success() {
        return Err(Failure::Refused {
            code: "keeper".to_owned(),
            why: answer.reason,
            next: "`mainstay status` shows what stands in the way".to_owned(),
        });
    }
    line(&answer.reason)?;
    line(
        "the order stands in the keeper's record only; the journal tells of what it gave up when somebody leads again",
    )?;
    Ok(())
}

pub fn solo(arguments: &Solo) -> Outcome {
    let database = arguments.database.clone();
    command(&arguments.act, Command::Solo { database })
}
