//! The node's sockets: commands from this host's people, facts for other nodes.
//!
//! Commands come over a Unix socket only, where the operating system names the caller. The TCP port answers
//! what it sees and takes no orders.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::{Method, StatusCode};
use mainstay_host::faults;
use mainstay_incident::{Became, Review};
use mainstay_kernel::{
    Actor, Answer, Ask, Command, Desired, FaultKind, FaultSpec, FaultTarget, Program, Refusal,
    Signal, State, authorize,
};
use mainstay_manifest::{load, render};
use mainstay_model::name::{DatabaseName, HostName, RegionName};
use mainstay_model::people::Permission;
use mainstay_record::event::AlertRecord;
use mainstay_record::experiment::ExperimentFacts;
use mainstay_record::node::{
    Command as CommandRecord, CommandOutcome, CommandRequest, Gathered, InjectFault, NodeFacts,
    VERSION,
};
use mainstay_rt::clock;
use mainstay_rt::error::chain;
use mainstay_rt::http::{self as api, Call, Peer};
use serde::Serialize;
use tokio::sync::Notify;

use crate::context::{Context, keep_file};
use crate::deputy::Deputy;
use crate::events::{
    alert_record, detail_of, drill_ask_of, drills_shown, experiment_ask_of, experiment_facts,
    incident_ask_of, notice_ask_of, rules_shown, rules_text_of,
};
use crate::facts::{Own, gather, seen};
use crate::figures;
use crate::gates;
use crate::incidents;
use crate::oncall;
use crate::playbooks;
use crate::program;
use crate::sight::Sight;
use crate::troubles::Troubles;
use mainstay_host::supervisor::Supervisor;

/// Drills in force, under way and over.
const DRILLS: &str = "/v1/drills";
const RULES: &str = "/v1/rules";

/// What the handlers share.
pub struct Desk {
    pub context: Context,
    pub sight: Sight,
    pub deputy: Deputy,
    pub supervisor: Supervisor,
    pub started_wall_ms: u64,
    pub troubles: RefCell<Troubles>,
    /// When the oldest identity of this host was laid down.
    pub leaves_since_wall_ms: Cell<Option<u64>>,
    /// Somebody asked this node to stop everything and leave.
    pub stop: Notify,
    /// Another program of this node is to be started.
    pub leave: Notify,
}

impl Desk {
    pub fn facts(&self) -> NodeFacts {
        let view = self.deputy.view.borrow().clone();
        let leaves = self.leaves_since_wall_ms.get();
        let own = Own {
            started_wall_ms: self.started_wall_ms,
            troubles: self.troubles.borrow().words(),
            oldest_leaf_ms: leaves.map(|since| clock::wall_ms().saturating_sub(since)),
        };
        gather(
            &self.context,
            &self.sight,
            self.supervisor.status(),
            &view,
            own,
        )
    }

    /// For other nodes.
    pub async fn answer_node(self: Rc<Self>, call: Call) -> api::Answer {
        match (call.method, call.path.as_str()) {
            (Method::GET, "/v1/facts") => api::json(StatusCode::OK, &self.facts()),
            (Method::GET, "/metrics") => self.metrics(),
            _ => not_found(),
        }
    }

