//! The three parts of a run.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mainstay_dbcheck::dice::Dice;
use mainstay_testkit::postgres::program;
use mainstay_testkit::wait::wait_for;
use mainstay_units::Lsn;
use rustix::process::Signal;

use crate::damage::{Damage, copy, objects, segment_of};
use crate::judge::{Expected, Outcome, Verdict, judge};
use crate::place::{PATIENCE, Place, STORES, Schedule, Writer};

/// PostgreSQL's, as the server here was made.
const SEGMENT: u64 = 16 << 20;
const ROWS_A_TURN: u64 = 4;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub interruptions: u32,
    pub exact: u32,
    pub refused: u32,
    pub backups: u32,
}

/// Archivers are killed and stores go away while rows are written and the server keeps only log that it must. Afterwards
/// everything comes back from the backup that was there before.
pub fn interrupt(
    place: &Place,
    writer: &mut Writer,
    dice: &mut Dice,
    interruptions: u32,
) -> Result<()> {
    let mut archiver = place.archiver()?;
    write_some(place, writer, dice)?;
    let first = wait_for("a proven base backup", PATIENCE, || {
        backups(place).into_iter().find(|(_, proven)| *proven)
    });
    let (first, _) = first.with_context(|| place.said())?;
    writer.before_backup = writer.rows();
    for _ in 0..interruptions {
        let away: &[&str] = match dice.below(4) {
            0 => &STORES,
            1 => &STORES[..1],
            2 => &STORES[1..],
            _ => &[],
        };
        for store in away {
            place.away(store)?;
        }
        write_some(place, writer, dice)?;
        pause(dice.below(800));
        archiver.stop(Signal::KILL, PATIENCE)?;
        write_some(place, writer, dice)?;
        place.server.psql("postgres", "CHECKPOINT")?;
        for store in away {
            place.back(store)?;
        }
        archiver = place.archiver()?;
    }
    write_some(place, writer, dice)?;
    let last = *writer.acknowledged.last().context("nothing was written")?;
    place.wait_until_archived(last)?;
    archiver.stop(Signal::KILL, PATIENCE)?;
    let whole = Expected {
        least: writer.rows(),
        most: writer.rows(),
        may_refuse: false,
    };
    let both: Vec<PathBuf> = STORES.iter().map(|store| place.at(store)).collect();
    let outcome = restore(place, &both, "latest", Some(&first))?;
    let verdict = judge(whole, &outcome);
    verdict.map_err(|wrong| {
        anyhow::anyhow!(
            "after {interruptions} interruptions, from backup {first}: {wrong}\n{}",
            place.said()
        )
    })?;
    Ok(())
}

/// So that a kill meets whatever is going on.
#[allow(
    clippy::disallowed_methods,
    reason = "a random moment, not a condition; nothing is decided by it"
)]
fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn write_some(place: &Place, writer: &mut Writer, dice: &mut Dice) -> Result<()> {
    for _ in 0..1 + dice.below(ROWS_A_TURN) {
        writer.write(&place.server)?;
        if dice.percent(40) {
            place.server.psql("postgres", "SELECT pg_switch_wal()")?;
        }
    }
    Ok(())
}

/// Copies of the stores are damaged and restored from.
pub fn damaged(
    place: &Place,
    writer: &Writer,
    dice: &mut Dice,
    damages: u32,
    counts: &mut Counts,
) -> Result<()> {
    for number in 0..damages {
        let with_both = dice.percent(40);
        let names: &[&str] = if with_both { &STORES } else { &STORES[..1] };
        let stores: Vec<PathBuf> = names
            .iter()
            .map(|name| place.at(&format!("damaged-{number}-{name}")))
            .collect();
        for (name, store) in names.iter().zip(&stores) {
            copy(&place.at(name), store)?;
        }
        let [hit, ..] = stores.as_slice() else {
            bail!("no store");
        };
        let known = objects(hit)?;
        let (what, expected, target) = match with_both && dice.percent(30) {
            true => {
                std::fs::remove_dir_all(hit)?;
                let (target, row) = target(writer, dice);
                ("a store is gone".to_owned(), exactly(row, false), target)
            }
            false => {
                let damage = Damage::draw(dice, &known)?;
                damage.apply(dice, hit)?;
                let (target, row) = target(writer, dice);
                let mut expected = exactly(row, !with_both);
                if target == "latest" && !with_both {
                    expected.least = least(&damage, &known, writer);
                }
                (format!("{damage:?}"), expected, target)
            }
        };
        let outcome = restore(place, &stores, &target, None)?;
        match judge(expected, &outcome) {
            Ok(Verdict::Exact) => counts.exact += 1,
            Ok(Verdict::Refused) => counts.refused += 1,
            Err(wrong) => bail!("{what}, restored to {target} ({expected:?}): {wrong}"),
        }
        for store in &stores {
            std::fs::remove_dir_all(store).ok();
        }
    }
    Ok(())
}

