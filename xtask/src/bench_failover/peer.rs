//! Patroni with etcd and HAProxy, from the distribution: three nodes, each behind wires of its own.
//!
//! Its processes are known by identity: Patroni and the wires are our children, a postmaster is named in its data
//! folder, and everything else of a node descends from those two. Store and proxy stand outside of the nodes and
//! are never broken.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::peer_system::{http, is_postgres, own, versions, with_descendants};
use super::writer::Entrance;
use super::{Class, Contestant, ours, peer_files};
use crate::platform::{now, pause};
use crate::step::{installed, postgres_programs};
use crate::wires::{Cut, Door, Wire};

pub const NODES: [usize; 3] = [1, 2, 3];
/// A network of the loopback that nothing else of ours uses.
const NETWORK: u8 = 214;
const DATABASE: &str = "ledger";
const ROLE: &str = "application";
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// Its longest timer runs for twenty seconds; with the defaults for thirty.
const RETURN_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);
/// A switchover is answered when it is done.
const SWITCHOVER_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Settings {
    /// The fastest that its documentation allows
    Fastest,
    /// What it comes with
    Default,
}

/// Where something stands or is reached.
#[derive(Clone, Copy, Debug)]
pub enum Address {
    Node = 1,
    Side = 2,
    Front = 3,
    Back = 4,
}

impl Address {
    pub fn at(self, node: usize, port: u16) -> SocketAddr {
        // Three nodes.
        let ip = Ipv4Addr::new(127, NETWORK, self as u8, node as u8);
        SocketAddr::from((ip, port))
    }

    pub fn proxy() -> SocketAddr {
        SocketAddr::from(([127, NETWORK, 0, 1], 5000))
    }

    fn store(port: u16) -> SocketAddr {
        SocketAddr::from(([127, NETWORK, 0, 2], port))
    }
}

/// What would have to be installed first.
pub fn missing() -> Option<&'static str> {
    ["patroni", "etcd", "haproxy", "setpriv"]
        .into_iter()
        .find(|name| !installed(name) && !Path::new("/usr/sbin").join(name).is_file())
}

pub struct Peer {
    settings: Settings,
    distance_ms: u64,
    versions: String,
    folder: PathBuf,
    nodes: BTreeMap<usize, Child>,
    wires: Vec<Wire>,
    /// Store and proxy.
    others: Vec<Child>,
    struck: Option<(usize, Class)>,
    /// For a look at its logs.
    pub is_kept: bool,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
        if self.is_kept {
            eprintln!("left for a look: {}", self.folder.display());
        } else {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

impl Peer {
    pub fn start(settings: Settings, distance_ms: u64) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("mainstay-peer-{}", std::process::id()));
        let mut peer = Self {
            settings,
            distance_ms,
            versions: versions()?,
            folder,
            nodes: BTreeMap::new(),
            wires: Vec::new(),
            others: Vec::new(),
            struck: None,
            is_kept: true,
        };
        peer.boot()?;
        Ok(peer)
    }

    fn boot(&mut self) -> Result<()> {
        let folder = &self.folder;
        std::fs::create_dir(folder).with_context(|| folder.display().to_string())?;
        own(folder)?;
        self.start_wires(self.distance_ms)?;
        self.start_store()?;
        for node in NODES {
            let own_folder = self.node_folder(node);
            std::fs::create_dir(&own_folder)?;
            own(&own_folder)?;
            let programs = postgres_programs()?;
            let config = peer_files::patroni(self.settings, node, &self.folder, &programs);
            std::fs::write(own_folder.join("patroni.json"), config.to_string())?;
            self.start_node(node)?;
            // The first one makes the cluster, the others copy it.
            self.wait_members(node, BOOT_LIMIT)?;
        }
        self.start_proxy()?;
        self.make_database()
    }

    fn end(&mut self) {
        for node in NODES {
            self.kill_node(node);
        }
        for mut other in self.others.drain(..) {
            other.kill().ok();
            other.wait().ok();
        }
        self.wires.clear();
    }

    pub fn describe(&self) -> String {
        let (ttl, loop_wait, retry_timeout, start) = peer_files::timings(self.settings);
        let (d_ttl, d_wait, d_retry, d_start) = peer_files::timings(Settings::Default);
        format!(
            "The peer: {}; ttl {ttl}, loop_wait {loop_wait}, retry_timeout {retry_timeout}, primary_start_timeout {start} \
             (its defaults are {d_ttl}, {d_wait}, {d_retry}, {d_start}), synchronous_mode_strict, HAProxy checks every 200 ms; \
             one etcd member that is never broken; no watchdog device, which this machine does not have.",
            self.versions
        )
    }

    fn node_folder(&self, node: usize) -> PathBuf {
        self.folder.join(format!("n{node}"))
    }

