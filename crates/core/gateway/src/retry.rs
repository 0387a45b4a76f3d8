//! May this request be sent again, and if not, what do we tell its client?
//!
//! There are three outcomes of an attempt and no fourth. *Nothing happened*: not a byte was sent, or the
//! other side says it refused before doing anything; sending again is always safe. *Answered*: the
//! answer is passed on. *Unknown*: the request left and nothing certain came back, also when an answer
//! came from somebody whose term is over. An unknown request is repeated at most once per term, and only
//! if a repetition has no second effect: a safe method, an idempotent one, or a key on a route whose
//! service promises to honour keys. Otherwise the client is told exactly that: *unknown*.

use mainstay_units::Term;

use crate::hold::{EvictWhy, RefuseWhy};
use crate::method::Method;

/// Whether one more execution could do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotence {
    /// Has no effect at all (RFC 9110, 9.2.1): its outcome is never "unknown", only unavailable.
    Safe,
    /// Has the same effect once or twice, by method or by key.
    Repeatable,
    /// Must not be sent twice.
    Once,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// The route does not declare that its service honours keys.
    NotHonoured,
    HonouredAndPresent,
    HonouredButAbsent,
}

impl Idempotence {
    pub fn of(method: Method, key: KeyRule) -> Self {
        match (method, key) {
            (Method::Get | Method::Head | Method::Options, _) => Self::Safe,
            (Method::Put | Method::Delete, _) => Self::Repeatable,
            (Method::Post | Method::Patch, KeyRule::HonouredAndPresent) => Self::Repeatable,
            (Method::Post | Method::Patch, KeyRule::NotHonoured | KeyRule::HonouredButAbsent)
            | (Method::Other, _) => Self::Once,
        }
    }
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Nothing(NothingWhy),
    Answered,
    Unknown(UnknownCause),
}

/// Why it is certain that nothing was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NothingWhy {
    ConnectFailed,
    /// A kept-alive connection turned out closed before the first byte was written.
    StaleConnection,
    /// The instance said that it did nothing: it is not the active one.
    RefusedNotActive,
    /// It waited for a connection, and was sent back: another one failed, or its instance is no longer the one.
    NoConnection,
    /// The request's deadline passed before there was a connection for it.
    DeadlinePassed,
}

/// Why nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCause {
    ConnectionLost,
    /// The answer broke off.
    AnswerTorn,
    /// The instance itself does not know.
    SaidUnknown,
    /// The answer came from a term that is over, or the attempt was cut because its term ended.
    Superseded,
    /// No answer before the request's deadline.
    DeadlinePassed,
    /// We lost sight of the whole cell while waiting for the answer.
    Isolated,
}

/// What happens next with a request whose attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    PassAnswer,
    Repeat(RepeatWhy),
    End(EndWhy),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatWhy {
    NothingHappened(NothingWhy),
    SafeMethod(UnknownCause),
    Idempotent(UnknownCause),
}

/// Why a request ends without an answer from its service. The client learns which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndWhy {
    /// It may have been executed, and it must not be sent again.
    OutcomeUnknown(UnknownCause),
    /// It was not executed.
    TooManyAttempts,
    DeadlinePassed,
    HeldTooLong,
    PushedOut,
    Isolated,
    TooLarge,
    Stopping,
    /// No instance of the service may be given requests.
    NoHealthyInstance,
}

/// What one request has been through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    idempotence: Idempotence,
    attempts: u16,
    attempts_limit: u16,
    /// The last attempt of which nobody knows what became. Never taken back by a later "nothing".
    unknown: Option<UnknownCause>,
    repeated_in: Option<Term>,
}

impl History {
    pub fn new(idempotence: Idempotence, attempts_limit: u16) -> Self {
        assert!(attempts_limit > 0);
        Self {
            idempotence,
            attempts: 0,
            attempts_limit,
            unknown: None,
            repeated_in: None,
        }
    }

    pub fn attempts(&self) -> u16 {
        self.attempts
    }

    pub fn idempotence(&self) -> Idempotence {
        self.idempotence
    }

