//! Services and their instances.

use mainstay_model::Host;
use mainstay_model::service::Service;
use mainstay_record::process::{InstanceStatus, ProcessExit};
use mainstay_record::status::{InstanceView, ServiceReason, ServiceStatus, Verdict};

use crate::databases::{is_heard, open_primary};
use crate::findings::{Findings, worst};
use crate::gathered::Gathered;
use crate::leadership::count_beside;

const STANDING_BY: &str = "standing by";

pub(crate) fn services(gathered: &Gathered<'_>, findings: &mut Findings) -> Vec<ServiceStatus> {
    let services = gathered.platform.services().iter();
    services
        .map(|service| match service.follows() {
            Some(_) => following(gathered, service, findings),
            None => spread(gathered, service, findings),
        })
        .collect()
}

/// One instance beside each replica; the one beside the open primary is active.
fn following(gathered: &Gathered<'_>, service: &Service, findings: &mut Findings) -> ServiceStatus {
    let database = service
        .follows()
        .and_then(|name| gathered.platform.database(name.as_str()));
    let primary = database.and_then(|database| open_primary(gathered, database));
    let mut instances = Vec::new();
    for host in allowed(gathered, service) {
        let active = primary == Some(host.name.as_str());
        let duty = if active { Duty::Serve } else { Duty::StandBy };
        instances.push(view(gathered, service, host, duty, findings));
    }
    let ready = count_ready(&instances);
    let mut verdicts = Vec::new();
    match primary {
        Some(_) if ready > 0 => {}
        // Nobody can ask the instance, but gateways may have seen it answer.
        Some(primary) if gathered.is_silent(primary) => {
            verdicts.push(if is_seen_active(gathered, service) {
                Verdict::Degraded
            } else {
                Verdict::Unknown
            });
        }
        Some(primary) => {
            let primary = primary.to_owned();
            let reason = ServiceReason::NoActiveInstance { primary };
            verdicts.push(findings.note(&subject(service), Verdict::Broken, reason));
        }
        // The database's own finding says why.
        None => {
            let heard = database.is_some_and(|database| is_heard(gathered, database));
            verdicts.push(if heard {
                Verdict::Broken
            } else {
                Verdict::Unknown
            });
        }
    }
    verdicts.extend(
        instances
            .iter()
            .map(|instance| instance.verdict.min(Verdict::Degraded)),
    );
    ServiceStatus {
        name: service.name.to_string(),
        verdict: worst(verdicts),
        follows: service.follows().map(ToString::to_string),
        wanted: 1,
        ready,
        instances,
    }
}

/// Whether some gateway routes to an active instance just now.
fn is_seen_active(gathered: &Gathered<'_>, service: &Service) -> bool {
    gathered.gateway_processes().any(|status| {
        let mut cells = status.cells.iter();
        cells.any(|cell| service.name == *cell.service && cell.view == "active")
    })
}

/// So many ready instances anywhere; what stands where is the kernel's decision.
fn spread(gathered: &Gathered<'_>, service: &Service, findings: &mut Findings) -> ServiceStatus {
    let mut instances = Vec::new();
    for host in allowed(gathered, service) {
        if gathered
            .instance(host.name.as_str(), service.name.as_str())
            .is_some()
        {
            instances.push(view(gathered, service, host, Duty::Serve, findings));
        }
    }
    let ready = count_ready(&instances);
    let wanted = match count_beside(gathered, service.name.as_str()) {
        Some(count) => u32::from(count),
        None => u32::try_from(service.replicas()).unwrap_or(u32::MAX),
    };
    let mut verdicts: Vec<Verdict> = Vec::new();
    if ready < wanted {
        let silent = allowed(gathered, service).any(|host| gathered.is_silent(host.name.as_str()));
        let severity = match (ready, silent) {
            (0, false) => Verdict::Broken,
            (0, true) => Verdict::Unknown,
            _ => Verdict::Degraded,
        };
        let reason = ServiceReason::TooFewInstances { ready, wanted };
        verdicts.push(findings.note(&subject(service), severity, reason));
    }
    verdicts.extend(
        instances
            .iter()
            .map(|instance| instance.verdict.min(Verdict::Degraded)),
    );
    ServiceStatus {
        name: service.name.to_string(),
        verdict: worst(verdicts),
        follows: None,
        wanted,
        ready,
        instances,
    }
}

