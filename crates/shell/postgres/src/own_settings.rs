//! What sessions have set for themselves, read where it stands: in their own memory.
//!
//! A server shows the settings of a session to nobody else, and a `SET`, an option given at the connection or a function with
//! `SET` leaves no trace in a catalogue. But each backend keeps the value in a variable that the server's program names for its
//! extensions, and the keeper, who runs beside the server and as the same user, may look at it. It only reads.
//!
//! That the right place is read is proven anew at each look: the keeper's own session must show there what that session
//! answers, and every other one must show its own process id. Whoever may not look, by the system's rules, says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use mainstay_record::process::ProcessIdentity;
use mainstay_rt::clock;
use mainstay_units::Instant;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, ReadCache};
use tokio::task::JoinHandle;

use crate::process;
use crate::sql::{Question, Row, Session, SqlError};

/// Who is connected; the asking session first.
const SESSIONS: &str = "SELECT pid::text, coalesce(usename::text, ''), coalesce(datname::text, ''), \
        current_setting('synchronous_commit'), current_setting('client_min_messages') \
    FROM pg_stat_activity WHERE backend_type = 'client backend' \
    ORDER BY pid <> pg_backend_pid(), pid LIMIT 2000";
/// So long is told of what was seen: a look may fall between two transactions that set it for themselves.
const TOLD_FOR: Duration = Duration::from_secs(15);

/// # Errors
/// When the server does not answer.
pub async fn prepare(session: &Session, limit: Duration) -> Result<Question, SqlError> {
    session
        .prepare("ask who is connected", SESSIONS, limit)
        .await
}

/// What sessions have set, as far as it was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In words: whose, and what.
    pub weakened: Vec<String>,
    /// Why nobody can tell what sessions set for themselves, if so.
    pub unseen: Option<String>,
}

/// Looks, again and again, at the sessions of one server.
#[derive(Debug, Default)]
pub struct OwnSettings {
    /// Where the program that runs keeps what is looked for.
    server: Option<(ProcessIdentity, Arc<Places>)>,
    /// A look that is under way: memory on a disk that hangs is waited for by nobody.
    looking: Option<JoinHandle<Looked>>,
    told: BTreeMap<String, Instant>,
    unseen: Option<String>,
}

type Looked = (ProcessIdentity, Result<Seen, Unseen>);

/// What a look at all sessions gave.
#[derive(Debug)]
struct Seen {
    places: Arc<Places>,
    weakened: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum Unseen {
    #[error(
        "the system does not let the keeper read the memory of the server's processes ({0}); as another user than root, `kernel.yama.ptrace_scope` must be 0"
    )]
    Forbidden(io::Error),
    #[error("read the server's program: {0}")]
    Program(String),
    #[error("the keeper's own session is not found where the server's program says it is")]
    Elsewhere,
    #[error("the keeper's own session has `{asked}`, and its memory says `{read}`")]
    Otherwise { asked: String, read: String },
    #[error("read the memory of the server's processes: {0}")]
    Memory(io::Error),
}

impl OwnSettings {
    /// What is known by now.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn look(
        &mut self,
        postmaster: ProcessIdentity,
        session: &Session,
        question: &Question,
        limit: Duration,
    ) -> Result<Found, SqlError> {
        if self.looking.is_none() {
            let rows = session.ask_again(question, limit).await?;
            let known = self
                .server
                .as_ref()
                .filter(|(server, _)| *server == postmaster);
            let places = known.map(|(_, places)| Arc::clone(places));
            let look = move || (postmaster, look(postmaster.pid, places, &rows));
            self.looking = Some(tokio::task::spawn_blocking(look));
        }
        let mut looking = self.looking.take();
        if let Some(under_way) = &mut looking {
            match tokio::time::timeout(limit, under_way).await {
                Ok(Ok((server, seen))) => self.note(server, seen),
                Ok(Err(error)) => tracing::warn!(%error, "a look at sessions' own settings ended"),
                Err(_) => self.looking = looking,
            }
        }
        let now = clock::now();
        self.told.retain(|_, seen| now.since(*seen) < TOLD_FOR);
        Ok(Found {
            weakened: self.told.keys().cloned().collect(),
            unseen: self.unseen.clone(),
        })
    }

    fn note(&mut self, server: ProcessIdentity, seen: Result<Seen, Unseen>) {
        match seen {
            Ok(Seen { places, weakened }) => {
                self.server = Some((server, places));
                self.unseen = None;
                let now = clock::now();
                self.told
                    .extend(weakened.into_iter().map(|what| (what, now)));
            }
            Err(why) => {
                // A server that was just replaced is no news of this kind.
                if process::is_alive(server) {
                    self.unseen = Some(why.to_string());
                }
                self.server = None;
            }
        }
    }
}

