//! Which playbooks are in force with the platform file. What stands in them is read where the files are.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::LIST_MAX;
use super::inspector::Inspector;
use crate::draft::PlatformDraft;
use crate::violation::Code;

const PATH: &str = "/spec/playbooks";

pub(super) fn playbooks(inspector: &mut Inspector, draft: &PlatformDraft) -> Vec<String> {
    if !inspector.list_length(PATH, draft.playbooks.len(), LIST_MAX) {
        return Vec::new();
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, path) in draft.playbooks.iter().enumerate() {
        let name = path.rsplit('/').next().unwrap_or_default();
        if matches!(name, "" | "." | "..") || path.chars().any(char::is_control) {
            inspector
                .report(
                    format!("{PATH}/{place}"),
                    Code::InvalidValue,
                    format!("{path:?} is not the path of a playbook"),
                )
                .help(
                    "write a path beside the platform file, such as `playbooks/move-ledger.yaml`",
                );
        } else if let Some(first) = seen.insert(path, place) {
            inspector
                .report(
                    format!("{PATH}/{place}"),
                    Code::DuplicateName,
                    format!("`{path}` is named twice"),
                )
                .help("name it once")
                .related(format!("{PATH}/{first}"));
        }
    }
    draft.playbooks.clone()
}
