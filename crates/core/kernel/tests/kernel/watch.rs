//! The watch: several drivers over one journal that is a list, with made-up clocks.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_kernel::{
    Ask, Beat, Cause, Driver, Event, FaultKind, LEADER_SILENT_AFTER, Manner, Opening, Outcome,
    Record, Role, Signal,
};
use mainstay_units::{Epoch, Instant};

use crate::stage::{command, desired, fault, name, owner};

struct Ship {
    journal: Vec<Record>,
    drivers: BTreeMap<&'static str, Driver>,
    read: BTreeMap<&'static str, usize>,
    now: Instant,
    beats: u64,
}

const NODES: [&str; 3] = ["h1", "h2", "h3"];

fn driver(node: &str) -> Driver {
    let opening = Opening {
        origin: format!("mainstay/exchange/{node}"),
        platform: name("exchange"),
    };
    Driver::new(name(node), format!("key-{node}"), opening)
}

impl Ship {
    fn new() -> Self {
        let mut ship = Self {
            journal: Vec::new(),
            drivers: NODES.map(|node| (node, driver(node))).into(),
            read: NODES.map(|node| (node, 0)).into(),
            now: Instant::from_millis(1_000_000),
            beats: 0,
        };
        ship.drivers.get_mut("h1").unwrap().submit(
            1,
            Signal::FileRead {
                digest: "f00d".to_string(),
                desired: Box::new(desired()),
                actor: owner(),
            },
        );
        for _ in 0..4 {
            ship.round(&NODES);
        }
        assert_eq!(ship.drivers["h1"].role(), Role::Leading(Epoch(1)));
        assert_eq!(ship.drivers["h2"].role(), Role::Following);
        ship
    }

    fn wall_ms(&self) -> u64 {
        self.now.as_millis()
    }

    fn follow(&mut self, node: &'static str) {
        let driver = self.drivers.get_mut(node).unwrap();
        let read = self.read.get_mut(node).unwrap();
        for record in &self.journal[*read..] {
            driver.handle_record(self.now, record);
        }
        *read = self.journal.len();
        driver.handle_caught_up(self.now);
    }

    fn append(&mut self, node: &'static str) -> bool {
        let wall_ms = self.wall_ms();
        let driver = self.drivers.get_mut(node).unwrap();
        let Some(batch) = driver.poll_batch(self.now, wall_ms) else {
            return false;
        };
        if batch.records[0].position.0 == self.journal.len() as u64 {
            self.journal.extend(batch.records.iter().cloned());
            driver.handle_appended(self.now, batch);
            self.read.insert(node, self.journal.len());
        } else {
            driver.handle_rejected();
        }
        true
    }

