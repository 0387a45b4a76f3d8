//! The program `exchange-replay`: arguments in, table and exit code out.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use exchange_replay::arguments::Arguments;
use exchange_replay::report::Report;
use exchange_replay::{ReplayError, exit, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run::run(&arguments).and_then(|report| publish(&arguments, report)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprint!(": {source}");
                cause = source.source();
            }
            eprintln!();
            ExitCode::from(exit::IMPOSSIBLE)
        }
    }
}

fn publish(arguments: &Arguments, report: Report) -> Result<u8, ReplayError> {
    print!("{}", report.shown());
    if let Some(path) = &arguments.json {
        let failed = |source| ReplayError::Result {
            path: path.display().to_string(),
            source,
        };
        let text = serde_json::to_vec_pretty(&report).map_err(|error| failed(error.into()))?;
        std::fs::write(path, text).map_err(failed)?;
    }
    Ok(report.exit_code())
}
