//! A playbook's text: read, given its form, judged by what it means.
//!
//! What is wrong here cannot be followed at all. What can be followed and is unwise is for
//! [`crate::playbook_critic`].

mod acts;
mod service;

use std::collections::BTreeMap;

use mainstay_playbook as core;
use mainstay_playbook::names_in;
use mainstay_schedule::Cron;

use crate::decode::{Document, document};
use crate::diagnostic::{Diagnostic, Fault, Source};
use crate::playbook_file::{
    ActionForm, AlertForm, BurnForm, ConditionForm, DayWord, IncidentForm, KindWord, ModeWord,
    OtherwiseWord, ParameterForm, PlaceForm, PlaybookFile, SeverityWord, StateWord, StepForm,
    TriggerForm, WindowForm,
};
use crate::quantity::Span;
use crate::tree::{self, Node};

pub(crate) const PLAYBOOK_KIND: &str = "Playbook";

const NAME_CHARACTERS_MAX: usize = 32;
const STEPS_MAX: usize = 100;
const RETRIES_MAX: u32 = 10;
/// Of a notice, where nothing else is said.
const NOTIFY_RETRIES: u32 = 3;
const TIMEOUT_MS_DEFAULT: u64 = 30_000;
const RETRY_PAUSE_MS_DEFAULT: u64 = 1_000;
const EXPIRES_MS_DEFAULT: u64 = 15 * 60_000;
const TIMEOUT_MS_MAX: u64 = 60 * 60_000;
const UNHEALTHY_DEFAULT: u8 = 50;
/// The long windows of the tiers in which a budget burns.
const BURN_WINDOWS: [&str; 4] = ["1h", "6h", "1d", "3d"];
/// Kinds of things that an incident may be about, as it writes them.
const THINGS: [&str; 8] = [
    "region", "host", "database", "service", "gateway", "route", "process", "other",
];

/// Reads a playbook. `path` is only for the messages.
///
/// # Errors
/// Everything that one pass finds, each with line and column.
pub fn load_playbook(path: &str, text: &str) -> Result<core::Book, Vec<Diagnostic>> {
    let (_, form, tree) = read(path, text)?;
    let mut reader = Reader {
        tree: &tree,
        faults: Vec::new(),
        parameters: form
            .spec
            .parameters
            .iter()
            .map(|p| p.name.clone())
            .collect(),
    };
    let book = reader.book(&form);
    match reader.faults.is_empty() {
        true => Ok(book),
        false => Err(Source::new(path, text).all(reader.faults)),
    }
}

/// Form and tree of a playbook.
pub(crate) fn read<'t>(
    path: &'t str,
    text: &'t str,
) -> Result<(Source<'t>, PlaybookFile, Node), Vec<Diagnostic>> {
    let source = Source::new(path, text);
    let tree = tree::parse(text).map_err(|fault| source.one(fault))?;
    let kind = Document {
        kind: PLAYBOOK_KIND,
        name: "playbook",
        root: "PlaybookFile",
        schema: &playbook_schema(),
    };
    let form = document(&tree, &kind).map_err(|faults| source.all(faults))?;
    Ok((source, form, tree))
}

/// The JSON Schema of a playbook, for editors.
pub fn playbook_schema() -> serde_json::Value {
    let generator = schemars::generate::SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<PlaybookFile>();
    let title = serde_json::Value::from("Mainstay playbook");
    schema.insert("title".to_owned(), title);
    schema.to_value()
}

fn ms(span: Option<Span>, default: u64) -> u64 {
    span.map_or(default, |span| {
        u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
    })
}

struct Reader<'a> {
    tree: &'a Node,
    faults: Vec<Fault>,
    parameters: Vec<String>,
}

