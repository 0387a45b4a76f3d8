//! Wall clocks that are stepped: forwards and back by ten minutes, on one host after the other, under a writer. Nobody is
//! promoted and nobody demoted for it; and a failover between hosts that are twenty minutes apart is like any other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

/// Replaces what programs learn of the wall clock.
const SOURCE: &str = include_str!("clock.c");
const STEP: Duration = Duration::from_secs(600);
/// Longer than any patience of a keeper.
const WATCHED: Duration = Duration::from_secs(4);

/// What a host's processes are told of the time.
pub struct Clocks {
    library: PathBuf,
}

impl Clocks {
    /// Builds the library that is loaded before others.
    ///
    /// # Errors
    /// Without a C compiler; whoever builds Rust programs has one.
    pub fn build(folder: &Path) -> Result<Self> {
        let source = folder.join("clock.c");
        let library = folder.join("clock.so");
        std::fs::write(&source, SOURCE)?;
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status()
            .context("run cc")?;
        ensure!(built.success(), "cc ended with {built}");
        Ok(Self { library })
    }

    fn offset(own: &Path) -> PathBuf {
        own.join("clock-offset")
    }

    /// A host's environment; its clock goes right until it is stepped.
    pub fn environment(&self, own: &Path) -> Result<[(&'static str, PathBuf); 2]> {
        let offset = Self::offset(own);
        if !offset.exists() {
            std::fs::write(&offset, 0_i64.to_ne_bytes())?;
        }
        Ok([
            ("LD_PRELOAD", self.library.clone()),
            ("CLOCK_OFFSET", offset),
        ])
    }

    /// From now on a host's wall clock is so many seconds ahead of (or behind) the machine's.
    fn set(own: &Path, seconds: i64) -> Result<()> {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::File::options()
            .write(true)
            .open(Self::offset(own))?;
        // In place: whoever has it mapped sees it change.
        Ok(file.write_all_at(&(seconds * 1_000_000_000).to_ne_bytes(), 0)?)
    }
}

/// How far the clock of a host's server is from the machine's, in seconds.
fn server_is_ahead(cluster: &Cluster, which: usize) -> Result<i64> {
    let now = "SELECT extract(epoch FROM clock_timestamp())::bigint::text";
    let told = client::superuser(cluster, which, now)?.context("no answer")?;
    let machine = i64::try_from(mainstay_rt::clock::wall_ms() / 1_000)?;
    Ok(told.parse::<i64>()? - machine)
}

/// Steps a clock, sees that it took, and that nothing follows from it.
fn step(cluster: &Cluster, writer: &Writer, which: usize, seconds: i64) -> Result<()> {
    let before = cluster.await_healthy()?;
    Clocks::set(&cluster.path(which), seconds)?;
    let ahead = server_is_ahead(cluster, which)?;
    ensure!(
        (ahead - seconds).abs() < 60,
        "ahead by {ahead} s, not {seconds} s"
    );
    cluster.pause(WATCHED);
    writer.await_more(cluster, 50)?;
    let after = cluster.await_healthy()?;
    ensure!(
        after == before,
        "host {which} was stepped to {seconds} s: {before:?} became {after:?}"
    );
    Ok(())
}

pub fn clocks_stepped() -> Result<()> {
    if std::env::var_os("MAINSTAY").is_some() {
        println!("  LEFT OUT: the clocks of a given binary's servers cannot be stepped");
        return Ok(());
    }
    let mut cluster = Cluster::healthy_by_clocks()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    let (primary, term) = cluster.await_healthy()?;
    ensure!(
        cluster.keeper_has_mapped(primary, "clock.so")?,
        "its keeper knows another clock"
    );
    let seconds = i64::try_from(STEP.as_secs())?;
    for which in [primary, (primary + 1) % COUNT] {
        step(&cluster, &writer, which, seconds)?;
        step(&cluster, &writer, which, -seconds)?;
    }
    let record = writer.finish()?;
    println!(
        "  longest gap of the writer: {} ms",
        record.gap().as_millis()
    );
    client::check(&cluster, &record)?;

    // Two are ten minutes behind and one is ten ahead: whoever takes over is twenty minutes from somebody.
    client::forget(&cluster)?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    step(&cluster, &writer, (primary + 2) % COUNT, seconds)?;
    cluster.kill_host(primary);
    let (next, _) = cluster.await_primary(term)?;
    ensure!(next != primary, "a dead host is primary");
    cluster.start_keeper(primary)?;
    cluster.await_healthy()?;
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}
