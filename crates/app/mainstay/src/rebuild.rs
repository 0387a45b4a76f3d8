//! `mainstay rebuild`: every host is gone, and the platform comes back from its file, its backups and its keys.
//!
//! What is restored is laid down beside the data folder of each database's home replica; the keepers then found the database
//! with it as they found any other, and fill the other replicas. Each step leaves something whole or nothing, so that an
//! interrupted rebuild is simply started again, and until everything is laid down nobody starts the platform: its keepers would
//! found what is missing empty. Nothing here writes to the old archives: what was restored belongs to new ones.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use mainstay_backup::{Archive, Restored, Wanted, chain, choose, moment, restore};
use mainstay_derive::Layout;
use mainstay_model::Platform;
use mainstay_model::database::Database;
use mainstay_node::prepare;
use mainstay_record::backup::{
    BackupConfig, MarkRecord, RebuildRecord, SeedRecord, StoreOptionsRecord, VERSION,
};
use mainstay_rt::{clock, files};
use mainstay_storage::{Place, verify};
use mainstay_units::Instant;
use rustix::fs::{FlockOperation, flock};

use crate::arguments::{Gates, Rebuild, Up};
use crate::backup::{detached, own_folder, refused};
use crate::client::{data_folder, is_barred, not_yours};
use crate::exit::{Failure, Outcome};
use crate::print::{line, progress};
use crate::up::{unprepared, up};
use crate::validate::read_valid;

const KEY_LIMIT: u64 = 1 << 20;

pub fn run(arguments: &Rebuild) -> Outcome {
    let (platform, text) = read_valid(&arguments.file)?;
    let data = data_folder(&arguments.platform)?;
    let databases = chosen(&platform)?;
    let program = std::env::current_exe().context("find this program's own path")?;
    let mut steps = Steps::begin();
    let wish = wish(arguments);
    // Only what lies below the data folder is looked at, and nothing is written before it is known that nothing lives there.
    standing(&Layout::new(&data, Path::new("")), &databases.kept, &wish)?;
    let (_, layout) = prepare::prepare(&data, &platform, &text, None, program)
        .map_err(|error| unprepared(&data, &error))?;
    let _lock = alone(&layout)?;
    // Another one may have begun, or ended, meanwhile.
    let standing = standing(&layout, &databases.kept, &wish)?;
    begin(&layout, &databases.kept, standing, &wish)?;
    for database in &databases.kept {
        take_secrets(&layout, database, arguments)?;
    }
    steps.done(
        "folders, passwords and the authority of the new platform, and the keys to the old backups",
    );
    let tails = lay_all_down(&layout, &databases.kept, arguments, &mut steps)?;
    if let Some(journal) = &arguments.journal {
        let entries = take_journal(&layout, journal)?;
        steps.done(&format!(
            "the old journal: {entries} entries, verified, kept in {}",
            old_journal(&layout).display()
        ));
    }
    up(&Up {
        file: arguments.file.clone(),
        platform: arguments.platform.clone(),
        detach: true,
        distance: None,
        timeout: arguments.timeout,
        reason: "total rebuild".to_owned(),
        gates: Gates {
            overrides: Vec::new(),
        },
    })?;
    steps.done("nodes and keepers started, every replica filled, every service ready");
    over(&layout)?;
    for tail in tails {
        line(tail)?;
    }
    for database in databases.empty {
        line(format_args!(
            "{}: it has no `backup:` section, so there was nothing to bring back: it begins empty",
            database.name
        ))?;
    }
    line(format_args!(
        "rebuilt in {:.1} s; the old archives are untouched, and new ones have begun beside them",
        steps.total().as_secs_f64()
    ))
}

/// Each database's restored folder; returns what is to be said of it in the end.
fn lay_all_down(
    layout: &Layout,
    databases: &[&Database],
    arguments: &Rebuild,
    steps: &mut Steps,
) -> Result<Vec<String>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Fault(error.into()))?;
    let mut tails = Vec::new();
    for database in databases {
        let laid = runtime.block_on(lay_down(layout, database, arguments))?;
        let already = match laid.how {
            How::Now => "",
            How::Before => "; an attempt before this one laid it down",
        };
        steps.done(&format!(
            "database {}: backup {} of archive {} and the log after it, as far as {}{already}",
            database.name, laid.seed.backup, laid.seed.from_archive, laid.seed.lsn
        ));
        tails.push(tail(database, &laid));
    }
    Ok(tails)
}

/// Says what each step took.
struct Steps {
    started: Instant,
    last: Instant,
}

