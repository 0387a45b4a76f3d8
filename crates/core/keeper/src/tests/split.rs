//! Two keepers lose their primary in the same moment, and both recruit for the same term.

use alloc::format;
use alloc::string::String;

use mainstay_units::{Instant, Term};

use super::{effects, following, from};
use crate::config::ReplicaId;
use crate::keeper::Keeper;
use crate::message::Body;

/// Recruits for term 3, past every lease, until its promise is on disk.
fn recruiting() -> Keeper {
    let mut keeper = following();
    effects(&mut keeper);
    keeper.handle(Instant::from_millis(3_000), crate::Input::Tick);
    effects(&mut keeper);
    assert!(keeper.begin_recruiting(None));
    keeper.handle(
        Instant::from_millis(3_001),
        crate::Input::Persisted { sequence: 1 },
    );
    let said = effects(&mut keeper);
    assert!(said.contains("Recruit { term: Term(3) }"), "{said}");
    keeper
}

fn asked_by(other: u8, term: u32) -> String {
    let mut keeper = recruiting();
    let recruit = from(other, Body::Recruit { term: Term(term) });
    keeper.handle(Instant::from_millis(3_002), recruit);
    // Whatever is written is on disk at once.
    let mut said = effects(&mut keeper);
    for sequence in 2..=4 {
        keeper.handle(
            Instant::from_millis(3_003),
            crate::Input::Persisted { sequence },
        );
        said.push_str(&effects(&mut keeper));
    }
    said
}

#[test]
fn who_goes_first_takes_the_next_term_at_once() {
    let said = asked_by(3, 3);
    assert!(said.contains("Abort { term: Term(3) }"), "{said}");
    assert!(said.contains("Recruit { term: Term(4) }"), "{said}");
    assert!(!said.contains("Refused"), "{said}");
}

#[test]
fn who_goes_second_refuses_and_waits_to_be_asked_again() {
    let said = asked_by(1, 3);
    assert!(said.contains("refusal: Promised"), "{said}");
    assert!(!said.contains("Term(4)"), "{said}");
}

/// Another term is no tie: a later one is promised, whoever asks.
#[test]
fn a_later_term_is_followed() {
    let said = asked_by(3, 4);
    let promised = format!(
        "coordinator: Some({:?}), incarnation: Incarnation(3), floor: Term(4)",
        ReplicaId(3)
    );
    assert!(said.contains(&promised), "{said}");
    assert!(!said.contains("Recruit { term: Term(5) }"), "{said}");
}