    fn metrics(&self) -> api::Answer {
        let calls = self
            .deputy
            .view
            .borrow()
            .state
            .as_ref()
            .map(|state| figures::Calls::of(state));
        let page = figures::page(&self.context, &self.facts(), calls.as_ref());
        let mut answer = api::text(StatusCode::OK, page);
        let kind = http::HeaderValue::from_static(mainstay_scrape::page::CONTENT_TYPE);
        answer
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, kind);
        answer
    }

    /// For people on this host.
    pub async fn answer_operator(self: Rc<Self>, call: Call) -> api::Answer {
        match (call.method.clone(), call.path.as_str()) {
            (Method::GET, "/v1/gathered") => match self.may(&call.peer, Permission::StatusRead) {
                Ok(()) => api::json(StatusCode::OK, &self.gathered()),
                Err(refusal) => forbidden(&refusal),
            },
            // Asked of all nodes before the first is stopped.
            (Method::GET, "/v1/stop") => match self.may(&call.peer, Permission::PlatformStop) {
                Ok(()) => api::json(StatusCode::OK, &serde_json::json!({ "may": true })),
                Err(refusal) => forbidden(&refusal),
            },
            (Method::GET, "/v1/facts") => api::json(StatusCode::OK, &self.facts()),
            (Method::GET, "/metrics") => self.metrics(),
            (Method::POST, "/v1/command") => self.command(&call).await,
            (Method::GET, oncall::PATH) => self.oncall(&call.peer),
            (method, path) if path == incidents::PATH || path.starts_with(incidents::BELOW) => {
                self.incidents(&method, &call).await
            }
            (Method::GET, DRILLS) => self.of_state(&call, |state| drills_shown(&state.drills)),
            (Method::GET, playbooks::PATH) => self.of_state(&call, playbooks::shown),
            (Method::GET, RULES) => self.of_state(&call, rules_shown),
            (Method::POST, playbooks::DRY_RUN) => {
                match self.may(&call.peer, Permission::StatusRead) {
                    Ok(()) => playbooks::dry_run(&self, &self.context, &call.body).await,
                    Err(refusal) => forbidden(&refusal),
                }
            }
            (Method::POST, "/v1/stop") => self.stop(&call),
            _ => not_found(),
        }
    }

    pub fn gathered(&self) -> Gathered {
        Gathered {
            version: VERSION,
            own: self.facts(),
            others: seen(&self.sight.nodes, clock::now()),
            faults: faults::in_force(self.context.layout.data()),
            alerts: self.alerts(),
            incidents: incidents::summaries(&self.deputy),
            experiment: self.experiment(),
        }
    }

    /// What the journal says, once it was read to its end.
    fn of_state<T: Serialize>(&self, call: &Call, shown: impl Fn(&State) -> T) -> api::Answer {
        if let Err(refusal) = self.may(&call.peer, Permission::StatusRead) {
            return forbidden(&refusal);
        }
        match self.deputy.view.borrow().state.as_ref() {
            Some(state) => api::json(StatusCode::OK, &shown(state)),
            None => incidents::deaf(),
        }
    }

    fn alerts(&self) -> Vec<AlertRecord> {
        let view = self.deputy.view.borrow();
        let alerts = view.state.iter().flat_map(|state| state.alerts.values());
        alerts.map(alert_record).collect()
    }

    fn oncall(&self, peer: &Peer) -> api::Answer {
        if let Err(refusal) = self.may(peer, Permission::StatusRead) {
            return forbidden(&refusal);
        }
        match self.deputy.view.borrow().state.as_ref() {
            Some(state) => {
                let answer = oncall::answer(state, clock::wall_ms());
                api::json(StatusCode::OK, &answer)
            }
            None => incidents::deaf(),
        }
    }

    /// Incidents by themselves, for programs: read, and changed as by a command.
    async fn incidents(&self, method: &Method, call: &Call) -> api::Answer {
        if *method == Method::GET {
            if let Err(refusal) = self.may(&call.peer, Permission::StatusRead) {
                return forbidden(&refusal);
            }
            return incidents::read(&self.deputy, &call.path).await;
        }
        match incidents::request(method, &call.path, &call.body) {
            Ok(request) => self.carry_out(&call.peer, request).await,
            Err(why) => incidents::wrong(&why),
        }
    }

    fn experiment(&self) -> Option<ExperimentFacts> {
        let view = self.deputy.view.borrow();
        let running = view.state.as_ref()?.experiment.as_ref();
        running.map(experiment_facts)
    }

    async fn command(&self, call: &Call) -> api::Answer {
        let request: CommandRequest = match serde_json::from_slice(&call.body) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("the command is not understood: {error}");
                return api::error(
                    StatusCode::BAD_REQUEST,
                    "command",
                    &message,
                    "upgrade the older of the two programs",
                );
            }
        };
        self.carry_out(&call.peer, request).await
    }

    async fn carry_out(&self, peer: &Peer, request: CommandRequest) -> api::Answer {
        let Some(actor) = actor(peer) else {
            return not_found();
        };
        let ask = match self.ask(request.command) {
            Ok(ask) => ask,
            Err(refused) => return api::json(StatusCode::OK, &refused),
        };
        if let Err(refused) = self.is_followed(&ask) {
            return api::json(StatusCode::OK, &refused);
        }
        let command = Command {
            actor,
            reason: request.reason,
            readings: gates::readings(self, &self.context_in_force(), &ask).await,
            overrides: request.overrides,
            ask,
        };
        let answer = self.deputy.command(Signal::Commanded(command)).await;
        let mut outcome = outcome(answer);
        if let CommandOutcome::Refused { code, why, .. } = &mut outcome {
            why.push_str(&self.what_exists(code, why).unwrap_or_default());
        }
        api::json(StatusCode::OK, &outcome)
    }

    /// By the platform file in force, which may be another one than this node was started with.
    fn context_in_force(&self) -> Context {
        let view = self.deputy.view.borrow();
        let digest = view.state.as_ref().and_then(|state| state.digest.clone());
        let other = digest.filter(|digest| *digest != self.context.digest);
        let in_force = other.and_then(|digest| self.context.with_file(&digest).ok());
        in_force.unwrap_or_else(|| self.context.clone())
    }

    /// Rules are not in the journal: whether one is followed is looked for where they are.
    fn is_followed(&self, ask: &Ask) -> Result<(), CommandOutcome> {
        match ask {
            Ask::Incident(mainstay_incident::Ask::Review {
                review:
                    Review::FinishAction {
                        became: Some(Became::Rule(name)),
                        ..
                    },
                ..
            }) => gates::follows_rule(&self.context_in_force(), name)
                .map_err(|why| refused("not_in_force", why)),
            _ => Ok(()),
        }
    }

    /// What could have been meant instead of something that is not there. Refusals may come from the journal,
    /// with code and text only.
    fn what_exists(&self, code: &str, text: &str) -> Option<String> {
        let view = self.deputy.view.borrow();
        let desired = view.state.as_ref()?.desired.as_ref()?;
        let mut known: Vec<String> = match code {
            "fault_target" if text.starts_with("there is no host") => {
                desired.hosts.keys().map(ToString::to_string).collect()
            }
            "fault_target" if text.starts_with("there is no region") => {
                desired.hosts.values().map(ToString::to_string).collect()
            }
            "no_such_operator" => desired.operators.keys().map(ToString::to_string).collect(),
            "no_such_database" => desired.databases.keys().map(ToString::to_string).collect(),
            "no_replica" => {
                let replicas = desired.databases.values().flat_map(|d| &d.replicas);
                let regions = replicas.filter_map(|host| desired.hosts.get(host));
                regions.map(ToString::to_string).collect()
            }
            _ => return None,
        };
        known.sort();
        known.dedup();
        Some(format!("; there is {}", known.join(", ")))
    }

    /// The kernel's words for what was typed, or why they mean nothing.
    fn ask(&self, command: CommandRecord) -> Result<Ask, CommandOutcome> {
        Ok(match command {
            CommandRecord::Pause => Ask::Pause,
            CommandRecord::Resume => Ask::Resume,
            CommandRecord::Stop => Ask::Stop,
            CommandRecord::Playbook(ask) => playbooks::ask(ask)?,
            CommandRecord::AdoptRules(text) => Ask::AdoptRules(rules_text_of(text)),
            CommandRecord::ClearFault { id } => Ask::ClearFault { fault: id },
            CommandRecord::InjectFault(fault) => Ask::InjectFault(fault_spec(&fault)?),
            CommandRecord::Experiment(ask) => Ask::Experiment(
                experiment_ask_of(ask).map_err(|error| refused("experiment", error.to_string()))?,
            ),
            CommandRecord::Drill(ask) => {
                Ask::Drill(drill_ask_of(ask).map_err(|error| refused("drill", error.to_string()))?)
            }
            CommandRecord::Solo { database } => Ask::Solo {
                database: database_name(&database)?,
            },
            CommandRecord::Failover {
                database,
                host,
                accept_data_loss,
            } => Ask::Failover {
                database: database_name(&database)?,
                to: HostName::new(&host)
                    .map_err(|_| refused("name", format!("{host:?} is not the name of a host")))?,
                accepts_loss: accept_data_loss,
            },
            CommandRecord::Upgrade { digest, version } => Ask::Upgrade {
                program: self.program(digest, version)?,
            },
            CommandRecord::Switchover { database, region } => Ask::Switchover {
                database: database_name(&database)?,
                to: RegionName::new(&region).map_err(|_| {
                    refused("name", format!("{region:?} is not the name of a region"))
                })?,
            },
            CommandRecord::Notice(ask) => {
                Ask::Notice(notice_ask_of(ask).map_err(|error| refused("silence", chain(&error)))?)
            }
            CommandRecord::Incident(ask) => Ask::Incident(
                incident_ask_of(ask).map_err(|error| refused("incident", chain(&error)))?,
            ),
            CommandRecord::Apply { file } => {
                let platform = load("platform file", &file)
                    .map_err(|diagnostics| refused("file", render(&diagnostics)))?;
                let digest = keep_file(&self.context.layout, &file).map_err(|error| {
                    refused("storage", format!("the file cannot be kept: {error}"))
                })?;
                Ask::Apply {
                    digest,
                    desired: Box::new(Desired::of(&platform)),
                }
            }
        })
    }

    /// Nobody is told to take what is not there.
    fn program(&self, digest: String, version: String) -> Result<Program, CommandOutcome> {
        match program::check(&self.context.layout, &digest) {
            Ok(_) => Ok(Program { digest, version }),
            Err(error) => Err(refused("program", chain(&error))),
        }
    }

    /// What needs no leader is decided here, by the roles of the file in force. Where none is known, the
    /// socket alone decides: whoever can open it runs the platform, or is root.
    fn may(&self, peer: &Peer, permission: Permission) -> Result<(), Refusal> {
        let view = self.deputy.view.borrow();
        let state = view.state.as_ref().filter(|state| state.desired.is_some());
        match (actor(peer), state) {
            (Some(actor), Some(state)) => authorize(state, &actor, permission).map(|_| ()),
            (Some(_), None) => Ok(()),
            (None, _) => Err(Refusal::NoPlatform),
        }
    }

    /// Stopping is a matter of the machine, like pulling a plug, and needs no leader.
    fn stop(&self, call: &Call) -> api::Answer {
        match self.may(&call.peer, Permission::PlatformStop) {
            Ok(()) => {
                self.stop.notify_one();
                let stopping = serde_json::json!({ "stopping": true });
                api::json(StatusCode::ACCEPTED, &stopping)
            }
            Err(refusal) => forbidden(&refusal),
        }
    }
}

