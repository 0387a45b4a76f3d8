//! The engine against a second one written to be obviously right: unsorted lists, full scans, balances recounted
//! from postings. They must agree on every outcome, trade and balance, for any flow; postings must balance at every
//! prefix; and the log replayed from genesis must give the state that a snapshot plus its tail gives.

mod support;

use std::collections::BTreeMap;

use exchange_engine::command::{Action, Command, Mode, Order, Terms};
use exchange_engine::engine::{ApplyError, Engine};
use exchange_engine::outcome::{Applied, Bucket, Outcome, Reason};
use exchange_engine::units::{Account, Asset, Price, Side};
use proptest::prelude::*;
use support::{account, amount, limit, price, quantity, reference};

/// An order of the naive engine; the list is in order of arrival.
#[derive(Clone, Copy, Debug)]
struct Open {
    owner: u64,
    reference: u64,
    side: Side,
    cents: i64,
    left: i64,
}

#[derive(Default)]
struct Naive {
    open: Vec<Open>,
    highest: BTreeMap<u64, u64>,
    free: BTreeMap<(u64, Asset), i128>,
    mode: Mode,
}

/// Outcome, trades as (price, quantity, maker), quantity cancelled.
type Told = (Outcome, Vec<(i64, i64, u64, u64)>, i64);

impl Naive {
    /// What stands behind open orders, recounted.
    fn held(&self, owner: u64, asset: Asset) -> i128 {
        let needs =
            |open: &&Open| open.owner == owner && (open.side == Side::Buy) == (asset == Asset::Usd);
        let need = |open: &Open| match asset {
            Asset::Usd => i128::from(open.cents) * i128::from(open.left),
            Asset::Btc => i128::from(open.left),
        };
        self.open.iter().filter(needs).map(need).sum()
    }

    fn free(&mut self, owner: u64, asset: Asset) -> &mut i128 {
        self.free.entry((owner, asset)).or_default()
    }

    /// The best order on a side: by price, then by place in the list.
    fn best(&self, side: Side) -> Option<usize> {
        let rank = |at: &usize| match side {
            Side::Buy => -self.open[*at].cents,
            Side::Sell => self.open[*at].cents,
        };
        (0..self.open.len())
            .filter(|at| self.open[*at].side == side)
            .min_by_key(|at| (rank(at), *at))
    }

    fn apply(&mut self, now: u64, command: &Command) -> Option<Told> {
        let (owner, own) = (command.account.number(), command.reference.number());
        if own <= self.highest.get(&owner).copied().unwrap_or(0) {
            return None;
        }
        self.highest.insert(owner, own);
        if now > command.deadline_ms {
            return Some((Outcome::Expired, vec![], 0));
        }
        if let Some(reason) = self.barred(&command.action) {
            return Some((Outcome::Rejected(reason), vec![], 0));
        }
        Some(match &command.action {
            Action::Deposit { asset, amount } => {
                *self.free(0, *asset) -= amount.units();
                *self.free(owner, *asset) += amount.units();
                (Outcome::Accepted, vec![], 0)
            }
            Action::Cancel { target } => self.cancel(owner, target.number()),
            Action::Order(order) => self.order(owner, own, order),
            Action::Mode(mode) => {
                self.mode = *mode;
                (Outcome::Accepted, vec![], 0)
            }
        })
    }

    /// What the mode does not let in, written down case by case.
    fn barred(&self, action: &Action) -> Option<Reason> {
        match (self.mode, action) {
            (
                Mode::ReduceOnly,
                Action::Order(Order {
                    side: Side::Buy, ..
                }),
            ) => Some(Reason::ReduceOnly),
            (Mode::CancelOnly, Action::Order(_) | Action::Deposit { .. }) => {
                Some(Reason::CancelOnly)
            }
            _ => None,
        }
    }

    fn cancel(&mut self, owner: u64, target: u64) -> Told {
        let Some(at) = self
            .open
            .iter()
            .position(|open| open.owner == owner && open.reference == target)
        else {
            return (Outcome::Rejected(Reason::OrderNotOpen), vec![], 0);
        };
        let open = self.open.remove(at);
        self.give_back(owner, open.side, open.cents, open.left);
        (Outcome::Cancelled, vec![], open.left)
    }

    fn give_back(&mut self, owner: u64, side: Side, cents: i64, left: i64) {
        match side {
            Side::Buy => *self.free(owner, Asset::Usd) += i128::from(cents) * i128::from(left),
            Side::Sell => *self.free(owner, Asset::Btc) += i128::from(left),
        }
    }

    /// Both sides get theirs; a taker who buys gets back what was cheaper than the limit.
    fn pay(&mut self, owner: u64, side: Side, cents: i64, maker: Open, traded: i64) {
        let (buyer, seller) = if side == Side::Buy {
            (owner, maker.owner)
        } else {
            (maker.owner, owner)
        };
        *self.free(seller, Asset::Usd) += i128::from(maker.cents) * i128::from(traded);
        *self.free(buyer, Asset::Btc) += i128::from(traded);
        if side == Side::Buy {
            *self.free(owner, Asset::Usd) += i128::from(cents - maker.cents) * i128::from(traded);
        }
    }

