//! Secrets stand in files that nobody else reads.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files;

const BYTES_MAX: u64 = 8_192;

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("read the secret in {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    #[error("{} can be read by others: it needs mode 0600", .0.display())]
    Open(PathBuf),
    #[error("{} holds no secret of one line", .0.display())]
    Form(PathBuf),
}

/// The one line of a file of mode 0600.
pub fn read(path: &str) -> Result<String, SecretError> {
    let path = Path::new(path);
    let text = text(path)?;
    let line = text.trim();
    if line.is_empty() || line.contains(['\n', '\r']) {
        return Err(SecretError::Form(path.to_path_buf()));
    }
    Ok(line.to_owned())
}

/// Every line of a file of mode 0600.
pub fn lines(path: &str) -> Result<Vec<String>, SecretError> {
    let text = text(Path::new(path))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn text(path: &Path) -> Result<String, SecretError> {
    let meta = path
        .metadata()
        .map_err(|error| SecretError::Read(path.to_path_buf(), error))?;
    if meta.mode() & 0o077 != 0 {
        return Err(SecretError::Open(path.to_path_buf()));
    }
    let bytes = files::read_limited(path, BYTES_MAX)
        .map_err(|error| SecretError::Read(path.to_path_buf(), error))?;
    Ok(String::from_utf8(bytes).unwrap_or_default())
}
