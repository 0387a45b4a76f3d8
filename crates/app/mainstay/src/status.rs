//! `mainstay status` and `mainstay fault list`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_manifest::load;
use mainstay_node::place;
use mainstay_record::node::Gathered;
use mainstay_record::status::{Status as StatusRecord, Verdict};
use mainstay_rt::clock;
use mainstay_view::Style;

use crate::arguments::Status;
use crate::client::{find, look};
use crate::exit::{Failure, Outcome};
use crate::print::json;
use crate::up::wait;

const WATCH_PERIOD: Duration = Duration::from_secs(1);

pub fn run(arguments: &Status) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    if arguments.watch {
        return watch(&layout);
    }
    let status = current(&layout)?;
    if arguments.json {
        json(&status)?;
    } else {
        println!("{}", mainstay_view::render(&status, style()));
    }
    match status.verdict {
        Verdict::Healthy => Ok(()),
        Verdict::Degraded | Verdict::Unknown | Verdict::Broken => Err(Failure::Finding(format!(
            "{} findings",
            status.findings.len()
        ))),
    }
}

/// Colours only for people.
pub fn style() -> Style {
    if std::io::stdout().is_terminal() {
        Style::Coloured
    } else {
        Style::Plain
    }
}

/// What a node of this machine knows, as a status.
pub fn current(layout: &Layout) -> Result<StatusRecord, Failure> {
    let gathered: Gathered = look(layout, "/v1/gathered")?;
    let (record, _) = place::read(layout.data()).context("read the machine's record")?;
    let path = layout.platform_file();
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let platform = load(&path.display().to_string(), &text)
        .map_err(|diagnostics| Failure::Finding(mainstay_manifest::render(&diagnostics)))?;
    Ok(mainstay_view::status(
        &platform,
        record.slot,
        &gathered,
        clock::wall_ms(),
    ))
}

/// Until Ctrl-C.
pub fn watch(layout: &Layout) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let interrupted = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&interrupted);
    std::thread::spawn(move || {
        runtime.block_on(async {
            // Without the signal there is nothing to wait for: the watch ends.
            tokio::signal::ctrl_c().await.ok();
        });
        flag.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    while !interrupted.load(std::sync::atomic::Ordering::Relaxed) {
        let text = match current(layout) {
            Ok(status) => mainstay_view::render(&status, style()),
            Err(failure) => failure.to_string(),
        };
        let mut out = std::io::stdout().lock();
        // Home, the text, and nothing of the picture before below it.
        let clear = if std::io::stdout().is_terminal() {
            "\x1b[H\x1b[2J"
        } else {
            ""
        };
        writeln!(out, "{clear}{text}\nCtrl-C ends").context("write the status")?;
        out.flush().context("write the status")?;
        drop(out);
        for _ in 0..10 {
            if interrupted.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            wait(WATCH_PERIOD / 10);
        }
    }
    Ok(())
}

pub fn faults(arguments: &Status) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let faults = mainstay_host::faults::in_force(layout.data());
    if arguments.json {
        return json(&faults);
    }
    if faults.is_empty() {
        println!("nothing is broken on purpose");
    }
    for fault in faults {
        let guarded = if fault.guardian_alive {
            ""
        } else {
            "  (its guardian is gone; any node ends it)"
        };
        println!(
            "{}  {} {}  {:.1} s left{guarded}",
            fault.id,
            fault.kind.name(),
            fault.target,
            fault.remaining_ms as f64 / 1_000.0
        );
    }
    Ok(())
}
