//! Versioned forms of what is stored and sent: journal entries, messages, configurations.

pub mod backup;
pub mod drill;
pub mod event;
pub mod experiment;
pub mod gateway;
pub mod identity;
pub mod incident;
pub mod journal;
pub mod keeper;
pub mod keeper_message;
pub mod node;
pub mod notice;
pub mod playbook;
pub mod process;
pub mod rules;
pub mod status;
pub mod watch;
