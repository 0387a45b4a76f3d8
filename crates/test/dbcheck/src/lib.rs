//! Does a PostgreSQL service keep its word while it is being broken?
//!
//! Four clients write through the service's ordinary entrance and note what they are about to do before they
//! do it, and what they were told afterwards ([`history`]). Two workloads in the manner of Jepsen's *set* and
//! *bank* tests run at once: unique elements are added, and money is moved between accounts whose total never
//! changes ([`clients`]). Clients are as rude as real ones: they cancel queries, hang up, and lose patience
//! ([`session`]). When all is healed the whole content is read once ([`content`]), and a pure function compares
//! it with the history ([`judge`]).
//!
//! Every attempt to write has one of three outcomes. *Acknowledged*: a clean success; it must be there.
//! *Refused*: the server said that the transaction was aborted, or its commit was never sent; it must not be
//! there. *Unknown*: everything else, a success with a warning included; it may go either way, and is counted.
//!
//! Nothing here knows a keeper, a gateway or a node: the same program checks any service that speaks
//! PostgreSQL's protocol. It is itself checked by wrongs that are planted into the real content ([`plant`]).

pub mod clients;
pub mod content;
pub mod dice;
pub mod history;
pub mod judge;
pub mod plant;
pub mod report;
pub mod session;
pub mod writer;
