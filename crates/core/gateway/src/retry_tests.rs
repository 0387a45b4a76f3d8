//! The rule, one row a line, and what holds for every history.

use proptest::prelude::*;

use super::*;

#[test]
fn what_may_be_repeated() {
    use Idempotence as I;
    use KeyRule as K;
    for (method, key, expected) in [
        ("GET", K::NotHonoured, I::Safe),
        ("HEAD", K::NotHonoured, I::Safe),
        ("OPTIONS", K::NotHonoured, I::Safe),
        ("PUT", K::NotHonoured, I::Repeatable),
        ("DELETE", K::NotHonoured, I::Repeatable),
        ("POST", K::NotHonoured, I::Once),
        ("POST", K::HonouredButAbsent, I::Once),
        ("POST", K::HonouredAndPresent, I::Repeatable),
        ("PATCH", K::HonouredAndPresent, I::Repeatable),
        ("PATCH", K::NotHonoured, I::Once),
        ("PURGE", K::HonouredAndPresent, I::Once),
        ("post", K::HonouredAndPresent, I::Once),
    ] {
        assert_eq!(
            Idempotence::of(Method::parse(method), key),
            expected,
            "{method} {key:?}"
        );
    }
}

#[test]
fn one_attempt_one_verdict() {
    use Idempotence as I;
    use UnknownCause as U;
    let nothing = Outcome::Nothing(NothingWhy::RefusedNotActive);
    let never = Outcome::Nothing(NothingWhy::DeadlinePassed);
    let lost = Outcome::Unknown(U::ConnectionLost);
    let late = Outcome::Unknown(U::DeadlinePassed);
    let again = Verdict::Repeat(RepeatWhy::NothingHappened(NothingWhy::RefusedNotActive));
    let unknown = |cause| Verdict::End(EndWhy::OutcomeUnknown(cause));
    // (idempotence, outcome, sent under, highest known) -> verdict
    let rows = [
        (I::Once, Outcome::Answered, 1, 1, Verdict::PassAnswer),
        (I::Once, nothing, 1, 1, again),
        (I::Once, never, 1, 1, Verdict::End(EndWhy::DeadlinePassed)),
        (I::Once, lost, 1, 1, unknown(U::ConnectionLost)),
        (I::Once, late, 1, 1, unknown(U::DeadlinePassed)),
        (I::Once, Outcome::Answered, 1, 2, unknown(U::Superseded)),
        (
            I::Repeatable,
            lost,
            1,
            1,
            Verdict::Repeat(RepeatWhy::Idempotent(U::ConnectionLost)),
        ),
        (
            I::Repeatable,
            Outcome::Answered,
            1,
            2,
            Verdict::Repeat(RepeatWhy::Idempotent(U::Superseded)),
        ),
        (I::Repeatable, late, 1, 1, unknown(U::DeadlinePassed)),
        (
            I::Repeatable,
            Outcome::Unknown(U::Isolated),
            1,
            1,
            unknown(U::Isolated),
        ),
        (
            I::Safe,
            lost,
            1,
            1,
            Verdict::Repeat(RepeatWhy::SafeMethod(U::ConnectionLost)),
        ),
        (
            I::Safe,
            Outcome::Answered,
            1,
            2,
            Verdict::Repeat(RepeatWhy::SafeMethod(U::Superseded)),
        ),
        (I::Safe, late, 1, 1, Verdict::End(EndWhy::DeadlinePassed)),
        (
            I::Safe,
            Outcome::Unknown(U::Isolated),
            1,
            1,
            Verdict::End(EndWhy::Isolated),
        ),
    ];
    for (idempotence, outcome, sent, current, expected) in rows {
        let mut history = History::new(idempotence, 9);
        assert_eq!(history.dispatch(Term(sent)), Ok(()));
        let verdict = history.judge(outcome, Term(sent), Term(current));
        assert_eq!(
            verdict, expected,
            "{idempotence:?} {outcome:?} {sent} {current}"
        );
    }
}

#[test]
fn once_per_term_and_once_more_in_the_next() {
    let lost = Outcome::Unknown(UnknownCause::ConnectionLost);
    let mut history = History::new(Idempotence::Repeatable, 9);
    for (term, expected) in [
        (1, Ok(())),
        (1, Ok(())),
        (2, Ok(())),
        (3, Ok(())),
        (3, Err(EndWhy::OutcomeUnknown(UnknownCause::ConnectionLost))),
    ] {
        assert_eq!(history.dispatch(Term(term)), expected, "{term}");
        if expected.is_ok() {
            assert!(matches!(
                history.judge(lost, Term(term), Term(term)),
                Verdict::Repeat(_)
            ));
        }
    }
}

