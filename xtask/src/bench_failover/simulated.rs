//! What the same faults cost in the simulator, where only the protocol and the modelled servers take time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Class;
use super::figures::Figures;
use crate::step::program;

/// So many schedules of each fault.
const SCHEDULES: &str = "200";

/// Milliseconds at the median and the 99th percentile, by the name of the fault.
type Costs = BTreeMap<String, (f64, f64)>;

/// Measured beside simulated, with the factor between the medians.
pub fn beside(figures: &Figures, ours: &'static str) -> Result<String> {
    let output = Command::new(program("mainstay-sim")?)
        .args(["recovery", "--schedules", SCHEDULES])
        .output()
        .context("run the simulator")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let costs = parse(&String::from_utf8_lossy(&output.stdout))?;
    let mut text = String::from(
        "| fault | simulated p50, ms | p99 | measured p50, ms | p99 | factor of the medians |\n|---|---|---|---|---|---|\n",
    );
    for class in Class::ALL {
        let Some((p50, p99)) = figures.percentiles_ms(class, ours) else {
            continue;
        };
        let (simulated_p50, simulated_p99) = costs
            .get(class.name())
            .context("a fault that is not simulated")?;
        let factor = p50 / simulated_p50;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {simulated_p50:.0} | {simulated_p99:.0} | {p50:.0} | {p99:.0} | {factor:.2} |",
            class.name()
        );
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Costs> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(": p50 ")?;
        let (p50, rest) = rest.split_once(" ms, p99 ")?;
        let (p99, _) = rest.split_once(" ms")?;
        Some((name.to_owned(), (p50.parse().ok()?, p99.parse().ok()?)))
    };
    let costs = text.lines().map(line).collect::<Option<Costs>>();
    costs.with_context(|| format!("what the simulator says: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_simulator_says_is_read() {
        let costs = parse("silent crash: p50 1432 ms, p99 1611 ms, n=200\n").unwrap();
        assert_eq!(costs["silent crash"], (1_432.0, 1_611.0));
        assert!(parse("seed 7: Unavailable").is_err());
    }
}
