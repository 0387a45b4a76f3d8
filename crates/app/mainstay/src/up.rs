//! `mainstay up`: from a file to a platform that runs, or from one version of the file to the next.
//!
//! What the file in force says is started or adopted first; only then a changed file is shown, journalled
//! and carried out by the nodes. So a file that is refused has changed nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use mainstay_derive::Layout;
use mainstay_host::{identity, launch, wire};
use mainstay_manifest::{NamedPlaybook, load};
use mainstay_model::Platform;
use mainstay_node::place::PlaceError;
use mainstay_node::prepare::{self, PrepareError};
use mainstay_node::{coordination, is_up, machine, place, user_name};
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_record::status::Status;
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::process::Signal;

use crate::arguments::Up;
use crate::changes;
use crate::client::{all_have_file, chain, data_folder, look, not_yours, send_past};
use crate::down::stop;
use crate::exit::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::print::{line, progress};
use crate::rule_files::RuleFile;
use crate::status::{current, palette, watch};
use crate::validate::read_valid;
use crate::{playbook_files, rebuild, rule_files};

/// Between two looks at the progress.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// A platform whose file has just changed is healthy when it was so this many times in a row: the nodes may
/// not yet have begun.
const STEADY_LOOKS: u32 = 8;
/// A wire that was told to leave is started again within this time.
const WIRE_LIMIT: Duration = Duration::from_secs(5);

pub fn up(arguments: &Up) -> Outcome {
    let (platform, text) = read_valid(&arguments.file)?;
    let rules = rule_files::read(&platform, &arguments.file)?;
    let playbooks = playbook_files::read(&platform, &arguments.file, &text)?;
    let interrupt = Interrupt::catch()?;
    let data = data_folder(&arguments.platform)?;
    let program = std::env::current_exe().context("find this program's own path")?;
    has_coordination(&platform, &program)?;
    let distance_us = arguments
        .distance
        .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    belongs_to_caller(&data)?;
    rebuild::may_start(&data, &platform)?;
    let known = in_force(&data, &platform);
    let (first, first_text) = known.as_ref().map_or((&platform, &text), |(p, t)| (p, t));
    let (record, layout) = prepare::prepare(&data, first, first_text, distance_us, program)
        .map_err(|error| unprepared(&data, &error))?;
    rule_files::lay_down(&layout, &rules)?;
    let wanted = Wanted {
        playbooks: &playbooks,
        rules: &rule_files::texts(&platform, &rules),
    };
    start_machine(&layout, &record.program)?;
    progress(format_args!(
        "platform {} in {}",
        record.platform,
        data.display()
    ));
    let deadline = clock::now() + arguments.timeout;
    let begun = match &known {
        Some((old, known_text)) if *known_text != text => {
            let change = Change {
                old,
                known_text,
                new: &platform,
                text: &text,
                wanted,
            };
            change.carry_out(&layout, arguments, &interrupt, deadline)
        }
        Some(_) | None => go_on(&layout, arguments, wanted, &interrupt, deadline),
    };
    match begun {
        Err(Failure::Interrupted) if !arguments.detach => {}
        Err(failure) => return Err(failure),
        Ok(status) if arguments.detach => {
            return line(mainstay_view::render(&status, palette()));
        }
        // Whoever reads may leave: the platform is here to stay until somebody interrupts.
        Ok(_) => {
            let is_over = || is_stopped(&layout);
            match watch(
                &layout,
                &interrupt,
                "Ctrl-C stops everything in order",
                is_over,
            ) {
                Err(Failure::ReaderLeft) => wait_for(&interrupt, is_over),
                watched => watched?,
            }
            if !interrupt.is_set() {
                progress(format_args!(
                    "everything was stopped elsewhere; the data stays in {}",
                    layout.data().display()
                ));
                return Ok(());
            }
        }
    }
    progress("stopping everything in order");
    stop(&layout, "interrupted where `mainstay up` ran")
}

fn has_coordination(platform: &Platform, program: &Path) -> Outcome {
    coordination::is_installed(platform, program).map_err(|why| Failure::Refused {
        code: "no_etcd".to_owned(),
        why,
        next: "install it (`apt-get install etcd-server`), or name an etcd that others run by `endpoints`"
            .to_owned(),
    })
}

/// With the file that is in force already, or the first one.
fn go_on(
    layout: &Layout,
    arguments: &Up,
    wanted: Wanted<'_>,
    interrupt: &Interrupt,
    deadline: Instant,
) -> Result<Status, Failure> {
    // They may be the cure: nobody waits for health first.
    let has_any = !wanted.playbooks.is_empty() || !wanted.rules.is_empty();
    if has_any {
        wait_leader(layout, interrupt, deadline)?;
        wanted.put_in_force(layout, &arguments.reason)?;
    }
    let status = wait_healthy(layout, interrupt, deadline, 0, 1)?;
    // Left over where an earlier `up` was interrupted.
    if !has_any {
        wanted.put_in_force(layout, &arguments.reason)?;
    }
    Ok(status)
}