#[test]
fn what_was_unknown_once_stays_unknown() {
    let mut history = History::new(Idempotence::Repeatable, 9);
    assert_eq!(history.end(EndWhy::HeldTooLong), EndWhy::HeldTooLong);
    assert_eq!(history.dispatch(Term(1)), Ok(()));
    history.judge(Outcome::Unknown(UnknownCause::AnswerTorn), Term(1), Term(1));
    assert_eq!(history.dispatch(Term(2)), Ok(()));
    history.judge(
        Outcome::Nothing(NothingWhy::ConnectFailed),
        Term(2),
        Term(2),
    );
    let unknown = EndWhy::OutcomeUnknown(UnknownCause::AnswerTorn);
    for why in [
        EndWhy::HeldTooLong,
        EndWhy::DeadlinePassed,
        EndWhy::Isolated,
        EndWhy::Stopping,
    ] {
        assert_eq!(history.end(why), unknown);
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Nothing(NothingWhy::ConnectFailed)),
        Just(Outcome::Nothing(NothingWhy::RefusedNotActive)),
        Just(Outcome::Unknown(UnknownCause::ConnectionLost)),
        Just(Outcome::Unknown(UnknownCause::SaidUnknown)),
        Just(Outcome::Answered),
    ]
}

proptest! {
    /// Whatever happens: a request that must go once reaches a service at most once, no request goes
    /// unknown twice in one term after its first, attempts are bounded, and nothing that may have been
    /// executed ends as if it had not been.
    #[test]
    fn every_history_keeps_the_rule(
        idempotence in prop_oneof![Just(Idempotence::Safe), Just(Idempotence::Repeatable), Just(Idempotence::Once)],
        steps in proptest::collection::vec((outcome(), 0u32..2), 1..40),
    ) {
        let mut history = History::new(idempotence, 10);
        let (mut term, mut sent, mut unknown) = (1u32, 0u32, 0u32);
        let mut repeats = alloc::collections::BTreeMap::<u32, u32>::new();
        let mut end = None;
        for (outcome, ahead) in steps {
            let was_unknown = unknown > 0;
            if let Err(why) = history.dispatch(Term(term)) {
                end = Some(why);
                break;
            }
            sent += 1;
            if was_unknown {
                *repeats.entry(term).or_default() += 1;
            }
            let current = term + ahead;
            let verdict = history.judge(outcome, Term(term), Term(current));
            let is_unknown = matches!(outcome, Outcome::Unknown(_)) || (outcome == Outcome::Answered && ahead > 0);
            unknown += u32::from(is_unknown);
            term = current;
            match verdict {
                Verdict::PassAnswer => {
                    prop_assert!(!is_unknown, "an answer of a term that is over was passed on");
                    break;
                }
                Verdict::Repeat(_) => {}
                Verdict::End(why) => { end = Some(why); break; }
            }
        }
        prop_assert!(sent <= 10);
        prop_assert!(repeats.values().all(|count| *count <= 1), "{repeats:?}");
        if idempotence == Idempotence::Once {
            prop_assert!(unknown <= 1);
        }
        if let Some(why) = end && idempotence != Idempotence::Safe {
            prop_assert_eq!(unknown > 0, matches!(why, EndWhy::OutcomeUnknown(_)));
        }
    }
}

#[test]
fn a_refusal_after_an_unknown_attempt_is_not_taken_for_the_whole_truth() {
    let mut history = History::new(Idempotence::Repeatable, 4);
    assert_eq!(history.dispatch(Term(1)), Ok(()));
    assert_eq!(history.pass(true), Ok(()));
    let lost = Outcome::Unknown(UnknownCause::ConnectionLost);
    history.judge(lost, Term(1), Term(1));
    assert_eq!(history.dispatch(Term(2)), Ok(()));
    let unknown = EndWhy::OutcomeUnknown(UnknownCause::ConnectionLost);
    assert_eq!(history.pass(true), Err(unknown));
    assert_eq!(history.pass(false), Ok(()), "an outcome is an outcome");
    let mut safe = History::new(Idempotence::Safe, 4);
    assert_eq!(safe.dispatch(Term(1)), Ok(()));
    safe.judge(lost, Term(1), Term(1));
    assert_eq!(safe.pass(true), Ok(()));
}
