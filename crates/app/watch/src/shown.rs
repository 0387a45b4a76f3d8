//! The board as the node of the host reads it.
//!
//! Whoever reads it concludes that an alert that is not there has ended. So it says when something did not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use mainstay_promql::matcher::Matcher;
use mainstay_promql::sample::Source;
use mainstay_record::watch::{
    BoardAlert, BoardBudget, BoardRules, BoardState, VERSION, WatchBoard,
};
use mainstay_rules::alert::{Active, State};

use crate::world::World;

/// Alerts that are shown: all that others may tell of, and as many of our own. Those that fire come first.
const ALERTS_MAX: usize = 2 * mainstay_rules::received::ALERTS_MAX;
/// What is said of all of them together, so that a board can be sent.
const ALERTS_BYTES_MAX: usize = 4 << 20;
/// Longest name of an alert with its labels: one that is longer is not shown, since it could not be told from others.
pub const NAME_MAX: usize = 4_096;
const SUMMARY_MAX: usize = 500;
const ALERTNAME: &str = "alertname";
/// What the rules of an objective record, and the label that names it.
const LEFT: &str = "slo:budget:left";
const BAD_1H: &str = "slo:errors:ratio1h";
const BUDGET: &str = "slo:budget";
const OBJECTIVE: &str = "slo";

pub fn board(world: &World, now: i64) -> WatchBoard {
    let duties = || world.duties.iter();
    let (alerts, left_out) = alerts(world);
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
        begun_ms: world.begun_ms(),
        evaluated: world.is_awake()
            && duties().all(|duty| duty.last.is_some())
            && world.clock.behind(now).is_none(),
        targets: u32::try_from(targets).unwrap_or(u32::MAX),
        silent: silent.chain(source).collect(),
        rules: rules
            .filter_map(|rule| Some(rule.alert()?.name.clone()))
            .collect(),
        refused: refused.map(|refused| refused.why.clone()).collect(),
        followed: Some(followed(world)),
        receives: world.post.is_some(),
        alerts,
        whole: left_out == 0,
        troubles: troubles(world, left_out, now),
        budgets: budgets(world, now),
    }
}

/// Those that are shown, and how many did not fit.
fn alerts(world: &World) -> (Vec<BoardAlert>, usize) {
    let own = standing(world);
    let mut alerts: Vec<BoardAlert> = own.filter_map(shown).collect();
    let received = world.post.iter().flat_map(|post| post.inbox.alerts());
    alerts.extend(received.filter_map(|alert| {
        let alert = shown(alert)?;
        let received = true;
        Some(BoardAlert { received, ..alert })
    }));
    bounded(alerts)
}

fn standing(world: &World) -> impl Iterator<Item = &Active> {
    let duties = world.duties.iter();
    let alerts = duties.flat_map(|duty| duty.memory.alerts(&duty.group));
    alerts.map(|(_, alert)| alert)
}

fn bounded(mut alerts: Vec<BoardAlert>) -> (Vec<BoardAlert>, usize) {
    alerts.sort_by(|a, b| {
        let order = |alert: &BoardAlert| (rank(alert.state), alert.active_ms);
        (order(a), &a.alert).cmp(&(order(b), &b.alert))
    });
    // One that our own rules raise as well is shown in its worse state alone: it has one place in the journal.
    let mut names = BTreeSet::new();
    alerts.retain(|alert| names.insert(alert.alert.clone()));
    let all = alerts.len();
    let mut bytes = 0;
    let fit = alerts.iter().take(ALERTS_MAX).take_while(|alert| {
        // Name and labels say the same twice.
        bytes += 2 * alert.alert.len() + alert.summary.len();
        bytes <= ALERTS_BYTES_MAX
    });
    let fit = fit.count();
    alerts.truncate(fit);
    (alerts, all - fit)
}

/// Of what may still pass nothing is told: it comes last.
const fn rank(state: BoardState) -> u8 {
    match state {
        BoardState::Firing => 0,
        BoardState::Missing => 1,
        BoardState::Resolved => 2,
        BoardState::Pending => 3,
    }
}

