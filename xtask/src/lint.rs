//! What every change must pass before anything runs.

use anyhow::Result;

use crate::step::{installed, run as step, target_folder};
use crate::tidy;

/// The version of cargo-deny that is installed where none is found.
const DENY_VERSION: &str = "0.20.2";

pub fn run() -> Result<()> {
    step("cargo", &["fmt", "--all", "--check"])?;
    tidy::run()?;
    step(
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    deny()
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
    )
}
