//! Calling people: every name leads somewhere, every secret is a file, and every ladder reaches somebody.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::draft::{ChannelDraft, EmailDraft, OncallDraft, PlatformDraft, RotationDraft};
use crate::name::{ChannelName, OperatorName, PolicyName, RotationName};
use crate::oncall::{
    Channel, Contact, Email, EmailTls, Handover, Level, Oncall, Override, Policy, Rotation, Told,
    Way, parse_moment,
};
use crate::violation::Code;

use super::LIST_MAX;
use super::inspector::{Inspector, seconds};

const AT: &str = "/spec/oncall";
const WAIT: Duration = seconds(10);
const REMIND: Duration = seconds(4 * 60 * 60);
const WITHIN: Duration = seconds(5 * 60);
const ROUNDS: u32 = 3;
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const SEVERITIES: [&str; 4] = ["info", "warning", "error", "critical"];
const KINDS: [&str; 6] = ["region", "host", "database", "service", "gateway", "route"];

pub(super) fn oncall(inspector: &mut Inspector, draft: &PlatformDraft) -> Option<Oncall> {
    let declared = draft.oncall.as_ref()?;
    let lists = [
        ("channels", declared.channels.len()),
        ("contacts", declared.contacts.len()),
        ("rotations", declared.rotations.len()),
        ("policies", declared.policies.len()),
    ];
    for (name, length) in lists {
        if !inspector.list_length(&format!("{AT}/{name}"), length, LIST_MAX) {
            return None;
        }
    }
    let channels = channels(inspector, declared);
    let contacts = contacts(inspector, draft, declared);
    let rotations = rotations(inspector, draft, declared);
    let policies = policies(inspector, draft, declared);
    let wait = declared.wait.unwrap_or(WAIT);
    let remind = declared.remind.unwrap_or(REMIND);
    Some(Oncall {
        channels,
        contacts,
        rotations,
        policies,
        wait: inspector.span(
            &format!("{AT}/wait"),
            "a wait",
            wait,
            seconds(0)..=seconds(600),
        ),
        remind: inspector.span(
            &format!("{AT}/remind"),
            "the time between reminders",
            remind,
            seconds(60)..=seconds(7 * 24 * 60 * 60),
        ),
    })
}

fn channels(inspector: &mut Inspector, declared: &OncallDraft) -> Vec<Channel> {
    let list = format!("{AT}/channels");
    let texts = declared.channels.iter().map(|channel| &channel.name);
    let names = inspector.names(&list, "channel", texts, ChannelName::new);
    let mut channels = Vec::new();
    for (place, (channel, name)) in declared.channels.iter().zip(names).enumerate() {
        let way = way(inspector, channel, &format!("{list}/{place}"));
        if let (Some(name), Some(way)) = (name, way) {
            let name = name.to_string();
            channels.push(Channel { name, way });
        }
    }
    channels
}

fn way(inspector: &mut Inspector, channel: &ChannelDraft, path: &str) -> Option<Way> {
    let ways = [
        channel.webhook.is_some(),
        channel.slack.is_some(),
        channel.pagerduty.is_some(),
        channel.email.is_some(),
    ];
    if ways.iter().filter(|way| **way).count() != 1 {
        let message = "a channel has exactly one of `webhook`, `slack`, `pagerduty` and `email`";
        inspector.report(path, Code::InvalidValue, message);
        return None;
    }
    if let Some(webhook) = &channel.webhook {
        url(inspector, &format!("{path}/webhook/url"), &webhook.url);
        let at = format!("{path}/webhook/secretFile");
        file(inspector, &at, &webhook.secret_file);
        return Some(Way::Webhook {
            url: webhook.url.clone(),
            secret_file: webhook.secret_file.clone(),
        });
    }
    if let Some(slack) = &channel.slack {
        file(inspector, &format!("{path}/slack/urlFile"), &slack.url_file);
        let url_file = slack.url_file.clone();
        return Some(Way::Slack { url_file });
    }
    if let Some(pagerduty) = &channel.pagerduty {
        let at = format!("{path}/pagerduty/keyFile");
        file(inspector, &at, &pagerduty.key_file);
        let known = pagerduty
            .url
            .clone()
            .unwrap_or_else(|| PAGERDUTY.to_string());
        url(inspector, &format!("{path}/pagerduty/url"), &known);
        return Some(Way::Pagerduty {
            key_file: pagerduty.key_file.clone(),
            url: known,
        });
    }
    let email = channel.email.as_ref()?;
    self::email(inspector, email, &format!("{path}/email")).map(Way::Email)
}

