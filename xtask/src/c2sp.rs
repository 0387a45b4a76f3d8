//! The log read by code that is not ours: a small program over `golang.org/x/mod/sumdb` (xtask/c2sp), which Go's checksum database
//! and the C2SP formats come from. Built from Debian's packages, and left out, loudly, where they are not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::step::{installed, root, target_folder};

/// Where Debian puts the sources of Go's packages.
const GO_PATH: &str = "/usr/share/gocode";
const PACKAGE: &str = "src/golang.org/x/mod/sumdb/tlog";
const INSTALL: &str = "apt-get install golang-go golang-golang-x-mod-dev";

#[derive(clap::Args)]
pub struct Arguments {
    /// An evidence pack as a folder, or a folder that `mainstay journal export` wrote
    folder: PathBuf,
    /// The log's verifier keys; several times for several
    #[arg(long = "key", required = true)]
    keys: Vec<String>,
    /// Checkpoints of the same log from before
    #[arg(long = "older", value_name = "FILE")]
    older: Vec<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let peer = Peer::build()?.with_context(|| format!("the peer cannot be built: {INSTALL}"))?;
    let log = arguments.folder.join("log");
    let log = if log.is_dir() {
        log
    } else {
        arguments.folder.clone()
    };
    print!("{}", peer.reads(&log, &arguments.keys, &arguments.older)?);
    Ok(())
}

/// The program, once it is built.
pub struct Peer(PathBuf);

impl Peer {
    /// `None`, and said so, where Go or its package is not installed.
    pub fn build() -> Result<Option<Self>> {
        if !installed("go") || !Path::new(GO_PATH).join(PACKAGE).is_dir() {
            println!("LEFT OUT: the log is not read by anybody else's code here; {INSTALL}");
            return Ok(None);
        }
        let program = target_folder()?.join("c2sp-verify");
        let status = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(root()?.join("xtask/c2sp"))
            .env("GOPATH", GO_PATH)
            .env("GO111MODULE", "off")
            .env("GOCACHE", target_folder()?.join("go"))
            .status()
            .context("start go")?;
        ensure!(status.success(), "go build ended with {status}");
        Ok(Some(Self(program)))
    }

    /// What it says of a log that it takes; an error with its words if it does not.
    pub fn reads(&self, log: &Path, keys: &[String], older: &[PathBuf]) -> Result<String> {
        let output = self.asked(log, keys, older)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let against = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "somebody else's code refuses the log: {said}{against}"
        );
        Ok(said)
    }

    /// Whether it refuses a log, as it should.
    pub fn refuses(&self, log: &Path, keys: &[String]) -> Result<bool> {
        Ok(self.asked(log, keys, &[])?.status.code() == Some(1))
    }

    fn asked(&self, log: &Path, keys: &[String], older: &[PathBuf]) -> Result<Output> {
        Command::new(&self.0)
            .arg(log)
            .arg(keys.join("\n"))
            .args(older)
            .stdin(Stdio::null())
            .output()
            .context("start the peer")
    }
}
