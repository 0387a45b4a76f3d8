//! Projections for people: the status and its reasons.
