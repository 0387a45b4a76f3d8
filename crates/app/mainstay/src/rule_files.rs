//! The rule files that a platform file names: read from beside it, laid where the watches follow them, and journalled.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http::{Method, StatusCode};
use mainstay_derive::{Layout, OBJECTIVES_FILE, objective_rules};
use mainstay_kernel::{RULES_PART_BYTES_MAX, written_bytes};
use mainstay_model::Platform;
use mainstay_model::watch::Watch;
use mainstay_node::digest_of;
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_record::rules::{RulesShown, RulesTextRecord};
use mainstay_rt::files;
use mainstay_rules::file::{Group, Rule};
use mainstay_yaml::FILE_BYTES_MAX;

use crate::client::{ask_best_with, send};
use crate::exit::{Failure, Outcome};
use crate::print::progress;

const LIMIT: Duration = Duration::from_secs(30);

/// What a file is called where it is followed, and its text.
pub type RuleFile = (String, String);

/// Every rule file of the platform, or everything that is wrong with them.
pub fn read(platform: &Platform, file: &Path) -> Result<Vec<RuleFile>, Failure> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for declared in platform.watch().map_or(&[][..], |watch| &watch.rules) {
        let path = folder.join(declared);
        let shown = path.display().to_string();
        let text = files::read_limited(&path, FILE_BYTES_MAX as u64)
            .map_err(|error| error.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
        match text {
            Ok(text) => {
                if let Err(wrong) = mainstay_rules::file::read(&shown, &text) {
                    problems.extend(wrong.iter().map(ToString::to_string));
                }
                found.push((Watch::rule_name(declared).to_owned(), text));
            }
            Err(why) => problems.push(format!(
                "{shown}: {why}\n  next: {} names it under spec.watch.rules; put it there, or take the line out",
                file.display()
            )),
        }
    }
    // Expressions of objectives become rules, and are read as such.
    if let Some(made) = platform.watch().and_then(objective_rules)
        && let Err(wrong) = mainstay_rules::file::read("objectives", &made)
    {
        problems.extend(wrong.iter().map(|wrong| {
            format!(
                "{}: an objective's expression cannot be used: {wrong}\n  next: `mainstay slo {} --rules` prints what is made of it",
                file.display(),
                file.display()
            )
        }));
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(Failure::Finding(problems.join("\n")))
    }
}

/// Names of all alerts that can stand on the platform; nothing where others raise some, too, whose names nobody here knows.
pub fn alerts(platform: &Platform, file: &Path) -> Result<Option<BTreeSet<String>>, Failure> {
    let watch = platform.watch();
    if watch.is_some_and(|watch| watch.alerts.is_some()) {
        return Ok(None);
    }
    let mut names = BTreeSet::new();
    let found = read(platform, file)?;
    for (file, text) in texts(platform, &found) {
        let groups = mainstay_rules::file::read(&file, &text).unwrap_or_default();
        let rules = groups.iter().flat_map(|group| &group.rules);
        names.extend(
            rules
                .filter(|rule| rule.alert().is_some())
                .map(|rule| rule.name().to_owned()),
        );
    }
    if watch.is_some_and(|watch| watch.metrics.is_some()) {
        names.insert(mainstay_watch::SOURCE_SILENT.to_owned());
    }
    Ok(Some(names))
}

/// Every text that the watches follow: the files, and what is made of the objectives.
pub fn texts(platform: &Platform, found: &[RuleFile]) -> Vec<RuleFile> {
    let made = platform.watch().and_then(objective_rules);
    let made = made.map(|text| (OBJECTIVES_FILE.to_owned(), text));
    // As a watch tells two files of one name apart.
    let named = found.iter().map(|(name, text)| match &made {
        Some((taken, _)) if taken == name => (format!("rules.{name}"), text.clone()),
        Some(_) | None => (name.clone(), text.clone()),
    });
    named.chain(made.clone()).collect()
}

/// Has the journal say what stands in them, where it does not yet. What the watches follow they say themselves.
pub fn put_in_force(layout: &Layout, texts: &[RuleFile], reason: &str) -> Outcome {
    if texts.is_empty() {
        return Ok(());
    }
    let (status, body) = ask_best_with(layout, Method::GET, "/v1/rules", Vec::new(), LIMIT)?;
    if status == StatusCode::NOT_FOUND {
        progress(
            "the nodes are of a version that does not journal rule files: upgrade, and run this again",
        );
        return Ok(());
    }
    let shown: RulesShown = serde_json::from_slice(&body)
        .with_context(|| format!("read the answer: {}", String::from_utf8_lossy(&body)))?;
    for (file, text) in texts {
        let digest = digest_of(text.as_bytes());
        let known = shown.adopted.get(file);
        if known.is_none_or(|known| known.digest != digest) {
            adopt(layout, (file, &digest), text, reason)?;
        }
    }
    Ok(())
}

