//! The command line of the checker.
//!
//! Role, database and password file come from PGUSER, PGDATABASE and PGPASSFILE, TLS from PGSSLMODE and PGSSLROOTCERT. Exit codes: 0 as it should be;
//! 1 the service broke its word; 2 nothing can be said.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use mainstay_dbcheck::clients::{self, Run};
use mainstay_dbcheck::content::{self, Content};
use mainstay_dbcheck::dice::Dice;
use mainstay_dbcheck::history::{History, Recorder};
use mainstay_dbcheck::judge::{Bank, judge};
use mainstay_dbcheck::plant::{self, Wrong};
use mainstay_dbcheck::session::{Login, Session};
use mainstay_dbcheck::{report, writer};
use mainstay_rt::clock;
use tokio::sync::mpsc;

/// How long it is tried to get in where nothing is being broken.
const ENTER_LIMIT: Duration = Duration::from_secs(30);
const ENTER_PAUSE: Duration = Duration::from_millis(100);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const VIOLATED: u8 = 1;
const CANNOT_SAY: u8 = 2;

#[derive(Parser)]
#[command(
    name = "mainstay-dbcheck",
    about = "Does a PostgreSQL service keep its word?"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where clients come in; several are tried in turn
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    to: Vec<SocketAddr>,
    /// Where history, progress and verdict of this run stand
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Accounts of the bank
    #[arg(long, global = true, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    accounts: u32,
}

#[derive(Subcommand)]
enum Command {
    /// Make the checker's schema anew
    Prepare,
    /// Run clients until the standard input ends
    Run {
        #[arg(long, default_value_t = 4)]
        clients: u32,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Read everything, and compare it with what the clients were told
    Check,
    /// Plant every kind of wrong, one at a time and rolled back, and look whether it is found
    Plant,
    /// Remove the checker's schema
    Remove,
    /// One writer until the standard input ends; a line `mark NAME` begins a span whose gap is printed
    Write {
        #[arg(long, default_value_t = 500)]
        deadline_ms: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime.context("start a runtime").and_then(|runtime| {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, act(&arguments))
    });
    done.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(CANNOT_SAY)
    })
}

async fn act(arguments: &Arguments) -> Result<ExitCode> {
    let login = Login::from_environment(arguments.to.clone())?;
    let bank = Bank {
        accounts: arguments.accounts,
    };
    let folder = &arguments.folder;
    match &arguments.command {
        Command::Prepare => {
            let session = enter(&login).await?;
            content::prepare(&session.client, arguments.accounts).await?;
        }
        Command::Run { clients, seed } => run(login, bank, folder, *clients, *seed).await?,
        Command::Check => return check(&login, bank, folder).await,
        Command::Plant => return plant_all(&login, bank, folder).await,
        Command::Remove => content::remove(&enter(&login).await?.client).await?,
        Command::Write { deadline_ms } => {
            write(login, Duration::from_millis(*deadline_ms), folder).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A session, through whichever entrance lets it in first.
async fn enter(login: &Login) -> Result<Session> {
    let deadline = clock::now() + ENTER_LIMIT;
    for entrance in 0.. {
        match login.open(entrance).await {
            Ok(session) => return Ok(session),
            Err(error) if clock::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(ENTER_PAUSE).await,
        }
    }
    unreachable!("there are more numbers than tries")
}

async fn run(login: Login, bank: Bank, folder: &Path, clients: u32, seed: u64) -> Result<()> {
    let recorder = Recorder::create(&folder.join("history.jsonl"))?;
    let run = Run::new(login, bank.accounts, recorder);
    let mut dice = Dice::new(seed);
    let mut tasks = Vec::new();
    for number in 0..clients {
        let task = clients::client(Rc::clone(&run), number, dice.draw());
        tasks.push(tokio::task::spawn_local(task));
    }
    let progress = tokio::task::spawn_local(tell(Rc::clone(&run), folder.join("progress")));
    // Whatever comes in is no command here; its end is.
    let mut lines = lines()?;
    while lines.recv().await.is_some() {}
    run.end();
    for task in tasks {
        task.await.context("a client broke")??;
    }
    progress.abort();
    Ok(())
}

/// The lines of the standard input, until it ends: read on a thread of their own, which ends with them.
fn lines() -> Result<mpsc::UnboundedReceiver<String>> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        })
        .context("start a thread")?;
    Ok(lines)
}

