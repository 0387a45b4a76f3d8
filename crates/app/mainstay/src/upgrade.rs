//! `mainstay upgrade`: a new version of this program for every host, one host after the other.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_node::program;
use mainstay_record::node::{Command, CommandOutcome, UpgradeFacts};
use mainstay_rt::clock;

use crate::arguments::Upgrade;
use crate::client::{find, look, send_past};
use crate::exit::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::print::{json, line, progress};

const LOOK_PERIOD: Duration = Duration::from_millis(250);

pub fn run(arguments: &Upgrade) -> Outcome {
    let (_, layout) = find(&arguments.act.platform)?;
    let program = match &arguments.program {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("find this program's own path")?,
    };
    let version = version_of(&program)?;
    let digest = program::keep(&layout, &program)
        .map_err(|error| Failure::Usage(crate::client::chain(&error)))?;
    let interrupt = Interrupt::catch()?;
    let command = Command::Upgrade {
        digest: digest.clone(),
        version: version.clone(),
    };
    let position = match send_past(&layout, command, &arguments.act.reason, &arguments.gates)? {
        CommandOutcome::Done { position, .. } => position,
        CommandOutcome::Refused { code, why, next } => {
            return Err(Failure::Refused { code, why, next });
        }
        CommandOutcome::Unknown { why, .. } => return Err(Failure::Unknown { why }),
    };
    let tell = |text: &str| {
        if !arguments.act.json {
            progress(text);
        }
    };
    tell(&format!(
        "upgrade to {version} begun (journal entry {position})"
    ));
    if arguments.detach {
        return Ok(());
    }
    let upgrade = (digest.as_str(), position);
    let hosts = wait(&layout, upgrade, &interrupt, arguments.timeout, tell)?;
    // Litter of earlier upgrades; whoever could still need a copy keeps it.
    program::prune(&layout, &digest).ok();
    if arguments.act.json {
        return json(&serde_json::json!({
            "position": position, "digest": digest, "version": version, "hosts": hosts,
        }));
    }
    line(format_args!("{} hosts run {version}", hosts.len()))
}

/// What a program says of itself; whoever cannot say that is not taken anywhere.
fn version_of(program: &Path) -> Result<String, Failure> {
    let asked = std::process::Command::new(program)
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| {
            Failure::Usage(format!(
                "{} cannot be started: {error}\n  next: name the new program with --program",
                program.display()
            ))
        })?;
    let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    if asked.status.success() && said.starts_with("mainstay ") {
        Ok(said)
    } else {
        Err(Failure::Usage(format!(
            "{} is not this program: `--version` said {said:?} and ended with {}\n  next: name the new program with --program",
            program.display(),
            asked.status
        )))
    }
}

/// Tells of each host, until all have it or one refused it.
fn wait(
    layout: &Layout,
    (digest, position): (&str, u64),
    interrupt: &Interrupt,
    limit: Duration,
    tell: impl Fn(&str),
) -> Result<Vec<String>, Failure> {
    let deadline = clock::now() + limit;
    let mut told = String::new();
    let mut hosts = Vec::new();
    let mut seen = false;
    loop {
        // Nodes restart meanwhile, the one that answered too.
        if let Ok(gathered) = look(layout) {
            let facts = gathered.own.journal;
            match facts.upgrade.filter(|upgrade| upgrade.digest == digest) {
                Some(UpgradeFacts {
                    stopped: Some((host, why)),
                    program,
                    ..
                }) => return Err(stopped(&host, &program, &why)),
                Some(upgrade) => {
                    seen = true;
                    let now = told_of(&upgrade);
                    if now != told {
                        tell(&now);
                        told = now;
                    }
                    hosts = upgrade
                        .done
                        .iter()
                        .chain(&upgrade.under_way)
                        .chain(&upgrade.left)
                        .cloned()
                        .collect();
                }
                // A node that has just been started knows of nothing, until it has read the journal.
                None if seen && facts.entries > position => return Ok(hosts),
                None => {}
            }
        }
        if interrupt.is_set() {
            return Err(Failure::Interrupted);
        }
        if clock::now() >= deadline {
            return Err(Failure::Unknown {
                why: format!(
                    "the upgrade did not end within {} s; it goes on by itself, and `mainstay journal show --kind upgrade` tells how far it is",
                    limit.as_secs()
                ),
            });
        }
        interrupt.wait(LOOK_PERIOD);
    }
}

fn stopped(host: &str, program: &str, why: &str) -> Failure {
    Failure::Finding(format!(
        "{program} was stopped on {host}, which goes back to the program of before if it took it, and goes no further: {why}\n  next: hosts that took it keep it; give a program that stands, or the one of before with --program"
    ))
}

fn told_of(upgrade: &UpgradeFacts) -> String {
    let done = match upgrade.done.as_slice() {
        [] => "no host has it yet".to_owned(),
        done => format!("{} have it", done.join(", ")),
    };
    match &upgrade.under_way {
        Some(host) => format!("  {done}; {host} takes it"),
        None => format!("  {done}"),
    }
}
