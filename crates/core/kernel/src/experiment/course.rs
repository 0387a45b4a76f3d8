//! What an experiment needs next: a table, from the phase and what is known.
//!
//! | phase   | what is known                                              | what follows                              |
//! |---------|------------------------------------------------------------|-------------------------------------------|
//! | before  | the steady state is not measured                           | it is looked at, once                     |
//! | before  | it does not hold                                           | mending: inconclusive                     |
//! | running | an abort condition is violated, or nobody sees it          | mending: aborted                          |
//! | running | without such a condition: nobody looks for too long        | that is observed: missing                 |
//! | running | a target cannot be chosen, a fault cannot be set           | mending: inconclusive                     |
//! | running | nobody could have an injection done for too long           | mending: inconclusive                     |
//! | running | an injection is due                                        | its targets are chosen; the faults follow |
//! | running | nobody looks                                               | somebody does, until the last one is over |
//! | running | the last injection is over, and it was looked meanwhile    | mending                                   |
//! | running | the last injection is over, and nobody saw its last part   | as where nobody looks                     |
//! | both    | automation is paused                                       | mending: aborted                          |
//! | both    | its time is over                                           | mending: inconclusive                     |
//! | mending | a fault of it is in force                                  | nothing, for a while                      |
//! | mending | an alert that must begin is awaited                        | nothing, until the state must be back     |
//! | mending | not looked at yet                                          | it is: whether the state is back, residue |
//! | mending | looked at                                                  | the end, with the verdict borne out       |
//! | any     | an alert begins that must, or must not                     | that is observed                          |
//! | any     | whoever looks led, and leads no more                       | somebody else looks                       |
//!
//! Nothing here breaks anything or looks at anything, and all of it follows from the journal: whoever takes over comes
//! to the same next entry.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_model::name::HostName;

use super::state::{Course, Phase};
use super::{AlertRules, Experiment, Finding, Moment, Observation, Timetable, Verdict};
use crate::fault::FaultId;
use crate::state::State;

/// An abort condition that was not measured for so long is a blind experimenter.
const BLIND_MS: u64 = 10_000;
/// Whoever looks instead of another has less: nobody looked while they changed.
const BLIND_AGAIN_MS: u64 = 5_000;
/// An injection may be so late; later, it is another experiment than the one that was planned.
const LATE_MS: u64 = 30_000;
/// Faults whose time is over have so long to be undone.
const MENDING_MS: u64 = 60_000;
/// Whoever looks at the end has at least so long, also where everything else took its time.
const LAST_LOOK_MS: u64 = 60_000;
/// The subject of what nobody looked at.
pub(crate) const UNSEEN: &str = "during, all of it";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Observe(Observation),
    Look {
        moment: Moment,
        host: HostName,
        within_ms: u64,
        patience_ms: u64,
    },
    Choose(u32),
    Mend(Option<Verdict>, String),
    End {
        verdict: Verdict,
        why: String,
        residue: Vec<String>,
    },
}

struct Sight<'a> {
    state: &'a State,
    running: &'a Experiment,
    course: &'a Course,
    table: &'a Timetable,
    now_ms: u64,
}

fn sight(state: &State, now_ms: u64) -> Option<Sight<'_>> {
    let running = state.experiment.as_ref()?;
    Some(Sight {
        state,
        running,
        course: running.course.as_ref()?,
        table: running.plan.timetable.as_ref()?,
        now_ms,
    })
}

/// What the experiment that runs needs now.
pub(crate) fn next(state: &State, now_ms: u64) -> Option<Move> {
    let sight = sight(state, now_ms)?;
    match sight.course.phase {
        Phase::Before => sight
            .stopped()
            .or_else(|| sight.alert())
            .or_else(|| sight.looks_elsewhere())
            .or_else(|| sight.looks(Moment::Before, 0)),
        Phase::Running { since_ms } => sight
            .stopped()
            .or_else(|| sight.alert())
            .or_else(|| sight.blind())
            .or_else(|| sight.late(since_ms))
            .or_else(|| sight.looks_elsewhere())
            .or_else(|| sight.injects(since_ms))
            .or_else(|| sight.looks_meanwhile(since_ms))
            .or_else(|| sight.over(since_ms)),
        Phase::Mending { since_ms } => sight
            .given_up(since_ms)
            .or_else(|| sight.alert())
            .or_else(|| sight.looks_elsewhere())
            .or_else(|| sight.looks_at_last(since_ms))
            .or_else(|| sight.concludes()),
    }
}

