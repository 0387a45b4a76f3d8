//! What people ask: a book in force or out of it, a run, an approval, an abort.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::book::{Book, Expiry, Mode};
use crate::event::{Event, Opening, Origin, Source, Who};
use crate::run::{Phase, RunId};
use crate::state::{BOOKS_MAX, RUNS_MAX, State};
use crate::value::{Values, values_of};
use crate::view::View;
use crate::why::Refusal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Adopt {
        digest: String,
        text: String,
        book: Arc<Book>,
        source: Source,
    },
    Withdraw {
        book: String,
    },
    Run {
        book: String,
        values: Values,
    },
    Approve {
        run: String,
    },
    Abort {
        run: String,
        /// What was done is undone.
        undo: bool,
    },
}

impl Ask {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Adopt { .. } => "playbook adopt",
            Self::Withdraw { .. } => "playbook withdraw",
            Self::Run { .. } => "playbook run",
            Self::Approve { .. } => "playbook approve",
            Self::Abort { .. } => "playbook abort",
        }
    }
}

/// Who asks, and what he may.
#[derive(Clone, Debug)]
pub struct Asked {
    pub by: Who,
    pub reason: String,
    /// He may approve playbooks.
    pub approves: bool,
}

/// The events that carry out what was asked. Whether he may ask was found out before.
///
/// # Errors
/// Why it is not done.
pub fn asked(
    state: &State,
    now_ms: u64,
    view: &View,
    who: &Asked,
    ask: &Ask,
) -> Result<Vec<Event>, Refusal> {
    match ask {
        Ask::Adopt {
            digest,
            text,
            book,
            source,
        } => adopt(state, who, (digest, text), (book, *source)),
        Ask::Withdraw { book } => withdraw(state, who, book),
        Ask::Run { book, values } => run(state, now_ms, view, who, (book, values)),
        Ask::Approve { run } => approve(state, who, run),
        Ask::Abort { run, undo } => abort(state, who, run, *undo),
    }
}

fn adopt(
    state: &State,
    who: &Asked,
    (digest, text): (&str, &str),
    (book, source): (&Arc<Book>, Source),
) -> Result<Vec<Event>, Refusal> {
    if let Some(known) = state.books.get(&book.name) {
        // A text has one place where it is changed. The file may take over what somebody has put in force by hand.
        if known.source == Source::File && source == Source::Person {
            return Err(Refusal::BookOfFile(book.name.clone()));
        }
        if known.digest == digest && known.source == source {
            return Err(Refusal::BookInForce(book.name.clone()));
        }
    }
    if let Some((newest, known)) = state.versions.get(&book.name)
        && book.version <= *newest
        && known != digest
    {
        return Err(Refusal::VersionTaken {
            book: book.name.clone(),
            version: book.version,
            newest: *newest,
        });
    }
    if state.books.len() >= BOOKS_MAX && !state.books.contains_key(&book.name) {
        return Err(Refusal::TooManyBooks);
    }
    Ok(vec![Event::Adopted {
        digest: digest.to_string(),
        text: text.to_string(),
        book: Arc::clone(book),
        source,
        by: who.by.clone(),
        reason: who.reason.clone(),
    }])
}

fn withdraw(state: &State, who: &Asked, book: &str) -> Result<Vec<Event>, Refusal> {
    if !state.books.contains_key(book) {
        return Err(Refusal::NoSuchBook(book.to_string()));
    }
    let mut under_way = state.runs.iter();
    if let Some((id, _)) = under_way.find(|(_, run)| run.book.name == book) {
        return Err(Refusal::BookUnderWay(*id));
    }
    Ok(vec![Event::Withdrawn {
        book: book.to_string(),
        by: who.by.clone(),
        reason: who.reason.clone(),
    }])
}

