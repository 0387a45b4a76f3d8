//! An experiment of a file with everything that it is about.
//!
//! Whoever plans it and whoever carries it out later read the same text, and must come to the same injections: so the
//! way from the text to the timetable is here, once.

use std::time::Duration;

use crate::Checked;
use crate::document::{Body, Document};
use crate::experiment::Experiment;
use crate::plan::{Plan, plan};

/// What runs together.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    pub name: String,
    /// Absent: documents without a hypothesis.
    pub experiment: Option<&'a Experiment>,
    pub documents: Vec<&'a Document>,
}

/// The experiments of a file; where it has none, one without a hypothesis around all of its documents.
pub fn trials(checked: &Checked) -> Vec<Trial<'_>> {
    let mut found = Vec::new();
    for document in &checked.documents {
        let Body::Experiment(experiment) = &document.body else {
            continue;
        };
        let named = |other: &&Document| {
            let mut run = experiment.run.iter();
            run.any(|(kind, name)| other.kind == *kind && other.name == *name)
        };
        found.push(Trial {
            name: document.name.clone(),
            experiment: Some(experiment.as_ref()),
            documents: checked.documents.iter().filter(named).collect(),
        });
    }
    if let ([], Some(first)) = (found.as_slice(), checked.documents.first()) {
        found.push(Trial {
            name: first.name.clone(),
            experiment: None,
            documents: checked.documents.iter().collect(),
        });
    }
    found
}

impl Trial<'_> {
    /// How long what does not end by itself is followed, unless somebody says otherwise.
    pub fn window(&self) -> Option<Duration> {
        self.experiment.and_then(|experiment| experiment.window)
    }

    /// The timetable of what begins at `planned_s` (seconds since 1970, UTC).
    ///
    /// # Errors
    /// When something has no end, or there is too much of it.
    pub fn plan(&self, window: Option<Duration>, planned_s: u64) -> Result<Plan, String> {
        plan(&self.documents, window, planned_s)
    }
}
