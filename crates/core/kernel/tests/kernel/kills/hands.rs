//! The hands of a node, as it carries out what the journal orders: what is about to be done is written down, then done,
//! then told. A model of `effects.rs` and `deeds.rs` of the node, with a moment to die before and after each.

use mainstay_kernel::{
    Assigned, Effect, ExperimentTold, ExperimentWork, FaultId, FaultKind, Finding, Manner, Moment,
    Observation, Outcome, Signal, Told, Work,
};
use mainstay_playbook::{Act, Condition, Look};

use super::planted::Planted;
use super::reality::{Deed, Fact, FaultOnDisk, FaultRecord, Move};
use super::world::{Waits, World};
use crate::stage::fault;

/// How long a keeper takes to open.
const MOVE_MS: u64 = 600;

pub fn done(detail: &str) -> Outcome {
    Outcome::Done {
        detail: detail.to_string(),
    }
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed {
        why: why.to_string(),
    }
}

fn unknown(why: &str) -> Outcome {
    Outcome::Unknown {
        why: why.to_string(),
    }
}

fn all_well(moment: Moment) -> Told {
    let seen = Observation {
        subject: format!("{} gauges", moment.as_str()),
        value: "1".to_string(),
        finding: Finding::Holds,
    };
    Told::Looked {
        seen: match moment {
            Moment::Over => Vec::new(),
            Moment::Before | Moment::During | Moment::After => vec![seen],
        },
        halt: None,
        residue: Vec::new(),
    }
}

/// What a hand has to say for now.
enum Hand {
    Tells(Outcome),
    Knows(Told),
    Waits(u64),
}

impl World {
    /// Nothing if the node dies over it.
    pub fn begin(&mut self, host: &'static str, assigned: Assigned) -> Option<()> {
        let trusts = self.planted == Planted::TrustsItsPredecessor;
        let hand = match (&assigned.effect, assigned.manner) {
            (_, Manner::Query) if trusts => Hand::Tells(done("surely it was done")),
            (Effect::Playbook(Work::Look(look)), _) => {
                self.lives(host, "about to look").then_some(())?;
                Hand::Waits(look.within_ms)
            }
            (Effect::Playbook(Work::Act { act, limit_ms, .. }), _) => {
                self.act(host, &assigned, act, *limit_ms)?
            }
            (Effect::Experiment(work), manner) => {
                let work = work.clone();
                self.experiment(host, &assigned, &work, manner)?
            }
            (Effect::Notify { .. }, _) => self.say(host, &assigned)?,
            (
                Effect::SetFault {
                    fault, until_ms, ..
                },
                _,
            ) => self.set_fault(host, &assigned, *fault, *until_ms)?,
            (Effect::ClearFault { fault }, _) => {
                self.lives(host, "about to end a fault").then_some(())?;
                let now_ms = self.now_ms;
                if self.planted != Planted::EndsInWords {
                    self.reality.undo(*fault, now_ms);
                }
                self.lives(host, "ended a fault, not told").then_some(())?;
                Hand::Tells(done("it is over"))
            }
            (effect, _) => unreachable!("no part of this story: {effect:?}"),
        };
        match hand {
            Hand::Tells(outcome) => self.told(host, &assigned, outcome),
            Hand::Knows(told) => self.knows(host, &assigned, told),
            Hand::Waits(limit_ms) => {
                let deadline_ms = self.now_ms + limit_ms;
                self.node(host).waits.push(Waits {
                    assigned,
                    deadline_ms,
                });
            }
        }
        Some(())
    }

    fn told(&mut self, host: &'static str, assigned: &Assigned, outcome: Outcome) {
        let now_ms = self.now_ms;
        let effect = assigned.id;
        let signal = Signal::Answered { effect, outcome };
        self.node(host).driver.submit(now_ms, signal);
    }

    fn knows(&mut self, host: &'static str, assigned: &Assigned, told: Told) {
        let (now_ms, effect) = (self.now_ms, assigned.id);
        let signal = Signal::Experiment(ExperimentTold { effect, told });
        self.node(host).driver.submit(now_ms, signal);
    }