fn adopt(layout: &Layout, (file, digest): (&str, &str), text: &str, reason: &str) -> Outcome {
    let parts = parts(text);
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    for (part, text) in (1..).zip(parts) {
        let text = RulesTextRecord {
            file: file.to_owned(),
            digest: digest.to_owned(),
            part,
            parts: count,
            text: text.to_owned(),
        };
        match send(layout, Command::AdoptRules(text), reason)? {
            CommandOutcome::Done { position, detail } => {
                progress(format_args!("{detail} (journal entry {position})"));
            }
            // An earlier attempt, whose answer was lost, has done it.
            CommandOutcome::Refused { code, .. } if code == "rules_in_force" => return Ok(()),
            CommandOutcome::Refused { code, why, next } => {
                return Err(Failure::Refused { code, why, next });
            }
            CommandOutcome::Unknown { why, .. } => return Err(Failure::Unknown { why }),
        }
    }
    Ok(())
}

/// As long as entries of the journal can be.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut written) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        let end = at + letter.len_utf8();
        let takes: usize = text.as_bytes()[at..end]
            .iter()
            .copied()
            .map(written_bytes)
            .sum();
        if written + takes > RULES_PART_BYTES_MAX {
            parts.push(&text[from..at]);
            (from, written) = (at, 0);
        }
        written += takes;
    }
    parts.push(&text[from..]);
    parts
}

/// The rules that the watches follow now, with those that are made of objectives.
pub fn followed(layout: &Layout, watch: Option<&Watch>) -> Result<Vec<Group>, Failure> {
    let mut groups = Vec::new();
    let Some(watch) = watch else {
        return Ok(groups);
    };
    let mut texts = Vec::new();
    for declared in &watch.rules {
        let path = layout.rules().join(Watch::rule_name(declared));
        let bytes = files::read_limited(&path, FILE_BYTES_MAX as u64)
            .with_context(|| format!("read {}", path.display()))?;
        texts.push((
            declared.clone(),
            String::from_utf8_lossy(&bytes).into_owned(),
        ));
    }
    texts.extend(objective_rules(watch).map(|text| ("objectives".to_owned(), text)));
    for (file, text) in &texts {
        // What cannot be read is followed by nobody.
        groups.extend(mainstay_rules::file::read(file, text).unwrap_or_default());
    }
    Ok(groups)
}

/// Of these rules, one by its name and those that record what it asks for, and what they ask for in turn. Following all of
/// them over what was measured takes minutes where one takes seconds.
pub fn needed_by(rule: &str, mut groups: Vec<Group>) -> Vec<Group> {
    let mut needed = BTreeSet::from([rule.to_owned()]);
    loop {
        let before = needed.len();
        let rules = groups.iter().flat_map(|group| &group.rules);
        let (those, others): (Vec<&Rule>, Vec<&Rule>) =
            rules.partition(|rule| needed.contains(rule.name()));
        let asked = others.iter().map(|rule| rule.name());
        let asked = asked.filter(|name| those.iter().any(|rule| rule.text.contains(name)));
        let asked: Vec<String> = asked.map(ToOwned::to_owned).collect();
        needed.extend(asked);
        if needed.len() == before {
            break;
        }
    }
    for group in &mut groups {
        group.rules.retain(|rule| needed.contains(rule.name()));
    }
    groups.retain(|group| !group.rules.is_empty());
    groups
}

/// Lays the files where the watches follow them, which take them up by themselves. What is there already is left.
pub fn lay_down(layout: &Layout, found: &[RuleFile]) -> Outcome {
    let folder = layout.rules();
    for (name, text) in found {
        let path = folder.join(name);
        if files::read_limited(&path, FILE_BYTES_MAX as u64)
            .is_ok_and(|known| known == text.as_bytes())
        {
            continue;
        }
        std::fs::create_dir_all(&folder)
            .and_then(|()| files::write_atomic(&path, text.as_bytes()))
            .with_context(|| format!("lay down {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_journalled_in_parts_that_fit() {
        assert_eq!(parts("groups: []\n"), ["groups: []\n"]);
        assert_eq!(parts(""), [""]);
        let line = "a: \"\u{e9}\"\n";
        let text = line.repeat(20_000);
        let parts = parts(&text);
        assert_eq!(parts.concat(), text);
        assert!(parts.len() > 4, "{}", parts.len());
        for part in parts {
            let written: usize = part.bytes().map(written_bytes).sum();
            assert!(written <= RULES_PART_BYTES_MAX);
            // As it stands in an entry, with quotes around it.
            let json = serde_json::to_string(part).expect("it can be written");
            assert_eq!(json.len(), written + 2);
        }
    }

    #[test]
    fn a_rule_needs_what_it_asks_for_and_no_more() {
        let text = "groups:\n- name: a\n  rules:\n  - {record: x:rate, expr: 'rate(x[1m])'}\n  - {record: y:rate, expr: 'rate(y[1m])'}\n\
                    - name: b\n  rules:\n  - {record: x:share, expr: 'x:rate / 2'}\n  - {alert: Slow, expr: 'x:share > 1'}\n\
                    - name: c\n  rules:\n  - {alert: Fast, expr: 'y:rate > 1'}\n";
        let groups = mainstay_rules::file::read("r.yaml", text).expect("rules");
        let needed = needed_by("Slow", groups);
        let rules = needed.iter().flat_map(|group| &group.rules);
        let names: Vec<&str> = rules.map(|rule| rule.name()).collect();
        assert_eq!(names, ["x:rate", "x:share", "Slow"]);
    }
}
