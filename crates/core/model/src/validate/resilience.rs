//! Single points of failure, and the waivers with which somebody accepted one.
//!
//! A service or gateway is a single point of failure when the loss of one host or of one region would leave
//! no place where it may run. A waiver names the subject and gives a reason; one that waives nothing is an
//! error too, since it would silently accept a risk that comes back later.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::database::{Database, Survive};
use crate::draft::{PlatformDraft, WaiverDraft};
use crate::gateway::Gateway;
use crate::name::{GatewayName, HostName, ServiceName, WaiverName};
use crate::platform::{Host, Waiver, WaiverSubject};
use crate::service::{Placement, Service};
use crate::violation::Code;

use super::inspector::Inspector;

const REASON_BYTES_MIN: usize = 10;

pub(super) fn waivers(inspector: &mut Inspector, draft: &PlatformDraft) -> Vec<Waiver> {
    let list = "/spec/waivers";
    let texts = draft.waivers.iter().map(|waiver| &waiver.name);
    let names = inspector.names(list, "waiver", texts, WaiverName::new);
    let mut waivers = Vec::new();
    for (place, (declared, name)) in draft.waivers.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        if declared.reason.trim().len() < REASON_BYTES_MIN {
            inspector
                .report(
                    format!("{path}/reason"),
                    Code::Missing,
                    "a waiver needs a reason",
                )
                .help("say why the risk is acceptable and who decided it");
        }
        let subject = subject(inspector, draft, declared, &path);
        if let (Some(name), Some(subject)) = (name, subject) {
            let reason = declared.reason.clone();
            waivers.push(Waiver {
                name,
                subject,
                reason,
            });
        }
    }
    waivers
}

fn subject(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    waiver: &WaiverDraft,
    path: &str,
) -> Option<WaiverSubject> {
    match (&waiver.service, &waiver.gateway) {
        (Some(name), None) => {
            let declared = draft.services.iter().map(|service| service.name.as_str());
            inspector.reference(&format!("{path}/service"), "service", name, declared);
            ServiceName::new(name).ok().map(WaiverSubject::Service)
        }
        (None, Some(name)) => {
            let declared = draft.gateways.iter().map(|gateway| gateway.name.as_str());
            inspector.reference(&format!("{path}/gateway"), "gateway", name, declared);
            GatewayName::new(name).ok().map(WaiverSubject::Gateway)
        }
        (Some(_), Some(_)) | (None, None) => {
            let message = "a waiver is about either one `service` or one `gateway`";
            inspector.report(path, Code::InvalidValue, message);
            None
        }
    }
}

pub(super) fn single_points(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
    databases: &[Database],
    services: &[Service],
    gateways: &[Gateway],
) {
    let mut used: BTreeSet<usize> = BTreeSet::new();
    for service in services {
        let Some(fault) = service_fault(hosts, databases, service) else {
            continue;
        };
        let name = Some(service.name.as_str());
        if !waive(draft, &mut used, |waiver| waiver.service.as_deref() == name) {
            let place = draft.services.iter().position(|s| service.name == *s.name);
            let path = format!("/spec/services/{}/placement", place.unwrap_or(0));
            report(
                inspector,
                path,
                &format!("service `{}`", service.name),
                &fault,
            );
        }
    }
    for gateway in gateways {
        let Some(fault) = hosts_fault(hosts, &gateway.hosts) else {
            continue;
        };
        let name = Some(gateway.name.as_str());
        if !waive(draft, &mut used, |waiver| waiver.gateway.as_deref() == name) {
            let place = draft.gateways.iter().position(|g| gateway.name == *g.name);
            let path = format!("/spec/gateways/{}/regions", place.unwrap_or(0));
            report(
                inspector,
                path,
                &format!("gateway `{}`", gateway.name),
                &fault,
            );
        }
    }
    let examined = |waiver: &WaiverDraft| {
        services
            .iter()
            .any(|s| waiver.service.as_deref() == Some(s.name.as_str()))
            || gateways
                .iter()
                .any(|g| waiver.gateway.as_deref() == Some(g.name.as_str()))
    };
    for (place, waiver) in draft.waivers.iter().enumerate() {
        if !used.contains(&place) && examined(waiver) {
            let message = format!("waiver `{}` waives nothing", waiver.name);
            inspector
                .report(
                    format!("/spec/waivers/{place}"),
                    Code::UnusedWaiver,
                    message,
                )
                .help("its subject is no single point of failure (any more): remove the waiver");
        }
    }
}

fn waive(
    draft: &PlatformDraft,
    used: &mut BTreeSet<usize>,
    about: impl Fn(&WaiverDraft) -> bool,
) -> bool {
    let found = draft.waivers.iter().position(about);
    used.extend(found);
    found.is_some()
}

fn report(inspector: &mut Inspector, path: String, subject: &str, fault: &str) {
    let message = format!("{subject} is a single point of failure: {fault}");
    inspector
        .report(path, Code::SinglePointOfFailure, message)
        .help(
            "let it run in a second region, or accept the risk by an entry under /spec/waivers with a name \
             and a reason",
        );
}

fn service_fault(hosts: &[Host], databases: &[Database], service: &Service) -> Option<String> {
    if let Placement::Follows { database, .. } = &service.placement {
        let database = databases.iter().find(|d| d.name == *database)?;
        return match database.survive {
            Survive::Region => None,
            Survive::Host => Some(format!(
                "it follows `{}`, which survives the loss of a host but not of a region",
                database.name
            )),
            Survive::Nothing => Some(format!(
                "it follows `{}`, which survives no loss",
                database.name
            )),
        };
    }
    hosts_fault(hosts, service.allowed_hosts())
}

fn hosts_fault(hosts: &[Host], allowed: &[HostName]) -> Option<String> {
    let mut regions = BTreeSet::new();
    for host in hosts.iter().filter(|host| allowed.contains(&host.name)) {
        regions.insert(&host.region);
    }
    match (allowed, regions.first()) {
        ([only], _) => Some(format!("host `{only}` alone may run it")),
        (_, Some(only)) if regions.len() == 1 => {
            Some(format!("all hosts that may run it are in region `{only}`"))
        }
        _ => None,
    }
}
