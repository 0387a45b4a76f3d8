//! Measuring what a playbook wants to see.
//!
//! What is not measured does not hold: a silent node, a watch without an answer, a question without a series are
//! told as what they are, never as good news. Nodes are asked anew for each look, since what was learned before a
//! step says nothing of what came after.

use std::time::Duration;

use http::Method;
use mainstay_kernel::Outcome;
use mainstay_playbook::{Condition, Look};
use mainstay_record::gateway::GatewayStatus;
use mainstay_record::keeper::{KeeperStatus, SightRole};
use mainstay_record::node::NodeFacts;
use mainstay_record::process::InstanceStatus;
use mainstay_rt::clock;
use mainstay_rt::http::request_unix;
use serde_json::Value;

use crate::context::Context;
use crate::control::Desk;
use crate::deeds::modes;
use crate::effects::chain;

/// Between two looks.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
const QUERY_LIMIT: Duration = Duration::from_secs(5);
/// What a keeper or a watch said longer ago says nothing of now.
const FRESH_MS: u64 = 2_000;

/// A condition at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Holds(String),
    Not(String),
    /// Nobody can say.
    Missing(String),
}

/// Looks until it holds for as long as it must, or the time is over.
pub async fn look(desk: &Desk, context: &Context, look: &Look) -> Outcome {
    let begun = clock::now();
    let deadline = begun + Duration::from_millis(look.within_ms);
    let hold = Duration::from_millis(look.hold_ms);
    let mut since = None;
    loop {
        let reading = read(desk, context, &look.condition).await;
        let now = clock::now();
        match &reading {
            Reading::Holds(text) => {
                let first = *since.get_or_insert(now);
                if now.since(first) >= hold {
                    let ms = now.since(begun).as_millis();
                    return Outcome::Done {
                        detail: format!("{text} (after {ms} ms)"),
                    };
                }
            }
            Reading::Not(_) | Reading::Missing(_) => since = None,
        }
        // What holds may go on to do so for as long as it must.
        if since.is_none() && now >= deadline {
            return match reading {
                Reading::Holds(why) | Reading::Not(why) => Outcome::Failed { why },
                Reading::Missing(why) => Outcome::Unknown { why },
            };
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// The condition now.
pub async fn read(desk: &Desk, context: &Context, condition: &Condition) -> Reading {
    match condition {
        Condition::Query(query) => ask(context, query).await,
        Condition::Ready { host, instance } => {
            process(desk, context, host, instance, |status| status.ready).await
        }
        Condition::Alive { host, instance } => {
            let is_alive = |status: &InstanceStatus| {
                matches!(status.phase.as_str(), "ready" | "unready") && status.process.is_some()
            };
            process(desk, context, host, instance, is_alive).await
        }
        Condition::Primary { database, region } => primary(desk, context, database, region).await,
        Condition::Replica { database, host } => replica(desk, context, database, host).await,
        Condition::NoFaults => no_faults(desk),
        Condition::Quiet { alert } => quiet(desk, alert),
        Condition::Instances { service, ready } => instances(desk, context, service, ready).await,
        Condition::Shifted {
            service,
            from,
            share,
        } => shifted(desk, context, (service, from), share).await,
        Condition::Mode { service, mode } => modes::measure(desk, context, service, mode).await,
    }
}

/// A node as it says now.
async fn node(desk: &Desk, context: &Context, host: &str) -> Result<NodeFacts, String> {
    if host == context.name() {
        return Ok(desk.facts());
    }
    desk.sight.ask_node(context, host).await
}

async fn process(
    desk: &Desk,
    context: &Context,
    host: &str,
    instance: &str,
    holds: impl Fn(&InstanceStatus) -> bool,
) -> Reading {
    let name = format!("{host}/{instance}");
    let facts = match node(desk, context, host).await {
        Ok(facts) => facts,
        Err(why) => return Reading::Missing(format!("the node of {host}: {why}")),
    };
    let known = facts
        .instances
        .iter()
        .find(|status| status.instance == name);
    match known {
        Some(status) if holds(status) => Reading::Holds(format!("{name} is {}", status.phase)),
        Some(status) => Reading::Not(format!("{name} is {}: {}", status.phase, status.why)),
        None => Reading::Not(format!("{name} does not run")),
    }
}

/// Hosts whose node is silent count for nothing: they can neither make it hold nor say that it does not.
async fn instances(desk: &Desk, context: &Context, service: &str, wanted: &str) -> Reading {
    let Ok(wanted) = wanted.parse::<usize>() else {
        return Reading::Missing(format!("{wanted:?} is no number of instances"));
    };
    let known = context.platform.service(service);
    let Some(hosts) = known.map(|service| service.allowed_hosts()) else {
        return Reading::Missing(format!("there is no service {service}"));
    };
    let (mut ready, mut silent) = (0, Vec::new());
    for host in hosts {
        let name = format!("{host}/{service}");
        match node(desk, context, host.as_str()).await {
            Ok(facts) => {
                let mut here = facts.instances.iter();
                let here = here.any(|status| status.instance == name && status.ready);
                ready += usize::from(here);
            }
            Err(why) => silent.push(format!("the node of {host}: {why}")),
        }
    }
    let told = format!("{ready} instances of {service} are ready, {wanted} are wanted");
    match (ready >= wanted, silent.is_empty()) {
        (true, _) => Reading::Holds(told),
        (false, true) => Reading::Not(told),
        (false, false) => Reading::Missing(format!("{told}; {}", silent.join("; "))),
    }
}

/// Every gateway that leads to the service is heard, and treats its instances in the region so.
async fn shifted(
    desk: &Desk,
    context: &Context,
    (service, from): (&str, &str),
    share: &str,
) -> Reading {
    let Ok(share) = mainstay_playbook::share_of(share) else {
        return Reading::Missing(format!("{share:?} is no share"));
    };
    let (mut others, mut silent, mut heard) = (Vec::new(), Vec::new(), 0);
    for gateway in context.platform.gateways() {
        for host in &gateway.hosts {
            let name = format!("gateway {} of {host}", gateway.name);
            let facts = match node(desk, context, host.as_str()).await {
                Ok(facts) => facts,
                Err(why) => {
                    silent.push(format!("{name}: {why}"));
                    continue;
                }
            };
            let seen = facts.gateways.get(gateway.name.as_str());
            let fresh = seen.filter(|seen| seen.age_ms < FRESH_MS);
            let Some(status) = fresh.and_then(|seen| seen.value.as_ref()) else {
                silent.push(name);
                continue;
            };
            let Some(shares) = shares_of(context, status, service, from) else {
                continue;
            };
            heard += 1;
            if shares.iter().any(|told| *told != share) {
                others.push(name);
            }
        }
    }
    match (others.is_empty(), silent.is_empty() && heard > 0) {
        (false, _) => Reading::Not(format!("not yet at {}", others.join(", "))),
        (true, true) => Reading::Holds(format!("{heard} gateways do so")),
        (true, false) => Reading::Missing(format!("not heard: {}", silent.join(", "))),
    }
}

/// The shares of the service's instances in a region; nothing if the gateway does not lead to the service.
fn shares_of(
    context: &Context,
    status: &GatewayStatus,
    service: &str,
    from: &str,
) -> Option<Vec<u8>> {
    let mut services = status.services.iter();
    let known = services.find(|known| known.service == service)?;
    let here = known.instances.iter().filter(|instance| {
        let host = instance.instance.split_once('/').map(|(host, _)| host);
        let host = host.and_then(|host| context.platform.host(host));
        host.is_some_and(|host| host.region.as_str() == from)
    });
    let shares = here.map(|instance| instance.share.unwrap_or(mainstay_playbook::WHOLE));
    Some(shares.collect())
}

async fn primary(desk: &Desk, context: &Context, database: &str, region: &str) -> Reading {
    let Some(known) = context.platform.database(database) else {
        return Reading::Missing(format!("there is no database {database}"));
    };
    let hosts = context.platform.hosts().iter();
    let here = hosts.filter(|host| {
        host.region.as_str() == region && known.replicas.iter().any(|r| r.host == host.name)
    });
    let mut problems = Vec::new();
    let mut asked = false;
    for host in here {
        match node(desk, context, host.name.as_str()).await {
            Ok(facts) => {
                asked = true;
                let keeper = facts.keepers.get(database);
                let open = keeper
                    .filter(|seen| seen.age_ms < FRESH_MS)
                    .and_then(|seen| seen.value.as_ref())
                    .is_some_and(|status| {
                        status.sight.role == SightRole::Primary && status.sight.open
                    });
                if open {
                    let host = &host.name;
                    return Reading::Holds(format!("the primary of {database} is open on {host}"));
                }
            }
            Err(why) => problems.push(format!("the node of {}: {why}", host.name)),
        }
    }
    if asked && problems.is_empty() {
        Reading::Not(format!(
            "no replica of {database} in {region} is open as primary"
        ))
    } else {
        problems.push(format!(
            "the keepers of {database} in {region} cannot be asked"
        ));
        Reading::Missing(problems.join("; "))
    }
}

/// What the primary says of a replica: whether it streams, and commits wait for it.
async fn replica(desk: &Desk, context: &Context, database: &str, host: &str) -> Reading {
    let Some(known) = context.platform.database(database) else {
        return Reading::Missing(format!("there is no database {database}"));
    };
    if !known.replicas.iter().any(|replica| replica.host == *host) {
        return Reading::Missing(format!("{database} has no replica on {host}"));
    }
    let mut problems = Vec::new();
    for replica in &known.replicas {
        let facts = match node(desk, context, replica.host.as_str()).await {
            Ok(facts) => facts,
            Err(why) => {
                problems.push(format!("the node of {}: {why}", replica.host));
                continue;
            }
        };
        let keeper = facts.keepers.get(database);
        let status = keeper
            .filter(|seen| seen.age_ms < FRESH_MS)
            .and_then(|seen| seen.value.as_ref())
            .filter(|status| status.sight.role == SightRole::Primary && status.sight.open);
        if let Some(status) = status {
            return said_of(status, database, host);
        }
    }
    problems.push(format!(
        "no primary of {database} says anything of its replicas"
    ));
    Reading::Missing(problems.join("; "))
}

fn said_of(primary: &KeeperStatus, database: &str, host: &str) -> Reading {
    let what = format!("the replica of {database} on {host}");
    if primary.sight.host == host {
        return Reading::Not(format!("{what} is the primary"));
    }
    let peer = primary.peers.iter().find(|peer| peer.host == host);
    let state = peer.and_then(|peer| peer.state.as_deref());
    match (peer, state) {
        (Some(peer), Some("streaming")) if peer.acknowledges => {
            Reading::Holds(format!("{what} streams and counts"))
        }
        (_, Some("streaming")) => Reading::Not(format!("{what} streams and does not count")),
        (_, Some(state)) => Reading::Not(format!("{what}: {state}")),
        (_, None) => Reading::Not(format!("{what} does not stream")),
    }
}

fn no_faults(desk: &Desk) -> Reading {
    let view = desk.deputy.view.borrow();
    match &view.state {
        None => Reading::Missing("the journal is not read to its end".to_owned()),
        Some(state) if state.faults.is_empty() => Reading::Holds("no fault is in force".to_owned()),
        Some(state) => Reading::Not(format!("{} faults are in force", state.faults.len())),
    }
}

/// Silence is good news only from a watch that looks.
fn quiet(desk: &Desk, alert: &str) -> Reading {
    let now = clock::now();
    let own = desk.sight.watch.borrow();
    let own = own
        .values()
        .any(|fact| fact.fresh(now).is_some_and(|board| board.evaluated));
    let others = desk.sight.nodes.borrow();
    let others = others
        .values()
        .filter_map(|fact| fact.fresh(now))
        .any(|facts| {
            let watch = facts.watch.as_ref();
            let fresh = watch.filter(|seen| seen.age_ms < FRESH_MS);
            fresh
                .and_then(|seen| seen.value.as_ref())
                .is_some_and(|board| board.evaluated)
        });
    if !own && !others {
        return Reading::Missing("no watch speaks".to_owned());
    }
    let view = desk.deputy.view.borrow();
    let Some(state) = &view.state else {
        return Reading::Missing("the journal is not read to its end".to_owned());
    };
    let stands = state.alerts.values().find(|news| {
        let name = news.labels.get("alertname");
        name.is_some_and(|name| name == alert)
    });
    match stands {
        None => Reading::Holds(format!("no alert {alert} stands")),
        Some(news) => Reading::Not(format!("{} is {}", news.alert, news.state.as_str())),
    }
}

/// Asks the watch of this host.
async fn ask(context: &Context, query: &str) -> Reading {
    judged(context, context.name(), query).await
}

/// Asks the watch of a host, as far as it can be reached from here.
pub async fn judged(context: &Context, host: &str, query: &str) -> Reading {
    match answer(context, host, query).await {
        Ok(answer) => judge(query, &answer),
        Err(why) => Reading::Missing(why),
    }
}

/// The values of all series that a query gives, by the watch of a host.
///
/// # Errors
/// Why nobody can say.
pub async fn numbers(context: &Context, host: &str, query: &str) -> Result<Vec<f64>, String> {
    let answer = answer(context, host, query).await?;
    let values = values(query, &answer)?;
    Ok(values.iter().filter_map(|text| text.parse().ok()).collect())
}

async fn answer(context: &Context, host: &str, query: &str) -> Result<Value, String> {
    let socket = context.layout.watch_socket(host);
    let body = format!("query={}", escaped(query)).into_bytes();
    let asked = request_unix(&socket, Method::POST, "/api/v1/query", body, QUERY_LIMIT);
    let (_, body) = asked
        .await
        .map_err(|error| format!("the watch: {}", chain(&error)))?;
    serde_json::from_slice(&body).map_err(|error| format!("the watch: {error}"))
}

fn values(query: &str, answer: &Value) -> Result<Vec<String>, String> {
    if answer["status"] != "success" {
        let why = answer["error"].as_str().unwrap_or("it gives no reason");
        return Err(format!("the watch refuses {query}: {why}"));
    }
    let result = &answer["data"]["result"];
    let number = |sample: &Value| sample.get(1).and_then(Value::as_str).map(str::to_owned);
    Ok(match answer["data"]["resultType"].as_str() {
        Some("scalar") => number(result).into_iter().collect(),
        _ => {
            let series = result.as_array().into_iter().flatten();
            series
                .filter_map(|series| number(&series["value"]))
                .collect()
        }
    })
}

/// Holds if there is a result that is not 0; a result of nothing is no answer that anything is well.
fn judge(query: &str, answer: &Value) -> Reading {
    let values = match values(query, answer) {
        Ok(values) => values,
        Err(why) => return Reading::Missing(why),
    };
    let is_true = |text: &String| {
        text.parse::<f64>()
            .is_ok_and(|number| number != 0.0 && !number.is_nan())
    };
    match values.iter().find(|text| is_true(text)) {
        Some(value) => Reading::Holds(format!("{query} is {value}")),
        None if values.is_empty() => Reading::Not(format!("{query} has no result")),
        None => Reading::Not(format!("{query} is {}", values.join(", "))),
    }
}

/// Every byte that is not plain, escaped.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_replica_counts_when_its_primary_says_so() {
        let peer = |state: Option<&str>, acknowledges| {
            json!({
                "replica": 2, "host": "h2", "region": "r2", "heard_ms": 1, "role": "standby",
                "state": state, "acknowledges": acknowledges, "flushed": null, "lag_bytes": null,
            })
        };
        let primary = |peer: Value| -> KeeperStatus {
            let sight = json!({
                "version": 1, "database": "d", "replica": 1, "host": "h1", "region": "r1", "role": "primary",
                "term": 2, "open": true, "switchover": false, "lease_remaining_ms": 9, "lsn": "0/1",
                "primary": "h1", "reason": "serving",
            });
            let status = json!({
                "version": 1, "platform": "p", "sight": sight, "paused": false, "incarnation": "1",
                "system_identifier": null, "timeline": 2, "promised_term": 2, "promised_to": null,
                "cohort": {"epoch": 1, "copies": 2, "members": ["h1", "h2"]}, "peers": [peer],
                "seeding": null, "postmaster": null, "events": [],
            });
            serde_json::from_value(status).expect("a status")
        };
        for (host, state, acknowledges, holds) in [
            ("h2", Some("streaming"), true, true),
            ("h2", Some("streaming"), false, false),
            ("h2", Some("catchup"), true, false),
            ("h2", None, false, false),
            ("h1", Some("streaming"), true, false),
            ("h3", Some("streaming"), true, false),
        ] {
            let reading = said_of(&primary(peer(state, acknowledges)), "d", host);
            let is_so = matches!(reading, Reading::Holds(_));
            assert_eq!(is_so, holds, "{host} {state:?}: {reading:?}");
        }
    }

    #[test]
    fn only_a_result_that_is_not_0_holds() {
        let vector = |values: &[&str]| {
            let series: Vec<Value> = values
                .iter()
                .map(|value| json!({"metric": {}, "value": [1, value]}))
                .collect();
            json!({"status": "success", "data": {"resultType": "vector", "result": series}})
        };
        for (answer, holds) in [
            (vector(&["1"]), true),
            (vector(&["0", "0.2"]), true),
            (vector(&["0"]), false),
            (vector(&["NaN"]), false),
            (vector(&[]), false),
            (
                json!({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}),
                true,
            ),
            (json!({"status": "error", "error": "no"}), false),
        ] {
            let reading = judge("x", &answer);
            assert_eq!(matches!(reading, Reading::Holds(_)), holds, "{answer}");
        }
    }
}
