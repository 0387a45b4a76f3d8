//! The platform as far as a playbook needs it: names, where things are, and what is in trouble.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::book::{ParameterKind, Place};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// With their regions.
    pub hosts: BTreeMap<String, String>,
    pub lost: BTreeSet<String>,
    /// Hosts that are lost, or that an alert which calls somebody names.
    pub unhealthy: BTreeSet<String>,
    pub databases: BTreeMap<String, ViewDatabase>,
    /// Services and gateways, with the hosts that run one.
    pub instances: BTreeMap<String, BTreeSet<String>>,
    /// What is known of each service besides where it runs.
    pub services: BTreeMap<String, ViewService>,
    pub operators: BTreeSet<String>,
    /// Whom a step may tell, as it writes them.
    pub told: BTreeSet<String>,
    /// Those that can take another action.
    pub incidents: BTreeSet<String>,
    /// By alert: the newest incident in which it stands or stood.
    pub alerts: BTreeMap<String, String>,
    /// Services behind the paths of gateways' routes.
    pub routes: BTreeMap<String, BTreeSet<String>>,
    /// Where gateways send less than all that they would, in percent: by service and region.
    pub shifts: BTreeMap<(String, String), u8>,
    /// Hosts that have a watch, which answers queries.
    pub watches: BTreeSet<String>,
    /// In force now.
    pub faults: BTreeSet<String>,
    /// Somebody said hands off: nothing is begun.
    pub paused: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewDatabase {
    pub replicas: Vec<String>,
    pub primary: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewService {
    /// The database whose replicas its instances stand beside; the active one follows the primary.
    pub follows: Option<String>,
    /// Hosts that may run an instance, one each, in order of preference.
    pub hosts: Vec<String>,
    /// So many instances are wanted by the platform file, and now.
    pub declared: u16,
    pub wanted: u16,
}

impl View {
    /// # Errors
    /// That there is no such service, and what there is.
    pub fn service(&self, name: &str) -> Result<&ViewService, String> {
        self.services.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.services.keys().map(String::as_str).collect();
            format!("there is no service {name}; there is {}", known.join(", "))
        })
    }

    pub(crate) fn is_in(&self, host: &str, region: &str) -> bool {
        self.hosts.get(host).is_some_and(|known| known == region)
    }

    /// Whether such a thing exists.
    ///
    /// # Errors
    /// That it does not, and what there is.
    pub fn names(&self, kind: ParameterKind, name: &str) -> Result<(), String> {
        let (what, known): (&str, Vec<&str>) = match kind {
            ParameterKind::Text | ParameterKind::Integer => return Ok(()),
            ParameterKind::Host => ("host", self.hosts.keys().map(String::as_str).collect()),
            ParameterKind::Region => {
                let regions: BTreeSet<&str> = self.hosts.values().map(String::as_str).collect();
                ("region", regions.into_iter().collect())
            }
            ParameterKind::Database => (
                "database",
                self.databases.keys().map(String::as_str).collect(),
            ),
            ParameterKind::Instance => (
                "instance",
                self.instances.keys().map(String::as_str).collect(),
            ),
        };
        match known.contains(&name) {
            true => Ok(()),
            false => Err(format!(
                "there is no such {what}; there is {}",
                known.join(", ")
            )),
        }
    }

    /// The hosts of a place.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn hosts_of(&self, place: &Place) -> Result<Vec<String>, String> {
        match place {
            Place::Host(host) => {
                self.names(ParameterKind::Host, host)?;
                Ok(Vec::from([host.clone()]))
            }
            Place::Region(region) => {
                self.names(ParameterKind::Region, region)?;
                let here = self.hosts.iter().filter(|(_, known)| *known == region);
                Ok(here.map(|(host, _)| host.to_string()).collect())
            }
        }
    }
}
