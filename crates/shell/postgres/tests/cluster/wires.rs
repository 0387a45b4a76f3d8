//! Relays between the hosts of a test, so that they can be cut.
//!
//! Each ordered pair of hosts has a door for every port: a listener that carries bytes to the real address
//! behind it. A cut direction carries nothing and a cut pair takes no connection; what was under way stays
//! in the buffers and arrives late, when the cut ends, which is the worse case for whoever is cut.

use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use mainstay_testkit::address::AddressBlock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use crate::cluster::COUNT;

/// Which ways are cut: `[from][to]` for bytes that `from` sends, and for each of the two kinds of ports.
type Cuts = [[[bool; 2]; COUNT]; COUNT];

pub struct Wires {
    cuts: watch::Sender<Cuts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Wires {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The address at which `from` reaches `to`.
pub fn door(block: &AddressBlock, from: usize, to: usize) -> IpAddr {
    let number = 100 + from * COUNT + to;
    IpAddr::V4(block.address(u8::try_from(number).unwrap_or(u8::MAX)))
}

impl Wires {
    /// The ports of keepers and of servers.
    pub fn start(block: &AddressBlock, ports: [u16; 2]) -> Result<Self> {
        let (cuts, seen) = watch::channel(Cuts::default());
        let (stop, stopped) = oneshot::channel();
        let mut listeners = Vec::new();
        for from in 0..COUNT {
            for to in (0..COUNT).filter(|to| *to != from) {
                for (kind, port) in ports.iter().enumerate() {
                    let listener = std::net::TcpListener::bind((door(block, from, to), *port))?;
                    listener.set_nonblocking(true)?;
                    let target = SocketAddr::from((block.address(to as u8 + 1), *port));
                    listeners.push((listener, (from, to, kind), target));
                }
            }
        }
        let thread = std::thread::Builder::new()
            .name("wires".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime for the wires");
                runtime.block_on(async {
                    for (listener, way, target) in listeners {
                        let listener = TcpListener::from_std(listener).expect("a listener");
                        tokio::spawn(serve(listener, way, target, seen.clone()));
                    }
                    stopped.await.ok();
                });
            })
            .context("start the wires")?;
        Ok(Self {
            cuts,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Bytes from `from` to `to` are not carried, or are again.
    pub fn cut(&self, from: usize, to: usize, is_cut: bool) {
        self.cuts.send_modify(|cuts| cuts[from][to] = [is_cut; 2]);
    }

    /// Cuts what servers say to each other and leaves the keepers alone, or heals that.
    pub fn cut_streams(&self, host: usize, is_cut: bool) {
        self.cuts.send_modify(|cuts| {
            for other in (0..COUNT).filter(|other| *other != host) {
                cuts[host][other][1] = is_cut;
                cuts[other][host][1] = is_cut;
            }
        });
    }

    /// Cuts a host off from all others, or heals that.
    pub fn isolate(&self, host: usize, is_cut: bool) {
        for other in (0..COUNT).filter(|other| *other != host) {
            self.cut(host, other, is_cut);
            self.cut(other, host, is_cut);
        }
    }
}

async fn serve(
    listener: TcpListener,
    (from, to, kind): (usize, usize, usize),
    target: SocketAddr,
    mut cuts: watch::Receiver<Cuts>,
) {
    loop {
        let open = |cuts: &Cuts| !cuts[from][to][kind] && !cuts[to][from][kind];
        if cuts.wait_for(open).await.is_err() {
            return;
        }
        let Ok((near, _)) = listener.accept().await else {
            return;
        };
        let cuts = cuts.clone();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            near.set_nodelay(true).ok();
            far.set_nodelay(true).ok();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::select! {
                () = carry(near_read, far_write, cuts.clone(), (from, to, kind)) => {}
                () = carry(far_read, near_write, cuts, (to, from, kind)) => {}
            }
        });
    }
}

async fn carry(
    mut source: OwnedReadHalf,
    mut target: OwnedWriteHalf,
    mut cuts: watch::Receiver<Cuts>,
    (from, to, kind): (usize, usize, usize),
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length) = source.read(&mut buffer).await else {
            return;
        };
        // Also the end of a connection is news that does not pass.
        if cuts.wait_for(|cuts| !cuts[from][to][kind]).await.is_err() {
            return;
        }
        if length == 0 || target.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
