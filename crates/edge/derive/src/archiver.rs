//! What an archiver is told: the servers, the stores, the key, the schedule.

use core::time::Duration;

use mainstay_model::Host;
use mainstay_model::database::Database;
use mainstay_record::backup::{
    BackupConfig, BackupLimits, BackupLocal, BackupRetention, BackupSchedule, BackupServer,
    StoreOptionsRecord, VERSION,
};
use mainstay_record::identity::archiver_role;

use crate::identity::identity_files;
use crate::keeper::KEEPER_ROLES;
use crate::machine::Machine;

/// `None` if the database has no replica on the host, or is not put away.
pub fn archiver_config(
    machine: &Machine<'_>,
    database: &Database,
    host: &Host,
) -> Option<BackupConfig> {
    database.replica_on(&host.name)?;
    let backup = database.backup.as_ref()?;
    let layout = machine.layout;
    let (here, name) = (host.name.as_str(), database.name.as_str());
    let all = database.replicas.iter().chain(&database.leaving);
    let servers = all.filter_map(|replica| {
        let server = machine.platform.host(replica.host.as_str())?;
        Some(BackupServer {
            host: server.name.to_string(),
            sight: machine.reach(host, server, database.ports.sight),
            postgres: machine.reach(host, server, database.ports.postgres),
            local: (server.name == host.name).then(|| BackupLocal {
                control: layout.keeper_socket(here, name),
                sockets: layout.run_host(here).join(format!("pg-{name}")),
            }),
        })
    });
    let stores = if backup.stores.is_empty() {
        vec![layout.backups().display().to_string()]
    } else {
        backup.stores.clone()
    };
    let options = backup
        .store_options
        .iter()
        .map(|options| StoreOptionsRecord {
            store: options.store.clone(),
            region: options.region.clone(),
            endpoint: options.endpoint.clone(),
            allow_http: options.allow_http,
        });
    let [superuser, _] = KEEPER_ROLES;
    Some(BackupConfig {
        version: VERSION,
        platform: machine.platform.name().to_string(),
        database: name.to_owned(),
        application: name.to_owned(),
        host: here.to_owned(),
        servers: servers.collect(),
        folder: layout.archive(here, name),
        run_folder: layout.run_host(here).join(format!("bk-{name}")),
        key: layout.backup_key(name),
        stores,
        store_options: options.collect(),
        credentials: Some(layout.store_credentials(name)),
        programs: machine.server_programs.map(ToOwned::to_owned),
        user: machine.server_user.map(ToOwned::to_owned),
        password: layout.password(name, superuser),
        identity: Some(identity_files(machine, host, &archiver_role(name))),
        schedule: BackupSchedule {
            base_ms: millis(backup.every),
            proof_ms: millis(backup.prove_every),
            log_ms: millis(backup.log_every),
        },
        retention: BackupRetention {
            period_ms: millis(backup.keep_for),
            count: backup.keep_count,
        },
        limits: BackupLimits {
            alarm_ms: millis(backup.alarm_after),
            backlog_bytes: backup.backlog_limit,
            ..BackupLimits::default()
        },
        listen: backup.metrics_port.map(|port| machine.listen(host, port)),
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
