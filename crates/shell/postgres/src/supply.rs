//! Whether the primary still has the log that this standby lacks.
//!
//! A standby that was away for longer than the primary keeps its log asks for a segment that is gone, is
//! refused, and asks again, for ever; nothing on its own side tells that from a primary that is slow. So the
//! keeper asks the primary as the walreceiver does, for the same position on the same timeline, and listens
//! to the answer. It has a task of its own: the primary may be far, or silent.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mainstay_keeper::Supply;
use mainstay_units::{Lsn, Timeline};

use crate::data;
use crate::replication::{ReplicationError, Server};
use crate::setup::Setup;

/// How often it is asked while nothing streams.
const PERIOD: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(3);
/// Looks without a stream after which it is asked at all: a stream that begins takes a moment.
const PATIENCE: u32 = 5;

/// What the eyes say of the stream, and what was found out.
#[derive(Debug, Default)]
pub struct Inquiry {
    /// Where the log of this standby ends, while it does not stream.
    lacking: Cell<Option<(Timeline, Lsn)>>,
    /// Looks in a row that saw no stream, or only a new one.
    looks: Cell<u32>,
    found: Cell<Supply>,
}

impl Inquiry {
    /// What a look saw of a standby: whether it streams, and where its log ends.
    pub fn note(&self, streams: bool, end: (Timeline, Lsn)) {
        let moved = self.lacking.get() != Some(end);
        self.lacking.set(Some(end));
        // A walreceiver that is refused is there for a moment each time; it brings nothing.
        if moved {
            self.looks.set(0);
        } else if !streams {
            self.looks.set(self.looks.get().saturating_add(1));
        }
        if moved && streams {
            self.found.set(Supply::Unbroken);
        }
    }

    /// No standby, nothing to ask.
    pub fn forget(&self) {
        self.lacking.set(None);
        self.looks.set(0);
        self.found.set(Supply::Unbroken);
    }

    pub fn found(&self) -> Supply {
        self.found.get()
    }
}

/// Asks the primary now and then, for as long as nothing streams.
pub async fn inquire(setup: Rc<Setup>, inquiry: Rc<Inquiry>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(end) = inquiry.lacking.get() else {
            continue;
        };
        if inquiry.looks.get() < PATIENCE {
            continue;
        }
        let Some(following) = data::read_stance(&setup).and_then(|stance| stance.following) else {
            inquiry.found.set(Supply::Unbroken);
            continue;
        };
        let Some(source) = setup.server_at(following.primary) else {
            continue;
        };
        match tokio::time::timeout(LIMIT, ask(&setup, &source, end)).await {
            Ok(Ok(supply)) => {
                if supply == Supply::Removed && inquiry.found.get() != supply {
                    tracing::warn!(source = %source, timeline = %end.0, lsn = %end.1,
                        "the primary has removed the log that this standby lacks");
                }
                inquiry.found.set(supply);
            }
            // Nobody answered: nothing new is known.
            Ok(Err(error)) => tracing::debug!(%error, "the primary does not say what it has"),
            Err(_) => tracing::debug!(source = %source, "the primary does not say in time"),
        }
    }
}

async fn ask(
    setup: &Setup,
    source: &Server,
    (timeline, end): (Timeline, Lsn),
) -> Result<Supply, ReplicationError> {
    let mut connection = setup.replication(source).await?;
    let size = connection.segment_bytes().await?;
    let segment = Lsn(end.0 - end.0 % size);
    Ok(if connection.still_has(timeline, segment).await? {
        Supply::Unbroken
    } else {
        Supply::Removed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stream_that_brings_something_ends_the_inquiry() {
        let inquiry = Inquiry::default();
        let end = |lsn| (Timeline(1), Lsn(lsn));
        inquiry.note(true, end(1));
        for _ in 0..PATIENCE {
            inquiry.note(false, end(1));
            // Refused, there for a moment, refused again.
            inquiry.note(true, end(1));
        }
        assert!(inquiry.looks.get() >= PATIENCE);
        inquiry.found.set(Supply::Removed);
        inquiry.note(true, end(1));
        assert_eq!(inquiry.found(), Supply::Removed);
        inquiry.note(true, end(2));
        assert_eq!(inquiry.found(), Supply::Unbroken);
        assert_eq!(inquiry.looks.get(), 0);
    }
}
