//! What can become of the objects of a store.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mainstay_dbcheck::dice::Dice;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    Flip(PathBuf),
    Truncate(PathBuf),
    Remove(PathBuf),
    /// The bytes of the second under the name of the first, and the other way round.
    Swap(PathBuf, PathBuf),
    /// The bytes of the second under the name of the first: other bytes, an old manifest.
    Replace(PathBuf, PathBuf),
}

impl Damage {
    /// One that hits something.
    pub fn draw(dice: &mut Dice, objects: &[PathBuf]) -> Result<Self> {
        ensure!(objects.len() > 2, "the store has too few objects");
        let one = pick(dice, objects)?;
        let others: Vec<PathBuf> = objects.iter().filter(|o| **o != one).cloned().collect();
        Ok(match dice.below(5) {
            0 => Self::Flip(one),
            1 => Self::Truncate(one),
            2 => Self::Remove(one),
            3 => Self::Swap(one, pick(dice, &others)?),
            _ => {
                // Of the same kind where there is one: another backup's manifest, another piece of log.
                let alike: Vec<PathBuf> = others
                    .iter()
                    .filter(|other| kind(other) == kind(&one))
                    .cloned()
                    .collect();
                let from = if alike.is_empty() { &others } else { &alike };
                Self::Replace(one, pick(dice, from)?)
            }
        })
    }

    /// The objects whose bytes are no longer theirs.
    pub fn hits(&self) -> Vec<&Path> {
        match self {
            Self::Flip(one) | Self::Truncate(one) | Self::Remove(one) | Self::Replace(one, _) => {
                vec![one]
            }
            Self::Swap(one, other) => vec![one, other],
        }
    }

    /// Does it, in a store.
    pub fn apply(&self, dice: &mut Dice, store: &Path) -> Result<()> {
        let at = |object: &Path| store.join(object);
        match self {
            Self::Flip(object) => {
                let mut bytes = std::fs::read(at(object))?;
                let place = dice.below(bytes.len() as u64) as usize;
                let byte = bytes.get_mut(place).context("the object is empty")?;
                *byte ^= 1 << dice.below(8);
                std::fs::write(at(object), bytes)?;
            }
            Self::Truncate(object) => {
                let mut bytes = std::fs::read(at(object))?;
                bytes.truncate(dice.below(bytes.len() as u64) as usize);
                std::fs::write(at(object), bytes)?;
            }
            Self::Remove(object) => std::fs::remove_file(at(object))?,
            Self::Swap(one, other) => {
                let first = std::fs::read(at(one))?;
                std::fs::write(at(one), std::fs::read(at(other))?)?;
                std::fs::write(at(other), first)?;
            }
            Self::Replace(one, other) => {
                std::fs::write(at(one), std::fs::read(at(other))?)?;
            }
        }
        Ok(())
    }
}

fn pick(dice: &mut Dice, objects: &[PathBuf]) -> Result<PathBuf> {
    let place = dice.below(objects.len() as u64) as usize;
    objects.get(place).cloned().context("nothing to pick from")
}

/// What an object is, by its place: its folder, or its name among those of a backup.
fn kind(object: &Path) -> String {
    let name = object.file_name().unwrap_or_default().to_string_lossy();
    let folder = object
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default();
    match folder.to_string_lossy().as_ref() {
        "wal" if name.contains(".partial.") => "beginning".to_owned(),
        "wal" => "segment".to_owned(),
        _ => name.split('-').next().unwrap_or_default().to_owned(),
    }
}

/// Everything in a store, by its path in it, in order.
pub fn objects(store: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(store)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The number of the segment that an object holds a piece of.
pub fn segment_of(object: &Path) -> Option<u64> {
    let is_log = object.parent()?.file_name()? == "wal";
    let name = object.file_name()?.to_str()?;
    let digits = name.get(..24).filter(|_| is_log)?;
    let part = |from: usize| u64::from_str_radix(digits.get(from..from + 8)?, 16).ok();
    // Segments of 16 MiB: 256 of them are one "logical file".
    Some(part(8)? * 256 + part(16)?)
}

pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for object in objects(from)? {
        let target = to.join(&object);
        let folder = target.parent().context("an object without a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::copy(from.join(&object), target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_known_by_its_name() {
        let of = |name: &str| segment_of(&Path::new("ledger/1f/wal").join(name));
        assert_eq!(of("000000010000000200000003"), Some(515));
        assert_eq!(of("000000010000000200000003.partial.00000abc"), Some(515));
        assert_eq!(of("00000002.history"), None);
        let part = Path::new("ledger/1f/backups/000000010000000200000003/part-00000");
        assert_eq!(segment_of(part), None);
    }
}
