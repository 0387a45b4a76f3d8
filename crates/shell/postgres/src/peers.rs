//! Talking to the other keepers: the keeper's *voice* and ear, on a thread of their own.
//!
//! What the mind says is passed on at once. When it is late (a busy machine, a slow disk, a bug) the voice repeats its
//! last heartbeat and says how old that is, so that others can tell a late keeper from a lost host; after
//! [`VOUCHING_LIMIT`] it falls silent too, because a voice must not hide that a mind hangs.
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
use mainstay_keeper::{Body, Input, Message, ReplicaId};
use mainstay_record::keeper_message::{self, FRAME_LIMIT, Frame, Hello, Said, VERSION};
use mainstay_units::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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
/// How long the voice repeats what a mind said that says nothing more.
const VOUCHING_LIMIT: Duration = Duration::from_secs(3);
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

/// What comes from the other keepers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Input(Input),
    /// Something of another version was passed over.
    NotUnderstood {
        from: ReplicaId,
        what: String,
        why: String,
    },
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
                let beat = setup.core.timings.heartbeat_at_rest();
                if let Err(error) = pump(&mut stream, &mut queue, beat).await {
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

/// What the mind said last of itself.
#[derive(Default)]
struct LastWords(Option<Message>);

impl LastWords {
    fn note(&mut self, message: &Message) {
        if matches!(message.body, Body::Heartbeat(_)) {
            self.0 = Some(message.clone());
        }
    }

    /// The same with its age, if it is due by now and still worth repeating.
    fn repeated(&mut self, now: Instant, beat: Duration) -> Option<Message> {
        let Some(Message {
            body: Body::Heartbeat(heartbeat),
            ..
        }) = &mut self.0
        else {
            return None;
        };
        heartbeat.age = now.since(heartbeat.sent);
        if heartbeat.age > VOUCHING_LIMIT {
            self.0 = None;
        }
        self.0.clone().filter(|_| now.since(self.sent()) > beat)
    }

    fn sent(&self) -> Instant {
        match &self.0 {
            Some(Message {
                body: Body::Heartbeat(heartbeat),
                ..
            }) => heartbeat.sent,
            _ => Instant::ZERO,
        }
    }
}

/// Ends with `Ok` when nobody sends any more.
async fn pump(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    queue: &mut mpsc::Receiver<Message>,
    beat: Duration,
) -> Result<(), PeerError> {
    let mut nothing = [0; 1];
    let mut last = LastWords::default();
    // A keeper that is a little late is not late.
    let patience = beat * 3 / 2;
    loop {
        let message = tokio::select! {
            biased;
            message = queue.recv() => {
                let Some(message) = message else { return Ok(()) };
                last.note(&message);
                Some(message)
            }
            // The peer never writes here: what comes is the end.
            read = stream.read(&mut nothing) => {
                read?;
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
            }
            () = tokio::time::sleep(patience) => last.repeated(mainstay_rt::clock::now(), beat),
        };
        let Some(message) = message else {
            continue;
        };
        let frame = encode(&Frame::Message(convert::message_out(&message)))?;
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        let sent = async {
            stream.write_all(&frame).await?;
            stream.flush().await
        };
        tokio::time::timeout(SILENCE_LIMIT, sent)
            .await
            .map_err(late)??;
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
pub fn listen(address: SocketAddr) -> Result<Listener, PeerError> {
    let bound = bind(address).and_then(TcpListener::into_std);
    bound
        .map(Listener)
        .map_err(|source| PeerError::Listen { address, source })
}

/// An address that is held, and may be listened on from another thread.
pub struct Listener(std::net::TcpListener);

impl Listener {
    /// # Errors
    /// When the event loop of this thread does not take it.
    pub fn open(self) -> std::io::Result<TcpListener> {
        TcpListener::from_std(self.0)
    }
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
pub async fn receive(setup: Rc<Setup>, listener: TcpListener, news: mpsc::UnboundedSender<News>) {
    let readers = Arc::new(tokio::sync::Semaphore::new(READERS_LIMIT));
    loop {
        let Ok(permit) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let setup = Rc::clone(&setup);
                let news = news.clone();
                tokio::task::spawn_local(async move {
                    let _permit = permit;
                    if let Err(error) = read(&setup, stream, &news).await {
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
    news: &mpsc::UnboundedSender<News>,
) -> Result<(), PeerError> {
    stream.set_nodelay(true)?;
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let met = async {
        let (mut stream, peer) = setup.identity.accept(stream).await?;
        let hello = keeper_message::read(&frame(&mut stream).await?)?;
        Ok::<_, PeerError>((stream, peer, hello))
    };
    let (mut stream, peer, hello) = tokio::time::timeout(HELLO_LIMIT, met)
        .await
        .map_err(late)??;
    let from = welcome(setup, &peer, hello)?;
    let read = read_messages(&mut stream, from, news).await;
    if let Err(PeerError::Io(error)) = &read
        && is_end(error)
    {
        // Its kernel said so: the process ended. Silence would say nothing.
        news.send(News::Input(Input::PeerClosed(from))).ok();
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

/// What is of another version is passed over and told: it is no answer, and no reason to hear nothing more.
async fn read_messages(
    stream: &mut (impl AsyncRead + Unpin),
    from: ReplicaId,
    news: &mpsc::UnboundedSender<News>,
) -> Result<(), PeerError> {
    let stranger = |why: String| PeerError::Stranger { why };
    loop {
        let read = match keeper_message::read(&frame(stream).await?)? {
            Said::Message(form) => Ok(form),
            Said::Beyond { kind, why } => Err((kind, why)),
            Said::Hello(_) => return Err(stranger("it says hello twice".to_owned())),
        };
        let understood = read.and_then(|form| match convert::message_in(&form) {
            Ok(message) => Ok((message, form.unknown_words())),
            Err(error) => Err(("message".to_owned(), error.to_string())),
        });
        let not_understood = |what, why| News::NotUnderstood { from, what, why };
        let mut told = Vec::new();
        match understood {
            Ok((message, words)) => {
                if message.from != from {
                    return Err(stranger(format!("it speaks for {}", message.from)));
                }
                told.push(News::Input(Input::Message(message)));
                let why = || "a word of another version".to_owned();
                told.extend(words.into_iter().map(|word| not_understood(word, why())));
            }
            Err((what, why)) => told.push(not_understood(what, why)),
        }
        if told.into_iter().any(|one| news.send(one).is_err()) {
            return Ok(());
        }
    }
}

/// Whether the one who says hello is the keeper of this database that it says, and means this one.
fn welcome(setup: &Setup, peer: &Peer, said: Said) -> Result<ReplicaId, PeerError> {
    let stranger = |why: &str| {
        Err(PeerError::Stranger {
            why: why.to_owned(),
        })
    };
    let Said::Hello(hello) = said else {
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

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, PeerError> {
    let length = stream.read_u32().await? as usize;
    if length > FRAME_LIMIT {
        return Err(PeerError::Stranger {
            why: format!("its frame of {length} bytes is too long"),
        });
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use mainstay_keeper::PreVote;
    use mainstay_units::Term;
    use proptest::prelude::*;

    use super::*;

    const FROM: ReplicaId = ReplicaId(2);

    fn message(body: Body) -> Message {
        Message {
            from: FROM,
            fingerprint: 9,
            lineage: mainstay_keeper::Lineage::ORIGIN,
            incarnation: mainstay_units::Incarnation(0),
            body,
        }
    }

    fn known(number: u32) -> Message {
        let (term, echo) = (Term(number), Instant::from_millis(u64::from(number)));
        message(match number % 3 {
            0 => Body::Grant { term, echo },
            1 => Body::Recruit { term },
            _ => Body::PreVote {
                round: u64::from(number),
                verdict: PreVote::Granted,
            },
        })
    }

    fn framed(json: &[u8]) -> Vec<u8> {
        let mut bytes = (json.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(json);
        bytes
    }

    /// Frames of a later version, which say things that sound like consent.
    fn later() -> impl Strategy<Value = String> {
        let word = "[a-z_]{1,60}";
        prop_oneof![
            word.prop_map(|kind| format!(r#"{{"x{kind}":{{"term":7}}}}"#)),
            word.prop_map(|kind| format!(r#""x{kind}""#)),
            word.prop_map(|kind| in_message(&format!(r#"{{"x{kind}":{{"term":7,"echo_ns":5}}}}"#))),
            word.prop_map(|kind| in_message(&format!(r#""x{kind}""#))),
            word.prop_map(|kind| in_message(&format!(
                r#"{{"pre_vote":{{"round":7,"verdict":"granted_{kind}"}}}}"#
            ))),
            word.prop_map(|kind| in_message(&format!(
                r#"{{"report":{{"term":7,"verdict":{{"recruited_{kind}":{{}}}}}}}}"#
            ))),
            Just(in_message(r#"{"grant":{"term":"seven","echo_ns":5}}"#)),
            Just(in_message(r#"{"grant":{"term":4294967296,"echo_ns":5}}"#)),
            Just(in_message(
                r#"{"cohort_kept":{"version":3,"incarnation":"0"}}"#
            )),
            Just("[]".to_owned()),
            Just("null".to_owned()),
        ]
    }

    fn in_message(body: &str) -> String {
        format!(r#"{{"message":{{"from":2,"fingerprint":9,"body":{body}}}}}"#)
    }

    fn hear(bytes: &[u8]) -> (Vec<News>, Result<(), PeerError>) {
        let (news, mut heard) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut stream = bytes;
        let end = runtime.block_on(read_messages(&mut stream, FROM, &news));
        let mut all = Vec::new();
        while let Ok(one) = heard.try_recv() {
            all.push(one);
        }
        (all, end)
    }

    proptest! {
        /// Whatever a later version says between them, what is understood arrives whole and in order, and what is
        /// not arrives as nothing but word of it.
        #[test]
        fn a_later_version_is_survived(frames in prop::collection::vec(
            prop_oneof![(0_u32..9).prop_map(Ok), later().prop_map(Err)], 0..12)
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                match frame {
                    Ok(number) => bytes.extend(encode(&Frame::Message(convert::message_out(
                        &known(*number),
                    ))).unwrap()),
                    Err(json) => bytes.extend(framed(json.as_bytes())),
                }
            }
            let (news, end) = hear(&bytes);
            prop_assert!(matches!(end, Err(PeerError::Io(error)) if is_end(&error)));
            prop_assert_eq!(news.len(), frames.len());
            for (one, frame) in news.iter().zip(&frames) {
                match frame {
                    Ok(number) => {
                        prop_assert_eq!(one, &News::Input(Input::Message(known(*number))));
                    }
                    Err(_) => {
                        let named = matches!(one, News::NotUnderstood { from, what, .. }
                            if *from == FROM && what.chars().count() < 60);
                        prop_assert!(named, "{one:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_message_at_all_ends_the_connection() {
        assert!(matches!(
            hear(&framed(b"{\"mess")).1,
            Err(PeerError::Form(_))
        ));
        let long = (FRAME_LIMIT as u32 + 1).to_be_bytes();
        assert!(matches!(hear(&long).1, Err(PeerError::Stranger { .. })));
        let mut other = known(1);
        other.from = ReplicaId(3);
        let frame = encode(&Frame::Message(convert::message_out(&other))).unwrap();
        assert!(matches!(hear(&frame).1, Err(PeerError::Stranger { .. })));
    }

    fn heartbeat(sent: Instant) -> Message {
        let json = r#"{"from":2,"fingerprint":9,"body":{"heartbeat":{"sent_ns":0,"role":"primary",
            "reason":"serving","term":3,"primary":2,"open":true,"history":null,"rewind_source":true,"promise":
            {"highest":3,"coordinator":null,"floor":3,"previous_floor":3},"incarnation":
            "00000000000000000000000000000001","cohort":null,"timeline":3,"flushed":1,"system_identifier":null,
            "blank":false,"lost":false}}}"#;
        let mut message = convert::message_in(&serde_json::from_str(json).unwrap()).unwrap();
        if let Body::Heartbeat(heartbeat) = &mut message.body {
            heartbeat.sent = sent;
        }
        message
    }

    /// A mind that says nothing more is spoken for, with its age, and not for ever.
    #[test]
    fn the_voice_vouches_for_a_late_mind_for_a_while() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (sender, mut queue) = mpsc::channel(QUEUE_LIMIT);
        let (mut here, mut there) = tokio::io::duplex(FRAME_LIMIT);
        let beat = Duration::from_millis(20);
        let sent = mainstay_rt::clock::now();
        sender.try_send(heartbeat(sent)).unwrap();
        sender.try_send(known(1)).unwrap();
        let ages = runtime.block_on(async {
            let mut ages = Vec::new();
            let hear = async {
                loop {
                    let json = frame(&mut there).await.unwrap();
                    let Said::Message(form) = keeper_message::read(&json).unwrap() else {
                        panic!("a message");
                    };
                    if let Body::Heartbeat(heard) = convert::message_in(&form).unwrap().body {
                        assert_eq!(heard.sent, sent);
                        ages.push(heard.age);
                    }
                }
            };
            // Longer than it vouches: what comes later than that is what must not come.
            let enough = VOUCHING_LIMIT + Duration::from_secs(2);
            tokio::select! {
                ended = pump(&mut here, &mut queue, beat) => panic!("{ended:?}"),
                () = hear => {}
                () = tokio::time::sleep(enough) => {}
            }
            ages
        });
        assert_eq!(ages.first(), Some(&Duration::ZERO));
        assert!(ages.len() > 2, "{ages:?}");
        assert!(
            ages[1..]
                .iter()
                .all(|age| *age > beat && *age <= VOUCHING_LIMIT)
        );
        assert!(ages.is_sorted(), "{ages:?}");
    }
}
