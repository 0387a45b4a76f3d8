//! Planted faults: one named wrong put into the books of a scratch copy, to see that the auditor finds it.
//!
//! Each fault is as clean as an insider with full access could make it: where a hash chain, a balance or a sum would
//! betray the deed at once, it is mended along with it, so that what is found is what the name says. Only databases whose
//! name contains "scratch" are touched, and only when asked with `--scratch`.

use clap::ValueEnum;
use serde_json::Value;
use tokio_postgres::{Config, Transaction};

use crate::AuditError;
use crate::chain::link;
use crate::database::{connect, failed};
use crate::finding::Class;
use crate::rows::CommandRow;

/// The part of a database's name that says it may be spoiled.
pub const SCRATCH: &str = "scratch";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The last command disappears with everything it did.
    LostRow,
    /// The last command is executed once more under the next sequence.
    DuplicatedRow,
    /// The quantity of the first order is changed, and the chain made whole again.
    AlteredRow,
    /// A deposit that nobody asked for.
    InventedRow,
    /// A trade, with balanced postings, with an order that does not exist.
    InventedFill,
    /// One posting, and its balance, is larger by one unit.
    UnbalancedPosting,
    /// One bit of a stored hash.
    BrokenChain,
    /// The last command moves up by one sequence.
    SequenceGap,
    /// An epoch begins before a command of the epoch before it.
    EpochOverlap,
    /// An account pays more than it has to the outside world.
    Overdraft,
    /// One balance is larger, another smaller by one unit.
    WrongBalance,
    /// An order's filled quantity in the orders table.
    WrongOrder,
    /// A trade's price.
    WrongTrade,
}

impl Kind {
    /// The class in which the auditor must find it.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::LostRow => Class::Lost,
            Self::DuplicatedRow => Class::Duplicated,
            Self::AlteredRow => Class::Altered,
            Self::InventedRow | Self::InventedFill => Class::Invented,
            Self::UnbalancedPosting => Class::Unbalanced,
            Self::BrokenChain => Class::Chain,
            Self::SequenceGap => Class::Sequence,
            Self::EpochOverlap => Class::Epoch,
            Self::Overdraft => Class::Overdrawn,
            Self::WrongBalance => Class::Balance,
            Self::WrongOrder => Class::Order,
            Self::WrongTrade => Class::Trade,
        }
    }
}

/// Plants one fault; everything or nothing.
pub async fn plant(kind: Kind, scratch: bool, database: &Config) -> Result<(), AuditError> {
    let name = database.get_dbname().unwrap_or_default();
    if !scratch || !name.contains(SCRATCH) {
        let text = format!(
            "planting spoils a database for good: copy it to one whose name contains '{SCRATCH}' and say --scratch; \
             this one is '{name}'"
        );
        return Err(AuditError::Refused(text));
    }
    let mut client = connect(database).await?;
    let transaction = client
        .transaction()
        .await
        .map_err(failed("begin a transaction"))?;
    let plot = Plot { transaction };
    match kind {
        Kind::LostRow => plot.lose().await?,
        Kind::DuplicatedRow => plot.duplicate().await?,
        Kind::AlteredRow => plot.alter().await?,
        Kind::InventedRow => plot.invent_row().await?,
        Kind::InventedFill => plot.invent_fill().await?,
        Kind::SequenceGap => plot.open_gap().await?,
        Kind::Overdraft => plot.overdraw().await?,
        Kind::UnbalancedPosting
        | Kind::BrokenChain
        | Kind::EpochOverlap
        | Kind::WrongBalance
        | Kind::WrongOrder
        | Kind::WrongTrade => plot.touch(kind).await?,
    }
    plot.transaction
        .commit()
        .await
        .map_err(failed("commit the planted fault"))
}

struct Plot<'a> {
    transaction: Transaction<'a>,
}

/// Balances are made the sum of their postings again.
const REFOLD: &str = "
    delete from exchange.balances;
    insert into exchange.balances (account, bucket, asset, amount)
        select account, bucket, asset, sum(amount) from exchange.postings group by account, bucket, asset";

