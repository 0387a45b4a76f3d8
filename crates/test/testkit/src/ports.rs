//! What a stranger gets at the ports of a platform.
//!
//! The ports are the kernel's list, not ours: every TCP socket that listens in a process of the platform. Those
//! processes are found as an operator would: whatever speaks of the data folder in its command line or works in it, and
//! all that descends from it. At each the stranger knocks in four ways (HTTP and PostgreSQL, in the clear and over TLS)
//! and shows no certificate and no password.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// Whoever says nothing for so long has said nothing.
const SILENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4 << 10;
/// `st` of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// What a stranger was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// An answer in HTTP, in the clear or over TLS: its first line.
    Http { tls: bool, line: String },
    /// A session of PostgreSQL, without a password.
    Session { tls: bool },
}

/// Processes of the platform that keeps its data in this folder, and everything they started.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn processes(data: &Path) -> Result<BTreeSet<u32>> {
    let mut parents = BTreeMap::new();
    let mut found = BTreeSet::new();
    let wanted = data.display().to_string();
    for entry in fs::read_dir("/proc").context("list processes")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let parent = after.split_ascii_whitespace().nth(1);
        parents.insert(
            pid,
            parent
                .and_then(|word| word.parse::<u32>().ok())
                .unwrap_or(0),
        );
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let names = String::from_utf8_lossy(&line).contains(&wanted);
        let inside = fs::read_link(entry.path().join("cwd"));
        if names || inside.is_ok_and(|folder| folder.starts_with(data)) {
            found.insert(pid);
        }
    }
    found.remove(&std::process::id());
    loop {
        let children: Vec<u32> = (parents.iter())
            .filter(|&(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if children.is_empty() {
            return Ok(found);
        }
        found.extend(children);
    }
}

/// Where these processes listen.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn listening(processes: &BTreeSet<u32>) -> Result<BTreeSet<SocketAddr>> {
    let mut sockets = BTreeSet::new();
    for process in processes {
        let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else {
            continue;
        };
        let links = open
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        sockets.extend(links.filter_map(|link| {
            let name = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(name.to_owned())
        }));
    }
    let mut found = BTreeSet::new();
    for list in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(list).with_context(|| format!("read {list}"))?;
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) =
                (words.get(1), words.get(3), words.get(9))
            else {
                continue;
            };
            if *state == LISTENS && sockets.contains(*inode) {
                let address = address(local);
                found.insert(address.with_context(|| format!("understand {local} of {list}"))?);
            }
        }
    }
    Ok(found)
}

/// `0101027F:1F90`: words in the order of this machine's bytes, the port in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..host.len()).step_by(8) {
        let word = u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    // Whoever listens everywhere listens here.
    let ip = if ip.is_unspecified() {
        IpAddr::from(Ipv4Addr::LOCALHOST)
    } else {
        ip
    };
    Some(SocketAddr::new(ip, port))
}

/// Everything that a stranger gets there.
///
/// # Errors
/// When nobody listens there any more.
pub fn knock(address: SocketAddr) -> Result<Vec<Given>> {
    let reach = || -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, SILENCE);
        let stream = stream.with_context(|| format!("knock at {address}"))?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(stream)
    };
    let mut given = Vec::new();
    // Whoever breaks off gives nothing.
    given.extend(http(reach()?, false).ok().flatten());
    let encrypted = encrypt(reach()?).and_then(|stream| http(stream, true));
    given.extend(encrypted.ok().flatten());
    // Whoever speaks HTTP is no PostgreSQL, and would wait for the rest of what it is told.
    if given.is_empty() {
        given.extend(session(reach()?, false).ok().flatten());
        let encrypted = encrypt_session(reach()?).and_then(|stream| session(stream, true));
        given.extend(encrypted.ok().flatten());
    }
    Ok(given)
}

fn http(mut stream: impl Read + Write, tls: bool) -> io::Result<Option<Given>> {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let mut answer = Vec::new();
    // It may end in any way, and say something before.
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let line = answer
        .lines()
        .next()
        .filter(|line| line.starts_with("HTTP/"));
    Ok(line.map(|line| Given::Http {
        tls,
        line: line.to_owned(),
    }))
}

/// Whether a session is opened to the superuser without a question.
fn session(mut stream: impl Read + Write, tls: bool) -> io::Result<Option<Given>> {
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(parameters.len() + 8).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    // Version 3.0 of the protocol.
    message.extend(0x0003_0000_u32.to_be_bytes());
    message.extend(parameters);
    stream.write_all(&message)?;
    stream.flush()?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    // `R` with code 0 is AuthenticationOk; every other code asks for something.
    let opened = head[0] == b'R' && head[5..9] == [0; 4];
    Ok(opened.then_some(Given::Session { tls }))
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

fn encrypt(stream: TcpStream) -> io::Result<Encrypted> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(
            provider.signature_verification_algorithms,
        )))
        .with_no_client_auth();
    let name = ServerName::try_from("stranger.example").map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// TLS as PostgreSQL begins it: a question in the clear.
fn encrypt_session(mut stream: TcpStream) -> io::Result<Encrypted> {
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
    let mut may = [0];
    stream.read_exact(&mut may)?;
    match may[0] {
        b'S' => encrypt(stream),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The stranger does not care who answers.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers every connection with these bytes, once something was said.
    fn says(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut some = [0; 64];
                if stream.read(&mut some).is_ok_and(|read| read > 0) {
                    stream.write_all(answer).ok();
                }
            }
        });
        address
    }

    #[test]
    fn what_a_stranger_is_given_is_noticed() {
        let open = knock(says(b"HTTP/1.1 403 Forbidden\r\n\r\n")).expect("knocked");
        let line = "HTTP/1.1 403 Forbidden".to_owned();
        assert_eq!(open, [Given::Http { tls: false, line }]);
        let trusting = knock(says(b"R\0\0\0\x08\0\0\0\0")).expect("knocked");
        assert_eq!(trusting, [Given::Session { tls: false }]);
        // Such as a server that asks for a password, and one that ends.
        assert_eq!(knock(says(b"R\0\0\0\x17\0\0\0\x0a")).expect("knocked"), []);
        assert_eq!(knock(says(b"")).expect("knocked"), []);
    }

    #[test]
    fn own_listeners_are_on_the_kernels_list() {
        let own = BTreeSet::from([std::process::id()]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        assert!(listening(&own).expect("listed").contains(&address));
        drop(listener);
        assert!(!listening(&own).expect("listed").contains(&address));
        let text = super::address("00000000000000000000000001000000:1F90");
        assert_eq!(text, Some("[::1]:8080".parse().expect("an address")));
    }
}
