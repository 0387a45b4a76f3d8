//! What belongs to a host and to a region.
//!
//! A host is its node, its shims, and everything below its shims. Not below its node: guardians and the
//! shims of wires are children of whichever node started them and belong to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use mainstay_record::process::{FaultKind, LaunchRecord, ProcessIdentity, ShimState, WireSpec};
use mainstay_rt::files;

use super::FaultError;
use crate::identity::{self, ProcessRow};
use crate::{launch, shim, wire};

/// `hosts/HOST/databases/DB/postgres-state.json` is the deepest place of a shim's state.
const DEPTH: usize = 3;
const FILE_LIMIT: u64 = 1 << 20;
/// The name under which a node is addressed among the instances of its host.
pub(crate) const NODE: &str = "node";

pub(crate) fn launch_path(data: &Path, host: &str) -> PathBuf {
    data.join("hosts").join(host).join(NODE).join("launch.json")
}

/// Every host whose node ever ran here.
pub(crate) fn hosts(data: &Path) -> Vec<LaunchRecord> {
    let mut names: Vec<String> = std::fs::read_dir(data.join("hosts"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| launch::read_launch(&launch_path(data, name)).ok())
        .collect()
}

/// The hosts a fault of this kind and target is about.
pub(crate) fn hosts_of(
    data: &Path,
    kind: FaultKind,
    target: &str,
) -> Result<Vec<LaunchRecord>, FaultError> {
    let all = hosts(data);
    let (what, name): (&'static str, fn(&LaunchRecord) -> &str) = match kind {
        FaultKind::RegionCrash | FaultKind::RegionFreeze => ("region", |host| &host.region),
        FaultKind::HostCrash
        | FaultKind::HostFreeze
        | FaultKind::ProcessKill
        | FaultKind::ProcessFreeze
        | FaultKind::ProcessDown
        | FaultKind::Stress
        | FaultKind::Cut
        | FaultKind::Delay
        | FaultKind::Loss
        | FaultKind::Throttle => ("host", |host| &host.host),
    };
    let known: BTreeSet<String> = all.iter().map(|host| name(host).to_owned()).collect();
    let found: Vec<LaunchRecord> = all
        .into_iter()
        .filter(|host| name(host) == target)
        .collect();
    if found.is_empty() {
        return Err(FaultError::UnknownTarget {
            what,
            name: target.to_owned(),
            known: known.into_iter().collect(),
        });
    }
    Ok(found)
}

/// Every wire that was ever set up.
pub(crate) fn wires(data: &Path) -> Vec<WireSpec> {
    let mut specs: Vec<WireSpec> = std::fs::read_dir(data.join("wires"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let bytes = files::read_limited(&entry.path().join("spec.json"), FILE_LIMIT).ok()?;
            serde_json::from_slice(&bytes).ok()
        })
        .collect();
    specs.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    specs
}

/// The states of all shims of a host.
pub(crate) fn shims(data: &Path, host: &str) -> Vec<ShimState> {
    states_below(&data.join("hosts").join(host), DEPTH)
}

fn states_below(folder: &Path, depth: usize) -> Vec<ShimState> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        // A data folder of PostgreSQL has thousands of files and none of ours.
        if kind.is_dir() && depth > 0 && name != "pgdata" {
            found.extend(states_below(&entry.path(), depth - 1));
        } else if kind.is_file() && name.ends_with("state.json") {
            found.extend(shim::read_state(&entry.path()));
        }
    }
    found
}

/// Processes that a fault never touches: itself, guardians, wires and their shims.
pub(crate) fn spared(data: &Path) -> BTreeSet<ProcessIdentity> {
    let mut spared: BTreeSet<ProcessIdentity> = identity::this().into_iter().collect();
    spared.extend(
        super::records::all(data)
            .into_iter()
            .filter_map(|record| record.guardian),
    );
    for spec in wires(data) {
        spared.extend(wire::read_state(&spec.state).and_then(|state| state.wire));
        let states = spec
            .state
            .parent()
            .map(|folder| states_below(folder, 0))
            .unwrap_or_default();
        spared.extend(states.iter().map(|state| state.shim));
    }
    spared
}

/// All living processes of a host: its node first, so that it cannot react to what befalls the others.
///
/// # Errors
/// When they cannot be seen, which must not be taken for none.
pub(crate) fn processes(data: &Path, host: &str) -> io::Result<Vec<ProcessRow>> {
    Living::look(data)?.of(data, host)
}

/// The processes of the machine, as one look saw them, and those among them that no fault touches.
pub(crate) struct Living {
    table: BTreeMap<u32, ProcessRow>,
    spared: BTreeSet<ProcessIdentity>,
}

