//! The archive of a platform whose primary is lost: does it lead from one history into the next?
//!
//! Three replicas with their keepers and archivers, two stores, one writer that numbers its rows and notes for each where the
//! log was, and when, after it had been acknowledged. A store goes away, the primary's host dies, another replica is promoted and
//! the archiver beside it goes on; host and store come back. Then the database is brought back to moments before and after
//! the change, and each must hold exactly the rows that were acknowledged by then. At the end `backup:` leaves the file, and no
//! server may keep log for an archive any more.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use mainstay_testkit::asker::Asker;
use mainstay_testkit::platform::{PATIENCE, Platform, said};
use mainstay_testkit::wait::wait_for;
use mainstay_units::Lsn;
use serde_json::Value;

use crate::judge::{Expected, Outcome, judge};
use crate::stages::rows;

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../examples/database/platform.yaml"
);
const DATABASE: &str = "orders";
const HOSTS: [&str; 3] = ["use1-a", "usw2-a", "euw1-a"];
/// On each side of the failover, so that targets do not lie at its edge.
const ROWS_LEAST: u64 = 12;
/// From the edge.
const MARGIN: u64 = 4;

/// What was seen.
#[derive(Debug)]
pub struct Told {
    rows: u64,
    before: u64,
    backup: String,
    proof: Value,
    restored: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "platform: {} rows, {} of them before the primary's host died; backup {} of a standby leads to timeline {}; exact to \
             {}; no slot is left when `backup:` is",
            self.rows,
            self.before,
            self.backup,
            self.proof["timeline"],
            self.restored.join(", ")
        )
    }
}

/// # Errors
/// When anything came back that must not, or nothing that must.
pub fn run(program: &Path) -> Result<Told> {
    let platform = Platform::new(&program.display().to_string());
    let stores = ["one", "two"].map(|name| platform.folder().join(name));
    platform.start(&file(&platform, "archived.yaml", &backup(&stores))?);
    let asker = Asker::of(&platform, DATABASE, &HOSTS);
    let writer = Writer::start(asker.clone())?;
    let backup = taken_of_a_standby(&platform)?;
    writer.wait_for_more(ROWS_LEAST)?;
    standbys_keep_what_the_primary_keeps(&asker)?;

    let before = primary_is_lost(&platform, &writer, &stores)?;
    writer.wait_for_more(ROWS_LEAST)?;
    let written = writer.finish()?;
    whole(&platform)?;
    archived(
        &platform,
        written.last().context("nothing was written")?.lsn,
    )?;

    let restored = brought_back(&platform, &written, before, &stores)?;
    let proof = proven(&platform, &backup)?;
    nothing_is_kept_for_no_archive(&platform, &asker)?;
    Ok(Told {
        rows: written.len() as u64,
        before,
        backup,
        proof,
        restored,
    })
}

fn backup(stores: &[PathBuf; 2]) -> String {
    let [one, other] = stores.each_ref().map(|store| store.display());
    format!(
        "      backup:\n        stores: [{one}, {other}]\n        logEvery: 1s\n        proveEvery: 0\n"
    )
}

fn file(platform: &Platform, name: &str, section: &str) -> Result<String> {
    let example = std::fs::read_to_string(EXAMPLE).context("read the example")?;
    let ports = "      ports:\n        postgres: 5432\n";
    ensure!(example.contains(ports), "the example has other ports");
    let text = example.replacen(ports, &format!("{section}{ports}"), 1);
    Ok(platform.write(name, text, 0o644))
}

/// A row that was acknowledged: where the log was afterwards, and a moment between it and the next one.
#[derive(Clone, Copy, Debug)]
struct Row {
    lsn: Lsn,
    at_ms: u64,
}

/// Writes one row after the other, and each until somebody says that it is there.
struct Writer {
    ends: Arc<AtomicBool>,
    rows: Arc<Mutex<Vec<Row>>>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(asker: Asker) -> Result<Self> {
        let table = "CREATE TABLE IF NOT EXISTS acknowledged (n bigint PRIMARY KEY)";
        wait_for("a table", PATIENCE, || asker.ask(table))?;
        let (ends, rows) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<Row>>>::default(),
        );
        let (ended, written) = (Arc::clone(&ends), Arc::clone(&rows));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                let mut rows = written.lock().unwrap_or_else(PoisonError::into_inner);
                let next = rows.len() + 1;
                drop(rows);
                if let Some(row) = write(&asker, next) {
                    rows = written.lock().unwrap_or_else(PoisonError::into_inner);
                    rows.push(row);
                }
            }
        });
        Ok(Self { ends, rows, thread })
    }

    fn count(&self) -> u64 {
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    fn wait_for_more(&self, more: u64) -> Result<()> {
        let enough = self.count() + more;
        wait_for("more rows", PATIENCE, || {
            (self.count() >= enough).then_some(())
        })
    }

    fn finish(self) -> Result<Vec<Row>> {
        self.ends.store(true, Ordering::Release);
        ensure!(self.thread.join().is_ok(), "the writer ended in a panic");
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.clone())
    }
}

