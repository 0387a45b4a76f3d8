//! Prints the journal's rates on this machine as one line of JSON: `journal-rates FOLDER [PARTS]`.
//!
//! FOLDER must not exist; it is created on the disk that is measured, and removed.

use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = || io::Error::other("usage: journal-rates FOLDER [PARTS]");
    let folder = arguments.next().map(PathBuf::from).ok_or_else(usage)?;
    let parts = match arguments.next() {
        None => 200,
        Some(text) => text
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(usage)?,
    };
    if folder.exists() {
        let message = format!("{} exists: choose a new folder", folder.display());
        return Err(io::Error::other(message));
    }
    let rates = mainstay_storage::rates(&folder, parts);
    std::fs::remove_dir_all(&folder)?;
    println!(
        "{}",
        serde_json::to_string(&rates?).map_err(io::Error::other)?
    );
    Ok(())
}
