//! What holds for every story.

use mainstay_incident::IncidentId;
use mainstay_kernel::{
    Ask, Effect, Event, FaultKind, Outcome, Program, Reflex, Signal, State, decide,
};
use proptest::prelude::*;

use crate::stage::{
    HOSTS, Stage, actor, answered, command, desired, fault, name, owner, primary, report,
};

fn signals() -> impl Strategy<Value = Signal> {
    let host = prop::sample::select(HOSTS.to_vec());
    prop_oneof![
        Just(Signal::Tick),
        host.clone()
            .prop_map(|host| Signal::HostHeard { host: name(host) }),
        (host.clone(), 5_000_u64..20_000).prop_map(|(host, silent_ms)| Signal::HostSilent {
            host: name(host),
            silent_ms
        }),
        (host.clone(), 1_u32..9).prop_map(|(host, term)| primary(host, term)),
        (host.clone(), 0_u64..50).prop_map(|(host, at_ms)| report(
            host,
            at_ms,
            Reflex::CrashLoop {
                instance: "web".to_string(),
                restarts: at_ms
            }
        )),
        (0_u64..60, 0..3).prop_map(|(effect, outcome)| {
            let why = "chance".to_string();
            answered(
                effect,
                match outcome {
                    0 => Outcome::Done { detail: why },
                    1 => Outcome::Failed { why },
                    _ => Outcome::Unknown { why },
                },
            )
        }),
        (0..9, prop::sample::select(vec![1000_u32, 7, 8]), host).prop_map(|(ask, uid, host)| {
            let ask = match ask {
                0 => Ask::Pause,
                1 => Ask::Resume,
                2 => Ask::InjectFault(fault(FaultKind::HostFreeze, host, 40)),
                3 => Ask::ClearFault {
                    fault: "f1".to_string(),
                },
                4 => Ask::Upgrade {
                    program: Program {
                        digest: host.to_string(),
                        version: "2".to_string(),
                    },
                },
                5 => Ask::Incident(mainstay_incident::Ask::Acknowledge(IncidentId(1))),
                6 => Ask::Incident(mainstay_incident::Ask::Resolve {
                    incident: IncidentId(1),
                    despite: true,
                }),
                _ => Ask::Switchover {
                    database: name("ledger"),
                    to: name(&host.replace('h', "r")),
                },
            };
            command(
                if uid == 1000 {
                    owner()
                } else {
                    actor(uid, "bob")
                },
                ask,
            )
        }),
    ]
}

proptest! {
    #[test]
    fn replaying_rebuilds_and_deciding_changes_nothing(
        story in prop::collection::vec((0_u64..60, signals()), 1..60)
    ) {
        let mut stage = Stage::with(desired());
        let mut now_ms = 1_000;
        for (passed_ms, signal) in story {
            now_ms += passed_ms * passed_ms * passed_ms / 50;
            let before = stage.state.clone();
            let first = decide(&stage.state, now_ms, &signal);
            prop_assert_eq!(&first, &decide(&stage.state, now_ms, &signal));
            prop_assert_eq!(&before, &stage.state);
            stage.at(now_ms, &signal);
            check_sense(&stage.state)?;
        }
        let mut again = State::default();
        for record in &stage.records {
            again.apply(record);
        }
        prop_assert_eq!(again, stage.state);
    }

    /// Whatever happened, faults are gone some time after the last one, if executors do what they are told.
    #[test]
    fn every_fault_ends(story in prop::collection::vec((0_u64..60, signals()), 1..40)) {
        let mut stage = Stage::with(desired());
        let mut now_ms = 1_000;
        for (passed_ms, signal) in story {
            now_ms += passed_ms;
            stage.at(now_ms, &signal);
        }
        for _ in 0..10 {
            now_ms += 130_000;
            stage.at(now_ms, &Signal::Tick);
            let outstanding: Vec<u64> = stage.state.outstanding.keys().map(|id| id.0.0).collect();
            for effect in outstanding {
                stage.at(now_ms, &answered(effect, Outcome::Done { detail: String::new() }));
            }
        }
        prop_assert!(stage.state.faults.is_empty());
        prop_assert!(stage.state.outstanding.is_empty());
    }
}

/// Placement never doubles up, never puts anything where the file does not allow it, never has too many.
fn check_sense(state: &State) -> Result<(), TestCaseError> {
    let desired = state.desired.as_ref().unwrap();
    for (service, hosts) in &state.placed {
        let wanted = &desired.services[service];
        prop_assert!(hosts.len() <= usize::from(wanted.replicas));
        prop_assert!(hosts.iter().all(|host| wanted.hosts.contains(host)));
        if state.paused.is_none() {
            prop_assert_eq!(hosts.len(), usize::from(wanted.replicas));
        }
    }
    // Never two hosts at a time, and none after one that fell.
    let taking = state
        .outstanding
        .values()
        .filter(|o| matches!(o.effect, Effect::TakeProgram { .. }))
        .count();
    let upgrade = state.upgrade.as_ref();
    prop_assert_eq!(
        taking,
        usize::from(upgrade.is_some_and(|u| u.under_way.is_some()))
    );
    prop_assert!(upgrade.is_none_or(|u| u.refused.is_none() || u.under_way.is_none()));
    Ok(())
}

#[test]
fn an_unknown_kind_is_followed_and_keeps_from_leading() {
    let mut stage = Stage::with(desired());
    assert!(stage.state.may_lead(&name("h1"), "key-1").is_ok());
    assert!(stage.state.may_lead(&name("h1"), "another").is_err());
    assert!(stage.state.may_lead(&name("h2"), "key-2").is_err());
    stage.put(Event::Unknown {
        kind: "weather.changed".to_string(),
        version: 3,
    });
    assert!(stage.state.may_lead(&name("h1"), "key-1").is_err());
    stage.at(5_000, &primary("h1", 2));
    assert_eq!(stage.state.databases.len(), 1);
}
