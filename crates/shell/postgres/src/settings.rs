//! What PostgreSQL is told: its configuration files, whole, as text.
//!
//! Both files belong to the keeper and are written anew on every change, so nothing in them is left over
//! from another life. Three things change while a server runs: whom it follows, whom its commits wait
//! for, and whether applications may connect. Everything else is fixed, the same on every replica.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The role that keepers use on servers, their own and each other's.
pub const SUPERUSER: &str = "mainstay";
/// The role that replicas stream with.
pub const REPLICATION_ROLE: &str = "mainstay_replication";
/// What commits wait for while nobody may acknowledge: a receiver that does not exist.
pub const NOBODY: &str = "mainstay_nobody";

/// What stays the same while a server runs.
#[derive(Clone, Debug)]
pub struct Fixed {
    pub listen: SocketAddr,
    pub socket_folder: PathBuf,
    /// From the platform's file; ours come after these and win.
    pub extra: Vec<(String, String)>,
}

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stance {
    pub following: Option<Following>,
    pub acknowledging: Acknowledging,
    pub access: Access,
}

impl Stance {
    /// Follows nobody, and no commit ends.
    pub fn alone() -> Self {
        Self {
            following: None,
            acknowledging: Acknowledging::Nobody,
            access: Access::Closed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    pub primary: SocketAddr,
    pub password_file: PathBuf,
    pub receiver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acknowledging {
    /// Commits do not end.
    Nobody,
    /// So many of these receivers must have a commit on disk before it is answered.
    Any { count: u8, receivers: Vec<String> },
    /// Commits wait for nobody: only where the platform asks for one copy.
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Keepers and replicas only.
    Closed,
    /// Applications too.
    Open,
}

/// Seconds of silence after which a connection between servers is given up.
const SILENCE_SECONDS: u32 = 3;

/// `postgresql.conf`.
pub fn server(fixed: &Fixed, stance: &Stance) -> String {
    let mut text = String::from("# Written by the keeper on every change; edits are lost.\n");
    // A stance is plain data, which serde_json writes without failing.
    let _ = writeln!(
        text,
        "{STANCE_MARK}{}",
        serde_json::to_string(stance).unwrap_or_default()
    );
    let mut set = |name: &str, value: &str| {
        let value = value.replace('\'', "''");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name} = '{value}'");
    };
    for (name, value) in TUNING {
        set(name, value);
    }
    for (name, value) in &fixed.extra {
        set(name, value);
    }
    set("listen_addresses", &fixed.listen.ip().to_string());
    set("port", &fixed.listen.port().to_string());
    set(
        "unix_socket_directories",
        &fixed.socket_folder.display().to_string(),
    );
    for (name, value) in SAFETY {
        set(name, value);
    }
    set("primary_conninfo", &conninfo(stance.following.as_ref()));
    let retry = if stance.following.is_some() {
        RETRY_FOLLOWING
    } else {
        RETRY_ALONE
    };
    set("wal_retrieve_retry_interval", retry);
    set("restore_command", "");
    set(
        "synchronous_standby_names",
        &synchronous(&stance.acknowledging),
    );
    text
}

/// Defaults that a platform may change.
const TUNING: &[(&str, &str)] = &[
    ("max_connections", "100"),
    ("shared_buffers", "64MB"),
    ("max_wal_size", "256MB"),
    ("min_wal_size", "64MB"),
    ("wal_keep_size", "256MB"),
    // An archive that stands still must not fill the disk: then its slot is given up, and it begins anew.
    ("max_slot_wal_keep_size", "2GB"),
    ("checkpoint_timeout", "5min"),
    ("jit", "off"),
    ("max_standby_streaming_delay", "1s"),
    ("log_line_prefix", "%m [%p] %q%u@%d %a "),
    ("log_min_messages", "warning"),
];

/// How soon a broken stream is tried again.
const RETRY_FOLLOWING: &str = "20ms";
/// How long start-up sleeps between two looks for more log when nobody brings any. An election waits for
/// two of them before it believes that all there is has been replayed.
const RETRY_ALONE: &str = "5ms";

/// What the protocol rests on.
const SAFETY: &[(&str, &str)] = &[
    ("superuser_reserved_connections", "5"),
    ("max_wal_senders", "10"),
    ("wal_level", "replica"),
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("wal_log_hints", "on"),
    ("synchronous_commit", "on"),
    ("hot_standby", "on"),
    // A killed backend must not reopen the server for writing: its keeper decides.
    ("restart_after_crash", "off"),
    ("recovery_target_timeline", "latest"),
    // One call for the file system instead of one per file of the cluster.
    ("recovery_init_sync_method", "syncfs"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_sender_timeout", "3s"),
    ("wal_receiver_timeout", "3s"),
    ("tcp_user_timeout", "3s"),
    ("tcp_keepalives_idle", "1"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
    ("password_encryption", "scram-sha-256"),
    // Whoever began to log in before the door was shut is let in by the old rules: not for a minute.
    ("authentication_timeout", "5s"),
    ("archive_mode", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
];

fn conninfo(following: Option<&Following>) -> String {
    let Some(following) = following else {
        return String::new();
    };
    format!(
        "host={} port={} user={REPLICATION_ROLE} passfile={} application_name={} sslmode=disable \
         gssencmode=disable connect_timeout=2 tcp_user_timeout={} keepalives_idle=1 \
         keepalives_interval=1 keepalives_count={SILENCE_SECONDS}",
        following.primary.ip(),
        following.primary.port(),
        conninfo_quote(&following.password_file.display().to_string()),
        following.receiver,
        SILENCE_SECONDS * 1_000,
    )
}

/// As libpq reads it.
pub fn conninfo_quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Never empty but by the platform's own wish: emptying it would release every waiting commit as a
/// success. A count that the names cannot reach waits too.
fn synchronous(acknowledging: &Acknowledging) -> String {
    match acknowledging {
        Acknowledging::Off => String::new(),
        Acknowledging::Any { count, receivers } if *count > 0 && !receivers.is_empty() => {
            let names: Vec<String> = receivers.iter().map(|name| format!("\"{name}\"")).collect();
            format!("ANY {count} ({})", names.join(", "))
        }
        Acknowledging::Any { .. } | Acknowledging::Nobody => format!("ANY 1 (\"{NOBODY}\")"),
    }
}

/// The value of `synchronous_standby_names` that a stance asks for, as the server shows it.
pub fn shown_synchronous(stance: &Stance) -> String {
    synchronous(&stance.acknowledging)
}

/// The value of `primary_conninfo` that a stance asks for, as the server shows it.
pub fn shown_conninfo(stance: &Stance) -> String {
    conninfo(stance.following.as_ref())
}

/// The line of `postgresql.conf` that says in one piece what it was written from.
const STANCE_MARK: &str = "# stance: ";

/// The stance that a configuration was written from: how an adopted server stands.
pub fn parse_stance(text: &str) -> Option<Stance> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(STANCE_MARK))?;
    serde_json::from_str(line).ok()
}

/// `pg_hba.conf`: scram for everyone, and applications only while the server is open to them.
pub fn access(stance: &Stance, application_role: &str, application_database: &str) -> String {
    let mut text = String::from("# Written by the keeper on every change; edits are lost.\n");
    for line in [
        format!("local all {SUPERUSER} scram-sha-256"),
        format!("local replication {SUPERUSER} scram-sha-256"),
        format!("host all {SUPERUSER} all scram-sha-256"),
        format!("host replication {SUPERUSER},{REPLICATION_ROLE} all scram-sha-256"),
    ] {
        text.push_str(&line);
        text.push('\n');
    }
    if stance.access == Access::Open {
        for kind in ["local", "host"] {
            let address = if kind == "host" { " all" } else { "" };
            let _ = writeln!(
                text,
                "{kind} \"{application_database}\" \"{application_role}\"{address} scram-sha-256"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed() -> Fixed {
        Fixed {
            listen: SocketAddr::from(([127, 202, 1, 1], 5432)),
            socket_folder: PathBuf::from("/run/o'clock"),
            extra: vec![("fsync".to_owned(), "off".to_owned())],
        }
    }

    #[test]
    fn what_the_protocol_rests_on_wins_over_the_platform() {
        let text = server(&fixed(), &Stance::alone());
        assert!(text.rfind("fsync = 'on'") > text.rfind("fsync = 'off'"));
        assert!(text.contains("unix_socket_directories = '/run/o''clock'"));
    }

    #[test]
    fn what_the_keeper_sets_is_refused_to_the_platform() {
        let text = server(&fixed(), &Stance::alone());
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        for (name, _) in lines {
            let open = TUNING.iter().any(|(tuned, _)| *tuned == name);
            let owned = mainstay_model::parameter::owner(name).is_some();
            assert!(open != owned, "{name}");
        }
    }

    #[test]
    fn commits_always_wait_for_somebody() {
        let mut stance = Stance::alone();
        let text = server(&fixed(), &stance);
        assert!(text.contains("synchronous_standby_names = 'ANY 1 (\"mainstay_nobody\")'"));
        stance.acknowledging = Acknowledging::Any {
            count: 1,
            receivers: vec!["a".to_owned(), "b".to_owned()],
        };
        let text = server(&fixed(), &stance);
        assert!(text.contains("synchronous_standby_names = 'ANY 1 (\"a\", \"b\")'"));
        assert_eq!(parse_stance(&text), Some(stance.clone()));
        stance.acknowledging = Acknowledging::Any {
            count: 1,
            receivers: Vec::new(),
        };
        assert!(server(&fixed(), &stance).contains(NOBODY), "no names");
    }

    #[test]
    fn applications_are_let_in_only_when_open_and_nobody_without_a_password() {
        let mut stance = Stance::alone();
        assert!(!access(&stance, "shop", "orders").contains("shop"));
        stance.access = Access::Open;
        let text = access(&stance, "shop", "orders");
        assert!(text.contains("host \"orders\" \"shop\" all scram-sha-256"));
        assert!(!text.contains("trust"));
    }
}
