//! The little of the replication protocol that a keeper speaks: who are you, and what is your history.
//!
//! `IDENTIFY_SYSTEM` names the cluster, the timeline and the end of the log even while the server is still
//! in recovery; `TIMELINE_HISTORY` hands over the file that says where each timeline was left. Both are
//! simple queries on a connection whose start-up message says `replication`.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::{Buf, BytesMut};
use mainstay_identity::{Identity as Proven, end_point};
use mainstay_units::{Lsn, SystemIdentifier, Timeline};
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Some ten kilobytes of questions.
const HISTORIES_AT_ONCE: usize = 256;
/// Longest answer that is read: a history file of a cluster with very many terms.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error("connect to {server} for replication")]
    Connect {
        server: String,
        source: std::io::Error,
    },
    #[error("speak the replication protocol with {server}")]
    Io {
        server: String,
        source: std::io::Error,
    },
    #[error("speak the replication protocol with {server}: {message} ({code})")]
    Refused {
        server: String,
        code: String,
        message: String,
    },
    #[error("speak the replication protocol with {server}: unexpected {what}")]
    Unexpected { server: String, what: &'static str },
}

/// Where a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    Socket(PathBuf),
    /// Over TLS, where it must prove this name.
    Remote {
        at: SocketAddr,
        name: String,
    },
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Remote { at, .. } => at.fmt(f),
        }
    }
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub system: SystemIdentifier,
    /// Of the last record replayed or written.
    pub timeline: Timeline,
    /// End of the log on disk.
    pub flushed: Lsn,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// The connection's end, and what a password's proof is bound to.
type Reached = (Box<dyn Stream>, Option<[u8; 32]>);

pub struct Connection {
    server: Server,
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

type Row = Vec<Option<Vec<u8>>>;

fn history_of(timeline: Timeline) -> String {
    format!("TIMELINE_HISTORY {timeline}")
}

/// The file in the answer; `None` if the server has none.
fn history_in(
    answer: Result<Vec<Row>, ReplicationError>,
) -> Result<Option<Vec<u8>>, ReplicationError> {
    match answer {
        Ok(rows) => Ok(rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().nth(1))
            .flatten()),
        // 58P01: the file does not exist.
        Err(ReplicationError::Refused { code, .. }) if code == "58P01" => Ok(None),
        Err(error) => Err(error),
    }
}

impl Connection {
    /// # Errors
    /// When the server cannot be reached or refuses the user.
    pub async fn open(
        server: &Server,
        own: &Proven,
        user: &str,
        password: &str,
    ) -> Result<Self, ReplicationError> {
        let (mut this, end_point) = Self::reach(server, own).await?;
        this.start(user, password, end_point).await?;
        Ok(this)
    }

    async fn reach(
        server: &Server,
        own: &Proven,
    ) -> Result<(Self, Option<[u8; 32]>), ReplicationError> {
        let connect = |source| ReplicationError::Connect {
            server: server.to_string(),
            source,
        };
        let (stream, end_point) = reach(server, own).await.map_err(connect)?;
        let this = Self {
            server: server.clone(),
            stream,
            buffer: BytesMut::new(),
        };
        Ok((this, end_point))
    }

    /// Comes as a client of `user` does, and leaves when it is asked for a proof: by then the postmaster has made a
    /// process for it, and that one has found a slot. A whole login costs the server twice as much.
    ///
    /// # Errors
    /// When the server cannot be reached or turns clients away.
    pub async fn knock(server: &Server, own: &Proven, user: &str) -> Result<(), ReplicationError> {
        let (mut this, _) = Self::reach(server, own).await?;
        let mut message = BytesMut::new();
        let parameters = [("user", user), ("database", "postgres")];
        frontend::startup_message(parameters, &mut message).map_err(|e| this.io(e))?;
        this.send(&message).await?;
        match this.receive().await? {
            (b'R', _) => Ok(()),
            _ => Err(this.unexpected("message at the start")),
        }
    }

    /// # Errors
    /// When the connection breaks or the answer makes no sense.
    pub async fn identify(&mut self) -> Result<Identity, ReplicationError> {
        let rows = self.query("IDENTIFY_SYSTEM").await?;
        let row = rows
            .first()
            .ok_or_else(|| self.unexpected("empty answer"))?;
        let identity = || {
            Some(Identity {
                system: SystemIdentifier(text(row, 0)?.parse().ok()?),
                timeline: Timeline(text(row, 1)?.parse().ok()?),
                flushed: text(row, 2)?.parse().ok()?,
            })
        };
        identity().ok_or_else(|| self.unexpected("identity"))
    }

    /// The history file of a timeline; `None` if the server has none.
    ///
    /// # Errors
    /// When the connection breaks or the answer makes no sense.
    pub async fn history(
        &mut self,
        timeline: Timeline,
    ) -> Result<Option<Vec<u8>>, ReplicationError> {
        history_in(self.query(&history_of(timeline)).await)
    }

