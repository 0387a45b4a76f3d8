//! The node's figures: of its host, of the processes that it supervises, of the journal as it sees it, and of calling people.

mod host;

use mainstay_kernel::{Outcome, State};
use mainstay_record::node::NodeFacts;
use mainstay_record::process::InstanceStatus;
use mainstay_rt::usage;
use mainstay_scrape::exposition::Type::{Counter, Gauge};
use mainstay_scrape::page::Page;

use crate::context::Context;
use crate::kernel_runner::LEADING;
use crate::oncall;

/// Processes of one instance that are added up.
const FAMILY_MAX: usize = 1_024;

/// Whether calls arrive, as the journal tells it.
pub struct Calls {
    /// Open incidents that people are called for, and nobody could be reached.
    unreached: usize,
    /// By channel: whether the last call failed.
    failed: Vec<(String, bool)>,
}

impl Calls {
    pub fn of(state: &State) -> Self {
        let calls = state.calls.iter();
        Self {
            unreached: oncall::unreached(state),
            failed: calls
                .map(|(channel, call)| {
                    let is_done = matches!(call.outcome, Outcome::Done { .. });
                    (channel.clone(), !is_done)
                })
                .collect(),
        }
    }
}

/// `calls` is not known while the journal is not read.
pub fn page(context: &Context, facts: &NodeFacts, calls: Option<&Calls>) -> String {
    let mut page = Page::default();
    host::put(&mut page, context.layout.data());
    instances(&mut page, facts);
    journal(&mut page, facts);
    page.gauge(
        "mainstay_node_troubles",
        "Things that the node cannot do on its host and goes on trying; the status says which.",
        facts.troubles.len() as f64,
    );
    if let Some(ms) = facts.oldest_leaf_ms {
        page.gauge(
            "mainstay_node_oldest_leaf_seconds",
            "Since the oldest identity of this host's processes was laid down; each is good for a day and renewed after eight hours.",
            ms as f64 / 1_000.0,
        );
    }
    if let Some(calls) = calls {
        told(&mut page, calls);
    }
    if let Some(usage) = usage::own() {
        page.counter(
            "process_cpu_seconds_total",
            "Processor time that the node used, user and system.",
            usage.processor_seconds,
        );
        page.gauge(
            "process_resident_memory_bytes",
            "The node's memory that is resident.",
            usage.resident_bytes as f64,
        );
    }
    page.text()
}

/// `HOST/NAME` without the host, which every series of the node bears anyway.
fn name_of(instance: &InstanceStatus) -> &str {
    let name = instance.instance.split_once('/');
    name.map_or(instance.instance.as_str(), |(_, name)| name)
}

fn instances(page: &mut Page, facts: &NodeFacts) {
    let mut ready = page.family(
        "mainstay_instance_ready",
        Gauge,
        "Whether the instance runs and says that it is ready; a standby of a followed database is not.",
    );
    for instance in &facts.instances {
        let is_ready = f64::from(u8::from(instance.ready));
        ready.put(&[("name", name_of(instance))], is_ready);
    }
    let mut running = page.family(
        "mainstay_instance_running",
        Gauge,
        "Whether the instance has a process.",
    );
    for instance in &facts.instances {
        let has = f64::from(u8::from(instance.process.is_some()));
        running.put(&[("name", name_of(instance))], has);
    }
    let mut restarts = page.family(
        "mainstay_instance_restarts_total",
        Counter,
        "Times that the instance was started again because it had ended.",
    );
    for instance in &facts.instances {
        restarts.put(&[("name", name_of(instance))], instance.restarts as f64);
    }
    let mut loops = page.family(
        "mainstay_instance_crash_loop",
        Gauge,
        "Whether the instance ends again and again.",
    );
    for instance in &facts.instances {
        let is_loop = f64::from(u8::from(instance.phase == "crash_loop"));
        loops.put(&[("name", name_of(instance))], is_loop);
    }
    usages(page, facts);
}

