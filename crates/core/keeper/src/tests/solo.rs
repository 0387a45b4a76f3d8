//! Serving alone: when it is refused, in which order it begins and ends, and what a later term says of it.
