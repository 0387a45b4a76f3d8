//! Queries of gates, read where the language is known.

use mainstay_model::Platform;
use mainstay_model::gate::Opens;

use crate::diagnostic::Fault;
use crate::tree::Node;

pub(crate) fn unreadable(tree: &Node, platform: &Platform) -> Vec<Fault> {
    let gates = platform.gates().iter().enumerate();
    let queries = gates.filter_map(|(place, gate)| match &gate.opens {
        Opens::Query(query) => Some((format!("/spec/gates/{place}/query"), query)),
        Opens::Budget { .. } => None,
    });
    let faults = queries.filter_map(|(path, query)| {
        let error = mainstay_promql::parse::parse(query).err()?;
        Some(Fault {
            position: tree.locate(&path),
            code: "invalid-query",
            message: format!("this is not PromQL: {error}"),
            help: Some("`mainstay query` tries an expression".to_owned()),
            path: Some(path),
            related: None,
        })
    });
    faults.collect()
}
