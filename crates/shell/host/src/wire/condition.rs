//! What the conditions of a wire mean for one door.

use std::time::Duration;

use mainstay_record::process::{WireCondition, WireEffect, WireShape};
use mainstay_units::Instant;

/// Which way bytes go, seen from the region that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// Everything that holds at a door now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DoorView {
    cut_forward: bool,
    cut_backward: bool,
    /// What is connected now will be reset as soon as anything passes again.
    pub(crate) forgets: bool,
    pub(crate) reset: bool,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) bytes_per_second: Option<u64>,
}

impl DoorView {
    pub(crate) fn of(shape: WireShape, conditions: &[WireCondition], host: &str) -> Self {
        let mut view = Self {
            delay: Duration::from_micros(shape.delay_us),
            jitter: Duration::from_micros(shape.jitter_us),
            bytes_per_second: shape.bytes_per_second.filter(|rate| *rate > 0),
            ..Self::default()
        };
        for condition in conditions {
            if condition
                .hosts
                .as_ref()
                .is_some_and(|hosts| !hosts.iter().any(|name| name == host))
            {
                continue;
            }
            match condition.effect {
                WireEffect::Cut => {
                    view.cut_forward = true;
                    view.cut_backward = true;
                }
                WireEffect::Crash => {
                    view.cut_forward = true;
                    view.cut_backward = true;
                    view.forgets = true;
                }
                WireEffect::CutForward => view.cut_forward = true,
                WireEffect::CutBackward => view.cut_backward = true,
                WireEffect::Delay {
                    delay_us,
                    jitter_us,
                } => {
                    view.delay += Duration::from_micros(delay_us);
                    view.jitter += Duration::from_micros(jitter_us);
                }
                WireEffect::Reset => view.reset = true,
            }
        }
        view
    }

    pub(crate) const fn is_open(&self, direction: Direction) -> bool {
        match direction {
            Direction::Forward => !self.cut_forward,
            Direction::Backward => !self.cut_backward,
        }
    }

    /// A connection needs both ways: one for its SYN, one for the answer.
    pub(crate) const fn is_silent(&self) -> bool {
        self.cut_forward || self.cut_backward
    }
}

pub(crate) fn is_in_force(condition: &WireCondition, now: Instant, boot_id: &str) -> bool {
    condition.boot_id == boot_id && Instant::from_nanos(condition.deadline_boottime_ns) > now
}

/// Adds a condition or replaces the one of the same fault.
pub(crate) fn insert(
    conditions: &mut Vec<WireCondition>,
    condition: WireCondition,
    limit: usize,
) -> Result<(), String> {
    conditions.retain(|held| held.id != condition.id);
    if conditions.len() >= limit {
        return Err(format!("{limit} conditions hold already"));
    }
    conditions.push(condition);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(id: &str, effect: WireEffect, hosts: Option<&[&str]>) -> WireCondition {
        WireCondition {
            id: id.into(),
            effect,
            hosts: hosts.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            deadline_boottime_ns: 100,
            boot_id: "b".into(),
        }
    }

    #[test]
    fn the_worst_of_each_wins_and_delays_add_up() {
        let shape = WireShape {
            delay_us: 10,
            jitter_us: 1,
            bytes_per_second: Some(0),
        };
        let delay = WireEffect::Delay {
            delay_us: 5,
            jitter_us: 2,
        };
        let conditions = [
            condition("a", WireEffect::CutForward, None),
            condition("b", delay, None),
            condition("c", delay, None),
            condition("d", WireEffect::CutBackward, Some(&["other"])),
        ];
        let view = DoorView::of(shape, &conditions, "this");
        assert!(
            !view.is_open(Direction::Forward)
                && view.is_open(Direction::Backward)
                && view.is_silent()
        );
        assert_eq!(
            (view.delay, view.jitter),
            (Duration::from_micros(20), Duration::from_micros(5))
        );
        assert_eq!(
            view.bytes_per_second, None,
            "a rate of nothing would be a cut by another name"
        );
        let other = DoorView::of(shape, &conditions, "other");
        assert!(!other.is_open(Direction::Backward));
        assert!(!DoorView::of(shape, &[], "this").is_silent());
    }

    #[test]
    fn a_condition_ends_at_its_deadline_or_with_the_boot() {
        let held = condition("a", WireEffect::Cut, None);
        assert!(is_in_force(&held, Instant::from_nanos(99), "b"));
        assert!(!is_in_force(&held, Instant::from_nanos(100), "b"));
        assert!(!is_in_force(&held, Instant::from_nanos(99), "another"));
    }

    #[test]
    fn the_same_fault_replaces_its_condition() {
        let mut conditions = Vec::new();
        for effect in [WireEffect::Cut, WireEffect::Reset] {
            insert(&mut conditions, condition("a", effect, None), 1).unwrap();
        }
        assert_eq!(conditions, [condition("a", WireEffect::Reset, None)]);
        assert!(insert(&mut conditions, condition("b", WireEffect::Cut, None), 1).is_err());
    }
}