impl Steps {
    fn begin() -> Self {
        let now = clock::now();
        Self {
            started: now,
            last: now,
        }
    }

    fn done(&mut self, what: &str) {
        let now = clock::now();
        let took = now.since(self.last).as_secs_f64();
        self.last = now;
        progress(format_args!("{took:>8.1} s  {what}"));
    }

    fn total(&self) -> Duration {
        clock::now().since(self.started)
    }
}

struct Databases<'a> {
    /// There are backups of them.
    kept: Vec<&'a Database>,
    /// Nothing of them can come back.
    empty: Vec<&'a Database>,
}

fn chosen(platform: &Platform) -> Result<Databases<'_>, Failure> {
    let all = platform.databases().iter();
    let (kept, empty) = all.partition(|database| database.backup.is_some());
    let databases = Databases { kept, empty };
    if databases.kept.is_empty() {
        return Err(Failure::Usage(
            "no database of the file has a `backup:` section, so there is nothing to rebuild from\n  next: `mainstay up` \
             starts it empty"
                .to_owned(),
        ));
    }
    Ok(databases)
}

fn wish(arguments: &Rebuild) -> RebuildRecord {
    RebuildRecord {
        version: VERSION,
        to: arguments.to.clone(),
        backup: arguments.backup.clone(),
        archive: arguments.archive.clone(),
        stores: arguments.store.clone(),
    }
}

/// What a rebuild finds in its data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing that counts.
    New,
    /// One like it was interrupted, and what that left is gone on with.
    GoesOn,
}

/// Two that restore into one folder would each take the other's for the rest of an interrupted attempt.
fn alone(layout: &Layout) -> Result<File, Failure> {
    let path = layout.rebuild().with_extension("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::Refused {
            code: "rebuild_under_way".to_owned(),
            why: format!(
                "another `mainstay rebuild` works in {}",
                layout.data().display()
            ),
            next: "let it end, or end it; then the same command goes on where it was".to_owned(),
        }),
        Err(error) => {
            let lock = format!("lock {}", path.display());
            Err(Failure::Fault(
                anyhow::Error::new(std::io::Error::from(error)).context(lock),
            ))
        }
    }
}

