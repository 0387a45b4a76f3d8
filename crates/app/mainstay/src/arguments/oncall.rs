//! `mainstay oncall …` and `mainstay silence …`

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Act, Look, duration};

const SILENCE_HELP: &str = "\
While it lasts nobody is called for incidents of which everything that stands fits all of it. They are opened, shown and
journalled all the same; when it ends, whoever is on call is called for what is still open.

  mainstay silence add host=use1-a --for 2h --reason 'disks are replaced'
  mainstay silence add alertname=HostDiskNearlyFull host!=use1-a --for 1d --reason 'known, ticket 4711'
  mainstay silence add incident=i3 --for 30m --reason 'the call is running'
  mainstay silence add thing=database/ledger --for 1h --reason 'rehearsal'

NAME is a label of the alerts, or incident, severity or thing.";

#[derive(Debug, Subcommand)]
pub enum Oncall {
    /// Who has the turn now, until when, and who is next; silences; incidents that nobody has acknowledged yet
    Show(Look),
}

#[derive(Debug, Subcommand)]
pub enum Silence {
    /// Call nobody for what fits, for a while
    #[command(after_help = SILENCE_HELP)]
    Add(Add),
    /// Those that last
    List(Look),
    /// End one now
    End(End),
}

#[derive(Debug, Args)]
pub struct Add {
    /// NAME=VALUE or NAME!=VALUE; all of them must fit
    #[arg(required = true, value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// How long it lasts
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub lasts: Duration,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct End {
    /// Such as s1
    pub id: String,
    #[command(flatten)]
    pub act: Act,
}
