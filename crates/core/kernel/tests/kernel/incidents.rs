//! Incidents as the kernel carries them: golden transcripts, and what must hold across leaders and versions.

use expect_test::{Expect, expect};
use mainstay_incident::{IncidentId, Phase, Role, SETTLE_MS};
use mainstay_kernel::{
    AlertNews, AlertState, Ask, Event, FaultKind, Outcome, Reflex, Signal, State, decide,
};
use mainstay_units::Term;

use crate::stage::{Stage, actor, answered, command, desired, fault, name, owner, primary, report};

fn check(stage: &mut Stage, expected: Expect) {
    expected.assert_eq(&stage.script());
}

fn alert(watch: &str, text: &str, state: AlertState) -> Signal {
    let mut words = text.split(' ');
    let alertname = words.next().unwrap();
    let labels = words.map(|word| {
        let (label, value) = word.split_once('=').unwrap();
        (label.to_string(), value.to_string())
    });
    let name_of = [("alertname".to_string(), alertname.to_string())];
    Signal::AlertTold(AlertNews {
        watch: name(watch),
        alert: text.to_string(),
        state,
        since_ms: 900,
        at_ms: 1_000,
        labels: labels.chain(name_of).collect(),
        summary: "it hurts".to_string(),
        value: "1".to_string(),
        why: "a watch says so".to_string(),
    })
}

fn done() -> Outcome {
    Outcome::Done {
        detail: String::new(),
    }
}

fn hold(at_ms: u64, opens: bool) -> Signal {
    let (gateway, database) = (name("edge"), name("ledger"));
    let reflex = match opens {
        true => Reflex::HoldOpened { gateway, database },
        false => Reflex::HoldClosed {
            gateway,
            database,
            lasted_ms: 900,
            released: 7,
            failed: 0,
        },
    };
    report("h2", at_ms, reflex)
}

fn incident(ask: mainstay_incident::Ask) -> Signal {
    command(owner(), Ask::Incident(ask))
}

const DOWN: &str = "ServerDown severity=warning database=ledger host=h1";
const FAIL: &str = "OrdersFail severity=page route=public/v1/cells/{cell}";

