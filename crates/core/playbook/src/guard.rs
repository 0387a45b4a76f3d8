//! Guardrails: what a run is about to touch, and whether all runs together may.
//!
//! The answer and the reservation are one entry of the journal ([`Event::Started`](crate::Event::Started)): whoever
//! asks next sees it. A target is freed when its run ends.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::act::Act;
use crate::book::{Action, Book, Guardrails, Rate, Window};
use crate::run::{Run, RunId};
use crate::shift;
use crate::state::State;
use crate::value::Values;
use crate::view::View;

const MINUTE_MS: u64 = 60_000;
const DAY_MINUTES: u64 = 24 * 60;
const HUNDRED: u64 = 100;

/// Something that is touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Database(String),
    Host(String),
    Instance {
        host: String,
        instance: String,
    },
    /// All of a service: how many instances it has, and in which mode it is.
    Service(String),
    /// Faults in force, all of them.
    Faults,
}

impl Target {
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Host(host) | Self::Instance { host, .. } => Some(host),
            Self::Database(_) | Self::Service(_) | Self::Faults => None,
        }
    }

    /// Whether two runs would be in each other's way.
    fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether the other one is it, or a part of it.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Host(host), Self::Instance { host: of, .. }) => host == of,
            (Self::Service(service), Self::Instance { instance, .. }) => service == instance,
            _ => self == other,
        }
    }
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Database(database) => write!(f, "database {database}"),
            Self::Host(host) => write!(f, "host {host}"),
            Self::Instance { host, instance } => write!(f, "instance {host}/{instance}"),
            Self::Service(service) => write!(f, "service {service}"),
            Self::Faults => f.write_str("faults in force"),
        }
    }
}

/// A guardrail as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub guardrail: &'static str,
    pub verdict: Verdict,
    /// In words, with the figures.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Holds,
    /// Somebody has to say go.
    Asks,
    Refuses,
}

/// What all steps together may touch, done or undone. What needs nothing now, or cannot be done now, is among it: that may
/// be otherwise when its turn comes.
pub fn targets(book: &Book, values: &Values, view: &View) -> Vec<Target> {
    let mut targets = BTreeSet::new();
    let compensations = book
        .steps
        .iter()
        .filter_map(|step| step.compensate.as_ref());
    let actions = book.steps.iter().map(|step| &step.action);
    for action in actions.chain(compensations) {
        // Without a value it fails when its turn comes.
        if let Ok(action) = action.filled(values) {
            targets.extend(scope(action, view));
        }
    }
    targets.into_iter().collect()
}

/// What an action may touch, whatever of it has to be done.
fn scope(action: Action, view: &View) -> Vec<Target> {
    match action {
        Action::Switchover { database, .. } => Vec::from([Target::Database(database)]),
        Action::Restart { host, instance } | Action::Replace { host, instance } => {
            Vec::from([Target::Instance { host, instance }])
        }
        Action::ClearFaults => Vec::from([Target::Faults]),
        Action::Drain(place) | Action::Return(place) => {
            let hosts = view.hosts_of(&place).unwrap_or_default();
            hosts.into_iter().map(Target::Host).collect()
        }
        Action::Run { host, .. } => Vec::from([Target::Host(host)]),
        Action::Rebuild { database, host } => {
            Vec::from([Target::Database(database), Target::Host(host)])
        }
        Action::Shift { what, from, .. } => match shift::service_of(&what, view) {
            Ok(service) => shift::targets(&service, &from, view).collect(),
            Err(_) => Vec::new(),
        },
        Action::Replicas { service, .. } | Action::Mode { service, .. } => {
            Vec::from([Target::Service(service)])
        }
        // Nothing of the platform is touched by looking, or by asking or telling somebody.
        Action::Http(_) | Action::Notify { .. } | Action::WorkItem(_) | Action::Wait(_) => {
            Vec::new()
        }
    }
}

/// What is touched by exactly this.
fn touched_by(act: &Act, view: &View) -> Vec<Target> {
    let hosts = |hosts: &[String]| hosts.iter().cloned().map(Target::Host).collect::<Vec<_>>();
    match act {
        Act::Switchover { database, .. } => Vec::from([Target::Database(database.clone())]),
        Act::Restart { host, instance }
        | Act::Replace {
            host,
            service: instance,
            ..
        } => Vec::from([Target::Instance {
            host: host.clone(),
            instance: instance.clone(),
        }]),
        Act::Drain { hosts: drained } => hosts(drained),
        Act::Return {
            hosts: returned,
            shifts,
        } => {
            let mut targets = hosts(returned);
            for (service, region) in shifts {
                targets.extend(shift::targets(service, region, view));
            }
            targets
        }
        Act::Shift {
            service, region, ..
        } => shift::targets(service, region, view).collect(),
        Act::Replicas { service, .. } | Act::Mode { service, .. } => {
            Vec::from([Target::Service(service.clone())])
        }
        Act::Run { host, .. } => Vec::from([Target::Host(host.clone())]),
        Act::Rebuild { database, host } => Vec::from([
            Target::Database(database.clone()),
            Target::Host(host.clone()),
        ]),
        Act::ClearFaults { .. } => Vec::from([Target::Faults]),
        Act::Http(_) | Act::Notify { .. } | Act::WorkItem(_) => Vec::new(),
    }
}

