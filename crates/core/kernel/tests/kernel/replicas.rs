//! Files that give a database other replicas or another home: what is refused, what is ordered, and when a replica has left.

use expect_test::expect;
use mainstay_kernel::{Ask, Desired, DesiredDatabase, Reflex, Signal};

use crate::stage::{Stage, command, desired, name, owner, primary, report};

fn apply(digest: &str, change: impl FnOnce(&mut Desired)) -> Signal {
    let mut desired = desired();
    change(&mut desired);
    let ask = Ask::Apply {
        digest: digest.to_string(),
        desired: Box::new(desired),
    };
    command(owner(), ask)
}

fn ledger(desired: &mut Desired) -> &mut DesiredDatabase {
    desired.databases.get_mut("ledger").expect("it is there")
}

fn without(host: &'static str) -> impl FnOnce(&mut Desired) {
    move |desired| {
        ledger(desired)
            .replicas
            .retain(|other| other.as_str() != host)
    }
}

fn let_go(host: &str) -> Signal {
    let reflex = Reflex::ReplicaLetGo {
        database: name("ledger"),
        from: name(host),
    };
    report("h1", 5_000, reflex)
}

#[test]
fn a_replica_leaves_when_nothing_rests_on_it_any_more() {
    let mut stage = Stage::with(desired());
    stage
        .at(2_000, &primary("h1", 3))
        .at(2_100, &let_go("h3"))
        .at(2_200, &apply("aaaa", without("h1")))
        .at(
            2_300,
            &apply("bbbb", |desired| {
                without("h3")(desired);
                desired.hosts.remove("h3");
            }),
        )
        .at(2_400, &apply("cccc", without("h3")));
    assert!(stage.state.replicas["ledger"].leaving().contains("h3"));
    assert_eq!(stage.state.replicas["ledger"].number(&name("h3")), Some(3));
    stage
        .at(2_500, &let_go("h3"))
        .at(2_600, &let_go("h3"))
        .at(2_700, &apply("dddd", |_| {}))
        .at(
            2_800,
            &apply("eeee", |desired| ledger(desired).home = name("r2")),
        );
    assert_eq!(stage.state.replicas["ledger"].number(&name("h3")), Some(4));
    assert_eq!(stage.state.replicas["ledger"].additions(), 1);
    expect![[r#"
        2000 > h1 reports ledger primary in term 3
             #8 recorded: h1 ledger primary in term 3
        2100 > h1 reports ledger lets go of h3
             nothing: recorded already
        2200 > uid 1000 asks: apply
             #9 refused apply: the replica of ledger on h1 is the primary and cannot leave (replica_is_primary)
        2300 > uid 1000 asks: apply
             #10 refused apply: host h3 is missing, and its replica of ledger has not left yet (replica_still_there)
        2400 > uid 1000 asks: apply
             #11 file cccc in force as generation 2 by owner: 1 changes, 1 steps
        2500 > h1 reports ledger lets go of h3
             #12 recorded: h1 ledger lets go of h3
        2600 > h1 reports ledger lets go of h3
             nothing: recorded already
        2700 > uid 1000 asks: apply
             #13 file dddd in force as generation 3 by owner: 1 changes, 1 steps
        2800 > uid 1000 asks: apply
             #14 file eeee in force as generation 4 by owner: 1 changes, 0 steps
             #15 ledger from h1 to h2 by owner
             do #15 Switchover by h1
    "#]].assert_eq(&stage.script());
}
