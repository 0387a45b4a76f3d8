//! Whether the postmaster still lets anyone in, and what the server says of itself that changes seldom.
//!
//! A session that stands says nothing about the door, so a stranger knocks at it: all the way to the question for a
//! proof, and no further. The questions are asked in a session that is kept. Both cost the server what its clients
//! could have, so neither is done more often than its answer is worth.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mainstay_keeper::Serviceability;
use mainstay_rt::clock;
use mainstay_units::Instant;
use tokio_postgres::error::SqlState;

use crate::commands::chain;
use crate::damage;
use crate::own_settings::{self, OwnSettings};
use crate::parameters;
use crate::replication::{Connection, ReplicationError};
use crate::server;
use crate::settings::SUPERUSER;
use crate::setup::Setup;
use crate::sql::{Question, Session, SqlError};
use crate::unarchived::Unarchived;
use crate::weakened;

/// How often somebody knocks, and the questions are asked.
const PERIOD: Duration = Duration::from_secs(2);
/// The same while nobody is let in: its end is to be seen.
const SHUT_PERIOD: Duration = Duration::from_millis(500);
/// A whole login for each of these: behind a door that opens nobody may be at home.
const SURVEY_LIFE: Duration = Duration::from_secs(10);
/// For one answer; longer is a finding.
const LIMIT: Duration = Duration::from_millis(700);

/// Knocks for ever. It has a task of its own, because a postmaster that lets nobody in keeps the caller waiting.
pub async fn again(setup: Rc<Setup>, found: Rc<Cell<Serviceability>>) {
    let mut survey = None;
    let mut unarchived = Unarchived::default();
    let mut sessions = OwnSettings::default();
    loop {
        tokio::time::sleep(match found.get() {
            Serviceability::NoSlots | Serviceability::Hung => SHUT_PERIOD,
            _ => PERIOD,
        })
        .await;
        if matches!(server::postmaster(&setup), Ok(None)) {
            survey = None;
            found.set(Serviceability::Good);
            continue;
        }
        let mut door = knock(&setup).await;
        if door == Serviceability::Good && !survey.as_ref().is_some_and(Survey::serves) {
            survey = None;
            door = enter(&setup, &mut survey).await;
        }
        if let (Serviceability::Good, Some(asked)) = (door, &survey) {
            match asked.ask(&setup, &mut sessions).await {
                Ok(condition) => {
                    door = condition;
                    let seen_to = unarchived.see_to(&setup.parameters, &asked.session, LIMIT);
                    if let Err(error) = seen_to.await {
                        tracing::debug!(error = chain(&error), "slots of an archive stay for now");
                    }
                }
                // That says nothing of the door: who holds a lock on a catalogue does not hang the server.
                Err(error) => {
                    tracing::debug!(%error, "the server does not say how it is");
                    survey = None;
                }
            }
        }
        found.set(door);
    }
}

async fn knock(setup: &Setup) -> Serviceability {
    let local = setup.local();
    let knocked = Connection::knock(&local, &setup.identity, SUPERUSER);
    match tokio::time::timeout(LIMIT, knocked).await {
        Err(_) => Serviceability::Hung,
        Ok(Err(ReplicationError::Refused { code, .. }))
            if code == SqlState::TOO_MANY_CONNECTIONS.code() =>
        {
            Serviceability::NoSlots
        }
        // A refusal is an answer too.
        Ok(_) => Serviceability::Good,
    }
}

/// A whole login, for the next questions.
async fn enter(setup: &Setup, survey: &mut Option<Survey>) -> Serviceability {
    match server::login(setup, LIMIT).await {
        Ok(session) => {
            *survey = Survey::prepare(session)
                .await
                .inspect_err(|error| tracing::debug!(%error, "the server is not asked how it is"))
                .ok();
            Serviceability::Good
        }
        Err(error) if error.state() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
            Serviceability::NoSlots
        }
        Err(SqlError::Late { .. }) => Serviceability::Hung,
        // It starts, stops, or has other troubles that are seen elsewhere.
        Err(_) => Serviceability::Good,
    }
}

/// A session that is kept for some time, and what is asked in it.
struct Survey {
    session: Session,
    since: Instant,
    waiting: Question,
    damage: Question,
    weakened: weakened::Questions,
    connected: Question,
}

impl Survey {
    async fn prepare(session: Session) -> Result<Self, SqlError> {
        Ok(Self {
            since: clock::now(),
            waiting: session
                .prepare("ask what waits for a restart", WAITING, LIMIT)
                .await?,
            damage: session.prepare("ask for damage", DAMAGE, LIMIT).await?,
            weakened: weakened::prepare(&session, LIMIT).await?,
            connected: own_settings::prepare(&session, LIMIT).await?,
            session,
        })
    }

    fn serves(&self) -> bool {
        !self.session.is_closed() && clock::now().since(self.since) < SURVEY_LIFE
    }

    async fn ask(
        &self,
        setup: &Setup,
        sessions: &mut OwnSettings,
    ) -> Result<Serviceability, SqlError> {
        let session = &self.session;
        let waiting = session.ask_again(&self.waiting, LIMIT).await?;
        let waiting: Vec<String> = waiting.into_iter().flatten().flatten().collect();
        note_parameters(setup, &waiting);
        let mut weakened = weakened::look(session, &self.weakened, LIMIT).await?;
        if let Ok(Some(postmaster)) = server::postmaster(setup) {
            let found = sessions.look(postmaster, session, &self.connected, LIMIT);
            let found = found.await?;
            weakened.extend(found.weakened);
            setup.parameters.note_unseen(found.unseen);
        }
        setup.parameters.note_weakened(weakened);
        let counted = session.ask_again(&self.damage, LIMIT).await?;
        let is_damaged = counted.iter().flatten().flatten().any(|count| count != "0");
        if is_damaged {
            damage::note(setup);
        }
        Ok(if is_damaged || damage::is_known(setup) {
            Serviceability::CorruptData
        } else {
            Serviceability::Good
        })
    }
}

/// What the server takes at its next start only, and whether that would be another build of it.
fn note_parameters(setup: &Setup, waiting: &[String]) {
    let running = server::postmaster(setup).ok().flatten();
    let running = running.map(|identity| format!("/proc/{}/exe", identity.pid));
    let on_disk = setup.programs.path("postgres");
    let other = running.is_some_and(|running| parameters::was_replaced(running.as_ref(), &on_disk));
    let given = setup.parameters.lines();
    let waits = |word: &String| {
        let (name, from_file) = word.split_once('=')?;
        let is_given = from_file == "true" || given.iter().any(|(given, _)| given == name);
        is_given.then(|| name.to_owned())
    };
    setup
        .parameters
        .note_server(waiting.iter().filter_map(waits).collect(), other);
}

/// Each with whether it runs with a value of the file. Of a parameter that was given and taken back before any
/// start, the server goes on saying that it waits: then neither the file nor the value in force is of the file.
const WAITING: &str = "SELECT name || '=' || (source = 'configuration file')::text FROM pg_settings \
    WHERE pending_restart ORDER BY name";

/// What the server itself counted of pages whose checksum was wrong.
const DAMAGE: &str = "SELECT coalesce(sum(checksum_failures), 0)::text FROM pg_stat_database";
