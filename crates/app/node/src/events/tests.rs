//! Every kind of event and signal there and back.

use mainstay_incident::{IncidentId, Role};
use mainstay_kernel::{
    Actor, AlertNews, AlertRules, AlertState, ArchiveDeed, Ask, By, Cause, Change, ChangeKind,
    ClaimReason, Command, Desired, DesiredDatabase, DesiredOperator, DesiredRoute, DesiredService,
    DrillId, EffectId, EndReason, Event, ExperimentAsk, ExperimentId, ExperimentNews,
    ExperimentPlan, ExperimentTold, FaultDetail, FaultDoor, FaultId, FaultKind, FaultSpec,
    FaultTarget, Finding, Moment, Observation, Outcome, PlacedBecause, Plan, Program, Record,
    Reflex, Refusal, Report, Signal, Slot, Step, Stood, Subject, Timetable, Told, UpgradeEnd,
    Verdict, Ways, WithdrawnBecause,
};
use mainstay_model::EnvironmentKind;
use mainstay_model::people::{Permission, UnixIdentity};
use mainstay_record::event::{EventBody, SignalRecord};
use mainstay_units::{Epoch, Generation, Position, Term};

use super::{decode, encode, signal_of, signal_record};

pub(super) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

/// Some Ed25519 public key.
const KEY: &str = "GlzZBxQ8OExB6DDFvOEqqIF+xWSaqr8sMTiLNbLXRNY=";

pub(super) fn text() -> String {
    "quoted \"\u{fc}\" and a\nline".to_string()
}

fn actor() -> Actor {
    Actor {
        uid: 1000,
        user: Some("ada".to_string()),
    }
}

fn program() -> Program {
    Program {
        digest: "0f".repeat(32),
        version: "mainstay 0.2.0".to_string(),
    }
}

pub(super) fn by() -> By {
    By {
        actor: actor(),
        operator: Some(name("owner")),
    }
}

fn desired() -> Desired {
    let hosts = || vec![name("h1"), name("h2")];
    let database = DesiredDatabase {
        home: name("r1"),
        replicas: hosts(),
        fingerprint: u64::MAX,
    };
    let service = |follows| DesiredService {
        replicas: 2,
        hosts: hosts(),
        follows,
        fingerprint: 3,
    };
    let operator = |identity| DesiredOperator {
        identity,
        permissions: Permission::ALL.into(),
    };
    Desired {
        platform: name("exchange"),
        environment: EnvironmentKind::Production,
        hosts: [(name("h1"), name("r1")), (name("h2"), name("r2"))].into(),
        databases: [(name("ledger"), database)].into(),
        services: [
            (name("web"), service(None)),
            (name("engine"), service(Some(name("ledger")))),
        ]
        .into(),
        gateways: [(name("edge"), (hosts(), 9))].into(),
        watches: [name("h1")].into(),
        routes: vec![DesiredRoute {
            gateway: name("edge"),
            path: "/v1/cells/{cell}".to_string(),
            databases: vec![name("ledger")],
            services: vec![name("engine")],
        }],
        oncall: oncall(),
        gates: super::gates::samples(),
        objectives: [
            (name("all"), (name("edge"), None)),
            (name("some"), (name("edge"), Some("/v1".to_string()))),
        ]
        .into(),
        operators: [
            (name("a"), operator(UnixIdentity::Owner)),
            (name("b"), operator(UnixIdentity::Uid(7))),
            (name("c"), operator(UnixIdentity::User("eve".to_string()))),
        ]
        .into(),
    }
}

