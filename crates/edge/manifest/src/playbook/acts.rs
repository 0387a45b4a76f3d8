//! Actions that do more than name a place: read, and judged as far as their text alone tells.

use mainstay_playbook as core;
use mainstay_playbook::names_in;

use super::Reader;
use crate::playbook_file::{ActionForm, HttpForm, NotifyForm, ReplicaForm, RunForm, WorkItemForm};
use crate::quantity::Span;

const EXPECTED: (u16, u16) = (200, 299);
const BODY_BYTES_MAX: usize = 16 << 10;
const TEXT_BYTES_MAX: usize = 1_000;
/// Paths and ports that one program may have beside the system's.
const ALLOWED_MAX: usize = 20;
const DAY_SECONDS: u64 = 86_400;
const DAYS_MAX: u64 = 3_650;

impl Reader<'_> {
    /// Those of a form that its own module does not read.
    pub(super) fn further_actions(&mut self, path: &str, form: &ActionForm) -> Vec<core::Action> {
        let mut actions = Vec::new();
        if let Some(form) = &form.replace {
            actions.push(core::Action::Replace {
                host: self.text(path, &form.host),
                instance: self.text(path, &form.instance),
            });
        }
        if let Some(form) = &form.rebuild {
            let (database, host) = self.replica(path, form);
            actions.push(core::Action::Rebuild { database, host });
        }
        if let Some(form) = &form.http {
            let call = self.call(&format!("{path}/http"), form);
            actions.push(core::Action::Http(Box::new(call)));
        }
        if let Some(form) = &form.notify {
            actions.push(self.notice(&format!("{path}/notify"), form));
        }
        if let Some(form) = &form.work_item {
            let item = self.work_item(&format!("{path}/workItem"), form);
            actions.push(core::Action::WorkItem(Box::new(item)));
        }
        actions
    }

    pub(super) fn replica(&mut self, path: &str, form: &ReplicaForm) -> (String, String) {
        (self.text(path, &form.database), self.text(path, &form.host))
    }

    fn call(&mut self, path: &str, form: &HttpForm) -> core::Call {
        self.url(&format!("{path}/url"), &form.url);
        let method = form.method.as_deref().unwrap_or("POST");
        let method = core::Method::parse(method).unwrap_or_else(|| {
            let known = core::Method::ALL.map(core::Method::as_str).join(", ");
            let message = format!("{method:?} is no method");
            let help = format!("one of {known}");
            self.wrong(&format!("{path}/method"), "unknown-value", message, &help);
            core::Method::Post
        });
        if let Some(body) = &form.body {
            self.body(&format!("{path}/body"), body, method);
        }
        let (headers, authority) = (&form.headers_file, &form.authority_file);
        self.file(&format!("{path}/headersFile"), headers, ", of mode 0600,");
        self.file(&format!("{path}/authorityFile"), authority, "");
        if authority.is_some() && form.url.starts_with("http://") {
            let message = "whoever is called in the clear proves nothing".to_owned();
            let help = "write https://…, or remove `authorityFile`";
            let path = format!("{path}/authorityFile");
            self.wrong(&path, "invalid-value", message, help);
        }
        let body = form.body.as_ref();
        core::Call {
            host: self.text(&format!("{path}/host"), &form.host),
            url: self.text(&format!("{path}/url"), &form.url),
            method,
            body: body.map(|body| self.text(&format!("{path}/body"), body)),
            headers_file: headers.clone(),
            authority_file: authority.clone(),
            expect: self.expect(&format!("{path}/expect"), form.expect.as_deref()),
        }
    }

    /// What a program may beyond its own folder stands in the text: no value decides it.
    pub(super) fn allowance(&mut self, path: &str, form: &RunForm) -> core::Allowance {
        for (index, read) in form.reads.iter().enumerate() {
            self.file(&format!("{path}/reads/{index}"), &Some(read.clone()), "");
        }
        for (index, port) in form.connects.iter().enumerate() {
            if *port == 0 {
                let message = "0 is no port that one connects to".to_owned();
                let path = format!("{path}/connects/{index}");
                self.wrong(&path, "invalid-value", message, "give 1 to 65535");
            }
        }
        for (word, count) in [
            ("reads", form.reads.len()),
            ("connects", form.connects.len()),
        ] {
            if count > ALLOWED_MAX {
                let message = format!("{count} are more than the {ALLOWED_MAX} that are possible");
                let help = "name the folder above them, or make several steps of it";
                self.wrong(&format!("{path}/{word}"), "invalid-value", message, help);
            }
        }
        core::Allowance {
            reads: form.reads.clone(),
            connects: form.connects.clone(),
        }
    }

    /// A file on the host: no value decides which.
    fn file(&mut self, path: &str, file: &Option<String>, mode: &str) {
        let Some(file) = file else {
            return;
        };
        if !file.starts_with('/') || !names_in(file).is_empty() {
            let message = format!("{file:?} is no absolute path");
            let help = format!("name one file from the root{mode} that is the same on every host");
            self.wrong(path, "invalid-value", message, &help);
        }
    }

    /// Who is called stands in the text: no value decides it, and no secret is in it.
    fn url(&mut self, path: &str, url: &str) {
        let rest = ["https://", "http://"]
            .iter()
            .find_map(|s| url.strip_prefix(s));
        let server = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let fits = |server: &str| {
            !server.is_empty()
                && !server.contains(['@', '$', '\\'])
                && !server.chars().any(char::is_whitespace)
        };
        let has_blank = url.chars().any(|c| c.is_whitespace() || c.is_control());
        if !server.is_some_and(fits) || has_blank {
            let message = format!("{url:?} does not say whom to call");
            let help = "https://HOST/PATH, or http://…, without a user; parameters stand behind the host, secrets in `headersFile`";
            self.wrong(path, "invalid-value", message, help);
        }
    }

    /// With a digit in place of each parameter, it must be JSON.
    fn body(&mut self, path: &str, body: &str, method: core::Method) {
        let names = names_in(body).into_iter();
        let values = names.map(|(_, name)| (name.to_owned(), "1".to_owned()));
        let filled = core::fill(body, &values.collect()).unwrap_or_else(|_| body.to_owned());
        if let Err(why) = serde_json::from_str::<serde_json::Value>(&filled) {
            let message = format!("this is not JSON: {why}");
            let help = "write JSON, with parameters within its texts or as its numbers";
            self.wrong(path, "invalid-value", message, help);
        }
        if body.len() > BODY_BYTES_MAX {
            let message = format!("{} bytes", body.len());
            let help = format!("at most {BODY_BYTES_MAX} bytes");
            self.wrong(path, "invalid-value", message, &help);
        }
        if matches!(method, core::Method::Get | core::Method::Head) {
            let message = format!("{} takes no body", method.as_str());
            self.wrong(path, "invalid-value", message, "write `method: POST`, say");
        }
    }

    /// `200..299`, or one status.
    fn expect(&mut self, path: &str, text: Option<&str>) -> (u16, u16) {
        let Some(text) = text else {
            return EXPECTED;
        };
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let status = |text: &str| {
            let code = text.parse::<u16>().ok();
            code.filter(|code| (100..600).contains(code))
        };
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => (first, last),
            (Some(_), Some(_)) | (None, _) | (_, None) => {
                let message = format!("{text:?} is no status of an answer");
                self.wrong(path, "invalid-value", message, "write 200..299, or 202");
                EXPECTED
            }
        }
    }

    fn notice(&mut self, path: &str, form: &NotifyForm) -> core::Action {
        let kind = form.to.split_once('/').map(|(kind, _)| kind);
        if !kind.is_some_and(|kind| ["rotation", "operator", "channel"].contains(&kind)) {
            let message = format!("{:?} is nobody to tell", form.to);
            let help = "write rotation/NAME, operator/NAME or channel/NAME";
            self.wrong(&format!("{path}/to"), "invalid-value", message, help);
        }
        self.length(&format!("{path}/text"), &form.text);
        core::Action::Notify {
            to: self.text(&format!("{path}/to"), &form.to),
            text: self.text(&format!("{path}/text"), &form.text),
        }
    }

    fn length(&mut self, path: &str, text: &str) {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            let message = format!("a text of {} bytes", text.len());
            let help = format!("from 1 to {TEXT_BYTES_MAX} bytes");
            self.wrong(path, "invalid-value", message, &help);
        }
    }

    fn work_item(&mut self, path: &str, form: &WorkItemForm) -> core::WorkItem {
        self.length(&format!("{path}/title"), &form.title);
        let due = match (&form.due, form.within) {
            (Some(day), None) => self.day(&format!("{path}/due"), day),
            (None, Some(span)) => self.days(&format!("{path}/within"), span),
            (Some(_), Some(_)) | (None, None) => {
                self.one_of(path, "due, within");
                core::Due::Days(0)
            }
        };
        let incident = form.incident.as_ref();
        core::WorkItem {
            title: self.text(&format!("{path}/title"), &form.title),
            owner: self.text(&format!("{path}/owner"), &form.owner),
            due,
            incident: incident.map(|id| self.text(&format!("{path}/incident"), id)),
        }
    }

    fn day(&mut self, path: &str, day: &str) -> core::Due {
        if let Err(why) = day.parse::<mainstay_incident::Day>() {
            let help = "or give a time, `within: 7d`, that is counted from the run";
            self.wrong(path, "invalid-value", why.to_string(), help);
        }
        core::Due::Day(day.to_owned())
    }

    fn days(&mut self, path: &str, span: Span) -> core::Due {
        let (seconds, rest) = (span.0.as_secs(), span.0.subsec_nanos());
        let days = seconds / DAY_SECONDS;
        if seconds % DAY_SECONDS != 0 || rest != 0 || days > DAYS_MAX {
            let message = "whole days are expected here".to_owned();
            self.wrong(path, "invalid-value", message, "write 7d, say");
        }
        core::Due::Days(u16::try_from(days).unwrap_or(u16::MAX))
    }
}
