//! Who checks the checker: wrongs that are planted into what a real run left behind, and must be found.
//!
//! A wrong in the content is made with SQL inside a transaction that reads it back and is then rolled back, so
//! it goes through the whole way that a real one would go, and nothing stays. A wrong in a read is made in a
//! copy of the history, since reads leave nothing behind in the database.

use anyhow::{Context, Result, bail};
use tokio_postgres::Client;

use crate::content::{self, Content, SCHEMA};
use crate::history::{Action, History, Id, Operation, Outcome};
use crate::judge::{Bank, Violation, What, judge};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// An acknowledged element is deleted.
    LostElement,
    /// An element that nobody sent.
    InventedElement,
    /// An acknowledged element once more.
    DuplicatedElement,
    /// An element whose transaction the server had refused.
    ResurrectedElement,
    /// One account has one more than it should.
    SumOffByOne,
    /// One account has one more, another one less.
    MoneyMoved,
    /// An acknowledged transfer is undone with all its traces.
    LostTransfer,
    /// A read saw one more than there ever was.
    ReadOffByOne,
    /// A client saw an element that is gone.
    SeenThenGone,
}

impl Wrong {
    pub const ALL: [Self; 9] = [
        Self::LostElement,
        Self::InventedElement,
        Self::DuplicatedElement,
        Self::ResurrectedElement,
        Self::SumOffByOne,
        Self::MoneyMoved,
        Self::LostTransfer,
        Self::ReadOffByOne,
        Self::SeenThenGone,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LostElement => "lost element",
            Self::InventedElement => "invented element",
            Self::DuplicatedElement => "duplicated element",
            Self::ResurrectedElement => "refused element that is there",
            Self::SumOffByOne => "sum off by one",
            Self::MoneyMoved => "money moved by nobody",
            Self::LostTransfer => "lost transfer",
            Self::ReadOffByOne => "read off by one",
            Self::SeenThenGone => "seen, then gone",
        }
    }
}

/// A wrong, ready to be planted, and how it must be found.
struct Plan {
    statements: String,
    history: History,
    expected: Violation,
}

/// Plants one wrong and looks whether it is found; if not, says what was found instead.
///
/// # Errors
/// When the session breaks, or the run was too short to plant this.
pub async fn plant(
    client: &Client,
    history: &History,
    bank: Bank,
    wrong: Wrong,
) -> Result<Option<String>> {
    let before = moment(client, "").await?;
    let plan = plan(wrong, history, &before, bank)?;
    let content = moment(client, &plan.statements).await?;
    let found = judge(&plan.history, &content, bank).violations;
    let is_missed = !found.contains(&plan.expected);
    Ok(is_missed.then(|| format!("{:?} was planted, found was {found:?}", plan.expected)))
}

/// The content as it is after these statements, which are then undone.
async fn moment(client: &Client, statements: &str) -> Result<Content> {
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await?;
    let content = async {
        client.batch_execute(statements).await?;
        content::read(client).await
    };
    let content = content.await;
    // Of a session that broke, the server forgets the transaction by itself.
    client.batch_execute("ROLLBACK").await?;
    content
}