fn subject(service: &Service) -> String {
    format!("service {}", service.name)
}

fn allowed<'a>(gathered: &'a Gathered<'_>, service: &'a Service) -> impl Iterator<Item = &'a Host> {
    let hosts = service.allowed_hosts().iter();
    hosts.filter_map(|name| gathered.platform.host(name.as_str()))
}

fn count_ready(instances: &[InstanceView]) -> u32 {
    let ready = instances
        .iter()
        .filter(|instance| instance.state == "ready");
    u32::try_from(ready.count()).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It should take requests.
    Serve,
    /// It should run, and refuse.
    StandBy,
}

fn view(
    gathered: &Gathered<'_>,
    service: &Service,
    host: &Host,
    duty: Duty,
    findings: &mut Findings,
) -> InstanceView {
    let subject = format!("{} on {}", subject(service), host.name);
    let found = gathered.instance(host.name.as_str(), service.name.as_str());
    let Some((instance, age_ms)) = found else {
        // Of a silent host the host's own finding says enough.
        let (verdict, why) = if gathered.is_silent(host.name.as_str()) {
            (Verdict::Unknown, "its node does not answer")
        } else {
            let reason = ServiceReason::InstanceMissing;
            (
                findings.note(&subject, Verdict::Degraded, reason),
                "its node knows no such process",
            )
        };
        return InstanceView {
            host: host.name.to_string(),
            region: host.region.to_string(),
            verdict,
            state: "unknown".to_owned(),
            restarts: 0,
            since_ms: None,
            why: why.to_owned(),
            log: None,
            age_ms: None,
        };
    };
    let standing_by = duty == Duty::StandBy && instance.phase == "unready";
    let trouble = if standing_by { None } else { trouble(instance) };
    let verdict = match trouble {
        Some((severity, reason)) => findings.note(&subject, severity, reason),
        None => Verdict::Healthy,
    };
    InstanceView {
        host: host.name.to_string(),
        region: host.region.to_string(),
        verdict,
        state: if standing_by {
            STANDING_BY.to_owned()
        } else {
            instance.phase.replace('_', " ")
        },
        restarts: instance.restarts,
        since_ms: Some(gathered.now_wall_ms.saturating_sub(instance.since_wall_ms)),
        why: if standing_by {
            "the primary is elsewhere".to_owned()
        } else {
            why(instance)
        },
        log: Some(instance.log.display().to_string()),
        age_ms: Some(age_ms),
    }
}

/// Why it is in its phase, and how it ended last if that matters.
fn why(instance: &InstanceStatus) -> String {
    let why = &instance.why;
    match (instance.phase.as_str(), &instance.last_exit) {
        ("ready", _) | (_, None) => why.clone(),
        (_, Some(ProcessExit::Code(code))) => format!("{why}; it last ended with code {code}"),
        (_, Some(ProcessExit::Signal(signal))) => {
            format!("{why}; it was last ended by signal {signal}")
        }
        (_, Some(ProcessExit::Failed(problem))) => format!("{why}; {problem}"),
    }
}

/// Phases as nodes name them.
pub(crate) fn trouble(instance: &InstanceStatus) -> Option<(Verdict, ServiceReason)> {
    let (phase, why) = (instance.phase.clone(), why(instance));
    match instance.phase.as_str() {
        "ready" => None,
        "crash_loop" => {
            let restarts = instance.restarts;
            Some((Verdict::Broken, ServiceReason::CrashLoop { restarts, why }))
        }
        "starting" | "launching" | "unready" | "draining" => {
            Some((Verdict::Degraded, ServiceReason::InstanceUnready { why }))
        }
        _ => Some((Verdict::Broken, ServiceReason::InstanceDown { phase, why })),
    }
}
