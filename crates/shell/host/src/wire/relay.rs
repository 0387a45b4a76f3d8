//! One connection through a wire.
//!
//! Each direction is a line with a length: pieces go in at one end, wait until they are due, and come out
//! in order at the other. With no delay a piece goes straight through one shared buffer and is never
//! stored. A line that is cut keeps what is in it and takes nothing more; as with TCP over a network that
//! lost its packets, everything arrives when the cut ends, the end of the stream included. When what holds
//! changes, what is on its way goes on by what holds now: no fault holds anything back for longer than it lasts.

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

use super::condition::{Direction, DoorView, Lane};

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
    let mut begun = None;
    loop {
        let holds = *view.borrow_and_update();
        if holds.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut left = None;
        if holds.is_open(direction) {
            let begun = *begun.get_or_insert_with(clock::now);
            let due = begun + holds.lane(direction).delay;
            let more = (due - clock::now()).saturating_sub(GRAIN);
            if more.is_zero() {
                return Ok(());
            }
            left = Some(more);
        }
        tokio::select! {
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {}
            changed = view.changed() => changed.map_err(|_| io::ErrorKind::ConnectionAborted)?,
        }
    }
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
    /// The last draw of jitter.
    drawn: Option<f64>,
    ended: bool,
}

/// What TCP waits at least before it sends again (Linux), and how often it doubles that here.
const RESEND: Duration = Duration::from_millis(200);
const RESENDS_MAX: u32 = 8;
/// What fits into one packet.
const PACKET_BYTES: usize = 1_448;

/// How much later a piece comes because packets of it were lost. A relay of a byte stream must not drop bytes, so
/// it does to them what TCP would: the packet is sent again after a while, and everything behind it waits.
fn resent_after(loss_ppm: u32, length: usize, mut draw: impl FnMut() -> u64) -> Duration {
    let packets = u32::try_from(length.div_ceil(PACKET_BYTES))
        .unwrap_or(u32::MAX)
        .max(1);
    let lost = f64::from(loss_ppm.min(1_000_000)) / 1e6;
    // Whether any of them is lost; then, whether the one that is sent again is.
    let mut chance = 1.0 - (1.0 - lost).powf(f64::from(packets));
    let mut late = Duration::ZERO;
    for doubled in 0..RESENDS_MAX {
        if share(draw()) >= chance {
            break;
        }
        late += RESEND * 2_u32.pow(doubled);
        chance = lost;
    }
    late
}

