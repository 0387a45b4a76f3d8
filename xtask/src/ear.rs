//! Somebody who is on call, as a suite needs one: a webhook on this machine that counts what it is told.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};

/// One notice; more is not said by a platform.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// A connection that says nothing more is over.
const READ_LIMIT: Duration = Duration::from_secs(5);
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Listens as long as the suite lives.
pub struct Ear {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Ear {
    pub fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for notices")?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let heard = Arc::default();
        let writes = Arc::clone(&heard);
        std::thread::Builder::new()
            .name("ear".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    listen(stream, &writes);
                }
            })
            .context("start a thread that hears notices")?;
        Ok(Self { url, heard })
    }

    /// The bodies of everything that was said, in order.
    pub fn heard(&self) -> Vec<String> {
        match self.heard.lock() {
            Ok(heard) => heard.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// A platform file in which everything that calls calls this ear; its secret stands in `folder`.
    pub fn on_call(&self, platform: &str, folder: &Path) -> Result<String> {
        let secret = folder.join("hook.key");
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&secret)
            .and_then(|mut file| file.write_all(b"a secret of this suite's own, for one run"))
            .context("write the webhook's secret")?;
        let section = format!(
            "  oncall:\n    channels:\n      - name: hook\n        webhook:\n          url: {}\n          secretFile: {}\n    \
             contacts:\n      - operator: owner\n        channels: [hook]\n    policies:\n      - name: all\n        severity: warning\n        levels:\n          \
             - tell: [operator/owner]\n            within: 10m\n    wait: 1s\n",
            self.url,
            secret.display()
        );
        let (before, after) = platform
            .split_once("  roles:\n")
            .context("the platform file has no roles")?;
        Ok(format!("{before}{section}  roles:\n{after}"))
    }
}

fn listen(mut stream: TcpStream, heard: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(READ_LIMIT)).ok();
    let mut request = Vec::new();
    let mut some = [0; 4_096];
    while request.len() < REQUEST_BYTES_MAX && body(&request).is_none() {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(some.get(..read).unwrap_or_default()),
        }
    }
    if let Some(body) = body(&request)
        && let Ok(mut heard) = heard.lock()
    {
        heard.push(body);
    }
    stream.write_all(ANSWER).ok();
}

/// What was posted, once all of it is there.
fn body(request: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() >= length).then(|| body.to_owned())
}
