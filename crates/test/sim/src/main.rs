//! The simulator's command line.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures its own speed with the real clock"
)]

use mainstay_sim::schedule::{Narration, run};

fn main() {
    let mut args = std::env::args().skip(1);
    let seed: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let count: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let start = std::time::Instant::now();
    for seed in seed..seed + count {
        let narration = if count == 1 {
            Narration::Aloud
        } else {
            Narration::Silent
        };
        let outcome = run(seed, None, narration);
        if count == 1 || outcome.violation.is_some() {
            println!("{outcome:?}");
        }
    }
    eprintln!("{:?}", start.elapsed());
}
