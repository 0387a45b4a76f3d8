//! `mainstay rebuild`: every host is gone, and the platform comes back from its file, its backups and its keys.
//!
//! What is restored is laid down beside the data folder of each database's home replica; the keepers then found the database
//! with it as they found any other, and fill the other replicas. Each step leaves something whole or nothing, so that an
//! interrupted rebuild is simply started again, and until everything is laid down nobody starts the platform: its keepers would
//! found what is missing empty. Nothing here writes to the old archives: what was restored belongs to new ones.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use mainstay_backup::{
    Archive, ArchiveError, Restored, Wanted, chain, choose, moment, reach, restore,
};
use mainstay_derive::Layout;
use mainstay_model::Platform;
use mainstay_model::database::Database;
use mainstay_node::prepare;
use mainstay_record::backup::{
    BackupConfig, IdentityRecord, MarkRecord, RebuildRecord, SeedRecord, StoreOptionsRecord,
    VERSION,
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
    let ground = Ground {
        layout: &layout,
        platform: &platform,
        arguments,
    };
    let unnamed = runtime()?.block_on(ground.unnamed(&databases));
    for text in &unnamed {
        progress(format_args!("           {text}"));
    }
    let tails = lay_all_down(ground, &databases.kept, &mut steps)?;
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
    for text in unnamed {
        line(text)?;
    }
    line(format_args!(
        "rebuilt in {:.1} s; the old archives are untouched, and new ones have begun beside them",
        steps.total().as_secs_f64()
    ))
}

/// What every step of a rebuild looks at.
#[derive(Clone, Copy)]
struct Ground<'a> {
    layout: &'a Layout,
    platform: &'a Platform,
    arguments: &'a Rebuild,
}

/// Each database's restored folder; returns what is to be said of it in the end.
fn lay_all_down(
    ground: Ground<'_>,
    databases: &[&Database],
    steps: &mut Steps,
) -> Result<Vec<String>, Failure> {
    let runtime = runtime()?;
    // Of all of them it is known which archive is meant before the first one is restored, which may take hours.
    for database in databases {
        if !ground.is_laid_down(database)? {
            let picked = runtime.block_on(ground.pick(database));
            std::fs::remove_dir_all(own_folder(database.name.as_str())).ok();
            picked?;
        }
    }
    let mut tails = Vec::new();
    for database in databases {
        let laid = runtime.block_on(lay_down(ground, database))?;
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

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Fault(error.into()))
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
        // As one text, of which it is only compared and shown that it is the same.
        archive: (!arguments.archive.is_empty()).then(|| arguments.archive.join(" --archive ")),
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

/// What only a platform that lived has; its databases need not be those of the file.
fn inhabited(layout: &Layout, databases: &[&Database]) -> Option<PathBuf> {
    let pgdata = databases
        .iter()
        .flat_map(|database| pgdata_of(layout, database));
    let strangers = below(&layout.hosts()).into_iter().flat_map(|host| {
        let databases = below(&host.join("databases")).into_iter();
        databases.map(|database| database.join("pgdata"))
    });
    let mut all = std::iter::once(layout.journal())
        .chain(pgdata)
        .chain(strangers);
    all.find(|path| path.exists())
}

/// What lies in a folder; nothing where there is none.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
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
    of_database(database, given).map(Path::new).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no key for the backups of {database}\n  next: add --key {database}=FILE"
        ))
    })
}

/// What was given for this database, or for all.
fn of_database<'a>(database: &str, given: &'a [String]) -> Option<&'a str> {
    let own = given.iter().find_map(|given| {
        let (name, value) = given.split_once('=')?;
        (name == database).then_some(value)
    });
    let common = given.iter().find(|given| !given.contains('='));
    own.or(common.map(String::as_str))
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

