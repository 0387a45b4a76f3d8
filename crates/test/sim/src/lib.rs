//! Deterministic simulation of whole clusters of keepers from one seed.
