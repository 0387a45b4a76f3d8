//! All that the watch knows.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::Identity;
use mainstay_promql::labels::{Labels, NAME};
use mainstay_record::watch::{WatchConfig, WatchTarget};
pub use mainstay_rt::error::chain;
use mainstay_rules::group::{Saved, Surroundings};
use mainstay_rules::sight::Asked;
use mainstay_samples::SamplesError;
use mainstay_scrape::exposition::{Limits, Meaning, Type};
use mainstay_scrape::target::{STALE, Silence};
use mainstay_scraper::server::Server;
use mainstay_scraper::web::Web;
use mainstay_scraper::{Account, Endpoint, Reach};

use crate::desk::Store;
use crate::duty::{Digests, Duty, Refused};
use crate::far::Own;
use crate::hand::{Done, Job};
use crate::inbox::Post;
use crate::source::{self, Heard};

/// Metrics whose meaning is remembered.
const MEANINGS_MAX: usize = 20_000;
/// Different meanings of one metric that are remembered.
const MEANINGS_EACH: usize = 8;
/// A clock that is set back by so much, in milliseconds, is waited for.
const STEP_MAX: i64 = 1_000;
const TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// What is said of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub kind: &'static str,
    pub help: String,
    pub unit: String,
}

#[derive(Debug)]
pub struct Seen {
    pub target: WatchTarget,
    pub last: Option<i64>,
    pub problem: Option<String>,
    pub silent_since: Option<i64>,
}

#[derive(Debug)]
pub struct World {
    pub host: String,
    /// Since when alerts of our own rules are remembered.
    pub own_begun_ms: u64,
    pub store: Store,
    pub duties: Vec<Duty>,
    pub refused: Vec<Refused>,
    /// What the rules were read from, and since when that is so.
    pub digests: (Digests, i64),
    pub seen: Vec<Seen>,
    /// Who scrapes instead.
    pub source: Option<source::Seen>,
    pub server: Option<Rc<Server>>,
    /// Alerts that others raise, where there is a door for them.
    pub post: Option<Post>,
    /// Metrics that our own store has.
    pub own: Own,
    pub meanings: BTreeMap<String, BTreeSet<Told>>,
    pub surroundings: Surroundings,
    /// Series that were not taken because there are too many.
    pub beyond_limit: usize,
    /// Samples that were not taken because they are not newer than what their series have.
    pub old: usize,
    pub clock: Clock,
}

/// The wall clock, as far as it must not be set back: what is stored is in the order of its moments, and a rule that is
/// evaluated at a moment of before would see what was then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// The latest moment at which somebody was asked.
    pub heard_until: i64,
    /// Whether somebody was told that it was set back.
    is_behind: bool,
}

impl Clock {
    pub fn new(heard_until: i64) -> Self {
        let is_behind = false;
        Self {
            heard_until,
            is_behind,
        }
    }

    /// By how much it is behind what was heard already, if that is more than is waited for.
    pub fn behind(&self, now: i64) -> Option<i64> {
        let behind = self.heard_until.saturating_sub(now);
        (behind > STEP_MAX).then_some(behind)
    }

    fn hear(&mut self, at: i64) {
        self.heard_until = self.heard_until.max(at);
    }

    /// Says it once, and once when it is over.
    fn heed(&mut self, now: i64) {
        let behind = self.behind(now);
        match (behind, self.is_behind) {
            (Some(behind_ms), false) => tracing::error!(
                behind_ms,
                "the clock of this host was set back: until it has caught up nothing is stored, and no alert begins or ends"
            ),
            (None, true) => tracing::info!("the clock has caught up with what was stored"),
            _ => {}
        }
        self.is_behind = behind.is_some();
    }
}

/// What a target's series bear beside their own labels.
fn labels(target: &WatchTarget) -> Vec<(String, String)> {
    let mut labels = vec![
        ("instance".to_owned(), target.instance.clone()),
        ("job".to_owned(), target.job.clone()),
    ];
    labels.extend(target.labels.clone());
    labels.sort();
    labels
}

/// Whom rules may learn something from; where another server scrapes, only that one knows.
pub fn asked(config: &WatchConfig) -> Option<Asked> {
    let targets = config.targets.iter();
    let targets = targets.map(|target| Labels::new(labels(target))).collect();
    config.metrics.is_none().then(|| Asked::new(targets))
}

