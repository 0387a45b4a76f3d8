//! `mainstay down`: nothing of the platform runs afterwards, whatever state it was in before.
//!
//! First nobody starts anything any more, then faults end, then each host is stopped: by its node where that
//! answers, from here where it is dead or hangs. The wires go last. At the end the process table is read:
//! what still belongs to this data folder is ended, and said.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::Method;
use mainstay_derive::Layout;
use mainstay_host::{faults, identity, wire};
use mainstay_node::{leftovers, machine, place, prepare, stop_without_node};
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_record::process::ProcessIdentity;
use mainstay_rt::clock;
use mainstay_rt::http::RequestError;
use mainstay_units::Instant;
use rustix::process::Signal;

use crate::arguments::Down;
use crate::client::{ask, find, is_barred, may_stop, not_yours, send_within, sockets};
use crate::exit::{Failure, Outcome};
use crate::print::progress;

/// A node takes this long to answer at most, or it is taken for frozen.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// A node that answers may need this long to stop its host: drain, grace, and PostgreSQL's last checkpoint.
const NODE_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(5);
/// For the journal to take the entry that says who stops the platform.
const RECORD_LIMIT: Duration = Duration::from_secs(3);

pub fn down(arguments: &Down) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    stop(&layout, &arguments.reason)
}

/// Stops everything. What it says on the way goes unheard if nobody reads; it is done all the same.
pub fn stop(layout: &Layout, reason: &str) -> Outcome {
    // Before anything is touched: may we?
    std::fs::read_dir(layout.secrets()).map_err(|error| match is_barred(&error) {
        true => not_yours(&layout.secrets()),
        false => Failure::Fault(error.into()),
    })?;
    may_stop(layout)?;
    record(layout, reason);
    let mut ran = false;
    if let Some(machine) = machine::running(layout) {
        ran = true;
        end(machine)?;
    }
    // What cannot be undone now may be when nothing holds it any more; the hosts are stopped all the same.
    if let Err(failure) = end_faults(layout) {
        progress(format_args!("  {failure}; tried again at the end"));
    }
    let nodes: Vec<(String, Option<ProcessIdentity>)> = sockets(layout)
        .into_iter()
        .map(|(host, socket)| {
            let node = machine::node_process(layout, &host);
            let told = node.map_or(Ok(false), |_| tell(&socket));
            told.map(|told| (host, node.filter(|_| told)))
        })
        .collect::<Result<_, Failure>>()?;
    let deadline = clock::now() + NODE_LIMIT;
    for (host, told) in nodes {
        ran |= told.is_some();
        let stopped_itself = told.is_some_and(|node| gone(node, deadline));
        ran |= stop_rest(layout, &host, stopped_itself)?;
    }
    for folder in machine::wire_folders(layout) {
        let state = wire::read_state(&folder.join("state.json"));
        if let Some(process) = state.and_then(|state| state.wire) {
            end(process)?;
        }
    }
    end_leftovers(layout)?;
    end_faults(layout)?;
    let (record, layout) = place::read(layout.data()).map_err(|error| anyhow!(error))?;
    prepare::release_slot(&record, &layout);
    progress(format_args!(
        "{}; the data stays in {}",
        if ran {
            "everything is stopped"
        } else {
            "nothing was running"
        },
        layout.data().display()
    ));
    Ok(())
}

/// Ends every fault that is in force, and starts nothing again that one took down; the first that cannot be ended is told
/// when all were tried.
fn end_faults(layout: &Layout) -> Outcome {
    let mut first = Ok(());
    for fault in faults::in_force(layout.data()) {
        let id = &fault.id;
        match faults::end_for_good(layout.data(), id).with_context(|| format!("end fault {id}")) {
            Ok(_) => progress(format_args!("  fault {id} is over")),
            Err(error) if first.is_ok() => first = Err(Failure::Fault(error)),
            Err(error) => progress(format_args!("  {error:#}")),
        }
    }
    first
}

/// Who stops it, and why, for the journal. Where nobody leads there is no journal to write to, and what is to
/// be stopped is stopped all the same.
fn record(layout: &Layout, reason: &str) {
    match send_within(layout, Command::Stop, reason, RECORD_LIMIT) {
        Ok(CommandOutcome::Done { position, .. }) => {
            progress(format_args!("  journalled as entry {position}"));
        }
        Ok(CommandOutcome::Refused { why, .. } | CommandOutcome::Unknown { why, .. })
        | Err(Failure::Unknown { why }) => {
            progress(format_args!("  not known to be journalled: {why}"));
        }
        // Nobody runs who could be told, nor anything that needs to be stopped in order.
        Err(_) => {}
    }
}

/// Says whether the node has taken the order; one that does not answer is frozen or ill.
fn tell(socket: &Path) -> Result<bool, Failure> {
    match ask(socket, Method::POST, "/v1/stop", Vec::new(), ASK_LIMIT) {
        Ok((status, _)) if status.is_success() => Ok(true),
        Ok((_, body)) => Err(Failure::Refused {
            code: "not_yours".to_owned(),
            why: String::from_utf8_lossy(&body).into_owned(),
            next: "stop it as the user that started it".to_owned(),
        }),
        Err(RequestError::Connect(_, error)) if is_barred(&error) => Err(not_yours(socket)),
        Err(_) => Ok(false),
    }
}

/// Stops from here what a node has not. Says whether anything ran.
fn stop_rest(layout: &Layout, host: &str, stopped_itself: bool) -> Result<bool, Failure> {
    if let Some(node) = machine::node_process(layout, host) {
        progress(format_args!(
            "  the node of {host} does not answer; its host is stopped without it"
        ));
        identity::signal(node, Signal::KILL).context("end a node")?;
        gone(node, clock::now() + END_LIMIT);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("stop a host")?;
    let ended = runtime
        .block_on(stop_without_node(layout, host))
        .with_context(|| format!("stop {host}"))?;
    if stopped_itself || ended > 0 {
        progress(format_args!("  {host} stopped"));
    }
    Ok(ended > 0)
}

/// Nobody's children any more: their shim was killed, say.
fn end_leftovers(layout: &Layout) -> Outcome {
    for process in leftovers(layout).context("see which processes are left")? {
        progress(format_args!(
            "  process {} was left over; it is ended",
            process.pid
        ));
        end(process)?;
    }
    Ok(())
}

fn end(process: ProcessIdentity) -> Outcome {
    identity::signal(process, Signal::TERM).context("end a process")?;
    if !gone(process, clock::now() + END_LIMIT) {
        identity::signal(process, Signal::KILL).context("end a process")?;
        gone(process, clock::now() + END_LIMIT);
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
