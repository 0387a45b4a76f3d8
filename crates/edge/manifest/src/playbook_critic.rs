//! What can be followed and will yet do harm on the night it is needed: defects of playbooks, each with the reason
//! and what to write.

mod alerts;
mod service;

use std::collections::BTreeSet;
use std::fmt::Write;

use mainstay_model::Platform;
use mainstay_model::nearest::nearest;
use mainstay_playbook::{
    Action, Book, Condition, Expiry, Mode, ParameterKind, Place, STARTS_MAX, Step, names_in,
};

use crate::diagnostic::{Diagnostic, Fault};
use crate::playbook::{load_playbook, read};
use crate::playbook_file::PlaybookFile;
use crate::tree::Node;

pub use alerts::unknown_alerts;

/// A name that the platform file does not have.
pub(crate) const UNKNOWN_REFERENCE: &str = "unknown-reference";

/// Every defect of a playbook that can be read; names are compared with the platform file, if there is one.
///
/// # Errors
/// What makes it unreadable.
pub fn criticise_playbook(
    path: &str,
    text: &str,
    platform: Option<&Platform>,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let book = load_playbook(path, text)?;
    let (source, form, tree) = read(path, text)?;
    let mut critic = Critic {
        tree: &tree,
        form: &form,
        book: &book,
        faults: Vec::new(),
    };
    critic.whole();
    critic.idle_guardrails();
    critic.parameters();
    for (index, step) in book.steps.iter().enumerate() {
        critic.step(index, step);
    }
    if let Some(platform) = platform {
        critic.triggers(platform);
        critic.names(platform);
        critic.services(platform);
    }
    Ok(source.all(critic.faults))
}

/// For people, as `rules lint` shows its findings.
pub fn render_criticism(findings: &[Diagnostic]) -> String {
    let mut text = String::new();
    for found in findings {
        let (line, column) = (found.place.line, found.place.column);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}:{line}:{column}: {}: {}",
            found.file, found.code, found.message
        );
        if let Some(help) = &found.help {
            let _ = writeln!(text, "  repair: {help}");
        }
    }
    text
}

struct Critic<'a> {
    tree: &'a Node,
    form: &'a PlaybookFile,
    book: &'a Book,
    faults: Vec<Fault>,
}

