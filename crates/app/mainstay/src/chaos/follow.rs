//! An experiment as the journal tells it, read aloud.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_derive::Layout;
use mainstay_record::event::{AlertWord, EventBody, OutcomeRecord};
use mainstay_record::node::MachineRecord;

use crate::exit::Failure;
use crate::journal::Reader;
use crate::print::progress;

/// After its planned end an experiment is ended by the kernel within this time, whatever happens.
pub const PATIENCE: Duration = Duration::from_secs(600);

pub struct Follower {
    reader: Reader,
    /// Faults of it, and the entries that ordered them.
    faults: BTreeSet<String>,
    orders: BTreeMap<u64, String>,
    is_deaf: bool,
}

impl Follower {
    /// Everything that is in the journal now is passed over.
    pub fn open(machine: &MachineRecord, layout: &Layout) -> Result<Self, Failure> {
        let mut reader = Reader::open(machine, layout)?;
        reader.more(|_, _| Ok(()))?;
        Ok(Self {
            reader,
            faults: BTreeSet::new(),
            orders: BTreeMap::new(),
            is_deaf: false,
        })
    }

    /// What is new of the experiment, in lines; and its verdict, once there is one.
    ///
    /// # Errors
    /// When the journal is damaged. One that cannot be read for now is read later.
    pub fn more(&mut self, id: &str) -> Result<(Vec<String>, Option<String>), Failure> {
        let mut fresh = Vec::new();
        let read = self.reader.more(|position, entry| {
            fresh.push((position, entry.clone()));
            Ok(())
        });
        match read {
            Err(Failure::Finding(damage)) => return Err(Failure::Finding(damage)),
            Err(failure) if !self.is_deaf => {
                self.is_deaf = true;
                progress(format_args!(
                    "the journal is not to be read for now: {failure}"
                ));
            }
            Err(_) => {}
            Ok(()) => self.is_deaf = false,
        }
        let (mut lines, mut end) = (Vec::new(), None);
        for (position, event) in fresh {
            if let EventBody::ExperimentEnded(body) = &event
                && body.experiment == id
            {
                end = Some(format!("{}: {}", body.verdict.as_str(), body.why));
            }
            lines.extend(self.line(id, position, &event));
        }
        Ok((lines, end))
    }

    fn line(&mut self, id: &str, position: u64, event: &EventBody) -> Option<String> {
        match event {
            EventBody::ExperimentChosen(body) if body.experiment == id => {
                self.faults.extend(body.faults.iter().cloned());
                Some(body.what.clone())
            }
            EventBody::FaultInjected(body) if self.faults.contains(&body.fault) => {
                self.orders.insert(position, body.fault.clone());
                None
            }
            EventBody::EffectFinished(body) => {
                let fault = self.orders.remove(&body.effect)?;
                Some(match &body.outcome {
                    OutcomeRecord::Done { detail } => format!("  {detail}"),
                    OutcomeRecord::Failed { why } => format!("  {fault} is not set: {why}"),
                    OutcomeRecord::Unknown { why } => {
                        format!("  {fault} is not known to be set: {why}")
                    }
                })
            }
            EventBody::ExperimentObserved(body) if body.experiment == id => {
                let seen = &body.observation;
                Some(format!(
                    "  {}: {:?}: {}",
                    seen.subject, seen.finding, seen.value
                ))
            }
            EventBody::ExperimentMending(body) if body.experiment == id => {
                let why = &body.why;
                body.verdict
                    .map(|_| format!("  nothing more is broken: {why}"))
            }
            EventBody::AlertChanged(body) if body.state == AlertWord::Firing => {
                let label = |name: &str| body.labels.get(name).cloned().unwrap_or_default();
                let (name, severity) = (label("alertname"), label("severity"));
                Some(format!("  alert {name} ({severity}) fires"))
            }
            EventBody::Claimed(body) => Some(format!("  {} leads now", body.node)),
            _ => None,
        }
    }
}
