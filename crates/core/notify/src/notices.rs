//! What was decided to be said, and what became of it.
//!
//! | an incident is           | and was told to          | then |
//! |--------------------------|--------------------------|------|
//! | open                     | nobody                   | the first rung, after the wait |
//! | open                     | a rung, whose time is up | the next rung, or the first again, or nothing more |
//! | acknowledged             | channels                 | they are told who has it; then whoever has it is reminded |
//! | worse than it was        | channels                 | they are told |
//! | mitigated or over        | channels                 | they are told; it is no more their call |
//! | open anew                | channels                 | as open and told to nobody |
//!
//! What is said of one incident over one channel arrives in its order, since a call that arrives behind its "resolved" is
//! a call that nobody takes back. So what is newer waits for the answer to what is on its way, for a while; and what is
//! older is not said again once something newer was.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::case::{Case, Severity, Stage};
use crate::policy::{Policy, Settings};
use crate::silence::Silence;

/// What nobody knows the outcome of, or what was refused for a while, is said so often.
pub const TRIES_MAX: u32 = 6;
/// From one try to the next; doubles.
const AGAIN_MS: u64 = 5_000;
/// So long what is newer waits at most for what is on its way: longer than any channel is given to answer.
pub const HOLD_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Somebody is called.
    Trigger,
    /// It is worse than was told.
    Update,
    /// Somebody has it.
    Acknowledge,
    /// It still goes on, and whoever has it may have forgotten.
    Remind,
    /// It is no call any more.
    Resolve,
    /// A step of a playbook says it. It is about a run, and nobody is called.
    Say,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Trigger,
        Self::Update,
        Self::Acknowledge,
        Self::Remind,
        Self::Resolve,
        Self::Say,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Update => "update",
            Self::Acknowledge => "acknowledge",
            Self::Remind => "remind",
            Self::Resolve => "resolve",
            Self::Say => "say",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addressee {
    pub channel: String,
    /// Who is meant by it.
    pub who: Option<String>,
}

/// What is said. It is the whole of it: whoever sends needs nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Counts notices of one platform, from 1; a repetition keeps its number.
    pub number: u64,
    /// Counts from 1.
    pub attempt: u32,
    pub incident: String,
    pub kind: Kind,
    pub to: Addressee,
    pub severity: Severity,
    pub title: String,
    /// Who acknowledged, or why it is said.
    pub text: String,
    pub things: BTreeSet<String>,
    pub open_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rung is reached; these are told.
    Escalated {
        incident: String,
        policy: String,
        /// Both from 1.
        level: u32,
        round: u32,
        tell: Vec<Addressee>,
        /// When the next rung is reached, if nobody acknowledges.
        until_ms: u64,
        why: String,
    },
    /// The ladder was climbed as often as it may be, and nobody acknowledged.
    Exhausted {
        incident: String,
        why: String,
    },
    /// This is to be said.
    Ordered(Notice),
    SilenceSet {
        silence: u64,
        set: Silence,
    },
    SilenceEnded {
        silence: u64,
        why: String,
    },
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Said,
    /// Certainly not said, and it makes no sense to try again.
    Refused,
    /// Nobody knows, or it may be said later.
    Unknown,
}

/// Of one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Climb {
    /// Of the rung reached last; 0 before the first.
    level: u32,
    round: u32,
    due_ms: u64,
    exhausted: bool,
    /// Nobody on this rung could be reached.
    in_vain: bool,
    /// Since when it was open when the climb began.
    open_ms: u64,
    /// Still to be called on this rung.
    left: Vec<Addressee>,
    /// By channel: what it was told last.
    told: BTreeMap<String, Told>,
    reminded_ms: u64,
}

