//! Whoever reads the instruments during an experiment.
//!
//! Think of somebody who sits before the gauges with a telephone and an order: for how long to look, and what is known
//! already. It calls at the first violation that is not known yet, when something says that all must end at once, when
//! it has seen nothing for too long of what could say so, and else once, at the end. It reads no clock and asks nobody:
//! both are handed in.
//!
//! | moment | what is looked at                  | the answer comes                                          |
//! |--------|------------------------------------|-----------------------------------------------------------|
//! | before | the steady state                   | at once                                                   |
//! | during | the steady state, abort conditions | at a violation, at blindness, at the end (the worst seen) |
//! | after  | the steady state                   | when all of it holds, or at the end (as it is then)       |

use std::collections::{BTreeMap, BTreeSet};

use crate::experiment::{Condition, Experiment, Judged, Moment};

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Subjects, in the order of the document.
    pub seen: Vec<(String, Judged)>,
    /// Why all must end at once.
    pub halt: Option<String>,
}

/// When, for how long, and how long it may be blind.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub moment: Moment,
    pub now_ms: u64,
    pub within_ms: u64,
    pub patience_ms: u64,
}

pub struct Looker<'a> {
    moment: Moment,
    conditions: Vec<&'a Condition>,
    /// With when each was measured last.
    aborts: Vec<(&'a Condition, u64)>,
    until_ms: u64,
    patience_ms: u64,
    /// Subjects that are known to be violated.
    told: BTreeSet<String>,
    worst: BTreeMap<String, Judged>,
}

impl<'a> Looker<'a> {
    pub fn new(experiment: Option<&'a Experiment>, order: Order, told: BTreeSet<String>) -> Self {
        let steady = experiment.into_iter().flat_map(|known| &known.steady_state);
        let aborts = experiment
            .filter(|_| order.moment == Moment::During)
            .into_iter()
            .flat_map(|known| &known.abort);
        Self {
            moment: order.moment,
            conditions: steady
                .filter(|condition| condition.when.contains(&order.moment))
                .collect(),
            aborts: aborts.map(|condition| (condition, order.now_ms)).collect(),
            until_ms: order.now_ms.saturating_add(order.within_ms),
            patience_ms: order.patience_ms,
            told,
            worst: BTreeMap::new(),
        }
    }

    /// What is to be asked of a watch: abort conditions first.
    pub fn questions(&self) -> Vec<&'a Condition> {
        let aborts = self.aborts.iter().map(|(condition, _)| *condition);
        aborts.chain(self.conditions.iter().copied()).collect()
    }

    /// The answers to [`Looker::questions`], in their order. Something if it is to be told now.
    pub fn handle_answers(&mut self, now_ms: u64, mut answers: Vec<Judged>) -> Option<Seen> {
        assert_eq!(
            answers.len(),
            self.aborts.len() + self.conditions.len(),
            "an answer for each question"
        );
        let steady = answers.split_off(self.aborts.len());
        let steady: Vec<(String, Judged)> = self.subjects().into_iter().zip(steady).collect();
        let is_over = now_ms >= self.until_ms;
        if self.moment != Moment::During {
            let holds = |(_, judged): &(String, Judged)| matches!(judged, Judged::Holds(_));
            let is_told = is_over || self.moment == Moment::Before || steady.iter().all(holds);
            return is_told.then_some(Seen {
                seen: steady,
                halt: None,
            });
        }
        let is_news = steady.iter().any(|(subject, judged)| {
            matches!(judged, Judged::Violated(_)) && !self.told.contains(subject)
        });
        for (subject, judged) in steady {
            let known = self.worst.get(&subject);
            if known.is_none_or(|known| weight(&judged) > weight(known)) {
                self.worst.insert(subject, judged);
            }
        }
        let halt = self.halt(now_ms, &answers);
        (halt.is_some() || is_news || is_over).then(|| self.seen(halt, is_over))
    }

    fn subjects(&self) -> Vec<String> {
        let subject = |condition: &&Condition| format!("{} {}", self.moment.name(), condition.name);
        self.conditions.iter().map(subject).collect()
    }

    fn seen(&self, halt: Option<(String, Judged, String)>, is_over: bool) -> Seen {
        let subjects = self.subjects().into_iter();
        let seen = subjects.filter_map(|subject| {
            let judged = self.worst.get(&subject)?.clone();
            // That something holds is known when it has held to the end.
            let is_told = is_over || !matches!(judged, Judged::Holds(_));
            is_told.then_some((subject, judged))
        });
        let mut seen: Vec<(String, Judged)> = seen.collect();
        let halt = halt.map(|(subject, judged, why)| {
            seen.push((subject, judged));
            why
        });
        Seen { seen, halt }
    }

    /// The abort condition that ends it, if one does.
    fn halt(&mut self, now_ms: u64, answers: &[Judged]) -> Option<(String, Judged, String)> {
        let patience_ms = self.patience_ms;
        let mut aborts = self.aborts.iter_mut().zip(answers);
        aborts.find_map(|((condition, last_ms), judged)| {
            let name = &condition.name;
            let why = match judged {
                Judged::Holds(_) => {
                    *last_ms = now_ms;
                    return None;
                }
                Judged::Violated(value) => format!("{name} is {value}"),
                Judged::Missing(why) => {
                    let blind_ms = now_ms.saturating_sub(*last_ms);
                    if blind_ms < patience_ms {
                        return None;
                    }
                    format!("{name} was not measured for {blind_ms} ms: {why}")
                }
            };
            Some((format!("abort {name}"), judged.clone(), why))
        })
    }
}

const fn weight(judged: &Judged) -> u8 {
    match judged {
        Judged::Holds(_) => 0,
        Judged::Missing(_) => 1,
        Judged::Violated(_) => 2,
    }
}
