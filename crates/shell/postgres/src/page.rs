//! The keeper's figures and its server's, as a page that Prometheus reads.
//!
//! Names that begin with `pg_` are those of postgres_exporter, so that rules and dashboards that exist need no change.
//! Where the server gave no answer of late, its families are left out and `pg_up` is 0: no figure is better than an
//! old one.

use mainstay_record::keeper::{KeeperStatus, ParametersStatus, SightRole};
use mainstay_rt::usage;
use mainstay_scrape::exposition::Type::{Counter, Gauge};
use mainstay_scrape::page::Page;

use crate::figures::Answer;
use crate::sql::Row;

/// Of what a table of the server is told: column, name, kind, meaning.
type Columns<'a> = &'a [(usize, &'a str, mainstay_scrape::exposition::Type, &'a str)];

const PER_DATABASE: Columns<'_> = &[
    (
        2,
        "pg_stat_database_numbackends",
        Gauge,
        "Sessions of the database.",
    ),
    (
        3,
        "pg_stat_database_xact_commit",
        Counter,
        "Transactions committed.",
    ),
    (
        4,
        "pg_stat_database_xact_rollback",
        Counter,
        "Transactions rolled back.",
    ),
    (
        5,
        "pg_stat_database_blks_read",
        Counter,
        "Blocks read from disk or the system's cache.",
    ),
    (
        6,
        "pg_stat_database_blks_hit",
        Counter,
        "Blocks found in the server's own memory.",
    ),
    (
        7,
        "pg_stat_database_tup_returned",
        Counter,
        "Rows read by scans.",
    ),
    (
        8,
        "pg_stat_database_tup_fetched",
        Counter,
        "Rows fetched by index scans.",
    ),
    (
        9,
        "pg_stat_database_tup_inserted",
        Counter,
        "Rows inserted.",
    ),
    (10, "pg_stat_database_tup_updated", Counter, "Rows updated."),
    (11, "pg_stat_database_tup_deleted", Counter, "Rows deleted."),
    (
        12,
        "pg_stat_database_conflicts",
        Counter,
        "Questions cancelled because they conflicted with recovery.",
    ),
    (
        13,
        "pg_stat_database_temp_bytes",
        Counter,
        "Bytes written to temporary files.",
    ),
    (
        14,
        "pg_stat_database_deadlocks",
        Counter,
        "Deadlocks found.",
    ),
    (
        15,
        "pg_database_frozen_age",
        Gauge,
        "Transactions since the oldest that is not frozen; near two thousand million the server stops.",
    ),
];

const PER_STANDBY: Columns<'_> = &[
    (
        4,
        "pg_stat_replication_sent_lag_bytes",
        Gauge,
        "Log written here and not sent to the standby.",
    ),
    (
        5,
        "pg_stat_replication_flush_lag_bytes",
        Gauge,
        "Log written here and not on the standby's disk.",
    ),
    (
        6,
        "pg_stat_replication_replay_lag_bytes",
        Gauge,
        "Log written here and not replayed there.",
    ),
    (
        7,
        "pg_stat_replication_flush_lag_seconds",
        Gauge,
        "From a flush here to the one there, of late; 0 when idle.",
    ),
    (
        8,
        "pg_stat_replication_replay_lag_seconds",
        Gauge,
        "From a flush here to the replay there, of late; 0 when idle.",
    ),
];

pub fn page(status: Option<&KeeperStatus>, answer: &Answer) -> String {
    let mut page = Page::default();
    if let Some(status) = status {
        keeper(&mut page, status);
    }
    let age = answer.age(mainstay_rt::clock::now());
    let up = f64::from(u8::from(age.is_some()));
    page.gauge("pg_up", "Whether the server gave its figures of late.", up);
    if let Some(age) = age {
        page.gauge(
            "pg_figures_age_seconds",
            "How old the server's figures on this page are.",
            age.as_secs_f64(),
        );
        server(&mut page, &answer.rows);
        table(&mut page, &answer.rows, "database", "datname", PER_DATABASE);
        table(
            &mut page,
            &answer.rows,
            "replication",
            "application_name",
            PER_STANDBY,
        );
        counts(&mut page, &answer.rows);
        slots(&mut page, &answer.rows);
        sizes(&mut page, &answer.sizes);
    }
    if let Some(usage) = usage::own() {
        page.counter(
            "process_cpu_seconds_total",
            "Processor time that the keeper used, user and system.",
            usage.processor_seconds,
        );
        page.gauge(
            "process_resident_memory_bytes",
            "The keeper's memory that is resident.",
            usage.resident_bytes as f64,
        );
    }
    page.text()
}

