//! Why an instance does not serve: one name per reason, the same in `/health/ready`, in refusals and in logs.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inactive {
    Starting,
    Draining,
    NoLease,
    /// The keeper holds its lease under another term than the one this life began with.
    TermChanged,
    DatabaseUnreachable,
    DatabaseIsStandby,
    DatabaseError,
    /// The local server has the connection open and says nothing.
    DatabaseSilent,
    ConnectionLost,
    OtherWriter,
    SchemaUnknown,
    LogDamaged,
    EpochNotCommitted,
    /// A batch came back as anything but cleanly committed.
    CommitUnknown,
    /// What was read waits for a batch whose commit has not come back.
    CommitUnsettled,
    /// A commit has been under way for longer than any quorum needs; what comes would wait behind it.
    CommitOverdue,
    /// The instance ceased to be active while the request was on its way.
    Deactivated,
    ClockWentBack,
}

impl Inactive {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::NoLease => "no_lease",
            Self::TermChanged => "term_changed",
            Self::DatabaseUnreachable => "database_unreachable",
            Self::DatabaseIsStandby => "database_is_standby",
            Self::DatabaseError => "database_error",
            Self::DatabaseSilent => "database_silent",
            Self::ConnectionLost => "connection_lost",
            Self::OtherWriter => "other_writer",
            Self::SchemaUnknown => "schema_unknown",
            Self::LogDamaged => "log_damaged",
            Self::EpochNotCommitted => "epoch_not_committed",
            Self::CommitUnknown => "commit_unknown",
            Self::CommitUnsettled => "commit_unsettled",
            Self::CommitOverdue => "commit_overdue",
            Self::Deactivated => "deactivated",
            Self::ClockWentBack => "clock_went_back",
        }
    }

    /// Normal on a host whose server is not the primary, or for a moment after it became it.
    pub const fn is_waiting(self) -> bool {
        matches!(
            self,
            Self::NoLease | Self::DatabaseUnreachable | Self::DatabaseIsStandby | Self::OtherWriter
        )
    }

    /// What a try to become active fails for when it may have played the log.
    pub const fn is_after_replay(self) -> bool {
        matches!(self, Self::DatabaseError | Self::EpochNotCommitted)
    }

    /// Not cured by waiting; an operator has to look.
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::SchemaUnknown | Self::LogDamaged)
    }
}

impl fmt::Display for Inactive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
