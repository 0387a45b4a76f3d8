//! The rules of the tree that no compiler knows: rings, allowed crates, sizes, and what must not be left behind.
//!
//! A crate's ring is the folder it stands in. A ring may depend on rings above it in [`RINGS`]; `rt` is
//! visible to every shell, and so is `identity`; the exchange stands apart. External crates are allowed ring by ring, so that
//! an IO library in a core is refused here even before the compiler refuses it for want of `std`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::step::root;

const FILE_LINES: usize = 1_000;

/// What the kernel sees of other cores: the model, and the deliberation that it is composed of.
const COMPOSED: &[&str] = &[
    "mainstay-incident",
    "mainstay-model",
    "mainstay-notify",
    "mainstay-playbook",
    "mainstay-schedule",
];
/// What a core or a base crate may use from outside: arithmetic on what it is given, nothing else.
const PURE: &[&str] = &["thiserror", "sha2", "ed25519-dalek", "libm", "regex"];
/// What a form may use besides.
const FORMS: &[&str] = &[
    "anstyle",
    "base64",
    "comfy-table",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "thiserror",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ring {
    Base,
    Core,
    Edge,
    Runtime,
    Identity,
    Shell,
    App,
    Exchange,
    Test,
    Xtask,
}

impl Ring {
    fn of(relative: &str) -> Result<Self> {
        Ok(match relative {
            "crates/shell/rt" => Self::Runtime,
            "crates/shell/identity" => Self::Identity,
            "xtask" => Self::Xtask,
            _ if relative.starts_with("crates/base/") => Self::Base,
            _ if relative.starts_with("crates/core/") => Self::Core,
            _ if relative.starts_with("crates/edge/") => Self::Edge,
            _ if relative.starts_with("crates/shell/") => Self::Shell,
            _ if relative.starts_with("crates/app/") => Self::App,
            _ if relative.starts_with("crates/test/") => Self::Test,
            _ if relative.starts_with("exchange/") => Self::Exchange,
            _ => bail!("{relative} stands in no ring"),
        })
    }

    /// Whether a crate of this ring may depend on a crate of ours in `other`.
    fn may_use(self, name: &str, other: Self, other_name: &str) -> bool {
        match (self, other) {
            (Self::Core, Self::Core) => name == "mainstay-kernel" && COMPOSED.contains(&other_name),
            (Self::Edge, Self::Edge) => {
                matches!(other_name, "mainstay-record" | "mainstay-yaml")
            }
            (Self::App, Self::App) | (Self::Test, Self::Test) => true,
            (Self::Exchange, Self::Exchange) => {
                name != "exchange-audit" && matches!(other_name, "exchange-engine" | "exchange-tls")
            }
            (Self::Exchange | Self::Xtask, _) | (_, Self::Exchange | Self::Xtask) => false,
            (Self::Shell, Self::Shell) => false,
            (Self::App, Self::Test) => false,
            _ => other < self,
        }
    }

    fn may_use_external(self, external: &str) -> bool {
        match self {
            Self::Base | Self::Core => PURE.contains(&external),
            Self::Edge => FORMS.contains(&external),
            Self::Runtime
            | Self::Identity
            | Self::Shell
            | Self::App
            | Self::Exchange
            | Self::Test
            | Self::Xtask => true,
        }
    }
}

pub fn run() -> Result<()> {
    println!("+ tidy");
    let root = root()?;
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()?;
    let mut findings = Vec::new();
    check_rings(&metadata, &root, &mut findings)?;
    check_files(&root, &mut findings)?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    Ok(())
}

fn check_rings(metadata: &Metadata, root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    for package in &metadata.packages {
        let ring = Ring::of(&relative_folder(package, root)?)?;
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let name = dependency.name.as_str();
            let allowed = if ours.contains(name) {
                let other = metadata
                    .packages
                    .iter()
                    .find(|other| other.name.as_str() == name);
                let other = other.context("a package of ours vanished")?;
                ring.may_use(
                    package.name.as_str(),
                    Ring::of(&relative_folder(other, root)?)?,
                    name,
                )
            } else {
                ring.may_use_external(name)
            };
            if !allowed {
                findings.push(format!(
                    "{}: the ring {ring:?} must not depend on {name} (docs/ARCHITECTURE.md says why)",
                    package.manifest_path
                ));
            }
        }
        if matches!(ring, Ring::Base | Ring::Core) || package.name.as_str() == "exchange-engine" {
            let library = package.manifest_path.with_file_name("src").join("lib.rs");
            if !fs::read_to_string(&library)?.contains("#![no_std]") {
                findings.push(format!("{library}: a core is no_std"));
            }
        }
    }
    Ok(())
}

fn relative_folder(package: &Package, root: &Path) -> Result<String> {
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest without a folder")?;
    let relative = folder.as_std_path().strip_prefix(root);
    let relative = relative.with_context(|| format!("{folder} lies outside the checkout"))?;
    Ok(relative.to_string_lossy().into_owned())
}

fn check_files(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("ask git for the files")?;
    for relative in String::from_utf8(listed.stdout)?.lines() {
        let path = root.join(relative);
        // A file deleted but not yet committed is still listed.
        if !path.is_file() {
            continue;
        }
        if relative.ends_with(".rs") {
            check_source(relative, &fs::read_to_string(&path)?, findings);
        }
    }
    Ok(())
}

fn check_source(relative: &str, text: &str, findings: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES {
        findings.push(format!(
            "{relative}: {lines} lines, more than {FILE_LINES}: it has two subjects"
        ));
    }
    if !text.starts_with("//!") && !relative.contains("/tests/") {
        findings.push(format!(
            "{relative}:1: a module begins with its mental model (`//! …`)"
        ));
    }
    // Spelled apart so that this file does not find itself.
    let left_behind = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("todo", "!("),
    ];
    for (number, line) in text.lines().enumerate() {
        if let Some(word) = left_behind.iter().find(|word| line.contains(**word)) {
            findings.push(format!(
                "{relative}:{}: `{word}` is left behind",
                number + 1
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_point_upwards_only() {
        let (core, shell) = (Ring::Core, Ring::Shell);
        assert!(!core.may_use("mainstay-keeper", core, "mainstay-gateway"));
        assert!(core.may_use("mainstay-kernel", core, "mainstay-model"));
        assert!(!core.may_use("mainstay-keeper", Ring::Edge, "mainstay-record"));
        assert!(shell.may_use("mainstay-host", Ring::Runtime, "mainstay-rt"));
        assert!(!shell.may_use("mainstay-host", shell, "mainstay-proxy"));
        assert!(!Ring::Exchange.may_use("exchange-venue", core, "mainstay-keeper"));
        assert!(!Ring::Exchange.may_use("exchange-audit", Ring::Exchange, "exchange-engine"));
        assert!(!core.may_use_external("tokio"));
    }

    #[test]
    fn what_is_left_behind_is_found_with_its_line() {
        let mut findings = Vec::new();
        check_source(
            "a.rs",
            concat!("//! x\nfn f() {} // TO", "DO later\n"),
            &mut findings,
        );
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("a.rs:2:"), "{findings:?}");
    }
}
