//! Alerts as stored and sent.

use mainstay_kernel::{AlertNews, AlertState};
use mainstay_record::event::{AlertRecord, AlertWord};

use super::ReadError;

pub fn alert_record(news: &AlertNews) -> AlertRecord {
    AlertRecord {
        watch: news.watch.to_string(),
        alert: news.alert.clone(),
        state: match news.state {
            AlertState::Firing => AlertWord::Firing,
            AlertState::Missing => AlertWord::Missing,
            AlertState::Resolved => AlertWord::Resolved,
        },
        since_ms: news.since_ms,
        at_ms: news.at_ms,
        labels: news.labels.clone(),
        summary: news.summary.clone(),
        value: news.value.clone(),
        why: news.why.clone(),
    }
}

pub(super) fn alert_of(record: AlertRecord) -> Result<AlertNews, ReadError> {
    Ok(AlertNews {
        watch: record.watch.parse()?,
        alert: record.alert,
        state: match record.state {
            AlertWord::Firing => AlertState::Firing,
            AlertWord::Missing => AlertState::Missing,
            AlertWord::Resolved => AlertState::Resolved,
        },
        since_ms: record.since_ms,
        at_ms: record.at_ms,
        labels: record.labels,
        summary: record.summary,
        value: record.value,
        why: record.why,
    })
}
