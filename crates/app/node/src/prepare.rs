//! Everything that must stand on disk before the first process of a platform starts.
//!
//! A platform claims a *slot*, a block of loopback addresses, so that several can run on one machine. The
//! claim is a file that says for which data folder; it is taken over when that folder no longer says so.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_derive::{
    APPLICATION_ROLE, KEEPER_ROLES, Layout, Machine, password_file_text, wire_specs,
};
use mainstay_model::Platform;
use mainstay_model::address::Slot;
use mainstay_record::node::{MachineRecord, VERSION};
use mainstay_rt::{entropy, files};

use crate::context::keep_file;
use crate::machine::make_host_folders;
use crate::place::{self, PlaceError};

/// Between a claim and the record of whoever made it.
const CLAIM_YOUNG: std::time::Duration = std::time::Duration::from_secs(10);
const CLAIM_LIMIT: u64 = 4096;
const SPEC_LIMIT: u64 = 16 << 20;
/// Bytes of entropy in a password; written as hexadecimal.
const PASSWORD_BYTES: usize = 24;

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("prepare {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    #[error(
        "all {0} slots of this machine are taken by other platforms: stop one with `mainstay down --data DIR`"
    )]
    NoSlot(u8),
    #[error(
        "{} holds the platform `{there}`, and the file is of `{given}`: give another --data",
        data.display()
    )]
    OtherPlatform {
        data: PathBuf,
        there: String,
        given: String,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    let path = path.to_path_buf();
    move |error| PrepareError::Io(path, error)
}

/// Makes folders, secrets and the machine's record, or finds them made. Nothing that exists is changed,
/// except the program and the distance.
///
/// # Errors
/// When the data folder is another platform's, or cannot be written.
pub fn prepare(
    data: &Path,
    platform: &Platform,
    text: &str,
    distance_us: Option<u64>,
    program: PathBuf,
) -> Result<(MachineRecord, Layout), PrepareError> {
    let name = platform.name().as_str();
    let known = match place::read(data) {
        Ok((record, _)) if record.platform == name => Some(record),
        Ok((record, _)) => {
            let (there, given) = (record.platform, name.to_owned());
            return Err(PrepareError::OtherPlatform {
                data: data.to_path_buf(),
                there,
                given,
            });
        }
        Err(PlaceError::None(_)) => None,
        Err(error) => return Err(error.into()),
    };
    // Others must pass through to PostgreSQL's data folders, which may belong to another user.
    private_folder(data, 0o711)?;
    let slot = claim_slot(data, known.as_ref().map(|record| record.slot))?;
    let run_folder = place::run_base().join(slot.to_string());
    private_folder(&run_folder, 0o711)?;
    let layout = Layout::new(data, &run_folder);
    for folder in [layout.faults(), layout.wires(), layout.hosts()] {
        private_folder(&folder, 0o711)?;
    }
    private_folder(&layout.secrets(), 0o700)?;
    make_host_folders(&layout, platform).map_err(at(data))?;
    make_secrets(&layout, platform)?;
    let file = layout.platform_file();
    // Without a record nothing was ever started: a file that lies there is of an attempt that ended before.
    if known.is_none() || !file.exists() {
        keep_file(&layout, text).map_err(at(&file))?;
        files::write_atomic(&file, text.as_bytes()).map_err(at(&file))?;
    }
    write_wires(&layout, platform, slot, distance_us, &program)?;
    let record = MachineRecord {
        version: VERSION,
        platform: name.to_owned(),
        slot: slot.number(),
        run_folder,
        file,
        distance_us,
        program,
    };
    place::write(&layout, &record)?;
    Ok((record, layout))
}

/// Makes room for what a changed file adds, once it is in force: hosts, wires, and the file itself.
/// Returns the folders of wires whose specification is another one now.
///
/// # Errors
/// When the data folder cannot be written.
pub fn extend(
    layout: &Layout,
    platform: &Platform,
    text: &str,
) -> Result<Vec<PathBuf>, PrepareError> {
    let (record, _) = place::read(layout.data())?;
    let slot = Slot::new(record.slot).ok_or(PrepareError::NoSlot(record.slot))?;
    let changed = write_wires(layout, platform, slot, record.distance_us, &record.program)?;
    let file = layout.platform_file();
    files::write_atomic(&file, text.as_bytes()).map_err(at(&file))?;
    // Last: a host that has a folder gets a node, which reads the file.
    make_host_folders(layout, platform).map_err(at(layout.data()))?;
    Ok(changed)
}

/// The wires' specifications; a wire that runs keeps its own until it is started again.
fn write_wires(
    layout: &Layout,
    platform: &Platform,
    slot: Slot,
    distance_us: Option<u64>,
    program: &Path,
) -> Result<Vec<PathBuf>, PrepareError> {
    let everywhere =
        distance_us.map(|us| platform.clone().with_distance(Duration::from_micros(us)));
    let platform = everywhere.as_ref().unwrap_or(platform);
    let machine = Machine {
        platform,
        slot,
        layout,
        program,
        installed: program,
        server_user: None,
        server_programs: None,
    };
    let mut changed = Vec::new();
    for spec in wire_specs(&machine) {
        let path = layout.wire_spec(&spec.from, &spec.to);
        private_folder(&layout.wire(&spec.from, &spec.to), 0o700)?;
        let bytes = serde_json::to_vec_pretty(&spec).map_err(|error| at(&path)(error.into()))?;
        let known = files::read_limited(&path, SPEC_LIMIT).ok();
        if known.as_ref() != Some(&bytes) {
            files::write_atomic(&path, &bytes).map_err(at(&path))?;
            changed.push(layout.wire(&spec.from, &spec.to));
        }
    }
    Ok(changed)
}

