//! An archive as a whole: what belongs to it, and what lies in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mainstay_archive::{
    Base, History, Policy, Proof, Segment, SegmentSize, Shelf, Target, days, route,
};
use mainstay_record::backup::{
    BackupConfig, BackupRecord, IdentityRecord, PointRecord, ProofRecord, TOLD, ToldRecord, VERSION,
};
use mainstay_record::event::ArchiveDeedRecord;
use mainstay_units::{Lsn, Timeline};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::{KeyError, MasterKey};
use crate::programs::{ProgramError, Programs};
use crate::seal::DataKey;
use crate::store::{Access, StoreError, Stores, Taken};

const CONFIG_LIMIT: u64 = 1 << 20;
const PASSWORD_LIMIT: u64 = 4_096;
/// The role that keepers, and so archivers, use.
pub const SUPERUSER: &str = "mainstay";

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{action} {path}")]
    Io {
        action: &'static str,
        path: String,
        source: std::io::Error,
    },
    #[error("understand {what}")]
    Form {
        what: String,
        source: serde_json::Error,
    },
    #[error("understand {what}: {why}")]
    Content { what: String, why: String },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("find an archive of {database} in {stores}: there is none")]
    None { database: String, stores: String },
    #[error(
        "take the newest archive of {database}: {found} can be read, and {unreadable} cannot, which may be newer; name the \
         one that is meant by --archive ({found} is of {made}), or bring back the object that cannot be read"
    )]
    Unsure {
        database: String,
        found: String,
        made: String,
        unreadable: String,
    },
    #[error(
        "find an archive of {database} of the platform {platform} in {stores}: there is only {others}; name the one that is \
         meant by --archive"
    )]
    NotOurs {
        database: String,
        platform: String,
        stores: String,
        others: String,
    },
    #[error("use archive {archive}: it is of cluster {theirs}, and the server is of {ours}")]
    Foreign {
        archive: String,
        theirs: u64,
        ours: u64,
    },
}

impl ArchiveError {
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// A base backup and its proofs.
#[derive(Clone, Debug)]
pub struct Entry {
    pub record: BackupRecord,
    pub base: Base,
    pub proofs: Vec<ProofRecord>,
}

/// What cannot be read, or is not whole.
#[derive(Clone, Debug)]
pub struct Damaged {
    pub what: Piece,
    pub name: String,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Backup,
    /// A set without its last object: it is being made, or somebody was interrupted. It is no backup.
    Unfinished,
    History,
    Point,
}

/// Everything that lies in an archive, by its labels.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Newest first.
    pub entries: Vec<Entry>,
    pub damaged: Vec<Damaged>,
    pub shelf: Shelf,
    pub points: Vec<PointRecord>,
}

impl Catalogue {
    pub fn proofs(&self) -> Vec<Proof> {
        let all = self.entries.iter().flat_map(|entry| &entry.proofs);
        all.map(|proof| Proof {
            backup: proof.backup.clone(),
            at_ms: proof.at_ms,
            restored_ms: proof.restored_ms,
        })
        .collect()
    }

    /// What must be there and cannot be read.
    pub fn unreadable(&self) -> impl Iterator<Item = &Damaged> {
        let damaged = self.damaged.iter();
        damaged.filter(|damaged| damaged.what != Piece::Unfinished)
    }

    pub fn bases(&self) -> Vec<Base> {
        self.entries
            .iter()
            .map(|entry| entry.base.clone())
            .collect()
    }
}

/// Those that can be read, and the names of the others with the reasons.
type Identities = (Vec<IdentityRecord>, Vec<(String, ArchiveError)>);

/// What an archive is worked with: its configuration, programs and stores; not yet which archive.
pub struct Archive {
    pub config: BackupConfig,
    pub programs: Programs,
    pub stores: Stores,
    /// Known once a server or a store was asked.
    pub identity: Option<IdentityRecord>,
    /// The master key is the one in the file. Else it was drawn, and whether it may be kept is known once the stores were asked.
    is_key_kept: bool,
}

