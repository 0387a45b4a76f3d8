//! What stands on disk about processes, wires and faults.
//!
//! A process that must outlive its parent is described by two files: a *spec*, written by whoever wants
//! it, and a *state*, replaced atomically by the process that looks after it (the shim, the wire). A
//! reader that comes back after a crash trusts neither a pid nor a name: a process is an *identity*, its
//! pid together with the tick at which it started.
//!
//! Every shim keeps its state somewhere below `DATA/hosts/HOST/` in a file whose name ends in
//! `state.json` (`instances/NAME/state.json`, `databases/DB/postgres-state.json`): that is how all
//! processes of a host are found when the host is to be frozen or crashed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of every form in this file.
pub const VERSION: u32 = 1;

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between boot and the start of the process.
    pub start_ticks: u64,
}

// ---- shim ------------------------------------------------------------------------------------------

/// What `mainstay shim SPEC.json` runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShimSpec {
    pub version: u32,
    /// `HOST/NAME`.
    pub instance: String,
    pub command: Vec<String>,
    /// The whole environment of the child; nothing is inherited, but `PATH` has a default.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables of the child with a secret in them, put together as it starts: this specification has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretVariable>,
    pub directory: PathBuf,
    /// Name of the user to become; possible for root only. Absent: the user of the shim.
    #[serde(default)]
    pub user: Option<String>,
    pub log: LogSpec,
    /// Where the shim keeps its [`ShimState`]. Its identity lock stands beside it, with `.lock` appended.
    pub state: PathBuf,
    pub stop: StopSpec,
    /// Which version of the wish this is; a shim of a lower generation is replaced.
    #[serde(default)]
    pub generation: u64,
}

/// What `mainstay confine` becomes, and what that may do. Read once, by the program of the host that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfineSpec {
    pub version: u32,
    /// An absolute path.
    pub program: String,
    pub arguments: Vec<String>,
    /// The only folder in which it may write.
    pub place: PathBuf,
    /// Paths that it may read beside the system's programs and libraries.
    #[serde(default)]
    pub reads: Vec<PathBuf>,
    /// TCP ports that it may connect to.
    #[serde(default)]
    pub connects: Vec<u16>,
    /// Processor time of one process of it.
    pub processor_seconds: u64,
    /// User and group to become; possible for root only. Absent: those of whoever starts it.
    #[serde(default)]
    pub user: Option<u32>,
}

