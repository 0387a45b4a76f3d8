//! Talking to the other keepers.
//!
//! Each pair of keepers has two connections, one per direction, and a connection carries frames one way
//! only. Nothing is kept for a peer that cannot be reached: the core repeats what matters, and news that
//! waited is no news. A connection on which nothing is acknowledged is given up by the kernel
//! (`TCP_USER_TIMEOUT`) and dialled again. Before the first frame both have proven who they are (TLS 1.3, the
//! platform's authority): a keeper speaks for the replica of its certificate and for no other.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::Peer;
use mainstay_keeper::{Input, Message, ReplicaId};
use mainstay_record::keeper_message::{FRAME_LIMIT, Frame, Hello, VERSION};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use crate::convert;
use crate::setup::Setup;

/// Messages that may wait for a peer; further ones are dropped.
pub const QUEUE_LIMIT: usize = 64;
const CONNECT_LIMIT: Duration = Duration::from_millis(1_000);
const SILENCE_LIMIT: Duration = Duration::from_millis(1_500);
const HELLO_LIMIT: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LIMIT: Duration = Duration::from_millis(300);
/// Connections of peers that are read at a time; a peer has one, and an old one may linger.
const READERS_LIMIT: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("listen for keepers on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("speak with a keeper")]
    Io(#[from] std::io::Error),
    #[error("understand a keeper's frame")]
    Form(#[from] serde_json::Error),
    #[error("accept a keeper: {why}")]
    Stranger { why: String },
}

/// A keeper, where it is reached, and the name that it must prove.
pub struct Address {
    pub id: ReplicaId,
    pub at: SocketAddr,
    pub name: String,
}

/// Sends what arrives in `queue` to one peer, for ever.
pub async fn send(setup: Rc<Setup>, to: Address, mut queue: mpsc::Receiver<Message>) {
    let mut pause = RETRY_FIRST;
    loop {
        match dial(&setup, &to).await {
            Ok(mut stream) => {
                pause = RETRY_FIRST;
                while queue.try_recv().is_ok() {}
                if let Err(error) = pump(&mut stream, &mut queue).await {
                    tracing::debug!(peer = %to.id, %error, "lost a keeper");
                } else {
                    return;
                }
            }
            Err(error) => tracing::debug!(peer = %to.id, %error, "a keeper is not reached"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LIMIT);
    }
}

async fn dial(setup: &Setup, to: &Address) -> Result<TlsStream<TcpStream>, PeerError> {
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(to.at))
        .await
        .map_err(late)??;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE_LIMIT))?;
    let proven = setup.identity.connect(stream, &to.name);
    let mut stream = tokio::time::timeout(CONNECT_LIMIT, proven)
        .await
        .map_err(late)??;
    let hello = Frame::Hello(Hello {
        version: VERSION,
        platform: setup.config.platform.clone(),
        database: setup.config.database.clone(),
        from: setup.core.me.0,
        to: to.id.0,
    });
    stream.write_all(&encode(&hello)?).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Ends with `Ok` when nobody sends any more.
async fn pump(
    stream: &mut TlsStream<TcpStream>,
    queue: &mut mpsc::Receiver<Message>,
) -> Result<(), PeerError> {
    let mut nothing = [0; 1];
    loop {
        tokio::select! {
            message = queue.recv() => {
                let Some(message) = message else { return Ok(()) };
                let frame = encode(&Frame::Message(convert::message_out(&message)))?;
                let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
                let sent = async {
                    stream.write_all(&frame).await?;
                    stream.flush().await
                };
                tokio::time::timeout(SILENCE_LIMIT, sent).await.map_err(late)??;
            }
            // The peer never writes here: what comes is the end.
            read = stream.read(&mut nothing) => {
                read?;
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
            }
        }
    }
}

fn encode(frame: &Frame) -> Result<Vec<u8>, PeerError> {
    let json = serde_json::to_vec(frame)?;
    let too_long = || PeerError::Stranger {
        why: format!("a frame of {} bytes is too long", json.len()),
    };
    if json.len() > FRAME_LIMIT {
        return Err(too_long());
    }
    let length = u32::try_from(json.len()).map_err(|_| too_long())?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// # Errors
/// When the address cannot be had.
pub fn listen(address: SocketAddr) -> Result<TcpListener, PeerError> {
    bind(address).map_err(|source| PeerError::Listen { address, source })
}

/// Binds at once even if connections of a predecessor linger.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

/// Reads what keepers send, for ever.
pub async fn receive(
    setup: Rc<Setup>,
    listener: TcpListener,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let readers = Arc::new(tokio::sync::Semaphore::new(READERS_LIMIT));
    loop {
        let Ok(permit) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let setup = Rc::clone(&setup);
                let inputs = inputs.clone();
                tokio::task::spawn_local(async move {
                    let _permit = permit;
                    if let Err(error) = read(&setup, stream, &inputs).await {
                        tracing::debug!(%error, "a keeper's connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept a keeper");
                tokio::time::sleep(RETRY_LIMIT).await;
            }
        }
    }
}

async fn read(
    setup: &Setup,
    stream: TcpStream,
    inputs: &mpsc::UnboundedSender<Input>,
) -> Result<(), PeerError> {
    stream.set_nodelay(true)?;
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let met = async {
        let (mut stream, peer) = setup.identity.accept(stream).await?;
        let hello = frame(&mut stream).await?;
        Ok::<_, PeerError>((stream, peer, hello))
    };
    let (mut stream, peer, hello) = tokio::time::timeout(HELLO_LIMIT, met)
        .await
        .map_err(late)??;
    let from = welcome(setup, &peer, hello)?;
    let read = read_messages(&mut stream, from, inputs).await;
    if let Err(PeerError::Io(error)) = &read
        && is_end(error)
    {
        // Its kernel said so: the process ended. Silence would say nothing.
        inputs.send(Input::PeerClosed(from)).ok();
    }
    read
}

fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ends = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    ends.contains(&error.kind())
}

async fn read_messages(
    stream: &mut (impl AsyncRead + Unpin),
    from: ReplicaId,
    inputs: &mpsc::UnboundedSender<Input>,
) -> Result<(), PeerError> {
    loop {
        let Frame::Message(message) = frame(stream).await? else {
            return Err(PeerError::Stranger {
                why: "it says hello twice".to_owned(),
            });
        };
        let stranger = |why: String| PeerError::Stranger { why };
        let message = convert::message_in(&message).map_err(|e| stranger(e.to_string()))?;
        if message.from != from {
            return Err(stranger(format!("it speaks for {}", message.from)));
        }
        if inputs.send(Input::Message(message)).is_err() {
            return Ok(());
        }
    }
}

/// Whether the one who says hello is the keeper of this database that it says, and means this one.
fn welcome(setup: &Setup, peer: &Peer, frame: Frame) -> Result<ReplicaId, PeerError> {
    let stranger = |why: &str| {
        Err(PeerError::Stranger {
            why: why.to_owned(),
        })
    };
    let Frame::Hello(hello) = frame else {
        return stranger("it says no hello");
    };
    if hello.version != VERSION {
        return stranger("it speaks another version");
    }
    if hello.platform != setup.config.platform || hello.database != setup.config.database {
        return stranger("it keeps another database");
    }
    if hello.to != setup.core.me.0 {
        return stranger("it means another keeper");
    }
    let from = ReplicaId(hello.from);
    if from == setup.core.me || !setup.core.replicas.contains(&from) {
        return stranger("it is no replica of this database");
    }
    let proven = |replica| peer.is(&setup.keeper_name(replica));
    if !setup.replica(from).is_some_and(proven) {
        return stranger("its certificate is another's");
    }
    Ok(from)
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Frame, PeerError> {
    let length = stream.read_u32().await? as usize;
    if length > FRAME_LIMIT {
        return Err(PeerError::Stranger {
            why: format!("its frame of {length} bytes is too long"),
        });
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}