    fn order(&mut self, owner: u64, own: u64, order: &Order) -> Told {
        let cents = match (order.terms, self.best(order.side.opposite())) {
            (Terms::Limit(price) | Terms::ImmediateOrCancel(price), _) => price.cents(),
            (Terms::Market, None) => return (Outcome::Rejected(Reason::NoLiquidity), vec![], 0),
            (Terms::Market, Some(at)) => {
                let best = self.open[at].cents;
                if order.side == Side::Buy {
                    best + best / 20
                } else {
                    best - best / 20
                }
            }
        };
        let mut left = order.quantity.units();
        let (asset, need) = match order.side {
            Side::Buy => (Asset::Usd, i128::from(cents) * i128::from(left)),
            Side::Sell => (Asset::Btc, i128::from(left)),
        };
        if *self.free(owner, asset) < need {
            return (Outcome::Rejected(Reason::InsufficientFunds), vec![], 0);
        }
        *self.free(owner, asset) -= need;
        let mut trades = vec![];
        while left > 0 {
            let Some(at) = self.best(order.side.opposite()) else {
                break;
            };
            let maker = self.open[at];
            let crosses = if order.side == Side::Buy {
                maker.cents <= cents
            } else {
                maker.cents >= cents
            };
            if !crosses {
                break;
            }
            let traded = left.min(maker.left);
            left -= traded;
            self.open[at].left -= traded;
            if self.open[at].left == 0 {
                self.open.remove(at);
            }
            self.pay(owner, order.side, cents, maker, traded);
            trades.push((maker.cents, traded, maker.owner, maker.reference));
        }
        if left == 0 {
            return (Outcome::Filled, trades, 0);
        }
        if let Terms::Limit(_) = order.terms {
            self.open.push(Open {
                owner,
                reference: own,
                side: order.side,
                cents,
                left,
            });
            let outcome = if trades.is_empty() {
                Outcome::Accepted
            } else {
                Outcome::PartlyFilled
            };
            return (outcome, trades, 0);
        }
        self.give_back(owner, order.side, cents, left);
        (Outcome::Cancelled, trades, left)
    }
}

fn told(applied: &Applied, side: Option<Side>) -> Told {
    let maker = |trade: &exchange_engine::outcome::Trade| match side {
        Some(Side::Buy) => trade.seller,
        _ => trade.buyer,
    };
    let trades = applied.trades.iter();
    let trades = trades.map(|trade| {
        let (owner, own) = maker(trade);
        (
            trade.price.cents(),
            trade.quantity.units(),
            owner.number(),
            own.number(),
        )
    });
    (applied.outcome, trades.collect(), applied.cancelled.units())
}

/// Mostly open, so that there is trade before and after the others.
const MODES: [Mode; 5] = [
    Mode::Open,
    Mode::Open,
    Mode::Open,
    Mode::ReduceOnly,
    Mode::CancelOnly,
];

