//! What this node says of itself and of what it sees.

use std::collections::BTreeMap;

use mainstay_record::backup::ArchiverState;
use mainstay_record::node::{NodeFacts, VERSION};
use mainstay_record::process::InstanceStatus;
use mainstay_rt::{clock, files};

use crate::context::Context;
use crate::deputy::View;
use crate::sight::Sight;

const STATE_LIMIT: u64 = 1 << 20;

/// What a node knows of itself without looking.
pub struct Own {
    pub started_wall_ms: u64,
    pub troubles: Vec<String>,
    pub oldest_leaf_ms: Option<u64>,
}

/// Everything at this moment.
pub fn gather(
    context: &Context,
    sight: &Sight,
    instances: Vec<InstanceStatus>,
    view: &View,
    own: Own,
) -> NodeFacts {
    let now = clock::now();
    let heard = sight.nodes.borrow();
    let heard = heard.iter().filter(|(_, fact)| fact.latest().is_some());
    NodeFacts {
        version: VERSION,
        host: context.name().to_owned(),
        region: context.host.region.to_string(),
        wall_ms: clock::wall_ms(),
        pid: std::process::id(),
        started_wall_ms: own.started_wall_ms,
        instances,
        keepers: seen(&sight.keepers, now),
        gateways: seen(&sight.gateways, now),
        archives: archives(context),
        watch: sight
            .watch
            .borrow()
            .values()
            .next()
            .map(|fact| fact.seen(now)),
        journal: view.facts.clone(),
        heard_ms: heard
            .map(|(host, fact)| (host.clone(), fact.seen(now).age_ms))
            .collect(),
        troubles: own.troubles,
        oldest_leaf_ms: own.oldest_leaf_ms,
    }
}

/// What archivers of this host last wrote of themselves.
fn archives(context: &Context) -> BTreeMap<String, ArchiverState> {
    let folder = context.layout.archives(context.name());
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let state = files::read_limited(&entry.path().join("state.json"), STATE_LIMIT).ok();
        if let Some(state) = state.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            found.insert(entry.file_name().to_string_lossy().into_owned(), state);
        }
    }
    found
}

pub fn seen<T: Clone>(
    facts: &crate::sight::Facts<T>,
    now: mainstay_units::Instant,
) -> std::collections::BTreeMap<String, mainstay_record::node::Seen<T>> {
    facts
        .borrow()
        .iter()
        .map(|(name, fact)| (name.clone(), fact.seen(now)))
        .collect()
}
