//! The form of a document: one table, from which texts are checked and the schema is made.

use mainstay_model::nearest::nearest;
use mainstay_yaml::{Entry, Node, Value};

use crate::finding::Desk;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// A time such as `10s`, `5m`, `1d`.
    Time,
    Integer,
    Number,
    Boolean,
    /// Exactly this text.
    Only(&'static str),
    Texts,
    Object(&'static [Field]),
    List(&'static [Field]),
    /// Nothing to say: `{}`.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub help: &'static str,
}

const fn must(name: &'static str, kind: Kind, help: &'static str) -> Field {
    Field {
        name,
        kind,
        required: true,
        help,
    }
}

const fn may(name: &'static str, kind: Kind, help: &'static str) -> Field {
    Field {
        name,
        kind,
        required: false,
        help,
    }
}

use Kind::{Boolean, Integer, List, Nothing, Number, Object, Only, Text, Texts, Time};

pub const DOCUMENT: &[Field] = &[
    must("apiVersion", Only("mainstay/v1"), "Version of this format."),
    must("kind", Only("Drill"), "What the file describes."),
    must("metadata", Object(METADATA), "What the drill is called."),
    must("spec", Object(SPEC), "The drill itself."),
];

const METADATA: &[Field] = &[must(
    "name",
    Text,
    "Lower-case letters, digits and '-', at most 32.",
)];

const SPEC: &[Field] = &[
    must("title", Text, "What happens, in a sentence."),
    must(
        "severeButPlausible",
        Text,
        "Why it is bad enough to rehearse, and why it can happen.",
    ),
    must(
        "assumptions",
        Texts,
        "What is taken for granted; each is something that the drill does not test.",
    ),
    must(
        "environment",
        Text,
        "Name of the environment of the platform file; elsewhere the drill is not run.",
    ),
    must("people", Object(PEOPLE), "Roles, not persons."),
    may(
        "schedule",
        Object(SCHEDULE),
        "When it is due. One that was due and did not run is an alarm.",
    ),
    may(
        "seed",
        Integer,
        "Of every random choice; drawn and journalled if absent.",
    ),
    must(
        "retention",
        Time,
        "So long the evidence is kept; regulation asks for five years or more.",
    ),
    must(
        "objectives",
        Object(OBJECTIVES),
        "What each service must be able to do.",
    ),
    may(
        "guard",
        Object(GUARD),
        "When it is refused, beside open incidents, upgrades and lost hosts.",
    ),
    must(
        "limit",
        Time,
        "How long all steps together may take; after that it is aborted.",
    ),
    must(
        "load",
        List(LOAD),
        "Who uses the platform meanwhile, and keeps notes.",
    ),
    must("steps", List(STEP), "One after the other."),
];

const PEOPLE: &[Field] = &[
    must("approver", Text, "Who approves it: adopts the document."),
    must(
        "tester",
        Text,
        "Who runs it; somebody else than the approver and the builders.",
    ),
    must(
        "deficiencies",
        Text,
        "Who has what is found wanting mended.",
    ),
    may(
        "retest",
        Time,
        "What was found wanting is tested again within this (default 30d).",
    ),
];

const SCHEDULE: &[Field] = &[
    must(
        "cron",
        Text,
        "Five fields in UTC: minute, hour, day, month, weekday.",
    ),
    must(
        "within",
        Time,
        "It must have run, and come to a verdict, within so long after it was due.",
    ),
    may(
        "unattended",
        Boolean,
        "When it is due, whoever leads the platform starts it (default: somebody does).",
    ),
];

const OBJECTIVES: &[Field] = &[
    may(
        "table",
        Text,
        "A Markdown table with the columns component, RTO and RPO; a path relative to this file.",
    ),
    may(
        "services",
        List(SERVICE),
        "In addition to the table, or instead of its rows.",
    ),
    may(
        "unmeasured",
        List(UNMEASURED),
        "Services that this drill says nothing about, and why.",
    ),
];

const SERVICE: &[Field] = &[
    must("service", Text, "Its name, as loads name it."),
    may("rto", Time, "It must be back in less than this."),
    may(
        "rpo",
        Text,
        "Less than this may be lost: `1 transaction`, `5m`.",
    ),
];

const UNMEASURED: &[Field] = &[
    must("service", Text, "Its name in the table."),
    must("why", Text, "Why it is not measured here."),
];

const GUARD: &[Field] = &[may(
    "budget",
    List(BUDGET),
    "Error budgets that must not be short.",
)];

const BUDGET: &[Field] = &[
    must(
        "objective",
        Text,
        "An objective of the platform file's watch.",
    ),
    must(
        "leftAtLeast",
        Number,
        "The share of its budget that must be left, from 0 to 1.",
    ),
];

const LOAD: &[Field] = &[
    must("name", Text, "Lower-case letters, digits and '-'."),
    must("services", Texts, "Whose objectives it measures."),
    may(
        "program",
        Object(PROGRAM),
        "A program that sends requests and writes witness logs.",
    ),
    may(
        "probe",
        Object(PROBE),
        "Numbered writes into a database, through the gateways.",
    ),
    may(
        "perRegion",
        Boolean,
        "One process for each region, each at home at its own gateway (default true).",
    ),
    must(
        "within",
        Time,
        "A request is good if it is acknowledged within this, counted from when it was due.",
    ),
    may(
        "inARow",
        Integer,
        "So many good ones in a row are service (default 20).",
    ),
    may(
        "audit",
        Object(AUDIT),
        "Who compares the witness logs with the books afterwards.",
    ),
];

const PROGRAM: &[Field] = &[
    must(
        "command",
        Texts,
        "Program and arguments. `${folder}`, `${region}`, `${seconds}`, `${seed}`, `${unique}` stand for what they say.",
    ),
    may(
        "eachGateway",
        Texts,
        "Arguments once for each region, its own first: `${region}` and `${address}`.",
    ),
];

const PROBE: &[Field] = &[
    must("database", Text, "A database of the platform file."),
    must("port", Integer, "Where gateways lead to its primary."),
    must("rate", Integer, "Writes a second, of each process."),
];

const AUDIT: &[Field] = &[
    must(
        "command",
        Texts,
        "Program and arguments. `${folder}` is the drill's own.",
    ),
    must(
        "eachWitness",
        Text,
        "The option before each witness log that this platform has.",
    ),
    must(
        "database",
        Text,
        "Whose login and address it gets as PGHOST, PGPORT and so on.",
    ),
    must("port", Integer, "Where gateways lead to its primary."),
    must("report", Text, "The JSON file that it writes."),
];

const STEP: &[Field] = &[
    must("id", Text, "Unique within the drill."),
    may("limit", Time, "For this step (default 60s)."),
    may("wait", Object(WAIT), "Until something is so."),
    may(
        "lose",
        Object(LOSE),
        "A whole region: every process of its hosts, at once.",
    ),
    may(
        "inject",
        Object(INJECT),
        "A fault as `mainstay fault inject` knows it.",
    ),
    may(
        "heal",
        Nothing,
        "Ends every fault of this drill, and waits until each is undone.",
    ),
    may(
        "switchover",
        Object(SWITCHOVER),
        "Moves the primary of a database.",
    ),
    may(
        "failBack",
        Object(SWITCHOVER),
        "The same, measured as the way back.",
    ),
    may(
        "person",
        Object(PERSON),
        "Somebody does it, and confirms it: `mainstay drill confirm`.",
    ),
    may("backUp", Object(BACK_UP), "Makes a base backup now."),
    may(
        "corruptBackup",
        Object(CORRUPT),
        "Copies the archive of a database, and damages the newest backup of the copy.",
    ),
    may(
        "restore",
        Object(RESTORE),
        "Brings a backup of that copy back in a place of its own.",
    ),
];

const WAIT: &[Field] = &[
    may("time", Time, "So long."),
    may(
        "primary",
        Object(PRIMARY),
        "The primary of a database is open in a region.",
    ),
    may(
        "away",
        Object(PRIMARY),
        "The primary of a database is open in another region.",
    ),
    may(
        "whole",
        Nothing,
        "No fault is in force, every host answers, every replica counts.",
    ),
    may(
        "served",
        Integer,
        "So many requests of each client in a row were good, since the step began.",
    ),
    may(
        "query",
        Text,
        "PromQL, asked of a watch: it has a result that is not 0.",
    ),
    may(
        "backup",
        Object(BACKED_UP),
        "A database has so many backups.",
    ),
];

const PRIMARY: &[Field] = &[
    must("database", Text, "A database of the platform file."),
    must("region", Text, "A region of the platform file."),
];

const BACKED_UP: &[Field] = &[
    must("database", Text, "A database of the platform file."),
    must("count", Integer, "So many base backups."),
    may(
        "proven",
        Boolean,
        "They were restored and compared (default false).",
    ),
];

const LOSE: &[Field] = &[
    must("region", Text, "A region of the platform file."),
    must("for", Time, "It is over after this, whoever dies."),
    may(
        "clients",
        Boolean,
        "The load of that region is lost with it (default true).",
    ),
];

const INJECT: &[Field] = &[
    must("kind", Text, "As `mainstay fault inject` names it."),
    must("target", Text, "As that kind wants it."),
    must("for", Time, "It is over after this, whoever dies."),
];

const SWITCHOVER: &[Field] = &[
    must("database", Text, "A database of the platform file."),
    must("to", Text, "A region that has a replica."),
];

const PERSON: &[Field] = &[
    must("role", Text, "Whose step it is."),
    must("does", Text, "What is to be done and seen."),
];

const BACK_UP: &[Field] = &[
    must(
        "database",
        Text,
        "A database with `backup:` in the platform file.",
    ),
    may(
        "prove",
        Boolean,
        "Restores and compares it at once (default false).",
    ),
];

const CORRUPT: &[Field] = &[must(
    "database",
    Text,
    "A database with `backup:` in the platform file; its first store must be a folder.",
)];

const RESTORE: &[Field] = &[
    must("database", Text, "The database whose archive was copied."),
    must(
        "expect",
        Text,
        "`refused` of the damaged one, `restored` of the next older one that is sound.",
    ),
    may("services", Texts, "Whose objectives the restore is about."),
];

/// Looks whether a node has the form; whatever does not is told, and the rest is looked at all the same.
pub fn check(desk: &mut Desk, node: &Node, kind: Kind, path: &str) {
    let wrong = |desk: &mut Desk, wanted: &str| {
        desk.find(
            node.place,
            path,
            "type",
            format!("{wanted} is wanted here"),
            "",
        );
    };
    match kind {
        Object(fields) => match &node.value {
            Value::Map(entries) => object(desk, node, entries, fields, path),
            _ => wrong(desk, "a mapping"),
        },
        List(fields) => match &node.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    check(desk, item, Object(fields), &format!("{path}[{index}]"));
                }
            }
            _ => wrong(desk, "a list"),
        },
        Texts => match &node.value {
            Value::List(items) => {
                if items.iter().any(|item| item.text().is_none()) {
                    wrong(desk, "a list of texts");
                }
            }
            _ => wrong(desk, "a list of texts"),
        },
        Nothing if node.entries().is_empty() && node.text().is_none() => {}
        Nothing => wrong(desk, "`{}`"),
        _ => scalar(desk, node, kind, path),
    }
}

