//! From a text to a document, with everything that speaks against it.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_schedule::Cron;
use mainstay_yaml::{Node, Place, documents};

use crate::document::{
    Act, Audit, Budget, Document, Expect, Load, Objective, Schedule, Source, Step, Wait,
};
use crate::finding::{Desk, Finding};
use crate::form::{self, Kind};
use crate::table;

const NAME_BYTES_MAX: usize = 32;
/// The journal keeps texts.
const TEXT_BYTES_MAX: usize = 48 * 1_024;
const STEPS_MAX: usize = 64;
const STEP_LIMIT: Duration = Duration::from_secs(60);
const IN_A_ROW: usize = 20;
const RETEST: Duration = Duration::from_secs(30 * 86_400);
const LIMIT_MAX: Duration = Duration::from_secs(12 * 3_600);

/// The table that a text refers to, if it does; for whoever reads files.
pub fn table_of(text: &str) -> Option<String> {
    let nodes = documents(text).ok()?;
    let node = at(nodes.first()?, "spec.objectives.table")?;
    node.text().map(str::to_owned)
}

/// Reads a document; `table` is what [`table_of`] refers to, if it could be read.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &str, text: &str, table: Option<&str>) -> Result<Document, Vec<Finding>> {
    let mut desk = Desk::new(file);
    let start = Place { line: 1, column: 1 };
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!("the text has more than {TEXT_BYTES_MAX} bytes");
        desk.find(start, "", "too-long", problem, "a drill is a page or two");
        return Err(desk.findings);
    }
    let nodes = match documents(text) {
        Ok(nodes) => nodes,
        Err(fault) => {
            desk.find(fault.place, "", "yaml", fault.message, "");
            return Err(desk.findings);
        }
    };
    let [node] = nodes.as_slice() else {
        let place = nodes.get(1).map_or(start, |node| node.place);
        desk.find(
            place,
            "",
            "yaml",
            "one document is wanted",
            "one file, one drill",
        );
        return Err(desk.findings);
    };
    form::check(&mut desk, node, Kind::Object(form::DOCUMENT), "");
    if !desk.findings.is_empty() {
        return Err(desk.findings);
    }
    let document = Reader { desk: &mut desk }.document(node, table);
    match desk.findings.is_empty() {
        true => Ok(document),
        false => Err(desk.findings),
    }
}

fn at<'a>(node: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('.').try_fold(node, |node, key| node.get(key))
}

fn text_at(node: &Node, path: &str) -> String {
    let found = at(node, path).and_then(Node::text);
    found.unwrap_or_default().trim().to_owned()
}

fn texts_at(node: &Node, path: &str) -> Vec<String> {
    let items = at(node, path).map(Node::items).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.text().map(str::to_owned))
        .collect()
}

fn number_at<T: std::str::FromStr>(node: &Node, path: &str) -> Option<T> {
    at(node, path)?.text()?.parse().ok()
}

fn flag_at(node: &Node, path: &str) -> bool {
    at(node, path).and_then(Node::text) == Some("true")
}

fn time_at(node: &Node, path: &str) -> Option<Duration> {
    crate::time(at(node, path)?.text()?).ok()
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= NAME_BYTES_MAX
        && bytes.all(fits)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
}

struct Reader<'a> {
    desk: &'a mut Desk,
}

