//! What the core can tell the local server to do, one function per command.
//!
//! Each ends when its effect is certain, not when it has been asked for: a detached standby has no
//! receiver and cannot get one, a setting is seen by new sessions, a rank is read when nothing is left to
//! replay. A command that is dropped half-way leaves nothing running.

use std::time::Duration;

use mainstay_keeper::{
    Command, Failure, HistoryEntry, Outcome, Rank, ReceiverName, ReplicaId, SynchronousStandbys,
    TimelineHistory,
};
use mainstay_record::keeper::SeedingStatus;
pub use mainstay_rt::error::chain;
use mainstay_units::{Incarnation, Lsn, Timeline};
use rustix::process::Signal;
use tokio::sync::watch;

use crate::copying;
use crate::data::{self, DataError};
use crate::history::{self, History, Relation};
use crate::parameters;
use crate::process;
use crate::programs::ProgramError;
use crate::replication::{Identity, ReplicationError, Server};
use crate::server::{self, ANSWER_LIMIT, EFFECT_LIMIT, Local, ServerError, running};
use crate::settings::{
    self, Access, Acknowledging, Following, REPLICATION_ROLE, SUPERUSER, Stance,
};
use crate::setup::Setup;
use crate::spare;
use crate::sql::{Login, Session};
use crate::wait::until;

const PAUSE: Duration = Duration::from_millis(3);
const REPLAY_LIMIT: Duration = Duration::from_secs(60);
const PROMOTE_LIMIT: Duration = Duration::from_secs(20);
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(300);
const RESTART_POINT_LIMIT: Duration = Duration::from_secs(30);
/// For room in which a folder could be filled, before it is tried again all the same.
const ROOM_LIMIT: Duration = Duration::from_secs(60);
const ROOM_PAUSE: Duration = Duration::from_secs(1);
const SOURCE_LIMIT: Duration = Duration::from_millis(1_500);

/// Performs a command; logs what went wrong, and tells the core what kind of failure it was.
pub async fn perform(
    local: &mut Local,
    command: Command,
    progress: &watch::Sender<Option<SeedingStatus>>,
) -> Outcome {
    let text = format!("{command:?}");
    match attempt(local, command, progress).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(command = text, error = chain(&error), "a command failed");
            Outcome::Failed(failure(&error))
        }
    }
}

async fn attempt(
    local: &mut Local,
    command: Command,
    progress: &watch::Sender<Option<SeedingStatus>>,
) -> Result<Outcome, ServerError> {
    match command {
        Command::Initialize { incarnation } => {
            let system_identifier = data::initialize(&local.setup, incarnation).await?;
            return Ok(Outcome::Initialized { system_identifier });
        }
        Command::StartStandby => local.start().await?,
        Command::StopImmediate => local.stop().await?,
        Command::StopInOrder => {
            // What is written now need not be written while the server is away.
            let written = checkpoint(&local.setup);
            if tokio::time::timeout(RESTART_POINT_LIMIT, written)
                .await
                .is_err()
            {
                tracing::warn!("the restart point takes long and is not waited for");
            }
            local.stop_in_order().await?;
        }
        Command::Detach => detach(local).await?,
        Command::Follow { source, name } => follow(local, source, name).await?,
        Command::ReadRank => return Ok(Outcome::Ranked(read_rank(local).await?)),
        Command::SetSynchronousStandbys(standbys) => acknowledge(local, &standbys).await?,
        Command::Promote { timeline } => return promote(local, timeline).await,
        Command::Checkpoint => return Ok(checkpoint(&local.setup).await),
        Command::OpenApplications => open(local).await?,
        Command::CloseApplications => close(local).await?,
        Command::Rewind {
            source,
            incarnation,
            spare,
        } => {
            let server = source_server(local, source)?;
            if spare {
                rewind_or_go_back(local, server, incarnation).await?;
            } else {
                spare::put_away(&local.setup.layout)?;
                rewind(local, server, incarnation).await?;
            }
        }
        Command::Rebuild {
            source,
            incarnation,
        } => {
            let server = source_server(local, source)?;
            let name = source_name(local, source);
            await_room(local).await;
            let filled = data::rebuild(&local.setup, &server, &name, incarnation, progress).await;
            if let Err(DataError::TooSmall { needed, .. }) = &filled {
                local.lacking = Some(*needed);
            }
            filled?;
        }
    }
    Ok(Outcome::Done)
}

