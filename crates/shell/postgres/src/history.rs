//! Timelines: which log continues which.
//!
//! PostgreSQL numbers timelines by looking for the first free number in its own folder, so two standbys
//! promoted apart from each other choose the same one, and nothing afterwards tells them apart. We make the
//! number the term instead: before a promotion, empty *placeholder* history files occupy every number
//! below it. A placeholder says nothing and PostgreSQL reads it as a timeline without ancestors, so one
//! that lies above the last real history would stop a restart, and one that hides a real history would
//! stop a follower: both are cleared away here before a server starts or follows.

use std::path::{Path, PathBuf};

use mainstay_units::{Lsn, Timeline};

/// Larger than any history that is not a mistake: some forty bytes per term.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Terms above this are not written as placeholders one by one; they are a sign of a loop.
const PLACEHOLDERS_LIMIT: u32 = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("read the timeline history {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("write the timeline history {}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("understand line {line:?} of the history of timeline {timeline}")]
    Line { timeline: Timeline, line: String },
    #[error("occupy the timelines from {from} to {to}: too many")]
    TooMany { from: Timeline, to: Timeline },
}

/// The ancestors of a timeline, oldest first, each with the position at which it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub timeline: Timeline,
    pub ancestors: Vec<(Timeline, Lsn)>,
}

/// How a log relates to the history of a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// All of it is part of that history: it may follow.
    Part,
    /// It went on beyond the point where the history left its timeline.
    Beyond { left_at: Lsn },
    /// Its timeline does not occur in that history.
    Foreign,
}

impl History {
    /// # Errors
    /// When a line is not `timeline<tab>position…`.
    pub fn parse(timeline: Timeline, text: &str) -> Result<Self, HistoryError> {
        let mut ancestors = Vec::new();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut fields = line.split_ascii_whitespace();
            let parsed = fields
                .next()
                .and_then(|number| number.parse().ok())
                .zip(fields.next().and_then(|lsn| lsn.parse().ok()));
            let Some((number, lsn)) = parsed else {
                let line = line.to_owned();
                return Err(HistoryError::Line { timeline, line });
            };
            ancestors.push((Timeline(number), lsn));
        }
        Ok(Self {
            timeline,
            ancestors,
        })
    }

    /// Whether a log that ends at `lsn` of `timeline` may follow a primary with this history.
    pub fn relation(&self, timeline: Timeline, lsn: Lsn) -> Relation {
        if timeline == self.timeline {
            return Relation::Part;
        }
        match self.ancestors.iter().find(|(other, _)| *other == timeline) {
            Some((_, left_at)) if lsn <= *left_at => Relation::Part,
            Some((_, left_at)) => Relation::Beyond { left_at: *left_at },
            None => Relation::Foreign,
        }
    }
}

/// Where a data folder keeps the history of a timeline.
pub fn path(pgdata: &Path, timeline: Timeline) -> PathBuf {
    pgdata
        .join("pg_wal")
        .join(format!("{:08X}.history", timeline.0))
}

/// The history of a timeline as the folder has it; the first timeline has none and needs none.
///
/// # Errors
/// When the file cannot be read or understood.
pub fn read(pgdata: &Path, timeline: Timeline) -> Result<History, HistoryError> {
    if timeline.0 <= 1 {
        return History::parse(timeline, "");
    }
    let path = path(pgdata, timeline);
    let bytes = mainstay_rt::files::read_limited(&path, FILE_LIMIT)
        .map_err(|source| HistoryError::Read { path, source })?;
    History::parse(timeline, &String::from_utf8_lossy(&bytes))
}

/// The timelines of which the folder has a history file, with whether it says anything.
fn present(pgdata: &Path) -> Vec<(Timeline, bool)> {
    let Ok(entries) = std::fs::read_dir(pgdata.join("pg_wal")) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let digits = name.to_str()?.strip_suffix(".history")?;
            let number = u32::from_str_radix(digits, 16).ok()?;
            let real = entry.metadata().ok()?.len() > 0;
            Some((Timeline(number), real))
        })
        .collect()
}

/// The highest timeline of which the folder has a real history.
pub fn highest_real(pgdata: &Path) -> Option<Timeline> {
    present(pgdata)
        .into_iter()
        .filter_map(|(timeline, real)| real.then_some(timeline))
        .max()
}