/// How long so many bytes take at so many in a second, which are not none.
fn time_of(length: usize, rate: u64) -> Duration {
    let nanos = (length as u128 * 1_000_000_000) / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// From 0 up to and without 1.
fn share(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

impl Line {
    /// When something that enters now comes out.
    fn due(&mut self, now: Instant, lane: &Lane, length: usize) -> Instant {
        let mut leaves = now;
        if let Some(rate) = lane.bytes_per_second {
            leaves = self.clear_at.max(now) + time_of(length, rate);
            self.clear_at = leaves;
        }
        let mut due = leaves + lane.delay;
        if lane.jitter > Duration::ZERO {
            due += lane.jitter.mul_f64(self.draw(lane.correlation_percent));
        }
        if lane.loss_ppm > 0 {
            due += resent_after(lane.loss_ppm, length, entropy::u64);
        }
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    /// From 0 to 1; near the last one as far as draws are correlated, as netem does it.
    fn draw(&mut self, correlation_percent: u8) -> f64 {
        let fresh = share(entropy::u64());
        let kept = f64::from(correlation_percent) / 100.0;
        let drawn = match self.drawn {
            Some(last) => fresh * (1.0 - kept) + last * kept,
            None => fresh,
        };
        self.drawn = Some(drawn);
        drawn
    }

    /// From now on this holds, also for what is on its way.
    fn hasten(&mut self, now: Instant, lane: &Lane) {
        self.clear_at = now;
        let mut last = now + lane.delay;
        for piece in &mut self.pieces {
            if let Some(rate) = lane.bytes_per_second {
                let left = piece.bytes.len() - piece.written;
                self.clear_at += time_of(left, rate);
            }
            piece.due = piece.due.min(self.clear_at + lane.delay);
            last = last.max(piece.due);
        }
        self.last_due = self.last_due.min(last);
    }

    /// A slow line holds a tenth of a second beyond its delay, so that its queue is not its delay.
    fn room(&self, lane: &Lane) -> usize {
        let limit = match lane.bytes_per_second {
            Some(rate) => {
                let span = lane.delay.as_secs_f64() + 0.1;
                ((rate as f64 * span) as usize).clamp(16 << 10, LINE_BYTES)
            }
            None => LINE_BYTES,
        };
        limit.saturating_sub(self.held)
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
    let mut held = *view.borrow().lane(direction);
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
        let lane = *now_holds.lane(direction);
        if lane != held {
            held = lane;
            line.hasten(now, &lane);
        }
        let blocked = !drain(&mut line, writer, now)?;
        if line.ended && line.pieces.is_empty() {
            if now + GRAIN < line.last_due {
                tokio::select! {
                    () = tokio::time::sleep(line.last_due - now - GRAIN) => {}
                    changed = view.changed() => changed.map_err(|_| io::ErrorKind::ConnectionAborted)?,
                }
                continue;
            }
            return finish(writer);
        }
        let wait = line
            .head_due()
            .filter(|_| !blocked)
            .map(|due| (due - now).saturating_sub(GRAIN));
        tokio::select! {
            ready = reader.readable(), if !line.ended && line.room(&lane) > 0 && !blocked => {
                ready?;
                take(&mut line, reader, writer, &lane, |count| counters.add_bytes(direction, count))?;
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
    lane: &Lane,
    count_bytes: impl FnOnce(usize),
) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        let room = line.room(lane).min(BUFFER_BYTES);
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let length = match reader.try_read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = clock::now();
        let bytes = buffer.get(..length).unwrap_or_default();
        if length > 0 && lane.bytes_per_second.is_some() {
            count_bytes(length);
            // What fits through slowly comes packet by packet, not all of it when the last of it is through.
            for packet in bytes.chunks(PACKET_BYTES) {
                let due = line.due(now, lane, packet.len());
                line.store(due, packet);
            }
            return Ok(());
        }
        let due = line.due(now, lane, length);
        if length == 0 {
            line.ended = true;
            return Ok(());
        }
        count_bytes(length);
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
    use crate::wire::condition::Doorplate;
    use mainstay_record::process::WireShape;

    fn lane(shape: WireShape) -> Lane {
        let plate = Doorplate { host: "h", port: 1 };
        *DoorView::of(shape, &[], plate).lane(Direction::Forward)
    }

    proptest::proptest! {
        #[test]
        fn pieces_never_overtake_each_other_nor_come_early(
            delay_us in 0..50_000_u64,
            jitter_us in 0..50_000_u64,
            rate in proptest::option::of(1..1_000_000_u64),
            steps in proptest::collection::vec((0..20_000_000_u64, 0..300_000_usize), 1..50),
        ) {
            let lane = lane(WireShape { delay_us, jitter_us, bytes_per_second: rate });
            let mut line = Line::default();
            let (mut now, mut last) = (Instant::ZERO, Instant::ZERO);
            for (pause, length) in steps {
                now += Duration::from_nanos(pause);
                let due = line.due(now, &lane, length);
                assert!(due >= last && due >= now + lane.delay);
                if rate.is_none() {
                    assert!(due <= last.max(now + lane.delay + lane.jitter));
                }
                last = due;
            }
        }
    }

    #[test]
    fn bandwidth_is_shared_by_what_follows() {
        let lane = lane(WireShape {
            delay_us: 0,
            jitter_us: 0,
            bytes_per_second: Some(1_000),
        });
        let mut line = Line::default();
        let now = Instant::from_millis(5);
        assert_eq!(line.due(now, &lane, 100), Instant::from_millis(105));
        assert_eq!(line.due(now, &lane, 100), Instant::from_millis(205));
        assert_eq!(
            line.due(Instant::from_millis(500), &lane, 100),
            Instant::from_millis(600)
        );
        line.store(now, &[0; 16 << 10]);
        assert_eq!(line.room(&lane), 0);
    }

    #[test]
    fn nothing_is_held_back_for_longer_than_what_holds_it_back() {
        let slow = lane(WireShape {
            bytes_per_second: Some(1),
            ..WireShape::default()
        });
        let (begun, over) = (Instant::from_millis(5), Instant::from_millis(900));
        let mut line = Line::default();
        for _ in 0..3 {
            let due = line.due(begun, &slow, 5_000);
            line.store(due, &[0; 5_000]);
        }
        assert!(line.last_due > begun + Duration::from_secs(14_000));
        let near = lane(WireShape {
            delay_us: 3_000,
            ..WireShape::default()
        });
        line.hasten(over, &near);
        let soon = over + Duration::from_millis(3);
        assert!(line.pieces.iter().all(|piece| piece.due == soon));
        assert_eq!((line.last_due, line.clear_at), (soon, over));
        assert_eq!(
            line.due(over, &near, 1),
            soon,
            "what follows does not wait either"
        );
        // What was due sooner stays so, and at half the pace it is half as fast.
        let mut line = Line::default();
        let due = line.due(begun, &near, 1_000);
        line.store(due, &[0; 1_000]);
        let half = lane(WireShape {
            bytes_per_second: Some(500),
            ..WireShape::default()
        });
        line.hasten(begun, &half);
        assert_eq!(line.last_due, due);
        assert_eq!(line.due(begun, &half, 500), begun + Duration::from_secs(3));
    }

    #[test]
    fn what_is_lost_comes_later_by_what_tcp_waits() {
        let never = || u64::MAX;
        let always = || 0;
        assert_eq!(resent_after(10_000, 100, never), Duration::ZERO);
        // All is lost: each attempt waits twice as long as the one before.
        assert_eq!(
            resent_after(1_000_000, 100, never),
            RESEND * (2_u32.pow(RESENDS_MAX) - 1)
        );
        let mut first = true;
        let once = move || {
            if std::mem::take(&mut first) {
                always()
            } else {
                never()
            }
        };
        assert_eq!(resent_after(10_000, 100, once), RESEND);
    }

    #[test]
    fn a_share_of_pieces_is_late_and_larger_ones_more_often() {
        let mut state = 1_u64;
        let mut draw = move || {
            // A generator of its own, so that the counts are the same every time.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state
        };
        let mut late = |length: usize| {
            (0..10_000)
                .filter(|_| !resent_after(50_000, length, &mut draw).is_zero())
                .count()
        };
        let (small, large) = (late(100), late(10 * PACKET_BYTES));
        assert!((400..600).contains(&small), "{small} of 500");
        assert!((3_600..4_400).contains(&large), "{large} of 4,013");
    }

    #[test]
    fn draws_that_are_wholly_correlated_are_one() {
        let mut line = Line::default();
        let first = line.draw(100);
        assert!((0..50).all(|_| line.draw(100).to_bits() == first.to_bits()));
        let spread: Vec<f64> = (0..50).map(|_| line.draw(0)).collect();
        assert!(spread.iter().any(|draw| (draw - first).abs() > 0.01));
        assert!(spread.iter().all(|draw| (0.0..1.0).contains(draw)));
    }
}
