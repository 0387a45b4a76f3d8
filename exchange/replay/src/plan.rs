//! The plan of a run: which account says what, with which reference, at which moment.
//!
//! Passes of the flow follow each other until the run is long enough. Each pass is compressed in time as a whole, so its
//! bursts and pauses stay in proportion, and brings fresh accounts with references from 1, so no pass can be confused
//! with another. A reference number increases per account, in the order of the plan.
//!
//! **One intent in flight per account.** References must increase per account, so a second intent sent before the answer
//! to the first could overtake it and have it refused. Customers are therefore many (hundreds of accounts a pass, orders
//! dealt to them in turn) and each waits for its own answer; across accounts nothing waits. What an intent loses by
//! waiting for its own account counts in its latency, since that runs from the planned time.
//!
//! **Shortest life.** Compressing five hours into two minutes also compresses the 9 seconds an order lives into fifty
//! milliseconds, and a tenth of the orders into less than one: no customer withdraws an order before being told that it
//! was entered. A withdrawal is therefore planned at least `shortest_life` after its order. The share of withdrawals and
//! everything else stay as they were.

use std::time::Duration;

use crate::flow::{Deed, Flow, Side, Source};

/// References of an account's two deposits; its orders follow.
pub const DEPOSIT_USD_REFERENCE: u64 = 1;
pub const DEPOSIT_BTC_REFERENCE: u64 = 2;
const FIRST_FLOW_REFERENCE: u64 = 3;

/// What each account is given: enough for all its orders of a pass to rest at once, at any price of the flow.
pub const DEPOSIT_USD: &str = "100000000.00";
pub const DEPOSIT_BTC: &str = "1000000.00000000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    Deposit(Asset),
    Order {
        side: Side,
        price: i64,
        quantity: i64,
    },
    Cancel {
        target_reference: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asset {
    Usd,
    Btc,
}

/// One thing that one customer wants, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// Since the start of the run.
    pub planned: Duration,
    pub account: u64,
    pub reference: u64,
    pub say: Say,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// Intents per second, on average over a pass.
    pub rate: u32,
    pub duration: Duration,
    pub first_account: u64,
    pub accounts_per_pass: u32,
    pub shortest_life: Duration,
}

/// Yields the intents of the run in order of time, one pass at a time.
#[derive(Debug)]
pub struct Plan {
    source: Source,
    settings: Settings,
    pass: u32,
    pass_begins: Duration,
    ready: std::vec::IntoIter<Intent>,
}

impl Plan {
    #[must_use]
    pub fn new(source: Source, settings: Settings) -> Self {
        assert!(
            settings.rate > 0 && settings.accounts_per_pass > 0,
            "arguments have been checked"
        );
        Self {
            source,
            settings,
            pass: 0,
            pass_begins: Duration::ZERO,
            ready: Vec::new().into_iter(),
        }
    }

    /// Passes that begin within the duration; their accounts are funded before the start.
    #[must_use]
    pub fn passes(&self) -> u32 {
        let mut begins = Duration::ZERO;
        let mut passes = 0;
        while begins < self.settings.duration {
            begins += self.pass_length(&self.source.pass(passes));
            passes += 1;
        }
        passes
    }

    /// How long a pass lasts at the given rate; never less than a millisecond, so that passes always end.
    fn pass_length(&self, flow: &Flow) -> Duration {
        let nanos = flow.events.len() as u64 * 1_000_000_000 / u64::from(self.settings.rate);
        Duration::from_nanos(nanos).max(Duration::from_millis(1))
    }

    fn next_pass(&mut self) {
        let flow = self.source.pass(self.pass);
        let length = self.pass_length(&flow);
        let account_base = self.settings.first_account
            + u64::from(self.pass) * u64::from(self.settings.accounts_per_pass);
        let timed = compress(&flow, length, self.settings.shortest_life);
        let mut intents = address(
            &timed,
            account_base,
            self.settings.accounts_per_pass,
            flow.orders,
        );
        for intent in &mut intents {
            intent.planned += self.pass_begins;
        }
        self.ready = intents.into_iter();
        self.pass_begins += length;
        self.pass += 1;
    }
}

impl Iterator for Plan {
    type Item = Intent;

    fn next(&mut self) -> Option<Intent> {
        loop {
            if let Some(intent) = self.ready.next() {
                return (intent.planned < self.settings.duration).then_some(intent);
            }
            if self.pass_begins >= self.settings.duration {
                return None;
            }
            self.next_pass();
        }
    }
}

