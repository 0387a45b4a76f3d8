//! How a database is put away.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::database::{Backup, StoreOptions};
use crate::draft::{BackupDraft, StoreOptionsDraft};
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
const ALARM_AFTER: Duration = Duration::from_secs(120);
const BACKLOG_LIMIT: u64 = 4 << 30;
/// Four segments of PostgreSQL's usual size.
const BACKLOG_LEAST: u64 = 64 << 20;
/// Clouds that stores may lie in, by the schemes of their URLs.
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

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
    let alarm_after = span(
        "alarmAfter",
        "a wait before an alarm",
        draft.alarm_after,
        ALARM_AFTER.max(log_every.saturating_mul(3)),
        log_every,
        DAY,
    );
    let keep_count = draft.keep_count.unwrap_or(KEEP_COUNT);
    let what = "a number of backups";
    inspector.within(&format!("{path}/keepCount"), what, keep_count, 1..=10_000);
    Backup {
        stores: draft.stores.clone(),
        store_options: options(inspector, draft, path),
        alarm_after,
        backlog_limit: backlog(inspector, draft, path),
        every,
        prove_every,
        log_every,
        keep_for,
        keep_count,
        metrics_port: draft.metrics_port,
    }
}

fn backlog(inspector: &mut Inspector, draft: &BackupDraft, path: &str) -> u64 {
    let backlog_limit = draft.backlog_limit.unwrap_or(BACKLOG_LIMIT);
    if backlog_limit < BACKLOG_LEAST {
        let message = format!("{backlog_limit} bytes of log are too few to wait for a store");
        inspector
            .report(format!("{path}/backlogLimit"), Code::InvalidValue, message)
            .help("choose 64MiB or more");
    }
    backlog_limit
}

fn stores(inspector: &mut Inspector, draft: &BackupDraft, path: &str) {
    let list = format!("{path}/stores");
    if !inspector.list_length(&list, draft.stores.len(), Backup::STORES_MAX) {
        return;
    }
    for (place, store) in draft.stores.iter().enumerate() {
        let path = format!("{list}/{place}");
        if let Err(why) = judge(store) {
            let message = format!("`{store}` is no place for backups: {why}");
            let help = "write an absolute path, such as /srv/backups, or a bucket, such as s3://BUCKET/PREFIX (also gs://, \
                        az://); keys of clouds belong into the file DATA/secrets/DATABASE-store-credentials";
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

/// Whether it is a cloud's, or why it can be no store.
pub(super) fn judge(store: &str) -> Result<bool, &'static str> {
    let Some((scheme, rest)) = store.split_once("://") else {
        return match store.len() > 1 && store.starts_with('/') {
            true if store.split('/').any(|part| part == "..") => Err("`..` leads elsewhere"),
            true => Ok(false),
            false => Err("it is neither an absolute path nor a URL"),
        };
    };
    if !SCHEMES.contains(&scheme) {
        return Err("only s3, gs and az are known as schemes");
    }
    if rest.contains('@') || rest.contains('?') || rest.contains('#') {
        return Err(
            "a URL with a user, a key or a query would show them to whoever reads this file",
        );
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut parts = rest.trim_end_matches('/').split('/');
    let is_plain = parts
        .all(|part| !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(plain));
    match is_plain {
        true => Ok(true),
        false => Err("a bucket and folders are letters, digits, `-`, `_` and `.`"),
    }
}

fn options(inspector: &mut Inspector, draft: &BackupDraft, path: &str) -> Vec<StoreOptions> {
    let list = format!("{path}/storeOptions");
    if !inspector.list_length(&list, draft.store_options.len(), Backup::STORES_MAX) {
        return Vec::new();
    }
    for (place, options) in draft.store_options.iter().enumerate() {
        let path = format!("{list}/{place}");
        let is_cloud = judge(&options.store) == Ok(true);
        let others = draft.store_options.iter().take(place);
        if !is_cloud || !draft.stores.contains(&options.store) {
            let message = format!("`{}` is no URL among the stores", options.store);
            inspector
                .report(format!("{path}/store"), Code::InvalidValue, message)
                .help("repeat one of `stores` letter by letter; folders have no options");
        } else if others.clone().any(|other| other.store == options.store) {
            let message = format!("`{}` has options already", options.store);
            inspector
                .report(format!("{path}/store"), Code::DuplicateName, message)
                .help("write them together");
        }
        endpoint(inspector, options, &path);
    }
    let taken = draft.store_options.iter().map(|options| StoreOptions {
        store: options.store.clone(),
        region: options.region.clone(),
        endpoint: options.endpoint.clone(),
        allow_http: options.allow_http,
    });
    taken.collect()
}

pub(super) fn endpoint(inspector: &mut Inspector, options: &StoreOptionsDraft, path: &str) {
    let Some(endpoint) = &options.endpoint else {
        return;
    };
    let place = format!("{path}/endpoint");
    let (is_open, rest) = match (
        endpoint.strip_prefix("http://"),
        endpoint.strip_prefix("https://"),
    ) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => (false, ""),
    };
    if rest.is_empty() || rest.contains(['@', '?', '#', ' ']) {
        let message = format!("`{endpoint}` is no address of a service");
        inspector
            .report(place, Code::InvalidValue, message)
            .help("write https://HOST or https://HOST:PORT, without a user or a key");
    } else if is_open && !options.allow_http {
        let message = format!("`{endpoint}` is spoken to in the clear");
        inspector
            .report(place, Code::InvalidValue, message)
            .help("write https://, or `allowHttp: true` beside it if that is meant");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

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
            codes(&draft(&["sftp://x", "/a/../b"])),
            [Code::InvalidValue; 2]
        );
        assert_eq!(codes(&draft(&["s3://bucket/a", "gs://bucket"])), []);
        for keyed in [
            "s3://key:secret@bucket",
            "az://c/p?sig=abc",
            "s3://",
            "s3://a//b",
            "s3:/x",
        ] {
            assert_eq!(codes(&draft(&[keyed])), [Code::InvalidValue], "{keyed}");
        }
        let with = |store: &str, endpoint: &str, allow_http| BackupDraft {
            store_options: Vec::from([StoreOptionsDraft {
                store: store.to_string(),
                endpoint: Some(endpoint.to_string()),
                allow_http,
                ..StoreOptionsDraft::default()
            }]),
            ..draft(&["s3://bucket", "/a"])
        };
        assert_eq!(codes(&with("s3://bucket", "https://minio", false)), []);
        assert_eq!(
            codes(&with("s3://bucket", "http://127.0.0.1:9000", true)),
            []
        );
        for (store, endpoint) in [
            ("s3://bucket", "http://minio"),
            ("s3://bucket", "https://key@minio"),
            ("s3://bucket", "minio:9000"),
            ("s3://another", "https://minio"),
            ("/a", "https://minio"),
        ] {
            assert_eq!(codes(&with(store, endpoint, false)), [Code::InvalidValue]);
        }
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