    fn experiment(
        &mut self,
        host: &'static str,
        assigned: &Assigned,
        work: &ExperimentWork,
        manner: Manner,
    ) -> Option<Hand> {
        match work {
            ExperimentWork::Choose { .. } => {
                self.lives(host, "about to choose").then_some(())?;
                self.reality.choices += 1;
                let target = format!("h{}/web", 1 + self.reality.choices % 3);
                let chosen = fault(FaultKind::ProcessFreeze, &target, 4_000);
                if self.planted == Planted::SetsWhatItChooses {
                    let until_ms = self.now_ms + 4_000;
                    let id = FaultId(1_000 + self.reality.choices);
                    self.set_fault(host, assigned, id, until_ms)?;
                }
                self.lives(host, "chosen, not told").then_some(())?;
                Some(Hand::Knows(Told::Chosen {
                    what: target,
                    faults: vec![chosen],
                }))
            }
            ExperimentWork::Look {
                moment, within_ms, ..
            } => {
                self.lives(host, "about to look at the gauges")
                    .then_some(())?;
                if manner == Manner::Query && self.planted == Planted::SeenWithoutLooking {
                    return Some(Hand::Knows(all_well(*moment)));
                }
                match moment {
                    Moment::During => Some(Hand::Waits(*within_ms)),
                    Moment::Before | Moment::After | Moment::Over => {
                        let told = self.measured(assigned, *moment);
                        self.lives(host, "measured, not told").then_some(())?;
                        Some(Hand::Knows(told))
                    }
                }
            }
        }
    }

    fn measured(&mut self, assigned: &Assigned, moment: Moment) -> Told {
        let fact = Fact::Measured {
            order: assigned.id.0.0,
            moment: moment.as_str(),
            until_ms: self.now_ms,
            length: self.length(),
        };
        self.reality.facts.push(fact);
        all_well(moment)
    }

    /// What was begun and takes its time.
    pub fn finish_waits(&mut self, host: &'static str) -> Option<()> {
        let waits = std::mem::take(&mut self.node(host).waits);
        for wait in waits {
            let over = self.now_ms >= wait.deadline_ms;
            if let Effect::Experiment(_) = &wait.assigned.effect {
                self.finish_gaze(host, wait, over)?;
                continue;
            }
            let outcome = match &wait.assigned.effect {
                Effect::Playbook(Work::Look(look)) => self.look(look, over),
                Effect::Playbook(Work::Act { .. }) => self.moved(&wait, over),
                other => unreachable!("nobody waits for {other:?}"),
            };
            match outcome {
                Some(outcome) => {
                    self.lives(host, "seen, not told").then_some(())?;
                    self.told(host, &wait.assigned, outcome);
                }
                None => self.node(host).waits.push(wait),
            }
        }
        Some(())
    }

    /// A look at the gauges that takes its time, and that nobody may wait for any more.
    fn finish_gaze(&mut self, host: &'static str, wait: Waits, over: bool) -> Option<()> {
        let state = self.nodes[host].driver.state();
        if !state.outstanding.contains_key(&wait.assigned.id) {
            return Some(());
        }
        if !over {
            self.node(host).waits.push(wait);
            return Some(());
        }
        let told = self.measured(&wait.assigned, Moment::During);
        self.lives(host, "measured, not told").then_some(())?;
        self.knows(host, &wait.assigned, told);
        Some(())
    }

    fn look(&self, look: &Look, over: bool) -> Option<Outcome> {
        let holds = match &look.condition {
            Condition::Ready { .. } => !self.reality.slow.contains("h2"),
            Condition::Query(_) => self.reality.warmed > 0,
            Condition::Primary { region, .. } => {
                self.reality.primary.0.replace('h', "r") == *region
            }
            other => unreachable!("no part of this story: {other:?}"),
        };
        match (holds, over) {
            (true, _) => Some(done("it is to be seen")),
            (false, true) => Some(failed("it is not to be seen")),
            (false, false) => None,
        }
    }

    fn moved(&self, wait: &Waits, over: bool) -> Option<Outcome> {
        let Effect::Playbook(Work::Act {
            act: Act::Switchover { to, .. },
            ..
        }) = &wait.assigned.effect
        else {
            unreachable!("only a move takes its time");
        };
        match (self.reality.primary.0 == *to, over) {
            (true, _) => Some(done("it is there")),
            (false, true) => Some(unknown("the keeper did not say")),
            (false, false) => None,
        }
    }

