//! Reasons in words, each with what to do.

use mainstay_record::status::{
    ArchiveReason, DatabaseReason, FaultReason, GatewayReason, HostReason, PlatformReason, Reason,
    ReplicaReason, ServiceReason, WatchReason,
};

/// What is the case, and what to do if there is anything to do but wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub text: String,
    pub next: Option<String>,
}

fn words(text: impl Into<String>, next: impl Into<String>) -> Words {
    Words {
        text: text.into(),
        next: Some(next.into()),
    }
}

fn wait(text: impl Into<String>) -> Words {
    Words {
        text: text.into(),
        next: None,
    }
}

/// A reason as a person reads it.
pub fn explain(reason: &Reason) -> Words {
    match reason {
        Reason::Platform(reason) => platform(reason),
        Reason::Host(reason) => host(reason),
        Reason::Database(reason) => database(reason),
        Reason::Replica(reason) => replica(reason),
        Reason::Service(reason) => service(reason),
        Reason::Gateway(reason) => gateway(reason),
        Reason::Watch(reason) => watch(reason),
        Reason::Fault(reason) => fault(reason),
    }
}

fn platform(reason: &PlatformReason) -> Words {
    match reason {
        PlatformReason::LeaderUnknown => words(
            "no node leads, as far as any of them knows",
            "a node claims the lead within seconds; if none does, `mainstay journal verify` tells why",
        ),
        PlatformReason::Deaf => words(
            "no node reaches the journal: nothing is decided, and what runs goes on by its reflexes",
            "bring back a majority of what keeps it (docs/coordination.md); it goes on where it ended",
        ),
        PlatformReason::LeaderSilent { leader, silent_ms } => words(
            format!(
                "the leading node on {leader} has been silent for {}",
                span(*silent_ms)
            ),
            "another node takes over by itself within seconds",
        ),
        PlatformReason::LeadersDiffer { claims } => words(
            format!("nodes do not agree on who leads: {}", claims.join(", ")),
            "the newest claim in the log wins; if they still differ in a minute, see `mainstay journal show`",
        ),
        PlatformReason::Paused => words(
            "the platform is paused: Mainstay decides nothing",
            "`mainstay resume --reason …` ends the pause",
        ),
    }
}

fn host(reason: &HostReason) -> Words {
    match reason {
        HostReason::NodeSilent { problem } => words(
            format!("its node does not answer ({problem}), so nobody can say what runs there"),
            "`mainstay up FILE` starts nodes that are gone and adopts what they left running",
        ),
        HostReason::JournalTrouble { problem } => words(
            format!("its journal is in trouble: {problem}"),
            "`mainstay journal verify` says which part is wrong and repairs nothing",
        ),
        HostReason::JournalOutOfReach { problem } => words(
            format!("its node is deaf: {problem}"),
            "it hears again by itself when its region reaches a majority of what keeps the journal",
        ),
        HostReason::EtcdMember { phase, why } => words(
            format!("its member of etcd is {}: {why}", phase.replace('_', " ")),
            "the others go on while they are a majority; its log (DATA/hosts/HOST/instances/etcd/log) tells more",
        ),
        HostReason::OldGeneration { has, newest } => words(
            format!("it follows version {has} of the platform file; {newest} is in force"),
            "it catches up by itself; if not, look at the leading node's log",
        ),
        HostReason::Trouble { problem } => words(
            problem.clone(),
            "it goes on trying by itself; most often its disk is full or cannot be written",
        ),
    }
}

fn database(reason: &DatabaseReason) -> Words {
    match reason {
        DatabaseReason::PrimaryMissing {
            keepers_seen,
            keepers,
            needed,
        } => words(
            format!(
                "it has no primary; {keepers_seen} of {keepers} keepers are heard, and {needed} are needed to \
                 choose one"
            ),
            "bring back hosts until enough keepers are heard; then they choose by themselves",
        ),
        DatabaseReason::PrimaryUnasked { host, serving } => unasked(host, *serving),
        DatabaseReason::PrimariesDiffer { hosts } => words(
            format!(
                "several replicas say that they are primary: {}",
                hosts.join(", ")
            ),
            "the higher term wins and the other is fenced; applications are served by at most one",
        ),
        DatabaseReason::PrimaryClosed { why } => words(
            format!("its primary does not serve applications: {why}"),
            "it opens by itself once its quorum has the new term on disk",
        ),
        DatabaseReason::CommitsWeakened { what } => words(
            format!("{what}: a commit may be answered as a success without its copies"),
            "take it back: `ALTER ROLE … RESET`, `ALTER DATABASE … RESET` or `ALTER SYSTEM RESET` and a reload, as the owner or a superuser; a session, by its program",
        ),
        DatabaseReason::PrimaryAway { region, home } => words(
            format!("its primary is in {region}, away from its home {home}"),
            format!(
                "nothing is wrong; to move it: `mainstay switchover DATABASE --to {home} --reason …`"
            ),
        ),
        DatabaseReason::ServesAlone {
            needed,
            unprotected_bytes,
            since_ms,
            ending,
        } => serves_alone(*needed, *unprotected_bytes, *since_ms, *ending),
        DatabaseReason::MayHaveLost {
            term,
            timeline,
            after,
            until,
        } => may_have_lost(*term, *timeline, after, until.as_deref()),
        DatabaseReason::WritesWait { copies, needed } => words(
            format!(
                "writes wait: a commit needs {needed} copies on disk, and {copies} can be reached"
            ),
            "bring back a replica: waiting commits then finish, none is lost",
        ),
        DatabaseReason::FewerCopiesPromised { promised, wanted } => {
            fewer_copies(*promised, *wanted)
        }
        DatabaseReason::ReplicaLeaving { host } => leaving(host),
        DatabaseReason::Archive(reason) => archive(reason),
        DatabaseReason::NoSpareCopy { copies, needed } => words(
            format!(
                "it has {copies} copies that count and needs {needed}: one more loss, and writes wait"
            ),
            "bring back the missing replica, or add one on another host",
        ),
    }
}

