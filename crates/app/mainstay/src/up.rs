//! `mainstay up` and `mainstay down`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use mainstay_derive::Layout;
use mainstay_host::{faults, identity, launch, wire};
use mainstay_node::{machine, place, prepare};
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_record::process::ProcessIdentity;
use mainstay_record::status::{Status, Verdict};
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::process::Signal;

use crate::arguments::{Platform, Up};
use crate::client::{ask, data_folder, find, send, sockets};
use crate::exit::{Failure, Outcome};
use crate::status::{current, watch};
use crate::validate::read_valid;

/// Between two looks at the progress.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Nodes that have not stopped everything in this time are reported.
const DOWN_LIMIT: Duration = Duration::from_secs(60);

pub fn up(arguments: &Up) -> Outcome {
    let (platform, text) = read_valid(&arguments.file)?;
    let data = data_folder(&arguments.platform)?;
    let program = std::env::current_exe().context("find this program's own path")?;
    let distance_us = arguments
        .distance
        .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let (record, layout) = prepare::prepare(&data, &platform, &text, distance_us, program)
        .map_err(|error| Failure::Usage(crate::client::chain(&error)))?;
    start_machine(&layout, &record.program)?;
    println!("platform {} in {}", record.platform, data.display());
    let deadline = clock::now() + arguments.timeout;
    let mut status = wait_healthy(&layout, deadline)?;
    if apply_if_changed(&layout, &text, &arguments.reason)? {
        status = wait_healthy(&layout, deadline)?;
    }
    if arguments.detach {
        println!("{}", mainstay_view::render(&status, crate::status::style()));
        return Ok(());
    }
    let watched = watch(&layout);
    println!("stopping everything in order");
    stop(&layout)?;
    watched
}

/// Wires and nodes are kept by a process of their own, which stays when this one goes.
fn start_machine(layout: &Layout, program: &Path) -> Outcome {
    if machine::running(layout).is_some() {
        return Ok(());
    }
    let command = [
        program.display().to_string(),
        "machine".into(),
        "--data".into(),
        layout.data().display().to_string(),
    ];
    launch::spawn_detached(&command, Some(&layout.data().join("machine.log")))
        .context("start the machine process")?;
    Ok(())
}

/// Shows what is being made until the platform is healthy.
fn wait_healthy(layout: &Layout, deadline: Instant) -> Result<Status, Failure> {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        line.set_style(style);
    }
    let mut last = String::new();
    loop {
        let looked = current(layout);
        if let Ok(status) = &looked
            && is_up(status)
        {
            line.finish_and_clear();
            return Ok(status.clone());
        }
        let doing = match &looked {
            Ok(status) => status.findings.first().map_or_else(String::new, |finding| {
                format!("{}: {}", finding.subject, finding.text)
            }),
            Err(_) => "starting nodes".to_owned(),
        };
        if doing != last {
            line.println(format!("  {doing}"));
            last.clone_from(&doing);
        }
        line.set_message(doing);
        line.tick();
        if clock::now() >= deadline {
            line.finish_and_clear();
            let findings = match looked {
                Ok(status) => mainstay_view::render(&status, crate::status::style()),
                Err(failure) => failure.to_string(),
            };
            return Err(Failure::Finding(format!(
                "not healthy in time; what was started keeps running\n{findings}\n  next: `mainstay status --watch`, or a longer --timeout"
            )));
        }
        wait(LOOK_PERIOD);
    }
}

/// Healthy, or degraded by nothing but where the primary lives, which no waiting changes.
fn is_up(status: &Status) -> bool {
    use mainstay_record::status::Reason;
    status.verdict == Verdict::Healthy
        || status
            .findings
            .iter()
            .all(|finding| matches!(finding.reason, Reason::PrimaryAway { .. } | Reason::Paused))
}

/// A file that differs from the one in force is journalled and carried out.
fn apply_if_changed(layout: &Layout, text: &str, reason: &str) -> Result<bool, Failure> {
    let path = layout.platform_file();
    let known =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    if known == text {
        return Ok(false);
    }
    let outcome = send(
        layout,
        Command::Apply {
            file: text.to_owned(),
        },
        reason,
    )?;
    match outcome {
        CommandOutcome::Done { position, detail } => {
            mainstay_rt::files::write_atomic(&path, text.as_bytes())
                .context("keep the platform file")?;
            println!("the changed file is in force (journal entry {position}): {detail}");
            Ok(true)
        }
        CommandOutcome::Refused { why, next, .. } => Err(Failure::Refused { why, next }),
        CommandOutcome::Unknown { why, .. } => Err(Failure::Unknown { why }),
    }
}

