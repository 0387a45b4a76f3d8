//! Counters that only grow, each its own type so that one is never compared with another.

use core::fmt;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            pub const ZERO: Self = Self(0);

            /// The one after this; `None` when the counter is exhausted, which stops its user.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(next) => Some(Self(next)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Who may accept writes to a database. Equal to the PostgreSQL timeline written under it.
    Term(u32)
);
counter!(
    /// PostgreSQL's timeline.
    Timeline(u32)
);
counter!(
    /// Who leads the kernel, or which activation of an engine wrote a command.
    Epoch(u64)
);
counter!(
    /// The place of an entry in the journal, from 0.
    Position(u64)
);
counter!(
    /// A version of something that is replaced whole: a routing snapshot, an instance, a membership.
    Generation(u64)
);

impl From<Term> for Timeline {
    fn from(term: Term) -> Self {
        Self(term.0)
    }
}

impl From<Timeline> for Term {
    fn from(timeline: Timeline) -> Self {
        Self(timeline.0)
    }
}