fn usages(page: &mut Page, facts: &NodeFacts) {
    let processes = facts.instances.iter().filter_map(|instance| {
        let process = instance.process?;
        Some((name_of(instance).to_owned(), process.pid))
    });
    // A server runs under a shim of its keeper's, and outlives it.
    let servers = facts.keepers.iter().filter_map(|(database, seen)| {
        let pid = seen.value.as_ref()?.postmaster?;
        Some((format!("postgres-{database}"), u32::try_from(pid).ok()?))
    });
    let used: Vec<(String, f64, f64)> = processes
        .chain(servers)
        .filter_map(|(name, pid)| {
            let (seconds, bytes) = family_usage(pid)?;
            Some((name, seconds, bytes))
        })
        .collect();
    let mut family = page.family(
        "mainstay_instance_cpu_seconds_total",
        Counter,
        "Processor time of the instance's processes that run now.",
    );
    for (name, seconds, _) in &used {
        family.put(&[("name", name)], *seconds);
    }
    let mut family = page.family(
        "mainstay_instance_resident_memory_bytes",
        Gauge,
        "Resident memory of the instance's processes; what they share counts for each.",
    );
    for (name, _, bytes) in &used {
        family.put(&[("name", name)], *bytes);
    }
}

/// Of a process and everything that it began: processor seconds and resident bytes.
fn family_usage(pid: u32) -> Option<(f64, f64)> {
    let first = usage::of(&pid.to_string())?;
    let (mut seconds, mut bytes) = (first.processor_seconds, first.resident_bytes as f64);
    let mut left = children(pid);
    let mut seen = 0;
    while let Some(child) = left.pop() {
        seen += 1;
        if seen > FAMILY_MAX {
            break;
        }
        // One that ended meanwhile has taken its figures with it.
        if let Some(usage) = usage::of(&child.to_string()) {
            seconds += usage.processor_seconds;
            bytes += usage.resident_bytes as f64;
            left.extend(children(child));
        }
    }
    Some((seconds, bytes))
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let numbers = text.split_ascii_whitespace();
    numbers.filter_map(|number| number.parse().ok()).collect()
}

fn journal(page: &mut Page, facts: &NodeFacts) {
    let journal = &facts.journal;
    let leads = f64::from(u8::from(journal.role == LEADING));
    page.gauge("mainstay_node_leads", "Whether this node leads.", leads);
    page.gauge(
        "mainstay_journal_epoch",
        "The epoch of the newest claim.",
        journal.epoch as f64,
    );
    page.counter(
        "mainstay_journal_entries_total",
        "Entries of the journal that this node has read.",
        journal.entries as f64,
    );
    page.gauge(
        "mainstay_platform_generation",
        "Which version of the platform file is in force here.",
        journal.generation as f64,
    );
    page.gauge(
        "mainstay_node_paused",
        "Whether automation is paused.",
        f64::from(u8::from(journal.paused)),
    );
    if let Some(heard) = journal.leader_heard_ms {
        page.gauge(
            "mainstay_node_leader_silent_seconds",
            "Since the leader was heard.",
            heard as f64 / 1_000.0,
        );
    }
    let mut family = page.family(
        "mainstay_node_peer_silent_seconds",
        Gauge,
        "Since another node was heard.",
    );
    for (peer, ms) in &facts.heard_ms {
        family.put(&[("peer", peer)], *ms as f64 / 1_000.0);
    }
}

fn told(page: &mut Page, calls: &Calls) {
    page.gauge(
        "mainstay_incidents_unreached",
        "Open incidents that people are called for and of which nobody could be told so far.",
        calls.unreached as f64,
    );
    let mut family = page.family(
        "mainstay_channel_failed",
        Gauge,
        "Whether the last call by the channel failed, or may have.",
    );
    for (channel, failed) in &calls.failed {
        family.put(&[("channel", channel)], f64::from(u8::from(*failed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_calls_arrive_is_a_figure() {
        let mut page = Page::default();
        let failed = vec![("desk".to_owned(), true), ("mail".to_owned(), false)];
        told(
            &mut page,
            &Calls {
                unreached: 2,
                failed,
            },
        );
        let text = page.text();
        for line in [
            "mainstay_incidents_unreached 2",
            "mainstay_channel_failed{channel=\"desk\"} 1",
            "mainstay_channel_failed{channel=\"mail\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
    }

    #[test]
    fn what_a_process_began_counts_with_it() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a child");
        let alone = usage::own().expect("this process").resident_bytes as f64;
        let (_, bytes) = family_usage(own).expect("this process");
        let children = children(own);
        child.kill().expect("killed");
        child.wait().expect("gone");
        // The thread that spawned is the one whose children are listed; tests run on others.
        if children.contains(&child.id()) {
            assert!(bytes > alone);
        }
        assert!(family_usage(u32::MAX).is_none());
    }
}
