//! The leaves of one host: laid down, and renewed before they end.
//!
//! They are renewed after a third of their life, when another key signs, and when one is missing. A process that
//! finds its file changed takes the new one. When the key has just been replaced, what has a good leaf keeps it for
//! a while, so that everybody has read the new root before anybody shows a leaf of it; a leaf whose root is not believed
//! any more goes at once.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_record::identity::WantedLeaf;
use mainstay_rt::files;

use crate::authority::{Authority, AuthorityError, LEAF_LIFETIME, Trust};

/// How long a new root is left to be read before leaves of it replace good ones.
pub const SETTLING: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("lay down {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Debug)]
struct Laid {
    at_wall_ms: u64,
    signer: String,
    also: Vec<String>,
}

/// What was laid down so far.
#[derive(Debug)]
pub struct Leaves {
    authority: Authority,
    laid: BTreeMap<PathBuf, Laid>,
    /// Which key signs, and since when this is known.
    signer: Option<(String, u64)>,
}

impl Leaves {
    pub fn new(authority: Authority) -> Self {
        Self {
            authority,
            laid: BTreeMap::new(),
            signer: None,
        }
    }

    /// Lays down what is missing or due, and what should prove something else than it does. Says how many.
    ///
    /// # Errors
    /// When the authority cannot be used or a file cannot be written; what was laid down before stays, and one that fails does
    /// not keep the others from being laid down. The first failure is told.
    pub fn renew(&mut self, wanted: &[WantedLeaf], now_wall_ms: u64) -> Result<usize, LeafError> {
        let Trust { signer, believed } = self.authority.keep(now_wall_ms)?;
        let since = match &self.signer {
            Some((known, since)) if *known == signer => *since,
            _ => now_wall_ms,
        };
        self.signer = Some((signer.clone(), since));
        let settled = now_wall_ms.saturating_sub(since) >= millis(SETTLING);
        self.laid
            .retain(|path, _| wanted.iter().any(|leaf| leaf.path == *path));
        let mut renewed = 0;
        let mut failed = None;
        for leaf in wanted {
            let good = self.laid.get(&leaf.path).is_some_and(|laid| {
                let age = now_wall_ms.checked_sub(laid.at_wall_ms);
                age.is_some_and(|age| age < millis(LEAF_LIFETIME / 3))
                    && (laid.signer == signer || (!settled && believed.contains(&laid.signer)))
                    && laid.also == leaf.also
                    && leaf.path.exists()
            });
            if good {
                continue;
            }
            match self.lay(leaf, now_wall_ms) {
                Ok(()) => renewed += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(renewed), Err)
    }

    /// When the oldest was laid down, by the wall clock; nothing where none was.
    #[must_use]
    pub fn since_wall_ms(&self) -> Option<u64> {
        self.laid.values().map(|laid| laid.at_wall_ms).min()
    }

    fn lay(&mut self, wanted: &WantedLeaf, now_wall_ms: u64) -> Result<(), LeafError> {
        let WantedLeaf { name, also, path } = wanted;
        let failed = |source| LeafError::Io {
            path: path.clone(),
            source,
        };
        let leaf = self.authority.issue_for(name, also, now_wall_ms)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        files::write_atomic(path, leaf.pem.as_bytes()).map_err(failed)?;
        let laid = Laid {
            at_wall_ms: now_wall_ms,
            signer: leaf.signer,
            also: also.clone(),
        };
        self.laid.insert(path.clone(), laid);
        Ok(())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
