//! The clients: each does one operation after the other on a connection of its own, rudely.
//!
//! What a client does, and when it will cancel or hang up, is drawn from its seed. What makes an outcome known
//! is kept in one place ([`Stage`] and [`classify`]): a transaction whose commit was never sent has no effect; a
//! server that reports an error of severity ERROR has aborted it; a clean success is one without a warning.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use mainstay_rt::clock;
use mainstay_units::Instant;
use tokio::time::sleep;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::Severity;

use crate::content::{SCHEMA, balances, field, rows_of};
use crate::dice::Dice;
use crate::history::{Action, Id, Line, Outcome, Recorder};
use crate::judge::WARNED;
use crate::session::{Login, Session};

/// However patient a client is, it hangs up then.
const OPERATION_LIMIT: Duration = Duration::from_secs(3);
/// After a connection that could not be made.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Elements of which it is remembered that somebody tried to add them lately.
const RECENT_MAX: usize = 40;
/// Percent of operations that a client cancels, or hangs up on, within its haste.
const CANCELS: u64 = 3;
const HANG_UPS: u64 = 2;
const HASTE_US: u64 = 12_000;
/// Otherwise it loses patience after so long.
const PATIENCE_MS: (u64, u64) = (150, 1_500);
/// At most so long between two operations of one client.
const PAUSE_US: u64 = 24_000;
const AMOUNT_MAX: u64 = 20;

/// What all clients of a run share; they take turns on one thread.
#[derive(Debug)]
pub struct Run {
    login: Login,
    accounts: u32,
    begun: Instant,
    recorder: RefCell<Recorder>,
    next: Cell<Id>,
    recent: RefCell<VecDeque<Id>>,
    is_ending: Cell<bool>,
    acknowledged: Cell<u64>,
}

impl Run {
    #[must_use]
    pub fn new(login: Login, accounts: u32, recorder: Recorder) -> Rc<Self> {
        Rc::new(Self {
            login,
            accounts,
            begun: clock::now(),
            recorder: RefCell::new(recorder),
            next: Cell::new(1),
            recent: RefCell::default(),
            is_ending: Cell::new(false),
            acknowledged: Cell::new(0),
        })
    }

    /// Clients finish what they are about, and stop.
    pub fn end(&self) {
        self.is_ending.set(true);
    }

    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    fn at_us(&self) -> u64 {
        clock::now().since(self.begun).as_micros() as u64
    }

    fn begin(&self, client: u32, action: &Action) -> Result<Id> {
        let id = self.next.get();
        self.next.set(id + 1);
        let (at_us, action) = (self.at_us(), action.clone());
        self.recorder.borrow_mut().write(&Line::Begin {
            id,
            at_us,
            client,
            action,
        })?;
        Ok(id)
    }

    fn finish(&self, id: Id, action: &Action, outcome: Outcome, cancelled: bool) -> Result<()> {
        let at_us = self.at_us();
        self.acknowledged
            .update(|count| count + u64::from(outcome == Outcome::Acknowledged));
        if *action == Action::Add && !matches!(outcome, Outcome::Refused { .. }) {
            let mut recent = self.recent.borrow_mut();
            recent.push_back(id);
            if recent.len() > RECENT_MAX {
                recent.pop_front();
            }
        }
        self.recorder.borrow_mut().write(&Line::End {
            id,
            at_us,
            outcome,
            cancelled,
        })
    }
}

/// One client until the run ends.
///
/// # Errors
/// When the history cannot be written.
pub async fn client(run: Rc<Run>, number: u32, seed: u64) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut entrance = number as usize;
    let mut session: Option<Session> = None;
    while !run.is_ending.get() {
        sleep(Duration::from_micros(dice.below(PAUSE_US))).await;
        let Some(open) = session.take().filter(|open| !open.is_closed()) else {
            session = run.login.open(entrance).await.ok();
            if session.is_none() {
                entrance += 1;
                sleep(RECONNECT_PAUSE).await;
            }
            continue;
        };
        let action = choose(&run, &mut dice);
        let impatience = Impatience::draw(&mut dice);
        let id = run.begin(number, &action)?;
        let attempt = Attempt {
            session: &open,
            accounts: run.accounts,
            is_serializable: dice.percent(50),
            stage: Cell::new(Stage::Before),
        };
        let (ended, cancelled) = impatience.apply(&open, attempt.act(id, &action)).await;
        let is_lost = ended.is_none();
        let outcome = ended.unwrap_or_else(|| attempt.given_up());
        run.finish(id, &action, outcome, cancelled)?;
        // A cancel may still be on its way, and must not meet the next operation, whose history would not tell of it.
        if !is_lost && !cancelled && attempt.tidy().await {
            session = Some(open);
        }
    }
    Ok(())
}