/// When [`next`] may have something to say, in kernel time.
pub(crate) fn next_due_ms(state: &State) -> Option<u64> {
    let sight = sight(state, state.now_ms)?;
    if next(state, state.now_ms).is_some() {
        return Some(0);
    }
    let times = match sight.course.phase {
        Phase::Before => [Some(sight.running.until_ms), None, None, None],
        Phase::Running { since_ms } => {
            let due = sight.due_ms(since_ms);
            [
                Some(sight.running.until_ms),
                due.filter(|_| sight.course.choice.is_none()),
                due.map(|due_ms| due_ms.saturating_add(LATE_MS)),
                Some(sight.ends_ms(since_ms)),
            ]
        }
        Phase::Mending { since_ms } => [
            Some(sight.last_ms(since_ms)),
            Some(since_ms.saturating_add(MENDING_MS)),
            Some(sight.back_ms(since_ms)),
            None,
        ],
    };
    // What has passed was looked at above.
    let times = times.into_iter().flatten();
    times.filter(|at_ms| *at_ms > state.now_ms).min()
}

/// The host that is to look: the leader's, if it has a watch, since the lead is missed soonest; and where somebody looks
/// `instead` of another, rather not that one.
fn looker<'a>(state: &'a State, instead: Option<&'a HostName>) -> Option<&'a HostName> {
    let watches = &state.desired.as_ref()?.watches;
    let leader = state.leader.as_ref();
    let is_there = |host: &&HostName| !state.lost.contains_key(*host);
    let mut others = watches.iter().filter(is_there);
    leader
        .filter(|leader| watches.contains(*leader))
        .or_else(|| others.find(|host| Some(*host) != instead))
        .or_else(|| instead.filter(is_there))
        // Without a watch nothing is measured, but residue is to be seen everywhere.
        .or(leader)
}

