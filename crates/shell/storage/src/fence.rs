//! Executors obey the highest epoch they ever saw, across restarts.
//!
//! A frozen leader may wake with effects in hand that it decided before it froze. Whoever carries effects out
//! asks the fence first; an effect of an older epoch than one already obeyed is refused.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mainstay_rt::files;
use mainstay_units::Epoch;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum FenceError {
    #[error("epoch {asked} is over: epoch {highest} was obeyed already")]
    Stale { asked: Epoch, highest: Epoch },
    #[error("epoch fence {}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("epoch fence {} does not contain a number", .0.display())]
    Garbled(PathBuf),
}

#[derive(Debug)]
pub struct EpochFence {
    path: PathBuf,
    highest: Epoch,
}

impl EpochFence {
    /// `path` is a file of the executor's own; it need not exist.
    pub fn open(path: &Path) -> Result<Self, FenceError> {
        let highest = match files::read_limited(path, 64) {
            Ok(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .map(Epoch)
                .ok_or_else(|| FenceError::Garbled(path.to_path_buf()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Epoch::ZERO,
            Err(source) => {
                return Err(FenceError::Io {
                    path: path.to_path_buf(),
                    source,
                });
            }
        };
        Ok(Self {
            path: path.to_path_buf(),
            highest,
        })
    }

    /// May an effect of `epoch` be carried out? A higher epoch is durable before the answer is yes.
    pub fn admit(&mut self, epoch: Epoch) -> Result<(), FenceError> {
        if epoch < self.highest {
            return Err(FenceError::Stale {
                asked: epoch,
                highest: self.highest,
            });
        }
        if epoch > self.highest {
            files::write_atomic(&self.path, format!("{epoch}\n").as_bytes()).map_err(|source| {
                FenceError::Io {
                    path: self.path.clone(),
                    source,
                }
            })?;
            self.highest = epoch;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_epoch_is_refused_after_a_restart_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epoch");
        let mut fence = EpochFence::open(&path).unwrap();
        fence.admit(Epoch(3)).unwrap();
        fence.admit(Epoch(3)).unwrap();
        let mut fence = EpochFence::open(&path).unwrap();
        assert!(matches!(
            fence.admit(Epoch(2)),
            Err(FenceError::Stale { .. })
        ));
        fence.admit(Epoch(4)).unwrap();
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(
            EpochFence::open(&path),
            Err(FenceError::Garbled(_))
        ));
    }
}