/// How a target is asked, or why it cannot be. One that must prove its name needs somebody who can prove theirs.
pub fn endpoint(
    config: &WatchConfig,
    target: &WatchTarget,
    identity: Option<&Arc<Identity>>,
) -> Result<Endpoint, String> {
    let interval = Duration::from_millis(config.interval_ms);
    let labels = labels(target);
    let address = target.address.clone();
    let reach = match (&target.name, &target.tls, address.strip_prefix("unix:")) {
        (Some(name), _, _) => {
            let identity = identity
                .ok_or("it must prove its name, and this watch has no identity to prove its own")?;
            Reach::Named {
                address,
                name: name.clone(),
                identity: Arc::clone(identity),
            }
        }
        (None, Some(tls), None) => {
            let authority = tls.authority_file.clone();
            Reach::Web(Web::new(&address, &tls.server_name, authority))
        }
        (None, _, Some(path)) => Reach::Unix(path.into()),
        (None, None, None) => Reach::Tcp(address),
    };
    Ok(Endpoint {
        reach,
        token_file: target.token_file.clone(),
        path: target.path.clone(),
        labels,
        honor_labels: false,
        interval,
        timeout: interval.min(TIMEOUT_MAX),
        limits: Limits::default(),
    })
}

impl World {
    /// Since when all alerts are remembered.
    pub fn begun_ms(&self) -> u64 {
        let received = self.post.as_ref().map_or(0, |post| post.begun_ms);
        self.own_begun_ms.max(received)
    }

    /// Whether everybody was asked once: before that, nothing is known that was not known to the last watch.
    pub fn is_awake(&self) -> bool {
        let source = self.source.as_ref();
        self.seen.iter().all(|seen| seen.last.is_some())
            && source.is_none_or(|source| source.last.is_some())
    }

    /// Takes up what the clock says, for those that wait for a moment.
    pub fn heed_clock(&mut self, now: i64) {
        self.clock.heed(now);
        for duty in &mut self.duties {
            if duty.heed_clock(now) {
                let (file, group) = (&duty.group.file, &duty.group.name);
                tracing::warn!(file, group, "the clock was set back: the bell is set anew");
            }
        }
    }

    /// Takes up whether the server that scrapes for us was heard. The rule over that is due at once.
    pub fn heed(&mut self, heard: Heard) -> Result<(), SamplesError> {
        let Some(seen) = &mut self.source else {
            return Ok(());
        };
        let labels = Labels::of(&[(NAME, source::UP), ("source", &seen.url)]);
        let value = f64::from(u8::from(heard.problem.is_none()));
        let kept = self.store.write().append([(&labels, heard.at, value)])?;
        self.old += kept.old;
        self.clock.hear(heard.at);
        match (&heard.problem, seen.silent_since) {
            (Some(problem), None) => {
                tracing::warn!(
                    source = seen.url,
                    problem,
                    "the source of metrics is silent"
                );
                seen.silent_since = Some(heard.at);
            }
            (None, Some(_)) => {
                tracing::info!(source = seen.url, "the source of metrics is heard again");
                seen.silent_since = None;
            }
            _ => {}
        }
        seen.last = Some(heard.at);
        seen.problem = heard.problem;
        let rules = self.duties.iter_mut();
        for duty in rules.filter(|duty| duty.group.file == source::FILE) {
            duty.due = duty.due.min(heard.at);
        }
        Ok(())
    }

    /// Stores what came of an attempt.
    pub fn hear(&mut self, account: Account, now: i64) -> Result<(), SamplesError> {
        let mut writes: Vec<(Labels, i64, f64)> = account
            .writes
            .into_iter()
            .map(|write| (Labels::shared(write.labels), write.at, write.value))
            .collect();
        // The account's own series come last, at the moment of the attempt.
        if let Some((_, at, _)) = writes.last() {
            self.clock.hear(*at);
        }
        let forgotten = self.forgotten(account.endpoint, &writes);
        writes.extend(forgotten);
        let samples = writes
            .iter()
            .map(|(labels, at, value)| (labels, *at, *value));
        let kept = self.store.write().append(samples)?;
        if kept.beyond_limit > 0 && self.beyond_limit == 0 {
            tracing::error!("too many series: new ones are not kept; let targets give fewer");
        }
        self.beyond_limit += kept.beyond_limit;
        self.old += kept.old;
        self.learn(account.meanings);
        let Some(seen) = self.seen.get_mut(account.endpoint) else {
            return Ok(());
        };
        seen.last = Some(now);
        seen.problem = account.problem.map(|problem| chain(&problem));
        let silent_since = match account.silence {
            Silence::Heard => None,
            Silence::SilentSince(since) => Some(since),
        };
        let (job, instance) = (&seen.target.job, &seen.target.instance);
        match (seen.silent_since, silent_since) {
            (None, Some(_)) => {
                tracing::warn!(job, instance, problem = seen.problem, "a target is silent");
            }
            (Some(_), None) => tracing::info!(job, instance, "a target is heard again"),
            _ => {}
        }
        seen.silent_since = silent_since;
        Ok(())
    }

