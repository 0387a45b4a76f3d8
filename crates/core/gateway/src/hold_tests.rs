//! Golden transcripts of whole failovers, and a model that counts every request.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

const LIMITS: HoldLimits = HoldLimits {
    requests: 4,
    bytes: 100,
    drain_initial: 1,
    drain_limit: 2,
};

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn load(bytes: u64, deadline: u64, patience: u64) -> Load {
    Load {
        bytes,
        deadline: at(deadline),
        patience: at(patience),
    }
}

fn active(instance: u16, term: u32, confirmed: u64) -> CellView {
    let confirmed = at(confirmed);
    CellView::Active(Active {
        instance,
        term: Term(term),
        epoch: Epoch(1),
        confirmed,
    })
}

/// One line per command: `MILLIS WHAT ARGUMENTS`; the transcript shows the answer, the state after it,
/// and the effects.
fn play(script: &str) -> String {
    let mut hold = Hold::new(at(0), LIMITS);
    let mut out = String::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        let now = at(number(0));
        let mut said = None;
        let mut waits = String::new();
        match words[1] {
            "active" => {
                hold.handle_view(now, &active(number(2) as u16, number(3) as u32, number(4)))
            }
            "switching" => hold.handle_view(now, &CellView::Switching { term: Term(1) }),
            "absent" => hold.handle_view(now, &CellView::Absent(AbsentWhy::NoOpenPrimary)),
            "isolated" => hold.handle_view(now, &CellView::Isolated),
            "admit" => said = Some(hold.admit(now, load(number(2), number(3), number(4)))),
            "again" => said = Some(hold.readmit(now, Ticket(number(2)), load(1, 9_000, 9_000))),
            "settle" => hold.settle(now, Ticket(number(2))),
            "leave" => hold.leave(Ticket(number(2))),
            "alone" => {
                let load = load(1, number(3), 9_000);
                said = Some(hold.readmit_alone(now, Ticket(number(2)), load));
            }
            "fail" | "doubt" => {
                let stamp = Stamp {
                    instance: number(2) as u16,
                    term: Term(number(3) as u32),
                    epoch: Epoch(1),
                };
                let accusation = match words[1] {
                    "fail" => Accusation::Certain,
                    _ => Accusation::Doubtful,
                };
                let consequence = hold.handle_failure(now, stamp, accusation);
                write!(waits, " {consequence:?}").expect("writes");
            }
            "time" => hold.handle_time(now),
            "stop" => hold.stop(),
            other => unreachable!("no command {other}"),
        }
        write!(out, "{line:<24}").expect("writes");
        if let Some(said) = said {
            write!(out, " {}", short(&alloc::format!("{said:?}"))).expect("writes");
        }
        let phase = alloc::format!("{:?}", hold.phase());
        writeln!(
            out,
            "{waits} [{}, {} wait]",
            phase.split([' ', '{']).next().unwrap_or(""),
            hold.waiting()
        )
        .expect("writes");
        while let Some(effect) = hold.poll_effect() {
            writeln!(out, "    {}", short(&alloc::format!("{effect:?}"))).expect("writes");
        }
    }
    out
}

fn short(text: &str) -> String {
    let text = text
        .replace("ticket: Ticket", "")
        .replace("Stamp ", "")
        .replace("Term", "");
    text.replace(", epoch: Epoch(1)", "")
}

