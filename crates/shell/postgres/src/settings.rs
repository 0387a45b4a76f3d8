//! What PostgreSQL is told: its configuration files, whole, as text.
//!
//! Both files belong to the keeper and are written anew on every change, so nothing in them is left over
//! from another life. Three things change while a server runs: whom it follows, whom its commits wait
//! for, and whether applications may connect. Everything else is fixed, the same on every replica.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use mainstay_record::identity::IdentityFiles;
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
    /// What the server shows, and whom it believes.
    pub certificate: IdentityFiles,
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
    /// What the primary must prove to be, and what this server proves itself with; absent in what was written
    /// before servers spoke TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    pub password_file: PathBuf,
    pub receiver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub name: String,
    pub own: IdentityFiles,
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
    for (name, value) in TUNING.iter().chain(ARCHIVE) {
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
    let certificate = &fixed.certificate;
    for (name, path) in [
        ("ssl_cert_file", &certificate.own),
        // Key and certificate lie in one file, so that no reload sees one of them without the other.
        ("ssl_key_file", &certificate.own),
        ("ssl_ca_file", &certificate.roots),
    ] {
        set(name, &path.display().to_string());
    }
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

/// What the section `backup` changes, and nobody else: the platform's file is refused these.
const ARCHIVE: &[(&str, &str)] = &[("archive_mode", "off"), ("archive_command", "")];

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
    // Linux ends a connection by it whose peer lives and reads nothing for so long: an application may take its time. A peer
    // that is gone is noticed by probes, and a standby by `wal_sender_timeout`.
    ("tcp_user_timeout", "30s"),
    ("tcp_keepalives_idle", "1"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
    ("ssl", "on"),
    ("ssl_min_protocol_version", "TLSv1.3"),
    ("password_encryption", "scram-sha-256"),
    // Whoever began to log in before the door was shut is let in by the old rules: not for a minute.
    ("authentication_timeout", "5s"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
];

fn conninfo(following: Option<&Following>) -> String {
    let Some(following) = following else {
        return String::new();
    };
    format!(
        "{} user={REPLICATION_ROLE} passfile={} application_name={} \
         gssencmode=disable connect_timeout=2 tcp_user_timeout={} keepalives_idle=1 \
         keepalives_interval=1 keepalives_count={SILENCE_SECONDS}",
        address(following.primary, following.proof.as_ref()),
        conninfo_quote(&following.password_file.display().to_string()),
        following.receiver,
        SILENCE_SECONDS * 1_000,
    )
}

/// Where a server is reached and what it must prove, for libpq.
pub fn address(at: SocketAddr, proof: Option<&Proof>) -> String {
    let (ip, port) = (at.ip(), at.port());
    let Some(Proof { name, own }) = proof else {
        return format!("host={ip} port={port} sslmode=disable");
    };
    let quoted = |path: &PathBuf| conninfo_quote(&path.display().to_string());
    let (leaf, roots) = (quoted(&own.own), quoted(&own.roots));
    format!(
        "host={name} hostaddr={ip} port={port} sslmode=verify-full sslrootcert={roots} \
         sslcert={leaf} sslkey={leaf} ssl_min_protocol_version=TLSv1.3 channel_binding=require"
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

/// `pg_hba.conf`: scram for everyone, over the network nobody without TLS, and applications only while the server is
/// open to them.
pub fn access(stance: &Stance, application_role: &str, application_database: &str) -> String {
    let mut text = String::from("# Written by the keeper on every change; edits are lost.\n");
    for line in [
        format!("local all {SUPERUSER} scram-sha-256"),
        format!("local replication {SUPERUSER} scram-sha-256"),
        format!("hostssl all {SUPERUSER} all scram-sha-256"),
        format!("hostssl replication {SUPERUSER},{REPLICATION_ROLE} all scram-sha-256"),
    ] {
        text.push_str(&line);
        text.push('\n');
    }
    if stance.access == Access::Open {
        for (kind, address) in [("local", ""), ("hostssl", " all")] {
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

    fn certificate() -> IdentityFiles {
        IdentityFiles {
            own: PathBuf::from("/var/keeper/server.pem"),
            roots: PathBuf::from("/var/o'clock/roots.pem"),
        }
    }

    fn fixed() -> Fixed {
        Fixed {
            listen: SocketAddr::from(([127, 202, 1, 1], 5432)),
            socket_folder: PathBuf::from("/run/o'clock"),
            certificate: certificate(),
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
        assert!(text.contains("hostssl \"orders\" \"shop\" all scram-sha-256"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let kind = line.split(' ').next();
            assert!(matches!(kind, Some("local" | "hostssl")), "{line}");
            assert!(line.ends_with(" scram-sha-256"), "{line}");
        }
    }

    #[test]
    fn a_primary_must_prove_its_name() {
        let mut following = Following {
            primary: SocketAddr::from(([127, 202, 1, 2], 5432)),
            proof: Some(Proof {
                name: "postgres-orders.b.test.mainstay".to_owned(),
                own: certificate(),
            }),
            password_file: PathBuf::from("/var/keeper/passwords"),
            receiver: "r".to_owned(),
        };
        let text = conninfo(Some(&following));
        assert!(text.starts_with(
            "host=postgres-orders.b.test.mainstay hostaddr=127.202.1.2 port=5432 sslmode=verify-full \
             sslrootcert='/var/o\\'clock/roots.pem'"
        ));
        // As a version wrote it that knew no TLS.
        following.proof = None;
        let written = serde_json::to_string(&following).unwrap();
        assert!(!written.contains("proof"));
        assert_eq!(
            serde_json::from_str::<Following>(&written).unwrap(),
            following
        );
        assert!(conninfo(Some(&following)).contains("sslmode=disable"));
    }
}
