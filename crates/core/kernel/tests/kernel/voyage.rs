//! Seeded voyages: the watch under freezes, restarts, cuts, and appends of which nobody knows whether they
//! happened; then calm weather. The checker reads the journal only and knows nothing of the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_kernel::{
    Ask, Beat, Cause, Driver, EffectId, Event, FaultKind, Manner, Opening, Outcome, Record, Reflex,
    Role, Signal,
};
use mainstay_units::{Epoch, Instant};

use crate::stage::{command, desired, fault, name, owner, report};

const NODES: [&str; 3] = ["h1", "h2", "h3"];
const SEEDS: u64 = 40;
const STORM_STEPS: u32 = 600;
const CALM: Duration = Duration::from_secs(90);

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

struct Node {
    driver: Driver,
    read: usize,
    /// Frozen or cut until then; the two differ in whether the clock of the node's own timers runs.
    asleep_until: Instant,
    cut_until: Instant,
    beats: u64,
    /// Reports handed in during this run of the node.
    handed_in: Vec<Cause>,
    doing: Vec<(EffectId, Instant)>,
}

struct Voyage {
    dice: Dice,
    now: Instant,
    journal: Vec<Record>,
    /// Who appended each record.
    authors: Vec<&'static str>,
    beats: BTreeMap<&'static str, Beat>,
    nodes: BTreeMap<&'static str, Node>,
    started: BTreeSet<EffectId>,
    reports: u64,
}

fn boot(node: &str, now: Instant, seed: u64) -> Node {
    let opening = Opening {
        origin: format!("mainstay/exchange/{node}"),
        platform: name("exchange"),
    };
    let mut driver = Driver::new(name(node), format!("key-{node}"), opening);
    let file = Signal::FileRead {
        digest: "f00d".to_string(),
        desired: Box::new(desired()),
        actor: owner(),
    };
    driver.submit(now.as_millis(), file);
    Node {
        driver,
        read: 0,
        asleep_until: now,
        cut_until: now,
        beats: seed,
        handed_in: Vec::new(),
        doing: Vec::new(),
    }
}

impl Voyage {
    fn new(seed: u64) -> Self {
        let now = Instant::from_millis(1_000_000);
        Self {
            dice: Dice(seed),
            now,
            journal: Vec::new(),
            authors: Vec::new(),
            beats: BTreeMap::new(),
            nodes: NODES.map(|node| (node, boot(node, now, 0))).into(),
            started: BTreeSet::new(),
            reports: 0,
        }
    }

    fn storm(&mut self) {
        for _ in 0..STORM_STEPS {
            self.now += Duration::from_millis(20 + self.dice.below(200));
            let node = NODES[self.dice.below(3) as usize];
            if self.dice.one_in(60) {
                let seed = self.dice.below(1 << 40);
                self.nodes.insert(node, boot(node, self.now, seed));
            }
            let nap = Duration::from_millis(self.dice.below(8_000));
            if self.dice.one_in(40) {
                self.node(node).asleep_until = self.now + nap;
            }
            if self.dice.one_in(40) {
                self.node(node).cut_until = self.now + nap;
            }
            if self.dice.one_in(4) {
                self.hand_in(node);
            }
            if self.dice.one_in(30) {
                let kind = FaultKind::HostFreeze;
                let spec = fault(kind, "h4", 500 + self.dice.below(3_000));
                let wall_ms = self.now.as_millis();
                let inject = command(owner(), Ask::InjectFault(spec));
                self.node(node).driver.submit(wall_ms, inject);
            }
            for node in NODES {
                self.turn(node, 12);
            }
        }
    }

    fn calm(&mut self) {
        let end = self.now + CALM;
        while self.now < end {
            self.now += Duration::from_millis(100);
            for node in NODES {
                self.turn(node, u64::MAX);
            }
        }
    }

    fn node(&mut self, node: &str) -> &mut Node {
        self.nodes.get_mut(node).unwrap()
    }

    fn hand_in(&mut self, node: &'static str) {
        self.reports += 1;
        let (instance, restarts) = (format!("p{}", self.reports), self.reports);
        let reflex = Reflex::CrashLoop { instance, restarts };
        let wall_ms = self.now.as_millis();
        let node_state = self.node(node);
        let submitted = node_state
            .driver
            .submit(wall_ms, report(node, wall_ms, reflex));
        node_state.handed_in.extend(submitted);
    }

    /// One turn of a node, in which one append in `trouble` goes wrong in one of two ways.
    fn turn(&mut self, node: &'static str, trouble: u64) {
        let now = self.now;
        if self.nodes[node].asleep_until > now {
            return;
        }
        self.answer(node);
        if self.nodes[node].cut_until > now {
            self.node(node).driver.handle_rejected();
            return;
        }
        // A leader may append before it reads, as one does that thaws in the middle of a turn.
        let stale = trouble != u64::MAX && self.dice.one_in(10);
        if !stale {
            self.follow(node);
        }
        for beat in self.beats.values().cloned().collect::<Vec<_>>() {
            self.node(node).driver.handle_beat(now, beat);
        }
        for _ in 0..2 {
            self.append(node, trouble);
        }
        self.begin(node);
        let state = self.node(node);
        state.beats += 1;
        let beat = Beat {
            node: name(node),
            number: state.beats,
            key: format!("key-{node}"),
            leads: state.driver.leads(),
            pending: state.driver.pending().cloned().collect(),
            passed: state.driver.passed().cloned().collect(),
        };
        self.beats.insert(node, beat);
    }

