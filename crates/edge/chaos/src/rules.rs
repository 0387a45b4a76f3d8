//! What the form does not say and Chaos Mesh refuses all the same: its admission webhooks.

use mainstay_schedule::Cron;
use mainstay_yaml::{Node, Place};

use crate::document::{Body, Document, EMBEDDED, text};
use crate::finding::{Code, Desk};
use crate::go;
use crate::kinds::ELSEWHERE;

const CLOCKS: [&str; 10] = [
    "CLOCK_REALTIME",
    "CLOCK_MONOTONIC",
    "CLOCK_PROCESS_CPUTIME_ID",
    "CLOCK_THREAD_CPUTIME_ID",
    "CLOCK_MONOTONIC_RAW",
    "CLOCK_REALTIME_COARSE",
    "CLOCK_MONOTONIC_COARSE",
    "CLOCK_BOOTTIME",
    "CLOCK_REALTIME_ALARM",
    "CLOCK_BOOTTIME_ALARM",
];
/// Longest name of a template, by DNS-1123.
const NAME_MAX: usize = 253;

pub(crate) fn document(document: &Document, desk: &mut Desk<'_>) {
    let Some(spec) = document.node.get("spec") else {
        return;
    };
    let mut rules = Rules {
        desk,
        subject: document.subject(),
    };
    match &document.body {
        Body::Chaos(chaos) => rules.chaos(&chaos.kind, spec, "spec"),
        Body::Schedule(_) => rules.schedule(spec, "spec"),
        Body::Workflow(_) => rules.workflow(spec, "spec"),
        Body::Experiment(_) => crate::experiment::rules(spec, &rules.subject, rules.desk),
        Body::Elsewhere => {}
    }
}

struct Rules<'a, 'b> {
    desk: &'a mut Desk<'b>,
    subject: String,
}

impl Rules<'_, '_> {
    fn refuse(
        &mut self,
        place: Place,
        path: &str,
        reason: impl Into<String>,
        repair: impl Into<String>,
    ) {
        let subject = format!("{} {path}", self.subject);
        self.desk.error(place, subject, Code::Rule, reason, repair);
    }

