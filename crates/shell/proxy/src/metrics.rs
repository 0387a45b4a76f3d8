//! Rate, errors and duration per route and upstream, added up over the workers when somebody asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::stats::{BUCKETS, CODES, Count, Durations};
use crate::world::Shared;

#[derive(Debug)]
struct Totals(Arc<Shared>);

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// The whole page, in the OpenMetrics text format.
pub fn page(shared: &Arc<Shared>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("mainstay_gateway");
    registry.register_collector(Box::new(Totals(Arc::clone(shared))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Totals {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.routes(&mut encoder)?;
        self.upstreams(&mut encoder)?;
        self.workers(&mut encoder)?;
        self.now(&mut encoder)?;
        self.doors(&mut encoder)
    }
}

fn counters<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn durations<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels<'a>, Vec<&'a Durations>)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, parts) in rows {
        let mut buckets = [(0.0, 0u64); BUCKETS + 1];
        for part in &parts {
            for (total, (bound, count)) in buckets.iter_mut().zip(part.buckets()) {
                *total = (bound, total.1 + count);
            }
        }
        let sum = parts.iter().map(|part| part.sum_seconds()).sum();
        let count = buckets.iter().map(|bucket| bucket.1).sum();
        metric
            .encode_family(&labels)?
            .encode_histogram::<Labels<'_>>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn sum<T>(parts: &[Arc<T>], count: impl Fn(&T) -> &Count) -> u64 {
    parts.iter().map(|part| count(part).get()).sum()
}

