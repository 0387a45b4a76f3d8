//! Regions, the distances between them, and hosts.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::address::{HostIndex, RegionIndex};
use crate::draft::{DistanceDraft, PlatformDraft};
use crate::name::{HostName, RegionName};
use crate::platform::{Host, Region};
use crate::violation::Code;

use super::inspector::{Inspector, seconds};

pub(super) fn regions(inspector: &mut Inspector, draft: &PlatformDraft) -> Vec<Region> {
    let list = "/spec/regions";
    if draft.regions.is_empty() {
        inspector
            .report(list, Code::Missing, "a platform needs at least one region")
            .help("three regions let a database survive the loss of one");
    }
    inspector.list_length(list, draft.regions.len(), usize::from(RegionIndex::MAX));
    let texts = draft.regions.iter().map(|region| &region.name);
    let names = inspector.names(list, "region", texts, RegionName::new);
    let mut regions = Vec::new();
    for (name, number) in names.into_iter().zip(1..=RegionIndex::MAX) {
        let Some(name) = name else { continue };
        let inhabited = draft.hosts.iter().any(|host| name == *host.region);
        if !inhabited {
            let path = format!("{list}/{}/name", number - 1);
            inspector
                .report(path, Code::Missing, format!("region `{name}` has no host"))
                .help("declare a host in it under /spec/hosts, or remove the region");
        }
        let index = RegionIndex(number);
        regions.push(Region { name, index });
    }
    regions
}

pub(super) fn distances(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    regions: &[Region],
) -> BTreeMap<(RegionIndex, RegionIndex), Duration> {
    let mut distances = BTreeMap::new();
    let mut first_seen = BTreeMap::new();
    for (place, distance) in draft.distances.iter().enumerate() {
        let path = format!("/spec/distances/{place}");
        let Some(pair) = pair(inspector, draft, regions, &path, distance) else {
            continue;
        };
        if let Some(first) = first_seen.get(&pair) {
            let message = format!(
                "the distance between `{}` and `{}` is given twice",
                distance.between[0], distance.between[1]
            );
            inspector
                .report(format!("{path}/between"), Code::DuplicateName, message)
                .help("a distance holds in both directions: remove one of the two")
                .related(format!("/spec/distances/{first}/between"));
            continue;
        }
        first_seen.insert(pair, place);
        let path = format!("{path}/roundTrip");
        let bounds = Duration::ZERO..=seconds(10);
        let round_trip = inspector.span(&path, "a round trip", distance.round_trip, bounds);
        distances.insert(pair, round_trip);
    }
    distances
}

fn pair(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    regions: &[Region],
    path: &str,
    distance: &DistanceDraft,
) -> Option<(RegionIndex, RegionIndex)> {
    let path = format!("{path}/between");
    let [one, other] = distance.between.as_slice() else {
        let message = format!(
            "a distance is between two regions, not {}",
            distance.between.len()
        );
        inspector
            .report(path, Code::InvalidValue, message)
            .help("write `between: [us-east-1, eu-west-1]`");
        return None;
    };
    let declared = || draft.regions.iter().map(|region| region.name.as_str());
    let mut known = true;
    for (place, name) in [one, other].into_iter().enumerate() {
        known &= inspector.reference(&format!("{path}/{place}"), "region", name, declared());
    }
    if known && one == other {
        let message = format!("`{one}` has no distance to itself");
        inspector
            .report(path, Code::InvalidValue, message)
            .help("name two different regions, or remove the entry");
        return None;
    }
    let index = |name: &str| regions.iter().find(|r| r.name == *name).map(|r| r.index);
    let (one, other) = (index(one)?, index(other)?);
    Some((one.min(other), one.max(other)))
}

pub(super) fn hosts(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    regions: &[Region],
) -> Vec<Host> {
    let list = "/spec/hosts";
    if draft.hosts.is_empty() {
        inspector
            .report(list, Code::Missing, "a platform needs at least one host")
            .help("declare one host in each region");
    }
    let texts = draft.hosts.iter().map(|host| &host.name);
    let names = inspector.names(list, "host", texts, HostName::new);
    let declared = || draft.regions.iter().map(|region| region.name.as_str());
    let mut hosts: Vec<Host> = Vec::new();
    for (place, (host, name)) in draft.hosts.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}/region");
        inspector.reference(&path, "region", &host.region, declared());
        let region = regions.iter().find(|region| region.name == *host.region);
        let (Some(name), Some(region)) = (name, region) else {
            continue;
        };
        let before = hosts.iter().filter(|other| other.region == region.name);
        let number = before.count() + 1;
        let index = u8::try_from(number).ok().filter(|n| *n <= HostIndex::MAX);
        let Some(index) = index else {
            let most = HostIndex::MAX;
            let message = format!("region `{}` has more than {most} hosts", region.name);
            inspector
                .report(path, Code::TooMany, message)
                .help("put the host into another region");
            continue;
        };
        hosts.push(Host {
            name,
            region: region.name.clone(),
            region_index: region.index,
            index: HostIndex(index),
        });
    }
    hosts
}
