//! Figures of the host, from proc(5) and the file system, under the names that Prometheus's node exporter gives them,
//! so that rules and dashboards that exist need no change.
//!
//! Where hosts are made of addresses on one machine, all of them tell the machine's figures.

use std::path::Path;

use mainstay_scrape::exposition::Type::{Counter, Gauge};
use mainstay_scrape::page::Page;

/// Of a clock tick, a second.
const TICKS_PER_SECOND: f64 = 100.0;
/// Columns of `/proc/stat`.
const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];
const MEMORY: [&str; 8] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapTotal",
    "SwapFree",
    "Dirty",
];
/// Columns of `/proc/net/dev`, with the names of their counters.
const NETWORK: [(usize, &str, &str); 8] = [
    (0, "node_network_receive_bytes_total", "Bytes received."),
    (1, "node_network_receive_packets_total", "Packets received."),
    (
        2,
        "node_network_receive_errs_total",
        "Receptions that failed.",
    ),
    (
        3,
        "node_network_receive_drop_total",
        "Packets received and dropped.",
    ),
    (8, "node_network_transmit_bytes_total", "Bytes sent."),
    (9, "node_network_transmit_packets_total", "Packets sent."),
    (
        10,
        "node_network_transmit_errs_total",
        "Transmissions that failed.",
    ),
    (
        11,
        "node_network_transmit_drop_total",
        "Packets to be sent and dropped.",
    ),
];

pub fn put(page: &mut Page, data: &Path) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    processors(page, &read("/proc/stat"));
    memory(page, &read("/proc/meminfo"));
    load(page, &read("/proc/loadavg"));
    network(page, &read("/proc/net/dev"));
    pressure(page, |what| read(&format!("/proc/pressure/{what}")));
    disk(page, data);
}

fn processors(page: &mut Page, stat: &str) {
    let mut family = page.family(
        "node_cpu_seconds_total",
        Counter,
        "Time that a processor spent, by what it did.",
    );
    for line in stat.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some(number) = fields.next().and_then(|name| name.strip_prefix("cpu")) else {
            continue;
        };
        // The first line is the sum of the others.
        if number.is_empty() {
            continue;
        }
        for (mode, ticks) in MODES.iter().zip(fields) {
            if let Ok(ticks) = ticks.parse::<f64>() {
                let labels = [("cpu", number), ("mode", mode)];
                family.put(&labels, ticks / TICKS_PER_SECOND);
            }
        }
    }
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
    if let Some(boot) = boot.and_then(|seconds| seconds.trim().parse().ok()) {
        page.gauge(
            "node_boot_time_seconds",
            "When the host was booted, in seconds since 1970.",
            boot,
        );
    }
}

fn memory(page: &mut Page, meminfo: &str) {
    for line in meminfo.lines() {
        let Some((name, rest)) = line.split_once(':') else {
            continue;
        };
        let kibibytes = rest
            .trim()
            .strip_suffix(" kB")
            .and_then(|count| count.parse::<f64>().ok());
        if let (true, Some(kibibytes)) = (MEMORY.contains(&name), kibibytes) {
            let help = format!("{name} of /proc/meminfo.");
            page.gauge(
                &format!("node_memory_{name}_bytes"),
                &help,
                kibibytes * 1_024.0,
            );
        }
    }
}

fn load(page: &mut Page, loadavg: &str) {
    for (minutes, found) in [1, 5, 15].iter().zip(loadavg.split_ascii_whitespace()) {
        if let Ok(found) = found.parse() {
            let help = format!(
                "Processes that run or wait for the processor or a disk, over {minutes} minutes."
            );
            page.gauge(&format!("node_load{minutes}"), &help, found);
        }
    }
}

fn network(page: &mut Page, dev: &str) {
    let devices: Vec<(&str, Vec<&str>)> = dev
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            Some((name.trim(), rest.split_ascii_whitespace().collect()))
        })
        .collect();
    for (column, name, help) in NETWORK {
        let mut family = page.family(name, Counter, help);
        for (device, fields) in &devices {
            if let Some(found) = fields.get(column).and_then(|field| field.parse().ok()) {
                family.put(&[("device", device)], found);
            }
        }
    }
}

/// Where the kernel measures it.
fn pressure(page: &mut Page, read: impl Fn(&str) -> String) {
    for (what, name) in [
        ("cpu", "node_pressure_cpu_waiting_seconds_total"),
        ("io", "node_pressure_io_waiting_seconds_total"),
        ("memory", "node_pressure_memory_waiting_seconds_total"),
    ] {
        let text = read(what);
        let some = text.lines().find_map(|line| line.strip_prefix("some "));
        let total = some.and_then(|line| {
            line.split_ascii_whitespace()
                .find_map(|field| field.strip_prefix("total="))
        });
        if let Some(micros) = total.and_then(|micros| micros.parse::<f64>().ok()) {
            let help = format!("Time in which somebody waited for {what}.");
            page.counter(name, &help, micros / 1e6);
        }
    }
}

fn disk(page: &mut Page, data: &Path) {
    let Ok(state) = rustix::fs::statvfs(data) else {
        return;
    };
    let place = data.display().to_string();
    let labels = [("mountpoint", place.as_str())];
    let block = state.f_frsize as f64;
    let room = [
        (
            "node_filesystem_size_bytes",
            "Size of the file system of the data folder.",
            state.f_blocks,
        ),
        (
            "node_filesystem_free_bytes",
            "What is free there.",
            state.f_bfree,
        ),
        (
            "node_filesystem_avail_bytes",
            "What an ordinary user may still write there.",
            state.f_bavail,
        ),
    ];
    for (name, help, blocks) in room {
        page.family(name, Gauge, help)
            .put(&labels, blocks as f64 * block);
    }
    let files = [
        (
            "node_filesystem_files",
            "Files that the file system can have.",
            state.f_files,
        ),
        (
            "node_filesystem_files_free",
            "How many of them are free.",
            state.f_ffree,
        ),
    ];
    for (name, help, count) in files {
        page.family(name, Gauge, help).put(&labels, count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::default();
        put(&mut page);
        let text = page.text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn tables_of_the_kernel_are_read() {
        let stat =
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 7 0 0 0 0 0 0\nintr 1\nbtime 1700000000\n";
        let text = written(|page| processors(page, stat));
        assert!(
            text.contains("node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("node_boot_time_seconds 1700000000\n"),
            "{text}"
        );
        assert!(!text.contains("cpu=\"\""), "{text}");
        let text = written(|page| memory(page, "MemTotal:  4 kB\nHugePages_Total: 0\n"));
        assert_eq!(text, "node_memory_MemTotal_bytes 4096\n");
        let dev = "Inter-|   Receive\n face |bytes\n  lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";
        let text = written(|page| network(page, dev));
        assert!(
            text.contains("node_network_transmit_bytes_total{device=\"lo\"} 5\n"),
            "{text}"
        );
        let text = written(|page| load(page, "0.5 1 2 1/2 3\n"));
        assert_eq!(text, "node_load1 0.5\nnode_load5 1\nnode_load15 2\n");
        let text = written(|page| pressure(page, |_| "some avg10=0 total=2000000\n".to_owned()));
        assert!(
            text.contains("node_pressure_io_waiting_seconds_total 2\n"),
            "{text}"
        );
    }
}
