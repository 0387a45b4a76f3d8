//! The rule files that a platform file names: read from beside it, and laid where the watches follow them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use mainstay_derive::{Layout, objective_rules};
use mainstay_model::Platform;
use mainstay_model::watch::Watch;
use mainstay_rt::files;
use mainstay_rules::file::{Group, Rule};
use mainstay_yaml::FILE_BYTES_MAX;

use crate::exit::{Failure, Outcome};

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
    fn a_rule_needs_what_it_asks_for_and_no_more() {
        let text = "groups:\n- name: a\n  rules:\n  - {record: x:rate, expr: rate(x[1m])}\n  - {record: y:rate, expr: rate(y[1m])}\n\
                    - name: b\n  rules:\n  - {record: x:share, expr: 'x:rate / 2'}\n  - {alert: Slow, expr: 'x:share > 1'}\n\
                    - name: c\n  rules:\n  - {alert: Fast, expr: 'y:rate > 1'}\n";
        let groups = mainstay_rules::file::read("r.yaml", text).expect("rules");
        let needed = needed_by("Slow", groups);
        let rules = needed.iter().flat_map(|group| &group.rules);
        let names: Vec<&str> = rules.map(|rule| rule.name()).collect();
        assert_eq!(names, ["x:rate", "x:share", "Slow"]);
    }
}
