//! Random faults, alone and in pairs, under clients that keep accounts: does the database keep its word?
//!
//! A platform of its own is started. In *rounds* of a few faults four clients of `mainstay-dbcheck` write through
//! the gateways' listener for the primary; when the round's faults are over and all is healed, everything is read
//! and compared with what the clients were told, and every kind of wrong is planted once to see that it would
//! have been found. A round has a seed of its own, from which its faults, their targets by role and their times
//! are drawn, so a failing round is repeated alone; what the processes do meanwhile is theirs, so a repeated round
//! may take another course.
//!
//! What decides: no acknowledged write lost, none invented, none doubled, no refused one there, every total right,
//! and writes go on after each strike. Stale reads and unknown outcomes are counted and decide nothing.

mod checker;
mod strike;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::dice::Dice;
use crate::platform::{Afterwards, Platform, now, pause};
use crate::step::Profile;
use checker::{Checker, Totals};
use strike::{Outcome, Strike};

/// After a strike is over, writes must go on within this, and all be healed within the other.
const RESUME_LIMIT: Duration = Duration::from_secs(60);
const RECOVERY_LIMIT: Duration = Duration::from_secs(90);
/// So many more acknowledged writes show that the service works again.
const ENOUGH: u64 = 20;
const POLL: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub struct Arguments {
    /// Faults in all; one that is refused, because its target is gone already, does not count
    #[arg(long, default_value_t = 500)]
    pub faults: u32,
    /// Faults of a round, after which everything is read and judged
    #[arg(long, default_value_t = 10)]
    pub per_round: u32,
    /// Of the first round; each further round has the next one
    #[arg(long)]
    pub seed: Option<u64>,
    /// Round trip between regions, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub distance_ms: u64,
    /// Concurrent clients
    #[arg(long, default_value_t = 4)]
    pub clients: u32,
    /// Stop after so many seconds, at the end of a round
    #[arg(long)]
    pub seconds: Option<u64>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let started = now();
    let first = arguments.seed.unwrap_or_else(drawn_seed);
    let mut platform = Platform::start("faults-db", arguments.distance_ms, Profile::Release)?;
    let mut totals = Totals::default();
    let mut seed = first;
    while totals.faults < u64::from(arguments.faults) {
        let left = u64::from(arguments.faults) - totals.faults;
        let faults = left.min(u64::from(arguments.per_round.max(1)));
        let round = round(&platform, arguments, seed, faults);
        let round = round.with_context(|| {
            format!(
                "round with seed {seed}; repeat it with: cargo run -p xtask -- faults-db --seed {seed} \
                 --faults {faults} --per-round {faults} --distance-ms {} --clients {}",
                arguments.distance_ms, arguments.clients
            )
        })?;
        totals.add(&round);
        seed += 1;
        let elapsed = started.elapsed().as_secs();
        println!("  {} faults after {elapsed} s", totals.faults);
        if arguments.seconds.is_some_and(|limit| elapsed >= limit) {
            break;
        }
    }
    println!("seeds {first} to {}: {}", seed - 1, totals.text());
    Checker::remove(&platform)?;
    platform.afterwards = Afterwards::Remove;
    Ok(())
}

/// A seed from the time of day: its only merit is that it is another one each time.
#[allow(
    clippy::disallowed_methods,
    reason = "a run without a seed draws one; it is printed"
)]
fn drawn_seed() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    time.map_or(1, |time| time.as_millis() as u64)
}

fn round(platform: &Platform, arguments: &Arguments, seed: u64, faults: u64) -> Result<Totals> {
    println!("== seed {seed}");
    let mut dice = Dice::new(seed);
    platform.wait_healthy(RECOVERY_LIMIT)?;
    let checker = Checker::start(platform, seed, arguments.clients)?;
    checker.await_more(ENOUGH, RESUME_LIMIT)?;
    let mut set = 0;
    let mut drawn = 0;
    while set < faults {
        // Refused ones are drawn again, but not for ever.
        drawn += 1;
        if drawn > 3 * faults {
            bail!("only {set} of {drawn} strikes were set");
        }
        set += strike_once(platform, &mut dice, faults - set)?;
        checker
            .await_more(ENOUGH, RESUME_LIMIT)
            .context("writes did not go on after the strike was over")?;
        if dice.percent(50) {
            platform.wait_healthy(RECOVERY_LIMIT)?;
        }
    }
    platform.mainstay(&["fault", "clear", "all", "--reason", "end of the round"])?;
    platform.wait_healthy(RECOVERY_LIMIT)?;
    checker.await_more(ENOUGH, RESUME_LIMIT)?;
    let mut totals = checker.finish(platform)?;
    totals.faults = set;
    Ok(totals)
}

/// One fault, or two that overlap, until both are over; returns how many were set.
fn strike_once(platform: &Platform, dice: &mut Dice, at_most: u64) -> Result<u64> {
    let first = Strike::draw(dice);
    let is_pair = dice.percent(40) && at_most > 1;
    let (second, gap) = (Strike::draw(dice), Duration::from_millis(dice.below(1_500)));
    let begun = now();
    let mut over = begun;
    let mut set = 0;
    let mut one = |strike: &Strike, partner: &str| -> Result<()> {
        let outcome = strike.set(platform)?;
        println!("    {:<12} {strike}{partner}: {outcome}", "");
        if let Outcome::Set { lasts, .. } = outcome {
            set += 1;
            over = over.max(now() + lasts);
        }
        Ok(())
    };
    one(&first, "")?;
    if is_pair {
        pause(gap);
        one(&second, " (while the former lasts)")?;
    }
    while now() < over {
        pause(POLL);
    }
    Ok(set)
}
