//! `mainstay journal …`: reads the log where it stands, and asks nobody.

use anyhow::{Context, anyhow};
use mainstay_journal::Log;
use mainstay_node::place;
use mainstay_record::journal::EntryRecord;
use mainstay_storage::{Coordination, LocalFolder, export, meaning_of, mutate_and_verify, verify};
use mainstay_units::Position;

use crate::arguments::{Journal, JournalExport, JournalMutate, JournalShow, Status};
use crate::client::find;
use crate::exit::{Failure, Outcome};
use crate::print::{json, line, time_of_day};

pub fn run(command: &Journal) -> Outcome {
    match command {
        Journal::Show(arguments) => show(arguments),
        Journal::Verify(arguments) => check(arguments),
        Journal::Export(arguments) => write_out(arguments),
        Journal::Mutate(arguments) => mutate(arguments),
    }
}

fn show(arguments: &JournalShow) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let mut folder = LocalFolder::open(&layout.journal()).context("open the journal")?;
    let mut log = Log::new(meaning_of);
    loop {
        let position = log.end();
        let Some(part) = folder.read_from(position).context("read the journal")? else {
            return Ok(());
        };
        let followed = log.follow(position, &part).map_err(|damage| {
            Failure::Finding(format!(
                "the part at position {position} is damaged: {damage}\n  next: mainstay journal verify"
            ))
        })?;
        for (number, entry) in (followed.first.0..).zip(&followed.entries) {
            print_entry(arguments, Position(number), entry.as_str())?;
        }
    }
}

fn print_entry(arguments: &JournalShow, position: Position, text: &str) -> Outcome {
    let entry: EntryRecord = serde_json::from_str(text)
        .with_context(|| format!("entry {position} is not in the form of an entry"))?;
    let other_kind = arguments
        .kind
        .as_ref()
        .is_some_and(|kind| *kind != entry.kind);
    if position.0 < arguments.from || other_kind {
        return Ok(());
    }
    if arguments.json {
        line(format_args!("{text}"))?;
    } else {
        let time = time_of_day(entry.at_ms);
        line(format_args!(
            "{position:>6}  {time}  epoch {:<4} {:<26} {}",
            entry.epoch, entry.kind, entry.body
        ))?;
    }
    Ok(())
}

fn check(arguments: &Status) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let nodes = place::node_folders(&layout).context("list the nodes")?;
    let report = verify(&layout.journal(), &nodes);
    if arguments.json {
        json(&report)?;
    } else {
        line(format_args!(
            "journal {}: {} entries in {} parts, epoch {}",
            report.origin.as_deref().unwrap_or("without a name"),
            report.entries,
            report.parts,
            report.epoch
        ))?;
        for vouched in &report.vouched {
            line(format_args!(
                "  {} remembers {} entries, and they are there",
                vouched.node, vouched.size
            ))?;
        }
        for note in &report.notes {
            line(format_args!("  note: {note}"))?;
        }
        for finding in &report.findings {
            let place = finding
                .part
                .as_deref()
                .or(finding.node.as_deref())
                .unwrap_or("");
            line(format_args!(
                "  FOUND {} {place}: {}",
                finding.code.as_str(),
                finding.what
            ))?;
        }
    }
    if report.is_sound() {
        if !arguments.json {
            line(format_args!("  chain, tree, signatures and memories agree"))?;
        }
        return Ok(());
    }
    Err(Failure::Finding(format!(
        "the journal does not verify: {} findings; nothing was changed\n  next: keep the folder as it is, and compare with an export or another node's memory",
        report.findings.len()
    )))
}

fn write_out(arguments: &JournalExport) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let report = export(&layout.journal(), &arguments.to).map_err(|error| anyhow!(error))?;
    line(format_args!(
        "{} entries of {} in {} files below {}",
        report.entries, report.origin, report.files, report.folder
    ))?;
    for key in &report.verifier_keys {
        line(format_args!("  verifier key: {key}"))?;
    }
    Ok(())
}

fn mutate(arguments: &JournalMutate) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let nodes = place::node_folders(&layout).context("list the nodes")?;
    let report = mutate_and_verify(
        &layout.journal(),
        &nodes,
        u64::from(arguments.count),
        arguments.seed,
    )
    .context("change copies of the journal")?;
    for kind in &report.kinds {
        line(format_args!(
            "  {}: {} made, {} found",
            kind.kind, kind.made, kind.found
        ))?;
    }
    for skipped in &report.skipped {
        line(format_args!("  skipped: {skipped}"))?;
    }
    if report.everything_found() {
        return Ok(());
    }
    Err(Failure::Finding(format!(
        "not every change was found: {:?}",
        report.missed
    )))
}