/// Something that this would touch and that is not reserved for the run.
pub(crate) fn unreserved(act: &Act, reserved: &[Target], view: &View) -> Option<Target> {
    // A shift is of a service in a region, whichever of its instances stand there by now; what the book may come to shift
    // was reserved at the beginning.
    let is_a_shift = matches!(act, Act::Shift { .. } | Act::Return { .. });
    let is_moved = |own: &Target, target: &Target| match (own, target) {
        (Target::Instance { instance: own, .. }, Target::Instance { instance, .. }) => {
            is_a_shift && own == instance
        }
        _ => false,
    };
    let mut touched = touched_by(act, view).into_iter();
    touched.find(|target| {
        let mut own = reserved.iter();
        !own.any(|own| own.covers(target) || is_moved(own, target))
    })
}

/// Why this is not done before somebody says go, if the book has such a limit: too much is in trouble. Who only tells or
/// asks somebody does no harm.
pub(crate) fn held_back(book: &Book, act: &Act, view: &View) -> Option<String> {
    let most = book.guardrails.unhealthy_most?;
    if touched_by(act, view).is_empty() {
        return None;
    }
    let found = trouble(most, view);
    let asks = found.verdict != Verdict::Holds;
    asks.then(|| format!("{}: {}", found.guardrail, found.why))
}

/// Every guardrail with its verdict; those that the book does not have are left out. `own` is the run that asks, if
/// there is one already.
pub fn findings(
    state: &State,
    now_ms: u64,
    view: &View,
    own: Option<RunId>,
    book: &Book,
    targets: &[Target],
) -> Vec<Finding> {
    let others: Vec<(&RunId, &Run)> = state
        .runs
        .iter()
        .filter(|(id, _)| Some(**id) != own)
        .collect();
    let rails = &book.guardrails;
    let found = [
        apart(&others, targets),
        rails.targets_most.map(|most| number(most, targets)),
        rails
            .share_most
            .map(|most| share(most, &others, targets, view)),
        rails.rate.map(|rate| frequency(rate, state, book, now_ms)),
        cool_down(rails, state, targets, now_ms),
        rails
            .healthy_least
            .map(|least| healthy(least, &others, targets, view)),
        rails.unhealthy_most.map(|most| trouble(most, view)),
        window(rails, now_ms),
    ];
    found.into_iter().flatten().collect()
}

fn finding(guardrail: &'static str, holds: bool, why: String) -> Finding {
    let verdict = match holds {
        true => Verdict::Holds,
        false => Verdict::Refuses,
    };
    Finding {
        guardrail,
        verdict,
        why,
    }
}

/// Two runs never touch the same thing at once, whatever their books say.
fn apart(others: &[(&RunId, &Run)], targets: &[Target]) -> Option<Finding> {
    let mut meeting = others.iter().flat_map(|(id, run)| {
        let all = run.reserved.iter();
        all.map(move |reserved| (*id, reserved))
    });
    let met = meeting.find(|(_, reserved)| targets.iter().any(|target| target.meets(reserved)));
    Some(match met {
        Some((id, reserved)) => finding("apart", false, format!("run {id} is at {reserved}")),
        None => finding("apart", true, "no other run is at the same things".into()),
    })
}

fn number(most: u32, targets: &[Target]) -> Finding {
    let count = targets.len();
    let holds = u32::try_from(count).is_ok_and(|count| count <= most);
    finding(
        "mostTargets",
        holds,
        format!("{count} targets, at most {most}"),
    )
}

fn touched<'a>(
    others: &'a [(&RunId, &Run)],
    targets: &'a [Target],
    view: &View,
) -> BTreeSet<&'a str> {
    let reserved = others.iter().flat_map(|(_, run)| &run.reserved);
    let hosts = reserved.chain(targets).filter_map(Target::host);
    hosts
        .filter(|host| view.hosts.contains_key(*host))
        .collect()
}

fn share(most: u8, others: &[(&RunId, &Run)], targets: &[Target], view: &View) -> Finding {
    let (touched, all) = (touched(others, targets, view).len(), view.hosts.len());
    let holds =
        percent(touched, all) <= u64::from(most) || targets.iter().all(|t| t.host().is_none());
    finding(
        "mostShare",
        holds,
        format!("{touched} of {all} hosts would be touched, at most {most} %"),
    )
}

/// Rounded up: a third is 34 %.
fn percent(part: usize, whole: usize) -> u64 {
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    match whole {
        0 => HUNDRED,
        whole => (wide(part) * HUNDRED).div_ceil(wide(whole)),
    }
}

fn frequency(rate: Rate, state: &State, book: &Book, now_ms: u64) -> Finding {
    let since_ms = now_ms.saturating_sub(rate.per_ms);
    let starts = state.starts.get(&book.name).into_iter().flatten();
    let count = starts.filter(|ms| **ms > since_ms).count();
    let holds = u32::try_from(count).is_ok_and(|count| count < rate.runs);
    finding(
        "rate",
        holds,
        format!(
            "{count} runs in the last {} s, at most {}",
            rate.per_ms / 1_000,
            rate.runs
        ),
    )
}

