//! The server that scrapes for us: whether it is heard.
//!
//! It is asked at each interval for nothing but an answer. What comes of that is a series of ours, and an alert over it that
//! needs no rule file: where the server is silent, everything else that it could tell is missing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mainstay_record::watch::{ServerProof, WatchServer};
use mainstay_rules::file::{Group, Kind, read};
use mainstay_scraper::server::{Place, Proof, Server};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::duty::Duty;
use crate::far::Own;
use crate::run::now;

/// 1 while a target answers, at the moments at which it is asked.
pub const ATTEMPTED: &str = "up";
/// 1 while the server answers.
pub const UP: &str = "mainstay_watch_source_up";
/// The "file" of the rules that come with a server.
pub const FILE: &str = "mainstay: source of metrics";
/// The alert of these rules.
pub const SILENT: &str = "MetricsSourceSilent";
const RULES: &str = "groups:
- name: source
  rules:
  - alert: MetricsSourceSilent
    expr: mainstay_watch_source_up == 0
    labels:
      severity: page
    annotations:
      summary: 'the watch hears nothing from {{ $labels.source }}: what is measured there is not known, and no alert about it is resolved'
      runbook: docs/watch.md
";
/// Metrics that the watch records besides those of rules.
const RECORDED: [&str; 3] = ["ALERTS", "ALERTS_FOR_STATE", UP];
/// For an answer to the shortest question.
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(10);
/// For an answer to a rule's question.
const ANSWER_MIN: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What one probe came to.
#[derive(Debug)]
pub struct Heard {
    pub at: i64,
    pub problem: Option<String>,
}

/// What is known of the server.
#[derive(Debug)]
pub struct Seen {
    pub url: String,
    pub last: Option<i64>,
    pub problem: Option<String>,
    pub silent_since: Option<i64>,
}

pub fn server(config: &WatchServer) -> Result<Server, String> {
    let proof = match &config.proof {
        None => Proof::None,
        Some(ServerProof::Bearer { token_file }) => Proof::Bearer {
            token_file: token_file.clone(),
        },
        Some(ServerProof::Basic {
            user,
            password_file,
        }) => Proof::Basic {
            user: user.clone(),
            password_file: password_file.clone(),
        },
    };
    Server::new(Place {
        url: config.url.clone(),
        proof,
        authority_file: config.authority_file.clone(),
        headers: config.headers.clone(),
    })
}

/// How long a rule waits for its answer.
pub fn patience(interval: Duration) -> Duration {
    interval.clamp(ANSWER_MIN, ANSWER_MAX)
}

/// The groups of rules that come with a server.
pub fn groups() -> Vec<Group> {
    // A text of our own, which a test reads.
    read(FILE, RULES).unwrap_or_default()
}

/// Metrics that only our own store has.
pub fn own(duties: &[Duty]) -> Own {
    let rules = duties.iter().flat_map(|duty| &duty.group.rules);
    let recorded = rules.filter_map(|rule| match &rule.kind {
        Kind::Record(name) => Some(name.clone()),
        Kind::Alert(_) => None,
    });
    let always = RECORDED.map(str::to_owned);
    Arc::new(recorded.chain(always).collect::<BTreeSet<String>>())
}

/// Asks at each interval until nobody listens any more.
pub async fn beat(server: Server, every: Duration, heard: mpsc::Sender<Heard>) {
    let mut beats = interval(every.max(Duration::from_millis(10)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let question = [("query".to_owned(), "1".to_owned())];
    let limit = every.clamp(PROBE_MIN, PROBE_MAX);
    loop {
        beats.tick().await;
        let asked = server.ask("query", Some(&question), limit).await;
        let heard_now = Heard {
            at: now(),
            problem: asked.err().map(|no| no.to_string()),
        };
        if heard.send(heard_now).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_that_come_with_a_server_can_be_followed() {
        let groups = groups();
        let names: Vec<&str> = groups
            .iter()
            .flat_map(|group| &group.rules)
            .map(|rule| rule.name())
            .collect();
        assert_eq!(names, [SILENT]);
    }
}
