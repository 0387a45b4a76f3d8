//! The status as text.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use mainstay_record::node::{BesideFacts, ShiftFact, UpgradeFacts};
use mainstay_record::status::{
    BudgetView, DatabaseStatus, GatewayView, RegionStatus, ServiceStatus, Status, Verdict,
    WatchView,
};

use crate::reason::{size, span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// For files and pipes.
    Plain,
    /// For terminals.
    Colour,
}

/// Everything worth seeing of a status, ending with why it is not healthy and what to do.
pub fn render(status: &Status, palette: Palette) -> String {
    let mut text = String::new();
    heading(&mut text, status);
    section(&mut text, "REGIONS", region_table(&status.regions));
    if !status.databases.is_empty() {
        section(&mut text, "DATABASES", database_table(&status.databases));
    }
    if status
        .databases
        .iter()
        .any(|database| database.archive.is_some())
    {
        archives(&mut text, status);
    }
    if !status.services.is_empty() {
        section(&mut text, "SERVICES", service_table(&status.services));
    }
    if !status.gateways.is_empty() {
        section(&mut text, "GATEWAYS", gateway_table(&status.gateways));
    }
    if !status.watches.is_empty() {
        section(&mut text, "WATCHES", watch_table(&status.watches));
    }
    if !status.budgets.is_empty() {
        section(&mut text, "BUDGETS", budget_table(&status.budgets));
    }
    if !status.alerts.is_empty() {
        section(&mut text, "ALERTS", alert_table(status));
    }
    if !status.incidents.is_empty() {
        section(&mut text, "INCIDENTS", incident_table(status));
    }
    if !status.faults.is_empty() {
        section(&mut text, "FAULTS IN FORCE", fault_table(status));
    }
    findings(&mut text, status);
    // Before there are colours: what others wrote must not steer a terminal.
    let text = harmless(&text);
    match palette {
        Palette::Plain => text,
        Palette::Colour => coloured(&text),
    }
}

/// Signs that steer a terminal, or turn the direction of text around, replaced.
pub fn harmless(text: &str) -> String {
    let letter = |letter: char| match letter {
        '\n' | '\t' => letter,
        letter if letter.is_control() => '\u{fffd}',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(letter).collect()
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {
        let _ = writeln!($text, $($argument)*);
    };
}

const fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "●",
        Verdict::Degraded => "▲",
        Verdict::Unknown => "?",
        Verdict::Broken => "✖",
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Degraded => "degraded",
        Verdict::Unknown => "unknown",
        Verdict::Broken => "broken",
    }
}

/// Marks are one column wide in every table, so that colouring them afterwards moves nothing.
fn coloured(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.lines() {
        let verdict = [
            Verdict::Healthy,
            Verdict::Degraded,
            Verdict::Unknown,
            Verdict::Broken,
        ]
        .into_iter()
        .find(|verdict| {
            line.trim_start()
                .starts_with(&format!("{} ", mark(*verdict)))
        });
        let title = !line.is_empty() && line.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
        match verdict {
            Some(verdict) => {
                let style = style(verdict);
                let painted = format!("{style}{}{style:#}", mark(verdict));
                line!(out, "{}", line.replacen(mark(verdict), &painted, 1));
            }
            None if title => {
                let bold = Style::new().bold();
                line!(out, "{bold}{line}{bold:#}");
            }
            None => {
                line!(out, "{line}");
            }
        }
    }
    out
}

const fn style(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Healthy => AnsiColor::Green,
        Verdict::Degraded => AnsiColor::Yellow,
        Verdict::Unknown => AnsiColor::Magenta,
        Verdict::Broken => AnsiColor::Red,
    };
    Style::new()
        .fg_color(Some(anstyle::Color::Ansi(colour)))
        .bold()
}