/// Moves a pass into `length`, keeping proportions, then gives each order its shortest life.
fn compress(flow: &Flow, length: Duration, shortest_life: Duration) -> Vec<(Duration, Deed)> {
    let span = flow.span.as_nanos().max(1);
    let mut entered = vec![Duration::ZERO; flow.orders as usize];
    let mut timed = Vec::with_capacity(flow.events.len());
    for event in &flow.events {
        let nanos = event.at.as_nanos() * length.as_nanos() / span;
        let mut at = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        match event.deed {
            Deed::Enter { order, .. } => entered[order as usize] = at,
            // Clamped, so that passes do not overlap; that touches only the last moments of a pass.
            Deed::Withdraw { order } => {
                at = at.max(entered[order as usize] + shortest_life).min(length)
            }
        }
        timed.push((at, event.deed));
    }
    timed.sort_by_key(|(at, _)| *at);
    timed
}

/// Deals the orders of a pass to its accounts in turn and numbers what each account says.
fn address(
    timed: &[(Duration, Deed)],
    account_base: u64,
    accounts: u32,
    orders: u32,
) -> Vec<Intent> {
    let mut next_reference = vec![FIRST_FLOW_REFERENCE; accounts as usize];
    let mut order_reference = vec![0_u64; orders as usize];
    timed
        .iter()
        .map(|(planned, deed)| {
            let (Deed::Enter { order, .. } | Deed::Withdraw { order }) = *deed;
            let owner = order % accounts;
            let reference = next_reference[owner as usize];
            next_reference[owner as usize] += 1;
            let say = match *deed {
                Deed::Enter {
                    side,
                    price,
                    quantity,
                    ..
                } => {
                    order_reference[order as usize] = reference;
                    Say::Order {
                        side,
                        price,
                        quantity,
                    }
                }
                Deed::Withdraw { .. } => Say::Cancel {
                    target_reference: order_reference[order as usize],
                },
            };
            assert!(
                order_reference[order as usize] > 0,
                "an order is entered before it is withdrawn"
            );
            Intent {
                planned: *planned,
                account: account_base + u64::from(owner),
                reference,
                say,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::{Plan, Say, Settings};
    use crate::flow::Source;

    fn settings(rate: u32, seconds: u64) -> Settings {
        Settings {
            rate,
            duration: Duration::from_secs(seconds),
            first_account: 1_000,
            accounts_per_pass: 40,
            shortest_life: Duration::from_millis(50),
        }
    }

    fn source() -> Source {
        Source::Generated {
            seed: 1,
            orders: 500,
        }
    }

    #[test]
    fn rate_and_duration_are_kept_over_several_passes() {
        let plan = Plan::new(source(), settings(200, 30));
        let passes = plan.passes();
        assert!(passes >= 6, "{passes}");
        let intents: Vec<_> = plan.collect();
        let rate = intents.len() / 30;
        assert!((190..=210).contains(&rate), "{rate}");
        let accounts: BTreeSet<_> = intents.iter().map(|intent| intent.account).collect();
        assert!(
            accounts
                .iter()
                .all(|account| (1_000..1_000 + u64::from(passes) * 40).contains(account))
        );
    }

    #[test]
    fn references_increase_per_account_and_cancels_name_orders_of_their_own_account() {
        let mut last = BTreeMap::new();
        let mut orders = BTreeMap::new();
        let (mut cancels, mut too_soon) = (0, 0);
        let mut planned = Duration::ZERO;
        for intent in Plan::new(source(), settings(500, 10)) {
            let before = last.insert(intent.account, intent.reference).unwrap_or(2);
            assert_eq!(intent.reference, before + 1);
            assert!(intent.planned >= planned, "the plan is in order of time");
            planned = intent.planned;
            match intent.say {
                Say::Order { .. } => {
                    orders.insert((intent.account, intent.reference), intent.planned);
                }
                Say::Cancel { target_reference } => {
                    let entered = orders[&(intent.account, target_reference)];
                    cancels += 1;
                    too_soon += u32::from(intent.planned < entered + Duration::from_millis(50));
                }
                Say::Deposit(_) => panic!("deposits are made before the flow"),
            }
        }
        assert!(orders.len() > 2_000);
        assert!(
            too_soon * 100 < cancels * 3,
            "{too_soon} of {cancels} cancels come too soon"
        );
    }
}
