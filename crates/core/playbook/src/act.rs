//! From an action with texts to something exact that one host can do.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::book::{Action, Allowance, Condition, ParameterKind, Place};
use crate::call::Call;
use crate::value::Values;
use crate::view::View;
use crate::work_item::WorkItem;
use crate::{rebuild, replace, scale, shift};

/// Exactly what is done, and where. It stands in the journal before it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Switchover {
        database: String,
        from: String,
        to: String,
    },
    Restart {
        host: String,
        instance: String,
    },
    ClearFaults {
        faults: Vec<String>,
    },
    Drain {
        hosts: Vec<String>,
    },
    Return {
        hosts: Vec<String>,
        /// Services and regions whose shifts are over.
        shifts: Vec<(String, String)>,
    },
    Run {
        host: String,
        program: String,
        arguments: Vec<String>,
        allows: Allowance,
    },
    /// An instance of `service` is started on `to`, and stopped on `host` when that one is ready.
    Replace {
        host: String,
        service: String,
        to: String,
    },
    Rebuild {
        database: String,
        host: String,
    },
    Http(Box<Call>),
    Notify {
        to: String,
        text: String,
    },
    /// Its incident is known.
    WorkItem(Box<WorkItem>),
    Shift {
        service: String,
        region: String,
        /// In percent; 100 ends the shift.
        share: u8,
    },
    Replicas {
        service: String,
        count: u16,
        before: u16,
    },
    Mode {
        /// Where the active instance is.
        host: String,
        service: String,
        mode: String,
    },
}

impl Act {
    /// The host whose node does it; whoever leads, if it is none's.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Switchover { from: host, .. }
            | Self::Restart { host, .. }
            | Self::Rebuild { host, .. }
            | Self::Run { host, .. }
            | Self::Mode { host, .. } => Some(host),
            Self::Http(call) => Some(&call.host),
            Self::ClearFaults { .. }
            | Self::Drain { .. }
            | Self::Return { .. }
            | Self::Replace { .. }
            | Self::Notify { .. }
            | Self::WorkItem(_)
            | Self::Shift { .. }
            | Self::Replicas { .. } => None,
        }
    }

    /// Whether it is done as soon as it is journalled: everybody follows what the journal says.
    pub const fn is_done_by_writing(&self) -> bool {
        match self {
            Self::ClearFaults { .. }
            | Self::Drain { .. }
            | Self::Return { .. }
            | Self::WorkItem(_)
            | Self::Shift { .. }
            | Self::Replicas { .. } => true,
            Self::Switchover { .. }
            | Self::Restart { .. }
            | Self::Run { .. }
            | Self::Replace { .. }
            | Self::Rebuild { .. }
            | Self::Http(_)
            | Self::Notify { .. }
            | Self::Mode { .. } => false,
        }
    }
}

impl core::fmt::Display for Act {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Switchover { database, from, to } => {
                write!(f, "move the primary of {database} from {from} to {to}")
            }
            Self::Restart { host, instance } => write!(f, "restart {host}/{instance}"),
            Self::ClearFaults { faults } => write!(f, "end {}", faults.join(", ")),
            Self::Drain { hosts } => write!(f, "take {} out of routing", hosts.join(", ")),
            Self::Return { hosts, shifts } => shift::write_return(f, hosts, shifts),
            Self::Run {
                host,
                program,
                arguments,
                allows,
            } => write!(f, "on {host}: {program} {}{allows}", arguments.join(" ")),
            Self::Replace { host, service, to } => {
                write!(f, "move the instance of {service} on {host} to {to}")
            }
            Self::Rebuild { database, host } => {
                write!(f, "fill the replica of {database} on {host} anew")
            }
            Self::Http(call) => call.fmt(f),
            Self::Notify { to, text } => write!(f, "tell {to}: {text}"),
            Self::WorkItem(item) => write!(f, "open a work item {item}"),
            Self::Shift {
                service,
                region,
                share,
            } => shift::write_shift(f, service, region, *share),
            Self::Replicas {
                service,
                count,
                before,
            } => write!(f, "run {count} instances of {service} instead of {before}"),
            Self::Mode {
                host,
                service,
                mode,
            } => write!(f, "tell {host}/{service} to be in the mode {mode}"),
        }
    }
}

