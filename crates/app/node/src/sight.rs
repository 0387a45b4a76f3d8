//! What this node sees: its own processes, and what other nodes tell of theirs. Every fact has its age.
//!
//! Looking is cheap and never stops: each keeper, gateway and node is asked again and again by a task of its
//! own, with a limit, and the last answer is kept with the time at which it came. Nothing here decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_derive::WATCH_INSTANCE;
use mainstay_identity::{Identity, web};
use mainstay_record::gateway::GatewayStatus;
use mainstay_record::identity::{NODE_ROLE, identity_name};
use mainstay_record::keeper::KeeperStatus;
use mainstay_record::node::{NodeFacts, Seen};
use mainstay_record::watch::WatchBoard;
use mainstay_rt::clock;
use mainstay_rt::http::Line;
use mainstay_units::Instant;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::context::Context;
use crate::effects::chain;

const KEEPER_PERIOD: Duration = Duration::from_millis(500);
const GATEWAY_PERIOD: Duration = Duration::from_millis(500);
const WATCH_PERIOD: Duration = Duration::from_millis(250);
/// An answer older than this says nothing of now.
const FRESH: Duration = Duration::from_secs(4);
const NODE_PERIOD: Duration = Duration::from_secs(1);
/// How long one connection is used: then the other side proves again who it is.
const LINE_LIFE: Duration = Duration::from_secs(30);
/// For an answer from this host.
const LOCAL_LIMIT: Duration = Duration::from_secs(1);
/// For an answer from another region.
const REMOTE_LIMIT: Duration = Duration::from_secs(2);

/// The last answer of somebody, and what went wrong since.
#[derive(Clone, Debug)]
pub struct Fact<T> {
    value: Option<(T, Instant)>,
    asked: Instant,
    problem: Option<String>,
}

impl<T: Clone> Fact<T> {
    fn nothing(now: Instant) -> Self {
        Self {
            value: None,
            asked: now,
            problem: Some("not asked yet".to_owned()),
        }
    }

    /// With its age; the age of nothing is the time since it was first asked for.
    pub fn seen(&self, now: Instant) -> Seen<T> {
        let learned = self.value.as_ref().map_or(self.asked, |(_, at)| *at);
        Seen {
            value: self.value.as_ref().map(|(value, _)| value.clone()),
            age_ms: u64::try_from(now.since(learned).as_millis()).unwrap_or(u64::MAX),
            problem: self.problem.clone(),
        }
    }

    /// The last answer, if it is of now.
    pub fn fresh(&self, now: Instant) -> Option<&T> {
        let (value, at) = self.value.as_ref()?;
        (self.problem.is_none() && now.since(*at) < FRESH).then_some(value)
    }

    pub fn latest(&self) -> Option<&T> {
        self.value.as_ref().map(|(value, _)| value)
    }
}

/// All facts of one kind, by name.
pub type Facts<T> = Rc<RefCell<BTreeMap<String, Fact<T>>>>;

#[derive(Clone)]
pub struct Sight {
    /// Who this node is to others.
    identity: Arc<Identity>,
    pub keepers: Facts<KeeperStatus>,
    pub gateways: Facts<GatewayStatus>,
    pub nodes: Facts<NodeFacts>,
    /// Of this host, if it has one.
    pub watch: Facts<WatchBoard>,
}

enum Place {
    Local(PathBuf),
    /// Another node: where it is reached, and the name that it must prove.
    Remote {
        identity: Arc<Identity>,
        address: SocketAddr,
        name: String,
    },
}