/// Somebody breaks the primary; a gateway holds, another primary comes, two watches see two alerts each.
#[test]
fn a_killed_primary() {
    let mut stage = Stage::with(desired());
    stage.at(2_000, &primary("h1", 1)).script();
    let id = IncidentId(1);
    let spec = fault(FaultKind::ProcessKill, "h1/postgres-ledger", 1_000);
    stage
        .at(300_000, &command(owner(), Ask::InjectFault(spec)))
        .at(300_050, &answered(9, done()))
        .at(300_200, &hold(300_200, true))
        .at(301_600, &primary("h2", 2))
        .at(301_900, &hold(301_900, false))
        .at(310_000, &alert("h1", FAIL, AlertState::Firing))
        .at(310_010, &alert("h2", FAIL, AlertState::Firing))
        .at(312_000, &alert("h2", DOWN, AlertState::Firing))
        .at(313_000, &incident(mainstay_incident::Ask::Acknowledge(id)))
        .at(320_000, &alert("h2", DOWN, AlertState::Resolved))
        .at(330_000, &alert("h1", FAIL, AlertState::Missing))
        .at(340_000, &alert("h1", FAIL, AlertState::Resolved))
        .at(340_010, &alert("h2", FAIL, AlertState::Resolved))
        .at(340_010 + SETTLE_MS - 1, &Signal::Tick)
        .at(340_010 + SETTLE_MS, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
            300000 > uid 1000 asks: fault inject
                 #9 fault f1 process-kill h1/postgres-ledger until 301000 by owner
                 do #9 SetFault by Leader
            300050 > #9 is done
                 #10 effect #9 done
            300200 > h2 reports edge holds for ledger
                 #11 recorded: h2 edge holds for ledger
            301600 > h2 reports ledger primary in term 2
                 #12 recorded: h2 ledger primary in term 2
                 #13 i1 opened (error) "database ledger lost its primary on h1; h2 took over" about database/ledger, database/ledger@h1 with #9, #10, #11, #12 by Mainstay: nothing that is open reaches it or is reached by it
            301900 > h2 reports edge held for ledger 900 ms: 7 released, 0 failed
                 #14 recorded: h2 edge held for ledger 900 ms: 7 released, 0 failed
                 #15 i1 takes up database/ledger with #14 by Mainstay: database/ledger depends on what is in trouble here
            310000 > the watch on h1 says that OrdersFail severity=page route=public/v1/cells/{cell} is firing
                 #16 alert OrdersFail severity=page route=public/v1/cells/{cell} of h1 is firing: a watch says so
                 #17 i1 takes up route//v1/cells/{cell} with #16 by Mainstay: route//v1/cells/{cell} depends on what is in trouble here
            310010 > the watch on h2 says that OrdersFail severity=page route=public/v1/cells/{cell} is firing
                 #18 alert OrdersFail severity=page route=public/v1/cells/{cell} of h2 is firing: a watch says so
                 #19 i1 takes up route//v1/cells/{cell} with #18 by Mainstay: it is part of this incident already
            312000 > the watch on h2 says that ServerDown severity=warning database=ledger host=h1 is firing
                 #20 alert ServerDown severity=warning database=ledger host=h1 of h2 is firing: a watch says so
                 #21 i1 takes up database/ledger@h1 with #20 by Mainstay: database/ledger@h1 depends on what is in trouble here
            313000 > uid 1000 asks: incident acknowledge
                 #22 i1 acknowledged by owner: a rehearsal
            320000 > the watch on h2 says that ServerDown severity=warning database=ledger host=h1 is resolved
                 #23 alert ServerDown severity=warning database=ledger host=h1 of h2 is resolved: a watch says so
                 #24 i1 takes up database/ledger@h1 with #23 by Mainstay: it is part of this incident already
            330000 > the watch on h1 says that OrdersFail severity=page route=public/v1/cells/{cell} is missing
                 #25 alert OrdersFail severity=page route=public/v1/cells/{cell} of h1 is missing: a watch says so
                 #26 i1 takes up route//v1/cells/{cell} with #25 by Mainstay: it is part of this incident already
            340000 > the watch on h1 says that OrdersFail severity=page route=public/v1/cells/{cell} is resolved
                 #27 alert OrdersFail severity=page route=public/v1/cells/{cell} of h1 is resolved: a watch says so
                 #28 i1 takes up route//v1/cells/{cell} with #27 by Mainstay: it is part of this incident already
            340010 > the watch on h2 says that OrdersFail severity=page route=public/v1/cells/{cell} is resolved
                 #29 alert OrdersFail severity=page route=public/v1/cells/{cell} of h2 is resolved: a watch says so
                 #30 i1 takes up route//v1/cells/{cell} with #29 by Mainstay: it is part of this incident already
            400009 > time passes
                 nothing: nothing is due
            400010 > time passes
                 #31 i1 mitigated by Mainstay: its 2 alerts were measured to have ended, every host is heard, every database has its primary, and nothing of it was told of for 60 s
        "#]],
    );
}

