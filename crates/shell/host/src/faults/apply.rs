//! Planning the way back, then going there.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use mainstay_record::process::{
    FaultDoor, FaultKind, FaultRecord, FaultUndo, LaunchRecord, ProcessIdentity, WireCondition,
    WireEffect, WireSpec,
};
use mainstay_rt::clock;
use rustix::process::Signal;

use super::{FaultError, records, scope, shape, stress};
use crate::identity::{self, ProcessRow};
use crate::wire;

/// How long processes may go on appearing, or not stopping, or not ending.
const PASS_LIMIT: Duration = Duration::from_secs(10);
const PASS_PAUSE: Duration = Duration::from_millis(5);
/// A process that is held down and was not seen for so long stays down.
const QUIET: Duration = Duration::from_millis(1_500);

/// Everything that must be undone, known before anything is done.
pub(crate) fn plan(data: &Path, record: &FaultRecord) -> Result<Vec<FaultUndo>, FaultError> {
    match record.kind {
        FaultKind::ProcessKill => {
            let process = scope::instance(data, &record.target)?;
            Ok(match record.parameters.detail.grace_ms {
                None | Some(0) => Vec::new(),
                // Asked now, killed when its grace is over.
                Some(_) => vec![FaultUndo::End {
                    processes: vec![process],
                }],
            })
        }
        FaultKind::ProcessDown => {
            scope::instance(data, &record.target)?;
            if !scope::is_held_by_node(data, &record.target) {
                return Err(FaultError::NotAvailable(format!(
                    "{} is started again by others than its host's supervision, so nobody would hold it down",
                    record.target
                )));
            }
            Ok(vec![FaultUndo::Release {
                instance: record.target.clone(),
            }])
        }
        FaultKind::Stress => {
            // Its workers are added as they are started; they end by themselves too.
            scope::hosts_of(data, record.kind, &record.target)?;
            Ok(vec![FaultUndo::End {
                processes: Vec::new(),
            }])
        }
        FaultKind::ProcessFreeze => {
            let process = scope::instance(data, &record.target)?;
            Ok(vec![FaultUndo::Thaw {
                processes: vec![process],
            }])
        }
        FaultKind::HostFreeze | FaultKind::RegionFreeze => {
            let hosts = scope::hosts_of(data, record.kind, &record.target)?;
            Ok(hosts
                .into_iter()
                .map(|host| FaultUndo::ThawHost { host: host.host })
                .collect())
        }
        FaultKind::HostCrash | FaultKind::RegionCrash => {
            let hosts = scope::hosts_of(data, record.kind, &record.target)?;
            let heals = conditions(data, record, &hosts)?
                .into_iter()
                .map(|(spec, _)| heal(&spec));
            let starts = hosts.iter().map(|host| FaultUndo::StartNode {
                launch: scope::launch_path(data, &host.host),
            });
            Ok(heals.chain(starts).collect())
        }
        FaultKind::Cut | FaultKind::Delay | FaultKind::Loss | FaultKind::Throttle => {
            let conditions = conditions(data, record, &[])?;
            Ok(conditions.iter().map(|(spec, _)| heal(spec)).collect())
        }
    }
}

fn heal(spec: &WireSpec) -> FaultUndo {
    FaultUndo::HealWire {
        state: spec.state.clone(),
        control: spec.control.clone(),
    }
}

/// Sets the fault. The record is written again whenever there is more to undo.
pub(crate) fn apply(data: &Path, record: &mut FaultRecord) -> Result<(), FaultError> {
    match record.kind {
        FaultKind::ProcessKill => {
            let process = scope::instance(data, &record.target)?;
            let number = match record.parameters.detail.grace_ms {
                None | Some(0) => Signal::KILL,
                Some(_) => Signal::TERM,
            };
            match identity::signal(process, number).map_err(FaultError::Signal)? {
                true => Ok(()),
                false => Err(FaultError::NotAvailable(format!(
                    "{} left by itself before it could be killed",
                    record.target
                ))),
            }
        }
        FaultKind::ProcessDown => take_down(data, &record.target),
        FaultKind::Stress => stress::start(data, record),
        FaultKind::ProcessFreeze => {
            let process = scope::instance(data, &record.target)?;
            let host = record
                .target
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            freeze(data, record, || scope::family(data, &host, process))
        }
        FaultKind::HostFreeze | FaultKind::RegionFreeze => {
            let hosts = scope::hosts_of(data, record.kind, &record.target)?;
            freeze(data, record, || processes(data, &hosts))
        }
        FaultKind::HostCrash | FaultKind::RegionCrash => {
            let hosts = scope::hosts_of(data, record.kind, &record.target)?;
            set_conditions(&conditions(data, record, &hosts)?)?;
            kill(|| processes(data, &hosts))
        }
        FaultKind::Cut | FaultKind::Delay | FaultKind::Loss | FaultKind::Throttle => {
            set_conditions(&conditions(data, record, &[])?)
        }
    }
}

