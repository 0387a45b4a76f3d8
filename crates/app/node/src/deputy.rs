//! The kernel's place in the node: a thread of its own, because the journal's IO blocks.
//!
//! The rest of the node speaks to it through a channel and sees its state in a watch. When the thread is
//! slow, deliberation is slow; no reflex waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mainstay_derive::Layout;
use mainstay_host::wire;
use mainstay_identity::Identity;
use mainstay_kernel::{Answer, Assigned, Cause, Role, Signal, State};
use mainstay_record::node::JournalFacts;
use mainstay_record::process::{WireEffect, WireState};
use mainstay_rt::clock;
use mainstay_rt::files::Remembered;
use mainstay_storage::{Direction, Place, Reach, reaches_majority};
use mainstay_units::Position;
use tokio::sync::{mpsc as async_mpsc, oneshot, watch};

use crate::context::Context;
use crate::coordination;
use crate::kernel_runner::{KernelRunner, Places};

/// Between two looks at which regions are cut.
const REACH_PERIOD: Duration = Duration::from_millis(200);
/// After this a command's outcome is told as unknown.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What the thread is asked.
pub enum Ask {
    Submit(Box<Signal>),
    /// The answer is sent when the journal has it.
    Watch(Box<Signal>, oneshot::Sender<Answer>),
}

/// What the thread shows.
#[derive(Clone, Debug)]
pub struct View {
    /// Absent until the journal was read to its end.
    pub state: Option<Arc<State>>,
    pub facts: JournalFacts,
}

#[derive(Clone)]
pub struct Deputy {
    asks: mpsc::Sender<Ask>,
    /// Where the journal stands.
    pub journal: Place,
    pub view: watch::Receiver<View>,
}

impl Deputy {
    /// Starts the thread. Effects for this node come out of the second value.
    pub fn start(
        context: &Context,
        identity: &Arc<Identity>,
    ) -> anyhow::Result<(Self, async_mpsc::UnboundedReceiver<Assigned>)> {
        let (asks, queue) = mpsc::channel();
        let (effects, assigned) = async_mpsc::unbounded_channel();
        let (view, shown) = watch::channel(View {
            state: None,
            facts: JournalFacts::default(),
        });
        let own = Some(Arc::clone(identity));
        let place = coordination::place(&context.machine(), Some(&context.host), own)?;
        let runner = KernelRunner::open(&Places {
            data: context.layout.data().to_path_buf(),
            host: context.host.name.clone(),
            platform: context.platform.name().clone(),
            journal: place.clone(),
        })?;
        let regions: Vec<String> = context
            .platform
            .regions()
            .iter()
            .map(|region| region.name.to_string())
            .collect();
        let surroundings = Surroundings {
            layout: context.layout.clone(),
            region: context.host.region.to_string(),
            regions,
            wires: BTreeMap::new(),
            has_members: (context.platform.coordination().etcd())
                .is_some_and(|etcd| !etcd.own_hosts().is_empty()),
        };
        let leads = Arc::new(AtomicBool::new(false));
        if let (Place::Etcd(etcd), Some(said)) = (&place, context.platform.coordination().etcd()) {
            let keep = usize::try_from(said.keep_parts).unwrap_or(usize::MAX);
            coordination::archive_while_leading(etcd.clone(), keep, Arc::clone(&leads));
        }
        let thread = Thread {
            runner,
            surroundings,
            leads,
            queue,
            effects,
            view,
            waiting: BTreeMap::new(),
        };
        std::thread::Builder::new()
            .name("kernel".to_owned())
            .spawn(move || thread.run())?;
        let deputy = Self {
            asks,
            journal: place,
            view: shown,
        };
        Ok((deputy, assigned))
    }

    pub fn submit(&self, signal: Signal) {
        // The thread ends only with the process.
        self.asks.send(Ask::Submit(Box::new(signal))).ok();
    }

    /// What becomes of a command, as the journal tells it.
    pub async fn command(&self, signal: Signal) -> Answer {
        let unknown = |why: &str| Answer::Unknown {
            position: Position::ZERO,
            why: why.to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::Watch(Box::new(signal), reply)).is_err() {
            return unknown("the kernel of this node has ended");
        }
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => unknown("too many commands wait already, or the kernel ended"),
            Err(_) => unknown("no leader journalled it in time; it may still be"),
        }
    }
}

