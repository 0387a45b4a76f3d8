//! Golden transcripts. `UPDATE_EXPECT=1 cargo test -p mainstay-kernel` writes them anew; read what changed.

use expect_test::{Expect, expect};
use mainstay_kernel::{
    Actor, AlertNews, AlertState, Ask, DrillAsk, Event, FaultKind, Outcome, Program, Reflex, Signal,
};
use mainstay_model::EnvironmentKind;

use crate::stage::{Stage, actor, answered, command, desired, fault, name, owner, primary, report};

fn check(stage: &mut Stage, expected: Expect) {
    expected.assert_eq(&stage.script());
}

fn done() -> Outcome {
    Outcome::Done {
        detail: String::new(),
    }
}

fn silent(host: &str, silent_ms: u64) -> Signal {
    Signal::HostSilent {
        host: name(host),
        silent_ms,
    }
}

#[test]
fn a_platform_begins() {
    let mut stage = Stage::with(desired());
    let file = |digest: &str| Signal::FileRead {
        digest: digest.to_string(),
        desired: Box::new(desired()),
        actor: owner(),
    };
    let key = |node: &str, key: &str| Signal::KeyOffered {
        node: name(node),
        key: key.to_string(),
    };
    stage
        .at(1_100, &file("f00d"))
        .at(1_100, &file("beef"))
        .at(1_200, &key("h1", "key-1"))
        .at(1_200, &key("h2", "key-2"))
        .at(1_300, &key("h2", "key-2-new"))
        .at(1_300, &key("stranger", "key-9"));
    check(
        &mut stage,
        expect![[r#"
        1100 > a node was started with file f00d
             nothing: this file is in force
        1100 > a node was started with file beef
             nothing: another file is in force; a changed one is applied by command
        1200 > h1 shows the key key-1
             nothing: the key is known
        1200 > h2 shows the key key-2
             #8 key-2 of h2 admitted
        1300 > h2 shows the key key-2-new
             #9 key-2-new of h2 admitted instead of key-2
        1300 > stranger shows the key key-9
             nothing: the node is no host of the platform
    "#]],
    );
}

#[test]
fn a_lost_host_and_its_return() {
    let mut stage = Stage::with(desired());
    stage
        .at(2_000, &silent("h1", 9_000))
        .at(3_000, &silent("h1", 10_500))
        .at(3_100, &silent("h1", 11_000))
        .at(4_000, &silent("h3", 12_000))
        .at(5_000, &silent("h4", 12_000))
        .at(6_000, &Signal::HostHeard { host: name("h4") })
        .at(6_000, &Signal::HostHeard { host: name("h1") })
        .at(6_100, &Signal::HostHeard { host: name("h1") });
    check(
        &mut stage,
        expect![[r#"
            2000 > h1 is silent for 9000 ms
                 nothing: silent for 9000 ms only
            3000 > h1 is silent for 10500 ms
                 #8 h1 is lost, silent for 10500 ms
                 #9 web off h1: host lost
                 #10 web on h3: instead of h1
                 #11 i1 opened (critical) "region r1 is lost" about region/r1, host/h1 with #8, #9, #10 by Mainstay: nothing that is open reaches it or is reached by it
            3100 > h1 is silent for 11000 ms
                 nothing: the host is known to be lost
            4000 > h3 is silent for 12000 ms
                 #12 h3 is lost, silent for 12000 ms
                 #13 web off h3: host lost
                 #14 web on h4: instead of h3
                 #15 i2 opened (critical) "region r3 is lost" about region/r3, host/h3 with #12, #13, #14 by Mainstay: nothing that is open reaches it or is reached by it
            5000 > h4 is silent for 12000 ms
                 #16 h4 is lost, silent for 12000 ms
                 #17 i3 opened (critical) "region r4 is lost" about region/r4, host/h4 with #16 by Mainstay: nothing that is open reaches it or is reached by it
            6000 > h4 is heard
                 #18 h4 is back
                 #19 i3 takes up host/h4 with #18 by Mainstay: it is part of this incident already
            6000 > h1 is heard
                 #20 h1 is back
                 #21 i1 takes up host/h1 with #20 by Mainstay: it is part of this incident already
            6100 > h1 is heard
                 nothing: the host was not lost
        "#]],
    );
}

#[test]
fn a_pause_keeps_hands_off_and_resuming_catches_up() {
    let mut stage = Stage::with(desired());
    stage
        .at(2_000, &command(actor(7, "bob"), Ask::Pause))
        .at(2_000, &command(owner(), Ask::Pause))
        .at(2_100, &command(owner(), Ask::Pause))
        .at(3_000, &silent("h1", 10_500))
        .at(4_000, &command(owner(), Ask::Resume))
        .at(4_100, &command(owner(), Ask::Resume));
    check(
        &mut stage,
        expect![[r#"
            2000 > uid 7 asks: pause
                 #8 refused pause: operator watcher does not have automation.pause (not_permitted)
            2000 > uid 1000 asks: pause
                 #9 paused by owner
            2100 > uid 1000 asks: pause
                 #10 refused pause: automation is paused already (already_paused)
            3000 > h1 is silent for 10500 ms
                 #11 h1 is lost, silent for 10500 ms
                 #12 i1 opened (critical) "region r1 is lost" about region/r1, host/h1 with #11 by Mainstay: nothing that is open reaches it or is reached by it
            4000 > uid 1000 asks: resume
                 #13 resumed by owner
                 #14 web off h1: host lost
                 #15 web on h3: instead of h1
                 #16 i1 takes up service/web@h1, service/web@h3 with #14, #15 by Mainstay: service/web@h1 depends on what is in trouble here
            4100 > uid 1000 asks: resume
                 #17 refused resume: automation is not paused (not_paused)
        "#]],
    );
}

#[test]
fn a_fault_is_set_after_it_is_written_and_ends_by_itself() {
    let mut stage = Stage::with(desired());
    let inject = command(
        owner(),
        Ask::InjectFault(fault(FaultKind::RegionFreeze, "r2", 30_000)),
    );
    stage.at(2_000, &inject);
    let set = stage.state.next.0 - 1;
    stage
        .at(2_100, &answered(set, done()))
        .at(2_200, &answered(set, done()))
        .at(31_999, &Signal::Tick)
        .at(32_000, &Signal::Tick);
    let end = stage.state.next.0 - 1;
    let failed = Outcome::Failed {
        why: "the wire does not answer".to_string(),
    };
    stage
        .at(32_100, &answered(end, failed))
        .at(33_000, &Signal::Tick)
        .at(37_100, &Signal::Tick);
    let again = stage.state.next.0 - 1;
    stage
        .at(37_200, &answered(again, done()))
        .at(60_000, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 1000 asks: fault inject
             #8 fault f1 region-freeze r2 until 32000 by owner
             do #8 SetFault by Leader
        2100 > #8 is done
             #9 effect #8 done
        2200 > #8 is done
             nothing: effect 8 is not outstanding
        31999 > time passes
             nothing: nothing is due
        32000 > time passes
             #10 fault f1 ends: its time is over
             do #10 ClearFault by Leader
        32100 > #10 is failed: the wire does not answer
             #11 effect #10 failed: the wire does not answer
        33000 > time passes
             nothing: nothing is due
        37100 > time passes
             #12 fault f1 ends: again, since the wire does not answer
             do #12 ClearFault by Leader
        37200 > #12 is done
             #13 effect #12 done
        60000 > time passes
             nothing: nothing is due
    "#]],
    );
}

#[test]
fn faults_are_refused_with_reasons() {
    let mut stage = Stage::with(desired());
    let inject = |who, kind, target: &str, lasts_ms| {
        command(who, Ask::InjectFault(fault(kind, target, lasts_ms)))
    };
    let clear = |fault: &str| {
        let fault = fault.to_string();
        command(owner(), Ask::ClearFault { fault })
    };
    stage
        .at(
            2_000,
            &inject(actor(8, "mallory"), FaultKind::HostCrash, "h1", 1_000),
        )
        .at(
            2_000,
            &inject(actor(7, "bob"), FaultKind::HostCrash, "h1", 1_000),
        )
        .at(2_000, &inject(owner(), FaultKind::HostCrash, "h9", 1_000))
        .at(2_000, &inject(owner(), FaultKind::Cut, "r1:r9", 1_000))
        .at(2_000, &inject(owner(), FaultKind::Delay, "r1:r2", 1_000))
        .at(2_000, &inject(owner(), FaultKind::HostCrash, "h1", 0))
        .at(2_000, &clear("f9"))
        .at(
            2_000,
            &inject(actor(9, "eve"), FaultKind::ProcessKill, "h1/web", 1_000),
        )
        .at(2_001, &clear("f1"))
        .at(2_002, &clear("f1"));
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 8 asks: fault inject
             #8 refused fault inject: uid 8 is no operator of this platform (unknown_actor)
        2000 > uid 7 asks: fault inject
             #9 refused fault inject: operator watcher does not have fault.inject (not_permitted)
        2000 > uid 1000 asks: fault inject
             #10 refused fault inject: there is no host h9 (fault_target)
        2000 > uid 1000 asks: fault inject
             #11 refused fault inject: there is no region r9 (fault_target)
        2000 > uid 1000 asks: fault inject
             #12 refused fault inject: a delay of nothing is no fault (fault_delay)
        2000 > uid 1000 asks: fault inject
             #13 refused fault inject: a fault lasts from 1 to 3600000 ms, not 0 (fault_duration)
        2000 > uid 1000 asks: fault clear
             #14 refused fault clear: no fault f9 is in force (no_such_fault)
        2000 > uid 9 asks: fault inject
             #15 fault f1 process-kill h1/web until 3000 by breaker
             do #15 SetFault by Leader
        2001 > uid 1000 asks: fault clear
             #16 fault f1 ends: cleared by owner
             do #16 ClearFault by Leader
        2002 > uid 1000 asks: fault clear
             #17 refused fault clear: fault f1 is being ended (fault_ends_already)
    "#]],
    );
}

#[test]
fn production_wants_approval() {
    let mut production = desired();
    production.environment = EnvironmentKind::Production;
    let mut stage = Stage::with(production);
    let inject = |who| {
        let spec = fault(FaultKind::ProcessKill, "h1/keeper-ledger", 1_000);
        command(who, Ask::InjectFault(spec))
    };
    stage
        .at(2_000, &inject(actor(9, "eve")))
        .at(2_000, &inject(owner()));
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 9 asks: fault inject
             #8 refused fault inject: this is production: a fault needs somebody with fault.approve (production_unapproved)
        2000 > uid 1000 asks: fault inject
             #9 fault f1 process-kill h1/keeper-ledger until 3000 by owner
             do #9 SetFault by Leader
    "#]],
    );
}

fn switch_to(region: &str) -> Signal {
    command(
        owner(),
        Ask::Switchover {
            database: name("ledger"),
            to: name(region),
        },
    )
}

#[test]
fn a_switchover() {
    let mut stage = Stage::with(desired());
    stage
        .at(2_000, &switch_to("r2"))
        .at(2_100, &primary("h1", 2))
        .at(2_101, &primary("h1", 2))
        .at(2_200, &switch_to("r1"))
        .at(2_200, &switch_to("r4"))
        .at(2_300, &switch_to("r2"));
    let order = stage.state.next.0 - 1;
    stage
        .at(2_301, &switch_to("r3"))
        .at(2_500, &primary("h2", 3))
        .at(2_501, &answered(order, done()))
        .at(2_600, &primary("h1", 2));
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 1000 asks: switchover
             #8 refused switchover: where the primary of ledger is, is not known (primary_unknown)
        2100 > h1 reports ledger primary in term 2
             #9 recorded: h1 ledger primary in term 2
        2101 > h1 reports ledger primary in term 2
             nothing: recorded already
        2200 > uid 1000 asks: switchover
             #10 refused switchover: the primary of ledger is on h1 already (primary_there)
        2200 > uid 1000 asks: switchover
             #11 refused switchover: database ledger has no replica in r4 (no_replica)
        2300 > uid 1000 asks: switchover
             #12 ledger from h1 to h2 by owner
             do #12 Switchover by h1
        2301 > uid 1000 asks: switchover
             #13 refused switchover: a switchover of ledger is under way (switchover_under_way)
        2500 > h2 reports ledger primary in term 3
             #14 recorded: h2 ledger primary in term 3
        2501 > #12 is done
             #15 effect #12 done
        2600 > h1 reports ledger primary in term 2
             nothing: recorded already
    "#]],
    );
}

fn upgrade_to(version: &str, actor: Actor) -> Signal {
    let program = Program {
        digest: "0f".repeat(32),
        version: version.to_string(),
    };
    command(actor, Ask::Upgrade { program })
}

/// What falls in its trial must be the program's own doing: nothing is broken on purpose while hosts take one, and none is taken
/// while something is.
#[test]
fn an_upgrade_and_a_fault_keep_out_of_each_others_way() {
    let crash = || Ask::InjectFault(fault(FaultKind::HostCrash, "h4", 5_000));
    let drill = DrillAsk::Begin(Box::new(crate::drills::plan()));
    let code = |first: Signal, second: Signal| {
        let mut stage = Stage::with(desired());
        stage.at(2_000, &primary("h2", 3)).at(2_100, &first);
        stage.at(2_200, &second);
        let last = &stage.records.last().expect("an entry").event;
        match last {
            Event::CommandRefused { why, .. } => why.code(),
            other => panic!("it was let through: {other:?}"),
        }
    };
    let upgrade = || upgrade_to("1.1", owner());
    let by_owner = |ask| command(owner(), ask);
    assert_eq!(code(by_owner(crash()), upgrade()), "upgrade_untimely");
    let drill = by_owner(Ask::Drill(drill));
    assert_eq!(code(drill.clone(), upgrade()), "upgrade_untimely");
    let experiment = || crate::experiments::begin();
    assert_eq!(code(experiment(), upgrade()), "upgrade_untimely");
    assert_eq!(code(upgrade(), by_owner(crash())), "upgrade_under_way");
    assert_eq!(code(upgrade(), drill), "drill_untimely");
    assert_eq!(code(upgrade(), experiment()), "experiment_untimely");
}

fn last(stage: &Stage) -> u64 {
    stage.state.next.0 - 1
}

/// Who leads (h1) goes last, and who has the primary (h2) before it; each only after the one before stands.
#[test]
#[expect(clippy::too_many_lines, reason = "one story, mostly its transcript")]
fn an_upgrade_goes_host_by_host() {
    let mut stage = Stage::with(desired());
    stage
        .at(2_000, &primary("h2", 3))
        .at(2_100, &upgrade_to("1.1", actor(7, "guest")))
        .at(2_200, &upgrade_to("1.1", owner()))
        .at(2_201, &Signal::Tick)
        .at(2_202, &Signal::Tick)
        .at(2_300, &upgrade_to("1.2", owner()));
    let third = last(&stage) - 1;
    stage
        .at(9_000, &answered(third, done()))
        .at(9_001, &Signal::Tick)
        .at(9_050, &command(owner(), Ask::Pause));
    let fourth = last(&stage) - 1;
    stage
        .at(12_000, &answered(fourth, done()))
        .at(12_001, &Signal::Tick)
        .at(12_100, &command(owner(), Ask::Resume))
        .at(12_101, &Signal::Tick);
    let second = last(&stage);
    stage
        .at(15_000, &answered(second, done()))
        .at(15_001, &Signal::Tick);
    let first = last(&stage);
    stage
        .at(18_000, &answered(first, done()))
        .at(18_001, &Signal::Tick)
        .at(18_002, &Signal::Tick)
        .at(18_100, &upgrade_to("1.1", owner()));
    check(
        &mut stage,
        expect![[r#"
        2000 > h2 reports ledger primary in term 3
             #8 recorded: h2 ledger primary in term 3
        2100 > uid 7 asks: upgrade
             #9 refused upgrade: operator watcher does not have platform.upgrade (not_permitted)
        2200 > uid 1000 asks: upgrade
             #10 upgrade to 1.1 on h3, h4, h2, h1 by owner
        2201 > time passes
             #11 h3 takes its turn
             do #11 TakeProgram by h3
        2202 > time passes
             nothing: nothing is due
        2300 > uid 1000 asks: upgrade
             #12 refused upgrade: an upgrade to 1.1 is under way (upgrade_under_way)
        9000 > #11 is done
             #13 effect #11 done
        9001 > time passes
             #14 h4 takes its turn
             do #14 TakeProgram by h4
        9050 > uid 1000 asks: pause
             #15 paused by owner
        12000 > #14 is done
             #16 effect #14 done
        12001 > time passes
             nothing: nothing is due
        12100 > uid 1000 asks: resume
             #17 resumed by owner
        12101 > time passes
             #18 h2 takes its turn
             do #18 TakeProgram by h2
        15000 > #18 is done
             #19 effect #18 done
        15001 > time passes
             #20 h1 takes its turn
             do #20 TakeProgram by h1
        18000 > #20 is done
             #21 effect #20 done
        18001 > time passes
             #22 upgrade complete
        18002 > time passes
             nothing: nothing is due
        18100 > uid 1000 asks: upgrade
             #23 refused upgrade: every host has this program already (program_in_force)
    "#]],
    );
}

#[test]
fn a_bad_version_goes_no_further_than_one_host() {
    let mut stage = Stage::with(desired());
    stage
        .at(2_200, &upgrade_to("1.1", owner()))
        .at(2_201, &Signal::Tick);
    let order = last(&stage);
    let fell = Outcome::Failed {
        why: "its node ended 4 times".to_string(),
    };
    stage
        .at(4_000, &answered(order, fell))
        .at(4_001, &Signal::Tick)
        .at(4_002, &Signal::Tick)
        .at(5_000, &upgrade_to("1.1", owner()))
        .at(5_001, &Signal::Tick)
        .at(17_000, &silent("h2", 12_000))
        .at(17_001, &Signal::Tick)
        .at(17_100, &upgrade_to("1.1", owner()));
    check(
        &mut stage,
        expect![[r#"
            2200 > uid 1000 asks: upgrade
                 #8 upgrade to 1.1 on h2, h3, h4, h1 by owner
            2201 > time passes
                 #9 h2 takes its turn
                 do #9 TakeProgram by h2
            4000 > #9 is failed: its node ended 4 times
                 #10 effect #9 failed: its node ended 4 times
            4001 > time passes
                 #11 upgrade stopped on h2: its node ended 4 times
            4002 > time passes
                 nothing: nothing is due
            5000 > uid 1000 asks: upgrade
                 #12 upgrade to 1.1 on h2, h3, h4, h1 by owner
            5001 > time passes
                 #13 h2 takes its turn
                 do #13 TakeProgram by h2
            17000 > h2 is silent for 12000 ms
                 #14 h2 is lost, silent for 12000 ms
                 #15 effect #13 unknown: host h2, which was to do it, is lost
                 #16 web off h2: host lost
                 #17 web on h3: instead of h2
                 #18 i1 opened (critical) "region r2 is lost" about region/r2, host/h2 with #9, #13, #14, #16, #17 by Mainstay: nothing that is open reaches it or is reached by it
            17001 > time passes
                 #19 upgrade stopped on h2: host h2, which was to do it, is lost
            17100 > uid 1000 asks: upgrade
                 #20 refused upgrade: host h2 is lost (host_lost)
        "#]],
    );
}

#[test]
fn serving_alone() {
    let alone = |actor| {
        let database = name("ledger");
        command(actor, Ask::Solo { database })
    };
    let changed = |at_ms| {
        let reflex = Reflex::PromiseChanged {
            database: name("ledger"),
            term: mainstay_units::Term(2),
            what: "serves alone".to_string(),
        };
        report("h1", at_ms, reflex)
    };
    let mut stage = Stage::with(desired());
    stage
        .at(2_000, &alone(owner()))
        .at(2_100, &primary("h1", 2))
        .at(2_150, &alone(actor(7, "guest")))
        .at(2_200, &alone(owner()));
    let order = stage.state.next.0 - 1;
    stage
        .at(2_300, &changed(2_290))
        .at(2_301, &changed(2_290))
        .at(2_500, &answered(order, done()));
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 1000 asks: database solo
             #8 refused database solo: where the primary of ledger is, is not known (primary_unknown)
        2100 > h1 reports ledger primary in term 2
             #9 recorded: h1 ledger primary in term 2
        2150 > uid 7 asks: database solo
             #10 refused database solo: operator watcher does not have database.solo (not_permitted)
        2200 > uid 1000 asks: database solo
             #11 ledger serves alone on h1 by owner
             do #11 Solo by h1
        2300 > h1 reports ledger in term 2: serves alone
             #12 recorded: h1 ledger in term 2: serves alone
        2301 > h1 reports ledger in term 2: serves alone
             nothing: recorded already
        2500 > #11 is done
             #13 effect #11 done
    "#]],
    );
}

#[test]
fn going_on_without_a_majority() {
    let go_on = |actor, host, accepts_loss| {
        let (database, to) = (name("ledger"), name(host));
        let ask = Ask::Failover {
            database,
            to,
            accepts_loss,
        };
        command(actor, ask)
    };
    let mut stage = Stage::with(desired());
    stage
        .at(2_000, &go_on(actor(7, "guest"), "h2", true))
        .at(2_050, &go_on(owner(), "elsewhere", true))
        .at(2_100, &go_on(owner(), "h2", false))
        .at(2_150, &go_on(owner(), "h2", true));
    let order = stage.state.next.0 - 1;
    stage.at(2_500, &answered(order, done()));
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 7 asks: database failover
             #8 refused database failover: operator watcher does not have database.failover (not_permitted)
        2050 > uid 1000 asks: database failover
             #9 refused database failover: ledger has no replica on elsewhere (no_replica_on)
        2100 > uid 1000 asks: database failover
             #10 refused database failover: commits of ledger that were answered may be lost, and nobody said that this is accepted (loss_not_accepted)
        2150 > uid 1000 asks: database failover
             #11 ledger goes on from h2 without a majority by owner
             do #11 Failover by h2
        2500 > #11 is done
             #12 effect #11 done
    "#]],
    );
}

#[test]
fn a_switchover_of_which_nobody_tells() {
    let mut stage = Stage::with(desired());
    stage
        .at(2_500, &primary("h2", 3))
        .at(2_700, &switch_to("r1"))
        .at(20_000, &silent("h2", 17_000))
        .at(20_100, &primary("h3", 4))
        .at(20_200, &switch_to("r2"))
        .at(20_200, &switch_to("r1"))
        .at(140_199, &Signal::Tick)
        .at(140_200, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
            2500 > h2 reports ledger primary in term 3
                 #8 recorded: h2 ledger primary in term 3
            2700 > uid 1000 asks: switchover
                 #9 ledger from h2 to h1 by owner
                 do #9 Switchover by h2
            20000 > h2 is silent for 17000 ms
                 #10 h2 is lost, silent for 17000 ms
                 #11 effect #9 unknown: host h2, which was to do it, is lost
                 #12 web off h2: host lost
                 #13 web on h3: instead of h2
                 #14 i1 opened (critical) "region r2 is lost" about region/r2, host/h2 with #8, #9, #10, #11, #12, #13 by Mainstay: nothing that is open reaches it or is reached by it
            20100 > h3 reports ledger primary in term 4
                 #15 recorded: h3 ledger primary in term 4
                 #16 i1 takes up database/ledger with #15 by Mainstay: database/ledger depends on what is in trouble here
            20200 > uid 1000 asks: switchover
                 #17 refused switchover: host h2 is lost (host_lost)
            20200 > uid 1000 asks: switchover
                 #18 ledger from h3 to h1 by owner
                 #19 i1 takes up database/ledger with #18 by Mainstay: database/ledger depends on what is in trouble here
                 do #18 Switchover by h3
            140199 > time passes
                 nothing: nothing is due
            140200 > time passes
                 #20 effect #18 unknown: the keeper's host did not say what became of it
                 #21 i1 takes up database/ledger with #20 by Mainstay: database/ledger depends on what is in trouble here
        "#]],
    );
}

#[test]
fn reflexes_are_recorded_once() {
    let mut stage = Stage::with(desired());
    let restarted = |at_ms, restarts| {
        let reflex = Reflex::InstanceRestarted {
            instance: "web".to_string(),
            restarts,
            exit: "signal 9".to_string(),
        };
        report("h2", at_ms, reflex)
    };
    let held = report(
        "h2",
        5_000,
        Reflex::HoldClosed {
            gateway: name("edge"),
            database: name("ledger"),
            lasted_ms: 412,
            released: 207,
            failed: 0,
        },
    );
    stage
        .at(3_000, &restarted(2_900, 1))
        .at(3_100, &restarted(2_900, 1))
        .at(4_000, &restarted(3_900, 2))
        .at(5_000, &held)
        .at(5_100, &held);
    check(
        &mut stage,
        expect![[r#"
        3000 > h2 reports web restarted (1) after signal 9
             #8 recorded: h2 web restarted (1) after signal 9
        3100 > h2 reports web restarted (1) after signal 9
             nothing: recorded already
        4000 > h2 reports web restarted (2) after signal 9
             #9 recorded: h2 web restarted (2) after signal 9
        5000 > h2 reports edge held for ledger 412 ms: 207 released, 0 failed
             #10 recorded: h2 edge held for ledger 412 ms: 207 released, 0 failed
        5100 > h2 reports edge held for ledger 412 ms: 207 released, 0 failed
             nothing: recorded already
    "#]],
    );
}

#[test]
fn a_crash_loop_is_news_at_first_and_when_it_doubles() {
    let mut stage = Stage::with(desired());
    let loops = |at_ms, restarts| {
        let instance = "web".to_string();
        report("h2", at_ms, Reflex::CrashLoop { instance, restarts })
    };
    stage
        .at(3_000, &loops(2_900, 5))
        .at(9_000, &loops(8_900, 6))
        .at(9_100, &loops(9_000, 9))
        .at(15_000, &loops(14_900, 10));
    check(
        &mut stage,
        expect![[r#"
            3000 > h2 reports web loops (5)
                 #8 recorded: h2 web loops (5)
                 #9 i1 opened (error) "web on h2 ends again and again" about service/web@h2 with #8 by Mainstay: nothing that is open reaches it or is reached by it
            9000 > h2 reports web loops (6)
                 nothing: recorded already
            9100 > h2 reports web loops (9)
                 nothing: recorded already
            15000 > h2 reports web loops (10)
                 #10 recorded: h2 web loops (10)
                 #11 i1 takes up service/web@h2 with #10 by Mainstay: it is part of this incident already
        "#]],
    );
}

#[test]
fn a_changed_file_is_a_plan() {
    let mut stage = Stage::with(desired());
    let apply = |digest: &str, desired| {
        let digest = digest.to_string();
        let desired = Box::new(desired);
        command(owner(), Ask::Apply { digest, desired })
    };
    let mut changed = desired();
    let web = changed.services.get_mut("web").unwrap();
    web.replicas = 3;
    web.fingerprint = 2;
    changed.services.remove("engine");
    changed.gateways.get_mut("edge").unwrap().0.push(name("h3"));
    let mut cohort = changed.clone();
    cohort.databases.get_mut("ledger").unwrap().replicas.pop();
    let mut gone = changed.clone();
    gone.databases.clear();
    let mut other = changed.clone();
    other.platform = name("another");
    stage
        .at(2_000, &apply("beef", changed.clone()))
        .at(2_100, &apply("beef", changed))
        .at(2_200, &apply("c0c0", cohort))
        .at(2_300, &apply("dead", gone))
        .at(2_400, &apply("feed", other));
    check(
        &mut stage,
        expect![[r#"
            2000 > uid 1000 asks: apply
                 #8 file beef in force as generation 2 by owner: 3 changes, 3 steps
                 #9 engine off h1: not wanted
                 #10 engine off h2: not wanted
                 #11 engine off h3: not wanted
                 #12 web on h3: wanted
            2100 > uid 1000 asks: apply
                 #13 refused apply: this file is in force already (file_in_force)
            2200 > uid 1000 asks: apply
                 #14 refused apply: where the primary of ledger is, is not known (primary_unknown)
            2300 > uid 1000 asks: apply
                 #15 refused apply: database ledger is missing; removing one is not possible yet (database_removed)
            2400 > uid 1000 asks: apply
                 #16 refused apply: the file describes the platform another (other_platform)
        "#]],
    );
}

#[test]
fn a_command_without_a_reason() {
    let mut stage = Stage::with(desired());
    let mut pause = command(owner(), Ask::Pause);
    if let Signal::Commanded(command) = &mut pause {
        command.reason = " ".to_string();
    }
    stage.at(2_000, &pause);
    check(
        &mut stage,
        expect![[r#"
        2000 > uid 1000 asks: pause
             #8 refused pause: a reason is needed (no_reason)
    "#]],
    );
}

fn alert(watch: &str, state: AlertState) -> Signal {
    Signal::AlertTold(AlertNews {
        watch: name(watch),
        alert: "Down{job=\"web\"}".to_string(),
        state,
        since_ms: 900,
        at_ms: 1_000,
        labels: [("alertname".to_string(), "Down".to_string())].into(),
        summary: String::new(),
        value: "1".to_string(),
        why: "a watch says so".to_string(),
    })
}

#[test]
fn nothing_but_the_watch_that_raised_it_resolves_an_alert() {
    let mut stage = Stage::with(desired());
    stage
        .at(1_000, &alert("h1", AlertState::Resolved))
        .at(1_000, &alert("h1", AlertState::Firing))
        .at(1_100, &alert("h1", AlertState::Firing))
        .at(1_200, &alert("h2", AlertState::Firing))
        .at(1_300, &alert("h3", AlertState::Firing))
        .at(1_400, &alert("h1", AlertState::Missing))
        .at(1_500, &alert("h1", AlertState::Missing))
        .at(2_000, &silent("h2", 12_000))
        .at(2_100, &alert("h1", AlertState::Firing))
        .at(2_200, &alert("h1", AlertState::Resolved));
    check(
        &mut stage,
        expect![[r#"
            1000 > the watch on h1 says that Down{job="web"} is resolved
                 nothing: recorded already
            1000 > the watch on h1 says that Down{job="web"} is firing
                 #8 alert Down{job="web"} of h1 is firing: a watch says so
                 #9 i1 opened (warning) "Down" about other/Down with #8 by Mainstay: nothing that is open reaches it or is reached by it
            1100 > the watch on h1 says that Down{job="web"} is firing
                 nothing: recorded already
            1200 > the watch on h2 says that Down{job="web"} is firing
                 #10 alert Down{job="web"} of h2 is firing: a watch says so
                 #11 i1 takes up other/Down with #10 by Mainstay: it is part of this incident already
            1300 > the watch on h3 says that Down{job="web"} is firing
                 nothing: the platform file has no watch on that host
            1400 > the watch on h1 says that Down{job="web"} is missing
                 #12 alert Down{job="web"} of h1 is missing: a watch says so
                 #13 i1 takes up other/Down with #12 by Mainstay: it is part of this incident already
            1500 > the watch on h1 says that Down{job="web"} is missing
                 nothing: recorded already
            2000 > h2 is silent for 12000 ms
                 #14 h2 is lost, silent for 12000 ms
                 #15 web off h2: host lost
                 #16 web on h3: instead of h2
                 #17 i2 opened (critical) "region r2 is lost" about region/r2, host/h2 with #14, #15, #16 by Mainstay: nothing that is open reaches it or is reached by it
            2100 > the watch on h1 says that Down{job="web"} is firing
                 #18 alert Down{job="web"} of h1 is firing: a watch says so
                 #19 i1 takes up other/Down with #18 by Mainstay: it is part of this incident already
            2200 > the watch on h1 says that Down{job="web"} is resolved
                 #20 alert Down{job="web"} of h1 is resolved: a watch says so
                 #21 i1 takes up other/Down with #20 by Mainstay: it is part of this incident already
        "#]],
    );
    let left: Vec<String> = stage
        .state
        .alerts
        .keys()
        .map(|(watch, _)| watch.to_string())
        .collect();
    assert_eq!(left, ["h2"], "the loss of its host resolves nothing");
}
