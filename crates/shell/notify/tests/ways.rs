//! Every way against a server of this test that speaks its protocol: what is said, how it is signed, what comes of answers.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use mainstay_messenger::{Sent, send};
use mainstay_model::oncall::{Email, EmailTls, Way};
use mainstay_notify::{Addressee, Kind, Notice, Severity};
use mainstay_rt::clock;
use serde_json::{Value, json};
use sha2::Sha256;

fn notice(kind: Kind) -> Notice {
    Notice {
        number: 7,
        attempt: 1,
        incident: "i3".to_owned(),
        kind,
        to: Addressee {
            channel: "desk".to_owned(),
            who: Some("ada".to_owned()),
        },
        severity: Severity::Critical,
        title: "the ledger has <no> primary & nobody knows why: größer".to_owned(),
        text: "level 1, round 1".to_owned(),
        things: ["database/ledger".to_owned()].into(),
        open_ms: 1_793_606_400_000,
    }
}

fn run(way: &Way, kind: Kind) -> Sent {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(send(way, "exchange", &notice(kind)))
}

fn secret(folder: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&path, mode).expect("set");
    path.display().to_string()
}

#[derive(Clone, Debug)]
struct Request {
    at_ms: u64,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Answers in this order, the last one again and again; nothing at all for an empty one.
fn server(answers: Vec<&'static str>) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writes = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut left = answers.into_iter().peekable();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Some(request) = read(&stream) else {
                continue;
            };
            writes.lock().expect("a lock").push(request);
            let answer = left.next().unwrap_or_default();
            if left.peek().is_none() {
                left = vec![answer].into_iter().peekable();
            }
            if !answer.is_empty() {
                let (head, body) = answer.split_once('|').unwrap_or((answer, ""));
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(text.as_bytes()).ok();
            }
        }
    });
    (url, seen)
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        at_ms: clock::wall_ms(),
        path,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}

fn taken(seen: &Arc<Mutex<Vec<Request>>>) -> Vec<Request> {
    seen.lock().expect("a lock").clone()
}

fn body(request: &Request) -> Value {
    serde_json::from_str(&request.body).expect("JSON")
}

#[test]
fn a_webhook_is_signed_and_names_its_notice() {
    let folder = tempfile::tempdir().expect("a folder");
    let (url, seen) = server(vec!["204 No Content"]);
    let way = Way::Webhook {
        url: format!("{url}/hook"),
        secret_file: secret(folder.path(), "key", "s3cret\n", 0o600),
    };
    assert!(matches!(run(&way, Kind::Trigger), Sent::Said { .. }));
    let requests = taken(&seen);
    let request = &requests[0];
    assert_eq!((requests.len(), request.path.as_str()), (1, "/hook"));
    let signature = &request.headers["mainstay-signature"];
    let (at, given) = signature
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(",v1="))
        .expect("the form of a signature");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").expect("a key");
    mac.update(format!("{at}.{}", request.body).as_bytes());
    let bytes = mac.finalize().into_bytes();
    let wanted: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(given, wanted);
    assert_eq!(
        request.headers["mainstay-notice"],
        "exchange/1793606400000/7"
    );
    let body = body(request);
    assert_eq!(
        (&body["incident"], &body["kind"]),
        (&json!("i3"), &json!("trigger"))
    );
    assert!(!request.body.contains("s3cret"));
}

/// Of an answer that never ends the beginning is enough.
#[test]
fn an_answer_without_an_end_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        read(&stream).expect("a request");
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
        stream.write_all(head.as_bytes()).ok();
        let words = [b'x'; 1 << 10];
        // Until whoever asked has heard enough.
        while stream.write_all(&words).is_ok() {}
    });
    let way = Way::Webhook {
        url,
        secret_file: secret(folder.path(), "key", "k", 0o600),
    };
    let sent = run(&way, Kind::Trigger);
    let Sent::Said { detail } = sent else {
        panic!("{sent:?}");
    };
    assert!(detail.starts_with("200 OK: xxx"), "{detail}");
    server.join().expect("the server ends");
}

