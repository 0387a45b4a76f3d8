//! One writer, one row per commit, as fast as it is answered: what a fault costs a client.
//!
//! The gap is the longest time between two acknowledged writes that ends after a mark and before the next
//! one. A write that is not answered within the deadline is given up, the connection with it, and the client
//! connects again with the same deadline, through the next entrance. The writer keeps a history like every
//! other client, so what it measured is checked for lost writes as well.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use mainstay_rt::clock;
use mainstay_units::Instant;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::content::SCHEMA;
use crate::history::{Action, Line, Outcome, Recorder};
use crate::judge::WARNED;
use crate::session::{Login, Session};

const RECONNECT_PAUSE: Duration = Duration::from_millis(5);
/// The driver of a benchmark must not take the processors from what it measures.
const PAUSE: Duration = Duration::from_millis(2);

/// What happened, told while it happens.
#[derive(Debug, Default)]
pub struct Log {
    acknowledged: Vec<Instant>,
    marks: Vec<(String, Instant)>,
    given_up: Vec<Instant>,
}

impl Log {
    /// From now on gaps belong to `name`.
    pub fn mark(&mut self, name: &str) {
        self.marks.push((name.to_owned(), clock::now()));
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.acknowledged.len()
    }

    /// The longest gap of each mark; null where nothing was acknowledged after it.
    #[must_use]
    pub fn gaps(&self) -> Value {
        let spans = self.marks.iter().enumerate().map(|(at, (name, from))| {
            let until = self.marks.get(at + 1).map(|(_, until)| *until);
            let until = until.unwrap_or(Instant::FAR_FUTURE);
            let within = |time: &Instant| *time >= *from && *time < until;
            let gap = self.acknowledged.windows(2);
            let gap = gap.filter(|pair| within(&pair[1]));
            let gap = gap.map(|pair| pair[1].since(pair[0]).as_micros() as u64);
            json!({
                "name": name,
                "gap_us": gap.max(),
                "given_up": self.given_up.iter().filter(|time| within(time)).count(),
            })
        });
        spans.collect()
    }
}

/// Writes until the task is dropped.
///
/// # Errors
/// When the history cannot be written.
pub async fn write(
    login: Login,
    deadline: Duration,
    mut recorder: Recorder,
    log: Rc<RefCell<Log>>,
) -> Result<()> {
    let begun = clock::now();
    let at_us = || clock::now().since(begun).as_micros() as u64;
    let mut session: Option<Session> = None;
    let mut entrance = 0;
    let mut id = 0;
    loop {
        let Some(open) = session.take().filter(|open| !open.is_closed()) else {
            session = timeout(deadline, login.open(entrance))
                .await
                .ok()
                .and_then(Result::ok);
            if session.is_none() {
                entrance += 1;
                sleep(RECONNECT_PAUSE).await;
            }
            continue;
        };
        id += 1;
        recorder.write(&Line::Begin {
            id,
            at_us: at_us(),
            client: 0,
            action: Action::Add,
        })?;
        let statement = format!("INSERT INTO {SCHEMA}.elements VALUES ({id})");
        let answer = timeout(deadline, open.client.simple_query(&statement)).await;
        let outcome = match answer {
            Ok(Ok(_)) if open.warnings() == 0 => Outcome::Acknowledged,
            Ok(Ok(_)) => unknown(WARNED),
            Ok(Err(_)) => unknown("an error"),
            Err(_) => unknown("no answer in time"),
        };
        let now = clock::now();
        if outcome == Outcome::Acknowledged {
            log.borrow_mut().acknowledged.push(now);
            session = Some(open);
        } else {
            log.borrow_mut().given_up.push(now);
        }
        recorder.write(&Line::End {
            id,
            at_us: at_us(),
            outcome,
            cancelled: false,
        })?;
        sleep(PAUSE).await;
    }
}

fn unknown(why: &str) -> Outcome {
    Outcome::Unknown {
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_belongs_to_the_mark_before_its_end() {
        let at = Instant::from_millis;
        let log = Log {
            acknowledged: [10, 20, 500, 510, 900].map(at).to_vec(),
            marks: vec![
                ("kill".to_owned(), at(25)),
                ("cut".to_owned(), at(600)),
                ("none".to_owned(), at(950)),
            ],
            given_up: vec![at(100), at(700), at(701)],
        };
        let expected = json!([
            {"name": "kill", "gap_us": 480_000, "given_up": 1},
            {"name": "cut", "gap_us": 390_000, "given_up": 2},
            {"name": "none", "gap_us": null, "given_up": 0},
        ]);
        assert_eq!(log.gaps(), expected);
    }
}
