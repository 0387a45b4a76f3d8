//! What was decided about an incident.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use mainstay_units::Position;

use crate::incident::{Action, IncidentId, Lesson, Role};
use crate::page::{PageDigest, Signature};
use crate::seen::Condition;
use crate::severity::Severity;
use crate::thing::Thing;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub incident: IncidentId,
    pub by: By,
    /// The person's, or why it was decided without one.
    pub reason: String,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Mainstay,
    Person(Person),
}

/// As whoever recognised them wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub uid: u32,
    pub user: Option<String>,
    pub operator: Option<String>,
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operator.as_ref().or(self.user.as_ref()) {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mainstay => f.write_str("Mainstay"),
            Self::Person(person) => person.fmt(f),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Opened {
        title: String,
        severity: Severity,
        conditions: BTreeSet<Condition>,
        things: BTreeSet<Thing>,
        /// Journal entries that tell of it, those before the first alarm too.
        evidence: Vec<Position>,
        /// An incident about the same that was resolved shortly before.
        follows: Option<IncidentId>,
    },
    /// More belongs to it.
    Joined {
        conditions: BTreeSet<Condition>,
        things: BTreeSet<Thing>,
        evidence: Vec<Position>,
    },
    SeverityChanged {
        severity: Severity,
    },
    Acknowledged,
    /// Somebody has this role from now on; whoever had it hands over.
    Assigned {
        role: Role,
        to: String,
        from: Option<String>,
    },
    /// The reason is the note.
    Noted,
    /// What people learned from it; the reason is what they say.
    Learned(Lesson),
    /// Something is to be done so that it does not come again; the reason says what.
    ActionAdded(Action),
    /// It was done; the reason says how.
    ActionDone {
        number: u32,
        /// The rule, drill or gate that it became, as [`crate::Became`] writes it; versions before wrote any text.
        became: Option<String>,
    },
    /// Somebody stands for a page that tells of it, or does not; the reason is the statement.
    Signed {
        signature: Signature,
        page: PageDigest,
    },
    Linked {
        link: String,
    },
    /// Customers are not hurt any more.
    Mitigated,
    /// What of it still stood is named.
    Resolved {
        standing: BTreeSet<Condition>,
    },
    Reopened,
    /// It goes on in another one.
    Merged {
        into: IncidentId,
    },
}