fn serves_alone(needed: u32, unprotected_bytes: u64, since_ms: u64, is_ending: bool) -> Words {
    let ending = if is_ending {
        "; its quorum is back and catches up"
    } else {
        ""
    };
    words(
        format!(
            "for {} s it has answered commits by order without the {needed} copies that it promises: {} would be \
             lost with the primary{ending}",
            since_ms / 1_000,
            size(unprotected_bytes),
        ),
        "bring back a replica: the full promise then holds again by itself",
    )
}

fn may_have_lost(term: u32, timeline: u32, after: &str, until: Option<&str>) -> Words {
    words(
        match until {
            Some(until) => format!(
                "term {term} began without what was written on timeline {timeline} between {after} and {until} or \
                 later, which may hold answered commits"
            ),
            None => format!(
                "term {term} began without what may have been written on timeline {timeline} after {after}, \
                 answered commits among it"
            ),
        },
        "what the lost primary had is moved aside on its host when it comes back; a planned switchover begins a term \
         that no longer says this, the journal keeps it",
    )
}

fn unasked(host: &str, serving: bool) -> Words {
    let text = if serving {
        "but other keepers hear it and gateways lead to it"
    } else {
        "other keepers hear it, but no gateway leads to it"
    };
    let joint = if serving { "," } else { ";" };
    words(
        format!("its primary on {host} cannot be asked{joint} {text}"),
        "its node answers again once it runs: see the host's own entry",
    )
}

fn archive(reason: &ArchiveReason) -> Words {
    match reason {
        ArchiveReason::Silent { ms } => words(
            ms.map_or_else(
                || "its log is not put away: the archiver beside its primary has never spoken".to_owned(),
                |ms| format!("its log is not put away: the archiver beside its primary has been silent for {}", span(ms)),
            ),
            "look at the archiver's log; it is started again by its node",
        ),
        ArchiveReason::Behind { bytes, ms } => words(
            format!(
                "{} of its log wait to be put away, the oldest for {}: so much would be lost with all hosts",
                size(*bytes),
                span(*ms)
            ),
            "see whether the stores answer: `mainstay backup list DATABASE`",
        ),
        ArchiveReason::Alarm { why } => words(
            format!("its archive is not safe: {why}"),
            "docs/backup.md, alarms",
        ),
        ArchiveReason::Uneven { why } => words(
            format!("one store lacks what the other has: {why}"),
            "repair it; it is levelled by itself",
        ),
        ArchiveReason::ProofFailed { ms, why } => words(
            format!("its backup could not be proven {} ago: {why}", span(*ms)),
            "`mainstay backup verify DATABASE` tries again; `backup list` shows the older proven ones",
        ),
    }
}

fn replica(reason: &ReplicaReason) -> Words {
    match reason {
        ReplicaReason::Silent { problem } => words(
            format!("its keeper does not answer: {problem}"),
            "its node restarts it; its log stands in the folder of the instance `keeper-DATABASE`",
        ),
        ReplicaReason::Paused => words(
            "its keeper is paused: it would not change the primary",
            "`mainstay resume --reason …` ends the pause",
        ),
        ReplicaReason::Seeding { bytes, total_bytes } => wait(match total_bytes {
            Some(total) => format!("it is being copied: {} of {}", size(*bytes), size(*total)),
            None => format!("it is being copied: {} so far", size(*bytes)),
        }),
        ReplicaReason::NotCounting { role, why } => words(
            format!("it does not count for commits ({role}): {why}"),
            "it is rewound or rebuilt by itself; its keeper's log tells the progress",
        ),
        ReplicaReason::RestartDue { what } => words(
            format!("it is to be started anew, for {}", what.join(", ")),
            "it is done by itself, one replica at a time, the primary last, while enough others acknowledge",
        ),
        ReplicaReason::ParametersRefused { why } => words(
            format!(
                "its server does not take the parameters of the file, and runs with the ones before: {why}"
            ),
            "correct `parameters:` in the platform file, then `mainstay up FILE`; no other server is started anew until then",
        ),
        ReplicaReason::Lags { bytes } => words(
            format!("it is {} behind the primary", size(*bytes)),
            "if that does not shrink, look at the disk and the network of that host",
        ),
        ReplicaReason::NeverCatchesUp { bytes, ms } => words(
            format!(
                "it gets log all the time and has come no nearer for {}: it is {} behind the primary",
                span(*ms),
                size(*bytes)
            ),
            "give its disk and its way to the primary more room, or the database less to write; to fill it anew helps only where that is faster",
        ),
    }
}

