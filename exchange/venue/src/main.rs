//! `exchange-venue`: the trading venue of one cell.

use clap::{Parser, Subcommand};
use exchange_venue::settings::Settings;
use exchange_venue::{bench, load, openapi, serve};
use tracing_subscriber::EnvFilter;

const ENVIRONMENT: &str = "\
Environment of `serve`:
  MAINSTAY_CELL        name of the cell (letters, digits, - _ .)
  MAINSTAY_LISTEN      address:port of the HTTP API
  MAINSTAY_TLS_IDENTITY MAINSTAY_TLS_ROOTS     key with certificate, and roots (PEM): only callers that prove
                       themselves by these roots are answered; absent: everybody is, in the clear
  MAINSTAY_CONTROLLERS names, between commas, that callers of /control/mode must prove; absent: nobody is heard there
  MAINSTAY_INSTANCE    name of this instance in logs and epochs
  MAINSTAY_LEASE_FILE  lease of the local primary; absent: no lease is checked
  MAINSTAY_LOG         log filter, such as info or exchange_venue=debug
  MAINSTAY_LOG_FORMAT  json (default) or text
  PGHOST PGPORT PGUSER PGDATABASE PGPASSFILE   the local PostgreSQL server
  PGSSLMODE PGSSLROOTCERT                      disable (default), or verify-full with the roots to believe";

#[derive(Parser)]
#[command(name = "exchange-venue", version, about = "The trading venue of one cell: sequences, matches, commits, answers", after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Serve the cell while the local PostgreSQL is its open primary (the default)
    Serve,
    /// Measure how many commands per second the engine alone plays
    BenchEngine {
        /// Commands to play
        #[arg(long, default_value_t = 1_000_000)]
        orders: u64,
    },
    /// Send orders to a running venue as fast as it answers, and print rate and latency
    BenchLoad {
        /// Where the venue, or a gateway, listens
        #[arg(long)]
        address: std::net::SocketAddr,
        /// The cell's name
        #[arg(long, default_value = "cell")]
        cell: String,
        /// Connections, each with one request in flight and an account of its own
        #[arg(long, default_value_t = 64)]
        connections: u64,
        /// Seconds to measure
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Print the OpenAPI description
    Openapi,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task.unwrap_or(Task::Serve) {
        Task::Serve => {
            log();
            serve::run(Settings::from_environment()?)
        }
        Task::BenchEngine { orders } => bench::engine(orders),
        Task::BenchLoad {
            address,
            cell,
            connections,
            seconds,
        } => load::run(address, &cell, connections, seconds),
        Task::Openapi => {
            println!("{}", openapi::document());
            Ok(())
        }
    }
}

fn log() {
    let filter =
        || EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(std::io::stderr);
    if std::env::var("MAINSTAY_LOG_FORMAT").as_deref() == Ok("text") {
        builder.with_ansi(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
