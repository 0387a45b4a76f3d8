//! What it costs while requests fail.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use super::LIST_MAX;
use super::inspector::Inspector;
use crate::cost::{Amount, CostPerMinute, Currency};
use crate::draft::PlatformDraft;
use crate::name::ServiceName;
use crate::violation::Code;

const PATH: &str = "/spec/costPerMinute";

pub(super) fn cost(inspector: &mut Inspector, draft: &PlatformDraft) -> Option<CostPerMinute> {
    let declared = draft.cost_per_minute.as_ref()?;
    if !inspector.list_length(
        &format!("{PATH}/services"),
        declared.services.len(),
        LIST_MAX,
    ) {
        return None;
    }
    let currency = Currency::parse(&declared.currency);
    if currency.is_none() {
        let message = format!("{:?} is no currency", declared.currency);
        inspector
            .report(format!("{PATH}/currency"), Code::InvalidValue, message)
            .help("write the three letters of ISO 4217, such as `EUR`");
    }
    if declared.platform.is_none() && declared.services.is_empty() {
        inspector
            .report(PATH, Code::Missing, "a cost of nothing")
            .help("give `platform`, or `services`, or leave the section out");
    }
    let platform = declared
        .platform
        .as_ref()
        .and_then(|text| amount(inspector, &format!("{PATH}/platform"), text));
    let mut services: Vec<(ServiceName, Amount)> = Vec::new();
    let mut seen = BTreeSet::new();
    for (place, given) in declared.services.iter().enumerate() {
        let path = format!("{PATH}/services/{place}");
        let known = draft.services.iter().map(|service| service.name.as_str());
        let is_known =
            inspector.reference(&format!("{path}/service"), "service", &given.service, known);
        if is_known && !seen.insert(&given.service) {
            let message = format!("`{}` is named twice", given.service);
            inspector
                .report(format!("{path}/service"), Code::DuplicateName, message)
                .help("give its cost in one place");
        }
        let amount = amount(inspector, &format!("{path}/amount"), &given.amount);
        if let (Ok(service), Some(amount)) = (ServiceName::new(&given.service), amount) {
            services.push((service, amount));
        }
    }
    Some(CostPerMinute {
        currency: currency?,
        platform,
        services,
    })
}

fn amount(inspector: &mut Inspector, path: &str, text: &str) -> Option<Amount> {
    let amount = Amount::parse(text);
    if amount.is_none() {
        let message = format!("{text:?} is no amount of money");
        inspector.report(path, Code::InvalidValue, message).help(
            "write more than nothing, with two decimals at most, such as `1200` or `\"12.50\"`",
        );
    }
    amount
}
