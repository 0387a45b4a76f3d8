//! A throw-away etcd of one or several real members, and a line to it on which answers get lost.
//!
//! Only where the program `etcd` is not installed may a test be left out, and then it says so: [`or_skip`].

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::address::AddressBlock;
use crate::child::GuardedChild;
use crate::wait::wait_for;

/// An address block for etcd is claimed in `127.231.0.0/16`.
const NETWORK: u8 = 231;
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// Members of a busy machine elect in this time.
const READY_LIMIT: Duration = Duration::from_secs(30);
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Whether etcd is installed; if not, standard error says what was not tested.
#[must_use]
pub fn or_skip(test: &str) -> bool {
    let found = Command::new("etcd").arg("--version").output().is_ok();
    if !found {
        // Past the macros, whose words are kept from the terminal when a test passes.
        let what = format!(
            "\n!!! NOT TESTED: {test}: `etcd` is not installed (apt-get install etcd-server)\n\n"
        );
        std::io::stderr().write_all(what.as_bytes()).ok();
    }
    found
}

/// Certificate and key of all members in one file, and whom to believe.
#[derive(Clone, Debug)]
pub struct Tls {
    pub own: PathBuf,
    pub roots: PathBuf,
}

/// Issues a certificate that holds for these addresses.
pub type MakeTls<'a> = dyn Fn(&[Ipv4Addr]) -> Tls + 'a;

struct Member {
    name: String,
    address: Ipv4Addr,
    process: Option<GuardedChild>,
}

/// Members `m1`, `m2`, …, each on an address of its own, killed when dropped.
pub struct Cluster {
    folder: tempfile::TempDir,
    members: Vec<Member>,
    arguments: Vec<String>,
    tls: Option<Tls>,
    _block: AddressBlock,
}

impl Cluster {
    /// Starts so many members and waits until they answer.
    ///
    /// # Errors
    /// When they do not.
    pub fn start(members: u8) -> Result<Self> {
        Self::start_with(members, &[], None)
    }

    /// As [`Cluster::start`], with further arguments of etcd, and with certificates on all ports.
    ///
    /// # Errors
    /// When the members do not answer.
    pub fn start_with(members: u8, arguments: &[&str], tls: Option<&MakeTls<'_>>) -> Result<Self> {
        let block = AddressBlock::claim(NETWORK)?;
        let numbers = 1..=members;
        let addresses: Vec<Ipv4Addr> = numbers.clone().map(|at| block.address(at)).collect();
        let members = numbers.map(|number| Member {
            name: format!("m{number}"),
            address: block.address(number),
            process: None,
        });
        let mut cluster = Self {
            members: members.collect(),
            folder: tempfile::tempdir().context("make a folder for etcd")?,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            tls: tls.map(|make| make(&addresses)),
            _block: block,
        };
        for index in 0..cluster.members.len() {
            cluster.begin(index)?;
        }
        if cluster.tls.is_none() {
            cluster.wait_ready()?;
        }
        Ok(cluster)
    }

