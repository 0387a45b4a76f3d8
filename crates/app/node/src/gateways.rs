//! Gateways of this host that serve another routing than the one that was written for them.
//!
//! A node writes a routing and tells its gateway. One that is killed in between tells nobody; a gateway that could not take it, or was
//! too busy to answer, is not told by itself again. So what they say that they serve is compared with what was written, again and
//! again.

use std::collections::BTreeSet;

use mainstay_rt::{clock, files};
use serde::Deserialize;

use crate::context::Context;
use crate::sight::Sight;

const FILE_LIMIT: u64 = 16 << 20;

/// Of a routing, all that is looked at here.
#[derive(Deserialize)]
struct Written {
    generation: u64,
}

#[derive(Debug, Default)]
pub struct Followers {
    behind: BTreeSet<String>,
}

impl Followers {
    /// Those to be told again: they were behind at the last look already. Whoever has just been told, or has just said what it served
    /// before it was, has time until the next one, since each reload costs requests a pause.
    pub fn look(&mut self, context: &Context, sight: &Sight) -> BTreeSet<String> {
        let gateways = context.platform.gateways_on(&context.host.name);
        let names = gateways.map(|gateway| gateway.name.to_string());
        let behind = names.filter(|name| {
            let served = served(sight, name);
            served
                .is_some_and(|served| written(context, name).is_some_and(|wanted| served < wanted))
        });
        self.compare(behind.collect())
    }

    fn compare(&mut self, behind: BTreeSet<String>) -> BTreeSet<String> {
        let again = behind.intersection(&self.behind).cloned().collect();
        self.behind = behind;
        again
    }
}

/// What it said a moment ago. One that does not answer cannot be told either.
fn served(sight: &Sight, gateway: &str) -> Option<u64> {
    let gateways = sight.gateways.borrow();
    let status = gateways.get(gateway)?.fresh(clock::now())?;
    Some(status.generation)
}

fn written(context: &Context, gateway: &str) -> Option<u64> {
    let path = context.layout.gateway_config(context.name(), gateway);
    let bytes = files::read_limited(&path, FILE_LIMIT).ok()?;
    let written: Written = serde_json::from_slice(&bytes).ok()?;
    Some(written.generation)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Followers;

    #[test]
    fn who_is_behind_twice_in_a_row_is_told_again() {
        let mut followers = Followers::default();
        let mut look = |behind: &[&str]| -> Vec<String> {
            let behind: BTreeSet<String> = behind.iter().map(ToString::to_string).collect();
            followers.compare(behind).into_iter().collect()
        };
        assert!(look(&["edge"]).is_empty(), "it may just be told");
        assert_eq!(look(&["edge", "inner"]), ["edge"]);
        assert_eq!(look(&["inner"]), ["inner"]);
        assert!(look(&[]).is_empty());
        assert!(look(&["edge"]).is_empty());
    }
}
