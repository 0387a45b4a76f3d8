//! What an incident can be about.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// A part of the platform by its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Region(String),
    Host(String),
    Database(String),
    Service(String),
    Gateway(String),
    /// A path that clients ask for, as the platform file writes it.
    Route(String),
    /// A process of Mainstay's own that nothing else stands on: a node, a watch.
    Process(String),
    /// Something that the platform file does not know.
    Other(String),
}

/// The whole of it, or the part of it on one host: `database/ledger`, `database/ledger@use1-a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    pub what: What,
    pub host: Option<String>,
}

impl What {
    /// Instances are called after their parts: `keeper-ledger`, `postgres-ledger`, `gateway-edge`, or like their service.
    /// Supervision puts the host before, as in `use1-a/venue`.
    pub fn of_instance(instance: &str) -> Self {
        let instance = instance.rsplit('/').next().unwrap_or(instance);
        let after = |prefix: &str| instance.strip_prefix(prefix).map(ToString::to_string);
        after("keeper-")
            .or_else(|| after("postgres-"))
            .or_else(|| after("archiver-"))
            .map(Self::Database)
            .or_else(|| after("gateway-").map(Self::Gateway))
            .unwrap_or_else(|| match instance {
                "watch" => Self::Process(instance.to_string()),
                _ => Self::Service(instance.to_string()),
            })
    }

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Region(_) => "region",
            Self::Host(_) => "host",
            Self::Database(_) => "database",
            Self::Service(_) => "service",
            Self::Gateway(_) => "gateway",
            Self::Route(_) => "route",
            Self::Process(_) => "process",
            Self::Other(_) => "other",
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Region(name)
            | Self::Host(name)
            | Self::Database(name)
            | Self::Service(name)
            | Self::Gateway(name)
            | Self::Route(name)
            | Self::Process(name)
            | Self::Other(name) => name,
        }
    }

    /// Whether it has parts on hosts.
    const fn has_parts(&self) -> bool {
        match self {
            Self::Database(_) | Self::Service(_) | Self::Gateway(_) | Self::Process(_) => true,
            Self::Region(_) | Self::Host(_) | Self::Route(_) | Self::Other(_) => false,
        }
    }
}

impl Thing {
    pub const fn whole(what: What) -> Self {
        Self { what, host: None }
    }

    pub fn on(what: What, host: &str) -> Self {
        let host = Some(host.to_string());
        Self { what, host }
    }

    pub fn region(name: &str) -> Self {
        Self::whole(What::Region(name.to_string()))
    }

    pub fn host(name: &str) -> Self {
        Self::whole(What::Host(name.to_string()))
    }

    pub fn database(name: &str) -> Self {
        Self::whole(What::Database(name.to_string()))
    }

    /// The one host that it stands on, if it is one.
    pub fn place(&self) -> Option<&str> {
        match (&self.host, &self.what) {
            (Some(host), _) | (None, What::Host(host)) => Some(host),
            (None, _) => None,
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.what.kind(), self.what.name())?;
        match &self.host {
            Some(host) => write!(f, "@{host}"),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} names no part of a platform: expected KIND/NAME or KIND/NAME@HOST, as in database/ledger, host/use1-a, service/venue@use1-a"
)]
pub struct ParseThingError(pub String);

impl FromStr for Thing {
    type Err = ParseThingError;

    fn from_str(text: &str) -> Result<Self, ParseThingError> {
        let fault = || ParseThingError(text.to_string());
        let (kind, name) = text.split_once('/').ok_or_else(fault)?;
        let what = |name: &str| {
            let name = name.to_string();
            Some(match kind {
                "region" => What::Region(name),
                "host" => What::Host(name),
                "database" => What::Database(name),
                "service" => What::Service(name),
                "gateway" => What::Gateway(name),
                "route" => What::Route(name),
                "process" => What::Process(name),
                "other" => What::Other(name),
                _ => return None,
            })
        };
        let whole = what(name).ok_or_else(fault)?;
        let thing = match name.rsplit_once('@') {
            Some((name, host)) if whole.has_parts() => {
                if host.is_empty() {
                    return Err(fault());
                }
                Self::on(what(name).ok_or_else(fault)?, host)
            }
            Some(_) | None => Self::whole(whole),
        };
        if thing.what.name().is_empty() {
            return Err(fault());
        }
        Ok(thing)
    }
}
