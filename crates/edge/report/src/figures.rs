//! What was measured over an incident, and what follows from it.
//!
//! Requests are counted, not estimated: a counter's steps between its samples, with restarts from zero. *Lost time* is
//! the share of failed requests summed over time: half of all requests failing for a minute are thirty seconds. Budgets
//! and money follow from it, so that a quiet night and a busy noon weigh alike for as long as they last.

use std::collections::BTreeMap;

use mainstay_promql::eval::{Options, Output, range};
use mainstay_promql::labels::NAME;
use mainstay_promql::store::Memory;

use crate::recorded::{Recorded, Series};

const REQUESTS: &str = "mainstay_gateway_requests_total";
const HELD: &str = "mainstay_gateway_held_total";
const BUCKETS: &str = "mainstay_gateway_request_duration_seconds_bucket";
const LEFT: &str = "slo:budget:left";
/// What counts as slow where no objective says it: a bound of the gateways' histograms.
pub const SLOW_SECONDS: f64 = 1.024;
/// Points of a plot.
const POINTS: u64 = 120;
/// Shown before and after what was felt.
const AROUND_MS: u64 = 60_000;

/// What the platform file promises, and what it costs when that is broken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectations {
    pub promises: Vec<Promise>,
    pub costs: Vec<Cost>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    pub name: String,
    /// `99.9 %`
    pub target: String,
    /// What may be bad, as a share.
    pub budget: f64,
    pub period_ms: u64,
    pub counted: Counted,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    /// Of a gateway, and of one route of it if there is a path; bad are failed ones, or slower ones than so many seconds.
    Requests {
        gateway: String,
        path: Option<String>,
        within: Option<f64>,
    },
    /// PromQL that gives events in a second.
    Rates { bad: String, total: String },
}

/// In hundredths of a currency's unit, for each minute in which every request fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The service, or nothing for the platform as a whole.
    pub service: Option<String>,
    pub hundredths: u64,
    pub currency: String,
    /// Gateway and path of the routes that lead there; of the platform: none, which means all.
    pub routes: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub total: f64,
    pub failed: f64,
    pub slow: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub name: String,
    pub target: String,
    /// Nothing if nothing of it was measured.
    pub found: Option<Found>,
    pub budget_ms: f64,
    pub left: (Option<f64>, Option<f64>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub total: f64,
    pub bad: f64,
    pub lost: Lost,
}

/// Time that was lost, each moment by the share of what went wrong in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lost {
    pub ms: f64,
    /// Time in which nothing was counted, so that nobody knows: perhaps nobody came, perhaps nobody was let in.
    pub uncounted_ms: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    pub service: Option<String>,
    /// Hundredths; nothing if nothing was measured there.
    pub hundredths: Option<f64>,
    /// What it would cost besides if all was lost while nothing was counted.
    pub uncounted: f64,
    pub per_minute: u64,
    pub currency: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    pub at_ms: u64,
    /// In a second.
    pub rate: f64,
    pub failed: Option<f64>,
    /// Seconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub watch: String,
    pub from_ms: u64,
    pub to_ms: u64,
    /// Nothing if no gateway was measured.
    pub requests: Option<Counts>,
    pub held: Option<f64>,
    pub routes: BTreeMap<String, Counts>,
    pub slow_seconds: f64,
    /// The longest time without any sample of a gateway.
    pub gap_ms: u64,
    pub judged: Vec<Judged>,
    pub priced: Vec<Priced>,
    pub points: Vec<Point>,
}

/// What became of a counter from one sample to the next.
struct Step {
    at_ms: u64,
    more: f64,
}

struct Counter<'r> {
    series: &'r Series,
    steps: Vec<Step>,
}

impl Counter<'_> {
    fn label(&self, name: &str) -> &str {
        self.series.labels.get(name).map_or("", String::as_str)
    }

    fn between(&self, from_ms: u64, to_ms: u64) -> f64 {
        let before = |ms: u64| self.steps.partition_point(|step| step.at_ms <= ms);
        let steps = self.steps.get(before(from_ms)..before(to_ms));
        let steps = steps.unwrap_or_default().iter();
        steps.map(|step| step.more).sum()
    }

    /// `edge` of `use1-a/edge`.
    fn is_of(&self, gateway: &str, path: Option<&str>) -> bool {
        let instance = self.label("instance");
        let is_gateway = instance.rsplit('/').next() == Some(gateway);
        // A gateway calls a route by its listener and its path.
        let is_route = path.is_none_or(|path| {
            let listener = self.label("route").strip_suffix(path);
            listener.is_some_and(|listener| !listener.contains('/'))
        });
        is_gateway && is_route
    }

    fn is_failed(&self) -> bool {
        self.label("class") == "5xx"
    }
}

