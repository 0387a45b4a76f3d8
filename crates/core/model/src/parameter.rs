//! PostgreSQL's parameters: which a platform may set, which are the keeper's, and what a change of one takes.
//!
//! The tables are of PostgreSQL 15 to 18. What a change takes is said here for plans only; of a server that
//! runs, the server itself says which of its parameters wait for a restart.

use alloc::string::String;

/// What it takes for a changed parameter to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Takes {
    /// The servers read their configuration again; sessions stay.
    Reload,
    /// One server after the other is started anew, the primary last, after a switchover.
    Restart,
}

/// The longest value.
pub const VALUE_BYTES_MAX: usize = 1_000;
/// The fewest connections: keepers, replicas and backups need some before anybody else.
pub const CONNECTIONS_MIN: u32 = 25;

const PLACE: &str = "the keeper says where the server listens and where its files are";
const COMMIT: &str = "an acknowledged commit is safe only with the keeper's value";
const FOLLOW: &str = "the keeper decides whom a server follows, and from where it takes its log";
const NOTICE: &str = "it could hide the warning of a commit that did not wait for its copies";
const PAGES: &str = "what is damaged or was not written would be taken for good";
const DOOR: &str = "the keeper decides who is let in, and under which protection";
const ARCHIVE: &str = "the log is put away by the section `backup`";
const SILENCE: &str = "how soon a lost connection is noticed depends on it";
const PLACES_FOR_REPLICAS: &str = "the keeper and the replicas would find no connection left";
const RECOVERY: &str = "a moment of the past is brought back by `mainstay database restore`";
const OUTPUT: &str = "what the server says is collected by Mainstay";

/// The parameters that are the keeper's, and why.
const OWNED: &[(&str, &str)] = &[
    ("archive_cleanup_command", ARCHIVE),
    ("archive_command", ARCHIVE),
    ("archive_library", ARCHIVE),
    ("archive_mode", ARCHIVE),
    ("archive_timeout", ARCHIVE),
    ("authentication_timeout", DOOR),
    ("bonjour", DOOR),
    ("client_min_messages", NOTICE),
    ("config_file", PLACE),
    ("data_directory", PLACE),
    ("data_sync_retry", COMMIT),
    ("db_user_namespace", DOOR),
    ("external_pid_file", PLACE),
    ("fsync", COMMIT),
    ("full_page_writes", COMMIT),
    ("hba_file", PLACE),
    ("hot_standby", FOLLOW),
    ("ident_file", PLACE),
    ("ignore_checksum_failure", PAGES),
    ("ignore_invalid_pages", PAGES),
    ("include", PLACE),
    ("include_dir", PLACE),
    ("include_if_exists", PLACE),
    ("listen_addresses", PLACE),
    ("log_destination", OUTPUT),
    ("logging_collector", OUTPUT),
    ("max_wal_senders", PLACES_FOR_REPLICAS),
    ("password_encryption", DOOR),
    ("port", PLACE),
    ("primary_conninfo", FOLLOW),
    ("primary_slot_name", FOLLOW),
    ("promote_trigger_file", FOLLOW),
    ("recovery_end_command", RECOVERY),
    ("recovery_init_sync_method", COMMIT),
    ("recovery_min_apply_delay", FOLLOW),
    ("reserved_connections", PLACES_FOR_REPLICAS),
    ("restart_after_crash", COMMIT),
    ("restore_command", FOLLOW),
    ("superuser_reserved_connections", PLACES_FOR_REPLICAS),
    ("sync_replication_slots", FOLLOW),
    ("synchronized_standby_slots", FOLLOW),
    ("synchronous_commit", COMMIT),
    ("synchronous_standby_names", COMMIT),
    ("wal_level", FOLLOW),
    ("wal_log_hints", FOLLOW),
    ("wal_receiver_create_temp_slot", FOLLOW),
    ("wal_receiver_status_interval", SILENCE),
    ("wal_receiver_timeout", SILENCE),
    ("wal_retrieve_retry_interval", FOLLOW),
    ("wal_sender_timeout", SILENCE),
    ("wal_sync_method", COMMIT),
    ("zero_damaged_pages", PAGES),
];

/// The same, for all names that begin so.
const OWNED_PREFIXES: &[(&str, &str)] = &[
    ("krb_", DOOR),
    ("gss_", DOOR),
    ("oauth_", DOOR),
    ("recovery_target", RECOVERY),
    ("ssl", DOOR),
    ("tcp_", SILENCE),
    ("unix_socket_", PLACE),
];

