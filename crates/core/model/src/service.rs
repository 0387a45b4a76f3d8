//! A service: a program of the platform's owner that is kept running.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::name::{DatabaseName, HostName, PortName, ServiceName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: ServiceName,
    /// Program and leading arguments, not empty. A program without a slash is looked up beside Mainstay's own
    /// binary first, then on the search path.
    pub command: Vec<String>,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Not empty if anything probes or routes to the service; the first is the main one.
    pub ports: Vec<ServicePort>,
    pub probes: Probes,
    pub placement: Placement,
    pub metrics: Option<Metrics>,
    pub modes: Option<Modes>,
    pub objectives: Objectives,
    pub restart: Restart,
    pub stop: Stop,
}

impl Service {
    pub fn port(&self, name: &PortName) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.name == *name)
    }

    /// Whether an instance must have a leaf of its own.
    pub fn proves_itself(&self) -> bool {
        self.ports.iter().any(|port| port.tls == PortTls::Platform)
    }

    /// The database that the service follows, if it does.
    pub fn follows(&self) -> Option<&DatabaseName> {
        match &self.placement {
            Placement::Follows { database, .. } => Some(database),
            Placement::Spread { .. } => None,
        }
    }

    /// Hosts that may run an instance, in order of preference.
    pub fn allowed_hosts(&self) -> &[HostName] {
        match &self.placement {
            Placement::Follows { hosts, .. } | Placement::Spread { hosts, .. } => hosts,
        }
    }

    /// How many instances are wanted.
    pub fn replicas(&self) -> usize {
        match &self.placement {
            Placement::Follows { hosts, .. } => hosts.len(),
            Placement::Spread { replicas, .. } => usize::from(*replicas),
        }
    }
}

/// A port as declared; see [`crate::address::HostIndex::port`] for the port on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub name: PortName,
    pub number: u16,
    pub tls: PortTls,
}

/// How a port of a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortTls {
    /// In the clear, and nobody has said that it shall be so.
    Unsaid,
    /// In the clear, as the file says.
    Nothing,
    /// By TLS 1.3, and only with a leaf of the platform's authority, on both sides.
    Platform,
}

/// Where instances run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One instance beside each replica of a database. The one beside the primary is active, the others
    /// stand by. Never moved: without a replica there is nothing for it to do.
    Follows {
        database: DatabaseName,
        /// The hosts of the replicas, in the replicas' order.
        hosts: Vec<HostName>,
    },
    /// So many interchangeable instances, at most one on a host, spread over regions first. An instance of
    /// a lost host starts on another allowed host.
    Spread {
        replicas: u16,
        /// Not fewer than `replicas`; regions take turns, so that a prefix is already spread.
        hosts: Vec<HostName>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// Until it succeeds once, the others do not count.
    pub startup: Option<Probe>,
    /// Whether traffic may come.
    pub readiness: Option<Probe>,
    /// Whether the instance must be restarted.
    pub liveness: Option<Probe>,
}

/// An HTTP GET that must answer with a status from 200 to 399.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub port: PortName,
    pub path: String,
    pub period: Duration,
    pub timeout: Duration,
    /// Consecutive failures that make the verdict.
    pub failures: u32,
}

/// Where an instance gives its figures, in Prometheus's text format or in OpenMetrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub port: PortName,
    pub path: String,
}

/// In which modes a service can be. Its active instance tells the present one at `path`, and is told another one there;
/// only nodes of the platform may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Spoken to by TLS with leaves of the platform's authority on both sides.
    pub port: PortName,
    pub path: String,
    /// The ordinary one first.
    pub names: Vec<String>,
}

/// What the owner expects of the service when something is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objectives {
    /// Recovery time: the longest interruption.
    pub rto: Option<Duration>,
    /// Recovery point: the longest stretch of acknowledged work that may be lost. Zero: none.
    pub rpo: Option<Duration>,
}

/// How fast an ended instance is started again. The delay doubles from `delay_first` to `delay_max`
/// and returns to the first after the instance has run for `crash_loop_within`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    pub delay_first: Duration,
    pub delay_max: Duration,
    /// So many ends within `crash_loop_within` are called a crash loop.
    pub crash_loop_failures: u32,
    pub crash_loop_within: Duration,
}

/// Out of routing, wait `drain`, SIGTERM, wait `grace`, SIGKILL of whatever is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub drain: Duration,
    pub grace: Duration,
}