fn counters<'r>(recorded: &'r Recorded, name: &str) -> Vec<Counter<'r>> {
    let named = recorded.series.iter();
    let named = named.filter(|series| series.labels.get(NAME).is_some_and(|known| known == name));
    named
        .map(|series| Counter {
            series,
            steps: steps(recorded, series),
        })
        .collect()
}

fn steps(recorded: &Recorded, series: &Series) -> Vec<Step> {
    let mut steps = Vec::with_capacity(series.samples.len());
    let mut samples = series.samples.iter();
    let Some((first_ms, first)) = samples.next() else {
        return steps;
    };
    // A counter that comes up while its target is asked began at zero.
    if recorded.was_heard_before(series, *first_ms) {
        steps.push(Step {
            at_ms: *first_ms,
            more: *first,
        });
    }
    let mut last = *first;
    for (at_ms, value) in samples {
        let more = if *value >= last { value - last } else { *value };
        steps.push(Step {
            at_ms: *at_ms,
            more: more.max(0.0),
        });
        last = *value;
    }
    steps
}

/// Counters of requests, and of how long they took.
struct Gateways<'r> {
    requests: Vec<Counter<'r>>,
    buckets: Vec<Counter<'r>>,
}

impl Gateways<'_> {
    fn counts(
        &self,
        which: &dyn Fn(&Counter) -> bool,
        within: f64,
        (from_ms, to_ms): (u64, u64),
    ) -> Counts {
        let mut counts = Counts::default();
        for counter in self.requests.iter().filter(|counter| which(counter)) {
            let more = counter.between(from_ms, to_ms);
            counts.total += more;
            if counter.is_failed() {
                counts.failed += more;
            }
        }
        let (mut all, mut fast) = (0.0, BTreeMap::new());
        for counter in self.buckets.iter().filter(|counter| which(counter)) {
            let more = counter.between(from_ms, to_ms);
            match bound(counter) {
                Some(bound) if bound.is_infinite() => all += more,
                Some(bound) if bound >= within * (1.0 - 1e-9) => {
                    *fast.entry(bound.to_bits()).or_insert(0.0) += more;
                }
                Some(_) | None => {}
            }
        }
        // Bounds are positive, so their bits are in their order: the least one that is not below.
        let fast = fast.first_key_value().map_or(all, |(_, more)| *more);
        counts.slow = (all - fast).max(0.0);
        counts
    }

    /// Whether anything of it was measured.
    fn knows(&self, which: &dyn Fn(&Counter) -> bool, (from_ms, to_ms): (u64, u64)) -> bool {
        let mut known = self.requests.iter().filter(|counter| which(counter));
        known.any(|counter| {
            let at = counter.series.samples.iter().map(|(at_ms, _)| *at_ms);
            at.into_iter()
                .any(|at_ms| (from_ms..=to_ms).contains(&at_ms))
        })
    }

    /// The share of bad ones summed over time.
    fn lost(
        &self,
        which: &dyn Fn(&Counter) -> bool,
        within: Option<f64>,
        (from_ms, to_ms): (u64, u64),
        step_ms: u64,
    ) -> Lost {
        let mut lost = Lost::default();
        let mut at_ms = from_ms;
        while at_ms < to_ms {
            let end_ms = (at_ms + step_ms).min(to_ms);
            let counts = self.counts(which, within.unwrap_or(SLOW_SECONDS), (at_ms, end_ms));
            let bad = within.map_or(counts.failed, |_| counts.slow);
            let length = milliseconds(end_ms - at_ms);
            if counts.total > 0.0 {
                lost.ms += (bad / counts.total).min(1.0) * length;
            } else {
                lost.uncounted_ms += length;
            }
            at_ms = end_ms;
        }
        lost
    }

    fn point(&self, at_ms: u64, step_ms: u64) -> Point {
        let (from_ms, to_ms) = (at_ms.saturating_sub(step_ms), at_ms);
        let counts = self.counts(&|_| true, SLOW_SECONDS, (from_ms, to_ms));
        let mut by_bound: BTreeMap<u64, f64> = BTreeMap::new();
        for counter in &self.buckets {
            if let Some(bound) = bound(counter) {
                *by_bound.entry(bound.to_bits()).or_insert(0.0) += counter.between(from_ms, to_ms);
            }
        }
        let buckets: Vec<(f64, f64)> = by_bound
            .into_iter()
            .map(|(bits, count)| (f64::from_bits(bits), count))
            .collect();
        Point {
            at_ms,
            rate: counts.total * 1_000.0 / milliseconds(step_ms.max(1)),
            failed: (counts.total > 0.0).then(|| counts.failed / counts.total),
            p50: quantile(0.5, &buckets),
            p99: quantile(0.99, &buckets),
        }
    }
}

