//! The last answers, kept so that a client that sends again hears the same at once.
//!
//! A ring of the cell's last [`ANSWERS_MAX`] commands with an index by account and reference. It is a cache of the
//! log and no part of the state: what has fallen out of it is answered from the table `commands`, where the same
//! text stands. That bounds the memory whatever the number of accounts.

use std::collections::{HashMap, VecDeque};

use exchange_engine::units::{Account, Reference};

use crate::chain::Hash;

/// About 700 bytes each.
pub const ANSWERS_MAX: usize = 65_536;

#[derive(Clone, Debug)]
pub struct Entry {
    pub account: Account,
    pub reference: Reference,
    pub canonical: Box<str>,
    pub stored: Box<str>,
    pub hash: Hash,
}

#[derive(Debug, Default)]
pub struct Answers {
    ring: VecDeque<Entry>,
    index: HashMap<(Account, Reference), u64>,
    /// The number of entries that have left the ring: entry `n` ever added stands at `n - gone`.
    gone: u64,
}

impl Answers {
    pub fn add(&mut self, entry: Entry) {
        if self.ring.len() >= ANSWERS_MAX
            && let Some(oldest) = self.ring.pop_front()
        {
            self.index.remove(&(oldest.account, oldest.reference));
            self.gone += 1;
        }
        let number = self.gone + self.ring.len() as u64;
        self.index.insert((entry.account, entry.reference), number);
        self.ring.push_back(entry);
    }

    pub fn find(&self, account: Account, reference: Reference) -> Option<&Entry> {
        let number = self.index.get(&(account, reference))?;
        self.ring.get(usize::try_from(number - self.gone).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_forgets_the_oldest_and_stays_bounded() {
        let mut answers = Answers::default();
        let account = Account::customer(1).unwrap();
        let reference = |number: u64| Reference::new(number).unwrap();
        for number in 1..=ANSWERS_MAX as u64 + 10 {
            let stored = number.to_string().into_boxed_str();
            answers.add(Entry {
                account,
                reference: reference(number),
                canonical: "".into(),
                stored,
                hash: [0; 32],
            });
        }
        assert!(answers.find(account, reference(10)).is_none());
        assert_eq!(&*answers.find(account, reference(11)).unwrap().stored, "11");
        assert_eq!(answers.ring.len(), ANSWERS_MAX);
        assert_eq!(answers.index.len(), ANSWERS_MAX);
    }
}
