//! Objectives: what is counted, and whether target, recoveries and drills can be true together.
//!
//! The arithmetic is short and rarely done: 99.999 % of a year is 315 s. Whoever promises it, and rehearses the loss of
//! a region every month at four seconds each, has spent 48 of them before anything has gone wrong.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::draft::{ObjectiveDraft, PlatformDraft, WatchDraft};
use crate::gateway::{Gateway, Target as RouteTarget};
use crate::name::{GatewayName, ObjectiveName};
use crate::service::Service;
use crate::violation::Code;
use crate::watch::{Events, Objective, Target};

use super::LIST_MAX;
use super::inspector::{Inspector, seconds};

const LIST: &str = "/spec/watch/objectives";
const DAY: Duration = seconds(24 * 60 * 60);
const PERIOD: Duration = seconds(30 * 24 * 60 * 60);
/// The longest window of an alert is three days; a period is not shorter.
const PERIOD_MIN: Duration = seconds(7 * 24 * 60 * 60);
const PERIOD_MAX: Duration = seconds(92 * 24 * 60 * 60);
const YEAR: Duration = seconds(365 * 24 * 60 * 60);
/// Bounds of a gateway's histograms: this, doubling.
const BOUND_FIRST: Duration = Duration::from_micros(125);
const BOUNDS: u32 = 18;
const EXPRESSION_BYTES_MAX: usize = 4_096;
const FLOOR_MILLIHERTZ: u64 = 1_000;

pub(super) fn objectives(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    watch: &WatchDraft,
    gateways: &[Gateway],
    services: &[Service],
) -> Vec<Objective> {
    if !inspector.list_length(LIST, watch.objectives.len(), LIST_MAX) {
        return Vec::new();
    }
    let texts = watch.objectives.iter().map(|objective| &objective.name);
    let names = inspector.names(LIST, "objective", texts, ObjectiveName::new);
    let mut found = Vec::new();
    for (place, (declared, name)) in watch.objectives.iter().zip(names).enumerate() {
        let path = format!("{LIST}/{place}");
        let period = inspector.span(
            &format!("{path}/period"),
            "a period",
            declared.period.unwrap_or(PERIOD),
            PERIOD_MIN..=PERIOD_MAX,
        );
        let target = target(inspector, declared, &path);
        let events = events(inspector, draft, gateways, declared, &path);
        let floor = floor(inspector, declared, &path);
        if let Some(target) = target {
            let recovery = declared
                .recovery
                .or_else(|| slowest(gateways, services, declared));
            adds_up(inspector, declared, target, (period, recovery), &path);
        }
        if let (Some(name), Some(target), Some(events)) = (name, target, events) {
            found.push(Objective {
                name,
                target,
                period,
                events,
                floor_millihertz: floor,
            });
        }
    }
    found
}

fn target(inspector: &mut Inspector, objective: &ObjectiveDraft, path: &str) -> Option<Target> {
    let target = Target::parse(&objective.target);
    if target.is_none() {
        let message = format!("{:?} is no target", objective.target);
        inspector
            .report(format!("{path}/target"), Code::InvalidValue, message)
            .help(
                "write a percentage above 0 and below 100 with six decimals at most, such as 99.95",
            );
    }
    target
}