fn cool_down(
    rails: &Guardrails,
    state: &State,
    targets: &[Target],
    now_ms: u64,
) -> Option<Finding> {
    if rails.cool_down_ms == 0 {
        return None;
    }
    let touched = state.touched.iter().filter(|(touched, _)| {
        let mut targets = targets.iter();
        targets.any(|target| target.meets(touched))
    });
    let last = touched.map(|(_, last)| last).max_by_key(|(_, at_ms)| at_ms);
    let rest_s = rails.cool_down_ms / 1_000;
    Some(match last {
        Some((run, at_ms)) if now_ms < at_ms.saturating_add(rails.cool_down_ms) => finding(
            "coolDown",
            false,
            format!(
                "run {run} ended {} s ago at the same things; they are left alone for {rest_s} s",
                now_ms.saturating_sub(*at_ms) / 1_000
            ),
        ),
        _ => finding(
            "coolDown",
            true,
            format!("nothing was touched in the last {rest_s} s"),
        ),
    })
}

fn healthy(least: u32, others: &[(&RunId, &Run)], targets: &[Target], view: &View) -> Finding {
    let touched = touched(others, targets, view);
    let well = view
        .hosts
        .keys()
        .filter(|host| !view.unhealthy.contains(*host) && !touched.contains(host.as_str()));
    let count = well.count();
    let holds = u32::try_from(count).is_ok_and(|count| count >= least);
    finding(
        "leastHealthy",
        holds,
        format!("{count} hosts are well and untouched, at least {least}"),
    )
}

fn trouble(most: u8, view: &View) -> Finding {
    let (unwell, all) = (view.unhealthy.len(), view.hosts.len());
    let mut found = finding(
        "mostUnhealthy",
        percent(unwell, all) <= u64::from(most) || unwell == 0,
        format!("{unwell} of {all} hosts are in trouble, at most {most} %"),
    );
    if found.verdict == Verdict::Refuses {
        found.verdict = Verdict::Asks;
    }
    found
}

fn window(rails: &Guardrails, now_ms: u64) -> Option<Finding> {
    if rails.forbidden.is_empty() {
        return None;
    }
    let holds = !rails.forbidden.iter().any(|window| window.contains(now_ms));
    let why = match holds {
        true => "no forbidden window",
        false => "this is a forbidden window",
    };
    Some(finding("forbidden", holds, why.into()))
}

impl Window {
    /// 1 January 1970 was a Thursday.
    fn contains(&self, now_ms: u64) -> bool {
        let minutes = now_ms / MINUTE_MS;
        let (day, minute) = ((minutes / DAY_MINUTES + 3) % 7, minutes % DAY_MINUTES);
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let has = |day: u64| self.days >> day & 1 == 1;
        if from < to {
            return has(day) && (from..to).contains(&minute);
        }
        has(day) && minute >= from || has((day + 6) % 7) && minute < to
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // Friday from 22:00 to 06:00.
        let window = Window {
            days: 1 << 4,
            from: 22 * 60,
            to: 6 * 60,
        };
        // 27 November 2026 is a Friday.
        let friday_ms = 1_795_737_600_000;
        for (hours, inside) in [
            (21, false),
            (22, true),
            (29, true),
            (30, false),
            (46, false),
        ] {
            let at_ms = friday_ms + hours * 60 * MINUTE_MS;
            assert_eq!(window.contains(at_ms), inside, "{hours}");
        }
    }

    #[test]
    fn a_third_is_more_than_33_percent() {
        assert_eq!(percent(1, 3), 34);
        assert_eq!(percent(0, 3), 0);
        assert_eq!(percent(0, 0), 100);
    }

    fn instance(host: &str, service: &str) -> Target {
        Target::Instance {
            host: host.to_string(),
            instance: service.to_string(),
        }
    }

    /// What a run shifted away it may shift back, also when the instance is on another host by then.
    #[test]
    fn a_shift_is_of_a_service_wherever_its_instances_are() {
        let mut view = View::default();
        for host in ["h1", "h2"] {
            view.hosts.insert(host.to_string(), "east".to_string());
        }
        let placed = ["h2".to_string()].into();
        view.instances.insert("web".to_string(), placed);
        let shift = Act::Shift {
            service: "web".to_string(),
            region: "east".to_string(),
            share: 100,
        };
        assert_eq!(unreserved(&shift, &[instance("h1", "web")], &view), None);
        let other = [instance("h1", "api")];
        assert_eq!(
            unreserved(&shift, &other, &view),
            Some(instance("h2", "web"))
        );
        let restart = Act::Restart {
            host: "h2".to_string(),
            instance: "web".to_string(),
        };
        let found = unreserved(&restart, &[instance("h1", "web")], &view);
        assert_eq!(found, Some(instance("h2", "web")), "an instance is one");
    }
}
