//! What a customer asked for, read the same way from a witness line and from the books, so the two can be compared by
//! meaning: "2" and "2.00000000" are one quantity, field order means nothing, an unknown field is refused.

use serde::Deserialize;

use crate::decimal;

/// Decimals of a price in USD.
pub const PRICE_SCALE: usize = 2;
/// Decimals of a quantity of BTC; a notional in USD therefore has ten.
pub const QUANTITY_SCALE: usize = 8;
pub const USD_SCALE: usize = PRICE_SCALE + QUANTITY_SCALE;

pub type Account = i64;
pub type Reference = i64;
/// The kind of command by which the exchange itself says what it takes, and the account that says it.
pub const MODE: &str = "mode";
pub const HOUSE: Account = 0;
/// What names an intent, in both inputs.
pub type Key = (Account, Reference);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderType {
    Limit,
    Market,
    Ioc,
}

impl OrderType {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Market => "market",
            Self::Ioc => "ioc",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Asset {
    Usd,
    Btc,
}

impl Asset {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usd => "USD",
            Self::Btc => "BTC",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Usd, Self::Btc]
            .into_iter()
            .find(|asset| asset.name() == name)
    }

    fn scale(self) -> usize {
        match self {
            Self::Usd => USD_SCALE,
            Self::Btc => QUANTITY_SCALE,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub instrument: String,
    pub side: Side,
    pub order_type: OrderType,
    /// Cents; none for a market order.
    pub price: Option<i64>,
    /// 10^-8 BTC.
    pub quantity: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Order(Order),
    Cancel { target: Reference },
    Deposit { asset: Asset, amount: i128 },
    Mode(Mode),
}

/// Which commands the exchange takes, as it says itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    #[default]
    Open,
    ReduceOnly,
    CancelOnly,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub key: Key,
    /// As far off as the venue takes it: up to 2^64 − 1.
    pub deadline_ms: u64,
    pub wish: Wish,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderText {
    account: Account,
    reference: Reference,
    instrument: String,
    side: Side,
    r#type: OrderType,
    price: Option<String>,
    quantity: String,
    deadline_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelText {
    account: Account,
    reference: Reference,
    target_reference: Reference,
    deadline_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeText {
    account: Account,
    reference: Reference,
    mode: Mode,
    deadline_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DepositText {
    account: Account,
    reference: Reference,
    asset: Asset,
    amount: String,
    deadline_ms: u64,
}

impl Request {
    /// Reads a request of a kind; the error says what is wrong.
    pub fn parse(kind: &str, text: &str) -> Result<Self, String> {
        match kind {
            "order" => order(&json(text)?),
            "cancel" => {
                let CancelText {
                    account,
                    reference,
                    target_reference,
                    deadline_ms,
                } = json(text)?;
                let wish = Wish::Cancel {
                    target: target_reference,
                };
                Ok(Self {
                    key: (account, reference),
                    deadline_ms,
                    wish,
                })
            }
            "deposit" => {
                let DepositText {
                    account,
                    reference,
                    asset,
                    amount,
                    deadline_ms,
                } = json(text)?;
                let amount = positive("amount", &amount, asset.scale())?;
                Ok(Self {
                    key: (account, reference),
                    deadline_ms,
                    wish: Wish::Deposit { asset, amount },
                })
            }
            MODE => {
                let ModeText {
                    account,
                    reference,
                    mode,
                    deadline_ms,
                } = json(text)?;
                if account != HOUSE {
                    return Err(format!("a mode is of account {HOUSE}, not of {account}"));
                }
                Ok(Self {
                    key: (account, reference),
                    deadline_ms,
                    wish: Wish::Mode(mode),
                })
            }
            other => Err(format!(
                "kind '{other}' is none of order, cancel, deposit, mode"
            )),
        }
    }
}

fn order(text: &OrderText) -> Result<Request, String> {
    let small = |name: &str, text: &str, scale: usize| {
        i64::try_from(positive(name, text, scale)?)
            .map_err(|_| format!("{name} '{text}' is too large"))
    };
    let price = text
        .price
        .as_deref()
        .map(|price| small("price", price, PRICE_SCALE))
        .transpose()?;
    if price.is_none() != (text.r#type == OrderType::Market) {
        return Err("a market order has no price, every other has one".to_owned());
    }
    let order = Order {
        instrument: text.instrument.clone(),
        side: text.side,
        order_type: text.r#type,
        price,
        quantity: small("quantity", &text.quantity, QUANTITY_SCALE)?,
    };
    Ok(Request {
        key: (text.account, text.reference),
        deadline_ms: text.deadline_ms,
        wish: Wish::Order(order),
    })
}

fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn positive(name: &str, text: &str, scale: usize) -> Result<i128, String> {
    decimal::parse(text, scale)
        .filter(|value| *value > 0)
        .ok_or_else(|| {
            format!("{name} '{text}' is no positive amount with at most {scale} decimals")
        })
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn requests_are_equal_by_meaning() {
        let first = r#"{"account":1,"reference":2,"instrument":"BTC-USD","side":"buy","type":"limit","price":"236.5","quantity":"2","deadline_ms":9}"#;
        let second = r#"{"deadline_ms":9,"reference":2,"account":1,"side":"buy","instrument":"BTC-USD","type":"limit","quantity":"2.00000000","price":"236.50"}"#;
        assert_eq!(
            Request::parse("order", first),
            Request::parse("order", second)
        );
        let other = second.replace("236.50", "236.51");
        assert_ne!(
            Request::parse("order", first),
            Request::parse("order", &other)
        );
        assert!(Request::parse("order", &second.replace("deadline_ms", "deadline")).is_err());
        assert!(Request::parse("order", &second.replace("\"limit\"", "\"market\"")).is_err());
        assert!(Request::parse("gift", first).is_err());
    }
}