impl Reader<'_> {
    fn wrong(&mut self, path: &str, code: &'static str, message: String, help: &str) {
        let mut fault = Fault::new(self.tree.locate(path), code, message).help(help);
        fault.path = Some(path.to_owned());
        self.faults.push(fault);
    }

    fn book(&mut self, form: &PlaybookFile) -> core::Book {
        let (metadata, spec) = (&form.metadata, &form.spec);
        self.name("/metadata/name", &metadata.name);
        if metadata.version == 0 {
            let message = "versions count from 1".to_owned();
            self.wrong("/metadata/version", "invalid-value", message, "write 1");
        }
        let mode = mode(spec.mode);
        let parameters = self.parameters(&spec.parameters);
        let book = core::Book {
            name: metadata.name.clone(),
            version: metadata.version,
            summary: spec.summary.clone(),
            mode,
            promotion: spec.promotion.as_ref().map(|form| core::Promotion {
                after: form.after,
                to: self::mode(form.to),
            }),
            triggers: self.triggers(&spec.triggers),
            parameters,
            approval: self.approval(form),
            guardrails: self.guardrails(form),
            steps: self.steps(&spec.steps),
        };
        if book
            .promotion
            .is_some_and(|promotion| promotion.to <= mode || promotion.after == 0)
        {
            self.wrong(
                "/spec/promotion",
                "invalid-value",
                "a promotion leads to a bolder mode, after at least one run".to_owned(),
                "modes, from careful to bold: observe, suggest, approve, auto",
            );
        }
        book
    }

    fn name(&mut self, path: &str, name: &str) {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || !name.chars().all(fits) || name.len() > NAME_CHARACTERS_MAX {
            self.wrong(
                path,
                "invalid-name",
                format!("{name:?} is not a name"),
                "lower-case letters, digits and '-', at most 32, beginning with a letter",
            );
        }
    }

    fn parameters(&mut self, forms: &[ParameterForm]) -> Vec<core::Parameter> {
        let mut known: Vec<core::Parameter> = Vec::new();
        for (index, form) in forms.iter().enumerate() {
            let path = format!("/spec/parameters/{index}");
            self.name(&format!("{path}/name"), &form.name);
            if known.iter().any(|other| other.name == form.name) {
                let message = format!("there is a parameter {} already", form.name);
                self.wrong(
                    &format!("{path}/name"),
                    "duplicate-name",
                    message,
                    "rename one",
                );
            }
            let parameter = core::Parameter {
                name: form.name.clone(),
                kind: kind(form.kind),
                label: form.label.clone(),
                default: form.default.as_ref().map(|scalar| scalar.0.clone()),
                one_of: form.one_of.clone(),
                least: form.least,
                most: form.most,
            };
            let is_number = form.kind == KindWord::Integer;
            if !is_number && (form.least.is_some() || form.most.is_some()) {
                let message = "only an integer has bounds".to_owned();
                self.wrong(&path, "invalid-value", message, "write `kind: integer`");
            }
            if let Some(Err(why)) = parameter
                .default
                .as_ref()
                .map(|value| parameter.check(value))
            {
                let message = format!("the default does not fit: {why}");
                self.wrong(
                    &format!("{path}/default"),
                    "invalid-value",
                    message,
                    "give another default",
                );
            }
            known.push(parameter);
        }
        known
    }

    fn triggers(&mut self, forms: &[TriggerForm]) -> Vec<core::Trigger> {
        let mut triggers = Vec::new();
        for (index, form) in forms.iter().enumerate() {
            let path = format!("/spec/triggers/{index}");
            let alert = form.alert.as_ref();
            let alert = alert.map(|form| self.on_alert(&path, form));
            let burn = form.burn.as_ref().map(|form| self.on_burn(&path, form));
            let incident = form.incident.as_ref();
            let incident = incident.map(|form| self.on_incident(&path, form));
            let every = form.every.map(|span| self.again(&path, span));
            let schedule = form.schedule.as_ref();
            let schedule = schedule.map(|cron| self.on_schedule(&path, cron));
            let mut given = [alert, burn, incident, every, schedule]
                .into_iter()
                .flatten();
            match (given.next(), given.next()) {
                (Some(one), None) => triggers.push(one),
                (Some(_), Some(_)) | (None, _) => {
                    self.one_of(&path, "alert, burn, incident, every, schedule");
                }
            }
        }
        triggers
    }

    fn on_alert(&mut self, path: &str, form: &AlertForm) -> core::Trigger {
        if form.labels.is_empty() {
            self.wrong(
                path,
                "invalid-value",
                "without labels every alert would set it off".to_owned(),
                "name the alert: `labels: {alertname: TargetSilent}`",
            );
        }
        core::Trigger::Alert {
            labels: form.labels.clone(),
        }
    }

    /// Rules that are made of objectives have these labels.
    fn on_burn(&mut self, path: &str, form: &BurnForm) -> core::Trigger {
        let mut labels = BTreeMap::from([
            ("alertname".to_owned(), "ErrorBudgetBurn".to_owned()),
            ("slo".to_owned(), form.objective.clone()),
        ]);
        if let Some(window) = &form.window {
            if !BURN_WINDOWS.contains(&window.as_str()) {
                let path = format!("{path}/burn/window");
                let message = format!("no tier has the window {window}");
                let known = format!("one of {}", BURN_WINDOWS.join(", "));
                self.wrong(&path, "invalid-value", message, &known);
            }
            labels.insert("window".to_owned(), window.clone());
        }
        core::Trigger::Alert { labels }
    }

    fn on_incident(&mut self, path: &str, form: &IncidentForm) -> core::Trigger {
        for (index, thing) in form.things.iter().enumerate() {
            let kind = thing.split_once('/').map(|(kind, _)| kind);
            if !kind.is_some_and(|kind| THINGS.contains(&kind)) {
                let path = format!("{path}/incident/things/{index}");
                let message = format!("{thing:?} is no thing that an incident is about");
                let help = "KIND/NAME, such as database/ledger; kinds: region, host, database, service, gateway, route, process";
                self.wrong(&path, "invalid-value", message, help);
            }
        }
        core::Trigger::Incident {
            state: match form.state {
                StateWord::Open => core::IncidentState::Open,
                StateWord::Acknowledged => core::IncidentState::Acknowledged,
                StateWord::Mitigated => core::IncidentState::Mitigated,
                StateWord::Resolved => core::IncidentState::Resolved,
            },
            severity: match form.severity {
                SeverityWord::Info => core::Gravity::Info,
                SeverityWord::Warning => core::Gravity::Warning,
                SeverityWord::Error => core::Gravity::Error,
                SeverityWord::Critical => core::Gravity::Critical,
            },
            things: form.things.iter().cloned().collect(),
        }
    }

    fn on_schedule(&mut self, path: &str, text: &str) -> core::Trigger {
        let help = "`15 3 * * 1-5` is 03:15 UTC from Monday to Friday; for something that repeats itself write `every: 1h`";
        let every = |_: &str| Err("a schedule is of times of the calendar".to_owned());
        let why = match Cron::parse(text, every) {
            Err(why) => Some(why),
            Ok(cron) if cron.next(0).is_none() => Some(format!("{text:?} never comes")),
            Ok(_) => None,
        };
        if let Some(why) = why {
            self.wrong(&format!("{path}/schedule"), "invalid-value", why, help);
        }
        core::Trigger::Schedule {
            cron: text.to_owned(),
        }
    }

    fn again(&mut self, path: &str, every: Span) -> core::Trigger {
        let every_ms = ms(Some(every), 0);
        if every_ms < 1_000 {
            self.wrong(
                path,
                "invalid-value",
                "more often than once a second".to_owned(),
                "write `every: 1h`, say",
            );
        }
        core::Trigger::Every { every_ms }
    }

    fn one_of(&mut self, path: &str, known: &str) {
        self.wrong(
            path,
            "exactly-one",
            "exactly one is expected here".to_owned(),
            &format!("give one of {known}"),
        );
    }

    fn approval(&mut self, form: &PlaybookFile) -> core::Approval {
        let approval = form.spec.approval.as_ref();
        let count = approval.and_then(|form| form.count).unwrap_or(1);
        let by = approval.map(|form| form.by.clone()).unwrap_or_default();
        if count == 0 || (!by.is_empty() && usize::from(count) > by.len()) {
            self.wrong(
                "/spec/approval/count",
                "invalid-value",
                format!("{count} of {} people cannot approve it", by.len()),
                "at least 1, and at most as many as are named under `by`",
            );
        }
        core::Approval {
            is_written: approval.is_some(),
            by,
            count,
            expires_ms: ms(approval.and_then(|form| form.expires), EXPIRES_MS_DEFAULT),
            expiry: match approval.and_then(|form| form.otherwise) {
                Some(OtherwiseWord::Proceed) => core::Expiry::Proceed,
                Some(OtherwiseWord::Refuse) | None => core::Expiry::Refuse,
            },
        }
    }

    fn guardrails(&mut self, form: &PlaybookFile) -> core::Guardrails {
        let rails = &form.spec.guardrails;
        for (share, name) in [
            (rails.most_share, "mostShare"),
            (rails.most_unhealthy, "mostUnhealthy"),
        ] {
            if share.is_some_and(|share| share > 100) {
                let message = "more than all".to_owned();
                let path = format!("/spec/guardrails/{name}");
                self.wrong(
                    &path,
                    "invalid-value",
                    message,
                    "a percentage from 0 to 100",
                );
            }
        }
        let windows = rails.forbidden.iter().enumerate();
        let forbidden = windows
            .map(|(index, form)| self.window(index, form))
            .collect();
        let condition = rails.condition.as_ref();
        core::Guardrails {
            targets_most: rails.most_targets,
            share_most: rails.most_share,
            rate: rails.rate.as_ref().map(|rate| core::Rate {
                runs: rate.runs,
                per_ms: ms(Some(rate.per), 0),
            }),
            cool_down_ms: ms(rails.cool_down, 0),
            healthy_least: rails.least_healthy,
            unhealthy_most: Some(rails.most_unhealthy.unwrap_or(UNHEALTHY_DEFAULT)),
            forbidden,
            condition: condition
                .and_then(|form| self.condition("/spec/guardrails/condition", form)),
        }
    }

    fn window(&mut self, index: usize, form: &WindowForm) -> core::Window {
        let bit = |day: &DayWord| {
            1_u8 << match day {
                DayWord::Monday => 0,
                DayWord::Tuesday => 1,
                DayWord::Wednesday => 2,
                DayWord::Thursday => 3,
                DayWord::Friday => 4,
                DayWord::Saturday => 5,
                DayWord::Sunday => 6,
            }
        };
        let days = form.days.iter().map(bit).fold(0, |days, day| days | day);
        let path = format!("/spec/guardrails/forbidden/{index}");
        core::Window {
            days: if days == 0 { 0b0111_1111 } else { days },
            from: self.minutes(&format!("{path}/from"), &form.from),
            to: self.minutes(&format!("{path}/to"), &form.to),
        }
    }

    fn minutes(&mut self, path: &str, text: &str) -> u16 {
        let parts = text.split_once(':').and_then(|(hours, minutes)| {
            let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2);
            Some((number(hours)?, number(minutes)?))
        });
        match parts {
            Some((hours, minutes)) if hours < 24 && minutes < 60 => hours * 60 + minutes,
            Some(_) | None => {
                let message = format!("{text:?} is no time of the day");
                self.wrong(path, "invalid-value", message, "write \"13:30\", in quotes");
                0
            }
        }
    }

    fn steps(&mut self, forms: &[StepForm]) -> Vec<core::Step> {
        if forms.is_empty() || forms.len() > STEPS_MAX {
            let message = format!("{} steps", forms.len());
            let help = "a playbook has from 1 to 100 steps";
            self.wrong("/spec/steps", "invalid-value", message, help);
        }
        let mut steps: Vec<core::Step> = Vec::new();
        for (index, form) in forms.iter().enumerate() {
            let path = format!("/spec/steps/{index}");
            self.name(&format!("{path}/id"), &form.id);
            if steps.iter().any(|other| other.id == form.id) {
                let message = format!("there is a step {} already", form.id);
                self.wrong(
                    &format!("{path}/id"),
                    "duplicate-name",
                    message,
                    "rename one",
                );
            }
            steps.extend(self.step(&path, form));
        }
        steps
    }

    fn step(&mut self, path: &str, form: &StepForm) -> Option<core::Step> {
        let timeout_ms = ms(form.timeout, TIMEOUT_MS_DEFAULT);
        if !(100..=TIMEOUT_MS_MAX).contains(&timeout_ms) {
            let message = "a step takes from 100 ms to an hour".to_owned();
            self.wrong(
                &format!("{path}/timeout"),
                "invalid-value",
                message,
                "write 30s, say",
            );
        }
        let retry = form.retry.as_ref().map(|retry| core::Retry {
            times: retry.times,
            pause_ms: ms(retry.pause, RETRY_PAUSE_MS_DEFAULT),
        });
        if retry.is_some_and(|retry| retry.times > RETRIES_MAX) {
            let message = format!("at most {RETRIES_MAX} further attempts");
            self.wrong(
                &format!("{path}/retry/times"),
                "invalid-value",
                message,
                "write less",
            );
        }
        let when = form.when.as_ref();
        let when = when.and_then(|form| self.condition(&format!("{path}/when"), form));
        let action = self.action(&format!("{path}/action"), &form.action);
        let compensate = form.compensate.as_ref();
        let compensate =
            compensate.and_then(|form| self.action(&format!("{path}/compensate"), form));
        let verify = form.verify.as_ref().and_then(|verify| {
            let path = format!("{path}/verify/condition");
            Some(core::Verify {
                condition: self.condition(&path, &verify.condition)?,
                within_ms: ms(verify.within, TIMEOUT_MS_DEFAULT),
                hold_ms: ms(verify.hold, 0),
            })
        });
        let action = action?;
        // In doubt it is said.
        let says = matches!(action, core::Action::Notify { .. });
        let repeats = core::Retry {
            times: if says { NOTIFY_RETRIES } else { 0 },
            pause_ms: RETRY_PAUSE_MS_DEFAULT,
        };
        Some(core::Step {
            id: form.id.clone(),
            when,
            action,
            timeout_ms,
            retry: retry.unwrap_or(repeats),
            idempotent: form.idempotent || says,
            verify,
            compensate,
        })
    }

    /// A text whose parameters are all known.
    fn text(&mut self, path: &str, text: &str) -> String {
        for (_, name) in names_in(text) {
            if !self.parameters.iter().any(|known| known == name) {
                let message = format!("there is no parameter `{name}`");
                let help = match self.parameters.is_empty() {
                    true => "name it under `parameters`".to_owned(),
                    false => format!("known here: {}", self.parameters.join(", ")),
                };
                self.wrong(path, "unknown-parameter", message, &help);
            }
        }
        text.to_owned()
    }

    fn place(&mut self, path: &str, form: &PlaceForm) -> Option<core::Place> {
        match (&form.host, &form.region) {
            (Some(host), None) => Some(core::Place::Host(self.text(path, host))),
            (None, Some(region)) => Some(core::Place::Region(self.text(path, region))),
            (Some(_), Some(_)) | (None, None) => {
                self.one_of(path, "host, region");
                None
            }
        }
    }

    fn action(&mut self, path: &str, form: &ActionForm) -> Option<core::Action> {
        let mut actions = Vec::new();
        if let Some(form) = &form.switchover {
            actions.push(core::Action::Switchover {
                database: self.text(path, &form.database),
                to: self.text(path, &form.to),
            });
        }
        if let Some(form) = &form.restart {
            actions.push(core::Action::Restart {
                host: self.text(path, &form.host),
                instance: self.text(path, &form.instance),
            });
        }
        if form.clear_faults.is_some() {
            actions.push(core::Action::ClearFaults);
        }
        let drain = form.drain.as_ref();
        actions.extend(drain.and_then(|form| Some(core::Action::Drain(self.place(path, form)?))));
        let back = form.take_back.as_ref();
        actions.extend(back.and_then(|form| Some(core::Action::Return(self.place(path, form)?))));
        if let Some(form) = &form.run {
            if !form.program.starts_with('/') {
                let message = format!("{:?} is no absolute path", form.program);
                let help = "name the program from the root: nothing is searched for";
                self.wrong(
                    &format!("{path}/run/program"),
                    "invalid-value",
                    message,
                    help,
                );
            }
            let arguments = form.arguments.iter().map(|text| self.text(path, text));
            actions.push(core::Action::Run {
                arguments: arguments.collect(),
                allows: self.allowance(&format!("{path}/run"), form),
                host: self.text(path, &form.host),
                program: self.text(path, &form.program),
            });
        }
        actions.extend(self.service_actions(path, form));
        if let Some(form) = &form.wait {
            let condition = self.condition(&format!("{path}/wait"), form)?;
            actions.push(core::Action::Wait(Box::new(condition)));
        }
        actions.extend(self.further_actions(path, form));
        if actions.len() == 1 {
            return actions.pop();
        }
        self.one_of(
            path,
            "switchover, restart, clearFaults, drain, return, run, shift, replicas, mode, replace, rebuild, http, notify, workItem, wait",
        );
        None
    }

    fn condition(&mut self, path: &str, form: &ConditionForm) -> Option<core::Condition> {
        let mut conditions = Vec::new();
        if let Some(query) = &form.query {
            let query = self.text(&format!("{path}/query"), query);
            self.promql(&format!("{path}/query"), &query);
            conditions.push(core::Condition::Query(query));
        }
        if let Some(form) = &form.ready {
            conditions.push(core::Condition::Ready {
                host: self.text(path, &form.host),
                instance: self.text(path, &form.instance),
            });
        }
        if let Some(form) = &form.alive {
            conditions.push(core::Condition::Alive {
                host: self.text(path, &form.host),
                instance: self.text(path, &form.instance),
            });
        }
        if let Some(form) = &form.primary {
            conditions.push(core::Condition::Primary {
                database: self.text(path, &form.database),
                region: self.text(path, &form.region),
            });
        }
        if let Some(form) = &form.replica {
            let (database, host) = self.replica(path, form);
            conditions.push(core::Condition::Replica { database, host });
        }
        if form.no_faults.is_some() {
            conditions.push(core::Condition::NoFaults);
        }
        if let Some(alert) = &form.quiet {
            conditions.push(core::Condition::Quiet {
                alert: self.text(path, alert),
            });
        }
        conditions.extend(self.service_conditions(path, form));
        if conditions.len() == 1 {
            return conditions.pop();
        }
        self.one_of(
            path,
            "query, ready, alive, primary, replica, noFaults, quiet, instances, shifted, mode",
        );
        None
    }

    /// With a letter in place of each parameter, it must be PromQL.
    fn promql(&mut self, path: &str, query: &str) {
        let names = names_in(query).into_iter();
        let values = names.map(|(_, name)| (name.to_owned(), "1".to_owned()));
        let filled = core::fill(query, &values.collect()).unwrap_or_else(|_| query.to_owned());
        if let Err(fault) = mainstay_promql::parse::parse(&filled) {
            let message = format!("this is not PromQL: {fault}");
            let help = "`mainstay query` tries an expression";
            self.wrong(path, "invalid-query", message, help);
        }
    }
}

fn mode(word: ModeWord) -> core::Mode {
    match word {
        ModeWord::Observe => core::Mode::Observe,
        ModeWord::Suggest => core::Mode::Suggest,
        ModeWord::Approve => core::Mode::Approve,
        ModeWord::Auto => core::Mode::Auto,
    }
}

fn kind(word: KindWord) -> core::ParameterKind {
    match word {
        KindWord::Text => core::ParameterKind::Text,
        KindWord::Integer => core::ParameterKind::Integer,
        KindWord::Host => core::ParameterKind::Host,
        KindWord::Region => core::ParameterKind::Region,
        KindWord::Database => core::ParameterKind::Database,
        KindWord::Instance => core::ParameterKind::Instance,
    }
}
