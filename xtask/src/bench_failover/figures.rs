//! Gaps by fault and contestant, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Class;
use super::writer::Measured;

#[derive(Default)]
pub struct Figures {
    gaps: BTreeMap<(Class, &'static str), Vec<Duration>>,
    failures: BTreeMap<(Class, &'static str), u32>,
    lost: BTreeMap<(Class, &'static str), usize>,
    stuck: BTreeMap<(Class, &'static str), u32>,
}

impl Figures {
    pub fn add(&mut self, class: Class, name: &'static str, measured: &Measured) {
        let key = (class, name);
        self.gaps.entry(key).or_default().push(measured.gap);
        *self.lost.entry(key).or_default() += measured.lost;
        *self.stuck.entry(key).or_default() += u32::from(measured.stuck.is_some());
    }

    pub fn fail(&mut self, class: Class, name: &'static str) {
        *self.failures.entry((class, name)).or_default() += 1;
        self.gaps.entry((class, name)).or_default();
    }

    pub fn failures(&self, of: &str) -> u32 {
        let own = self.failures.iter().filter(|((_, name), _)| *name == of);
        own.map(|(_, count)| count).sum()
    }

    /// At the median and the 99th percentile, in milliseconds.
    pub fn percentiles_ms(&self, class: Class, name: &'static str) -> Option<(f64, f64)> {
        let mut gaps = self.gaps.get(&(class, name))?.clone();
        gaps.sort();
        let ms = |share| Some(percentile(&gaps, share)?.as_secs_f64() * 1e3);
        Some((ms(0.5)?, ms(0.99)?))
    }

    pub fn table(&self) -> String {
        let mut text = String::from(
            "| fault | contestant | n | p50, ms | p99, ms | least | worst | not measured | not whole again by itself | acknowledged and lost |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for ((class, name), gaps) in &self.gaps {
            let mut gaps = gaps.clone();
            gaps.sort();
            let ms = |share: f64| {
                percentile(&gaps, share)
                    .map_or_else(|| "–".to_owned(), |gap| format!("{}", gap.as_millis()))
            };
            let lost = self.lost.get(&(*class, *name)).copied().unwrap_or(0);
            let stuck = self.stuck.get(&(*class, *name)).copied().unwrap_or(0);
            let failed = self.failures.get(&(*class, *name)).copied().unwrap_or(0);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {name} | {} | {} | {} | {} | {} | {failed} | {stuck} | {lost} |",
                class.name(),
                gaps.len(),
                ms(0.5),
                ms(0.99),
                ms(0.0),
                ms(1.0)
            );
        }
        text
    }
}

/// The smallest value that so large a share of all does not exceed. With few values the 99th percentile is the
/// worst one, and the table says how many there were.
fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let ms = Duration::from_millis;
        let sorted: Vec<Duration> = (1..=20).map(ms).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(ms(10)));
        assert_eq!(percentile(&sorted, 0.99), Some(ms(20)));
        assert_eq!(percentile(&sorted, 0.0), Some(ms(1)));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn what_could_not_be_measured_is_said() {
        let mut figures = Figures::default();
        let measured = Measured {
            gap: Duration::from_millis(1_234),
            lost: 2,
            stuck: Some("nobody leads".to_owned()),
        };
        figures.add(Class::Cut, "ours", &measured);
        figures.fail(Class::Cut, "peer");
        let table = figures.table();
        assert!(table.contains("| cut | ours | 1 | 1234 | 1234 | 1234 | 1234 | 0 | 1 | 2 |"));
        assert!(table.contains("| cut | peer | 0 | – | – | – | – | 1 | 0 | 0 |"));
    }
}
