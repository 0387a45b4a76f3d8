//! Who leads, by what all nodes say.

use std::collections::BTreeSet;

use mainstay_record::node::JournalFacts;
use mainstay_record::status::{HostReason, Leadership, PlatformReason, Verdict};

use crate::findings::{Findings, worst};
use crate::gathered::{Gathered, Known, OLD_MS};

type Answer<'a> = (&'a str, &'a JournalFacts, u64);

fn answers<'a>(gathered: &'a Gathered<'_>) -> Vec<Answer<'a>> {
    let hosts = gathered.platform.hosts().iter();
    let answers = hosts.filter_map(|host| match gathered.node(host.name.as_str()) {
        Known::Fresh { value, age_ms } => Some((host.name.as_str(), &value.journal, age_ms)),
        Known::Missing { .. } => None,
    });
    answers.collect()
}

/// The newest claim is in the highest epoch; among those who know it, the youngest answer counts.
fn newest<'a>(answers: &[Answer<'a>]) -> Option<Answer<'a>> {
    let age =
        |(_, facts, age_ms): &&Answer<'a>| (facts.epoch, facts.entries, std::cmp::Reverse(*age_ms));
    answers.iter().max_by_key(age).copied()
}

/// How many instances of a service a playbook wants in place of what the file says.
pub(crate) fn count_beside(gathered: &Gathered<'_>, service: &str) -> Option<u16> {
    let (_, facts, _) = newest(&answers(gathered))?;
    facts.beside.counts.get(service).copied()
}

pub(crate) fn leadership(gathered: &Gathered<'_>, findings: &mut Findings) -> Leadership {
    let answers = answers(gathered);
    let Some((_, facts, age_ms)) = newest(&answers) else {
        let reason = PlatformReason::LeaderUnknown;
        return Leadership {
            verdict: findings.note("leadership", Verdict::Unknown, reason),
            ..Leadership::default()
        };
    };
    let is_deaf = answers.iter().all(|(_, facts, _)| facts.out_of_reach);
    let mut verdicts = match is_deaf {
        true => vec![findings.note("leadership", Verdict::Degraded, PlatformReason::Deaf)],
        false => vec![led(findings, facts, &answers), agreed(findings, &answers)],
    };
    for (host, facts, _) in &answers {
        if let Some(problem) = &facts.problem {
            let problem = problem.clone();
            let subject = format!("host {host}");
            let reason = match facts.out_of_reach {
                true => HostReason::JournalOutOfReach { problem },
                false => HostReason::JournalTrouble { problem },
            };
            verdicts.push(findings.note(&subject, Verdict::Degraded, reason));
        }
    }
    if facts.paused {
        verdicts.push(findings.note("platform", Verdict::Degraded, PlatformReason::Paused));
    }
    Leadership {
        verdict: worst(verdicts),
        // Who is deaf leads nobody, whatever the last entry says.
        leader: facts.leader.clone().filter(|_| !is_deaf),
        epoch: facts.epoch,
        entries: facts.entries,
        generation: facts.generation,
        paused: facts.paused,
        upgrade: facts.upgrade.clone(),
        age_ms: Some(age_ms),
        beside: facts.beside.clone(),
    }
}

fn led(
    findings: &mut Findings,
    facts: &JournalFacts,
    answers: &[(&str, &JournalFacts, u64)],
) -> Verdict {
    let Some(leader) = &facts.leader else {
        return findings.note("leadership", Verdict::Broken, PlatformReason::LeaderUnknown);
    };
    // The leader's own answer settles it; otherwise the longest silence that everybody agrees on.
    let speaks = answers
        .iter()
        .any(|(host, facts, _)| host == leader && facts.role == "leading");
    let heard = answers
        .iter()
        .filter_map(|(_, facts, age)| Some(facts.leader_heard_ms? + age));
    let silent_ms = heard.min();
    match silent_ms {
        Some(silent_ms) if !speaks && silent_ms > OLD_MS => {
            let leader = leader.clone();
            let reason = PlatformReason::LeaderSilent { leader, silent_ms };
            findings.note("leadership", Verdict::Degraded, reason)
        }
        _ => Verdict::Healthy,
    }
}

fn agreed(findings: &mut Findings, answers: &[(&str, &JournalFacts, u64)]) -> Verdict {
    let leading = answers
        .iter()
        .filter(|(_, facts, _)| facts.role == "leading");
    let claims: BTreeSet<String> = leading
        .map(|(host, facts, _)| format!("{host} (epoch {})", facts.epoch))
        .collect();
    if claims.len() <= 1 {
        return Verdict::Healthy;
    }
    let claims = claims.into_iter().collect();
    findings.note(
        "leadership",
        Verdict::Degraded,
        PlatformReason::LeadersDiffer { claims },
    )
}
