//! A naive market of the auditor's own.
//!
//! It follows the books command by command, works out what a fair market must have done (price-time priority, trades at
//! the resting order's price, money held for what rests) and compares. Where the books differ it reports that once and
//! goes on from what the books say, so that one wrong trade is not reported as a thousand.
//!
//! Known limit: how far a market order may reach (its collar) is the venue's own rule. Of a market order only the order
//! of its trades is checked, not that it stopped too early.

pub mod money;
mod shelves;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::decimal;
use crate::finding::{Class, Findings};
use crate::request::{
    Account, Asset, HOUSE, Key, Mode, Order, OrderType, PRICE_SCALE, QUANTITY_SCALE, Request, Side,
    Wish,
};
use crate::rows::{CommandRow, OrderRow, PostingRow, TradeRow};

use money::{Bucket, Place, add, compare_postings, deposit, hold, notional, payments};
use shelves::{Match, Shelves};

/// What the venue says a command came to; fields that the auditor does not judge are left out.
#[derive(Debug, Deserialize)]
pub struct Outcome {
    pub sequence: i64,
    pub epoch: i64,
    pub account: Account,
    pub reference: i64,
    pub outcome: String,
    pub reason: Option<String>,
    pub filled: Option<String>,
    pub fills: Option<Vec<Fill>>,
    pub cancelled: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Fill {
    pub price: String,
    pub quantity: String,
}

#[derive(Debug)]
struct Entered {
    sequence: i64,
    order: Order,
    filled: i64,
    status: &'static str,
}

impl Entered {
    fn left(&self) -> i64 {
        self.order.quantity - self.filled
    }

    fn open(&self) -> bool {
        matches!(self.status, "accepted" | "partly_filled")
    }
}

#[derive(Debug, Default)]
pub struct Market {
    /// Those that were turned away, too.
    orders: BTreeMap<Key, Entered>,
    shelves: BTreeMap<String, Shelves>,
    last_reference: BTreeMap<Account, i64>,
    /// Of the command before.
    recorded_ms: i64,
    mode: Mode,
    /// By the postings of the books, not by ours.
    pub balances: BTreeMap<Place, i128>,
}

/// One command with all its rows.
struct Play<'a> {
    row: &'a CommandRow,
    request: Request,
    outcome: Outcome,
    trades: &'a [TradeRow],
}

impl Market {
    /// Follows one command; the caller adds its postings to the balances afterwards.
    pub fn play(
        &mut self,
        row: &CommandRow,
        postings: &[PostingRow],
        trades: &[TradeRow],
        findings: &mut Findings,
    ) {
        let request = Request::parse(&row.kind, &row.request);
        let outcome: Result<Outcome, _> = serde_json::from_str(&row.outcome);
        let (request, outcome) = match (request, outcome) {
            (Ok(request), Ok(outcome)) => (request, outcome),
            (Err(problem), _) => {
                return findings.add(Class::Unreadable, || {
                    format!("sequence {}: request: {problem}", row.sequence)
                });
            }
            (_, Err(problem)) => {
                return findings.add(Class::Unreadable, || {
                    format!("sequence {}: outcome: {problem}", row.sequence)
                });
            }
        };
        let play = Play {
            row,
            request,
            outcome,
            trades,
        };
        self.check_header(&play, findings);
        self.check_mode(&play, findings);
        let expected = match play.outcome.outcome.as_str() {
            "rejected" | "expired" => self.turned_away(&play, findings),
            _ => match &play.request.wish {
                Wish::Deposit { asset, amount } => {
                    check_outcome(&play, &Came::plain("accepted"), findings);
                    deposit(row.account, *asset, *amount)
                }
                Wish::Cancel { target } => self.cancel(&play, (row.account, *target), findings),
                Wish::Order(order) => self.order(&play, order, findings),
                Wish::Mode(mode) => {
                    self.mode = *mode;
                    check_outcome(&play, &Came::plain("accepted"), findings);
                    BTreeMap::new()
                }
            },
        };
        if !matches!(play.request.wish, Wish::Order(_)) && !trades.is_empty() {
            findings.add(Class::Invented, || {
                format!("sequence {}: trades of a {}", row.sequence, row.kind)
            });
        }
        compare_postings(row.sequence, expected, postings, findings);
    }

