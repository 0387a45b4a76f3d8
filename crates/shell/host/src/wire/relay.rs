//! One connection through a wire.
//!
//! Each direction is a line with a length: pieces go in at one end, wait until they are due, and come out
//! in order at the other. With no delay a piece goes straight through one shared buffer and is never
//! stored. A line that is cut keeps what is in it and takes nothing more; as with TCP over a network that
//! lost its packets, everything arrives when the cut ends, the end of the stream included.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_rt::{clock, entropy};
use mainstay_units::Instant;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::condition::{Direction, DoorView};

const BUFFER_BYTES: usize = 256 << 10;
/// What one direction of one connection may hold back; enough for 100 MB/s over 40 ms.
const LINE_BYTES: usize = 4 << 20;
const CONNECTION_LIMIT: u64 = 8_192;
/// The timer's grain: it wakes up to two of these late. Waiting one less, and letting a piece go that is
/// so close to its time, keeps the mean delay what it should be.
const GRAIN: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections: AtomicU64,
    accepted: AtomicU64,
    forward: AtomicU64,
    backward: AtomicU64,
}

pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) accepted: u64,
    pub(crate) bytes_forward: u64,
    pub(crate) bytes_backward: u64,
}

impl Counters {
    pub(crate) fn has_room(&self) -> bool {
        self.connections.load(Ordering::Relaxed) < CONNECTION_LIMIT
    }

    pub(crate) fn read(&self) -> Counts {
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            bytes_forward: self.forward.load(Ordering::Relaxed),
            bytes_backward: self.backward.load(Ordering::Relaxed),
        }
    }

    fn add_bytes(&self, direction: Direction, count: usize) {
        let counter = match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
        };
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

thread_local! {
    /// One for all connections: it is never held across a wait.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Ends a connection with a reset instead of a farewell.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection will end politely");
    }
}

/// Carries a connection to its end.
pub(crate) async fn carry(
    client: TcpStream,
    target: SocketAddr,
    view: watch::Receiver<DoorView>,
    counters: Arc<Counters>,
) {
    counters.accepted.fetch_add(1, Ordering::Relaxed);
    counters.connections.fetch_add(1, Ordering::Relaxed);
    if let Err(error) = connect_and_pump(&client, target, view, &counters).await {
        tracing::debug!(%error, %target, "a connection broke");
        reset(&client);
    }
    counters.connections.fetch_sub(1, Ordering::Relaxed);
}

async fn connect_and_pump(
    client: &TcpStream,
    target: SocketAddr,
    mut view: watch::Receiver<DoorView>,
    counters: &Counters,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    // The SYN and its answer travel too. The kernel has already shaken hands here, so what the client
    // sends early waits until the handshake could have ended.
    for direction in [Direction::Forward, Direction::Backward] {
        pass(&mut view, direction).await?;
    }
    let server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    let both = tokio::try_join!(
        pump(client, &server, Direction::Forward, view.clone(), counters),
        pump(&server, client, Direction::Backward, view.clone(), counters),
    );
    if both.is_err() {
        reset(&server);
    }
    both.map(|_| ())
}

/// One empty packet's way along the line.
async fn pass(view: &mut watch::Receiver<DoorView>, direction: Direction) -> io::Result<()> {
    let delay = {
        let open = view
            .wait_for(|view| view.is_open(direction) || view.reset)
            .await;
        let view = open.map_err(|_| io::ErrorKind::ConnectionAborted)?;
        if view.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        view.delay
    };
    if delay > Duration::ZERO {
        tokio::time::sleep(delay.saturating_sub(GRAIN)).await;
    }
    Ok(())
}

struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    written: usize,
}

/// One direction.
#[derive(Default)]
struct Line {
    pieces: VecDeque<Piece>,
    held: usize,
    /// When the last piece is out of a line of limited bandwidth.
    clear_at: Instant,
    last_due: Instant,
    ended: bool,
}

