//! A small platform, and a stage on which signals are decided, applied, and written down as a person would.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mainstay_incident::Change;
use mainstay_kernel::{
    Actor, Ask, Command, Desired, DesiredDatabase, DesiredOperator, DesiredRoute, DesiredService,
    EndReason, Event, ExperimentNews, FaultDetail, FaultKind, FaultSpec, FaultTarget, Outcome,
    PlacedBecause, Record, Reflex, Report, RulesNews, Signal, State, Told, UpgradeEnd,
    WithdrawnBecause, decide,
};
use mainstay_model::EnvironmentKind;
use mainstay_model::people::{Permission, UnixIdentity};
use mainstay_playbook as playbook;
use mainstay_units::{Epoch, Term};

/// Parses a name of whatever kind is wanted.
pub fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

pub const HOSTS: [&str; 4] = ["h1", "h2", "h3", "h4"];

/// Regions r1 to r4 with a host each; `ledger` on three of them; `web` twice anywhere; `engine` beside `ledger`.
pub fn desired() -> Desired {
    let operator = |identity, permissions: &[Permission]| DesiredOperator {
        identity,
        permissions: permissions.iter().copied().collect(),
    };
    let hosts = |hosts: &[&str]| hosts.iter().map(|host| name(host)).collect();
    Desired {
        platform: name("exchange"),
        environment: EnvironmentKind::Rehearsal,
        hosts: HOSTS
            .iter()
            .map(|host| (name(host), name(&host.replace('h', "r"))))
            .collect(),
        databases: BTreeMap::from([(
            name("ledger"),
            DesiredDatabase {
                home: name("r1"),
                replicas: hosts(&["h1", "h2", "h3"]),
                fingerprint: 1,
            },
        )]),
        services: BTreeMap::from([
            (
                name("web"),
                DesiredService {
                    replicas: 2,
                    hosts: hosts(&HOSTS),
                    follows: None,
                    fingerprint: 1,
                },
            ),
            (
                name("engine"),
                DesiredService {
                    replicas: 3,
                    hosts: hosts(&["h1", "h2", "h3"]),
                    follows: Some(name("ledger")),
                    fingerprint: 1,
                },
            ),
        ]),
        gateways: BTreeMap::from([(name("edge"), (hosts(&["h1", "h2"]), 1))]),
        watches: [name("h1"), name("h2")].into(),
        routes: vec![route()],
        oncall: mainstay_notify::Settings::default(),
        gates: Vec::new(),
        objectives: BTreeMap::from([(
            name("answered"),
            (name("edge"), Some("/v1/cells/{cell}".to_string())),
        )]),
        operators: BTreeMap::from([
            (
                name("owner"),
                operator(UnixIdentity::Owner, &Permission::ALL),
            ),
            (
                name("watcher"),
                operator(UnixIdentity::Uid(7), &[Permission::StatusRead]),
            ),
            (
                name("breaker"),
                operator(
                    UnixIdentity::User("eve".to_string()),
                    &[Permission::FaultInject],
                ),
            ),
        ]),
    }
}

fn route() -> DesiredRoute {
    DesiredRoute {
        gateway: name("edge"),
        path: "/v1/cells/{cell}".to_string(),
        databases: vec![name("ledger")],
        services: vec![name("engine")],
    }
}

pub fn owner() -> Actor {
    actor(1000, "ada")
}

pub fn actor(uid: u32, user: &str) -> Actor {
    Actor {
        uid,
        user: Some(user.to_string()),
    }
}

pub fn command(actor: Actor, ask: Ask) -> Signal {
    Signal::Commanded(Command {
        actor,
        reason: "a rehearsal".to_string(),
        ask,
        readings: Vec::new(),
        overrides: BTreeSet::new(),
    })
}

pub fn fault(kind: FaultKind, target: &str, lasts_ms: u64) -> FaultSpec {
    FaultSpec {
        kind,
        target: FaultTarget::parse(kind, target).unwrap(),
        lasts_ms,
        one_way: false,
        delay_us: 0,
        detail: FaultDetail::default(),
    }
}

pub fn primary(host: &str, term: u32) -> Signal {
    report(
        host,
        u64::from(term),
        Reflex::BecamePrimary {
            database: name("ledger"),
            term: Term(term),
        },
    )
}

pub fn report(host: &str, at_ms: u64, reflex: Reflex) -> Signal {
    Signal::Reported(Report {
        host: name(host),
        at_ms,
        reflex,
    })
}

pub fn answered(position: u64, outcome: Outcome) -> Signal {
    Signal::Answered {
        effect: mainstay_kernel::EffectId(mainstay_units::Position(position)),
        outcome,
    }
}

