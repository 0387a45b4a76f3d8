//! The node's side of supervision.
