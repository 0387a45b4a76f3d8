//! Whom the watch asks: those that the file names besides the platform, and whether everybody of the platform can be asked.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::draft::{PlatformDraft, TargetTlsDraft, WatchDraft, WatchTargetDraft};
use crate::violation::Code;
use crate::watch::{TargetAddress, Watch, WatchTarget};

use super::LIST_MAX;
use super::inspector::Inspector;

const PATH: &str = "/spec/watch";

pub(super) fn targets(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    watch: &WatchDraft,
) -> Vec<WatchTarget> {
    let list = format!("{PATH}/targets");
    if !inspector.list_length(&list, watch.targets.len(), LIST_MAX) {
        return Vec::new();
    }
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut targets = Vec::new();
    for (place, declared) in watch.targets.iter().enumerate() {
        let path = format!("{list}/{place}");
        job(inspector, draft, declared, &path);
        labels(inspector, declared, &path);
        let metrics_path = declared.path.clone().unwrap_or_else(|| "/metrics".into());
        if !is_request_path(&metrics_path) {
            inspector
                .report(
                    format!("{path}/path"),
                    Code::InvalidValue,
                    format!("{metrics_path:?} is not a path that can be asked for"),
                )
                .help("write an absolute path such as `/metrics`");
        }
        let Some(address) = address(inspector, declared, &path) else {
            continue;
        };
        token(inspector, declared, &address, &path);
        let instance = declared.instance.as_ref().unwrap_or(&declared.address);
        let key = (declared.job.clone(), instance.clone());
        if let Some(first) = seen.insert(key, place) {
            let message = format!("`{instance}` of job `{}` is named twice", declared.job);
            inspector
                .report(&path, Code::DuplicateName, message)
                .help("their series would be the same: give one another `instance`")
                .related(format!("{list}/{first}"));
        }
        targets.push(WatchTarget {
            job: declared.job.clone(),
            instance: instance.clone(),
            address,
            path: metrics_path,
            labels: declared.labels.clone(),
            token_file: declared.token_file.clone(),
        });
    }
    targets
}

fn job(inspector: &mut Inspector, draft: &PlatformDraft, target: &WatchTargetDraft, path: &str) {
    let path = format!("{path}/job");
    let job = target.job.as_str();
    let is_taken = is_own_job(draft, job) || draft.services.iter().any(|s| s.name == job);
    if job.is_empty() || job.len() > 128 {
        inspector
            .report(path, Code::InvalidValue, "a job needs a name")
            .help("write what kind of thing it is, such as `load-balancer`");
    } else if is_taken {
        let message = format!("`{job}` is the job of targets that the platform has itself");
        inspector
            .report(path, Code::DuplicateName, message)
            .help("choose another name");
    }
}

fn labels(inspector: &mut Inspector, target: &WatchTargetDraft, path: &str) {
    for name in target.labels.keys() {
        let first_fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let fits = first_fits && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_own = matches!(name.as_str(), "job" | "instance") || name.starts_with("__");
        if !fits || is_own {
            let message = format!("{name:?} cannot be the name of a label here");
            inspector
                .report(format!("{path}/labels"), Code::InvalidName, message)
                .help("use letters, digits and '_'; `job` and `instance` are fields of their own");
        }
    }
}

fn address(
    inspector: &mut Inspector,
    target: &WatchTargetDraft,
    path: &str,
) -> Option<TargetAddress> {
    let text = target.address.as_str();
    if let Some(socket) = text.strip_prefix("unix:") {
        if socket.starts_with('/') && socket.len() < 108 && !socket.contains('\0') {
            if target.tls.is_some() {
                inspector
                    .report(
                        format!("{path}/tls"),
                        Code::InvalidValue,
                        "a socket of the watch's host is not spoken to over TLS",
                    )
                    .help("take `tls` out, or write `HOST:PORT`");
            }
            return Some(TargetAddress::Unix(socket.into()));
        }
    } else if let Some((host, port)) = text.rsplit_once(':') {
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && c != '/');
        if is_port && is_host {
            return Some(match &target.tls {
                None => TargetAddress::Tcp(text.into()),
                Some(tls) => over_tls(inspector, tls, (text, host), path),
            });
        }
    }
    inspector
        .report(
            format!("{path}/address"),
            Code::InvalidValue,
            format!("{text:?} cannot be asked"),
        )
        .help("write `HOST:PORT`, or `unix:/PATH` for a socket of the watch's host");
    None
}

