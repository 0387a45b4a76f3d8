//! How a database is put away.

use alloc::format;
use core::time::Duration;

use crate::database::Backup;
use crate::draft::BackupDraft;
use crate::violation::Code;

use super::inspector::Inspector;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// A common demand on financial records that are restored, not archived.
const KEEP_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const LOG_EVERY: Duration = Duration::from_secs(10);
const KEEP_COUNT: u32 = 2;

pub(super) fn backup(inspector: &mut Inspector, draft: &BackupDraft, path: &str) -> Backup {
    stores(inspector, draft, path);
    let mut span = |field: &str, what: &str, value: Option<Duration>, default, low, high| {
        let value = value.unwrap_or(default);
        if value < low || value > high {
            let message = format!("{what} of {value:?} is out of bounds");
            inspector
                .report(format!("{path}/{field}"), Code::InvalidValue, message)
                .help(format!("choose from {low:?} to {high:?}"));
        }
        value
    };
    let every = span(
        "every",
        "a time between base backups",
        draft.every,
        DAY,
        MINUTE,
        YEAR,
    );
    let what = "a time between uploads";
    let log_every = span(
        "logEvery",
        what,
        draft.log_every,
        LOG_EVERY,
        Duration::from_secs(1),
        HOUR,
    );
    let keep_for = span(
        "keepFor",
        "a time to keep",
        draft.keep_for,
        KEEP_FOR,
        HOUR,
        YEAR * 50,
    );
    let prove_every = match draft.prove_every {
        Some(Duration::ZERO) => Duration::ZERO,
        declared => span(
            "proveEvery",
            "a time between proofs",
            declared,
            DAY,
            MINUTE,
            YEAR,
        ),
    };
    let keep_count = draft.keep_count.unwrap_or(KEEP_COUNT);
    let what = "a number of backups";
    inspector.within(&format!("{path}/keepCount"), what, keep_count, 1..=10_000);
    Backup {
        stores: draft.stores.clone(),
        every,
        prove_every,
        log_every,
        keep_for,
        keep_count,
    }
}

fn stores(inspector: &mut Inspector, draft: &BackupDraft, path: &str) {
    let list = format!("{path}/stores");
    if !inspector.list_length(&list, draft.stores.len(), Backup::STORES_MAX) {
        return;
    }
    for (place, store) in draft.stores.iter().enumerate() {
        let path = format!("{list}/{place}");
        let is_folder = store.len() > 1 && store.starts_with('/');
        if !is_folder || store.split('/').any(|part| part == "..") {
            let message = format!("`{store}` is no folder that backups can be kept in");
            let help = "write an absolute path, such as /srv/backups; clouds are not possible yet";
            inspector
                .report(path, Code::InvalidValue, message)
                .help(help);
        } else if let Some(first) = draft.stores.iter().take(place).position(|other| {
            let (one, two) = (other.trim_end_matches('/'), store.trim_end_matches('/'));
            one == two
        }) {
            let message = format!("`{store}` is named twice");
            inspector
                .report(path, Code::DuplicateName, message)
                .help("two stores are for surviving the loss of one: name another place")
                .related(format!("{list}/{first}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    fn codes(draft: &BackupDraft) -> Vec<Code> {
        let mut inspector = Inspector::default();
        backup(&mut inspector, draft, "/b");
        let violations = inspector.into_violations();
        violations.iter().map(|violation| violation.code).collect()
    }

    #[test]
    fn an_empty_section_is_a_daily_backup_kept_for_ninety_days() {
        let mut inspector = Inspector::default();
        let backup = backup(&mut inspector, &BackupDraft::default(), "/b");
        assert!(inspector.is_content());
        assert_eq!((backup.every, backup.prove_every), (DAY, DAY));
        assert_eq!((backup.keep_for, backup.keep_count), (KEEP_FOR, 2));
    }

    #[test]
    fn what_cannot_be_is_told_by_its_place() {
        let draft = |stores: &[&str]| BackupDraft {
            stores: stores.iter().map(ToString::to_string).collect(),
            ..BackupDraft::default()
        };
        assert_eq!(codes(&draft(&["/a", "/b"])), []);
        assert_eq!(codes(&draft(&["/a", "/a/"])), [Code::DuplicateName]);
        assert_eq!(codes(&draft(&["/a", "/b", "/c"])), [Code::TooMany]);
        assert_eq!(
            codes(&draft(&["s3://x", "/a/../b"])),
            [Code::InvalidValue; 2]
        );
        let hasty = BackupDraft {
            every: Some(Duration::from_secs(1)),
            log_every: Some(Duration::ZERO),
            keep_count: Some(0),
            prove_every: Some(Duration::ZERO),
            ..BackupDraft::default()
        };
        assert_eq!(codes(&hasty), [Code::InvalidValue; 3]);
    }
}
