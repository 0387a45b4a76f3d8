//! The watch: where it runs, whom it asks besides the platform, which rules it follows.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::draft::{MetricsServerDraft, PlatformDraft, WatchDraft};
use crate::gateway::Gateway;
use crate::name::HostName;
use crate::platform::Host;
use crate::service::Service;
use crate::violation::Code;
use crate::watch::{AlertsDoor, Proof, Server, Watch};

use super::inspector::{Inspector, millis, seconds};
use super::targets::{can_be_asked, targets};
use super::{LIST_MAX, objectives, oncall};

const INTERVAL: Duration = seconds(5);
/// With longer ones, a target that is late once has no current value in Prometheus's lookback of five minutes.
const INTERVAL_MAX: Duration = seconds(120);
const RETENTION: Duration = seconds(24 * 60 * 60);
const RETENTION_MAX: Duration = seconds(400 * 24 * 60 * 60);
/// As in Alertmanager.
const ALERTS_PATIENCE: Duration = seconds(5 * 60);
const PATH: &str = "/spec/watch";

pub(super) fn watch(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
    gateways: &[Gateway],
    services: &[Service],
) -> Option<Watch> {
    let declared = draft.watch.as_ref()?;
    let is_on = declared.enabled.unwrap_or(true);
    let interval = inspector.span(
        "/spec/watch/interval",
        "an interval",
        declared.interval.unwrap_or(INTERVAL),
        millis(100)..=INTERVAL_MAX,
    );
    let retention = inspector.span(
        "/spec/watch/retention",
        "a retention",
        declared.retention.unwrap_or(RETENTION),
        seconds(60)..=RETENTION_MAX,
    );
    let rules = rules(inspector, declared);
    let targets = targets(inspector, draft, declared);
    let metrics = metrics(inspector, declared);
    let alerts = alerts(inspector, declared);
    token(inspector, declared);
    let objectives = objectives::objectives(inspector, draft, declared, gateways, services);
    let hosts = places(inspector, draft, declared, hosts);
    if is_on && metrics.is_none() {
        can_be_asked(inspector, draft);
    }
    is_on.then_some(Watch {
        hosts,
        port: declared.port,
        token_file: declared.token_file.clone(),
        interval,
        retention,
        rules,
        targets,
        objectives,
        metrics,
        alerts,
    })
}

/// By what outsiders may ask.
fn token(inspector: &mut Inspector, watch: &WatchDraft) {
    let Some(path) = &watch.token_file else {
        return;
    };
    let at = || format!("{PATH}/tokenFile");
    if !path.starts_with('/') {
        inspector
            .report(
                at(),
                Code::InvalidValue,
                format!("{path:?} is no absolute path"),
            )
            .help("a file of mode 0600 on every host of a watch");
    }
    if watch.port.is_none() {
        inspector
            .report(at(), Code::InvalidValue, "there is no door that it opens")
            .help("give the watch a `port`");
    }
}

/// Where others tell of alerts.
fn alerts(inspector: &mut Inspector, watch: &WatchDraft) -> Option<AlertsDoor> {
    let declared = watch.alerts.as_ref()?;
    let at = |field: &str| format!("{PATH}/alerts/{field}");
    if !declared.token_file.starts_with('/') {
        let message = format!("{:?} is no absolute path", declared.token_file);
        inspector
            .report(at("tokenFile"), Code::InvalidValue, message)
            .help("a file of mode 0600 on every host of a watch");
    }
    let patience = inspector.span(
        "/spec/watch/alerts/patience",
        "how long a sender is believed",
        declared.patience.unwrap_or(ALERTS_PATIENCE),
        seconds(10)..=seconds(24 * 60 * 60),
    );
    let ignored = &declared.ignore_labels;
    inspector.list_length(&at("ignoreLabels"), ignored.len(), LIST_MAX);
    if let Some(place) = ignored.iter().position(|name| name == "alertname") {
        let path = format!("{}/{place}", at("ignoreLabels"));
        let message = "an alert without `alertname` has no name";
        inspector
            .report(path, Code::InvalidValue, message)
            .help("ignore labels by which replicas differ, such as `replica`");
    }
    Some(AlertsDoor {
        port: declared.port,
        token_file: declared.token_file.clone(),
        patience,
        ignore_labels: ignored.clone(),
    })
}

