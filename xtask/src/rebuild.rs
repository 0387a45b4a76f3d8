//! Every host is lost at once while orders flow, and the platform comes back from its file, its backups and its keys.
//!
//! What was acknowledged is known from the clients' own witness logs, and what came back from the database itself: nothing that
//! the product says of its loss is believed, but for the one moment up to which it says that everything is there. Whatever was
//! acknowledged before that moment must be there; what was acknowledged after it may be lost, and is counted; nothing may be
//! there that nobody intended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::flow::{Flow, PRIMARY_PORT, Source};
use crate::platform::{Afterwards, DATABASE, Platform, hosts, now, pause};
use crate::step::{Profile, program_of, root};

/// For a base backup, and for orders after it to be put away.
const PATIENCE: Duration = Duration::from_secs(180);
const LOG_EVERY: &str = "2s";
const QUIET_SCANS: u32 = 3;

#[derive(clap::Args)]
pub struct Arguments {
    /// Orders a second
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
    /// How long they flow after the base backup, until every host is lost
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// The programs that `cargo build --bins` made, instead of optimised ones
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let base = std::env::temp_dir().join(format!("mainstay-rebuild-{}", std::process::id()));
    ensure!(!base.exists(), "{} exists already", base.display());
    std::fs::create_dir_all(&base)?;
    let file = platform_file(&base)?;
    let mut lost = Platform::start_file(&file, base.join("lost"), 0, arguments.profile)?;
    wait_for_backup(&lost)?;
    // The driver is to be cut off in the middle, like everything else.
    let time = Duration::from_secs(arguments.seconds + 600);
    let flow = Flow::start(&lost, Source::Generated, arguments.rate, time)?;
    pause(Duration::from_secs(arguments.seconds));
    println!("  every host is lost, all at once");
    end_everything(lost.data())?;
    // Clients go on for a moment and learn nothing more.
    drop(flow);
    let kept = keep(&base, lost.data())?;
    lost.afterwards = Afterwards::Remove;
    drop(lost);

    let data = base.join("rebuilt");
    let started = now();
    let said = rebuild(arguments.profile, &file, &kept, &data)?;
    print!("{said}");
    println!(
        "  rebuilt in {:.1} s, as seen from outside",
        started.elapsed().as_secs_f64()
    );
    let mut rebuilt = Platform::adopt(&file, data, arguments.profile);
    rebuilt.wait_healthy(PATIENCE)?;
    let clients = Clients::read(&kept.join("flows"))?;
    let there = commands(&rebuilt)?;
    let verdict = judge(&clients, &there, marked_ms(&rebuilt)?)?;
    println!("  {verdict}");
    goes_on(&rebuilt, arguments.rate)?;
    rebuilt.mainstay(&["journal", "verify"])?;
    rebuilt.afterwards = Afterwards::Remove;
    drop(rebuilt);
    std::fs::remove_dir_all(&base)?;
    Ok(())
}

/// The example with its backups beside the platform, and none proven meanwhile.
fn platform_file(base: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(root()?.join("examples/exchange/platform.yaml"))?;
    let stores = base.join("backups");
    let section = format!(
        "      backup:\n        stores: [{}]\n        logEvery: {LOG_EVERY}\n        proveEvery: 0\n",
        stores.display()
    );
    let changed = text.replacen("      backup:\n        logEvery: 10s\n", &section, 1);
    ensure!(changed != text, "the example's backups are not as expected");
    // What it names beside itself is named where it is.
    let beside = root()?.join("examples/exchange").display().to_string();
    let changed = ["rules", "playbooks"].iter().fold(changed, |text, folder| {
        text.replace(&format!("- {folder}/"), &format!("- {beside}/{folder}/"))
    });
    let path = base.join("platform.yaml");
    std::fs::write(&path, changed)?;
    Ok(path)
}

fn wait_for_backup(platform: &Platform) -> Result<()> {
    let started = now();
    loop {
        let listed = platform.mainstay(&["backup", "list", DATABASE, "--json"]);
        let count = listed.ok().and_then(|text| {
            let listed: Value = serde_json::from_str(&text).ok()?;
            Some(listed["backups"].as_array()?.len())
        });
        if count.is_some_and(|count| count > 0) {
            println!(
                "  a base backup after {:.1} s",
                started.elapsed().as_secs_f64()
            );
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "no base backup within {PATIENCE:?}"
        );
        pause(Duration::from_millis(500));
    }
}