impl Archive {
    /// # Errors
    /// When the file is missing or malformed, or what it names is.
    pub fn load(path: &Path) -> Result<Self, ArchiveError> {
        let bytes = mainstay_rt::files::read_limited(path, CONFIG_LIMIT)
            .map_err(ArchiveError::io("read", path))?;
        let config: BackupConfig =
            serde_json::from_slice(&bytes).map_err(|source| ArchiveError::Form {
                what: path.display().to_string(),
                source,
            })?;
        if config.version != VERSION {
            return Err(ArchiveError::Content {
                what: path.display().to_string(),
                why: format!("version {} is not known here", config.version),
            });
        }
        Self::open(config)
    }

    /// Makes the archiver's folders and password file.
    ///
    /// # Errors
    /// When a folder, the key, a store or the programs cannot be used.
    pub fn open(config: BackupConfig) -> Result<Self, ArchiveError> {
        let passwords = config.folder.join("passwords");
        let programs = Programs::find(
            config.programs.as_deref(),
            config.user.as_deref(),
            passwords.clone(),
        )?;
        make_folder(&config.folder, 0o711)?;
        make_folder(&config.run_folder, 0o711)?;
        if config.password.exists() {
            let password = mainstay_rt::files::read_limited(&config.password, PASSWORD_LIMIT)
                .map_err(ArchiveError::io("read", &config.password))?;
            let password = String::from_utf8_lossy(&password);
            let line = format!("*:*:*:{SUPERUSER}:{}\n", password.trim_end());
            mainstay_rt::files::write_atomic(&passwords, line.as_bytes())
                .and_then(|()| programs.give(&passwords))
                .map_err(ArchiveError::io("write", &passwords))?;
        }
        let is_key_kept = config.key.exists();
        let master = match is_key_kept {
            true => MasterKey::read(&config.key)?,
            false => MasterKey::draw(),
        };
        let access = Access {
            options: config.store_options.clone(),
            credentials: config.credentials.clone(),
        };
        let stores = Stores::open(&config.stores, &access, master)?;
        Ok(Self {
            config,
            programs,
            stores,
            identity: None,
            is_key_kept,
        })
    }

    /// The archive that the identity names; `None` takes the newest of the database on this platform.
    ///
    /// # Errors
    /// When there is none, it cannot be read with the key, or it is not known which is the newest.
    pub async fn find(&mut self, identity: Option<&str>) -> Result<&IdentityRecord, ArchiveError> {
        let (there, mut wrong) = self.identities(identity).await?;
        let (own, others): (Vec<_>, Vec<_>) = there
            .into_iter()
            .partition(|found| identity.is_some() || self.is_ours(found));
        let newest = own.into_iter().max_by_key(|found| found.created_ms);
        match newest {
            Some(found) if wrong.is_empty() => Ok(self.identity.insert(found)),
            Some(found) => {
                let wrong = wrong.iter();
                let wrong = wrong.map(|(name, error)| format!("{name} ({})", crate::chain(error)));
                Err(ArchiveError::Unsure {
                    database: self.config.database.clone(),
                    found: found.archive,
                    made: crate::moment::show(found.created_ms),
                    unreadable: wrong.collect::<Vec<_>>().join(", "),
                })
            }
            None => Err(match wrong.pop() {
                Some((_, error)) => error,
                None => self.nothing_found(&others),
            }),
        }
    }

    fn nothing_found(&self, others: &[IdentityRecord]) -> ArchiveError {
        let database = self.config.database.clone();
        let stores = self.stores.addresses().join(", ");
        if others.is_empty() {
            return ArchiveError::None { database, stores };
        }
        let others = others.iter();
        let others = others.map(|other| format!("{} of {}", other.archive, other.platform));
        ArchiveError::NotOurs {
            database,
            platform: self.config.platform.clone(),
            stores,
            others: others.collect::<Vec<_>>().join(", "),
        }
    }