    /// About to be sent under `term` (services without terms use zero). An unknown request goes once
    /// per term: the second time its end is unknown.
    pub fn dispatch(&mut self, term: Term) -> Result<(), EndWhy> {
        if self.attempts >= self.attempts_limit {
            return Err(self.end(EndWhy::TooManyAttempts));
        }
        if let Some(cause) = self.unknown {
            assert_ne!(
                self.idempotence,
                Idempotence::Once,
                "an unknown request must not go again"
            );
            if self.repeated_in.is_some_and(|before| before >= term) {
                return Err(match self.idempotence {
                    Idempotence::Safe => EndWhy::TooManyAttempts,
                    Idempotence::Repeatable | Idempotence::Once => EndWhy::OutcomeUnknown(cause),
                });
            }
            self.repeated_in = Some(term);
        }
        self.attempts += 1;
        Ok(())
    }

    /// The attempt sent under `sent` is over; `current` is the highest term known by now.
    pub fn judge(&mut self, outcome: Outcome, sent: Term, current: Term) -> Verdict {
        assert!(self.attempts > 0, "an outcome without an attempt");
        let outcome = match outcome {
            Outcome::Answered if sent < current => Outcome::Unknown(UnknownCause::Superseded),
            Outcome::Answered | Outcome::Nothing(_) | Outcome::Unknown(_) => outcome,
        };
        match outcome {
            Outcome::Answered => Verdict::PassAnswer,
            Outcome::Nothing(NothingWhy::DeadlinePassed) => {
                Verdict::End(self.end(EndWhy::DeadlinePassed))
            }
            Outcome::Nothing(why) => Verdict::Repeat(RepeatWhy::NothingHappened(why)),
            Outcome::Unknown(cause) => self.judge_unknown(cause),
        }
    }

    fn judge_unknown(&mut self, cause: UnknownCause) -> Verdict {
        self.unknown = Some(cause);
        match (cause, self.idempotence) {
            (UnknownCause::DeadlinePassed, _) => Verdict::End(self.end(EndWhy::DeadlinePassed)),
            (UnknownCause::Isolated, _) => Verdict::End(self.end(EndWhy::Isolated)),
            (_, Idempotence::Safe) => Verdict::Repeat(RepeatWhy::SafeMethod(cause)),
            (_, Idempotence::Repeatable) => Verdict::Repeat(RepeatWhy::Idempotent(cause)),
            (_, Idempotence::Once) => Verdict::End(EndWhy::OutcomeUnknown(cause)),
        }
    }

    /// May an answer go to the client that says "not done" (`refused`)? It is true of the attempt that brought
    /// it, and not of an earlier one of which nobody knows what became.
    pub fn pass(&self, refused: bool) -> Result<(), EndWhy> {
        match (self.unknown, self.idempotence, refused) {
            (Some(cause), Idempotence::Repeatable | Idempotence::Once, true) => {
                Err(EndWhy::OutcomeUnknown(cause))
            }
            (Some(_) | None, _, _) => Ok(()),
        }
    }

    /// How a request ends that will not be sent again: what was unknown once stays unknown.
    pub fn end(&self, why: EndWhy) -> EndWhy {
        match (self.unknown, self.idempotence) {
            (Some(cause), Idempotence::Repeatable | Idempotence::Once) => {
                EndWhy::OutcomeUnknown(cause)
            }
            (Some(_), Idempotence::Safe) | (None, _) => why,
        }
    }
}

impl From<EvictWhy> for EndWhy {
    fn from(why: EvictWhy) -> Self {
        match why {
            EvictWhy::DeadlinePassed => Self::DeadlinePassed,
            EvictWhy::WaitedTooLong => Self::HeldTooLong,
            EvictWhy::PushedOutByNumber | EvictWhy::PushedOutByBytes => Self::PushedOut,
            EvictWhy::Isolated => Self::Isolated,
            EvictWhy::Stopping => Self::Stopping,
        }
    }
}

impl From<RefuseWhy> for EndWhy {
    fn from(why: RefuseWhy) -> Self {
        match why {
            RefuseWhy::DeadlinePassed => Self::DeadlinePassed,
            RefuseWhy::WaitedTooLong => Self::HeldTooLong,
            RefuseWhy::TooLarge => Self::TooLarge,
            RefuseWhy::Isolated => Self::Isolated,
            RefuseWhy::Stopping => Self::Stopping,
        }
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
