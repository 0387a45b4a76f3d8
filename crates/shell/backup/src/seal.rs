//! One object: compressed, then encrypted in chunks that authenticate their place, their end and the object's name.
//!
//! ```text
//! "MSTSEAL1" │ fingerprint 8 │ nonce 24 │ data key, wrapped 48 │ nonce 19 │ chunk … │ last chunk
//! ```
//!
//! Each chunk is 64 KiB of the compressed bytes under XChaCha20-Poly1305 in the STREAM construction (Hoang, Reyhanitabar,
//! Rogaway, Vizár 2015): the nonce of a chunk holds its number and whether it is the last, so a missing end, a chunk out
//! of order and a chunk of another object are all refused. The object's name is authenticated with every chunk: a good
//! object under another's name is refused too. The wide nonce is drawn at random, which is safe for any number of
//! objects under one data key.

use aead_stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};

use crate::key::{Fingerprint, KEY_BYTES, MasterKey};

const MAGIC: &[u8; 8] = b"MSTSEAL1";
const WRAP_NONCE: usize = 24;
const TAG: usize = 16;
const STREAM_NONCE: usize = 19;
const HEADER: usize = MAGIC.len() + 8 + WRAP_NONCE + KEY_BYTES + TAG + STREAM_NONCE;
const CHUNK: usize = 64 * 1_024;
/// Level 3 of 22: the knee of the curve for pages and log.
const COMPRESSION_LEVEL: i32 = 3;
/// What one object may grow to when it is opened; the largest segment is 1 GiB.
const OPENED_LIMIT: u64 = 2 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("it is no sealed object, or its beginning is damaged")]
    Form,
    #[error(
        "it was sealed with key {sealed}, and the key given is {given}: find the right key file"
    )]
    WrongKey {
        sealed: Fingerprint,
        given: Fingerprint,
    },
    #[error("its data key does not open: a byte of it was changed")]
    Wrapped,
    #[error("chunk {chunk} is not authentic: bytes were changed, or it belongs to another object")]
    Chunk { chunk: usize },
    #[error("it ends before its last chunk: the upload was cut off")]
    Truncated,
    #[error("decompress it")]
    Compression(#[source] std::io::Error),
}

impl SealError {
    /// The object is not whole; with another key it might be.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Form | Self::Wrapped | Self::Chunk { .. } | Self::Truncated => true,
            Self::WrongKey { .. } | Self::Compression(_) => false,
        }
    }
}

/// Seals the objects of one set; drawn afresh for each.
#[derive(Clone)]
pub struct DataKey([u8; KEY_BYTES]);

impl DataKey {
    pub fn draw() -> Self {
        let mut bytes = [0; KEY_BYTES];
        mainstay_rt::entropy::fill(&mut bytes);
        Self(bytes)
    }
}

/// # Errors
/// When the bytes cannot be compressed; encryption in memory does not fail.
pub fn seal(
    name: &str,
    plain: &[u8],
    data: &DataKey,
    master: &MasterKey,
) -> Result<Vec<u8>, SealError> {
    let compressed =
        zstd::stream::encode_all(plain, COMPRESSION_LEVEL).map_err(SealError::Compression)?;
    let mut sealed = Vec::with_capacity(HEADER + compressed.len() + compressed.len() / 1_024 + TAG);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&master.fingerprint().0);
    let mut nonce = [0; WRAP_NONCE];
    mainstay_rt::entropy::fill(&mut nonce);
    let wrapped = XChaCha20Poly1305::new(&master.bytes.into())
        .encrypt(&nonce.into(), payload(&data.0, name))
        .map_err(|_| SealError::Wrapped)?;
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&wrapped);
    let mut nonce = [0; STREAM_NONCE];
    mainstay_rt::entropy::fill(&mut nonce);
    sealed.extend_from_slice(&nonce);
    debug_assert_eq!(sealed.len(), HEADER);

    let mut stream = EncryptorBE32::<XChaCha20Poly1305>::new(&data.0.into(), &nonce.into());
    let mut rest = compressed.as_slice();
    let mut chunk = 0;
    while let Some((now, later)) = rest.split_at_checked(CHUNK).filter(|(_, l)| !l.is_empty()) {
        let encrypted = stream.encrypt_next(payload(now, name));
        sealed.extend(encrypted.map_err(|_| SealError::Chunk { chunk })?);
        rest = later;
        chunk += 1;
    }
    let last = stream.encrypt_last(payload(rest, name));
    sealed.extend(last.map_err(|_| SealError::Chunk { chunk })?);
    Ok(sealed)
}

fn payload<'a>(bytes: &'a [u8], name: &'a str) -> Payload<'a, 'a> {
    Payload {
        msg: bytes,
        aad: name.as_bytes(),
    }
}

