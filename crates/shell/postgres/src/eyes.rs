//! Looking at the local server: all the time, and apart from everything else.
//!
//! The eyes have a thread of their own, so that neither a slow command nor a slow disk delays them. They
//! look every 200 ms, every 10 ms while something is changing, at once when a command has ended, and at
//! once when the postmaster dies, which the kernel tells through a descriptor. What they do not get an
//! answer to within the deadline they report as such: silence is a finding.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_keeper::{
    Client, ClientState, DataState, Observation, ProcessState, Receiver, Serviceability, Supply,
};
use mainstay_record::process::ProcessIdentity;
use mainstay_units::{Lsn, Timeline};
use tokio::sync::{mpsc, watch};
use tokio_postgres::error::SqlState;

use crate::data;
use crate::knock;
use crate::process::{self, Death};
use crate::pulse::Pulse;
use crate::replication::Connection;
use crate::server;
use crate::setup::Setup;
use crate::sql::{Question, Row, Session, SqlError};
use crate::supply::{self, Inquiry};

/// For one look; longer is a finding.
const LOOK_LIMIT: Duration = Duration::from_millis(700);
const CALM: Duration = Duration::from_millis(200);
const EAGER: Duration = Duration::from_millis(10);
/// While a server starts or stops there is nobody to ask, and every knock costs it a process.
const CHANGING: Duration = Duration::from_millis(30);

/// How closely to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attention {
    pub eager: bool,
    /// Changes whenever there is a reason to look at once.
    pub glance: u64,
}

/// What was seen, and the postmaster it was seen of.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The glance that was asked for when the look began: what was seen is not older than that.
    pub glance: u64,
    pub observation: Observation,
    pub postmaster: Option<ProcessIdentity>,
}

struct Sessions {
    sql: Session,
    look: Question,
    /// To a standby that does not stream: it tells nobody else which timeline it is on. Up to PostgreSQL 15 every flush
    /// of the log wakes each process that serves such a connection, so none is kept that is not needed.
    replication: Option<Connection>,
    /// The timeline that the standby named last.
    identified: Option<Timeline>,
}

impl Sessions {
    async fn open(setup: &Setup) -> Result<Self, Blocked> {
        let sql = server::login(setup, LOOK_LIMIT).await?;
        let look = sql
            .prepare("prepare to look at the server", LOOK, LOOK_LIMIT)
            .await?;
        Ok(Self {
            sql,
            look,
            replication: None,
            identified: None,
        })
    }

    /// Where the server stands, and everything else that it tells.
    async fn look(&mut self, setup: &Setup) -> Result<(Place, Vec<Row>), Blocked> {
        loop {
            let named = match &mut self.replication {
                Some(connection) => Some(identify(connection).await?),
                None => None,
            };
            self.identified = named.map(|(timeline, _)| timeline).or(self.identified);
            let rows = self.sql.ask_again(&self.look, LOOK_LIMIT).await?;
            let told = rows.iter().find_map(primary_place).or_else(|| {
                let (timeline, place) = streaming_place(&rows)?;
                (Some(timeline) == self.identified).then_some((timeline, place))
            });
            if let Some(place) = told {
                self.replication = None;
                return Ok((place, rows));
            }
            if let Some(place) = named {
                return Ok((place, rows));
            }
            let connection = setup.replication(&setup.local()).await;
            self.replication = Some(connection.map_err(|error| {
                tracing::debug!(%error, "the server does not speak of replication");
                Blocked::Changing
            })?);
        }
    }
}

/// Of its log: which timeline, and how far it is on disk.
type Place = (Timeline, Lsn);

async fn identify(connection: &mut Connection) -> Result<Place, Blocked> {
    let identity = connection.identify().await.map_err(|error| {
        tracing::debug!(%error, "the server does not identify itself");
        Blocked::Changing
    })?;
    Ok((identity.timeline, identity.flushed))
}

