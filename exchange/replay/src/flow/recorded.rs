//! A recorded day: `id,timestamp,exchange.timestamp,price,volume,action,direction`, plain or compressed with xz.
//!
//! How the venue's own messages become customers' deeds:
//! - `created` → a limit order at that price and size.
//! - `deleted` → the withdrawal of that order. The recording does not say whether an order left because it was filled or
//!   because its owner withdrew it (580 of 24,918 deletions carry volume 0, a fill). Both become withdrawals: a customer
//!   who withdraws an order that has just been filled is told so, which is an ordinary answer.
//! - `changed` → nothing. 578 of 602 changes reduce the volume, that is, they are the recorded venue's book-keeping of
//!   partial fills; ours makes its own fills, so repeating them as deeds would count each fill twice. The remaining two
//!   dozen (moved prices) are too few to matter.
//! - Deletions of orders entered before the recording began (182) have nothing to withdraw and are left out.
//! - A deletion recorded just before its creation (clock granularity; the worst is 13 ms) follows right after it.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::{Deed, Event, Flow, OrderOrdinal, Side};
use crate::ReplayError;

/// A recording larger than this (decompressed) is refused rather than read into memory.
const SIZE_LIMIT_BYTES: u64 = 1 << 30;

#[derive(Debug)]
struct Row {
    id: u64,
    timestamp_ms: u64,
    price: i64,
    quantity: i64,
    action: Action,
    side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Created,
    Changed,
    Deleted,
}

/// Reads a recording into one pass.
pub fn read(path: &Path) -> Result<Flow, ReplayError> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|source| ReplayError::FlowRead {
        path: shown.clone(),
        source,
    })?;
    let compressed = path.extension().is_some_and(|extension| extension == "xz");
    let reader: Box<dyn Read> = if compressed {
        Box::new(liblzma::read::XzDecoder::new(file))
    } else {
        Box::new(file)
    };
    parse(reader.take(SIZE_LIMIT_BYTES), &shown)
}

