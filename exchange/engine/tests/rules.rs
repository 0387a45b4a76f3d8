//! The rules of the exchange, one by one, as a person would check them.

mod support;

use exchange_engine::command::{Action, Command, Mode, Order, Terms};
use exchange_engine::engine::{ApplyError, Engine};
use exchange_engine::limits::ISSUED_MAX;
use exchange_engine::outcome::{Applied, Bucket, Outcome, Reason};
use exchange_engine::units::{Account, Asset, Instrument, Side};
use support::{account, amount, limit, price, quantity, reference};

/// Plays commands with rising references and a time that a test can set.
#[derive(Default)]
struct Table {
    engine: Engine,
    now: u64,
    deadline: Option<u64>,
}

impl Table {
    fn act(&mut self, who: u64, action: Action) -> Applied {
        let own = reference(self.engine.highest_reference(account(who)) + 1);
        let deadline_ms = self.deadline.unwrap_or(u64::MAX);
        let command = Command {
            account: account(who),
            reference: own,
            deadline_ms,
            action,
        };
        self.engine
            .apply(self.now, &command)
            .expect("a rising reference")
    }

    /// As the exchange itself.
    fn mode(&mut self, mode: Mode) -> Applied {
        let command = Command {
            account: Account::OUTSIDE,
            reference: reference(self.engine.highest_reference(Account::OUTSIDE) + 1),
            deadline_ms: self.deadline.unwrap_or(u64::MAX),
            action: Action::Mode(mode),
        };
        self.engine
            .apply(self.now, &command)
            .expect("a rising reference")
    }

    fn order(&mut self, who: u64, order: Order) -> Applied {
        self.act(who, Action::Order(order))
    }

    fn funded() -> Self {
        let mut table = Self::default();
        for who in 1..=4 {
            table.act(
                who,
                Action::Deposit {
                    asset: Asset::Usd,
                    amount: amount(1_000_000),
                },
            );
            table.act(
                who,
                Action::Deposit {
                    asset: Asset::Btc,
                    amount: amount(1_000_000),
                },
            );
        }
        table
    }

    fn balance(&self, who: u64, bucket: Bucket, asset: Asset) -> i128 {
        self.engine
            .ledger()
            .balances(account(who))
            .get(bucket, asset)
            .units()
    }
}

fn with(terms: Terms, order: Order) -> Order {
    Order { terms, ..order }
}

#[test]
fn better_price_goes_first_and_then_who_came_first() {
    let mut table = Table::funded();
    table.order(1, limit(Side::Sell, 101, 5));
    table.order(2, limit(Side::Sell, 100, 5));
    table.order(3, limit(Side::Sell, 100, 5));
    let taken = table.order(4, limit(Side::Buy, 101, 12));
    let makers: Vec<_> = taken
        .trades
        .iter()
        .map(|trade| {
            (
                trade.seller.0.number(),
                trade.price.cents(),
                trade.quantity.units(),
            )
        })
        .collect();
    assert_eq!(makers, [(2, 100, 5), (3, 100, 5), (1, 101, 2)]);
    assert_eq!(taken.outcome, Outcome::Filled);
    // The improvement of ten units by one cent came back.
    assert_eq!(
        table.balance(4, Bucket::Available, Asset::Usd),
        1_000_000 - 10 * 100 - 2 * 101
    );
    assert_eq!(table.balance(4, Bucket::Held, Asset::Usd), 0);
}

#[test]
fn a_partly_filled_order_keeps_its_place() {
    let mut table = Table::funded();
    table.order(1, limit(Side::Buy, 100, 10));
    table.order(2, limit(Side::Buy, 100, 10));
    table.order(3, limit(Side::Sell, 100, 4));
    let taken = table.order(3, limit(Side::Sell, 100, 10));
    let makers: Vec<_> = taken
        .trades
        .iter()
        .map(|trade| (trade.buyer.0.number(), trade.quantity.units()))
        .collect();
    assert_eq!(makers, [(1, 6), (2, 4)]);
}