    fn check_header(&mut self, play: &Play<'_>, findings: &mut Findings) {
        let Play {
            row,
            request,
            outcome,
            ..
        } = play;
        let header = (
            outcome.sequence,
            outcome.epoch,
            outcome.account,
            outcome.reference,
        );
        if header != (row.sequence, row.epoch, row.account, row.reference)
            || request.key != row.key()
        {
            findings.add(Class::Outcome, || {
                format!(
                    "sequence {}: request or outcome of another row",
                    row.sequence
                )
            });
        }
        let last = self
            .last_reference
            .insert(row.account, row.reference)
            .unwrap_or(0);
        if row.reference <= last {
            findings.add(Class::Sequence, || {
                format!(
                    "sequence {}: account {} says reference {} after {last}",
                    row.sequence, row.account, row.reference
                )
            });
        }
        let before = std::mem::replace(&mut self.recorded_ms, row.recorded_ms);
        if row.recorded_ms < before {
            findings.add(Class::Sequence, || {
                let recorded = row.recorded_ms;
                format!(
                    "sequence {}: recorded at {recorded}, after {before}",
                    row.sequence
                )
            });
        }
        let late = i128::from(row.recorded_ms) > i128::from(request.deadline_ms);
        if late != (outcome.outcome == "expired") {
            findings.add(Class::Deadline, || {
                let (recorded, deadline) = (row.recorded_ms, request.deadline_ms);
                format!(
                    "sequence {}: {} at {recorded}, deadline {deadline}",
                    row.sequence, outcome.outcome
                )
            });
        }
    }

    /// What the mode does not let in is refused for that reason, whatever else is wrong with it; and nothing else is.
    fn check_mode(&self, play: &Play<'_>, findings: &mut Findings) {
        let owed = match (self.mode, &play.request.wish) {
            _ if play.outcome.outcome == "expired" => None,
            (Mode::ReduceOnly, Wish::Order(order)) if order.side == Side::Buy => {
                Some("reduce_only")
            }
            (Mode::CancelOnly, Wish::Order(_) | Wish::Deposit { .. }) => Some("cancel_only"),
            _ => None,
        };
        let said = play.outcome.reason.as_deref();
        let said = said.filter(|reason| ["reduce_only", "cancel_only"].contains(reason));
        let (sequence, mode) = (play.row.sequence, self.mode);
        if owed != said {
            findings.add(Class::Outcome, || {
                format!(
                    "sequence {sequence}: in mode {mode:?} it is refused for {}, should be for {}",
                    said.unwrap_or("none"),
                    owed.unwrap_or("none")
                )
            });
        }
        let house = play.row.account == HOUSE;
        if house != matches!(play.request.wish, Wish::Mode(_)) {
            findings.add(Class::Invented, || {
                format!(
                    "sequence {sequence}: a {} of account {HOUSE}",
                    play.row.kind
                )
            });
        }
    }

    /// A rejected or expired command changes nothing; the reason must be true as far as it can be known.
    fn turned_away(&mut self, play: &Play<'_>, findings: &mut Findings) -> BTreeMap<Place, i128> {
        let sequence = play.row.sequence;
        let status = if play.outcome.outcome == "expired" {
            "expired"
        } else {
            "rejected"
        };
        let reason = play.outcome.reason.as_deref();
        let is_owed = status == "rejected";
        if is_owed != reason.is_some() || reason.is_some_and(|reason| !fits(play, reason)) {
            findings.add(Class::Outcome, || {
                let (kind, reason) = (&play.row.kind, reason.unwrap_or("no reason"));
                format!("sequence {sequence}: a {kind} that is {status} for {reason}")
            });
        } else if reason.is_some_and(|reason| self.is_untrue(play, reason)) {
            findings.add(Class::Outcome, || {
                format!(
                    "sequence {sequence}: rejected for {}, which was not so",
                    reason.unwrap_or("")
                )
            });
        }
        check_outcome(play, &Came::plain(status), findings);
        if let Wish::Order(order) = &play.request.wish {
            let entered = Entered {
                sequence,
                order: order.clone(),
                filled: 0,
                status,
            };
            self.orders.entry(play.row.key()).or_insert(entered);
        }
        if !play.trades.is_empty() {
            findings.add(Class::Invented, || {
                format!("sequence {sequence}: trades of a command that was {status}")
            });
        }
        BTreeMap::new()
    }

