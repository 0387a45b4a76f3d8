//! Shifting a service's traffic: gateways send only a share of its new requests to a region.
//!
//! Think of a road with a sign before the fork: of a hundred cars so many may take the way they would have taken,
//! the others go round. The share says of how many of a hundred new requests a gateway chooses among *all* ready
//! instances, as if nothing had been said; for the rest it leaves out those in the region. If nothing else is ready
//! they are taken all the same: a shift is a wish, taking out of routing (`drain`) is an order.
//!
//! Only services whose instances are interchangeable can be shifted. The requests of a cell go where its database's
//! primary is; to move them is to move the primary.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::act::{Act, Resolved};
use crate::book::{ParameterKind, Place, Routed};
use crate::guard::Target;
use crate::view::View;

/// All of it: a share that is none.
pub const WHOLE: u8 = 100;

/// A share in percent.
///
/// # Errors
/// That the text is none.
pub fn share_of(text: &str) -> Result<u8, String> {
    let number = text.parse().ok().filter(|share| *share <= WHOLE);
    number.ok_or_else(|| format!("{text:?} is no share: write a percentage from 0 to 100"))
}

pub(crate) fn resolve(
    what: &Routed,
    region: String,
    share: &str,
    view: &View,
    drained: &BTreeSet<String>,
) -> Result<Resolved, String> {
    let share = share_of(share)?;
    let service = service_of(what, view)?;
    view.names(ParameterKind::Region, &region)?;
    if let Some(database) = &view.service(&service)?.follows {
        return Err(format!(
            "{service} is a cell's service: its requests go where the primary of {database} is. Use `switchover`"
        ));
    }
    let shifted = (service, region);
    let now = view.shifts.get(&shifted).copied().unwrap_or(WHOLE);
    let (service, region) = shifted;
    if now == share {
        return Ok(Resolved::Already(format!(
            "the share of {service} in {region} is {share} %"
        )));
    }
    let placed = view.instances.get(&service).into_iter().flatten();
    let serves = |host: &&String| !view.lost.contains(*host) && !drained.contains(*host);
    let elsewhere = placed.filter(serves).any(|host| !view.is_in(host, &region));
    if share < WHOLE && !elsewhere {
        return Err(format!(
            "no instance of {service} outside {region} is in routing: there is nowhere to send the rest"
        ));
    }
    Ok(Resolved::Act(Act::Shift {
        service,
        region,
        share,
    }))
}

/// The one service whose requests are meant.
pub(crate) fn service_of(what: &Routed, view: &View) -> Result<String, String> {
    let path = match what {
        Routed::Service(service) => return Ok(service.clone()),
        Routed::Route(path) => path,
    };
    let Some(services) = view.routes.get(path) else {
        let known: Vec<&str> = view.routes.keys().map(String::as_str).collect();
        return Err(format!(
            "no gateway has a route {path}; there is {}",
            known.join(", ")
        ));
    };
    let mut all = services.iter();
    match (all.next(), all.next()) {
        (Some(service), None) => Ok(service.clone()),
        _ => Err(format!(
            "the route {path} leads to {} services: name one",
            services.len()
        )),
    }
}

/// Shifts that end when a place is taken back: those of a region, if it is one.
pub(crate) fn of_place(place: &Place, view: &View) -> Vec<(String, String)> {
    let Place::Region(region) = place else {
        return Vec::new();
    };
    let here = view.shifts.keys().filter(|(_, from)| from == region);
    here.cloned().collect()
}

/// The instances that get less, or more again.
pub(crate) fn targets<'a>(
    service: &'a str,
    region: &'a str,
    view: &'a View,
) -> impl Iterator<Item = Target> + 'a {
    let placed = view.instances.get(service).into_iter().flatten();
    let here = placed.filter(move |host| view.is_in(host, region));
    here.map(move |host| Target::Instance {
        host: host.clone(),
        instance: service.to_string(),
    })
}

pub(crate) fn write_shift(
    f: &mut fmt::Formatter<'_>,
    service: &str,
    region: &str,
    share: u8,
) -> fmt::Result {
    match share {
        WHOLE => write!(f, "send requests of {service} to {region} as before"),
        0 => write!(
            f,
            "send no new requests of {service} to {region} while others are ready"
        ),
        share => write!(
            f,
            "send {share} % of new requests of {service} as before and the rest not to {region}"
        ),
    }
}