fn signal(process: ProcessIdentity, signal: Signal) -> Result<(), FaultError> {
    identity::signal(process, signal)
        .map(|_| ())
        .map_err(FaultError::Signal)
}

/// All nodes first, then all others.
fn processes(data: &Path, hosts: &[LaunchRecord]) -> io::Result<Vec<ProcessRow>> {
    let nodes: BTreeSet<ProcessIdentity> = hosts.iter().map(|host| host.process).collect();
    let mut rows = Vec::new();
    for host in hosts {
        rows.extend(scope::processes(data, &host.host)?);
    }
    let (first, rest): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|row| nodes.contains(&row.identity));
    Ok(first.into_iter().chain(rest).collect())
}

/// Stops everything that `living` shows, until it shows nothing that moves. Each process is in the record
/// before it is stopped, also one that another fault has stopped already: it stands still until both are over.
/// A signal takes effect when its process is next scheduled, so the last passes only wait; one that hangs in
/// the kernel stops when it comes back from there.
fn freeze(
    data: &Path,
    record: &mut FaultRecord,
    living: impl Fn() -> io::Result<Vec<ProcessRow>>,
) -> Result<(), FaultError> {
    let keep = |id: &str, source| FaultError::Record {
        id: id.to_owned(),
        source,
    };
    let mut done: BTreeSet<ProcessIdentity> = BTreeSet::new();
    let deadline = clock::now() + PASS_LIMIT;
    loop {
        let rows = living().map_err(FaultError::Unseen)?;
        let fresh: Vec<ProcessIdentity> = rows
            .iter()
            .filter(|row| row.is_alive())
            .map(|row| row.identity)
            .filter(|process| !done.contains(process))
            .collect();
        let is_late = clock::now() >= deadline;
        if fresh.is_empty() {
            if is_late
                || rows
                    .iter()
                    .all(|row| row.is_stopped() || !row.is_alive() || row.state == 'D')
            {
                return Ok(());
            }
            pause(PASS_PAUSE);
            continue;
        }
        if is_late {
            let reason = "new processes appear faster than they can be stopped";
            return Err(FaultError::NotAvailable(reason.into()));
        }
        done.extend(&fresh);
        record.undo.push(FaultUndo::Thaw {
            processes: fresh.clone(),
        });
        records::write(data, record).map_err(|source| keep(&record.id, source))?;
        for process in fresh {
            signal(process, Signal::STOP)?;
        }
    }
}

/// Stops everything first, so that nobody sees anybody die, then kills until nothing is left.
fn kill(living: impl Fn() -> io::Result<Vec<ProcessRow>>) -> Result<(), FaultError> {
    let deadline = clock::now() + PASS_LIMIT;
    loop {
        let rows = living().map_err(FaultError::Unseen)?;
        if rows.is_empty() {
            return Ok(());
        }
        if clock::now() >= deadline {
            return Err(FaultError::NotAvailable(
                "processes do not end by SIGKILL".into(),
            ));
        }
        for number in [Signal::STOP, Signal::KILL] {
            for row in &rows {
                signal(row.identity, number)?;
            }
        }
        pause(PASS_PAUSE);
    }
}

/// Kills the instance whenever it shows itself, until its node has had the time to see that it is held down.
fn take_down(data: &Path, target: &str) -> Result<(), FaultError> {
    let deadline = clock::now() + PASS_LIMIT;
    let mut quiet_since = clock::now();
    while clock::now() - quiet_since < QUIET {
        if let Ok(process) = scope::instance(data, target) {
            if clock::now() >= deadline {
                let reason = format!("{target} is started again and again by its node");
                return Err(FaultError::NotAvailable(reason));
            }
            signal(process, Signal::KILL)?;
            quiet_since = clock::now();
        }
        pause(PASS_PAUSE);
    }
    Ok(())
}

pub(super) fn pause(duration: Duration) {
    let request = rustix::time::Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    };
    // Cut short by a signal, the next pass comes earlier.
    let _ = rustix::thread::nanosleep(&request);
}

fn set_conditions(conditions: &[(WireSpec, WireCondition)]) -> Result<(), FaultError> {
    for (spec, condition) in conditions {
        wire::set_condition(spec, condition)?;
    }
    Ok(())
}