/// What the file holds, between two texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretVariable {
    pub before: String,
    pub file: PathBuf,
    pub after: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSpec {
    pub path: PathBuf,
    /// Size at which the file is renamed to `path.1`.
    pub max_bytes: u64,
    /// How many renamed files are kept.
    pub keep: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopSpec {
    pub signal: StopSignal,
    /// After this every descendant gets SIGKILL.
    pub grace_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    Term,
    Int,
    Quit,
}

/// What the shim knows of its child; replaced atomically, and durably once the child has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimState {
    pub version: u32,
    pub instance: String,
    pub shim: ProcessIdentity,
    pub child: Option<ProcessIdentity>,
    pub phase: ShimPhase,
    pub exit: Option<ProcessExit>,
    pub started_wall_ms: u64,
    #[serde(default)]
    pub exited_wall_ms: Option<u64>,
    #[serde(default)]
    pub generation: u64,
    /// Bytes of output that could not be written to the log and were dropped.
    #[serde(default)]
    pub log_dropped_bytes: u64,
    /// Drawn for each launch and put into the environment of the child (`MAINSTAY_LAUNCH`), so that a
    /// family is found even after its shim was killed.
    #[serde(default)]
    pub launch: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShimPhase {
    Starting,
    Running,
    Stopping,
    Exited,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessExit {
    Code(i32),
    Signal(i32),
    /// The child never ran: the program is missing, the user unknown.
    Failed(String),
}

// ---- instances under supervision -------------------------------------------------------------------

/// One process that a node keeps running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    pub shim: ShimSpec,
    #[serde(default)]
    pub probes: ProbesSpec,
    #[serde(default)]
    pub restart: RestartSpec,
    /// How long after leaving routing the stop signal is sent.
    #[serde(default)]
    pub drain_ms: u64,
    /// Lower starts first and stops last.
    #[serde(default)]
    pub order: u32,
    /// Carried to the status unread: service, database, kind.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What a relay is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    pub version: u32,
    pub listen: SocketAddr,
    /// Where `NAME:PORT` is, as seen from here.
    pub ways: BTreeMap<String, SocketAddr>,
    /// A file with what the one process that may ask must know.
    pub secret: PathBuf,
}

/// Under this name a process shows its relay's secret.
pub const RELAY_USER: &str = "member";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbesSpec {
    #[serde(default)]
    pub startup: Option<ProbeSpec>,
    #[serde(default)]
    pub readiness: Option<ProbeSpec>,
    #[serde(default)]
    pub liveness: Option<ProbeSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSpec {
    pub check: ProbeCheck,
    pub period_ms: u64,
    pub timeout_ms: u64,
    pub success_threshold: u32,
    pub failure_threshold: u32,
}

impl ProbeSpec {
    pub fn new(check: ProbeCheck) -> Self {
        Self {
            check,
            period_ms: 1_000,
            timeout_ms: 1_000,
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ProbeCheck {
    /// Any status from 200 to 399 passes.
    Http {
        address: SocketAddr,
        path: String,
        /// Over TLS, by whoever proves this name, and proving its own; in the clear if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The same over a Unix socket.
    Socket { socket: PathBuf, path: String },
    /// The connection is accepted.
    Tcp { address: SocketAddr },
    /// The program leaves with code 0.
    Exec { command: Vec<String> },
}

/// Exponential back-off and the verdict that ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartSpec {
    pub initial_ms: u64,
    pub maximum_ms: u64,
    /// Having run this long, an instance starts again with the first delay.
    pub reset_after_ms: u64,
    /// So many exits within the window are a crash loop.
    pub crash_loop_exits: u32,
    pub crash_loop_window_ms: u64,
}

impl Default for RestartSpec {
    fn default() -> Self {
        Self {
            initial_ms: 100,
            maximum_ms: 30_000,
            reset_after_ms: 30_000,
            crash_loop_exits: 5,
            crash_loop_window_ms: 60_000,
        }
    }
}

/// What a node says of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// `HOST/NAME`.
    pub instance: String,
    pub generation: u64,
    /// `waiting|launching|starting|ready|unready|draining|stopping|stopped|crash_loop|held`.
    pub phase: String,
    pub ready: bool,
    pub restarts: u64,
    pub process: Option<ProcessIdentity>,
    /// Why it is in this phase, in words for a person.
    pub why: String,
    pub since_wall_ms: u64,
    pub last_exit: Option<ProcessExit>,
    pub log: PathBuf,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How a node was started, so that a guardian can start it again: `DATA/hosts/HOST/node/launch.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRecord {
    pub version: u32,
    pub host: String,
    pub region: String,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub directory: PathBuf,
    /// The node that wrote this.
    pub process: ProcessIdentity,
    /// Where the output of a node that a guardian starts goes.
    pub log: PathBuf,
}

// ---- wires -----------------------------------------------------------------------------------------

/// What `mainstay wire SPEC.json` relays: all doors through which one region reaches another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireSpec {
    pub version: u32,
    /// The region whose processes connect.
    pub from: String,
    /// The region whose processes are reached.
    pub to: String,
    pub doors: Vec<WireDoor>,
    /// What holds without any fault: the distance of the regions.
    #[serde(default)]
    pub shape: WireShape,
    /// Where the wire keeps its [`WireState`]; its identity lock stands beside it, with `.lock` appended.
    pub state: PathBuf,
    /// Unix socket for control; a short path (107 bytes at most).
    pub control: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireDoor {
    pub listen: SocketAddr,
    pub target: SocketAddr,
    /// The host behind the target, so that one host of a region can be cut alone.
    pub host: String,
}

/// What a wire does to bytes, the same in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WireShape {
    /// One way: half of the round trip.
    pub delay_us: u64,
    /// Up to so much more, drawn per piece; pieces never overtake each other.
    pub jitter_us: u64,
    /// Per connection and direction; absent: as fast as it goes.
    pub bytes_per_second: Option<u64>,
}

/// What the wire does beyond its spec, and until when; replaced atomically.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireState {
    pub version: u32,
    pub from: String,
    pub to: String,
    /// Absent while no wire runs: a condition may be set before the wire is.
    pub wire: Option<ProcessIdentity>,
    pub conditions: Vec<WireCondition>,
}

/// A departure from normal that ends by itself. Several may hold at once; the worst of each wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireCondition {
    /// The fault it belongs to; setting the same id again replaces it.
    pub id: String,
    pub effect: WireEffect,
    /// Only doors to these hosts; absent: all.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// Only doors to this port of these hosts; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub deadline_boottime_ns: u64,
    /// A condition of an earlier boot is over.
    pub boot_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireEffect {
    /// Silence both ways: no connection is made, established ones stall and go on when it ends.
    Cut,
    /// As `Cut`; when it ends, connections from before are reset, since a crashed host has forgotten them.
    Crash,
    /// Nothing passes from the connecting to the reached region; no connection is made either.
    CutForward,
    /// Nothing passes back; no connection is made either.
    CutBackward,
    /// Added to the shape of the spec.
    Delay { delay_us: u64, jitter_us: u64 },
    /// Every connection, established or new, is reset.
    Reset,
    /// Added to what each direction is subject to.
    Shape {
        forward: WireLane,
        backward: WireLane,
    },
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WireLane {
    /// Nothing passes.
    pub cut: bool,
    pub delay_us: u64,
    /// Up to so much more, drawn per piece; pieces never overtake each other.
    pub jitter_us: u64,
    /// How much of one draw is taken over into the next, in percent.
    pub correlation_percent: u8,
    /// Of a million packets so many are lost, and sent again.
    pub loss_ppm: u32,
    pub bytes_per_second: Option<u64>,
}

/// One line on the control socket of a wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireRequest {
    Set(WireCondition),
    Clear { id: String },
    Status,
}

/// The answer to it, one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireAnswer {
    Status(WireStatus),
    Refused { reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireStatus {
    pub state: WireState,
    pub connections: u64,
    pub accepted: u64,
    pub bytes_forward: u64,
    pub bytes_backward: u64,
    /// Doors that could not be opened, with the reason.
    pub closed_doors: BTreeMap<String, String>,
}

// ---- faults ----------------------------------------------------------------------------------------

/// A fault that Mainstay made, and how it ends: `DATA/faults/ID.json`.
///
/// The record is durable and its guardian runs before anything is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    pub version: u32,
    pub id: String,
    pub kind: FaultKind,
    /// `HOST/INSTANCE`, `HOST`, `REGION`, or `REGION` and the second one in `parameters`.
    pub target: String,
    #[serde(default)]
    pub parameters: FaultParameters,
    pub injected_wall_ms: u64,
    pub deadline_boottime_ns: u64,
    pub deadline_wall_ms: u64,
    pub boot_id: String,
    pub state: FaultState,
    /// In this order.
    pub undo: Vec<FaultUndo>,
    /// Absent until it runs.
    pub guardian: Option<ProcessIdentity>,
    /// Why the last attempt to undo it failed.
    #[serde(default)]
    pub problem: Option<String>,
    /// Absent as long as it is not known to have been set, also when it is over.
    #[serde(default)]
    pub set_wall_ms: Option<u64>,
    #[serde(default)]
    pub undone_wall_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    ProcessKill,
    ProcessFreeze,
    HostCrash,
    HostFreeze,
    RegionCrash,
    RegionFreeze,
    Cut,
    Delay,
    ProcessDown,
    Loss,
    Throttle,
    Stress,
}

impl FaultKind {
    pub const ALL: [Self; 12] = [
        Self::ProcessKill,
        Self::ProcessFreeze,
        Self::HostCrash,
        Self::HostFreeze,
        Self::RegionCrash,
        Self::RegionFreeze,
        Self::Cut,
        Self::Delay,
        Self::ProcessDown,
        Self::Loss,
        Self::Throttle,
        Self::Stress,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessKill => "process-kill",
            Self::ProcessFreeze => "process-freeze",
            Self::HostCrash => "host-crash",
            Self::HostFreeze => "host-freeze",
            Self::RegionCrash => "region-crash",
            Self::RegionFreeze => "region-freeze",
            Self::Cut => "cut",
            Self::Delay => "delay",
            Self::ProcessDown => "process-down",
            Self::Loss => "loss",
            Self::Throttle => "throttle",
            Self::Stress => "stress",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultParameters {
    /// The other region of a cut or delay; absent for a cut: all others.
    pub to: Option<String>,
    /// Only bytes from target to `to` are lost.
    pub one_way: bool,
    /// One way, added in both directions.
    pub delay_us: u64,
    pub jitter_us: u64,
    #[serde(skip_serializing_if = "FaultDetail::is_at_rest")]
    pub detail: FaultDetail,
}

/// What a fault says besides; what its kind has no use for is at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_ppm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<FaultDoor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_workers: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_load_percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl FaultDetail {
    pub fn is_at_rest(&self) -> bool {
        *self == Self::default()
    }
}

/// Of all traffic between two regions, only that with this port of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultDoor {
    pub host: String,
    /// Where the host listens.
    pub port: u16,
    pub ways: FaultWays,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultWays {
    /// What is sent to the host.
    Towards,
    /// What the host sends back.
    Back,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultState {
    /// The record stands, the fault may or may not have been set: treated as set.
    Prepared,
    Set,
    Undone,
}

/// Each can be done twice without harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultUndo {
    /// Takes the condition with the fault's id from this wire.
    HealWire { state: PathBuf, control: PathBuf },
    /// SIGCONT for these, if they are still the same processes.
    Thaw { processes: Vec<ProcessIdentity> },
    /// SIGCONT for whatever of the host stands still.
    ThawHost { host: String },
    /// Starts the node again, unless one runs.
    StartNode { launch: PathBuf },
    /// SIGKILL for these, if they are still the same processes.
    End { processes: Vec<ProcessIdentity> },
    /// From now on the node may start this instance again.
    Release { instance: String },
}

/// A fault in force, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStatus {
    pub id: String,
    pub kind: FaultKind,
    pub target: String,
    pub parameters: FaultParameters,
    pub state: FaultState,
    pub injected_wall_ms: u64,
    pub remaining_ms: u64,
    pub guardian_alive: bool,
    pub problem: Option<String>,
}
