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
//! | open, the ladder at its end | nobody could be reached | the first rung again: when a way works again, or after a while |
//! | acknowledged             | nobody                   | whoever has it is reminded, or the first rung where nothing leads to them |
//!
//! A way that is down for longer than a ladder takes nothing away for good: what was not heard is said when it is back.
//!
//! What is said of one incident over one channel arrives in its order, since a call that arrives behind its "resolved" is
//! a call that nobody takes back. So what is newer waits for the answer to what is on its way, for a while; and what is
//! older is not said again once something newer was.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::case::{Case, Severity, Stage};
use crate::policy::{Level, Policy, Settings, Target};
use crate::silence::Silence;

/// A call that nobody knows the outcome of, or that was refused for a while, is said so often; then the ladder goes on.
pub const TRIES_MAX: u32 = 6;
/// From one try to the next; doubles.
const AGAIN_MS: u64 = 5_000;
/// Of what is no call, so many tries more, at the pace of ladders that reach nobody: three days.
pub const NEWS_TRIES_MAX: u32 = TRIES_MAX + 75;
/// From the end of a ladder that reached nobody to the next; doubles, and so does the pause of late tries.
const ANEW_MS: u64 = 300_000;
const ANEW_MS_MAX: u64 = 3_600_000;
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
    /// Somebody heard a word of it, since the first rung or on this one.
    reached: bool,
    reached_here: bool,
    /// A call came to nothing, for good or for now.
    failed: bool,
    /// Ways on which somebody was called since the first rung.
    tried: BTreeSet<String>,
    /// Ladders that reached nobody, one after the other.
    vain: u32,
    /// When the ladder is climbed anew, if nobody could be reached.
    anew_ms: Option<u64>,
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

    /// It was tried, and nobody heard a word of it.
    fn is_unreached(&self) -> bool {
        let came_to_nothing = self.failed || self.in_vain || self.exhausted || self.vain > 0;
        self.level > 0 && !self.reached && came_to_nothing
    }

    /// When it begins anew, if it is for that.
    fn begins_anew_ms(&self) -> Option<u64> {
        self.anew_ms.filter(|_| self.is_unreached())
    }
}

/// Doubles up to its limit.
const fn pause_ms(first_ms: u64, before: u32, most_ms: u64) -> u64 {
    let doublings = if before < 10 { before } else { 10 };
    let pause_ms = first_ms << doublings;
    if pause_ms < most_ms {
        pause_ms
    } else {
        most_ms
    }
}

/// When whoever acknowledged is to be reminded first, if nobody was called.
fn forgotten_ms(settings: &Settings, case: &Case) -> Option<u64> {
    let reminds = case.stage == Stage::Acknowledged && settings.remind_ms > 0;
    let since_ms = case.acknowledged_ms.filter(|_| reminds)?.max(case.open_ms);
    Some(since_ms.saturating_add(settings.remind_ms))
}

