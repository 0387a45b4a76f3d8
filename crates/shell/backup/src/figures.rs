//! What an archiver tells watches of itself, in figures.
//!
//! It writes down what it knows at every round, and whoever asks reads that: no question waits for a store, and the log waits
//! for no question. How the archive stands is told by the archiver whose server is the primary, and by no other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use mainstay_identity::{Identity, web};
use mainstay_record::backup::{ArchiverState, BackupConfig};
use mainstay_rt::http::{Answer, Call, error, serve_tcp, text};
use mainstay_rt::usage;
use mainstay_scrape::page::{CONTENT_TYPE, Page};
use tokio::net::TcpListener;

use crate::chain;

/// Until the next attempt, where the door cannot be opened.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is told; shared with the door.
#[derive(Clone, Debug, Default)]
pub struct Figures(Arc<Mutex<Told>>);

#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The primary is here, so that the archive is this archiver's to look after.
    pub at_work: bool,
    pub state: ArchiverState,
    /// When the newest base backup was complete.
    pub backup_ms: Option<u64>,
    /// Whole segments that a store took.
    pub segments: u64,
    /// Log that a store took, before it was sealed; a segment that grew counts as often as it was put away.
    pub log_bytes: u64,
    /// A store refused, or gave no answer.
    pub store_errors: u64,
    pub backups: u64,
    pub proofs: u64,
    /// Backups and proofs that came to nothing.
    pub failed_jobs: u64,
}

impl Figures {
    pub fn change(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, now_ms: u64) -> String {
        let told = self.change().clone();
        told.page(now_ms)
    }

