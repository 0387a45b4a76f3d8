//! Archives: whether the log of a database is put away, and what was last proven of it.

use mainstay_model::database::{Backup, Database};
use mainstay_record::backup::ArchiverState;
use mainstay_record::status::{ArchiveReason, ArchiveStatus, DatabaseReason, Verdict};

use crate::findings::Findings;
use crate::gathered::Gathered;

/// `None` if the database is not put away, or nobody knows where its primary is: then that is what is wrong.
pub(crate) fn archive(
    gathered: &Gathered<'_>,
    database: &Database,
    primary: Option<&str>,
    findings: &mut Findings,
) -> Option<(Verdict, ArchiveStatus)> {
    let backup = database.backup.as_ref()?;
    let host = primary?;
    let facts = gathered.node(host).value()?;
    let state = facts.archives.get(database.name.as_str());
    let subject = format!("database {}", database.name);
    let mut verdict = Verdict::Healthy;
    // A node that has just begun has not yet started an archiver.
    let up_ms = gathered.now_wall_ms.saturating_sub(facts.started_wall_ms);
    let is_settled = up_ms > limit_ms(backup);
    for reason in reasons(backup, state, gathered.now_wall_ms, is_settled) {
        let reason = DatabaseReason::Archive(reason);
        verdict = verdict.max(findings.note(&subject, Verdict::Degraded, reason));
    }
    let state = state.cloned().unwrap_or_default();
    let status = ArchiveStatus {
        host: host.to_owned(),
        waiting_ms: waiting_ms(&state, gathered.now_wall_ms),
        state,
    };
    Some((verdict, status))
}

fn limit_ms(backup: &Backup) -> u64 {
    u64::try_from(backup.alarm_after.as_millis()).unwrap_or(u64::MAX)
}

fn waiting_ms(state: &ArchiverState, now_ms: u64) -> u64 {
    state
        .waiting_since_ms
        .map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
}

fn reasons(
    backup: &Backup,
    state: Option<&ArchiverState>,
    now_ms: u64,
    is_settled: bool,
) -> Vec<ArchiveReason> {
    let limit_ms = limit_ms(backup);
    let Some(state) = state else {
        let silent = is_settled.then_some(ArchiveReason::Silent { ms: None });
        return silent.into_iter().collect();
    };
    let mut reasons = Vec::new();
    let silent_ms = now_ms.saturating_sub(state.at_ms);
    if silent_ms > limit_ms && is_settled {
        let ms = Some(silent_ms);
        reasons.push(ArchiveReason::Silent { ms });
    } else if waiting_ms(state, now_ms) > limit_ms {
        reasons.push(ArchiveReason::Behind {
            bytes: state.waiting_bytes,
            ms: waiting_ms(state, now_ms),
        });
    }
    if let Some(why) = &state.alarm {
        let why = why.clone();
        reasons.push(ArchiveReason::Alarm { why });
    }
    if let Some(why) = &state.lacking {
        let why = why.clone();
        reasons.push(ArchiveReason::Uneven { why });
    }
    if let Some(failure) = &state.proof_failed {
        reasons.push(ArchiveReason::ProofFailed {
            ms: now_ms.saturating_sub(failure.at_ms),
            why: failure.why.clone(),
        });
    }
    reasons
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use mainstay_record::backup::ProofFailure;

    use super::*;

    const NOW: u64 = 10_000_000;

    fn backup() -> Backup {
        Backup {
            stores: Vec::new(),
            store_options: Vec::new(),
            every: Duration::from_secs(86_400),
            prove_every: Duration::from_secs(86_400),
            log_every: Duration::from_secs(10),
            keep_for: Duration::from_secs(86_400),
            keep_count: 2,
            alarm_after: Duration::from_secs(120),
            backlog_limit: 1 << 30,
            metrics_port: None,
        }
    }

    fn found(change: impl FnOnce(&mut ArchiverState)) -> Vec<ArchiveReason> {
        let mut state = ArchiverState {
            at_ms: NOW - 1_000,
            receiving: true,
            ..ArchiverState::default()
        };
        change(&mut state);
        reasons(&backup(), Some(&state), NOW, true)
    }

    #[test]
    fn an_archive_that_follows_is_no_finding() {
        assert_eq!(found(|_| {}), []);
        let young = |state: &mut ArchiverState| {
            state.waiting_bytes = 1 << 20;
            state.waiting_since_ms = Some(NOW - 119_000);
        };
        assert_eq!(found(young), []);
        assert_eq!(reasons(&backup(), None, NOW, false), []);
    }

    #[test]
    fn what_waits_too_long_and_what_failed_are_findings() {
        let old = |state: &mut ArchiverState| {
            state.waiting_bytes = 7;
            state.waiting_since_ms = Some(NOW - 121_000);
        };
        let (bytes, ms) = (7, 121_000);
        assert_eq!(found(old), [ArchiveReason::Behind { bytes, ms }]);
        let silent = |state: &mut ArchiverState| state.at_ms = NOW - 200_000;
        let ms = Some(200_000);
        assert_eq!(found(silent), [ArchiveReason::Silent { ms }]);
        let never = reasons(&backup(), None, NOW, true);
        assert_eq!(never, [ArchiveReason::Silent { ms: None }]);
        let why = || "because".to_owned();
        let failed = |state: &mut ArchiverState| {
            state.lacking = Some(why());
            state.alarm = Some(why());
            state.proof_failed = Some(ProofFailure {
                at_ms: NOW - 5,
                why: why(),
            });
        };
        assert_eq!(
            found(failed),
            [
                ArchiveReason::Alarm { why: why() },
                ArchiveReason::Uneven { why: why() },
                ArchiveReason::ProofFailed { ms: 5, why: why() },
            ]
        );
    }
}