/// As a power failure would: every process of the platform, known by its data folder, without a word to any.
fn end_everything(data: &Path) -> Result<()> {
    let mark = data.display().to_string();
    let own = std::process::id().to_string();
    let mut quiet = 0;
    while quiet < QUIET_SCANS {
        quiet += 1;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let is_driver = String::from_utf8_lossy(&line).contains("exchange-replay");
            if !is_driver && String::from_utf8_lossy(&line).contains(&mark) {
                quiet = 0;
                Command::new("kill").args(["-9", &name]).status()?;
            }
        }
        pause(Duration::from_millis(100));
    }
    Ok(())
}

/// What outlives the hosts: the platform file and the stores lie elsewhere already; the key and a copy of the journal were
/// kept apart; the witness logs are the clients' own.
fn keep(base: &Path, data: &Path) -> Result<PathBuf> {
    let kept = base.join("kept");
    std::fs::create_dir(&kept)?;
    let key = format!("{DATABASE}-backup-key");
    std::fs::rename(data.join("secrets").join(&key), kept.join(&key))?;
    std::fs::rename(data.join("journal"), kept.join("journal"))?;
    std::fs::rename(data.join("flows"), kept.join("flows"))?;
    Ok(kept)
}

fn rebuild(profile: Profile, file: &Path, kept: &Path, data: &Path) -> Result<String> {
    let output = Command::new(program_of(profile, "mainstay")?)
        .arg("rebuild")
        .arg(file)
        .arg("--key")
        .arg(kept.join(format!("{DATABASE}-backup-key")))
        .arg("--journal")
        .arg(kept.join("journal"))
        .arg("--data")
        .arg(data)
        .output()
        .context("start mainstay")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "mainstay rebuild ended with {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// Up to when the product says that everything came back.
fn marked_ms(platform: &Platform) -> Result<u64> {
    for host in hosts(&platform.status()?)? {
        let folder = platform.data().join("hosts").join(&host.name);
        let path = folder.join("databases").join(DATABASE).join("seed.json");
        if let Ok(bytes) = std::fs::read(path) {
            let record: Value = serde_json::from_slice(&bytes)?;
            return record["marked_ms"].as_u64().context("no mark came back");
        }
    }
    bail!("no host has a seed")
}

/// An account and its reference.
type Order = (u64, u64);

/// What the clients wrote down.
#[derive(Default)]
struct Clients {
    intended: BTreeSet<Order>,
    /// When they learned that it was done.
    acknowledged: BTreeMap<Order, u64>,
}

impl Clients {
    fn read(folder: &Path) -> Result<Self> {
        let mut clients = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                let is_witness = path.components().any(|part| part.as_os_str() == "witness");
                if path.is_dir() {
                    folders.push(path);
                } else if is_witness {
                    clients.take(&std::fs::read_to_string(path)?);
                }
            }
        }
        ensure!(
            !clients.acknowledged.is_empty(),
            "nothing was acknowledged before the loss"
        );
        Ok(clients)
    }

    fn take(&mut self, text: &str) {
        // The last line of a client that was killed may be cut off.
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            let number = |name: &str| line[name].as_u64();
            let (Some(account), Some(reference)) = (number("account"), number("reference")) else {
                continue;
            };
            let order = (account, reference);
            match line["event"].as_str() {
                Some("intent") => {
                    self.intended.insert(order);
                }
                Some("answer")
                    if number("status").is_some_and(|status| (200..300).contains(&status)) =>
                {
                    let at_ms = number("wall_ms").unwrap_or(u64::MAX);
                    self.acknowledged.entry(order).or_insert(at_ms);
                }
                _ => {}
            }
        }
    }
}

