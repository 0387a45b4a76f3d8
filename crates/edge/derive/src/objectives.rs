//! From objectives to rules: ordinary ones, which anybody can read, check and test.
//!
//! For each objective two series are recorded every half minute: how many events came and how many of them were bad, in
//! a second. All windows are sums over these, so that a window of three days costs no more than its samples, and they
//! are kept as long as the longest period wants. Both begin with the first good event: what asks a platform that is
//! still being started finds nobody, and says nothing of how well anybody is served. From them follow the share of bad
//! events in each window, what is left of the budget, and alerts in four tiers, as in the workbook of Google's site
//! reliability engineers:
//!
//! | burns          | over | and still over | at a rate of | says     |
//! |----------------|------|----------------|--------------|----------|
//! | 2 % of 30 days | 1 h  | 5 min          | 14.4         | `page`   |
//! | 5 %            | 6 h  | 30 min         | 6            | `page`   |
//! | 10 %           | 1 d  | 2 h            | 3            | `ticket` |
//! | 10 %           | 3 d  | 6 h            | 1            | `ticket` |
//!
//! For another period the rates follow from the shares. A slower tier is silent while a faster one fires, and all of them
//! while fewer events come than the floor says.

use std::fmt::Write;

use mainstay_model::watch::{Events, Objective, Watch};

/// What the recorded series of objectives begin with: the watch keeps them longer.
pub const OBJECTIVE_PREFIX: &str = "slo:";
/// Raised by every tier of every objective; the label `slo` says which.
pub const BURN_ALERT: &str = "ErrorBudgetBurn";

const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

struct Tier {
    long: &'static str,
    short: &'static str,
    long_hours: f64,
    /// Of the budget, in the long window.
    share: f64,
    severity: &'static str,
    hold: &'static str,
}

const TIERS: [Tier; 4] = [
    Tier {
        long: "1h",
        short: "5m",
        long_hours: 1.0,
        share: 0.02,
        severity: "page",
        hold: "1m",
    },
    Tier {
        long: "6h",
        short: "30m",
        long_hours: 6.0,
        share: 0.05,
        severity: "page",
        hold: "5m",
    },
    Tier {
        long: "1d",
        short: "2h",
        long_hours: 24.0,
        share: 0.10,
        severity: "ticket",
        hold: "15m",
    },
    Tier {
        long: "3d",
        short: "6h",
        long_hours: 72.0,
        share: 0.10,
        severity: "ticket",
        hold: "30m",
    },
];

/// The rule file of all objectives; nothing where there is none.
pub fn objective_rules(watch: &Watch) -> Option<String> {
    if watch.objectives.is_empty() {
        return None;
    }
    let mut text = String::from(
        "# Made from the objectives of the platform file; `mainstay slo --rules` prints it. Changes here are lost.\ngroups:\n",
    );
    for objective in &watch.objectives {
        group(&mut text, watch, objective);
    }
    Some(text)
}

/// Writing into a string does not fail.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {
        let _ = writeln!($text, $($argument)*);
    };
}

fn group(text: &mut String, watch: &Watch, objective: &Objective) {
    let name = objective.name.as_str();
    line!(text, "  - name: slo-{name}");
    line!(text, "    interval: 30s");
    line!(text, "    rules:");
    let period = format!("{}s", objective.period.as_secs());
    rates_since_begun(text, name, &period, &rates(objective, watch));
    for window in WINDOWS {
        record(
            text,
            name,
            &format!("slo:errors:ratio{window}"),
            &ratio(name, window),
        );
    }
    let budget = objective.target.budget_text();
    let left = format!("1 - {} / {budget}", ratio(name, &period));
    record(text, name, "slo:budget:left", &left);
    record(text, name, "slo:budget", &format!("vector({budget})"));
    for (place, tier) in TIERS.iter().enumerate() {
        alert(text, objective, tier, &TIERS[..place]);
    }
    let series =
        WINDOWS.map(|window| format!("absent(slo:errors:ratio{window}{{slo=\"{name}\"}})"));
    line!(text, "      - alert: ErrorBudgetUnknown");
    line!(text, "        expr: >-");
    line!(
        text,
        "          absent(slo:total:rate{{slo=\"{name}\"}}) or {}",
        series.join(" or ")
    );
    line!(text, "        for: 5m");
    line!(text, "        labels: {{severity: ticket, slo: {name}}}");
    line!(text, "        annotations:");
    line!(
        text,
        "          summary: 'nothing is measured that {name} could be judged by'"
    );
    line!(text, "          runbook_url: docs/slo.md");
}

fn record(text: &mut String, name: &str, series: &str, expression: &str) {
    line!(text, "      - record: {series}");
    line!(text, "        expr: >-");
    line!(text, "          {expression}");
    line!(text, "        labels: {{slo: {name}}}");
}