    /// As [`Connection::history`], of several timelines in turn: all are asked for before the first answer is read, so that
    /// the way there and back is gone once.
    ///
    /// # Errors
    /// As [`Connection::history`].
    pub async fn histories(
        &mut self,
        timelines: &[Timeline],
    ) -> Result<Vec<Option<Vec<u8>>>, ReplicationError> {
        let mut found = Vec::new();
        // The questions of one turn fit into what a connection holds of what nobody has read.
        for turn in timelines.chunks(HISTORIES_AT_ONCE) {
            let mut message = BytesMut::new();
            for timeline in turn {
                frontend::query(&history_of(*timeline), &mut message).map_err(|e| self.io(e))?;
            }
            self.send(&message).await?;
            for _ in turn {
                found.push(history_in(self.answer().await)?);
            }
        }
        Ok(found)
    }

    /// The size of the log's segments, the same for all servers of a cluster.
    ///
    /// # Errors
    /// When the connection breaks or the answer makes no sense.
    pub async fn segment_bytes(&mut self) -> Result<u64, ReplicationError> {
        let rows = self.query("SHOW wal_segment_size").await?;
        let said = rows.first().and_then(|row| text(row, 0));
        said.and_then(bytes_of)
            .ok_or_else(|| self.unexpected("size of a segment"))
    }

