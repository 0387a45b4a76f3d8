//! The kernel told as stories: signals in, events and effects out; and properties that hold for every story.
#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

mod acts;
mod carried;
mod drills;
mod experiments;
mod gates;
mod guards;
mod incidents;
mod kills;
mod playbooks;
mod properties;
mod replicas;
mod rules;
mod service_actions;
mod stage;
mod transcripts;
mod voyage;
mod watch;
