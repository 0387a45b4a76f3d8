//! How chaos documents that were written elsewhere mean this platform, and how deep a fault may reach.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use crate::name::ServiceName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chaos {
    /// Namespaces that stand for this platform, besides its own name.
    pub namespaces: BTreeSet<String>,
    pub inner_wires: InnerWires,
    /// Labels that instances of a service have for the sake of such documents.
    pub labels: BTreeMap<ServiceName, BTreeMap<String, String>>,
}

/// Whether what goes on within a region runs through a wire as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InnerWires {
    /// Services reach the server on their own host straight.
    #[default]
    Off,
    /// A service reaches the server on its own host through a door, so that it can be slowed or cut off alone.
    On,
}
