//! The board with the alerts, on disk: what the next watch finds.

use std::io;
use std::path::{Path, PathBuf};

use mainstay_rt::files;
use mainstay_rules::group::Saved;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Board {
    version: u32,
    /// Since when alerts are remembered here without a gap; absent in a board of an earlier version.
    #[serde(default)]
    begun_ms: u64,
    groups: Vec<Saved>,
}

#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    begun_ms: u64,
    /// What is on disk, without what changes at every evaluation.
    last: Option<Vec<Saved>>,
}

impl Keeper {
    /// The board as it was left. One that cannot be read is put aside, and a word said: alerts begin anew.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<Saved>)> {
        let path = folder.join("alerts.json");
        let now_ms = mainstay_rt::clock::wall_ms();
        let (begun_ms, groups) = match files::read_limited(&path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (now_ms, Vec::new()),
            Err(error) => return Err(error),
            Ok(bytes) => match serde_json::from_slice::<Board>(&bytes) {
                Ok(board) if board.version == VERSION => (board.begun_ms, board.groups),
                _ => {
                    let aside = folder.join("alerts.json.unreadable");
                    std::fs::rename(&path, &aside)?;
                    tracing::error!(path = %aside.display(), "the state of alerts cannot be read and is put aside: all alerts begin anew");
                    (now_ms, Vec::new())
                }
            },
        };
        let last = None;
        let keeper = Self {
            path,
            begun_ms,
            last,
        };
        Ok((keeper, groups))
    }

    /// Since when alerts are remembered.
    pub fn begun_ms(&self) -> u64 {
        self.begun_ms
    }

    /// Writes the board if an alert came, went or changed its state.
    pub fn keep(&mut self, groups: Vec<Saved>) -> io::Result<()> {
        let essence = essence(&groups);
        if self.last.as_ref() == Some(&essence) {
            return Ok(());
        }
        let board = Board {
            version: VERSION,
            begun_ms: self.begun_ms,
            groups,
        };
        files::write_atomic(&self.path, &serde_json::to_vec(&board)?)?;
        self.last = Some(essence);
        Ok(())
    }
}

/// Values, and the words that quote them, move all the time; the next evaluation finds them again.
fn essence(groups: &[Saved]) -> Vec<Saved> {
    let mut essence = groups.to_vec();
    for alert in essence
        .iter_mut()
        .flat_map(|group| &mut group.rules)
        .flat_map(|rule| &mut rule.alerts)
    {
        alert.value = 0.0;
        alert.annotations.clear();
    }
    essence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_cannot_be_read_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("alerts.json"), "{").expect("written");
        let (mut keeper, groups) = Keeper::open(folder.path()).expect("open");
        assert!(groups.is_empty());
        assert!(folder.path().join("alerts.json.unreadable").exists());
        keeper.keep(Vec::new()).expect("kept");
        assert!(Keeper::open(folder.path()).expect("open").1.is_empty());
    }
}