/// Who scrapes instead.
fn metrics(inspector: &mut Inspector, watch: &WatchDraft) -> Option<Server> {
    let declared = watch.metrics.as_ref()?;
    let at = |field: &str| format!("{PATH}/metrics/{field}");
    if declared.source != "prometheus" {
        let message = format!("{:?} is no source of metrics", declared.source);
        inspector
            .report(at("source"), Code::InvalidValue, message)
            .help(
                "write `prometheus`, or leave `metrics` out: then the watch asks everybody itself",
            );
    }
    oncall::url(inspector, &at("url"), &declared.url);
    for (field, path) in [
        ("bearerTokenFile", &declared.bearer_token_file),
        ("passwordFile", &declared.password_file),
        ("authorityFile", &declared.authority_file),
    ] {
        if let Some(path) = path.as_ref().filter(|path| !path.starts_with('/')) {
            inspector
                .report(
                    at(field),
                    Code::InvalidValue,
                    format!("{path:?} is no absolute path"),
                )
                .help("a file on every host of a watch; those with secrets have mode 0600");
        }
    }
    if !watch.targets.is_empty() {
        inspector
            .report(
                format!("{PATH}/targets"),
                Code::InvalidValue,
                "targets are asked by nobody where a server scrapes instead of the watch",
            )
            .help("let that server scrape them, and remove them here")
            .related(format!("{PATH}/metrics"));
    }
    let (token, user, password) = (
        &declared.bearer_token_file,
        &declared.user,
        &declared.password_file,
    );
    let proof = match (token, user, password) {
        (None, None, None) => Proof::None,
        (Some(token_file), None, None) => Proof::Bearer {
            token_file: token_file.clone(),
        },
        (None, Some(user), Some(password_file)) => Proof::Basic {
            user: user.clone(),
            password_file: password_file.clone(),
        },
        _ => {
            inspector
                .report(
                    format!("{PATH}/metrics"),
                    Code::InvalidValue,
                    "a server is asked with `bearerTokenFile`, or with `user` and `passwordFile`",
                )
                .help("keep one of the two ways, whole");
            Proof::None
        }
    };
    headers(inspector, declared);
    Some(Server {
        url: declared.url.clone(),
        proof,
        authority_file: declared.authority_file.clone(),
        headers: declared.headers.clone(),
    })
}

/// What is said of whom the question is asked for; how it is asked, and who asks, have fields of their own.
fn headers(inspector: &mut Inspector, server: &MetricsServerDraft) {
    const OWN: [&str; 6] = [
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
    ];
    let is_name = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
    for (name, value) in &server.headers {
        let fits = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_name);
        let is_own = OWN.iter().any(|own| name.eq_ignore_ascii_case(own));
        let is_value = |c: u8| c.is_ascii_graphic() || c == b' ';
        let says = value.len() <= 1024 && value.trim() == value && value.bytes().all(is_value);
        if !fits || is_own || !says || value.is_empty() {
            let message = format!("{name:?} with {value:?} cannot be said to a server");
            inspector
                .report(format!("{PATH}/metrics/headers"), Code::InvalidValue, message)
                .help("write a header such as `X-Scope-OrgID: desk`; tokens and passwords stand in files of their own");
        }
    }
}

/// The hosts that are named, and the first of each region that is named.
fn places(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    watch: &WatchDraft,
    hosts: &[Host],
) -> Vec<HostName> {
    if watch.hosts.is_empty() && watch.regions.is_empty() {
        inspector
            .report(PATH, Code::Missing, "it is not said where the watch runs")
            .help("name hosts, or regions: each then has a watch of its own, on its first host");
    }
    for (field, length) in [
        ("hosts", watch.hosts.len()),
        ("regions", watch.regions.len()),
    ] {
        if !inspector.list_length(&format!("{PATH}/{field}"), length, LIST_MAX) {
            return Vec::new();
        }
    }
    let mut found: Vec<HostName> = Vec::new();
    let mut put = |inspector: &mut Inspector, path: String, host: Option<&Host>| {
        let Some(host) = host else { return };
        if found.contains(&host.name) {
            let message = format!("a watch runs on host `{}` already", host.name);
            inspector
                .report(path, Code::DuplicateName, message)
                .help("remove one of them: a host has one watch");
        } else {
            found.push(host.name.clone());
        }
    };
    let declared = || draft.hosts.iter().map(|host| host.name.as_str());
    for (place, text) in watch.hosts.iter().enumerate() {
        let path = format!("{PATH}/hosts/{place}");
        if inspector.reference(&path, "host", text, declared()) {
            let host = hosts.iter().find(|host| host.name == **text);
            put(inspector, path, host);
        }
    }
    let declared = || draft.regions.iter().map(|region| region.name.as_str());
    for (place, text) in watch.regions.iter().enumerate() {
        let path = format!("{PATH}/regions/{place}");
        if !inspector.reference(&path, "region", text, declared()) {
            continue;
        }
        let host = hosts.iter().find(|host| host.region == **text);
        if host.is_none() && draft.hosts.iter().all(|host| host.region != *text) {
            let message = format!("region `{text}` has no host that a watch could run on");
            inspector.report(path.clone(), Code::PlacementImpossible, message);
        }
        put(inspector, path, host);
    }
    found
}

fn rules(inspector: &mut Inspector, watch: &WatchDraft) -> Vec<String> {
    let list = format!("{PATH}/rules");
    if !inspector.list_length(&list, watch.rules.len(), LIST_MAX) {
        return Vec::new();
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, path) in watch.rules.iter().enumerate() {
        let name = Watch::rule_name(path);
        if name.is_empty() || name == "." || name == ".." || path.contains('\0') {
            inspector
                .report(
                    format!("{list}/{place}"),
                    Code::InvalidValue,
                    format!("{path:?} is not the path of a rule file"),
                )
                .help("write a path beside the platform file, such as `rules/exchange.yaml`");
        } else if let Some(first) = seen.insert(name, place) {
            inspector
                .report(
                    format!("{list}/{place}"),
                    Code::DuplicateName,
                    format!("two rule files are called `{name}`"),
                )
                .help("rename one of them: a group is known by its file's name and its own")
                .related(format!("{list}/{first}"));
        }
    }
    watch.rules.clone()
}
