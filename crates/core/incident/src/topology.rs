//! What stands on what: the platform as far as trouble spreads through it.
//!
//! | trouble with  | reaches                                                               |
//! |---------------|-----------------------------------------------------------------------|
//! | a region      | its hosts                                                             |
//! | a host        | databases with a replica there, services that may run there, gateways there, all parts on it |
//! | a database    | services that follow it, routes with a cell of it                     |
//! | a service     | routes that lead to it                                                |
//! | a gateway     | its routes                                                            |
//!
//! and what these reach in turn. Nothing is reached upwards: a route that fails says nothing of a host.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::thing::{Thing, What};

/// A value that whoever knows the platform hands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Host to region.
    pub hosts: BTreeMap<String, String>,
    /// Database to the hosts of its replicas.
    pub databases: BTreeMap<String, Vec<String>>,
    /// Service to the hosts that may run it, and to the database that it follows.
    pub services: BTreeMap<String, (Vec<String>, Option<String>)>,
    /// Gateway to the hosts of its processes.
    pub gateways: BTreeMap<String, Vec<String>>,
    pub routes: Vec<Route>,
    pub objectives: BTreeMap<String, Objective>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub gateway: String,
    pub path: String,
    pub databases: Vec<String>,
    pub services: Vec<String>,
}

/// Which requests an objective judges; all of the gateway's if it names no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    pub gateway: String,
    pub route: Option<String>,
}

impl Topology {
    pub fn regions(&self) -> BTreeSet<&str> {
        self.hosts.values().map(String::as_str).collect()
    }

    pub fn knows(&self, thing: &Thing) -> bool {
        let has_host = |host: &String| self.hosts.contains_key(host);
        let is_known = match &thing.what {
            What::Region(name) => self.regions().contains(name.as_str()),
            What::Host(name) => self.hosts.contains_key(name),
            What::Database(name) => self.databases.contains_key(name),
            What::Service(name) => self.services.contains_key(name),
            What::Gateway(name) => self.gateways.contains_key(name),
            What::Route(path) => self.routes.iter().any(|route| route.path == *path),
            What::Process(_) | What::Other(_) => true,
        };
        is_known && thing.host.as_ref().is_none_or(has_host)
    }

    /// What the labels of an alert speak of. The most particular name wins: `host` beside `database` says where the
    /// replica is, not that the host is in trouble.
    pub fn things_of(&self, labels: &BTreeMap<String, String>) -> BTreeSet<Thing> {
        let label = |name: &str| labels.get(name).filter(|value| !value.is_empty());
        let host = label("host").filter(|host| self.hosts.contains_key(*host));
        let part = |what: What| Thing {
            what,
            host: host.cloned(),
        };
        let mut things = BTreeSet::new();
        if let Some(slo) = label("slo").and_then(|slo| self.objectives.get(slo)) {
            things.insert(Thing::whole(match &slo.route {
                Some(route) => What::Route(route.clone()),
                None => What::Gateway(slo.gateway.clone()),
            }));
        }
        if let Some(route) = label("route").and_then(|label| self.route_of(label)) {
            things.insert(Thing::whole(What::Route(route.to_string())));
        }
        if let Some(name) = label("service").filter(|name| self.services.contains_key(*name)) {
            things.insert(part(What::Service(name.clone())));
        } else if let Some(name) = label("database").filter(|n| self.databases.contains_key(*n)) {
            things.insert(part(What::Database(name.clone())));
        }
        if let Some(name) = label("gateway").filter(|name| self.gateways.contains_key(*name)) {
            things.insert(part(What::Gateway(name.clone())));
        }
        if things.is_empty()
            && let Some(job) = label("job")
        {
            things.extend(self.of_job(job, label("instance"), host));
        }
        match (things.is_empty(), host, label("region")) {
            (true, Some(host), _) => {
                things.insert(Thing::host(host));
            }
            (true, None, Some(region)) if self.regions().contains(region.as_str()) => {
                things.insert(Thing::region(region));
            }
            _ => {}
        }
        if things.is_empty() {
            let name = label("alertname").map_or("", String::as_str);
            things.insert(Thing::whole(What::Other(name.to_string())));
        }
        things
    }

