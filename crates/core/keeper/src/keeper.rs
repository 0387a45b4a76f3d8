//! The object that joins the parts.

use alloc::collections::VecDeque;

use mainstay_units::Instant;

use crate::config::{Config, ConfigError};
use crate::durable::Durable;
use crate::effect::Effect;
use crate::input::Input;
use crate::status::{Status, WakeReason};

/// One keeper. See the crate's documentation for how a shell drives it.
#[derive(Debug)]
pub struct Keeper {
    config: Config,
    durable: Durable,
    status: Status,
    effects: VecDeque<Effect>,
}

impl Keeper {
    /// `loaded` is the record on disk, `None` if there is none. The first input after it should be an
    /// `Observed`; nothing is done to a server that was not observed.
    pub fn new(config: Config, loaded: Option<Durable>, now: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        let _ = now;
        Ok(Self {
            config,
            durable: loaded.unwrap_or_default(),
            status: Status::default(),
            effects: VecDeque::new(),
        })
    }

    /// Takes in one thing that happened at `now`. Times of successive calls never fall.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let _ = (now, input, &self.config, &self.durable);
    }

    /// The next thing to do; drain after every `handle` and after `new`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call `handle` with a tick if nothing happens before.
    pub fn next_deadline(&self) -> Option<(Instant, WakeReason)> {
        None
    }

    /// What this keeper says of itself.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What is on disk, or will be when the pending `Persist` is done.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }
}