fn heading(text: &mut String, status: &Status) {
    let seconds = status.at_wall_ms / 1_000 % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let verdict = status.verdict;
    line!(
        text,
        "{} {} ({}) is {} at {hours:02}:{minutes:02}:{:02} UTC",
        mark(verdict),
        status.platform,
        status.environment,
        word(verdict),
        seconds % 60
    );
    let leadership = &status.leadership;
    let paused = if leadership.paused { ", PAUSED" } else { "" };
    match (&leadership.leader, leadership.age_ms) {
        (Some(leader), Some(age_ms)) => {
            line!(
                text,
                "  {leader} leads (epoch {}, journal entry {}, file version {}; seen {} ago){paused}",
                leadership.epoch,
                leadership.entries,
                leadership.generation,
                span(age_ms)
            );
        }
        _ => {
            line!(text, "  nobody is known to lead{paused}");
        }
    }
    for set in beside_lines(&leadership.beside) {
        line!(text, "  {set}");
    }
    if let Some(upgrade) = &leadership.upgrade {
        line!(text, "  {}", upgrade_line(upgrade));
    }
}

/// What playbooks have set beside the file, a line each.
pub fn beside_lines(beside: &BesideFacts) -> Vec<String> {
    let mut lines = Vec::new();
    if !beside.drained.is_empty() {
        lines.push(format!("out of routing: {}", beside.drained.join(", ")));
    }
    for ShiftFact {
        service,
        from,
        share,
    } in &beside.shifts
    {
        lines.push(format!(
            "shifted: {share} % of new requests of {service} go as always, the rest not to {from}"
        ));
    }
    for (service, count) in &beside.counts {
        lines.push(format!(
            "beside the file: {count} instances of {service} are wanted, until the file changes"
        ));
    }
    lines
}

fn upgrade_line(upgrade: &UpgradeFacts) -> String {
    let program = &upgrade.program;
    match (&upgrade.stopped, &upgrade.under_way) {
        (Some((host, why)), _) => {
            format!("the upgrade to {program} was stopped on {host}, which went back: {why}")
        }
        (None, Some(host)) => format!(
            "upgrade to {program}: {host} takes it, {} have it, {} to come",
            upgrade.done.len(),
            upgrade.left.len()
        ),
        (None, None) => format!(
            "upgrade to {program}: {} hosts have it, {} to come",
            upgrade.done.len(),
            upgrade.left.len()
        ),
    }
}