fn plan() -> Plan {
    let steps = vec![
        Step::CreateReplica {
            database: name("ledger"),
            host: name("h1"),
        },
        Step::RemoveReplica {
            database: name("ledger"),
            host: name("h2"),
        },
        Step::StartGateway {
            gateway: name("edge"),
            host: name("h1"),
        },
        Step::ReloadGateway {
            gateway: name("edge"),
            host: name("h1"),
        },
        Step::StopGateway {
            gateway: name("edge"),
            host: name("h1"),
        },
        Step::PlaceService {
            service: name("web"),
            instances: 2,
        },
        Step::ReplaceInstances {
            service: name("web"),
        },
        Step::WithdrawService {
            service: name("web"),
        },
    ];
    let subjects = [
        Subject::Environment,
        Subject::Host,
        Subject::Database,
        Subject::Service,
        Subject::Gateway,
        Subject::Operator,
        Subject::Watch,
    ];
    let kinds = [ChangeKind::Removed, ChangeKind::Added, ChangeKind::Changed];
    let changes = subjects.into_iter().zip(kinds.into_iter().cycle());
    let changes = changes.map(|(subject, kind)| Change {
        kind,
        subject,
        name: "x".to_string(),
    });
    Plan {
        changes: changes.collect(),
        steps,
    }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Done { detail: text() },
        Outcome::Failed { why: text() },
        Outcome::Unknown { why: text() },
    ]
}

fn specs() -> Vec<FaultSpec> {
    let targets = [
        "h1/web", "h1/web", "h1", "h1", "r1", "r1", "r1", "r1:r2", "h1/web", "r1:r2", "r1:r2", "h1",
    ];
    let kinds = FaultKind::ALL.into_iter().zip(targets);
    let specs = kinds.map(|(kind, target)| FaultSpec {
        kind,
        target: FaultTarget::parse(kind, target).unwrap(),
        lasts_ms: 30_000,
        one_way: kind == FaultKind::Cut,
        delay_us: if kind == FaultKind::Delay { 5 } else { 0 },
        detail: FaultDetail {
            jitter_us: 3,
            door: (kind == FaultKind::Delay).then(|| FaultDoor {
                host: "use1-a".parse().unwrap(),
                port: 5432,
                ways: Ways::Back,
            }),
            ..FaultDetail::default()
        },
    });
    specs.collect()
}

fn deeds() -> [ArchiveDeed; 3] {
    [
        ArchiveDeed::BackupMade {
            backup: text(),
            bytes: 48_000_000,
        },
        ArchiveDeed::BackupProven {
            backup: text(),
            rto_ms: 8_400,
            rpo_ms: Some(900),
            stood: Some(Stood {
                host: text(),
                beside_replica: true,
            }),
        },
        ArchiveDeed::Alarm { why: text() },
    ]
}

fn reports() -> Vec<Report> {
    let instance = || "web".to_string();
    let reflexes = vec![
        Reflex::BecamePrimary {
            database: name("ledger"),
            term: Term(3),
        },
        Reflex::LeftPrimary {
            database: name("ledger"),
            term: Term(3),
            why: text(),
        },
        Reflex::InstanceRestarted {
            instance: instance(),
            restarts: 2,
            exit: text(),
        },
        Reflex::CrashLoop {
            instance: instance(),
            restarts: 5,
        },
        Reflex::LoopEnded {
            instance: instance(),
            why: text(),
        },
        Reflex::HoldOpened {
            gateway: name("edge"),
            database: name("ledger"),
        },
        Reflex::HoldClosed {
            gateway: name("edge"),
            database: name("ledger"),
            lasted_ms: 412,
            released: 207,
            failed: 1,
        },
        Reflex::FaultUndone {
            fault: "f1".to_string(),
            by: text(),
        },
        Reflex::PromiseChanged {
            database: name("ledger"),
            term: Term(3),
            what: text(),
        },
        Reflex::ReplicaLetGo {
            database: name("ledger"),
            from: name("h2"),
        },
    ];
    let archived = deeds().into_iter().map(|deed| Reflex::Archived {
        database: name("ledger"),
        deed,
    });
    let reports = reflexes.into_iter().chain(archived).map(|reflex| Report {
        host: name("h1"),
        at_ms: 7,
        reflex,
    });
    reports.collect()
}

