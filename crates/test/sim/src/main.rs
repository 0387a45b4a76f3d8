//! The simulator's command line.

mod heap;

use std::process::ExitCode;

use mainstay_keeper::{PlantedBug, TABLE};
use mainstay_sim::campaign::{Summary, campaign, hunt};
use mainstay_sim::recovery::{Class, gap, gaps, percentile};
use mainstay_sim::schedule::{Narration, Outcome, hex, run, run_calm, run_refilled, run_reshaped};

#[global_allocator]
static HEAP: heap::Heap = heap::Heap;

const USAGE: &str = "\
Deterministic simulation of Mainstay's keepers.

Usage:
  mainstay-sim run [--schedules N] [--seed S] [--threads T]
      Run N schedules (default 1000) from seed S (default 1) on T threads (default 1).
  mainstay-sim calm [--schedules N] [--seed S]
      Run N schedules in which nothing is lost: nobody may be promoted.
  mainstay-sim refills [--schedules N] [--seed S]
  mainstay-sim reshapes [--schedules N] [--seed S]
      Run N schedules in which replicas are ordered to be filled anew besides.
  mainstay-sim case SEED [--calm | --refills | --reshapes] [--bug NAME]
      Run one seed aloud: what every host does, then the outcome.
  mainstay-sim plant [--all | NAME] [--schedules N] [--seed S]
      Plant one bug, or each of them in turn, and look for it in at most N schedules (default 3000).
  mainstay-sim recovery [--schedules N] [--seed S] [--class NAME]
      One fault of each kind in N schedules (default 200) in which nothing else happens: how long clients wait.
  mainstay-sim case SEED --class NAME
      Run one of these aloud.
  mainstay-sim bugs
      List the bugs that can be planted.

Exit codes: 0 nothing wrong (for plant: every bug found), 1 an invariant broken (for plant: a bug not
found), 2 usage.
";

struct Options {
    words: Vec<String>,
    schedules: Option<u64>,
    seed: u64,
    threads: usize,
    bug: Option<PlantedBug>,
    all: bool,
    calm: bool,
    class: Option<Class>,
    refills: bool,
    reshapes: bool,
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        words: Vec::new(),
        schedules: None,
        seed: 1,
        threads: 1,
        bug: None,
        all: false,
        calm: false,
        class: None,
        refills: false,
        reshapes: false,
    };
    let mut arguments = arguments;
    while let Some(word) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|_| format!("not a number: {text}"))
        };
        match word.as_str() {
            "--schedules" => options.schedules = Some(number(value()?)?),
            "--seed" => options.seed = number(value()?)?,
            "--threads" => options.threads = number(value()?)? as usize,
            "--bug" => options.bug = Some(bug(&value()?)?),
            "--class" => options.class = Some(class(&value()?)?),
            "--all" => options.all = true,
            "--calm" => options.calm = true,
            "--refills" => options.refills = true,
            "--reshapes" => options.reshapes = true,
            _ if word.starts_with("--") => return Err(format!("unknown option {word}")),
            _ => options.words.push(word),
        }
    }
    Ok(options)
}

fn bug(name: &str) -> Result<PlantedBug, String> {
    PlantedBug::ALL
        .into_iter()
        .find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name))
        .ok_or(format!(
            "no such bug: {name}; `mainstay-sim bugs` lists them"
        ))
}

fn class(name: &str) -> Result<Class, String> {
    let mut known = Class::ALL.into_iter();
    known.find(|class| class.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        format!("no such class: {name}; there are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let outcome = parse(std::env::args().skip(1)).and_then(|options| {
        match options.words.first().map(String::as_str) {
            Some("run") => Ok(run_many(&options)),
            Some("calm") => Ok(run_each(&options, "nothing is lost", run_calm)),
            Some("refills") => Ok(run_each(&options, "replicas are filled anew", run_refilled)),
            Some("reshapes") => Ok(run_each(&options, "the file changes", run_reshaped)),
            Some("case") => run_case(&options),
            Some("plant") => plant(&options),
            Some("recovery") => recovery(&options),
            Some("bugs") => {
                PlantedBug::ALL.iter().for_each(|bug| println!("{bug:?}"));
                Ok(ExitCode::SUCCESS)
            }
            Some("help") => {
                print!("{USAGE}");
                Ok(ExitCode::SUCCESS)
            }
            _ => Err("say what to do".to_string()),
        }
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("mainstay-sim: {error}\n\n{USAGE}");
        ExitCode::from(2)
    })
}

