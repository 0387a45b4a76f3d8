//! What people say of incidents.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use thiserror::Error;

use crate::became::Became;
use crate::book::Incidents;
use crate::event::{By, Change, Event, Person};
use crate::incident::{Action, Day, Incident, IncidentId, Lesson, Phase, Role};
use crate::page::{PageDigest, Signature};
use crate::severity::Severity;
use crate::thing::Thing;
use crate::topology::Topology;

/// Of a title, a note or a link.
pub const TEXT_BYTES_MAX: usize = 4_096;
const LINKS_MAX: usize = 50;
const ACTIONS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Open {
        title: String,
        severity: Severity,
        about: BTreeSet<Thing>,
    },
    Acknowledge(IncidentId),
    Assign {
        incident: IncidentId,
        role: Role,
        to: String,
    },
    Rate {
        incident: IncidentId,
        severity: Severity,
    },
    /// The reason is the note.
    Note(IncidentId),
    Review {
        incident: IncidentId,
        review: Review,
    },
    Link {
        incident: IncidentId,
        link: String,
    },
    Merge {
        incident: IncidentId,
        into: IncidentId,
    },
    Mitigate(IncidentId),
    Resolve {
        incident: IncidentId,
        /// What of it still stands is known to whoever asks.
        despite: bool,
    },
    Reopen(IncidentId),
}

/// What is said and decided when one looks back. The reason says what was learned, what is to be done, or how it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    Learn(Lesson),
    AddAction {
        owner: String,
        due: Day,
    },
    FinishAction {
        number: u32,
        became: Option<Became>,
    },
    /// The reason is the statement.
    Sign {
        signature: Signature,
        page: PageDigest,
    },
}

impl Ask {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open { .. } => "incident open",
            Self::Acknowledge(_) => "incident acknowledge",
            Self::Assign { .. } => "incident assign",
            Self::Rate { .. } => "incident severity",
            Self::Note(_) => "incident note",
            Self::Review { review, .. } => match review {
                Review::Learn(_) => "incident note",
                Review::AddAction { .. } => "incident action add",
                Review::FinishAction { .. } => "incident action done",
                Review::Sign { .. } => "incident sign",
            },
            Self::Link { .. } => "incident link",
            Self::Merge { .. } => "incident merge",
            Self::Mitigate(_) => "incident mitigate",
            Self::Resolve { .. } => "incident resolve",
            Self::Reopen(_) => "incident reopen",
        }
    }
}

/// Why something cannot be done with an incident.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("there is no incident {0}, or it has been over for long")]
    NoSuchIncident(IncidentId),
    #[error("incident {incident} is {} and cannot be {asked}", .phase.as_str())]
    WrongPhase {
        incident: IncidentId,
        phase: Phase,
        asked: &'static str,
    },
    #[error("incident {incident} goes on in {into}")]
    MergedInto {
        incident: IncidentId,
        into: IncidentId,
    },
    #[error("{by} has acknowledged incident {incident} already")]
    AcknowledgedAlready { incident: IncidentId, by: String },
    #[error("the platform file names no operator {0:?}")]
    NoSuchOperator(String),
    #[error("{to} is {} of incident {incident} already", .role.as_str())]
    AssignedAlready {
        incident: IncidentId,
        role: Role,
        to: String,
    },
    #[error("the severity of incident {incident} is {severity} already")]
    RatedAlready {
        incident: IncidentId,
        severity: Severity,
    },
    #[error("of incident {incident} still stands: {}", .standing.join("; "))]
    StillStands {
        incident: IncidentId,
        standing: Vec<String>,
    },
    #[error("an incident cannot be merged into itself")]
    IntoItself,
    #[error("the platform has no {0}")]
    NoSuchThing(Thing),
    #[error("a text has from 1 to {TEXT_BYTES_MAX} bytes, not {0}")]
    Text(usize),
    #[error("incident {0} has {LINKS_MAX} links already")]
    TooManyLinks(IncidentId),
    #[error("incident {0} has {ACTIONS_MAX} actions already")]
    TooManyActions(IncidentId),
    #[error("incident {incident} has no action a{number}")]
    NoSuchAction { incident: IncidentId, number: u32 },
    #[error("action a{number} of incident {incident} was done already")]
    DoneAlready { incident: IncidentId, number: u32 },
}

impl Refusal {
    /// For programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchIncident(_) => "no_such_incident",
            Self::WrongPhase { .. } => "incident_phase",
            Self::MergedInto { .. } => "incident_merged",
            Self::AcknowledgedAlready { .. }
            | Self::AssignedAlready { .. }
            | Self::RatedAlready { .. } => "incident_already",
            Self::NoSuchOperator(_) => "no_such_operator",
            Self::StillStands { .. } => "incident_stands",
            Self::IntoItself => "incident_into_itself",
            Self::NoSuchThing(_) => "no_such_thing",
            Self::Text(_) => "incident_text",
            Self::TooManyLinks(_) => "incident_links",
            Self::TooManyActions(_) => "incident_actions",
            Self::NoSuchAction { .. } => "no_such_action",
            Self::DoneAlready { .. } => "action_done",
        }
    }
}

