//! The watch's own figures.

use mainstay_rt::usage;
use mainstay_rules::alert::State;
use mainstay_scrape::exposition::Type;
use mainstay_scrape::page::Page;

use crate::world::World;

pub fn page(world: &World) -> String {
    let mut page = Page::default();
    targets(world, &mut page);
    samples(world, &mut page);
    rules(world, &mut page);
    alerts(world, &mut page);
    if let Some(usage) = usage::own() {
        page.counter(
            "process_cpu_seconds_total",
            "Processor time used, user and system.",
            usage.processor_seconds,
        );
        page.gauge(
            "process_resident_memory_bytes",
            "Memory that is resident.",
            usage.resident_bytes as f64,
        );
    }
    page.text()
}

fn targets(world: &World, page: &mut Page) {
    let silent = world.seen.iter().filter(|seen| seen.silent_since.is_some());
    page.gauge(
        "mainstay_watch_targets",
        "Targets that are asked.",
        world.seen.len() as f64,
    );
    page.gauge(
        "mainstay_watch_targets_silent",
        "Targets that gave no whole answer for two intervals.",
        silent.count() as f64,
    );
    if let Some(source) = &world.source {
        page.gauge(
            "mainstay_watch_source_up",
            "Whether the server answers that scrapes instead of the watch.",
            f64::from(u8::from(source.problem.is_none())),
        );
    }
}

fn samples(world: &World, page: &mut Page) {
    let (series, samples, bytes) = world.store.read().size();
    page.gauge(
        "mainstay_watch_series",
        "Series that are remembered.",
        series as f64,
    );
    page.gauge(
        "mainstay_watch_samples",
        "Samples that are remembered.",
        samples as f64,
    );
    page.gauge(
        "mainstay_watch_samples_bytes",
        "Size of the packed samples.",
        bytes as f64,
    );
    page.counter(
        "mainstay_watch_series_refused_total",
        "Times that a new series was not taken because there are too many.",
        world.beyond_limit as f64,
    );
    page.counter(
        "mainstay_watch_samples_old_total",
        "Samples that were not taken because they are not newer than the last one of their series.",
        world.old as f64,
    );
    let behind = world.clock.behind(crate::run::now());
    page.gauge(
        "mainstay_watch_clock_behind_seconds",
        "By how much the clock is behind what was heard already; nothing is stored meanwhile.",
        behind.unwrap_or(0) as f64 / 1_000.0,
    );
}

fn rules(world: &World, page: &mut Page) {
    let mut family = page.family(
        "mainstay_watch_group_seconds",
        Type::Gauge,
        "Duration of the last evaluation of a group of rules.",
    );
    for duty in &world.duties {
        let labels = [
            ("file", duty.group.file.as_str()),
            ("group", &duty.group.name),
        ];
        family.put(&labels, duty.took_ms as f64 / 1_000.0);
    }
    let mut family = page.family(
        "mainstay_watch_group_missed_total",
        Type::Counter,
        "Evaluations of a group that were left out because something took too long.",
    );
    for duty in &world.duties {
        let labels = [
            ("file", duty.group.file.as_str()),
            ("group", &duty.group.name),
        ];
        family.put(&labels, duty.missed as f64);
    }
    let failing = world
        .duties
        .iter()
        .map(|duty| duty.memory.problems(&duty.group).count());
    page.gauge(
        "mainstay_watch_rules_failing",
        "Rules whose last evaluation failed.",
        failing.sum::<usize>() as f64,
    );
    page.gauge(
        "mainstay_watch_rule_files_refused",
        "Rule files that are not followed, or not as they stand now, because they are wrong.",
        world.refused.len() as f64,
    );
}

fn alerts(world: &World, page: &mut Page) {
    if let Some(post) = &world.post {
        page.counter(
            "mainstay_watch_received_passed_total",
            "Words of others that were not kept because they tell the end of an alert that is not known.",
            post.passed as f64,
        );
    }
    let mut family = page.family(
        "mainstay_watch_alerts",
        Type::Gauge,
        "Alerts by state; missing: firing, and no longer measured.",
    );
    let states = [
        ("pending", State::Pending),
        ("firing", State::Firing),
        ("missing", State::Missing),
    ];
    for (name, state) in states {
        let of_state = world
            .duties
            .iter()
            .flat_map(|duty| duty.memory.alerts(&duty.group))
            .filter(|(_, alert)| alert.state == state);
        family.put(&[("state", name)], of_state.count() as f64);
    }
}
