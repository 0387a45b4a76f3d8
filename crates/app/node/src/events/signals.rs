//! Signals on their way to the leader.

use mainstay_kernel::{Ask, Command, EffectId, Signal};
use mainstay_record::event::{AskRecord, SignalRecord};
use mainstay_record::rules::RulesFollowedBody;
use mainstay_units::Position;

use super::ReadError;
use super::alerts::{alert_of, alert_record};
use super::desired::{desired_of, desired_record};
use super::drills::{abandoned_body, abandoned_of, drill_ask_of, drill_ask_record};
use super::experiments::{experiment_ask_of, experiment_ask_record, told_of, told_record};
use super::gates::{reading_of, reading_record};
use super::incidents::{incident_ask_of, incident_ask_record};
use super::notices::{notice_ask_of, notice_ask_record};
use super::parts::{
    actor_of, actor_record, finished_body, outcome_of, program_of, program_record, report_of,
    report_record, spec_of, spec_record,
};
use super::playbooks::{playbook_ask, playbook_ask_record};
use super::rules::{rules_text_of, text_record};

/// What a heartbeat carries of a signal; `None` for those that only the leader itself makes.
pub fn signal_record(signal: &Signal) -> Option<SignalRecord> {
    Some(match signal {
        Signal::FileRead {
            digest,
            desired,
            actor,
        } => SignalRecord::FileRead {
            digest: digest.clone(),
            desired: Box::new(desired_record(desired)),
            actor: actor_record(actor),
        },
        Signal::Commanded(command) => SignalRecord::Commanded {
            actor: actor_record(&command.actor),
            reason: command.reason.clone(),
            ask: ask_record(&command.ask),
            readings: command.readings.iter().map(reading_record).collect(),
            overrides: command.overrides.clone(),
        },
        Signal::Reported(report) => SignalRecord::Reported(report_record(report)),
        Signal::AlertTold(news) => SignalRecord::AlertTold(alert_record(news)),
        Signal::RulesTold {
            watch,
            at_ms,
            files,
        } => SignalRecord::RulesTold(RulesFollowedBody {
            watch: watch.to_string(),
            at_ms: *at_ms,
            files: files.clone(),
        }),
        Signal::Answered { effect, outcome } => {
            SignalRecord::Answered(finished_body(*effect, outcome))
        }
        Signal::Experiment(told) => SignalRecord::Experiment(told_record(told)),
        Signal::DrillAbandoned { drill } => SignalRecord::DrillAbandoned(abandoned_body(*drill)),
        Signal::Tick
        | Signal::KeyOffered { .. }
        | Signal::HostHeard { .. }
        | Signal::HostSilent { .. } => return None,
    })
}

/// # Errors
/// When a name in it is none.
pub fn signal_of(record: SignalRecord) -> Result<Signal, ReadError> {
    Ok(match record {
        SignalRecord::FileRead {
            digest,
            desired,
            actor,
        } => Signal::FileRead {
            digest,
            desired: Box::new(desired_of(*desired)?),
            actor: actor_of(actor),
        },
        SignalRecord::Commanded {
            actor,
            reason,
            ask,
            readings,
            overrides,
        } => Signal::Commanded(Command {
            actor: actor_of(actor),
            reason,
            ask: ask_of(ask)?,
            readings: readings
                .into_iter()
                .map(reading_of)
                .collect::<Result<_, _>>()?,
            overrides,
        }),
        SignalRecord::Reported(report) => Signal::Reported(report_of(report)?),
        SignalRecord::AlertTold(record) => Signal::AlertTold(alert_of(record)?),
        SignalRecord::RulesTold(body) => Signal::RulesTold {
            watch: body.watch.parse()?,
            at_ms: body.at_ms,
            files: body.files,
        },
        SignalRecord::Answered(body) => Signal::Answered {
            effect: EffectId(Position(body.effect)),
            outcome: outcome_of(body.outcome),
        },
        SignalRecord::Experiment(record) => Signal::Experiment(told_of(record)?),
        SignalRecord::DrillAbandoned(body) => Signal::DrillAbandoned {
            drill: abandoned_of(&body)?,
        },
    })
}

fn ask_record(ask: &Ask) -> AskRecord {
    match ask {
        Ask::Apply { digest, desired } => AskRecord::Apply {
            digest: digest.clone(),
            desired: Box::new(desired_record(desired)),
        },
        Ask::Pause => AskRecord::Pause,
        Ask::Resume => AskRecord::Resume,
        Ask::Stop => AskRecord::Stop,
        Ask::InjectFault(spec) => AskRecord::InjectFault(spec_record(spec)),
        Ask::ClearFault { fault } => AskRecord::ClearFault {
            fault: fault.clone(),
        },
        Ask::Switchover { database, to } => AskRecord::Switchover {
            database: database.to_string(),
            region: to.to_string(),
        },
        Ask::Solo { database } => AskRecord::Solo {
            database: database.to_string(),
        },
        Ask::Failover {
            database,
            to,
            accepts_loss,
        } => AskRecord::Failover {
            database: database.to_string(),
            host: to.to_string(),
            accepts_loss: *accepts_loss,
        },
        Ask::Upgrade { program } => AskRecord::Upgrade(program_record(program)),
        Ask::Incident(ask) => AskRecord::Incident(incident_ask_record(ask)),
        Ask::Drill(ask) => AskRecord::Drill(drill_ask_record(ask)),
        Ask::Experiment(ask) => AskRecord::Experiment(experiment_ask_record(ask)),
        Ask::Playbook(ask) => AskRecord::Playbook(playbook_ask_record(ask)),
        Ask::Notice(ask) => AskRecord::Notice(notice_ask_record(ask)),
        Ask::AdoptRules(text) => AskRecord::AdoptRules(text_record(text)),
    }
}

fn ask_of(record: AskRecord) -> Result<Ask, ReadError> {
    Ok(match record {
        AskRecord::Apply { digest, desired } => Ask::Apply {
            digest,
            desired: Box::new(desired_of(*desired)?),
        },
        AskRecord::Pause => Ask::Pause,
        AskRecord::Resume => Ask::Resume,
        AskRecord::Stop => Ask::Stop,
        AskRecord::InjectFault(spec) => Ask::InjectFault(spec_of(spec)?),
        AskRecord::ClearFault { fault } => Ask::ClearFault { fault },
        AskRecord::Switchover { database, region } => Ask::Switchover {
            database: database.parse()?,
            to: region.parse()?,
        },
        AskRecord::Solo { database } => Ask::Solo {
            database: database.parse()?,
        },
        AskRecord::Failover {
            database,
            host,
            accepts_loss,
        } => Ask::Failover {
            database: database.parse()?,
            to: host.parse()?,
            accepts_loss,
        },
        AskRecord::Upgrade(program) => Ask::Upgrade {
            program: program_of(program),
        },
        AskRecord::Incident(ask) => Ask::Incident(incident_ask_of(ask)?),
        AskRecord::Drill(ask) => Ask::Drill(drill_ask_of(ask)?),
        AskRecord::Experiment(ask) => Ask::Experiment(experiment_ask_of(ask)?),
        AskRecord::Playbook(ask) => Ask::Playbook(playbook_ask(ask)?),
        AskRecord::Notice(ask) => Ask::Notice(notice_ask_of(ask)?),
        AskRecord::AdoptRules(text) => Ask::AdoptRules(rules_text_of(text)),
    })
}