/// What is not laid down yet would begin empty, and look healthy: until a rebuild that was begun is that far, nobody starts
/// the platform.
pub fn may_start(data: &Path, platform: &Platform) -> Outcome {
    let layout = Layout::new(data, Path::new(""));
    if !layout.rebuild().exists() {
        return Ok(());
    }
    let kept = platform.databases().iter();
    for database in kept.filter(|database| database.backup.is_some()) {
        let home = database.home_replica().context("a home replica")?;
        let [_, record] = layout.seed(home.host.as_str(), database.name.as_str());
        if !record.exists() {
            return Err(Failure::Refused {
                code: "rebuild_unfinished".to_owned(),
                why: format!(
                    "a rebuild was begun in {}, and database {} is not laid down yet: it would begin empty",
                    data.display(),
                    database.name
                ),
                next: "give the command of the rebuild again, which goes on where it was; or name another folder with --data"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// A platform that lived here is never rebuilt over; one that was being rebuilt is rebuilt to the end.
fn standing(
    layout: &Layout,
    databases: &[&Database],
    wish: &RebuildRecord,
) -> Result<Standing, Failure> {
    let begun = match files::read_limited(&layout.rebuild(), KEY_LIMIT) {
        Ok(bytes) => Some(
            serde_json::from_slice::<RebuildRecord>(&bytes)
                .with_context(|| format!("understand {}", layout.rebuild().display()))?,
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) if is_barred(&error) => return Err(not_yours(&layout.rebuild())),
        Err(error) => {
            let read = format!("read {}", layout.rebuild().display());
            return Err(Failure::Fault(anyhow::Error::new(error).context(read)));
        }
    };
    match (begun, inhabited(layout, databases)) {
        (Some(begun), _) if begun == *wish => Ok(Standing::GoesOn),
        (_, None) => Ok(Standing::New),
        (Some(begun), Some(_)) => Err(Failure::Refused {
            code: "other_target".to_owned(),
            why: format!(
                "a rebuild {} was begun in {}, and what it brought back lives there by now",
                said(&begun),
                layout.data().display()
            ),
            next: "repeat that command; or name an empty folder with --data for another".to_owned(),
        }),
        (None, Some(path)) => Err(lived_in(&path)),
    }
}

fn said(record: &RebuildRecord) -> String {
    let mut said = format!("--to {}", record.to);
    let named = [("--backup", &record.backup), ("--archive", &record.archive)];
    for (name, value) in named {
        if let Some(value) = value {
            said.push_str(&format!(" {name} {value}"));
        }
    }
    for store in &record.stores {
        said.push_str(&format!(" --store {store}"));
    }
    said
}

fn lived_in(path: &Path) -> Failure {
    Failure::Refused {
        code: "not_empty".to_owned(),
        why: format!(
            "{} is there: a platform lived here, and nothing is ever restored over something",
            path.display()
        ),
        next: "name an empty folder with --data; or `mainstay up` what is here".to_owned(),
    }
}

/// What only a platform that lived has.
fn inhabited(layout: &Layout, databases: &[&Database]) -> Option<PathBuf> {
    let pgdata = databases
        .iter()
        .flat_map(|database| pgdata_of(layout, database));
    let mut all = std::iter::once(layout.journal()).chain(pgdata);
    all.find(|path| path.exists())
}

fn pgdata_of(layout: &Layout, database: &Database) -> Vec<PathBuf> {
    let replicas = database.replicas.iter();
    replicas
        .map(|replica| layout.pgdata(replica.host.as_str(), database.name.as_str()))
        .collect()
}

/// Keeps what was asked for, so that the same command goes on. What was laid down for something else goes before.
fn begin(
    layout: &Layout,
    databases: &[&Database],
    standing: Standing,
    wish: &RebuildRecord,
) -> Outcome {
    if standing == Standing::GoesOn {
        return Ok(());
    }
    for database in databases {
        let home = database.home_replica().context("a home replica")?;
        let [seed, record] = layout.seed(home.host.as_str(), database.name.as_str());
        // The record first: without it the folder counts for nothing.
        if record.exists() {
            std::fs::remove_file(&record)
                .with_context(|| format!("remove {}", record.display()))?;
        }
        if seed.exists() {
            std::fs::remove_dir_all(&seed).with_context(|| format!("remove {}", seed.display()))?;
        }
    }
    let bytes = serde_json::to_vec_pretty(wish).context("write what was asked for")?;
    files::write_atomic(&layout.rebuild(), &bytes)
        .with_context(|| format!("write {}", layout.rebuild().display()))
        .map_err(Failure::Fault)
}

/// From now on a platform lives here.
fn over(layout: &Layout) -> Outcome {
    std::fs::remove_file(layout.rebuild())
        .with_context(|| format!("remove {}", layout.rebuild().display()))
        .map_err(Failure::Fault)
}

/// The key, and what proves us to the stores, where the new platform looks for them.
fn take_secrets(layout: &Layout, database: &Database, arguments: &Rebuild) -> Outcome {
    let name = database.name.as_str();
    let key = key_of(name, &arguments.key)?;
    copy_secret(key, &layout.backup_key(name))?;
    match &arguments.credentials {
        Some(credentials) => copy_secret(credentials, &layout.store_credentials(name)),
        None => Ok(()),
    }
}

/// `DATABASE=FILE`, or a file for all.
fn key_of<'a>(database: &str, given: &'a [String]) -> Result<&'a Path, Failure> {
    let own = given.iter().find_map(|key| {
        let (name, file) = key.split_once('=')?;
        (name == database).then_some(file)
    });
    let common = given.iter().find(|key| !key.contains('='));
    let found = own.or(common.map(String::as_str));
    found.map(Path::new).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no key for the backups of {database}\n  next: add --key {database}=FILE"
        ))
    })
}

fn copy_secret(from: &Path, to: &Path) -> Outcome {
    let bytes = files::read_limited(from, KEY_LIMIT)
        .map_err(|error| Failure::Usage(format!("read {}: {error}", from.display())))?;
    match files::read_limited(to, KEY_LIMIT) {
        Ok(known) if known == bytes => Ok(()),
        Ok(_) => Err(Failure::Refused {
            code: "other_key".to_owned(),
            why: format!("{} is there, and says something else", to.display()),
            next: "name an empty folder with --data".to_owned(),
        }),
        Err(_) => files::write_atomic(to, &bytes)
            .with_context(|| format!("write {}", to.display()))
            .map_err(Failure::Fault),
    }
}

/// A database's restored folder.
struct Laid {
    seed: SeedRecord,
    /// The newest mark that came back; known where it was just restored.
    last: Option<MarkRecord>,
    how: How,
}

enum How {
    Now,
    /// By an attempt that was interrupted later.
    Before,
}