    /// Whether the server can still send its log from `start` on; asked as a walreceiver asks. The connection
    /// is of no further use.
    ///
    /// # Errors
    /// When the connection breaks, or the server refuses for another reason.
    pub async fn still_has(
        &mut self,
        timeline: Timeline,
        start: Lsn,
    ) -> Result<bool, ReplicationError> {
        let mut message = BytesMut::new();
        let question = format!("START_REPLICATION PHYSICAL {start} TIMELINE {timeline}");
        frontend::query(&question, &mut message).map_err(|e| self.io(e))?;
        self.send(&message).await?;
        loop {
            match self.receive().await {
                // Log, not only a sign of life.
                Ok((b'd', body)) if body.first() == Some(&b'w') => return Ok(true),
                // The timeline ends there, and all of it was sent.
                Ok((b'c' | b'D', _)) => return Ok(true),
                Ok((b'd' | b'W' | b'N', _)) => {}
                Ok(_) => return Err(self.unexpected("message in a stream")),
                // "requested WAL segment … has already been removed"
                Err(ReplicationError::Refused { code, .. }) if code == "58P01" => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    async fn start(
        &mut self,
        user: &str,
        password: &str,
        end_point: Option<[u8; 32]>,
    ) -> Result<(), ReplicationError> {
        let mut message = BytesMut::new();
        let parameters = [
            ("user", user),
            ("replication", "true"),
            ("application_name", "mainstay_keeper"),
        ];
        frontend::startup_message(parameters, &mut message).map_err(|e| self.io(e))?;
        self.send(&message).await?;
        let (mechanism, binding) = match end_point {
            Some(shown) => (
                SCRAM_SHA_256_PLUS,
                ChannelBinding::tls_server_end_point(shown.to_vec()),
            ),
            None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        let mut scram = ScramSha256::new(password.as_bytes(), binding);
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                b'R' => self.authenticate(&mut scram, mechanism, &body).await?,
                b'Z' => return Ok(()),
                // Parameters, the cancellation key, notices.
                b'S' | b'K' | b'N' => {}
                _ => return Err(self.unexpected("message at the start")),
            }
        }
    }

    /// One step of the authentication; the numbers are of the manual's "Message Formats".
    async fn authenticate(
        &mut self,
        scram: &mut ScramSha256,
        mechanism: &str,
        body: &[u8],
    ) -> Result<(), ReplicationError> {
        let (kind, data) = body
            .split_first_chunk::<4>()
            .ok_or_else(|| self.unexpected("authentication message"))?;
        let mut message = BytesMut::new();
        match u32::from_be_bytes(*kind) {
            0 => return Ok(()),
            10 => frontend::sasl_initial_response(mechanism, scram.message(), &mut message)
                .map_err(|e| self.io(e))?,
            11 => {
                scram.update(data).map_err(|e| self.io(e))?;
                frontend::sasl_response(scram.message(), &mut message).map_err(|e| self.io(e))?;
            }
            12 => return scram.finish(data).map_err(|e| self.io(e)),
            _ => return Err(self.unexpected("kind of authentication")),
        }
        self.send(&message).await
    }

    async fn query(&mut self, query: &str) -> Result<Vec<Row>, ReplicationError> {
        let mut message = BytesMut::new();
        frontend::query(query, &mut message).map_err(|e| self.io(e))?;
        self.send(&message).await?;
        self.answer().await
    }

    /// The rows that answer one question.
    async fn answer(&mut self) -> Result<Vec<Row>, ReplicationError> {
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            match self.receive().await {
                Ok((b'D', body)) => {
                    let row = cells(&body).ok_or_else(|| self.unexpected("shape of a row"))?;
                    rows.push(row);
                }
                Ok((b'Z', _)) => return refused.map_or(Ok(rows), Err),
                Ok(_) => {}
                // Kept until the server is ready again, so that the connection can be used on.
                Err(error @ ReplicationError::Refused { .. }) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), ReplicationError> {
        let sent = async {
            self.stream.write_all(message).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|e| self.io(e))
    }

    /// The tag and the body of the next message; an error message of the server is an error.
    async fn receive(&mut self) -> Result<(u8, BytesMut), ReplicationError> {
        loop {
            if let Some((tag, length)) = head(&self.buffer) {
                if !(4..=ANSWER_LIMIT).contains(&length) {
                    return Err(self.unexpected("length of a message"));
                }
                if self.buffer.len() > length {
                    self.buffer.advance(5);
                    let body = self.buffer.split_to(length - 4);
                    if tag == b'E' {
                        return Err(self.refused(&body));
                    }
                    return Ok((tag, body));
                }
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(|e| self.io(e))? == 0 {
                return Err(self.io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn io(&self, source: std::io::Error) -> ReplicationError {
        ReplicationError::Io {
            server: self.server.to_string(),
            source,
        }
    }

    fn unexpected(&self, what: &'static str) -> ReplicationError {
        ReplicationError::Unexpected {
            server: self.server.to_string(),
            what,
        }
    }

    /// An error message is a list of fields, each a letter and a text that ends with a zero.
    fn refused(&self, body: &[u8]) -> ReplicationError {
        let (mut code, mut message) = (String::new(), String::new());
        for field in body.split(|byte| *byte == 0) {
            let Some((kind, value)) = field.split_first() else {
                continue;
            };
            let value = String::from_utf8_lossy(value).into_owned();
            match kind {
                b'C' => code = value,
                b'M' => message = value,
                _ => {}
            }
        }
        ReplicationError::Refused {
            server: self.server.to_string(),
            code,
            message,
        }
    }
}

/// Connects; to a server on another host over TLS, and not before it has proven its name.
async fn reach(server: &Server, own: &Proven) -> std::io::Result<Reached> {
    let (at, name) = match server {
        Server::Socket(path) => return Ok((Box::new(UnixStream::connect(path).await?), None)),
        Server::Remote { at, name } => (at, name),
    };
    let mut stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let mut question = BytesMut::new();
    frontend::ssl_request(&mut question);
    stream.write_all(&question).await?;
    // One byte and no more: what came with it in the clear would be taken for the server's.
    if stream.read_u8().await? != b'S' {
        return Err(std::io::Error::other("the server does not speak TLS"));
    }
    let stream = own.connect(stream, name).await?;
    let shown = end_point(&stream);
    Ok((Box::new(stream), shown))
}

/// The tag of a message and its length, which counts itself but not the tag.
fn head(buffer: &[u8]) -> Option<(u8, usize)> {
    let (tag, rest) = buffer.split_first()?;
    let length = rest.first_chunk::<4>()?;
    Some((*tag, usize::try_from(u32::from_be_bytes(*length)).ok()?))
}

/// A row is a count, then per column a length (-1: null) and that many bytes.
fn cells(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (cell, after) = rest.split_at_checked(length)?;
                row.push(Some(cell.to_vec()));
                rest = after;
            }
            Err(_) => row.push(None),
        }
    }
    Some(row)
}

fn text(row: &Row, column: usize) -> Option<&str> {
    std::str::from_utf8(row.get(column)?.as_deref()?).ok()
}

/// As the server writes sizes of whole mebibytes.
fn bytes_of(size: &str) -> Option<u64> {
    let (number, unit) = match (size.strip_suffix("MB"), size.strip_suffix("GB")) {
        (Some(number), _) => (number, 1 << 20),
        (_, Some(number)) => (number, 1 << 30),
        (None, None) => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_server_writes_them() {
        assert_eq!(bytes_of("4MB"), Some(4 << 20));
        assert_eq!(bytes_of("1GB"), Some(1 << 30));
        for wrong in ["", "MB", "0MB", "4", "4kB", "-1MB"] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rows_are_cut_where_they_say() {
        let body = [0, 2, 0, 0, 0, 1, b'7', 255, 255, 255, 255];
        assert_eq!(cells(&body), Some(vec![Some(b"7".to_vec()), None]));
        for length in 0..body.len() {
            assert_eq!(cells(&body[..length]), None, "{length}");
        }
    }
}