impl Critic<'_> {
    fn find(&mut self, path: &str, code: &'static str, message: impl Into<String>, help: &str) {
        let fault = Fault::new(self.tree.locate(path), code, message).help(help);
        self.faults.push(fault);
    }

    /// Whether some trigger can make it act without anybody's word.
    fn acts_alone(&self) -> bool {
        let auto = self.book.mode == Mode::Auto
            || self.book.promotion.is_some_and(|p| p.to == Mode::Auto)
            || (self.book.mode == Mode::Approve && self.book.approval.expiry == Expiry::Proceed);
        auto && !self.book.triggers.is_empty() && self.book.acts()
    }

    fn whole(&mut self) {
        let rails = &self.book.guardrails;
        let limited = rails.targets_most.is_some() || rails.share_most.is_some();
        let (rate, cool_down) = (rails.rate, rails.cool_down_ms);
        if self.acts_alone() && rate.is_none() {
            self.find(
                "/spec/guardrails",
                "no-rate",
                "it acts without anybody's word, and nothing limits how often",
                "rate: {runs: 3, per: 1h}",
            );
        }
        if self.acts_alone() && cool_down == 0 {
            self.find(
                "/spec/guardrails",
                "no-cool-down",
                "an alert that comes and goes would have the same thing done again at once",
                "coolDown: 5m",
            );
        }
        let destructive = self
            .book
            .steps
            .iter()
            .any(|step| is_destructive(&step.action));
        let approved = !self.acts_alone();
        if destructive && !approved && !limited {
            self.find(
                "/spec/steps",
                "unguarded",
                "a destructive action needs an approval, or a limit to what it touches",
                "mode: approve, or guardrails: {mostTargets: 1, mostShare: 34}",
            );
        }
        if self.book.mode != Mode::Observe
            && self.book.triggers.is_empty()
            && self.form.spec.promotion.is_some()
        {
            self.find(
                "/spec/promotion",
                "no-trigger",
                "a mode means something for triggers only, and there is none",
                "triggers: [{alert: {labels: {alertname: NAME}}}]",
            );
        }
    }

    /// Guardrails that never hold anything back, whatever happens.
    fn idle_guardrails(&mut self) {
        let rails = &self.book.guardrails;
        let (share, rate) = (rails.share_most, rails.rate);
        let compensations = self.book.steps.iter().map(|step| step.compensate.as_ref());
        let actions = self.book.steps.iter().map(|step| Some(&step.action));
        let mut actions = actions.chain(compensations).flatten();
        if share.is_some() && !actions.any(takes_hosts) {
            self.find(
                "/spec/guardrails/mostShare",
                "idle-guardrail",
                "it counts hosts, and no step is at one: a switchover, a mode and a number of instances take none away",
                "leave it out, or leastHealthy: 2, which counts the hosts that are well, whatever the steps touch",
            );
        }
        let starts_max = u32::try_from(STARTS_MAX).unwrap_or(u32::MAX);
        if rate.is_some_and(|rate| rate.runs > starts_max) {
            self.find(
                "/spec/guardrails/rate/runs",
                "idle-guardrail",
                format!("of each playbook the last {STARTS_MAX} starts are remembered: more than that are never counted"),
                "rate: {runs: 3, per: 1h}",
            );
        }
    }

    fn parameters(&mut self) {
        let mut used = BTreeSet::new();
        texts(self.book, &mut |text| {
            used.extend(names_in(text).into_iter().map(|(_, name)| name.to_owned()));
        });
        let triggered = !self.book.triggers.is_empty();
        for (index, parameter) in self.book.parameters.iter().enumerate() {
            let path = format!("/spec/parameters/{index}");
            if !used.contains(&parameter.name) {
                let message = format!("nothing uses the parameter {}", parameter.name);
                let help = format!(
                    "write ${{{}}} where it belongs, or take it out",
                    parameter.name
                );
                self.find(&path, "unused-parameter", message, &help);
            }
            if triggered && parameter.label.is_none() && parameter.default.is_none() {
                let message = format!("no trigger can give {} a value", parameter.name);
                let help = "label: LABEL, or default: VALUE";
                self.find(&path, "no-value", message, help);
            }
        }
    }

    fn step(&mut self, index: usize, step: &Step) {
        let path = format!("/spec/steps/{index}");
        let form = self.form.spec.steps.get(index);
        if step.action.acts() && !shows_itself(&step.action) && step.verify.is_none() {
            self.find(
                &format!("{path}/id"),
                "no-verify",
                "nothing shows that it helped, nor, after a crash, whether it was done",
                verify_of(&step.action),
            );
        }
        if form.is_some_and(|form| form.timeout.is_none()) {
            self.find(
                &format!("{path}/id"),
                "no-timeout",
                "it says no time: 30 s are assumed",
                "timeout: 30s",
            );
        }
        if step.retry.times > 0 && !step.idempotent {
            self.find(
                &format!("{path}/retry"),
                "retry-not-idempotent",
                "it is repeated only when it has certainly not been done: a lost answer is not repeated",
                "idempotent: true, if doing it twice is as good as once",
            );
        }
        if matches!(step.action, Action::Drain(_)) && step.compensate.is_none() && !self.returns() {
            self.find(
                &format!("{path}/action"),
                "no-return",
                "what is drained stays out of routing when a later step fails, and afterwards",
                "compensate: {return: …}, and a step at the end that returns it",
            );
        }
        self.stays(&path, step);
        if let Action::Run { program, .. } = &step.action
            && is_shell(program)
        {
            self.find(
                &format!("{path}/action"),
                "shell",
                "a shell reads values of parameters as commands",
                "name the program itself, with its arguments one by one",
            );
        }
    }

    fn returns(&self) -> bool {
        let mut actions = self.book.steps.iter().map(|step| &step.action);
        actions.any(|action| matches!(action, Action::Return(_)))
    }

    /// Names that stand in the text itself must exist; those of parameters are judged when they have values.
    fn names(&mut self, platform: &Platform) {
        let mut found = Vec::new();
        for (index, step) in self.book.steps.iter().enumerate() {
            let path = format!("/spec/steps/{index}");
            let mut named = Vec::new();
            action_names(&step.action, &mut named);
            if let Some(action) = &step.compensate {
                action_names(action, &mut named);
            }
            let verify = step.verify.as_ref().map(|verify| &verify.condition);
            for condition in step.when.iter().chain(verify) {
                condition_names(condition, &mut named);
            }
            found.extend(
                named
                    .into_iter()
                    .map(|(kind, name)| (path.clone(), kind, name)),
            );
        }
        for (index, parameter) in self.book.parameters.iter().enumerate() {
            if let Some(default) = &parameter.default {
                let path = format!("/spec/parameters/{index}/default");
                found.push((path, parameter.kind, default.clone()));
            }
        }
        self.people(platform);
        for (index, name) in self.book.approval.by.iter().enumerate() {
            let known = platform
                .operators()
                .iter()
                .map(|operator| operator.name.as_str());
            self.compare(
                &format!("/spec/approval/by/{index}"),
                "operator",
                name,
                known.collect(),
            );
        }
        for (path, kind, name) in found {
            let known = known(platform, kind);
            if names_in(&name).is_empty()
                && !matches!(kind, ParameterKind::Text | ParameterKind::Integer)
            {
                let known = known.iter().map(String::as_str).collect();
                self.compare(&path, kind.as_str(), &name, known);
            }
        }
    }

    /// Whom a step tells, and who owns what it opens.
    fn people(&mut self, platform: &Platform) {
        let operators: Vec<String> = (platform.operators().iter())
            .map(|operator| operator.name.to_string())
            .collect();
        let told = told(platform);
        for (index, step) in self.book.steps.iter().enumerate() {
            let path = format!("/spec/steps/{index}/action");
            let (path, what, name, known) = match &step.action {
                Action::Notify { to, .. } => (format!("{path}/notify/to"), "addressee", to, &told),
                Action::WorkItem(item) => (
                    format!("{path}/workItem/owner"),
                    "operator",
                    &item.owner,
                    &operators,
                ),
                Action::Switchover { .. }
                | Action::Restart { .. }
                | Action::ClearFaults
                | Action::Drain(_)
                | Action::Return(_)
                | Action::Run { .. }
                | Action::Replace { .. }
                | Action::Rebuild { .. }
                | Action::Http(_)
                | Action::Shift { .. }
                | Action::Replicas { .. }
                | Action::Mode { .. }
                | Action::Wait(_) => continue,
            };
            if names_in(name).is_empty() {
                let known = known.iter().map(String::as_str).collect();
                self.compare(&path, what, name, known);
            }
        }
    }

    /// What a trigger waits for must be there, or it waits for ever.
    fn triggers(&mut self, platform: &Platform) {
        let form = self.form;
        for (index, trigger) in form.spec.triggers.iter().enumerate() {
            let path = format!("/spec/triggers/{index}");
            if let Some(burn) = &trigger.burn {
                let watch = platform.watch().into_iter();
                let known = watch.flat_map(|watch| &watch.objectives);
                let known = known.map(|objective| objective.name.as_str()).collect();
                let path = format!("{path}/burn/objective");
                self.compare(&path, "objective", &burn.objective, known);
            }
            let things = trigger
                .incident
                .iter()
                .flat_map(|incident| &incident.things);
            for (index, thing) in things.enumerate() {
                let Some((kind, name)) = thing.split_once('/') else {
                    continue;
                };
                let (name, _) = name.split_once('@').unwrap_or((name, ""));
                let path = format!("{path}/incident/things/{index}");
                let known: Vec<String> = match kind {
                    "region" => known(platform, ParameterKind::Region),
                    "host" => known(platform, ParameterKind::Host),
                    "database" => known(platform, ParameterKind::Database),
                    "service" | "gateway" => named(platform, kind),
                    _ => continue,
                };
                let known = known.iter().map(String::as_str).collect();
                self.compare(&path, kind, name, known);
            }
        }
    }

    fn compare(&mut self, path: &str, what: &str, name: &str, known: Vec<&str>) {
        if known.contains(&name) {
            return;
        }
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the platform file has no {what} at all"),
            None => format!("the platform file has {}", known.join(", ")),
        };
        let message = format!("the platform file has no {what} {name}");
        self.find(path, UNKNOWN_REFERENCE, message, &help);
    }
}