/// What the database holds, as the database says it.
fn commands(platform: &Platform) -> Result<BTreeSet<Order>> {
    let mut last = String::new();
    for host in hosts(&platform.status()?)? {
        let password = platform
            .data()
            .join("secrets")
            .join(format!("{DATABASE}.pgpass"));
        let output = Command::new("psql")
            .args([
                "--no-psqlrc",
                "--no-password",
                "--tuples-only",
                "--no-align",
            ])
            .args(["--field-separator", " ", "--host", &host.address])
            .args(["--port", &PRIMARY_PORT.to_string()])
            .args(["--username", "application", "--dbname", DATABASE])
            .args([
                "--command",
                "SELECT account, reference FROM exchange.commands",
            ])
            .env("PGPASSFILE", password)
            .output()
            .context("start psql")?;
        if !output.status.success() {
            last = String::from_utf8_lossy(&output.stderr).into_owned();
            continue;
        }
        let mut orders = BTreeSet::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((account, reference)) = line.split_once(' ') else {
                continue;
            };
            orders.insert((account.parse()?, reference.parse()?));
        }
        return Ok(orders);
    }
    bail!("no gateway leads to the ledger: {last}")
}

/// # Errors
/// When something is lost that should be there, or there that nobody wanted.
fn judge(clients: &Clients, there: &BTreeSet<Order>, marked_ms: u64) -> Result<String> {
    let missing = || {
        clients
            .acknowledged
            .iter()
            .filter(|(order, _)| !there.contains(*order))
    };
    let early: Vec<_> = missing()
        .filter(|(_, at_ms)| **at_ms < marked_ms)
        .take(5)
        .collect();
    ensure!(
        early.is_empty(),
        "acknowledged before {marked_ms}, up to when everything is said to be there, and lost: {early:?} (account, \
         reference, acknowledged at)"
    );
    // Account 0 is the venue's own.
    let invented = there
        .iter()
        .filter(|order| order.0 != 0 && !clients.intended.contains(order));
    let invented: Vec<_> = invented.take(5).collect();
    ensure!(invented.is_empty(), "nobody wanted {invented:?}");
    let last = clients
        .acknowledged
        .values()
        .max()
        .copied()
        .unwrap_or_default();
    Ok(format!(
        "{} orders were acknowledged before the loss; {} of them are there, every one that was acknowledged before the last \
         mark; {} are lost, acknowledged in the last {:.1} s",
        clients.acknowledged.len(),
        clients.acknowledged.len() - missing().count(),
        missing().count(),
        Duration::from_millis(last.saturating_sub(marked_ms)).as_secs_f64()
    ))
}

/// The exchange trades again, and its auditor, who knows nothing of a rebuild, finds the books of the new flow in order.
fn goes_on(platform: &Platform, rate: u32) -> Result<()> {
    let flow = Flow::start_named(platform, "after", None, rate, Duration::from_secs(10))?;
    flow.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Clients {
        let mut clients = Clients::default();
        clients.take(
            "{\"event\":\"intent\",\"account\":1,\"reference\":1}\n\
             {\"event\":\"answer\",\"account\":1,\"reference\":1,\"status\":201,\"wall_ms\":100}\n\
             {\"event\":\"intent\",\"account\":1,\"reference\":2}\n\
             {\"event\":\"answer\",\"account\":1,\"reference\":2,\"status\":503,\"wall_ms\":150}\n\
             {\"event\":\"intent\",\"account\":2,\"reference\":1}\n\
             {\"event\":\"answer\",\"account\":2,\"reference\":1,\"status\":200,\"wall_ms\":300}\n\
             {\"event\":\"intent\",\"acc",
        );
        clients
    }

    #[test]
    fn what_is_lost_too_early_and_what_nobody_wanted_is_found() {
        let clients = clients();
        assert_eq!(clients.acknowledged.len(), 2);
        let said = judge(&clients, &BTreeSet::from([(1, 1)]), 200).unwrap();
        assert!(
            said.contains("1 are lost, acknowledged in the last 0.1 s"),
            "{said}"
        );
        let unknown = BTreeSet::from([(1, 1), (1, 2), (2, 1)]);
        assert!(
            judge(&clients, &unknown, 200)
                .unwrap()
                .contains("0 are lost")
        );
        let lost = judge(&clients, &BTreeSet::from([(2, 1)]), 200).unwrap_err();
        assert!(lost.to_string().contains("(1, 1)"), "{lost}");
        let invented = judge(&clients, &BTreeSet::from([(1, 1), (9, 9)]), 200).unwrap_err();
        assert!(invented.to_string().contains("(9, 9)"), "{invented}");
    }
}
