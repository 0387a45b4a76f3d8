//! Faults that Mainstay makes on purpose, as far as they are decided here: what, where, how long.

use alloc::string::{String, ToString};
use core::fmt;

use mainstay_model::name::{HostName, RegionName};
use thiserror::Error;

use crate::desired::Desired;

/// Longer rehearsals are several.
pub const FAULT_MS_MAX: u64 = 3_600_000;

/// Numbers faults of one platform, from 1. Written `f1`, `f2`, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

impl core::str::FromStr for FaultId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix('f').ok_or(())?;
        digits.parse().map(Self).map_err(|_| ())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    ProcessKill,
    ProcessFreeze,
    HostCrash,
    HostFreeze,
    RegionCrash,
    RegionFreeze,
    Cut,
    Delay,
}

impl FaultKind {
    pub const ALL: [Self; 8] = [
        Self::ProcessKill,
        Self::ProcessFreeze,
        Self::HostCrash,
        Self::HostFreeze,
        Self::RegionCrash,
        Self::RegionFreeze,
        Self::Cut,
        Self::Delay,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessKill => "process-kill",
            Self::ProcessFreeze => "process-freeze",
            Self::HostCrash => "host-crash",
            Self::HostFreeze => "host-freeze",
            Self::RegionCrash => "region-crash",
            Self::RegionFreeze => "region-freeze",
            Self::Cut => "cut",
            Self::Delay => "delay",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// A supervised process, by the name that supervision gives it.
    Process {
        host: HostName,
        instance: String,
    },
    Host(HostName),
    Region(RegionName),
    /// Traffic between two regions, or between one and all others.
    Between {
        from: RegionName,
        to: Option<RegionName>,
    },
}

impl fmt::Display for FaultTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { host, instance } => write!(f, "{host}/{instance}"),
            Self::Host(host) => write!(f, "{host}"),
            Self::Region(region) => write!(f, "{region}"),
            Self::Between { from, to: Some(to) } => write!(f, "{from}:{to}"),
            Self::Between { from, to: None } => write!(f, "{from}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultTargetError {
    #[error("{kind} needs a target of the form {form}, not {text:?}", kind = .kind.as_str())]
    Form {
        kind: FaultKind,
        form: &'static str,
        text: String,
    },
    #[error("there is no host {0}")]
    NoHost(HostName),
    #[error("there is no region {0}")]
    NoRegion(RegionName),
}

impl FaultTarget {
    /// Reads a target as a person types it. Two regions may be parted by a space, a comma, a colon or `--`.
    pub fn parse(kind: FaultKind, text: &str) -> Result<Self, FaultTargetError> {
        let form = match kind {
            FaultKind::ProcessKill | FaultKind::ProcessFreeze => "HOST/PROCESS",
            FaultKind::HostCrash | FaultKind::HostFreeze => "HOST",
            FaultKind::RegionCrash | FaultKind::RegionFreeze => "REGION",
            FaultKind::Cut => "REGION or REGION:REGION",
            FaultKind::Delay => "REGION:REGION",
        };
        Self::read(kind, text).ok_or_else(|| FaultTargetError::Form {
            kind,
            form,
            text: text.to_string(),
        })
    }

    fn read(kind: FaultKind, text: &str) -> Option<Self> {
        let host = |text: &str| HostName::new(text).ok();
        let region = |text: &str| RegionName::new(text).ok();
        match kind {
            FaultKind::ProcessKill | FaultKind::ProcessFreeze => {
                let (name, instance) = text.split_once('/')?;
                Some(Self::Process {
                    host: host(name)?,
                    instance: Some(instance).filter(|i| !i.is_empty())?.to_string(),
                })
            }
            FaultKind::HostCrash | FaultKind::HostFreeze => host(text).map(Self::Host),
            FaultKind::RegionCrash | FaultKind::RegionFreeze => region(text).map(Self::Region),
            FaultKind::Cut | FaultKind::Delay => {
                let parts = [",", ":", "--", " "]
                    .into_iter()
                    .find_map(|mark| text.split_once(mark));
                match parts {
                    Some((from, to)) => Some(Self::Between {
                        from: region(from.trim_end())?,
                        to: Some(region(to.trim_start())?),
                    }),
                    None if kind == FaultKind::Cut => Some(Self::Between {
                        from: region(text)?,
                        to: None,
                    }),
                    None => None,
                }
            }
        }
    }

    /// Is there such a host or region?
    pub fn check(&self, desired: &Desired) -> Result<(), FaultTargetError> {
        let check_region = |region: &RegionName| match desired.has_region(region) {
            true => Ok(()),
            false => Err(FaultTargetError::NoRegion(region.clone())),
        };
        match self {
            Self::Process { host, .. } | Self::Host(host) => {
                match desired.hosts.contains_key(host) {
                    true => Ok(()),
                    false => Err(FaultTargetError::NoHost(host.clone())),
                }
            }
            Self::Region(region) => check_region(region),
            Self::Between { from, to } => {
                check_region(from)?;
                to.as_ref().map_or(Ok(()), check_region)
            }
        }
    }
}

/// A fault as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    pub kind: FaultKind,
    pub target: FaultTarget,
    pub lasts_ms: u64,
    /// Of a cut: only what `from` sends is lost.
    pub one_way: bool,
    /// Of a delay: one way, added in both directions.
    pub delay_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_people_type_them() {
        let parse = |kind, text| FaultTarget::parse(kind, text).map(|target| target.to_string());
        for text in ["eu:us", "eu us", "eu, us", "eu--us"] {
            assert_eq!(parse(FaultKind::Cut, text), Ok("eu:us".to_string()));
        }
        assert_eq!(parse(FaultKind::Cut, "eu"), Ok("eu".to_string()));
        assert!(parse(FaultKind::Delay, "eu").is_err());
        assert_eq!(
            parse(FaultKind::ProcessKill, "h1/keeper-ledger"),
            Ok("h1/keeper-ledger".to_string())
        );
        for bad in ["h1", "h1/", "/x", "H1/x"] {
            assert!(parse(FaultKind::ProcessKill, bad).is_err(), "{bad}");
        }
        assert_eq!("f12".parse(), Ok(FaultId(12)));
        assert_eq!("12".parse::<FaultId>(), Err(()));
    }
}
