//! What tests with real processes share.
//!
//! A process test borrows four things from the machine and must give all of them back, also when it panics half-way:
//! an *address block* of the loopback network that no other test uses ([`address`]), *patience* with a limit instead of
//! sleep ([`wait`]), *children* that die with the value that holds them ([`child`]), and throw-away servers: *PostgreSQL*
//! ([`postgres`]), *etcd* ([`etcd`]) and object stores ([`objects`]). A whole *platform* of the program is asked through [`platform`], and must have kept its [`secrets`]; its database is asked through [`asker`]. What speaks TLS with a server believes by [`tls`]; what strangers get at a platform's ports is seen by [`ports`]. Every guard cleans up in
//! `Drop`, by process id, never by name.

pub mod address;
pub mod asker;
pub mod child;
pub mod etcd;
pub mod objects;
pub mod platform;
pub mod ports;
pub mod postgres;
pub mod secrets;
pub mod tls;
pub mod wait;
