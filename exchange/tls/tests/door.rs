//! A door of the exchange, and who comes to it: with proof, without, and with somebody else's.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use exchange_tls::{Caller, Guarded, Identity, IdentityError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const LIMIT: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"GET /price HTTP/1.1\r\nHost: x\r\n\r\n";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let root = params.self_signed(&key).expect("a root").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, root }
    }

    /// Replaces the file whole, as whoever renews does.
    fn lay(&self, path: &Path, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let leaf = params.signed_by(&key, &self.issuer).expect("a leaf");
        let beside = path.with_extension("new");
        std::fs::write(&beside, key.serialize_pem() + &leaf.pem()).expect("written");
        std::fs::rename(&beside, path).expect("renamed");
    }
}

struct Stage {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            folder: tempfile::tempdir().expect("a folder"),
            authority: Authority::new(),
        };
        std::fs::write(stage.roots(), &stage.authority.root).expect("written");
        stage.authority.lay(&stage.own(), "venue");
        stage
    }

    fn own(&self) -> PathBuf {
        self.folder.path().join("own.pem")
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let identity = Identity::open(&self.own(), &self.roots()).expect("an identity");
        let known = async |ConnectInfo(caller): ConnectInfo<Caller>| {
            let known = ["gateway", "venue"].map(|name| caller.is(name));
            format!("{known:?} 236.47")
        };
        let router = Router::new()
            .route("/price", get(async || "236.47"))
            .route("/who", get(known))
            .into_make_service_with_connect_info::<Caller>();
        tokio::spawn(
            async move { axum::serve(Guarded::new(listener, Some(identity)), router).await },
        );
        address
    }

    /// Somebody who believes this authority, and shows a leaf of the other one, if any.
    fn caller(&self, shows: Option<&Authority>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.root.as_bytes());
        roots.add(root.expect("a root")).expect("believed");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let Some(authority) = shows else {
            return Arc::new(config.with_no_client_auth());
        };
        let path = self.folder.path().join("caller.pem");
        authority.lay(&path, "gateway");
        let chain = vec![CertificateDer::from_pem_file(&path).expect("a leaf")];
        let key = PrivateKeyDer::from_pem_file(&path).expect("a key");
        Arc::new(config.with_client_auth_cert(chain, key).expect("a caller"))
    }
}

async fn call(caller: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("venue").expect("a name");
    TlsConnector::from(Arc::clone(caller))
        .connect(name, stream)
        .await
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    ask_for(stream, REQUEST).await
}

async fn ask_for(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> io::Result<String> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"236.47") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates();
    chain.and_then(<[_]>::first).expect("a leaf").to_vec()
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(LIMIT, work).await.expect("in time") });
}

#[test]
fn who_proves_nothing_is_told_nothing() {
    let stage = Stage::new();
    run(async {
        let address = stage.serve().await;
        let mut known = call(&stage.caller(Some(&stage.authority)), address)
            .await
            .expect("proven");
        assert!(
            ask(&mut known)
                .await
                .expect("an answer")
                .starts_with("HTTP/1.1 200")
        );
        let who = ask_for(&mut known, b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let who = who.expect("an answer");
        assert!(
            who.ends_with("[true, false] 236.47"),
            "a gateway came, no venue: {who}"
        );
        let elsewhere = Authority::new();
        for stranger in [stage.caller(None), stage.caller(Some(&elsewhere))] {
            // TLS 1.3 tells a caller that it is refused after its own side of the proof.
            let refused = match call(&stranger, address).await {
                Ok(mut stream) => ask(&mut stream).await,
                Err(error) => Err(error),
            };
            refused.expect_err("no answer");
        }
        let mut clear = TcpStream::connect(address).await.expect("connected");
        clear.write_all(REQUEST).await.expect("sent");
        let mut answer = Vec::new();
        // Whether it ends in order or not says nothing.
        clear.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains("HTTP/"), "{answer}");
        assert!(ask(&mut known).await.is_ok(), "others are not disturbed");
    });
}

#[test]
fn another_leaf_is_taken_and_open_connections_go_on() {
    let stage = Stage::new();
    run(async {
        let address = stage.serve().await;
        let caller = stage.caller(Some(&stage.authority));
        let mut first = call(&caller, address).await.expect("proven");
        ask(&mut first).await.expect("an answer");
        let before = shown(&first);
        let mut again = call(&caller, address).await.expect("proven");
        ask(&mut again).await.expect("an answer");
        let kind = again.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed), "it comes again");

        std::fs::write(stage.own(), "no key").expect("written");
        stage.authority.lay(&stage.own(), "venue");
        // Leaves are looked for once a second.
        let mut fresh = loop {
            let mut stream = call(&stage.caller(Some(&stage.authority)), address)
                .await
                .expect("proven, whatever the file holds");
            ask(&mut stream).await.expect("an answer");
            if shown(&stream) != before {
                break stream;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        ask(&mut fresh).await.expect("an answer");
        ask(&mut first).await.expect("it goes on");
        let mut again = call(&caller, address).await.expect("proven");
        ask(&mut again).await.expect("an answer");
        let kind = again.get_ref().1.handshake_kind();
        assert_eq!(
            kind,
            Some(HandshakeKind::Full),
            "a proof to the old leaf is none"
        );
    });
}

/// What could not be read for a moment is read again, though the file looks the same as before.
#[test]
fn files_with_a_problem_are_read_again_until_they_are_of_use() {
    let stage = Stage::new();
    run(async {
        let address = stage.serve().await;
        let mut first = call(&stage.caller(Some(&stage.authority)), address)
            .await
            .expect("proven");
        let before = shown(&first);
        let next = stage.folder.path().join("next.pem");
        stage.authority.lay(&next, "venue");
        let next = std::fs::read(&next).expect("the next leaf");
        // Written in place: the same file, of the same length and, in the end, of the same time.
        std::fs::write(stage.own(), vec![b'x'; next.len()]).expect("written");
        let written = std::fs::metadata(stage.own()).and_then(|found| found.modified());
        let written = written.expect("a time");
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        std::fs::write(stage.own(), &next).expect("written");
        let file = std::fs::File::options().write(true).open(stage.own());
        file.and_then(|file| file.set_modified(written))
            .expect("the same time");
        loop {
            let mut stream = call(&stage.caller(Some(&stage.authority)), address)
                .await
                .expect("proven, whatever the file holds");
            ask(&mut stream).await.expect("an answer");
            if shown(&stream) != before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ask(&mut first).await.expect("it goes on");
    });
}

#[test]
fn what_cannot_be_used_is_said_at_the_start() {
    let stage = Stage::new();
    let lookup = |own: &str, roots: &str| {
        let (own, roots) = (own.to_owned(), roots.to_owned());
        Identity::from_lookup(&move |name| match name {
            "MAINSTAY_TLS_IDENTITY" => Some(own.clone()),
            "MAINSTAY_TLS_ROOTS" => Some(roots.clone()),
            _ => None,
        })
    };
    let (own, roots) = (stage.own(), stage.roots());
    let (own, roots) = (own.display().to_string(), roots.display().to_string());
    assert!(matches!(lookup("", &roots), Ok(None)));
    assert!(matches!(lookup(&own, ""), Err(IdentityError::NoRoots)));
    let absent = lookup("/nonexistent/own.pem", &roots).expect_err("no file");
    assert_eq!(absent.to_string(), "read /nonexistent/own.pem");
    assert!(
        lookup(&own, &own).is_ok(),
        "a certificate is a root as well"
    );
    assert!(lookup(&roots, &roots).is_err(), "roots hold no key");
    assert!(lookup(&own, &roots).expect("fits").is_some());
}
