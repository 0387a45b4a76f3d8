//! Databases: who is primary, who counts for commits, who is missing.

use mainstay_model::database::{Database, Replica};
use mainstay_record::keeper::{KeeperStatus, ParametersStatus, PeerStatus, SightRole};
use mainstay_record::status::{
    DatabaseReason, DatabaseStatus, ReplicaReason, ReplicaStatus, Verdict,
};

use crate::archives;
use crate::findings::{Findings, worst};
use crate::gathered::{Gathered, Known};

/// Behind by more than this, a replica is worth a word.
const LAG_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn databases(gathered: &Gathered<'_>, findings: &mut Findings) -> Vec<DatabaseStatus> {
    let databases = gathered.platform.databases().iter();
    databases
        .map(|database| View::of(gathered, database).status(findings))
        .collect()
}

/// The host of the open primary of a database, if there is one.
pub(crate) fn open_primary<'a>(
    gathered: &'a Gathered<'_>,
    database: &'a Database,
) -> Option<&'a str> {
    let view = View::of(gathered, database);
    match view.primary() {
        Some((replica, status)) => status.sight.open.then_some(replica.host.as_str()),
        None => {
            let heard = view.hearsay()?;
            heard.serving.then_some(heard.replica.host.as_str())
        }
    }
}

/// A primary that others speak of.
struct Hearsay<'a> {
    replica: &'a Replica,
    serving: bool,
}

/// So recently must another keeper have heard it.
const HEARSAY_MS: u64 = 2_000;

/// Whether any keeper of a database answers.
pub(crate) fn is_heard(gathered: &Gathered<'_>, database: &Database) -> bool {
    View::of(gathered, database).heard().next().is_some()
}

struct View<'a> {
    gathered: &'a Gathered<'a>,
    database: &'a Database,
    replicas: Vec<(&'a Replica, Known<'a, KeeperStatus>)>,
}

