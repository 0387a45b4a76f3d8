//! What the Makefile does: checks of the tree, set-up, suites and benchmarks.

fn main() {}