fn actor(peer: &Peer) -> Option<Actor> {
    match peer {
        Peer::Local { uid, .. } => Some(Actor {
            uid: *uid,
            user: user_name(*uid),
        }),
        Peer::Remote(_) => None,
    }
}

/// The name that the host's user table gives a number.
pub fn user_name(uid: u32) -> Option<String> {
    let table = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut rows = table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let row = rows.find(|row| row.get(2).and_then(|field| field.parse().ok()) == Some(uid))?;
    row.first().map(|name| (*name).to_owned())
}

/// The kernel's words for a fault.
///
/// # Errors
/// What of it means nothing.
pub fn fault_spec(fault: &InjectFault) -> Result<FaultSpec, CommandOutcome> {
    let kind = FaultKind::parse(&fault.kind).ok_or_else(|| {
        let known: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.as_str()).collect();
        refused(
            "kind",
            format!(
                "no fault is called {:?}; there are {}",
                fault.kind,
                known.join(", ")
            ),
        )
    })?;
    let target = FaultTarget::parse(kind, &fault.target)
        .map_err(|error| refused("target", error.to_string()))?;
    Ok(FaultSpec {
        kind,
        target,
        lasts_ms: fault.lasts_ms,
        one_way: fault.one_way,
        delay_us: fault.delay_us,
        detail: detail_of(fault.detail.clone())
            .map_err(|error| refused("detail", error.to_string()))?,
    })
}

