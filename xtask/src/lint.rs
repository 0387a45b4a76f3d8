//! What every change must pass before anything runs.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::step::{installed, root, run as step, target_folder};
use crate::tidy;

/// The version of cargo-deny that is installed where none is found.
const DENY_VERSION: &str = "0.20.2";

pub fn run() -> Result<()> {
    step("cargo", &["fmt", "--all", "--check"])?;
    tidy::run()?;
    clippy()?;
    let told = told()?;
    if std::fs::read_to_string(root()?.join(DENIED)).is_ok_and(|known| known == told) {
        println!("dependencies: as cargo deny passed them ({DENIED})");
        return Ok(());
    }
    deny()
}

/// Where clippy stands in for the compiler (`.ci/run`), building is linting: what follows finds everything built.
fn clippy() -> Result<()> {
    let wrapper = std::env::var_os("RUSTC_WORKSPACE_WRAPPER").unwrap_or_default();
    let everything = ["--workspace", "--all-targets", "--locked"];
    if wrapper.to_string_lossy().ends_with("clippy-driver") {
        return step("cargo", &[&["build"][..], &everything].concat());
    }
    let strictly = ["--", "-D", "warnings"];
    step("cargo", &[&["clippy"][..], &everything, &strictly].concat())
}

/// What cargo deny was told when it last passed. It finds the same in the same: a lock file names every source by its digest.
const DENIED: &str = "deny.passed";

fn told() -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(DENY_VERSION);
    for name in ["Cargo.lock", "deny.toml"] {
        digest.update(std::fs::read(root()?.join(name)).with_context(|| format!("read {name}"))?);
    }
    let digits = digest.finalize();
    let text: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(text + "\n")
}

/// Licences, bans and sources. Advisories need a database from the network and are not asked here.
pub fn deny() -> Result<()> {
    let own = target_folder()?.join("tools");
    let own_program = own.join("bin/cargo-deny");
    let program = if installed("cargo-deny") {
        "cargo-deny".to_owned()
    } else {
        if !own_program.is_file() {
            let root = own.display().to_string();
            step(
                "cargo",
                &[
                    "install",
                    "--quiet",
                    "--locked",
                    // It reads a list once: what optimising takes is never made up for.
                    "--debug",
                    "--root",
                    &root,
                    "--version",
                    DENY_VERSION,
                    "cargo-deny",
                ],
            )?;
        }
        own_program.display().to_string()
    };
    step(
        &program,
        &[
            "--workspace",
            "check",
            "--hide-inclusion-graph",
            "licenses",
            "bans",
            "sources",
        ],
    )?;
    let path = root()?.join(DENIED);
    std::fs::write(&path, told()?).with_context(|| format!("write {}", path.display()))
}
