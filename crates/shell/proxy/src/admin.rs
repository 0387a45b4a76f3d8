//! The control socket: what the gateway sees and does, and the few things it can be told.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use mainstay_gateway::routing::Instance;
use mainstay_gateway::share::WHOLE;
use mainstay_gateway::sight::{CellView, InstanceState};
use mainstay_record::gateway::{
    GatewayCellStatus, GatewayDatabaseStatus, GatewayInstanceStatus, GatewayServiceStatus,
    GatewayStatus,
};
pub use mainstay_rt::error::chain;
use mainstay_rt::http::{Answer, Call, error, json, text};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};

use crate::config::{self, Config};
use crate::eyes::Facts;
use crate::listen;
use crate::world::{Shared, World};

/// What the control socket needs.
#[derive(Debug)]
pub struct Admin {
    pub shared: Arc<Shared>,
    pub config_path: PathBuf,
    pub configs: mpsc::UnboundedSender<Arc<Config>>,
    /// Where it shows itself over TCP, and the task that does.
    pub shown: RefCell<Option<(SocketAddr, AbortHandle)>>,
    /// Why the file on disk is not what is served.
    pub snapshot_error: RefCell<Option<String>>,
    pub facts: Facts,
}

/// Whether a caller may change anything. Over TCP one may only look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    Look,
    LookAndAct,
}

/// Between two attempts to show oneself, where the address is taken or the identity is not there yet.
const SHOW_AGAIN: Duration = Duration::from_secs(1);

impl Admin {
    /// Shows status and figures at this address, to whoever proves to be of the platform, instead of at the one
    /// before.
    pub fn show_at(self: &Rc<Self>, address: Option<SocketAddr>) {
        let mut shown = self.shown.borrow_mut();
        if shown.as_ref().map(|(known, _)| *known) == address {
            return;
        }
        if let Some((_, task)) = shown.take() {
            task.abort();
        }
        *shown = address.map(|address| {
            let showing = spawn_local(Rc::clone(self).show(address));
            (address, showing.abort_handle())
        });
    }

    async fn show(self: Rc<Self>, address: SocketAddr) {
        loop {
            let problem = match (self.shared.caller.identity(), listen::bind(address)) {
                (Ok(Some(identity)), Ok(listener)) => {
                    let answer = move |call| {
                        let admin = Rc::clone(&self);
                        async move { admin.answer(Rights::Look, call).await }
                    };
                    return mainstay_identity::web::serve(listener, identity, answer).await;
                }
                (Ok(None), _) => "the gateway has no identity".to_owned(),
                (Err(error), _) => chain(&error),
                (Ok(Some(_)), Err(error)) => chain(&error),
            };
            tracing::warn!(%address, problem, "figures cannot be shown there yet");
            tokio::time::sleep(SHOW_AGAIN).await;
        }
    }

    pub async fn answer(self: &Rc<Self>, rights: Rights, call: Call) -> Answer {
        match (&call.method, call.path.as_str(), rights) {
            (&Method::GET, "/v1/status", _) => json(StatusCode::OK, &self.status()),
            (&Method::GET, "/metrics", _) => self.metrics(),
            (&Method::POST, "/v1/reload", Rights::LookAndAct) => self.reload(),
            (&Method::POST, "/v1/drain", Rights::LookAndAct) => {
                self.shared.stop();
                json(
                    StatusCode::ACCEPTED,
                    &serde_json::json!({ "stopping": true }),
                )
            }
            _ => error(
                StatusCode::NOT_FOUND,
                "not_found",
                "nothing of that name here",
                "GET /v1/status or /metrics; POST /v1/reload or /v1/drain on the Unix socket",
            ),
        }
    }