/// Before another try to fill a folder that had no room, which costs the source a checkpoint each time.
async fn await_room(local: &mut Local) {
    if let Some(needed) = local.lacking.take() {
        let pgdata = &local.setup.layout.pgdata;
        let is_there = || copying::room(pgdata).is_none_or(|room| room >= needed);
        until(ROOM_LIMIT, ROOM_PAUSE, is_there).await;
    }
}

/// Makes a checkpoint, in a session of its own.
pub async fn checkpoint(setup: &Setup) -> Outcome {
    let made = async {
        let session = server::login(setup, ANSWER_LIMIT).await?;
        let action = "make a checkpoint";
        session.ask(action, "CHECKPOINT", CHECKPOINT_LIMIT).await
    };
    match made.await {
        Ok(_) => Outcome::Done,
        Err(error) => {
            tracing::warn!(error = chain(&error), "no checkpoint was made");
            Outcome::Failed(Failure::Refused)
        }
    }
}

fn failure(error: &ServerError) -> Failure {
    match error {
        ServerError::Late { .. } => Failure::TimedOut,
        ServerError::Data(
            DataError::Folder { .. } | DataError::NoRoom { .. } | DataError::TooSmall { .. },
        )
        | ServerError::Spec { .. } => Failure::Disk,
        ServerError::Data(DataError::Program(
            ProgramError::Late { .. } | ProgramError::Stopped { .. },
        )) => Failure::TimedOut,
        ServerError::History(_) => Failure::Disk,
        ServerError::Broken(_) => Failure::Program,
        ServerError::Replication(
            ReplicationError::Connect { .. } | ReplicationError::Io { .. },
        ) => Failure::SourceUnreachable,
        _ => Failure::Refused,
    }
}

fn source_server(local: &Local, source: ReplicaId) -> Result<Server, ServerError> {
    local
        .setup
        .replica(source)
        .map(|replica| local.setup.server_of(replica))
        .ok_or_else(|| ServerError::Diverged {
            source_name: format!("replica {source}"),
            why: "there is none".to_owned(),
        })
}

fn source_name(local: &Local, source: ReplicaId) -> String {
    local
        .setup
        .replica(source)
        .map_or_else(|| source.to_string(), |replica| replica.host.clone())
}

/// The name of a receiver that never counts: it fills a folder.
const FILLING: &str = "mainstay_filling";

/// Rewinds, and lets the server run for as long as it needs to become consistent: what pg_rewind copied
/// ends before what it copied last was written.
async fn rewind(
    local: &mut Local,
    server: Server,
    incarnation: Incarnation,
) -> Result<(), ServerError> {
    data::rewind(&local.setup, &server).await?;
    let mut stance = Stance::alone();
    if let Server::Remote { at, name } = server {
        stance.following = Some(Following {
            primary: at,
            proof: Some(local.setup.proof_of(&name)),
            password_file: local.setup.layout.password_file.clone(),
            receiver: FILLING.to_owned(),
        });
    }
    local.start_as(stance).await?;
    local.stop().await?;
    data::write_settings(&local.setup, &Stance::alone())?;
    Ok(data::finish_filling(&local.setup, incarnation)?)
}

/// Where nobody could take this replica back if it lost what it has: the folder is copied first, and is what it was if
/// the rewind does not end well.
async fn rewind_or_go_back(
    local: &mut Local,
    server: Server,
    incarnation: Incarnation,
) -> Result<(), ServerError> {
    let layout = local.setup.layout.clone();
    data::clear(&local.setup).await?;
    if spare::is_owed(&layout) {
        // What lies in the data folder is half of something; a copy of it would take the place of the whole one.
        spare::settle(&layout)?;
    }
    tokio::task::spawn_blocking(move || spare::make(&layout))
        .await
        .map_err(|error| DataError::Copying {
            why: error.to_string(),
        })??;
    let rewound = rewind(local, server, incarnation).await;
    if rewound.is_err() {
        local.stop().await?;
    }
    spare::settle(&local.setup.layout)?;
    rewound
}

/// Finishes going back where a rewind was dropped or what it ran did not end in time; says whether nothing is owed any more.
/// Nobody is ended for it: who still works in the folder was told to end, or is no server of the keeper's.
pub fn go_back(setup: &Setup) -> bool {
    let layout = &setup.layout;
    if !spare::is_owed(layout) {
        return true;
    }
    if !process::is_deserted(&layout.pgdata) || !process::is_deserted(&layout.tools) {
        return false;
    }
    let settled = spare::settle(layout);
    if let Err(error) = &settled {
        tracing::warn!(
            error = chain(error),
            "what a rewind left is not put in order yet"
        );
    }
    settled.is_ok()
}

