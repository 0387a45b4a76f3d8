//! Who runs on the platform, under the names and labels by which a chaos document means them.
//!
//! What Kubernetes calls a pod is here one process with an address: an instance of a service, a database's server, its
//! keeper, a gateway. Each has the labels that follow from what it is, and those that the platform file gives its
//! service for the sake of documents that were written elsewhere:
//!
//! | what                    | labels by rule |
//! |-------------------------|----------------|
//! | every process           | `mainstay/host`, `mainstay/region`, `kubernetes.io/hostname`, `topology.kubernetes.io/region` |
//! | an instance of a service| `app`, `component`, `service`: the service's name |
//! | a database's server     | `app: postgres`, `database`, `component: postgres-primary` or `postgres-replica`, `role` |
//! | a keeper, a gateway     | `app` and `component`: `keeper` or `gateway`; `database` or `gateway`: its name |

use std::collections::{BTreeMap, BTreeSet};

use mainstay_model::service::Placement;
use mainstay_model::{Host, Platform};
use mainstay_record::node::{Gathered, NodeFacts};

/// Ports by which processes of another host are reached through a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `HOST/NAME`, as supervision calls it.
    pub instance: String,
    /// `NAME-HOST`, as Kubernetes would.
    pub name: String,
    pub what: What,
    pub host: String,
    pub region: String,
    pub labels: BTreeMap<String, String>,
    pub runs: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Service(String),
    Server(String),
    Keeper(String),
    Gateway(String),
}

/// What is known of the platform now, besides its file. Without it, its file is believed.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Instances (`HOST/NAME`) that run.
    pub running: BTreeSet<String>,
    /// The host of each database's primary.
    pub primaries: BTreeMap<String, String>,
}

impl Sight {
    /// From what nodes say of themselves.
    pub fn of(gathered: &Gathered) -> Self {
        let others = gathered.others.values();
        let others = others.filter_map(|seen| seen.value.as_ref());
        let mut sight = Self::default();
        for node in others.chain([&gathered.own]) {
            sight.take(node);
        }
        sight
    }

    fn take(&mut self, node: &NodeFacts) {
        let running = node.instances.iter();
        let running = running.filter(|instance| instance.process.is_some());
        self.running
            .extend(running.map(|instance| instance.instance.clone()));
        for (database, seen) in &node.keepers {
            let Some(status) = &seen.value else { continue };
            if status.postmaster.is_some() {
                self.running
                    .insert(format!("{}/postgres-{database}", node.host));
            }
            // Whoever is primary says so of itself; others may be late to hear of it.
            let is_itself = status.sight.primary.as_deref() == Some(node.host.as_str());
            if let Some(primary) = &status.sight.primary
                && (is_itself || !self.primaries.contains_key(database))
            {
                self.primaries.insert(database.clone(), primary.clone());
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Inventory {
    pub pods: Vec<Pod>,
    /// What documents may call this platform.
    pub namespaces: BTreeSet<String>,
    /// Labels of hosts, by host.
    pub nodes: BTreeMap<String, BTreeMap<String, String>>,
}

impl Inventory {
    pub fn of(platform: &Platform, sight: Option<&Sight>) -> Self {
        let mut pods = Vec::new();
        for host in platform.hosts() {
            servers(platform, host, sight, &mut pods);
            gateways(platform, host, &mut pods);
        }
        for service in platform.services() {
            let hosts = service.allowed_hosts();
            let count = match &service.placement {
                Placement::Follows { hosts, .. } => hosts.len(),
                Placement::Spread { replicas, .. } => usize::from(*replicas),
            };
            let name = service.name.as_str();
            // Where instances are is known of a platform that runs; else they are where they would begin.
            let here = |host: &str| match sight {
                Some(sight) => sight.running.contains(&format!("{host}/{name}")),
                None => true,
            };
            let placed = hosts
                .iter()
                .filter(|host| here(host.as_str()))
                .take(match sight {
                    Some(_) => usize::MAX,
                    None => count,
                });
            for host in placed.filter_map(|host| platform.host(host.as_str())) {
                let mut labels = labels(&[("app", name), ("component", name), ("service", name)]);
                let given = platform.chaos().and_then(|chaos| chaos.labels.get(name));
                labels.extend(
                    given
                        .into_iter()
                        .flatten()
                        .map(|(key, value)| (key.clone(), value.clone())),
                );
                pods.push(pod(host, name, What::Service(name.to_owned()), labels));
            }
        }
        if let Some(sight) = sight {
            for pod in &mut pods {
                pod.runs = sight.running.contains(&pod.instance);
            }
        }
        let mut namespaces = BTreeSet::from([platform.name().to_string()]);
        namespaces.extend(
            platform
                .chaos()
                .into_iter()
                .flat_map(|chaos| chaos.namespaces.iter().cloned()),
        );
        let nodes = platform
            .hosts()
            .iter()
            .map(|host| (host.name.to_string(), places(host)));
        Self {
            pods,
            namespaces,
            nodes: nodes.collect(),
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn places(host: &Host) -> BTreeMap<String, String> {
    let (name, region) = (host.name.as_str(), host.region.as_str());
    labels(&[
        ("mainstay/host", name),
        ("kubernetes.io/hostname", name),
        ("mainstay/region", region),
        ("topology.kubernetes.io/region", region),
    ])
}

fn pod(host: &Host, name: &str, what: What, mut own: BTreeMap<String, String>) -> Pod {
    own.extend(places(host));
    Pod {
        instance: format!("{}/{name}", host.name),
        name: format!("{name}-{}", host.name),
        what,
        host: host.name.to_string(),
        region: host.region.to_string(),
        labels: own,
        runs: true,
    }
}

fn servers(platform: &Platform, host: &Host, sight: Option<&Sight>, pods: &mut Vec<Pod>) {
    for (database, _) in platform.replicas_on(&host.name) {
        let name = database.name.as_str();
        let home = platform.hosts().iter().find(|other| {
            other.region == database.home && database.replicas.iter().any(|r| r.host == other.name)
        });
        let primary = match sight {
            Some(sight) => sight.primaries.get(name).map(String::as_str),
            None => home.map(|home| home.name.as_str()),
        };
        let role = match primary == Some(host.name.as_str()) {
            true => "primary",
            false => "replica",
        };
        let component = format!("postgres-{role}");
        let own = labels(&[
            ("app", "postgres"),
            ("component", &component),
            ("database", name),
            ("role", role),
        ]);
        let server = What::Server(name.to_owned());
        pods.push(pod(host, &format!("postgres-{name}"), server, own));
        let own = labels(&[
            ("app", "keeper"),
            ("component", "keeper"),
            ("database", name),
        ]);
        let keeper = What::Keeper(name.to_owned());
        pods.push(pod(host, &format!("keeper-{name}"), keeper, own));
    }
}

fn gateways(platform: &Platform, host: &Host, pods: &mut Vec<Pod>) {
    for gateway in platform.gateways_on(&host.name) {
        let name = gateway.name.as_str();
        let own = labels(&[
            ("app", "gateway"),
            ("component", "gateway"),
            ("gateway", name),
        ]);
        let what = What::Gateway(name.to_owned());
        pods.push(pod(host, &format!("gateway-{name}"), what, own));
    }
}
