//! Stories of one platform: three regions, a database in each, a service beside it, a gateway before them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_units::Position;
use proptest::prelude::*;

use crate::ask::{Ask, Refusal, Review};
use crate::book::Incidents;
use crate::event::{Change, Event, Person};
use crate::incident::{Incident, IncidentId, Phase, Role};
use crate::next::SETTLE_MS;
use crate::page::{PageDigest, Signature};
use crate::seen::{Condition, Seen, Sign, Told};
use crate::severity::Severity;
use crate::thing::{Thing, What};
use crate::topology::{Objective, Route, Topology};

const HOSTS: [&str; 4] = ["h1", "h2", "h3", "h4"];
const PATH: &str = "/v1/cells/{cell}";

fn topology() -> Topology {
    let replicas: Vec<String> = HOSTS[..3].iter().map(ToString::to_string).collect();
    let spread: Vec<String> = ["h3", "h4"].iter().map(ToString::to_string).collect();
    let hosts = HOSTS.iter();
    Topology {
        hosts: hosts
            .map(|host| {
                // h3 and h4 stand in one region.
                let region = if *host == "h4" { "h3" } else { host };
                (host.to_string(), region.replace('h', "r"))
            })
            .collect(),
        databases: [("ledger".to_string(), replicas.clone())].into(),
        services: [
            ("venue".to_string(), (replicas, Some("ledger".to_string()))),
            ("ticker".to_string(), (spread, None)),
        ]
        .into(),
        gateways: [(
            "edge".to_string(),
            ["h1".to_string(), "h2".to_string()].into(),
        )]
        .into(),
        routes: [
            Route {
                gateway: "edge".to_string(),
                path: PATH.to_string(),
                databases: ["ledger".to_string()].into(),
                services: ["venue".to_string()].into(),
            },
            Route {
                gateway: "edge".to_string(),
                path: "/v1/ticker".to_string(),
                databases: Vec::new(),
                services: ["ticker".to_string()].into(),
            },
        ]
        .into(),
        objectives: [(
            "answered".to_string(),
            Objective {
                gateway: "edge".to_string(),
                route: Some(PATH.to_string()),
            },
        )]
        .into(),
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// `name label=value …`, as a watch tells it.
fn alert(watch: &str, text: &str, told: Told) -> Sign {
    let mut words = text.split(' ');
    let name = words.next().unwrap();
    let mut all = labels(&[("alertname", name)]);
    for word in words {
        let (label, value) = word.split_once('=').unwrap();
        all.insert(label.to_string(), value.to_string());
    }
    Sign::Alert {
        alert: text.to_string(),
        watch: watch.to_string(),
        told,
        labels: all,
        summary: String::new(),
    }
}

fn became(host: &str, term: u64) -> Sign {
    Sign::BecamePrimary {
        database: "ledger".to_string(),
        host: host.to_string(),
        term,
    }
}

fn left(host: &str, term: u64) -> Sign {
    Sign::LeftPrimary {
        database: "ledger".to_string(),
        host: host.to_string(),
        term,
    }
}

fn lost(host: &str) -> Sign {
    Sign::HostLost {
        host: host.to_string(),
    }
}

/// A platform file.
fn wanted(hosts: &[&str], watches: &[&str]) -> Sign {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Sign::Wanted {
        hosts: names(hosts),
        watches: names(watches),
    }
}

fn looping(host: &str, instance: &str) -> Sign {
    let (host, instance) = (host.to_string(), instance.to_string());
    Sign::CrashLoop { host, instance }
}

fn well(host: &str, instance: &str) -> Sign {
    let (host, instance) = (host.to_string(), instance.to_string());
    Sign::LoopEnded { host, instance }
}

fn back(host: &str) -> Sign {
    Sign::HostReturned {
        host: host.to_string(),
    }
}

fn hold() -> Sign {
    Sign::Happened {
        things: [Thing::database("ledger")].into(),
    }
}

fn ada() -> Person {
    Person {
        uid: 1000,
        user: None,
        operator: Some("ada".to_string()),
    }
}

/// A journal that is a list, and the desk over it.
struct Desk {
    book: Incidents,
    journal: Vec<(u64, Result<Seen, Event>)>,
    now_ms: u64,
}

impl Desk {
    /// The platform runs: everybody is there, the primary on h1.
    fn new() -> Self {
        let mut desk = Self {
            book: Incidents::default(),
            journal: Vec::new(),
            now_ms: 1_000_000,
        };
        desk.see(became("h1", 1));
        desk.after(400_000);
        assert_eq!(desk.book.ever(), 0);
        desk
    }

    fn next(&self) -> Position {
        Position(self.journal.len() as u64)
    }

    fn see(&mut self, sign: Sign) -> Position {
        let seen = Seen {
            position: self.next(),
            at_ms: self.now_ms,
            sign,
        };
        let position = seen.position;
        self.book.observe(&seen);
        self.journal.push((self.now_ms, Ok(seen)));
        self.settle();
        position
    }

    fn put(&mut self, event: Event) {
        self.book.apply(self.next(), self.now_ms, &event);
        self.journal.push((self.now_ms, Err(event)));
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            let Some(event) = self.book.next(self.now_ms, &topology()) else {
                return;
            };
            self.put(event);
        }
        panic!("it never ends: {:?}", self.journal.last());
    }

    /// Time passes; what is due is decided when it is due.
    fn after(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(due) = self.book.next_due_ms().filter(|due| *due <= end) {
            self.now_ms = self.now_ms.max(due);
            let before = self.journal.len();
            self.settle();
            assert!(self.journal.len() > before, "it was due and nothing came");
        }
        self.now_ms = end;
        self.settle();
    }

    fn ask(&mut self, ask: Ask) -> Result<(), Refusal> {
        let operators = BTreeSet::from(["ada".to_string(), "bob".to_string()]);
        let event = self
            .book
            .answer(&ask, &ada(), "because", &topology(), &operators)?;
        self.put(event);
        Ok(())
    }

    fn one(&self) -> (IncidentId, &Incident) {
        let active = self.book.iter().filter(|(_, i)| i.phase.is_active());
        let active: Vec<_> = active.collect();
        assert_eq!(active.len(), 1, "{active:#?}");
        active[0]
    }

    fn phase(&self, id: u64) -> Phase {
        self.book.get(IncidentId(id)).unwrap().phase
    }

    fn rebuilt(&self) -> Incidents {
        let mut book = Incidents::default();
        for (place, (at_ms, entry)) in self.journal.iter().enumerate() {
            match entry {
                Ok(seen) => book.observe(seen),
                Err(event) => book.apply(Position(place as u64), *at_ms, event),
            }
        }
        book
    }
}

/// A hold, a failover without a farewell, alerts of two watches about several parts: one incident that has all of it.
#[test]
fn a_killed_primary_is_one_incident_with_everything_that_it_caused() {
    let mut desk = Desk::new();
    let begins = desk.see(hold());
    desk.after(1_500);
    let failover = desk.see(became("h2", 2));
    desk.after(300);
    let ends = desk.see(hold());
    desk.after(8_000);
    let mut told = Vec::new();
    for watch in ["h1", "h2"] {
        let text =
            "ServerDown severity=warning job=keeper instance=h1/ledger host=h1 database=ledger";
        told.push(desk.see(alert(watch, text, Told::Firing)));
        let text = "OrdersFail severity=page route=public/v1/cells/{cell}";
        told.push(desk.see(alert(watch, text, Told::Firing)));
    }
    let (id, incident) = desk.one();
    assert_eq!(id, IncidentId(1));
    assert_eq!(incident.severity, Severity::Error);
    assert_eq!(
        incident.title,
        "database ledger lost its primary on h1; h2 took over"
    );
    for position in [begins, failover, ends].into_iter().chain(told) {
        assert!(
            incident.timeline.contains(&position),
            "{position} of {incident:#?}"
        );
    }
    assert_eq!(
        desk.book.standing_of(id).count(),
        2,
        "one alert from two watches is one"
    );
    assert_eq!(desk.book, desk.rebuilt());
}

#[test]
fn a_lost_region_takes_up_and_raises_what_was_told_before_it_was_known() {
    let mut desk = Desk::new();
    for (job, more) in [("node", ""), ("keeper", "/ledger")] {
        let text = alloc::format!(
            "TargetSilent severity=page job={job} instance=h1{more} host=h1 region=r1"
        );
        desk.see(alert("h2", &text, Told::Firing));
    }
    assert_eq!(desk.one().1.severity, Severity::Error);
    desk.see(became("h2", 2));
    desk.after(5_000);
    desk.see(lost("h1"));
    let (_, incident) = desk.one();
    assert_eq!(
        incident.severity,
        Severity::Critical,
        "a region has one host here"
    );
    assert!(incident.things.contains_key(&Thing::region("r1")));
}

/// The first alert of a lost host may be about its node, which no database stands on.
#[test]
fn what_falls_silent_where_the_primary_was_belongs_to_its_loss() {
    let silent = "TargetSilent severity=page job=node instance=h1 host=h1 region=r1";
    for loss in [became("h2", 2), left("h1", 1)] {
        let mut desk = Desk::new();
        desk.see(loss);
        desk.after(2_000);
        desk.see(alert("h2", silent, Told::Firing));
        assert_eq!(desk.one().0, IncidentId(1));
        // Where another standby is, something else has happened.
        let elsewhere = silent.replace("h1", "h3");
        desk.see(alert("h2", &elsewhere, Told::Firing));
        assert_eq!(desk.book.ever(), 2);
    }
}

/// Two that know nothing of each other are two, until what causes both is known.
#[test]
fn what_was_opened_apart_is_merged_when_its_cause_is_known() {
    let mut desk = Desk::new();
    desk.see(alert(
        "h2",
        "Loop severity=page service=ticker host=h3",
        Told::Firing,
    ));
    desk.after(100_000);
    desk.see(alert(
        "h2",
        "Slow severity=warning database=ledger host=h3",
        Told::Firing,
    ));
    assert_eq!(desk.book.iter().count(), 2);
    desk.after(20_000);
    desk.see(lost("h3"));
    let (id, incident) = desk.one();
    assert_eq!(
        (id, desk.phase(2)),
        (IncidentId(1), Phase::Merged(IncidentId(1)))
    );
    assert_eq!(desk.book.standing_of(id).count(), 3);
    assert!(incident.absorbed.contains(&IncidentId(2)));
    let why = desk.ask(Ask::Acknowledge(IncidentId(2))).unwrap_err();
    assert_eq!(why.to_string(), "incident i2 goes on in i1");
}

#[test]
fn trouble_elsewhere_or_much_later_is_another_incident() {
    let mut desk = Desk::new();
    desk.see(alert(
        "h1",
        "Loop severity=page service=ticker host=h4",
        Told::Firing,
    ));
    desk.see(left("h1", 1));
    assert_eq!(desk.book.iter().count(), 2, "{:#?}", desk.book);
    desk.see(became("h1", 2));
    desk.after(5_000_000);
    assert_eq!(desk.phase(2), Phase::Mitigated);
    desk.see(left("h1", 2));
    assert_eq!(desk.phase(2), Phase::Mitigated, "that was long ago");
    assert_eq!(desk.phase(3), Phase::Open);
    assert_eq!(
        desk.book.get(IncidentId(3)).unwrap().follows,
        Some(IncidentId(2))
    );
}

#[test]
fn missing_data_resolves_nothing_and_a_measured_end_rests_after_a_while() {
    let mut desk = Desk::new();
    let text = "ServerDown severity=page host=h1 database=ledger";
    desk.see(alert("h1", text, Told::Firing));
    desk.see(alert("h2", text, Told::Firing));
    desk.see(alert("h1", text, Told::Missing));
    desk.see(alert("h2", text, Told::Missing));
    desk.after(10 * SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Open);
    // A watch that is taken away has measured nothing.
    desk.see(wanted(&HOSTS, &[]));
    desk.after(10 * SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Open);
    let why = desk.ask(Ask::Resolve {
        incident: IncidentId(1),
        despite: false,
    });
    assert!(
        why.unwrap_err()
            .to_string()
            .ends_with("(not measured any more)")
    );
    desk.see(wanted(&HOSTS, &["h3"]));
    desk.see(alert("h3", text, Told::Firing));
    desk.see(alert("h3", text, Told::Ended));
    desk.after(SETTLE_MS - 1);
    assert_eq!(desk.phase(1), Phase::Open);
    desk.after(1);
    assert_eq!(desk.phase(1), Phase::Mitigated);
    let mitigated = desk.book.get(IncidentId(1)).unwrap().mitigated.clone();
    let why = mitigated.unwrap().why;
    assert!(
        why.contains("its alert was measured to have ended"),
        "{why}"
    );
    // Nobody but people resolves it, however long.
    desk.after(100 * SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Mitigated);
}

/// No rule is needed for it, and one that there is tells of the same.
#[test]
fn a_crash_loop_is_an_incident_until_the_instance_was_well_for_a_while() {
    let mut desk = Desk::new();
    let text = "InstanceCrashLoop severity=page job=node instance=h4 host=h4 name=ticker";
    let begins = desk.see(looping("h4", "ticker"));
    desk.after(5_000);
    desk.see(alert("h1", text, Told::Firing));
    desk.after(60_000);
    // Its beginning is news, then each doubling.
    let doubled = desk.see(looping("h4", "ticker"));
    let (id, incident) = desk.one();
    assert_eq!(id, IncidentId(1));
    assert_eq!(incident.severity, Severity::Error);
    assert_eq!(incident.title, "ticker on h4 ends again and again");
    assert!(
        incident
            .things
            .contains_key(&"service/ticker@h4".parse().unwrap())
    );
    assert!(incident.timeline.contains(&begins) && incident.timeline.contains(&doubled));
    assert_eq!(desk.book.standing_of(id).count(), 2);
    assert_eq!(desk.book.loops_on("h4").collect::<Vec<_>>(), ["ticker"]);
    // That nothing is heard of it says nothing.
    desk.see(alert("h1", text, Told::Ended));
    desk.after(10 * SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Open);
    desk.see(well("h4", "ticker"));
    desk.after(SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Mitigated);
    assert_eq!(desk.book.loops_on("h4").count(), 0);
    desk.see(looping("h4", "ticker"));
    assert_eq!(
        (desk.phase(1), desk.book.ever()),
        (Phase::Open, 1),
        "it is back"
    );
    assert_eq!(desk.book, desk.rebuilt());
}

#[test]
fn a_crash_loop_belongs_to_the_trouble_that_it_comes_of() {
    for (cause, instance, host) in [
        // What follows a database falls when that has no primary; what stands on a host falls with its processes.
        (left("h1", 1), "venue", "h2"),
        (left("h1", 1), "keeper-ledger", "h1"),
        (looping("h1", "postgres-ledger"), "venue", "h1"),
        (looping("h1", "keeper-ledger"), "gateway-edge", "h1"),
    ] {
        let mut desk = Desk::new();
        desk.see(cause);
        desk.after(10_000);
        desk.see(looping(host, instance));
        assert_eq!(desk.book.ever(), 1, "{instance} on {host}");
    }
    let mut desk = Desk::new();
    desk.see(looping("h1", "gateway-edge"));
    desk.see(looping("h4", "ticker"));
    assert_eq!(
        desk.book.ever(),
        2,
        "these have nothing to do with each other"
    );
}

#[test]
fn what_only_a_host_could_end_is_over_when_the_platform_has_it_no_more() {
    let mut desk = Desk::new();
    desk.see(looping("h4", "ticker"));
    desk.see(lost("h4"));
    desk.see(wanted(&HOSTS, &[]));
    desk.after(10 * SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Open);
    desk.see(wanted(&HOSTS[..3], &[]));
    desk.after(SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Mitigated);
}

#[test]
fn nothing_rests_while_the_platform_is_not_well() {
    let mut desk = Desk::new();
    let text = "Loop severity=page service=ticker host=h4";
    desk.see(alert("h1", text, Told::Firing));
    desk.after(3_600_000);
    desk.see(lost("h1"));
    desk.see(alert("h1", text, Told::Ended));
    desk.after(10 * SETTLE_MS);
    assert_eq!(desk.phase(1), Phase::Open);
    desk.see(back("h1"));
    desk.after(SETTLE_MS);
    assert_eq!(
        (desk.phase(1), desk.phase(2)),
        (Phase::Mitigated, Phase::Mitigated)
    );
}

/// Whoever had it was told that it rests, so whoever is on call is told that it does no more; unless a person says so, who has it.
#[test]
fn what_comes_back_by_itself_is_open_anew() {
    for has_somebody in [false, true] {
        let mut desk = Desk::new();
        let text = "ServerDown severity=page host=h1 database=ledger";
        desk.see(alert("h1", text, Told::Firing));
        if has_somebody {
            desk.ask(Ask::Acknowledge(IncidentId(1))).unwrap();
        }
        desk.see(alert("h1", text, Told::Ended));
        desk.after(SETTLE_MS);
        assert_eq!(desk.phase(1), Phase::Mitigated);
        desk.after(3_000_000);
        desk.see(alert("h2", text, Told::Firing));
        assert_eq!(desk.phase(1), Phase::Open);
        // A second failover counts too, though nothing stands of it.
        desk.see(alert("h2", text, Told::Ended));
        desk.after(SETTLE_MS);
        desk.see(became("h2", 2));
        assert_eq!(desk.phase(1), Phase::Open);
        assert_eq!(desk.book.iter().count(), 1);

        desk.ask(Ask::Acknowledge(IncidentId(1))).unwrap();
        desk.ask(Ask::Mitigate(IncidentId(1))).unwrap();
        desk.ask(Ask::Reopen(IncidentId(1))).unwrap();
        assert_eq!(desk.phase(1), Phase::Acknowledged);
    }
}

#[test]
fn planned_moves_and_an_ordered_stop_call_nobody() {
    let order = || Sign::MoveOrdered {
        database: "ledger".to_string(),
    };
    let mut desk = Desk::new();
    desk.see(order());
    desk.see(left("h1", 1));
    desk.after(500);
    desk.see(became("h2", 2));
    desk.after(600_000);
    assert_eq!(desk.book.ever(), 0);
    // One that does not arrive is no plan any more.
    desk.see(order());
    desk.see(left("h2", 2));
    desk.after(29_999);
    assert_eq!(desk.book.ever(), 0);
    desk.after(1);
    assert_eq!(desk.book.ever(), 1);

    let mut desk = Desk::new();
    desk.see(Sign::Stopping);
    desk.see(left("h1", 1));
    desk.see(lost("h1"));
    desk.after(10_000);
    assert_eq!(desk.book.ever(), 0);
    desk.see(back("h1"));
    desk.after(60_000);
    assert_eq!(
        desk.book.ever(),
        1,
        "it was started again, and there is no primary"
    );
}

#[test]
fn people_say_how_bad_it_is_and_who_has_it() {
    let mut desk = Desk::new();
    let text = "ServerDown severity=page host=h1 database=ledger";
    desk.see(alert("h1", text, Told::Firing));
    let id = IncidentId(1);
    let rate = |severity| Ask::Rate {
        incident: id,
        severity,
    };
    desk.ask(rate(Severity::Warning)).unwrap();
    assert!(matches!(
        desk.ask(rate(Severity::Warning)),
        Err(Refusal::RatedAlready { .. })
    ));
    desk.after(1_000);
    assert_eq!(
        desk.one().1.severity,
        Severity::Warning,
        "it was known before"
    );
    desk.see(left("h1", 1));
    assert_eq!(
        desk.one().1.severity,
        Severity::Error,
        "that is worse than what was known"
    );
    desk.see(became("h1", 2));

    desk.ask(Ask::Acknowledge(id)).unwrap();
    assert!(matches!(
        desk.ask(Ask::Acknowledge(id)),
        Err(Refusal::AcknowledgedAlready { .. })
    ));
    assert_eq!(desk.one().1.roles[&Role::Owner], "ada");
    let assign = |to: &str| Ask::Assign {
        incident: id,
        role: Role::Owner,
        to: to.to_string(),
    };
    assert!(matches!(
        desk.ask(assign("eve")),
        Err(Refusal::NoSuchOperator(_))
    ));
    desk.ask(assign("bob")).unwrap();
    assert_eq!(desk.one().1.roles[&Role::Owner], "bob");
    assert!(matches!(
        desk.journal.last(),
        Some((_, Err(Event { change: Change::Assigned { from: Some(from), .. }, .. }))) if from == "ada"
    ));
}

#[test]
fn people_have_the_last_word() {
    let mut desk = Desk::new();
    let text = "ServerDown severity=page host=h1 database=ledger";
    desk.see(alert("h1", text, Told::Firing));
    let id = IncidentId(1);
    desk.ask(Ask::Note(id)).unwrap();
    desk.ask(Ask::Resolve {
        incident: id,
        despite: true,
    })
    .unwrap();
    assert_eq!(desk.phase(1), Phase::Resolved);
    assert!(matches!(
        desk.ask(Ask::Mitigate(id)),
        Err(Refusal::WrongPhase { .. })
    ));
    desk.after(10_000);
    assert_eq!(
        desk.book.iter().count(),
        1,
        "what was known to stand opens nothing"
    );
    desk.ask(Ask::Reopen(id)).unwrap();
    assert_eq!(desk.phase(1), Phase::Open);
    assert!(matches!(
        desk.ask(Ask::Reopen(id)),
        Err(Refusal::WrongPhase { .. })
    ));
    let open = |about: &str| Ask::Open {
        title: "customers ring".to_string(),
        severity: Severity::Critical,
        about: [about.parse().unwrap()].into(),
    };
    assert!(matches!(
        desk.ask(open("database/nothing")),
        Err(Refusal::NoSuchThing(_))
    ));
    desk.ask(open("service/ticker")).unwrap();
    desk.after(10_000_000);
    assert_eq!(
        desk.phase(2),
        Phase::Open,
        "what was not measured to begin does not end by itself"
    );
    desk.ask(Ask::Merge {
        incident: IncidentId(2),
        into: id,
    })
    .unwrap();
    assert_eq!(desk.one().0, id);
    assert_eq!(desk.one().1.severity, Severity::Critical);
}

#[test]
fn a_page_is_signed_once_the_incident_is_over() {
    let mut desk = Desk::new();
    let page: PageDigest = "0f".repeat(32).parse().unwrap();
    let sign = |signature| Ask::Review {
        incident: IncidentId(1),
        review: Review::Sign {
            signature,
            page: page.clone(),
        },
    };
    let text = "ServerDown severity=page host=h1 database=ledger";
    desk.see(alert("h1", text, Told::Firing));
    assert!(matches!(
        desk.ask(sign(Signature::Accepted)),
        Err(Refusal::WrongPhase { .. })
    ));
    let resolve = Ask::Resolve {
        incident: IncidentId(1),
        despite: true,
    };
    assert_eq!(desk.ask(resolve), Ok(()));
    for signature in Signature::ALL {
        assert_eq!(desk.ask(sign(signature)), Ok(()));
    }
    let upper = "0F".repeat(32);
    for none in ["", "0f", upper.as_str()] {
        assert!(none.parse::<PageDigest>().is_err(), "{none:?}");
    }
}

/// Nobody need resolve anything: what rests keeps nobody from being called.
#[test]
fn incidents_that_rest_leave_room_for_others() {
    let mut desk = Desk::new();
    for id in 1..=250 {
        desk.ask(Ask::Open {
            title: "customers ring".to_string(),
            severity: Severity::Warning,
            about: BTreeSet::new(),
        })
        .unwrap();
        desk.ask(Ask::Mitigate(IncidentId(id))).unwrap();
    }
    desk.after(7_200_000);
    desk.see(left("h1", 1));
    assert_eq!((desk.book.ever(), desk.phase(251)), (251, Phase::Open));
    assert_eq!(desk.rebuilt(), desk.book);
}

#[test]
fn one_that_comes_after_its_like_was_resolved_follows_it() {
    let mut desk = Desk::new();
    desk.see(left("h1", 1));
    desk.see(became("h1", 2));
    desk.ask(Ask::Resolve {
        incident: IncidentId(1),
        despite: false,
    })
    .unwrap();
    desk.after(60_000);
    desk.see(left("h1", 2));
    assert_eq!(desk.one().1.follows, Some(IncidentId(1)));
}

#[test]
fn labels_name_the_most_particular_thing() {
    let topology = topology();
    for (text, wanted) in [
        (
            "A job=keeper instance=h1/ledger host=h1 region=r1",
            "database/ledger@h1",
        ),
        ("A job=gateway instance=h1/edge host=h1", "gateway/edge@h1"),
        ("A job=node instance=h1 host=h1", "process/node@h1"),
        (
            "A job=venue instance=h1/venue host=h1 service=venue database=ledger",
            "service/venue@h1",
        ),
        ("A database=ledger", "database/ledger"),
        ("A host=h1", "host/h1"),
        ("A region=r1", "region/r1"),
        ("A host=elsewhere", "other/A"),
        ("A route=public/v1/cells/{cell}", "route//v1/cells/{cell}"),
        ("A route=public/v2/v1/cells/{cell}", "other/A"),
        ("A slo=answered window=1h", "route//v1/cells/{cell}"),
        ("A", "other/A"),
    ] {
        let Sign::Alert { labels, .. } = alert("h1", text, Told::Firing) else {
            panic!("no alert");
        };
        let things = topology.things_of(&labels);
        let things: Vec<String> = things.iter().map(ToString::to_string).collect();
        assert_eq!(things, [wanted], "{text}");
    }
}

#[test]
fn severity_follows_the_budget_and_the_rule() {
    for (pairs, wanted) in [
        (
            &[
                ("alertname", "ErrorBudgetBurn"),
                ("slo", "x"),
                ("window", "1h"),
                ("severity", "page"),
            ][..],
            "critical",
        ),
        (
            &[
                ("alertname", "ErrorBudgetBurn"),
                ("slo", "x"),
                ("window", "3d"),
                ("severity", "ticket"),
            ],
            "warning",
        ),
        (&[("severity", "page")], "error"),
        (&[("severity", "critical")], "critical"),
        (&[("severity", "info")], "info"),
        (&[("severity", "odd")], "warning"),
        (&[], "warning"),
    ] {
        assert_eq!(
            Severity::of_labels(&labels(pairs)).as_str(),
            wanted,
            "{pairs:?}"
        );
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for text in ["i1", "i204"] {
        assert_eq!(text.parse::<IncidentId>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "i",
        "i0",
        "1",
        "i-1",
        "i+1",
        "x1",
        "i99999999999999999999",
    ] {
        assert!(text.parse::<IncidentId>().is_err(), "{text}");
    }
    for text in [
        "database/ledger@h1",
        "route//a@b/{c}",
        "host/h1",
        "other/A{x=\"1@2\"}",
    ] {
        assert_eq!(text.parse::<Thing>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "ledger",
        "database/",
        "database/@h1",
        "database/x@",
        "planet/mars",
    ] {
        assert!(text.parse::<Thing>().is_err(), "{text}");
    }
    for condition in [
        Condition::Alert("A{b=\"host lost x\"}".to_string()),
        Condition::HostLost("h".to_string()),
        Condition::NoPrimary("d".to_string()),
        Condition::ArchiveUnsafe("d".to_string()),
        Condition::DrillMissed("d".to_string()),
        Condition::CrashLoop("h".to_string(), "keeper-d".to_string()),
    ] {
        assert_eq!(condition.to_string().parse(), Ok(condition));
    }
}

fn loops() -> impl Strategy<Value = String> {
    prop::sample::select(alloc::vec![
        "ticker".to_string(),
        "keeper-ledger".to_string()
    ])
}

fn signs() -> impl Strategy<Value = Sign> {
    let host = prop::sample::select(HOSTS.to_vec());
    let told = prop::sample::select(alloc::vec![Told::Firing, Told::Missing, Told::Ended]);
    let text = prop::sample::select(alloc::vec![
        "Down severity=page database=ledger host=h1",
        "Slow severity=warning route=public/v1/cells/{cell}",
        "Loop severity=critical service=ticker host=h3",
        "Odd severity=info host=h4",
        "Unlabelled",
    ]);
    prop_oneof![
        (host.clone(), text, told).prop_map(|(watch, text, told)| alert(watch, text, told)),
        host.clone().prop_map(lost),
        host.clone().prop_map(back),
        (host.clone(), 1_u64..9).prop_map(|(host, term)| became(host, term)),
        (host.clone(), 1_u64..9).prop_map(|(host, term)| left(host, term)),
        host.prop_map(|host| Sign::Happened {
            things: [Thing::on(What::Service("venue".to_string()), host)].into()
        }),
        Just(Sign::MoveOrdered {
            database: "ledger".to_string()
        }),
        Just(wanted(&HOSTS, &["h1"])),
        Just(wanted(&HOSTS[..2], &["h1"])),
        (loops(), any::<bool>()).prop_map(|(instance, begins)| {
            let host = "h3".to_string();
            match begins {
                true => Sign::CrashLoop { host, instance },
                false => Sign::LoopEnded { host, instance },
            }
        }),
    ]
}

proptest! {
    /// Whatever is told: replaying gives the same, everything that stands and calls is in an incident that is not over
    /// (nobody resolves here), no entry is in two incidents, and nothing rests while something of it stands.
    #[test]
    fn whatever_stands_is_somebodys(
        story in prop::collection::vec((0_u64..90_000, signs()), 1..60)
    ) {
        let mut desk = Desk::new();
        for (passed_ms, sign) in story {
            desk.after(passed_ms);
            desk.see(sign);
            for (condition, standing) in &desk.book.standing {
                let calls = standing.severity > Severity::Info && standing.ripe_ms <= desk.now_ms;
                prop_assert!(standing.incident.is_some() || !calls, "{condition} is nobody's");
                if let Some(id) = standing.incident {
                    let incident = desk.book.get(id).unwrap();
                    let rests = !incident.phase.is_unmitigated();
                    let is_info = standing.severity == Severity::Info;
                    prop_assert!(
                        is_info || !rests, "{id} is {:?}", incident.phase);
                    prop_assert!(incident.severity >= standing.severity);
                }
            }
            let mut told = BTreeSet::new();
            for (_, incident) in desk.book.iter() {
                let absorbed = matches!(incident.phase, Phase::Merged(_));
                let twice = incident.timeline.iter().filter(|_| !absorbed).find(|at| !told.insert(**at));
                prop_assert!(twice.is_none(), "{twice:?} is told twice");
            }
        }
        prop_assert_eq!(&desk.rebuilt(), &desk.book);
    }
}