fn fewer_copies(promised: u32, wanted: u32) -> Words {
    words(
        format!(
            "the file asks for {wanted} copies of each commit, and {promised} are promised until so many replicas follow"
        ),
        "bring back the replicas that are missing",
    )
}

fn leaving(host: &str) -> Words {
    words(
        format!(
            "its replica on {host} is to leave, and is needed until the others, and who comes in its place, have what it has"
        ),
        "it is let go by itself; the lines of the replicas say what it waits for",
    )
}

fn service(reason: &ServiceReason) -> Words {
    const READ_LOG: &str = "read its log; `mainstay status --json` names the file";
    match reason {
        ServiceReason::NoActiveInstance { primary } => words(
            format!("no instance is active, though {primary} has an open primary for it"),
            "the instance beside the primary tells why at its /health/ready",
        ),
        ServiceReason::TooFewInstances { ready, wanted } => words(
            format!("{ready} of {wanted} instances are ready"),
            "another instance is started by itself on a host that the file allows; if none is free, allow more",
        ),
        ServiceReason::InstanceMissing => words(
            "its node knows no such process",
            "its node starts it; if not, `mainstay journal show` tells what was decided",
        ),
        ServiceReason::InstanceDown { phase, why } => {
            words(format!("it does not run ({phase}): {why}"), READ_LOG)
        }
        ServiceReason::CrashLoop { restarts, why } => words(
            format!("it ends again and again ({restarts} restarts): {why}"),
            READ_LOG,
        ),
        ServiceReason::InstanceUnready { why } => {
            words(format!("it runs but takes no requests: {why}"), READ_LOG)
        }
    }
}

fn gateway(reason: &GatewayReason) -> Words {
    match reason {
        GatewayReason::Silent { problem } => words(
            format!("it does not answer: {problem}"),
            "its node restarts it; clients go to another region meanwhile",
        ),
        GatewayReason::RefusesSnapshot { error } => words(
            format!("it goes on with old routes, because it refuses the new ones: {error}"),
            "this is a fault of Mainstay's: report it with the file config.json beside its log",
        ),
        GatewayReason::Stopping => wait("it is being stopped and takes no new connections"),
        GatewayReason::CellNotServed {
            cell,
            view,
            why,
            held,
        } => words(
            format!("it sees cell {cell} as {view} and holds {held} requests: {why}"),
            "they wait until the cell is back or their time is over; the database's own entry tells the cause",
        ),
        GatewayReason::ServiceUnseen { service } => words(
            format!("it sees no ready instance of {service}, so requests for it fail"),
            "see the service's own entry",
        ),
    }
}

fn watch(reason: &WatchReason) -> Words {
    let alerts = "`mainstay alerts` shows it with its labels; its runbook, if the rule names one, tells what to do";
    match reason {
        WatchReason::Silent { problem } => words(
            format!("it does not answer: {problem}"),
            "alerts that it raised stand as they were told last; its log tells the cause",
        ),
        WatchReason::InstanceDown { phase, why } => words(
            format!("it is {}: {why}", phase.replace('_', " ")),
            "it is started again by itself; alerts that it raised stand as they were told last",
        ),
        WatchReason::RulesRefused { why } => words(
            format!("it does not follow a rule file as it stands: {why}"),
            "mend the file and run `mainstay up` with the platform file again",
        ),
        WatchReason::Hindered { why } => words(
            why.clone(),
            "until then it resolves nothing that it does not see; docs/watch.md, \"What hinders a watch\", tells what helps",
        ),
        WatchReason::Fires { summary, since_ms } => words(
            format!("has fired for {}: {summary}", span(*since_ms)),
            alerts,
        ),
        WatchReason::Missing { summary, since_ms } => words(
            format!(
                "fired {} ago, and what it is about is not measured any more: {summary}",
                span(*since_ms)
            ),
            "see why nothing is measured; it ends when that is measured again and is well",
        ),
    }
}

fn fault(reason: &FaultReason) -> Words {
    let clear = |id: &str| format!("`mainstay fault clear {id} --reason …`");
    match reason {
        FaultReason::InForce { id, remaining_ms } => words(
            format!("fault {id} is in force for another {}", span(*remaining_ms)),
            format!("it ends by itself; sooner with {}", clear(id)),
        ),
        FaultReason::Unguarded { id } => words(
            format!("the guardian of fault {id} is dead: the fault may outlast its time"),
            format!("{} undoes it now", clear(id)),
        ),
        FaultReason::Trouble { id, problem } => words(
            format!("fault {id} could not be undone yet: {problem}"),
            format!("{} tries again", clear(id)),
        ),
    }
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
