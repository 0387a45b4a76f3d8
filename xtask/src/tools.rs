//! Programs that only tests need, kept beside what cargo builds: nothing is installed on the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::{installed, target_folder};

/// The folder of a program `etcd`, unless it is installed: from the system's package, unpacked, so that no server
/// of the package is started. Without one its tests are left out, and say so.
pub fn etcd() -> Option<PathBuf> {
    if installed("etcd") {
        return None;
    }
    match unpacked("etcd-server", "etcd").and_then(|folder| beside_ours(folder, "etcd")) {
        Ok(folder) => Some(folder),
        Err(error) => {
            println!("no etcd for tests: {error:#}\n  next: apt-get install etcd-server");
            None
        }
    }
}

/// What a platform starts is looked for beside Mainstay's own program and in the system's folders, whatever the caller's search path says.
fn beside_ours(folder: PathBuf, program: &str) -> Result<PathBuf> {
    let link = target_folder()?.join("debug").join(program);
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(std::path::absolute(folder.join(program))?, &link)
        .with_context(|| format!("link {}", link.display()))?;
    Ok(folder)
}

fn unpacked(package: &str, program: &str) -> Result<PathBuf> {
    let folder = target_folder()?.join("tools").join(package);
    let programs = folder.join("usr/bin");
    if programs.join(program).is_file() {
        return Ok(programs);
    }
    let fresh = folder.with_extension("new");
    let _ = std::fs::remove_dir_all(&fresh);
    std::fs::create_dir_all(&fresh).with_context(|| format!("make {}", fresh.display()))?;
    quietly(
        &fresh,
        "apt-get",
        &[
            "download",
            "--quiet",
            "-oAcquire::http::Timeout=10",
            "-oAcquire::Retries=0",
            package,
        ],
    )?;
    let archive = std::fs::read_dir(&fresh)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .with_context(|| format!("apt-get gave no package {package}"))?;
    quietly(
        &fresh,
        "dpkg-deb",
        &["--extract", &archive.display().to_string(), "."],
    )?;
    if !fresh.join("usr/bin").join(program).is_file() {
        bail!("the package {package} has no program {program}");
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&fresh, &folder).with_context(|| format!("keep {}", folder.display()))?;
    Ok(programs)
}

fn quietly(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.trim().lines().last().unwrap_or("it gives no reason");
        bail!("{program} {}: {last}", arguments.join(" "));
    }
    Ok(())
}
