//! Talking to the nodes of this machine over their Unix sockets.
//!
//! Any node answers; all are asked at once, since one may be frozen. A command that was taken and not answered is an
//! unknown outcome, and is never sent to a second node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use http::{Method, StatusCode};
use mainstay_derive::Layout;
use mainstay_node::place::{self, PlaceError};
use mainstay_node::user_name;
use mainstay_record::node::{
    Command, CommandOutcome, CommandRequest, Gathered, MachineRecord, NodeFacts,
};
pub use mainstay_rt::error::chain;
use mainstay_rt::http::{RequestError, request_unix};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::arguments::{Act, Gates, Platform};
use crate::exit::{Failure, Outcome};
use crate::print::{json, line};

/// For what a node answers from memory.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// For asking who leads, before a command.
const RANK_LIMIT: Duration = Duration::from_secs(2);
/// After the first answer the others have this long.
const SETTLE: Duration = Duration::from_millis(250);
/// A node that was heard within this time counts as heard.
const HEARD_MS: u64 = 3_000;
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
        PlaceError::Read(path, error) if is_barred(&error) => not_yours(&path),
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

/// What the node knows that hears most of the others; the leader, if several do.
///
/// All are asked at once, because a frozen one takes the question and never answers.
pub fn look(layout: &Layout) -> Result<Gathered, Failure> {
    let round = ask_all::<Gathered>(layout, "/v1/gathered", LOOK_LIMIT)?;
    let hears = |gathered: &Gathered| {
        let others = gathered.others.values();
        let fresh = others.filter(|seen| seen.value.is_some() && seen.age_ms < HEARD_MS);
        (fresh.count(), standing(&gathered.own))
    };
    let best = round
        .answers
        .into_iter()
        .max_by_key(|(_, gathered)| hears(gathered));
    match best {
        Some((_, gathered)) => Ok(gathered),
        None => Err(nobody(
            round.problems,
            "`mainstay up FILE` starts or adopts the nodes",
        )),
    }
}

/// How much a node can do for a command: lead it, pass it on, or neither.
fn standing(facts: &NodeFacts) -> u8 {
    match facts.journal.role.as_str() {
        "leading" => 2,
        "following" => 1,
        _ => 0,
    }
}

/// Whether every node that answers, and at least one does, has a file of this generation in force.
pub fn all_have_file(layout: &Layout, generation: u64) -> bool {
    ask_all::<NodeFacts>(layout, "/v1/facts", LOOK_LIMIT).is_ok_and(|round| {
        let has = |(_, facts): &(String, NodeFacts)| facts.journal.generation >= generation;
        !round.answers.is_empty() && round.answers.iter().all(has)
    })
}

/// Whether no node that answers objects to being stopped by this user.
pub fn may_stop(layout: &Layout) -> Outcome {
    ask_all::<serde_json::Value>(layout, "/v1/stop", RANK_LIMIT).map(|_| ())
}

/// What came back when every node was asked the same.
struct Round<T> {
    answers: Vec<(String, T)>,
    problems: Vec<String>,
}