fn email(inspector: &mut Inspector, email: &EmailDraft, path: &str) -> Option<Email> {
    let mut all = email.to.iter().chain([&email.from]);
    let is_address = |text: &String| {
        let parts = text.split_once('@');
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | ',' | ';' | '"');
        parts.is_some_and(|(who, place)| !who.is_empty() && !place.is_empty())
            && text.chars().all(plain)
    };
    if email.to.is_empty() || !all.all(is_address) {
        let message =
            "`to` and `from` are addresses such as desk@example.org; `to` has one at least";
        inspector.report(path, Code::InvalidValue, message);
        return None;
    }
    let port = email
        .server
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(1..))) {
        let message = format!("{:?} is no server: expected HOST:PORT", email.server);
        inspector.report(format!("{path}/server"), Code::InvalidValue, message);
        return None;
    }
    if email.user.is_some() != email.password_file.is_some() {
        let message = "`user` and `passwordFile` belong together";
        inspector.report(path, Code::InvalidValue, message);
    }
    let host = email.server.rsplit_once(':').map_or("", |(host, _)| host);
    let is_here = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    if email.tls == EmailTls::Off && !is_here {
        let message = "mail is sent in the clear only to a server of the same host";
        inspector
            .report(format!("{path}/tls"), Code::InvalidValue, message)
            .help("write `tls: starttls` or `tls: implicit`");
    }
    for (name, path_of) in [
        ("passwordFile", &email.password_file),
        ("authorityFile", &email.authority_file),
    ] {
        if let Some(text) = path_of {
            file(inspector, &format!("{path}/{name}"), text);
        }
    }
    Some(Email {
        to: email.to.clone(),
        from: email.from.clone(),
        server: email.server.clone(),
        tls: email.tls,
        authority_file: email.authority_file.clone(),
        user: email.user.clone(),
        password_file: email.password_file.clone(),
    })
}

pub(super) fn url(inspector: &mut Inspector, path: &str, text: &str) {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_graphic();
    if !rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(plain)) {
        let message = format!("{text:?} is no URL: expected http:// or https://");
        inspector.report(path, Code::InvalidValue, message);
    } else if rest.is_some_and(|rest| rest.split('/').next().unwrap_or("").contains('@')) {
        let message = "a URL holds no user and no password";
        inspector
            .report(path, Code::InvalidValue, message)
            .help("secrets stand in files of their own");
    }
}

fn file(inspector: &mut Inspector, path: &str, text: &str) {
    if !text.starts_with('/') {
        let message = format!("{text:?} is no absolute path");
        inspector
            .report(path, Code::InvalidValue, message)
            .help("a file of mode 0600 on every host; whoever leads reads it when it is needed");
    }
}

fn operator(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    path: &str,
    text: &str,
) -> Option<OperatorName> {
    let known = draft
        .operators
        .iter()
        .map(|operator| operator.name.as_str());
    let is_known = inspector.reference(path, "operator", text, known);
    is_known.then(|| OperatorName::new(text).ok()).flatten()
}

