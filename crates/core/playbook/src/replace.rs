//! Moving an instance of a service off its host, as the placement would if the host were lost.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use crate::act::{Act, there};
use crate::view::View;

/// Where the instance goes: to the first host, in the order of the file, that may run one, has none, and is there.
///
/// # Errors
/// Why it cannot be moved, and what would help instead.
pub(crate) fn resolve(
    host: String,
    instance: String,
    view: &View,
    drained: &BTreeSet<String>,
) -> Result<Act, String> {
    there(&host, &instance, view)?;
    let Some(service) = view.services.get(&instance) else {
        return Err(format!(
            "{instance} is no service: one runs on each of its hosts; restart it instead"
        ));
    };
    if let Some(database) = &service.follows {
        return Err(format!(
            "{instance} stays beside its replica of {database}; restart it, or move the primary by a switchover"
        ));
    }
    let nowhere = BTreeSet::new();
    let taken = view.instances.get(&instance).unwrap_or(&nowhere);
    let mut others = service.hosts.iter().filter(|other| !taken.contains(*other));
    let Some(first) = others.next() else {
        return Err(format!(
            "{instance} is pinned: every host that may run it has one; restart it instead"
        ));
    };
    let is_there = |other: &&String| !view.lost.contains(*other) && !drained.contains(*other);
    let mut all = core::iter::once(first).chain(others);
    match all.find(is_there) {
        Some(to) => Ok(Act::Replace {
            host,
            service: instance,
            to: to.clone(),
        }),
        None => Err(format!(
            "no other host that may run {instance} is there and in routing"
        )),
    }
}
