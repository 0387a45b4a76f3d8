//! When a playbook's schedules are due next, for people who read it.

use mainstay_playbook::{Book, Trigger};
use mainstay_schedule::Cron;

/// Each schedule of the book with its first `count` moments after `after_ms`, in milliseconds since 1970.
pub fn due_times(book: &Book, after_ms: u64, count: usize) -> Vec<(String, Vec<u64>)> {
    let schedules = book.triggers.iter().filter_map(|trigger| match trigger {
        Trigger::Schedule { cron } => Some(cron),
        Trigger::Alert { .. } | Trigger::Incident { .. } | Trigger::Every { .. } => None,
    });
    let moments = |text: &String| {
        let cron = Cron::parse(text, |_| Err(String::new())).ok();
        let next = |second: &u64| cron.as_ref().and_then(|cron| cron.next(*second));
        let first = next(&(after_ms / 1_000));
        let seconds = std::iter::successors(first, next);
        seconds.take(count).map(|second| second * 1_000).collect()
    };
    schedules
        .map(|text| (text.clone(), moments(text)))
        .collect()
}