/// What a primary says in the row `recovery`: a file of its log, whose name begins with the timeline, and a position.
fn primary_place(row: &Row) -> Option<Place> {
    if (column(row, 0)?, column(row, 1)?) != ("recovery", "false") {
        return None;
    }
    let timeline = u32::from_str_radix(column(row, 2)?.get(..8)?, 16).ok()?;
    Some((Timeline(timeline), column(row, 3)?.parse().ok()?))
}

/// What a standby says while it streams: the timeline that it receives, and how far it has received or replayed. Of a
/// standby that named this timeline, this is what it would name again: nothing leads it to another one but its stream.
fn streaming_place(rows: &[Row]) -> Option<Place> {
    let of = |kind: &str| rows.iter().find(|row| column(row, 0) == Some(kind));
    let (recovery, receiver) = (of("recovery")?, of("receiver")?);
    if column(receiver, 1)? != "streaming" {
        return None;
    }
    let timeline = column(receiver, 4)?.parse().ok()?;
    Some((Timeline(timeline), column(recovery, 3)?.parse().ok()?))
}

fn column(row: &Row, at: usize) -> Option<&str> {
    row.get(at)?.as_deref()
}

struct Eyes {
    setup: Rc<Setup>,
    data: data::Remembered,
    sessions: Option<Sessions>,
    postmaster: Option<(ProcessIdentity, Death)>,
    /// What the server was when it last answered.
    last: ProcessState,
    last_clients: Vec<Client>,
    last_receipt: Option<String>,
    /// What the one who knocks found last.
    door: Rc<Cell<Serviceability>>,
    pulse: Arc<Pulse>,
    inquiry: Rc<Inquiry>,
}

/// Looks until nobody listens any more.
pub async fn watch(
    setup: Rc<Setup>,
    mut attention: watch::Receiver<Attention>,
    report: mpsc::UnboundedSender<Sighting>,
) {
    let pulse = Pulse::start(&setup);
    let mut eyes = Eyes {
        setup,
        data: data::Remembered::default(),
        sessions: None,
        postmaster: None,
        last: ProcessState::Changing,
        last_clients: Vec::new(),
        last_receipt: None,
        door: Rc::new(Cell::new(Serviceability::Good)),
        pulse,
        inquiry: Rc::default(),
    };
    tokio::task::spawn_local(supply::inquire(
        Rc::clone(&eyes.setup),
        Rc::clone(&eyes.inquiry),
    ));
    tokio::task::spawn_local(knock::again(Rc::clone(&eyes.setup), Rc::clone(&eyes.door)));
    loop {
        let glance = attention.borrow_and_update().glance;
        let sighting = eyes.look(glance).await;
        let changing = sighting.observation.process == ProcessState::Changing;
        if report.send(sighting).is_err() {
            return;
        }
        let period = match (attention.borrow().eager, changing) {
            (true, false) => EAGER,
            (true, true) => CHANGING,
            (false, _) => CALM,
        };
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            changed = attention.changed() => if changed.is_err() { return },
            () = eyes.death() => {}
        }
    }
}

/// Of a server that was not found. One that could not be looked for may run for all that is known: nobody starts another beside it.
fn unless_unseen(found: std::io::Result<()>) -> ProcessState {
    match found {
        Ok(()) => ProcessState::Stopped,
        Err(error) => {
            tracing::warn!(%error, "whether a server runs cannot be seen");
            ProcessState::Changing
        }
    }
}

impl Eyes {
    /// Resolves when the postmaster that is watched dies.
    async fn death(&mut self) {
        match &mut self.postmaster {
            Some((_, death)) => death.comes().await,
            None => std::future::pending().await,
        }
    }

