//! `mainstay database configure`: which parameters there are, and what a change of them would take.
//!
//! It looks and judges; what is in force is what the platform file says, and `mainstay up FILE` makes it so.

use std::collections::BTreeMap;
use std::fmt::Write;

use mainstay_manifest::load;
use mainstay_model::database::Database;
use mainstay_model::parameter::{self, DEMANDED_BY_LOG, Takes};
use mainstay_record::keeper::ParametersStatus;
use serde::Serialize;

use crate::arguments::Configure;
use crate::client::{find, look};
use crate::exit::{Failure, Outcome};
use crate::print::{json, line};

type Values = BTreeMap<String, String>;

/// One parameter that would change.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    name: String,
    from: Option<String>,
    to: Option<String>,
    takes: &'static str,
    /// What is to be said about it besides.
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    version: u32,
    database: String,
    /// What the file in force gives.
    parameters: Values,
    changes: Vec<Change>,
    hosts: BTreeMap<String, Option<ParametersStatus>>,
}

pub fn run(arguments: &Configure) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let path = layout.platform_file();
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::Usage(format!(
            "{}: {error}\n  next: `mainstay up FILE` puts a file in force",
            path.display()
        ))
    })?;
    let platform = load(&path.display().to_string(), &text)
        .map_err(|problems| Failure::Finding(mainstay_manifest::render(&problems)))?;
    let name = &arguments.database;
    let Some(database) = platform.database(name) else {
        let known = platform.databases().iter().map(|known| known.name.as_str());
        let known: Vec<&str> = known.collect();
        return Err(Failure::Usage(format!(
            "the platform has no database `{name}`\n  next: name one of: {}",
            known.join(", ")
        )));
    };
    let wanted = wanted(database, arguments)?;
    let gathered = look(&layout)?;
    let mut nodes: BTreeMap<&str, _> = BTreeMap::new();
    nodes.insert(gathered.own.host.as_str(), &gathered.own);
    for (host, seen) in &gathered.others {
        if let Some(facts) = &seen.value {
            nodes.insert(host, facts);
        }
    }
    let of_host = |host: &str| {
        let seen = nodes.get(host)?.keepers.get(name)?;
        seen.value.as_ref()?.parameters.clone()
    };
    let replicas = database.replicas.iter();
    let shown = Shown {
        version: 1,
        database: name.clone(),
        parameters: database.parameters.clone(),
        changes: changes(&database.parameters, &wanted),
        hosts: replicas
            .map(|replica| (replica.host.to_string(), of_host(replica.host.as_str())))
            .collect(),
    };
    if arguments.json {
        json(&shown)
    } else {
        line(words(&shown).trim_end())
    }
}

/// What the file would give.
fn wanted(database: &Database, arguments: &Configure) -> Result<Values, Failure> {
    let mut wanted = database.parameters.clone();
    for set in &arguments.set {
        let Some((name, value)) = set.split_once('=') else {
            return Err(Failure::Usage(format!(
                "--set {set}: a name, `=` and a value are expected, such as work_mem=8MB"
            )));
        };
        parameter::judge(name, value).map_err(|refusal| {
            let (why, next) = refusal.words(name);
            let code = "parameter_refused".to_owned();
            Failure::Refused { code, why, next }
        })?;
        wanted.insert(name.to_owned(), value.to_owned());
    }
    for name in &arguments.unset {
        if wanted.remove(name).is_none() {
            return Err(Failure::Usage(format!(
                "--unset {name}: the platform file does not give it to {}",
                database.name
            )));
        }
    }
    Ok(wanted)
}

fn changes(old: &Values, new: &Values) -> Vec<Change> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let changed = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    changed
        .map(|name| {
            let demanded = DEMANDED_BY_LOG.contains(&name.as_str());
            let note = "a lower value is kept back while the log demands more of a standby";
            Change {
                name: name.clone(),
                from: old.get(name).cloned(),
                to: new.get(name).cloned(),
                takes: match parameter::takes(name) {
                    Takes::Reload => "reload",
                    Takes::Restart => "restart",
                },
                note: (demanded && is_lower(old.get(name), new.get(name))).then(|| note.to_owned()),
            }
        })
        .collect()
}

/// Also where it may be, because nobody wrote down the one or the other.
fn is_lower(old: Option<&String>, new: Option<&String>) -> bool {
    let number = |value: Option<&String>| value.and_then(|value| value.parse::<u64>().ok());
    match (number(old), number(new)) {
        (Some(old), Some(new)) => new < old,
        (None, _) | (_, None) => new.is_none(),
    }
}

/// A line for each parameter of a database that differs, for the plan of a changed file.
pub fn plan_lines(old: &Database, new: &Database) -> Vec<String> {
    changes(&old.parameters, &new.parameters)
        .iter()
        .map(change_words)
        .collect()
}

