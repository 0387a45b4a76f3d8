//! What a keeper costs while nothing happens: `pgbench` on a database that keepers look after, beside the same three
//! servers with the same settings and nobody to look after them, in pairs that take turns.
//!
//! Both stand on the same machine the whole time, so whatever else it does falls on both; what is compared is one run of
//! `pgbench` with the one right before or after it. While the servers without keepers are measured, keepers and nodes are
//! stopped by a signal: what they take is in the one rate and not in the other. The processor time and memory of the
//! keepers are counted apart, over the runs in which they are awake.

mod bare;
mod keepers;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::bare::Bare;
use self::keepers::Keepers;
use crate::platform::{Afterwards, Example, Platform, hosts};
use crate::step::{Profile, postgres_programs};

/// Fewer pairs say too little about a difference of two percent.
const PAIRS_LEAST: u32 = 30;
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// `pgbench`'s scale: 100,000 accounts each.
const SCALE: &str = "10";
const CLIENTS: &str = "4";
const DATABASE: &str = "orders";
const PORT: u16 = 5432;

/// Where `pgbench` knocks.
struct Entrance {
    host: String,
    port: u16,
    password_file: PathBuf,
}

pub fn measure(pairs: u32, seconds: u32) -> Result<()> {
    let pairs = pairs.max(PAIRS_LEAST);
    let mut platform = Platform::start_of(Example::Database, "bench-steady", 0, Profile::Release)?;
    let status = platform.wait_healthy(RECOVERY_LIMIT)?;
    let primary = status["databases"][0]["primary"]
        .as_str()
        .context("the status names no primary")?
        .to_owned();
    let host = hosts(&status)?
        .into_iter()
        .find(|host| host.name == primary)
        .context("the primary's host is none")?;
    let kept = Entrance {
        host: host.address,
        port: PORT,
        password_file: platform.data().join(format!("secrets/{DATABASE}.pgpass")),
    };
    let settings = settings(&kept)?;
    let bare = Bare::start(&settings)?;
    for entrance in [&kept, &bare.entrance] {
        pgbench(entrance, &["--initialize", "--quiet", "--scale", SCALE])?;
    }
    let mut keepers = Keepers::find(platform.data())?;
    let mut ratios = Vec::new();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Whoever goes second may find the disk busier, so they take turns.
        let (ours, theirs) = if pair % 2 == 0 {
            let ours = keepers.while_awake(|| rate(&kept, seconds))?;
            (ours, keepers.while_still(|| rate(&bare.entrance, seconds))?)
        } else {
            let theirs = keepers.while_still(|| rate(&bare.entrance, seconds))?;
            (keepers.while_awake(|| rate(&kept, seconds))?, theirs)
        };
        ratios.push(ours / theirs);
        with.push(ours);
        without.push(theirs);
    }
    print(&ratios, &mut with, &mut without, seconds);
    keepers.print()?;
    let status = platform.wait_healthy(RECOVERY_LIMIT)?;
    if status["databases"][0]["primary"] != *primary {
        bail!("the primary moved meanwhile: the rates are no rates of calm days");
    }
    platform.afterwards = Afterwards::Remove;
    Ok(())
}

fn print(ratios: &[f64], with: &mut [f64], without: &mut [f64], seconds: u32) {
    let interval = Interval::of(ratios);
    println!(
        "{} pairs of {seconds} s, {CLIENTS} clients, scale {SCALE}, three servers each, commits on two disks.\n",
        ratios.len()
    );
    println!("| | transactions/s, median |\n|---|---|");
    println!("| with keepers | {:.0} |", median(with));
    println!("| the same servers without | {:.0} |", median(without));
    println!(
        "\nRatio: {:.4} (95 % confidence interval {:.4} to {:.4}).",
        interval.centre, interval.low, interval.high
    );
}

/// The geometric mean of ratios, and where the true one lies with 95 % confidence.
struct Interval {
    low: f64,
    centre: f64,
    high: f64,
}

/// Student's t for 95 % and 29 degrees of freedom; with more it is smaller.
const STUDENT: f64 = 2.045;

impl Interval {
    fn of(ratios: &[f64]) -> Self {
        let count = ratios.len() as f64;
        let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let mean = logs.iter().sum::<f64>() / count;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let error = STUDENT * (squares / (count - 1.0) / count).sqrt();
        Self {
            low: (mean - error).exp(),
            centre: mean.exp(),
            high: (mean + error).exp(),
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the keeper set, so that the servers without one are told the same. Names of hosts, sockets and neighbours are
/// each server's own.
fn settings(of: &Entrance) -> Result<Vec<(String, String)>> {
    const OWN: [&str; 7] = [
        "listen_addresses",
        "port",
        "unix_socket_directories",
        "primary_conninfo",
        "primary_slot_name",
        "synchronous_standby_names",
        "restore_command",
    ];
    let sql = "SELECT name || '=' || current_setting(name) FROM pg_settings WHERE source = 'configuration file'";
    let output = client("psql", of)?
        .args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--command",
            sql,
        ])
        .arg(DATABASE)
        .output()
        .context("start psql")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let settings: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !OWN.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if settings.is_empty() {
        bail!("the server tells none of its settings");
    }
    Ok(settings)
}

fn rate(entrance: &Entrance, seconds: u32) -> Result<f64> {
    let seconds = seconds.to_string();
    let said = pgbench(
        entrance,
        &["--no-vacuum", "--client", CLIENTS, "--time", &seconds],
    )?;
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("pgbench tells no rate: {said}"))
}

fn pgbench(entrance: &Entrance, arguments: &[&str]) -> Result<String> {
    let output = client("pgbench", entrance)?
        .args(arguments)
        .arg(DATABASE)
        .output()
        .context("start pgbench")?;
    if !output.status.success() {
        bail!(
            "pgbench: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One of PostgreSQL's client programs, on its way to a server.
fn client(program: &str, to: &Entrance) -> Result<Command> {
    let mut command = Command::new(postgres_programs()?.join(program));
    command
        .env("PGHOST", &to.host)
        .env("PGPORT", to.port.to_string())
        .env("PGUSER", "application")
        .env("PGPASSFILE", &to.password_file);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::Interval;

    #[test]
    fn the_interval_holds_the_mean_and_narrows_with_more_pairs() {
        let few: Vec<f64> = (0..30)
            .map(|at| 0.98 + 0.002 * f64::from(at % 11))
            .collect();
        let many: Vec<f64> = few.iter().copied().cycle().take(300).collect();
        let (few, many) = (Interval::of(&few), Interval::of(&many));
        assert!(few.low < few.centre && few.centre < few.high);
        assert!(many.high - many.low < few.high - few.low);
        assert!((0.98..1.0).contains(&few.centre), "{}", few.centre);
    }
}
