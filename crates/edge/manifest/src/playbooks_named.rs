//! The playbooks that a platform file names: each read, and compared with the platform that names it.
//!
//! What cannot be followed here is an error: a text that is no playbook, and a name that this platform does not have.
//! What is merely unwise is for whoever asks for criticism.

use std::collections::BTreeMap;

use mainstay_model::Platform;
use mainstay_playbook::Book;

use crate::diagnostic::{Diagnostic, Fault, Position, Source};
use crate::playbook::load_playbook;
use crate::playbook_critic::{UNKNOWN_REFERENCE, criticise_playbook};
use crate::tree;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPlaybook {
    /// As the platform file writes it.
    pub declared: String,
    pub text: String,
    pub book: Book,
}

/// Reads every playbook that a platform file names. `path` and `text` are those of the platform file; `read` gives a
/// playbook's path for the messages, and its text, or why there is none.
///
/// # Errors
/// Everything that is wrong, each with file, line and column: with a file that is not there the place where it is named.
pub fn named_playbooks(
    (path, text): (&str, &str),
    platform: &Platform,
    read: impl Fn(&str) -> (String, Result<String, String>),
) -> Result<Vec<NamedPlaybook>, Vec<Diagnostic>> {
    let source = Source::new(path, text);
    let tree = tree::parse(text).map_err(|fault| source.one(fault))?;
    let (mut named, mut faults, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut known: BTreeMap<String, Position> = BTreeMap::new();
    for (index, declared) in platform.playbooks().iter().enumerate() {
        let place = tree.locate(&format!("/spec/playbooks/{index}"));
        let (shown, text) = read(declared);
        let text = match text {
            Ok(text) => text,
            Err(why) => {
                let fault = Fault::new(place, "no-file", format!("{shown}: {why}"));
                faults.push(fault.help("put the playbook there, or take the line out"));
                continue;
            }
        };
        match sound(&shown, &text, platform) {
            Err(found) => wrong.extend(found),
            Ok(book) => {
                if let Some(first) = known.insert(book.name.clone(), place) {
                    let message = format!("two of these playbooks are called {}", book.name);
                    let mut fault = Fault::new(place, "duplicate-name", message)
                        .help("rename one of them under `metadata`");
                    fault.related = Some(first);
                    faults.push(fault);
                }
                let declared = declared.clone();
                named.push(NamedPlaybook {
                    declared,
                    text,
                    book,
                });
            }
        }
    }
    let mut all = source.all(faults);
    all.extend(wrong);
    match all.is_empty() {
        true => Ok(named),
        false => Err(all),
    }
}

/// A text that can be followed, on this platform.
fn sound(shown: &str, text: &str, platform: &Platform) -> Result<Book, Vec<Diagnostic>> {
    let mut unknown = criticise_playbook(shown, text, Some(platform))?;
    unknown.retain(|found| found.code == UNKNOWN_REFERENCE);
    match unknown.is_empty() {
        true => load_playbook(shown, text),
        false => Err(unknown),
    }
}