impl Sight<'_> {
    fn in_force(&self) -> impl Iterator<Item = FaultId> {
        let faults = self.course.faults.iter().copied();
        faults.filter(|fault| self.state.faults.contains_key(fault))
    }

    fn is_any_in_force(&self) -> bool {
        self.in_force().next().is_some()
    }

    fn is_all_injected(&self) -> bool {
        self.course.injected as usize >= self.table.injections.len()
    }

    /// When the next injection is due.
    fn due_ms(&self, since_ms: u64) -> Option<u64> {
        let slot = self.table.injections.get(self.course.injected as usize)?;
        Some(since_ms.saturating_add(slot.at_ms))
    }

    /// When the last injection is over, by the timetable and by the faults that are in force.
    fn ends_ms(&self, since_ms: u64) -> u64 {
        let faults = self.in_force().filter_map(|id| self.state.faults.get(&id));
        let planned = since_ms.saturating_add(self.table.ends_ms);
        faults.map(|fault| fault.until_ms).fold(planned, u64::max)
    }

    /// When the steady state must be back.
    fn back_ms(&self, since_ms: u64) -> u64 {
        since_ms.saturating_add(self.table.settle_ms)
    }

    /// When it ends, whatever is known.
    fn last_ms(&self, since_ms: u64) -> u64 {
        let mended = since_ms.saturating_add(MENDING_MS);
        let looked = mended.max(self.back_ms(since_ms));
        self.running
            .until_ms
            .max(looked.saturating_add(LAST_LOOK_MS))
    }

    /// Why it ends before its time.
    fn stopped(&self) -> Option<Move> {
        if let Some((verdict, why)) = &self.course.end {
            return Some(Move::Mend(Some(*verdict), why.clone()));
        }
        if self.state.paused.is_some() {
            let why = "automation was paused".to_string();
            return Some(Move::Mend(Some(Verdict::Aborted), why));
        }
        (self.now_ms >= self.running.until_ms).then(|| {
            let why = "nobody could carry it to its end in time".to_string();
            Move::Mend(Some(Verdict::Inconclusive), why)
        })
    }

    /// What the journal says of alerts and was not told yet.
    fn alert(&self) -> Option<Move> {
        let rules = self.table.alerts.as_ref()?;
        let told = self.course.began.iter();
        let told = told.filter_map(|(name, severity)| of_alert(rules, name, severity));
        self.first_news(told)
    }

    fn first_news(&self, mut told: impl Iterator<Item = Observation>) -> Option<Move> {
        let is_news = |seen: &Observation| {
            let known = (seen.subject.clone(), seen.value.clone());
            !self.course.heard.contains(&known)
        };
        told.find(is_news).map(Move::Observe)
    }

    /// Nobody goes on blind where something must end it at once.
    fn blind(&self) -> Option<Move> {
        let why = self.course.unseen.as_ref()?;
        Some(self.not_seen(why))
    }

    fn not_seen(&self, why: &str) -> Move {
        match self.table.is_guarded {
            true => Move::Mend(Some(Verdict::Aborted), why.to_string()),
            false => Move::Observe(Observation {
                subject: UNSEEN.to_string(),
                value: why.to_string(),
                finding: Finding::Missing,
            }),
        }
    }

    fn late(&self, since_ms: u64) -> Option<Move> {
        let due_ms = self.due_ms(since_ms)?;
        (self.now_ms >= due_ms.saturating_add(LATE_MS)).then(|| {
            let why = format!(
                "injection {} was not to be had for {LATE_MS} ms",
                self.course.injected + 1
            );
            Move::Mend(Some(Verdict::Inconclusive), why)
        })
    }

    fn injects(&self, since_ms: u64) -> Option<Move> {
        let due_ms = self.due_ms(since_ms)?;
        let is_due = self.now_ms >= due_ms && self.course.choice.is_none();
        is_due.then_some(Move::Choose(self.course.injected))
    }

    /// An order to look, unless somebody does.
    fn looks(&self, moment: Moment, within_ms: u64) -> Option<Move> {
        if self.course.look.is_some() {
            return None;
        }
        let host = looker(self.state, None)?.clone();
        Some(Move::Look {
            moment,
            host,
            within_ms,
            patience_ms: BLIND_MS,
        })
    }

    /// Also where everything was over at once, it is looked at least once.
    fn looks_meanwhile(&self, since_ms: u64) -> Option<Move> {
        let left_ms = self.ends_ms(since_ms).saturating_sub(self.now_ms);
        let is_over = self.is_all_injected() && !self.is_any_in_force();
        let is_wanted = left_ms > 0 || (self.course.looks == 0 && is_over);
        is_wanted
            .then(|| self.looks(Moment::During, left_ms))
            .flatten()
    }

    /// Somebody looked to the end of what was planned, and something was broken for longer.
    fn gap(&self) -> Option<Move> {
        let gap_ms = (self.course.broken_to_ms).saturating_sub(self.course.seen_to_ms);
        let is_told = self.course.told.contains_key(UNSEEN);
        (gap_ms >= BLIND_MS && !is_told)
            .then(|| self.not_seen(&format!("nobody has looked for its last {gap_ms} ms")))
    }

    fn over(&self, since_ms: u64) -> Option<Move> {
        let is_over = self.is_all_injected()
            && self.now_ms >= self.ends_ms(since_ms)
            && !self.is_any_in_force()
            && self.course.look.is_none();
        if is_over && let Some(gap) = self.gap() {
            return Some(gap);
        }
        is_over.then(|| Move::Mend(None, "the last injection is over".to_string()))
    }

    /// Whoever looked while it led may be gone without anybody missing its host yet.
    fn looks_elsewhere(&self) -> Option<Move> {
        let look = self.course.look.as_ref()?;
        let host = looker(self.state, Some(&look.host))?;
        if look.epoch == self.state.epoch || look.host == *host {
            return None;
        }
        let until_ms = match self.course.phase {
            Phase::Before => self.now_ms,
            Phase::Running { since_ms } => self.ends_ms(since_ms),
            Phase::Mending { since_ms } => self.back_ms(since_ms),
        };
        Some(Move::Look {
            moment: look.moment,
            host: host.clone(),
            within_ms: match look.moment {
                Moment::Before | Moment::Over => 0,
                Moment::During | Moment::After => until_ms.saturating_sub(self.now_ms),
            },
            patience_ms: BLIND_AGAIN_MS,
        })
    }

    fn given_up(&self, since_ms: u64) -> Option<Move> {
        (self.now_ms >= self.last_ms(since_ms)).then(|| {
            let (verdict, why) = match &self.course.end {
                Some((verdict, why)) => (*verdict, why.clone()),
                None => (Verdict::Inconclusive, "nobody saw its end".to_string()),
            };
            let residue = self.course.residue.clone();
            Move::End {
                verdict,
                why,
                residue: residue.unwrap_or_else(|| self.left_in_force()),
            }
        })
    }

    fn left_in_force(&self) -> Vec<String> {
        let left = self.in_force();
        left.map(|fault| format!("fault {fault}, still in force"))
            .collect()
    }

    /// Alerts that must begin and did not.
    fn awaited(&self) -> impl Iterator<Item = &String> {
        let rules = self.table.alerts.iter();
        rules
            .flat_map(|rules| &rules.fire)
            .filter(|name| !self.course.began.contains_key(*name))
    }

    fn looks_at_last(&self, since_ms: u64) -> Option<Move> {
        let is_mended = !self.is_any_in_force();
        let waits = !is_mended && self.now_ms < since_ms.saturating_add(MENDING_MS);
        if waits || self.course.residue.is_some() {
            return None;
        }
        if self.course.end.is_some() {
            return self.looks(Moment::Over, 0);
        }
        let left_ms = self.back_ms(since_ms).saturating_sub(self.now_ms);
        if left_ms > 0 && self.awaited().next().is_some() {
            return None;
        }
        self.looks(Moment::After, left_ms)
    }

    fn concludes(&self) -> Option<Move> {
        let mut residue = self.course.residue.clone()?;
        residue.extend(self.left_in_force());
        if let Some((verdict, why)) = &self.course.end {
            return Some(Move::End {
                verdict: *verdict,
                why: why.clone(),
                residue,
            });
        }
        let held = self.course.held && self.awaited().next().is_none();
        self.first_news(self.alerts_at_last().into_iter())
            .or_else(|| {
                let (verdict, why) = match held {
                    true => (
                        Verdict::Passed,
                        "all that was expected was seen, and nothing else",
                    ),
                    false => (
                        Verdict::Failed,
                        "the steady state did not come back, or an alert is missing",
                    ),
                };
                Some(Move::End {
                    verdict,
                    why: why.to_string(),
                    residue,
                })
            })
    }

    /// What is to be said of alerts when it is over.
    fn alerts_at_last(&self) -> Vec<Observation> {
        let absent: Vec<Observation> = self
            .awaited()
            .map(|name| Observation {
                subject: fires(name),
                value: "it did not".to_string(),
                finding: Finding::Violated,
            })
            .collect();
        if !absent.is_empty() || self.table.alerts.is_none() {
            return absent;
        }
        let names: Vec<&str> = self.course.began.keys().map(String::as_str).collect();
        let value = match names.is_empty() {
            true => "none".to_string(),
            false => names.join(", "),
        };
        [Observation {
            subject: "alerts that began".to_string(),
            value,
            finding: Finding::Holds,
        }]
        .into()
    }
}

fn fires(name: &str) -> String {
    format!("alert {name} fires")
}

/// What is to be said of an alert that began.
fn of_alert(rules: &AlertRules, name: &str, severity: &str) -> Option<Observation> {
    if rules.fire.contains(name) {
        return Some(Observation {
            subject: fires(name),
            value: severity.to_string(),
            finding: Finding::Holds,
        });
    }
    let is_meant = rules.severities.is_empty() || rules.severities.contains(severity);
    (is_meant && !rules.may_fire.contains(name)).then(|| Observation {
        subject: "an alert that must not fire".to_string(),
        value: format!("{name} ({severity})"),
        finding: Finding::Violated,
    })
}
