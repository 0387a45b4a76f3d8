//! How long clients were without service, by the clients' own notes.
//!
//! A request is *good* if it was acknowledged within the limit for one request, counted from when it was due: what was
//! due while nobody answered is late whenever it was sent. The interruption begins with the first request that was due
//! after the fault (or open at its time) and was not good. It is over at the first of so many good ones in a row, in
//! the order in which they ended: a single lucky answer is no service.

use alloc::vec::Vec;

/// One request of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was due.
    pub due_us: u64,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Acknowledged {
        at_us: u64,
    },
    /// The client has given it up, or was told that it cannot be.
    Failed {
        at_us: u64,
    },
    /// The notes end before it does.
    Open,
}

/// What counts as service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// A good request is acknowledged within this.
    pub within_us: u64,
    /// So many good ones in a row are service.
    pub in_a_row: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    pub requests: u64,
    pub acknowledged: u64,
    pub failed: u64,
    /// The longest time without an acknowledgement that touches the window: from one to the next.
    pub gap: Option<(u64, u64)>,
    /// Service as it was before the fault: so many good ones in a row ended before it.
    pub was_served: bool,
    /// When the first request was due that was hurt.
    pub began_us: Option<u64>,
    /// The first acknowledgement after the longest gap before service was back.
    pub first_success_us: Option<u64>,
    /// The first of so many good ones in a row.
    pub restored_us: Option<u64>,
}

impl Interruption {
    /// The recovery time: from the fault to service. Nothing if nobody was hurt; `None` if it did not come back.
    pub fn rto_us(&self, fault_us: u64) -> Option<u64> {
        match (self.began_us, self.restored_us) {
            (_, Some(restored_us)) => Some(restored_us.saturating_sub(fault_us)),
            (None, None) if self.acknowledged > 0 => Some(0),
            (None | Some(_), None) => None,
        }
    }
}

/// Looks at what was due from the fault until `until_us`.
pub fn interruption(
    requests: &[Request],
    fault_us: u64,
    until_us: u64,
    service: Service,
) -> Interruption {
    let is_good = |request: &Request| match request.fate {
        Fate::Acknowledged { at_us } => at_us.saturating_sub(request.due_us) <= service.within_us,
        Fate::Failed { .. } | Fate::Open => false,
    };
    let is_touched = |request: &&Request| {
        request.due_us < until_us && ended_us(request).is_none_or(|ended_us| ended_us >= fault_us)
    };
    let touched: Vec<&Request> = requests.iter().filter(is_touched).collect();
    // What was due before the fault and open at it was hurt by it, from the fault on.
    let began_us = touched
        .iter()
        .filter(|request| !is_good(request))
        .map(|request| request.due_us.max(fault_us))
        .min();
    let longest = longest_gap(requests, fault_us, until_us);
    let restored_us = began_us
        .and_then(|began_us| in_a_row(requests, is_good, (began_us, u64::MAX), service.in_a_row));
    // A longer gap that comes after it has another cause.
    let back_us = restored_us.map_or(until_us, |restored_us| restored_us.min(until_us));
    let first_success_us = began_us
        .and_then(|_| longest_gap(requests, fault_us, back_us))
        .map(|(_, to_us)| to_us);
    let acknowledged = |request: &&&Request| matches!(request.fate, Fate::Acknowledged { .. });
    Interruption {
        requests: touched.len() as u64,
        acknowledged: touched.iter().filter(acknowledged).count() as u64,
        failed: touched
            .iter()
            .filter(|request| matches!(request.fate, Fate::Failed { .. }))
            .count() as u64,
        gap: longest.map(|(from_us, to_us)| (from_us.max(fault_us), to_us.min(until_us))),
        was_served: in_a_row(requests, is_good, (0, fault_us), service.in_a_row).is_some(),
        began_us,
        first_success_us,
        restored_us,
    }
}

fn ended_us(request: &Request) -> Option<u64> {
    match request.fate {
        Fate::Acknowledged { at_us } | Fate::Failed { at_us } => Some(at_us),
        Fate::Open => None,
    }
}

/// When the first of so many good requests ended, of those that ended within the window. What never ended stands at
/// the place where it was due: it is no part of a row of good ones.
fn in_a_row(
    requests: &[Request],
    is_good: impl Fn(&Request) -> bool,
    (from_us, until_us): (u64, u64),
    wanted: usize,
) -> Option<u64> {
    let at_us = |request: &Request| ended_us(request).unwrap_or(request.due_us);
    let mut ordered: Vec<(u64, bool)> = requests
        .iter()
        .map(|request| (at_us(request), is_good(request)))
        .filter(|(at_us, _)| (from_us..until_us).contains(at_us))
        .collect();
    ordered.sort_unstable();
    let mut first = None;
    let mut row = 0;
    for (at_us, good) in ordered {
        if !good {
            (first, row) = (None, 0);
            continue;
        }
        let began = *first.get_or_insert(at_us);
        row += 1;
        if row >= wanted {
            return Some(began);
        }
    }
    None
}