/// From a try that came to nothing to the next; nothing if it was the last.
fn again_after_ms(notice: &Notice) -> Option<u64> {
    let attempt = notice.attempt;
    let is_call = notice.kind == Kind::Trigger;
    match attempt {
        0..TRIES_MAX => Some(pause_ms(AGAIN_MS, attempt.saturating_sub(1), ANEW_MS_MAX)),
        TRIES_MAX..NEWS_TRIES_MAX if !is_call => {
            Some(pause_ms(ANEW_MS, attempt - TRIES_MAX, ANEW_MS_MAX))
        }
        _ => None,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    who: Option<String>,
    severity: Severity,
    /// That somebody has it.
    acknowledged: bool,
    /// A word was heard there, or may have been: then it is told the end, too.
    heard: bool,
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

    /// Whether it is called for and nobody could be reached so far; and when the ladder is climbed anew, if it is at its end.
    pub fn unreached(&self, incident: &str) -> Option<Option<u64>> {
        let climb = self.climbs.get(incident)?;
        climb.is_unreached().then(|| climb.begins_anew_ms())
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
                    climb.reached = false;
                    climb.failed = false;
                    climb.tried.clear();
                    climb.anew_ms = None;
                }
                climb.reached_here = false;
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
                if !climb.reached {
                    let pause_ms = pause_ms(ANEW_MS, climb.vain, ANEW_MS_MAX);
                    climb.anew_ms = Some(at_ms.saturating_add(pause_ms));
                    climb.vain += 1;
                }
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
        if notice.kind == Kind::Remind && notice.attempt == 1 {
            let climb = self.climbs.entry(notice.incident.clone()).or_default();
            // Whoever has it was never called, and nobody else is: there is no ladder.
            if climb.told.is_empty() {
                climb.level = 0;
            }
        }
        let Some(climb) = self.climbs.get_mut(&notice.incident) else {
            return;
        };
        climb.left.retain(|left| left.channel != notice.to.channel);
        climb.reminded_ms = at_ms;
        if notice.kind == Kind::Trigger {
            climb.tried.insert(notice.to.channel.clone());
        }
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
            heard: before.is_some_and(|told| told.heard),
        };
        climb.told.insert(notice.to.channel.clone(), told);
    }

    /// An incident rests or is over: what nobody was told of need not be taken back.
    pub fn quiet(&mut self, incident: &str) {
        if let Some(climb) = self.climbs.get_mut(incident) {
            climb.left.clear();
            climb.vain = 0;
            climb.anew_ms = None;
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
        let again_ms = again_after_ms(&sent.notice).filter(|_| !sent.superseded);
        match (outcome, again_ms) {
            (Outcome::Said, _) => {
                let sent = self.way.remove(&number);
                self.heard(at_ms, sent.map(|sent| sent.notice));
            }
            (Outcome::Unknown, Some(pause_ms)) => {
                sent.again_ms = Some(at_ms.saturating_add(pause_ms));
                let is_call = sent.notice.kind == Kind::Trigger;
                let climb = self.climbs.get_mut(&sent.notice.incident);
                if let Some(climb) = climb.filter(|_| is_call) {
                    climb.failed = true;
                }
            }
            (Outcome::Unknown | Outcome::Refused, _) => {
                if let Some(sent) = self.way.remove(&number) {
                    self.in_vain(&sent, outcome);
                }
            }
        }
    }

    /// These are the ways that the file names: what waits for another one is given up. If that came back, what was to be said
    /// would be old.
    pub fn ways(&mut self, channels: &BTreeSet<String>) {
        let waits = |sent: &OnItsWay| sent.again_ms.is_some();
        let gone = self.way.iter();
        let gone =
            gone.filter(|(_, sent)| waits(sent) && !channels.contains(&sent.notice.to.channel));
        let gone: Vec<u64> = gone.map(|(number, _)| *number).collect();
        for number in gone {
            if let Some(sent) = self.way.remove(&number) {
                self.in_vain(&sent, Outcome::Refused);
            }
        }
    }

    /// A word was heard: whatever waits for this way has its turn.
    fn heard(&mut self, at_ms: u64, notice: Option<Notice>) {
        let Some(notice) = notice else { return };
        let channel = &notice.to.channel;
        if let Some(climb) = self.climbs.get_mut(&notice.incident) {
            climb.reached = true;
            climb.reached_here = true;
            if let Some(told) = climb.told.get_mut(channel) {
                told.heard = true;
            }
        }
        let waiting = self.way.values_mut();
        for sent in waiting.filter(|sent| sent.notice.to.channel == *channel) {
            sent.again_ms = sent.again_ms.map(|again_ms| again_ms.min(at_ms));
        }
        for climb in self.climbs.values_mut() {
            let is_at_rest = climb.exhausted || climb.in_vain;
            if is_at_rest && climb.is_unreached() && climb.tried.contains(channel) {
                climb.anew_ms = Some(at_ms);
            }
        }
    }

    /// Nobody was reached by a call: if nobody else on the rung can be, the next one has its turn at once.
    fn in_vain(&mut self, sent: &OnItsWay, outcome: Outcome) {
        let notice = &sent.notice;
        if notice.kind != Kind::Trigger {
            return;
        }
        let calls_for_it = |other: &OnItsWay| {
            other.notice.incident == notice.incident && other.notice.kind == Kind::Trigger
        };
        let others = self.way.values().any(calls_for_it);
        let Some(climb) = self.climbs.get_mut(&notice.incident) else {
            return;
        };
        climb.failed = true;
        let told = climb.told.get_mut(&notice.to.channel);
        if let Some(told) = told.filter(|_| !sent.superseded) {
            told.heard |= outcome == Outcome::Unknown;
            if !told.heard {
                climb.told.remove(&notice.to.channel);
            }
        }
        if !climb.reached_here && climb.left.is_empty() && !others {
            climb.in_vain = true;
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
            is_due && self.may_ring(settings, cases, &sent.notice)
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

    /// Whether it may be said again now: over a way that there is, and through no silence.
    fn may_ring(&self, settings: &Settings, cases: &[Case], notice: &Notice) -> bool {
        let rings = matches!(notice.kind, Kind::Trigger | Kind::Update | Kind::Remind);
        let mut own = cases.iter().filter(|case| case.incident == notice.incident);
        let is_silenced = rings && own.any(|case| self.is_silenced(case));
        settings.channels.contains(&notice.to.channel) && !is_silenced
    }

    fn next_of(&self, now_ms: u64, settings: &Settings, case: &Case) -> Option<Event> {
        let climb = self.climbs.get(&case.incident);
        let news = climb.and_then(|climb| self.follow_up(now_ms, settings, case, climb));
        if let Some(event) = news.or_else(|| self.first_reminder(now_ms, settings, case)) {
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
            Some(climb) if climb.begins_anew_ms().is_some_and(|ms| ms <= now_ms) => (1, 1),
            Some(climb) if climb.exhausted || now_ms < climb.rung_ends_ms(policy) => return None,
            Some(climb) if (climb.level as usize) < policy.levels.len() => {
                (climb.level + 1, climb.round)
            }
            Some(climb) if climb.round < policy.rounds => (1, climb.round + 1),
            Some(climb) => {
                let what = match climb.reached {
                    true => "nobody has acknowledged it",
                    false => "nobody could be reached",
                };
                let why = alloc::format!(
                    "{what} in {} rounds of {} levels",
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
            (false, Some(_)) if (level, round) == (1, 1) => {
                "nobody could be reached so far".to_string()
            }
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

    /// Whoever has an incident of which nobody was told before is reminded of it; where nothing leads to them, the first rung is.
    fn first_reminder(&self, now_ms: u64, settings: &Settings, case: &Case) -> Option<Event> {
        if now_ms < self.first_reminder_ms(settings, case)? {
            return None;
        }
        let to = self.unreminded(settings, case).into_iter();
        let to = to.min_by_key(|to| self.held_until_ms(&case.incident, &to.channel))?;
        let by = case.by.clone().unwrap_or_default();
        let text = alloc::format!("{by} has it, and it is not mitigated");
        Some(self.order(case, Kind::Remind, to, text))
    }

    fn first_reminder_ms(&self, settings: &Settings, case: &Case) -> Option<u64> {
        let unreminded = self.unreminded(settings, case);
        let held = unreminded.iter();
        let held = held.map(|to| self.held_until_ms(&case.incident, &to.channel));
        let free_ms = held.map(Option::unwrap_or_default).min()?;
        Some(forgotten_ms(settings, case)?.max(free_ms))
    }

    /// Whom a first reminder has not gone to yet; nobody where somebody was called, who is reminded as such.
    fn unreminded(&self, settings: &Settings, case: &Case) -> Vec<Addressee> {
        let climb = self.climbs.get(&case.incident);
        let was_called = climb.is_some_and(|climb| climb.level > 0 && !climb.told.is_empty());
        let is_still = was_called || self.is_silenced(case);
        let policy = settings.policy(case).filter(|_| !is_still);
        let (Some(policy), Some(at_ms)) = (policy, forgotten_ms(settings, case)) else {
            return Vec::new();
        };
        let own = Level {
            tell: case.by.iter().cloned().map(Target::Operator).collect(),
            within_ms: 0,
        };
        // Whoever has the turn at that moment, so that it does not matter when it is asked.
        let mut reached = settings.reached(&own, at_ms);
        if reached.is_empty() {
            let first = policy.levels.first();
            reached = first.map_or_else(Vec::new, |level| settings.reached(level, at_ms));
        }
        reached.retain(|to| climb.is_none_or(|climb| !climb.told.contains_key(&to.channel)));
        reached
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
            Stage::Acknowledged if is_forgotten && !self.is_silenced(case) => (
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
            let may_ring = self.may_ring(settings, cases, &sent.notice);
            sent.again_ms.filter(|_| may_ring)
        });
        let freed = cases.iter().filter_map(|case| {
            let climb = self.climbs.get(&case.incident)?;
            self.freed_ms(case, climb)
        });
        let reminders = cases.iter();
        let reminders = reminders.map(|case| self.first_reminder_ms(settings, case));
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
                    let policy = policy?;
                    let ends_ms = (!climb.exhausted).then(|| climb.rung_ends_ms(policy));
                    ends_ms.into_iter().chain(climb.begins_anew_ms()).min()
                }
                (Stage::Open, _) => policy.map(|_| case.open_ms.saturating_add(settings.wait_ms)),
                (Stage::Acknowledged, Some(climb))
                    if settings.remind_ms > 0 && !self.is_silenced(case) =>
                {
                    let told = climb.told.keys();
                    let free = told.map(|channel| self.held_until_ms(&case.incident, channel));
                    let free_ms = free.map(Option::unwrap_or_default).min()?;
                    let due_ms = climb.reminded_ms.saturating_add(settings.remind_ms);
                    Some(due_ms.max(free_ms))
                }
                (Stage::Acknowledged | Stage::Mitigated | Stage::Over, _) => None,
            }
        });
        let reminders = reminders.flatten();
        let all = silences.chain(again).chain(freed).chain(cases);
        all.chain(reminders).min()
    }
}