impl Line {
    /// When something that enters now comes out.
    fn due(&mut self, now: Instant, view: &DoorView, length: usize) -> Instant {
        let mut leaves = now;
        if let Some(rate) = view.bytes_per_second {
            let nanos = (length as u128 * 1_000_000_000) / u128::from(rate);
            leaves = self.clear_at.max(now)
                + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.clear_at = leaves;
        }
        let mut due = leaves + view.delay;
        if view.jitter > Duration::ZERO {
            let range = u64::try_from(view.jitter.as_nanos())
                .unwrap_or(u64::MAX)
                .max(1);
            due += Duration::from_nanos(entropy::u64() % range);
        }
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    /// A slow line holds a tenth of a second beyond its delay, so that its queue is not its delay.
    fn has_room(&self, view: &DoorView) -> bool {
        let limit = match view.bytes_per_second {
            Some(rate) => {
                let span = view.delay.as_secs_f64() + 0.1;
                ((rate as f64 * span) as usize).clamp(16 << 10, LINE_BYTES)
            }
            None => LINE_BYTES,
        };
        self.held < limit
    }

    fn store(&mut self, due: Instant, bytes: &[u8]) {
        self.held += bytes.len();
        self.pieces.push_back(Piece {
            due,
            bytes: bytes.to_vec(),
            written: 0,
        });
    }

    fn head_due(&self) -> Option<Instant> {
        self.pieces.front().map(|piece| piece.due)
    }
}

async fn pump(
    reader: &TcpStream,
    writer: &TcpStream,
    direction: Direction,
    mut view: watch::Receiver<DoorView>,
    counters: &Counters,
) -> io::Result<()> {
    let mut line = Line::default();
    let mut is_forgotten = false;
    loop {
        let now_holds = *view.borrow_and_update();
        is_forgotten |= now_holds.forgets;
        if now_holds.reset || (is_forgotten && !now_holds.is_silent()) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !now_holds.is_open(direction) {
            view.changed()
                .await
                .map_err(|_| io::ErrorKind::ConnectionAborted)?;
            continue;
        }
        let now = clock::now();
        let blocked = !drain(&mut line, writer, now)?;
        if line.ended && line.pieces.is_empty() {
            if now + GRAIN < line.last_due {
                tokio::time::sleep(line.last_due - now - GRAIN).await;
                continue;
            }
            return finish(writer);
        }
        let wait = line
            .head_due()
            .filter(|_| !blocked)
            .map(|due| (due - now).saturating_sub(GRAIN));
        tokio::select! {
            ready = reader.readable(), if !line.ended && line.has_room(&now_holds) && !blocked => {
                ready?;
                take(&mut line, reader, writer, &now_holds, |count| counters.add_bytes(direction, count))?;
            }
            ready = writer.writable(), if blocked => ready?,
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            changed = view.changed() => changed.map_err(|_| io::ErrorKind::ConnectionAborted)?,
        }
    }
}

/// Writes what is due; `false` if the receiver takes no more.
fn drain(line: &mut Line, writer: &TcpStream, now: Instant) -> io::Result<bool> {
    while let Some(piece) = line.pieces.front_mut() {
        if piece.due > now + GRAIN {
            break;
        }
        match writer.try_write(piece.bytes.get(piece.written..).unwrap_or_default()) {
            Ok(count) => {
                piece.written += count;
                line.held -= count;
                if piece.written == piece.bytes.len() {
                    line.pieces.pop_front();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Reads once; writes at once what is due at once and stores the rest.
fn take(
    line: &mut Line,
    reader: &TcpStream,
    writer: &TcpStream,
    view: &DoorView,
    count_bytes: impl FnOnce(usize),
) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        let length = match reader.try_read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = clock::now();
        let due = line.due(now, view, length);
        if length == 0 {
            line.ended = true;
            return Ok(());
        }
        count_bytes(length);
        let bytes = buffer.get(..length).unwrap_or_default();
        let mut written = 0;
        if line.pieces.is_empty() && due <= now {
            written = match writer.try_write(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        if written < length {
            line.store(due, bytes.get(written..).unwrap_or_default());
        }
        Ok(())
    })
}

/// The end of the stream, passed on; the other direction may go on.
fn finish(writer: &TcpStream) -> io::Result<()> {
    match SockRef::from(writer).shutdown(Shutdown::Write) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_record::process::WireShape;

    fn view(shape: WireShape) -> DoorView {
        DoorView::of(shape, &[], "h")
    }

    proptest::proptest! {
        #[test]
        fn pieces_never_overtake_each_other_nor_come_early(
            delay_us in 0..50_000_u64,
            jitter_us in 0..50_000_u64,
            rate in proptest::option::of(1..1_000_000_u64),
            steps in proptest::collection::vec((0..20_000_000_u64, 0..300_000_usize), 1..50),
        ) {
            let view = view(WireShape { delay_us, jitter_us, bytes_per_second: rate });
            let mut line = Line::default();
            let (mut now, mut last) = (Instant::ZERO, Instant::ZERO);
            for (pause, length) in steps {
                now += Duration::from_nanos(pause);
                let due = line.due(now, &view, length);
                assert!(due >= last && due >= now + view.delay);
                if rate.is_none() {
                    assert!(due <= last.max(now + view.delay + view.jitter));
                }
                last = due;
            }
        }
    }

    #[test]
    fn bandwidth_is_shared_by_what_follows() {
        let view = view(WireShape {
            delay_us: 0,
            jitter_us: 0,
            bytes_per_second: Some(1_000),
        });
        let mut line = Line::default();
        let now = Instant::from_millis(5);
        assert_eq!(line.due(now, &view, 100), Instant::from_millis(105));
        assert_eq!(line.due(now, &view, 100), Instant::from_millis(205));
        assert_eq!(
            line.due(Instant::from_millis(500), &view, 100),
            Instant::from_millis(600)
        );
        line.store(now, &[0; 16 << 10]);
        assert!(!line.has_room(&view));
    }
}
