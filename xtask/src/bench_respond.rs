//! Minutes saved: the same fault on a platform that has a playbook for it, and on one where a person gives the same command.
//!
//! The person is a number. Nobody sits there: after the alert has begun to fire, so long passes as it takes until somebody
//! acknowledges and knows what to do, and then the command is given at once and without a mistake. That time is
//! `--reaction`; its default is the time after which a ladder of the platform file calls the next one. Real people are
//! slower at night and faster at a desk: the difference is worth as much as that number is.
//!
//! Each round has a platform of its own. Every figure but the last is read from its journal; when it is seen healthy is
//! asked of its watch, in both rounds with the same question.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::flow::{Answers, Flow, Source, audit_with};
use crate::platform::{Afterwards, Platform, now, pause};
use crate::step::{Profile, root};

const FILE: &str = "examples/exchange/platform-chaos.yaml";
const SLOW: &str = "examples/exchange/chaos/slow-home.yaml";
/// Orders a second.
const RATE: u32 = 40;
/// The figures' windows hold only orders when the fault comes.
const WARM: Duration = Duration::from_secs(35);
/// For what must happen by itself: an alert, a step.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a fault lasts beyond the person's reaction: nobody is saved by its end.
const BEYOND: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
pub struct Arguments {
    /// Build profile of the programs
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// From the alert to the person's command, in seconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    reaction: u64,
    /// Only these classes
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Class>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Class {
    /// 600 ms on the trading engine's way to its database.
    SlowDatabase,
    /// A gateway that hangs: it runs, and answers nobody.
    SilentGateway,
    /// The active trading engine is gone and does not come back.
    FailingOrders,
}

/// What a class is made of.
struct Case {
    /// What is broken.
    fault: &'static str,
    alert: &'static str,
    playbook: &'static str,
    /// What the person does.
    hand: &'static [&'static str],
    /// Holds when clients are well again.
    healthy: &'static str,
}

impl Class {
    const ALL: [Self; 3] = [Self::SlowDatabase, Self::SilentGateway, Self::FailingOrders];

    const fn case(self) -> Case {
        match self {
            Self::SlowDatabase => Case {
                fault: "600 ms on the way from the trading engine to its database",
                alert: "HighOrderLatency",
                playbook: "leave-slow-database",
                hand: &["switchover", "ledger", "--to", "eu-west-1"],
                healthy: "histogram_quantile(0.95, sum by (le) (rate(order_processing_duration_seconds_bucket[10s]))) < bool 0.5",
            },
            Self::SilentGateway => Case {
                fault: "the gateway of us-east-1 hangs",
                alert: "TargetSilent",
                playbook: "restart-silent-gateway",
                hand: &[
                    "playbook",
                    "run",
                    "restart-silent-gateway",
                    "--set",
                    "host=use1-a",
                ],
                healthy: "up{job=\"gateway\",host=\"use1-a\"} == 1",
            },
            Self::FailingOrders => Case {
                fault: "the active trading engine is gone and stays so",
                alert: "OrdersFail",
                playbook: "orders-fail",
                hand: &["switchover", "ledger", "--to", "eu-west-1"],
                healthy: "(sum(rate(mainstay_gateway_requests_total{class=\"5xx\"}[10s])) or vector(0)) / sum(rate(mainstay_gateway_requests_total[10s])) < bool 0.02",
            },
        }
    }

