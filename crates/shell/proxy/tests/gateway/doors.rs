//! What clients are shown at a listener, and who must show something.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::authority::Authority;
use rustix::process::Signal;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::fakes::{read_body, read_head, until};
use crate::process::{Gateway, Platform, wait_for_active};

const NAME: &str = "edge.gateway.exchange.mainstay";

type Encrypted = BufReader<StreamOwned<ClientConnection, TcpStream>>;

struct Stage {
    platform: Platform,
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Stage {
    fn new(net: u8) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(&folder.path().join("authority"), "exchange");
        let platform = Platform::with_primary(net);
        let stage = Self {
            platform,
            folder,
            authority,
        };
        stage.lay(&stage.shown());
        stage
    }

    fn shown(&self) -> PathBuf {
        self.folder.path().join("edge.pem")
    }

    fn lay(&self, path: &Path) {
        let now = mainstay_rt::clock::wall_ms();
        let leaf = self.authority.issue(NAME, now).expect("a leaf");
        mainstay_rt::files::write_atomic(path, leaf.pem.as_bytes()).expect("written");
    }

    fn start(&self, clients: Option<&Path>) -> Gateway {
        self.platform.start_with(|config| {
            config["listeners"]["http"][0]["tls"] = serde_json::json!({
                "certificate": self.shown(), "key": self.shown(), "clients": clients,
            });
        })
    }

    /// Somebody who believes the authority, and shows what this file holds, if any.
    fn caller(&self, shows: Option<&Path>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(self.authority.roots()).expect("roots") {
            roots.add(root.expect("a root")).expect("believed");
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match shows {
            None => config.with_no_client_auth(),
            Some(path) => {
                let chain = vec![CertificateDer::from_pem_file(path).expect("a leaf")];
                let key = PrivateKeyDer::from_pem_file(path).expect("a key");
                config.with_client_auth_cert(chain, key).expect("a caller")
            }
        })
    }

    fn call(&self, caller: &Arc<ClientConfig>) -> Encrypted {
        let stream = TcpStream::connect(self.platform.http()).expect("connected");
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).expect("a limit");
        let name = ServerName::try_from(NAME).expect("a name");
        let connection = ClientConnection::new(Arc::clone(caller), name).expect("a client");
        BufReader::new(StreamOwned::new(connection, stream))
    }
}