    fn metrics(&self) -> Answer {
        match crate::metrics::page(&self.shared) {
            Ok(page) => {
                let mut answer = text(StatusCode::OK, page);
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                answer.headers_mut().insert(
                    http::header::CONTENT_TYPE,
                    http::HeaderValue::from_static(kind),
                );
                answer
            }
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be written",
            ),
        }
    }

    /// Reads the file again. A bad one changes nothing.
    fn reload(self: &Rc<Self>) -> Answer {
        let before = Arc::clone(&self.shared.world().config);
        let served = before.snapshot.generation;
        let loaded = config::load_after(&self.config_path, &before);
        match loaded {
            Ok(config) => {
                let generation = config.snapshot.generation;
                tracing::info!(generation, "serving a new snapshot");
                *self.snapshot_error.borrow_mut() = None;
                self.show_at(config.admin);
                // The eyes run as long as this socket does.
                self.configs.send(Arc::new(config)).ok();
                json(
                    StatusCode::OK,
                    &serde_json::json!({ "generation": generation }),
                )
            }
            Err(cause) => {
                let message = chain(&cause);
                // It is offered again and again, until it can be taken.
                let known = self.snapshot_error.replace(Some(message.clone()));
                if known.as_ref() != Some(&message) {
                    tracing::error!(
                        error = message,
                        generation = served,
                        "the snapshot is refused; serving on with the old one"
                    );
                }
                error(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "snapshot",
                    &message,
                    "mend the file and reload again; the old snapshot is being served",
                )
            }
        }
    }

    fn status(&self) -> GatewayStatus {
        let world = self.shared.world();
        let snapshot = &world.config.snapshot;
        let workers = self.shared.stats.workers();
        GatewayStatus {
            version: 1,
            gateway: snapshot.gateway.clone(),
            host: snapshot.host.clone(),
            region: snapshot.region.clone(),
            generation: snapshot.generation,
            snapshot_error: (self.snapshot_error.borrow().clone())
                .or_else(|| world.config.door_problem()),
            stopping: self.shared.is_stopping(),
            workers: workers.len() as u16,
            connections: workers.iter().map(|w| w.connections.get()).sum(),
            requests: workers.iter().map(|w| w.requests.get()).sum(),
            cells: self.cells(&world),
            services: services(&world, &self.facts),
            databases: self.databases(&world),
        }
    }

    fn cells(&self, world: &World) -> Vec<GatewayCellStatus> {
        let routing = &world.config.routing;
        let status = |(index, view): (usize, &CellView)| {
            let cell = routing.cells.get(index)?;
            let database = &routing.databases[usize::from(cell.database.0)].name;
            let service = &routing.services[usize::from(cell.service.0)];
            let (name, reason, active) = match view {
                CellView::Active(active) => ("active", String::new(), Some(*active)),
                CellView::Switching { term } => (
                    "switching",
                    format!("a switchover from term {term} was announced"),
                    None,
                ),
                CellView::Absent(why) => ("absent", format!("{why:?}"), None),
                CellView::Isolated => (
                    "isolated",
                    "neither instance nor majority of keepers seen".to_owned(),
                    None,
                ),
            };
            let instance =
                |a: mainstay_gateway::sight::Active| service.instances.get(usize::from(a.instance));
            Some(GatewayCellStatus {
                database: database.clone(),
                service: service.name.clone(),
                view: name.to_owned(),
                reason,
                instance: active
                    .and_then(instance)
                    .map(|instance| instance.name.clone()),
                term: active.map_or(0, |a| a.term.0),
                epoch: active.map_or(0, |a| a.epoch.0),
                held: self.shared.stats.held(database, &service.name),
            })
        };
        world
            .view
            .cells
            .iter()
            .enumerate()
            .filter_map(status)
            .collect()
    }

    fn databases(&self, world: &World) -> Vec<GatewayDatabaseStatus> {
        let databases = world.config.routing.databases.iter();
        databases
            .zip(&world.view.databases)
            .map(|(database, view)| GatewayDatabaseStatus {
                database: database.name.clone(),
                primary: view
                    .primary
                    .and_then(|p| database.replicas.get(usize::from(p.replica)).cloned()),
                term: view.term.0,
                keepers_seen: view.keepers_seen.into(),
                keepers: view.keepers.into(),
                sessions: self.shared.stats.sessions_of(&database.name),
            })
            .collect()
    }
}

fn services(world: &World, facts: &Facts) -> Vec<GatewayServiceStatus> {
    let now = mainstay_rt::clock::now();
    let facts = facts.borrow();
    let of_instance = |service: usize, at: usize, instance: &Instance| {
        let fact = facts.get(&(service as u16, at as u16));
        let (ready, reason) = match fact.map(|fact| fact.state) {
            None => (false, "never answered"),
            Some(InstanceState::Unreachable) => (false, "unreachable"),
            Some(InstanceState::NotReady) => (false, "says that it is not ready"),
            Some(InstanceState::Ready { .. }) => (true, "says that it is ready"),
        };
        GatewayInstanceStatus {
            instance: instance.name.clone(),
            ready,
            age_ms: fact.map(|fact| now.since(fact.heard).as_millis() as u64),
            reason: reason.to_owned(),
            share: (instance.share < WHOLE).then_some(instance.share),
        }
    };
    let services = world.config.routing.services.iter().enumerate();
    services
        .map(|(index, service)| GatewayServiceStatus {
            service: service.name.clone(),
            instances: service
                .instances
                .iter()
                .enumerate()
                .map(|(at, instance)| of_instance(index, at, instance))
                .collect(),
        })
        .collect()
}
