//! Unfair markets, one wrong each, told in a line per command.
//!
//! `A2 sell 1 100` is account 1's reference 2; `> 100x1 B2` adds a trade at 100 of one unit with account 2's reference 2.
//! Prices are cents, quantities 10^-8, and everything is paid for by deposits made before the first line.

use std::fmt::Write as _;

use super::Market;
use super::money::Bucket;
use crate::finding::{Class, Findings};
use crate::request::{Asset, Key};
use crate::rows::{CommandRow, OrderRow, TradeRow};

const DEADLINE_MS: i64 = 1_000;

fn key(word: &str) -> Key {
    let (account, reference) = word.split_at(1);
    (
        i64::from(account.as_bytes()[0]) - i64::from(b'A') + 1,
        reference.parse().unwrap(),
    )
}

fn decimal(units: &str, scale: usize) -> String {
    let digits = format!("{units:0>width$}", width = scale + 1);
    format!(
        "{}.{}",
        &digits[..digits.len() - scale],
        &digits[digits.len() - scale..]
    )
}

/// What an order's answer says of its trades.
fn filled(trades: &[TradeRow]) -> String {
    let filled: i64 = trades.iter().map(|trade| trade.quantity).sum();
    let fill = |trade: &TradeRow| {
        let (price, quantity) = (trade.price.to_string(), trade.quantity.to_string());
        format!(
            "{{\"price\":\"{}\",\"quantity\":\"{}\"}}",
            decimal(&price, 2),
            decimal(&quantity, 8)
        )
    };
    let fills: Vec<String> = trades.iter().map(fill).collect();
    let (filled, fills) = (decimal(&filled.to_string(), 8), fills.join(","));
    format!(",\"filled\":\"{filled}\",\"fills\":[{fills}]")
}

/// `KEY sell|buy|ioc-buy|ioc-sell QUANTITY PRICE OUTCOME [> PRICExQUANTITY MAKER]…`, or `KEY cancel REFERENCE OUTCOME`, or `KEY usd AMOUNT OUTCOME`;
/// `@` is account 0, which says `@1 mode cancelOnly accepted`; an outcome may carry a reason (`rejected:order_not_open`),
/// what was cancelled (`cancelled-3`) and a time (`accepted@1001`), against which the deadline is held; without one it is
/// recorded with the line before, in time.
fn play(market: &mut Market, sequence: i64, line: &str, findings: &mut Findings) {
    let mut parts = line.split(" > ");
    let words: Vec<&str> = parts.next().unwrap().split(' ').collect();
    let own = key(words[0]);
    let (told, at) = match words.last().unwrap().split_once('@') {
        Some((told, at)) => (told, Some(at.parse().unwrap())),
        None => (*words.last().unwrap(), None),
    };
    let recorded_ms: i64 = at.unwrap_or(market.recorded_ms.max(1));
    let deadline_ms = at.map_or(recorded_ms, |_| DEADLINE_MS);
    let (told, cancelled) = told.split_once('-').unwrap_or((told, ""));
    let (outcome, reason) = told.split_once(':').unwrap_or((told, ""));
    let header = format!("\"account\":{},\"reference\":{}", own.0, own.1);
    let (order_type, side) = words[1].split_once('-').unwrap_or(("limit", words[1]));
    let trades: Vec<TradeRow> = parts
        .zip(1..)
        .map(|(text, line)| trade(text, own, side, sequence, line))
        .collect();
    let (kind, fields) = match side {
        "cancel" => ("cancel", format!("\"target_reference\":{}", words[2])),
        "mode" => ("mode", format!("\"mode\":\"{}\"", words[2])),
        "usd" => (
            "deposit",
            format!("\"asset\":\"USD\",\"amount\":\"{}\"", decimal(words[2], 10)),
        ),
        _ => (
            "order",
            format!(
                "\"instrument\":\"BTC-USD\",\"side\":\"{side}\",\"type\":\"{order_type}\",\"price\":\"{}\",\"quantity\":\"{}\"",
                decimal(words[3], 2),
                decimal(words[2], 8)
            ),
        ),
    };
    let mut stored =
        format!("{{\"sequence\":{sequence},\"epoch\":1,{header},\"outcome\":\"{outcome}\"");
    if !reason.is_empty() {
        let _ = write!(stored, ",\"reason\":\"{reason}\"");
    }
    if !cancelled.is_empty() {
        let _ = write!(stored, ",\"cancelled\":\"{}\"", decimal(cancelled, 8));
    }
    if kind == "order" {
        stored += &filled(&trades);
    }
    let row = CommandRow {
        sequence,
        epoch: 1,
        recorded_ms,
        account: own.0,
        reference: own.1,
        kind: kind.to_owned(),
        request: format!("{{{header},{fields},\"deadline_ms\":{deadline_ms}}}"),
        outcome: stored + "}",
        hash: Vec::new(),
    };
    market.play(&row, &[], &trades, findings);
}