fn look(postmaster: u32, places: Option<Arc<Places>>, rows: &[Row]) -> Result<Seen, Unseen> {
    let places = match places {
        Some(places) => places,
        None => Arc::new(Places::find(postmaster)?),
    };
    let mut sessions = rows.iter().filter_map(Connected::read);
    let own = sessions.next().ok_or(Unseen::Elsewhere)?;
    let found = places.read(own.pid)?.ok_or(Unseen::Elsewhere)?;
    let asked = (own.commit, own.messages);
    let read = (found.commit_word(), found.messages_word());
    if asked != read {
        return Err(Unseen::Otherwise {
            asked: format!("{asked:?}"),
            read: format!("{read:?}"),
        });
    }
    let mut weakened = Vec::new();
    for session in sessions {
        let found = match places.read(session.pid) {
            Ok(Some(found)) => found,
            // It has ended meanwhile.
            Ok(None) | Err(Unseen::Memory(_)) => continue,
            Err(other) => return Err(other),
        };
        weakened.extend(found.weak().map(|what| {
            format!(
                "sessions of role {} in database {} have {what}, set by themselves or by default",
                session.role, session.database
            )
        }));
    }
    weakened.sort();
    weakened.dedup();
    Ok(Seen { places, weakened })
}

/// A row of those who are connected.
struct Connected<'r> {
    pid: u32,
    role: &'r str,
    database: &'r str,
    /// Of the asking session, in each row.
    commit: &'r str,
    messages: &'r str,
}

impl<'r> Connected<'r> {
    fn read(row: &'r Row) -> Option<Self> {
        let column = |at: usize| row.get(at).and_then(Option::as_deref);
        Some(Self {
            pid: column(0)?.parse().ok()?,
            role: column(1)?,
            database: column(2)?,
            commit: column(3)?,
            messages: column(4)?,
        })
    }
}

/// Where in the memory of each process of a server the variables stand: all of them are forked from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    pid: u64,
    commit: u64,
    messages: u64,
}

/// The values of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Values {
    commit: i32,
    messages: i32,
}

impl Places {
    fn find(postmaster: u32) -> Result<Self, Unseen> {
        let program = |error: &dyn std::fmt::Display| Unseen::Program(error.to_string());
        let path = format!("/proc/{postmaster}/exe");
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Unseen::Forbidden(error),
            _ => program(&error),
        })?;
        let inode = file.metadata().map_err(|error| program(&error))?.ino();
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(|error| program(&error))?;
        let maps = std::fs::read_to_string(format!("/proc/{postmaster}/maps"))
            .map_err(|error| program(&error))?;
        let mapped = beginning(&maps, inode)
            .ok_or_else(|| program(&"it is not mapped where its beginning should be"))?;
        let endian = elf.endian();
        let linked = elf.elf_program_headers().iter().find(|header| {
            header.p_type(endian) == object::elf::PT_LOAD && header.p_offset(endian) == 0
        });
        let linked = linked
            .map(|header| header.p_vaddr(endian))
            .ok_or_else(|| program(&"it has no part that begins at its beginning"))?;
        let place = |name: &str| {
            let mut symbols = elf.dynamic_symbols();
            let symbol = symbols.find(|symbol| symbol.name() == Ok(name));
            let address = symbol.map(|symbol| symbol.address().wrapping_sub(linked));
            address
                .map(|from_beginning| mapped.wrapping_add(from_beginning))
                .ok_or_else(|| program(&format!("it does not name `{name}`")))
        };
        Ok(Self {
            pid: place("MyProcPid")?,
            commit: place("synchronous_commit")?,
            messages: place("client_min_messages")?,
        })
    }

    /// The values of the session that the process serves; `None` if it serves none any more.
    fn read(self, pid: u32) -> Result<Option<Values>, Unseen> {
        let memory = match File::open(format!("/proc/{pid}/mem")) {
            Ok(memory) => memory,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Unseen::Forbidden(error));
            }
            Err(error) => return Err(Unseen::Memory(error)),
        };
        let word = |place: u64| {
            let mut bytes = [0; 4];
            memory
                .read_exact_at(&mut bytes, place)
                .map_err(Unseen::Memory)?;
            Ok(i32::from_ne_bytes(bytes))
        };
        let is_it = u32::try_from(word(self.pid)?) == Ok(pid);
        let values = Values {
            commit: word(self.commit)?,
            messages: word(self.messages)?,
        };
        Ok(is_it.then_some(values))
    }
}

