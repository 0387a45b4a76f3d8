//! How documents of chaos mean the platform.

use alloc::collections::BTreeMap;
use alloc::format;

use super::LIST_MAX;
use super::inspector::Inspector;
use crate::chaos::{Chaos, InnerWires};
use crate::draft::PlatformDraft;
use crate::name::ServiceName;
use crate::violation::Code;

const PATH: &str = "/spec/chaos";

pub(super) fn chaos(inspector: &mut Inspector, draft: &PlatformDraft) -> Option<Chaos> {
    let declared = draft.chaos.as_ref()?;
    let lists = [
        ("namespaces", declared.namespaces.len()),
        ("labels", declared.labels.len()),
    ];
    for (name, length) in lists {
        if !inspector.list_length(&format!("{PATH}/{name}"), length, LIST_MAX) {
            return None;
        }
    }
    for (place, namespace) in declared.namespaces.iter().enumerate() {
        if namespace.is_empty() {
            let path = format!("{PATH}/namespaces/{place}");
            inspector
                .report(path, Code::InvalidValue, "a namespace without a name")
                .help("write the namespace that your chaos documents name");
        }
    }
    let mut labels: BTreeMap<ServiceName, BTreeMap<_, _>> = BTreeMap::new();
    for (place, given) in declared.labels.iter().enumerate() {
        let path = format!("{PATH}/labels/{place}/service");
        let services = draft.services.iter().map(|service| service.name.as_str());
        if !inspector.reference(&path, "service", &given.service, services) {
            continue;
        }
        if let Ok(service) = ServiceName::new(&given.service)
            && labels.insert(service, given.labels.clone()).is_some()
        {
            let message = format!("`{}` is named twice", given.service);
            inspector
                .report(path, Code::DuplicateName, message)
                .help("give all its labels in one place");
        }
    }
    Some(Chaos {
        namespaces: declared.namespaces.iter().cloned().collect(),
        inner_wires: match declared.inner_wires {
            Some(true) => InnerWires::On,
            Some(false) | None => InnerWires::Off,
        },
        labels,
    })
}
