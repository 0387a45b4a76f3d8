//! What may befall a cluster, one function each.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;

use crate::client::{self, Cancelled, Writer};
use crate::cluster::{COUNT, Cluster};

/// How often something is done again that the machine was too busy for.
const ROUNDS: u64 = 5;

type Scenario = fn() -> Result<()>;

pub const ALL: &[(&str, Scenario)] = &[
    ("postmaster_killed", postmaster_killed),
    ("host_crashed", host_crashed),
    ("host_frozen", host_frozen),
    ("quorum_missing", quorum_missing),
    (
        "reopened_with_its_log",
        crate::reopened::reopened_with_its_log,
    ),
    ("keeper_killed", keeper_killed),
    ("disk_lost", disk_lost),
    ("data_deleted", data_deleted),
    ("log_removed", log_removed),
    ("keeper_away", crate::ailments::keeper_away),
    ("keeper_paused", crate::ailments::keeper_paused),
    ("receiver_stuck", crate::ailments::receiver_stuck),
    ("disk_hung", crate::disks::disk_hung),
    ("log_disk_hung", crate::disks::log_disk_hung),
    ("disk_full", crate::disks::disk_full),
    ("slots_exhausted", crate::ailments::slots_exhausted),
    ("standby_damaged", crate::ailments::standby_damaged),
    ("primary_damaged", crate::ailments::primary_damaged),
    ("foreign_folder", crate::ailments::foreign_folder),
    ("clocks_stepped", crate::clocks::clocks_stepped),
    ("everything_killed", everything_killed),
    (
        "strangers_are_refused",
        crate::identity::strangers_are_refused,
    ),
    ("another_authority", crate::identity::another_authority),
    ("plain_refused", crate::tls::plain_refused),
    ("certificate_renewed", crate::tls::certificate_renewed),
    ("plain_adopted", crate::tls::plain_adopted),
    ("gateway_passed", crate::gateway::gateway_passed),
    ("switchover", switchover),
    ("solo_ends", crate::solo::solo_ends),
    ("solo_lost", crate::solo::solo_lost),
    ("majority_gone", crate::forced::majority_gone),
    ("majority_cut_off", crate::forced::majority_cut_off),
    ("postmaster_frozen", postmaster_frozen),
    ("false_acknowledgement", false_acknowledgement),
    ("primary_cut_off", primary_cut_off),
    ("primary_deaf", primary_deaf),
    ("primary_mute", primary_mute),
    ("parameters_taken", crate::parameters::taken),
    ("commits_weakened", crate::parameters::weakened),
    ("sessions_weakened", crate::parameters::sessions_weakened),
    ("parameters_rolled", crate::parameters::rolled),
    ("programs_upgraded", crate::parameters::upgraded),
    ("golden", crate::golden::golden),
    ("many_faults", many_faults),
];

/// A cluster to look at, until Enter.
pub fn stay() -> Result<()> {
    let cluster = Cluster::healthy()?;
    println!("  {}", cluster.path(0).display());
    for which in 0..COUNT {
        println!(
            "  psql -h {} shop shop",
            cluster.postgres_address(which).ip()
        );
    }
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// A killed postmaster: another replica takes over in a new term, and the old one comes back. As often as
/// `MAINSTAY_REPEAT` says; a look at the times that are printed is for people.
fn postmaster_killed() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    let repeat = std::env::var("MAINSTAY_REPEAT").ok();
    let repeat: u32 = repeat.and_then(|text| text.parse().ok()).unwrap_or(1);
    for _ in 0..repeat {
        let (primary, term) = cluster.await_healthy()?;
        writer.await_more(&cluster, 50)?;
        let killed = mainstay_rt::clock::now();
        let killed_wall = mainstay_rt::clock::wall_ms();
        cluster.kill_postmaster(primary)?;
        let (_, next) = cluster.await_primary(term)?;
        ensure!(next > term, "a new term");
        let count = writer.count();
        cluster.wait("an acknowledgement", || {
            (writer.count() > count).then_some(())
        })?;
        let took = mainstay_rt::clock::now().since(killed).as_millis();
        println!("  killed {primary} in term {term} at {killed_wall}: {took} ms");
        writer.await_more(&cluster, 50)?;
    }
    let (primary, term) = cluster.await_healthy()?;
    let timeline = cluster.await_status(primary)?.timeline;
    ensure!(timeline == term, "timeline {timeline} is not term {term}");
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}

