//! Where the journal stands: in the embedded folder, or in an etcd that can keep the platform's promise.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::backup;
use super::inspector::Inspector;
use crate::coordination::{
    Coordination, Etcd, EtcdEndpoint, EtcdIdentity, EtcdMembers, EtcdPorts, Security,
};
use crate::database::StoreOptions;
use crate::draft::{EtcdDraft, PlatformDraft};
use crate::name::HostName;
use crate::platform::Host;
use crate::violation::Code;

const PATH: &str = "/spec/coordination/etcd";
/// More than seven members cost every write and protect little.
const MEMBERS_MAX: usize = 7;
const CLIENT_PORT: u16 = 2379;
const PREFIX_BYTES_MAX: usize = 200;

/// Ports of members, with what they are called; unless the file says otherwise they stand far enough apart for the
/// hosts of a region.
pub(super) fn ports(draft: &EtcdDraft) -> [(&'static str, &'static str, u16); 3] {
    let declared = &draft.ports;
    let client = declared.client.unwrap_or(CLIENT_PORT);
    let after = |tens: u16| client.saturating_add(tens * 10);
    [
        ("client", "etcd", client),
        ("peer", "etcd's members", declared.peer.unwrap_or(after(1))),
        ("relay", "etcd's relay", declared.relay.unwrap_or(after(3))),
    ]
}

pub(super) fn coordination(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
) -> Coordination {
    let Some(etcd) = draft.coordination.as_ref().and_then(|c| c.etcd.as_ref()) else {
        return Coordination::Folder;
    };
    let members = match (etcd.endpoints.is_empty(), etcd.members.is_empty()) {
        (false, true) => external(inspector, etcd),
        (true, false) => own(inspector, etcd, hosts),
        (true, true) | (false, false) => {
            inspector
                .report(PATH, Code::InvalidValue, "an etcd is named either by its `endpoints` or by the hosts of its `members`")
                .help("write `endpoints: [https://etcd.example.com:2379]` for one that others run, or `members: [{host: …}]` for one that Mainstay runs");
            return Coordination::Folder;
        }
    };
    let keep_parts = etcd.keep_parts.unwrap_or(Etcd::KEEP_PARTS);
    let what = "a number of parts";
    inspector.within(&format!("{PATH}/keepParts"), what, keep_parts, 16..=4_096);
    Coordination::Etcd(Box::new(Etcd {
        members,
        prefix: prefix(inspector, etcd, &draft.name),
        archive: archive(inspector, etcd),
        archive_options: archive_options(inspector, etcd),
        keep_parts,
    }))
}

fn prefix(inspector: &mut Inspector, etcd: &EtcdDraft, platform: &str) -> String {
    let Some(prefix) = &etcd.prefix else {
        return format!("mainstay/{platform}");
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_plain = prefix.len() <= PREFIX_BYTES_MAX
        && prefix
            .split('/')
            .all(|part| !part.is_empty() && part.bytes().all(plain));
    if !is_plain {
        let message = format!("`{prefix}` cannot be the beginning of keys");
        inspector
            .report(format!("{PATH}/prefix"), Code::InvalidValue, message)
            .help("write words of letters, digits, `-`, `_` and `.`, with `/` between them, such as `mainstay/exchange`");
    }
    prefix.clone()
}

fn archive(inspector: &mut Inspector, etcd: &EtcdDraft) -> Option<String> {
    let archive = etcd.archive.as_ref()?;
    if let Err(why) = backup::judge(archive) {
        let message = format!("`{archive}` is no place for the journal: {why}");
        inspector
            .report(format!("{PATH}/archive"), Code::InvalidValue, message)
            .help("write an absolute path that every host reaches, or a bucket, such as s3://BUCKET/PREFIX (also gs://, az://)");
    }
    Some(archive.clone())
}

fn archive_options(inspector: &mut Inspector, etcd: &EtcdDraft) -> Option<StoreOptions> {
    let options = etcd.archive_options.as_ref()?;
    let path = format!("{PATH}/archiveOptions");
    let archive = etcd.archive.clone().unwrap_or_default();
    if backup::judge(&archive) != Ok(true) {
        inspector
            .report(
                &path,
                Code::InvalidValue,
                "only an `archive` in a bucket has options",
            )
            .help("remove them, or name the bucket, such as `archive: s3://BUCKET/PREFIX`");
    }
    backup::endpoint(inspector, options, &path);
    Some(StoreOptions {
        store: archive,
        region: options.region.clone(),
        endpoint: options.endpoint.clone(),
        allow_http: options.allow_http,
    })
}

fn absolute(inspector: &mut Inspector, field: &str, path: &str) {
    let is_fit = path.len() > 1 && path.starts_with('/') && !path.split('/').any(|p| p == "..");
    if !is_fit {
        let message = format!("`{path}` is no absolute path");
        inspector
            .report(format!("{PATH}/{field}"), Code::InvalidValue, message)
            .help("write where it stands on every host, such as /srv/mainstay/journal");
    }
}

fn external(inspector: &mut Inspector, etcd: &EtcdDraft) -> EtcdMembers {
    let list = format!("{PATH}/endpoints");
    let mut endpoints = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    inspector.list_length(&list, etcd.endpoints.len(), MEMBERS_MAX * 2);
    for (place, text) in etcd.endpoints.iter().enumerate() {
        let path = format!("{list}/{place}");
        if let Some(first) = seen.insert(text, place) {
            let message = format!("`{text}` is named twice");
            inspector
                .report(path, Code::DuplicateName, message)
                .help("name every member once")
                .related(format!("{list}/{first}"));
            continue;
        }
        match endpoint(text) {
            Some(endpoint) => endpoints.push(endpoint),
            None => {
                let message = format!("`{text}` is no endpoint of an etcd");
                inspector
                    .report(path, Code::InvalidValue, message)
                    .help("write https://HOST:PORT, or http://HOST:PORT where that is meant, without a user or a path");
            }
        }
    }
    let identity = match (&etcd.certificate_file, &etcd.authority_file) {
        (None, None) => None,
        (Some(own), Some(roots)) => {
            absolute(inspector, "certificateFile", own);
            absolute(inspector, "authorityFile", roots);
            Some(EtcdIdentity {
                own: own.clone(),
                roots: roots.clone(),
            })
        }
        (Some(_), None) | (None, Some(_)) => {
            inspector
                .report(PATH, Code::Missing, "`certificateFile` and `authorityFile` are given together")
                .help("the first is what the platform shows (key and certificate, PEM), the second whom it believes; without both it uses its own authority");
            None
        }
    };
    if draft_has_ports(etcd) {
        inspector
            .report(
                format!("{PATH}/ports"),
                Code::InvalidValue,
                "`ports` are those of `members` that Mainstay runs",
            )
            .help("the port of an endpoint stands in its URL");
    }
    EtcdMembers::External {
        endpoints,
        identity,
    }
}

fn draft_has_ports(etcd: &EtcdDraft) -> bool {
    let ports = &etcd.ports;
    [ports.client, ports.peer, ports.relay]
        .iter()
        .any(Option::is_some)
}

fn endpoint(text: &str) -> Option<EtcdEndpoint> {
    let (scheme, rest) = text.split_once("://")?;
    let security = match scheme {
        "https" => Security::Tls,
        "http" => Security::Clear,
        _ => return None,
    };
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner
            .strip_suffix(']')
            .filter(|inner| inner.contains(':'))?,
        None => Some(host).filter(|host| !host.contains(':'))?,
    };
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'_');
    if host.is_empty() || !host.bytes().all(plain) {
        return None;
    }
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(EtcdEndpoint {
        host: host.to_string(),
        port,
        security,
    })
}