fn keeper(page: &mut Page, status: &KeeperStatus) {
    let number = |is: bool| f64::from(u8::from(is));
    let sight = &status.sight;
    let mut family = page.family(
        "mainstay_keeper_role",
        Gauge,
        "1 for the role that the replica has, 0 for the others.",
    );
    let roles = [
        ("primary", SightRole::Primary),
        ("standby", SightRole::Standby),
        ("learner", SightRole::Learner),
        ("candidate", SightRole::Candidate),
        ("fenced", SightRole::Fenced),
        ("starting", SightRole::Starting),
        ("stopped", SightRole::Stopped),
    ];
    for (name, role) in roles {
        family.put(&[("role", name)], number(sight.role == role));
    }
    let open = number(sight.role == SightRole::Primary && sight.open);
    page.gauge(
        "mainstay_keeper_open",
        "Whether applications may write here.",
        open,
    );
    page.gauge(
        "mainstay_keeper_term",
        "The term that the keeper is in.",
        f64::from(sight.term),
    );
    page.gauge(
        "mainstay_keeper_paused",
        "Whether an operator told it to keep its hands off.",
        number(status.paused),
    );
    cohort(page, status);
    let mut trips = page.family(
        "mainstay_keeper_round_trip_seconds",
        Gauge,
        "From this keeper to another one and back, smoothed.",
    );
    for peer in &status.peers {
        if let Some(trip_us) = peer.round_trip_us {
            trips.put(&[("peer", &peer.host)], trip_us as f64 / 1e6);
        }
    }
    let alone = status.solo.as_ref().is_some_and(|solo| solo.alone);
    page.gauge(
        "mainstay_keeper_solo",
        "Whether commits are answered with fewer copies than promised, by order.",
        number(alone),
    );
    unprotected(page, status);
    if let Some(parameters) = &status.parameters {
        weakened(page, parameters);
    }
}

/// Where the primary belongs, and who has its commits.
fn cohort(page: &mut Page, status: &KeeperStatus) {
    if !status.cohort.home.is_empty() {
        let is_home = status.cohort.home == status.sight.host;
        page.gauge(
            "mainstay_keeper_home",
            "Whether the platform file wants the primary here.",
            f64::from(u8::from(is_home)),
        );
    }
    page.gauge(
        "mainstay_keeper_copies_needed",
        "Disks that a commit must be on before it is answered.",
        f64::from(status.cohort.copies),
    );
    if status.sight.role == SightRole::Primary {
        let acknowledging = status.peers.iter().filter(|peer| peer.acknowledges).count();
        page.gauge(
            "mainstay_keeper_copies",
            "Disks whose flush counts for a commit now, this one included.",
            acknowledging as f64 + 1.0,
        );
    }
}

/// Who weakens commits behind the keeper's back, and whether that can be told of sessions.
fn weakened(page: &mut Page, parameters: &ParametersStatus) {
    page.gauge(
        "mainstay_keeper_weakened",
        "Roles, databases and sessions whose commits need not wait for their copies, or hide that they did not.",
        parameters.weakened.len() as f64,
    );
    page.gauge(
        "mainstay_keeper_sessions_seen",
        "Whether what sessions set for themselves is seen.",
        f64::from(u8::from(parameters.unseen.is_none())),
    );
}

/// What would be lost with this host alone: told by the primary, and by whoever still has to hand it on.
fn unprotected(page: &mut Page, status: &KeeperStatus) {
    let solo = status.solo.as_ref();
    if solo.is_none() && status.sight.role != SightRole::Primary {
        return;
    }
    page.gauge(
        "mainstay_keeper_unprotected_bytes",
        "Log that was answered for on fewer disks than promised, by order, and is not on enough of them yet.",
        solo.map_or(0.0, |solo| solo.unprotected_bytes as f64),
    );
    page.gauge(
        "mainstay_keeper_solo_seconds",
        "Since fewer copies than promised were ordered to do, until all that was answered so is on enough disks; else 0.",
        solo.map_or(0.0, |solo| solo.since_ms as f64 / 1e3),
    );
}

