//! The faults, as an operator would type them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::platform::{DATABASE, Platform, hosts};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    PostmasterKill,
    HostCrash,
    RegionFreeze,
    CutBothWays,
    CutOneWay,
    Switchover,
    LeaderKill,
    LeaderFreeze,
    GatewayRegionCrash,
    StalePrimary,
}

const ALL: [Scenario; 10] = [
    Scenario::PostmasterKill,
    Scenario::HostCrash,
    Scenario::RegionFreeze,
    Scenario::CutBothWays,
    Scenario::CutOneWay,
    Scenario::Switchover,
    Scenario::LeaderKill,
    Scenario::LeaderFreeze,
    Scenario::GatewayRegionCrash,
    Scenario::StalePrimary,
];

/// The scenarios of these names, or all of them.
pub fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| ALL.iter().all(|scenario| scenario.name() != *name))
    {
        let known: Vec<_> = ALL.iter().map(|scenario| scenario.name()).collect();
        bail!(
            "no scenario is called {unknown}; there are {}",
            known.join(", ")
        );
    }
    let wanted =
        |scenario: &Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name());
    Ok(ALL.into_iter().filter(wanted).collect())
}

impl Scenario {
    pub const fn name(self) -> &'static str {
        match self {
            Self::PostmasterKill => "postmaster-kill",
            Self::HostCrash => "host-crash",
            Self::RegionFreeze => "region-freeze",
            Self::CutBothWays => "cut-both-ways",
            Self::CutOneWay => "cut-one-way",
            Self::Switchover => "switchover",
            Self::LeaderKill => "leader-kill",
            Self::LeaderFreeze => "leader-freeze",
            Self::GatewayRegionCrash => "gateway-region-crash",
            Self::StalePrimary => "stale-primary",
        }
    }

    /// The longest stall that is aimed at without distance, in milliseconds, where one is named.
    pub const fn aim_ms(name: &str) -> Option<u64> {
        match name.as_bytes() {
            b"postmaster-kill" => Some(1_000),
            b"host-crash" => Some(3_000),
            b"region-freeze" | b"cut-both-ways" | b"cut-one-way" => Some(4_000),
            b"switchover" => Some(500),
            _ => None,
        }
    }

    pub fn set(self, platform: &Platform, status: &Value, lasts: Duration) -> Result<()> {
        let primary = primary_of(status)?;
        let region = region_of(status, &primary)?;
        let lasts = format!("{}s", lasts.as_secs());
        let inject = |kind: &str, target: &str, more: &[&str]| {
            let mut arguments = vec![
                "fault",
                "inject",
                kind,
                target,
                "--for",
                &lasts,
                "--reason",
                self.name(),
            ];
            arguments.extend(more);
            platform.mainstay(&arguments).map(drop)
        };
        match self {
            Self::PostmasterKill => inject(
                "process-kill",
                &format!("{primary}/postgres-{DATABASE}"),
                &[],
            ),
            Self::HostCrash => inject("host-crash", &primary, &[]),
            Self::RegionFreeze => inject("region-freeze", &region, &[]),
            Self::CutBothWays => inject("cut", &region, &[]),
            Self::CutOneWay => inject("cut", &region, &["--one-way"]),
            Self::Switchover => {
                let to = other_region(status, &region)?;
                let arguments = ["switchover", DATABASE, "--to", &to, "--reason", self.name()];
                platform.mainstay(&arguments).map(drop)
            }
            Self::LeaderKill => {
                inject("process-kill", &format!("{}/node", leader_of(status)?), &[])
            }
            Self::LeaderFreeze => inject(
                "process-freeze",
                &format!("{}/node", leader_of(status)?),
                &[],
            ),
            Self::GatewayRegionCrash => {
                inject("region-crash", &other_region(status, &region)?, &[])
            }
            Self::StalePrimary => inject("host-freeze", &primary, &[]),
        }
    }
}

fn primary_of(status: &Value) -> Result<String> {
    let databases = status["databases"]
        .as_array()
        .context("the status lists no databases")?;
    let database = databases
        .iter()
        .find(|database| database["name"] == DATABASE);
    let primary = database.and_then(|database| database["primary"].as_str());
    Ok(primary.context("the status names no primary")?.to_owned())
}

fn leader_of(status: &Value) -> Result<String> {
    Ok(status["leadership"]["leader"]
        .as_str()
        .context("the status names no leader")?
        .to_owned())
}

fn region_of(status: &Value, name: &str) -> Result<String> {
    let host = hosts(status)?.into_iter().find(|host| host.name == name);
    Ok(host
        .with_context(|| format!("the status does not know host {name}"))?
        .region)
}

fn other_region(status: &Value, region: &str) -> Result<String> {
    let host = hosts(status)?
        .into_iter()
        .find(|host| host.region != region);
    Ok(host.context("there is no other region")?.region)
}