impl Climb {
    /// A rung that reaches nobody takes no time, but a ladder that does so takes that of its last rung.
    fn rung_ends_ms(&self, policy: &Policy) -> u64 {
        let is_last = self.level as usize >= policy.levels.len();
        match self.in_vain && !is_last {
            true => 0,
            false => self.due_ms,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    who: Option<String>,
    severity: Severity,
    /// That somebody has it.
    acknowledged: bool,
}

/// On its way; or to be said again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OnItsWay {
    notice: Notice,
    ordered_ms: u64,
    /// Something newer was ordered meanwhile, and says everything that this one would.
    superseded: bool,
    /// When it is to be said again; nothing while somebody says it.
    again_ms: Option<u64>,
}

impl OnItsWay {
    /// Whether whoever hears of the one hears of the other as well, and takes them for one thing.
    fn goes_where(&self, other: &Notice) -> bool {
        self.notice.incident == other.incident && self.notice.to.channel == other.to.channel
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    climbs: BTreeMap<String, Climb>,
    ever: u64,
    way: BTreeMap<u64, OnItsWay>,
    silences: BTreeMap<u64, Silence>,
    /// When each of them was set.
    silent_since: BTreeMap<u64, u64>,
    silences_ever: u64,
}

impl Notices {
    pub fn silences(&self) -> impl Iterator<Item = (u64, &Silence)> {
        self.silences
            .iter()
            .map(|(number, silence)| (*number, silence))
    }

    pub fn silence(&self, number: u64) -> Option<&Silence> {
        self.silences.get(&number)
    }

    pub fn silent_since_ms(&self, number: u64) -> Option<u64> {
        self.silent_since.get(&number).copied()
    }

    /// Nobody was told of anything that goes on, and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.climbs.is_empty() && self.way.is_empty()
    }

    /// The number that the next silence has.
    pub fn next_silence(&self) -> u64 {
        self.silences_ever + 1
    }

    /// Rung and round of an incident, and when the next rung is reached; nothing if it climbs no more.
    pub fn climbing(&self, incident: &str) -> Option<(u32, u32, u64)> {
        let climb = self.climbs.get(incident)?;
        (climb.level > 0 && !climb.exhausted).then_some((climb.level, climb.round, climb.due_ms))
    }

    /// Whether everybody was called for it as often as the ladder says, and nobody acknowledged.
    pub fn is_exhausted(&self, incident: &str) -> bool {
        self.climbs
            .get(incident)
            .is_some_and(|climb| climb.exhausted)
    }

    fn is_silenced(&self, case: &Case) -> bool {
        self.silences.values().any(|silence| silence.covers(case))
    }

    pub fn apply(&mut self, at_ms: u64, event: &Event) {
        match event {
            Event::Escalated {
                incident,
                level,
                round,
                tell,
                until_ms,
                ..
            } => {
                let climb = self.climbs.entry(incident.clone()).or_default();
                if (*level, *round) == (1, 1) {
                    climb.open_ms = at_ms;
                }
                climb.level = *level;
                climb.round = *round;
                climb.due_ms = *until_ms;
                climb.exhausted = false;
                climb.in_vain = tell.is_empty();
                climb.left.clone_from(tell);
                climb.reminded_ms = at_ms;
            }
            Event::Exhausted { incident, .. } => {
                let climb = self.climbs.entry(incident.clone()).or_default();
                climb.exhausted = true;
            }
            Event::Ordered(notice) => self.ordered(at_ms, notice),
            Event::SilenceSet { silence, set } => {
                self.silences_ever = self.silences_ever.max(*silence);
                self.silences.insert(*silence, set.clone());
                self.silent_since.insert(*silence, at_ms);
            }
            Event::SilenceEnded { silence, .. } => {
                self.silences.remove(silence);
                self.silent_since.remove(silence);
            }
        }
    }

