//! Reasons in words, each with what to do.

use mainstay_record::status::Reason;

/// What is the case.
pub fn text(reason: &Reason) -> String {
    match reason {
        Reason::NodeSilent { problem } => format!("its node does not answer: {problem}"),
        Reason::FactsOld { age_ms } => format!("what is known of it is {} old", span(*age_ms)),
        Reason::LeaderUnknown => "no node leads, as far as any of them knows".to_owned(),
        Reason::LeaderSilent { leader, silent_ms } => {
            format!(
                "the leading node on {leader} has been silent for {}",
                span(*silent_ms)
            )
        }
        Reason::LeadersDiffer { claims } => {
            format!("nodes do not agree on who leads: {}", claims.join(", "))
        }
        Reason::JournalTrouble { problem } => format!("its journal is in trouble: {problem}"),
        Reason::OldGeneration { has, newest } => {
            format!("it follows version {has} of the platform file; {newest} is in force")
        }
        Reason::Paused => "the platform is paused: Mainstay decides nothing".to_owned(),
        Reason::KeeperSilent { problem } => format!("its keeper does not answer: {problem}"),
        Reason::KeeperPaused => "its keeper is paused: it would not change the primary".to_owned(),
        Reason::PrimaryMissing {
            keepers_seen,
            keepers,
            needed,
        } => format!(
            "it has no primary; {keepers_seen} of {keepers} keepers are heard, and {needed} are needed to choose one"
        ),
        Reason::PrimariesDiffer { hosts } => {
            format!(
                "several replicas say that they are primary: {}",
                hosts.join(", ")
            )
        }
        Reason::PrimaryClosed { why } => format!("its primary does not serve applications: {why}"),
        Reason::PrimaryAway { region, home } => {
            format!("its primary is in {region}, away from its home {home}")
        }
        Reason::WritesWait { copies, needed } => {
            format!(
                "writes wait: a commit needs {needed} copies on disk, and {copies} can be reached"
            )
        }
        Reason::NoSpareCopy { copies, needed } => format!(
            "it has {copies} copies that count and needs {needed}: one more loss, and writes wait"
        ),
        Reason::ReplicaSeeding { bytes, total_bytes } => match total_bytes {
            Some(total) => format!("it is being copied: {} of {}", size(*bytes), size(*total)),
            None => format!("it is being copied: {} so far", size(*bytes)),
        },
        Reason::ReplicaNotCounting { role, why } => {
            format!("it does not count for commits ({role}): {why}")
        }
        Reason::ReplicaLags { bytes } => format!("it is {} behind the primary", size(*bytes)),
        Reason::InstanceMissing => "its node knows no such process".to_owned(),
        Reason::InstanceDown { phase, why } => format!("it does not run ({phase}): {why}"),
        Reason::CrashLoop { restarts, why } => {
            format!("it ends again and again ({restarts} restarts): {why}")
        }
        Reason::InstanceUnready { why } => format!("it runs but takes no requests: {why}"),
        Reason::NoActiveInstance { primary } => {
            format!("no instance is active, though {primary} has an open primary for it")
        }
        Reason::TooFewInstances { ready, wanted } => {
            format!("{ready} of {wanted} instances are ready")
        }
        Reason::GatewaySilent { problem } => format!("it does not answer: {problem}"),
        Reason::GatewayRefusesSnapshot { error } => {
            format!("it goes on with old routes, because it refuses the new ones: {error}")
        }
        Reason::GatewayStopping => "it is being stopped and takes no new connections".to_owned(),
        Reason::CellNotServed {
            cell,
            view,
            why,
            held,
        } => format!("it sees cell {cell} as {view} and holds {held} requests: {why}"),
        Reason::ServiceUnseen { service } => {
            format!("it sees no ready instance of {service}, so its requests for it fail")
        }
        Reason::FaultInForce { id, remaining_ms } => {
            format!("fault {id} is in force for another {}", span(*remaining_ms))
        }
        Reason::FaultUnguarded { id } => {
            format!("the guardian of fault {id} is dead: the fault may outlast its time")
        }
        Reason::FaultTrouble { id, problem } => {
            format!("fault {id} could not be undone yet: {problem}")
        }
    }
}