impl Sight {
    pub fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            keepers: Facts::default(),
            gateways: Facts::default(),
            nodes: Facts::default(),
            watch: Facts::default(),
        }
    }

    /// Starts asking everybody that the platform file names. Must run inside a local set; dropping the
    /// handles ends the asking.
    pub fn watch(&self, context: &Context) -> Vec<tokio::task::AbortHandle> {
        let mut tasks = Vec::new();
        for (database, _) in context.platform.replicas_on(&context.host.name) {
            let name = database.name.as_str();
            let place = Place::Local(context.layout.keeper_socket(context.name(), name));
            tasks.push(ask_again(
                &self.keepers,
                name,
                place,
                "/v1/status",
                KEEPER_PERIOD,
            ));
        }
        for gateway in context.platform.gateways_on(&context.host.name) {
            let name = gateway.name.as_str();
            let place = Place::Local(context.layout.gateway_socket(context.name(), name));
            tasks.push(ask_again(
                &self.gateways,
                name,
                place,
                "/v1/status",
                GATEWAY_PERIOD,
            ));
        }
        self.watch.borrow_mut().clear();
        let watch = context.platform.watch();
        if watch.is_some_and(|watch| watch.hosts.contains(&context.host.name)) {
            let place = Place::Local(context.layout.watch_socket(context.name()));
            tasks.push(ask_again(
                &self.watch,
                WATCH_INSTANCE,
                place,
                "/v1/board",
                WATCH_PERIOD,
            ));
        }
        for (host, address) in context.peers() {
            tasks.push(ask_again(
                &self.nodes,
                &host,
                Place::Remote {
                    identity: Arc::clone(&self.identity),
                    address,
                    name: identity_name(NODE_ROLE, &host, context.platform.name().as_str()),
                },
                "/v1/facts",
                NODE_PERIOD,
            ));
        }
        let known = |names: Vec<String>| move |name: &String, _: &mut _| names.contains(name);
        let peers = context.peers().into_iter().map(|(host, _)| host).collect();
        self.nodes.borrow_mut().retain(known(peers));
        tasks
    }
}

impl Sight {
    /// What another node says of itself now, asked now.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask_node(&self, context: &Context, host: &str) -> Result<NodeFacts, String> {
        let peers = context.peers();
        let known = peers.into_iter().find(|(peer, _)| peer == host);
        let (_, address) = known.ok_or_else(|| format!("there is no host {host}"))?;
        let place = Place::Remote {
            identity: Arc::clone(&self.identity),
            address,
            name: identity_name(NODE_ROLE, host, context.platform.name().as_str()),
        };
        ask(&mut Line::new(LINE_LIFE), &place, "/v1/facts").await
    }
}

fn ask_again<T>(
    facts: &Facts<T>,
    name: &str,
    place: Place,
    target: &'static str,
    period: Duration,
) -> tokio::task::AbortHandle
where
    T: DeserializeOwned + Clone + 'static,
{
    let (facts, name) = (Rc::clone(facts), name.to_owned());
    let task = tokio::task::spawn_local(async move {
        let mut line = Line::new(LINE_LIFE);
        loop {
            let answer = ask(&mut line, &place, target).await;
            let now = clock::now();
            {
                let mut facts = facts.borrow_mut();
                let fact = facts
                    .entry(name.clone())
                    .or_insert_with(|| Fact::nothing(now));
                match answer {
                    Ok(value) => (fact.value, fact.problem) = (Some((value, now)), None),
                    Err(problem) => fact.problem = Some(problem),
                }
            }
            tokio::time::sleep(period).await;
        }
    });
    task.abort_handle()
}

async fn ask<T: DeserializeOwned>(
    line: &mut Line,
    place: &Place,
    target: &str,
) -> Result<T, String> {
    let answer = match place {
        Place::Local(socket) => {
            let name = socket.display().to_string();
            let connect = || UnixStream::connect(socket);
            line.get(connect, &name, target, LOCAL_LIMIT).await
        }
        Place::Remote {
            identity,
            address,
            name,
        } => {
            let connect = || web::connect(identity, (*address, name.as_str()));
            line.get(connect, &address.to_string(), target, REMOTE_LIMIT)
                .await
        }
    };
    let (status, body) = answer.map_err(|error| chain(&error))?;
    if !status.is_success() {
        return Err(format!("answered {status}"));
    }
    serde_json::from_slice(&body).map_err(|error| format!("not understood: {error}"))
}
