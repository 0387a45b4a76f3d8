//! Regions and their hosts.

use mainstay_model::Host;
use mainstay_record::status::{HostReason, HostStatus, Leadership, RegionStatus, Verdict};

use crate::findings::{Findings, worst};
use crate::gathered::{Gathered, Known};

/// The instance that is a host's member of etcd.
const MEMBER: &str = "etcd";

pub(crate) fn regions(
    gathered: &Gathered<'_>,
    leadership: &Leadership,
    findings: &mut Findings,
) -> Vec<RegionStatus> {
    let mut regions = Vec::new();
    for region in gathered.platform.regions() {
        let hosts: Vec<HostStatus> = gathered
            .platform
            .hosts_in(&region.name)
            .map(|declared| host(gathered, leadership, declared, findings))
            .collect();
        regions.push(RegionStatus {
            name: region.name.to_string(),
            verdict: worst(hosts.iter().map(|host| host.verdict)),
            hosts,
        });
    }
    regions
}

/// How the host's member of etcd is, if it has one.
fn member(gathered: &Gathered<'_>, host: &Host, findings: &mut Findings) -> Verdict {
    let etcd = gathered.platform.coordination().etcd();
    if !etcd.is_some_and(|etcd| etcd.own_hosts().contains(&host.name)) {
        return Verdict::Healthy;
    }
    let found = gathered.instance(host.name.as_str(), MEMBER);
    let (phase, why) = match found {
        Some((member, _)) if member.phase == "ready" => return Verdict::Healthy,
        Some((member, _)) => (member.phase.clone(), member.why.clone()),
        None => (
            "not there".to_owned(),
            "its node has not started it yet".to_owned(),
        ),
    };
    let reason = HostReason::EtcdMember { phase, why };
    findings.note(&format!("host {}", host.name), Verdict::Degraded, reason)
}

fn host(
    gathered: &Gathered<'_>,
    leadership: &Leadership,
    declared: &Host,
    findings: &mut Findings,
) -> HostStatus {
    let name = declared.name.as_str();
    let subject = format!("host {name}");
    let address = declared.address(gathered.slot).to_string();
    let (facts, age_ms) = match gathered.node(name) {
        Known::Fresh { value, age_ms } => (value, age_ms),
        Known::Missing { problem, age_ms } => {
            let reason = HostReason::NodeSilent {
                problem: problem.clone(),
            };
            return HostStatus {
                name: name.to_owned(),
                verdict: findings.note(&subject, Verdict::Unknown, reason),
                address,
                role: None,
                node_pid: None,
                up_ms: None,
                age_ms,
                problem: Some(problem),
            };
        }
    };
    let (has, newest) = (facts.journal.generation, leadership.generation);
    let verdict = if has < newest {
        findings.note(
            &subject,
            Verdict::Degraded,
            HostReason::OldGeneration { has, newest },
        )
    } else {
        Verdict::Healthy
    };
    let troubles = facts.troubles.iter().map(|problem| {
        let problem = problem.clone();
        findings.note(&subject, Verdict::Degraded, HostReason::Trouble { problem })
    });
    let verdict = verdict.max(worst(troubles));
    let verdict = verdict.max(member(gathered, declared, findings));
    HostStatus {
        name: name.to_owned(),
        verdict,
        address,
        role: Some(facts.journal.role.clone()),
        node_pid: Some(facts.pid),
        up_ms: Some(gathered.now_wall_ms.saturating_sub(facts.started_wall_ms)),
        age_ms: Some(age_ms),
        problem: None,
    }
}
