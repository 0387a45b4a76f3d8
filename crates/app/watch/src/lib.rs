//! The watch: one process that asks targets, keeps what they say, follows rules, and answers questions.
//!
//! Think of the officer of the watch on a bridge. Instruments are read at their own beat (`mainstay_scraper`);
//! readings go into the log (`desk`, over `mainstay_samples`); at every bell the standing orders are gone
//! through (`duty`, over `mainstay_rules`), and what is wrong is written on the board that the next watch
//! finds (`board`): alerts keep their age over a restart. Whoever comes up and asks is answered from the log
//! (`api`), in Prometheus's own form. Everything happens on one thread, in [`run`]'s loop, but for the orders: they are
//! gone through by another `hand`, so that a long list of them keeps nobody from reading the instruments.
//!
//! Where somebody else reads the instruments (`source`), the log has only what the orders themselves wrote, and questions are
//! put together from both (`far`, `beyond`).
//!
//! Alarms that others raise come in at a door of their own (`inbox`), and stand on the same board. What they want silenced
//! (`silences`) is for the node of this host to keep.
//!
//! No order is gone through before every instrument was read once: a watch that has just come up has not
//! seen that a fire is out.

mod answer;
mod api;
mod beyond;
mod board;
mod desk;
mod doors;
mod duty;
mod far;
mod figures;
mod form;
mod hand;
mod inbox;
mod moment;
mod run;
mod shown;
mod silences;
mod source;
mod world;

pub use run::{run, run_until};
pub use source::SILENT as SOURCE_SILENT;