#[expect(clippy::too_many_lines, reason = "a table of every kind")]
fn events() -> Vec<Event> {
    let reason = text;
    let effect = EffectId(Position(8));
    let mut events = vec![
        Event::Opened {
            origin: "mainstay/exchange/1".to_string(),
            platform: name("exchange"),
            node: name("h1"),
            key: KEY.to_string(),
        },
        Event::KeyAdmitted {
            node: name("h2"),
            key: KEY.to_string(),
            replaces: Some("o".to_string()),
        },
        Event::PlatformAdopted {
            generation: Generation(2),
            digest: "f00d".to_string(),
            desired: Box::new(desired()),
            plan: plan(),
            by: by(),
            reason: reason(),
        },
        Event::GateOverridden {
            gate: "close".to_string(),
            asked: "up".to_string(),
            found: mainstay_kernel::Found::NotMeasured,
            why: text(),
            by: by(),
            reason: reason(),
        },
        Event::Paused {
            by: by(),
            reason: reason(),
        },
        Event::Resumed {
            by: by(),
            reason: reason(),
        },
        Event::Stopping {
            by: by(),
            reason: reason(),
        },
        Event::HostLost {
            host: name("h1"),
            silent_ms: 10_001,
        },
        Event::HostReturned { host: name("h1") },
        Event::SwitchoverOrdered {
            database: name("ledger"),
            from: name("h1"),
            to: name("h2"),
            by: by(),
            reason: reason(),
        },
        Event::SoloOrdered {
            database: name("ledger"),
            host: name("h1"),
            by: by(),
            reason: reason(),
        },
        Event::FailoverForced {
            database: name("ledger"),
            to: name("h1"),
            by: by(),
            reason: reason(),
        },
        Event::UpgradeBegun {
            program: program(),
            hosts: vec![name("h2"), name("h1")],
            by: by(),
            reason: reason(),
        },
        Event::UpgradeOrdered { host: name("h2") },
        Event::UpgradeEnded(UpgradeEnd::Complete),
        Event::UpgradeEnded(UpgradeEnd::Stopped {
            host: name("h2"),
            why: reason(),
        }),
    ];
    let claims = [
        ClaimReason::First,
        ClaimReason::Returned,
        ClaimReason::LeaderSilent {
            leader: name("h1"),
            silent_ms: 3_100,
        },
    ];
    events.extend(claims.map(|why| Event::Claimed {
        epoch: Epoch(2),
        node: name("h2"),
        why,
    }));
    let placed = [
        PlacedBecause::Wanted,
        PlacedBecause::BesideReplica {
            database: name("ledger"),
        },
        PlacedBecause::InsteadOf { lost: name("h1") },
        PlacedBecause::Replaces {
            host: name("h1"),
            run: "r1".to_owned(),
        },
    ];
    let (service, host) = (|| name("web"), || name("h2"));
    events.extend(placed.map(|why| Event::InstancePlaced {
        service: service(),
        host: host(),
        why,
    }));
    let withdrawn = [
        WithdrawnBecause::NotWanted,
        WithdrawnBecause::HostLost,
        WithdrawnBecause::Replaced,
        WithdrawnBecause::NotReady,
    ];
    events.extend(withdrawn.map(|why| Event::InstanceWithdrawn {
        service: service(),
        host: host(),
        why,
    }));
    events.extend(specs().into_iter().map(|spec| Event::FaultInjected {
        fault: FaultId(3),
        spec,
        until_ms: 99,
        by: by(),
        reason: reason(),
    }));
    let ends = [
        EndReason::Expired,
        EndReason::Cleared {
            by: by(),
            reason: reason(),
        },
        EndReason::Playbook { run: text() },
        EndReason::Drill { drill: DrillId(3) },
        EndReason::Experiment {
            experiment: ExperimentId(4),
        },
        EndReason::Again { failed: text() },
    ];
    events.extend(ends.map(|why| Event::FaultEnding {
        fault: FaultId(3),
        why,
    }));
    events.extend(
        outcomes()
            .into_iter()
            .map(|outcome| Event::EffectFinished { effect, outcome }),
    );
    events.extend(reports().into_iter().map(Event::ReflexRecorded));
    events.extend(alerts().into_iter().map(Event::AlertChanged));
    events.extend(super::rules::samples().into_iter().map(Event::Rules));
    events.extend(incidents().into_iter().map(Event::Incident));
    events.extend(experiments().into_iter().map(Event::Experiment));
    events.extend(super::drills::tests::news().into_iter().map(Event::Drill));
    events.extend(
        super::playbooks::tests::events()
            .into_iter()
            .map(Event::Playbook),
    );
    events.extend(notices().into_iter().map(Event::Notice));
    events
}

