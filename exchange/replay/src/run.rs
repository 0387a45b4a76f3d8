//! A run from its first deposit to its last answer.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::ReplayError;
use crate::arguments::{Arguments, Target};
use crate::clock::{Origin, processor_time};
use crate::crowd::{Crowd, Settings};
use crate::flow::{Source, recorded};
use crate::measure::{Ended, LagLimits, Measure};
use crate::pacer::Pacer;
use crate::plan::{self, Asset, DEPOSIT_BTC_REFERENCE, DEPOSIT_USD_REFERENCE, Intent, Plan, Say};
use crate::report::{Report, Setting};
use crate::transport::Gateway;
use crate::witness::{self, Witness};

/// Accounts funded at the same time.
const FUNDING_WIDTH: usize = 64;
/// Between the last deposit and the first intent of the flow.
const BREATH: Duration = Duration::from_millis(200);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Open files beyond which a descriptor is refused; the default of many systems (1,024) is too low for three gateways.
const OPEN_FILES: u64 = 8_192;

/// The niceness of the driver where it may be chosen.
const PRIORITY: i32 = -10;

/// Makes the run that the arguments ask for.
pub fn run(arguments: &Arguments) -> Result<Report, ReplayError> {
    let targets = arguments.check()?;
    let source = source(arguments)?;
    witness::prepare(&arguments.witness)?;
    raise_open_files();
    raise_priority();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ReplayError::Start {
            operation: "the runtime",
            source,
        })?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(drive(arguments, targets, source)))
}

async fn drive(
    arguments: &Arguments,
    targets: Vec<Target>,
    source: Source,
) -> Result<Report, ReplayError> {
    let origin = Origin::now();
    let first_account = arguments
        .first_account
        .unwrap_or_else(|| unused_account(&origin));
    let plan = Plan::new(source.clone(), plan_settings(arguments, first_account));
    let accounts = u64::from(plan.passes()) * u64::from(arguments.accounts);
    let crowd = Rc::new(crowd(arguments, &targets, origin)?);
    if !arguments.quiet {
        eprintln!("funding {accounts} accounts from {first_account} on");
    }
    fund(
        &crowd,
        &origin,
        first_account..first_account + accounts,
        &arguments.cell,
    )
    .await?;
    crowd.measure.replace(Measure::new());
    let begin = origin.elapsed() + BREATH;
    let processor_before = processor_time();
    let interrupted = send(&crowd, plan, origin, begin, arguments).await?;
    let setting = Setting {
        source: source.label(),
        targets: &targets,
        first_account,
        origin,
        begin,
        processor: processor_time().saturating_sub(processor_before),
        interrupted,
        lag_limits: LagLimits {
            p99: arguments.lag_limit_p99,
            max: arguments.lag_limit_max,
        },
    };
    let report = Report::new(arguments, &setting, &crowd.measure.borrow());
    Ok(report)
}

/// Sends the whole flow and waits for its last answer; says whether it was interrupted.
async fn send(
    crowd: &Rc<Crowd>,
    plan: Plan,
    origin: Origin,
    begin: Duration,
    arguments: &Arguments,
) -> Result<bool, ReplayError> {
    let listen = |kind| {
        signal(kind).map_err(|source| ReplayError::Start {
            operation: "listening to signals",
            source,
        })
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let returning = {
        let crowd = Rc::clone(crowd);
        tokio::task::spawn_local(async move { crowd.keep_returning().await })
    };
    let mut pacer = Pacer::start(plan, origin, begin)?;
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    let mut interrupted = false;
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => { interrupted = true; pacer.stop(); pacer.intents.close(); }
            _ = terminate.recv() => { interrupted = true; pacer.stop(); pacer.intents.close(); }
            intent = pacer.intents.recv() => match intent {
                Some(intent) => crowd.take_up(intent),
                None => break,
            },
            _ = progress.tick(), if !arguments.quiet => say_progress(crowd, &origin, begin),
        }
        if let Some(error) = crowd.take_broken() {
            return Err(error);
        }
    }
    pacer.join();
    crowd.until_busy_below(1).await;
    returning.abort();
    crowd.take_broken().map_or(Ok(interrupted), Err)
}

