//! A morning at the exchange as a transcript: what was said, what it meant. A change here is a change of the product's
//! rules or of its stored form, and a log written before it would replay to something else.

mod support;

use std::fmt::Write;

use exchange_engine::command::{Action, Command, Order, Terms};
use exchange_engine::engine::Engine;
use exchange_engine::outcome::{Applied, Outcome};
use exchange_engine::units::{Asset, Side};
use expect_test::{Expect, expect};
use support::{account, amount, limit, price, reference};

/// One line a command: `time account verb …`; a number behind `by` is the deadline.
fn parse(line: &str, own: u64) -> (u64, Command) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| words[at].parse::<u64>().expect("a number");
    let side = |word: &str| if word == "buy" { Side::Buy } else { Side::Sell };
    let order = |terms: Terms, units: u64| Order {
        terms,
        ..limit(side(words[2]), 1, units as i64)
    };
    let at_price = |at: usize| price(number(at) as i64);
    let action = match words[2] {
        "deposit" => Action::Deposit {
            asset: if words[3] == "USD" {
                Asset::Usd
            } else {
                Asset::Btc
            },
            amount: amount(i128::from(number(4))),
        },
        "cancel" => Action::Cancel {
            target: reference(number(3)),
        },
        _ => Action::Order(match words[3] {
            "market" => order(Terms::Market, number(4)),
            "ioc" => order(Terms::ImmediateOrCancel(at_price(5)), number(4)),
            _ => order(Terms::Limit(at_price(5)), number(4)),
        }),
    };
    let deadline_ms = words
        .iter()
        .position(|word| *word == "by")
        .map_or(u64::MAX, |at| number(at + 1));
    (
        number(0),
        Command {
            account: account(number(1)),
            reference: reference(own),
            deadline_ms,
            action,
        },
    )
}

fn tell(out: &mut String, applied: &Applied) {
    let _ = write!(out, "  {} {}", applied.sequence.0, applied.outcome.name());
    if let Outcome::Rejected(reason) = applied.outcome {
        let _ = write!(out, " ({})", reason.name());
    }
    if !applied.cancelled.is_zero() {
        let _ = write!(out, ", {} taken out", applied.cancelled.units());
    }
    let _ = writeln!(out);
    for trade in &applied.trades {
        let ((buyer, _), (seller, _)) = (trade.buyer, trade.seller);
        let (units, cents) = (trade.quantity.units(), trade.price.cents());
        let _ = writeln!(
            out,
            "    {} buys {units} of {} at {cents}",
            buyer.number(),
            seller.number()
        );
    }
    for pair in applied.postings.chunks(2) {
        let [from, to] = pair else {
            panic!("postings come in pairs")
        };
        assert_eq!(from.amount.units(), -to.amount.units());
        let (units, asset) = (to.amount.units(), to.asset.name());
        let place = |posting: &exchange_engine::outcome::Posting| {
            format!("{} {}", posting.account.number(), posting.bucket.name())
        };
        let _ = writeln!(out, "    {units} {asset}: {} -> {}", place(from), place(to));
    }
}

fn check(script: &str, expected: &Expect) {
    let mut engine = Engine::default();
    let mut out = String::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let who: u64 = line
            .split_whitespace()
            .nth(1)
            .expect("an account")
            .parse()
            .expect("a number");
        let (time_ms, command) = parse(line, engine.highest_reference(account(who)) + 1);
        let _ = writeln!(out, "{line}");
        tell(
            &mut out,
            &engine.apply(time_ms, &command).expect("a rising reference"),
        );
    }
    let hash = engine.state_hash();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(out, "state {} bytes, {hex}", engine.snapshot().len());
    expected.assert_eq(&out);
}

#[test]
fn a_morning() {
    check(
        "
        1 1 deposit USD 100000
        1 2 deposit BTC 100
        2 2 sell limit 10 1000
        3 1 buy limit 4 1010
        4 1 buy limit 8 1001
        5 2 sell market 1
        6 1 buy market 1 by 5
        7 1 buy ioc 5 1000
        8 2 sell limit 200 1000
        9 1 cancel 3
        10 2 cancel 2
        ",
        &expect![[r#"
            1 1 deposit USD 100000
              1 accepted
                100000 USD: 0 available -> 1 available
            1 2 deposit BTC 100
              2 accepted
                100 BTC: 0 available -> 2 available
            2 2 sell limit 10 1000
              3 accepted
                10 BTC: 2 available -> 2 held
            3 1 buy limit 4 1010
              4 filled
                1 buys 4 of 2 at 1000
                4040 USD: 1 available -> 1 held
                4000 USD: 1 held -> 2 available
                40 USD: 1 held -> 1 available
                4 BTC: 2 held -> 1 available
            4 1 buy limit 8 1001
              5 partly_filled
                1 buys 6 of 2 at 1000
                8008 USD: 1 available -> 1 held
                6000 USD: 1 held -> 2 available
                6 USD: 1 held -> 1 available
                6 BTC: 2 held -> 1 available
            5 2 sell market 1
              6 filled
                1 buys 1 of 2 at 1001
                1 BTC: 2 available -> 2 held
                1001 USD: 1 held -> 2 available
                1 BTC: 2 held -> 1 available
            6 1 buy market 1 by 5
              7 expired
            7 1 buy ioc 5 1000
              8 cancelled, 5 taken out
                5000 USD: 1 available -> 1 held
                5000 USD: 1 held -> 1 available
            8 2 sell limit 200 1000
              9 rejected (insufficient_funds)
            9 1 cancel 3
              10 cancelled, 1 taken out
                1001 USD: 1 held -> 1 available
            10 2 cancel 2
              11 rejected (order_not_open)
            state 268 bytes, 4c43a6044c68309cc19aa26ca9f7c518e36455f25eb2fe9d18cefb43514da714
        "#]],
    );
}