/// A run that somebody wants himself. His own word is an approval if he may give one.
fn run(
    state: &State,
    now_ms: u64,
    view: &View,
    who: &Asked,
    (name, given): (&str, &Values),
) -> Result<Vec<Event>, Refusal> {
    let known = state
        .books
        .get(name)
        .ok_or_else(|| Refusal::NoSuchBook(name.to_string()))?;
    let book = &known.book;
    let values = values_of(book, given, &BTreeMap::new(), view)?;
    if let Some(id) = under_way(state, name, &values) {
        return Err(Refusal::UnderWay(id));
    }
    if state.runs.len() >= RUNS_MAX {
        return Err(Refusal::TooManyRuns);
    }
    let id = RunId(state.runs_ever.saturating_add(1));
    let origin = Origin::Person {
        by: who.by.clone(),
        reason: who.reason.clone(),
    };
    let needs = needs_by_hand(book);
    let counts = who.approves && may_approve(book, &who.by);
    let left = needs.saturating_sub(u16::from(counts));
    let opening = match left {
        0 => Opening::Goes,
        _ => Opening::Waits {
            until_ms: now_ms.saturating_add(book.approval.expires_ms),
            needs,
            // Only what a trigger opened may go on by itself.
            expiry: Expiry::Refuse,
        },
    };
    let mut events = vec![Event::Opened {
        run: id,
        book: name.to_string(),
        values,
        origin,
        opening,
    }];
    if counts && left > 0 {
        events.push(Event::Approved {
            run: id,
            by: Some(who.by.clone()),
            reason: who.reason.clone(),
        });
    }
    Ok(events)
}

/// How many people must say go.
pub(crate) fn needs(book: &Book, mode: Mode) -> u16 {
    match mode {
        Mode::Approve => book.approval.count.max(1),
        Mode::Suggest => 1,
        Mode::Observe | Mode::Auto => 0,
    }
}

/// As [`needs`], where a person opens the run. Whoever wrote down how it is approved, or only lets it be watched, wants
/// somebody to have said go.
fn needs_by_hand(book: &Book) -> u16 {
    match book.mode {
        Mode::Auto if !book.approval.is_written => 0,
        Mode::Observe | Mode::Auto => needs(book, Mode::Approve),
        Mode::Suggest | Mode::Approve => needs(book, book.mode),
    }
}

pub(crate) fn under_way(state: &State, book: &str, values: &Values) -> Option<RunId> {
    let mut runs = state.runs.iter();
    let same = runs.find(|(_, run)| run.book.name == book && run.values == *values);
    same.map(|(id, _)| *id)
}

fn may_approve(book: &Book, by: &Who) -> bool {
    let named = &book.approval.by;
    named.is_empty()
        || by
            .operator
            .as_ref()
            .is_some_and(|name| named.contains(name))
}

fn known_run<'s>(state: &'s State, text: &str) -> Result<(RunId, &'s crate::run::Run), Refusal> {
    let no_such = || Refusal::NoSuchRun(text.to_string());
    let id: RunId = text.parse().map_err(|()| no_such())?;
    let run = state.runs.get(&id).ok_or_else(no_such)?;
    Ok((id, run))
}

fn approve(state: &State, who: &Asked, text: &str) -> Result<Vec<Event>, Refusal> {
    let (id, run) = known_run(state, text)?;
    if !matches!(run.phase, Phase::Waits { .. } | Phase::Asking { .. }) {
        return Err(Refusal::NotWaiting(id));
    }
    if !may_approve(&run.book, &who.by) {
        return Err(Refusal::NotAnApprover {
            run: id,
            by: run.book.approval.by.join(", "),
        });
    }
    let waits = matches!(run.phase, Phase::Waits { .. });
    let so_far = if waits {
        &run.approvals
    } else {
        &run.overrulers
    };
    if so_far.contains(&who.by.to_string()) {
        return Err(Refusal::ApprovedAlready(id));
    }
    Ok(vec![Event::Approved {
        run: id,
        by: Some(who.by.clone()),
        reason: who.reason.clone(),
    }])
}

fn abort(state: &State, who: &Asked, text: &str, undo: bool) -> Result<Vec<Event>, Refusal> {
    let (id, run) = known_run(state, text)?;
    if run.is_undoing() {
        return Err(Refusal::Undoing(id));
    }
    Ok(vec![Event::Aborted {
        run: id,
        undo,
        by: who.by.clone(),
        reason: who.reason.clone(),
    }])
}