/// # Errors
/// When the object is not, byte for byte, what was sealed under this name with this key.
pub fn open(name: &str, sealed: &[u8], master: &MasterKey) -> Result<Vec<u8>, SealError> {
    let (header, body) = sealed.split_at_checked(HEADER).ok_or(SealError::Form)?;
    let (magic, header) = header.split_at(MAGIC.len());
    let (fingerprint, header) = header.split_first_chunk().ok_or(SealError::Form)?;
    let (wrap_nonce, header) = header
        .split_first_chunk::<WRAP_NONCE>()
        .ok_or(SealError::Form)?;
    let (wrapped, nonce) = header.split_at(KEY_BYTES + TAG);
    if magic != MAGIC {
        return Err(SealError::Form);
    }
    let (sealed_with, given) = (Fingerprint(*fingerprint), master.fingerprint());
    if sealed_with != given {
        let sealed = sealed_with;
        return Err(SealError::WrongKey { sealed, given });
    }
    let data = XChaCha20Poly1305::new(&master.bytes.into())
        .decrypt(&(*wrap_nonce).into(), payload(wrapped, name))
        .map_err(|_| SealError::Wrapped)?;
    let data: [u8; KEY_BYTES] = data.try_into().map_err(|_| SealError::Wrapped)?;
    let nonce: [u8; STREAM_NONCE] = nonce.try_into().map_err(|_| SealError::Form)?;
    let compressed = open_chunks(name, body, &data, nonce)?;
    let mut plain = Vec::new();
    let decoder = zstd::stream::Decoder::new(compressed.as_slice());
    decoder
        .and_then(|decoder| {
            std::io::Read::read_to_end(&mut std::io::Read::take(decoder, OPENED_LIMIT), &mut plain)
        })
        .map_err(SealError::Compression)?;
    Ok(plain)
}

fn open_chunks(
    name: &str,
    body: &[u8],
    data: &[u8; KEY_BYTES],
    nonce: [u8; STREAM_NONCE],
) -> Result<Vec<u8>, SealError> {
    let mut stream = DecryptorBE32::<XChaCha20Poly1305>::new(&(*data).into(), &nonce.into());
    let mut compressed = Vec::with_capacity(body.len());
    let mut rest = body;
    let mut chunk = 0;
    let whole = CHUNK + TAG;
    while let Some((now, later)) = rest.split_at_checked(whole).filter(|(_, l)| !l.is_empty()) {
        let plain = stream.decrypt_next(payload(now, name));
        compressed.extend(plain.map_err(|_| SealError::Chunk { chunk })?);
        rest = later;
        chunk += 1;
    }
    match stream.decrypt_last(payload(rest, name)) {
        Ok(plain) => compressed.extend(plain),
        // Only of a whole chunk, or of nothing, can it be said that what is missing is the end.
        Err(_) if rest.len() == whole && opens_as_next(name, body, data, nonce) => {
            return Err(SealError::Truncated);
        }
        Err(_) if rest.len() < TAG => return Err(SealError::Truncated),
        Err(_) => return Err(SealError::Chunk { chunk }),
    }
    Ok(compressed)
}

/// Whether the body is whole chunks, each authentic as one that others follow.
fn opens_as_next(
    name: &str,
    body: &[u8],
    data: &[u8; KEY_BYTES],
    nonce: [u8; STREAM_NONCE],
) -> bool {
    let mut stream = DecryptorBE32::<XChaCha20Poly1305>::new(&(*data).into(), &nonce.into());
    body.chunks(CHUNK + TAG)
        .all(|chunk| stream.decrypt_next(payload(chunk, name)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(byte: u8) -> MasterKey {
        MasterKey {
            bytes: [byte; KEY_BYTES],
        }
    }

    /// Does not compress, so that it spans chunks.
    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        mainstay_rt::entropy::fill(&mut bytes);
        bytes
    }

    #[test]
    fn opened_as_it_was_sealed_at_every_length_around_a_chunk() {
        for length in [0, 1, CHUNK - 40, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain = noise(length);
            let sealed = seal("a", &plain, &DataKey::draw(), &master(1)).unwrap();
            assert_eq!(open("a", &sealed, &master(1)).unwrap(), plain, "{length}");
        }
        // Compressed to exactly whole chunks: the last one is full.
        let sealed = seal("a", &vec![0; 1 << 20], &DataKey::draw(), &master(1)).unwrap();
        assert!(sealed.len() < 1_000, "it is compressed first");
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let plain = noise(300);
        let sealed = seal("a", &plain, &DataKey::draw(), &master(1)).unwrap();
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1 << (place % 8);
            assert!(open("a", &damaged, &master(1)).is_err(), "byte {place}");
        }
    }

    #[test]
    fn every_cut_is_refused_and_a_cut_between_chunks_is_called_so() {
        let plain = noise(3 * CHUNK);
        let sealed = seal("a", &plain, &DataKey::draw(), &master(1)).unwrap();
        let cut = |length| open("a", &sealed[..length], &master(1));
        for length in [0, 8, HEADER - 1, HEADER, HEADER + 1, sealed.len() - 1] {
            assert!(cut(length).is_err(), "{length}");
        }
        let after_one = cut(HEADER + CHUNK + TAG);
        assert!(
            matches!(after_one, Err(SealError::Truncated)),
            "{after_one:?}"
        );
        assert!(matches!(cut(HEADER), Err(SealError::Truncated)));
    }

    #[test]
    fn the_wrong_key_and_the_wrong_name_are_named() {
        let sealed = seal("a", b"x", &DataKey::draw(), &master(1)).unwrap();
        let wrong = open("a", &sealed, &master(2));
        assert!(
            matches!(wrong, Err(SealError::WrongKey { .. })),
            "{wrong:?}"
        );
        assert!(open("b", &sealed, &master(1)).is_err());
    }

    #[test]
    fn chunks_of_one_data_key_cannot_change_places() {
        let (data, master) = (DataKey::draw(), master(1));
        let one = seal("a", &noise(2 * CHUNK), &data, &master).unwrap();
        let two = seal("a", &noise(2 * CHUNK), &data, &master).unwrap();
        let mut mixed = one[..HEADER + CHUNK + TAG].to_vec();
        mixed.extend_from_slice(&two[HEADER + CHUNK + TAG..]);
        assert!(open("a", &mixed, &master).is_err());
    }
}