pub fn down(platform: &Platform) -> Outcome {
    let (_, layout) = find(platform)?;
    stop(&layout)
}

/// First nobody starts anything any more, then faults end, then the nodes stop what is theirs, then the wires.
fn stop(layout: &Layout) -> Outcome {
    if let Some(machine) = machine::running(layout) {
        end(machine)?;
    }
    for fault in faults::in_force(layout.data()) {
        faults::clear(layout.data(), &fault.id)
            .with_context(|| format!("end fault {}", fault.id))?;
    }
    start_missing_nodes(layout)?;
    let mut nodes = Vec::new();
    for (host, socket) in sockets(layout) {
        ask_to_stop(&host, &socket)?;
        nodes.extend(machine::node_process(layout, &host).map(|process| (host, process)));
    }
    let deadline = clock::now() + DOWN_LIMIT;
    for (host, process) in nodes {
        if !gone(process, deadline) {
            return Err(Failure::Unknown {
                why: format!(
                    "the node of {host} (process {}) has not stopped everything",
                    process.pid
                ),
            });
        }
        println!("  {host} stopped");
    }
    for folder in machine::wire_folders(layout) {
        if let Some(process) =
            wire::read_state(&folder.join("state.json")).and_then(|state| state.wire)
        {
            end(process)?;
        }
    }
    let (record, layout) = place::read(layout.data()).map_err(|error| anyhow!(error))?;
    prepare::release_slot(&record, &layout);
    println!(
        "everything is stopped; the data stays in {}",
        layout.data().display()
    );
    Ok(())
}

/// A host whose node is dead may still run processes; a node that starts adopts them and can stop them.
fn start_missing_nodes(layout: &Layout) -> Outcome {
    let (record, _) = place::read(layout.data()).map_err(|error| anyhow!(error))?;
    for (host, folder) in place::node_folders(layout).context("list the nodes")? {
        if machine::node_process(layout, &host).is_none() {
            let data = layout.data().display().to_string();
            let command = [
                record.program.display().to_string(),
                "node".into(),
                "--host".into(),
                host,
                "--data".into(),
                data,
            ];
            launch::spawn_detached(&command, Some(&folder.join("log")))
                .context("start a node to stop its host")?;
        }
    }
    Ok(())
}

/// A node that was just started needs a moment to listen.
fn ask_to_stop(host: &str, socket: &Path) -> Outcome {
    let deadline = clock::now() + Duration::from_secs(10);
    loop {
        match ask(socket, Method::POST, "/v1/stop", Vec::new(), STOP_LIMIT) {
            Ok((status, _)) if status.is_success() => return Ok(()),
            Ok((_, body)) => {
                let why = format!("{host}: {}", String::from_utf8_lossy(&body));
                return Err(Failure::Refused {
                    why,
                    next: "stop it as the user that started it".to_owned(),
                });
            }
            Err(error) if clock::now() >= deadline => {
                return Err(Failure::NoAnswer {
                    what: format!("{host}: {}", crate::client::chain(&error)),
                    next: "try again; `mainstay status` shows which nodes live".to_owned(),
                });
            }
            Err(_) => wait(LOOK_PERIOD),
        }
    }
}

fn end(process: ProcessIdentity) -> Outcome {
    identity::signal(process, Signal::TERM).context("end a process")?;
    if !gone(process, clock::now() + Duration::from_secs(5)) {
        identity::signal(process, Signal::KILL).context("end a process")?;
    }
    Ok(())
}

fn gone(process: ProcessIdentity, deadline: Instant) -> bool {
    while identity::is_alive(process) {
        if clock::now() >= deadline {
            return false;
        }
        wait(Duration::from_millis(20));
    }
    true
}

#[allow(
    clippy::disallowed_methods,
    reason = "the command line waits between two looks, with a limit around it"
)]
pub fn wait(time: Duration) {
    std::thread::sleep(time);
}
