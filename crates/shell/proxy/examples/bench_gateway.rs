//! Processor time per request, ours beside HAProxy's, in one run.
//!
//! `cargo run --release -p mainstay-proxy --example bench_gateway [-- --seconds 5 --rounds 3]`
//!
//! One process plays the origin, one the proxy under test, `wrk` the client (64 connections, HTTP/1.1
//! keep-alive, an answer of 86 bytes). The proxy is pinned to the first processor, client and origin to
//! the second. What counts is the processor time that the proxy used (user and system, of the whole
//! process) divided by the requests it answered; requests per second depend on client and origin as well.
//! Rounds of the contestants take turns; the median of each is printed. Needs `wrk`; without `haproxy` only ours is measured.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

const ORIGIN: &str = "127.205.250.1:18081";
const OURS_SERVICE: &str = "127.205.250.2:18082";
const OURS_CELL: &str = "127.205.250.2:18084";
const HAPROXY: &str = "127.205.250.3:18083";
const ANSWER: &str =
    r#"{"cell":"us","sequence":123456,"epoch":1,"account":7,"reference":42,"outcome":"filled"}"#;
const CONNECTIONS: u32 = 64;
const START_LIMIT: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("origin") => origin(),
        Some("gateway") => {
            mainstay_rt::log::init();
            let config = arguments.get(1).ok_or("gateway CONFIG")?;
            let code = mainstay_proxy::run(Path::new(config));
            Err(format!("the gateway ended: {code:?}").into())
        }
        _ => compare(
            number(&arguments, "--seconds")?.unwrap_or(5),
            number(&arguments, "--rounds")?.unwrap_or(3),
        ),
    }
}

fn number(arguments: &[String], name: &str) -> Outcome<Option<u64>> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else {
        return Ok(None);
    };
    let value = arguments
        .get(at + 1)
        .ok_or_else(|| format!("{name} needs a number"))?;
    Ok(Some(value.parse()?))
}

/// Answers everything with the same few bytes.
fn origin() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind(ORIGIN).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                let service = hyper::service::service_fn(|_| async {
                    let mut answer =
                        http::Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
                    let kind = http::HeaderValue::from_static("application/json");
                    answer
                        .headers_mut()
                        .insert(http::header::CONTENT_TYPE, kind);
                    Ok::<_, std::convert::Infallible>(answer)
                });
                let serving = hyper::server::conn::http1::Builder::new();
                serving
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    })
}