#[test]
fn people_and_their_permissions() {
    use mainstay_incident::{Ask as Wish, Severity};
    let mut stage = Stage::with(desired());
    let open = || Wish::Open {
        title: "customers ring".to_string(),
        severity: Severity::Error,
        about: ["database/ledger".parse().unwrap()].into(),
    };
    let assign = |to: &str| Wish::Assign {
        incident: IncidentId(1),
        role: Role::Commander,
        to: to.to_string(),
    };
    let resolve = |despite| Wish::Resolve {
        incident: IncidentId(1),
        despite,
    };
    stage
        .at(2_000, &command(actor(7, "watcher"), Ask::Incident(open())))
        .at(2_000, &incident(open()))
        .at(2_100, &incident(Wish::Acknowledge(IncidentId(2))))
        .at(2_200, &incident(assign("nobody")))
        .at(2_300, &incident(assign("breaker")))
        .at(2_400, &incident(Wish::Note(IncidentId(1))))
        .at(2_500, &alert("h1", DOWN, AlertState::Firing))
        .at(2_600, &incident(resolve(false)))
        .at(2_700, &incident(resolve(true)))
        .at(2_800, &incident(Wish::Reopen(IncidentId(1))));
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 7 asks: incident open
             #8 refused incident open: operator watcher does not have incident.manage (not_permitted)
        2000 > uid 1000 asks: incident open
             #9 i1 opened (error) "customers ring" about database/ledger with  by owner: a rehearsal
        2100 > uid 1000 asks: incident acknowledge
             #10 refused incident acknowledge: there is no incident i2, or it has been over for long (no_such_incident)
        2200 > uid 1000 asks: incident assign
             #11 refused incident assign: the platform file names no operator "nobody" (no_such_operator)
        2300 > uid 1000 asks: incident assign
             #12 i1 has breaker as commander by owner: a rehearsal
        2400 > uid 1000 asks: incident note
             #13 i1 noted by owner: a rehearsal
        2500 > the watch on h1 says that ServerDown severity=warning database=ledger host=h1 is firing
             #14 alert ServerDown severity=warning database=ledger host=h1 of h1 is firing: a watch says so
             #15 i1 takes up database/ledger@h1 with #14 by Mainstay: database/ledger@h1 depends on what is in trouble here
        2600 > uid 1000 asks: incident resolve
             #16 refused incident resolve: of incident i1 still stands: alert ServerDown severity=warning database=ledger host=h1 (incident_stands)
        2700 > uid 1000 asks: incident resolve
             #17 i1 resolved despite 1 by owner: a rehearsal
        2800 > uid 1000 asks: incident reopen
             #18 i1 reopened by owner: a rehearsal
    "#]],
    );
}

#[test]
fn a_planned_move_is_no_incident() {
    let mut stage = Stage::with(desired());
    let left = Reflex::LeftPrimary {
        database: name("ledger"),
        term: Term(2),
        why: "it was asked to".to_string(),
    };
    stage
        .at(2_000, &primary("h2", 2))
        .at(
            3_000,
            &command(
                owner(),
                Ask::Switchover {
                    database: name("ledger"),
                    to: name("r1"),
                },
            ),
        )
        .at(3_200, &report("h2", 3_200, left))
        .at(3_400, &hold(3_400, true))
        .at(3_500, &primary("h1", 3))
        .at(3_600, &answered(9, done()))
        .at(3_700, &hold(3_700, false))
        .at(600_000, &Signal::Tick);
    assert_eq!(stage.state.incidents.ever(), 0);
}

/// A primary that leaves for a moment and goes on in the same term is primary again.
#[test]
fn a_primary_that_returns_in_its_term_ends_what_it_began() {
    let mut stage = Stage::with(desired());
    let left = Reflex::LeftPrimary {
        database: name("ledger"),
        term: Term(2),
        why: "cut off".to_string(),
    };
    let again = Reflex::BecamePrimary {
        database: name("ledger"),
        term: Term(2),
    };
    stage
        .at(2_000, &primary("h2", 2))
        .at(3_000, &report("h2", 3_000, left))
        .at(3_500, &report("h2", 3_500, again.clone()))
        .at(3_600, &report("h2", 3_600, again));
    let view = stage.state.databases.values().next().unwrap();
    assert_eq!(view.primary, Some(name("h2")));
    assert_eq!(stage.state.incidents.standing_of(IncidentId(1)).count(), 0);
    stage.at(3_600 + SETTLE_MS, &Signal::Tick);
    let phase = stage.state.incidents.get(IncidentId(1)).unwrap().phase;
    assert_eq!(phase, Phase::Mitigated);
}

