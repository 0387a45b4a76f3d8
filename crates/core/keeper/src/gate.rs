//! Holds back effects until the record they rest on is on disk.
//!
//! The core changes its mind in memory at once and writes it down; nothing that it does or says
//! afterwards leaves before the record is durable. So no other part has to think about the order of a
//! write and what follows from it. Only what makes the keeper *less* powerful (a stop, the end of a lease)
//! goes past the gate.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::durable::Durable;
use crate::effect::Effect;

#[derive(Debug, Default)]
pub(crate) struct Gate {
    ready: VecDeque<Effect>,
    held: VecDeque<Effect>,
    /// The record being written.
    writing: Option<u64>,
    sequence: u64,
}

impl Gate {
    pub fn emit(&mut self, effect: Effect) {
        if self.writing.is_some() {
            self.held.push_back(effect);
        } else {
            self.ready.push_back(effect);
        }
    }

    /// Past the gate; what it contradicts and is still held is dropped by the caller.
    pub fn emit_now(&mut self, effect: Effect) {
        self.ready.push_back(effect);
    }

    pub fn persist(&mut self, durable: &Durable) {
        self.sequence += 1;
        let effect = Effect::Persist {
            sequence: self.sequence,
            durable: Box::new(durable.clone()),
        };
        if self.writing.is_some() {
            self.held.push_back(effect);
        } else {
            self.writing = Some(self.sequence);
            self.ready.push_back(effect);
        }
    }

    pub fn persisted(&mut self, sequence: u64) {
        if self.writing != Some(sequence) {
            return;
        }
        self.writing = None;
        while let Some(effect) = self.held.pop_front() {
            if let Effect::Persist { sequence, .. } = &effect {
                self.writing = Some(*sequence);
                self.ready.push_back(effect);
                return;
            }
            self.ready.push_back(effect);
        }
    }

    /// Drops held leases, so that none is written after it was given up.
    pub fn drop_leases(&mut self) {
        let lease = |effect: &Effect| !matches!(effect, Effect::WriteLease { .. });
        self.held.retain(lease);
        self.ready.retain(lease);
    }

    /// Drops held commands, so that none reaches the server after a stop that went past them.
    pub fn drop_commands(&mut self) {
        self.held
            .retain(|effect| !matches!(effect, Effect::Postgres { .. }));
    }

    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn swap(&mut self, room: &mut VecDeque<Effect>) {
        assert!(room.is_empty(), "what is there already would come later");
        core::mem::swap(&mut self.ready, room);
    }

    pub fn poll(&mut self) -> Option<Effect> {
        self.ready.pop_front()
    }
}
