//! A database that begins with a restored folder instead of with nothing: the last step of a total rebuild.
//!
//! Whoever rebuilds a platform lays the folder down beside the data folder of the home replica, and a record of it. The protocol
//! knows nothing of that: it founds the database as it founds every other, once every keeper says that it never had anything.
//! Only what `initdb` would make is there already.
//!
//! The record stays for good. While it is there, nothing but the folder that it names becomes this database: should the folder
//! be gone half-way, the keeper says so, because an empty database that looks healthy is worse than none.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_record::backup::{SEED, SeedRecord, VERSION};
use mainstay_units::{Incarnation, SystemIdentifier};

use crate::data::{self, DataError, STANDBY_SIGNAL, at};
use crate::settings::{REPLICATION_ROLE, SUPERUSER, Stance};
use crate::setup::Setup;

const RECORD_LIMIT: u64 = 64 << 10;
/// It recovers first, if it was interrupted before.
const ROLES_LIMIT: Duration = Duration::from_secs(600);

fn places(setup: &Setup) -> [PathBuf; 2] {
    SEED.map(|name| setup.layout.folder.join(name))
}

/// The record, if this database shall begin with a restored folder.
///
/// # Errors
/// When there is one that is not understood.
pub fn read(setup: &Setup) -> Result<Option<SeedRecord>, DataError> {
    let [_, path] = places(setup);
    let bytes = match mainstay_rt::files::read_limited(&path, RECORD_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at("read", &path)(error)),
    };
    let refuse = |why: String| DataError::Seed {
        why: format!("{}: {why}", path.display()),
    };
    let record: SeedRecord =
        serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    match record.version {
        VERSION => Ok(Some(record)),
        other => Err(refuse(format!("version {other} is not known here"))),
    }
}

/// Moves the folder into its place, or goes on where an interruption left it; every step may be done again.
///
/// # Errors
/// When the folder is gone or another cluster's, or a program or the disk fails.
pub async fn found(
    setup: &Setup,
    record: &SeedRecord,
    incarnation: Incarnation,
) -> Result<SystemIdentifier, DataError> {
    let pgdata = &setup.layout.pgdata;
    let [seed, _] = places(setup);
    if seed.exists() {
        is_the_one(data::system_identifier(&seed), record)?;
        data::set_aside(setup)?;
        // Onto the empty folder that was just made.
        std::fs::rename(&seed, pgdata).map_err(at("put into its place", pgdata))?;
        let folder = &setup.layout.folder;
        mainstay_rt::files::fsync_dir(folder).map_err(at("flush", folder))?;
    }
    is_the_one(data::system_identifier(pgdata), record)?;
    let signal = pgdata.join(STANDBY_SIGNAL);
    match std::fs::remove_file(&signal) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at("remove", &signal)(error));
        }
        Ok(()) | Err(_) => {}
    }
    data::write_settings(setup, &Stance::alone())?;
    give_passwords(setup).await?;
    data::finish_filling(setup, incarnation)?;
    tracing::info!(
        backup = record.backup,
        lsn = record.lsn,
        timeline = record.timeline,
        "the database begins with what was restored"
    );
    Ok(SystemIdentifier(record.system_identifier))
}

fn is_the_one(found: Option<SystemIdentifier>, record: &SeedRecord) -> Result<(), DataError> {
    let wanted = SystemIdentifier(record.system_identifier);
    match found {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(DataError::Seed {
            why: format!("cluster {wanted} was laid down, and {found} is there"),
        }),
        None => Err(DataError::Seed {
            why: format!(
                "cluster {wanted} was laid down from backup {}, and it is gone; restore it again",
                record.backup
            ),
        }),
    }
}

/// The new platform has passwords of its own.
async fn give_passwords(setup: &Setup) -> Result<(), DataError> {
    let secrets = &setup.secrets;
    let script = format!(
        "ALTER ROLE \"{SUPERUSER}\" PASSWORD '{}'\n\
         ALTER ROLE \"{REPLICATION_ROLE}\" PASSWORD '{}'\n\
         ALTER ROLE \"{}\" PASSWORD '{}'\n",
        data::stored(&secrets.superuser)?,
        data::stored(&secrets.replication)?,
        setup.config.application.role,
        data::stored(&secrets.application)?,
    );
    let mut arguments = vec![
        "--single".to_owned(),
        "-D".to_owned(),
        setup.layout.pgdata.display().to_string(),
    ];
    for setting in ["exit_on_error=on", "synchronous_standby_names="] {
        arguments.extend(["-c".to_owned(), setting.to_owned()]);
    }
    arguments.push("postgres".to_owned());
    let programs = &setup.programs;
    let run = programs.run("postgres", &arguments, Some(&script), ROLES_LIMIT, |_| {});
    run.await?;
    Ok(())
}