/// Where stories are played.
#[derive(Default)]
pub struct Stage {
    pub state: State,
    pub records: Vec<Record>,
    script: String,
}

impl Stage {
    /// With a file in force and the first positions used up.
    pub fn with(desired: Desired) -> Self {
        let mut stage = Self::default();
        stage.put(Event::Opened {
            origin: "mainstay/exchange/0123456789abcdef".to_string(),
            platform: name("exchange"),
            node: name("h1"),
            key: "key-1".to_string(),
        });
        stage.put(Event::Claimed {
            epoch: Epoch(1),
            node: name("h1"),
            why: mainstay_kernel::ClaimReason::First,
        });
        stage.at(
            1_000,
            &Signal::FileRead {
                digest: "f00d".to_string(),
                desired: Box::new(desired),
                actor: owner(),
            },
        );
        stage.script.clear();
        stage
    }

    pub fn put(&mut self, event: Event) {
        self.push(self.state.now_ms, event);
    }

    fn push(&mut self, at_ms: u64, event: Event) {
        let record = Record {
            position: self.state.next,
            at_ms,
            epoch: self.state.epoch,
            cause: None,
            event,
        };
        self.state.apply(&record);
        self.records.push(record);
    }

    /// Decides a signal at a time, applies what was decided, writes both down.
    pub fn at(&mut self, now_ms: u64, signal: &Signal) -> &mut Self {
        writeln!(self.script, "{now_ms} > {}", tell_signal(signal)).unwrap();
        let before = self.state.outstanding.clone();
        let decision = decide(&self.state, now_ms, signal);
        if decision.events.is_empty() {
            writeln!(self.script, "     nothing: {}", decision.why).unwrap();
        }
        for event in decision.events {
            writeln!(self.script, "     #{} {}", self.state.next, tell(&event)).unwrap();
            self.push(now_ms, event);
        }
        for (id, outstanding) in &self.state.outstanding {
            if !before.contains_key(id) {
                let effect = format!("{:?}", outstanding.effect);
                let verb = effect.split([' ', '{']).next().unwrap_or_default();
                let script = &mut self.script;
                writeln!(script, "     do #{id} {verb} by {:?}", outstanding.executor).unwrap();
            }
        }
        self
    }

    pub fn script(&mut self) -> String {
        std::mem::take(&mut self.script)
            .replace("Host(HostName(\"", "")
            .replace("\"))", "")
    }
}

fn tell_signal(signal: &Signal) -> String {
    match signal {
        Signal::Tick => "time passes".to_string(),
        Signal::KeyOffered { node, key } => format!("{node} shows the key {key}"),
        Signal::HostHeard { host } => format!("{host} is heard"),
        Signal::HostSilent { host, silent_ms } => format!("{host} is silent for {silent_ms} ms"),
        Signal::FileRead { digest, .. } => format!("a node was started with file {digest}"),
        Signal::Commanded(command) => {
            format!("uid {} asks: {}", command.actor.uid, command.ask.as_str())
        }
        Signal::Reported(report) => {
            format!("{} reports {}", report.host, tell_reflex(&report.reflex))
        }
        Signal::AlertTold(news) => format!(
            "the watch on {} says that {} is {}",
            news.watch,
            news.alert,
            news.state.as_str()
        ),
        Signal::RulesTold { watch, files, .. } => {
            format!("the watch on {watch} follows {} files", files.len())
        }
        Signal::Answered { effect, outcome } => format!("#{effect} is {}", tell_outcome(outcome)),
        Signal::Experiment(told) => match &told.told {
            Told::Looked { seen, .. } => format!("#{} saw {} things", told.effect, seen.len()),
            Told::Chosen { what, .. } => format!("#{} chose {what}", told.effect),
        },
        Signal::DrillAbandoned { drill } => format!("the command of {drill} has died"),
    }
}

fn tell_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { .. } => "done".to_string(),
        Outcome::Failed { why } => format!("failed: {why}"),
        Outcome::Unknown { why } => format!("unknown: {why}"),
    }
}

