//! The snapshot that a gateway is started with, as JSON.

use mainstay_record::gateway::{GatewayLimits, GatewaySnapshot};

const EXAMPLE: &str = r#"{"version":1,"generation":1,"gateway":"front","host":"a","region":"r",
    "run_folder":"/run/x","listeners":{"http":[{"name":"public","address":"127.0.0.1:1","routes":[
    {"name":"cells","path_prefix":"/v1/cells","target":{"cell":{"key":{"path_part":2},
    "cells":[{"values":["us"],"database":"us","service":"venue-us"}]}}},
    {"name":"web","path_prefix":"/","target":{"service":"web"}}]}],
    "tcp":[{"name":"sql","address":"127.0.0.1:2","database":"us","role":"primary"}]}}"#;

#[test]
fn a_short_snapshot_reads_and_the_rest_has_defaults() {
    let snapshot: GatewaySnapshot = serde_json::from_str(EXAMPLE).expect("reads");
    assert_eq!(snapshot.limits, GatewayLimits::default());
    assert_eq!(snapshot.listeners.http[0].routes.len(), 2);
    let text = serde_json::to_string(&snapshot).expect("writes");
    assert_eq!(
        serde_json::from_str::<GatewaySnapshot>(&text).expect("reads again"),
        snapshot
    );
}

#[test]
fn an_unknown_field_is_refused() {
    let text = EXAMPLE.replacen("\"version\"", "\"colour\":1,\"version\"", 1);
    let error = serde_json::from_str::<GatewaySnapshot>(&text).expect_err("refused");
    assert!(error.to_string().contains("colour"), "{error}");
}
