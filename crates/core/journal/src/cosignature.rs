//! What outsiders say of a checkpoint, and when: cosignatures with Ed25519 (c2sp.org/tlog-cosignature, version 1).
//!
//! A witness signs the text of a checkpoint together with the second in which it saw it. The platform's own clocks have no
//! part in that time, and its keys none in that signature.

use alloc::format;
use alloc::string::String;

use crate::note::{KeyId, Note, NoteError, read_verifier, verifies, write_verifier};

/// Signature type identifier of a cosignature with Ed25519 in a signed note.
const ALGORITHM: u8 = 0x04;

/// The public key of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WitnessKey(pub [u8; 32]);

impl WitnessKey {
    /// Name and key from `<name>+<id>+<base64(type || key)>`.
    ///
    /// # Errors
    /// When it is no key of a witness.
    pub fn parse_verifier(text: &str) -> Result<(String, Self), NoteError> {
        let (name, key) = read_verifier(text, ALGORITHM)?;
        Ok((name, Self(key)))
    }

    pub fn verifier_text(&self, name: &str) -> String {
        write_verifier(name, ALGORITHM, &self.0)
    }

    /// When the witness of this name saw the checkpoint, in seconds since 1970; nothing if it did not sign this.
    ///
    /// # Errors
    /// When a signature that claims to be its own is not.
    pub fn saw(&self, name: &str, checkpoint: &Note) -> Result<Option<u64>, NoteError> {
        let id = KeyId::of(name, ALGORITHM, &self.0);
        let mut own = checkpoint
            .signatures
            .iter()
            .filter(|signature| signature.name == name && signature.id == id);
        let Some(signature) = own.next() else {
            return Ok(None);
        };
        let parts = signature.bytes.split_first_chunk::<8>();
        let (time, rest) = parts.ok_or(NoteError::Signature(id))?;
        let rest = <&[u8; 64]>::try_from(rest).map_err(|_| NoteError::Signature(id))?;
        let seconds = u64::from_be_bytes(*time);
        match verifies(&self.0, &signed_text(seconds, &checkpoint.text), rest) {
            true => Ok(Some(seconds)),
            false => Err(NoteError::Signature(id)),
        }
    }
}

/// What a witness signs.
pub fn signed_text(seconds: u64, checkpoint: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{checkpoint}")
}