    /// The gateway calls a route by its listener and its path.
    fn route_of(&self, label: &str) -> Option<&str> {
        let paths = self.routes.iter().map(|route| route.path.as_str());
        paths
            .filter(|path| {
                let rest = label.strip_suffix(path);
                rest.is_some_and(|listener| !listener.contains('/'))
            })
            .max_by_key(|path| path.len())
    }

    /// Targets of the platform's own jobs are called `HOST` or `HOST/NAME`.
    fn of_job(&self, job: &str, instance: Option<&String>, host: Option<&String>) -> Option<Thing> {
        if self.services.contains_key(job) {
            return Some(Thing {
                what: What::Service(job.to_string()),
                host: host.cloned(),
            });
        }
        let host = host?;
        let name = instance.and_then(|instance| instance.split_once('/'));
        let name = name.map(|(_, name)| name.to_string());
        match (job, name) {
            ("gateway", Some(name)) if self.gateways.contains_key(&name) => {
                Some(Thing::on(What::Gateway(name), host))
            }
            ("keeper", Some(name)) if self.databases.contains_key(&name) => {
                Some(Thing::on(What::Database(name), host))
            }
            ("node" | "watch" | "etcd", _) => Some(Thing::on(What::Process(job.to_string()), host)),
            _ => None,
        }
    }

    /// Everything that trouble with `thing` can be felt in, itself included. Processes of one name on two hosts have
    /// nothing to do with each other.
    pub fn reach(&self, thing: &Thing) -> BTreeSet<What> {
        if matches!(thing.what, What::Process(_)) {
            return BTreeSet::new();
        }
        let mut reached = BTreeSet::from([thing.what.clone()]);
        let mut left = Vec::from([thing.what.clone()]);
        while let Some(what) = left.pop() {
            for next in self.next(&what) {
                if reached.insert(next.clone()) {
                    left.push(next);
                }
            }
        }
        reached
    }

    /// Whether trouble with what reaches this far can be felt in `thing`: in the whole of it, or, on a host that is
    /// reached, in its part there.
    pub fn is_within(reached: &BTreeSet<What>, thing: &Thing) -> bool {
        let place = thing.host.as_ref().map(|host| What::Host(host.clone()));
        reached.contains(&thing.what) || place.is_some_and(|place| reached.contains(&place))
    }

    fn next(&self, what: &What) -> Vec<What> {
        match what {
            What::Region(region) => {
                let hosts = self.hosts.iter().filter(|(_, of)| *of == region);
                hosts.map(|(host, _)| What::Host(host.clone())).collect()
            }
            What::Host(host) => {
                let databases = self.databases.iter().filter(|(_, on)| on.contains(host));
                let services = self
                    .services
                    .iter()
                    .filter(|(_, (on, _))| on.contains(host));
                let gateways = self.gateways.iter().filter(|(_, on)| on.contains(host));
                databases
                    .map(|(name, _)| What::Database(name.clone()))
                    .chain(services.map(|(name, _)| What::Service(name.clone())))
                    .chain(gateways.map(|(name, _)| What::Gateway(name.clone())))
                    .collect()
            }
            What::Database(database) => {
                let follow = |(_, (_, follows)): &(&String, &(Vec<String>, Option<String>))| {
                    follows.as_ref() == Some(database)
                };
                let services = self.services.iter().filter(follow);
                let services = services.map(|(name, _)| What::Service(name.clone()));
                services
                    .chain(self.doors(|r| &r.databases, database))
                    .collect()
            }
            What::Service(service) => self.doors(|r| &r.services, service).collect(),
            What::Gateway(gateway) => {
                let routes = self.routes.iter().filter(|route| route.gateway == *gateway);
                routes
                    .map(|route| What::Route(route.path.clone()))
                    .collect()
            }
            What::Route(_) | What::Process(_) | What::Other(_) => Vec::new(),
        }
    }

    /// Routes that lead to a name, but not their gateways: those serve other routes as before.
    fn doors<'a>(
        &'a self,
        of: impl Fn(&Route) -> &Vec<String> + 'a,
        name: &'a String,
    ) -> impl Iterator<Item = What> + 'a {
        let routes = self.routes.iter();
        let routes = routes.filter(move |route| of(route).contains(name));
        routes.map(|route| What::Route(route.path.clone()))
    }
}
