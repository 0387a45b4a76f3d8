//! The board as the node of the host reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use mainstay_promql::matcher::Matcher;
use mainstay_promql::sample::Source;
use mainstay_record::watch::{
    BoardAlert, BoardBudget, BoardRules, BoardState, VERSION, WatchBoard,
};
use mainstay_rules::alert::{Active, State};

use crate::world::World;

/// Alerts that are shown; those that fire come first.
const ALERTS_MAX: usize = 500;
/// Longest name of an alert with its labels: one that is longer is not shown, since it could not be told from others.
const NAME_MAX: usize = 4_096;
const SUMMARY_MAX: usize = 500;
const ALERTNAME: &str = "alertname";
/// What the rules of an objective record, and the label that names it.
const LEFT: &str = "slo:budget:left";
const BAD_1H: &str = "slo:errors:ratio1h";
const BUDGET: &str = "slo:budget";
const OBJECTIVE: &str = "slo";

pub fn board(world: &World, now: i64) -> WatchBoard {
    let duties = || world.duties.iter();
    let mut alerts: Vec<BoardAlert> = duties()
        .flat_map(|duty| duty.memory.alerts(&duty.group))
        .filter_map(|(_, alert)| shown(alert))
        .collect();
    let received = world.post.iter().flat_map(|post| post.inbox.alerts());
    alerts.extend(received.filter_map(|alert| {
        let alert = shown(alert)?;
        let received = true;
        Some(BoardAlert { received, ..alert })
    }));
    alerts.sort_by(|a, b| (a.state, a.active_ms, &a.alert).cmp(&(b.state, b.active_ms, &b.alert)));
    // One that our own rules raise as well is shown in its worse state alone: it has one place in the journal.
    let mut names = BTreeSet::new();
    alerts.retain(|alert| names.insert(alert.alert.clone()));
    alerts.truncate(ALERTS_MAX);
    let silent = world.seen.iter().filter(|seen| seen.silent_since.is_some());
    let silent = silent.map(|seen| format!("{} {}", seen.target.job, seen.target.instance));
    let source = world.source.iter();
    let source = source.filter(|seen| seen.silent_since.is_some());
    let source = source.map(|seen| format!("source {}", seen.url));
    let targets = world.seen.len() + usize::from(world.source.is_some());
    let rules = duties().flat_map(|duty| &duty.group.rules);
    let refused = world.refused.iter();
    WatchBoard {
        version: VERSION,
        host: world.host.clone(),
        at_ms: millis(now),
        begun_ms: world.begun_ms,
        evaluated: world.is_awake() && duties().all(|duty| duty.last.is_some()),
        targets: u32::try_from(targets).unwrap_or(u32::MAX),
        silent: silent.chain(source).collect(),
        rules: rules
            .filter_map(|rule| Some(rule.alert()?.name.clone()))
            .collect(),
        refused: refused.map(|refused| refused.why.clone()).collect(),
        followed: Some(followed(world)),
        receives: world.post.is_some(),
        alerts,
        budgets: budgets(world, now),
    }
}

/// Files by the last part of their paths, as the platform knows them; of two with the same one, the later by its folder too.
fn followed(world: &World) -> BoardRules {
    let (digests, since) = &world.digests;
    let mut files = BTreeMap::new();
    for (path, digest) in digests {
        let mut parts = path.rsplit('/');
        let mut name = parts.next().unwrap_or(path).to_owned();
        if files.contains_key(&name) {
            name = format!("{}.{name}", parts.next().unwrap_or_default());
        }
        files.insert(name, digest.clone());
    }
    BoardRules {
        since_ms: millis(*since),
        files,
    }
}

/// What the rules of objectives recorded last, of those that are still followed.
fn budgets(world: &World, now: i64) -> Vec<BoardBudget> {
    let since = now.saturating_sub(world.surroundings.options.lookback);
    // Expressions may keep labels: of several series the worse one counts.
    let recorded = |metric: &str, worse: fn(f64, f64) -> f64| -> BTreeMap<String, f64> {
        let mut last = BTreeMap::new();
        for series in world.store.select(&[Matcher::name(metric)], since, now) {
            let value = series.samples.last().and_then(|last| last.value.float());
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let known = last.entry(series.labels.get(OBJECTIVE).to_owned());
                known
                    .and_modify(|known| *known = worse(*known, value))
                    .or_insert(value);
            }
        }
        last
    };
    let left = recorded(LEFT, f64::min);
    let (bad, allowed) = (recorded(BAD_1H, f64::max), recorded(BUDGET, f64::min));
    let told = left.into_iter().map(|(objective, left)| {
        let burn = bad.get(&objective).zip(allowed.get(&objective));
        let burn = burn.map(|(bad, allowed)| bad / allowed * 1_000.0);
        let burn = burn.filter(|burn| burn.is_finite());
        BoardBudget {
            left_millionths: (left * 1_000_000.0).round() as i64,
            burn_1h_thousandths: burn.map(|burn| burn.round() as u64),
            objective,
        }
    });
    told.collect()
}

fn millis(at: i64) -> u64 {
    u64::try_from(at).unwrap_or(0)
}

fn shown(alert: &Active) -> Option<BoardAlert> {
    let name = name(alert);
    let state = match alert.state {
        State::Pending => BoardState::Pending,
        State::Firing => BoardState::Firing,
        State::Missing => BoardState::Missing,
        State::Resolved => BoardState::Resolved,
    };
    let fired = alert.fired_at.unwrap_or(alert.active_at);
    let changed = match alert.state {
        State::Pending => alert.active_at,
        State::Firing => fired,
        State::Missing => alert.missing_since.unwrap_or(fired),
        State::Resolved => alert.resolved_at.unwrap_or(fired),
    };
    let words = ["summary", "description", "message"];
    let summary = words.iter().find_map(|word| alert.annotations.get(*word));
    let summary = summary.map_or("", String::as_str);
    (name.len() <= NAME_MAX).then(|| BoardAlert {
        alert: name,
        labels: alert.labels.clone(),
        state,
        received: false,
        unasked: alert.unasked,
        summary: summary.chars().take(SUMMARY_MAX).collect(),
        value: mainstay_promql::number::plain(alert.value),
        active_ms: millis(alert.active_at),
        fired_ms: alert.fired_at.map(millis),
        changed_ms: millis(changed),
    })
}

/// `Name{label="value"}`, labels in order of their names.
fn name(alert: &Active) -> String {
    let mut text = alert.labels.get(ALERTNAME).cloned().unwrap_or_default();
    let mut mark = '{';
    for (label, of_label) in &alert.labels {
        if label != ALERTNAME {
            // Writing into a string does not fail.
            write!(text, "{mark}{label}={of_label:?}").ok();
            mark = ',';
        }
    }
    if mark == ',' {
        text.push('}');
    }
    text
}
