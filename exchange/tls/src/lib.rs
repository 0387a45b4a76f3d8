//! How programs of the exchange prove who they are, and ask others to.
//!
//! Whoever starts a program lays two files beside it: its *identity* (a private key and its certificate) and the *roots*
//! to believe. A door with an identity lets in only who shows a certificate by one of those roots. Certificates live for
//! hours: when a file changes, new connections are made with what it holds now, and open ones go on. What cannot be used
//! is told, and the last good identity stays.

mod caller;
mod identity;
mod listener;
mod turns;

pub use caller::Caller;
pub use identity::{Identity, IdentityError};
pub use listener::{Guarded, Stream};
