//! Where instances run.
//!
//! An instance that follows a database stays beside its replica, whatever happens. Interchangeable instances
//! are kept where they are as long as their hosts are there; those of a lost host start on the first allowed
//! host that has none. When the host returns, nothing moves back: a move is a risk, and the file's order is
//! only a preference. With no host to spare the instance stays assigned to the lost one, so that it is back
//! as soon as the host is.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use mainstay_model::name::{HostName, ServiceName};

use crate::desired::{Desired, DesiredService};
use crate::event::{Event, PlacedBecause, WithdrawnBecause};

/// The events that bring `placed` to what `desired` wants, given that some hosts are lost and that a playbook wants
/// another number of instances of some services.
pub(crate) fn place(
    desired: &Desired,
    lost: &BTreeMap<HostName, u64>,
    placed: &BTreeMap<ServiceName, BTreeSet<HostName>>,
    counts: &BTreeMap<String, u16>,
) -> Vec<Event> {
    let mut events = Vec::new();
    let nowhere = BTreeSet::new();
    for (service, hosts) in placed {
        if !desired.services.contains_key(service) {
            let all = hosts.iter();
            events.extend(all.map(|host| withdrawn(service, host, WithdrawnBecause::NotWanted)));
        }
    }
    for (name, service) in &desired.services {
        let hosts = placed.get(name).unwrap_or(&nowhere);
        let wanted = wanted(name, service, counts);
        place_service((name, service, wanted), lost, hosts, &mut events);
    }
    events
}

fn withdrawn(service: &ServiceName, host: &HostName, why: WithdrawnBecause) -> Event {
    Event::InstanceWithdrawn {
        service: service.clone(),
        host: host.clone(),
        why,
    }
}

fn placed(service: &ServiceName, host: &HostName, why: PlacedBecause) -> Event {
    Event::InstancePlaced {
        service: service.clone(),
        host: host.clone(),
        why,
    }
}

/// How many instances a service is to have now.
pub(crate) fn wanted(
    name: &ServiceName,
    service: &DesiredService,
    counts: &BTreeMap<String, u16>,
) -> u16 {
    let count = counts.get(name.as_str()).copied();
    count.unwrap_or(service.replicas)
}

fn place_service(
    (name, service, wanted): (&ServiceName, &DesiredService, u16),
    lost: &BTreeMap<HostName, u64>,
    hosts: &BTreeSet<HostName>,
    events: &mut Vec<Event>,
) {
    let (allowed, not_allowed): (Vec<&HostName>, Vec<&HostName>) =
        hosts.iter().partition(|host| service.hosts.contains(host));
    for host in not_allowed {
        events.push(withdrawn(name, host, WithdrawnBecause::NotWanted));
    }
    if let Some(database) = &service.follows {
        let missing = service.hosts.iter().filter(|host| !hosts.contains(*host));
        let why = || PlacedBecause::BesideReplica {
            database: database.clone(),
        };
        events.extend(missing.map(|host| placed(name, host, why())));
        return;
    }
    let wanted = usize::from(wanted);
    // In the file's order, so that what is kept and what is taken first does not depend on names.
    let in_order = |here: bool| {
        let allowed = allowed.clone();
        service
            .hosts
            .iter()
            .filter(move |host| allowed.contains(host) == here)
    };
    let (there, gone): (Vec<&HostName>, Vec<&HostName>) =
        in_order(true).partition(|host| !lost.contains_key(*host));
    for host in there.iter().skip(wanted) {
        events.push(withdrawn(name, host, WithdrawnBecause::NotWanted));
    }
    let mut free = in_order(false).filter(|host| !lost.contains_key(*host));
    let mut running = there.len().min(wanted);
    for host in gone {
        if running >= wanted {
            events.push(withdrawn(name, host, WithdrawnBecause::HostLost));
            continue;
        }
        if let Some(other) = free.next() {
            events.push(withdrawn(name, host, WithdrawnBecause::HostLost));
            let why = PlacedBecause::InsteadOf { lost: host.clone() };
            events.push(placed(name, other, why));
        }
        running += 1;
    }
    for host in free.take(wanted.saturating_sub(running)) {
        events.push(placed(name, host, PlacedBecause::Wanted));
    }
}