#[test]
fn immediate_orders_never_rest_and_a_market_order_stops_at_its_collar() {
    let mut table = Table::funded();
    table.order(1, limit(Side::Sell, 1_000, 1));
    table.order(1, limit(Side::Sell, 1_050, 1));
    table.order(1, limit(Side::Sell, 1_051, 1));
    let market = table.order(2, with(Terms::Market, limit(Side::Buy, 1, 10)));
    assert_eq!(
        (
            market.outcome,
            market.filled.units(),
            market.cancelled.units()
        ),
        (Outcome::Cancelled, 2, 8)
    );
    let ioc = table.order(
        2,
        with(
            Terms::ImmediateOrCancel(price(1_050)),
            limit(Side::Buy, 1, 10),
        ),
    );
    assert_eq!((ioc.outcome, ioc.filled.units()), (Outcome::Cancelled, 0));
    assert_eq!(table.balance(2, Bucket::Held, Asset::Usd), 0);
    let none = table.order(3, with(Terms::Market, limit(Side::Sell, 1, 1)));
    assert_eq!(none.outcome, Outcome::Rejected(Reason::NoLiquidity));
    assert!(none.postings.is_empty());
}

#[test]
fn a_command_recorded_after_its_deadline_does_nothing() {
    let mut table = Table::funded();
    table.order(1, limit(Side::Sell, 100, 1));
    (table.now, table.deadline) = (50, Some(50));
    let in_time = table.order(2, with(Terms::Market, limit(Side::Buy, 1, 1)));
    assert_eq!(in_time.outcome, Outcome::Filled);
    table.order(1, limit(Side::Sell, 100, 1));
    table.now = 51;
    for action in [
        Action::Order(with(Terms::Market, limit(Side::Buy, 1, 1))),
        Action::Cancel {
            target: reference(3),
        },
        Action::Deposit {
            asset: Asset::Usd,
            amount: amount(1),
        },
    ] {
        let late = table.act(1, action);
        assert_eq!(late.outcome, Outcome::Expired);
        assert!(late.postings.is_empty() && late.trades.is_empty());
    }
    assert_eq!(
        table.engine.open_orders(),
        1,
        "the resting order stays: a deadline bounds entry"
    );
}

#[test]
fn nobody_orders_more_than_they_have() {
    let mut table = Table::default();
    table.act(
        1,
        Action::Deposit {
            asset: Asset::Usd,
            amount: amount(1_000),
        },
    );
    assert_eq!(
        table.order(1, limit(Side::Buy, 100, 10)).outcome,
        Outcome::Accepted
    );
    assert_eq!(
        table.order(1, limit(Side::Buy, 1, 1)).outcome,
        Outcome::Rejected(Reason::InsufficientFunds)
    );
    assert_eq!(
        table.order(1, limit(Side::Sell, 1, 1)).outcome,
        Outcome::Rejected(Reason::InsufficientFunds)
    );
    let cancelled = table.act(
        1,
        Action::Cancel {
            target: reference(2),
        },
    );
    assert_eq!(
        (cancelled.outcome, cancelled.cancelled.units()),
        (Outcome::Cancelled, 10)
    );
    assert_eq!(
        table
            .act(
                1,
                Action::Cancel {
                    target: reference(2)
                }
            )
            .outcome,
        Outcome::Rejected(Reason::OrderNotOpen)
    );
    assert_eq!(table.balance(1, Bucket::Available, Asset::Usd), 1_000);
    let too_much = table.act(
        1,
        Action::Deposit {
            asset: Asset::Usd,
            amount: amount(ISSUED_MAX),
        },
    );
    assert_eq!(too_much.outcome, Outcome::Rejected(Reason::IssueLimit));
}

#[test]
fn nobody_cancels_what_is_not_theirs() {
    let mut table = Table::funded();
    table.order(1, limit(Side::Sell, 100, 1));
    assert_eq!(
        table
            .act(
                2,
                Action::Cancel {
                    target: reference(3)
                }
            )
            .outcome,
        Outcome::Rejected(Reason::OrderNotOpen)
    );
    assert_eq!(table.engine.open_orders(), 1);
}

#[test]
fn what_cannot_be_sequenced_changes_nothing() {
    let mut table = Table::funded();
    table.now = 10;
    table.order(1, limit(Side::Sell, 100, 1));
    let before = table.engine.state_hash();
    let order = Action::Order(limit(Side::Sell, 100, 1));
    let command = Command {
        account: account(1),
        reference: reference(3),
        deadline_ms: u64::MAX,
        action: order,
    };
    assert_eq!(
        table.engine.apply(10, &command),
        Err(ApplyError::ReferenceNotAbove { highest: 3 })
    );
    let next = Command {
        reference: reference(9),
        ..command
    };
    assert_eq!(
        table.engine.apply(9, &next),
        Err(ApplyError::TimeWentBack { last_ms: 10 })
    );
    assert_eq!(table.engine.state_hash(), before);
    table.engine.apply(10, &next).expect("gaps are allowed");
    assert_eq!(table.engine.highest_reference(account(1)), 9);
}