fn oncall() -> mainstay_notify::Settings {
    use mainstay_notify::{Level, Override, Policy, Rotation, Severity, Target, Turn};
    let rotation = |turn| Rotation {
        members: vec!["ada".to_string(), "bob".to_string()],
        turn,
        handover_minutes: 540,
        offset_minutes: -90,
        starts_ms: 7,
        overrides: vec![Override {
            who: "eve".to_string(),
            from_ms: 1,
            to_ms: 2,
        }],
    };
    mainstay_notify::Settings {
        rotations: [
            ("days".to_string(), rotation(Turn::Daily)),
            ("weeks".to_string(), rotation(Turn::Weekly(6))),
        ]
        .into(),
        contacts: [("ada".to_string(), vec!["pager".to_string()])].into(),
        policies: vec![Policy {
            name: "all".to_string(),
            severity: Severity::Warning,
            about: ["database/ledger".to_string()].into(),
            levels: vec![Level {
                tell: vec![
                    Target::Rotation("days".to_string()),
                    Target::Operator("ada".to_string()),
                    Target::Channel("pager".to_string()),
                ],
                within_ms: 9,
            }],
            rounds: 2,
        }],
        channels: ["pager".to_string()].into(),
        wait_ms: 10,
        remind_ms: 20,
    }
}

fn notices() -> Vec<mainstay_notify::Event> {
    use mainstay_notify::{Addressee, Event, Kind, Matcher, Notice, Severity, Silence};
    let to = |who: Option<&str>| Addressee {
        channel: "pager".to_string(),
        who: who.map(ToString::to_string),
    };
    let mut events = vec![
        Event::Escalated {
            incident: "i3".to_string(),
            policy: "all".to_string(),
            level: 1,
            round: 2,
            tell: vec![to(None), to(Some("ada"))],
            until_ms: 5,
            why: text(),
        },
        Event::Exhausted {
            incident: "i3".to_string(),
            why: text(),
        },
        Event::SilenceSet {
            silence: 4,
            set: Silence {
                matchers: vec![
                    Matcher::parse("host=h1").unwrap(),
                    Matcher::parse("alertname!=Down").unwrap(),
                ],
                until_ms: 6,
                by: "ada".to_string(),
                reason: text(),
            },
        },
        Event::SilenceEnded {
            silence: 4,
            why: text(),
        },
    ];
    events.extend(Kind::ALL.map(|kind| {
        Event::Ordered(Notice {
            number: 8,
            attempt: 2,
            incident: "i3".to_string(),
            kind,
            to: to(Some("ada")),
            severity: Severity::Critical,
            title: text(),
            text: text(),
            things: ["database/ledger".to_string()].into(),
            open_ms: 9,
        })
    }));
    events
}