/// A row that was there already is written over, so that this commit waits for whatever the first one would have waited for.
fn write(asker: &Asker, number: usize) -> Option<Row> {
    let said = asker.ask(&format!(
        "BEGIN; INSERT INTO acknowledged VALUES ({number}) ON CONFLICT (n) DO UPDATE SET n = excluded.n; COMMIT; \
         SELECT pg_current_wal_insert_lsn() || ' ' || floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 1"
    ))?;
    let (lsn, at_ms) = said.split_once(' ')?;
    Some(Row {
        lsn: lsn.parse().ok()?,
        at_ms: at_ms.parse().ok()?,
    })
}

fn primary(platform: &Platform) -> Option<String> {
    let status = platform.json(&["status", "--json"]);
    Some(status["databases"][0]["primary"].as_str()?.to_owned())
}

/// Every replica counts again; the primary may be away from its home.
fn whole(platform: &Platform) -> Result<()> {
    let waited = wait_for("all copies", PATIENCE, || {
        let status = platform.json(&["status", "--json"]);
        (status["databases"][0]["copies"] == HOSTS.len()).then_some(())
    });
    waited.with_context(|| said(&platform.mainstay(&["status"])))
}

/// The first base backup, which a standby must have given.
fn taken_of_a_standby(platform: &Platform) -> Result<String> {
    let taken = wait_for("a base backup", PATIENCE, || {
        let listed = platform.json(&["backup", "list", DATABASE, "--json"]);
        let backup = &listed["backups"][0]["backup"];
        backup.is_object().then(|| backup.clone())
    });
    let taken = taken.with_context(|| said(&platform.mainstay(&["backup", "list", DATABASE])))?;
    let primary = primary(platform).context("no primary")?;
    ensure!(
        taken["standby"] == true && taken["host"] != primary.as_str(),
        "a base backup of the primary on {primary}, though it has standbys: {taken}"
    );
    let id = taken["id"].as_str().context("a backup without a name")?;
    Ok(id.to_owned())
}

const SLOTS: &str =
    "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'mainstay_archive%'";

fn standbys_keep_what_the_primary_keeps(asker: &Asker) -> Result<()> {
    wait_for("a slot on every server", PATIENCE, || {
        let kept = asker.ask_each(SLOTS);
        kept.iter()
            .all(|count| count.as_deref().is_some_and(|count| count != "0"))
            .then_some(())
    })
}

/// With one store away. Returns how many rows were acknowledged before.
fn primary_is_lost(platform: &Platform, writer: &Writer, stores: &[PathBuf; 2]) -> Result<u64> {
    let [first, _] = stores;
    let aside = first.with_extension("away");
    std::fs::rename(first, &aside)?;
    std::fs::write(first, "no folder")?;
    writer.wait_for_more(ROWS_LEAST)?;
    let lost = primary(platform).context("no primary")?;
    let before = writer.count();
    platform.act(&["fault", "inject", "host-crash", &lost, "--for", "20s"]);
    wait_for("another primary", PATIENCE, || {
        primary(platform).filter(|now| *now != lost)
    })?;
    writer.wait_for_more(ROWS_LEAST)?;
    std::fs::remove_file(first)?;
    std::fs::rename(&aside, first)?;
    Ok(before)
}

/// Every store has all of the log up to a position.
fn archived(platform: &Platform, lsn: Lsn) -> Result<()> {
    let reached = wait_for("the log to be archived", PATIENCE, || {
        let states = HOSTS.iter().filter_map(|host| {
            platform.record(&format!("hosts/{host}/archives/{DATABASE}/state.json"))
        });
        let mut shipped = states
            .filter(|state| state["receiving"] == true)
            .filter_map(|state| {
                let shipped: Lsn = state["shipped_lsn"].as_str()?.parse().ok()?;
                Some(shipped)
            });
        shipped.any(|shipped| shipped >= lsn).then_some(())
    });
    reached.with_context(|| said(&platform.mainstay(&["backup", "list", DATABASE])))
}