    /// Answers at the port of the configuration for as long as it is polled. An archiver that cannot be asked archives all
    /// the same. Must run inside a [`tokio::task::LocalSet`].
    pub async fn answer(self, config: &BackupConfig) {
        let Some(address) = config.listen else {
            return std::future::pending().await;
        };
        loop {
            let identity = config.identity.clone().map(Identity::open).transpose();
            let why = match (TcpListener::bind(address).await, identity) {
                (Ok(listener), Ok(identity)) => {
                    let figures = self.clone();
                    let handler = move |call: Call| {
                        let answer = figures.answer_call(&call);
                        async move { answer }
                    };
                    match identity {
                        Some(identity) => web::serve(listener, identity, handler).await,
                        None => serve_tcp(listener, handler).await,
                    }
                    "the door was closed".to_owned()
                }
                (Err(error), _) => chain(&error),
                (_, Err(error)) => chain(&error),
            };
            tracing::error!(%address, why, "nobody can ask for the archiver's figures; tried again");
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    fn answer_call(&self, call: &Call) -> Answer {
        if call.method != Method::GET || call.path != "/metrics" {
            let next = "GET /metrics";
            return error(StatusCode::NOT_FOUND, "unknown", "no such request", next);
        }
        let mut answer = text(StatusCode::OK, self.page(mainstay_rt::clock::wall_ms()));
        let kind = HeaderValue::from_static(CONTENT_TYPE);
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer
    }
}

impl Told {
    fn page(&self, now_ms: u64) -> String {
        let mut page = Page::default();
        let is = |what: bool| f64::from(u8::from(what));
        page.gauge(
            "mainstay_archive_at_work",
            "Whether the primary is here, so that this archiver looks after the archive.",
            is(self.at_work),
        );
        page.gauge(
            "mainstay_archive_alarm",
            "Whether somebody must look: split brain, a hole, a store that refuses, a backup or a proof that failed.",
            is(self.state.alarm.is_some()),
        );
        if self.at_work {
            self.archive(&mut page, now_ms);
        }
        self.counts(&mut page);
        if let Some(usage) = usage::own() {
            page.counter(
                "process_cpu_seconds_total",
                "Processor time that the archiver used, user and system.",
                usage.processor_seconds,
            );
            page.gauge(
                "process_resident_memory_bytes",
                "Resident memory of the archiver.",
                usage.resident_bytes as f64,
            );
        }
        page.text()
    }

    fn archive(&self, page: &mut Page, now_ms: u64) {
        let state = &self.state;
        let is = |what: bool| f64::from(u8::from(what));
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        page.gauge(
            "mainstay_archive_receiving",
            "Whether log is being received from the primary.",
            is(state.receiving),
        );
        page.gauge(
            "mainstay_archive_waiting_bytes",
            "Log that the primary has written and that is not in every store.",
            state.waiting_bytes as f64,
        );
        let since = state.waiting_since_ms.unwrap_or(now_ms);
        page.gauge(
            "mainstay_archive_waiting_seconds",
            "For how long the oldest of it waits; 0 where nothing does.",
            seconds(now_ms.saturating_sub(since)),
        );
        page.gauge(
            "mainstay_archive_store_lacks",
            "Whether a store does not have what another has.",
            is(state.lacking.is_some()),
        );
        if let Some(ms) = self.backup_ms {
            page.gauge(
                "mainstay_archive_backup_timestamp_seconds",
                "When the newest base backup was complete.",
                seconds(ms),
            );
        }
        let Some(proof) = &state.proof else { return };
        page.gauge(
            "mainstay_archive_proof_timestamp_seconds",
            "When a backup was last proven by restoring it.",
            seconds(proof.at_ms),
        );
        page.gauge(
            "mainstay_archive_proven_timestamp_seconds",
            "The newest moment that a restore is proven to bring back.",
            seconds(proof.restored_ms),
        );
        page.gauge(
            "mainstay_archive_proof_rto_seconds",
            "How long that restore took.",
            seconds(proof.rto_ms),
        );
    }

    fn counts(&self, page: &mut Page) {
        for (name, help, count) in [
            (
                "mainstay_archive_segments_total",
                "Whole segments of log that a store took.",
                self.segments,
            ),
            (
                "mainstay_archive_log_bytes_total",
                "Log that a store took, before it was sealed.",
                self.log_bytes,
            ),
            (
                "mainstay_archive_store_errors_total",
                "Times that a store refused or gave no answer.",
                self.store_errors,
            ),
            (
                "mainstay_archive_backups_total",
                "Base backups made.",
                self.backups,
            ),
            (
                "mainstay_archive_proofs_total",
                "Backups proven by restoring them.",
                self.proofs,
            ),
            (
                "mainstay_archive_failed_jobs_total",
                "Base backups and proofs that came to nothing.",
                self.failed_jobs,
            ),
        ] {
            page.counter(name, help, count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_record::backup::ProofSummary;

    use super::*;

    fn told() -> Told {
        Told {
            at_work: true,
            state: ArchiverState {
                receiving: true,
                waiting_bytes: 4_096,
                waiting_since_ms: Some(7_500),
                proof: Some(ProofSummary {
                    backup: "b".to_owned(),
                    at_ms: 6_000,
                    restored_ms: 5_000,
                    rto_ms: 1_500,
                    rpo_ms: None,
                }),
                ..ArchiverState::default()
            },
            backup_ms: Some(4_000),
            segments: 3,
            ..Told::default()
        }
    }

    fn has(page: &str, line: &str) -> bool {
        page.lines().any(|found| found == line)
    }

    #[test]
    fn the_archive_is_told_of_by_whoever_looks_after_it() {
        let page = told().page(10_000);
        for line in [
            "mainstay_archive_at_work 1",
            "mainstay_archive_waiting_bytes 4096",
            "mainstay_archive_waiting_seconds 2.5",
            "mainstay_archive_backup_timestamp_seconds 4",
            "mainstay_archive_proof_timestamp_seconds 6",
            "mainstay_archive_proven_timestamp_seconds 5",
            "mainstay_archive_proof_rto_seconds 1.5",
            "mainstay_archive_segments_total 3",
            "mainstay_archive_alarm 0",
        ] {
            assert!(has(&page, line), "{line} in {page}");
        }
        let beside = Told {
            at_work: false,
            ..told()
        };
        let page = beside.page(10_000);
        assert!(has(&page, "mainstay_archive_at_work 0"), "{page}");
        assert!(
            !page.contains("waiting") && !page.contains("timestamp"),
            "{page}"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let page = Told {
            at_work: true,
            ..Told::default()
        };
        let page = page.page(10_000);
        assert!(has(&page, "mainstay_archive_waiting_seconds 0"), "{page}");
        assert!(!page.contains("timestamp"), "{page}");
    }
}
