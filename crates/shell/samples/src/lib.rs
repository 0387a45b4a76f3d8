//! Recent samples on disk and in memory: a log that survives a kill, packed chunks, and what a query selects.
//!
//! Think of a desk with a notebook. Whatever comes in is written into the notebook first, line by line
//! (`log`); then it is added to the packed row of its series, which stays at hand (`head`). When the
//! notebook grows thick, the finished rows go into a folder that is never written again (`block`), and a new
//! notebook begins with the unfinished ones. After a kill the folders and the notebook are read, and a line
//! that was torn off in the middle counts as never written.
//!
//! ```text
//! samples/log/00000007          lines since the last folder
//! samples/blocks/00000006       finished chunks of all series, checksummed, written once
//! ```
//!
//! What [`Head::append`] has returned for survives the death of the process. It survives the death of the
//! machine from the next [`Head::sync`] on.

mod block;
mod head;
mod log;
mod wire;

pub use head::{Appended, Head, Limits, Longer, Opened, SamplesError, View};