async fn detach(local: &mut Local) -> Result<(), ServerError> {
    let action = "leave the primary";
    local.change(action, |stance| {
        stance.following = None;
        stance.access = Access::Closed;
    })?;
    local.await_setting(action, "primary_conninfo", "").await?;
    let deadline = mainstay_rt::clock::now() + EFFECT_LIMIT;
    let session = local.session().await?;
    loop {
        let left = session
            .value(
                action,
                "SELECT count(*) FROM pg_stat_wal_receiver",
                ANSWER_LIMIT,
            )
            .await?;
        if left == "0" {
            break;
        }
        if mainstay_rt::clock::now() >= deadline {
            let limit = EFFECT_LIMIT;
            return Err(ServerError::Late { action, limit });
        }
        tokio::time::sleep(PAUSE).await;
    }
    // A reader's session that lived through a promotion would be a writer's.
    turn_away(local).await
}

/// Replay position, the start-up process while it waits for more log, and how many receivers there are.
const PARKED: &str = "SELECT coalesce(pg_last_wal_replay_lsn()::text, ''), \
    (SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup' \
        AND wait_event = 'RecoveryRetrieveRetryInterval'), \
    (SELECT count(*) FROM pg_stat_wal_receiver)";

/// So many times start-up must have gone to sleep between two sightings.
const PASSES: u64 = 2;

