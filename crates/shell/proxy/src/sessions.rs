//! TCP listeners that lead to the primary, or to a replica, of a database.
//!
//! A session belongs to one replica under one term. The moment the eyes learn that this is over, the
//! session is reset, so that no client goes on talking to a demoted primary. One that closes by its own
//! keeper's word, as in a switchover, gets nothing more from its clients and has a moment to take leave of
//! them itself, with PostgreSQL's `57P01`. What a frozen primary says
//! when it thaws must not be passed on either: after each read from the server, and before the bytes go
//! to the client, the lease of the keeper is looked at, in the lease file if the primary stands on our
//! own host, otherwise as last heard. (A byte proxy cannot look between the server's reading of a request
//! and its answer; what it promises is that no answer passes that was read after the lease was over.) An answer that
//! finds no lease waits a while for one of the same term: where that comes, nobody else was primary meanwhile. So a keeper
//! that stumbles, or is started anew beside its server, costs its sessions a pause and nothing else.
//!
//! While there is no primary a new connection waits, as a request does at the gate of its cell.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_gateway::sight::{DatabaseView, KeeperRole, ReplicaView};
use mainstay_record::gateway::DatabaseRole;
use mainstay_units::{Instant, Term};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::config::{ReplicaEntry, TcpEntry};
use crate::stats::Count;
use crate::worker::{Local, Worker};
use crate::world::World;

/// A peer that vanished without a word is noticed after the first of these and three times the second. (No time limit for what
/// is under way to it: the kernel counts one against a peer that lives and does not read for a while.)
const IDLE: Duration = Duration::from_secs(10);
const PROBE_PERIOD: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Between two tries to reach a primary that does not accept yet.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Copy buffers grow from the first to the second when they are filled.
const BUFFER_SMALL: usize = 4 * 1024;
const BUFFER_LARGE: usize = 64 * 1024;
/// For a server that closes to end its sessions itself, and for clients to read that it did.
const FAREWELL: Duration = Duration::from_secs(1);
/// So long an answer waits for the lease to come back. A primary whose keeper is away for longer is replaced.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);
const LEASE_LOOK: Duration = Duration::from_millis(10);
/// Length of the text before the checksum in a lease file, and with it.
const LEASE_SIGNED: usize = 32;
const LEASE_TEXT: usize = 40;

/// One client's session with one server.
#[derive(Debug)]
pub struct Session {
    database: String,
    host: String,
    role: DatabaseRole,
    term: Term,
    lease_until: Cell<Instant>,
    lease_file: Option<LeaseFile>,
    cut: Notify,
    is_cut: Cell<bool>,
    closing: Notify,
    is_closing: Cell<bool>,
}

#[derive(Debug)]
struct LeaseFile {
    path: PathBuf,
    open: RefCell<Option<File>>,
}

/// Where a new session goes.
struct Target {
    replica: usize,
    term: Term,
    lease_until: Instant,
}

impl Session {
    /// The world changed: is this session's server still what it was chosen for?
    pub fn handle_view(&self, world: &World) {
        let databases = &world.config.routing.databases;
        let found = databases
            .iter()
            .position(|d| d.name == self.database)
            .and_then(|index| {
                let replica = databases[index]
                    .replicas
                    .iter()
                    .position(|host| *host == self.host)?;
                Some((world.view.databases.get(index)?, replica))
            });
        let Some((view, replica)) = found else {
            self.cut();
            return;
        };
        let seen = view
            .replicas
            .get(replica)
            .copied()
            .unwrap_or(ReplicaView::Unseen);
        let over = match (self.role, seen) {
            (DatabaseRole::Primary, _) if view.term > self.term => true,
            (DatabaseRole::Primary, ReplicaView::Seen(KeeperRole::Standby)) => true,
            (DatabaseRole::Replica, ReplicaView::Seen(role)) => {
                !matches!(role, KeeperRole::Standby | KeeperRole::Becoming)
            }
            (_, ReplicaView::Unseen) | (DatabaseRole::Primary, ReplicaView::Seen(_)) => false,
        };
        if over {
            self.cut();
        } else if self.role == DatabaseRole::Primary
            && seen == ReplicaView::Seen(KeeperRole::Closed)
        {
            self.close();
        } else if let Some(primary) = view.primary.filter(|p| usize::from(p.replica) == replica) {
            self.lease_until.set(primary.lease_until);
        }
    }

    fn cut(&self) {
        self.is_cut.set(true);
        self.cut.notify_one();
    }

    fn close(&self) {
        if !self.is_closing.replace(true) {
            self.closing.notify_one();
        }
    }

    /// Ends when the server, once it closed, has had its time to say farewell.
    async fn farewell(&self) {
        self.closing.notified().await;
        tokio::time::sleep(FAREWELL).await;
    }

    /// What becomes of an answer that has just been read.
    async fn judge_answer(&self) -> Verdict {
        let patience = mainstay_rt::clock::now() + LEASE_PATIENCE;
        while !self.may_pass() {
            let is_over = self.is_cut.get() || self.is_closing.get();
            if is_over || mainstay_rt::clock::now() >= patience {
                return Verdict::Refuse;
            }
            tokio::time::sleep(LEASE_LOOK).await;
        }
        Verdict::Pass
    }

