//! One host: supervises its processes, carries a kernel, answers commands.
//!
//! A node is a house with many rooms and one hall. In the hall ([`run()`]) everything that happens passes
//! once: the journal has something new, a process moved, an order is to be carried out, an operator calls.
//! The kernel lives behind a door of its own ([`deputy`]), because its IO blocks. Nothing that serves
//! traffic lives here: killed or frozen, a node takes nothing with it, and the next one adopts what runs.
//!
//! - [`place`], [`prepare`], [`context`]: which platform, where, and what must stand before anything starts.
//! - [`machine`]: power and cables, where a whole platform runs on one machine.
//! - [`workloads`], [`gateways`], [`stop`]: what shall run here, who has not taken it up yet, and how it ends.
//! - [`sight`], [`reports`], [`facts`], [`figures`], [`troubles`]: what is seen, what cannot be done, and whom it is told.
//! - [`alerts`], [`loops`]: what the host's watch and its supervision say, compared with what the journal says.
//! - [`program`], [`upgrade`]: which build of Mainstay the host runs, and its turn to take another.
//! - [`incidents`], [`oncall`]: incidents, and who is called for them, for programs, over the socket.
//! - [`control`]: the sockets. [`effects`], [`deeds`], [`experiments`]: what the kernel ordered.
//! - [`coordination`]: where the journal stands. [`kernel_runner`], [`events`]: the kernel over the journal, and the journal's words for its events.

mod alerts;
mod context;
mod control;
pub mod coordination;
mod deeds;
mod deputy;
mod drills;
mod effects;
pub mod events;
mod experiments;
mod facts;
mod figures;
mod gates;
mod gateways;
mod incidents;
pub mod kernel_runner;
mod loops;
pub mod machine;
mod measure;
mod oncall;
pub mod place;
mod playbooks;
pub mod prepare;
pub mod program;
mod replicas;
mod reports;
mod run;
mod sight;
mod stop;
mod troubles;
mod upgrade;
mod workloads;

pub use context::{digest_of, keep_file};
pub use control::user_name;
pub use experiments::values;
pub use run::run;
pub use stop::{leftovers, stop_without_node};
pub use upgrade::is_up;
