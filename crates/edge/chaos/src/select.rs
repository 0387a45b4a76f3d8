//! Whom a selector means, and which of them a mode takes.
//!
//! Selectors are ANDed, `pods` overrides all others, and a selector without namespaces means its document's own: all as
//! in Chaos Mesh. There the choice cannot be repeated; here it follows from a seed, which is journalled.

use mainstay_yaml::Node;

use crate::document::{Mode, pairs, text, texts};
use crate::inventory::{Inventory, Pod};

/// Draws that are the same everywhere and always (SplitMix64, by S. Vigna).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// For one document of an experiment: what stands before or after it in the file changes nothing.
    pub fn of(seed: u64, name: &str) -> Self {
        let start = name
            .bytes()
            .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        Self(start)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to and without `limit`, which is not 0.
    fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "one of none cannot be drawn");
        u64::try_from((u128::from(self.next()) * u128::from(limit)) >> 64).unwrap_or(0)
    }
}

/// Everybody whom the selector of `spec` means, in order of names.
pub fn meant<'a>(spec: &Node, namespace: &str, inventory: &'a Inventory) -> Vec<&'a Pod> {
    let Some(selector) = spec.get("selector") else {
        return Vec::new();
    };
    let is_ours = |name: &str| inventory.namespaces.contains(name);
    let mut found: Vec<&Pod> = match selector.get("pods") {
        Some(pods) => inventory
            .pods
            .iter()
            .filter(|pod| {
                pods.entries().iter().any(|entry| {
                    let names = entry.value.items().iter().filter_map(Node::text);
                    let mut names = names.filter(|name| *name == pod.name || *name == pod.instance);
                    is_ours(&entry.key) && names.next().is_some()
                })
            })
            .collect(),
        None => {
            let mut namespaces = texts(selector, "namespaces");
            if namespaces.is_empty() {
                namespaces.push(namespace.to_owned());
            }
            let here = namespaces.iter().any(|name| is_ours(name));
            let pods = inventory.pods.iter().filter(|_| here);
            pods.filter(|pod| fits(selector, pod, inventory)).collect()
        }
    };
    found.sort_by(|one, other| one.instance.cmp(&other.instance));
    found
}

fn fits(selector: &Node, pod: &Pod, inventory: &Inventory) -> bool {
    let has = |labels: &std::collections::BTreeMap<String, String>, key: &str| {
        pairs(selector, key)
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    };
    let nodes = texts(selector, "nodes");
    let node = inventory.nodes.get(&pod.host);
    let phases = texts(selector, "podPhaseSelectors");
    let phase = if pod.runs { "Running" } else { "Pending" };
    let fields = pairs(selector, "fieldSelectors")
        .into_iter()
        .all(|(field, value)| match field.as_str() {
            "metadata.name" => value == pod.name || value == pod.instance,
            "spec.nodeName" => value == pod.host,
            "status.phase" => value == phase,
            _ => false,
        });
    let expressions = selector.get("expressionSelectors").map(Node::items);
    has(&pod.labels, "labelSelectors")
        && node.is_some_and(|labels| has(labels, "nodeSelectors"))
        && (nodes.is_empty() || nodes.contains(&pod.host))
        && (phases.is_empty() || phases.iter().any(|wanted| wanted == phase))
        && fields
        // Nothing here has annotations.
        && pairs(selector, "annotationSelectors").is_empty()
        && expressions.unwrap_or(&[]).iter().all(|expression| expressed(expression, pod))
}

fn expressed(expression: &Node, pod: &Pod) -> bool {
    let label = pod.labels.get(text(expression, "key"));
    let values = texts(expression, "values");
    let within = label.is_some_and(|label| values.contains(label));
    match text(expression, "operator") {
        "In" => within,
        "NotIn" => !within,
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        _ => false,
    }
}

/// Those whom the mode takes. A share is rounded up; a random share may be nobody.
pub fn choose<'a>(mut pods: Vec<&'a Pod>, mode: Mode, dice: &mut Dice) -> Vec<&'a Pod> {
    let all = pods.len() as u64;
    let share = |percent: u64| (all * percent.min(100)).div_ceil(100);
    let count = match mode {
        Mode::All => all,
        Mode::One => 1,
        Mode::Fixed(count) => count,
        Mode::FixedPercent(percent) => share(percent),
        Mode::RandomMaxPercent(percent) => share(dice.below(percent.min(100) + 1)),
    };
    let count = count.min(all);
    if count < all {
        // The first `count` of a shuffle.
        for place in 0..count {
            let other = place + dice.below(all - place);
            let (Ok(place), Ok(other)) = (usize::try_from(place), usize::try_from(other)) else {
                break;
            };
            pods.swap(place, other);
        }
        pods.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        pods.sort_by(|one, other| one.instance.cmp(&other.instance));
    }
    pods
}