/// A journal of a version before incidents: what stands in it is taken up by the first leader that knows them, once.
#[test]
fn what_stood_before_incidents_were_known_is_taken_up_once() {
    let mut stage = Stage::with(desired());
    for watch in ["h1", "h2"] {
        let Signal::AlertTold(news) = alert(watch, DOWN, AlertState::Firing) else {
            panic!("no alert");
        };
        stage.put(Event::AlertChanged(news));
    }
    stage.put(Event::HostLost {
        host: name("h4"),
        silent_ms: 12_000,
    });
    assert_eq!(stage.state.incidents.ever(), 0);
    stage.at(5_000, &Signal::Tick);
    assert_eq!(stage.state.incidents.ever(), 2);
    let before = stage.state.clone();
    stage.at(5_001, &Signal::Tick);
    assert_eq!(stage.state, before);
    let mut again = State::default();
    for record in &stage.records {
        again.apply(record);
    }
    assert_eq!(again, stage.state);
}

/// A leader that dies while its part is written leaves all of it or nothing: the incident stands in the same part as
/// what opened it, and whoever tells the alert again to the next leader opens nothing twice.
#[test]
fn an_alert_that_is_told_again_opens_nothing_twice() {
    let mut stage = Stage::with(desired());
    let news = alert("h1", DOWN, AlertState::Firing);
    let first = decide(&stage.state, 2_000, &news);
    assert_eq!(first.events.len(), 2, "{first:?}");
    // The first leader died before it could append: the next one decides the same.
    assert_eq!(decide(&stage.state, 2_000, &news), first);
    stage.at(2_000, &news).at(2_500, &news);
    assert_eq!(stage.state.incidents.ever(), 1);
}

/// One ladder, one person, one channel.
fn with_oncall() -> mainstay_kernel::Desired {
    use mainstay_notify::{Level, Policy, Settings, Severity, Target};
    let level = |target| Level {
        tell: vec![target],
        within_ms: 60_000,
    };
    mainstay_kernel::Desired {
        oncall: Settings {
            contacts: [("ada".to_string(), vec!["pager".to_string()])].into(),
            policies: vec![Policy {
                name: "all".to_string(),
                severity: Severity::Warning,
                about: Default::default(),
                levels: vec![
                    level(Target::Operator("ada".to_string())),
                    level(Target::Channel("desk".to_string())),
                ],
                rounds: 1,
            }],
            channels: ["pager".to_string(), "desk".to_string()].into(),
            wait_ms: 10_000,
            ..Settings::default()
        },
        ..desired()
    }
}