pub(crate) fn write_return(
    f: &mut fmt::Formatter<'_>,
    hosts: &[String],
    shifts: &[(String, String)],
) -> fmt::Result {
    if !hosts.is_empty() {
        write!(f, "take {} back into routing", hosts.join(", "))?;
    }
    for (index, (service, region)) in shifts.iter().enumerate() {
        if index > 0 || !hosts.is_empty() {
            f.write_str("; ")?;
        }
        write_shift(f, service, region, WHOLE)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::view::ViewService;

    /// Two regions; `web` in both, `near` in one, `cell` follows a database.
    fn view() -> View {
        let hosts = [("h1", "east"), ("h2", "west"), ("h3", "west")];
        let instances = [
            ("web", &["h1", "h2"][..]),
            ("near", &["h1"]),
            ("cell", &["h1", "h2"]),
        ];
        let names = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect();
        let service = |follows: Option<&str>| ViewService {
            follows: follows.map(ToString::to_string),
            ..ViewService::default()
        };
        let routes = [
            ("/web", &["web"][..]),
            ("/cell", &["cell"]),
            ("/both", &["web", "near"]),
        ];
        View {
            hosts: hosts.map(|(h, r)| (h.to_string(), r.to_string())).into(),
            instances: instances
                .map(|(name, hosts)| (name.to_string(), names(hosts)))
                .into(),
            services: BTreeMap::from([
                ("web".to_string(), service(None)),
                ("near".to_string(), service(None)),
                ("cell".to_string(), service(Some("ledger"))),
            ]),
            routes: routes
                .map(|(path, services)| (path.to_string(), names(services)))
                .into(),
            shifts: BTreeMap::from([(("web".to_string(), "west".to_string()), 30)]),
            ..View::default()
        }
    }

    fn check(what: &Routed, region: &str, share: &str, expected: &str) {
        let found = resolve(what, region.to_string(), share, &view(), &BTreeSet::new());
        let told = match found {
            Ok(Resolved::Act(act)) => act.to_string(),
            Ok(Resolved::Already(why)) => format!("already: {why}"),
            Ok(Resolved::NotYet(why)) => format!("waits: {why}"),
            Ok(Resolved::Cannot(why)) | Err(why) => format!("cannot: {why}"),
        };
        assert_eq!(told, expected, "{what:?} {region} {share}");
    }

    #[test]
    fn what_a_shift_comes_to() {
        let web = Routed::Service("web".to_string());
        let route = Routed::Route("/web".to_string());
        check(
            &web,
            "east",
            "25",
            "send 25 % of new requests of web as before and the rest not to east",
        );
        check(
            &route,
            "east",
            "0",
            "send no new requests of web to east while others are ready",
        );
        check(
            &web,
            "west",
            "100",
            "send requests of web to west as before",
        );
        for (region, share) in [("west", "30"), ("east", "100")] {
            let already = format!("already: the share of web in {region} is {share} %");
            check(&web, region, share, &already);
        }
    }

    #[test]
    fn what_cannot_be_shifted_says_why() {
        let service = |name: &str| Routed::Service(name.to_string());
        let route = |path: &str| Routed::Route(path.to_string());
        for (what, region, why) in [
            (
                service("near"),
                "east",
                "no instance of near outside east is in routing: there is nowhere to send the rest",
            ),
            (
                service("cell"),
                "east",
                "cell is a cell's service: its requests go where the primary of ledger is. Use `switchover`",
            ),
            (
                route("/both"),
                "east",
                "the route /both leads to 2 services: name one",
            ),
            (
                route("/no"),
                "east",
                "no gateway has a route /no; there is /both, /cell, /web",
            ),
            (
                service("no"),
                "east",
                "there is no service no; there is cell, near, web",
            ),
            (
                service("web"),
                "north",
                "there is no such region; there is east, west",
            ),
        ] {
            check(&what, region, "10", &format!("cannot: {why}"));
        }
        let why = "cannot: \"101\" is no share: write a percentage from 0 to 100";
        check(&service("web"), "east", "101", why);
    }

    #[test]
    fn what_is_lost_or_out_of_routing_is_nowhere_to_send_the_rest() {
        let web = Routed::Service("web".to_string());
        let shift = |view: &View, drained: &BTreeSet<String>| {
            resolve(&web, "east".to_string(), "10", view, drained).is_ok()
        };
        assert!(shift(&view(), &BTreeSet::new()));
        assert!(!shift(&view(), &BTreeSet::from(["h2".to_string()])));
        let mut lost = view();
        lost.lost.insert("h2".to_string());
        assert!(!shift(&lost, &BTreeSet::new()));
    }

    #[test]
    fn a_region_taken_back_takes_its_shifts_back_and_a_host_none() {
        let west = of_place(&Place::Region("west".to_string()), &view());
        assert_eq!(west, [("web".to_string(), "west".to_string())]);
        assert!(of_place(&Place::Host("h2".to_string()), &view()).is_empty());
        let touched: Vec<String> = targets("web", "west", &view())
            .map(|t| t.to_string())
            .collect();
        assert_eq!(touched, ["instance h2/web"]);
    }
}
