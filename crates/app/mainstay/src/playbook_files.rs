//! The playbooks that a platform file names: read from beside it, and kept in force as it says.
//!
//! The journal tells which playbooks the file has put in force. One whose text is another is adopted as a new version;
//! one that is named no more is retired. Those that somebody adopted by hand are left alone.

use std::path::Path;

use mainstay_derive::Layout;
use mainstay_manifest::{FILE_BYTES_MAX, NamedPlaybook, named_playbooks, render};
use mainstay_model::Platform;
use mainstay_node::digest_of;
use mainstay_record::node::{Command, CommandOutcome};
use mainstay_record::playbook::{PlaybookAsk, PlaybooksShown};
use mainstay_rt::files;

use crate::client::send;
use crate::exit::{Failure, Outcome};
use crate::playbook;
use crate::print::progress;

/// Every playbook that the file names, or everything that is wrong with them.
pub fn read(platform: &Platform, file: &Path, text: &str) -> Result<Vec<NamedPlaybook>, Failure> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let shown = file.display().to_string();
    let named = named_playbooks((&shown, text), platform, |declared| {
        let path = folder.join(declared);
        let text = files::read_limited(&path, FILE_BYTES_MAX as u64)
            .map_err(|error| error.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
        (path.display().to_string(), text)
    });
    named.map_err(|diagnostics| Failure::Finding(render(&diagnostics)))
}

/// Whether the platform would take them, before anything of a changed file is in force.
pub fn fit(layout: &Layout, named: &[NamedPlaybook]) -> Outcome {
    let shown = playbook::all(layout)?;
    for playbook in named {
        let book = &playbook.book;
        let Some(newest) = shown.newest.get(&book.name) else {
            continue;
        };
        let is_other = newest.digest != digest_of(playbook.text.as_bytes());
        if is_other && book.version <= newest.version {
            return Err(Failure::Refused {
                code: "playbook_version".to_owned(),
                why: format!(
                    "{}: another text of {} had version {}; version {} is not above it",
                    playbook.declared, book.name, newest.version, book.version
                ),
                next: format!(
                    "write `version: {}` into it; nothing was changed",
                    newest.version + 1
                ),
            });
        }
    }
    Ok(())
}

/// Has the journal say what the file says of playbooks, where it does not yet.
pub fn put_in_force(layout: &Layout, named: &[NamedPlaybook], reason: &str) -> Outcome {
    let shown = playbook::all(layout)?;
    for playbook in named.iter().filter(|playbook| !holds(&shown, playbook)) {
        let ask = PlaybookAsk::Adopt {
            text: playbook.text.clone(),
            named: true,
        };
        ask_for(layout, ask, reason, "playbook_in_force")?;
    }
    let is_named = |name: &str| named.iter().any(|playbook| playbook.book.name == name);
    let retired = (shown.playbooks.iter()).filter(|book| book.named && !is_named(&book.name));
    for book in retired {
        let ask = PlaybookAsk::Withdraw {
            playbook: book.name.clone(),
        };
        ask_for(layout, ask, reason, "no_such_playbook")?;
    }
    Ok(())
}

/// It is in force with this text, because the file names it.
fn holds(shown: &PlaybooksShown, playbook: &NamedPlaybook) -> bool {
    let digest = digest_of(playbook.text.as_bytes());
    let mut known = shown.playbooks.iter();
    known.any(|book| book.name == playbook.book.name && book.named && book.digest == digest)
}

/// `so_already` is the code of a refusal that says that an earlier attempt, whose answer was lost, has done it.
fn ask_for(layout: &Layout, ask: PlaybookAsk, reason: &str, so_already: &str) -> Outcome {
    match send(layout, Command::Playbook(ask), reason)? {
        CommandOutcome::Done { position, detail } => {
            progress(format_args!("{detail} (journal entry {position})"));
            Ok(())
        }
        CommandOutcome::Refused { code, .. } if code == so_already => Ok(()),
        CommandOutcome::Refused { code, why, next } => Err(Failure::Refused { code, why, next }),
        CommandOutcome::Unknown { why, .. } => Err(Failure::Unknown { why }),
    }
}