/// What only a server that is started anew takes.
const AT_START: &[&str] = &[
    "autovacuum_freeze_max_age",
    "autovacuum_max_workers",
    "autovacuum_multixact_freeze_max_age",
    "autovacuum_worker_slots",
    "bonjour_name",
    "cluster_name",
    "commit_timestamp_buffers",
    "debug_io_direct",
    "dynamic_shared_memory_type",
    "event_source",
    "huge_page_size",
    "huge_pages",
    "io_max_combine_limit",
    "io_max_concurrency",
    "io_method",
    "jit_provider",
    "max_active_replication_origins",
    "max_connections",
    "max_files_per_process",
    "max_locks_per_transaction",
    "max_logical_replication_workers",
    "max_notify_queue_pages",
    "max_pred_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_worker_processes",
    "min_dynamic_shared_memory",
    "multixact_member_buffers",
    "multixact_offset_buffers",
    "notify_buffers",
    "old_snapshot_threshold",
    "serializable_buffers",
    "shared_buffers",
    "shared_memory_type",
    "shared_preload_libraries",
    "subtransaction_buffers",
    "track_activity_query_size",
    "track_commit_timestamp",
    "transaction_buffers",
    "wal_buffers",
    "wal_decode_buffer_size",
];

/// What no standby may have less of than the primary whose log it plays. Raising one begins with the standbys;
/// a lower value is kept back as long as the log asks for more.
pub const DEMANDED_BY_LOG: [&str; 4] = [
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_worker_processes",
];

/// Why the parameter is the keeper's, if it is.
pub fn owner(name: &str) -> Option<&'static str> {
    let known = OWNED.iter().find(|(owned, _)| *owned == name);
    let begins = || {
        OWNED_PREFIXES
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))
    };
    known.or_else(begins).map(|(_, why)| *why)
}

pub fn takes(name: &str) -> Takes {
    if AT_START.contains(&name) {
        Takes::Restart
    } else {
        Takes::Reload
    }
}

/// Why a parameter cannot be set so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No parameter has such a name.
    Name,
    /// It is the keeper's.
    Owned { why: &'static str },
    /// Too long, or of more than one line.
    Value,
    /// So few connections leave none for applications.
    Connections,
}

/// Judges a parameter as far as that is possible without a server.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn judge(name: &str, value: &str) -> Result<(), Refusal> {
    let is_name = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.');
    if !is_name {
        return Err(Refusal::Name);
    }
    if let Some(why) = owner(name) {
        return Err(Refusal::Owned { why });
    }
    if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
        return Err(Refusal::Value);
    }
    let connections = (name == "max_connections").then(|| value.parse::<u32>().ok());
    match connections.flatten() {
        Some(number) if number < CONNECTIONS_MIN => Err(Refusal::Connections),
        Some(_) | None => Ok(()),
    }
}

impl Refusal {
    /// What is wrong, and what to do.
    pub fn words(self, name: &str) -> (String, String) {
        use alloc::format;
        match self {
            Self::Name => (
                format!("{name:?} cannot be the name of a parameter of PostgreSQL"),
                String::from(
                    "write it as PostgreSQL does: lower-case letters, digits, '_' and '.'",
                ),
            ),
            Self::Owned { why } => (
                format!("`{name}` belongs to the keeper: {why}"),
                format!("leave `{name}` out"),
            ),
            Self::Value => (
                format!("the value of `{name}` is not one line of at most {VALUE_BYTES_MAX} bytes"),
                String::from("write it as PostgreSQL does, such as `200`, `64MB` or `on`"),
            ),
            Self::Connections => (
                format!("`{name}` leaves no connection for applications"),
                format!("write at least {CONNECTIONS_MIN}: keepers, replicas and backups use some"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_do_not_contradict_each_other() {
        for name in AT_START {
            assert_eq!(owner(name), None, "{name} is the keeper's and a platform's");
        }
        for name in DEMANDED_BY_LOG {
            assert_eq!(takes(name), Takes::Restart, "{name}");
        }
    }

    #[test]
    fn a_parameter_is_judged() {
        assert_eq!(judge("work_mem", "8MB"), Ok(()));
        assert_eq!(judge("pg_stat_statements.max", "1000"), Ok(()));
        assert_eq!(judge("Work Mem", "8MB"), Err(Refusal::Name));
        assert_eq!(judge("", ""), Err(Refusal::Name));
        assert_eq!(judge("work_mem", "8MB\nfsync = off"), Err(Refusal::Value));
        assert_eq!(judge("max_connections", "6"), Err(Refusal::Connections));
        assert_eq!(judge("max_connections", "200"), Ok(()));
        for owned in ["fsync", "ssl_cert_file", "recovery_target_lsn", "include"] {
            assert!(
                matches!(judge(owned, "x"), Err(Refusal::Owned { .. })),
                "{owned}"
            );
        }
    }
}
