//! Everything that `docs/BENCHMARKS.md` records, measured again and printed in its form.
//!
//! Each section stands alone and runs the products' own programs from outside. A figure is no verdict:
//! only a section that could not be measured at all makes the task fail. A section whose peer or tool is
//! not installed says so and is left out. Before each section the load of others is measured and printed,
//! because a figure taken on a busy machine describes the machine.

mod machine;
mod simulator;

use anyhow::{Result, bail};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these sections
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Section>,
    /// Schedules that the simulator runs
    #[arg(long, default_value_t = 5_000)]
    pub schedules: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    /// Schedules of the simulator per second
    Simulator,
}

const ALL: [Section; 1] = [Section::Simulator];

pub fn run(arguments: &Arguments) -> Result<()> {
    machine::print()?;
    let mut failures = Vec::new();
    for section in ALL {
        if !arguments.only.is_empty() && !arguments.only.contains(&section) {
            continue;
        }
        if let Err(error) = measure(section, arguments) {
            println!("not measured: {error:#}");
            failures.push(section);
        }
    }
    if !failures.is_empty() {
        bail!("these sections could not be measured: {failures:?}");
    }
    Ok(())
}

fn measure(section: Section, arguments: &Arguments) -> Result<()> {
    println!("\n## {section:?}\n");
    machine::print_load()?;
    match section {
        Section::Simulator => simulator::measure(arguments.schedules),
    }
}
