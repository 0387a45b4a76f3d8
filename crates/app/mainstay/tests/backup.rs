//! A short run of the random faults on backups; `make test-faults BACKUP=1` is the long one.

use std::path::Path;

use mainstay_backcheck::{Amount, run};

#[test]
fn backups_keep_their_word_under_random_faults() {
    let program = Path::new(env!("CARGO_BIN_EXE_mainstay"));
    let amount = Amount {
        interruptions: 3,
        damages: 4,
        backups: 1,
    };
    let counts = run(program, 7, amount).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(counts.exact + counts.refused, amount.damages);
}