async fn lay_down(
    layout: &Layout,
    database: &Database,
    arguments: &Rebuild,
) -> Result<Laid, Failure> {
    let name = database.name.as_str();
    let home = database.home_replica().context("a home replica")?;
    let [seed, record] = layout.seed(home.host.as_str(), name);
    if record.exists() {
        let bytes = files::read_limited(&record, KEY_LIMIT)
            .with_context(|| format!("read {}", record.display()))?;
        let seed = serde_json::from_slice(&bytes)
            .with_context(|| format!("understand {}", record.display()))?;
        let (last, how) = (None, How::Before);
        return Ok(Laid { seed, last, how });
    }
    // A rebuild that goes on meets a database that it did not lay down.
    if let Some(path) = pgdata_of(layout, database)
        .iter()
        .find(|path| path.exists())
    {
        return Err(lived_in(path));
    }
    let folder = layout.database(home.host.as_str(), name);
    make_passable(&folder)?;
    if seed.exists() {
        // Without a record it is what an interrupted attempt left.
        std::fs::remove_dir_all(&seed).with_context(|| format!("remove {}", seed.display()))?;
    }
    let config = config(layout, database, arguments);
    let own = config.folder.clone();
    let done = restore_into(config, arguments, &seed).await;
    std::fs::remove_dir_all(&own).ok();
    let (restored, from_archive) = done?;
    let said = SeedRecord {
        version: VERSION,
        database: name.to_owned(),
        system_identifier: restored.system_identifier,
        backup: restored.backup.clone(),
        from_archive,
        archive: restored.archive.clone(),
        timeline: restored.timeline.0,
        lsn: restored.lsn.clone(),
        marked_ms: restored.last.as_ref().map(|mark| mark.at_ms),
        restored_ms: clock::wall_ms(),
    };
    // The record makes it count: everything it speaks of is on the disk before.
    flush(&seed)?;
    let bytes = serde_json::to_vec_pretty(&said).context("write the record of the seed")?;
    files::write_atomic_mode(&record, &bytes, 0o644)
        .with_context(|| format!("write {}", record.display()))?;
    Ok(Laid {
        seed: said,
        last: restored.last,
        how: How::Now,
    })
}

fn config(layout: &Layout, database: &Database, arguments: &Rebuild) -> BackupConfig {
    let name = database.name.as_str();
    let backup = database.backup.as_ref();
    let mut stores = arguments.store.clone();
    if stores.is_empty() {
        stores = backup
            .map(|backup| backup.stores.clone())
            .unwrap_or_default();
    }
    if stores.is_empty() {
        stores.push(layout.backups().display().to_string());
    }
    let options = backup.into_iter().flat_map(|backup| &backup.store_options);
    let options = options.map(|options| StoreOptionsRecord {
        store: options.store.clone(),
        region: options.region.clone(),
        endpoint: options.endpoint.clone(),
        allow_http: options.allow_http,
    });
    let mut config = detached(name, stores, layout.backup_key(name), &arguments.user);
    config.folder = own_folder(name);
    config.run_folder = config.folder.join("run");
    config.store_options = options.collect();
    let credentials = layout.store_credentials(name);
    config.credentials = credentials.exists().then_some(credentials);
    config
}

async fn restore_into(
    config: BackupConfig,
    arguments: &Rebuild,
    into: &Path,
) -> Result<(Restored, String), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Finding(chain(error));
    let mut archive = Archive::open(config).map_err(|error| failed(&error))?;
    let found = archive.find(arguments.archive.as_deref()).await;
    let from = found.map_err(|error| failed(&error))?.archive.clone();
    let catalogue = archive.catalogue().await.map_err(|error| failed(&error))?;
    let wanted =
        Wanted::parse(&arguments.to, &catalogue).map_err(|error| Failure::Usage(chain(&error)))?;
    let backup = arguments.backup.as_deref();
    let next = |tried: Option<String>, error: &dyn std::error::Error| {
        refused(&catalogue, tried, &wanted, &chain(error), "rebuild")
    };
    let (entry, route) = choose(&catalogue, &wanted, backup)
        .map_err(|error| next(backup.map(str::to_owned), &error))?;
    let restored = restore(&archive, entry, &route, &wanted, into).await;
    let restored = restored.map_err(|error| next(Some(entry.record.id.clone()), &error))?;
    Ok((restored, from))
}

/// What is here, and where the loss begins.
fn tail(database: &Database, laid: &Laid) -> String {
    let every = database.backup.as_ref().map(|backup| backup.log_every);
    let known = match (&laid.last, laid.seed.marked_ms) {
        (Some(mark), _) => {
            let totals = match mark.totals.as_str() {
                "" | "{}" => String::new(),
                totals => format!(", when the books said {totals}"),
            };
            format!(
                "everything committed before {} (mark {}, position {}{totals}) is here",
                moment::show(mark.at_ms),
                mark.number,
                mark.lsn
            )
        }
        (None, Some(ms)) => format!("everything committed before {} is here", moment::show(ms)),
        (None, None) => "no mark came back, so nothing is known of when that was".to_owned(),
    };
    format!(
        "{}: {known}; the archive ends at {}, and what was committed after that is lost: the last {:?} before the end, \
         and what had not reached a store",
        database.name,
        laid.seed.lsn,
        every.unwrap_or_default()
    )
}

