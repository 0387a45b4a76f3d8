//! Removing what no backup that stays needs, by the rule of the core.

use mainstay_archive::{Kept, Policy, retain};

use crate::archive::{Archive, ArchiveError, Catalogue, Piece, parse_partial};
use crate::store::StoreError;

/// Litter of an interrupted backup is left alone for so long: it may still be on its way.
const UNFINISHED_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What stays, and what was removed (or would be).
#[derive(Clone, Debug)]
pub struct Pruned {
    pub kept: Vec<(String, Kept)>,
    pub removed: Vec<String>,
    pub segments: u64,
    /// Backups that cannot be read. Each may need any of the log, so that none of it goes while one is there.
    pub unreadable: Vec<String>,
}

/// # Errors
/// When the catalogue cannot be read or a store refuses to remove.
pub async fn prune(
    archive: &Archive,
    catalogue: &Catalogue,
    dry: bool,
) -> Result<Pruned, PruneError> {
    let now_ms = mainstay_rt::clock::wall_ms();
    let policy = Policy {
        period_ms: archive.config.retention.period_ms,
        count: usize::try_from(archive.config.retention.count).unwrap_or(usize::MAX),
    };
    let retained = retain(&catalogue.bases(), policy, now_ms);
    let unreadable = catalogue.damaged.iter();
    let unreadable = unreadable.filter(|damaged| damaged.what == Piece::Backup);
    let mut pruned = Pruned {
        kept: retained.keep,
        removed: retained.remove,
        segments: 0,
        unreadable: unreadable.map(|damaged| damaged.name.clone()).collect(),
    };
    let begun_before = now_ms.saturating_sub(UNFINISHED_MS);
    // Unreadable is not unfinished: only a set without its last object is litter.
    for set in &catalogue.damaged {
        let is_old = set.name.as_str() < crate::moment::compact(begun_before).as_str();
        if is_old && set.what == Piece::Unfinished {
            // A store that is away may have the last one.
            let folder = archive.name(&format!("backups/{}", set.name));
            let there = archive.stores.list_each(&folder).await;
            if there.is_ok_and(|there| !there.objects.contains("backup")) {
                pruned.removed.push(set.name.clone());
            }
        }
    }
    if !dry {
        for id in &pruned.removed {
            remove_set(archive, id).await?;
        }
    }
    if let (Some(from), true) = (retained.log_from, pruned.unreadable.is_empty()) {
        let size = archive.size()?;
        let first = size.number_of(from);
        for name in archive.stores.list(&archive.name("wal")).await?.objects {
            let segment = mainstay_archive::Segment::parse(&name, size)
                .or_else(|| Some(parse_partial(&name, size)?.0));
            if segment.is_some_and(|segment| segment.number < first) {
                pruned.segments += 1;
                if !dry {
                    let name = archive.name(&format!("wal/{name}"));
                    archive.stores.remove(&name).await?;
                }
            }
        }
    }
    Ok(pruned)
}

/// The object that makes it a set goes first: what remains of an interrupted removal is no backup.
async fn remove_set(archive: &Archive, id: &str) -> Result<(), StoreError> {
    let folder = archive.name(&format!("backups/{id}"));
    let objects = archive.stores.list(&folder).await?.objects;
    archive.stores.remove(&format!("{folder}/backup")).await?;
    for object in objects {
        archive.stores.remove(&format!("{folder}/{object}")).await?;
    }
    Ok(())
}
