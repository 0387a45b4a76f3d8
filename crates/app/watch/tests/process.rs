//! The watch as a process asks it: a target on a real socket, a real folder, and questions over real HTTP.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod shared;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use mainstay_promql::labels::Labels;
use mainstay_record::watch::{WatchConfig, WatchTarget};
use mainstay_samples::{Head, Limits};
use serde_json::json;
use shared::Watch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const RULES: &str = "
groups:
  - name: desk
    interval: 100ms
    rules:
      - {record: liquidity:double, expr: liquidity_usd * 2}
      - {alert: LowLiquidity, expr: liquidity_usd < 100, labels: {severity: page}, annotations: {summary: 'only {{ $value }}'}}
      - {alert: Down, expr: up == 0}
";

async fn target(phase: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = match phase.load(Ordering::SeqCst) {
                0 => {
                    "# HELP liquidity_usd What is there.\n# TYPE liquidity_usd gauge\nliquidity_usd{side=\"buy\"} 200\n"
                }
                1 => "liquidity_usd{side=\"buy\"} 5\n",
                // Cut off in the middle of a line.
                _ => "liquidity_usd{",
            };
            let mut request = [0; 2_048];
            let _asked = stream.read(&mut request).await.unwrap_or(0);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.ok();
        }
    });
    address
}

async fn start(folder: &Path, target: &str) -> Watch {
    let rules = folder.join("rules.yaml");
    std::fs::write(&rules, RULES).expect("written");
    let wrong = folder.join("wrong.yaml");
    std::fs::write(
        &wrong,
        "groups: [{name: x, rules: [{alert: A, expr: 'up =='}]}]",
    )
    .expect("written");
    let config = WatchConfig {
        rules: vec![rules, wrong],
        targets: vec![WatchTarget {
            job: "desk".to_owned(),
            instance: "here".to_owned(),
            address: target.to_owned(),
            name: None,
            path: "/metrics".to_owned(),
            labels: [("region".to_owned(), "r".to_owned())].into(),
            tls: None,
            token_file: None,
        }],
        ..shared::config(folder).await
    };
    shared::start(folder, &config)
}

#[tokio::test]
async fn an_alert_outlives_the_watch_and_missing_data_does_not_resolve_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let phase = Arc::new(AtomicUsize::new(1));
    let target = target(Arc::clone(&phase)).await;
    let watch = start(folder.path(), &target).await;
    let firing = watch.until_alert("LowLiquidity", false).await;
    assert_eq!(firing["annotations"]["summary"], "only 5");
    assert_eq!(firing["labels"]["severity"], "page");
    watch.end().await;
    // While nobody watches, the target breaks.
    phase.store(2, Ordering::SeqCst);
    let watch = start(folder.path(), &target).await;
    let missing = watch.until_alert("LowLiquidity", true).await;
    assert_eq!(missing["activeAt"], firing["activeAt"]);
    watch.until_alert("Down", false).await;
    let targets = watch
        .until("/api/v1/targets", |found| {
            found["data"]["activeTargets"][0]["silentSince"].is_string()
        })
        .await;
    assert_eq!(targets["data"]["activeTargets"][0]["health"], "down");
    phase.store(0, Ordering::SeqCst);
    watch
        .until("/api/v1/alerts", |found| {
            found["data"]["alerts"] == json!([])
        })
        .await;
    watch.end().await;
}

/// What was stored is later than the clock says, as after a clock that was wrong was set right: what is evaluated by such a
/// clock would be the past.
#[tokio::test]
async fn a_watch_whose_clock_was_set_back_says_so_and_resolves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let phase = Arc::new(AtomicUsize::new(1));
    let target = target(Arc::clone(&phase)).await;
    let watch = start(folder.path(), &target).await;
    watch.until_alert("LowLiquidity", false).await;
    let board = watch
        .until("/v1/board", |board| board["evaluated"] == true)
        .await;
    assert_eq!(board["troubles"], json!([]));
    watch.end().await;
    let samples = folder.path().join("own/samples");
    let (mut head, _) = Head::open(&samples, Limits::default()).expect("open");
    let up = Labels::of(&[("__name__", "up"), ("instance", "here"), ("job", "desk")]);
    let now = i64::try_from(mainstay_rt::clock::wall_ms()).expect("a moment");
    head.append([(&up, now + 3_600_000, 1.0)]).expect("stored");
    head.sync().expect("synced");
    drop(head);
    // It is well again, and this watch cannot know.
    phase.store(0, Ordering::SeqCst);
    let watch = start(folder.path(), &target).await;
    watch.until_alert("LowLiquidity", true).await;
    let board = watch.get("/v1/board").await.1;
    let trouble = board["troubles"][0].as_str().unwrap_or_default();
    assert!(trouble.contains("the clock of its host is 3"), "{board}");
    assert_eq!(board["evaluated"], false);
    watch.end().await;
}