fn tell_reflex(reflex: &Reflex) -> String {
    match reflex {
        Reflex::BecamePrimary { database, term } => format!("{database} primary in term {term}"),
        Reflex::LeftPrimary {
            database,
            term,
            why,
        } => {
            format!("{database} primary no more in term {term}: {why}")
        }
        Reflex::InstanceRestarted {
            instance,
            restarts,
            exit,
        } => {
            format!("{instance} restarted ({restarts}) after {exit}")
        }
        Reflex::CrashLoop { instance, restarts } => format!("{instance} loops ({restarts})"),
        Reflex::LoopEnded { instance, why } => format!("{instance} loops no more: {why}"),
        Reflex::HoldOpened { gateway, database } => format!("{gateway} holds for {database}"),
        Reflex::HoldClosed {
            gateway,
            database,
            lasted_ms,
            released,
            failed,
        } => format!(
            "{gateway} held for {database} {lasted_ms} ms: {released} released, {failed} failed"
        ),
        Reflex::FaultUndone { fault, by } => format!("fault {fault} undone by {by}"),
        Reflex::PromiseChanged {
            database,
            term,
            what,
        } => format!("{database} in term {term}: {what}"),
        Reflex::ReplicaLetGo { database, from } => format!("{database} lets go of {from}"),
        Reflex::Archived { database, deed } => format!("archive of {database}: {deed:?}"),
    }
}

fn by(by: &mainstay_kernel::By) -> String {
    by.operator
        .as_ref()
        .map_or("nobody yet".to_string(), ToString::to_string)
}

fn tell_notice(event: &mainstay_notify::Event) -> String {
    use mainstay_notify::Event;
    match event {
        Event::Escalated {
            incident,
            level,
            round,
            tell,
            until_ms,
            why,
            ..
        } => {
            let tell: Vec<&str> = tell.iter().map(|to| to.channel.as_str()).collect();
            let tell = tell.join(", ");
            format!("{incident} calls level {level}.{round} ({tell}) until {until_ms}: {why}")
        }
        Event::Exhausted { incident, why } => format!("{incident} calls no more: {why}"),
        Event::Ordered(notice) => format!(
            "notice {}.{} {} of {} to {}: {}",
            notice.number,
            notice.attempt,
            notice.kind.as_str(),
            notice.incident,
            notice.to.channel,
            notice.text
        ),
        Event::SilenceSet { silence, set } => {
            let matchers: Vec<String> = set.matchers.iter().map(ToString::to_string).collect();
            let matchers = matchers.join(" ");
            format!(
                "silence s{silence} of {matchers} until {} by {}",
                set.until_ms, set.by
            )
        }
        Event::SilenceEnded { silence, why } => format!("silence s{silence} ended: {why}"),
    }
}

fn tell_incident(event: &mainstay_incident::Event) -> String {
    let id = event.incident;
    let joined = |parts: Vec<String>| parts.join(", ");
    match &event.change {
        Change::Opened {
            title,
            severity,
            things,
            evidence,
            follows,
            ..
        } => {
            let things = joined(things.iter().map(ToString::to_string).collect());
            let evidence = joined(evidence.iter().map(|at| format!("#{at}")).collect());
            let follows = follows.map_or(String::new(), |id| format!(" after {id}"));
            format!("{id} opened ({severity}{follows}) {title:?} about {things} with {evidence}")
        }
        Change::Joined {
            things, evidence, ..
        } => {
            let things = joined(things.iter().map(ToString::to_string).collect());
            let evidence = joined(evidence.iter().map(|at| format!("#{at}")).collect());
            format!("{id} takes up {things} with {evidence}")
        }
        Change::SeverityChanged { severity } => format!("{id} is {severity}"),
        Change::Acknowledged => format!("{id} acknowledged"),
        Change::Assigned { role, to, .. } => format!("{id} has {to} as {}", role.as_str()),
        Change::Noted => format!("{id} noted"),
        Change::Signed { signature, .. } => format!("{id} signed ({})", signature.as_str()),
        Change::Learned(lesson) => format!("{id} learned ({})", lesson.as_str()),
        Change::ActionAdded(action) => format!(
            "{id} action a{} for {} until {}",
            action.number, action.owner, action.due
        ),
        Change::ActionDone { number, .. } => format!("{id} action a{number} done"),
        Change::Linked { link } => format!("{id} linked to {link}"),
        Change::Mitigated => format!("{id} mitigated"),
        Change::Resolved { standing } => format!("{id} resolved despite {}", standing.len()),
        Change::Reopened => format!("{id} reopened"),
        Change::Merged { into } => format!("{id} merged into {into}"),
    }
}