fn database_name(text: &str) -> Result<DatabaseName, CommandOutcome> {
    let what = || format!("{text:?} is not the name of a database");
    DatabaseName::new(text).map_err(|_| refused("name", what()))
}

pub fn refused(code: &str, why: String) -> CommandOutcome {
    let next = "correct the command and give it again; nothing was journalled".to_owned();
    CommandOutcome::Refused {
        code: code.to_owned(),
        why,
        next,
    }
}

fn outcome(answer: Answer) -> CommandOutcome {
    match answer {
        Answer::Done { position, detail } if detail.is_empty() => CommandOutcome::Done {
            position: position.0,
            detail: "done".to_owned(),
        },
        Answer::Done { position, detail } => CommandOutcome::Done {
            position: position.0,
            detail,
        },
        Answer::Refused { why, .. } => CommandOutcome::Refused {
            code: why.code().to_owned(),
            next: why.next_step().to_owned(),
            why: why.to_string(),
        },
        Answer::Failed { position, why } => CommandOutcome::Refused {
            code: CommandOutcome::FAILED.to_owned(),
            why: format!("journalled at {position}, but it could not be carried out: {why}"),
            next: "`mainstay status` shows what stands in the way".to_owned(),
        },
        Answer::Unknown { position, why } => CommandOutcome::Unknown {
            position: position.0,
            why,
        },
        Answer::Passed { why } => CommandOutcome::Refused {
            code: "nothing_to_do".to_owned(),
            why,
            next: "`mainstay status` shows the present state".to_owned(),
        },
    }
}

/// As the answer to a command would say it.
fn forbidden(refusal: &Refusal) -> api::Answer {
    let outcome = CommandOutcome::Refused {
        code: refusal.code(),
        why: refusal.to_string(),
        next: refusal.next_step().to_owned(),
    };
    api::json(StatusCode::FORBIDDEN, &outcome)
}

fn not_found() -> api::Answer {
    api::error(
        StatusCode::NOT_FOUND,
        "not_found",
        "a node answers GET /metrics, /v1/facts, /v1/gathered and /v1/incidents, and POST /v1/command, /v1/incidents and /v1/stop",
        "use `mainstay status` and its fellow commands",
    )
}