impl<'a> View<'a> {
    fn of(gathered: &'a Gathered<'_>, database: &'a Database) -> Self {
        let replicas = database.replicas.iter();
        let keeper = |replica: &'a Replica| {
            let known = gathered.keeper(replica.host.as_str(), database.name.as_str());
            (replica, known)
        };
        Self {
            gathered,
            database,
            replicas: replicas.map(keeper).collect(),
        }
    }

    fn heard(&self) -> impl Iterator<Item = (&'a Replica, &'a KeeperStatus)> {
        self.replicas
            .iter()
            .filter_map(|(replica, known)| Some((*replica, known.value()?)))
    }

    /// Of those that say they are, the one of the highest term, and of those the one that serves.
    fn primary(&self) -> Option<(&'a Replica, &'a KeeperStatus)> {
        self.heard()
            .filter(|(_, status)| status.sight.role == SightRole::Primary)
            .max_by_key(|(_, status)| (status.sight.term, status.sight.open))
    }

    /// The primary of which nobody answers, by what other keepers of the highest term say and have heard just now.
    fn hearsay(&self) -> Option<Hearsay<'a>> {
        let (_, teller) = self.heard().max_by_key(|(_, status)| status.sight.term)?;
        let named = teller.sight.primary.as_ref()?;
        let mut silent = self
            .replicas
            .iter()
            .filter(|(_, known)| known.value().is_none());
        let (replica, _) = silent.find(|(replica, _)| replica.host == **named)?;
        let heard_ms = peer(teller, named)?.heard_ms?;
        let serving = self.is_led_to(replica);
        (heard_ms <= HEARSAY_MS).then_some(Hearsay { replica, serving })
    }

    /// Whether some gateway takes the replica for the primary.
    fn is_led_to(&self, replica: &Replica) -> bool {
        let (name, host) = (self.database.name.as_str(), replica.host.as_str());
        self.gathered.gateway_processes().any(|status| {
            let mut databases = status.databases.iter();
            databases.any(|seen| seen.database == name && seen.primary.as_deref() == Some(host))
        })
    }

    fn status(&self, findings: &mut Findings) -> DatabaseStatus {
        let subject = format!("database {}", self.database.name);
        let primary = self.primary();
        let hearsay = if primary.is_some() {
            None
        } else {
            self.hearsay()
        };
        let copies = primary.map_or(0, |(_, status)| copies(status));
        let needed = u32::from(self.database.quorum.commit);
        let mut verdicts = vec![match primary {
            None => self.without_primary(&subject, hearsay.as_ref(), findings),
            Some((replica, status)) => {
                self.with_primary(&subject, replica, status, copies, findings)
            }
        }];
        let mut replicas = Vec::new();
        for (replica, known) in &self.replicas {
            replicas.push(self.replica(replica, known, primary, findings));
        }
        verdicts.extend(replicas.iter().map(|replica| match replica.verdict {
            // One replica that nobody can ask takes protection away, not the database.
            Verdict::Broken | Verdict::Unknown | Verdict::Degraded => Verdict::Degraded,
            Verdict::Healthy => Verdict::Healthy,
        }));
        let at = primary.map(|(replica, _)| replica.host.as_str());
        let archive = archives::archive(self.gathered, self.database, at, findings);
        verdicts.extend(archive.iter().map(|(verdict, _)| *verdict));
        DatabaseStatus {
            archive: archive.map(|(_, status)| status),
            name: self.database.name.to_string(),
            verdict: worst(verdicts),
            home: self.database.home.to_string(),
            survive: self.database.survive.to_string(),
            primary: primary
                .map(|(replica, _)| replica)
                .or(hearsay.as_ref().map(|heard| heard.replica))
                .map(|replica| replica.host.to_string()),
            term: self
                .heard()
                .map(|(_, status)| status.sight.term)
                .max()
                .unwrap_or(0),
            open: primary.is_some_and(|(_, status)| status.sight.open)
                || hearsay.is_some_and(|heard| heard.serving),
            copies,
            copies_needed: needed,
            replicas,
        }
    }

    fn without_primary(
        &self,
        subject: &str,
        hearsay: Option<&Hearsay<'_>>,
        findings: &mut Findings,
    ) -> Verdict {
        if let Some(Hearsay { replica, serving }) = hearsay {
            let (host, serving) = (replica.host.to_string(), *serving);
            let severity = if serving {
                Verdict::Degraded
            } else {
                Verdict::Unknown
            };
            return findings.note(
                subject,
                severity,
                DatabaseReason::PrimaryUnasked { host, serving },
            );
        }
        let keepers_seen = u32::try_from(self.heard().count()).unwrap_or(u32::MAX);
        let severity = if keepers_seen == 0 {
            Verdict::Unknown
        } else {
            Verdict::Broken
        };
        let reason = DatabaseReason::PrimaryMissing {
            keepers_seen,
            keepers: u32::try_from(self.replicas.len()).unwrap_or(u32::MAX),
            needed: u32::from(self.database.quorum.promise),
        };
        findings.note(subject, severity, reason)
    }

    fn with_primary(
        &self,
        subject: &str,
        replica: &Replica,
        status: &KeeperStatus,
        copies: u32,
        findings: &mut Findings,
    ) -> Verdict {
        let mut verdict = Verdict::Healthy;
        let mut note =
            |severity, reason| verdict = verdict.max(findings.note(subject, severity, reason));
        let rivals = self
            .heard()
            .filter(|(_, status)| status.sight.role == SightRole::Primary);
        let rivals: Vec<String> = rivals
            .map(|(replica, status)| format!("{} (term {})", replica.host, status.sight.term))
            .collect();
        if rivals.len() > 1 {
            note(
                Verdict::Degraded,
                DatabaseReason::PrimariesDiffer { hosts: rivals },
            );
        }
        if !status.sight.open {
            let why = status.sight.reason.clone();
            note(Verdict::Broken, DatabaseReason::PrimaryClosed { why });
        }
        let needed = status.cohort.copies;
        if let Some(solo) = &status.solo {
            let reason = DatabaseReason::ServesAlone {
                needed,
                unprotected_bytes: solo.unprotected_bytes,
                since_ms: solo.since_ms,
                ending: !solo.alone,
            };
            note(Verdict::Broken, reason);
        } else if copies < needed {
            note(
                Verdict::Broken,
                DatabaseReason::WritesWait { copies, needed },
            );
        } else if copies == needed && self.replicas.len() > usize::from(self.database.quorum.commit)
        {
            note(
                Verdict::Degraded,
                DatabaseReason::NoSpareCopy { copies, needed },
            );
        }
        for doubt in doubts(status) {
            note(Verdict::Degraded, doubt);
        }
        if replica.region != self.database.home {
            let region = replica.region.to_string();
            let home = self.database.home.to_string();
            note(
                Verdict::Degraded,
                DatabaseReason::PrimaryAway { region, home },
            );
        }
        verdict
    }

    fn replica(
        &self,
        replica: &Replica,
        known: &Known<'_, KeeperStatus>,
        primary: Option<(&Replica, &KeeperStatus)>,
        findings: &mut Findings,
    ) -> ReplicaStatus {
        let subject = format!("database {} on {}", self.database.name, replica.host);
        let peer = primary.and_then(|(_, status)| peer(status, replica.host.as_str()));
        let status = match known {
            Known::Fresh { value, .. } => *value,
            Known::Missing { problem, age_ms } => {
                // Of a silent host the host's own finding says enough.
                if !self.gathered.is_silent(replica.host.as_str()) {
                    let problem = problem.clone();
                    let reason = ReplicaReason::Silent { problem };
                    findings.note(&subject, Verdict::Unknown, reason);
                }
                let verdict = Verdict::Unknown;
                return self.silent_replica(replica, peer, verdict, *age_ms);
            }
        };
        let is_primary = status.sight.role == SightRole::Primary;
        let acknowledges = is_primary || peer.is_some_and(|peer| peer.acknowledges);
        let lag_bytes = if is_primary {
            None
        } else {
            peer.and_then(|peer| peer.lag_bytes)
        };
        let mut verdict = Verdict::Healthy;
        let mut note = |reason: ReplicaReason| {
            verdict = verdict.max(findings.note(&subject, Verdict::Degraded, reason));
        };
        if let Some(seeding) = &status.seeding {
            note(ReplicaReason::Seeding {
                bytes: seeding.bytes,
                total_bytes: seeding.total_bytes,
            });
        } else if !acknowledges && primary.is_some() {
            note(ReplicaReason::NotCounting {
                role: role(status.sight.role).to_owned(),
                why: status.sight.reason.clone(),
            });
        }
        for reason in status.parameters.iter().flat_map(parameters) {
            note(reason);
        }
        if let Some(bytes) = lag_bytes.filter(|bytes| *bytes > LAG_BYTES_MAX) {
            note(ReplicaReason::Lags { bytes });
        }
        let vain_ms = peer.and_then(|peer| peer.catches_up_in_vain_ms);
        if let (Some(ms), Some(bytes)) = (vain_ms, lag_bytes) {
            note(ReplicaReason::NeverCatchesUp { bytes, ms });
        }
        if status.paused {
            note(ReplicaReason::Paused);
        }
        ReplicaStatus {
            host: replica.host.to_string(),
            region: replica.region.to_string(),
            verdict,
            role: Some(role(status.sight.role).to_owned()),
            term: status.sight.term,
            lsn: Some(status.sight.lsn.clone()),
            lag_bytes,
            acknowledges,
            why: status.sight.reason.clone(),
            age_ms: known.age_ms(),
        }
    }

    /// Nobody answers there; what the primary last saw of it is all there is.
    fn silent_replica(
        &self,
        replica: &Replica,
        peer: Option<&PeerStatus>,
        verdict: Verdict,
        age_ms: Option<u64>,
    ) -> ReplicaStatus {
        ReplicaStatus {
            host: replica.host.to_string(),
            region: replica.region.to_string(),
            verdict,
            role: None,
            term: 0,
            lsn: peer.and_then(|peer| peer.flushed.clone()),
            lag_bytes: peer.and_then(|peer| peer.lag_bytes),
            acknowledges: peer.is_some_and(|peer| peer.acknowledges),
            why: "its keeper does not answer".to_owned(),
            age_ms,
        }
    }
}