#[test]
fn too_many_requests_and_faults_of_the_server_are_knocked_again_and_other_refusals_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = secret(folder.path(), "key", "k", 0o600);
    let hook = |url: String| Way::Webhook {
        url,
        secret_file: key.clone(),
    };
    let (url, seen) = server(vec![
        "429 Too Many Requests\r\nretry-after: 2",
        "503 Service Unavailable",
        "200 OK",
    ]);
    assert!(matches!(run(&hook(url), Kind::Trigger), Sent::Said { .. }));
    let requests = taken(&seen);
    assert_eq!(requests.len(), 3);
    let waited_ms = requests[1].at_ms.saturating_sub(requests[0].at_ms);
    assert!(waited_ms >= 1_900, "Retry-After counts: {waited_ms} ms");
    assert_eq!(requests[0].body, requests[2].body, "the same notice");

    let (url, seen) = server(vec!["429 Too Many Requests\r\nretry-after: 3600"]);
    assert!(matches!(run(&hook(url), Kind::Trigger), Sent::Later { .. }));
    assert_eq!(taken(&seen).len(), 1, "nobody waits for an hour");

    let (url, seen) = server(vec!["400 Bad Request|{\"message\": \"no\"}"]);
    let sent = run(&hook(url), Kind::Trigger);
    assert_eq!(
        sent,
        Sent::Refused {
            why: "400 Bad Request: no".to_owned()
        }
    );
    assert_eq!(taken(&seen).len(), 1);

    let (url, seen) = server(vec!["302 Found\r\nlocation: http://127.0.0.1:1/"]);
    assert!(matches!(
        run(&hook(url), Kind::Trigger),
        Sent::Refused { .. }
    ));
    assert_eq!(taken(&seen).len(), 1, "a secret goes nowhere else");

    let (url, seen) = server(vec![""]);
    assert!(matches!(run(&hook(url), Kind::Trigger), Sent::Later { .. }));
    assert_eq!(taken(&seen).len(), 3);
}

#[test]
fn slack_gets_text_with_its_own_marks_escaped_and_its_url_is_never_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (url, seen) = server(vec!["200 OK|ok"]);
    let url_file = secret(folder.path(), "url", &format!("{url}/T0/B0/hidden"), 0o600);
    let way = Way::Slack { url_file };
    assert!(matches!(run(&way, Kind::Trigger), Sent::Said { .. }));
    let text = body(&taken(&seen)[0])["text"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(
        text.contains("&lt;no&gt; primary &amp; nobody") && text.contains("größer"),
        "{text}"
    );
    assert!(text.contains("mainstay incident acknowledge i3"), "{text}");

    let nobody = "http://127.0.0.1:1/T0/B0/hidden";
    let url_file = secret(folder.path(), "gone", nobody, 0o600);
    let Sent::Later { why } = run(&Way::Slack { url_file }, Kind::Trigger) else {
        panic!("nobody listens there");
    };
    assert!(!why.contains("hidden"), "{why}");
}

#[test]
fn pagerduty_gets_one_incident_with_its_whole_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let (url, seen) = server(vec!["202 Accepted|{\"status\":\"success\"}"]);
    let way = Way::Pagerduty {
        key_file: secret(folder.path(), "key", "R0UT1NG", 0o600),
        url: format!("{url}/v2/enqueue"),
    };
    for kind in [
        Kind::Trigger,
        Kind::Update,
        Kind::Acknowledge,
        Kind::Resolve,
    ] {
        assert!(matches!(run(&way, kind), Sent::Said { .. }));
    }
    let bodies: Vec<Value> = taken(&seen).iter().map(body).collect();
    let actions: Vec<&str> = bodies
        .iter()
        .filter_map(|body| body["event_action"].as_str())
        .collect();
    assert_eq!(actions, ["trigger", "trigger", "acknowledge", "resolve"]);
    let key = json!("mainstay/exchange/i3/1793606400000");
    assert!(
        bodies
            .iter()
            .all(|body| body["dedup_key"] == key && body["routing_key"] == "R0UT1NG")
    );
    let payload = &bodies[0]["payload"];
    assert_eq!(
        (&payload["severity"], &payload["source"]),
        (&json!("critical"), &json!("exchange"))
    );
    assert!(
        payload["summary"]
            .as_str()
            .is_some_and(|text| text.len() <= 1_024)
    );
    assert!(bodies[2].get("payload").is_none());
}

