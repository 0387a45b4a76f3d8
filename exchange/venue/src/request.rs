//! Requests of clients: JSON in, a [`Command`] and its canonical text out.
//!
//! Parsing is strict in one place and final: what passes here is valid ever after. Unknown and repeated fields are
//! refused, numbers are plain (amounts are strings, so that no client's JSON library rounds them), and every refusal
//! names the field and says what to do. The canonical text is what the log stores and hashes and what the engine is
//! replayed from: the request's own fields in a fixed order, amounts with their full scale.

use std::fmt::Write;

use exchange_engine::command::{Action, Command, Mode, Order, Terms};
use exchange_engine::decimal;
use exchange_engine::limits::{ISSUED_MAX, PRICE_MAX_CENTS, QUANTITY_MAX};
use exchange_engine::units::{
    Account, Amount, Asset, Instrument, Price, Quantity, Reference, Side,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// What stands in the column `kind` of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Order,
    Cancel,
    Deposit,
    Mode,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Cancel => "cancel",
            Self::Deposit => "deposit",
            Self::Mode => "mode",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Order, Self::Cancel, Self::Deposit, Self::Mode]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    pub fn of(command: &Command) -> Self {
        match command.action {
            Action::Order(_) => Self::Order,
            Action::Cancel { .. } => Self::Cancel,
            Action::Deposit { .. } => Self::Deposit,
            Action::Mode(_) => Self::Mode,
        }
    }
}

/// What is wrong with a request, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct Invalid {
    /// The offending field, or `body`.
    pub field: String,
    pub problem: String,
    pub remedy: String,
}

impl Invalid {
    pub fn new(field: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

type Raw<'a> = Option<&'a RawValue>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderFields<'a> {
    #[serde(borrow)]
    account: Raw<'a>,
    #[serde(borrow)]
    reference: Raw<'a>,
    #[serde(borrow)]
    instrument: Raw<'a>,
    #[serde(borrow)]
    side: Raw<'a>,
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    price: Raw<'a>,
    #[serde(borrow)]
    quantity: Raw<'a>,
    #[serde(borrow)]
    deadline_ms: Raw<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelFields<'a> {
    #[serde(borrow)]
    account: Raw<'a>,
    #[serde(borrow)]
    reference: Raw<'a>,
    #[serde(borrow)]
    target_reference: Raw<'a>,
    #[serde(borrow)]
    deadline_ms: Raw<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DepositFields<'a> {
    #[serde(borrow)]
    account: Raw<'a>,
    #[serde(borrow)]
    reference: Raw<'a>,
    #[serde(borrow)]
    asset: Raw<'a>,
    #[serde(borrow)]
    amount: Raw<'a>,
    #[serde(borrow)]
    deadline_ms: Raw<'a>,
}

/// The account is not asked for: it is the exchange's own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeFields<'a> {
    #[serde(borrow)]
    account: Raw<'a>,
    #[serde(borrow)]
    reference: Raw<'a>,
    #[serde(borrow)]
    mode: Raw<'a>,
    #[serde(borrow)]
    deadline_ms: Raw<'a>,
}

pub fn parse(kind: Kind, body: &str) -> Result<Command, Invalid> {
    match kind {
        Kind::Order => parse_order(body),
        Kind::Cancel => parse_cancel(body),
        Kind::Deposit => parse_deposit(body),
        Kind::Mode => parse_mode(body),
    }
}

fn parse_order(body: &str) -> Result<Command, Invalid> {
    let fields: OrderFields<'_> = serde_json::from_str(body).map_err(|error| structural(&error))?;
    let instrument = choice(
        "instrument",
        fields.instrument,
        &Instrument::ALL,
        Instrument::name,
    )?;
    let side = choice("side", fields.side, &[Side::Buy, Side::Sell], Side::name)?;
    let kind: String = text("type", fields.kind)?;
    let price = || {
        let cents = number(
            "price",
            fields.price,
            Price::SCALE,
            i128::from(PRICE_MAX_CENTS),
        )?;
        i64::try_from(cents)
            .ok()
            .and_then(Price::from_cents)
            .ok_or_else(|| out_of_range("price"))
    };
    let terms = match kind.as_str() {
        "limit" => Terms::Limit(price()?),
        "ioc" => Terms::ImmediateOrCancel(price()?),
        "market" if fields.price.is_some() => {
            return Err(Invalid::new(
                "price",
                "a market order has no price",
                "leave the field out, or use type \"ioc\"",
            ));
        }
        "market" => Terms::Market,
        other => {
            let problem = format!("unknown order type {other:?}");
            return Err(Invalid::new(
                "type",
                problem,
                "use \"limit\", \"market\" or \"ioc\"",
            ));
        }
    };
    let quantity = number(
        "quantity",
        fields.quantity,
        Quantity::SCALE,
        i128::from(QUANTITY_MAX),
    )?;
    let quantity = i64::try_from(quantity)
        .ok()
        .and_then(Quantity::positive)
        .ok_or_else(|| out_of_range("quantity"))?;
    command(
        fields.account,
        fields.reference,
        fields.deadline_ms,
        Action::Order(Order {
            instrument,
            side,
            terms,
            quantity,
        }),
    )
}