/// Occupies every number above `own` and below `target`, so that a promotion chooses `target`.
///
/// # Errors
/// When a file cannot be written, or there would be absurdly many.
pub fn occupy(
    pgdata: &Path,
    own: Timeline,
    target: Timeline,
    give: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<(), HistoryError> {
    if target.0.saturating_sub(own.0) > PLACEHOLDERS_LIMIT {
        let (from, to) = (own, target);
        return Err(HistoryError::TooMany { from, to });
    }
    for number in own.0.saturating_add(1)..target.0 {
        let path = path(pgdata, Timeline(number));
        if !path.exists() {
            // A server that looks for the name and may not read what it finds ends itself.
            mainstay_rt::files::swap_for(&path, b"", &give)
                .map_err(|source| HistoryError::Write { path, source })?;
        }
    }
    let folder = pgdata.join("pg_wal");
    mainstay_rt::files::fsync_dir(&folder).map_err(|source| HistoryError::Write {
        path: folder,
        source,
    })
}

/// Whether there is a history, or a placeholder, of this timeline.
pub fn exists(pgdata: &Path, timeline: Timeline) -> bool {
    path(pgdata, timeline).exists()
}

/// Takes away every history above `own` that the log never reached: placeholders of a promotion that did
/// not happen, and histories of primaries that were never followed.
///
/// # Errors
/// When a file cannot be removed.
pub fn forget_above(pgdata: &Path, own: Timeline) -> Result<(), HistoryError> {
    for (timeline, _) in present(pgdata) {
        if timeline > own {
            remove(pgdata, timeline)?;
        }
    }
    Ok(())
}

/// The highest timeline of which the folder has log: the first eight digits of a segment's name.
fn highest_segment(pgdata: &Path) -> Option<Timeline> {
    std::fs::read_dir(pgdata.join("pg_wal"))
        .ok()?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let digits = name.to_str()?;
            if digits.len() != SEGMENT_DIGITS {
                return None;
            }
            u32::from_str_radix(digits.get(..8)?, 16).ok()
        })
        .max()
        .map(Timeline)
}

/// Digits in the name of a log segment.
const SEGMENT_DIGITS: usize = 24;

/// Takes away what would keep a server from starting, or make it stop short of the end of its own log: the
/// histories of timelines of which it has no log, and placeholders above the last real history.
///
/// # Errors
/// When a file cannot be removed.
pub fn forget_dangling(pgdata: &Path) -> Result<(), HistoryError> {
    if let Some(highest) = highest_segment(pgdata) {
        forget_above(pgdata, highest)?;
    }
    let highest = highest_real(pgdata).unwrap_or(Timeline(1));
    forget_above(pgdata, highest)
}

fn remove(pgdata: &Path, timeline: Timeline) -> Result<(), HistoryError> {
    let path = path(pgdata, timeline);
    std::fs::remove_file(&path).map_err(|source| HistoryError::Write { path, source })
}

/// Stores what a primary says of a timeline, in place of whatever stood there.
///
/// # Errors
/// When the file cannot be written.
pub fn store(
    pgdata: &Path,
    timeline: Timeline,
    content: &[u8],
    give: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<(), HistoryError> {
    let path = path(pgdata, timeline);
    mainstay_rt::files::write_atomic_for(&path, content, give)
        .map_err(|source| HistoryError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(u32, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pg_wal")).unwrap();
        for (number, text) in files {
            std::fs::write(path(folder.path(), Timeline(*number)), text).unwrap();
        }
        folder
    }

    fn numbers(folder: &Path) -> Vec<u32> {
        let mut numbers: Vec<u32> = present(folder).iter().map(|(t, _)| t.0).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_log_is_part_of_a_history_up_to_where_its_timeline_was_left() {
        let text = "1\t0/3000000\tno recovery target specified\n\n3\t0/5000000\tsame\n";
        let history = History::parse(Timeline(5), text).unwrap();
        let relation = |timeline, lsn| history.relation(Timeline(timeline), Lsn(lsn));
        assert_eq!(relation(1, 0x300_0000), Relation::Part);
        let left_at = Lsn(0x300_0000);
        assert_eq!(relation(1, 0x300_0001), Relation::Beyond { left_at });
        assert_eq!(relation(3, 0x400_0000), Relation::Part);
        assert_eq!(relation(4, 0x400_0000), Relation::Foreign);
        assert_eq!(relation(5, 0x900_0000), Relation::Part);
        assert!(History::parse(Timeline(2), "one two").is_err());
    }

    #[test]
    fn placeholders_fill_the_gap_and_nothing_else() {
        let folder = folder(&[(2, "1\t0/1\tx\n")]);
        occupy(folder.path(), Timeline(2), Timeline(5), |_| Ok(())).unwrap();
        assert_eq!(numbers(folder.path()), [2, 3, 4]);
        let far = occupy(folder.path(), Timeline(2), Timeline(u32::MAX), |_| Ok(()));
        assert!(far.is_err());
    }

    #[test]
    fn dangling_placeholders_go_but_those_below_a_real_history_stay() {
        let folder = folder(&[(2, ""), (3, ""), (4, "1\t0/1\tx\n"), (5, ""), (6, "")]);
        forget_dangling(folder.path()).unwrap();
        assert_eq!(numbers(folder.path()), [2, 3, 4]);
    }

    #[test]
    fn a_history_without_log_goes() {
        let folder = folder(&[(2, "1\t0/1\tx\n"), (5, "2\t0/2\tx\n")]);
        let segment = folder.path().join("pg_wal/000000020000000000000003");
        std::fs::write(segment, "").unwrap();
        forget_dangling(folder.path()).unwrap();
        assert_eq!(numbers(folder.path()), [2]);
    }
}
