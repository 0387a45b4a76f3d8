//! The fifteen items of a drill's evidence, each as far as the log shows it.
//!
//! An item has parts. A part is *shown* by entries that are named, *missing* with the reason, or *stale*: it was shown,
//! and something has happened since, or too much time has passed. Nothing here says what follows from that.

use serde_json::{Value, json};

use super::scope::{Scope, Subject, is_manual, who};
use super::{measured, record};
use crate::entry::Entry;
use crate::say::say;
use crate::time::{day_and_time, span};

pub(crate) const DAY_MS: u64 = 86_400_000;
/// Rules ask for a test at least once a year.
pub(crate) const YEAR_MS: u64 = 366 * DAY_MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Shown,
    Stale,
    Missing,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub name: &'static str,
    pub status: Status,
    /// What is shown, in a sentence; or why it is not.
    pub told: String,
    pub entries: Vec<u64>,
    /// For programs.
    pub facts: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub number: u8,
    pub title: &'static str,
    pub parts: Vec<Part>,
}

impl Item {
    /// That of its worst part.
    pub fn status(&self) -> Status {
        let parts = self.parts.iter().map(|part| part.status);
        parts.max().unwrap_or(Status::Missing)
    }
}

pub(crate) fn shown(name: &'static str, told: impl Into<String>, entries: &[&Entry]) -> Part {
    Part {
        name,
        status: Status::Shown,
        told: told.into(),
        entries: entries.iter().map(|entry| entry.position).collect(),
        facts: Value::Null,
    }
}

pub(crate) fn missing(name: &'static str, why: impl Into<String>) -> Part {
    Part {
        name,
        status: Status::Missing,
        told: why.into(),
        entries: Vec::new(),
        facts: Value::Null,
    }
}

impl Part {
    pub(crate) fn with(mut self, facts: Value) -> Self {
        self.facts = facts;
        self
    }

    pub(crate) fn stale(mut self, why: &str) -> Self {
        self.status = Status::Stale;
        self.told = format!("{}; {why}", self.told);
        self
    }
}

pub(crate) fn items(scope: &Scope) -> Vec<Item> {
    let item = |number, title, parts| Item {
        number,
        title,
        parts,
    };
    vec![
        item(
            1,
            "What was tested, when, where and by whom",
            identity(scope),
        ),
        item(2, "Scenario and assumptions", scenario(scope)),
        item(3, "Objectives", objectives(scope)),
        item(4, "Plan, versions, configuration and seed", plan(scope)),
        item(5, "Steps with time, actor and result", record::steps(scope)),
        item(6, "Recovery time by phase", measured::recovery(scope)),
        item(
            7,
            "Transactions and their reconciliation",
            measured::ledger(scope),
        ),
        item(
            8,
            "Time on the secondary, and the way back",
            measured::secondary(scope),
        ),
        item(9, "A restore, proven", measured::restore(scope)),
        item(10, "Alerts and communications", record::alerts(scope)),
        item(
            11,
            "Deviations, aborts and manual actions",
            record::deviations(scope),
        ),
        item(
            12,
            "Deficiencies, owners, days and the test made again",
            record::deficiencies(scope),
        ),
        item(13, "Signed off by management", record::signed_off(scope)),
        item(14, "Integrity and time", record::integrity(scope)),
        item(15, "Retention", record::retention(scope)),
    ]
}

fn identity(scope: &Scope) -> Vec<Part> {
    let name = scope.title();
    let (kind, id) = (scope.subject.kind(), scope.subject.id());
    let begun_ms = scope.begun.at_ms;
    let dates = match scope.ended {
        Some(ended) => {
            let told = format!(
                "{kind} {id} ({name}): from {} to {}",
                day_and_time(begun_ms),
                day_and_time(ended.at_ms)
            );
            let part = shown("identity and dates", told, &[scope.begun, ended]).with(
                json!({"id": id, "name": name, "begun_ms": begun_ms, "ended_ms": ended.at_ms}),
            );
            match scope.made_ms.saturating_sub(ended.at_ms) > YEAR_MS {
                true => part.stale("that is more than a year before this pack was made"),
                false => part,
            }
        }
        None => missing(
            "identity and dates",
            format!(
                "{kind} {id} ({name}) began {} and has not ended",
                day_and_time(begun_ms)
            ),
        ),
    };
    let mut parts = vec![dates, systems(scope)];
    parts.push(match listed(&document(scope), "thirdParties") {
        Some(named) => shown("third parties", named, &[scope.begun]),
        None => missing(
            "third parties",
            "neither document nor platform file names any, nor says that there are none",
        ),
    });
    parts.extend(people(scope));
    parts
}

