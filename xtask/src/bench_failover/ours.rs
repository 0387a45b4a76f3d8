//! The platform of the example, broken as an operator breaks it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::writer::Entrance;
use super::{Class, Contestant};
use crate::platform::{DATABASE, Platform, hosts};
use crate::step::Profile;

/// Where gateways of the example lead to the ledger's primary.
const PRIMARY_PORT: u16 = 6432;
/// Longer than any recovery; a fault is ended as soon as writes go on.
const LASTS: &str = "60s";

pub struct Ours {
    pub platform: Platform,
}

impl Ours {
    pub fn start(distance_ms: u64) -> Result<Self> {
        let platform = Platform::start("bench-failover", distance_ms, Profile::Release)?;
        Ok(Self { platform })
    }

    fn primary(&self) -> Result<String> {
        let status = self.platform.status()?;
        let databases = status["databases"].as_array();
        let mut databases = databases.context("no databases")?.iter();
        let database = databases.find(|database| database["name"] == DATABASE);
        let primary = database.and_then(|database| database["primary"].as_str());
        Ok(primary.context("the status names no primary")?.to_owned())
    }

    fn inject(&self, kind: &str, target: &str) -> Result<()> {
        let arguments = ["fault", "inject", kind, target, "--for", LASTS];
        let reason = ["--reason", "bench-failover"];
        let all = [&arguments[..], &reason[..]].concat();
        self.platform.mainstay(&all).map(drop)
    }
}

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        "Mainstay"
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn wait_well(&self, limit: Duration) -> Result<()> {
        self.platform.wait_healthy(limit).map(drop)
    }

    /// The gateways that the fault will not hit, as it never hits the peer's proxy: a client that also tried
    /// the frozen one would measure its own deadline.
    fn entrance(&self) -> Result<Entrance> {
        let primary = self.primary()?;
        let mut to = Vec::new();
        for host in hosts(&self.platform.status()?)? {
            if host.name == primary {
                continue;
            }
            to.push(format!("{}:{PRIMARY_PORT}", host.address).parse()?);
        }
        let secrets = self.platform.data().join("secrets");
        Ok(Entrance {
            to,
            user: "application".to_owned(),
            database: DATABASE.to_owned(),
            password_file: secrets.join(format!("{DATABASE}.pgpass")),
            roots: Some(self.platform.roots()),
            folder: self.platform.data().join("dbcheck"),
        })
    }

    fn strike(&mut self, class: Class) -> Result<()> {
        let primary = self.primary()?;
        let hosts = hosts(&self.platform.status()?)?;
        let region = |is_wanted: &dyn Fn(&str) -> bool| {
            let host = hosts.iter().find(|host| is_wanted(&host.name));
            host.map(|host| host.region.clone())
                .context("there is no such region")
        };
        match class {
            Class::PostmasterKill => {
                let folder = format!("hosts/{primary}/databases/{DATABASE}/pgdata");
                kill_postmaster(&self.platform.data().join(folder))
            }
            Class::Crash => self.inject("host-crash", &primary),
            Class::Freeze => self.inject("host-freeze", &primary),
            Class::Cut => self.inject("cut", &region(&|name| name == primary)?),
            Class::Switchover => {
                let to = region(&|name| name != primary)?;
                let arguments = ["switchover", DATABASE, "--to", &to];
                let all = [&arguments[..], &["--reason", "bench-failover"]].concat();
                self.platform.mainstay(&all).map(drop)
            }
        }
    }

    fn begin_anew(&mut self) -> Result<()> {
        bail!("ours is never given up")
    }

    fn heal(&mut self) -> Result<()> {
        let in_force = self.platform.mainstay(&["fault", "list", "--json"])?;
        let in_force: Value = serde_json::from_str(&in_force)?;
        if in_force.as_array().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        let arguments = ["fault", "clear", "all", "--reason", "bench-failover"];
        self.platform.mainstay(&arguments).map(drop)
    }
}

/// SIGKILL for the postmaster that is named in a data folder.
pub fn kill_postmaster(folder: &std::path::Path) -> Result<()> {
    let path = folder.join("postmaster.pid");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let pid: u32 = text.lines().next().unwrap_or_default().trim().parse()?;
    let status = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()?;
    if !status.success() {
        bail!("the postmaster had ended before it could be killed");
    }
    Ok(())
}
