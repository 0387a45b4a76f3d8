//! Where a host listens, and where another region reaches it.
//!
//! On one machine every host has a loopback address of its own. A region never uses another region's
//! addresses directly: it knocks at a *door*, an address in the other region that is reserved for knocks
//! from this one. Behind the door stands a relay that can be delayed or cut, so that distance and
//! partition between two regions are real for all traffic alike.
//!
//! `127.P.R.h` is host `h` of region `R` on slot `P`; `127.P.B.(10+A)` is the door of region `B` for region `A`.

use core::fmt;
use core::net::Ipv4Addr;

/// Which of the machine's address ranges a platform has claimed: 1 to 199.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

impl Slot {
    pub const MIN: u8 = 1;
    pub const MAX: u8 = 199;

    pub const fn new(number: u8) -> Option<Self> {
        if number >= Self::MIN && number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Place of a region in the file, from 1. Stable only while regions are appended, never reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionIndex(pub(crate) u8);

impl RegionIndex {
    pub const MAX: u8 = 99;

    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Place of a host within its region, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostIndex(pub(crate) u8);

impl HostIndex {
    pub const MAX: u8 = 9;

    pub const fn number(self) -> u8 {
        self.0
    }

    /// A port of the file as it is on this host. All hosts of a region share one door, where the port alone
    /// tells them apart, so each port is one higher on the second host, two on the third, and so on.
    /// Validation has kept that room free.
    pub const fn port(self, declared: u16) -> u16 {
        declared.saturating_add(self.0 as u16 - 1)
    }
}

const DOOR_OFFSET: u8 = 10;

/// The address a host listens at.
pub const fn host(slot: Slot, region: RegionIndex, host: HostIndex) -> Ipv4Addr {
    Ipv4Addr::new(127, slot.0, region.0, host.0)
}

/// The address at which region `from` reaches the hosts of region `to`.
pub const fn door(slot: Slot, to: RegionIndex, from: RegionIndex) -> Ipv4Addr {
    Ipv4Addr::new(127, slot.0, to.0, DOOR_OFFSET + from.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_and_hosts_never_meet() {
        const { assert!(HostIndex::MAX < DOOR_OFFSET + 1) };
        assert!(RegionIndex::MAX.checked_add(DOOR_OFFSET).is_some());
        assert_eq!(Slot::new(0), None);
        assert_eq!(Slot::new(200), None);
    }

    #[test]
    fn addresses_read_as_agreed() {
        let slot = Slot::new(7).expect("a slot");
        assert_eq!(
            host(slot, RegionIndex(2), HostIndex(1)),
            Ipv4Addr::new(127, 7, 2, 1)
        );
        assert_eq!(
            door(slot, RegionIndex(2), RegionIndex(3)),
            Ipv4Addr::new(127, 7, 2, 13)
        );
        assert_eq!(HostIndex(3).port(5432), 5434);
    }
}