fn choose(run: &Run, dice: &mut Dice) -> Action {
    match dice.below(100) {
        0..50 => Action::Add,
        50..75 => {
            let from = dice.below(u64::from(run.accounts)) as u32;
            let step = 1 + dice.below(u64::from(run.accounts) - 1) as u32;
            let to = (from + step) % run.accounts;
            let amount = 1 + dice.below(AMOUNT_MAX) as i64;
            Action::Transfer { from, to, amount }
        }
        75..90 => Action::Look {
            asked: run.recent.borrow().iter().copied().collect(),
        },
        _ => Action::Sum,
    }
}

/// When a client will cancel or hang up.
#[derive(Clone, Copy, Debug)]
struct Impatience {
    after: Duration,
    hangs_up: bool,
}

impl Impatience {
    fn draw(dice: &mut Dice) -> Self {
        let haste = Duration::from_micros(dice.below(HASTE_US));
        let (least, most) = PATIENCE_MS;
        let patience = Duration::from_millis(least + dice.below(most - least));
        let kind = dice.below(100);
        let is_hasty = kind < CANCELS + HANG_UPS;
        Self {
            after: if is_hasty { haste } else { patience },
            hangs_up: if is_hasty {
                kind >= CANCELS
            } else {
                dice.percent(50)
            },
        }
    }

    /// The end of `work` unless the client hung up before, and whether it had asked for a cancel.
    async fn apply<T>(self, session: &Session, work: impl Future<Output = T>) -> (Option<T>, bool) {
        tokio::pin!(work);
        tokio::select! {
            biased;
            ended = &mut work => return (Some(ended), false),
            () = sleep(self.after) => {}
        }
        if self.hangs_up {
            return (None, false);
        }
        session.cancel();
        let rest = OPERATION_LIMIT.saturating_sub(self.after);
        (tokio::time::timeout(rest, work).await.ok(), true)
    }
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing was sent that could commit.
    Before,
    Begun,
    /// From here on it may have an effect.
    Committing,
    /// Commit or rollback was answered.
    Over,
}

struct Attempt<'a> {
    session: &'a Session,
    accounts: u32,
    is_serializable: bool,
    stage: Cell<Stage>,
}

