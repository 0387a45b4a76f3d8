//! Watches and what they say: whether each sees, and which alerts stand.
//!
//! Alerts come from the journal, so that they are there whether or not the watch that raised them still is. Two watches
//! that raise the same are one line.

use std::collections::BTreeMap;

use mainstay_record::event::{AlertRecord, AlertWord};
use mainstay_record::status::{AlertView, BudgetView, Verdict, WatchReason, WatchView};
use mainstay_record::watch::{BoardBudget, BoardState};

use crate::findings::Findings;
use crate::gathered::{Gathered, Known};

/// Alerts of these severities call for somebody, and the platform is not healthy while they stand.
const CALLING: [&str; 2] = ["page", "critical"];
const WATCH: &str = "watch";

pub(crate) fn watches(gathered: &Gathered<'_>, findings: &mut Findings) -> Vec<WatchView> {
    let hosts = gathered
        .platform
        .watch()
        .map_or(&[][..], |watch| &watch.hosts);
    hosts
        .iter()
        .map(|host| watch(gathered, host.as_str(), findings))
        .collect()
}

fn watch(gathered: &Gathered<'_>, host: &str, findings: &mut Findings) -> WatchView {
    let subject = format!("watch on {host}");
    let mut view = WatchView {
        host: host.to_owned(),
        verdict: Verdict::Healthy,
        state: "watching".to_owned(),
        targets: None,
        silent: Vec::new(),
        pending: None,
        age_ms: None,
    };
    match gathered.watch(host) {
        Known::Fresh { value, age_ms } => {
            let pending = value.alerts.iter();
            let pending = pending.filter(|alert| alert.state == BoardState::Pending);
            view.age_ms = Some(age_ms);
            view.targets = Some(value.targets);
            view.silent.clone_from(&value.silent);
            view.pending = u32::try_from(pending.count()).ok();
            if !value.evaluated {
                view.state = "waking".to_owned();
            }
            for why in &value.refused {
                let reason = WatchReason::RulesRefused { why: why.clone() };
                view.verdict = findings.note(&subject, Verdict::Degraded, reason);
            }
            for why in &value.troubles {
                let reason = WatchReason::Hindered { why: why.clone() };
                view.verdict = findings.note(&subject, Verdict::Degraded, reason);
            }
        }
        Known::Missing { problem, age_ms } => {
            view.age_ms = age_ms;
            let instance = gathered.instance(host, WATCH);
            view.state = match instance {
                Some((instance, _)) => instance.phase.replace('_', " "),
                None => "unknown".to_owned(),
            };
            let down = instance.filter(|(instance, _)| instance.phase != "ready");
            let reason = match down {
                Some((instance, _)) => WatchReason::InstanceDown {
                    phase: instance.phase.clone(),
                    why: instance.why.clone(),
                },
                None => WatchReason::Silent { problem },
            };
            // Of a silent host the host's own finding says enough.
            view.verdict = if gathered.is_silent(host) {
                Verdict::Degraded
            } else {
                findings.note(&subject, Verdict::Degraded, reason)
            };
        }
    }
    view
}

/// Watches that see the same requests differ when one of them was away; the one that saw most of a budget spent is told.
pub(crate) fn budgets(gathered: &Gathered<'_>) -> Vec<BudgetView> {
    let Some(watch) = gathered.platform.watch() else {
        return Vec::new();
    };
    let boards = watch.hosts.iter();
    let boards = boards.filter_map(|host| gathered.watch(host.as_str()).value());
    let told: Vec<&BoardBudget> = boards.flat_map(|board| &board.budgets).collect();
    let objectives = watch.objectives.iter();
    let view = objectives.map(|objective| {
        let of_it = told
            .iter()
            .filter(|budget| budget.objective == objective.name.as_str());
        let worst = of_it.min_by_key(|budget| budget.left_millionths);
        BudgetView {
            objective: objective.name.to_string(),
            allows: objective.allows(),
            left_millionths: worst.map(|budget| budget.left_millionths),
            burn_1h_thousandths: worst.and_then(|budget| budget.burn_1h_thousandths),
        }
    });
    view.collect()
}

pub(crate) fn alerts(gathered: &Gathered<'_>, findings: &mut Findings) -> Vec<AlertView> {
    let mut by_name: BTreeMap<&str, Vec<&AlertRecord>> = BTreeMap::new();
    for alert in &gathered.alerts {
        by_name.entry(&alert.alert).or_default().push(alert);
    }
    let mut views: Vec<AlertView> = by_name
        .values()
        .filter_map(|told| alert(told, gathered.now_wall_ms, findings))
        .collect();
    views.sort_by_key(|view| view.since_wall_ms);
    views
}

fn alert(told: &[&AlertRecord], now_ms: u64, findings: &mut Findings) -> Option<AlertView> {
    // Whoever still measures it knows best.
    let fires = told.iter().find(|alert| alert.state == AlertWord::Firing);
    let first = fires.or(told.first())?;
    let since_wall_ms = told.iter().map(|alert| alert.since_ms).min()?;
    let severity = first.labels.get("severity");
    let calls = severity.is_some_and(|severity| CALLING.contains(&severity.as_str()));
    let since_ms = now_ms.saturating_sub(since_wall_ms);
    let summary = first.summary.clone();
    let reason = match first.state {
        AlertWord::Firing => WatchReason::Fires { summary, since_ms },
        AlertWord::Missing | AlertWord::Resolved => WatchReason::Missing { summary, since_ms },
    };
    let verdict = if calls {
        findings.note(&format!("alert {}", first.alert), Verdict::Degraded, reason)
    } else {
        Verdict::Healthy
    };
    Some(AlertView {
        alert: first.alert.clone(),
        severity: severity.cloned(),
        verdict,
        state: first.state.as_str().to_owned(),
        since_wall_ms,
        watches: told.iter().map(|alert| alert.watch.clone()).collect(),
        summary: first.summary.clone(),
        subject: subject(first),
    })
}

fn subject(alert: &AlertRecord) -> String {
    if let Some(instance) = alert.labels.get("instance") {
        return instance.clone();
    }
    let others = alert.labels.iter();
    let others = others.filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"));
    let words: Vec<String> = others
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    words.join(" ")
}
