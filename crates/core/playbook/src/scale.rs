//! How many instances of a service run, beside what the platform file says.
//!
//! The file's number is what somebody wrote down in peace; this one is for tonight. It stands in the journal, placement
//! follows it at once, and it is over when the file changes or a step asks for [`AS_FILE`].

use alloc::format;
use alloc::string::{String, ToString};

use crate::act::{Act, Resolved};
use crate::book::AS_FILE;
use crate::view::View;

/// A number of instances; `None` for what the platform file says.
///
/// # Errors
/// That the text is neither.
pub fn count_of(text: &str) -> Result<Option<u16>, String> {
    if text == AS_FILE {
        return Ok(None);
    }
    match text.parse() {
        Ok(0) => Err("a playbook takes no service away: at least 1 instance".to_string()),
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(format!(
            "{text:?} is no number of instances: write one from 1, or `{AS_FILE}`"
        )),
    }
}

pub(crate) fn resolve(service: String, count: &str, view: &View) -> Result<Resolved, String> {
    let known = view.service(&service)?;
    let count = count_of(count)?.unwrap_or(known.declared);
    if let Some(database) = &known.follows {
        return Err(format!(
            "{service} follows {database}: it has an instance beside every replica, and no number of its own"
        ));
    }
    let before = known.wanted;
    if count == before {
        return Ok(Resolved::Already(format!(
            "{count} instances of {service} are wanted"
        )));
    }
    let there = known.hosts.iter().filter(|host| !view.lost.contains(*host));
    let (there, all) = (there.count(), known.hosts.len());
    if count > before && usize::from(count) > there {
        return Err(format!(
            "{count} instances of {service} need as many hosts: {all} may run one, {there} of them are there"
        ));
    }
    Ok(Resolved::Act(Act::Replicas {
        service,
        count,
        before,
    }))
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use super::*;
    use crate::view::ViewService;

    fn view(lost: &[&str]) -> View {
        let hosts: Vec<String> = ["h1", "h2", "h3"].map(ToString::to_string).into();
        let web = ViewService {
            follows: None,
            hosts: hosts.clone(),
            declared: 1,
            wanted: 2,
        };
        let cell = ViewService {
            follows: Some("ledger".to_string()),
            hosts,
            declared: 3,
            wanted: 3,
        };
        View {
            services: BTreeMap::from([("web".to_string(), web), ("cell".to_string(), cell)]),
            lost: lost.iter().map(ToString::to_string).collect(),
            ..View::default()
        }
    }

    #[test]
    fn a_number_is_bounded_by_the_hosts_that_can_hold_it() {
        let (all, two) = (&[][..], &["h3"][..]);
        for (service, count, lost, expected) in [
            ("web", "3", all, "run 3 instances of web instead of 2"),
            ("web", "1", two, "run 1 instances of web instead of 2"),
            ("web", "file", all, "run 1 instances of web instead of 2"),
            ("web", "2", all, "already: 2 instances of web are wanted"),
            (
                "web",
                "3",
                two,
                "cannot: 3 instances of web need as many hosts: 3 may run one, 2 of them are there",
            ),
            (
                "web",
                "4",
                all,
                "cannot: 4 instances of web need as many hosts: 3 may run one, 3 of them are there",
            ),
            (
                "web",
                "0",
                all,
                "cannot: a playbook takes no service away: at least 1 instance",
            ),
            (
                "web",
                "many",
                all,
                "cannot: \"many\" is no number of instances: write one from 1, or `file`",
            ),
            (
                "cell",
                "2",
                all,
                "cannot: cell follows ledger: it has an instance beside every replica, and no number of its own",
            ),
            (
                "no",
                "2",
                all,
                "cannot: there is no service no; there is cell, web",
            ),
        ] {
            let told = match resolve(service.to_string(), count, &view(lost)) {
                Ok(Resolved::Act(act)) => act.to_string(),
                Ok(Resolved::Already(why)) => format!("already: {why}"),
                Ok(Resolved::NotYet(why)) => format!("waits: {why}"),
                Ok(Resolved::Cannot(why)) | Err(why) => format!("cannot: {why}"),
            };
            assert_eq!(told, expected, "{service} {count} {lost:?}");
        }
    }
}
