//! What this node says of itself and of what it sees.

use mainstay_record::node::{NodeFacts, VERSION};
use mainstay_record::process::InstanceStatus;
use mainstay_rt::clock;

use crate::context::Context;
use crate::deputy::View;
use crate::sight::Sight;

/// Everything at this moment.
pub fn gather(
    context: &Context,
    sight: &Sight,
    instances: Vec<InstanceStatus>,
    view: &View,
    started_wall_ms: u64,
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
        started_wall_ms,
        instances,
        keepers: seen(&sight.keepers, now),
        gateways: seen(&sight.gateways, now),
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
    }
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
