//! One worker: one thread, one runtime, its own listeners, connections, pools and gates.
//!
//! Nothing that a request touches is shared with another thread, but the picture of the world, which
//! nobody changes. The kernel spreads connections over the workers (SO_REUSEPORT). Beside the
//! connections run two small loops: one follows the picture and the clock for the gates, the other sweeps
//! up connections that have waited too long for their clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_gateway::retry::Outcome;
use mainstay_record::gateway::ListenerTls;
use mainstay_units::Instant;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::config::Bounds;
use crate::door::Door;
use crate::framed::Connection;
use crate::gate::Gate;
use crate::sessions::Session;
use crate::stats::{RouteStats, WorkerStats};
use crate::upstream::Upstream;
use crate::world::{Demand, Shared, Suspicion, World};

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often a worker that stops looks whether it has finished.
const STOP_POLL: Duration = Duration::from_millis(20);

/// The world as one worker uses it: indices of the routing lead to this worker's own objects.
#[derive(Debug)]
pub struct Local {
    pub world: Arc<World>,
    /// By service and instance.
    pub upstreams: Vec<Vec<Rc<Upstream>>>,
    /// By cell.
    pub gates: Vec<Rc<Gate>>,
    /// By listener and route index.
    pub routes: Vec<Vec<Arc<RouteStats>>>,
}

impl Local {
    pub fn bounds(&self) -> &Bounds {
        &self.world.config.bounds
    }
}

/// What a listener is for: another kind at the same address is another listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Http(Option<ListenerTls>),
    Tcp,
}

/// An open listener.
#[derive(Debug)]
struct Listening {
    task: AbortHandle,
    /// Told to take in who is there, and to close.
    stopping: Rc<Notify>,
}

#[derive(Debug)]
pub struct Worker {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub stats: Arc<WorkerStats>,
    pub unrouted: Arc<RouteStats>,
    local: RefCell<Rc<Local>>,
    seen: Cell<u64>,
    random: Cell<u64>,
    gates_changed: Rc<Notify>,
    next_id: Cell<u64>,
    pub connections: RefCell<BTreeMap<u64, Rc<Connection>>>,
    pub sessions: RefCell<BTreeMap<u64, Rc<Session>>>,
    listeners: RefCell<BTreeMap<(SocketAddr, Kind), Listening>>,
    /// Since when it stops.
    stopping_since: Cell<Option<Instant>>,
}