    fn ordered(&mut self, at_ms: u64, notice: &Notice) {
        self.ever = self.ever.max(notice.number);
        self.way.retain(|number, sent| {
            let is_older = *number < notice.number && sent.goes_where(notice);
            sent.superseded |= is_older;
            !is_older || sent.again_ms.is_none()
        });
        let on_its_way = OnItsWay {
            notice: notice.clone(),
            ordered_ms: at_ms,
            superseded: false,
            again_ms: None,
        };
        self.way.insert(notice.number, on_its_way);
        let Some(climb) = self.climbs.get_mut(&notice.incident) else {
            return;
        };
        climb.left.retain(|left| left.channel != notice.to.channel);
        climb.reminded_ms = at_ms;
        if notice.kind == Kind::Resolve {
            climb.told.remove(&notice.to.channel);
            if climb.told.is_empty() {
                self.climbs.remove(&notice.incident);
            }
            return;
        }
        let before = climb.told.get(&notice.to.channel);
        let acknowledged = match notice.kind {
            Kind::Trigger | Kind::Resolve | Kind::Say => false,
            Kind::Update => before.is_some_and(|told| told.acknowledged),
            Kind::Acknowledge | Kind::Remind => true,
        };
        let told = Told {
            who: notice.to.who.clone(),
            severity: notice.severity,
            acknowledged,
        };
        climb.told.insert(notice.to.channel.clone(), told);
    }

    /// An incident rests or is over: what nobody was told of need not be taken back.
    pub fn quiet(&mut self, incident: &str) {
        if let Some(climb) = self.climbs.get_mut(incident) {
            climb.left.clear();
            if climb.told.is_empty() {
                self.climbs.remove(incident);
            }
        }
    }

    /// What became of a notice, as the journal tells it.
    pub fn ended(&mut self, at_ms: u64, number: u64, outcome: Outcome) {
        let Some(sent) = self.way.get_mut(&number) else {
            return;
        };
        let attempt = sent.notice.attempt;
        match outcome {
            Outcome::Unknown if sent.superseded => {
                self.way.remove(&number);
            }
            Outcome::Unknown if attempt < TRIES_MAX => {
                sent.again_ms = Some(at_ms.saturating_add(AGAIN_MS << (attempt - 1).min(10)));
            }
            Outcome::Said => {
                self.way.remove(&number);
            }
            Outcome::Unknown | Outcome::Refused => {
                let sent = self.way.remove(&number);
                let sent = sent.filter(|sent| !sent.superseded);
                self.in_vain(sent.map(|sent| sent.notice));
            }
        }
    }

    /// Nobody was reached by a call: if nobody else on the rung can be, the next one has its turn at once.
    fn in_vain(&mut self, notice: Option<Notice>) {
        let Some(notice) = notice.filter(|notice| notice.kind == Kind::Trigger) else {
            return;
        };
        let of_it = |sent: &OnItsWay| sent.notice.incident == notice.incident;
        let others = self.way.values().any(of_it);
        if let Some(climb) = self.climbs.get_mut(&notice.incident) {
            climb.told.remove(&notice.to.channel);
            if climb.told.is_empty() && climb.left.is_empty() && !others {
                climb.in_vain = true;
            }
        }
    }

    /// What is to be decided next; call it again when that is applied. `cases` are all incidents that are not over, and
    /// those that somebody was told of.
    pub fn next(&self, now_ms: u64, settings: &Settings, cases: &[Case]) -> Option<Event> {
        let over = self.silences.iter().find(|(_, s)| s.until_ms <= now_ms);
        if let Some((silence, _)) = over {
            let (silence, why) = (*silence, "its time is over".to_string());
            return Some(Event::SilenceEnded { silence, why });
        }
        let again = self.way.values().find(|sent| {
            let is_due = sent.again_ms.is_some_and(|at_ms| at_ms <= now_ms);
            is_due && settings.channels.contains(&sent.notice.to.channel)
        });
        if let Some(sent) = again {
            let mut notice = sent.notice.clone();
            notice.attempt += 1;
            return Some(Event::Ordered(notice));
        }
        cases
            .iter()
            .find_map(|case| self.next_of(now_ms, settings, case))
    }

