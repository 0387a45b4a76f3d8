//! From the tables to a state in memory: snapshot, then the tail of the log, played again.
//!
//! Every command of the tail is checked three ways: its sequence follows, its hash covers it and what came before,
//! and the engine answers it exactly as it was answered then. A snapshot that does not hash to what stands beside it is
//! passed over for an older one, down to genesis. What does not check is never played on: the venue stays closed.

use exchange_engine::engine::Engine;
use exchange_engine::snapshot;
use exchange_engine::units::Sequence;
use tokio_postgres::{Client, Row};

use crate::answer;
use crate::answers::{Answers, Entry};
use crate::chain::{self, Hash};
use crate::request::{self, Kind};

/// Rows read from the log at a time.
const PAGE: i64 = 5_000;

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("read the log")]
    Database(#[from] tokio_postgres::Error),
    #[error("the log has a gap: sequence {found} follows {last}")]
    Gap { last: u64, found: i64 },
    #[error("the hash of sequence {0} does not cover it")]
    Hash(u64),
    #[error("sequence {sequence} cannot be played: {problem}")]
    Command { sequence: u64, problem: String },
    #[error("sequence {0} was answered otherwise than this engine answers it")]
    Outcome(u64),
}

impl RestoreError {
    /// False for what waiting may cure.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Database(_))
    }
}

#[derive(Debug)]
pub struct Restored {
    pub engine: Engine,
    pub hash: Hash,
    pub answers: Answers,
    /// Where the snapshot stood; zero for genesis.
    pub snapshot_sequence: u64,
}

pub async fn restore(client: &Client, cell: &str) -> Result<Restored, RestoreError> {
    let (engine, hash) = last_snapshot(client).await?;
    let snapshot_sequence = engine.sequence().0;
    let mut restored = Restored {
        engine,
        hash,
        answers: Answers::default(),
        snapshot_sequence,
    };
    let page = client
        .prepare(
            "select sequence, epoch, recorded_ms, kind, request, outcome, hash from exchange.commands \
             where sequence > $1 order by sequence limit $2",
        )
        .await?;
    loop {
        let last = i64::try_from(restored.engine.sequence().0).unwrap_or(i64::MAX);
        let rows = client.query(&page, &[&last, &PAGE]).await?;
        for row in &rows {
            restored.play(cell, row)?;
        }
        if (rows.len() as i64) < PAGE {
            return Ok(restored);
        }
    }
}

/// The newest snapshot that checks, with the chain's hash at its sequence.
async fn last_snapshot(client: &Client) -> Result<(Engine, Hash), RestoreError> {
    let candidates = client
        .query(
            "select sequence from exchange.snapshots join exchange.commands using (sequence) order by sequence desc",
            &[],
        )
        .await?;
    // One at a time, because states are large and the newest nearly always checks.
    for candidate in &candidates {
        let row = client
            .query_one(
                "select s.sequence, s.state, s.state_hash, c.hash from exchange.snapshots s \
                 join exchange.commands c using (sequence) where s.sequence = $1",
                &[&candidate.get::<_, i64>(0)],
            )
            .await?;
        let sequence: i64 = row.get(0);
        let (state, state_hash, chain_hash): (&[u8], &[u8], &[u8]) =
            (row.get(1), row.get(2), row.get(3));
        if snapshot::hash(state) != state_hash {
            tracing::error!(
                sequence,
                "a snapshot does not match its hash and is passed over"
            );
            continue;
        }
        match (Engine::restore(state), Hash::try_from(chain_hash)) {
            (Ok(engine), Ok(hash)) if i64::try_from(engine.sequence().0) == Ok(sequence) => {
                return Ok((engine, hash));
            }
            (Err(error), _) => {
                tracing::error!(sequence, %error, "a snapshot cannot be read and is passed over")
            }
            _ => tracing::error!(
                sequence,
                "a snapshot is of another sequence and is passed over"
            ),
        }
    }
    Ok((Engine::default(), chain::GENESIS))
}

impl Restored {
    fn play(&mut self, cell: &str, row: &Row) -> Result<(), RestoreError> {
        let found: i64 = row.get(0);
        let last = self.engine.sequence();
        let sequence = last.next().0;
        if u64::try_from(found) != Ok(sequence) {
            return Err(RestoreError::Gap {
                last: last.0,
                found,
            });
        }
        let (epoch, recorded_ms): (i64, i64) = (row.get(1), row.get(2));
        let (kind, request, outcome, hash): (&str, &str, &str, &[u8]) =
            (row.get(3), row.get(4), row.get(5), row.get(6));
        let problem = |problem: String| RestoreError::Command { sequence, problem };
        let number =
            |number: i64| u64::try_from(number).map_err(|error| problem(error.to_string()));
        let (epoch, recorded_ms) = (number(epoch)?, number(recorded_ms)?);
        let expected = chain::next(&self.hash, sequence, epoch, recorded_ms, request, outcome);
        if hash != expected {
            return Err(RestoreError::Hash(sequence));
        }
        let kind =
            Kind::from_name(kind).ok_or_else(|| problem(format!("unknown kind {kind:?}")))?;
        let command = request::parse(kind, request).map_err(|error| problem(error.to_string()))?;
        let applied = self
            .engine
            .apply(recorded_ms, &command)
            .map_err(|error| problem(error.to_string()))?;
        assert_eq!(
            applied.sequence,
            Sequence(sequence),
            "the engine counts as the log does"
        );
        if answer::stored(cell, epoch, &command, &applied) != outcome {
            return Err(RestoreError::Outcome(sequence));
        }
        self.hash = expected;
        self.answers.add(Entry {
            account: command.account,
            reference: command.reference,
            canonical: request.into(),
            stored: outcome.into(),
            hash: expected,
        });
        Ok(())
    }
}