fn contacts(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    declared: &OncallDraft,
) -> Vec<Contact> {
    let mut contacts: Vec<Contact> = Vec::new();
    for (place, contact) in declared.contacts.iter().enumerate() {
        let path = format!("{AT}/contacts/{place}");
        let who = operator(
            inspector,
            draft,
            &format!("{path}/operator"),
            &contact.operator,
        );
        for (number, channel) in contact.channels.iter().enumerate() {
            let known = declared
                .channels
                .iter()
                .map(|channel| channel.name.as_str());
            let path = format!("{path}/channels/{number}");
            inspector.reference(&path, "channel", channel, known);
        }
        let Some(who) = who else { continue };
        if contacts.iter().any(|known| known.operator == who) {
            let message = format!("contacts of {who} stand here twice");
            inspector.report(path, Code::DuplicateName, message);
        }
        contacts.push(Contact {
            operator: who,
            channels: contact.channels.clone(),
        });
    }
    contacts
}

fn rotations(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    declared: &OncallDraft,
) -> Vec<Rotation> {
    let list = format!("{AT}/rotations");
    let texts = declared.rotations.iter().map(|rotation| &rotation.name);
    let names = inspector.names(&list, "rotation", texts, RotationName::new);
    let mut rotations = Vec::new();
    for (place, (rotation, name)) in declared.rotations.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        let mut operators = Vec::new();
        for (number, text) in rotation.operators.iter().enumerate() {
            let path = format!("{path}/operators/{number}");
            operators.extend(operator(inspector, draft, &path, text));
        }
        if rotation.operators.is_empty() {
            let message = "a rotation needs somebody to take turns";
            inspector.report(format!("{path}/operators"), Code::Missing, message);
        }
        let begins = begins(inspector, rotation, &path);
        let overrides = overrides(inspector, draft, rotation, &path);
        if let (Some(name), Some((handover, starts_ms))) = (name, begins) {
            rotations.push(Rotation {
                name: name.to_string(),
                operators,
                handover,
                starts_ms,
                overrides,
            });
        }
    }
    rotations
}

fn begins(
    inspector: &mut Inspector,
    rotation: &RotationDraft,
    path: &str,
) -> Option<(Handover, u64)> {
    let Some(handover) = Handover::parse(&rotation.handover) else {
        let message = format!("{:?} is no hand-over", rotation.handover);
        inspector
            .report(format!("{path}/handover"), Code::InvalidValue, message)
            .help("write `mon 09:00 +01:00` for once a week, `09:00 +01:00` for every day; the distance from UTC must be said");
        return None;
    };
    let starts_ms = handover.on_day(&rotation.starts);
    if starts_ms.is_none() {
        let message = format!(
            "{:?} is no day: expected one such as 2026-11-02",
            rotation.starts
        );
        inspector.report(format!("{path}/starts"), Code::InvalidValue, message);
    }
    Some((handover, starts_ms?))
}

fn overrides(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    rotation: &RotationDraft,
    path: &str,
) -> Vec<Override> {
    let mut overrides = Vec::new();
    if !inspector.list_length(
        &format!("{path}/overrides"),
        rotation.overrides.len(),
        LIST_MAX,
    ) {
        return overrides;
    }
    for (number, declared) in rotation.overrides.iter().enumerate() {
        let path = format!("{path}/overrides/{number}");
        let who = operator(
            inspector,
            draft,
            &format!("{path}/operator"),
            &declared.operator,
        );
        let mut moment = |name: &str, text: &str| {
            let found = parse_moment(text);
            if found.is_none() {
                let message = format!("{text:?} is no moment");
                inspector
                    .report(format!("{path}/{name}"), Code::InvalidValue, message)
                    .help("write one such as 2026-12-24T09:00+01:00");
            }
            found
        };
        let (from, to) = (moment("from", &declared.from), moment("to", &declared.to));
        let (Some(from_ms), Some(to_ms)) = (from, to) else {
            continue;
        };
        if from_ms >= to_ms {
            let message = "it ends before it begins";
            inspector.report(format!("{path}/to"), Code::InvalidValue, message);
        }
        overrides.extend(who.map(|operator| Override {
            operator,
            from_ms,
            to_ms,
        }));
    }
    overrides
}