/// What the platform file names and the journal has to say as text.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    playbooks: &'a [NamedPlaybook],
    rules: &'a [RuleFile],
}

impl Wanted<'_> {
    fn put_in_force(self, layout: &Layout, reason: &str) -> Outcome {
        rule_files::put_in_force(layout, self.rules, reason)?;
        playbook_files::put_in_force(layout, self.playbooks, reason)
    }
}

fn wait_for(interrupt: &Interrupt, is_over: impl Fn() -> bool) {
    while !interrupt.is_set() && !is_over() {
        interrupt.wait(Duration::from_secs(1));
    }
}

/// Whether neither the machine's process nor any node runs: somebody has stopped the platform.
fn is_stopped(layout: &Layout) -> bool {
    let hosts = place::node_folders(layout).unwrap_or_default();
    let node_runs = |(host, _): &(String, _)| machine::node_process(layout, host).is_some();
    machine::running(layout).is_none() && !hosts.iter().any(node_runs)
}

/// A platform runs as the user whose data it is: another's files would be out of its reach, and root's are
/// out of reach of the next `up` of that user.
fn belongs_to_caller(data: &Path) -> Outcome {
    use std::os::unix::fs::MetadataExt;
    let record = data.join("machine.json");
    let own = rustix::process::getuid().as_raw();
    match record.metadata() {
        Ok(meta) if meta.uid() != own => {
            let owner = user_name(meta.uid()).unwrap_or_else(|| format!("#{}", meta.uid()));
            Err(Failure::Refused {
                code: "not_yours".to_owned(),
                why: format!("the platform in {} runs as {owner}", data.display()),
                next: format!(
                    "`sudo -u {owner} mainstay up …`, or name another folder with --data"
                ),
            })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The file that a platform of this name has in force in this folder.
fn in_force(data: &Path, platform: &Platform) -> Option<(Platform, String)> {
    let (record, layout) = place::read(data).ok()?;
    let path = layout.platform_file();
    let text = std::fs::read_to_string(&path).ok()?;
    let known = load(&path.display().to_string(), &text).ok()?;
    (record.platform == platform.name().as_str()).then_some((known, text))
}

pub fn unprepared(data: &Path, error: &PrepareError) -> Failure {
    match error {
        PrepareError::Io(path, source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::Refused {
                code: "not_yours".to_owned(),
                why: format!("{} cannot be written by this user", path.display()),
                next: "name a folder of your own with --data, or run it as the folder's owner"
                    .to_owned(),
            }
        }
        PrepareError::Io(path, source) => Failure::Fault(anyhow::anyhow!(
            "{}: {source}\n  next: make room for the data in {}, or name another folder with --data",
            path.display(),
            data.display()
        )),
        PrepareError::Place(PlaceError::Read(path, source))
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            not_yours(path)
        }
        PrepareError::Place(_) | PrepareError::NoSlot(_) | PrepareError::OtherPlatform { .. } => {
            Failure::Usage(chain(error))
        }
    }
}

/// Wires and nodes are kept by a process of their own, which stays when this one goes.
fn start_machine(layout: &Layout, program: &Path) -> Outcome {
    if machine::running(layout).is_some() {
        return Ok(());
    }
    let command = [
        program.display().to_string(),
        "machine".into(),
        "--data".into(),
        layout.data().display().to_string(),
    ];
    launch::spawn_detached(&command, Some(&layout.data().join("machine.log")))
        .context("start the machine process")?;
    Ok(())
}

/// Shows what is being made until the platform has been healthy for `steady` looks, with a file of at least
/// this generation on every node that answers.
fn wait_healthy(
    layout: &Layout,
    interrupt: &Interrupt,
    deadline: Instant,
    generation: u64,
    steady: u32,
) -> Result<Status, Failure> {
    let show = Progress::new();
    let mut healthy = 0;
    loop {
        let looked = current(layout);
        match &looked {
            Ok(status) if is_up(status) && all_have_file(layout, generation) => {
                healthy += 1;
                if healthy >= steady {
                    show.end();
                    return Ok(status.clone());
                }
            }
            Ok(_) | Err(_) => healthy = 0,
        }
        show.doing(&match &looked {
            Ok(status) => status.findings.first().map_or_else(String::new, |found| {
                format!("{}: {}", found.subject, found.text)
            }),
            Err(Failure::NoAnswer { .. }) => "starting nodes".to_owned(),
            Err(Failure::Refused { .. }) => "this user may not read the status".to_owned(),
            Err(failure) => failure.to_string(),
        });
        if interrupt.is_set() {
            show.end();
            return Err(Failure::Interrupted);
        }
        if clock::now() >= deadline {
            show.end();
            let findings = match looked {
                Ok(status) => mainstay_view::render(&status, palette()),
                Err(failure) => failure.to_string(),
            };
            return Err(Failure::Finding(format!(
                "not healthy in time; what was started keeps running\n{findings}\n  next: `mainstay status --watch`, or a longer --timeout"
            )));
        }
        interrupt.wait(LOOK_PERIOD);
    }
}

/// A line that turns while it lasts on a terminal, a line for each step elsewhere.
struct Progress {
    bar: ProgressBar,
    last: std::cell::RefCell<String>,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            last: std::cell::RefCell::default(),
        }
    }

    fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
        if !what.is_empty() && self.last.replace(what.to_owned()) != what {
            self.bar.suspend(|| progress(format_args!("  {what}")));
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// One version of the file after another.
struct Change<'a> {
    old: &'a Platform,
    known_text: &'a str,
    new: &'a Platform,
    text: &'a str,
    wanted: Wanted<'a>,
}

impl Change<'_> {
    fn carry_out(
        &self,
        layout: &Layout,
        arguments: &Up,
        interrupt: &Interrupt,
        deadline: Instant,
    ) -> Result<Status, Failure> {
        coordination::stays(self.old.coordination(), self.new.coordination()).map_err(|why| {
            Failure::Refused {
                code: "journal_would_move".to_owned(),
                why: why.to_owned(),
                next: "leave the section as it was; or begin anew in another data folder (docs/coordination.md)"
                    .to_owned(),
            }
        })?;
        progress(changes::difference(self.known_text, self.text));
        progress(changes::plan(self.old, self.new));
        let generation = wait_leader(layout, interrupt, deadline)?;
        playbook_files::fit(layout, self.wanted.playbooks)?;
        // The nodes look for passwords as soon as the file is journalled.
        prepare::make_secrets(layout, self.new).context("draw passwords of new databases")?;
        let command = Command::Apply {
            file: self.text.to_owned(),
        };
        let generation = match send_past(layout, command, &arguments.reason, &arguments.gates)? {
            CommandOutcome::Done { position, .. } => {
                progress(format_args!(
                    "the changed file is in force (journal entry {position})"
                ));
                generation + 1
            }
            // An earlier attempt, whose answer was lost, has done it: it was counted then.
            CommandOutcome::Refused { code, .. } if code == "file_in_force" => {
                progress("the changed file was in force already");
                generation
            }
            CommandOutcome::Refused { code, why, next } => {
                return Err(Failure::Refused { code, why, next });
            }
            CommandOutcome::Unknown { why, .. } => return Err(Failure::Unknown { why }),
        };
        let changed = prepare::extend(layout, self.new, self.text)
            .map_err(|error| unprepared(layout.data(), &error))?;
        self.wanted.put_in_force(layout, &arguments.reason)?;
        renew_wires(&changed, deadline)?;
        wait_healthy(layout, interrupt, deadline, generation, STEADY_LOOKS)
    }
}

