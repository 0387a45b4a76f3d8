//! Parameters of the platform file that change under running servers.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use mainstay_model::parameter::{self, Takes};
use mainstay_record::keeper::ParametersStatus;
use rustix::process::Pid;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster, Door};

/// Commits may be found to wait in fewer looks in a row than these, which take a second where nothing is slow: a stream
/// that a machine let end while it stood still begins anew.
const LOOKS_LIMIT: usize = 15;

/// While commits wait.
struct Waiting {
    looks: usize,
    /// How many servers had been started anew before. It is of one of them that commits wait, not of two.
    restarted: usize,
}

fn shown(cluster: &Cluster, which: usize, name: &str) -> Option<String> {
    client::superuser(cluster, which, &format!("SHOW {name}")).ok()?
}

fn status(cluster: &Cluster, which: usize) -> Option<ParametersStatus> {
    cluster.status(which).ok()?.parameters
}

/// What takes a reload is in force everywhere while sessions stay, and what the servers would not take leaves
/// them as they are.
pub fn taken() -> Result<()> {
    let mut cluster = Cluster::healthy_with(&[("work_mem", "5MB")])?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_healthy()?;
    tables_agree(&cluster, primary)?;
    cluster.configure(&[("work_mem", "9MB")])?;
    for which in 0..COUNT {
        cluster.wait("the new value", || {
            (shown(&cluster, which, "work_mem")? == "9MB").then_some(())
        })?;
    }
    cluster.configure(&[("work_mem", "11MB"), ("shared_bufers", "1GB")])?;
    for which in 0..COUNT {
        let why = cluster.wait("a refusal", || status(&cluster, which)?.refused)?;
        ensure!(why.contains("shared_bufers"), "{why}");
        let value = shown(&cluster, which, "work_mem");
        ensure!(
            value.as_deref() == Some("9MB"),
            "half of it was taken: {value:?}"
        );
    }
    // A server that is started meanwhile starts with what it had.
    let standby = (primary + 1) % COUNT;
    cluster.kill_host(standby);
    cluster.start_keeper(standby)?;
    let value = cluster.wait("an answer", || shown(&cluster, standby, "work_mem"))?;
    ensure!(value == "9MB", "it was started with {value}");
    cluster.await_healthy()?;
    cluster.configure(&[])?;
    for which in 0..COUNT {
        cluster.wait("the default", || {
            let refused = status(&cluster, which)?.refused;
            (shown(&cluster, which, "work_mem")? == "4MB" && refused.is_none()).then_some(())
        })?;
    }
    ensure!(
        cluster.await_healthy()? == (primary, term),
        "somebody took over"
    );
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// What plans say of parameters is what the server says of them.
fn tables_agree(cluster: &Cluster, which: usize) -> Result<()> {
    let at_start = "SELECT string_agg(name, ' ') FROM pg_settings WHERE context = 'postmaster'";
    let names = client::superuser(cluster, which, at_start)?.unwrap_or_default();
    ensure!(names.contains("shared_buffers"), "{names}");
    for name in names.split(' ') {
        let known = parameter::owner(name).is_some() || parameter::takes(name) == Takes::Restart;
        ensure!(known, "{name} takes a restart, and plans do not know it");
    }
    let others = "SELECT string_agg(name, ' ') FROM pg_settings WHERE context <> 'postmaster'";
    let names = client::superuser(cluster, which, others)?.unwrap_or_default();
    for name in names.split(' ') {
        ensure!(
            parameter::takes(name) == Takes::Reload,
            "{name} takes a reload"
        );
    }
    Ok(())
}

/// What takes a restart: standbys first, one after the other, then a switchover, the old primary last; commits
/// never wait for a quorum meanwhile. A lower value is kept back, and what a server does not start with stops at
/// the first one.
pub fn rolled() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_healthy()?;
    let before = pids(&cluster)?;
    cluster.configure(&[("max_connections", "120"), ("work_mem", "6MB")])?;
    let order = restarts(&cluster, &before, ("max_connections", "120"))?;
    println!("  started anew in this order: {order:?}; {primary} was primary");
    ensure!(
        order.len() == COUNT && order.last() == Some(&primary),
        "{order:?}"
    );
    let (next, after) = cluster.await_healthy()?;
    ensure!(next != primary, "{next} again");
    switched_over_once(&cluster, term, after)?;
    let servers = pids(&cluster)?;

    cluster.configure(&[])?;
    for which in 0..COUNT {
        cluster.wait("a value that is kept back", || {
            let kept = status(&cluster, which)?.kept_back;
            let kept = kept.iter().find(|kept| kept.name == "max_connections")?;
            (kept.value == "120" && shown(&cluster, which, "work_mem")? == "4MB").then_some(())
        })?;
    }
    writer.await_more(&cluster, 50)?;
    ensure!(
        pids(&cluster)? == servers,
        "a server was started anew for nothing"
    );

    cluster.configure(&[("shared_preload_libraries", "no_such_library")])?;
    let refusing = cluster.wait("a server that does not start with it", || {
        (0..COUNT).find(|which| status(&cluster, *which).is_some_and(|own| own.refused.is_some()))
    })?;
    ensure!(refusing != next, "the primary was not the first");
    ensure!(
        cluster.await_healthy()? == (next, after),
        "somebody took over"
    );
    writer.await_more(&cluster, 50)?;
    for which in (0..COUNT).filter(|which| *which != refusing) {
        let waiting = cluster.wait("a word", || status(&cluster, which))?;
        ensure!(waiting.refused.is_none(), "{which} tried it too");
        ensure!(
            cluster.postmaster(which)? == servers[which],
            "{which} was started anew"
        );
    }
    cluster.configure(&[])?;
    for which in 0..COUNT {
        cluster.wait("nothing that waits", || {
            let own = status(&cluster, which)?;
            (own.refused.is_none() && own.waiting.is_empty()).then_some(())
        })?;
    }
    ensure!(
        cluster.await_healthy()? == (next, after),
        "somebody took over"
    );
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// A role, a database or a superuser by whom commits need not wait is named, until it is taken back.
pub fn weakened() -> Result<()> {
    let cluster = Cluster::healthy()?;
    let (primary, _) = cluster.await_healthy()?;
    let told = |expected: &[&str]| {
        cluster.wait("who weakens commits", || {
            let mut told = status(&cluster, primary)?.weakened;
            told.sort();
            (told == expected).then_some(())
        })
    };
    let say = |statement: &str| client::superuser(&cluster, primary, statement);
    told(&[])?;
    say("ALTER ROLE shop SET synchronous_commit = local")?;
    say("ALTER ROLE shop IN DATABASE shop SET client_min_messages = 'ERROR'")?;
    say("ALTER DATABASE shop SET synchronous_commit = off")?;
    say("ALTER ROLE mainstay SET synchronous_commit = on")?;
    say("ALTER SYSTEM SET synchronous_commit = remote_write")?;
    told(&[
        "ALTER SYSTEM set synchronous_commit = remote_write over the keeper's",
        "database shop has synchronous_commit = off",
        "role shop has synchronous_commit = local",
        "role shop in database shop has client_min_messages = ERROR",
    ])?;
    say("ALTER ROLE shop RESET ALL")?;
    say("ALTER ROLE shop IN DATABASE shop RESET ALL")?;
    say("ALTER DATABASE shop RESET ALL")?;
    told(&["ALTER SYSTEM set synchronous_commit = remote_write over the keeper's"])?;
    say("ALTER SYSTEM RESET ALL")?;
    told(&[])
}

/// What a session sets for itself is named too, however it does: a word of its own, an option as it connects, or a function
/// that sets it while it runs.
pub fn sessions_weakened() -> Result<()> {
    let cluster = Cluster::healthy()?;
    let (primary, _) = cluster.await_healthy()?;
    let door = cluster.door(primary)?;
    let whose = "sessions of role shop in database shop have";
    let told = |holders: &mut [&mut Holder], expected: &[&str]| {
        cluster.wait("what sessions set for themselves", || {
            for holder in holders.iter_mut() {
                holder.hold(&cluster, &door).ok()?;
            }
            let told = status(&cluster, primary)?;
            let expected = expected
                .iter()
                .map(|what| format!("{whose} {what}, set by themselves or by default"));
            (told.unseen.is_none() && told.weakened == expected.collect::<Vec<_>>()).then_some(())
        })
    };
    told(&mut [], &[])?;
    let mut strong = Holder::new(
        "",
        "SET synchronous_commit = remote_apply; SET client_min_messages = debug1",
    );
    let mut by_option = Holder::new("-c client_min_messages=error", "");
    told(
        &mut [&mut strong, &mut by_option],
        &["client_min_messages = error"],
    )?;
    let mut by_word = Holder::new("", "SET synchronous_commit = local");
    let mut by_function = Holder::new(
        "",
        "CREATE FUNCTION pg_temp.hurried() RETURNS void LANGUAGE sql SET synchronous_commit = off \
         AS 'SELECT pg_sleep(600)'",
    );
    by_function.endless = Some("SELECT pg_temp.hurried()");
    told(
        &mut [&mut strong, &mut by_option, &mut by_word, &mut by_function],
        &[
            "client_min_messages = error",
            "synchronous_commit = local",
            "synchronous_commit = off",
        ],
    )?;
    let running = by_function.running.take().context("nothing runs")?;
    let end = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_temp.hurried%'";
    cluster.wait("the function to end", || {
        client::superuser(&cluster, primary, end).ok()?;
        running.is_finished().then_some(())
    })?;
    let ended = cluster.runtime.block_on(running)?;
    ensure!(ended.is_err(), "it slept through");
    cluster.wait("a session to take its word back", || {
        let session = by_word.hold(&cluster, &door).ok()?;
        let back = session.batch_execute("RESET synchronous_commit");
        cluster.runtime.block_on(back).ok()
    })?;
    drop(by_option);
    told(&mut [&mut strong], &[])
}

/// A session that has set something for itself, and does so again when it was ended: a primary that was cut off ends
/// sessions, and opens again.
struct Holder {
    options: &'static str,
    words: &'static str,
    /// What is said last, and does not end.
    endless: Option<&'static str>,
    session: Option<Arc<Client>>,
    running: Option<JoinHandle<Result<(), tokio_postgres::Error>>>,
}

impl Holder {
    fn new(options: &'static str, words: &'static str) -> Self {
        Self {
            options,
            words,
            endless: None,
            session: None,
            running: None,
        }
    }

    /// The session, which is begun if there is none.
    fn hold(&mut self, cluster: &Cluster, door: &Door) -> Result<Arc<Client>> {
        let has_ended = self.running.as_ref().is_some_and(JoinHandle::is_finished);
        let session = self.session.take();
        let session = session.filter(|session| !session.is_closed() && !has_ended);
        if let Some(session) = session {
            self.session = Some(Arc::clone(&session));
            return Ok(session);
        }
        let session = cluster.runtime.block_on(async {
            let session = client::connect_with(door, self.options).await?;
            session.batch_execute(self.words).await?;
            anyhow::Ok(Arc::new(session))
        })?;
        self.running = self.endless.map(|statement| {
            let session = Arc::clone(&session);
            let said = async move { session.batch_execute(statement).await };
            cluster.runtime.spawn(said)
        });
        self.session = Some(Arc::clone(&session));
        Ok(session)
    }
}

/// PostgreSQL's programs are replaced on the disk, as a minor upgrade does: each server is started anew once, the
/// primary last, and commits never wait. A build that does not start stops at the first standby.
pub fn upgraded() -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("mainstay-programs-")
        .tempdir()?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(folder.path(), open)?;
    let installed = Installed::copy(folder.path())?;
    let cluster = Cluster::healthy_by(&installed.folder)?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_healthy()?;
    let next = installed.next();
    let before = pids(&cluster)?;
    installed.replace(|bytes| replaced(bytes, &installed.version, &next))?;
    let shown = shown_by(&installed, &next)?;
    let order = restarts(&cluster, &before, ("server_version", &shown))?;
    println!(
        "  {} to {next}, in this order: {order:?}; {primary} was primary",
        installed.version
    );
    ensure!(
        order.len() == COUNT && order.last() == Some(&primary),
        "{order:?}"
    );
    let (now, after) = cluster.await_healthy()?;
    ensure!(now != primary, "{now} again");
    switched_over_once(&cluster, term, after)?;
    let servers = pids(&cluster)?;
    let good = std::fs::read(installed.folder.join("postgres"))?;
    installed.put("postgres", b"#!/bin/sh\nexit 1\n")?;
    let ended = cluster.wait("a server that does not start", || {
        (0..COUNT).find(|which| cluster.postmaster(*which).is_err())
    })?;
    ensure!(ended != now, "the primary was the first");
    writer.await_more(&cluster, 200)?;
    for which in (0..COUNT).filter(|which| *which != ended) {
        let pid = cluster.postmaster(which)?;
        ensure!(pid == servers[which], "{which} was started anew");
    }
    ensure!(
        cluster.await_primary(0)? == (now, after),
        "somebody took over"
    );
    // Nothing is wrong with the folder, which is kept; the same build under the old name is another file.
    let pgdata = std::fs::metadata(cluster.pgdata(ended))?.ino();
    installed.put("postgres", &good)?;
    for which in 0..COUNT {
        cluster.wait("no other programs", || {
            (!status(&cluster, which)?.other_programs).then_some(())
        })?;
    }
    cluster.await_healthy()?;
    ensure!(
        std::fs::metadata(cluster.pgdata(ended))?.ino() == pgdata,
        "it was filled anew"
    );
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// A copy of PostgreSQL's programs that may be replaced.
struct Installed {
    folder: PathBuf,
    /// As the programs say it: `15.14`.
    version: String,
}

impl Installed {
    fn copy(to: &Path) -> Result<Self> {
        let from = mainstay_testkit::postgres::programs()?;
        let said = Command::new(from.join("postgres"))
            .arg("--version")
            .output()?;
        let said = String::from_utf8(said.stdout)?;
        let version = said.split_whitespace().nth(2).context("a version")?;
        let version = version.to_owned();
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        let folder = to.to_owned();
        Ok(Self { folder, version })
    }

    /// Another version that takes as many bytes.
    fn next(&self) -> String {
        let last = if self.version.ends_with('9') {
            '8'
        } else {
            '9'
        };
        let mut next = self.version.clone();
        next.pop();
        next.push(last);
        next
    }

    /// Every program anew, as a package manager puts it: another file under the old name. The server's comes last: a
    /// keeper that sees it starts its server anew, and takes what else is there.
    fn replace(&self, change: impl Fn(&[u8]) -> Vec<u8>) -> Result<()> {
        let entries = std::fs::read_dir(&self.folder)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
        names.sort_by_key(|name| name == "postgres");
        for name in names {
            let name = name.to_str().context("a name")?;
            self.put(name, &change(&std::fs::read(self.folder.join(name))?))?;
        }
        Ok(())
    }

    fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        let mode = std::fs::metadata(&path)?.permissions();
        let beside = self.folder.join(format!("{name}.new"));
        std::fs::write(&beside, content)?;
        std::fs::set_permissions(&beside, mode)?;
        Ok(std::fs::rename(&beside, &path)?)
    }
}

fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    let mut all = bytes.to_vec();
    let mut at = 0;
    while at + old.len() <= all.len() {
        if all[at..].starts_with(old) {
            all[at..at + old.len()].copy_from_slice(new);
            at += old.len();
        } else {
            at += 1;
        }
    }
    all
}

/// What a server of that version shows: with what the distribution adds.
fn shown_by(installed: &Installed, version: &str) -> Result<String> {
    let said = Command::new(installed.folder.join("postgres"))
        .arg("--version")
        .output()?;
    let said = String::from_utf8(said.stdout)?;
    let at = said.find(version).context("the new version is not there")?;
    Ok(said[at..].trim().to_owned())
}

fn pids(cluster: &Cluster) -> Result<Vec<Pid>> {
    (0..COUNT).map(|which| cluster.postmaster(which)).collect()
}

/// Above a term there was one in which anybody served, by what the keepers say of what happened. An election that
/// comes to nothing takes a term too.
fn switched_over_once(cluster: &Cluster, term: u32, after: u32) -> Result<()> {
    let mut served = BTreeSet::new();
    for which in 0..COUNT {
        let events = cluster.await_status(which)?.events;
        let events = events.iter().filter(|event| event.kind == "primary");
        served.extend(events.map(|event| event.term).filter(|now| *now > term));
    }
    ensure!(
        served == BTreeSet::from([after]),
        "from term {term} to {after} by {served:?}"
    );
    Ok(())
}

