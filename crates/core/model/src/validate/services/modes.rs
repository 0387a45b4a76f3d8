//! Modes of a service: who speaks for it, over which port, and what they are called.

use alloc::collections::BTreeSet;
use alloc::format;

use crate::draft::ServiceDraft;
use crate::service::{Modes, PortTls, ServicePort};
use crate::violation::Code;

use super::port_reference;
use crate::validate::inspector::Inspector;
use crate::validate::targets::is_request_path;

const NAME_CHARACTERS_MAX: usize = 32;

pub(super) fn modes(
    inspector: &mut Inspector,
    service: &ServiceDraft,
    ports: &[ServicePort],
    path: &str,
) -> Option<Modes> {
    let draft = service.modes.as_ref()?;
    let path = format!("{path}/modes");
    if service.placement.follows.is_none() {
        let message = "a mode is told to the active instance, and this service has none";
        inspector
            .report(&path, Code::PlacementImpossible, message)
            .help("modes are for services whose placement `follows` a database");
    }
    if !is_request_path(&draft.path) {
        let message = format!("{:?} is not a path that can be asked for", draft.path);
        inspector
            .report(format!("{path}/path"), Code::InvalidValue, message)
            .help("write an absolute path such as `/control/mode`");
    }
    names(inspector, &draft.names, &format!("{path}/names"));
    let place = format!("{path}/port");
    let port = draft.port.as_deref();
    let port = port_reference(inspector, &place, port, "this service", ports)?;
    let known = ports.iter().find(|known| known.name == port);
    if known.is_some_and(|known| known.tls != PortTls::Platform) {
        let message = format!("anybody who reaches port `{port}` could change the mode");
        inspector
            .report(place, Code::InvalidValue, message)
            .help("give that port `tls: platform`: then a caller has to prove who it is");
    }
    Some(Modes {
        port,
        path: draft.path.clone(),
        names: draft.names.clone(),
    })
}

fn names(inspector: &mut Inspector, names: &[alloc::string::String], path: &str) {
    if names.len() < 2 {
        let message = "with one mode there is nothing to choose";
        inspector
            .report(path, Code::Missing, message)
            .help("name the ordinary one first, such as `names: [open, cancelOnly]`");
    }
    let mut known = BTreeSet::new();
    for (place, name) in names.iter().enumerate() {
        let fits = !name.is_empty()
            && name.len() <= NAME_CHARACTERS_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !fits || !known.insert(name) {
            let message = format!("{name:?} cannot be another mode");
            inspector
                .report(format!("{path}/{place}"), Code::InvalidName, message)
                .help("letters, digits and '-', at most 32, each name once");
        }
    }
}
