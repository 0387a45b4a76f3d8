//! Random faults on backups, round by round, each from a seed; a platform that loses its primary while it is put away; and bugs
//! planted in the programs, each of which must be found.
//!
//! A bug is planted by changing the text of a copy of the checkout, so that no product code knows of it. The copy is built with a
//! target folder of its own, and the checker, built from the checkout itself, must find something wrong within a few rounds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::step::{Profile, program_of, root, run as step, target_folder};

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Of the first round; each further one has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which programs
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Plant the known bugs too, or those whose name has this in it
    #[arg(long, value_name = "PART", num_args = 0..=1, default_missing_value = "")]
    planted: Option<String>,
}

/// Rounds in which a planted bug must be found.
const PLANTED_ROUNDS: u64 = 6;

struct Plant {
    name: &'static str,
    changes: &'static [Change],
}

/// The text that stands once in the file, and what it becomes.
struct Change {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const PLANTS: &[Plant] = &[
    Plant {
        name: "objects are not bound to their names",
        changes: &[Change {
            file: "crates/shell/backup/src/seal.rs",
            from: "aad: name.as_bytes(),",
            to: "aad: name.get(..0).unwrap_or_default().as_bytes(),",
        }],
    },
    Plant {
        name: "the log's continuity is not checked",
        changes: &[Change {
            file: "crates/core/archive/src/route.rs",
            from: "Err(Refusal::Hole(segment.name(size)))",
            to: "Ok(())",
        }],
    },
    Plant {
        name: "retention removes the last proven backup",
        changes: &[Change {
            file: "crates/core/archive/src/retention.rs",
            from: "} else if last_proven == Some(place) {",
            to: "} else if last_proven == Some(usize::MAX) {",
        }],
    },
    Plant {
        name: "log in hand is forgotten with the archiver",
        changes: &[
            Change {
                file: "crates/shell/backup/src/slots.rs",
                from: "(wal_status = 'lost' OR {anew})",
                to: "(wal_status = 'lost' OR {anew} OR true)",
            },
            Change {
                file: "crates/shell/backup/src/spool.rs",
                from: "if known == archive.archive_name().as_bytes() && spool.exists() {",
                to: "if known.is_empty() && spool.exists() {",
            },
        ],
    },
    Plant {
        name: "a restore goes to the end, whatever the target",
        changes: &[Change {
            file: "crates/shell/backup/src/restore.rs",
            from: "Self::Lsn(lsn) => Until::Lsn(*lsn),",
            to: "Self::Lsn(_) => Until::End,",
        }],
    },
    Plant {
        name: "the second store is not asked",
        changes: &[Change {
            file: "crates/shell/backup/src/store.rs",
            from: "stores.cycle().skip(first).take(self.stores.len())",
            to: "stores.cycle().skip(first).take(1)",
        }],
    },
    Plant {
        name: "a refused restore leaves what it had begun",
        changes: &[Change {
            file: "crates/shell/backup/src/restore.rs",
            from: "            empty(into).ok();",
            to: "",
        }],
    },
];

pub fn run(arguments: &Arguments) -> Result<()> {
    let checker = program_of(arguments.profile, "mainstay-backcheck")?;
    let program = program_of(arguments.profile, "mainstay")?;
    let last = arguments.seed + arguments.rounds;
    for seed in arguments.seed..last {
        let found = round(&checker, &program, seed)?;
        ensure!(
            found.is_none(),
            "round with seed {seed}; repeat it with: {} --program {} --seed {seed}: {}",
            checker.display(),
            program.display(),
            found.unwrap_or_default()
        );
    }
    let mut on_platform = Command::new(&checker);
    on_platform.arg("--platform").arg("--program").arg(&program);
    let found = ran(&mut on_platform)?;
    ensure!(found.is_none(), "{}", found.unwrap_or_default());
    if let Some(part) = &arguments.planted {
        for plant in PLANTS.iter().filter(|plant| plant.name.contains(part)) {
            planted(plant, &checker, arguments.seed)?;
        }
    }
    Ok(())
}

/// As a checker says it.
fn round(checker: &Path, program: &Path, seed: u64) -> Result<Option<String>> {
    ran(Command::new(checker)
        .arg("--program")
        .arg(program)
        .args(["--seed", &seed.to_string()]))
}

/// `None` if all was right, else what was wrong.
fn ran(checker: &mut Command) -> Result<Option<String>> {
    let output = checker.output().context("start the checker")?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() {
        return Ok(None);
    }
    Ok(Some(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

fn planted(plant: &Plant, checker: &Path, first: u64) -> Result<()> {
    let copy = target_folder()?.join("planted");
    copy_checkout(&copy)?;
    for change in plant.changes {
        change.apply(&copy)?;
    }
    let target = target_folder()?.join("planted-target");
    let manifest = copy.join("Cargo.toml").display().to_string();
    let folder = target.display().to_string();
    step(
        "cargo",
        &[
            "build",
            "--quiet",
            "--locked",
            "--manifest-path",
            &manifest,
            "--target-dir",
            &folder,
            "--package",
            "mainstay",
        ],
    )?;
    let program = target.join("debug/mainstay");
    for seed in first..first + PLANTED_ROUNDS {
        if let Some(found) = round(checker, &program, seed)? {
            println!("planted: {}: found with {found}", plant.name);
            return Ok(());
        }
    }
    bail!(
        "planted: {}: not found in {PLANTED_ROUNDS} rounds",
        plant.name
    )
}

impl Change {
    fn apply(&self, checkout: &Path) -> Result<()> {
        let text = self.changed(checkout)?;
        Ok(std::fs::write(checkout.join(self.file), text)?)
    }

    fn changed(&self, checkout: &Path) -> Result<String> {
        let text = std::fs::read_to_string(checkout.join(self.file))?;
        let count = text.matches(self.from).count();
        ensure!(
            count == 1,
            "{} has {:?} {count} times: the plant does not fit any more",
            self.file,
            self.from
        );
        Ok(text.replace(self.from, self.to))
    }
}

/// The files that git knows, as they are now. What did not change keeps its time, so that it is not built again.
fn copy_checkout(to: &Path) -> Result<()> {
    let root = root()?;
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&root)
        .output()
        .context("ask git for the files")?;
    ensure!(
        listed.status.success(),
        "git ls-files ended with {}",
        listed.status
    );
    let names = String::from_utf8(listed.stdout).context("read git's list")?;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let (from, target): (PathBuf, PathBuf) = (root.join(name), to.join(name));
        let Ok(bytes) = std::fs::read(&from) else {
            continue;
        };
        if std::fs::read(&target).is_ok_and(|known| known == bytes) {
            continue;
        }
        let folder = target.parent().context("a file without a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(&target, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plant_fits_the_text_as_it_is() {
        let root = root().unwrap();
        for plant in PLANTS {
            for change in plant.changes {
                let changed = change.changed(&root);
                changed.unwrap_or_else(|error| panic!("{}: {error:#}", plant.name));
            }
        }
    }
}
