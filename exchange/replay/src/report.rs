//! What a run says at its end: a table for people, the same as JSON for programs, and a verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::arguments::{Arguments, Target};
use crate::clock::Origin;
use crate::measure::{Ended, LagLimits, Measure, Percentiles, Stretch, microseconds};
use crate::{exit, marks};

/// Length of the windows in the JSON form, for whoever attributes stalls without marks.
const WINDOW: Duration = Duration::from_secs(10);

/// What the report needs to know beside the measurements.
#[derive(Debug)]
pub struct Setting<'a> {
    pub source: &'static str,
    pub targets: &'a [Target],
    pub first_account: u64,
    pub origin: Origin,
    /// When the flow began, in the run's time.
    pub begin: Duration,
    pub processor: Duration,
    pub interrupted: bool,
    pub lag_limits: LagLimits,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Answered,
    Failed,
    /// The driver lagged behind its own plan.
    Lagged,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub version: u8,
    pub verdict: Verdict,
    pub interrupted: bool,
    pub source: &'static str,
    pub cell: String,
    pub gateways: BTreeMap<String, String>,
    pub rate: u32,
    pub duration_ms: u64,
    pub first_account: u64,
    pub began_wall_ms: u64,
    pub sent: u64,
    pub answered: u64,
    /// Of the answered: those that the venue rejected.
    pub rejected: u64,
    /// Of the answered: those that reached the venue after their deadline.
    pub expired: u64,
    /// Refused as malformed or contradictory (HTTP 4xx).
    pub refused: u64,
    pub unanswered: u64,
    /// The refused and the unanswered: this driver sends nothing on purpose that deserves refusal.
    pub failed: u64,
    pub attempts: u64,
    pub moves: u64,
    pub homecomings: u64,
    pub answered_per_second: f64,
    pub outcomes: BTreeMap<String, u64>,
    /// Answers by HTTP status other than 200, per attempt.
    pub statuses: BTreeMap<u16, u64>,
    pub latency: BTreeMap<&'static str, Percentiles>,
    pub overall: Stretch,
    pub marks: Vec<Marked>,
    /// Why there are no marks although a file was named.
    pub marks_problem: Option<String>,
    pub windows: Vec<Window>,
    pub lag: Percentiles,
    pub processor_ms: u64,
    /// Processor time of this driver in thousandths of one core.
    pub processor_per_mille: u64,
    pub witness: String,
}

/// The time from a mark to the next.
#[derive(Debug, Serialize)]
pub struct Marked {
    pub name: String,
    pub wall_ms: u64,
    #[serde(flatten)]
    pub stretch: Stretch,
}

#[derive(Debug, Serialize)]
pub struct Window {
    pub wall_ms: u64,
    #[serde(flatten)]
    pub stretch: Stretch,
}

impl Report {
    #[must_use]
    pub fn new(arguments: &Arguments, setting: &Setting<'_>, measure: &Measure) -> Self {
        // What somebody else wrote must not cost the results of a long run.
        let marks = arguments
            .marks
            .as_deref()
            .map_or(Ok(Vec::new()), marks::read);
        let (marks, marks_problem) = match marks {
            Ok(marks) => (marks, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let (answered, refused, unanswered) = (
            measure.count(Ended::Answered),
            measure.count(Ended::Refused),
            measure.count(Ended::Unanswered),
        );
        let verdict = if measure.lagged(setting.lag_limits) {
            Verdict::Lagged
        } else if refused + unanswered > 0 {
            Verdict::Failed
        } else {
            Verdict::Answered
        };
        let begin_us = microseconds(setting.begin);
        let length = Duration::from_micros(measure.ended_us().saturating_sub(begin_us))
            .max(Duration::from_millis(1));
        let outcome = |name: &str| measure.outcomes.get(name).copied().unwrap_or(0);
        let [overall] = measure.stretches(&[(begin_us, u64::MAX)])[..] else {
            unreachable!("one stretch was asked for")
        };
        Self {
            version: 1,
            verdict,
            interrupted: setting.interrupted,
            source: setting.source,
            cell: arguments.cell.clone(),
            gateways: setting
                .targets
                .iter()
                .map(|t| (t.region.clone(), t.address.to_string()))
                .collect(),
            rate: arguments.rate,
            duration_ms: microseconds(length) / 1_000,
            first_account: setting.first_account,
            began_wall_ms: setting.origin.wall_ms(setting.begin),
            sent: measure.taken_up,
            answered,
            rejected: outcome("rejected"),
            expired: outcome("expired"),
            refused,
            unanswered,
            failed: refused + unanswered,
            attempts: measure.attempts,
            moves: measure.moves,
            homecomings: measure.homecomings,
            answered_per_second: answered as f64 / length.as_secs_f64(),
            outcomes: measure.outcomes.clone(),
            statuses: measure.refusals.clone(),
            latency: measure.percentiles(),
            overall,
            marks: marked(&marks, setting, measure),
            marks_problem,
            windows: windows(setting, measure),
            lag: measure.lag(),
            processor_ms: microseconds(setting.processor) / 1_000,
            processor_per_mille: microseconds(setting.processor) * 1_000 / microseconds(length),
            witness: arguments.witness.display().to_string(),
        }
    }

    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Answered => exit::ANSWERED,
            Verdict::Failed => exit::FAILED,
            Verdict::Lagged => exit::LAGGED,
        }
    }

