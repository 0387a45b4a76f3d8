//! What a snapshot must not say, and what happens to one that is torn.

use serde_json::{Value, json};

use super::*;

fn example() -> Value {
    json!({
        "version": 1, "generation": 7, "gateway": "front", "host": "a", "region": "r", "workers": 4,
        "run_folder": "/nowhere",
        "listeners": {
            "http": [{"name": "public", "address": "127.0.0.1:1", "routes":
                [{"name": "all", "path_prefix": "/", "target": {"service": "web"}}]}],
            "tcp": [{"name": "sql", "address": "127.0.0.1:2", "database": "us", "role": "primary"}]},
        "services": [{"name": "web", "instances": [{"name": "w", "host": "a", "region": "r",
            "address": "127.0.0.1:3", "readiness_path": "/"}]}],
        "databases": [{"name": "us", "replicas": [{"host": "a", "region": "r",
            "sight_address": "127.0.0.1:4", "postgres_address": "127.0.0.1:5"}]}],
    })
}

fn read(value: Value) -> Result<Config, String> {
    let snapshot = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Config::new(snapshot).map_err(|error| error.to_string())
}

#[test]
fn bounds_are_shared_among_workers() {
    let config = read(example()).expect("good");
    assert_eq!(config.bounds.connections, 2_500);
    assert_eq!(config.bounds.hold.requests, 2_048);
    assert_eq!(config.bounds.hold.bytes, 16 * 1024 * 1024);
    assert_eq!(config.bounds.bodies, 64 * 1024 * 1024);
}

#[test]
fn a_wrong_snapshot_is_refused_with_a_reason() {
    let rows: [(&str, Value, &str); 6] = [
        ("/version", json!(2), "snapshot version 2"),
        (
            "/listeners/http/0/address",
            json!("nowhere"),
            "nowhere is not an address",
        ),
        (
            "/listeners/tcp/0/address",
            json!("127.0.0.1:1"),
            "two listeners at 127.0.0.1:1",
        ),
        (
            "/listeners/tcp/0/database",
            json!("eu"),
            "database eu, which does not exist",
        ),
        (
            "/listeners/http/0/routes/0/target/service",
            json!("x"),
            "service x, which does not exist",
        ),
        (
            "/databases/0/replicas/0/sight_address",
            json!("a:b"),
            "a:b is not an address",
        ),
    ];
    for (path, value, expected) in rows {
        let mut wrong = example();
        *wrong.pointer_mut(path).expect("path") = value;
        let error = read(wrong).expect_err(path);
        assert!(error.contains(expected), "{path}: {error}");
    }
    let mut wrong = example();
    wrong["limits"] = json!({"hold_requests": 0});
    assert_eq!(
        read(wrong).expect_err("limit"),
        "limit hold_requests must not be 0"
    );
}

#[test]
fn a_service_that_is_not_placed_yet_is_no_reason_to_refuse_the_others() {
    let mut early = example();
    early["services"][0]["instances"] = json!([]);
    read(early).expect("good");
}

#[test]
fn a_torn_snapshot_at_any_length_gives_way_to_the_last_good_one() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("gateway.json");
    let text = example().to_string();
    std::fs::write(&path, &text).expect("write");
    load(&path).expect("good");
    for length in (0..text.len()).step_by(37) {
        std::fs::write(&path, &text[..length]).expect("write");
        let (config, error) = load_or_last_good(&path).expect("the copy is good");
        assert_eq!(config.snapshot.generation, 7);
        assert!(matches!(error, Some(ConfigError::Parse(..))), "{error:?}");
    }
    std::fs::write(last_good_path(&path), "{}").expect("write");
    assert!(
        load_or_last_good(&path).is_err(),
        "two bad ones are not served"
    );
}

#[test]
fn a_share_is_all_unless_one_is_told() {
    let share = |config: Result<Config, String>| {
        let routing = config.expect("good").routing;
        routing.services[0].instances[0].share
    };
    assert_eq!(share(read(example())), 100);
    for (told, taken) in [(0, 0), (30, 30), (200, 100)] {
        let mut snapshot = example();
        snapshot["services"][0]["instances"][0]["share"] = json!(told);
        assert_eq!(share(read(snapshot)), taken, "{told}");
    }
}
