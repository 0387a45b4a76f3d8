//! One address at which a region is reached.
//!
//! Silence is harder than refusal. A listener that is closed answers with a reset, and one that merely
//! does not accept still lets the kernel shake hands. But a listener whose queue is full drops every SYN
//! without a word, which is what a dead network does. So for silence the queue is made one place long and
//! filled with a connection of our own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_record::process::WireDoor;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::condition::DoorView;
use super::relay::{self, Counters};

/// Connections that wait to be accepted.
const QUEUE: i32 = 1024;
/// Between two attempts to open a door.
const RETRY: Duration = Duration::from_millis(500);

/// Serves a door until the wire leaves. One that cannot be opened is tried again and listed in `closed`.
pub(crate) async fn serve(
    door: WireDoor,
    mut view: watch::Receiver<DoorView>,
    counters: Arc<Counters>,
    closed: Arc<Mutex<BTreeMap<String, String>>>,
) {
    let note = |reason: Option<String>| {
        let mut closed = closed.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => closed.insert(door.listen.to_string(), reason),
            None => closed.remove(&door.listen.to_string()),
        }
    };
    loop {
        let ended = match open(door.listen) {
            Ok(listener) => {
                note(None);
                accept(&listener, door.target, &mut view, &counters).await
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => return,
            Err(error) => {
                if note(Some(error.to_string())).is_none() {
                    tracing::warn!(%error, door = %door.listen, "a door is closed");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE.unsigned_abs())
}

/// `Ok` when the wire has gone.
async fn accept(
    listener: &TcpListener,
    target: SocketAddr,
    view: &mut watch::Receiver<DoorView>,
    counters: &Arc<Counters>,
) -> io::Result<()> {
    let mut own = None;
    loop {
        if view.borrow_and_update().is_silent() {
            let silence = Silence::begin(listener)?;
            if view.wait_for(|view| !view.is_silent()).await.is_err() {
                return Ok(());
            }
            own = silence.end(listener)?;
        }
        let accepted = tokio::select! {
            changed = view.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            accepted = listener.accept(), if counters.has_room() => accepted,
            () = tokio::time::sleep(RETRY), if !counters.has_room() => continue,
        };
        match accepted {
            Ok((_, peer)) if own == Some(peer) => own = None,
            Ok((client, _)) => admit(client, target, view.clone(), counters),
            Err(error) if is_of_one_connection(&error) => {}
            // A door that closed for it would refuse everybody who waits there.
            Err(error) if is_of_want(&error) => {
                tracing::warn!(%error, "a connection waits at a door");
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn admit(
    client: TcpStream,
    target: SocketAddr,
    view: watch::Receiver<DoorView>,
    counters: &Arc<Counters>,
) {
    if view.borrow().reset {
        relay::reset(&client);
        return;
    }
    tokio::spawn(relay::carry(client, target, view, Arc::clone(counters)));
}

/// Errors of `accept` that concern the connection, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Errors of `accept` that concern this process or the machine: those who wait are accepted when there is room.
fn is_of_want(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let wants = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    let number = error.raw_os_error();
    wants
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}

/// A listener with a full queue.
struct Silence {
    filler: Socket,
}

impl Silence {
    fn begin(listener: &TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let filler = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        filler.set_nonblocking(true)?;
        rustix::net::listen(listener, 0)?;
        // If others wait in the queue already, it is full without this one, whose SYN is then dropped too.
        match filler.connect(&address.into()) {
            Ok(()) => {}
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { filler })
    }

    /// Makes room again; the address of our own connection, which will be accepted among the others.
    fn end(self, listener: &TcpListener) -> io::Result<Option<SocketAddr>> {
        let own = self.filler.local_addr()?.as_socket();
        SockRef::from(&self.filler).set_linger(Some(Duration::ZERO))?;
        rustix::net::listen(listener, QUEUE)?;
        Ok(own)
    }
}
