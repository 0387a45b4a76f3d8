//! One step of a task: a command that is printed, run, and must succeed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The root of the checkout, wherever the task was started.
pub fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map(Path::to_path_buf)
        .context("xtask stands in no checkout")
}

/// Runs a command in the checkout and fails if it does.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    println!("+ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root()?)
        .status()
        .with_context(|| format!("start {program}"))?;
    if !status.success() {
        bail!("{program} {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// Whether a program of that name can be started.
pub fn installed(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The folder of PostgreSQL's programs: `PG_BIN`, else the newest version that Debian's packages installed.
pub fn postgres_programs() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PG_BIN") {
        return Ok(folder.into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("look for PostgreSQL")?;
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .context("no PostgreSQL below /usr/lib/postgresql: run scripts/setup, or set PG_BIN")?;
    Ok(PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin")))
}

/// Where cargo puts what it builds, and tools installed for this project alone.
pub fn target_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(PathBuf::from(folder));
    }
    Ok(root()?.join("target"))
}

/// With which care the compiler made a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Checked at every overflow: what `make test` has built anyway.
    Dev,
    /// Optimised: what a user runs, and what is measured.
    Release,
}

/// The simulator, built as one piece: it does nothing but compute, for hours.
pub fn simulator() -> Result<String> {
    let package = ["--package", "mainstay-sim"];
    run(
        "cargo",
        &[&["build", "--locked", "--profile", "sim"], &package[..]].concat(),
    )?;
    let path = target_folder()?.join("sim/mainstay-sim");
    Ok(path.display().to_string())
}

/// An optimised program of the workspace.
pub fn program(name: &str) -> Result<PathBuf> {
    program_of(Profile::Release, name)
}

/// A program of the workspace.
pub fn program_of(profile: Profile, name: &str) -> Result<PathBuf> {
    let (folder, command) = match profile {
        Profile::Dev => ("debug", "cargo build --bins"),
        Profile::Release => ("release", "make build"),
    };
    let path = target_folder()?.join(folder).join(name);
    if !path.is_file() {
        bail!("{} is not built: run `{command}` first", path.display());
    }
    Ok(path)
}
