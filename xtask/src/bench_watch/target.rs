//! The targets: pages that change from one request to the next, served by this process.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Of a connection that asks nothing any more.
const SILENCE: Duration = Duration::from_secs(90);
const BUCKETS: [&str; 10] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf",
];
/// Whose pages are counted apart.
pub const PATHS: [&str; 2] = ["/ours", "/peer"];

pub struct Targets {
    pub addresses: Vec<SocketAddr>,
    scrapes: Arc<[AtomicU64; 2]>,
}

impl Targets {
    /// One listener for each target, on an address of its own port; they end with this process.
    pub fn serve(count: u16, series: u32) -> Result<Self> {
        let scrapes = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let mut addresses = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").context("listen as a target")?;
            addresses.push(listener.local_addr()?);
            let counted = Arc::clone(&scrapes);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let counted = Arc::clone(&counted);
                    thread::spawn(move || answer(&stream, series, &counted).ok());
                }
            });
        }
        Ok(Self { addresses, scrapes })
    }

    /// How often a whole page was given under this path.
    pub fn scrapes(&self, path: &str) -> u64 {
        let place = PATHS.iter().position(|known| *known == path);
        place.map_or(0, |place| self.scrapes[place].load(Ordering::SeqCst))
    }
}

/// Answers one connection until it ends.
fn answer(stream: &TcpStream, series: u32, scrapes: &[AtomicU64; 2]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let place = PATHS.iter().position(|known| *known == path);
        let Some(counter) = place.and_then(|place| scrapes.get(place)) else {
            writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let body = page(series, counter.load(Ordering::SeqCst));
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        writer.write_all(body.as_bytes())?;
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// Four tenths counters, four tenths buckets, two tenths gauges: exactly `series` samples.
pub fn page(series: u32, moment: u64) -> String {
    let (counters, gauges) = (series * 4 / 10, series * 2 / 10);
    let buckets = series - counters - gauges;
    let mut text = String::with_capacity(series as usize * 70);
    text.push_str("# HELP bench_requests_total Requests.\n# TYPE bench_requests_total counter\n");
    for number in 0..counters {
        // Some stand still, as many do.
        let value = u64::from(number) * 1_000 + moment * u64::from(number % 7);
        let (route, code) = (number / 5, [200, 201, 404, 409, 503][(number % 5) as usize]);
        let _ = writeln!(
            text,
            "bench_requests_total{{method=\"GET\",route=\"/v1/things/{route}\",code=\"{code}\"}} {value}"
        );
    }
    text.push_str("# HELP bench_seconds How long.\n# TYPE bench_seconds histogram\n");
    for number in 0..buckets {
        let (route, place) = (number / 10, (number % 10) as usize);
        let value = (moment + u64::from(number)) * (place as u64 + 1);
        let _ = writeln!(
            text,
            "bench_seconds_bucket{{route=\"/v1/things/{route}\",le=\"{}\"}} {value}",
            BUCKETS[place]
        );
    }
    text.push_str("# HELP bench_queue Waiting.\n# TYPE bench_queue gauge\n");
    for number in 0..gauges {
        let value = (moment * 31 + u64::from(number) * 17) % 1_000;
        let _ = writeln!(
            text,
            "bench_queue{{queue=\"q{number}\"}} {}.{:03}",
            value / 7,
            value
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_as_many_samples_as_it_says_and_changes() {
        for series in [20, 100, 1_000, 1_003] {
            let samples = |moment| {
                page(series, moment)
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .count()
            };
            assert_eq!(samples(0), series as usize);
            assert_ne!(page(series, 1), page(series, 2));
        }
    }
}