/// What an instant query has now: the values, by what stands in this label.
async fn now(watch: &Watch, query: &str, label: &str) -> Vec<(String, String)> {
    let (status, found) = watch.get(&format!("/api/v1/query?query={query}")).await;
    assert_eq!(status, 200, "{query}: {found}");
    let result = found["data"]["result"].as_array().expect("a vector");
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let each = result.iter();
    each.map(|one| (word(&one["metric"][label]), word(&one["value"][1])))
        .collect()
}

#[tokio::test]
async fn a_target_that_is_asked_no_more_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = target(Arc::new(AtomicUsize::new(1))).await;
    let watch = start(folder.path(), &target).await;
    watch.until_alert("LowLiquidity", false).await;
    watch
        .until(
            "/api/v1/query?query=ALERTS%7Balertname=%22LowLiquidity%22%7D",
            |found| found["data"]["result"][0].is_object(),
        )
        .await;
    watch.end().await;
    // It stands elsewhere now, under another name.
    let path = folder.path().join("config.json");
    let text = std::fs::read(&path).expect("read");
    let mut config: WatchConfig = serde_json::from_slice(&text).expect("JSON");
    config.targets[0].instance = "there".to_owned();
    config.listen = Some(shared::free_address().await);
    let watch = shared::start(folder.path(), &config);
    let alone = |found: &serde_json::Value| {
        let all = found["data"]["alerts"].as_array();
        all.is_some_and(|all| all.len() == 1 && all[0]["labels"]["instance"] == "there")
    };
    watch.until("/api/v1/alerts", alone).await;
    let there = "there".to_owned();
    let up = now(&watch, "up", "instance").await;
    assert_eq!(up, [(there.clone(), "1".to_owned())]);
    for query in ["liquidity_usd", "liquidity:double", "ALERTS"] {
        let found = now(&watch, query, "instance").await;
        assert_eq!(
            found.iter().map(|(at, _)| at).collect::<Vec<_>>(),
            [&there],
            "{query}"
        );
    }
    let (_, board) = watch.get("/v1/board").await;
    let all = board["alerts"].as_array().expect("a list");
    let ended = all.iter().find(|one| one["labels"]["instance"] == "here");
    let ended = ended.expect("it is remembered for a while");
    assert_eq!(
        (&ended["state"], &ended["unasked"]),
        (&json!("resolved"), &json!(true))
    );
    watch.end().await;
}

#[tokio::test]
async fn what_rules_gave_ends_with_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = target(Arc::new(AtomicUsize::new(1))).await;
    let watch = start(folder.path(), &target).await;
    watch.until_alert("LowLiquidity", false).await;
    for query in ["liquidity:double", "ALERTS"] {
        let path = format!("/api/v1/query?query={query}");
        watch
            .until(&path, |found| found["data"]["result"][0].is_object())
            .await;
    }
    // One rule has another name, one is gone, one stays.
    let rules = folder.path().join("rules.yaml");
    let kept = RULES.replace("liquidity:double", "liquidity:twice");
    let kept: Vec<&str> = kept
        .lines()
        .filter(|line| !line.contains("LowLiquidity"))
        .collect();
    std::fs::write(&rules, kept.join("\n")).expect("written");
    let twice = "/api/v1/query?query=liquidity%3Atwice";
    watch
        .until(twice, |found| found["data"]["result"][0].is_object())
        .await;
    for query in ["liquidity:double", "ALERTS", "ALERTS_FOR_STATE"] {
        assert_eq!(now(&watch, query, "instance").await, [], "{query}");
    }
    // The whole group goes.
    std::fs::write(&rules, "groups: []").expect("written");
    watch
        .until(twice, |found| found["data"]["result"] == json!([]))
        .await;
    watch.end().await;
}

#[tokio::test]
async fn questions_are_answered_in_the_form_of_prometheus() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = target(Arc::default()).await;
    let watch = start(folder.path(), &target).await;
    answers(&watch).await;
    of_grafana(&watch).await;
    refusals(&watch).await;
    rules(&watch).await;
    watch.end().await;
}