fn parse_cancel(body: &str) -> Result<Command, Invalid> {
    let fields: CancelFields<'_> =
        serde_json::from_str(body).map_err(|error| structural(&error))?;
    let target = reference("target_reference", fields.target_reference)?;
    command(
        fields.account,
        fields.reference,
        fields.deadline_ms,
        Action::Cancel { target },
    )
}

fn parse_deposit(body: &str) -> Result<Command, Invalid> {
    let fields: DepositFields<'_> =
        serde_json::from_str(body).map_err(|error| structural(&error))?;
    let asset = choice("asset", fields.asset, &Asset::ALL, Asset::name)?;
    let amount = number("amount", fields.amount, asset.scale(), ISSUED_MAX)?;
    command(
        fields.account,
        fields.reference,
        fields.deadline_ms,
        Action::Deposit {
            asset,
            amount: Amount::from_units(amount),
        },
    )
}

fn parse_mode(body: &str) -> Result<Command, Invalid> {
    let fields: ModeFields<'_> = serde_json::from_str(body).map_err(|error| structural(&error))?;
    let mode = choice("mode", fields.mode, &Mode::ALL, Mode::name)?;
    let own = fields.account.map(|account| account.get());
    if own.is_some_and(|account| account != "0") {
        let problem = "a mode is of no account but 0";
        return Err(Invalid::new("account", problem, "leave it out"));
    }
    Ok(Command {
        account: Account::OUTSIDE,
        reference: reference("reference", fields.reference)?,
        deadline_ms: value(
            "deadline_ms",
            fields.deadline_ms,
            "Unix time in milliseconds",
        )?,
        action: Action::Mode(mode),
    })
}

fn command(
    account: Raw<'_>,
    own: Raw<'_>,
    deadline_ms: Raw<'_>,
    action: Action,
) -> Result<Command, Invalid> {
    let account =
        Account::customer(value("account", account, "a whole number")?).ok_or_else(|| {
            Invalid::new(
                "account",
                "not a customer's account",
                "use a number from 1 to 9223372036854775807",
            )
        })?;
    let reference = reference("reference", own)?;
    let deadline_ms = value("deadline_ms", deadline_ms, "Unix time in milliseconds")?;
    Ok(Command {
        account,
        reference,
        deadline_ms,
        action,
    })
}

fn reference(field: &str, raw: Raw<'_>) -> Result<Reference, Invalid> {
    let number = value(field, raw, "a whole number")?;
    Reference::new(number).ok_or_else(|| {
        Invalid::new(
            field,
            "not a reference",
            "use a number from 1 to 9223372036854775807",
        )
    })
}

/// Reads a field as JSON of type `T`; `expected` completes "send …".
fn value<T: DeserializeOwned>(field: &str, raw: Raw<'_>, expected: &str) -> Result<T, Invalid> {
    let Some(raw) = raw else {
        return Err(Invalid::new(field, "missing", format!("send {expected}")));
    };
    serde_json::from_str(raw.get())
        .map_err(|_| Invalid::new(field, "of the wrong type", format!("send {expected}")))
}

fn text(field: &str, raw: Raw<'_>) -> Result<String, Invalid> {
    value(field, raw, "a string")
}

fn choice<T: Copy>(
    field: &str,
    raw: Raw<'_>,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, Invalid> {
    let wanted = text(field, raw)?;
    all.iter()
        .copied()
        .find(|one| name(*one) == wanted)
        .ok_or_else(|| {
            let names: Vec<String> = all.iter().map(|one| format!("{:?}", name(*one))).collect();
            Invalid::new(
                field,
                format!("unknown value {wanted:?}"),
                format!("use {}", names.join(" or ")),
            )
        })
}

/// A positive decimal in a string, at most `most` of the smallest unit.
fn number(field: &str, raw: Raw<'_>, scale: u32, most: i128) -> Result<i128, Invalid> {
    let text: String = value(field, raw, "a decimal number in a string, such as \"1.50\"")?;
    let number = decimal::parse(&text, scale).map_err(|error| {
        Invalid::new(
            field,
            error.to_string(),
            format!("send digits with at most {scale} behind the point"),
        )
    })?;
    if number < 1 || number > most {
        return Err(out_of_range(field));
    }
    Ok(number)
}

