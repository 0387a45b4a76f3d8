//! Commands that change something: each is journalled with actor and reason before anything happens.

use mainstay_record::node::{Command, InjectFault};

use crate::arguments::{Act, Clear, Inject, Switchover};
use crate::client::command;
use crate::exit::{Failure, Outcome};

pub fn pause(act: &Act) -> Outcome {
    command(act, Command::Pause)
}

pub fn resume(act: &Act) -> Outcome {
    command(act, Command::Resume)
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
    };
    command(&arguments.act, Command::InjectFault(fault))
}

pub fn clear(arguments: &Clear) -> Outcome {
    command(
        &arguments.act,
        Command::ClearFault {
            id: arguments.id.clone(),
        },
    )
}

pub fn switchover(arguments: &Switchover) -> Outcome {
    let command_ = Command::Switchover {
        database: arguments.database.clone(),
        region: arguments.to.clone(),
    };
    command(&arguments.act, command_)
}