/// Asks every node at the same time. Once one has answered, the others have a moment to do so too.
fn ask_all<T: DeserializeOwned>(
    layout: &Layout,
    target: &'static str,
    limit: Duration,
) -> Result<Round<T>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the client")?;
    let asked = sockets(layout);
    let mut silent: BTreeSet<String> = asked.iter().map(|(host, _)| host.clone()).collect();
    let (mut answers, mut problems, mut barred) = (Vec::new(), Vec::new(), None);
    let mut refused = None;
    runtime.block_on(async {
        let mut asking = JoinSet::new();
        for (host, socket) in asked {
            asking.spawn(async move {
                let answer = request_unix(&socket, Method::GET, target, Vec::new(), limit).await;
                (host, socket, answer)
            });
        }
        let mut deadline = tokio::time::Instant::now() + limit;
        while let Ok(Some(Ok((host, socket, answer)))) =
            tokio::time::timeout_at(deadline, asking.join_next()).await
        {
            silent.remove(&host);
            if let Ok((StatusCode::FORBIDDEN, body)) = &answer
                && let Ok(CommandOutcome::Refused { code, why, next }) =
                    serde_json::from_slice(body)
            {
                refused = Some(Failure::Refused { code, why, next });
                continue;
            }
            match answer.map(|(status, body)| (status, serde_json::from_slice::<T>(&body))) {
                Ok((_, Ok(value))) => {
                    answers.push((host, value));
                    deadline = deadline.min(tokio::time::Instant::now() + SETTLE);
                }
                Ok((status, Err(error))) => problems.push(format!("{host}: {status}: {error}")),
                Err(RequestError::Connect(_, error)) if is_barred(&error) => barred = Some(socket),
                Err(RequestError::Connect(_, error)) if is_absent(&error) => {
                    problems.push(format!("the node of {host} does not run"));
                }
                Err(error) => problems.push(format!("{host}: {}", chain(&error))),
            }
        }
    });
    if let Some(refused) = refused {
        return Err(refused);
    }
    match barred {
        Some(socket) if answers.is_empty() => return Err(not_yours(&socket)),
        Some(_) | None => {}
    }
    problems.extend(silent.into_iter().map(|host| format!("{host}: no answer")));
    Ok(Round { answers, problems })
}

fn nobody(problems: Vec<String>, next: &str) -> Failure {
    let what = if problems.is_empty() {
        "no node has ever run here".to_owned()
    } else {
        problems.join("; ")
    };
    Failure::NoAnswer {
        what,
        next: next.to_owned(),
    }
}

pub fn is_barred(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}

/// A socket without a file, or with one that nobody serves.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), ConnectionRefused | NotFound)
}

/// Sockets and data are for the user that runs the platform, and for root.
pub fn not_yours(path: &Path) -> Failure {
    use std::os::unix::fs::MetadataExt;
    let nearest = path.ancestors().find_map(|path| path.metadata().ok());
    let owner = nearest.map_or_else(
        || "another user".to_owned(),
        |meta| user_name(meta.uid()).unwrap_or_else(|| format!("uid {}", meta.uid())),
    );
    Failure::Refused {
        code: "not_yours".to_owned(),
        why: format!(
            "{} is for {owner} and root, who run this platform",
            path.display()
        ),
        next: format!("give the command as one of them, `sudo -u {owner} mainstay …`, say"),
    }
}

/// Has a command journalled and carried out, and prints what became of it.
pub fn command(act: &Act, command: Command) -> Outcome {
    command_saying(act, command, "")
}

/// As [`command`]; `said` stands for an outcome that has no words of its own.
pub fn command_saying(act: &Act, command: Command, said: &str) -> Outcome {
    let (_, layout) = find(&act.platform)?;
    say(act, send(&layout, command, &act.reason)?, said)
}

/// As [`command`], past the gates that are named.
pub fn command_past(act: &Act, command: Command, gates: &Gates) -> Outcome {
    let (_, layout) = find(&act.platform)?;
    say(act, send_past(&layout, command, &act.reason, gates)?, "")
}

fn say(act: &Act, outcome: CommandOutcome, said: &str) -> Outcome {
    if act.json {
        json(&outcome)?;
    }
    match outcome {
        CommandOutcome::Done { position, detail } => {
            if !act.json {
                let detail = if said.is_empty() { &detail } else { said };
                line(format_args!("{detail} (journal entry {position})"))?;
            }
            Ok(())
        }
        CommandOutcome::Refused { code, why, next } => Err(Failure::Refused { code, why, next }),
        CommandOutcome::Unknown { position, why } => Err(Failure::Unknown {
            why: match position {
                0 => why,
                _ => format!("journal entry {position}: {why}"),
            },
        }),
    }
}