    /// Ends what the last watch saw of a target and is not given any more. The target's own book is new and
    /// knows nothing of it, so that it would pass for current until the lookback is over.
    fn forgotten(&self, endpoint: usize, writes: &[(Labels, i64, f64)]) -> Vec<(Labels, i64, f64)> {
        let first = self.seen.get(endpoint).filter(|seen| seen.last.is_none());
        let (Some(seen), Some((_, at, _))) = (first, writes.last()) else {
            return Vec::new();
        };
        let given: BTreeSet<&Labels> = writes.iter().map(|(labels, _, _)| labels).collect();
        let lookback = self.surroundings.options.lookback;
        let head = self.store.read();
        head.series(&[], at.saturating_sub(lookback), *at)
            .filter(|labels| {
                labels.get("job") == seen.target.job
                    && labels.get("instance") == seen.target.instance
                    && !given.contains(labels)
            })
            .map(|labels| (labels.clone(), *at, f64::from_bits(STALE)))
            .collect()
    }

    /// Ends what the last watch saw of targets that are not asked any more, and what rules said of them.
    pub fn end_unasked(&self, at: i64) -> Result<(), SamplesError> {
        if self.source.is_some() {
            return Ok(());
        }
        let targets = self.seen.iter().map(|seen| &seen.target);
        let asked: BTreeSet<(&str, &str)> = targets
            .map(|target| (target.job.as_str(), target.instance.as_str()))
            .collect();
        let lookback = self.surroundings.options.lookback;
        let is_unasked = |labels: &&Labels| {
            let (job, instance) = (labels.get("job"), labels.get("instance"));
            !job.is_empty() && !instance.is_empty() && !asked.contains(&(job, instance))
        };
        let unasked: Vec<Labels> = {
            let head = self.store.read();
            let recent = head.series(&[], at.saturating_sub(lookback), at);
            recent.filter(is_unasked).cloned().collect()
        };
        self.end(&unasked, at)
    }

    /// Marks series as ended.
    pub fn end(&self, series: &[Labels], at: i64) -> Result<(), SamplesError> {
        let ended = series
            .iter()
            .map(|labels| (labels, at, f64::from_bits(STALE)));
        self.store.write().append(ended).map(drop)
    }

    fn learn(&mut self, meanings: Vec<(String, Meaning)>) {
        let mut told: BTreeMap<String, Told> = BTreeMap::new();
        for (metric, meaning) in meanings {
            let told = told.entry(metric).or_insert_with(|| Told {
                kind: "unknown",
                ..Told::default()
            });
            match meaning {
                Meaning::Type(kind) => told.kind = kind_name(kind),
                Meaning::Help(help) => told.help = help,
                Meaning::Unit(unit) => told.unit = unit,
            }
        }
        for (metric, told) in told {
            if self.meanings.len() >= MEANINGS_MAX && !self.meanings.contains_key(&metric) {
                continue;
            }
            let known = self.meanings.entry(metric).or_default();
            if known.len() < MEANINGS_EACH {
                known.insert(told);
            }
        }
    }

    /// The group whose bell rang first, of those whose bell has rung. What is heard from here on it does not see.
    pub fn job(&mut self, now: i64) -> Option<Job> {
        let behind = self.clock.behind(now);
        let duties = self.duties.iter_mut().enumerate();
        let (place, duty) = duties.min_by_key(|(_, duty)| duty.due)?;
        if behind.is_none() && now < self.clock.heard_until {
            duty.wait_for(self.clock.heard_until);
            return None;
        }
        let at = duty.ring(now)?;
        self.store.write().open_view();
        Some(Job {
            place,
            group: Arc::clone(&duty.group),
            memory: duty.memory.clone(),
            at,
            surroundings: self.surroundings.clone(),
            own: Arc::clone(&self.own),
            deaf: behind.map(|_| "the clock was set back behind what was heard already".to_owned()),
        })
    }

    /// Takes up what came of a job. The duties are the same as when it was given.
    pub fn finish(&mut self, done: Done) -> Result<(), SamplesError> {
        self.store.write().close_view();
        if let Some(duty) = self.duties.get_mut(done.place) {
            duty.memory = done.memory;
            duty.last = Some(done.at);
            duty.took_ms = done.took_ms;
        }
        done.kept
    }

    /// The next bell.
    pub fn next_due(&self) -> Option<i64> {
        self.duties.iter().map(|duty| duty.due).min()
    }

    pub fn saved(&self) -> Vec<Saved> {
        self.duties
            .iter()
            .map(|duty| duty.memory.save(&duty.group))
            .collect()
    }
}

fn kind_name(kind: Type) -> &'static str {
    match kind {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
        Type::GaugeHistogram => "gaugehistogram",
        Type::Summary => "summary",
        Type::Info => "info",
        Type::StateSet => "stateset",
        Type::Unknown => "unknown",
    }
}