/// Every change, by rule and by people.
fn incidents() -> Vec<mainstay_incident::Event> {
    use mainstay_incident::{By, Change, Condition, Event, Person, Severity};
    let (id, other) = (IncidentId(3), IncidentId(2));
    let conditions = || {
        [
            Condition::Alert("A{b=\"c\"}".to_string()),
            Condition::HostLost("h1".to_string()),
            Condition::NoPrimary("ledger".to_string()),
            Condition::ArchiveUnsafe("ledger".to_string()),
            Condition::DrillMissed("region-lost".to_string()),
            Condition::CrashLoop("h1".to_string(), "venue".to_string()),
        ]
        .into()
    };
    let things = || {
        let things = ["region/r1", "host/h1", "database/ledger@h1", "other/x y"];
        things.iter().map(|thing| thing.parse().unwrap()).collect()
    };
    let mut changes = vec![
        Change::Opened {
            title: text(),
            severity: Severity::Critical,
            conditions: conditions(),
            things: things(),
            evidence: vec![Position(1), Position(7)],
            follows: Some(other),
        },
        Change::Joined {
            conditions: conditions(),
            things: things(),
            evidence: vec![Position(9)],
        },
        Change::Acknowledged,
        Change::Noted,
        Change::Linked { link: text() },
        Change::Mitigated,
        Change::Resolved {
            standing: conditions(),
        },
        Change::Reopened,
        Change::Merged { into: other },
    ];
    changes.extend(Severity::ALL.map(|severity| Change::SeverityChanged { severity }));
    changes.extend(reviews());
    changes.extend(Role::ALL.map(|role| Change::Assigned {
        role,
        to: "bob".to_string(),
        from: (role == Role::Owner).then(|| "ada".to_string()),
    }));
    let person = By::Person(Person {
        uid: 7,
        user: Some("eve".to_string()),
        operator: None,
    });
    let by = [By::Mainstay, person];
    let changes = changes.into_iter().zip(by.into_iter().cycle());
    changes
        .map(|(change, by)| Event {
            incident: id,
            by,
            reason: text(),
            change,
        })
        .collect()
}

/// What is said and decided when one looks back.
fn reviews() -> Vec<mainstay_incident::Change> {
    use mainstay_incident::Change;
    let mut changes = vec![
        Change::ActionAdded(mainstay_incident::Action {
            number: 2,
            owner: "ada".to_string(),
            due: "2028-02-29".parse().unwrap(),
        }),
        Change::ActionDone {
            number: 2,
            became: Some(text()),
        },
        Change::ActionDone {
            number: 1,
            became: None,
        },
    ];
    changes.extend(mainstay_incident::Lesson::ALL.map(Change::Learned));
    changes.extend(
        mainstay_incident::Signature::ALL.map(|signature| Change::Signed {
            signature,
            page: "0a".repeat(32).parse().unwrap(),
        }),
    );
    changes
}

fn incident_asks() -> Vec<mainstay_incident::Ask> {
    use mainstay_incident::{Ask, Review, Severity};
    let id = IncidentId(3);
    let review = |review| Ask::Review {
        incident: id,
        review,
    };
    vec![
        Ask::Open {
            title: text(),
            severity: Severity::Info,
            about: ["database/ledger".parse().unwrap()].into(),
        },
        Ask::Acknowledge(id),
        Ask::Assign {
            incident: id,
            role: Role::Scribe,
            to: "bob".to_string(),
        },
        Ask::Rate {
            incident: id,
            severity: Severity::Error,
        },
        Ask::Note(id),
        review(Review::Learn(mainstay_incident::Lesson::Luck)),
        review(Review::AddAction {
            owner: "ada".to_string(),
            due: "2026-12-24".parse().unwrap(),
        }),
        review(Review::FinishAction {
            number: 1,
            became: Some("rule:StandbyFar".parse().unwrap()),
        }),
        review(Review::FinishAction {
            number: 2,
            became: None,
        }),
        review(Review::Sign {
            signature: mainstay_incident::Signature::Refused,
            page: "f9".repeat(32).parse().unwrap(),
        }),
        Ask::Link {
            incident: id,
            link: text(),
        },
        Ask::Merge {
            incident: id,
            into: IncidentId(1),
        },
        Ask::Mitigate(id),
        Ask::Resolve {
            incident: id,
            despite: true,
        },
        Ask::Reopen(id),
    ]
}