impl Incidents {
    /// What follows from a person's wish. `operators` are those whom the platform file names.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub fn answer(
        &self,
        ask: &Ask,
        person: &Person,
        reason: &str,
        topology: &Topology,
        operators: &BTreeSet<String>,
    ) -> Result<Event, Refusal> {
        text(reason)?;
        let (incident, change) = match ask {
            Ask::Open {
                title,
                severity,
                about,
            } => (
                IncidentId(self.ever + 1),
                opened(title, *severity, about, topology)?,
            ),
            Ask::Acknowledge(id) => (*id, acknowledged(*id, self.find(*id)?)?),
            Ask::Assign { incident, role, to } => {
                let change = assigned(*incident, self.find(*incident)?, *role, to, operators)?;
                (*incident, change)
            }
            Ask::Rate { incident, severity } => {
                let known = self.active_one(*incident, "rated")?;
                if known.severity == *severity {
                    return Err(Refusal::RatedAlready {
                        incident: *incident,
                        severity: *severity,
                    });
                }
                let severity = *severity;
                (*incident, Change::SeverityChanged { severity })
            }
            Ask::Note(id) => {
                self.find(*id)?;
                (*id, Change::Noted)
            }
            Ask::Review { incident, review } => {
                (*incident, self.reviewed(*incident, review, operators)?)
            }
            Ask::Link { incident, link } => {
                text(link)?;
                if self.find(*incident)?.links.len() >= LINKS_MAX {
                    return Err(Refusal::TooManyLinks(*incident));
                }
                (*incident, Change::Linked { link: link.clone() })
            }
            Ask::Merge { incident, into } => {
                if incident == into {
                    return Err(Refusal::IntoItself);
                }
                self.active_one(*into, "taken as one to go on in")?;
                self.active_one(*incident, "merged")?;
                (*incident, Change::Merged { into: *into })
            }
            Ask::Mitigate(id) => match self.active_one(*id, "mitigated")?.phase {
                Phase::Open | Phase::Acknowledged => (*id, Change::Mitigated),
                phase @ (Phase::Mitigated | Phase::Resolved | Phase::Merged(_)) => {
                    return Err(wrong(*id, phase, "mitigated"));
                }
            },
            Ask::Resolve { incident, despite } => (*incident, self.resolved(*incident, *despite)?),
            Ask::Reopen(id) => match self.find(*id)?.phase {
                Phase::Mitigated | Phase::Resolved => (*id, Change::Reopened),
                phase @ (Phase::Open | Phase::Acknowledged | Phase::Merged(_)) => {
                    return Err(wrong(*id, phase, "reopened"));
                }
            },
        };
        Ok(Event {
            incident,
            by: By::Person(person.clone()),
            reason: reason.to_string(),
            change,
        })
    }

    /// Whether an incident can take another action.
    pub fn takes_action(&self, id: IncidentId) -> bool {
        self.find(id)
            .is_ok_and(|incident| incident.actions.len() < ACTIONS_MAX)
    }

    /// An action that nobody asked for by a command. `operators` are those whom the platform file names.
    ///
    /// # Errors
    /// Why it cannot be added.
    pub fn add_action(
        &self,
        id: IncidentId,
        owner: &str,
        due: Day,
        what: &str,
        operators: &BTreeSet<String>,
    ) -> Result<Event, Refusal> {
        text(what)?;
        Ok(Event {
            incident: id,
            by: By::Mainstay,
            reason: what.to_string(),
            change: added(id, self.find(id)?, owner, due, operators)?,
        })
    }

    fn reviewed(
        &self,
        incident: IncidentId,
        review: &Review,
        operators: &BTreeSet<String>,
    ) -> Result<Change, Refusal> {
        match review {
            Review::Learn(lesson) => {
                self.find(incident)?;
                Ok(Change::Learned(*lesson))
            }
            Review::AddAction { owner, due } => {
                added(incident, self.find(incident)?, owner, *due, operators)
            }
            Review::FinishAction { number, became } => {
                self.finished(incident, *number, became.as_ref())
            }
            // Before it is over, no page tells how it ended.
            Review::Sign { signature, page } => match self.find(incident)?.phase {
                Phase::Resolved => Ok(Change::Signed {
                    signature: *signature,
                    page: page.clone(),
                }),
                phase @ (Phase::Open
                | Phase::Acknowledged
                | Phase::Mitigated
                | Phase::Merged(_)) => Err(wrong(incident, phase, "signed")),
            },
        }
    }

    fn find(&self, id: IncidentId) -> Result<&Incident, Refusal> {
        let incident = self.get(id).ok_or(Refusal::NoSuchIncident(id))?;
        match incident.phase {
            Phase::Merged(into) => Err(Refusal::MergedInto { incident: id, into }),
            Phase::Open | Phase::Acknowledged | Phase::Mitigated | Phase::Resolved => Ok(incident),
        }
    }

    fn active_one(&self, id: IncidentId, asked: &'static str) -> Result<&Incident, Refusal> {
        let incident = self.find(id)?;
        match incident.phase.is_active() {
            true => Ok(incident),
            false => Err(wrong(id, incident.phase, asked)),
        }
    }

    /// Also of one that goes on in another: its actions stay with it.
    fn finished(
        &self,
        incident: IncidentId,
        number: u32,
        became: Option<&Became>,
    ) -> Result<Change, Refusal> {
        let known = self.get(incident);
        let actions = &known.ok_or(Refusal::NoSuchIncident(incident))?.actions;
        let mut found = actions.iter().filter(|(action, _)| action.number == number);
        match found.next() {
            None => Err(Refusal::NoSuchAction { incident, number }),
            Some((_, true)) => Err(Refusal::DoneAlready { incident, number }),
            Some((_, false)) => Ok(Change::ActionDone {
                number,
                became: became.map(ToString::to_string),
            }),
        }
    }

    /// Not while something of it stands, unless whoever asks says that they know.
    fn resolved(&self, id: IncidentId, despite: bool) -> Result<Change, Refusal> {
        self.active_one(id, "resolved")?;
        let standing = self.standing_of(id);
        let standing: BTreeMap<_, _> = standing
            .map(|(condition, standing)| (condition.clone(), standing.is_missing()))
            .collect();
        if standing.is_empty() || despite {
            let standing = standing.into_keys().collect();
            return Ok(Change::Resolved { standing });
        }
        let words = standing.iter().map(|(condition, is_missing)| {
            let suffix = match is_missing {
                true => " (not measured any more)",
                false => "",
            };
            alloc::format!("{condition}{suffix}")
        });
        Err(Refusal::StillStands {
            incident: id,
            standing: words.collect(),
        })
    }
}