/// Keeper and server of the primary die at once.
fn host_crashed() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    let (primary, term) = cluster.await_primary(0)?;
    cluster.kill_host(primary);
    cluster.await_primary(term)?;
    writer.await_more(&cluster, 50)?;
    cluster.start_keeper(primary)?;
    cluster.await_healthy()?;
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}

/// All processes of the primary's host stand still, and go on later: the stale one is fenced and rejoins.
fn host_frozen() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    let (primary, term) = cluster.await_primary(0)?;
    cluster.signal_host(primary, Signal::STOP);
    let result = cluster
        .await_primary(term)
        .and_then(|_| writer.await_more(&cluster, 50));
    cluster.signal_host(primary, Signal::CONT);
    result?;
    let (now, _) = cluster.await_healthy()?;
    ensure!(now != primary, "the stale one is primary again");
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}

/// The streams of both standbys break while their keepers still speak: commits wait, nothing is demoted and nothing is
/// restarted, and they end when the streams are whole again. Where the machine stands still for longer than a lease the
/// primary closes, and waits for the same quorum to open again.
fn quorum_missing() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let postmaster = cluster.postmaster(primary)?;
    let cut = |is_cut: bool| {
        for which in (0..COUNT).filter(|which| *which != primary) {
            cluster.wires.cut_streams(which, is_cut);
        }
    };
    cut(true);
    cluster.wait("the primary to say that commits wait", || {
        let reason = cluster.status(primary).ok()?.sight.reason;
        let waits = reason.contains("commits wait") || reason.contains("until its quorum has");
        waits.then_some(())
    })?;
    let frozen = writer.count();
    // Longer than a silence of its keeper or an isolation would be borne.
    for _ in 0..40 {
        cluster.pause(Duration::from_millis(100));
        let now = cluster.primary();
        ensure!(
            now.is_none_or(|now| now == (primary, term)),
            "{now:?} instead of it"
        );
    }
    let waiting = writer.count();
    ensure!(
        waiting == frozen,
        "acknowledged without a quorum: {frozen} then {waiting}"
    );
    cut(false);
    writer.await_more(&cluster, 20)?;
    let now = cluster.await_healthy()?;
    ensure!(now == (primary, term), "{now:?}, was {:?}", (primary, term));
    ensure!(cluster.postmaster(primary)? == postmaster, "restarted");
    client::check(&cluster, &writer.finish()?)
}