fn systems(scope: &Scope) -> Part {
    const NAME: &str = "environment and systems";
    let Some(platform) = scope.platform() else {
        return missing(
            NAME,
            "the log does not say which platform file was in force",
        );
    };
    let desired = &platform.body["desired"];
    let names = |field: &str| -> Vec<&str> {
        let named = desired[field].as_object();
        named
            .into_iter()
            .flat_map(|all| all.keys().map(String::as_str))
            .collect()
    };
    let environment =
        scope.plan()["environment"]
            .as_str()
            .unwrap_or(match desired["production"].as_bool() {
                Some(true) => "production",
                _ => "not production",
            });
    let told = format!(
        "platform {} ({environment}), file {}: hosts {}; databases {}; services {}",
        desired["platform"].as_str().unwrap_or("without a name"),
        platform.body["digest"].as_str().unwrap_or("unknown"),
        names("hosts").join(", "),
        names("databases").join(", "),
        names("services").join(", ")
    );
    let facts = json!({
        "platform": desired["platform"], "environment": environment, "digest": platform.body["digest"],
        "hosts": names("hosts"), "databases": names("databases"), "services": names("services"),
    });
    shown(NAME, told, &[platform]).with(facts)
}

/// The reason that a node gives.
const STARTED_BY_ITSELF: &str = "it is due";

/// Who approved, and whether somebody else tested.
fn people(scope: &Scope) -> Vec<Part> {
    let Subject::Drill(_) = scope.subject else {
        return vec![missing(
            "approver and independent tester",
            format!("a record of {} has neither", scope.subject.kind()),
        )];
    };
    let approved = scope.begun.body["approved"]
        .as_u64()
        .and_then(|position| scope.at(position));
    let Some((approved, approver)) =
        approved.and_then(|entry| Some((entry, who(&entry.body["by"])?)))
    else {
        return vec![missing(
            "approver",
            "nobody had put this very text in force when it began",
        )];
    };
    let tester = who(&scope.begun.body["by"]).unwrap_or_default();
    let named = |field: &str| scope.plan()[field].as_str().unwrap_or("nobody").to_owned();
    let told = format!(
        "{approver} put the document in force; it names {} as approver",
        named("approver")
    );
    let mut parts = vec![shown("approver", told, &[approved]).with(json!({"approver": approver}))];
    // A node starts what is due in the name of the platform's user, who is somebody else than the approver and tests nothing.
    let schedule = &approved.body["adoption"]["schedule"];
    let by_itself =
        schedule["starts_from"].is_string() && scope.begun.body["reason"] == STARTED_BY_ITSELF;
    parts.push(match tester == approver || by_itself {
        true if tester != approver => missing(
            "independent tester",
            format!("nobody tested: it was started by itself, in the name of {tester}"),
        ),
        true => missing(
            "independent tester",
            format!(
                "{tester} approved and tested; the document names {} as tester",
                named("tester")
            ),
        ),
        false => shown(
            "independent tester",
            format!("{tester} began it"),
            &[scope.begun],
        )
        .with(json!({"tester": tester})),
    });
    parts
}

/// The document's `spec`, if the text in the log is the one that its digest names, and can be read.
pub(crate) fn document(scope: &Scope) -> Option<mainstay_yaml::Node> {
    let text = scope.plan()["text"].as_str()?;
    let digest = mainstay_journal::Hash::of(text.as_bytes()).to_string();
    if scope.plan()["digest"] != digest {
        return None;
    }
    let documents = mainstay_yaml::documents(text).ok()?;
    documents.first()?.get("spec").cloned()
}

fn listed(document: &Option<mainstay_yaml::Node>, field: &str) -> Option<String> {
    let node = document.as_ref()?.get(field)?;
    let texts = match node.text() {
        Some(text) => vec![text.trim().to_owned()],
        None => node
            .items()
            .iter()
            .filter_map(|item| item.text())
            .map(|text| text.trim().to_owned())
            .collect(),
    };
    (!texts.is_empty() && texts.iter().all(|text| !text.is_empty())).then(|| texts.join("; "))
}

fn scenario(scope: &Scope) -> Vec<Part> {
    let begun = [scope.begun];
    let what = match scope.subject {
        Subject::Drill(_) => scope.plan()["title"].as_str(),
        Subject::Experiment(_) => scope.plan()["hypothesis"].as_str(),
        Subject::Incident(_) => None,
    };
    let document = document(scope);
    let mut parts = vec![match what {
        Some(what) => {
            shown("scenario", what, &begun).with(json!({"digest": scope.plan()["digest"]}))
        }
        None => missing("scenario", "an incident is no test: nobody chose it"),
    }];
    for (name, field) in [
        ("severe but plausible", "severeButPlausible"),
        ("assumptions", "assumptions"),
        ("link to the impact analysis", "impactAnalysis"),
    ] {
        parts.push(match listed(&document, field) {
            Some(told) => shown(name, told, &begun),
            None => missing(
                name,
                format!("the document has no {field}, or its text is not in the log"),
            ),
        });
    }
    parts
}