impl Attempt<'_> {
    async fn act(&self, id: Id, action: &Action) -> Outcome {
        match action {
            Action::Add => {
                let statement = format!("INSERT INTO {SCHEMA}.elements VALUES ({id})");
                self.commit(&statement).await
            }
            Action::Transfer { from, to, amount } => self
                .transfer(id, *from, *to, *amount)
                .await
                .unwrap_or_else(|error| Self::refused(&error)),
            Action::Look { asked } => self.look(asked).await,
            Action::Sum => self.sum().await,
        }
    }

    async fn query(&self, statement: &str) -> Result<Vec<SimpleQueryMessage>, Failed> {
        self.session.client.simple_query(statement).await
    }

    /// Sends what commits, and says what its answer means.
    async fn commit(&self, statement: &str) -> Outcome {
        self.stage.set(Stage::Committing);
        let warnings = self.session.warnings();
        let answer = self.query(statement).await;
        match answer {
            Ok(_) if self.session.warnings() == warnings => {
                self.stage.set(Stage::Over);
                Outcome::Acknowledged
            }
            Ok(_) => {
                self.stage.set(Stage::Over);
                Outcome::Unknown {
                    why: WARNED.to_owned(),
                }
            }
            Err(error) => {
                let outcome = classify(&error);
                if matches!(outcome, Outcome::Refused { .. }) {
                    self.stage.set(Stage::Over);
                }
                outcome
            }
        }
    }

    /// Reads both accounts, computes, writes both and a row about it: what is lost between reading and writing
    /// shows. An error before the commit was sent means that nothing happened.
    async fn transfer(&self, id: Id, from: u32, to: u32, amount: i64) -> Result<Outcome, Failed> {
        self.stage.set(Stage::Begun);
        let (level, lock) = if self.is_serializable {
            ("SERIALIZABLE", "")
        } else {
            ("READ COMMITTED", "FOR UPDATE")
        };
        self.query(&format!("BEGIN ISOLATION LEVEL {level}"))
            .await?;
        let read = format!(
            "SELECT account, balance FROM {SCHEMA}.accounts WHERE account IN ({from}, {to}) \
             ORDER BY account {lock}"
        );
        let rows = rows_of(self.query(&read).await?);
        let found = balances(&rows).unwrap_or_default();
        let balance = |account: u32| found.iter().find(|(a, _)| *a == account).map(|(_, b)| *b);
        let (Some(payer), Some(payee)) = (balance(from), balance(to)) else {
            return Ok(Self::nothing("an account is missing"));
        };
        if payer < amount {
            return Ok(Self::nothing("not enough in the account"));
        }
        let write = |account: u32, balance: i64| {
            format!("UPDATE {SCHEMA}.accounts SET balance = {balance} WHERE account = {account}")
        };
        self.query(&write(from, payer - amount)).await?;
        self.query(&write(to, payee + amount)).await?;
        let note = format!("INSERT INTO {SCHEMA}.transfers VALUES ({id}, {from}, {to}, {amount})");
        self.query(&note).await?;
        Ok(self.commit("COMMIT").await)
    }

    async fn look(&self, asked: &[Id]) -> Outcome {
        let list: Vec<String> = asked.iter().map(u64::to_string).collect();
        let list = list.join(",");
        let statement =
            format!("SELECT id FROM {SCHEMA}.elements WHERE id = ANY ('{{{list}}}'::bigint[])");
        match self.query(&statement).await {
            Ok(messages) => {
                let rows = rows_of(messages);
                let elements: Result<Vec<Id>> = rows.iter().map(|row| field(row, 0)).collect();
                elements.map_or_else(
                    |error| Self::nothing(&error.to_string()),
                    |elements| Outcome::Saw { elements },
                )
            }
            Err(error) => Self::refused(&error),
        }
    }

    async fn sum(&self) -> Outcome {
        let statement = format!(
            "SELECT account, balance FROM {SCHEMA}.accounts ORDER BY account LIMIT {}",
            self.accounts + 1
        );
        match self.query(&statement).await {
            Ok(messages) => balances(&rows_of(messages)).map_or_else(
                |error| Self::nothing(&error.to_string()),
                |balances| Outcome::Read { balances },
            ),
            Err(error) => Self::refused(&error),
        }
    }

    /// The client hung up before it was told.
    fn given_up(&self) -> Outcome {
        match self.stage.get() {
            Stage::Before | Stage::Begun => Self::nothing("hung up before the commit was sent"),
            Stage::Committing | Stage::Over => Outcome::Unknown {
                why: "hung up".to_owned(),
            },
        }
    }

    /// Whether the session can be used again: what was begun is rolled back first.
    async fn tidy(&self) -> bool {
        match self.stage.get() {
            Stage::Before | Stage::Over => !self.session.is_closed(),
            Stage::Begun => tokio::time::timeout(OPERATION_LIMIT, self.query("ROLLBACK"))
                .await
                .is_ok_and(|answer| answer.is_ok()),
            Stage::Committing => false,
        }
    }

    fn nothing(why: &str) -> Outcome {
        Outcome::Refused {
            why: why.to_owned(),
        }
    }

    fn refused(error: &Failed) -> Outcome {
        Self::nothing(&error.code().map_or_else(
            || "the connection was lost before the commit was sent".to_owned(),
            |code| code.code().to_owned(),
        ))
    }
}

type Failed = tokio_postgres::Error;

/// What an error means once something that commits was sent. With severity ERROR the server has aborted the
/// transaction and goes on; anything worse ends the session, perhaps after the commit.
fn classify(error: &Failed) -> Outcome {
    let Some(said) = error.as_db_error() else {
        return Outcome::Unknown {
            why: "the connection was lost".to_owned(),
        };
    };
    let why = said.code().code().to_owned();
    if said.parsed_severity() == Some(Severity::Error) {
        Outcome::Refused { why }
    } else {
        Outcome::Unknown { why }
    }
}