/// Good events were seen somewhere in the period, or nothing is counted. What was bad before the first of them is still
/// in sight of a rate for as long as its window: until then nothing is bad.
fn rates_since_begun(text: &mut String, name: &str, period: &str, rates: &Rates) {
    let Rates { bad, total, window } = rates;
    let good = format!("max_over_time(slo:good:rate{{slo=\"{name}\"}}[{period}]");
    let has_begun = format!("on () ({good}) > 0)");
    let began_before = format!("on () ({good} offset {window}) > 0)");
    let none = format!("0 * slo:total:rate{{slo=\"{name}\"}}");
    record(
        text,
        name,
        "slo:good:rate",
        &format!("({total}) - ({bad}) or ({total}) unless on () ({bad})"),
    );
    record(
        text,
        name,
        "slo:total:rate",
        &format!("({total}) and {has_begun}"),
    );
    record(
        text,
        name,
        "slo:bad:rate",
        &format!("({bad}) and {began_before} or on () ({none} unless {began_before})"),
    );
}

/// Of the sums over the window: of events, not of shares.
fn ratio(name: &str, window: &str) -> String {
    let sum = |series: &str| format!("sum_over_time({series}{{slo=\"{name}\"}}[{window}])");
    format!("{} / {}", sum("slo:bad:rate"), sum("slo:total:rate"))
}

/// Bad and all events in a second, over a window that has at least four answers of a target in it.
struct Rates {
    bad: String,
    total: String,
    window: String,
}

fn rates(objective: &Objective, watch: &Watch) -> Rates {
    let window = format!(
        "{}s",
        (watch.interval.as_secs_f64().ceil() as u64 * 4).max(60)
    );
    let selector = |gateway: &str, route: &Option<String>, more: &str| {
        let route = route.as_ref().map_or_else(String::new, |route| {
            // The gateway calls a route by its listener and its path.
            format!(",route=~{:?}", format!("[^/]*{}", quoted(route)))
        });
        format!("{{job=\"gateway\",instance=~\".+/{gateway}\"{route}{more}}}[{window}]")
    };
    let (bad, total) = match &objective.events {
        Events::Answered { gateway, route } => {
            let of = |more: &str| {
                let selector = selector(gateway.as_str(), route, more);
                format!("sum(rate(mainstay_gateway_requests_total{selector}))")
            };
            (of(",class=\"5xx\""), of(""))
        }
        Events::Fast {
            gateway,
            route,
            within,
        } => {
            let of = |series: &str, more: &str| {
                let selector = selector(gateway.as_str(), route, more);
                format!("sum(rate(mainstay_gateway_request_duration_seconds_{series}{selector}))")
            };
            let bound = format!(",le=\"{}\"", within.as_secs_f64());
            let total = of("count", "");
            // Counted apart, a good one can be seen before the count of all.
            let bad = format!("clamp_min({total} - {}, 0)", of("bucket", &bound));
            (bad, total)
        }
        Events::Expressions { bad, total } => {
            let fill = |text: &str| text.replace("$window", &window).replace('\n', " ");
            (fill(bad), fill(total))
        }
    };
    Rates { bad, total, window }
}

/// A path as a part of a regular expression.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for letter in text.chars() {
        if !letter.is_ascii_alphanumeric() && !matches!(letter, '/' | '-' | '_') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}

fn alert(text: &mut String, objective: &Objective, tier: &Tier, faster: &[Tier]) {
    let name = objective.name.as_str();
    let period_hours = objective.period.as_secs_f64() / 3_600.0;
    let rate = (tier.share * period_hours / tier.long_hours * 1_000.0).round() / 1_000.0;
    let budget = objective.target.budget_text();
    let burns =
        |window: &str| format!("slo:errors:ratio{window}{{slo=\"{name}\"}} > {rate} * {budget}");
    let floor = objective.floor_millihertz as f64 / 1_000.0;
    line!(text, "      - alert: {BURN_ALERT}");
    line!(text, "        expr: >-");
    line!(
        text,
        "          {} and {}",
        burns(tier.long),
        burns(tier.short)
    );
    line!(
        text,
        "          and avg_over_time(slo:total:rate{{slo=\"{name}\"}}[{}]) > {floor}",
        tier.long
    );
    for other in faster {
        line!(
            text,
            "          unless on (slo) ALERTS{{alertname=\"{BURN_ALERT}\",slo=\"{name}\",window=\"{}\",alertstate=\"firing\"}}",
            other.long
        );
    }
    line!(text, "        for: {}", tier.hold);
    line!(
        text,
        "        labels: {{severity: {}, slo: {name}, window: {}}}",
        tier.severity,
        tier.long
    );
    line!(text, "        annotations:");
    line!(
        text,
        "          summary: '{name} burns its budget: {{{{ $value | humanizePercentage }}}} of its events were bad over {}, and its target is {}'",
        tier.long,
        objective.target
    );
    line!(text, "          runbook_url: docs/slo.md");
}