/// A keeper dies and comes back at once: its server goes on and is adopted, in the same term.
fn keeper_killed() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let postmaster = cluster.postmaster(primary)?;
    cluster.kill_keeper(primary);
    ensure!(cluster.postmaster(primary)? == postmaster);
    cluster.start_keeper(primary)?;
    let now = cluster.await_healthy()?;
    ensure!(now == (primary, term), "{now:?}, was {:?}", (primary, term));
    ensure!(cluster.postmaster(primary)? == postmaster, "restarted");
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// A standby loses its disk: it is filled anew, with another incarnation, and counts again in the end.
fn disk_lost() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, _) = cluster.await_primary(0)?;
    let victim = (primary + 1) % COUNT;
    let before = cluster.await_status(victim)?.incarnation;
    cluster.kill_host(victim);
    std::fs::remove_dir_all(cluster.path(victim).join("keeper"))?;
    std::fs::remove_dir_all(cluster.pgdata(victim))?;
    cluster.start_keeper(victim)?;
    cluster.await_healthy()?;
    ensure!(
        cluster.await_status(victim)?.incarnation != before,
        "a new incarnation"
    );
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// The data folder of the running primary is deleted: another takes over, and it is filled anew.
fn data_deleted() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    // The server may write while it is done: what is left then is deleted by a second try. It may also be gone by then.
    let pgdata = cluster.pgdata(primary);
    while std::fs::remove_dir_all(&pgdata).is_err() && pgdata.exists() {}
    cluster.await_primary(term)?;
    cluster.await_healthy()?;
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// A standby is away for longer than the primary keeps its log: it says so, is filled anew by itself, and counts
/// again; what it had is kept aside.
fn log_removed() -> Result<()> {
    let keep_little = [("wal_keep_size", "0"), ("min_wal_size", "32MB")];
    let mut cluster = Cluster::healthy_with(&keep_little)?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let victim = (primary + 1) % COUNT;
    let before = cluster.await_status(victim)?.incarnation;
    cluster.kill_host(victim);
    for _ in 0..4 {
        let write = "SELECT pg_logical_emit_message(false, 'test', 'log')";
        client::superuser(&cluster, primary, write)?;
        client::superuser(&cluster, primary, "SELECT pg_switch_wal()")?;
        client::superuser(&cluster, primary, "CHECKPOINT")?;
    }
    cluster.start_keeper(victim)?;
    cluster.wait("the standby to say that its log is gone", || {
        let reason = cluster.status(victim).ok()?.sight.reason;
        reason.contains("has removed the log").then_some(())
    })?;
    let (_, after) = cluster.await_healthy()?;
    ensure!(after == term, "no failover: term {term}, then {after}");
    let status = cluster.await_status(victim)?;
    ensure!(status.incarnation != before, "a new incarnation");
    let mut aside = std::fs::read_dir(cluster.path(victim).join("keeper/quarantine"))?;
    ensure!(aside.next().is_some(), "what it had is kept aside");
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// Everything dies at once, and everything comes back.
fn everything_killed() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    for which in 0..COUNT {
        cluster.kill_host(which);
    }
    for which in 0..COUNT {
        cluster.start_keeper(which)?;
    }
    cluster.await_healthy()?;
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}

/// A planned change of primary, there and back.
fn switchover() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    for _ in 0..2 {
        let (primary, _) = cluster.await_healthy()?;
        cluster.hand_over((primary + 1) % COUNT)?;
        writer.await_more(&cluster, 50)?;
    }
    cluster.await_healthy()?;
    client::check(&cluster, &writer.finish()?)
}

/// The postmaster alone stands still: sessions go on, new ones are not let in. Its keeper gives it up.
fn postmaster_frozen() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    rustix::process::kill_process(cluster.postmaster(primary)?, Signal::STOP)?;
    cluster.await_primary(term)?;
    writer.await_more(&cluster, 20)?;
    cluster.await_healthy()?;
    client::check(&cluster, &writer.finish()?)
}

/// PostgreSQL's trap: a commit whose wait for the quorum is cancelled is answered as a success, with no more
/// than a warning. Shown here so that nobody believes it cannot be: applications must look for the warning.
fn false_acknowledgement() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    for round in 0..ROUNDS {
        let (primary, _) = cluster.await_healthy()?;
        let door = cluster.door(primary)?;
        let cut = |is_cut: bool| {
            for which in (0..COUNT).filter(|which| *which != primary) {
                cluster.wires.cut_streams(which, is_cut);
            }
        };
        // Their keepers still speak, so the primary stays open.
        cut(true);
        // Another one each time: what a session that ended had written may be there.
        let commit = client::cancelled_commit(&door, 1_000_000 + round);
        let became = cluster.runtime.block_on(commit)?;
        cut(false);
        match became {
            Cancelled::Answered(notices) => {
                println!("  answered as success; notices: {notices:?}");
                let mut notices = notices.iter();
                ensure!(
                    notices.any(|notice| notice.contains("synchronous replication")),
                    "the one sign is the warning, and it did not come"
                );
                cluster.await_healthy()?;
                return Ok(());
            }
            Cancelled::Refused(why) => {
                bail!("PostgreSQL has changed: the wait cannot be cancelled any more: {why}")
            }
            Cancelled::Ended => println!("  the session ended by something else: once more"),
        }
    }
    bail!("the session ended by something else in each of {ROUNDS} rounds")
}