fn trade(text: &str, own: Key, side: &str, sequence: i64, line: i32) -> TradeRow {
    let (numbers, maker) = text.split_once(' ').unwrap();
    let (price, quantity) = numbers.split_once('x').unwrap();
    let (buy, sell) = if side == "buy" {
        (own, key(maker))
    } else {
        (key(maker), own)
    };
    let (price, quantity) = (price.parse().unwrap(), quantity.parse().unwrap());
    TradeRow {
        sequence,
        line,
        instrument: "BTC-USD".to_owned(),
        price,
        quantity,
        buy,
        sell,
    }
}

/// Plays all lines; postings are not the subject here.
fn check(lines: &[&str], expected: &str) {
    let mut market = Market::default();
    for account in 1..=3 {
        for asset in [Asset::Usd, Asset::Btc] {
            market
                .balances
                .insert((account, Bucket::Available, asset), 1_000_000);
        }
    }
    let mut findings = Findings::default();
    for (line, sequence) in lines.iter().zip(1..) {
        play(&mut market, sequence, line, &mut findings);
    }
    let counts: Vec<String> = findings
        .counts
        .iter()
        .filter(|(class, _)| **class != Class::Posting)
        .map(|(class, count)| format!("{class:?} {count}"))
        .collect();
    assert_eq!(counts.join(", "), expected, "{:?}", findings.examples);
}

/// B rests first at 100, C later at 100, B again at 101.
const ASKS: [&str; 3] = [
    "B1 sell 5 100 accepted",
    "C1 sell 5 100 accepted",
    "B2 sell 5 101 accepted",
];

fn after_asks(line: &str, expected: &str) {
    check(&[ASKS[0], ASKS[1], ASKS[2], line], expected);
}

#[test]
fn a_fair_market_is_clean() {
    after_asks("A1 buy 12 101 filled > 100x5 B1 > 100x5 C1 > 101x2 B2", "");
    after_asks("A1 buy 12 100 partly_filled > 100x5 B1 > 100x5 C1", "");
    after_asks("A1 ioc-buy 12 100 cancelled-2 > 100x5 B1 > 100x5 C1", "");
    after_asks("A1 buy 1 99 accepted", "");
    check(
        &[
            ASKS[0],
            "A1 buy 2 100 filled > 100x2 B1",
            "B2 cancel 1 cancelled-3",
            "B3 cancel 1 rejected:order_not_open",
        ],
        "",
    );
}

#[test]
fn the_earlier_order_at_a_price_comes_first() {
    after_asks("A1 buy 5 100 filled > 100x5 C1", "Matching 1");
    after_asks("A1 buy 6 100 filled > 100x3 B1 > 100x3 C1", "Matching 1");
}

#[test]
fn the_better_price_comes_first() {
    after_asks("A1 buy 5 101 filled > 101x5 B2", "Matching 1");
}

#[test]
fn what_crosses_must_trade() {
    after_asks("A1 buy 5 100 accepted", "Matching 1");
    after_asks("A1 buy 8 100 partly_filled > 100x5 B1", "Matching 1");
}

#[test]
fn a_trade_stays_within_its_orders() {
    after_asks("A1 buy 5 99 filled > 100x5 B1", "Trade 1");
    after_asks("A1 buy 5 100 filled > 99x5 B1", "Trade 1");
    after_asks(
        "A1 buy 9 100 partly_filled > 100x6 B1",
        "Trade 1, Outcome 1",
    );
    after_asks("A1 buy 3 100 filled > 100x4 B1", "Trade 1, Outcome 1");
    after_asks("A1 buy 5 100 filled > 100x5 C7", "Invented 1, Outcome 2");
}

#[test]
fn outcomes_say_what_was() {
    after_asks("A1 buy 6 100 filled > 100x5 B1 > 100x1 C1", "");
    after_asks(
        "A1 buy 12 101 partly_filled > 100x5 B1 > 100x5 C1 > 101x2 B2",
        "Outcome 1",
    );
    after_asks("B3 cancel 1 rejected:order_not_open", "Outcome 1");
    after_asks("B3 cancel 7 cancelled", "Outcome 1");
    after_asks("A1 buy 1 99 rejected:insufficient_funds", "Outcome 1");
    after_asks("A1 buy 1000000 99 rejected:insufficient_funds", "");
    after_asks("A1 ioc-buy 1 99 rejected:no_liquidity", "Outcome 1");
}