#[expect(clippy::too_many_lines, reason = "a table with one row for each kind")]
fn tell_experiment(news: &ExperimentNews) -> String {
    match news {
        ExperimentNews::Begun {
            experiment,
            plan,
            until_ms,
            by: who,
            ..
        } => format!(
            "experiment {experiment} {} begun until {until_ms} by {}",
            plan.name,
            by(who)
        ),
        ExperimentNews::Observed {
            experiment,
            observation,
        } => format!(
            "experiment {experiment}: {} {}: {}",
            observation.subject,
            observation.finding.as_str(),
            observation.value
        ),
        ExperimentNews::Looking {
            experiment,
            moment,
            host,
            within_ms,
            patience_ms,
        } => format!(
            "experiment {experiment}: {host} looks ({}) for {within_ms} ms, blind after {patience_ms}",
            moment.as_str()
        ),
        ExperimentNews::Looked {
            experiment,
            moment,
            halt,
            residue,
        } => format!(
            "experiment {experiment}: looked ({}){}{}",
            moment.as_str(),
            halt.iter()
                .map(|why| format!(", halt: {why}"))
                .collect::<String>(),
            residue
                .iter()
                .map(|left| format!(", left: {left}"))
                .collect::<String>(),
        ),
        ExperimentNews::Choosing {
            experiment,
            injection,
        } => format!("experiment {experiment}: injection {injection} is due"),
        ExperimentNews::Chosen {
            experiment,
            injection,
            what,
            faults,
        } => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let faults = faults.join(", ");
            format!("experiment {experiment}: injection {injection} is {what} ({faults})")
        }
        ExperimentNews::Mending {
            experiment,
            verdict,
            why,
        } => format!(
            "experiment {experiment} mends{}: {why}",
            verdict
                .iter()
                .map(|verdict| format!(", {}", verdict.as_str()))
                .collect::<String>()
        ),
        ExperimentNews::Ended {
            experiment,
            verdict,
            why,
            ..
        } => format!("experiment {experiment} {}: {why}", verdict.as_str()),
    }
}

#[expect(clippy::too_many_lines, reason = "a table with one row for each kind")]
fn tell(event: &Event) -> String {
    match event {
        Event::Opened { platform, node, .. } => format!("{node} opened the journal of {platform}"),
        Event::KeyAdmitted {
            node,
            key,
            replaces,
        } => match replaces {
            Some(old) => format!("{key} of {node} admitted instead of {old}"),
            None => format!("{key} of {node} admitted"),
        },
        Event::Claimed { epoch, node, why } => format!("{node} leads in epoch {epoch}: {why:?}"),
        Event::PlatformAdopted {
            generation,
            digest,
            plan,
            by: who,
            ..
        } => format!(
            "file {digest} in force as generation {generation} by {}: {} changes, {} steps",
            by(who),
            plan.changes.len(),
            plan.steps.len()
        ),
        Event::CommandRefused { asked, why, .. } => {
            format!("refused {asked}: {why} ({})", why.code())
        }
        Event::GateOverridden {
            gate,
            asked,
            found,
            why,
            by: who,
            ..
        } => format!(
            "gate {gate} passed for {asked} by {} although {} ({why})",
            by(who),
            found.as_str()
        ),
        Event::Paused { by: who, .. } => format!("paused by {}", by(who)),
        Event::Resumed { by: who, .. } => format!("resumed by {}", by(who)),
        Event::Stopping { by: who, .. } => format!("stopped by {}", by(who)),
        Event::HostLost { host, silent_ms } => format!("{host} is lost, silent for {silent_ms} ms"),
        Event::HostReturned { host } => format!("{host} is back"),
        Event::InstancePlaced { service, host, why } => format!(
            "{service} on {host}: {}",
            match why {
                PlacedBecause::Wanted => "wanted".to_string(),
                PlacedBecause::BesideReplica { database } => format!("beside {database}"),
                PlacedBecause::InsteadOf { lost } => format!("instead of {lost}"),
                PlacedBecause::Replaces { host, run } =>
                    format!("for that on {host}, by run {run}"),
            }
        ),
        Event::InstanceWithdrawn { service, host, why } => format!(
            "{service} off {host}: {}",
            match why {
                WithdrawnBecause::NotWanted => "not wanted",
                WithdrawnBecause::HostLost => "host lost",
                WithdrawnBecause::Replaced => "replaced",
                WithdrawnBecause::NotReady => "not ready",
            }
        ),
        Event::FaultInjected {
            fault,
            spec,
            until_ms,
            by: who,
            ..
        } => format!(
            "fault {fault} {} {} until {until_ms} by {}",
            spec.kind.as_str(),
            spec.target,
            by(who)
        ),
        Event::FaultEnding { fault, why } => format!(
            "fault {fault} ends: {}",
            match why {
                EndReason::Expired => "its time is over".to_string(),
                EndReason::Cleared { by: who, .. } => format!("cleared by {}", by(who)),
                EndReason::Playbook { run } => format!("run {run} ends it"),
                EndReason::Experiment { experiment } => format!("experiment {experiment} is over"),
                EndReason::Drill { drill } => format!("the command of {drill} has died"),
                EndReason::Again { failed } => format!("again, since {failed}"),
            }
        ),
        Event::SwitchoverOrdered {
            database,
            from,
            to,
            by: who,
            ..
        } => {
            format!("{database} from {from} to {to} by {}", by(who))
        }
        Event::SoloOrdered {
            database,
            host,
            by: who,
            ..
        } => format!("{database} serves alone on {host} by {}", by(who)),
        Event::FailoverForced {
            database,
            to,
            by: who,
            ..
        } => format!(
            "{database} goes on from {to} without a majority by {}",
            by(who)
        ),
        Event::UpgradeBegun {
            program,
            hosts,
            by: who,
            ..
        } => {
            let hosts: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
            let (version, hosts) = (&program.version, hosts.join(", "));
            format!("upgrade to {version} on {hosts} by {}", by(who))
        }
        Event::UpgradeOrdered { host } => format!("{host} takes its turn"),
        Event::UpgradeEnded(UpgradeEnd::Complete) => "upgrade complete".to_string(),
        Event::UpgradeEnded(UpgradeEnd::Stopped { host, why }) => {
            format!("upgrade stopped on {host}: {why}")
        }
        Event::EffectFinished { effect, outcome } => {
            format!("effect #{effect} {}", tell_outcome(outcome))
        }
        Event::ReflexRecorded(report) => {
            format!("recorded: {} {}", report.host, tell_reflex(&report.reflex))
        }
        Event::Experiment(news) => tell_experiment(news),
        Event::Drill(news) => crate::drills::tell(news),
        Event::AlertChanged(news) => format!(
            "alert {} of {} is {}: {}",
            news.alert,
            news.watch,
            news.state.as_str(),
            news.why
        ),
        Event::Incident(event) => {
            format!("{} by {}: {}", tell_incident(event), event.by, event.reason)
        }
        Event::Playbook(event) => tell_playbook(event),
        Event::Notice(event) => tell_notice(event),
        Event::Rules(news) => tell_rules(news),
        Event::Unknown { kind, version } => format!("unknown {kind}/{version}"),
    }
}