#[test]
fn a_secret_that_others_can_read_or_that_is_not_there_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (url, seen) = server(vec!["200 OK"]);
    let open = secret(folder.path(), "open", "k", 0o644);
    let empty = secret(folder.path(), "empty", "\n", 0o600);
    let none = folder.path().join("none").display().to_string();
    for (secret_file, wanted) in [
        (open, "mode 0600"),
        (empty, "no secret"),
        (none, "read the secret"),
    ] {
        let url = url.clone();
        let Sent::Refused { why } = run(&Way::Webhook { url, secret_file }, Kind::Trigger) else {
            panic!("it was used");
        };
        assert!(why.contains(wanted), "{why}");
    }
    assert!(taken(&seen).is_empty());
}

/// What a mail server heard; it offers and answers as a real one.
fn mail_server(
    tls: Option<Arc<rustls::ServerConfig>>,
    refuses: Option<&'static str>,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("an address").port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let writes = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut plain = BufReader::new(stream);
            let secured = serve_mail(&mut plain, true, tls.is_some(), refuses, &writes);
            if let (Some(true), Some(tls)) = (secured, &tls) {
                let connection = rustls::ServerConnection::new(Arc::clone(tls)).expect("TLS");
                let stream = rustls::StreamOwned::new(connection, plain.into_inner());
                serve_mail(&mut BufReader::new(stream), false, false, refuses, &writes);
            }
        }
    });
    (format!("localhost:{port}"), heard)
}

/// `Some(true)` where the client turned to TLS.
fn serve_mail<S: Read + Write>(
    stream: &mut BufReader<S>,
    greets: bool,
    offers: bool,
    refuses: Option<&str>,
    heard: &Arc<Mutex<Vec<String>>>,
) -> Option<bool> {
    let say = |stream: &mut BufReader<S>, text: &str| {
        stream
            .get_mut()
            .write_all(text.as_bytes())
            .and_then(|()| stream.get_mut().flush())
    };
    if greets {
        say(stream, "220 mail.test ESMTP\r\n").ok()?;
    }
    let mut in_data = false;
    // Answers of the dialogue by which some let people in.
    let mut dialogue = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        heard.lock().expect("a lock").push(line.clone());
        if in_data {
            if line == "." {
                in_data = false;
                say(stream, "250 2.0.0 queued as 42\r\n").ok()?;
            }
            continue;
        }
        if let Some(answer) = refuses.and_then(|refuses| refuses.split_once('>'))
            && line.starts_with(answer.0)
        {
            say(stream, &format!("{}\r\n", answer.1)).ok()?;
            continue;
        }
        if let Some(answer) = dialogue.pop() {
            say(stream, answer).ok()?;
            continue;
        }
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" if offers => "250-mail.test\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n",
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN\r\n",
            "STARTTLS" => {
                say(stream, "220 go on\r\n").ok()?;
                return Some(true);
            }
            "AUTH" if line == "AUTH LOGIN" => {
                dialogue = vec!["235 welcome\r\n", "334 UGFzc3dvcmQ6\r\n"];
                "334 VXNlcm5hbWU6\r\n"
            }
            "AUTH" => "235 welcome\r\n",
            "DATA" => {
                in_data = true;
                "354 end with a dot\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        say(stream, answer).ok()?;
    }
}

fn mail(server: String) -> Email {
    Email {
        to: vec!["ada@example.org".to_owned(), "desk@example.org".to_owned()],
        from: "mainstay@example.org".to_owned(),
        server,
        tls: EmailTls::Off,
        authority_file: None,
        user: None,
        password_file: None,
    }
}

#[test]
fn mail_is_a_message_that_every_server_takes() {
    let (server, heard) = mail_server(None, None);
    let sent = run(&Way::Email(mail(server)), Kind::Trigger);
    assert_eq!(
        sent,
        Sent::Said {
            detail: "2.0.0 queued as 42".to_owned()
        }
    );
    let heard = heard.lock().expect("a lock").clone();
    for wanted in [
        "MAIL FROM:<mainstay@example.org>",
        "RCPT TO:<ada@example.org>",
        "RCPT TO:<desk@example.org>",
        "Message-ID: <notice.exchange.1793606400000.7@example.org>",
    ] {
        assert!(
            heard.iter().any(|line| line == wanted),
            "{wanted}: {heard:#?}"
        );
    }
    assert!(
        heard.iter().all(|line| line.is_ascii() && line.len() <= 78),
        "{heard:#?}"
    );
    let empty = heard.iter().position(String::is_empty).expect("a body");
    let end = heard.iter().position(|line| line == ".").expect("an end");
    let body = BASE64
        .decode(heard[empty + 1..end].concat())
        .expect("base64");
    let text = String::from_utf8(body).expect("text");
    assert!(
        text.contains("größer") && text.contains("about: database/ledger"),
        "{text}"
    );
}