    /// Every archive of the database on this platform, the newest first: after a rebuild there are several, and a rehearsal from
    /// the same file leaves one as well.
    ///
    /// # Errors
    /// When no store can be listed, or the key is gone.
    pub async fn ours(&self) -> Result<Vec<IdentityRecord>, ArchiveError> {
        let (mut there, _) = self.identities(None).await?;
        there.retain(|found| self.is_ours(found));
        there.sort_by_key(|found| std::cmp::Reverse(found.created_ms));
        Ok(there)
    }

    /// Where no platform is known every archive will do.
    fn is_ours(&self, found: &IdentityRecord) -> bool {
        let platform = &self.config.platform;
        platform.is_empty() || *platform == found.platform
    }

    /// What can be read of the archives of the database, or of one; and why the others cannot.
    async fn identities(&self, wanted: Option<&str>) -> Result<Identities, ArchiveError> {
        let database = &self.config.database;
        let folders = self.stores.list(database).await?.folders;
        if !self.is_key_kept {
            self.is_not_lost(&folders)?;
        }
        let (mut there, mut wrong) = (Vec::new(), Vec::new());
        for folder in folders {
            if wanted.is_some_and(|wanted| wanted != folder) {
                continue;
            }
            let name = format!("{database}/{folder}/identity");
            match self.get::<IdentityRecord>(&name).await {
                Ok(found) => there.push(found),
                Err(error) => wrong.push((folder, error)),
            }
        }
        Ok((there, wrong))
    }

    /// A key is drawn for the first archive of a database only: whatever lies there already was sealed with one that is gone, and
    /// a new one would hide that.
    async fn keep_key(&mut self) -> Result<(), ArchiveError> {
        if self.is_key_kept {
            return Ok(());
        }
        // It may have been brought back, or another one of this database was quicker.
        if !self.config.key.exists() {
            let there = self.stores.list_each(&self.config.database).await?;
            self.is_not_lost(&there.folders)?;
        }
        let master = MasterKey::read_or_create(&self.config.key)?;
        self.stores.use_key(master);
        self.is_key_kept = true;
        Ok(())
    }

    fn is_not_lost(&self, archives: &BTreeSet<String>) -> Result<(), KeyError> {
        if archives.is_empty() {
            return Ok(());
        }
        let archives: Vec<&str> = archives.iter().map(String::as_str).collect();
        Err(KeyError::Lost {
            path: self.config.key.clone(),
            archives: format!("{} {}", self.config.database, archives.join(", ")),
            stores: self.stores.addresses().join(" and "),
        })
    }