/// The primary's host is cut off both ways: its sessions end, another takes over; healed, it rejoins.
fn primary_cut_off() -> Result<()> {
    cut(|cluster, primary, is_cut| cluster.wires.isolate(primary, is_cut))
}

/// Nothing reaches the primary's host, what it says goes out.
fn primary_deaf() -> Result<()> {
    cut(|cluster, primary, is_cut| {
        for other in (0..COUNT).filter(|other| *other != primary) {
            cluster.wires.cut(other, primary, is_cut);
        }
    })
}

/// Nothing leaves the primary's host, what others say comes in.
fn primary_mute() -> Result<()> {
    cut(|cluster, primary, is_cut| {
        for other in (0..COUNT).filter(|other| *other != primary) {
            cluster.wires.cut(primary, other, is_cut);
        }
    })
}

fn cut(set: impl Fn(&Cluster, usize, bool)) -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    let (primary, term) = cluster.await_primary(0)?;
    set(&cluster, primary, true);
    cluster.await_primary(term)?;
    writer.await_more(&cluster, 50)?;
    cluster.wait("the old primary to let nobody in", || {
        let status = cluster.status(primary).ok()?;
        (!status.sight.open).then_some(())
    })?;
    set(&cluster, primary, false);
    cluster.await_healthy()?;
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}

/// Splitmix64: a number per call, from a seed.
struct Dice(u64);

impl Dice {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// One fault after the other, drawn at random, on whichever host; the seed is printed and can be given by
/// `MAINSTAY_SEED`, the number of faults by `MAINSTAY_FAULTS`.
fn many_faults() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let mut dice = Dice(number("MAINSTAY_SEED").unwrap_or_else(mainstay_rt::entropy::u64));
    println!("  seed {}", dice.0);
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start_restless(&cluster)?;
    for _ in 0..number("MAINSTAY_FAULTS").unwrap_or(5) {
        let (primary, term) = cluster.await_healthy()?;
        writer.await_more(&cluster, 5 + dice.draw(50))?;
        let victim = match dice.draw(3) {
            0 => dice.draw(COUNT as u64) as usize,
            _ => primary,
        };
        let pause = Duration::from_millis(dice.draw(4_000));
        let kind = dice.draw(8);
        println!("  term {term}, primary {primary}: fault {kind} on {victim} for {pause:?}");
        let other = (victim + 1 + dice.draw(2) as usize) % COUNT;
        strike(&mut cluster, kind, primary, victim, other, pause)?;
    }
    cluster.await_healthy()?;
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// One fault, over when this returns.
fn strike(
    cluster: &mut Cluster,
    kind: u64,
    primary: usize,
    victim: usize,
    other: usize,
    pause: Duration,
) -> Result<()> {
    match kind {
        0 => cluster.kill_postmaster(victim)?,
        1 => {
            cluster.kill_host(victim);
            cluster.pause(pause);
            cluster.start_keeper(victim)?;
        }
        2 => {
            cluster.signal_host(victim, Signal::STOP);
            cluster.pause(pause);
            cluster.signal_host(victim, Signal::CONT);
        }
        3 => {
            cluster.kill_keeper(victim);
            cluster.pause(pause);
            cluster.start_keeper(victim)?;
        }
        4 => {
            let body = format!("{{\"to\":\"host-{}\"}}", other + 1);
            match cluster.order(primary, "/v1/switchover", &body) {
                Ok(answer) => println!("    {answer}"),
                Err(error) => println!("    {error:#}"),
            }
        }
        5 => {
            cluster.wires.isolate(victim, true);
            cluster.pause(pause);
            cluster.wires.isolate(victim, false);
        }
        6 => {
            cluster.wires.cut(victim, other, true);
            cluster.pause(pause);
            cluster.wires.cut(victim, other, false);
        }
        _ => {
            for which in 0..COUNT {
                cluster.kill_host(which);
            }
            for which in 0..COUNT {
                cluster.start_keeper(which)?;
            }
        }
    }
    Ok(())
}
