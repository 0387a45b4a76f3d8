//! The local server's life as a table: (state, event) → (state, reason), one row a line.
//!
//! The table says what may follow what; it has no conditions. Conditions are weighed before an event is
//! raised (`Keeper::next_event`), and what a state does to the server is done on entering it
//! (`Keeper::enter`). An event that has no row in a state means nothing there.

use crate::status::Reason;

/// Where the local server is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing was seen of the server yet.
    #[default]
    Unobserved,
    /// The data folder is blank or of no use.
    Empty,
    Initializing,
    /// Data, and no process.
    Stopped,
    Starting,
    /// A standby that streams from nobody.
    Detached,
    /// Its end of log is being read.
    Ranking,
    /// Detached, and the end of its log is known: may report, be promoted, or attach.
    Ranked,
    Attaching,
    Following,
    Detaching,
    /// A running primary found by a restarted keeper; its history is being read.
    Adopting,
    /// Won an election: the quorum is being set before promotion.
    Configuring,
    Promoting,
    /// A primary to which no application is let in.
    Unopened,
    Opening,
    Open,
    Closing,
    Stopping,
    Rewinding,
    Rebuilding,
    /// A standby that ends in order, to be started anew.
    Renewing,
    Halted,
}

/// What happened, weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    SeenEmpty,
    SeenStopped,
    SeenFollower,
    SeenStandby,
    SeenPrimary,
    /// Data that cannot be used, and no process on it.
    Unusable,
    /// The command of this state succeeded.
    Done,
    /// The command of this state failed.
    Failed,
    /// The process ended by itself.
    Died,
    /// Every keeper is blank and this one is home.
    FoundingAgreed,
    /// A primary that may be copied from.
    SourceFound,
    /// It may start now.
    Ready,
    /// Its end of log should be read.
    Rankable,
    /// A primary whose history contains this log.
    PrimaryKnown,
    /// A primary whose history does not contain this log.
    Diverged,
    /// The primary has not got the log any more that this standby lacks.
    Starved,
    /// It is this standby's turn to be started anew.
    Renewed,
    /// Nothing was heard on the stream for too long.
    StreamStuck,
    /// The stream must be left: promised away, or a later primary is known.
    MustLeave,
    /// Won an election.
    Elected,
    /// Everything that opening needs is there.
    QuorumReached,
    /// No majority of keepers heard within the lease.
    Isolated,
    /// A planned switchover ends the sessions.
    HandOver,
    /// Must not be a primary (any more).
    MustStop,
    /// The promotion ended on another timeline than the term's.
    WrongTimeline,
    /// The server could not be stopped; once more.
    Again,
    Halt,
}

/// One row of the table.
pub type Row = (State, Event, State, Reason);

