//! Plays scenarios that are written in words (`golden.txt`) on one cluster, one after the other.
//!
//! The words are the test; this is only a reader of a few phrases. The whole file is understood before the first
//! server starts, so a phrase with a mistake fails at once and with its line. What the file says about other
//! tests is held to it: a scenario, a test function or a target of make that it names must exist.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};
use crate::scenarios;

const TEXT: &str = include_str!("golden.txt");
/// A row that no writer sends: if it is there in the end, it was invented.
const STRAY_ROW: u64 = 900_000_000;
/// A commit that nobody acknowledges does not end; it is on the primary's disk well within this.
const STRAY_TIME: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Primary,
    Standby,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Server,
    Keeper,
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Killed,
    Stopped,
    Frozen,
    Thawed,
    Started,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Do(Part, Who, Deed),
    CutOff(Who, bool),
    Replay(Who, bool),
    Pause(bool),
    PromoteByHand(Who),
    SecondKeeper(Who),
    WriteAlone(Who),
    KillCurrent,
    MoreWrites(u64),
    AnotherPrimary,
    AnotherTerm,
    SamePrimary,
    Becomes(Who),
    NobodyFor(u64),
    LetsNobodyIn(Who),
    AllHealthy,
    HasRefused,
    RowIsGone,
}

struct Scenario {
    name: String,
    from: usize,
    steps: Vec<(usize, Step)>,
}

#[derive(Default)]
struct Book {
    scenarios: Vec<Scenario>,
    covered: usize,
    absent: usize,
}

/// All scenarios on one cluster.
pub fn golden() -> Result<()> {
    let book = read(TEXT)?;
    for mistake in [
        "WHEN the host of nobody is killed",
        "BY cluster nothing",
        "BY make nothing",
        "BY crates/core/keeper/src/tests.rs",
        "BY crates/core/keeper/src/tests.rs nothing_of_the_kind",
        // There, and not a test.
        "BY crates/core/keeper/src/tests.rs following",
        "BY crates/core/keeper/src/nowhere.rs a_failed_write_halts",
        "IF so",
    ] {
        let text = format!("SCENARIO with a mistake\n  {mistake}");
        ensure!(read(&text).is_err(), "{mistake}: was understood");
    }
    let mut cluster = Cluster::healthy()?;
    for scenario in &book.scenarios {
        println!("  {}", scenario.name);
        let begun = mainstay_rt::clock::now();
        play(&mut cluster, scenario).with_context(|| scenario.name.clone())?;
        let took = mainstay_rt::clock::now().since(begun);
        println!("  in {} ms", took.as_millis());
    }
    let from: usize = book.scenarios.iter().map(|scenario| scenario.from).sum();
    println!(
        "  of the peers' lists: {from} played here, {} covered by other tests, {} not offered",
        book.covered, book.absent
    );
    Ok(())
}

/// Understands the whole file.
fn read(text: &str) -> Result<Book> {
    let mut book = Book::default();
    let lines = text.lines().enumerate();
    for (number, line) in lines.map(|(at, line)| (at + 1, line.trim())) {
        let place = || format!("golden.txt:{number}: {line}");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => {}
            "SCENARIO" => book.scenarios.push(Scenario {
                name: rest.to_owned(),
                from: 0,
                steps: Vec::new(),
            }),
            "FROM" => book.scenarios.last_mut().with_context(place)?.from += 1,
            "WHEN" | "THEN" | "AND" => {
                let step = step(rest).with_context(place)?;
                let scenario = book.scenarios.last_mut().with_context(place)?;
                scenario.steps.push((number, step));
            }
            "COVERED" => book.covered += 1,
            "BY" => ensure!(exists(rest), "{}: there is no such test", place()),
            "ABSENT" => book.absent += 1,
            "BECAUSE" => ensure!(!rest.is_empty(), "{}", place()),
            _ => bail!("{}: not understood", place()),
        }
    }
    Ok(book)
}

