//! That a page of this folder was damaged, for as long as the folder is the same.
//!
//! A server counts pages whose checksum was wrong, and forgets the count when it is stopped at once, which is how a damaged
//! primary that hands over may end. The folder is no better for it: what was counted is written down beside it, with the
//! number of the filling, and holds until the folder is filled anew.

use std::path::PathBuf;

use crate::data;
use crate::setup::{Layout, Setup};

fn place(layout: &Layout) -> PathBuf {
    layout.folder.join("damaged")
}

/// Writes down that the folder as it is now has a damaged page. A failure to do so is told, and tried again at the next
/// look.
pub fn note(setup: &Setup) {
    let Some(incarnation) = data::incarnation(&setup.layout.pgdata) else {
        return;
    };
    if is_known(setup) {
        return;
    }
    let path = place(&setup.layout);
    let text = format!("{incarnation}\n");
    match mainstay_rt::files::write_atomic(&path, text.as_bytes()) {
        Ok(()) => tracing::warn!("a page of the data folder is damaged: it is to be filled anew"),
        Err(error) => {
            let path = path.display().to_string();
            tracing::warn!(path, %error, "that a page is damaged is not written down");
        }
    }
}

/// Whether this very folder was found damaged.
pub fn is_known(setup: &Setup) -> bool {
    let noted = std::fs::read_to_string(place(&setup.layout)).unwrap_or_default();
    let incarnation = data::incarnation(&setup.layout.pgdata);
    incarnation.is_some_and(|incarnation| noted.trim() == incarnation.to_string())
}