fn own(inspector: &mut Inspector, etcd: &EtcdDraft, hosts: &[Host]) -> EtcdMembers {
    let list = format!("{PATH}/members");
    let count = etcd.members.len();
    if count > MEMBERS_MAX || count.is_multiple_of(2) {
        let message = format!("{count} members of an etcd");
        inspector
            .report(&list, Code::InvalidValue, message)
            .help("choose 1, 3, 5 or 7: an even number survives no more losses than the odd number below it");
    }
    let mut members: Vec<&Host> = Vec::new();
    let mut seen = BTreeMap::new();
    for (place, member) in etcd.members.iter().enumerate() {
        let path = format!("{list}/{place}/host");
        let declared = hosts.iter().map(|host| host.name.as_str());
        if !inspector.reference(&path, "host", &member.host, declared) {
            continue;
        }
        if let Some(first) = seen.insert(member.host.as_str(), place) {
            let message = format!("`{}` has two members", member.host);
            inspector
                .report(path, Code::DuplicateName, message)
                .help("both would be lost with it: put one of them on another host")
                .related(format!("{list}/{first}/host"));
            continue;
        }
        members.extend(hosts.iter().find(|host| host.name == *member.host.as_str()));
    }
    survives(inspector, &list, &members, hosts);
    if etcd.certificate_file.is_some() || etcd.authority_file.is_some() {
        inspector
            .report(
                PATH,
                Code::InvalidValue,
                "members that Mainstay runs have certificates of the platform's own authority",
            )
            .help("remove `certificateFile` and `authorityFile`");
    }
    let [(_, _, client), (_, _, peer), (_, _, relay)] = ports(etcd);
    EtcdMembers::Own {
        hosts: members
            .iter()
            .map(|host| host.name.clone())
            .collect::<Vec<HostName>>(),
        ports: EtcdPorts {
            client,
            peer,
            relay,
        },
    }
}

/// No region and no host may hold a majority, where the platform has enough of them.
fn survives(inspector: &mut Inspector, list: &str, members: &[&Host], hosts: &[Host]) {
    let regions: BTreeSet<_> = hosts.iter().map(|host| &host.region).collect();
    if regions.len() < 3 {
        return;
    }
    let mut held: BTreeMap<_, usize> = BTreeMap::new();
    for member in members {
        *held.entry(&member.region).or_default() += 1;
    }
    if let Some((region, _)) = held.iter().find(|(_, count)| **count * 2 > members.len()) {
        let message = format!(
            "with region `{region}` the majority of etcd's members is lost, and with it deliberation"
        );
        inspector
            .report(list, Code::SurvivalImpossible, message)
            .help("put the members into three regions, so that any one may be lost");
    }
}
