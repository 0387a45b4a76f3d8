//! What there is beside the journal: processes, a primary, faults with their guardians, channels; and a witness who
//! writes down what really happened and knows nothing of why.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_kernel::{EffectId, FaultId};

/// What the witness saw. `length` is that of the journal at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Died {
        node: String,
        moment: &'static str,
        length: u64,
    },
    /// A hand changed something, on the strength of this order.
    Did {
        order: u64,
        what: String,
        length: u64,
    },
    Said {
        order: u64,
        number: u64,
        channel: String,
        kind: &'static str,
        node: String,
        length: u64,
    },
    FaultSet {
        order: u64,
        fault: String,
        until_ms: u64,
        length: u64,
    },
    FaultOver {
        fault: String,
        at_ms: u64,
    },
    /// The gauges were really looked at, on the strength of this order, until then.
    Measured {
        order: u64,
        moment: &'static str,
        until_ms: u64,
        length: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOnDisk {
    Prepared,
    Set,
    Undone,
}

#[derive(Clone, Debug)]
pub struct FaultRecord {
    pub on_disk: FaultOnDisk,
    /// Known to have been set, also when it is over.
    pub was_set: bool,
    pub until_ms: u64,
    pub guarded: bool,
}

/// What a host wrote down before it began.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    pub process: u64,
}

/// A keeper that was asked moves the primary whether or not anybody waits for it.
#[derive(Clone, Debug)]
pub struct Move {
    pub order: u64,
    pub to: &'static str,
    pub open_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Reality {
    /// Instances of `web`, by host: the process that runs.
    pub web: BTreeMap<&'static str, u64>,
    /// Where it is slow until it is restarted.
    pub slow: BTreeSet<&'static str>,
    pub primary: (&'static str, u32),
    pub moving: Option<Move>,
    /// How often the program ran.
    pub warmed: u64,
    pub faults: BTreeMap<FaultId, FaultRecord>,
    /// On the disks of hosts.
    pub deeds: BTreeMap<(&'static str, EffectId), Deed>,
    /// How often targets were chosen: never the same twice.
    pub choices: u64,
    pub facts: Vec<Fact>,
}

impl Reality {
    pub fn new() -> Self {
        Self {
            web: [("h1", 1), ("h2", 1)].into(),
            slow: BTreeSet::new(),
            primary: ("h1", 1),
            moving: None,
            warmed: 0,
            faults: BTreeMap::new(),
            deeds: BTreeMap::new(),
            choices: 0,
            facts: Vec::new(),
        }
    }

    pub fn did(&mut self, order: EffectId, what: &str, length: u64) {
        self.facts.push(Fact::Did {
            order: order.0.0,
            what: what.to_string(),
            length,
        });
    }

    /// What goes on by itself: keepers open, guardians end what they guard.
    pub fn pass(&mut self, now_ms: u64, length: u64) {
        if let Some(done) = self.moving.take_if(|moving| now_ms >= moving.open_ms) {
            self.primary = (done.to, self.primary.1 + 1);
            let what = format!("move to {}", done.to);
            self.did(
                EffectId(mainstay_units::Position(done.order)),
                &what,
                length,
            );
        }
        let over = |record: &FaultRecord| record.guarded && now_ms >= record.until_ms;
        let over: Vec<FaultId> = self
            .faults
            .iter()
            .filter(|(_, record)| over(record))
            .map(|(fault, _)| *fault)
            .collect();
        for fault in over {
            self.undo(fault, now_ms);
        }
    }

    /// Any node looks for what is overdue and has nobody who ends it.
    pub fn sweep(&mut self, now_ms: u64) {
        let overdue: Vec<FaultId> = self
            .faults
            .iter()
            .filter(|(_, record)| now_ms >= record.until_ms + 1_000)
            .map(|(fault, _)| *fault)
            .collect();
        for fault in overdue {
            self.undo(fault, now_ms);
        }
    }

    pub fn undo(&mut self, fault: FaultId, at_ms: u64) {
        let Some(record) = self.faults.get_mut(&fault) else {
            return;
        };
        if record.on_disk == FaultOnDisk::Set {
            let fault = fault.to_string();
            self.facts.push(Fact::FaultOver { fault, at_ms });
        }
        record.on_disk = FaultOnDisk::Undone;
    }
}
