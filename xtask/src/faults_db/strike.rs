//! One fault of a round: drawn by role, set on whoever has that role when its time comes.
//!
//! Faults are set as an operator would, through the command line, so they end by themselves. Two more are made
//! by hand: a standby's server is told to shut down, as an administrator does in the wrong window, and it is for
//! its keeper to bring it back; and the primary is moved by plan.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::dice::Dice;
use crate::platform::{DATABASE, Platform};

/// How long a fault lasts, where it lasts.
const LASTS_MS: (u64, u64) = (300, 5_000);
/// A killed process is back when its supervisor says so; the next strike need not wait for that.
const MOMENT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    PostmasterKill,
    PostmasterFreeze,
    KeeperKill,
    KeeperFreeze,
    HostCrash,
    HostFreeze,
    RegionCrash,
    RegionFreeze,
    CutFromAll,
    CutOutgoing,
    CutPair,
    CutPairOneWay,
    Delay,
    Switchover,
    ServerStopped,
    NodeKill,
    GatewayKill,
}

const KINDS: [Kind; 17] = [
    Kind::PostmasterKill,
    Kind::PostmasterFreeze,
    Kind::KeeperKill,
    Kind::KeeperFreeze,
    Kind::HostCrash,
    Kind::HostFreeze,
    Kind::RegionCrash,
    Kind::RegionFreeze,
    Kind::CutFromAll,
    Kind::CutOutgoing,
    Kind::CutPair,
    Kind::CutPairOneWay,
    Kind::Delay,
    Kind::Switchover,
    Kind::ServerStopped,
    Kind::NodeKill,
    Kind::GatewayKill,
];

/// Whom it hits: the primary, or one of the standbys in the order of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Primary,
    Standby(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    kind: Kind,
    whom: Whom,
    other: usize,
    lasts: Duration,
}

/// What became of it.
pub enum Outcome {
    Set {
        whom: String,
        lasts: Duration,
    },
    /// The platform would not, because the target is gone already, say.
    Refused {
        why: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { whom, lasts } => write!(out, "{whom} for {} ms", lasts.as_millis()),
            Self::Refused { why } => write!(out, "not set ({why})"),
        }
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.whom {
            Whom::Primary => "primary".to_owned(),
            Whom::Standby(which) => format!("standby {}", which + 1),
        };
        write!(out, "{:?} of the {whom}", self.kind)
    }
}

/// A replica of the database, as the status names it.
struct Replica {
    host: String,
    region: String,
}

impl Strike {
    pub fn draw(dice: &mut Dice) -> Self {
        let kind = KINDS[dice.below(KINDS.len() as u64) as usize];
        let standby = Whom::Standby(dice.below(2) as usize);
        let (least, most) = LASTS_MS;
        Self {
            kind,
            // A stopped primary's server is a fault of its own kind; all others prefer the primary.
            whom: if dice.percent(60) && kind != Kind::ServerStopped {
                Whom::Primary
            } else {
                standby
            },
            other: dice.below(2) as usize,
            lasts: Duration::from_millis(least + dice.below(most - least)),
        }
    }

    /// Sets it, on whoever has the role just now.
    pub fn set(self, platform: &Platform) -> Result<Outcome> {
        let status = platform.status()?;
        let Some((victim, others)) = self.resolve(&status) else {
            let why = "nobody has that role just now".to_owned();
            return Ok(Outcome::Refused { why });
        };
        let other = &others[self.other % others.len()];
        let (host, region) = (&victim.host, &victim.region);
        let pair = format!("{region}:{}", other.region);
        let process = |name: &str| format!("{host}/{name}");
        let keeper = process(&format!("keeper-{DATABASE}"));
        let postgres = process(&format!("postgres-{DATABASE}"));
        let fault = |kind, target: &str, more: &[&str]| self.inject(platform, kind, target, more);
        match self.kind {
            Kind::PostmasterKill => fault("process-kill", &postgres, &[]),
            Kind::PostmasterFreeze => fault("process-freeze", &postgres, &[]),
            Kind::KeeperKill => fault("process-kill", &keeper, &[]),
            Kind::KeeperFreeze => fault("process-freeze", &keeper, &[]),
            Kind::HostCrash => fault("host-crash", host, &[]),
            Kind::HostFreeze => fault("host-freeze", host, &[]),
            Kind::RegionCrash => fault("region-crash", region, &[]),
            Kind::RegionFreeze => fault("region-freeze", region, &[]),
            Kind::CutFromAll => fault("cut", region, &[]),
            Kind::CutOutgoing => fault("cut", region, &["--one-way"]),
            Kind::CutPair => fault("cut", &pair, &[]),
            Kind::CutPairOneWay => fault("cut", &pair, &["--one-way"]),
            Kind::Delay => fault("delay", &pair, &["--by", "40ms"]),
            Kind::NodeKill => fault("process-kill", &process("node"), &[]),
            Kind::GatewayKill => fault("process-kill", &process("gateway-edge"), &[]),
            Kind::Switchover => Ok(Self::switchover(platform, other)),
            Kind::ServerStopped => Self::stop_server(platform, host),
        }
    }