    fn start_wires(&mut self, distance_ms: u64) -> Result<()> {
        let doors = |from: Address, ports: &[u16]| {
            let mut doors = Vec::new();
            for node in NODES {
                for port in ports {
                    let target = match from {
                        Address::Back => Address::store(*port),
                        _ => Address::Node.at(node, *port),
                    };
                    doors.push(Door {
                        listen: from.at(node, *port),
                        target,
                        node: format!("n{node}"),
                    });
                }
            }
            doors
        };
        for (name, from, ports) in [
            ("front", Address::Front, &[5432, 8008][..]),
            ("side", Address::Side, &[5432, 8008][..]),
            ("back", Address::Back, &[2379][..]),
        ] {
            let wire = Wire::start(&self.folder, name, &doors(from, ports), distance_ms)?;
            self.wires.push(wire);
        }
        Ok(())
    }

    fn start_store(&mut self) -> Result<()> {
        let (client, member) = (Address::store(2379), Address::store(2380));
        let (client, member) = (format!("http://{client}"), format!("http://{member}"));
        let mut command = self.command("etcd", "etcd.log")?;
        command
            .args(["--name", "store", "--logger", "zap", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(self.folder.join("etcd"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &member])
            .args(["--initial-advertise-peer-urls", &member])
            .args(["--initial-cluster", &format!("store={member}")]);
        self.others
            .push(command.spawn().context("start the store")?);
        let started = now();
        while http(Address::store(2379), "GET", "/health", "", PATIENCE).is_err() {
            if started.elapsed() > BOOT_LIMIT {
                bail!("the store does not answer");
            }
            pause(POLL);
        }
        Ok(())
    }

    fn start_proxy(&mut self) -> Result<()> {
        let path = self.folder.join("haproxy.cfg");
        std::fs::write(&path, peer_files::haproxy())?;
        let mut command = self.command("/usr/sbin/haproxy", "haproxy.log")?;
        command.arg("-db").arg("-f").arg(path);
        self.others
            .push(command.spawn().context("start the proxy")?);
        Ok(())
    }

    fn start_node(&mut self, node: usize) -> Result<()> {
        let own_folder = self.node_folder(node);
        let mut command = self.command("setpriv", &format!("n{node}/patroni.log"))?;
        command
            .args(["--reuid", "postgres", "--regid", "postgres"])
            .args(["--clear-groups", "patroni"])
            .arg(own_folder.join("patroni.json"))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&own_folder);
        self.nodes
            .insert(node, command.spawn().context("start Patroni")?);
        Ok(())
    }

    /// Its output goes into a log of this name; a Ctrl-C is not meant for it.
    fn command(&self, program: &str, log: &str) -> Result<Command> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(log))?;
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        Ok(command)
    }

    fn make_database(&self) -> Result<()> {
        let role = peer_files::password(ROLE);
        let pass = |name: &str, user: &str, password: &str| -> Result<PathBuf> {
            let path = self.folder.join(name);
            std::fs::write(&path, format!("*:*:*:{user}:{password}\n"))?;
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, private)?;
            Ok(path)
        };
        pass("application.pgpass", ROLE, &role)?;
        let admin = pass(
            "admin.pgpass",
            "postgres",
            &peer_files::password("postgres"),
        )?;
        let proxy = Address::proxy();
        let started = now();
        for statement in [
            format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{role}'"),
            format!("CREATE DATABASE {DATABASE} OWNER {ROLE}"),
        ] {
            loop {
                let output = Command::new("psql")
                    .env("PGPASSFILE", &admin)
                    .args(["-X", "-q", "-h", &proxy.ip().to_string()])
                    .args(["-p", &proxy.port().to_string()])
                    .args(["-U", "postgres", "-d", "postgres", "-c", &statement])
                    .output()?;
                if output.status.success() {
                    break;
                }
                if started.elapsed() > BOOT_LIMIT {
                    bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
                }
                pause(POLL);
            }
        }
        Ok(())
    }

    /// Name, role and state of every member, as whoever answers tells it.
    fn members(&self) -> Result<Vec<Value>> {
        let mut last = None;
        for node in NODES {
            match http(
                Address::Node.at(node, 8008),
                "GET",
                "/cluster",
                "",
                PATIENCE,
            ) {
                Ok(body) => {
                    let cluster: Value = serde_json::from_str(&body)?;
                    return Ok(cluster["members"].as_array().cloned().unwrap_or_default());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("there are no nodes")?)
    }

    /// Waits for so many members that run on one timeline, a leader among them, and a synchronous standby once
    /// there is more than one.
    fn wait_members(&self, count: usize, limit: Duration) -> Result<()> {
        let started = now();
        loop {
            let members = self.members().unwrap_or_default();
            if are_well(&members, count) {
                return Ok(());
            }
            if started.elapsed() > limit {
                let said = |key: &str| {
                    let words = members.iter().filter_map(|member| member[key].as_str());
                    words.collect::<Vec<_>>().join(", ")
                };
                let (roles, states) = (said("role"), said("state"));
                bail!(
                    "not {count} members are well within {limit:?}: roles {roles}; states {states}"
                );
            }
            pause(POLL);
        }
    }

    fn leader(&self) -> Result<usize> {
        let members = self.members()?;
        let leader = members.iter().find(|member| member["role"] == "leader");
        let name = leader.and_then(|leader| leader["name"].as_str());
        number(name.context("there is no leader")?)
    }

    fn processes(&self, node: usize) -> Vec<u32> {
        let postmaster = self.node_folder(node).join("data/postmaster.pid");
        let postmaster = std::fs::read_to_string(postmaster)
            .ok()
            .and_then(|text| text.lines().next()?.trim().parse().ok());
        let mut roots: Vec<u32> = self.nodes.get(&node).map(Child::id).into_iter().collect();
        roots.extend(postmaster.filter(|pid| is_postgres(*pid)));
        with_descendants(roots)
    }

    fn signal(&self, node: usize, signal: &str) {
        let pids: Vec<String> = self.processes(node).iter().map(u32::to_string).collect();
        if pids.is_empty() {
            return;
        }
        // One that has just ended is no failure.
        Command::new("kill")
            .arg(signal)
            .args(&pids)
            .stderr(Stdio::null())
            .status()
            .ok();
    }

    fn kill_node(&mut self, node: usize) {
        self.signal(node, "-KILL");
        if let Some(mut child) = self.nodes.remove(&node) {
            child.kill().ok();
            child.wait().ok();
        }
    }

    fn cut(&self, node: usize, cut: Cut) -> Result<()> {
        self.wires
            .iter()
            .try_for_each(|wire| wire.cut(&format!("n{node}"), cut))
    }
}

impl Contestant for Peer {
    fn name(&self) -> &'static str {
        match self.settings {
            Settings::Fastest => "Patroni, fastest",
            Settings::Default => "Patroni, defaults",
        }
    }

    fn is_ours(&self) -> bool {
        false
    }

    fn wait_well(&self, limit: Duration) -> Result<()> {
        self.wait_members(NODES.len(), limit.min(RETURN_LIMIT))
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.struck = None;
        self.end();
        std::fs::remove_dir_all(&self.folder)?;
        self.boot()
    }

    fn entrance(&self) -> Result<Entrance> {
        Ok(Entrance {
            to: vec![Address::proxy()],
            user: ROLE.to_owned(),
            database: DATABASE.to_owned(),
            password_file: self.folder.join("application.pgpass"),
            roots: None,
            folder: self.folder.join("dbcheck"),
        })
    }

    fn strike(&mut self, class: Class) -> Result<()> {
        let node = self.leader()?;
        self.struck = Some((node, class));
        match class {
            Class::PostmasterKill => {
                ours::kill_postmaster(&self.node_folder(node).join("data"))?;
            }
            Class::Crash => {
                self.cut(node, Cut::Crash)?;
                self.kill_node(node);
            }
            Class::Freeze => self.signal(node, "-STOP"),
            Class::Cut => self.cut(node, Cut::Cable)?,
            Class::Switchover => {
                let members = self.members()?;
                let standby = members.iter().find(|m| m["role"] == "sync_standby");
                let candidate = standby.context("there is no synchronous standby")?;
                let order = json!({"leader": format!("n{node}"), "candidate": candidate["name"]});
                let address = Address::Node.at(node, 8008);
                let body = order.to_string();
                http(address, "POST", "/switchover", &body, SWITCHOVER_LIMIT)?;
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<()> {
        let Some((node, class)) = self.struck.take() else {
            return Ok(());
        };
        if class == Class::Freeze {
            self.signal(node, "-CONT");
        }
        for wire in &self.wires {
            wire.heal()?;
        }
        if class == Class::Crash {
            self.start_node(node)?;
        }
        Ok(())
    }
}

fn are_well(members: &[Value], count: usize) -> bool {
    let is = |member: &Value, key: &str, values: &[&str]| {
        member[key].as_str().is_some_and(|v| values.contains(&v))
    };
    let running = |member: &&Value| is(member, "state", &["running", "streaming"]);
    let with_role = |role: &str| members.iter().filter(|m| is(m, "role", &[role])).count();
    let timelines: std::collections::BTreeSet<_> =
        members.iter().map(|m| m["timeline"].as_u64()).collect();
    members.iter().filter(running).count() >= count
        && with_role("leader") == 1
        && (count == 1 || with_role("sync_standby") >= 1)
        && timelines.len() == 1
}

fn number(name: &str) -> Result<usize> {
    let digits = name.strip_prefix('n').context("another name")?;
    Ok(digits.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_well_with_leader_and_synchronous_standby_on_one_timeline() {
        let member = |name: &str, role: &str, timeline: u64| json!({"name": name, "role": role, "state": "running", "timeline": timeline});
        let mut members = vec![
            member("n1", "leader", 2),
            member("n2", "sync_standby", 2),
            member("n3", "replica", 2),
        ];
        assert!(are_well(&members, 3));
        members[2]["timeline"] = json!(1);
        assert!(!are_well(&members, 3));
        members[2]["timeline"] = json!(2);
        members[1]["role"] = json!("replica");
        assert!(!are_well(&members, 3));
        assert!(!are_well(&members[..2], 3));
    }
}
