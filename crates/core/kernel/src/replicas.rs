//! Which replicas a database has, by what number its keepers know each, and which of them leave.
//!
//! A number is a replica's for good: one that comes gets a new one, also on a host that had one before. So all of it follows
//! from the files that were in force one after the other, and from what primaries told of whom they let go.

use alloc::collections::{BTreeMap, BTreeSet};

use mainstay_model::name::HostName;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Of those of the file, and of those that leave.
    numbers: BTreeMap<HostName, u8>,
    leaving: BTreeSet<HostName>,
    last_number: u8,
    /// How many came after the database was created.
    additions: u32,
}

impl Replicas {
    /// Another file is in force, with replicas on these hosts, in its order.
    pub fn follow(&mut self, hosts: &[HostName]) {
        let created = self.last_number > 0;
        for host in hosts {
            self.leaving.remove(host);
            if self.numbers.contains_key(host) {
                continue;
            }
            let number = self.free_number();
            self.last_number = self.last_number.max(number);
            self.numbers.insert(host.clone(), number);
            self.additions += u32::from(created);
        }
        let gone = self.numbers.keys().filter(|host| !hosts.contains(host));
        self.leaving.extend(gone.cloned());
    }

    /// After two hundred and fifty-five replicas the lowest number that nobody has.
    fn free_number(&self) -> u8 {
        let next = self.last_number.checked_add(1);
        let taken = |number: &u8| self.numbers.values().any(|known| known == number);
        next.or_else(|| (1..=u8::MAX).find(|number| !taken(number)))
            .unwrap_or(u8::MAX)
    }

    /// It is needed for nothing any more. Whether it was still leaving.
    pub fn let_go(&mut self, host: &HostName) -> bool {
        let leaves = self.leaving.remove(host);
        if leaves {
            self.numbers.remove(host);
        }
        leaves
    }

    pub fn number(&self, host: &HostName) -> Option<u8> {
        self.numbers.get(host).copied()
    }

    pub fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.numbers.keys()
    }

    pub fn leaving(&self) -> &BTreeSet<HostName> {
        &self.leaving
    }

    /// Grows whenever keepers must come to know a replica more.
    pub fn additions(&self) -> u32 {
        self.additions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn hosts(names: &[&str]) -> Vec<HostName> {
        let name = |name: &&str| HostName::new(name).expect("a name");
        names.iter().map(name).collect()
    }

    fn numbers(replicas: &Replicas, names: &[&str]) -> Vec<Option<u8>> {
        let hosts = hosts(names);
        hosts.iter().map(|host| replicas.number(host)).collect()
    }

    #[test]
    fn a_number_is_a_replicas_for_good() {
        let mut replicas = Replicas::default();
        replicas.follow(&hosts(&["c", "a", "b"]));
        assert_eq!(
            numbers(&replicas, &["c", "a", "b"]),
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!(replicas.additions(), 0);
        replicas.follow(&hosts(&["d", "c", "b"]));
        assert_eq!(
            numbers(&replicas, &["a", "b", "c", "d"]),
            [Some(2), Some(3), Some(1), Some(4)]
        );
        assert_eq!(replicas.leaving().len(), 1);
        assert_eq!(replicas.additions(), 1);
        // Not gone yet, and wanted again: it is who it was.
        replicas.follow(&hosts(&["d", "c", "b", "a"]));
        assert_eq!(numbers(&replicas, &["a"]), [Some(2)]);
        assert!(replicas.leaving().is_empty());
        replicas.follow(&hosts(&["d", "c", "b"]));
        let a = hosts(&["a"]).remove(0);
        assert!(replicas.let_go(&a) && !replicas.let_go(&a));
        assert_eq!(numbers(&replicas, &["a"]), [None]);
        replicas.follow(&hosts(&["d", "c", "b", "a"]));
        assert_eq!(numbers(&replicas, &["a"]), [Some(5)]);
        let d = hosts(&["d"]).remove(0);
        assert!(!replicas.let_go(&d), "it does not leave");
    }

    #[test]
    fn numbers_that_are_used_up_are_used_again() {
        let mut replicas = Replicas::default();
        replicas.follow(&hosts(&["a", "b"]));
        let b = hosts(&["b"]).remove(0);
        for _ in 0..300 {
            replicas.follow(&hosts(&["a"]));
            replicas.let_go(&b);
            replicas.follow(&hosts(&["a", "b"]));
        }
        let [a, b] = [numbers(&replicas, &["a"]), numbers(&replicas, &["b"])];
        assert!(a != b && b[0].is_some());
    }
}
