//! The only reader of clock and entropy, and what every shell needs of the operating system.
//!
//! Cores take time and chance as arguments. They come from here, and from nowhere else: a search for
//! the callers of [`clock`] and [`entropy`] finds every place where the outside world gets in. Beside
//! them stand the file operations that survive a crash in the middle ([`files`]), secrets in files ([`secret`]), the log ([`log`]), how an
//! error is told ([`error`]), what a process has used ([`usage`]) and the small HTTP that processes of one platform speak to each other ([`http`]).

pub mod clock;
pub mod entropy;
pub mod error;
pub mod files;
pub mod http;
pub mod log;
pub mod secret;
pub mod usage;
