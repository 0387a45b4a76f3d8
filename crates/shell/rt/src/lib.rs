//! The only reader of clock and entropy, and what every shell needs of the operating system.
