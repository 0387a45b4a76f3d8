//! What an alert or the time sets off.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::ask::{needs, under_way};
use crate::book::{Book, Expiry, Gravity, IncidentState, Mode, Trigger};
use crate::event::{Event, Opening, Origin};
use crate::run::RunId;
use crate::state::{Known, RUNS_MAX, State};
use crate::value::{Values, values_of};
use crate::view::View;
use crate::why::Refusal;

/// The runs that an alert opens as it begins to fire, one for each book that it matches.
pub fn triggered(
    state: &State,
    now_ms: u64,
    view: &View,
    (watch, alert): (&str, &str),
    labels: &BTreeMap<String, String>,
) -> Vec<Event> {
    let origin = Origin::Alert {
        watch: watch.into(),
        alert: alert.into(),
    };
    let mut opener = Opener::new(state, now_ms, view);
    for known in state.books.values() {
        let matches = |trigger: &Trigger| match trigger {
            Trigger::Alert { labels: wanted } => {
                let mut wanted = wanted.iter();
                wanted.all(|(name, value)| labels.get(name) == Some(value))
            }
            Trigger::Incident { .. } | Trigger::Every { .. } | Trigger::Schedule { .. } => false,
        };
        if known.book.triggers.iter().any(matches) {
            opener.open(known, &origin, labels);
        }
    }
    opener.events
}

/// An incident, as far as triggers look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub incident: String,
    pub state: IncidentState,
    pub gravity: Gravity,
    /// `KIND/NAME`, with `@HOST` for a part on a host.
    pub things: BTreeSet<String>,
}

impl Case {
    fn meets(&self, trigger: &Trigger) -> bool {
        let Trigger::Incident {
            state,
            severity,
            things,
        } = trigger
        else {
            return false;
        };
        let whole = |thing: &str| {
            let (whole, _) = thing.split_once('@').unwrap_or((thing, ""));
            things.contains(whole) || things.contains(thing)
        };
        self.state == *state
            && self.gravity >= *severity
            && (things.is_empty() || self.things.iter().any(|thing| whole(thing)))
    }

    /// What parameters may take as from the labels of an alert: a kind of thing of which there is one only.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for thing in &self.things {
            let (what, host) = thing.split_once('@').unwrap_or((thing, ""));
            if let Some((kind, name)) = what.split_once('/') {
                found.entry(kind).or_default().insert(name);
            }
            if !host.is_empty() {
                found.entry("host").or_default().insert(host);
            }
        }
        found.retain(|_, names| names.len() == 1);
        let things = found
            .into_iter()
            .filter_map(|(kind, names)| Some((kind.to_string(), names.first()?.to_string())));
        let own = [
            ("incident", self.incident.as_str()),
            ("severity", self.gravity.as_str()),
        ];
        let own = own.map(|(name, value)| (name.to_string(), value.to_string()));
        things.chain(own).collect()
    }
}

/// The runs that an incident opens as it comes to meet a trigger, one for each book: `before` is what it was.
pub fn triggered_by_incident(
    state: &State,
    now_ms: u64,
    view: &View,
    before: Option<&Case>,
    after: &Case,
) -> Vec<Event> {
    let origin = Origin::Incident {
        incident: after.incident.clone(),
        state: after.state,
    };
    let mut opener = Opener::new(state, now_ms, view);
    for known in state.books.values() {
        let comes = |trigger: &Trigger| {
            after.meets(trigger) && !before.is_some_and(|before| before.meets(trigger))
        };
        if known.book.triggers.iter().any(comes) {
            opener.open(known, &origin, &after.labels());
        }
    }
    opener.events
}

/// The runs whose time has come.
pub fn scheduled(state: &State, now_ms: u64, view: &View, calendar: Calendar<'_>) -> Vec<Event> {
    let mut opener = Opener::new(state, now_ms, view);
    for known in state.books.values() {
        if due_ms(state, known, calendar).is_some_and(|due_ms| now_ms >= due_ms) {
            opener.open(known, &Origin::Schedule, &BTreeMap::new());
        }
    }
    opener.events
}

/// When [`scheduled`] will have something to say.
pub fn next_scheduled_ms(state: &State, calendar: Calendar<'_>) -> Option<u64> {
    let books = state.books.values();
    books
        .filter_map(|known| due_ms(state, known, calendar))
        .min()
}

/// When a schedule is due first after a moment; both in milliseconds since 1970. A schedule that means nothing, or never
/// comes, is never due.
pub type Calendar<'a> = &'a dyn Fn(&str, u64) -> Option<u64>;

/// Never while a run of the book is under way. What repeats itself is counted from when the book was adopted or last
/// opened; a time of the calendar from when the book was adopted or last opened *by its schedule*, so that a time that
/// passed while nobody could keep it is kept once, as soon as somebody can, and no other run stands in for it.
pub fn due_ms(state: &State, known: &Known, calendar: Calendar<'_>) -> Option<u64> {
    let name = &known.book.name;
    if state.runs.values().any(|run| run.book.name == *name) {
        return None;
    }
    let since = |moments: &BTreeMap<String, u64>| {
        let last = moments.get(name).copied().unwrap_or(0);
        last.max(known.since_ms)
    };
    let due = known
        .book
        .triggers
        .iter()
        .filter_map(|trigger| match trigger {
            Trigger::Every { every_ms } => Some(since(&state.opened).saturating_add(*every_ms)),
            Trigger::Schedule { cron } => calendar(cron, since(&state.kept)),
            Trigger::Alert { .. } | Trigger::Incident { .. } => None,
        });
    due.min()
}

struct Opener<'a> {
    state: &'a State,
    now_ms: u64,
    view: &'a View,
    next: u64,
    events: Vec<Event>,
}

impl<'a> Opener<'a> {
    fn new(state: &'a State, now_ms: u64, view: &'a View) -> Self {
        Self {
            state,
            now_ms,
            view,
            next: state.runs_ever.saturating_add(1),
            events: Vec::new(),
        }
    }

    fn open(&mut self, known: &Known, origin: &Origin, labels: &BTreeMap<String, String>) {
        let book = &known.book;
        let declined = |why: Refusal| Event::Declined {
            book: book.name.clone(),
            origin: origin.clone(),
            why: why.to_string(),
        };
        let values = match values_of(book, &Values::new(), labels, self.view) {
            Ok(values) => values,
            Err(why) => return self.events.push(declined(why)),
        };
        // One run for one thing: a second watch that sees the same is no second reason.
        if let Some(id) = under_way(self.state, &book.name, &values) {
            return self.events.push(declined(Refusal::UnderWay(id)));
        }
        if self.state.runs.len().saturating_add(self.events.len()) >= RUNS_MAX {
            return self.events.push(declined(Refusal::TooManyRuns));
        }
        self.events.push(Event::Opened {
            run: RunId(self.next),
            book: book.name.clone(),
            values,
            origin: origin.clone(),
            opening: self.opening(book),
        });
        self.next = self.next.saturating_add(1);
    }

    fn opening(&self, book: &Book) -> Opening {
        let waits = |mode, expiry| Opening::Waits {
            until_ms: self.now_ms.saturating_add(book.approval.expires_ms),
            needs: needs(book, mode),
            expiry,
        };
        match self.state.mode_of(book) {
            Mode::Observe => Opening::Observes,
            Mode::Suggest => waits(Mode::Suggest, Expiry::Refuse),
            Mode::Approve => waits(Mode::Approve, book.approval.expiry),
            Mode::Auto => Opening::Goes,
        }
    }
}
