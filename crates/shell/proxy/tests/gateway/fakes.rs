//! A small platform made of threads: keepers that stream sight, instances that answer, a ledger that
//! counts every execution. Whatever a test changes is seen by the gateway as it would be in earnest.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condition` holds; panics after fifteen seconds, which is long for a busy machine.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = mainstay_rt::clock::now() + Duration::from_secs(60);
    while !condition() {
        assert!(
            mainstay_rt::clock::now() < deadline,
            "not within fifteen seconds: {what}"
        );
        pause(Duration::from_millis(5));
    }
}

pub fn pause(duration: Duration) {
    let nothing = Mutex::new(());
    let guard = locked(&nothing);
    drop(Condvar::new().wait_timeout(guard, duration));
}

/// A server whose connections can be cut all at once.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Mutex<ServerState>>,
}

struct ServerState {
    open: bool,
    connections: Vec<TcpStream>,
}

impl Server {
    pub fn start(address: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("address is free");
        let inner = Arc::new(Mutex::new(ServerState {
            open: true,
            connections: vec![],
        }));
        let server = Self {
            inner: Arc::clone(&inner),
        };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = locked(&inner);
                if !state.open {
                    stream.shutdown(Shutdown::Both).ok();
                    continue;
                }
                state.connections.push(stream.try_clone().expect("clone"));
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        server
    }

    /// Cuts every connection, and every new one at once, until opened again.
    pub fn close(&self) {
        let mut state = locked(&self.inner);
        state.open = false;
        for connection in state.connections.drain(..) {
            connection.shutdown(Shutdown::Both).ok();
        }
    }

    pub fn open(&self) {
        locked(&self.inner).open = true;
    }
}

/// What a fake keeper says.
#[derive(Clone)]
pub struct Saying {
    pub role: &'static str,
    pub term: u32,
    pub open: bool,
    pub switchover: bool,
    pub lease_ms: u64,
    /// Says nothing while true, with the stream left open.
    pub silent: bool,
}

pub const STANDBY: Saying = Saying {
    role: "standby",
    term: 1,
    open: false,
    switchover: false,
    lease_ms: 0,
    silent: false,
};

pub fn primary(term: u32) -> Saying {
    Saying {
        role: "primary",
        term,
        open: true,
        lease_ms: 5_000,
        ..STANDBY
    }
}

#[derive(Clone)]
pub struct Keeper {
    pub server: Server,
    said: Arc<(Mutex<Saying>, Condvar)>,
}

impl Keeper {
    pub fn start(address: &str, host: &str) -> Self {
        let said = Arc::new((Mutex::new(STANDBY), Condvar::new()));
        let (heard, host) = (Arc::clone(&said), host.to_owned());
        let server = Server::start(address, move |stream| {
            stream_sight(stream, &heard, &host).ok();
        });
        Self { server, said }
    }

    pub fn says(&self, saying: Saying) {
        *locked(&self.said.0) = saying;
        self.said.1.notify_all();
    }
}

fn stream_sight(
    mut stream: TcpStream,
    said: &(Mutex<Saying>, Condvar),
    host: &str,
) -> std::io::Result<()> {
    read_head(&mut BufReader::new(stream.try_clone()?))?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    loop {
        let saying = locked(&said.0).clone();
        if !saying.silent {
            let line = serde_json::json!({
                "version": 1, "database": "us", "replica": 1, "host": host, "region": host,
                "role": saying.role, "term": saying.term, "open": saying.open,
                "switchover": saying.switchover, "lease_remaining_ms": saying.lease_ms,
                "lsn": "0/0", "primary": null, "reason": "a test says so"
            });
            let line = format!("{line}\n");
            write!(stream, "{:x}\r\n{line}\r\n", line.len())?;
        }
        let guard = locked(&said.0);
        drop(said.1.wait_timeout(guard, Duration::from_millis(100)));
    }
}

/// How a fake instance treats the next requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Answers,
    /// Executes, then breaks the connection instead of answering.
    ExecutesAndDies,
    /// Breaks the connection after reading, without executing.
    Dies,
    /// Executes and never answers.
    ExecutesAndHangs,
    SaysNotActive,
}

#[derive(Clone, Debug)]
pub struct InstanceState {
    pub active: bool,
    pub term: u32,
    pub epoch: u64,
    pub manner: Manner,
    /// Requests after which `manner` becomes `Answers`; `None` = never.
    pub times: Option<u32>,
    /// It drops the connection of a request with this key, whatever its manner.
    pub poison: Option<String>,
    /// Not before this is false again.
    pub slow_poison: bool,
    /// Does not say whether it is ready while true, and goes on answering requests.
    pub mute: bool,
}

