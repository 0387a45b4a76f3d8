//! Commands that change something: each is journalled with actor and reason before anything happens.

use mainstay_record::node::{Command, InjectFault};

use crate::arguments::{Act, Clear, Failover, Inject, Solo, Switchover};
use crate::client::{command, command_saying, find};
use crate::exit::{Failure, Outcome};
use crate::print::line;

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
    command(&arguments.act, Command::InjectFault(fault))
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
    for fault in faults {
        match command(act, Command::ClearFault { id: fault.id }) {
            // Its time was over in between.
            Err(Failure::Refused { code, .. })
                if code == "no_such_fault" || code == "fault_ends_already" => {}
            cleared => cleared?,
        }
    }
    Ok(())
}

pub fn switchover(arguments: &Switchover) -> Outcome {
    let command_ = Command::Switchover {
        database: arguments.database.clone(),
        region: arguments.to.clone(),
    };
    command(&arguments.act, command_)
}

pub fn failover(arguments: &Failover) -> Outcome {
    let command_ = Command::Failover {
        database: arguments.database.clone(),
        host: arguments.to.clone(),
        accept_data_loss: arguments.accept_data_loss,
    };
    command(&arguments.act, command_)
}

pub fn solo(arguments: &Solo) -> Outcome {
    let database = arguments.database.clone();
    command(&arguments.act, Command::Solo { database })
}
