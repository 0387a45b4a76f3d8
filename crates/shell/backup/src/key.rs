//! The master key: the one thing that must be kept apart from the backups, and without which they are noise.
//!
//! It is drawn once, stands as 64 hexadecimal digits in a file of mode 0600, and seals nothing but data keys. Its
//! *fingerprint*, which says nothing about it, stands on every object, so that a wrong key is called wrong instead of
//! looking like damage.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
const FILE_LIMIT: u64 = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("read the master key {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("use the master key {}: it is not 64 hexadecimal digits", path.display())]
    Form { path: PathBuf },
    #[error("use the master key {}: others may read it; chmod 600 it", path.display())]
    Open { path: PathBuf },
    #[error("write the master key {}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "read the master key {}: it is gone, and {archives} in {stores} opens with it only; put its copy back there \
         (mode 0600). If it is lost for good, move those stores aside: the archive then begins anew with a new key",
        path.display()
    )]
    Lost {
        path: PathBuf,
        archives: String,
        stores: String,
    },
}

/// Which key sealed something: the first bytes of a hash of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Has no `Debug`, so that no log can hold it.
#[derive(Clone)]
pub struct MasterKey {
    pub(crate) bytes: [u8; KEY_BYTES],
}

impl MasterKey {
    /// # Errors
    /// When the file is missing, malformed, or readable by others.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        use std::os::unix::fs::PermissionsExt;
        let read = |source| KeyError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = std::fs::metadata(path).map_err(read)?.permissions().mode();
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(KeyError::Open { path });
        }
        let text = mainstay_rt::files::read_limited(path, FILE_LIMIT).map_err(read)?;
        let text = String::from_utf8_lossy(&text);
        let bytes = parse(text.trim()).ok_or_else(|| KeyError::Form {
            path: path.to_owned(),
        })?;
        Ok(Self { bytes })
    }

    /// One that nobody keeps yet.
    pub fn draw() -> Self {
        let mut bytes = [0; KEY_BYTES];
        mainstay_rt::entropy::fill(&mut bytes);
        Self { bytes }
    }

    /// Keeps a new one if the file does not exist. Of several that try, all get the same.
    ///
    /// # Errors
    /// When the file cannot be written, or is no key.
    pub fn read_or_create(path: &Path) -> Result<Self, KeyError> {
        if !path.exists() {
            let Self { bytes } = Self::draw();
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            match mainstay_rt::files::publish_new(path, format!("{text}\n").as_bytes()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    let path = path.to_owned();
                    return Err(KeyError::Write { path, source });
                }
            }
        }
        Self::read(path)
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(b"mainstay backup master key\n");
        hash.update(self.bytes);
        let digest: [u8; 32] = hash.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Fingerprint(first)
    }
}

fn parse(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_drawn_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = MasterKey::read_or_create(&path).unwrap();
        let second = MasterKey::read_or_create(&path).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(MasterKey::read(&path), Err(KeyError::Open { .. })));
        std::fs::write(&path, "12\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(MasterKey::read(&path), Err(KeyError::Form { .. })));
    }
}
