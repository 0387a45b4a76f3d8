//! Processor time per request of the gateway, beside HAProxy in the same run.
//!
//! The measurement is an example of the proxy's crate: proxy pinned to one processor, client and origin to
//! another, several rounds, medians. Requests per second depend on client and origin; the processor time
//! is the figure.

use anyhow::{Result, bail};

use super::Arguments;
use crate::step::{installed, run};

pub fn measure(arguments: &Arguments) -> Result<()> {
    if let Some(missing) = ["wrk", "taskset"].into_iter().find(|tool| !installed(tool)) {
        println!("skipped: {missing} is not installed");
        return Ok(());
    }
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("proxy and client need a processor each");
    }
    let rounds = arguments.rounds.max(1);
    let bench = arguments
        .example("mainstay-proxy", "bench_gateway")?
        .display()
        .to_string();
    println!(
        "wrk with 64 connections, HTTP/1.1 keep-alive, an answer of 86 bytes; median of {rounds} rounds."
    );
    println!(
        "Ours reads the framing strictly, counts every request and can hold it; HAProxy checks health and logs nothing.\n"
    );
    let rounds = rounds.to_string();
    run(
        "env",
        &[
            "MAINSTAY_LOG=warn",
            &bench,
            "--seconds",
            "5",
            "--rounds",
            &rounds,
        ],
    )
}
