//! Prometheus rule files: read, checked, evaluated, tested and criticised.
//!
//! Think of a ship's standing orders. `file` reads them from whatever paper they come on (a plain file, a
//! ConfigMap, a `PrometheusRule`) and refuses what cannot be obeyed. `group` is the watch that goes through
//! them at each bell, in order, and writes down what it found; `alert` remembers for each call how long it
//! has been true, and can be put on paper and taken up again by the next watch. `template` fills in the
//! words that are shouted. `unit` plays a given day through and compares; `lint` is the old hand who reads
//! the orders and says which of them will fail on the night they are needed. `replay` goes through a night that was, by
//! other orders. `received` are the alarms that other ships raise.
//!
//! Nothing here reads a clock or a file: time and texts are arguments.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod alert;
pub mod file;
pub mod group;
pub mod lint;
pub mod received;
pub mod replay;
pub mod sight;
pub mod template;
pub mod unit;
