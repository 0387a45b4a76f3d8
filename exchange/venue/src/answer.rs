//! Answers to commands: the outcome as JSON, as the log stores it, and as the client sees it.
//!
//! The stored text is made from the engine's result, the cell and the epoch alone, so that replaying the log makes it
//! again, byte for byte; restoring compares the two. The client's answer is the stored text plus what cannot be part
//! of it: the hash that covers it, and the mark of an answer given before.

use std::fmt::Write;

use exchange_engine::command::{Action, Command};
use exchange_engine::decimal;
use exchange_engine::outcome::{Applied, Outcome};
use exchange_engine::units::{Price, Quantity};

/// The outcome as the log stores it.
pub fn stored(cell: &str, epoch: u64, command: &Command, applied: &Applied) -> String {
    let mut out = String::with_capacity(256);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{{\"cell\":\"{cell}\",\"sequence\":{},\"epoch\":{epoch},\"account\":{},\"reference\":{},\"outcome\":\"{}\"",
        applied.sequence.0,
        command.account.number(),
        command.reference.number(),
        applied.outcome.name(),
    );
    if let Outcome::Rejected(reason) = applied.outcome {
        let _ = write!(out, ",\"reason\":\"{}\"", reason.name());
    }
    if matches!(command.action, Action::Order(_)) {
        out.push_str(",\"filled\":\"");
        write_quantity(&mut out, applied.filled);
        out.push_str("\",\"fills\":[");
        for (at, trade) in applied.trades.iter().enumerate() {
            out.push_str(if at == 0 {
                "{\"price\":\""
            } else {
                ",{\"price\":\""
            });
            write_price(&mut out, trade.price);
            out.push_str("\",\"quantity\":\"");
            write_quantity(&mut out, trade.quantity);
            out.push_str("\"}");
        }
        out.push(']');
    }
    if !applied.cancelled.is_zero() {
        out.push_str(",\"cancelled\":\"");
        write_quantity(&mut out, applied.cancelled);
        out.push('"');
    }
    out.push('}');
    out
}

/// The answer as it is sent: the stored text with its hash.
pub fn sent(stored: &str, hash: &[u8; 32], replayed: bool) -> String {
    let body = stored.strip_suffix('}').unwrap_or(stored);
    let mut out = String::with_capacity(stored.len() + 100);
    out.push_str(body);
    out.push_str(",\"hash\":\"");
    for byte in hash {
        let _ = write!(out, "{byte:02x}");
    }
    out.push_str(if replayed {
        "\",\"replayed\":true}"
    } else {
        "\"}"
    });
    out
}

pub fn write_price(out: &mut String, price: Price) {
    decimal::write(out, i128::from(price.cents()), Price::SCALE, Price::SCALE);
}

pub fn write_quantity(out: &mut String, quantity: Quantity) {
    decimal::write(
        out,
        i128::from(quantity.units()),
        Quantity::SCALE,
        Quantity::SCALE,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{self, Kind};
    use exchange_engine::engine::Engine;

    #[test]
    fn answers_read_as_the_api_says() {
        let mut engine = Engine::default();
        let mut play = |kind, body: &str| {
            let command = request::parse(kind, body).unwrap();
            let applied = engine.apply(10, &command).unwrap();
            stored("cell", 3, &command, &applied)
        };
        let deposit = play(
            Kind::Deposit,
            r#"{"account":1,"reference":1,"asset":"BTC","amount":"1","deadline_ms":10}"#,
        );
        assert_eq!(
            deposit,
            r#"{"cell":"cell","sequence":1,"epoch":3,"account":1,"reference":1,"outcome":"accepted"}"#
        );
        play(
            Kind::Deposit,
            r#"{"account":2,"reference":1,"asset":"USD","amount":"100","deadline_ms":10}"#,
        );
        play(
            Kind::Order,
            r#"{"account":1,"reference":2,"instrument":"BTC-USD","side":"sell","type":"limit","price":"10","quantity":"1","deadline_ms":10}"#,
        );
        let fill = play(
            Kind::Order,
            r#"{"account":2,"reference":2,"instrument":"BTC-USD","side":"buy","type":"ioc","price":"11","quantity":"3","deadline_ms":10}"#,
        );
        assert!(fill.ends_with(r#""outcome":"cancelled","filled":"1.00000000","fills":[{"price":"10.00","quantity":"1.00000000"}],"cancelled":"2.00000000"}"#), "{fill}");
        let rejected = play(
            Kind::Cancel,
            r#"{"account":2,"reference":3,"target_reference":2,"deadline_ms":10}"#,
        );
        assert!(
            rejected.ends_with(r#""outcome":"rejected","reason":"order_not_open"}"#),
            "{rejected}"
        );
        let answer: serde_json::Value = serde_json::from_str(&sent(&fill, &[7; 32], true)).unwrap();
        assert_eq!(answer["replayed"], true);
        assert_eq!(answer["hash"].as_str().unwrap().len(), 64);
    }
}
