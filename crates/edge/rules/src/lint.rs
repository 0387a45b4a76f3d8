//! What is allowed and will yet fail on the night it is needed: defects of rules, each with the reason and
//! the repaired expression.
//!
//! Repairs build on one another: the expression shown for a later finding contains the earlier repairs, so
//! that the last one is the whole.

mod expressions;
mod repair;

use std::collections::{BTreeMap, BTreeSet};

use mainstay_promql::ast::Expr;
use mainstay_promql::number::{duration, general};

use crate::file::{Alert, Group, Rule};
use expressions::{families, family, guarded, has_floor, needs_floor, quantile_thresholds};
use mainstay_yaml::Place;

/// Interval of a group that names none: Prometheus's default.
const DEFAULT_INTERVAL_MS: i64 = 60_000;

/// Bounds that Prometheus's clients give a histogram unless told otherwise, in seconds.
const DEFAULT_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A quantile of single series, or of sums that lost their buckets.
    QuantileWithoutLe,
    /// Events per second are compared as if they were a share.
    RateCalledShare,
    /// A raw counter is compared, which only ever grows.
    RawCounter,
    /// A quantile or share of hardly any events.
    NoTrafficFloor,
    /// The threshold lies between two bounds, so the answer is a guess.
    ThresholdBetweenBuckets,
    /// No alert when the metric vanishes.
    SilentWhenAbsent,
    /// One bad evaluation is enough, or nearly.
    ShortFor,
    NoSeverity,
    NoRunbook,
    NoSummary,
}

impl Code {
    pub const fn name(self) -> &'static str {
        match self {
            Self::QuantileWithoutLe => "quantile-without-le",
            Self::RateCalledShare => "rate-called-share",
            Self::RawCounter => "raw-counter",
            Self::NoTrafficFloor => "no-traffic-floor",
            Self::ThresholdBetweenBuckets => "threshold-between-buckets",
            Self::SilentWhenAbsent => "silent-when-absent",
            Self::ShortFor => "short-for",
            Self::NoSeverity => "no-severity",
            Self::NoRunbook => "no-runbook",
            Self::NoSummary => "no-summary",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub place: Place,
    pub rule: String,
    pub code: Code,
    pub reason: String,
    /// The expression, field or rule to write instead or besides.
    pub repair: String,
}

/// What is known of histograms: the bounds of a family, in its unit.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub buckets: BTreeMap<String, Vec<f64>>,
}

/// Every finding in these groups, in the order of the files. An alert on absence counts wherever it stands.
pub fn lint(groups: &[Group], known: &Known) -> Vec<Finding> {
    let mut absent = BTreeSet::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        if rule.alert().is_some() {
            expressions::watched(&rule.expr, &mut absent);
        }
    }
    let mut findings = Vec::new();
    for group in groups {
        for rule in &group.rules {
            let mut linter = Linter {
                group,
                rule,
                known,
                absent: &absent,
                findings: &mut findings,
            };
            linter.rule();
        }
    }
    findings
}

struct Linter<'a> {
    group: &'a Group,
    rule: &'a Rule,
    known: &'a Known,
    absent: &'a BTreeSet<String>,
    findings: &'a mut Vec<Finding>,
}