#[test]
fn what_is_to_be_said_is_journalled_first_and_said_again_only_in_doubt() {
    let mut stage = Stage::with(with_oncall());
    let id = IncidentId(1);
    let unknown = Outcome::Unknown {
        why: "the leader died".to_string(),
    };
    stage
        .at(2_000, &alert("h1", DOWN, AlertState::Firing))
        .at(11_999, &Signal::Tick)
        .at(12_000, &Signal::Tick)
        .at(12_100, &answered(11, unknown))
        .at(17_100, &Signal::Tick)
        .at(17_200, &answered(13, done()))
        .at(72_000, &Signal::Tick)
        .at(72_100, &answered(16, done()))
        .at(73_000, &incident(mainstay_incident::Ask::Acknowledge(id)));
    check(
        &mut stage,
        expect![[r#"
        2000 > the watch on h1 says that ServerDown severity=warning database=ledger host=h1 is firing
             #8 alert ServerDown severity=warning database=ledger host=h1 of h1 is firing: a watch says so
             #9 i1 opened (warning) "ServerDown: it hurts" about database/ledger@h1 with #8 by Mainstay: nothing that is open reaches it or is reached by it
        11999 > time passes
             nothing: nothing is due
        12000 > time passes
             #10 i1 calls level 1.1 (pager) until 72000: it is open
             #11 notice 1.1 trigger of i1 to pager: level 1, round 1
             do #11 Notify by Leader
        12100 > #11 is unknown: the leader died
             #12 effect #11 unknown: the leader died
        17100 > time passes
             #13 notice 1.2 trigger of i1 to pager: level 1, round 1
             do #13 Notify by Leader
        17200 > #13 is done
             #14 effect #13 done
        72000 > time passes
             #15 i1 calls level 2.1 (desk) until 132000: nobody has acknowledged it in time
             #16 notice 2.1 trigger of i1 to desk: level 2, round 1
             do #16 Notify by Leader
        72100 > #16 is done
             #17 effect #16 done
        73000 > uid 1000 asks: incident acknowledge
             #18 i1 acknowledged by owner: a rehearsal
             #19 notice 3.1 acknowledge of i1 to desk: owner has it
             #20 notice 4.1 acknowledge of i1 to pager: owner has it
             do #19 Notify by Leader
             do #20 Notify by Leader
    "#]],
    );
    let mut again = State::default();
    for record in &stage.records {
        again.apply(record);
    }
    assert_eq!(again, stage.state);
    let state = &stage.state;
    let incident = state.incidents.get(id).expect("it is there");
    let told: Vec<u64> = incident.timeline.iter().map(|entry| entry.0).collect();
    // Calls, and those that failed or may have; what was said is in the calls themselves.
    assert_eq!(told, [8, 9, 10, 11, 12, 13, 15, 16, 18, 19, 20]);
    let ends: Vec<_> = state
        .calls
        .iter()
        .map(|(name, call)| (name.as_str(), call.at_ms))
        .collect();
    assert_eq!(ends, [("desk", 72_100), ("pager", 17_200)]);
    assert!(!state.notices.is_exhausted("i1"));
}

/// Once round the ladder, and no further.
#[test]
fn an_incident_that_nobody_takes_is_known_as_such() {
    let mut stage = Stage::with(with_oncall());
    stage
        .at(2_000, &alert("h1", DOWN, AlertState::Firing))
        .at(12_000, &Signal::Tick)
        .at(72_000, &Signal::Tick)
        .at(131_999, &Signal::Tick);
    assert!(!stage.state.notices.is_exhausted("i1"));
    stage.at(132_000, &Signal::Tick);
    assert!(stage.state.notices.is_exhausted("i1"));
    let taken = incident(mainstay_incident::Ask::Acknowledge(IncidentId(1)));
    stage.at(133_000, &taken);
    let found = stage.state.incidents.get(IncidentId(1));
    assert!(found.expect("it is there").acknowledged.is_some());
}

#[test]
fn a_silence_keeps_quiet_and_its_end_calls() {
    use mainstay_kernel::NoticeAsk;
    let mut stage = Stage::with(with_oncall());
    let silence = |matcher: &str, lasts_ms| NoticeAsk::Silence {
        matchers: mainstay_notify::Matcher::parse(matcher)
            .into_iter()
            .collect(),
        lasts_ms,
    };
    let ask = |ask| command(owner(), Ask::Notice(ask));
    stage
        .at(2_000, &ask(silence("nothing", 5_000)))
        .at(2_000, &ask(silence("host=", 5_000)))
        .at(2_000, &ask(silence("host=~h.*", 5_000)))
        .at(2_000, &ask(silence("host=h1", 0)))
        .at(2_000, &ask(silence("host=h1", 50_000)))
        .at(3_000, &alert("h1", DOWN, AlertState::Firing))
        .at(30_000, &Signal::Tick)
        .at(31_000, &ask(NoticeAsk::EndSilence { silence: 7 }))
        .at(52_000, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
            2000 > uid 1000 asks: silence add
                 #8 refused silence add: that is no silence: it has from 1 to 20 matchers (silence)
            2000 > uid 1000 asks: silence add
                 #9 refused silence add: that is no silence: a matcher without a value fits whatever has no such label; give the value (silence)
            2000 > uid 1000 asks: silence add
                 #10 refused silence add: that is no silence: values are compared whole, not by patterns; write NAME=VALUE or NAME!=VALUE (silence)
            2000 > uid 1000 asks: silence add
                 #11 refused silence add: that is no silence: it lasts for some time, 30 days at most (silence)
            2000 > uid 1000 asks: silence add
                 #12 silence s1 of host=h1 until 52000 by owner
            3000 > the watch on h1 says that ServerDown severity=warning database=ledger host=h1 is firing
                 #13 alert ServerDown severity=warning database=ledger host=h1 of h1 is firing: a watch says so
                 #14 i1 opened (warning) "ServerDown: it hurts" about database/ledger@h1 with #13 by Mainstay: nothing that is open reaches it or is reached by it
            30000 > time passes
                 nothing: nothing is due
            31000 > uid 1000 asks: silence end
                 #15 refused silence end: there is no silence s7 (no_such_silence)
            52000 > time passes
                 #16 silence s1 ended: its time is over
                 #17 i1 calls level 1.1 (pager) until 112000: it is open
                 #18 notice 1.1 trigger of i1 to pager: level 1, round 1
                 do #18 Notify by Leader
        "#]],
    );
}

/// Supervision tells of a loop; its node tells the end, of which others say nothing.
#[test]
fn a_crash_loop_is_an_incident_with_no_rule_for_it() {
    let mut stage = Stage::with(desired());
    let loops = |at_ms, restarts| {
        let instance = "h2/web".to_string();
        report("h2", at_ms, Reflex::CrashLoop { instance, restarts })
    };
    let ended = |host: &str, at_ms| {
        let (instance, why) = ("h2/web".to_string(), "pid 7 is well".to_string());
        report(host, at_ms, Reflex::LoopEnded { instance, why })
    };
    let restarted = Reflex::InstanceRestarted {
        instance: "h2/web".to_string(),
        restarts: 4,
        exit: "code 1".to_string(),
    };
    stage
        .at(300_000, &report("h2", 299_900, restarted))
        .at(301_000, &loops(300_900, 5))
        .at(320_000, &loops(319_900, 10))
        .at(330_000, &ended("h1", 329_900))
        .at(380_000, &ended("h2", 379_900))
        .at(380_100, &ended("h2", 380_000))
        .at(380_000 + SETTLE_MS, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
        300000 > h2 reports h2/web restarted (4) after code 1
             #8 recorded: h2 h2/web restarted (4) after code 1
        301000 > h2 reports h2/web loops (5)
             #9 recorded: h2 h2/web loops (5)
             #10 i1 opened (error) "web on h2 ends again and again" about service/web@h2 with #8, #9 by Mainstay: nothing that is open reaches it or is reached by it
        320000 > h2 reports h2/web loops (10)
             #11 recorded: h2 h2/web loops (10)
             #12 i1 takes up service/web@h2 with #11 by Mainstay: it is part of this incident already
        330000 > h1 reports h2/web loops no more: pid 7 is well
             nothing: recorded already
        380000 > h2 reports h2/web loops no more: pid 7 is well
             #13 recorded: h2 h2/web loops no more: pid 7 is well
             #14 i1 takes up service/web@h2 with #13 by Mainstay: it is part of this incident already
        380100 > h2 reports h2/web loops no more: pid 7 is well
             nothing: recorded already
        440000 > time passes
             #15 i1 mitigated by Mainstay: nothing of it stands any more, every host is heard, every database has its primary, and nothing of it was told of for 60 s
    "#]],
    );
}

/// Whom the file has no more tells no end.
#[test]
fn what_a_host_would_have_to_end_is_over_when_the_file_has_it_no_more() {
    let mut stage = Stage::with(desired());
    let silent = Signal::HostSilent {
        host: name("h4"),
        silent_ms: 12_000,
    };
    stage.at(300_000, &silent);
    let id = IncidentId(1);
    assert_eq!(stage.state.incidents.standing_of(id).count(), 1);
    let mut fewer = desired();
    fewer.hosts.remove("h4");
    for service in fewer.services.values_mut() {
        service.hosts.retain(|host| host.as_str() != "h4");
    }
    let apply = Ask::Apply {
        digest: "fewer".to_string(),
        desired: Box::new(fewer),
    };
    stage.at(301_000, &command(owner(), apply));
    assert_eq!(stage.state.incidents.standing_of(id).count(), 0);
    stage.at(301_000 + SETTLE_MS, &Signal::Tick);
    let phase = stage.state.incidents.get(id).unwrap().phase;
    assert_eq!(phase, Phase::Mitigated);
}