/// A column, if the row has it and it is a number.
fn number(row: &Row, at: usize) -> Option<f64> {
    row.get(at)?.as_deref()?.parse().ok()
}

fn word(row: &Row, at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or("")
}

fn about<'r>(rows: &'r [Row], what: &'r str) -> impl Iterator<Item = &'r Row> {
    rows.iter().filter(move |row| word(row, 0) == what)
}

fn server(page: &mut Page, rows: &[Row]) {
    let Some(row) = about(rows, "server").next() else {
        return;
    };
    let mut put = |at: usize, name: &str, help: &str| {
        if let Some(found) = number(row, at) {
            page.gauge(name, help, found);
        }
    };
    put(
        1,
        "pg_replication_is_replica",
        "Whether the server is a standby.",
    );
    put(
        2,
        "pg_wal_lsn_bytes",
        "How far the log goes: written here, or replayed here by a standby; bytes since its beginning.",
    );
    put(
        3,
        "pg_wal_flushed_bytes",
        "How far the log is on this disk; bytes since its beginning.",
    );
    put(
        4,
        "pg_replication_lag_seconds",
        "Age of the newest transaction replayed, of a standby that has not replayed all that it has; 0 otherwise.",
    );
    put(
        5,
        "pg_postmaster_start_time_seconds",
        "When the server was started, in seconds since 1970.",
    );
    put(
        6,
        "pg_settings_max_connections",
        "Sessions that the server allows.",
    );
    page.family("pg_static", Gauge, "1, with the version of the server.")
        .put(&[("short_version", word(row, 7))], 1.0);
    if let Some(row) = about(rows, "settings").next() {
        let mut put = |at: usize, name: &str, help: &str| {
            if let Some(found) = number(row, at) {
                page.gauge(name, help, found);
            }
        };
        put(
            1,
            "pg_settings_max_replication_slots",
            "Replication slots that the server allows.",
        );
        put(
            2,
            "pg_settings_max_wal_senders",
            "Senders of log that the server allows.",
        );
    }
}

fn table(page: &mut Page, rows: &[Row], what: &str, label: &str, columns: Columns<'_>) {
    for (at, name, kind, help) in columns {
        let mut family = page.family(name, *kind, help);
        for row in about(rows, what) {
            if let Some(found) = number(row, *at) {
                family.put(&[(label, word(row, 1))], found);
            }
        }
    }
}

fn counts(page: &mut Page, rows: &[Row]) {
    let sessions = [
        (
            3,
            "pg_stat_activity_count",
            "Sessions of clients, by what they do.",
        ),
        (
            4,
            "pg_stat_activity_max_tx_duration",
            "Age of the oldest transaction, in seconds.",
        ),
    ];
    for (at, name, help) in sessions {
        let mut family = page.family(name, Gauge, help);
        for row in about(rows, "activity") {
            let labels = [("datname", word(row, 1)), ("state", word(row, 2))];
            family.put(&labels, number(row, at).unwrap_or(0.0));
        }
    }
    let locks = [
        (2, "pg_locks_count", "Locks held or wanted, by mode."),
        (
            3,
            "pg_locks_waiting",
            "Locks that somebody waits for, by mode.",
        ),
    ];
    for (at, name, help) in locks {
        let mut family = page.family(name, Gauge, help);
        for row in about(rows, "lock") {
            family.put(&[("mode", word(row, 1))], number(row, at).unwrap_or(0.0));
        }
    }
}