    fn resolve(self, status: &Value) -> Option<(Replica, Vec<Replica>)> {
        let databases = status["databases"].as_array()?;
        let database = databases
            .iter()
            .find(|database| database["name"] == DATABASE)?;
        let primary = database["primary"].as_str();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut replicas = Vec::new();
        for replica in database["replicas"].as_array()? {
            replicas.push(Replica {
                host: text(&replica["host"])?,
                region: text(&replica["region"])?,
            });
        }
        let is_primary = |replica: &Replica| Some(replica.host.as_str()) == primary;
        let position = match self.whom {
            Whom::Primary => replicas.iter().position(is_primary)?,
            Whom::Standby(which) => {
                let standbys = (0..replicas.len()).filter(|at| !is_primary(&replicas[*at]));
                standbys.clone().nth(which % standbys.count().max(1))?
            }
        };
        let victim = replicas.remove(position);
        (!replicas.is_empty()).then_some((victim, replicas))
    }

    fn inject(
        self,
        platform: &Platform,
        kind: &str,
        target: &str,
        more: &[&str],
    ) -> Result<Outcome> {
        let lasts = format!("{}ms", self.lasts.as_millis());
        let mut arguments = vec!["fault", "inject", kind, target, "--for", &lasts];
        arguments.extend(["--reason", "drawn from a seed"]);
        arguments.extend(more);
        Ok(match platform.mainstay(&arguments) {
            Ok(_) => Outcome::Set {
                whom: target.to_owned(),
                lasts: if kind == "process-kill" {
                    MOMENT
                } else {
                    self.lasts
                },
            },
            Err(error) => Outcome::Refused {
                why: first_lines(&error),
            },
        })
    }

    fn switchover(platform: &Platform, to: &Replica) -> Outcome {
        let mut arguments = vec!["switchover", DATABASE, "--to", &to.region];
        arguments.extend(["--reason", "drawn from a seed"]);
        match platform.mainstay(&arguments) {
            Ok(_) => Outcome::Set {
                whom: to.region.clone(),
                lasts: Duration::ZERO,
            },
            Err(error) => Outcome::Refused {
                why: first_lines(&error),
            },
        }
    }

    /// SIGINT to the postmaster, which is named in its own folder: a fast shutdown.
    fn stop_server(platform: &Platform, host: &str) -> Result<Outcome> {
        let path = format!("hosts/{host}/databases/{DATABASE}/pgdata/postmaster.pid");
        let Ok(text) = std::fs::read_to_string(platform.data().join(path)) else {
            let why = "its server does not run".to_owned();
            return Ok(Outcome::Refused { why });
        };
        let pid = text.lines().next().unwrap_or_default().to_owned();
        let pid: u32 = pid.trim().parse().context("read postmaster.pid")?;
        let killed = std::process::Command::new("kill")
            .args(["-INT", &pid.to_string()])
            .stderr(std::process::Stdio::null())
            .status()?;
        if !killed.success() {
            let why = "its server has just ended".to_owned();
            return Ok(Outcome::Refused { why });
        }
        Ok(Outcome::Set {
            whom: host.to_owned(),
            lasts: MOMENT,
        })
    }
}

/// The command line explains itself at length; here a line will do.
fn first_lines(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (first, second) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let code = first
        .rsplit_once("ended with")
        .map_or(first, |(_, code)| code.trim());
    format!("{code}: {second}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(primary: &str) -> Value {
        let replica = |host: &str| json!({"host": host, "region": format!("region-{host}")});
        json!({"databases": [{
            "name": DATABASE,
            "primary": primary,
            "replicas": [replica("a"), replica("b"), replica("c")],
        }]})
    }

    #[test]
    fn a_seed_draws_the_same_strikes_whoever_is_primary() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            [(); 50].map(|()| Strike::draw(&mut dice))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn every_kind_and_every_role_is_drawn() {
        let mut dice = Dice::new(1);
        let drawn = [(); 1_000].map(|()| Strike::draw(&mut dice));
        for kind in KINDS {
            assert!(drawn.iter().any(|strike| strike.kind == kind), "{kind:?}");
        }
        for whom in [Whom::Primary, Whom::Standby(0), Whom::Standby(1)] {
            assert!(drawn.iter().any(|strike| strike.whom == whom), "{whom:?}");
        }
    }

    #[test]
    fn roles_are_resolved_when_the_time_comes() {
        let strike = |whom| Strike {
            kind: Kind::KeeperKill,
            whom,
            other: 0,
            lasts: MOMENT,
        };
        let hit = |whom, primary: &str| {
            let (victim, others) = strike(whom).resolve(&status(primary)).unwrap();
            assert_eq!(others.len(), 2);
            victim.host
        };
        assert_eq!(hit(Whom::Primary, "b"), "b");
        assert_eq!(hit(Whom::Standby(0), "b"), "a");
        assert_eq!(hit(Whom::Standby(1), "b"), "c");
        assert!(strike(Whom::Primary).resolve(&status("")).is_none());
    }
}