/// Waits until every server shows the value, and returns in which order those that were there before were started anew.
/// Fails when the primary says meanwhile, and not only for a moment, that commits wait.
fn restarts(cluster: &Cluster, before: &[Pid], (name, value): (&str, &str)) -> Result<Vec<usize>> {
    let mut order = Vec::new();
    let mut waiting: Option<Waiting> = None;
    let mut waited = None;
    cluster.wait("the value everywhere", || {
        let reason = cluster.primary().and_then(|(primary, _)| {
            let reason = cluster.status(primary).ok()?.sight.reason;
            reason.contains("commits wait").then_some(reason)
        });
        waiting = reason.map(|reason| {
            let begun = Waiting {
                looks: 0,
                restarted: order.len(),
            };
            let mut waiting = waiting.take().unwrap_or(begun);
            waiting.looks += 1;
            if waiting.looks >= LOOKS_LIMIT || order.len() > waiting.restarted + 1 {
                waited = Some(reason);
            }
            waiting
        });
        for (which, old) in before.iter().enumerate() {
            let other = cluster.postmaster(which).is_ok_and(|pid| pid != *old);
            if other && !order.contains(&which) {
                order.push(which);
            }
        }
        let all = (0..COUNT).all(|which| shown(cluster, which, name).as_deref() == Some(value));
        (all && order.len() == COUNT).then_some(())
    })?;
    ensure!(waited.is_none(), "commits waited: {waited:?}");
    Ok(order)
}