fn experiment_plan(timetable: Option<Timetable>) -> ExperimentPlan {
    ExperimentPlan {
        name: text(),
        digest: "f00d".to_string(),
        seed: u64::MAX,
        hypothesis: text(),
        injections: vec![text()],
        lasts_ms: 5,
        timetable,
    }
}

fn timetable(alerts: Option<AlertRules>) -> Timetable {
    let slot = |lasts_ms| Slot { at_ms: 3, lasts_ms };
    Timetable {
        text: text(),
        planned_s: 1_700_000_000,
        window_ms: alerts.as_ref().map(|_| 60_000),
        injections: vec![slot(None), slot(Some(4))],
        ends_ms: 7,
        settle_ms: 8,
        is_guarded: alerts.is_some(),
        alerts,
    }
}

fn timetables() -> [Timetable; 2] {
    let names = || [text()].into();
    let rules = AlertRules {
        fire: names(),
        may_fire: [].into(),
        severities: names(),
    };
    [timetable(None), timetable(Some(rules))]
}

fn observations() -> Vec<Observation> {
    let findings = [Finding::Holds, Finding::Violated, Finding::Missing];
    let seen = findings.map(|finding| Observation {
        subject: text(),
        value: text(),
        finding,
    });
    seen.into()
}

const VERDICTS: [Verdict; 4] = [
    Verdict::Passed,
    Verdict::Failed,
    Verdict::Aborted,
    Verdict::Inconclusive,
];

fn experiments() -> Vec<ExperimentNews> {
    let experiment = ExperimentId(4);
    let old = core::iter::once(experiment_plan(None));
    let plans = old.chain(timetables().map(|table| experiment_plan(Some(table))));
    let begun = plans.map(|plan| ExperimentNews::Begun {
        experiment,
        plan: plan.into(),
        until_ms: 9,
        by: by(),
        reason: text(),
    });
    let mut news: Vec<ExperimentNews> = begun.collect();
    let observed = observations().into_iter();
    news.extend(observed.map(|observation| ExperimentNews::Observed {
        experiment,
        observation,
    }));
    news.extend(Moment::ALL.into_iter().flat_map(|moment| {
        let looked = |halt| ExperimentNews::Looked {
            experiment,
            moment,
            halt,
            residue: vec![text()],
        };
        let looking = ExperimentNews::Looking {
            experiment,
            moment,
            host: name("a1"),
            within_ms: 4,
            patience_ms: 5,
        };
        [looking, looked(None), looked(Some(text()))]
    }));
    news.push(ExperimentNews::Choosing {
        experiment,
        injection: 2,
    });
    news.push(ExperimentNews::Chosen {
        experiment,
        injection: 2,
        what: text(),
        faults: vec![FaultId(3), FaultId(4)],
    });
    let verdicts = VERDICTS.into_iter().map(Some).chain([None]);
    news.extend(verdicts.map(|verdict| ExperimentNews::Mending {
        experiment,
        verdict,
        why: text(),
    }));
    news.extend(VERDICTS.map(|verdict| ExperimentNews::Ended {
        experiment,
        verdict,
        why: text(),
        residue: vec![text()],
    }));
    news
}

fn experiment_asks() -> Vec<ExperimentAsk> {
    let [first, second] = timetables().map(|table| experiment_plan(Some(table)));
    vec![
        ExperimentAsk::Begin(Box::new(experiment_plan(None))),
        ExperimentAsk::Begin(Box::new(first)),
        ExperimentAsk::Begin(Box::new(second)),
        ExperimentAsk::Stop {
            experiment: ExperimentId(4),
        },
    ]
}

