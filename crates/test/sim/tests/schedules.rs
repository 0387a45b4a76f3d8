//! Thousands of schedules, every planted bug, and the sameness of a seed's trace.

use expect_test::expect;
use mainstay_keeper::PlantedBug;
use mainstay_sim::campaign::campaign;
use mainstay_sim::schedule::{Narration, hex, run};

/// Enough that rare interleavings come up, and done within a minute.
const SCHEDULES: u64 = 5_000;

#[test]
fn schedules_hold_every_invariant() {
    let summary = campaign(1, SCHEDULES, 2);
    let stories: Vec<String> = summary
        .violations
        .iter()
        .map(|outcome| format!("seed {}: {:?}", outcome.seed, outcome.violation))
        .collect();
    assert!(stories.is_empty(), "{}", stories.join("\n"));
    assert!(summary.with_failover * 2 >= summary.schedules);
    assert!(summary.disk_losses > 0 && summary.reads > 0);
}

#[test]
fn every_planted_bug_is_found_by_its_case() {
    let cases = include_str!("../cases/planted.txt");
    let mut left: Vec<String> = PlantedBug::ALL
        .iter()
        .map(|bug| format!("{bug:?}"))
        .collect();
    for line in cases.lines().filter(|line| !line.starts_with('#')) {
        let (name, seed) = line.split_once(' ').expect("BUG SEED");
        let seed: u64 = seed.parse().expect("a seed");
        let bug = PlantedBug::ALL
            .into_iter()
            .find(|bug| format!("{bug:?}") == name)
            .expect("a planted bug's name");
        let with = run(seed, Some(bug), Narration::Silent);
        assert!(
            with.violation.is_some(),
            "{name} is not found by seed {seed}"
        );
        let without = run(seed, None, Narration::Silent);
        assert_eq!(without.violation, None, "seed {seed} fails without {name}");
        left.retain(|known| known != name);
    }
    assert!(left.is_empty(), "no case for {left:?}");
}

/// The same in debug and in release: pinned, so that whichever profile runs it compares with the other.
#[test]
fn a_seed_has_one_trace() {
    let trace = |seed| hex(&run(seed, None, Narration::Silent).trace);
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
    expect![["783b2af8c2a0145b1077197f15a5506e0fda054fdb53099c809bf7c510de7ffa"]].assert_eq(&trace(7));
}
