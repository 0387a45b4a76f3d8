//! What a keeper is told: its replicas, its quorum, its places.

use mainstay_model::Host;
use mainstay_model::database::{Database, Replica};
use mainstay_record::backup::HAND_OVER;
use mainstay_record::identity::{keeper_role, server_role};
use mainstay_record::keeper::{
    KeeperApplication, KeeperConfig, KeeperListen, KeeperReplica, KeeperSecrets, KeeperSetting,
    KeeperTimings, VERSION,
};

use crate::identity::identity_files;
use crate::machine::Machine;

/// The role that services connect as; it owns the application's database and nothing else.
pub const APPLICATION_ROLE: &str = "application";

/// Names of the password files that only keepers read; see [`crate::Layout::password`].
pub const KEEPER_ROLES: [&str; 2] = [SUPERUSER, REPLICATION];
const SUPERUSER: &str = "superuser";
const REPLICATION: &str = "replication";

/// `None` if the database has no replica on the host.
pub fn keeper_config(
    machine: &Machine<'_>,
    database: &Database,
    host: &Host,
) -> Option<KeeperConfig> {
    let own = database.replica_on(&host.name)?;
    let home = database.home_replica()?;
    let layout = machine.layout;
    let (here, name) = (host.name.as_str(), database.name.as_str());
    let replicas = database.replicas.iter().chain(&database.leaving);
    let leaving = database.leaving.iter();
    Some(KeeperConfig {
        version: VERSION,
        platform: machine.platform.name().to_string(),
        database: name.to_owned(),
        replica: u32::from(own.id.0),
        replicas: replicas
            .filter_map(|replica| keeper_replica(machine, database, host, replica))
            .collect(),
        leaving: leaving.map(|replica| u32::from(replica.id.0)).collect(),
        copies: u32::from(database.quorum.commit),
        home: u32::from(home.id.0),
        listen: KeeperListen {
            peer: machine.listen(host, database.ports.peer),
            http: machine.listen(host, database.ports.sight),
            postgres: machine.listen(host, database.ports.postgres),
        },
        pgdata: layout.pgdata(here, name),
        folder: layout.database(here, name),
        run_folder: layout.run_host(here),
        control_socket: layout.keeper_socket(here, name),
        lease_file: layout.lease(here, name),
        shim: machine.own(&["shim"], None),
        programs: machine.server_programs.map(ToOwned::to_owned),
        user: machine.server_user.map(ToOwned::to_owned),
        secrets: KeeperSecrets {
            superuser: layout.password(name, SUPERUSER),
            replication: layout.password(name, REPLICATION),
            application: layout.password(name, APPLICATION_ROLE),
        },
        identity: Some(identity_files(machine, host, &keeper_role(name))),
        server_identity: Some(identity_files(machine, host, &server_role(name))),
        application: KeeperApplication {
            role: APPLICATION_ROLE.to_owned(),
            database: name.to_owned(),
        },
        timings: KeeperTimings::default(),
        filling_rate_kib: database.filling_rate_kib,
        settings: (database.parameters.iter())
            .map(|(name, value)| setting(name, value.clone()))
            .chain(second_path(machine, database, host))
            .collect(),
    })
}

fn setting(name: &str, value: String) -> KeeperSetting {
    let name = name.to_owned();
    KeeperSetting { name, value }
}

/// Finished segments of the log are handed to the archiver beside the server. While it has not laid its script down, nothing is, and
/// the server waits for nothing.
fn second_path(machine: &Machine<'_>, database: &Database, host: &Host) -> Vec<KeeperSetting> {
    if database.backup.is_none() {
        return Vec::new();
    }
    let folder = machine
        .layout
        .archive(host.name.as_str(), database.name.as_str());
    let script = folder.join(HAND_OVER).display().to_string();
    // For the shell, then for PostgreSQL.
    let script = script.replace('\'', r"'\''").replace('%', "%%");
    let command = format!("s='{script}'; test ! -x \"$s\" || \"$s\" \"%p\" \"%f\"");
    vec![
        setting("archive_mode", "on".to_owned()),
        setting("archive_command", command),
    ]
}

fn keeper_replica(
    machine: &Machine<'_>,
    database: &Database,
    reader: &Host,
    replica: &Replica,
) -> Option<KeeperReplica> {
    let host = machine.platform.host(replica.host.as_str())?;
    Some(KeeperReplica {
        id: u32::from(replica.id.0),
        host: host.name.to_string(),
        region: host.region.to_string(),
        peer_address: machine.reach(reader, host, database.ports.peer),
        postgres_address: machine.reach(reader, host, database.ports.postgres),
    })
}