    fn next_of(&self, now_ms: u64, settings: &Settings, case: &Case) -> Option<Event> {
        let climb = self.climbs.get(&case.incident);
        if let Some(event) = climb.and_then(|climb| self.follow_up(now_ms, settings, case, climb)) {
            return Some(event);
        }
        if case.stage != Stage::Open || case.inside.is_some() || self.is_silenced(case) {
            return None;
        }
        let policy = settings.policy(case)?;
        // One of an earlier time is over, also if nobody was reached by it.
        let climb = climb.filter(|climb| climb.open_ms >= case.open_ms);
        let (level, round) = match climb {
            None => {
                if now_ms < case.open_ms.saturating_add(settings.wait_ms) {
                    return None;
                }
                (1, 1)
            }
            Some(climb) if climb.exhausted || now_ms < climb.rung_ends_ms(policy) => return None,
            Some(climb) if (climb.level as usize) < policy.levels.len() => {
                (climb.level + 1, climb.round)
            }
            Some(climb) if climb.round < policy.rounds => (1, climb.round + 1),
            Some(climb) => {
                let why = alloc::format!(
                    "nobody has acknowledged it in {} rounds of {} levels",
                    climb.round,
                    policy.levels.len()
                );
                let incident = case.incident.clone();
                return Some(Event::Exhausted { incident, why });
            }
        };
        let rung = policy.levels.get(level as usize - 1)?;
        let tell = settings.reached(rung, now_ms);
        let why = match (tell.is_empty(), climb) {
            (true, _) => "nobody is on call, or nothing leads to whoever is".to_string(),
            (false, None) => "it is open".to_string(),
            (false, Some(_)) => "nobody has acknowledged it in time".to_string(),
        };
        Some(Event::Escalated {
            incident: case.incident.clone(),
            policy: policy.name.clone(),
            level,
            round,
            tell,
            until_ms: now_ms.saturating_add(rung.within_ms),
            why,
        })
    }

    /// What those are to be told who were told of it before, or who stand on the rung that was reached.
    fn follow_up(
        &self,
        now_ms: u64,
        settings: &Settings,
        case: &Case,
        climb: &Climb,
    ) -> Option<Event> {
        let is_calling = case.stage == Stage::Open;
        let is_free = |channel: &str| {
            let until_ms = self.held_until_ms(&case.incident, channel);
            until_ms.is_none_or(|until_ms| now_ms >= until_ms)
        };
        let mut left = climb.left.iter();
        if is_calling && let Some(to) = left.find(|to| is_free(&to.channel)) {
            let rung = alloc::format!("level {}, round {}", climb.level, climb.round);
            return Some(self.order(case, Kind::Trigger, to.clone(), rung));
        }
        for (channel, told) in &climb.told {
            let is_forgotten = self.is_forgotten(now_ms, settings, climb);
            let Some((kind, text)) = self.news_for(case, told, is_forgotten) else {
                continue;
            };
            if !is_free(channel) {
                continue;
            }
            let to = Addressee {
                channel: channel.clone(),
                who: told.who.clone(),
            };
            return Some(self.order(case, kind, to, text));
        }
        None
    }

    /// What somebody who was told this is to be told next.
    fn news_for(&self, case: &Case, told: &Told, is_forgotten: bool) -> Option<(Kind, String)> {
        let by = || case.by.clone().unwrap_or_default();
        let news = match case.stage {
            Stage::Mitigated => (Kind::Resolve, "it is mitigated".to_string()),
            Stage::Over => (Kind::Resolve, "it is over".to_string()),
            Stage::Acknowledged if !told.acknowledged => {
                (Kind::Acknowledge, alloc::format!("{} has it", by()))
            }
            Stage::Open | Stage::Acknowledged if case.severity > told.severity => {
                if self.is_silenced(case) {
                    return None;
                }
                let text = alloc::format!("it is {}", case.severity.as_str());
                (Kind::Update, text)
            }
            Stage::Acknowledged if is_forgotten => (
                Kind::Remind,
                alloc::format!("{} has it, and it is not mitigated", by()),
            ),
            Stage::Open | Stage::Acknowledged => return None,
        };
        Some(news)
    }

