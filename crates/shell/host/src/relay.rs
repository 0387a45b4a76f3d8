//! A proxy for one process that knows the others by name: `CONNECT NAME:PORT`, as HTTP proxies have it.
//!
//! It exists for members of an etcd, which must have one address for everybody while every region reaches them through
//! a door of its own. Only names of its configuration are reached; what passes is not looked at. A way that is broken
//! breaks the connection and nothing else: whoever asked asks again.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use mainstay_record::process::{RelayConfig, VERSION};
use mainstay_rt::files;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

const FILE_LIMIT: u64 = 1 << 20;
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEAD_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate())?;
        let listener = TcpListener::bind(config.listen).await?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            () = serve(listener, Rc::new(config)) => Ok(()),
        }
    })
}

async fn serve(listener: TcpListener, config: Rc<RelayConfig>) {
    let permits = Rc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.acquire().await else {
            return;
        };
        permit.forget();
        match listener.accept().await {
            Ok((stream, _)) => {
                let (config, permits) = (Rc::clone(&config), Rc::clone(&permits));
                tokio::task::spawn_local(async move {
                    if let Err(error) = carry(stream, &config).await {
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

async fn carry(mut caller: TcpStream, config: &RelayConfig) -> io::Result<()> {
    let head = tokio::time::timeout(HEAD_LIMIT, read_head(&mut caller)).await??;
    let Some(target) = target(&head, config) else {
        caller
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            .await?;
        return Ok(());
    };
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await;
    let mut called = match connected {
        Ok(Ok(called)) => called,
        Ok(Err(_)) | Err(_) => {
            caller
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                .await?;
            return Ok(());
        }
    };
    caller.set_nodelay(true)?;
    called.set_nodelay(true)?;
    caller
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
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

fn target(head: &[u8], config: &RelayConfig) -> Option<SocketAddr> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (name, _) = line.strip_prefix("CONNECT ")?.split_once(' ')?;
    config.ways.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_it_knows_are_reached() {
        let config = RelayConfig {
            version: VERSION,
            listen: ([127, 0, 0, 1], 1).into(),
            ways: [(
                "etcd.b.x.mainstay:2389".to_owned(),
                ([127, 0, 0, 9], 7).into(),
            )]
            .into(),
        };
        let reached = |head: &str| target(head.as_bytes(), &config);
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
    fn bytes_pass_both_ways_and_strangers_do_not() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let called = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let config = RelayConfig {
                version: VERSION,
                listen: address,
                ways: [("there:1".to_owned(), called.local_addr().unwrap())].into(),
            };
            tokio::task::spawn_local(serve(listener, Rc::new(config)));
            let mut caller = TcpStream::connect(address).await.unwrap();
            caller
                .write_all(b"CONNECT there:1 HTTP/1.1\r\n\r\nping")
                .await
                .unwrap();
            let (mut served, _) = called.accept().await.unwrap();
            let mut heard = [0; 4];
            served.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"ping");
            served.write_all(b"pong").await.unwrap();
            drop(served);
            let mut answer = Vec::new();
            caller.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"\r\n\r\npong"));
            let mut stranger = TcpStream::connect(address).await.unwrap();
            stranger
                .write_all(b"CONNECT elsewhere:1 HTTP/1.1\r\n\r\n")
                .await
                .unwrap();
            let mut answer = Vec::new();
            stranger.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 403"));
        });
    }
}