fn bound(counter: &Counter) -> Option<f64> {
    mainstay_promql::number::parse(counter.label("le")).filter(|bound| *bound > 0.0)
}

/// Within a bucket as if its requests were spread evenly; above the highest bound, that bound.
fn quantile(share: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let (_, all) = buckets.last().filter(|(_, all)| *all > 0.0)?;
    let wanted = share * all;
    let (mut below, mut before) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted {
            if bound.is_infinite() {
                return Some(below);
            }
            let inside = (wanted - before) / (count - before).max(f64::MIN_POSITIVE);
            return Some(below + (bound - below) * inside.clamp(0.0, 1.0));
        }
        (below, before) = (*bound, *count);
    }
    None
}

fn milliseconds(ms: u64) -> f64 {
    // Incidents are shorter than 2^53 milliseconds.
    ms as f64
}

/// Of what was felt between the two moments.
pub fn figures(
    recorded: &Recorded,
    expectations: &Expectations,
    (from_ms, to_ms): (u64, u64),
) -> Figures {
    let gateways = Gateways {
        requests: counters(recorded, REQUESTS),
        buckets: counters(recorded, BUCKETS),
    };
    let felt = (from_ms, to_ms);
    let slow_seconds = slow_seconds(expectations);
    let fine_ms = recorded.interval_ms.max(1_000);
    let mut routes: BTreeMap<String, Counts> = BTreeMap::new();
    for counter in &gateways.requests {
        let route = counter.label("route").to_owned();
        routes.entry(route.clone()).or_insert_with(|| {
            gateways.counts(
                &|counter| counter.label("route") == route,
                slow_seconds,
                felt,
            )
        });
    }
    routes.retain(|_, counts| counts.total > 0.0);
    let held = counters(recorded, HELD);
    let is_known = gateways.knows(&|_| true, felt);
    Figures {
        watch: recorded.watch.clone(),
        from_ms,
        to_ms,
        requests: is_known.then(|| gateways.counts(&|_| true, slow_seconds, felt)),
        held: (!held.is_empty()).then(|| {
            let held = held.iter();
            held.map(|counter| counter.between(from_ms, to_ms)).sum()
        }),
        routes,
        slow_seconds,
        gap_ms: gap_ms(&gateways.requests, felt),
        judged: judged(recorded, &gateways, &expectations.promises, felt, fine_ms),
        priced: priced(&gateways, &expectations.costs, felt, fine_ms),
        points: points(recorded, &gateways, felt),
    }
}

/// The strictest of the objectives.
fn slow_seconds(expectations: &Expectations) -> f64 {
    let bounds = expectations
        .promises
        .iter()
        .filter_map(|promise| match promise.counted {
            Counted::Requests { within, .. } => within,
            Counted::Rates { .. } => None,
        });
    bounds.reduce(f64::min).unwrap_or(SLOW_SECONDS)
}

fn gap_ms(counters: &[Counter], (from_ms, to_ms): (u64, u64)) -> u64 {
    let samples = counters
        .iter()
        .flat_map(|counter| counter.series.samples.iter());
    let mut at: Vec<u64> = samples.map(|(at_ms, _)| *at_ms).collect();
    at.retain(|at_ms| (from_ms..=to_ms).contains(at_ms));
    at.extend([from_ms, to_ms]);
    at.sort_unstable();
    at.windows(2)
        .map(|two| two[1] - two[0])
        .max()
        .unwrap_or_default()
}

fn judged(
    recorded: &Recorded,
    gateways: &Gateways,
    promises: &[Promise],
    felt: (u64, u64),
    fine_ms: u64,
) -> Vec<Judged> {
    let store = std::cell::OnceCell::new();
    let judge = |promise: &Promise| {
        let found = match &promise.counted {
            Counted::Requests {
                gateway,
                path,
                within,
            } => {
                let which = |counter: &Counter| counter.is_of(gateway, path.as_deref());
                gateways.knows(&which, felt).then(|| {
                    let counts = gateways.counts(&which, within.unwrap_or(SLOW_SECONDS), felt);
                    Found {
                        total: counts.total,
                        bad: within.map_or(counts.failed, |_| counts.slow),
                        lost: gateways.lost(&which, *within, felt, fine_ms),
                    }
                })
            }
            Counted::Rates { bad, total } => {
                let store = store.get_or_init(|| recorded.store(&Default::default()));
                rates(store, bad, total, felt, fine_ms)
            }
        };
        Judged {
            name: promise.name.clone(),
            target: promise.target.clone(),
            found,
            budget_ms: promise.budget * milliseconds(promise.period_ms),
            left: (
                left(recorded, &promise.name, felt.0),
                left(recorded, &promise.name, felt.1),
            ),
        }
    };
    promises.iter().map(judge).collect()
}

