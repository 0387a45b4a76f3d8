//! The program `exchange-audit`: arguments in, table and exit code out.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use exchange_audit::check::{Inputs, check};
use exchange_audit::plant::{Kind, plant};
use exchange_audit::{AuditError, database, exit};

/// Compares the customers' witness logs with a cell's database, and the database with itself.
///
/// Exit codes: 0 clean; 1 findings; 2 no verdict, since an input could not be read (the error names it).
#[derive(Debug, Parser)]
#[command(name = "exchange-audit", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Class every intent and check the books.
    Check {
        /// A folder of witness logs, or one file; repeat it for every run that the database has seen.
        #[arg(long = "witness", value_name = "PATH", required = true)]
        witnesses: Vec<PathBuf>,
        /// The cell whose database this is; needed when the logs speak of several.
        #[arg(long)]
        cell: Option<String>,
        /// postgres://user@host:port/database, without a password; otherwise PGHOST, PGPORT, PGUSER, PGDATABASE. TLS as
        /// PGSSLMODE and PGSSLROOTCERT say, unless the URL does.
        #[arg(long, value_name = "URL")]
        database: Option<String>,
        /// Count intents that were not answered in time as findings.
        #[arg(long)]
        require_answers: bool,
        /// Write the result as JSON to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Put one named fault into a scratch copy of a database, to see that `check` finds it.
    Plant {
        kind: Kind,
        #[arg(long, value_name = "URL")]
        database: Option<String>,
        /// Confirms that the database may be spoiled; its name must contain "scratch".
        #[arg(long)]
        scratch: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprint!(": {source}");
                cause = source.source();
            }
            eprintln!();
            ExitCode::from(exit::NO_VERDICT)
        }
    }
}

fn run(command: Command) -> Result<u8, AuditError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AuditError::Start)?;
    match command {
        Command::Check {
            witnesses,
            cell,
            database,
            require_answers,
            json,
        } => {
            let settings = database::settings(database.as_deref())?;
            let inputs = Inputs {
                witnesses,
                cell,
                answers_required: require_answers,
            };
            let report = runtime.block_on(check(&inputs, &settings))?;
            print!("{}", report.shown());
            if let Some(path) = json {
                let failed = |source| AuditError::Write {
                    path: path.display().to_string(),
                    source,
                };
                let text =
                    serde_json::to_vec_pretty(&report).map_err(|error| failed(error.into()))?;
                std::fs::write(&path, text).map_err(failed)?;
            }
            Ok(report.exit_code())
        }
        Command::Plant {
            kind,
            database,
            scratch,
        } => {
            let settings = database::settings(database.as_deref())?;
            runtime.block_on(plant(kind, scratch, &settings))?;
            println!(
                "planted {kind:?}; the auditor must find it as: {}",
                kind.class().title()
            );
            Ok(exit::CLEAN)
        }
    }
}