#[test]
fn what_was_cancelled_is_what_was_left() {
    for told in ["cancelled", "cancelled-4", "cancelled-6"] {
        after_asks(&format!("B3 cancel 1 {told}"), "Outcome 1");
    }
    after_asks("B3 cancel 1 cancelled-5", "");
    for told in ["cancelled", "cancelled-1", "cancelled-12"] {
        let line = format!("A1 ioc-buy 12 100 {told} > 100x5 B1 > 100x5 C1");
        after_asks(&line, "Outcome 1");
    }
    after_asks("A1 buy 1 99 accepted-1", "Outcome 1");
    after_asks(
        "A1 buy 1000000 99 rejected:insufficient_funds-1",
        "Outcome 1",
    );
}

#[test]
fn a_refusal_has_a_reason_that_its_command_can_have() {
    for line in [
        "A1 buy 1 99 rejected",
        "A1 buy 1 99 rejected:rain",
        "A1 buy 1 99 rejected:order_not_open",
        "A1 ioc-buy 1 99 rejected:too_many_open_orders",
        "A1 buy 1 99 expired:rain@1001",
        "A1 usd 7 rejected",
        "A1 usd 7 rejected:insufficient_funds",
        "A1 usd 7 filled",
        "B3 cancel 7 rejected:insufficient_funds",
    ] {
        after_asks(line, "Outcome 1");
    }
    // In an empty market too: only a market order needs somebody to trade with.
    check(&["A1 buy 1 99 rejected:no_liquidity"], "Outcome 1");
    after_asks("A1 buy 1 99 rejected:too_many_open_orders", "");
    after_asks("A1 usd 7 rejected:issue_limit", "");
    after_asks("A1 usd 7 accepted", "");
}

/// Those that were turned away have their row as well.
#[test]
fn every_order_has_its_row() {
    let mut market = Market::default();
    let mut findings = Findings::default();
    play(
        &mut market,
        1,
        "A1 buy 1 99 rejected:insufficient_funds",
        &mut findings,
    );
    assert!(findings.is_clean(), "{:?}", findings.examples);
    assert_eq!(market.entered(), 1);
    let row = OrderRow {
        key: (1, 1),
        sequence: 1,
        status: "rejected".to_owned(),
        side: "buy".to_owned(),
        order_type: "limit".to_owned(),
        price: Some(99),
        quantity: 1,
        filled: 0,
    };
    let check = |row: &OrderRow, expected: u64| {
        let mut findings = Findings::default();
        assert!(market.check_order(row, &mut findings));
        assert_eq!(findings.count(Class::Order), expected, "{row:?}");
    };
    check(&row, 0);
    let price = Some(98);
    check(&OrderRow { price, ..row }, 1);
}

#[test]
fn deadlines_and_references_are_kept() {
    after_asks("A1 buy 1 99 accepted@1001", "Deadline 1");
    after_asks("A1 buy 1 99 expired@1000", "Deadline 1");
    after_asks("A1 buy 1 99 expired@1001", "");
    after_asks("B2 buy 1 99 accepted", "Sequence 1");
    after_asks("A1 buy 1 99 accepted@0", "Sequence 1");
}

#[test]
fn a_mode_lets_in_what_it_says_and_nothing_else() {
    const REDUCE: &str = "@1 mode reduceOnly accepted";
    const CANCEL: &str = "@1 mode cancelOnly accepted";
    let bid = "B1 buy 5 100 accepted";
    check(
        &[
            bid,
            REDUCE,
            "A1 buy 1 99 rejected:reduce_only",
            "A2 sell 2 100 filled > 100x2 B1",
            "@2 mode cancelOnly accepted",
            "A3 sell 2 100 rejected:cancel_only",
            "B2 cancel 1 cancelled-3",
            "A4 buy 1 99 expired@1001",
            "@3 mode open accepted",
            "A5 buy 1 99 accepted",
        ],
        "",
    );
    check(&[REDUCE, "A1 buy 1 99 accepted"], "Outcome 1");
    check(&[REDUCE, "A1 sell 1 99 rejected:reduce_only"], "Outcome 1");
    check(
        &[bid, CANCEL, "A1 sell 2 100 filled > 100x2 B1"],
        "Outcome 1",
    );
    check(&[CANCEL, "A1 sell 2 100 rejected:reduce_only"], "Outcome 1");
    check(&["A1 buy 1 99 rejected:cancel_only"], "Outcome 1");
    check(
        &[bid, CANCEL, "B2 cancel 1 rejected:cancel_only"],
        "Outcome 1",
    );
    // One that was refused or came too late changes nothing.
    check(
        &["@1 mode cancelOnly expired@1001", "A1 buy 1 99 accepted"],
        "",
    );
    check(
        &[
            "@1 mode cancelOnly filled",
            "A1 buy 1 99 rejected:cancel_only",
        ],
        "Outcome 1",
    );
    // Nobody but the exchange says so, and it says nothing else.
    check(&["A1 mode cancelOnly accepted"], "Unreadable 1");
    check(&["@1 cancel 1 rejected:order_not_open"], "Invented 1");
}
