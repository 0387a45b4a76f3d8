//! The watch: following the journal, taking the lead, leading, and noticing that one leads no more.
//!
//! Sans IO: the node hands in records that it read, heartbeats that it heard, signals that it has, and the
//! time; it takes out batches to append, effects to carry out and what its own heartbeat is to say.
//!
//! Leadership is nothing but the newest claim in the journal. A follower claims when the leader's heartbeat
//! stood still on the follower's own clock; a leader whose batch finds its position taken follows from then
//! on. Suspicion starts afresh when the observer itself was late: a node that was frozen, or that starved on
//! a busy machine, has no idea how long the others were silent.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use mainstay_model::name::{HostName, PlatformName};
use mainstay_units::{Epoch, Instant};

use crate::decide::{HOST_LOST_AFTER_MS, decide, next_due_ms};
use crate::effect::{Assigned, EffectId, Executor, Manner};
use crate::event::{Cause, ClaimReason, Event, Record};
use crate::signal::Signal;
use crate::state::{CannotLead, State};
use crate::waiting::Waiting;

/// A leader is silent when its heartbeat did not change for so long. Nodes beat twice a second.
pub const LEADER_SILENT_AFTER: Duration = Duration::from_secs(3);
/// Followers claim one after the other, so that mostly only one does.
const CLAIM_STAGGER: Duration = Duration::from_millis(300);
/// An observer that did not look for so long cannot say that others were silent.
const OBSERVER_LATE_AFTER: Duration = Duration::from_secs(1);
/// How much of a former leader's silence whoever leads next takes over: the rest he waits for himself.
const SILENCE_TAKEN_OVER: Duration = Duration::from_secs(5);
/// Signals decided in one batch.
const BATCH_SIGNALS_MAX: usize = 256;
/// Signals that wait for the next batch; further ones stay with their nodes, which offer them again.
const INBOX_MAX: usize = 4_096;
/// Signals of this node that wait for a leader; with more, something is wrong and the newest are refused.
const OUTBOX_MAX: usize = 1_024;
/// So many of them travel in one heartbeat.
const PENDING_PER_BEAT_MAX: usize = 128;
/// Numbers of signals are taken from the wall clock, so that they grow over restarts.
const NUMBERS_PER_MS: u64 = 1_000;
/// A command that reaches a leader later than this is not carried out: whoever gave it has long gone. It may
/// stand in the heartbeat of a node that died.
const COMMAND_AGE_MS_MAX: u64 = 60_000;
/// Whoever lives beats again within this.
const SAID_AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// The number that no heartbeat has.
const NEVER: u64 = u64::MAX;
/// Answers to signals that led to nothing, kept for the nodes that wait for them.
const PASSED_MAX: usize = 64;

/// How the first node names a new journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub origin: String,
    pub platform: PlatformName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not at the end of the journal yet.
    CatchingUp,
    Following,
    Leading(Epoch),
    CannotLead(CannotLead),
}

/// Another node's heartbeat, or one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub node: HostName,
    /// Any change means that the node lives.
    pub number: u64,
    pub key: String,
    pub leads: Option<Epoch>,
    pub pending: Vec<(u64, Signal)>,
    pub passed: Vec<Passed>,
}

/// A signal that was looked at and led to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub cause: Cause,
    pub why: String,
}

/// Records to append as one part, and the state that they lead to.
#[derive(Debug)]
pub struct Batch {
    pub records: Vec<Record>,
    after: Box<State>,
    claims: Option<Epoch>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    number: u64,
    at: Instant,
}

#[derive(Debug)]
pub struct Driver {
    me: HostName,
    key: String,
    opening: Opening,
    state: State,
    caught_up: Option<Instant>,
    leads: Option<Epoch>,
    /// Signals of this node that are not known to be looked at, oldest first.
    outbox: VecDeque<(u64, Signal)>,
    numbered: u64,
    inbox: VecDeque<(Option<Cause>, Signal)>,
    /// The highest signal of each node that is in the inbox or was decided under this leadership.
    queued: BTreeMap<HostName, u64>,
    heard: BTreeMap<HostName, Heard>,
    leader_heard: Option<Instant>,
    turned: Option<Instant>,
    /// When the newest record was taken up, and this host's wall clock when it was looked at last.
    newest: Option<Instant>,
    wall: Option<(Instant, u64)>,
    /// Since when each command of this node waits, by this node's own clock.
    given: BTreeMap<u64, Instant>,
    /// Nodes that seem to be dead by what they ask for, and the first of it that is old.
    doubted: BTreeMap<HostName, (u64, Instant)>,
    passed: VecDeque<Passed>,
    begun: BTreeSet<EffectId>,
    assigned: VecDeque<Assigned>,
    waiting: Waiting,
}