    /// Where clients reach a member.
    #[must_use]
    pub fn address(&self, index: usize) -> SocketAddr {
        (self.members[index].address, CLIENT_PORT).into()
    }

    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.members.len())
            .map(|index| self.address(index))
            .collect()
    }

    fn begin(&mut self, index: usize) -> Result<()> {
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        let url = |member: &Member, port: u16| format!("{scheme}://{}:{port}", member.address);
        let peers: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}={}", member.name, url(member, PEER_PORT)))
            .collect();
        let member = &self.members[index];
        let log = self.folder.path().join(format!("{}.log", member.name));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        let mut command = Command::new("etcd");
        command
            .args(["--name", &member.name])
            .arg("--data-dir")
            .arg(self.folder.path().join(&member.name))
            .args(["--listen-client-urls", &url(member, CLIENT_PORT)])
            .args(["--advertise-client-urls", &url(member, CLIENT_PORT)])
            .args(["--listen-peer-urls", &url(member, PEER_PORT)])
            .args(["--initial-advertise-peer-urls", &url(member, PEER_PORT)])
            .args(["--initial-cluster", &peers.join(",")])
            // What ends here is a process, never the machine; a disk that others keep busy is no part of the tests.
            .arg("--unsafe-no-fsync")
            .args(&self.arguments);
        if let Some(tls) = &self.tls {
            let file = |name: &str, path: &Path| format!("--{name}={}", path.display());
            command
                .args([file("cert-file", &tls.own), file("key-file", &tls.own)])
                .arg(file("trusted-ca-file", &tls.roots))
                .args([
                    file("peer-cert-file", &tls.own),
                    file("peer-key-file", &tls.own),
                ])
                .arg(file("peer-trusted-ca-file", &tls.roots))
                .args(["--client-cert-auth", "--peer-client-cert-auth"]);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = GuardedChild::spawn(&mut command)?;
        self.members[index].process = Some(process);
        Ok(())
    }

    fn wait_ready(&self) -> Result<()> {
        for index in 0..self.members.len() {
            self.wait_member_ready(index)?;
        }
        Ok(())
    }

    /// What a member wrote last.
    #[must_use]
    pub fn log(&self, index: usize) -> String {
        let name = format!("{}.log", self.members[index].name);
        let log = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Waits until a member answers for the cluster.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_member_ready(&self, index: usize) -> Result<()> {
        let what = format!("etcd member {} to answer", index + 1);
        wait_for(&what, READY_LIMIT, || {
            call(self.address(index), "/v3/kv/range", r#"{"key":"AA=="}"#).ok()
        })
        .map(drop)
        .with_context(|| self.log(index))
    }

    /// SIGKILL, as a host's loss is.
    pub fn kill(&mut self, index: usize) {
        self.members[index].process = None;
    }

    /// Starts a member that was killed, with what it has on disk.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        ensure!(self.members[index].process.is_none(), "it runs");
        self.begin(index)
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn freeze(&mut self, index: usize) -> Result<()> {
        self.signal(index, Signal::STOP)?;
        // Where processors are busy its other threads go on until one of them has taken the signal.
        let process = self.members[index].process.as_ref();
        let tasks = format!("/proc/{}/task", process.context("it was killed")?.id());
        wait_for("every thread to stand still", READY_LIMIT, || {
            let mut tasks = std::fs::read_dir(&tasks).ok()?.flatten();
            let all = tasks.all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                let state = stat
                    .rsplit_once(") ")
                    .map(|(_, rest)| rest.starts_with('T'));
                state.unwrap_or(true)
            });
            all.then_some(())
        })
    }

    /// # Errors
    /// When it cannot be signalled.
    pub fn thaw(&mut self, index: usize) -> Result<()> {
        self.signal(index, Signal::CONT)
    }

    fn signal(&mut self, index: usize, signal: Signal) -> Result<()> {
        let process = self.members[index].process.as_mut();
        process.context("the member was killed")?.signal(signal)
    }

    /// Asks the first member by its gateway, beside whatever is tested.
    ///
    /// # Errors
    /// When it does not answer with what was asked.
    pub fn ask(&self, target: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let answer = call(self.address(0), target, &body.to_string())?;
        serde_json::from_str(&answer).context("understand etcd's answer")
    }
}

/// One request of HTTP/1.0, so that the answer ends with the connection and has no chunks.
fn call(address: SocketAddr, target: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, CALL_LIMIT)?;
    stream.set_read_timeout(Some(CALL_LIMIT))?;
    let length = body.len();
    write!(
        stream,
        "POST {target} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
        bail!("etcd says {head}: {body}");
    }
    Ok(body.to_owned())
}

const PASS: u8 = 0;
const SWALLOW: u8 = 1;

/// A line to one address. While it swallows, requests arrive and answers do not come back.
pub struct Line {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
    ends: Arc<AtomicBool>,
}

impl Line {
    /// # Errors
    /// When there is no address to listen on.
    pub fn to(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let line = Self {
            address: listener.local_addr()?,
            mode: Arc::new(AtomicU8::new(PASS)),
            ends: Arc::new(AtomicBool::new(false)),
        };
        let (mode, ends) = (Arc::clone(&line.mode), Arc::clone(&line.ends));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                carry(client, upstream, &mode);
            }
        });
        Ok(line)
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn swallow_answers(&self) {
        self.mode.store(SWALLOW, Ordering::SeqCst);
    }

    pub fn pass(&self) {
        self.mode.store(PASS, Ordering::SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread, so that it sees the end.
        TcpStream::connect_timeout(&self.address, CALL_LIMIT).ok();
    }
}

fn carry(client: TcpStream, upstream: SocketAddr, mode: &Arc<AtomicU8>) {
    let Ok(server) = TcpStream::connect_timeout(&upstream, CALL_LIMIT) else {
        return;
    };
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let mode = Arc::clone(mode);
    std::thread::spawn(move || pump(client, server, || true));
    std::thread::spawn(move || {
        pump(server_too, client_too, || {
            mode.load(Ordering::SeqCst) == PASS
        })
    });
}

fn pump(mut from: TcpStream, mut to: TcpStream, passes: impl Fn() -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || !passes() || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
