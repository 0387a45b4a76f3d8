//! `mainstay-backcheck`: random faults on an archive, from a seed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mainstay_backcheck::{Amount, platform, run};

#[derive(Parser)]
#[command(
    name = "mainstay-backcheck",
    about = "Random faults on an archive, and whether what comes back is what was written"
)]
struct Arguments {
    /// The `mainstay` to try
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of a random run: a platform of three replicas that loses its primary's host while it is put away
    #[arg(long)]
    platform: bool,
    /// Archivers killed, stores away
    #[arg(long, default_value_t = 10)]
    interruptions: u32,
    /// Damaged copies of the stores to restore from
    #[arg(long, default_value_t = 20)]
    damages: u32,
    /// Base backups under retention
    #[arg(long, default_value_t = 4)]
    backups: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.platform {
        return match platform::run(&arguments.program) {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("platform: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let amount = Amount {
        interruptions: arguments.interruptions,
        damages: arguments.damages,
        backups: arguments.backups,
    };
    match run(&arguments.program, arguments.seed, amount) {
        Ok(counts) => {
            println!(
                "seed {}: {} interruptions without a hole; {} restores exact, {} refused with the reason; {} backups under \
                 retention",
                arguments.seed, counts.interruptions, counts.exact, counts.refused, counts.backups
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("seed {}: {error:#}", arguments.seed);
            ExitCode::FAILURE
        }
    }
}