    /// Whether the market says otherwise.
    fn is_untrue(&self, play: &Play<'_>, reason: &str) -> bool {
        match (&play.request.wish, reason) {
            (Wish::Cancel { target }, "order_not_open") => self
                .orders
                .get(&(play.row.account, *target))
                .is_some_and(Entered::open),
            (Wish::Order(order), "insufficient_funds") => self.could_pay(play.row.account, order),
            (Wish::Order(order), "no_liquidity") => self
                .shelves
                .get(&order.instrument)
                .is_some_and(|shelves| shelves.opposite(order.side).next().is_some()),
            _ => false,
        }
    }

    fn could_pay(&self, account: Account, order: &Order) -> bool {
        let Some(price) = order.price else {
            return false;
        };
        let (asset, needed) = match order.side {
            Side::Buy => (Asset::Usd, notional(price, order.quantity)),
            Side::Sell => (Asset::Btc, i128::from(order.quantity)),
        };
        self.balances
            .get(&(account, Bucket::Available, asset))
            .copied()
            .unwrap_or(0)
            >= needed
    }

    fn cancel(
        &mut self,
        play: &Play<'_>,
        target: Key,
        findings: &mut Findings,
    ) -> BTreeMap<Place, i128> {
        let sequence = play.row.sequence;
        let mut expected = BTreeMap::new();
        let Some(entered) = self
            .orders
            .get_mut(&target)
            .filter(|entered| entered.open())
        else {
            findings.add(Class::Outcome, || {
                format!(
                    "sequence {sequence}: cancels reference {}, which is not open",
                    target.1
                )
            });
            return expected;
        };
        let came = Came {
            cancelled: entered.left(),
            ..Came::plain("cancelled")
        };
        check_outcome(play, &came, findings);
        if let Some(price) = entered.order.price {
            let (asset, held) = hold(&entered.order, price, entered.left());
            add(&mut expected, (target.0, Bucket::Held, asset), -held);
            add(&mut expected, (target.0, Bucket::Available, asset), held);
            let shelves = self
                .shelves
                .entry(entered.order.instrument.clone())
                .or_default();
            shelves.take(entered.order.side, price, entered.sequence);
        }
        entered.status = "cancelled";
        expected
    }

    fn order(
        &mut self,
        play: &Play<'_>,
        order: &Order,
        findings: &mut Findings,
    ) -> BTreeMap<Place, i128> {
        let row = play.row;
        let due = self.due(order);
        let before = findings.count(Class::Trade) + findings.count(Class::Invented);
        let mut left = order.quantity;
        let mut matches = Vec::new();
        for trade in play.trades {
            if let Some(matched) = self.check_trade(row, order, left, trade, findings) {
                left -= matched.quantity;
                self.fill(&matched);
                matches.push(matched);
            }
        }
        let sound = findings.count(Class::Trade) + findings.count(Class::Invented) == before;
        let kept = match order.order_type {
            OrderType::Market => due.starts_with(&matches),
            OrderType::Limit | OrderType::Ioc => due == matches,
        };
        if sound && !kept {
            let (due, done) = (shown(&due), shown(&matches));
            findings.add(Class::Matching, || {
                format!("sequence {}: due {due}; done {done}", row.sequence)
            });
        }
        let filled = order.quantity - left;
        let status = match (order.order_type, left, filled) {
            (_, 0, _) => "filled",
            (OrderType::Market | OrderType::Ioc, _, _) => "cancelled",
            (OrderType::Limit, _, 0) => "accepted",
            (OrderType::Limit, _, _) => "partly_filled",
        };
        let cancelled = if status == "cancelled" { left } else { 0 };
        let came = Came {
            status,
            filled,
            cancelled,
        };
        check_outcome(play, &came, findings);
        let expected = payments(row.account, order, &matches, left);
        if let (OrderType::Limit, Some(price), true) = (order.order_type, order.price, left > 0) {
            let shelves = self.shelves.entry(order.instrument.clone()).or_default();
            shelves.put(order.side, price, row.sequence, row.key());
        }
        let entered = Entered {
            sequence: row.sequence,
            order: order.clone(),
            filled,
            status,
        };
        self.orders.insert(row.key(), entered);
        expected
    }

