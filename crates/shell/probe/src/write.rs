//! One writer: a number each time one is due, whatever became of the last.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use mainstay_rt::clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore};

use crate::login::{Login, Session};
use crate::notes::Notes;
use crate::{TABLE, on_runtime};

/// One that is not answered within this is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Each session costs a handshake and a login on both sides. A crowd that opens all of its own at once on a busy machine has none in time,
/// gives up, and begins anew with as many, for ever.
const OPENING_MAX: usize = 4;
/// More at once are not begun: they fail without having been sent.
const UNDER_WAY_MAX: usize = 256;

pub struct Probe {
    pub login: Login,
    /// Names the writes of all writers of one run.
    pub run: String,
    pub writer: u32,
    /// Writes a second.
    pub rate: u32,
    pub lasts: Duration,
    /// A folder for the notes.
    pub witness: PathBuf,
}

/// Writes until it is told to stop, or its time is over; [`crate::prepare`] has made the place for it.
///
/// # Errors
/// When notes cannot be written.
pub fn write(probe: Probe) -> Result<()> {
    let notes = Notes::create(&probe.witness)?;
    on_runtime(writing(Rc::new(Writer {
        insert: format!("insert into {TABLE} (run, writer, number) values ($1, $2, $3)"),
        probe,
        notes: RefCell::new(notes),
        idle: RefCell::new(Vec::new()),
        freed: Notify::new(),
        turns: Semaphore::new(OPENING_MAX),
        broken: RefCell::new(None),
        entrance: RefCell::new(0),
    })))
}

struct Writer {
    probe: Probe,
    insert: String,
    notes: RefCell<Notes>,
    /// Sessions that nobody uses.
    idle: RefCell<Vec<Session>>,
    /// One of them came back.
    freed: Notify,
    /// Of those that open a session.
    turns: Semaphore,
    /// Why nothing can be noted any more.
    broken: RefCell<Option<anyhow::Error>>,
    /// Where the next session is opened; the next one along when that fails.
    entrance: RefCell<usize>,
}

fn now_us() -> u64 {
    clock::wall_us()
}

async fn writing(writer: Rc<Writer>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
    let period = Duration::from_secs(1) / writer.probe.rate.max(1);
    let (begin, begin_us) = (tokio::time::Instant::now(), now_us());
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0_u32.. {
        let after = period * number;
        if after > writer.probe.lasts {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep_until(begin + after) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        while under_way.try_join_next().is_some() {}
        if let Some(error) = writer.broken.borrow_mut().take() {
            return Err(error);
        }
        let due_us = begin_us + u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let number = u64::from(number);
        writer.notes.borrow_mut().intent(number, due_us)?;
        if under_way.len() >= UNDER_WAY_MAX {
            let why = "too many are under way already";
            writer.notes.borrow_mut().failed(number, now_us(), why)?;
            continue;
        }
        let writer = Rc::clone(&writer);
        under_way.spawn_local(async move { writer.one(number).await });
    }
    while under_way.join_next().await.is_some() {}
    writer.broken.borrow_mut().take().map_or(Ok(()), Err)
}

impl Writer {
    async fn one(&self, number: u64) {
        let outcome = tokio::time::timeout(WRITE_LIMIT, self.put(number)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("no answer within {WRITE_LIMIT:?}")));
        let mut notes = self.notes.borrow_mut();
        let noted = match outcome {
            Ok(()) => notes.acknowledged(number, now_us()),
            Err(error) => notes.failed(number, now_us(), &format!("{error:#}")),
        };
        if let Err(error) = noted {
            *self.broken.borrow_mut() = Some(error);
        }
    }

    async fn put(&self, number: u64) -> Result<()> {
        let session = self.session().await?;
        let before = session.warnings();
        let writer = i32::try_from(self.probe.writer).context("the writer's number")?;
        let number = i64::try_from(number).context("the number")?;
        session
            .client
            .execute(&self.insert, &[&self.probe.run, &writer, &number])
            .await
            .context("write")?;
        if session.warnings() != before {
            // Whether the other copies have it is not known; nor what else this session hides.
            return Err(anyhow!("answered after a warning: it promises nothing"));
        }
        self.idle.borrow_mut().push(session);
        self.freed.notify_one();
        Ok(())
    }

    fn idle(&self) -> Option<Session> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(|session| !session.client.is_closed())
    }

    /// One that is there or comes back, or a new one through the entrance that led somewhere last.
    async fn session(&self) -> Result<Session> {
        let _turn = loop {
            if let Some(session) = self.idle() {
                return Ok(session);
            }
            tokio::select! {
                biased;
                () = self.freed.notified() => {}
                turn = self.turns.acquire() => break turn.context("a turn at opening a session")?,
            }
        };
        // It may have come back in the same moment.
        if let Some(session) = self.idle() {
            return Ok(session);
        }
        let entrance = *self.entrance.borrow();
        let opened = self.probe.login.open(entrance).await;
        if opened.is_err() {
            let mut next = self.entrance.borrow_mut();
            // Others may have gone on already.
            if *next == entrance {
                *next = entrance + 1;
            }
        }
        opened
    }
}
