//! An open-loop driver of order flow with a witness log of its own.