    fn act(
        &mut self,
        host: &'static str,
        assigned: &Assigned,
        act: &Act,
        limit_ms: u64,
    ) -> Option<Hand> {
        self.lives(host, "about to write it down").then_some(())?;
        let deed = (host, assigned.id);
        let process = self.reality.web.get("h2").copied().unwrap_or(0);
        let before = self.reality.deeds.get(&deed).copied();
        if let Some(before) = before.filter(|_| self.planted != Planted::RepeatsBlindly) {
            return Some(self.found(host, act, before, process));
        }
        if self.planted != Planted::WritesNothingDown {
            self.reality.deeds.insert(deed, Deed { process });
        }
        self.lives(host, "written down, not begun").then_some(())?;
        let length = self.length();
        let hand = match act {
            Act::Restart { .. } => {
                if let Some(process) = self.reality.web.get_mut("h2") {
                    *process += 1;
                }
                self.reality.slow.remove("h2");
                self.reality.did(assigned.id, "restart", length);
                Hand::Tells(done("a new process"))
            }
            Act::Run { .. } => {
                self.reality.warmed += 1;
                self.reality.did(assigned.id, "run", length);
                Hand::Tells(done("it left with code 0"))
            }
            Act::Switchover { to, .. } => {
                let to = super::world::HOSTS.into_iter().find(|host| host == to)?;
                self.reality.moving = Some(Move {
                    order: assigned.id.0.0,
                    to,
                    open_ms: self.now_ms + MOVE_MS,
                });
                Hand::Waits(limit_ms)
            }
            other => unreachable!("the journal does it: {other:?}"),
        };
        self.lives(host, "done, not told").then_some(())?;
        Some(hand)
    }

    /// It was begun before: what is to be seen decides.
    fn found(&self, _host: &'static str, act: &Act, before: Deed, process: u64) -> Hand {
        Hand::Tells(match act {
            Act::Restart { .. } if before.process == process => failed("the process from before"),
            Act::Restart { .. } => done("a new process"),
            Act::Switchover { to, .. } if self.reality.primary.0 == *to => done("it is there"),
            Act::Switchover { .. } => unknown("it was begun before"),
            _ => unknown("its node ended while it ran"),
        })
    }

    fn say(&mut self, host: &'static str, assigned: &Assigned) -> Option<Hand> {
        let Effect::Notify { notice } = &assigned.effect else {
            unreachable!("a notice is said");
        };
        if assigned.manner == Manner::Query && self.planted == Planted::SaidIsSaid {
            return Some(Hand::Tells(done("surely it was said")));
        }
        self.lives(host, "about to say it").then_some(())?;
        let times = match self.planted {
            Planted::SaysItAgain => 2,
            _ => 1,
        };
        for _ in 0..times {
            let fact = Fact::Said {
                order: assigned.id.0.0,
                number: notice.number,
                channel: notice.to.channel.clone(),
                kind: notice.kind.as_str(),
                node: host.to_string(),
                length: self.length(),
            };
            self.reality.facts.push(fact);
        }
        self.lives(host, "said, not told").then_some(())?;
        Some(Hand::Tells(done("said")))
    }

    fn set_fault(
        &mut self,
        host: &'static str,
        assigned: &Assigned,
        fault: FaultId,
        until_ms: u64,
    ) -> Option<Hand> {
        self.lives(host, "about to write a fault down")
            .then_some(())?;
        let before = self.reality.faults.get(&fault);
        if let Some(record) = before.filter(|_| self.planted != Planted::SetsAgain) {
            return Some(Hand::Tells(match record.on_disk {
                FaultOnDisk::Prepared => unknown("prepared, and not known to be set"),
                FaultOnDisk::Undone if !record.was_set => failed("undone before it was set"),
                FaultOnDisk::Set | FaultOnDisk::Undone => done("it is set"),
            }));
        }
        if self.now_ms >= until_ms {
            return Some(Hand::Tells(failed("its time was over")));
        }
        let mut record = FaultRecord {
            on_disk: FaultOnDisk::Prepared,
            was_set: false,
            until_ms,
            guarded: false,
        };
        self.reality.faults.insert(fault, record.clone());
        self.lives(host, "a fault is prepared").then_some(())?;
        record.guarded = self.planted != Planted::FaultWithoutGuardian;
        record.on_disk = FaultOnDisk::Set;
        record.was_set = true;
        self.reality.faults.insert(fault, record);
        let fact = Fact::FaultSet {
            order: assigned.id.0.0,
            fault: fault.to_string(),
            until_ms,
            length: self.length(),
        };
        self.reality.facts.push(fact);
        self.lives(host, "a fault is set, not told").then_some(())?;
        Some(Hand::Tells(done("it is set")))
    }
}