/// What each wire is told. `hosts` are those of a crash.
fn conditions(
    data: &Path,
    record: &FaultRecord,
    hosts: &[LaunchRecord],
) -> Result<Vec<(WireSpec, WireCondition)>, FaultError> {
    let wires = scope::wires(data);
    let chosen = match record.kind {
        FaultKind::HostCrash | FaultKind::RegionCrash => around(data, &wires, hosts),
        FaultKind::Cut | FaultKind::Delay | FaultKind::Loss | FaultKind::Throttle => {
            between(&wires, record)?
        }
        FaultKind::ProcessKill
        | FaultKind::ProcessDown
        | FaultKind::Stress
        | FaultKind::ProcessFreeze
        | FaultKind::HostFreeze
        | FaultKind::RegionFreeze => Vec::new(),
    };
    Ok(chosen
        .into_iter()
        .map(|(spec, effect, hosts)| {
            let condition = WireCondition {
                id: record.id.clone(),
                effect,
                hosts,
                port: record.parameters.detail.door.as_ref().map(|door| door.port),
                deadline_boottime_ns: record.deadline_boottime_ns,
                boot_id: record.boot_id.clone(),
            };
            (spec.clone(), condition)
        })
        .collect())
}

type Chosen<'a> = (&'a WireSpec, WireEffect, Option<Vec<String>>);

/// The wires of crashed hosts. Where a region has further hosts, only the doors to the crashed ones are
/// cut: a wire cannot tell which host of its region a connection comes from, and dead ones make none.
fn around<'a>(data: &Path, wires: &'a [WireSpec], hosts: &[LaunchRecord]) -> Vec<Chosen<'a>> {
    let regions: BTreeSet<&str> = hosts.iter().map(|host| host.region.as_str()).collect();
    let down: BTreeSet<&str> = hosts.iter().map(|host| host.host.as_str()).collect();
    let whole = |region: &str| {
        scope::hosts(data)
            .iter()
            .filter(|host| host.region == region)
            .all(|host| down.contains(host.host.as_str()))
    };
    let names: Vec<String> = down.iter().map(|name| (*name).to_owned()).collect();
    wires
        .iter()
        .filter_map(|spec| {
            let (leads_out, leads_in) = (
                regions.contains(spec.from.as_str()),
                regions.contains(spec.to.as_str()),
            );
            if (leads_out && whole(&spec.from)) || (leads_in && whole(&spec.to)) {
                Some((spec, WireEffect::Crash, None))
            } else if leads_in {
                Some((spec, WireEffect::Crash, Some(names.clone())))
            } else {
                None
            }
        })
        .collect()
}

/// The wires of a cut or a delay.
fn between<'a>(wires: &'a [WireSpec], record: &FaultRecord) -> Result<Vec<Chosen<'a>>, FaultError> {
    if wires.is_empty() {
        return Err(FaultError::NotAvailable(
            "no wires run between regions here, so there is nothing to cut or slow".into(),
        ));
    }
    let regions: BTreeSet<&str> = wires
        .iter()
        .flat_map(|spec| [spec.from.as_str(), spec.to.as_str()])
        .collect();
    let parameters = &record.parameters;
    for name in [Some(&record.target), parameters.to.as_ref()]
        .into_iter()
        .flatten()
    {
        if !regions.contains(name.as_str()) {
            let known = regions.iter().map(|region| (*region).to_owned()).collect();
            return Err(FaultError::UnknownTarget {
                what: "region",
                name: name.clone(),
                known,
            });
        }
    }
    if let Some(door) = &parameters.detail.door {
        return at_door(wires, record, door);
    }
    let is_other = |region: &str| match &parameters.to {
        Some(to) => region == to,
        None => region != record.target,
    };
    let effects = shape::effects(record.kind, parameters);
    let chosen: Vec<Chosen<'a>> = wires
        .iter()
        .filter_map(|spec| {
            if spec.from == spec.to {
                None
            } else if spec.from == record.target && is_other(&spec.to) {
                Some((spec, effects.0, None))
            } else if spec.to == record.target && is_other(&spec.from) {
                Some((spec, effects.1, None))
            } else {
                None
            }
        })
        .collect();
    if chosen.is_empty() {
        return Err(FaultError::BadRequest(
            "a region is not cut from itself".into(),
        ));
    }
    Ok(chosen)
}

/// The one wire that leads to a door.
fn at_door<'a>(
    wires: &'a [WireSpec],
    record: &FaultRecord,
    door: &FaultDoor,
) -> Result<Vec<Chosen<'a>>, FaultError> {
    let leads_there = |spec: &&WireSpec| {
        spec.from == record.target
            && spec
                .doors
                .iter()
                .any(|known| known.host == door.host && known.listen.port() == door.port)
    };
    let Some(spec) = wires.iter().find(leads_there) else {
        return Err(FaultError::NotAvailable(format!(
            "no wire leads from {} to port {} of {}",
            record.target, door.port, door.host
        )));
    };
    let effect = shape::at_door(record.kind, &record.parameters, door.ways);
    Ok(vec![(spec, effect, Some(vec![door.host.clone()]))])
}
