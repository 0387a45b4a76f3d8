//! What is in the database: the checker's own schema, made anew for each run, and read whole in the end.

use anyhow::{Context, Result, bail};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::history::Id;

/// Everything of the checker stands in this schema; nothing outside of it is touched.
pub const SCHEMA: &str = "dbcheck";
/// What is in each account before the first transfer.
pub const INITIAL_BALANCE: i64 = 100;

/// A row of the table of transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub id: Id,
    pub from: u32,
    pub to: u32,
    pub amount: i64,
}

/// Everything that is there, of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// As often as they are there.
    pub elements: Vec<Id>,
    pub balances: Vec<(u32, i64)>,
    pub transfers: Vec<Transfer>,
}

/// Makes the schema anew. No key forbids a second copy of a row: it is the judge who looks for one.
///
/// # Errors
/// Whatever the server says.
pub async fn prepare(client: &Client, accounts: u32) -> Result<()> {
    let last = accounts.saturating_sub(1);
    let statements = format!(
        "BEGIN;
         DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
         CREATE SCHEMA {SCHEMA};
         CREATE TABLE {SCHEMA}.elements (id bigint NOT NULL);
         CREATE INDEX ON {SCHEMA}.elements (id);
         CREATE TABLE {SCHEMA}.accounts (account integer PRIMARY KEY, balance bigint NOT NULL);
         CREATE TABLE {SCHEMA}.transfers (id bigint NOT NULL, payer integer NOT NULL,
             payee integer NOT NULL, amount bigint NOT NULL);
         INSERT INTO {SCHEMA}.accounts
             SELECT account, {INITIAL_BALANCE} FROM generate_series(0, {last}) AS account;
         COMMIT"
    );
    client
        .batch_execute(&statements)
        .await
        .context("make the schema")
}

/// # Errors
/// Whatever the server says.
pub async fn remove(client: &Client) -> Result<()> {
    client
        .batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        .await
        .context("remove the schema")
}

/// Reads everything. The caller has begun a repeatable-read transaction.
///
/// # Errors
/// When the server does not answer, or answers something else than was asked.
pub async fn read(client: &Client) -> Result<Content> {
    let elements = rows(client, &format!("SELECT id FROM {SCHEMA}.elements")).await?;
    let accounts = format!("SELECT account, balance FROM {SCHEMA}.accounts ORDER BY account");
    let accounts = rows(client, &accounts).await?;
    let transfers = format!("SELECT id, payer, payee, amount FROM {SCHEMA}.transfers ORDER BY id");
    let transfers = rows(client, &transfers).await?;
    let elements: Result<_> = elements.iter().map(|row| field(row, 0)).collect();
    let transfers: Result<_> = transfers.iter().map(transfer).collect();
    Ok(Content {
        elements: elements?,
        balances: balances(&accounts)?,
        transfers: transfers?,
    })
}

fn transfer(row: &SimpleQueryRow) -> Result<Transfer> {
    Ok(Transfer {
        id: field(row, 0)?,
        from: field(row, 1)?,
        to: field(row, 2)?,
        amount: field(row, 3)?,
    })
}

/// Rows of account and balance.
///
/// # Errors
/// When they are something else.
pub fn balances(rows: &[SimpleQueryRow]) -> Result<Vec<(u32, i64)>> {
    rows.iter()
        .map(|row| Ok((field(row, 0)?, field(row, 1)?)))
        .collect()
}

/// # Errors
/// When the server does not answer.
pub async fn rows(client: &Client, statement: &str) -> Result<Vec<SimpleQueryRow>> {
    let messages = client
        .simple_query(statement)
        .await
        .with_context(|| statement.to_owned())?;
    Ok(rows_of(messages))
}

#[must_use]
pub fn rows_of(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect()
}

/// A number in a column.
///
/// # Errors
/// When there is none.
pub fn field<T: std::str::FromStr>(row: &SimpleQueryRow, column: usize) -> Result<T> {
    let text = row.try_get(column).context("read a column")?;
    match text.and_then(|text| text.parse().ok()) {
        Some(value) => Ok(value),
        None => bail!("column {column} holds no number but {text:?}"),
    }
}