fn scalar(desk: &mut Desk, node: &Node, kind: Kind, path: &str) {
    let Some(text) = node.text().filter(|text| !text.trim().is_empty()) else {
        desk.find(node.place, path, "type", "a value is wanted here", "");
        return;
    };
    let problem = match kind {
        Time => crate::time(text).err(),
        Integer => text
            .parse::<u64>()
            .err()
            .map(|_| format!("{text:?} is no whole number from 0 on")),
        Number => text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map_or_else(|| Some(format!("{text:?} is no number")), |_| None),
        Boolean if !matches!(text, "true" | "false") => {
            Some(format!("{text:?} is neither true nor false"))
        }
        Only(wanted) if text != wanted => Some(format!("{text:?} is not {wanted:?}")),
        _ => None,
    };
    if let Some(problem) = problem {
        desk.find(node.place, path, "value", problem, "");
    }
}

fn object(desk: &mut Desk, node: &Node, entries: &[Entry], fields: &[Field], path: &str) {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    for entry in entries {
        match fields.iter().find(|field| field.name == entry.key) {
            Some(field) => check(desk, &entry.value, field.kind, &below(field.name)),
            None => {
                let known = fields.iter().map(|field| field.name);
                let help = match nearest(&entry.key, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
                };
                let problem = format!("there is no field `{}` here", entry.key);
                desk.find(entry.place, path, "unknown-field", problem, help);
            }
        }
    }
    for field in fields.iter().filter(|field| field.required) {
        if node.get(field.name).is_none() {
            let problem = format!("the field `{}` is missing", field.name);
            desk.find(node.place, path, "missing-field", problem, field.help);
        }
    }
}

/// A JSON schema, for editors.
pub fn schema() -> serde_json::Value {
    let mut schema = object_schema(DOCUMENT);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Drill".into();
    schema
}

fn object_schema(fields: &[Field]) -> serde_json::Value {
    let properties: serde_json::Map<String, serde_json::Value> = fields
        .iter()
        .map(|field| {
            let mut schema = kind_schema(field.kind);
            schema["description"] = field.help.into();
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    serde_json::json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn kind_schema(kind: Kind) -> serde_json::Value {
    use serde_json::json;
    match kind {
        Text => json!({ "type": ["string", "number"] }),
        Time => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Integer => json!({ "type": "integer", "minimum": 0 }),
        Number => json!({ "type": "number" }),
        Boolean => json!({ "type": "boolean" }),
        Only(text) => json!({ "const": text }),
        Texts => json!({ "type": "array", "items": { "type": ["string", "number"] } }),
        Object(fields) => object_schema(fields),
        List(fields) => json!({ "type": "array", "items": object_schema(fields) }),
        Nothing => json!({ "type": "object", "maxProperties": 0 }),
    }
}
