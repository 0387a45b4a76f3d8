//! Groups of rules at their bells.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_promql::labels::Labels;
use mainstay_rt::files;
use mainstay_rules::file::{Group, read};
use mainstay_rules::group::{Memory, Saved, next_slot};
use mainstay_yaml::FILE_BYTES_MAX;
use sha2::{Digest, Sha256};

/// A group, what it remembers, and when it is due.
#[derive(Debug)]
pub struct Duty {
    pub group: Arc<Group>,
    pub memory: Memory,
    pub interval: i64,
    /// The next bell.
    pub due: i64,
    pub last: Option<i64>,
    pub took_ms: u64,
    /// Bells that passed while something else took too long.
    pub missed: u64,
}

/// A rule file that is not followed, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    pub file: String,
    pub why: String,
}

/// What follows from the rule files as they stand.
#[derive(Debug)]
pub struct Followed {
    pub duties: Vec<Duty>,
    pub refused: Vec<Refused>,
    /// SHA-256 of each file as it is followed, hexadecimal.
    pub digests: Digests,
    /// Series of groups that are not there any more.
    pub gone: Vec<Labels>,
}

/// By files, as they are named here.
pub type Digests = BTreeMap<String, String>;

/// What tells two states of a file apart.
pub type Stamp = Option<(u64, i64, i64, u64)>;

pub fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    files.iter().map(stamp).collect()
}

/// Groups that are given, and those of all files that can be followed, with what is remembered of them. A file that was
/// followed, and is wrong now, is followed as it was.
pub fn load(
    files: &[PathBuf],
    given: Vec<Group>,
    saved: &[Saved],
    (known, known_digests): (&[Duty], &Digests),
    (interval, now): (i64, i64),
) -> Followed {
    let duty_of = |group: Arc<Group>, is_as_before: bool| {
        let mut duty = Duty::new(group, saved, interval, now);
        if let Some(before) = known.iter().find(|known| known.is_of(&duty.group)) {
            let heritage = (&*before.group, &before.memory);
            duty.memory.inherit(&duty.group, heritage);
            if is_as_before {
                // Another file has changed: of this group everything is known still.
                (duty.last, duty.took_ms, duty.missed) =
                    (before.last, before.took_ms, before.missed);
            }
        }
        duty
    };
    let given = given.into_iter().map(Arc::new);
    let mut duties: Vec<Duty> = given.map(|group| duty_of(group, true)).collect();
    let (mut refused, mut digests) = (Vec::new(), Digests::new());
    for path in files {
        let file = path.display().to_string();
        match groups(&file, path) {
            Ok((groups, digest)) => {
                let is_as_before = known_digests.get(&file) == Some(&digest);
                let groups = groups.into_iter().map(Arc::new);
                duties.extend(groups.map(|group| duty_of(group, is_as_before)));
                digests.insert(file, digest);
            }
            Err(why) => {
                let before = known.iter().filter(|duty| duty.group.file == file);
                duties.extend(before.map(|duty| duty_of(Arc::clone(&duty.group), true)));
                let before = known_digests.get(&file).cloned();
                digests.extend(before.map(|digest| (file.clone(), digest)));
                refused.push(Refused { file, why });
            }
        }
    }
    let gone = gone(&duties, &refused, saved, known);
    Followed {
        duties,
        refused,
        digests,
        gone,
    }
}

/// What groups gave that no file has any more. Of a file that cannot be read nobody knows.
fn gone(duties: &[Duty], refused: &[Refused], saved: &[Saved], known: &[Duty]) -> Vec<Labels> {
    let is_gone = |file: &str, name: &str| {
        let is_it = |duty: &Duty| duty.group.file == file && duty.group.name == name;
        !duties.iter().any(is_it) && !refused.iter().any(|refused| refused.file == file)
    };
    let saved = saved.iter();
    let saved = saved.filter(|saved| is_gone(&saved.file, &saved.group));
    let known = known.iter();
    let known = known.filter(|duty| is_gone(&duty.group.file, &duty.group.name));
    let given = known.flat_map(|duty| duty.memory.given().cloned());
    given.chain(saved.flat_map(Saved::given)).collect()
}

