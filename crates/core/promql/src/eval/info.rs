//! `info`: labels of an info metric are added to the series that share its identifying labels.
//!
//! Identity is `instance` and `job`. Where several info series fit, the newest sample speaks; where two are
//! equally new and differ, nobody can say which is right, and the query fails.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::{Evaluator, Item, Outcome, refuse};
use crate::ast::{Expr, Kind, Selector, When};
use crate::labels::{Labels, NAME};
use crate::matcher::Matcher;

const IDENTITY: [&str; 2] = ["instance", "job"];
const DEFAULT_METRIC: &str = "target_info";

impl Evaluator<'_> {
    pub(super) fn info(
        &mut self,
        inner: &Expr,
        data: Option<&Expr>,
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let items = self.vector(inner, at)?;
        let (mut names, mut wanted): (Vec<Matcher>, Vec<Matcher>) = (Vec::new(), Vec::new());
        if let Some(Kind::Selector(selector)) = data.map(|data| &data.kind) {
            for matcher in &selector.matchers {
                let list = if matcher.label == NAME {
                    &mut names
                } else {
                    &mut wanted
                };
                list.push(matcher.clone());
            }
        }
        if names.is_empty() {
            names.push(Matcher::name(DEFAULT_METRIC));
        }
        let selector = Selector {
            // A number that the parser gives to no selector.
            id: usize::MAX,
            name: None,
            matchers: names
                .iter()
                .chain(&wanted)
                .filter(|m| m.label == NAME || !m.holds(""))
                .cloned()
                .collect(),
            range: None,
            when: When::default(),
        };
        let lookback = self.options.lookback;
        self.reach
            .insert(selector.id, (self.start.saturating_sub(lookback), self.end));
        let found = self.current(&selector, at)?;
        let mut infos: BTreeMap<Labels, Vec<Item>> = BTreeMap::new();
        for info in found
            .into_iter()
            .filter(|info| info.value.float().is_some())
        {
            let identity = info
                .labels
                .keep(|name| name == NAME || IDENTITY.contains(&name));
            infos.entry(identity).or_default().push(info);
        }
        let mut result = Vec::with_capacity(items.len());
        for item in items {
            // An info metric itself is passed through.
            if names
                .iter()
                .all(|matcher| matcher.holds(item.labels.name()))
            {
                result.push(item);
                continue;
            }
            if let Some(labels) = enriched(&item.labels, &infos, &wanted)? {
                result.push(Item { labels, ..item });
            }
        }
        Ok(result)
    }
}

/// Nothing where a wanted label, which must not be empty, was found nowhere.
fn enriched(
    labels: &Labels,
    infos: &BTreeMap<Labels, Vec<Item>>,
    wanted: &[Matcher],
) -> Outcome<Option<Labels>> {
    let same = |identity: &Labels| {
        IDENTITY
            .iter()
            .all(|name| identity.get(name) == labels.get(name))
    };
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, all) in infos.iter().filter(|(identity, _)| same(identity)) {
        let Some(newest) = all.iter().map(|info| info.at).max() else {
            continue;
        };
        for info in all.iter().filter(|info| info.at == newest) {
            if !Matcher::all(wanted, &info.labels) {
                continue;
            }
            for (name, value) in info.labels.iter() {
                let listed =
                    wanted.is_empty() || wanted.iter().any(|matcher| matcher.label == name);
                if name == NAME
                    || IDENTITY.contains(&name)
                    || !labels.get(name).is_empty()
                    || !listed
                {
                    continue;
                }
                if added
                    .insert(name, value)
                    .is_some_and(|other| other != value)
                {
                    return refuse(format!("conflicting label: {name}"));
                }
            }
        }
    }
    let missing = |m: &Matcher| {
        !m.holds("") && !added.contains_key(m.label.as_str()) && labels.get(&m.label).is_empty()
    };
    if wanted.iter().any(missing) {
        return Ok(None);
    }
    let mut result = labels.clone();
    for (name, value) in added {
        result = result.with(name, value);
    }
    Ok(Some(result))
}