/// What is measured, by whom, for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub condition: Condition,
    /// It must come to hold within this; 0: it is looked at once.
    pub within_ms: u64,
    pub hold_ms: u64,
    /// The host whose watch is asked; whoever leads, if absent.
    pub host: Option<String>,
}

impl Look {
    /// The watch that comes `turn`-th is asked, so that another one is when the first gave no answer.
    pub fn at(condition: Condition, within_ms: u64, hold_ms: u64, view: &View, turn: u32) -> Self {
        let watches: Vec<&String> = view.watches.difference(&view.lost).collect();
        let host = match &condition {
            Condition::Query(_) if !watches.is_empty() => {
                let turn = usize::try_from(turn).unwrap_or(0) % watches.len();
                watches.get(turn).map(ToString::to_string)
            }
            Condition::Query(_)
            | Condition::Ready { .. }
            | Condition::Alive { .. }
            | Condition::Primary { .. }
            | Condition::Replica { .. }
            | Condition::NoFaults
            | Condition::Quiet { .. }
            | Condition::Instances { .. }
            | Condition::Shifted { .. }
            | Condition::Mode { .. } => None,
        };
        Self {
            condition,
            within_ms,
            hold_ms,
            host,
        }
    }
}

/// What an action comes to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    Act(Act),
    /// Nothing is to be done, because it is so already.
    Already(String),
    /// What it needs is not known at this moment, and will be without anybody's doing; and why.
    NotYet(String),
    /// It cannot be done, and why.
    Cannot(String),
}

/// What `action` comes to on the platform as it is.
pub fn resolve(
    action: &Action,
    values: &Values,
    view: &View,
    drained: &BTreeSet<String>,
) -> Resolved {
    match action.filled(values) {
        Ok(action) => resolve_filled(action, view, drained).unwrap_or_else(Resolved::Cannot),
        Err(error) => Resolved::Cannot(format!("${{{}}} has no value", error.name)),
    }
}

fn resolve_filled(
    action: Action,
    view: &View,
    drained: &BTreeSet<String>,
) -> Result<Resolved, String> {
    Ok(match action {
        Action::Switchover { database, to } => return switchover(database, &to, view),
        Action::Restart { host, instance } => {
            there(&host, &instance, view)?;
            Resolved::Act(Act::Restart { host, instance })
        }
        Action::ClearFaults if view.faults.is_empty() => {
            Resolved::Already("no fault is in force".into())
        }
        Action::ClearFaults => Resolved::Act(Act::ClearFaults {
            faults: view.faults.iter().cloned().collect(),
        }),
        Action::Drain(place) => {
            let hosts = moved(&place, view, |host| !drained.contains(host))?;
            match hosts.is_empty() {
                true => Resolved::Already("it is out of routing".into()),
                false => Resolved::Act(Act::Drain { hosts }),
            }
        }
        Action::Return(place) => {
            let hosts = moved(&place, view, |host| drained.contains(host))?;
            let shifts = shift::of_place(&place, view);
            match hosts.is_empty() && shifts.is_empty() {
                true => Resolved::Already("it is in routing".into()),
                false => Resolved::Act(Act::Return { hosts, shifts }),
            }
        }
        Action::Run {
            host,
            program,
            arguments,
            allows,
        } => {
            alive(&host, view)?;
            Resolved::Act(Act::Run {
                host,
                program,
                arguments,
                allows,
            })
        }
        Action::Replace { host, instance } => {
            Resolved::Act(replace::resolve(host, instance, view, drained)?)
        }
        Action::Rebuild { database, host } => return rebuild::resolve(database, host, view),
        Action::Http(call) => {
            alive(&call.host, view)?;
            Resolved::Act(Act::Http(call))
        }
        Action::Notify { to, text } => match view.told.contains(&to) {
            true => Resolved::Act(Act::Notify { to, text }),
            false => return Err(format!("the platform file has nobody to tell called {to}")),
        },
        Action::WorkItem(item) => Resolved::Act(item.resolved(view)?),
        Action::Shift { what, from, share } => {
            return shift::resolve(&what, from, &share, view, drained);
        }
        Action::Replicas { service, count } => return scale::resolve(service, &count, view),
        Action::Mode { service, mode } => return tell_mode(service, mode, view),
        Action::Wait(_) => Resolved::Already("it only looks".into()),
    })
}