fn section(text: &mut String, title: &str, table: Table) {
    line!(text, "\n{title}");
    for row in table.to_string().lines() {
        line!(text, "{}", row.trim_end());
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    table
}

fn age(age_ms: Option<u64>) -> String {
    age_ms.map_or_else(|| "never".to_owned(), span)
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn row(verdict: Verdict, cells: &[String]) -> Vec<String> {
    let mut row = vec![mark(verdict).to_owned()];
    row.extend_from_slice(cells);
    row
}

fn region_table(regions: &[RegionStatus]) -> Table {
    let mut table = table(&["", "REGION", "HOST", "ADDRESS", "NODE", "UP", "SEEN"]);
    for region in regions {
        for host in &region.hosts {
            let node = match (&host.role, host.node_pid, &host.problem) {
                (Some(role), Some(pid), _) => format!("{role}, pid {pid}"),
                (_, _, Some(problem)) => problem.clone(),
                _ => "-".to_owned(),
            };
            table.add_row(row(
                host.verdict,
                &[
                    region.name.clone(),
                    host.name.clone(),
                    host.address.clone(),
                    node,
                    or_dash(host.up_ms.map(span)),
                    age(host.age_ms),
                ],
            ));
        }
    }
    table
}

fn database_table(databases: &[DatabaseStatus]) -> Table {
    let mut table = table(&[
        "", "DATABASE", "HOST", "ROLE", "TERM", "LSN", "LAG", "COUNTS", "SEEN", "WHY",
    ]);
    for database in databases {
        let primary = match (&database.primary, database.open) {
            (Some(host), true) => format!("primary {host}, open"),
            (Some(host), false) => format!("primary {host}, CLOSED"),
            (None, _) => "NO PRIMARY".to_owned(),
        };
        let asked = database
            .replicas
            .iter()
            .any(|r| r.role.as_deref() == Some("primary"));
        let copies = if asked || database.primary.is_none() {
            database.copies.to_string()
        } else {
            "an unknown number of".to_owned()
        };
        let why = format!(
            "{primary}; {copies} copies count, a commit needs {}; home {}, survives: {}",
            database.copies_needed, database.home, database.survive
        );
        let mut cells = vec![database.name.clone()];
        cells.extend(["", "", &database.term.to_string(), "", "", "", ""].map(str::to_owned));
        cells.push(why);
        table.add_row(row(database.verdict, &cells));
        for replica in &database.replicas {
            table.add_row(row(
                replica.verdict,
                &[
                    String::new(),
                    replica.host.clone(),
                    or_dash(replica.role.clone()),
                    replica.term.to_string(),
                    or_dash(replica.lsn.clone()),
                    or_dash(replica.lag_bytes.map(size)),
                    if replica.acknowledges { "yes" } else { "no" }.to_owned(),
                    age(replica.age_ms),
                    replica.why.clone(),
                ],
            ));
        }
    }
    table
}

/// A line for each database that is put away.
fn archives(text: &mut String, status: &Status) {
    line!(text, "\nARCHIVES");
    for database in &status.databases {
        let Some(archive) = &database.archive else {
            continue;
        };
        let state = &archive.state;
        let proof = state
            .proof
            .as_ref()
            .map_or("nothing is proven yet".to_owned(), |proof| {
                let ago = |ms: u64| span(status.at_wall_ms.saturating_sub(ms));
                format!(
                    "newest proven restore point {} old (proven {} ago, RTO {}, RPO {})",
                    ago(proof.restored_ms),
                    ago(proof.at_ms),
                    span(proof.rto_ms),
                    proof.rpo_ms.map_or("unknown".to_owned(), span)
                )
            });
        let shipped = state.shipped_lsn.as_ref();
        let shipped = shipped.map_or("no log is put away yet".to_owned(), |lsn| {
            format!("put away up to {lsn}")
        });
        line!(
            text,
            "    {} by {}: {shipped}, {} wait for {}; {proof}",
            database.name,
            archive.host,
            size(state.waiting_bytes),
            span(archive.waiting_ms)
        );
    }
}

fn service_table(services: &[ServiceStatus]) -> Table {
    let mut table = table(&[
        "", "SERVICE", "HOST", "STATE", "FOR", "RESTARTS", "SEEN", "WHY",
    ]);
    for service in services {
        let summary = match &service.follows {
            Some(database) => format!(
                "{} active; follows the primary of {database}",
                service.ready
            ),
            None => format!("{} of {} ready", service.ready, service.wanted),
        };
        let mut cells = vec![service.name.clone()];
        cells.extend([""; 5].map(str::to_owned));
        cells.push(summary);
        table.add_row(row(service.verdict, &cells));
        for instance in &service.instances {
            table.add_row(row(
                instance.verdict,
                &[
                    String::new(),
                    instance.host.clone(),
                    instance.state.clone(),
                    or_dash(instance.since_ms.map(span)),
                    instance.restarts.to_string(),
                    age(instance.age_ms),
                    instance.why.clone(),
                ],
            ));
        }
    }
    table
}

fn gateway_table(gateways: &[GatewayView]) -> Table {
    let mut table = table(&[
        "", "GATEWAY", "HOST", "STATE", "ROUTES", "CLIENTS", "HELD", "RESTARTS", "SEEN", "CELLS",
    ]);
    for gateway in gateways {
        for process in &gateway.processes {
            table.add_row(row(
                process.verdict,
                &[
                    gateway.name.clone(),
                    process.host.clone(),
                    process.state.clone(),
                    or_dash(process.generation),
                    or_dash(process.connections),
                    or_dash(process.held),
                    process.restarts.to_string(),
                    age(process.age_ms),
                    process.cells.join(", "),
                ],
            ));
        }
    }
    table
}

fn watch_table(watches: &[WatchView]) -> Table {
    let mut table = table(&["", "WATCH", "STATE", "TARGETS", "SILENT", "PENDING", "SEEN"]);
    for watch in watches {
        let silent = match watch.silent.as_slice() {
            [] => "-".to_owned(),
            silent => silent.join(", "),
        };
        table.add_row(row(
            watch.verdict,
            &[
                watch.host.clone(),
                watch.state.clone(),
                or_dash(watch.targets),
                silent,
                or_dash(watch.pending),
                age(watch.age_ms),
            ],
        ));
    }
    table
}

fn budget_table(budgets: &[BudgetView]) -> Table {
    let mut table = table(&["", "OBJECTIVE", "LEFT", "BURNS (1H)", "MEANS"]);
    for budget in budgets {
        let left = budget.left_millionths;
        // Spent is spent, whatever fires: a mark that asks to be read.
        let verdict = match left {
            None => Verdict::Unknown,
            Some(left) if left <= 0 => Verdict::Degraded,
            Some(_) => Verdict::Healthy,
        };
        let left = left.map(|left| format!("{:.1} %", left as f64 / 10_000.0));
        let burn = budget.burn_1h_thousandths;
        let burn = burn.map(|burn| format!("{:.2} x", burn as f64 / 1_000.0));
        table.add_row(row(
            verdict,
            &[
                budget.objective.clone(),
                or_dash(left),
                or_dash(burn),
                budget.allows.clone(),
            ],
        ));
    }
    table
}

fn alert_table(status: &Status) -> Table {
    let mut table = table(&["", "ALERT", "SEVERITY", "STATE", "FOR", "SEEN BY", "ABOUT"]);
    for alert in &status.alerts {
        let name = alert.alert.split('{').next().unwrap_or_default();
        let about = match alert.summary.as_str() {
            "" => &alert.subject,
            summary => summary,
        };
        table.add_row(row(
            alert.verdict,
            &[
                name.to_owned(),
                or_dash(alert.severity.clone()),
                alert.state.clone(),
                span(status.at_wall_ms.saturating_sub(alert.since_wall_ms)),
                alert.watches.join(", "),
                about.to_owned(),
            ],
        ));
    }
    table
}

fn incident_table(status: &Status) -> Table {
    let mut table = table(&[
        "", "ID", "SEVERITY", "STATE", "FOR", "OWNER", "STANDS", "ABOUT",
    ]);
    for incident in &status.incidents {
        let verdict = match incident.state.as_str() {
            "mitigated" => Verdict::Healthy,
            _ => Verdict::Degraded,
        };
        table.add_row(row(
            verdict,
            &[
                incident.incident.clone(),
                incident.severity.clone(),
                match incident.unreached {
                    true => format!("{}, NOBODY WAS REACHED", incident.state),
                    false => incident.state.clone(),
                },
                span(status.at_wall_ms.saturating_sub(incident.opened_ms)),
                or_dash(incident.owner.clone()),
                incident.standing.to_string(),
                incident.title.clone(),
            ],
        ));
    }
    table
}

fn fault_table(status: &Status) -> Table {
    let mut table = table(&["", "ID", "KIND", "TARGET", "ENDS IN", "GUARDED"]);
    for fault in &status.faults {
        let target = match &fault.parameters.to {
            Some(to) if fault.parameters.one_way => format!("{} → {to}", fault.target),
            Some(to) => format!("{} ↔ {to}", fault.target),
            None => fault.target.clone(),
        };
        table.add_row(row(
            Verdict::Degraded,
            &[
                fault.id.clone(),
                fault.kind.name().to_owned(),
                target,
                span(fault.remaining_ms),
                if fault.guardian_alive { "yes" } else { "NO" }.to_owned(),
            ],
        ));
    }
    table
}

fn findings(text: &mut String, status: &Status) {
    if status.findings.is_empty() {
        return;
    }
    line!(text, "\nWHY IT IS NOT HEALTHY");
    for finding in &status.findings {
        line!(
            text,
            "{} {}: {}",
            mark(finding.severity),
            finding.subject,
            finding.text
        );
        if let Some(next) = &finding.next {
            line!(text, "    next: {next}");
        }
    }
}
