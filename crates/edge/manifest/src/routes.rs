//! Routes that can never be taken, because an earlier one takes all that they would.

use mainstay_model::Platform;
use mainstay_model::gateway::{Route, Segment};

use crate::diagnostic::Fault;
use crate::tree::Node;

/// The model compares paths as they are written. A request does not know how a part is called: `/v1/{cell}` and
/// `/v1/{market}` are the same to it.
pub(crate) fn hidden(tree: &Node, platform: &Platform) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (gateway, declared) in platform.gateways().iter().enumerate() {
        for (listener, door) in declared.http.iter().enumerate() {
            let list = format!("/spec/gateways/{gateway}/http/{listener}/routes");
            for (place, route) in door.routes.iter().enumerate() {
                let mut earlier = door.routes.iter().take(place);
                if let Some(other) = earlier.position(|other| same(other, route)) {
                    faults.push(fault(tree, &list, (other, place), &door.routes[other]));
                }
            }
        }
    }
    faults
}

fn fault(tree: &Node, list: &str, (other, place): (usize, usize), taken: &Route) -> Fault {
    let path = format!("{list}/{place}/path");
    let message = format!(
        "another route takes the same requests as `{}`: the names of parts do not tell them apart",
        taken.path.as_str()
    );
    Fault {
        position: tree.locate(&path),
        code: "duplicate-name",
        message,
        help: Some("make host, path or methods differ, or remove one".to_owned()),
        related: Some(tree.locate(&format!("{list}/{other}/path"))),
        path: Some(path),
    }
}

fn same(one: &Route, other: &Route) -> bool {
    let methods_meet = one.methods.is_empty() && other.methods.is_empty()
        || one
            .methods
            .iter()
            .any(|method| other.methods.contains(method));
    one.host == other.host && methods_meet && shape(one).eq(shape(other))
}

/// The path without the names of its parts.
fn shape(route: &Route) -> impl Iterator<Item = Option<&str>> {
    route.path.segments().map(|segment| match segment {
        Segment::Exact(text) => Some(text),
        Segment::Any(_) => None,
    })
}
