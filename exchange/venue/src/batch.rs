//! One transaction: the rows that a batch of commands leaves behind, and its commit.
//!
//! Rows are collected by column and sent as arrays, one statement per table, all statements and the commit in one flight.
//! Orders and balances are written once per batch with their last state, so a hot account costs less under load.
//! The commit counts as clean only if every statement reported what was expected *and* the server
//! sent no notice since the batch left; anything else is [`CommitError`], which means *unknown*.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use exchange_engine::command::Command;
use exchange_engine::engine::Engine;
use exchange_engine::outcome::{Applied, Bucket, OrderState, Outcome};
use exchange_engine::units::{Account, Asset, Reference};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::chain::Hash;
use crate::inactive::Inactive;
use crate::numeric::Numeric;
use crate::request::Kind;
use crate::session::Session;

/// Why it is not known whether the batch stands in the log.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("a statement or the commit of the batch failed")]
    Database(#[from] tokio_postgres::Error),
    #[error("the server sent a notice before the commit's answer")]
    Notice,
    #[error("the server wrote {written} rows of {expected}")]
    Rows { written: u64, expected: u64 },
    #[error("the commit was not waited for ({0})")]
    Abandoned(Inactive),
}

impl CommitError {
    /// For the metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Database(_) => "commit_failed",
            Self::Notice => "commit_warned",
            Self::Rows { .. } => "rows_missing",
            Self::Abandoned(_) => "commit_abandoned",
        }
    }
}

#[derive(Debug)]
pub struct Statements {
    commands: Statement,
    postings: Statement,
    trades: Statement,
    orders: Statement,
    balances: Statement,
}

impl Statements {
    pub async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let (commands, postings, trades, orders, balances) = tokio::try_join!(
            client.prepare(
                "insert into exchange.commands (epoch, sequence, recorded_ms, account, reference, kind, request, outcome, hash) \
                 select $1::bigint, * from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bytea[])"
            ),
            client.prepare(
                "insert into exchange.postings (sequence, line, account, bucket, asset, amount) \
                 select * from unnest($1::bigint[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::numeric[])"
            ),
            client.prepare(
                "insert into exchange.trades (sequence, line, instrument, price, quantity, buy_account, buy_reference, sell_account, sell_reference) \
                 select * from unnest($1::bigint[], $2::int[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])"
            ),
            client.prepare(
                "insert into exchange.orders (account, reference, sequence, status, side, type, price, quantity, filled) \
                 select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[]) \
                 on conflict (account, reference) do update set status = excluded.status, filled = excluded.filled"
            ),
            client.prepare(
                "insert into exchange.balances (account, bucket, asset, amount) \
                 select * from unnest($1::bigint[], $2::text[], $3::text[], $4::numeric[]) \
                 on conflict (account, bucket, asset) do update set amount = excluded.amount"
            ),
        )?;
        Ok(Self {
            commands,
            postings,
            trades,
            orders,
            balances,
        })
    }
}

#[derive(Debug, Default)]
struct Commands {
    sequence: Vec<i64>,
    recorded_ms: Vec<i64>,
    account: Vec<i64>,
    reference: Vec<i64>,
    kind: Vec<&'static str>,
    request: Vec<String>,
    outcome: Vec<String>,
    hash: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Postings {
    sequence: Vec<i64>,
    line: Vec<i32>,
    account: Vec<i64>,
    bucket: Vec<&'static str>,
    asset: Vec<&'static str>,
    amount: Vec<Numeric>,
}

#[derive(Debug, Default)]
struct Trades {
    sequence: Vec<i64>,
    line: Vec<i32>,
    instrument: Vec<&'static str>,
    price: Vec<i64>,
    quantity: Vec<i64>,
    buy_account: Vec<i64>,
    buy_reference: Vec<i64>,
    sell_account: Vec<i64>,
    sell_reference: Vec<i64>,
}

/// A bucket of an account that the batch touched.
type Touched = (Account, Bucket, Asset);

#[derive(Debug, Default)]
pub struct Batch {
    commands: Commands,
    postings: Postings,
    trades: Trades,
    orders: BTreeMap<(Account, Reference), OrderState>,
    balances: BTreeSet<Touched>,
    outcomes: Vec<(Kind, Outcome)>,
}

/// Identifiers are bounded by 2^63 − 1 where they are parsed.
fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Batch {
    pub fn len(&self) -> usize {
        self.commands.sequence.len()
    }

    pub fn is_empty(&self) -> bool {
        self.commands.sequence.is_empty()
    }

    /// The accounts whose balances the batch changed.
    pub fn accounts(&self) -> impl Iterator<Item = Account> + '_ {
        self.balances.iter().map(|(account, _, _)| *account)
    }

