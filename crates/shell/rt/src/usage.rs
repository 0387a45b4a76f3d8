//! What a process has used, as proc(5) tells it.

use std::path::Path;

/// Of a clock tick, a second: what `/proc` counts in everywhere (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Since the process began, and now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    pub processor_seconds: f64,
    pub resident_bytes: u64,
    pub threads: u64,
    /// Which process began it.
    pub parent: i32,
}

/// Of this process.
pub fn own() -> Option<Usage> {
    of("self")
}

/// Of the process with this number. `None` where there is none, or nothing can be read of it.
pub fn of(process: &str) -> Option<Usage> {
    let folder = Path::new("/proc").join(process);
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    parse(&stat, &std::fs::read_to_string(folder.join("status")).ok()?)
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The second field is a name in parentheses that may contain anything, also parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)?.checked_add(number(12)?)?;
    // A process that has ended and was not waited for has no memory, and no line about it.
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kibibytes: u64 = resident.map_or(Some(0), |count| count.trim().parse().ok())?;
    Some(Usage {
        processor_seconds: ticks as f64 / TICKS_PER_SECOND,
        resident_bytes: kibibytes.checked_mul(1024)?,
        threads: number(17)?,
        parent: fields.get(1)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_line() {
        let line = "7 (a (b) c) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 8 9 20 0 5 0 100 4096 25 18446744073709551615";
        let usage = Usage {
            processor_seconds: 2.0,
            resident_bytes: 25 * 1024,
            threads: 5,
            parent: 3,
        };
        let status = "Name:\tb\nVmRSS:\t      25 kB\n";
        assert_eq!(parse(line, status), Some(usage));
        for cut in ["", "7 (a) S", "7 a S 3"] {
            assert_eq!(parse(cut, status), None);
        }
        let own = own().expect("this process is there");
        assert!(own.resident_bytes > 0 && own.threads > 0);
    }
}
