//! Guardrails: what a run is about to touch, and whether all runs together may.
//!
//! The answer and the reservation are one entry of the journal ([`Event::Started`](crate::Event::Started)): whoever
//! asks next sees it. A target is freed when its run ends.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::act::{Act, Resolved, resolve};
use crate::book::{Book, Guardrails, Rate, Window};
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
        match (self, other) {
            (Self::Host(host), Self::Instance { host: other, .. })
            | (Self::Instance { host: other, .. }, Self::Host(host)) => host == other,
            (Self::Service(service), Self::Instance { instance, .. })
            | (Self::Instance { instance, .. }, Self::Service(service)) => service == instance,
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

/// What all steps together touch, as the platform is now. A step that cannot be done now is no target: it will be
/// refused when its turn comes, if it still cannot.
pub fn targets(
    book: &Book,
    values: &Values,
    view: &View,
    drained: &BTreeSet<String>,
) -> Vec<Target> {
    let mut targets = BTreeSet::new();
    let compensations = book
        .steps
        .iter()
        .filter_map(|step| step.compensate.as_ref());
    let actions = book.steps.iter().map(|step| &step.action);
    for action in actions.chain(compensations) {
        let act = match resolve(action, values, view, drained) {
            Resolved::Act(act) => act,
            Resolved::NotYet(awaited) => {
                targets.extend(awaited.targets);
                continue;
            }
            Resolved::Already(_) | Resolved::Cannot(_) => continue,
        };
        match act {
            Act::Switchover { database, .. } => {
                targets.insert(Target::Database(database));
            }
            Act::Restart { host, instance } => {
                targets.insert(Target::Instance { host, instance });
            }
            Act::Drain { hosts } => targets.extend(hosts.into_iter().map(Target::Host)),
            Act::Return { hosts, shifts } => {
                targets.extend(hosts.into_iter().map(Target::Host));
                for (service, region) in &shifts {
                    targets.extend(shift::targets(service, region, view));
                }
            }
            Act::Shift {
                service, region, ..
            } => targets.extend(shift::targets(&service, &region, view)),
            Act::Replicas { service, .. } | Act::Mode { service, .. } => {
                targets.insert(Target::Service(service));
            }
            Act::Run { host, .. } => {
                targets.insert(Target::Host(host));
            }
            Act::Replace { host, service, .. } => {
                let instance = service;
                targets.insert(Target::Instance { host, instance });
            }
            Act::Rebuild { database, host } => {
                targets.insert(Target::Database(database));
                targets.insert(Target::Host(host));
            }
            Act::ClearFaults { .. } => {
                targets.insert(Target::Faults);
            }
            // Nothing of the platform is touched by asking or telling somebody.
            Act::Http(_) | Act::Notify { .. } | Act::WorkItem(_) => {}
        }
    }
    targets.into_iter().collect()
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
        rails
            .rate
            .map(|rate| frequency(rate, state, book, now_ms, own)),
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

fn frequency(rate: Rate, state: &State, book: &Book, now_ms: u64, own: Option<RunId>) -> Finding {
    let since_ms = now_ms.saturating_sub(rate.per_ms);
    let running = state
        .runs
        .iter()
        .filter(|(id, run)| Some(**id) != own && run.book.name == book.name)
        .filter_map(|(_, run)| run.started_ms);
    let over = state
        .ended
        .iter()
        .filter(|ended| ended.run.book.name == book.name)
        .filter_map(|ended| ended.run.started_ms);
    let count = running.chain(over).filter(|ms| *ms > since_ms).count();
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
    let mut touched = state.ended.iter().rev().filter(|ended| {
        let mut reserved = ended.run.reserved.iter();
        reserved.any(|reserved| targets.iter().any(|target| target.meets(reserved)))
    });
    let rest_s = rails.cool_down_ms / 1_000;
    Some(match touched.next() {
        Some(ended) if now_ms < ended.at_ms.saturating_add(rails.cool_down_ms) => finding(
            "coolDown",
            false,
            format!(
                "run {} ended {} s ago at the same things; they are left alone for {rest_s} s",
                ended.id,
                now_ms.saturating_sub(ended.at_ms) / 1_000
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
}
