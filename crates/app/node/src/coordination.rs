//! Where this platform's journal stands, as one of its nodes or a command on its machine reaches it.

mod bucket;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use mainstay_backup::Access;
use mainstay_derive::{Layout, Machine, etcd_endpoints, identity_files, search_path};
use mainstay_identity::Identity;
use mainstay_model::address::Slot;
use mainstay_model::coordination::{Coordination, Etcd, EtcdEndpoint, EtcdMembers, Security};
use mainstay_model::{Host, Platform};
use mainstay_record::backup::StoreOptionsRecord;
use mainstay_record::identity::{IdentityFiles, NODE_ROLE};
use mainstay_record::node::MachineRecord;
use mainstay_rt::error::chain;
use mainstay_storage::{Archive, ArchiveFolder, Endpoint, EtcdPlace, Place};

use self::bucket::{BucketArchive, Trust};
use crate::context::read_platform;

/// Between two looks whether parts can leave etcd.
const ARCHIVE_PERIOD: Duration = Duration::from_secs(15);

/// Whether the section keeps the journal where it was under `before`; if not, why that is refused.
///
/// # Errors
/// A sentence for the operator.
pub fn stays(before: &Coordination, now: &Coordination) -> Result<(), &'static str> {
    match now.keeps_the_journal_of(before) {
        true => Ok(()),
        false => Err(
            "spec.coordination says where the journal stands, and a platform cannot go on without its journal",
        ),
    }
}

/// Whether what the platform needs for its coordination is installed.
///
/// # Errors
/// What is missing, for the operator.
pub fn is_installed(platform: &Platform, program: &Path) -> Result<(), String> {
    let needs = platform.coordination().etcd();
    if needs.is_none_or(|etcd| etcd.own_hosts().is_empty()) {
        return Ok(());
    }
    let path = search_path(program);
    let found = std::env::split_paths(&path).any(|folder| folder.join("etcd").is_file());
    match found {
        true => Ok(()),
        false => Err(format!("the program `etcd` is not to be found in {path}")),
    }
}

/// As a command on the machine reaches it.
///
/// # Errors
/// When the platform file in force, or a certificate that is needed, cannot be read.
pub fn of_machine(record: &MachineRecord, layout: &Layout) -> anyhow::Result<Place> {
    let (platform, _) = read_platform(&layout.platform_file(), record.distance_us)?;
    let slot =
        Slot::new(record.slot).with_context(|| format!("slot {} is out of range", record.slot))?;
    let machine = Machine {
        platform: &platform,
        slot,
        layout,
        program: &record.program,
        installed: &record.program,
        server_user: None,
        server_programs: None,
    };
    place(&machine, None, None)
}

/// As the node of `reader` reaches it, showing its certificate; as anybody on the machine does without them.
///
/// # Errors
/// When certificates are needed and cannot be read.
pub fn place(
    machine: &Machine<'_>,
    reader: Option<&Host>,
    shown: Option<Arc<Identity>>,
) -> anyhow::Result<Place> {
    let Coordination::Etcd(etcd) = machine.platform.coordination() else {
        return Ok(Place::folder(&machine.layout.journal()));
    };
    let endpoints: Vec<Endpoint> = match &etcd.members {
        EtcdMembers::External { endpoints, .. } => endpoints.iter().map(external).collect(),
        EtcdMembers::Own { .. } => etcd_endpoints(machine, reader)
            .into_iter()
            .map(|(address, name)| Endpoint {
                host: address.ip().to_string(),
                port: address.port(),
                prove: Some(name),
            })
            .collect(),
    };
    let identity = match endpoints.iter().any(|endpoint| endpoint.prove.is_some()) {
        true => Some(identity(machine, etcd, shown)?),
        false => None,
    };
    let trust = match reader {
        Some(_) => Trust::Copies,
        None => Trust::Bucket,
    };
    Ok(Place::Etcd(EtcdPlace {
        endpoints,
        identity,
        prefix: etcd.prefix.clone(),
        archive: Some(archive_of(machine, etcd, trust)),
    }))
}

/// Where sealed parts lie. Copies of a bucket's stand where they would stand without one.
fn archive_of(machine: &Machine<'_>, etcd: &Etcd, trust: Trust) -> Arc<dyn Archive> {
    let copies = machine.layout.journal();
    let Some(archive) = &etcd.archive else {
        return Arc::new(ArchiveFolder::at(&copies));
    };
    if archive.starts_with('/') {
        return Arc::new(ArchiveFolder::at(Path::new(archive)));
    }
    let options = etcd
        .archive_options
        .iter()
        .map(|options| StoreOptionsRecord {
            store: options.store.clone(),
            region: options.region.clone(),
            endpoint: options.endpoint.clone(),
            allow_http: options.allow_http,
        });
    let access = Access {
        options: options.collect(),
        credentials: Some(machine.layout.journal_credentials()),
    };
    Arc::new(BucketArchive::new(archive, access, copies, trust))
}

fn external(endpoint: &EtcdEndpoint) -> Endpoint {
    Endpoint {
        host: endpoint.host.clone(),
        port: endpoint.port,
        prove: match endpoint.security {
            Security::Tls => Some(endpoint.host.clone()),
            Security::Clear => None,
        },
    }
}

/// What a node shows to etcd. A command shows what any node of the machine would.
fn identity(
    machine: &Machine<'_>,
    etcd: &Etcd,
    shown: Option<Arc<Identity>>,
) -> anyhow::Result<Arc<Identity>> {
    if let EtcdMembers::External {
        identity: Some(given),
        ..
    } = &etcd.members
    {
        let files = IdentityFiles {
            own: Path::new(&given.own).to_path_buf(),
            roots: Path::new(&given.roots).to_path_buf(),
        };
        return Identity::open(files).context("read what etcd is shown");
    }
    if let Some(shown) = shown {
        return Ok(shown);
    }
    let hosts = machine.platform.hosts().iter();
    let files = hosts
        .map(|host| identity_files(machine, host, NODE_ROLE))
        .find(|files| files.own.exists());
    let files = files.context("no node of this machine has a certificate yet")?;
    let identity = Identity::read(files).context("read a node's certificate")?;
    Ok(Arc::new(identity))
}

/// Moves sealed parts out of etcd while this node leads, on a thread of its own: a store may be slow, and the leader
/// must not be.
pub fn archive_while_leading(etcd: EtcdPlace, keep: usize, leads: Arc<AtomicBool>) {
    let started = std::thread::Builder::new()
        .name("journal-archive".to_owned())
        .spawn(move || {
            loop {
                std::thread::park_timeout(ARCHIVE_PERIOD);
                if leads.load(Ordering::Relaxed) {
                    archive(&etcd, keep);
                }
            }
        });
    if let Err(error) = started {
        tracing::error!(%error, "sealed parts stay in etcd: their thread cannot be started");
    }
}

fn archive(place: &EtcdPlace, keep: usize) {
    let moved = mainstay_storage::Etcd::open(place).and_then(|mut etcd| etcd.archive_sealed(keep));
    match moved {
        Ok(0) => {}
        Ok(moved) => tracing::info!(moved, "sealed parts of the journal went to the archive"),
        Err(error) => tracing::warn!(
            error = chain(&error),
            "sealed parts of the journal stay in etcd for now"
        ),
    }
}
