//! Numbered writes into a database through its gateways, with notes of each, and a look at what is there.
//!
//! Think of somebody who posts a numbered letter every so often, whatever the post is doing: before each letter he notes
//! that he is about to, after it what the clerk said. Later somebody else counts the letters in the box. Letters are
//! posted when they are due, not when the last one was taken; one that is not taken in time is given up and never sent
//! again, so that each number was tried exactly once.
//!
//! A commit whose wait for other copies was cancelled is answered as a success after a warning; such an answer promises
//! nothing, so a warning makes it an answer without a promise.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod login;
mod notes;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use login::{Login, ROLE};
pub use write::{Probe, write};

/// Created by the first run, in the application's own database.
const TABLE: &str = "mainstay_probe_writes";
/// A gateway may let a session wait while there is no primary.
const ROUNDS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

fn on_runtime<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start an event loop")?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// Makes the place for the writes, and clears away those of earlier runs.
///
/// # Errors
/// When no gateway leads to a primary that takes it.
pub fn prepare(login: &Login, run: &str) -> Result<()> {
    let statements = format!(
        "create table if not exists {TABLE} (run text not null, writer integer not null, number bigint not null)"
    );
    on_runtime(again(login, async |session| {
        session.client.batch_execute(&statements).await?;
        let clear = format!("delete from {TABLE} where run <> $1");
        session.client.execute(&clear, &[&run]).await?;
        Ok(())
    }))
}

/// Every number that is there, with how often.
///
/// # Errors
/// When no gateway leads to a primary that answers.
pub fn found(login: &Login, run: &str) -> Result<BTreeMap<(u32, u64), u64>> {
    let query = format!(
        "select writer, number, count(*) from {TABLE} where run = $1 group by writer, number"
    );
    on_runtime(again(login, async |session| {
        let rows = session.client.query(&query, &[&run]).await?;
        let number = |row: &tokio_postgres::Row| -> Result<((u32, u64), u64)> {
            let (writer, number, count): (i32, i64, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok((
                (u32::try_from(writer)?, u64::try_from(number)?),
                u64::try_from(count)?,
            ))
        };
        rows.iter().map(number).collect()
    }))
}

/// Through one entrance after the other, until one leads somewhere.
async fn again<T>(login: &Login, work: impl AsyncFn(&login::Session) -> Result<T>) -> Result<T> {
    let mut last = None;
    for round in 0..ROUNDS {
        for entrance in 0..login.entrances() {
            let done = async {
                let session = login.open(entrance).await?;
                work(&session).await
            };
            match done.await {
                Ok(value) => return Ok(value),
                Err(error) => last = Some(error),
            }
        }
        if round + 1 < ROUNDS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    match last {
        Some(error) => Err(error.context("no gateway leads to a primary that takes it")),
        None => bail!("there is no gateway to go through"),
    }
}