fn floor(inspector: &mut Inspector, objective: &ObjectiveDraft, path: &str) -> u64 {
    let Some(text) = &objective.floor else {
        return FLOOR_MILLIHERTZ;
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let thousandths = format!("{decimals:0<3}");
    let parsed = (decimals.len() <= 3)
        .then(|| {
            whole
                .parse::<u64>()
                .ok()?
                .checked_mul(1_000)?
                .checked_add(thousandths.parse().ok()?)
        })
        .flatten();
    parsed.unwrap_or_else(|| {
        let message = format!("{text:?} is no number of events in a second");
        inspector
            .report(format!("{path}/floor"), Code::InvalidValue, message)
            .help("write a number with three decimals at most, such as 0.5");
        FLOOR_MILLIHERTZ
    })
}

fn events(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    gateways: &[Gateway],
    objective: &ObjectiveDraft,
    path: &str,
) -> Option<Events> {
    match (&objective.gateway, &objective.bad, &objective.total) {
        (Some(gateway), None, None) => {
            of_gateway(inspector, draft, gateways, objective, gateway, path)
        }
        (None, Some(bad), Some(total)) => {
            if objective.route.is_some() || objective.within.is_some() {
                let message = "`route` and `within` are about a gateway, and none is named";
                inspector
                    .report(path, Code::InvalidValue, message)
                    .help("name the gateway, or put both into the expressions");
            }
            expression(inspector, bad, &format!("{path}/bad"));
            expression(inspector, total, &format!("{path}/total"));
            Some(Events::Expressions {
                bad: bad.clone(),
                total: total.clone(),
            })
        }
        _ => {
            inspector
                .report(path, Code::Missing, "it is not said what is counted")
                .help("name a `gateway`, or give PromQL for both `bad` and `total`; not both ways");
            None
        }
    }
}

fn expression(inspector: &mut Inspector, text: &str, path: &str) {
    if !text.contains("[$window]") {
        inspector
            .report(
                path,
                Code::InvalidValue,
                "the expression has no `[$window]`",
            )
            .help("write the range as `[$window]`, as in `sum(rate(errors_total[$window]))`");
    } else if text.len() > EXPRESSION_BYTES_MAX {
        inspector.report(path, Code::InvalidValue, "the expression is too long");
    }
}

fn of_gateway(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    gateways: &[Gateway],
    objective: &ObjectiveDraft,
    name: &str,
    path: &str,
) -> Option<Events> {
    let declared = || draft.gateways.iter().map(|gateway| gateway.name.as_str());
    if !inspector.reference(&format!("{path}/gateway"), "gateway", name, declared()) {
        return None;
    }
    if let Some(route) = &objective.route {
        let known: Vec<&str> = gateways
            .iter()
            .filter(|gateway| gateway.name == *name)
            .flat_map(|gateway| &gateway.http)
            .flat_map(|listener| &listener.routes)
            .map(|route| route.path.as_str())
            .collect();
        let known = known.iter().copied();
        if !inspector.reference(&format!("{path}/route"), "route", route, known) {
            return None;
        }
    }
    let (gateway, route) = (GatewayName::new(name).ok()?, objective.route.clone());
    let Some(within) = objective.within else {
        return Some(Events::Answered { gateway, route });
    };
    let bounds = || (0..BOUNDS).filter_map(|doublings| BOUND_FIRST.checked_mul(1 << doublings));
    if !bounds().any(|bound| bound == within) {
        let near: Vec<String> = bounds()
            .filter(|bound| *bound >= within / 2 && *bound <= within * 2)
            .map(|bound| format!("{}us", bound.as_micros()))
            .collect();
        let message = "the gateway counts nothing at this bound, and would have to guess";
        let help = match near.as_slice() {
            [] => "choose 125us doubled up to 17 times, such as 256ms or 1024ms".into(),
            near => format!(
                "choose {}: what a gateway counts is 125us, doubled again and again",
                near.join(" or ")
            ),
        };
        inspector
            .report(format!("{path}/within"), Code::InvalidValue, message)
            .help(help);
    }
    Some(Events::Fast {
        gateway,
        route,
        within,
    })
}

/// The longest recovery that is allowed to anything behind the route.
fn slowest(
    gateways: &[Gateway],
    services: &[Service],
    objective: &ObjectiveDraft,
) -> Option<Duration> {
    let gateway = objective.gateway.as_deref()?;
    let routes = gateways
        .iter()
        .filter(|known| known.name == *gateway)
        .flat_map(|gateway| &gateway.http)
        .flat_map(|listener| &listener.routes)
        .filter(|route| {
            let wanted = objective.route.as_deref();
            wanted.is_none_or(|wanted| route.path.as_str() == wanted)
        });
    let mut behind = Vec::new();
    for route in routes {
        match &route.target {
            RouteTarget::Service { service, .. } => behind.push(service),
            RouteTarget::Cell { members, .. } => {
                behind.extend(members.iter().map(|member| &member.service));
            }
        }
    }
    let behind = services
        .iter()
        .filter(|service| behind.contains(&&service.name));
    behind.filter_map(|service| service.objectives.rto).max()
}

/// Whether recoveries and drills leave anything of the budget.
fn adds_up(
    inspector: &mut Inspector,
    objective: &ObjectiveDraft,
    target: Target,
    (period, recovery): (Duration, Option<Duration>),
    path: &str,
) {
    let budget = target.budget_of(period);
    let allows = format!(
        "{target} of {} allows {} ({} a year)",
        span(period),
        span(budget),
        span(target.budget_of(YEAR))
    );
    let drills = match objective.drill_every {
        Some(every) if every < DAY => {
            let message = "drills come once a day at most";
            inspector.report(format!("{path}/drillEvery"), Code::InvalidValue, message);
            return;
        }
        Some(every) => period.as_secs().div_ceil(every.as_secs()),
        None => 0,
    };
    let Some(recovery) = recovery else {
        if drills > 0 {
            let message = "a drill costs a recovery, and it is not said how long one takes";
            inspector
                .report(format!("{path}/drillEvery"), Code::Missing, message)
                .help("give `recovery`, or name a route whose services have an `rto`");
        }
        return;
    };
    let count = u32::try_from(drills).unwrap_or(u32::MAX);
    // What is rehearsed is also what will happen once.
    let spent = recovery.saturating_mul(count.max(1));
    if spent <= budget {
        return;
    }
    let what = match drills {
        0 => format!("one recovery of {}", span(recovery)),
        _ => format!(
            "{drills} drills of {} each, {} in all,",
            span(recovery),
            span(spent)
        ),
    };
    let message = format!("{allows}; {what} cannot be had within it");
    let mut ways = Vec::new();
    if let Some(target) = Target::leaving(spent, period) {
        ways.push(format!("a target of {target}"));
    }
    ways.push(format!("recoveries of {}", span(budget / count.max(1))));
    if drills > 1 && budget >= recovery {
        let possible = budget.as_millis() / recovery.as_millis().max(1);
        let possible = u32::try_from(possible).unwrap_or(u32::MAX).max(1);
        ways.push(format!("a drill every {}", span(period / possible)));
    }
    inspector
        .report(format!("{path}/target"), Code::ObjectiveImpossible, message)
        .help(format!("possible would be {}", ways.join(", or ")));
}

/// As people say it: the two largest units.
pub(crate) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    if millis < 60_000 {
        let (whole, rest) = (millis / 1_000, millis % 1_000);
        let text = format!("{whole}.{rest:03}");
        return format!("{}s", text.trim_end_matches('0').trim_end_matches('.'));
    }
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut left = seconds;
    let mut words = Vec::new();
    for (name, unit) in units {
        if left >= unit && words.len() < 2 {
            words.push(format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    words.join(" ")
}