impl Driver {
    /// `key` is the public key of the node that `me` names.
    pub fn new(me: HostName, key: String, opening: Opening) -> Self {
        Self {
            me,
            key,
            opening,
            state: State::default(),
            caught_up: None,
            leads: None,
            outbox: VecDeque::new(),
            numbered: 0,
            inbox: VecDeque::new(),
            queued: BTreeMap::new(),
            heard: BTreeMap::new(),
            leader_heard: None,
            turned: None,
            newest: None,
            wall: None,
            given: BTreeMap::new(),
            doubted: BTreeMap::new(),
            passed: VecDeque::new(),
            begun: BTreeSet::new(),
            assigned: VecDeque::new(),
            waiting: Waiting::default(),
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn role(&self) -> Role {
        match (self.caught_up, self.leads) {
            (None, _) => Role::CatchingUp,
            (Some(_), Some(epoch)) => Role::Leading(epoch),
            (Some(_), None) => match self.state.may_lead(&self.me, &self.key) {
                Ok(()) => Role::Following,
                Err(why) => Role::CannotLead(why),
            },
        }
    }

    /// The epoch in which this node leads, for its heartbeat.
    pub fn leads(&self) -> Option<Epoch> {
        self.leads
    }

    /// For the leader's heartbeat.
    pub fn passed(&self) -> impl Iterator<Item = &Passed> {
        self.passed.iter()
    }

    /// How long the leader was not heard, on this node's clock. `None` if this node leads.
    pub fn leader_silent(&self, now: Instant) -> Option<Duration> {
        match self.leads {
            Some(_) => None,
            None => Some(now.since(self.leader_heard.or(self.caught_up)?)),
        }
    }

    /// Hands in a signal of this node: a command, a report, an outcome. It waits here, and in this node's
    /// heartbeat, until a leader looked at it. `None` if too many wait already. The numbers of a node grow over
    /// restarts as long as its wall clock does not step back by more than it was down.
    pub fn submit(&mut self, wall_ms: u64, signal: Signal) -> Option<Cause> {
        if self.outbox.len() >= OUTBOX_MAX {
            return None;
        }
        let taken = self.state.taken.get(&self.me).copied().unwrap_or(0);
        let least = taken.max(self.numbered).saturating_add(1);
        self.numbered = wall_ms.saturating_mul(NUMBERS_PER_MS).max(least);
        self.outbox.push_back((self.numbered, signal));
        if let Some(turned) = self.turned {
            self.given.insert(self.numbered, turned);
        }
        Some(Cause {
            node: self.me.clone(),
            number: self.numbered,
        })
    }

    /// For this node's heartbeat.
    pub fn pending(&self) -> impl Iterator<Item = &(u64, Signal)> {
        self.outbox.iter().take(PENDING_PER_BEAT_MAX)
    }

    pub fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    /// A record that was read from the journal, in order. Those of one's own batches come through
    /// [`Driver::handle_appended`] instead.
    pub fn handle_record(&mut self, now: Instant, record: &Record) {
        self.state.apply(record);
        self.newest = Some(now);
        self.waiting.handle_record(record);
        self.clear_outbox();
        if let Event::Claimed { node, .. } = &record.event {
            // Whoever claims lives; and a claim that was read is not one's own of this run.
            self.leads = None;
            self.leader_heard = (*node != self.me).then_some(now);
            self.forget_signals();
        }
        let manner = match self.caught_up {
            Some(_) => Manner::Start,
            None => Manner::Query,
        };
        self.assign(manner);
    }

    /// The end of the journal was reached.
    pub fn handle_caught_up(&mut self, now: Instant) {
        self.caught_up.get_or_insert(now);
    }

    /// What the leader itself notices. It comes again if it is dropped here.
    fn notice(&mut self, signal: Signal) {
        if self.inbox.len() < INBOX_MAX {
            self.inbox.push_back((None, signal));
        }
    }

    /// A numbered signal, unless it was looked at or waits already.
    fn enqueue(&mut self, cause: Cause, signal: Signal) {
        let highest =
            |numbers: &BTreeMap<HostName, u64>| numbers.get(&cause.node).copied().unwrap_or(0);
        if cause.number <= highest(&self.state.taken) || self.inbox.len() >= INBOX_MAX {
            return;
        }
        if cause.number > highest(&self.queued) {
            self.queued.insert(cause.node.clone(), cause.number);
            self.inbox.push_back((Some(cause), signal));
            return;
        }
        // Looked at and passed, but its node does not know yet.
        let waits = self.inbox.iter().any(|(c, _)| c.as_ref() == Some(&cause));
        if !waits && !self.passed.iter().any(|passed| passed.cause == cause) {
            self.pass(cause, "looked at before".to_string());
        }
    }

    pub fn handle_beat(&mut self, now: Instant, beat: Beat) {
        let before = self.heard.get(&beat.node).map(|heard| heard.number);
        if before == Some(beat.number) {
            return;
        }
        let heard = Heard {
            number: beat.number,
            at: now,
        };
        self.heard.insert(beat.node.clone(), heard);
        if self.state.leader.as_ref() == Some(&beat.node) && beat.leads == Some(self.state.epoch) {
            self.leader_heard = Some(now);
            for passed in &beat.passed {
                self.handle_passed(&passed.cause, &passed.why);
            }
        }
        if self.leads.is_some() {
            self.take_beat(now, beat);
        }
    }

    /// What a leader takes from a heartbeat, its own included.
    fn take_beat(&mut self, now: Instant, beat: Beat) {
        if self.state.keys.get(&beat.node) != Some(&beat.key) {
            let (node, key) = (beat.node.clone(), beat.key.clone());
            self.notice(Signal::KeyOffered { node, key });
        }
        if self.state.lost.contains_key(&beat.node) {
            let host = beat.node.clone();
            self.notice(Signal::HostHeard { host });
        }
        if self.is_of_the_dead(now, &beat) {
            return;
        }
        for (number, signal) in beat.pending {
            let node = beat.node.clone();
            self.enqueue(Cause { node, number }, signal);
        }
    }

    /// Whether this may be the last word of a node that died: it asks for something that was handed in long ago, by the number.
    /// Clocks differ, so nothing is made of that alone: whoever lives says it again, and drops by his own clock what is too old.
    fn is_of_the_dead(&mut self, now: Instant, beat: &Beat) -> bool {
        let (at, wall_ms) = self.wall.unwrap_or((now, 0));
        let wall_ms = wall_ms.saturating_add(milliseconds(now.since(at)));
        let is_old = |number: u64| number / NUMBERS_PER_MS + COMMAND_AGE_MS_MAX < wall_ms;
        let old = beat
            .pending
            .iter()
            .find(|(number, signal)| matches!(signal, Signal::Commanded(_)) && is_old(*number));
        let Some((number, _)) = old else {
            self.doubted.remove(&beat.node);
            return false;
        };
        let before = self.doubted.insert(beat.node.clone(), (*number, now));
        let says_it_again = before
            .is_some_and(|(before, at)| before <= *number && now.since(at) <= SAID_AGAIN_WITHIN);
        !says_it_again
    }

    /// Commands of this node that waited too long, by its own clock, are carried out no more.
    fn drop_what_is_old(&mut self, now: Instant) {
        let outbox = &self.outbox;
        self.given
            .retain(|given, _| outbox.iter().any(|(number, _)| number == given));
        let mut old = Vec::new();
        for (number, signal) in &self.outbox {
            if matches!(signal, Signal::Commanded(_)) {
                let since = *self.given.entry(*number).or_insert(now);
                if milliseconds(now.since(since)) > COMMAND_AGE_MS_MAX {
                    old.push(*number);
                }
            }
        }
        for number in old {
            let node = self.me.clone();
            self.handle_passed(&Cause { node, number }, "given too long ago; give it again");
        }
    }

    /// The time of what is decided now: this host's clock. Where the journal is ahead of it, because somebody's clock was, time
    /// goes on from there all the same, a tenth slower, until the clock has caught up.
    fn time(&self, now: Instant, wall_ms: u64) -> u64 {
        let since = self
            .newest
            .map_or(Duration::ZERO, |newest| now.since(newest));
        let went_on = milliseconds(since) / 10 * 9;
        wall_ms.max(self.state.now_ms.saturating_add(went_on))
    }

    fn handle_passed(&mut self, cause: &Cause, why: &str) {
        self.waiting.handle_passed(cause, why);
        if cause.node == self.me {
            self.outbox.retain(|(number, _)| *number != cause.number);
        }
    }

    /// Signals of this node that led to events need not be offered any more.
    fn clear_outbox(&mut self) {
        if let Some(taken) = self.state.taken.get(&self.me) {
            self.outbox.retain(|(number, _)| number > taken);
        }
    }

    /// The next batch to append, if there is one: the opening, a claim, or decisions. Exactly one of
    /// [`Driver::handle_appended`] and [`Driver::handle_rejected`] follows.
    pub fn poll_batch(&mut self, now: Instant, wall_ms: u64) -> Option<Batch> {
        self.start_suspicion_afresh_if_late(now);
        self.wall = Some((now, wall_ms));
        self.drop_what_is_old(now);
        self.caught_up?;
        let at_ms = self.time(now, wall_ms);
        if self.state.origin.is_none() {
            return Some(self.open(at_ms));
        }
        match self.leads {
            Some(epoch) => self.work(now, at_ms, epoch),
            None => {
                let why = self.reason_to_claim(now)?;
                let epoch = self.state.epoch.next()?;
                let node = self.me.clone();
                let event = Event::Claimed { epoch, node, why };
                Some(self.batch(at_ms, epoch, vec![(None, event)], Some(epoch)))
            }
        }
    }

    /// The batch is durable.
    pub fn handle_appended(&mut self, now: Instant, batch: Batch) {
        let led_before = self.state.leader.clone();
        self.state = *batch.after;
        self.newest = Some(now);
        for record in &batch.records {
            self.waiting.handle_record(record);
        }
        self.clear_outbox();
        if let Some(epoch) = batch.claims {
            self.leads = Some(epoch);
            self.leader_heard = None;
            self.forget_signals();
            // Nobody was listened to before but the leader, whose silence is the reason: that of all others is counted from
            // here. It, too, has some time to be heard by whoever leads now, who may have been away himself.
            for (host, heard) in &mut self.heard {
                let since = match led_before.as_ref() == Some(host) {
                    true => now.since(heard.at).min(SILENCE_TAKEN_OVER),
                    false => Duration::ZERO,
                };
                heard.at = now - since;
            }
            // Orders of earlier leaders may have been begun.
            self.assign(Manner::Query);
        }
        self.assign(Manner::Start);
    }

    /// The batch cannot be written at all (an entry would be too large, say). Its signals are given up, or they
    /// would be tried for ever; this node goes on leading.
    pub fn handle_unwritable(&mut self, batch: Batch, why: &str) {
        let causes = batch.records.into_iter().filter_map(|record| record.cause);
        for cause in causes.collect::<BTreeSet<_>>() {
            self.pass(cause, why.to_string());
        }
    }

    /// The batch was not appended, or nobody knows whether it was: this node leads no more, and reads on.
    pub fn handle_rejected(&mut self) {
        self.leads = None;
        self.forget_signals();
    }

    pub fn poll_effect(&mut self) -> Option<Assigned> {
        while let Some(assigned) = self.assigned.pop_front() {
            // What was given up while this node slept is not begun; what still stands, stands under the
            // leadership of now.
            if self.state.outstanding.contains_key(&assigned.id) {
                let epoch = self.state.epoch;
                return Some(Assigned { epoch, ..assigned });
            }
        }
        None
    }

    fn forget_signals(&mut self) {
        self.inbox.clear();
        self.queued.clear();
        self.passed.clear();
    }

    fn open(&self, at_ms: u64) -> Batch {
        let epoch = Epoch(1);
        let opened = Event::Opened {
            origin: self.opening.origin.clone(),
            platform: self.opening.platform.clone(),
            node: self.me.clone(),
            key: self.key.clone(),
        };
        let claimed = Event::Claimed {
            epoch,
            node: self.me.clone(),
            why: ClaimReason::First,
        };
        self.batch(
            at_ms,
            epoch,
            vec![(None, opened), (None, claimed)],
            Some(epoch),
        )
    }

    fn batch(
        &self,
        at_ms: u64,
        epoch: Epoch,
        events: Vec<(Option<Cause>, Event)>,
        claims: Option<Epoch>,
    ) -> Batch {
        let mut batch = Batch {
            records: Vec::new(),
            after: Box::new(self.state.clone()),
            claims,
        };
        for (cause, event) in events {
            batch.push(at_ms, epoch, cause, event);
        }
        batch
    }

    /// Decides what is in the inbox, one signal after the other, each on the state that the one before led to.
    fn work(&mut self, now: Instant, at_ms: u64, epoch: Epoch) -> Option<Batch> {
        self.look_at_time(now, at_ms);
        let own: Vec<(u64, Signal)> = self.pending().cloned().collect();
        for (number, signal) in own {
            let node = self.me.clone();
            self.enqueue(Cause { node, number }, signal);
        }
        if self.inbox.is_empty() {
            return None;
        }
        let mut batch = self.batch(at_ms, epoch, Vec::new(), None);
        for _ in 0..BATCH_SIGNALS_MAX {
            let Some((cause, signal)) = self.inbox.pop_front() else {
                break;
            };
            let taken = |cause: &Cause| {
                let taken = batch.after.taken.get(&cause.node);
                taken.is_some_and(|number| *number >= cause.number)
            };
            if cause.as_ref().is_some_and(taken) {
                continue;
            }
            let decision = decide(&batch.after, at_ms, &signal);
            match (decision.events.is_empty(), cause) {
                (true, Some(cause)) => self.pass(cause, decision.why.to_string()),
                (true, None) => {}
                (false, cause) => {
                    for event in decision.events {
                        batch.push(at_ms, epoch, cause.clone(), event);
                    }
                }
            }
        }
        (!batch.records.is_empty()).then_some(batch)
    }

    /// Turns silence and timers into signals.
    fn look_at_time(&mut self, now: Instant, at_ms: u64) {
        let mut silent = Vec::new();
        if let Some(desired) = &self.state.desired {
            for host in desired.hosts.keys().filter(|host| **host != self.me) {
                // A host that was never heard is silent from when it was first missed.
                let never = Heard {
                    number: NEVER,
                    at: now,
                };
                let heard = self.heard.entry(host.clone()).or_insert(never);
                let silent_ms = now.since(heard.at).as_millis();
                let silent_ms = u64::try_from(silent_ms).unwrap_or(u64::MAX);
                if silent_ms >= HOST_LOST_AFTER_MS && !self.state.lost.contains_key(host) {
                    silent.push((host.clone(), silent_ms));
                }
            }
        }
        for (host, silent_ms) in silent {
            self.notice(Signal::HostSilent { host, silent_ms });
        }
        if next_due_ms(&self.state).is_some_and(|due_ms| at_ms >= due_ms) {
            self.notice(Signal::Tick);
        }
    }

    fn pass(&mut self, cause: Cause, why: String) {
        self.handle_passed(&cause, &why);
        self.passed.push_back(Passed { cause, why });
        if self.passed.len() > PASSED_MAX {
            self.passed.pop_front();
        }
    }

    fn start_suspicion_afresh_if_late(&mut self, now: Instant) {
        let late = self
            .turned
            .is_some_and(|turned| now.since(turned) > OBSERVER_LATE_AFTER);
        if late {
            for heard in self.heard.values_mut() {
                heard.at = now;
            }
            self.leader_heard = self.leader_heard.map(|_| now);
            self.caught_up = self.caught_up.map(|_| now);
        }
        self.turned = Some(now);
    }

    fn reason_to_claim(&self, now: Instant) -> Option<ClaimReason> {
        self.state.may_lead(&self.me, &self.key).ok()?;
        let leader = self.state.leader.clone()?;
        if leader == self.me {
            // The newest claim is one of an earlier run, or of this run before a batch was rejected.
            return Some(ClaimReason::Returned);
        }
        let rank = self.state.keys.keys().position(|node| *node == self.me)?;
        let patience = LEADER_SILENT_AFTER + CLAIM_STAGGER * u32::try_from(rank).ok()?;
        let silent = self.leader_silent(now)?;
        (silent >= patience).then(|| ClaimReason::LeaderSilent {
            leader,
            silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Hands out effects that are this node's to carry out and that it did not begin in this run.
    fn assign(&mut self, manner: Manner) {
        for (id, outstanding) in &self.state.outstanding {
            let mine = match &outstanding.executor {
                Executor::Leader => self.leads.is_some(),
                Executor::Host(host) => *host == self.me,
            };
            if mine && self.begun.insert(*id) {
                self.assigned.push_back(Assigned {
                    id: *id,
                    epoch: self.state.epoch,
                    effect: outstanding.effect.clone(),
                    manner,
                });
            }
        }
        let outstanding = &self.state.outstanding;
        self.begun.retain(|id| outstanding.contains_key(id));
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Batch {
    fn push(&mut self, at_ms: u64, epoch: Epoch, cause: Option<Cause>, event: Event) {
        let record = Record {
            position: self.after.next,
            at_ms,
            epoch,
            cause,
            event,
        };
        self.after.apply(&record);
        self.records.push(record);
    }
}