fn text(text: &str) -> Result<(), Refusal> {
    match text.trim().len() {
        0 => Err(Refusal::Text(0)),
        len if len > TEXT_BYTES_MAX => Err(Refusal::Text(len)),
        _ => Ok(()),
    }
}

fn wrong(incident: IncidentId, phase: Phase, asked: &'static str) -> Refusal {
    match phase {
        Phase::Merged(into) => Refusal::MergedInto { incident, into },
        Phase::Open | Phase::Acknowledged | Phase::Mitigated | Phase::Resolved => {
            Refusal::WrongPhase {
                incident,
                phase,
                asked,
            }
        }
    }
}

fn opened(
    title: &str,
    severity: Severity,
    about: &BTreeSet<Thing>,
    topology: &Topology,
) -> Result<Change, Refusal> {
    text(title)?;
    if let Some(thing) = about.iter().find(|thing| !topology.knows(thing)) {
        return Err(Refusal::NoSuchThing(thing.clone()));
    }
    Ok(Change::Opened {
        title: title.to_string(),
        severity,
        conditions: BTreeSet::new(),
        things: about.clone(),
        evidence: Vec::new(),
        follows: None,
    })
}

fn acknowledged(id: IncidentId, incident: &Incident) -> Result<Change, Refusal> {
    match (&incident.acknowledged, incident.phase) {
        (None, Phase::Open | Phase::Mitigated) => Ok(Change::Acknowledged),
        (Some((_, by)), Phase::Open | Phase::Acknowledged | Phase::Mitigated) => {
            Err(Refusal::AcknowledgedAlready {
                incident: id,
                by: by.clone(),
            })
        }
        (_, phase @ (Phase::Acknowledged | Phase::Resolved | Phase::Merged(_))) => {
            Err(wrong(id, phase, "acknowledged"))
        }
    }
}

fn added(
    id: IncidentId,
    incident: &Incident,
    owner: &str,
    due: Day,
    operators: &BTreeSet<String>,
) -> Result<Change, Refusal> {
    if !operators.contains(owner) {
        return Err(Refusal::NoSuchOperator(owner.to_string()));
    }
    let number = u32::try_from(incident.actions.len() + 1).unwrap_or(u32::MAX);
    if incident.actions.len() >= ACTIONS_MAX {
        return Err(Refusal::TooManyActions(id));
    }
    Ok(Change::ActionAdded(Action {
        number,
        owner: owner.to_string(),
        due,
    }))
}

fn assigned(
    id: IncidentId,
    incident: &Incident,
    role: Role,
    to: &str,
    operators: &BTreeSet<String>,
) -> Result<Change, Refusal> {
    if !operators.contains(to) {
        return Err(Refusal::NoSuchOperator(to.to_string()));
    }
    let from = incident.roles.get(&role).cloned();
    if from.as_deref() == Some(to) {
        return Err(Refusal::AssignedAlready {
            incident: id,
            role,
            to: to.to_string(),
        });
    }
    Ok(Change::Assigned {
        role,
        to: to.to_string(),
        from,
    })
}