impl Reader<'_> {
    fn value(&mut self, node: &Node, path: &str, problem: impl Into<String>, help: &str) {
        self.desk.find(node.place, path, "value", problem, help);
    }

    fn name(&mut self, node: &Node, key: &str, path: &str) -> String {
        let text = text_at(node, key);
        if let Some(found) = node.get(key)
            && !is_name(&text)
        {
            let help = "lower-case letters, digits and '-', beginning with a letter, at most 32";
            self.value(found, path, format!("{text:?} is no name"), help);
        }
        text
    }

    fn document(&mut self, node: &Node, table: Option<&str>) -> Document {
        let name = node
            .get("metadata")
            .map(|metadata| self.name(metadata, "name", "metadata.name"))
            .unwrap_or_default();
        let none = Node::made(node.place, mainstay_yaml::Value::Null);
        let spec = node.get("spec").unwrap_or(&none);
        let limit = time_at(spec, "limit").unwrap_or_default();
        if limit > LIMIT_MAX
            && let Some(found) = spec.get("limit")
        {
            self.value(
                found,
                "spec.limit",
                "it lasts for more than twelve hours",
                "make it several",
            );
        }
        let objectives = self.objectives(spec, table);
        let loads = self.loads(spec, &objectives);
        Document {
            name,
            title: text_at(spec, "title"),
            severe: text_at(spec, "severeButPlausible"),
            assumptions: texts_at(spec, "assumptions"),
            environment: text_at(spec, "environment"),
            approver: text_at(spec, "people.approver"),
            tester: text_at(spec, "people.tester"),
            owner: text_at(spec, "people.deficiencies"),
            retest: time_at(spec, "people.retest").unwrap_or(RETEST),
            schedule: self.schedule(spec),
            seed: number_at(spec, "seed"),
            retention: time_at(spec, "retention").unwrap_or_default(),
            budgets: self.budgets(spec),
            limit,
            steps: self.steps(spec, &objectives),
            objectives,
            loads,
        }
    }

    fn schedule(&mut self, spec: &Node) -> Option<Schedule> {
        let node = spec.get("schedule")?;
        let cron = text_at(node, "cron");
        let never = |_: &str| Err("a drill is due at times of the calendar".to_owned());
        if let (Err(why), Some(found)) = (Cron::parse(&cron, never), node.get("cron")) {
            self.value(
                found,
                "spec.schedule.cron",
                why,
                "`0 6 1 * *` is 06:00 UTC on the first of each month",
            );
        }
        Some(Schedule {
            cron,
            within: time_at(node, "within")?,
            unattended: flag_at(node, "unattended"),
        })
    }

    fn budgets(&mut self, spec: &Node) -> Vec<Budget> {
        let items = at(spec, "guard.budget")
            .map(Node::items)
            .unwrap_or_default();
        let mut budgets = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let left_at_least: f64 = number_at(item, "leftAtLeast").unwrap_or_default();
            if !(0.0..=1.0).contains(&left_at_least) {
                let path = format!("spec.guard.budget[{index}].leftAtLeast");
                self.value(item, &path, "it is a share, from 0 to 1", "");
            }
            budgets.push(Budget {
                objective: text_at(item, "objective"),
                left_at_least,
            });
        }
        budgets
    }

    fn objectives(&mut self, spec: &Node, table: Option<&str>) -> Vec<Objective> {
        let mut objectives = Vec::new();
        if let Some(found) = at(spec, "objectives.table") {
            let path = "spec.objectives.table";
            match table.map(table::read) {
                Some(Ok(read)) => objectives = read,
                Some(Err(problem)) => {
                    let (line, problem) = (problem.line, problem.problem);
                    self.value(
                        found,
                        path,
                        format!("line {line} of the table: {problem}"),
                        "",
                    );
                }
                None => self.value(
                    found,
                    path,
                    "the table cannot be read",
                    "a path relative to this file",
                ),
            }
        }
        let services = at(spec, "objectives.services")
            .map(Node::items)
            .unwrap_or_default();
        for (index, item) in services.iter().enumerate() {
            let rpo = match table::limit(&text_at(item, "rpo")) {
                Ok(rpo) => rpo,
                Err(why) => {
                    let path = format!("spec.objectives.services[{index}].rpo");
                    self.value(item, &path, why, "");
                    None
                }
            };
            let objective = Objective {
                service: text_at(item, "service"),
                rto: time_at(item, "rto"),
                rpo,
                unmeasured: None,
            };
            objectives.retain(|known| known.service != objective.service);
            objectives.push(objective);
        }
        let unmeasured = at(spec, "objectives.unmeasured")
            .map(Node::items)
            .unwrap_or_default();
        for (index, item) in unmeasured.iter().enumerate() {
            let service = text_at(item, "service");
            match objectives.iter_mut().find(|known| known.service == service) {
                Some(known) => known.unmeasured = Some(text_at(item, "why")),
                None => {
                    let path = format!("spec.objectives.unmeasured[{index}].service");
                    self.value(item, &path, format!("no objective names {service:?}"), "");
                }
            }
        }
        if objectives.is_empty()
            && let Some(found) = spec.get("objectives")
        {
            self.value(
                found,
                "spec.objectives",
                "there is no objective",
                "give a table, or services",
            );
        }
        objectives
    }

    /// Services that something measures must have an objective, or a slip of the pen would measure nothing.
    fn services(&mut self, node: &Node, path: &str, objectives: &[Objective]) -> Vec<String> {
        let services = texts_at(node, "services");
        for service in &services {
            let known = objectives.iter().map(|known| known.service.as_str());
            if !known.clone().any(|known| known == service) {
                let help = format!("there is {}", known.collect::<Vec<_>>().join(", "));
                let found = node.get("services").unwrap_or(node);
                self.value(
                    found,
                    path,
                    format!("no objective names {service:?}"),
                    &help,
                );
            }
        }
        services
    }

    fn loads(&mut self, spec: &Node, objectives: &[Objective]) -> Vec<Load> {
        let items = spec.get("load").map(Node::items).unwrap_or_default();
        let mut names = BTreeSet::new();
        let mut loads = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("spec.load[{index}]");
            let name = self.name(item, "name", &format!("{path}.name"));
            if !names.insert(name.clone()) {
                self.value(item, &path, format!("there is a load {name} already"), "");
            }
            let services = self.services(item, &format!("{path}.services"), objectives);
            let in_a_row = number_at(item, "inARow").unwrap_or(IN_A_ROW);
            if in_a_row == 0 {
                self.value(
                    item,
                    &path,
                    "a row of none is no service",
                    "inARow is at least 1",
                );
            }
            let Some(source) = self.source(item, &path) else {
                continue;
            };
            loads.push(Load {
                name,
                services,
                source,
                per_region: text_at(item, "perRegion") != "false",
                within: time_at(item, "within").unwrap_or_default(),
                in_a_row,
                audit: item.get("audit").map(|audit| Audit {
                    command: texts_at(audit, "command"),
                    each_witness: text_at(audit, "eachWitness"),
                    database: text_at(audit, "database"),
                    port: self.port(audit, &format!("{path}.audit.port")),
                    report: text_at(audit, "report"),
                }),
            });
        }
        loads
    }

    fn port(&mut self, node: &Node, path: &str) -> u16 {
        let port = number_at(node, "port").unwrap_or(0);
        if port == 0 {
            self.value(node, path, "that is no port", "a number from 1 to 65535");
        }
        port
    }

    fn source(&mut self, item: &Node, path: &str) -> Option<Source> {
        match (item.get("program"), item.get("probe")) {
            (Some(program), None) => {
                let command = texts_at(program, "command");
                if command.is_empty() {
                    self.value(program, path, "there is no program", "");
                }
                Some(Source::Program {
                    command,
                    each_gateway: texts_at(program, "eachGateway"),
                })
            }
            (None, Some(probe)) => {
                let rate = number_at(probe, "rate").unwrap_or(0);
                if !(1..=1_000).contains(&rate) {
                    self.value(
                        probe,
                        path,
                        "a probe writes from 1 to 1000 times a second",
                        "",
                    );
                }
                Some(Source::Probe {
                    database: text_at(probe, "database"),
                    port: self.port(probe, &format!("{path}.probe.port")),
                    rate,
                })
            }
            _ => {
                self.value(item, path, "a load is either a program or a probe", "");
                None
            }
        }
    }

    fn steps(&mut self, spec: &Node, objectives: &[Objective]) -> Vec<Step> {
        let items = spec.get("steps").map(Node::items).unwrap_or_default();
        if items.is_empty() || items.len() > STEPS_MAX {
            let found = spec.get("steps").unwrap_or(spec);
            let problem = format!("a drill has from 1 to {STEPS_MAX} steps");
            self.value(found, "spec.steps", problem, "");
        }
        let mut ids = BTreeSet::new();
        let mut steps: Vec<Step> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("spec.steps[{index}]");
            let id = self.name(item, "id", &format!("{path}.id"));
            if !ids.insert(id.clone()) {
                self.value(item, &path, format!("there is a step {id} already"), "");
            }
            if let Some(act) = self.act(item, &path, objectives) {
                steps.push(Step {
                    id,
                    place: item.place,
                    limit: time_at(item, "limit").unwrap_or(STEP_LIMIT),
                    act,
                });
            }
        }
        self.order(&steps);
        steps
    }

    /// What a later step relies on must come before it.
    fn order(&mut self, steps: &[Step]) {
        let mut corrupted = BTreeSet::new();
        for (index, step) in steps.iter().enumerate() {
            if let Act::CorruptBackup { database } = &step.act {
                corrupted.insert(database.clone());
            }
            if let Act::Restore { database, .. } = &step.act
                && !corrupted.contains(database)
            {
                let problem =
                    format!("nothing before it makes a copy of the archive of {database}");
                let path = format!("spec.steps[{index}].restore");
                self.desk.find(
                    step.place,
                    &path,
                    "order",
                    problem,
                    "put a corruptBackup step before it",
                );
            }
        }
    }

    fn act(&mut self, item: &Node, path: &str, objectives: &[Objective]) -> Option<Act> {
        let acts: Vec<&mainstay_yaml::Entry> = item
            .entries()
            .iter()
            .filter(|entry| !matches!(entry.key.as_str(), "id" | "limit"))
            .collect();
        let [entry] = acts.as_slice() else {
            let problem = format!("a step does one thing; this one has {}", acts.len());
            self.value(
                item,
                path,
                problem,
                "make it several steps, or say what it does",
            );
            return None;
        };
        let node = &entry.value;
        let (key, path) = (entry.key.as_str(), format!("{path}.{}", entry.key));
        let text = |key: &str| text_at(node, key);
        Some(match key {
            "wait" => Act::Wait(self.wait(node, &path)?),
            "lose" => Act::Lose {
                region: text("region"),
                lasts: time_at(node, "for")?,
                clients: text("clients") != "false",
            },
            "inject" => Act::Inject {
                kind: text("kind"),
                target: text("target"),
                lasts: time_at(node, "for")?,
            },
            "heal" => Act::Heal,
            "switchover" => Act::Switchover {
                database: text("database"),
                to: text("to"),
            },
            "failBack" => Act::FailBack {
                database: text("database"),
                to: text("to"),
            },
            "person" => Act::Person {
                role: text("role"),
                does: text("does"),
            },
            "backUp" => Act::BackUp {
                database: text("database"),
                prove: text("prove") == "true",
            },
            "corruptBackup" => Act::CorruptBackup {
                database: text("database"),
            },
            _ => Act::Restore {
                database: text("database"),
                expect: self.expect(node, &path)?,
                services: self.services(node, &path, objectives),
            },
        })
    }

    fn expect(&mut self, node: &Node, path: &str) -> Option<Expect> {
        match text_at(node, "expect").as_str() {
            "refused" => Some(Expect::Refused),
            "restored" => Some(Expect::Restored),
            other => {
                self.value(
                    node,
                    path,
                    format!("{other:?} is neither refused nor restored"),
                    "",
                );
                None
            }
        }
    }

    fn wait(&mut self, node: &Node, path: &str) -> Option<Wait> {
        let [entry] = node.entries() else {
            self.value(
                node,
                path,
                "one condition is wanted",
                "make it several steps",
            );
            return None;
        };
        let value = &entry.value;
        let text = |key: &str| text_at(value, key);
        Some(match entry.key.as_str() {
            "time" => Wait::Time(crate::time(value.text()?).ok()?),
            "primary" => Wait::Primary {
                database: text("database"),
                region: text("region"),
            },
            "away" => Wait::Away {
                database: text("database"),
                region: text("region"),
            },
            "whole" => Wait::Whole,
            "served" => Wait::Served(value.text()?.parse().ok()?),
            "query" => Wait::Query(value.text()?.to_owned()),
            _ => Wait::Backup {
                database: text("database"),
                count: number_at(value, "count")?,
                proven: text("proven") == "true",
            },
        })
    }
}