/// What watches and whoever works for an experiment tell.
fn told() -> Vec<Signal> {
    let looked = |halt| Told::Looked {
        seen: observations(),
        halt,
        residue: vec![text()],
    };
    let chosen = Told::Chosen {
        what: text(),
        faults: specs(),
    };
    let all = [looked(None), looked(Some(text())), chosen];
    let effect = EffectId(Position(7));
    let told = all.map(|told| Signal::Experiment(ExperimentTold { effect, told }));
    let alerts = alerts().into_iter().map(Signal::AlertTold);
    let abandoned = Signal::DrillAbandoned { drill: DrillId(3) };
    alerts.chain(told).chain([abandoned]).collect()
}

fn alerts() -> Vec<AlertNews> {
    let states = [
        AlertState::Firing,
        AlertState::Missing,
        AlertState::Resolved,
    ];
    let news = |state| AlertNews {
        watch: name("h1"),
        alert: "Down{job=\"x\"}".to_owned(),
        state,
        since_ms: 5,
        at_ms: 7,
        labels: [("alertname".to_owned(), "Down".to_owned())].into(),
        summary: "x is down".to_owned(),
        value: "NaN".to_owned(),
        why: "its condition holds".to_owned(),
    };
    states.map(news).into()
}

fn record(event: Event) -> Record {
    Record {
        position: Position(4),
        at_ms: 1_763_636_129_123,
        epoch: Epoch(2),
        cause: Some(Cause {
            node: name("h1"),
            number: u64::MAX >> 11,
        }),
        event,
    }
}

#[test]
fn every_event_there_and_back() {
    let mut kinds = std::collections::BTreeSet::new();
    for event in events() {
        let record = record(event);
        let entry = encode(&record).unwrap();
        assert_eq!(decode(Position(4), &entry), record, "{}", entry.as_str());
        let stored: mainstay_record::journal::EntryRecord =
            serde_json::from_str(entry.as_str()).unwrap();
        kinds.insert(stored.kind);
        // The log must be able to read its own kinds, and must not stumble over others.
        assert_ne!(
            mainstay_storage::meaning_of(&entry),
            mainstay_journal::Meaning::Unreadable,
            "{}",
            entry.as_str()
        );
    }
    kinds.insert("command.refused".to_string());
    let known: std::collections::BTreeSet<String> =
        EventBody::KINDS.iter().map(ToString::to_string).collect();
    assert_eq!(kinds, known);
}

#[test]
fn a_refusal_comes_back_as_code_and_text() {
    let refused = |why| {
        record(Event::CommandRefused {
            asked: "pause".to_string(),
            uid: 7,
            reason: text(),
            why,
        })
    };
    let entry = encode(&refused(Refusal::NotPaused)).unwrap();
    let text = Refusal::NotPaused.to_string();
    let code = "not_paused".to_string();
    assert_eq!(
        decode(Position(4), &entry),
        refused(Refusal::Other { code, text })
    );
}

#[test]
fn what_is_not_understood_is_unknown() {
    let entry = |text: &str| mainstay_journal::Entry::new(text.to_string()).unwrap();
    for text in [
        r#"{"kind":"weather.changed","version":1,"at_ms":5,"epoch":1,"body":{}}"#,
        r#"{"kind":"host.lost","version":2,"at_ms":5,"epoch":1,"body":{"host":"h1"}}"#,
        r#"{"kind":"host.lost","version":1,"at_ms":5,"epoch":1,"body":{"host":"h1"}}"#,
        r#"{"kind":"host.returned","version":1,"at_ms":5,"epoch":1,"body":{"host":"NO NAME"}}"#,
        r#"{"what":1}"#,
    ] {
        let record = decode(Position(4), &entry(text));
        assert!(matches!(record.event, Event::Unknown { .. }), "{text}");
    }
}

#[path = "signals_tests.rs"]
mod signals;