/// The groups of a file, and the digest of what they were read from.
fn groups(file: &str, path: &Path) -> Result<(Vec<Group>, String), String> {
    let bytes = files::read_limited(path, FILE_BYTES_MAX as u64)
        .map_err(|error| format!("{file}: {error}"))?;
    let digest = Sha256::digest(&bytes);
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = String::from_utf8(bytes).map_err(|error| format!("{file}: not UTF-8: {error}"))?;
    let groups = read(file, &text).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })?;
    Ok((groups, digest))
}

impl Duty {
    fn new(group: Arc<Group>, saved: &[Saved], default: i64, now: i64) -> Self {
        let known = saved
            .iter()
            .find(|saved| saved.file == group.file && saved.group == group.name);
        let memory = known.map_or_else(
            || Memory::new(&group),
            |saved| Memory::restore(&group, saved),
        );
        let interval = group.interval.unwrap_or(default).max(1);
        Self {
            due: next_slot(&group, interval, now),
            group,
            memory,
            interval,
            last: None,
            took_ms: 0,
            missed: 0,
        }
    }

    fn is_of(&self, group: &Group) -> bool {
        self.group.file == group.file && self.group.name == group.name
    }

    /// Whether the clock was set back so far that the bell would not ring within two intervals. Then it is set anew. A
    /// smaller step is waited for, so that no moment comes twice.
    pub fn heed_clock(&mut self, now: i64) -> bool {
        let is_back = self.due > now.saturating_add(self.interval.saturating_mul(2));
        if is_back {
            self.due = next_slot(&self.group, self.interval, now);
        }
        is_back
    }

    /// Nothing before this moment.
    pub fn wait_for(&mut self, moment: i64) {
        if self.due < moment {
            self.due = next_slot(&self.group, self.interval, moment);
        }
    }

    /// The moment to go through the orders for, if their bell has rung. A bell that was slept through is not made up for.
    pub fn ring(&mut self, now: i64) -> Option<i64> {
        if now < self.due {
            return None;
        }
        let late = (now - self.due) / self.interval;
        let at = self.due + late * self.interval;
        self.missed += late.unsigned_abs();
        self.due = at + self.interval;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_delays_a_bell_by_two_intervals_at_most() {
        let text = "groups: [{name: g, interval: 10s, rules: [{record: 'a:b', expr: x}]}]";
        let given = read("g.yml", text).expect("valid");
        let mut followed = load(&[], given, &[], (&[], &Digests::new()), (5_000, 3_600_000));
        let duty = followed.duties.first_mut().expect("a duty");
        let first = duty.due;
        assert!(!duty.heed_clock(3_600_000), "nothing was set");
        assert!(duty.ring(first).is_some());
        assert_eq!(duty.due, first + 10_000);
        // A little is waited for.
        assert!(!duty.heed_clock(first - 10_000));
        assert!(duty.heed_clock(first - 1_800_000));
        assert!((first - 1_800_000..first - 1_790_000).contains(&duty.due));
        duty.wait_for(first + 1);
        assert_eq!(duty.due, first + 10_000, "at its own moments, as ever");
    }

    /// What another file says is news; of this one everything is known still.
    #[test]
    fn a_group_whose_file_is_as_before_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let put = |name: &str, expression: &str| {
            let text =
                format!("groups: [{{name: g, rules: [{{record: a:b, expr: {expression}}}]}}]");
            std::fs::write(path(name), text).expect("written");
        };
        put("a.yml", "1");
        put("b.yml", "1");
        let files = [path("a.yml"), path("b.yml")];
        let time = (5_000, 3_600_000);
        let mut first = load(&files, Vec::new(), &[], (&[], &Digests::new()), time);
        for duty in &mut first.duties {
            (duty.last, duty.missed) = (Some(3_600_000), 3);
        }
        put("b.yml", "2");
        let known = (first.duties.as_slice(), &first.digests);
        let next = load(&files, Vec::new(), &[], known, time);
        let found: Vec<_> = next
            .duties
            .iter()
            .map(|duty| (duty.last, duty.missed))
            .collect();
        assert_eq!(found, [(Some(3_600_000), 3), (None, 0)]);
    }
}