    async fn look(&mut self, glance: u64) -> Sighting {
        let data = self.data.state(&self.setup);
        let found = self.find_postmaster();
        let mut observation = Observation {
            data,
            process: ProcessState::Stopped,
            serviceability: Serviceability::Good,
            receiver: None,
            supply: Supply::Unbroken,
            renewal: self.setup.parameters.renewal(),
            clients: Vec::new(),
        };
        let postmaster = self.postmaster.as_ref().map(|(identity, _)| *identity);
        if postmaster.is_none() {
            self.sessions = None;
            self.last = ProcessState::Changing;
            observation.process = unless_unseen(found);
            return Sighting {
                glance,
                observation,
                postmaster,
            };
        }
        if data == DataState::Broken {
            // A server that runs while its folder is being filled is part of the filling.
            self.sessions = None;
            observation.process = ProcessState::Changing;
            return Sighting {
                glance,
                observation,
                postmaster,
            };
        }
        let looked = tokio::time::timeout(LOOK_LIMIT, self.ask(&mut observation)).await;
        match looked {
            Ok(Ok(())) => {
                self.last = observation.process;
                self.last_clients.clone_from(&observation.clients);
                self.note_supply(&mut observation);
                observation.serviceability = self.door.get();
            }
            Ok(Err(Blocked::Changing)) => {
                self.sessions = None;
                observation.process = ProcessState::Changing;
            }
            Ok(Err(Blocked::NoSlots)) => {
                self.sessions = None;
                observation.process = self.last;
                observation.serviceability = Serviceability::NoSlots;
            }
            Err(_) => {
                self.sessions = None;
                observation.process = self.last;
                observation.clients.clone_from(&self.last_clients);
                observation.serviceability = Serviceability::Hung;
            }
        }
        // A server whose folder was taken away goes on from memory, for a while.
        if data == DataState::Blank {
            observation.serviceability = Serviceability::DeadDisk;
        } else if let Some(finding) = self.pulse.finding()
            && (!finding.is_ailment() || observation.serviceability == Serviceability::Good)
        {
            // A server that hangs beside a full disk hangs.
            observation.serviceability = finding;
        }
        Sighting {
            glance,
            observation,
            postmaster,
        }
    }

    fn note_supply(&self, observation: &mut Observation) {
        if let ProcessState::Standby { timeline, flushed } = observation.process {
            let streams = observation.receiver.is_some_and(|seen| seen.streaming);
            self.inquiry.note(streams, (timeline, flushed));
        } else {
            self.inquiry.forget();
        }
        observation.supply = self.inquiry.found();
    }

    fn find_postmaster(&mut self) -> std::io::Result<()> {
        if let Some((_, death)) = &self.postmaster
            && !death.has_come()
        {
            return Ok(());
        }
        (self.postmaster, self.sessions) = (None, None);
        if let Some(identity) = server::postmaster(&self.setup)? {
            self.postmaster = process::death(identity)?.map(|death| (identity, death));
        }
        Ok(())
    }

    async fn ask(&mut self, observation: &mut Observation) -> Result<(), Blocked> {
        let sessions = match &mut self.sessions {
            Some(sessions) if !sessions.sql.is_closed() => sessions,
            _ => self.sessions.insert(Sessions::open(&self.setup).await?),
        };
        let (place, rows) = match sessions.look(&self.setup).await {
            Ok(seen) => seen,
            Err(blocked) => {
                self.sessions = None;
                return Err(blocked);
            }
        };
        self.understand(observation, place, &rows);
        Ok(())
    }

    fn understand(
        &mut self,
        observation: &mut Observation,
        (timeline, flushed): Place,
        rows: &[Row],
    ) {
        observation.process = ProcessState::Changing;
        for row in rows {
            match column(row, 0) {
                Some("recovery") => {
                    observation.process = if column(row, 1) == Some("true") {
                        ProcessState::Standby { timeline, flushed }
                    } else {
                        ProcessState::Primary { timeline, flushed }
                    };
                }
                Some("receiver") => {
                    let receipt = column(row, 2).map(str::to_owned);
                    observation.receiver = Some(Receiver {
                        name: column(row, 3).and_then(name_in_conninfo),
                        streaming: column(row, 1) == Some("streaming"),
                        heard: receipt.is_some() && receipt != self.last_receipt,
                    });
                    self.last_receipt = receipt;
                }
                Some("client") => observation.clients.extend(client(row)),
                _ => {}
            }
        }
    }
}

