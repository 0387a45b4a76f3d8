//! `mainstay status` and `mainstay fault list`.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_manifest::load;
use mainstay_model::address::Slot;
use mainstay_node::place;
use mainstay_record::status::{Status as StatusRecord, Verdict};
use mainstay_rt::clock;
use mainstay_view::{Gathered as Facts, Palette};

use crate::arguments::{Look, Status};
use crate::client::{find, look};
use crate::exit::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::print::{findings, json, line, picture};

const WATCH_PERIOD: Duration = Duration::from_secs(1);

pub fn run(arguments: &Status) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    if arguments.watch {
        return watch(&layout, &Interrupt::catch()?, "Ctrl-C ends", || false);
    }
    let status = current(&layout)?;
    if arguments.json {
        json(&status)?;
    } else {
        picture(format_args!(
            "{}\n",
            mainstay_view::render(&status, palette())
        ))?;
    }
    match status.verdict {
        Verdict::Healthy => Ok(()),
        Verdict::Degraded | Verdict::Unknown | Verdict::Broken => {
            Err(Failure::Finding(findings(status.findings.len())))
        }
    }
}

/// Colours only for people.
pub fn palette() -> Palette {
    if std::io::stdout().is_terminal() {
        Palette::Colour
    } else {
        Palette::Plain
    }
}

/// What a node of this machine knows, as a status.
pub fn current(layout: &Layout) -> Result<StatusRecord, Failure> {
    let gathered = look(layout)?;
    let (record, _) = place::read(layout.data()).context("read the machine's record")?;
    let path = layout.platform_file();
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let platform = load(&path.display().to_string(), &text)
        .map_err(|diagnostics| Failure::Finding(mainstay_manifest::render(&diagnostics)))?;
    let slot = Slot::new(record.slot).context("the machine's record has a slot out of range")?;
    let facts = Facts::of_node(&platform, slot, clock::wall_ms(), gathered);
    Ok(mainstay_view::status(&facts))
}

/// The status again and again until somebody interrupts, or it is over. Unlike a picture, `then` is what interrupting does.
pub fn watch(
    layout: &Layout,
    interrupt: &Interrupt,
    then: &str,
    is_over: impl Fn() -> bool,
) -> Outcome {
    let on_terminal = std::io::stdout().is_terminal();
    while !interrupt.is_set() && !is_over() {
        let text = match current(layout) {
            Ok(status) => mainstay_view::render(&status, palette()),
            Err(failure) => mainstay_view::harmless(&failure.to_string()),
        };
        // Home, the text, and nothing of the picture before below it.
        let clear = if on_terminal { "\x1b[H\x1b[2J" } else { "" };
        picture(format_args!("{clear}{text}\n{then}\n"))?;
        interrupt.wait(WATCH_PERIOD);
    }
    Ok(())
}

pub fn faults(arguments: &Look) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let faults = mainstay_host::faults::in_force(layout.data());
    if arguments.json {
        return json(&faults);
    }
    if faults.is_empty() {
        line("nothing is broken on purpose")?;
    }
    for fault in faults {
        let guarded = if fault.guardian_alive {
            ""
        } else {
            "  (its guardian is gone; any node ends it)"
        };
        line(format_args!(
            "{}  {} {}  {:.1} s left{guarded}",
            fault.id,
            fault.kind.name(),
            fault.target,
            fault.remaining_ms as f64 / 1_000.0
        ))?;
    }
    Ok(())
}