const fn exactly(rows: u64, may_refuse: bool) -> Expected {
    Expected {
        least: rows,
        most: rows,
        may_refuse,
    }
}

/// The end, or the moment after one of the rows; and how many rows were acknowledged then.
fn target(writer: &Writer, dice: &mut Dice) -> (String, u64) {
    // A recovery knows that it has reached a position by what follows, so the last ones are none.
    let first = writer.before_backup + 1;
    let choice = writer.rows().saturating_sub(first + 2).max(1);
    let row = first + dice.below(choice);
    let lsn = writer.acknowledged.get(row as usize - 1);
    match lsn {
        Some(lsn) if row + 2 <= writer.rows() && dice.percent(60) => (lsn.to_string(), row),
        _ => ("latest".to_owned(), writer.rows()),
    }
}

/// How much must come back by `latest`. Whoever takes away the end of the log leaves an archive as it was before, which nobody
/// can tell from one that is whole; whatever else is done is found.
fn least(damage: &Damage, known: &[PathBuf], writer: &Writer) -> u64 {
    let Damage::Remove(object) = damage else {
        return writer.rows();
    };
    let last = known.iter().filter_map(|object| segment_of(object)).max();
    match segment_of(object) {
        Some(number) if Some(number) == last => writer.before(Lsn(number * SEGMENT)),
        _ => writer.rows(),
    }
}

/// Base backups one after the other, each followed by retention, under kills: the proven one stays, until another is.
pub fn retained(place: &Place, writer: &mut Writer, dice: &mut Dice, more: u32) -> Result<u32> {
    place.schedule(Schedule::OneAfterTheOther)?;
    let before: BTreeSet<String> = backups(place).into_iter().map(|(id, _)| id).collect();
    let mut seen = before.clone();
    while seen.len() < before.len() + more as usize {
        let mut archiver = place.archiver()?;
        let known = seen.len();
        wait_for("another base backup", PATIENCE, || {
            seen.extend(backups(place).into_iter().map(|(id, _)| id));
            (seen.len() > known).then_some(())
        })
        .with_context(|| place.said())?;
        // Retention follows, and perhaps the next one begins.
        pause(dice.below(2_000));
        archiver.stop(Signal::KILL, PATIENCE)?;
        ensure!(
            backups(place).iter().any(|(_, proven)| *proven),
            "no proven backup is left"
        );
        write_some(place, writer, dice)?;
    }
    Ok(more)
}

/// The complete backups that the first store has, by their objects, and whether each is proven.
fn backups(place: &Place) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for object in objects(&place.at(STORES[0])).unwrap_or_default() {
        let parts: Vec<String> = object
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if let [_, _, folder, id, last] = parts.as_slice()
            && folder == "backups"
            && last == "backup"
        {
            let proven = std::fs::read_dir(place.at(STORES[0]).join(&object).with_file_name(""));
            let proven = proven.into_iter().flatten().flatten();
            let is_proven = proven
                .into_iter()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("proof-"));
            found.push((id.clone(), is_proven));
        }
    }
    found
}

fn restore(
    place: &Place,
    stores: &[PathBuf],
    target: &str,
    backup: Option<&str>,
) -> Result<Outcome> {
    let into = place.at("restored");
    let output = place.restore(stores, &into, target, backup)?;
    let outcome = match output.status.success() {
        true => Outcome::Restored(rows(&into, "postgres")?),
        false => Outcome::Refused {
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            left: std::fs::read_dir(&into).is_ok_and(|mut entries| entries.next().is_some()),
        },
    };
    std::fs::remove_dir_all(&into).ok();
    Ok(outcome)
}

/// What a database of the restored cluster holds, read by a server in single-user mode.
pub fn rows(data: &Path, database: &str) -> Result<BTreeSet<u64>> {
    let mut command = program("postgres")?;
    command.arg("--single").arg("-D").arg(data).arg(database);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("start postgres --single")?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "SELECT n FROM acknowledged")?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "read what was restored: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // `	 1: n = "5"	(typeid = …)`
    let values = said.split("n = \"").skip(1);
    values
        .map(|value| {
            let digits = value.split('"').next().unwrap_or_default();
            digits
                .parse()
                .with_context(|| format!("read row {digits:?}"))
        })
        .collect()
}
