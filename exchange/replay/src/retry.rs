//! What a customer does after one attempt: the whole policy as one table.
//!
//! An answer that settles the intent ends it. Anything else (a dead connection, silence, "not active", "outcome
//! unknown") leaves open whether the venue has sequenced it; because references make resending safe, the same thing is
//! then said again, through the next region.

use std::time::Duration;

/// The first pause before another attempt, doubled each time up to the longest.
pub const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
pub const BACK_OFF_LONGEST: Duration = Duration::from_millis(320);
/// A longer Retry-After than this is cut: the intent's own deadline is 15 s.
pub const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(5);

/// What one attempt showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// A whole answer; `sensible` says whether a 200 carried an object with an outcome.
    Status {
        status: u16,
        sensible: bool,
        retry_after: Option<Duration>,
    },
    /// The connection failed before a whole answer came. A kept-alive connection may have been closed by the other side
    /// while it was idle, which says nothing about that gateway.
    Broken { reused_connection: bool },
    /// No answer within the attempt's limit.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The venue has answered: sequenced, whatever the outcome.
    Answered,
    /// Refused as malformed or contradictory; saying it again cannot help.
    Refused,
    /// Once more on a fresh connection, at once.
    SameGateway,
    /// The next region, and this gateway not again before the pause it asked for has passed.
    NextRegion { avoid_for: Option<Duration> },
}

#[must_use]
pub fn next(observation: Observation) -> Next {
    match observation {
        Observation::Status {
            status: 200,
            sensible: true,
            ..
        } => Next::Answered,
        Observation::Status {
            status: 408 | 425 | 429 | 500..=599,
            retry_after,
            ..
        } => Next::NextRegion {
            avoid_for: retry_after.map(|pause| pause.min(RETRY_AFTER_LONGEST)),
        },
        Observation::Status {
            status: 400..=499, ..
        } => Next::Refused,
        Observation::Status { .. } | Observation::Silent => Next::NextRegion { avoid_for: None },
        Observation::Broken {
            reused_connection: true,
        } => Next::SameGateway,
        Observation::Broken {
            reused_connection: false,
        } => Next::NextRegion { avoid_for: None },
    }
}

/// The pauses of one intent.
#[derive(Debug)]
pub struct BackOff(Duration);

impl BackOff {
    #[must_use]
    pub fn new() -> Self {
        Self(BACK_OFF_FIRST)
    }

    pub fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(BACK_OFF_LONGEST);
        pause
    }
}

impl Default for BackOff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BACK_OFF_LONGEST, BackOff, Next, Observation, RETRY_AFTER_LONGEST, next};

    fn status(status: u16) -> Observation {
        Observation::Status {
            status,
            sensible: status == 200,
            retry_after: None,
        }
    }

    #[test]
    fn the_table() {
        let elsewhere = Next::NextRegion { avoid_for: None };
        for (observation, expected) in [
            (status(200), Next::Answered),
            (status(400), Next::Refused),
            (status(409), Next::Refused),
            (status(422), Next::Refused),
            (status(404), Next::Refused),
            (status(429), elsewhere),
            (status(500), elsewhere),
            (status(503), elsewhere),
            (status(302), elsewhere),
            (
                Observation::Status {
                    status: 200,
                    sensible: false,
                    retry_after: None,
                },
                elsewhere,
            ),
            (Observation::Silent, elsewhere),
            (
                Observation::Broken {
                    reused_connection: true,
                },
                Next::SameGateway,
            ),
            (
                Observation::Broken {
                    reused_connection: false,
                },
                elsewhere,
            ),
        ] {
            assert_eq!(next(observation), expected, "{observation:?}");
        }
    }

    #[test]
    fn a_gateway_is_avoided_as_long_as_it_asks_but_not_forever() {
        let ask = |seconds| Observation::Status {
            status: 503,
            sensible: false,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(
            next(ask(1)),
            Next::NextRegion {
                avoid_for: Some(Duration::from_secs(1))
            }
        );
        assert_eq!(
            next(ask(3_600)),
            Next::NextRegion {
                avoid_for: Some(RETRY_AFTER_LONGEST)
            }
        );
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut back_off = BackOff::new();
        let pauses: Vec<_> = (0..8).map(|_| back_off.pause()).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses.last(), Some(&BACK_OFF_LONGEST));
    }
}
