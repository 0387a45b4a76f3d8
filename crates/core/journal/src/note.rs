//! C2SP signed notes with Ed25519 (c2sp.org/signed-note).
//!
//! A note is a text, an empty line, and lines of `— <key name> <base64(key id || signature)>`. The key id is
//! the first four bytes of SHA-256(name || 0x0A || 0x01 || public key). All nodes of a platform sign with
//! keys of the same *name* (the log's origin, as the checkpoint format asks); the id tells them apart.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use thiserror::Error;

use crate::base64;
use crate::hash::Hash;

/// Signature type identifier of Ed25519 in a signed note.
const ALGORITHM_ED25519: u8 = 0x01;
/// More signatures than this make a note unreasonable; the format asks readers to accept sixteen.
pub const SIGNATURES_MAX: usize = 16;
const SIGNATURE_MARK: &str = "\u{2014} ";

/// A public key as the journal names it: 32 bytes, written in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bytes = decode(text)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| NoteError::PublicKey)?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| NoteError::PublicKey)?;
        Ok(Self(bytes))
    }

    /// The id that this key has under `name`.
    pub fn id(&self, name: &str) -> KeyId {
        KeyId::of(name, ALGORITHM_ED25519, &self.0)
    }

    /// Name and key from the form in which other tools take them, see [`PublicKey::verifier_text`].
    pub fn parse_verifier(text: &str) -> Result<(String, Self), NoteError> {
        let (name, key) = read_verifier(text, ALGORITHM_ED25519)?;
        Ok((name, Self(key)))
    }

    /// The key as other tools take it: `<name>+<id>+<base64(type || key)>`.
    pub fn verifier_text(&self, name: &str) -> String {
        write_verifier(name, ALGORITHM_ED25519, &self.0)
    }

    fn verifies(&self, text: &str, signature: &[u8; 64]) -> bool {
        verifies(&self.0, text, signature)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Tells keys of one name apart. Short on purpose: it is no proof of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    pub(crate) fn of(name: &str, algorithm: u8, key: &[u8; 32]) -> Self {
        let mut input = Vec::with_capacity(name.len() + 34);
        input.extend_from_slice(name.as_bytes());
        input.push(b'\n');
        input.push(algorithm);
        input.extend_from_slice(key);
        let [a, b, c, d, ..] = Hash::of(&input).0;
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

/// Name and key of `name+id+base64(algorithm || key)`.
pub(crate) fn read_verifier(text: &str, algorithm: u8) -> Result<(String, [u8; 32]), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::VerifierKey);
    };
    let bytes = decode(key)?;
    let key = match bytes.split_first() {
        Some((found, key)) if *found == algorithm => key,
        _ => return Err(NoteError::VerifierKey),
    };
    let key: [u8; 32] = key.try_into().map_err(|_| NoteError::VerifierKey)?;
    VerifyingKey::from_bytes(&key).map_err(|_| NoteError::VerifierKey)?;
    // The id is a checksum over name and key.
    match is_key_name(name) && write_verifier(name, algorithm, &key) == text {
        true => Ok((name.to_string(), key)),
        false => Err(NoteError::VerifierKey),
    }
}

pub(crate) fn write_verifier(name: &str, algorithm: u8, key: &[u8; 32]) -> String {
    let mut bytes = Vec::with_capacity(33);
    bytes.push(algorithm);
    bytes.extend_from_slice(key);
    let id = KeyId::of(name, algorithm, key);
    format!("{name}+{id}+{}", base64::encode(&bytes))
}

pub(crate) fn verifies(key: &[u8; 32], text: &str, signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| {
        key.verify_strict(text.as_bytes(), &Signature::from_bytes(signature))
            .is_ok()
    })
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A node's own secret key.
pub struct NodeKey(SigningKey);

impl NodeKey {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// `text` (which ends with a newline) as a note signed by this key under `name`.
    pub fn sign(&self, name: &str, text: &str) -> String {
        assert!(text.ends_with('\n'), "a note's text ends with a newline");
        assert!(
            is_key_name(name),
            "a key name has neither spaces nor plus signs"
        );
        let mut signature = self.public().id(name).0.to_be_bytes().to_vec();
        signature.extend_from_slice(&self.0.sign(text.as_bytes()).to_bytes());
        format!(
            "{text}\n{SIGNATURE_MARK}{name} {}\n",
            base64::encode(&signature)
        )
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey(public {})", self.public())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    #[error("note has no empty line between text and signatures")]
    NoSeparator,
    #[error("note contains a control character")]
    ControlCharacter,
    #[error("signature line is not of the form \"— name base64\"")]
    SignatureLine,
    #[error("note has {0} signatures; between 1 and {SIGNATURES_MAX} are accepted")]
    SignatureCount(usize),
    #[error("not canonical base64")]
    Base64,
    #[error("not an Ed25519 public key of 32 bytes in base64")]
    PublicKey,
    #[error("not a verifier key of the form name+id+key, with the id that belongs to both")]
    VerifierKey,
    #[error("no signature is by a key that is known here")]
    UnknownKey,
    #[error("signature of key {0} does not fit the text")]
    Signature(KeyId),
}

/// A note taken apart; nothing in it is believed before [`Note::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub text: String,
    pub signatures: Vec<NoteSignature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    pub name: String,
    pub id: KeyId,
    pub bytes: Vec<u8>,
}

impl Note {
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::ControlCharacter);
        }
        let at = note.rfind("\n\n").ok_or(NoteError::NoSeparator)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::SignatureLine)?;
        let signatures = lines
            .split('\n')
            .map(signature_line)
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.is_empty() || signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::SignatureCount(signatures.len()));
        }
        Ok(Self {
            text: text.to_string(),
            signatures,
        })
    }

    /// Which of `keys`, all of the name `name`, signed this. Signatures of unknown keys are passed over, as the
    /// format demands; one of a known key that does not fit makes the whole note bad.
    pub fn verify(&self, name: &str, keys: &[PublicKey]) -> Result<PublicKey, NoteError> {
        let mut signer = None;
        for signature in self.signatures.iter().filter(|s| s.name == name) {
            let known = keys.iter().find(|key| key.id(name) == signature.id);
            let Some(key) = known else { continue };
            let bytes = <&[u8; 64]>::try_from(signature.bytes.as_slice())
                .map_err(|_| NoteError::Signature(signature.id))?;
            if !key.verifies(&self.text, bytes) {
                return Err(NoteError::Signature(signature.id));
            }
            signer = Some(*key);
        }
        signer.ok_or(NoteError::UnknownKey)
    }
}

fn signature_line(line: &str) -> Result<NoteSignature, NoteError> {
    let rest = line
        .strip_prefix(SIGNATURE_MARK)
        .ok_or(NoteError::SignatureLine)?;
    let (name, signature) = rest.split_once(' ').ok_or(NoteError::SignatureLine)?;
    if !is_key_name(name) {
        return Err(NoteError::SignatureLine);
    }
    let bytes = decode(signature)?;
    match bytes.split_first_chunk::<4>() {
        Some((id, rest)) if !rest.is_empty() => Ok(NoteSignature {
            name: name.to_string(),
            id: KeyId(u32::from_be_bytes(*id)),
            bytes: rest.to_vec(),
        }),
        _ => Err(NoteError::SignatureLine),
    }
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

fn decode(text: &str) -> Result<Vec<u8>, NoteError> {
    base64::decode(text).ok_or(NoteError::Base64)
}