/// Why there was nothing to see.
enum Blocked {
    Changing,
    NoSlots,
}

impl From<SqlError> for Blocked {
    fn from(error: SqlError) -> Self {
        if error.state() == Some(&SqlState::TOO_MANY_CONNECTIONS) {
            return Self::NoSlots;
        }
        tracing::debug!(%error, "the server does not answer");
        Self::Changing
    }
}

/// Rows of three kinds, told apart by their first column. Asked many times a second, so it is planned once, and what
/// `pg_stat_replication` is made of is asked for those who stream alone, and of a primary alone.
const LOOK: &str = "SELECT 'recovery', pg_is_in_recovery()::text, \
    CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_flush_lsn()) END, \
    CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn() \
        ELSE greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) END::text, NULL \
    UNION ALL SELECT 'receiver', status, last_msg_receipt_time::text, conninfo, received_tli::text FROM pg_stat_wal_receiver \
    UNION ALL SELECT 'client', a.application_name, w.state, w.flush_lsn::text, NULL \
        FROM pg_stat_get_wal_senders() w, LATERAL pg_stat_get_activity(w.pid) a WHERE (SELECT NOT pg_is_in_recovery())";

fn name_in_conninfo(conninfo: &str) -> Option<mainstay_keeper::ReceiverName> {
    let name = conninfo
        .split_ascii_whitespace()
        .find_map(|part| part.strip_prefix("application_name="))?;
    name.trim_matches('\'').parse().ok()
}

fn client(row: &Row) -> Option<Client> {
    Some(Client {
        name: column(row, 1)?.parse().ok()?,
        state: match column(row, 2) {
            Some("streaming") => ClientState::Streaming,
            Some("catchup") => ClientState::CatchUp,
            _ => ClientState::Other,
        },
        flushed: column(row, 3)
            .and_then(|lsn| lsn.parse().ok())
            .unwrap_or(Lsn::INVALID),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: [Option<&str>; 5]) -> Row {
        columns
            .into_iter()
            .map(|text| text.map(str::to_owned))
            .collect()
    }

    fn receiver(status: &str, timeline: &str) -> Row {
        row([Some("receiver"), Some(status), None, None, Some(timeline)])
    }

    #[test]
    fn a_primary_names_its_timeline_by_a_file_of_its_log() {
        let file = Some("0000000A00000000000000A8");
        let of = |is_standby| {
            row([
                Some("recovery"),
                Some(is_standby),
                file,
                Some("0/A8000028"),
                None,
            ])
        };
        let place = (Timeline(10), "0/A8000028".parse().expect("a place"));
        assert_eq!(primary_place(&of("false")), Some(place));
        assert_eq!(primary_place(&of("true")), None);
    }

    #[test]
    fn a_standby_says_where_it_is_only_while_it_streams() {
        let recovery = row([
            Some("recovery"),
            Some("true"),
            None,
            Some("0/3000060"),
            None,
        ]);
        let place = (Timeline(3), "0/3000060".parse().expect("a place"));
        let seen = |receiver: Row| streaming_place(&[recovery.clone(), receiver]);
        assert_eq!(seen(receiver("streaming", "3")), Some(place));
        assert_eq!(seen(receiver("waiting", "3")), None);
        assert_eq!(streaming_place(std::slice::from_ref(&recovery)), None);
        let silent = row([Some("recovery"), Some("true"), None, None, None]);
        assert_eq!(streaming_place(&[silent, receiver("streaming", "3")]), None);
    }
}
