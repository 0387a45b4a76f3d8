//! Five hours of a real venue's orders through the engine (Bitstamp BTC/USD, 2015-05-01), or a generated flow where
//! the recording is not at hand. Checked at every step: postings balance, the book is never crossed; at the end the log
//! replayed gives the same state, and what the engine traded agrees with what the venue reported of the same orders.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use exchange_engine::command::{Action, Command};
use exchange_engine::engine::Engine;
use exchange_engine::outcome::{Applied, Outcome};
use exchange_engine::units::{Asset, Side};
use support::{account, amount, limit, reference};

const ACCOUNTS: u64 = 50;
const FUNDS: i128 = 1_000_000_000_000_000_000_000_000;

/// One line of the recording.
struct Event {
    id: u64,
    time_ms: u64,
    cents: i64,
    volume: i64,
    action: String,
    side: Side,
}

/// Beside the repository, wherever that is.
fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/bitstamp-2015-05-01/orders.csv.xz")
}

fn read(path: &Path) -> Vec<Event> {
    let file = std::fs::File::open(path).expect("the recording opens");
    let mut text = String::new();
    liblzma::read::XzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("the recording decompresses");
    let event = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let cents = exchange_engine::decimal::parse(fields[3], 2).expect("a price");
        Event {
            id: fields[0].parse().expect("an id"),
            time_ms: fields[1].parse().expect("a time"),
            cents: i64::try_from(cents).expect("a price that fits"),
            volume: fields[4].parse().expect("a volume"),
            action: fields[5].to_owned(),
            side: if fields[6] == "bid" {
                Side::Buy
            } else {
                Side::Sell
            },
        }
    };
    text.lines().skip(1).map(event).collect()
}

/// With the proportions of the recording: as many deletes as creates, one order in forty trades.
fn generated() -> Vec<Event> {
    let mut dice = 0x2545_f491_4f6c_dd1du64;
    let mut below = move |bound: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % bound
    };
    let (mut events, mut live) = (vec![], vec![]);
    for number in 1..4_000u64 {
        let side = if below(2) == 0 { Side::Buy } else { Side::Sell };
        let away = below(300) as i64 - 4;
        let cents = if side == Side::Buy {
            23_600 - away
        } else {
            23_601 + away
        };
        let volume = 1 + below(700_000_000) as i64;
        events.push(Event {
            id: number,
            time_ms: number,
            cents,
            volume,
            action: "created".to_owned(),
            side,
        });
        live.push((number, cents, side));
        if live.len() > 150 {
            let (id, cents, side) = live.swap_remove(below(150) as usize);
            events.push(Event {
                id,
                time_ms: number,
                cents,
                volume: 0,
                action: "deleted".to_owned(),
                side,
            });
        }
    }
    events
}

/// Plays events as commands of a few accounts and keeps the log.
struct Player {
    engine: Engine,
    log: Vec<(u64, Command)>,
    /// Where each order of the recording went: account and reference.
    orders: HashMap<u64, (u64, u64)>,
    /// And back.
    ids: HashMap<(u64, u64), u64>,
    sums: BTreeMap<Asset, i128>,
    trades: usize,
}

impl Player {
    fn new() -> Self {
        let sums = BTreeMap::new();
        let mut player = Self {
            engine: Engine::default(),
            log: vec![],
            orders: HashMap::new(),
            ids: HashMap::new(),
            sums,
            trades: 0,
        };
        for who in 1..=ACCOUNTS {
            for asset in Asset::ALL {
                player.play(
                    0,
                    who,
                    Action::Deposit {
                        asset,
                        amount: amount(FUNDS),
                    },
                );
            }
        }
        player
    }

    fn play(&mut self, time_ms: u64, who: u64, action: Action) -> (u64, Applied) {
        let own = self.engine.highest_reference(account(who)) + 1;
        let command = Command {
            account: account(who),
            reference: reference(own),
            deadline_ms: u64::MAX,
            action,
        };
        let applied = self
            .engine
            .apply(time_ms.max(self.engine.recorded_ms()), &command)
            .expect("a rising reference");
        for posting in &applied.postings {
            *self.sums.entry(posting.asset).or_default() += posting.amount.units();
        }
        assert!(self.sums.values().all(|sum| *sum == 0));
        self.trades += applied.trades.len();
        self.log.push((self.engine.recorded_ms(), command));
        (own, applied)
    }
}

/// What became of the recording's orders.
#[derive(Default)]
struct Counts {
    created: usize,
    cancelled: usize,
    /// Deletes of orders that had traded to the end.
    gone: usize,
    /// Trades of which the venue reported the same rest of the resting order.
    confirmed: usize,
}

fn play(player: &mut Player, counts: &mut Counts, event: &Event, reported: &BTreeSet<(u64, i64)>) {
    match event.action.as_str() {
        "created" if event.volume > 0 && event.cents > 0 => {
            let who = 1 + event.id % ACCOUNTS;
            let order = limit(event.side, event.cents, event.volume);
            let (own, applied) = player.play(event.time_ms, who, Action::Order(order));
            assert!(
                !matches!(applied.outcome, Outcome::Rejected(_)),
                "{applied:?}"
            );
            // The first states are the makers'; the last is the order's own.
            for maker in applied.orders.iter().rev().skip(1) {
                let id = player
                    .ids
                    .get(&(maker.account.number(), maker.reference.number()));
                let left = maker.quantity.less(maker.filled).units();
                counts.confirmed +=
                    usize::from(id.is_some_and(|id| reported.contains(&(*id, left))));
            }
            player.orders.insert(event.id, (who, own));
            player.ids.insert((who, own), event.id);
            counts.created += 1;
        }
        "deleted" => {
            let Some((who, own)) = player.orders.get(&event.id).copied() else {
                return;
            };
            let target = reference(own);
            let (_, applied) = player.play(event.time_ms, who, Action::Cancel { target });
            match applied.outcome {
                Outcome::Cancelled => counts.cancelled += 1,
                _ => counts.gone += 1,
            }
        }
        _ => {}
    }
}

#[test]
fn a_recorded_day_plays_through() {
    let path = recording();
    let (name, events) = if path.exists() {
        ("real", read(&path))
    } else {
        println!(
            "skipped: {} is not there; a generated flow stands in",
            path.display()
        );
        ("generated", generated())
    };
    // What the venue reported an order to have left, at any time; zero also when it was filled.
    let reported: BTreeSet<(u64, i64)> = events
        .iter()
        .map(|event| (event.id, event.volume))
        .collect();
    let (mut player, mut counts) = (Player::new(), Counts::default());
    for event in &events {
        play(&mut player, &mut counts, event, &reported);
    }
    player.engine.check().expect("the state is sound");
    let mut again = Engine::default();
    for (time_ms, command) in &player.log {
        again.apply(*time_ms, command).expect("the log replays");
    }
    assert_eq!(again.state_hash(), player.engine.state_hash());
    let Counts {
        created,
        cancelled,
        gone,
        confirmed,
    } = counts;
    let trades = player.trades;
    println!(
        "{name}: {created} orders, {trades} trades, {cancelled} cancels that found their order, {gone} that came after its fill"
    );
    if name == "real" {
        println!(
            "  the venue reported the same rest of the resting order for {confirmed} of {trades} trades"
        );
        assert!(
            confirmed * 10 > trades * 8,
            "the engine trades as the venue did"
        );
    }
    assert!(trades > 50 && cancelled > created / 2);
}