async fn answers(watch: &Watch) {
    let double = "/api/v1/query?query=liquidity%3Adouble";
    let found = watch
        .until(double, |found| found["data"]["result"][0].is_object())
        .await;
    assert_eq!(found["data"]["resultType"], "vector");
    let labels = json!({ "__name__": "liquidity:double", "instance": "here", "job": "desk", "region": "r", "side": "buy" });
    assert_eq!(found["data"]["result"][0]["metric"], labels);
    assert_eq!(found["data"]["result"][0]["value"][1], "400");
    for (path, wanted) in [
        (
            "query?query=1%2B1&time=10",
            json!({ "resultType": "scalar", "result": [10, "2"] }),
        ),
        (
            "query?query=%22x%22&time=10.5",
            json!({ "resultType": "string", "result": [10.5, "x"] }),
        ),
        (
            "query_range?query=1&start=10&end=12&step=1",
            json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": [[10, "1"], [11, "1"], [12, "1"]] }] }),
        ),
        (
            "labels?match[]=liquidity_usd",
            json!(["__name__", "instance", "job", "region", "side"]),
        ),
        ("label/job/values", json!(["desk"])),
        (
            "label/__name__/values?match[]={side=\"buy\"}"
                .replace('"', "%22")
                .as_str(),
            json!(["liquidity:double", "liquidity_usd"]),
        ),
        (
            "series?match[]=up",
            json!([{ "__name__": "up", "instance": "here", "job": "desk", "region": "r" }]),
        ),
        ("series?match[]=up&end=1", json!([])),
        (
            "metadata?metric=liquidity_usd",
            json!({ "liquidity_usd": [{ "type": "gauge", "help": "What is there.", "unit": "" }] }),
        ),
        ("alerts", json!({ "alerts": [] })),
    ] {
        let (status, found) = watch
            .get(
                &format!("/api/v1/{path}")
                    .replace("{", "%7B")
                    .replace("}", "%7D"),
            )
            .await;
        assert_eq!(
            (status, &found["status"], &found["data"]),
            (200, &json!("success"), &wanted),
            "{path}"
        );
    }
    let posted = watch
        .ask(Method::POST, "/api/v1/query", "query=1%2B1&time=10")
        .await;
    assert_eq!(
        posted.expect("an answer").1["data"]["result"],
        json!([10, "2"])
    );
}

/// What Grafana asks besides.
async fn of_grafana(watch: &Watch) {
    for (path, wanted) in [
        (
            "format_query?query=sum(up)by(job)",
            json!("sum by (job) (up)"),
        ),
        ("query_exemplars?query=up", json!([])),
        ("status/flags", json!({})),
        ("status/config", json!({ "yaml": "" })),
    ] {
        let (status, found) = watch.get(&format!("/api/v1/{path}")).await;
        assert_eq!((status, &found["data"]), (200, &wanted), "{path}: {found}");
    }
    let (_, told) = watch.get("/api/v1/status/tsdb").await;
    let series = told["data"]["headStats"]["numSeries"].as_u64();
    assert!(series.is_some_and(|count| count > 0), "{told}");
}

async fn refusals(watch: &Watch) {
    for (path, status, kind) in [
        ("query?query=up%20%3D%3D", 400, "bad_data"),
        ("query?query=1&time=tomorrow", 400, "bad_data"),
        ("format_query?query=up%20%3D%3D", 400, "bad_data"),
        ("query_exemplars?query=up%20%3D%3D", 400, "bad_data"),
        ("query_range?query=1&start=10&end=9&step=1", 400, "bad_data"),
        (
            "query_range?query=1&start=0&end=11001&step=1",
            400,
            "bad_data",
        ),
        ("query_range?query=1&start=0&end=1&step=0", 400, "bad_data"),
        ("series", 400, "bad_data"),
        ("series?match[]=rate(up[1m])", 400, "bad_data"),
        (
            "query?query=label_replace(up,%22a%22,%22b%22,%22job%22,%22(%22)",
            422,
            "execution",
        ),
        ("nothing", 404, "not_found"),
    ] {
        let (found, body) = watch.get(&format!("/api/v1/{path}")).await;
        assert_eq!(
            (found, &body["errorType"]),
            (status, &json!(kind)),
            "{path}: {body}"
        );
        assert!(
            body["error"].as_str().is_some_and(|why| !why.is_empty()),
            "{path}"
        );
    }
}

async fn rules(watch: &Watch) {
    let (_, rules) = watch.get("/api/v1/rules").await;
    let group = &rules["data"]["groups"][0];
    assert_eq!(
        (&group["name"], &group["interval"]),
        (&json!("desk"), &json!(0.1))
    );
    assert_eq!(group["rules"][0]["type"], "recording");
    assert_eq!(
        (&group["rules"][1]["health"], &group["rules"][1]["state"]),
        (&json!("ok"), &json!("inactive"))
    );
    let refused = rules["data"]["refused"][0]["error"]
        .as_str()
        .expect("a reason");
    assert!(refused.contains("wrong.yaml:1:"), "{refused}");
    assert_eq!(watch.get("/-/healthy").await.0, 200);
    assert_eq!(watch.get("/api/v1/status/buildinfo").await.0, 200);
    let (_, told) = watch.get("/api/v1/status/runtimeinfo").await;
    assert_eq!(told["data"]["reloadConfigSuccess"], false, "{told}");
}