impl Worker {
    pub fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        let world = shared.world();
        let empty = Local {
            world,
            upstreams: vec![],
            gates: vec![],
            routes: vec![],
        };
        let worker = Rc::new(Self {
            index,
            stats: shared.stats.worker(),
            unrouted: shared.stats.unrouted(index),
            shared,
            local: RefCell::new(Rc::new(empty)),
            seen: Cell::new(0),
            random: Cell::new(mainstay_rt::entropy::u64() | 1),
            gates_changed: Rc::default(),
            next_id: Cell::new(0),
            connections: RefCell::default(),
            sessions: RefCell::default(),
            listeners: RefCell::default(),
            stopping_since: Cell::new(None),
        });
        worker.rebuild();
        worker
    }

    /// The picture to decide by, brought up to date first. One comparison if nothing has changed.
    pub fn local(self: &Rc<Self>) -> Rc<Local> {
        if self.shared.version() != self.seen.get() {
            self.refresh();
        }
        Rc::clone(&self.local.borrow())
    }

    pub fn next_id(&self) -> u64 {
        self.next_id.set(self.next_id.get() + 1);
        self.next_id.get()
    }

    /// Spreads load; no secret depends on it (xorshift64*, Vigna 2014).
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn suspect(
        &self,
        local: &Local,
        (service, instance): (u16, u16),
        at: Instant,
        (outcome, demand): (Outcome, Demand),
    ) {
        let generation = local.world.config.snapshot.generation;
        // If the eyes are gone the process is about to end.
        self.shared
            .suspicions
            .send(Suspicion {
                demand,
                service,
                instance,
                at,
                generation,
                outcome,
            })
            .ok();
    }

    fn refresh(self: &Rc<Self>) {
        self.seen.set(self.shared.version());
        let world = self.shared.world();
        let now = mainstay_rt::clock::now();
        let old = Rc::clone(&self.local.borrow());
        if Arc::ptr_eq(&world.config, &old.world.config) {
            let local = Local {
                world,
                upstreams: old.upstreams.clone(),
                gates: old.gates.clone(),
                routes: old.routes.clone(),
            };
            *self.local.borrow_mut() = Rc::new(local);
        } else {
            self.rebuild();
        }
        let local = Rc::clone(&self.local.borrow());
        for (gate, view) in local.gates.iter().zip(&local.world.view.cells) {
            gate.handle_view(now, view);
        }
        for session in self.sessions.borrow().values() {
            session.handle_view(&local.world);
        }
        if self.shared.is_stopping() {
            self.stop(now, &local);
        }
    }

    /// A new routing. What stays the same keeps its connections and its waiting requests.
    fn rebuild(self: &Rc<Self>) {
        let world = self.shared.world();
        let config = Arc::clone(&world.config);
        let old = Rc::clone(&self.local.borrow());
        let now = mainstay_rt::clock::now();
        let mut known: BTreeMap<(SocketAddr, Option<String>), Rc<Upstream>> = old
            .upstreams
            .iter()
            .flatten()
            .map(|upstream| (upstream.place(), Rc::clone(upstream)))
            .collect();
        let mut upstreams = Vec::new();
        for (service, instances) in config.routing.services.iter().zip(&config.instances) {
            let of_service = instances.iter().map(|instance| {
                let new = || {
                    let stats =
                        self.shared
                            .stats
                            .upstream(&service.name, &instance.name, self.index);
                    let caller = Arc::clone(&self.shared.caller);
                    Upstream::new(instance.address, instance.identity.clone(), caller, stats)
                };
                let place = (instance.address, instance.identity.clone());
                Rc::clone(known.entry(place).or_insert_with(new))
            });
            upstreams.push(of_service.collect::<Vec<_>>());
        }
        let gates = self.rebuild_gates(now, &config, &old, &upstreams);
        let mut routes = Vec::new();
        for table in &config.routing.tables {
            let mut of_table: Vec<(u16, Arc<RouteStats>)> = table
                .routes()
                .iter()
                .map(|route| {
                    (
                        route.index,
                        self.shared
                            .stats
                            .route(&table.name, &route.name, self.index),
                    )
                })
                .collect();
            of_table.sort_by_key(|(index, _)| *index);
            routes.push(of_table.into_iter().map(|(_, stats)| stats).collect());
        }
        *self.local.borrow_mut() = Rc::new(Local {
            world,
            upstreams,
            gates,
            routes,
        });
    }

    fn rebuild_gates(
        &self,
        now: Instant,
        config: &crate::config::Config,
        old: &Local,
        upstreams: &[Vec<Rc<Upstream>>],
    ) -> Vec<Rc<Gate>> {
        let mut gates: Vec<Rc<Gate>> = Vec::new();
        for cell in &config.routing.cells {
            let service = usize::from(cell.service.0);
            let names = (
                config.routing.databases[usize::from(cell.database.0)]
                    .name
                    .clone(),
                config.routing.services[service].name.clone(),
            );
            let same = |gate: &&Rc<Gate>| {
                (&gate.database, &gate.service) == (&names.0, &names.1)
                    && gate.service_index == cell.service.0
                    && gate.limits == config.bounds.hold
                    && gate.upstreams.len() == upstreams[service].len()
                    && gate
                        .upstreams
                        .iter()
                        .zip(&upstreams[service])
                        .all(|(a, b)| Rc::ptr_eq(a, b))
            };
            let kept = old.gates.iter().find(same).cloned();
            let gate = kept.unwrap_or_else(|| {
                let held = self.shared.stats.cell(&names.0, &names.1, self.index);
                Gate::new(
                    now,
                    names,
                    cell.service.0,
                    upstreams[service].clone(),
                    config.bounds.hold,
                    held,
                    Rc::clone(&self.gates_changed),
                )
            });
            gates.push(gate);
        }
        for before in &old.gates {
            if gates.iter().any(|kept| Rc::ptr_eq(kept, before)) {
                continue;
            }
            if let Some(after) = gates.iter().find(|gate| gate.is_of(before)) {
                after.succeed(before);
            }
            before.retire();
        }
        gates
    }

    /// Nobody waits at a gate any more, and every answer says that its connection ends. The door stays open until all
    /// have heard it, for a tenth of the time that stopping may take at most, since requests may be on their way over
    /// connections that look idle. Then it closes, and they are let go; at once where no worker has any. They close together,
    /// since a door that closes resets whoever is on the way to it, while another worker would have let them in. True when all is finished, or time is up.
    fn stop(&self, now: Instant, local: &Local) -> bool {
        let since = self.stopping_since.get().unwrap_or(now);
        self.stopping_since.set(Some(since));
        for gate in &local.gates {
            gate.stop();
        }
        let longest = local.bounds().stop;
        let all_have_heard = now >= since + longest / 10;
        let closes = all_have_heard || self.shared.stats.connections() == 0;
        for ((_, kind), listening) in &*self.listeners.borrow() {
            match kind {
                Kind::Http(_) if closes => listening.stopping.notify_one(),
                Kind::Http(_) => {}
                Kind::Tcp => listening.task.abort(),
            }
        }
        if all_have_heard {
            for connection in self.connections.borrow().values() {
                connection.finish.notify_one();
            }
        }
        let closed = (self.listeners.borrow().values()).all(|one| one.task.is_finished());
        let idle = self.connections.borrow().is_empty() && self.sessions.borrow().is_empty();
        closed && idle || now >= since + longest
    }

    /// Serves until the process stops; returns when what was begun is finished, or `stop` has passed.
    pub async fn run(self: Rc<Self>) {
        let mut changed = self.shared.subscribe();
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow_listeners();
        loop {
            let local = self.local();
            let now = mainstay_rt::clock::now();
            for gate in &local.gates {
                gate.handle_time(now);
            }
            let longest = match self.shared.is_stopping() {
                true if self.stop(now, &local) => return,
                true => STOP_POLL,
                false => {
                    self.follow_listeners();
                    SWEEP_INTERVAL
                }
            };
            let next = local
                .gates
                .iter()
                .filter_map(|gate| gate.next_deadline())
                .min();
            let wait = next
                .map_or(longest, |at| at.since(now))
                .clamp(Duration::from_millis(1), longest);
            tokio::select! {
                _ = changed.changed() => {}
                () = self.gates_changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = sweep.tick() => self.sweep(&local, now),
            }
        }
    }

    /// Opens what the picture has and we have not, closes what it has not.
    fn follow_listeners(self: &Rc<Self>) {
        let local = self.local();
        let config = &local.world.config;
        let http = config.http.iter().map(|entry| {
            let files = entry.door.as_ref().map(|door| door.files.clone());
            (entry.address, Kind::Http(files), entry.door.clone())
        });
        let tcp = (config.tcp.iter()).map(|entry| (entry.address, Kind::Tcp, None));
        let wanted: Vec<(SocketAddr, Kind, Option<Arc<Door>>)> = http.chain(tcp).collect();
        let mut listeners = self.listeners.borrow_mut();
        let mut gone = Vec::new();
        listeners.retain(|key, Listening { task, .. }| {
            let mut known = wanted.iter();
            let is_wanted = known.any(|(address, kind, _)| (address, kind) == (&key.0, &key.1));
            if !is_wanted {
                gone.push(key.clone());
            }
            let keep = is_wanted && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        if !gone.is_empty() {
            self.finish_those_of(&gone);
        }
        for (address, kind, door) in wanted {
            if listeners.contains_key(&(address, kind.clone())) {
                continue;
            }
            // Told when its files were read; it is looked at again every second.
            if door.as_ref().is_some_and(|door| !door.is_ready()) {
                continue;
            }
            match crate::listen::bind(address) {
                Ok(listener) => {
                    let listening = self.accept(listener, address, &kind, door);
                    listeners.insert((address, kind), listening);
                }
                Err(error) => {
                    tracing::error!(%address, %error, "cannot listen; trying again every second");
                }
            }
        }
    }

    fn accept(
        self: &Rc<Self>,
        listener: TcpListener,
        address: SocketAddr,
        kind: &Kind,
        door: Option<Arc<Door>>,
    ) -> Listening {
        let (worker, stopping) = (Rc::clone(self), Rc::<Notify>::default());
        let told = Rc::clone(&stopping);
        let task = match kind {
            Kind::Http(_) => {
                let accepting = crate::client::accept(worker, listener, address, door, told);
                tokio::task::spawn_local(accepting)
            }
            Kind::Tcp => {
                tokio::task::spawn_local(crate::sessions::accept(worker, listener, address))
            }
        };
        let task = task.abort_handle();
        Listening { task, stopping }
    }

    /// Whoever came in by a listener that is no more, or that shows or demands something else now, must come anew.
    fn finish_those_of(&self, gone: &[(SocketAddr, Kind)]) {
        for connection in self.connections.borrow().values() {
            let listener = connection.listener.get();
            let listener = listener.map(|(address, files)| (*address, Kind::Http(files.clone())));
            if listener.is_some_and(|listener| gone.contains(&listener)) {
                connection.finish.notify_one();
            }
        }
    }

    fn sweep(&self, local: &Local, now: Instant) {
        let bounds = local.bounds();
        for connection in self.connections.borrow().values() {
            connection.note_progress(now);
            let waited = now.since(connection.waiting_since.get());
            let allowed = if connection.busy.get() {
                // A request has its own deadline; what lasts longer is a client that does not read.
                bounds.request_timeout * 2 + bounds.client_idle
            } else if connection.has_partial_head() {
                bounds.head_read
            } else {
                bounds.client_idle
            };
            if waited > allowed * 2 {
                connection.abort.notify_one();
            } else if waited > allowed {
                connection.finish.notify_one();
            }
        }
        let before = now - bounds.upstream_idle_time;
        for upstream in local.upstreams.iter().flatten() {
            upstream.close_idle_since(before);
        }
    }
}