/// From one acknowledgement to the next, by what of it lies within the window: what was so before the fault, and what the next
/// one did, is not this one's doing.
fn longest_gap(requests: &[Request], fault_us: u64, until_us: u64) -> Option<(u64, u64)> {
    let acknowledged = |request: &Request| match request.fate {
        Fate::Acknowledged { at_us } => Some(at_us),
        Fate::Failed { .. } | Fate::Open => None,
    };
    let mut ends: Vec<u64> = requests.iter().filter_map(acknowledged).collect();
    ends.sort_unstable();
    let pairs = ends.iter().zip(ends.iter().skip(1));
    pairs
        .filter(|(from_us, to_us)| **from_us < until_us && **to_us > fault_us)
        .max_by_key(|(from_us, to_us)| (**to_us).min(until_us) - (**from_us).max(fault_us))
        .map(|(from_us, to_us)| (*from_us, *to_us))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const MS: u64 = 1_000;
    const SERVICE: Service = Service {
        within_us: 100 * MS,
        in_a_row: 20,
    };

    fn answered(due_ms: u64, at_ms: u64) -> Request {
        Request {
            due_us: due_ms * MS,
            fate: Fate::Acknowledged { at_us: at_ms * MS },
        }
    }

    fn failed(due_ms: u64, at_ms: u64) -> Request {
        Request {
            due_us: due_ms * MS,
            fate: Fate::Failed { at_us: at_ms * MS },
        }
    }

    /// A request each 10 ms, answered after 2, with a hole in which all wait until its end.
    fn hole(from_ms: u64, to_ms: u64) -> Vec<Request> {
        (0..300)
            .map(|n| {
                let due_ms = n * 10;
                let held = (from_ms..to_ms).contains(&due_ms);
                answered(due_ms, if held { to_ms } else { due_ms + 2 })
            })
            .collect()
    }

    fn judge(requests: &[Request]) -> Interruption {
        interruption(requests, 1_000 * MS, 2_800 * MS, SERVICE)
    }

    #[test]
    fn a_hole_is_measured_from_the_fault_to_the_first_of_many_good_ones() {
        let found = judge(&hole(1_015, 1_800));
        assert!(found.was_served);
        assert_eq!(found.began_us, Some(1_020 * MS));
        // From the fault on: what was quiet before it is not its doing.
        assert_eq!(found.gap, Some((1_012 * MS, 1_800 * MS)));
        assert_eq!(found.first_success_us, Some(1_800 * MS));
        // What was due within the limit before the end of the hole was answered in time, and at that very moment.
        assert_eq!(found.restored_us, Some(1_800 * MS));
        assert_eq!(found.rto_us(1_000 * MS), Some(800 * MS));
    }

    /// A machine that stands still after service was back makes a longer gap than the fault did.
    #[test]
    fn a_longer_gap_after_service_was_back_is_no_part_of_the_recovery() {
        let mut requests = hole(1_015, 1_300);
        requests.truncate(200);
        requests.extend(hole(2_000, 2_700).split_off(200));
        let found = judge(&requests);
        assert_eq!(found.gap, Some((1_992 * MS, 2_700 * MS)));
        assert_eq!(found.restored_us, Some(1_300 * MS));
        assert_eq!(found.first_success_us, Some(1_300 * MS));
    }

    #[test]
    fn a_lucky_answer_is_no_service() {
        let mut requests = hole(1_015, 1_800);
        // One got through in the middle, and then what is due fails for a while.
        requests.push(answered(1_400, 1_403));
        for (n, request) in requests.iter_mut().enumerate() {
            let due_ms = n as u64 * 10;
            if (1_800..2_000).contains(&due_ms) && due_ms.is_multiple_of(40) {
                *request = failed(due_ms, due_ms + 5);
            }
        }
        let found = judge(&requests);
        assert_eq!(found.restored_us, Some(1_970 * MS + 2 * MS));
        assert_eq!(found.failed, 5);
        // The gap was cut in two by the lucky one.
        assert_eq!(found.gap, Some((1_403 * MS, 1_800 * MS)));
    }

    #[test]
    fn service_that_does_not_come_back_has_no_recovery_time() {
        let requests: Vec<Request> = (0..300)
            .map(|n| match n * 10 {
                due_ms if due_ms < 1_010 => answered(due_ms, due_ms + 2),
                due_ms => Request {
                    due_us: due_ms * MS,
                    fate: Fate::Open,
                },
            })
            .collect();
        let found = judge(&requests);
        assert_eq!(
            (found.restored_us, found.gap),
            (None, Some((1_000 * MS, 1_002 * MS)))
        );
        assert_eq!(found.rto_us(1_000 * MS), None);
        // And from nothing at all nothing follows.
        assert_eq!(judge(&[]).rto_us(1_000 * MS), None);
    }

    /// What began before the fault, or goes on into what comes next, is counted by its part of the window.
    #[test]
    fn a_gap_is_what_lies_within_the_window() {
        let found = judge(&hole(2_715, 3_500));
        assert_eq!(found.gap, Some((2_712 * MS, 2_800 * MS)));
        let found = judge(&hole(515, 1_200));
        assert_eq!(found.gap, Some((1_000 * MS, 1_200 * MS)));
        assert_eq!(found.first_success_us, Some(1_200 * MS));
    }

    #[test]
    fn a_fault_that_nobody_notices_costs_nothing() {
        let found = judge(&hole(9_000, 9_001));
        assert_eq!((found.began_us, found.first_success_us), (None, None));
        assert_eq!(found.rto_us(1_000 * MS), Some(0));
    }

    #[test]
    fn a_request_that_is_open_at_the_fault_is_hurt_from_the_fault_on() {
        let mut requests = vec![answered(950, 1_500)];
        requests.extend(hole(9_000, 9_001));
        assert_eq!(judge(&requests).began_us, Some(1_000 * MS));
    }
}
