//! What a process says of itself while it runs: one line of JSON per event on standard error.
//!
//! Whoever started the process owns that stream (a shim writes it to rotated files). Levels say who must
//! wake up; `MAINSTAY_LOG` sets them (`info` by default; `mainstay_keeper=debug` for one crate).

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Starts the log. A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        .try_init();
    if started.is_err() {
        tracing::debug!("the log had been started before");
    }
}
