//! The stalls of several runs of one fault, as a row of the table.

use serde_json::Value;

#[derive(Default)]
pub struct Stalls {
    stalls_ms: Vec<f64>,
    slowest_ms: f64,
    failed: u64,
    lagged: bool,
}

impl Stalls {
    /// Adds what the driver reported of one run.
    pub fn add(&mut self, report: &Value) {
        let overall = &report["overall"];
        let ms = |key: &str| overall[key].as_f64().unwrap_or(f64::NAN) / 1_000.0;
        self.stalls_ms.push(ms("longest_stall_us"));
        self.slowest_ms = self.slowest_ms.max(ms("worst_latency_us"));
        self.failed += report["failed"].as_u64().unwrap_or(0);
        self.lagged |= report["verdict"] == "lagged";
    }

    /// A stall of a run in which the driver itself lagged is marked: it is too long, never too short.
    pub fn row(&self, name: &str, aim_ms: Option<u64>) -> String {
        let each: Vec<String> = self.stalls_ms.iter().map(|ms| format!("{ms:.0}")).collect();
        let worst = self.stalls_ms.iter().copied().fold(0.0, f64::max);
        let aim = aim_ms.map_or_else(String::new, |aim| aim.to_string());
        let lagged = if self.lagged { " (driver lagged)" } else { "" };
        format!(
            "| {name}{lagged} | {} | {worst:.0} | {:.0} | {} | {aim} |",
            each.join(", "),
            self.slowest_ms,
            self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Stalls;

    #[test]
    fn a_row_shows_every_run_and_the_worst() {
        let mut stalls = Stalls::default();
        for (stall_us, failed) in [(412_300, 0), (1_220_900, 2)] {
            let overall =
                json!({"longest_stall_us": stall_us, "worst_latency_us": stall_us + 10_000});
            stalls.add(&json!({"overall": overall, "failed": failed, "verdict": "answered"}));
        }
        let expected = "| host-crash | 412, 1221 | 1221 | 1231 | 2 | 3000 |";
        assert_eq!(stalls.row("host-crash", Some(3_000)), expected);
    }
}