    /// Nothing more of the client's goes to a server that closes.
    fn judge_request(&self) -> Verdict {
        match self.is_closing.get() {
            true => Verdict::Drop,
            false => Verdict::Pass,
        }
    }

    fn may_pass(&self) -> bool {
        let now = mainstay_rt::clock::now();
        match (self.role, &self.lease_file) {
            (DatabaseRole::Replica, _) => !self.is_cut.get(),
            (DatabaseRole::Primary, Some(file)) => !self.is_cut.get() && file.holds(now, self.term),
            (DatabaseRole::Primary, None) => !self.is_cut.get() && now < self.lease_until.get(),
        }
    }
}

impl LeaseFile {
    fn holds(&self, now: Instant, term: Term) -> bool {
        let mut open = self.open.borrow_mut();
        let holds = |file: &File| {
            let mut bytes = [0; LEASE_TEXT];
            let whole = file.read_exact_at(&mut bytes, 0).is_ok();
            whole && parse_lease(&bytes).is_some_and(|(of, until)| of == term && now < until)
        };
        if open.as_ref().is_some_and(holds) {
            return true;
        }
        // A keeper that started anew may have made a new file, and a torn read is over at the next look.
        *open = File::open(&self.path).ok();
        open.as_ref().is_some_and(holds)
    }
}

/// `{term:010} {expiry_boottime_ns:020} {fnv1a32 of all before it:08x}`.
fn parse_lease(bytes: &[u8; LEASE_TEXT]) -> Option<(Term, Instant)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (signed, sum) = text.split_at_checked(LEASE_SIGNED)?;
    let hash = signed.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    if u32::from_str_radix(sum, 16).ok()? != hash {
        return None;
    }
    let term = signed.get(..10)?.parse().ok()?;
    let until = signed.get(11..31)?.parse().ok()?;
    Some((Term(term), Instant::from_nanos(until)))
}

/// Accepts connections of one TCP listener until the task is aborted.
pub async fn accept(worker: Rc<Worker>, listener: TcpListener, address: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let limit = u64::from(worker.local().bounds().tcp_sessions);
                if worker.stats.sessions.get() >= limit {
                    worker.stats.connections_refused.up();
                    continue;
                }
                tokio::task::spawn_local(serve(Rc::clone(&worker), stream, address));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Takes a session out of the worker's books however its task ends.
struct Counted {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.stats.sessions.down();
        self.worker.sessions.borrow_mut().remove(&self.id);
    }
}

/// A session among those of its database, for as long as it lives.
struct Open(Arc<Count>);

impl Open {
    fn new(count: Arc<Count>) -> Self {
        count.up();
        Self(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.down();
    }
}

async fn serve(worker: Rc<Worker>, client: TcpStream, address: SocketAddr) {
    worker.stats.sessions.up();
    let counted = Counted {
        id: worker.next_id(),
        worker: Rc::clone(&worker),
    };
    attune(&client);
    let patience = mainstay_rt::clock::now() + worker.local().bounds().hold_wait;
    let Some((server, session)) = meet(&worker, address, patience).await else {
        return;
    };
    let session = Rc::new(session);
    let open = worker
        .shared
        .stats
        .sessions(&session.database, worker.index);
    let _open = Open::new(open);
    worker
        .sessions
        .borrow_mut()
        .insert(counted.id, Rc::clone(&session));
    // The world may have changed while we connected.
    session.handle_view(&worker.local().world);
    relay(&worker, client, server, &session).await;
}

/// Sends without delay, and asks a silent peer whether it is still there.
fn attune(stream: &TcpStream) {
    let probing = socket2::TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(PROBE_PERIOD)
        .with_retries(PROBES);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(stream).set_tcp_keepalive(&probing));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection that ended already");
    }
}

/// Connects to the server that the listener stands for, waiting for one if need be.
async fn meet(
    worker: &Rc<Worker>,
    address: SocketAddr,
    patience: Instant,
) -> Option<(TcpStream, Session)> {
    let mut changed = worker.shared.subscribe();
    loop {
        changed.mark_unchanged();
        let local = worker.local();
        let entry = local
            .world
            .config
            .tcp
            .iter()
            .find(|entry| entry.address == address)?;
        if let Some(target) = choose(worker, &local, entry) {
            let replica = &local.world.config.replicas[entry.database][target.replica];
            let connecting = TcpStream::connect(replica.postgres);
            let limit = local.bounds().connect_timeout;
            if let Ok(Ok(server)) = tokio::time::timeout(limit, connecting).await {
                attune(&server);
                let database = local.world.config.routing.databases[entry.database]
                    .name
                    .clone();
                return Some((server, session(entry, replica, target, database)));
            }
            tokio::time::sleep(CONNECT_PAUSE).await;
        } else {
            let left = patience.since(mainstay_rt::clock::now());
            tokio::time::timeout(left, changed.changed()).await.ok();
        }
        if mainstay_rt::clock::now() >= patience || worker.shared.is_stopping() {
            return None;
        }
    }
}

