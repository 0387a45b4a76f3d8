//! Units that every ring shares: terms, epochs, log positions, instants.
//!
//! A number without its unit is a bug waiting for a tired reader. Each unit here is a newtype with the
//! few operations that make sense for it; what a type does not offer (adding two instants, comparing a
//! term with an epoch) is an error that the compiler finds.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

extern crate alloc;

mod identity;
mod instant;
mod log_position;
mod number;

pub use identity::{Incarnation, ParseIncarnationError, SystemIdentifier};
pub use instant::Instant;
pub use log_position::{Lsn, ParseLsnError};
pub use number::{Epoch, Generation, Position, Term, Timeline};