fn policies(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    declared: &OncallDraft,
) -> Vec<Policy> {
    let list = format!("{AT}/policies");
    let texts = declared.policies.iter().map(|policy| &policy.name);
    let names = inspector.names(&list, "policy", texts, PolicyName::new);
    let mut policies = Vec::new();
    for (place, (policy, name)) in declared.policies.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        let severity = policy
            .severity
            .clone()
            .unwrap_or_else(|| "error".to_string());
        inspector.reference(
            &format!("{path}/severity"),
            "severity",
            &severity,
            SEVERITIES.into_iter(),
        );
        for (number, about) in policy.about.iter().enumerate() {
            let kind = about.split_once('/').filter(|(_, name)| !name.is_empty());
            if !kind.is_some_and(|(kind, _)| KINDS.contains(&kind)) {
                let message = format!("{about:?} is no part of a platform");
                inspector
                    .report(
                        format!("{path}/about/{number}"),
                        Code::InvalidValue,
                        message,
                    )
                    .help("write KIND/NAME, as in database/ledger, host/use1-a, route//v1/ticker");
            }
        }
        let rounds = policy.rounds.unwrap_or(ROUNDS);
        let rounds = inspector.within(&format!("{path}/rounds"), "rounds", rounds, 1..=100);
        let levels = levels(inspector, draft, declared, place, &path);
        policies.extend(name.map(|name| Policy {
            name: name.to_string(),
            severity,
            about: policy.about.clone(),
            levels,
            rounds,
        }));
    }
    policies
}

fn levels(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    declared: &OncallDraft,
    policy: usize,
    path: &str,
) -> Vec<Level> {
    let declared_levels = declared.policies.get(policy).map_or(&[][..], |p| &p.levels);
    if declared_levels.is_empty() {
        let message = "a policy needs a level";
        inspector.report(format!("{path}/levels"), Code::Missing, message);
    }
    let mut levels = Vec::new();
    for (number, level) in declared_levels.iter().enumerate() {
        let path = format!("{path}/levels/{number}");
        let mut tell = Vec::new();
        for (place, text) in level.tell.iter().enumerate() {
            let path = format!("{path}/tell/{place}");
            tell.extend(told(inspector, draft, declared, text, &path));
        }
        if level.tell.is_empty() {
            let message = "a level tells somebody";
            inspector.report(format!("{path}/tell"), Code::Missing, message);
        }
        let within = inspector.span(
            &format!("{path}/within"),
            "the time to acknowledge",
            level.within.unwrap_or(WITHIN),
            seconds(1)..=seconds(24 * 60 * 60),
        );
        levels.push(Level { tell, within });
    }
    levels
}

fn told(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    declared: &OncallDraft,
    text: &str,
    path: &str,
) -> Option<Told> {
    match text.split_once('/') {
        Some(("rotation", name)) => {
            let known = declared
                .rotations
                .iter()
                .map(|rotation| rotation.name.as_str());
            let is_known = inspector.reference(path, "rotation", name, known);
            is_known.then(|| Told::Rotation(name.to_string()))
        }
        Some(("channel", name)) => {
            let known = declared
                .channels
                .iter()
                .map(|channel| channel.name.as_str());
            let is_known = inspector.reference(path, "channel", name, known);
            is_known.then(|| Told::Channel(name.to_string()))
        }
        Some(("operator", name)) => {
            let who = operator(inspector, draft, path, name)?;
            let mut contacts = declared.contacts.iter();
            if !contacts
                .any(|contact| contact.operator.as_str() == name && !contact.channels.is_empty())
            {
                let message = format!("nothing leads to {name}");
                inspector
                    .report(path, Code::Missing, message)
                    .help("name channels of this operator under `contacts`");
            }
            Some(Told::Operator(who))
        }
        _ => {
            let message = format!("{text:?} is nobody to tell");
            inspector
                .report(path, Code::InvalidValue, message)
                .help("write rotation/NAME, operator/NAME or channel/NAME");
            None
        }
    }
}
