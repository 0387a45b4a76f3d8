//! Slots that an archiver made, on a server that is archived no longer: nobody moves them, and each holds back log.
//!
//! Whoever takes `backup:` out of the platform's file ends the archivers, which cannot know that they end for good. The keeper
//! reads the same file, stays, and is beside every server that may have such a slot, also one that was away meanwhile.

use std::time::Duration;

use mainstay_record::backup::{KEPT_SLOT, RECEIVED_SLOT};
use mainstay_rt::clock;
use mainstay_units::Instant;

use crate::parameters::Parameters;
use crate::sql::{Session, SqlError};

/// An archiver that begins may be faster than the keeper that hears of it.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks afterwards: one that is read from now is dropped when its reader has left.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Unarchived {
    /// Since when the file wants no archive, by what this keeper has seen.
    since: Option<Instant>,
    look_at: Instant,
}

impl Unarchived {
    /// Drops what is left, where the time has come.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub async fn see_to(
        &mut self,
        parameters: &Parameters,
        session: &Session,
        limit: Duration,
    ) -> Result<(), SqlError> {
        if !self.is_due(parameters.are_archived(), clock::now()) {
            return Ok(());
        }
        let drop = format!(
            "SELECT slot_name, pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE slot_name IN ('{RECEIVED_SLOT}', '{KEPT_SLOT}') AND NOT active"
        );
        let action = "drop slots of an archive that is not wanted any more";
        for row in session.ask(action, &drop, limit).await? {
            let slot = row.into_iter().next().flatten();
            tracing::info!(
                slot,
                "dropped a slot: the database is not archived any more"
            );
        }
        Ok(())
    }

    fn is_due(&mut self, are_archived: bool, now: Instant) -> bool {
        if are_archived {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_due = now.since(since) >= GRACE && now >= self.look_at;
        if is_due {
            self.look_at = now + LOOK_EVERY;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dropped_when_no_archive_was_wanted_for_a_while() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut unarchived = Unarchived::default();
        for (second, are_archived, expected) in [
            (100, true, false),
            (101, false, false),
            (110, false, false),
            (111, false, true),
            (112, false, false),
            (141, false, true),
            // Wanted again, and not: the archiver may be there already.
            (150, true, false),
            (180, false, false),
            (190, false, true),
        ] {
            let is_due = unarchived.is_due(are_archived, at(second));
            assert_eq!(is_due, expected, "second {second}");
        }
    }
}