fn out_of_range(field: &str) -> Invalid {
    Invalid::new(
        field,
        "zero or too large",
        "send a positive amount within the limits of the instrument",
    )
}

/// Errors of the JSON itself; serde names the field between backticks where there is one.
fn structural(error: &serde_json::Error) -> Invalid {
    let message = error.to_string();
    // A field may have no name at all.
    let named = message.split('`').nth(1).filter(|name| !name.is_empty());
    let field = named.unwrap_or("body");
    if message.starts_with("unknown field") {
        return Invalid::new(
            field,
            "unknown field",
            "leave it out; /openapi.json lists the fields",
        );
    }
    if message.starts_with("duplicate field") {
        return Invalid::new(field, "sent twice", "send it once");
    }
    let place = format!("line {}, column {}", error.line(), error.column());
    Invalid::new(
        "body",
        format!("not the JSON object expected ({place})"),
        "see /openapi.json",
    )
}

/// The command as the log stores it.
pub fn canonical(command: &Command) -> String {
    let mut out = String::with_capacity(192);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{{\"account\":{},\"reference\":{}",
        command.account.number(),
        command.reference.number()
    );
    match &command.action {
        Action::Order(order) => {
            let Order {
                instrument,
                side,
                terms,
                quantity,
            } = order;
            let _ = write!(
                out,
                ",\"instrument\":\"{}\",\"side\":\"{}\"",
                instrument.name(),
                side.name()
            );
            let _ = write!(out, ",\"type\":\"{}\"", terms.name());
            if let Some(price) = terms.price() {
                out.push_str(",\"price\":\"");
                decimal::write(
                    &mut out,
                    i128::from(price.cents()),
                    Price::SCALE,
                    Price::SCALE,
                );
                out.push('"');
            }
            out.push_str(",\"quantity\":\"");
            decimal::write(
                &mut out,
                i128::from(quantity.units()),
                Quantity::SCALE,
                Quantity::SCALE,
            );
            out.push('"');
        }
        Action::Cancel { target } => {
            let _ = write!(out, ",\"target_reference\":{}", target.number());
        }
        Action::Deposit { asset, amount } => {
            let _ = write!(out, ",\"asset\":\"{}\",\"amount\":\"", asset.name());
            decimal::write(
                &mut out,
                amount.units(),
                asset.scale(),
                shown_digits(*asset),
            );
            out.push('"');
        }
        Action::Mode(mode) => {
            let _ = write!(out, ",\"mode\":\"{}\"", mode.name());
        }
    }
    let _ = write!(out, ",\"deadline_ms\":{}}}", command.deadline_ms);
    out
}

/// Digits behind the point that an amount of this asset always shows.
pub const fn shown_digits(asset: Asset) -> u32 {
    match asset {
        Asset::Usd => 2,
        Asset::Btc => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORDER: &str = r#"{"account":1,"reference":2,"instrument":"BTC-USD","side":"buy","type":"limit","price":"236.47","quantity":"2.00000000","deadline_ms":5}"#;

    #[test]
    fn the_canonical_text_reads_back_as_itself() {
        let cancel = r#"{"account":1,"reference":3,"target_reference":2,"deadline_ms":5}"#;
        let deposit =
            r#"{"account":9,"reference":1,"asset":"USD","amount":"1000.00","deadline_ms":5}"#;
        let mode = r#"{"account":0,"reference":1,"mode":"cancelOnly","deadline_ms":5}"#;
        for (kind, text) in [
            (Kind::Order, ORDER),
            (Kind::Cancel, cancel),
            (Kind::Deposit, deposit),
            (Kind::Mode, mode),
        ] {
            let command = parse(kind, text).unwrap();
            assert_eq!(canonical(&command), text);
            assert_eq!(Kind::of(&command), kind);
        }
        let loose = r#" {"deadline_ms":5,"quantity":"2","price":"236.470","account":1,"reference":2,"instrument":"BTC-USD","side":"buy","type":"limit"}"#;
        assert_eq!(parse(Kind::Order, loose).unwrap_err().field, "price");
        let loose = loose.replace("236.470", "236.47");
        assert_eq!(canonical(&parse(Kind::Order, &loose).unwrap()), ORDER);
    }

    #[test]
    fn every_refusal_names_the_field_and_the_remedy() {
        let check = |from: &str, to: &str, field: &str| {
            let body = ORDER.replace(from, to);
            assert_ne!(body, ORDER, "{from} is in the template");
            let error = parse(Kind::Order, &body).unwrap_err();
            assert_eq!(error.field, field, "{body}: {error}");
            assert!(!error.remedy.is_empty());
        };
        check("\"account\":1", "\"account\":0", "account");
        check("\"account\":1", "\"account\":-1", "account");
        check("\"account\":1", "\"account\":\"1\"", "account");
        check("\"account\":1", "\"account\":1.5", "account");
        check("\"account\":1,", "", "account");
        check(
            "\"reference\":2",
            "\"reference\":18446744073709551615",
            "reference",
        );
        check("BTC-USD", "BTC-EUR", "instrument");
        check("buy", "long", "side");
        check("limit", "stop", "type");
        check("limit", "market", "price");
        check("236.47", "236.475", "price");
        check("236.47", "0", "price");
        check("\"236.47\"", "236.47", "price");
        check("2.00000000", "0.00000000", "quantity");
        check("2.00000000", "99999999999999", "quantity");
        check("\"deadline_ms\":5", "\"deadline_ms\":null", "deadline_ms");
        check("\"deadline_ms\":5", "\"deadline_ms\":5,\"tip\":1", "tip");
        check(
            "\"deadline_ms\":5",
            "\"deadline_ms\":5,\"account\":1",
            "account",
        );
        check("}", "", "body");
        check("{", "[", "body");
    }

    #[test]
    fn a_mode_is_of_the_exchange_and_of_no_customer() {
        let check = |body: &str, field: &str| {
            let error = parse(Kind::Mode, body).unwrap_err();
            assert_eq!(error.field, field, "{body}: {error}");
        };
        let told = r#"{"reference":1,"mode":"open","deadline_ms":5}"#;
        let command = parse(Kind::Mode, told).unwrap();
        assert_eq!(command.account, Account::OUTSIDE);
        check(
            r#"{"account":7,"reference":1,"mode":"open","deadline_ms":5}"#,
            "account",
        );
        check(
            r#"{"account":"0","reference":1,"mode":"open","deadline_ms":5}"#,
            "account",
        );
        check(r#"{"reference":1,"mode":"shut","deadline_ms":5}"#, "mode");
        check(
            r#"{"reference":0,"mode":"open","deadline_ms":5}"#,
            "reference",
        );
        check(r#"{"reference":1,"mode":"open"}"#, "deadline_ms");
        check(ORDER, "instrument");
        // Nor can a customer's command be of account 0.
        for kind in [Kind::Order, Kind::Cancel, Kind::Deposit] {
            assert!(parse(kind, &ORDER.replace("\"account\":1", "\"account\":0")).is_err());
        }
    }

    fn commands() -> impl Strategy<Value = Command> {
        let terms = prop_oneof![
            Just(Terms::Market),
            (1..=PRICE_MAX_CENTS).prop_map(|cents| Terms::Limit(Price::from_cents(cents).unwrap())),
            (1..=PRICE_MAX_CENTS)
                .prop_map(|cents| Terms::ImmediateOrCancel(Price::from_cents(cents).unwrap())),
        ];
        let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
        let asset = prop_oneof![Just(Asset::Usd), Just(Asset::Btc)];
        let identifier = 1..=i64::MAX as u64;
        let action = prop_oneof![
            (side, terms, 1..=QUANTITY_MAX).prop_map(|(side, terms, units)| {
                let quantity = Quantity::positive(units).unwrap();
                Action::Order(Order {
                    instrument: Instrument::BtcUsd,
                    side,
                    terms,
                    quantity,
                })
            }),
            identifier.clone().prop_map(|target| Action::Cancel {
                target: Reference::new(target).unwrap()
            }),
            (asset, 1..=ISSUED_MAX).prop_map(|(asset, units)| Action::Deposit {
                asset,
                amount: Amount::from_units(units)
            }),
        ];
        (identifier.clone(), identifier, any::<u64>(), action).prop_map(
            |(account, reference, deadline_ms, action)| {
                let account = Account::customer(account).unwrap();
                let reference = Reference::new(reference).unwrap();
                Command {
                    account,
                    reference,
                    deadline_ms,
                    action,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn every_command_survives_its_canonical_text(command in commands()) {
            let text = canonical(&command);
            let again = parse(Kind::of(&command), &text);
            prop_assert_eq!(again.as_ref(), Ok(&command));
            prop_assert_eq!(canonical(&again.unwrap()), text);
        }

        #[test]
        fn no_body_panics_and_every_refusal_has_a_remedy(body in ".{0,80}", at in 0usize..200, to in any::<char>()) {
            for kind in [Kind::Order, Kind::Cancel, Kind::Deposit, Kind::Mode] {
                let damaged: String = ORDER.chars().enumerate().map(|(place, was)| if place == at { to } else { was }).collect();
                for text in [&body, &damaged] {
                    if let Err(error) = parse(kind, text) {
                        prop_assert!(!error.field.is_empty() && !error.remedy.is_empty());
                    }
                }
            }
        }
    }
}
