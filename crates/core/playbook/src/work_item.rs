//! Something that somebody is to do, opened by a step: an action of an incident, with owner and date.

use alloc::format;
use alloc::string::{String, ToString};

use crate::act::{Act, Resolved};
use crate::event::Origin;
use crate::value::{FillError, Values, fill};
use crate::view::View;

/// Texts may hold `${parameter}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkItem {
    /// What is to be done.
    pub title: String,
    /// An operator of the platform file.
    pub owner: String,
    pub due: Due,
    /// The incident that it belongs to; that of the run, if absent.
    pub incident: Option<String>,
}

/// Until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// A day, such as `2026-12-24`.
    Day(String),
    /// So many days after the one on which the step is done, in UTC.
    Days(u16),
}

impl core::fmt::Display for Due {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Day(day) => f.write_str(day),
            Self::Days(days) => write!(f, "{days} days from now"),
        }
    }
}

impl core::fmt::Display for WorkItem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (owner, due, title) = (&self.owner, &self.due, &self.title);
        match &self.incident {
            Some(incident) => write!(
                f,
                "for {owner} until {due}, in incident {incident}: {title}"
            ),
            None => write!(f, "for {owner} until {due}: {title}"),
        }
    }
}

impl WorkItem {
    pub(crate) fn filled(&self, values: &Values) -> Result<Self, FillError> {
        let incident = self.incident.as_ref();
        Ok(Self {
            title: fill(&self.title, values)?,
            owner: fill(&self.owner, values)?,
            due: self.due.clone(),
            incident: incident.map(|id| fill(id, values)).transpose()?,
        })
    }

    pub(crate) fn resolved(self, view: &View) -> Result<Act, String> {
        if !view.operators.contains(&self.owner) {
            return Err(format!(
                "the platform file names no operator {}",
                self.owner
            ));
        }
        if let Some(incident) = &self.incident
            && !view.incidents.contains(incident)
        {
            return Err(format!(
                "there is no incident {incident} that could take another action"
            ));
        }
        Ok(Act::WorkItem(self.into()))
    }
}

/// A work item without an incident of its own goes into that of the run, which is known by what opened it.
pub fn placed(resolved: Resolved, origin: Option<&Origin>, view: &View) -> Resolved {
    let Resolved::Act(Act::WorkItem(mut item)) = resolved else {
        return resolved;
    };
    if item.incident.is_some() {
        return Resolved::Act(Act::WorkItem(item));
    }
    let own = match origin {
        Some(Origin::Incident { incident, .. }) => Some(incident.clone()),
        Some(Origin::Alert { alert, .. }) => view.alerts.get(alert).cloned(),
        Some(Origin::Schedule | Origin::Person { .. }) | None => None,
    };
    match own.filter(|incident| view.incidents.contains(incident)) {
        Some(incident) => {
            item.incident = Some(incident);
            Resolved::Act(Act::WorkItem(item))
        }
        None => Resolved::Cannot(
            "a work item belongs to an incident, and this run has none (one that an alert or an incident opens has): give it one by `incident:`"
                .to_string(),
        ),
    }
}
