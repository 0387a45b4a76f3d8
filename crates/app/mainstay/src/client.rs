//! Talking to the nodes of this machine over their Unix sockets.
//!
//! Any node answers; the first that does is asked. A command that was taken and not answered is an
//! unknown outcome, and is never sent to a second node.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use http::{Method, StatusCode};
use mainstay_derive::Layout;
use mainstay_node::place::{self, PlaceError};
use mainstay_record::node::{Command, CommandOutcome, CommandRequest, MachineRecord, NodeFacts};
use mainstay_rt::http::{RequestError, request_unix};
use serde::de::DeserializeOwned;

use crate::arguments::{Act, Platform};
use crate::exit::{Failure, Outcome};
use crate::print::json;

/// For what a node answers from memory.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// For asking who leads, before a command.
const RANK_LIMIT: Duration = Duration::from_millis(500);
/// For what is journalled and carried out first.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// The platform that the arguments mean.
pub fn find(platform: &Platform) -> Result<(MachineRecord, Layout), Failure> {
    let data = data_folder(platform)?;
    place::read(&data).map_err(|error| match error {
        PlaceError::None(folder) => Failure::Usage(format!(
            "there is no platform in {}\n  next: start one with `mainstay up FILE`, or name its folder with --data",
            folder.display()
        )),
        other => Failure::Fault(other.into()),
    })
}

pub fn data_folder(platform: &Platform) -> Result<PathBuf, Failure> {
    match &platform.data {
        Some(folder) => Ok(std::path::absolute(folder).context("the data folder's path")?),
        None => place::default_data().map_err(|error| Failure::Usage(error.to_string())),
    }
}

/// Sockets of the nodes, in order of their hosts' names.
pub fn sockets(layout: &Layout) -> Vec<(String, PathBuf)> {
    let nodes = place::node_folders(layout).unwrap_or_default();
    nodes
        .into_iter()
        .map(|(host, _)| (host.clone(), layout.node_socket(&host)))
        .collect()
}

/// Asks the nodes one after the other until one answers.
pub fn look<T: DeserializeOwned>(layout: &Layout, target: &str) -> Result<T, Failure> {
    let mut problems = Vec::new();
    for (host, socket) in sockets(layout) {
        match ask(&socket, Method::GET, target, Vec::new(), LOOK_LIMIT) {
            Ok((status, body)) if status.is_success() => {
                return serde_json::from_slice(&body)
                    .with_context(|| format!("read the answer of {host}"))
                    .map_err(Failure::from);
            }
            Ok((status, _)) => problems.push(format!("{host}: {status}")),
            Err(error) => problems.push(format!("{host}: {}", chain(&error))),
        }
    }
    let what = if problems.is_empty() {
        "no node has ever run here".to_owned()
    } else {
        problems.join("; ")
    };
    Err(Failure::NoAnswer {
        what,
        next: "`mainstay up FILE` starts or adopts the nodes".to_owned(),
    })
}

/// Has a command journalled and carried out, and prints what became of it.
pub fn command(act: &Act, command: Command) -> Outcome {
    let (_, layout) = find(&act.platform)?;
    let outcome = send(&layout, command, &act.reason)?;
    if act.json {
        json(&outcome)?;
    }
    match outcome {
        CommandOutcome::Done { position, detail } => {
            if !act.json {
                println!("{detail} (journal entry {position})");
            }
            Ok(())
        }
        CommandOutcome::Refused { why, next, .. } => Err(Failure::Refused { why, next }),
        CommandOutcome::Unknown { position, why } => Err(Failure::Unknown {
            why: format!("journal entry {position}: {why}"),
        }),
    }
}

/// The nodes, those first that can have a command journalled: the leader, then who hears it. A node that is
/// frozen or cut off takes a command too, and then nobody knows what becomes of it; so one that the command
/// itself is about to break is asked after those that will be there to answer.
fn by_promise(layout: &Layout, command: &Command) -> Vec<(String, PathBuf)> {
    let target = match command {
        Command::InjectFault(fault) => fault.target.as_str(),
        Command::Pause
        | Command::Resume
        | Command::ClearFault { .. }
        | Command::Switchover { .. }
        | Command::Apply { .. } => "",
    };
    let is_target = |name: &str| target.split(['/', ':']).any(|word| word == name);
    let mut nodes = sockets(layout);
    nodes.sort_by_cached_key(|(_, socket)| {
        let facts = ask(socket, Method::GET, "/v1/facts", Vec::new(), RANK_LIMIT)
            .ok()
            .and_then(|(_, body)| serde_json::from_slice::<NodeFacts>(&body).ok());
        let Some(facts) = facts else {
            return (3, false);
        };
        let will_break = is_target(&facts.host) || is_target(&facts.region);
        match facts.journal.role.as_str() {
            "leading" if will_break => (1, true),
            "leading" => (0, false),
            "following" => (1, will_break),
            _ => (2, will_break),
        }
    });
    nodes
}

/// Sends a command to the first node that takes it.
pub fn send(layout: &Layout, command: Command, reason: &str) -> Result<CommandOutcome, Failure> {
    let request = CommandRequest {
        command,
        reason: reason.to_owned(),
    };
    let body = serde_json::to_vec(&request).context("write the command")?;
    let mut problems = Vec::new();
    for (host, socket) in by_promise(layout, &request.command) {
        match ask(
            &socket,
            Method::POST,
            "/v1/command",
            body.clone(),
            COMMAND_LIMIT,
        ) {
            // Nothing was sent: the next node may be asked.
            Err(error @ RequestError::Connect(..)) => {
                problems.push(format!("{host}: {}", chain(&error)))
            }
            Err(error) => {
                return Err(Failure::Unknown {
                    why: format!("{host}: {}", chain(&error)),
                });
            }
            Ok((StatusCode::SERVICE_UNAVAILABLE, body)) => {
                problems.push(format!("{host}: {}", String::from_utf8_lossy(&body)));
            }
            Ok((_, body)) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                return serde_json::from_slice(&body)
                    .with_context(|| format!("read the answer of {host}: {text}"))
                    .map_err(Failure::from);
            }
        }
    }
    Err(Failure::NoAnswer {
        what: problems.join("; "),
        next: "`mainstay status` shows which nodes live".to_owned(),
    })
}

pub fn ask(
    socket: &std::path::Path,
    method: Method,
    target: &str,
    body: Vec<u8>,
    limit: Duration,
) -> Result<(StatusCode, Vec<u8>), RequestError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RequestError::Connect("a runtime".to_owned(), error))?;
    let answer = runtime.block_on(request_unix(socket, method, target, body, limit))?;
    Ok((answer.0, answer.1.to_vec()))
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