/// Without a name of its own the target must be certified to be whom it is reached as.
fn over_tls(
    inspector: &mut Inspector,
    tls: &TargetTlsDraft,
    (address, host): (&str, &str),
    path: &str,
) -> TargetAddress {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let server_name = tls.server_name.as_deref().unwrap_or(host);
    let is_part = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
    if server_name.is_empty() || !server_name.bytes().all(is_part) {
        inspector
            .report(
                format!("{path}/tls/serverName"),
                Code::InvalidValue,
                format!("{server_name:?} is no name that a certificate could have"),
            )
            .help("write the name, or the address, that stands in the target's certificate");
    }
    let authority = tls.authority_file.as_ref();
    if let Some(file) = authority.filter(|file| !file.starts_with('/')) {
        inspector
            .report(
                format!("{path}/tls/authorityFile"),
                Code::InvalidValue,
                format!("{file:?} is no absolute path"),
            )
            .help("a PEM file on every host of a watch");
    }
    TargetAddress::Tls {
        address: address.into(),
        server_name: server_name.into(),
        authority_file: tls.authority_file.clone(),
    }
}

/// Whoever hears a token on its way is the watch from then on.
fn token(
    inspector: &mut Inspector,
    target: &WatchTargetDraft,
    address: &TargetAddress,
    path: &str,
) {
    let Some(file) = &target.token_file else {
        return;
    };
    let path = format!("{path}/tokenFile");
    if !file.starts_with('/') {
        let message = format!("{file:?} is no absolute path");
        inspector
            .report(&path, Code::InvalidValue, message)
            .help("a file of mode 0600 on every host of a watch");
    }
    if matches!(address, TargetAddress::Tcp(_)) {
        let message = "the token would be shown in the clear to whoever listens";
        inspector
            .report(&path, Code::InvalidValue, message)
            .help("give the target `tls`, or ask it over a socket of the watch's host");
    }
}

/// What the watch calls targets that the platform has itself.
fn is_own_job(draft: &PlatformDraft, job: &str) -> bool {
    let etcd = || draft.coordination.as_ref()?.etcd.as_ref();
    let backups = || draft.databases.iter().filter_map(|d| d.backup.as_ref());
    match job {
        Watch::ETCD_JOB => etcd().is_some_and(|etcd| !etcd.members.is_empty()),
        Watch::ARCHIVER_JOB => backups().any(|backup| backup.metrics_port.is_some()),
        other => Watch::OWN_JOBS.contains(&other),
    }
}

pub(super) fn is_request_path(path: &str) -> bool {
    path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && c != '#')
}

/// Everybody of the platform must be reachable for the watch, and have a name that tells it from Mainstay's own.
pub(super) fn can_be_asked(inspector: &mut Inspector, draft: &PlatformDraft) {
    for (place, gateway) in draft.gateways.iter().enumerate() {
        if gateway.metrics_port.is_none() {
            let message = format!(
                "the watch cannot ask gateway `{}`: it has no port for its figures",
                gateway.name
            );
            inspector
                .report(
                    format!("/spec/gateways/{place}"),
                    Code::Missing,
                    message,
                )
                .help("give it one, such as `metricsPort: 8090`; only processes of the platform are answered there")
                .related(PATH);
        }
    }
    for (place, service) in draft.services.iter().enumerate() {
        if is_own_job(draft, &service.name) {
            let message = format!(
                "`{}` is what the watch calls targets of Mainstay's own",
                service.name
            );
            inspector
                .report(
                    format!("/spec/services/{place}/name"),
                    Code::InvalidName,
                    message,
                )
                .help(
                    "choose another name; not `archiver`, `etcd`, `gateway`, `keeper`, `node` or `watch`",
                )
                .related(PATH);
        }
    }
}
