//! The watch: who asks everybody for their figures, follows rules over them, and remembers.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::name::{GatewayName, HostName, ObjectiveName};
use crate::validate::span;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Each runs a watch of its own, which asks everybody and shares nothing with the others. Not empty.
    pub hosts: Vec<HostName>,
    /// Where it answers questions to whoever proves to be of the platform, and where watches ask each other. Without
    /// one, questions come over the socket of its host alone.
    pub port: Option<u16>,
    /// An absolute path on each host of a watch: whoever shows the token that it holds may ask as well.
    pub token_file: Option<String>,
    /// From one question to the next, and from one evaluation to the next where a group of rules says nothing else.
    pub interval: Duration,
    pub retention: Duration,
    /// As the file names them; no two have the same last part.
    pub rules: Vec<String>,
    pub targets: Vec<WatchTarget>,
    pub objectives: Vec<Objective>,
    /// Who scrapes instead of the watch.
    pub metrics: Option<Server>,
    /// Where others tell of alerts that they raise.
    pub alerts: Option<AlertsDoor>,
}

/// A door for alerts of others, in the form of Alertmanager's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsDoor {
    pub port: u16,
    /// An absolute path on each host of a watch.
    pub token_file: String,
    /// How long a sender is believed that says no end.
    pub patience: Duration,
    /// Labels by which replicas of one sender differ.
    pub ignore_labels: Vec<String>,
}

/// A server that speaks Prometheus's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Below which `/api/v1` is; no secret.
    pub url: String,
    pub proof: Proof,
    /// Whom it must be certified by, instead of whom the system trusts.
    pub authority_file: Option<String>,
    /// Said with every question, such as the name of a tenant; no secrets.
    pub headers: BTreeMap<String, String>,
}

/// How a watch proves to a server who it is. Files are absolute paths on each host of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    None,
    Bearer { token_file: String },
    Basic { user: String, password_file: String },
}

impl Watch {
    /// Jobs that targets of every platform have.
    pub const OWN_JOBS: [&str; 4] = ["gateway", "keeper", "node", "watch"];
    /// The job of archivers, where they have a port for figures, and of members of etcd, where Mainstay runs them.
    pub const ARCHIVER_JOB: &str = "archiver";
    pub const ETCD_JOB: &str = "etcd";

    /// The last part of a rule file's path: what it is called where it is followed.
    pub fn rule_name(path: &str) -> &str {
        path.rsplit('/').next().unwrap_or(path)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchTarget {
    pub job: String,
    pub instance: String,
    pub address: TargetAddress,
    pub path: String,
    pub labels: BTreeMap<String, String>,
    /// An absolute path on each host of a watch: the token that is shown to it.
    pub token_file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAddress {
    /// `HOST:PORT`, in the clear.
    Tcp(String),
    /// `HOST:PORT`, over TLS.
    Tls {
        address: String,
        /// What it must be certified to be.
        server_name: String,
        /// Whom it must be certified by, instead of whom the system trusts: an absolute path on each host of a watch.
        authority_file: Option<String>,
    },
    /// The absolute path of a socket.
    Unix(String),
}

/// A share of events that must be good, over a period that moves with time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    pub name: ObjectiveName,
    pub target: Target,
    pub period: Duration,
    pub events: Events,
    /// Alerts say nothing while fewer events than this come in a second, in thousandths.
    pub floor_millihertz: u64,
}

/// What is counted, and what of it is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// Requests of a gateway; of one path, or of all. Bad are those answered with a status from 500 upwards.
    Answered {
        gateway: GatewayName,
        route: Option<String>,
    },
    /// The same; bad are those whose answer began later than this.
    Fast {
        gateway: GatewayName,
        route: Option<String>,
        within: Duration,
    },
    /// PromQL, with `$window` where the range belongs: both give a rate, without labels.
    Expressions { bad: String, total: String },
}

/// A share below one, exact: in millionths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(u32);

impl Target {
    const WHOLE: u32 = 100_000_000;

    /// As in `99.95`, a percentage with six decimals at most. Neither nothing nor everything.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('%').unwrap_or(text).trim();
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 6 || !is_number(whole) || !is_number(decimals) {
            return None;
        }
        let whole = whole.parse::<u32>().ok().filter(|whole| *whole <= 100)?;
        let mut millionths: u32 = whole * 1_000_000;
        let mut unit = 100_000;
        for digit in decimals.bytes() {
            millionths += u32::from(digit - b'0') * unit;
            unit /= 10;
        }
        (millionths > 0 && millionths < Self::WHOLE).then_some(Self(millionths))
    }

    /// What may be bad, as a decimal fraction: `0.0005` of 99.95 %.
    pub fn budget_text(self) -> String {
        let text = alloc::format!("0.{:08}", Self::WHOLE - self.0);
        text.trim_end_matches('0').into()
    }

    /// How much of a length of time may be bad.
    pub fn budget_of(self, whole: Duration) -> Duration {
        let nanos = whole.as_nanos() * u128::from(Self::WHOLE - self.0) / u128::from(Self::WHOLE);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The highest target that leaves this much of a length of time to be bad; nothing if that is all of it.
    pub fn leaving(bad: Duration, whole: Duration) -> Option<Self> {
        let share = bad.as_nanos() * u128::from(Self::WHOLE);
        let share = share.div_ceil(whole.as_nanos().max(1));
        let share = u32::try_from(share).ok()?.max(1);
        (share < Self::WHOLE).then(|| Self(Self::WHOLE - share))
    }
}

impl Objective {
    /// What the target allows, as people say it.
    pub fn allows(&self) -> String {
        const YEAR: Duration = Duration::from_secs(365 * 86_400);
        alloc::format!(
            "{} of {} allows {} ({} a year)",
            self.target,
            span(self.period),
            span(self.target.budget_of(self.period)),
            span(self.target.budget_of(YEAR))
        )
    }
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (whole, decimals) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if decimals == 0 {
            return write!(f, "{whole} %");
        }
        let decimals = alloc::format!("{decimals:06}");
        write!(f, "{whole}.{} %", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn targets_are_exact() {
        for (text, shown, budget) in [
            ("99.9", "99.9 %", "0.001"),
            ("99.999%", "99.999 %", "0.00001"),
            ("50", "50 %", "0.5"),
            ("0.000001", "0.000001 %", "0.99999999"),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!(
                (target.to_string(), target.budget_text()),
                (shown.into(), budget.into())
            );
        }
        for text in [
            "",
            "100",
            "0",
            "99.9999999",
            "-1",
            "99,9",
            "1e1",
            "%",
            ".",
            "4294.99",
        ] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
        let year = Duration::from_secs(365 * 86_400);
        let five_nines = Target::parse("99.999").expect("a target");
        assert_eq!(five_nines.budget_of(year).as_secs(), 315);
        assert_eq!(
            Target::leaving(Duration::from_secs(316), year).map(|t| t.to_string()),
            Some("99.998997 %".into())
        );
        assert_eq!(Target::leaving(year, year), None);
    }
}