fn private_folder(path: &Path, mode: u32) -> Result<(), PrepareError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

/// Passwords are drawn once and never shown.
///
/// # Errors
/// When the folder for secrets cannot be written.
pub fn make_secrets(layout: &Layout, platform: &Platform) -> Result<(), PrepareError> {
    for database in platform.databases() {
        let name = database.name.as_str();
        for role in KEEPER_ROLES.into_iter().chain([APPLICATION_ROLE]) {
            let path = layout.password(name, role);
            if !path.exists() {
                files::write_atomic(&path, password().as_bytes()).map_err(at(&path))?;
            }
        }
        let application = layout.password(name, APPLICATION_ROLE);
        let password = fs::read_to_string(&application).map_err(at(&application))?;
        let path = layout.password_file(name);
        files::write_atomic(
            &path,
            password_file_text(APPLICATION_ROLE, &password).as_bytes(),
        )
        .map_err(at(&path))?;
    }
    Ok(())
}

/// Drawn, and easy to carry: it needs no quoting anywhere.
pub(crate) fn password() -> String {
    let mut bytes = [0; PASSWORD_BYTES];
    entropy::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The slot that this data folder had, or a free one.
fn claim_slot(data: &Path, preferred: Option<u8>) -> Result<Slot, PrepareError> {
    let folder = place::run_base();
    private_folder(&folder, 0o711)?;
    let numbers = preferred.into_iter().chain(Slot::MIN..=Slot::MAX);
    for slot in numbers.filter_map(Slot::new) {
        let path = folder.join(format!("slot-{slot}"));
        if try_claim(&path, data, slot).map_err(at(&path))? {
            return Ok(slot);
        }
    }
    Err(PrepareError::NoSlot(Slot::MAX))
}

/// Whoever claimed it a moment ago has no record yet, and is about to write one.
fn is_young(claim: &Path) -> bool {
    let made = fs::metadata(claim).and_then(|metadata| metadata.modified());
    let age = made.ok().and_then(|made| made.elapsed().ok());
    age.is_none_or(|age| age < CLAIM_YOUNG)
}

fn try_claim(path: &Path, data: &Path, slot: Slot) -> io::Result<bool> {
    let claim = data.display().to_string();
    let is_ours = files::read_limited(path, CLAIM_LIMIT).is_ok_and(|held| held == claim.as_bytes());
    // Other users keep their claims elsewhere, but the addresses are the same machine's.
    if !is_ours
        && is_used(
            slot,
            &fs::read_to_string("/proc/net/tcp").unwrap_or_default(),
        )
    {
        return Ok(false);
    }
    let of_root = place::run_base_of_root().join(format!("slot-{slot}"));
    if of_root != path && of_root.exists() {
        return Ok(false);
    }
    match files::publish_new(path, claim.as_bytes()) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let holder = String::from_utf8_lossy(&files::read_limited(path, CLAIM_LIMIT)?).into_owned();
    if holder == claim {
        return Ok(true);
    }
    let held =
        place::read(Path::new(&holder)).is_ok_and(|(record, _)| record.slot == slot.number());
    if held || is_young(path) {
        return Ok(false);
    }
    files::write_atomic(path, claim.as_bytes()).map(|()| true)
}

/// Whether anybody listens on an address of the slot, as the table of sockets (proc(5)) says.
fn is_used(slot: Slot, table: &str) -> bool {
    let listens = |row: &str| {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        // The address stands there as a number in the machine's own order of bytes.
        let address = u32::from_str_radix(local.split_once(':')?.0, 16).ok()?;
        let [first, second, ..] = address.to_ne_bytes();
        Some(state == "0A" && first == 127 && second == slot.number())
    };
    table.lines().any(|row| listens(row).unwrap_or(false))
}

/// Gives the slot back.
pub fn release_slot(record: &MachineRecord, layout: &Layout) {
    // Beside the run folder, which may be another user's than the one who stops it.
    let base = record.run_folder.parent().unwrap_or(&record.run_folder);
    let path = base.join(format!("slot-{}", record.slot));
    let ours = files::read_limited(&path, CLAIM_LIMIT)
        .is_ok_and(|holder| holder == layout.data().display().to_string().as_bytes());
    if ours {
        // A claim that stays is taken over by the next platform that looks for a slot.
        fs::remove_file(path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_while_somebody_listens_there() {
        let listener = std::net::TcpListener::bind("127.197.1.1:0").expect("bind");
        let slot = |number| Slot::new(number).expect("in range");
        let table = || fs::read_to_string("/proc/net/tcp").expect("table");
        assert!(is_used(slot(197), &table()));
        drop(listener);
        assert!(!is_used(slot(197), &table()));
        assert!(!is_used(slot(1), ""));
    }
}
