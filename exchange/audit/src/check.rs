//! An audit: reads witness logs and books and brings both before the judge.

use std::path::PathBuf;

use tokio_postgres::Config;

use crate::AuditError;
use crate::books::Judge;
use crate::database::{Books, Cursor, connect};
use crate::report::Report;
use crate::rows::{PostingRow, TradeRow};
use crate::witness;

#[derive(Debug, Clone)]
pub struct Inputs {
    pub witnesses: Vec<PathBuf>,
    pub cell: Option<String>,
    pub answers_required: bool,
}

/// Judges everything; an error means that no verdict is possible.
pub async fn check(inputs: &Inputs, database: &Config) -> Result<Report, AuditError> {
    let read = || witness::read(&inputs.witnesses, inputs.cell.as_deref());
    let before = read()?.before();
    let mut client = connect(database).await?;
    let books = Books::open(&mut client).await?;
    let mut witnesses = read()?;
    witnesses.since(&before)?;
    let mut judge = Judge::new(&witnesses, books.epochs().await?);
    judge_log(&books, &mut judge).await?;
    let mut orders = books.orders().await?;
    while let Some(order) = books.next(&mut orders).await? {
        judge.order(&order);
    }
    let mut balances = books.balances().await?;
    while let Some(balance) = books.next(&mut balances).await? {
        judge.balance(&balance);
    }
    let classes = judge.finish(inputs.answers_required);
    Ok(Report::new(
        &witnesses,
        classes,
        judge.volumes,
        judge.findings,
    ))
}

async fn judge_log(books: &Books<'_>, judge: &mut Judge<'_>) -> Result<(), AuditError> {
    let mut commands = books.commands().await?;
    let mut postings = Side::new(books.postings().await?);
    let mut trades = Side::new(books.trades().await?);
    while let Some(row) = books.next(&mut commands).await? {
        for group in postings.below(books, row.sequence).await? {
            judge.orphan_postings(&group);
        }
        for group in trades.below(books, row.sequence).await? {
            group.iter().for_each(|trade| judge.orphan_trade(trade));
        }
        let own_postings = postings.group(books, row.sequence).await?;
        let own_trades = trades.group(books, row.sequence).await?;
        judge.command(&row, &own_postings, &own_trades);
    }
    for group in postings.below(books, i64::MAX).await? {
        judge.orphan_postings(&group);
    }
    for group in trades.below(books, i64::MAX).await? {
        group.iter().for_each(|trade| judge.orphan_trade(trade));
    }
    Ok(())
}

/// A table that goes along with the commands, with one row read ahead.
struct Side<T> {
    cursor: Cursor<T>,
    ahead: Option<T>,
}

trait Sequenced {
    fn sequence(&self) -> i64;
}

impl Sequenced for PostingRow {
    fn sequence(&self) -> i64 {
        self.sequence
    }
}

impl Sequenced for TradeRow {
    fn sequence(&self) -> i64 {
        self.sequence
    }
}

impl<T: Sequenced> Side<T> {
    fn new(cursor: Cursor<T>) -> Self {
        Self {
            cursor,
            ahead: None,
        }
    }

    async fn fill(&mut self, books: &Books<'_>) -> Result<Option<i64>, AuditError> {
        if self.ahead.is_none() {
            self.ahead = books.next(&mut self.cursor).await?;
        }
        Ok(self.ahead.as_ref().map(Sequenced::sequence))
    }

    /// All rows of one sequence.
    async fn group(&mut self, books: &Books<'_>, sequence: i64) -> Result<Vec<T>, AuditError> {
        let mut group = Vec::new();
        while self.fill(books).await? == Some(sequence) {
            group.extend(self.ahead.take());
        }
        Ok(group)
    }

    /// All rows before a sequence, by their own.
    async fn below(&mut self, books: &Books<'_>, sequence: i64) -> Result<Vec<Vec<T>>, AuditError> {
        let mut groups = Vec::new();
        while let Some(own) = self.fill(books).await?.filter(|own| *own < sequence) {
            groups.push(self.group(books, own).await?);
        }
        Ok(groups)
    }
}
