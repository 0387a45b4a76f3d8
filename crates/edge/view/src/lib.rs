//! The status: what a platform is like right now, and why it is not as it should be.
//!
//! A pure function of what was gathered: [`status`] turns the answers of nodes, keepers and gateways into a
//! [`Status`](mainstay_record::status::Status), and [`render`] turns that into text. Three rules hold
//! throughout:
//!
//! - Every fact has its age, and one that is too old counts as missing.
//! - What is missing is never health: it is *unknown*, and says whom to ask.
//! - Every verdict but "healthy" has a [`Reason`](mainstay_record::status::Reason), which is an enum first and a
//!   text with a next step second ([`reason`]).
//!
//! The platform file says what should be there, so that what is absent is seen too.

mod archives;
mod databases;
mod findings;
mod gateways;
mod gathered;
mod hosts;
mod leadership;
pub mod reason;
mod render;
mod services;
mod status;
#[cfg(test)]
mod tests;
mod watches;

pub use gathered::{Gathered, HostAnswers};
pub use render::{Palette, beside_lines, harmless, render};
pub use status::status;
