//! Puts the parts together.

use mainstay_record::status::{FaultReason, Status, VERSION, Verdict};

use crate::databases::databases;
use crate::findings::{Findings, worst};
use crate::gateways::gateways;
use crate::gathered::Gathered;
use crate::hosts::regions;
use crate::leadership::leadership;
use crate::services::services;
use crate::watches::{alerts, budgets, watches};

/// What the platform is like, by what was gathered.
pub fn status(gathered: &Gathered<'_>) -> Status {
    let mut findings = Findings::default();
    let leadership = leadership(gathered, &mut findings);
    let regions = regions(gathered, &leadership, &mut findings);
    let databases = databases(gathered, &mut findings);
    let services = services(gathered, &mut findings);
    let gateways = gateways(gathered, &mut findings);
    let watches = watches(gathered, &mut findings);
    let alerts = alerts(gathered, &mut findings);
    let disturbed = faults(gathered, &mut findings);
    let mut faults = gathered.faults.clone();
    faults.sort_by_key(|fault| std::cmp::Reverse(fault.remaining_ms));
    // What is lost with some hosts is seen in what ran there; only with all of them nothing is known.
    let mut hosts = gathered.platform.hosts().iter();
    let all_silent = hosts.all(|host| gathered.is_silent(host.name.as_str()));
    let hosts_at_worst = if all_silent {
        Verdict::Unknown
    } else {
        Verdict::Degraded
    };
    let verdicts = [leadership.verdict, disturbed]
        .into_iter()
        .chain(regions.iter().map(|part| part.verdict.min(hosts_at_worst)))
        .chain(databases.iter().map(|part| part.verdict))
        .chain(services.iter().map(|part| part.verdict))
        .chain(gateways.iter().map(|part| part.verdict))
        .chain(watches.iter().map(|part| part.verdict))
        .chain(alerts.iter().map(|part| part.verdict));
    let verdict = worst(verdicts);
    let findings = findings.into_sorted();
    assert_eq!(
        verdict == Verdict::Healthy,
        findings.is_empty(),
        "a verdict without a reason, or the reverse"
    );
    Status {
        version: VERSION,
        platform: gathered.platform.name().to_string(),
        environment: gathered.platform.environment().name.to_string(),
        at_wall_ms: gathered.now_wall_ms,
        verdict,
        leadership,
        regions,
        databases,
        services,
        gateways,
        watches,
        alerts,
        budgets: budgets(gathered),
        incidents: gathered.incidents.clone(),
        faults,
        findings,
    }
}

fn faults(gathered: &Gathered<'_>, findings: &mut Findings) -> Verdict {
    let mut verdict = Verdict::Healthy;
    for fault in &gathered.faults {
        let subject = format!("{} {}", fault.kind.name(), fault.target);
        let id = fault.id.clone();
        let mut note = |reason: FaultReason| {
            verdict = verdict.max(findings.note(&subject, Verdict::Degraded, reason));
        };
        note(FaultReason::InForce {
            id: id.clone(),
            remaining_ms: fault.remaining_ms,
        });
        if !fault.guardian_alive && fault.remaining_ms > 0 {
            note(FaultReason::Unguarded { id: id.clone() });
        }
        if let Some(problem) = fault.problem.clone() {
            note(FaultReason::Trouble { id, problem });
        }
    }
    verdict
}
