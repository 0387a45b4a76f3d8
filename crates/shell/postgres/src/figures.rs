//! What the local server says of itself, in figures, for whoever watches.
//!
//! A thread of its own asks, with a session of its own, so that nothing that matters waits for an answer. It asks
//! only while somebody is interested, every two seconds at most, and what is expensive (sizes on disk) once a
//! minute. Whoever comes reads the last answer, which has an age; one that is too old is no answer, nor is one of a
//! server that is gone.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_units::Instant;

use crate::commands::chain;
use crate::server;
use crate::setup::Setup;
use crate::sql::{Row, Session, SqlError};

const PERIOD: Duration = Duration::from_secs(2);
const SIZES_PERIOD: Duration = Duration::from_secs(60);
/// Interest ends when nobody came for so long, and with it the session.
const INTEREST: Duration = Duration::from_secs(60);
/// An answer that is older says nothing of now.
const AGE_MAX: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(2);
const SIZES_LIMIT: Duration = Duration::from_secs(10);

/// Rows begin with what they are about. Positions are bytes since the beginning of the log.
const QUESTIONS: &str = "
select 'server', pg_is_in_recovery()::int,
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end - '0/0',
    case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end - '0/0',
    case when not pg_is_in_recovery() or pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
        else greatest(0, extract(epoch from now() - pg_last_xact_replay_timestamp())) end,
    extract(epoch from pg_postmaster_start_time()), current_setting('max_connections'), current_setting('server_version');
select 'activity', coalesce(datname, ''), coalesce(state, ''), count(*),
    coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)
    from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() group by 2, 3;
select 'lock', mode, count(*), count(*) filter (where not granted) from pg_locks where pid <> pg_backend_pid() group by 2;
select 'database', datname, numbackends, xact_commit, xact_rollback, blks_read, blks_hit, tup_returned, tup_fetched,
    tup_inserted, tup_updated, tup_deleted, conflicts, temp_bytes, deadlocks, age(datfrozenxid)
    from pg_stat_database join pg_database using (datname) where datallowconn;
select 'replication', application_name, coalesce(state, ''), coalesce(sync_state, ''),
    case when not pg_is_in_recovery() then pg_current_wal_lsn() - sent_lsn end,
    case when not pg_is_in_recovery() then pg_current_wal_lsn() - flush_lsn end,
    case when not pg_is_in_recovery() then pg_current_wal_lsn() - replay_lsn end,
    coalesce(extract(epoch from flush_lag), 0), coalesce(extract(epoch from replay_lag), 0)
    from pg_stat_replication;
select 'slot', slot_name, active::int,
    case when not pg_is_in_recovery() then pg_current_wal_lsn() - restart_lsn end from pg_replication_slots;
select 'settings', current_setting('max_replication_slots'), current_setting('max_wal_senders');";

const SIZES: &str = "
select 'size', datname, pg_database_size(oid) from pg_database where datallowconn;
select 'wal', coalesce(sum(size), 0) from pg_ls_waldir();";

/// The last answer, and when it came.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub rows: Vec<Row>,
    pub sizes: Vec<Row>,
    heard: Option<Instant>,
    pub problem: Option<String>,
}

impl Answer {
    /// How old it is; `None` if there is none, or none that says anything of now.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let age = now.since(self.heard?);
        (age <= AGE_MAX).then_some(age)
    }
}

#[derive(Debug, Default)]
struct Shared {
    answer: Answer,
    /// When somebody was interested last.
    wanted: Option<Instant>,
}

#[derive(Clone, Debug)]
pub struct Figures {
    shared: Arc<Mutex<Shared>>,
    asker: std::thread::Thread,
}

impl Figures {
    /// Starts the thread that asks.
    pub fn start(setup: Setup) -> std::io::Result<Self> {
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("figures".to_owned())
            .spawn(move || {
                let asking = crate::on_this_thread(ask_again(Rc::new(setup), own));
                if let Err(error) = asking {
                    tracing::error!(
                        error = chain(&error),
                        "nobody asks the server for its figures"
                    );
                }
            })?;
        let asker = thread.thread().clone();
        Ok(Self { shared, asker })
    }

    /// The last answer. That somebody came keeps the thread asking.
    pub fn look(&self) -> Answer {
        let mut shared = lock(&self.shared);
        shared.wanted = Some(mainstay_rt::clock::now());
        let answer = shared.answer.clone();
        drop(shared);
        self.asker.unpark();
        answer
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask_again(setup: Rc<Setup>, shared: Arc<Mutex<Shared>>) {
    let mut session: Option<Session> = None;
    let mut sizes_asked: Option<Instant> = None;
    loop {
        let now = mainstay_rt::clock::now();
        let wanted = lock(&shared).wanted;
        if wanted.is_none_or(|wanted| now.since(wanted) > INTEREST) {
            (session, sizes_asked) = (None, None);
            // Nothing else lives on this thread but the session that has just ended.
            std::thread::park();
            continue;
        }
        let asked = ask(&setup, &mut session).await;
        let due = sizes_asked.is_none_or(|at| now.since(at) >= SIZES_PERIOD);
        let sizes = match (&asked, &session) {
            (Ok(_), Some(session)) if due => {
                sizes_asked = Some(now);
                // A large database may take longer than anybody waits; its size is left out then.
                session.ask("ask for sizes", SIZES, SIZES_LIMIT).await.ok()
            }
            _ => None,
        };
        {
            let mut shared = lock(&shared);
            let answer = &mut shared.answer;
            match asked {
                Ok(rows) => {
                    answer.rows = rows;
                    answer.heard = Some(mainstay_rt::clock::now());
                    answer.problem = None;
                }
                Err(error) => {
                    session = None;
                    if is_gone(&error) {
                        answer.heard = None;
                    }
                    answer.problem = Some(chain(&error));
                }
            }
            if let Some(sizes) = sizes {
                answer.sizes = sizes;
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Nobody listens where the server would: what it said before says nothing of now. One that is there and does not
/// answer is given time instead.
fn is_gone(error: &SqlError) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error, SqlError::Connect { source, .. } if matches!(source.kind(), ConnectionRefused | NotFound))
}

async fn ask(setup: &Setup, session: &mut Option<Session>) -> Result<Vec<Row>, SqlError> {
    let open = match session.take().filter(|session| !session.is_closed()) {
        Some(open) => open,
        None => {
            let open = server::login(setup, LIMIT).await?;
            // What we stopped waiting for must not go on in the server.
            let limits = "set statement_timeout = '10s'; set lock_timeout = '1s'";
            open.ask("limit questions for figures", limits, LIMIT)
                .await?;
            open
        }
    };
    let rows = open.ask("ask for figures", QUESTIONS, LIMIT).await?;
    *session = Some(open);
    Ok(rows)
}