/// Every transition there is.
pub const TABLE: &[Row] = {
    use Event as E;
    use Reason as R;
    use State as S;
    &[
        (S::Unobserved, E::SeenEmpty, S::Empty, R::AwaitingSource),
        (S::Unobserved, E::SeenStopped, S::Stopped, R::JustStarted),
        (S::Unobserved, E::SeenFollower, S::Following, R::Following),
        (
            S::Unobserved,
            E::SeenStandby,
            S::Detaching,
            R::AwaitingPrimary,
        ),
        (
            S::Unobserved,
            E::SeenPrimary,
            S::Adopting,
            R::AwaitingQuorum,
        ),
        (S::Unobserved, E::MustStop, S::Stopping, R::Superseded),
        (S::Empty, E::FoundingAgreed, S::Initializing, R::Founding),
        (S::Empty, E::SourceFound, S::Rebuilding, R::Rebuilding),
        (S::Empty, E::MustStop, S::Stopping, R::AwaitingSource),
        // What was there before is there again.
        (S::Empty, E::SeenStopped, S::Stopped, R::AwaitingPrimary),
        (S::Initializing, E::Done, S::Stopped, R::Founding),
        (S::Initializing, E::Failed, S::Empty, R::AwaitingFounding),
        (S::Stopped, E::Unusable, S::Empty, R::AwaitingSource),
        (S::Stopped, E::Diverged, S::Rewinding, R::Rewinding),
        (S::Stopped, E::SourceFound, S::Rebuilding, R::Rebuilding),
        (S::Stopped, E::Ready, S::Starting, R::StartingServer),
        (S::Starting, E::Done, S::Detached, R::AwaitingPrimary),
        (S::Starting, E::Failed, S::Stopped, R::ServerDied),
        (S::Detached, E::Rankable, S::Ranking, R::AwaitingPrimary),
        (S::Detached, E::Died, S::Stopped, R::ServerDied),
        (S::Ranking, E::Done, S::Ranked, R::AwaitingPrimary),
        (S::Ranking, E::Failed, S::Detached, R::AwaitingPrimary),
        (S::Ranked, E::PrimaryKnown, S::Attaching, R::Following),
        (S::Ranked, E::Diverged, S::Stopping, R::Rewinding),
        (S::Ranked, E::Elected, S::Configuring, R::Promoting),
        (S::Ranked, E::Died, S::Stopped, R::ServerDied),
        (S::Attaching, E::Done, S::Following, R::Following),
        (S::Attaching, E::Failed, S::Detaching, R::AwaitingPrimary),
        (S::Following, E::MustLeave, S::Detaching, R::AwaitingPrimary),
        (S::Following, E::Died, S::Stopped, R::ServerDied),
        (S::Following, E::Starved, S::Stopping, R::LogRemoved),
        (S::Following, E::StreamStuck, S::Detaching, R::StreamStuck),
        (S::Following, E::Renewed, S::Renewing, R::StoppingServer),
        (S::Renewing, E::Done, S::Stopped, R::StoppingServer),
        (S::Renewing, E::Failed, S::Stopping, R::StoppingServer),
        (S::Renewing, E::MustLeave, S::Stopping, R::StoppingServer),
        (S::Detaching, E::Done, S::Detached, R::AwaitingPrimary),
        (S::Detaching, E::Failed, S::Stopping, R::StoppingServer),
        (S::Adopting, E::Done, S::Unopened, R::AwaitingQuorum),
        // It was asked something and did not answer in time; it may well serve.
        (S::Adopting, E::Failed, S::Unobserved, R::JustStarted),
        (S::Adopting, E::MustStop, S::Stopping, R::Superseded),
        (S::Configuring, E::Done, S::Promoting, R::Promoting),
        (S::Configuring, E::Failed, S::Stopping, R::StoppingServer),
        (S::Configuring, E::MustStop, S::Stopping, R::Superseded),
        (S::Promoting, E::Done, S::Unopened, R::AwaitingQuorum),
        (S::Promoting, E::Failed, S::Stopping, R::StoppingServer),
        (
            S::Promoting,
            E::WrongTimeline,
            S::Stopping,
            R::TimelineMismatch,
        ),
        (S::Promoting, E::MustStop, S::Stopping, R::Superseded),
        (S::Unopened, E::QuorumReached, S::Opening, R::AwaitingQuorum),
        (S::Unopened, E::Died, S::Stopped, R::ServerDied),
        (S::Unopened, E::MustStop, S::Stopping, R::Superseded),
        (S::Opening, E::Done, S::Open, R::Serving),
        (S::Opening, E::Failed, S::Unopened, R::AwaitingQuorum),
        (S::Opening, E::Isolated, S::Closing, R::Isolated),
        (S::Opening, E::Died, S::Stopped, R::ServerDied),
        (S::Opening, E::MustStop, S::Stopping, R::Superseded),
        (S::Open, E::Isolated, S::Closing, R::Isolated),
        (S::Open, E::HandOver, S::Closing, R::SwitchingOver),
        (S::Open, E::Died, S::Stopped, R::ServerDied),
        (S::Open, E::MustStop, S::Stopping, R::Superseded),
        (S::Closing, E::Done, S::Unopened, R::AwaitingQuorum),
        (S::Closing, E::Failed, S::Stopping, R::StoppingServer),
        (S::Closing, E::Died, S::Stopped, R::ServerDied),
        (S::Closing, E::MustStop, S::Stopping, R::Superseded),
        (S::Stopping, E::Done, S::Stopped, R::StoppingServer),
        (S::Stopping, E::Again, S::Stopping, R::StoppingServer),
        (S::Rewinding, E::Done, S::Stopped, R::Rewinding),
        (S::Rewinding, E::Failed, S::Empty, R::AwaitingSource),
        (S::Rebuilding, E::Done, S::Stopped, R::Rebuilding),
        (S::Rebuilding, E::Failed, S::Empty, R::AwaitingSource),
    ]
};

/// The row for an event in a state, with its number in the table.
pub fn row(state: State, event: Event) -> Option<(usize, &'static Row)> {
    TABLE
        .iter()
        .enumerate()
        .find(|(_, row)| row.0 == state && row.1 == event)
}

impl State {
    /// Whether the server is, or is becoming, a primary.
    pub fn is_primary(self) -> bool {
        match self {
            Self::Adopting
            | Self::Configuring
            | Self::Promoting
            | Self::Unopened
            | Self::Opening
            | Self::Open
            | Self::Closing => true,
            Self::Unobserved
            | Self::Empty
            | Self::Initializing
            | Self::Stopped
            | Self::Starting
            | Self::Detached
            | Self::Ranking
            | Self::Ranked
            | Self::Attaching
            | Self::Following
            | Self::Detaching
            | Self::Stopping
            | Self::Rewinding
            | Self::Rebuilding
            | Self::Renewing
            | Self::Halted => false,
        }
    }

    /// Whether the server is a primary with a history of its own that others can attach to.
    pub fn is_promoted(self) -> bool {
        matches!(
            self,
            Self::Unopened | Self::Opening | Self::Open | Self::Closing
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_one_row() {
        for (number, row) in TABLE.iter().enumerate() {
            assert_eq!(
                super::row(row.0, row.1).map(|found| found.0),
                Some(number),
                "{row:?} stands twice"
            );
        }
    }
}