/// What was recorded of a budget at a moment.
fn left(recorded: &Recorded, objective: &str, at_ms: u64) -> Option<f64> {
    let is = |series: &&Series| {
        let label = |name: &str| series.labels.get(name).map_or("", String::as_str);
        label(NAME) == LEFT && label("slo") == objective
    };
    let samples = &recorded.series.iter().find(is)?.samples;
    let before = samples.partition_point(|(sample_ms, _)| *sample_ms <= at_ms);
    let (_, value) = samples.get(before.checked_sub(1)?)?;
    value.is_finite().then_some(*value)
}

fn rates(
    store: &Memory,
    bad: &str,
    total: &str,
    (from_ms, to_ms): (u64, u64),
    step_ms: u64,
) -> Option<Found> {
    let moment = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    // Nothing where it fails or is no number; empty where there is no such series.
    let ask = |expression: &str| -> Option<BTreeMap<i64, f64>> {
        let expression = expression.replace("$window", "60s").replace('\n', " ");
        let parsed = mainstay_promql::parse::parse(&expression).ok()?;
        let steps = (moment(from_ms), moment(to_ms), moment(step_ms));
        let answer = range(&parsed, store, steps, &Options::default()).ok()?;
        let Output::Matrix(rows) = answer.output else {
            return None;
        };
        let mut sum = BTreeMap::new();
        for sample in rows.iter().flat_map(|row| &row.samples) {
            let value = sample.value.float().filter(|value| value.is_finite())?;
            *sum.entry(sample.at).or_insert(0.0) += value;
        }
        Some(sum)
    };
    let (total, bad) = (ask(total)?, ask(bad)?);
    if total.is_empty() {
        return None;
    }
    let seconds = milliseconds(step_ms) / 1_000.0;
    let mut found = Found::default();
    let mut counted_ms = 0.0;
    for (at, rate) in &total {
        let bad = bad.get(at).copied().unwrap_or_default();
        found.total += rate * seconds;
        found.bad += bad * seconds;
        if *rate > 0.0 {
            found.lost.ms += (bad / rate).clamp(0.0, 1.0) * milliseconds(step_ms);
            counted_ms += milliseconds(step_ms);
        }
    }
    let felt_ms = milliseconds(to_ms.saturating_sub(from_ms));
    found.lost.uncounted_ms = (felt_ms - counted_ms).max(0.0);
    Some(found)
}

fn priced(gateways: &Gateways, costs: &[Cost], felt: (u64, u64), fine_ms: u64) -> Vec<Priced> {
    let price = |cost: &Cost| {
        let which = |counter: &Counter| {
            let mut routes = cost.routes.iter();
            cost.routes.is_empty()
                || routes.any(|(gateway, path)| counter.is_of(gateway, Some(path)))
        };
        let lost = gateways
            .knows(&which, felt)
            .then(|| gateways.lost(&which, None, felt, fine_ms));
        let cost_of = |ms: f64| ms / 60_000.0 * milliseconds(cost.hundredths);
        Priced {
            service: cost.service.clone(),
            hundredths: lost.map(|lost| cost_of(lost.ms)),
            uncounted: lost.map_or(0.0, |lost| cost_of(lost.uncounted_ms)),
            per_minute: cost.hundredths,
            currency: cost.currency.clone(),
        }
    };
    costs.iter().map(price).collect()
}

fn points(recorded: &Recorded, gateways: &Gateways, felt: (u64, u64)) -> Vec<Point> {
    if gateways.requests.is_empty() {
        return Vec::new();
    }
    let from_ms = felt.0.saturating_sub(AROUND_MS).max(recorded.from_ms);
    let to_ms = felt.1.saturating_add(AROUND_MS).min(recorded.to_ms);
    let length_ms = to_ms.saturating_sub(from_ms);
    let step_ms = (length_ms / POINTS).max(recorded.interval_ms).max(1_000);
    let count = length_ms / step_ms;
    (1..=count)
        .map(|number| gateways.point(from_ms + number * step_ms, step_ms))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let buckets = [(0.1, 50.0), (0.2, 90.0), (f64::INFINITY, 100.0)];
        assert_eq!(quantile(0.5, &buckets), Some(0.1));
        let p70 = quantile(0.7, &buckets).unwrap();
        assert!((p70 - 0.15).abs() < 1e-9, "{p70}");
        assert_eq!(quantile(0.99, &buckets), Some(0.2));
        assert_eq!(quantile(0.5, &[(0.1, 0.0), (f64::INFINITY, 0.0)]), None);
        assert_eq!(quantile(0.5, &[]), None);
    }
}