fn run_many(options: &Options) -> ExitCode {
    let schedules = options.schedules.unwrap_or(1_000);
    let summary = campaign(options.seed, schedules, options.threads);
    report(&summary);
    if summary.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

type Run = fn(u64, Option<PlantedBug>, Narration) -> Outcome;

fn run_each(options: &Options, kind: &str, run: Run) -> ExitCode {
    let schedules = options.schedules.unwrap_or(1_000);
    let mut broken = 0;
    for seed in options.seed..options.seed.saturating_add(schedules) {
        let outcome = run(seed, None, Narration::Mute);
        broken += u64::from(outcome.violation.is_some());
        print_violation(&outcome);
    }
    println!("{schedules} schedules in which {kind}, {broken} with a violation");
    ExitCode::from(u8::from(broken > 0))
}

fn report(summary: &Summary) {
    let seconds = summary.took.as_secs_f64();
    println!(
        "{} schedules in {seconds:.1} s ({:.0} per second; {} thin ones not counted)",
        summary.schedules,
        summary.schedules as f64 / seconds,
        summary.thin
    );
    println!(
        "{} with a failover, {} failovers, {} faults, {} disks lost, {} writes acknowledged, {} reads answered",
        summary.with_failover,
        summary.failovers,
        summary.faults,
        summary.disk_losses,
        summary.acknowledged,
        summary.reads
    );
    println!(
        "{} writes answered alone by order, {} of them lost as declared",
        summary.alone, summary.alone_lost
    );
    println!(
        "{} lineages begun by order, {} acknowledged writes given up with them",
        summary.lineages, summary.given_up
    );
    let unused = summary.rows_unused();
    println!(
        "state table: {} of {} rows used",
        TABLE.len() - unused.len(),
        TABLE.len()
    );
    for row in unused {
        println!("  not used: {row}");
    }
    for outcome in &summary.violations {
        print_violation(outcome);
    }
}

fn print_violation(outcome: &Outcome) {
    if let Some(violation) = &outcome.violation {
        println!(
            "seed {}: {:?}: {} (at {:.3} s; `mainstay-sim case {}` tells the story)",
            outcome.seed,
            violation.invariant,
            violation.detail,
            outcome.simulated_us as f64 / 1e6,
            outcome.seed
        );
    }
}

fn run_case(options: &Options) -> Result<ExitCode, String> {
    let seed = options
        .words
        .get(1)
        .and_then(|text| text.parse().ok())
        .ok_or("case needs a seed")?;
    if let Some(class) = options.class {
        let gap = gap(class, seed, Narration::Aloud)?;
        println!("clients waited {:.0} ms", gap as f64 / 1e3);
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = if options.calm {
        run_calm(seed, options.bug, Narration::Aloud)
    } else if options.reshapes {
        run_reshaped(seed, options.bug, Narration::Aloud)
    } else if options.refills {
        run_refilled(seed, options.bug, Narration::Aloud)
    } else {
        run(seed, options.bug, Narration::Aloud)
    };
    println!(
        "{} acknowledged, {} faults, {} failovers, trace {}",
        outcome.acknowledged,
        outcome.faults,
        outcome.failovers,
        hex(&outcome.trace)
    );
    print_violation(&outcome);
    Ok(if outcome.violation.is_some() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

fn recovery(options: &Options) -> Result<ExitCode, String> {
    let schedules = options.schedules.unwrap_or(200);
    let wanted = |class: &Class| options.class.is_none_or(|only| only == *class);
    for class in Class::ALL.into_iter().filter(wanted) {
        let gaps = gaps(class, options.seed, schedules)?;
        let ms = |percent| percentile(&gaps, percent).0 as f64 / 1e3;
        println!(
            "{}: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms by seed {}, n={}",
            class.name(),
            ms(50),
            ms(99),
            ms(100),
            percentile(&gaps, 100).1,
            gaps.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn plant(options: &Options) -> Result<ExitCode, String> {
    let bugs = match (options.all, options.words.get(1)) {
        (true, _) => PlantedBug::ALL.to_vec(),
        (false, Some(name)) => vec![bug(name)?],
        (false, None) => return Err("plant needs a bug's name or --all".to_string()),
    };
    let limit = options.schedules.unwrap_or(3_000);
    let mut missed = 0;
    for bug in bugs {
        match hunt(bug, options.seed, limit) {
            Some(outcome) => {
                let violation = outcome.violation.map(|found| found.invariant);
                println!(
                    "{bug:?}: found by seed {} ({})",
                    outcome.seed,
                    violation.map_or_else(String::new, |invariant| format!("{invariant:?}"))
                );
            }
            None => {
                missed += 1;
                println!("{bug:?}: NOT FOUND in {limit} schedules");
            }
        }
    }
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
