//! Targets over real sockets: good ones, silent ones, and ones that answer nonsense.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_scrape::exposition::Limits;
use mainstay_scrape::target::{STALE, Silence};
use mainstay_scraper::{Account, Endpoint, NoAnswer, Reach, ask, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A target that gives the answer of its phase. An empty answer is none: the connection stays open and
/// nothing comes.
async fn target(phase: Arc<AtomicUsize>, answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answers
                .get(phase.load(Ordering::SeqCst))
                .cloned()
                .unwrap_or_default();
            let mut request = [0; 2_048];
            let read = stream.read(&mut request).await.unwrap_or(0);
            assert!(String::from_utf8_lossy(&request[..read]).contains("openmetrics-text"));
            stream.write_all(answer.as_bytes()).await.ok();
            if answer.is_empty() {
                held.push(stream);
            }
        }
    });
    address
}

/// One that always says the same.
async fn steady(answer: String) -> String {
    target(Arc::default(), vec![answer]).await
}

fn http(kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn endpoint(address: String) -> Endpoint {
    Endpoint {
        labels: vec![
            ("instance".to_owned(), address.clone()),
            ("job".to_owned(), "j".to_owned()),
        ],
        reach: Reach::Tcp(address),
        token_file: None,
        path: "/metrics".to_owned(),
        honor_labels: false,
        interval: Duration::from_millis(300),
        timeout: Duration::from_secs(20),
        limits: Limits::default(),
    }
}

fn value(account: &Account, name: &str) -> Option<f64> {
    let named =
        |labels: &Vec<(String, String)>| labels.iter().any(|(n, v)| n == "__name__" && v == name);
    account
        .writes
        .iter()
        .find(|write| named(&write.labels))
        .map(|write| write.value)
}

#[tokio::test]
async fn both_formats_are_read_by_what_the_target_says() {
    let text = steady(http("text/plain; version=0.0.4", "a 1\n")).await;
    assert_eq!(
        ask(&endpoint(text)).await.expect("an answer").samples.len(),
        1
    );
    let open = "application/openmetrics-text; version=1.0.0";
    let whole = steady(http(open, "a 1\n# EOF\n")).await;
    assert_eq!(
        ask(&endpoint(whole))
            .await
            .expect("an answer")
            .samples
            .len(),
        1
    );
    let cut = steady(http(open, "a 1\n")).await;
    assert!(matches!(
        ask(&endpoint(cut)).await,
        Err(NoAnswer::Unreadable(_))
    ));
}

#[tokio::test]
async fn an_answer_is_bounded_in_size_and_time() {
    let long = steady(http("text/plain", &"a 1\n".repeat(1_000))).await;
    let mut small = endpoint(long);
    small.limits.bytes = 100;
    assert!(matches!(ask(&small).await, Err(NoAnswer::Body(_))));
    let mut silent = endpoint(steady(String::new()).await);
    silent.timeout = Duration::from_millis(50);
    assert!(matches!(ask(&silent).await, Err(NoAnswer::Late(_))));
    let refused = steady("HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    assert!(matches!(
        ask(&endpoint(refused)).await,
        Err(NoAnswer::Status(_))
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let gone = listener.local_addr().expect("an address").to_string();
    drop(listener);
    assert!(matches!(
        ask(&endpoint(gone)).await,
        Err(NoAnswer::Connect(_))
    ));
}

/// Waits for an account of this kind, and tells what was last said of `a` until then.
async fn until(
    accounts: &mut mpsc::Receiver<Account>,
    last: &mut Option<f64>,
    wanted: impl Fn(&Account) -> bool,
) -> Account {
    loop {
        let account = accounts.recv().await.expect("an account");
        *last = value(&account, "a").or(*last);
        if wanted(&account) {
            return account;
        }
    }
}

#[tokio::test]
async fn a_target_that_stops_is_down_its_series_end_and_its_silence_is_reported() {
    let phase = Arc::new(AtomicUsize::new(0));
    let address = target(
        Arc::clone(&phase),
        vec![
            http("text/plain", "a 1\nb 2\n"),
            http("text/plain", "a 1\n"),
            "HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ],
    )
    .await;
    let (sender, mut accounts) = mpsc::channel(1);
    let running = tokio::spawn(run(vec![endpoint(address)], sender));
    let mut last = None;
    let is = |name: &'static str, wanted: f64| {
        move |account: &Account| value(account, name).map(f64::to_bits) == Some(wanted.to_bits())
    };
    until(&mut accounts, &mut last, is("b", 2.0)).await;
    phase.store(1, Ordering::SeqCst);
    until(&mut accounts, &mut last, is("b", f64::from_bits(STALE))).await;
    until(&mut accounts, &mut last, is("up", 1.0)).await;
    phase.store(2, Ordering::SeqCst);
    let down = until(&mut accounts, &mut last, |account| {
        account.silence != Silence::Heard && value(account, "up") == Some(0.0)
    })
    .await;
    assert!(down.problem.is_some());
    assert_eq!(last.map(f64::to_bits), Some(STALE));
    running.abort();
}
