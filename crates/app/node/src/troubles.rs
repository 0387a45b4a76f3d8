//! What a node cannot do on its host just now. It goes on with everything else and tries again; its log, the status and a
//! figure tell of it meanwhile.

use std::collections::BTreeMap;

/// What is tried again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Identities of this host's processes that are due.
    Identities,
    /// What the journal says of this host, kept for a start without it.
    Placements,
    /// Configurations of what shall run here.
    Configurations,
}

impl Task {
    fn what(self) -> &'static str {
        match self {
            Self::Identities => {
                "identities are not renewed, and those laid down are good for a day at most"
            }
            Self::Placements => {
                "what the journal places here cannot be kept for a start without it"
            }
            Self::Configurations => {
                "what shall run here is not carried out, and what runs goes on as it was"
            }
        }
    }
}

#[derive(Debug, Default)]
pub struct Troubles {
    stand: BTreeMap<Task, String>,
}

impl Troubles {
    /// What came of a task. The log hears when a trouble begins, when it is another one, and when it is over.
    pub fn note(&mut self, task: Task, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                if self.stand.remove(&task).is_some() {
                    tracing::info!(?task, "it is done after all");
                }
            }
            Err(why) => {
                if self.stand.get(&task) != Some(&why) {
                    tracing::error!(?task, why, "{}; it is tried again", task.what());
                }
                self.stand.insert(task, why);
            }
        }
    }

    /// Each in words.
    pub fn words(&self) -> Vec<String> {
        let stand = self.stand.iter();
        stand
            .map(|(task, why)| format!("{} ({why})", task.what()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Task, Troubles};

    #[test]
    fn a_trouble_stands_until_its_task_is_done() {
        let mut troubles = Troubles::default();
        troubles.note(Task::Identities, Ok(()));
        troubles.note(
            Task::Configurations,
            Err("no space left on device".to_owned()),
        );
        troubles.note(Task::Placements, Err("no space left on device".to_owned()));
        troubles.note(Task::Placements, Ok(()));
        let words = troubles.words();
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(
            words[0].contains("not carried out") && words[0].contains("no space left"),
            "{words:?}"
        );
        troubles.note(Task::Configurations, Ok(()));
        assert!(troubles.words().is_empty());
    }
}