/// The nodes that answer, those first that can have a command journalled: the leader, then who hears it. A
/// node that is frozen would take a command too, and then nobody knows what becomes of it; so one that does
/// not answer is not asked, and one that the command itself is about to break comes after the others.
fn by_promise(layout: &Layout, command: &Command) -> Result<Vec<String>, Failure> {
    let round = ask_all::<NodeFacts>(layout, "/v1/facts", RANK_LIMIT)?;
    if round.answers.is_empty() {
        return Err(nobody(
            round.problems,
            "nothing was sent; `mainstay up FILE` starts or adopts the nodes",
        ));
    }
    let mut nodes = round.answers;
    nodes.sort_by_key(|(_, facts)| {
        let breaks = will_break(command, facts);
        // Who will be there to answer, and then who leads.
        (standing(facts) == 0, breaks, 2 - standing(facts))
    });
    Ok(nodes.into_iter().map(|(host, _)| host).collect())
}

/// Whether a fault is aimed at this node's host or region.
fn will_break(command: &Command, facts: &NodeFacts) -> bool {
    let Command::InjectFault(fault) = command else {
        return false;
    };
    fault
        .target
        .split(['/', ':', ',', ' '])
        .any(|word| word == facts.host || word == facts.region)
}

/// Asks the node that stands best, and the next one where it is gone by then.
pub fn ask_best(
    layout: &Layout,
    method: Method,
    target: &str,
    limit: Duration,
) -> Result<(StatusCode, Vec<u8>), Failure> {
    ask_best_with(layout, method, target, Vec::new(), limit)
}

/// As [`ask_best`], with something to say. Only for questions: it may be asked of several.
pub fn ask_best_with(
    layout: &Layout,
    method: Method,
    target: &str,
    body: Vec<u8>,
    limit: Duration,
) -> Result<(StatusCode, Vec<u8>), Failure> {
    let mut problems = Vec::new();
    for host in by_promise(layout, &Command::Pause)? {
        let socket = layout.node_socket(&host);
        match ask(&socket, method.clone(), target, body.clone(), limit) {
            Ok((StatusCode::SERVICE_UNAVAILABLE, body)) => {
                problems.push(format!("{host}: {}", String::from_utf8_lossy(&body)));
            }
            Ok(answer) => return Ok(answer),
            Err(error) => problems.push(format!("{host}: {}", chain(&error))),
        }
    }
    Err(nobody(problems, "`mainstay status` shows which nodes live"))
}

/// Sends a command to the first node that takes it.
pub fn send(layout: &Layout, command: Command, reason: &str) -> Result<CommandOutcome, Failure> {
    send_within(layout, command, reason, COMMAND_LIMIT)
}

/// As [`send`], past the gates that are named.
pub fn send_past(
    layout: &Layout,
    command: Command,
    reason: &str,
    gates: &Gates,
) -> Result<CommandOutcome, Failure> {
    let overrides = gates.overrides.iter().cloned().collect();
    submit(layout, command, (reason, overrides), COMMAND_LIMIT)
}

/// As [`send`], for a caller that does not wait for long.
pub fn send_within(
    layout: &Layout,
    command: Command,
    reason: &str,
    limit: Duration,
) -> Result<CommandOutcome, Failure> {
    submit(layout, command, (reason, BTreeSet::new()), limit)
}

fn submit(
    layout: &Layout,
    command: Command,
    (reason, overrides): (&str, BTreeSet<String>),
    limit: Duration,
) -> Result<CommandOutcome, Failure> {
    let request = CommandRequest {
        command,
        reason: reason.to_owned(),
        overrides,
    };
    let body = serde_json::to_vec(&request).context("write the command")?;
    let mut problems = Vec::new();
    for host in by_promise(layout, &request.command)? {
        match ask(
            &layout.node_socket(&host),
            Method::POST,
            "/v1/command",
            body.clone(),
            limit,
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