fn known(platform: &Platform, kind: ParameterKind) -> Vec<String> {
    match kind {
        ParameterKind::Text | ParameterKind::Integer => Vec::new(),
        ParameterKind::Host => platform
            .hosts()
            .iter()
            .map(|h| h.name.to_string())
            .collect(),
        ParameterKind::Region => platform
            .regions()
            .iter()
            .map(|r| r.name.to_string())
            .collect(),
        ParameterKind::Database => platform
            .databases()
            .iter()
            .map(|d| d.name.to_string())
            .collect(),
        ParameterKind::Instance => {
            let services = platform.services().iter().map(|s| s.name.to_string());
            let gateways = platform
                .gateways()
                .iter()
                .map(|g| format!("gateway-{}", g.name));
            services.chain(gateways).collect()
        }
    }
}

/// As a step writes them.
fn told(platform: &Platform) -> Vec<String> {
    let Some(oncall) = platform.oncall() else {
        return Vec::new();
    };
    let rotations = oncall.rotations.iter();
    let rotations = rotations.map(|rotation| format!("rotation/{}", rotation.name));
    let operators = oncall.contacts.iter();
    let operators = operators.map(|contact| format!("operator/{}", contact.operator));
    let channels = oncall.channels.iter();
    let channels = channels.map(|channel| format!("channel/{}", channel.name));
    rotations.chain(operators).chain(channels).collect()
}