fn objectives(scope: &Scope) -> Vec<Part> {
    let objectives = scope.plan()["objectives"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if objectives.is_empty() {
        return vec![missing(
            "recovery time, recovery point, tolerance",
            "no plan in the log names objectives",
        )];
    }
    let words = objectives.iter().map(|objective| {
        let time = objective["rto_below_ms"]
            .as_u64()
            .map(|ms| format!("recovery time below {}", span(ms)));
        let point = match &objective["rpo_below"] {
            Value::Null => None,
            limit => match (limit["transactions"].as_u64(), limit["time_ms"].as_u64()) {
                (Some(count), _) => Some(format!("fewer than {count} transactions lost")),
                (None, Some(ms)) => Some(format!("less than {} lost", span(ms))),
                (None, None) => None,
            },
        };
        let said: Vec<String> = [time, point].into_iter().flatten().collect();
        format!(
            "{}: {}",
            objective["service"].as_str().unwrap_or("?"),
            match said.is_empty() {
                true => "none".to_owned(),
                false => said.join(", "),
            }
        )
    });
    let told: Vec<String> = words.collect();
    let mut parts = vec![
        shown(
            "recovery time, recovery point, tolerance",
            told.join("; "),
            &[scope.begun],
        )
        .with(json!(objectives)),
    ];
    for objective in objectives {
        if let Some(why) = objective["unmeasured"].as_str() {
            let service = objective["service"].as_str().unwrap_or("?");
            parts.push(missing(
                "an objective that is not tested",
                format!("{service}: {why}"),
            ));
        }
    }
    parts
}

fn plan(scope: &Scope) -> Vec<Part> {
    let plan = scope.plan();
    let begun = [scope.begun];
    if plan.is_null() {
        return vec![missing("plan", "an incident has no plan")];
    }
    let steps: Vec<String> = match scope.subject {
        Subject::Experiment(_) => strings(&plan["injections"]),
        _ => plan["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| {
                format!(
                    "{}: {}",
                    step["id"].as_str().unwrap_or("?"),
                    step["what"].as_str().unwrap_or("?")
                )
            })
            .collect(),
    };
    let mut parts = vec![match steps.is_empty() {
        true => missing("plan", "it has no steps"),
        false => shown("plan", steps.join("; "), &begun).with(json!({"digest": plan["digest"]})),
    }];
    let versions = plan["versions"]
        .as_object()
        .filter(|versions| !versions.is_empty());
    parts.push(match versions {
        Some(versions) => {
            let told: Vec<String> = versions
                .iter()
                .map(|(program, version)| format!("{program} {}", version.as_str().unwrap_or("?")))
                .collect();
            fresh(
                scope,
                shown("software versions", told.join(", "), &begun).with(plan["versions"].clone()),
                "upgrade.ended",
                "the software was upgraded since",
            )
        }
        None => missing("software versions", "the plan in the log names none"),
    });
    parts.push(match scope.platform() {
        Some(platform) => {
            let digest = platform.body["digest"].as_str().unwrap_or("unknown");
            fresh(
                scope,
                shown(
                    "configuration",
                    format!("platform file {digest}"),
                    &[platform],
                ),
                "platform.adopted",
                "the platform file was changed since",
            )
        }
        None => missing(
            "configuration",
            "the log does not say which platform file was in force",
        ),
    });
    parts.push(match plan["seed"].as_str() {
        Some(seed) => shown("seed", seed, &begun),
        None => missing("seed", "the plan names none"),
    });
    parts
}

pub(crate) fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| text.as_str().map(ToOwned::to_owned))
        .collect()
}

/// Stale if an entry of that kind followed, with other content where it is a digest that counts.
fn fresh(scope: &Scope, part: Part, kind: &str, why: &str) -> Part {
    let digest = scope.platform().map(|entry| &entry.body["digest"]);
    let changed = scope.after().find(|entry| {
        entry.kind == kind && (kind != "platform.adopted" || Some(&entry.body["digest"]) != digest)
    });
    match changed {
        Some(entry) => {
            let why = format!("{why} (entry {}): {}", entry.position, say(entry));
            let mut part = part.stale(&why);
            part.entries.push(entry.position);
            part
        }
        None => part,
    }
}

/// Commands of people meanwhile, but for those that are the subject's own.
pub(crate) fn manual<'e>(scope: &Scope<'e>) -> Vec<&'e Entry> {
    let during = scope.during.iter();
    during.filter(|entry| is_manual(entry)).collect()
}
