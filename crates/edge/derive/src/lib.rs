//! From the model to the configurations that keepers, gateways and supervised processes start from.

mod layout;

pub use layout::{Layout, Secret};