/// Where the beginning of the file with that number is mapped, by a process's table of what is mapped.
fn beginning(maps: &str, inode: u64) -> Option<u64> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (range, _, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, found) = (fields.next()?, fields.next()?);
        let is_beginning = offset.bytes().all(|digit| digit == b'0');
        if !is_beginning || found.parse() != Ok(inode) {
            return None;
        }
        u64::from_str_radix(range.split_once('-')?.0, 16).ok()
    })
}

impl Values {
    /// As PostgreSQL 15 to 18 number them.
    fn commit_word(self) -> &'static str {
        match self.commit {
            0 => "off",
            1 => "local",
            2 => "remote_write",
            3 => "on",
            4 => "remote_apply",
            _ => "a value of another version",
        }
    }

    fn messages_word(self) -> &'static str {
        match self.messages {
            10 => "debug5",
            11 => "debug4",
            12 => "debug3",
            13 => "debug2",
            14 => "debug1",
            15 => "log",
            17 => "info",
            18 => "notice",
            19 => "warning",
            21 => "error",
            _ => "a value of another version",
        }
    }

    /// What is not known to be strong.
    fn weak(self) -> impl Iterator<Item = String> {
        let commit = (!matches!(self.commit, 3 | 4))
            .then(|| format!("synchronous_commit = {}", self.commit_word()));
        let messages = (!(10..=19).contains(&self.messages))
            .then(|| format!("client_min_messages = {}", self.messages_word()));
        commit.into_iter().chain(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_program_is_found_in_the_table() {
        let maps = "55d0a1000000-55d0a1100000 r--p 00000000 fd:01 77   /bin/sh\n\
             55d0a2100000-55d0a2200000 r-xp 00100000 fd:01 4711   /opt/p g/postgres (deleted)\n\
             55d0a2000000-55d0a2100000 r--p 00000000 fd:01 4711   /opt/p g/postgres (deleted)\n\
             7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0   [stack]\n";
        assert_eq!(beginning(maps, 4_711), Some(0x55d0_a200_0000));
        assert_eq!(beginning(maps, 12), None);
        assert_eq!(beginning("nonsense", 12), None);
    }

    #[test]
    fn what_is_not_known_to_be_strong_is_told() {
        let weak = |commit: i32, messages: i32| {
            let values = Values { commit, messages };
            values.weak().collect::<Vec<_>>().join(" and ")
        };
        assert_eq!(weak(3, 18), "");
        assert_eq!(weak(4, 10), "");
        assert_eq!(weak(0, 19), "synchronous_commit = off");
        assert_eq!(weak(2, 18), "synchronous_commit = remote_write");
        assert_eq!(
            weak(1, 21),
            "synchronous_commit = local and client_min_messages = error"
        );
        assert_eq!(
            weak(9, 18),
            "synchronous_commit = a value of another version"
        );
    }

    #[test]
    fn a_program_without_the_variables_is_no_server() {
        let why = Places::find(std::process::id()).expect_err("this test is no PostgreSQL");
        assert!(why.to_string().contains("MyProcPid"), "{why}");
    }
}
