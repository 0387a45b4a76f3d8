//! A proxy for one process that knows the others by name: `CONNECT NAME:PORT`, as HTTP proxies have it.
//!
//! It exists for members of an etcd, which must have one address for everybody while every region reaches them through
//! a door of its own. Only names of its configuration are reached, and only by whoever knows the secret that it was given;
//! what passes is not looked at. A way that is broken breaks the connection and nothing else: whoever asked asks again.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_record::process::{RELAY_USER, RelayConfig, VERSION};
use mainstay_rt::files;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

const FILE_LIMIT: u64 = 1 << 20;
const SECRET_LIMIT: u64 = 4 << 10;
/// Shorter ones are guessed.
const SECRET_BYTES_MIN: usize = 16;
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEAD_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const UNKNOWN: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"mainstay\"\r\nContent-Length: 0\r\n\r\n";
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
const UNREACHED: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
const CARRIED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Who may ask, and for what.
struct Relay {
    ways: BTreeMap<String, SocketAddr>,
    /// The credentials of the one process that may, as they stand in a head.
    credentials: Vec<u8>,
}

impl Relay {
    fn new(ways: BTreeMap<String, SocketAddr>, secret: &str) -> io::Result<Self> {
        let secret = secret.trim_end();
        if secret.len() < SECRET_BYTES_MIN {
            let problem = format!("a secret has at least {SECRET_BYTES_MIN} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let shown = STANDARD.encode(format!("{RELAY_USER}:{secret}"));
        let credentials = format!("Basic {shown}").into_bytes();
        Ok(Self { ways, credentials })
    }
}

/// `mainstay relay --config FILE`: until SIGTERM.
pub fn run(config: &Path) -> ExitCode {
    match run_config(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, config = %config.display(), "the relay cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn run_config(path: &Path) -> io::Result<()> {
    let config: RelayConfig = serde_json::from_slice(&files::read_limited(path, FILE_LIMIT)?)?;
    if config.version != VERSION {
        let problem = format!(
            "relay configuration version {} is not known",
            config.version
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let secret = files::read_limited(&config.secret, SECRET_LIMIT)?;
    let listen = config.listen;
    let relay = Relay::new(config.ways, &String::from_utf8_lossy(&secret))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate())?;
        let listener = TcpListener::bind(listen).await?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            () = serve(listener, Rc::new(relay)) => Ok(()),
        }
    })
}

async fn serve(listener: TcpListener, relay: Rc<Relay>) {
    let permits = Rc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.acquire().await else {
            return;
        };
        permit.forget();
        match listener.accept().await {
            Ok((stream, _)) => {
                let (relay, permits) = (Rc::clone(&relay), Rc::clone(&permits));
                tokio::task::spawn_local(async move {
                    if let Err(error) = carry(stream, &relay).await {
                        tracing::debug!(%error, "a relayed connection ended");
                    }
                    permits.add_permits(1);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                permits.add_permits(1);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn carry(mut caller: TcpStream, relay: &Relay) -> io::Result<()> {
    let head = tokio::time::timeout(HEAD_LIMIT, read_head(&mut caller)).await??;
    if !is_known(&head, relay) {
        return caller.write_all(UNKNOWN).await;
    }
    let Some(target) = target(&head, relay) else {
        return caller.write_all(FORBIDDEN).await;
    };
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await;
    let mut called = match connected {
        Ok(Ok(called)) => called,
        Ok(Err(_)) | Err(_) => return caller.write_all(UNREACHED).await,
    };
    caller.set_nodelay(true)?;
    called.set_nodelay(true)?;
    caller.write_all(CARRIED).await?;
    copy_bidirectional(&mut caller, &mut called).await?;
    Ok(())
}

/// To the empty line and not a byte further: what follows is not for us.
async fn read_head(caller: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(caller.read_u8().await?);
    }
    Ok(head)
}

/// Whether the caller showed the secret.
fn is_known(head: &[u8], relay: &Relay) -> bool {
    let Ok(head) = std::str::from_utf8(head) else {
        return false;
    };
    let shown = head.split("\r\n").skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("Proxy-Authorization");
        is_it.then(|| value.trim().as_bytes())
    });
    shown.is_some_and(|shown| is_same(shown, &relay.credentials))
}

/// In a time that does not tell how much of it was right.
fn is_same(shown: &[u8], known: &[u8]) -> bool {
    let differ = shown.iter().zip(known).fold(0, |all, (a, b)| all | (a ^ b));
    shown.len() == known.len() && std::hint::black_box(differ) == 0
}

fn target(head: &[u8], relay: &Relay) -> Option<SocketAddr> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (name, _) = line.strip_prefix("CONNECT ")?.split_once(' ')?;
    relay.ways.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";
    /// `member:0123456789abcdef`
    const SHOWN: &str = "Proxy-Authorization: Basic bWVtYmVyOjAxMjM0NTY3ODlhYmNkZWY=\r\n";

    fn relay(name: &str, address: SocketAddr) -> Relay {
        Relay::new([(name.to_owned(), address)].into(), SECRET).unwrap()
    }

    #[test]
    fn only_names_that_it_knows_are_reached() {
        let relay = relay("etcd.b.x.mainstay:2389", ([127, 0, 0, 9], 7).into());
        let reached = |head: &str| target(head.as_bytes(), &relay);
        assert_eq!(
            reached("CONNECT etcd.b.x.mainstay:2389 HTTP/1.1\r\nHost: x\r\n\r\n"),
            Some(([127, 0, 0, 9], 7).into())
        );
        for strange in [
            "CONNECT etcd.b.x.mainstay:22 HTTP/1.1\r\n\r\n",
            "GET etcd.b.x.mainstay:2389 HTTP/1.1\r\n\r\n",
            "CONNECT etcd.b.x.mainstay:2389",
            "",
        ] {
            assert_eq!(reached(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn whoever_does_not_show_the_secret_is_not_known() {
        let relay = relay("there:1", ([127, 0, 0, 9], 7).into());
        let known = |lines: &str| {
            let head = format!("CONNECT there:1 HTTP/1.1\r\n{lines}\r\n");
            is_known(head.as_bytes(), &relay)
        };
        assert!(
            known(SHOWN)
                && known(&format!(
                    "Host: x\r\n{}",
                    SHOWN.replace("Proxy-A", "proxy-a")
                ))
        );
        let shortened = SHOWN.replace("ZWY=", "");
        let longer = SHOWN.replace('=', "==");
        let another = SHOWN.replace("ZWY=", "ZWZ=");
        for strange in [
            "",
            "Proxy-Authorization: Basic \r\n",
            "Proxy-Authorization\r\n",
            shortened.as_str(),
            longer.as_str(),
            another.as_str(),
            SHOWN.trim_start_matches("Proxy-"),
            SHOWN.trim_end_matches("=\r\n"),
        ] {
            assert!(!known(strange), "{strange:?}");
        }
        assert!(Relay::new(BTreeMap::new(), "").is_err(), "no secret at all");
    }

    /// What a caller is answered who says this and then nothing more.
    async fn answered(address: SocketAddr, head: &str) -> String {
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn bytes_pass_both_ways_and_strangers_do_not() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let called = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let relay = relay("there:1", called.local_addr().unwrap());
            tokio::task::spawn_local(serve(listener, Rc::new(relay)));
            let mut caller = TcpStream::connect(address).await.unwrap();
            let head = format!("CONNECT there:1 HTTP/1.1\r\n{SHOWN}\r\nping");
            caller.write_all(head.as_bytes()).await.unwrap();
            let (mut served, _) = called.accept().await.unwrap();
            let mut heard = [0; 4];
            served.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"ping");
            served.write_all(b"pong").await.unwrap();
            drop(served);
            let mut answer = Vec::new();
            caller.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"\r\n\r\npong"));
            let elsewhere = format!("CONNECT elsewhere:1 HTTP/1.1\r\n{SHOWN}\r\n");
            let answer = answered(address, &elsewhere).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            let answer = answered(address, "CONNECT there:1 HTTP/1.1\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 407"), "{answer}");
        });
    }
}
