//! An open-loop driver of order flow that keeps its own evidence.
//!
//! Think of a crowd of customers with a notary. The *flow* says what the crowd does and when, whatever the platform
//! does meanwhile: an order planned for 10:00:00.000 is due then, and its latency counts from then, even when the answer
//! to the one before is late ("open loop"; a driver that waits for answers before it sends measures its own patience).
//! Each simulated *client* has a home region and accounts of its own; when its gateway is gone, silent or unable, it goes
//! to the next region and says the same thing with the same reference. The notary is the *witness log*: an intent is
//! written before it is sent, each answer as it came. The auditor later compares these files with the database, so they
//! are the customers' memory of what they were promised.
//!
//! ```text
//!   flow (recorded | generated) ── plan ──► pacer ──► crowd ──► transport ──► gateways of all regions
//!                                                       │ │
//!                                            witness log ┘ └ measure ──► report
//! ```
//!
//! The driver judges itself too: if it could not keep its own plan ([`measure::LagLimits`]) it refuses a verdict, since
//! the figures would then describe the driver.
//!
//! It knows the venue's HTTP API and nothing else of the platform.

pub mod arguments;
pub mod clock;
pub mod crowd;
pub mod flow;
pub mod marks;
pub mod measure;
pub mod pacer;
pub mod plan;
pub mod report;
pub mod retry;
pub mod run;
pub mod transport;
pub mod witness;

/// Exit codes, for scripts.
pub mod exit {
    /// Every intent was answered in time.
    pub const ANSWERED: u8 = 0;
    /// At least one intent was not answered within its deadline, or was refused as malformed.
    pub const FAILED: u8 = 1;
    /// The run could not be made: bad arguments, unreadable flow, no gateway answered while funding.
    pub const IMPOSSIBLE: u8 = 2;
    /// The driver itself lagged behind its plan, so there is no verdict.
    pub const LAGGED: u8 = 3;
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("gateway '{0}': expected REGION=http://127.x.y.z:port")]
    GatewayForm(String),
    #[error(
        "gateway '{0}': only loopback addresses (127.0.0.0/8) are accepted; this program must never reach a real venue"
    )]
    NotLoopback(String),
    #[error("region '{0}' is given two gateways; give each region once")]
    RegionTwice(String),
    #[error("{0}")]
    Limit(String),
    #[error("read flow {path}")]
    FlowRead {
        path: String,
        source: std::io::Error,
    },
    #[error("flow {path} line {line}: {problem}")]
    FlowLine {
        path: String,
        line: u64,
        problem: String,
    },
    #[error("write witness log {path}")]
    Witness {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "witness folder {0} already holds files; evidence of one run is never mixed with another's: give an empty folder"
    )]
    WitnessNotEmpty(String),
    #[error("read marks {path} line {line}: {problem}")]
    Marks {
        path: String,
        line: usize,
        problem: String,
    },
    #[error("write result {path}")]
    Result {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "funding failed: {0} deposits were not accepted; is the cell '{1}' served by these gateways?"
    )]
    Funding(u64, String),
    #[error("start {operation}")]
    Start {
        operation: &'static str,
        source: std::io::Error,
    },
}
