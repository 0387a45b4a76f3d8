//! Every connection is a descriptor, and the system lets a process have only so many.
//!
//! What is usual for a login, 1,024, is far below what the limits of a gateway promise: without more, as many idle
//! clients would leave none for the way to the instances.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files, sockets of the eyes and of the control, and what the library needs.
const OTHERS: u64 = 256;

/// Takes as many as the system allows at all, and says so where they cannot be enough.
pub fn raise(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it is refused, what there is must do.
    setrlimit(Resource::Nofile, all).ok();
    let (have, wanted) = (getrlimit(Resource::Nofile).current, wanted(config));
    if let Some(have) = have.filter(|have| *have < wanted) {
        tracing::warn!(
            have,
            wanted,
            "fewer descriptors than the limits of this gateway may need: raise the hard limit of open files"
        );
    }
}

fn wanted(config: &Config) -> u64 {
    let limits = &config.snapshot.limits;
    let instances = config
        .instances
        .iter()
        .map(|of_service| of_service.len() as u64);
    let upstreams = instances.sum::<u64>() * u64::from(limits.upstream_connections);
    u64::from(limits.connections) + 2 * u64::from(limits.tcp_sessions) + upstreams + OTHERS
}

/// A connection that could not be tried for want of something of our own: no word about the other side.
pub fn is_own_want(error: &io::Error) -> bool {
    let own = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    own.iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_lack_ourselves_is_our_own_want() {
        for (errno, own) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::HOSTUNREACH, false),
            (Errno::TIMEDOUT, false),
        ] {
            assert_eq!(is_own_want(&errno.into()), own, "{errno:?}");
        }
    }
}