    /// The table for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "flow        {} at {}/s through {} gateways, {:.1} s{}",
            self.source,
            self.rate,
            self.gateways.len(),
            seconds(self.duration_ms),
            if self.interrupted {
                " (interrupted)"
            } else {
                ""
            }
        );
        let _ = writeln!(
            text,
            "intents     sent {}  answered {} (rejected {}, expired {})  failed {} (unanswered {}, refused {})",
            self.sent,
            self.answered,
            self.rejected,
            self.expired,
            self.failed,
            self.unanswered,
            self.refused
        );
        let _ = writeln!(
            text,
            "attempts    {}  moves to another region {}  returns home {}",
            self.attempts, self.moves, self.homecomings
        );
        for (kind, latency) in &self.latency {
            let _ = writeln!(
                text,
                "latency     {:<8} {}",
                kind,
                shown_percentiles(latency)
            );
        }
        let _ = writeln!(
            text,
            "silence     longest stall {}  longest gap between acknowledgements {}",
            shown_us(self.overall.longest_stall_us),
            shown_us(self.overall.longest_acknowledgement_gap_us)
        );
        for mark in &self.marks {
            let _ = writeln!(
                text,
                "mark        {:<40} stall {:>10}  worst latency {:>10}  acknowledged {:>7}  failed {}",
                mark.name,
                shown_us(mark.stretch.longest_stall_us),
                shown_us(mark.stretch.worst_latency_us),
                mark.stretch.acknowledged,
                mark.stretch.failed
            );
        }
        if let Some(problem) = &self.marks_problem {
            let _ = writeln!(text, "marks       none: {problem}");
        }
        let _ = writeln!(
            text,
            "driver      lag {}  processor {:.1} % of a core",
            shown_percentiles(&self.lag),
            self.processor_per_mille as f64 / 10.0
        );
        let _ = writeln!(text, "verdict     {}", self.shown_verdict());
        text
    }

    fn shown_verdict(&self) -> &'static str {
        match self.verdict {
            Verdict::Answered => "every intent was answered within its deadline",
            Verdict::Failed => "intents failed",
            Verdict::Lagged => {
                "none: this driver lagged behind its own plan, so the figures describe it, not the platform"
            }
        }
    }
}

fn marked(marks: &[marks::Mark], setting: &Setting<'_>, measure: &Measure) -> Vec<Marked> {
    let moments: Vec<u64> = marks
        .iter()
        .map(|mark| microseconds(setting.origin.offset_of_wall_ms(mark.wall_ms)))
        .collect();
    let borders: Vec<(u64, u64)> = moments
        .iter()
        .enumerate()
        .map(|(index, from)| (*from, moments.get(index + 1).copied().unwrap_or(u64::MAX)))
        .collect();
    let stretches = measure.stretches(&borders);
    let marked = |(mark, stretch): (&marks::Mark, Stretch)| Marked {
        name: mark.name.clone(),
        wall_ms: mark.wall_ms,
        stretch,
    };
    marks.iter().zip(stretches).map(marked).collect()
}

fn windows(setting: &Setting<'_>, measure: &Measure) -> Vec<Window> {
    let width = microseconds(WINDOW);
    let mut borders = Vec::new();
    let mut from = microseconds(setting.begin);
    while from < measure.ended_us() {
        borders.push((from, from + width));
        from += width;
    }
    let wall = |from: u64| setting.origin.wall_ms(Duration::from_micros(from));
    let stretches = measure.stretches(&borders);
    borders
        .iter()
        .zip(stretches)
        .map(|((from, _), stretch)| Window {
            wall_ms: wall(*from),
            stretch,
        })
        .collect()
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}

fn shown_us(microseconds: u64) -> String {
    format!("{:.1} ms", microseconds as f64 / 1_000.0)
}

fn shown_percentiles(latency: &Percentiles) -> String {
    format!(
        "p50 {}  p99 {}  p99.9 {}  max {}",
        shown_us(latency.p50_us),
        shown_us(latency.p99_us),
        shown_us(latency.p999_us),
        shown_us(latency.max_us)
    )
}
