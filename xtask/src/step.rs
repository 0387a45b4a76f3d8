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

/// Where cargo puts what it builds, and tools installed for this project alone.
pub fn target_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(PathBuf::from(folder));
    }
    Ok(root()?.join("target"))
}

/// An optimised program of the workspace.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = target_folder()?.join("release").join(name);
    if !path.is_file() {
        bail!("{} is not built: run `make build` first", path.display());
    }
    Ok(path)
}