#[test]
fn a_mail_server_that_refuses_for_now_is_asked_later_and_one_that_refuses_is_not() {
    let (server, _) = mail_server(None, Some("RCPT>451 4.7.1 try later"));
    assert!(matches!(
        run(&Way::Email(mail(server)), Kind::Trigger),
        Sent::Later { .. }
    ));
    let (server, _) = mail_server(None, Some("RCPT>550 5.1.1 unknown"));
    let sent = run(&Way::Email(mail(server)), Kind::Trigger);
    let Sent::Refused { why } = sent else {
        panic!("{sent:?}");
    };
    assert!(
        why.contains("550") && why.contains("5.1.1 unknown"),
        "{why}"
    );
}

#[test]
fn a_password_is_given_in_the_way_that_the_server_offers() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = secret(folder.path(), "password", "pa55", 0o600);
    for (offer, wanted) in [
        (
            "AUTH LOGIN PLAIN",
            Some(vec!["AUTH PLAIN AG1haW5zdGF5AHBhNTU="]),
        ),
        ("8BITMIME", None),
        (
            "AUTH LOGIN",
            Some(vec!["AUTH LOGIN", "bWFpbnN0YXk=", "cGE1NQ=="]),
        ),
        ("AUTH CRAM-MD5", None),
    ] {
        let hello: &'static str = format!("EHLO>250-mail.test\r\n250 {offer}").leak();
        let (server, heard) = mail_server(None, Some(hello));
        let email = Email {
            user: Some("mainstay".to_owned()),
            password_file: Some(password.clone()),
            ..mail(server)
        };
        let sent = run(&Way::Email(email), Kind::Trigger);
        let lines = heard.lock().expect("a lock").clone();
        let begin = lines.iter().position(|line| line.starts_with("AUTH"));
        match wanted {
            Some(wanted) => {
                assert!(matches!(sent, Sent::Said { .. }), "{offer}: {sent:?}");
                let begin = begin.expect("a proof");
                assert_eq!(lines[begin..begin + wanted.len()], wanted, "{offer}");
            }
            None => {
                let Sent::Refused { why } = sent else {
                    panic!("{offer}: {sent:?}");
                };
                assert!(why.contains("authentication mechanism"), "{why}");
                assert_eq!(begin, None);
            }
        }
    }
}

#[test]
fn a_password_goes_over_tls_alone_and_only_to_whoever_proves_the_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let authority = secret(folder.path(), "ca.pem", &certified.cert.pem(), 0o644);
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.expect("a key"))
        .expect("a server");
    let (server, heard) = mail_server(Some(Arc::new(config)), None);
    let email = Email {
        tls: EmailTls::Starttls,
        authority_file: Some(authority),
        user: Some("mainstay".to_owned()),
        password_file: Some(secret(folder.path(), "password", "pa55", 0o600)),
        ..mail(server)
    };
    let sent = run(&Way::Email(email.clone()), Kind::Trigger);
    assert!(matches!(sent, Sent::Said { .. }), "{sent:?}");
    let lines = heard.lock().expect("a lock").clone();
    let turned = lines
        .iter()
        .position(|line| line == "STARTTLS")
        .expect("it turned");
    let proof = format!("AUTH PLAIN {}", BASE64.encode("\0mainstay\0pa55"));
    let proven = lines
        .iter()
        .position(|line| *line == proof)
        .expect("it proved itself");
    assert!(proven > turned);

    let stranger = Email {
        authority_file: None,
        ..email.clone()
    };
    let sent = run(&Way::Email(stranger), Kind::Trigger);
    assert!(!matches!(sent, Sent::Said { .. }), "{sent:?}");
    let (clear, heard) = mail_server(None, None);
    let clear = Email {
        server: clear,
        ..email
    };
    let Sent::Refused { why } = run(&Way::Email(clear), Kind::Trigger) else {
        panic!("it was sent in the clear");
    };
    assert!(why.contains("STARTTLS is not supported"), "{why}");
    assert!(
        !heard
            .lock()
            .expect("a lock")
            .iter()
            .any(|line| line.starts_with("AUTH"))
    );
}