/// `cluster SCENARIO`, `make TARGET`, or a file and a test function in it.
fn exists(test: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    match test.split_once(' ') {
        Some(("cluster", name)) => scenarios::ALL.iter().any(|(known, _)| *known == name),
        Some(("make", target)) => {
            let target = target.split(' ').next().unwrap_or_default();
            let rule = format!("{target}:");
            read("Makefile").lines().any(|line| line.starts_with(&rule))
        }
        Some((path, name)) => is_test(&read(path), name),
        None => false,
    }
}

/// Whether there is such a function, and an attribute above it that makes it a test.
fn is_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}()");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let found = lines
        .iter()
        .position(|line| line.trim_start_matches("async ").starts_with(&head));
    let above = &lines[..found.unwrap_or(0)];
    let mut attributes = above.iter().rev().take_while(|line| line.starts_with("#["));
    attributes.any(|line| line.ends_with("test]"))
}

fn step(phrase: &str) -> Option<Step> {
    let fixed = match phrase {
        "every keeper is told to pause" => Step::Pause(true),
        "every keeper is told to resume" => Step::Pause(false),
        "whoever is primary now is killed with its host, and started again" => Step::KillCurrent,
        "another replica is primary" => Step::AnotherPrimary,
        "another term begins" => Step::AnotherTerm,
        "the same replica is primary in the same term" => Step::SamePrimary,
        "all replicas are healthy" => Step::AllHealthy,
        "the second keeper has refused to run" => Step::HasRefused,
        "the row is gone" => Step::RowIsGone,
        _ => return step_about(phrase),
    };
    Some(fixed)
}

/// A phrase about somebody, or with a number.
fn step_about(phrase: &str) -> Option<Step> {
    let between = |before: &str, after: &str| phrase.strip_prefix(before)?.strip_suffix(after);
    let whom = |before: &str, after: &str| between(before, after).and_then(who);
    let number = |before: &str, after: &str| between(before, after)?.parse::<u64>().ok();
    let lone = "a row is written on ";
    None.or_else(|| number("", " more writes are acknowledged").map(Step::MoreWrites))
        .or_else(|| number("nobody is primary for ", " seconds").map(Step::NobodyFor))
        .or_else(|| whom("", " is cut off").map(|who| Step::CutOff(who, true)))
        .or_else(|| whom("", " is connected again").map(|who| Step::CutOff(who, false)))
        .or_else(|| whom("replay of ", " is paused").map(|who| Step::Replay(who, true)))
        .or_else(|| whom("replay of ", " is resumed").map(|who| Step::Replay(who, false)))
        .or_else(|| whom("somebody promotes ", " by hand").map(Step::PromoteByHand))
        .or_else(|| whom("", " becomes primary").map(Step::Becomes))
        .or_else(|| whom("", " lets nobody in").map(Step::LetsNobodyIn))
        .or_else(|| whom(lone, " that nobody can acknowledge").map(Step::WriteAlone))
        .or_else(|| whom("a second keeper is started beside that of ", "").map(Step::SecondKeeper))
        .or_else(|| deed(phrase))
}

/// `the PART of WHO is DEED`.
fn deed(phrase: &str) -> Option<Step> {
    let (part, rest) = phrase.strip_prefix("the ")?.split_once(" of ")?;
    let (whose, deed) = rest.rsplit_once(" is ")?;
    let part = match part {
        "server" => Part::Server,
        "keeper" => Part::Keeper,
        "host" => Part::Host,
        _ => return None,
    };
    let deed = match (part, deed) {
        (_, "killed") => Deed::Killed,
        (Part::Server, "stopped") => Deed::Stopped,
        (Part::Keeper | Part::Host, "frozen") => Deed::Frozen,
        (Part::Keeper | Part::Host, "thawed") => Deed::Thawed,
        (Part::Keeper | Part::Host, "started") => Deed::Started,
        _ => return None,
    };
    Some(Step::Do(part, who(whose)?, deed))
}