    fn name(self) -> String {
        use clap::ValueEnum;
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Whose hand it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Playbook,
    Person(Duration),
}

/// Milliseconds after the fault.
struct Times {
    alert: u64,
    incident: u64,
    /// The first step of a playbook, or the person's command.
    action: u64,
    /// The playbook itself has seen that it helped.
    verified: Option<u64>,
    healthy: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let reaction = Duration::from_secs(arguments.reaction);
    println!(
        "A person is simulated: {} s after the alert the right command is given, at once. With a playbook nobody is asked.",
        arguments.reaction
    );
    let mut lines = Vec::new();
    for class in Class::ALL {
        if !arguments.only.is_empty() && !arguments.only.contains(&class) {
            continue;
        }
        println!("\n== {}: {}", class.name(), class.case().fault);
        let with = Round::play(class, Answer::Playbook, reaction, arguments.profile)?;
        let without = Round::play(class, Answer::Person(reaction), reaction, arguments.profile)?;
        // Whatever becomes of the classes after this one.
        print_line(&class.name(), "playbook", &with);
        print_line(&class.name(), "person", &without);
        lines.push((class, with, without));
    }
    println!("\nSeconds after the fault, until:");
    println!(
        "class            answered by   alert  incident  first action  verified  seen healthy"
    );
    for (class, with, without) in &lines {
        print_line(&class.name(), "playbook", with);
        print_line(&class.name(), "person", without);
        let saved = without.healthy.saturating_sub(with.healthy);
        println!(
            "{:<16} saved: {:.1} minutes, with a reaction of {} s assumed",
            class.name(),
            saved as f64 / 60_000.0,
            arguments.reaction
        );
    }
    Ok(())
}

fn print_line(class: &str, by: &str, times: &Times) {
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1_000.0);
    let verified = times.verified.map_or_else(|| "-".to_owned(), seconds);
    println!(
        "{class:<16} {by:<12} {:>6}  {:>8}  {:>12}  {verified:>8}  {:>12}",
        seconds(times.alert),
        seconds(times.incident),
        seconds(times.action),
        seconds(times.healthy),
    );
}

struct Round {
    case: Case,
    platform: Platform,
    /// Its data, and what it is given to read.
    folder: PathBuf,
}

