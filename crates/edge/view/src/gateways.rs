//! Gateways: whether each process serves, and what it sees of cells and services.

use mainstay_model::Host;
use mainstay_model::gateway::Gateway;
use mainstay_record::gateway::{GatewayCellStatus, GatewayStatus};
use mainstay_record::status::{GatewayProcess, GatewayReason, GatewayView, Verdict};

use crate::findings::{Findings, worst};
use crate::gathered::{Gathered, Known};
use crate::services::trouble;

pub(crate) fn gateways(gathered: &Gathered<'_>, findings: &mut Findings) -> Vec<GatewayView> {
    let mut views = Vec::new();
    for gateway in gathered.platform.gateways() {
        let hosts = gateway.hosts.iter();
        let hosts = hosts.filter_map(|name| gathered.platform.host(name.as_str()));
        let processes: Vec<GatewayProcess> = hosts
            .map(|host| process(gathered, gateway, host, findings))
            .collect();
        let all_lost = processes
            .iter()
            .all(|process| process.verdict >= Verdict::Unknown);
        let verdict = worst(processes.iter().map(|process| process.verdict));
        views.push(GatewayView {
            name: gateway.name.to_string(),
            // Clients have another region to go to, as long as one process serves.
            verdict: if all_lost {
                verdict
            } else {
                verdict.min(Verdict::Degraded)
            },
            processes,
        });
    }
    views
}

fn process(
    gathered: &Gathered<'_>,
    gateway: &Gateway,
    host: &Host,
    findings: &mut Findings,
) -> GatewayProcess {
    let (here, name) = (host.name.as_str(), gateway.name.as_str());
    let subject = format!("gateway {name} on {here}");
    let instance = gathered.instance(here, &format!("gateway-{name}"));
    let mut view = GatewayProcess {
        host: here.to_owned(),
        region: host.region.to_string(),
        verdict: Verdict::Healthy,
        state: "unknown".to_owned(),
        listeners: listeners(gathered, gateway, host),
        generation: None,
        connections: None,
        requests: None,
        held: None,
        restarts: instance.map_or(0, |(instance, _)| instance.restarts),
        cells: Vec::new(),
        age_ms: None,
    };
    match gathered.gateway(here, name) {
        Known::Fresh { value, age_ms } => {
            view.age_ms = Some(age_ms);
            serving(&mut view, value, &subject, findings);
        }
        Known::Missing { problem, age_ms } => {
            view.age_ms = age_ms;
            let down = instance.and_then(|(instance, _)| trouble(instance));
            view.verdict = match down {
                // Of a silent host the host's own finding says enough.
                None if gathered.is_silent(here) => Verdict::Unknown,
                None => {
                    let reason = GatewayReason::Silent { problem };
                    findings.note(&subject, Verdict::Unknown, reason)
                }
                Some((severity, reason)) => findings.note(&subject, severity, reason),
            };
            view.state = match instance {
                Some((instance, _)) => instance.phase.replace('_', " "),
                None => "unknown".to_owned(),
            };
        }
    }
    view
}

fn listeners(gathered: &Gathered<'_>, gateway: &Gateway, host: &Host) -> Vec<String> {
    let address = host.address(gathered.slot);
    let http = gateway
        .http
        .iter()
        .map(|listener| (&listener.name, listener.port));
    let tcp = gateway
        .tcp
        .iter()
        .map(|listener| (&listener.name, listener.port));
    let both = http.chain(tcp);
    both.map(|(name, port)| format!("{name} {address}:{port}"))
        .collect()
}

fn serving(
    view: &mut GatewayProcess,
    status: &GatewayStatus,
    subject: &str,
    findings: &mut Findings,
) {
    view.state = "serving".to_owned();
    view.generation = Some(status.generation);
    view.connections = Some(status.connections);
    view.requests = Some(status.requests);
    view.held = Some(status.cells.iter().map(|cell| cell.held).sum());
    let mut note = |severity, reason: GatewayReason| {
        view.verdict = view.verdict.max(findings.note(subject, severity, reason));
    };
    if status.stopping {
        view.state = "stopping".to_owned();
        note(Verdict::Degraded, GatewayReason::Stopping);
    }
    if let Some(error) = status.snapshot_error.clone() {
        note(Verdict::Degraded, GatewayReason::RefusesSnapshot { error });
    }
    for cell in &status.cells {
        view.cells.push(cell_text(cell));
        if cell.view != "active" {
            let severity = if cell.view == "switching" {
                Verdict::Degraded
            } else {
                Verdict::Broken
            };
            let reason = GatewayReason::CellNotServed {
                cell: cell.database.clone(),
                view: cell.view.clone(),
                why: cell.reason.clone(),
                held: cell.held,
            };
            note(severity, reason);
        }
    }
    let in_cells = |service: &str| status.cells.iter().any(|cell| cell.service == service);
    for service in &status.services {
        let seen = service.instances.iter().any(|instance| instance.ready);
        if !seen && !in_cells(&service.service) {
            let service = service.service.clone();
            note(Verdict::Degraded, GatewayReason::ServiceUnseen { service });
        }
    }
}

fn cell_text(cell: &GatewayCellStatus) -> String {
    match (&cell.instance, cell.view.as_str()) {
        (Some(instance), "active") => format!("{} → {instance}, term {}", cell.database, cell.term),
        _ => format!("{} {}", cell.database, cell.view),
    }
}
