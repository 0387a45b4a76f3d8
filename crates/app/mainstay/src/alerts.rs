//! `mainstay alerts`: what stands, by the journal, and what may still pass, by the watches.

use mainstay_record::event::AlertRecord;
use mainstay_record::node::{Gathered, NodeFacts};
use mainstay_record::watch::{BoardAlert, BoardState};
use mainstay_rt::clock;
use serde::Serialize;

use crate::arguments::Look;
use crate::client::{find, look};
use crate::exit::{Failure, Outcome};
use crate::print::{json, line};

/// As `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// Firing and missing, as journalled.
    standing: &'a [AlertRecord],
    /// By watch.
    pending: Vec<Pending<'a>>,
}

#[derive(Debug, Serialize)]
struct Pending<'a> {
    watch: &'a str,
    #[serde(flatten)]
    alert: &'a BoardAlert,
}

pub fn run(arguments: &Look) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let gathered = look(&layout)?;
    let pending = pending(&gathered);
    if arguments.json {
        json(&Shown {
            standing: &gathered.alerts,
            pending,
        })?;
    } else {
        print(&gathered.alerts, &pending)?;
    }
    match gathered.alerts.len() {
        0 => Ok(()),
        1 => Err(Failure::Finding("1 alert stands".to_owned())),
        many => Err(Failure::Finding(format!("{many} alerts stand"))),
    }
}

fn pending(gathered: &Gathered) -> Vec<Pending<'_>> {
    let others = gathered.others.values();
    let nodes = others
        .filter_map(|seen| seen.value.as_ref())
        .chain([&gathered.own]);
    let mut found = Vec::new();
    for node in nodes {
        let facts: &NodeFacts = node;
        let Some(board) = facts.watch.as_ref().and_then(|seen| seen.value.as_ref()) else {
            continue;
        };
        let alerts = board.alerts.iter();
        found.extend(
            alerts
                .filter(|alert| alert.state == BoardState::Pending)
                .map(|alert| Pending {
                    watch: &board.host,
                    alert,
                }),
        );
    }
    found
}

fn print(standing: &[AlertRecord], pending: &[Pending<'_>]) -> Outcome {
    let now_ms = clock::wall_ms();
    let lasts = |since_ms: u64| format!("{} s", now_ms.saturating_sub(since_ms) / 1_000);
    if standing.is_empty() && pending.is_empty() {
        line("no alert stands")?;
    }
    for alert in standing {
        line(format_args!(
            "{:<8} {}\n         for {}, says the watch on {}: {}{}",
            alert.state.as_str(),
            alert.alert,
            lasts(alert.since_ms),
            alert.watch,
            alert.why,
            suffix(&alert.summary)
        ))?;
        if let Some(runbook) = alert.labels.get("runbook_url") {
            line(format_args!("         runbook: {runbook}"))?;
        }
    }
    for Pending { watch, alert } in pending {
        line(format_args!(
            "pending  {}\n         for {}, says the watch on {watch}; it may still pass{}",
            alert.alert,
            lasts(alert.active_ms),
            suffix(&alert.summary)
        ))?;
    }
    Ok(())
}

fn suffix(summary: &str) -> String {
    match summary {
        "" => String::new(),
        summary => format!("\n         {summary}"),
    }
}
