//! One schedule: a seed run from beginning to end, and what came of it.

use std::fmt::Write as _;

use mainstay_keeper::PlantedBug;

use crate::checker::Violation;
use crate::world::World;

/// What came of a schedule.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    pub acknowledged: usize,
    pub faults: u32,
    pub failovers: u32,
    pub disk_losses: u32,
    pub reads: u32,
    /// Answered by a primary that served alone by order, and how many of them are lost.
    pub alone: u32,
    pub alone_lost: u32,
    /// Begun by order, and what their last one lacks of what was acknowledged before.
    pub lineages: usize,
    pub given_up: u32,
    /// Replicas that were let go, and promises of more copies.
    pub reshapings: u32,
    pub simulated_us: u64,
    /// Which rows of the keeper's state table were used, one bit each.
    pub rows_used: u128,
    pub trace: [u8; 32],
}

/// How a schedule is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narration {
    Silent,
    Aloud,
    /// Without a trace either.
    Mute,
}

/// Runs one seed. A bug that promotes for nothing is looked for where nothing is lost.
pub fn run(seed: u64, bug: Option<PlantedBug>, narration: Narration) -> Outcome {
    if bug.is_some_and(PlantedBug::is_haste) {
        return run_calm(seed, bug, narration);
    }
    if bug.is_some_and(PlantedBug::is_of_reshaping) {
        return run_reshaped(seed, bug, narration);
    }
    run_world(seed, World::new(seed, bug), narration)
}

/// Runs one seed in which the platform file changes.
pub fn run_reshaped(seed: u64, bug: Option<PlantedBug>, narration: Narration) -> Outcome {
    run_world(seed, World::reshaped(seed, bug), narration)
}

/// Runs one seed in which nothing is lost.
pub fn run_calm(seed: u64, bug: Option<PlantedBug>, narration: Narration) -> Outcome {
    run_world(seed, World::calm(seed, bug), narration)
}

/// Runs one seed in which replicas are ordered to be filled anew besides.
pub fn run_refilled(seed: u64, bug: Option<PlantedBug>, narration: Narration) -> Outcome {
    run_world(seed, World::refilled(seed, bug), narration)
}

fn run_world(seed: u64, mut world: World, narration: Narration) -> Outcome {
    world.narrate = narration == Narration::Aloud;
    if narration == Narration::Mute {
        world.trace = crate::trace::Trace::absent();
    }
    world.run();
    Outcome {
        seed,
        violation: world.checker.violation.clone(),
        acknowledged: world.checker.acknowledged_count(),
        faults: world.checker.faults,
        failovers: world.checker.failovers,
        disk_losses: world.checker.disk_losses,
        reads: world.checker.reads,
        alone: world.checker.alone,
        alone_lost: world.checker.windows.lost,
        lineages: world.checker.bases.count(),
        given_up: world.checker.bases.given_up,
        reshapings: world.checker.reshapings,
        simulated_us: world.now,
        rows_used: world.rows_used,
        trace: std::mem::take(&mut world.trace).close(),
    }
}

/// A trace hash as text.
pub fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