fn named(platform: &Platform, kind: &str) -> Vec<String> {
    let services = platform.services().iter().map(|s| s.name.to_string());
    let gateways = platform.gateways().iter().map(|g| g.name.to_string());
    match kind {
        "service" => services.collect(),
        _ => gateways.collect(),
    }
}

/// Whoever is told, the journal, and probes of the new instance say themselves whether it was done.
fn shows_itself(action: &Action) -> bool {
    matches!(
        action,
        Action::Replace { .. } | Action::Notify { .. } | Action::WorkItem(_)
    )
}

fn is_destructive(action: &Action) -> bool {
    match action {
        Action::Switchover { .. }
        | Action::Restart { .. }
        | Action::Drain(_)
        | Action::Replace { .. }
        | Action::Rebuild { .. }
        | Action::Http(_)
        | Action::Run { .. }
        | Action::Shift { .. }
        | Action::Replicas { .. }
        | Action::Mode { .. } => true,
        Action::ClearFaults
        | Action::Return(_)
        | Action::Notify { .. }
        | Action::WorkItem(_)
        | Action::Wait(_) => false,
    }
}

/// Whether it is at hosts, or at what runs on them, so that there are fewer while it lasts.
fn takes_hosts(action: &Action) -> bool {
    match action {
        Action::Restart { .. }
        | Action::Drain(_)
        | Action::Return(_)
        | Action::Replace { .. }
        | Action::Rebuild { .. }
        | Action::Run { .. }
        | Action::Shift { .. } => true,
        Action::Switchover { .. }
        | Action::ClearFaults
        | Action::Http(_)
        | Action::Notify { .. }
        | Action::WorkItem(_)
        | Action::Replicas { .. }
        | Action::Mode { .. }
        | Action::Wait(_) => false,
    }
}

fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    ["sh", "bash", "dash", "zsh", "ksh", "busybox"].contains(&name)
}

fn verify_of(action: &Action) -> &'static str {
    match action {
        Action::Switchover { .. } => {
            "verify: {condition: {primary: {database: …, region: …}}, within: 30s}"
        }
        Action::Restart { .. } => {
            "verify: {condition: {ready: {host: …, instance: …}}, within: 30s}"
        }
        Action::ClearFaults => "verify: {condition: {noFaults: {}}, within: 30s}",
        Action::Replicas { .. } => {
            "verify: {condition: {instances: {service: …, ready: …}}, within: 60s}"
        }
        Action::Shift { .. } => {
            "verify: {condition: {shifted: {service: …, from: …, share: …}}, within: 30s}"
        }
        Action::Mode { .. } => "verify: {condition: {mode: {service: …, mode: …}}, within: 30s}",
        Action::Rebuild { .. } => {
            "verify: {condition: {replica: {database: …, host: …}}, within: 10m}"
        }
        Action::Drain(_)
        | Action::Return(_)
        | Action::Run { .. }
        | Action::Http(_)
        | Action::Notify { .. }
        | Action::WorkItem(_)
        | Action::Replace { .. }
        | Action::Wait(_) => "verify: {condition: {query: …}, within: 30s}",
    }
}

type Named = Vec<(ParameterKind, String)>;

fn place_names(place: &Place, named: &mut Named) {
    named.push(match place {
        Place::Host(host) => (ParameterKind::Host, host.clone()),
        Place::Region(region) => (ParameterKind::Region, region.clone()),
    });
}

