//! What a step does, as stored.

use mainstay_playbook::{Act, Allowance, Call, Due, Method, WorkItem};
use mainstay_record::playbook::{ActRecord, CallRecord, DueRecord};

use super::ReadError;

pub(super) fn act_record(act: &Act) -> ActRecord {
    match act.clone() {
        Act::Switchover { database, from, to } => ActRecord::Switchover { database, from, to },
        Act::Restart { host, instance } => ActRecord::Restart { host, instance },
        Act::ClearFaults { faults } => ActRecord::ClearFaults { faults },
        Act::Drain { hosts } => ActRecord::Drain { hosts },
        Act::Return { hosts, shifts } => ActRecord::Return { hosts, shifts },
        Act::Shift {
            service,
            region,
            share,
        } => ActRecord::Shift {
            service,
            region,
            share,
        },
        Act::Replicas {
            service,
            count,
            before,
        } => ActRecord::Replicas {
            service,
            count,
            before,
        },
        Act::Mode {
            host,
            service,
            mode,
        } => ActRecord::Mode {
            host,
            service,
            mode,
        },
        Act::Run {
            host,
            program,
            arguments,
            allows,
        } => ActRecord::Run {
            host,
            program,
            arguments,
            reads: allows.reads,
            connects: allows.connects,
        },
        Act::Replace { host, service, to } => ActRecord::Replace { host, service, to },
        Act::Rebuild { database, host } => ActRecord::Rebuild { database, host },
        Act::Http(call) => ActRecord::Http(Box::new(CallRecord {
            method: call.method.as_str().to_owned(),
            host: call.host,
            url: call.url,
            body: call.body,
            headers_file: call.headers_file,
            authority_file: call.authority_file,
            expect: call.expect,
        })),
        Act::Notify { to, text } => ActRecord::Notify { to, text },
        Act::WorkItem(item) => ActRecord::WorkItem {
            title: item.title,
            owner: item.owner,
            due: match item.due {
                Due::Day(day) => DueRecord::Day(day),
                Due::Days(days) => DueRecord::Days(days),
            },
            // No step is begun without one.
            incident: item.incident.unwrap_or_default(),
        },
    }
}

pub(super) fn act_of(record: ActRecord) -> Result<Act, ReadError> {
    Ok(match record {
        ActRecord::Switchover { database, from, to } => Act::Switchover { database, from, to },
        ActRecord::Restart { host, instance } => Act::Restart { host, instance },
        ActRecord::ClearFaults { faults } => Act::ClearFaults { faults },
        ActRecord::Drain { hosts } => Act::Drain { hosts },
        ActRecord::Return { hosts, shifts } => Act::Return { hosts, shifts },
        ActRecord::Shift {
            service,
            region,
            share,
        } => Act::Shift {
            service,
            region,
            share,
        },
        ActRecord::Replicas {
            service,
            count,
            before,
        } => Act::Replicas {
            service,
            count,
            before,
        },
        ActRecord::Mode {
            host,
            service,
            mode,
        } => Act::Mode {
            host,
            service,
            mode,
        },
        ActRecord::Run {
            host,
            program,
            arguments,
            reads,
            connects,
        } => Act::Run {
            host,
            program,
            arguments,
            allows: Allowance { reads, connects },
        },
        ActRecord::Replace { host, service, to } => Act::Replace { host, service, to },
        ActRecord::Rebuild { database, host } => Act::Rebuild { database, host },
        ActRecord::Http(call) => Act::Http(Box::new(call_of(*call)?)),
        ActRecord::Notify { to, text } => Act::Notify { to, text },
        ActRecord::WorkItem {
            title,
            owner,
            due,
            incident,
        } => Act::WorkItem(Box::new(WorkItem {
            title,
            owner,
            due: match due {
                DueRecord::Day(day) => Due::Day(day),
                DueRecord::Days(days) => Due::Days(days),
            },
            incident: Some(incident),
        })),
    })
}

fn call_of(call: CallRecord) -> Result<Call, ReadError> {
    Ok(Call {
        method: Method::parse(&call.method).ok_or(ReadError::Form("method"))?,
        host: call.host,
        url: call.url,
        body: call.body,
        headers_file: call.headers_file,
        authority_file: call.authority_file,
        expect: call.expect,
    })
}

#[cfg(test)]
pub(super) fn acts(text: &str) -> Vec<Act> {
    let (host, service) = ("h1".to_owned(), "web".to_owned());
    let item = |due| {
        Act::WorkItem(Box::new(WorkItem {
            title: text.to_owned(),
            owner: "ada".to_owned(),
            due,
            incident: Some("i3".to_owned()),
        }))
    };
    let call = |method, body: Option<&str>, file: Option<&str>| {
        Act::Http(Box::new(Call {
            host: host.clone(),
            url: "https://api.example/x".to_owned(),
            method,
            body: body.map(str::to_owned),
            headers_file: file.map(str::to_owned),
            authority_file: file.map(str::to_owned),
            expect: (200, 204),
        }))
    };
    let mut acts: Vec<Act> = Method::ALL.map(|method| call(method, None, None)).into();
    acts.extend([
        call(Method::Post, Some("{}"), Some("/etc/headers")),
        Act::Switchover {
            database: "ledger".to_owned(),
            from: "h1".to_owned(),
            to: "h2".to_owned(),
        },
        Act::Restart {
            host: host.clone(),
            instance: service.clone(),
        },
        Act::ClearFaults {
            faults: vec!["f1".to_owned()],
        },
        Act::Drain {
            hosts: vec![host.clone()],
        },
        Act::Return {
            hosts: vec![host.clone()],
            shifts: Vec::new(),
        },
        Act::Run {
            host: host.clone(),
            program: "/bin/true".to_owned(),
            arguments: vec![text.to_owned()],
            allows: Allowance {
                reads: vec!["/opt/x".to_owned()],
                connects: vec![5432],
            },
        },
        Act::Replace {
            host: host.clone(),
            service,
            to: "h2".to_owned(),
        },
        Act::Rebuild {
            database: "ledger".to_owned(),
            host,
        },
        Act::Notify {
            to: "rotation/primary".to_owned(),
            text: text.to_owned(),
        },
        item(Due::Days(7)),
        item(Due::Day("2026-12-24".to_owned())),
    ]);
    acts.extend(acts_on_services());
    acts
}

#[cfg(test)]
fn acts_on_services() -> [Act; 4] {
    let service = || "web".to_owned();
    [
        Act::Return {
            hosts: Vec::new(),
            shifts: vec![(service(), "r1".to_owned())],
        },
        Act::Shift {
            service: service(),
            region: "r1".to_owned(),
            share: 30,
        },
        Act::Replicas {
            service: service(),
            count: 3,
            before: 2,
        },
        Act::Mode {
            host: "h1".to_owned(),
            service: service(),
            mode: "cancelOnly".to_owned(),
        },
    ]
}
