//! `mainstay journal …`: reads the log where it stands, and asks nobody.

use anyhow::{Context, anyhow};
use mainstay_derive::Layout;
use mainstay_journal::Log;
use mainstay_node::{coordination, place};
use mainstay_record::event::EventBody;
use mainstay_record::journal::EntryRecord;
use mainstay_record::node::MachineRecord;
use mainstay_report::Entry;
pub use mainstay_report::words;
use mainstay_storage::{Coordination, Place, export, meaning_of, mutate_and_verify, verify};
use mainstay_units::Position;
use serde_json::Value;

use crate::arguments::{Journal, JournalExport, JournalMutate, JournalShow, Look};
use crate::client::{chain, find};
use crate::exit::{Failure, Outcome};
use crate::print::{findings, json, line, picture, time_of_day};

pub fn run(command: &Journal) -> Outcome {
    match command {
        Journal::Show(arguments) => show(arguments),
        Journal::Verify(arguments) => check(arguments),
        Journal::Export(arguments) => write_out(arguments),
        Journal::Mutate(arguments) => mutate(arguments),
    }
}

/// Where the journal stands; an etcd that does not answer is told of here, and not as damage.
pub fn journal_of(record: &MachineRecord, layout: &Layout) -> Result<Place, Failure> {
    let place = coordination::of_machine(record, layout)?;
    if let Place::Etcd(_) = &place {
        let listed = place.kept().map_err(std::io::Error::other);
        listed.and_then(|mut kept| kept.list()).map_err(|error| Failure::NoAnswer {
            what: format!("{place}: {}", chain(&error)),
            next: "the journal can be read while a majority of etcd's members runs; `mainstay status` says which do"
                .to_owned(),
        })?;
    }
    Ok(place)
}

fn show(arguments: &JournalShow) -> Outcome {
    let (record, layout) = find(&arguments.platform)?;
    let mut position = Position(0);
    followed(&record, &layout, |entry| {
        print_entry(arguments, position, entry.as_str())?;
        position.0 += 1;
        Ok(())
    })?;
    Ok(())
}

/// All entries, followed from the first part on: chain, tree and signatures were checked.
pub fn entries(record: &MachineRecord, layout: &Layout) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    followed(record, layout, |entry| {
        let position = entries.len() as u64;
        let entry = Entry::read(position, entry.as_str()).map_err(|error| anyhow!(error))?;
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

/// The journal, read on and on: only what is known to be an event of this version is handed out.
pub struct Reader {
    port: mainstay_storage::Port,
    log: Log,
    position: u64,
}

impl Reader {
    pub fn open(record: &MachineRecord, layout: &Layout) -> Result<Self, Failure> {
        let place = journal_of(record, layout)?;
        Ok(Self {
            port: place.open().context("open the journal")?,
            log: Log::new(meaning_of),
            position: 0,
        })
    }

    /// Everything that came since the last time; chain, tree and signatures are checked.
    pub fn more(&mut self, mut each: impl FnMut(u64, &EventBody) -> Outcome) -> Outcome {
        loop {
            let end = self.log.end();
            let Some(part) = self.port.read_from(end).context("read the journal")? else {
                return Ok(());
            };
            let followed = follow(&mut self.log, end, &part)?;
            for entry in &followed {
                let entry = Entry::read(self.position, entry.as_str());
                let entry = entry.map_err(|error| anyhow!(error))?;
                if let Some(event) = &entry.event {
                    each(self.position, event)?;
                }
                self.position += 1;
            }
        }
    }
}

fn follow(
    log: &mut Log,
    position: Position,
    part: &[u8],
) -> Result<Vec<mainstay_journal::Entry>, Failure> {
    let followed = log.follow(position, part).map_err(|damage| {
        Failure::Finding(format!(
            "the part at position {position} is damaged: {damage}\n  next: mainstay journal verify"
        ))
    })?;
    Ok(followed.entries)
}

/// Hands out every entry in order; the log as it is known at its end.
pub fn followed(
    record: &MachineRecord,
    layout: &Layout,
    mut each: impl FnMut(&mainstay_journal::Entry) -> Outcome,
) -> Result<Log, Failure> {
    let place = journal_of(record, layout)?;
    let mut port = place.open().context("open the journal")?;
    let mut log = Log::new(meaning_of);
    loop {
        let position = log.end();
        let Some(part) = port.read_from(position).context("read the journal")? else {
            return Ok(log);
        };
        let followed = follow(&mut log, position, &part)?;
        followed.iter().try_for_each(&mut each)?;
    }
}

fn print_entry(arguments: &JournalShow, position: Position, text: &str) -> Outcome {
    let entry: EntryRecord = serde_json::from_str(text)
        .with_context(|| format!("entry {position} is not in the form of an entry"))?;
    let is_wanted = arguments
        .kind
        .as_deref()
        .is_none_or(|kind| is_of(&entry.kind, kind));
    if position.0 < arguments.from || !is_wanted {
        return Ok(());
    }
    if arguments.json {
        return picture(format_args!("{text}\n"));
    }
    let time = time_of_day(entry.at_ms);
    let body: Value = serde_json::from_str(entry.body.get()).context("read an entry's body")?;
    line(format_args!(
        "{position:>6}  {time}  epoch {:<4} {:<20} {}",
        entry.epoch,
        entry.kind,
        words(&body)
    ))
}

/// `fault` means `fault.injected` too, and `fault.inj` means nothing.
fn is_of(kind: &str, asked: &str) -> bool {
    let rest = kind.strip_prefix(asked);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn check(arguments: &Look) -> Outcome {
    let (record, layout) = find(&arguments.platform)?;
    let nodes = place::node_folders(&layout).context("list the nodes")?;
    let report = verify(&journal_of(&record, &layout)?, &nodes);
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
        "the journal does not verify: {}; nothing was changed\n  next: keep the folder as it is, and compare with an export or another node's memory",
        findings(report.findings.len())
    )))
}

fn write_out(arguments: &JournalExport) -> Outcome {
    let (record, layout) = find(&arguments.platform)?;
    let report =
        export(&journal_of(&record, &layout)?, &arguments.to).map_err(|error| anyhow!(error))?;
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
    let (record, layout) = find(&arguments.platform)?;
    let nodes = place::node_folders(&layout).context("list the nodes")?;
    let report = mutate_and_verify(
        &journal_of(&record, &layout)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_asked_for_by_whole_words() {
        assert!(is_of("fault.injected", "fault"));
        assert!(is_of("fault.injected", "fault.injected"));
        assert!(!is_of("fault.injected", "fault.inj"));
        assert!(!is_of("default", "fault"));
    }

    #[test]
    fn a_body_reads_as_a_row_of_names_and_values() {
        let body = serde_json::json!({
            "service": "venue", "host": "use1-a", "missing": null,
            "why": {"beside_replica": {"database": "ledger"}},
            "reason": "does the desk notice?", "steps": vec!["something long"; 20],
        });
        assert_eq!(
            words(&body),
            "host use1-a, reason \"does the desk notice?\", service venue, steps (20 of them), \
             why (beside_replica (database ledger))"
        );
    }
}