/// A file needs a leader to be journalled, not a healthy platform: it may be the cure. Returns the
/// generation in force.
fn wait_leader(layout: &Layout, interrupt: &Interrupt, deadline: Instant) -> Result<u64, Failure> {
    let show = Progress::new();
    loop {
        let known = match look(layout) {
            Ok(gathered) => Some(gathered.own.journal),
            Err(refused @ Failure::Refused { .. }) => return Err(refused),
            Err(_) => None,
        };
        if let Some(journal) = known
            && journal.generation > 0
            && (journal.role == "leading" || journal.leader_heard_ms.is_some_and(|ms| ms < 2_000))
        {
            show.end();
            return Ok(journal.generation);
        }
        show.doing("waiting for a node that leads");
        if interrupt.is_set() {
            return Err(Failure::Interrupted);
        }
        if clock::now() >= deadline {
            return Err(Failure::NoAnswer {
                what: "no node leads, so nothing can be journalled; what is in force is as it was"
                    .to_owned(),
                next: "`mainstay status` says why; then `mainstay up FILE` again".to_owned(),
            });
        }
        interrupt.wait(LOOK_PERIOD);
    }
}

/// Wires read their specification when they start. One leaves after the other, and the machine process
/// starts it again, so that never two of them are away.
fn renew_wires(changed: &[std::path::PathBuf], deadline: Instant) -> Outcome {
    for folder in changed {
        let running = || {
            let state = wire::read_state(&folder.join("state.json"));
            state.and_then(|state| state.wire)
        };
        let Some(before) = running().filter(|process| identity::is_alive(*process)) else {
            continue;
        };
        identity::signal(before, Signal::TERM).context("tell a wire to leave")?;
        let limit = deadline.min(clock::now() + WIRE_LIMIT);
        while running().is_none_or(|now| now == before || !identity::is_alive(now)) {
            if clock::now() >= limit {
                break;
            }
            crate::down::wait(Duration::from_millis(20));
        }
    }
    Ok(())
}