/// A process that does not outlive the run.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Outcome<Self> {
        Ok(Self(command.stdout(Stdio::null()).spawn()?))
    }

    /// User and system time so far, in seconds (fields 14 and 15 of `/proc/PID/stat`, in ticks of 10 ms).
    fn processor_seconds(&self) -> Outcome<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = text.rsplit_once(')').ok_or("no name in stat")?.1;
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<f64>);
        Ok(ticks.collect::<Result<Vec<f64>, _>>()?.iter().sum::<f64>() / 100.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn pinned(processor: u8, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(processor.to_string()).arg(program);
    command
}

fn wait_for(address: &str) -> Outcome<()> {
    let deadline = mainstay_rt::clock::now() + START_LIMIT;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = || {
        let ask = mainstay_rt::http::request_tcp(
            address.parse()?,
            http::Method::GET,
            "/",
            vec![],
            Duration::from_millis(200),
        );
        Ok::<_, std::net::AddrParseError>(matches!(
            runtime.block_on(ask),
            Ok((http::StatusCode::OK, _))
        ))
    };
    while !asked()? {
        if mainstay_rt::clock::now() > deadline {
            return Err(format!("{address} does not answer").into());
        }
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
    Ok(())
}

struct Round {
    per_second: f64,
    micros: f64,
}

fn round(proxy: &Process, address: &str, seconds: u64) -> Outcome<Round> {
    let load = |seconds: u64| -> Outcome<f64> {
        let output = pinned(1, "wrk")
            .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
            .arg(format!("http://{address}/"))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = text.contains("Non-2xx") || text.contains("Socket errors");
        let line = text.lines().find(|line| line.contains("requests in"));
        match line.and_then(|line| line.split_whitespace().next()?.parse().ok()) {
            Some(count) if !failed => Ok(count),
            _ => Err(format!("wrk says: {text}").into()),
        }
    };
    load(1)?;
    let before = proxy.processor_seconds()?;
    let count = load(seconds)?;
    let used = proxy.processor_seconds()? - before;
    Ok(Round {
        per_second: count / seconds as f64,
        micros: used * 1e6 / count,
    })
}

fn compare(seconds: u64, rounds: u64) -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("mainstay-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = contest(&folder, seconds, rounds);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn contest(folder: &Path, seconds: u64, rounds: u64) -> Outcome<()> {
    let own = std::env::current_exe()?;
    let _origin = Process::start(pinned(1, &own).arg("origin"))?;
    wait_for(ORIGIN)?;
    let config = folder.join("gateway.json");
    std::fs::write(&config, snapshot(folder).to_string())?;
    let gateway = Process::start(pinned(0, &own).arg("gateway").arg(&config))?;
    let haproxy = start_haproxy(folder)?;
    let mut contestants = vec![
        ("ours, service route", &gateway, OURS_SERVICE, Vec::new()),
        ("ours, cell route", &gateway, OURS_CELL, Vec::new()),
    ];
    if let Some(haproxy) = &haproxy {
        contestants.push(("haproxy", haproxy, HAPROXY, Vec::new()));
    }
    for _ in 0..rounds.max(1) {
        for (_, proxy, address, results) in &mut contestants {
            wait_for(address)?;
            results.push(round(proxy, address, seconds)?);
        }
    }
    let medians = contestants.into_iter().map(|(name, _, _, mut results)| {
        results.sort_by(|a, b| a.micros.total_cmp(&b.micros));
        let middle = results.len() / 2;
        (name, results.swap_remove(middle))
    });
    print(&medians.collect::<Vec<_>>())
}

fn snapshot(folder: &Path) -> serde_json::Value {
    let listener = |name: &str, address: &str, target: serde_json::Value| {
        let route = serde_json::json!({"name": name, "path_prefix": "/", "target": target});
        serde_json::json!({"name": name, "address": address, "routes": [route]})
    };
    let cell = serde_json::json!({"cell": {"key": "always",
        "cells": [{"database": "us", "service": "origin"}]}});
    serde_json::json!({
        "version": 1, "generation": 1, "gateway": "bench", "host": "a", "region": "r", "workers": 1,
        "run_folder": folder,
        "listeners": {"http": [
            listener("service", OURS_SERVICE, serde_json::json!({"service": "origin"})),
            listener("cell", OURS_CELL, cell)]},
        "services": [{"name": "origin", "instances": [{"name": "origin", "host": "a", "region": "r",
            "address": ORIGIN, "readiness_path": "/"}]}],
        "databases": [{"name": "us", "replicas": [{"host": "a", "region": "r",
            "sight_address": "127.205.250.9:1", "postgres_address": "127.205.250.9:2"}]}],
    })
}

fn print(rows: &[(&str, Round)]) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| proxy | requests/s | processor us per request |\n|---|---|---|"
    )?;
    for (name, round) in rows {
        writeln!(
            out,
            "| {name} | {:.0} | {:.2} |",
            round.per_second, round.micros
        )?;
    }
    match rows.iter().find(|row| row.0 == "haproxy") {
        None => writeln!(out, "haproxy is not installed: nothing to compare with")?,
        Some((_, haproxy)) => {
            for (name, round) in rows.iter().filter(|row| row.0 != "haproxy") {
                let ratio = round.micros / haproxy.micros;
                writeln!(out, "{name}: {ratio:.2} times haproxy's processor time")?;
            }
        }
    }
    Ok(())
}

fn start_haproxy(folder: &Path) -> Outcome<Option<Process>> {
    if Command::new("haproxy")
        .arg("-v")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        return Ok(None);
    }
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  \
         timeout client 30s\n  timeout server 30s\nfrontend f\n  bind {HAPROXY}\n  default_backend b\nbackend b\n  \
         option httpchk GET /\n  server s {ORIGIN} check inter 100ms\n"
    );
    std::fs::write(&config, text)?;
    Process::start(
        pinned(0, "haproxy")
            .arg("-db")
            .arg("-q")
            .arg("-f")
            .arg(&config),
    )
    .map(Some)
}