fn plan(wrong: Wrong, history: &History, content: &Content, bank: Bank) -> Result<Plan> {
    let (mut history, mut statements) = (history.clone(), String::new());
    let what = What::Element;
    let expected = match wrong {
        Wrong::LostElement => {
            let id = acknowledged(&history, |action| *action == Action::Add)?;
            statements = format!("DELETE FROM {SCHEMA}.elements WHERE id = {id}");
            Violation::Lost { what, id }
        }
        Wrong::InventedElement => {
            let id = 1 + history.operations.keys().max().copied().unwrap_or(0);
            statements = format!("INSERT INTO {SCHEMA}.elements VALUES ({id})");
            Violation::Invented { what, id }
        }
        Wrong::DuplicatedElement => {
            let id = acknowledged(&history, |action| *action == Action::Add)?;
            statements = format!("INSERT INTO {SCHEMA}.elements VALUES ({id})");
            Violation::Duplicated { what, id }
        }
        Wrong::ResurrectedElement => {
            let id = refuse_one(&mut history, content)?;
            Violation::Resurrected { what, id }
        }
        Wrong::SumOffByOne => {
            statements = give(0, 1);
            let expected = bank.total();
            let found = expected + 1;
            Violation::Total { found, expected }
        }
        Wrong::MoneyMoved => {
            statements = give(0, 1) + &give(1, -1);
            balance_off_by(content, 0, 1)?
        }
        Wrong::LostTransfer => {
            let is_transfer = |action: &Action| matches!(action, Action::Transfer { .. });
            let id = acknowledged(&history, is_transfer)?;
            let row = content.transfers.iter().find(|row| row.id == id);
            let row = row.context("an acknowledged transfer is not there")?;
            statements = format!("DELETE FROM {SCHEMA}.transfers WHERE id = {id};")
                + &give(row.from, row.amount)
                + &give(row.to, -row.amount);
            let what = What::Transfer;
            Violation::Lost { what, id }
        }
        Wrong::ReadOffByOne => change_read(&mut history, bank)?,
        Wrong::SeenThenGone => {
            let id = seen(&history, content)?;
            statements = format!("DELETE FROM {SCHEMA}.elements WHERE id = {id}");
            Violation::SeenThenGone { id }
        }
    };
    Ok(Plan {
        statements,
        history,
        expected,
    })
}

fn give(account: u32, amount: i64) -> String {
    format!("UPDATE {SCHEMA}.accounts SET balance = balance + {amount} WHERE account = {account};")
}

fn balance_off_by(content: &Content, account: u32, amount: i64) -> Result<Violation> {
    let found = content.balances.iter().find(|(a, _)| *a == account);
    let (_, expected) = *found.context("the account is missing")?;
    Ok(Violation::Balance {
        account,
        found: expected + amount,
        expected,
    })
}

fn acknowledged(history: &History, is_wanted: impl Fn(&Action) -> bool) -> Result<Id> {
    let fits = |operation: &Operation| {
        let end = operation.end.as_ref();
        is_wanted(&operation.action) && end.is_some_and(|end| end.outcome == Outcome::Acknowledged)
    };
    let mut operations = history.operations.iter();
    let found = operations.find(|(_, operation)| fits(operation));
    Ok(*found.context("nothing was acknowledged in this run")?.0)
}

/// Turns the client's memory of an element that is there into a refusal.
fn refuse_one(history: &mut History, content: &Content) -> Result<Id> {
    let id = content.elements.first().context("no element is there")?;
    let end = history.operations.get_mut(id).and_then(|o| o.end.as_mut());
    end.context("an element that nobody added")?.outcome = Outcome::Refused {
        why: "planted".to_owned(),
    };
    Ok(*id)
}

fn change_read(history: &mut History, bank: Bank) -> Result<Violation> {
    for (&id, operation) in &mut history.operations {
        if let Some(Outcome::Read { balances }) = operation.end.as_mut().map(|e| &mut e.outcome)
            && let Some((_, balance)) = balances.first_mut()
        {
            *balance += 1;
            let expected = bank.total();
            let found = expected + 1;
            return Ok(Violation::ReadTotal {
                id,
                found,
                expected,
            });
        }
    }
    bail!("no client read the accounts in this run")
}

/// An element that somebody saw, whose writer had not cancelled.
fn seen(history: &History, content: &Content) -> Result<Id> {
    let was_calm = |id: &Id| {
        let end = history.operations.get(id).and_then(|o| o.end.as_ref());
        end.is_some_and(|end| !end.cancelled)
    };
    let mut seen = history.operations.values().filter_map(|operation| {
        let Outcome::Saw { elements } = &operation.end.as_ref()?.outcome else {
            return None;
        };
        let fits = |id: &&Id| was_calm(id) && content.elements.contains(id);
        elements.iter().find(fits).copied()
    });
    seen.next().context("no client saw an element in this run")
}
