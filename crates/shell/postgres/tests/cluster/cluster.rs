//! Three keepers on addresses of their own, and every way to hurt them.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mainstay_identity::Identity;
use mainstay_identity::authority::Authority;
use mainstay_record::identity::{IdentityFiles, identity_name};
use mainstay_record::keeper::{
    KeeperApplication, KeeperConfig, KeeperListen, KeeperReplica, KeeperSecrets, KeeperSetting,
    KeeperStatus, KeeperTimings, SightRole, VERSION,
};
use mainstay_testkit::address::AddressBlock;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ahead;
use crate::clocks::Clocks;
use crate::wires::{Wires, door};

/// For everything that is waited for: what a machine that is busy with other tests never needs.
const LIMIT: Duration = Duration::from_secs(180);
pub const COUNT: usize = 3;
const PEER_PORT: u16 = 7001;
const HTTP_PORT: u16 = 7002;
const POSTGRES_PORT: u16 = 5432;
const GATEWAY_PORT: u16 = 6432;

/// What the replicas' servers are to others.
pub const SERVER_ROLE: &str = "postgres-orders";

/// Where a client finds a server, and how it makes sure that it is one.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    pub tls: MakeRustlsConnect,
}

pub struct Cluster {
    folder: tempfile::TempDir,
    block: AddressBlock,
    pub wires: Wires,
    keepers: [Option<Child>; COUNT],
    /// Started on a folder that another keeper has.
    second: Option<Child>,
    settings: Vec<KeeperSetting>,
    /// PostgreSQL's.
    programs: PathBuf,
    /// Where the hosts' wall clocks can be stepped.
    clocks: Option<Clocks>,
    guard: Child,
    /// Who asks for the status.
    observer: Arc<Identity>,
    pub runtime: tokio::runtime::Runtime,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut second) = self.second.take() {
            second.kill().ok();
            second.wait().ok();
        }
        for which in 0..COUNT {
            self.kill_host(which);
        }
        if std::thread::panicking() || std::env::var_os("MAINSTAY_KEEP").is_some() {
            println!("kept: {}", self.folder.path().display());
            self.folder.disable_cleanup(true);
        }
        // The end of its input is its sign.
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}

/// Waits until whoever started this is gone, however it went, and kills all that stands below the folder.
pub fn guard(folder: &Path) {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
    for _ in 0..100 {
        let left = standing_below(folder);
        for pid in &left {
            kill_process(*pid, Signal::KILL).ok();
        }
        if left.is_empty() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Every process whose working folder is below this one: keepers, servers, tools.
fn standing_below(folder: &Path) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/cwd"))
                .is_ok_and(|stands| stands.starts_with(folder))
        })
        .filter_map(Pid::from_raw)
        .collect()
}