/// What is to be said of parameters that are not in force.
fn parameters(status: &ParametersStatus) -> Vec<ReplicaReason> {
    let mut reasons = Vec::new();
    if let Some(why) = &status.refused {
        let why = why.clone();
        reasons.push(ReplicaReason::ParametersRefused { why });
    }
    let mut what = status.waiting.clone();
    if status.other_programs {
        what.push("the programs that were installed".to_owned());
    }
    if !what.is_empty() {
        reasons.push(ReplicaReason::RestartDue { what });
    }
    reasons
}

/// What a primary says of commits that may be lost, or that some may not wait for.
fn doubts(status: &KeeperStatus) -> Vec<DatabaseReason> {
    let lost = status
        .lost_by(status.sight.term)
        .map(|loss| DatabaseReason::MayHaveLost {
            term: loss.term,
            timeline: loss.timeline,
            after: loss.after.clone(),
            until: loss.until.clone(),
        });
    let parameters = status.parameters.iter();
    let weakened = parameters
        .flat_map(|parameters| &parameters.weakened)
        .map(|what| DatabaseReason::CommitsWeakened { what: what.clone() });
    let cohort = &status.cohort;
    let fewer =
        (cohort.wanted_copies > cohort.copies).then_some(DatabaseReason::FewerCopiesPromised {
            promised: cohort.copies,
            wanted: cohort.wanted_copies,
        });
    let leaving = cohort.leaving.iter();
    let leaving = leaving.map(|host| DatabaseReason::ReplicaLeaving { host: host.clone() });
    lost.chain(weakened).chain(fewer).chain(leaving).collect()
}

fn peer<'a>(primary: &'a KeeperStatus, host: &str) -> Option<&'a PeerStatus> {
    primary.peers.iter().find(|peer| peer.host == host)
}

/// The primary's own copy and those of the others whose flush it waits for.
fn copies(primary: &KeeperStatus) -> u32 {
    let own = &primary.sight.host;
    let others = primary
        .peers
        .iter()
        .filter(|peer| peer.host != *own && peer.acknowledges);
    u32::try_from(others.count()).map_or(u32::MAX, |others| others.saturating_add(1))
}

const fn role(role: SightRole) -> &'static str {
    match role {
        SightRole::Primary => "primary",
        SightRole::Standby => "standby",
        SightRole::Learner => "learner",
        SightRole::Candidate => "candidate",
        SightRole::Fenced => "fenced",
        SightRole::Starting => "starting",
        SightRole::Stopped => "stopped",
    }
}