#[test]
fn levels_add_up_and_run_from_the_best_outwards() {
    let mut table = Table::funded();
    for (cents, units) in [(99, 1), (100, 2), (98, 4), (100, 8)] {
        table.order(1, limit(Side::Buy, cents, units));
    }
    let book = table.engine.book(Instrument::BtcUsd);
    let levels: Vec<_> = book
        .levels(Side::Buy)
        .map(|level| (level.price.cents(), level.quantity, level.orders))
        .collect();
    assert_eq!(levels, [(100, 10, 2), (99, 1, 1), (98, 4, 1)]);
    let _ = quantity(1);
}

#[test]
fn a_mode_says_which_commands_are_taken_and_touches_nothing_that_rests() {
    use Mode::{CancelOnly, Open, ReduceOnly};
    use Outcome::{Accepted, Cancelled, Filled, Rejected};
    let reduces = Rejected(Reason::ReduceOnly);
    let cancels = Rejected(Reason::CancelOnly);
    for (mode, buy, sell, deposit, cancel) in [
        (Open, Filled, Filled, Accepted, Cancelled),
        (ReduceOnly, reduces, Filled, Accepted, Cancelled),
        (CancelOnly, cancels, cancels, cancels, Cancelled),
    ] {
        let mut table = Table::funded();
        // References 3 and 4 of account 1: what rests before the mode changes.
        table.order(1, limit(Side::Buy, 100, 5));
        table.order(1, limit(Side::Sell, 110, 5));
        assert_eq!(table.mode(mode).outcome, Accepted);
        assert_eq!(table.engine.mode(), mode);
        assert_eq!(table.engine.open_orders(), 2, "{mode:?} takes nothing out");
        assert_eq!(
            table.order(2, limit(Side::Buy, 110, 1)).outcome,
            buy,
            "{mode:?}"
        );
        assert_eq!(
            table.order(2, limit(Side::Sell, 100, 1)).outcome,
            sell,
            "{mode:?}"
        );
        let more = Action::Deposit {
            asset: Asset::Usd,
            amount: amount(1),
        };
        assert_eq!(table.act(2, more).outcome, deposit, "{mode:?}");
        let out = Action::Cancel {
            target: reference(3),
        };
        assert_eq!(table.act(1, out).outcome, cancel, "{mode:?}");
        assert_eq!(table.mode(Open).outcome, Accepted, "{mode:?} can be left");
        assert_eq!(table.order(3, limit(Side::Buy, 1, 1)).outcome, Accepted);
    }
}

#[test]
fn a_mode_that_comes_too_late_is_not_taken_and_one_that_is_stands_in_the_snapshot() {
    let mut table = Table::funded();
    let before = table.engine.snapshot();
    assert_eq!(&before[..4], b"MSX1", "nobody ever changed the mode");
    table.now = 10;
    table.deadline = Some(9);
    assert_eq!(table.mode(Mode::CancelOnly).outcome, Outcome::Expired);
    assert_eq!(table.engine.mode(), Mode::Open);
    table.deadline = None;
    table.mode(Mode::CancelOnly);
    let state = table.engine.snapshot();
    assert_eq!(&state[..4], b"MSX2");
    let mut again = Engine::restore(&state).expect("a snapshot restores");
    assert_eq!(again.mode(), Mode::CancelOnly);
    assert_eq!(again.highest_reference(Account::OUTSIDE), 2);
    assert_eq!(again.snapshot(), state);
    let order = Command {
        account: account(1),
        reference: reference(9),
        deadline_ms: u64::MAX,
        action: Action::Order(limit(Side::Sell, 100, 1)),
    };
    let applied = again.apply(10, &order).expect("a rising reference");
    assert_eq!(applied.outcome, Outcome::Rejected(Reason::CancelOnly));
    let mut damaged = state.clone();
    damaged[20] = 3;
    assert!(Engine::restore(&damaged).is_err(), "there is no such mode");
}