/// How many writes were acknowledged so far, for whoever waits for more.
async fn tell(run: Rc<Run>, path: PathBuf) {
    loop {
        // A lost word about progress is told again at once.
        mainstay_rt::files::swap(&path, run.acknowledged().to_string().as_bytes()).ok();
        tokio::time::sleep(PROGRESS_EVERY).await;
    }
}

async fn check(login: &Login, bank: Bank, folder: &Path) -> Result<ExitCode> {
    let history = History::read(&folder.join("history.jsonl"))?;
    let content = whole(login).await?;
    let verdict = judge(&history, &content, bank);
    print!("{}", report::text(&verdict, &history));
    let json = report::json(&verdict, &history);
    std::fs::write(folder.join("verdict.json"), format!("{json:#}\n"))?;
    if verdict.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(VIOLATED))
}

/// One moment of the database. A session may be cut while it reads, like any other: then once more.
async fn whole(login: &Login) -> Result<Content> {
    let deadline = clock::now() + ENTER_LIMIT;
    loop {
        let session = enter(login).await?;
        let read = async {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            session.client.batch_execute(begin).await?;
            content::read(&session.client).await
        };
        match tokio::time::timeout(ENTER_LIMIT, read).await {
            Ok(Ok(content)) => return Ok(content),
            // What a server says that goes on is final.
            Ok(Err(error)) if clock::now() > deadline || !session.is_closed() => return Err(error),
            Err(late) => return Err(late).context("read everything"),
            Ok(Err(_)) => {}
        }
    }
}

/// As for any client, a session may be cut: then the wrong is planted once more.
async fn plant_all(login: &Login, bank: Bank, folder: &Path) -> Result<ExitCode> {
    let history = History::read(&folder.join("history.jsonl"))?;
    let deadline = clock::now() + ENTER_LIMIT;
    let mut wrongs = Wrong::ALL.into_iter().peekable();
    while let Some(wrong) = wrongs.peek() {
        let session = enter(login).await?;
        match plant::plant(&session.client, &history, bank, *wrong).await {
            Ok(None) => drop(wrongs.next()),
            Ok(Some(missed)) => {
                println!("    planted and not found: {}: {missed}", wrong.name());
                return Ok(ExitCode::from(VIOLATED));
            }
            Err(error) if clock::now() > deadline || !session.is_closed() => {
                return Err(error).with_context(|| format!("plant: {}", wrong.name()));
            }
            Err(_) => tokio::time::sleep(ENTER_PAUSE).await,
        }
    }
    let count = Wrong::ALL.len();
    println!("    {count} wrongs planted, one at a time, and found");
    Ok(ExitCode::SUCCESS)
}

async fn write(login: Login, deadline: Duration, folder: &Path) -> Result<()> {
    let recorder = Recorder::create(&folder.join("history.jsonl"))?;
    let log = Rc::new(RefCell::new(writer::Log::default()));
    let writing = writer::write(login, deadline, recorder, Rc::clone(&log));
    let mut writing = tokio::task::spawn_local(writing);
    let mut lines = lines()?;
    let mut every = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            ended = &mut writing => return ended.context("the writer broke")?,
            line = lines.recv() => match line.as_deref().map(|line| line.split_once(' ')) {
                Some(Some(("mark", name))) => log.borrow_mut().mark(name),
                Some(_) => {}
                None => break,
            },
            _ = every.tick() => {
                let count = log.borrow().count().to_string();
                // A lost word about progress is told again at once.
                mainstay_rt::files::swap(&folder.join("progress"), count.as_bytes()).ok();
            }
        }
    }
    writing.abort();
    println!("{}", log.borrow().gaps());
    Ok(())
}