impl Plot<'_> {
    async fn run(&self, sql: &str) -> Result<(), AuditError> {
        self.transaction
            .batch_execute(sql)
            .await
            .map_err(failed("plant the fault"))
    }

    async fn refold(&self) -> Result<(), AuditError> {
        self.run(REFOLD).await
    }

    /// All commands from a sequence on; what planting needs is small.
    async fn commands(&self, from: i64) -> Result<Vec<CommandRow>, AuditError> {
        let query = "select sequence, epoch, recorded_ms, account, reference, kind, request, outcome, hash \
                     from exchange.commands where sequence >= $1 order by sequence";
        let rows = self
            .transaction
            .query(query, &[&from])
            .await
            .map_err(failed("read commands"))?;
        Ok(rows
            .iter()
            .map(|row| CommandRow {
                sequence: row.get(0),
                epoch: row.get(1),
                recorded_ms: row.get(2),
                account: row.get(3),
                reference: row.get(4),
                kind: row.get(5),
                request: row.get(6),
                outcome: row.get(7),
                hash: row.get(8),
            })
            .collect())
    }

    async fn number(&self, query: &str) -> Result<i64, AuditError> {
        let row = self
            .transaction
            .query_opt(query, &[])
            .await
            .map_err(failed("look for a place"))?;
        row.and_then(|row| row.get::<_, Option<i64>>(0))
            .ok_or_else(|| {
                AuditError::Refused(
                    "the books hold nothing in which this fault could be planted".to_owned(),
                )
            })
    }

    async fn last(&self) -> Result<CommandRow, AuditError> {
        let last = self
            .number("select max(sequence) from exchange.commands")
            .await?;
        let row = self.commands(last).await?.pop();
        row.ok_or_else(|| AuditError::Refused("the books hold no command".to_owned()))
    }

    async fn hash_before(&self, sequence: i64) -> Result<Vec<u8>, AuditError> {
        let query =
            "select hash from exchange.commands where sequence < $1 order by sequence desc limit 1";
        let row = self
            .transaction
            .query_opt(query, &[&sequence])
            .await
            .map_err(failed("read a hash"))?;
        Ok(row.map_or(vec![0; 32], |row| row.get(0)))
    }

    async fn insert(&self, row: &CommandRow) -> Result<(), AuditError> {
        let query = "insert into exchange.commands (sequence, epoch, recorded_ms, account, reference, kind, request, outcome, hash) \
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.transaction
            .execute(
                query,
                &[
                    &row.sequence,
                    &row.epoch,
                    &row.recorded_ms,
                    &row.account,
                    &row.reference,
                    &row.kind,
                    &row.request,
                    &row.outcome,
                    &row.hash,
                ],
            )
            .await
            .map_err(failed("insert a command"))
            .map(drop)
    }

    /// Stores the row again with the rest of the chain made whole.
    async fn rechain(&self, changed: &CommandRow) -> Result<(), AuditError> {
        let mut previous = self.hash_before(changed.sequence).await?;
        let update = "update exchange.commands set request = $2, outcome = $3, hash = $4 where sequence = $1";
        for mut row in self.commands(changed.sequence).await? {
            if row.sequence == changed.sequence {
                row.request.clone_from(&changed.request);
                row.outcome.clone_from(&changed.outcome);
            }
            let hash = link(&previous, &row);
            self.transaction
                .execute(update, &[&row.sequence, &row.request, &row.outcome, &hash])
                .await
                .map_err(failed("update a command"))?;
            previous = hash;
        }
        Ok(())
    }

    async fn lose(&self) -> Result<(), AuditError> {
        let sequence = self.last().await?.sequence;
        self.run(&format!(
            "delete from exchange.commands where sequence = {sequence};
             delete from exchange.postings where sequence = {sequence};
             delete from exchange.trades where sequence = {sequence};
             delete from exchange.orders where sequence = {sequence}"
        ))
        .await?;
        self.refold().await
    }

    async fn duplicate(&self) -> Result<(), AuditError> {
        let query = "select quote_ident(conname) from pg_constraint \
                     where conrelid = 'exchange.commands'::regclass and contype = 'u'";
        for constraint in self
            .transaction
            .query(query, &[])
            .await
            .map_err(failed("find constraints"))?
        {
            let name: String = constraint.get(0);
            self.run(&format!(
                "alter table exchange.commands drop constraint {name}"
            ))
            .await?;
        }
        let mut row = self.last().await?;
        let (from, to) = (row.sequence, row.sequence + 1);
        row.sequence = to;
        row.outcome = edited(&row.outcome, "sequence", to.into())?;
        row.hash = link(&row.hash, &row);
        self.insert(&row).await?;
        self.run(&format!(
            "insert into exchange.postings (sequence, line, account, bucket, asset, amount)
                 select {to}, line, account, bucket, asset, amount from exchange.postings where sequence = {from}"
        ))
        .await?;
        self.refold().await
    }

    async fn alter(&self) -> Result<(), AuditError> {
        let sequence = self
            .number("select min(sequence) from exchange.commands where kind = 'order'")
            .await?;
        let rows = self.commands(sequence).await?;
        let Some(mut row) = rows.into_iter().next() else {
            return Ok(());
        };
        row.request = edited(&row.request, "quantity", "0.00000001".into())?;
        self.rechain(&row).await
    }

    async fn invent_row(&self) -> Result<(), AuditError> {
        let last = self.last().await?;
        let (sequence, reference) = (last.sequence + 1, i64::MAX);
        let row = CommandRow {
            sequence,
            reference,
            kind: "deposit".to_owned(),
            request: format!(
                "{{\"account\":{},\"reference\":{reference},\"asset\":\"USD\",\"amount\":\"1.00\",\"deadline_ms\":{}}}",
                last.account, last.recorded_ms
            ),
            outcome: format!(
                "{{\"sequence\":{sequence},\"epoch\":{},\"account\":{},\"reference\":{reference},\"outcome\":\"accepted\"}}",
                last.epoch, last.account
            ),
            ..last.clone()
        };
        let hash = link(&last.hash, &row);
        self.insert(&CommandRow { hash, ..row }).await?;
        self.run(&format!(
            "insert into exchange.postings (sequence, line, account, bucket, asset, amount) values
                 ({sequence}, 1, 0, 'available', 'USD', -10000000000),
                 ({sequence}, 2, {}, 'available', 'USD', 10000000000)",
            last.account
        ))
        .await?;
        self.refold().await
    }

    async fn invent_fill(&self) -> Result<(), AuditError> {
        let sequence = self
            .number("select max(sequence) from exchange.commands where kind = 'order'")
            .await?;
        let rows = self.commands(sequence).await?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let (account, reference, nobody) = (row.account, row.reference, i64::MAX);
        self.run(&format!(
            "insert into exchange.trades
                 (sequence, line, instrument, price, quantity, buy_account, buy_reference, sell_account, sell_reference)
                 values ({sequence}, 10000, 'BTC-USD', 100, 1, {account}, {reference}, {account}, {nobody});
             insert into exchange.postings (sequence, line, account, bucket, asset, amount) values
                 ({sequence}, 10001, {account}, 'available', 'USD', -100),
                 ({sequence}, 10002, {account}, 'available', 'USD', 100),
                 ({sequence}, 10003, {account}, 'available', 'BTC', -1),
                 ({sequence}, 10004, {account}, 'available', 'BTC', 1)"
        ))
        .await
    }

    async fn open_gap(&self) -> Result<(), AuditError> {
        let mut row = self.last().await?;
        let from = row.sequence;
        row.sequence += 1;
        row.outcome = edited(&row.outcome, "sequence", row.sequence.into())?;
        let hash = link(&self.hash_before(from).await?, &row);
        for table in ["commands", "postings", "trades", "orders"] {
            self.run(&format!(
                "update exchange.{table} set sequence = sequence + 1 where sequence = {from}"
            ))
            .await?;
        }
        let update = "update exchange.commands set outcome = $2, hash = $3 where sequence = $1";
        self.transaction
            .execute(update, &[&row.sequence, &row.outcome, &hash])
            .await
            .map_err(failed("update a command"))
            .map(drop)
    }

    async fn overdraw(&self) -> Result<(), AuditError> {
        let row = self.last().await?;
        let (sequence, account) = (row.sequence, row.account);
        self.run(&format!(
            "insert into exchange.postings (sequence, line, account, bucket, asset, amount)
                 select {sequence}, 20000, {account}, 'available', 'USD', -1 - coalesce(sum(amount), 0)
                     from exchange.postings where account = {account} and bucket = 'available' and asset = 'USD';
             insert into exchange.postings (sequence, line, account, bucket, asset, amount)
                 select {sequence}, 20001, 0, 'available', 'USD', -amount
                     from exchange.postings where sequence = {sequence} and line = 20000"
        ))
        .await?;
        self.refold().await
    }

    /// Faults that are one statement.
    /// Faults that are one or two statements.
    async fn touch(&self, kind: Kind) -> Result<(), AuditError> {
        for statement in statements(kind) {
            self.run(&statement).await?;
        }
        Ok(())
    }
}