impl Cluster {
    /// Three keepers that have just been started beside nothing.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(settings, mainstay_testkit::postgres::programs()?, false)
    }

    fn start_with(settings: &[(&str, &str)], programs: PathBuf, has_clocks: bool) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mainstay-keepers-")
            .tempdir()?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let block = AddressBlock::claim(202)?;
        let wires = Wires::start(&block, [PEER_PORT, POSTGRES_PORT])?;
        let guard = Command::new(std::env::current_exe()?)
            .arg("guard")
            .arg(folder.path())
            .stdin(Stdio::piped())
            // A Ctrl-C is not meant for it.
            .process_group(0)
            .spawn()
            .context("start a guard")?;
        let observer = observer(folder.path())?;
        let clocks = has_clocks.then(|| Clocks::build(folder.path()));
        let clocks = clocks.transpose()?;
        let mut cluster = Self {
            guard,
            observer,
            folder,
            block,
            wires,
            keepers: [const { None }; COUNT],
            second: None,
            settings: named(settings),
            programs,
            clocks,
            runtime,
        };
        for which in 0..COUNT {
            cluster.start_keeper(which)?;
        }
        Ok(cluster)
    }

    /// Healthy: one open primary, two standbys, all in the cohort and streaming.
    pub fn healthy() -> Result<Self> {
        ahead::take()
    }

    /// The same, with settings of the platform's file.
    pub fn healthy_with(settings: &[(&str, &str)]) -> Result<Self> {
        let cluster = Self::start(settings)?;
        let begun = mainstay_rt::clock::now();
        cluster.await_healthy()?;
        let took = mainstay_rt::clock::now().since(begun);
        println!("  from nothing to healthy: {} ms", took.as_millis());
        Ok(cluster)
    }

    /// The same, with PostgreSQL's programs from this folder.
    pub fn healthy_by(programs: &Path) -> Result<Self> {
        let cluster = Self::start_with(&[], programs.to_owned(), false)?;
        cluster.await_healthy()?;
        Ok(cluster)
    }

    /// The same, and every host's wall clock can be stepped.
    pub fn healthy_by_clocks() -> Result<Self> {
        let cluster = Self::start_with(&[], mainstay_testkit::postgres::programs()?, true)?;
        cluster.await_healthy()?;
        Ok(cluster)
    }

    /// Has this host's keeper loaded a library of this name?
    pub fn keeper_has_mapped(&self, which: usize, library: &str) -> Result<bool> {
        let keeper = self.keepers[which].as_ref().context("no keeper runs")?;
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", keeper.id()))?;
        Ok(maps.contains(library))
    }

    pub fn path(&self, which: usize) -> PathBuf {
        self.folder.path().join(format!("host-{}", which + 1))
    }

    pub fn pgdata(&self, which: usize) -> PathBuf {
        self.path(which).join("pgdata")
    }

    fn address(&self, which: usize, port: u16) -> SocketAddr {
        // Three hosts: a handful of addresses of the block.
        SocketAddr::from((self.block.address(which as u8 + 1), port))
    }

    /// Where `from` reaches `to`.
    fn seen(&self, from: usize, to: usize, port: u16) -> SocketAddr {
        if from == to {
            return self.address(to, port);
        }
        SocketAddr::from((door(&self.block, from, to), port))
    }

    pub fn postgres_address(&self, which: usize) -> SocketAddr {
        self.address(which, POSTGRES_PORT)
    }

    /// Where a gateway may listen.
    pub fn gateway_address(&self) -> SocketAddr {
        SocketAddr::from((self.block.address(9), GATEWAY_PORT))
    }

    /// A server, for a client that believes the cluster's authority.
    pub fn door(&self, which: usize) -> Result<Door> {
        let roots = Authority::new(&self.authority(), "test").roots();
        Ok(Door {
            address: self.postgres_address(which),
            tls: mainstay_testkit::tls::believing(&roots)?,
        })
    }

    pub fn start_keeper(&mut self, which: usize) -> Result<()> {
        self.keepers[which] = Some(self.spawn_keeper(which)?);
        Ok(())
    }

    /// Another one, with the same configuration as the one that runs.
    pub fn start_second_keeper(&mut self, which: usize) -> Result<()> {
        self.second = Some(self.spawn_keeper(which)?);
        Ok(())
    }

    /// Waits until the second keeper has left with a failure.
    pub fn await_refusal(&mut self) -> Result<()> {
        let mut second = self.second.take().context("there is no second keeper")?;
        let status = self.wait("the second keeper to leave", || {
            second.try_wait().ok().flatten()
        });
        second.kill().ok();
        second.wait().ok();
        ensure!(!status?.success(), "it left as if all were well");
        Ok(())
    }

    /// Other settings of the platform's file, in the files of all keepers; whoever runs reads them again.
    pub fn configure(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.settings = named(settings);
        for which in 0..COUNT {
            self.write_config(which)?;
        }
        Ok(())
    }

    fn write_config(&self, which: usize) -> Result<PathBuf> {
        let path = self.path(which).join("config.json");
        let bytes = serde_json::to_vec_pretty(&self.config(which)?)?;
        mainstay_rt::files::write_atomic(&path, &bytes)?;
        Ok(path)
    }

    fn spawn_keeper(&self, which: usize) -> Result<Child> {
        let own = self.path(which);
        std::fs::create_dir_all(&own)?;
        let config = self.write_config(which)?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(own.join("keeper.log"))?;
        let (program, arguments) = match std::env::var_os("MAINSTAY") {
            Some(binary) => (PathBuf::from(binary), vec!["keeper", "--config"]),
            None => (std::env::current_exe()?, vec!["keeper"]),
        };
        let child = Command::new(program)
            .args(arguments)
            .arg(&config)
            .envs(self.environment(&own)?)
            .current_dir(&own)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start a keeper")?;
        Ok(child)
    }

    /// What a host's processes are started with besides.
    fn environment(&self, own: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
        let clocks = self.clocks.as_ref();
        let environment = clocks.map(|clocks| clocks.environment(own)).transpose()?;
        Ok(environment.into_iter().flatten().collect())
    }

    fn config(&self, which: usize) -> Result<KeeperConfig> {
        let own = self.path(which);
        let secret = |name: &str| -> Result<PathBuf> {
            let path = self.folder.path().join(name);
            if !path.exists() {
                mainstay_rt::files::write_atomic(&path, format!("secret-{name}\n").as_bytes())?;
            }
            Ok(path)
        };
        let user = user();
        let replicas = (0..COUNT)
            .map(|other| KeeperReplica {
                id: other as u32 + 1,
                host: format!("host-{}", other + 1),
                region: format!("region-{}", other + 1),
                peer_address: self.seen(which, other, PEER_PORT),
                postgres_address: self.seen(which, other, POSTGRES_PORT),
            })
            .collect();
        Ok(KeeperConfig {
            version: VERSION,
            platform: "test".to_owned(),
            database: "orders".to_owned(),
            replica: which as u32 + 1,
            replicas,
            leaving: Vec::new(),
            copies: 2,
            home: 1,
            listen: KeeperListen {
                peer: self.address(which, PEER_PORT),
                http: self.address(which, HTTP_PORT),
                postgres: self.address(which, POSTGRES_PORT),
            },
            pgdata: self.pgdata(which),
            folder: own.join("keeper"),
            run_folder: own.join("run"),
            control_socket: own.join("control"),
            lease_file: own.join("lease"),
            shim: shim(&own, &self.programs, &self.environment(&own)?),
            programs: Some(self.programs.clone()),
            user,
            secrets: KeeperSecrets {
                superuser: secret("superuser")?,
                replication: secret("replication")?,
                application: secret("application")?,
            },
            identity: Some(self.identity(which, "keeper-orders")?),
            server_identity: Some(self.identity(which, SERVER_ROLE)?),
            application: KeeperApplication {
                role: "shop".to_owned(),
                database: "shop".to_owned(),
            },
            timings: KeeperTimings::default(),
            filling_rate_kib: Some(256 * 1_024),
            settings: self.settings.clone(),
        })
    }

    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority")
    }

    /// Who a role of a host is; the leaf is made when it is first asked for.
    pub fn identity(&self, which: usize, role: &str) -> Result<IdentityFiles> {
        let authority = Authority::new(&self.authority(), "test");
        let host = format!("host-{}", which + 1);
        let own = self.path(which).join(format!("{role}.pem"));
        if !own.exists() {
            let name = identity_name(role, &host, "test");
            // Clients know servers by their addresses.
            let known = [self.postgres_address(which), self.gateway_address()];
            let also: Vec<String> = match role {
                SERVER_ROLE => known.iter().map(|at| at.ip().to_string()).collect(),
                _ => Vec::new(),
            };
            let leaf = authority.issue_for(&name, &also, mainstay_rt::clock::wall_ms())?;
            mainstay_rt::files::write_atomic(&own, leaf.pem.as_bytes())?;
        }
        let roots = authority.roots();
        Ok(IdentityFiles { own, roots })
    }

    pub fn peer_address(&self, which: usize) -> SocketAddr {
        self.address(which, PEER_PORT)
    }

    pub fn sight_address(&self, which: usize) -> SocketAddr {
        self.address(which, HTTP_PORT)
    }

    pub fn status(&self, which: usize) -> Result<KeeperStatus> {
        let name = identity_name("keeper-orders", &format!("host-{}", which + 1), "test");
        let request = mainstay_identity::web::request(
            &self.observer,
            (self.sight_address(which), &name),
            http::Method::GET,
            "/v1/status",
            Vec::new(),
            Duration::from_millis(500),
        );
        let (code, body) = self.runtime.block_on(request)?;
        ensure!(code.is_success(), "status {code}");
        Ok(serde_json::from_slice(&body)?)
    }

    /// The same of a keeper that runs, however busy the machine is.
    pub fn await_status(&self, which: usize) -> Result<KeeperStatus> {
        self.wait("a keeper's status", || self.status(which).ok())
    }

    /// An operator's request to one keeper; its answer as text.
    pub fn order(&self, which: usize, path: &str, body: &str) -> Result<String> {
        let socket = self.path(which).join("control");
        let request = mainstay_rt::http::request_unix(
            &socket,
            http::Method::POST,
            path,
            body.as_bytes().to_vec(),
            LIMIT,
        );
        let (code, body) = self.runtime.block_on(request)?;
        let text = String::from_utf8_lossy(&body).into_owned();
        ensure!(code.is_success(), "{path}: {code} {text}");
        Ok(text)
    }

    /// Has the primary go to another replica by plan; the new term. A refusal, and an answer that was not heard, are no
    /// failure: what counts is where it is.
    pub fn hand_over(&self, target: usize) -> Result<u32> {
        let body = format!("{{\"to\":\"host-{}\"}}", target + 1);
        let mut said = String::new();
        self.wait("the primary to be handed over", || {
            let (primary, term) = self.primary()?;
            if primary == target {
                return Some(term);
            }
            let answer = self.order(primary, "/v1/switchover", &body);
            let answer = answer.unwrap_or_else(|refused| format!("{refused:#}"));
            if answer != said {
                println!("  {answer}");
                said = answer;
            }
            None
        })
    }

    /// The open primary of the highest term among those that answer now.
    pub fn primary(&self) -> Option<(usize, u32)> {
        (0..COUNT)
            .filter_map(|which| Some((which, self.status(which).ok()?)))
            .filter(|(_, status)| status.sight.role == SightRole::Primary && status.sight.open)
            .map(|(which, status)| (which, status.sight.term))
            .max_by_key(|(_, term)| *term)
    }

    pub fn await_primary(&self, above: u32) -> Result<(usize, u32)> {
        self.wait("an open primary", || {
            self.primary().filter(|(_, term)| *term > above)
        })
    }

    pub fn await_healthy(&self) -> Result<(usize, u32)> {
        self.wait("an open primary with two acknowledging standbys", || {
            let (primary, term) = self.primary()?;
            let status = self.status(primary).ok()?;
            let acknowledging = status.peers.iter().filter(|peer| peer.acknowledges);
            (acknowledging.count() == COUNT - 1).then_some((primary, term))
        })
    }

    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = mainstay_rt::clock::now() + LIMIT;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if mainstay_rt::clock::now() > deadline {
                self.explain();
                bail!("waited {LIMIT:?} for {what}");
            }
            self.runtime
                .block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        }
    }

    /// Lets time pass, where it is time that is tested.
    pub fn pause(&self, time: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
    }

    /// What every keeper says, for a failed wait.
    pub fn explain(&self) {
        for which in 0..COUNT {
            match self.status(which) {
                Ok(status) => {
                    println!(
                        "  {which}: {}",
                        serde_json::to_string(&status.sight).unwrap_or_default()
                    );
                    println!(
                        "     peers {}",
                        serde_json::to_string(&status.peers).unwrap_or_default()
                    );
                    for event in status.events.iter().rev().take(8) {
                        println!(
                            "     {} term {} {}: {}",
                            event.wall_ms, event.term, event.kind, event.detail
                        );
                    }
                }
                Err(error) => println!("  {which}: {error:#}"),
            }
        }
    }

    /// The postmaster of a host, from its lock file.
    pub fn postmaster(&self, which: usize) -> Result<Pid> {
        let text = std::fs::read_to_string(self.pgdata(which).join("postmaster.pid"))?;
        text.lines()
            .next()
            .and_then(|line| line.parse().ok())
            .and_then(Pid::from_raw)
            .context("read postmaster.pid")
    }

    /// Kills the postmaster, which may just be about to come or to go.
    pub fn kill_postmaster(&self, which: usize) -> Result<()> {
        self.wait("a postmaster to kill", || {
            kill_process(self.postmaster(which).ok()?, Signal::KILL).ok()
        })
    }

    /// Kills the keeper alone.
    pub fn kill_keeper(&mut self, which: usize) {
        if let Some(mut keeper) = self.keepers[which].take() {
            keeper.kill().ok();
            keeper.wait().ok();
        }
    }

    /// Stops (SIGSTOP) or continues the keeper alone.
    pub fn signal_keeper(&self, which: usize, signal: Signal) -> Result<()> {
        let keeper = self.keepers[which].as_ref().context("no keeper runs")?;
        let pid = i32::try_from(keeper.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process id")?, signal)?)
    }

    /// Kills the keeper and every process of its server.
    pub fn kill_host(&mut self, which: usize) {
        self.kill_keeper(which);
        for pid in self.processes(which) {
            kill_process(pid, Signal::KILL).ok();
        }
    }

    /// Stops (SIGSTOP) or continues every process of a host.
    pub fn signal_host(&self, which: usize, signal: Signal) {
        for pid in self.processes(which) {
            kill_process(pid, signal).ok();
        }
    }

    fn processes(&self, which: usize) -> Vec<Pid> {
        standing_below(&self.path(which))
    }
}