fn moved(
    place: &Place,
    view: &View,
    keep: impl Fn(&String) -> bool,
) -> Result<Vec<String>, String> {
    let mut hosts = view.hosts_of(place)?;
    hosts.retain(|host| keep(host));
    Ok(hosts)
}

pub(crate) fn alive(host: &str, view: &View) -> Result<(), String> {
    view.names(ParameterKind::Host, host)?;
    match view.lost.contains(host) {
        true => Err(format!("host {host} is lost")),
        false => Ok(()),
    }
}

pub(crate) fn there(host: &str, instance: &str, view: &View) -> Result<(), String> {
    alive(host, view)?;
    view.names(ParameterKind::Instance, instance)?;
    let hosts = view.instances.get(instance);
    match hosts.is_some_and(|hosts| hosts.contains(host)) {
        true => Ok(()),
        false => Err(format!("{instance} does not run on {host}")),
    }
}

/// Where the primary of a database is.
///
/// # Errors
/// That nobody can say at this moment: one has left, and who follows is not heard yet. Keepers see to that by themselves.
pub(crate) fn primary_of<'v>(database: &str, view: &'v View) -> Result<&'v str, String> {
    let known = view.databases.get(database);
    match known.and_then(|known| known.primary.as_deref()) {
        None => Err(format!("where the primary of {database} is, is not known")),
        Some(host) if view.lost.contains(host) => Err(format!(
            "the primary of {database} was on {host}, which is lost"
        )),
        Some(host) => Ok(host),
    }
}

/// Whether a service has such a mode, the node knows that tells it: the journal does not keep them.
fn tell_mode(service: String, mode: String, view: &View) -> Result<Resolved, String> {
    let known = view.service(&service)?;
    let Some(database) = &known.follows else {
        return Err(format!(
            "{service} follows no database, so none of its instances speaks for all"
        ));
    };
    let host = match primary_of(database, view) {
        Ok(host) => host.to_string(),
        Err(why) => return Ok(Resolved::NotYet(why)),
    };
    there(&host, &service, view)?;
    Ok(Resolved::Act(Act::Mode {
        host,
        service,
        mode,
    }))
}

fn switchover(database: String, region: &str, view: &View) -> Result<Resolved, String> {
    view.names(ParameterKind::Database, &database)?;
    view.names(ParameterKind::Region, region)?;
    let Some(known) = view.databases.get(&database) else {
        return Err(format!("there is no database {database}"));
    };
    let from = match primary_of(&database, view) {
        Ok(from) => from.to_string(),
        Err(why) => return Ok(Resolved::NotYet(why)),
    };
    let in_region = |host: &&String| view.hosts.get(*host).is_some_and(|known| known == region);
    if in_region(&&from) {
        return Ok(Resolved::Already(format!(
            "the primary of {database} is in {region}"
        )));
    }
    let mut candidates = known.replicas.iter().filter(in_region);
    let Some(to) = candidates.find(|host| !view.lost.contains(*host)).cloned() else {
        return Err(format!(
            "{database} has no replica in {region} whose host is there"
        ));
    };
    Ok(Resolved::Act(Act::Switchover { database, from, to }))
}