impl Totals {
    fn routes(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let routes = self.0.stats.routes();
        let labels = |name: &'_ [String]| {
            [("listener", 0), ("route", 1)].map(|(key, at)| (key, name[at].clone()))
        };
        let named: Vec<_> = routes
            .iter()
            .map(|(name, parts)| (labels(name), parts))
            .collect();
        counters(
            encoder,
            "requests",
            "Requests answered, by route and class of status",
            named.iter().flat_map(|(name, parts)| {
                // Also those that never came: a rate begins with the first of them, and "none" is not "unknown".
                CLASSES.iter().enumerate().map(move |(class, text)| {
                    let total = sum(parts, |part| &part.classes[class]);
                    (with(name, &[("class", text)]), total)
                })
            }),
        )?;
        counters(
            encoder,
            "own_answers",
            "Requests that the gateway answered itself, by code",
            named.iter().flat_map(|(name, parts)| {
                CODES.iter().enumerate().filter_map(move |(code, text)| {
                    let total = sum(parts, |part| &part.own[code]);
                    (total > 0).then(|| (with(name, &[("code", text)]), total))
                })
            }),
        )?;
        counters(
            encoder,
            "held",
            "Requests that had to wait for an active instance",
            named
                .iter()
                .map(|(name, parts)| (with(name, &[]), sum(parts, |part| &part.held))),
        )?;
        counters(
            encoder,
            "repeated",
            "Attempts beyond the first",
            named
                .iter()
                .map(|(name, parts)| (with(name, &[]), sum(parts, |part| &part.repeated))),
        )?;
        durations(
            encoder,
            "request_duration_seconds",
            "From the head of the request to the head of the answer",
            named.iter().map(|(name, parts)| {
                (
                    with(name, &[]),
                    parts.iter().map(|part| &part.durations).collect(),
                )
            }),
        )
    }

    fn upstreams(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let upstreams = self.0.stats.upstreams();
        let labels = |name: &'_ [String]| {
            [("service", 0), ("instance", 1)].map(|(key, at)| (key, name[at].clone()))
        };
        let named: Vec<_> = upstreams
            .iter()
            .map(|(name, parts)| (labels(name), parts))
            .collect();
        counters(
            encoder,
            "attempts",
            "Attempts at an instance, by outcome",
            named.iter().flat_map(|(name, parts)| {
                let outcomes = [
                    ("answered", sum(parts, |part| &part.answered)),
                    ("nothing", sum(parts, |part| &part.nothing)),
                    ("unknown", sum(parts, |part| &part.unknown)),
                ];
                outcomes.map(|(outcome, total)| (with(name, &[("outcome", outcome)]), total))
            }),
        )?;
        durations(
            encoder,
            "attempt_duration_seconds",
            "From sending to the head of the instance's answer",
            named.iter().map(|(name, parts)| {
                (
                    with(name, &[]),
                    parts.iter().map(|part| &part.durations).collect(),
                )
            }),
        )
    }

    fn doors(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let world = self.0.world();
        let listeners = &world.config.http;
        let doors = || {
            let doors = listeners.iter();
            doors.filter_map(|entry| Some((entry.name.as_str(), entry.door.as_ref()?)))
        };
        counters(
            encoder,
            "certificates_refused",
            "Times that the files of a listener's certificate could not be used",
            doors().map(|(name, door)| (vec![("listener", name)], door.refused())),
        )?;
        let workers = self.0.stats.workers();
        counters(
            encoder,
            "handshakes_failed",
            "Client connections that ended before TLS was agreed on",
            std::iter::once((vec![], sum(&workers, |w| &w.handshakes_failed))),
        )?;
        let mut metric = encoder.encode_descriptor(
            "certificate_usable",
            "Whether the files of a listener's certificate can be used as they stand now",
            None,
            MetricType::Gauge,
        )?;
        for (name, door) in doors() {
            let usable = i64::from(door.problem().is_none());
            ConstGauge::new(usable).encode(metric.encode_family(&vec![("listener", name)])?)?;
        }
        Ok(())
    }

    fn workers(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let workers = self.0.stats.workers();
        let totals = [
            (
                "connections_accepted",
                "Client connections",
                sum(&workers, |w| &w.connections_total),
            ),
            (
                "connections_refused",
                "Client connections beyond a limit",
                sum(&workers, |w| &w.connections_refused),
            ),
            (
                "framing_violations",
                "Requests refused by the strict reader",
                sum(&workers, |w| &w.framing_violations),
            ),
            (
                "sessions_cut",
                "TCP sessions reset because their server was demoted",
                sum(&workers, |w| &w.sessions_cut),
            ),
        ];
        for (name, help, total) in totals {
            counters(encoder, name, help, std::iter::once((vec![], total)))?;
        }
        Ok(())
    }

    /// What there is of each at this moment.
    fn now(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let workers = self.0.stats.workers();
        let world = self.0.world();
        let routing = &world.config.routing;
        let held = routing.cells.iter().map(|cell| {
            let database = &routing.databases[usize::from(cell.database.0)].name;
            let service = &routing.services[usize::from(cell.service.0)].name;
            let held = self.0.stats.held(database, service);
            (
                vec![
                    ("database", database.as_str()),
                    ("service", service.as_str()),
                ],
                held,
            )
        });
        gauges(encoder, "held_now", "Requests that wait, by cell", held)?;
        let now = [
            (
                "connections",
                "Open client connections",
                sum(&workers, |w| &w.connections),
            ),
            (
                "requests_now",
                "Requests under way, held ones included",
                sum(&workers, |w| &w.requests),
            ),
            (
                "sessions",
                "Open TCP sessions",
                sum(&workers, |w| &w.sessions),
            ),
            (
                "body_bytes",
                "Bytes of bodies that are read, sent or held",
                sum(&workers, |w| &w.bodies),
            ),
            (
                "answer_bytes",
                "Bytes of answers of cells that wait for their clients",
                sum(&workers, |w| &w.answers),
            ),
            (
                "generation",
                "Generation of the snapshot being served",
                world.config.snapshot.generation,
            ),
        ];
        for (name, help, value) in now {
            gauges(encoder, name, help, std::iter::once((vec![], value)))?;
        }
        Ok(())
    }
}

fn gauges<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in rows {
        ConstGauge::new(value as i64).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn with<'a>(name: &'a [(&'static str, String); 2], more: &[(&'a str, &'a str)]) -> Labels<'a> {
    let own = name.iter().map(|(key, value)| (*key, value.as_str()));
    own.chain(more.iter().copied()).collect()
}
