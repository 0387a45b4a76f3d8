//! What shall run on this host, and the files it starts from.
//!
//! Keepers and gateways follow from the platform file alone and never wait for the kernel. Services follow
//! from the kernel's placements; the last ones known are kept on disk, so that a node whose journal is out
//! of reach goes on with them instead of stopping what serves.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use mainstay_derive::{
    Placements, Shares, archiver_config, archiver_instance, etcd_instances, gateway_instance,
    gateway_snapshot, keeper_config, keeper_instance, objective_rules, relay_config,
    service_instance, watch_config, watch_instance,
};
use mainstay_kernel::State;
use mainstay_model::database::Database;
use mainstay_model::name::{HostName, RegionName, ServiceName};
use mainstay_record::gateway::GatewaySnapshot;
use mainstay_record::process::InstanceSpec;
use mainstay_rt::files;
use serde::{Deserialize, Serialize};

use crate::context::{Context, digest_of};
use crate::prepare::password;
use crate::replicas::{self, KnownReplicas};

const FILE_LIMIT: u64 = 16 << 20;
/// Bumped when an instance must be replaced although its description is the same; none such is known.
const SPEC_GENERATION: u64 = 1;
/// The same for keepers and gateways, which read where they prove themselves from when they start.
const IDENTIFIED_GENERATION: u64 = 2;

/// Which services have an instance where, as last decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPlacements {
    /// Service and hosts, in order of their names.
    placed: Vec<(String, Vec<String>)>,
    /// Hosts that gateways send nothing new to.
    #[serde(default)]
    drained: Vec<String>,
    /// Service, region, and the share of new requests there in percent.
    #[serde(default)]
    shifts: Vec<(String, String, u8)>,
    #[serde(default)]
    pub replicas: Vec<KnownReplicas>,
}

impl LastPlacements {
    pub fn of(state: &State) -> Self {
        let placed = state.placed.iter().map(|(service, hosts)| {
            (
                service.to_string(),
                hosts.iter().map(ToString::to_string).collect(),
            )
        });
        Self {
            placed: placed.collect(),
            drained: state.playbooks.drained.iter().cloned().collect(),
            shifts: state
                .playbooks
                .shifts
                .iter()
                .map(|((service, region), share)| (service.clone(), region.clone(), *share))
                .collect(),
            replicas: replicas::known(state),
        }
    }