/// What keeps us from seeing, or telling, all that we should.
fn troubles(world: &World, left_out: usize, now: i64) -> Vec<String> {
    let mut troubles = Vec::new();
    if let Some(behind) = world.clock.behind(now) {
        let seconds = behind / 1_000;
        troubles.push(format!(
            "it is deaf: the clock of its host is {seconds} s behind what it has heard already: set the clock right"
        ));
    }
    if left_out > 0 {
        troubles.push(format!(
            "{left_out} alerts do not fit on its board, and are not told: find what raises so many"
        ));
    }
    let is_long = |alert: &&Active| name(&alert.labels).len() > NAME_MAX;
    let mut long = standing(world).filter(is_long);
    if let Some(alert) = long.next() {
        let rule = alert.labels.get(ALERTNAME).map_or("", String::as_str);
        troubles.push(format!(
            "alerts of {rule} are not told, since their labels have more than {NAME_MAX} bytes: give them fewer labels"
        ));
    }
    let behind = world.post.iter().flat_map(|post| post.inbox.behind());
    troubles.extend(behind.map(|(sender, by_ms)| {
        let seconds = by_ms / 1_000;
        format!(
            "alerts of {sender} are not taken, since they have ended when they are told: its clock is {seconds} s behind or more: set it right"
        )
    }));
    let failing = world.duties.iter().flat_map(|duty| {
        let failing = duty.memory.failing(&duty.group, now);
        failing.map(|(rule, why)| (rule.name(), &duty.group.name, why))
    });
    let failing: Vec<_> = failing.collect();
    if let [(rule, group, why), others @ ..] = &failing[..] {
        let more = match others.len() {
            0 => String::new(),
            count => format!(" (and {count} more rules fail)"),
        };
        troubles.push(format!(
            "rule {rule} of group {group} cannot be evaluated, so nothing comes of it: {why}{more}"
        ));
    }
    for duty in &world.duties {
        let floods = duty.memory.floods(&duty.group);
        troubles.extend(floods.map(|(rule, why)| {
            let (rule, group) = (rule.name(), &duty.group.name);
            format!("rule {rule} of group {group} raises no new alerts: {why}")
        }));
    }
    troubles
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
    let name = name(&alert.labels);
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
pub fn name(labels: &BTreeMap<String, String>) -> String {
    let mut text = labels.get(ALERTNAME).cloned().unwrap_or_default();
    let mut mark = '{';
    for (label, of_label) in labels {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(number: usize, state: BoardState, bytes: usize) -> BoardAlert {
        BoardAlert {
            alert: format!("A{{n=\"{number:04}\"}}{}", "x".repeat(bytes)),
            labels: BTreeMap::new(),
            state,
            received: false,
            unasked: false,
            summary: String::new(),
            value: String::new(),
            active_ms: number as u64,
            fired_ms: None,
            changed_ms: 0,
        }
    }

    fn check(count: usize, bytes: usize, shown: usize) {
        let all = (0..count).map(|number| alert(number, BoardState::Firing, bytes));
        let (alerts, left_out) = bounded(all.collect());
        assert_eq!((alerts.len(), left_out), (shown, count - shown));
    }

    #[test]
    fn a_board_says_how_many_did_not_fit() {
        check(ALERTS_MAX, 0, ALERTS_MAX);
        check(ALERTS_MAX + 7, 0, ALERTS_MAX);
        check(1_000, 4_000, ALERTS_BYTES_MAX / (2 * 4_010));
    }

    #[test]
    fn what_is_told_comes_before_what_is_not() {
        let states = [
            BoardState::Pending,
            BoardState::Resolved,
            BoardState::Missing,
            BoardState::Firing,
        ];
        let all = states.into_iter().enumerate();
        let (alerts, _) = bounded(all.map(|(at, state)| alert(at, state, 0)).collect());
        let found: Vec<BoardState> = alerts.iter().map(|alert| alert.state).collect();
        let wanted: Vec<BoardState> = states.into_iter().rev().collect();
        assert_eq!(found, wanted);
    }
}