fn action_names(action: &Action, named: &mut Named) {
    match action {
        Action::Switchover { database, to } => named.extend([
            (ParameterKind::Database, database.clone()),
            (ParameterKind::Region, to.clone()),
        ]),
        Action::Restart { host, instance } | Action::Replace { host, instance } => named.extend([
            (ParameterKind::Host, host.clone()),
            (ParameterKind::Instance, instance.clone()),
        ]),
        Action::ClearFaults => {}
        Action::Drain(place) | Action::Return(place) => place_names(place, named),
        Action::Run { host, .. } => named.push((ParameterKind::Host, host.clone())),
        Action::Rebuild { database, host } => named.extend([
            (ParameterKind::Database, database.clone()),
            (ParameterKind::Host, host.clone()),
        ]),
        Action::Http(call) => named.push((ParameterKind::Host, call.host.clone())),
        Action::Notify { .. } | Action::WorkItem(_) => {}
        Action::Shift { .. } | Action::Replicas { .. } | Action::Mode { .. } => {
            service::action_names(action, named);
        }
        Action::Wait(condition) => condition_names(condition, named),
    }
}

fn condition_names(condition: &Condition, named: &mut Named) {
    match condition {
        Condition::Query(_) | Condition::NoFaults | Condition::Quiet { .. } => {}
        Condition::Ready { host, instance } | Condition::Alive { host, instance } => {
            named.extend([
                (ParameterKind::Host, host.clone()),
                (ParameterKind::Instance, instance.clone()),
            ]);
        }
        Condition::Primary { database, region } => named.extend([
            (ParameterKind::Database, database.clone()),
            (ParameterKind::Region, region.clone()),
        ]),
        Condition::Replica { database, host } => named.extend([
            (ParameterKind::Database, database.clone()),
            (ParameterKind::Host, host.clone()),
        ]),
        Condition::Shifted {
            service,
            from,
            share,
        } => named.extend([
            (ParameterKind::Instance, service.clone()),
            (ParameterKind::Region, from.clone()),
            (ParameterKind::Text, share.clone()),
        ]),
        Condition::Instances {
            service,
            ready: text,
        }
        | Condition::Mode {
            service,
            mode: text,
        } => named.extend([
            (ParameterKind::Instance, service.clone()),
            (ParameterKind::Text, text.clone()),
        ]),
    }
}

/// Every text that may hold a parameter.
fn texts(book: &Book, see: &mut impl FnMut(&str)) {
    let mut named = Vec::new();
    for step in &book.steps {
        action_names(&step.action, &mut named);
        step.compensate
            .iter()
            .for_each(|action| action_names(action, &mut named));
        let verify = step.verify.as_ref().map(|verify| &verify.condition);
        let waits = match &step.action {
            Action::Wait(condition) => Some(&**condition),
            _ => None,
        };
        for condition in step.when.iter().chain(verify).chain(waits) {
            condition_texts(condition, see);
            condition_names(condition, &mut named);
        }
        for action in step.compensate.iter().chain([&step.action]) {
            action_texts(action, see);
        }
    }
    if let Some(condition) = &book.guardrails.condition {
        condition_texts(condition, see);
        condition_names(condition, &mut named);
    }
    named.iter().for_each(|(_, name)| see(name));
}

/// Those that are no names.
fn action_texts(action: &Action, see: &mut impl FnMut(&str)) {
    match action {
        Action::Run {
            program, arguments, ..
        } => {
            see(program);
            arguments.iter().for_each(|text| see(text));
        }
        Action::Http(call) => {
            see(&call.url);
            call.body.iter().for_each(|text| see(text));
        }
        Action::Notify { to, text } => {
            see(to);
            see(text);
        }
        Action::WorkItem(item) => {
            see(&item.title);
            see(&item.owner);
            item.incident.iter().for_each(|text| see(text));
        }
        Action::Switchover { .. }
        | Action::Restart { .. }
        | Action::ClearFaults
        | Action::Drain(_)
        | Action::Return(_)
        | Action::Replace { .. }
        | Action::Rebuild { .. }
        | Action::Shift { .. }
        | Action::Replicas { .. }
        | Action::Mode { .. }
        | Action::Wait(_) => {}
    }
}

fn condition_texts(condition: &Condition, see: &mut impl FnMut(&str)) {
    if let Condition::Query(text) | Condition::Quiet { alert: text } = condition {
        see(text);
    }
}