impl Linter<'_> {
    fn find(&mut self, place: Place, code: Code, reason: String, repair: String) {
        self.findings.push(Finding {
            file: self.group.file.clone(),
            place,
            rule: self.rule.name().to_owned(),
            code,
            reason,
            repair,
        });
    }

    fn rule(&mut self) {
        let mut expr = self.rule.expr.clone();
        self.quantile(&mut expr);
        let Some(alert) = self.rule.alert() else {
            return;
        };
        self.share(&mut expr, alert);
        self.counter(&expr);
        self.floor(&mut expr);
        self.thresholds(&expr);
        self.absence(&expr);
        self.patience(alert);
        self.words(alert);
    }

    fn quantile(&mut self, expr: &mut Expr) {
        let place = self.rule.expr_place;
        if repair::sum_by_le(expr) {
            let reason = "histogram_quantile needs the buckets of all series together: without `sum by (le)` it answers for each instance alone (or, where `le` was summed away, not at all)".to_owned();
            self.find(place, Code::QuantileWithoutLe, reason, expr.to_string());
        }
    }

    fn share(&mut self, expr: &mut Expr, alert: &Alert) {
        let said = alert
            .annotations
            .iter()
            .map(|(_, template)| template.text());
        let said: String = said
            .chain([alert.name.as_str()])
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        let is_share = ["%", "percent", "ratio", "share", "fraction"]
            .iter()
            .any(|word| said.contains(word));
        if !is_share {
            return;
        }
        let Some(compared) = expressions::compared_rate(expr) else {
            return;
        };
        let reason = format!(
            "the text speaks of a share, but {} is events per second: {} means {} a second, however many there are in all",
            compared.what,
            general(compared.threshold),
            general(compared.threshold)
        );
        let repaired = repair::divide_by_all(expr, &compared);
        let repair = match &repaired {
            Some(repaired) => repaired.to_string(),
            None => "divide by the rate of all events, failed or not".to_owned(),
        };
        if let Some(repaired) = repaired {
            *expr = repaired;
        }
        self.find(self.rule.expr_place, Code::RateCalledShare, reason, repair);
    }

    fn counter(&mut self, expr: &Expr) {
        let Some(name) = expressions::raw_counter(expr) else {
            return;
        };
        let reason = format!("{name} is a counter: it only grows, until a restart sets it to 0");
        let repair = repair::with_increase(expr, &name);
        self.find(self.rule.expr_place, Code::RawCounter, reason, repair);
    }

    fn floor(&mut self, expr: &mut Expr) {
        if !needs_floor(expr) || has_floor(expr) {
            return;
        }
        let reason = "at night a single slow or failed event is the whole quantile or share: ask for a least rate besides (1/s here; choose it by your traffic)".to_owned();
        let repair = match repair::with_floor(expr) {
            Some(repaired) => {
                *expr = repaired;
                expr.to_string()
            }
            None => format!("({expr}) and on () sum(rate(ALL_EVENTS[5m])) > 1"),
        };
        self.find(self.rule.expr_place, Code::NoTrafficFloor, reason, repair);
    }

    fn thresholds(&mut self, expr: &Expr) {
        for (name, threshold) in quantile_thresholds(expr) {
            let bounds = self.known.buckets.get(&name);
            let (list, whose): (&[f64], &str) = match bounds {
                Some(bounds) => (bounds, "its"),
                None => (&DEFAULT_BUCKETS, "the usual"),
            };
            if list.contains(&threshold) {
                continue;
            }
            let below = list
                .iter()
                .copied()
                .filter(|bound| *bound < threshold)
                .fold(f64::NAN, f64::max);
            let above = list
                .iter()
                .copied()
                .filter(|bound| *bound > threshold)
                .fold(f64::NAN, f64::min);
            let near: Vec<String> = [below, above]
                .into_iter()
                .filter(|b| !b.is_nan())
                .map(general)
                .collect();
            let reason = format!(
                "{} is no bucket bound of {name} (near it {whose} bounds have {}): whether a quantile is above it is a guess within a bucket",
                general(threshold),
                near.join(" and ")
            );
            let repair = format!(
                "give {name} a bucket at {}, or compare with {}",
                general(threshold),
                near.last().map_or("a bound", String::as_str)
            );
            self.find(
                self.rule.expr_place,
                Code::ThresholdBetweenBuckets,
                reason,
                repair,
            );
        }
    }

    fn absence(&mut self, expr: &Expr) {
        if guarded(expr, self.absent) {
            return;
        }
        let missing: Vec<String> = families(expr)
            .into_iter()
            .filter(|name| !self.absent.contains(&family(name)))
            .collect();
        let reason = format!(
            "when {} vanishes, the expression gives nothing, which reads as \"all is well\"",
            missing.join(" or ")
        );
        let all: Vec<String> = missing
            .iter()
            .map(|name| format!("absent({name})"))
            .collect();
        let repair = format!(
            "- alert: {}NoData\n  expr: {}\n  for: 5m",
            self.rule.name(),
            all.join(" or ")
        );
        self.find(self.rule.expr_place, Code::SilentWhenAbsent, reason, repair);
    }

    fn patience(&mut self, alert: &Alert) {
        let interval = self.group.interval.unwrap_or(DEFAULT_INTERVAL_MS);
        if alert.hold >= 2 * interval {
            return;
        }
        let reason = format!(
            "`for` is {}, and the group is evaluated every {}: fewer than two evaluations confirm it",
            duration(alert.hold),
            duration(interval)
        );
        let repair = format!("for: {}", duration(2 * interval));
        self.find(self.rule.place, Code::ShortFor, reason, repair);
    }

    fn words(&mut self, alert: &Alert) {
        let place = self.rule.place;
        if !self.rule.labels.iter().any(|(name, _)| name == "severity") {
            let reason = "without a severity nobody can tell whether to wake someone".to_owned();
            self.find(
                place,
                Code::NoSeverity,
                reason,
                "labels: {severity: page}".to_owned(),
            );
        }
        let has = |names: &[&str]| {
            alert
                .annotations
                .iter()
                .any(|(name, _)| names.contains(&name.as_str()))
        };
        if !has(&["runbook_url", "runbook"]) {
            let reason = "whoever is woken has no runbook".to_owned();
            let repair = "annotations: {runbook_url: https://…}".to_owned();
            self.find(place, Code::NoRunbook, reason, repair);
        }
        if !has(&["summary", "description", "message"]) {
            let reason = "the alert says nothing but its name".to_owned();
            self.find(
                place,
                Code::NoSummary,
                reason,
                "annotations: {summary: …}".to_owned(),
            );
        }
    }
}

/// For people: place, what is wrong, why, and what to write.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding {
            file,
            place,
            rule,
            code,
            reason,
            repair,
        } = finding;
        text.push_str(&format!(
            "{file}:{}:{}: {rule}: {}: {reason}\n",
            place.line,
            place.column,
            code.name()
        ));
        for (number, line) in repair.lines().enumerate() {
            let lead = if number == 0 {
                "  repair: "
            } else {
                "          "
            };
            text.push_str(&format!("{lead}{line}\n"));
        }
    }
    text
}