    /// The archive of a cluster that runs: made if it has none yet.
    ///
    /// # Errors
    /// When the archive of that name is another cluster's, or cannot be read or written.
    pub async fn found(&mut self, wanted: IdentityRecord) -> Result<(), ArchiveError> {
        self.keep_key().await?;
        let name = format!("{}/{}/identity", wanted.database, wanted.archive);
        let there = self
            .stores
            .list(&format!("{}/{}", wanted.database, wanted.archive))
            .await?;
        if !there.objects.contains("identity") {
            match self.put(&name, &wanted, &DataKey::draw()).await {
                // Somebody else was quicker; what counts is what is there.
                Ok(_) | Err(ArchiveError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let record: IdentityRecord = self.get(&name).await?;
        if record.system_identifier != wanted.system_identifier {
            return Err(ArchiveError::Foreign {
                archive: record.archive,
                theirs: record.system_identifier,
                ours: wanted.system_identifier,
            });
        }
        self.identity = Some(record);
        Ok(())
    }

    /// # Panics
    /// When it was not asked yet which archive this is; every command does so first.
    fn known(&self) -> &IdentityRecord {
        let Some(identity) = &self.identity else {
            panic!("an archive is used before it is known which");
        };
        identity
    }

    pub fn archive_name(&self) -> &str {
        &self.known().archive
    }

    /// Of the cluster that the archive is of, and of every copy of it.
    pub fn system_identifier(&self) -> u64 {
        self.known().system_identifier
    }

    /// # Errors
    /// When the archive says a size that PostgreSQL does not have.
    pub fn size(&self) -> Result<SegmentSize, ArchiveError> {
        SegmentSize::new(self.known().segment_bytes).map_err(|error| ArchiveError::Content {
            what: "the archive's identity".to_owned(),
            why: error.to_string(),
        })
    }

    /// The full name of an object of this archive.
    pub fn name(&self, rest: &str) -> String {
        let known = self.known();
        format!("{}/{}/{rest}", known.database, known.archive)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, ArchiveError> {
        let bytes = self.stores.get(name).await?;
        serde_json::from_slice(&bytes).map_err(|source| ArchiveError::Form {
            what: name.to_owned(),
            source,
        })
    }

    pub(crate) async fn put<T: Serialize>(
        &self,
        name: &str,
        value: &T,
        data: &DataKey,
    ) -> Result<Taken, ArchiveError> {
        let bytes = serde_json::to_vec(value).map_err(|source| ArchiveError::Form {
            what: name.to_owned(),
            source,
        })?;
        Ok(self.stores.put(name, &bytes, data).await?)
    }

    /// # Errors
    /// When no store can be listed.
    pub async fn catalogue(&self) -> Result<Catalogue, ArchiveError> {
        let (shelf, damaged) = self.shelf().await?;
        let mut catalogue = Catalogue {
            entries: Vec::new(),
            damaged,
            shelf,
            points: Vec::new(),
        };
        for id in self.stores.list(&self.name("backups")).await?.folders {
            match self.entry(&id).await {
                Ok(entry) => catalogue.entries.push(entry),
                Err(error) => {
                    let folder = self.name(&format!("backups/{id}"));
                    let objects = self.stores.list(&folder).await?.objects;
                    catalogue.damaged.push(Damaged {
                        what: match objects.contains("backup") {
                            true => Piece::Backup,
                            false => Piece::Unfinished,
                        },
                        name: id,
                        why: crate::chain(&error),
                    });
                }
            }
        }
        let newest = |entry: &Entry| std::cmp::Reverse((entry.record.stopped_ms, entry.base.stop));
        catalogue.entries.sort_by_key(newest);
        for name in self.stores.list(&self.name("points")).await?.objects {
            match self.get(&self.name(&format!("points/{name}"))).await {
                Ok(point) => catalogue.points.push(point),
                Err(error) => catalogue.damaged.push(Damaged {
                    what: Piece::Point,
                    name,
                    why: crate::chain(&error),
                }),
            }
        }
        Ok(catalogue)
    }

    async fn entry(&self, id: &str) -> Result<Entry, ArchiveError> {
        let folder = self.name(&format!("backups/{id}"));
        let record: BackupRecord = self.get(&format!("{folder}/backup")).await?;
        let mut proofs: Vec<ProofRecord> = Vec::new();
        for object in self.stores.list(&folder).await?.objects {
            // A proof that cannot be read proves nothing.
            if object.starts_with("proof-")
                && let Ok(proof) = self.get(&format!("{folder}/{object}")).await
            {
                proofs.push(proof);
            }
        }
        let base = Base {
            id: record.id.clone(),
            timeline: Timeline(record.timeline),
            start: lsn(&record.start_lsn, &folder)?,
            stop: lsn(&record.stop_lsn, &folder)?,
            stopped_ms: record.stopped_ms,
            proven_ms: proofs.iter().map(|proof| proof.at_ms).max(),
        };
        Ok(Entry {
            record,
            base,
            proofs,
        })
    }

    /// The log that is there, and histories of timelines that cannot be read: whoever needs one finds that it is not there.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn shelf(&self) -> Result<(Shelf, Vec<Damaged>), ArchiveError> {
        let size = self.size()?;
        let mut shelf = Shelf::new(size);
        let mut damaged = Vec::new();
        for name in self.stores.list(&self.name("wal")).await?.objects {
            if let Some(segment) = Segment::parse(&name, size) {
                shelf.segments.insert(segment);
            } else if let Some((segment, bytes)) = parse_partial(&name, size) {
                let known: &mut BTreeMap<Segment, u64> = &mut shelf.partials;
                let most = known.entry(segment).or_default();
                *most = bytes.max(*most);
            } else if let Some(timeline) = parse_history_name(&name) {
                match self.history(&name, timeline).await {
                    Ok(history) => drop(shelf.histories.insert(timeline, history)),
                    Err(error) => damaged.push(Damaged {
                        what: Piece::History,
                        name,
                        why: crate::chain(&error),
                    }),
                }
            }
        }
        Ok((shelf, damaged))
    }

    async fn history(&self, name: &str, timeline: Timeline) -> Result<History, ArchiveError> {
        let text = self.stores.get(&self.name(&format!("wal/{name}"))).await?;
        let text = String::from_utf8_lossy(&text);
        History::parse(timeline, &text).map_err(|error| ArchiveError::Content {
            what: name.to_owned(),
            why: error.to_string(),
        })
    }
}

/// Leaves word for the node of this host, which has it journalled. Nothing waits for that, and nothing fails by it: what
/// counts stands in the archive.
pub(crate) fn tell(archive: &Archive, at_ms: u64, deed: ArchiveDeedRecord) {
    let [backup, proof, alarm] = TOLD;
    let name = match deed {
        ArchiveDeedRecord::BackupMade { .. } => backup,
        ArchiveDeedRecord::BackupProven { .. } => proof,
        ArchiveDeedRecord::Alarm { .. } => alarm,
    };
    let told = ToldRecord {
        version: VERSION,
        database: archive.config.database.clone(),
        at_ms,
        deed,
    };
    let path = archive.config.folder.join(name);
    let written = serde_json::to_vec(&told)
        .map_err(std::io::Error::from)
        .and_then(|bytes| mainstay_rt::files::write_atomic(&path, &bytes));
    if let Err(error) = written {
        tracing::warn!(%error, "leave word for the journal");
    }
}

/// How far the log goes on from a backup, in words.
pub fn reach(catalogue: &Catalogue, entry: &Entry) -> String {
    match route(&catalogue.shelf, &entry.base, Target::Latest) {
        Ok(route) => format!("reaches {} on timeline {}", route.reaches, route.timeline),
        Err(refusal) => format!("does not reach the end: {refusal}"),
    }
}

/// Every day of the period, with its newest proven restore point.
pub fn proven_days(archive: &Archive, catalogue: &Catalogue) -> Vec<(String, Option<String>)> {
    let retention = &archive.config.retention;
    let policy = Policy {
        period_ms: retention.period_ms,
        count: usize::try_from(retention.count).unwrap_or(usize::MAX),
    };
    let days = days(&catalogue.proofs(), policy, mainstay_rt::clock::wall_ms());
    days.into_iter()
        .map(|day| {
            let proof = day.proof.map(|proof| {
                let moment = crate::moment::show(proof.restored_ms);
                format!("{moment} from backup {}", proof.backup)
            });
            (crate::moment::day(day.number), proof)
        })
        .collect()
}

pub(crate) fn lsn(text: &str, what: &str) -> Result<Lsn, ArchiveError> {
    text.parse().map_err(|error| ArchiveError::Content {
        what: what.to_owned(),
        why: format!("{text:?} is {error}"),
    })
}

pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), ArchiveError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .map_err(ArchiveError::io("make the folder", path))
}

pub(crate) fn partial_name(segment: Segment, size: SegmentSize, bytes: u64) -> String {
    format!("{}.partial.{bytes:08x}", segment.name(size))
}

pub(crate) fn parse_partial(name: &str, size: SegmentSize) -> Option<(Segment, u64)> {
    let (segment, bytes) = name.split_once(".partial.")?;
    let bytes = u64::from_str_radix(bytes, 16).ok()?;
    let segment = Segment::parse(segment, size)?;
    (bytes <= size.bytes()).then_some((segment, bytes))
}

pub(crate) fn history_name(timeline: Timeline) -> String {
    format!("{:08X}.history", timeline.0)
}

pub(crate) fn parse_history_name(name: &str) -> Option<Timeline> {
    let digits = name.strip_suffix(".history")?;
    let timeline = Timeline(u32::from_str_radix(digits, 16).ok()?);
    (history_name(timeline) == name).then_some(timeline)
}
