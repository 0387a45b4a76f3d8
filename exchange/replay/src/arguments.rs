//! The command line, and everything about it that can be wrong.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::ReplayError;

/// More intents than this are refused: the run keeps 24 bytes of each in memory and several lines of each on disk.
const INTENTS_LIMIT: u64 = 20_000_000;
const RATE_LIMIT: u32 = 20_000;
const DURATION_LIMIT: Duration = Duration::from_secs(6 * 3_600);

/// Sends an order flow to a cell through the gateways of all regions, at planned times, and keeps a witness log.
///
/// Accounts are funded first. Exit codes: 0 every intent was answered within its deadline; 1 some were not; 2 the run
/// could not be made; 3 the driver itself lagged, so there is no verdict.
#[derive(Debug, Parser)]
#[command(name = "exchange-replay", version)]
pub struct Arguments {
    /// A region and its gateway, REGION=http://127.x.y.z:port; once per region. Only loopback addresses are accepted.
    #[arg(long = "gateway", value_name = "REGION=URL", required = true)]
    pub gateways: Vec<String>,
    /// The cell that trades the instrument.
    #[arg(long, default_value = "btc-usd")]
    pub cell: String,
    #[arg(long, default_value = "BTC-USD")]
    pub instrument: String,
    /// A recorded flow (CSV, plain or .xz); without it a flow with the same statistics is generated.
    #[arg(long, value_name = "FILE")]
    pub flow: Option<PathBuf>,
    /// Seed of the generated flow.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Orders in one pass of the generated flow.
    #[arg(long, default_value_t = crate::flow::generated::ORDERS_PER_PASS)]
    pub orders_per_pass: u32,
    /// Orders and cancels per second, on average.
    #[arg(long)]
    pub rate: u32,
    /// How long to send: 90s, 10m.
    #[arg(long, value_parser = duration)]
    pub duration: Duration,
    /// Folder for the witness log, one file per client; must be empty or absent.
    #[arg(long, value_name = "FOLDER")]
    pub witness: PathBuf,
    /// Simulated clients; their home regions are dealt in turn.
    #[arg(long, default_value_t = 12)]
    pub clients: u32,
    /// Accounts that each pass of the flow brings; each has at most one intent in flight.
    #[arg(long, default_value_t = 400)]
    pub accounts: u32,
    /// The first account number; by default one that no earlier run has used (from the time of day).
    #[arg(long)]
    pub first_account: Option<u64>,
    /// An intent not answered this long after its planned time has failed.
    #[arg(long, value_parser = duration, default_value = "15s")]
    pub deadline: Duration,
    /// A client waits this long for one answer before it goes to the next region.
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub attempt_limit: Duration,
    /// An order is withdrawn at the earliest this long after it was entered, however much time is compressed.
    #[arg(long, value_parser = duration, default_value = "50ms")]
    pub shortest_life: Duration,
    /// No verdict if more than 1 % of the intents were taken up later than this.
    #[arg(long, value_parser = duration, default_value = "50ms")]
    pub lag_limit_p99: Duration,
    /// No verdict if any intent was taken up later than this.
    #[arg(long, value_parser = duration, default_value = "500ms")]
    pub lag_limit_max: Duration,
    /// A JSON-lines file {"wall_ms","name"} that somebody else appends to; stalls are reported per mark.
    #[arg(long, value_name = "FILE")]
    pub marks: Option<PathBuf>,
    /// Write the result as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// No progress lines.
    #[arg(long)]
    pub quiet: bool,
}

/// A region's gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub region: String,
    pub address: SocketAddr,
}

