//! What was gathered, and how old it is.

use std::collections::BTreeMap;

use mainstay_model::Platform;
use mainstay_model::address::Slot;
use mainstay_record::event::AlertRecord;
use mainstay_record::gateway::GatewayStatus;
use mainstay_record::incident::IncidentSummary;
use mainstay_record::keeper::KeeperStatus;
use mainstay_record::node::{self, NodeFacts, Seen};
use mainstay_record::process::{FaultStatus, InstanceStatus};
use mainstay_record::watch::WatchBoard;

/// A fact older than this counts as missing, in milliseconds.
pub(crate) const OLD_MS: u64 = 5_000;

/// Everything that a status is made of. Facts are gathered within a second or so; ages are as of `now_wall_ms`.
#[derive(Clone, Debug)]
pub struct Gathered<'a> {
    pub platform: &'a Platform,
    pub slot: Slot,
    pub now_wall_ms: u64,
    /// By host. A host that is absent was not asked.
    pub hosts: BTreeMap<String, HostAnswers>,
    pub faults: Vec<FaultStatus>,
    /// That stand, as the journal tells them.
    pub alerts: Vec<AlertRecord>,
    /// That are not over, by the journal.
    pub incidents: Vec<IncidentSummary>,
}

/// What was learned of one host.
#[derive(Clone, Debug, Default)]
pub struct HostAnswers {
    /// From its node.
    pub node: Option<Seen<NodeFacts>>,
    /// From its keepers themselves, by database, where its node could not tell.
    pub keepers: BTreeMap<String, Seen<KeeperStatus>>,
    /// From its gateways themselves.
    pub gateways: BTreeMap<String, Seen<GatewayStatus>>,
}

/// A fact that is young enough, or why there is none.
pub(crate) enum Known<'a, T> {
    Fresh {
        value: &'a T,
        age_ms: u64,
    },
    Missing {
        problem: String,
        age_ms: Option<u64>,
    },
}

impl<'a, T> Known<'a, T> {
    fn of(seen: Option<&'a Seen<T>>, extra_age_ms: u64) -> Self {
        let Some(seen) = seen else {
            return Self::Missing {
                problem: "it was not asked".to_owned(),
                age_ms: None,
            };
        };
        let age_ms = seen.age_ms.saturating_add(extra_age_ms);
        match &seen.value {
            Some(value) if age_ms <= OLD_MS => Self::Fresh { value, age_ms },
            Some(_) => Self::Missing {
                problem: seen
                    .problem
                    .clone()
                    .unwrap_or_else(|| "its last answer is too old".to_owned()),
                age_ms: Some(age_ms),
            },
            None => Self::Missing {
                problem: seen
                    .problem
                    .clone()
                    .unwrap_or_else(|| "it has never answered".to_owned()),
                age_ms: None,
            },
        }
    }

    pub(crate) fn value(&self) -> Option<&'a T> {
        match self {
            Self::Fresh { value, .. } => Some(value),
            Self::Missing { .. } => None,
        }
    }

    pub(crate) fn age_ms(&self) -> Option<u64> {
        match self {
            Self::Fresh { age_ms, .. } => Some(*age_ms),
            Self::Missing { age_ms, .. } => *age_ms,
        }
    }
}

impl<'a> Gathered<'a> {
    /// From what one node knows of all.
    pub fn of_node(
        platform: &'a Platform,
        slot: Slot,
        now_wall_ms: u64,
        known: node::Gathered,
    ) -> Self {
        let own = Seen {
            age_ms: now_wall_ms.saturating_sub(known.own.wall_ms),
            value: Some(known.own),
            problem: None,
        };
        let own_host = own.value.as_ref().map(|facts| facts.host.clone());
        let all = known.others.into_iter().chain(own_host.zip(Some(own)));
        let answers = |node| HostAnswers {
            node: Some(node),
            ..HostAnswers::default()
        };
        Self {
            platform,
            slot,
            now_wall_ms,
            hosts: all.map(|(host, node)| (host, answers(node))).collect(),
            faults: known.faults,
            alerts: known.alerts,
            incidents: known.incidents,
        }
    }
}

impl Gathered<'_> {
    /// Whether anybody can say anything about the host's processes.
    pub(crate) fn is_silent(&self, host: &str) -> bool {
        matches!(self.node(host), Known::Missing { .. })
    }

    pub(crate) fn node(&self, host: &str) -> Known<'_, NodeFacts> {
        let answers = self.hosts.get(host);
        Known::of(answers.and_then(|answers| answers.node.as_ref()), 0)
    }

    /// The younger of what the node says of the keeper and what the keeper says itself.
    pub(crate) fn keeper(&self, host: &str, database: &str) -> Known<'_, KeeperStatus> {
        let own = self
            .hosts
            .get(host)
            .and_then(|answers| answers.keepers.get(database));
        self.younger(host, own, |facts| facts.keepers.get(database))
    }

    pub(crate) fn gateway(&self, host: &str, gateway: &str) -> Known<'_, GatewayStatus> {
        let own = self
            .hosts
            .get(host)
            .and_then(|answers| answers.gateways.get(gateway));
        self.younger(host, own, |facts| facts.gateways.get(gateway))
    }

    /// The watch of a host, as its node hears it.
    pub(crate) fn watch(&self, host: &str) -> Known<'_, WatchBoard> {
        self.younger(host, None, |facts| facts.watch.as_ref())
    }

    /// Every process of a gateway that answers.
    pub(crate) fn gateway_processes(&self) -> impl Iterator<Item = &GatewayStatus> {
        let gateways = self.platform.gateways().iter();
        let processes =
            gateways.flat_map(|gateway| gateway.hosts.iter().map(move |host| (gateway, host)));
        processes.filter_map(|(gateway, host)| {
            self.gateway(host.as_str(), gateway.name.as_str()).value()
        })
    }

    fn younger<'b, T>(
        &'b self,
        host: &str,
        own: Option<&'b Seen<T>>,
        told: impl Fn(&'b NodeFacts) -> Option<&'b Seen<T>>,
    ) -> Known<'b, T> {
        let told = match self.node(host) {
            Known::Fresh { value, age_ms } => told(value).map(|seen| Known::of(Some(seen), age_ms)),
            Known::Missing { .. } => None,
        };
        let own = own.map(|seen| Known::of(Some(seen), 0));
        match (own, told) {
            (Some(own @ Known::Fresh { .. }), Some(told @ Known::Fresh { .. })) => {
                if own.age_ms() <= told.age_ms() {
                    own
                } else {
                    told
                }
            }
            (Some(own @ Known::Fresh { .. }), _) => own,
            (_, Some(told)) => told,
            (Some(own), None) => own,
            (None, None) => match self.node(host) {
                Known::Fresh { .. } => Known::Missing {
                    problem: "its node does not know it".to_owned(),
                    age_ms: None,
                },
                Known::Missing { problem, age_ms } => Known::Missing {
                    problem: format!("its node is silent: {problem}"),
                    age_ms,
                },
            },
        }
    }

    /// An instance as its node sees it, with the age of the sight.
    pub(crate) fn instance(&self, host: &str, name: &str) -> Option<(&InstanceStatus, u64)> {
        let Known::Fresh { value, age_ms } = self.node(host) else {
            return None;
        };
        let wanted = format!("{host}/{name}");
        let found = value
            .instances
            .iter()
            .find(|instance| instance.instance == wanted);
        found.map(|instance| (instance, age_ms))
    }
}