/// What a flow is made of; references are given in order of play, now and then one that is too low.
#[derive(Clone, Debug)]
enum Move {
    Mode(Mode),
    Deposit(u64, Asset, i128),
    Order(u64, Side, Terms, i64),
    Cancel(u64, u64),
    Late(u64),
    Again(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let who = 1u64..5;
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let asset = prop_oneof![Just(Asset::Usd), Just(Asset::Btc)];
    let terms = (0u8..6, 90i64..111).prop_map(|(kind, cents)| match kind {
        0 => Terms::Market,
        1 => Terms::ImmediateOrCancel(price(cents)),
        _ => Terms::Limit(price(cents)),
    });
    let one = prop_oneof![
        2 => (who.clone(), asset, 1i128..3_000).prop_map(|(who, asset, amount)| Move::Deposit(who, asset, amount)),
        8 => (who.clone(), side, terms, 1i64..12).prop_map(|(who, side, terms, size)| Move::Order(who, side, terms, size)),
        3 => (who.clone(), 1u64..40).prop_map(|(who, target)| Move::Cancel(who, target)),
        1 => who.clone().prop_map(Move::Late),
        1 => who.prop_map(Move::Again),
        1 => prop::sample::select(&MODES[..]).prop_map(Move::Mode),
    ];
    prop::collection::vec(one, 1..120)
}

/// The moves as commands with the time at which each is recorded.
fn flow(moves: &[Move]) -> Vec<(u64, Command)> {
    let mut next = [0u64; 8];
    let mut commands = vec![];
    for (at, one) in (1u64..).zip(moves) {
        let mut push = |who: u64, again: bool, deadline_ms: u64, action: Action| {
            next[who as usize] += u64::from(!again);
            let own = next[who as usize].max(1);
            commands.push((
                at,
                Command {
                    account: if who == 0 {
                        Account::OUTSIDE
                    } else {
                        account(who)
                    },
                    reference: reference(own),
                    deadline_ms,
                    action,
                },
            ));
        };
        match *one {
            Move::Deposit(who, asset, units) => push(
                who,
                false,
                u64::MAX,
                Action::Deposit {
                    asset,
                    amount: amount(units),
                },
            ),
            Move::Order(who, side, terms, size) => push(
                who,
                false,
                at,
                Action::Order(Order {
                    terms,
                    ..limit(side, 1, size)
                }),
            ),
            Move::Cancel(who, target) => push(
                who,
                false,
                u64::MAX,
                Action::Cancel {
                    target: reference(target),
                },
            ),
            Move::Mode(mode) => push(0, false, u64::MAX, Action::Mode(mode)),
            Move::Late(who) => push(who, false, at - 1, Action::Order(limit(Side::Buy, 100, 1))),
            Move::Again(who) => push(
                who,
                true,
                u64::MAX,
                Action::Order(limit(Side::Sell, 100, 1)),
            ),
        }
    }
    commands
}

fn side_of(command: &Command) -> Option<Side> {
    match &command.action {
        Action::Order(order) => Some(order.side),
        Action::Cancel { .. } | Action::Deposit { .. } | Action::Mode(_) => None,
    }
}

/// Balances by adding up every posting there ever was.
#[derive(Default)]
struct Recount(BTreeMap<(Account, Bucket, Asset), i128>);

impl Recount {
    fn add(&mut self, applied: &Applied) {
        let mut sums = BTreeMap::<Asset, i128>::new();
        for posting in &applied.postings {
            *sums.entry(posting.asset).or_default() += posting.amount.units();
            let sum = self
                .0
                .entry((posting.account, posting.bucket, posting.asset))
                .or_default();
            *sum += posting.amount.units();
        }
        assert!(
            sums.values().all(|sum| *sum == 0),
            "postings of a command sum to zero: {applied:?}"
        );
        for ((account, bucket, _), sum) in &self.0 {
            assert!(
                *sum >= 0 || (*account == Account::OUTSIDE && *bucket == Bucket::Available),
                "{account:?} {sum}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_naive_engine(moves in moves()) {
        let (mut engine, mut naive, mut recount) = (Engine::default(), Naive::default(), Recount::default());
        for (now, command) in flow(&moves) {
            let expected = naive.apply(now, &command);
            match (engine.apply(now, &command), expected) {
                (Ok(applied), Some(expected)) => {
                    prop_assert_eq!(told(&applied, side_of(&command)), expected, "{:?}", command);
                    recount.add(&applied);
                }
                (Err(ApplyError::ReferenceNotAbove { .. }), None) => {}
                (got, expected) => prop_assert!(false, "{command:?}: {got:?} against {expected:?}"),
            }
            prop_assert_eq!(engine.check(), Ok(()));
            for who in 0..6 {
                let whose = if who == 0 { Account::OUTSIDE } else { account(who) };
                for asset in Asset::ALL {
                    let balances = engine.ledger().balances(whose);
                    prop_assert_eq!(balances.get(Bucket::Available, asset).units(), *naive.free(who, asset));
                    prop_assert_eq!(balances.get(Bucket::Held, asset).units(), naive.held(who, asset));
                    for bucket in Bucket::ALL {
                        let sum = recount.0.get(&(whose, bucket, asset)).copied().unwrap_or(0);
                        prop_assert_eq!(balances.get(bucket, asset).units(), sum);
                    }
                }
            }
        }
    }

    #[test]
    fn a_snapshot_and_its_tail_are_the_whole_log(moves in moves(), cut in 0usize..120) {
        let flow = flow(&moves);
        let cut = cut.min(flow.len());
        let mut whole = Engine::default();
        let all: Vec<_> = flow.iter().map(|(now, command)| whole.apply(*now, command)).collect();
        let mut head = Engine::default();
        for (now, command) in &flow[..cut] {
            let _ = head.apply(*now, command);
        }
        let state = head.snapshot();
        let mut restored = Engine::restore(&state).expect("a snapshot restores");
        prop_assert_eq!(restored.snapshot(), state);
        for ((now, command), expected) in flow[cut..].iter().zip(&all[cut..]) {
            prop_assert_eq!(&restored.apply(*now, command), expected);
        }
        prop_assert_eq!(restored.state_hash(), whole.state_hash());
    }

    #[test]
    fn a_damaged_snapshot_never_panics_and_never_passes_as_another_valid_state(moves in moves(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut engine = Engine::default();
        for (now, command) in flow(&moves) {
            let _ = engine.apply(now, &command);
        }
        let mut state = engine.snapshot();
        let at = at.index(state.len());
        prop_assert!(Engine::restore(&state[..at]).is_err());
        state[at] ^= 1 << bit;
        if let Ok(other) = Engine::restore(&state) {
            // Changes that still make sense (a time, a number) are what the state hash is for.
            prop_assert_eq!(other.check(), Ok(()));
            prop_assert_ne!(other.state_hash(), engine.state_hash());
        }
    }
}

#[test]
fn price_bounds_are_kept() {
    assert!(Price::from_cents(0).is_none());
    assert!(Price::from_cents(Price::MAX.cents() + 1).is_none());
    let _ = quantity(1);
}