/// To the end, and by position and by time on both sides of the failover; and to the end from each store alone.
fn brought_back(
    platform: &Platform,
    written: &[Row],
    before: u64,
    stores: &[PathBuf; 2],
) -> Result<Vec<String>> {
    let all = written.len() as u64;
    let (old, new) = (before.saturating_sub(MARGIN), all - MARGIN);
    ensure!(
        old > 0 && new > before + MARGIN,
        "too few rows: {before} of {all}"
    );
    let row = |number: u64| written.get(number as usize - 1).context("no such row");
    let key = platform
        .data()
        .join("secrets")
        .join(format!("{DATABASE}-backup-key"));
    let mut told = Vec::new();
    for (target, count) in [
        ("latest".to_owned(), all),
        (row(old)?.lsn.to_string(), old),
        (row(new)?.lsn.to_string(), new),
        (moment(row(old)?.at_ms)?, old),
        (moment(row(new)?.at_ms)?, new),
    ] {
        let outcome = restored(platform, &["--to", &target])?;
        exactly(count, &outcome).with_context(|| format!("to {target}"))?;
        told.push(format!("{target} ({count})"));
    }
    let key = key.display().to_string();
    for store in stores {
        let store = store.display().to_string();
        let outcome = restored(platform, &["--store", &store, "--key", &key])?;
        exactly(all, &outcome).with_context(|| format!("from {store} alone"))?;
    }
    told.push("the end from each store alone".to_owned());
    Ok(told)
}

fn exactly(count: u64, outcome: &Outcome) -> Result<()> {
    let expected = Expected {
        least: count,
        most: count,
        may_refuse: false,
    };
    let judged = judge(expected, outcome);
    judged.map(drop).map_err(|wrong| anyhow::anyhow!("{wrong}"))
}

/// As a person would write it.
fn moment(at_ms: u64) -> Result<String> {
    let seconds = at_ms / 1_000;
    let output = std::process::Command::new("date")
        .args([
            "--utc",
            "--date",
            &format!("@{seconds}"),
            "+%Y-%m-%dT%H:%M:%S",
        ])
        .output()
        .context("ask for the date")?;
    let whole = String::from_utf8(output.stdout)?;
    Ok(format!("{}.{:03}Z", whole.trim(), at_ms % 1_000))
}

fn restored(platform: &Platform, arguments: &[&str]) -> Result<Outcome> {
    let into = platform.folder().join("restored");
    let into_text = into.display().to_string();
    let command = ["database", "restore", DATABASE, "--into", &into_text];
    let output = platform.mainstay(&[&command[..], arguments].concat());
    let outcome = match output.status.success() {
        true => Outcome::Restored(rows(&into, DATABASE)?),
        false => Outcome::Refused {
            said: said(&output),
            left: std::fs::read_dir(&into).is_ok_and(|mut entries| entries.next().is_some()),
        },
    };
    std::fs::remove_dir_all(&into).ok();
    Ok(outcome)
}

/// From the backup of the old history to the end of the new one; and no alarm is left.
fn proven(platform: &Platform, backup: &str) -> Result<Value> {
    let verified = platform.mainstay(&["backup", "verify", DATABASE, "--backup", backup, "--json"]);
    ensure!(verified.status.success(), "{}", said(&verified));
    let proof: Value = serde_json::from_slice(&verified.stdout)?;
    ensure!(
        proof["timeline"].as_u64() >= Some(2),
        "the failover is not in it: {proof}"
    );
    let listed = said(&platform.mainstay(&["backup", "list", DATABASE]));
    ensure!(!listed.contains("alarm"), "{listed}");
    Ok(proof)
}

fn nothing_is_kept_for_no_archive(platform: &Platform, asker: &Asker) -> Result<()> {
    let file = file(platform, "unarchived.yaml", "")?;
    platform.act(&["up", &file, "--detach", "--timeout", "180s"]);
    wait_for("the slots to be dropped", PATIENCE, || {
        let kept: BTreeSet<Option<String>> = asker.ask_each(SLOTS).into_iter().collect();
        (kept == BTreeSet::from([Some("0".to_owned())])).then_some(())
    })
}