fn statements(kind: Kind) -> Vec<String> {
    let balance = |change: &str, order: &str| {
        format!(
            "update exchange.balances set amount = amount {change} where ctid =
                 (select ctid from exchange.balances where asset = 'USD' and bucket = 'available' and account <> 0
                      order by account {order} limit 1)"
        )
    };
    let posting = "update exchange.postings set amount = amount + 1 where (sequence, line) =
        (select sequence, line from exchange.postings where account <> 0 order by sequence, line limit 1)";
    let hash = "update exchange.commands set hash = set_bit(hash, 77, 1 - get_bit(hash, 77)) where sequence =
        (select sequence from exchange.commands order by sequence
             offset (select count(*) / 2 from exchange.commands) limit 1)";
    let epoch = "insert into exchange.epochs (epoch, term, instance, first_sequence, activated_ms)
        select max(epoch) + 1, max(term), 'planted', (select max(sequence) from exchange.commands), 0
            from exchange.epochs";
    let order = "update exchange.orders set filled = filled + 1 where (account, reference) =
        (select account, reference from exchange.orders order by sequence desc limit 1)";
    let trade = "update exchange.trades set price = price + 1 where (sequence, line) =
        (select sequence, line from exchange.trades order by sequence, line limit 1)";
    match kind {
        Kind::UnbalancedPosting => vec![posting.to_owned(), REFOLD.to_owned()],
        Kind::BrokenChain => vec![hash.to_owned()],
        Kind::EpochOverlap => vec![epoch.to_owned()],
        Kind::WrongBalance => vec![balance("+ 1", "asc"), balance("- 1", "desc")],
        Kind::WrongOrder => vec![order.to_owned()],
        Kind::WrongTrade => vec![trade.to_owned()],
        other => unreachable!("{other:?} has a plot of its own"),
    }
}

/// JSON text with one field replaced; the other fields keep their meaning, perhaps not their order.
fn edited(text: &str, field: &str, value: Value) -> Result<String, AuditError> {
    let mut object: serde_json::Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| AuditError::Refused(format!("a stored text cannot be read: {error}")))?;
    object.insert(field.to_owned(), value);
    Ok(Value::Object(object).to_string())
}
