//! `exchange-ticker`: the best prices of a cell, for everybody who only watches.
//!
//! A board in the hall: someone walks to the trading floor four times a second, reads the best bid and ask, and
//! writes them up with the time of the walk. The board keeps nothing that could be lost, so it may hang in any
//! region and be put up anew in another. While the floor is closed it goes on showing what was last seen, and
//! how long ago that was; whoever reads it decides whether that is good enough.

mod clock;
mod door;
mod metrics;
mod serve;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use exchange_tls::Identity;
use tracing_subscriber::EnvFilter;

use crate::metrics::Metrics;

const ENVIRONMENT: &str = "\
Environment:
  MAINSTAY_LISTEN      address:port of the HTTP API
  MAINSTAY_TLS_IDENTITY MAINSTAY_TLS_ROOTS     key with certificate, and roots (PEM): only callers that prove
                       themselves by these roots are answered; absent: everybody is, in the clear
  MAINSTAY_GATEWAY     address:port of a gateway that leads to the cell
  MAINSTAY_LOG         log filter, such as info or exchange_ticker=debug";

#[derive(Parser)]
#[command(name = "exchange-ticker", version, about = "The best prices of a cell, for everybody who only watches", after_help = ENVIRONMENT)]
struct Arguments {
    /// The cell whose prices are shown
    #[arg(long)]
    cell: String,
    /// Milliseconds from one look at the book to the next
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    period_ms: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .json()
        .flatten_event(true)
        .init();
    let (listen, gateway) = (address("MAINSTAY_LISTEN")?, address("MAINSTAY_GATEWAY")?);
    let identity = Identity::from_lookup(&|name| std::env::var(name).ok())?;
    let period = Duration::from_millis(arguments.period_ms);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let (board, seen) = tokio::sync::watch::channel(None);
        let metrics = Arc::new(Metrics::default());
        let walk = watch::run(
            gateway,
            arguments.cell,
            period,
            (board, Arc::clone(&metrics)),
        );
        tokio::spawn(walk);
        serve::run(listen, identity, serve::Hall { seen, metrics }).await
    })
}

fn address(name: &str) -> anyhow::Result<SocketAddr> {
    let text = std::env::var(name)
        .with_context(|| format!("the environment variable {name} is not set: see --help"))?;
    text.parse()
        .with_context(|| format!("{name} is not address:port: {text:?}"))
}
