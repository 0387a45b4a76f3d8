//! Calls against a server of this test: what is sent, and what is known of it afterwards.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_caller::{Called, call};
use mainstay_playbook::{Call, Method};

type Asked = Arc<Mutex<Vec<String>>>;

/// Serves one connection after the other with this text, and keeps what was asked. An empty one closes it.
fn server(answer: &'static str) -> (String, Asked) {
    let (port, asked) = serve(answer, |stream| stream);
    (format!("http://127.0.0.1:{port}"), asked)
}

/// The same behind TLS, with a certificate of its own for `localhost`.
fn tls_server(answer: &'static str) -> (String, String, Asked) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.expect("a key"))
        .expect("a server");
    let config = Arc::new(config);
    let (port, asked) = serve(answer, move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("TLS");
        rustls::StreamOwned::new(connection, stream)
    });
    (
        format!("https://localhost:{port}"),
        certified.cert.pem(),
        asked,
    )
}

fn serve<S: Read + Write>(
    answer: &'static str,
    wrap: impl Fn(TcpStream) -> S + Send + 'static,
) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let asked = Asked::default();
    let keeps = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(wrap(stream));
            // Whoever does not believe us says nothing.
            if let Some(request) = request(&mut reader) {
                keeps.lock().expect("a lock").push(request);
                reader.get_mut().write_all(answer.as_bytes()).ok();
                reader.get_mut().flush().ok();
            }
        }
    });
    (port, asked)
}

fn request(reader: &mut impl BufRead) -> Option<String> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&lower);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).ok()?)
}

fn to(url: &str) -> Call {
    Call {
        host: "h1".to_owned(),
        url: format!("{url}/hooks/x?a=b"),
        method: Method::Post,
        body: Some("{\"a\": 1}".to_owned()),
        headers_file: None,
        authority_file: None,
        expect: (200, 299),
    }
}

fn run(what: &Call) -> Called {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(call(what, "journal/r1/call", Duration::from_secs(5)))
}

fn secrets(folder: &Path, text: &str, mode: u32) -> String {
    let path = folder.join("headers");
    std::fs::write(&path, text).expect("written");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&path, mode).expect("set");
    path.display().to_string()
}

#[test]
fn it_bears_its_name_and_the_headers_of_a_file_that_nobody_else_reads() {
    let (url, asked) = server("HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\nwell");
    let folder = tempfile::tempdir().expect("a folder");
    let lines = "# who asks\nAuthorization: Bearer hush\n\nX-Team: night\n";
    let file = secrets(folder.path(), lines, 0o600);
    let with = Call {
        headers_file: Some(file.clone()),
        ..to(&url)
    };
    let detail = "202 Accepted; it said: well".to_owned();
    assert_eq!(run(&with), Called::Done { detail });
    let seen = asked.lock().expect("a lock").join("");
    for wanted in [
        "post /hooks/x?a=b http/1.1",
        "idempotency-key: journal/r1/call",
        "authorization: bearer hush",
        "x-team: night",
        "content-type: application/json",
        "{\"a\": 1}",
    ] {
        assert!(seen.contains(wanted), "{wanted}: {seen}");
    }
    for (lines, mode, why) in [
        (lines, 0o640, "mode 0600"),
        ("no header", 0o600, "line 1 is no header"),
        ("Idempotency-Key: mine", 0o600, "which the call sets itself"),
    ] {
        secrets(folder.path(), lines, mode);
        let Called::Refused { why: told } = run(&with) else {
            panic!("{lines} was taken");
        };
        assert!(told.contains(why) && !told.contains("hush"), "{told}");
    }
    assert_eq!(asked.lock().expect("a lock").len(), 1, "called once");
}

#[test]
fn what_is_not_known_is_told_as_such_and_nothing_is_asked_twice() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let done = |called: &Called| matches!(called, Called::Done { .. });
    let refused = |called: &Called| matches!(called, Called::Refused { .. });
    let unknown = |called: &Called| matches!(called, Called::Unknown { .. });
    type Case<'a> = (&'static str, &'a dyn Fn(&Called) -> bool);
    let cases: [Case<'_>; 6] = [
        ("HTTP/1.1 204 No Content\r\n\r\n", &done),
        (moved, &refused),
        (
            "HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n",
            &refused,
        ),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", &unknown),
        // It had the question, and went away.
        ("", &unknown),
        ("garbage\r\n\r\n", &unknown),
    ];
    for (answer, fits) in cases {
        let (url, asked) = server(answer);
        let called = run(&to(&url));
        assert!(fits(&called), "{answer}: {called:?}");
        assert_eq!(asked.lock().expect("a lock").len(), 1, "{answer}");
    }
    // A status that is expected is done, whatever it is.
    let (url, _) = server("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n");
    let expected = Call {
        expect: (409, 409),
        ..to(&url)
    };
    assert!(done(&run(&expected)));
    // Nobody is there.
    let free = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    assert!(refused(&run(&to(&url))));
    assert!(refused(&run(&to("http://ada:hush@127.0.0.1:1"))));
    assert!(refused(&run(&to("file:///etc"))));
}

/// Nothing is said to whoever cannot prove the name, so the call is certainly not made.
#[test]
fn over_tls_the_called_proves_its_name_by_the_authority_that_is_named() {
    let (url, pem, asked) = tls_server("HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\nwell");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        Some(path.display().to_string())
    };
    let believing = |file: Option<String>, url: &str| Call {
        authority_file: file,
        ..to(url)
    };
    let roots = write("roots.pem", &pem);
    let detail = "202 Accepted; it said: well".to_owned();
    assert_eq!(
        run(&believing(roots.clone(), &url)),
        Called::Done { detail }
    );
    let seen = asked.lock().expect("a lock").clone();
    assert!(
        seen[0].contains("idempotency-key: journal/r1/call"),
        "{seen:?}"
    );
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let by_address = url.replace("localhost", "127.0.0.1");
    for (file, url, why) in [
        // The system does not know it, another authority neither.
        (None, &url, "certificate"),
        (write("other.pem", &other.cert.pem()), &url, "certificate"),
        (roots.clone(), &by_address, "certificate"),
        (write("empty.pem", ""), &url, "no certificate"),
        (Some("/nowhere.pem".to_owned()), &url, "/nowhere.pem"),
    ] {
        let called = run(&believing(file.clone(), url));
        let Called::Refused { why: told } = &called else {
            panic!("{file:?} {url}: {called:?}");
        };
        assert!(told.contains(why), "{file:?} {url}: {told}");
    }
    assert_eq!(asked.lock().expect("a lock").len(), 1, "called once");
}

#[test]
fn an_answer_is_kept_up_to_a_limit() {
    let long: &'static str = Box::leak(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n{}",
            "x".repeat(90_000)
        )
        .into_boxed_str(),
    );
    let (url, _) = server(long);
    let Called::Done { detail } = run(&to(&url)) else {
        panic!("it was not done");
    };
    assert!(detail.len() < 3_000, "{}", detail.len());
}
