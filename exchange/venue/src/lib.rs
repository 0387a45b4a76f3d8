//! The trading venue: one writer per cell, nothing leaves before a clean commit.
//!
//! A notary's office. Clients hand in commands at the counter (`http`, `request`); the commands stand in line (`intake`);
//! one notary (`writer`) takes as many as wait, works out what each means (`exchange-engine`), enters all of them in the
//! register in one stroke (`batch`), and only when the register is safely in two places does anybody hear anything: the
//! answer, the refusal, the book, a balance, a metric. If it is not certain that the entry was made, the notary
//! says so, forgets everything, and reads the register again (`restore`, `activate`).
//!
//! Every host with a replica of the cell's database runs an instance. An instance serves while its *local* server is an
//! open primary, and stands by otherwise. It knows nothing of keepers, gateways or kernels: it sees a PostgreSQL, and a
//! lease file if one is configured.

pub mod activate;
pub mod answer;
pub mod answers;
pub mod batch;
pub mod bench;
pub mod chain;
pub mod clock;
pub mod control;
pub mod failure;
pub mod http;
pub mod inactive;
pub mod intake;
pub mod lease;
pub mod listener;
pub mod load;
pub mod metrics;
pub mod numeric;
pub mod openapi;
pub mod queries;
pub mod reader;
pub mod request;
pub mod restore;
pub mod schema;
pub mod sentinel;
pub mod serve;
pub mod session;
pub mod settings;
pub mod shared;
pub mod snapshots;
pub mod tls;
pub mod view;
pub mod writer;