    pub fn outcomes(&self) -> impl Iterator<Item = (Kind, Outcome)> + '_ {
        self.outcomes.iter().copied()
    }

    pub fn trades(&self) -> usize {
        self.trades.sequence.len()
    }

    pub fn add(
        &mut self,
        recorded_ms: u64,
        command: &Command,
        canonical: &str,
        applied: &Applied,
        stored: &str,
        hash: &Hash,
    ) {
        let sequence = column(applied.sequence.0);
        let commands = &mut self.commands;
        commands.sequence.push(sequence);
        commands.recorded_ms.push(column(recorded_ms));
        commands.account.push(column(command.account.number()));
        commands.reference.push(column(command.reference.number()));
        commands.kind.push(Kind::of(command).name());
        commands.request.push(canonical.to_owned());
        commands.outcome.push(stored.to_owned());
        commands.hash.push(hash.to_vec());
        self.outcomes.push((Kind::of(command), applied.outcome));
        for (line, posting) in (1..).zip(&applied.postings) {
            self.postings.sequence.push(sequence);
            self.postings.line.push(line);
            self.postings.account.push(column(posting.account.number()));
            self.postings.bucket.push(posting.bucket.name());
            self.postings.asset.push(posting.asset.name());
            self.postings.amount.push(Numeric(posting.amount.units()));
            self.balances
                .insert((posting.account, posting.bucket, posting.asset));
        }
        for (line, trade) in (1..).zip(&applied.trades) {
            self.trades.sequence.push(sequence);
            self.trades.line.push(line);
            self.trades.instrument.push(trade.instrument.name());
            self.trades.price.push(trade.price.cents());
            self.trades.quantity.push(trade.quantity.units());
            self.trades.buy_account.push(column(trade.buyer.0.number()));
            self.trades
                .buy_reference
                .push(column(trade.buyer.1.number()));
            self.trades
                .sell_account
                .push(column(trade.seller.0.number()));
            self.trades
                .sell_reference
                .push(column(trade.seller.1.number()));
        }
        for order in &applied.orders {
            self.orders.insert((order.account, order.reference), *order);
        }
    }

    /// Sends everything and waits for the one answer that counts. `engine` is in the state after the batch.
    pub async fn commit(
        &self,
        session: &Session,
        statements: &Statements,
        epoch: u64,
        engine: &Engine,
    ) -> Result<(), CommitError> {
        let notices = session.notices();
        let client = &session.client;
        // Polled in this order for the first time, the statements enter the connection in this order.
        let (begin, commands, postings, trades, orders, balances, commit) = tokio::join!(
            biased;
            client.batch_execute("begin"),
            self.insert_commands(client, &statements.commands, epoch),
            self.insert_postings(client, &statements.postings),
            self.insert_trades(client, &statements.trades),
            self.upsert_orders(client, &statements.orders),
            self.upsert_balances(client, &statements.balances, engine),
            client.batch_execute("commit"),
        );
        begin?;
        for (written, expected) in [
            (commands?, self.commands.sequence.len()),
            (postings?, self.postings.sequence.len()),
            (trades?, self.trades.sequence.len()),
            (orders?, self.orders.len()),
            (balances?, self.balances.len()),
        ] {
            let expected = expected as u64;
            if written != expected {
                return Err(CommitError::Rows { written, expected });
            }
        }
        commit?;
        if session.notices() != notices {
            return Err(CommitError::Notice);
        }
        Ok(())
    }

    async fn insert_commands(
        &self,
        client: &Client,
        statement: &Statement,
        epoch: u64,
    ) -> Result<u64, tokio_postgres::Error> {
        let Commands {
            sequence,
            recorded_ms,
            account,
            reference,
            kind,
            request,
            outcome,
            hash,
        } = &self.commands;
        let epoch = column(epoch);
        execute(
            client,
            statement,
            &[
                &epoch,
                sequence,
                recorded_ms,
                account,
                reference,
                kind,
                request,
                outcome,
                hash,
            ],
            sequence.len(),
        )
        .await
    }

    async fn insert_postings(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        let Postings {
            sequence,
            line,
            account,
            bucket,
            asset,
            amount,
        } = &self.postings;
        execute(
            client,
            statement,
            &[sequence, line, account, bucket, asset, amount],
            sequence.len(),
        )
        .await
    }

    async fn insert_trades(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        let Trades {
            sequence,
            line,
            instrument,
            price,
            quantity,
            ..
        } = &self.trades;
        let Trades {
            buy_account,
            buy_reference,
            sell_account,
            sell_reference,
            ..
        } = &self.trades;
        let columns: [&(dyn ToSql + Sync); 9] = [
            sequence,
            line,
            instrument,
            price,
            quantity,
            buy_account,
            buy_reference,
            sell_account,
            sell_reference,
        ];
        execute(client, statement, &columns, sequence.len()).await
    }

    fn upsert_orders(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> impl Future<Output = Result<u64, tokio_postgres::Error>> {
        let states = || self.orders.values();
        let account: Vec<i64> = states()
            .map(|order| column(order.account.number()))
            .collect();
        let reference: Vec<i64> = states()
            .map(|order| column(order.reference.number()))
            .collect();
        let sequence: Vec<i64> = states().map(|order| column(order.sequence.0)).collect();
        let status: Vec<&str> = states().map(|order| order.status.name()).collect();
        let side: Vec<&str> = states().map(|order| order.side.name()).collect();
        let kind: Vec<&str> = states().map(|order| order.terms.name()).collect();
        let price: Vec<Option<i64>> = states()
            .map(|order| order.terms.price().map(|price| price.cents()))
            .collect();
        let quantity: Vec<i64> = states().map(|order| order.quantity.units()).collect();
        let filled: Vec<i64> = states().map(|order| order.filled.units()).collect();
        async move {
            let columns: [&(dyn ToSql + Sync); 9] = [
                &account, &reference, &sequence, &status, &side, &kind, &price, &quantity, &filled,
            ];
            execute(client, statement, &columns, account.len()).await
        }
    }

    fn upsert_balances(
        &self,
        client: &Client,
        statement: &Statement,
        engine: &Engine,
    ) -> impl Future<Output = Result<u64, tokio_postgres::Error>> {
        let account: Vec<i64> = self
            .balances
            .iter()
            .map(|(account, _, _)| column(account.number()))
            .collect();
        let bucket: Vec<&str> = self
            .balances
            .iter()
            .map(|(_, bucket, _)| bucket.name())
            .collect();
        let asset: Vec<&str> = self
            .balances
            .iter()
            .map(|(_, _, asset)| asset.name())
            .collect();
        let now = |touched: &Touched| {
            engine
                .ledger()
                .balances(touched.0)
                .get(touched.1, touched.2)
                .units()
        };
        let amount: Vec<Numeric> = self
            .balances
            .iter()
            .map(|touched| Numeric(now(touched)))
            .collect();
        async move {
            let columns: [&(dyn ToSql + Sync); 4] = [&account, &bucket, &asset, &amount];
            execute(client, statement, &columns, account.len()).await
        }
    }
}

/// Nothing is sent for a table that the batch does not touch.
async fn execute(
    client: &Client,
    statement: &Statement,
    columns: &[&(dyn ToSql + Sync)],
    rows: usize,
) -> Result<u64, tokio_postgres::Error> {
    if rows == 0 {
        return Ok(0);
    }
    client.execute(statement, columns).await
}