/// Executions by idempotency key (or body, if there is none), counted once per key as a service that
/// honours keys does, and attempts counted always.
#[derive(Default, Debug)]
pub struct Ledger {
    pub effects: BTreeMap<String, u32>,
    pub attempts: BTreeMap<String, u32>,
}

#[derive(Clone)]
pub struct Instance {
    pub server: Server,
    pub state: Arc<Mutex<InstanceState>>,
}

impl Instance {
    pub fn start(address: &str, ledger: &Arc<Mutex<Ledger>>) -> Self {
        let state = Arc::new(Mutex::new(InstanceState {
            active: false,
            term: 0,
            epoch: 0,
            manner: Manner::Answers,
            times: None,
            poison: None,
            slow_poison: false,
            mute: false,
        }));
        let (own, ledger, name) = (Arc::clone(&state), Arc::clone(ledger), address.to_owned());
        let server = Server::start(address, move |stream| {
            serve_requests(stream, &own, &ledger, &name).ok();
        });
        Self { server, state }
    }

    pub fn activate(&self, term: u32, epoch: u64) {
        let mut state = locked(&self.state);
        (state.active, state.term, state.epoch) = (true, term, epoch);
        (state.manner, state.times) = (Manner::Answers, None);
    }

    pub fn stand_by(&self) {
        locked(&self.state).active = false;
    }

    pub fn behaves(&self, manner: Manner, times: Option<u32>) {
        let mut state = locked(&self.state);
        (state.manner, state.times) = (manner, times);
    }
}

pub struct Head {
    pub line: String,
    pub fields: BTreeMap<String, String>,
}

pub fn read_head(reader: &mut impl BufRead) -> std::io::Result<Head> {
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let fields = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Ok(Head {
        line: lines.first().cloned().unwrap_or_default(),
        fields: fields.collect(),
    })
}

pub fn read_body(reader: &mut impl Read, head: &Head) -> std::io::Result<String> {
    let length = head
        .fields
        .get("content-length")
        .map_or(0, |n| n.parse().expect("length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn serve_requests(
    mut stream: TcpStream,
    state: &Mutex<InstanceState>,
    ledger: &Mutex<Ledger>,
    name: &str,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let head = read_head(&mut reader)?;
        let body = read_body(&mut reader, &head)?;
        let is_question = head.line.contains("/health/ready");
        while is_question && locked(state).mute {
            pause(Duration::from_millis(5));
        }
        let now = locked(state).clone();
        if is_question {
            let text = format!(
                "{{\"active\":{},\"cell\":\"us\",\"epoch\":{},\"term\":{},\"sequence\":1}}",
                now.active, now.epoch, now.term
            );
            answer(&mut stream, if now.active { 200 } else { 503 }, &text)?;
            continue;
        }
        let key = head
            .fields
            .get("idempotency-key")
            .cloned()
            .unwrap_or_else(|| body.clone());
        // As a venue does: whoever is not active does nothing and says so.
        let manner = match now.active {
            true if now.poison.as_ref() == Some(&key) => Manner::Dies,
            true => next_manner(state),
            false => Manner::SaysNotActive,
        };
        let mut books = locked(ledger);
        *books.attempts.entry(key.clone()).or_default() += 1;
        if matches!(
            manner,
            Manner::Answers | Manner::ExecutesAndDies | Manner::ExecutesAndHangs
        ) {
            let has_key = head.fields.contains_key("idempotency-key");
            let effects = books.effects.entry(key.clone()).or_default();
            if !has_key || *effects == 0 {
                *effects += 1;
            }
        }
        drop(books);
        while manner == Manner::Dies && locked(state).slow_poison {
            pause(Duration::from_millis(5));
        }
        match manner {
            Manner::Answers => answer(&mut stream, 200, &format!("{name} {} {key}", now.term))?,
            Manner::SaysNotActive => {
                answer(&mut stream, 503, "{\"error\":{\"code\":\"not_active\"}}")?;
            }
            Manner::ExecutesAndDies | Manner::Dies => return stream.shutdown(Shutdown::Both),
            Manner::ExecutesAndHangs => pause(Duration::from_secs(60)),
        }
    }
}

fn next_manner(state: &Mutex<InstanceState>) -> Manner {
    let mut state = locked(state);
    let manner = state.manner;
    if let Some(times) = &mut state.times {
        *times -= 1;
        if *times == 0 {
            (state.manner, state.times) = (Manner::Answers, None);
        }
    }
    manner
}

pub fn answer(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes())
}