fn parse(reader: impl Read, path: &str) -> Result<Flow, ReplayError> {
    let mut table = csv::Reader::from_reader(reader);
    let mut builder = Builder::default();
    let mut record = csv::StringRecord::new();
    loop {
        let line = table.position().line();
        let failed = |problem: String| ReplayError::FlowLine {
            path: path.to_owned(),
            line,
            problem,
        };
        match table.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => builder.add(&row(&record).map_err(failed)?),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    builder.finish().ok_or_else(|| ReplayError::FlowLine {
        path: path.to_owned(),
        line: 1,
        problem: "no order is created in this flow".to_owned(),
    })
}

#[derive(Debug, Default)]
struct Builder {
    events: Vec<Event>,
    ordinals: HashMap<u64, OrderOrdinal>,
    withdrawn_early: HashSet<u64>,
    first_ms: Option<u64>,
    last: Duration,
}

impl Builder {
    fn add(&mut self, row: &Row) {
        let first_ms = *self.first_ms.get_or_insert(row.timestamp_ms);
        // Time never runs backwards in a pass.
        let at = Duration::from_millis(row.timestamp_ms.saturating_sub(first_ms)).max(self.last);
        self.last = at;
        match row.action {
            Action::Changed => {}
            Action::Created => {
                let order =
                    OrderOrdinal::try_from(self.ordinals.len()).unwrap_or(OrderOrdinal::MAX);
                if self.ordinals.insert(row.id, order).is_some() {
                    return;
                }
                let deed = Deed::Enter {
                    order,
                    side: row.side,
                    price: row.price,
                    quantity: row.quantity,
                };
                self.events.push(Event { at, deed });
                if self.withdrawn_early.remove(&row.id) {
                    self.events.push(Event {
                        at,
                        deed: Deed::Withdraw { order },
                    });
                }
            }
            Action::Deleted => match self.ordinals.get(&row.id) {
                Some(order) => self.events.push(Event {
                    at,
                    deed: Deed::Withdraw { order: *order },
                }),
                None => {
                    self.withdrawn_early.insert(row.id);
                }
            },
        }
    }

    fn finish(self) -> Option<Flow> {
        let orders = u32::try_from(self.ordinals.len()).ok()?;
        (orders > 0).then_some(Flow {
            events: self.events,
            span: self.last,
            orders,
        })
    }
}

fn row(record: &csv::StringRecord) -> Result<Row, String> {
    let field = |index: usize, name: &str| {
        record
            .get(index)
            .ok_or_else(|| format!("column {name} is missing"))
    };
    let number = |index: usize, name: &str| {
        let text = field(index, name)?;
        text.parse::<u64>()
            .map_err(|_| format!("{name} '{text}' is not a whole number"))
    };
    let action = match field(5, "action")? {
        "created" => Action::Created,
        "changed" => Action::Changed,
        "deleted" => Action::Deleted,
        other => {
            return Err(format!(
                "action '{other}' is none of created, changed, deleted"
            ));
        }
    };
    let side = match field(6, "direction")? {
        "bid" => Side::Buy,
        "ask" => Side::Sell,
        other => return Err(format!("direction '{other}' is neither bid nor ask")),
    };
    let quantity =
        i64::try_from(number(4, "volume")?).map_err(|_| "volume is too large".to_owned())?;
    if action == Action::Created && quantity == 0 {
        return Err("volume of a created order is 0".to_owned());
    }
    Ok(Row {
        id: number(0, "id")?,
        timestamp_ms: number(1, "timestamp")?,
        price: cents(field(3, "price")?)?,
        quantity,
        action,
        side,
    })
}

fn cents(text: &str) -> Result<i64, String> {
    let failed = || format!("price '{text}' is not a positive amount with at most two decimals");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 2 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(failed());
    }
    let whole: i64 = whole.parse().map_err(|_| failed())?;
    let fraction: i64 = format!("{fraction:0<2}").parse().map_err(|_| failed())?;
    whole
        .checked_mul(100)
        .and_then(|cents| cents.checked_add(fraction))
        .filter(|cents| *cents > 0)
        .ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::flow::Deed;

    const HEADER: &str = "id,timestamp,exchange.timestamp,price,volume,action,direction\n";

    fn check(rows: &str, expected: expect_test::Expect) {
        let text = match parse(format!("{HEADER}{rows}").as_bytes(), "flow.csv") {
            Err(error) => error.to_string(),
            Ok(flow) => flow
                .events
                .iter()
                .map(|event| match event.deed {
                    Deed::Enter {
                        order,
                        side,
                        price,
                        quantity,
                    } => {
                        format!(
                            "{} enter {order} {} {price} {quantity}\n",
                            event.at.as_millis(),
                            side.name()
                        )
                    }
                    Deed::Withdraw { order } => {
                        format!("{} withdraw {order}\n", event.at.as_millis())
                    }
                })
                .collect(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn creations_and_deletions_become_deeds() {
        check(
            "7,1000,1,236.47,200000000,created,bid\n7,1100,1,236.47,5,changed,bid\n9,1150,1,236.5,4,created,ask\n7,1200,1,236.47,0,deleted,bid\n",
            expect_test::expect![[r"
                0 enter 0 buy 23647 200000000
                150 enter 1 sell 23650 4
                200 withdraw 0
            "]],
        );
    }

    #[test]
    fn a_deletion_before_its_creation_follows_it_and_one_without_is_left_out() {
        check(
            "3,1000,1,1,5,deleted,bid\n4,1001,1,2,5,deleted,bid\n3,1002,1,1,5,created,bid\n",
            expect_test::expect![[r"
                2 enter 0 buy 100 5
                2 withdraw 0
            "]],
        );
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        check(
            "3,1000,1,1,5,created,bid\n4,1001,1,2.345,5,created,bid\n",
            expect_test::expect![
                "flow flow.csv line 3: price '2.345' is not a positive amount with at most two decimals"
            ],
        );
    }

    #[test]
    fn compressed_and_plain_recordings_are_the_same_flow() {
        let text = format!("{HEADER}3,1000,1,1,5,created,bid\n3,1001,1,1,5,deleted,bid\n");
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (
            folder.path().join("flow.csv"),
            folder.path().join("flow.csv.xz"),
        );
        std::fs::write(&plain, &text).unwrap();
        let mut encoder = liblzma::read::XzEncoder::new(text.as_bytes(), 6);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut encoder, &mut bytes).unwrap();
        std::fs::write(&packed, bytes).unwrap();
        let flow = super::read(&plain).unwrap();
        assert_eq!(flow.events.len(), 2);
        assert_eq!(super::read(&packed).unwrap(), flow);
        std::fs::write(&packed, "no archive").unwrap();
        assert!(
            super::read(&packed)
                .unwrap_err()
                .to_string()
                .contains("flow.csv.xz line 1")
        );
    }
}
