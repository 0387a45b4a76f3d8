//! A drill as it was read.

use std::time::Duration;

use mainstay_yaml::Place;

#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub name: String,
    pub title: String,
    pub severe: String,
    pub assumptions: Vec<String>,
    pub environment: String,
    pub approver: String,
    pub tester: String,
    /// Who has what was found wanting mended, and within what time it is tested again.
    pub owner: String,
    pub retest: Duration,
    pub schedule: Option<Schedule>,
    pub seed: Option<u64>,
    pub retention: Duration,
    /// Of the document and of its table.
    pub objectives: Vec<Objective>,
    pub budgets: Vec<Budget>,
    pub limit: Duration,
    pub loads: Vec<Load>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub cron: String,
    pub within: Duration,
    /// Whoever leads starts it when it is due.
    pub unattended: bool,
}

/// Less than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Transactions(u64),
    Time(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    pub service: String,
    pub rto: Option<Duration>,
    pub rpo: Option<Loss>,
    /// Why it is not measured.
    pub unmeasured: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    pub objective: String,
    pub left_at_least: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub name: String,
    pub services: Vec<String>,
    pub source: Source,
    pub per_region: bool,
    pub within: Duration,
    pub in_a_row: usize,
    pub audit: Option<Audit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Program {
        command: Vec<String>,
        each_gateway: Vec<String>,
    },
    Probe {
        database: String,
        port: u16,
        rate: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub command: Vec<String>,
    pub each_witness: String,
    pub database: String,
    pub port: u16,
    pub report: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub id: String,
    pub place: Place,
    pub limit: Duration,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Wait(Wait),
    Lose {
        region: String,
        lasts: Duration,
        clients: bool,
    },
    Inject {
        kind: String,
        target: String,
        lasts: Duration,
    },
    Heal,
    Switchover {
        database: String,
        to: String,
    },
    FailBack {
        database: String,
        to: String,
    },
    Person {
        role: String,
        does: String,
    },
    BackUp {
        database: String,
        prove: bool,
    },
    CorruptBackup {
        database: String,
    },
    Restore {
        database: String,
        expect: Expect,
        services: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Refused,
    Restored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    Time(Duration),
    Primary {
        database: String,
        region: String,
    },
    Away {
        database: String,
        region: String,
    },
    Whole,
    Served(usize),
    Query(String),
    Backup {
        database: String,
        count: usize,
        proven: bool,
    },
}

impl Step {
    /// For people, and for the journal.
    pub fn what(&self) -> String {
        match &self.act {
            Act::Wait(wait) => wait.what(),
            Act::Lose {
                region,
                lasts,
                clients,
            } => {
                let with = if *clients { ", its clients too" } else { "" };
                format!("lose region {region} for {}{with}", written(*lasts))
            }
            Act::Inject {
                kind,
                target,
                lasts,
            } => format!("inject {kind} {target} for {}", written(*lasts)),
            Act::Heal => "end every fault of this drill, and see that each is undone".to_owned(),
            Act::Switchover { database, to } => format!("move the primary of {database} to {to}"),
            Act::FailBack { database, to } => {
                format!("move the primary of {database} back to {to}")
            }
            Act::Person { role, does } => format!("{role}: {does}"),
            Act::BackUp { database, prove } => {
                let then = if *prove { ", and prove it" } else { "" };
                format!("make a base backup of {database}{then}")
            }
            Act::CorruptBackup { database } => {
                format!(
                    "copy the archive of {database}, flip a byte of its newest backup in the copy"
                )
            }
            Act::Restore {
                database, expect, ..
            } => match expect {
                Expect::Refused => format!(
                    "restore the newest backup of {database} from the copy: it must be refused, with a reason"
                ),
                Expect::Restored => {
                    format!(
                        "restore the next older backup of {database} from the copy, and compare it"
                    )
                }
            },
        }
    }

    pub const fn is_by_person(&self) -> bool {
        matches!(self.act, Act::Person { .. })
    }

    /// Whether clients notice it.
    pub const fn hurts(&self) -> bool {
        matches!(
            self.act,
            Act::Lose { .. } | Act::Inject { .. } | Act::Switchover { .. } | Act::FailBack { .. }
        )
    }
}

impl Wait {
    fn what(&self) -> String {
        match self {
            Self::Time(time) => format!("wait {}", written(*time)),
            Self::Primary { database, region } => {
                format!("wait until the primary of {database} is open in {region}")
            }
            Self::Away { database, region } => {
                format!("wait until the primary of {database} is open outside {region}")
            }
            Self::Whole => {
                "wait until no fault is in force, every host answers, every replica counts"
                    .to_owned()
            }
            Self::Served(count) => {
                format!("wait until {count} requests of each load in a row were good")
            }
            Self::Query(query) => format!("wait until {query} has a result that is not 0"),
            Self::Backup {
                database,
                count,
                proven,
            } => {
                let how = if *proven { "proven " } else { "" };
                format!("wait until {database} has {count} {how}backups")
            }
        }
    }
}

/// A time as one writes it.
pub fn written(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let whole = units
        .iter()
        .find(|(_, scale)| ms >= *scale && ms.is_multiple_of(*scale));
    match whole {
        Some((unit, scale)) => format!("{}{unit}", ms / scale),
        None => format!("{ms}ms"),
    }
}
