//! Standbys that get log all the time and come no nearer: a slow disk or way, beside a database that writes faster.
//!
//! PostgreSQL says of a standby that it catches up until it has had everything once. One that is well comes nearer all the time,
//! however far behind it began.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_keeper::{Client, ClientState, ReplicaId};
use mainstay_units::{Instant, Lsn};

/// A way that stalls for less is borne without a word.
const PATIENCE: Duration = Duration::from_secs(30);
/// What comes nearer by less than a hundredth comes no nearer.
const PROGRESS: u64 = 100;

#[derive(Clone, Copy, Debug)]
struct Chase {
    /// The least that it ever lacked, and since when nothing less was seen.
    least: u64,
    since: Instant,
}

#[derive(Debug, Default)]
pub struct CatchUp {
    chases: BTreeMap<ReplicaId, Chase>,
}

impl CatchUp {
    /// What a look at a primary shows, whose log ends there.
    pub fn see(&mut self, now: Instant, end: Lsn, clients: &[Client]) {
        let chasing = |replica: ReplicaId| {
            let mut clients = clients.iter();
            clients.find(|client| {
                client.name.replica == replica && client.state == ClientState::CatchUp
            })
        };
        self.chases.retain(|replica, _| chasing(*replica).is_some());
        for client in clients
            .iter()
            .filter(|client| client.state == ClientState::CatchUp)
        {
            let lacks = end.bytes_since(client.flushed);
            if lacks == 0 {
                self.chases.remove(&client.name.replica);
                continue;
            }
            let chase = self.chases.entry(client.name.replica).or_insert(Chase {
                least: lacks,
                since: now,
            });
            if lacks < chase.least - chase.least / PROGRESS {
                *chase = Chase {
                    least: lacks,
                    since: now,
                };
            }
        }
    }

    /// For how long it has come no nearer, where that is too long.
    pub fn in_vain(&self, now: Instant, replica: ReplicaId) -> Option<Duration> {
        let chase = self.chases.get(&replica)?;
        let waited = now.since(chase.since);
        (waited >= PATIENCE).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_keeper::ReceiverName;
    use mainstay_units::{Incarnation, Term};

    fn client(state: ClientState, flushed: u64) -> Client {
        Client {
            name: ReceiverName {
                term: Term(2),
                replica: ReplicaId(2),
                incarnation: Incarnation(2),
            },
            state,
            flushed: Lsn(flushed),
        }
    }

    /// Looks once a second at a log that grows by `grows` while the standby gets `gets`; whether it was said to be in vain.
    fn chase(seconds: u64, lacks: u64, grows: u64, gets: u64) -> Option<u64> {
        let mut catch_up = CatchUp::default();
        let mut said = None;
        for second in 0..seconds {
            let now = Instant::from_millis(second * 1_000);
            let end = Lsn(1_000_000_000 + second * grows);
            let has = 1_000_000_000 - lacks + second * gets;
            catch_up.see(now, end, &[client(ClientState::CatchUp, has.min(end.0))]);
            said = catch_up
                .in_vain(now, ReplicaId(2))
                .map(|vain| vain.as_secs());
        }
        said
    }

    #[test]
    fn who_comes_nearer_is_well_and_who_does_not_is_told_of() {
        assert_eq!(chase(120, 500_000_000, 1_000_000, 9_000_000), None);
        assert_eq!(chase(29, 500_000_000, 1_000_000, 1_000_000), None);
        assert_eq!(chase(100, 500_000_000, 1_000_000, 1_000_000), Some(99));
        assert_eq!(chase(100, 5_000_000, 2_000_000, 1_000_000), Some(99));
        // So slowly that it would take hours.
        assert!(chase(100, 500_000_000, 1_000_000, 1_020_000).is_some());
    }

    #[test]
    fn who_has_had_everything_once_begins_anew() {
        let mut catch_up = CatchUp::default();
        let at = |second: u64| Instant::from_millis(second * 1_000);
        catch_up.see(at(0), Lsn(900), &[client(ClientState::CatchUp, 100)]);
        assert!(catch_up.in_vain(at(40), ReplicaId(2)).is_some());
        catch_up.see(at(40), Lsn(900), &[client(ClientState::Streaming, 900)]);
        assert_eq!(catch_up.in_vain(at(40), ReplicaId(2)), None);
        catch_up.see(at(41), Lsn(2_000), &[client(ClientState::CatchUp, 100)]);
        assert_eq!(catch_up.in_vain(at(42), ReplicaId(2)), None);
    }
}