/// Waits until start-up has replayed all there is: seen asleep, waiting for more, twice; without having
/// moved; with nobody to bring more; and having gone to sleep again in between, which it does only after
/// another look at the log and at its settings. A replay position that does not move would prove nothing,
/// and neither would time: a starved process sleeps longer than it wants to.
async fn await_parked(local: &mut Local) -> Result<(), ServerError> {
    let action = "wait for the end of the log";
    let deadline = mainstay_rt::clock::now() + REPLAY_LIMIT;
    let session = local.session().await?;
    let mut first: Option<(String, u64)> = None;
    loop {
        let rows = session.ask(action, PARKED, ANSWER_LIMIT).await?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter();
        let position = row.next().flatten().unwrap_or_default();
        let sleeper = row.next().flatten().and_then(|pid| pid.parse().ok());
        let receivers = row.next().flatten();
        let sleeps = sleeper.and_then(process::sleeps);
        first = match (first, sleeps) {
            _ if receivers.as_deref() != Some("0") => None,
            (Some((before, since)), Some(sleeps)) if before == position => {
                if sleeps >= since + PASSES {
                    return Ok(());
                }
                Some((before, since))
            }
            // Awake for a moment between two waits: that it moved is what counts.
            (Some((before, since)), None) if before == position => Some((before, since)),
            (_, Some(sleeps)) => Some((position, sleeps)),
            (_, None) => None,
        };
        if mainstay_rt::clock::now() >= deadline {
            let limit = REPLAY_LIMIT;
            return Err(ServerError::Late { action, limit });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A standby whose primary was given more connections than it has itself stands still in its log, and goes on
/// only after a start.
async fn resume_replay(local: &mut Local) -> Result<(), ServerError> {
    let session = local.session().await?;
    let question = "SELECT pg_is_wal_replay_paused()";
    let paused = session.value("ask whether replay stands still", question, ANSWER_LIMIT);
    if paused.await? != "t" || !parameters::lacks_demanded(&local.setup, &session).await {
        return Ok(());
    }
    tracing::info!("the log demands more than this server has; starting it anew");
    local.stop().await?;
    local.start().await
}

async fn identify(local: &mut Local) -> Result<Identity, ServerError> {
    let action = "identify the system";
    let limit = ANSWER_LIMIT;
    Ok(tokio::time::timeout(limit, local.identify())
        .await
        .map_err(|_| ServerError::Late { action, limit })??)
}

async fn read_rank(local: &mut Local) -> Result<Rank, ServerError> {
    if is_standby(local).await? {
        resume_replay(local).await?;
        await_parked(local).await?;
    }
    let identity = identify(local).await?;
    let history = history::read(&local.setup.layout.pgdata, identity.timeline)?;
    Ok(Rank {
        timeline: identity.timeline,
        lsn: identity.flushed,
        history: to_core(&history),
    })
}

fn to_core(history: &History) -> TimelineHistory {
    let entries = history
        .ancestors
        .iter()
        .map(|(timeline, end)| HistoryEntry {
            timeline: *timeline,
            end: *end,
        });
    TimelineHistory(entries.collect())
}

async fn follow(
    local: &mut Local,
    source: ReplicaId,
    name: ReceiverName,
) -> Result<(), ServerError> {
    let action = "follow the primary";
    let Server::Remote {
        at: address,
        name: proven,
    } = source_server(local, source)?
    else {
        return Err(ServerError::NotRunning { action });
    };
    let mine = identify(local).await?;
    let fetch = take_histories(local, source, mine);
    tokio::time::timeout(SOURCE_LIMIT, fetch)
        .await
        .map_err(|_| {
            ServerError::Replication(ReplicationError::Io {
                server: address.to_string(),
                source: std::io::ErrorKind::TimedOut.into(),
            })
        })??;
    let following = Following {
        primary: address,
        proof: Some(local.setup.proof_of(&proven)),
        password_file: local.setup.layout.password_file.clone(),
        receiver: name.to_string(),
    };
    local.change(action, |stance| {
        stance.following = Some(following);
        // A standby may be read; what it shows may be old, and nobody is promised otherwise.
        stance.access = Access::Open;
    })?;
    let shown = settings::shown_conninfo(&local.stance);
    local
        .await_setting(action, "primary_conninfo", &shown)
        .await?;
    local.end_replication();
    Ok(())
}

/// Compares the primary's history with what is here, and takes over what it says of every timeline
/// above this one: a placeholder of ours would hide its real history.
async fn take_histories(
    local: &mut Local,
    source: ReplicaId,
    mine: Identity,
) -> Result<(), ServerError> {
    let server = source_server(local, source)?;
    let name = source_name(local, source);
    let diverged = |why: String| ServerError::Diverged {
        source_name: name.clone(),
        why,
    };
    let mut connection = local.setup.replication(&server).await?;
    let theirs = connection.identify().await?;
    if theirs.system != mine.system {
        return Err(diverged(format!(
            "it is another cluster ({}, not {})",
            theirs.system, mine.system
        )));
    }
    let text = connection.history(theirs.timeline).await?;
    let text = String::from_utf8_lossy(text.as_deref().unwrap_or_default()).into_owned();
    let history = History::parse(theirs.timeline, &text)?;
    let end = replayed(local, mine).await?;
    match history.relation(mine.timeline, end) {
        Relation::Part => {}
        Relation::Beyond { left_at } => {
            return Err(diverged(format!(
                "it left timeline {} at {left_at}, and this log goes on to {end}",
                mine.timeline
            )));
        }
        Relation::Foreign => {
            return Err(diverged(format!(
                "its timeline {} does not come from {}",
                theirs.timeline, mine.timeline
            )));
        }
    }
    let pgdata = &local.setup.layout.pgdata;
    history::forget_above(pgdata, theirs.timeline)?;
    let above: Vec<Timeline> = (mine.timeline.0.saturating_add(1)..=theirs.timeline.0)
        .map(Timeline)
        .collect();
    let contents = connection.histories(&above).await?;
    for (timeline, content) in above.into_iter().zip(contents) {
        if let Some(content) = content {
            let give = |path: &std::path::Path| local.setup.programs.give(path);
            history::store(pgdata, timeline, &content, give)?;
        }
    }
    Ok(())
}

/// The end of the last whole record that is here. What was received beyond it and is no whole record is
/// overwritten when streaming begins, and divergence is a matter of records.
async fn replayed(local: &mut Local, mine: Identity) -> Result<Lsn, ServerError> {
    let action = "read the replay position";
    let session = local.session().await?;
    let text = session
        .value(
            action,
            "SELECT coalesce(pg_last_wal_replay_lsn()::text, '0/0')",
            ANSWER_LIMIT,
        )
        .await?;
    Ok(text.parse().unwrap_or(mine.flushed))
}

async fn acknowledge(local: &mut Local, standbys: &SynchronousStandbys) -> Result<(), ServerError> {
    let acknowledging = match standbys {
        SynchronousStandbys::Any { count, names } => Acknowledging::Any {
            count: *count,
            receivers: names.iter().map(ToString::to_string).collect(),
        },
        SynchronousStandbys::Nobody => Acknowledging::Nobody,
        SynchronousStandbys::Off => Acknowledging::Off,
    };
    if local.stance.acknowledging == Acknowledging::Off && acknowledging != Acknowledging::Off {
        take_in(local, Acknowledging::Nobody).await?;
        see_a_commit_wait(local).await?;
    } else if is_other_count(&local.stance.acknowledging, &acknowledging) {
        // Of senders that show the same place before and after, nobody could say by which number they count.
        take_in(local, Acknowledging::Nobody).await?;
    }
    take_in(local, acknowledging).await
}

/// That commits wait at all is said to them by the checkpointer, which may be busy with a disk for long after everybody else has read
/// the setting: so one is tried, under a setting that answers none.
async fn see_a_commit_wait(local: &mut Local) -> Result<(), ServerError> {
    let action = "see that commits wait";
    let probe = server::login(&local.setup, ANSWER_LIMIT).await?;
    let recovers = probe.value(action, "SELECT pg_is_in_recovery()::text", ANSWER_LIMIT);
    if recovers.await? == "true" {
        // Nobody commits there.
        return Ok(());
    }
    let on = "SET synchronous_commit = on";
    probe.ask(action, on, ANSWER_LIMIT).await?;
    let own = "SELECT pg_backend_pid()::text";
    let pid = probe.value(action, own, ANSWER_LIMIT).await?;
    let waits =
        format!("SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'SyncRep'");
    let cancel = format!("SELECT pg_cancel_backend({pid})");
    let deadline = mainstay_rt::clock::now() + EFFECT_LIMIT;
    while mainstay_rt::clock::now() < deadline {
        let commit = "SELECT pg_logical_emit_message(true, 'mainstay', 'does it wait?')";
        let commit = probe.ask(action, commit, EFFECT_LIMIT);
        let mut commit = std::pin::pin!(commit);
        let mut seen = false;
        loop {
            tokio::select! {
                // Answered, or cancelled; what came of it is nobody's.
                _ = &mut commit => break,
                () = tokio::time::sleep(PAUSE) => {
                    let session = local.session().await?;
                    let rows = session.ask(action, &waits, ANSWER_LIMIT).await?;
                    if !rows.is_empty() {
                        seen = true;
                        session.ask(action, &cancel, ANSWER_LIMIT).await?;
                    }
                }
            }
        }
        if seen {
            return Ok(());
        }
    }
    let limit = EFFECT_LIMIT;
    Err(ServerError::Late { action, limit })
}

/// The same standbys, and another number of them: nothing else in it is seen from outside.
fn is_other_count(before: &Acknowledging, after: &Acknowledging) -> bool {
    match (before, after) {
        (Acknowledging::Any { count: one, .. }, Acknowledging::Any { count: other, .. }) => {
            one != other
        }
        _ => false,
    }
}

async fn take_in(local: &mut Local, acknowledging: Acknowledging) -> Result<(), ServerError> {
    let action = "set who acknowledges";
    local.change(action, |stance| stance.acknowledging = acknowledging)?;
    let shown = settings::shown_synchronous(&local.stance);
    local
        .await_setting(action, "synchronous_standby_names", &shown)
        .await?;
    await_senders(local).await
}

/// Each walsender reads the setting for itself; until all show their place in it, some count by the old.
async fn await_senders(local: &mut Local) -> Result<(), ServerError> {
    let action = "have the senders know who acknowledges";
    let names: &[String] = match &local.stance.acknowledging {
        Acknowledging::Any { receivers, .. } => receivers,
        Acknowledging::Nobody | Acknowledging::Off => &[],
    };
    let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let list = if list.is_empty() {
        "''".to_owned()
    } else {
        list.join(",")
    };
    let question = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE application_name LIKE 'mainstay\\_%' \
         AND application_name <> 'mainstay_keeper' AND state = 'streaming' \
         AND (application_name IN ({list})) <> (sync_state IN ('quorum', 'sync', 'potential'))"
    );
    let session = local.session().await?;
    let deadline = mainstay_rt::clock::now() + EFFECT_LIMIT;
    loop {
        if session.value(action, &question, ANSWER_LIMIT).await? == "0" {
            return Ok(());
        }
        if mainstay_rt::clock::now() >= deadline {
            let limit = EFFECT_LIMIT;
            return Err(ServerError::Late { action, limit });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn promote(local: &mut Local, timeline: Timeline) -> Result<Outcome, ServerError> {
    if local.stance.access == Access::Open {
        close(local).await?;
    }
    let pgdata = local.setup.layout.pgdata.clone();
    let before = identify(local).await?;
    let unreached = history::highest_real(&pgdata).is_some_and(|highest| highest > before.timeline);
    if unreached || history::exists(&pgdata, timeline) {
        // Start-up may have made up its mind to continue a history that this log never reached; and one that lies on the
        // term's place, be it empty, would send the promotion past it.
        let stance = local.stance.clone();
        local.stop().await?;
        history::forget_above(&pgdata, before.timeline)?;
        local.start().await?;
        local.change("promote", |new| {
            new.acknowledging = stance.acknowledging;
        })?;
        await_parked(local).await?;
    }
    let setup = std::rc::Rc::clone(&local.setup);
    let give = |path: &std::path::Path| setup.programs.give(path);
    history::occupy(&pgdata, before.timeline, timeline, give)?;
    data::write_promote_signal(&setup)?;
    let action = "promote";
    let postmaster = running(&setup, action)?;
    process::signal(postmaster, Signal::USR1);
    await_promoted(local).await?;
    data::put(&setup, data::STANDBY_SIGNAL, b"")?;
    let after = identify(local).await?;
    let history = history::read(&pgdata, after.timeline)?;
    Ok(Outcome::Promoted {
        timeline: after.timeline,
        first_record_end: after.flushed,
        history: to_core(&history),
    })
}

async fn is_standby(local: &mut Local) -> Result<bool, ServerError> {
    let session = local.session().await?;
    let question = "SELECT pg_is_in_recovery()";
    let answer = session
        .value("ask whether it is a standby", question, ANSWER_LIMIT)
        .await?;
    Ok(answer != "f")
}

async fn await_promoted(local: &mut Local) -> Result<(), ServerError> {
    let action = "wait for the promotion";
    let deadline = mainstay_rt::clock::now() + PROMOTE_LIMIT;
    loop {
        if !is_standby(local).await? {
            return Ok(());
        }
        if mainstay_rt::clock::now() >= deadline {
            let limit = PROMOTE_LIMIT;
            return Err(ServerError::Late { action, limit });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn open(local: &mut Local) -> Result<(), ServerError> {
    let action = "let applications in";
    local.change(action, |stance| stance.access = Access::Open)?;
    let deadline = mainstay_rt::clock::now() + EFFECT_LIMIT;
    while let Err(error) = knock(local).await {
        if mainstay_rt::clock::now() >= deadline {
            return Err(error.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    local.end_replication();
    Ok(())
}

/// Logs in as an application would.
async fn knock(local: &Local) -> Result<(), crate::sql::SqlError> {
    let application = &local.setup.config.application;
    let login = Login {
        socket: &local.setup.socket(),
        database: &application.database,
        user: &application.role,
        password: &local.setup.secrets.application,
    };
    Session::open(login, ANSWER_LIMIT).await.map(drop)
}

/// Ends every session that is not a keeper's or a replica's; while others are there, or may come, not those that wait for other
/// copies of their commit. One row for each session that was there.
fn end_sessions(shut: bool) -> String {
    let theirs = format!(
        "backend_type = 'client backend' AND usename NOT IN ('{SUPERUSER}', '{REPLICATION_ROLE}')"
    );
    let others = "wait_event IS DISTINCT FROM 'SyncRep'";
    format!(
        "SELECT CASE WHEN {others} OR ({shut} AND NOT EXISTS \
         (SELECT FROM pg_stat_activity WHERE {theirs} AND {others})) \
         THEN pg_terminate_backend(pid) END FROM pg_stat_activity WHERE {theirs}"
    )
}

async fn close(local: &mut Local) -> Result<(), ServerError> {
    local.change("turn applications away", |stance| {
        stance.access = Access::Closed;
    })?;
    turn_away(local).await
}

/// Waits until the shut door is shut, and ends every session that came through it. Who waits for other copies goes last: when his
/// session ends, his commit is seen by whoever is there, and whoever saw it, or waited for its row, could take it for written.
async fn turn_away(local: &mut Local) -> Result<(), ServerError> {
    let action = "turn applications away";
    let deadline = mainstay_rt::clock::now() + EFFECT_LIMIT;
    loop {
        // First the door, then the room: whoever came in before the door was shut is seen.
        let shut = knock(local).await.is_err();
        let session = local.session().await?;
        let left = session
            .ask(action, &end_sessions(shut), ANSWER_LIMIT)
            .await?;
        if shut && left.is_empty() {
            return Ok(());
        }
        if mainstay_rt::clock::now() >= deadline {
            let limit = EFFECT_LIMIT;
            return Err(ServerError::Late { action, limit });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
