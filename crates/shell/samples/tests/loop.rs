//! The parts of the watch together, on a real socket and a real disk: a target is asked, its samples are kept,
//! rules are evaluated over them, and an alert goes its way: it fires, it is missing when nobody measures
//! any more, and a restart in between changes nothing.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_promql::ast::Expr;
use mainstay_promql::eval::Options;
use mainstay_promql::labels::Labels;
use mainstay_rules::alert::State;
use mainstay_rules::file::{Group, read};
use mainstay_rules::group::{
    Given, Memory, Storage, Surroundings, Unanswered, Write, evaluate, measured,
};
use mainstay_samples::{Head, Limits};
use mainstay_scraper::{Account, Endpoint, Reach, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The store as rules write to it.
struct Desk(Head);

impl Storage for Desk {
    fn ask(&self, expr: &Expr, at: i64, options: &Options) -> Result<Given, Unanswered> {
        measured(expr, &self.0, at, options)
    }

    fn write(&mut self, writes: &[Write]) {
        let floats = writes.iter().filter_map(|write| {
            let value = write.value.float()?;
            Some((&write.labels, write.at, value))
        });
        self.0.append(floats).expect("stored");
    }
}

async fn target(phase: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = match phase.load(Ordering::SeqCst) {
                0 => "liquidity_usd 200000\n",
                1 => "liquidity_usd 5\n",
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

const RULES: &str = "
groups:
  - name: desk
    rules:
      - {alert: LowLiquidity, expr: liquidity_usd < 100000, labels: {severity: page}}
      - {alert: Down, expr: up == 0}
";

fn open(folder: &Path) -> Desk {
    Desk(Head::open(folder, Limits::default()).expect("open").0)
}

fn state(group: &Group, memory: &Memory, name: &str) -> Option<State> {
    memory
        .alerts(group)
        .find(|(rule, _)| rule.name() == name)
        .map(|(_, alert)| alert.state)
}

/// Stores and evaluates until the alert is in this state.
async fn until(
    accounts: &mut mpsc::Receiver<Account>,
    desk: &mut Desk,
    (group, memory): (&Group, &mut Memory),
    (name, wanted): (&str, Option<State>),
) {
    loop {
        let account = accounts.recv().await.expect("an account");
        let mut now = 0;
        for write in account.writes {
            now = now.max(write.at);
            desk.0
                .append([(&Labels::shared(write.labels), write.at, write.value)])
                .expect("stored");
        }
        evaluate(group, memory, desk, now, &Surroundings::default());
        if state(group, memory, name) == wanted {
            return;
        }
    }
}

#[tokio::test]
async fn an_alert_goes_its_way_from_a_socket_to_a_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let group = read("desk.yml", RULES).expect("valid").remove(0);
    let mut memory = Memory::new(&group);
    let mut desk = open(folder.path());
    let phase = Arc::new(AtomicUsize::new(0));
    let address = target(Arc::clone(&phase)).await;
    let endpoint = Endpoint {
        labels: vec![
            ("instance".to_owned(), address.clone()),
            ("job".to_owned(), "desk".to_owned()),
        ],
        reach: Reach::Tcp(address),
        path: "/metrics".to_owned(),
        token_file: None,
        honor_labels: false,
        interval: Duration::from_millis(300),
        timeout: Duration::from_secs(10),
        limits: mainstay_scrape::exposition::Limits::default(),
    };
    let (sender, mut accounts) = mpsc::channel(1);
    let running = tokio::spawn(run(vec![endpoint], sender));
    until(
        &mut accounts,
        &mut desk,
        (&group, &mut memory),
        ("Down", None),
    )
    .await;
    phase.store(1, Ordering::SeqCst);
    let firing = ("LowLiquidity", Some(State::Firing));
    until(&mut accounts, &mut desk, (&group, &mut memory), firing).await;
    // Another process goes on with what is on disk.
    let saved = serde_json::to_string(&memory.save(&group)).expect("written");
    drop((desk, memory));
    let mut memory = Memory::restore(&group, &serde_json::from_str(&saved).expect("read"));
    let mut desk = open(folder.path());
    assert_eq!(state(&group, &memory, "LowLiquidity"), Some(State::Firing));
    phase.store(2, Ordering::SeqCst);
    let down = ("Down", Some(State::Firing));
    until(&mut accounts, &mut desk, (&group, &mut memory), down).await;
    assert_eq!(state(&group, &memory, "LowLiquidity"), Some(State::Missing));
    phase.store(0, Ordering::SeqCst);
    let resolved = ("LowLiquidity", Some(State::Resolved));
    until(&mut accounts, &mut desk, (&group, &mut memory), resolved).await;
    running.abort();
}