    fn follow(&mut self, node: &'static str) {
        let now = self.now;
        let state = self.nodes.get_mut(node).unwrap();
        for record in &self.journal[state.read..] {
            state.driver.handle_record(now, record);
        }
        state.read = self.journal.len();
        state.driver.handle_caught_up(now);
    }

    fn append(&mut self, node: &'static str, trouble: u64) {
        let now = self.now;
        let wall_ms = now.as_millis();
        let Some(batch) = self.node(node).driver.poll_batch(now, wall_ms) else {
            return;
        };
        let free = batch.records[0].position.0 == self.journal.len() as u64;
        let fails = trouble != u64::MAX && self.dice.one_in(trouble);
        // Failed, and yet published: nobody knows.
        let published = free && (!fails || self.dice.one_in(2));
        if published {
            self.authors.extend(batch.records.iter().map(|_| node));
            self.journal.extend(batch.records.iter().cloned());
        }
        let length = self.journal.len();
        let state = self.node(node);
        if published && !fails {
            state.read = length;
            state.driver.handle_appended(now, batch);
        } else {
            state.driver.handle_rejected();
        }
    }

    fn begin(&mut self, node: &'static str) {
        while let Some(assigned) = self.node(node).driver.poll_effect() {
            if assigned.manner == Manner::Start {
                assert!(
                    self.started.insert(assigned.id),
                    "effect {} was started twice",
                    assigned.id
                );
            }
            let done = self.now + Duration::from_millis(self.dice.below(1_500));
            self.node(node).doing.push((assigned.id, done));
        }
    }

    fn answer(&mut self, node: &'static str) {
        let now = self.now;
        let state = self.node(node);
        let (done, doing) = state.doing.drain(..).partition(|(_, at)| *at <= now);
        state.doing = doing;
        let done: Vec<(EffectId, Instant)> = done;
        for (effect, _) in done {
            let detail = String::new();
            let outcome = Outcome::Done { detail };
            state
                .driver
                .submit(now.as_millis(), Signal::Answered { effect, outcome });
        }
    }
}

/// What must hold of any journal.
fn check_journal(journal: &[Record], authors: &[&str]) {
    let (mut epoch, mut leader) = (Epoch::ZERO, String::new());
    let mut at_ms = 0;
    let mut causes: BTreeSet<&Cause> = BTreeSet::new();
    let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut last_cause = None;
    for (index, (record, author)) in journal.iter().zip(authors).enumerate() {
        assert_eq!(record.position.0, index as u64);
        assert!(record.at_ms >= at_ms, "time steps back at {index}");
        at_ms = record.at_ms;
        if let Event::Claimed {
            epoch: claimed,
            node,
            ..
        } = &record.event
        {
            assert_eq!(claimed.0, epoch.0 + 1, "epochs are claimed one by one");
            epoch = *claimed;
            leader = node.to_string();
        }
        if index > 0 {
            assert_eq!(record.epoch, epoch, "record {index} is of another epoch");
            assert_eq!(leader, *author, "record {index} is not by the leader");
        }
        if record.cause.as_ref() != last_cause
            && let Some(cause) = &record.cause
        {
            assert!(causes.insert(cause), "{cause:?} was decided twice");
            let before = highest.insert(cause.node.as_str(), cause.number);
            assert!(
                before < Some(cause.number),
                "signals of {} out of order",
                cause.node
            );
        }
        last_cause = record.cause.as_ref();
    }
}

fn check_calm(voyage: &Voyage) {
    let leading: Vec<_> = voyage
        .nodes
        .iter()
        .filter(|(_, node)| matches!(node.driver.role(), Role::Leading(_)))
        .collect();
    assert_eq!(leading.len(), 1, "one node leads in calm weather");
    let told: BTreeSet<&Cause> = voyage
        .journal
        .iter()
        .filter_map(|r| r.cause.as_ref())
        .collect();
    for (host, node) in &voyage.nodes {
        assert_eq!(
            node.driver.state(),
            leading[0].1.driver.state(),
            "{host} sees another state"
        );
        for cause in &node.handed_in {
            assert!(
                told.contains(cause),
                "a report of {host} was lost: {cause:?}"
            );
        }
        assert_eq!(
            node.driver.pending().count(),
            0,
            "{host} still waits for a leader"
        );
        assert!(
            node.driver.state().faults.is_empty(),
            "{:?}",
            node.driver.state().faults
        );
        assert!(node.driver.state().outstanding.is_empty());
    }
}

#[test]
fn whatever_the_weather_there_is_one_log_and_nothing_handed_in_is_lost() {
    let mut claims = 0;
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| {
            let mut voyage = Voyage::new(seed);
            voyage.storm();
            check_journal(&voyage.journal, &voyage.authors);
            voyage.calm();
            check_journal(&voyage.journal, &voyage.authors);
            check_calm(&voyage);
            voyage
                .journal
                .iter()
                .filter(|r| matches!(r.event, Event::Claimed { .. }))
                .count()
        });
        match result {
            Ok(count) => claims += count,
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(
        claims > 5 * SEEDS as usize,
        "the weather was too good: {claims} claims"
    );
}