#[test]
fn a_failover() {
    expect![[r#"
        10 active 0 1 5          [Idle, 0 wait]
        20 admit 10 9000 4000    Go { (0), to: { instance: 0, term: (1) } } [Idle, 0 wait]
        30 fail 0 1              Everybody [Holding, 0 wait]
        31 again 0               Held { (0), why: FailureSeen } [Holding, 1 wait]
        32 admit 10 9000 4000    Held { (1), why: FailureSeen } [Holding, 2 wait]
        33 active 0 1 29         [Holding, 2 wait]
        40 absent                [Holding, 2 wait]
        50 admit 10 9000 4000    Held { (2), why: Absent(NoOpenPrimary) } [Holding, 3 wait]
        60 active 1 2 55         [Draining, 2 wait]
            Release { (0), to: { instance: 1, term: (2) } }
        61 admit 10 9000 4000    Held { (3), why: QueueAhead } [Draining, 3 wait]
        62 settle 0              [Draining, 1 wait]
            Release { (1), to: { instance: 1, term: (2) } }
            Release { (2), to: { instance: 1, term: (2) } }
        63 settle 1              [Draining, 0 wait]
            Release { (3), to: { instance: 1, term: (2) } }
        64 settle 2              [Idle, 0 wait]
        65 admit 1 9000 4000     Go { (4), to: { instance: 1, term: (2) } } [Idle, 0 wait]
        66 fail 0 1              Nothing [Idle, 0 wait]
        67 active 0 1 66         [Holding, 0 wait]
        68 active 1 2 67         [Idle, 0 wait]
    "#]]
    .assert_eq(&play(
        "10 active 0 1 5
         20 admit 10 9000 4000
         30 fail 0 1
         31 again 0
         32 admit 10 9000 4000
         33 active 0 1 29
         40 absent
         50 admit 10 9000 4000
         60 active 1 2 55
         61 admit 10 9000 4000
         62 settle 0
         63 settle 1
         64 settle 2
         65 admit 1 9000 4000
         66 fail 0 1
         67 active 0 1 66
         68 active 1 2 67",
    ));
}

#[test]
fn bounds_and_evictions() {
    expect![[r#"
        10 absent                [Holding, 0 wait]
        11 admit 10 9000 4000    Held { (0), why: Absent(NoOpenPrimary) } [Holding, 1 wait]
        12 admit 10 9000 4000    Held { (1), why: Absent(NoOpenPrimary) } [Holding, 2 wait]
        13 admit 10 20 4000      Held { (2), why: Absent(NoOpenPrimary) } [Holding, 3 wait]
        14 admit 10 9000 30      Held { (3), why: Absent(NoOpenPrimary) } [Holding, 4 wait]
        15 admit 10 9000 4000    Held { (4), why: Absent(NoOpenPrimary) } [Holding, 4 wait]
            Evict { (0), why: PushedOutByNumber }
        16 admit 95 9000 4000    Held { (5), why: Absent(NoOpenPrimary) } [Holding, 1 wait]
            Evict { (1), why: PushedOutByNumber }
            Evict { (2), why: PushedOutByBytes }
            Evict { (3), why: PushedOutByBytes }
            Evict { (4), why: PushedOutByBytes }
        17 admit 101 9000 4000   Refused { why: TooLarge } [Holding, 1 wait]
        18 admit 5 17 4000       Refused { why: DeadlinePassed } [Holding, 1 wait]
        19 admit 5 9000 19       Refused { why: WaitedTooLong } [Holding, 1 wait]
        20 admit 1 25 4000       Held { (9), why: Absent(NoOpenPrimary) } [Holding, 2 wait]
        21 admit 1 9000 30       Held { (10), why: Absent(NoOpenPrimary) } [Holding, 3 wait]
        26 time                  [Holding, 2 wait]
            Evict { (9), why: DeadlinePassed }
        30 time                  [Holding, 1 wait]
            Evict { (10), why: WaitedTooLong }
        31 leave 5               [Holding, 0 wait]
        32 admit 1 9000 4000     Held { (11), why: Absent(NoOpenPrimary) } [Holding, 1 wait]
        40 isolated              [Isolated, 0 wait]
            Evict { (11), why: Isolated }
        41 admit 1 9000 4000     Refused { why: Isolated } [Isolated, 0 wait]
        50 active 0 1 45         [Idle, 0 wait]
        51 admit 1 9000 4000     Go { (13), to: { instance: 0, term: (1) } } [Idle, 0 wait]
        52 switching             [Holding, 0 wait]
        53 admit 1 9000 4000     Held { (14), why: SwitchoverAnnounced } [Holding, 1 wait]
        54 stop                  [Holding, 0 wait]
            Evict { (14), why: Stopping }
        55 admit 1 9000 4000     Refused { why: Stopping } [Holding, 0 wait]
    "#]]
    .assert_eq(&play(
        "10 absent
         11 admit 10 9000 4000
         12 admit 10 9000 4000
         13 admit 10 20 4000
         14 admit 10 9000 30
         15 admit 10 9000 4000
         16 admit 95 9000 4000
         17 admit 101 9000 4000
         18 admit 5 17 4000
         19 admit 5 9000 19
         20 admit 1 25 4000
         21 admit 1 9000 30
         26 time
         30 time
         31 leave 5
         32 admit 1 9000 4000
         40 isolated
         41 admit 1 9000 4000
         50 active 0 1 45
         51 admit 1 9000 4000
         52 switching
         53 admit 1 9000 4000
         54 stop
         55 admit 1 9000 4000",
    ));
}

/// One request after the other makes the instance drop its connection. The first time everybody waits, as after a
/// death; then the instance has answered, and only who lost a connection waits, for a question asked after that.
#[test]
fn one_client_does_not_stop_all_others() {
    expect![[r#"
        10 active 0 1 5          [Idle, 0 wait]
        20 admit 10 9000 4000    Go { (0), to: { instance: 0, term: (1) } } [Idle, 0 wait]
        30 doubt 0 1             Everybody [Holding, 0 wait]
        31 again 0               Held { (0), why: FailureSeen } [Holding, 1 wait]
        32 admit 10 9000 4000    Held { (1), why: FailureSeen } [Holding, 2 wait]
        40 active 0 1 35         [Draining, 1 wait]
            Release { (0), to: { instance: 0, term: (1) } }
        41 settle 0              [Idle, 0 wait]
            Release { (1), to: { instance: 0, term: (1) } }
        42 settle 1              [Idle, 0 wait]
        50 admit 10 9000 4000    Go { (2), to: { instance: 0, term: (1) } } [Idle, 0 wait]
        60 doubt 0 1             TheRequest [Idle, 0 wait]
        60 alone 2 9000          Held { (2), why: OwnFailure } [Idle, 1 wait]
        61 admit 10 9000 4000    Go { (3), to: { instance: 0, term: (1) } } [Idle, 1 wait]
        65 active 0 1 58         [Idle, 1 wait]
        70 active 0 1 61         [Idle, 0 wait]
            Release { (2), to: { instance: 0, term: (1) } }
        80 doubt 0 1             TheRequest [Idle, 0 wait]
        80 alone 2 9000          Held { (2), why: OwnFailure } [Idle, 1 wait]
        81 fail 0 1              Everybody [Holding, 1 wait]
        82 admit 10 9000 4000    Held { (4), why: FailureSeen } [Holding, 2 wait]
        90 active 0 1 85         [Draining, 1 wait]
            Release { (2), to: { instance: 0, term: (1) } }
        91 settle 2              [Idle, 0 wait]
            Release { (4), to: { instance: 0, term: (1) } }
        92 settle 4              [Idle, 0 wait]
        100 admit 10 9000 4000   Go { (5), to: { instance: 0, term: (1) } } [Idle, 0 wait]
        101 doubt 0 1            TheRequest [Idle, 0 wait]
        101 alone 5 120          Held { (5), why: OwnFailure } [Idle, 1 wait]
        120 time                 [Idle, 0 wait]
            Evict { (5), why: DeadlinePassed }
        130 active 1 2 125       [Idle, 0 wait]
        131 admit 10 9000 4000   Go { (6), to: { instance: 1, term: (2) } } [Idle, 0 wait]
        140 doubt 1 2            Everybody [Holding, 0 wait]
    "#]]
    .assert_eq(&play(
        "10 active 0 1 5
         20 admit 10 9000 4000
         30 doubt 0 1
         31 again 0
         32 admit 10 9000 4000
         40 active 0 1 35
         41 settle 0
         42 settle 1
         50 admit 10 9000 4000
         60 doubt 0 1
         60 alone 2 9000
         61 admit 10 9000 4000
         65 active 0 1 58
         70 active 0 1 61
         80 doubt 0 1
         80 alone 2 9000
         81 fail 0 1
         82 admit 10 9000 4000
         90 active 0 1 85
         91 settle 2
         92 settle 4
         100 admit 10 9000 4000
         101 doubt 0 1
         101 alone 5 120
         120 time
         130 active 1 2 125
         131 admit 10 9000 4000
         140 doubt 1 2",
    ));
}

/// Who stops lets nobody wait, and serves on whoever need not.
#[test]
fn a_gateway_that_stops_serves_who_need_not_wait() {
    expect![[r#"
        10 absent                [Holding, 0 wait]
        11 admit 10 9000 4000    Held { (0), why: Absent(NoOpenPrimary) } [Holding, 1 wait]
        12 admit 10 9000 4000    Held { (1), why: Absent(NoOpenPrimary) } [Holding, 2 wait]
        13 active 0 1 12         [Draining, 1 wait]
            Release { (0), to: { instance: 0, term: (1) } }
        14 stop                  [Idle, 0 wait]
            Evict { (1), why: Stopping }
        15 admit 10 9000 4000    Go { (2), to: { instance: 0, term: (1) } } [Idle, 0 wait]
        20 absent                [Holding, 0 wait]
        21 admit 10 9000 4000    Refused { why: Stopping } [Holding, 0 wait]
        30 active 0 1 25         [Idle, 0 wait]
        31 admit 10 9000 4000    Go { (4), to: { instance: 0, term: (1) } } [Idle, 0 wait]
    "#]]
    .assert_eq(&play(
        "10 absent
         11 admit 10 9000 4000
         12 admit 10 9000 4000
         13 active 0 1 12
         14 stop
         15 admit 10 9000 4000
         20 absent
         21 admit 10 9000 4000
         30 active 0 1 25
         31 admit 10 9000 4000",
    ));
}

#[derive(Clone, Debug)]
enum Step {
    Admit {
        bytes: u64,
        deadline: u64,
        patience: u64,
    },
    View(u8),
    /// The n-th of those under way: ends, comes back, or comes back with a failure, certain or doubtful.
    End {
        nth: usize,
        how: u8,
    },
    Leave {
        nth: usize,
    },
    Time,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..60, 0u64..400, 0u64..400)
            .prop_map(|(bytes, deadline, patience)| Step::Admit { bytes, deadline, patience }),
        3 => (0u8..6).prop_map(Step::View),
        5 => (any::<prop::sample::Index>(), 0u8..4)
            .prop_map(|(nth, how)| Step::End { nth: nth.index(1_000), how }),
        1 => any::<prop::sample::Index>().prop_map(|nth| Step::Leave { nth: nth.index(1_000) }),
        2 => Just(Step::Time),
        1 => Just(Step::Stop),
    ]
}

/// Where the model believes each request to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Waiting,
    UnderWay(Stamp),
}

#[derive(Debug, Default)]
struct Model {
    requests: BTreeMap<Ticket, Is>,
    admitted: u32,
    ended: u32,
}

impl Model {
    fn admission(&mut self, admission: Admission, is_new: bool) {
        self.admitted += u32::from(is_new);
        match admission {
            Admission::Go { ticket, to } => self.put(ticket, Is::UnderWay(to)),
            Admission::Held { ticket, .. } => self.put(ticket, Is::Waiting),
            Admission::Refused { .. } => self.ended += 1,
        }
    }

    fn put(&mut self, ticket: Ticket, is: Is) {
        assert_eq!(
            self.requests.insert(ticket, is),
            None,
            "{ticket:?} is in two places"
        );
    }

    fn effects(&mut self, hold: &mut Hold) {
        while let Some(effect) = hold.poll_effect() {
            let ticket = match effect {
                Effect::Release { ticket, .. } | Effect::Evict { ticket, .. } => ticket,
            };
            assert_eq!(
                self.requests.remove(&ticket),
                Some(Is::Waiting),
                "{effect:?}"
            );
            match effect {
                Effect::Release { to, .. } => self.put(ticket, Is::UnderWay(to)),
                Effect::Evict { .. } => self.ended += 1,
            }
        }
    }

    fn nth(&self, nth: usize, wanted: impl Fn(&Is) -> bool) -> Option<(Ticket, Is)> {
        let those: Vec<_> = self.requests.iter().filter(|(_, is)| wanted(is)).collect();
        those
            .get(nth.checked_rem(those.len())?)
            .map(|(ticket, is)| (**ticket, **is))
    }
}

fn apply(hold: &mut Hold, model: &mut Model, now: Instant, term: &mut u32, step: &Step) {
    match step {
        Step::Admit {
            bytes,
            deadline,
            patience,
        } => {
            let load = Load {
                bytes: *bytes,
                deadline: now + core::time::Duration::from_millis(*deadline),
                patience: now + core::time::Duration::from_millis(*patience),
            };
            let admission = hold.admit(now, load);
            model.admission(admission, true);
        }
        Step::View(kind) => {
            let view = match kind {
                0 | 1 => active(0, *term, now.as_millis()),
                2 => {
                    *term += 1;
                    active((*term % 3) as u16, *term, now.as_millis())
                }
                3 => CellView::Switching { term: Term(*term) },
                4 => CellView::Absent(AbsentWhy::NoOpenPrimary),
                _ => CellView::Isolated,
            };
            hold.handle_view(now, &view);
        }
        Step::End { nth, how } => {
            let under_way = model.nth(*nth, |is| matches!(is, Is::UnderWay(_)));
            let Some((ticket, Is::UnderWay(to))) = under_way else {
                return;
            };
            model.requests.remove(&ticket);
            if *how == 0 {
                hold.settle(now, ticket);
                model.ended += 1;
            } else {
                let accusation = match how {
                    2 => Some(Accusation::Certain),
                    3 => Some(Accusation::Doubtful),
                    _ => None,
                };
                let consequence = accusation.map(|a| hold.handle_failure(now, to, a));
                let load = load(5, 9_000, 9_000);
                let admission = match consequence {
                    Some(Consequence::TheRequest) => hold.readmit_alone(now, ticket, load),
                    Some(Consequence::Everybody | Consequence::Nothing) | None => {
                        hold.readmit(now, ticket, load)
                    }
                };
                model.admission(admission, false);
            }
        }
        Step::Leave { nth } => {
            if let Some((ticket, _)) = model.nth(*nth, |is| *is == Is::Waiting) {
                hold.leave(ticket);
                model.requests.remove(&ticket);
                model.ended += 1;
            }
        }
        Step::Time => hold.handle_time(now),
        Step::Stop => hold.stop(),
    }
}

proptest! {
    /// Every request is in exactly one place, ends exactly once, and the bounds hold at every step. At
    /// the end everybody can leave and nothing is left behind.
    #[test]
    fn nothing_leaks_and_nothing_ends_twice(
        steps in proptest::collection::vec((step(), 1u64..60), 1..120),
    ) {
        let mut hold = Hold::new(at(0), LIMITS);
        let (mut model, mut now, mut term) = (Model::default(), at(1), 1u32);
        for (step, millis) in &steps {
            now += core::time::Duration::from_millis(*millis);
            apply(&mut hold, &mut model, now, &mut term, step);
            model.effects(&mut hold);
            let waiting = model.requests.values().filter(|is| **is == Is::Waiting).count();
            prop_assert_eq!(waiting, hold.waiting());
            prop_assert!(hold.waiting() <= LIMITS.requests as usize);
            prop_assert!(hold.waiting_bytes() <= LIMITS.bytes);
            prop_assert_eq!(model.admitted, model.ended + model.requests.len() as u32);
        }
        // All that still waits ends by time alone.
        hold.handle_time(at(1_000_000));
        model.effects(&mut hold);
        prop_assert_eq!(hold.waiting(), 0);
        prop_assert_eq!(hold.next_deadline(), None);
        for (ticket, is) in core::mem::take(&mut model.requests) {
            prop_assert!(matches!(is, Is::UnderWay(_)), "{:?} waits for ever", ticket);
            hold.settle(at(1_000_001), ticket);
            model.ended += 1;
        }
        prop_assert_eq!(model.admitted, model.ended);
    }
}