fn old_journal(layout: &Layout) -> PathBuf {
    layout.data().join("journal-before")
}

/// The journal of the platform that was: checked, then kept beside the new one. It cannot be continued: nobody could say
/// who the new nodes are but the old ones, and they are gone.
fn take_journal(layout: &Layout, from: &Path) -> Result<u64, Failure> {
    let report = verify(&Place::folder(from), &[]);
    if !report.is_sound() {
        let first = report.findings.first();
        return Err(Failure::Finding(format!(
            "the journal in {} does not verify: {}\n  next: `mainstay rebuild` without --journal begins a new one",
            from.display(),
            first.map_or("", |finding| finding.what.as_str())
        )));
    }
    let target = old_journal(layout);
    if target.exists() {
        return Ok(report.entries);
    }
    let part = target.with_extension("part");
    if part.exists() {
        std::fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    copy_folder(from, &part).with_context(|| format!("copy {}", from.display()))?;
    flush(&part)?;
    std::fs::rename(&part, &target).with_context(|| format!("name {}", target.display()))?;
    files::fsync_dir(layout.data()).context("flush the data folder")?;
    Ok(report.entries)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn make_passable(folder: &Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(folder)
        .and_then(|()| {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?;
            match folder.parent() {
                Some(parent) => {
                    std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o711))
                }
                None => Ok(()),
            }
        })
        .with_context(|| format!("make {}", folder.display()))
        .map_err(Failure::Fault)
}

/// Everything on the file system of a folder.
fn flush(folder: &Path) -> Outcome {
    let open = std::fs::File::open(folder).with_context(|| format!("open {}", folder.display()))?;
    rustix::fs::syncfs(&open)
        .with_context(|| format!("flush {}", folder.display()))
        .map_err(Failure::Fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../../../examples/exchange/platform-backup.yaml");

    fn wish(to: &str) -> RebuildRecord {
        RebuildRecord {
            version: VERSION,
            to: to.to_owned(),
            backup: None,
            archive: None,
            stores: Vec::new(),
        }
    }

    #[test]
    fn an_interrupted_rebuild_goes_on_with_what_it_was_asked_for() {
        let platform = mainstay_manifest::load("platform-backup.yaml", FILE).expect("valid");
        let databases = chosen(&platform).expect("kept").kept;
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(folder.path(), Path::new(""));
        let standing = |to: &str| standing(&layout, &databases, &wish(to)).ok();
        let begin = |found, to: &str| begin(&layout, &databases, found, &wish(to)).is_ok();
        let home = databases[0].home_replica().expect("a home").host.as_str();
        let [seed, record] = layout.seed(home, "ledger");

        assert_eq!(standing("latest"), Some(Standing::New));
        let may_start = || may_start(folder.path(), &platform).is_ok();
        assert!(may_start(), "nothing is being rebuilt");
        assert!(begin(Standing::New, "latest"));
        std::fs::create_dir_all(&seed).expect("a seed");
        assert!(!may_start(), "it would begin empty");
        std::fs::write(&record, "{}").expect("a record");
        assert!(may_start(), "all of it is laid down");
        let lock = alone(&layout).expect("nobody else");
        assert!(matches!(alone(&layout), Err(Failure::Refused { .. })));
        drop(lock);
        assert!(alone(&layout).is_ok());
        // Killed here: the same command finds what was laid down, another one lays down anew.
        assert_eq!(standing("latest"), Some(Standing::GoesOn));
        assert!(begin(Standing::GoesOn, "latest"));
        assert!(seed.exists() && record.exists());
        assert_eq!(standing("0/5000000"), Some(Standing::New));
        assert!(begin(Standing::New, "0/5000000"));
        assert!(!seed.exists() && !record.exists());
        // Killed when nodes had begun: the same command goes on, and no other.
        std::fs::create_dir(layout.journal()).expect("a journal");
        assert_eq!(standing("0/5000000"), Some(Standing::GoesOn));
        assert_eq!(standing("latest"), None);
        // Over: a platform lives here.
        assert!(over(&layout).is_ok());
        assert_eq!(standing("0/5000000"), None);
    }
}