fn slots(page: &mut Page, rows: &[Row]) {
    page.gauge(
        "pg_replication_slots_used",
        "Replication slots that are there.",
        about(rows, "slot").count() as f64,
    );
    let slots = [
        (
            2,
            "pg_replication_slots_active",
            "Whether somebody uses the slot.",
        ),
        (
            3,
            "pg_replication_slots_retained_bytes",
            "Log that is kept for the slot.",
        ),
    ];
    for (at, name, help) in slots {
        let mut family = page.family(name, Gauge, help);
        for row in about(rows, "slot") {
            if let Some(found) = number(row, at) {
                family.put(&[("slot_name", word(row, 1))], found);
            }
        }
    }
    let mut family = page.family(
        "pg_stat_replication_streaming",
        Gauge,
        "Whether the standby follows the log as it is written.",
    );
    for row in about(rows, "replication") {
        let streams = f64::from(u8::from(word(row, 2) == "streaming"));
        let labels = [
            ("application_name", word(row, 1)),
            ("sync_state", word(row, 3)),
        ];
        family.put(&labels, streams);
    }
}

fn sizes(page: &mut Page, rows: &[Row]) {
    let mut family = page.family(
        "pg_database_size_bytes",
        Gauge,
        "Size of the database on disk; asked once a minute.",
    );
    for row in about(rows, "size") {
        family.put(&[("datname", word(row, 1))], number(row, 2).unwrap_or(0.0));
    }
    if let Some(found) = about(rows, "wal").next().and_then(|row| number(row, 1)) {
        page.gauge(
            "pg_wal_size_bytes",
            "Size of the log on disk; asked once a minute.",
            found,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_record::keeper::CohortStatus;
    use mainstay_scrape::exposition::{Format, Limits, parse};

    #[test]
    fn a_server_that_does_not_answer_is_down_and_says_nothing_else() {
        let text = page(None, &Answer::default());
        let found = parse(Format::Text, &text, &Limits::default()).expect("readable");
        let named = |sample: &mainstay_scrape::exposition::Sample, wanted: &str| {
            let name = sample.labels.iter().find(|(name, _)| name == "__name__");
            name.is_some_and(|(_, name)| name == wanted)
        };
        assert!(
            found
                .samples
                .iter()
                .any(|sample| named(sample, "pg_up") && sample.value == 0.0)
        );
        assert!(!text.contains("pg_replication_lag_seconds"));
    }

    /// The figures about serving alone, as the page says them.
    fn alone(role: &str, solo: &serde_json::Value) -> String {
        let status = serde_json::json!({
            "version": 1, "platform": "p", "paused": false, "incarnation": "", "system_identifier": null,
            "timeline": 3, "promised_term": 3, "promised_to": null, "peers": [], "seeding": null,
            "postmaster": null, "events": [], "solo": solo, "cohort": CohortStatus::default(),
            "sight": {
                "version": 1, "database": "ledger", "replica": 1, "host": "a", "region": "r", "role": role,
                "term": 3, "open": true, "switchover": false, "lease_remaining_ms": 900, "lsn": "0/5000000",
                "primary": "a", "reason": "test",
            },
        });
        let status: KeeperStatus = serde_json::from_value(status).expect("a status");
        let text = page(Some(&status), &Answer::default());
        let told = |line: &&str| line.contains("_solo") || line.contains("_unprotected");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter(told).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_only_one_disk_has_is_counted_until_enough_of_them_have_it() {
        let solo = |alone: bool, bytes: u64| {
            serde_json::json!({
                "term": 3, "since_wall_ms": 1, "since_ms": 90_500, "protected": "0/4000000",
                "unprotected_bytes": bytes, "alone": alone,
            })
        };
        for (role, solo, said) in [
            ("primary", serde_json::Value::Null, ["0", "0", "0"]),
            ("primary", solo(true, 4_096), ["1", "4096", "90.5"]),
            // The quorum is back, and not all of it has arrived there.
            ("primary", solo(false, 512), ["0", "512", "90.5"]),
            ("fenced", solo(false, 512), ["0", "512", "90.5"]),
        ] {
            let [alone_now, bytes, seconds] = said;
            let expected = format!(
                "mainstay_keeper_solo {alone_now}\nmainstay_keeper_unprotected_bytes {bytes}\n\
                 mainstay_keeper_solo_seconds {seconds}"
            );
            assert_eq!(alone(role, &solo), expected, "{role}");
        }
        // A standby does not know what its primary was answered for, and does not guess.
        let standby = alone("standby", &serde_json::Value::Null);
        assert_eq!(standby, "mainstay_keeper_solo 0");
    }
}