fn named(settings: &[(&str, &str)]) -> Vec<KeeperSetting> {
    let each = settings.iter().map(|(name, value)| KeeperSetting {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    each.collect()
}

fn observer(folder: &Path) -> Result<Arc<Identity>> {
    let authority = Authority::new(&folder.join("authority"), "test");
    let name = identity_name("observer", "host-0", "test");
    let leaf = authority.issue(&name, mainstay_rt::clock::wall_ms())?;
    let own = folder.join("observer.pem");
    mainstay_rt::files::write_atomic(&own, leaf.pem.as_bytes())?;
    let roots = authority.roots();
    Ok(Identity::open(IdentityFiles { own, roots })?)
}

pub fn user() -> Option<String> {
    rustix::process::geteuid()
        .is_root()
        .then(|| "postgres".to_owned())
}

/// The real shim if a binary is given, else a stand-in that only detaches.
fn shim(own: &Path, programs: &Path, environment: &[(&str, PathBuf)]) -> Vec<String> {
    if let Some(binary) = std::env::var_os("MAINSTAY") {
        let binary = binary.to_string_lossy().into_owned();
        return vec![binary, "shim".to_owned()];
    }
    let become_user = match user() {
        Some(user) => format!("setpriv --reuid {user} --regid {user} --clear-groups"),
        None => String::new(),
    };
    let postgres = programs.join("postgres");
    let environment: String = environment
        .iter()
        .map(|(name, value)| format!(" {name}={}", value.display()))
        .collect();
    let script = format!(
        "exec env{environment} setsid {become_user} {} -D {}/pgdata >>{}/postgres.log 2>&1",
        postgres.display(),
        own.display(),
        own.display()
    );
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
}