    /// The trades that price-time priority asks for.
    fn due(&self, order: &Order) -> Vec<Match> {
        let mut left = order.quantity;
        let mut due = Vec::new();
        let Some(shelves) = self.shelves.get(&order.instrument) else {
            return due;
        };
        for (price, maker) in shelves.opposite(order.side) {
            if left == 0 || !within(order, price) {
                break;
            }
            let resting = self.orders.get(&maker).map_or(0, Entered::left);
            let quantity = left.min(resting);
            due.push(Match {
                maker,
                price,
                quantity,
            });
            left -= quantity;
        }
        due
    }

    /// What a trade did to the market; a finding if it was not possible, of which as much is followed as there is room.
    fn check_trade(
        &self,
        row: &CommandRow,
        order: &Order,
        left: i64,
        trade: &TradeRow,
        findings: &mut Findings,
    ) -> Option<Match> {
        let place = || format!("sequence {} line {}", trade.sequence, trade.line);
        let (taker, maker) = match order.side {
            Side::Buy => (trade.buy, trade.sell),
            Side::Sell => (trade.sell, trade.buy),
        };
        if taker != row.key() {
            findings.add(Class::Invented, || {
                format!("{}: a trade that is not of this order", place())
            });
            return None;
        }
        let Some(resting) = self.orders.get(&maker) else {
            findings.add(Class::Invented, || {
                format!(
                    "{}: a trade with account {} reference {}, which is no order",
                    place(),
                    maker.0,
                    maker.1
                )
            });
            return None;
        };
        let problem = if !resting.open() || resting.left() < trade.quantity {
            "more than rests"
        } else if resting.order.side == order.side || resting.order.instrument != order.instrument {
            "with an order of the same side or another instrument"
        } else if trade.instrument != order.instrument {
            "in another instrument"
        } else if resting.order.price != Some(trade.price) {
            "not at the resting order's price"
        } else if !within(order, trade.price) {
            "outside the order's limit"
        } else if trade.quantity <= 0 || trade.quantity > left {
            "more than the order's quantity"
        } else {
            return Some(Match {
                maker,
                price: trade.price,
                quantity: trade.quantity,
            });
        };
        findings.add(Class::Trade, || format!("{}: a trade {problem}", place()));
        let room = if resting.open() {
            left.min(resting.left())
        } else {
            0
        };
        let quantity = trade.quantity.min(room);
        (quantity > 0).then_some(Match {
            maker,
            price: trade.price,
            quantity,
        })
    }

    fn fill(&mut self, matched: &Match) {
        let Some(resting) = self.orders.get_mut(&matched.maker) else {
            return;
        };
        resting.filled += matched.quantity;
        resting.status = if resting.left() == 0 {
            "filled"
        } else {
            "partly_filled"
        };
        if resting.left() == 0 {
            let shelves = self
                .shelves
                .entry(resting.order.instrument.clone())
                .or_default();
            let price = resting.order.price.unwrap_or(matched.price);
            shelves.take(resting.order.side, price, resting.sequence);
        }
    }