impl Arguments {
    /// Checks everything that clap cannot; returns the gateways.
    pub fn check(&self) -> Result<Vec<Target>, ReplayError> {
        let limit = |text: String| Err(ReplayError::Limit(text));
        if self.rate == 0 || self.rate > RATE_LIMIT {
            return limit(format!(
                "--rate {}: give 1 to {RATE_LIMIT} intents per second",
                self.rate
            ));
        }
        if self.duration.is_zero() || self.duration > DURATION_LIMIT {
            return limit(format!(
                "--duration: give more than 0 and at most {} hours",
                DURATION_LIMIT.as_secs() / 3_600
            ));
        }
        let intents = u64::from(self.rate) * self.duration.as_secs();
        if intents > INTENTS_LIMIT {
            return limit(format!(
                "--rate times --duration is {intents} intents, more than {INTENTS_LIMIT}"
            ));
        }
        for (name, value) in [
            ("--clients", self.clients),
            ("--accounts", self.accounts),
            ("--orders-per-pass", self.orders_per_pass),
        ] {
            if value == 0 || value > 1_000_000 {
                return limit(format!("{name} {value}: give 1 to 1,000,000"));
            }
        }
        if self.deadline.is_zero() || self.attempt_limit.is_zero() {
            return limit("--deadline and --attempt-limit: give more than 0".to_owned());
        }
        for (name, word) in [("--cell", &self.cell), ("--instrument", &self.instrument)] {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if word.is_empty() || word.len() > 64 || !word.bytes().all(plain) {
                return limit(format!(
                    "{name} '{word}': give letters, digits, '-', '_' and '.', at most 64"
                ));
            }
        }
        self.targets()
    }

    fn targets(&self) -> Result<Vec<Target>, ReplayError> {
        let mut targets: Vec<Target> = Vec::new();
        for text in &self.gateways {
            let target = target(text)?;
            if targets.iter().any(|other| other.region == target.region) {
                return Err(ReplayError::RegionTwice(target.region));
            }
            targets.push(target);
        }
        Ok(targets)
    }
}

fn target(text: &str) -> Result<Target, ReplayError> {
    let form = || ReplayError::GatewayForm(text.to_owned());
    let (region, url) = text.split_once('=').ok_or_else(form)?;
    let authority = url.strip_prefix("http://").ok_or_else(form)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if region.is_empty() {
        return Err(form());
    }
    // Names are refused with everything else that is not a literal loopback address: a resolver could answer anything.
    let address: SocketAddr = authority.parse().map_err(|_| form())?;
    if !address.ip().is_loopback() {
        return Err(ReplayError::NotLoopback(text.to_owned()));
    }
    Ok(Target {
        region: region.to_owned(),
        address,
    })
}

/// Reads "250ms", "90s", "10m", "1h".
fn duration(text: &str) -> Result<Duration, String> {
    let failed = || format!("'{text}' is no duration; examples: 250ms, 90s, 10m, 1h");
    let digits = text.len()
        - text
            .trim_start_matches(|character: char| character.is_ascii_digit())
            .len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| failed())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(failed()),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::{Arguments, duration};

    fn check(extra: &[&str], expected: &str) {
        let base = [
            "exchange-replay",
            "--rate=500",
            "--duration=10s",
            "--witness=w",
        ];
        let arguments = Arguments::try_parse_from(base.iter().chain(extra)).unwrap();
        let shown = match arguments.check() {
            Ok(targets) => targets
                .iter()
                .map(|target| format!("{}@{} ", target.region, target.address))
                .collect(),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn only_loopback_is_ever_reached() {
        check(
            &[
                "--gateway=eu=http://127.3.1.1:8080",
                "--gateway=us=http://[::1]:80/",
            ],
            "eu@127.3.1.1:8080 us@[::1]:80 ",
        );
        for url in [
            "http://10.0.0.1:80",
            "http://0.0.0.0:80",
            "http://[2001:db8::1]:80",
            "http://128.0.0.1:80",
        ] {
            check(&[&format!("--gateway=eu={url}")], "only loopback");
        }
        for url in [
            "http://localhost:80",
            "https://127.0.0.1:80",
            "127.0.0.1:80",
            "http://127.0.0.1",
        ] {
            check(
                &[&format!("--gateway=eu={url}")],
                "expected REGION=http://127.x.y.z:port",
            );
        }
        check(
            &[
                "--gateway=eu=http://127.3.1.1:80",
                "--gateway=eu=http://127.3.1.2:80",
            ],
            "given two gateways",
        );
    }

    #[test]
    fn a_run_is_bounded() {
        let gateway = "--gateway=eu=http://127.3.1.1:80";
        let cases = [
            ("--accounts=0", "--accounts 0"),
            ("--clients=0", "--clients 0"),
            ("--cell=a/b", "--cell 'a/b'"),
        ];
        for (extra, expected) in cases {
            check(&[gateway, extra], expected);
        }
        let missing =
            Arguments::try_parse_from(["exchange-replay", gateway, "--witness=w", "--rate=5"]);
        assert!(missing.is_err(), "a duration is required");
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "s", "10", "1.5s", "10 s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
