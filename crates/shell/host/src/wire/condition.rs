//! What the conditions of a wire mean for one door.

use std::time::Duration;

use mainstay_record::process::{WireCondition, WireEffect, WireLane, WireShape};
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
    forward: Lane,
    backward: Lane,
    /// What is connected now will be reset as soon as anything passes again.
    pub(crate) forgets: bool,
    pub(crate) reset: bool,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    cut: bool,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) correlation_percent: u8,
    pub(crate) loss_ppm: u32,
    pub(crate) bytes_per_second: Option<u64>,
}

impl Lane {
    /// Delays add up; of the rest the worse wins.
    fn add(&mut self, more: WireLane) {
        self.cut |= more.cut;
        self.delay += Duration::from_micros(more.delay_us);
        self.jitter += Duration::from_micros(more.jitter_us);
        self.correlation_percent = self
            .correlation_percent
            .max(more.correlation_percent.min(100));
        self.loss_ppm = self.loss_ppm.max(more.loss_ppm);
        let rates = [self.bytes_per_second, more.bytes_per_second];
        let rates = rates.into_iter().flatten().filter(|rate| *rate > 0);
        self.bytes_per_second = rates.min();
    }
}

/// A door as conditions name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doorplate<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

impl DoorView {
    pub(crate) fn of(shape: WireShape, conditions: &[WireCondition], door: Doorplate<'_>) -> Self {
        let mut view = Self::default();
        view.both(WireLane {
            delay_us: shape.delay_us,
            jitter_us: shape.jitter_us,
            bytes_per_second: shape.bytes_per_second,
            ..WireLane::default()
        });
        for condition in conditions {
            let is_elsewhere = |hosts: &Vec<String>| !hosts.iter().any(|name| name == door.host);
            if condition.hosts.as_ref().is_some_and(is_elsewhere)
                || condition.port.is_some_and(|port| port != door.port)
            {
                continue;
            }
            view.subject_to(condition.effect);
        }
        view
    }

    fn both(&mut self, lane: WireLane) {
        self.forward.add(lane);
        self.backward.add(lane);
    }

    fn subject_to(&mut self, effect: WireEffect) {
        const CUT: WireLane = WireLane {
            cut: true,
            delay_us: 0,
            jitter_us: 0,
            correlation_percent: 0,
            loss_ppm: 0,
            bytes_per_second: None,
        };
        match effect {
            WireEffect::Cut => self.both(CUT),
            WireEffect::Crash => {
                self.both(CUT);
                self.forgets = true;
            }
            WireEffect::CutForward => self.forward.add(CUT),
            WireEffect::CutBackward => self.backward.add(CUT),
            WireEffect::Delay {
                delay_us,
                jitter_us,
            } => self.both(WireLane {
                delay_us,
                jitter_us,
                ..WireLane::default()
            }),
            WireEffect::Reset => self.reset = true,
            WireEffect::Shape { forward, backward } => {
                self.forward.add(forward);
                self.backward.add(backward);
            }
        }
    }

    pub(crate) const fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
        }
    }

    pub(crate) const fn is_open(&self, direction: Direction) -> bool {
        !self.lane(direction).cut
    }

    /// A connection needs both ways: one for its SYN, one for the answer.
    pub(crate) const fn is_silent(&self) -> bool {
        self.forward.cut || self.backward.cut
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
            port: None,
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
        let view = DoorView::of(shape, &conditions, plate("this"));
        assert!(
            !view.is_open(Direction::Forward)
                && view.is_open(Direction::Backward)
                && view.is_silent()
        );
        let lane = view.lane(Direction::Forward);
        assert_eq!(
            (lane.delay, lane.jitter),
            (Duration::from_micros(20), Duration::from_micros(5))
        );
        assert_eq!(
            lane.bytes_per_second, None,
            "a rate of nothing would be a cut by another name"
        );
        let other = DoorView::of(shape, &conditions, plate("other"));
        assert!(!other.is_open(Direction::Backward));
        assert!(!DoorView::of(shape, &[], plate("this")).is_silent());
    }

    fn plate(host: &str) -> Doorplate<'_> {
        Doorplate { host, port: 5432 }
    }

    #[test]
    fn one_port_and_one_direction_are_hit_alone() {
        let slow = WireLane {
            delay_us: 7,
            loss_ppm: 3,
            bytes_per_second: Some(9),
            ..WireLane::default()
        };
        let effect = WireEffect::Shape {
            forward: slow,
            backward: WireLane::default(),
        };
        let mut held = condition("a", effect, Some(&["this"]));
        held.port = Some(5432);
        let held = [held];
        let view = DoorView::of(WireShape::default(), &held, plate("this"));
        let (there, back) = (
            view.lane(Direction::Forward),
            view.lane(Direction::Backward),
        );
        assert_eq!((there.delay, there.loss_ppm), (Duration::from_micros(7), 3));
        assert_eq!(there.bytes_per_second, Some(9));
        assert_eq!(*back, Lane::default());
        let another = Doorplate {
            host: "this",
            port: 7432,
        };
        for untouched in [another, plate("other")] {
            let view = DoorView::of(WireShape::default(), &held, untouched);
            assert_eq!(view, DoorView::default());
        }
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