/// What to do, if there is anything to do but wait.
pub fn next(reason: &Reason) -> Option<String> {
    let text = match reason {
        Reason::NodeSilent { .. } => {
            "`mainstay up FILE` starts nodes that are gone and adopts what they left running"
        }
        Reason::FactsOld { .. } => "ask again; if it stays, look at the node's log",
        Reason::LeaderUnknown => {
            "a node claims the lead within seconds; if none does, `mainstay journal verify` tells why"
        }
        Reason::LeaderSilent { .. } => "another node takes over by itself within seconds",
        Reason::LeadersDiffer { .. } => {
            "the newest claim in the log wins; if they still differ in a minute, look at `mainstay journal show`"
        }
        Reason::JournalTrouble { .. } => {
            "`mainstay journal verify` says which part is wrong and repairs nothing"
        }
        Reason::OldGeneration { .. } => {
            "it catches up by itself; if not, look at the leading node's log"
        }
        Reason::Paused | Reason::KeeperPaused => "`mainstay resume --reason …` ends the pause",
        Reason::KeeperSilent { .. } => {
            "its node restarts it; the log stands in the instance's folder (`mainstay status --json` names it)"
        }
        Reason::PrimaryMissing { .. } => {
            "bring back hosts until enough keepers are heard; then they choose by themselves"
        }
        Reason::PrimariesDiffer { .. } => {
            "the higher term wins and the other is fenced; applications are served by at most one"
        }
        Reason::PrimaryClosed { .. } => {
            "it opens by itself once its quorum has the new term on disk"
        }
        Reason::PrimaryAway { home, .. } => {
            return Some(format!(
                "nothing is wrong; to move it home: `mainstay switchover DATABASE --to {home} --reason …`"
            ));
        }
        Reason::WritesWait { .. } => {
            "bring back a replica: waiting commits then finish, none is lost"
        }
        Reason::NoSpareCopy { .. } => "bring back the missing replica, or add one on another host",
        Reason::ReplicaNotCounting { .. } => {
            "it is rewound or rebuilt by itself; its keeper's log tells the progress"
        }
        Reason::ReplicaLags { .. } => {
            "if it does not shrink, look at the disk and the network of that host"
        }
        Reason::InstanceMissing => {
            "its node starts it; if not, `mainstay journal show` tells what was decided"
        }
        Reason::InstanceDown { .. } | Reason::CrashLoop { .. } | Reason::InstanceUnready { .. } => {
            "read its log; `mainstay status --json` names the file"
        }
        Reason::NoActiveInstance { .. } => {
            "the instance beside the primary tells why at its /health/ready"
        }
        Reason::TooFewInstances { .. } => "free a host that the file allows, or allow more hosts",
        Reason::GatewaySilent { .. } => {
            "its node restarts it; clients go to another region meanwhile"
        }
        Reason::GatewayRefusesSnapshot { .. } => {
            "this is a fault of Mainstay's: report it with the file config.json beside the log"
        }
        Reason::CellNotServed { .. } => {
            "requests wait until the cell is back or their time is over; the database's own entry tells the cause"
        }
        Reason::ServiceUnseen { .. } => "see the service's own entry",
        Reason::FaultInForce { id, .. } => {
            return Some(format!(
                "it ends by itself; sooner with `mainstay fault clear {id} --reason …`"
            ));
        }
        Reason::FaultUnguarded { id } | Reason::FaultTrouble { id, .. } => {
            return Some(format!(
                "`mainstay fault clear {id} --reason …` undoes it now"
            ));
        }
        Reason::ReplicaSeeding { .. } | Reason::GatewayStopping => return None,
    };
    Some(text.to_owned())
}

/// `230ms`, `4.2s`, `3m 05s`, `2h 10m`.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}.{}s", millis % 1_000 / 100),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// `512 B`, `3.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fitting = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    match fitting {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}