    /// Compares a row of the orders table; returns whether it is an order of ours.
    pub fn check_order(&self, row: &OrderRow, findings: &mut Findings) -> bool {
        let (account, reference) = row.key;
        let wrong = match self.orders.get(&row.key) {
            Some(entered) => {
                let order = &entered.order;
                let expected = (
                    entered.sequence,
                    entered.status,
                    order.side.name(),
                    order.order_type.name(),
                );
                let stored = (
                    row.sequence,
                    row.status.as_str(),
                    row.side.as_str(),
                    row.order_type.as_str(),
                );
                let numbers = (order.price, order.quantity, entered.filled)
                    != (row.price, row.quantity, row.filled);
                (expected != stored || numbers).then(|| {
                    format!(
                        "is {} with {} filled, should be {} with {}",
                        row.status, row.filled, entered.status, entered.filled
                    )
                })
            }
            None => Some("was never entered".to_owned()),
        };
        if let Some(problem) = wrong {
            findings.add(Class::Order, || {
                format!("order of account {account} reference {reference} {problem}")
            });
        }
        self.orders.contains_key(&row.key)
    }

    /// Orders that the table must have, those that were turned away among them.
    #[must_use]
    pub fn entered(&self) -> usize {
        self.orders.len()
    }
}

/// What a command came to by its rows and the market.
struct Came {
    status: &'static str,
    filled: i64,
    cancelled: i64,
}

impl Came {
    const fn plain(status: &'static str) -> Self {
        Self {
            status,
            filled: 0,
            cancelled: 0,
        }
    }
}

/// Whether a command of this kind can be refused for this reason at all. Modes are looked at where modes are.
fn fits(play: &Play<'_>, reason: &str) -> bool {
    let order_type = match &play.request.wish {
        Wish::Order(order) => Some(order.order_type),
        _ => None,
    };
    match reason {
        "insufficient_funds" => order_type.is_some(),
        "no_liquidity" => order_type == Some(OrderType::Market),
        "too_many_open_orders" => order_type == Some(OrderType::Limit),
        "order_not_open" => matches!(play.request.wish, Wish::Cancel { .. }),
        "issue_limit" => matches!(play.request.wish, Wish::Deposit { .. }),
        "reduce_only" | "cancel_only" => true,
        _ => false,
    }
}

/// Holds what the venue says against what was.
fn check_outcome(play: &Play<'_>, came: &Came, findings: &mut Findings) {
    let sequence = play.row.sequence;
    let Came {
        status,
        filled,
        cancelled,
    } = *came;
    let said = &play.outcome;
    if said.outcome != status {
        let said = &said.outcome;
        findings.add(Class::Outcome, || {
            format!("sequence {sequence}: says {said}, should be {status}")
        });
    }
    let quantity = |text: &str| decimal::parse(text, QUANTITY_SCALE);
    let price = |text: &str| decimal::parse(text, PRICE_SCALE);
    let fills = said.fills.as_deref().unwrap_or_default();
    let same = fills.len() == play.trades.len()
        && fills.iter().zip(play.trades).all(|(fill, trade)| {
            price(&fill.price) == Some(trade.price.into())
                && quantity(&fill.quantity) == Some(trade.quantity.into())
        });
    let said_filled = said.filled.as_deref().map_or(Some(0), quantity);
    if said_filled != Some(filled.into()) || !same {
        findings.add(Class::Outcome, || {
            format!("sequence {sequence}: the fills told are not the trades stored")
        });
    }
    let said_cancelled = said.cancelled.as_deref().map_or(Some(0), quantity);
    if said_cancelled != Some(cancelled.into()) {
        findings.add(Class::Outcome, || {
            let said = said.cancelled.as_deref().unwrap_or("nothing");
            format!("sequence {sequence}: says that {said} was cancelled, should be {cancelled} of the smallest unit")
        });
    }
}

fn within(order: &Order, price: i64) -> bool {
    match (order.side, order.price) {
        (_, None) => true,
        (Side::Buy, Some(limit)) => price <= limit,
        (Side::Sell, Some(limit)) => price >= limit,
    }
}

fn shown(matches: &[Match]) -> String {
    let one = |matched: &Match| {
        format!(
            "{} at {} with {}-{}",
            matched.quantity, matched.price, matched.maker.0, matched.maker.1
        )
    };
    match matches.len() {
        0 => "no trade".to_owned(),
        _ => matches
            .iter()
            .take(3)
            .map(one)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests;