    /// 200 ms in which the living follow, beat, hear and lead.
    fn round(&mut self, living: &[&'static str]) {
        self.now += Duration::from_millis(200);
        self.beats += 1;
        for node in living {
            self.follow(node);
        }
        for node in living {
            let driver = &self.drivers[node];
            let beat = Beat {
                node: name(node),
                number: self.beats,
                key: format!("key-{node}"),
                leads: driver.leads(),
                pending: driver.pending().cloned().collect(),
                passed: driver.passed().cloned().collect(),
            };
            for other in living {
                self.drivers
                    .get_mut(other)
                    .unwrap()
                    .handle_beat(self.now, beat.clone());
            }
        }
        for node in living {
            for _ in 0..2 {
                self.append(node);
            }
        }
    }

    fn rounds(&mut self, living: &[&'static str], duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.round(living);
        }
    }

    fn get(&mut self, node: &str) -> &mut Driver {
        self.drivers.get_mut(node).unwrap()
    }

    fn submit(&mut self, node: &str, signal: Signal) -> Cause {
        let wall_ms = self.wall_ms();
        let driver = self.get(node);
        let cause = driver.submit(wall_ms, signal).unwrap();
        driver.waiting().watch(cause.clone());
        cause
    }
}

#[test]
fn the_lead_moves_when_the_leader_is_silent_and_the_frozen_one_stops() {
    let mut ship = Ship::new();
    ship.rounds(
        &["h2", "h3"],
        LEADER_SILENT_AFTER - Duration::from_millis(400),
    );
    assert_eq!(ship.get("h2").role(), Role::Following);
    ship.rounds(&["h2", "h3"], Duration::from_secs(2));
    assert_eq!(ship.get("h2").role(), Role::Leading(Epoch(2)));
    // The first leader thaws. It is full of work, and finds out at its first append.
    let cause = ship.submit("h1", command(owner(), Ask::Pause));
    assert_eq!(ship.get("h1").role(), Role::Leading(Epoch(1)));
    ship.append("h1");
    assert_eq!(ship.get("h1").role(), Role::Following);
    // What it was asked is not lost.
    for _ in 0..3 {
        ship.round(&NODES);
    }
    assert_eq!(
        ship.get("h1").waiting().poll_answer().map(|(c, _)| c),
        Some(cause)
    );
    assert!(ship.get("h3").state().paused.is_some());
    let claims = ship
        .journal
        .iter()
        .filter(|r| matches!(r.event, Event::Claimed { .. }));
    assert_eq!(claims.count(), 2);
}

/// The silence that made another one lead is part of the silence of that host.
#[test]
fn a_leaders_silence_is_not_counted_twice() {
    let mut ship = Ship::new();
    ship.rounds(&NODES, Duration::from_secs(1));
    let silent_since = ship.now;
    let lost = |ship: &Ship, host: &str| {
        ship.journal.iter().any(
            |record| matches!(&record.event, Event::HostLost { host: lost, .. } if lost.as_str() == host),
        )
    };
    while !lost(&ship, "h1") {
        ship.round(&["h2", "h3"]);
        let silent = ship.now.since(silent_since);
        assert!(silent < Duration::from_millis(10_500), "{silent:?}");
    }
    assert!(ship.now.since(silent_since) >= Duration::from_secs(10));
    assert!(!lost(&ship, "h3"));
}

#[test]
fn an_observer_that_was_late_itself_suspects_nobody() {
    let mut ship = Ship::new();
    // Everybody is starved for a minute; when they run again, all is as it was.
    ship.now += Duration::from_secs(60);
    ship.rounds(&NODES, Duration::from_secs(5));
    assert_eq!(ship.get("h1").role(), Role::Leading(Epoch(1)));
    assert!(
        ship.get("h1")
            .state()
            .lost
            .keys()
            .all(|host| host.as_str() == "h4")
    );
}

#[test]
fn a_restarted_leader_queries_what_it_may_have_begun() {
    let mut ship = Ship::new();
    let spec = fault(FaultKind::HostFreeze, "h3", 60_000);
    ship.submit("h2", command(owner(), Ask::InjectFault(spec)));
    for _ in 0..2 {
        ship.round(&NODES);
    }
    let first = ship.get("h1").poll_effect().unwrap();
    assert_eq!(first.manner, Manner::Start);
    assert_eq!(ship.get("h1").poll_effect(), None);
    assert_eq!(
        ship.get("h2").poll_effect(),
        None,
        "only the leader does it"
    );
    // Killed with the effect in hand, and back.
    ship.drivers.insert("h1", driver("h1"));
    ship.read.insert("h1", 0);
    for _ in 0..2 {
        ship.round(&NODES);
    }
    assert_eq!(ship.get("h1").role(), Role::Leading(Epoch(2)));
    let second = ship.get("h1").poll_effect().unwrap();
    assert_eq!((second.id, second.manner), (first.id, Manner::Query));
    assert!(second.epoch > first.epoch);
    let effect = second.id;
    let outcome = Outcome::Done {
        detail: "set".to_string(),
    };
    ship.submit("h1", Signal::Answered { effect, outcome });
    ship.round(&NODES);
    ship.round(&NODES);
    let answer = ship.get("h2").waiting().poll_answer();
    assert!(
        matches!(answer, Some((_, mainstay_kernel::Answer::Done { .. }))),
        "{answer:?}"
    );
}

#[test]
fn a_signal_that_leads_to_nothing_is_answered_and_forgotten() {
    let mut ship = Ship::new();
    let cause = ship.submit(
        "h3",
        Signal::FileRead {
            digest: "f00d".to_string(),
            desired: Box::new(desired()),
            actor: owner(),
        },
    );
    for _ in 0..3 {
        ship.round(&NODES);
    }
    let answer = ship.get("h3").waiting().poll_answer();
    assert_eq!(answer.map(|(answered, _)| answered), Some(cause));
    assert_eq!(ship.get("h3").pending().count(), 0);
    // And it is not decided twice when the lead moves.
    let length = ship.journal.len();
    ship.rounds(&["h2", "h3"], Duration::from_secs(5));
    let later = &ship.journal[length..];
    assert!(
        later
            .iter()
            .all(|r| matches!(r.event, Event::Claimed { .. })),
        "{later:?}"
    );
}

#[test]
fn numbered_signals_are_decided_once_and_in_order() {
    let mut ship = Ship::new();
    let one = ship.submit("h2", command(owner(), Ask::Pause));
    let two = ship.submit("h2", command(owner(), Ask::Resume));
    let three = ship.submit("h2", command(owner(), Ask::Pause));
    assert!(one.number < two.number && two.number < three.number);
    for _ in 0..4 {
        ship.round(&NODES);
    }
    let causes: Vec<u64> = ship
        .journal
        .iter()
        .filter_map(|record| record.cause.as_ref())
        .filter(|cause| cause.node.as_str() == "h2")
        .map(|cause| cause.number)
        .collect();
    assert_eq!(causes, [one.number, two.number, three.number]);
}

#[test]
fn a_batch_that_cannot_be_written_is_given_up_and_the_leader_leads_on() {
    let mut ship = Ship::new();
    let cause = ship.submit("h1", command(owner(), Ask::Pause));
    let (now, wall_ms) = (ship.now, ship.wall_ms());
    let driver = ship.get("h1");
    let batch = driver.poll_batch(now, wall_ms).unwrap();
    driver.handle_unwritable(batch, "too large");
    assert_eq!(driver.waiting().poll_answer().map(|(c, _)| c), Some(cause));
    assert_eq!(driver.role(), Role::Leading(Epoch(1)));
    for _ in 0..3 {
        ship.round(&NODES);
    }
    assert!(ship.get("h1").state().paused.is_none());
}

#[test]
fn a_command_in_the_heartbeat_of_the_dead_is_not_carried_out_much_later() {
    let mut ship = Ship::new();
    let cause = ship.submit("h3", command(owner(), Ask::Pause));
    let dead = Beat {
        node: name("h3"),
        number: 77_777,
        key: "key-h3".to_string(),
        leads: None,
        pending: ship.drivers["h3"].pending().cloned().collect(),
        passed: Vec::new(),
    };
    ship.rounds(&["h1", "h2"], Duration::from_secs(70));
    let now = ship.now;
    ship.get("h1").handle_beat(now, dead);
    ship.rounds(&["h1", "h2"], Duration::from_secs(6));
    assert!(ship.get("h1").state().paused.is_none());
    // It lives, and has waited that long by its own clock, too: it gives it up itself.
    ship.rounds(&NODES, Duration::from_secs(1));
    assert!(ship.get("h1").state().paused.is_none());
    assert!(
        ship.drivers["h3"]
            .pending()
            .all(|(number, _)| *number != cause.number)
    );
}

/// The number of a command is by the clock of its host, and that may be wrong by more than a command may be old.
#[test]
fn a_command_from_a_host_whose_clock_is_behind_is_carried_out() {
    let mut ship = Ship::new();
    ship.rounds(&NODES, Duration::from_secs(1));
    let behind_ms = ship.wall_ms() - 600_000;
    let pause = command(owner(), Ask::Pause);
    ship.get("h3")
        .submit(behind_ms, pause)
        .expect("there is room");
    ship.rounds(&NODES, Duration::from_secs(2));
    assert!(ship.get("h1").state().paused.is_some());
}

/// One record from an hour ahead stays in the journal; what is due comes all the same, and commands are heard.
#[test]
fn time_goes_on_after_a_clock_that_was_ahead() {
    let mut ship = Ship::new();
    let spec = fault(FaultKind::HostFreeze, "h4", 30_000);
    let ahead_ms = ship.wall_ms() + 3_600_000;
    let inject = command(owner(), Ask::InjectFault(spec));
    let driver = ship.get("h1");
    driver.submit(1, inject).expect("there is room");
    let now = ship.now;
    let batch = ship.get("h1").poll_batch(now, ahead_ms).expect("a fault");
    ship.journal.extend(batch.records.iter().cloned());
    let end = ship.journal.len();
    ship.get("h1").handle_appended(now, batch);
    ship.read.insert("h1", end);
    let over = |ship: &Ship| {
        let mut records = ship.journal.iter();
        records.any(|record| matches!(record.event, Event::FaultEnding { .. }))
    };
    ship.rounds(&NODES, Duration::from_secs(30));
    assert!(!over(&ship), "its time is not over");
    ship.rounds(&NODES, Duration::from_secs(5));
    assert!(over(&ship), "its time is over");
    let wall_ms = ship.wall_ms();
    let resume = command(owner(), Ask::Pause);
    ship.get("h3")
        .submit(wall_ms, resume)
        .expect("there is room");
    ship.rounds(&NODES, Duration::from_secs(2));
    assert!(ship.get("h1").state().paused.is_some());
}