impl Living {
    pub(crate) fn look(data: &Path) -> io::Result<Self> {
        Ok(Self {
            table: identity::table()?,
            spared: spared(data),
        })
    }

    /// As [`processes`].
    pub(crate) fn of(&self, data: &Path, host: &str) -> io::Result<Vec<ProcessRow>> {
        let mut found: BTreeMap<u32, ProcessRow> = BTreeMap::new();
        let mut add = |row: &ProcessRow| {
            if row.is_alive() && !self.spared.contains(&row.identity) {
                found.insert(row.identity.pid, *row);
            }
        };
        let row = |process: ProcessIdentity| {
            let row = self.table.get(&process.pid);
            row.filter(|row| row.identity == process)
        };
        let node = launch::read_launch(&launch_path(data, host)).ok();
        let node = node.and_then(|launch| row(launch.process));
        for state in shims(data, host) {
            for process in [Some(state.shim), state.child].into_iter().flatten() {
                if let Some(row) = row(process) {
                    add(row);
                    let below = identity::descendants(&self.table, process.pid);
                    below.iter().for_each(&mut add);
                }
            }
            let is_orphan =
                !identity::is_alive(state.shim) && state.child.is_some_and(identity::is_alive);
            if let (true, Some(mark)) = (is_orphan, &state.launch) {
                identity::marked(shim::MARK, mark)?
                    .iter()
                    .for_each(&mut add);
            }
        }
        if let Some(node) = node {
            found.remove(&node.identity.pid);
        }
        let node = node
            .filter(|row| row.is_alive() && !self.spared.contains(&row.identity))
            .copied();
        Ok(node.into_iter().chain(found.into_values()).collect())
    }
}

/// One process of a host and what is below it, but for what only happens to be there: a node is the parent of
/// the shims and guardians that it started, a keeper of its server's shim, and none of these is a part of it. Nobody if
/// it has left, whoever has its pid by then.
///
/// # Errors
/// As [`processes`].
pub(crate) fn family(
    data: &Path,
    host: &str,
    process: ProcessIdentity,
) -> io::Result<Vec<ProcessRow>> {
    let table = identity::table()?;
    let own = table.get(&process.pid).copied();
    let Some(own) = own.filter(|row| row.identity == process) else {
        return Ok(Vec::new());
    };
    let below = identity::descendants(&table, process.pid);
    let shims = shims(data, host).into_iter().map(|state| state.shim);
    let strangers: BTreeSet<ProcessIdentity> = shims.chain(spared(data)).collect();
    let mut apart: BTreeSet<u32> = BTreeSet::new();
    for stranger in below.iter().filter(|row| strangers.contains(&row.identity)) {
        let pid = stranger.identity.pid;
        apart.insert(pid);
        apart.extend(
            identity::descendants(&table, pid)
                .iter()
                .map(|row| row.identity.pid),
        );
    }
    let family = below
        .into_iter()
        .filter(|row| !apart.contains(&row.identity.pid));
    Ok(std::iter::once(own)
        .chain(family)
        .filter(ProcessRow::is_alive)
        .collect())
}

/// Whether it is the node that keeps an instance (`HOST/NAME`) running: not of itself, and not of a server, which its
/// keeper starts.
pub(crate) fn is_held_by_node(data: &Path, target: &str) -> bool {
    let Some((host, _)) = target.split_once('/') else {
        return false;
    };
    let folder = data.join("hosts").join(host).join("instances");
    let mut states = states_below(&folder, 1).into_iter();
    states.any(|state| state.instance == target)
}

/// The process an instance is (`HOST/NAME`), without its shim.
pub(crate) fn instance(data: &Path, target: &str) -> Result<ProcessIdentity, FaultError> {
    let unknown = |known: Vec<String>| FaultError::UnknownTarget {
        what: "running instance",
        name: target.to_owned(),
        known,
    };
    let Some((host, _)) = target.split_once('/') else {
        return Err(FaultError::BadRequest(format!(
            "{target:?} is not HOST/INSTANCE"
        )));
    };
    let mut running: BTreeMap<String, ProcessIdentity> = shims(data, host)
        .into_iter()
        .filter_map(|state| {
            Some((
                state.instance,
                state.child.filter(|child| identity::is_alive(*child))?,
            ))
        })
        .collect();
    if let Ok(launch) = launch::read_launch(&launch_path(data, host))
        && identity::is_alive(launch.process)
    {
        running.insert(format!("{host}/{NODE}"), launch.process);
    }
    running
        .get(target)
        .copied()
        .ok_or_else(|| unknown(running.into_keys().collect()))
}
