//! From the model to what every process is started with.
//!
//! A platform is one; its processes are many, and each is told only its own part: a keeper its replicas, a
//! gateway its routes, a wire its doors, a service its environment. Everything here is a pure function of the
//! platform and of where it runs ([`Machine`]): the same two give the same configurations, byte for byte, on
//! every host, so that two nodes never tell their processes different things.
//!
//! Addresses are written as the *reader* sees them: a host in its own region by its own address, one in another
//! region by the door that leads there. Paths come from [`Layout`], which is the only place that knows where
//! things are kept.
//!
//! Knows nothing of files: it names them, others write them.

mod archiver;
mod coordination;
mod environment;
mod gateway;
mod identity;
mod instance;
mod keeper;
mod layout;
mod machine;
mod objectives;
mod watch;
mod wire;

pub use archiver::archiver_config;
pub use coordination::{
    ETCD_INSTANCE, RELAY_INSTANCE, etcd_endpoints, etcd_instances, relay_config,
};
pub use environment::{service_environment, service_name_of};
pub use gateway::{Placements, Shares, gateway_snapshot};
pub use identity::{identities, identity_files, service_door};
pub use instance::{
    archiver_instance, gateway_instance, keeper_instance, service_instance, watch_instance,
};
pub use keeper::{APPLICATION_ROLE, KEEPER_ROLES, keeper_config};
pub use layout::{
    Layout, OBJECTIVES_FILE, WATCH_INSTANCE, archiver_instance_name, gateway_instance_name,
    keeper_instance_name, password_file_text,
};
pub use machine::{Machine, NODE_PORT, search_path};
pub use objectives::{BURN_ALERT, OBJECTIVE_PREFIX, objective_rules};
pub use watch::watch_config;
pub use wire::wire_specs;