/// An order over this connection, and the status of its answer.
fn order(stream: &mut Encrypted, key: &str) -> io::Result<String> {
    let request = format!(
        "POST /v1/cells/us/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    stream.get_mut().write_all(request.as_bytes())?;
    let head = read_head(stream)?;
    read_body(stream, &head)?;
    Ok(head.line)
}

fn certificate(stream: &Encrypted) -> Vec<u8> {
    let chain = stream.get_ref().conn.peer_certificates();
    chain.and_then(<[_]>::first).expect("shown").to_vec()
}

#[test]
fn another_certificate_is_taken_and_a_bad_one_changes_nothing() {
    let stage = Stage::new(81);
    let _gateway = stage.start(None);
    let anybody = stage.caller(None);
    let mut first = stage.call(&anybody);
    assert!(order(&mut first, "a").expect("an answer").contains(" 200 "));
    let before = certificate(&first);

    std::fs::write(stage.shown(), "no certificate").expect("written");
    until("the bad file is told of", || {
        let told = stage.platform.status()["snapshot_error"].to_string();
        told.contains("listener public") && told.contains("edge.pem")
    });
    let (_, figures) = stage.platform.control("GET", "/metrics");
    let unusable = "mainstay_gateway_certificate_usable{listener=\"public\"} 0";
    assert!(figures.contains(unusable), "{figures}");
    assert!(figures.contains("mainstay_gateway_certificates_refused_total{listener=\"public\"} 1"));
    let mut second = stage.call(&anybody);
    assert!(
        order(&mut second, "b")
            .expect("an answer")
            .contains(" 200 ")
    );
    assert_eq!(certificate(&second), before, "the last good one stays");

    stage.lay(&stage.shown());
    until("the new one is shown", || {
        let mut next = stage.call(&anybody);
        order(&mut next, "c").expect("an answer");
        certificate(&next) != before
    });
    assert!(stage.platform.status()["snapshot_error"].is_null());
    assert!(
        order(&mut first, "d")
            .expect("it goes on")
            .contains(" 200 ")
    );

    let mut clear = TcpStream::connect(stage.platform.http()).expect("connected");
    clear
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    io::Read::read_to_end(&mut clear, &mut answer).ok();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/"));
}

#[test]
fn where_clients_must_prove_themselves_others_are_told_nothing() {
    let stage = Stage::new(82);
    let elsewhere = Authority::new(&stage.folder.path().join("elsewhere"), "other");
    let (known, stranger) = (
        stage.folder.path().join("known.pem"),
        stage.folder.path().join("stranger.pem"),
    );
    stage.lay(&known);
    let leaf = elsewhere.issue(NAME, mainstay_rt::clock::wall_ms());
    std::fs::write(&stranger, leaf.expect("a leaf").pem).expect("written");
    let _gateway = stage.start(Some(&stage.authority.roots()));
    let answer = order(&mut stage.call(&stage.caller(Some(&known))), "known");
    assert!(answer.expect("an answer").contains(" 200 "));
    for shows in [None, Some(stranger.as_path())] {
        order(&mut stage.call(&stage.caller(shows)), "stranger").expect_err("no answer");
    }
    assert_eq!(stage.platform.attempts("stranger"), 0);
    let failed = "mainstay_gateway_handshakes_failed_total{} 2";
    until("both are counted", || {
        let (_, figures) = stage.platform.control("GET", "/metrics");
        figures.contains(failed)
    });
}

#[test]
fn a_snapshot_whose_certificate_cannot_be_used_is_refused_and_the_door_stays_open() {
    let stage = Stage::new(83);
    let _gateway = stage.start(None);
    stage.platform.write_config(|config| {
        config["generation"] = 2.into();
        config["listeners"]["http"][0]["tls"] =
            serde_json::json!({"certificate": "/nonexistent/edge.pem", "key": stage.shown()});
    });
    let (status, answer) = stage.platform.control("POST", "/v1/reload");
    assert_eq!(status, 422);
    assert!(answer.contains("listener public"), "{answer}");
    assert!(answer.contains("/nonexistent/edge.pem"), "{answer}");
    let mut stream = stage.call(&stage.caller(None));
    assert!(
        order(&mut stream, "a")
            .expect("an answer")
            .contains(" 200 ")
    );
}

/// Writes in place, so that nothing but the content tells the states of the file apart.
fn write_unseen(path: &Path, content: &[u8]) {
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("opened");
    file.write_all(content).expect("written");
    file.set_modified(long_ago).expect("set back");
}

#[test]
fn a_certificate_that_was_mended_where_no_stamp_tells_is_taken() {
    let stage = Stage::new(84);
    let _gateway = stage.start(None);
    let anybody = stage.caller(None);
    let good = std::fs::read(stage.shown()).expect("read");
    let is_told = || !stage.platform.status()["snapshot_error"].is_null();
    write_unseen(&stage.shown(), &vec![b'x'; good.len()]);
    until("the bad file is told of", is_told);
    write_unseen(&stage.shown(), &good);
    until("the mended one is taken", || !is_told());
    let mut next = stage.call(&anybody);
    assert!(order(&mut next, "a").expect("an answer").contains(" 200 "));
    let (_, figures) = stage.platform.control("GET", "/metrics");
    let once = "mainstay_gateway_certificates_refused_total{listener=\"public\"} 1";
    assert!(figures.contains(once), "{figures}");
}

/// Who has begun to shake hands when the gateway is told to stop is let in and answered, also once the door is closed.
#[test]
fn a_handshake_that_was_begun_is_not_broken_off_by_stopping() {
    let stage = Stage::new(85);
    let mut gateway = stage.start(None);
    let anybody = stage.caller(None);
    wait_for_active(&stage.platform);
    let mut begun = stage.call(&anybody);
    until("it is let in", || {
        stage.platform.figure("connections") == 1.0
    });
    gateway.signal(Signal::TERM);
    until("the door closes", || {
        TcpStream::connect(stage.platform.http()).is_err()
    });
    let answer = order(&mut begun, "begun").expect("an answer");
    assert!(answer.contains(" 200 "), "{answer}");
    assert_eq!(gateway.exit_code(), Some(0));
}
