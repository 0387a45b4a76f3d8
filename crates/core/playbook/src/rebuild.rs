//! Filling a replica anew from its primary.

use alloc::format;
use alloc::string::String;

use crate::act::{Act, Resolved, alive, primary_of};
use crate::book::ParameterKind;
use crate::view::View;

/// What the keepers know of the others they say themselves, when they are asked; here is what the journal knows.
///
/// # Errors
/// Why it is not done, and what would help instead.
pub(crate) fn resolve(database: String, host: String, view: &View) -> Result<Resolved, String> {
    view.names(ParameterKind::Database, &database)?;
    alive(&host, view)?;
    let Some(known) = view.databases.get(&database) else {
        return Err(format!("there is no database {database}"));
    };
    if !known.replicas.contains(&host) {
        return Err(format!("{database} has no replica on {host}"));
    }
    match primary_of(&database, view) {
        Err(why) => return Ok(Resolved::NotYet(why)),
        Ok(primary) if primary == host => {
            return Err(format!(
                "the primary of {database} is on {host}: move it by a switchover first"
            ));
        }
        Ok(_) => {}
    }
    let others = known.replicas.iter().filter(|other| **other != host);
    let there = others.filter(|other| !view.lost.contains(*other)).count();
    let majority = known.replicas.len() / 2 + 1;
    match there >= majority {
        true => Ok(Resolved::Act(Act::Rebuild { database, host })),
        false => Err(format!(
            "without {host} only {there} of {} replicas of {database} are there: commits would wait, and nobody could take it back",
            known.replicas.len()
        )),
    }
}
