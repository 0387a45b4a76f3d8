//! What the peer is told: configuration files of Patroni (JSON is YAML) and HAProxy.
//!
//! Patroni gets the settings of PostgreSQL that ours has, as far as they are not Patroni's own business, and the
//! fastest of its own that its documentation allows: ttl not below 20, loop_wait not below 1, retry_timeout not
//! below 3. Strictly synchronous, as ours is.

use std::path::Path;

use serde_json::{Value, json};

use super::peer::{Address, NODES, Settings};

/// Its timings: ttl, loop_wait, retry_timeout, primary_start_timeout.
pub fn timings(settings: Settings) -> (u32, u32, u32, u32) {
    match settings {
        Settings::Fastest => (20, 1, 3, 0),
        Settings::Default => (30, 10, 10, 300),
    }
}

pub fn patroni(settings: Settings, node: usize, folder: &Path, programs: &Path) -> Value {
    let (ttl, loop_wait, retry_timeout, primary_start_timeout) = timings(settings);
    let own = folder.join(format!("n{node}"));
    let login = |name: &str| json!({"username": name, "password": password(name)});
    json!({
        "scope": "peer",
        "name": format!("n{node}"),
        "restapi": {
            "listen": Address::Node.at(node, 8008).to_string(),
            "connect_address": Address::Side.at(node, 8008).to_string(),
        },
        // Without a look at the store's own list of members: it is reached only through the node's own door.
        "etcd3": {"hosts": [Address::Back.at(node, 2379).to_string()], "use_proxies": true},
        "bootstrap": {
            "dcs": {
                "ttl": ttl,
                "loop_wait": loop_wait,
                "retry_timeout": retry_timeout,
                "primary_start_timeout": primary_start_timeout,
                "maximum_lag_on_failover": 1_048_576,
                "synchronous_mode": true,
                "synchronous_mode_strict": true,
                "postgresql": {
                    "use_pg_rewind": true,
                    "use_slots": true,
                    "parameters": parameters(),
                },
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "scram-sha-256"}, {"wal-segsize": "4"}],
            "pg_hba": [
                "local all all scram-sha-256",
                "host all all 127.0.0.0/8 scram-sha-256",
                "host replication replicator 127.0.0.0/8 scram-sha-256",
            ],
        },
        "postgresql": {
            "listen": Address::Node.at(node, 5432).to_string(),
            "connect_address": Address::Side.at(node, 5432).to_string(),
            "data_dir": own.join("data"),
            "bin_dir": programs,
            "pgpass": own.join("pgpass"),
            "authentication": {
                "superuser": login("postgres"),
                "replication": login("replicator"),
                "rewind": login("rewinder"),
            },
            "parameters": {"unix_socket_directories": own},
        },
        "watchdog": {"mode": "off"},
    })
}

/// A password per role, for an hour on loopback addresses.
pub fn password(role: &str) -> String {
    format!("bench-{role}")
}

/// As our keeper sets them.
fn parameters() -> Value {
    json!({
        "max_connections": 100,
        "shared_buffers": "64MB",
        "max_wal_size": "256MB",
        "min_wal_size": "64MB",
        "wal_keep_size": "256MB",
        "checkpoint_timeout": "5min",
        "jit": "off",
        "wal_level": "replica",
        "hot_standby": "on",
        "wal_log_hints": "on",
        "synchronous_commit": "on",
        "restart_after_crash": "off",
        "recovery_init_sync_method": "syncfs",
        "wal_retrieve_retry_interval": "20ms",
        "wal_receiver_status_interval": "1s",
        "wal_sender_timeout": "3s",
        "wal_receiver_timeout": "3s",
        "tcp_user_timeout": "3s",
        "password_encryption": "scram-sha-256",
        "log_min_messages": "warning",
    })
}

/// Checks every 200 ms, as fast as the documentation of either shows it; sessions of a lost primary are ended.
pub fn haproxy() -> String {
    let mut text = format!(
        "global\n  maxconn 200\n\
         defaults\n  mode tcp\n  timeout connect 500ms\n  timeout client 1h\n  timeout server 1h\n  timeout check 500ms\n\
         listen primary\n  bind {}\n  option httpchk OPTIONS /primary\n  http-check expect status 200\n  \
         default-server inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions\n",
        Address::proxy()
    );
    for node in NODES {
        let address = Address::Front.at(node, 5432);
        text.push_str(&format!("  server n{node} {address} check port 8008\n"));
    }
    text
}