struct Thread {
    runner: KernelRunner,
    surroundings: Surroundings,
    leads: Arc<AtomicBool>,
    queue: mpsc::Receiver<Ask>,
    effects: async_mpsc::UnboundedSender<Assigned>,
    view: watch::Sender<View>,
    waiting: BTreeMap<Cause, oneshot::Sender<Answer>>,
}

impl Thread {
    fn run(mut self) {
        let mut looked = None;
        loop {
            let now = clock::now();
            if looked.is_none_or(|looked| now.since(looked) >= REACH_PERIOD) {
                looked = Some(now);
                self.runner.set_reach(&self.surroundings.reach());
            }
            while let Ok(ask) = self.queue.try_recv() {
                self.take(ask);
            }
            self.runner.turn();
            while let Some(assigned) = self.runner.poll_effect() {
                // The receiver ends only with the process.
                self.effects.send(assigned).ok();
            }
            while let Some((cause, answer)) = self.runner.poll_answer() {
                if let Some(reply) = self.waiting.remove(&cause) {
                    // Whoever asked may have gone.
                    reply.send(answer).ok();
                }
            }
            self.forget_the_gone();
            self.show();
            self.runner.wait_for_turn();
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Submit(signal) => {
                if self.runner.submit(*signal).is_none() {
                    tracing::warn!("a signal was dropped: too many wait for a leader");
                }
            }
            Ask::Watch(signal, reply) => {
                if let Some(cause) = self.runner.submit_and_watch(*signal) {
                    self.waiting.insert(cause, reply);
                }
            }
        }
    }

    fn forget_the_gone(&mut self) {
        let runner = &mut self.runner;
        self.waiting.retain(|cause, reply| {
            if reply.is_closed() {
                runner.forget(cause);
            }
            !reply.is_closed()
        });
    }

    fn show(&mut self) {
        let facts = self.runner.facts();
        let leads = matches!(self.runner.role(), Role::Leading(_));
        self.leads.store(leads, Ordering::Relaxed);
        let is_caught_up = self.runner.role() != Role::CatchingUp;
        let state = is_caught_up.then(|| self.runner.state());
        self.view.send_if_modified(|view| {
            let same_state = match (&view.state, state) {
                (Some(shown), Some(state)) => shown.next == state.next,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            // How long ago the leader was heard is told with the rest, and wakes nobody.
            let before = JournalFacts {
                leader_heard_ms: facts.leader_heard_ms,
                ..std::mem::take(&mut view.facts)
            };
            let changed = !same_state || before != facts;
            if !same_state {
                view.state = state.map(|state| Arc::new(state.clone()));
            }
            view.facts = facts;
            changed
        });
    }
}

/// Which regions this one hears, both ways, as the wires between them say.
struct Surroundings {
    layout: Layout,
    region: String,
    regions: Vec<String>,
    /// What each wire said last.
    wires: BTreeMap<PathBuf, Remembered<WireState>>,
    /// Members of an etcd beyond the wires say themselves whether there is a majority.
    has_members: bool,
}

impl Surroundings {
    fn reach(&mut self) -> Reach {
        if self.has_members {
            return Reach::Majority;
        }
        let now = clock::now().as_nanos();
        let mut cut: BTreeSet<Direction> = BTreeSet::new();
        for from in &self.regions {
            for to in self.regions.iter().filter(|to| *to != from) {
                let path = self.layout.wire_state(from, to);
                let state = self.wires.entry(path.clone()).or_default();
                for effect in in_force(state.get(&path, wire::read_state), now) {
                    let forward = || (from.clone(), to.clone());
                    let backward = || (to.clone(), from.clone());
                    match effect {
                        WireEffect::Cut | WireEffect::Crash => cut.extend([forward(), backward()]),
                        WireEffect::CutForward => cut.extend([forward()]),
                        WireEffect::CutBackward => cut.extend([backward()]),
                        WireEffect::Shape {
                            forward: there,
                            backward: back,
                        } => {
                            cut.extend(there.cut.then(forward));
                            cut.extend(back.cut.then(backward));
                        }
                        WireEffect::Delay { .. } | WireEffect::Reset => {}
                    }
                }
            }
        }
        reaches_majority(&self.regions, &self.region, &cut)
    }
}

/// Conditions of a whole wire; one that cuts a single host does not part two regions.
fn in_force(state: Option<&WireState>, now: u64) -> impl Iterator<Item = &WireEffect> {
    let conditions = state.map_or(&[][..], |state| &state.conditions);
    conditions
        .iter()
        .filter(move |condition| condition.deadline_boottime_ns > now && condition.hosts.is_none())
        .map(|condition| &condition.effect)
}