fn who(words: &str) -> Option<Who> {
    match words {
        "the primary" => Some(Who::Primary),
        "the standby" => Some(Who::Standby),
        "the other standby" => Some(Who::Other),
        _ => None,
    }
}

/// Who had which role when the scenario began, and the writer that runs through it.
struct Play<'a> {
    cluster: &'a mut Cluster,
    writer: Writer,
    hosts: [usize; COUNT],
    term: u32,
}

fn play(cluster: &mut Cluster, scenario: &Scenario) -> Result<()> {
    let (primary, term) = cluster.await_healthy()?;
    client::forget(cluster)?;
    client::prepare(cluster)?;
    let writer = Writer::start(cluster)?;
    writer.await_more(cluster, 20)?;
    let standbys: Vec<usize> = (0..COUNT).filter(|which| *which != primary).collect();
    let mut play = Play {
        writer,
        hosts: [primary, standbys[0], standbys[1]],
        term,
        cluster,
    };
    for (line, step) in &scenario.steps {
        play.step(*step)
            .with_context(|| format!("golden.txt:{line}"))?;
    }
    let Play {
        cluster, writer, ..
    } = play;
    client::check(cluster, &writer.finish()?)
}

impl Play<'_> {
    fn host(&self, who: Who) -> usize {
        self.hosts[who as usize]
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Do(part, who, deed) => self.act(part, self.host(who), deed)?,
            Step::CutOff(who, is_cut) => self.cluster.wires.isolate(self.host(who), is_cut),
            Step::Replay(who, is_paused) => {
                let verb = if is_paused { "pause" } else { "resume" };
                // A server that was promoted meanwhile has no replay to resume.
                let done = self.administer(who, &format!("SELECT pg_wal_replay_{verb}()"));
                ensure!(done.is_ok() || !is_paused, "{done:?}");
            }
            Step::Pause(is_paused) => {
                let path = if is_paused { "/v1/pause" } else { "/v1/resume" };
                for which in 0..COUNT {
                    self.cluster.order(which, path, "")?;
                }
            }
            Step::PromoteByHand(who) => {
                self.administer(who, "SELECT pg_promote(false)")?;
                self.await_missing(self.host(who))?;
            }
            Step::SecondKeeper(who) => self.cluster.start_second_keeper(self.host(who))?,
            Step::WriteAlone(who) => self.write_alone(who)?,
            Step::KillCurrent => {
                let (primary, term) = self.cluster.await_primary(0)?;
                self.cluster.kill_host(primary);
                self.cluster.await_primary(term)?;
                self.cluster.start_keeper(primary)?;
            }
            Step::MoreWrites(count) => self.writer.await_more(self.cluster, count)?,
            _ => self.look(step)?,
        }
        Ok(())
    }

    fn look(&mut self, step: Step) -> Result<()> {
        if step == Step::HasRefused {
            return self.cluster.await_refusal();
        }
        let cluster = &*self.cluster;
        match step {
            Step::AnotherPrimary => {
                let (now, _) = cluster.await_primary(self.term)?;
                ensure!(now != self.host(Who::Primary), "it is the same one");
            }
            Step::AnotherTerm => drop(cluster.await_primary(self.term)?),
            Step::SamePrimary => {
                let now = cluster.await_primary(0)?;
                let before = (self.host(Who::Primary), self.term);
                ensure!(
                    now == before,
                    "primary and term were {before:?}, are {now:?}"
                );
            }
            Step::Becomes(who) => {
                let (now, _) = cluster.await_primary(self.term)?;
                let wanted = self.host(who);
                ensure!(now == wanted, "the primary is on {now}, not {wanted}");
            }
            Step::NobodyFor(seconds) => {
                // A look at hosts that do not answer takes its time too.
                let begun = mainstay_rt::clock::now();
                while mainstay_rt::clock::now().since(begun) < Duration::from_secs(seconds) {
                    cluster.pause(Duration::from_millis(100));
                    let newer = cluster.primary().filter(|(_, now)| *now > self.term);
                    ensure!(newer.is_none(), "{newer:?} is primary");
                }
            }
            Step::LetsNobodyIn(who) => cluster.wait("a closed door", || {
                let status = cluster.status(self.host(who)).ok()?;
                (!status.sight.open).then_some(())
            })?,
            Step::AllHealthy => drop(cluster.await_healthy()?),
            // The last look at every scenario finds whatever was not sent by the writer.
            Step::RowIsGone => {
                let found = cluster.wait("an answer", || {
                    let (primary, _) = cluster.primary()?;
                    let door = cluster.door(primary).ok()?;
                    let found = client::has(&door, STRAY_ROW);
                    cluster.runtime.block_on(found).ok()
                })?;
                ensure!(!found, "the row is there");
            }
            other => bail!("{other:?} is nothing to look for"),
        }
        Ok(())
    }

    /// Waits until the primary counts without this one: what comes next must not be seen before it happened.
    fn await_missing(&self, which: usize) -> Result<()> {
        let cluster = &*self.cluster;
        cluster.wait("the primary to miss it", || {
            let (primary, _) = cluster.primary()?;
            let peers = cluster.status(primary).ok()?.peers;
            let counts = peers
                .iter()
                .any(|peer| peer.acknowledges && peer.replica == which as u32 + 1);
            (primary != which && !counts).then_some(())
        })
    }

    fn act(&mut self, part: Part, which: usize, deed: Deed) -> Result<()> {
        if (part, deed) == (Part::Host, Deed::Killed) && which != self.host(Who::Primary) {
            self.cluster.kill_host(which);
            return self.await_missing(which);
        }
        let cluster = &mut *self.cluster;
        match (part, deed) {
            (Part::Server, Deed::Stopped) => {
                let before = cluster.postmaster(which)?;
                rustix::process::kill_process(before, Signal::INT)?;
                cluster.wait("its end", || {
                    let now = cluster.postmaster(which).ok();
                    (now != Some(before)).then_some(())
                })?;
            }
            (Part::Server, _) => cluster.kill_postmaster(which)?,
            (Part::Keeper, Deed::Killed) => cluster.kill_keeper(which),
            (Part::Keeper, Deed::Frozen) => cluster.signal_keeper(which, Signal::STOP)?,
            (Part::Keeper, Deed::Thawed) => cluster.signal_keeper(which, Signal::CONT)?,
            (Part::Host, Deed::Killed) => cluster.kill_host(which),
            (Part::Host, Deed::Frozen) => cluster.signal_host(which, Signal::STOP),
            (Part::Host, Deed::Thawed) => cluster.signal_host(which, Signal::CONT),
            (Part::Keeper | Part::Host, Deed::Started) => cluster.start_keeper(which)?,
            (part, deed) => bail!("a {part:?} cannot be {deed:?}"),
        }
        Ok(())
    }

    fn administer(&self, who: Who, statement: &str) -> Result<()> {
        let door = self.cluster.door(self.host(who))?;
        let done = client::administer(&door, statement);
        self.cluster.runtime.block_on(done)
    }

    fn write_alone(&self, who: Who) -> Result<()> {
        let door = self.cluster.door(self.host(who))?;
        self.cluster.runtime.block_on(async {
            let writing = async {
                let client = client::connect(&door).await?;
                let statement = format!("INSERT INTO numbers VALUES ({STRAY_ROW})");
                client.simple_query(&statement).await?;
                anyhow::Ok(())
            };
            // It cannot end: nobody acknowledges it.
            tokio::time::timeout(STRAY_TIME, writing).await.ok();
        });
        Ok(())
    }
}