fn tell_rules(news: &RulesNews) -> String {
    match news {
        RulesNews::Adopted { text, by, .. } => format!(
            "rules {} {:.6} part {} of {} by {}",
            text.file,
            text.digest,
            text.part,
            text.parts,
            self::by(by)
        ),
        RulesNews::Followed {
            watch,
            at_ms,
            files,
        } => {
            let files = files.iter();
            let files = files.map(|(file, digest)| format!("{file} {digest:.6}"));
            let files: Vec<String> = files.collect();
            format!(
                "the watch on {watch} follows {} since {at_ms}",
                files.join(", ")
            )
        }
    }
}

fn tell_playbook(event: &playbook::Event) -> String {
    use playbook::Event as E;
    match event {
        E::Adopted { book, by, .. } => {
            format!("playbook {} version {} by {by}", book.name, book.version)
        }
        E::Withdrawn { book, by, .. } => format!("playbook {book} withdrawn by {by}"),
        E::Opened {
            run, book, opening, ..
        } => format!(
            "run {run} of {book} {}",
            match opening {
                playbook::Opening::Observes => "is only observed".to_string(),
                playbook::Opening::Waits { needs, .. } => format!("waits for {needs}"),
                playbook::Opening::Goes => "goes".to_string(),
            }
        ),
        E::Declined { book, why, .. } => format!("no run of {book}: {why}"),
        E::Approved { run, by, .. } => {
            let by = by
                .as_ref()
                .map_or("nobody".to_string(), ToString::to_string);
            format!("run {run} approved by {by}")
        }
        E::Started { run, targets } => {
            let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
            format!("run {run} starts and reserves {}", targets.join(", "))
        }
        E::Begun {
            run,
            attempt,
            undo,
            act,
            ..
        } => {
            let undo = if *undo { "undoing: " } else { "" };
            format!("run {run}, attempt {attempt}: {undo}{act}")
        }
        E::Looked {
            run, purpose, look, ..
        } => {
            let by = look.host.as_deref().unwrap_or("the leader");
            format!("run {run}: {by} looks ({})", purpose.as_str())
        }
        E::Skipped { run, why, .. } => format!("run {run} passes over a step: {why}"),
        E::Failed { run, why, .. } => format!("run {run} fails: {why}"),
        E::Asks { run, why } => format!("run {run} asks: {why}"),
        E::Aborted { run, by, .. } => format!("run {run} aborted by {by}"),
        E::Ended { run, ending, why } => format!("run {run} is {}: {why}", ending.as_str()),
    }
}