    /// Text that is to be read in some way; absent is fine.
    fn read<T>(
        &mut self,
        spec: &Node,
        path: &str,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
        repair: &str,
    ) -> Option<T> {
        let node = spec.get(key)?;
        let text = node.text()?;
        match read(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(
                    node.place,
                    &format!("{path}.{key}"),
                    why,
                    format!("{key}: {repair}"),
                );
                None
            }
        }
    }

    fn chaos(&mut self, kind: &str, spec: &Node, path: &str) {
        self.read(spec, path, "duration", go::nanoseconds, "\"60s\"");
        self.value(spec, path);
        match kind {
            "NetworkChaos" => self.network(spec, path),
            "PodChaos" => self.pod(spec, path),
            "StressChaos" => self.stress(spec, path),
            "TimeChaos" => self.time(spec, path),
            "IOChaos" => {
                self.read(spec, path, "delay", go::nanoseconds, "\"10ms\"");
                self.share(spec, path, "percent");
            }
            "HTTPChaos" => {
                self.read(spec, path, "delay", go::nanoseconds, "\"10ms\"");
            }
            _ => {}
        }
    }

    /// `value` belongs to some modes and is a whole number for them.
    fn value(&mut self, spec: &Node, path: &str) {
        let mode = text(spec, "mode");
        let most: u64 = match mode {
            "fixed" => u64::MAX,
            "fixed-percent" | "random-max-percent" => 100,
            _ => return,
        };
        let value = spec.get("value");
        let place = value.map_or(spec.place, |value| value.place);
        let path = format!("{path}.value");
        let Some(value) = value.and_then(Node::text).filter(|value| !value.is_empty()) else {
            let reason = format!("mode {mode} needs a value");
            self.refuse(place, &path, reason, "value: \"1\"");
            return;
        };
        match value.parse::<u64>() {
            Ok(0) if mode == "fixed" => {
                self.refuse(place, &path, "mode fixed needs more than 0", "value: \"1\"");
            }
            Ok(number) if number <= most => {}
            Ok(number) => {
                self.refuse(
                    place,
                    &path,
                    format!("{number} is more than 100 %"),
                    "value: \"100\"",
                );
            }
            Err(_) => {
                let reason = format!("{value:?} is no whole number");
                self.refuse(place, &path, reason, "value: \"1\"");
            }
        }
    }

    fn share(&mut self, spec: &Node, path: &str, key: &str) {
        let node = spec.get(key);
        let number: Option<u64> = node.and_then(Node::text).and_then(|text| text.parse().ok());
        if let (Some(node), Some(number)) = (node, number)
            && number > 100
        {
            let reason = format!("{number} is more than 100 %");
            self.refuse(
                node.place,
                &format!("{path}.{key}"),
                reason,
                format!("{key}: 100"),
            );
        }
    }

    fn network(&mut self, spec: &Node, path: &str) {
        let percents: [(&str, &[&str]); 3] = [
            ("loss", &["loss", "correlation"]),
            ("duplicate", &["duplicate", "correlation"]),
            ("corrupt", &["corrupt", "correlation"]),
        ];
        for (key, fields) in percents {
            if let Some(inner) = spec.get(key) {
                for field in fields {
                    self.read(
                        inner,
                        &format!("{path}.{key}"),
                        field,
                        go::percent,
                        "\"25\"",
                    );
                }
            }
        }
        if let Some(delay) = spec.get("delay") {
            let path = format!("{path}.delay");
            self.read(delay, &path, "latency", go::nanoseconds, "\"100ms\"");
            self.read(delay, &path, "jitter", go::nanoseconds, "\"10ms\"");
            self.read(delay, &path, "correlation", go::percent, "\"25\"");
            if let Some(reorder) = delay.get("reorder") {
                let path = format!("{path}.reorder");
                self.read(reorder, &path, "reorder", go::percent, "\"25\"");
                self.read(reorder, &path, "correlation", go::percent, "\"25\"");
            }
        }
        for key in ["bandwidth", "rate"] {
            if let Some(inner) = spec.get(key) {
                self.read(
                    inner,
                    &format!("{path}.{key}"),
                    "rate",
                    go::rate,
                    "\"1mbps\"",
                );
            }
        }
        if let Some(target) = spec.get("target") {
            self.value(target, &format!("{path}.target"));
        }
        self.direction(spec, path);
    }

    fn direction(&mut self, spec: &Node, path: &str) {
        let Some(direction) = spec.get("direction") else {
            return;
        };
        let way = direction.text().unwrap_or("");
        if text(spec, "action") == "partition" || !matches!(way, "from" | "both") {
            return;
        }
        let path = format!("{path}.direction");
        if spec.get("externalTargets").is_some() {
            let reason = format!("{way} cannot be used with externalTargets");
            self.refuse(direction.place, &path, reason, "direction: to");
        }
        if spec.get("target").is_none() {
            let reason = format!("{way} needs a target");
            self.refuse(
                direction.place,
                &path,
                reason,
                "direction: to, or give a target",
            );
        }
    }

    fn pod(&mut self, spec: &Node, path: &str) {
        let names = spec.get("containerNames").map(Node::items).unwrap_or(&[]);
        if text(spec, "action") == "container-kill" && names.is_empty() {
            let reason = "container-kill needs the names of containers";
            self.refuse(
                spec.place,
                &format!("{path}.containerNames"),
                reason,
                "containerNames: [NAME]",
            );
        }
    }

    fn stress(&mut self, spec: &Node, path: &str) {
        let stressors = spec
            .get("stressors")
            .filter(|node| !node.entries().is_empty());
        if stressors.is_none() && text(spec, "stressngStressors").is_empty() {
            let reason = "neither stressors nor stressngStressors";
            self.refuse(
                spec.place,
                path,
                reason,
                "stressors: {cpu: {workers: 1, load: 50}}",
            );
        }
        let Some(stressors) = stressors else {
            return;
        };
        if let Some(cpu) = stressors.get("cpu") {
            self.share(cpu, &format!("{path}.stressors.cpu"), "load");
        }
        if let Some(memory) = stressors.get("memory") {
            let path = format!("{path}.stressors.memory");
            let size = |text: &str| match text.strip_suffix('%') {
                Some(share) => match share.parse::<u64>() {
                    Ok(share) if share <= 100 => Ok(()),
                    _ => Err(format!("{text:?} is no share")),
                },
                None => go::bytes(text).map(|_| ()),
            };
            self.read(memory, &path, "size", size, "\"256MB\"");
        }
    }

    fn time(&mut self, spec: &Node, path: &str) {
        self.read(spec, path, "timeOffset", go::nanoseconds, "\"-10m\"");
        for clock in spec.get("clockIds").map(Node::items).unwrap_or(&[]) {
            let name = clock.text().unwrap_or("");
            if !CLOCKS.contains(&name) {
                let reason = format!("there is no clock {name:?}");
                self.refuse(
                    clock.place,
                    &format!("{path}.clockIds"),
                    reason,
                    CLOCKS.join(", "),
                );
            }
        }
    }

    fn schedule(&mut self, spec: &Node, path: &str) {
        self.read(spec, path, "schedule", cron, "\"@every 1h\"");
        self.embedded(text(spec, "type"), spec, path, "type", true);
    }

    /// The chaos that a type names is there, and is right.
    fn embedded(&mut self, kind: &str, spec: &Node, path: &str, key: &str, workflows: bool) {
        let place = spec.get(key).map_or(spec.place, |node| node.place);
        let field = match EMBEDDED.iter().find(|(known, _)| *known == kind) {
            Some((_, field)) => *field,
            None if kind == "Workflow" && workflows => "workflow",
            None if ELSEWHERE.contains(&kind) => return,
            None => {
                let reason = format!("{kind:?} is no kind of chaos");
                self.refuse(
                    place,
                    &format!("{path}.{key}"),
                    reason,
                    format!("{key}: PodChaos, say"),
                );
                return;
            }
        };
        let inside = format!("{path}.{field}");
        match spec.get(field) {
            None => {
                let reason = format!("{key} is {kind}, and {field} is not there");
                self.refuse(place, &inside, reason, format!("{field}: {{…}}"));
            }
            Some(inner) if kind == "Workflow" => self.workflow(inner, &inside),
            Some(inner) => self.chaos(kind, inner, &inside),
        }
    }

    fn workflow(&mut self, spec: &Node, path: &str) {
        let templates = spec.get("templates").map(Node::items).unwrap_or(&[]);
        let names: Vec<&str> = templates.iter().map(|node| text(node, "name")).collect();
        if templates.is_empty() {
            self.refuse(
                spec.place,
                &format!("{path}.templates"),
                "there are no templates",
                "give the entry's",
            );
        }
        let entry = text(spec, "entry");
        if !names.contains(&entry) {
            let place = spec.get("entry").map_or(spec.place, |node| node.place);
            let reason = format!("no template is called {entry:?}");
            self.refuse(
                place,
                &format!("{path}.entry"),
                reason,
                format!("one of {}", names.join(", ")),
            );
        }
        for (number, template) in templates.iter().enumerate() {
            let path = format!("{path}.templates[{number}]");
            let name = text(template, "name");
            let earlier = names.iter().take(number).any(|other| *other == name);
            if earlier {
                self.refuse(
                    template.place,
                    &path,
                    format!("another template is called {name:?}"),
                    "give it a name of its own",
                );
            }
            if !is_dns_name(name) {
                let reason = format!("{name:?} is no name: small letters, digits, '-' and '.'");
                self.refuse(
                    template.place,
                    &format!("{path}.name"),
                    reason,
                    "name: slow-then-dead, say",
                );
            }
            self.template(template, &path, &names);
        }
    }

    fn template(&mut self, template: &Node, path: &str, names: &[&str]) {
        self.read(template, path, "deadline", go::nanoseconds, "\"60s\"");
        let kind = text(template, "templateType");
        let allowed: &[&str] = match kind {
            "Suspend" => {
                if text(template, "deadline").is_empty() {
                    let reason = "a Suspend without a deadline never ends";
                    self.refuse(
                        template.place,
                        &format!("{path}.deadline"),
                        reason,
                        "deadline: \"60s\"",
                    );
                }
                &[]
            }
            "Serial" | "Parallel" => {
                for child in template.get("children").map(Node::items).unwrap_or(&[]) {
                    let name = child.text().unwrap_or("");
                    if !names.contains(&name) {
                        let reason = format!("no template is called {name:?}");
                        self.refuse(
                            child.place,
                            &format!("{path}.children"),
                            reason,
                            format!("one of {}", names.join(", ")),
                        );
                    }
                }
                &["children"]
            }
            "Task" => &["task", "conditionalBranches"],
            "StatusCheck" => &["statusCheck", "abortWithStatusCheck"],
            "Schedule" => {
                match template.get("schedule") {
                    Some(inner) => self.only_chaos(inner, &format!("{path}.schedule")),
                    None => self.refuse(
                        template.place,
                        &format!("{path}.schedule"),
                        "a Schedule without its schedule",
                        "schedule: {…}",
                    ),
                }
                &["schedule"]
            }
            _ => {
                self.embedded(kind, template, path, "templateType", false);
                self.no_duration(kind, template, path);
                &["statusCheck", "abortWithStatusCheck"]
            }
        };
        self.foreign(template, path, kind, allowed);
    }

    /// Fields of templates of another type.
    fn foreign(&mut self, template: &Node, path: &str, kind: &str, allowed: &[&str]) {
        let foreign = [
            "task",
            "children",
            "conditionalBranches",
            "schedule",
            "statusCheck",
        ];
        for key in foreign.iter().filter(|key| !allowed.contains(key)) {
            if let Some(node) = template.get(key) {
                let reason = format!("a {kind} has no {key}");
                self.refuse(node.place, &format!("{path}.{key}"), reason, "leave it out");
            }
        }
        for (chaos, field) in EMBEDDED {
            if let Some(node) = template.get(field).filter(|_| chaos != kind) {
                let reason = format!("a {kind} has no {field}");
                self.refuse(
                    node.place,
                    &format!("{path}.{field}"),
                    reason,
                    "leave it out",
                );
            }
        }
    }

    fn only_chaos(&mut self, spec: &Node, path: &str) {
        self.read(spec, path, "schedule", cron, "\"@every 1h\"");
        self.embedded(text(spec, "type"), spec, path, "type", false);
    }

    /// Within a Workflow the template's deadline ends what it began.
    fn no_duration(&mut self, kind: &str, template: &Node, path: &str) {
        let field = EMBEDDED.iter().find(|(known, _)| *known == kind);
        let spec = field.and_then(|(_, field)| template.get(field));
        let Some(entry) = spec.and_then(|spec| spec.entries().iter().find(|e| e.key == "duration"))
        else {
            return;
        };
        let edit = self.desk.drop(entry.place, &entry.value);
        let subject = format!("{} {path}.duration", self.subject);
        let reason = "within a Workflow the deadline of the template says how long";
        let repair = "leave duration out and give the template a deadline";
        self.desk
            .find(entry.place, subject, Code::Rule, reason, repair, edit);
    }
}

fn cron(text: &str) -> Result<Cron, String> {
    Cron::parse(text, go::duration)
}

fn is_dns_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = name.chars().all(|c| plain(c) || c == '-' || c == '.');
    let ends = name.starts_with(plain) && name.ends_with(plain);
    inner && ends && name.len() <= NAME_MAX
}
