//! Random faults on an archive: does what comes back equal what was written?
//!
//! A server, an archiver and two stores, and a writer that notes what it was told. First archivers are killed and stores
//! go away, at random moments from a seed, while the server keeps no log that it need not keep ([`interrupt`]). Then copies of
//! what lies in the stores are damaged at random, and restored to random targets ([`damaged`]). At last base backups are made one
//! after the other, so that retention has work, under more kills ([`retained`]). A [`judge`] that knows nothing of archives says
//! of each restore whether it is exactly what was acknowledged up to its target, or a refusal that says why; anything else is
//! wrong. The programs are known from outside only: by their commands and by the files in the stores.
//!
//! All that has one server. What happens to the archive when a primary is lost is tried on a [`platform`] of three.

pub mod damage;
pub mod judge;
mod place;
pub mod platform;
mod stages;

use std::path::Path;

use anyhow::Result;
use mainstay_dbcheck::dice::Dice;

use crate::place::{Place, Writer};
pub use crate::stages::Counts;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    pub interruptions: u32,
    pub damages: u32,
    /// Base backups after the proven one.
    pub backups: u32,
}

/// # Errors
/// When anything came back that must not, or nothing that must.
pub fn run(program: &Path, seed: u64, amount: Amount) -> Result<Counts> {
    let mut dice = Dice::new(seed);
    let place = Place::new(program)?;
    let mut writer = Writer::default();
    let mut counts = Counts::default();
    stages::interrupt(&place, &mut writer, &mut dice, amount.interruptions)?;
    counts.interruptions = amount.interruptions;
    stages::damaged(&place, &writer, &mut dice, amount.damages, &mut counts)?;
    counts.backups = stages::retained(&place, &mut writer, &mut dice, amount.backups)?;
    Ok(counts)
}