impl Ground<'_> {
    fn is_laid_down(self, database: &Database) -> Result<bool, Failure> {
        let home = database.home_replica().context("a home replica")?;
        let [_, record] = self.layout.seed(home.host.as_str(), database.name.as_str());
        Ok(record.exists())
    }

    /// An archive as the file and the command say.
    fn config(self, database: &Database) -> BackupConfig {
        let (layout, arguments) = (self.layout, self.arguments);
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
        config.platform = self.platform.name().to_string();
        config.folder = own_folder(name);
        config.run_folder = config.folder.join("run");
        config.store_options = options.collect();
        let credentials = layout.store_credentials(name);
        config.credentials = credentials.exists().then_some(credentials);
        config
    }

    /// The archive that is meant. Of several of this platform the one that was begun last may be a rehearsal's, or one that
    /// was begun by mistake when the old platform was gone: which one is production's only a person can say.
    async fn pick(self, database: &Database) -> Result<Archive, Failure> {
        let name = database.name.as_str();
        let failed = |error: ArchiveError| Failure::Finding(chain(&error));
        let named = of_database(name, &self.arguments.archive);
        let mut archive = Archive::open(self.config(database)).map_err(failed)?;
        archive.find(named).await.map_err(failed)?;
        if named.is_some() {
            return Ok(archive);
        }
        let there = archive.ours().await.map_err(failed)?;
        if there.len() < 2 {
            return Ok(archive);
        }
        let mut told = String::new();
        for one in &there {
            told.push_str(&format!(
                "\n    {}: begun {}, {}",
                one.archive,
                moment::show(one.created_ms),
                held(&mut archive, one).await
            ));
        }
        Err(Failure::Refused {
            code: "several_archives".to_owned(),
            why: format!(
                "there are {} archives of database {name} of the platform {}, and which one is meant cannot be told from here; \
                 the one that was begun last may be a rehearsal's:{told}",
                there.len(),
                self.platform.name()
            ),
            next: format!(
                "give the same command with --archive {name}=ID; nothing was restored yet"
            ),
        })
    }

    /// Databases that stores hold and that do not come back, in words. Somebody may have named the wrong file, or an old one.
    async fn unnamed(self, databases: &Databases<'_>) -> BTreeSet<String> {
        let mut said = BTreeSet::new();
        for database in &databases.kept {
            let config = self.config(database);
            let own = config.folder.clone();
            let stores = config.stores.join(" and ");
            let held = async { others_held(&Archive::open(config)?, database.name.as_str()).await };
            let held = held.await;
            std::fs::remove_dir_all(&own).ok();
            let others = match held {
                Ok(others) => others,
                // It keeps nothing from coming back that was laid down before.
                Err(error) => {
                    let why = chain(&error);
                    said.insert(format!(
                        "whether {stores} hold other databases is not known: {why}"
                    ));
                    continue;
                }
            };
            for other in others {
                let is_among = |list: &[&Database]| list.iter().any(|d| d.name.as_str() == other);
                let why = match (is_among(&databases.kept), is_among(&databases.empty)) {
                    (true, _) => continue,
                    (false, true) => "the file has no `backup:` section for it",
                    (false, false) => "the file does not name it",
                };
                said.insert(format!(
                    "{other}: there are backups of it in {stores}, and {why}: it is not brought back"
                ));
            }
        }
        said
    }
}

/// Databases beside this one that a store has an archive of.
async fn others_held(archive: &Archive, database: &str) -> Result<Vec<String>, ArchiveError> {
    let mut others = Vec::new();
    for folder in archive.stores.list("").await?.folders {
        if folder == database {
            continue;
        }
        for identity in archive.stores.list(&folder).await?.folders {
            let within = archive.stores.list(&format!("{folder}/{identity}")).await?;
            if within.objects.contains("identity") {
                others.push(folder);
                break;
            }
        }
    }
    Ok(others)
}

/// What would come back from an archive, as far as that is known before.
async fn held(archive: &mut Archive, one: &IdentityRecord) -> String {
    archive.identity = Some(one.clone());
    match archive.catalogue().await {
        Ok(catalogue) => match catalogue.entries.first() {
            Some(entry) => format!(
                "newest backup {} of {}, {}",
                entry.record.id,
                moment::show(entry.record.stopped_ms),
                reach(&catalogue, entry)
            ),
            None => "without a backup".to_owned(),
        },
        Err(error) => format!("it cannot be listed: {}", chain(&error)),
    }
}

async fn lay_down(ground: Ground<'_>, database: &Database) -> Result<Laid, Failure> {
    let layout = ground.layout;
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
    let own = own_folder(name);
    let done = restore_into(ground, database, &seed).await;
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

async fn restore_into(
    ground: Ground<'_>,
    database: &Database,
    into: &Path,
) -> Result<(Restored, String), Failure> {
    let arguments = ground.arguments;
    let failed = |error: &dyn std::error::Error| Failure::Finding(chain(error));
    let archive = ground.pick(database).await?;
    let from = archive.archive_name().to_owned();
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