    /// What an earlier run of this node kept; nothing if there was none.
    pub fn read(context: &Context) -> Self {
        let kept = files::read_limited(&path(context), FILE_LIMIT);
        kept.ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    pub fn keep(&self, context: &Context) -> io::Result<()> {
        files::write_atomic(&path(context), &serde_json::to_vec(self)?)
    }

    /// Databases and hosts of replicas that are not let go yet.
    pub fn leaving(&self) -> BTreeSet<(String, String)> {
        self.replicas
            .iter()
            .flat_map(KnownReplicas::leaving)
            .collect()
    }

    fn services_on(&self, host: &str) -> BTreeSet<&str> {
        let here = |(_, hosts): &&(String, Vec<String>)| hosts.iter().any(|other| other == host);
        self.placed
            .iter()
            .filter(here)
            .map(|(service, _)| service.as_str())
            .collect()
    }

    /// Those that gateways may send requests to.
    fn routed(&self) -> Placements {
        let mut routed = self.placements();
        for hosts in routed.values_mut() {
            hosts.retain(|host: &HostName| !self.drained.iter().any(|out| out == host.as_str()));
        }
        routed
    }

    fn shares(&self) -> Shares {
        self.shifts
            .iter()
            .filter_map(|(service, region, share)| {
                let shifted = (
                    ServiceName::new(service).ok()?,
                    RegionName::new(region).ok()?,
                );
                Some((shifted, *share))
            })
            .collect()
    }

    fn placements(&self) -> Placements {
        let names = |hosts: &[String]| {
            hosts
                .iter()
                .filter_map(|host| HostName::new(host).ok())
                .collect()
        };
        self.placed
            .iter()
            .filter_map(|(service, hosts)| Some((ServiceName::new(service).ok()?, names(hosts))))
            .collect()
    }
}

fn path(context: &Context) -> std::path::PathBuf {
    context.layout.node(context.name()).join("placements.json")
}

/// What shall run, and which gateways have a new snapshot to load.
#[derive(Debug, Default)]
pub struct Workloads {
    pub instances: Vec<InstanceSpec>,
    pub changed_gateways: Vec<String>,
}

/// Writes every configuration of this host and says what shall run.
pub fn prepare(context: &Context, placements: &LastPlacements) -> io::Result<Workloads> {
    let machine = context.machine();
    let mut workloads = Workloads::default();
    for (database, _) in context.platform.replicas_on(&context.host.name) {
        let path = context
            .layout
            .keeper_config(context.name(), database.name.as_str());
        if let Some(config) = keeper_config(&machine, database, &context.host) {
            replace(&path, &serde_json::to_vec_pretty(&config)?)?;
        }
        let spec = keeper_instance(&machine, database, &context.host, IDENTIFIED_GENERATION);
        workloads.instances.push(spec);
        prepare_archiver(context, database, &mut workloads)?;
    }
    let here = placements.services_on(context.name());
    for service in context
        .platform
        .services()
        .iter()
        .filter(|service| here.contains(service.name.as_str()))
    {
        let spec = service_instance(&machine, service, &context.host, SPEC_GENERATION);
        workloads.instances.push(spec);
    }
    for gateway in context.platform.gateways_on(&context.host.name) {
        let path = context
            .layout
            .gateway_config(context.name(), gateway.name.as_str());
        let known: Option<GatewaySnapshot> = files::read_limited(&path, FILE_LIMIT)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let generation = known.as_ref().map_or(0, |snapshot| snapshot.generation);
        let snapshot = |generation| {
            gateway_snapshot(
                &machine,
                gateway,
                &context.host,
                (&placements.routed(), &placements.shares()),
                generation,
            )
        };
        if snapshot(generation) != known
            && let Some(next) = snapshot(generation + 1)
        {
            replace(&path, &serde_json::to_vec_pretty(&next)?)?;
            workloads.changed_gateways.push(gateway.name.to_string());
        }
        workloads.instances.push(gateway_instance(
            &machine,
            gateway,
            &context.host,
            IDENTIFIED_GENERATION,
        ));
    }
    prepare_watch(context, placements, &mut workloads)?;
    prepare_etcd(context, &mut workloads)?;
    for spec in &workloads.instances {
        make_folder(&spec.shim.directory)?;
    }
    Ok(workloads)
}

fn prepare_archiver(
    context: &Context,
    database: &Database,
    workloads: &mut Workloads,
) -> io::Result<()> {
    let machine = context.machine();
    if let Some(config) = archiver_config(&machine, database, &context.host) {
        let (host, name) = (context.name(), database.name.as_str());
        let path = context.layout.archive_config(host, name);
        let bytes = serde_json::to_vec_pretty(&config)?;
        replace(&path, &bytes)?;
        let configuration = digest_of(&bytes);
        let spec = archiver_instance(&machine, database, &context.host, &configuration);
        workloads.instances.push(spec);
    }
    Ok(())
}

fn prepare_watch(
    context: &Context,
    placements: &LastPlacements,
    workloads: &mut Workloads,
) -> io::Result<()> {
    let machine = context.machine();
    if let Some(config) = watch_config(&machine, &context.host, &placements.placements()) {
        let bytes = serde_json::to_vec_pretty(&config)?;
        replace(&context.layout.watch_config(context.name()), &bytes)?;
        if let Some(rules) = context.platform.watch().and_then(objective_rules) {
            let path = context.layout.watch_objectives(context.name());
            replace(&path, rules.as_bytes())?;
        }
        make_folder(&config.folder)?;
        let spec = watch_instance(&machine, &context.host, &digest_of(&bytes));
        workloads.instances.push(spec);
    }
    Ok(())
}

fn prepare_etcd(context: &Context, workloads: &mut Workloads) -> io::Result<()> {
    let machine = context.machine();
    let Some(config) = relay_config(&machine, &context.host) else {
        return Ok(());
    };
    if !config.secret.exists() {
        files::write_atomic(&config.secret, password().as_bytes())?;
    }
    let bytes = serde_json::to_vec_pretty(&config)?;
    replace(&context.layout.relay_config(context.name()), &bytes)?;
    // Etcd insists on a folder that nobody else can enter.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(context.layout.etcd(context.name()))?;
    let instances = etcd_instances(&machine, &context.host, &digest_of(&bytes));
    workloads.instances.extend(instances);
    Ok(())
}

/// Writes only what differs, so that an unchanged file keeps its time.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    if files::read_limited(path, FILE_LIMIT).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    files::write_atomic(path, bytes)
}

/// Others may pass through: below it stand data folders of PostgreSQL's user.
fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(folder)
}
