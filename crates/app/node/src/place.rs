//! Which platform of this machine is meant, and where it stands.
//!
//! A platform is found by its data folder: the one given, else the default. What the machine knows of it
//! stands there in `machine.json`; without that record there is no platform.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_derive::Layout;
use mainstay_record::node::{MachineRecord, VERSION};
use mainstay_rt::files;
use rustix::process::getuid;

const RECORD_LIMIT: u64 = 1 << 20;

/// Why no platform was found in a folder.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("no platform in {}", .0.display())]
    None(PathBuf),
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} is not a machine record: {problem}", path.display())]
    Form { path: PathBuf, problem: String },
    #[error("{} was written by another version of Mainstay ({version})", path.display())]
    Version { path: PathBuf, version: u32 },
    #[error("no default data folder: set HOME, or give --data")]
    NoDefault,
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// `/var/lib/mainstay` as root, the XDG data folder otherwise.
///
/// # Errors
/// When an ordinary user has neither `XDG_DATA_HOME` nor `HOME`.
pub fn default_data() -> Result<PathBuf, PlaceError> {
    if getuid().is_root() {
        return Ok(PathBuf::from("/var/lib/mainstay"));
    }
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
        .map(|folder| folder.join("mainstay"))
        .ok_or(PlaceError::NoDefault)
}

pub fn run_base_of_root() -> PathBuf {
    PathBuf::from("/run/mainstay")
}

/// Where run folders of platforms stand: short, and gone with the boot.
pub fn run_base() -> PathBuf {
    let uid = getuid();
    if uid.is_root() {
        return run_base_of_root();
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("mainstay"),
        None => PathBuf::from(format!("/tmp/mainstay-{}", uid.as_raw())),
    }
}

/// The platform in a data folder.
///
/// # Errors
/// [`PlaceError::None`] if there is none; otherwise what is wrong with its record.
pub fn read(data: &Path) -> Result<(MachineRecord, Layout), PlaceError> {
    let path = data.join("machine.json");
    let bytes = match files::read_limited(&path, RECORD_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PlaceError::None(data.to_path_buf()));
        }
        Err(error) => return Err(PlaceError::Read(path, error)),
    };
    let record: MachineRecord =
        serde_json::from_slice(&bytes).map_err(|error| PlaceError::Form {
            path: path.clone(),
            problem: error.to_string(),
        })?;
    if record.version != VERSION {
        return Err(PlaceError::Version {
            path,
            version: record.version,
        });
    }
    let layout = Layout::new(data, &record.run_folder);
    Ok((record, layout))
}

/// Makes the record durable.
///
/// # Errors
/// Whatever the file system says.
pub fn write(layout: &Layout, record: &MachineRecord) -> Result<(), PlaceError> {
    let path = layout.machine_record();
    let written = serde_json::to_vec_pretty(record).map_err(io::Error::from);
    written
        .and_then(|bytes| files::write_atomic(&path, &bytes))
        .map_err(|error| PlaceError::Write(path, error))
}

/// Every host that has a folder: the nodes whose memories bear on the journal.
///
/// # Errors
/// Whatever the file system says.
pub fn node_folders(layout: &Layout) -> io::Result<Vec<(String, PathBuf)>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(layout.hosts())? {
        let host = entry?.file_name().to_string_lossy().into_owned();
        let folder = layout.node(&host);
        nodes.push((host, folder));
    }
    nodes.sort();
    Ok(nodes)
}
