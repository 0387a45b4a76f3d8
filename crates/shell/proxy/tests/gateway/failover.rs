//! Failover seen from the client's side: nothing lost, nothing doubled, nobody refused.

use crate::fakes::{Manner, STANDBY, Saying, primary, until};
use crate::process::{Client, Platform, order, order_later, wait_for_active, wait_for_held};

#[test]
fn an_order_goes_to_the_active_instance() {
    let platform = Platform::with_primary(1);
    let _gateway = platform.start();
    wait_for_active(&platform);
    let answer = order(&platform, "k1");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "127.205.1.1:7000 1 k1")
    );
}

#[test]
fn requests_of_a_failover_wait_and_are_answered_by_the_new_primary() {
    let platform = Platform::with_primary(2);
    let _gateway = platform.start();
    wait_for_active(&platform);
    let mut kept = Client::connect(&platform.http());
    assert_eq!(
        kept.post("/v1/cells/us/orders", "Idempotency-Key: k0\r\n", "{}")
            .status,
        200
    );
    // The host of the primary is gone: keeper and instance, all connections reset.
    platform.keepers[0].server.close();
    platform.instances[0].server.close();
    let waiting: Vec<_> = (0..20)
        .map(|n| order_later(&platform, &format!("w{n}")))
        .collect();
    wait_for_held(&platform, 20);
    platform.promote(1, 2);
    for (n, order) in waiting.into_iter().enumerate() {
        let answer = order.join().expect("client");
        assert_eq!(
            (answer.status, answer.body),
            (200, format!("127.205.2.2:7000 2 w{n}"))
        );
        assert_eq!(platform.effects(&format!("w{n}")), 1);
    }
    assert_eq!(
        kept.post("/v1/cells/us/orders", "Idempotency-Key: k9\r\n", "{}")
            .status,
        200
    );
}

#[test]
fn an_unknown_outcome_is_repeated_once_if_it_has_a_key() {
    let platform = Platform::with_primary(3);
    let _gateway = platform.start();
    wait_for_active(&platform);
    platform.instances[0].behaves(Manner::ExecutesAndDies, Some(1));
    assert_eq!(order(&platform, "once").status, 200);
    assert_eq!(
        (platform.attempts("once"), platform.effects("once")),
        (2, 1)
    );
    // A second unknown outcome in the same term is told, not repeated.
    platform.instances[0].behaves(Manner::ExecutesAndDies, None);
    let answer = order(&platform, "twice");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "outcome_unknown")
    );
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert_eq!(
        (platform.attempts("twice"), platform.effects("twice")),
        (2, 1)
    );
}

#[test]
fn an_unknown_outcome_without_a_key_is_told_and_never_repeated() {
    let platform = Platform::with_primary(4);
    let _gateway = platform.start();
    wait_for_active(&platform);
    platform.instances[0].behaves(Manner::Dies, Some(1));
    let answer = Client::connect(&platform.http()).post("/v1/cells/us/orders", "", "no key");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "outcome_unknown")
    );
    assert_eq!(
        (platform.attempts("no key"), platform.effects("no key")),
        (1, 0)
    );
    until("the instance is asked again and believed", || {
        platform.view() == "active"
    });
    // What was refused before execution goes again even without a key.
    platform.instances[0].behaves(Manner::SaysNotActive, Some(1));
    let answer = Client::connect(&platform.http()).post("/v1/cells/us/orders", "", "refused");
    assert_eq!(answer.status, 200);
    assert_eq!(
        (platform.attempts("refused"), platform.effects("refused")),
        (2, 1)
    );
}

#[test]
fn a_frozen_primary_is_superseded_and_its_requests_go_again() {
    let platform = Platform::with_primary(5);
    let _gateway = platform.start();
    wait_for_active(&platform);
    platform.instances[0].behaves(Manner::ExecutesAndHangs, None);
    let hanging = order_later(&platform, "frozen");
    until("the order has arrived", || platform.attempts("frozen") == 1);
    platform.keepers[0].says(Saying {
        silent: true,
        ..primary(1)
    });
    platform.promote(1, 2);
    let answer = hanging.join().expect("client");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "127.205.5.2:7000 2 frozen")
    );
    assert_eq!(
        (platform.attempts("frozen"), platform.effects("frozen")),
        (2, 1)
    );
}

#[test]
fn a_switchover_holds_before_and_releases_after() {
    let platform = Platform::with_primary(6);
    let _gateway = platform.start();
    wait_for_active(&platform);
    platform.keepers[0].says(Saying {
        switchover: true,
        ..primary(1)
    });
    until("the hold is open", || platform.view() == "switching");
    let waiting = order_later(&platform, "during");
    wait_for_held(&platform, 1);
    assert_eq!(
        platform.attempts("during"),
        0,
        "nothing is sent to a primary that leaves"
    );
    platform.instances[0].stand_by();
    platform.keepers[0].says(STANDBY);
    platform.promote(2, 2);
    assert_eq!(
        waiting.join().expect("client").body,
        "127.205.6.3:7000 2 during"
    );
}

#[test]
fn a_gateway_that_is_cut_off_says_so_at_once() {
    let platform = Platform::with_primary(7);
    let _gateway = platform.start();
    wait_for_active(&platform);
    for host in 0..3 {
        platform.instances[host].server.close();
        platform.keepers[host].server.close();
    }
    until("the loss is seen", || platform.view() != "active");
    let waiting = order_later(&platform, "cut-off");
    let answer = waiting.join().expect("client");
    assert_eq!((answer.status, answer.code().as_str()), (503, "isolated"));
    assert_eq!(order(&platform, "later").code(), "isolated");
    // The world is back.
    for host in 0..3 {
        platform.instances[host].server.open();
        platform.keepers[host].server.open();
    }
    wait_for_active(&platform);
    assert_eq!(order(&platform, "back").status, 200);
}
