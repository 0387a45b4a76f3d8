//! Faults that Mainstay makes on purpose, as far as they are decided here: what, where, how long.

use alloc::string::{String, ToString};
use core::fmt;

use mainstay_model::name::{HostName, RegionName};
use thiserror::Error;

use crate::desired::Desired;
use crate::why::Refusal;

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
    /// Killed, and not started again while the fault lasts.
    ProcessDown,
    /// Some of what is sent must be sent again.
    Loss,
    /// Less fits through.
    Throttle,
    /// Work that nobody needs, on processors and in memory.
    Stress,
}

impl FaultKind {
    pub const ALL: [Self; 12] = [
        Self::ProcessKill,
        Self::ProcessFreeze,
        Self::HostCrash,
        Self::HostFreeze,
        Self::RegionCrash,
        Self::RegionFreeze,
        Self::Cut,
        Self::Delay,
        Self::ProcessDown,
        Self::Loss,
        Self::Throttle,
        Self::Stress,
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
            Self::ProcessDown => "process-down",
            Self::Loss => "loss",
            Self::Throttle => "throttle",
            Self::Stress => "stress",
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
            FaultKind::ProcessKill | FaultKind::ProcessFreeze | FaultKind::ProcessDown => {
                "HOST/PROCESS"
            }
            FaultKind::HostCrash | FaultKind::HostFreeze | FaultKind::Stress => "HOST",
            FaultKind::RegionCrash | FaultKind::RegionFreeze => "REGION",
            FaultKind::Cut => "REGION or REGION:REGION",
            FaultKind::Delay | FaultKind::Loss | FaultKind::Throttle => "REGION:REGION",
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
            FaultKind::ProcessKill | FaultKind::ProcessFreeze | FaultKind::ProcessDown => {
                let (name, instance) = text.split_once('/')?;
                Some(Self::Process {
                    host: host(name)?,
                    instance: Some(instance).filter(|i| !i.is_empty())?.to_string(),
                })
            }
            FaultKind::HostCrash | FaultKind::HostFreeze | FaultKind::Stress => {
                host(text).map(Self::Host)
            }
            FaultKind::RegionCrash | FaultKind::RegionFreeze => region(text).map(Self::Region),
            FaultKind::Cut | FaultKind::Delay | FaultKind::Loss | FaultKind::Throttle => {
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
    pub detail: FaultDetail,
}

/// What a fault says besides; what its kind has no use for is at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultDetail {
    /// Of a delay: up to so much more, drawn for each piece.
    pub jitter_us: u64,
    /// How much of one draw is taken over into the next, in percent.
    pub correlation_percent: u8,
    /// Of a loss: of a million packets, so many are lost.
    pub loss_ppm: u32,
    /// Of a throttle.
    pub bytes_per_second: u64,
    /// Of a cut, delay, loss or throttle: of all traffic between the two regions, only that with this port.
    pub door: Option<FaultDoor>,
    /// Of a kill: asked first, killed after so long.
    pub grace_ms: u64,
    /// Of stress: so many workers, each busy for this share of its time.
    pub cpu_workers: u16,
    pub cpu_load_percent: u8,
    /// Of stress: held and written to.
    pub memory_bytes: u64,
}

/// A port where a host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultDoor {
    pub host: HostName,
    pub port: u16,
    pub ways: Ways,
}

/// Which of what passes a door is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// What is sent to the host.
    Towards,
    /// What the host sends back.
    Back,
    Both,
}

/// So many workers of stress on a host.
const WORKERS_MAX: u16 = 64;
/// More would end processes that have nothing to do with it.
const MEMORY_BYTES_MAX: u64 = 64 << 30;
/// A process that was asked to leave is killed after this at the latest.
const GRACE_MS_MAX: u64 = 300_000;

impl FaultSpec {
    /// Whether it can be set on this platform, and makes sense.
    pub(crate) fn check(&self, desired: &Desired) -> Result<(), Refusal> {
        self.target.check(desired).map_err(Refusal::FaultTarget)?;
        if self.lasts_ms == 0 || self.lasts_ms > FAULT_MS_MAX {
            return Err(Refusal::FaultDuration {
                lasts_ms: self.lasts_ms,
            });
        }
        if self.kind == FaultKind::Delay && self.delay_us == 0 {
            return Err(Refusal::FaultDelay);
        }
        match self.problem(desired) {
            Some(why) => Err(Refusal::FaultShape { why: why.into() }),
            None => Ok(()),
        }
    }

    /// What of it makes no sense, in words.
    fn problem(&self, desired: &Desired) -> Option<&'static str> {
        let detail = &self.detail;
        if let Some(door) = &detail.door {
            let region = desired.hosts.get(&door.host);
            let Some(region) = region else {
                return Some("the door is of a host that there is not");
            };
            let leads_there =
                matches!(&self.target, FaultTarget::Between { to: Some(to), .. } if to == region);
            if !leads_there {
                return Some("the door is not in the second of the two regions");
            }
        } else if let FaultTarget::Between { from, to: Some(to) } = &self.target
            && from == to
        {
            return Some("a region is parted from itself only at a door");
        }
        if detail.correlation_percent > 100 || detail.cpu_load_percent > 100 {
            return Some("a share is at most 100 %");
        }
        match self.kind {
            FaultKind::Loss if !(1..=1_000_000).contains(&detail.loss_ppm) => {
                Some("a loss is more than nothing and at most everything")
            }
            FaultKind::Throttle if detail.bytes_per_second == 0 => {
                Some("a throttle lets something through: a cut lets nothing")
            }
            FaultKind::Stress if detail.cpu_workers == 0 && detail.memory_bytes == 0 => {
                Some("stress needs workers or memory")
            }
            FaultKind::Stress
                if detail.cpu_workers > WORKERS_MAX || detail.memory_bytes > MEMORY_BYTES_MAX =>
            {
                Some("more than 64 workers or 64 GiB are no stress but an outage of the machine")
            }
            FaultKind::ProcessKill if detail.grace_ms > GRACE_MS_MAX => {
                Some("a grace lasts at most five minutes")
            }
            FaultKind::ProcessKill
            | FaultKind::ProcessFreeze
            | FaultKind::ProcessDown
            | FaultKind::HostCrash
            | FaultKind::HostFreeze
            | FaultKind::RegionCrash
            | FaultKind::RegionFreeze
            | FaultKind::Cut
            | FaultKind::Delay
            | FaultKind::Loss
            | FaultKind::Throttle
            | FaultKind::Stress => None,
        }
    }
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
