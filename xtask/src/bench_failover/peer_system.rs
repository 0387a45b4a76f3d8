//! What the peer needs of the machine: processes by descent, small HTTP requests, folders and versions.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// For a connection to be made.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn is_postgres(pid: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim() == "postgres")
}

/// These and all that descends from them.
pub fn with_descendants(mut pids: Vec<u32>) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may contain anything; the parent is the second field after it.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        if let Some(parent) = after.split_whitespace().nth(1).and_then(|p| p.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut at = 0;
    while let Some(pid) = pids.get(at) {
        let of_it = children.get(pid).cloned().unwrap_or_default();
        pids.extend(of_it);
        at += 1;
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// A small request; the body of a good answer.
pub fn http(
    to: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
    limit: Duration,
) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(limit))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {to}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    let code = head.split_whitespace().nth(1).unwrap_or_default();
    if !code.starts_with('2') {
        bail!("{method} {path}: {code} {body}");
    }
    Ok(body.to_owned())
}

/// Gives a folder to PostgreSQL's user.
pub fn own(folder: &Path) -> Result<()> {
    let status = Command::new("chown")
        .arg("postgres:postgres")
        .arg(folder)
        .status()?;
    if !status.success() {
        bail!(
            "{} cannot be given to user postgres: run this as root",
            folder.display()
        );
    }
    Ok(())
}

/// The first line that each program says of itself.
pub fn versions() -> Result<String> {
    let mut said = Vec::new();
    for (program, option) in [
        ("patroni", "--version"),
        ("etcd", "--version"),
        ("/usr/sbin/haproxy", "-v"),
    ] {
        let output = Command::new(program).arg(option).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next().unwrap_or(program);
        said.push(line.split(" - ").next().unwrap_or(line).to_owned());
    }
    Ok(said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_with_its_children() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("sleep");
        let found = with_descendants(vec![std::process::id()]);
        assert!(found.contains(&child.id()));
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
