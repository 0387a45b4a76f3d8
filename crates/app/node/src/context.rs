//! What a node knows from its start: which host it is, of which platform, and where things stand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use mainstay_derive::{Layout, Machine};
use mainstay_host::launch;
use mainstay_manifest::{FILE_BYTES_MAX, load, render};
use mainstay_model::address::Slot;
use mainstay_model::{Host, Platform};
use mainstay_record::node::MachineRecord;
use mainstay_rt::files;
use rustix::process::getuid;
use sha2::{Digest, Sha256};

use crate::{place, program};

/// Whom PostgreSQL runs as where Mainstay runs as root.
const SERVER_USER: &str = "postgres";

/// The platform file in force and where it runs.
#[derive(Clone, Debug)]
pub struct Context {
    pub record: MachineRecord,
    pub layout: Layout,
    pub platform: Platform,
    /// SHA-256 of the file's text, hexadecimal.
    pub digest: String,
    pub host: Host,
    /// What this host's own processes are started from.
    pub program: PathBuf,
    /// Its digest, if it is not the machine's own.
    pub program_digest: Option<String>,
    slot: Slot,
    programs: Option<PathBuf>,
}

impl Context {
    pub fn open(data: &Path, host: &str) -> anyhow::Result<Self> {
        let (record, layout) = place::read(data)?;
        let (platform, digest) = read_platform(&layout.platform_file(), record.distance_us)?;
        let taken = program::read(&layout, host)?;
        let told = std::env::var_os(launch::NODE_PROGRAM).map(PathBuf::from);
        let runs = program::of_node(&layout, told, taken, &record.program);
        Self::new(record, layout, platform, digest, host, runs)
    }

    fn new(
        record: MachineRecord,
        layout: Layout,
        platform: Platform,
        digest: String,
        host: &str,
        (program, program_digest): (PathBuf, Option<String>),
    ) -> anyhow::Result<Self> {
        let slot = Slot::new(record.slot)
            .ok_or_else(|| anyhow!("slot {} is out of range", record.slot))?;
        let host = platform
            .host(host)
            .cloned()
            .with_context(|| format!("the platform has no host {host}"))?;
        let programs = std::env::var_os("PG_BIN").map(PathBuf::from);
        Ok(Self {
            record,
            layout,
            platform,
            digest,
            host,
            program,
            program_digest,
            slot,
            programs,
        })
    }

    /// The same host under another version of the platform file.
    pub fn with_file(&self, digest: &str) -> anyhow::Result<Self> {
        let path = file_of(&self.layout, digest);
        let (platform, found) = read_platform(&path, self.record.distance_us)?;
        if found != digest {
            bail!(
                "{} is not the file that was journalled ({found})",
                path.display()
            );
        }
        let (record, layout) = (self.record.clone(), self.layout.clone());
        // What this node runs it runs until it leaves.
        let runs = (self.program.clone(), self.program_digest.clone());
        Self::new(
            record,
            layout,
            platform,
            found,
            self.host.name.as_str(),
            runs,
        )
    }

    pub fn machine(&self) -> Machine<'_> {
        Machine {
            platform: &self.platform,
            slot: self.slot,
            layout: &self.layout,
            program: &self.program,
            installed: &self.record.program,
            server_user: getuid().is_root().then_some(SERVER_USER),
            server_programs: self.programs.as_deref(),
        }
    }

    pub fn slot(&self) -> Slot {
        self.slot
    }

    pub fn name(&self) -> &str {
        self.host.name.as_str()
    }

    /// The other hosts, each with the address of its node as seen from here.
    pub fn peers(&self) -> Vec<(String, std::net::SocketAddr)> {
        let machine = self.machine();
        let others = self
            .platform
            .hosts()
            .iter()
            .filter(|host| host.name != self.host.name);
        others
            .map(|host| (host.name.to_string(), machine.node_reach(&self.host, host)))
            .collect()
    }
}

/// Where a version of the platform file is kept, by the digest of its text.
pub fn file_of(layout: &Layout, digest: &str) -> PathBuf {
    layout.data().join("files").join(format!("{digest}.yaml"))
}

/// Keeps a version of the platform file, so that every node of the machine can read what was journalled.
pub fn keep_file(layout: &Layout, text: &str) -> std::io::Result<String> {
    let digest = digest_of(text.as_bytes());
    let path = file_of(layout, &digest);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    files::write_atomic(&path, text.as_bytes())?;
    Ok(digest)
}

pub fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn read_platform(
    path: &Path,
    distance_us: Option<u64>,
) -> anyhow::Result<(Platform, String)> {
    let bytes = files::read_limited(path, FILE_BYTES_MAX as u64)
        .with_context(|| format!("read the platform file {}", path.display()))?;
    let text =
        String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
    let platform = load(&path.display().to_string(), &text)
        .map_err(|diagnostics| anyhow!(render(&diagnostics)))?;
    let platform = match distance_us {
        Some(us) => platform.with_distance(Duration::from_micros(us)),
        None => platform,
    };
    Ok((platform, digest_of(text.as_bytes())))
}
