//! The trading venue: one writer per cell, nothing leaves before a clean commit.

fn main() {}