    /// Until when something newer waits for what is on its way there, if something is.
    fn held_until_ms(&self, incident: &str, channel: &str) -> Option<u64> {
        let on_its_way = self.way.values().filter(|sent| {
            let notice = &sent.notice;
            sent.again_ms.is_none() && notice.incident == incident && notice.to.channel == channel
        });
        let until_ms = on_its_way.map(|sent| sent.ordered_ms.saturating_add(HOLD_MS));
        until_ms.max()
    }

    /// When the first of what waits for an answer waits no longer.
    fn freed_ms(&self, case: &Case, climb: &Climb) -> Option<u64> {
        let told = climb.told.iter();
        let waits = told.filter(|(_, told)| self.news_for(case, told, false).is_some());
        let held = waits.map(|(channel, _)| self.held_until_ms(&case.incident, channel));
        held.flatten().min()
    }

    fn is_forgotten(&self, now_ms: u64, settings: &Settings, climb: &Climb) -> bool {
        settings.remind_ms > 0 && now_ms >= climb.reminded_ms.saturating_add(settings.remind_ms)
    }

    fn order(&self, case: &Case, kind: Kind, to: Addressee, text: String) -> Event {
        Event::Ordered(Notice {
            number: self.ever + 1,
            attempt: 1,
            incident: case.incident.clone(),
            kind,
            to,
            severity: case.severity,
            title: case.title.clone(),
            text,
            things: case.things.clone(),
            open_ms: case.open_ms,
        })
    }

    /// Incidents that somebody was told of: they are among the cases until they are told the end.
    pub fn told_of(&self) -> BTreeSet<String> {
        self.climbs.keys().cloned().collect()
    }

    /// When [`Notices::next`] will have something to say that time alone brings about.
    pub fn next_due_ms(&self, settings: &Settings, cases: &[Case]) -> Option<u64> {
        let silences = self.silences.values().map(|silence| silence.until_ms);
        let again = self.way.values().filter_map(|sent| {
            let is_known = settings.channels.contains(&sent.notice.to.channel);
            sent.again_ms.filter(|_| is_known)
        });
        let freed = cases.iter().filter_map(|case| {
            let climb = self.climbs.get(&case.incident)?;
            self.freed_ms(case, climb)
        });
        let cases = cases.iter().filter_map(|case| {
            let climb = self.climbs.get(&case.incident);
            let quiet = case.inside.is_some() || self.is_silenced(case);
            let policy = settings.policy(case).filter(|_| !quiet);
            match (case.stage, climb) {
                (Stage::Open, Some(climb)) if !climb.left.is_empty() => {
                    let left = climb.left.iter();
                    let held = left.map(|to| self.held_until_ms(&case.incident, &to.channel));
                    held.map(Option::unwrap_or_default).min()
                }
                (Stage::Open, Some(climb)) if climb.open_ms >= case.open_ms => {
                    let policy = policy.filter(|_| !climb.exhausted)?;
                    Some(climb.rung_ends_ms(policy))
                }
                (Stage::Open, _) => policy.map(|_| case.open_ms.saturating_add(settings.wait_ms)),
                (Stage::Acknowledged, Some(climb)) if settings.remind_ms > 0 => {
                    let told = climb.told.keys();
                    let free = told.map(|channel| self.held_until_ms(&case.incident, channel));
                    let free_ms = free.map(Option::unwrap_or_default).min()?;
                    let due_ms = climb.reminded_ms.saturating_add(settings.remind_ms);
                    Some(due_ms.max(free_ms))
                }
                (Stage::Acknowledged | Stage::Mitigated | Stage::Over, _) => None,
            }
        });
        silences.chain(again).chain(freed).chain(cases).min()
    }
}