fn session(entry: &TcpEntry, replica: &ReplicaEntry, target: Target, database: String) -> Session {
    let lease_file = |path: &PathBuf| LeaseFile {
        path: path.clone(),
        open: RefCell::default(),
    };
    Session {
        database,
        host: replica.host.clone(),
        role: entry.role,
        term: target.term,
        lease_until: Cell::new(target.lease_until),
        lease_file: replica.lease_file.as_ref().map(lease_file),
        cut: Notify::new(),
        is_cut: Cell::new(false),
        closing: Notify::new(),
        is_closing: Cell::new(false),
    }
}

fn choose(worker: &Worker, local: &Local, entry: &TcpEntry) -> Option<Target> {
    if !worker.shared.is_vouched(mainstay_rt::clock::now()) {
        return None;
    }
    let view: &DatabaseView = local.world.view.databases.get(entry.database)?;
    let target = |replica: usize| Target {
        replica,
        term: view.term,
        lease_until: view.primary.map_or(Instant::ZERO, |p| p.lease_until),
    };
    match entry.role {
        DatabaseRole::Primary => {
            let replica = usize::from(view.primary?.replica);
            // One that is leaving still serves its sessions, and gets no new ones.
            let open = ReplicaView::Seen(KeeperRole::OpenPrimary);
            (view.replicas.get(replica) == Some(&open)).then(|| target(replica))
        }
        DatabaseRole::Replica => {
            let replicas = &local.world.config.replicas[entry.database];
            let is_standby = |index: &usize| {
                view.replicas.get(*index) == Some(&ReplicaView::Seen(KeeperRole::Standby))
            };
            let standbys: Vec<usize> = (0..replicas.len()).filter(is_standby).collect();
            let own: Vec<usize> = standbys
                .iter()
                .copied()
                .filter(|i| replicas[*i].is_own_region)
                .collect();
            let among = if own.is_empty() { standbys } else { own };
            let index = worker.random().checked_rem(among.len() as u64)?;
            Some(target(among[index as usize]))
        }
    }
}

async fn relay(worker: &Worker, mut client: TcpStream, mut server: TcpStream, session: &Session) {
    let cut = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let judge_request = || std::future::ready(session.judge_request());
        let up = copy(&mut from_client, &mut to_server, judge_request);
        let judge_answer = || session.judge_answer();
        let down = copy(&mut from_server, &mut to_client, judge_answer);
        let both = async {
            let mut up = std::pin::pin!(up);
            let mut down = std::pin::pin!(down);
            tokio::select! {
                ended = up.as_mut() => {
                    ended?;
                    down.await
                }
                ended = down.as_mut() => {
                    ended?;
                    // A server that has ended hears nothing any more: a client that does not look gives its slot back too.
                    tokio::time::timeout(FAREWELL, up).await.unwrap_or(Ok(()))
                }
            }
        };
        tokio::select! {
            biased;
            () = session.cut.notified() => true,
            () = session.farewell() => true,
            ended = both => {
                matches!(&ended, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
            }
        }
    };
    if cut {
        let (database, host) = (&session.database, &session.host);
        let (term, closed) = (session.term.0, session.is_closing.get());
        tracing::info!(database, host, term, closed, "a session is cut");
        worker.stats.sessions_cut.up();
        // A reset, not a farewell: the client must not take this for the end of an answer.
        for stream in [&client, &server] {
            socket2::SockRef::from(stream)
                .set_linger(Some(Duration::ZERO))
                .ok();
        }
    }
}

/// What becomes of bytes that have been read.
enum Verdict {
    Pass,
    Drop,
    /// And of the whole session.
    Refuse,
}

/// Copies until the end of input. `judge` is asked after each read and before anything is written.
async fn copy<R, W, J>(from: &mut R, to: &mut W, judge: impl Fn() -> J) -> io::Result<()>
where
    R: AsyncReadExt + Unpin,
    W: AsyncWriteExt + Unpin,
    J: Future<Output = Verdict>,
{
    let mut buffer = vec![0; BUFFER_SMALL];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        match judge().await {
            Verdict::Pass => {}
            Verdict::Drop => continue,
            Verdict::Refuse => return Err(io::ErrorKind::PermissionDenied.into()),
        }
        to.write_all(&buffer[..count]).await?;
        if count == buffer.len() && count < BUFFER_LARGE {
            buffer.resize(BUFFER_LARGE, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_keepers_write_it() {
        let signed = format!("{:010} {:020} ", 7, 123_456);
        let hash = signed.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let text = format!("{signed}{hash:08x}");
        let bytes: [u8; LEASE_TEXT] = text.as_bytes().try_into().expect("40 bytes");
        assert_eq!(
            parse_lease(&bytes),
            Some((Term(7), Instant::from_nanos(123_456)))
        );
        for at in 0..LEASE_TEXT {
            let mut torn = bytes;
            torn[at] ^= 1;
            assert_ne!(parse_lease(&torn), parse_lease(&bytes), "byte {at}");
        }
    }
}
