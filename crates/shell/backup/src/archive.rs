//! An archive as a whole: what belongs to it, and what lies in it.

use std::collections::BTreeMap;
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

/// Everything that lies in an archive, by its labels.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Sets without their last object, and entries that cannot be read, each with the reason.
    pub damaged: Vec<(String, String)>,
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

    pub fn bases(&self) -> Vec<Base> {
        self.entries
            .iter()
            .map(|entry| entry.base.clone())
            .collect()
    }
}

/// What an archive is worked with: its configuration, programs and stores; not yet which archive.
pub struct Archive {
    pub config: BackupConfig,
    pub programs: Programs,
    pub stores: Stores,
    /// Known once a server or a store was asked.
    pub identity: Option<IdentityRecord>,
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

    /// Makes the archiver's folders and password file; draws the master key if there is none.
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
        let master = MasterKey::read_or_create(&config.key)?;
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
        })
    }

    /// The archive that the identity names; `None` takes the newest of the database.
    ///
    /// # Errors
    /// When there is none, or it cannot be read with the key.
    pub async fn find(&mut self, identity: Option<&str>) -> Result<&IdentityRecord, ArchiveError> {
        let database = self.config.database.clone();
        let mut newest: Option<IdentityRecord> = None;
        let mut wrong = None;
        for folder in self.stores.list(&database).await?.folders {
            if identity.is_some_and(|wanted| wanted != folder) {
                continue;
            }
            match self
                .get::<IdentityRecord>(&format!("{database}/{folder}/identity"))
                .await
            {
                Ok(found) => {
                    let is_newer = |known: &IdentityRecord| found.created_ms > known.created_ms;
                    if newest.as_ref().is_none_or(is_newer) {
                        newest = Some(found);
                    }
                }
                Err(error) => wrong = Some(error),
            }
        }
        match (newest, wrong) {
            (Some(found), _) => Ok(self.identity.insert(found)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(ArchiveError::None {
                database,
                stores: self.stores.addresses().join(", "),
            }),
        }
    }

    /// The archive of a cluster that runs: made if it has none yet.
    ///
    /// # Errors
    /// When the archive of that name is another cluster's, or cannot be read or written.
    pub async fn found(&mut self, wanted: IdentityRecord) -> Result<(), ArchiveError> {
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
        let mut catalogue = Catalogue {
            entries: Vec::new(),
            damaged: Vec::new(),
            shelf: self.shelf().await?,
            points: Vec::new(),
        };
        for id in self.stores.list(&self.name("backups")).await?.folders {
            match self.entry(&id).await {
                Ok(entry) => catalogue.entries.push(entry),
                Err(error) => catalogue.damaged.push((id, crate::chain(&error))),
            }
        }
        let newest = |entry: &Entry| std::cmp::Reverse((entry.record.stopped_ms, entry.base.stop));
        catalogue.entries.sort_by_key(newest);
        for name in self.stores.list(&self.name("points")).await?.objects {
            match self.get(&self.name(&format!("points/{name}"))).await {
                Ok(point) => catalogue.points.push(point),
                Err(error) => catalogue.damaged.push((name, crate::chain(&error))),
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

    /// # Errors
    /// When no store can be listed, or a history is damaged.
    pub async fn shelf(&self) -> Result<Shelf, ArchiveError> {
        let size = self.size()?;
        let mut shelf = Shelf::new(size);
        for name in self.stores.list(&self.name("wal")).await?.objects {
            if let Some(segment) = Segment::parse(&name, size) {
                shelf.segments.insert(segment);
            } else if let Some((segment, bytes)) = parse_partial(&name, size) {
                let known: &mut BTreeMap<Segment, u64> = &mut shelf.partials;
                let most = known.entry(segment).or_default();
                *most = bytes.max(*most);
            } else if let Some(timeline) = parse_history_name(&name) {
                let text = self.stores.get(&self.name(&format!("wal/{name}"))).await?;
                let text = String::from_utf8_lossy(&text);
                let history = History::parse(timeline, &text);
                let history = history.map_err(|error| ArchiveError::Content {
                    what: name.clone(),
                    why: error.to_string(),
                })?;
                shelf.histories.insert(timeline, history);
            }
        }
        Ok(shelf)
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
