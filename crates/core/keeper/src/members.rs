//! Who is in a cohort: a handful, kept in a list, because who counts is asked many times with every input and a list of
//! so few is faster than a tree.

use alloc::vec::Vec;
use core::fmt;

use crate::config::ReplicaId;
use crate::durable::Member;

/// The members of a cohort, in the order of their ids, each once.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Members(Vec<(ReplicaId, Member)>);

impl Members {
    pub fn get(&self, replica: &ReplicaId) -> Option<&Member> {
        self.iter()
            .find_map(|(known, member)| (known == replica).then_some(member))
    }

    pub fn contains_key(&self, replica: &ReplicaId) -> bool {
        self.get(replica).is_some()
    }

    /// Whoever has this id already is replaced.
    pub fn insert(&mut self, replica: ReplicaId, member: Member) {
        match self.0.binary_search_by_key(&replica, |(known, _)| *known) {
            Ok(at) => {
                if let Some(known) = self.0.get_mut(at) {
                    known.1 = member;
                }
            }
            Err(at) => self.0.insert(at, (replica, member)),
        }
    }

    pub fn remove(&mut self, replica: &ReplicaId) {
        self.0.retain(|(known, _)| known != replica);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = &ReplicaId> {
        self.0.iter().map(|(replica, _)| replica)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ReplicaId, &Member)> {
        self.0.iter().map(|(replica, member)| (replica, member))
    }
}

impl FromIterator<(ReplicaId, Member)> for Members {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, Member)>>(members: I) -> Self {
        let mut list = Self::default();
        for (replica, member) in members {
            list.insert(replica, member);
        }
        list
    }
}

impl<const N: usize> From<[(ReplicaId, Member); N]> for Members {
    fn from(members: [(ReplicaId, Member); N]) -> Self {
        members.into_iter().collect()
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_units::Incarnation;

    #[test]
    fn each_is_there_once_and_in_its_place() {
        let of = |incarnation| Member {
            incarnation: Incarnation(incarnation),
        };
        let mut members = Members::from([(ReplicaId(3), of(30)), (ReplicaId(1), of(10))]);
        members.insert(ReplicaId(2), of(20));
        members.insert(ReplicaId(3), of(31));
        let ids: Vec<u8> = members.keys().map(|replica| replica.0).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(members.get(&ReplicaId(3)), Some(&of(31)));
        assert!(!members.contains_key(&ReplicaId(4)));
        assert_eq!(members.len(), 3);
        members.remove(&ReplicaId(2));
        members.remove(&ReplicaId(4));
        let ids: Vec<u8> = members.keys().map(|replica| replica.0).collect();
        assert_eq!(ids, [1, 3]);
    }
}
