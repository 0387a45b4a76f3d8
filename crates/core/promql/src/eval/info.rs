//! `info`: labels of an info metric are added to the series that share its identifying labels.
//!
//! Identity is `instance` and `job`. Where several series of an info metric fit, the newest sample speaks; where
//! two are equally new, nobody can say which is right, and the query fails.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::{Evaluator, Item, Outcome, refuse};
use crate::ast::{Edges, Expr, Kind, Selector, When};
use crate::labels::{Labels, NAME};
use crate::matcher::{Matcher, Operator};

const IDENTITY: [&str; 2] = ["instance", "job"];
const DEFAULT_METRIC: &str = "target_info";
/// What an info metric is called, where the query only says which ones it does not want.
const ANY_METRIC: &str = ".+_info";

/// What the data side of `info` asks for.
struct Wanted {
    names: Vec<Matcher>,
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(data: Option<&Selector>) -> Outcome<Self> {
        let all = data.map_or(&[][..], |selector| &selector.matchers);
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) = all
            .iter()
            .cloned()
            .partition(|matcher| matcher.label == NAME);
        let refuses = |m: &Matcher| matches!(m.operator, Operator::NotEqual | Operator::MatchesNot);
        if names.is_empty() {
            names.push(Matcher::name(DEFAULT_METRIC));
        } else if names.iter().all(refuses) {
            match Matcher::new(NAME, Operator::Matches, ANY_METRIC) {
                Ok(matcher) => names.push(matcher),
                Err(error) => return refuse(error),
            }
        }
        Ok(Self { names, data })
    }

    fn lists(&self, label: &str) -> bool {
        self.data.is_empty() || self.data.iter().any(|matcher| matcher.label == label)
    }

    /// An info metric itself is passed through.
    fn is_info(&self, item: &Item) -> bool {
        let name = item.labels.name();
        self.names.iter().all(|matcher| matcher.holds(name))
    }
}

/// The number of the selector behind `info` without a data side; the parser gives it to none.
const UNWRITTEN: usize = usize::MAX;

/// The number under which the info series of this data side are fetched.
pub(super) const fn number(data: Option<&Expr>) -> usize {
    match data {
        Some(Expr {
            kind: Kind::Selector(selector),
            ..
        }) => selector.id,
        _ => UNWRITTEN,
    }
}

impl Evaluator<'_> {
    pub(super) fn info(
        &mut self,
        inner: &Expr,
        data: Option<&Expr>,
        at: i64,
    ) -> Outcome<Vec<Item>> {
        let items = self.vector(inner, at)?;
        let wanted = Wanted::new(match data.map(|data| &data.kind) {
            Some(Kind::Selector(selector)) => Some(selector),
            _ => None,
        })?;
        let selector = Selector {
            id: number(data),
            name: None,
            matchers: wanted.names.iter().chain(&wanted.data).cloned().collect(),
            range: None,
            edges: Edges::Open,
            when: When::default(),
        };
        let infos = newest(self.current(&selector, at)?, &items, &wanted)?;
        let mut result = Vec::with_capacity(items.len());
        for item in items {
            if wanted.is_info(&item) {
                result.push(item);
            } else if let Some(labels) = enriched(&item.labels, &infos, &wanted)? {
                result.push(Item { labels, ..item });
            }
        }
        Ok(result)
    }
}

/// Of each info metric and identity the newest series, as far as any of the items could have that identity.
fn newest(found: Vec<Item>, items: &[Item], wanted: &Wanted) -> Outcome<BTreeMap<Labels, Item>> {
    let values = IDENTITY.map(|name| {
        let own = items.iter().filter(|item| !wanted.is_info(item));
        let values: BTreeSet<&str> = own.map(|item| item.labels.get(name)).collect();
        (name, values)
    });
    let nobody = |values: &BTreeSet<&str>| values.iter().all(|value| value.is_empty());
    let mut infos: BTreeMap<Labels, Item> = BTreeMap::new();
    if values.iter().all(|(_, values)| nobody(values)) {
        return Ok(infos);
    }
    for info in found {
        let fits = |(name, values): &(&str, BTreeSet<&str>)| {
            nobody(values) || values.contains(info.labels.get(name))
        };
        if !values.iter().all(fits) {
            continue;
        }
        if info.value.float().is_none() {
            let name = info.labels.name();
            return refuse(format!(
                "info sample should be float, {name} has a histogram"
            ));
        }
        let identity = info
            .labels
            .keep(|name| name == NAME || IDENTITY.contains(&name));
        match infos.get(&identity) {
            Some(other) if other.at == info.at => {
                return refuse(format!(
                    "found duplicate series for info metric: {} and {} at {}",
                    other.labels, info.labels, info.at
                ));
            }
            Some(other) if other.at > info.at => {}
            _ => {
                infos.insert(identity, info);
            }
        }
    }
    Ok(infos)
}

/// Nothing where no info series was found and a wanted label must not be empty.
fn enriched(
    labels: &Labels,
    infos: &BTreeMap<Labels, Item>,
    wanted: &Wanted,
) -> Outcome<Option<Labels>> {
    let same = |identity: &Labels| {
        IDENTITY
            .iter()
            .all(|name| identity.get(name) == labels.get(name))
    };
    let mut matched = false;
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, info) in infos.iter().filter(|(identity, _)| same(identity)) {
        matched = true;
        for (name, value) in info.labels.iter() {
            if name == NAME || !wanted.lists(name) || !labels.get(name).is_empty() {
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
    if !matched && wanted.data.iter().any(|matcher| !matcher.holds("")) {
        return Ok(None);
    }
    let mut result = labels.clone();
    for (name, value) in added {
        result = result.with(name, value);
    }
    Ok(Some(result))
}
