//! Ports are unique on the whole platform: behind a region's one door, the port alone tells what is meant.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::draft::PlatformDraft;
use crate::platform::Host;
use crate::violation::Code;

use super::inspector::Inspector;

/// So many claims at most are compared with each other.
const CLAIMS_MAX: usize = 4096;

struct Claim {
    path: String,
    owner: String,
    first: u16,
    /// How many consecutive ports: one for each host of the largest region, as hosts share a door.
    count: u16,
}

impl Claim {
    fn last(&self) -> u32 {
        u32::from(self.first) + u32::from(self.count) - 1
    }

    fn meets(&self, other: &Self) -> bool {
        u32::from(self.first) <= other.last() && u32::from(other.first) <= self.last()
    }
}

pub(super) fn clashes(inspector: &mut Inspector, draft: &PlatformDraft, hosts: &[Host]) {
    let mut claims = claims(draft, hosts_in_largest_region(hosts));
    if !inspector.list_length("/spec", claims.len(), CLAIMS_MAX) {
        claims.truncate(CLAIMS_MAX);
    }
    for (place, claim) in claims.iter().enumerate() {
        if claim.first == 0 || claim.last() > u32::from(u16::MAX) {
            let message = format!("{} cannot have port {}", claim.owner, claim.first);
            let most = u32::from(u16::MAX) - u32::from(claim.count) + 1;
            inspector
                .report(&claim.path, Code::InvalidValue, message)
                .help(format!("choose from 1 to {most}"));
            continue;
        }
        let earlier = claims
            .iter()
            .take(place)
            .find(|earlier| earlier.meets(claim));
        let Some(earlier) = earlier else { continue };
        let message = if earlier.first == claim.first {
            format!("port {} is taken by {}", claim.first, earlier.owner)
        } else {
            format!(
                "port {} is too near to port {} of {}: on the further hosts of a region ports count upwards",
                claim.first, earlier.first, earlier.owner
            )
        };
        let report = inspector.report(&claim.path, Code::PortClash, message);
        let report = report.related(&earlier.path);
        if let Some(free) = free_port(&claims, claim) {
            report.help(format!("port {free} is free"));
        }
    }
}

/// The nearest free port above the claimed one.
fn free_port(claims: &[Claim], claim: &Claim) -> Option<u16> {
    (claim.first.saturating_add(1)..u16::MAX).find(|&first| {
        let moved = Claim {
            path: String::new(),
            owner: String::new(),
            first,
            count: claim.count,
        };
        moved.last() <= u32::from(u16::MAX) && !claims.iter().any(|other| other.meets(&moved))
    })
}

fn hosts_in_largest_region(hosts: &[Host]) -> u16 {
    let mut counts: BTreeMap<u8, u16> = BTreeMap::new();
    for host in hosts {
        *counts.entry(host.region_index.number()).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(1)
}

fn claims(draft: &PlatformDraft, hosts: u16) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut claim = |path: String, owner: String, first: u16, count: u16| {
        claims.push(Claim {
            path,
            owner,
            first,
            count,
        });
    };
    for (place, database) in draft.databases.iter().enumerate() {
        let ports = [
            ("postgres", "PostgreSQL", database.ports.postgres),
            ("peer", "the keepers", database.ports.peer),
            ("sight", "the keepers' HTTP", database.ports.sight),
        ];
        for (field, what, port) in ports {
            let path = format!("/spec/databases/{place}/ports/{field}");
            let owner = format!("{what} of database `{}`", database.name);
            claim(path, owner, port, hosts);
        }
        let backup = database.backup.as_ref();
        if let Some(port) = backup.and_then(|backup| backup.metrics_port) {
            let path = format!("/spec/databases/{place}/backup/metricsPort");
            let owner = format!(
                "the figures of the archivers of database `{}`",
                database.name
            );
            claim(path, owner, port, hosts);
        }
    }
    for (place, service) in draft.services.iter().enumerate() {
        for (number, port) in service.ports.iter().enumerate() {
            let path = format!("/spec/services/{place}/ports/{number}/port");
            let owner = format!("`{}` of service `{}`", port.name, service.name);
            claim(path, owner, port.port, hosts);
        }
    }
    for (place, gateway) in draft.gateways.iter().enumerate() {
        let path = format!("/spec/gateways/{place}");
        let owner = |name: &str| format!("`{name}` of gateway `{}`", gateway.name);
        if let Some(port) = gateway.metrics_port {
            let owner = format!("the figures of gateway `{}`", gateway.name);
            claim(format!("{path}/metricsPort"), owner, port, hosts);
        }
        for (number, listener) in gateway.http.iter().enumerate() {
            let path = format!("{path}/http/{number}/port");
            claim(path, owner(&listener.name), listener.port, 1);
        }
        for (number, listener) in gateway.tcp.iter().enumerate() {
            let path = format!("{path}/tcp/{number}/port");
            claim(path, owner(&listener.name), listener.port, 1);
        }
    }
    let etcd = draft.coordination.as_ref().and_then(|c| c.etcd.as_ref());
    if let Some(etcd) = etcd.filter(|etcd| !etcd.members.is_empty()) {
        for (field, what, port) in super::coordination::ports(etcd) {
            let path = format!("/spec/coordination/etcd/ports/{field}");
            claim(path, what.into(), port, hosts);
        }
    }
    if let Some(port) = draft.watch.as_ref().and_then(|watch| watch.port) {
        let owner = "the watch".into();
        claim("/spec/watch/port".into(), owner, port, hosts);
    }
    let alerts = draft.watch.as_ref().and_then(|watch| watch.alerts.as_ref());
    if let Some(alerts) = alerts {
        let owner = "the watch's door for alerts".into();
        claim("/spec/watch/alerts/port".into(), owner, alerts.port, hosts);
    }
    claims
}