fn change_words(change: &Change) -> String {
    let (mark, value) = match (&change.from, &change.to) {
        (Some(from), Some(to)) => ('~', format!("{from} → {to}")),
        (None, Some(to)) => ('+', to.clone()),
        (Some(from), None) => ('-', from.clone()),
        (None, None) => ('~', String::new()),
    };
    let takes = match change.takes {
        "restart" => {
            "restart: standbys one after the other, then a switchover, the old primary last"
        }
        _ => "reload: sessions stay",
    };
    let mut text = format!("{mark} {}: {value}  ({takes})", change.name);
    if let Some(note) = &change.note {
        // Writing to a string cannot fail.
        write!(text, "; {note}").ok();
    }
    text
}

fn words(shown: &Shown) -> String {
    let mut text = format!(
        "parameters of {}, as the platform file gives them:\n",
        shown.database
    );
    // Writing to a string cannot fail.
    for (name, value) in &shown.parameters {
        let takes = match parameter::takes(name) {
            Takes::Reload => "reload",
            Takes::Restart => "restart",
        };
        writeln!(text, "  {name} = {value}  (a change takes a {takes})").ok();
    }
    if shown.parameters.is_empty() {
        text.push_str("  none\n");
    }
    for (host, status) in &shown.hosts {
        writeln!(
            text,
            "on {host}: {}",
            host_words(&shown.parameters, status.as_ref())
        )
        .ok();
    }
    if !shown.changes.is_empty() {
        text.push_str("would change:\n");
        for change in &shown.changes {
            writeln!(text, "  {}", change_words(change)).ok();
        }
        writeln!(
            text,
            "nothing was changed; next: write it below `parameters:` of {} in the platform file, then `mainstay up FILE`",
            shown.database
        )
        .ok();
    }
    text
}

fn host_words(given: &Values, status: Option<&ParametersStatus>) -> String {
    let Some(status) = status else {
        return "its keeper does not answer".to_owned();
    };
    let mut said = Vec::new();
    if let Some(why) = &status.refused {
        said.push(format!("refused by the server: {why}"));
    }
    if !status.waiting.is_empty() {
        said.push(format!(
            "waiting for a restart: {}",
            status.waiting.join(", ")
        ));
    }
    if status.other_programs {
        said.push("waiting for a restart with the programs that were installed".to_owned());
    }
    for kept in &status.kept_back {
        said.push(format!(
            "{} stays {}: the log demands it",
            kept.name, kept.value
        ));
    }
    // What the section `backup` asks for is no parameter of the file.
    let used: Values = (status.used.iter())
        .filter(|setting| parameter::owner(&setting.name).is_none())
        .map(|setting| (setting.name.clone(), setting.value.clone()))
        .collect();
    if said.is_empty() && used != *given {
        said.push("not taken over yet".to_owned());
    }
    if said.is_empty() {
        "in force".to_owned()
    } else {
        said.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_record::keeper::KeeperSetting;

    fn values(of: &[(&str, &str)]) -> Values {
        let each = of
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        each.collect()
    }

    #[test]
    fn what_a_change_takes_is_said() {
        let old = values(&[
            ("max_connections", "200"),
            ("work_mem", "4MB"),
            ("jit", "off"),
        ]);
        let new = values(&[
            ("max_connections", "150"),
            ("work_mem", "8MB"),
            ("shared_buffers", "1GB"),
        ]);
        let said: Vec<String> = changes(&old, &new).iter().map(change_words).collect();
        expect_test::expect![[r#"
            - jit: off  (reload: sessions stay)
            ~ max_connections: 200 → 150  (restart: standbys one after the other, then a switchover, the old primary last); a lower value is kept back while the log demands more of a standby
            + shared_buffers: 1GB  (restart: standbys one after the other, then a switchover, the old primary last)
            ~ work_mem: 4MB → 8MB  (reload: sessions stay)"#]]
        .assert_eq(&said.join("\n"));
        assert_eq!(changes(&old, &old), []);
    }

    #[test]
    fn a_host_says_what_has_become_of_it() {
        let given = values(&[("shared_buffers", "1GB")]);
        let mut status = ParametersStatus {
            used: vec![KeeperSetting {
                name: "shared_buffers".to_owned(),
                value: "1GB".to_owned(),
            }],
            ..ParametersStatus::default()
        };
        assert_eq!(host_words(&given, Some(&status)), "in force");
        status.waiting = vec!["shared_buffers".to_owned()];
        assert_eq!(
            host_words(&given, Some(&status)),
            "waiting for a restart: shared_buffers"
        );
        assert_eq!(host_words(&given, None), "its keeper does not answer");
        let status = ParametersStatus::default();
        assert_eq!(host_words(&given, Some(&status)), "not taken over yet");
    }
}
