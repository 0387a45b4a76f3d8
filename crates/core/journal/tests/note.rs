//! Signed notes and checkpoints against a note that another implementation signed, and against damage.

#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use mainstay_journal::note::{Note, NoteError};
use mainstay_journal::{Checkpoint, Hash, NodeKey, PublicKey, SignedCheckpoint};

/// From the documentation of golang.org/x/mod/sumdb/note.
const NEUMANN: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const NEUMANN_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NEUMANN_KEY: &str = "GlzZBxQ8OExB6DDFvOEqqIF+xWSaqr8sMTiLNbLXRNY=";

#[test]
fn a_note_signed_by_another_implementation() {
    let key = PublicKey::parse(NEUMANN_KEY).unwrap();
    assert_eq!(key.verifier_text("PeterNeumann"), NEUMANN_VERIFIER);
    let note = Note::parse(NEUMANN).unwrap();
    assert_eq!(note.verify("PeterNeumann", &[key]), Ok(key));
    assert_eq!(note.verify("Another", &[key]), Err(NoteError::UnknownKey));
    let bent = Note::parse(&NEUMANN.replace("don't", "do")).unwrap();
    assert!(matches!(
        bent.verify("PeterNeumann", &[key]),
        Err(NoteError::Signature(_))
    ));
}

fn checkpoint() -> (Checkpoint, NodeKey) {
    let checkpoint = Checkpoint {
        origin: "mainstay/exchange/0011223344556677".to_string(),
        size: 42,
        root: Hash::of(b"root"),
    };
    (checkpoint, NodeKey::from_seed(&[7; 32]))
}

#[test]
fn a_checkpoint_and_back() {
    let (checkpoint, key) = checkpoint();
    let signed = checkpoint.sign(&key);
    let parsed = SignedCheckpoint::parse(signed.note()).unwrap();
    assert_eq!(parsed.checkpoint, checkpoint);
    assert_eq!(parsed.verify(&[key.public()]), Ok(key.public()));
    let other = NodeKey::from_seed(&[8; 32]).public();
    assert!(parsed.verify(&[other]).is_err());
}

#[test]
fn every_changed_byte_of_a_checkpoint_is_noticed() {
    let (checkpoint, key) = checkpoint();
    let note = checkpoint.sign(&key).note().as_bytes().to_vec();
    for at in 0..note.len() {
        for change in 1..=255_u8 {
            let mut bent = note.clone();
            bent[at] ^= change;
            let accepted = std::str::from_utf8(&bent)
                .ok()
                .and_then(|text| SignedCheckpoint::parse(text).ok())
                .is_some_and(|signed| {
                    signed.signature_count() == 1 && signed.verify(&[key.public()]).is_ok()
                });
            assert!(!accepted, "byte {at} changed by {change:#04x}");
        }
    }
}
