//! The whole loop, from an alert to the end of a drill, with somebody killed before, during and after every effect.
//!
//! A telling without deaths counts its moments: before an entry is published, between publishing and knowing it,
//! before a hand writes down what it is about to do, between that and doing it, between doing and telling, before and
//! after a heartbeat carries the news. Then the story is told once for each moment and each way of being away, with
//! whoever is at it killed there; and once more with its successor killed soon after. The checker reads the journal
//! and what a witness saw, and each planted bug must be found by it.

mod checker;
mod experiments;
mod fuse;
mod hands;
mod planted;
mod reality;
mod story;
mod world;

use std::collections::BTreeSet;

use checker::{Told, findings};
use fuse::Away;
use mainstay_kernel::Verdict;
use planted::Planted;
use reality::Fact;
use story::tell;

fn moments() -> Vec<&'static str> {
    let told = tell(&[], Away::Short, Planted::Nothing);
    assert_eq!(findings(&told), Vec::<String>::new());
    told.moments
}

fn check(strikes: &[u32], away: Away) -> Told {
    let told = tell(strikes, away, Planted::Nothing);
    let found = findings(&told);
    let moments = strikes.iter().map(|at| told.moments.get(*at as usize));
    assert!(
        found.is_empty(),
        "killed at {strikes:?} ({:?}), away {away:?}: {found:#?}",
        moments.collect::<Vec<_>>()
    );
    told
}

#[test]
fn every_step_of_the_loop_survives_a_kill_at_every_moment() {
    let moments = moments();
    let kinds: BTreeSet<&str> = moments.iter().copied().collect();
    assert!(
        moments.len() > 150 && kinds.len() >= 18,
        "{} {kinds:?}",
        moments.len()
    );
    let mut deaths = BTreeSet::new();
    for at in 0..moments.len() as u32 {
        for away in Away::ALL {
            let told = check(&[at], away);
            deaths.extend(told.facts.iter().filter_map(|fact| match fact {
                Fact::Died { moment, .. } => Some(*moment),
                _ => None,
            }));
        }
    }
    // Whatever is about to be done, somebody died over it; the bench is no node.
    let nodes: BTreeSet<&str> = kinds
        .into_iter()
        .filter(|kind| !kind.starts_with("the bench"))
        .collect();
    assert_eq!(deaths, nodes);
}

/// Whoever takes over dies too, a few moments later.
#[test]
fn successors_are_killed_as_well() {
    let moments = moments().len() as u32;
    for at in 0..moments {
        let then = at + 1 + at % 7;
        check(&[at, then], Away::Long);
    }
}

/// The platform carries an experiment: a command that dies ends nothing, and a leader that dies over looking or choosing
/// changes nothing of what comes of it.
#[test]
fn an_experiment_goes_on_whoever_dies() {
    let moments = moments();
    let verdicts = |strike: Option<(u32, Away)>| {
        let (strikes, away) =
            strike.map_or((Vec::new(), Away::Short), |(at, away)| (vec![at], away));
        experiments::verdicts(&tell(&strikes, away, Planted::Nothing))
    };
    assert_eq!(verdicts(None), [Verdict::Passed, Verdict::Aborted]);
    let mut struck = 0;
    for (at, moment) in moments.iter().enumerate() {
        let over_looking = ["gauges", "choose", "chosen", "measured"]
            .iter()
            .any(|word| moment.contains(word));
        let by_bench = moment.starts_with("the bench");
        if !over_looking && !by_bench {
            continue;
        }
        for away in [Away::Short, Away::Long] {
            struck += 1;
            let found = verdicts(Some((at as u32, away)));
            // A bench that dies before it has asked has asked for nothing.
            let first = found.first();
            let is_well = first == Some(&Verdict::Passed)
                || (by_bench && found.iter().all(|verdict| *verdict == Verdict::Passed))
                || (by_bench && found == [Verdict::Aborted]);
            assert!(
                is_well,
                "struck at {at} ({moment}), away {away:?}: {found:?}"
            );
        }
    }
    assert!(struck > 30, "{struck}");
}

#[test]
fn planted_bugs_are_found() {
    let moments = moments().len() as u32;
    for planted in Planted::ALL {
        let mut strikes = (0..moments).flat_map(|at| Away::ALL.map(|away| (at, away)));
        let found = strikes.find_map(|(at, away)| {
            let found = findings(&tell(&[at], away, planted));
            (!found.is_empty()).then_some((at, found))
        });
        assert!(found.is_some(), "{planted:?} is not found");
        eprintln!("{planted:?}: {:?}", found.unwrap());
    }
}