/// Two deposits per account, at most [`FUNDING_WIDTH`] accounts at a time; each must be accepted.
async fn fund(
    crowd: &Rc<Crowd>,
    origin: &Origin,
    accounts: std::ops::Range<u64>,
    cell: &str,
) -> Result<(), ReplayError> {
    let deposits = (accounts.end - accounts.start) * 2;
    for account in accounts {
        for (reference, asset) in [
            (DEPOSIT_USD_REFERENCE, Asset::Usd),
            (DEPOSIT_BTC_REFERENCE, Asset::Btc),
        ] {
            let say = Say::Deposit(asset);
            crowd.take_up(Intent {
                planned: origin.elapsed(),
                account,
                reference,
                say,
            });
        }
        crowd.until_busy_below(FUNDING_WIDTH).await;
        // Nothing will be funded through gateways that did not answer the first accounts.
        if let Some(error) = crowd.take_broken() {
            return Err(error);
        }
        check_funding(crowd, cell, None)?;
    }
    crowd.until_busy_below(1).await;
    check_funding(crowd, cell, Some(deposits))
}

fn check_funding(crowd: &Crowd, cell: &str, expected: Option<u64>) -> Result<(), ReplayError> {
    let measure = crowd.measure.borrow();
    let failed = measure.count(Ended::Refused) + measure.count(Ended::Unanswered);
    let rejected = measure.outcomes.get("rejected").copied().unwrap_or(0);
    let missing = expected.map_or(0, |expected| {
        expected.saturating_sub(measure.count(Ended::Answered))
    });
    match failed + rejected + missing {
        0 => Ok(()),
        wrong => Err(ReplayError::Funding(wrong, cell.to_owned())),
    }
}

fn say_progress(crowd: &Crowd, origin: &Origin, begin: Duration) {
    let measure = crowd.measure.borrow();
    let seconds = origin.elapsed().saturating_sub(begin).as_secs();
    let (answered, failed) = (
        measure.count(Ended::Answered),
        measure.count(Ended::Unanswered),
    );
    let open = measure
        .taken_up
        .saturating_sub(answered + failed + measure.count(Ended::Refused));
    eprintln!(
        "{seconds:>5} s  sent {}  answered {answered}  open {open}  failed {failed}",
        measure.taken_up
    );
}

fn source(arguments: &Arguments) -> Result<Source, ReplayError> {
    match &arguments.flow {
        Some(path) => Ok(Source::Recorded(recorded::read(path)?)),
        None => Ok(Source::Generated {
            seed: arguments.seed,
            orders: arguments.orders_per_pass,
        }),
    }
}

fn crowd(arguments: &Arguments, targets: &[Target], origin: Origin) -> Result<Crowd, ReplayError> {
    let settings = Settings {
        cell: arguments.cell.clone(),
        instrument: arguments.instrument.clone(),
        deadline: arguments.deadline,
        attempt_limit: arguments.attempt_limit,
    };
    let gateways = targets
        .iter()
        .map(|target| Gateway::new(target.region.clone(), target.address))
        .collect();
    let folder: &Path = &arguments.witness;
    let witnesses: Result<Vec<_>, _> = (0..arguments.clients)
        .map(|client| Witness::create(folder, client))
        .collect();
    let witnesses = witnesses?;
    witness::list(folder, &witnesses)?;
    Ok(Crowd::new(settings, origin, gateways, witnesses))
}

fn plan_settings(arguments: &Arguments, first_account: u64) -> plan::Settings {
    plan::Settings {
        rate: arguments.rate,
        duration: arguments.duration,
        first_account,
        accounts_per_pass: arguments.accounts,
        shortest_life: arguments.shortest_life,
    }
}

/// Account numbers grow with the wall clock, a million a second, so runs that do not overlap never share one.
fn unused_account(origin: &Origin) -> u64 {
    origin.wall_ms(Duration::ZERO) / 1_000 * 1_000_000
}

/// Best effort: a run with few accounts needs no more than what it was given.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = now
        .maximum
        .map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if now.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: now.maximum,
            },
        );
    }
}

/// Best effort, for root only: the customers are not on the platform's machine in truth, so a platform that uses every
/// processor must not delay them. What the driver uses is little and stands in its report.
fn raise_priority() {
    let _ = rustix::process::setpriority_process(None, PRIORITY);
}