impl Round {
    fn play(class: Class, answer: Answer, reaction: Duration, profile: Profile) -> Result<Times> {
        let word = match answer {
            Answer::Playbook => "playbook",
            Answer::Person(_) => "person",
        };
        let name = format!(
            "mainstay-respond-{}-{}-{word}",
            std::process::id(),
            class.name()
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let data = folder.join("data");
        let round = Self {
            case: class.case(),
            platform: Platform::start_file(Path::new(FILE), data, 0, profile)?,
            folder,
        };
        let lasts = reaction + BEYOND;
        let flow = Flow::start(
            &round.platform,
            Source::Generated,
            RATE,
            lasts + WARM + PATIENCE,
        )?;
        round.adopt(class, answer)?;
        pause(WARM);
        let mut breaking = round.breaks(class, lasts)?;
        let times = round.follow(answer);
        // Whatever came of it: nothing of the fault is left when the platform is stopped.
        if let Some(child) = &mut breaking {
            interrupt(child)?;
        }
        let times = times?;
        drop(flow);
        // Orders that are made to fail have no answer; nothing else may be wrong with the books.
        round.end(match class {
            Class::FailingOrders => Answers::MayBeMissing,
            Class::SlowDatabase | Class::SilentGateway => Answers::Required,
        })?;
        Ok(times)
    }

    fn end(mut self, answers: Answers) -> Result<()> {
        audit_with(&self.platform, answers)?;
        self.platform.afterwards = Afterwards::Remove;
        drop(self.platform);
        std::fs::remove_dir_all(&self.folder).context("remove the folder")
    }

    /// As shipped, but nobody is asked; and no step ends the fault, because in earnest nobody can.
    fn adopt(&self, class: Class, answer: Answer) -> Result<()> {
        let shipped = root()?
            .join("examples/exchange/playbooks")
            .join(format!("{}.yaml", self.case.playbook));
        let text = std::fs::read_to_string(&shipped)
            .with_context(|| format!("read {}", shipped.display()))?;
        let mode = match answer {
            Answer::Playbook => "  mode: auto\n",
            // There to be run by hand, and by nothing else.
            Answer::Person(_) => "  mode: observe\n",
        };
        let asks = text.find("  mode: ").context("a playbook without a mode")?;
        let line = text[asks..].find('\n').context("a mode without an end")?;
        let mut text = format!("{}{mode}{}", &text[..asks], &text[asks + line + 1..]);
        if class == Class::FailingOrders {
            let from = text.find("    - id: end-faults").context("no such step")?;
            let to = text.find("    - id: move").context("no such step")?;
            text.replace_range(from..to, "");
        }
        let path = self.folder.join("playbook.yaml");
        std::fs::write(&path, text).context("write the playbook")?;
        let path = path.display().to_string();
        self.does(&["playbook", "adopt", &path])?;
        Ok(())
    }

    fn breaks(&self, class: Class, lasts: Duration) -> Result<Option<Child>> {
        let seconds = format!("{}s", lasts.as_secs());
        let fault = |kind: &str, target: &str| {
            self.does(&["fault", "inject", kind, target, "--for", &seconds])
                .map(|_| None)
        };
        match class {
            Class::SlowDatabase => self.chaos(&seconds).map(Some),
            Class::SilentGateway => fault("process-freeze", "use1-a/gateway-edge"),
            Class::FailingOrders => fault("process-down", "use1-a/venue"),
        }
    }

    /// The shipped document with another duration, carried by a process of its own.
    fn chaos(&self, seconds: &str) -> Result<Child> {
        let text = std::fs::read_to_string(root()?.join(SLOW)).context("read the document")?;
        ensure!(
            text.contains("duration: 150s"),
            "{SLOW} has another duration"
        );
        let path = self.folder.join("slow.yaml");
        std::fs::write(
            &path,
            text.replace("duration: 150s", &format!("duration: {seconds}")),
        )
        .context("write the document")?;
        Command::new(self.platform.program("mainstay")?)
            .args(["chaos", "run"])
            .arg(&path)
            .args(["--reason", "a measurement"])
            .env("MAINSTAY_DATA", self.platform.data())
            .current_dir(root()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the chaos document")
    }

    fn follow(&self, answer: Answer) -> Result<Times> {
        let case = &self.case;
        let fault = at(&self.entry("fault.injected", |_| true)?);
        let alert = self.entry("alert.changed", |body| {
            body["state"] == "firing" && body["labels"]["alertname"] == case.alert
        })?;
        println!("  alert {}", case.alert);
        let incident = self.entry("incident.opened", |_| true)?;
        let (action, verified) = match answer {
            Answer::Playbook => self.playbook()?,
            Answer::Person(reaction) => {
                pause(reaction);
                let command = wall_ms()?;
                self.does(case.hand)?;
                println!("  the person's command is given");
                (command, None)
            }
        };
        let healthy = self.healthy()?;
        let after = |ms: u64| ms.saturating_sub(fault);
        Ok(Times {
            alert: after(at(&alert)),
            incident: after(at(&incident)),
            action: after(action),
            verified: verified.map(after),
            healthy: after(healthy),
        })
    }

    /// When its first step was begun, and when it had seen that it helped.
    fn playbook(&self) -> Result<(u64, Option<u64>)> {
        let of = |body: &Value, what: &str| !body[what]["run"].is_null();
        let begun = self.entry("playbook", |body| of(body, "begun"))?;
        let ended = self.entry("playbook", |body| of(body, "ended"))?;
        let ending = &ended["body"]["ended"]["ending"];
        ensure!(ending == "done", "the playbook ended otherwise: {ended}");
        println!("  the playbook is done");
        Ok((at(&begun), Some(at(&ended))))
    }

    /// When the watch first says that clients are well again.
    fn healthy(&self) -> Result<u64> {
        let begun = now();
        while begun.elapsed() < PATIENCE {
            let asked = self
                .platform
                .mainstay(&["query", "--json", self.case.healthy]);
            if asked.is_ok_and(|answer| holds(&answer)) {
                return wall_ms();
            }
            pause(POLL);
        }
        bail!("{} does not hold within {PATIENCE:?}", self.case.healthy)
    }

    fn does(&self, command: &[&str]) -> Result<String> {
        let all = [command, &["--reason", "a measurement"]].concat();
        self.platform.mainstay(&all)
    }

    fn entry(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.platform.entry(kind, PATIENCE, wanted)
    }
}

/// The journal's clock is this machine's.
fn at(entry: &Value) -> u64 {
    entry["at_ms"].as_u64().unwrap_or_default()
}

/// Has it a result that is not 0?
fn holds(answer: &str) -> bool {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let series = answer["data"]["result"].as_array();
    series.into_iter().flatten().any(|series| {
        let value = series["value"][1]
            .as_str()
            .and_then(|text| text.parse::<f64>().ok());
        value.is_some_and(|value| value != 0.0 && !value.is_nan())
    })
}

/// As Ctrl-C would: it ends its fault and looks for residue.
fn interrupt(process: &mut Child) -> Result<()> {
    Command::new("kill")
        .args(["-INT", &process.id().to_string()])
        .status()
        .context("interrupt the experiment")?;
    process.wait().context("wait for the experiment")?;
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "compared with the journal's time of day"
)]
fn wall_ms() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}
